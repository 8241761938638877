"""Compose a configuration whose dataset alone matters, without torch."""

from collections.abc import Sequence

from omegaconf import DictConfig

from dlx.config.catalogue import Catalogue
from dlx.config.compose import compose
from dlx.config.search import find_search_path


def compose_data(words: Sequence[str]) -> DictConfig:
    """Compose a command line; where it names no model, experiment or task, with a model that fits its dataset.

    Args:
        words: overrides.

    Raises:
        ConfigError: a UsageError that names every mistake.
    """
    names = {word.lstrip("+").partition("=")[0].split(".")[0] for word in words}
    if names & {"model", "experiment", "task"}:
        return compose(words)
    catalogue = Catalogue(find_search_path())
    chosen = [word.partition("=")[2] for word in words if word.startswith("dataset=")]
    data = catalogue.entry("dataset", chosen[-1] if chosen else str(catalogue.defaults.get("dataset")))
    model = catalogue.entry("model", str(catalogue.defaults.get("model")))
    if data is None or (model is not None and catalogue.fits(model, data)):
        return compose(words)
    entries = (entry for name in catalogue.names("model") if (entry := catalogue.entry("model", name)))
    fitting = next((e for e in entries if "dataset" not in e.overrides and catalogue.fits(e, data)), None)
    return compose(words if fitting is None else [f"model={fitting.name}", *words])
