"""Log a run: gather what it measures, check it, and hand it to `metrics.jsonl`, `figures/` and the chosen loggers.

Scalars stay tensors, on any device, until they are written together: recording a step costs well under a microsecond
and never waits for a GPU.
"""

import contextlib
import errno
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
from dlx.loggers.histogram import Histogram
from dlx.loggers.jsonl import MetricsFile, Record
from dlx.loggers.logger import Logger
from dlx.runs.presence import check_present
from dlx.types import Count

Call = tuple[str, Mapping[str, Tensor | float], int, int, float]  # prefix, values, step, epoch, time


class RunLogger:
    """Writes `metrics.jsonl` and `figures/` into a run's directory, and hands everything on to the loggers.

    A logger that raises an error is reported once and left out from then on; the others go on, and so does the run.

    Args:
        directory: of the run; None (a dry run, a rank other than 0) writes nothing, but still detects values that are
            not finite.
        resume_step: of a resumed run: what was logged after this step is dropped.
        loggers: by name, as the configuration names them.
        every: steps between writes; the trainer flushes this often.
        keep: write every keep-th step's training values. All are checked for NaN, and what is logged at an epoch's end
            is always written.
        pictures: take pictures at all.
        report: takes the line that says how a logger has failed.

    Raises:
        UsageError: the directory cannot be written.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        resume_step: int | None = None,
        loggers: Mapping[str, Logger] | None = None,
        every: Count = 50,
        keep: Count = 1,
        pictures: bool = True,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.directory = None if directory is None else Path(directory)
        self.every, self.keep, self.pictures, self.report = every, keep, pictures, report
        self.epoch = 0  # epochs finished; set by the trainer
        self.loggers: dict[str, Logger] = {}  # open, and none of their calls has failed
        self._failed = False  # a write has failed: nothing more is written
        self._pending: list[Call] = []
        self._last_step = -1 if resume_step is None else resume_step  # step written
        self._nonfinite_step: int | None = None  # the first since the last flush whose training values are not finite
        self._tags: dict[tuple[str, ...], list[str]] = {}
        self._metrics_file: MetricsFile | None = None
        if self.directory is None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._metrics_file = MetricsFile(self.directory / "metrics.jsonl", resume_step)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _write_error(self.directory, error) from error
            raise UsageError(
                f"the run directory {self.directory} cannot be written ({error.strerror}); needed: a writable "
                "directory; type hydra.run.dir=… with another one"
            ) from error
        self.epoch = int(self._metrics_file.last_record.get("epoch", 0))
        self.loggers = dict(loggers or {})
        for name, logger in list(self.loggers.items()):
            with self._catch_failure(name):
                logger.open(self.directory, resume_step)

    def is_enabled(self, kind: str) -> bool:
        """Return whether `images`, `graph`, `embedding` and so on are taken; ask before expensive preparations."""
        if self.directory is None:
            return False
        return self.pictures if kind == "images" else bool(self._list_enabled(kind))

    def _list_enabled(self, kind: str) -> list[str]:
        """List the loggers that take a kind."""
        enabled = []
        for name, logger in list(self.loggers.items()):
            with self._catch_failure(name):
                if logger.is_enabled(kind):
                    enabled.append(name)
        return enabled

    @contextlib.contextmanager
    def _catch_failure(self, name: str) -> Iterator[None]:
        """Leave a logger out that raises an error within the block, and report it."""
        try:
            yield
        except Exception as error:
            with contextlib.suppress(Exception):  # the error has been caught; this is only for its files
                self.loggers.pop(name).close()
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.report(f"logger {name} failed and is left out from here on: {type(error).__name__}: {text}")

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
            self._flush_loggers()

    def flush(self) -> int | None:
        """Write everything that is pending.

        Returns the first step, since the last flush, at which a training value was NaN or infinite: everything recorded
        is written, and there is no point in training further. None if all were finite.

        Raises:
            TrainingError: the disk is full, or the run's directory is gone.
        """
        self._write()
        self._flush_loggers()
        bad, self._nonfinite_step = self._nonfinite_step, None
        return bad

    def _write(self) -> None:
        calls, self._pending = self._pending, []
        if not calls:
            return
        tags = [self._make_tags(prefix, values) for prefix, values, *_ in calls]
        numbers = current_group().mean(_to_floats([value for _, values, *_ in calls for value in values.values()]))
        finite = math.isfinite(sum(numbers))  # only if every number is
        rows: list[tuple[int, Record, int, float]] = []  # step, values by tag, epoch, time: as a logger takes them
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
            values = dict(zip(names, row, strict=True))
            if rows and rows[-1][0] == step:
                rows[-1] = (step, {**rows[-1][1], **values}, epoch, now)
            else:
                rows.append((step, values, epoch, now))
        if self._metrics_file is None:
            return
        with self._writing(self._metrics_file.path):
            check_present(self._metrics_file.path.parent)
            self._metrics_file.append(
                [{"step": step, "epoch": epoch, "time": now, **values} for step, values, epoch, now in rows]
            )
        for name, logger in list(self.loggers.items()):
            with self._catch_failure(name):
                log = logger.scalars
                for values_of_step in rows:
                    log(*values_of_step)

    def _flush_loggers(self) -> None:
        """Have all loggers write: pictures too are to be on disk before a checkpoint is."""
        for name, logger in list(self.loggers.items()):
            with self._catch_failure(name):
                logger.flush()

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
        """Write a picture: the newest in `figures/<name>.png`; loggers may keep each step's.

        Args:
            name: a path; slashes become underscores in the file's name.
            picture: (C, H, W) or (H, W), float in [0, 1] or uint8.
            step: steps taken so far.
        """
        if self.directory is None or not self.pictures:
            return
        picture = picture if picture.ndim == 3 else picture[None]
        data = figures.encode_png(picture)
        path = self.directory / "figures" / f"{name.replace('/', '_')}.png"
        with self._writing(path):
            check_present(self.directory)
            figures.save_png(path, data)
        self._call("image", lambda logger: logger.image(name, picture, step, data))

    def text(self, name: str, markdown: str, step: int = 0) -> None:
        """Hand a text to the loggers."""
        self._call("text", lambda logger: logger.text(name, markdown, step))

    def config(self, yaml: str) -> None:
        """Hand the run's configuration to the loggers."""
        self._call("config", lambda logger: logger.config(yaml))

    def histograms(self, make: Callable[[], Mapping[str, Histogram | None]], step: int) -> None:
        """Log histograms of the weights at each of the first ten epochs, then each tenth, each hundredth and so on.

        Args:
            make: returns them by the parameters' names; it is called only where they are wanted.
            step: steps taken so far.
        """
        epoch = max(self.epoch, 1)
        if not self.is_enabled("histograms") or epoch % 10 ** int(math.log10(epoch)):
            return
        values = {f"weights/{name.replace('.', '/')}": value for name, value in make().items() if value is not None}
        if values:
            self._call("histograms", lambda logger: logger.histograms(values, step))

    def graph(self, model: nn.Module, example: Tensor) -> None:
        """Hand the model to the loggers that draw its graph.

        Args:
            model: called on the example alone.
            example: (batch, *shape), on the model's device; one example is enough.
        """
        self._call("graph", lambda logger: logger.graph(model, example))

    def hparams(self, config: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Hand the configuration to the loggers that compare runs by it, and the final metrics with it at the end.

        Call it once before training, so that an unfinished run is seen too, and once at the end.

        Args:
            config: may be nested.
            metrics: by tag, `test/accuracy`; None at the beginning.
        """
        self._write()
        self._call("hparams", lambda logger: logger.hparams(config, metrics, max(self._last_step, 0)))

    def embedding(
        self, name: str, vectors: Tensor, labels: Sequence[object] | None = None, images: Tensor | None = None
    ) -> None:
        """Hand points to the loggers, replacing earlier ones of that name; see `Logger.embedding`."""
        self._call("embedding", lambda logger: logger.embedding(name, vectors, labels, images))

    def _call(self, kind: str, call: Callable[[Logger], None]) -> None:
        """Hand something to the loggers that take its kind."""
        for name in self._list_enabled(kind):
            with self._catch_failure(name):
                call(self.loggers[name])

    def close(self) -> None:
        """Write what is pending and close the files; a second call does nothing."""
        try:
            if not self._failed:
                self._write()
        finally:
            loggers, self.loggers = self.loggers, {}
            for name, logger in loggers.items():
                with self._catch_failure(name):
                    logger.close()
            if self._metrics_file is not None:
                with contextlib.suppress(OSError):  # the write that failed has reported it
                    self._metrics_file.close()
            self._metrics_file = self.directory = None

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
