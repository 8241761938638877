"""The hidden Markov model with normal emissions.

L. R. Rabiner, Proc. IEEE 77, 1989, https://doi.org/10.1109/5.18626, section IV.A.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from dlx.models.markov import kmeans_init
from dlx.models.markov.gaussians import Covariance, Gaussians
from dlx.models.markov.hmm import HMM, Topology
from dlx.models.markov.tables import draw_transitions
from dlx.types import Count, Fraction, NonNegative, Positive


class GaussianHMM(HMM):
    """p(x_t | z_t) = N(μ_z, Σ_z), for sequences of vectors.

    Args:
        shape: of one padded sequence, (T, features); a sample has this length.
        states: number of hidden states.
        covariance, floor, mean_prior, mean_weight, covariance_prior, covariance_weight: as in `Gaussians`.
        stay, topology, jumps, start_prior, transition_prior, dtype: as in `HMM`.
    """

    accepts = ("sequence",)

    def __init__(
        self,
        shape: Sequence[int],
        states: Count = 3,
        covariance: Covariance = "diagonal",
        floor: Positive = 1e-3,
        mean_prior: float = 0.0,
        mean_weight: NonNegative = 0.0,
        covariance_prior: NonNegative = 0.0,
        covariance_weight: NonNegative = 0.0,
        stay: Fraction = 0.8,
        topology: Topology = "ergodic",
        jumps: Count = 1,
        start_prior: Positive = 1.0,
        transition_prior: Positive = 1.0,
        dtype: Literal["float64", "float32"] = "float64",
    ) -> None:
        super().__init__(states, stay, topology, jumps, start_prior, transition_prior, dtype)
        self.shape = tuple(shape)
        priors = (mean_prior, mean_weight, covariance_prior, covariance_weight)
        self.normal = Gaussians(states, self.shape[-1], covariance, floor, *priors)

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Begin at the centres of sequences x (batch, T, features), all as wide as the data."""
        steps, place = kmeans_init.select_steps(x)
        own = kmeans_init.assign_states(steps, place, self.states, self.topology)
        self.normal.initialize(steps, kmeans_init.compute_state_means(steps, own, self.states))

    def emission_log_prob(self, x: Tensor) -> Tensor:
        """Return log N(x_t; μ_z, Σ_z), (..., S), of x (..., features)."""
        return self.normal.log_density(x)

    def emission_statistics(self, x: Tensor, states: Tensor) -> dict[str, Tensor]:
        """Return the weighted moments of x (N, features)."""
        return self.normal.statistics(x, states)

    def maximize_emissions(self, statistics: Mapping[str, Tensor]) -> None:
        self.normal.maximize(statistics)

    def emission_log_prior(self) -> Tensor:
        return self.normal.log_prior()

    @torch.no_grad()
    def constrain(self) -> None:
        super().constrain()
        self.normal.constrain()

    def draw(self, state: Tensor) -> Tensor:
        """Return vectors (n, features) of states (n,)."""
        return self.normal.draw(state)

    def sample(self, n: int, length: int | None = None) -> Tensor:
        """Draw n sequences of vectors, (n, length, features), as long as one of the training data unless told."""
        return self.sample_chain(n, length or self.shape[0]).float()

    @torch.no_grad()
    def pictures(self, states: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Draw the transition table; `states` names its rows."""
        return {"transition": draw_transitions(self.tables[1].exp(), states)}
