"""`dlx sweep`: search for the best settings; the same command again continues the search."""

import re
from typing import Any

import click

from dlx.errors import UsageError
from dlx.sweeps.record import ROOT, read_record
from dlx.sweeps.settings import PRUNERS, SAMPLERS


class SweepCommand(click.Command):
    """A command whose `--prune` may stand without a value, whatever follows it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse options and words; a bare `--prune` means median."""
        for place, word in enumerate(args):
            following = args[place + 1 : place + 2]
            if word == "--prune" and (not following or following[0].startswith("-") or "=" in following[0]):
                args[place] = "--prune=median"
        return super().parse_args(ctx, args)


@click.command("sweep", cls=SweepCommand)
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[KEY=CHOICES]...")
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Runs in all; 20, or all points of a grid.")
@click.option("--metric", metavar="METRIC", help="What is optimised; what the task chooses by, such as val/accuracy.")
@click.option("--sampler", type=click.Choice(SAMPLERS), help="tpe unless told otherwise.")
@click.option("--prune", type=click.Choice(PRUNERS), help="End runs early that fall behind; median if none is named.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Of the sampler; 0.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Runs at a time, in processes of their own.")
@click.option("--config-dir", "-cd", metavar="DIR", help="A further directory of configuration files.")
def command(
    name: str,
    overrides: tuple[str, ...],
    jobs: int | None,
    config_dir: str | None,
    **settings: Any,
) -> int:
    """Search for the best settings, in outputs/sweeps/NAME.

    KEY=CHOICES is what varies: model=mlp,lenet5, 'optimizer.lr=log(1e-4,1e-1)', 'model.dropout=interval(0,0.5)',
    'model.hidden=[64],[64,64]', 'trainer.batch=range(16,129,16)'; seed=1,2,3 runs every point with each seed.
    KEY=VALUE is the same in all runs. Without them a sweep that was begun goes on.
    """
    from dlx.cli import application

    if not re.fullmatch(r"\w[\w.+-]*", name):
        better = f"NAME {name}" if "=" in name else re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "NAME"
        raise UsageError(
            f"{name} was given as a sweep's name; needed: letters, digits and any of - _ + . (it lies in {ROOT}/NAME); "
            f"type dlx sweep {better}"
        )
    directory = ROOT / name
    begun = read_record(directory)
    words = list(overrides)
    if not any(not word.lstrip("+~").startswith("hydra") for word in words):
        if begun is None:
            known = sorted(file.parent.name for file in ROOT.glob("*/sweep.json"))
            there = f"; there are {', '.join(known)}" if known else ""
            raise UsageError(
                f"there is no sweep {name} to go on with, and no space was given{there}; "
                f"type dlx sweep {name} 'optimizer.lr=log(1e-4,1e-1)' model=mlp,svm"
            )
        words += begun.overrides
    other = next((word for word in words if word.startswith("hydra/launcher=")), None)
    if jobs is not None and other is not None:
        raise UsageError(
            f"--jobs {jobs} and {other} were given; needed: one of them; --jobs is hydra/launcher=processes"
        )
    given = [f"hydra.sweeper.{key}={value}" for key, value in settings.items() if value is not None]
    launcher = ["hydra/launcher=processes", f"hydra.launcher.jobs={jobs}"] if jobs and jobs > 1 else []
    options = ["--config-dir", config_dir] if config_dir else []
    chosen = ["hydra/sweeper=dlx_optuna", f"hydra.sweep.dir={directory}", *given, *launcher]
    return application.run(["--multirun", *options, *words, *chosen])
