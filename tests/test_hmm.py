"""The hidden Markov model against all paths, the textbook, and hmmlearn."""

import itertools

import numpy as np
import pytest
import torch
from hmmlearn.hmm import CategoricalHMM as Reference

from dlx.batch import Batch
from dlx.models.markov.categorical_hmm import CategoricalHMM
from dlx.procedures.em import EM
from dlx.tasks.density import Density


def tables(hmm):
    return [getattr(hmm, f"log_{name}").exp() for name in ("start", "transition", "emission")]


def given(start, transition, emission):
    emission = torch.as_tensor(emission, dtype=torch.float64)
    hmm = CategoricalHMM(emission.shape[1], emission.shape[0])
    for name, table in zip(("start", "transition", "emission"), (start, transition, emission), strict=True):
        getattr(hmm, f"log_{name}").copy_(torch.as_tensor(table, dtype=torch.float64).log())
    return hmm


def ragged(seed=0, symbols=5, examples=12, longest=40):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (examples,), generator=generator)
    lengths[0] = longest
    x = torch.randint(0, symbols, (examples, longest), generator=generator)
    return x * (torch.arange(longest) < lengths[:, None]), lengths


def flat(x, lengths):
    return np.concatenate([row[:n].numpy() for row, n in zip(x, lengths, strict=True)])[:, None], lengths.numpy()


def reference(hmm, **options):
    other = Reference(hmm.states, n_features=hmm.classes, init_params="", **options)
    other.startprob_, other.transmat_, other.emissionprob_ = (table.numpy() for table in tables(hmm))
    return other


FEVER = given([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], [[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]])


def test_the_worked_example():
    x = torch.tensor([[0, 1, 2]])  # normal, cold, dizzy
    assert float(FEVER(x).exp()) == pytest.approx(0.03628, abs=1e-7)
    assert FEVER.decode_states(x).tolist() == [[0, 0, 1]]  # healthy, healthy, fever


def test_all_paths():
    torch.manual_seed(0)
    hmm = CategoricalHMM(3, 3)
    start, transition, emission = tables(hmm)
    x = torch.tensor([[0, 2, 1, 1, 2]])
    weights = {}
    for path in itertools.product(range(3), repeat=5):
        p = start[path[0]] * emission[path[0], x[0, 0]]
        for t in range(1, 5):
            p = p * transition[path[t - 1], path[t]] * emission[path[t], x[0, t]]
        weights[path] = float(p)
    total = sum(weights.values())
    told = hmm.posterior(x)
    assert float(told.log_likelihood.exp()) == pytest.approx(total, rel=1e-12)
    for t, s in itertools.product(range(5), range(3)):
        exact = sum(p for path, p in weights.items() if path[t] == s) / total
        assert float(told.states[0, t, s]) == pytest.approx(exact, rel=1e-10)
    for i, j in itertools.product(range(3), repeat=2):
        exact = sum(p * sum(path[t] == i and path[t + 1] == j for t in range(4)) for path, p in weights.items()) / total
        assert float(told.transitions[0, i, j]) == pytest.approx(exact, rel=1e-10)
    assert tuple(hmm.decode_states(x)[0].tolist()) == max(weights, key=weights.get)


def joint(hmm, x, path):
    """log p(x, z)."""
    start, transition, emission = (table.log() for table in tables(hmm))
    moves = sum(transition[a, b] for a, b in itertools.pairwise(path))
    return float(start[path[0]] + moves + sum(emission[z, s] for z, s in zip(path, x.tolist(), strict=True)))


@pytest.mark.parametrize("states", [1, 2, 6])
def test_inference_equals_hmmlearn_on_ragged_sequences(states):
    torch.manual_seed(states)
    hmm = CategoricalHMM(5, states)
    x, lengths = ragged()
    other, (X, n) = reference(hmm), flat(*ragged())
    log_likelihood, posteriors = other.score_samples(X, n)
    told = hmm.posterior(x, lengths)
    assert float(told.log_likelihood.sum()) == pytest.approx(log_likelihood, rel=1e-12)
    assert torch.allclose(hmm.scores(x, lengths)["log_likelihood"], told.log_likelihood)
    ours = torch.cat([p[:k] for p, k in zip(told.states, lengths, strict=True)]).numpy()
    np.testing.assert_allclose(ours, posteriors, atol=1e-8)
    for row, k in zip(x, lengths.tolist(), strict=True):
        sequence = row[:k].numpy()[:, None]
        ours, theirs = hmm.decode_states(row[None, :k])[0].numpy(), other.predict(sequence)
        # Two paths may be equally probable to the last bit; which is named then is either's choice.
        assert np.array_equal(ours, theirs) or joint(hmm, row[:k], ours) == pytest.approx(joint(hmm, row[:k], theirs))
        assert joint(hmm, row[:k], ours) == pytest.approx(other.decode(sequence)[0], rel=1e-12)


