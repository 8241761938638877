"""Hidden Markov models of vectors against all paths, hmmlearn, and what generated the data."""

import numpy as np
import pytest
import torch
from hmmlearn.hmm import GMMHMM as ReferenceMixture
from hmmlearn.hmm import GaussianHMM as Reference

from dlx.batch import Batch
from dlx.models.markov.bernoulli_hmm import BernoulliHMM
from dlx.models.markov.gaussian_hmm import GaussianHMM
from dlx.models.markov.gmm_hmm import GMMHMM
from dlx.procedures.em import EM
from dlx.tasks.density import Density
from tests.markov import all_paths, flat, lengths_of

KINDS = {"diagonal": "diag", "full": "full", "spherical": "spherical", "tied": "tied"}


def ragged(features=3, examples=10, longest=40, seed=0):
    """Vectors about two centres, and not about the origin."""
    generator = torch.Generator().manual_seed(seed)
    lengths = lengths_of(examples, longest, seed)
    x = torch.randn(examples, longest, features, generator=generator, dtype=torch.float64)
    x += 5 + 2 * torch.randint(0, 2, (examples, longest, 1), generator=generator)
    return x * (torch.arange(longest) < lengths[:, None])[..., None], lengths


def begun(model, x):
    torch.manual_seed(1)
    model.prepare(x)
    return model


def learn(model, x, lengths, iterations):
    procedure = EM(tolerance=0)
    procedure.bind(model, Density())
    for _ in range(iterations):
        procedure.step(Batch(x[:4], lengths=lengths[:4]))
        procedure.step(Batch(x[4:], lengths=lengths[4:]))
        procedure.end_epoch()


def covariances(model):
    """As hmmlearn wants them to be given."""
    full = model.normal.covariances.detach()
    variances = full.diagonal(dim1=1, dim2=2)
    return {"full": full, "tied": full[0], "diagonal": variances, "spherical": variances[:, 0]}[
        model.normal.covariance
    ].numpy()


def reference(model, **options):
    other = Reference(model.states, KINDS[model.normal.covariance], init_params="", tol=-np.inf, **options)
    other.startprob_ = model.log_start.detach().exp().numpy()
    other.transmat_ = model.log_transition.detach().exp().numpy()
    other.means_ = model.normal.mean.detach().numpy().copy()
    other.n_features = model.normal.features
    other.covars_ = covariances(model)
    return other


@pytest.mark.parametrize("covariance", KINDS)
def test_all_paths_of_vectors(covariance):
    x, _ = ragged(examples=1, longest=5)
    model = begun(GaussianHMM((5, 3), 3, covariance), ragged()[0])
    all_paths(model, x)
    mixture = begun(GMMHMM((5, 3), 2, 2, covariance), ragged()[0])
    all_paths(mixture, x)


def test_all_paths_of_bits():
    torch.manual_seed(0)
    all_paths(BernoulliHMM((5, 4), 3), torch.bernoulli(torch.full((1, 5, 4), 0.3)))


@pytest.mark.parametrize("covariance", KINDS)
def test_inference_equals_hmmlearn_on_ragged_sequences(covariance):
    x, lengths = ragged()
    model = begun(GaussianHMM((40, 3), 3, covariance), x)
    other = reference(model)
    X, n = flat(x, lengths)
    told = model.posterior(x, lengths)
    log_likelihood, posteriors = other.score_samples(X, n)
    assert float(told.log_likelihood.sum()) == pytest.approx(log_likelihood, rel=1e-10)
    ours = torch.cat([p[:k] for p, k in zip(told.states, lengths, strict=True)]).numpy()
    np.testing.assert_allclose(ours, posteriors, atol=1e-8)
    paths = model.decode_states(x, lengths)
    for row, path, k in zip(x, paths, lengths.tolist(), strict=True):
        assert path[:k].tolist() == other.predict(row[:k].numpy()).tolist()


