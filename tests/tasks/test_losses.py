"""Losses by name: against torch, scikit-learn, formulas and Keras, and in networks."""

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import nn

from dlx.batch import Batch
from dlx.config.names import NAMES
from dlx.errors import UsageError
from dlx.models.mlp import MLP
from dlx.tasks.classification import Classification
from dlx.tasks.losses import CLASS_LOSSES, NUMBER_LOSSES, Criterion, make_number_loss
from dlx.tasks.reconstruction import LOSSES, Reconstruction
from dlx.tasks.regression import MEASURES, Regression
from tests.models.oracle import import_keras


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


S = numbers(12, 5) * 2  # scores
Y = torch.randint(5, (12,), generator=torch.Generator().manual_seed(1))
ONE_HOT = F.one_hot(Y, 5).double()
SIGNS = 2 * ONE_HOT - 1
P = S.softmax(1)

CLASSES = {
    "cross_entropy": lambda: F.cross_entropy(S, Y, reduction="none"),
    "binary_cross_entropy": lambda: F.binary_cross_entropy(S.sigmoid(), ONE_HOT, reduction="none").mean(1),
    "mse": lambda: (S - ONE_HOT).square().mean(1),
    "mae": lambda: (S - ONE_HOT).abs().mean(1),
    "huber": lambda: F.huber_loss(S, ONE_HOT, reduction="none").mean(1),
    "log_cosh": lambda: (S - ONE_HOT).cosh().log().mean(1),
    "hinge": lambda: F.multi_margin_loss(S, Y, reduction="none"),
    "squared_hinge": lambda: (1 - SIGNS * S).clamp(min=0).square().mean(1),
    "categorical_hinge": lambda: (1 + ((1 - ONE_HOT) * S).amax(1) - S.gather(1, Y[:, None])[:, 0]).clamp(min=0),
    "one_vs_rest_hinge": lambda: (1 - SIGNS * S).clamp(min=0).mean(1),
    "kl_divergence": lambda: F.kl_div(P.log(), ONE_HOT, reduction="none").sum(1),
    "poisson": lambda: F.poisson_nll_loss(P, ONE_HOT, log_input=False, eps=0, reduction="none").mean(1),
    "cosine_similarity": lambda: -F.cosine_similarity(S, ONE_HOT),
    "focal": lambda: 0.25 * (1 - P.gather(1, Y[:, None])[:, 0]).square() * F.cross_entropy(S, Y, reduction="none"),
    "binary_focal": lambda: (
        F.binary_cross_entropy_with_logits(S, ONE_HOT, reduction="none")
        * (1 - torch.where(ONE_HOT > 0, S.sigmoid(), 1 - S.sigmoid())).square()
    ).mean(1),
}


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_loss_of_classes(name):
    torch.testing.assert_close(Criterion(name).losses(S, Y), CLASSES[name]())
    torch.testing.assert_close(Criterion(name).mean(S, Y), CLASSES[name]().mean())


@pytest.mark.parametrize("name", [name for name, loss in CLASS_LOSSES.items() if loss.smooths])
def test_smoothed_labels(name):
    t = ONE_HOT * 0.8 + 0.2 / 5
    expected = {
        "cross_entropy": lambda: F.cross_entropy(S, t),
        "binary_cross_entropy": lambda: F.binary_cross_entropy_with_logits(S, t),
        "mse": lambda: F.mse_loss(S, t),
        "mae": lambda: F.l1_loss(S, t),
        "huber": lambda: F.huber_loss(S, t),
        "log_cosh": lambda: (S - t).cosh().log().mean(),
        "kl_divergence": lambda: F.kl_div(P.log(), t, reduction="batchmean"),
        "poisson": lambda: F.poisson_nll_loss(P, t, log_input=False, eps=0),
        "cosine_similarity": lambda: -F.cosine_similarity(S, t).mean(),
        "focal": lambda: -(0.25 * t * (1 - P) ** 2 * P.log()).sum(1).mean(),
        "binary_focal": lambda: (
            F.binary_cross_entropy_with_logits(S, t, reduction="none")
            * (1 - t * S.sigmoid() - (1 - t) * (1 - S.sigmoid())) ** 2
        ).mean(),
    }[name]()
    torch.testing.assert_close(Criterion(name, 0.2).mean(S, Y), expected)


A, B = numbers(9, 3, seed=2), numbers(9, 3, seed=3)
UP, VP = A.exp(), B.exp()
NUMBERS = {
    "mse": (A, B, lambda: F.mse_loss(A, B, reduction="none")),
    "mae": (A, B, lambda: F.l1_loss(A, B, reduction="none")),
    "huber": (A, B, lambda: F.huber_loss(A, B, reduction="none")),
    "log_cosh": (A, B, lambda: (A - B).cosh().log()),
    "mape": (A, B, lambda: 100 * ((A - B) / B).abs()),
    "msle": (UP, VP, lambda: ((1 + UP).log() - (1 + VP).log()).square()),
    "poisson": (UP, VP, lambda: F.poisson_nll_loss(UP, VP, log_input=False, eps=1e-7, reduction="none")),
    "cosine_similarity": (A, B, lambda: -(A * B).sum(1) / A.norm(dim=1) / B.norm(dim=1)),
    "kl_divergence": (P, P.flip(0), lambda: F.kl_div(P.log(), P.flip(0), reduction="none").sum(1)),
}


