"""Back-propagation as a procedure: what stands between the gradient and the weights."""

import copy
from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.mlp import MLP
from dlx.procedures.backprop import Backprop
from dlx.procedures.loss_scale import LossScale
from dlx.procedures.schedule import Schedule
from dlx.tasks.classification import Classification
from dlx.tasks.generation.generation import Generation
from tests.conftest import ROOT, same

SGD = partial(torch.optim.SGD, lr=0.1)
ADAM = partial(torch.optim.Adam, lr=0.01)


def batches(count, n=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        Batch(torch.randn(n, 4, generator=generator), torch.randint(0, 3, (n,), generator=generator))
        for _ in range(count)
    ]


def bound(optimizer=SGD, scheduler=None, model=None, **settings):
    torch.manual_seed(0)
    procedure = Backprop(optimizer, scheduler=scheduler, **settings)
    procedure.bind(model or MLP([4], 3, hidden=[8]), Classification())
    return procedure


def weights(procedure):
    return [p.detach().clone() for p in procedure.model.parameters()]


def by_hand(optimizer, data, clip=lambda params: None, model=None):
    """The loop of torch's tutorials."""
    torch.manual_seed(0)
    model = model or MLP([4], 3, hidden=[8])
    made = optimizer(model.parameters())
    for batch in data:
        made.zero_grad()
        F.cross_entropy(model(batch.x), batch.y).backward()
        clip(model.parameters())
        made.step()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_equals_the_loop_by_hand(optimizer):
    procedure, data = bound(optimizer), batches(50)
    losses = [procedure.step(batch)["loss"] for batch in data]
    torch.testing.assert_close(weights(procedure), by_hand(optimizer, data), rtol=1e-5, atol=1e-6)
    assert not any(loss.requires_grad for loss in losses)


def test_accumulation_equals_one_large_batch():
    data = batches(12)
    large = [
        Batch(torch.cat([b.x for b in data[i : i + 4]]), torch.cat([b.y for b in data[i : i + 4]])) for i in (0, 4, 8)
    ]
    small = bound(ADAM, accumulate=4)
    for batch in data:
        small.step(batch)
    assert small.updates == 3
    torch.testing.assert_close(weights(small), by_hand(ADAM, large), rtol=1e-5, atol=1e-6)


def test_what_an_epoch_leaves_over_makes_a_smaller_update():
    data = batches(6)
    procedure = bound(accumulate=4)
    for batch in data:
        procedure.step(batch)
    assert (procedure.updates, procedure.accumulated_batches) == (1, 2)
    procedure.end_epoch()
    assert (procedure.updates, procedure.accumulated_batches) == (2, 0)
    large = [Batch(torch.cat([b.x for b in part]), torch.cat([b.y for b in part])) for part in (data[:4], data[4:])]
    torch.testing.assert_close(weights(procedure), by_hand(SGD, large), rtol=1e-5, atol=1e-6)
    procedure.end_epoch()
    assert procedure.updates == 2, "nothing is left over"


@pytest.mark.parametrize("bound_to", [0.05, 100.0])
def test_norm_clipping_equals_torch(bound_to):
    procedure, data = bound(clip_norm=bound_to), batches(20)
    for batch in data:
        procedure.step(batch)
    expected = by_hand(SGD, data, lambda params: nn.utils.clip_grad_norm_(params, bound_to))
    torch.testing.assert_close(weights(procedure), expected, rtol=1e-6, atol=1e-7)


def test_value_clipping_equals_torch():
    procedure, data = bound(clip_value=0.01), batches(20)
    for batch in data:
        procedure.step(batch)
    expected = by_hand(SGD, data, lambda params: nn.utils.clip_grad_value_(params, 0.01))
    torch.testing.assert_close(weights(procedure), expected, rtol=1e-6, atol=1e-7)


def test_gradient_norm_is_watched():
    procedure, data = bound(grad_norm_every=3), batches(7)
    values = [procedure.step(batch) for batch in data]
    assert ["gradient_norm" in v for v in values] == [True, False, False, True, False, False, True]
    fresh = bound()
    F.cross_entropy(fresh.model(data[0].x), data[0].y).backward()
    expected = torch.cat([p.grad.flatten() for p in fresh.model.parameters()]).norm()
    torch.testing.assert_close(values[0]["gradient_norm"], expected)


def test_a_head_that_the_loss_does_not_reach_keeps_its_weights():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.used(x)

    for settings in ({}, {"clip_norm": 0.1}, {"clip_value": 0.1}, {"accumulate": 2}):
        procedure = bound(ADAM, model=TwoHeads(), **settings)
        before = copy.deepcopy(procedure.model.state_dict())
        for batch in batches(4):
            procedure.step(batch)
        after = procedure.model.state_dict()
        assert all(torch.equal(after[name], before[name]) == name.startswith("unused") for name in before)


def test_a_model_without_weights_is_refused():
    with pytest.raises(UsageError, match="nothing to learn by gradients"):
        bound(model=nn.Flatten())


