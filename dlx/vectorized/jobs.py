"""A job of Hydra's multirun that Hydra does not run itself: its configuration, directory and return."""

import contextlib
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dlx.config.resolved import dump_yaml, to_yaml


@contextlib.contextmanager
def use_hydra_config(full: DictConfig) -> Iterator[None]:
    """Let `${hydra:…}` refer to this configuration's node within the block."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = full  # type: ignore[assignment]
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


class PlannedJob:
    """A job's configuration, and what is written and returned of it.

    Args:
        number: the job's number.
        overrides: without Hydra's own.
        directory: of the run.
        config: the configuration, resolved, without Hydra's node.
        raw: the same, not resolved.
        hydra: Hydra's node, not resolved.
        choices: the choices of config groups.
        compose_full: composes the configuration as Hydra does.
    """

    def __init__(
        self,
        number: int,
        overrides: list[str],
        directory: str,
        config: dict[str, Any],
        raw: dict[str, Any],
        hydra: dict[str, Any],
        choices: Mapping[str, str | None],
        compose_full: Callable[[], DictConfig],
    ) -> None:
        self.number, self.overrides, self.directory = number, overrides, Path(directory).absolute()
        self.config, self.raw, self._hydra, self._compose_full = config, raw, hydra, compose_full
        named = {group: name for group, name in choices.items() if not group.startswith("hydra") and name is not None}
        self.about = {"overrides": overrides, **named}
        self.can_share_process = not (hydra["job"].get("chdir") or hydra["job"].get("env_set"))  # with other jobs
        self._full: DictConfig | None = None

    @property
    def full(self) -> DictConfig:
        """The configuration as Hydra composes it, with its own node; composed when it is first asked for."""
        if self._full is None:
            self._full = self._compose_full()
            hydra = self._full.hydra
            with read_write(hydra), open_dict(hydra):
                hydra.job.id = hydra.job.num = self.number
                hydra.runtime.output_dir = str(self.directory)
        return self._full

    def get_task_config(self) -> DictConfig:
        """Return the configuration as Hydra composes it, not resolved, without its own node."""
        config = OmegaConf.masked_copy(self.full, [str(key) for key in self.full if key != "hydra"])
        assert isinstance(config, DictConfig)
        return config

    def write_hydra_files(self) -> None:
        """Write `.hydra/`, as Hydra does for a job that it runs."""
        if self._hydra.get("output_subdir") is None:
            return
        folder = self.directory / str(self._hydra["output_subdir"])
        folder.mkdir(parents=True, exist_ok=True)
        runtime = {**self._hydra["runtime"], "output_dir": str(self.directory)}
        hydra = to_yaml({**self._hydra, "runtime": runtime})
        texts = {
            "config": to_yaml(self.raw),
            "hydra": "hydra:\n" + textwrap.indent(hydra, "  "),
            "overrides": dump_yaml(self.overrides),
        }
        for name, content in texts.items():
            (folder / f"{name}.yaml").write_text(content, encoding="utf-8")

    def make_return(self, value: Any, status: JobStatus) -> JobReturn:
        """Return the job's result as Hydra's JobReturn."""
        result = LazyJobReturn(
            overrides=self.overrides, working_dir=str(Path.cwd()), task_name=str(self._hydra["job"]["name"])
        )
        result.job, result.status, result.return_value = self, status, value
        return result


class LazyJobReturn(JobReturn):
    """A job's return whose configurations are composed when somebody asks for them."""

    job: PlannedJob

    def __getattribute__(self, name: str) -> Any:
        if name == "cfg":
            return self.job.get_task_config()
        return (
            OmegaConf.masked_copy(self.job.full, ["hydra"]) if name == "hydra_cfg" else super().__getattribute__(name)
        )
