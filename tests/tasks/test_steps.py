"""Tasks with an answer at every step: numbers by hand, padding without weight, batches cut anyhow."""

import math

import pytest
import torch
from torch import nn

from dlx.batch import Batch
from dlx.datasets.sequences.pixels import SequenceDigits
from dlx.datasets.synthetic.adding import Adding
from dlx.datasets.synthetic.algorithmic import Copy
from dlx.datasets.synthetic.casino import Casino
from dlx.datasets.synthetic.switching import Switching, SwitchingBits
from dlx.errors import UsageError
from dlx.models.recurrent.elman import Elman
from dlx.models.recurrent.gru import GRU
from dlx.models.recurrent.jordan import Jordan
from dlx.models.recurrent.lstm import LSTM
from dlx.tasks.prediction import Prediction
from dlx.tasks.tagging import Tagging
from dlx.tasks.transduction import Transduction
from dlx.training.evaluate import evaluate


class Readout(nn.Module):
    """Scores of each step by itself."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def steps(self, x, lengths=None, state=None):
        return self.linear(x), state


class Table(nn.Module):
    """Scores of the next symbol by the last one."""

    def __init__(self, symbols):
        super().__init__()
        self.rows = nn.Embedding(symbols, symbols)

    def steps(self, x, lengths=None, state=None):
        return self.rows(x), state


LENGTHS = torch.tensor([5, 2, 7, 1])


def one_by_one(task, model, x, y=None):
    """The same sequences without padding, each in a batch of its own."""
    cut = [Batch(x[i : i + 1, :n], None if y is None else y[i : i + 1, :n]) for i, n in enumerate(LENGTHS.tolist())]
    return evaluate(model, task, cut)


def test_tagging():
    torch.manual_seed(0)
    model, x, y = Readout(3, 4), torch.randn(4, 7, 3), torch.randint(0, 4, (4, 7))
    got = evaluate(model, Tagging(), [Batch(x[:3], y[:3], LENGTHS[:3]), Batch(x[3:], y[3:], LENGTHS[3:])])
    scores = model.linear(x).detach()
    real = [(scores[i, t], y[i, t]) for i, n in enumerate(LENGTHS.tolist()) for t in range(n)]
    assert got["accuracy"] == pytest.approx(sum(bool(s.argmax() == k) for s, k in real) / 15)
    assert got["loss"] == pytest.approx(float(sum(-s.log_softmax(0)[k] for s, k in real)) / 15, rel=1e-5)
    assert got == pytest.approx(one_by_one(Tagging(), model, x, y), rel=1e-5)


def test_prediction_of_symbols():
    torch.manual_seed(0)
    model, x = Table(5), torch.randint(0, 5, (4, 7))
    task = Prediction("cross_entropy")
    got = evaluate(model, task, [Batch(x, lengths=LENGTHS)])
    nats = [
        -model.rows.weight.detach()[x[i, t]].log_softmax(0)[x[i, t + 1]]
        for i, n in enumerate(LENGTHS.tolist())
        for t in range(n - 1)
    ]
    assert got["nats_per_step"] == pytest.approx(float(sum(nats)) / 11, rel=1e-5)
    assert got["bits_per_step"] == pytest.approx(got["nats_per_step"] / math.log(2))
    assert got["perplexity"] == pytest.approx(math.exp(got["nats_per_step"]))
    assert float(task.loss(model, Batch(x, lengths=LENGTHS)).detach()) == pytest.approx(got["loss"], rel=1e-5)


def test_prediction_of_chords():
    torch.manual_seed(0)
    model, x = Readout(3, 3), torch.randint(0, 2, (4, 7, 3)).float()
    task = Prediction("bernoulli")
    got = evaluate(model, task, [Batch(x, lengths=LENGTHS)])
    p = model.linear(x).detach().sigmoid()
    nats = sum(
        -float((x[i, t + 1] * p[i, t].log() + (1 - x[i, t + 1]) * (1 - p[i, t]).log()).sum())
        for i, n in enumerate(LENGTHS.tolist())
        for t in range(n - 1)
    )
    assert got["nats_per_step"] == pytest.approx(nats / 11, rel=1e-5)


@pytest.mark.parametrize(
    ("dataset", "cost"),
    [
        (Casino(examples=9), "cross_entropy"),
        (SwitchingBits(examples=9), "bernoulli"),
        (Copy(examples=9), "bernoulli"),
        (SequenceDigits(limit=9), "bernoulli"),
        (SequenceDigits(limit=9, scale="standard"), "mse"),
        (Switching(examples=9), "mse"),
        (Adding(examples=9), "mse"),  # between 0 and 1, and nobody's probabilities
    ],
)
def test_what_a_step_costs_goes_by_the_data(dataset, cost):
    dataset.load()
    task = Prediction()
    task.attach(dataset)
    assert task.cost == cost
    wrong = {"cross_entropy": "mse", "bernoulli": "cross_entropy", "mse": "bernoulli"}[cost]
    if isinstance(dataset, Adding):  # who insists may take them for such
        return
    with pytest.raises(UsageError, match=rf"task.cost={wrong} was given; .* holds .*; type task.cost="):
        Prediction(wrong).attach(dataset)


@pytest.mark.parametrize("kind", ["elman", "gru", "lstm", "jordan"])
def test_a_sequence_of_one_step_costs_nothing(kind):
    torch.manual_seed(0)
    network = {"elman": Elman, "gru": GRU, "lstm": LSTM, "jordan": Jordan}[kind]([7, 3], 3, hidden=4)
    x, lengths, task = torch.randint(0, 2, (2, 7, 3)).float(), torch.tensor([7, 1]), Prediction("bernoulli")
    alone = [Batch(x[:1], lengths=lengths[:1]), Batch(x[1:, :1], lengths=lengths[1:])]
    assert evaluate(network, task, alone) == pytest.approx(evaluate(network, task, alone[:1]), rel=1e-5)
    task.loss(network, alone[1]).backward()
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_transduction_counts_what_is_asked():
    torch.manual_seed(0)
    model, x = Readout(3, 2), torch.randn(4, 6, 3)
    y = torch.randint(0, 2, (4, 6, 2)).float()
    y[:, :3] = -1
    got = evaluate(model, Transduction(), [Batch(x[:1], y[:1]), Batch(x[1:], y[1:])])
    p, asked = model.linear(x).detach().sigmoid()[:, 3:], y[:, 3:]
    bits = -(asked * p.log2() + (1 - asked) * (1 - p).log2()).sum() / 4
    assert got["bits_per_sequence"] == pytest.approx(float(bits), rel=1e-5)
    assert got["error"] == pytest.approx(float(((p > 0.5) != (asked > 0.5)).float().mean()))


@pytest.mark.parametrize("task", [Tagging(), Prediction("bernoulli"), Transduction()])
def test_padding_has_no_gradient(task):
    torch.manual_seed(0)
    model, x = Readout(3, 3), torch.rand(4, 7, 3).round().requires_grad_()
    y = torch.randint(0, 3, (4, 7)) if isinstance(task, Tagging) else torch.where(x > 2, x, -1.0).detach()
    if isinstance(task, Transduction):
        y[:, :1] = 1.0
    (grad,) = torch.autograd.grad(task.loss(model, Batch(x, y, LENGTHS)), [x])
    if not isinstance(task, Transduction):
        for i, n in enumerate(LENGTHS.tolist()):
            assert not grad[i, n:].any()
    else:
        assert not grad[:, 1:].any()


def test_a_model_without_steps_is_refused():
    with pytest.raises(UsageError, match=r"Linear; needed: one with steps"):
        Tagging().loss(nn.Linear(3, 4), Batch(torch.randn(2, 5, 3), torch.zeros(2, 5, dtype=torch.int64)))
