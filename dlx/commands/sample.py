"""`dlx sample`: what a model generates."""

import math
from pathlib import Path
from typing import Any

import click

from dlx.runs.rundir import find


@click.command("sample")
@click.argument("run")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-n", "number", default=64, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".png, .npz, .npy, .csv, .txt, or a folder.")
@click.option("--seed", type=click.IntRange(min=0), help="Default: the run's own.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(
    run: str, overrides: tuple[str, ...], number: int, output: Path | None, seed: int | None, checkpoint: Any
) -> None:
    """Draw examples from a model that generates.

    RUN is a directory, a run's id, or `last`. Without -o images go to sample.png, everything else to standard output
    as CSV. Values are in the units of the data: the training run's scaling is undone.
    """
    from dlx.commandline import terminal
    from dlx.runs.saved import LOOKING
    from dlx.runs.trust import trusted

    found = find(run)
    config = trusted(found, overrides, LOOKING, "sample")
    from dlx.runs import outputs
    from dlx.runs.trained import load, sample

    parts, _ = load(found, config, checkpoint)
    made = sample(parts, number, seed)
    shape = parts.dataset.shape or ()
    if output is None and len(shape) == 3 and made[0].numel() == math.prod(shape):
        output = Path("sample.png")
    if output is None and hasattr(parts.dataset, "decode"):
        print("\n\n".join(outputs.lines(made, parts.dataset)))
        return
    if output is None:
        outputs.write_csv(outputs.rows({"x": made.flatten(1)}, parts.dataset.columns))
        return
    columns = {"x": made.flatten(1) if output.suffix == ".csv" else made}
    written = outputs.save(output, columns, parts.dataset)
    terminal.note(f"{number} samples written to {written[0] if len(written) == 1 else output}")