@pytest.mark.parametrize("iterations", [1, 7])
def test_learning_equals_hmmlearn(iterations):
    torch.manual_seed(3)
    hmm = CategoricalHMM(5, 3)
    x, lengths = ragged()
    other = reference(hmm, n_iter=iterations, tol=-np.inf)
    other.fit(*flat(x, lengths))
    procedure = EM(tolerance=0)
    procedure.bind(hmm, Density())
    for _ in range(iterations):
        procedure.step(Batch(x[:5], lengths=lengths[:5]))  # the batches' counts add up
        procedure.step(Batch(x[5:], lengths=lengths[5:]))
        procedure.end_epoch()
    for ours, theirs in zip(tables(hmm), (other.startprob_, other.transmat_, other.emissionprob_), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_em_never_lowers_the_likelihood(seed):
    torch.manual_seed(seed)
    hmm = CategoricalHMM(4, 3)
    x, lengths = ragged(seed, symbols=4)
    procedure = EM(tolerance=1e-9)
    procedure.bind(hmm, Density())
    before = -float("inf")
    for _ in range(60):
        procedure.step(Batch(x, lengths=lengths))
        after = float(procedure.end_epoch()["log_likelihood"])
        assert after >= before - 1e-10
        before = after
        if procedure.done:
            break
    for table in tables(hmm):
        assert torch.allclose(table.sum(-1), torch.ones(()).double())


def test_padding_changes_nothing():
    torch.manual_seed(0)
    hmm = CategoricalHMM(5, 3)
    x, lengths = ragged()
    alone = [hmm.statistics(x[i : i + 1, :n]) for i, n in enumerate(lengths.tolist())]
    together = hmm.statistics(x, lengths)
    for name, value in together.items():
        assert torch.allclose(value, sum(part[name] for part in alone)), name


def test_zero_probabilities_stay_finite():
    hmm = given([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    possible, impossible = torch.tensor([[0, 0, 1]]), torch.tensor([[1, 0, 2]])
    assert float(hmm(possible).exp()) == pytest.approx(0.25)
    assert float(hmm(impossible)) == -float("inf")
    counts = hmm.statistics(torch.cat([possible, impossible[:, :3]]))
    assert all(value.isfinite().all() for name, value in counts.items() if name != "log_likelihood")
    hmm.maximize(hmm.statistics(possible))
    for table in tables(hmm):
        assert not table.isnan().any()
        assert torch.allclose(table.sum(-1), torch.ones(()).double())


def test_long_sequences_do_not_underflow():
    x = torch.zeros(1, 5000, dtype=torch.int64)
    told = FEVER.posterior(x)
    assert told.log_likelihood.isfinite().all()
    assert torch.allclose(told.states.sum(-1), torch.ones(()).double())
    assert float(told.transitions.sum()) == pytest.approx(4999)


def test_samples_have_the_models_statistics():
    torch.manual_seed(0)
    hmm = given([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], [[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]])
    x = hmm.sample(20000)
    first = tables(hmm)[0] @ tables(hmm)[2]
    second = tables(hmm)[0] @ tables(hmm)[1] @ tables(hmm)[2]
    for t, expected in ((0, first), (1, second)):
        found = torch.bincount(x[:, t], minlength=3) / len(x)
        assert float((found - expected).abs().max()) < 0.015


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_casinos_dice_are_found(train, seed):
    size = ("dataset.examples=600", "trainer.epochs=400", "trainer.validate_every=0")
    run = train("a", "model=categorical_hmm", *size, f"seed={seed}")
    from dlx.checkpoint import load

    emission = load(run.checkpoints / "last.pt")["model"]["log_emission"].exp()
    loaded = emission[emission[:, 5].argmax()]
    assert float(loaded[5]) == pytest.approx(0.5, abs=0.06)
    assert float(loaded[:5].max()) < 0.14
    metrics = run.read()["metrics"]
    assert metrics["test/nats_per_step"] < np.log(6)
