"""`dlx predict`: what a trained model says of new examples."""

import sys
from pathlib import Path
from typing import Any

import click

from dlx.runs.rundir import find

SHOWN, WIDE = 40, 12  # rows, and values of one column, on a terminal


@click.command("predict")
@click.argument("run")
@click.argument("input", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".csv, .npz, .npy, .png, or a folder of images.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(run: str, input: Path, overrides: tuple[str, ...], output: Path | None, checkpoint: Any) -> None:
    """Predict for INPUT: .npy, .npz, .csv, .txt, an image, or a folder of images.

    Values are as in the data before scaling: the training run's own scaling is applied. RUN is a directory, a run's
    id, or `last`. Without -o the predictions go to standard output: a table on a terminal, CSV elsewhere.
    """
    from dlx.commandline import terminal
    from dlx.runs.saved import LOOKING
    from dlx.runs.trust import trusted

    found = find(run)
    config = trusted(found, overrides, LOOKING, "predict")
    import torch

    from dlx.runs import inputs, outputs
    from dlx.runs.stepwise import Steps
    from dlx.runs.trained import load, predict
    from dlx.tasks.steps import StepTask

    parts, _ = load(found, config, checkpoint)
    given = inputs.read(input, parts.dataset)
    if given.note:
        terminal.note(given.note)
    columns = predict(parts, given.x, given.lengths)
    steps = None
    if isinstance(parts.task, StepTask):
        lengths = torch.full((len(given.x),), given.x.shape[1]) if given.lengths is None else given.lengths
        steps = Steps(lengths, given.steps)
    if output is not None:
        written = outputs.save(output, columns, parts.dataset, given.files, steps)
        terminal.note(f"{len(given.x)} predictions written to {written[0] if len(written) == 1 else output}")
        return
    if not sys.stdout.isatty():
        outputs.write_csv(outputs.rows(columns, parts.dataset.names, given.files, steps))
        return
    if "label" in columns and "probability" in columns:
        columns["probability"] = columns["probability"].amax(1)  # of that label: there is no room for a hundred
    inner = 2 if steps else 1
    wide = [name for name, values in columns.items() if values.shape[inner:].numel() > WIDE]
    for name in wide:
        terminal.note(f"{name}: {list(columns.pop(name).shape[inner:])} each; type -o FILE.npz, .csv or (images) .png")
    if not columns:
        return
    rows = outputs.rows(columns, parts.dataset.names, given.files, steps)
    terminal.table(rows[:SHOWN])
    if len(rows) > SHOWN:
        terminal.note(f"{SHOWN} of {len(rows)} rows are shown; type -o FILE.csv for all")
