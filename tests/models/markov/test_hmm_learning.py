"""Hidden Markov models that learn by gradients, of classes, and from known states."""

import numpy as np
import pytest
import torch

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.markov.bernoulli_hmm import BernoulliHMM
from dlx.models.markov.categorical_hmm import CategoricalHMM
from dlx.models.markov.gaussian_hmm import GaussianHMM
from dlx.models.markov.gmm_hmm import GMMHMM
from dlx.models.markov.hmm_classifier import HMMClassifier
from dlx.models.markov.hmm_tagger import HMMTagger
from dlx.procedures.em import EM
from dlx.tasks.density import Density
from tests.markov import lengths_of, tables

MODELS = {
    "categorical": (lambda: CategoricalHMM(4, 3), "symbols"),
    "left to right": (lambda: CategoricalHMM(4, 3, topology="left_to_right"), "symbols"),
    "gaussian": (lambda: GaussianHMM((6, 2), 3), "vectors"),
    "full": (lambda: GaussianHMM((6, 2), 3, "full"), "vectors"),
    "tied": (lambda: GaussianHMM((6, 2), 3, "tied"), "vectors"),
    "spherical": (lambda: GaussianHMM((6, 2), 3, "spherical"), "vectors"),
    "gmm": (lambda: GMMHMM((6, 2), 2, 2, "full"), "vectors"),
    "bernoulli": (lambda: BernoulliHMM((6, 2), 3), "bits"),
}


