"""`dlx record`: keep what finished runs measured as small JSON files."""

from pathlib import Path

import click

from dlx.errors import UsageError
from dlx.records.place import FOLDER, find_checkout
from dlx.records.record import make_record, write_record
from dlx.runs.rundir import find_run, relative_to_cwd


@click.command("record")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Default: docs/results/.")
def command(names: tuple[str, ...], folder: Path | None) -> None:
    """Write the record of finished runs: command, seed, versions, machine, commit, metrics, seconds.

    RUN is a directory, a run's id, or `last`. In a checkout of dlx the records stand in docs/results/, and make results
    makes docs/RESULTS.md of them; elsewhere --to names a directory.
    """
    folder = folder or find_checkout(Path.cwd())
    if folder is None:
        raise UsageError(f"there is no {FOLDER}/ here or above; type --to DIR, or work in a checkout of dlx")
    records = [make_record(find_run(name)) for name in names]  # all of them first: one that is not finished writes none
    for record in records:
        click.echo(str(relative_to_cwd(write_record(record, folder))))