@pytest.mark.parametrize("name", NUMBER_LOSSES)
def test_loss_of_numbers(name):
    one, other, expected = NUMBERS[name]
    torch.testing.assert_close(NUMBER_LOSSES[name](one, other), expected())


def test_settings():
    _, function = make_number_loss("regression loss", {"huber": {"delta": 0.3}}, NUMBER_LOSSES)
    torch.testing.assert_close(function(A, B), F.huber_loss(A, B, reduction="none", delta=0.3))
    sharper = Criterion({"focal": {"gamma": 0.0, "alpha": 1.0}}).mean(S, Y)
    torch.testing.assert_close(sharper, F.cross_entropy(S, Y))


def test_every_name_has_its_function():
    assert set(NAMES["classification loss"].own) == set(CLASS_LOSSES)
    assert set(NAMES["regression loss"].own) == set(NUMBER_LOSSES)
    assert set(NAMES["reconstruction loss"].own) == set(LOSSES)
    assert set(NAMES["regression metric"].own) == set(MEASURES)
    for name in NAMES["classification loss"].foreign:
        Criterion(name)


KERAS_CLASSES = {  # Keras's name, dlx's, whether it takes scores, its words
    "categorical_crossentropy": ("categorical_crossentropy", True, {"from_logits": True}),
    "binary_crossentropy": ("binary_crossentropy", True, {"from_logits": True}),
    "mean_squared_error": ("mean_squared_error", True, {}),
    "mean_absolute_error": ("mean_absolute_error", True, {}),
    "huber": ("huber", True, {}),
    "log_cosh": ("log_cosh", True, {}),
    "squared_hinge": ("squared_hinge", True, {}),
    "categorical_hinge": ("categorical_hinge", True, {}),
    "hinge": ("one_vs_rest_hinge", True, {}),
    "kl_divergence": ("kl_divergence", False, {}),
    "poisson": ("poisson", False, {}),
    "cosine_similarity": ("cosine_similarity", True, {}),
    "categorical_focal_crossentropy": ("focal", True, {"from_logits": True}),
    "binary_focal_crossentropy": ("binary_focal", True, {"from_logits": True}),
}


@pytest.mark.parametrize("name", KERAS_CLASSES)
def test_loss_of_classes_equals_keras(name):
    keras = import_keras()
    ours, takes_scores, words = KERAS_CLASSES[name]
    theirs = getattr(keras.losses, name)(ONE_HOT.float(), (S if takes_scores else P).float(), **words)
    torch.testing.assert_close(
        Criterion(ours).losses(S.float(), Y), torch.as_tensor(theirs).cpu(), rtol=1e-4, atol=1e-5
    )


KERAS_NUMBERS = {
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "huber": "huber",
    "log_cosh": "log_cosh",
    "mean_absolute_percentage_error": "mape",
    "mean_squared_logarithmic_error": "msle",
    "poisson": "poisson",
    "cosine_similarity": "cosine_similarity",
    "kl_divergence": "kl_divergence",
}


@pytest.mark.parametrize("name", KERAS_NUMBERS)
def test_loss_of_numbers_equals_keras(name):
    keras = import_keras()
    one, other, _ = NUMBERS[KERAS_NUMBERS[name]]
    one, other = one.float(), other.float()
    ours = NUMBER_LOSSES[KERAS_NUMBERS[name]](one, other)
    theirs = torch.as_tensor(getattr(keras.losses, name)(other, one)).cpu()
    torch.testing.assert_close(ours.mean(1) if ours.ndim > 1 else ours, theirs, rtol=1e-4, atol=1e-5)


# -- in networks -----------------------------------------------------------------------------------------------------


def batch():
    x = numbers(12, 4, seed=5).float()
    return Batch(x, Y)


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_a_softmax_as_last_layer_is_what_keras_makes_of_it(name):
    """Losses of probabilities are computed from the scores; losses that look at what is shown see the shares."""
    torch.manual_seed(0)
    model = MLP([4], 5, hidden=[7], output={"activation": "softmax"})
    plain = MLP([4], 5, hidden=[7])
    plain.load_state_dict(model.state_dict())
    data, task = batch(), Classification(loss=name)
    scores = plain(data.x)
    shown = scores.softmax(1) if CLASS_LOSSES[name].link is None else scores
    torch.testing.assert_close(task.loss(model, data), Criterion(name).mean(shown, Y))
    torch.testing.assert_close(task.predictions(model, data.x)["probability"], scores.softmax(1))


