"""One competitor of the benchmark: sets up, warms up, then trains whole epochs whenever it hears a line.

Prints `BENCH seconds steps`: first the seconds from the first step's start to its end (compilation included), then
those of each turn.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from tests.bench import markov

Turn = Callable[[int], None]  # trains so many epochs


class Case(NamedTuple):
    """What is trained: a network of dlx's, and the size of a turn."""

    model: tuple[str, ...]  # overrides
    shape: tuple[int, ...]
    batch: int
    examples: int
    epochs: int  # of a turn
    hidden: tuple[int, ...] = ()  # of an MLP


CASES = {
    "tiny": Case(("model=mlp", "model.hidden=[32]"), (64,), 32, 1440, 40, (32,)),
    "mlp": Case(("model=mlp", "model.hidden=[256,256]"), (784,), 128, 12800, 3, (256, 256)),
    "lenet5": Case(("model=lenet5",), (1, 28, 28), 64, 6400, 1),
    "resnet20": Case(("model=resnet20", "model.shortcut=project"), (3, 32, 32), 128, 1024, 1),
    "lstm": Case(("model=lstm", "dataset.layout=sequence"), (64, 28), 32, 640, 1),
    "gru": Case(("model=gru", "dataset.layout=sequence"), (64, 28), 32, 640, 1),
}


def data(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels: random, since only the time counts."""
    _, shape, _, examples, *_ = CASES[case]
    random = np.random.default_rng(0)
    return random.random((examples, *shape), dtype=np.float32), random.integers(0, 10, examples)


def network(case: str):
    """The same network written in plain torch.nn, the residual one of torchvision's blocks."""
    from torch import nn

    if case == "resnet20":
        return resnet20()
    if case in ("lstm", "gru"):
        return recurrent(case)
    if case == "lenet5":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip
    sizes = [*CASES[case].shape, *CASES[case].hidden]
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))


def resnet20():
    """He et al.'s network for CIFAR of torchvision's basic blocks, with their shortcuts of 1×1 convolutions."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock

    layers, inputs = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)], 16
    for channels in (16, 32, 64):
        for number in range(3):
            stride, shortcut = 1, None
            if number == 0 and channels != inputs:
                stride = 2
                shortcut = nn.Sequential(nn.Conv2d(inputs, channels, 1, 2, bias=False), nn.BatchNorm2d(channels))
            layers.append(BasicBlock(inputs, channels, stride, shortcut))
            inputs = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def recurrent(case: str):
    """A network that reads a sequence of 28 features a step and answers after the last."""
    from torch import nn

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[case](28, 128, batch_first=True)
            self.readout = nn.Linear(128, 10)

        def forward(self, x):
            return self.readout(self.rnn(x)[0][:, -1])

    return Last()


def bare(case: str, low: bool = False) -> Turn:
    """The loop that a good engineer writes by hand; `low` in bfloat16 and with channels last."""
    import torch
    import torch.nn.functional as F

    x, y = map(torch.from_numpy, data(case))
    batch = CASES[case].batch
    model = network(case)
    if low:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def turn(epochs: int) -> None:
        for _ in range(epochs):
            for index in torch.randperm(len(x)).split(batch):
                with torch.autocast("cpu", torch.bfloat16, enabled=low):
                    loss = F.cross_entropy(model(x[index]), y[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return turn


def dlx(case: str, threads: int, *overrides: str) -> Turn:
    """dlx's own loop, with its logger, checkpoints and progress, over a run directory."""
    from dlx.config.compose import compose
    from dlx.loggers.choice import make_loggers
    from dlx.loggers.run_logger import RunLogger
    from dlx.parts import assemble
    from dlx.terminal.progress import Progress
    from dlx.training.checkpoint import Checkpoints

    place = Path(tempfile.mkdtemp())
    x, y = data(case)
    np.savez(place / "data.npz", x=x, y=y)
    sizes = ["dataset=npz", f"dataset.path={place}/data.npz", "dataset.val=0", "dataset.test=0"]
    lengths = [f"trainer.batch={CASES[case].batch}", f"trainer.threads={threads}", "trainer.validate_every=0"]
    config = compose([*CASES[case].model, *sizes, *lengths, *overrides])
    parts = assemble(config)
    trainer, checkpoints = parts.trainer, Checkpoints(place / "checkpoints")
    logger, progress = RunLogger(place, loggers=make_loggers(config), every=trainer.flush_every), Progress()

    def turn(epochs: int) -> None:
        trainer.finished, trainer.epochs = False, trainer.epoch + epochs
        trainer.fit(parts.model, parts.task, parts.procedure, parts.data, logger, checkpoints, progress)

    return turn


