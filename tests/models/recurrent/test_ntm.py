"""The neural Turing machine against its equations, written out once more: loops, one head and one row at a time."""

import math

import numpy as np
import pytest
import torch
from torch.func import functional_call

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.figures.panels import panels
from dlx.models.recurrent.ntm import addressing
from dlx.models.recurrent.ntm.ntm import NTM, State
from dlx.tasks.transduction import Transduction

KINDS = [("feedforward", 1, 1, 3), ("feedforward", 2, 2, 5), ("lstm", 1, 1, 3), ("lstm", 3, 1, 1), ("lstm", 1, 3, 3)]


def machine(controller="feedforward", reads=1, writes=1, shifts=3, spread=0.6, **more):
    """A small one in float64, its weights far from their beginnings."""
    torch.manual_seed(1)
    sizes = {"hidden": 6, "rows": 7, "row": 4, "bound": 1e9, **more}
    model = NTM((5, 3), 2, controller=controller, reads=reads, writes=writes, shifts=shifts, **sizes).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * spread)
    return model


def sequences(B=3, T=9):
    return torch.randn(B, T, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


# -- the equations, in numpy, for one sequence ---------------------------------------------------------------------


def softplus(v):
    return math.log1p(math.exp(-abs(v))) + max(v, 0.0)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def weighting(k, beta, g, s, gamma, M, before):
    """Eqs. 5-9 for one head: M (N, row), before (N,)."""
    N = len(M)
    K = [k @ M[i] / (np.linalg.norm(k) * np.linalg.norm(M[i])) for i in range(N)]  # eq. 6
    c = np.exp(beta * np.array(K))
    c /= c.sum()  # eq. 5
    gated = g * c + (1 - g) * before  # eq. 7
    far = len(s) // 2
    # eq. 8: s has a share for each shift from -far to far; all others have none
    shifted = [sum(gated[j] * share(s, (i - j) % N, N, far) for j in range(N)) for i in range(N)]
    sharp = np.array(shifted) ** gamma
    return sharp / sharp.sum()  # eq. 9


def share(s, shift, N, far):
    return sum(s[far + d] for d in range(-far, far + 1) if d % N == shift)


def by_hand(model, x):
    """Scores (T, outputs) of one sequence x (T, features), and the last memory and weightings."""
    p = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    R, W, N, M, S = model.sizes
    H = R + W
    memory, r = p["first_memory"].copy(), p["first_read"].reshape(R, M)
    w = np.exp(p["first_place"]) / np.exp(p["first_place"]).sum(1, keepdims=True)
    lstm = "first_state.0" in p
    h, c = (p["first_state.0"], p["first_state.1"]) if lstm else (None, None)
    scores = []
    for x_t in x.numpy():
        given = np.concatenate([r.ravel(), h]) if lstm else r.ravel()
        z = p["outer.weight"] @ x_t + p["outer.bias"] + p["inner.weight"] @ given
        if lstm:
            i, f, g, o = np.split(z, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            h = np.tanh(z)
        told = list(p["heads.weight"] @ h + p["heads.bias"])

        def take(n, told=told):
            return np.array([told.pop(0) for _ in range(n)])

        k, a = [np.tanh(take(M)) for _ in range(H)], [np.tanh(take(M)) for _ in range(W)]
        gate = [sigmoid(take(1))[0] for _ in range(H)]
        e = [sigmoid(take(M)) for _ in range(W)]
        beta, gamma = [softplus(take(1)[0]) for _ in range(H)], [1 + softplus(take(1)[0]) for _ in range(H)]
        s = [np.exp(v) / np.exp(v).sum() for v in (take(S) for _ in range(H))]
        assert not told
        w = [weighting(k[i], beta[i], gate[i], s[i], gamma[i], memory, w[i]) for i in range(H)]
        r = np.array([sum(w[i][row] * memory[row] for row in range(N)) for i in range(R)])  # eq. 2
        for i in range(W):
            for row in range(N):
                memory[row] = memory[row] * (1 - w[R + i][row] * e[i])  # eq. 3
        for i in range(W):
            for row in range(N):
                memory[row] = memory[row] + w[R + i][row] * a[i]  # eq. 4
        scores.append(p["readout.weight"] @ np.concatenate([h, r.ravel()]) + p["readout.bias"])
    return np.array(scores), memory, np.array(w)


def close(a, b, atol=1e-6):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=atol)


@pytest.mark.parametrize(("controller", "reads", "writes", "shifts"), KINDS)
def test_whole_steps_are_the_equations(controller, reads, writes, shifts):
    model, x = machine(controller, reads, writes, shifts), sequences()
    with torch.no_grad():
        scores, state = model.steps(x)
    for i in range(len(x)):
        expected, memory, w = by_hand(model, x[i])
        close(scores[i], expected)
        close(state.memory[i], memory)
        close(state.w[i], w)


def test_addressing_is_the_equations():
    """Each equation by itself, with keys and weightings of every kind: flat, one place, nothing."""
    rng = np.random.default_rng(0)
    for N, S in ((5, 3), (8, 5), (3, 1)):
        memory, k = rng.normal(size=(N, 4)), rng.normal(size=4)
        before, s = rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(S))
        beta, g, gamma = 3.0, 0.3, 4.5
        tensors = [torch.tensor(v, dtype=torch.float64).view(1, 1, -1) for v in (k, [beta], [g], s, [gamma], before)]
        K, B, G, shares, Gamma, w = tensors
        content = addressing.address_by_content(K, B, torch.tensor(memory)[None])
        gated = addressing.interpolate(content, w, G)
        found = addressing.sharpen(addressing.shift(gated, shares), Gamma)[0, 0]
        close(found, weighting(k, beta, g, s, gamma, memory, before), 1e-7)
    w = torch.eye(6)[2].view(1, 1, 6)
    on, stay = torch.tensor([0.0, 0.0, 1.0]).view(1, 1, 3), torch.tensor([0.0, 1.0, 0.0]).view(1, 1, 3)
    assert torch.equal(addressing.shift(w, on), w.roll(1, 2)), "all on +1 moves one row on"
    assert torch.equal(addressing.shift(w, stay), w)
    flat = torch.full((1, 1, 128), 1 / 128)
    close(addressing.sharpen(flat, torch.full((1, 1, 1), 1000.0)), flat, 1e-7)  # 128^-1000 is no float


