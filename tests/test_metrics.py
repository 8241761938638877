"""What is declared of metrics, and what reads it: searches, rankings, plateau schedules."""

import json
import sys
from pathlib import Path

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from dlx.config.catalogue import Catalogue
from dlx.config.compose import compose
from dlx.config.declared import read_declared, read_monitored
from dlx.config.search import find_search_path
from dlx.config.static.signature import read_signature
from dlx.errors import UsageError
from dlx.loggers import jsonl
from dlx.metrics import CATALOGUE, Metric, find_metric, get_direction, list_declared, resolve_declared, split_direction
from dlx.runs.query import choose_key_metric
from dlx.sweeps.objective import choose_metric
from tests.conftest import ROOT
from tests.verbs import dlx, fake

TARGETS = sorted(
    {
        entry.target
        for group in ("task", "model", "procedure")
        for entry in Catalogue(find_search_path(None)).entries(group)
        if entry.target
    }
)
TASKS = sorted(path.stem for path in (ROOT / "conf" / "task").glob("*.yaml"))
QUIET = ("logger=[]", "trainer.pictures=false", "trainer.test=false")

MINE = """
from dlx import metrics
from dlx.metrics import Metric as M
from dlx.tasks.classification import Classification

NAME = "spread"


class Base(Classification):
    declares = (metrics.Metric(NAME, None, unit="nats"), "kl")


class Mine(Base):
    declares = [M("fid", direction="min", meaning="far"), M("hits_*", "max")]
    monitor = "fid"

    def finish(self, means):
        final = super().finish(means)
        return {**final, "fid": 1 - final["accuracy"], "hits_3": final["accuracy"], "spread": 2.0, "kl": 0.0}


class Old(Classification):  # as tasks were written before there were declarations
    monitor = "score"
    mode = "max"

    def finish(self, means):
        final = super().finish(means)
        return {**final, "score": final["accuracy"]}


class Silent(Classification):
    monitor = "score"


class Typo(Old):
    mode = "maximum"
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's module of tasks, in a directory of its own, and a task file for each."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    name = f"tasks_{tmp_path.name.replace('-', '_')}"
    Path(f"{name}.py").write_text(MINE)
    Path("conf/task").mkdir(parents=True)
    for kind in ("Mine", "Old", "Silent", "Typo"):
        Path(f"conf/task/{kind.lower()}.yaml").write_text(f"# {kind}\n_target_: {name}.{kind}\n")
    yield name
    sys.modules.pop(name, None)


# -- declarations ------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_found_by_tag():
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for tag in ("accuracy", "val/accuracy", "val/best_accuracy", "train/layer12/accuracy"):
        assert find_metric(tag) == CATALOGUE[names.index("accuracy")]
    assert find_metric("val/top5_accuracy").name == "top[0-9]*_accuracy"
    assert find_metric("val/topographic_error").name == "topographic_error"  # itself before any pattern
    assert find_metric("test/reconstruction_error").unit == "input²"
    assert find_metric("val/best_elbo_static").direction == "max"
    assert find_metric("val/fid") is None
    own = Metric("best_*", "min")
    assert find_metric("test/best_of", [own]) == own


@pytest.mark.parametrize("target", TARGETS)
def test_text_and_class_declare_the_same(target):
    kind = get_object(target)
    if isinstance(kind, type):
        declared = resolve_declared(read_signature(target).attributes.get("declares", ()), target)
        assert set(declared) == set(list_declared(kind))


def test_own_declarations_are_read_without_import(mine):
    declared = resolve_declared(read_signature(f"{mine}.Mine").attributes["declares"], "Mine")
    assert declared[:3] == (
        Metric("fid", "min", meaning="far"),
        Metric("hits_*", "max"),
        Metric("spread", None, "nats"),
    )
    assert {"kl", "accuracy", "loss"} <= {metric.name for metric in declared}
    assert mine not in sys.modules
    assert set(declared) == set(list_declared(get_object(f"{mine}.Mine")))


@pytest.mark.parametrize(
    ("declares", "told"),
    [
        (("fid",), 'Mine declares "fid", which is not in the catalogue.*Metric\\("fid", "min"\\)'),
        ((Metric("accuracy", "min"),), "Mine declares accuracy as min, and dlx has it as max.*another name"),
        ((Metric("top7_error", "max"),), "dlx has it as min"),
    ],
)
def test_declarations_that_are_refused(declares, told):
    with pytest.raises(UsageError, match=told):
        resolve_declared(declares, "Mine")


def test_a_direction_may_be_given_to_what_has_none():
    assert resolve_declared((Metric("energy", "min"),), "Mine") == (Metric("energy", "min"),)


# -- searches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_tasks_monitor_what_is_declared(task):
    entry = Catalogue(find_search_path(None)).entry("task", task)
    kind = get_object(entry.target)
    monitored = read_monitored(OmegaConf.create({"task": entry.node}))
    if task == "generation":
        assert monitored is None
        return
    assert monitored.direction == kind.__new__(kind).mode  # the constructor has no part in it
    assert monitored in list_declared(kind)


def test_costs_are_minimised():
    words = ["model=elman", "dataset=casino", "task=prediction", "model.outputs=6"]
    config = compose(words)
    for name in ("nats_per_step", "bits_per_step", "nats_per_next_step", "perplexity"):
        assert choose_metric(config, f"val/{name}") == (f"val/{name}", "min")
    for name in ("mode_divergence", "frechet_lenet", "bit_errors_per_sequence", "kl"):
        assert get_direction(f"val/{name}") == "min"
    assert choose_metric(compose(["model=rbm"]), "train/sampled_reconstruction_error")[1] == "min"
    assert choose_metric(compose(["model=dbn"]), "train/layer2/free_energy_gap:min")[1] == "min"


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        (
            "val/fid",
            r'declares no fid; type --metric val/fid:min or val/fid:max, or declare it: .*Metric\("fid", "min"\)',
        ),
        ("val/fid:low", "needed: :min or :max after the name; type --metric val/fid:min"),
        ("val/accuracy:min", "accuracy is declared as max; type --metric val/accuracy"),
        ("train/lr", "nothing says which way lr is better; type --metric train/lr:min"),
        ("val/kl", "declares no kl"),  # known, and not measured by this task
        ("fid:min", "type val/fid"),
    ],
)
def test_what_a_sweep_refuses(metric, told):
    with pytest.raises(UsageError, match=told) as error:
        choose_metric(compose([]), metric)
    assert "\n" not in str(error.value)


def test_what_was_refused_works_as_advised():
    assert choose_metric(compose([]), "val/fid:min") == ("val/fid", "min")
    assert choose_metric(compose([]), "train/lr:max") == ("train/lr", "max")
    assert choose_metric(compose([]), "val/accuracy:max") == ("val/accuracy", "max")
    assert split_direction("--metric", "val/fid") == ("val/fid", None)


def test_own_tasks_are_searched_by_what_they_declare(mine):
    config = compose(["task=mine"])
    assert choose_metric(config, None) == ("val/fid", "min")
    assert choose_metric(config, "val/hits_7") == ("val/hits_7", "max")
    assert choose_metric(config, "val/kl") == ("val/kl", "min")
    assert choose_metric(compose(["task=old"]), None) == ("val/score", "max")
    assert choose_metric(compose(["task=old"]), "val/score") == ("val/score", "max")
    with pytest.raises(UsageError, match="nothing says which way score is better"):
        choose_metric(compose(["task=silent"]), None)
    assert Metric("hits_*", "max") in read_declared(config)
    listed = json.loads(dlx("list", "metrics", "--json"))
    assert {"name": "fid", "direction": "min", "unit": "", "meaning": "far", "origin": "user"} in listed
    assert [one["name"] for one in listed if one["origin"] == "built-in"] == [metric.name for metric in CATALOGUE]


# -- runs --------------------------------------------------------------------------------------------------------------


def test_runs_keep_the_directions_of_own_metrics(mine, train):
    words = ("allow=[" + mine + "]", "trainer.epochs=1", "dataset.limit=200", *QUIET)
    run = train("outputs/mine", *words, "task=mine")
    assert run.read()["directions"] == {"val/fid": "min", "val/hits_3": "max", "val/best_fid": "min"}
    assert train("outputs/old", *words, "task=old").read()["directions"] == {
        "val/score": "max",
        "val/best_score": "max",
    }
    assert "directions" not in train("outputs/plain", *words).read()
    for kind in ("silent", "typo"):
        with pytest.raises(UsageError, match=r"monitors score, and nothing says which way.*declares = "):
            train(f"outputs/{kind}", *words, f"task={kind}")
        assert not Path(f"outputs/{kind}").exists()


def test_the_best_run_is_that_of_the_declared_direction():
    costs, gains = ("test/nats_per_next_step", "test/kl", "test/rmse"), ("test/r2", "test/overlap_at_0.1")
    for number, value in enumerate((1.0, 0.25, 2.0)):
        metrics = dict.fromkeys((*costs, *gains, "test/fid", "test/units"), value)
        fake(f"r/{number}", f"2026-01-0{number + 1}", "finished", metrics, model=f"m{number}")

    def order(metric):
        return [about["metrics"]["test/fid"] for about in json.loads(dlx("runs", "--best", metric, "--json"))]

    for metric in (*costs, "test/fid:min", "test/units:min"):
        assert order(metric) == [0.25, 1.0, 2.0], metric
    for metric in (*gains, "test/fid:max"):
        assert order(metric) == [2.0, 1.0, 0.25], metric
    for metric in ("test/fid", "test/units"):
        with pytest.raises(UsageError, match=f"type --best {metric}:min or {metric}:max") as error:
            order(metric)
        assert "\n" not in str(error.value)
    by = json.loads(dlx("runs", "--by", "model", "--best", "test/kl", "--json"))
    assert [group["mean"] for group in by] == [0.25, 1.0, 2.0]
    by = json.loads(dlx("runs", "--by", "model", "--best", "test/fid:max", "--json"))
    assert [group["mean"] for group in by] == [2.0, 1.0, 0.25]


def test_the_best_run_by_an_own_metric_needs_no_code():
    for number, value in enumerate((1.0, 0.25)):
        fake(f"r/{number}", f"2026-01-0{number + 1}", metrics={"test/fid": value}, directions={"test/fid": "min"})
    assert [about["id"] for about in json.loads(dlx("runs", "--best", "test/fid", "--json"))] == ["r/1", "r/0"]
    (row,) = json.loads(dlx("compare", "outputs/r/0", "outputs/r/1", "--json"))["metrics"]
    assert row["best"] == "r/1"
    fake("r/2", "2026-01-03", metrics={"test/fid": 3.0}, directions={"test/fid": "max"})
    with pytest.raises(UsageError, match="of some of these runs more is better"):
        dlx("runs", "--best", "test/fid")
    assert json.loads(dlx("runs", "--best", "test/fid:max", "--json"))[0]["id"] == "r/2"


@pytest.mark.parametrize(
    ("metrics", "key"),
    [
        (["train/loss", "val/best_mse", "val/mse", "test/mse", "test/r2"], "test/mse"),
        (["test/loss", "test/mse", "test/rmse", "test/mae", "test/r2"], "test/r2"),
        (["test/loss", "test/accuracy", "test/error"], "test/accuracy"),
        (["train/gradient_norm", "train/lr", "train/steps_per_second", "train/loss"], "train/loss"),
        (["test/free_energy", "test/pseudo_log_likelihood", "test/reconstruction_error"], "test/pseudo_log_likelihood"),
        (["test/diversity", "test/discriminator_auc"], "test/diversity"),
        (["test/accuracy", "test/mine"], "test/mine"),
        ([], None),
    ],
)
def test_the_metric_that_represents_a_run(metrics, key):
    about = {"metrics": dict.fromkeys(metrics, 0.5), "directions": {"test/mine": "min"}}
    assert choose_key_metric(about) == key


# -- plateaus ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "metric", "mode"),
    [
        (["model=autoencoder"], "mse", "min"),
        (["model=mlp"], "accuracy", "max"),
        (["model=mlp", "scheduler.mode=min"], "accuracy", "min"),  # what is typed wins
    ],
)
def test_a_plateau_goes_by_the_direction_of_its_metric(words, metric, mode, train):
    short = ("trainer.epochs=8", "scheduler=plateau", "scheduler.patience=0", "dataset.limit=300", *QUIET)
    run = train("run", *words, *short, "optimizer.lr=1e-3")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    truth = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, factor=0.1, patience=0)
    records = [one for one in jsonl.read_metrics(run.directory / "metrics.jsonl") if f"val/{metric}" in one]
    assert len(records) == 8
    for record in records:
        assert record["train/lr"] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        truth.step(record[f"val/{metric}"])
    if metric == "mse":
        assert records[-1]["train/lr"] == pytest.approx(1e-3)  # it fell at each epoch: nothing to be lowered
    assert OmegaConf.load(run.directory / "config.yaml").scheduler.mode == mode


def test_a_plateau_needs_a_metric(train):
    with pytest.raises(UsageError, match="monitors no metric that it could wait for"):
        train("run", "model=rbm", "task=generation", "scheduler=plateau", *QUIET)
