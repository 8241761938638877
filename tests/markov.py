"""Independent truths about hidden Markov models, for the tests of each kind of emissions."""

import itertools

import numpy as np
import pytest
import torch

TABLES = ("start", "transition", "emission")


def tables(hmm):
    """Probabilities of a model of symbols."""
    return [getattr(hmm, f"log_{name}").detach().exp() for name in TABLES]


@torch.no_grad()
def fill(hmm, **probabilities):
    """A model with these tables."""
    for name, table in probabilities.items():
        getattr(hmm, name).copy_(torch.as_tensor(table, dtype=torch.float64).log())
    return hmm


def lengths_of(examples, longest, seed):
    """Lengths of ragged sequences, the first the longest."""
    lengths = torch.randint(1, longest + 1, (examples,), generator=torch.Generator().manual_seed(seed))
    lengths[0] = longest
    return lengths


def flat(x, lengths):
    """Sequences as hmmlearn takes them."""
    rows = np.concatenate([row[:n].numpy() for row, n in zip(x, lengths, strict=True)])
    return rows.reshape(len(rows), -1), lengths.numpy()


def enumerated(hmm, x):
    """p(x, z) of every path z of one sequence x (1, T, ...)."""
    start, transition = hmm.log_start.detach().exp(), hmm.log_transition.detach().exp()
    emission = hmm.emission_log_prob(x)[0].detach().exp()  # (T, S)
    weights = {}
    for path in itertools.product(range(hmm.states), repeat=x.shape[1]):
        p = start[path[0]] * emission[0, path[0]]
        for t in range(1, x.shape[1]):
            p = p * transition[path[t - 1], path[t]] * emission[t, path[t]]
        weights[path] = float(p)
    return weights


def all_paths(hmm, x, rel=1e-10):
    """Everything that inference says of one sequence x (1, T, ...) is what the sum over all paths says."""
    weights, T = enumerated(hmm, x), x.shape[1]
    total = sum(weights.values())
    told = hmm.posterior(x)
    assert float(told.log_likelihood) == pytest.approx(np.log(total), rel=rel)
    assert float(hmm(x).detach()) == pytest.approx(np.log(total), rel=1e-9)
    for t, s in itertools.product(range(T), range(hmm.states)):
        exact = sum(p for path, p in weights.items() if path[t] == s) / total
        assert float(told.states[0, t, s]) == pytest.approx(exact, rel=rel, abs=1e-12)
    for i, j in itertools.product(range(hmm.states), repeat=2):
        moves = {path: sum(a == i and b == j for a, b in itertools.pairwise(path)) for path in weights}
        exact = sum(p * moves[path] for path, p in weights.items()) / total
        assert float(told.transitions[i, j]) == pytest.approx(exact, rel=rel, abs=1e-12)
    assert tuple(hmm.decode_states(x)[0].tolist()) == max(weights, key=weights.get)
