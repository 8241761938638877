"""`dlx predict`: what a trained model says of new examples."""

import sys
from pathlib import Path
from typing import Any

import click

from dlx.cli.arguments import divided
from dlx.errors import UsageError
from dlx.runs.rundir import find

SHOWN, WIDE = 40, 12  # rows, and values of one column, on a terminal


@click.command("predict")
@click.argument("run")
@click.argument("words", nargs=-1, metavar="[INPUT] [KEY=VALUE]...")
@click.option("--encode", "what", flag_value="encode", help="The model's codes, as arrays and as a map.")
@click.option("--reconstruct", "what", flag_value="reconstruct", help="What the model gives back, beside what it saw.")
@click.option("--split", help="Of the data, without INPUT, for --encode and --reconstruct. Default: test, if there.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".csv, .npz, .npy, .png, or a folder.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(
    run: str, words: tuple[str, ...], what: str | None, split: str | None, output: Path | None, checkpoint: Any
) -> None:
    """Predict for INPUT: .npy, .npz, .csv, .txt, an image, a folder of images, or a file as the training data had it.

    Values are as in the data before scaling: the training run's own scaling is applied. RUN is a directory, a run's
    id, or `last`. Without -o the predictions go to standard output: a table on a terminal, CSV elsewhere.

    --encode and --reconstruct write arrays and a picture, without -o to codes.npz and codes.png, or to
    reconstructions.npz and reconstructions.png; without INPUT they take a split of the run's own data, whose labels a
    conditional model is told.
    """
    from dlx.runs.saved import LOOKING
    from dlx.runs.trust import trusted
    from dlx.terminal import terminal
    from dlx.terminal.progress import format_count

    found = find(run)
    input, overrides = divided(words)
    if input is None and what is None:
        raise UsageError(
            "no INPUT was given; needed: .npy, .npz, .csv, .txt, an image, or a folder of images; type dlx predict "
            f"{run} FILE, or --encode or --reconstruct for the run's own data"
        )
    if split is not None and (input is not None or what is None):
        raise UsageError(f"--split {split} was given; needed: --encode or --reconstruct, and no INPUT; leave it out")
    config = trusted(found, overrides, LOOKING, "predict")
    import torch

    from dlx.parts import load_trained
    from dlx.tasks.steps import StepTask
    from dlx.trained import inputs, outputs
    from dlx.trained.stepwise import Steps
    from dlx.trained.trained import predict

    parts, _ = load_trained(found, config, checkpoint)
    if what is not None:
        _codes(parts, what, input, split or parts.dataset.held_out, output)
        return
    assert input is not None
    given = inputs.read(input, parts.dataset)
    if given.note:
        terminal.print_note(given.note)
    columns = predict(parts, given.x, given.lengths)
    steps = None
    if isinstance(parts.task, StepTask):
        lengths = torch.full((len(given.x),), given.x.shape[1]) if given.lengths is None else given.lengths
        steps = Steps(lengths, given.steps)
    if output is not None:
        written = outputs.save(output, columns, parts.dataset, given.files, steps)
        terminal.print_note(
            f"{format_count(len(given.x), 'prediction')} written to {written[0] if len(written) == 1 else output}"
        )
        return
    if not sys.stdout.isatty():
        outputs.write_csv(outputs.rows(columns, parts.dataset.names, given.files, steps))
        return
    if "label" in columns and "probability" in columns:
        columns["probability"] = columns["probability"].amax(1)  # of that label: there is no room for a hundred
    inner = 2 if steps else 1
    wide = [name for name, values in columns.items() if values.shape[inner:].numel() > WIDE]
    for name in wide:
        terminal.print_note(
            f"{name}: {list(columns.pop(name).shape[inner:])} each; type -o FILE.npz, .csv or (images) .png"
        )
    if not columns:
        return
    rows = outputs.rows(columns, parts.dataset.names, given.files, steps)
    terminal.print_table(rows[:SHOWN])
    if len(rows) > SHOWN:
        terminal.print_note(f"{SHOWN} of {len(rows)} rows are shown; type -o FILE.csv for all")


def _codes(parts: Any, what: str, input: Path | None, split: str, output: Path | None) -> None:
    """Codes or reconstructions of a file's examples, or of a split's, as arrays and as a picture."""
    from dlx.figures.figures import save_png
    from dlx.terminal import terminal
    from dlx.terminal.progress import format_count
    from dlx.trained import encodings, inputs, outputs

    files = None
    if input is None:
        x, labels = encodings.examples(parts, split)
    else:
        given = inputs.read(input, parts.dataset)
        x, labels, files = given.x, None, given.files
        if given.note:
            terminal.print_note(given.note)
    columns = (encodings.encoded if what == "encode" else encodings.reconstructed)(parts, x, labels)
    picture = encodings.picture(parts, columns)
    stem = "codes" if what == "encode" else "reconstructions"
    suffix = output.suffix if output else ""
    folder = output if output and not suffix else Path()
    arrays = output if suffix and suffix != ".png" else folder / f"{stem}.npz" if suffix != ".png" else None
    drawn = output if suffix == ".png" else folder / f"{stem}.png" if not suffix else None
    written = [] if arrays is None else outputs.save(arrays, columns, parts.dataset, files)
    if drawn is not None and picture is not None:
        try:
            save_png(drawn, picture)
        except OSError as error:
            raise UsageError(f"{drawn} cannot be written ({error.strerror}); type -o with another place") from error
        written.append(drawn)
    elif suffix == ".png":
        raise UsageError(
            f"-o {output} was given; needed: images, or codes of two dimensions or more; type -o {stem}.npz"
        )
    terminal.print_note(f"{stem} of {format_count(len(x), 'example')} written to {' and '.join(map(str, written))}")
