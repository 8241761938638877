"""Batch normalization of sequences, against its definition."""

import pytest
import torch
from torch import nn

from dlx.models.recurrent.batch_norm import SequenceNorm, StepNorm, TimeStep
from dlx.models.recurrent.elman import Elman
from dlx.models.recurrent.gru import GRU
from dlx.models.recurrent.lstm import LSTM

EXACT = {"rtol": 0, "atol": 1e-12}
LENGTHS = torch.tensor([5, 2, 7, 1])
REAL = torch.arange(7) < LENGTHS[:, None]
KINDS = {"elman": Elman, "lstm": LSTM, "gru": GRU}


def test_between_layers():
    torch.manual_seed(0)
    norm, plain = SequenceNorm(3).double(), nn.BatchNorm1d(3).double()
    x = torch.randn(4, 7, 3).double()
    expected = plain(torch.cat([x[i, :n] for i, n in enumerate(LENGTHS)]))
    torch.testing.assert_close(norm(x, LENGTHS)[REAL], expected, **EXACT)
    torch.testing.assert_close(norm.running_var, plain.running_var, **EXACT)
    torch.testing.assert_close(norm(x), plain(x.flatten(0, 1)).view(4, 7, 3), **EXACT)


def test_steps_have_statistics_of_their_own():
    torch.manual_seed(0)
    norm, x = StepNorm(3, 5, bias=True).double(), torch.randn(4, 7, 3).double()
    plain = [nn.BatchNorm1d(3).double() for _ in range(5)]
    for t in range(7):
        real = x[REAL[:, t], t]
        found = norm(x[:, t], TimeStep(t, REAL[:, t]))[REAL[:, t]]
        if len(real) > 1:
            torch.testing.assert_close(found, norm.weight * plain[min(t, 4)](real), **EXACT)
        else:  # one sequence alone is its own mean, and says nothing of a variance
            torch.testing.assert_close(found, torch.zeros(1, 3).double(), **EXACT)
    torch.testing.assert_close(norm.mean, torch.stack([p.running_mean for p in plain]), **EXACT)
    torch.testing.assert_close(norm.variance, torch.stack([p.running_var for p in plain]), **EXACT)
    norm.eval()
    for t in (0, 3, 6):
        one = norm(x[:, t], TimeStep(t, None))
        torch.testing.assert_close(one, norm.weight * plain[min(t, 4)].eval()(x[:, t]), **EXACT)


def normal(x, weight, bias=0):
    """Of each feature over the batch."""
    return weight * (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() + bias


def test_recurrent_lstm():
    """Equations 6 to 8 of Cooijmans et al., on a batch without padding."""
    torch.manual_seed(0)
    model = LSTM((7, 3), 4, hidden=5, batch_norm="recurrent").double()
    norms, (W, U, b, d) = model.layers[0].batch_norms[0], model.layers[0].rnn.all_weights[0]
    with torch.no_grad():
        norms.cell.bias.normal_()
    x = torch.randn(4, 7, 3).double()
    h, c = torch.zeros(4, 5).double(), torch.zeros(4, 5).double()
    for t in range(7):
        gates = normal(h @ U.T, norms.hidden.weight) + normal(x[:, t] @ W.T, norms.inputs.weight) + b + d
        i, f, g, o = gates.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * normal(c, norms.cell.weight, norms.cell.bias).tanh()
        torch.testing.assert_close(model.train().steps(x)[0][:, t], model.readout(h), **EXACT)


@pytest.mark.parametrize("where", ["layers", "recurrent"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_leaves_learning_alone(kind, where):
    """What stands beyond the lengths changes neither scores, nor gradients, nor running statistics."""
    found = []
    for padding in (0.0, 1e3):
        torch.manual_seed(0)
        model = KINDS[kind]((7, 3), 4, hidden=5, layers=2, bidirectional=True, batch_norm=where).double()
        x = torch.randn(4, 7, 3).double().where(REAL[:, :, None], padding)
        scores = model.steps(x, LENGTHS)[0]
        loss = (scores * REAL[:, :, None]).square().sum() + model(x, LENGTHS).sum()
        found.append([scores[REAL].detach(), *torch.autograd.grad(loss, list(model.parameters())), *model.buffers()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_with_the_statistics_of_its_step(kind):
    torch.manual_seed(0)
    model = KINDS[kind]((7, 3), 4, hidden=5, batch_norm="recurrent").double()
    for _ in range(3):
        model.steps(torch.randn(8, 7, 3).double())
    model.eval()
    x = torch.randn(4, 9, 3).double()  # longer than what it learned from
    first, state = model.steps(x[:, :3])
    rest, _ = model.steps(x[:, 3:], state=state)
    torch.testing.assert_close(torch.cat((first, rest), 1), model.steps(x)[0], **EXACT)


def test_the_last_example_of_an_epoch_may_be_alone():
    model = LSTM((7, 3), 4, hidden=5, batch_norm="recurrent")
    model.steps(torch.randn(1, 7, 3))
    assert all(buffer.isfinite().all() for buffer in model.buffers())
