"""dlx from Python."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

import dlx
from dlx.errors import UsageError
from tests.conftest import ROOT

QUICK = ("model.hidden=[32]", "trainer.epochs=2", "trainer.threads=1", "trainer.device=cpu", "optimizer.lr=0.01")


@pytest.fixture
def run():
    return dlx.train(*QUICK)


def test_train(run):
    directory = Path(*run.directory.parts[:3])
    assert directory == Path("outputs/digits/mlp")
    assert run.directory.name.endswith(run.about["id"])
    assert run.about["status"] == "finished"
    assert (run.about["model"], run.about["dataset"]) == ("mlp", "digits")
    assert run.about["overrides"] == list(QUICK)
    assert run.metrics["test/accuracy"] > 0.5
    assert run.config.optimizer.lr == 0.01
    assert "hydra" not in run.config
    assert OmegaConf.load(run.directory / ".hydra" / "overrides.yaml") == list(QUICK)
    assert "test/accuracy" in repr(run)


def test_look_at_it(run):
    trained = {k: v for k, v in run.metrics.items() if k.startswith("test/")}
    assert trained.items() < run.evaluate().items(), "and scikit-learn's scores besides"
    data = load_digits()
    labels = run.predict(data.images)
    assert isinstance(labels, np.ndarray)
    assert labels.shape == (1797,)
    assert (labels == data.target).mean() > 0.5
    x = torch.from_numpy(data.images[:9])
    assert isinstance(run.predict(x), torch.Tensor)
    assert run.predict(x).tolist() == labels[:9].tolist()
    assert run.predict(data.images[4]).tolist() == [labels[4]]
    np.save("x.npy", data.images[:3])
    assert run.predict("x.npy").tolist() == labels[:3].tolist()
    seen = run.model(x.float()[:, None] / 16)
    assert torch.allclose(run.predictions(x)["probability"], seen.softmax(1), atol=1e-6)
    assert not run.model.training
    assert type(run.task).__name__ == "Classification"
    assert run.names == [str(i) for i in range(10)]
    with pytest.raises(UsageError, match="generates"):
        run.sample(3)


def test_load(run):
    for name in ("last", run.directory, str(run.directory), run.about["id"][:5]):
        again = dlx.load(name)
        assert again.metrics == run.metrics
    again = dlx.load("last", "trainer.batch=7", checkpoint="last")
    images = load_digits().images[:5]
    assert again.predict(images).shape == (5,)
    with pytest.raises(UsageError, match="nothing"):
        dlx.load("nothing")
    with pytest.raises(UsageError, match="do not fit"):
        dlx.load("last", "model.hidden=[3]").predict(images)


def test_sample():
    run = dlx.train("model=gan", "trainer.max_steps=3", "hydra.run.dir=here")
    assert run.directory == Path("here")
    made = run.sample(5, seed=1)
    assert made.shape == (5, 1, 8, 8)
    assert torch.equal(made, run.sample(5, seed=1))


@pytest.mark.parametrize("word", ["modle=mlp", "model=mlp,gan", "trainer.epochs=abc", "trainer.device=cuda:9"])
def test_mistakes_leave_nothing_behind(word):
    with pytest.raises(UsageError):
        dlx.train(word)
    assert not any(Path().iterdir())


def test_import_is_instant():
    code = (
        "import sys, dlx\n"
        "heavy = {'torch', 'numpy', 'hydra', 'omegaconf', 'sklearn', 'click', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'train', 'load'} <= set(dlx.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_unknown_name():
    with pytest.raises(AttributeError, match="nothing"):
        _ = dlx.nothing


def test_notes_are_shown_kept_logged_and_returned(capsys):
    """What was guessed on the way in: in the plan, run.json, TensorBoard's text, and by `dlx.train`."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = load_digits()
    np.savez("digits.npz", x=data.images.astype(np.int64), y=data.target)
    run = dlx.train("dataset=npz", "dataset.path=digits.npz", *QUICK)
    whole = "digits.npz: x: whole numbers from 0 to 16 of type int64 are read as bytes, of which 255 is white"
    assert any(note.startswith(whole) for note in run.notes)
    assert run.about["notes"] == run.notes
    printed = capsys.readouterr().out
    assert all(f"note: {note}" in printed for note in run.notes)
    events = EventAccumulator(str(run.directory), {"tensors": 0}).Reload()
    (tag,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("notes")]
    text = events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
    assert all(note in text for note in run.notes)
    assert dlx.train(*QUICK).notes == ["42 updates in all"], "bundled data needs none"


def test_notes_on_new_files_are_printed():
    """By evaluate and predict, on standard error; those of the training are not said again."""
    from importlib import import_module

    from click.testing import CliRunner
    from PIL import Image

    def run_verb(verb, *words):
        command = import_module(f"dlx.cli.commands.{verb}").command
        return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)

    for folder, extra in (("p", 0), ("q", 1)):
        for kind in "ab":
            Path(folder, kind).mkdir(parents=True)
            for i in range(8):
                Image.fromarray(np.full((4, 4), 30 * i + extra, np.uint8)).save(f"{folder}/{kind}/{i}.png")
        Path(folder, "list.txt").write_text("x")
    run = dlx.train("dataset=image_folder", "dataset.path=p", *QUICK)
    assert len(run.notes) == 2  # the other is how little was learned from
    passed = "1 file passed over: 1 of another kind (list.txt)"
    assert passed not in run_verb("evaluate", run.directory).stderr
    assert f"q: {passed}" in run_verb("evaluate", run.directory, "dataset.path=q").stderr
    predicted = run_verb("predict", run.directory, "q")
    assert passed in predicted.stderr
    assert len(predicted.stdout.splitlines()) == 17
