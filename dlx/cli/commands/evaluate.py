"""`dlx evaluate`: measure a trained model on a split."""

from pathlib import Path
from typing import Any

import click

from dlx.errors import UsageError
from dlx.runs.rundir import find_run


@click.command("evaluate")
@click.argument("name", metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Default: test, if there.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="Default: best, or last where none was chosen.")
@click.option("--ais", is_flag=True, help="Estimate log Z of a Boltzmann machine, whatever its task was.")
@click.option(
    "--report",
    "reports",
    is_flag=True,
    help="Also a table of each class, or output.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the report. Default: the run's.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON map.")
def command(
    name: str,
    overrides: tuple[str, ...],
    split: str | None,
    checkpoint: Any,
    ais: bool,
    reports: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure a trained model on one split of its data.

    RUN is a directory, a run's id, or `last`. KEY=VALUE may change where the data lies (dataset.root=…) and how it is
    computed (trainer.device=…, trainer.batch=…). dataset.path=OTHER measures all of another file, scaled and named as
    the run's own; with --split, or dataset.test=…, it is split as the run's own was. --ais takes 14,500 temperatures
    and 100 chains: minutes; the task says more (dlx info task=density).

    --report also writes report-SPLIT.csv, report-SPLIT.json and, of a classifier, confusion-SPLIT.csv (a row for each
    class, a column for what it was taken for). Of a regression it has a row for each output.
    """
    from dlx.runs.saved import INFERENCE_KEYS
    from dlx.runs.trust import load_trusted_config
    from dlx.terminal import terminal
    from dlx.terminal.progress import format_count

    run = find_run(name)
    config = load_trusted_config(run, overrides, INFERENCE_KEYS, "evaluate")
    from dlx.metrics import list_declared
    from dlx.parts import load_trained
    from dlx.trained import outputs
    from dlx.trained import reports as files
    from dlx.trained.other_data import measure_other_file
    from dlx.trained.trained import measure, report, with_ais
    from dlx.training.units import remark_measured

    if output is not None and not reports:
        raise UsageError("-o was given without --report; needed: both, or neither; type --report")

    parts, which = load_trained(run, config, checkpoint)
    if told := measure_other_file(run, parts, overrides, split):
        terminal.print_note(told)
    split = split or parts.dataset.held_out
    metrics = measure(with_ais(parts) if ais else parts, split)
    said = run.read().get("notes", [])  # as it was trained; what is new was noted as the data was read
    for text in parts.dataset.notes:
        if text not in said:
            terminal.print_note(text)
    declared = [*parts.task.list_metrics(), *list_declared(type(parts.model))]
    if units := remark_measured(parts.dataset, metrics, declared):
        terminal.print_note(units)
    found = report(parts, split) if reports else None
    written = [] if found is None else files.write(output or run.directory, split, metrics, found)
    if as_json:
        terminal.print_json(metrics if found is None else files.as_document(split, metrics, found))
        return
    terminal.print_note(f"{run.directory}, {which}.pt, {format_count(len(parts.dataset.splits[split]), 'example')}")
    if f"{split}/impossible" in metrics:
        n = len(parts.dataset.splits[split])
        terminal.print_note(outputs.explain_impossible(round(metrics[f"{split}/impossible"] * n), n))
    terminal.print_table([{"metric": name, "value": value} for name, value in metrics.items()])
    if found is not None:
        print()
        terminal.print_table(found.rows)
        for line in [*found.remarks, f"written to {', '.join(map(str, written))}"]:
            terminal.print_note(line)
