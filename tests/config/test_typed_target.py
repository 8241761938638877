"""A class that is typed where no option is chosen: the advice of each error, followed, ends in a training."""

import re

import pytest

from dlx.config.compose import compose
from dlx.config.report import ConfigError

STEP = "torch.optim.lr_scheduler.StepLR"


def find_mistakes(words):
    try:
        compose(words)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("first", [f"scheduler._target_={STEP}", f"+scheduler._target_={STEP}"])
def test_the_advice_ends_in_a_training(first, train):
    words = [first]
    while error := find_mistakes(words):
        advice = re.findall(r"type (\S+=\S+)", error)
        assert set(advice) - set(words), f"{error}: no advice, or to type what was typed"
        words += [word.replace("=…", "=2") for word in advice]
    assert sorted(words[1:]) == ["scheduler._partial_=true", "scheduler.step_size=2"]
    run = train("run", *words, "trainer.epochs=3", "optimizer.lr=0.1", "trainer.pictures=false", "dataset.limit=64")
    lines = (run.directory / "metrics.jsonl").read_text()
    rates = [float(rate) for rate in re.findall(r'"train/lr": ([\d.e-]+)', lines)]
    assert rates[0] == 0.1
    assert rates[-1] == pytest.approx(0.01), "two epochs on"


@pytest.mark.parametrize("word", ["+trainer.epochs=3", "+optimizer._target_=torch.optim.SGD"])
def test_what_is_there_needs_no_plus(word):
    with pytest.raises(ConfigError, match=re.escape(f"is there already; type {word[1:]}")):
        compose([word])


def test_a_misspelt_class_is_still_told():
    with pytest.raises(ConfigError, match="did you mean"):
        compose([f"scheduler._target_={STEP}R"])
