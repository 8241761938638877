"""`dlx explain`: the arithmetic of a layer, step by step."""

from pathlib import Path

import click

from dlx.errors import UsageError
from dlx.figures.convolution import KINDS, Kind, compute, describe, draw

positive = click.IntRange(min=1)


@click.group("explain")
def command() -> None:
    """Numbers beside the formulas: dlx explain conv --size 7 --kernel 3 --stride 2 --padding same."""


@command.command("conv")
@click.option("--kind", type=click.Choice(KINDS), default="conv", show_default=True)
@click.option("--size", type=positive, default=7, show_default=True, help="Of the input, square.")
@click.option("--kernel", type=positive, default=3, show_default=True)
@click.option("--stride", type=positive, default=1, show_default=True)
@click.option("--padding", default="valid", show_default=True, help="valid, same (as Keras's), or zeros on each side.")
@click.option("--dilation", type=positive, default=1, show_default=True)
@click.option("--in", "inputs", type=positive, default=1, show_default=True, help="Channels of the input.")
@click.option("--out", "outputs", type=positive, default=1, show_default=True, help="Channels of the output.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A PNG, PDF or SVG file for the figure.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON map.")
def conv(
    kind: Kind,
    size: int,
    kernel: int,
    stride: int,
    padding: str,
    dilation: int,
    inputs: int,
    outputs: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Size, windows, parameters and multiply-adds of a convolution or pooling, as text and as a figure."""
    from dlx.terminal import terminal

    one = compute(kind, size, kernel, stride, padding, dilation, inputs, outputs)
    if as_json:
        terminal.print_json({**one._asdict(), "windows": one.windows})
    else:
        print(*describe(one), sep="\n")
    if output is not None:
        if output.suffix not in (".png", ".pdf", ".svg"):
            raise UsageError(f"-o {output} was given; needed: a .png, .pdf or .svg file; type -o conv.png")
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            draw(one).savefig(output)
        except OSError as error:
            raise UsageError(f"{output} cannot be written ({error.strerror}); type -o with another file") from error
        terminal.print_note(f"figure written to {output}")