@pytest.mark.parametrize("iterations", [1, 6])
@pytest.mark.parametrize("priors", [False, True])
@pytest.mark.parametrize("covariance", KINDS)
def test_learning_equals_hmmlearn(covariance, priors, iterations):
    x, lengths = ragged()
    given = {"mean_prior": 1.0, "mean_weight": 2.0, "covariance_prior": 0.5, "covariance_weight": 6.0} if priors else {}
    model = begun(GaussianHMM((40, 3), 3, covariance, floor=1e-9, **given), x)
    # hmmlearn adds a number to every entry of a full matrix; the prior of the books is a multiple of the identity.
    matrix = np.eye(3) if covariance in ("full", "tied") else 1.0
    theirs = {"means_prior": 1.0, "means_weight": 2.0, "covars_prior": 0.5 * matrix, "covars_weight": 6.0}
    other = reference(model, n_iter=iterations, **(theirs if priors else {"covars_prior": 0, "covars_weight": 1}))
    other.fit(*flat(x, lengths))
    learn(model, x, lengths, iterations)
    np.testing.assert_allclose(model.log_start.detach().exp().numpy(), other.startprob_, atol=1e-8)
    np.testing.assert_allclose(model.log_transition.detach().exp().numpy(), other.transmat_, atol=1e-8)
    np.testing.assert_allclose(model.normal.mean.detach().numpy(), other.means_, atol=1e-8)
    # spherical: after a step hmmlearn's list has every matrix as often as there are features
    theirs = other.covars_[::3] if covariance == "spherical" else other.covars_
    np.testing.assert_allclose(model.normal.covariances.detach().numpy(), theirs, atol=1e-8)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_mixtures_learn_as_hmmlearn_but_for_its_covariances(covariance):
    """hmmlearn takes squares about the means before the step, which EM does about those after it."""
    x, lengths = ragged()
    model = begun(GMMHMM((40, 3), 2, 2, covariance, floor=1e-9), x)
    X, n = flat(x, lengths)
    for _ in range(5):
        old = model.normal.mean.detach().clone()
        other = ReferenceMixture(2, 2, covariance_type=KINDS[covariance], init_params="", tol=-np.inf, n_iter=1)
        other.startprob_ = model.log_start.detach().exp().numpy()
        other.transmat_ = model.log_transition.detach().exp().numpy()
        other.weights_ = model.log_weight.detach().exp().numpy()
        other.means_ = old.view(2, 2, 3).numpy()
        full = model.normal.covariances.detach()
        shaped = full if covariance == "full" else full.diagonal(dim1=1, dim2=2)
        other.covars_ = shaped.unflatten(0, (2, 2)).numpy()
        other.n_features = 3
        log_likelihood, posteriors = other.score_samples(X, n)
        told = model.posterior(x, lengths)
        assert float(told.log_likelihood.sum()) == pytest.approx(log_likelihood, rel=1e-10)
        ours = torch.cat([p[:k] for p, k in zip(told.states, lengths, strict=True)]).numpy()
        np.testing.assert_allclose(ours, posteriors, atol=1e-8)
        other.fit(X, n)
        learn(model, x, lengths, 1)
        np.testing.assert_allclose(model.log_transition.detach().exp().numpy(), other.transmat_, atol=1e-8)
        np.testing.assert_allclose(model.log_weight.detach().exp().numpy(), other.weights_, atol=1e-8)
        mean = model.normal.mean.detach()
        np.testing.assert_allclose(mean.view(2, 2, 3).numpy(), other.means_, atol=1e-8)
        moved = mean - old
        about_old = model.normal.covariances.detach() + moved[:, :, None] * moved[:, None]
        expected = about_old if covariance == "full" else about_old.diagonal(dim1=1, dim2=2)
        np.testing.assert_allclose(expected.unflatten(0, (2, 2)).numpy(), other.covars_, atol=1e-8)


