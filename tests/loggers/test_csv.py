"""`metrics.csv`, read by NumPy and by Python's own reader, and compared with `metrics.jsonl`."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dlx.loggers import jsonl
from dlx.loggers.csv import CSVLogger
from dlx.loggers.run_logger import RunLogger


def read(path: Path) -> dict[str, np.ndarray]:
    """The columns, as NumPy reads them; NaN where there is nothing."""
    table = np.genfromtxt(path, delimiter=",", names=True, deletechars="", encoding="utf-8")
    return {name: table[name] for name in table.dtype.names}


def make(directory: Path, resume_step: int | None = None, **given) -> RunLogger:
    return RunLogger(directory, resume_step, {"csv": CSVLogger()}, **given)


def train(logger: RunLogger, first: int, last: int) -> None:
    """Steps with a validation each ten, and a test at the 40th."""
    for step in range(first, last + 1):
        logger.scalars("train", {"loss": torch.tensor(1 / step), "rate": 0.1}, step)
        if step % 10 == 0:
            logger.epoch = step // 10
            logger.scalars("train", {"lr": 0.5**logger.epoch}, step)
            assert logger.flush() is None
            logger.scalars("val", {"accuracy": 1 - 1 / step}, step)
        if step % 7 == 0:
            assert logger.flush() is None
    if last == 40:
        logger.scalars("test", {"accuracy": 0.5}, 40)
    logger.close()


def test_rows_and_columns(tmp_path: Path) -> None:
    train(make(tmp_path), 1, 40)
    table = read(tmp_path / "metrics.csv")
    assert list(table) == [
        *("step", "epoch", "train/loss", "train/rate", "train/lr"),
        *("val/accuracy", "test/accuracy"),
    ]
    lines = jsonl.read_metrics(tmp_path / "metrics.jsonl")
    assert table["step"].tolist() == [line["step"] for line in lines] == list(range(1, 41))
    assert table["epoch"].tolist() == [line["epoch"] for line in lines]
    for tag in list(table)[2:]:
        given = [line.get(tag, math.nan) for line in lines]
        assert table[tag].tolist() == pytest.approx(given, rel=1e-8, nan_ok=True), tag
    assert [x for x in table["val/accuracy"].tolist() if x == x] == [
        1 - 1 / step for step in (10, 20, 30, 40)
    ]  # all digits


@pytest.mark.parametrize(
    ("saved", "killed"), [(s, k) for s in (0, 1, 7, 10, 20, 29) for k in (3, 20, 21, 27, 29, 40) if s <= k]
)
def test_a_resumed_run_writes_the_uninterrupted_ones_bytes(tmp_path: Path, saved: int, killed: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(make(whole), 1, 40)
    train(make(broken), 1, killed)
    with (broken / "metrics.csv").open("a") as file:
        file.write(f"{killed + 1},9,0.12")  # killed while it wrote
    train(make(broken, resume_step=saved), saved + 1, 40)
    assert (broken / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert sorted(path.name for path in broken.iterdir()) == ["metrics.csv", "metrics.jsonl"]


def test_thinned_rows_are_those_of_the_other_file(tmp_path: Path) -> None:
    train(make(tmp_path, keep=4, every=5), 1, 40)
    steps = [line["step"] for line in jsonl.read_metrics(tmp_path / "metrics.jsonl")]
    assert read(tmp_path / "metrics.csv")["step"].tolist() == steps


def test_names_and_values_out_of_the_ordinary(tmp_path: Path) -> None:
    tags = ["a,b", 'say "no"', "größe", "a\nb"]
    for resume_step, steps in ((None, [1, 2]), (2, [3])):
        logger = make(tmp_path, resume_step)
        for step in steps:
            logger.scalars("val", dict(zip(tags, (math.nan, math.inf, -math.inf, 1e-300), strict=True)), step)
            logger.flush()
        logger.scalars("val", {f"new {steps[-1]}": 2.0}, steps[-1])
        logger.close()
    with (tmp_path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["step", "epoch", *(f"val/{tag}" for tag in tags), "val/new 2", "val/new 3"]
    values = ["nan", "inf", "-inf", "1e-300"]
    assert rows == [["1", "0", *values, "", ""], ["2", "0", *values, "2.0", ""], ["3", "0", *values, "", "2.0"]]


@pytest.mark.parametrize("content", [None, b"", b"step,ep", b"a,b,c\n1,2,3\n"])
def test_resumed_without_a_file_of_ours(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "metrics.csv").write_bytes(content)
    logger = make(tmp_path, resume_step=5)
    logger.scalars("train", {"loss": 0.25}, 6)
    logger.close()
    assert (tmp_path / "metrics.csv").read_text() == "step,epoch,train/loss\n6,0,0.25\n"


def test_rows_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each flush writes the new rows and the last one before them, never the file from its beginning."""
    written: list[int] = []
    write = CSVLogger._write
    monkeypatch.setattr(CSVLogger, "_write", lambda self, rows: (written.append(len(rows)), write(self, rows)))
    logger = make(tmp_path, every=100)
    for step in range(1, 2001):
        logger.scalars("train", dict.fromkeys(("loss", "gradient_norm", "rate"), 0.1), step)
    logger.close()
    assert len(read(tmp_path / "metrics.csv")["step"]) == 2000
    assert sum(written) <= 2000 + len(written)
