"""Sequences drawn step by step from a network that tells the next step."""

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.models.interfaces import NextStep


@torch.no_grad()
def sample(
    model: NextStep, n: int, length: int, prompt: Tensor | None, temperature: float, generator: torch.Generator | None
) -> Tensor:
    """Draw sequences, as `SequenceModel.sample` describes.

    Raises:
        UsageError: the network does not tell the next step of what it reads.
    """
    read = model.symbols or model.shape[-1]
    if model.bidirectional or model.outputs != read:
        why = "reads sequences from both ends" if model.bidirectional else f"has {model.outputs} outputs for {read}"
        raise UsageError(
            f"the model {type(model).__name__} was given, which {why}; needed: one that was trained to tell the next "
            "step, with task=prediction, from what came before it"
        )
    device = next(model.parameters()).device  # type: ignore[attr-defined]
    drawn: list[Tensor] = []
    if prompt is not None and len(prompt):
        given = prompt.to(device).expand(n, *prompt.shape)
        drawn.append(given)
    elif model.symbols:
        given = torch.randint(model.symbols, (n, 1), device=device, generator=generator)
        drawn.append(given)
        length -= 1
    else:
        given = torch.zeros(n, 1, read, device=device)
    state = None
    for _ in range(length):
        scores, state = model.steps(given, None, state)
        given = (_draw_symbols if model.symbols else _draw_bits)(scores[:, -1:], temperature, generator)
        drawn.append(given)
    return torch.cat(drawn, 1)


def _draw_symbols(scores: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Return symbols (n, 1) of scores (n, 1, symbols)."""
    if temperature == 0:
        return scores.argmax(2)
    return torch.multinomial((scores[:, 0].float() / temperature).softmax(1), 1, generator=generator)


def _draw_bits(scores: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Return zeros and ones (n, 1, features), each by itself, of their scores."""
    if temperature == 0:
        return (scores > 0).to(scores.dtype)
    return torch.bernoulli((scores / temperature).sigmoid(), generator=generator)
