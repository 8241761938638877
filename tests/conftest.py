"""Shared by the tests: short runs in a temporary directory, on one thread."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dlx  # noqa: F401 - before torch: it decides how threads wait

ROOT = Path(__file__).parent.parent
MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


def small(model: str) -> list[str]:
    """Overrides under which a test trains it: full widths would take gigabytes, full lengths minutes."""
    text = (ROOT / "conf" / "model" / f"{model}.yaml").read_text()
    wide, long = "\n  width: " in text, "override /dataset: adding" in text
    return ["model.width=0.1"] * wide + ["dataset.length=40"] * long


@pytest.fixture(autouse=True)
def _quiet_place(tmp_path: Path, tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test works in a directory of its own, without the developer's data, and leaves the threads as they were."""
    import torch

    from dlx.config.trusted import trust

    monkeypatch.chdir(tmp_path)
    state = tmp_path_factory.getbasetemp() / "state" / tmp_path.name
    monkeypatch.setenv("XDG_STATE_HOME", str(state))  # a state directory of its own
    trust(tmp_path)  # where the user works; tests/security asks what happens elsewhere
    monkeypatch.delenv("DLX_DATA", raising=False)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


@pytest.fixture
def train(tmp_path: Path) -> Callable:
    """Train in-process: `train("name", "model=rbm", …)` gives the Run in `tmp_path/name`.

    With `stop` it ends after so many steps of a longer training, whose schedules it follows; a resume goes on.
    """

    def run(name: str, *overrides: str, stop: int | None = None):
        from dlx.config.compose import compose
        from dlx.run import train_in
        from dlx.training.callbacks.callback import Callback

        class Stop(Callback):
            def on_step_end(self, trainer, values):
                if trainer.step == stop:
                    trainer.stop("the test", status="interrupted")

        config = compose(["trainer.device=cpu", "trainer.threads=1", *overrides])
        callbacks = [] if stop is None else [Stop()]
        return train_in(tmp_path / name, config, {"overrides": list(overrides)}, callbacks=callbacks)

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


def emitted(run) -> set[str]:
    """The tags of everything that a run measured: in metrics.jsonl and in run.json."""
    import json

    lines = (run.directory / "metrics.jsonl").read_text().splitlines()
    return {tag for line in lines for tag in json.loads(line) if "/" in tag} | set(run.read()["metrics"])


def undeclared(run) -> list[str]:
    """The tags whose metrics neither task, model nor procedure of a run declares: of validations, task or model."""
    from omegaconf import OmegaConf

    from dlx.config.declared import read_declared
    from dlx.metrics import find_metric

    config = OmegaConf.load(run.directory / "config.yaml")
    everything = read_declared(config)
    measured = read_declared(OmegaConf.masked_copy(config, ["task", "model"]))

    def is_declared(tag: str) -> bool:
        found = find_metric(tag, everything)
        return found is not None and found in (everything if tag.startswith("train/") else measured)

    return sorted(tag for tag in emitted(run) if not is_declared(tag))


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


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A run of digits for an instant, that tests may look at and not touch."""
    from tests.verbs import SHORT, trained

    return trained(tmp_path_factory.mktemp("runs") / "digits", *SHORT)


@pytest.fixture
def mine(digits, tmp_path):
    """A copy of that run, to be changed."""
    import shutil

    from dlx.runs.rundir import Run

    shutil.copytree(digits.directory, tmp_path / "mine")
    return Run(tmp_path / "mine")


@pytest.fixture
def images():
    """Twenty digits as scikit-learn gives them, (20, 8, 8) from 0 to 16."""
    from sklearn.datasets import load_digits

    return load_digits().images[:20]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's directory with a network of their own in a module of the name returned."""
    import sys

    name = f"mine_{tmp_path.name.replace('-', '_')}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path(f"{name}.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self, shape, outputs):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, outputs))\n"
    )
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/mine.yaml").write_text(
        f"# @package _global_\n# mine\nmodel:\n  _target_: {name}.Net\n"
        "  shape: ${dataset.shape}\n  outputs: ${dataset.outputs}\n"
    )
    yield name
    sys.modules.pop(name, None)


def iris():
    """scikit-learn's irises: x (150, 4) float64, and labels."""
    import torch
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    return torch.from_numpy(x), torch.from_numpy(y)


def write(text: str, name: str) -> str:
    """A file of the user's, in the working directory."""
    Path(name).write_text(text, encoding="utf-8")
    return name


def loaded(dataset):
    """The dataset, loaded."""
    dataset.load()
    return dataset
