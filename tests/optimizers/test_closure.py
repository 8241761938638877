"""L-BFGS in training: against torch's own loop and scipy, resumed to the bit, and where it cannot be."""

from functools import partial

import numpy as np
import pytest
import scipy.optimize
import torch
import torch.nn.functional as F

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.mlp import MLP
from dlx.optimizers.closure import needs_closure
from dlx.procedures.backprop import Backprop
from dlx.tasks.classification import Classification

LBFGS = partial(torch.optim.LBFGS, lr=1.0, max_iter=10, line_search_fn="strong_wolfe")


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    return Batch(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


def network(**settings):
    torch.manual_seed(0)
    return MLP([4], 3, hidden=[6], activation="tanh", l2=1e-3, **settings).double()


def bound(model, optimizer=LBFGS, **settings):
    procedure = Backprop(optimizer, **settings)
    procedure.bind(model, Classification())
    return procedure


def objective(model, batch):
    penalty = sum(1e-3 * layer.weight.square().sum() for layer in model.layers if hasattr(layer, "weight"))
    return F.cross_entropy(model(batch.x), batch.y) + penalty


def test_steps_are_those_of_torch_used_the_ordinary_way():
    ours, theirs, batch = network(), network(), data()
    procedure, optimizer = bound(ours), LBFGS(theirs.parameters())

    def closure():
        optimizer.zero_grad()
        loss = objective(theirs, batch)
        loss.backward()
        return loss

    for _ in range(4):
        first = procedure.step(batch)["loss"]
        torch.testing.assert_close(first, optimizer.step(closure).detach())
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)
        assert one.grad is None


def test_minimum_is_that_of_scipy():
    batch = data()
    torch.manual_seed(0)
    model = MLP([4], 3, hidden=[], l2=1e-2).double()
    procedure = bound(model, partial(LBFGS, max_iter=200))
    procedure.step(batch)
    x, labels = batch.x.numpy(), batch.y.numpy()

    def cost(flat):
        W, b = flat[:12].reshape(3, 4), flat[12:]
        scores = x @ W.T + b
        logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        return -logs[np.arange(len(x)), labels].mean() + 1e-2 * (W**2).sum()

    best = scipy.optimize.minimize(cost, np.zeros(15), method="BFGS", options={"gtol": 1e-9})
    assert procedure.loss(batch).item() == pytest.approx(best.fun, abs=1e-8)


def test_an_evaluation_draws_the_same_units():
    """With dropout every evaluation within a step is of one function, so a step cannot raise it."""
    model, batch = network(dropout=0.5).train(), data()
    procedure = bound(model)
    losses = []
    evaluate = procedure._evaluate
    procedure.update.evaluate = lambda: losses.append(evaluate()) or losses[-1]
    procedure.step(batch)
    assert len(losses) > 3
    assert losses[-1][1] < losses[0][1]
    state = torch.get_rng_state()
    procedure.step(batch)
    assert not torch.equal(torch.get_rng_state(), state), "the next step draws others"


def test_resumed_equals_uninterrupted_to_the_bit(tmp_path):
    def run(model, procedure, steps):
        for _ in range(steps):
            procedure.step(data())
        return model

    whole = network()
    run(whole, bound(whole), 5)
    first = network()
    procedure = bound(first)
    run(first, procedure, 2)
    torch.save({"model": first.state_dict(), "procedure": procedure.state_dict()}, tmp_path / "c.pt")
    saved = torch.load(tmp_path / "c.pt", weights_only=True)
    second = network()
    second.load_state_dict(saved["model"])
    procedure = bound(second)
    procedure.load_state_dict(saved["procedure"])
    run(second, procedure, 3)
    for one, two in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("settings", [{"accumulate": 2}, {"clip_norm": 1.0}, {"clip_value": 1.0}])
def test_where_the_loss_cannot_be_computed_again(settings):
    with pytest.raises(UsageError, match=r"LBFGS was given, .* type optimizer=adam"):
        bound(network(), **settings)


def test_only_a_required_closure_is_one():
    params = [torch.nn.Parameter(torch.zeros(1))]
    assert needs_closure(LBFGS(params))
    assert not needs_closure(torch.optim.Adam(params))
