"""Log to `metrics.csv` in the run directory: a row for each step, a column for each tag."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from dlx.loggers.logger import Logger
from dlx.runs.atomic import write_atomically

KEYS = ("step", "epoch")  # the first columns
Row = dict[str, float | str]  # step, epoch and values by tag; text where it was read from the file


class CSVLogger(Logger):
    """Write `metrics.csv`: numbers in full precision, empty where a tag has no value at a step.

    Columns stand in the order in which their tags were first logged. A tag that appears later, val/accuracy after the
    first epoch, gets its column then, and the file is written anew. A resumed run goes on with the rows up to its
    checkpoint, so that the file becomes what it would have been without the interruption, to the byte.
    """

    def open(self, directory: Path, resume_step: int | None = None) -> None:
        """Begin a new file, or go on with the one that is there."""
        self.path = directory / "metrics.csv"
        self._file: BinaryIO | None = None
        self._columns = list(KEYS)
        self._known = set(KEYS)
        rows = [] if resume_step is None else _read_rows(self.path, resume_step)
        for row in rows:
            self._add_columns(row)
        self._is_changed = False
        self._rewrite([[str(row.get(name, "")) for name in self._columns] for row in rows[:-1]])
        self._rows: list[Row] = rows[-1:]  # the last in the file, which may still grow, and those to be written
        self._write(self._rows)

    def scalars(self, step: int, values: Mapping[str, float], epoch: int, time: float) -> None:
        """Log values of a step, in the row of the step."""
        if self._rows and int(self._rows[-1]["step"]) == step:
            self._rows[-1].update(values, epoch=epoch)
        else:
            self._rows.append({"step": step, "epoch": epoch, **values})
        self._is_changed = True

    def flush(self) -> None:
        """Write the rows that are new or have grown."""
        if not self._is_changed:
            return
        rows, before = self._rows, len(self._columns)
        for row in rows:
            if not self._known.issuperset(row):
                self._add_columns(row)
        if len(self._columns) > before:
            empty = [""] * (len(self._columns) - before)
            written = self.path.read_bytes()[self._header : self._start].decode()
            self._rewrite([line.split(",") + empty for line in written.splitlines()])
        self._write(rows)
        self._rows, self._is_changed = rows[-1:], False

    def close(self) -> None:
        """Write what is pending and close the file."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()

    def _add_columns(self, row: Row) -> None:
        self._columns += [name for name in row if name not in self._known]
        self._known.update(row)

    def _rewrite(self, rows: Sequence[Sequence[str]]) -> None:
        """Replace the file by the header and these rows, at once: a killed run leaves the old one or the new one."""
        header = io.StringIO(newline="")
        csv.writer(header, lineterminator="\n").writerow(self._columns)
        head = header.getvalue().encode()
        body = "".join(",".join(row) + "\n" for row in rows).encode()
        write_atomically(self.path, head + body)
        if self._file is not None:
            self._file.close()
        self._file = self.path.open("r+b")
        self._header = len(head)
        self._start = self._end = len(head) + len(body)

    def _write(self, rows: Sequence[Row]) -> None:
        """Write rows from where the last one begins."""
        lines = [",".join([str(row.get(name, "")) for name in self._columns]) + "\n" for row in rows]
        data = "".join(lines).encode()
        assert self._file is not None
        self._file.seek(self._start)
        self._file.write(data)
        self._file.flush()
        end = self._start + len(data)
        if end < self._end:
            self._file.truncate()
        self._end, self._start = end, end - (len(lines[-1]) if lines else 0)


def _read_rows(path: Path, last_step: int) -> list[Row]:
    """Return the rows up to a step, without a truncated last line; [] where there is no file of ours."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1].decode("utf-8", errors="replace")
    names, *lines = csv.reader(io.StringIO(whole, newline="")) if whole else [[]]
    if tuple(names[:2]) != KEYS:
        return []
    rows = [{n: cell for n, cell in zip(names, line, strict=False) if cell} for line in lines if line]
    return [dict(row) for row in rows if int(row["step"]) <= last_step]
