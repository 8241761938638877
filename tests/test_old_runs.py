"""Run directories made before the renaming go on working; tests/data/old_runs/README.md says what they are.

Nothing is imported from within dlx but what its users import: the command line is run as `python -m dlx` runs it.
"""

import contextlib
import io
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.integration

DATA = Path(__file__).parent / "data" / "old_runs"
EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
RUNS = [name for name in EXPECTED if "status" in EXPECTED[name]]
SWEEPS = ("sweep", "stacked")
STATUSES = {name: EXPECTED[name]["status"] for name in RUNS}
STATUSES |= {f"sweeps/{name}": status for sweep in SWEEPS for name, status in EXPECTED[sweep]["statuses"].items()}


def dlx(*words):
    """What a command line prints on standard output; it must end well."""
    told, before = io.StringIO(), sys.argv
    sys.argv = ["dlx", *map(str, words)]
    try:
        with contextlib.redirect_stdout(told), pytest.raises(SystemExit) as stop:
            runpy.run_module("dlx", run_name="__main__")
    finally:
        sys.argv = before
    assert not stop.value.code, told.getvalue()
    return told.getvalue()


def old(name):
    """A copy of an old run or sweep, where dlx would have put it."""
    place = Path("outputs/sweeps" if name in SWEEPS else "outputs", name)
    shutil.copytree(DATA / name, place)
    return place


def resumes(run, expected):
    """`dlx resume` ends as the old program ended, with the same curve behind it."""
    dlx("resume", run, *expected["words"])
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert (about["status"], about["epoch"], about["step"]) == ("finished", expected["epoch"], expected["step"])
    records = logged(run)
    measures(about["metrics"], expected["metrics"], records)
    steps = [record["step"] for record in records]
    assert steps == sorted(set(steps))
    assert steps[-1] == expected["step"]


def logged(run):
    """The records of metrics.jsonl."""
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def measures(given, expected, records=()):
    """All that the old program measured is there, and the same; `dlx evaluate` measures more.

    An epoch's training values were means over its batches, the last one smaller; they are means over examples now. So
    the mean over the batches, of `records` of metrics.jsonl, is what the old program told, and the new one is within.
    """
    for name, value in expected.items():
        if not name.startswith("train/") or name.endswith("lr"):
            assert given[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
            continue
        values, epoch, finished = [], records[-1]["epoch"], 0
        for record in records:
            if name in record and finished == epoch - 1:
                values.append(record[name])
            finished = record["epoch"]
        assert sum(values) / len(values) == pytest.approx(value, rel=1e-6, abs=1e-9), name
        assert min(values) <= given[name] <= max(values), name


def agrees(given, expected):
    """Whole numbers are the same, others nearly so."""
    expected = np.asarray(expected)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-7)
    else:
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("name", RUNS)
def test_evaluate(name):
    found = json.loads(dlx("evaluate", old(name), "--json"))
    measures(found, EXPECTED[name]["evaluate"])


@pytest.mark.parametrize("name", [name for name in RUNS if "predict" in EXPECTED[name]])
def test_predict(name):
    np.save("x.npy", np.array(EXPECTED[name]["inputs"]))
    dlx("predict", old(name), "x.npy", "-o", "found.npz")
    with np.load("found.npz") as found:
        assert set(EXPECTED[name]["predict"]) <= set(found.files)
        for column, values in EXPECTED[name]["predict"].items():
            agrees(found[column], values)


@pytest.mark.parametrize("name", [name for name in RUNS if "sample" in EXPECTED[name]])
def test_sample(name):
    dlx("sample", old(name), "-n", 3, "-o", "found.npy")
    agrees(np.load("found.npy"), EXPECTED[name]["sample"])


@pytest.mark.parametrize("name", ["mlp", "logistic", "gan"])
def test_from_python(name):
    from dlx import load

    run = load(old(name))
    measures(run.evaluate(), EXPECTED[name]["evaluate"])
    agrees(run.predict(np.array(EXPECTED[name]["inputs"])), next(iter(EXPECTED[name]["predict"].values())))


