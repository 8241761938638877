"""`dlx list`: what there is to choose from, and what fits what."""

import json
from typing import Any

import click

from dlx.commandline.console import table
from dlx.config.catalogue import Catalogue, Entry
from dlx.config.report import closest, listed
from dlx.config.search import GROUPS, import_from_here, places
from dlx.errors import UsageError

PLURALS = {f"{group}s": group for group in GROUPS}


@click.command(help="What there is to choose from: models, datasets, optimizers …; all groups without a name.")
@click.argument("group", required=False)
@click.option(
    "--fits", metavar="dataset=NAME|model=NAME", help="Models that fit a dataset, or datasets that fit a model."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@click.option("--config-dir", "-cd", metavar="DIR", help="A further directory of configuration files.")
def command(group: str | None, fits: str | None, as_json: bool, config_dir: str | None) -> None:
    """Show the catalogue."""
    import_from_here()
    catalogue = Catalogue(places(config_dir))
    chosen = _group(group, catalogue) if group else None
    groups = [chosen] if chosen else list(catalogue.groups)
    entries = _fitting(catalogue, chosen, fits) if fits else [e for name in groups for e in catalogue.entries(name)]
    if as_json:
        click.echo(json.dumps([describe(entry, catalogue) for entry in entries], indent=2, ensure_ascii=False))
        return
    for name in dict.fromkeys(entry.group for entry in entries):
        table(f"{name}s", [_row(entry, catalogue) for entry in entries if entry.group == name])
    if fits and not entries:
        click.echo(f"nothing fits {fits}")


def _group(word: str, catalogue: Catalogue) -> str:
    """The group of `models`, or of `model`."""
    name = PLURALS.get(word, word.removesuffix("s") if word not in catalogue.groups else word)
    if name in catalogue.groups or name in GROUPS:
        return name
    known = [f"{group}s" for group in catalogue.groups]
    near = closest(word, known)
    raise UsageError(
        f"there is no group {word}; " + (f"did you mean dlx list {near}?" if near else f"type one of {listed(known)}")
    )


def _fitting(catalogue: Catalogue, group: str | None, fits: str) -> list[Entry]:
    """Entries that fit what `--fits` names."""
    key, _, name = fits.partition("=")
    other = {"dataset": "model", "model": "dataset"}.get(key)
    if other is None or not name:
        raise UsageError(f"--fits {fits} was given; needed: dataset=NAME or model=NAME; type --fits dataset=mnist")
    if group not in (None, other):
        raise UsageError(f"--fits {fits} finds {other}s, not {group}s; type dlx list {other}s --fits {fits}")
    entry = catalogue.entry(key, name)
    if entry is None:
        near = closest(name, catalogue.names(key))
        raise UsageError(
            f"there is no {key} {name}; " + (f"did you mean {near}?" if near else f"type dlx list {key}s to see them")
        )
    return catalogue.fitting(other, **{key: entry})


def describe(entry: Entry, catalogue: Catalogue) -> dict[str, Any]:
    """One entry as `--json` gives it."""
    told = {
        "group": entry.group,
        "name": entry.name,
        "description": entry.description,
        "target": entry.target,
        "file": str(entry.file),
        "origin": entry.origin,
        "default": catalogue.defaults.get(entry.group) == entry.name,
        "brings": entry.overrides,
    }
    if entry.group == "dataset":
        told |= {name: entry.node.get(name) for name in ("shape", "classes", "outputs")}
        told["kind"] = entry.attributes.get("kind")
    if entry.group == "model":
        told["accepts"] = entry.attributes.get("accepts")
    return told


def _row(entry: Entry, catalogue: Catalogue) -> tuple[str, str, str]:
    mark = "*" if catalogue.defaults.get(entry.group) == entry.name else " "
    brought = [f"{key}={value}" for key, value in entry.overrides.items()]
    return f"{mark} {entry.name}", entry.description, " ".join([*brought, *(["yours"] * (entry.origin == "user"))])
