"""Write and read `metrics.jsonl`: one JSON object a step, with everything that was measured at it."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dlx.runs.atomic import write_atomically

COLUMNS = ("step", "epoch", "time")  # in every line
Record = dict[str, Any]  # step, epoch, time (seconds since 1970), and values by tag


class MetricsFile:
    """Appends to `metrics.jsonl`; a step's values share one line even when they come one after another.

    Args:
        path: of the file.
        resume_step: None starts a new file; else lines of later steps, and a truncated last line, are dropped.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        self._float32_tags: set[str] = set()  # tags whose values are float32: nine digits are exact
        self.last_record: Record = {}
        self._formats: dict[tuple[str, ...], str] = {}
        last = b""
        if resume_step is not None:
            kept = [(line, record) for line, record in _iter_lines(path) if record["step"] <= resume_step]
            last, self.last_record = kept[-1] if kept else (b"", {})
            write_atomically(path, b"".join(line for line, _ in kept))
        self._file = path.open("wb" if resume_step is None else "r+b")
        self._end = self._file.seek(0, 2)
        self._start = self._end - len(last)  # of the last line

    def append(self, records: list[Record]) -> None:
        """Write records of ascending steps; if the first is of the last line's step, it is merged with that line."""
        if not records:
            return
        start = self._end
        if self.last_record.get("step") == records[0]["step"]:
            start, records = self._start, [{**self.last_record, **records[0]}, *records[1:]]
        lines = [self._line(record) for record in records]
        data = "".join(lines).encode()  # ASCII: json.dumps escapes the rest
        self._file.seek(start)
        self._file.write(data)
        self._file.flush()  # one write, so that a killed run leaves the old line or the new one
        if start + len(data) < self._end:
            self._file.truncate()
        self._end = start + len(data)
        self._start, self.last_record = self._end - len(lines[-1]), records[-1]

    def mark_float32(self, tags: Iterable[str]) -> None:
        """Write the values of these tags, which are float32, with nine digits from now on."""
        self._float32_tags.update(tags)
        self._formats.clear()  # a resumed run's first line may already have had these tags from the file

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _line(self, record: Record) -> str:
        # The sum is finite only if every value is. A format string is four times as fast as json.dumps.
        if math.isfinite(sum(record.values())):
            names = tuple(record)
            return (self._formats.get(names) or self._make_format(names)) % tuple(record.values())
        # JSON has neither NaN nor infinity.
        finite = {name: value if math.isfinite(value) else None for name, value in record.items()}
        return json.dumps({**finite, "time": round(record["time"], 3)}) + "\n"

    def _make_format(self, names: tuple[str, ...]) -> str:
        known = {"step": "%d", "epoch": "%d", "time": "%.3f"} | dict.fromkeys(self._float32_tags, "%.9g")
        pairs = (f"{json.dumps(name).replace('%', '%%')}: {known.get(name, '%r')}" for name in names)
        self._formats[names] = "{" + ", ".join(pairs) + "}\n"
        return self._formats[names]


def read_metrics(path: Path) -> list[Record]:
    """Return every complete line of a `metrics.jsonl`, in order, NaN for values that were not finite; [] if absent."""
    return [record for _, record in _iter_lines(path)]


def _iter_lines(path: Path) -> Iterator[tuple[bytes, Record]]:
    if not path.is_file():  # a pipe would be waited for
        return
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue  # left by a full disk or a power cut
            if line.endswith(b"\n") and isinstance(record, dict) and isinstance(record.get("step"), int):
                yield line, {name: math.nan if value is None else value for name, value in record.items()}
