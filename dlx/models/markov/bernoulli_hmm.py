"""The hidden Markov model of independent zeros and ones, such as the notes of a chord."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from dlx.models.markov import kmeans_init
from dlx.models.markov.hmm import HMM, Topology
from dlx.models.markov.tables import draw_transitions
from dlx.types import Count, Fraction, Positive


class BernoulliHMM(HMM):
    """p(x_t | z_t) = Π_d p_zd^x_td (1 - p_zd)^(1 - x_td), for sequences of vectors of zeros and ones.

    Args:
        shape: of one padded sequence, (T, features); a sample has this length.
        states: number of hidden states.
        emission_prior: α of a Beta(α, α) prior over each probability: α - 1 ones and as many zeros never seen.
        floor: no probability is nearer to 0 or 1: without it, what a state never saw would be impossible.
        stay, topology, jumps, start_prior, transition_prior, dtype: as in `HMM`.
    """

    accepts = ("sequence",)
    intensities = True  # data stands for probabilities

    def __init__(
        self,
        shape: Sequence[int],
        states: Count = 3,
        emission_prior: Positive = 1.0,
        floor: Positive = 1e-4,
        stay: Fraction = 0.8,
        topology: Topology = "ergodic",
        jumps: Count = 1,
        start_prior: Positive = 1.0,
        transition_prior: Positive = 1.0,
        dtype: Literal["float64", "float32"] = "float64",
    ) -> None:
        super().__init__(states, stay, topology, jumps, start_prior, transition_prior, dtype)
        self.shape, self.alpha, self.floor = tuple(shape), emission_prior, floor
        self.logit = nn.Parameter(torch.randn(states, self.shape[-1], dtype=torch.float64))

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Begin at the centres of sequences x (batch, T, features), drawn half way to the mean of all."""
        steps, place = kmeans_init.select_steps(x)
        own = kmeans_init.assign_states(steps, place, self.states, self.topology)
        p = (kmeans_init.compute_state_means(steps, own, self.states) + steps.mean(0)) / 2
        self.logit.copy_(p.clamp(0.01, 0.99).logit())

    def emission_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x_t | z), (..., S), of x (..., features)."""
        return x.double() @ self.logit.T + logsigmoid(-self.logit).sum(1)

    def emission_statistics(self, x: Tensor, states: Tensor) -> dict[str, Tensor]:
        """Return the expected steps `weight` (S,) in each state, and the ones among them, `ones` (S, features)."""
        w = states.double()
        return {"weight": w.sum(0), "ones": w.T @ x.double()}

    @torch.no_grad()
    def maximize_emissions(self, statistics: Mapping[str, Tensor]) -> None:
        weight, more = statistics["weight"][:, None], self.alpha - 1
        p = (statistics["ones"] + more).clamp(min=0) / (weight + 2 * more).clamp(min=1e-300)
        self.logit.copy_(torch.where(weight > 1e-10, p.clamp(self.floor, 1 - self.floor).logit(), self.logit))

    @torch.no_grad()
    def emission_log_prior(self) -> Tensor:
        return (self.alpha - 1) * (logsigmoid(self.logit) + logsigmoid(-self.logit)).sum()

    def draw(self, state: Tensor) -> Tensor:
        """Return vectors (n, features) of states (n,)."""
        return torch.bernoulli(self.logit.sigmoid()[state])

    def sample(self, n: int, length: int | None = None) -> Tensor:
        """Draw n sequences of vectors, (n, length, features), as long as one of the training data unless told."""
        return self.sample_chain(n, length or self.shape[0]).float()

    @torch.no_grad()
    def pictures(self, states: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Draw the transition table, and each state's probabilities of the bits; `states` names them."""
        from dlx.figures.heat import heat

        bits = heat(self.logit.sigmoid(), "p(bit | state)", "bit", "state", None, states)
        return {"transition": draw_transitions(self.tables[1].exp(), states), "emission": bits}
