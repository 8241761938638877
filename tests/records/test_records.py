"""dlx record, and what dlx list experiments says of the records."""

import json
import statistics
from pathlib import Path

import pytest

from dlx.cli.results import find_reached
from dlx.config.published import Figure
from dlx.errors import UsageError
from dlx.records import measured as measured_module
from dlx.records.measured import Measured, Record, format_measured, measure, read_records
from tests.records.test_published import experiment, run_of  # noqa: F401 - a fixture
from tests.verbs import dlx


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "docs" / "results"
    folder.mkdir(parents=True)
    return folder


def test_a_record_is_what_the_run_says(experiment, checkout, tmp_path):  # noqa: F811
    run = run_of(tmp_path / "run", "seed=4", "trainer.epochs=1")
    about = run.read()
    run.update(command="dlx train experiment=tiny trainer.epochs=1 hydra.run.dir=/home/me/run dataset.root=/data")
    (line,) = dlx("record", run.directory).splitlines()
    assert line == f"docs/results/tiny/seed4-{about['id']}.json"
    record = json.loads((tmp_path / line).read_text())
    for key, mine in {"run": "id", "commit": "git"}.items():
        assert record[key] == about[mine]
    for key in ("experiment", "seed", "versions", "metrics", "seconds", "parameters"):
        assert record[key] == about[key]
    assert record["overrides"] == {"trainer.epochs": 1}
    assert record["command"] == "dlx train experiment=tiny trainer.epochs=1"  # no place of this machine
    assert record["date"] == about["ended"][:10]
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["threads"] == about["threads"]
    assert about["host"] not in (tmp_path / line).read_text().split('"')


def test_a_record_is_replaced_by_the_same_run_only(experiment, checkout, tmp_path):  # noqa: F811
    run = run_of(tmp_path / "run")
    file = tmp_path / dlx("record", run.directory).strip()
    run.update(metrics={"test/error": 0.5})
    dlx("record", run.directory)
    assert json.loads(file.read_text())["metrics"] == {"test/error": 0.5}
    file.write_text(json.dumps({**json.loads(file.read_text()), "command": "dlx train another"}))
    before = file.read_text()
    with pytest.raises(UsageError, match=r"holds another run's record \(dlx train another"):
        dlx("record", run.directory)
    assert file.read_text() == before


@pytest.mark.parametrize("status", ["failed", "interrupted", "pruned", "running"])
def test_a_run_that_is_not_finished_has_no_record(status, experiment, checkout, tmp_path):  # noqa: F811
    good, run = run_of(tmp_path / "good"), run_of(tmp_path / "run")
    run.update(status=status)
    with pytest.raises(UsageError, match="not finished"):
        dlx("record", good.directory, run.directory)
    assert list(checkout.rglob("*.json")) == []  # not even of the good one


def test_outside_a_checkout_a_directory_is_named(experiment, tmp_path):  # noqa: F811
    run = run_of(tmp_path / "run")
    with pytest.raises(UsageError, match="type --to DIR"):
        dlx("record", run.directory)
    assert dlx("record", run.directory, "--to", "kept").startswith("kept/tiny/seed0-")


def test_without_an_experiment_it_lies_by_model_and_dataset(checkout, train):
    run = train("run", "trainer.epochs=1", "model.hidden=[8]")
    run.update(model="mlp", dataset="digits")
    file = dlx("record", run.directory).strip()
    assert file.startswith("docs/results/mlp-digits/seed0-")
    assert json.loads(Path(file).read_text())["overrides"] == {"model.hidden": [8], "trainer.epochs": 1}


