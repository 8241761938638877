"""Trainings with one logger, with several, and with one that fails."""

import csv
import json
from pathlib import Path

import pytest

from dlx.errors import Interrupted, UsageError
from dlx.loggers.choice import make_loggers
from dlx.loggers.logger import Logger
from dlx.loggers.tensorboard.tensorboard import TensorBoardLogger
from dlx.runs.rundir import Run
from dlx.training.trainer import Trainer

SHORT = ("dataset=iris", "model.hidden=[4]", "trainer.epochs=3", "trainer.flush_every=5", "optimizer.lr=0.01")


def rows(directory: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without what no two runs have in common."""
    with (directory / "metrics.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if "per_second" not in name} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("choice", "files"),
    [
        ("tensorboard", {"events"}),
        ("csv", {"metrics.csv"}),
        ("[tensorboard,csv]", {"events", "metrics.csv"}),
        ("[]", set()),
    ],
)
def test_what_a_run_leaves(train, choice, files):
    run = train("run", *SHORT, f"logger={choice}")
    there = {path.name.partition(".out.")[0] for path in run.directory.iterdir()} - {".lock"}
    assert there == {"run.json", "config.yaml", "metrics.jsonl", "checkpoints", "figures", *files}
    assert run.read()["logger"] == [name for name in choice.strip("[]").split(",") if name]
    assert not [note for note in run.read()["notes"] if "logger" in note]


def test_without_pictures(train):
    assert not (train("run", *SHORT, "trainer.pictures=false").directory / "figures").exists()


def test_numbers_do_not_depend_on_the_logger(train):
    runs = [
        train(f"run{choice}", *SHORT, f"logger={choice}").read()["metrics"] for choice in ("[]", "[csv,tensorboard]")
    ]
    plain, both = ({k: v for k, v in one.items() if "per_second" not in k} for one in runs)
    assert plain == both


def test_an_interrupted_run_leaves_the_rows_of_an_uninterrupted_one(train, resume, monkeypatch):
    words = (*SHORT, "logger=csv", "trainer.batch=8", "trainer.save_every=0")
    whole = train("whole", *words)
    validate = Trainer._validate

    def stop(self):
        validate(self)
        if self.epoch == 2:
            raise Interrupted("stopped")

    monkeypatch.setattr(Trainer, "_validate", stop)
    with pytest.raises(Interrupted):
        train("broken", *words)
    monkeypatch.setattr(Trainer, "_validate", validate)
    broken = Run(Path("broken"))
    assert 0 < len(rows(broken.directory)) < len(rows(whole.directory))
    resume(broken)
    assert rows(broken.directory) == rows(whole.directory)


@pytest.mark.parametrize("method", ["open", "scalars", "hparams", "close"])
def test_a_failing_logger_ends_no_training(train, monkeypatch, capfd, method):
    work = getattr(TensorBoardLogger, method)

    def fail(*given):
        work(*given)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoardLogger, method, fail)
    run = train("run", *SHORT, "logger=[tensorboard,csv]")
    line = "logger tensorboard failed and is left out from here on: OSError: No space left on device"
    about = run.read()
    assert (about["status"], about["notes"][-1]) == ("finished", line)
    assert capfd.readouterr().out.count(line) == 1
    assert len(rows(run.directory)) == len((run.directory / "metrics.jsonl").read_text().splitlines())


def test_a_logger_that_refuses_its_values_starts_nothing(train, monkeypatch):
    def refuse(self):
        raise ValueError("no such place")

    monkeypatch.setattr("dlx.loggers.csv.CSVLogger.__init__", refuse)
    with pytest.raises(UsageError, match=r"logger\.csv .*refused its values: no such place"):
        train("run", *SHORT, "logger=csv")
    assert not Path("run").exists()


def test_what_is_no_logger_is_refused():
    config = {"logger": {"x": {"_target_": "torch.nn.ReLU"}}, "allow": []}
    from omegaconf import OmegaConf

    with pytest.raises(UsageError, match=r"logger\.x\._target_: torch.* was given; needed: a class that derives"):
        make_loggers(OmegaConf.create(config))


def test_a_resume_may_choose_other_loggers(train):
    from dlx.cli.main import main

    run = train("run", *SHORT, "logger=[]")
    assert not list(run.directory.glob("*.csv"))
    with pytest.raises(SystemExit) as stop:
        main(["resume", "run", "trainer.epochs=5", "logger=[csv,tensorboard]"])
    assert not stop.value.code
    assert {int(row["epoch"]) for row in rows(run.directory)} == {3, 4, 5}
    assert list(run.directory.glob("events.out.*"))
    assert run.read()["status"] == "finished"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("logger=cvs", "there is no logger cvs; there are csv, tensorboard"),
        ("trainer.logger.every=3", "trainer.logger.every is now trainer.flush_every; type trainer.flush_every=3"),
        ("logger.csv.x=3", "logger.csv.x is not a key"),
    ],
)
def test_a_resume_answers_mistakes(train, capfd, word, told):
    from dlx.cli.main import main

    train("run", *SHORT)
    with pytest.raises(SystemExit) as stop:
        main(["resume", "run", "trainer.epochs=5", word])
    assert stop.value.code == 2
    assert told in capfd.readouterr().err


def sweep(*words):
    from dlx.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(["-m", "hydra.sweep.dir=sweep", "trainer.device=cpu", "trainer.threads=1", *SHORT, *words])
    assert not stop.value.code
    found = sorted(Path("sweep").glob("[0-9]*-*"), key=lambda path: int(path.name.partition("-")[0]))
    return [(json.loads((path / "run.json").read_text()), path) for path in found]


@pytest.mark.parametrize("launcher", ["basic", "vectorized"])
@pytest.mark.parametrize("swept", ["[csv],[csv,tensorboard],[]", "csv,tensorboard"])
def test_a_sweep_over_loggers(launcher, swept):
    runs = sweep(f"hydra/launcher={launcher}", f"logger={swept}")
    expected = [["csv"], ["csv", "tensorboard"], []] if "[" in swept else [["csv"], ["tensorboard"]]
    assert [about["logger"] for about, _ in runs] == expected
    for names, (about, path) in zip(expected, runs, strict=True):
        assert about["status"] == "finished"
        assert (path / "metrics.csv").exists() == ("csv" in names)
        assert bool(list(path.glob("events.out.*"))) == ("tensorboard" in names)


def test_a_stack_logs_as_each_alone_and_says_what_fails(monkeypatch, capfd):
    scalars = TensorBoardLogger.scalars

    def fail(self, step, values, epoch, time):
        if self.directory.name.startswith("1-"):
            raise RuntimeError("no connection")
        scalars(self, step, values, epoch, time)

    monkeypatch.setattr(TensorBoardLogger, "scalars", fail)
    runs = sweep("hydra/launcher=vectorized", "logger=[csv,tensorboard]", "seed=1,2,3")
    line = "logger tensorboard failed and is left out from here on: RuntimeError: no connection"
    assert [line in about["notes"] for about, _ in runs] == [False, True, False]
    assert capfd.readouterr().out.count(line) == 1
    assert len({len(rows(path)) for _, path in runs}) == 1


def test_using_a_model_needs_no_logger_of_the_one_who_trained_it(train, monkeypatch, tmp_path):
    """Another machine has no ./mine.py: the model is evaluated all the same, and only a resume asks for the logger."""
    from dlx.cli.main import main

    run = train("run", *SHORT)
    text = (run.directory / "config.yaml").read_text()
    (run.directory / "config.yaml").write_text(
        text.replace("logger:\n", "logger:\n  mine:\n    _target_: mine.Mine\n", 1)
    )
    for words, code in ((["evaluate", "run"], 0), (["resume", "run", "trainer.epochs=5"], 2)):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert (stop.value.code or 0) == code, words


def test_the_base_class_does_nothing_but_scalars(tmp_path):
    logger = Logger()
    logger.open(tmp_path)
    logger.flush()
    logger.text("a", "b", 1)
    logger.close()
    with pytest.raises(NotImplementedError):
        logger.scalars(1, {}, 0, 0.0)
