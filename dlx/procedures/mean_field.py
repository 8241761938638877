"""Learning in deep Boltzmann machines: mean field where the data is, persistent chains where the model is.

R. Salakhutdinov, G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
https://proceedings.mlr.press/v5/salakhutdinov09a.html, §3.1 and algorithm 1.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.metrics import Metric
from dlx.models.boltzmann.units import draw_bernoulli
from dlx.models.interfaces import DeepEnergyModel
from dlx.procedures.descent import Descent
from dlx.procedures.schedule import Schedule
from dlx.tasks.task import Task
from dlx.types import Count


class MeanField(Descent):
    """Ascend the variational bound: its expectation under the data by mean field, under the model by chains.

    Args:
        optimizer: a torch.optim class without its parameters.
        scheduler: a torch.optim.lr_scheduler class without its optimizer.
        iterations: rounds of mean field for each batch; 10 in the paper.
        steps: Gibbs steps of the chains before each update; 5 in the paper.
        chains: persistent ones; 100 in the paper.
        sampled: the visible units are drawn from the intensities, which stand for their probabilities.
    """

    requires = DeepEnergyModel
    apart = ("states",)
    declares: ClassVar[tuple[str | Metric, ...]] = ("energy_gap",)

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
        iterations: Count = 10,
        steps: Count = 5,
        chains: Count = 100,
        sampled: bool = False,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.iterations, self.steps, self.chains, self.sampled = iterations, steps, chains, sampled
        self.states: list[Tensor] | None = None

    def trainable_parameters(self, model: nn.Module) -> dict[str, Tensor]:
        free = super().trainable_parameters(model)
        return {name: free[name] for name in cast(DeepEnergyModel, model).mean_field_parameters() if name in free}

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.deep = cast(DeepEnergyModel, model)
        self.learns = [name in self.named for name in self.deep.mean_field_parameters()]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        v = batch.x.flatten(1)
        data = self.deep.mean_field(draw_bernoulli(v) if self.sampled else v, self.iterations)
        self.states = self.deep.gibbs_layers(self.states or self.deep.start(self.chains), self.steps)
        gap, gradients = self.deep.energy_gap(data, self.states)
        self.update(self.average_gradients([g for g, learns in zip(gradients, self.learns, strict=True) if learns]))
        self.advance()
        return {"energy_gap": gap}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "states": self.states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        device = self.params[0].device
        self.states = state["states"] and [layer.to(device) for layer in state["states"]]
