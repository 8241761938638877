"""Names of earlier versions are replaced in saved configurations, and answered with the present ones where typed."""

import pytest
from omegaconf import OmegaConf

from dlx.config import moved
from dlx.config.compose import compose
from dlx.config.moved import rename_targets, update_config
from dlx.config.report import ConfigError

BACKPROP = "dlx.procedures.backprop.Backprop"


def mistakes(*words):
    """What `compose` finds wrong, as text for each thing given."""
    with pytest.raises(ConfigError) as caught:
        compose(list(words))
    return {problem.given: str(problem) for problem in caught.value.problems}


@pytest.mark.parametrize("target", [BACKPROP, "dlx.procedures.truncated.TruncatedBackprop"])
def test_a_saved_configuration_gets_the_present_names_of_its_keys(target):
    saved = OmegaConf.create({"procedure": {"_target_": target, "accumulate": 1, "watch": 7}})
    assert update_config(saved) == {"procedure": {"_target_": target, "accumulate": 1, "grad_norm_every": 7}}


def test_keys_are_renamed_beside_their_class_only_however_deep_and_by_its_old_name_too(monkeypatch):
    monkeypatch.setitem(moved.CLASSES, "dlx.procedures.backprop.Backpropagation", BACKPROP)
    inner = {"_target_": "dlx.procedures.backprop.Backpropagation", "_partial_": True, "watch": 5}
    game = {"_target_": "dlx.procedures.adversarial.adversarial.Adversarial", "watch": 5}
    renamed = rename_targets({"watch": 1, "stages": [{"finish": inner}, game]})
    assert renamed == {
        "watch": 1,
        "stages": [{"finish": {"_target_": BACKPROP, "_partial_": True, "grad_norm_every": 5}}, game],
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["procedure.watch=10"], "procedure.watch is now procedure.grad_norm_every; type procedure.grad_norm_every=10"),
        (["model=gru", "dataset=copy", "procedure=tbptt", "procedure.watch=10"], "is now procedure.grad_norm_every"),
        (["model=dbn", "procedure=fine_tune", "procedure.finish.watch=10"], "is now procedure.finish.grad_norm_every"),
        (["~procedure.watch"], "type ~procedure.grad_norm_every"),
        (["+procedure.watch=10"], "procedure.watch is now procedure.grad_norm_every"),
    ],
)
def test_an_old_key_that_is_typed_is_answered_with_the_present_one(words, told):
    assert told in mistakes(*words)[words[-1]]


def test_a_key_of_the_same_name_elsewhere_stays():
    compose(["model=gan", "dataset=ring", "procedure.watch=10"])


def test_an_old_key_in_ones_own_file_is_answered_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/procedure").mkdir(parents=True)
    (tmp_path / "conf/procedure/mine.yaml").write_text(f"_target_: {BACKPROP}\nwatch: 10\n")
    (told,) = mistakes("procedure=mine").values()
    assert "procedure.watch is now procedure.grad_norm_every" in told
