"""Many models as one stack: their weights side by side, and losses and metrics computed for all at once."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dlx.batch import Batch
from dlx.loggers.histogram import Histogram, compute_histograms
from dlx.models.layers import find_penalized
from dlx.tasks.task import Task
from dlx.vectorized.not_vectorizable import NotVectorizable
from dlx.vectorized.numbers import find_free_numbers
from dlx.vectorized.op_replacements import PlainCrossEntropy
from dlx.vectorized.through_time import install_stacked_cells

Tensors = Sequence[Tensor]


class Stack:
    """Models of one architecture, K of them.

    Learned parameters lie in one matrix (K, P), a model's parameters in a row, one after the other; fixed ones and the
    buffers in tensors (K, …). The models keep their own modules, whose tensors become views of these: whatever looks
    at one of them sees an ordinary model.

    Args:
        models: the models, on one device.
        task: what they learn.

    Raises:
        NotVectorizable: they are not of one architecture.
    """

    def __init__(self, models: Sequence[nn.Module], task: Task) -> None:
        self.models = list(models)
        first = self.models[0]
        self.device = next(first.parameters()).device
        model = copy.deepcopy(first)
        self.numbers = find_free_numbers(model, self.models, self.device)
        for number in self.numbers:
            number.set(number.values[0])
        self.has_stacked_cells = install_stacked_cells(model)
        self.template = LossAndMetrics(model, task)
        named = [dict(one.named_parameters()) for one in self.models]
        self.names = [name for name, p in named[0].items() if p.requires_grad]
        self.shapes = [named[0][name].shape for name in self.names]
        self.sizes = [shape.numel() for shape in self.shapes]
        if not self.names:
            raise NotVectorizable("nothing in them learns by gradients")
        if len({named[0][name].dtype for name in self.names}) > 1:
            raise NotVectorizable("their weights are of several types")
        self.weights = self.to_matrix([[one[name] for name in self.names] for one in named])
        fixed = {name: torch.stack([one[name].detach() for one in named]) for name in named[0].keys() - {*self.names}}
        buffers = {
            name: torch.stack([dict(one.named_buffers())[name] for one in self.models])
            for name, _ in first.named_buffers()
        }
        self.fixed, self.buffers = fixed, buffers
        for k in range(len(self.models)):
            self.attach(k, self.split_rows(self.weights[k]), {n: b[k] for n, b in buffers.items()})

    def __len__(self) -> int:
        return len(self.models)

    # -- rows and pieces -----------------------------------------------------------------------------------------------

    def to_matrix(self, tensors: Sequence[Tensors]) -> Tensor:
        """Return a matrix (K, P) of one tensor for each learned parameter of each model."""
        return torch.stack([torch.cat([one.detach().reshape(-1) for one in row]) for row in tensors])

    def split_rows(self, row: Tensor) -> list[Tensor]:
        """Return views of rows (…, P), one for each learned parameter, (…, *shape)."""
        parts = row.split(self.sizes, -1)
        return [part.view(*row.shape[:-1], *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def attach(self, k: int, weights: Tensors, buffers: dict[str, Tensor]) -> None:
        """Let a model's own modules hold these tensors."""
        named = dict(self.models[k].named_parameters())
        for name, value in zip(self.names, weights, strict=True):
            named[name].data = value
        for name, value in buffers.items():
            parent, _, own = name.rpartition(".")
            self.models[k].get_submodule(parent)._buffers[own] = value

    def release(self, k: int) -> None:
        """Detach a model, with tensors of its own, which the stack's further steps do not change."""
        own = {name: b[k].clone() for name, b in self.buffers.items()}
        self.attach(k, [w.clone() for w in self.split_rows(self.weights[k])], own)

    def compute_histograms(self) -> list[dict[str, Histogram]]:
        """Return the histograms of each model's parameters, by their names."""
        pieces = dict(zip(self.names, self.split_rows(self.weights), strict=True)) | self.fixed
        histograms: list[dict[str, Histogram]] = [{} for _ in self.models]
        for name, _ in self.models[0].named_parameters():
            for of_model, histogram in zip(histograms, compute_histograms(pieces[name]), strict=True):
                if histogram is not None:
                    of_model[name] = histogram
        return histograms

    # -- losses and metrics of all models ------------------------------------------------------------------------------

    def compute_losses(
        self, weights: Tensors, fixed: Tensors, buffers: Tensors, values: Tensors, batch: Batch, per_trial: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Return each model's loss with its penalties, (K,), and the buffers afterwards.

        Args:
            weights: (K, *shape) of each learned parameter.
            fixed, buffers: as in the attributes of these names, in their order.
            values: of `find_free_numbers`, (K,) each.
            batch: shared by all models, or, if `per_trial`, (K, batch, …) with one for each.
            per_trial: see above.
        """
        result: tuple[Tensor, list[Tensor]] = self._call_vmapped(
            "loss", weights, fixed, buffers, values, batch, per_trial
        )
        return result

    @torch.no_grad()
    def compute_metrics(self, batch: Batch, per_trial: bool) -> dict[str, Tensor]:
        """Return the task's metrics of each model, (K, batch, …), or (K,) for those that are means already."""
        self.template.eval()
        try:
            metrics, _ = self._call_vmapped(
                "metrics",
                self.split_rows(self.weights),
                list(self.fixed.values()),
                list(self.buffers.values()),
                [number.values for number in self.numbers],
                batch,
                per_trial,
            )
        finally:
            self.template.train()
        return cast(dict[str, Tensor], metrics)

    def _call_vmapped(
        self,
        what: str,
        weights: Tensors,
        fixed: Tensors,
        buffers: Tensors,
        values: Tensors,
        batch: Batch,
        per_trial: bool,
    ) -> Any:
        """Call the template for all models with `vmap`. Returns the answer, and the buffers afterwards."""

        def call_one(weights: Tensors, fixed: Tensors, buffers: Tensors, values: Tensors, *parts: Tensor) -> Any:
            for number, value in zip(self.numbers, values, strict=True):
                number.set(value)
            updated = [buffer.clone() for buffer in buffers]  # a batch norm's running means
            tensors = zip((*self.names, *self.fixed, *self.buffers), (*weights, *fixed, *updated), strict=True)
            named = {f"model.{name}": value for name, value in tensors}
            return functional_call(self.template, named, (what, Batch(*parts))), updated

        parts = tuple(part for part in batch if part is not None)
        in_dims = (
            0,
            0 if fixed else None,
            0 if buffers else None,
            0 if values else None,
            *[0 if per_trial else None] * len(parts),
        )
        call_all: Callable[..., Any] = vmap(call_one, in_dims=in_dims, randomness="different")
        return call_all(list(weights), list(fixed), list(buffers), list(values), *parts)


class LossAndMetrics(nn.Module):
    """A module that returns the loss or the metrics, so that `functional_call` can swap the model's tensors."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model, self.task, self.penalised = model, task, find_penalized(model)

    def forward(self, what: str, batch: Batch) -> Any:
        """Return the `loss`, 0-d, with the penalties, or the `metrics` of each example."""
        with PlainCrossEntropy():
            if what == "metrics":
                return self.task.metrics(self.model, batch)
            loss = self.task.loss(self.model, batch)
            for module in self.penalised:
                loss = loss + module.penalty()
            return loss
