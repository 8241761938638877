"""`dlx visualize` and `trainer.visuals`: what they write, what they refuse, and that training does not notice."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dlx as api
from dlx.errors import UsageError
from dlx.interpretability import METHODS
from dlx.runs.rundir import Run
from dlx.training.checkpoint import load
from tests.conftest import same
from tests.verbs import dlx, trained

THIN = ("dataset=digits28", "dataset.limit=128", "trainer.epochs=1", "trainer.batch=32")


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "lenet", "model=lenet5", *THIN)


@pytest.fixture
def copied(lenet, tmp_path):
    import shutil

    shutil.copytree(lenet.directory, tmp_path / "mine")
    return Run(tmp_path / "mine")


def events(run):
    return EventAccumulator(str(run.directory), {"images": 0, "scalars": 0, "tensors": 0}).Reload()


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_without_a_method_all_that_suit_are_drawn(copied):
    dlx("visualize", copied.directory, "-n", 2)
    names = {path.stem for path in (copied.directory / "figures").glob("*.png")}
    methods = {"saliency", "occlusion"} & set(METHODS)
    assert methods
    assert all(any(method in name for name in names) for method in methods)
    assert all(any(chart in name for name in names) for chart in ("regions", "roc", "calibration"))
    assert not any("tree" in name for name in names), "a network has none"


def test_all_methods_to_figures_and_tensorboard(copied):
    before = events(copied)
    dlx("visualize", copied.directory, "-n", 2, "--method", ",".join(METHODS))
    names = {path.stem for path in (copied.directory / "figures").glob("visuals_*.png")}
    single = {f"visuals_{method}" for method in METHODS if method not in ("filters", "activations")}
    assert names == single | {
        *("visuals_filters_features.c1", "visuals_filters_features.c3"),
        *("visuals_activations_0", "visuals_activations_1"),
    }
    assert all(pixels(copied.directory / "figures" / f"{name}.png").std() > 5 for name in names)
    after = events(copied)
    shown = {tag for tag in after.Tags()["images"] if tag.startswith("visuals/")}
    assert {tag.replace("/", "_") for tag in shown} == names
    step = copied.read()["step"]
    assert all(image.step == step for tag in shown for image in after.Images(tag))
    for tag in before.Tags()["scalars"]:  # the run's own file stays whole, its HParams row too
        assert after.Scalars(tag) == before.Scalars(tag)
    assert set(after.summary_metadata) >= {"_hparams_/session_start_info", "_hparams_/session_end_info"}


def test_elsewhere_the_run_stays_as_it_is(copied):
    files = sorted(copied.directory.rglob("*"))
    dlx("visualize", copied.directory, "--method", "saliency,grad_cam", "-o", "there")
    assert sorted(copied.directory.rglob("*")) == files
    assert sorted(path.name for path in Path("there").iterdir()) == ["visuals_grad_cam.png", "visuals_saliency.png"]


def test_a_run_under_way_keeps_its_one_event_file(copied):
    copied.update(status="running")
    dlx("visualize", copied.directory, "--method", "filters")
    assert len(list(copied.directory.glob("events.out.tfevents.*"))) == 1
    assert (copied.directory / "figures" / "visuals_filters_features.c1.png").exists()


def test_given_images_are_those_that_are_seen(copied, images):
    """The same examples from a file give the same picture as from the split, but for the true labels below."""
    run = api.load(copied.directory)
    split = run.parts.dataset.splits["test"]
    np.save("x.npy", split.x[:3].numpy())
    dlx("visualize", copied.directory, "x.npy", "--method", "saliency", "-o", "given")
    dlx("visualize", copied.directory, "trainer.threads=1", "-n", 3, "--method", "saliency", "-o", "split")
    given, own = (pixels(f"{name}/visuals_saliency.png") for name in ("given", "split"))
    both = 2 * (4 * 28 + 4)
    assert np.array_equal(given[:both], own[:both])
    assert len(own) > len(given)
    Path("pictures").mkdir()
    Image.fromarray(split.x[0, 0].numpy()).save("pictures/a.png")
    dlx("visualize", copied.directory, "pictures", "--method", "grad_cam", "-o", "folder")
    assert Path("folder/visuals_grad_cam.png").exists()


def test_filters_in_the_file_are_the_weights(copied):
    dlx("visualize", copied.directory, "--method", "filters", "--layer", "features.c1", "-o", "there")
    weight = load(copied.checkpoints / "best.pt")["model"]["features.c1.weight"][:, 0]
    picture = pixels("there/visuals_filters_features.c1.png")[..., 0]
    scale, gap = 10, 2
    for k, w in enumerate(weight):
        top, left = gap + (k // 3) * (5 * scale + gap), gap + (k % 3) * (5 * scale + gap)
        tile = picture[top : top + 5 * scale : scale, left : left + 5 * scale : scale] / 255
        assert np.allclose((tile - 0.5) * 2 * float(w.abs().max()), w.numpy(), atol=float(w.abs().max()) / 200)


def test_layers_classes_and_units(copied):
    run = api.load(copied.directory)
    one = run.visualize("grad_cam", label=3, n=2)["grad_cam"]
    other = run.visualize("grad_cam", label="4", n=2)["grad_cam"]
    assert not torch.equal(one, other)
    assert set(run.visualize("deconvnet", "maximization", layer="features.c3", n=1)) == {
        *("deconvnet/features.c3", "maximization/features.c3"),
    }
    assert set(run.visualize("maximization", layer="features.c3", unit=5)) == {"maximization/features.c3"}
    assert list(run.visualize("activations", layer="features.s2", n=1)) == ["activations/0"]
    split = run.parts.dataset.splits["test"]
    assert list(run.visualize("occlusion", x=split.x[:1])) == ["occlusion"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "sailency"], "did you mean saliency"),
        (["--layer", "features.c33"], r"did you mean features\.c3\? the layers are features\.c1, .*classifier\.output"),
        (["--method", "filters", "--layer", "features.s2"], r"the convolutions are features\.c1, features\.c3"),
        (["--method", "grad_cam", "--layer", "classifier.f6"], "grad_cam needs maps"),
        (["--class", "11"], "--class 11 was given; the classes are 0 to 9"),
        (["--class", "cat"], "the classes are"),
        (["--unit", "3"], "type --layer"),
        (["--method", "deconvnet", "--layer", "features.c1", "--unit", "6"], "has 6; needed: 0 to 5"),
        (["nothing.png"], "no such file"),
        (["model.activation=tanh"], "do not fit"),
    ],
)
def test_what_is_refused(copied, words, message):
    with pytest.raises(UsageError, match=message):
        dlx("visualize", copied.directory, *words)
    assert not list((copied.directory / "figures").glob("visuals_*"))


def test_networks_without_convolutions(mine):
    dlx("visualize", mine.directory, "-n", 2)
    names = {path.stem for path in (mine.directory / "figures").glob("visuals_*.png")}
    assert {"visuals_saliency", "visuals_occlusion", "visuals_maximization", "visuals_activations_0"} <= names
    for method in ("filters", "deconvnet", "grad_cam"):
        with pytest.raises(UsageError, match=f"{method} needs a network with convolutions, such as lenet5"):
            dlx("visualize", mine.directory, "--method", method)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=naive_bayes"], "through which no gradient flows"),
        (["model=mlp", "dataset=iris"], "needed: images"),
        (["model=rbm", "dataset.limit=64"], "needs a classifier"),
    ],
)
def test_what_cannot_be_seen_through(tmp_path, words, message):
    run = trained(tmp_path / "run", *words, "trainer.epochs=1", "logger=[]")
    with pytest.raises(UsageError, match=message):
        dlx("visualize", run.directory, "--method", "saliency")


@pytest.mark.parametrize(
    "words",
    [
        ("model=resnet20", "model.width=0.2", "trainer.visuals=[filters,activations,deconvnet,grad_cam]"),
        ("model.dropout=0.3", "model.batch_norm=true", "trainer.visuals=[saliency,occlusion,maximization]"),
    ],
    ids=["residual", "dropout"],
)
def test_training_does_not_notice(train, words):
    quick = (*words[:-1], "dataset=digits28", "dataset.limit=64", "trainer.batch=32", "trainer.epochs=2")
    plain = train("plain", *quick)
    seen = train("seen", *quick, words[-1], "trainer.pictures_every=1")
    one, two = (load(run.checkpoints / "last.pt") for run in (plain, seen))
    for part in ("model", "procedure", "random"):
        assert same(one[part], two[part])
    assert plain.read()["metrics"] == seen.read()["metrics"]
    found = events(seen)
    tags = [tag for tag in found.Tags()["images"] if tag.startswith("visuals/")]
    wanted = words[-1].split("[")[1].rstrip("]").split(",")
    assert {tag.split("/")[1] for tag in tags} == set(wanted)
    assert all([image.step for image in found.Images(tag)] == [2, 4, 4] for tag in tags)
    assert (seen.directory / "figures" / f"{tags[0].replace('/', '_')}.png").exists()


def test_visuals_that_do_not_suit_leave_no_directory(train, tmp_path):
    with pytest.raises(UsageError, match="filters needs a network with convolutions"):
        train("a", "trainer.visuals=[filters]")
    assert not (tmp_path / "a").exists()


def test_classes_in_turn_where_a_split_is_sorted():
    from dlx.datasets.dataset import Dataset
    from dlx.datasets.splits import Split, Stream
    from dlx.interpretability.subject import select_examples

    dataset = Dataset()
    dataset.classes = 3
    y = torch.tensor([0, 0, 0, 1, 1, 2])
    x = torch.arange(6.0).view(6, 1, 1, 1)
    stream = Stream([(x[i], int(y[i])) for i in range(6)], y)
    for dataset.splits in ({"test": Split(x, y)}, {"test": stream}):
        found, labels = select_examples(dataset, "test", 5)
        assert found.flatten().tolist() == [0, 3, 5, 1, 4]
        assert labels.tolist() == [0, 1, 2, 0, 1]
    dataset.splits = {"test": Split(x, y[[1, 3, 0, 5, 4, 2]])}
    assert select_examples(dataset, "test", 4)[0].flatten().tolist() == [0, 1, 2, 3]
