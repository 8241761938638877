"""Adversarial learning: a generator and a discriminator, each with an optimizer of its own.

I. Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661 (Algorithm 1); the
sources of each loss stand in `losses.py`.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import Adversaries, Conditional
from dlx.procedures.adversarial.collapse import CollapseDetector
from dlx.procedures.adversarial.losses import Loss, discriminator_loss, generator_loss, gradient_penalty
from dlx.procedures.adversarial.player import Player
from dlx.procedures.procedure import Procedure
from dlx.procedures.schedule import Schedule
from dlx.tasks.generation.measures import mean_pairwise_distance
from dlx.tasks.task import Task, require_labels
from dlx.types import Count, Fraction, Natural, NonNegative, Positive


class Adversarial(Procedure):
    """Each step, teach the discriminator to tell data from samples, then the generator to pass for data.

    A player that is frozen (`freeze=discriminator`) plays and does not learn.

    Args:
        optimizer: a torch.optim class without its parameters; each player gets one.
        scheduler: a torch.optim.lr_scheduler class without its optimizer; likewise.
        loss: `minimax` is the generator's half of the paper's value, E log(1 - D(G(z))), whose gradient vanishes
            where the discriminator is sure; `non_saturating` maximises E log D(G(z)) instead (the paper's §3);
            `wasserstein` takes scores for values of a critic, which needs `gradient_penalty` (10 in its paper);
            `hinge` asks the discriminator for scores beyond 1 and -1, and no more.
        discriminator_steps: batches that the discriminator sees for each update of the generator.
        discriminator_lr: the discriminator's learning rate where it is not the generator's.
        label_smoothing: the discriminator is to call data real with probability 1 - label_smoothing. Samples keep
            their hard label: smoothing both would reward the generator for staying where it is.
        gradient_penalty: weight of (‖∇D‖ - 1)², taken between data and samples.
        watch: measure each player's gradient norm and the samples' diversity at every so-many-th update, and warn of
            a collapse; 0 for never.
    """

    requires = Adversaries
    distributes = True
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "generator_loss",
        "discriminator_loss",
        "discriminator_accuracy",
        "wasserstein_distance",
        "gradient_penalty",
        "diversity",
        "generator_gradient_norm",
        "discriminator_gradient_norm",
        "lr",
        "discriminator_lr",
    )

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
        loss: Literal["minimax", "non_saturating", "wasserstein", "hinge"] = "non_saturating",
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
        if loss in ("wasserstein", "hinge") and label_smoothing:
            raise UsageError(
                f"procedure.label_smoothing was given with loss={loss}, which has no labels; "
                "type procedure.label_smoothing=0"
            )
        self.optimizer_factory, self.schedule_factory = optimizer, scheduler
        self.loss: Loss = loss
        self.discriminator_steps, self.discriminator_lr = discriminator_steps, discriminator_lr
        self.label_smoothing, self.gradient_penalty, self.watch = label_smoothing, gradient_penalty, watch
        self.batches_seen = 0
        self.collapse_detector = CollapseDetector()
        self.warnings: list[str] = []

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.game = cast(Adversaries, model)
        self.conditional = isinstance(model, Conditional) and bool(model.conditional)
        generator, discriminator = self.game.players()
        self.generator = Player(generator, self.optimizer_factory, self.schedule_factory, None, self.watch)
        self.discriminator = Player(
            discriminator, self.optimizer_factory, self.schedule_factory, self.discriminator_lr, self.watch
        )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        labels = (require_labels(batch),) if self.conditional else ()
        values = self._step_discriminator(batch.x, *labels)
        self.batches_seen += 1
        if self.batches_seen % self.discriminator_steps == 0:
            values.update(self._step_generator(len(batch.x), *labels))
        return values

    def _step_discriminator(self, x: Tensor, *labels: Tensor) -> dict[str, Tensor]:
        game, player = self.game, self.discriminator
        is_measured = player.is_measured
        with torch.no_grad():
            samples = game.generate(game.latent(len(x)), *labels)
        real, fake = game.discriminate(x, *labels), game.discriminate(samples, *labels)
        loss = discriminator_loss(real, fake, self.loss, self.label_smoothing)
        values = {"discriminator_loss": loss.detach()}
        if self.loss == "wasserstein":
            values["wasserstein_distance"] = -loss.detach()
        else:
            values["discriminator_accuracy"] = torch.cat([real.detach() > 0, fake.detach() < 0]).float().mean()
        if self.gradient_penalty and not player.is_frozen:
            penalty = gradient_penalty(lambda x: game.discriminate(x, *labels), x, samples)
            values["gradient_penalty"] = penalty.detach()
            loss = loss + self.gradient_penalty * penalty
        norm = player.learn(loss, self.scaler)
        if norm is not None:
            values["discriminator_gradient_norm"] = norm
        if is_measured and len(x) > 1:
            values["diversity"] = mean_pairwise_distance(samples) / mean_pairwise_distance(x).clamp(min=1e-12)
        if is_measured:
            self.collapse_detector.add_measurements(
                {k: v for k, v in values.items() if k in ("diversity", "discriminator_accuracy")}
            )
        return values

    def _step_generator(self, n: int, *labels: Tensor) -> dict[str, Tensor]:
        game = self.game
        loss = generator_loss(game.discriminate(game.generate(game.latent(n), *labels), *labels), self.loss)
        norm = self.generator.learn(loss, self.scaler)
        game.follow()
        values = {"generator_loss": loss.detach()}
        if norm is not None:
            values["generator_gradient_norm"] = norm
            self.collapse_detector.add_measurements({"generator_gradient_norm": norm})
        return values

    def end_epoch(self) -> dict[str, Tensor]:
        other = {f"discriminator_{name}": value for name, value in self.discriminator.end_epoch().items()}
        return self.generator.end_epoch() | other

    def on_validation_end(self, metrics: dict[str, float]) -> None:
        centres = getattr(self.task, "centres", None)
        if self.watch and centres is not None and "modes" in metrics:
            self.collapse_detector.on_validation_end(metrics["modes"], len(centres), metrics["high_quality"])

    def pop_notices(self) -> list[str]:
        """Return signs of a collapse, of a discriminator too sure, of missing modes: each once, with what helps."""
        lines = self.collapse_detector.pop_notices()
        self.warnings += lines
        return lines

    def run_metadata(self) -> dict[str, Any]:
        return {"warnings": self.warnings} if self.warnings else {}

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "seen": self.batches_seen,
            "collapse": self.collapse_detector.state_dict(),
            "warnings": list(self.warnings),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        self.batches_seen = state["seen"]
        if "collapse" in state:
            self.collapse_detector.load_state_dict(state["collapse"])
            self.warnings = list(state["warnings"])
