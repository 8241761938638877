"""Truncated back-propagation through time, and the gradients of hidden states."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.loggers.jsonl import read_metrics
from dlx.models.mlp import MLP
from dlx.models.recurrent.elman import Elman
from dlx.models.recurrent.gru import GRU
from dlx.models.recurrent.jordan import Jordan
from dlx.models.recurrent.lstm import LSTM
from dlx.models.recurrent.ntm.ntm import NTM
from dlx.procedures.backprop import Backprop
from dlx.procedures.schedule import Schedule
from dlx.procedures.truncated import TruncatedBackprop
from dlx.tasks.classification import Classification
from dlx.tasks.prediction import Prediction
from dlx.tasks.tagging import Tagging
from dlx.tasks.transduction import Transduction
from dlx.training.checkpoint import load
from tests.conftest import same

LENGTHS = torch.tensor([9, 3, 8, 1])
KINDS = {
    "elman": Elman,
    "lstm": LSTM,
    "gru": GRU,
    "gru_before": partial(GRU, reset_after=False),
    "jordan": Jordan,
}
CARRYING = {**KINDS, "ntm": partial(NTM, rows=6, row=4)}  # a state from piece to piece


def tags(dtype=torch.float32, padded=True, seed=0):
    torch.manual_seed(seed)
    return Batch(torch.randn(4, 9, 3, dtype=dtype), torch.randint(0, 4, (4, 9)), LENGTHS if padded else None)


def network(kind="lstm", **options):
    torch.manual_seed(1)
    return CARRYING[kind]((9, 3), 4, hidden=5, **options)


def bound(procedure, model, task=None):
    procedure.bind(model, task or Tagging())
    return procedure


ADAM, SGD = partial(torch.optim.Adam, lr=0.01), partial(torch.optim.SGD, lr=1.0)


@pytest.mark.parametrize("kind", CARRYING)
@pytest.mark.parametrize("k", [9, 50])
def test_long_pieces_are_back_propagation(kind, k):
    """To the bit: weights, optimizer, what is logged."""
    one, two = network(kind), network(kind)
    schedule = partial(Schedule, scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=2), interval="step")
    whole = bound(Backprop(ADAM, schedule, clip_norm=0.1), one)
    cut = bound(TruncatedBackprop(ADAM, schedule, k=k, clip_norm=0.1), two)
    for seed in range(5):
        assert same(whole.step(tags(seed=seed)), cut.step(tags(seed=seed)))
    assert same(one.state_dict(), two.state_dict())
    assert same(whole.state_dict(), cut.state_dict())


@pytest.mark.parametrize("kind", CARRYING)
def test_gradients_stop_at_the_borders(kind):
    """The weights of every piece's update are by hand those of a loss in which earlier states are constants."""
    model = network(kind).double()
    cut = bound(TruncatedBackprop(SGD, k=4), model)
    batch, by_hand = tags(torch.float64), copy.deepcopy(model)
    losses, weights = [], []
    state = None
    for start in (0, 4, 8):
        stop = min(start + 4, 9)
        scores, state = by_hand.steps(batch.x[:, start:stop], state=state)
        state = torch.utils._pytree.tree_map(torch.Tensor.detach, state)
        places = [(i, t) for i, n in enumerate(LENGTHS) for t in range(start, min(stop, int(n)))]
        loss = -sum(scores[i, t - start].log_softmax(0)[batch.y[i, t]] for i, t in places) / len(places)
        grads = torch.autograd.grad(loss, list(by_hand.parameters()), materialize_grads=True)
        with torch.no_grad():
            for p, g in zip(by_hand.parameters(), grads, strict=True):
                p -= g
        losses.append(loss.detach())
        weights.append(len(places))
    found = cut.step(batch)["loss"]
    expected = sum(n * loss for n, loss in zip(weights, losses, strict=True)) / sum(weights)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-12)
    for p, q in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12)
    assert cut.updates == 3


