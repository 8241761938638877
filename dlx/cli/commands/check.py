"""`dlx check`: test whether a configuration would train."""

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
        _print_result(_dry_run(overrides))
        return
    rows, code = [], 0
    for choice in _list_choices() if everything else [""]:
        row, failed = _make_row(choice, overrides, download=not everything)
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
                terminal.print_line(f"\n{row['configuration']}: {row['message']}")
    if code:
        sys.exit(code)


def _list_choices() -> list[str]:
    """Return `model=NAME` and `experiment=NAME` for every such file on the search path."""
    from dlx.config.catalogue import Catalogue
    from dlx.config.search import find_search_path

    catalogue = Catalogue(find_search_path())
    return [f"{group}={name}" for group in ("model", "experiment") for name in catalogue.names(group)]


def _dry_run(overrides: Any, download: bool = True) -> Any:
    """Return the result of a dry run; None where its data would have to be downloaded first."""
    from dlx.config.compose import compose

    config = compose(list(overrides))
    from dlx.trained.dry_run import dry_run

    if download or "download" not in config.dataset:
        return dry_run(config)
    config.dataset.download = False
    try:
        return dry_run(config)
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


def _make_row(choice: str, overrides: tuple[str, ...], download: bool = True) -> tuple[dict[str, Any], int]:
    """Return a row of the table and the exit code that it calls for."""
    started = time.monotonic()
    row: dict[str, Any] = {"configuration": choice or " ".join(overrides) or "the defaults", "result": "ok"}
    code = 0
    try:
        result = _dry_run([choice, *overrides] if choice else overrides, download)
        if result is None:
            row["result"] = "no data here"
        else:
            row |= {"parameters": result.parameters, "loss": result.train_metrics.get("loss")}
    except DlxError as error:
        code = 2 if isinstance(error, UsageError) else 1
        row |= {"result": "error", "message": str(error)}
    except Exception as error:  # one that fails must not keep the others from being checked
        code = 1
        row |= {"result": "error", "message": f"{type(error).__name__}: {error}"}
    row["seconds"] = round(time.monotonic() - started, 2)
    return row, code


def _print_result(result: Any) -> None:
    from dlx.terminal.terminal import format_cell

    print(f"ok: {result.parameters:,} parameters")
    for title, values in (("one step", result.train_metrics), ("a few examples", result.eval_metrics)):
        if values:
            print(f"{title}: " + ", ".join(f"{name} {format_cell(value)}" for name, value in values.items()))
