"""Greedy layer-wise learning: each layer by itself, from what those below it make of the data.

G. E. Hinton, S. Osindero, Y.-W. Teh, Neural Computation 18, 2006, https://doi.org/10.1162/neco.2006.18.7.1527.
Y. Bengio, P. Lamblin, D. Popovici, H. Larochelle, "Greedy Layer-Wise Training of Deep Networks", NIPS 2006.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import Layered
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task
from dlx.types import Count, Positive


class Greedy(Procedure):
    """Hold a procedure for each layer and let one after another learn.

    Args:
        learner: makes the procedure of a layer; it brings its own optimizer, or takes the run's.
        epochs: passes over the data for each layer.
        rates: learning rates, one for each layer; null takes the optimizer's for all.
        task: what the layers' procedures minimise, where they ask for it; null takes the run's.
        optimizer: of the run.
        scheduler: of the run; for learners that bring no optimizer.
    """

    requires = Layered
    distributes = True  # where the layers' procedures do
    by_layers = True  # where it learns alone, trainer.epochs counts a layer's passes and must be `epochs`

    def __init__(
        self,
        learner: Callable[..., Procedure],
        epochs: Count = 10,
        rates: Sequence[Positive] | None = None,
        task: Task | None = None,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer] | None = None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        self.learner, self.epochs, self.rates, self.layer_task = learner, epochs, rates, task
        self.optimizer, self.scheduler = optimizer, scheduler
        self.epoch = 0  # passes finished

    @property
    def passes(self) -> int:
        """Passes over the data until every layer has learned."""
        return self.epochs * len(self.learners)

    @property
    def index(self) -> int:
        """The layer that is learning."""
        return min(self.epoch // self.epochs, len(self.learners) - 1)

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        layers = cast(Layered, model).stack()
        if self.rates is not None and len(self.rates) != len(layers):
            raise UsageError(
                f"procedure's rates={list(self.rates)} were given for {len(layers)} layers; needed: one for each"
            )
        self.learners = [self._make_learner(i) for i in range(len(layers))]
        self.pretraining_epochs = self.passes - self.epochs  # trainer.epochs counts one layer's
        for learner, layer in zip(self.learners, layers, strict=True):
            learner.scaler = self.scaler
            learner.bind(layer, self.layer_task or task)

    def list_untrained(self) -> set[str]:
        layered = {p for layer in cast(Layered, self.model).stack() for p in layer.parameters()}
        return {name for name, p in self.model.named_parameters() if p.requires_grad and p not in layered}

    def _make_learner(self, index: int) -> Procedure:
        own = getattr(self.learner, "keywords", {})
        optimizer = own.get("optimizer") or self.optimizer
        given = {} if own.get("optimizer") else {"scheduler": self.scheduler}
        if optimizer is None and requires_argument(self.learner, "optimizer"):
            raise UsageError(
                "a learner without an optimizer was given for the layers; needed: one of its own, such as "
                "'procedure.pretrain.learner.optimizer={_target_: torch.optim.SGD, _partial_: true, lr: 0.1}'"
            )
        if self.rates is not None and optimizer is not None:
            optimizer = cast(Any, partial(optimizer, lr=self.rates[index]))  # type: ignore[call-arg]
        return self.learner(**given, **({} if optimizer is None else {"optimizer": optimizer}))

    def list_metrics(self) -> tuple[Metric, ...]:
        """Return what the layers' procedures declare; they are logged as `layer1/lr` and so on."""
        return (*super().list_metrics(), *(metric for learner in self.learners for metric in learner.list_metrics()))

    def takes(self, group: str) -> bool:
        return not getattr(self.learner, "keywords", {}).get("optimizer")

    def step(self, batch: Batch) -> dict[str, Tensor]:
        index = self.index
        with torch.no_grad():
            seen = cast(Layered, self.model).below(index, batch)
        return _prefix_names(index, self.learners[index].step(seen))

    def end_epoch(self) -> dict[str, Tensor]:
        index = self.index
        values = _prefix_names(index, self.learners[index].end_epoch())
        self.epoch += 1
        return values

    def pop_notices(self) -> list[str]:
        return self.learners[self.index].pop_notices()

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "epoch": self.epoch,
            "extra": self.pretraining_epochs,
            "learners": [learner.state_dict() for learner in self.learners],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.epoch = state["epoch"]
        for learner, own in zip(self.learners, state["learners"], strict=True):
            learner.load_state_dict(own)


def requires_argument(constructor: Callable[..., Any], name: str) -> bool:
    """Return whether a constructor cannot do without an argument that it was not given yet."""
    parameter = inspect.signature(constructor).parameters.get(name)
    return parameter is not None and parameter.default is parameter.empty


def _prefix_names(index: int, values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"layer{index + 1}/{name}": value for name, value in values.items()}
