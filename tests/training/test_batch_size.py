"""trainer.batch=auto: what it finds, and that it leaves no trace."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from dlx.batch import Batch
from dlx.config.compose import compose
from dlx.errors import TrainingError, UsageError
from dlx.hardware.device import autocast
from dlx.parts import assemble
from dlx.procedures.backprop import Backprop
from dlx.tasks.classification import Classification
from dlx.training.batch_size import FIRST_SIZE, HEADROOM, BatchSizeResult, find_batch_size, search_sizes
from dlx.training.checkpoint import load
from tests.conftest import ROOT, same

SHORT = ("trainer.batch=auto", "trainer.epochs=1", "dataset.limit=320", "model.dropout=0.1")


def machine(fixed, each, parallel, free=None):
    """A simulated device: a step takes as long for `parallel` examples as for one, and fixed + each·size bytes."""
    tried = []

    def measure(size):
        tried.append(size)
        bytes_ = fixed + each * size
        return None if free is not None and bytes_ > free else (size / max(size, parallel), bytes_)

    return tried, measure


def test_it_ends_where_larger_batches_are_no_faster():
    tried, measure = machine(0, 1, parallel=100)
    found = search_sizes(measure, 10**6, None)
    assert (found.size, found.limited_by) == (128, "speed")
    assert tried == [8, 16, 32, 64, 128, 256, 512]
    assert found.rates[64] == 0.64


def test_one_disturbed_measurement_does_not_end_it():
    _, clear = machine(0, 1, parallel=1000)
    found = search_sizes(lambda size: (1e-3, 1) if size == 64 else clear(size), 10**6, None)
    assert found.size == 1024


def test_it_ends_with_the_examples():
    tried, measure = machine(0, 1, parallel=10**9)
    found = search_sizes(measure, 100, None)
    assert (found.size, found.limited_by) == (100, "examples")
    assert tried == [8, 16, 32, 64, 100]
    assert search_sizes(measure, 5, None).size == 5


def test_it_leaves_headroom_and_tries_nothing_that_will_not_fit():
    """A processor's memory that runs out ends the process: what is too large must not be tried."""
    free = 1000
    tried, measure = machine(100, 5, parallel=10**9, free=free)
    found = search_sizes(measure, 10**6, free)
    assert (found.size, found.limited_by) == (128, "memory")
    assert tried[-1] == 128
    assert 100 + 5 * 128 <= HEADROOM * free < 100 + 5 * 256


def test_small_memory():
    tried, measure = machine(0, 10, parallel=1, free=25)
    assert search_sizes(measure, 10**6, None) == BatchSizeResult(2, "memory", {2: 1.0})
    assert tried == [8, 4, 2]
    with pytest.raises(TrainingError, match=r"single example.*trainer\.precision=bf16"):
        search_sizes(lambda size: None, 10**6, None)


class Tight(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        if len(x) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.linear(x)


def test_memory_that_runs_out_in_a_step_ends_it():
    def make(size):
        model, procedure = Tight(), Backprop(partial(torch.optim.SGD, lr=0.1))
        procedure.bind(model, Classification())
        return model, procedure, Batch(torch.randn(size, 5), torch.randint(0, 3, (size,)))

    torch.manual_seed(0)
    before = torch.get_rng_state()
    device = torch.device("cpu")
    found = find_batch_size(make, 1000, device, partial(autocast, device, "32"))
    assert found.size in (8, 16)
    assert max(found.rates) == 16
    assert torch.equal(before, torch.get_rng_state())


PROBING = """
import torch
from dlx.hardware.memory_probe import MemoryProbe

probe = MemoryProbe(torch.device("cpu"))
size = 50_000_000
torch.zeros(size, dtype=torch.uint8).add_(1)
peak = probe.peak_bytes()
probe.reset()
print(probe.free is not None, peak > 0.9 * size, probe.peak_bytes() < 0.5 * size)
"""


def test_room_sees_what_was_taken():
    # In a process of its own: a system that reclaims what other tests left would hide the peak.
    done = subprocess.run([sys.executable, "-c", PROBING], capture_output=True, text=True, check=True, cwd=ROOT)
    known, has_peak, begins_anew = done.stdout.split()
    if known == "False":
        pytest.skip("this system does not tell how much memory is free")
    assert has_peak == "True"
    assert begins_anew == "True", "the peak begins anew"


@pytest.mark.slow
def test_the_run_is_as_if_its_batch_had_been_typed(train, capsys):
    found = train("auto", *SHORT)
    about = found.read()
    saved = OmegaConf.load(found.directory / "config.yaml")
    size = saved.trainer.batch
    assert about["batch"]["size"] == size
    assert str(size) in about["batch"]["examples_per_second"]
    said = capsys.readouterr().out
    assert f"trainer.batch=auto: {size}, " in said
    typed = train("typed", *SHORT, f"trainer.batch={size}")
    one, two = (load(run.checkpoints / "last.pt") for run in (found, typed))
    for part in ("model", "procedure", "random"):
        assert same(one[part], two[part]), part


@pytest.mark.slow
def test_resume_goes_on_with_what_was_found(train, resume):
    words = (*SHORT, "trainer.epochs=2")
    stopped = train("stopped", *words, "trainer.max_steps=1")
    size = stopped.read()["batch"]["size"]
    resume(stopped, trainer__max_steps=None)
    straight = train("straight", *words, f"trainer.batch={size}")
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert same(one["model"], two["model"])
    assert same(one["procedure"], two["procedure"])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gan", "rbm", "lenet5"])
def test_other_procedures_and_networks(train, model):
    run = train("run", f"model={model}", *SHORT[:3], "trainer.max_steps=1", "scheduler=constant")
    assert run.read()["batch"]["size"] >= FIRST_SIZE


@pytest.mark.slow
def test_a_schedule_that_counts_steps_is_no_obstacle(train):
    run = train("run", *SHORT, "scheduler=one_cycle", "procedure.accumulate=2")
    assert run.read()["status"] == "finished"


@pytest.mark.parametrize("model", ["svm", "categorical_hmm"])
def test_what_learns_from_a_whole_pass_has_no_batch_to_look_for(model):
    with pytest.raises(UsageError, match=r"trainer\.batch=auto: procedure=(fit|em) learns from a whole pass"):
        compose([f"model={model}", "trainer.batch=auto"])


def test_a_run_that_has_begun_keeps_its_batch():
    config = compose(["trainer.batch=auto", "trainer.device=cpu"])
    with pytest.raises(UsageError, match="a run that has begun; needed: a number"):
        assemble(config)


def test_what_is_said_of_the_rate():
    said = str(BatchSizeResult(256, "speed", {256: 1000.0}))
    assert "larger ones are no faster" in said
    assert "multiplied by 4 for SGD, by 2 for Adam" in said
    assert "rate" not in str(BatchSizeResult(64, "speed", {64: 1000.0}))
