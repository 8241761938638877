"""The one table of foreign names: what it resolves, what it answers, and that the docs list it."""

import pytest

from dlx.config.compose import compose
from dlx.config.names import KEYS, NAMES, OPTIONS, NameKind, split_choice
from dlx.config.report import ConfigError
from dlx.config.search import list_own_packages
from dlx.errors import UsageError
from tests.conftest import ROOT

DOCS = (ROOT / "docs" / "deck_lists.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", NAMES)
def test_names_and_their_docs(kind):
    names = NAMES[kind]
    for name in names.own:
        assert names.resolve(name) == name
    for name, here in names.foreign.items():
        assert split_choice(kind, name)[0] in names.own, (name, here)
    if kind != "activation":  # torch's own are not listed one by one
        missing = [name for name in names.own if f"`{name}`" not in DOCS and name != "default"]
        assert all(f"{name}" in DOCS for name in missing), missing


def test_options_are_there():
    for group, options in OPTIONS.items():
        for here in options.values():
            assert (ROOT / "conf" / group / f"{here}.yaml").exists(), here
            if group == "scheduler":
                assert f"`{here}`" in DOCS


GOOD = [
    "model.kernel_init=glorot_uniform",
    "model.kernel_init=3",
    "model.bias_init={normal:{std:0.1}}",
    "model.activation=LeakyReLU",
    "model.activation={leaky_relu:0.3}",
    "model.activation=null",
    "model.output={activation:softmax}",
    "model.output.activation=softmax",
    "model.kernel_constraint={max_norm:3}",
    "task.loss=SparseCategoricalCrossentropy",
    "task.loss={focal:{gamma:3}}",
    "task.loss={_target_:torch.nn.CrossEntropyLoss}",
]


@pytest.mark.parametrize("word", GOOD)
def test_accepted_without_torch(word):
    compose(["model=mlp", "dataset=iris", word])


BAD = [
    ("model.kernel_init=glorot_unifrm", "did you mean glorot_uniform"),
    ("model.activation=swishy", "did you mean swish"),
    ("model.activation=7", "needed: one of relu"),
    ("task.loss=categorical_crossentrop", "did you mean categorical_crossentropy"),
    ("task.loss={focal:3,mse:1}", "needed: one of cross_entropy"),
    ("model.kernel_regularizer=l2", "which is l1 and l2 here; type model.l1="),
    ("model.kernel_initializer=he_normal", "which is kernel_init here; type model.kernel_init="),
    ("model.activity_regularizer=l1", "which is activity_l1 and activity_l2 here"),
    ("optimizer.learning_rate=0.1", "which is lr here; type optimizer.lr="),
    ("scheduler=CosineDecayRestarts", "type scheduler=cosine_restarts"),
    ("scheduler=ReduceLROnPlateau", "type scheduler=plateau"),
    ("optimizer=Nadam", "type optimizer=nadam"),
]


@pytest.mark.parametrize(("word", "answer"), BAD)
def test_answered_without_torch(word, answer):
    with pytest.raises(ConfigError) as error:
        compose(["model=mlp", "dataset=iris", word])
    assert answer in str(error.value)


def test_keys_are_answered_only_where_theirs_can_be_set():
    assert set(KEYS) >= {"kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer"}
    with pytest.raises(ConfigError) as error:
        compose(["model=knn", "dataset=iris", "model.kernel_regularizer=l2"])
    assert "which is l1" not in str(error.value)


def test_names_with_settings():
    assert split_choice("initializer", "glorot_normal") == ("xavier_normal", {"truncated": True})
    assert split_choice("initializer", {"glorot_normal": {"truncated": False}}) == (
        "xavier_normal",
        {"truncated": False},
    )
    assert not NameKind("constraint").accepts(3)
    assert NameKind("initializer").accepts(3)
    with pytest.raises(UsageError, match="settings are written"):
        split_choice("constraint", {"max_norm": 1, "unit_norm": 2})


def test_a_class_within_a_line_of_ones_own_conf_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "brier.yaml").write_text("loss: {_target_: mine.Brier, weight: 2}\n")
    (tmp_path / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert list_own_packages() == ["mine"]
