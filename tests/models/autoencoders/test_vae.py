"""Variational autoencoders against closed forms: divergences, probabilistic PCA, bounds of several samples."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.autoencoders.vae.conv_vae import ConvVAE
from dlx.models.autoencoders.vae.latent import Evidence, Posterior, effective_sample_size
from dlx.models.autoencoders.vae.likelihood import Bernoulli, Gaussian
from dlx.models.autoencoders.vae.vae import VAE
from dlx.tasks.elbo.elbo import ELBO, estimate_evidence, importance_bound
from tests.conftest import same


def task(model, **options):
    made = ELBO(**options)
    made.validate_model(model)
    return made


def binary(n=32, shape=(1, 4, 4), seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)).round()


def small(seed=0, **options):
    torch.manual_seed(seed)
    return VAE([1, 4, 4], **{"latent": 3, "hidden": [8], **options}).double()


# -- the divergence ----------------------------------------------------------------------------------------------------


def test_the_divergence_is_torchs_and_that_of_samples():
    torch.manual_seed(0)
    q = Posterior(torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64))
    other = Normal(q.mean, (q.log_variance / 2).exp())
    assert torch.allclose(q.kl_divergence(), kl_divergence(other, Normal(torch.zeros(()).double(), 1.0)))
    z, noise = q.sample(100_000)
    ratio = q.log_ratio(z, noise)
    direct = Normal(0.0, 1.0).log_prob(z).sum(2) - Normal(q.mean[:, None], other.stddev[:, None]).log_prob(z).sum(2)
    assert torch.allclose(ratio, direct)
    error = ratio.std(1) / 100_000**0.5
    assert ((-ratio.mean(1) - q.kl_divergence().sum(1)).abs() < 4 * error).all()


def test_likelihoods_are_those_of_torch():
    torch.manual_seed(0)
    a, x = torch.randn(5, 3, 7, dtype=torch.float64), torch.rand(5, 7).double().round()
    exact = torch.distributions.Bernoulli(logits=a).log_prob(x[:, None]).sum(2)
    assert torch.allclose(Bernoulli().log_prob(x, a), exact)
    assert torch.allclose(Gaussian(0.3).double().log_prob(x, a), Normal(a, 0.3).log_prob(x[:, None]).sum(2))


# -- probabilistic PCA -------------------------------------------------------------------------------------------------


def ppca(seed=0):
    """Data of ten dimensions, the maximum-likelihood solution of Tipping and Bishop 1999, and a VAE that is it."""
    torch.manual_seed(seed)
    x = torch.randn(500, 3).double() @ torch.randn(3, 10).double() + 0.4 * torch.randn(500, 10).double() + 2
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    values, vectors = values.flip(0), vectors.flip(1)
    variance = values[3:].mean()
    W = vectors[:, :3] * (values[:3] - variance).sqrt()
    M = W.T @ W + variance * torch.eye(3).double()
    vae = VAE([10], latent=3, hidden=[]).double()
    with torch.no_grad():
        out, into = vae.decoder.layers[0], vae.encoder.network.layers[0]
        out.weight.copy_(W)
        out.bias.copy_(mean)
        vae.likelihood.log_std.copy_(variance.log() / 2)
        projection = torch.linalg.solve(M, W.T)  # of x - mean to the posterior's mean
        into.weight.zero_()
        into.weight[:3] = projection
        into.bias[:3] = -projection @ mean
        # The posterior's covariance σ² M⁻¹ is diagonal, since the columns of W are orthogonal.
        into.bias[3:] = (variance / M.diagonal()).log()
    truth = MultivariateNormal(mean, W @ W.T + variance * torch.eye(10).double())
    return x, vae, truth


@torch.no_grad()
def test_a_linear_vae_is_probabilistic_pca_and_its_bound_is_tight():
    x, vae, truth = ppca()
    exact = truth.log_prob(x)
    for k in (1, 7):
        assert torch.allclose(vae.log_weights(x, k=k), exact[:, None].expand(-1, k)), "every weight is p(x) itself"
    log_likelihood, divergence = vae.elbo_terms(x, k=2000)
    assert float((log_likelihood.mean(1) - divergence.sum(1) - exact).mean()) == pytest.approx(0, abs=0.01)
    assert torch.allclose(
        estimate_evidence(vae, Batch(x), 50).effective_sample_size(), torch.full((500,), 50.0).double()
    )


def test_the_maximum_likelihood_solution_is_where_the_elbo_rests():
    x, vae, _ = ppca()
    torch.manual_seed(0)
    gradient = torch.autograd.grad(task(vae, samples=2000).loss(vae, Batch(x)), list(vae.parameters()))
    torch.manual_seed(0)
    with torch.no_grad():
        for p in vae.parameters():
            p += 0.05 * torch.randn_like(p)
    elsewhere = torch.autograd.grad(task(vae, samples=200).loss(vae, Batch(x)), list(vae.parameters()))
    largest = max(float(g.abs().max()) for g in gradient)
    assert largest < 0.01 * max(float(g.abs().max()) for g in elsewhere)


def test_learning_finds_the_likelihood_of_probabilistic_pca():
    x, _, truth = ppca()
    torch.manual_seed(1)
    vae = VAE([10], latent=3, hidden=[]).double()
    vae.prepare(x)
    learn, optimizer = task(vae), torch.optim.Adam(vae.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    for _ in range(1500):
        optimizer.zero_grad()
        learn.loss(vae, Batch(x)).backward()
        optimizer.step()
        schedule.step()
    found, exact = float(estimate_evidence(vae, Batch(x), 100).bound().mean()), float(truth.log_prob(x).mean())
    assert exact - 0.02 < found < exact + 1e-3  # 0.004 below it, seen


# -- bounds of several samples -----------------------------------------------------------------------------------------


def test_more_samples_bound_closer():
    """E L_1 ≤ E L_5 ≤ E L_50 ≤ log p (Burda et al. 2016, Theorem 1), here with log p known and the posterior wrong."""
    x, vae, truth = ppca()
    torch.manual_seed(0)
    with torch.no_grad():
        vae.encoder.network.layers[0].bias[3:] += 1.0  # a posterior that is too wide
        vae.encoder.network.layers[0].bias[:3] += 0.3
        bounds = {k: torch.cat([importance_bound(vae.log_weights(x, k=k)) for _ in range(20)]) for k in (1, 5, 50)}
    exact = truth.log_prob(x).mean()
    means = [float(bounds[k].mean() - exact) for k in (1, 5, 50)]
    error = float(bounds[1].std()) / len(bounds[1]) ** 0.5
    assert means[0] < means[1] - 10 * error < means[2] - 20 * error < 0  # margins are dozens of standard errors
    log_likelihood, divergence = (part.detach() for part in vae.elbo_terms(x, k=200))
    assert float((log_likelihood.mean(1) - divergence.sum(1)).mean() - exact) == pytest.approx(means[0], abs=6 * error)


def test_the_gradient_of_the_bound_weighs_those_of_the_weights():
    """Burda et al. 2016, eq. 14; with one sample it is the ELBO's."""
    vae, x = small(), binary().double()
    params = list(vae.parameters())
    torch.manual_seed(3)
    log_w = vae.log_weights(x, k=6)
    shares = log_w.softmax(1).detach()
    expected = torch.autograd.grad(-(shares * log_w).sum(1).mean(), params)
    torch.manual_seed(3)
    found = torch.autograd.grad(task(vae, bound="importance", samples=6).loss(vae, Batch(x)), params)
    assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))


