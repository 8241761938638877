"""Generated tasks: every answer is found again by a short program, and the optimal estimator by integration."""

import itertools
import math

import pytest
import torch

from dlx.datasets.loader import Loader
from dlx.datasets.synthetic.algorithmic import AssociativeRecall, Copy, PrioritySort, RepeatCopy
from dlx.datasets.synthetic.ngrams import DynamicNgrams
from dlx.errors import UsageError


def drawn(dataset, batches=30, n=4):
    """Batches of a dataset, and each sequence as lists."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(batches):
        split = dataset.make(n, generator)
        assert split.x.shape[1:] <= dataset.shape
        assert split.x.shape[2] == dataset.shape[1]
        assert split.y.shape == (*split.x.shape[:2], dataset.outputs)
        yield split


def test_copy():
    lengths = set()
    for x, y in ((s.x, s.y) for s in drawn(Copy(longest=4, width=3), 60)):
        L = (x.shape[1] - 1) // 2
        lengths.add(L)
        assert torch.equal(x[:, :L, :3], y[:, L + 1 :])
        assert (y[:, : L + 1] == -1).all()
        assert (x[:, L + 1 :] == 0).all(), "nothing is given while the answer is asked"
        assert x[:, :, 3].tolist() == [[float(t == L) for t in range(2 * L + 1)]] * len(x)
        assert set(y[:, L + 1 :].unique().tolist()) <= {0.0, 1.0}
    assert lengths == {1, 2, 3, 4}


def test_repeat_copy():
    numbers = {}
    for x, y in ((s.x, s.y) for s in drawn(RepeatCopy(width=3, longest=3, most=4), 200, 2)):
        L = int(x[0, :, 3].argmax())
        copies = (x.shape[1] - L - 2) // L
        numbers[copies] = float(x[0, L, 4])
        assert (x[:, :L, 3:] == 0).all()
        assert (x[:, L + 1 :] == 0).all()
        assert (y[:, : L + 1] == -1).all()
        for sequence, answer in zip(x.tolist(), y.tolist(), strict=True):
            vectors = [[*v[:3], 0.0] for v in sequence[:L]]
            assert answer[L + 1 :] == vectors * copies + [[0.0, 0.0, 0.0, 1.0]]
    values = torch.tensor([numbers[copies] for copies in (1, 2, 3, 4)])
    assert values.mean().item() == pytest.approx(0, abs=1e-6)
    assert values.square().mean().item() == pytest.approx(1, abs=1e-6)


def test_associative_recall():
    asked_for = set()
    for x, y in ((s.x, s.y) for s in drawn(AssociativeRecall(), 60)):
        for sequence, answer in zip(x.int().tolist(), y.int().tolist(), strict=True):
            begins = [t for t, v in enumerate(sequence) if v[6]]
            items = [[v[:6] for v in sequence[t + 1 : t + 4]] for t in begins]
            start, end = (t for t, v in enumerate(sequence) if v[7])
            query = [v[:6] for v in sequence[start + 1 : end]]
            assert end == len(sequence) - 4
            assert start == 4 * len(items)
            after = answer[end + 1 :]
            assert any(query == one and after == two for one, two in itertools.pairwise(items))
            assert all(v == [-1] * 6 for v in answer[: end + 1])
            asked_for.add((len(items), items.index(query)))
    assert {items for items, _ in asked_for} == {2, 3, 4, 5, 6}
    assert {place for items, place in asked_for if items == 4} == {0, 1, 2}


def test_priority_sort():
    for x, y in ((s.x, s.y) for s in drawn(PrioritySort(), 5)):
        assert x.shape[1] == 20 + 1 + 16
        for sequence, answer in zip(x.tolist(), y.tolist(), strict=True):
            ordered = sorted(sequence[:20], key=lambda v: -v[8])
            assert answer[21:] == [v[:8] for v in ordered[:16]]
            assert all(-1 <= v[8] <= 1 for v in sequence[:20])
            assert sequence[20] == [0.0] * 9 + [1.0]


def test_ngrams_follow_their_table():
    """A source's bits depend on the last `context` ones alone, and its chances are those of Beta(½, ½)."""
    dataset = DynamicNgrams(length=3000, context=2)
    x = dataset.make(300, torch.Generator().manual_seed(0)).x[..., 0].long()
    place = 2 * x[:, :-2] + x[:, 1:-1]
    shares = []
    for context in range(4):
        here = place == context
        often = here.sum(1) > 300
        shares.append(((x[:, 2:] * here).sum(1) / here.sum(1).clamp(min=1))[often])
        # With one more bit of context the chances are the same.
        older = here[:, 1:]
        for bit in (0, 1):
            split = older & (x[:, :-3] == bit)
            enough = (split.sum(1) > 300) & often
            again = (x[:, 3:] * split).sum(1)[enough] / split.sum(1)[enough]
            whole = (x[:, 2:] * here).sum(1)[enough] / here.sum(1)[enough]
            assert (again - whole).abs().mean() < 0.02
    p = torch.cat(shares)
    assert p.mean().item() == pytest.approx(0.5, abs=0.05)
    # Contexts that lead into themselves are visited more often, so chances near 0 and 1 are too; all of [0, 1] is met.
    assert (p < 0.1).any()
    assert (p > 0.9).any()
    assert ((p > 0.4) & (p < 0.6)).any()


