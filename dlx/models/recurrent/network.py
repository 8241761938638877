"""What every recurrent network here has in common: symbols or vectors in, scores out, at the end or at every step."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dlx.errors import UsageError
from dlx.models.recurrent.batch_norm import SequenceNorm
from dlx.models.recurrent.cells import CellFactory
from dlx.models.recurrent.layers import Layers, Unroll
from dlx.models.recurrent.sampling import sample
from dlx.models.recurrent.trace import Trace
from dlx.models.weights import WeightedModel
from dlx.types import Count, Fraction


class SequenceModel(WeightedModel):
    """Reads a sequence, step by step; a subclass says how (`run`).

    Args:
        shape: of one example: (T, features), or (T,) symbols. T is the length of a sample, no bound on what is read.
        outputs: number of scores, of the sequence or of each step.
        symbols: how many there are, where x is a sequence of symbols; null where it is one of vectors.
        embedding: size of the vector that stands for a symbol; null for one-hot vectors.
        input_dropout: part of the inputs that is dropped while learning.
        weights: initializers, penalties and constraints, as in `WeightedModel`.

    Raises:
        UsageError: examples that are no sequences.
    """

    accepts = ("sequence", "symbols")
    bidirectional = False

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        symbols: Count | None = None,
        embedding: Count | None = 64,
        input_dropout: Fraction = 0.0,
        **weights: Any,
    ) -> None:
        super().__init__(**weights)
        if len(shape) != 2 - (symbols is not None):
            raise UsageError(
                f"dataset.shape={list(shape)} was given to {type(self).__name__}; needed: (T, features), or (T,) "
                "symbols with model.symbols their number; type dataset.layout=sequence for arrays of your own (npz), "
                "or dlx list datasets for others"
            )
        self.shape, self.outputs, self.symbols = tuple(shape), outputs, symbols
        self.embedding = nn.Embedding(symbols, embedding) if symbols and embedding else None
        self.inputs = (embedding or symbols) if symbols else shape[-1]  # of each step
        self.input_dropout = nn.Dropout(input_dropout)
        self.tracing: Trace | None = None

    def embed(self, x: Tensor) -> Tensor:
        """Return vectors (batch, T, inputs) of x (batch, T, features), or of symbols (batch, T)."""
        if self.embedding is not None:
            x = self.embedding(x)
        elif self.symbols is not None:
            x = F.one_hot(x, self.symbols).to(next(self.parameters()).dtype)
        result: Tensor = self.input_dropout(x)
        return result

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the scores (batch, outputs) of whole sequences x (batch, T, …), padded beyond `lengths` (batch,)."""
        raise NotImplementedError

    def steps(self, x: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """Return the scores (batch, T, outputs) at every step of x (batch, T, …), and the state after the last.

        Args:
            x: sequences, padded beyond `lengths` (batch,); scores of padding mean nothing.
            lengths: of them.
            state: to go on from, as an earlier call returned it; None begins.
        """
        raise NotImplementedError

    def sample(
        self,
        n: int,
        length: int | None = None,
        prompt: Tensor | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw n sequences, step by step, each step from what the network says of it.

        Args:
            n: how many.
            length: steps to be drawn; None takes T.
            prompt: what they begin with, (P,) symbols or (P, features); None begins with a symbol drawn evenly, or
                goes on from a vector of zeros.
            temperature: scores are divided by it: below 1 keeps to what is likely, 0 takes the likeliest.
            generator: of the draws; None takes torch's own.

        Returns:
            (n, P + length) symbols, or (n, P + length, features) of zeros and ones.

        Raises:
            UsageError: the network does not tell the next step of what it reads.
        """
        return sample(self, n, length or self.shape[0], prompt, temperature, generator)

    def state_gradients(self, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return ‖∂L/∂h_t‖ at each step, (T,), of each layer's states by name, the last layer's first.

        Args:
            loss: computes L with this network; it is computed cell by cell here, which gives the same numbers.
        """
        self.tracing = Trace()
        try:
            with torch.enable_grad():
                norms = self.tracing.gradient_norms(loss())
        finally:
            self.tracing = None
        return norms


class RecurrentNetwork(SequenceModel):
    """Recurrent layers, stacked, and a dense layer that reads the uppermost one's states.

    Args:
        shape, outputs, symbols, embedding, input_dropout: as in `SequenceModel`.
        rnn, cell, unroll, kernel: as in `Layers`.
        hidden: units of each layer in each direction.
        layers: how many, one above the other.
        bidirectional: read every sequence from its end, too (M. Schuster, K. Paliwal, IEEE Trans. Signal Processing 45,
            1997). Scores of a sequence are then read from both last states, those of a step from both states there.
        dropout: part of each layer's outputs that is dropped while learning, on the way up and not through time
            (W. Zaremba et al., 2014, https://arxiv.org/abs/1409.2329).
        batch_norm: `layers` normalizes the outputs of each layer over all steps of a batch, `recurrent` the products
            within each step (T. Cooijmans et al. 2016), with statistics of their own for each of the first T steps.
        weights: initializers, penalties and constraints, as in `WeightedModel`. `recurrent_init` says how the square
            blocks of U begin, one for each gate: torch's uniform numbers, `orthogonal`, `identity`, with which
            max(0, ·) units keep what they hold (Q. Le et al., 2015, https://arxiv.org/abs/1504.00941), or any other.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        rnn: Callable[..., nn.RNNBase],
        cell: CellFactory,
        unroll: Unroll | None = None,
        kernel: bool = True,
        symbols: Count | None = None,
        embedding: Count | None = 64,
        hidden: Count = 128,
        layers: Count = 1,
        bidirectional: bool = False,
        dropout: Fraction = 0.0,
        input_dropout: Fraction = 0.0,
        batch_norm: Literal["layers", "recurrent"] | None = None,
        recurrent_dropout: Fraction = 0.0,
        **weights: Any,
    ) -> None:
        super().__init__(shape, outputs, symbols, embedding, input_dropout, **weights)
        self.bidirectional, self.recurrent_dropout = bidirectional, recurrent_dropout
        inputs, apart = self.inputs, batch_norm == "layers"  # then each layer is a module of its own
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList() if apart else None
        for _ in range(layers if apart else 1):
            deep = 1 if apart else layers
            module = rnn(
                inputs, hidden, deep, batch_first=True, bidirectional=bidirectional, dropout=dropout * (deep > 1)
            )
            steps = self.shape[0] if batch_norm == "recurrent" else None
            self.layers.append(Layers(module, cell, unroll, kernel, steps))
            self.size = module.proj_size or hidden
            inputs = self.size * (1 + bidirectional)
            if self.norms is not None:
                self.norms.append(SequenceNorm(inputs))
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(inputs, outputs)
        self.apply_weight_settings()

    def _hidden_states(self, x: Tensor, lengths: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """Return what the readout reads, (batch, T, directions · size), and the states after the last step."""
        h, after, states = self.embed(x), [], []
        for i, layer in enumerate(self.layers):
            given = h, lengths, None if state is None else state[i], self.tracing
            if self.training and self.recurrent_dropout:
                h, last = functional_call(layer, drop_recurrent_weights(layer, self.recurrent_dropout), given)
            else:
                h, last = layer(*given)
            states.append(h)
            h = self.dropout(h if self.norms is None else self.norms[i](h, lengths))
            after.append(last)
        self.penalize_activity(*states)
        return h, after

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        h, _ = self._hidden_states(x, lengths, None)
        last = last_step(h, lengths)
        if self.bidirectional:
            last = torch.cat((last[:, : self.size], h[:, 0, self.size :]), 1)
        output: Tensor = self.readout(last)
        return output

    def steps(self, x: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        h, after = self._hidden_states(x, lengths, state)
        return self.readout(h), after


def last_step(values: Tensor, lengths: Tensor | None) -> Tensor:
    """Return each sequence's last step, (batch, n) of values (batch, T, n)."""
    if lengths is None:
        return values[:, -1]
    return values[torch.arange(values.shape[0], device=values.device), (lengths - 1).clamp(min=0)]


def drop_recurrent_weights(module: nn.Module, p: float) -> dict[str, Tensor]:
    """Return the recurrent weights of a module by name, a part p of them zero, the others larger by 1 / (1 - p)."""
    return {name: F.dropout(U, p) for name, U in module.named_parameters() if "weight_hh" in name}
