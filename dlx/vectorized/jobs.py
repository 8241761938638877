"""A job of Hydra's that is not run by Hydra: its configuration, its directory, what it returns."""

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
def current(full: DictConfig) -> Iterator[None]:
    """Let `${hydra:…}` be that of a configuration."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = full  # type: ignore[assignment]
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


class Planned:
    """A job's configuration.

    Args:
        number: of the job.
        words: the overrides, without Hydra's own.
        directory: of the run.
        config: resolved, without Hydra's node.
        raw: the same, not resolved.
        hydra: Hydra's node, not resolved.
        choices: of groups.
        whole: composes it as Hydra does.
    """

    def __init__(
        self,
        number: int,
        words: list[str],
        directory: str,
        config: dict[str, Any],
        raw: dict[str, Any],
        hydra: dict[str, Any],
        choices: Mapping[str, str | None],
        whole: Callable[[], DictConfig],
    ) -> None:
        self.number, self.words, self.directory = number, words, Path(directory).absolute()
        self.config, self.raw, self._hydra, self._whole = config, raw, hydra, whole
        named = {group: name for group, name in choices.items() if not group.startswith("hydra") and name is not None}
        self.about = {"overrides": words, **named}
        self.at_once = not (hydra["job"].get("chdir") or hydra["job"].get("env_set"))  # with others, in one process
        self._full: DictConfig | None = None

    @property
    def full(self) -> DictConfig:
        """As Hydra composes it, with its own node; made when it is asked for."""
        if self._full is None:
            self._full = self._whole()
            hydra = self._full.hydra
            with read_write(hydra), open_dict(hydra):
                hydra.job.id = hydra.job.num = self.number
                hydra.runtime.output_dir = str(self.directory)
        return self._full

    def unresolved(self) -> DictConfig:
        """As Hydra composes it, without its own node."""
        made = OmegaConf.masked_copy(self.full, [str(key) for key in self.full if key != "hydra"])
        assert isinstance(made, DictConfig)
        return made

    def note(self) -> None:
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
            "overrides": dump_yaml(self.words),
        }
        for name, content in texts.items():
            (folder / f"{name}.yaml").write_text(content, encoding="utf-8")

    def returned(self, value: Any, status: JobStatus) -> JobReturn:
        """What Hydra hears of it."""
        back = Returned(overrides=self.words, working_dir=str(Path.cwd()), task_name=str(self._hydra["job"]["name"]))
        back.job, back.status, back.return_value = self, status, value
        return back


class Returned(JobReturn):
    """A job's return, whose configurations are composed when somebody asks for them."""

    job: Planned

    def __getattribute__(self, name: str) -> Any:
        if name == "cfg":
            return self.job.unresolved()
        return (
            OmegaConf.masked_copy(self.job.full, ["hydra"]) if name == "hydra_cfg" else super().__getattribute__(name)
        )
