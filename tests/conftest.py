"""Shared by the tests: short runs in a temporary directory, on one thread."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test works in a directory of its own, without the developer's data, and leaves the threads as they were."""
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DLX_DATA", raising=False)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


@pytest.fixture
def train(tmp_path: Path) -> Callable:
    """Train in-process: `train("name", "model=rbm", …)` gives the Run in `tmp_path/name`."""

    def run(name: str, *overrides: str):
        from dlx.config.compose import compose
        from dlx.run import train_in

        config = compose(["trainer.device=cpu", "trainer.threads=1", *overrides])
        return train_in(tmp_path / name, config, {"overrides": list(overrides)})

    return run


@pytest.fixture
def resume() -> Callable:
    """Resume in-process, with changes to the stored configuration."""

    def run(stored, **changes):
        from omegaconf import OmegaConf

        from dlx.run import resume

        config = OmegaConf.load(stored.directory / "config.yaml")
        for key, value in changes.items():
            OmegaConf.update(config, key.replace("__", "."), value)
        return resume(stored, config)

    return run


def same(a: object, b: object) -> bool:
    """Equal to the bit, through dicts, lists and tensors."""
    import torch

    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
