"""The protocol of a logger: where a run's curves, pictures and texts go besides `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dlx.loggers.histogram import Histogram


class Logger:
    """A place that a run is logged to, chosen from the group `logger`; the base class of all.

    A subclass writes `scalars`; every other method does nothing unless it is written too. The constructor takes what
    the configuration says; it is called before the run directory exists, and may refuse its values. Then `open` comes
    first and `close` last. Only the first of several processes logs.

    Whatever a method raises is said once, and the logger is left out from then on: no training ends by it.
    """

    def open(self, directory: Path, resume_step: int | None = None) -> None:
        """Begin.

        Args:
            directory: of the run; it exists.
            resume_step: of a resumed run: what was logged after this step will come again; None for a new run.
        """

    def is_enabled(self, kind: str) -> bool:
        """Return whether the logger takes what the method `kind` is for: `image`, `histograms`, `graph` …

        It is asked before such things are prepared. By default it takes those whose methods its class has written.
        """
        return getattr(type(self), kind) is not getattr(Logger, kind)

    def scalars(self, step: int, values: Mapping[str, float], epoch: int, time: float) -> None:
        """Log values of one step. Values of the same step may come in several calls; steps never decrease.

        Args:
            step: steps taken so far.
            values: by tag: train/loss, val/accuracy; NaN and infinity among them.
            epoch: epochs finished.
            time: when they were measured, seconds since 1970.
        """
        raise NotImplementedError

    def flush(self) -> None:
        """Write what is pending; called every `trainer.flush_every` steps, and before a checkpoint is saved."""

    def image(self, name: str, picture: Tensor, step: int, png: bytes) -> None:
        """Log a picture.

        Args:
            name: a path, task/samples.
            picture: (C, H, W), float in [0, 1] or uint8.
            step: steps taken so far.
            png: the same as a PNG file.
        """

    def text(self, name: str, markdown: str, step: int) -> None:
        """Log a text."""

    def config(self, yaml: str) -> None:
        """Log the run's configuration, before the first step."""

    def close(self) -> None:
        """Write what is pending and end; called once, whatever became of the run."""

    # -- optional ----------------------------------------------------------------------------------------------------

    def histograms(self, values: Mapping[str, Histogram], step: int) -> None:
        """Log histograms by name, weights/0/bias, at each of the first ten epochs, then each tenth and so on."""

    def graph(self, model: nn.Module, example: Tensor) -> None:
        """Log the graph of the model.

        Args:
            model: in evaluation mode; it can be called on the example alone, unless it takes lengths too.
            example: (batch, *shape), on the model's device.
        """

    def hparams(self, config: Mapping[str, Any], metrics: Mapping[str, float] | None, step: int) -> None:
        """Log the configuration as values to compare runs by: before the first step, and again at the end.

        Args:
            config: nested.
            metrics: the final ones by tag; None at the beginning.
            step: steps taken so far.
        """

    def embedding(
        self, name: str, vectors: Tensor, labels: Sequence[object] | None = None, images: Tensor | None = None
    ) -> None:
        """Log points, replacing earlier ones of that name.

        Args:
            name: of the points.
            vectors: (N, D).
            labels: N objects, shown as text.
            images: (N, C, H, W) in [0, 1] or uint8, shown at the points.
        """