def test_another_output_activation_is_a_layer():
    model = MLP([4], 1, hidden=[7], output={"activation": "softplus"})
    assert isinstance(model.layers[-1], nn.Softplus)
    assert model(numbers(50, 4).float()).min() > 0


class Squares:
    def __call__(self, scores, labels):
        return (scores.softmax(1) - F.one_hot(labels, scores.shape[1])).square().sum(1)


@pytest.mark.parametrize("own", [Squares(), nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="none")])
def test_a_loss_of_ones_own(own):
    model, data = MLP([4], 5, hidden=[7]), batch()
    task = Classification(loss=own)
    expected = own(model(data.x), data.y).mean()
    torch.testing.assert_close(task.loss(model, data), expected)
    torch.testing.assert_close(task.metrics(model, data)["loss"].mean(), expected)
    assert "probability" not in task.predictions(model, data.x)


def test_a_loss_of_ones_own_in_other_tasks():
    x, y = numbers(6, 4).float(), numbers(6, 2, seed=1).float()
    model = MLP([4], 2)
    torch.testing.assert_close(
        Regression(loss=nn.SmoothL1Loss(reduction="none")).loss(model, Batch(x, y)), F.smooth_l1_loss(model(x), y)
    )
    with pytest.raises(UsageError, match=r"needed: a number for each example, \(6,\)"):
        Regression(loss=lambda p, y: p.T).loss(model, Batch(x, y))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(loss="croos_entropy"), "did you mean cross_entropy"),
        (lambda: Classification(loss="mape"), "classification loss 'mape' was given"),
        (lambda: Classification(loss={"focal": {"delta": 1}}), "its settings are gamma, alpha"),
        (lambda: Classification(loss="hinge", label_smoothing=0.1), "which has no use for it"),
        (lambda: Regression(loss="hinge"), "regression loss 'hinge' was given"),
        (lambda: Regression(metrics=["accuracy"]), "regression metric 'accuracy' was given"),
        (lambda: Reconstruction(loss="focal"), "reconstruction loss 'focal' was given"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_regression_in_the_datas_units_and_its_metrics():
    """MAPE and MSLE of standardized targets are computed of the targets as they were, as scikit-learn does."""
    task = Regression(loss="mape", metrics=["mape", "msle", "log_cosh", "cosine_similarity", "explained_variance"])
    task.mean, task.std = torch.tensor([10.0, 20.0]), torch.tensor([2.0, 3.0])
    model = MLP([4], 2, hidden=[5])
    x, y = numbers(30, 4).float(), numbers(30, 2, seed=1).float()
    prediction = (model(x).detach().double() * task.std + task.mean).numpy()
    target = (y.double() * task.std + task.mean).numpy()
    assert task.loss(model, Batch(x, y)).item() == pytest.approx(
        100 * sklearn.metrics.mean_absolute_percentage_error(target, prediction), rel=1e-6
    )
    final = task.finish(
        {name: value.detach().double().mean(0) for name, value in task.metrics(model, Batch(x, y)).items()}
    )
    assert final["mape"] == pytest.approx(final["loss"])
    assert final["msle"] == pytest.approx(sklearn.metrics.mean_squared_log_error(target, prediction), rel=1e-6)
    assert final["explained_variance"] == pytest.approx(
        sklearn.metrics.explained_variance_score(target, prediction), rel=1e-6
    )
    assert final["r2"] == pytest.approx(sklearn.metrics.r2_score(target, prediction), rel=1e-6)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(target, prediction, strict=True)]
    assert final["cosine_similarity"] == pytest.approx(np.mean(cosines))
    assert final["log_cosh"] == pytest.approx(np.log(np.cosh(target - prediction)).mean())


class Doubles(nn.Module):
    """Reconstructs x / 2."""

    def reconstruct(self, x):
        return x / 2


@pytest.mark.parametrize("name", LOSSES)
def test_reconstruction(name):
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    again = x / 2
    expected = {
        "mse": lambda: F.mse_loss(again, x),
        "cross_entropy": lambda: F.binary_cross_entropy(again, x) * 16,
        "binary_cross_entropy": lambda: F.binary_cross_entropy(again, x),
        "mae": lambda: F.l1_loss(again, x),
        "huber": lambda: F.huber_loss(again, x),
        "log_cosh": lambda: (again - x).cosh().log().mean(),
        "poisson": lambda: F.poisson_nll_loss(again, x, log_input=False, eps=1e-7),
        "cosine_similarity": lambda: torch.tensor(-1.0),
    }[name]()
    task = Reconstruction(loss=name)
    torch.testing.assert_close(task.loss(Doubles(), Batch(x, None)), expected, rtol=1e-5, atol=1e-6)
    if name != "mse":
        torch.testing.assert_close(
            task.metrics(Doubles(), Batch(x, None))["loss"].mean(), expected.double(), rtol=1e-5, atol=1e-6
        )
