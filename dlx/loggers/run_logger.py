"""What a run writes while it learns: curves, pictures, histograms, the graph, and the HParams row.

Scalars stay tensors, on whichever device, until they are written together: recording a step costs well under a
microsecond and never waits for a GPU.
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
from dlx.loggers.jsonl import COLUMNS, Curves, Record
from dlx.loggers.tensorboard import events
from dlx.types import Count

Call = tuple[str, Mapping[str, Tensor | float], int, int, float]  # prefix, values, step, epoch, time


class Logger:
    """Writes `metrics.jsonl`, `figures/` and TensorBoard's files into a run's directory.

    Args:
        directory: of the run; None (a dry run, a process other than the first) writes nothing, but still finds values
            that are not finite.
        resume_step: of a resumed run: what was logged after this step is dropped, from TensorBoard's curves too.
        every: steps between writes; the trainer flushes this often.
        keep: write every keep-th step's training values. All are checked for NaN, and what is logged at an epoch's end
            is always written.
        tensorboard: write event files at all.
        scalars: curves in the event file; metrics.jsonl always has them.
        images: pictures, in figures/ and the event file.
        histograms: of the weights, at each of the first ten epochs, then each tenth, each hundredth and so on.
        graph: of the model.
        hparams: a row of the HParams tab.
        embedding: points for the projector.

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
        self.epoch = 0  # passes finished; the trainer counts
        self.started = time.time()
        self._shown = {
            "scalars": tensorboard and scalars,
            "images": images,
            "histograms": tensorboard and histograms,
            "graph": tensorboard and graph,
            "hparams": tensorboard and hparams,
            "embedding": embedding,
        }
        self._failed = False  # a write failed: nothing more is written
        self._row = False  # the HParams row is begun
        self._pending: list[Call] = []
        self._newest = -1 if resume_step is None else resume_step  # step written
        self._bad: int | None = None  # first step with a training value that is not finite, since the last flush
        self._tags: dict[tuple[str, ...], list[str]] = {}
        self._curves: Curves | None = None
        self._events: events.EventFile | None = None
        if self.directory is None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._curves = Curves(self.directory / "metrics.jsonl", resume_step)
            if tensorboard:
                purge = None if resume_step is None else resume_step + 1
                self._events = events.EventFile(self.directory, purge)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _lost(self.directory, error) from error
            raise UsageError(
                f"the run directory {self.directory} cannot be written ({error.strerror}); needed: a writable "
                "directory; type hydra.run.dir=… with another one"
            ) from error
        self.epoch = int(self._curves.last.get("epoch", 0))

    def draws(self, kind: str) -> bool:
        """Whether `images`, `graph`, `embedding` and so on are wanted: what costs much to prepare asks first."""
        return self.directory is not None and self._shown[kind]

    # -- scalars -----------------------------------------------------------------------------------------------------

    def scalars(self, prefix: str, values: Mapping[str, Tensor | float], step: int) -> None:
        """Record values as `prefix/name`, to be written later.

        Args:
            prefix: train, val, test.
            values: numbers, or tensors of one element, on any device. Neither the mapping nor the tensors may be
                changed afterwards.
            step: steps taken so far; never falls.
        """
        self._pending.append((prefix, values, step, self.epoch, time.time()))
        if len(self._pending) >= 4 * self.every:  # nobody flushes: bound the memory
            self._write()

    def flush(self) -> int | None:
        """Write everything that is pending.

        Returns the first step, since the last flush, at which a training value was NaN or infinite: what was recorded
        is then written, and going on makes no sense. None if all were finite.

        Raises:
            TrainingError: the disk is full.
        """
        self._write()
        bad, self._bad = self._bad, None
        return bad

    def _write(self) -> None:
        calls, self._pending = self._pending, []
        if not calls:
            return
        tags = [self._names(prefix, values) for prefix, values, *_ in calls]
        numbers = current_group().mean(_numbers([value for _, values, *_ in calls for value in values.values()]))
        finite = math.isfinite(sum(numbers))  # only if every number is
        records: list[Record] = []
        at = 0
        for (prefix, _, step, epoch, now), names in zip(calls, tags, strict=True):
            row = numbers[at : at + len(names)]
            at += len(names)
            if not finite and prefix == "train" and self._bad is None and not math.isfinite(sum(row)):
                self._bad = step
            own = step > self._newest  # the step's own values; what follows at the same step is an epoch's end
            self._newest = step
            if self._curves is None or (own and prefix == "train" and step % self.keep):
                continue
            if records and records[-1]["step"] == step:
                records[-1] |= {"epoch": epoch, "time": now}
            else:
                records.append({"step": step, "epoch": epoch, "time": now})
            records[-1].update(zip(names, row, strict=True))
        if self._curves is not None:
            with self._writing(self._curves.path):
                self._curves.append(records)
        if self._events is not None and self._shown["scalars"]:
            points = [(tag, r["step"], r["time"], r[tag]) for r in records for tag in r if tag not in COLUMNS]
            with self._writing(self._events.path):
                self._events.scalars(points)
                self._events.flush()

    def _names(self, prefix: str, values: Mapping[str, Tensor | float]) -> list[str]:
        """The tags of a call."""
        key = (prefix, *values)
        if key not in self._tags:
            self._tags[key] = [f"{prefix}/{name}" for name in values]
            if self._curves is not None:
                floats = (torch.float32, torch.float16, torch.bfloat16)
                short = (isinstance(value, Tensor) and value.dtype in floats for value in values.values())
                self._curves.shorten(tag for tag, yes in zip(self._tags[key], short, strict=True) if yes)
        return self._tags[key]

    # -- everything else ---------------------------------------------------------------------------------------------

    def images(self, name: str, picture: Tensor, step: int) -> None:
        """A picture: the newest in `figures/<name>.png`, each step's in TensorBoard.

        Args:
            name: a path; slashes become underscores in the file's name.
            picture: (C, H, W) or (H, W), float in [0, 1] or uint8.
            step: steps taken so far.
        """
        if self.directory is None or not self.draws("images"):
            return
        picture = picture if picture.ndim == 3 else picture[None]
        data = figures.png(picture)
        path = self.directory / "figures" / f"{name.replace('/', '_')}.png"
        with self._writing(path):
            figures.save_png(path, data)
        if self._events is not None:
            C, H, W = picture.shape
            with self._writing(self._events.path):
                self._events.image(name, data, (C, H, W), step)

    def text(self, name: str, markdown: str, step: int = 0) -> None:
        """Text for TensorBoard's Text tab, shown as Markdown."""
        if self._events is not None:
            with self._writing(self._events.path):
                self._events.text(name, markdown, step)

    def config(self, yaml: str) -> None:
        """The run's configuration, as text."""
        self.text("config", "".join(f"    {line}\n" for line in yaml.splitlines()))

    def parameters(self, made: Callable[[], Mapping[str, bytes | None]], step: int) -> None:
        """Histograms of the weights, at the epochs that the constructor names; at others this costs nothing.

        Args:
            made: makes them, by the parameters' names, as `dlx.loggers.tensorboard.histogram.weights` does.
            step: steps taken so far.
        """
        epoch = max(self.epoch, 1)
        if self._events is None or not self.draws("histograms") or epoch % 10 ** int(math.log10(epoch)):
            return
        protos = {f"weights/{name.replace('.', '/')}": proto for name, proto in made().items() if proto is not None}
        if protos:
            with self._writing(self._events.path):
                self._events.histograms(protos, step)

    def graph(self, model: nn.Module, example: Tensor) -> bool:
        """The graph of one forward pass; False where the model has none, with a note in the Text tab.

        Args:
            model: called on the example alone.
            example: (batch, *shape), on the model's device; one example is enough.
        """
        if self._events is None or not self.draws("graph"):
            return False
        from dlx.loggers.tensorboard.graph import encode, watch

        try:
            proto = encode(watch(model, example))
        except Exception as error:  # a model that is not called on examples: that is no reason to stop
            note = f"no graph of {type(model).__name__}: {type(error).__name__}: {error}"
            logging.getLogger(__name__).info(note)
            self.text("graph", note)
            return False
        with self._writing(self._events.path):
            self._events.graph(proto)
        return True

    def hparams(self, config: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """The run's row in the HParams tab.

        Once before training, so that the row is there from then on, and once at the end with the final metrics; the
        end alone is enough. The tab reads a metric from the last point of its curve: metrics without a curve get one
        point each.

        Args:
            config: may be nested; of `_target_` only the class's name is shown, as the value of its group.
            metrics: by tag, `test/accuracy`; None at the beginning.
        """
        self._write()
        if self._events is None or not self.draws("hparams"):
            return
        with self._writing(self._events.path):
            if not self._row:
                self._events.session_start(flat(config), self.started)
                self._row = True
            if metrics is not None:
                drawn = {tag for tags in self._tags.values() for tag in tags} if self._shown["scalars"] else set()
                rest = [tag for tag in metrics if tag not in drawn]
                self._events.scalars([(tag, max(self._newest, 0), time.time(), metrics[tag]) for tag in rest])
                self._events.session_end(True)
            self._events.flush()

    def embedding(
        self, name: str, vectors: Tensor, labels: Sequence[object] | None = None, images: Tensor | None = None
    ) -> None:
        """Points for the projector, in the place of earlier ones of that name.

        Args:
            name: what the projector lists it as.
            vectors: (N, D); the first 5000 are kept.
            labels: N of anything that has a text.
            images: (N, C, H, W) in [0, 1] or uint8, shown at the points.
        """
        if self.directory is None or not self.draws("embedding"):
            return
        from dlx.loggers.tensorboard import projector

        with self._writing(self.directory / "embedding" / name):
            projector.write(self.directory, name, vectors, labels, images)

    def close(self) -> None:
        """Write what is pending and close the files; a second call does nothing."""
        try:
            if not self._failed:
                self._write()
        finally:
            for file in (self._curves, self._events):
                if file is not None:
                    with contextlib.suppress(OSError):  # said already, by the write that failed
                        file.close()
            self._curves = self._events = self.directory = None

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            raise _lost(path, error) from error


def _lost(path: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"{path} could not be written ({error.strerror}); what was written before is kept; "
        "free some space or name another hydra.run.dir, then type dlx resume last"
    )


def _numbers(values: Sequence[Tensor | float]) -> list[float]:
    """All values as numbers; each device other than the processor is waited for once."""
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
        together = torch.stack([values[i].detach().reshape(()) for i in places])  # type: ignore[union-attr]
        for i, number in zip(places, together.tolist(), strict=True):
            numbers[i] = float(number)
    return numbers


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with dotted names: `{"model": {"_target_": "a.MLP", "hidden": 9}}` becomes
    `{"model": "MLP", "model.hidden": 9}`. Nulls and empty groups are left out."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        path = f"{prefix}.{name}" if prefix else name
        if name == "_target_":
            settings[prefix or name] = str(value).rsplit(".", 1)[-1]
        elif isinstance(value, Mapping):
            settings |= flat(value, path)
        elif value is not None and name != "_partial_":
            settings[path] = value
    return settings
