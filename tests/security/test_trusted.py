"""Whose code is trusted, and what else of a stranger's is shown and not obeyed."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from dlx.cli.main import run as run_words
from dlx.config.saved_yaml import read_yaml
from dlx.config.trusted import distrust, find_state_file, is_trusted, list_trusted, trust, trust_training
from dlx.config.trusted import trust_while_composing as composing
from dlx.datasets.archives import check_archive
from dlx.errors import UsageError
from dlx.runs.git import _read_git_commit
from dlx.terminal.visible import escape_json, make_visible
from dlx.trained.outputs import write_csv
from tests.verbs import dlx


@pytest.fixture
def untrusted(tmp_path):
    distrust(tmp_path)
    return tmp_path


def test_own_code_asks_for_trust_and_the_advice_works(own, untrusted):
    with pytest.raises(UsageError, match=r"type dlx trust \."):
        dlx("info", "model=mine")
    assert own not in sys.modules
    dlx("trust", ".")
    assert json.loads(dlx("info", "model=mine", "--json"))["parameters"] == 650
    assert dlx("trust", "--list").split() == [str(untrusted)]
    dlx("trust", "--remove", ".")
    assert not is_trusted()
    with pytest.raises(UsageError, match="is not trusted"):
        dlx("trust", "--remove", ".")


def test_an_allow_that_the_directory_gives_itself_does_not_count(own, untrusted):
    text = Path("conf/model/mine.yaml").read_text()
    Path("conf/model/mine.yaml").write_text(f"{text}allow: [{own}]\n")
    with pytest.raises(UsageError, match=r"type dlx trust \."):
        dlx("info", "model=mine")
    assert own not in sys.modules
    assert json.loads(dlx("info", "model=mine", f"allow=[{own}]", "--json"))["parameters"] == 650, "typed, it does"


def test_training_trusts_the_directory_alone(untrusted, digits):
    Path("below").mkdir()
    with composing():
        assert is_trusted()
        assert not is_trusted("below")
    trust_training()
    assert list_trusted() == [str(untrusted)]
    (untrusted / "run.json").write_text("{}")
    distrust(untrusted)


def test_a_runs_own_directory_is_not_trusted_by_training_in_it(mine, monkeypatch):
    monkeypatch.chdir(mine.directory)
    with composing():
        assert not is_trusted()
    trust_training()
    assert str(mine.directory) not in list_trusted()


def test_a_composition_that_fails_leaves_no_trust(untrusted):
    with pytest.raises(UsageError):
        run_words(["train", "model=nothing"])
    assert not is_trusted()


@pytest.mark.parametrize("text", ["", "{", "5", "[1, null]", "[" * 10_000])
def test_a_damaged_record_trusts_nothing(text):
    find_state_file().write_text(text)
    assert list_trusted() == []
    trust(".")
    assert is_trusted()


def test_text_of_a_spreadsheets_formula_and_numbers():
    rows = [{"file": "=1+1.png", "label": "@SUM(A1)", "x": -1.5, "n": "-2", "m": "+1e3", "-k": "-a"}]
    out = io.StringIO()
    write_csv(rows, out)
    header, cells = csv.reader(io.StringIO(out.getvalue()))
    assert cells == ["'=1+1.png", "'@SUM(A1)", "-1.5", "-2", "+1e3", "'-a"]
    assert header[-1] == "'-k"


def test_control_characters_are_shown():
    given = "a\x1b[31m\x07\x9b0m\u202eb\tc\nd\r"
    assert make_visible(given) == "a\\x1b[31m\\x07\\x9b0m\\u202eb\tc\nd\\x0d"
    assert make_visible("größe 漢字") == "größe 漢字"
    assert json.loads(escape_json(json.dumps(given, ensure_ascii=False))) == given


@pytest.mark.parametrize(
    ("text", "match"),
    [("a: " + "[" * 60 + "]" * 60, "nested"), ("a: &a [*a]", "itself"), ("#" * 2**20 + "\na: 1", "larger")],
)
def test_yaml_has_a_bound(text, match):
    Path("x.yaml").write_text(text)
    with pytest.raises(UsageError, match=match):
        read_yaml(Path("x.yaml"))


def test_yaml_reads_as_before():
    content = {"a": [1, 2.5, None, True, "x"], "b": {"c": 1e-3}}
    Path("x.yaml").write_text(yaml.safe_dump(content))
    assert read_yaml(Path("x.yaml")) == content
    Path("x.yaml").write_text("a: ${oc.env:HOME}")
    with pytest.raises(UsageError, match="interpolation"):
        read_yaml(Path("x.yaml"))


def test_an_archive_is_refused_by_its_directory():
    with zipfile.ZipFile("x.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", bytes(2**25))
    with pytest.raises(ValueError, match="times its size"):
        check_archive(Path("x.zip"), 2**30)
    with pytest.raises(ValueError, match="more than"):
        check_archive(Path("x.zip"), 2**20)
    np.savez_compressed("zeros.npz", x=np.zeros(2**23))
    check_archive(Path("zeros.npz"), 2**30)


@pytest.mark.integration
def test_git_runs_nothing_of_the_repositorys(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True)

    git("init", "-q")
    Path("a.txt").write_text("a")
    Path(".gitattributes").write_text("*.txt filter=evil\n")
    git("add", ".")
    git("commit", "-qm", "a")
    _read_git_commit.cache_clear()
    clean = _read_git_commit(str(tmp_path))
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\ncat\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "core.pager"):
        git("config", key, str(script))
    git("config", "filter.evil.required", "true")
    Path("pwned").unlink(missing_ok=True)
    Path("a.txt").write_text("b")
    _read_git_commit.cache_clear()
    assert _read_git_commit(str(tmp_path)) == f"{clean}+"
    assert not Path("pwned").exists()


@pytest.mark.integration
def test_modules_of_the_working_directory_are_not_taken_for_pythons(digits, tmp_path):
    for name in ("json", "random", "mido", "tensorboard"):
        Path(f"{name}.py").write_text("open('pwned', 'w')\n")
    Path("run").symlink_to(digits.directory)
    done = subprocess.run([sys.executable, "-m", "dlx", "compare", "run"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not Path("pwned").exists()