def test_sum_of_the_pieces():
    """As the rate goes to 0, a batch's updates add up to the gradient of one graph that is cut at the borders."""
    model = network("gru").double()
    before = [p.detach().clone() for p in model.parameters()]
    batch, rate = tags(torch.float64, padded=False), 1e-6
    state, loss = None, 0
    for start in (0, 3, 6):
        scores, state = model.steps(batch.x[:, start : start + 3], state=state)
        state = [part.detach() for part in state]
        loss = loss + nn.functional.cross_entropy(scores.flatten(0, 1), batch.y[:, start : start + 3].flatten())
    expected = torch.autograd.grad(loss, list(model.parameters()))
    cut = bound(TruncatedBackprop(partial(torch.optim.SGD, lr=rate), k=3), model)
    cut.step(batch)
    for p, old, g in zip(model.parameters(), before, expected, strict=True):
        torch.testing.assert_close((old - p) / rate, g, rtol=1e-4, atol=1e-4)


def test_reads_what_it_is_not_asked():
    """A piece without a question moves no weight (Adam's momentum would), yet what it says is remembered."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 8, 3), torch.full((2, 8, 4), -1.0)
    y[:, 6:] = torch.randint(0, 2, (2, 2, 4)).float()
    model = network()
    cut = bound(TruncatedBackprop(ADAM, k=4), model, Transduction())
    expected = Transduction().loss(model, Batch(x, y)).detach()
    torch.testing.assert_close(cut.step(Batch(x, y))["loss"], expected)
    assert cut.updates == 1


def test_schedules_move_once_a_batch():
    made = []
    schedules = torch.optim.lr_scheduler
    schedule = partial(Schedule, scheduler=lambda o: made.append(o) or schedules.StepLR(o, 1), interval="step")
    cut = bound(TruncatedBackprop(SGD, schedule, k=2), network())
    for _ in range(2):
        cut.step(tags())
    assert cut.updates == 10
    assert made[0].param_groups[0]["lr"] == pytest.approx(0.01)


def test_clipping_bounds_every_update():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    cut = bound(TruncatedBackprop(SGD, k=9, clip_norm=0.01), model)
    cut.step(tags())
    moved = [(p - q).detach().flatten() for p, q in zip(model.parameters(), before, strict=True)]
    assert torch.cat(moved).norm() == pytest.approx(0.01, rel=1e-3)
    cut = bound(TruncatedBackprop(SGD, k=3, clip_value=0.001), model)
    before = [p.detach().clone() for p in model.parameters()]
    cut.step(tags())
    for p, q in zip(model.parameters(), before, strict=True):
        assert (p - q).detach().abs().max() <= 3 * 0.001 + 1e-6


def test_refusals():
    with pytest.raises(UsageError, match="needed: a task with one at every step"):
        bound(TruncatedBackprop(SGD), network(), Classification())
    with pytest.raises(UsageError, match="bidirectional=false"):
        bound(TruncatedBackprop(SGD), network(bidirectional=True))
    with pytest.raises(UsageError, match="bidirectional=false"):
        bound(Backprop(SGD), network(bidirectional=True), Prediction())
    with pytest.raises(UsageError, match="needed: a recurrent"):
        bound(Backprop(SGD, diagnose="gradients"), MLP((3,), 4), Classification())
    with pytest.raises(UsageError, match="and no compiler"):
        bound(Backprop(ADAM, compile="step"), network())
    with pytest.raises(UsageError, match="needed: one with steps"):
        bound(Backprop(SGD), MLP((3,), 4))


def test_resumed_equals_uninterrupted(train, resume, tmp_path):
    """A run on a text, stopped within an epoch: to the bit, and so are its curves of hidden states' gradients."""
    (tmp_path / "text.txt").write_text("to be, or not to be, that is the question: " * 60)
    words = ["model=gru", "dataset=text", "dataset.path=text.txt", "procedure=tbptt", "procedure.k=8"]
    words += ["dataset.length=32", "trainer.batch=16", "trainer.epochs=2", "model.hidden=8", "model.dropout=0.5"]
    words += ["procedure.diagnose=gradients", "procedure.clip_norm=1", "scheduler=one_cycle", "optimizer=momentum"]
    straight = train("straight", *words)
    stopped = train("stopped", *words, stop=3)
    resume(stopped)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert all(same(one[part], two[part]) for part in ("model", "procedure", "trainer", "random"))
    assert (stopped.directory / "figures" / "gradients.png").exists()
    told = [read_metrics(run.directory / "metrics.jsonl")[-1] for run in (straight, stopped)]
    assert told[0]["train/gradient_first"] == told[1]["train/gradient_first"]
    assert straight.read()["metrics"]["train/gradient_last"] > 0


