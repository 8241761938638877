"""Compare a run with the figures that its experiment names, where it was run as the experiment's file says."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from dlx.config.catalogue import Catalogue
from dlx.config.compose import compose_checked
from dlx.config.published import Figure, format_number, read_figures
from dlx.config.saved_yaml import read_yaml
from dlx.config.search import SearchPath, find_packaged_conf, find_search_path
from dlx.config.trusted import is_trusted
from dlx.errors import DlxError
from dlx.runs.saved import flatten

# What says where a run computes, what it logs and which random numbers it draws: two runs that differ in nothing else
# are runs of the same experiment.
RUN_KEYS = (
    "seed",
    "allow",
    "published",
    "logger",
    "dataset.root",
    "trainer.device",
    "trainer.threads",
    "trainer.logger",
)
# What loading the data fills in where a file leaves it open.
LOADED_KEYS = ("shape", "classes", "outputs", "symbols")


def compare(
    experiment: str | None, config: Mapping[str, Any], metrics: Mapping[str, float], directory: Path | None = None
) -> list[dict[str, Any]]:
    """Return run.json's entries for the figures that a run is to be compared with.

    Args:
        experiment: its choice; None where there was none.
        config: its final configuration, resolved.
        metrics: its final metrics.
        directory: its run directory, which names the directories that its files came from.

    Returns:
        One entry for each figure that was seen at its source and whose metric was measured; none where a key differs
        from those of `experiment=NAME` alone, `RUN_KEYS` apart.
    """
    if experiment is None:
        return []
    search_path = find_run_search_path(directory)
    if not Catalogue(search_path).read_published(experiment):  # composing takes a third of a second
        return []
    try:
        alone = compose_alone(experiment, search_path)
    except DlxError:  # renamed or broken since: then nothing is known of what it says
        return []
    found = read_figures(OmegaConf.to_container(alone.published))
    if find_overrides(alone, config):
        return []
    return [
        {"metric": one.metric, "measured": one.scale(metrics[one.metric]), "published": one.value}
        | {"spread": one.spread, "unit": one.unit, "setting": one.setting, "source": one.source}
        for one in found
        if one.seen and isinstance(metrics.get(one.metric), int | float)
    ]


def format_comparison(entry: Mapping[str, Any]) -> str:
    """Format an entry of run.json: `test/error 0.78 % · published 0.95 % (LeCun et al. 1998)`."""
    given = {name: entry.get(name) for name in ("metric", "spread", "setting", "source")}
    figure = Figure(value=entry["published"], unit=str(entry.get("unit") or ""), seen=True, **given)  # type: ignore[arg-type]
    measured = format_number(float(f"{entry['measured']:.4g}"))
    return f"{figure.metric} {measured}{figure.suffix} · published {figure}"


def compose_alone(experiment: str | None, search_path: SearchPath) -> DictConfig:
    """Compose `experiment=NAME` and nothing else; without an experiment, what `dlx train` alone composes.

    Raises:
        UsageError: there is no such experiment, or its file has mistakes.
    """
    return _compose(experiment, search_path, _find_newest_change(search_path)).copy()


@lru_cache(maxsize=4)
def _compose(experiment: str | None, search_path: SearchPath, _changed: int) -> DictConfig:
    """Compose once for all trials of a stack; a file that changes makes it compose anew."""
    overrides = [] if experiment is None else [f"experiment={experiment}"]
    config = compose_checked(overrides, search_path).config
    with open_dict(config):
        del config["hydra"]
    return config


def _find_newest_change(search_path: SearchPath) -> int:
    """Return when a configuration file changed last, in nanoseconds."""
    files = (file for place in search_path.directories for file in place.rglob("*.y*ml"))
    return max((file.stat().st_mtime_ns for file in files), default=0)


def find_run_search_path(directory: Path | None) -> SearchPath:
    """Return where a run's configuration files are looked for: `./conf`, and the `--config-dir` that it was given."""
    here = find_search_path()
    try:
        saved = read_yaml(Path(directory or "", ".hydra", "hydra.yaml"), interpolations=True)
        sources = [one for one in saved["hydra"]["runtime"]["config_sources"] if one["provider"] == "own"]
        # Whoever wrote the run may have named any folder: those that this user has trained with count.
        sources = [one for one in sources if is_trusted(one["path"]) or is_trusted(Path(one["path"]).parent)]
    except Exception:  # trained by the Python interface, or Hydra was told to write none: `./conf` is what is known
        return here
    given = [Path(one["path"]) for one in sources if Path(one["path"]).is_dir()]
    own = tuple(dict.fromkeys([*given, *here.user]))
    return here._replace(user=tuple(folder for folder in own if folder != find_packaged_conf()))


def find_overrides(alone: DictConfig, config: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """Return the keys in which a run differs from its experiment alone, with the run's values; `RUN_KEYS` left out.

    Keys that only follow others, such as `scheduler.T_max: ${trainer.epochs}`, are left out too.

    Args:
        alone: as `compose_alone` returns it; it is changed.
        config: the run's configuration.
    """
    mine, written = flatten(config), flatten(OmegaConf.to_container(alone, resolve=False))
    for key in written:
        loaded = key.startswith("dataset.") and key.rpartition(".")[2] in LOADED_KEYS and written[key] is None
        if key in mine and (loaded or _is_run_key(key)):
            OmegaConf.update(alone, key, mine[key])  # what refers to it follows: dataset.seed is ${seed}
    changed = _find_changed(alone, mine)
    typed = {key: value for key, value in changed.items() if not _is_interpolation(written.get(key))}
    for key, value in typed.items():
        OmegaConf.update(alone, key, value, force_add=True)
    return {**typed, **_find_changed(alone, mine)}


def _find_changed(alone: DictConfig, mine: Mapping[str, Any]) -> dict[str, Any]:
    theirs = flatten(alone)
    keys = [key for key in dict.fromkeys([*theirs, *mine]) if not _is_run_key(key)]
    # A group that is empty is not there in runs of an earlier dlx that did not have it.
    changed = (
        key for key in keys if theirs.get(key) != mine.get(key) and not theirs.get(key) == {} == mine.get(key, {})
    )
    return {key: mine.get(key) for key in changed}


def _is_run_key(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in RUN_KEYS)


def _is_interpolation(value: Any) -> bool:
    return isinstance(value, str) and "${" in value
