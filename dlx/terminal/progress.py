"""What a training run tells its user: a plan, a bar or a line an epoch, at the end the numbers and what to do next."""

import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

PRECISIONS = {"32": "float32", "bf16": "bfloat16", "16": "float16"}
HIDDEN = frozenset({"lr", "gradient_norm", "steps_per_second"})  # curves, but not news
ASCII = str.maketrans({"·": "|", "×": "x", "…": "~", "–": "-"})
REFRESH = 0.1  # seconds between two looks of the bar


class Progress:
    """On a terminal a bar with the time left, elsewhere one line an epoch.

    Args:
        quiet: say nothing at all.
        file: where to; standard output if None. Verbs with `--json` give standard error.
    """

    def __init__(self, quiet: bool = False, file: TextIO | None = None) -> None:
        self.file = sys.stdout if file is None else file
        self.quiet = quiet
        self.live = not quiet and self.file.isatty() and os.environ.get("TERM") != "dumb"
        self.ascii = not _can_encode(self.file, "·×…–")
        self._epochs = self._planned = self._steps = self._epoch = 0
        self._limit: int | None = None  # trainer.max_steps
        self._bar: Any = None
        self._due = 0.0  # when the bar may be drawn again

    def plan(
        self,
        about: Mapping[str, Any],
        config: Mapping[str, Any],
        steps: int,
        note: str | None = None,
        extra: int = 0,
    ) -> None:
        """One line on what is about to happen.

        Args:
            about: of the run, as in run.json: dataset, model, parameters, device, threads, precision.
            config: complete; `trainer` gives the epochs, steps and batch.
            steps: of one epoch.
            note: a second line.
            extra: epochs that come first, beside those of `trainer`.
        """
        trainer = config["trainer"]
        self._limit = trainer.get("max_steps")
        self._epochs = self._planned = trainer["epochs"]
        place = [str(about.get("gpu") or about.get("device", "cpu"))]
        if about.get("device", "cpu") == "cpu" and about.get("threads"):
            place.append(format_count(about["threads"], "thread"))
        place.append(PRECISIONS.get(str(about.get("precision", 32)), str(about.get("precision"))))
        if about.get("processes", 1) > 1:
            place.insert(0, f"{about['processes']} processes")
        batch = about.get("global_batch", trainer.get("batch", "?"))
        before = f"{extra} + " if extra else ""
        length = f"{before}{format_count(trainer['epochs'], 'epoch')} × {format_count(steps, 'step')} of {batch}"
        if self._limit is not None:
            length += f", at most {format_count(self._limit, 'step')}"
        if trainer.get("patience"):
            length += f", fewer if {format_count(trainer['patience'], 'validation')} in a row bring nothing"
        name = f"{about.get('model', 'model')} on {about.get('dataset', 'data')}"
        self.tell(" · ".join((name, format_count(about.get("parameters", 0), "parameter"), ", ".join(place), length)))
        if note:
            self.tell(note)

    def start(self, epochs: int, steps: int, epoch: int = 0, step: int = 0) -> None:
        """Training begins, or goes on.

        Args:
            epochs: in all.
            steps: of one epoch.
            epoch: passes finished.
            step: steps taken of the pass under way.
        """
        self._epochs, self._steps, self._epoch = epochs, steps, epoch
        if not self.live:
            return
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        total = epochs * steps if self._limit is None else min(epochs * steps, self._limit)
        console = Console(file=self.file)
        # No thread of its own: that would contend with the steps.
        self._bar = Bar(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=len(self._label()))),
            BarColumn(bar_width=None, table_column=Column(min_width=12, max_width=30)),
            TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
            TextColumn("{task.fields[metrics]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task(self._label(), total=total, completed=epoch * steps + step, metrics="")
        self._bar.start()

    def step(self, step: int) -> None:
        """A step was taken, the `step`-th of its epoch. May be called at each: mostly it only looks at the clock."""
        if self._bar is not None and self._may_draw():
            self._bar.update(self._task, completed=self._epoch * self._steps + step, refresh=True)

    def epoch(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """A pass is finished.

        Args:
            epoch: passes finished.
            metrics: the latest values by tag.
            seconds: that it took.
        """
        self._epoch = epoch
        shown = [f"{name} {_format_number(value)}" for name, value in metrics.items() if _is_shown(name)]
        if self._bar is not None:
            done, news = epoch * self._steps, self._plain(" · ".join(shown))
            self._bar.update(
                self._task, description=self._label(), completed=done, metrics=news, refresh=self._may_draw()
            )
        elif not self.live:
            label = f"epoch {epoch:{len(str(self._epochs))}}/{self._epochs}"
            self.tell(" · ".join((label, *shown, _format_duration(seconds))))

    def close(self) -> None:
        """Take the bar away; a second call does nothing. Call it whatever happened: the bar hides the cursor."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def summary(self, metrics: Mapping[str, float], directory: Path | str, seconds: float, done: bool = False) -> None:
        """The final numbers, how long it took, and the commands that suggest themselves.

        Args:
            metrics: by tag, `test/accuracy`.
            directory: of the run.
            seconds: of the whole training.
            done: another pass would change nothing.
        """
        self.close()
        if self.quiet:
            return
        columns = [split for split in ("train", "val", "test") if any(tag.startswith(f"{split}/") for tag in metrics)]
        names = list(dict.fromkeys(tag.partition("/")[2] for tag in metrics if _is_shown(tag)))
        rows = [[name, *(_format_number(metrics.get(f"{split}/{name}")) for split in columns)] for name in names]
        if self.live:
            self._table(columns, rows)
        else:
            widths = [max(map(len, column)) for column in zip(*rows, ["", *columns], strict=True)]
            for row in [["", *columns], *rows] if rows else []:
                cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
                self.tell("  ".join((row[0].ljust(widths[0]), *cells)).rstrip())
        run = Path(directory)
        here = Path.cwd()
        run = run.relative_to(here) if run.is_absolute() and run.is_relative_to(here) else run
        name = shlex.quote(str(run))
        self.tell(f"{_format_duration(seconds)} · {run}")
        self.tell(f"  dlx tensorboard {name}")
        self.tell(f"  dlx evaluate {name}")
        if not done:
            self.tell(f"  dlx resume {name} trainer.epochs={2 * self._planned}")

    def tell(self, line: str) -> None:
        """Write a line, unless quiet. Training goes on when nobody reads any more."""
        if self.quiet:
            return
        try:
            self.file.write(self._plain(line) + "\n")
            self.file.flush()
        except BrokenPipeError:  # `| head`: let what is still buffered go nowhere
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    def _may_draw(self) -> bool:
        """Whether the bar's last look is old enough; if so, the time counts anew."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + REFRESH
        return True

    def _plain(self, line: str) -> str:
        return line.translate(ASCII).encode("ascii", "replace").decode() if self.ascii else line

    def _label(self) -> str:
        return f"epoch {min(self._epoch + 1, self._epochs)}/{self._epochs}"

    def _table(self, columns: list[str], rows: list[list[str]]) -> None:
        from rich.box import ASCII2, SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(box=ASCII2 if self.ascii else SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        for column in columns:
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(*row)
        Console(file=self.file, markup=False).print(table)


def _can_encode(file: TextIO, characters: str) -> bool:
    try:
        characters.encode(getattr(file, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _is_shown(tag: str) -> bool:
    return tag.rpartition("/")[2] not in HIDDEN


def format_count(number: int, noun: str) -> str:
    """So many of something: `1 step`, `1,000 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _format_number(value: float | None) -> str:
    """Four significant digits, and no zeros at the end but those that stand for digits."""
    return "" if value is None else f"{value:.4g}"


def _format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
