"""Launchers behind Hydra's interface: ours, and those of Hydra's own plugins."""

from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher

from dlx.sweeps import plugins


class Counting(BasicLauncher):
    jobs: list[int] = []  # noqa: RUF012 - a launcher's instance is Hydra's

    def launch(self, job_overrides, initial_job_idx):
        self.jobs.append(len(job_overrides))
        return []


def test_a_launcher_of_ours_is_known_by_its_name(monkeypatch):
    from dlx.cli import main

    monkeypatch.setitem(plugins.PLUGINS, "Counting", f"{__name__}.Counting")
    Path("conf/hydra/launcher").mkdir(parents=True)
    Path("conf/hydra/launcher/counting.yaml").write_text("_target_: hydra_plugins.dlx.Counting\n")
    with pytest.raises(SystemExit) as stop:
        main(["-m", "hydra/launcher=counting", "seed=1,2,3"])
    assert stop.value.code == 0
    assert Counting.jobs == [3]
