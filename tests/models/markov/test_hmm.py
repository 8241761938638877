"""The hidden Markov model of symbols against all paths, the textbook, and hmmlearn."""

import itertools

import numpy as np
import pytest
import torch
from hmmlearn.hmm import CategoricalHMM as Reference

from dlx.batch import Batch
from dlx.models.markov.categorical_hmm import CategoricalHMM
from dlx.procedures.em import EM
from dlx.tasks.density import Density
from tests.markov import TABLES, all_paths, enumerated, fill, flat, lengths_of, tables


def given(start, transition, emission, **options):
    emission = torch.as_tensor(emission, dtype=torch.float64)
    hmm = CategoricalHMM(emission.shape[1], emission.shape[0], **options)
    return fill(hmm, log_start=start, log_transition=transition, log_emission=emission)


def ragged(seed=0, symbols=5, examples=12, longest=40):
    lengths = lengths_of(examples, longest, seed)
    x = torch.randint(0, symbols, (examples, longest), generator=torch.Generator().manual_seed(seed))
    return x * (torch.arange(longest) < lengths[:, None]), lengths


def reference(hmm, **options):
    other = Reference(hmm.states, n_features=hmm.classes, init_params="", **options)
    other.startprob_, other.transmat_, other.emissionprob_ = (table.numpy() for table in tables(hmm))
    return other


FEVER = given([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], [[0.5, 0.4, 0.1], [0.1, 0.3, 0.6]])


def test_the_worked_example():
    x = torch.tensor([[0, 1, 2]])  # normal, cold, dizzy
    assert float(FEVER(x).detach().exp()) == pytest.approx(0.03628, abs=1e-7)
    assert float(FEVER.scores(x)["log_likelihood"].detach().exp()) == pytest.approx(0.03628, abs=1e-7)
    assert FEVER.decode_states(x).tolist() == [[0, 0, 1]]  # healthy, healthy, fever
    start, transition, emission = tables(FEVER)
    best = start[0] * emission[0, 0] * transition[0, 0] * emission[0, 1] * transition[0, 1] * emission[1, 2]
    assert float(best) == pytest.approx(0.01512, abs=1e-7)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("topology", ["ergodic", "left_to_right"])
def test_all_paths(dtype, topology):
    torch.manual_seed(0)
    hmm = CategoricalHMM(3, 3, topology=topology, dtype=dtype)
    x = torch.tensor([[0, 2, 1, 1, 2]])
    all_paths(hmm, x, 1e-10 if dtype == "float64" else 1e-5)


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
@pytest.mark.parametrize("prior", [1.0, 1.5])
@pytest.mark.parametrize("topology", ["ergodic", "left_to_right"])
def test_learning_equals_hmmlearn(iterations, prior, topology):
    torch.manual_seed(3)
    hmm = CategoricalHMM(5, 3, topology=topology, start_prior=prior, transition_prior=prior, emission_prior=prior)
    x, lengths = ragged()
    priors = {f"{name}_prior": prior for name in ("startprob", "transmat", "emissionprob")}
    other = reference(hmm, n_iter=iterations, tol=-np.inf, **priors)
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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_padding_changes_nothing(dtype):
    torch.manual_seed(0)
    hmm = CategoricalHMM(5, 3, dtype=dtype)
    x, lengths = ragged()
    alone = [hmm.statistics(x[i : i + 1, :n]) for i, n in enumerate(lengths.tolist())]
    together = hmm.statistics(x, lengths)
    for name, value in together.items():
        assert torch.allclose(value, sum(part[name] for part in alone), rtol=1e-4 if dtype == "float32" else 1e-9), name


