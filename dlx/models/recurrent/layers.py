"""Stacked recurrent layers: torch's kernel where it is the best there is, else step by step with the same weights."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlx.models.exported_loop import is_exporting, scan_cell
from dlx.models.recurrent.batch_norm import StepNorms, TimeStep
from dlx.models.recurrent.cells import CellFactory, State, Weights
from dlx.models.recurrent.trace import Trace, flip

Unroll = Callable[..., tuple[Tensor, State]]


class Layers(nn.Module):
    """Layers of one kind, each in one direction or in both.

    The state is as torch's: h (layers · directions, batch, size), and (h, c) for an LSTM; with recurrent batch
    normalization, that and the number of steps read.

    Args:
        rnn: holds the weights, and is the kernel.
        cell: makes one step of a layer, of its weights: what the kernel computes, or what no kernel does.
        unroll: gives all states (batch, T, size) of a layer, and those after the last step, of its weights, x and the
            states before; processors take it rather than the kernel. None where the kernel is better.
        kernel: whether the kernel computes what the cell does.
        norm_steps: put a recurrent batch normalization into each layer, with statistics of so many steps of their own.
    """

    def __init__(
        self,
        rnn: nn.RNNBase,
        cell: CellFactory,
        unroll: Unroll | None = None,
        kernel: bool = True,
        norm_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.rnn, self.cell = rnn, cell
        self.unroll = unroll if norm_steps is None else None
        self.batched: Unroll | None = None  # the same under `vmap`, of all that it batches at once
        self.kernel = kernel and norm_steps is None
        self.directions = 1 + rnn.bidirectional
        self.batch_norms: nn.ModuleList | None = None
        if norm_steps is not None:
            gates = rnn.all_weights[0][1].shape[0]
            cells = rnn.hidden_size if isinstance(rnn, nn.LSTM) else None
            self.batch_norms = nn.ModuleList(StepNorms(gates, cells, norm_steps) for _ in rnn.all_weights)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: Any = None, trace: Trace | None = None
    ) -> tuple[Tensor, Any]:
        """Return the outputs (batch, T, directions · size) of x (batch, T, inputs), and the state after the last step.

        Forward in time there is no need to know `lengths`: padding lies at the end, and what follows from it is not
        read. With a trace the states are noted, and the kernel is not used.
        """
        vmapped = torch._C._functorch.peek_interpreter_stack() is not None  # which knows neither of the two
        unroll = self.batched if vmapped else self.unroll if _can_unroll(x) else None
        if is_exporting() and self.batch_norms is None:
            unroll = self._scan
        if unroll is not None or vmapped or not self.kernel or trace is not None:
            return self._run_layers(x, lengths, state, unroll if trace is None else None, trace)
        if lengths is None or not self.rnn.bidirectional:
            output: tuple[Tensor, Any] = self.rnn(x, state)
            return output
        packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        outputs, state = self.rnn(packed, state)
        return pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])[0], state

    def _run_layers(
        self, x: Tensor, lengths: Tensor | None, state: Any, unroll: Unroll | None, trace: Trace | None
    ) -> tuple[Tensor, Any]:
        """Compute layer by layer, in each direction."""
        before, start = (state, 0) if state is None or self.batch_norms is None else state
        parts = self._initial_state(x, trace) if before is None else before if isinstance(before, tuple) else (before,)
        ended: list[State] = []
        for layer in range(self.rnn.num_layers):
            outputs = []
            for backward in range(self.directions):
                number, given = len(ended), flip(x, lengths) if backward else x
                begin = tuple(part[number] for part in parts)
                if unroll is not None:
                    output, last = unroll(Weights(*self.rnn.all_weights[number]), given, *begin)
                    ended.append(last)
                else:
                    states = list(self._steps(given, lengths, number, begin, start))
                    output = torch.stack([state[0] for state in states], 1)
                    ended.append(states[-1])
                    if trace is not None:
                        trace.add(states, backward=bool(backward), lengths=lengths)
                outputs.append(flip(output, lengths) if backward else output)
            x = torch.cat(outputs, 2) if backward else outputs[0]
            if layer < self.rnn.num_layers - 1:
                x = F.dropout(x, self.rnn.dropout, self.training)
        stacked = tuple(torch.stack(part) for part in zip(*ended, strict=True))
        after = stacked if isinstance(self.rnn, nn.LSTM) else stacked[0]
        return x, after if self.batch_norms is None else (after, start + x.shape[1])

    def _scan(self, weights: Weights, x: Tensor, *state: Tensor) -> tuple[Tensor, State]:
        """Compute one layer in one direction by a loop that a graph keeps: `Unroll`."""
        return scan_cell(self.cell(weights), F.linear(x, weights.W, weights.b_W), state)

    def _steps(self, x: Tensor, lengths: Tensor | None, number: int, state: State, start: int) -> Iterator[State]:
        """Yield the states of one layer in one direction, cell by cell."""
        weights = Weights(*self.rnn.all_weights[number])
        if self.batch_norms is None:
            cell = self.cell(weights)
            for a in F.linear(x, weights.W, weights.b_W).unbind(1):
                state = cell(a, state)
                yield state
            return
        norms: Any = self.batch_norms[number]
        cell = self.cell(weights, norms)
        for t, a in enumerate(F.linear(x, weights.W).unbind(1)):
            step = TimeStep(start + t, None if lengths is None else t < lengths)
            state = cell(norms.inputs(a, step) + weights.b_W, state, step)
            yield state

    def _initial_state(self, x: Tensor, trace: Trace | None) -> State:
        rnn = self.rnn
        sizes = [rnn.proj_size or rnn.hidden_size, rnn.hidden_size][: 1 + isinstance(rnn, nn.LSTM)]
        zeros = (x.new_zeros(len(rnn.all_weights), x.shape[0], size) for size in sizes)
        # Even where no weight learns, the states of a trace have gradients.
        return tuple(zeros if trace is None else (part.requires_grad_() for part in zeros))


def _can_unroll(x: Tensor) -> bool:
    """Return whether `unroll` is for x: autocast and compilers know nothing of it."""
    usual = x.is_cpu and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    return usual and x.dtype in (torch.float32, torch.float64)
