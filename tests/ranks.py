"""Trainings for `distributed/test_distributed.py`: by one process, or by each of those that torchrun started."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import dlx  # noqa: F401 - before torch: it decides how threads wait

FULL = ["dataset=digits", "dataset.limit=250"]  # two batches of 100 examples, and one of 50
IMAGES = [
    "dataset=digits28",
    "dataset.limit=100",
    "model.layers=[{conv: 4, kernel: 3, batch_norm: %s},{average_pool: 4}]",
]
# What learns, but for `trainer.batch`, which is 100 of all processes together.
CASES = {
    "mlp": [*FULL, "model=mlp", "optimizer=momentum", "optimizer.lr=0.1"],
    "odd": ["dataset=digits", "dataset.limit=201", "model=mlp", "procedure.clip_norm=0.5", "model.l2=1e-3"],
    "accumulated": [*FULL, "model=mlp", "procedure.accumulate=2", "procedure.clip_value=0.01"],
    "uneven": ["dataset=digits", "dataset.limit=201", "model=mlp", "procedure.accumulate=2", "optimizer=momentum"],
    "cnn": ["model=cnn", IMAGES[0], IMAGES[1], IMAGES[2] % "false", "optimizer=momentum"],
    "synchronised": [
        "model=cnn",
        "dataset=digits28",
        "dataset.limit=150",
        IMAGES[2] % "true",
        "model.activation=tanh",  # nothing that jumps where rounding decides
        "optimizer=sgd",
        "trainer.sync_batch_norm=true",
    ],
    "plateau": [*FULL, "model=mlp", "scheduler=plateau", "scheduler.patience=0", "trainer.patience=2"],
    "truncated": [
        "dataset=casino",
        "dataset.longest=50",
        "model=gru",
        "model.hidden=8",
        "procedure=tbptt",
        "procedure.k=20",
        "dataset.limit=150",
    ],
    "made": ["dataset=copy", "dataset.examples=200", "model=lstm", "model.hidden=8"],
    "rbm": [*FULL, "model=rbm", "model.hidden=10"],
    "dbn": [*FULL, "model=dbn", "model.hidden=[20,10]", "procedure.pretrain.epochs=1"],
    "gan": [
        "model=gan",
        "dataset=ring",
        "dataset.limit=200",
        "model.latent=4",
        "model.generator=[16]",
        "model.discriminator=[16]",
        "model.batch_norm=true",
        "optimizer=momentum",  # Adam would make much of the biases' gradients, which are zero but for rounding
        "trainer.sync_batch_norm=true",
    ],
    "hinge": [
        "model=gan",
        "dataset=ring",
        "dataset.limit=200",
        "procedure.loss=hinge",
        "model.generator=[16]",
        "model.discriminator=[16]",
    ],
    "categorical_hmm": ["model=categorical_hmm", "dataset.examples=100", "trainer.epochs=4"],
    "gaussian_hmm": ["model=gaussian_hmm", "dataset.examples=100", "trainer.epochs=4"],
}
SHARDED = ["mlp", "odd", "accumulated", "uneven", "cnn", "synchronised"]


def still() -> None:
    """Take the chance out of learners that draw: each process draws by itself, so none of them could be compared."""
    import torch

    from dlx.distributed.group import current_group
    from dlx.models.adversarial import gan_base
    from dlx.models.boltzmann import units

    def latent(self, n: int) -> torch.Tensor:  # of each of all processes' examples its own
        place = torch.arange(n)[:, None] + current_group().rank * n
        return torch.sin((1.0 + place) * (1.0 + torch.arange(self.latent_size)))

    units.Binary.draw = units.Binary.mean  # type: ignore[method-assign]
    gan_base.GANBase.latent = latent  # type: ignore[method-assign]


def all_cases(strategies: list[str], root: Path, batch: int) -> list[Callable[[], object]]:
    """The trainings, each to be called by all processes; run directories are `root/<strategy>-<case>`."""
    from dlx.config.compose import compose
    from dlx.run import train_in

    calls = []
    for strategy in strategies:
        for name in CASES if strategy != "fsdp" else SHARDED:
            words = ["trainer.device=cpu", "trainer.epochs=3", "trainer.threads=1", *CASES[name]]
            words += [f"trainer.batch={batch}", f"trainer={strategy}", "trainer.pictures=false"]
            config = compose(words)

            def call(directory=root / f"{strategy}-{name}", config=config):
                return train_in(directory, config, {})

            calls.append(call)
    return calls


def check_normalisation() -> None:
    """Values and gradients of synchronised batch normalization, of unequal portions, are those of torch's over all."""
    import torch
    from torch import nn

    from dlx.distributed.batch_norm import SyncBatchNorm
    from dlx.distributed.group import current_group

    torch.manual_seed(0)
    x, w = torch.randn(2, 10, 3, 5, 5, dtype=torch.float64)
    whole, part = nn.BatchNorm2d(3).double(), nn.BatchNorm2d(3).double()
    ours = SyncBatchNorm(part)
    low, high = ((0, 4), (4, 10))[current_group().rank]
    x_whole, x_part = x.clone().requires_grad_(), x[low:high].clone().requires_grad_()
    y = whole(x_whole)
    (y * w).square().mean().backward()
    mine = ours(x_part)
    ((mine * w[low:high]).square().mean() * (high - low) / 10).backward()
    assert ours.weight is not None
    weight, bias = current_group().sum_gradients([ours.weight.grad, ours.bias.grad])
    close = torch.testing.assert_close
    close(mine, y[low:high])
    close(x_part.grad, x_whole.grad[low:high])
    close([weight, bias], [whole.weight.grad, whole.bias.grad])
    close(ours.state_dict(), whole.state_dict())


