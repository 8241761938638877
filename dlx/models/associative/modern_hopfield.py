"""The modern Hopfield network: a memory of exponential capacity, whose update is the attention of a transformer.

H. Ramsauer et al., "Hopfield Networks is All You Need", 2020, https://arxiv.org/abs/2008.02217.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlx.metrics import Metric
from dlx.models.associative.memory import Memory
from dlx.models.interfaces import RecallResult
from dlx.types import Count, Positive


class ModernHopfield(Memory):
    """ξ' = X softmax(β Xᵀ ξ) (eq. 3), which never raises the energy (eq. 2)

    E(ξ) = -1/β log Σ_i exp(β x_iᵀ ξ) + ½ ξᵀ ξ + 1/β log n + ½ max_i |x_i|²,

    for n stored patterns x_i of any real numbers, the columns of X. They are kept as they are, the rows of a buffer.

    Args:
        shape: of one example.
        beta: how sharply a pattern is preferred to the next best one: the inverse temperature. A small one gives the
            mean of patterns that are alike.
        steps: at most so many updates; one is enough for patterns that are well apart.
        tolerance: of a state that is called stable: the largest change of a unit.
    """

    accepts = ("image", "vector")
    declares: ClassVar[tuple[str | Metric, ...]] = ("patterns", "load")
    patterns: Tensor

    def __init__(
        self, shape: Sequence[int], beta: Positive = 1.0, steps: Count = 10, tolerance: Positive = 1e-4
    ) -> None:
        super().__init__(shape)
        self.beta, self.steps, self.tolerance = beta, steps, tolerance
        self.register_buffer("patterns", torch.zeros(0, self.N))
        self.register_load_state_dict_pre_hook(_resize_patterns)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Return one update of x (batch, *shape), (batch, *shape)."""
        return self.values(self.update(self.states(x)))

    def update(self, states: Tensor) -> Tensor:
        """Apply eq. 3 to states (batch, N): return the next ones, (batch, N)."""
        return (self.beta * states @ self.patterns.T).softmax(1) @ self.patterns

    @torch.no_grad()
    def gather(self, gathered: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """Return what was gathered with the patterns x (batch, *shape) added: `patterns` (n, N)."""
        parts = [gathered["patterns"]] if gathered else []
        return {"patterns": torch.cat([*parts, self.states(x)])}

    @torch.no_grad()
    def store(self, gathered: Mapping[str, Tensor]) -> dict[str, float]:
        """Keep the patterns; tells how many there are, and the load."""
        self.patterns = gathered["patterns"].clone()
        return {"patterns": float(len(self.patterns)), "load": len(self.patterns) / self.N}

    @torch.no_grad()
    def recall(self, cues: Tensor) -> RecallResult:
        """Update cues (batch, N) until they are stable, or `steps` times."""
        states = cues.to(self.patterns.dtype)
        sweeps = torch.zeros(len(states), dtype=torch.int64, device=states.device)
        stable = torch.zeros(len(states), dtype=torch.bool, device=states.device)
        moving, states = torch.arange(len(states), device=states.device), states.clone()
        for _ in range(self.steps):
            now = states[moving]
            later = self.update(now).to(now.dtype)
            changed = (later - now).abs().amax(1) > self.tolerance
            states[moving] = later
            sweeps[moving] += changed
            stable[moving] = ~changed
            moving = moving[changed]
            if len(moving) == 0:
                break
        return RecallResult(states, sweeps, stable)

    def energy(self, states: Tensor) -> Tensor:
        """Return E, (batch,), of states (batch, N); ½ ξᵀ ξ as long as nothing is stored."""
        xi, X = states.to(self.patterns.dtype), self.patterns
        if len(X) == 0:
            return xi.square().sum(1) / 2
        matched = (self.beta * xi @ X.T).logsumexp(1) / self.beta
        offset = math.log(len(X)) / self.beta + X.square().sum(1).max() / 2
        return -matched + xi.square().sum(1) / 2 + offset


def _resize_patterns(model: ModernHopfield, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """Make room for the patterns: how many there are is known only from what is loaded."""
    stored = state.get(f"{prefix}patterns")
    if stored is not None and len(stored) != len(model.patterns):
        model.patterns = model.patterns.new_empty(len(stored), model.N)