@pytest.mark.parametrize("context", [1, 2, 5])
def test_optimal_estimator_is_the_exact_evidence(context):
    """Summed over a sequence, its nats are -log of the probability that all sources together give it."""
    dataset = DynamicNgrams(length=30, context=context)
    split = dataset.make(6, torch.Generator().manual_seed(1))
    cost = dataset.optimal(split.x, split.y)
    theta = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000 * (math.pi / 2)
    p = theta.sin() ** 2  # evenly in θ is Beta(½, ½) in p
    for x, y, nats in zip(split.x[..., 0].int().tolist(), split.y[..., 0].int().tolist(), cost.tolist(), strict=True):
        whole = [*x, y[-1]]
        counts = {}
        for t in range(context, len(whole)):
            counts.setdefault(tuple(whole[t - context : t]), [0, 0])[whole[t]] += 1
        evidence = sum(float((p**ones * (1 - p) ** zeros).mean().log()) for zeros, ones in counts.values())
        assert nats == pytest.approx(-evidence, rel=1e-6)
        assert sum(bit >= 0 for bit in y) == len(whole) - context


@pytest.mark.parametrize("dataset", [Copy(examples=20), RepeatCopy(examples=20), PrioritySort(examples=20)])
def test_splits_stay_and_epochs_differ(dataset):
    dataset.val, dataset.test = 0.5, 0.5
    dataset.load()
    loader = Loader(dataset, batch=5, seed=7)
    assert all(
        torch.equal(a.x, b.x)
        for a, b in zip(loader.split("val"), Loader(dataset, batch=5, seed=7).split("val"), strict=False)
    )
    one, two = (list(loader.train(epoch)) for epoch in (0, 1))
    assert not all(a.x.shape == b.x.shape and torch.equal(a.x, b.x) for a, b in zip(one, two, strict=True))
    again = list(loader.train(0, 2))
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(one[2:], again, strict=True))


def test_test_split_may_ask_for_more():
    dataset = Copy(test_shortest=50, test_longest=50, examples=10, val=0.5, test=0.5)
    dataset.load()
    loader = Loader(dataset, batch=5, seed=0)
    assert [batch.x.shape[1] for batch in loader.split("test")] == [101]
    assert all(batch.x.shape[1] <= 41 for batch in loader.split("val"))
    repeated = RepeatCopy(test_longest=20, test_most=20)
    split = repeated.make(2, torch.Generator().manual_seed(0), longest=1, fewest=20, most=20)
    assert split.x.max().item() == pytest.approx((20 - 5.5) / repeated.std), "numbers mean what they meant in training"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Copy, {"shortest": 21}),
        (Copy, {"test_longest": 0}),
        (RepeatCopy, {"fewest": 11}),
        (AssociativeRecall, {"fewest": 1}),
        (AssociativeRecall, {"fewest": 7}),
        (PrioritySort, {"sorted": 21}),
        (PrioritySort, {"test_length": 3}),
        (DynamicNgrams, {"length": 5}),
    ],
)
def test_values_that_cannot_be(kind, values):
    with pytest.raises(UsageError, match="needed:"):
        kind(**values)
