"""What bare defaults learn on their default dataset: a floor for each, under the values of three seeds."""

import json
from collections.abc import Callable

import pytest

from dlx.errors import UsageError

# Words, the metric, a floor for each of seeds 0, 1, 2, and what was measured with them.
FLOORS = [
    (("model=logistic",), "test/accuracy", 0.95, "0.964 0.964 0.972"),
    (("model=mlp",), "test/accuracy", 0.96, "0.981 0.983 0.972"),
    (("model=dbn",), "test/accuracy", 0.96, "0.981 0.972 0.972"),
    (("model=stacked_autoencoder",), "test/accuracy", 0.96, "0.978 0.975 0.969"),
    (("model=dbn", "model.labelled=true", "procedure=up_down"), "test/accuracy", 0.85, "0.897 0.877 0.883"),
    (("model=autoencoder",), "test/explained_variance", 0.95, "0.965, one seed"),
    (("model=autoencoder", "model.hidden=[64,2]"), "test/explained_variance", 0.48, "0.517 0.513; PCA: 0.285"),
    (("model=helmholtz",), "test/log_likelihood_bound", -22.5, "-21.87 -21.86 -21.84"),
    (("model=vae",), "test/elbo_unbinarized", -24.5, "-23.94, one seed"),
    (("model=mean_shift",), "test/clusters", 2, "2"),
]


def measure(train: Callable, words: tuple[str, ...], seed: int, metric: str) -> float:
    run = train(
        f"{len(words)}-{words[-1]}-{seed}", *words, f"seed={seed}", "trainer.pictures=false", "trainer.threads=1"
    )
    value: float = json.loads((run.directory / "run.json").read_text())["metrics"][metric]
    return value


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("words", "metric", "floor", "measured"), FLOORS, ids=[" ".join(row[0]) for row in FLOORS])
def test_a_bare_default_learns(train, words, metric, floor, measured, seed):
    assert measure(train, words, seed, metric) >= floor


@pytest.mark.slow
def test_a_deep_belief_network_gains_by_pretraining(train):
    """0.9749 on average against 0.9684."""
    plain = [measure(train, ("model=dbn", "procedure=backprop"), seed, "test/accuracy") for seed in range(3)]
    pretrained = [measure(train, ("model=dbn", "procedure=fine_tune"), seed, "test/accuracy") for seed in range(3)]
    assert sum(pretrained) > sum(plain)


@pytest.mark.parametrize("procedure", ["up_down", "wake_sleep", "greedy"])
def test_a_head_that_nothing_trains_is_refused(train, procedure):
    with pytest.raises(UsageError, match="as it was drawn; needed: a procedure that trains it; type procedure=fine"):
        train("run", "model=dbn", f"procedure={procedure}")
