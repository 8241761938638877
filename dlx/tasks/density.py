"""Density: how probable the model finds what it has not seen."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import (
    Encoder,
    PartitionFunction,
    Reconstructor,
    Sampling,
    Scorer,
    StateDecoder,
    StatePosterior,
    Temperable,
    TwoSided,
)
from dlx.tasks.task import Task, take_inputs
from dlx.types import Count, Natural

if TYPE_CHECKING:
    from dlx.models.boltzmann.ais import Bipartite


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
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "log_likelihood",
        "nats_per_step",
        "bits_per_step",
        "nats_per_next_step",
        "impossible",
        "reconstruction_error",
        "log_partition",
        "log_likelihood_ais",
        "log_likelihood_ais_low",
        "log_likelihood_ais_high",
        "log_likelihood_bound",
        "log_likelihood_bound_ais",
        "log_likelihood_bound_ais_low",
        "log_likelihood_bound_ais_high",
        "log_partition_ais",
        "ais_effective_chains",
    )

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
        """Return -log p(x), 0-d, the mean over examples; for models whose log-likelihood has a gradient."""
        exact = _as_scorer(model).scores(batch.x, batch.lengths).get("log_likelihood")
        if exact is None or not exact.requires_grad:
            raise self.no_loss_error()
        return -exact.mean()

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        values = dict(_as_scorer(model).scores(batch.x, batch.lengths))
        if batch.lengths is not None:
            values["steps"] = batch.lengths
        elif isinstance(model, StateDecoder):  # a model of sequences, all of one length
            values["steps"] = torch.full_like(values["log_likelihood"], batch.x.shape[1])
        if isinstance(model, StateDecoder):
            values["impossible"] = values["log_likelihood"].isneginf()
        if isinstance(model, Reconstructor):
            values["reconstruction_error"] = (model.reconstruct(batch.x) - batch.x).flatten(1).square().mean(1)
        return values

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        final = {name: float(mean) for name, mean in means.items() if name != "steps"}
        if not final.get("impossible", 1.0):  # the share of sequences with a probability of zero
            del final["impossible"]
        if "steps" in means and "log_likelihood" in final:
            final["nats_per_step"] = -final["log_likelihood"] / float(means["steps"])
            final["bits_per_step"] = final["nats_per_step"] / math.log(2)
        after_first = final.pop("log_likelihood_after_first", None)
        if after_first is not None and "steps" in means and float(means["steps"]) > 1:
            final["nats_per_next_step"] = -after_first / (float(means["steps"]) - 1)
        return final

    def split_metrics(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Compute an energy model's log-likelihood: exact where its partition function can be summed, else by AIS.

        Raises:
            UsageError: an estimate was asked for, of a model that has no partition function to be estimated.
        """
        log_Z = model.log_partition() if isinstance(model, PartitionFunction) else None
        if log_Z is None and not self.ais:
            return {}
        from dlx.models.boltzmann.ais import anneal

        machine = model.bipartite() if isinstance(model, Temperable) else None
        if log_Z is None and machine is None:
            raise UsageError(
                f"task.ais={self.ais} was given for the model {type(model).__name__}; needed: a Boltzmann machine with "
                "binary hidden units, such as rbm; leave it out"
            )
        name, energy = _mean_free_energy(model, batches)
        if log_Z is not None:
            return {name: -energy - float(log_Z), "log_partition": float(log_Z)}
        assert machine is not None
        base, other = self._base_biases(model, machine, batches)
        estimate = anneal(machine, base, self.ais_chains, self.ais, other)
        return {
            f"{name}_ais": -energy - estimate.log_Z,
            f"{name}_ais_low": -energy - estimate.high,
            f"{name}_ais_high": -energy - estimate.low,
            "log_partition_ais": estimate.log_Z,
            "ais_effective_chains": estimate.effective_chains,
        }

    def _base_biases(
        self, model: nn.Module, machine: "Bipartite", batches: Iterable[Batch]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the biases of both sides where the chains start; None for zeros."""
        from dlx.models.boltzmann.ais import base_rate_biases

        sides = model.sides if isinstance(model, TwoSided) else None
        size = math.prod(next(iter(batches)).x.shape[1:])
        if self.ais_base == "uniform" or not (sides or len(machine.b) == size):  # side s is not the data
            return None, None
        totals, count = [torch.zeros((), dtype=torch.float64, device=machine.b.device)] * 2, 0
        for batch in batches:
            x = batch.x.flatten(1)
            means = sides(x) if sides else (x,)
            totals = [total + mean.double().sum(0) for total, mean in zip(totals, means, strict=False)]
            count += len(x)
        base, *others = (base_rate_biases((total / count).to(machine.b), machine.units) for total in totals)
        return base, others[0] if others else None

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the first of the model's scores, (batch,)."""
        return next(iter(self.predictions(model, x).values()))

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """Return the model's scores, (batch,) each, with hidden states (batch, T) or codes where it has them."""
        columns = dict(_as_scorer(model).scores(x))
        if isinstance(model, StateDecoder):
            columns["states"] = model.decode_states(x)
        if isinstance(model, StatePosterior):
            columns["posterior"] = model.posterior_states(x)
        if isinstance(model, Encoder):
            columns["code"] = model.encode(x)
        return columns

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Draw samples of a model of images, and examples above their reconstructions."""
        x = take_inputs(batches, 10)
        if x.ndim != 4:
            return {}
        from dlx.figures.figures import make_grid

        pictures = {}
        if isinstance(model, Sampling):
            pictures["samples"] = make_grid(model.sample(self.pictured).clamp(0, 1).cpu())
        if isinstance(model, Reconstructor):
            both = torch.cat([x, model.reconstruct(x)]).clamp(0, 1).cpu()
            pictures["reconstructions"] = make_grid(both, columns=len(x))
        return pictures


def _as_scorer(model: nn.Module) -> Scorer:
    if not isinstance(model, Scorer):
        raise UsageError(
            f"task=density was given the model {type(model).__name__}; needed: one with scores(x), such as rbm or "
            "categorical_hmm; type another task= (dlx list tasks)"
        )
    return cast(Scorer, model)


def _mean_free_energy(model: nn.Module, batches: Iterable[Batch]) -> tuple[str, float]:
    """Return the name of what a split's mean free energy, or the bound on it, makes with log Z, and that mean."""
    values = [_as_scorer(model).scores(batch.x) for batch in batches]
    for key, name in (("free_energy", "log_likelihood"), ("variational_free_energy", "log_likelihood_bound")):
        if key in values[0]:
            return name, float(torch.cat([one[key].double() for one in values]).mean())
    raise AssertionError(f"{type(model).__name__} has a partition function and no free energy")
