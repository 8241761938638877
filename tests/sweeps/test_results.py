"""What is made of a sweep's runs: groups, figures, curves over each other."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dlx.errors import UsageError
from dlx.sweeps.groups import group_runs
from dlx.sweeps.space import parse_space
from dlx.terminal.plot import DOTS, plot
from tests.verbs import dlx, fake


def test_groups_are_means_and_standard_deviations():
    values = np.random.default_rng(0).normal(size=(3, 5))
    rows = [({"a": i}, values[i, j], f"{i}{j}") for j in range(5) for i in range(3)]
    found = group_runs([({"a": 1}, math.nan, "x"), *rows, ({"a": 9}, math.nan, "y")], lower_is_better=True)
    assert [one.settings["a"] for one in found] == [*np.argsort(values.mean(1)), 9]
    for one in found[:3]:
        own = values[one.settings["a"]]
        assert one.mean == pytest.approx(own.mean())
        assert one.std == pytest.approx(own.std(ddof=1))
    assert [one.n_without_value for one in found] == [int(one.settings["a"] in (1, 9)) for one in found]
    assert str(found[-1]) == ""
    assert next(one for one in found if one.settings["a"] == 1).runs == ["10", "11", "12", "13", "14", "x"]


def test_the_best_is_of_the_best_mean(tmp_path):
    from optuna.trial import create_trial

    from dlx.sweeps.results import find_best_trial
    from dlx.sweeps.study import make_distribution

    searched = parse_space(["a=x,y", "seed=1,2"])
    kinds = {one.name: make_distribution(one) for one in searched.dimensions}
    came = {("x", 1): 0.9, ("x", 2): 0.1, ("y", 1): 0.6, ("y", 2): 0.7}
    trials = [create_trial(params={"a": a}, distributions=kinds, value=value) for (a, _), value in came.items()]
    for number, one in enumerate(trials):
        one.number = number
    study = SimpleNamespace(space=searched, record=SimpleNamespace(mode="max"))
    assert find_best_trial(study, trials).number == 3  # not the luckiest of all


@pytest.fixture
def four():
    """Two settings with two seeds each, and a run that failed."""
    for number, (lr, accuracy) in enumerate([(0.1, 0.7), (0.1, 0.9), (0.01, 0.5), (0.01, 0.5), (0.1, 0.99)]):
        status = "failed" if number == 4 else "finished"
        metrics = {"val/best_accuracy": accuracy, "val/accuracy": accuracy - 0.1, "val/loss": accuracy}
        config = f"optimizer: {{lr: {lr}}}\nseed: {number}"
        fake(f"sweeps/s/{number}-x", f"2026-01-0{number + 1}", status, metrics, config, model="mlp", seed=number)


def test_runs_by(four):
    (one, other) = json.loads(dlx("runs", "--sweep", "s", "--by", "optimizer.lr,model", "--json", "--best", "val/loss"))
    assert one["settings"] == {"optimizer.lr": 0.01, "model": "mlp"}  # of a loss the least
    assert (one["mean"], one["sd"], one["without"]) == (0.5, 0, 0)
    assert other["settings"]["optimizer.lr"] == 0.1
    assert (other["mean"], other["sd"]) == (pytest.approx(0.8), pytest.approx(0.02**0.5))
    assert (other["values"], other["without"]) == ([0.9, 0.7], 1)
    lines = dlx("runs", "--sweep", "s", "--by", "optimizer.lr", "--figure", "by.png").splitlines()
    assert lines[1].split()[:4] == ["0.1", "0.7", "±", "0.14"]
    assert Path("by.png").read_bytes()[:4] == b"\x89PNG"
    assert len(json.loads(dlx("runs", "--sweep", "outputs/sweeps/s", "--json"))) == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sweep", "t"], "there are s"),
        (["--sweep", "s", "--by", "optimizr"], "did you mean optimizer"),
        (["--sweep", "s", "--by", "model,optimizer.lrr"], "no run has such a key; did you mean optimizer.lr?"),
        (["--sweep", "s", "--by", "model", "--best", "test/x"], "val/accuracy"),
        (["--sweep", "s", "--figure", "x.png"], "--by model"),
        (["--sweep", "s", "--by", "model", "--figure", "x.txt"], "x.png"),
    ],
)
def test_runs_by_what_is_not_there(four, words, told):
    with pytest.raises(UsageError, match=told):
        dlx("runs", *words)


def decoded(lines):
    """The dots of a plot, as the set of (column, row) that are set."""
    rows = [line.partition("┤")[2] for line in lines if "┤" in line]
    found = set()
    for r, row in enumerate(rows):
        for c, character in enumerate(row):
            bits = ord(character) - 0x2800 if 0x2800 <= ord(character) < 0x2900 else 0
            found |= {(2 * c + x, 4 * r + y) for y in range(4) for x in range(2) if bits & DOTS[y][x]}
    return found


def test_a_plot_shows_its_points():
    line = [(float(i), float(i)) for i in range(40)]
    lines = plot({"up": line, "down": [(x, 39 - y) for x, y in line]}, "both", width=60, height=10)
    assert lines[0] == "both"
    dots = decoded(lines)
    width = 2 * (60 - 2 - 2)
    for share in np.linspace(0.1, 0.9, 9):  # near each point of either diagonal there is a dot, and none off them
        x, y = share * (width - 1), share * 39
        assert any(abs(a - x) <= 1 and abs(b - y) <= 1 for a, b in dots)
        assert any(abs(a - x) <= 1 and abs(b - (39 - y)) <= 1 for a, b in dots)
    assert all(min(abs(b - a * 39 / (width - 1)), abs(39 - b - a * 39 / (width - 1))) <= 1.5 for a, b in dots)
    assert "A" in lines[1]
    assert "B" in lines[10]
    assert lines[-1].split() == ["A", "up", "B", "down"]
    assert plot({"none": [(0.0, math.nan)]}) == []


def test_compare_draws_curves_over_each_other(digits, mine):
    told = dlx("compare", digits.directory, mine.directory)
    assert "train/loss by epoch" in told
    assert "val/accuracy by epoch" in told
    assert "val/loss by epoch" not in told
    assert "val/loss by epoch" in dlx("compare", digits.directory, "--curve", "val/loss")
    with pytest.raises(UsageError, match="val/accuracy"):
        dlx("compare", digits.directory, "--curve", "val/nothing")
    rows = json.loads(dlx("compare", digits.directory, "--json"))["curves"]
    (row,) = (row for row in rows if row["curve"] == "val/accuracy")
    assert row["values"][-1] == row["last"]
    assert len(row["values"]) == 2


def test_figures_and_importance(tmp_path):
    import optuna

    from dlx.sweeps import figures
    from dlx.sweeps.record import Record
    from dlx.sweeps.space import expand_log, parse_space
    from dlx.sweeps.study import make_distribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = parse_space([expand_log(word) for word in ("a=log(1e-4,1)", "b=range(1,9)", "c=x,y", "seed=1")])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(25):
        trial = study.ask({one.name: make_distribution(one) for one in found.dimensions})
        study.tell(trial, (math.log10(trial.params["a"]) + 2) ** 2 + 0.01 * trial.params["b"])
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)

    class Sweep:
        directory, optuna_study, space = tmp_path, study, found
        record = Record((), 26, "val/loss", False, "min", "random", None, 0)

    drawn = figures.draw_figures(Sweep(), study.trials)
    assert [file.name for file in drawn] == ["history.png", "parallel_coordinates.png", "importance.png"]
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in drawn)
    assert figures._draw_history(Sweep(), study.trials).axes[0].get_xlim()[1] > 25  # the one that failed is to be seen
    shares = figures.compute_importance(Sweep(), study.trials[:25])
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["a"] > 0.8
