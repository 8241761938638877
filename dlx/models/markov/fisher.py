"""The gradient of log p(x) by Fisher's identity: the expectation of that of log p(x, z), by what inference finds."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from dlx.models.markov.forward_backward import Inference, pack, time_slices, unpack, unsort


class Inferable(Protocol):
    """A hidden Markov model, as far as a gradient needs it."""

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        """log π (S,) and log A (S, S)."""

    def emission_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x_t | z_t), (..., S), of observations x (...)."""

    def infer(
        self, x: Tensor, lengths: Tensor | None, smooth: bool = True, weight: Tensor | None = None
    ) -> Iterator[Inference]:
        """Infer all sequences, as `HMM.infer` does."""


class LogLikelihood(torch.autograd.Function):
    """log p(x) and log p(x_1), (batch,) each, of which the former has a gradient.

    By Fisher's identity it is the expectation of that of log p(x, z), with states as inference finds them. So inference
    itself is not differentiated: it stays scaled and in place, and nothing of it is kept for the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, hmm: Inferable, x: Tensor, lengths: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.hmm, ctx.x, ctx.lengths, ctx.parameters = hmm, x, lengths, parameters
        whole = parameters[0].new_empty(len(x))
        first = torch.empty_like(whole)
        for inferred in hmm.infer(x, lengths, smooth=False):
            whole[inferred.rows] = unpack(inferred.scale, inferred.steps).sum((1, 2))
            first[inferred.rows] = unsort(inferred.scale[time_slices(inferred.steps)[0]][:, 0], inferred.steps)
        ctx.mark_non_differentiable(first)
        return whole, first

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight = gradients[0]
        with torch.enable_grad():
            parts = [
                compute_expected_log_joint(ctx.hmm, inferred, weight)
                for inferred in ctx.hmm.infer(ctx.x, ctx.lengths, weight=weight)
            ]
            grads = torch.autograd.grad(torch.stack(parts).sum(), ctx.parameters)
        return None, None, None, *grads


def compute_expected_log_joint(hmm: Inferable, inferred: Inference, weight: Tensor) -> Tensor:
    """Compute E[log p(x, z)] given x, under the posterior of the states, each sequence by its weight: 0-d."""
    log_start, log_transition = hmm.tables
    share = pack(
        weight[inferred.rows, None, None].expand(-1, len(inferred.steps.batch_sizes), 1), inferred.lengths
    ).data
    states = inferred.states.double() * share
    weights = (states[time_slices(inferred.steps)[0]].sum(0), inferred.transitions, states)
    terms = (log_start, log_transition, hmm.emission_log_prob(inferred.steps.data))
    return torch.stack([(w * v.clamp(min=-1e6)).sum() for w, v in zip(weights, terms, strict=True)]).sum()