def test_a_machine_set_by_hand_copies():
    """Weights that write each vector to the next row and then read from the first row on copy any sequence."""
    rows, width, T = 9, 3, 7
    model = NTM((2 * T, width + 1), width, hidden=width + 1, rows=rows, row=width, memory="constant").double()
    H, M = 2, width
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.first_place[:, 0] = 60.0
        model.outer.weight[:width, :width] = 1e-2 * torch.eye(width)  # tanh x ≈ x
        model.outer.weight[width, width] = 1e-2  # the last channel: now answer
        # Heads: adds are what came in, gates are shut, everything is erased where it writes, shifts are whole.
        model.heads.weight[H * M : (H + 1) * M, :width] = 100 * torch.eye(width)
        gates, erases, strengths = (H + 1) * M, (H + 1) * M + H, (H + 1) * M + H + M
        model.heads.bias[gates:erases] = -60
        model.heads.bias[erases:strengths] = 60
        model.heads.bias[strengths:] = 0
        shifts = strengths + 2 * H
        model.heads.bias[shifts + 1] = 60  # the head that reads stays …
        model.heads.weight[shifts + 2, width] = 2e4  # … and goes on while it answers
        model.heads.bias[shifts + 3 + 2] = 60  # the head that writes always goes on
        model.readout.weight[:, width + 1 :] = torch.eye(width)
    v = torch.randint(2, (4, T, width)).double()
    x = torch.zeros(4, 2 * T, width + 1).double()
    x[:, :T, :width], x[:, T:, width] = v, 1
    scores, state = model.steps(x)
    close(scores[:, T:], v.mul(1.0).tanh(), 2e-4)
    close(state.w.sum(2), torch.ones(4, 2).double(), 1e-9)


