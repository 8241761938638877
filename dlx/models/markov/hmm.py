"""What hidden Markov models of any emissions share: the states' tables, inference, EM and gradients."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dlx.metrics import Metric
from dlx.models.exported_loop import is_exporting
from dlx.models.markov import exported, log_space
from dlx.models.markov.fisher import LogLikelihood
from dlx.models.markov.forward_backward import (
    SMALLEST,
    Inference,
    Workspace,
    backward,
    forward,
    pack,
    packed_lengths,
    sort_weights,
    time_slices,
    unpack,
    unsort,
)
from dlx.models.markov.log_space import log_matmul
from dlx.models.markov.tables import apply_topology, draw_random_rows, log_dirichlet_prior, maximize_rows
from dlx.models.markov.viterbi import viterbi

MAX_ELEMENTS = 2**23  # numbers of a matrix (N, S): 32 or 64 MiB
Topology = Literal["ergodic", "left_to_right"]


class Posterior(NamedTuple):
    """What sequences say of their states."""

    log_likelihood: Tensor  # (batch,), nats
    states: Tensor  # (batch, T, S): p(z_t | x), zero beyond each length
    transitions: Tensor  # (S, S): expected transitions, summed over time and sequences


class HMM(nn.Module, ABC):
    """p(x, z) = π(z_1) Π A(z_t-1, z_t) Π p(x_t | z_t).

    The tables are logarithms of probabilities, in float64. EM replaces them; a gradient moves them as the logits of
    softmax rows, which `constrain` normalises again. What a topology excludes is -∞ and stays it.

    Args:
        states: number of hidden states S.
        stay: part of each state's first transition row that leads back to itself. States that last are what separates
            such a model from a mixture; from rows without preference EM often ends in a worse optimum.
        topology: `ergodic` leads from every state to every one; `left_to_right` starts in the first state and never
            goes back (Bakis).
        jumps: how many states forward a left-to-right step goes at most.
        start_prior, transition_prior: α of a Dirichlet prior over each row: α - 1 counts that were never seen, for EM.
            1 for none: maximum likelihood.
        dtype: numbers of forward-backward. float32 takes half the time, with a relative error of about 1e-6 in the
            posteriors; sequences that need it are done in float64, and in log space, in either case.
    """

    declares: ClassVar[tuple[str | Metric, ...]] = ("log_likelihood",)
    log_start: nn.Parameter  # (S,)
    log_transition: nn.Parameter  # (S, S), from row to column

    def __init__(
        self,
        states: int,
        stay: float = 0.8,
        topology: Topology = "ergodic",
        jumps: int = 1,
        start_prior: float = 1.0,
        transition_prior: float = 1.0,
        dtype: Literal["float64", "float32"] = "float64",
    ) -> None:
        super().__init__()
        self.states, self.topology = states, topology
        self.start_prior, self.transition_prior = start_prior, transition_prior
        self.workspace = Workspace()
        self.dtypes = [torch.float32, torch.float64] if dtype == "float32" else [torch.float64]
        start, rows = draw_random_rows(1, states)[0], draw_random_rows(states, states)
        start, rows = apply_topology(topology, start, rows, stay, jumps)
        self.log_start, self.log_transition = nn.Parameter(start.log()), nn.Parameter(rows.log())

    # -- what a kind of emissions defines ----------------------------------------------------------------------------

    @abstractmethod
    def emission_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x_t | z_t), (..., S), of observations x (...)."""

    @abstractmethod
    def emission_statistics(self, x: Tensor, states: Tensor) -> dict[str, Tensor]:
        """Return the expected counts of observations x (N, ...) whose states have the probabilities `states` (N, S)."""

    @abstractmethod
    def maximize_emissions(self, statistics: Mapping[str, Tensor]) -> None:
        """Take the M-step of the emissions; a state that was never used keeps its own."""

    @abstractmethod
    def draw(self, state: Tensor) -> Tensor:
        """Return observations (n, ...) of states (n,)."""

    def emission_log_prior(self) -> float | Tensor:
        """Return the log prior density of the emissions' parameters, without what does not depend on them."""
        return 0.0

    def relative_emissions(self, x: Tensor, out: Tensor) -> Tensor:
        """Write emissions over the likeliest state's into `out` (N, S), of x (N, ...); that one's logarithm, (N, 1)."""
        log_p = self.emission_log_prob(x)
        high = log_p.amax(-1, keepdim=True)
        high = torch.where(high.isfinite(), high, 0.0)
        torch.exp((log_p - high).to(out.dtype), out=out)
        return high

    # -- inference ---------------------------------------------------------------------------------------------------

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        """log π (S,) and log A (S, S), normalised."""
        return self.log_start.log_softmax(0), self.log_transition.log_softmax(1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log p(x), (batch,) nats, of x (batch, T, ...) padded beyond `lengths`: as `scores`, but exportable."""
        log_start, log_transition = self.tables
        log_p = self.emission_log_prob(x)  # (batch, T, S)
        if is_exporting():
            return exported.log_likelihood(log_start, log_transition, log_p, lengths)
        log_alpha = log_start + log_p[:, 0]
        for t in range(1, x.shape[1]):
            after = log_matmul(log_alpha, log_transition) + log_p[:, t]
            log_alpha = after if lengths is None else after.where((t < lengths)[:, None], log_alpha)
        return log_alpha.logsumexp(1)

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return the log-likelihoods of x (batch, T, ...) padded beyond `lengths` (batch,), in nats, (batch,) each.

        `log_likelihood` is the exact log p(x), and `log_likelihood_after_first` log p(x_2..x_T | x_1), what a network
        that predicts the next step is measured by. The former has a gradient.
        """
        if is_exporting():
            log_p = self.emission_log_prob(x)
            whole = exported.log_likelihood(*self.tables, log_p, lengths)
            first = (self.tables[0] + log_p[:, 0]).logsumexp(1)
            return {"log_likelihood": whole, "log_likelihood_after_first": whole - first}
        whole, first = LogLikelihood.apply(self, x, lengths, *self.parameters())
        after = torch.where(whole.isneginf(), whole, whole - first).detach()  # what is impossible stays so
        return {"log_likelihood": whole, "log_likelihood_after_first": after}

    def posterior(self, x: Tensor, lengths: Tensor | None = None) -> Posterior:
        """Return what sequences x (batch, T, ...), padded beyond `lengths` (batch,), say of their states."""
        log_likelihood = self.log_start.new_empty(len(x)).detach()
        states = log_likelihood.new_zeros(*x.shape[:2], self.states)
        transitions = torch.zeros_like(self.log_transition, requires_grad=False)
        for inferred in self.infer(x, lengths):
            log_likelihood[inferred.rows] = unpack(inferred.scale, inferred.steps).sum((1, 2))
            states[inferred.rows] = unpack(inferred.states.double(), inferred.steps, x.shape[1])
            transitions += inferred.transitions
        return Posterior(log_likelihood, states, transitions)

    def posterior_states(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return p(z_t | x), (batch, T, S), zero beyond each length."""
        if is_exporting():
            return exported.posterior(*self.tables, self.emission_log_prob(x), lengths)
        return self.posterior(x, lengths).states

    @torch.no_grad()
    def decode_states(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the most probable path, (batch, T), -1 beyond each length (Viterbi)."""
        if is_exporting():
            return exported.decode(*self.tables, self.emission_log_prob(x), lengths)
        if lengths is None:
            lengths = torch.full(x.shape[:1], x.shape[1], device=x.device)
        return viterbi(*self.tables, self.emission_log_prob(x), lengths)[0]

    @torch.no_grad()
    def infer(
        self, x: Tensor, lengths: Tensor | None, smooth: bool = True, weight: Tensor | None = None
    ) -> Iterator[Inference]:
        """Infer all sequences, scaled; where the numbers do not suffice with more digits, and then in log space.

        What is yielded holds until the next is asked for.

        Args:
            x: (batch, T, ...).
            lengths: (batch,).
            smooth: states and transitions are wanted, not only the scale.
            weight: (batch,), how much each sequence's transitions count.
        """
        if lengths is None:
            lengths = torch.full(x.shape[:1], x.shape[1], device=x.device)
        size = max(1, MAX_ELEMENTS // (x.shape[1] * self.states))
        for rows in torch.arange(len(x), device=x.device).split(size):
            yield from self._infer_rows(rows, x, lengths, smooth, weight)

    def _infer_rows(
        self, rows: Tensor, x: Tensor, lengths: Tensor, smooth: bool, weight: Tensor | None
    ) -> Iterator[Inference]:
        for dtype in self.dtypes:
            inferred, hard = self._infer_scaled(rows, pack(x[rows], lengths[rows]), dtype, smooth, weight)
            if not bool(hard.any()):
                yield inferred
                return
            easy = rows[~hard]
            if len(easy):
                yield self._infer_scaled(easy, pack(x[easy], lengths[easy]), dtype, smooth, weight)[0]
            rows = rows[hard]
        yield self._infer_in_log_space(rows, pack(x[rows], lengths[rows]), weight)

    def _infer_scaled(
        self, rows: Tensor, steps: PackedSequence, dtype: torch.dtype, smooth: bool, weight: Tensor | None
    ) -> tuple[Inference, Tensor]:  # and which (rows,) cannot be trusted
        start, transition = (table.exp().to(dtype) for table in self.tables)
        N, S = len(steps.data), self.states
        emission, states = (self.workspace.matrix(name, N, S, start, dtype) for name in ("emission", "states"))
        high = self.relative_emissions(steps.data, emission)
        parts, smallest = time_slices(steps), SMALLEST[dtype]
        past = forward(start, transition, emission, states, parts)
        bad = ~(past.scale > smallest)
        hard = unpack(bad, steps).any(1)[:, 0] if bool(bad.any()) else torch.zeros_like(rows, dtype=torch.bool)
        # Where every transition is possible, no state falls behind another by more: nothing is lost that counts.
        watch = float(transition.min()) <= smallest
        pairs = transition
        if smooth or watch:
            states, pairs, peak = backward(transition, past, parts, watch, sort_weights(weight, rows, steps, dtype))
            if peak is not None:
                hard |= ~unsort(peak <= 1 / smallest, steps)
        return Inference(
            rows, packed_lengths(steps), steps, past.scale.double().log() + high, states, pairs.double()
        ), hard

    def _infer_in_log_space(self, rows: Tensor, steps: PackedSequence, weight: Tensor | None) -> Inference:
        log_start, log_transition = self.tables
        past = log_space.forward(log_start, log_transition, self.emission_log_prob(steps.data), time_slices(steps))
        states, pairs, _ = log_space.backward(
            log_transition, past, time_slices(steps), sort_weights(weight, rows, steps, torch.float64)
        )
        return Inference(rows, packed_lengths(steps), steps, past.scale, states, pairs)

    # -- learning ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def statistics(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return a batch's expected counts, the E-step: `start` (S,), `transition` (S, S), and the emissions' own."""
        total: dict[str, Tensor] = {}
        for inferred in self.infer(x, lengths):
            counts = {
                "log_likelihood": inferred.scale.sum(),
                "start": inferred.states[time_slices(inferred.steps)[0]].sum(0, dtype=torch.float64),
                "transition": inferred.transitions,
                **self.emission_statistics(inferred.steps.data, inferred.states),
            }
            total = {name: total[name] + value if total else value for name, value in counts.items()}
        return total

    @torch.no_grad()
    def supervised_statistics(self, x: Tensor, z: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return `statistics` where the states z (batch, T) are known: plain counts; `log_likelihood` is of x and z."""
        log_start, log_transition = self.tables
        steps = pack(torch.stack([z, torch.arange(z.shape[1], device=z.device).expand_as(z)], 2), lengths)
        observed, parts = pack(x, lengths).data, time_slices(steps)
        state = steps.data[:, 0]
        pairs = torch.zeros_like(log_transition)
        for before, after in pairwise(parts):
            a, b = state[before][: after.stop - after.start], state[after]
            pairs.view(-1).index_add_(0, a * self.states + b, pairs.new_ones(len(a)))
        states = nn.functional.one_hot(state, self.states).to(log_start.dtype)
        start = states[parts[0]].sum(0)
        own = self.emission_log_prob(observed).gather(1, state[:, None]).sum()
        moves = torch.where(pairs > 0, pairs * log_transition, 0.0).sum()
        begun = torch.where(start > 0, start * log_start, 0.0).sum()
        counts = {"log_likelihood": own + moves + begun, "start": start, "transition": pairs}
        return {**counts, **self.emission_statistics(observed, states)}

    @torch.no_grad()
    def maximize(self, statistics: Mapping[str, Tensor]) -> None:
        """Take the M-step: rows in proportion to their counts; a state that was never used keeps its own."""
        maximize_rows(self.log_start, statistics["start"], self.start_prior)
        maximize_rows(self.log_transition, statistics["transition"], self.transition_prior)
        self.maximize_emissions(statistics)

    @torch.no_grad()
    def log_prior(self) -> float:
        """Return log p of the parameters under the priors, up to a constant; EM raises this plus log p(x)."""
        start, transition = self.tables
        rows = log_dirichlet_prior(start, self.start_prior) + log_dirichlet_prior(transition, self.transition_prior)
        return float(rows + self.emission_log_prior())

    @torch.no_grad()
    def constrain(self) -> None:
        """Normalise the tables that a gradient step moved: what is stored are logarithms of probabilities."""
        for table in (self.log_start, self.log_transition):
            table.copy_(table.log_softmax(-1))

    # -- generation --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample_chain(self, n: int, length: int) -> Tensor:
        """Draw n sequences of observations, (n, length, ...)."""
        start, transition = (table.exp() for table in self.tables)
        state = torch.multinomial(start, n, replacement=True)
        drawn = []
        for _ in range(length):
            drawn.append(self.draw(state))
            state = torch.multinomial(transition[state], 1)[:, 0]
        return torch.stack(drawn, 1)
