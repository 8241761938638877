"""A job of Hydra's that is not run by Hydra: its configuration, its directory, what it returns."""

import contextlib
import copy
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
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        with self.current():
            place = Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir))
            self.directory = place.absolute()
            with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
                config.hydra.runtime.output_dir = str(self.directory)
        self.config = copy.deepcopy(config)
        with read_write(self.config), open_dict(self.config):
            del self.config["hydra"]
        with self.current():
            found = OmegaConf.to_container(self.config, resolve=True)
        assert isinstance(found, dict)
        self.plain: dict[str, Any] = {str(key): value for key, value in found.items()}
        self.words = " ".join(config.hydra.overrides.task)

    @property
    def hydra(self) -> Any:
        """Hydra's own node."""
        return self.full.hydra

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Let `${hydra:…}` be this job's."""
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(self.full)
        try:
            yield
        finally:
            HydraConfig.instance().cfg = before

    def note(self) -> None:
        """Write `.hydra/`, as Hydra does for a job that it runs."""
        if self.hydra.output_subdir is None:
            return
        folder = self.directory / str(self.hydra.output_subdir)
        folder.mkdir(parents=True, exist_ok=True)
        hydra = OmegaConf.masked_copy(self.full, ["hydra"])
        for name, node in (("config", self.config), ("hydra", hydra), ("overrides", self.hydra.overrides.task)):
            (folder / f"{name}.yaml").write_text(OmegaConf.to_yaml(node), encoding="utf-8")

    def returned(self, value: Any, status: JobStatus) -> JobReturn:
        """What Hydra hears of it."""
        back = JobReturn(
            overrides=list(self.hydra.overrides.task),
            cfg=self.config,
            hydra_cfg=OmegaConf.masked_copy(self.full, ["hydra"]),
            working_dir=str(self.hydra.runtime.cwd),
            task_name=str(self.hydra.job.name),
            status=status,
        )
        back.return_value = value
        return back
