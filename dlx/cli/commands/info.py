"""`dlx info`: show the layers, shapes and sizes of a configured model."""

import click


@click.command("info")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON map, with parameters, macs and layers.")
def command(overrides: tuple[str, ...], as_json: bool) -> None:
    """Layers, shapes, parameters and multiply-adds of a model, without training it.

    The data is read only where its shape is not declared: dlx info model=alexnet dataset.shape=[3,224,224]
    dataset.classes=1000 needs none.
    """
    from dlx.config.compose import compose
    from dlx.runs.saved import parse_overrides
    from dlx.terminal import terminal

    config = compose(list(overrides))
    keys = {key for key, _ in parse_overrides(overrides)}
    if "dataset.classes" in keys and "dataset.outputs" not in keys and config.dataset.get("classes") is not None:
        config.dataset.outputs = config.dataset.classes  # one says how many classes, and means both
    from dlx.trained.summary import format_magnitude, format_shape, summarise

    summary = summarise(config)
    if as_json:
        terminal.print_json({**summary._asdict(), "layers": [layer._asdict() for layer in summary.layers]})
        return
    rows = [
        {
            "layer": layer.name,
            "type": layer.type,
            "output": format_shape(layer.output),
            "parameters": layer.parameters or None,
            "multiply-adds": layer.macs or None,
            **({"receptive field": layer.receptive_field} if layer.receptive_field else {}),
        }
        for layer in summary.layers
    ]
    terminal.print_table(rows)
    fixed = summary.parameters - summary.trainable
    shapes = f"{format_shape(summary.shape)} → {format_shape(summary.output) or '?'}"
    macs = (
        ""
        if summary.macs is None
        else f", {summary.macs:,} multiply-adds ({format_magnitude(summary.macs)}) an example"
    )
    terminal.print_line(
        f"\n{summary.model}: {shapes}, {summary.parameters:,} parameters"
        + (f" ({fixed:,} of them fixed)" if fixed else "")
        + macs
    )
