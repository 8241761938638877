"""`dlx predict`: predict for new examples with a trained model."""

import sys
from pathlib import Path
from typing import Any

import click

from dlx.cli.arguments import split_input
from dlx.errors import UsageError
from dlx.runs.rundir import find_run

MAX_ROWS, MAX_VALUES = 40, 12  # rows, and values of one column, on a terminal


@click.command("predict")
@click.argument("name", metavar="RUN")
@click.argument("words", nargs=-1, metavar="[INPUT] [KEY=VALUE]...")
@click.option("--encode", "what", flag_value="encode", help="The model's codes, as arrays and as a map.")
@click.option("--reconstruct", "what", flag_value="reconstruct", help="What the model gives back, beside what it saw.")
@click.option("--split", help="Of the data, without INPUT, for --encode and --reconstruct. Default: test, if there.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".csv, .npz, .npy, .png, or a folder.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(
    name: str, words: tuple[str, ...], what: str | None, split: str | None, output: Path | None, checkpoint: Any
) -> None:
    """Predict for INPUT: .npy, .npz, .csv, .txt, an image, a folder of images, or a file as the training data had it.

    Values are as in the data before scaling: the training run's own scaling is applied. RUN is a directory, a run's
    id, or `last`. Without -o the predictions go to standard output: a table on a terminal, CSV elsewhere.

    --encode and --reconstruct write arrays and a picture, without -o to codes.npz and codes.png, or to
    reconstructions.npz and reconstructions.png; without INPUT they take a split of the run's own data, whose labels a
    conditional model is told.
    """
    from dlx.runs.saved import INFERENCE_KEYS
    from dlx.runs.trust import load_trusted_config
    from dlx.terminal import terminal
    from dlx.terminal.progress import format_count

    run = find_run(name)
    input, overrides = split_input(words)
    if input is None and what is None:
        raise UsageError(
            "no INPUT was given; needed: .npy, .npz, .csv, .txt, an image, or a folder of images; type dlx predict "
            f"{name} FILE, or --encode or --reconstruct for the run's own data"
        )
    if split is not None and (input is not None or what is None):
        raise UsageError(f"--split {split} was given; needed: --encode or --reconstruct, and no INPUT; leave it out")
    config = load_trusted_config(run, overrides, INFERENCE_KEYS, "predict")
    import torch

    from dlx.parts import load_trained
    from dlx.tasks.steps import StepTask
    from dlx.trained import outputs
    from dlx.trained.stepwise import Steps
    from dlx.trained.trained import predict

    parts, which = load_trained(run, config, checkpoint)
    terminal.print_note(f"{run.directory}, {which}.pt")
    if what is not None:
        _write_encodings(parts, what, input, split or parts.dataset.held_out, output)
        return
    assert input is not None
    given = _read_inputs(parts, input)
    columns = predict(parts, given.x, given.lengths)
    impossible = int(columns["log_likelihood"].isneginf().sum()) if "log_likelihood" in columns else 0
    if impossible:
        terminal.print_note(outputs.explain_impossible(impossible, len(given.x)))
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
        outputs.write_csv(outputs.make_rows(columns, parts.dataset.names, given.files, steps))
        return
    if "label" in columns and "probability" in columns:
        columns["probability"] = columns["probability"].amax(-1)  # of that label: there is no room for a hundred
    inner = 2 if steps else 1
    wide = [name for name, values in columns.items() if values.shape[inner:].numel() > MAX_VALUES]
    for name in wide:
        terminal.print_note(
            f"{name}: {list(columns.pop(name).shape[inner:])} each; type -o FILE.npz, .csv or (images) .png"
        )
    if not columns:
        return
    rows = outputs.make_rows(columns, parts.dataset.names, given.files, steps)
    terminal.print_table(rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        terminal.print_note(f"{MAX_ROWS} of {len(rows)} rows are shown; type -o FILE.csv for all")


def _read_inputs(parts: Any, path: Path) -> Any:
    """Read INPUT, and say what was dropped, cast or guessed on the way in."""
    from dlx.terminal import terminal
    from dlx.trained import inputs

    given = inputs.read_inputs(path, parts.dataset)
    for text in (given.note or "").splitlines():
        terminal.print_note(text)
    return given


def _write_encodings(parts: Any, what: str, input: Path | None, split: str, output: Path | None) -> None:
    """Write codes or reconstructions of a file's or a split's examples, as arrays and as a picture."""
    from dlx.figures.figures import save_png
    from dlx.terminal import terminal
    from dlx.terminal.progress import format_count
    from dlx.trained import encodings, outputs

    files = None
    if input is None:
        x, labels = encodings.load_examples(parts, split)
    else:
        given = _read_inputs(parts, input)
        x, labels, files = given.x, None, given.files
    columns = (encodings.encode if what == "encode" else encodings.reconstruct)(parts, x, labels)
    picture = encodings.draw_picture(parts, columns)
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