def lightning(case: str) -> Turn:
    """Lightning's Trainer as it comes, logging to TensorBoard."""
    import lightning
    import torch
    import torch.nn.functional as F
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network(case)

        def training_step(self, batch, index):
            x, y = batch
            loss = F.cross_entropy(self.network(x), y)
            self.log("train/loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    loader = DataLoader(TensorDataset(*map(torch.from_numpy, data(case))), batch_size=CASES[case].batch, shuffle=True)
    module, place = Module(), tempfile.mkdtemp()

    def turn(epochs: int) -> None:
        logger = TensorBoardLogger(place)
        lightning.Trainer(max_epochs=epochs, accelerator="cpu", logger=logger, default_root_dir=place).fit(
            module, loader
        )

    return turn


def keras(case: str) -> Turn:
    """Keras's fit as it comes, without its progress bar."""
    import keras

    _, shape, batch, _, _, hidden = CASES[case]
    layers = keras.layers
    if case == "lenet5":
        body = [
            layers.Conv2D(6, 5, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
            layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"),
        ]  # fmt: skip
        shape = (*shape[1:], shape[0])
    elif case in ("lstm", "gru"):
        body = [{"lstm": layers.LSTM, "gru": layers.GRU}[case](128)]
    else:
        body = [layers.Dense(units, activation="relu") for units in hidden]
    model = keras.Sequential([keras.Input(shape), *body, layers.Dense(10)])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=keras.losses.SparseCategoricalCrossentropy(True))
    x, y = data(case)
    x = x.reshape(-1, *shape)
    return lambda epochs: model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)


def main() -> None:
    """Serve turns until standard input ends."""
    name, case, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    told, sys.stdout = sys.stdout, sys.stderr  # what a competitor prints is not the result
    import torch

    torch.set_num_threads(threads)
    # On one thread the processor's time, so that what else the machine does counts less.
    clock = time.process_time if threads == 1 else time.perf_counter
    started = clock()
    if case in markov.CASES:
        turn, steps = markov.turn(name, case)
        serve(turn, steps, steps, clock, started, told)
        return
    turns = {
        "bare": lambda: bare(case),
        "bare_low": lambda: bare(case, low=True),
        "dlx": lambda: dlx(case, threads),
        "dlx_low": lambda: dlx(case, threads, "trainer.precision=bf16"),
        "dlx_compiled": lambda: dlx(case, threads, "procedure.compile=step"),
        "lightning": lambda: lightning(case),
        "keras": lambda: keras(case),
    }
    _, _, batch, examples, epochs, _ = CASES[case]
    serve(turns[name](), epochs, -(-examples // batch) * epochs, clock, started, told)


def serve(turn: Turn, epochs: int, steps: int, clock: Callable[[], float], started: float, told: TextIO) -> None:
    """Take a turn of so many epochs, or steps, whenever a line is heard."""
    turn(1)
    print("BENCH", clock() - started, steps, file=told, flush=True)
    turn(epochs)
    for _ in sys.stdin:
        started = clock()
        turn(epochs)
        print("BENCH", clock() - started, steps, file=told, flush=True)


if __name__ == "__main__":
    main()
