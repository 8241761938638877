"""Two processes learn what one learns from batches twice as large."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import ranks
from tests.conftest import ROOT, same

pytestmark = [pytest.mark.slow, pytest.mark.integration]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directories of all cases: in two processes, and lone ones with the doubled batch."""
    root = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    started = subprocess.Popen(
        [*torchrun, str(ROOT / "tests" / "ranks.py"), str(root)],
        env=environment,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        from dlx.models.adversarial.gan_base import GANBase
        from dlx.models.boltzmann.units import Binary

        patch.setattr(Binary, "draw", Binary.draw)  # put back afterwards
        patch.setattr(GANBase, "latent", GANBase.latent)
        ranks.still()
        for case in ranks.all_cases(["default"], root, 100):
            case()
    said, _ = started.communicate(timeout=300)
    assert started.returncode == 0, said
    return root


def checkpoint(directory: Path) -> dict:
    return torch.load(directory / "checkpoints" / "last.pt", weights_only=True)


def compare(directory: Path, lone: Path, tolerance: float) -> None:
    ours, alone = checkpoint(directory), checkpoint(lone)
    assert ours["trainer"]["step"] == alone["trainer"]["step"]
    assert ours["model"].keys() == alone["model"].keys()
    for name, value in alone["model"].items():
        torch.testing.assert_close(
            ours["model"][name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
        )
    for name, value in alone["trainer"]["latest"].items():  # the curves too
        assert ours["trainer"]["latest"][name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


def tolerance(case: str) -> float:
    """Batch normalization adds up 78,400 numbers in float32; in float64 it is compared in `ranks.py`."""
    return 2e-4 if case == "synchronised" else 1e-5


@pytest.mark.parametrize("case", [name for name in ranks.CASES if "hmm" not in name])
def test_two_processes_equal_one_with_the_doubled_batch(runs, case):
    compare(runs / f"ddp-{case}", runs / f"default-{case}", tolerance(case))


@pytest.mark.parametrize("case", ["categorical_hmm", "gaussian_hmm"])
def test_em_sums_its_statistics(runs, case):
    compare(runs / f"ddp-{case}", runs / f"default-{case}", 1e-10)


@pytest.mark.parametrize("case", ranks.SHARDED)
def test_sharded_parameters_learn_the_same_and_are_saved_whole(runs, case):
    compare(runs / f"fsdp-{case}", runs / f"default-{case}", tolerance(case))


@pytest.mark.parametrize("case", ["dropout", "sharded", "chains"])
def test_resumed_in_as_many_processes_equals_uninterrupted(runs, case):
    ours, whole = checkpoint(runs / f"begun-{case}"), checkpoint(runs / f"whole-{case}")
    for content in (ours, whole):
        content["trainer"].pop("latest"), content["trainer"].pop("sums")
    assert same(ours, whole)


def test_counts_of_half_a_pass_are_kept(runs):
    compare(runs / "begun-counts", runs / "whole-counts", 1e-10)  # not to the bit: they are added up in another order


def test_a_run_goes_on_in_two_processes_that_was_begun_in_one(runs):
    compare(runs / "begun-alone", runs / "default-mlp", 1e-5)


def test_a_run_goes_on_in_one_process_that_was_begun_in_two(runs, resume):
    from dlx.runs.rundir import Run

    for name in ("ddp-mlp", "fsdp-mlp", "default-mlp"):
        resume(Run(runs / name), trainer__epochs=4)
    compare(runs / "ddp-mlp", runs / "default-mlp", 1e-5)
    compare(runs / "fsdp-mlp", runs / "default-mlp", 1e-5)
    assert Run(runs / "ddp-mlp").read()["global_batch"] == 100
