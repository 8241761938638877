"""`dlx list`: show what there is to choose from, and what fits what."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import click

from dlx.cli.results import describe_results, format_results
from dlx.config.catalogue import Catalogue, Entry
from dlx.config.declared import read_own_metrics
from dlx.config.extras import install_command
from dlx.config.report import find_closest, join_names
from dlx.config.search import GROUPS, add_cwd_to_sys_path, find_search_path, pluralize
from dlx.errors import UsageError
from dlx.metrics import CATALOGUE
from dlx.terminal.console import print_listing

# Hydra's own groups, shown when they are asked for.
HYDRA_GROUPS = {"launchers": "hydra/launcher", "sweepers": "hydra/sweeper"}
METRICS = "metrics"  # no group, but listed like one
PLURALS = {**{pluralize(group): group for group in GROUPS}, METRICS: METRICS, **HYDRA_GROUPS}
# What Hydra and its plugins add to the files of those groups: a description, and the package that it comes with.
PLUGINS: dict[str, dict[str, tuple[str, str | None]]] = {
    "hydra/launcher": {
        "basic": ("one job after another, in this process", None),
        "joblib": ("joblib's processes", "hydra_joblib_launcher"),
        "submitit_local": ("submitit's local processes: a dry run for the cluster", "hydra_submitit_launcher"),
        "submitit_slurm": ("jobs of a SLURM cluster", "hydra_submitit_launcher"),
        "ray": ("tasks of a Ray cluster", "hydra_ray_launcher"),
    },
    "hydra/sweeper": {"basic": ("every combination of the values given", None)},
}


@click.command(help="What there is to choose from: models, datasets, optimizers, metrics …; all groups without a name.")
@click.argument("group", required=False)
@click.option(
    "--fits", metavar="dataset=NAME|model=NAME", help="Models that fit a dataset, or datasets that fit a model."
)
@click.option("--family", metavar="NAME", help="A table of named networks: convolutional.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@click.option("--config-dir", "-cd", metavar="DIR", help="A further directory of configuration files.")
def command(group: str | None, fits: str | None, family: str | None, as_json: bool, config_dir: str | None) -> None:
    """Show the catalogue."""
    if family is not None:
        _print_family(group, family, as_json)
        return
    add_cwd_to_sys_path()
    catalogue = Catalogue(find_search_path(config_dir))
    if group == METRICS:
        _print_metrics(catalogue, as_json)
        return
    chosen = _resolve_group(group, catalogue) if group else None
    groups = [chosen] if chosen else list(catalogue.groups)
    entries = (
        _find_fitting(catalogue, chosen, fits) if fits else [e for name in groups for e in catalogue.entries(name)]
    )
    entries += [entry for entry in _find_plugins(chosen) if entry.name not in {known.name for known in entries}]
    if as_json:
        click.echo(json.dumps([describe(entry, catalogue) for entry in entries], indent=2, ensure_ascii=False))
        return
    for name in dict.fromkeys(entry.group for entry in entries):
        print_listing(
            pluralize(name.rpartition("/")[2]),
            [_make_row(entry, catalogue) for entry in entries if entry.group == name],
        )
    if fits and not entries:
        click.echo(f"nothing fits {fits}")


def _print_family(group: str | None, family: str, as_json: bool) -> None:
    """Print a table of a family of named networks."""
    from dlx.cli.families import FAMILIES
    from dlx.terminal import terminal

    if group not in (None, "models", "model") or family not in FAMILIES:
        raise UsageError(
            f"--family {family} was given for {group or 'everything'}; needed: {join_names(FAMILIES)}, of models; type "
            "dlx list models --family convolutional"
        )
    if as_json:
        click.echo(json.dumps([one._asdict() for one in FAMILIES[family]], indent=2, ensure_ascii=False))
        return
    rows = [one._asdict() for one in FAMILIES[family]]
    terminal.print_table([{"model": row["model"], **{key: row[key] for key in ("year", "depth")},
                           "parameters": f"{row['parameters']:,}", "multiply-adds": f"{row['macs']:,}",
                           "image": f"{row['size']}²", "source": row["source"]} for row in rows])  # fmt: skip


def _print_metrics(catalogue: Catalogue, as_json: bool) -> None:
    """Print the built-in metrics, and those that the user's own tasks, models and procedures declare."""
    own = [metric for metric in read_own_metrics(catalogue) if metric not in CATALOGUE]
    if as_json:
        rows = [{**one._asdict(), "origin": "user" if one in own else "built-in"} for one in (*own, *CATALOGUE)]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max(len(one.direction or "") for one in CATALOGUE)
    listed = []
    for one in (*own, *CATALOGUE):
        note = [one.unit, "yours" if one in own else ""]
        listed.append((one.name, f"{one.direction or '-':{width}}  {one.meaning}", ", ".join(filter(None, note))))
    print_listing(METRICS, listed)


