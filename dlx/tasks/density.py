"""Density: how probable the model finds what it has not seen."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.tasks.task import Task, first
from dlx.types import Count, Natural

if TYPE_CHECKING:
    from dlx.models.boltzmann.ais import Bipartite


@runtime_checkable
class Scorer(Protocol):
    """What this task needs of a model."""

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Values (batch,) of each example: `log_likelihood` in nats where it is exact, else what there is instead."""


class Density(Task):
    """Log-likelihoods in nats, the mean over examples; per step too for sequences, and in bits.

    `nats_per_next_step` leaves out each sequence's first step: what `task=prediction` measures as `nats_per_step`.

    `log_likelihood` is always exact: where a model's partition function is out of reach, only what can be computed is
    reported, under its own name (`pseudo_log_likelihood`; `free_energy`, which compares data under one model only).

    Energy models know their free energy, or a bound on it, and miss log Z. Where it can be summed, it is; else `ais`
    estimates it, and what follows from it is named so: `log_likelihood_ais`, with `_low` and `_high` three standard
    errors around it. Models with several hidden layers give `log_likelihood_bound`, a variational lower bound (and
    `log_likelihood_bound_ais`, which is one as far as the estimate of log Z holds).

    Args:
        pictured: examples drawn above their reconstructions, and samples drawn.
        ais: temperatures of annealed importance sampling; 0 for none. 14,500 in Salakhutdinov and Murray 2008.
        ais_chains: independent chains of it.
        ais_base: where they start: at the `data`'s mean rates (of a deep Boltzmann machine those of its hidden units,
            too), or `uniform`.
    """

    needs: ClassVar[str | None] = None
    monitor = "log_likelihood"
    mode: Literal["min", "max"] = "max"

    def __init__(
        self,
        pictured: Count = 64,
        ais: Natural = 0,
        ais_chains: Count = 100,
        ais_base: Literal["data", "uniform"] = "data",
    ) -> None:
        self.pictured = pictured
        self.ais, self.ais_chains, self.ais_base = ais, ais_chains, ais_base

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """-log p(x), 0-d, the mean over examples; of models whose log-likelihood has a gradient."""
        exact = _scorer(model).scores(batch.x, batch.lengths).get("log_likelihood")
        if exact is None or not exact.requires_grad:
            raise self.lossless()
        return -exact.mean()

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        values = dict(_scorer(model).scores(batch.x, batch.lengths))
        if batch.lengths is not None:
            values["steps"] = batch.lengths
        elif callable(getattr(model, "decode_states", None)):  # a model of sequences, all of one length
            values["steps"] = torch.full_like(values["log_likelihood"], batch.x.shape[1])
        reconstruct = getattr(model, "reconstruct", None)
        if callable(reconstruct):
            values["reconstruction_error"] = (reconstruct(batch.x) - batch.x).flatten(1).square().mean(1)
        return values

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        final = {name: float(mean) for name, mean in means.items() if name != "steps"}
        if "steps" in means and "log_likelihood" in final:
            final["nats_per_step"] = -final["log_likelihood"] / float(means["steps"])
            final["bits_per_step"] = final["nats_per_step"] / math.log(2)
        if "steps" in means and "log_likelihood_after_first" in final and float(means["steps"]) > 1:
            final["nats_per_next_step"] = -final.pop("log_likelihood_after_first") / (float(means["steps"]) - 1)
        return final

    def whole(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """The log-likelihood of an energy model: exact where its partition function can be summed, else as asked for.

        Raises:
            UsageError: an estimate was asked for, of a model that has no partition function to be estimated.
        """
        log_partition = getattr(model, "log_partition", None)
        log_Z = log_partition() if callable(log_partition) else None
        if log_Z is None and not self.ais:
            return {}
        from dlx.models.boltzmann.ais import anneal

        found: Any = getattr(model, "bipartite", None)
        machine = found() if callable(found) else None
        if log_Z is None and machine is None:
            raise UsageError(
                f"task.ais={self.ais} was given for the model {type(model).__name__}; needed: a Boltzmann machine with "
                "binary hidden units, such as rbm; leave it out"
            )
        name, energy = _free_energy(model, batches)
        if log_Z is not None:
            return {name: -energy - float(log_Z), "log_partition": float(log_Z)}
        assert machine is not None
        base, other = self._bases(model, machine, batches)
        estimate = anneal(machine, base, self.ais_chains, self.ais, other)
        return {
            f"{name}_ais": -energy - estimate.log_Z,
            f"{name}_ais_low": -energy - estimate.high,
            f"{name}_ais_high": -energy - estimate.low,
            "log_partition_ais": estimate.log_Z,
            "ais_effective_chains": estimate.effective,
        }

    def _bases(
        self, model: nn.Module, machine: "Bipartite", batches: Iterable[Batch]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Biases of both sides where the chains start; None for zeros."""
        from dlx.models.boltzmann.ais import base_rates

        sides: Any = getattr(model, "sides", None)
        size = math.prod(next(iter(batches)).x.shape[1:])
        if self.ais_base == "uniform" or not (callable(sides) or len(machine.b) == size):  # side s is not the data
            return None, None
        totals, count = [torch.zeros((), dtype=torch.float64, device=machine.b.device)] * 2, 0
        for batch in batches:
            x = batch.x.flatten(1)
            means = sides(x) if callable(sides) else (x,)
            totals = [total + mean.double().sum(0) for total, mean in zip(totals, means, strict=False)]
            count += len(x)
        base, *others = (base_rates((total / count).to(machine.b), machine.units) for total in totals)
        return base, others[0] if others else None

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """The first of the model's scores, (batch,)."""
        return next(iter(self.predictions(model, x).values()))

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """The model's scores, (batch,) each, with hidden states (batch, T) or codes where it has them."""
        columns = dict(_scorer(model).scores(x))
        for name, column in {"decode_states": "states", "posterior_states": "posterior", "encode": "code"}.items():
            found: Any = getattr(model, name, None)
            if callable(found):
                columns[column] = found(x)
        return columns

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Samples of a model of images, and examples above their reconstructions."""
        x = first(batches, 10)
        if x.ndim != 4:
            return {}
        from dlx.figures.figures import make_grid

        drawn = {}
        sample: Any = getattr(model, "sample", None)
        if callable(sample):
            drawn["samples"] = make_grid(sample(self.pictured).clamp(0, 1).cpu())
        reconstruct: Any = getattr(model, "reconstruct", None)
        if callable(reconstruct):
            both = torch.cat([x, reconstruct(x)]).clamp(0, 1).cpu()
            drawn["reconstructions"] = make_grid(both, columns=len(x))
        return drawn


def _scorer(model: nn.Module) -> Scorer:
    if not isinstance(model, Scorer):
        raise UsageError(
            f"task=density was given the model {type(model).__name__}; needed: one with scores(x), such as rbm or "
            "categorical_hmm; type another task= (dlx list tasks)"
        )
    return cast(Scorer, model)


def _free_energy(model: nn.Module, batches: Iterable[Batch]) -> tuple[str, float]:
    """The mean free energy of a split, or the variational bound on it, and the name of what it makes with log Z."""
    values = [_scorer(model).scores(batch.x) for batch in batches]
    for key, name in (("free_energy", "log_likelihood"), ("variational_free_energy", "log_likelihood_bound")):
        if key in values[0]:
            return name, float(torch.cat([one[key].double() for one in values]).mean())
    raise AssertionError(f"{type(model).__name__} has a partition function and no free energy")
