"""`dlx tensorboard`: show the curves in a browser."""

import importlib.util
import os
import socket
import sys
from pathlib import Path

import click

from dlx.errors import UsageError
from dlx.runs.rundir import ROOT, find_run
from dlx.terminal.terminal import print_line

FIRST_PORT, PORTS_TRIED = 6006, 50


@click.command("tensorboard")
@click.argument("place", required=False, metavar="[RUN|DIR]")
@click.option("--port", type=click.IntRange(0, 65535), help=f"Default: the first free one from {FIRST_PORT}.")
@click.option("--host", default="localhost", show_default=True, help="0.0.0.0 to be seen from other machines.")
def command(place: str | None, port: int | None, host: str) -> None:
    """Show curves, pictures and hyperparameters of one run, or of all runs below a directory.

    Without RUN or DIR it shows all runs below outputs/.
    """
    directory = _find_directory(place)
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("tensorboard is not installed; type pip install tensorboard")
    port = _find_free_port(host) if port is None else port
    print_line(f"{directory} at http://{host}:{port}/ (Ctrl-C to stop)", flush=True)
    arguments = ["--logdir", str(directory), "--port", str(port), "--host", host]
    # -P: with -m alone Python would look for modules in the working directory first, whoever wrote them.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "tensorboard.main", *arguments])


def _find_directory(place: str | None) -> Path:
    if place is None:
        if not ROOT.is_dir():
            raise UsageError(f"there is no {ROOT}/ here; type dlx train first, or dlx tensorboard DIR")
        return ROOT
    return Path(place) if Path(place).is_dir() else find_run(place, allow_failed=True).directory


def _find_free_port(host: str) -> int:
    """Return the first port that nothing listens on."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise UsageError(f"ports {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} are all taken; type --port with a free one")