# -- the gradients of hidden states ------------------------------------------------------------------------------------


def test_vanishing_by_hand():
    """h_t = tanh(w x_t + u h_{t-1}), L = (h_T - y)²: ∂L/∂h_t = 2 (h_T - y) Π u (1 - h_s²), s = t + 1, …, T."""
    model = Elman((6, 1), 1, hidden=1).double()
    w, u, b, d = (float(p.detach()) for p in model.layers[0].rnn.parameters())
    model.readout = nn.Identity()
    x, y = torch.randn(1, 6, 1).double(), 0.7
    h = [0.0]
    for x_t in x.flatten().tolist():
        h.append(float(torch.tensor(w * x_t + b + u * h[-1] + d, dtype=torch.float64).tanh()))
    expected = [2 * (h[-1] - y)]
    for s in range(6, 1, -1):
        expected.append(expected[-1] * u * (1 - h[s] ** 2))
    found = model.state_gradients(lambda: (model(x) - y).square().sum())
    assert list(found) == ["h"]
    assert found["h"].tolist() == pytest.approx([abs(e) for e in reversed(expected)], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_total_derivative(kind):
    """Against finite differences: h_t is moved and everything after it runs on (an LSTM's cell stays as it was)."""
    options = {} if kind == "jordan" else {"layers": 2}
    model, batch = network(kind, **options).double(), tags(torch.float64, padded=False)
    found = model.state_gradients(lambda: Tagging().loss(model, batch))
    name = "h" if kind == "jordan" else "h2"
    assert next(iter(found)) == name
    assert set(found) == {"jordan": {"h"}, "lstm": {"h1", "h2", "c1", "c2"}}.get(kind, {"h1", "h2"})
    t, eps = 4, 1e-6
    with torch.no_grad():
        first, state = model.steps(batch.x[:, : t + 1])

        def loss(h):
            """Of states h (batch, 5) of the uppermost layer at step t."""
            scores = model.readout(h)
            if kind == "jordan":
                moved = scores.sigmoid()
            else:
                below, *cell = state[0] if kind == "lstm" else (state[0],)
                upper = torch.stack((below[0], h))
                moved = [(upper, *cell) if cell else upper]
            rest, _ = model.steps(batch.x[:, t + 1 :], state=moved)
            scores = torch.cat((first[:, :t], scores[:, None], rest), 1)
            return nn.functional.cross_entropy(scores.flatten(0, 1), batch.y.flatten())

        h = hidden(model, kind, batch.x[:, : t + 1])
        grad = torch.zeros_like(h)
        for place in torch.cartesian_prod(*map(torch.arange, h.shape)).tolist():
            step = torch.zeros_like(h)
            step[tuple(place)] = eps
            grad[tuple(place)] = (loss(h + step) - loss(h - step)) / (2 * eps)
    assert float(found[name][t]) == pytest.approx(float(grad.norm()), rel=1e-6)


def hidden(model, kind, x):
    """The uppermost layer's states (batch, 5) after x."""
    if kind == "jordan":
        s = model.steps(x[:, :-1])[1]
        return torch.tanh(model.input(x[:, -1]) + model.context(s))
    (state,) = model.steps(x)[1]
    return (state[0] if kind == "lstm" else state)[-1]


def test_norms_reach_as_far_as_the_numbers_do():
    """What is as small as 1e-30 in float32 has squares that are not there."""
    model, x = network(), tags().x
    found = model.state_gradients(lambda: 1e-30 * model.steps(x)[0][:, -1].sum())
    model.double()
    exact = model.state_gradients(lambda: 1e-30 * model.steps(x.double())[0][:, -1].sum())
    torch.testing.assert_close(found["h"].double(), exact["h"], rtol=1e-4, atol=0)


def test_backwards_the_gradient_ends_at_the_end():
    """The backward half of a network that reads both ways, asked at step 0: its states matter up to each length."""
    model = network("gru", bidirectional=True).double()
    batch = tags(torch.float64)
    found = model.state_gradients(lambda: model.steps(batch.x, LENGTHS)[0][:, 0].square().sum())
    assert list(found) == ["h", "h backward"]
    assert torch.equal(found["h"] > 0, torch.arange(9) < 1)
    assert torch.equal(found["h backward"] > 0, torch.arange(9) < LENGTHS.max())


def test_diagnosis_leaves_learning_alone():
    one, two = network(dropout=0.5), network(dropout=0.5)
    plain, watched = bound(Backprop(ADAM), one), bound(Backprop(ADAM, diagnose="gradients"), two)
    told = []
    for procedure in (plain, watched):
        torch.manual_seed(0)
        for epoch in range(2):
            procedure.step(tags(seed=epoch))
            told.append(procedure.end_epoch())
    assert same(one.state_dict(), two.state_dict())
    assert {"gradient_first", "gradient_last"} <= told[-1].keys() - told[0].keys()
    assert two.training
    norms = watched.diagnosis.norms["h"]
    assert norms.shape == (9,)
    assert told[-1]["gradient_last"] == norms[-1]
    picture = watched.pictures()["gradients"]
    assert picture.shape[0] == 3
    assert picture.ndim == 3
    again = bound(Backprop(ADAM, diagnose="gradients"), network(dropout=0.5))
    again.load_state_dict(watched.state_dict())
    again.model.load_state_dict(two.state_dict())
    assert same(again.end_epoch(), watched.end_epoch())


def test_vanishing_gradients_of_elman_and_not_of_lstm():
    """The textbook's picture, before learning: 100 steps back Elman's gradient is lost, the LSTM's is not."""
    torch.manual_seed(0)
    x, ratio = torch.rand(8, 100, 2), {}
    for kind, cls in (("elman", Elman), ("lstm", LSTM)):
        model = cls((100, 2), 1, hidden=32)
        norms = next(iter(model.state_gradients(lambda model=model: model(x).square().sum()).values()))
        ratio[kind] = float(norms[0] / norms[-1])
    assert ratio["elman"] < 1e-15
    assert ratio["lstm"] > 1e6 * ratio["elman"]


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 2, "bidirectional": True},
        {"layers": 2, "batch_norm": "layers"},
        {"batch_norm": "recurrent", "bidirectional": True},
    ],
)
@pytest.mark.parametrize("kind", ["elman", "lstm", "gru"])
def test_the_loss_that_is_diagnosed_is_the_loss(kind, options):
    """Cell by cell as by kernel or sweep, padding and all; the last step that counts is where the gradient ends."""
    model, batch = network(kind, **options).double().eval(), tags(torch.float64)
    seen = []

    def loss():
        seen.append(Tagging().loss(model, batch))
        return seen[-1]

    found = model.state_gradients(loss)
    loss()
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=1e-12)
    ways = [""] + [" backward"] * options.get("bidirectional", False)
    layers = ["2", "1"] if options.get("layers") else [""]
    letters = "hc" if kind == "lstm" else "h"
    assert set(found) == {f"{letter}{layer}{way}" for letter in letters for layer in layers for way in ways}
    assert all((norm > 0).all() for name, norm in found.items() if name[0] == "h")
