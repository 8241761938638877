"""`dlx sample`: draw examples from a trained model."""

import math
from pathlib import Path
from typing import Any

import click

from dlx.runs.rundir import find_run


@click.command("sample")
@click.argument("name", metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-n", "number", type=click.IntRange(min=1), help="How many. Default: 64; 8 of each class; 1 text.")
@click.option("--clamp", "clamps", multiple=True, metavar="label=NAME", help="The class, of a conditional model.")
@click.option("--prompt", metavar="TEXT", help="What a text begins with.")
@click.option("--length", type=click.IntRange(min=1), help="Steps to be drawn. Default: those of an example.")
@click.option("--temperature", type=click.FloatRange(min=0), help="Below 1 keeps to what is likely. Default: 1.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".png, .npz, .npy, .csv, .txt, or a folder.")
@click.option("--seed", type=click.IntRange(min=0), help="Default: the run's own.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(
    name: str,
    overrides: tuple[str, ...],
    number: int | None,
    clamps: tuple[str, ...],
    prompt: str | None,
    length: int | None,
    temperature: float | None,
    output: Path | None,
    seed: int | None,
    checkpoint: Any,
) -> None:
    """Draw examples from a model that generates.

    RUN is a directory, a run's id, or `last`. Without -o images go to sample.png and sample.npz, everything else to
    standard output as CSV. Values are in the units of the data: the training run's scaling is undone. A model that was
    trained with classes (model.conditional=true) draws each of them, a row of the picture for each, or the one that
    --clamp names. A network that was trained on a text writes one, or as many as -n says: --prompt, --length and
    --temperature are for it.
    """
    from dlx.runs.outputs import check_outputs, record_outputs
    from dlx.runs.saved import INFERENCE_KEYS
    from dlx.runs.trust import load_trusted_config
    from dlx.terminal import terminal
    from dlx.terminal.progress import format_count

    run = find_run(name)
    config = load_trusted_config(run, overrides, INFERENCE_KEYS, "sample")
    from dlx.parts import load_trained
    from dlx.trained import conditions, outputs
    from dlx.trained.trained import sample

    parts, _ = load_trained(run, config, checkpoint)
    labels = conditions.make_labels(parts, clamps, number)
    text = hasattr(parts.dataset, "decode")
    number = len(labels) if labels is not None else number or (1 if text or prompt is not None else 64)
    samples = sample(parts, number, seed, length=length, prompt=prompt, temperature=temperature, labels=labels)
    shape = parts.dataset.shape or ()
    pictures = len(shape) == 3 and samples[0].numel() == math.prod(shape)
    places = [output] if output else [Path("sample.png"), Path("sample.npz")] if pictures else []
    known = {} if labels is None else {"label": labels}
    if not places:
        terminal.print_note(str(run.directory))
    if not places and text:
        terminal.print_line("\n\n".join(outputs.format_lines(samples, parts.dataset)))
        return
    if not places:
        outputs.write_csv(outputs.make_rows({"x": samples.flatten(1), **known}, parts.dataset.columns))
        return
    check_outputs(run, places)
    for place in places:
        columns = {"x": samples.flatten(1) if place.suffix == ".csv" else samples, **known}
        outputs.save(place, columns, parts.dataset, row_labels=labels)
    record_outputs(run, places)
    terminal.print_note(
        f"{run.directory}: {format_count(number, 'sample')} written to {' and '.join(map(str, places))}"
    )
