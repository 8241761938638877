"""The hidden Markov model with categorical emissions.

L. E. Baum et al., "A Maximization Technique Occurring in the Statistical Analysis of Probabilistic Functions of Markov
Chains", Annals of Mathematical Statistics 41, 1970; L. R. Rabiner, Proc. IEEE 77, 1989,
https://doi.org/10.1109/5.18626.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dlx.models.markov.hmm import HMM, Topology
from dlx.models.markov.tables import draw_random_rows, draw_transitions, log_dirichlet_prior, maximize_rows
from dlx.types import Count, Fraction, Positive

BLOCK = 2**14  # steps that are counted in float32 before the sum is kept in float64


class CategoricalHMM(HMM):
    """p(x, z) = π(z_1) Π A(z_t-1, z_t) Π B(z_t, x_t), for sequences of symbols.

    Args:
        classes: number of symbols.
        states: number of hidden states.
        shape: of one padded sequence, (T,); a sample has this length.
        emission_prior: α of a Dirichlet prior over each state's symbols.
        stay, topology, jumps, start_prior, transition_prior, dtype: as in `HMM`.
    """

    accepts = ("symbols",)
    log_emission: nn.Parameter  # (S, classes)

    def __init__(
        self,
        classes: Count,
        states: Count = 2,
        shape: Sequence[int] = (100,),
        stay: Fraction = 0.8,
        topology: Topology = "ergodic",
        jumps: Count = 1,
        start_prior: Positive = 1.0,
        transition_prior: Positive = 1.0,
        emission_prior: Positive = 1.0,
        dtype: Literal["float64", "float32"] = "float64",
    ) -> None:
        super().__init__(states, stay, topology, jumps, start_prior, transition_prior, dtype)
        self.classes, self.shape, self.alpha = classes, tuple(shape), emission_prior
        self.log_emission = nn.Parameter(draw_random_rows(states, classes).log())

    def emission_log_prob(self, x: Tensor) -> Tensor:
        """Return log B(z, x_t), (..., S), of symbols x (...)."""
        return self.log_emission.log_softmax(1).T[x]

    def relative_emissions(self, x: Tensor, out: Tensor) -> Tensor:
        """Do as every HMM does, but look it up in a table of all symbols."""
        table = out.new_empty(self.classes, self.states)
        high = super().relative_emissions(torch.arange(self.classes, device=x.device), table)
        torch.index_select(table, 0, x, out=out)
        return high.index_select(0, x)

    def emission_statistics(self, x: Tensor, states: Tensor) -> dict[str, Tensor]:
        """Return the expected counts `emission` (S, classes) of symbols x (N,)."""
        counts = torch.zeros(self.classes, self.states, dtype=torch.float64, device=x.device)
        size = BLOCK if states.dtype == torch.float32 else len(x)
        for symbols, weights in zip(x.split(size), states.split(size), strict=True):
            counts += torch.zeros_like(counts, dtype=states.dtype).index_add_(0, symbols, weights)
        return {"emission": counts.T.contiguous()}

    def maximize_emissions(self, statistics: Mapping[str, Tensor]) -> None:
        maximize_rows(self.log_emission, statistics["emission"], self.alpha)

    def emission_log_prior(self) -> Tensor:
        return log_dirichlet_prior(self.log_emission.log_softmax(1), self.alpha)

    @torch.no_grad()
    def constrain(self) -> None:
        super().constrain()
        self.log_emission.copy_(self.log_emission.log_softmax(1))

    def draw(self, state: Tensor) -> Tensor:
        """Return symbols (n,) of states (n,)."""
        return torch.multinomial(self.log_emission.softmax(1)[state], 1)[:, 0]

    def sample(self, n: int, length: int | None = None) -> Tensor:
        """Draw n sequences of symbols, (n, length), as long as one of the training data unless told."""
        return self.sample_chain(n, length or self.shape[0])

    @torch.no_grad()
    def pictures(self, symbols: Sequence[str] | None = None, states: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Draw the transition and the emission table, by the names of symbols and states where they have any."""
        from dlx.figures.heat import heat

        emission = heat(self.log_emission.softmax(1), "p(symbol | state)", "symbol", "state", symbols, states)
        return {"transition": draw_transitions(self.tables[1].exp(), states), "emission": emission}
