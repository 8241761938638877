"""`dlx info`: a configured model in numbers."""

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
    from dlx.runs.saved import parsed
    from dlx.terminal import terminal

    config = compose(list(overrides))
    keys = {key for key, _ in parsed(overrides)}
    if "dataset.classes" in keys and "dataset.outputs" not in keys and config.dataset.get("classes") is not None:
        config.dataset.outputs = config.dataset.classes  # one says how many classes, and means both
    from dlx.trained.summary import magnitude, shown, summarise

    found = summarise(config)
    if as_json:
        terminal.print_json({**found._asdict(), "layers": [layer._asdict() for layer in found.layers]})
        return
    rows = [
        {
            "layer": layer.name,
            "type": layer.type,
            "output": shown(layer.output),
            "parameters": layer.parameters or None,
            "multiply-adds": layer.macs or None,
        }
        for layer in found.layers
    ]
    terminal.print_table(rows)
    fixed = found.parameters - found.trainable
    print(
        f"\n{found.model}: {shown(found.shape)} → {shown(found.output) or '?'}, {found.parameters:,} parameters"
        + (f" ({fixed:,} of them fixed)" if fixed else "")
        + (f", {found.macs:,} multiply-adds ({magnitude(found.macs)}) an example" if found.macs is not None else "")
    )