def test_one_sample_has_one_bound():
    vae, x = small(), binary().double()
    losses = []
    for bound in ("elbo", "importance"):
        torch.manual_seed(1)
        losses.append(task(vae, bound=bound, samples=1).loss(vae, Batch(x)))
    assert torch.equal(*losses)


def test_weights_stay_in_log_space():
    """A thousand dimensions: the weights themselves are far below the smallest number there is."""
    log_w = torch.randn(4, 300, dtype=torch.float64) * 20 - 5000
    expected = log_w.logsumexp(1) - math.log(300)
    found = Evidence(4, 300, torch.device("cpu"))
    for part in log_w.split(7, 1):
        found.add(part.clone())
    assert torch.allclose(found.bound(), expected)
    assert torch.allclose(importance_bound(log_w.float()), expected.float())
    shares = log_w.softmax(1)
    assert torch.allclose(found.effective_sample_size(), 1 / shares.square().sum(1))
    assert torch.allclose(effective_sample_size(log_w), found.effective_sample_size())
    assert (found.effective_sample_size() >= 1).all()


@pytest.mark.slow
def test_evidence_does_not_depend_on_how_much_is_computed_at_once(monkeypatch):
    vae, x = small(), binary().double()
    values = []
    for rows in (1, 2**21):
        monkeypatch.setattr("dlx.models.autoencoders.vae.base.MAX_DECODED_ELEMENTS", {"cpu": rows, "other": rows})
        torch.manual_seed(0)
        values.append(estimate_evidence(vae, Batch(x), 2000).bound().mean())
    assert float(values[0]) == pytest.approx(float(values[1]), abs=0.02)


