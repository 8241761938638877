"""A run of an experiment as its file says ends with its figure beside the published one; any other run does not."""

import re

import pytest
from omegaconf import OmegaConf

from dlx.config.compose import compose
from dlx.records.published import (
    RUN_KEYS,
    compare,
    compose_alone,
    find_overrides,
    find_run_search_path,
    format_comparison,
)
from dlx.run import train_in
from tests.verbs import dlx

FILE = """\
# @package _global_
# tiny
defaults:
  - override /scheduler: cosine
model: {hidden: [16]}
trainer: {epochs: 2}
published:
  - {metric: test/error, value: 5, spread: 0.5, unit: "%", source: Them 1998, seen: true}
  - {metric: test/error, value: 4.25, unit: "%", source: Unseen 1999, seen: false}
  - {metric: test/loss, value: 1.5e-1, unit: nats, setting: longer, source: Them 1998, seen: true}
  - {metric: test/log_p, value: -86, unit: nats, source: Them 1998, seen: true}
"""


@pytest.fixture
def experiment(tmp_path):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(FILE)
    (folder / "bare.yaml").write_text(FILE.partition("published")[0])
    return folder


def run_of(directory, *overrides, name="tiny"):
    return train_in(directory, compose([f"experiment={name}", *overrides]), {"experiment": name, "overrides": []})


def test_the_file_as_it_is(experiment, tmp_path, capsys):
    run = run_of(tmp_path / "run", "seed=3", "trainer.device=cpu", "trainer.threads=1", "allow=[torch]")
    about, said = run.read(), capsys.readouterr().out
    error, loss = about["metrics"]["test/error"], about["metrics"]["test/loss"]
    first, second = about["published"]
    assert first == {
        "metric": "test/error", "measured": error * 100, "published": 5, "spread": 0.5, "unit": "%", "setting": None,
        "source": "Them 1998",
    }  # fmt: skip
    assert second["measured"] == loss
    assert f"\ntest/error {error * 100:.4g} % · published 5 ± 0.5 % (Them 1998)\n" in said
    assert re.search(r"\ntest/loss \S+ nats · published 0.15 nats \(Them 1998; longer\)\n", said)
    assert "Unseen" not in said
    assert "Unseen" not in str(about)
    assert "log_p" not in str(about)


@pytest.mark.parametrize(
    "override",
    [
        "trainer.epochs=3", "optimizer.lr=2e-3", "model.hidden=[17]", "dataset.val=0.2", "trainer.batch=32",
        "scheduler=constant", "optimizer=sgd", "trainer.max_steps=10", "pretrained=x.pth",
    ],
)  # fmt: skip
def test_any_other_configuration_says_nothing(experiment, override, tmp_path):
    config = compose(["experiment=tiny", override])
    assert compare("tiny", config, {"test/error": 0.1}) == []
    assert find_overrides(compose_alone("tiny", find_run_search_path(None)), config)


def test_what_says_where_a_run_computes_is_no_difference(experiment):
    """Nor is what follows from it, such as dataset.seed; a key that is not on the list is one."""
    (experiment / "tiny.yaml").write_text(FILE.replace("defaults:\n", "defaults:\n  - override /dataset: mnist\n"))
    config = OmegaConf.to_container(
        compose(["experiment=tiny", "seed=9", "allow=[torch]", "dataset.root=x"]), resolve=True
    )
    config |= {"logger": {"csv": {"every": 3}}, "published": []}
    config["trainer"] |= {"device": "cuda", "threads": 1, "logger": {"every": 3}}
    config["dataset"] |= {"shape": [1, 28, 28], "classes": 10}
    assert set(RUN_KEYS) == {
        "seed", "allow", "published", "logger", "dataset.root", "trainer.device", "trainer.threads", "trainer.logger",
    }  # fmt: skip
    assert [one["metric"] for one in compare("tiny", config, {"test/error": 0.1})] == ["test/error"]
    config["trainer"]["workers"] = 3
    assert compare("tiny", config, {"test/error": 0.1}) == []


def test_without_an_experiment_or_figures_nothing_is_compared(experiment, tmp_path):
    assert compare(None, compose([]), {"test/error": 0.1}) == []
    assert compare("bare", compose(["experiment=bare"]), {"test/error": 0.1}) == []
    assert "published" not in run_of(tmp_path / "run", name="bare").read()
    assert compare("gone", compose([]), {"test/error": 0.1}) == []


def test_a_resumed_run_is_compared_by_its_last_configuration(experiment, tmp_path):
    run = run_of(tmp_path / "run", "trainer.epochs=1", "scheduler.T_max=2")
    assert "published" not in run.read()
    said = dlx("resume", run.directory, "trainer.epochs=2")
    assert "· published 5 ± 0.5 % (Them 1998)" in said
    assert run.read()["published"][0]["published"] == 5
    assert "published 5" not in dlx("resume", run.directory, "trainer.epochs=3")
    assert run.read()["published"] == []


def test_a_file_that_changed_since_is_composed_anew(experiment, tmp_path):
    config = compose(["experiment=tiny"])
    assert compare("tiny", config, {"test/error": 0.1})
    (experiment / "tiny.yaml").write_text(FILE.replace("epochs: 2", "epochs: 3"))
    assert compare("tiny", config, {"test/error": 0.1}) == []


def test_the_issues_own_line():
    entry = {"metric": "test/error", "measured": 0.78, "published": 0.95, "unit": "%", "source": "LeCun et al. 1998"}
    assert format_comparison(entry) == "test/error 0.78 % · published 0.95 % (LeCun et al. 1998)"


def test_keys_that_follow_others_are_no_overrides_of_their_own(experiment):
    config = compose(["experiment=tiny", "trainer.epochs=5", "seed=2"])  # scheduler.T_max and dataset.seed follow
    assert find_overrides(compose_alone("tiny", find_run_search_path(None)), config) == {"trainer.epochs": 5}
