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


LOGGER = {"_target_": "dlx.logs.logger.Logger", "_partial_": True}
TENSORBOARD = {"_target_": "dlx.loggers.tensorboard.tensorboard.TensorBoardLogger"}


@pytest.mark.parametrize(
    ("old", "trainer", "logger"),
    [
        ({"every": 5, "keep": 3, "images": False}, {"flush_every": 5, "log_every": 3, "pictures": False}, TENSORBOARD),
        ({"tensorboard": False, "graph": True}, {}, None),
        (
            dict.fromkeys(("scalars", "histograms", "graph", "hparams", "embedding"), False),
            {},
            {**TENSORBOARD, **dict.fromkeys(("scalars", "histograms", "graph", "hparams", "embedding"), False)},
        ),
    ],
)
def test_the_keys_of_a_saved_logger_move(old, trainer, logger):
    saved = {"trainer": {"_target_": "dlx.trainer.Trainer", "epochs": 3, "logger": {**LOGGER, **old}}, "seed": 1}
    assert update_config(OmegaConf.create(saved)) == {
        "trainer": {"_target_": "dlx.training.trainer.Trainer", "epochs": 3, **trainer},
        "seed": 1,
        "logger": {} if logger is None else {"tensorboard": logger},
    }


def test_a_configuration_of_today_stays():
    config = compose(["logger=[csv,tensorboard]"])
    assert update_config(config).logger == config.logger


def test_every_key_that_moved_is_there_where_it_moved_to():
    config = compose([])
    for key in moved.PATHS.values():
        assert OmegaConf.select(config, key) is not None, key


def test_saved_overrides_move():
    words = ["optimizer.lr=0.1", "trainer.logger.every=5", "++trainer.logger.keep=2", "trainer.logger.images=false"]
    assert moved.move_overrides([*words, "trainer.logger.graph=false", "trainer.logger.tensorboard=true"]) == [
        *("optimizer.lr=0.1", "trainer.flush_every=5", "trainer.log_every=2", "trainer.pictures=false"),
        *("logger.tensorboard.graph=false", "logger=tensorboard"),
    ]
    assert moved.move_overrides(["trainer.logger.tensorboard=false", "trainer.logger.graph=true"]) == ["logger=[]"]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("trainer.logger.every=10", "trainer.logger.every is now trainer.flush_every; type trainer.flush_every=10"),
        ("trainer.logger.keep=2", "type trainer.log_every=2"),
        ("trainer.logger.images=false", "type trainer.pictures=false"),
        ("trainer.logger.graph=false", "type logger.tensorboard.graph=false"),
        ("trainer.logger.tensorboard=false", "type logger=[]"),
        ("trainer.logger.tensorboard=true", "type logger=tensorboard"),
        ("trainer.logger=csv", "trainer.logger is now logger; type logger=csv"),
        ("trainer.logger=[tensorboard,csv]", "type logger=[tensorboard,csv]"),
        ("trainer.logger=null", "type logger=[]"),
        ("trainer.logger=wandb", "type logger=[tensorboard,csv]"),
        ("trainer.logger=foo", "there is no logger foo; type dlx list loggers"),
        ("~trainer.logger.graph", "leave it out"),
        ("+trainer.logger.images=false", "trainer.logger.images is now trainer.pictures"),
    ],
)
def test_an_old_key_of_the_logger_is_answered_in_one_line(word, told):
    (line,) = mistakes(word).values()
    assert told in line
    advice = line.splitlines()[0].partition("; type ")[2].partition(",  or")[0]
    if advice.startswith(("trainer.", "logger")) and "," not in advice.rpartition("]")[2]:
        compose([advice])  # what is to be typed is good


def test_old_keys_of_the_logger_in_ones_own_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/trainer").mkdir(parents=True)
    text = "defaults: [default]\nlogger:\n  every: 5\n  images: false\n"
    (tmp_path / "conf/trainer/mine.yaml").write_text(text)
    told = " ".join(mistakes("trainer=mine").values())
    assert "conf/trainer/mine.yaml:3: trainer.logger.every is now trainer.flush_every" in told
    assert "conf/trainer/mine.yaml:4: trainer.logger.images is now trainer.pictures" in told


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
