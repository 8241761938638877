"""Annealed importance sampling against partition functions that were summed."""

import json

import pytest
import torch

from dlx.errors import UsageError
from dlx.models.boltzmann.ais import Bipartite, anneal, base_rate_biases, inverse_temperatures
from dlx.models.boltzmann.rbm import RBM
from dlx.models.boltzmann.units import UNITS
from tests.verbs import dlx


def machine(visible, hidden, seed, units="binary", scale=0.4):
    torch.manual_seed(seed)
    rbm = RBM([visible], hidden=hidden, visible_units=units).requires_grad_(False)
    rbm.W.copy_(scale * torch.randn_like(rbm.W))
    rbm.b.copy_(torch.randn_like(rbm.b))
    rbm.c.copy_(torch.randn_like(rbm.c))
    return rbm


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("base", ["uniform", "data"])
@pytest.mark.parametrize(("visible", "hidden", "units", "scale"), [(64, 16, "binary", 0.4), (12, 8, "gaussian", 0.2)])
def test_the_exact_value_lies_in_the_interval(seed, base, visible, hidden, units, scale):
    rbm = machine(visible, hidden, seed, units, scale)
    exact = float(rbm.log_partition())
    rates = base_rate_biases(rbm.b.sigmoid() if units == "binary" else rbm.b, UNITS[units]) if base == "data" else None
    found = anneal(rbm.bipartite(), rates, chains=200, steps=1000)
    assert found.low < found.log_Z < found.high
    assert found.log_Z == pytest.approx(exact, abs=0.2)  # over twenty seeds at most 0.13
    assert found.low - 0.1 < exact < found.high + 0.1  # they left the interval by 0.05 at most
    assert 1 <= found.effective_chains <= 200


@pytest.mark.slow
def test_an_image_sized_machine():
    rbm = machine(784, 20, 0, scale=0.05)
    found = anneal(rbm.bipartite(), base_rate_biases(rbm.b.sigmoid()), chains=100, steps=1000)
    assert found.log_Z == pytest.approx(float(rbm.log_partition()), abs=0.15)


def test_a_machine_without_weights_is_its_own_base():
    """Every weight is 1 where the base is the machine: log Z without error, at any number of temperatures."""
    b, c = torch.randn(7), torch.randn(5)
    found = anneal(Bipartite(torch.zeros(7, 5), b, c), b, chains=4, steps=3, other=c)
    exact = float(torch.nn.functional.softplus(b).sum() + torch.nn.functional.softplus(c).sum())
    assert found.log_Z == pytest.approx(exact, abs=1e-5)
    assert found.high - found.low < 1e-5
    assert found.effective_chains == pytest.approx(4)


@pytest.mark.parametrize("other", [None, torch.tensor([1.0, -2.0, 0.5, 0.0])])
def test_the_estimate_of_z_is_unbiased_at_any_number_of_temperatures(other):
    """Neal 2001: the mean weight is Z / Z_base, even where a single jump from base to machine is made."""
    rbm = machine(6, 4, 5, scale=0.3)
    found = anneal(rbm.bipartite(), None, chains=200_000, steps=3, other=other)
    assert found.log_Z == pytest.approx(float(rbm.log_partition()), abs=0.02)


def test_temperatures():
    betas = inverse_temperatures(14500)
    assert len(betas) == 14501
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (betas.diff() > 0).all()
    assert betas[500] == 0.5  # as the paper spaces them
    assert betas[4500] == pytest.approx(0.9)
    assert (inverse_temperatures(1).diff() > 0).all()


def test_base_rates_have_the_means():
    p = torch.tensor([0.0, 0.3, 1.0])
    assert torch.allclose(base_rate_biases(p, smoothing=0.0)[1].sigmoid(), p[1])
    assert base_rate_biases(p).isfinite().all()
    assert torch.equal(base_rate_biases(p, UNITS["gaussian"]), p)


def test_evaluation_gives_an_interval(train):
    options = ("model=rbm", "model.hidden=24", "dataset.limit=300")
    run = train("a", *options, "trainer.epochs=3")
    assert "test/log_likelihood_ais" not in run.read()["metrics"]  # 24 x 64: too many states, and not asked for
    found = json.loads(dlx("evaluate", run.directory, "task.ais=300", "--json"))
    assert (
        found["test/log_likelihood_ais_low"]
        <= found["test/log_likelihood_ais"]
        <= found["test/log_likelihood_ais_high"]
    )
    by_energy = -found["test/free_energy"] - found["test/log_partition_ais"]
    assert found["test/log_likelihood_ais"] == pytest.approx(by_energy, abs=1e-3)


def test_what_can_be_summed_is_not_estimated(train):
    run = train("a", "model=rbm", "model.hidden=10", "dataset.limit=300", "trainer.epochs=1")
    found = json.loads(dlx("evaluate", run.directory, "task.ais=300", "--json"))
    assert "test/log_likelihood" in found
    assert "test/log_likelihood_ais" not in found


def test_a_classifier_may_have_a_density_too(train):
    run = train(
        "a", "model=dbn", "model.hidden=[12,8]", "model.labelled=true", "procedure=up_down", "dataset.limit=300",
        "procedure.pretrain.epochs=1", "trainer.epochs=1", "optimizer=momentum", "optimizer.lr=0.01",
    )  # fmt: skip
    assert "test/accuracy" in run.read()["metrics"]
    found = json.loads(dlx("evaluate", run.directory, "--ais", "--json"))
    assert -64 < found["test/log_likelihood_bound"] < 0  # its top RBM is small enough to be summed
    assert "test/accuracy" not in found


def test_a_model_without_energy_is_refused(train):
    run = train("a", "model=categorical_hmm", "trainer.epochs=1")
    with pytest.raises(UsageError, match="--ais was given; CategoricalHMM has no partition function"):
        dlx("evaluate", run.directory, "--ais")


@pytest.mark.parametrize("model", ["rbm", "dbn", "dbm", "helmholtz"])
def test_binary_units_want_probabilities(train, model):
    ways = r"dataset\.scale=minmax" + (r" or model\.visible_units=gaussian" if model == "rbm" else "")
    with pytest.raises(UsageError, match=rf"and iris values from -[12].*needed: from 0 to 1; type {ways}$"):
        train("a", f"model={model}", "dataset=iris", "trainer.epochs=1")
    if model == "rbm":
        with pytest.raises(UsageError, match=r"BernoulliHMM .*needed: from 0 to 1; type model=gaussian_hmm$"):
            train("c", "model=bernoulli_hmm", "dataset=switching", "trainer.epochs=1")
    if model in ("dbn", "helmholtz"):
        with pytest.raises(UsageError, match=r"model\.hidden=\[\] was given; needed: one layer or more"):
            train("b", f"model={model}", "model.hidden=[]", "trainer.epochs=1")


def test_who_knows_of_no_classes_is_told_how_it_would(train):
    run = train("a", "model=dbn", "model.hidden=[8]", "procedure=backprop", "dataset.limit=100", "trainer.epochs=1")
    with pytest.raises(UsageError, match=r"DBN was not trained with classes; .* type dlx train … model\.labelled=true"):
        dlx("sample", run.directory, "--clamp", "label=7")
    run = train("b", "model=rbm", "model.hidden=8", "dataset.limit=100", "trainer.epochs=1")
    with pytest.raises(UsageError, match="needed: a conditional model, such as gan"):
        dlx("sample", run.directory, "--clamp", "label=7")
