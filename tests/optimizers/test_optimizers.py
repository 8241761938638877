"""Every optimizer against torch.optim used the ordinary way, and against its paper's equations in float64."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from dlx.optimizers.fused import make_updater
from dlx.optimizers.graves_rmsprop import GravesRMSprop
from tests.conftest import ROOT

# lbfgs evaluates the loss itself: tests/optimizers/test_closure.py
OPTIMIZERS = sorted({path.stem for path in (ROOT / "conf" / "optimizer").glob("*.yaml")} - {"lbfgs"})
STEPS = 100


def configured(name, **changes):
    """The class of conf/optimizer/NAME.yaml, waiting for its parameters."""
    return instantiate(
        {**OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "optimizer" / f"{name}.yaml")), **changes},
        _convert_="all",
    )


def problem(dtype=torch.float64):
    """A small network and its batches; the same at each call."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=dtype) / 2
    x = torch.randn(STEPS, 8, 4, generator=generator, dtype=dtype)
    y = torch.randint(0, 3, (STEPS, 8), generator=generator)
    return model, x, y


def ordinary(make, steps=STEPS, dtype=torch.float64, before=lambda optimizer, step: None):
    """Parameters after `loss.backward(); optimizer.step()`, and the optimizer."""
    model, x, y = problem(dtype)
    optimizer = make(model.parameters())
    for step in range(steps):
        before(optimizer, step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[step]), y[step]).backward()
        optimizer.step()
    return list(model.parameters()), optimizer


def ours(make, steps=STEPS, dtype=torch.float64, before=lambda optimizer, step: None):
    """The same through `autograd.grad` and `make_updater`."""
    model, x, y = problem(dtype)
    params = list(model.parameters())
    optimizer = make(params)
    update = make_updater(optimizer, params)
    for step in range(steps):
        before(optimizer, step)
        update(torch.autograd.grad(nn.functional.cross_entropy(model(x[step]), y[step]), params))
    return params, optimizer


def close(one, two, rtol=1e-10, atol=1e-12):
    torch.testing.assert_close([p.detach() for p in one], [p.detach() for p in two], rtol=rtol, atol=atol)


# -- against torch.optim ---------------------------------------------------------------------------------------------