def resume_all(root: Path) -> None:
    """Runs that were begun by one process, or by both, and are taken up by both."""
    from dlx.config.compose import compose
    from dlx.distributed.group import single_process
    from dlx.run import resume, train_in
    from dlx.runs.rundir import Run

    short = ["trainer.device=cpu", "trainer.threads=1", "trainer.pictures=false"]
    draws = {  # every process by itself
        "dropout": [*short, *FULL, "model=mlp", "model.dropout=0.5", "trainer=ddp", "trainer.max_steps=2"],
        "sharded": [*short, *FULL, "model=mlp", "model.dropout=0.5", "trainer=fsdp", "trainer.max_steps=2"],
        "chains": [
            *short,
            *FULL,
            "model=rbm",
            "model.hidden=10",
            "procedure.persistent=true",
            "trainer=ddp",
            "trainer.max_steps=2",
        ],
        "counts": [
            *short,
            "model=categorical_hmm",
            "dataset.examples=100",
            "trainer.batch=20",
            "trainer=ddp",
            "trainer.max_steps=1",
        ],
    }
    for name, words in draws.items():
        config = compose(words)
        begun = train_in(root / f"begun-{name}", config, {})
        for key, value in {"max_steps": None, "epochs": 2}.items():
            config.trainer[key] = value
        resume(begun, config)
        train_in(root / f"whole-{name}", config, {})
    config = compose([*short, *CASES["mlp"], "trainer=ddp", "trainer.batch=100", "trainer.epochs=2"])
    with single_process():
        lone = train_in(root / "begun-alone", config, {})
    config.trainer.epochs = 3
    resume(Run(lone.directory), config)


if __name__ == "__main__":
    still()
    from omegaconf import OmegaConf

    from dlx.cli.worker import NullRun
    from dlx.distributed.group import current_group
    from dlx.distributed.join import join_group, leave_after_barrier
    from dlx.run import resume, train_in

    join_group()
    check_normalisation()
    if current_group().rank == 0:
        for case in all_cases(["ddp", "fsdp"], Path(sys.argv[1]), 50):
            case()
        resume_all(Path(sys.argv[1]))
        current_group().broadcast(None)
    else:
        while told := current_group().broadcast(None):
            verb, config = told[0], OmegaConf.create(told[1])
            train_in(Path(os.devnull), config, {}) if verb == "train" else resume(NullRun(), config)
    leave_after_barrier()
