"""How like data samples are: each measure against a truth of its own."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dlx.batch import Batch
from dlx.datasets.images.digits import Digits
from dlx.datasets.synthetic.points import Ring
from dlx.errors import UsageError
from dlx.models.adversarial.gan import GAN
from dlx.models.mlp import MLP
from dlx.parts import load_model
from dlx.tasks.generation.features import LeNetFeatures, to_unit_range
from dlx.tasks.generation.generation import Generation
from dlx.tasks.generation.measures import (
    fit_parzen_window,
    frechet_distance,
    mode_coverage,
    parzen_log_likelihood,
    roc_auc,
)
from tests.conftest import loaded


def small(shape=(2,), **settings):
    torch.manual_seed(0)
    return GAN(shape, latent=3, generator=[8], discriminator=[8], **settings)


# -- modes, ranks, diversity, pictures -------------------------------------------------------------------------------


def test_modes_found():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    near, far = torch.tensor([[0.0, 2.9], [10.0, 0.0], [10.0, -1.0]]), torch.tensor([[0.0, 3.1]])
    found = mode_coverage(torch.cat([near, far]), centres, 1.0)
    share = math.log(4) + math.log(1 / 3) / 3 + math.log(2 / 3) * 2 / 3
    assert found == {"modes": 2, "high_quality": 0.75, "mode_divergence": pytest.approx(share, abs=1e-6)}
    assert mode_coverage(far, centres, 1.0) == {"modes": 0, "high_quality": 0}
    dataset = Ring(examples=20000)
    dataset.load()
    data = mode_coverage(dataset.splits["train"].x, dataset.centres, dataset.std)
    assert data["modes"] == 8
    assert data["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.005)  # within 3σ, in the plane
    assert data["mode_divergence"] < 0.001
    assert mode_coverage(centres[:1].expand(9, 2), centres, 1.0)["mode_divergence"] == pytest.approx(
        math.log(4), abs=1e-6
    )


def test_area_under_curve():
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randint(0, 9, (n,), generator=generator).float() for n in (70, 50))
    by_pairs = ((real[:, None] > fake).float() + (real[:, None] == fake).float() / 2).mean()
    assert roc_auc(real, fake) == pytest.approx(by_pairs.item(), abs=1e-6)
    assert roc_auc(torch.ones(3), torch.zeros(5)) == 1
    assert roc_auc(torch.ones(3), torch.ones(5)) == 0.5


class Copier(nn.Module):
    """Samples that are the data, or one of them only."""

    def __init__(self, data, different):
        super().__init__()
        self.data, self.different = data, different

    def sample(self, n):
        return self.data[torch.randperm(len(self.data))[:n] % self.different]


def test_diversity():
    data = torch.randn(500, 2)
    task = Generation(samples=500)
    everything = task.split_metrics(Copier(data, 500), [Batch(data)])
    assert everything == {"diversity": pytest.approx(1, abs=1e-5)}, "no discriminator, no modes known"
    assert task.split_metrics(Copier(data, 1), [Batch(data)])["diversity"] == 0


def test_evaluation_repeats_itself_and_leaves_randomness_alone():
    task, model, data = Generation(samples=200), small(), [Batch(torch.randn(40, 2)) for _ in range(5)]
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = task.split_metrics(model, data)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert task.split_metrics(model, data) == one
    assert set(one) == {"diversity", "discriminator_auc"}


def test_pictures():
    task = Generation(samples=100, pictured=16)
    images, points = [Batch(torch.rand(20, 1, 8, 8))], [Batch(torch.randn(20, 2))]
    model = small((1, 8, 8))
    drawn = task.pictures(model, images)
    assert set(drawn) == {"samples", "interpolations"}
    for picture in drawn.values():
        assert picture.shape[0] == 1
        assert 0 <= picture.min() <= picture.max() <= 1
    torch.manual_seed(9)
    assert all(torch.equal(drawn[name], again) for name, again in task.pictures(model, images).items())
    rows = task.pictures(small((1, 8, 8), conditional=True, classes=5), images)
    assert rows["samples"].shape[1:] == (5 * 34 + 2, 10 * 34 + 2), "a row for each class"
    (picture,) = task.pictures(small(), points).values()
    assert picture.shape[0] == 3
    assert task.pictures(small((5,)), [Batch(torch.randn(20, 5))]) == {}


def test_a_model_that_does_not_sample_is_refused():
    with pytest.raises(UsageError, match="one that samples"):
        Generation().split_metrics(MLP([2], 1), [Batch(torch.randn(4, 2))])


# -- the Parzen window -----------------------------------------------------------------------------------------------


def test_parzen_equals_a_mixture_of_gaussians():
    torch.manual_seed(0)
    made, x = torch.rand(40, 1, 3, 2, dtype=torch.float64), torch.rand(25, 1, 3, 2, dtype=torch.float64)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(40)),
        torch.distributions.Independent(torch.distributions.Normal(made.flatten(1), 0.3), 1),
    )
    for chunk in (7, 500):
        torch.testing.assert_close(parzen_log_likelihood(made, x, 0.3, chunk), mixture.log_prob(x.flatten(1)))


def test_the_window_is_chosen_by_validation_examples():
    """With many samples of a normal distribution the log-likelihood is near its negative entropy, at a narrow σ."""
    torch.manual_seed(0)
    made, val, x = (torch.randn(n, 2) for n in (8000, 300, 2000))
    sigmas = [0.03, 0.1, 0.3, 1.0, 3.0]
    found = fit_parzen_window(made, val, x, sigmas)
    means = [parzen_log_likelihood(made, val, sigma).mean().item() for sigma in sigmas]
    assert found.sigma == sigmas[int(np.argmax(means))]
    logs = parzen_log_likelihood(made, x, found.sigma)
    assert found.mean == pytest.approx(logs.mean().item())
    assert found.error == pytest.approx(logs.std().item() / math.sqrt(2000))
    entropy = math.log(2 * math.pi * math.e)
    assert found.mean == pytest.approx(-entropy, abs=4 * found.error + 0.05)


def test_the_task_measures_in_pixels_from_0_to_1():
    """Scaling moves no likelihood: data sets in [0, 1] and in [-1, 1], and samples in the same."""

    class Digitlike(nn.Module):
        def __init__(self, data):
            super().__init__()
            self.data = data

        def sample(self, n):
            return self.data[torch.randint(len(self.data), (n,))]

    values = []
    for scale in ("unit", "symmetric", "standard"):
        dataset = loaded(Digits(scale=scale, shape=[1, 8, 8]))
        task = Generation(samples=50, parzen=300)
        task.attach(dataset)
        x = dataset.transform(dataset.splits["test"].x, False, None)
        train = dataset.transform(dataset.splits["train"].x, False, None)
        assert to_unit_range(x, dataset).min().item() == pytest.approx(0, abs=1e-6)
        values.append(task.split_metrics(Digitlike(train), [Batch(x)]))
        assert {"parzen", "parzen_error", "parzen_sigma"} <= set(values[-1])
    for other in values[1:]:
        assert other["parzen"] == pytest.approx(values[0]["parzen"], abs=1e-3)
        assert other["parzen_sigma"] == values[0]["parzen_sigma"]


# -- the Fréchet distance --------------------------------------------------------------------------------------------


def shaped(n, mean, factor):
    """n points whose mean is `mean` and whose covariance is `factor` @ factorᵀ, exactly."""
    x = torch.randn(n, len(mean), dtype=torch.float64)
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov().reshape(len(mean), len(mean)))).T
    return white @ factor.T + mean


def test_frechet_of_gaussians_equals_the_closed_formula():
    from scipy.linalg import sqrtm

    torch.manual_seed(0)
    A, B = (torch.randn(5, 5, dtype=torch.float64) for _ in range(2))
    m1, m2 = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    C1, C2 = (A @ A.T).numpy(), (B @ B.T).numpy()
    formula = float((m1 - m2).square().sum()) + np.trace(C1 + C2 - 2 * sqrtm(C1 @ C2).real)
    assert frechet_distance(shaped(200, m1, A), shaped(90, m2, B)) == pytest.approx(formula, rel=1e-8)
    assert frechet_distance(shaped(200, m1, A), shaped(90, m1, A)) == pytest.approx(0, abs=1e-6)
    # In one dimension: (μ₁ - μ₂)² + (σ₁ - σ₂)².
    one, two = (shaped(50, m[:1], s * torch.ones(1, 1, dtype=torch.float64)) for m, s in ((m1, 2.0), (m2, 0.5)))
    assert frechet_distance(one, two) == pytest.approx(float((m1[0] - m2[0]) ** 2) + 1.5**2)
    # A direction without any spread.
    flat = torch.cat([one, torch.zeros(50, 1)], 1)
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    from tests.verbs import trained

    return trained(
        tmp_path_factory.mktemp("lenet") / "run",
        *("model=lenet5", "dataset=digits28", "dataset.scale=standard", "trainer.epochs=2", "trainer.batch=32"),
    )


def test_features_come_from_a_run_of_lenet5(lenet):
    features = LeNetFeatures(str(lenet.directory), (1, 28, 28), load_model)
    dataset = loaded(Digits(size=28, shape=[1, 28, 28]))
    x = dataset.transform(dataset.splits["test"].x, False, None)
    seen = features(x, batch=100)
    assert seen.shape == (len(x), 84)
    scores = features.model.classifier[-1](seen)
    assert (scores.argmax(1) == dataset.splits["test"].y).float().mean() > 0.8, "scaled as it was trained"
    # Digits are nearer to digits than noise or one digit alone is.
    one, two = seen.chunk(2)
    nine = seen[dataset.splits["test"].y == 9]
    noise = features(torch.rand(180, 1, 28, 28))
    assert 0 < frechet_distance(one, two) < frechet_distance(one, nine)
    assert frechet_distance(one, two) < frechet_distance(one, noise)
    task = Generation(samples=100, features=str(lenet.directory))
    task.load_model = load_model
    task.attach(dataset)
    assert task.split_metrics(small((1, 28, 28)), [Batch(x)])["frechet_lenet"] > frechet_distance(one, two)


def test_runs_that_are_not_fit_are_refused(lenet, digits, tmp_path):
    with pytest.raises(UsageError, match=r"needed: a run's directory"):
        LeNetFeatures(str(tmp_path / "nothing"), (1, 28, 28), load_model)
    with pytest.raises(UsageError, match="a run of MLP; needed: a finished run of lenet5"):
        LeNetFeatures(str(digits.directory), (1, 28, 28), load_model)
    with pytest.raises(UsageError, match=r"for images of \[1, 28, 28\]; needed: a finished run of lenet5"):
        LeNetFeatures(str(lenet.directory), (1, 32, 32), load_model)
    with pytest.raises(UsageError, match="needed: images"):
        Generation(features=str(lenet.directory)).attach(loaded(Ring(examples=100)))
    import shutil

    from dlx.runs.rundir import Run

    shutil.copytree(lenet.directory, tmp_path / "cut")
    Run(tmp_path / "cut").update(status="interrupted")
    with pytest.raises(UsageError, match="a run that is interrupted"):
        LeNetFeatures(str(tmp_path / "cut"), (1, 28, 28), load_model)