# -- β -----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_beta_weighs_the_divergence():
    x = binary().double()
    losses, parts = {}, None
    for beta in (0.0, 1.0, 4.0):
        vae = small(beta=beta)
        torch.manual_seed(1)
        losses[beta] = float(task(vae).loss(vae, Batch(x)))
        torch.manual_seed(1)
        seen, divergence = vae.elbo_terms(x)
        parts = float(-seen.mean()), float(divergence.sum(1).mean())
    assert losses[0.0] == pytest.approx(parts[0])
    assert losses[1.0] == pytest.approx(parts[0] + parts[1])
    assert losses[4.0] == pytest.approx(parts[0] + 4 * parts[1])


@torch.no_grad()
def test_beta_weighs_the_ratio_of_several_samples():
    vae, x = small(), binary().double()
    torch.manual_seed(1)
    seen = vae.log_weights(x, k=4, beta=0.0)
    torch.manual_seed(1)
    assert torch.equal(seen, vae.elbo_terms(x, k=4)[0])


def test_warm_up_rises_with_the_updates():
    vae = small(beta=2.0, warm_up=4)
    rising = []
    for _ in range(6):
        rising.append(float(vae.beta()))
        vae.warm_up.constrain()
    assert rising == [0, 0.5, 1, 1.5, 2, 2]
    other = small(beta=2.0, warm_up=4)
    other.load_state_dict(vae.state_dict())
    assert float(other.beta()) == 2


# -- shapes, classes, what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 7, 13)])
def test_convolutions_lead_back_to_the_same_size(shape):
    vae = ConvVAE(shape, latent=5, channels=[4, 6], hidden=16)
    x = torch.rand(3, *shape)
    assert vae.encode(x).shape == (3, 5)
    assert vae.reconstruct(x).shape == x.shape
    assert vae.sample(2).shape == (2, *shape)
    assert vae.elbo_terms(x, k=4)[0].shape == (3, 4)


def test_images_too_small_for_the_convolutions_say_so():
    with pytest.raises(UsageError, match=r"at least 16 pixels.*model\.channels"):
        ConvVAE((1, 8, 8), channels=[2, 2, 2, 2])


@torch.no_grad()
def test_it_begins_at_the_mean_of_the_data():
    x = torch.rand(50, 1, 8, 8) * 0.6 + 0.2
    for vae in (VAE([1, 8, 8]), VAE([1, 8, 8], likelihood="gaussian")):
        vae.prepare(x)
        vae.decoder.layers[-1].weight.zero_()
        assert torch.allclose(vae.sample(1)[0], x.mean(0), atol=1e-5)
    conv = ConvVAE([1, 8, 8])
    conv.prepare(x)
    assert float(conv.last_bias().sigmoid()) == pytest.approx(float(x.mean()), abs=1e-5)


def test_what_is_no_probability_is_refused_by_a_bernoulli_likelihood():
    with pytest.raises(UsageError, match=r"type dataset\.scale=unit"):
        VAE([1, 4, 4]).prepare(torch.randn(5, 1, 4, 4))


def test_a_class_is_learned_drawn_and_recognised():
    """Two classes that are two pictures: samples of each are like it, and labels are found where none are given."""
    torch.manual_seed(0)
    pictures = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]).view(2, 1, 2, 2)
    y = torch.arange(2).repeat(100)
    flips = (torch.rand(200, 1, 2, 2) < 0.05).float()
    x = (pictures[y] - flips).abs()
    vae = VAE([1, 2, 2], latent=2, hidden=[16], conditional=True, classes=2)
    learn, optimizer = task(vae), torch.optim.Adam(vae.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        learn.loss(vae, Batch(x, y)).backward()
        optimizer.step()
    for label in (0, 1):
        made = vae.sample(200, torch.full((200,), label))
        assert float((made.mean(0) - pictures[label]).abs().max()) < 0.15
    assert float((vae.classify(x) == y).float().mean()) > 0.97  # both pixels of a row flip in 1 of 200
    assert vae.sample(7).shape == (7, 1, 2, 2)
    assert same(vae.encode(x), vae.encode(x, vae.classify(x)))
    with pytest.raises(UsageError, match="needed: labels"):
        vae.elbo_terms(x)


def test_classes_need_labels():
    with pytest.raises(UsageError, match=r"type model\.conditional=false"):
        VAE([4], conditional=True)


def test_a_gaussian_likelihood_draws_its_noise():
    torch.manual_seed(0)
    vae = VAE([2], hidden=[], std=0.5)
    with torch.no_grad():
        vae.decoder.layers[0].weight.zero_()
    assert vae.sample(20_000).std(0).tolist() == pytest.approx([0.5, 0.5], rel=0.03)
