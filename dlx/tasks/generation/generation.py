"""Generation: examples like those of the dataset."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.tasks.generation.features import make_features, unit
from dlx.tasks.generation.measures import area_under_curve, frechet, modes_found, parzen_window, spread
from dlx.tasks.task import Task, first
from dlx.types import Count, Natural

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset

CHOOSING = 1000  # validation examples that choose the width of the Parzen window, as in the paper's code


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
    chose; `dlx.tasks.generation.measures.parzen` names its paper, and its warning. `frechet_lenet` is the Fréchet
    distance between the split's first examples and as many samples, on one's own LeNet-5.

    Args:
        samples: how many are drawn to be measured.
        pictured: how many are drawn as pictures.
        parzen: how many are drawn for the Parzen window, 10,000 in the paper; 0 measures none.
        features: run of a LeNet-5 for the Fréchet distance, its directory or id; null measures none.
    """

    monitor = ""  # no single number says which of two generators is better
    needs: ClassVar[Literal["classes", "targets"] | None] = None

    def __init__(
        self, samples: Count = 2500, pictured: Count = 64, parzen: Natural = 0, features: str | None = None
    ) -> None:
        self.samples, self.pictured, self.parzen, self.run = samples, pictured, parzen, features
        self.centres: Tensor | None = None  # (modes, *shape)
        self.std = 0.0  # σ of each

    def attach(self, dataset: "Dataset") -> None:
        self.dataset = dataset
        centres = getattr(dataset, "centres", None)
        if centres is not None:
            self.centres, self.std = torch.as_tensor(centres), float(dataset.std)  # type: ignore[attr-defined]
        self.features = make_features(self.run, dataset, self.load_model)

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """None of a single example; see `whole`."""
        return {}

    def whole(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        real = first(batches, self.samples)
        labels = _labels(model, self.samples, real.device)
        made = _draw(model, self.samples, real.device, *labels)
        values = {"diversity": float(spread(made)) / max(float(spread(real)), 1e-12)}
        if self.centres is not None:
            values.update(modes_found(made, self.centres.to(made), self.std))
        discriminate = getattr(model, "discriminate", None)
        if callable(discriminate):
            own = (_own_labels(batches, len(real)),) if labels else ()
            values["discriminator_auc"] = area_under_curve(discriminate(real, *own), discriminate(made, *labels))
        if self.parzen:
            values.update(self._parzen(model, batches))
        if getattr(self, "features", None) is not None:
            seen = [self.features(unit(x, self.dataset)) for x in (real, made)]  # type: ignore[misc]
            values["frechet_lenet"] = frechet(*seen)
        return values

    def _parzen(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        x = torch.cat([batch.x for batch in batches])
        made = _draw(model, self.parzen, x.device, *_labels(model, self.parzen, x.device))
        val = self._choosing(x.device)
        made, val, x = (unit(part, self.dataset) for part in (made, val, x))
        window = parzen_window(made, val, x)
        return {"parzen": window.mean, "parzen_error": window.error, "parzen_sigma": window.sigma}

    def _choosing(self, device: torch.device) -> Tensor:
        """Validation examples (of the training split, if there is no other), as the model sees them."""
        from dlx.datasets.dataset import Split

        part = self.dataset.splits.get("val") or self.dataset.splits["train"]
        if not isinstance(part, Split):
            raise UsageError(
                "task.parzen was given with a dataset that is read bit by bit; needed: one in memory; type "
                "task.parzen=0"
            )
        return self.dataset.transform_on(part.x[:CHOOSING], device)

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        from dlx.figures import figures
        from dlx.tasks.generation.pictures import rows_of, sheet, walk, walks

        real = first(batches, self.samples)
        if real.ndim == 4:
            labels = (rows_of(model.classes, 100, real.device),) if _conditional(model) else ()  # type: ignore[arg-type]
            number = len(labels[0]) if labels else self.pictured
            columns = number // int(model.classes) if labels else None  # type: ignore[arg-type]
            drawn = {"samples": sheet(_draw(model, number, real.device, *labels), real, columns)}
            if walks(model):
                with fixed(real.device):
                    drawn["interpolations"] = sheet(walk(model, rows=8, steps=10), real, 10)
            return drawn
        if real.ndim == 2 and real.shape[1] == 2:
            made = _draw(model, len(real), real.device)
            which = torch.arange(2).repeat_interleave(torch.tensor([len(real), len(made)]))
            return {"samples": figures.scatter(torch.cat([real, made]), which, ["data", "samples"])}
        return {}


def _conditional(model: nn.Module) -> bool:
    return bool(getattr(model, "conditional", False)) and getattr(model, "classes", None) is not None


def _labels(model: nn.Module, n: int, device: torch.device) -> tuple[Tensor, ...]:
    """One tuple of labels (n,), evenly of all classes, for a model that is told them; else nothing."""
    return (torch.arange(n, device=device) % model.classes,) if _conditional(model) else ()  # type: ignore[operator]


def _own_labels(batches: Iterable[Batch], n: int) -> Tensor:
    """Labels of the first n examples."""
    return first((Batch(batch.y) for batch in batches if batch.y is not None), n)


def _draw(model: Any, n: int, device: torch.device, *labels: Tensor) -> Tensor:
    if not callable(getattr(model, "sample", None)):
        raise UsageError(
            f"task=generation was given the model {type(model).__name__}; needed: one that samples, such as "
            "gan or rbm; type another task= (dlx list tasks)"
        )
    with fixed(device):
        return model.sample(n, *labels)


@contextlib.contextmanager
def fixed(device: torch.device) -> Iterator[None]:
    """The same randomness each time, and the run's own untouched."""
    cuda = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(0)
        yield
