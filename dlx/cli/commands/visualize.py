"""`dlx visualize`: show what a trained network sees."""

from pathlib import Path
from typing import Any

import click

from dlx.charts import CHARTS
from dlx.cli.arguments import split_input
from dlx.errors import UsageError
from dlx.interpretability import METHODS
from dlx.runs.rundir import Run, find_run

MAX_ROWS, MAX_LINES = 20, 40  # of a table and a text that the screen shows


@click.command("visualize")
@click.argument("name", metavar="RUN")
@click.argument("words", nargs=-1, metavar="[INPUT] [KEY=VALUE]...")
@click.option(
    "--method",
    default="all",
    show_default=True,
    help=f"Some of {','.join((*METHODS, *CHARTS))}, a chart of your own (mine.Chart), or all that suit.",
)
@click.option("--layer", help="Default: the last convolution, or every layer, as suits the method.")
@click.option("--class", "label", help="The class that is explained, by name or number. Default: the one predicted.")
@click.option("--unit", type=click.IntRange(min=0), help="A map or unit of --layer, for deconvnet and maximization.")
@click.option("-n", "number", default=8, show_default=True, type=click.IntRange(min=1), help="How many examples.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Another folder; the run is left as it is.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(
    name: str,
    words: tuple[str, ...],
    method: str,
    layer: str | None,
    label: str | None,
    unit: int | None,
    number: int,
    output: Path | None,
    checkpoint: Any,
) -> None:
    """Show what a network sees, in the first examples of the test split or in INPUT.

    INPUT is .npy, .npz, .csv, an image or a folder of images, as for dlx predict; RUN a directory, a run's id, or
    `last`. Pictures go to the run's figures/ and to TensorBoard, beside those of the training.
    """
    from dlx.runs.saved import INFERENCE_KEYS
    from dlx.runs.trust import load_trusted_config
    from dlx.terminal import terminal

    methods = _parse_methods(method)
    run = find_run(name)
    path, overrides = split_input(words)
    config = load_trusted_config(run, overrides, INFERENCE_KEYS, "visualize")
    if path is not None and not path.exists():
        raise UsageError(f"{path} was given; there is no such file; needed: an INPUT as for dlx predict, or key=value")
    from dlx.interpretability import choice
    from dlx.interpretability.visuals import visualize
    from dlx.parts import load_trained
    from dlx.terminal.visible import make_visible
    from dlx.trained import inputs

    parts, which = load_trained(run, config, checkpoint)
    terminal.print_note(f"{run.directory}, {which}.pt")
    dataset = parts.dataset
    given = None if path is None else inputs.read_inputs(path, dataset)
    if given is not None and given.note:
        terminal.print_note(given.note)
    if given is not None and len(given.x) > number:
        terminal.print_note(f"{number} of {len(given.x)} examples are shown; type -n {len(given.x)} for all")
    asked = choice.Choice(layer, choice.parse_class(label, dataset.names, dataset.classes), unit)
    raw = None if given is None else given.x
    about = run.read()
    title = make_visible(" · ".join(str(about[key]) for key in ("model", "dataset") if about.get(key)))
    seen = visualize(parts.model, parts.dataset, parts.trainer.device, methods, asked, raw, number, title)
    if seen.skipped:
        terminal.print_note(f"left out: {', '.join(seen.skipped)}; --method {seen.skipped[0]} says why")
    _save_pictures(seen.pictures, run, output)
    _save_words(seen.tables, seen.texts, output or run.directory / "figures")


def _parse_methods(text: str) -> list[str]:
    from dlx.config.report import find_closest

    wanted = list(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in wanted:
        known = (*METHODS, *CHARTS)
        if word not in (*known, "all") and "." not in word:
            near = find_closest(word, known)
            guess = f"did you mean {near}? " if near else ""
            raise UsageError(
                f"--method {word} was given; {guess}needed: some of {','.join(known)}, all, or a chart of your own, "
                "MODULE.CLASS"
            )
    return wanted


def _save_pictures(pictures: dict[str, Any], run: Run, output: Path | None) -> None:
    """Write PNG files, and images to a further event file where the run has one and is over."""
    from dlx.figures import figures
    from dlx.loggers.tensorboard.events import EventFile
    from dlx.terminal import terminal

    folder = output or run.directory / "figures"
    data = {f"visuals/{name}": figures.encode_png(picture) for name, picture in pictures.items()}
    try:
        for name, content in data.items():
            figures.save_png(folder / f"{name.replace('/', '_')}.png", content)
        written = f"{len(data)} pictures written to {folder}"
        about = run.read()
        if output is None and any(run.directory.glob("events.out.tfevents.*")):
            if about.get("status") == "running":  # TensorBoard would not come back to the file being written
                written += "; TensorBoard gets them once the run is over"
            else:
                file = EventFile(run.directory, append=True)
                for (name, content), picture in zip(data.items(), pictures.values(), strict=True):
                    file.image(name, content, tuple(picture.shape), int(about.get("step", 0)))
                file.close()
                written += " and to TensorBoard"
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); type -o with another place") from error
    terminal.print_note(written)


def _save_words(tables: dict[str, list[dict[str, Any]]], texts: dict[str, str], folder: Path) -> None:
    """Print tables, and write them as CSV files; write texts, and print them where they are short."""
    import csv

    from dlx.terminal import terminal

    for name, rows in tables.items():
        print(f"\n{name}")
        terminal.print_table(rows[:MAX_ROWS])
        path = folder / f"visuals_{name.replace('/', '_')}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        more = f" ({MAX_ROWS} of {len(rows)} rows are shown)" if len(rows) > MAX_ROWS else ""
        terminal.print_note(f"table written to {path}{more}")
    for name, text in texts.items():
        path = folder / f"visuals_{name.replace('/', '_')}.txt"
        path.write_text(text, encoding="utf-8")
        lines = text.splitlines()
        print(f"\n{name}", *lines[:MAX_LINES], sep="\n")
        more = f" ({MAX_LINES} of {len(lines)} lines are shown)" if len(lines) > MAX_LINES else ""
        terminal.print_note(f"text written to {path}{more}")
