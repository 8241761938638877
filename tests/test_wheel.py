"""The wheel is whole: installed into an empty place, in an empty directory, `dlx train` is the same."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.integration]


def test_the_wheel_trains(tmp_path: Path):
    built, place, work = tmp_path / "dist", tmp_path / "site", tmp_path / "work"
    work.mkdir()
    quiet = {"check": True, "capture_output": True, "text": True}
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built), str(ROOT)], **quiet
    )
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(place)
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"dlx/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    for path in (ROOT / "docs" / "results").rglob("*.json"):
        assert f"dlx/results/{path.relative_to(ROOT / 'docs' / 'results').as_posix()}" in names
    assert not any(name.startswith(("tests/", "outputs/")) for name in names)
    # The place comes before the checkout that is installed for the tests; its dependencies are those of the tests.
    environment = {**os.environ, "PYTHONPATH": str(place)}
    where = "import dlx; print(dlx.__file__)"
    told = subprocess.run([sys.executable, "-c", where], cwd=work, env=environment, **quiet)
    assert told.stdout.startswith(str(place))
    subprocess.run([sys.executable, "-m", "dlx", "train", "trainer.epochs=30"], cwd=work, env=environment, **quiet)
    listed = [sys.executable, "-m", "dlx", "list", "experiments", "--json"]
    told = json.loads(subprocess.run(listed, cwd=work, env=environment, **quiet).stdout)
    assert next(one for one in told if one["name"] == "adding_gru_600")["reached"] is True
    (told,) = work.glob("outputs/digits/mlp/*/run.json")
    assert json.loads(told.read_text())["metrics"]["test/accuracy"] > 0.94
