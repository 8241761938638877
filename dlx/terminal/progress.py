"""Show a training run to its user: a plan, a bar or a line per epoch, the final numbers and what to do next."""

import os
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from dlx.metrics import Metric, find_metric
from dlx.terminal.visible import make_visible

PRECISIONS = {"32": "float32", "bf16": "bfloat16", "16": "float16"}
HIDDEN = frozenset({"lr", "gradient_norm", "steps_per_second"})  # logged as curves, not shown here
ASCII = str.maketrans({"·": "|", "×": "x", "…": "~", "–": "-", "↑": "^", "↓": "v", "²": "2", "±": "+-"})
ARROWS = {"max": "↑", "min": "↓", None: ""}  # which way is better
REFRESH = 0.1  # seconds between two drawings of the bar


class Progress:
    """A bar with the time left on a terminal, one line per epoch elsewhere.

    Args:
        quiet: print nothing at all.
        file: where to print; standard output if None. Verbs with `--json` give standard error.
    """

    def __init__(self, quiet: bool = False, file: TextIO | None = None) -> None:
        self.file = sys.stdout if file is None else file
        self.quiet = quiet
        self.is_live = not quiet and self.file.isatty() and os.environ.get("TERM") != "dumb"
        self.ascii = not _can_encode(self.file, "·×…–↑↓²")
        self._epochs = self._planned = self._steps = self._epoch = 0
        self._limit: int | None = None  # trainer.max_steps
        self._bar: Any = None
        self._due = 0.0  # when the bar may be drawn again

    def show_plan(
        self,
        about: Mapping[str, Any],
        config: Mapping[str, Any],
        steps: int,
        note: str | None = None,
        pretraining_epochs: int = 0,
    ) -> None:
        """Print one line on what is about to happen.

        Args:
            about: metadata of the run, as in run.json: dataset, model, parameters, device, threads, precision.
            config: the complete configuration; `trainer` gives the epochs, steps and batch.
            steps: steps per epoch.
            note: further lines.
            pretraining_epochs: epochs before those of `trainer`.
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
        before = f"{pretraining_epochs} + " if pretraining_epochs else ""
        length = f"{before}{format_count(trainer['epochs'], 'epoch')} × {format_count(steps, 'step')} of {batch}"
        if self._limit is not None:
            length += f", at most {format_count(self._limit, 'step')}"
        if trainer.get("patience"):
            length += f", fewer if {format_count(trainer['patience'], 'validation')} in a row bring nothing"
        name = f"{about.get('model', 'model')} on {about.get('dataset', 'data')}"
        self.print_line(
            " · ".join((name, format_count(about.get("parameters", 0), "parameter"), ", ".join(place), length))
        )
        if note:
            self.print_line(note)

    def start(self, epochs: int, steps: int, epoch: int = 0, step: int = 0) -> None:
        """Start the bar, where training begins or is resumed.

        Args:
            epochs: epochs in all.
            steps: steps per epoch.
            epoch: epochs finished.
            step: steps taken of the epoch under way.
        """
        self._epochs, self._steps, self._epoch = epochs, steps, epoch
        if not self.is_live:
            return
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        total = epochs * steps if self._limit is None else min(epochs * steps, self._limit)
        console = Console(file=self.file)
        # No thread of its own: that would contend with the steps.
        self._bar = Bar(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=len(self._format_label()))),
            BarColumn(bar_width=None, table_column=Column(min_width=12, max_width=30)),
            TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
            TextColumn("{task.fields[metrics]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task(self._format_label(), total=total, completed=epoch * steps + step, metrics="")
        self._bar.start()

    def step(self, step: int) -> None:
        """Advance the bar to a step of the epoch. Cheap enough for every step: mostly it only reads the clock."""
        if self._bar is not None and self._can_draw():
            self._bar.update(self._task, completed=self._epoch * self._steps + step, refresh=True)

    def end_epoch(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Show the metrics of an epoch that is finished.

        Args:
            epoch: epochs finished.
            metrics: the latest values by tag.
            seconds: how long it took.
        """
        self._epoch = epoch
        shown = [f"{name} {_format_number(value)}" for name, value in metrics.items() if _is_shown(name)]
        if self._bar is not None:
            done, text = epoch * self._steps, self._to_ascii(" · ".join(shown))
            self._bar.update(
                self._task, description=self._format_label(), completed=done, metrics=text, refresh=self._can_draw()
            )
        elif not self.is_live:
            label = f"epoch {epoch:{len(str(self._epochs))}}/{self._epochs}"
            self.print_line(" · ".join((label, *shown, _format_duration(seconds))))

    def close(self) -> None:
        """Remove the bar; a second call does nothing. Call it whatever happened: the bar hides the cursor."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def show_summary(
        self,
        metrics: Mapping[str, float],
        directory: Path | str,
        seconds: float,
        done: bool = False,
        to_resume: str = "",
        tensorboard: bool = True,
        own: Sequence[Metric] = (),
        notes: Iterable[str] = (),
    ) -> None:
        """Print the final metrics, how long training took, and the commands to type next.

        Args:
            metrics: final values by tag, such as `test/accuracy`.
            directory: the run directory.
            seconds: how long the whole training took.
            done: whether another epoch would change nothing, so that `resume` is not suggested.
            to_resume: what `dlx resume` is to change for the training to go on; empty takes more epochs.
            tensorboard: whether there is something for TensorBoard to show.
            own: metrics that the run declares beside the catalogue: an arrow says which way is better, then the unit.
            notes: lines that follow the metrics.
        """
        self.close()
        if self.quiet:
            return
        columns = [split for split in ("train", "val", "test") if any(tag.startswith(f"{split}/") for tag in metrics)]
        names = list(dict.fromkeys(tag.partition("/")[2] for tag in metrics if _is_shown(tag)))
        better = {tag.partition("/")[2]: self._to_ascii(_describe_direction(tag, own)) for tag in metrics}
        rows = [
            [name, *(_format_number(metrics.get(f"{split}/{name}")) for split in columns), better[name]]
            for name in names
        ]
        if self.is_live:
            self._print_table(columns, rows)
        else:
            header = ["", *columns, ""]
            widths = [max(map(len, column)) for column in zip(*rows, header, strict=True)]
            for row in [header, *rows] if rows else []:
                cells = (cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:], strict=False))
                self.print_line("  ".join((row[0].ljust(widths[0]), *cells, row[-1])).rstrip())
        for note in notes:
            self.print_line(note)
        run = Path(directory)
        here = Path.cwd()
        run = run.relative_to(here) if run.is_absolute() and run.is_relative_to(here) else run
        name = shlex.quote(str(run))
        self.print_line(f"{_format_duration(seconds)} · {run}")
        if tensorboard:
            self.print_line(f"  dlx tensorboard {name}")
        self.print_line(f"  dlx evaluate {name}")
        if not done:
            self.print_line(f"  dlx resume {name} {to_resume or f'trainer.epochs={2 * self._planned}'}")

    def print_line(self, line: str) -> None:
        """Print a line, unless quiet. A closed pipe silences it; training goes on."""
        if self.quiet:
            return
        try:
            self.file.write(self._to_ascii(make_visible(line)) + "\n")
            self.file.flush()
        except BrokenPipeError:  # `| head`: let what is still buffered go nowhere
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    def _can_draw(self) -> bool:
        """Return whether the bar may be redrawn; if so, start the next interval."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + REFRESH
        return True

    def _to_ascii(self, line: str) -> str:
        return line.translate(ASCII).encode("ascii", "replace").decode() if self.ascii else line

    def _format_label(self) -> str:
        return f"epoch {min(self._epoch + 1, self._epochs)}/{self._epochs}"

    def _print_table(self, columns: list[str], rows: list[list[str]]) -> None:
        from rich.box import ASCII2, SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(box=ASCII2 if self.ascii else SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        for column in columns:
            table.add_column(column, justify="right")
        table.add_column("")
        for row in rows:
            table.add_row(*row)
        Console(file=self.file, markup=False).print(table)


def _describe_direction(tag: str, own: Sequence[Metric]) -> str:
    """Return an arrow for which way a metric is better, and its unit; empty for one that nobody declared."""
    metric = find_metric(tag, own)
    return f"{ARROWS[metric.direction]} {metric.unit}".strip() if metric else ""


def _can_encode(file: TextIO, characters: str) -> bool:
    try:
        characters.encode(getattr(file, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _is_shown(tag: str) -> bool:
    return tag.rpartition("/")[2] not in HIDDEN


def format_count(number: int, noun: str) -> str:
    """Format a count with its noun: `1 step`, `1,000 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _format_number(value: float | None) -> str:
    """Format a value to four significant digits, without trailing zeros; empty for None."""
    return "" if value is None else f"{value:.4g}"


def _format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