def test_zero_probabilities_stay_finite():
    hmm = given([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    possible, impossible = torch.tensor([[0, 0, 1]]), torch.tensor([[1, 0, 2]])
    assert float(hmm(possible).detach().exp()) == pytest.approx(0.25)
    assert float(hmm(impossible).detach()) == -float("inf")
    both = torch.cat([possible, impossible])
    scores = hmm.scores(both)["log_likelihood"]
    assert scores.tolist() == pytest.approx([np.log(0.25), -np.inf])
    counts, alone = hmm.statistics(both), hmm.statistics(possible)
    for name in TABLES:
        assert torch.equal(counts[name], alone[name])  # what is impossible says nothing
    hmm.maximize(hmm.statistics(possible))
    for table in tables(hmm):
        assert not table.isnan().any()
        assert torch.allclose(table.sum(-1), torch.ones(()).double())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_long_sequences_do_not_underflow(dtype):
    hmm = given(*(table.tolist() for table in tables(FEVER)), dtype=dtype)
    x = torch.randint(0, 3, (1, 10_000), generator=torch.Generator().manual_seed(0))
    told = hmm.posterior(x)
    assert float(told.log_likelihood) == pytest.approx(reference(hmm).score(x[0].numpy()[:, None]), rel=1e-6)
    assert torch.allclose(told.states.sum(-1), torch.ones(()).double(), atol=1e-5)
    assert float(told.transitions.sum()) == pytest.approx(9999, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_scaling_would_lose_is_found_in_log_space(dtype):
    """A path that is 1e-360 times as likely as another, and that the last symbol shows to be the right one."""
    rare = 1e-60
    emission = [[1 - rare, rare, 0.0], [rare, 1 - 2 * rare, rare]]
    hmm = given([0.5, 0.5], [[1.0, 0.0], [0.0, 1.0]], emission, dtype=dtype)
    x = torch.tensor([[0, 0, 0, 0, 0, 0, 2], [0, 1, 0, 1, 0, 1, 0]])
    told = hmm.posterior(x)
    assert float(told.log_likelihood[0]) == pytest.approx(np.log(0.5) + 7 * np.log(rare), rel=1e-12)
    assert torch.allclose(told.states[0], torch.tensor([0.0, 1.0]).double())
    assert float(told.log_likelihood[1]) == pytest.approx(np.log(0.5) + 3 * np.log(rare), rel=1e-12)
    assert float(hmm.scores(x)["log_likelihood"][0].detach()) == pytest.approx(float(told.log_likelihood[0]))
    assert torch.equal(told.transitions, torch.diag(told.states[:, 1:].sum((0, 1))))


def test_nats_after_the_first_step():
    x, lengths = ragged(symbols=3)
    told = FEVER.scores(x, lengths)
    first = FEVER.scores(x[:, :1])["log_likelihood"]
    assert torch.allclose(told["log_likelihood"] - told["log_likelihood_after_first"], first)


def test_samples_have_the_models_statistics():
    torch.manual_seed(0)
    x = FEVER.sample(20000, 2)
    start, transition, emission = tables(FEVER)
    for t, expected in ((0, start @ emission), (1, start @ transition @ emission)):
        found = torch.bincount(x[:, t], minlength=3) / len(x)
        assert float((found - expected).abs().max()) < 0.015


def test_left_to_right_never_goes_back():
    torch.manual_seed(0)
    hmm = CategoricalHMM(5, 4, topology="left_to_right", jumps=2, transition_prior=2.0, start_prior=2.0)
    x, lengths = ragged()
    for _ in range(5):
        hmm.maximize(hmm.statistics(x, lengths))
    start, transition, _ = tables(hmm)
    assert start.tolist() == [1, 0, 0, 0]
    assert (transition.tril(-1) == 0).all()
    assert (transition.triu(3) == 0).all()
    assert torch.allclose(transition.sum(1), torch.ones(4).double())
    paths = hmm.decode_states(x, lengths)
    for path, n in zip(paths, lengths.tolist(), strict=True):
        assert (path[:n].diff() >= 0).all()
        assert (path[n:] == -1).all()


def test_a_brute_force_of_the_brute_force():
    """The helper that enumerates paths is right about a model of one state."""
    hmm = CategoricalHMM(3, 1)
    x = torch.tensor([[0, 2, 1]])
    assert sum(enumerated(hmm, x).values()) == pytest.approx(float(tables(hmm)[2][0, [0, 2, 1]].prod()))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_casinos_dice_are_found(train, seed):
    size = ("dataset.examples=600", "trainer.epochs=400", "trainer.validate_every=0")
    run = train("a", "model=categorical_hmm", *size, f"seed={seed}")
    from dlx.training.checkpoint import load

    emission = load(run.checkpoints / "last.pt")["model"]["log_emission"].exp()
    loaded = emission[emission[:, 5].argmax()]
    assert float(loaded[5]) == pytest.approx(0.5, abs=0.06)
    assert float(loaded[:5].max()) < 0.14
    metrics = run.read()["metrics"]
    assert metrics["test/nats_per_step"] < np.log(6)
