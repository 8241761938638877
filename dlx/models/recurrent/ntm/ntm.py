"""The neural Turing machine: a network that reads and writes a memory of its own.

A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, https://arxiv.org/abs/1410.5401.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.exported_loop import is_exporting, scan
from dlx.models.recurrent.network import SequenceModel, last_step
from dlx.models.recurrent.ntm.controllers import CONTROLLERS, Tensors
from dlx.models.recurrent.ntm.heads import HeadParameters, Sizes, address, make_head_parameters, read, write
from dlx.models.recurrent.ntm.scan import ClampGradient, Scan
from dlx.types import Count, Positive


class State(NamedTuple):
    """Of a machine, between two steps."""

    memory: Tensor  # (B, N, M)
    w: Tensor  # (B, H, N), weightings of the heads, those that read first
    r: Tensor  # (B, R · M), what was read
    controller: Tensors  # nothing, or h and c, (B, hidden) each


class NTM(SequenceModel):
    """r_t = w_t M_{t-1}; M_t = M_{t-1} ⊙ (1 - w_t e_tᵀ) + w_t a_tᵀ; y_t = V [h_t, r_t] + d.

    A controller reads x_t and r_{t-1}, and its h_t tells the heads where to go (`ntm.addressing`), what to erase, e,
    and what to add, a. All heads address the memory as the step before left it, and what is read of it is seen by the
    output of the same step. The vectors read, the weightings and the controller's state before the first step are
    learned.

    Args:
        shape, outputs, symbols, embedding: as in `SequenceModel`.
        controller: `feedforward`, one layer of tanh units, or `lstm`.
        hidden: its units.
        reads, writes: heads of each kind.
        rows: N of the memory.
        row: M, the numbers in each.
        shifts: how many shifts a head may choose from, an odd number: 3 are one back, none, one on.
        memory: how it begins. `constant`: every number 1e-6; `random`: numbers drawn once and kept, so that rows can be
            told apart by content before anything is written; `learned`: begins as `random` and learns.
        start: where heads begin: `first` near the first row, `even` everywhere; learned from there.
        bound: on each entry of the gradient that is passed from a step to the one before (Graves 2013,
            https://arxiv.org/abs/1308.0850, §2.1): a machine that is badly set would pass on what no float can hold.

    Raises:
        UsageError: an even number of shifts, or more of them than rows.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        symbols: Count | None = None,
        embedding: Count | None = 64,
        controller: Literal["feedforward", "lstm"] = "feedforward",
        hidden: Count = 100,
        reads: Count = 1,
        writes: Count = 1,
        rows: Count = 128,
        row: Count = 20,
        shifts: Count = 3,
        memory: Literal["constant", "random", "learned"] = "random",
        start: Literal["first", "even"] = "first",
        bound: Positive = 10.0,
    ) -> None:
        super().__init__(shape, outputs, symbols, embedding)
        if shifts % 2 == 0 or shifts > rows:
            needed = shifts - 1 if shifts % 2 == 0 else rows - 1 + rows % 2
            raise UsageError(
                f"model.shifts={shifts} was given; needed: an odd number, as many back as on, and no more than "
                f"model.rows={rows}; type model.shifts={needed}"
            )
        self.sizes = Sizes(reads, writes, rows, row, shifts)
        self.controller, self.bound = CONTROLLERS[controller], bound
        self.outer = nn.Linear(self.inputs, self.controller.gates * hidden)  # W and b
        given = reads * row + (hidden if self.controller.states else 0)
        self.inner = nn.Linear(given, self.controller.gates * hidden, bias=False)  # U
        self.heads = nn.Linear(hidden, sum(self.sizes.parts))
        self.readout = nn.Linear(hidden + reads * row, outputs)
        self.first_read = nn.Parameter(torch.zeros(reads * row))
        self.first_place = nn.Parameter(torch.zeros(self.sizes.H, rows))
        self.first_state = nn.ParameterList(nn.Parameter(torch.zeros(hidden)) for _ in range(self.controller.states))
        kept = torch.full((rows, row), 1e-6) if memory == "constant" else torch.randn(rows, row) * row**-0.5
        self.first_memory: Tensor
        if memory == "learned":
            self.first_memory = nn.Parameter(kept)
        else:
            self.register_buffer("first_memory", kept)
        if start == "first":
            with torch.no_grad():
                self.first_place[:, 0] = 10.0
        self.compiled_step: Any = None

    def initial_state(self, batch: int) -> State:
        """Return the state before the first step of so many sequences."""
        return State(
            self.first_memory.expand(batch, -1, -1),
            self.first_place.softmax(1).expand(batch, -1, -1),
            self.first_read.expand(batch, -1),
            tuple(part.expand(batch, -1) for part in self.first_state),
        )

    def step(self, z: Tensor, state: State) -> tuple[Tensor, State, HeadParameters]:
        """Return h_t (B, hidden), the next state, and the parameters of the heads, of W x_t + b (B, gates · hidden).

        The paper's equations as they stand. `Scan` takes the same steps faster.
        """
        parts = (*state[:3], *state.controller)
        if not is_exporting():  # a graph has no gradients
            parts = tuple(ClampGradient.apply(part, self.bound) for part in parts)
        memory, w, r, *remembered = parts
        R = self.sizes.R
        given = torch.cat((r, remembered[0]), 1) if remembered else r
        h, after, _ = self.controller.step(z + self.inner(given), tuple(remembered))
        head = make_head_parameters(self.heads(h), self.sizes)
        w = address(head, memory, w)
        r = read(w[:, :R], memory).flatten(1)
        return h, State(write(memory, w[:, R:], head.e, head.a), w, r, after), head

    def steps(self, x: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        # A graph has no autocast, and no file could hold its switch.
        exact = contextlib.nullcontext() if is_exporting() else torch.autocast(x.device.type, enabled=False)
        with exact:  # sharpened weightings do not survive 8 bits
            z = self.outer(self.embed(x).to(self.outer.weight.dtype).transpose(0, 1))  # (T, B, gates · hidden)
            state = self.initial_state(x.shape[0]) if state is None else state
            if is_exporting():
                h, r, state = self._exported_loop(z, state)
                return self.readout(torch.cat((h, r), 2)).transpose(0, 1), state
            by_hand = self.compiled_step is None and self.tracing is None and not _is_traced()
            h, r, state = (self._scan if by_hand else self._loop)(z, state)
            return self.readout(torch.cat((h, r), 2)).transpose(0, 1), state

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        scores, _ = self.steps(x, lengths)
        return last_step(scores, lengths)

    def _scan(self, z: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        memory, w, r, remembered = state
        turned = memory.transpose(1, 2).contiguous()  # (B, M, N)
        weights = (self.inner.weight, self.heads.weight, self.heads.bias)
        h, rs, turned, w, r, *rest = Scan.apply(
            self.sizes, self.controller, self.bound, z, *weights, turned, w, r.contiguous(), *remembered
        )
        return h, rs, State(turned.transpose(1, 2), w, r, tuple(rest))

    def _loop(self, z: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        step = self.compiled_step or self.step
        hs, rs, memories = [], [], []
        for z_t in z.unbind(0):
            h, state, _ = step(z_t, state)
            hs.append(h)
            rs.append(state.r)
            memories.append(state.memory)
        if self.tracing is not None:
            self.tracing.add(list(zip(hs, memories, strict=True)), letters="hM")
        return torch.stack(hs), torch.stack(rs), state

    def _exported_loop(self, z: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Compute all steps by a loop that a graph keeps, for sequences of any length."""

        def step(before: tuple[Tensor, ...], z_t: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
            h, after, _ = self.step(z_t, _to_state(before))
            parts = (*after[:3], *after.controller)
            return tuple(part.clone() for part in parts), (h.clone(), after.r.clone())

        begin = tuple(part.contiguous() for part in (*state[:3], *state.controller))
        last, (h, r) = scan(step, begin, z.contiguous())
        return h, r, _to_state(last)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile a step instead of the module: sequences differ in length, and steps do not."""
        self.compiled_step = torch.compile(self.step, *args, **kwargs)

    @torch.no_grad()
    def trace(self, x: Tensor) -> dict[str, Tensor]:
        """Return what one sequence x (T, …) does in the memory: pictures by name, (rows, T) each.

        `adds` are what the first head that writes adds, `reads` what the first that reads finds; weightings of several
        heads stand one below the other, with a gap of NaN between them.
        """
        R = self.sizes.R
        state = self.initial_state(1)
        adds, reads, places = [], [], []
        for z in self.outer(self.embed(x[None])).transpose(0, 1):
            _, state, head = self.step(z, state)
            adds.append(head.a[0, 0])
            reads.append(state.r[0, : self.sizes.M])
            places.append(state.w[0])
        w = torch.stack(places, 2)  # (H, N, T)
        return {
            "adds": torch.stack(adds, 1),
            "reads": torch.stack(reads, 1),
            "write weightings": _stack_heads(w[R:]),
            "read weightings": _stack_heads(w[:R]),
        }


def _stack_heads(w: Tensor) -> Tensor:
    """Stack weightings (heads, N, T) one below the other, (heads · N + gaps, T)."""
    gap = max(w.shape[1] // 32, 1)
    return torch.nn.functional.pad(w, (0, 0, 0, gap), value=torch.nan).flatten(0, 1)[:-gap]


def _to_state(parts: tuple[Tensor, ...]) -> State:
    """Return the state whose tensors stand in one row."""
    memory, w, r, *remembered = parts
    return State(memory, w, r, tuple(remembered))


def _is_traced() -> bool:
    """Return whether a compiler or a tracer looks on: what is done by hand means nothing to them."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return torch.compiler.is_compiling() or tracing