def data(kind, examples=5, T=6):
    generator = torch.Generator().manual_seed(0)
    return {
        "symbols": torch.randint(0, 4, (examples, T), generator=generator),
        "vectors": torch.randn(examples, T, 2, generator=generator),
        "bits": (torch.rand(examples, T, 2, generator=generator) < 0.4).float(),
    }[kind]


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_exact_likelihood(name):
    """By Fisher's identity, against automatic differentiation through all of the forward pass."""
    torch.manual_seed(0)
    make, kind = MODELS[name]
    model, x = make(), data(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # logits that are no normalised logarithms
    loss = Density().loss(model, Batch(x))
    ours = torch.autograd.grad(loss, list(model.parameters()))
    if name != "left to right":  # -∞ - (-∞) is no gradient
        through = torch.autograd.grad(-model(x).mean(), list(model.parameters()))
        for a, b in zip(ours, through, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert float(loss.detach()) == pytest.approx(-float(model(x).mean().detach()), rel=1e-12)
    step = 1e-6
    for parameter, gradient in zip(model.parameters(), ours, strict=True):
        at = int(gradient.abs().argmax())
        flat = parameter.data.view(-1)
        values = []
        for sign in (1, -1):
            flat[at] += sign * step
            values.append(float(-model.scores(x)["log_likelihood"].mean().detach()))
            flat[at] -= sign * step
        finite = (values[0] - values[1]) / (2 * step)
        assert finite == pytest.approx(float(gradient.view(-1)[at]), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_padding_has_no_gradient(name):
    torch.manual_seed(0)
    make, kind = MODELS[name]
    model, x, lengths = make(), data(kind), lengths_of(5, 6, 1)
    together = torch.autograd.grad(Density().loss(model, Batch(x, lengths=lengths)), list(model.parameters()))
    alone = [
        torch.autograd.grad(Density().loss(model, Batch(x[i : i + 1, :n])), list(model.parameters()))
        for i, n in enumerate(lengths.tolist())
    ]
    for k, gradient in enumerate(together):
        torch.testing.assert_close(gradient, sum(one[k] for one in alone) / 5)


@pytest.mark.parametrize("model", ["categorical_hmm", "gaussian_hmm", "gmm_hmm", "bernoulli_hmm"])
def test_back_propagation_comes_near_em(model, train):
    short = ("dataset.examples=100", "trainer.validate_every=0", "trainer.test=false", "trainer.batch=100")
    em = train("em", f"model={model}", *short, "trainer.epochs=40")
    by_gradient = ("procedure=backprop", "optimizer=adam", "optimizer.lr=0.05", "trainer.epochs=80")
    run = train("backprop", f"model={model}", *short, *by_gradient)
    values = [curve(one, name) for one, name in ((em, "train/log_likelihood"), (run, "train/loss"))]
    assert -values[1][-1] > values[0][-1] - 0.02 * abs(values[0][-1])
    assert values[1][-1] < values[1][0]


def curve(run, name):
    import json

    lines = map(json.loads, (run.directory / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if name in line]


def test_a_gradient_leaves_probabilities_behind(train):
    from dlx.training.checkpoint import load

    few = ("procedure=backprop", "trainer.epochs=3", "dataset.examples=50", "model.topology=left_to_right")
    run = train("a", "model=gmm_hmm", "model.covariance=full", *few)
    stored = load(run.checkpoints / "last.pt")["model"]
    for name in ("log_start", "log_transition", "log_weight"):
        assert torch.allclose(stored[name].exp().sum(-1), torch.ones(()).double())
    assert (stored["log_transition"].exp().tril(-1) == 0).all()


def test_only_log_p_has_a_gradient(train):
    with pytest.raises(UsageError, match="no loss to back-propagate"):
        train("a", "model=rbm", "procedure=backprop", "trainer.epochs=1")


def sequences(seed=0):
    """Two classes of symbols: runs that last, and runs that do not."""
    torch.manual_seed(seed)
    made = []
    for stay in (0.95, 0.05):
        hmm = CategoricalHMM(2, 2, (30,))
        with torch.no_grad():
            hmm.log_start.fill_(np.log(0.5))
            hmm.log_transition.copy_(torch.tensor([[stay, 1 - stay], [1 - stay, stay]]).log())
            hmm.log_emission.copy_(torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log())
        made.append(hmm.sample(60))
    return torch.cat(made), torch.arange(2).repeat_interleave(60)


def test_a_model_for_each_class_is_its_own():
    """The classifier learns what separate models learn, and answers by Bayes' rule."""
    x, y = sequences()
    lengths = torch.full((120,), 30)
    torch.manual_seed(1)
    model = HMMClassifier((30,), 2, symbols=2, states=2, topology="ergodic")
    torch.manual_seed(1)
    alone = [CategoricalHMM(2, 2, (30,)) for _ in range(2)]
    with torch.no_grad():
        for one, chain in zip(alone, model.chains, strict=True):
            one.load_state_dict(chain.state_dict())
    procedure = EM(tolerance=0)
    procedure.bind(model, Density())
    for _ in range(4):
        for rows in torch.randperm(120).split(40):
            procedure.step(Batch(x[rows], y[rows], lengths[rows]))
        procedure.end_epoch()
        for c, one in enumerate(alone):
            one.maximize(one.statistics(x[y == c]))
    for one, chain in zip(alone, model.chains, strict=True):
        for a, b in zip(tables(one), tables(chain), strict=True):
            torch.testing.assert_close(a, b)
    scores = model(x, lengths).detach()
    bayes = torch.stack([one.scores(x)["log_likelihood"] for one in alone], 1).detach() + np.log(0.5)
    torch.testing.assert_close(scores, bayes)
    assert float((scores.argmax(1) == y).float().mean()) > 0.95


def test_digits_are_told_apart(train):
    rows = ("dataset.shape=[8,8]", "trainer.epochs=5", "dataset.limit=600")
    run = train("a", "model=hmm_classifier", *rows)
    assert run.read()["metrics"]["test/accuracy"] > 0.8


def test_a_classifier_learns_by_back_propagation_too(train):
    few = ("dataset.shape=[8,8]", "dataset.limit=300", "trainer.epochs=12", "trainer.batch=50", "optimizer.lr=0.02")
    run = train("a", "model=hmm_classifier", "procedure=backprop", *few)
    assert run.read()["metrics"]["test/accuracy"] > 0.5
    assert curve(run, "train/loss")[-1] < 0.7 * curve(run, "train/loss")[0]


def test_emissions_of_bits_want_bits(train):
    x, y = np.random.default_rng(0).integers(0, 2, (40, 6, 5)), np.arange(40) % 2
    np.savez("bits.npz", x=x, y=y)
    np.savez("others.npz", x=x + 0.5, y=y)
    of = ("model=hmm_classifier", "model.emission=bernoulli", "dataset=npz", "dataset.layout=sequence")
    scaled, plain = (*of, "dataset.path=bits.npz", "trainer.epochs=1"), "dataset.scale=none"
    with pytest.raises(UsageError, match=r"HMMClassifier has .*type dataset\.scale=none or model\.emission=gaussian$"):
        train("scaled", *scaled)
    with pytest.raises(UsageError, match=r"from 0\.5 to 1\.5; needed: from 0 to 1; type model\.emission=gaussian$"):
        train("others", *of, "dataset.path=others.npz", plain)
    train("bits", *scaled, plain)
    train("normal", *scaled, "model.emission=gaussian")
    with pytest.raises(UsageError, match=r"HMMTagger has binary emissions.*type model\.emission=gaussian$"):
        train("tagger", "model=hmm_tagger", "model.emission=bernoulli", "dataset=switching")
    train("tags", "model=hmm_tagger", "model.emission=bernoulli", "dataset=switching_bits", "dataset.examples=20")


@pytest.mark.parametrize("prior", [1.0, 1.5])
def test_a_tagger_counts(prior):
    torch.manual_seed(0)
    x, z, lengths = torch.randint(0, 4, (6, 9)), torch.randint(0, 3, (6, 9)), lengths_of(6, 9, 0)
    model = HMMTagger((9,), 3, symbols=4, emission_prior=prior, start_prior=prior, transition_prior=prior)
    procedure = EM()
    procedure.bind(model, Density())
    procedure.step(Batch(x[:2], z[:2], lengths[:2]))
    procedure.step(Batch(x[2:], z[2:], lengths[2:]))
    procedure.end_epoch()
    assert procedure.done
    start, move, emit = (np.full(shape, prior - 1) for shape in ((3,), (3, 3), (3, 4)))
    for symbols, states, n in zip(x.tolist(), z.tolist(), lengths.tolist(), strict=True):
        start[states[0]] += 1
        for t in range(n):
            emit[states[t], symbols[t]] += 1
            if t:
                move[states[t - 1], states[t]] += 1
    for ours, counts in zip(tables(model.chain), (start, move, emit), strict=True):
        np.testing.assert_allclose(ours.numpy(), counts / counts.sum(-1, keepdims=True), atol=1e-12)
    told = model.statistics(x, lengths, z)
    joint = sum(joint_of(model.chain, *row) for row in zip(x.tolist(), z.tolist(), lengths.tolist(), strict=True))
    assert float(told["log_likelihood"]) == pytest.approx(joint, rel=1e-10)


def joint_of(hmm, symbols, states, n):
    start, move, emit = (table.log() for table in tables(hmm))
    moves = sum(float(move[states[t - 1], states[t]]) for t in range(1, n))
    return float(start[states[0]]) + moves + sum(float(emit[states[t], symbols[t]]) for t in range(n))


def test_a_tagger_knows_the_regimes(train):
    run = train("a", "model=hmm_tagger", "model.covariance=full", "dataset.stay=0.95")
    about = run.read()
    assert about["epoch"] == 1
    assert about["metrics"]["test/accuracy"] > 0.9


def test_emissions_must_suit_the_data():
    with pytest.raises(UsageError, match=r"model\.emission=gaussian was given for sequences of symbols"):
        HMMClassifier((30,), 2, symbols=2, emission="gaussian")
    with pytest.raises(UsageError, match=r"model\.emission=categorical was given for sequences of vectors"):
        HMMTagger((30, 2), 2, emission="categorical")