@pytest.mark.parametrize(("controller", "reads", "writes", "shifts"), KINDS)
@pytest.mark.parametrize("bound", [1e9, 0.01])
def test_the_gradient_by_hand_is_that_of_the_equations(controller, reads, writes, shifts, bound):
    model, x = machine(controller, reads, writes, shifts, memory="learned", bound=bound), sequences()

    def gradient(walk):
        h, r, state = walk(model.outer(x.transpose(0, 1)), model.initial_state(3))
        parts = [h.sin(), r**2, state.memory.cos(), state.w.sqrt(), state.r.exp(), *map(torch.sin, state.controller)]
        loss = sum((part * torch.linspace(-1, 1, part.numel()).view_as(part)).sum() for part in parts)
        return loss, torch.autograd.grad(loss, [p for name, p in model.named_parameters() if "readout" not in name])

    (one, ones), (two, twos) = gradient(model._scan), gradient(model._loop)
    close(one, two, 1e-10)
    for a, b in zip(ones, twos, strict=True):
        assert b.abs().max() > 1e-6
        close(a, b, 1e-10)


@pytest.mark.parametrize(("controller", "reads", "writes"), [("feedforward", 1, 2), ("lstm", 2, 1)])
def test_the_gradient_is_that_of_finite_differences(controller, reads, writes):
    model, x = machine(controller, reads, writes, spread=0.4, hidden=4, rows=4, row=3), sequences(2, 4)
    names, values = zip(*model.named_parameters(), strict=True)

    def scores(x, *values):
        return functional_call(Steps(model), {f"model.{n}": v for n, v in zip(names, values, strict=True)}, (x,))

    assert torch.autograd.gradcheck(scores, (x.requires_grad_(), *values), fast_mode=True)


