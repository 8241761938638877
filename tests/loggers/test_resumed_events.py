"""The event files of an interrupted and resumed run hold what those of an uninterrupted one hold, and nothing twice."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from dlx.loggers.histogram import compute_histogram
from dlx.loggers.run_logger import RunLogger
from dlx.loggers.tensorboard.events import EventFile
from dlx.loggers.tensorboard.tensorboard import TensorBoardLogger

TIMED = ("per_second", "_hparams_/")  # what no two runs have in common


def read_events(directory: Path) -> Counter:
    """Everything in a run's event files, by TensorBoard's own reader, without times."""
    found: Counter = Counter()
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            found.update([("graph", event.graph_def)] if event.graph_def else [])
            for value in event.summary.value:
                timed = any(word in value.tag for word in TIMED)
                found[value.tag, event.step, b"" if timed else value.SerializeToString()] += 1
    return found


def log(directory: Path, first: int, last: int, resume_step: int | None = None, is_over: bool = True) -> None:
    """Ten steps an epoch; what an epoch ends with comes after the checkpoint that may be saved at its last step."""
    logger = RunLogger(directory, resume_step, {"tensorboard": TensorBoardLogger()}, every=3)
    logger.hparams({"seed": 1})
    if resume_step is None:
        logger.config("seed: 1")
    for step in range(first, last + 1):
        if step > (resume_step or 0):
            logger.scalars("train", {"loss": torch.tensor(1 / step)}, step)
        if step % 10 == 0:
            logger.epoch = step // 10
            logger.scalars("train", {"steps_per_second": random.random()}, step)
            logger.scalars("val", {"accuracy": 1 - 1 / step}, step)
            logger.histograms(lambda step=step: {"w": compute_histogram(torch.arange(9.0) * step)}, step)
            logger.images("x", torch.full((4, 4), 1 / step), step)
            logger.text("news", f"epoch {logger.epoch}", step)
        if step % 3 == 0:
            logger.flush()
    logger.flush()
    if is_over:
        logger.hparams({"seed": 1}, {"val/accuracy": 1 - 1 / last, "val/best_accuracy": 1 - 1 / last})
    logger.close()


@pytest.mark.parametrize("saved", [1, 7, 9, 10, 11, 20, 29, 30])
@pytest.mark.parametrize("killed", [0, 1, 4, 11])
def test_a_resumed_run_has_each_point_once(saved, killed, tmp_path):
    """Killed some steps after its checkpoint, at whose step the epoch's values may be logged already or not."""
    log(tmp_path / "whole", 1, 30)
    broken = tmp_path / "broken"
    log(broken, 1, min(saved + killed, 30), is_over=False)
    newest = max(broken.glob("events.*"))
    with newest.open("ab") as file:
        file.write(newest.read_bytes()[40:77])  # a record that the kill cut short
    log(broken, saved, min(saved + 2, 30), resume_step=saved, is_over=False)  # killed again before it saves
    log(broken, saved, 30, resume_step=saved)
    whole = read_events(tmp_path / "whole")
    assert read_events(broken) == whole
    assert max(whole.values()) == 1


@pytest.mark.parametrize("size", range(1, 120, 7))
def test_a_file_torn_at_any_byte_is_read_up_to_there(size, tmp_path):
    """A power cut leaves zeros where bytes had not reached the disk."""
    log(tmp_path, 1, 6, is_over=False)
    (file,) = tmp_path.glob("events.*")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - size] + bytes(size))
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / file.name).write_bytes(data[: len(data) - size])
    EventFile(tmp_path, resume_step=6).close()
    expected = Counter({key: count for key, count in read_events(cut).items() if "_hparams_" not in str(key[0])})
    assert read_events(tmp_path) == expected
    assert len(expected) > 2


def test_what_another_verb_appended_stays(tmp_path):
    log(tmp_path, 1, 10)
    file = EventFile(tmp_path, append=True)
    file.image("visuals/filters", b"png", (1, 2, 2), 10)
    file.close()
    log(tmp_path, 10, 12, resume_step=10)
    assert sum(tag == "visuals/filters" for tag, *_ in read_events(tmp_path)) == 1


def test_a_better_final_metric_is_shown(tmp_path):
    """HParams reads the last point of a curve: a longer run's best replaces the shorter one's."""
    log(tmp_path, 1, 10)
    log(tmp_path, 10, 20, resume_step=10)
    best = [step for tag, step, _ in read_events(tmp_path) if tag == "val/best_accuracy"]
    assert sorted(best) == [10, 20]


def test_a_long_run_resumes_at_once(tmp_path):
    """200,000 points are cut in less time than a process takes to start."""
    import time

    file = EventFile(tmp_path)
    for start in range(0, 200_000, 1000):
        file.scalars([("train/loss", step, 0.0, 0.5) for step in range(start, start + 1000)])
    file.close()
    before = time.process_time()
    EventFile(tmp_path, resume_step=100_000).close()
    assert time.process_time() - before < 2
    assert sum(os.path.getsize(path) for path in tmp_path.glob("events.*")) < file.path.stat().st_size * 2
    assert sum(read_events(tmp_path).values()) == 100_001
