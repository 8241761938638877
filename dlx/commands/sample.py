"""`dlx sample`: what a model generates."""

import math
from pathlib import Path
from typing import Any

import click

from dlx.runs.rundir import find


@click.command("sample")
@click.argument("run")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-n", "number", type=click.IntRange(min=1), help="How many. Default: 64; 1 with a prompt.")
@click.option("--prompt", metavar="TEXT", help="What a text begins with.")
@click.option("--length", type=click.IntRange(min=1), help="Steps to be drawn. Default: those of an example.")
@click.option("--temperature", type=click.FloatRange(min=0), help="Below 1 keeps to what is likely. Default: 1.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".png, .npz, .npy, .csv, .txt, or a folder.")
@click.option("--seed", type=click.IntRange(min=0), help="Default: the run's own.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(
    run: str,
    overrides: tuple[str, ...],
    number: int | None,
    prompt: str | None,
    length: int | None,
    temperature: float | None,
    output: Path | None,
    seed: int | None,
    checkpoint: Any,
) -> None:
    """Draw examples from a model that generates.

    RUN is a directory, a run's id, or `last`. Without -o images go to sample.png, everything else to standard output
    as CSV. Values are in the units of the data: the training run's scaling is undone. A recurrent network that was
    trained on a text writes on: --prompt, --length and --temperature are for it.
    """
    from dlx.commandline import terminal
    from dlx.runs.saved import LOOKING
    from dlx.runs.trust import trusted

    found = find(run)
    config = trusted(found, overrides, LOOKING, "sample")
    from dlx.runs import outputs
    from dlx.runs.trained import load, sample

    parts, _ = load(found, config, checkpoint)
    number = number or (64 if prompt is None else 1)
    made = sample(parts, number, seed, length=length, prompt=prompt, temperature=temperature)
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