class Steps(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.steps(x)[0]


@pytest.mark.parametrize("controller", ["feedforward", "lstm"])
def test_goes_on_from_a_state(controller):
    model, x = machine(controller), sequences()
    whole, end = model.steps(x)
    first, state = model.steps(x[:, :4])
    rest, again = model.steps(x[:, 4:], None, state)
    close(torch.cat((first, rest), 1), whole, 1e-12)
    close(again.memory, end.memory, 1e-12)


def test_padding_changes_nothing():
    model, x = machine("lstm"), sequences()
    lengths = torch.tensor([4, 9, 1])
    together = model(x, lengths)
    for i, n in enumerate(lengths):
        close(together[i], model(x[i : i + 1, :n])[0], 1e-12)


@pytest.mark.parametrize("controller", ["feedforward", "lstm"])
@pytest.mark.parametrize("memory", ["constant", "random"])
def test_thousands_of_steps_with_extreme_inputs(controller, memory):
    torch.manual_seed(0)
    model = NTM((3000, 3), 2, controller=controller, hidden=8, rows=6, row=4, memory=memory, writes=2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.mul_(1 if "first" in name else 200)  # keys, gates, shifts and strengths all at their ends
    x = torch.randn(2, 3000, 3) * torch.tensor([0.0, 1e-6, 1.0, 1e6])[torch.randint(4, (2, 3000, 1))]
    scores, state = model.steps(x)
    assert scores.isfinite().all()
    assert state.memory.isfinite().all()
    close(state.w.sum(2), torch.ones(2, 3), 1e-5)
    scores.square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad.isfinite().all(), name


def test_compiled_steps_are_the_same(monkeypatch):
    model, x = machine("lstm", 2, 1), sequences()
    expected, _ = model.steps(x)
    monkeypatch.setattr(torch, "compile", lambda step, **_: lambda *given: step(*given))
    model.compile()
    close(model.steps(x)[0], expected, 1e-12)


def test_a_way_back_is_freed():
    """An output that its own way back remembers would stay until the collector comes."""
    import gc
    import weakref

    model, kept = machine("lstm"), []
    gc.disable()
    try:
        scores, state = model.steps(sequences())
        kept = [weakref.ref(part) for part in (scores, state.memory, state.w, state.r, *state.controller)]
        del scores, state
        assert not any(part() is not None for part in kept)
    finally:
        gc.enable()


def test_trace_shows_the_same_steps():
    model, x = machine(reads=2, writes=1), sequences()
    shown = model.trace(x[0])
    _, state = model.steps(x[:1])
    R, _, N, M, _ = model.sizes
    for i in range(R):  # one row is left between two heads
        close(shown["read weightings"][i * (N + 1) :][:N, -1], state.w[0, i].detach(), 1e-12)
    assert shown["read weightings"].isnan().any(1).nonzero().flatten().tolist() == [N]
    close(shown["write weightings"][:, -1], state.w[0, R].detach(), 1e-12)
    close(shown["reads"][:, -1], state.r[0, :M].detach(), 1e-12)
    assert shown["adds"].shape == (M, x.shape[1])
    assert shown["write weightings"].shape == (N, x.shape[1])


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_the_picture_is_filled_to_its_corners(heads):
    """Frames end at the same height in both columns, and take the most of each."""
    sizes = {"inputs": 9, "targets": 8, "outputs": 8, "adds": 20, "reads": 20, "written": 128, "read": 128 * heads}
    drawn = panels({name: torch.ones(rows, 30) for name, rows in sizes.items()})
    dark = (drawn.float().mean(0) < 0.5 * float(drawn.max())).float()  # tables of ones are black
    height, width = dark.shape
    sides = [dark[:, : width // 2], dark[:, width // 2 :]]
    full = [(side.mean(1) > 0.8).nonzero().flatten() for side in sides]
    assert abs(int(full[0].max()) - int(full[1].max())) <= 2
    assert abs(int(full[0].min()) - int(full[1].min())) <= 2
    assert min(len(rows) for rows in full) > 0.8 * height
    one = panels({name: torch.ones(8, 30) for name in ("inputs", "targets", "outputs")})
    assert one.shape[2] < 0.6 * width, "a network without a memory has one column"


def test_gradients_of_states_are_those_of_what_goes_in():
    """With W = 1, x_t is what h_t is the tangent of; a memory in the middle is what the rest begins with."""
    model, x = machine(hidden=3), sequences().requires_grad_(True)
    with torch.no_grad():
        model.outer.weight.copy_(torch.eye(3))

    def loss(scores):
        return scores.square().sum()

    norms = model.state_gradients(lambda: loss(model.steps(x)[0]))
    state = model.initial_state(len(x))
    for t in range(x.shape[1]):
        h = (x[:, t] + model.outer.bias + model.inner(state.r)).tanh()
        rest = loss(model.steps(x[:, t:], None, state)[0])
        (d_x,) = torch.autograd.grad(rest, x, retain_graph=True)
        close(norms["h"][t], (d_x[:, t] / (1 - h.square())).norm(), 1e-10)
        _, state = model.steps(x[:, t : t + 1], None, state)
        state = State(*(part.detach().requires_grad_(True) for part in state[:3]), ())
        if t + 1 < x.shape[1]:
            (d_memory,) = torch.autograd.grad(loss(model.steps(x[:, t + 1 :], None, state)[0]), state.memory)
            close(norms["M"][t], d_memory.norm(), 1e-10)
    assert norms["M"][-1] == 0


def test_learns_to_copy_a_vector():
    torch.manual_seed(0)
    model, task = NTM((3, 3), 2, hidden=16, rows=4, row=4), Transduction()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    v = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    x, y = torch.zeros(4, 3, 3), torch.full((4, 3, 2), -1.0)
    x[:, 0, :2], x[:, 1, 2], y[:, 2] = v, 1, v
    for _ in range(150):
        loss = task.loss(model, Batch(x, y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize("shifts", [2, 9])
def test_shifts_that_cannot_be(shifts):
    with pytest.raises(UsageError, match=r"type model\.shifts="):
        NTM((5, 3), 2, rows=8, shifts=shifts)
