"""Generation: examples like those of the dataset."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.tasks.task import Task, first
from dlx.types import Count

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset


class Generation(Task):
    """Models give samples, `sample(n)` -> (n, *shape); each evaluation draws the same noise, so that epochs compare.

    `diversity` is the mean distance between samples over that between data: near 1 for a good generator, near 0 for
    one that has collapsed. Where the dataset says where its modes lie (`ring`, `grid25`), `high_quality` is the part
    of the samples within 3σ of one of them (98.9 % of the data), `modes` how many have at least one such sample, and
    `mode_divergence` is KL(their shares || even shares) in nats, log(modes) if all stand on one. Where the model has a
    discriminator, `discriminator_auc` is how often it scores an example of the split above a sample: ½ if it cannot
    tell them apart.

    Args:
        samples: how many are drawn to be measured.
        pictured: how many are drawn as pictures.
    """

    monitor = ""  # no single number says which of two generators is better
    needs: ClassVar[Literal["classes", "targets"] | None] = None

    def __init__(self, samples: Count = 2500, pictured: Count = 64) -> None:
        self.samples, self.pictured = samples, pictured
        self.centres: Tensor | None = None  # (modes, *shape)
        self.std = 0.0  # σ of each

    def attach(self, dataset: "Dataset") -> None:
        centres = getattr(dataset, "centres", None)
        if centres is not None:
            self.centres, self.std = torch.as_tensor(centres), float(dataset.std)  # type: ignore[attr-defined]

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """None of a single example; see `whole`."""
        return {}

    def whole(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        real = first(batches, self.samples)
        made = _draw(model, self.samples, real.device)
        values = {"diversity": _spread(made) / max(_spread(real), 1e-12)}
        if self.centres is not None:
            values.update(modes_found(made, self.centres.to(made), self.std))
        discriminate = getattr(model, "discriminate", None)
        if callable(discriminate):
            values["discriminator_auc"] = area_under_curve(discriminate(real), discriminate(made))
        return values

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        from dlx.logs import figures

        real = first(batches, self.samples)
        if real.ndim == 4:
            made = _draw(model, self.pictured, real.device)
            low, high = real.amin(), real.amax()  # the data's range, whatever its scaling
            return {"samples": figures.grid(((made - low) / (high - low)).clamp(0, 1).cpu())}
        if real.ndim == 2 and real.shape[1] == 2:
            made = _draw(model, len(real), real.device)
            which = torch.arange(2).repeat_interleave(torch.tensor([len(real), len(made)]))
            return {"samples": figures.scatter(torch.cat([real, made]), which, ["data", "samples"])}
        return {}


def modes_found(made: Tensor, centres: Tensor, std: float) -> dict[str, float]:
    """How well samples (n, *shape) cover a mixture of round Gaussians at `centres` (modes, *shape).

    Returns:
        `modes`, `high_quality` and `mode_divergence`, as `Generation` explains them; the divergence is left out where
        no sample is near a mode.
    """
    distance, nearest = torch.cdist(made.flatten(1), centres.flatten(1)).min(1)
    near = distance <= 3 * std
    counts = nearest[near].bincount(minlength=len(centres))
    values = {"modes": float((counts > 0).sum()), "high_quality": float(near.double().mean())}
    if near.any():
        share = counts.double() / counts.sum()
        values["mode_divergence"] = float(torch.special.xlogy(share, share * len(centres)).sum())
    return values


def area_under_curve(real: Tensor, fake: Tensor) -> float:
    """How often a score of `real` (n,) exceeds one of `fake` (m,), ties counting half: the Mann-Whitney statistic."""
    ordered = fake.double().sort().values
    real = real.double()
    below = torch.searchsorted(ordered, real) + torch.searchsorted(ordered, real, right=True)
    return float(below.double().mean()) / (2 * len(fake))


def _spread(x: Tensor, enough: int = 1000) -> float:
    """Mean distance between two of x, (n, *shape); of the first `enough`, since there are n² pairs."""
    return float(torch.pdist(x[:enough].flatten(1).float()).mean())


def _draw(model: Any, n: int, device: torch.device) -> Tensor:
    if not callable(getattr(model, "sample", None)):
        raise UsageError(
            f"task=generation was given the model {type(model).__name__}; needed: one that samples, such as "
            "gan or rbm; type another task= (dlx list tasks)"
        )
    with _fixed(device):
        return model.sample(n)


@contextlib.contextmanager
def _fixed(device: torch.device) -> Iterator[None]:
    """The same randomness each time, and the run's own untouched."""
    cuda = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(0)
        yield
