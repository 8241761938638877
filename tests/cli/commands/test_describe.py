"""`dlx describe`: every dataset, in numbers that pandas-like counting confirms, as text, JSON and PNG."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlx.errors import UsageError
from tests.conftest import ROOT
from tests.datasets.test_state import FILES
from tests.verbs import dlx

NAMES = sorted(path.stem for path in (ROOT / "conf" / "dataset").glob("*.yaml"))
SMALL = {  # so that each takes a moment
    "grid25": ["dataset.examples=200"],
    "ring": ["dataset.examples=200"],
    "patterns": ["dataset.neurons=30", "dataset.patterns=20"],
    "digits64": ["dataset.limit=50"],
    "digits96": ["dataset.limit=50"],
    "text": ["dataset.length=8"],
}


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DLX_DATA", raising=False)


def describe(*words):
    return json.loads(dlx("describe", "--json", *words))


def write(name):
    """The words that choose a dataset, on a tiny file where it reads one."""
    words = [f"dataset={name}", *SMALL.get(name, ())]
    if name in FILES:
        make, file, _ = FILES[name]
        make(Path(file))
        words.append(f"dataset.path={file}")
    return words


@pytest.mark.parametrize("name", NAMES)
def test_every_dataset_is_described_and_drawn(name) -> None:
    config = (ROOT / "conf" / "dataset" / f"{name}.yaml").read_text()
    more = ["dataset.download=false"] if "download:" in config else []
    try:
        about = describe(*write(name), *more, "-o", "sheet.png")
    except UsageError as error:
        if "looked for" not in str(error):
            raise
        pytest.skip(f"no data for {name} here")
    assert about["splits"]["train"] > 0
    assert about["columns"] or about["pictures"] or about["symbols"]
    assert about["sheet"] == "sheet.png"
    picture = np.asarray(Image.open("sheet.png").convert("L"))
    assert picture.std() > 5  # something is drawn
    assert max(picture.shape) < 3000
    if about["kind"] in ("sequence", "symbols"):
        assert 1 <= about["lengths"]["min"] <= about["lengths"]["max"] <= about["lengths"]["padded_to"]
    if about["classes"]:
        assert sum(each["share"] for each in about["classes"]) == pytest.approx(1)
    assert not Path("outputs").exists()
    assert sorted(path.name for path in Path().iterdir() if path.suffix == ".png") == ["sheet.png"]


@pytest.mark.parametrize("name", ["iris", "digits", "conll", "piano_roll", "csv", "image_folder"])
def test_the_text_names_splits_and_the_sheet_lies_where_it_is_said(name, capsys) -> None:
    told = dlx("describe", *write(name))
    assert "splits: train " in told
    assert Path(f"describe_{name}.png").exists()


def test_columns_gaps_and_categories_are_counted() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(40, 7, 50).round(3)
    cells = [f"{v}" if i % 10 else "" for i, v in enumerate(values)]
    sexes = ["male" if i % 3 else "female" for i in range(50)]
    kinds = ["gentoo" if i < 20 else "adelie" for i in range(50)]
    rows = zip(cells, sexes, range(50), kinds, strict=True)
    Path("p.csv").write_text("mass,sex,order,kind\n" + "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in rows))
    about = describe("dataset=csv", "dataset.path=p.csv")
    mass, sex, order = about["columns"]
    known = np.array([v for i, v in enumerate(values) if i % 10])
    assert (mass["name"], mass["type"], mass["values"], mass["gaps"]) == ("mass", "number", 45, 5)
    for key, wanted in (("mean", known.mean()), ("std", known.std()), ("median", np.median(known))):
        assert mass[key] == pytest.approx(wanted, rel=1e-6)
    assert (mass["min"], mass["max"]) == pytest.approx((known.min(), known.max()), rel=1e-6)
    assert sex["categories"] == {"male": 33, "female": 17}
    assert (order["type"], order["distinct"]) == ("whole number", 50)
    assert {each["name"]: sum(each["counts"].values()) for each in about["classes"]} == {"adelie": 30, "gentoo": 20}
    # Training refuses it as it was given; with the options that are told it does not.
    assert len(about["refused"]) == 2
    assert sorted(about["options"]) == ["dataset.missing=mean", "dataset.one_hot=true"]
    assert describe("dataset=csv", "dataset.path=p.csv", *about["options"])["refused"] == []


def test_texts_of_many_values_are_named_and_left_out() -> None:
    lines = [f"person {i},{i * 0.5},{i % 2}" for i in range(150)]
    Path("p.csv").write_text("who,size,class\n" + "\n".join(lines) + "\n")
    about = describe("dataset=csv", "dataset.path=p.csv")
    assert [column["name"] for column in about["columns"]] == ["size"]
    assert any("who" in word for word in about["options"])
    assert any("who" in reason for reason in about["refused"])


def test_what_was_typed_is_not_changed() -> None:
    Path("p.csv").write_text("size,sex,class\n1,m,0\n2,f,1\n3,m,0\n4,f,1\n")
    with pytest.raises(UsageError, match="holds text"):
        describe("dataset=csv", "dataset.path=p.csv", "dataset.one_hot=false", "dataset.ignore=[]")


def test_targets_are_in_their_own_units() -> None:
    from sklearn.datasets import load_diabetes

    y = load_diabetes().target
    (target,) = describe("dataset=diabetes")["targets"]
    assert target["mean"] == pytest.approx(y.mean(), rel=1e-6)
    assert target["std"] == pytest.approx(y.std(), rel=1e-6)


def test_files_of_pictures_are_counted_by_size_mode_and_format() -> None:
    Path("p/a").mkdir(parents=True)
    Path("p/b").mkdir()
    for i in range(3):
        Image.new("RGB", (6, 5), (i * 80, 0, 0)).save(f"p/a/{i}.png")
    Image.new("L", (6, 5), 90).save("p/b/0.jpg")
    Image.new("RGBA", (8, 8), (0, 0, 0, 90)).save("p/b/1.png")
    about = describe("dataset=image_folder", "dataset.path=p", "dataset.val=0", "dataset.test=0")
    files = about["pictures"]["files"]
    assert files["sizes"] == {"6×5": 4, "8×8": 1}
    assert files["modes"] == {"RGB": 3, "L": 1, "RGBA": 1}
    assert files["formats"] == {"PNG": 4, "JPEG": 1}
    assert about["notes"]  # what is done to them


def test_a_model_is_told_what_it_would_receive() -> None:
    received = describe("dataset=iris", "model=mlp")["received"]
    assert (received["input"], received["output"], received["dtype"]) == ([4], [3], "float32")
    assert (received["mean"], received["std"]) == pytest.approx((0, 1), abs=1e-6)
    assert describe("dataset=iris")["received"] is None
    roll = describe("dataset=switching", "model=gru")["received"]
    assert roll["lengths"]
    assert roll["input"] == [150, 2]


def test_an_experiment_and_a_dataset_of_ones_own() -> None:
    name = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*digits*.yaml"))[0]
    assert describe(f"experiment={name}")["received"]["model"]
    Path("conf/dataset").mkdir(parents=True)
    Path("described_rows.py").write_text(
        "import torch\nfrom dlx.datasets.dataset import Dataset, Stream\n\n\n"
        "class Rows(torch.utils.data.Dataset):\n"
        "    def __len__(self):\n        return 3_000_000\n\n"
        "    def __getitem__(self, i):\n        return torch.tensor([float(i), 1.0]), i % 2\n\n\n"
        "class Mine(Dataset):\n    kind = 'vector'\n\n"
        "    def read(self):\n        return {'train': Stream(Rows(), torch.arange(3_000_000) % 2)}\n"
    )
    Path("conf/dataset/mine.yaml").write_text(
        "dataset:\n  _target_: described_rows.Mine\n  val: 0\n  test: 0\n  shape: [2]\n  classes: 2\n  outputs: 2\n"
    )
    Path("conf/dataset/mine.yaml").write_text(
        "# @package _global_\nallow: [described_rows]\n" + Path("conf/dataset/mine.yaml").read_text()
    )
    about = describe("dataset=mine")
    assert about["seen"] == ["train: a random 1,000 of 3,000,000 examples are looked at"]
    assert [each["counts"]["train"] for each in about["classes"]] == [1_500_000, 1_500_000]
    first = about["columns"][0]
    assert first["mean"] == pytest.approx(1_500_000, rel=0.1)  # a random part, not the first rows


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dataset=irs"], "iris"),
        (["dataset=iris", "dataset.sale=none"], "scale"),
        (["dataset=csv"], "dataset.path"),
        (["dataset=csv", "dataset.path=nothing.csv"], "nothing.csv"),
        (["dataset=iris", "-o", "sheet.jpg"], r"\.png"),
        (["dataset=iris", "-o", "no/sheet.png"], "no folder"),
        (["dataset=iris", "-o", "run/sheet.png"], "run directory"),
        (["dataset=iris", "model=gru"], "gru takes"),
    ],
)
def test_bad_input_is_one_clear_error(words, told) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text("{}")
    with pytest.raises(UsageError, match=told) as caught:
        dlx("describe", *words)
    assert caught.value.exit_code == 2
    assert sorted(os.listdir()) == ["run"]


@pytest.mark.integration
def test_nothing_imports_torch_for_a_mistake() -> None:
    code = (
        "import sys\nfrom dlx.cli.main import run_command\n"
        "try:\n    run_command('describe', ['dataset=irs'])\n"
        "except Exception as error:\n    print('torch' in sys.modules, error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("False ")
