"""The hidden Markov model with categorical emissions.

L. E. Baum et al., "A Maximization Technique Occurring in the Statistical Analysis of Probabilistic Functions of Markov
Chains", Annals of Mathematical Statistics 41, 1970; L. R. Rabiner, Proc. IEEE 77, 1989,
https://doi.org/10.1109/5.18626.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dlx.models.markov.forward_backward import Posterior, forward, posterior, viterbi
from dlx.types import Count, Fraction


class CategoricalHMM(nn.Module):
    """p(x, z) = π(z_1) Π A(z_t-1, z_t) Π B(z_t, x_t), for sequences of symbols.

    The tables are buffers: no gradient moves them, EM replaces them.

    Args:
        classes: number of symbols.
        states: number of hidden states.
        shape: of one padded sequence, (T,); a sample has this length.
        stay: part of each state's first transition row that leads back to itself. States that last are what separates
            such a model from a mixture; from rows without preference EM often ends in a worse optimum.
    """

    accepts = ("symbols",)
    log_start: Tensor
    log_transition: Tensor
    log_emission: Tensor

    def __init__(self, classes: Count, states: Count = 2, shape: Sequence[int] = (100,), stay: Fraction = 0.8) -> None:
        super().__init__()
        self.classes, self.states, self.shape = classes, states, tuple(shape)
        # Every table row is a draw from the flat Dirichlet: equal rows would stay equal under EM.
        for name, rows, columns in (
            ("start", 1, states),
            ("transition", states, states),
            ("emission", states, classes),
        ):
            drawn = torch.empty(rows, columns, dtype=torch.float64).exponential_()
            self.register_buffer(f"log_{name}", (drawn / drawn.sum(1, keepdim=True)).log())
        self.log_start = self.log_start[0]
        self.log_transition = (stay * torch.eye(states).double() + (1 - stay) * self.log_transition.exp()).log()

    def forward(self, x: Tensor) -> Tensor:
        """log p(x), (batch,) nats, of whole sequences x (batch, T)."""
        return self.scores(x)["log_likelihood"]

    def emissions(self, x: Tensor) -> Tensor:
        """log B(z, x_t), (batch, T, states), of symbols x (batch, T)."""
        return self.log_emission.T[x]

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """The exact log p(x), (batch,) nats, of x (batch, T) padded beyond `lengths` (batch,)."""
        alpha = forward(self.log_start, self.log_transition, self.emissions(x), _lengths(x, lengths))
        return {"log_likelihood": alpha[:, -1].logsumexp(1)}

    def posterior(self, x: Tensor, lengths: Tensor | None = None) -> Posterior:
        """What sequences x (batch, T) say of their states."""
        return posterior(self.log_start, self.log_transition, self.emissions(x), _lengths(x, lengths))

    def decode_states(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The most probable states, (batch, T), -1 beyond each length (Viterbi)."""
        return viterbi(self.log_start, self.log_transition, self.emissions(x), _lengths(x, lengths))[0]

    @torch.no_grad()
    def statistics(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Expected counts over a batch, the E-step: `start` (S,), `transition` (S, S), `emission` (S, symbols)."""
        told = self.posterior(x, lengths)
        emission = torch.zeros(self.classes, self.states, dtype=torch.float64, device=x.device)
        emission.index_add_(0, x.flatten(), told.states.flatten(0, 1))
        return {
            "log_likelihood": told.log_likelihood.sum(),
            "start": told.states[:, 0].sum(0),
            "transition": told.transitions.sum(0),
            "emission": emission.T.contiguous(),
        }

    @torch.no_grad()
    def maximize(self, statistics: Mapping[str, Tensor]) -> None:
        """The M-step: every table row in proportion to its counts; a state that was never used keeps its row."""
        for name in ("start", "transition", "emission"):
            counts = statistics[name]
            total = counts.sum(-1, keepdim=True)
            table = getattr(self, f"log_{name}")
            table.copy_(torch.where(total > 0, (counts / total.clamp(min=1e-300)).log(), table))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw n sequences of symbols, (n, T)."""
        state = torch.multinomial(self.log_start.exp(), n, replacement=True)
        symbols = []
        for _ in range(self.shape[0]):
            symbols.append(torch.multinomial(self.log_emission.exp()[state], 1)[:, 0])
            state = torch.multinomial(self.log_transition.exp()[state], 1)[:, 0]
        return torch.stack(symbols, 1)

    def pictures(self) -> dict[str, Tensor]:
        """The transition and the emission table as grey levels, states downwards."""
        tables = {"transition": self.log_transition.exp(), "emission": self.log_emission.exp()}
        return {name: _drawn(table.cpu()) for name, table in tables.items()}


def _drawn(table: Tensor, size: int = 24) -> Tensor:
    shown = 1 - table / table.max().clamp(min=1e-300)
    return shown.float().repeat_interleave(size, 0).repeat_interleave(size, 1)[None]


def _lengths(x: Tensor, lengths: Tensor | None) -> Tensor:
    return torch.full(x.shape[:1], x.shape[1], device=x.device) if lengths is None else lengths
