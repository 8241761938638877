"""Map names of earlier versions to present ones, so that older runs and configurations go on working.

A saved `config.yaml` names classes by their modules of that time. They are renamed as it is read, before anything asks
whether the class may be built.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

# Modules whose classes a configuration may name: before version 0.2 → now.
MODULES = {
    "dlx.datasets.adding": "dlx.datasets.synthetic.adding",
    "dlx.datasets.algorithmic": "dlx.datasets.synthetic.algorithmic",
    "dlx.datasets.algorithmic_ngrams": "dlx.datasets.synthetic.ngrams",
    "dlx.datasets.binarization": "dlx.datasets.images.binarization",
    "dlx.datasets.buckets": "dlx.datasets.sequences.buckets",
    "dlx.datasets.cifar": "dlx.datasets.images.cifar",
    "dlx.datasets.conll": "dlx.datasets.sequences.conll",
    "dlx.datasets.csv": "dlx.datasets.tables.csv",
    "dlx.datasets.downloaded": "dlx.datasets.images.downloaded",
    "dlx.datasets.idx": "dlx.datasets.images.idx",
    "dlx.datasets.image_folder": "dlx.datasets.images.image_folder",
    "dlx.datasets.images": "dlx.datasets.images.images",
    "dlx.datasets.intensities": "dlx.datasets.images.input_range",
    "dlx.datasets.midi": "dlx.datasets.sequences.midi",
    "dlx.datasets.mnist": "dlx.datasets.images.mnist",
    "dlx.datasets.music": "dlx.datasets.sequences.music",
    "dlx.datasets.padding": "dlx.datasets.sequences.padding",
    "dlx.datasets.patterns": "dlx.datasets.synthetic.patterns",
    "dlx.datasets.pixels": "dlx.datasets.sequences.pixels",
    "dlx.datasets.sequences": "dlx.datasets.synthetic.casino",
    "dlx.datasets.series": "dlx.datasets.sequences.series_files",
    "dlx.datasets.sheet": "dlx.datasets.tables.delimited",
    "dlx.datasets.svhn": "dlx.datasets.images.svhn",
    "dlx.datasets.switching": "dlx.datasets.synthetic.switching",
    "dlx.datasets.synthetic": "dlx.datasets.synthetic.points",
    "dlx.datasets.synthetic.shapes": "dlx.datasets.synthetic.points",
    "dlx.datasets.tables.tabular": "dlx.datasets.tables.scikit_learn",
    "dlx.datasets.tabular": "dlx.datasets.tables.scikit_learn",
    "dlx.datasets.text": "dlx.datasets.sequences.text",
    "dlx.datasets.timeseries": "dlx.datasets.sequences.timeseries",
    "dlx.datasets.transforms": "dlx.datasets.images.transforms",
    "dlx.models.adversarial.game": "dlx.models.adversarial.gan_base",
    "dlx.models.autoencoders.conv_vae": "dlx.models.autoencoders.vae.conv_vae",
    "dlx.models.autoencoders.vae": "dlx.models.autoencoders.vae.vae",
    "dlx.models.autoencoders.vae_base": "dlx.models.autoencoders.vae.base",
    "dlx.models.autoencoders.vae_latent": "dlx.models.autoencoders.vae.latent",
    "dlx.models.autoencoders.vae_likelihood": "dlx.models.autoencoders.vae.likelihood",
    "dlx.models.boltzmann.dbm": "dlx.models.boltzmann.dbm.dbm",
    "dlx.models.boltzmann.dbm_layers": "dlx.models.boltzmann.dbm.layers",
    "dlx.models.convolutional.entries": "dlx.models.convolutional.layer_spec",
    "dlx.models.convolutional.lenet5": "dlx.models.convolutional.lenet5.lenet5",
    "dlx.models.convolutional.lenet5_layers": "dlx.models.convolutional.lenet5.layers",
    "dlx.models.entries": "dlx.models.layer_spec",
    "dlx.models.estimator": "dlx.models.estimator.estimator",
    "dlx.models.estimator_bytes": "dlx.models.estimator.serialization",
    "dlx.models.estimator_kinds": "dlx.models.estimator.kinds",
    "dlx.models.markov.beginning": "dlx.models.markov.kmeans_init",
    "dlx.models.recurrent.ntm": "dlx.models.recurrent.ntm.ntm",
    "dlx.models.recurrent.ntm_addressing": "dlx.models.recurrent.ntm.addressing",
    "dlx.models.recurrent.ntm_controllers": "dlx.models.recurrent.ntm.controllers",
    "dlx.models.recurrent.ntm_heads": "dlx.models.recurrent.ntm.heads",
    "dlx.models.recurrent.ntm_scan": "dlx.models.recurrent.ntm.scan",
    "dlx.procedures.adversarial": "dlx.procedures.adversarial.adversarial",
    "dlx.procedures.adversarial_collapse": "dlx.procedures.adversarial.collapse",
    "dlx.procedures.adversarial_losses": "dlx.procedures.adversarial.losses",
    "dlx.procedures.adversarial_player": "dlx.procedures.adversarial.player",
    "dlx.tasks.elbo": "dlx.tasks.elbo.elbo",
    "dlx.tasks.elbo_pictures": "dlx.tasks.elbo.pictures",
    "dlx.tasks.generation": "dlx.tasks.generation.generation",
    "dlx.tasks.generation_features": "dlx.tasks.generation.features",
    "dlx.tasks.generation_measures": "dlx.tasks.generation.measures",
    "dlx.tasks.generation_pictures": "dlx.tasks.generation.pictures",
    "dlx.trainer": "dlx.training.trainer",
}
# Classes that were renamed or stand elsewhere, by their old name in their new module.
CLASSES: dict[str, str] = {
    "dlx.datasets.synthetic.points.BarsAndStripes": "dlx.datasets.synthetic.bars_and_stripes.BarsAndStripes",
    "dlx.datasets.tables.scikit_learn.Digits": "dlx.datasets.images.digits.Digits",
    "dlx.datasets.tables.scikit_learn.Table": "dlx.datasets.tables.table.Table",
}
# Arguments of constructors that were renamed, by the present name of the class: old → new.
KEYS = {
    "dlx.procedures.backprop.Backprop": {"watch": "grad_norm_every"},
    "dlx.procedures.truncated.TruncatedBackprop": {"watch": "grad_norm_every"},
}

# Keys that moved elsewhere in the configuration: old → new. Below a moved node only what stands here is known.
PATHS = {
    "trainer.logger": "logger",
    "trainer.logger.tensorboard": "logger",
    "trainer.logger.every": "trainer.flush_every",
    "trainer.logger.keep": "trainer.log_every",
    "trainer.logger.images": "trainer.pictures",
    **{
        f"trainer.logger.{name}": f"logger.tensorboard.{name}"
        for name in ("scalars", "histograms", "graph", "hparams", "embedding")
    },
}
TENSORBOARD = {"_target_": "dlx.loggers.tensorboard.tensorboard.TensorBoardLogger"}


def move_override(key: str, value: str) -> tuple[str, str] | None:
    """Return the present key and value, as text, of an override whose key has moved; None for any other key."""
    new = PATHS.get(key)
    if new is None:
        return None
    if key == "trainer.logger.tensorboard":
        value = {"true": "tensorboard", "false": "[]"}.get(value.lower(), value)
    if key == "trainer.logger" and value.lower() in ("null", "none", "false"):
        value = "[]"
    return new, value


def move_overrides(overrides: Sequence[str]) -> list[str]:
    """Return saved overrides with their keys where they stand now; those of a logger that is left out, left out."""
    moved = []
    for text in overrides:
        key, equals, value = text.partition("=")
        new = move_override(key.lstrip("+"), value)
        moved.append(f"{new[0]}{equals}{new[1]}" if new else text)
    if "logger=[]" in moved:
        moved = [text for text in moved if not text.startswith("logger.tensorboard.")]
    return moved


def move_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return a whole configuration, plain and nested, with its keys where they stand now."""
    trainer = config.get("trainer")
    if not isinstance(trainer, dict) or "logger" not in trainer:
        return config
    trainer = {**trainer}
    old = trainer.pop("logger")
    old = old if isinstance(old, dict) else {}
    tensorboard: dict[str, Any] = {**TENSORBOARD}
    for name, value in old.items():
        group, _, key = PATHS.get(f"trainer.logger.{name}", "").rpartition(".")
        if group:
            (trainer if group == "trainer" else tensorboard)[key] = value
    return {
        **config,
        "trainer": trainer,
        "logger": {"tensorboard": tensorboard} if old.get("tensorboard", True) else {},
    }


