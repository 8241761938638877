"""`dlx export`: a trained model as a file that runs without dlx."""

from pathlib import Path
from typing import Any

import click

from dlx.runs.rundir import find


@click.command("export")
@click.argument("run")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.onnx, FILE.pt2 or FILE.skops."
)
@click.option("--module", "part", metavar="NAME", help="A part of the model, such as a GAN's generator.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(run: str, overrides: tuple[str, ...], output: Path, part: str | None, checkpoint: Any) -> None:
    """Write a trained model as ONNX, as a torch.export program, or (estimators) as skops.

    The file takes batches of any size, after the dataset's scaling. It is compared with the model on real data before
    it is kept. RUN is a directory, a run's id, or `last`.
    """
    from dlx.runs.saved import LOOKING
    from dlx.runs.trust import trusted
    from dlx.terminal import terminal

    found = find(run)
    # The file is for any machine, so it is made and compared on the processor, whatever the model was trained on.
    config = trusted(found, [*overrides, "trainer.device=cpu", "trainer.precision=32"], LOOKING, "export")
    from dlx.parts import load_trained
    from dlx.trained.export import export

    parts, _ = load_trained(found, config, checkpoint)
    made = export(parts, output, part)
    size = output.stat().st_size
    terminal.print_note(
        f"{made.path} ({size:,} bytes) takes (batch, {', '.join(map(str, made.shape))}); on {made.examples} examples, "
        f"in batches of several sizes, it differs from the model by at most {made.difference:.2g}"
    )
