"""Expectation-maximisation: a pass gathers expected counts, its end replaces the parameters.

A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum Likelihood from Incomplete Data via the EM Algorithm", Journal of the
Royal Statistical Society B 39, 1977. For hidden Markov models this is the algorithm of Baum and Welch.
"""

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.distributed.group import current_group
from dlx.metrics import Metric
from dlx.models.interfaces import Complete, Expectable, LearnsFromLabels, Prior
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task, require_labels
from dlx.types import NonNegative


class EM(Procedure):
    """One iteration each pass, which never lowers the likelihood of the training split.

    Of several processes each gathers the counts of its examples; their sums are everybody's at the end of a pass.

    With priors it is the likelihood times their density that never falls, and that is the most probable in the end.

    Args:
        tolerance: done when an iteration gains less than this, in nats over the whole training split, priors included.
    """

    requires = Expectable
    shuffle = False  # sums do not care, and float sums in one order are the same in every run
    by_batches = False
    distributes = True
    declares: ClassVar[tuple[str | Metric, ...]] = ("log_likelihood",)

    def __init__(self, tolerance: NonNegative = 1e-2) -> None:
        self.tolerance = tolerance
        self.counts: dict[str, Tensor] = {}
        self.examples = 0
        self.previous_objective: float | None = None  # log-likelihood, and log-prior, at the last iteration

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.learner = cast(Expectable, model)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        labels = (
            {"y": require_labels(batch)} if isinstance(self.model, LearnsFromLabels) and self.model.labelled else {}
        )
        for name, value in self.learner.statistics(batch.x, batch.lengths, **labels).items():
            value = value if current_group().owns_examples else torch.zeros_like(value)
            self.counts[name] = self.counts[name] + value if name in self.counts else value
        self.examples += len(batch.x) * current_group().owns_examples
        return {}

    def _reduce_counts(self) -> None:
        """Sum the counts of all processes."""
        self.counts, self.examples = (
            current_group().all_reduce(self.counts),
            sum(current_group().all_gather(self.examples)),
        )

    def _keep_on_first_rank(self) -> None:
        """Leave what was counted to the first process."""
        if current_group().rank:
            self.counts, self.examples = {k: torch.zeros_like(v) for k, v in self.counts.items()}, 0

    def end_epoch(self) -> dict[str, Tensor]:
        self._reduce_counts()
        total = float(self.counts["log_likelihood"])  # of the parameters that this iteration began with
        objective = total + (self.model.log_prior() if isinstance(self.model, Prior) else 0.0)
        self.learner.maximize(self.counts)
        self.done = self.previous_objective is not None and objective - self.previous_objective < self.tolerance
        self.done |= isinstance(self.model, Complete) and self.model.complete
        mean = torch.tensor(total / self.examples, dtype=torch.float64)
        self.previous_objective, self.counts, self.examples = objective, {}, 0
        return {"log_likelihood": mean}

    def state_dict(self) -> dict[str, Any]:
        """Return the counts so far too: a run that is cut off within a pass goes on where it stood."""
        self._reduce_counts()
        kept = {"counts": self.counts, "examples": self.examples, "before": self.previous_objective}
        self._keep_on_first_rank()
        return {**super().state_dict(), **kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.counts, self.examples, self.previous_objective = state["counts"], state["examples"], state["before"]
        self._keep_on_first_rank()
