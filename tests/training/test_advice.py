"""An option that can have no effect is refused or said; numbers that say little are said to."""

import pytest

from dlx.config.compose import compose
from dlx.errors import UsageError
from dlx.parts import assemble

SMALL = ("dataset=iris", "trainer.device=cpu", "trainer.threads=1", "trainer.epochs=2", "trainer.batch=50")


def build(*words):
    return assemble(compose([*SMALL, *words]), fresh=True)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("trainer.patience=3", "dataset.val=0"), "dataset.val=0.1"),
        (("trainer.patience=3", "trainer.validate_every=0"), "trainer.validate_every=1"),
        (("trainer.patience=3", "trainer.evaluate=[train]"), "trainer.evaluate=[val]"),
        (("scheduler=plateau", "dataset.val=0"), "dataset.val=0.1"),
        (("scheduler=plateau", "trainer.validate_every=0"), "trainer.validate_every=1"),
    ],
)
def test_waiting_for_a_validation_that_never_comes_is_refused(words, remedy):
    with pytest.raises(UsageError, match=r"validation") as error:
        build(*words)
    assert f"type {remedy}" in str(error.value)
    build(*(word for word in words if word.split("=")[0] != remedy.split("=")[0]), remedy)  # the advice works


def test_last_batch_of_one_with_batch_normalization_is_refused_and_the_advice_works(train):
    words = ("model.batch_norm=true", "dataset.val=0", "dataset.test=0", "trainer.epochs=1")
    with pytest.raises(UsageError, match=r"last batch of 1 of the 150 examples") as error:
        build(*words, "trainer.batch=149")
    better = str(error.value).rpartition("type ")[2]
    assert train("run", "dataset=iris", *words, better).read()["status"] == "finished"


@pytest.mark.parametrize(
    ("words", "remark"),
    [
        (("model=svm", "optimizer=adam", "optimizer.lr=0.1"), "optimizer, optimizer.lr: no effect"),
        (("model=svm", "scheduler=cosine"), "scheduler: no effect"),
        (("model=svm", "trainer.epochs=10"), "trainer.epochs=10: no effect"),
        (("model=hopfield", "dataset=patterns", "trainer.epochs=10"), "trainer.epochs=10: no effect"),
        (("model=self_organizing_map", "optimizer.lr=1"), "optimizer.lr: no effect"),
        (("model=mlp", "trainer.min_delta=0.1"), "trainer.min_delta: no effect"),
    ],
)
def test_what_has_no_effect_and_what_says_little_is_said(words, remark, train, capsys):
    run = train("run", *SMALL, *words)
    assert any(line.startswith(remark) for line in run.read()["notes"]), run.read()["notes"]
    assert remark in capsys.readouterr().out


def test_what_has_an_effect_is_not_said_to_have_none(train):
    run = train("run", *SMALL, "model=mlp", "optimizer=sgd", "scheduler=cosine", "trainer.patience=9")
    assert not any("no effect" in line for line in run.read()["notes"])


def test_few_examples_and_updates_are_said(train, capsys):
    run = train("run", *SMALL, "model=mlp", "dataset.val=0.035")
    n = run.read()["examples"]["val"]
    assert n < 10
    remark = f"{n} validation examples: an accuracy moves by {100 / n:.3g} points; 6 updates in all"
    assert run.read()["notes"] == [remark]
    assert remark in capsys.readouterr().out
