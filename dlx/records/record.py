"""Write what a finished run measured as a small JSON file, the record that docs/RESULTS.md is made from."""

import json
import math
import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlx.errors import UsageError
from dlx.records.published import compose_alone, find_overrides, find_run_search_path
from dlx.runs.atomic import write_atomically
from dlx.runs.rundir import Run
from dlx.runs.saved import load_config
from dlx.runs.status import get_status

# Of a machine, what seconds depend on; never its name.
MACHINE_KEYS = ("device", "gpu", "threads", "precision", "processes")


def make_record(run: Run) -> dict[str, Any]:
    """Return the record of a finished run.

    Raises:
        UsageError: the run is not finished, or its experiment is no longer there.
    """
    about = run.read()
    status = get_status(about)
    if status != "finished":
        advice = "wait for it" if status == "running" else f"type dlx resume {run.directory}"
        raise UsageError(f"{run.directory} is {status}, not finished; a record needs final metrics; {advice}")
    experiment = about.get("experiment")
    alone = compose_alone(experiment, find_run_search_path(run.directory))
    return {
        "run": about["id"],
        "experiment": experiment,
        **({} if experiment else {name: about.get(name) for name in ("model", "dataset")}),
        "overrides": find_overrides(alone, load_config(run)),
        "command": _without_places(about.get("command")),
        "seed": about.get("seed"),
        "date": str(about.get("ended", about.get("started", "")))[:10],
        "commit": about.get("git"),
        "versions": about.get("versions", {}),
        "machine": describe_machine(about),
        "parameters": about.get("parameters"),
        "metrics": {name: _make_finite(value) for name, value in about.get("metrics", {}).items()},
        "seconds": about.get("seconds"),
    }


def describe_machine(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was computed on; the processor is null where the run was not trained on this machine."""
    here = about.get("host") == platform.node()
    processor = {"processor": find_processor_name(), "cores": os.cpu_count()} if here else {}
    known = {name: about[name] for name in MACHINE_KEYS if name in about}
    return {"processor": None, "cores": None, **processor, **known}


def find_processor_name() -> str | None:
    """Return the name that the processor gives itself, None where it gives none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def write_record(record: Mapping[str, Any], folder: Path) -> Path:
    """Write a record as `EXPERIMENT/seedN-ID.json`, without an experiment `MODEL-DATASET/…`; return the file.

    Raises:
        UsageError: the file holds the record of another run, or cannot be written.
    """
    name = record["experiment"] or f"{record['model']}-{record['dataset']}"
    file = folder / name / f"seed{record['seed']}-{record['run']}.json"
    if file.exists():
        known = _read(file)
        if [known.get(key) for key in ("run", "experiment", "seed", "command")] != [
            record[key] for key in ("run", "experiment", "seed", "command")
        ]:
            raise UsageError(
                f"{file} holds another run's record ({known.get('command')}, {known.get('date')}); "
                "type --to with another directory, or remove it"
            )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written ({error.strerror}); needed: a writable directory; type --to with another one"
        ) from error
    return file


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _without_places(command: str | None) -> str | None:
    """Return a command without the words that say where data and runs lie on one machine."""
    if command is None:
        return None
    return " ".join(word for word in shlex.split(command) if not word.startswith(("hydra.", "dataset.root=")))


def _make_finite(value: Any) -> Any:
    """Return null for what JSON has no number for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