def test_list_says_mean_and_deviation_over_the_plain_runs(experiment, checkout, tmp_path):  # noqa: F811
    runs = [run_of(tmp_path / f"run{seed}", f"seed={seed}") for seed in range(3)]
    other = run_of(tmp_path / "other", "trainer.epochs=1")
    dlx("record", *(run.directory for run in [*runs, other]))
    entry = next(one for one in json.loads(dlx("list", "experiments", "--json")) if one["name"] == "tiny")
    errors = [run.read()["metrics"]["test/error"] for run in runs]
    found = entry["measured"]
    assert found["metric"] == "test/error"
    assert found["mean"] == pytest.approx(statistics.fmean(errors), rel=1e-12)
    assert found["sd"] == pytest.approx(statistics.stdev(errors), rel=1e-12)
    assert found["seeds"] == [0, 1, 2]
    assert found["seconds"] == max(run.read()["seconds"] for run in runs)
    assert found["date"] == runs[0].read()["ended"][:10]
    assert [one["value"] for one in entry["published"]] == [5, 4.25, 0.15, -86]
    assert entry["reached"] is False
    shown = next(line for line in dlx("list", "experiments").splitlines() if line.split()[0] == "tiny")
    assert "published 5 ± 0.5 % (Them 1998)" in shown
    assert "Unseen" not in shown
    assert f"test/error {statistics.fmean(errors) * 100:.4g}"[:14] in shown


@pytest.fixture(autouse=True)
def _no_cache():
    from dlx.cli import results

    results._read_records.cache_clear()
    yield
    results._read_records.cache_clear()


def row(date, value, seed=0, metric="test/error", **more):
    return Record("tiny", {}, "", (seed,), date, "abc", {metric: (value,)}, (1.0,))._replace(**more)


def test_a_seed_counts_once_and_overrides_do_not():
    records = [row("2026-01-02", 0.2), row("2026-01-01", 0.1), row("2026-01-01", 0.4, 1)]
    records.append(row("2026-01-03", 0.9, 2, overrides={"seed": 1}))
    found = measure("tiny", [], records)["test/error"]
    assert (found.mean, found.seeds, found.date) == (pytest.approx(0.3), (0, 1), "2026-01-02")
    assert measure("other", [], records) == {}


@pytest.mark.parametrize(
    ("metric", "mean", "value", "unit", "reached"),
    [
        ("test/error", 0.009, 0.95, "%", True), ("test/error", 0.01, 0.95, "%", False),
        ("test/accuracy", 0.95, 94.01, "%", True), ("test/accuracy", 0.93, 94.01, "%", False),
        ("test/nats_per_step", 8.3, 8.43, "nats", True), ("test/nats_per_step", 8.5, 8.43, "nats", False),
        ("test/mse", 1e-5, 5.3e-5, "", True), ("test/squared_error", 3.5, 3.0, "", False),
        ("test/log_likelihood_ais", -85.0, -86.0, "nats", True), ("test/parzen", 202.0, 225, "nats", False),
    ],
)  # fmt: skip
def test_reached_goes_by_the_metrics_direction(metric, mean, value, unit, reached):
    figure = Figure(metric, value, None, unit, None, "Them", True)
    found = {metric: Measured(metric, mean, None, (0,), "", None, None)}
    assert find_reached([figure], found) is reached
    assert find_reached([figure._replace(seen=False)], found) is None
    assert find_reached([figure], {}) is None


def test_a_mean_in_short():
    one = Measured("test/error", 0.0078333, 0.00068069, (0, 1, 2), "", None, None)
    assert format_measured(one, "%") == "0.7833 ± 0.068 %"
    assert format_measured(one._replace(mean=5.3e-5, sd=None), "") == "5.3e-5"


def test_a_broken_number_is_null(experiment, checkout, tmp_path):  # noqa: F811
    run = run_of(tmp_path / "run")
    run.update(metrics={"test/error": float("nan"), "test/loss": 1.0})
    file = tmp_path / dlx("record", run.directory).strip()
    assert json.loads(file.read_text(), parse_constant=pytest.fail)["metrics"] == {"test/error": None, "test/loss": 1.0}
    assert set(read_records([checkout])[0].metrics) == {"test/loss"}
    assert measured_module.TRANSCRIBED == "transcribed"
