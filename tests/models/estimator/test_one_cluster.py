"""A clustering that puts everything together says so, and names the key to change."""

import json

import pytest

SHORT = ("trainer.pictures=false", "logger=[]")


def train_on_digits(train, name, *words):
    return train(name, "model=mean_shift", "dataset=digits", "dataset.limit=200", *words, *SHORT)


def test_one_cluster_is_remarked_on_and_the_key_named(train, capsys):
    run = train_on_digits(train, "one", "model.estimator.bandwidth=9")
    assert run.read()["metrics"]["test/clusters"] == 1
    line = "with all 200 examples in it; type model.estimator.bandwidth=… for a smaller one than 9"
    assert f"one cluster was found, {line}" in capsys.readouterr().out
    assert json.loads((run.directory / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 1


def test_so_it_is_where_the_bandwidth_is_estimated(train, capsys):
    run = train_on_digits(train, "estimated")
    assert run.read()["metrics"]["test/clusters"] == 1
    assert "the bandwidth was estimated, too wide; type model.estimator.bandwidth=…" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("model=mean_shift", "dataset=digits", "model.estimator.bandwidth=1.5")])
def test_several_clusters_need_no_remark(train, capsys, words):
    run = train("several", *words, "dataset.limit=200", *SHORT)
    assert run.read()["metrics"]["test/clusters"] > 1
    assert "one cluster" not in capsys.readouterr().out


def test_one_that_was_asked_for_needs_none(train, capsys):
    train("asked", "model=kmeans", "model.estimator.n_clusters=1", "dataset=iris", *SHORT)
    assert "one cluster" not in capsys.readouterr().out
