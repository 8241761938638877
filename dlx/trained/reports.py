"""Write a task's report on a split: CSV for tables, JSON for all of it."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlx.errors import UsageError
from dlx.runs.atomic import write_atomically
from dlx.tasks.scores import Report


def as_document(split: str, metrics: Mapping[str, float], report: Report) -> dict[str, Any]:
    """Return metrics and report as one JSON document."""
    return {
        "split": split,
        "metrics": dict(metrics),
        "rows": report.rows,
        "confusion": report.confusion,
        "remarks": report.remarks,
    }


def write(folder: Path, split: str, metrics: Mapping[str, float], report: Report) -> list[Path]:
    """Write the files of a report, and return their paths; numbers read back as they are.

    Raises:
        UsageError: the folder cannot be written.
    """
    paths = [folder / f"report-{split}.csv", folder / f"report-{split}.json"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_csv(paths[0], report.rows)
        document = _without_nan(as_document(split, metrics, report))
        write_atomically(paths[1], json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        if report.confusion:
            paths.append(folder / f"confusion-{split}.csv")
            _write_csv(paths[2], report.confusion)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written ({error.strerror}); needed: a folder; type -o with one"
        ) from error
    return paths


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
