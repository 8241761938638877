"""The group `logger`, from which several may be chosen."""

import sys

import pytest

from dlx.config.catalogue import Catalogue
from dlx.config.compose import compose, compose_checked
from dlx.config.report import ConfigError
from dlx.config.search import find_search_path

TENSORBOARD = "dlx.loggers.tensorboard.tensorboard.TensorBoardLogger"


def mistakes(*words, multirun=False):
    with pytest.raises(ConfigError) as caught:
        compose_checked(list(words), find_search_path(), multirun)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["tensorboard"]),
        (["logger=tensorboard"], ["tensorboard"]),
        (["logger=csv"], ["csv"]),
        (["logger=[csv]"], ["csv"]),
        (["logger=[tensorboard,csv]"], ["tensorboard", "csv"]),
        (["logger=[csv,tensorboard]", "logger.tensorboard.images=false"], ["csv", "tensorboard"]),
        (["logger=[]"], []),
        (["~logger"], []),
        (["experiment=iris_kmeans", "logger=csv"], ["csv"]),
    ],
)
def test_one_several_or_none(words, names):
    assert list(compose(words).logger) == names


def test_an_experiment_chooses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    text = "# @package _global_\n# both\ndefaults:\n  - override /logger: [csv, tensorboard]\n"
    (tmp_path / "conf/experiment/both.yaml").write_text(text)
    assert list(compose(["experiment=both"]).logger) == ["csv", "tensorboard"]
    assert list(compose(["experiment=both", "logger=[]"]).logger) == []
    entry = Catalogue(find_search_path()).entry("experiment", "both")
    assert entry.overrides == {"logger": "[csv,tensorboard]"}


def test_the_catalogue_knows_classes_and_the_default():
    catalogue = Catalogue(find_search_path())
    targets = {entry.name: entry.target for entry in catalogue.entries("logger")}
    assert targets == {"csv": "dlx.loggers.csv.CSVLogger", "tensorboard": TENSORBOARD}
    assert [name for name in targets if catalogue.is_default("logger", name)] == ["tensorboard"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["logger=cvs"], "did you mean csv? type logger=csv"),
        (["logger=[tensorboard,cvs]"], "did you mean csv?"),
        (["loger=csv"], "type logger=csv"),
        (["logger=wandb"], "there is no logger of a service here; type logger=[tensorboard,csv]"),
        (["logger=[tensorboard,mlflow]"], "type logger=[tensorboard,csv]"),
        (["logger=aim"], "type logger=[tensorboard,csv]"),
        (["logger=jsonl"], "type logger=[]"),
        (["logger=null"], "type logger=[]"),
        (["logger=false"], "type logger=[]"),
        (["logger=csv,tensorboard"], "to give a list, type logger=[csv,tensorboard]"),
        (["logger.tensorboard.imags=false"], "type logger.tensorboard.images=false"),
        (["logger.tensorboard.images=5"], "needed: true or false"),
        (["logger=csv", "logger.tensorboard.images=false"], "tensorboard belongs to logger=tensorboard"),
        (["logger.csv.x=1"], "csv belongs to logger=csv"),
        (["scheduler=null"], "to choose none, type ~scheduler"),
        (["model=null"], "type dlx list models"),
        (["experiment=null"], "leave it out"),
        (["model=[mlp,lenet5]"], "several were given for one model; needed: one"),
    ],
)
def test_mistakes_are_answered_in_one_line(words, told):
    (line,) = mistakes(*words)
    assert told in line


@pytest.mark.parametrize("swept", ["csv,tensorboard", "[csv],[csv,tensorboard],[]", "csv,[]"])
def test_a_sweep_over_loggers(swept):
    assert compose_checked([f"logger={swept}"], find_search_path(), True).overrides == [f"logger={swept}"]
    (line,) = mistakes(f"logger={swept},[cvs]", multirun=True)
    assert "did you mean csv?" in line


def own(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/logger").mkdir(parents=True)
    (tmp_path / "conf/logger/mine.yaml").write_text(text)
    code = "from dlx.loggers.logger import Logger\n\n\nclass Mine(Logger):\n    def __init__(self, path: str = 'x'):\n"
    (tmp_path / "mine.py").write_text(f"{code}        self.path = path\n")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])


def test_a_users_own(tmp_path, monkeypatch):
    own(tmp_path, monkeypatch, "# mine\nmine:\n  _target_: mine.Mine\n")
    assert compose(["logger=[mine,csv]", "logger.mine.path=y"]).logger.mine.path == "y"
    (line,) = mistakes("logger=mine", "logger.mine.pth=y")
    assert "did you mean path?" in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# mine\n_target_: mine.Mine\n", "each needs a key of its own; write it below mine:"),
        ("# mine\nmine:\n  path: y\n", "logger.mine names no class; write its _target_"),
        ("# mine\nmine: 3\n", "logger.mine names no class"),
        ("# mine\nmine:\n  _target_: mine.Mine\n  pth: y\n", "did you mean path?"),
        ("# mine\nmine:\n  _target_: os.system\n", "is not among what may be built"),
    ],
)
def test_a_users_own_file_with_a_mistake(tmp_path, monkeypatch, text, told):
    own(tmp_path, monkeypatch, text)
    lines = mistakes("logger=mine")
    assert any(told in line and "conf/logger/mine.yaml" in line for line in lines), lines
