"""Recurrent layers of a stack, written out, against torch's own of each trial."""

import pytest
import torch

from dlx.batch import Batch
from dlx.models.recurrent.elman import Elman
from dlx.models.recurrent.gru import GRU
from dlx.models.recurrent.lstm import LSTM
from dlx.tasks.classification import Classification
from dlx.vectorized.cells import tanh
from dlx.vectorized.op_replacements import STAND_INS
from dlx.vectorized.recording import record
from dlx.vectorized.stack import Stack

K, B, T, H = 3, 5, 7, 4
KINDS = {
    "elman": lambda **more: Elman((T, 2), 3, hidden=H, **more),
    "elman of max(0, ·)": lambda **more: Elman((T, 2), 3, hidden=H, nonlinearity="relu", **more),
    "gru": lambda **more: GRU((T, 2), 3, hidden=H, **more),
    "gru, reset before": lambda **more: GRU((T, 2), 3, hidden=H, reset_after=False, **more),
    "lstm": lambda **more: LSTM((T, 2), 3, hidden=H, **more),
    "lstm with a projection": lambda **more: LSTM((T, 2), 3, hidden=H, projection=2, **more),
}


@pytest.mark.parametrize("own", [False, True], ids=["one batch", "own batches"])
@pytest.mark.parametrize("shape", [{}, {"layers": 2, "bidirectional": True}, {"batch_norm": "layers"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_each_alone(kind, shape, own):
    models = [KINDS[kind](**shape).double() for _ in range(K)]
    task = Classification()
    x, y = torch.randn(K, B, T, 2, dtype=torch.float64), torch.randint(3, (K, B))
    if not own:
        x, y = x[:1].expand_as(x), y[:1].expand_as(y)
    expected = [_loss_and_gradient(model, task, Batch(x[k], y[k])) for k, model in enumerate(models)]
    stack = Stack(models, task)
    assert stack.swept == ("projection" not in kind)
    leaves = [piece.detach().requires_grad_() for piece in stack.pieces(stack.weights)]
    batch = Batch(x, y) if own else Batch(x[0], y[0])
    buffers = [buffer.clone() for buffer in stack.buffers.values()]

    def step(*leaves):
        losses, _ = stack.losses(leaves, [], buffers, [], batch, own)
        return losses, *torch.autograd.grad(losses.sum(), leaves)

    played = record(step, leaves)
    for _ in range(2):  # in the same memory
        with torch.no_grad():
            losses, *grads = played(*leaves)
        for k, (loss, gradient) in enumerate(expected):
            torch.testing.assert_close(losses[k], loss)
            for own_grad, grad in zip(gradient, grads, strict=True):
                torch.testing.assert_close(grad[k], own_grad)


def _loss_and_gradient(model, task, batch):
    """By torch's kernel, or cell by cell where there is none."""
    for layers in model.layers:
        layers.unroll = None
    loss = task.loss(model, batch)
    return loss.detach(), torch.autograd.grad(loss, [*model.parameters()])


def test_tanh_is_within_three_roundings_of_one():
    x = torch.cat([torch.randn(100_000), torch.randn(1000) * 1e-3, torch.tensor([0.0, 100.0, -100.0])])
    assert (tanh(x, out=torch.empty_like(x)).double() - x.double().tanh()).abs().max() <= 1.8e-7
    kept = x.clone()
    torch.testing.assert_close(tanh(kept, out=kept), x.tanh())


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_the_gradient_of_one_step_lies_as_that_step_does(dim):
    op = torch.ops.aten.select_backward.default
    sizes = [2, 3, 4]
    for order in ((0, 1), (1, 0)):
        left = [n for i, n in enumerate(sizes) if i != dim % 3]
        grad = torch.randn([left[i] for i in order]).permute(order)
        found = STAND_INS[op](grad, sizes, dim, 1)
        assert torch.equal(found, op(grad, sizes, dim, 1))
        assert found.select(dim, 0).stride() == grad.stride()


def test_recordings_share_memory_and_what_they_return_is_kept():
    def doubled(x):
        out = torch.empty_like(x)
        return [torch.add(x, x, out=out)]

    memory, x = {}, torch.ones(3)
    first, second = (record(doubled, [x], memory) for _ in range(2))
    (a,), (b,) = first(x), second(3 * x)
    assert a.tolist() == [2, 2, 2]
    assert b.tolist() == [6, 6, 6]
    assert sum(len(kept) for kept in memory.values()) == 1
