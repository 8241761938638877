"""A hidden Markov model whose states are known while it learns: it counts, and then tags.

K. Church, "A Stochastic Parts Program and Noun Phrase Parser for Unrestricted Text", 1988,
https://doi.org/10.3115/974235.974260.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dlx.models.markov.emitting import Emission, make_hmm
from dlx.models.markov.gaussians import Covariance
from dlx.types import Count, Positive


class HMMTagger(nn.Module):
    """p(x, z) with a state for each class z of a step: maximum-likelihood counts, with Dirichlet priors to smooth them.

    Args:
        shape: of one padded sequence, (T, features) or (T,).
        classes: of the steps; as many states.
        symbols: their number, for sequences of symbols; null for vectors.
        emission: `auto` is categorical for symbols, gaussian for vectors; `bernoulli` for zeros and ones.
        mixtures, covariance, floor: of Gaussian emissions, as in `GMMHMM`.
        emission_prior, start_prior, transition_prior: α of the priors; α - 1 is added to every count.
        dtype: as in `HMM`.
    """

    accepts = ("sequence", "symbols")
    labelled = True
    complete = True  # nothing is hidden from EM: one pass is all

    def __init__(
        self,
        shape: Sequence[int],
        classes: Count,
        symbols: Count | None = None,
        emission: Emission = "auto",
        mixtures: Count = 1,
        covariance: Covariance = "diagonal",
        floor: Positive = 1e-3,
        emission_prior: Positive = 1.1,
        start_prior: Positive = 1.1,
        transition_prior: Positive = 1.1,
        dtype: Literal["float64", "float32"] = "float64",
    ) -> None:
        super().__init__()
        self.chain = make_hmm(
            emission, symbols, shape, classes, mixtures=mixtures, covariance=covariance, floor=floor,
            emission_prior=emission_prior, start_prior=start_prior, transition_prior=transition_prior, dtype=dtype,
        )  # fmt: skip
        self.emission, self.intensities = emission, emission == "bernoulli"  # data stands for probabilities

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log p(z_t | x), (batch, T, classes), of x (batch, T, ...) padded beyond `lengths` (batch,)."""
        return self.chain.posterior_states(x, lengths).clamp(min=1e-300).log()

    def steps(self, x: Tensor, lengths: Tensor | None = None, state: None = None) -> tuple[Tensor, None]:
        """Return what `forward` does; there is no state to go on from."""
        return self(x, lengths), None

    @torch.no_grad()
    def statistics(self, x: Tensor, lengths: Tensor | None = None, y: Tensor | None = None) -> dict[str, Tensor]:
        """Return counts of sequences x whose steps have the classes y (batch, T)."""
        assert y is not None
        return self.chain.supervised_statistics(x, y, lengths)

    def maximize(self, statistics: Mapping[str, Tensor]) -> None:
        """Take the tables that the counts make most probable."""
        self.chain.maximize(statistics)

    def log_prior(self) -> float:
        """Return what `HMM.log_prior` does."""
        return self.chain.log_prior()

    def pictures(self, symbols: Sequence[str] | None = None, classes: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Draw what its chain does, whose states are the classes."""
        pictures: Callable[..., dict[str, Tensor]] = self.chain.pictures  # type: ignore[assignment]
        known = {"symbols": symbols} if "symbols" in inspect.signature(pictures).parameters else {}
        return pictures(states=classes, **known)
