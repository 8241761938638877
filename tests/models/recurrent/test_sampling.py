"""Sequences that recurrent networks write: their statistics, prompts, temperatures, and the verb."""

from pathlib import Path

import pytest
import torch

from dlx.errors import UsageError
from dlx.models.recurrent.gru import GRU
from dlx.models.recurrent.lstm import LSTM
from tests.verbs import dlx, trained


def language(**options):
    torch.manual_seed(0)
    model = LSTM((4,), 3, symbols=3, hidden=5, forget_bias=None, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(2 * torch.randn_like(p))
    return model.eval()


def test_sequences_have_the_networks_probabilities():
    """Frequencies of all 27 continuations of a prompt against the product of the network's conditionals."""
    model, prompt = language(), torch.tensor([2, 0])
    n = 20000
    made = model.sample(n, 3, prompt, temperature=1.5, generator=torch.Generator().manual_seed(0))
    assert made.shape == (n, 5)
    assert torch.equal(made[:, :2], prompt.expand(n, 2))
    all_of_them = torch.cartesian_prod(*[torch.arange(3)] * 3)  # (27, 3)
    whole = torch.cat((prompt.expand(27, 2), all_of_them), 1)
    with torch.no_grad():
        log_p = (model.steps(whole[:, :-1])[0][:, 1:] / 1.5).log_softmax(2)
    p = log_p.gather(2, all_of_them[:, :, None]).sum((1, 2)).exp()
    assert float(p.sum()) == pytest.approx(1, rel=1e-5)
    counts = torch.bincount(made[:, 2:] @ torch.tensor([9, 3, 1]), minlength=27) / n
    assert float((counts - p).abs().max()) < 4 * float((p * (1 - p) / n).sqrt().max())


def test_temperatures():
    model, prompt = language(), torch.tensor([1])
    made = model.sample(2, 6, prompt, temperature=0)
    for t in range(1, 7):
        assert torch.equal(made[:, t], model.steps(made[:, :t])[0][:, -1].argmax(1))
    cold = model.sample(50, 6, prompt, temperature=1e-3)
    assert torch.equal(cold, made[:1].expand(50, 7))


def test_without_a_prompt():
    made = language().sample(1000)
    assert made.shape == (1000, 4)
    assert set(made[:, 0].tolist()) == {0, 1, 2}


def test_frames():
    """Vectors of zeros and ones: each feature is drawn by itself, after a vector of zeros."""
    torch.manual_seed(0)
    model = GRU((6, 3), 3, hidden=5).eval()
    made = model.sample(20000, 2)
    assert made.shape == (20000, 2, 3)
    assert set(made.unique().tolist()) == {0.0, 1.0}
    p = model.steps(torch.zeros(1, 1, 3))[0].sigmoid()[0, 0]
    assert torch.allclose(made[:, 0].mean(0), p.detach(), atol=0.02)
    begun = made[(made[:, 0] == torch.tensor([1.0, 0.0, 1.0])).all(1)]
    p = model.steps(torch.tensor([[[0.0, 0, 0], [1, 0, 1]]]))[0].sigmoid()[0, 1]
    assert torch.allclose(begun[:, 1].mean(0), p.detach(), atol=0.05)
    prompt = torch.ones(4, 3)
    assert torch.equal(model.sample(2, 1, prompt)[:, :4], prompt.expand(2, 4, 3))


def test_refusals():
    with pytest.raises(UsageError, match="from both ends"):
        LSTM((4,), 3, symbols=3, bidirectional=True).sample(1)
    with pytest.raises(UsageError, match="2 outputs for 3"):
        LSTM((4,), 2, symbols=3).sample(1)


TEXT = "the cat sat on the mat. the dog sat on the log. " * 60


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A network that has read a sentence often."""
    place = tmp_path_factory.mktemp("writer")
    (place / "cats.txt").write_text(TEXT)
    return trained(
        place / "run",
        *("model=gru", "dataset=text", f"dataset.path={place}/cats.txt", "dataset.length=48"),
        *("model.hidden=48", "optimizer.lr=0.02", "trainer.batch=8"),
        *("trainer.epochs=8", "procedure=backprop"),
    )


def test_the_verb(writer):
    told = dlx("sample", writer.directory, "--prompt", "the d", "--length", 18, "--temperature", 0)
    assert told.strip() == TEXT[24 : 24 + 23].strip()
    assert dlx("sample", writer.directory, "-n", 3, "--length", 5).count("\n\n") == 2
    one = dlx("sample", writer.directory, "--length", 5)
    assert len(one.removesuffix("\n")) == 5, "one text where no number was asked for"
    words = ("sample", writer.directory, "-n", 2, "--prompt", "on", "-o", "a.txt", "--seed")
    texts = []
    for seed in (1, 2, 1):
        dlx(*words, seed)
        texts.append(Path("a.txt").read_text())
    assert texts[0] == texts[2] != texts[1]
    with pytest.raises(UsageError, match="'Q' is not among"):
        dlx("sample", writer.directory, "--prompt", "Q")


def test_what_the_verb_refuses(digits, tmp_path):
    with pytest.raises(UsageError, match="one that generates"):
        dlx("sample", digits.directory, "--prompt", "a")
    run = trained(tmp_path / "rbm", "model=rbm", "model.hidden=4", "trainer.epochs=1", "dataset.limit=64")
    for option in ("--prompt", "--length", "--temperature"):
        with pytest.raises(UsageError, match=f"{option} was given; RBM draws whole"):
            dlx("sample", run.directory, option, 1)