def test_a_task_without_a_loss_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match="task generation has no loss"):
        Backprop(SGD).bind(MLP([4], 3), Generation())


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=-1.0), partial(ADAM, betas=[0.9, 1.5]), partial(SGD, speed=3)])
def test_bad_values_of_an_optimizer_are_the_users(optimizer):
    with pytest.raises(UsageError, match="optimizer refused its values"):
        bound(optimizer)


def test_bad_values_of_a_schedule_are_the_users():
    with pytest.raises(UsageError, match="scheduler refused its values"):
        bound(scheduler=partial(Schedule, scheduler=partial(lr_scheduler.StepLR, step=3)))


# -- loss scale ------------------------------------------------------------------------------------------------------


def test_a_scaled_loss_makes_the_same_steps():
    procedure, data = bound(ADAM), batches(20)
    procedure.scaler = LossScale()
    for batch in data:
        procedure.step(batch)
    torch.testing.assert_close(weights(procedure), by_hand(ADAM, data), rtol=1e-5, atol=1e-6)


def test_an_overflow_leaves_the_update_out_and_halves_the_factor():
    """As torch.amp.GradScaler, with the same numbers of patience and growth."""
    ours, theirs = LossScale(factor=8.0, patience=3), torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    p = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([p], lr=1.0)
    for finite in [True, True, False, True, True, True, True, False, False, True, True, True, True, True, True]:
        grads = [torch.tensor([1.0, 2.0 if finite else float("inf")])]
        p.grad = theirs.scale(torch.ones(())) * grads[0].clone()
        theirs.step(optimizer)
        theirs.update()
        assert ours.unscale([ours.factor * g for g in grads]) == finite
        assert ours.factor == theirs.get_scale()
    procedure = bound()
    procedure.scaler = LossScale()
    before, bad = weights(procedure), batches(1)[0]
    procedure.step(Batch(bad.x * float("inf"), bad.y))
    assert same(before, weights(procedure))
    assert procedure.scaler.factor == 2.0**15


# -- schedules -------------------------------------------------------------------------------------------------------

SCHEDULERS = sorted(path.stem for path in (ROOT / "conf" / "scheduler").glob("*.yaml"))
EPOCHS, STEPS = 30, 3


def configured(name):
    """The schedule of conf/scheduler/NAME.yaml as `dlx.instantiate.scheduler` makes it."""
    config = OmegaConf.create({"trainer": {"epochs": EPOCHS}})
    config.scheduler = OmegaConf.load(ROOT / "conf" / "scheduler" / f"{name}.yaml")
    plain = OmegaConf.to_container(config, resolve=True)["scheduler"]
    if "steps_per_epoch" in plain:
        plain["steps_per_epoch"] = STEPS
    return plain.pop("interval", "epoch"), instantiate(plain) if plain else None


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name not in ("constant", "plateau")])
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_rates_follow_torchs_schedule(name, interval):
    _, make = configured(name)
    procedure = bound(scheduler=partial(Schedule, scheduler=make, interval=interval))
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = make(optimizer)
    for _ in range(EPOCHS):
        for batch in batches(STEPS):
            assert procedure.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
            procedure.step(batch)
            optimizer.step()
            if interval == "step":
                schedule.step()
        logged = procedure.end_epoch()["lr"]
        if interval == "epoch":
            schedule.step()
        assert logged.item() == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)


def test_constant_rate():
    assert configured("constant") == ("epoch", None)
    procedure = bound()
    assert procedure.end_epoch()["lr"].item() == pytest.approx(0.1)


def test_plateau_waits_for_the_validation():
    make = partial(configured("plateau")[1], mode="max")  # which `dlx.parts` takes from the task
    procedure = bound(scheduler=partial(Schedule, scheduler=make))
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.1, patience=5)
    for accuracy in [0.1, 0.5, 0.6, *[0.6] * 10, 0.7, *[0.65] * 8]:
        procedure.step(batches(1)[0])
        procedure.end_epoch()
        procedure.on_validation_end({"accuracy": accuracy, "loss": 1.0})
        schedule.step(accuracy)
        assert procedure.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert procedure.optimizer.param_groups[0]["lr"] < 0.1


# -- resuming --------------------------------------------------------------------------------------------------------

RESUMED = {
    "adam": {"optimizer": ADAM},
    "momentum": {"optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9)},
    "schedule": {
        "optimizer": SGD,
        "scheduler": partial(Schedule, scheduler=partial(lr_scheduler.StepLR, step_size=7), interval="step"),
    },
    "accumulated": {"optimizer": ADAM, "accumulate": 4},
    "clipped": {"optimizer": ADAM, "clip_norm": 0.1},
}


@pytest.mark.parametrize("name", RESUMED)
def test_resumed_equals_uninterrupted(name, tmp_path):
    data = batches(21)
    straight = bound(**RESUMED[name])
    for batch in data:
        straight.step(batch)
    first = bound(**RESUMED[name])
    for batch in data[:10]:
        first.step(batch)
    torch.save({"model": first.model.state_dict(), "procedure": first.state_dict()}, tmp_path / "last.pt")
    second = bound(**RESUMED[name])
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    second.model.load_state_dict(content["model"])
    second.load_state_dict(content["procedure"])
    for batch in data[10:]:
        second.step(batch)
    assert same(weights(straight), weights(second))
    assert same(straight.state_dict(), second.state_dict())
