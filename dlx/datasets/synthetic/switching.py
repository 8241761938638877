"""Generated sequences of vectors whose distribution changes from time to time, unseen."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Split, Stream
from dlx.errors import UsageError
from dlx.types import Count, Fraction, Positive, Probability


class Switching(Dataset):
    """A hidden Markov model's own data: a regime lasts for a while, and each has its own distribution of vectors.

    The labels are the regimes, (examples, longest), so that what is found can be compared with what was there.
    Sequences have different lengths and are padded with zeros.

    Args:
        regimes: number of hidden states. Each follows any other with the same probability.
        features: of a vector.
        values: `normal`: each regime has a mean, `spread` from the others' on average, and a covariance of its own,
            with correlations; `bits`: zeros and ones, of which each regime has its own probabilities.
        spread: standard deviation of the normal regimes' means in each direction.
        stay: probability that a regime lasts another step.
        examples: sequences, over all splits.
        shortest, longest: bounds of their lengths, which are uniformly distributed.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    kind = "sequence"

    def __init__(
        self,
        regimes: Count = 3,
        features: Count = 2,
        values: Literal["normal", "bits"] = "normal",
        spread: Positive = 2.0,
        stay: Probability = 0.9,
        examples: Count = 300,
        shortest: Count = 50,
        longest: Count = 150,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        if shortest > longest:
            raise UsageError(f"dataset.shortest={shortest} is more than dataset.longest={longest}")
        self.regimes, self.features, self.values, self.spread, self.stay = regimes, features, values, spread, stay
        self.examples, self.shortest, self.longest = examples, shortest, longest
        # Parameters have a generator of their own, so that more examples do not move them.
        generator = torch.Generator().manual_seed(seed + 1)
        self.mean = spread * torch.randn(regimes, features, generator=generator)
        self.factor = torch.randn(regimes, features, features, generator=generator).tril(-1) / 2
        self.factor += torch.diag_embed(0.5 + torch.rand(regimes, features, generator=generator))
        self.p = torch.rand(regimes, features, generator=generator) ** 2  # more zeros than ones, as notes have

    def read(self) -> dict[str, Split | Stream]:
        generator = torch.Generator().manual_seed(self.seed)
        lengths = torch.randint(self.shortest, self.longest + 1, (self.examples,), generator=generator)
        state = torch.randint(self.regimes, (self.examples,), generator=generator)
        states, drawn = [], []
        for _ in range(self.longest):
            states.append(state)
            drawn.append(self._draw(state, generator))
            move = torch.rand(self.examples, generator=generator) >= self.stay
            step = torch.randint(1, max(self.regimes, 2), (self.examples,), generator=generator)
            state = torch.where(move, (state + step) % self.regimes, state)
        within = torch.arange(self.longest) < lengths[:, None]
        return {"train": Split(torch.stack(drawn, 1) * within[..., None], torch.stack(states, 1) * within, lengths)}

    def _draw(self, state: Tensor, generator: torch.Generator) -> Tensor:
        """Draw vectors (n, features) of regimes (n,)."""
        if self.values == "bits":
            return (torch.rand(len(state), self.features, generator=generator) < self.p[state]).float()
        noise = torch.randn(len(state), self.features, 1, generator=generator)
        return self.mean[state] + (self.factor[state] @ noise)[:, :, 0]


class SwitchingBits(Switching):
    """The same of zeros and ones, more of them: `Switching` with other defaults.

    Args:
        regimes, features, values, spread, stay, examples, shortest, longest: as in `Switching`.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    def __init__(
        self,
        regimes: Count = 3,
        features: Count = 12,
        values: Literal["normal", "bits"] = "bits",
        spread: Positive = 2.0,
        stay: Probability = 0.9,
        examples: Count = 300,
        shortest: Count = 50,
        longest: Count = 150,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        super().__init__(
            regimes, features, values, spread, stay, examples, shortest, longest,
            shape, classes, outputs, seed, val, test, limit,
        )  # fmt: skip
