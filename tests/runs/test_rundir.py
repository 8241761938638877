import json

import pytest

from dlx.errors import UsageError
from dlx.runs.rundir import Run, find_run


def test_of_two_runs_one_gets_the_directory(tmp_path):
    Run.create(tmp_path / "a-12345678", {"metrics": {}})
    with pytest.raises(UsageError, match="already holds a run"):
        Run.create(tmp_path / "a-12345678", {})


def test_run_json_tells_what_made_it(tmp_path):
    about = Run.create(tmp_path / "2026-01-01_00-00-00-12345678", {"seed": 3}).read()
    assert about["id"] == "12345678"
    assert about["status"] == "running"
    assert about["seed"] == 3
    assert about["versions"]["torch"]
    assert {"command", "git", "host", "pid", "started"} <= about.keys()


def test_unwritable_place_is_named():
    with pytest.raises(UsageError, match=r"cannot be written.*hydra\.run\.dir"):
        Run.create("/proc/dlx/run", {})


def test_found_by_directory_id_beginning_and_last(tmp_path):
    root = tmp_path / "outputs"
    old = Run.create(root / "digits" / "mlp" / "t-aaaa1111", {})
    new = Run.create(root / "sweeps" / "s" / "0-aabb2222", {})
    new.update(started="9999-01-01T00:00:00+00:00")
    assert find_run(str(old.directory)).directory == old.directory
    assert find_run("aaaa1111", root).directory == old.directory
    assert find_run("aab", root).directory == new.directory
    assert find_run("last", root).directory == new.directory
    with pytest.raises(UsageError, match="beginning of 2 runs"):
        find_run("aa", root)
    with pytest.raises(UsageError, match="type dlx runs"):
        find_run("nothing", root)


def test_no_run_at_all(tmp_path):
    with pytest.raises(UsageError, match="type dlx train"):
        find_run("last", tmp_path)


def test_update_replaces_the_whole_file(tmp_path):
    run = Run.create(tmp_path / "a", {"metrics": {}})
    run.update(status="finished", metrics={"test/accuracy": 0.5})
    assert json.loads((tmp_path / "a" / "run.json").read_text())["metrics"] == {"test/accuracy": 0.5}
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"run.json", ".lock"}, "nothing is left aside"


def test_damaged_run_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"no readable run\.json"):
        Run(tmp_path).read()


def test_who_interrupts_a_beginning_leaves_no_run(tmp_path, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("dlx.runs.rundir.collect_provenance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Run.create(tmp_path / "run", {})
    assert not (tmp_path / "run").exists()


def test_a_run_interrupted_before_its_first_step_says_so(train, resume, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    done = train("done", "trainer.epochs=1")
    monkeypatch.setattr("dlx.run.Progress", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train("run", "trainer.epochs=1")
    with pytest.raises(KeyboardInterrupt):
        resume(done, **{"trainer.epochs": 2})
    assert Run(tmp_path / "run").read()["status"] == "interrupted"
    assert done.read()["status"] == "interrupted"
