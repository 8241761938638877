"""Generation: examples like those of the dataset."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import ClassConditional, Discriminator, Sampling
from dlx.tasks.generation.features import make_features, to_unit_range
from dlx.tasks.generation.measures import (
    fit_parzen_window,
    frechet_distance,
    mean_pairwise_distance,
    mode_coverage,
    roc_auc,
)
from dlx.tasks.task import Task, draw_inputs
from dlx.types import Count, Natural

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset

PARZEN_VALIDATION_EXAMPLES = 1000  # that choose the width of the Parzen window, as in the paper's code


class Generation(Task):
    """Models give samples, `sample(n)` -> (n, *shape); each evaluation draws the same noise, so that epochs compare.

    `diversity` is the mean distance between samples over that between data: near 1 for a good generator, near 0 for
    one that has collapsed. Where the dataset says where its modes lie (`ring`, `grid25`), `high_quality` is the part
    of the samples within 3σ of one of them (98.9 % of the data), `modes` how many have at least one such sample, and
    `mode_divergence` is KL(their shares || even shares) in nats, log(modes) if all stand on one. Where the model has a
    discriminator, `discriminator_auc` is how often it scores an example of the split above a sample: ½ if it cannot
    tell them apart.

    `parzen` is the mean log-likelihood of the split in nats (of images in [0, 1]) under Gaussians about the samples,
    `parzen_error` its standard error over the examples, and `parzen_sigma` the width that the validation split
    chose; `dlx.tasks.generation.measures.parzen_log_likelihood` names its paper, and its warning. `frechet_lenet` is
    the Fréchet distance between random examples of the split and as many samples, on one's own LeNet-5.

    Args:
        samples: how many are drawn to be measured.
        pictured: how many are drawn as pictures.
        parzen: how many are drawn for the Parzen window, 10,000 in the paper; 0 measures none.
        features: run of a LeNet-5 for the Fréchet distance, its directory or id; null measures none.
    """

    monitor = ""  # no single number says which of two generators is better
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "diversity",
        "modes",
        "high_quality",
        "mode_divergence",
        "discriminator_auc",
        "parzen",
        "parzen_error",
        "parzen_sigma",
        "frechet_lenet",
    )
    needs: ClassVar[Literal["classes", "targets"] | None] = None

    def __init__(
        self, samples: Count = 2500, pictured: Count = 64, parzen: Natural = 0, features: str | None = None
    ) -> None:
        self.samples, self.pictured, self.parzen, self.features_run = samples, pictured, parzen, features
        self.centres: Tensor | None = None  # (modes, *shape)
        self.std = 0.0  # σ of each

    def attach(self, dataset: "Dataset") -> None:
        self.dataset = dataset
        centres = getattr(dataset, "centres", None)
        if centres is not None:
            self.centres, self.std = torch.as_tensor(centres), float(dataset.std)  # type: ignore[attr-defined]
        self.features = make_features(self.features_run, dataset, self.load_model)

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return nothing for single examples; see `split_metrics`."""
        return {}

    def split_metrics(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        real = draw_inputs(batches, self.samples)
        labels = _make_labels(model, self.samples, real.device)
        samples = _sample(model, self.samples, real.device, *labels)
        values = {"diversity": float(mean_pairwise_distance(samples)) / max(float(mean_pairwise_distance(real)), 1e-12)}
        if self.centres is not None:
            values.update(mode_coverage(samples, self.centres.to(samples), self.std))
        if isinstance(model, Discriminator):
            discriminate: Any = model.discriminate
            own = (_take_labels(batches, len(real)),) if labels else ()
            values["discriminator_auc"] = roc_auc(discriminate(real, *own), discriminate(samples, *labels))
        if self.parzen:
            values.update(self._measure_parzen(model, batches))
        if getattr(self, "features", None) is not None:
            seen = [self.features(to_unit_range(x, self.dataset)) for x in (real, samples)]  # type: ignore[misc]
            values["frechet_lenet"] = frechet_distance(*seen)
        return values

    def remark(self, examples: int) -> str | None:
        few = (
            f"{self.samples:,} of the {examples:,} examples of a split, drawn at random, are compared with the samples"
        )
        return few if examples > self.samples else None

    def _measure_parzen(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        x = torch.cat([batch.x for batch in batches])
        samples = _sample(model, self.parzen, x.device, *_make_labels(model, self.parzen, x.device))
        val = self._parzen_validation_examples(x.device)
        samples, val, x = (to_unit_range(part, self.dataset) for part in (samples, val, x))
        window = fit_parzen_window(samples, val, x)
        return {"parzen": window.mean, "parzen_error": window.error, "parzen_sigma": window.sigma}

    def _parzen_validation_examples(self, device: torch.device) -> Tensor:
        """Return validation examples (of the training split, if there is no other), as the model sees them."""
        from dlx.datasets.splits import Split

        part = self.dataset.splits.get("val") or self.dataset.splits["train"]
        if not isinstance(part, Split):
            raise UsageError(
                "task.parzen was given with a dataset that is read bit by bit; needed: one in memory; type "
                "task.parzen=0"
            )
        order = torch.randperm(len(part.x), generator=torch.Generator().manual_seed(0))
        rows = order[:PARZEN_VALIDATION_EXAMPLES].sort().values
        return self.dataset.transform_on(part.x[rows], device)

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        from dlx.figures import figures
        from dlx.tasks.generation.pictures import can_interpolate, image_grid, interpolate_samples, make_row_labels

        real = draw_inputs(batches, self.samples)
        if real.ndim == 4:
            labels = (make_row_labels(model.classes, 100, real.device),) if _is_conditional(model) else ()  # type: ignore[arg-type]
            number = len(labels[0]) if labels else self.pictured
            columns = number // int(model.classes) if labels else None  # type: ignore[arg-type]
            pictures = {"samples": image_grid(_sample(model, number, real.device, *labels), real, columns)}
            if can_interpolate(model):
                with fixed_seed(real.device):
                    pictures["interpolations"] = image_grid(interpolate_samples(model, rows=8, steps=10), real, 10)
            return pictures
        if real.ndim == 2 and real.shape[1] == 2:
            samples = _sample(model, len(real), real.device)
            which = torch.arange(2).repeat_interleave(torch.tensor([len(real), len(samples)]))
            return {"samples": figures.plot_scatter(torch.cat([real, samples]), which, ["data", "samples"])}
        return {}


def _is_conditional(model: nn.Module) -> bool:
    return isinstance(model, ClassConditional) and bool(model.conditional) and model.classes is not None


def _make_labels(model: nn.Module, n: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return a tuple of labels (n,), evenly of all classes, for a model that takes them; else an empty one."""
    return (torch.arange(n, device=device) % model.classes,) if _is_conditional(model) else ()  # type: ignore[operator]


def _take_labels(batches: Iterable[Batch], n: int) -> Tensor:
    """Return the labels of the n examples that `draw_inputs` draws."""
    return draw_inputs((Batch(batch.y) for batch in batches if batch.y is not None), n)


def _sample(model: Any, n: int, device: torch.device, *labels: Tensor) -> Tensor:
    if not isinstance(model, Sampling):
        raise UsageError(
            f"task=generation was given the model {type(model).__name__}; needed: one that samples, such as "
            "gan or rbm; type another task= (dlx list tasks)"
        )
    with fixed_seed(device):
        return model.sample(n, *labels)


@contextlib.contextmanager
def fixed_seed(device: torch.device) -> Iterator[None]:
    """Draw the same randomness each time, and leave the run's own untouched."""
    cuda = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(0)
        yield
