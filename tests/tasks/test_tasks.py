"""Metrics against scikit-learn's, however the split is cut into batches."""

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    top_k_accuracy_score,
)
from torch import nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.heads import Heads
from dlx.tasks.classification import Classification
from dlx.tasks.regression import Regression
from dlx.training.evaluate import evaluate


def batches(x, y, size):
    return [Batch(a, b) for a, b in zip(x.split(size), y.split(size), strict=True)]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_classification(size):
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    x, y = torch.randn(100, 5), torch.randint(0, 3, (100,))
    got = evaluate(model, Classification(), batches(x, y, size))
    scores = model(x).detach()
    assert got["accuracy"] == pytest.approx(accuracy_score(y, scores.argmax(1)))
    assert got["error"] == pytest.approx(1 - got["accuracy"])
    assert got["loss"] == pytest.approx(log_loss(y, scores.double().softmax(1)), rel=1e-5)


def test_top_k():
    torch.manual_seed(0)
    model, x, y = nn.Linear(5, 7), torch.randn(100, 5), torch.randint(0, 7, (100,))
    got = evaluate(model, Classification(top=[2, 5]), batches(x, y, 30))
    scores = model(x).detach()
    for k in (2, 5):
        assert got[f"top{k}_accuracy"] == pytest.approx(top_k_accuracy_score(y, scores, k=k))
        assert got[f"top{k}_error"] == pytest.approx(1 - got[f"top{k}_accuracy"])


def test_auxiliary_heads_count_with_their_weight():
    """The loss of three heads by hand; an evaluated model returns scores alone."""
    torch.manual_seed(0)
    y = torch.randint(0, 4, (9,))
    scores, one, two = torch.randn(3, 9, 4)
    task = Classification(label_smoothing=0.1)

    def loss(*outputs):
        return task.loss(lambda x: Heads(outputs[0], outputs[1:], 0.3) if outputs[1:] else outputs[0], Batch(y, y))

    torch.testing.assert_close(loss(scores, one, two), loss(scores) + 0.3 * loss(one) + 0.3 * loss(two))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_regression(size, outputs):
    torch.manual_seed(0)
    model = nn.Linear(5, outputs)
    x, y = torch.randn(100, 5), 100 + torch.randn(100, outputs)
    got = evaluate(model, Regression(), batches(x, y, size))
    predicted = model(x).detach()
    assert got["r2"] == pytest.approx(r2_score(y, predicted), rel=1e-5)
    assert got["mse"] == pytest.approx(mean_squared_error(y, predicted), rel=1e-5)
    assert got["mae"] == pytest.approx(mean_absolute_error(y, predicted), rel=1e-5)
    assert got["rmse"] == pytest.approx(got["mse"] ** 0.5)


def test_a_constant_target_has_no_variance_to_explain():
    y = torch.full((10, 1), 2.0)
    right = evaluate(nn.Identity(), Regression(), [Batch(y, y)])
    wrong = evaluate(nn.Identity(), Regression(), [Batch(y + 1, y)])
    assert (right["r2"], wrong["r2"]) == (1.0, 0.0)


def test_flat_targets_are_one_column():
    y = torch.arange(6.0)
    assert evaluate(nn.Identity(), Regression(), [Batch(y, y)])["r2"] == 1.0
    assert float(Regression().loss(nn.Identity(), Batch(y + 2, y))) == 4.0


def test_losses_against_their_formulas():
    scores = torch.tensor([[2.0, 1.0, -1.0], [0.0, 0.5, 0.2]])
    y = torch.tensor([0, 2])
    batch = Batch(scores, y)
    p = scores.softmax(1)
    assert float(Classification().loss(nn.Identity(), batch)) == pytest.approx(-np.log([p[0, 0], p[1, 2]]).mean(), 1e-6)
    smooth = 0.9 * torch.eye(3)[y] + 0.1 / 3
    expected = float(-(smooth * p.log()).sum(1).mean())
    assert float(Classification(label_smoothing=0.1).loss(nn.Identity(), batch)) == pytest.approx(expected, 1e-6)
    squared = float((scores - torch.eye(3)[y]).square().mean())
    assert float(Classification(loss="mse").loss(nn.Identity(), batch)) == pytest.approx(squared)
    hinge = (max(0, 1 - 1) + max(0, 1 - 3) + max(0, 1 - 0.2 + 0) + max(0, 1 - 0.2 + 0.5)) / 3 / 2
    assert float(Classification(loss="hinge").loss(nn.Identity(), batch)) == pytest.approx(hinge)


def test_evaluation_leaves_the_model_in_its_mode():
    model = nn.Sequential(nn.Dropout(0.5))
    x = torch.ones(20, 2)
    model.train()
    evaluate(model, Classification(), [Batch(x, torch.zeros(20, dtype=torch.int64))])
    assert model.training
    model.eval()
    evaluate(model, Classification(), [Batch(x, torch.zeros(20, dtype=torch.int64))])
    assert not model.training


def test_standardised_targets_are_told_in_their_own_units():
    class Data:
        classes, target_mean, target_std = None, torch.tensor([50.0]), torch.tensor([10.0])

    torch.manual_seed(0)
    y, task = torch.randn(100, 1), Regression()
    task.attach(Data())  # type: ignore[arg-type]
    model = nn.Linear(1, 1)
    got = evaluate(model, task, [Batch(y, y)])
    truth, predicted = y * 10 + 50, model(y).detach() * 10 + 50
    assert got["rmse"] == pytest.approx(mean_squared_error(truth, predicted) ** 0.5, rel=1e-5)
    assert got["mae"] == pytest.approx(mean_absolute_error(truth, predicted), rel=1e-5)
    assert got["r2"] == pytest.approx(r2_score(truth, predicted), rel=1e-5)
    assert got["loss"] == pytest.approx(mean_squared_error(y, model(y).detach()), rel=1e-5)
    assert torch.allclose(task.predict(model, y).float(), predicted)


def test_a_task_says_when_the_data_is_not_for_it():
    class Data:
        classes, names, target_mean, target_std = None, None, None, None

    with pytest.raises(UsageError, match="task=regression"):
        Classification().attach(Data())  # type: ignore[arg-type]
    Data.classes = 3
    with pytest.raises(UsageError, match="task=classification"):
        Regression().attach(Data())  # type: ignore[arg-type]
