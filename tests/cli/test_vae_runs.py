"""Runs of variational autoencoders: names of likelihoods, binarization, resuming, verbs and pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlx.datasets.images.digits import Digits
from dlx.datasets.loader import Loader
from dlx.datasets.splits import Split, Stream
from dlx.errors import UsageError
from dlx.models.autoencoders.vae.vae import VAE
from dlx.tasks.elbo.elbo import ELBO
from dlx.tasks.elbo.pictures import make_fixed_codes
from dlx.training.checkpoint import load as checkpoint
from tests.conftest import loaded, same
from tests.verbs import dlx, trained

TINY = ("model=vae", "model.hidden=[16]", "model.latent=2", "trainer.epochs=2", "trainer.batch=128")


# -- binarization ------------------------------------------------------------------------------------------------------


def test_static_binarization_is_drawn_once_with_the_intensities():
    grey = loaded(Digits())
    drawn = [loaded(Digits(binarize="static", seed=seed)) for seed in (0, 0, 1)]
    x = {i: dataset.splits["train"].x for i, dataset in enumerate(drawn)}
    assert torch.equal(x[0], x[1])
    assert not torch.equal(x[0], x[2])
    assert x[0].dtype == torch.uint8
    assert set(x[0].unique().tolist()) == {0, 16}
    means, rates = grey.splits["train"].x.double() / 16, x[0].double() / 16
    assert float((means.mean() - rates.mean()).abs()) < 4 * 0.5 / rates.numel() ** 0.5
    for level in (4, 8, 12):  # pixels of one intensity
        chosen = rates[grey.splits["train"].x == level]
        assert float(chosen.mean()) == pytest.approx(level / 16, abs=4 * 0.5 / len(chosen) ** 0.5)
    assert set(rates[grey.splits["train"].x == 16].tolist()) == {1.0}


def test_static_examples_stay_as_they_are_and_others_are_drawn():
    dataset = loaded(Digits(binarize="static"))
    x = dataset.splits["test"].x
    for train in (True, False):
        assert torch.equal(dataset.transform(x, train), x.float() / 16)
    loader = Loader(dataset, batch=50)
    epochs = [torch.cat([batch.x for batch in loader.train(epoch)]).sum((1, 2, 3)).sort().values for epoch in (0, 1)]
    assert torch.equal(*epochs)
    grey = torch.full((1, 1, 8, 8), 8, dtype=torch.uint8)
    found = dataset.transform(grey, False)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(found, dataset.transform(grey, False))


def test_static_binarization_of_what_is_read_from_files():
    from dlx.datasets.images.binarization import binarize_split

    images = [(torch.full((1, 4, 4), 100, dtype=torch.uint8), k) for k in range(200)]
    found = binarize_split(Stream(images), 255.0, (0, 1))
    once, again = found.data[7][0], found.data[7][0]
    assert torch.equal(once, again)
    values = torch.stack([found.data[k][0] for k in range(200)])
    assert set(values.unique().tolist()) == {0, 255}
    assert float(values.double().mean() / 255) == pytest.approx(100 / 255, abs=4 * 0.5 / 3200**0.5)
    assert not torch.equal(values[0], values[1])


def test_stochastic_batches_do_not_depend_on_where_a_run_was_broken_off():
    loader = Loader(loaded(Digits(binarize="stochastic")), batch=30)
    whole = [batch.x for batch in loader.train(3)]
    rest = [batch.x for batch in loader.train(3, start=19)]
    assert all(torch.equal(a, b) for a, b in zip(whole[19:], rest, strict=True))


# -- metrics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binarize", ["static", "stochastic", "threshold", "none"])
def test_likelihoods_are_named_by_their_binarization(train, binarize):
    run = train("a", *TINY, f"dataset.binarize={binarize}", "task.importance=20")
    metrics = run.read()["metrics"]
    name = "unbinarized" if binarize == "none" else binarize
    assert {f"test/elbo_{name}", f"val/best_elbo_{name}", f"test/log_p_20_{name}"} <= set(metrics)
    elbo = -(metrics[f"test/reconstruction_{name}"] + metrics["test/kl"])
    assert metrics[f"test/elbo_{name}"] == pytest.approx(elbo)
    assert metrics[f"test/log_p_20_{name}"] > elbo
    assert 1 <= metrics["test/importance_effective"] <= 20


def test_densities_have_no_binarization_in_their_name(train):
    metrics = train("a", "model=vae", "dataset=iris", "model.latent=2", "trainer.epochs=3").read()["metrics"]
    assert "test/elbo" in metrics
    assert metrics["test/active_units"] in (0, 1, 2)


def test_metrics_are_those_of_the_whole_split_however_it_is_cut():
    torch.manual_seed(0)
    vae, task = VAE([1, 8, 8], latent=2, hidden=[16]).double(), ELBO()
    dataset = loaded(Digits())
    task.attach(dataset)
    task.validate_model(vae)
    x = dataset.transform(dataset.splits["test"].x, False).double()
    from dlx.batch import Batch

    with torch.no_grad():
        whole = task.split_metrics(vae, [Batch(x)])
        parts = task.split_metrics(vae, [Batch(part) for part in x.split(100)])
    assert whole["kl"] == pytest.approx(parts["kl"])
    assert whole["elbo_unbinarized"] == pytest.approx(parts["elbo_unbinarized"], abs=0.2)  # other codes are drawn
    assert whole["active_units"] == parts["active_units"]


def test_what_beta_and_several_samples_choose_the_best_model_by(train):
    beta = train("a", *TINY, "model.beta=4").read()["metrics"]
    assert beta["test/beta_elbo_unbinarized"] == pytest.approx(
        -(beta["test/reconstruction_unbinarized"] + 4 * beta["test/kl"])
    )
    assert "val/best_beta_elbo_unbinarized" in beta
    several = train("b", *TINY, "task.bound=importance", "task.samples=5").read()["metrics"]
    assert several["val/best_bound_5_unbinarized"] >= several["val/elbo_unbinarized"]


def test_other_models_are_refused(train):
    with pytest.raises(UsageError, match=r"task=elbo was given the model MLP"):
        train("a", "model=mlp", "task=elbo")


# -- resuming ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vae", "conv_vae"])
def test_a_resumed_run_equals_one_that_was_never_broken_off(train, resume, model):
    more = ("model.conditional=true", "model.warm_up=20", "dataset.binarize=stochastic", "scheduler=cosine")
    words = (f"model={model}", "dataset.limit=300", "trainer.batch=50", "trainer.epochs=4", *more)
    straight = train("a", *words)
    broken = train("b", *words, stop=9)
    resumed = resume(broken)
    a, b = (checkpoint(run.checkpoints / "last.pt", "cpu") for run in (straight, resumed))
    assert same(a["model"], b["model"])
    assert same(a["procedure"], b["procedure"])
    assert straight.read()["metrics"] == resumed.read()["metrics"]


def test_evaluation_repeats_itself(tmp_path):
    run = trained(tmp_path / "run", *TINY, "dataset.binarize=stochastic")
    words = ("evaluate", run.directory, "task.importance=50", "--json")
    found = json.loads(dlx(*words))
    assert json.loads(dlx(*words)) == found
    assert found["test/log_p_50_stochastic"] > found["test/elbo_stochastic"]
    assert found["test/elbo_stochastic"] == run.read()["metrics"]["test/elbo_stochastic"]


# -- verbs and pictures ------------------------------------------------------------------------------------------------


def test_fixed_codes():
    lattice = make_fixed_codes(70, 2, 0).view(8, 8, 2)
    assert torch.equal(lattice[0, :, 0], lattice[7, :, 0])
    assert (lattice[0, :, 1] > lattice[1, :, 1]).all(), "as on a map: upwards"
    expected = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(8) + 0.5) / 8)
    assert torch.allclose(lattice[0, :, 0], expected)
    assert torch.equal(make_fixed_codes(5, 7, 3), make_fixed_codes(5, 7, 3))


def test_pictures(tmp_path):
    run = trained(tmp_path / "run", *TINY)
    found = {path.stem for path in (run.directory / "figures").glob("*.png")}
    assert {"samples", "reconstructions", "interpolations", "latent_map"} <= found


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("vae") / "run", *TINY, "model.conditional=true")


def test_samples_of_one_class_and_of_each(conditional):
    dlx("sample", conditional.directory)
    with np.load("sample.npz") as found:
        assert found["x"].shape == (80, 1, 8, 8)
        assert found["label"].tolist() == [k for k in range(10) for _ in range(8)]
    with Image.open("sample.png") as picture:
        assert picture.height / picture.width == pytest.approx(10 / 8, rel=0.01)
    dlx("sample", conditional.directory, "--clamp", "label=7", "-n", 5, "-o", "seven.npz")
    with np.load("seven.npz") as found:
        assert found["label"].tolist() == [7] * 5
    dlx("sample", conditional.directory, "-n", 23, "-o", "uneven.png")
    dlx("sample", conditional.directory, "-n", 23, "-o", "uneven.npz")
    with np.load("uneven.npz") as found:
        assert np.bincount(found["label"]).tolist() == [3, 3, 3, *[2] * 7]


@pytest.mark.parametrize("clamp", ["label=11", "label=eleven", "labels=1", "7"])
def test_clamps_that_say_nothing(conditional, clamp):
    with pytest.raises(UsageError, match="--clamp"):
        dlx("sample", conditional.directory, "--clamp", clamp)


def test_only_conditional_models_are_clamped(tmp_path):
    run = trained(tmp_path / "run", *TINY)
    with pytest.raises(UsageError, match=r"type dlx train … model\.conditional=true"):
        dlx("sample", run.directory, "--clamp", "label=7")


def test_codes_and_reconstructions(conditional, images):
    dlx("predict", conditional.directory, "--encode")
    dlx("predict", conditional.directory, "--reconstruct", "--split", "val")
    with np.load("codes.npz") as found:
        assert found["code"].shape == (359, 2)
        assert found["label"].shape == (359,)
    with np.load("reconstructions.npz") as found:
        assert found["reconstruction"].shape == found["x"].shape == (144, 1, 8, 8)
        assert 0 <= found["reconstruction"].min() < found["reconstruction"].max() <= 16, "in the units of the data"
        assert set(np.unique(found["x"])) <= set(range(17))
    assert Path("codes.png").exists()
    assert Path("reconstructions.png").exists()
    np.save("x.npy", images)
    dlx("predict", conditional.directory, "x.npy", "--reconstruct", "-o", "new/all")
    assert {path.name for path in Path("new/all").iterdir()} == {"reconstructions.npz", "reconstructions.png"}
    dlx("predict", conditional.directory, "x.npy", "--encode", "-o", "codes.csv")
    assert Path("codes.csv").read_text().startswith("code_0,code_1\n")
    dlx("predict", conditional.directory, "x.npy", "--reconstruct", "-o", "only.png")
    with Image.open("only.png") as picture:
        assert picture.width > picture.height


def test_codes_by_the_run_are_those_of_the_model(tmp_path):
    from dlx.parts import load_trained
    from dlx.runs.saved import load_config

    run = trained(tmp_path / "run", *TINY)
    dlx("predict", run.directory, "--encode", "-o", "codes.npy")
    parts, _ = load_trained(run, load_config(run))
    split = parts.dataset.splits["test"]
    assert isinstance(split, Split)
    with torch.no_grad():
        expected = parts.model.encode(split.x.float() / 16)
    assert np.allclose(np.load("codes.npy"), expected.numpy(), atol=1e-5)


def test_what_has_no_codes_says_so(digits, images):
    with pytest.raises(UsageError, match=r"--encode was given for the model MLP"):
        dlx("predict", digits.directory, "--encode")
    with pytest.raises(UsageError, match="no INPUT was given"):
        dlx("predict", digits.directory)
    np.save("x.npy", images)
    with pytest.raises(UsageError, match=r"--split val was given"):
        dlx("predict", digits.directory, "x.npy", "--split", "val")


def test_other_models_have_codes_too(tmp_path):
    run = trained(tmp_path / "run", "model=rbm", "model.hidden=8", "trainer.epochs=1")
    dlx("predict", run.directory, "--encode", "-o", "codes.npz")
    with np.load("codes.npz") as found:
        assert found["code"].shape == (359, 8)


def test_the_plane_of_codes_is_that_of_their_principal_components():
    from sklearn.decomposition import PCA

    from dlx.figures.plane import plot_codes, project_to_plane

    codes = torch.randn(300, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 7)
    points, share = project_to_plane(codes)
    pca = PCA(2).fit(codes.double().numpy())
    expected = pca.transform(codes.double().numpy())
    assert np.allclose(np.abs(points.numpy()), np.abs(expected), atol=1e-4)
    assert share == pytest.approx(pca.explained_variance_ratio_.sum())
    assert plot_codes(codes, torch.arange(300) % 3, ["a", "b", "c"]).shape[0] == 3
    assert plot_codes(codes[:, :1]) is None