def rename_target(target: Any) -> Any:
    """Return the present name of a `_target_`; what is not ours, or not moved, is returned as it is."""
    module, _, name = str(target).rpartition(".")
    if module in MODULES:
        target = f"{MODULES[module]}.{name}"
    return CLASSES.get(target, target) if isinstance(target, str) else target


def get_renamed_keys(target: Any) -> Mapping[str, str]:
    """Return the keys that were renamed, old → new, of the class that a `_target_` names, by whichever name."""
    return KEYS.get(rename_target(target), {}) if isinstance(target, str) else {}


def rename_keys(node: Any) -> Any:
    """Return an object's mapping with its keys under their present names; any other value as it is."""
    new = get_renamed_keys(node.get("_target_")) if isinstance(node, Mapping) else {}
    return {new.get(key, key): value for key, value in node.items()} if new else node


def rename_targets(node: Any) -> Any:
    """Return plain nested values with every `_target_`, and the keys beside it, under their present names."""
    node = rename_keys(node)
    if isinstance(node, Mapping):
        return {k: rename_target(v) if k == "_target_" else rename_targets(v) for k, v in node.items()}
    if isinstance(node, list):
        return [rename_targets(value) for value in node]
    return node


def update_config(config: DictConfig | ListConfig) -> DictConfig | ListConfig:
    """Return a saved configuration in present names; interpolations stay."""
    content = rename_targets(OmegaConf.to_container(config))
    result: DictConfig | ListConfig = OmegaConf.create(move_keys(content) if isinstance(content, dict) else content)
    return result
