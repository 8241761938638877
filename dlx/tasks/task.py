"""The contract of a task: a loss to learn by, metrics to compare by, predictions and pictures to look at."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.datasets.sequences.padding import concatenate
from dlx.errors import UsageError
from dlx.metrics import Direction, Metric, get_direction, list_declared, parse_direction
from dlx.runs.rundir import Run

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset
    from dlx.tasks.scores import Report


LoadModel = Callable[[Run, Sequence[str]], tuple[nn.Module, "Dataset"]]  # of a run, with overrides


class Task:
    """The loss, metrics and pictures of every model alike, so that all of them stand on the same curves."""

    needs: ClassVar[str | None] = None  # what the dataset must have: "classes", "targets", or nothing
    declares: ClassVar[tuple[str | Metric, ...]] = ()  # metrics, beside those that the bases declare
    monitor: str = "loss"  # the validation metric that chooses `best.pt` and stops early; empty for none
    load_model: LoadModel | None = None  # handed in before `attach`, for tasks that measure with another run's model

    @property
    def mode(self) -> Direction:
        """Whether more of the monitored metric is better, or less, as it is declared; a subclass may set it itself.

        Without a monitored metric it means nothing, and is min.

        Raises:
            UsageError: nobody declared it.
        """
        given: Direction | None = self.__dict__.get("mode")
        declared = given or get_direction(self.monitor, list_declared(type(self)))
        if declared is None and self.monitor:
            raise self._no_direction_error()
        return declared or "min"

    @mode.setter
    def mode(self, mode: Direction) -> None:
        self.__dict__["mode"] = mode

    def list_metrics(self) -> tuple[Metric, ...]:
        """Return what the task declares, with its monitored metric as `mode` has it.

        Raises:
            UsageError: the monitored metric is declared nowhere, or a declaration is invalid.
        """
        declared = list_declared(type(self))
        if parse_direction(self.mode) is None:
            raise self._no_direction_error()
        is_declared = not self.monitor or get_direction(self.monitor, declared) == self.mode
        return declared if is_declared else (Metric(self.monitor, self.mode), *declared)

    def _no_direction_error(self) -> UsageError:
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return UsageError(
            f"{kind} monitors {self.monitor}, and nothing says which way it is better; needed: its declaration; "
            f'write declares = (Metric("{self.monitor}", "min"),) into the class, or "max"'
        )

    def attach(self, dataset: "Dataset") -> None:
        """Take from the dataset what the task needs of it (class names, true centres); called once it is loaded.

        Raises:
            UsageError: the dataset lacks what the task needs. What a user's own file holds is known only now.
        """
        if self.needs == "classes" and dataset.classes is None:
            raise UsageError("this task needs classes, and the dataset's targets are numbers; type task=regression")
        if self.needs == "targets" and dataset.classes is not None:
            raise UsageError("this task needs numbers, and the dataset's targets are classes; type task=classification")

    def validate_model(self, model: nn.Module) -> None:
        """Check that the model can do what the task asks of it, before anything is learned.

        Raises:
            UsageError: it cannot.
        """

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the scalar to minimise, the mean over the batch."""
        raise self.no_loss_error()

    def no_loss_error(self) -> UsageError:
        """Return the error to raise where a loss is asked of a task that has none."""
        return UsageError(
            f"task {type(self).__name__.lower()} has no loss to back-propagate; needed: a procedure that learns "
            f"without one; type the model's own procedure (dlx list models shows it)"
        )

    def weigh(self, batch: Batch) -> int | Tensor:
        """Return what a batch's loss is the mean over, its examples: what it weighs among others (0-d, if a tensor)."""
        return len(batch.x)

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return values for each example, (batch,) or (batch, k); a 0-d tensor stands for the mean over the batch."""
        raise NotImplementedError

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Make the final metrics of the means over a split (float64, on the CPU): ratios and roots are taken here."""
        return {name: float(mean) for name, mean in means.items()}

    def split_metrics(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Compute metrics that only a whole split defines (a clustering's agreement, modes found); none by default."""
        return {}

    def remark(self, examples: int) -> str | None:
        """Return what to say where a split of so many examples is measured by a part of them; None where it is not."""

    def score(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Compute further metrics of a whole split, for `dlx evaluate` and not in training; none by default."""
        return {}

    def report(self, model: nn.Module, batches: Iterable[Batch]) -> "Report":
        """Make the tables of `dlx evaluate --report`.

        Raises:
            UsageError: the task has none.
        """
        raise UsageError(
            f"--report was given for a run of task={type(self).__name__.lower()}; needed: classification or "
            "regression; leave it out"
        )

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the model's prediction for each example, (batch, ...)."""
        result: Tensor = model(x)
        return result

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """Return the columns of `dlx predict`, each (batch, ...); the first is the prediction itself."""
        return {"prediction": self.predict(model, x)}

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Draw pictures of one split, name to (channels, height, width) in [0, 1]."""
        return {}


def forward_batch(model: nn.Module, batch: Batch) -> Any:
    """Call a model on a batch; a model of padded sequences gets their lengths too."""
    return model(batch.x) if batch.lengths is None else model(batch.x, batch.lengths)


def accepts_lengths(model: nn.Module) -> bool:
    """Return whether a model of sequences takes their lengths; one that does not sees them padded to one length."""
    calls = (getattr(model, name, None) for name in ("forward", "steps", "scores"))
    return any("lengths" in inspect.signature(call).parameters for call in calls if callable(call))


def require_labels(batch: Batch) -> Tensor:
    """Return the labels or targets of a batch.

    Raises:
        UsageError: the dataset has none.
    """
    if batch.y is None:
        raise UsageError(
            "the dataset has no labels; needed: labels or targets for this task; "
            "type dataset=… with labels (dlx list datasets), or task=density for unlabelled data"
        )
    return batch.y


def draw_inputs(batches: Iterable[Batch], examples: int, seed: int = 0) -> Tensor:
    """Return the inputs of random examples of a split, in its order; all of them if it has no more.

    A split may be sorted: its first examples are then of one class. The same seed draws the same examples each time.
    """
    generator, keys = torch.Generator().manual_seed(seed), torch.empty(0)
    parts: list[Tensor] = []

    def thin_out() -> None:
        nonlocal parts, keys
        drawn = concatenate(parts)
        if len(keys) > examples:  # those with the smallest keys stay
            rows = keys.argsort()[:examples].sort().values
            drawn, keys = drawn[rows.to(drawn.device)], keys[rows]
        parts = [drawn]

    for batch in batches:
        parts.append(batch.x)
        keys = torch.cat([keys, torch.rand(len(batch.x), generator=generator)])
        if len(keys) > 2 * examples:
            thin_out()
    thin_out()
    return parts[0]


def take_inputs(batches: Iterable[Batch], examples: int) -> Tensor:
    """Return the first `examples` inputs of a split, (examples, *shape), fewer if the split is smaller."""
    parts: list[Tensor] = []
    for batch in batches:
        parts.append(batch.x)
        if sum(len(part) for part in parts) >= examples:
            break
    return concatenate(parts)[:examples]
