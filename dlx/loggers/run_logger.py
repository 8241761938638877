"""Log a run's curves, pictures, histograms, graph and HParams row.

Scalars stay tensors, on any device, until they are written together: recording a step costs well under a microsecond
and never waits for a GPU.
"""

import contextlib
import errno
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlx.distributed.group import current_group
from dlx.errors import TrainingError, UsageError
from dlx.figures import figures
from dlx.loggers.jsonl import COLUMNS, MetricsFile, Record
from dlx.loggers.tensorboard import events
from dlx.types import Count

Call = tuple[str, Mapping[str, Tensor | float], int, int, float]  # prefix, values, step, epoch, time


class Logger:
    """Writes `metrics.jsonl`, `figures/` and TensorBoard's files into a run's directory.

    Args:
        directory: of the run; None (a dry run, a rank other than 0) writes nothing, but still detects values that are
            not finite.
        resume_step: of a resumed run: what was logged after this step is dropped, from TensorBoard's curves too.
        every: steps between writes; the trainer flushes this often.
        keep: write every keep-th step's training values. All are checked for NaN, and what is logged at an epoch's end
            is always written.
        tensorboard: write event files at all.
        scalars: write curves to the event file; metrics.jsonl always has them.
        images: write pictures to figures/ and the event file.
        histograms: of the weights, at each of the first ten epochs, then each tenth, each hundredth and so on.
        graph: write the model's graph.
        hparams: write a row of the HParams tab.
        embedding: write points for the projector.

    Raises:
        UsageError: the directory cannot be written.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        resume_step: int | None = None,
        every: Count = 50,
        keep: Count = 1,
        tensorboard: bool = True,
        scalars: bool = True,
        images: bool = True,
        histograms: bool = True,
        graph: bool = True,
        hparams: bool = True,
        embedding: bool = True,
    ) -> None:
        self.directory = None if directory is None else Path(directory)
        self.every, self.keep = every, keep
        self.epoch = 0  # epochs finished; set by the trainer
        self.started = time.time()
        self._enabled = {
            "scalars": tensorboard and scalars,
            "images": images,
            "histograms": tensorboard and histograms,
            "graph": tensorboard and graph,
            "hparams": tensorboard and hparams,
            "embedding": embedding,
        }
        self._failed = False  # a write has failed: nothing more is written
        self._has_hparams = False  # the HParams row is begun
        self._pending: list[Call] = []
        self._last_step = -1 if resume_step is None else resume_step  # step written
        self._nonfinite_step: int | None = None  # the first since the last flush whose training values are not finite
        self._tags: dict[tuple[str, ...], list[str]] = {}
        self._metrics_file: MetricsFile | None = None
        self._events: events.EventFile | None = None
        if self.directory is None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._metrics_file = MetricsFile(self.directory / "metrics.jsonl", resume_step)
            if tensorboard:
                purge = None if resume_step is None else resume_step + 1
                self._events = events.EventFile(self.directory, purge)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _write_error(self.directory, error) from error
            raise UsageError(
                f"the run directory {self.directory} cannot be written ({error.strerror}); needed: a writable "
                "directory; type hydra.run.dir=… with another one"
            ) from error
        self.epoch = int(self._metrics_file.last_record.get("epoch", 0))

    def is_enabled(self, kind: str) -> bool:
        """Return whether `images`, `graph`, `embedding` and so on are written; ask before expensive preparations."""
        return self.directory is not None and self._enabled[kind]

    # -- scalars -----------------------------------------------------------------------------------------------------

    def scalars(self, prefix: str, values: Mapping[str, Tensor | float], step: int) -> None:
        """Record values as `prefix/name`, to be written later.

        Args:
            prefix: train, val or test.
            values: numbers, or tensors of one element, on any device. Neither the mapping nor the tensors may be
                changed afterwards.
            step: steps taken so far; never decreases.
        """
        self._pending.append((prefix, values, step, self.epoch, time.time()))
        if len(self._pending) >= 4 * self.every:  # nobody flushes: bound the memory
            self._write()

    def flush(self) -> int | None:
        """Write everything that is pending.

        Returns the first step, since the last flush, at which a training value was NaN or infinite: everything recorded
        is written, and there is no point in training further. None if all were finite.

        Raises:
            TrainingError: the disk is full.
        """
        self._write()
        bad, self._nonfinite_step = self._nonfinite_step, None
        return bad

    def _write(self) -> None:
        calls, self._pending = self._pending, []
        if not calls:
            return
        tags = [self._make_tags(prefix, values) for prefix, values, *_ in calls]
        numbers = current_group().mean(_to_floats([value for _, values, *_ in calls for value in values.values()]))
        finite = math.isfinite(sum(numbers))  # only if every number is
        records: list[Record] = []
        at = 0
        for (prefix, _, step, epoch, now), names in zip(calls, tags, strict=True):
            row = numbers[at : at + len(names)]
            at += len(names)
            if not finite and prefix == "train" and self._nonfinite_step is None and not math.isfinite(sum(row)):
                self._nonfinite_step = step
            is_step = step > self._last_step  # the step's own values; later ones at the same step are an epoch's
            self._last_step = step
            if self._metrics_file is None or (is_step and prefix == "train" and step % self.keep):
                continue
            if records and records[-1]["step"] == step:
                records[-1] |= {"epoch": epoch, "time": now}
            else:
                records.append({"step": step, "epoch": epoch, "time": now})
            records[-1].update(zip(names, row, strict=True))
        if self._metrics_file is not None:
            with self._writing(self._metrics_file.path):
                self._metrics_file.append(records)
        if self._events is not None and self._enabled["scalars"]:
            points = [(tag, r["step"], r["time"], r[tag]) for r in records for tag in r if tag not in COLUMNS]
            with self._writing(self._events.path):
                self._events.scalars(points)
                self._events.flush()

    def _make_tags(self, prefix: str, values: Mapping[str, Tensor | float]) -> list[str]:
        """Return the tags of a call's values."""
        key = (prefix, *values)
        if key not in self._tags:
            self._tags[key] = [f"{prefix}/{name}" for name in values]
            if self._metrics_file is not None:
                floats = (torch.float32, torch.float16, torch.bfloat16)
                short = (isinstance(value, Tensor) and value.dtype in floats for value in values.values())
                self._metrics_file.mark_float32(tag for tag, yes in zip(self._tags[key], short, strict=True) if yes)
        return self._tags[key]

    # -- everything else ---------------------------------------------------------------------------------------------

    def images(self, name: str, picture: Tensor, step: int) -> None:
        """Write a picture: the newest in `figures/<name>.png`, each step's in TensorBoard.

        Args:
            name: a path; slashes become underscores in the file's name.
            picture: (C, H, W) or (H, W), float in [0, 1] or uint8.
            step: steps taken so far.
        """
        if self.directory is None or not self.is_enabled("images"):
            return
        picture = picture if picture.ndim == 3 else picture[None]
        data = figures.encode_png(picture)
        path = self.directory / "figures" / f"{name.replace('/', '_')}.png"
        with self._writing(path):
            figures.save_png(path, data)
        if self._events is not None:
            C, H, W = picture.shape
            with self._writing(self._events.path):
                self._events.image(name, data, (C, H, W), step)

    def text(self, name: str, markdown: str, step: int = 0) -> None:
        """Write text to TensorBoard's Text tab, shown as Markdown."""
        if self._events is not None:
            with self._writing(self._events.path):
                self._events.text(name, markdown, step)

    def config(self, yaml: str) -> None:
        """Write the run's configuration to TensorBoard, as text."""
        self.text("config", "".join(f"    {line}\n" for line in yaml.splitlines()))

    def histograms(self, make: Callable[[], Mapping[str, bytes | None]], step: int) -> None:
        """Write histograms of the weights at the constructor's epochs; at others this costs nothing.

        Args:
            make: returns them by the parameters' names, as `dlx.loggers.tensorboard.histogram.encode_parameters` does.
            step: steps taken so far.
        """
        epoch = max(self.epoch, 1)
        if self._events is None or not self.is_enabled("histograms") or epoch % 10 ** int(math.log10(epoch)):
            return
        protos = {f"weights/{name.replace('.', '/')}": proto for name, proto in make().items() if proto is not None}
        if protos:
            with self._writing(self._events.path):
                self._events.histograms(protos, step)

    def graph(self, model: nn.Module, example: Tensor) -> bool:
        """Write the graph of one forward pass; return False if it cannot be traced, with a note in the Text tab.

        Args:
            model: called on the example alone.
            example: (batch, *shape), on the model's device; one example is enough.
        """
        if self._events is None or not self.is_enabled("graph"):
            return False
        from dlx.loggers.tensorboard.graph import encode_graph, trace_graph

        try:
            proto = encode_graph(trace_graph(model, example))
        except Exception as error:  # a model that cannot be called on an example alone: no reason to stop
            note = f"no graph of {type(model).__name__}: {type(error).__name__}: {error}"
            logging.getLogger(__name__).info(note)
            self.text("graph", note)
            return False
        with self._writing(self._events.path):
            self._events.graph(proto)
        return True

    def hparams(self, config: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Write the run's row in the HParams tab.

        Call it once before training, so that the row is there from then on, and once at the end with the final
        metrics; the end alone is enough. The tab reads a metric from the last point of its curve: metrics without a
        curve get one point each.

        Args:
            config: may be nested; of `_target_` only the class's name is shown, as the value of its group.
            metrics: by tag, `test/accuracy`; None at the beginning.
        """
        self._write()
        if self._events is None or not self.is_enabled("hparams"):
            return
        with self._writing(self._events.path):
            if not self._has_hparams:
                self._events.session_start(flatten_config(config), self.started)
                self._has_hparams = True
            if metrics is not None:
                curves = {tag for tags in self._tags.values() for tag in tags} if self._enabled["scalars"] else set()
                rest = [tag for tag in metrics if tag not in curves]
                self._events.scalars([(tag, max(self._last_step, 0), time.time(), metrics[tag]) for tag in rest])
                self._events.session_end(True)
            self._events.flush()

    def embedding(
        self, name: str, vectors: Tensor, labels: Sequence[object] | None = None, images: Tensor | None = None
    ) -> None:
        """Write points for the projector, replacing earlier ones of that name.

        Args:
            name: shown by the projector.
            vectors: (N, D); the first 5000 are kept.
            labels: N objects, shown as text.
            images: (N, C, H, W) in [0, 1] or uint8, shown at the points.
        """
        if self.directory is None or not self.is_enabled("embedding"):
            return
        from dlx.loggers.tensorboard import projector

        with self._writing(self.directory / "embedding" / name):
            projector.write_embedding(self.directory, name, vectors, labels, images)

    def close(self) -> None:
        """Write what is pending and close the files; a second call does nothing."""
        try:
            if not self._failed:
                self._write()
        finally:
            for file in (self._metrics_file, self._events):
                if file is not None:
                    with contextlib.suppress(OSError):  # the write that failed has reported it
                        file.close()
            self._metrics_file = self._events = self.directory = None

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"{path} could not be written ({error.strerror}); what was written before is kept; "
        "free some space or name another hydra.run.dir, then type dlx resume last"
    )


def _to_floats(values: Sequence[Tensor | float]) -> list[float]:
    """Return all values as floats, with one synchronisation for each device other than the processor."""
    numbers = [0.0] * len(values)
    elsewhere: dict[torch.device, list[int]] = {}
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            numbers[i] = float(value)
        elif value.is_cpu:
            numbers[i] = float(value.item())
        else:
            elsewhere.setdefault(value.device, []).append(i)
    for places in elsewhere.values():
        stacked = torch.stack([values[i].detach().reshape(()) for i in places])  # type: ignore[union-attr]
        for i, number in zip(places, stacked.tolist(), strict=True):
            numbers[i] = float(number)
    return numbers


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
