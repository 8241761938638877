"""Memory that runs out: simulated by a layer that refuses batches above a size."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dlx.batch import Batch
from dlx.errors import TrainingError
from dlx.hardware.out_of_memory import explain_oom, is_out_of_memory, retry_on_oom, split_batch
from dlx.procedures.backprop import Backprop
from dlx.tasks.classification import Classification
from dlx.training.checkpoint import load
from dlx.training.evaluate import evaluate
from tests.conftest import same

TIGHT = '''"""A network that runs out of memory above eight examples."""
import torch
from torch import nn


class Tight(nn.Module):
    def __init__(self, shape, outputs, most=8):
        super().__init__()
        self.linear, self.most = nn.Linear(torch.Size(shape).numel(), outputs), most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.linear(x.flatten(1))
'''


class Tight(nn.Module):
    def __init__(self, most, error=torch.OutOfMemoryError):
        super().__init__()
        self.linear, self.most, self.error = nn.Linear(5, 3), most, error
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return self.linear(x)


def batch(size=30):
    torch.manual_seed(1)
    return Batch(torch.randn(size, 5), torch.randint(0, 3, (size,)))


def learner(most, error=torch.OutOfMemoryError):
    torch.manual_seed(0)
    model = Tight(most, error)
    procedure = Backprop(partial(torch.optim.SGD, lr=0.5, momentum=0.9))
    procedure.bind(model, Classification())
    return model, procedure


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_halved_until_it_fits_with_the_same_update(error):
    (whole, plain), (model, procedure) = learner(30), learner(8, error)
    for _ in range(3):
        expected, got = plain.step(batch()), procedure.step(batch())
        torch.testing.assert_close(got["loss"], expected["loss"])
    torch.testing.assert_close(model.linear.weight, whole.linear.weight, rtol=1e-5, atol=1e-6)
    assert model.seen[:3] == [30, 15, 7]
    assert max(model.seen[3:]) == 7, "it stays at what fits"
    assert procedure.run_metadata() == {"micro_batch": 7}
    told = procedure.pop_notices()
    assert [line[:40] for line in told] == [
        "out of memory with 30 examples at once: ",
        "out of memory with 15 examples at once: ",
    ]
    assert procedure.pop_notices() == []


def test_another_error_is_not_taken_for_it():
    _, procedure = learner(30)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        procedure.step(Batch(torch.randn(4, 6), torch.zeros(4, dtype=torch.int64)))
    assert procedure.run_metadata() == {}


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
            True,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("could not create a primitive"), True),  # oneDNN, under `ulimit -v`
        (RuntimeError("could not create a primitive descriptor for a convolution forward propagation"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_how_libraries_say_it(error, ran_out):
    assert is_out_of_memory(error) is ran_out


def test_what_nobody_mends_is_explained():
    with (
        pytest.raises(TrainingError, match=r"memory ran out \(CUDA out.*a smaller trainer\.batch") as told,
        explain_oom(),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.\nA long story.")
    assert "story" not in str(told.value)
    with pytest.raises(RuntimeError, match="mat1"), explain_oom():
        raise RuntimeError("mat1 and mat2")


def test_a_single_example_that_does_not_fit():
    _, procedure = learner(0)
    with pytest.raises(TrainingError, match=r"single example.*trainer\.precision=bf16"):
        procedure.step(batch())


def test_evaluation_in_smaller_batches_gives_the_same_numbers():
    torch.manual_seed(0)
    model, whole = Tight(30), batch()
    model.train()
    data = SimpleNamespace(eval_batch=30)

    def measure():
        return evaluate(model, Classification(), split_batch(whole, data.eval_batch))

    expected = retry_on_oom(data, measure)
    model.most = 8
    assert retry_on_oom(data, measure) == pytest.approx(expected, rel=1e-6)
    assert data.eval_batch == 7, "and so for the next time"
    assert model.training


def test_an_evaluation_that_fails_leaves_the_model_as_it_was():
    model = Tight(3).train()
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(model, Classification(), [batch()])
    assert model.training


def test_a_run_says_so_and_resumes_exactly(own, train, resume, capsys):
    Path(f"{own}.py").write_text(TIGHT.replace("class Tight", "class Net"))
    short = ("model=mine", f"allow=[{own}]", "trainer.batch=32", "dataset.limit=320", "trainer.epochs=2")
    straight = train("straight", *short)
    assert straight.read()["micro_batch"] == 8
    assert straight.read()["status"] == "finished"
    assert capsys.readouterr().out.count("out of memory with 32 examples at once: going on with 16") == 1
    stopped = train("stopped", *short, "trainer.max_steps=7")
    resume(stopped, trainer__max_steps=None)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert same(one["model"], two["model"])
    assert same(one["procedure"], two["procedure"])
