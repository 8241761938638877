"""The hidden Markov model with mixtures of normal distributions as emissions.

B.-H. Juang, S. Levinson, M. Sondhi, "Maximum Likelihood Estimation for Multivariate Mixture Observations of Markov
Chains", IEEE Transactions on Information Theory 32, 1986.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dlx.models.markov import kmeans_init
from dlx.models.markov.gaussian_hmm import GaussianHMM
from dlx.models.markov.gaussians import Covariance, Gaussians
from dlx.models.markov.hmm import Topology
from dlx.models.markov.tables import draw_random_rows, log_dirichlet_prior, maximize_rows
from dlx.types import Count, Fraction, NonNegative, Positive


class GMMHMM(GaussianHMM):
    """p(x_t | z_t) = Σ_m w_zm N(μ_zm, Σ_zm), for sequences of vectors.

    Args:
        mixtures: normal distributions M of each state.
        weight_prior: α of a Dirichlet prior over each state's weights.
        covariance: as in `Gaussians`; `tied` is one matrix for all components of all states.
        shape, states, floor, mean_prior, mean_weight, covariance_prior, covariance_weight, stay, topology, jumps,
            start_prior, transition_prior, dtype: as in `GaussianHMM`.
    """

    log_weight: nn.Parameter  # (S, M)

    def __init__(
        self,
        shape: Sequence[int],
        states: Count = 3,
        mixtures: Count = 2,
        covariance: Covariance = "diagonal",
        floor: Positive = 1e-3,
        weight_prior: Positive = 1.0,
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
        priors = (mean_prior, mean_weight, covariance_prior, covariance_weight)
        super().__init__(
            shape, states, covariance, floor, *priors, stay, topology, jumps, start_prior, transition_prior, dtype
        )
        self.mixtures, self.weight_prior = mixtures, weight_prior
        self.normal = Gaussians(states * mixtures, self.shape[-1], covariance, floor, *priors)
        self.log_weight = nn.Parameter(draw_random_rows(states, mixtures).fill_(1 / mixtures).log())

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Begin at the centres of each state's part of sequences x (batch, T, features)."""
        steps, place = kmeans_init.select_steps(x)
        own = kmeans_init.assign_states(steps, place, self.states, self.topology)
        parts = [steps[own == state] for state in range(self.states)]
        means = [kmeans_init.fit_kmeans(part if len(part) else steps, self.mixtures)[0] for part in parts]
        self.normal.initialize(steps, torch.cat(means))

    def emission_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x_t | z), (..., S), of x (..., features)."""
        return self._joint(x).logsumexp(-1)

    def _joint(self, x: Tensor) -> Tensor:
        """Return log p(x_t, m | z), (..., S, M)."""
        result: Tensor = self.normal.log_density(x).unflatten(
            -1, (self.states, self.mixtures)
        ) + self.log_weight.log_softmax(1)
        return result

    def emission_statistics(self, x: Tensor, states: Tensor) -> dict[str, Tensor]:
        """Return the weighted moments of x (N, features) for each component of each state."""
        share = self._joint(x).softmax(-1)  # p(m | z, x_t)
        moments = self.normal.statistics(x, (states.double()[..., None] * share).flatten(1))
        return {**moments, "mixture": moments["weight"].view(self.states, self.mixtures)}

    @torch.no_grad()
    def maximize_emissions(self, statistics: Mapping[str, Tensor]) -> None:
        super().maximize_emissions(statistics)
        maximize_rows(self.log_weight, statistics["mixture"], self.weight_prior)

    def emission_log_prior(self) -> Tensor:
        return super().emission_log_prior() + log_dirichlet_prior(self.log_weight.log_softmax(1), self.weight_prior)

    @torch.no_grad()
    def constrain(self) -> None:
        super().constrain()
        self.log_weight.copy_(self.log_weight.log_softmax(1))

    def draw(self, state: Tensor) -> Tensor:
        """Return vectors (n, features) of states (n,)."""
        mixture = torch.multinomial(self.log_weight.softmax(1)[state], 1)[:, 0]
        return self.normal.draw(state * self.mixtures + mixture)