@pytest.mark.parametrize("name", [name for name in RUNS if "resume" in EXPECTED[name]])
def test_resume_ends_as_it_would_have(name):
    resumes(old(name), EXPECTED[name]["resume"])


def test_a_schedule_is_stretched():
    resumes(old("mlp_interrupted"), EXPECTED["mlp_interrupted"]["longer"])


def test_an_estimator_is_done():
    assert "nothing left to do" in dlx("resume", old("logistic"))


def test_an_old_network_is_where_a_new_one_begins():
    words = ("model=mlp", "model.hidden=[8]", "dataset=digits", "trainer.device=cpu", "trainer.max_steps=1")
    dlx("train", *words, f"pretrained={old('mlp')}", "optimizer.lr=0", "hydra.run.dir=new")
    found = json.loads(dlx("evaluate", "new", "--json"))
    measures(found, EXPECTED["mlp"]["evaluate"])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mlp", "net.onnx"),
        ("plateau", "net.pt2"),
        ("rbm", "net.pt2"),
        ("gan", "net.pt2"),
        ("gru", "net.pt2"),
        ("categorical_hmm", "net.pt2"),
        ("logistic", "net.skops"),
    ],
)
def test_export(name, file):
    dlx("export", old(name), "-o", file)  # which compares it with the model before it is kept
    assert Path(file).stat().st_size


def test_all_are_listed():
    for name in (*RUNS, *SWEEPS):
        old(name)
    found = {str(Path(one["directory"]).relative_to("outputs")): one for one in json.loads(dlx("runs", "--json"))}
    assert {name: one["status"] for name, one in found.items()} == STATUSES
    for name in RUNS:
        assert found[name]["metrics"] or STATUSES[name] != "finished"
    networks = json.loads(dlx("runs", "--where", "model=mlp", "--where", "trainer.batch=16", "--json"))
    assert len(networks) == len([name for name in STATUSES if name.startswith(("plateau", "sweeps/"))])
    best = json.loads(dlx("runs", "--best", "test/accuracy", "--json"))
    assert Path(best[0]["directory"]).name == "logistic"
    assert "plateau" in dlx("compare", "outputs/mlp_interrupted", "outputs/plateau")


def test_an_unfinished_sweep_goes_on():
    place = old("sweep")
    told = dlx("sweep", "sweep")
    assert "2 of 6 trials begun before" in told
    found = trials(place)
    assert sorted(found) == list(range(6))
    assert {one["status"] for one in found.values()} <= {"finished", "pruned"}
    assert len({tuple(sorted(one["overrides"])) for one in found.values()}) == 6
    for number, before in EXPECTED["sweep"]["trials"].items():
        now = found[int(number)]
        assert (now["id"], now["overrides"][-3:]) == (before["id"], before["overrides"])
        measures(now["metrics"], before["metrics"], logged(now["directory"]))
    assert summaries(place) == [6]
    dlx("sweep", "sweep")  # and never beyond
    assert trials(place) == found


def test_a_finished_sweep_of_stacked_models():
    expected = EXPECTED["stacked"]
    place = old("stacked")
    before = trials(place)
    told = json.loads(dlx("runs", "--sweep", "stacked", "--by", "optimizer.lr", "--json"))
    means = [one | {name: pytest.approx(one[name]) for name in ("mean", "sd")} for one in expected["by"]]
    assert told == means
    again = dlx("sweep", "stacked", "hydra/launcher=vectorized")
    assert "4 of 4 trials begun before" in again
    assert expected["trial"] in again
    assert trials(place) == before
    assert summaries(place) == [4]
    trial = place / expected["trial"]
    measures(json.loads(dlx("evaluate", trial, "--json")), expected["evaluate"])
    resumes(trial, expected["resume"])


def trials(place):
    """run.json of every trial by its number."""
    found = json.loads(dlx("runs", "--root", place, "--json"))
    return {int(Path(one["directory"]).name.partition("-")[0]): one for one in found}


def summaries(place):
    """How many trials each study of a journal has, as Optuna sees it without dlx."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    file = str(place.absolute() / "journal.log")
    storage = optuna.storages.JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))
    return [one.n_trials for one in optuna.get_all_study_summaries(storage)]
