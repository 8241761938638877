"""Adversarial learning: a generator and a discriminator, each with an optimizer of its own.

I. Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661 (Algorithm 1).
One-sided label smoothing: T. Salimans et al., 2016, https://arxiv.org/abs/1606.03498, §3.4. The Wasserstein loss and
its gradient penalty: I. Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.optimizers.fused import made, undecorated, updater
from dlx.procedures.loss_scale import LossScale
from dlx.procedures.procedure import Procedure
from dlx.procedures.schedule import Schedule
from dlx.tasks.task import Task
from dlx.types import Count, Fraction, Natural, NonNegative, Positive

Loss = Literal["minimax", "non_saturating", "wasserstein"]


@runtime_checkable
class Adversaries(Protocol):
    """What the game needs of a model."""

    def players(self) -> tuple[nn.Module, nn.Module]:
        """The generator and the discriminator, which share no parameter."""

    def latent(self, n: int) -> Tensor:
        """Noise to generate from, (n, ...), on the model's device."""

    def generate(self, z: Tensor) -> Tensor:
        """Examples (n, *shape) of noise z."""

    def discriminate(self, x: Tensor) -> Tensor:
        """Scores (batch,) of x: log-odds that x is real, or a critic's value."""

    def follow(self) -> None:
        """Hear that the generator was updated; a moving average of it takes a step."""


