"""The occasionally dishonest casino: rolls of a die that is sometimes loaded."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Split, Stream
from dlx.errors import UsageError
from dlx.types import Count, Fraction, Probability


class Casino(Dataset):
    """Rolls of a die that a casino sometimes exchanges for a loaded one, unseen: the textbook's hidden Markov model.

    R. Durbin et al., "Biological Sequence Analysis", 1998, section 3.1. State 0 is the fair die, state 1 the loaded
    one, which shows a six half of the time. Sequences have different lengths and are padded with zeros.

    Args:
        examples: sequences, over all splits.
        shortest, longest: bounds of their lengths, which are uniformly distributed.
        loads, unloads: probability that the fair die is exchanged for the loaded one after a roll, and back.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
        symbols: their number; null takes what the data has.
    """

    kind = "symbols"
    held = ("states",)

    def __init__(
        self,
        examples: Count = 300,
        shortest: Count = 50,
        longest: Count = 150,
        loads: Probability = 0.05,
        unloads: Probability = 0.1,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        symbols: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        self.symbols = symbols
        if shortest > longest:
            raise UsageError(f"dataset.shortest={shortest} is more than dataset.longest={longest}")
        self.examples, self.shortest, self.longest = examples, shortest, longest
        self.start = torch.tensor([0.5, 0.5])  # (states,)
        self.transition = torch.tensor([[1 - loads, loads], [unloads, 1 - unloads]])  # (states, states)
        self.emission = torch.tensor([[1 / 6] * 6, [0.1] * 5 + [0.5]])  # (states, symbols)
        self.states: Tensor | None = None  # (examples, longest), which die was rolled, in the order of generation

    def read(self) -> dict[str, Split | Stream]:
        self.names = [str(face) for face in range(1, 7)]
        generator = torch.Generator().manual_seed(self.seed)
        lengths = torch.randint(self.shortest, self.longest + 1, (self.examples,), generator=generator)
        state = torch.multinomial(self.start, self.examples, replacement=True, generator=generator)
        states, rolls = [], []
        for _ in range(self.longest):
            states.append(state)
            rolls.append(torch.multinomial(self.emission[state], 1, generator=generator)[:, 0])
            state = torch.multinomial(self.transition[state], 1, generator=generator)[:, 0]
        self.states = torch.stack(states, 1)
        within = torch.arange(self.longest) < lengths[:, None]
        return {"train": Split(torch.stack(rolls, 1) * within, lengths=lengths)}
