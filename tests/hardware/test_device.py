import copy
import os
import random
import signal

import numpy as np
import pytest
import torch
from torch import nn

from dlx.errors import UsageError
from dlx.hardware.device import (
    apply_channels_last,
    available_devices,
    choose_cudnn_benchmark,
    choose_matmul_precision,
    choose_threads,
    select_device,
)
from dlx.hardware.random_state import get_random_state, seed_everything, set_random_state
from dlx.hardware.signals import catch_interrupts
from dlx.models.boltzmann.rbm import RBM

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_an_absent_device_says_which_exist():
    with pytest.raises(UsageError, match=r"cuda:99.*cpu.*trainer\.device="):
        select_device("cuda:99")
    with pytest.raises(UsageError, match="abacus"):
        select_device("abacus")


def test_auto_is_the_best_device_present():
    assert select_device("auto").type == available_devices()[-1].split(":")[0]
    assert select_device("cpu") == torch.device("cpu")


def test_random_state_round_trip_covers_every_generator():
    seed_everything(3)
    state = get_random_state()
    first = (torch.rand(3).tolist(), random.random(), np.random.rand())
    set_random_state(state)
    assert (torch.rand(3).tolist(), random.random(), np.random.rand()) == first


def test_small_models_take_one_thread():
    assert choose_threads("auto", 1e5) == 1
    assert torch.get_num_threads() == 1
    assert choose_threads(2, 1e5) == 2
    assert torch.get_num_threads() == 2


def test_product_kernels_are_settable_and_small_products_keep_the_default():
    assert choose_matmul_precision("auto", nn.Linear(64, 32), 32, CPU) == "highest"
    assert choose_matmul_precision("medium", nn.Linear(64, 32), 32, CPU) == "medium"
    assert torch.get_float32_matmul_precision() == "medium"


def test_product_kernels_are_chosen_by_matrices_wherever_they_stand():
    """A Boltzmann machine has no nn.Linear; a table that is looked up is not multiplied."""
    chosen = choose_matmul_precision("auto", nn.Linear(784, 500), 100, CPU)
    assert choose_matmul_precision("auto", RBM([784], hidden=500), 100, CPU) == chosen
    assert choose_matmul_precision("auto", nn.Embedding(784, 500), 100, CPU) == "highest"


@pytest.mark.parametrize(
    ("wanted", "products", "convolutions"),
    [("auto", "highest", True), ("highest", "highest", False), ("high", "high", True)],
)
def test_tf32_on_a_gpu(monkeypatch, wanted, products, convolutions):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not convolutions)
    assert choose_matmul_precision(wanted, nn.Linear(784, 500), 100, GPU) == products
    assert torch.backends.cudnn.allow_tf32 is convolutions


@pytest.mark.parametrize(
    ("model", "device", "on"),
    [(nn.Conv2d(3, 8, 3), GPU, True), (nn.Conv2d(3, 8, 3), CPU, False), (nn.LSTM(3, 8), GPU, False)],
)
def test_cudnn_is_timed_where_sizes_stay(monkeypatch, model, device, on):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not on)
    assert choose_cudnn_benchmark(model, device) is on
    assert torch.backends.cudnn.benchmark is on


def test_faster_products_are_as_accurate():
    """Where `auto` chooses oneDNN's kernels they must not compute in bfloat16 (relative error 4e-3)."""
    wide = nn.Linear(784, 512)
    choose_matmul_precision("auto", wide, 128, CPU)
    torch.manual_seed(0)
    a, b = torch.randn(128, 784), torch.randn(784, 512)
    exact = a.double() @ b.double()
    assert float(((a @ b).double() - exact).norm() / exact.norm()) < 2e-6


def test_the_first_signal_is_heard_and_the_second_stops():
    before = signal.getsignal(signal.SIGINT)
    with catch_interrupts() as heard:
        assert not heard
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard
        assert heard.name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("model", "device", "precision", "chosen"),
    [
        (nn.Conv2d(3, 8, 3), "cpu", "32", True),
        (nn.Linear(3, 8), "cpu", "32", False),
        (nn.Conv2d(3, 8, 3), "cuda", "32", False),
        (nn.Conv2d(3, 8, 3), "cuda", "bf16", True),
        (nn.Conv2d(3, 8, 3), "mps", "32", False),
    ],
)
def test_channels_last_where_it_is_faster(model, device, precision, chosen):
    model = copy.deepcopy(model)
    assert apply_channels_last("auto", model, torch.device(device), precision) is chosen
    if chosen:
        assert model.weight.is_contiguous(memory_format=torch.channels_last)


def test_channels_last_changes_the_memory_alone(train):
    """The same run in both orders: the same checkpoint to rounding."""
    short = ("model=lenet5", "dataset.limit=320", "trainer.epochs=2")
    one, two = (train(str(on), *short, f"trainer.channels_last={on}") for on in (True, False))
    states = [torch.load(run.checkpoints / "last.pt", weights_only=True)["model"] for run in (one, two)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-3, atol=1e-5)
