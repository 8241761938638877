"""`dlx check`: would it train?"""

import sys
import time
from typing import Any

import click

from dlx.errors import DlxError, UsageError


@click.command("check")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--all", "everything", is_flag=True, help="Every model and experiment, dlx's and those in ./conf.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one map for each configuration.")
def command(overrides: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Compose, build, take one step, evaluate, save and load, and leave no run directory.

    With --all, KEY=VALUE holds for every model and experiment, and nothing is downloaded: where the data is missing,
    only that is told. The exit code is 2 if a configuration is wrong, 1 if one fails otherwise.
    """
    from dlx.terminal import terminal

    if not everything and not as_json:
        _print(_rehearsed(overrides))
        return
    rows, code = [], 0
    for choice in _choices() if everything else [""]:
        row, failed = _row(choice, overrides, download=not everything)
        rows.append(row)
        code = max(code, failed)
        if everything and not as_json and sys.stderr.isatty():
            terminal.print_note(f"{len(rows)}: {choice} {row['result']}")
    if as_json:
        terminal.print_json(rows)
    else:
        terminal.print_table([{key: value for key, value in row.items() if key != "message"} for row in rows])
        for row in rows:
            if "message" in row:
                print(f"\n{row['configuration']}: {row['message']}")
    if code:
        sys.exit(code)


def _choices() -> list[str]:
    """model=… and experiment=… for everything on the search path."""
    from dlx.config.catalogue import Catalogue
    from dlx.config.search import find_search_path

    catalogue = Catalogue(find_search_path())
    return [f"{group}={name}" for group in ("model", "experiment") for name in catalogue.names(group)]


def _rehearsed(overrides: Any, download: bool = True) -> Any:
    """What a rehearsal showed; None where data would have to be downloaded for it first."""
    from dlx.config.compose import compose

    config = compose(list(overrides))
    from dlx.trained.dry_run import rehearse

    if download or "download" not in config.dataset:
        return rehearse(config)
    config.dataset.download = False
    try:
        return rehearse(config)
    except UsageError:
        if _has_data(config):
            raise
        return None


def _has_data(config: Any) -> bool:
    from dlx.instantiate import build

    try:
        build(config, "dataset").load()
    except UsageError:
        return False
    return True


def _row(choice: str, overrides: tuple[str, ...], download: bool = True) -> tuple[dict[str, Any], int]:
    """A line of the table, and the exit code that it asks for."""
    started = time.monotonic()
    row: dict[str, Any] = {"configuration": choice or " ".join(overrides) or "the defaults", "result": "ok"}
    code = 0
    try:
        found = _rehearsed([choice, *overrides] if choice else overrides, download)
        if found is None:
            row["result"] = "no data here"
        else:
            row |= {"parameters": found.parameters, "loss": found.learned.get("loss")}
    except DlxError as error:
        code = 2 if isinstance(error, UsageError) else 1
        row |= {"result": "error", "message": str(error)}
    except Exception as error:  # one that fails must not keep the others from being checked
        code = 1
        row |= {"result": "error", "message": f"{type(error).__name__}: {error}"}
    row["seconds"] = round(time.monotonic() - started, 2)
    return row, code


def _print(found: Any) -> None:
    from dlx.terminal.terminal import format_cell

    print(f"ok: {found.parameters:,} parameters")
    for title, values in (("one step", found.learned), ("a few examples", found.measured)):
        if values:
            print(f"{title}: " + ", ".join(f"{name} {format_cell(value)}" for name, value in values.items()))