MODELS = {
    "gaussian": lambda **o: GaussianHMM((40, 3), 3, **o),
    "full": lambda **o: GaussianHMM((40, 3), 3, "full", **o),
    "tied": lambda **o: GaussianHMM((40, 3), 3, "tied", **o),
    "gmm": lambda **o: GMMHMM((40, 3), 2, 2, **o),
    "gmm full": lambda **o: GMMHMM((40, 3), 2, 2, "full", **o),
}
PRIORS = {"mean_weight": 1.0, "covariance_prior": 0.3, "covariance_weight": 5.0, "transition_prior": 1.5}


@pytest.mark.parametrize("priors", [{}, PRIORS], ids=["likelihood", "priors"])
@pytest.mark.parametrize("name", MODELS)
def test_em_never_lowers_what_it_raises(name, priors):
    x, lengths = ragged()
    model = begun(MODELS[name](floor=0.3, **priors), x)  # a floor that some variances reach
    before = -float("inf")
    for _ in range(25):
        statistics = model.statistics(x, lengths)
        after = float(statistics["log_likelihood"]) + model.log_prior()
        assert after >= before - 1e-8
        before = after
        model.maximize(statistics)
        assert float(torch.linalg.eigvalsh(model.normal.covariances.detach()).min()) > 0.3 - 1e-9


def test_em_of_bits_never_lowers_what_it_raises():
    torch.manual_seed(0)
    x, lengths = torch.bernoulli(torch.rand(10, 20, 4)), lengths_of(10, 20, 0)
    x = x * (torch.arange(20) < lengths[:, None])[..., None]
    model = begun(BernoulliHMM((20, 4), 3, emission_prior=1.2, start_prior=1.1), x)
    before = -float("inf")
    for _ in range(25):
        statistics = model.statistics(x, lengths)
        after = float(statistics["log_likelihood"]) + model.log_prior()
        assert after >= before - 1e-8
        before = after
        model.maximize(statistics)


def test_far_outliers_do_not_underflow():
    """A value that is exp(-1e6) probable in every state, and a topology that must pass through all of them."""
    torch.manual_seed(0)
    model = GaussianHMM((50, 1), 5, topology="left_to_right", floor=1e-4)
    x = torch.linspace(0, 4, 50).round()[None, :, None]
    model.prepare(x)
    with torch.no_grad():
        model.normal.spread.fill_(np.log(1e-4))
    told = model.posterior(x + 3)
    assert told.log_likelihood.isfinite().all()
    assert torch.allclose(told.states.sum(-1), torch.ones(()).double())
    found = reference(model).score(3 + x[0].numpy())
    assert float(told.log_likelihood) == pytest.approx(found, rel=1e-9)


def test_samples_have_the_models_moments():
    x, _ = ragged()
    model = begun(GMMHMM((40, 3), 2, 2, "full"), x)
    drawn = model.sample(20_000, 1)[:, 0].double()
    start, w = model.log_start.exp().detach(), model.log_weight.exp().detach()
    weight = (start[:, None] * w).flatten()
    mean = weight @ model.normal.mean.detach()
    assert torch.allclose(drawn.mean(0), mean, atol=0.1)
    off = model.normal.mean.detach() - mean
    second = (weight[:, None, None] * (model.normal.covariances.detach() + off[:, :, None] * off[:, None])).sum(0)
    assert torch.allclose(drawn.T.cov(), second, atol=0.15)


def test_the_regimes_are_found(train):
    from dlx.parts import load_trained

    run = train("a", "model=gaussian_hmm", "model.covariance=full", "dataset.examples=150")
    parts, _ = load_trained(run, parts_config(run), None)
    test = parts.dataset.splits["test"]
    paths = parts.model.decode_states(test.x, test.lengths)
    inside = paths >= 0
    table = torch.zeros(3, 3)
    table.view(-1).index_add_(0, (paths[inside] * 3 + test.y[inside]), torch.ones(int(inside.sum())))
    assert float(table.amax(1).sum() / table.sum()) > 0.85
    assert set(table.argmax(1).tolist()) == {0, 1, 2}


def parts_config(run):
    from omegaconf import OmegaConf

    return OmegaConf.load(run.directory / "config.yaml")
