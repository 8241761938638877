"""`dlx doctor`: what this machine has, what is wrong, and what to type."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from dlx.config.extras import EXTRAS
from dlx.datasets.files import get_download_root, list_roots
from dlx.runs.rundir import PACKAGES, ROOT, version

SPACE = 2**30  # bytes; less than this is soon full of checkpoints


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON map.")
def command(as_json: bool) -> None:
    """Versions, devices, writable directories, data found; exit code 1 if something is wrong."""
    from dlx.terminal import terminal

    report = examine()
    if as_json:
        terminal.print_json(report)
    else:
        areas = {area: content for area, content in report.items() if area != "problems"}
        terminal.print_table([{"": area, "what": key, "is": is_} for area in areas for key, is_ in _items(areas[area])])
        for problem in report["problems"]:
            print(f"! {problem}")
        print("something is wrong; see above" if report["problems"] else "everything is well")
    if report["problems"]:
        sys.exit(1)


def examine() -> dict[str, Any]:
    """Everything found, and `problems`: a list of what is wrong and what to type."""
    problems: list[str] = []
    return {
        "versions": _versions(problems),
        "extras": {name: _extra(name, packages) for name, packages in EXTRAS.items()},
        "devices": _devices(problems),
        "directories": _directories(problems),
        "data": _data(problems),
        "problems": problems,
    }


def _items(area: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key, ", ".join(map(str, v)) if isinstance(v, list) else str(v)) for key, v in area.items()]


def _versions(problems: list[str]) -> dict[str, str]:
    found = {"python": sys.version.split()[0], **{name: version(name) or "missing" for name in PACKAGES}}
    missing = [name for name, number in found.items() if number == "missing" and name != "dlx"]
    if missing:
        problems.append(f"{', '.join(missing)} missing; type pip install {' '.join(missing)}")
    return found


def _extra(name: str, packages: tuple[str, ...]) -> str:
    missing = [package for package in packages if version(package) is None]
    return f"without {', '.join(missing)}: pip install {' '.join(missing)}" if missing else "installed"


def _devices(problems: list[str]) -> dict[str, Any]:
    try:
        import torch

        from dlx.hardware.device import available_devices

        found: dict[str, Any] = {"devices": available_devices(), "processors": os.cpu_count() or 1}
        found["threads"] = torch.get_num_threads()
        found["cuda"] = torch.version.cuda or "not in this build of torch"
        for index in range(torch.cuda.device_count()):
            known = torch.cuda.get_device_properties(index)
            found[f"cuda:{index}"] = f"{known.name}, {known.total_memory / 2**30:.0f} GiB"
    except ImportError as error:
        problems.append(f"torch cannot be imported ({error}); type pip install --force-reinstall torch")
        return {"devices": []}
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        problems.append(
            "nvidia-smi is here, but torch sees no GPU; its driver may be too old for this build, or the build has no "
            "CUDA: see pytorch.org/get-started"
        )
    return found


def _directories(problems: list[str]) -> dict[str, str]:
    places = {"outputs": ROOT, "data": get_download_root(), "temporary": Path(tempfile.gettempdir())}
    return {name: _writable(name, path, problems) for name, path in places.items()}


def _writable(name: str, path: Path, problems: list[str]) -> str:
    place = path.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        if name == "data":
            return f"{path} (not writable: nothing can be downloaded to it)"
        advice = "type hydra.run.dir=… with another one" if name == "outputs" else "set TMPDIR"
        problems.append(f"{path} cannot be written; {advice}")
        return f"{path} (not writable)"
    free = shutil.disk_usage(place).free
    if free < SPACE:
        problems.append(f"{path} has only {free / 2**20:.0f} MiB left; free some space")
    return f"{path} (writable, {free / 2**30:.0f} GiB free)"


def _data(problems: list[str]) -> dict[str, Any]:
    """What lies in each folder in which data is looked for."""
    given = os.environ.get("DLX_DATA")
    if given and not Path(given).expanduser().is_dir():
        problems.append(f"DLX_DATA={given} is no folder; type export DLX_DATA=… with the one that holds your data")
    found = {
        str(root): sorted(path.name for path in root.iterdir()) if root.is_dir() else ["no such folder"]
        for root in list_roots()
    }
    return {**found, "always there": ["digits", "iris", "wine", "breast_cancer", "diabetes"]}
