"""The adding problem: to remember two numbers across hundreds of steps.

S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997, in the form of Q. Le, N. Jaitly,
G. Hinton, 2015, https://arxiv.org/abs/1504.00941.
"""

from collections.abc import Mapping, Sequence

import torch

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Generated, Part, Split
from dlx.errors import UsageError
from dlx.types import Count, Fraction


class Adding(Dataset):
    """Sequences of pairs (number, mark), to be answered by the sum of the two marked numbers.

    The numbers are uniform in [0, 1]; the marks are 1 at two steps drawn from all, and 0 elsewhere. Training examples
    are made as they are needed, and none comes twice. Who always answers 1 has a squared error of 1/6 = 0.1667.

    Args:
        length: steps, T.
        examples: sequences that are called an epoch.
        val, test: sequences of these splits, as parts of `examples`; they stay the same.
        limit: at most so many sequences are called an epoch.
        shape: (T, 2).
        classes, outputs, seed: as in `Dataset`.

    Raises:
        UsageError: too short for two marks.
    """

    kind = "sequence"

    def __init__(
        self,
        length: Count = 200,
        examples: Count = 10000,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.1,
        limit: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        if length < 2:
            raise UsageError(f"dataset.length={length} was given; needed: at least 2 steps, one for each mark")
        self.length, self.examples = length, examples
        self.shape, self.outputs = (length, 2), 1

    def read(self) -> Mapping[str, Part]:
        sizes = {"val": round(self.val * self.examples), "test": round(self.test * self.examples)}
        parts = {name: Generated(self.make, size) for name, size in sizes.items() if size}
        return {"train": Generated(self.make, min(self.examples, self.limit or self.examples)), **parts}

    def make(self, n: int, generator: torch.Generator) -> Split:
        """Draw x (n, T, 2) and their sums (n, 1)."""
        device, T = generator.device, self.length
        numbers = torch.rand(n, T, generator=generator, device=device)
        first = torch.randint(T, (n,), generator=generator, device=device)
        # One of the T - 1 other steps: a pair of different steps, each as likely as any other.
        second = (first + torch.randint(1, T, (n,), generator=generator, device=device)) % T
        places = torch.stack((first, second), 1)  # (n, 2)
        marks = torch.zeros_like(numbers).scatter_(1, places, 1)
        return Split(torch.stack((numbers, marks), 2), numbers.gather(1, places).sum(1, keepdim=True))