def _find_plugins(group: str | None) -> list[Entry]:
    """Return the options of one of Hydra's groups that no file of ours describes."""
    found = []
    for name, (text, package) in PLUGINS.get(group or "", {}).items():
        there = package is None or _is_installed(package)
        extra = "" if package is None else package.removeprefix("hydra_").removesuffix("_launcher")
        note = text if there else f"{text}; not installed: {install_command(extra)}"
        found.append(Entry(str(group), name, Path("hydra"), "Hydra", note))
    return found


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(f"hydra_plugins.{package}") is not None
    except ModuleNotFoundError:  # not one plugin of Hydra's is
        return False


def _resolve_group(word: str, catalogue: Catalogue) -> str:
    """Return the group that `models`, or `model`, names."""
    name = (
        PLURALS.get(word) or PLURALS.get(f"{word}s") or (word if word in catalogue.groups else word.removesuffix("s"))
    )
    if name in catalogue.groups or name in GROUPS or name in HYDRA_GROUPS.values():
        return name
    known = [*(pluralize(group) for group in catalogue.groups), METRICS]
    near = find_closest(word, known)
    raise UsageError(
        f"there is no group {word}; "
        + (f"did you mean dlx list {near}?" if near else f"type one of {join_names(known)}")
    )


def _find_fitting(catalogue: Catalogue, group: str | None, fits: str) -> list[Entry]:
    """Return the entries that fit what `--fits` names."""
    key, _, name = fits.partition("=")
    other = {"dataset": "model", "model": "dataset"}.get(key)
    if other is None or not name:
        raise UsageError(f"--fits {fits} was given; needed: dataset=NAME or model=NAME; type --fits dataset=mnist")
    if group not in (None, other):
        raise UsageError(f"--fits {fits} finds {other}s, not {group}s; type dlx list {other}s --fits {fits}")
    entry = catalogue.entry(key, name)
    if entry is None:
        near = find_closest(name, catalogue.names(key))
        raise UsageError(
            f"there is no {key} {name}; " + (f"did you mean {near}?" if near else f"type dlx list {key}s to see them")
        )
    return catalogue.list_fitting(other, **{key: entry})


def describe(entry: Entry, catalogue: Catalogue) -> dict[str, Any]:
    """Return one entry as `--json` prints it."""
    description = {
        "group": entry.group,
        "name": entry.name,
        "description": entry.description,
        "target": entry.target,
        "file": str(entry.file),
        "origin": entry.origin,
        "default": _is_default(entry, catalogue),
        "brings": entry.overrides,
    }
    if entry.group == "dataset":
        description |= {name: entry.node.get(name) for name in ("shape", "classes", "outputs")}
        description["kind"] = entry.attributes.get("kind")
    if entry.group == "experiment":
        description |= describe_results(entry.name, catalogue)
    if entry.group == "model":
        description["accepts"] = entry.attributes.get("accepts")
    return description


def _is_default(entry: Entry, catalogue: Catalogue) -> bool:
    if entry.group in PLUGINS:
        return bool(catalogue.defaults.get(entry.group, "basic") == entry.name)
    return catalogue.is_default(entry.group, entry.name)


def _make_row(entry: Entry, catalogue: Catalogue) -> tuple[str, str, str]:
    mark = "*" if _is_default(entry, catalogue) else " "
    text = entry.description
    if entry.group == "experiment":
        text = " · ".join([text, *format_results(entry.name, catalogue)])
    brought = [f"{key}={value}".replace("'", "").replace(", ", ",") for key, value in entry.overrides.items()]
    return f"{mark} {entry.name}", text, " ".join([*brought, *(["yours"] * (entry.origin == "user"))])
