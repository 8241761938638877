"""`dlx resume`: continue a run where it stopped."""

import sys
from typing import Any

import click
from omegaconf import DictConfig, OmegaConf

from dlx.distributed import launch
from dlx.errors import UsageError
from dlx.hardware import processes
from dlx.runs.rundir import Run, find_run
from dlx.runs.status import is_alive
from dlx.terminal.terminal import print_line


@click.command("resume")
@click.argument("name", metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--accept-changed-data", "accept", is_flag=True, help="Go on although the data is not what it was.")
def command(name: str, overrides: tuple[str, ...], accept: bool) -> None:
    """Go on in the same run directory, from its newest whole checkpoint.

    RUN is a directory, a run's id, or `last`. KEY=VALUE may change how long (trainer.epochs, trainer.max_steps,
    trainer.patience) and where (trainer.device, dataset.root) it learns, and what it logs and saves; what would have
    made it another run is refused. A schedule that ends with the run, such as scheduler=cosine, goes on where the
    longer one stands. Data that has changed since is refused, unless --accept-changed-data says that it may.
    """
    from dlx.runs.saved import RESUME_KEYS, stretch_schedule
    from dlx.runs.trust import load_trusted_config

    run = find_run(name, allow_failed=True)
    about = run.read()
    if about.get("status") == "running" and is_alive(about):
        raise UsageError(
            f"{run.directory} is still being trained (process {about.get('pid')} on {about.get('host')}); "
            f"wait for it, or stop it: kill -INT {about.get('pid')} lets it save"
        )
    config = stretch_schedule(run, load_trusted_config(run, overrides, RESUME_KEYS, "resume"))
    processes.check_strategy(config.trainer)
    nothing = _explain_nothing_left(run, about, config)
    if nothing:
        print_line(nothing)
        return
    count = launch.count_processes_to_launch(config.trainer)
    if count > 1:
        sys.exit(launch.launch(["resume", name, *overrides, *(["--accept-changed-data"] if accept else [])], count))
    from dlx.run import resume

    resume(run, config, accept_changed_data=accept)


def _explain_nothing_left(run: Run, about: dict[str, Any], config: DictConfig) -> str | None:
    """Return why a finished run would not continue, and what to type; None if it would."""
    if about.get("status") != "finished":
        return None
    from dlx.training.checkpoint import Checkpoints

    content, _ = Checkpoints(run.checkpoints).load_latest()
    if content["procedure"].get("done"):
        return "nothing left to do: another pass would change nothing; type dlx train … for a new run"
    again = f"type dlx resume {run.directory}"
    epoch, step = int(about.get("epoch", 0)) - content["procedure"].get("extra", 0), int(about.get("step", 0))
    trainer = config.trainer
    if trainer.epochs is not None and epoch >= trainer.epochs:
        return f"nothing left to do: {epoch} of {trainer.epochs} epochs are done; {again} trainer.epochs={2 * epoch}"
    if trainer.get("max_steps") is not None and step >= trainer.max_steps:
        more = f"trainer.max_steps={2 * step}, or trainer.max_steps=null"
        return f"nothing left to do: {step} of {trainer.max_steps} steps are done; {again} {more}"
    waited, patience = content["trainer"]["waited"], trainer.get("patience")
    if patience is not None and waited >= patience:
        return (
            f"nothing left to do: it stopped early, after {waited} validations without a better one; "
            f"{again} trainer.patience={2 * waited}, or trainer.patience=null"
        )
    spent = content["trainer"].get("callbacks", {}).get("time_limit", {}).get("seconds", 0.0)
    minutes = OmegaConf.select(config, "callbacks.time_limit.minutes")
    if minutes is not None and spent >= 60 * minutes:
        from dlx.training.callbacks.time_limit import suggest_minutes

        more = f"callbacks.time_limit.minutes={suggest_minutes(minutes, spent)}"
        return f"nothing left to do: its {minutes:g} minutes are used up; {again} {more}"
    return None
