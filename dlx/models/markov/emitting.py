"""A hidden Markov model for data of a kind, by name: for models that are made of several."""

from collections.abc import Sequence
from typing import Any, Literal

from dlx.errors import UsageError
from dlx.models.markov.bernoulli_hmm import BernoulliHMM
from dlx.models.markov.categorical_hmm import CategoricalHMM
from dlx.models.markov.gmm_hmm import GMMHMM
from dlx.models.markov.hmm import HMM

Emission = Literal["auto", "categorical", "gaussian", "bernoulli"]


def make_hmm(emission: Emission, symbols: int | None, shape: Sequence[int], states: int, **options: Any) -> HMM:
    """Make a model of `symbols` symbols, or of vectors (T, features).

    Args:
        emission: `auto` takes categorical for symbols, else gaussian.
        symbols: their number; None for vectors.
        shape: of one sequence.
        states: of the model.
        options: `mixtures`, `covariance`, `floor` and `emission_prior` where the emissions have them; the chain's own.

    Raises:
        UsageError: emissions for data of another kind.
    """
    if emission == "auto":
        emission = "gaussian" if symbols is None else "categorical"
    if (emission == "categorical") != (symbols is not None):
        given = "vectors" if symbols is None else "symbols"
        raise UsageError(f"model.emission={emission} was given for sequences of {given}; type model.emission=auto")
    vectors = {name: options.pop(name) for name in ("mixtures", "covariance", "floor")}
    alpha = options.pop("emission_prior")
    if emission == "gaussian":
        return GMMHMM(shape, states, **vectors, **options)
    if emission == "bernoulli":
        return BernoulliHMM(shape, states, alpha, **options)
    assert symbols is not None
    return CategoricalHMM(symbols, states, shape, emission_prior=alpha, **options)
