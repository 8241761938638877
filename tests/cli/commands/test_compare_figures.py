"""`dlx compare --figure validation_curve`, `--sweep` and `--curve` of any tag."""

from pathlib import Path

import pytest

from dlx.cli.validation_curve import find_number, is_logarithmic, measure_runs
from dlx.errors import UsageError
from tests.verbs import dlx, trained


@pytest.fixture(scope="module")
def ridges(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        trained(folder / f"{alpha}_{seed}", "model=ridge", f"model.estimator.alpha={alpha}", f"seed={seed}",
                "logger=[]", "trainer.evaluate=[train,val]")
        for alpha in (0.1, 10, 1000)
        for seed in (1, 2)
    ]  # fmt: skip


def test_validation_curve_of_a_folder_of_runs(ridges):
    said = dlx("compare", "--sweep", ridges[0].directory.parent, "--figure", "validation_curve", "-o", "there.png")
    assert Path("there.png").stat().st_size > 10_000
    assert "metrics" in said
    metric, values = measure_runs(ridges, None)
    assert metric == "r2"
    for run, (train, val) in zip(ridges, values, strict=True):
        assert val == pytest.approx(run.read()["metrics"]["val/r2"])
        assert train == pytest.approx(run.read()["metrics"]["train/r2"])


def test_the_number_in_which_runs_differ():
    base = {"optimizer.lr": 0.1, "seed": 1, "model.name": "a"}
    assert find_number([base, {**base, "optimizer.lr": 1, "seed": 2}], None) == "optimizer.lr"
    two = [base, {**base, "optimizer.lr": 1, "model.name": "b"}]
    with pytest.raises(UsageError, match=r"beside optimizer.lr these differ in model.name"):
        find_number(two, None)
    assert find_number(two, "optimizer.lr") == "optimizer.lr"
    with pytest.raises(UsageError, match="differ in nothing"):
        find_number([base, {**base, "seed": 2}], None)
    with pytest.raises(UsageError, match=r"--against model\.name"):
        find_number(two, "model.name")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([1e-4, 1e-3, 1e-2], True), ([1, 2, 3, 4], False), (range(1, 100, 10), False), ([0, 1, 1000], False),
     ([1, 4, 16, 64], True)],
)  # fmt: skip
def test_axis(numbers, expected):
    assert is_logarithmic(list(numbers)) is expected


def test_any_tag_is_a_curve_and_several_stand_in_one_chart(tmp_path):
    run = trained(tmp_path / "gan", "model=gan", "dataset=ring", "dataset.examples=200", "trainer.epochs=3",
                  "trainer.pictures=false", "logger=[]")  # fmt: skip
    said = dlx("compare", run.directory, "--curve", "train/generator_loss,train/discriminator_loss")
    assert said.count("by epoch") == 1
    assert "train/generator_loss, train/discriminator_loss by epoch" in said
    lines = {tag for tag in (run.directory / "metrics.jsonl").read_text().split('"') if tag.startswith("train/")}
    for tag in lines:
        assert tag in dlx("compare", run.directory, "--curve", tag)
    with pytest.raises(UsageError, match=r"--curve train/generator_los was given; these runs have .*train/generator_l"):
        dlx("compare", run.directory, "--curve", "train/generator_los")


def test_no_runs():
    with pytest.raises(UsageError, match="no RUN was given"):
        dlx("compare")
    with pytest.raises(UsageError, match="--sweep nothing"):
        dlx("compare", "--sweep", "nothing")
    assert not list(Path().rglob("run.json"))
