"""A job of Hydra's that is not run by Hydra: its configuration, its directory, what it returns."""

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write


class Composed:
    """A job's configuration.

    Args:
        config: with Hydra's own node.
        number: of the job.
        overrides: that it was composed of.
    """

    def __init__(self, config: DictConfig, number: int, overrides: list[str]) -> None:
        self.full, self.number, self.overrides = config, number, overrides
        hydra = config.hydra
        with read_write(hydra), open_dict(hydra):
            hydra.job.id = hydra.job.num = number
            with self.current():
                self.directory = Path(str(hydra.sweep.dir), str(hydra.sweep.subdir)).absolute()
                hydra.runtime.output_dir = str(self.directory)
        with self.current():
            found = {str(key): _plain(config, str(key)) for key in config if key != "hydra"}
        self.plain: dict[str, Any] = found
        self.words = " ".join(hydra.overrides.task)

    @property
    def hydra(self) -> Any:
        """Hydra's own node."""
        return self.full.hydra

    def config(self) -> DictConfig:
        """The configuration without Hydra's node, a copy."""
        made = OmegaConf.masked_copy(self.full, [str(key) for key in self.full if key != "hydra"])
        assert isinstance(made, DictConfig)
        return made

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Let `${hydra:…}` be this job's."""
        before = HydraConfig.instance().cfg
        HydraConfig.instance().cfg = self.full  # type: ignore[assignment]
        try:
            yield
        finally:
            HydraConfig.instance().cfg = before

    def note(self, known: dict[str, str]) -> None:
        """Write `.hydra/`, as Hydra does for a job that it runs.

        Args:
            known: texts of nodes; what several jobs have in common is written out once.
        """
        if self.hydra.output_subdir is None:
            return
        folder = self.directory / str(self.hydra.output_subdir)
        folder.mkdir(parents=True, exist_ok=True)
        hydra = "".join(_text(self.hydra, str(key), known) for key in self.hydra)
        texts = {
            "config": "".join(_text(self.full, str(key), known) for key in self.full if key != "hydra"),
            "hydra": "hydra:\n" + textwrap.indent(hydra, "  "),
"overrides": OmegaConf.to_yaml(self.hydra.overrides.task),
        }
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")

    def returned(self, value: Any, status: JobStatus) -> JobReturn:
        """What Hydra hears of it."""
        back = JobReturn(
            overrides=list(self.hydra.overrides.task),
            cfg=self.config(),
            hydra_cfg=OmegaConf.masked_copy(self.full, ["hydra"]),
            working_dir=str(self.hydra.runtime.cwd),
            task_name=str(self.hydra.job.name),
            status=status,
        )
        back.return_value = value
        return back


def _plain(config: DictConfig, key: str) -> Any:
    value = config[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _text(node: DictConfig, key: str, known: dict[str, str]) -> str:
    """One key of a node as YAML."""
    value = node._get_node(key)
    raw = OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value._value()  # type: ignore[union-attr]
    name = f"{key} {raw!r}"
    if name not in known:
        known[name] = OmegaConf.to_yaml(OmegaConf.create({key: raw}))
    return known[name]