VARIANTS = {
    "sgd": [{"weight_decay": 0.01}, {"maximize": True}, {"momentum": 0.5, "dampening": 0.3}],
    "momentum": [{"weight_decay": 0.01}],
    "nesterov": [{"weight_decay": 0.01, "maximize": True}],
    "adam": [{"amsgrad": True}, {"weight_decay": 0.1}, {"maximize": True}, {"foreach": True}, {"fused": False}],
    "adamw": [{"amsgrad": True}, {"maximize": True}],
    "rmsprop": [{"centered": True}, {"momentum": 0.9}, {"weight_decay": 0.1}],
}
CASES = [(name, {}) for name in OPTIMIZERS] + [(name, given) for name, all_ in VARIANTS.items() for given in all_]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_trajectory_equals_torch(name, changes):
    make = configured(name, **changes)
    close(ours(make)[0], ordinary(make)[0])
    # float32 takes another path through the same arithmetic: rounding grows a little in a hundred steps
    close(ours(make, dtype=torch.float32)[0], ordinary(make, dtype=torch.float32)[0], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_schedule_of_the_rate_is_followed(name):
    def halve(optimizer, step):
        if step % 20 == 19:
            optimizer.param_groups[0]["lr"] *= 0.5

    close(ours(configured(name), before=halve)[0], ordinary(configured(name), before=halve)[0])


@pytest.mark.parametrize(("name", "changes"), [*((name, {}) for name in OPTIMIZERS), ("adam", {"amsgrad": True})])
def test_state_goes_over_to_torch_and_back(name, changes, tmp_path):
    """Fifty steps, through a file into a fresh optimizer, fifty more; and ours into torch's, torch's into ours."""
    make = configured(name, **changes)
    straight, _ = ours(make)

    def switch_to(second_update):
        model, x, y = problem()
        params = list(model.parameters())
        optimizer = make(params)
        update = make_updater(optimizer, params)
        if second_update is make_updater:
            update = _through_step(optimizer, params)
        for step in range(STEPS):
            if step == 50:
                torch.save(optimizer.state_dict(), tmp_path / "state.pt")
                optimizer = make(params)
                optimizer.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
                update = second_update(optimizer, params)
            update(torch.autograd.grad(nn.functional.cross_entropy(model(x[step]), y[step]), params))
        return params

    close(switch_to(make_updater), straight)
    close(switch_to(_through_step), straight)


@pytest.mark.parametrize("values", [(0.5, 0.9), (0.0, 0.9), (0.5, 0.0), (0.9, 0.0, 0.5)])
def test_a_momentum_that_changes(values):
    """Turned off, the velocity rests; turned on again, it goes on from there, as torch's does."""

    def before(optimizer, step):
        optimizer.param_groups[0]["momentum"] = values[step * len(values) // STEPS]

    make = configured("momentum", lr=0.02)
    close(ordinary(make, before=before)[0], ours(make, before=before)[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("reached", ["never", "later", "at first"])
def test_weights_that_a_loss_does_not_reach(name, reached):
    """They rest, as torch's `step` leaves them, also where they are reached from some step on, or no more."""

    def trained(way):
        model, x, y = problem()
        extra = nn.Linear(3, 3).double()
        with torch.no_grad():
            extra.weight.copy_(torch.eye(3)), extra.bias.zero_()
        params = [*extra.parameters(), *model.parameters()]
        optimizer = configured(name)(params)
        update = way(optimizer, params)
        for step in range(STEPS):
            if step == STEPS // 4:  # as resumed
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            scores = model(x[step])
            scores = extra(scores) if {"later": step >= STEPS // 2, "at first": step < 5}.get(reached) else scores
            loss = nn.functional.cross_entropy(scores, y[step])
            update(torch.autograd.grad(loss, params, allow_unused=True))
        return params

    close(trained(make_updater), trained(_through_step))


def _through_step(optimizer, params):
    def update(grads):
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        optimizer.step()

    return update


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_loaded_into_an_optimizer_that_has_stepped(name):
    """The kernels' lists are made again when `load_state_dict` replaces the state under them."""
    make = configured(name)
    model, x, y = problem()
    params = list(model.parameters())
    optimizer = make(params)
    update = make_updater(optimizer, params)
    kept = None
    for step in [*range(60), *range(30, STEPS)]:
        if step == 30 and kept is None:
            kept = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        elif step == 30:
            model.load_state_dict(kept[0])
            optimizer.load_state_dict(kept[1])
        update(torch.autograd.grad(nn.functional.cross_entropy(model(x[step]), y[step]), params))
    close(params, ours(make)[0])


def test_several_groups_keep_their_own_rates():
    def make(params):
        first, *rest = params
        return torch.optim.Adam([{"params": [first], "lr": 0.1}, {"params": rest, "lr": 0.001}])

    close(ours(make)[0], ordinary(make)[0])


@pytest.mark.parametrize("when", ["never", "from step 10", "until step 10", "every other"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_without_a_gradient_are_left_alone(name, when):
    """A head that the loss does not reach: torch skips it, whatever the weight decay."""
    reached = {
        "never": lambda step: False,
        "from step 10": lambda step: step >= 10,
        "until step 10": lambda step: step < 10,
        "every other": lambda step: step % 2 == 1,
    }[when]

    def run(through):
        model, x, y = problem()
        head = nn.Linear(4, 3).double()
        head.load_state_dict({name: torch.full_like(p, 0.1) for name, p in head.state_dict().items()})
        params = [*model.parameters(), *head.parameters()]
        update = through(configured(name)(params), params)
        for step in range(30):
            scores = model(x[step]) + head(x[step]) if reached(step) else model(x[step])
            loss = nn.functional.cross_entropy(scores, y[step])
            update(torch.autograd.grad(loss, params, allow_unused=True))
        return params

    close(run(make_updater), run(_through_step))


# -- against the papers ----------------------------------------------------------------------------------------------


def descend(rule):
    """Follow a rule (w, g) -> w, which keeps its own state, over the gradients of a quadratic with noise."""
    A, noise, w = quadratic()
    for step in range(STEPS):
        w = rule(w, A @ w + noise[step])
    return w


def quadratic():
    random = np.random.default_rng(0)
    M = random.normal(size=(6, 6))
    return M @ M.T / 6 + np.eye(6) / 10, random.normal(size=(STEPS, 6)) / 10, random.normal(size=6)


def torch_descends(make, through=make_updater):
    A, noise, w = (torch.from_numpy(a) for a in quadratic())
    w = nn.Parameter(w.clone())
    update = through(make([w]), [w])
    for step in range(STEPS):
        update([(A @ w + noise[step]).detach()])
    return w.detach().numpy()


def sgd(lr):
    return lambda w, g: w - lr * g


def momentum(lr, mu):
    """Polyak 1964; torch keeps the velocity without the rate: v = μ v + g, w = w - lr v."""
    state = {"v": 0}

    def rule(w, g):
        state["v"] = mu * state["v"] + g
        return w - lr * state["v"]

    return rule


def nesterov(lr, mu):
    """Sutskever et al. 2013, eqs. 3-4. torch's parameter is the point ahead, w + μ v, where the gradient is taken."""
    state = {"v": np.zeros(6)}

    def rule(ahead, g):
        v = state["v"]
        w = ahead - mu * v
        state["v"] = mu * v - lr * g  # eq. 3, with g = ∇f(w + μ v)
        w = w + state["v"]  # eq. 4
        return w + mu * state["v"]

    return rule


def rmsprop(lr, alpha, eps):
    """Hinton's lecture 6e, 2012: divide by the root of a running mean of squares; torch adds eps outside the root."""
    state = {"n": 0}

    def rule(w, g):
        state["n"] = alpha * state["n"] + (1 - alpha) * g**2
        return w - lr * g / (np.sqrt(state["n"]) + eps)

    return rule


def centred(lr, alpha, eps):
    state = {"n": 0, "g": 0}

    def rule(w, g):
        state["n"] = alpha * state["n"] + (1 - alpha) * g**2
        state["g"] = alpha * state["g"] + (1 - alpha) * g
        return w - lr * g / (np.sqrt(state["n"] - state["g"] ** 2) + eps)

    return rule


def graves(lr, alpha, mu, eps):
    """Graves 2013, eqs. 38-41."""
    state = {"n": 0, "g": 0, "delta": 0}

    def rule(w, g):
        state["n"] = alpha * state["n"] + (1 - alpha) * g**2
        state["g"] = alpha * state["g"] + (1 - alpha) * g
        state["delta"] = mu * state["delta"] - lr * g / np.sqrt(state["n"] - state["g"] ** 2 + eps)
        return w + state["delta"]

    return rule


def adagrad(lr, eps):
    """Duchi et al. 2011, the diagonal form of eq. 1."""
    state = {"sum": 0}

    def rule(w, g):
        state["sum"] = state["sum"] + g**2
        return w - lr * g / (np.sqrt(state["sum"]) + eps)

    return rule


def adadelta(lr, rho, eps):
    """Zeiler 2012, Algorithm 1; lr is torch's factor, 1 in the paper."""
    state = {"g": 0, "x": 0}

    def rule(w, g):
        state["g"] = rho * state["g"] + (1 - rho) * g**2
        step = -np.sqrt(state["x"] + eps) / np.sqrt(state["g"] + eps) * g
        state["x"] = rho * state["x"] + (1 - rho) * step**2
        return w + lr * step

    return rule


def adam(lr, betas, eps, decay=0.0):
    """Kingma & Ba 2014, Algorithm 1; with `decay` the decoupled one of Loshchilov & Hutter 2017, Algorithm 2."""
    state = {"m": 0, "v": 0, "t": 0}

    def rule(w, g):
        state["t"] += 1
        state["m"] = betas[0] * state["m"] + (1 - betas[0]) * g
        state["v"] = betas[1] * state["v"] + (1 - betas[1]) * g**2
        m, v = state["m"] / (1 - betas[0] ** state["t"]), state["v"] / (1 - betas[1] ** state["t"])
        return w - lr * m / (np.sqrt(v) + eps) - lr * decay * w

    return rule


def adamax(lr, betas, eps):
    """Kingma & Ba 2014, Algorithm 2; torch adds eps to the gradient's size."""
    state = {"m": 0, "u": 0, "t": 0}

    def rule(w, g):
        state["t"] += 1
        state["m"] = betas[0] * state["m"] + (1 - betas[0]) * g
        state["u"] = np.maximum(betas[1] * state["u"], np.abs(g) + eps)
        return w - lr / (1 - betas[0] ** state["t"]) * state["m"] / state["u"]

    return rule


def amsgrad(lr, betas, eps):
    """Reddi et al. 2018, Algorithm 2, with Adam's corrections, as torch has it."""
    state = {"m": 0, "v": 0, "most": 0, "t": 0}

    def rule(w, g):
        state["t"] += 1
        state["m"] = betas[0] * state["m"] + (1 - betas[0]) * g
        state["v"] = betas[1] * state["v"] + (1 - betas[1]) * g**2
        state["most"] = np.maximum(state["most"], state["v"])
        m, v = state["m"] / (1 - betas[0] ** state["t"]), state["most"] / (1 - betas[1] ** state["t"])
        return w - lr * m / (np.sqrt(v) + eps)

    return rule


def nadam(lr, betas, eps, decay):
    """Dozat 2016, Algorithm 2, with the schedule of its §3.1: μ_t = β₁ (1 - ½ 0.96^(t ψ))."""
    state = {"m": 0, "v": 0, "t": 0, "product": 1.0}

    def rule(w, g):
        state["t"] += 1
        now, after = (betas[0] * (1 - 0.5 * 0.96 ** ((state["t"] + ahead) * decay)) for ahead in (0, 1))
        state["product"] *= now
        state["m"] = betas[0] * state["m"] + (1 - betas[0]) * g
        state["v"] = betas[1] * state["v"] + (1 - betas[1]) * g**2
        m = after * state["m"] / (1 - state["product"] * after) + (1 - now) * g / (1 - state["product"])
        return w - lr * m / (np.sqrt(state["v"] / (1 - betas[1] ** state["t"])) + eps)

    return rule


def radam(lr, betas, eps):
    """Liu et al. 2019, Algorithm 2."""
    state = {"m": 0, "v": 0, "t": 0}
    most = 2 / (1 - betas[1]) - 1

    def rule(w, g):
        state["t"] += 1
        t, power = state["t"], betas[1] ** state["t"]
        state["m"] = betas[0] * state["m"] + (1 - betas[0]) * g
        state["v"] = betas[1] * state["v"] + (1 - betas[1]) * g**2
        m, length = state["m"] / (1 - betas[0] ** t), most - 2 * t * power / (1 - power)
        if length <= 5:
            return w - lr * m
        r = np.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
        return w - lr * r * m * np.sqrt(1 - power) / (np.sqrt(state["v"]) + eps)

    return rule


def ftrl(lr, l1, l2, initial, beta):
    """McMahan et al. 2013, Algorithm 1, of which n begins at `initial`; λ₂ counts twice, as in Keras."""
    state = {"z": np.zeros(6), "n": np.full(6, initial)}

    def rule(w, g):
        sigma = (np.sqrt(state["n"] + g**2) - np.sqrt(state["n"])) / lr
        state["z"] = state["z"] + g - sigma * w
        state["n"] = state["n"] + g**2
        z = state["z"]
        moved = -(z - np.sign(z) * l1) / ((beta + np.sqrt(state["n"])) / lr + 2 * l2)
        return np.where(np.abs(z) <= l1, 0, moved)

    return rule


PAPERS = {
    "adamax": ({"lr": 0.01}, lambda: adamax(0.01, (0.9, 0.999), 1e-8)),
    "nadam": ({"lr": 0.01}, lambda: nadam(0.01, (0.9, 0.999), 1e-8, 4e-3)),
    "radam": ({"lr": 0.01}, lambda: radam(0.01, (0.9, 0.999), 1e-8)),
    "amsgrad": ({"lr": 0.01}, lambda: amsgrad(0.01, (0.9, 0.999), 1e-8)),
    "ftrl": ({"l1": 0.05, "l2": 0.1, "beta": 0.3}, lambda: ftrl(0.1, 0.05, 0.1, 0.1, 0.3)),
    "sgd": ({"lr": 0.1}, lambda: sgd(0.1)),
    "momentum": ({"lr": 0.05}, lambda: momentum(0.05, 0.9)),
    "nesterov": ({"lr": 0.05}, lambda: nesterov(0.05, 0.9)),
    "rmsprop": ({"lr": 0.01}, lambda: rmsprop(0.01, 0.99, 1e-8)),
    "centred rmsprop": ({"lr": 0.01, "centered": True}, lambda: centred(0.01, 0.99, 1e-8)),
    "graves_rmsprop": ({"lr": 1e-3}, lambda: graves(1e-3, 0.95, 0.9, 1e-4)),
    "adagrad": ({"lr": 0.1}, lambda: adagrad(0.1, 1e-10)),
    "adadelta": ({}, lambda: adadelta(1.0, 0.9, 1e-6)),
    "adam": ({"lr": 0.01}, lambda: adam(0.01, (0.9, 0.999), 1e-8)),
    "adam_fast": ({}, lambda: adam(1e-2, (0.9, 0.999), 1e-8)),
    "adam_half": ({}, lambda: adam(1e-3, (0.5, 0.999), 1e-8)),
    "adam_slow": ({}, lambda: adam(1e-4, (0.9, 0.999), 1e-8)),
    "adamw": ({"lr": 0.01}, lambda: adam(0.01, (0.9, 0.999), 1e-8, decay=0.01)),
}


def test_every_optimizer_has_its_paper():
    assert {name.split()[-1] for name in PAPERS} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", PAPERS)
def test_trajectory_equals_the_papers_equations(name):
    changes, make_rule = PAPERS[name]
    make = configured(name.split()[-1], **changes)
    start, expected = quadratic()[2], descend(make_rule())
    assert np.abs(expected - start).max() > 1e-3, "the rule moved"
    np.testing.assert_allclose(torch_descends(make), expected, rtol=1e-9, atol=1e-12)


def test_graves_differs_from_torchs_centred_where_the_variance_is_small():
    """ε inside the root bounds the step by lr |g| / √ε; outside it leaves lr |g| / ε."""
    w = [nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2)]
    make = (
        GravesRMSprop([w[0]], lr=1e-4, alpha=0.5, momentum=0.0, eps=1e-4),
        torch.optim.RMSprop([w[1]], lr=1e-4, alpha=0.5, eps=1e-4, centered=True),
    )
    for p, optimizer in zip(w, make, strict=True):
        for _ in range(60):  # a constant gradient: the variance goes to zero
            p.grad = torch.ones_like(p)
            optimizer.step()
    assert 1 - w[0].item() < 60 * 1e-4 / 1e-2
    assert 1 - w[1].item() > 20 * 1e-4 / 1e-2


@pytest.mark.parametrize("make", [partial(torch.optim.Adam, lr=0.1), partial(torch.optim.SGD, lr=0.1, momentum=0.9)])
def test_gradients_in_another_memory_order(make):
    """torch.autograd.grad may return a transposed view; the fused kernels would take its numbers in the wrong order."""
    torch.manual_seed(0)
    w = torch.randn(3, 5, requires_grad=True)
    v = w.detach().clone().requires_grad_()
    ours, theirs = make([w]), make([v])
    update = make_updater(ours, [w])
    for _ in range(3):
        grad = torch.randn(5, 3).t()
        update([grad])
        v.grad = grad.contiguous()
        theirs.step()
    torch.testing.assert_close(w, v)


@pytest.mark.parametrize(
    "make", [partial(torch.optim.Adam, lr=0.1, amsgrad=True), partial(torch.optim.SGD, lr=0.1, momentum=0.9)]
)
def test_state_of_another_memory_order(make):
    """A run may go on where convolutions lie in another order than where it began: the update must not mix them up."""

    def steps(layer, state=None):
        optimizer = make(layer.parameters())
        if state is not None:
            optimizer.load_state_dict(copy.deepcopy(state))
        params = list(layer.parameters())
        update = make_updater(optimizer, params)
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            update([torch.randn(p.shape, generator=generator) for p in params])
        return optimizer.state_dict()

    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3)
    state = steps(first)
    straight, moved = copy.deepcopy(first), copy.deepcopy(first).to(memory_format=torch.channels_last)
    steps(straight, state)
    steps(moved, state)
    assert moved.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(moved.weight, straight.weight)
