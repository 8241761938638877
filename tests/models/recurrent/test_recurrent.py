"""Recurrent networks beside their equations written out by hand, torch's modules, and the same sequences one by one."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.recurrent.elman import Elman
from dlx.models.recurrent.gru import GRU
from dlx.models.recurrent.jordan import Jordan
from dlx.models.recurrent.lstm import LSTM
from dlx.models.recurrent.network import drop_recurrent_weights
from dlx.tasks.classification import Classification
from dlx.tasks.tagging import Tagging

EXACT = {"rtol": 0, "atol": 1e-12}
LENGTHS = torch.tensor([5, 2, 7, 1])
KINDS = {
    "elman": (Elman, {}),
    "relu": (Elman, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "projected": (LSTM, {"projection": 3}),
    "gru": (GRU, {}),
    "gru_before": (GRU, {"reset_after": False}),
    "jordan": (Jordan, {"decay": 0.5}),
}
TWO_WAY = [name for name in KINDS if name != "jordan"]


def made(kind, seed=0, **options):
    """A small network in float64 with random weights, its biases included."""
    torch.manual_seed(seed)
    cls, own = KINDS[kind]
    model = cls((7, 3), 4, hidden=5, **own, **options).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) / 2)
    return model


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(model, kind, x):
    """Scores (T, outputs) of one sequence x (T, 3), each gate with its own matrices, in numpy."""
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    V, c_V = p["readout.weight"], p["readout.bias"]
    scores = []
    if kind == "jordan":
        s = np.zeros(4)
        for x_t in x:
            h = np.tanh(p["input.weight"] @ x_t + p["context.weight"] @ s + p["input.bias"])
            y = V @ h + c_V
            s = sigmoid(y) + 0.5 * s
            scores.append(y)
        return np.array(scores)
    W, U, b, d = (p[f"layers.0.rnn.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    P = p.get("layers.0.rnn.weight_hr_l0", np.eye(5))
    h, c = np.zeros(len(P)), np.zeros(5)
    for x_t in x:
        one, two = (
            [W[k : k + 5] @ x_t + b[k : k + 5] for k in range(0, len(W), 5)],
            [U[k : k + 5] @ h + d[k : k + 5] for k in range(0, len(U), 5)],
        )
        if kind in ("elman", "relu"):
            h = np.tanh(one[0] + two[0]) if kind == "elman" else np.maximum(one[0] + two[0], 0)
        elif kind in ("lstm", "projected"):
            i, f, g, o = (u + v for u, v in zip(one, two, strict=True))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = P @ (sigmoid(o) * np.tanh(c))
        else:
            r, z = sigmoid(one[0] + two[0]), sigmoid(one[1] + two[1])
            inner = r * two[2] if kind == "gru" else U[10:] @ (r * h) + d[10:]
            h = z * h + (1 - z) * np.tanh(one[2] + inner)
        scores.append(V @ h + c_V)
    return np.array(scores)


@pytest.mark.parametrize("kind", KINDS)
def test_equations(kind):
    model, x = made(kind), torch.randn(4, 7, 3, dtype=torch.float64)
    scores, _ = model.steps(x)
    assert scores.shape == (4, 7, 4)
    for i in range(4):
        np.testing.assert_allclose(scores[i].detach(), by_hand(model, kind, x[i].numpy()), **EXACT)
    torch.testing.assert_close(model(x), scores[:, -1], **EXACT)


@pytest.mark.parametrize("kind", ["gru_before", "jordan"])
def test_gradients_of_own_cells(kind):
    model, x = made(kind), torch.randn(2, 4, 3, dtype=torch.float64)
    names = [name for name, _ in model.named_parameters()]

    def scores(*weights):
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(scores, tuple(model.parameters()))


@pytest.mark.parametrize("kind", TWO_WAY)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_cells_kernels_and_sweeps(kind, bidirectional):
    """The three ways in which a layer is computed: outputs, states and gradients, of x too."""
    model = made(kind, layers=2, bidirectional=bidirectional)
    layers, unroll, kernel = model.layers[0], model.layers[0].unroll, model.layers[0].kernel
    assert kernel is (kind != "gru_before")
    assert (unroll is None) is (kind in ("lstm", "projected"))
    x = torch.randn(4, 7, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 7, 4, dtype=torch.float64)
    real = (torch.arange(7) < LENGTHS[:, None])[:, :, None]
    found = []
    for by in [(None, False), *[(unroll, False)] * (unroll is not None), *[(None, True)] * kernel]:
        layers.unroll, layers.kernel = by
        begin = None if bidirectional else tree_map(torch.detach, model.steps(x[:, :2])[1])
        scores, state = model.steps(x, LENGTHS if bidirectional else None, begin)
        states = [] if bidirectional else tree_leaves(state)
        loss = (weight * real * scores).sum() + sum((k + 1) * part.sum() for k, part in enumerate(states))
        grads = torch.autograd.grad(loss, [x, *model.parameters()])
        found.append([(real * scores).detach(), *(s.detach() for s in states), *grads])
    assert len(found) == 2 + (kernel and unroll is not None)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, **EXACT)


@pytest.mark.parametrize("kind", ["elman", "lstm", "gru"])
def test_is_the_module_of_torch(kind):
    model = made(kind, layers=2, bidirectional=True)
    module = {"elman": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](
        3, 5, num_layers=2, batch_first=True, bidirectional=True
    ).double()
    module.load_state_dict(model.layers[0].rnn.state_dict())
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    outputs, h = module(x)
    torch.testing.assert_close(model.steps(x)[0], model.readout(outputs), **EXACT)
    h = h[0] if kind == "lstm" else h
    torch.testing.assert_close(model(x), model.readout(torch.cat((h[-2], h[-1]), 1)), **EXACT)


@pytest.mark.parametrize("kind", TWO_WAY)
def test_both_directions(kind):
    """Two networks that read one way each, the second the reversed sequence, side by side."""
    model = made(kind, bidirectional=True)
    ways = made(kind), made(kind)
    for way, suffix in zip(ways, ("", "_reverse"), strict=True):
        for name, p in way.layers[0].rnn.named_parameters():
            p.data = getattr(model.layers[0].rnn, name + suffix).data
        way.readout = nn.Identity()
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    scores, _ = model.steps(x, LENGTHS)
    for i, n in enumerate(LENGTHS.tolist()):
        there, back = ways[0].steps(x[i : i + 1, :n])[0], ways[1].steps(x[i : i + 1, :n].flip(1))[0]
        both = torch.cat((there, back.flip(1)), 2)
        torch.testing.assert_close(scores[i : i + 1, :n], model.readout(both), **EXACT)
        last = torch.cat((there[:, -1], back[:, -1]), 1)
        torch.testing.assert_close(model(x, LENGTHS)[i : i + 1], model.readout(last), **EXACT)


WAYS = [(kind, {}) for kind in KINDS]
WAYS += [(kind, {"bidirectional": True, "layers": 2}) for kind in TWO_WAY]
WAYS += [(kind, {"batch_norm": "layers", "layers": 2}) for kind in TWO_WAY]
WAYS += [(kind, {"batch_norm": "recurrent", "bidirectional": True}) for kind in ("elman", "lstm", "gru")]


@pytest.mark.parametrize(("kind", "options"), WAYS)
def test_padding_counts_for_nothing(kind, options):
    """Loss, gradient and scores of a padded batch are those of its sequences, one by one."""
    model = made(kind, **options)
    model.train()
    with torch.no_grad():
        for _ in range(3):  # running statistics that are not the first ones
            model.steps(torch.randn(8, 7, 3, dtype=torch.float64))
    model.eval()
    x, labels, tags = torch.randn(4, 7, 3, dtype=torch.float64), torch.randint(0, 4, (4,)), torch.randint(0, 4, (4, 7))
    params = list(model.parameters())
    alone = [slice(i, i + 1) for i in range(4)]
    for task, y, weights in ((Classification(), labels, torch.ones(4)), (Tagging(), tags, LENGTHS)):
        loss = task.loss(model, Batch(x, y, LENGTHS))
        grads = torch.autograd.grad(loss, params)
        total, sums = 0.0, [torch.zeros_like(p) for p in params]
        for i, n in zip(alone, LENGTHS.tolist(), strict=True):
            one = task.loss(model, Batch(x[i, :n], y[i, :n] if y.ndim == 2 else y[i]))
            share = float(weights[i]) / float(weights.sum())
            total += share * float(one.detach())
            sums = [s + share * g for s, g in zip(sums, torch.autograd.grad(one, params), strict=True)]
        assert float(loss.detach()) == pytest.approx(total, abs=1e-12)
        for one, two in zip(grads, sums, strict=True):
            torch.testing.assert_close(one, two, **EXACT)
    for i, n in zip(alone, LENGTHS.tolist(), strict=True):
        torch.testing.assert_close(model.steps(x, LENGTHS)[0][i, :n], model.steps(x[i, :n])[0], **EXACT)
        torch.testing.assert_close(model(x, LENGTHS)[i], model(x[i, :n]), **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_from_a_state(kind):
    options = {} if kind == "jordan" else {"layers": 2}
    model, x = made(kind, **options), torch.randn(4, 7, 3, dtype=torch.float64)
    whole, after = model.steps(x)
    first, state = model.steps(x[:, :3])
    second, last = model.steps(x[:, 3:], state=state)
    torch.testing.assert_close(torch.cat((first, second), 1), whole, **EXACT)
    for one, two in zip(tree_leaves(last), tree_leaves(after), strict=True):
        torch.testing.assert_close(one, two, **EXACT)


@pytest.mark.parametrize("embedding", [2, None])
def test_symbols(embedding):
    torch.manual_seed(0)
    model = GRU((7,), 4, symbols=6, embedding=embedding, hidden=5).double()
    x = torch.randint(0, 6, (4, 7))
    table = torch.eye(6).double() if embedding is None else model.embedding.weight
    outputs, _ = model.layers[0].rnn(table[x])
    torch.testing.assert_close(model.steps(x)[0], model.readout(outputs), **EXACT)


def test_how_weights_begin():
    lstm = LSTM((7, 3), 4, hidden=5, layers=2, bidirectional=True, recurrent_init="orthogonal")
    for _, U, b, d in lstm.layers[0].rnn.all_weights:
        assert torch.equal((b + d)[5:10], torch.ones(5))
        for block in U.split(5):
            torch.testing.assert_close(block @ block.T, torch.eye(5))
    irnn = Elman((7, 3), 4, nonlinearity="relu", hidden=5, recurrent_init="identity")
    assert torch.equal(irnn.layers[0].rnn.weight_hh_l0.data, torch.eye(5))


def test_dropout_goes_up_and_not_through_time():
    torch.manual_seed(0)
    model = Elman((7, 3), 4, hidden=50, layers=2, dropout=0.5, input_dropout=0.5)
    x = torch.randn(4, 7, 3)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    one = LSTM((7, 3), 4, hidden=50, dropout=0.5)  # torch's own drops nothing of a single layer
    assert not torch.equal(one(x), one(x))


@pytest.mark.parametrize("kind", TWO_WAY)
def test_recurrent_weights_are_dropped_for_all_steps_at_once(kind):
    options = {"layers": 2, "bidirectional": True}
    model, x = made(kind, recurrent_dropout=0.4, **options), torch.randn(4, 7, 3, dtype=torch.float64)
    torch.manual_seed(1)
    weights = drop_recurrent_weights(model.layers[0], 0.4)
    assert len(weights) == 4
    for name, U in weights.items():
        kept = U != 0
        assert 0 < kept.sum() < U.numel()
        torch.testing.assert_close(U[kept] * 0.6, model.layers[0].get_parameter(name)[kept], **EXACT)
    torch.manual_seed(1)
    scores, _ = model.steps(x, LENGTHS)
    thin = made(kind, **options)
    thin.load_state_dict(model.state_dict() | {f"layers.0.{name}": U for name, U in weights.items()})
    torch.testing.assert_close(scores, thin.steps(x, LENGTHS)[0], **EXACT)
    scores.square().sum().backward()
    for name, U in weights.items():
        assert (model.layers[0].get_parameter(name).grad[U == 0] == 0).all()
    whole = made(kind, **options)
    torch.testing.assert_close(model.eval().steps(x)[0], whole.steps(x)[0], **EXACT)


def test_refusals():
    with pytest.raises(UsageError, match="needed: \\(T, features\\)"):
        LSTM((784,), 10)
    with pytest.raises(UsageError, match="reset_after=true"):
        GRU((7, 3), 4, reset_after=False, batch_norm="recurrent")
