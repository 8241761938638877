"""Log to TensorBoard's files in the run directory."""

import logging
import time as clock
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dlx.loggers.histogram import Histogram
from dlx.loggers.logger import Logger
from dlx.loggers.tensorboard.events import EventFile
from dlx.loggers.tensorboard.histogram import encode_histogram


class TensorBoardLogger(Logger):
    """Write TensorBoard's event file, and the projector's folder `embedding/`.

    Args:
        scalars: write curves.
        images: write pictures.
        histograms: of the weights, at each of the first ten epochs, then each tenth, each hundredth and so on.
        graph: write the model's graph.
        hparams: write a row of the HParams tab.
        embedding: write points for the projector.
    """

    def __init__(
        self,
        scalars: bool = True,
        images: bool = True,
        histograms: bool = True,
        graph: bool = True,
        hparams: bool = True,
        embedding: bool = True,
    ) -> None:
        self._enabled = {
            "scalars": scalars,
            "image": images,
            "histograms": histograms,
            "graph": graph,
            "hparams": hparams,
            "embedding": embedding,
        }
        self._has_hparams = False  # the HParams row is begun
        self._pending: list[tuple[int, Mapping[str, float], float]] = []  # step, values and time, not written yet

    def open(self, directory: Path, resume_step: int | None = None) -> None:
        """Begin a new event file; what earlier ones hold after `resume_step` is cut off."""
        self.directory, self.started = directory, clock.time()
        self._events = EventFile(directory, resume_step)

    def is_enabled(self, kind: str) -> bool:
        """Return whether the constructor was told to take `image`, `histograms` and so on."""
        return self._enabled.get(kind, True)  # text and config always

    def scalars(self, step: int, values: Mapping[str, float], epoch: int, time: float) -> None:
        """Log values, each a point of its tag's curve."""
        if self._enabled["scalars"]:
            self._pending.append((step, values, time))

    def flush(self) -> None:
        """Write the points, all at once: the checksums of many cost little more than that of one."""
        pending, self._pending = self._pending, []
        if pending:
            points = [(tag, step, time, value) for step, values, time in pending for tag, value in values.items()]
            self._events.scalars(points)
        self._events.flush()  # pictures and histograms too: a checkpoint may follow

    def image(self, name: str, picture: Tensor, step: int, png: bytes) -> None:
        """Write a picture; each step's is kept."""
        C, H, W = picture.shape
        self._events.image(name, png, (C, H, W), step)

    def text(self, name: str, markdown: str, step: int) -> None:
        """Write text to the Text tab, shown as Markdown."""
        self._events.text(name, markdown, step)

    def config(self, yaml: str) -> None:
        """Write the configuration to the Text tab."""
        self.text("config", "".join(f"    {line}\n" for line in yaml.splitlines()), 0)

    def histograms(self, values: Mapping[str, Histogram], step: int) -> None:
        """Write histograms."""
        self._events.histograms({name: encode_histogram(value) for name, value in values.items()}, step)

    def graph(self, model: nn.Module, example: Tensor) -> None:
        """Write the graph of one forward pass; where it cannot be traced, a note in the Text tab says why."""
        from dlx.loggers.tensorboard.graph import encode_graph, trace_graph

        try:
            proto = encode_graph(trace_graph(model, example))
        except Exception as error:  # a model that cannot be called on an example alone: no reason to stop
            note = f"no graph of {type(model).__name__}: {type(error).__name__}: {error}"
            logging.getLogger(__name__).info(note)
            self.text("graph", note, 0)
        else:
            self._events.graph(proto)

    def hparams(self, config: Mapping[str, Any], metrics: Mapping[str, float] | None, step: int) -> None:
        """Write the run's row of the HParams tab: at the beginning, so that it is there from then on, and at the end.

        The tab reads a metric from the last point of its curve: metrics without a curve get one point each. Of a
        `_target_` only the class's name is shown, as the value of its group.
        """
        self.flush()
        if not self._has_hparams:
            self._events.session_start(flatten_config(config), self.started)
            self._has_hparams = True
        if metrics is not None:
            rest = [tag for tag, value in metrics.items() if not self._events.has_curve(tag, value)]
            self._events.scalars([(tag, step, clock.time(), metrics[tag]) for tag in rest], again=True)
            self._events.session_end(True)
        self._events.flush()

    def embedding(
        self, name: str, vectors: Tensor, labels: Sequence[object] | None = None, images: Tensor | None = None
    ) -> None:
        """Write points for the projector, the first 5000, replacing earlier ones of that name."""
        from dlx.loggers.tensorboard import projector

        projector.write_embedding(self.directory, name, vectors, labels, images)

    def close(self) -> None:
        """Write what is pending and close the file."""
        try:
            self.flush()
        finally:
            self._events.close()


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested configuration to dotted names: `{"model": {"_target_": "a.MLP", "hidden": 9}}` becomes
    `{"model": "MLP", "model.hidden": 9}`. Nulls and empty groups are left out."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        path = f"{prefix}.{name}" if prefix else name
        if path == "published":  # figures to compare with, no setting
            continue
        if name == "_target_":
            settings[prefix or name] = str(value).rsplit(".", 1)[-1]
        elif isinstance(value, Mapping):
            settings |= flatten_config(value, path)
        elif value is not None and name != "_partial_":
            settings[path] = value
    return settings
