"""Many models as one: their weights side by side, and what one of them computes, computed for all."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dlx.batch import Batch
from dlx.loggers.tensorboard.histogram import encode_rows
from dlx.models.layers import find_penalized
from dlx.tasks.task import Task
from dlx.vectorized.not_vectorizable import Unstacked
from dlx.vectorized.numbers import numbers
from dlx.vectorized.op_replacements import Plainly
from dlx.vectorized.through_time import sweep_all

Tensors = Sequence[Tensor]


class Stack:
    """Models of one architecture, K of them.

    What learns lies in one matrix (K, P), a model's parameters in a row, one after the other; what does not, and the
    buffers, in tensors (K, …). The models keep their own modules, whose tensors become views of these: whatever looks
    at one of them sees a model of its own.

    Args:
        models: on one device.
        task: what they learn.

    Raises:
        Unstacked: they are not of one architecture.
    """

    def __init__(self, models: Sequence[nn.Module], task: Task) -> None:
        self.models = list(models)
        first = self.models[0]
        self.device = next(first.parameters()).device
        model = copy.deepcopy(first)
        self.numbers = numbers(model, self.models, self.device)
        for number in self.numbers:
            number.put(number.values[0])
        self.swept = sweep_all(model)
        self.template = Asked(model, task)
        named = [dict(one.named_parameters()) for one in self.models]
        self.names = [name for name, p in named[0].items() if p.requires_grad]
        self.shapes = [named[0][name].shape for name in self.names]
        self.sizes = [shape.numel() for shape in self.shapes]
        if not self.names:
            raise Unstacked("nothing in them learns by gradients")
        if len({named[0][name].dtype for name in self.names}) > 1:
            raise Unstacked("their weights are of several types")
        self.weights = self.rows([[one[name] for name in self.names] for one in named])
        fixed = {name: torch.stack([one[name].detach() for one in named]) for name in named[0].keys() - {*self.names}}
        buffers = {
            name: torch.stack([dict(one.named_buffers())[name] for one in self.models])
            for name, _ in first.named_buffers()
        }
        self.fixed, self.buffers = fixed, buffers
        for k in range(len(self.models)):
            self.attach(k, self.pieces(self.weights[k]), {n: b[k] for n, b in buffers.items()})

    def __len__(self) -> int:
        return len(self.models)

    # -- rows and pieces -----------------------------------------------------------------------------------------------

    def rows(self, tensors: Sequence[Tensors]) -> Tensor:
        """A matrix (K, P) of one tensor for each learning parameter of each model."""
        return torch.stack([torch.cat([one.detach().reshape(-1) for one in own]) for own in tensors])

    def pieces(self, row: Tensor) -> list[Tensor]:
        """Views of rows (…, P), one for each learning parameter, (…, *shape)."""
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
        """Let a model go, with tensors of its own: what the stack learns from now on does not touch it."""
        own = {name: b[k].clone() for name, b in self.buffers.items()}
        self.attach(k, [w.clone() for w in self.pieces(self.weights[k])], own)

    def histograms(self) -> list[dict[str, bytes]]:
        """Of each model's parameters, by their names."""
        pieces = dict(zip(self.names, self.pieces(self.weights), strict=True)) | self.fixed
        found: list[dict[str, bytes]] = [{} for _ in self.models]
        for name, _ in self.models[0].named_parameters():
            for own, proto in zip(found, encode_rows(pieces[name]), strict=True):
                if proto is not None:
                    own[name] = proto
        return found

    # -- what is asked of all at once ----------------------------------------------------------------------------------

    def losses(
        self, weights: Tensors, fixed: Tensors, buffers: Tensors, values: Tensors, batch: Batch, own: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Each model's loss with its penalties, (K,), and the buffers afterwards.

        Args:
            weights: (K, *shape) of each learning parameter.
            fixed, buffers: as in the attributes of these names, in their order.
            values: of `numbers`, (K,) each.
            batch: of all models, or, if `own`, (K, batch, …) with one for each.
            own: see above.
        """
        return self._asked("loss", weights, fixed, buffers, values, batch, own)

    @torch.no_grad()
    def metrics(self, batch: Batch, own: bool) -> dict[str, Tensor]:
        """The task's metrics of each model, (K, batch, …), or (K,) for those that are means already."""
        self.template.eval()
        try:
            found, _ = self._asked(
                "metrics",
                self.pieces(self.weights),
                list(self.fixed.values()),
                list(self.buffers.values()),
                [number.values for number in self.numbers],
                batch,
                own,
            )
        finally:
            self.template.train()
        return found

    def _asked(
        self, what: str, weights: Tensors, fixed: Tensors, buffers: Tensors, values: Tensors, batch: Batch, own: bool
    ) -> Any:
        def one(weights: Tensors, fixed: Tensors, buffers: Tensors, values: Tensors, *parts: Tensor) -> Any:
            for number, value in zip(self.numbers, values, strict=True):
                number.put(value)
            moved = [buffer.clone() for buffer in buffers]  # a batch norm's running means
            tensors = zip((*self.names, *self.fixed, *self.buffers), (*weights, *fixed, *moved), strict=True)
            named = {f"model.{name}": value for name, value in tensors}
            return functional_call(self.template, named, (what, Batch(*parts))), moved

        parts = tuple(part for part in batch if part is not None)
        over = (
            0,
            0 if fixed else None,
            0 if buffers else None,
            0 if values else None,
            *[0 if own else None] * len(parts),
        )
        answer: Callable[..., Any] = vmap(one, in_dims=over, randomness="different")
        return answer(list(weights), list(fixed), list(buffers), list(values), *parts)


class Asked(nn.Module):
    """The loss or the metrics as what a module returns, so that `functional_call` can swap the model's tensors."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model, self.task, self.penalised = model, task, find_penalized(model)

    def forward(self, what: str, batch: Batch) -> Any:
        """`loss`, 0-d, with the penalties, or the `metrics` of each example."""
        with Plainly():
            if what == "metrics":
                return self.task.metrics(self.model, batch)
            loss = self.task.loss(self.model, batch)
            for module in self.penalised:
                loss = loss + module.penalty()
            return loss
