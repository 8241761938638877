"""The Hopfield network: a memory whose stored patterns are valleys of an energy.

J. J. Hopfield, "Neural networks and physical systems with emergent collective computational abilities", PNAS 79, 1982,
https://doi.org/10.1073/pnas.79.8.2554. Pseudo-inverse storage: L. Personnaz, I. Guyon, G. Dreyfus, "Information
storage and retrieval in spin-glass like neural networks", Journal de Physique Lettres 46, 1985; without self-couplings:
I. Kanter, H. Sompolinsky, "Associative recall of memory without errors", Physical Review A 35, 1987. The capacity
curve: D. J. Amit, H. Gutfreund, H. Sompolinsky, "Storing infinite numbers of patterns in a spin-glass model of neural
networks", Physical Review Letters 55, 1985, https://doi.org/10.1103/PhysRevLett.55.1530.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.associative.dynamics import update_asynchronously, update_synchronously
from dlx.models.associative.memory import Memory
from dlx.models.interfaces import RecallResult
from dlx.types import Count

MAX_UNITS = 2**14  # units, whose weights take two gibibytes


class Hopfield(Memory):
    """E(s) = -½ sᵀ W s over states s ∈ {-1, 1}^N; patterns ξ^μ are stored in W.

    `hebbian`: W = 1/N Σ_μ ξ^μ ξ^μᵀ, which holds some .138 N random patterns. `pseudo_inverse`: W is the projection onto
    the span of the patterns, which makes any N - 1 linearly independent ones fixed points, however alike they are.
    A state of 0 stands for a unit of which the cue says nothing; its first move settles it.

    W is a buffer of float64: sums of outer products of signs are exact in it, so that nothing depends on the batches in
    which the patterns came.

    Args:
        shape: of one example. Values above the middle of the data's range are 1, the others -1.
        rule: how patterns are stored.
        update: `asynchronous` moves one unit after the other, in an order that is drawn anew for every sweep and is the
            same for all cues, `synchronous` all at once.
        self_coupling: keep the diagonal of W. Stored patterns are as stable with it, and attract from less far.
        sweeps: at most so many sweeps over all units; fewer where the state is stable.
        seed: of the orders.

    Raises:
        UsageError: the examples have too many elements for a weight between any two of them.
    """

    accepts = ("image", "vector")
    signs = True  # of vectors nothing else is kept
    declares: ClassVar[tuple[str | Metric, ...]] = ("patterns", "load", "rank")
    W: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        rule: Literal["hebbian", "pseudo_inverse"] = "hebbian",
        update: Literal["asynchronous", "synchronous"] = "asynchronous",
        self_coupling: bool = False,
        sweeps: Count = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(shape)
        if self.N > MAX_UNITS:
            raise UsageError(
                f"hopfield was given examples of {self.N:,} elements; needed: at most {MAX_UNITS:,}, since each two "
                "are joined by a weight; type model=modern_hopfield, or a smaller dataset.size"
            )
        self.rule, self.update, self.self_coupling = rule, update, self_coupling
        self.sweeps, self.seed = sweeps, seed
        self.register_buffer("W", torch.zeros(self.N, self.N, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Return what x (batch, *shape) becomes when all units move once, (batch, *shape)."""
        return self.values(update_synchronously(self.W, self.states(x)))

    def states(self, x: Tensor) -> Tensor:
        """Return examples x (batch, *shape) as signs, (batch, N) float64."""
        return torch.where(x.flatten(1) >= self.shift, 1.0, -1.0).to(self.W.dtype)

    @torch.no_grad()
    def gather(self, gathered: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """Return what was gathered with the patterns x (batch, *shape) added: `products` (N, N), `patterns` 0-d."""
        s = self.states(x)
        count = torch.tensor(len(s), dtype=torch.int64, device=s.device)
        if not gathered:
            return {"products": s.T @ s, "patterns": count}
        return {"products": gathered["products"].addmm(s.T, s), "patterns": gathered["patterns"] + count}

    @torch.no_grad()
    def store(self, gathered: Mapping[str, Tensor]) -> dict[str, float]:
        """Set the weights by the sum of the patterns' outer products; tells how many there are, and the load.

        The span of the patterns is that of the eigenvectors of this sum whose eigenvalues are not zero; `rank` is its
        dimension, where the pseudo-inverse asks for it.
        """
        products, more = gathered["products"], {}
        if self.rule == "hebbian":
            W = products / self.N
        else:
            values, vectors = torch.linalg.eigh(products)
            span = vectors[:, values > 1e-10 * values[-1]]
            more = {"rank": float(span.shape[1])}
            W = span @ span.T if span.shape[1] < self.N else torch.eye(self.N, dtype=span.dtype, device=span.device)
        if not self.self_coupling:
            W.fill_diagonal_(0)
        self.W.copy_((W + W.T) / 2)  # symmetric to the last bit
        patterns = float(gathered["patterns"])
        return {"patterns": patterns, "load": patterns / self.N, **more}

    def remark(self, told: Mapping[str, float]) -> str | None:
        """Return a warning of patterns stored by the pseudo-inverse that leave no state outside their span."""
        if told.get("rank", 0) < self.N:
            return None
        every = "every state stays as it is" if self.self_coupling else "no weight is left"
        return (
            f"{told['patterns']:.0f} patterns of rank {self.N} span all states of {self.N} units: {every}, and none is "
            f"recalled; the pseudo-inverse holds at most {self.N - 1} independent ones; type dataset.limit="
            f"{max(self.N // 2, 1)}, or model=modern_hopfield"
        )

    @torch.no_grad()
    def recall(self, cues: Tensor) -> RecallResult:
        """Follow the dynamics from cues (batch, N), of which the signs count, until they are stable.

        All cues move together; those that have come to rest are left out.
        """
        s = cues.to(self.W.dtype).sign()
        sweeps = torch.zeros(len(s), dtype=torch.int64, device=s.device)
        moving = torch.arange(len(s), device=s.device)
        earlier = torch.full_like(s, math.nan)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.sweeps):
            now = s[moving]
            if self.update == "asynchronous":
                later = update_asynchronously(self.W, now, torch.randperm(self.N, generator=generator).to(s.device))
            else:
                later = update_synchronously(self.W, now)
            changed = (later != now).any(1)
            s[moving] = later
            sweeps[moving] += changed
            # Back where it was two sweeps ago, a synchronous network will go to and fro for ever.
            changed &= (later != earlier).any(1) if self.update == "synchronous" else True
            moving, earlier = moving[changed], now[changed]
            if len(moving) == 0:
                break
        return RecallResult(s, sweeps, stable=(update_synchronously(self.W, s) == s).all(1))

    def energy(self, states: Tensor) -> Tensor:
        """Return E, (batch,), of states (batch, N)."""
        s = states.to(self.W.dtype)
        return -((s @ self.W) * s).sum(1) / 2

    def theory(self) -> tuple[Tensor, Tensor] | None:
        """Return loads and the overlaps to be expected at them for random patterns and N → ∞; None where nobody knows.

        The retrieval states of Amit, Gutfreund and Sompolinsky at temperature zero: m = erf(y) at the load
        α = ½ (erf(y)/y - 2/√π exp(-y²))², along the branch that ends at α = .138, m = .967.
        """
        if self.rule != "hebbian" or self.self_coupling:
            return None
        y = torch.linspace(1.513, 4, 200, dtype=torch.float64)
        overlap = torch.erf(y)
        return (overlap / y - 2 / math.sqrt(math.pi) * (-y.square()).exp()).square() / 2, overlap
