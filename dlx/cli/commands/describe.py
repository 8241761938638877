"""`dlx describe`: what the data is, before anything trains."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlx.errors import UsageError

if TYPE_CHECKING:
    from dlx.datasets.description.columns import Column
    from dlx.datasets.description.description import Description
    from dlx.trained.description import DataDescription, Received

MOST_ROWS = 30  # of a table on the screen; --json has all
MOST_CATEGORIES = 6  # of a column, on the screen


@click.command("describe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON map; a sheet is drawn only with -o.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The sheet of examples. Default: describe_NAME.png."
)
def command(overrides: tuple[str, ...], as_json: bool, output: Path | None) -> None:
    """What the data is: columns, classes, splits, lengths, pictures, notes, and a sheet of examples as PNG.

    With model= or experiment=, also what the model would receive. Nothing is trained, and no run directory is made:
    dlx describe dataset=csv dataset.path=FILE.csv
    """
    from dlx.terminal import terminal

    if output is not None:
        _check_output(output)
    from dlx.config.data_only import compose_data

    config = compose_data(overrides)
    from dlx.trained.description import describe_data

    data = describe_data(overrides, config)
    if not as_json and output is None:
        output = Path(f"describe_{data.name.replace('/', '_')}.png")
        _check_output(output)
    if output is not None:
        _draw_sheet(data, output)
    if as_json:
        terminal.print_json(_to_dict(data, output))
    else:
        _print_description(data)
    if output is not None:
        terminal.print_note(f"a sheet of examples was written to {output}")


def _check_output(path: Path) -> None:
    """Refuse a place for the sheet that is no PNG file, or within a run directory."""
    needed = "needed: a .png file in a folder that is there; type -o FILE.png"
    if path.suffix.lower() != ".png" or path.is_dir():
        raise UsageError(f"-o {path} was given; {needed}")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"-o {path} was given, and there is no folder {path.parent}; {needed}")
    run = next((place for place in (folder, *folder.parents) if (place / "run.json").exists()), None)
    if run is not None:
        raise UsageError(
            f"{path} would be within the run directory {run}; needed: a place outside it; type -o with another one"
        )


def _draw_sheet(data: "DataDescription", path: Path) -> None:
    from dlx.figures import figures
    from dlx.figures.example_sheet import draw_sheet

    try:
        figures.save_png(path, draw_sheet(data.dataset, data.described))
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); type -o with another place") from error


def _to_dict(data: "DataDescription", sheet: Path | None) -> dict[str, Any]:
    return {
        **data.described.description.to_dict(),
        "received": data.received and data.received._asdict(),
        "refused": data.refused,
        "options": data.options,
        "sheet": None if sheet is None else str(sheet),
    }


def _print_description(data: "DataDescription") -> None:
    about = data.described.description
    print(f"{about.dataset} ({about.source}): {_format_examples(about)}")
    total = sum(about.splits.values())
    of = " an epoch, made as they are needed" if about.made else ""
    print(
        "splits: " + ", ".join(f"{name} {size:,}" for name, size in about.splits.items()) + f" ({total:,} in all{of})"
    )
    _print_lengths_and_pictures(about)
    _print_columns("columns", about.columns)
    _print_columns("targets", about.targets)
    _print_classes(about)
    if about.symbols:
        used = sum(about.symbols.values()) or 1
        shown = [f"{name!r} {count / used:.1%}" for name, count in list(about.symbols.items())[:20]]
        more = f", … ({len(about.symbols):,} in all)" if len(about.symbols) > 20 else ""
        print(f"\nsymbols, of {used:,} steps: {', '.join(shown)}{more}")
    if data.received is not None:
        _print_received(data.received)
    for title, lines in (("looked at", about.seen), ("notes", about.notes), ("training would refuse", data.refused)):
        if lines:
            print(f"\n{title}:", *(f"  {line}" for line in lines), sep="\n")
    if data.options:
        print(f"  described with {' '.join(map(_quote, data.options))}; type the same to train")


def _format_examples(about: "Description") -> str:
    shape = "×".join(map(str, about.shape))
    what = {
        "vector": f"vectors of {shape} features",
        "image": f"pictures of {shape} (channels, height, width)",
        "sequence": f"sequences of {shape} (steps, features)",
        "symbols": f"sequences of {shape} symbols",
    }
    classes = f", {len(about.classes)} classes" if about.classes else ""
    return f"{what.get(about.kind, f'{about.kind} of {shape}')}, {about.dtype}{classes}"


def _print_lengths_and_pictures(about: "Description") -> None:
    if about.lengths is not None:
        n = about.lengths
        print(
            f"lengths: {n.min:,} to {n.max:,} steps, median {n.median:g}, mean {n.mean:.1f}; padded to {n.padded_to:,}"
        )
    if about.pictures is not None:
        means = ", ".join(f"{mean:.4f}" for mean in about.pictures.means)
        print(
            f"pictures: white is {about.pictures.white:g}; mean of each channel {means} of white, on the training split"
        )
        for what, counts in about.pictures.files.items():
            shown = [f"{name} {count:,}" for name, count in list(counts.items())[:MOST_CATEGORIES]]
            more = f", … ({len(counts):,} in all)" if len(counts) > MOST_CATEGORIES else ""
            print(f"  {what}: {', '.join(shown)}{more}")


def _print_columns(title: str, columns: "list[Column]") -> None:
    from dlx.terminal import terminal

    if not columns:
        return
    print()
    terminal.print_table([_make_row(title, column) for column in columns[:MOST_ROWS]])
    _print_rest(len(columns))


def _make_row(title: str, column: "Column") -> dict[str, Any]:
    row: dict[str, Any] = {title: column.name, "type": column.type, "values": column.values, "gaps": column.gaps}
    row |= {name: getattr(column, name) for name in ("min", "median", "mean", "std", "max", "distinct")}
    if column.categories:
        shown = [f"{name} {count:,}" for name, count in list(column.categories.items())[:MOST_CATEGORIES]]
        row["categories"] = ", ".join(shown) + ", …" * (len(column.categories) > MOST_CATEGORIES)
    return row


def _print_classes(about: "Description") -> None:
    from dlx.terminal import terminal

    if not about.classes:
        return
    print()
    rows = [{"class": each.name, **each.counts, "share": f"{each.share:.1%}"} for each in about.classes[:MOST_ROWS]]
    terminal.print_table(rows)
    _print_rest(len(about.classes))


def _print_rest(number: int) -> None:
    if number > MOST_ROWS:
        print(f"… and {number - MOST_ROWS:,} more (--json has all)")


def _print_received(received: "Received") -> None:
    def show(shape: list[int] | None) -> str:
        return "?" if shape is None else "×".join(map(str, shape)) or "1"

    print(f"\n{received.model} for {received.task.lower()} would receive")
    lengths = " and lengths" if received.lengths else ""
    print(f"  input:  (batch×{show(received.input)}) {received.dtype}{lengths}")
    scale = f" (dataset.scale={received.scale})" if received.scale else ""
    print(
        f"  values: from {received.min:.5g} to {received.max:.5g}, mean {received.mean:.5g}, "
        f"standard deviation {received.std:.5g} in training examples{scale}"
    )
    print(f"  targets: {received.targets or 'none'}")
    print(f"  output: (batch×{show(received.output)})")


def _quote(word: str) -> str:
    return f"'{word}'" if any(c in word for c in '[]" ') else word
