"""docs/contributing.md, followed word for word in a copy of the source."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^### An? (.*?)\n(.*?)(?=^### |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)
RECIPES = {title.lower(): body for title, body in SECTIONS}
FILE = re.compile(r"^`((?:dlx|conf)/\S+)`:\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL | re.MULTILINE)


def follow(recipe: str, place: Path) -> list[str]:
    """Write the recipe's files into `place`. Returns its commands."""
    for path, text in FILE.findall(recipe):
        (place / path).write_text(text)
    for path, text in re.findall(r"in `VERBS` of `(\S+)`:\n\n```python\n(.*?)```", recipe, re.DOTALL):
        verbs = place / path
        verbs.write_text(verbs.read_text().replace("VERBS = {\n", "VERBS = {\n" + text))
    return re.findall(r"^    (dlx .*)$", recipe, re.MULTILINE)


def test_there_are_recipes():
    assert {"model", "dataset", "procedure", "verb"} <= set(RECIPES)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_recipe_works_as_written(name, tmp_path):
    place, work = tmp_path / "source", tmp_path / "work"
    work.mkdir()
    for folder in ("dlx", "conf"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    commands = follow(RECIPES[name], place)
    assert commands
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    for command in commands:
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
