"""A hidden Markov model for every class, and Bayes' rule: isolated-word recognition.

L. R. Rabiner, Proc. IEEE 77, 1989, https://doi.org/10.1109/5.18626, section VI.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from dlx.models.exported_loop import is_exporting
from dlx.models.interfaces import DataInitialized
from dlx.models.markov import exported
from dlx.models.markov.emitting import Emission, make_hmm
from dlx.models.markov.gaussians import Covariance
from dlx.models.markov.hmm import HMM, Topology
from dlx.models.markov.tables import maximize_rows
from dlx.types import Count, Fraction, Positive


class HMMClassifier(nn.Module):
    """p(c | x) ∝ p(c) p(x | c), where p(x | c) is a hidden Markov model's.

    EM trains each class's model on its own sequences; back-propagation trains all of them to tell the classes apart.

    Args:
        shape: of one padded sequence, (T, features) or (T,).
        classes: number of classes.
        symbols: their number, for sequences of symbols; null for vectors.
        states: of each class's model.
        emission: `auto` is categorical for symbols, gaussian for vectors; `bernoulli` for zeros and ones.
        mixtures, covariance, floor: of Gaussian emissions, as in `GMMHMM`.
        emission_prior: of the others.
        stay, topology, jumps, start_prior, transition_prior, dtype: as in `HMM`.
    """

    accepts = ("sequence", "symbols")
    labelled = True
    log_class: nn.Parameter  # (classes,)

    def __init__(
        self,
        shape: Sequence[int],
        classes: Count,
        symbols: Count | None = None,
        states: Count = 5,
        emission: Emission = "auto",
        mixtures: Count = 1,
        covariance: Covariance = "diagonal",
        floor: Positive = 1e-2,
        emission_prior: Positive = 1.0,
        stay: Fraction = 0.8,
        topology: Topology = "left_to_right",
        jumps: Count = 1,
        start_prior: Positive = 1.0,
        transition_prior: Positive = 1.0,
        dtype: Literal["float64", "float32"] = "float64",
    ) -> None:
        super().__init__()
        self.log_class = nn.Parameter(torch.zeros(classes, dtype=torch.float64).log_softmax(0))
        self.of_class = nn.ModuleList(
            make_hmm(
                emission, symbols, shape, states, mixtures=mixtures, covariance=covariance, floor=floor,
                emission_prior=emission_prior, stay=stay, topology=topology, jumps=jumps, start_prior=start_prior,
                transition_prior=transition_prior, dtype=dtype,
            )
            for _ in range(classes)
        )  # fmt: skip
        self.emission, self.intensities = emission, emission == "bernoulli"  # data stands for probabilities

    @property
    def chains(self) -> list[HMM]:
        """The classes' models."""
        return [cast(HMM, chain) for chain in self.of_class]

    def prepare(self, x: Tensor) -> None:
        """Begin every class's emissions at the centres of all sequences x (batch, T, ...)."""
        for chain in self.chains:
            if isinstance(chain, DataInitialized):
                chain.prepare(x)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log p(x, c), (batch, classes), of x (batch, T, ...) padded beyond `lengths` (batch,)."""
        if is_exporting():  # one loop for all: each is a graph of its own, which takes seconds to be written
            start, transition = (torch.stack(tables) for tables in zip(*(c.tables for c in self.chains), strict=True))
            log_p = torch.stack([chain.emission_log_prob(x) for chain in self.chains], 2)
            log_likelihood = exported.log_likelihood(start, transition, log_p, lengths)
        else:
            log_likelihood = torch.stack([chain.scores(x, lengths)["log_likelihood"] for chain in self.chains], 1)
        floor = (
            torch.finfo(torch.float64).min / 1e10
        )  # a sequence that is impossible for all classes has no probabilities
        return (log_likelihood + self.log_class.log_softmax(0)).clamp(min=floor)

    @torch.no_grad()
    def statistics(self, x: Tensor, lengths: Tensor | None = None, y: Tensor | None = None) -> dict[str, Tensor]:
        """Return the expected counts of sequences x of the classes y (batch,), each for its own model: `CLASS.NAME`."""
        assert y is not None
        log_class = self.log_class.log_softmax(0)
        count = torch.bincount(y, minlength=len(log_class)).double()
        total = {"log_likelihood": (count * log_class).sum(), "class": count}
        for c, chain in enumerate(self.chains):
            rows = y == c
            if not bool(rows.any()):
                continue
            for name, value in chain.statistics(x[rows], None if lengths is None else lengths[rows]).items():
                if name == "log_likelihood":
                    total[name] = total[name] + value
                else:
                    total[f"{c}.{name}"] = value
        return total

    @torch.no_grad()
    def maximize(self, statistics: Mapping[str, Tensor]) -> None:
        """Take the M-step of every class of which there were sequences."""
        maximize_rows(self.log_class, statistics["class"])
        for c, chain in enumerate(self.chains):
            own = {name.split(".", 1)[1]: value for name, value in statistics.items() if name.startswith(f"{c}.")}
            if own:
                chain.maximize(own)

    def log_prior(self) -> float:
        """Return what `HMM.log_prior` does, of all classes."""
        return sum(chain.log_prior() for chain in self.chains)