class Adversarial(Procedure):
    """Each step the discriminator learns to tell data from samples; then the generator learns to pass for data.

    Args:
        optimizer: a torch.optim class without its parameters; each player gets one.
        scheduler: a torch.optim.lr_scheduler class without its optimizer; likewise.
        loss: `minimax` is the generator's half of the paper's value, E log(1 - D(G(z))), whose gradient vanishes
            where the discriminator is sure; `non_saturating` maximises E log D(G(z)) instead (the paper's §3);
            `wasserstein` takes scores for values of a critic, which needs `gradient_penalty` (10 in its paper).
        discriminator_steps: batches that the discriminator sees for each update of the generator.
        discriminator_lr: the discriminator's learning rate where it is not the generator's.
        label_smoothing: the discriminator is to call data real with probability 1 - label_smoothing. Samples keep
            their hard label: smoothing both would reward the generator for staying where it is.
        gradient_penalty: weight of (‖∇D‖ - 1)², taken between data and samples.
        watch: log each player's gradient norm at every so-many-th update; 0 for never.
    """

    requires = Adversaries

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
        loss: Literal["minimax", "non_saturating", "wasserstein"] = "non_saturating",
        discriminator_steps: Count = 1,
        discriminator_lr: Positive | None = None,
        label_smoothing: Fraction = 0.0,
        gradient_penalty: NonNegative = 0.0,
        watch: Natural = 50,
    ) -> None:
        if loss == "wasserstein" and not gradient_penalty:
            raise UsageError(
                "procedure.loss=wasserstein was given without a penalty; needed: one, or the critic's values grow "
                "without bound; type procedure.gradient_penalty=10"
            )
        if loss == "wasserstein" and label_smoothing:
            raise UsageError(
                "procedure.label_smoothing was given with loss=wasserstein, which has no labels; "
                "type procedure.label_smoothing=0"
            )
        self.make_optimizer, self.make_schedule = optimizer, scheduler
        self.loss: Loss = loss
        self.discriminator_steps, self.discriminator_lr = discriminator_steps, discriminator_lr
        self.label_smoothing, self.gradient_penalty, self.watch = label_smoothing, gradient_penalty, watch
        self.seen = 0  # batches

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.game = cast(Adversaries, model)
        generator, discriminator = self.game.players()
        self.generator = _Player(generator, self.make_optimizer, self.make_schedule, None, self.watch)
        self.discriminator = _Player(
            discriminator, self.make_optimizer, self.make_schedule, self.discriminator_lr, self.watch
        )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        values = self._tell_apart(batch.x)
        self.seen += 1
        if self.seen % self.discriminator_steps == 0:
            values.update(self._pass_for_data(len(batch.x)))
        return values

    def _tell_apart(self, x: Tensor) -> dict[str, Tensor]:
        game = self.game
        with torch.no_grad():
            made = game.generate(game.latent(len(x)))
        real, fake = game.discriminate(x), game.discriminate(made)
        loss = discriminator_loss(real, fake, self.loss, self.label_smoothing)
        values = {"discriminator_loss": loss.detach()}
        if self.loss == "wasserstein":
            values["wasserstein_distance"] = -loss.detach()
        else:
            values["discriminator_accuracy"] = torch.cat([real.detach() > 0, fake.detach() < 0]).float().mean()
        if self.gradient_penalty:
            penalty = gradient_penalty(game.discriminate, x, made)
            values["gradient_penalty"] = penalty.detach()
            loss = loss + self.gradient_penalty * penalty
        norm = self.discriminator.learn(loss, self.scaler)
        return values if norm is None else {**values, "discriminator_gradient_norm": norm}

    def _pass_for_data(self, n: int) -> dict[str, Tensor]:
        game = self.game
        loss = generator_loss(game.discriminate(game.generate(game.latent(n))), self.loss)
        norm = self.generator.learn(loss, self.scaler)
        game.follow()
        values = {"generator_loss": loss.detach()}
        return values if norm is None else {**values, "generator_gradient_norm": norm}

    def end_epoch(self) -> dict[str, Tensor]:
        players = {"lr": self.generator, "discriminator_lr": self.discriminator}
        return {name: player.end_epoch() for name, player in players.items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "seen": self.seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        self.seen = state["seen"]


def discriminator_loss(real: Tensor, fake: Tensor, loss: Loss, smoothing: float = 0.0) -> Tensor:
    """What the discriminator minimises, 0-d.

    With D = σ(score): -E_real[(1-s) log D + s log(1-D)] - E_fake[log(1-D)]; without smoothing s its least value is
    log 4 - 2 JSD (Theorem 1). For a critic: E_fake[score] - E_real[score].

    Args:
        real, fake: scores (batch,) of data and of samples.
        loss: minimax and non_saturating are one to the discriminator.
        smoothing: s.
    """
    if loss == "wasserstein":
        return fake.mean() - real.mean()
    # -log σ(a) = softplus(-a) = softplus(a) - a, and -log(1 - σ(a)) = softplus(a)
    return (F.softplus(real) - (1 - smoothing) * real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, loss: Loss) -> Tensor:
    """What the generator minimises, 0-d: E log(1 - D), -E log D, or -E score, of the samples' scores (batch,)."""
    if loss == "minimax":
        return -F.softplus(fake).mean()
    if loss == "non_saturating":
        return F.softplus(-fake).mean()
    return -fake.mean()


def gradient_penalty(discriminate: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """E (‖∇D(x̂)‖ - 1)², 0-d, at points x̂ drawn uniformly between data and samples, each (batch, *shape)."""
    part = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    between = torch.lerp(real, fake, part).requires_grad_()
    (slope,) = torch.autograd.grad(discriminate(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


class _Player:
    """A network with its own optimizer and schedule."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        schedule: Callable[[torch.optim.Optimizer], Schedule] | None,
        lr: float | None,
        watch: int,
    ) -> None:
        self.params = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = made(optimizer, self.params)
        if lr is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
        self.schedule = schedule(self.optimizer) if schedule else None
        if self.schedule is not None and self.schedule.plateau:
            raise UsageError(
                "scheduler=plateau was given; needed: one that waits for no score, since the losses of a game do not "
                "say which player is better; type scheduler=constant or scheduler=cosine"
            )
        self.update = updater(self.optimizer, self.params)
        self.updates, self.watch = 0, watch

    def learn(self, loss: Tensor, scaler: LossScale | None) -> Tensor | None:
        """One update down the gradient of `loss`; the gradient's norm, 0-d, where it is to be logged."""
        scaled = loss if scaler is None else scaler.scale(loss)
        grads = torch.autograd.grad(scaled, self.params)
        if scaler is not None and not scaler.unscale(list(grads)):
            return None
        watched = self.watch and self.updates % self.watch == 0
        norm = torch.nn.utils.get_total_norm(grads) if watched else None
        self.update(grads)
        self.updates += 1
        if self.schedule is not None:
            self.schedule.step()
        return norm

    def end_epoch(self) -> Tensor:
        """Finish an epoch; the learning rate, 0-d."""
        if self.schedule is not None:
            self.schedule.end_epoch()
        return torch.tensor(float(self.optimizer.param_groups[0]["lr"]))

    def state_dict(self) -> dict[str, Any]:
        with undecorated():
            optimizer = self.optimizer.state_dict()
        return {
            "optimizer": optimizer,
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with undecorated():
            self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.updates = state["updates"]
