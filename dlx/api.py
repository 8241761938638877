"""The Python interface: `run = dlx.train("model=lenet5", "dataset=mnist")`, `dlx.load("last")`."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn

from dlx.config.compose import allow_own_packages, compose_checked
from dlx.config.search import find_search_path
from dlx.config.trusted import trust_training, trust_while_composing
from dlx.errors import UsageError
from dlx.parts import CheckpointName, Parts, load_trained
from dlx.run import train_in
from dlx.runs.rundir import Run, find_run
from dlx.runs.saved import INFERENCE_KEYS, load_config
from dlx.runs.trust import load_trusted_config
from dlx.tasks.task import Task
from dlx.trained import trained
from dlx.trained.inputs import as_examples, as_inputs, read_inputs
from dlx.trained.other_data import measure_other_file

Array = np.ndarray | Tensor


class Trained:
    """A trained run. Data and model are loaded when they are first needed.

    Args:
        run: its run directory.
        overrides: `key=value`, to change where the data is and where to compute.
        checkpoint: `best` or `last`; None takes the best, or the last if there is no best.
    """

    def __init__(self, run: Run, overrides: Sequence[str] = (), checkpoint: CheckpointName | None = None) -> None:
        self._run, self._overrides, self._which = run, tuple(overrides), checkpoint

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items() if name.startswith("test/"))
        return f"<dlx run {self.directory}{': ' + values if values else ''}>"

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self._run.directory

    @property
    def about(self) -> dict[str, Any]:
        """Everything in run.json."""
        return self._run.read()

    @property
    def metrics(self) -> dict[str, float]:
        """Final values, such as `test/accuracy`."""
        metrics: dict[str, float] = self.about.get("metrics", {})
        return metrics

    @property
    def notes(self) -> list[str]:
        """What was dropped, cast or guessed as the training data was read."""
        notes: list[str] = self.about.get("notes", [])
        return notes

    @cached_property
    def config(self) -> DictConfig:
        """The complete configuration."""
        return load_config(self._run)

    @cached_property
    def parts(self) -> Parts:
        """Dataset, task, model, procedure, trainer and loader, the model with its trained weights."""
        return load_trained(
            self._run, load_trusted_config(self._run, self._overrides, INFERENCE_KEYS, "load"), self._which
        )[0]

    @property
    def model(self) -> nn.Module:
        """The trained model, in evaluation mode on its device."""
        return self.parts.model

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return self.parts.task

    @property
    def names(self) -> list[str] | None:
        """Names of the classes, where the data has them."""
        return self.parts.dataset.names

    def evaluate(self, split: str | None = None) -> dict[str, float]:
        """Return the metrics of a split, named `split/metric`; None takes test, else val, else train.

        Of another file than the run's own, `dataset.path=other.csv`, None takes all of it, as `test`.
        """
        measure_other_file(self._run, self.parts, self._overrides, split)
        return trained.measure(self.parts, split or self.parts.dataset.held_out)

    def predict(self, x: Any) -> Any:
        """Return predicted labels (n,), or values (n, ...), for raw examples.

        Args:
            x: numpy array or tensor, (n, *shape) or one example, in the units of the data, before scaling; a list of
                sequences of different lengths; or the path of a file or folder that `dlx predict` takes.

        Returns:
            A tensor for a tensor, else a numpy array.
        """
        return next(iter(self.predictions(x).values()))

    def predictions(self, x: Any) -> dict[str, Any]:
        """Predict as `predict` does, and return every column of the task: for classes, `label` and `probability`."""
        dataset = self.parts.dataset
        given = read_inputs(Path(x), dataset) if isinstance(x, str | Path) else as_inputs(x, dataset)
        columns = trained.predict(self.parts, given.x, given.lengths)
        if isinstance(x, Tensor):
            return {name: value.to(x.device) for name, value in columns.items()}
        return {name: value.numpy() for name, value in columns.items()}

    def sample(self, n: int = 64, seed: int | None = None, **options: Any) -> Tensor:
        """Draw examples from the model, (n, *shape), in the units of the data.

        Args:
            n: how many.
            seed: of the random draws; None takes the run's own.
            options: `length`, `prompt` and `temperature` of a recurrent network, as `dlx sample` takes them; `labels`
                (n,) of a conditional model.

        Raises:
            UsageError: the model does not generate, or takes no such option.
        """
        return trained.sample(self.parts, n, seed, **options)

    def visualize(
        self,
        *methods: str,
        x: Any = None,
        n: int = 8,
        layer: str | None = None,
        label: str | int | None = None,
        unit: int | None = None,
    ) -> dict[str, Tensor]:
        """Draw what the network sees, as `dlx visualize` does: images (1 or 3, height, width) in [0, 1] by name.

        Args:
            methods: names such as `saliency`; none takes all that the model supports.
            x: raw examples or a path, as for `predict`; None takes the first of the test split.
            n: at most this many of them.
            layer, label, unit: what to show; None leaves the choice to the method.

        Raises:
            UsageError: the model does not support a method, or there is no such layer, class or unit.
        """
        from dlx.interpretability import choice
        from dlx.interpretability.visuals import visualize

        dataset = self.parts.dataset
        raw = (
            None
            if x is None
            else (read_inputs(Path(x), dataset).x if isinstance(x, str | Path) else as_examples(x, dataset))
        )
        number = choice.parse_class(None if label is None else str(label), dataset.names, dataset.classes)
        model, dataset, device = self.parts.model, self.parts.dataset, self.parts.trainer.device
        asked = choice.Choice(layer, number, unit)
        return visualize(model, dataset, device, methods or ("all",), asked, raw, n).pictures


def train(*overrides: str) -> Trained:
    """Train as `dlx train` does, in a new run directory below outputs/.

    Args:
        overrides: `key=value`, as on the command line; `hydra.run.dir=…` names the directory.

    Raises:
        UsageError: the configuration or the data is invalid; nothing is left behind.
        TrainingError: the loss is not finite, or the disk is full.
        Interrupted: SIGINT or SIGTERM was received; the checkpoint is saved.
    """
    with trust_while_composing():
        prepared = compose_checked(overrides, find_search_path())
    if prepared.multirun:
        raise UsageError("several values were given for one run; needed: one value for each key")
    config = prepared.config
    hydra, directory = config.hydra, Path(config.hydra.run.dir)
    choices = {group: name for group, name in hydra.runtime.choices.items() if name and not group.startswith("hydra")}
    with open_dict(config):
        del config["hydra"]
    allow_own_packages(config)
    trust_training()
    try:
        return Trained(train_in(directory, config, {"overrides": list(overrides), **choices}))
    finally:
        if (directory / "run.json").exists():
            _save_hydra_files(directory / ".hydra", config=config, hydra={"hydra": hydra}, overrides=list(overrides))


def _save_hydra_files(directory: Path, **contents: Any) -> None:
    """Write what Hydra itself writes for a run of the command line."""
    directory.mkdir(exist_ok=True)
    for name, content in contents.items():
        OmegaConf.save(content, directory / f"{name}.yaml")


def load(run: str | Path, *overrides: str, checkpoint: CheckpointName | None = None) -> Trained:
    """Return a run that was trained before.

    Args:
        run: its directory, its id, or `last`.
        overrides: `key=value`, to change where the data is and where to compute: `trainer.device=cpu`.
        checkpoint: `best` or `last`; None takes the best, or the last if there is no best.

    Raises:
        UsageError: there is no such run.
    """
    return Trained(find_run(str(run)), overrides, checkpoint)
