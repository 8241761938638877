"""`dlx export`: write a trained model as a file that runs without dlx."""

from pathlib import Path
from typing import Any

import click

from dlx.runs.rundir import find_run


@click.command("export")
@click.argument("name", metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="FILE.onnx, FILE.pt2, FILE.safetensors or FILE.skops.",
)
@click.option("--bare", is_flag=True, help="Leave the preprocessing out; its numbers stand in the metadata.")
@click.option("--module", "part", metavar="NAME", help="A part of the model, such as a GAN's generator.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
def command(name: str, overrides: tuple[str, ...], output: Path, bare: bool, part: str | None, checkpoint: Any) -> None:
    """Write a trained model as ONNX, as a torch.export program, as weights (.safetensors), or (estimators) as skops.

    ONNX and .pt2 take raw rows, in the units of the data, in batches of any size, and give what dlx predict gives;
    names, units and numbers are in the file's metadata. It is compared with dlx predict on real rows before it is kept.
    RUN is a directory, a run's id, or `last`.
    """
    from dlx.runs.saved import INFERENCE_KEYS
    from dlx.runs.trust import load_trusted_config
    from dlx.terminal import terminal

    run = find_run(name)
    # The file is for any machine, so it is made and compared on the processor, whatever the model was trained on.
    config = load_trusted_config(
        run, [*overrides, "trainer.device=cpu", "trainer.precision=32"], INFERENCE_KEYS, "export"
    )
    from dlx.parts import load_trained
    from dlx.trained.export import export

    parts, _ = load_trained(run, config, checkpoint)
    exported = export(parts, output, part, bare)
    size = output.stat().st_size
    if not exported.inputs:
        terminal.print_note(
            f"{exported.path} ({size:,} bytes) holds the weights, and in its metadata all names and numbers"
        )
        return
    takes = ", ".join(
        f"{name} {exported.dtypes[name]} ({', '.join(map(str, shape))})" for name, shape in exported.inputs.items()
    )
    differs = ", ".join(f"{name} {value:.2g}" for name, value in exported.differences.items())
    whole = "the model" if bare or part else "dlx predict"
    terminal.print_note(
        f"{exported.path} ({size:,} bytes) takes {takes}; on {exported.source}, in batches of several sizes, it "
        f"differs from {whole} by at most: {differs}"
    )
    if exported.path.suffix == ".onnx" and exported.dtypes.get("x") == "float64":
        terminal.print_note('onnxruntime takes no other type: a CSV as np.loadtxt(FILE, delimiter=",", dtype="f8")')
    for note in exported.notes:
        terminal.print_note(note)
