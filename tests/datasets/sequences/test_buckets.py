"""Sequences of different lengths: put with their like, cut to their own longest, and the same numbers throughout."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from dlx.batch import Batch
from dlx.datasets.dataset import Dataset
from dlx.datasets.loader import Loader
from dlx.datasets.sequences.buckets import bucket_by_length
from dlx.datasets.splits import Split
from dlx.tasks.classification import Classification
from dlx.tasks.tagging import Tagging
from dlx.tasks.task import accepts_lengths, take_inputs
from dlx.training.evaluate import evaluate
from tests.conftest import same

N, T = 331, 40


def sequences(tags: bool = False, kind: str = "sequence") -> Dataset:
    """Sequences of 1 to 40 steps, the example's number in each, and -7 where there is nothing."""
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, T + 1, (N,), generator=generator)
    real = torch.arange(T) < lengths[:, None]
    x = torch.arange(N)[:, None].expand(N, T).where(real, -7)
    y = (torch.arange(N)[:, None] + torch.arange(T)).where(real, -7) % 5 if tags else torch.arange(N) % 5
    dataset = Dataset()
    dataset.kind, dataset.shape, dataset.classes = kind, (T,) if kind == "symbols" else (T, 1), 5
    split = Split(x if kind == "symbols" else x[:, :, None].float(), y, lengths)
    dataset.splits = {"train": split, "val": split}
    return dataset


def numbers(batch) -> list[int]:
    return batch.x.flatten(1)[:, 0].long().tolist()


@pytest.mark.parametrize("memory", ["device", "stream"])
@pytest.mark.parametrize("tags", [False, True])
def test_every_sequence_comes_once_and_whole(memory, tags):
    dataset = sequences(tags)
    whole = dataset.splits["train"]
    seen = []
    for batch in Loader(dataset, batch=8, seed=1, memory=memory).train(0):
        rows, longest = torch.tensor(numbers(batch)), batch.x.shape[1]
        assert longest == int(batch.lengths.max()), "no longer than its own longest"
        assert torch.equal(batch.lengths, whole.lengths[rows])
        assert torch.equal(batch.x, whole.x[rows, :longest])
        assert torch.equal(batch.y, whole.y[rows, :longest] if tags else whole.y[rows])
        seen += rows.tolist()
    assert sorted(seen) == list(range(N))


def test_little_of_a_batch_is_padding():
    loader = Loader(sequences(), batch=8, seed=1)
    batches = list(loader.train(0))
    steps, real = (
        sum(n) for n in zip(*((b.x.shape[0] * b.x.shape[1], int(b.lengths.sum())) for b in batches), strict=True)
    )
    assert real / steps > 0.9
    assert real / (N * T) < 0.55, "what padding to the longest of all would have come to"
    assert len({b.x.shape[1] for b in batches}) > 10
    assert [len(b.x) for b in batches] == [8] * 41 + [3]


def test_the_order_is_of_seed_and_epoch_and_is_no_order_of_lengths():
    loader, again = Loader(sequences(), batch=8, seed=1), Loader(sequences(), batch=8, seed=1)
    one, two = list(loader.train(0)), list(loader.train(1))
    torch.manual_seed(4)
    assert same(one, list(again.train(0)))
    assert [numbers(b) for b in one] != [numbers(b) for b in two]
    assert {frozenset(numbers(b)) for b in one} != {frozenset(numbers(b)) for b in two}, "other company in every epoch"
    longest = [b.x.shape[1] for b in one[:16]]
    assert longest != sorted(longest)
    assert len({b.x.shape[1] for b in one[:8]}) > 4, "short and long in turn"


@pytest.mark.parametrize("memory", ["device", "stream"])
def test_a_resumed_epoch_gives_exactly_the_rest(memory):
    loader = Loader(sequences(), batch=8, seed=1, memory=memory)
    whole = list(loader.train(3))
    for start in (0, 1, 15, 16, 17, 41, 42):
        assert same(list(loader.train(3, start)), whole[start:])


def test_evaluation_keeps_its_order():
    loader = Loader(sequences(), batch=8, seed=1)
    batches = list(loader.split("val"))
    assert [n for b in batches for n in numbers(b)] == list(range(N))
    assert all(b.x.shape[1] == int(b.lengths.max()) for b in batches)
    assert take_inputs(loader.split("val"), 200).shape == (200, T, 1)
    plain = list(Loader(sequences(), batch=8, shuffle=False).train(0))
    assert [n for b in plain for n in numbers(b)] == list(range(N))
    (full,) = Loader(sequences(), batch="full").train(0)
    assert numbers(full) == list(range(N))


def test_sorting_is_within_a_window():
    order, lengths = torch.randperm(1000), torch.randint(1, 99, (1000,))
    got = bucket_by_length(order, lengths, 10, torch.Generator().manual_seed(0))
    for low in range(0, 1000, 160):
        assert sorted(got[low : low + 160].tolist()) == sorted(order[low : low + 160].tolist())
        inner = [sorted(part.tolist()) for part in lengths[got[low : low + 160]].split(10)]
        assert all(a[-1] <= b[0] for a, b in pairwise(sorted(inner))), "batches do not overlap in length"
    odd = bucket_by_length(order[:57], lengths, 10, torch.Generator())
    assert torch.equal(odd[50:], order[50:57]), "the last, smaller batch is drawn by chance"


class Reader(nn.Module):
    """A GRU that is told lengths."""

    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(1, 6, batch_first=True), nn.Linear(6, 5)

    def steps(self, x, lengths=None, state=None):
        h, state = self.rnn(x / N, state)
        return self.out(h), state

    def forward(self, x, lengths=None):
        h, _ = self.steps(x)
        return h[torch.arange(len(x)), lengths - 1]


@pytest.mark.parametrize("task", [Classification(), Tagging()])
def test_cutting_changes_no_number(task):
    torch.manual_seed(0)
    dataset, model = sequences(isinstance(task, Tagging)), Reader()
    whole = dataset.splits["val"]
    one_by_one = [
        Batch(*(t[i : i + 1, :n] if t.ndim > 1 else t[i : i + 1] for t in (whole.x, whole.y)), whole.lengths[i : i + 1])
        for i, n in enumerate(whole.lengths.tolist())
    ]
    uncut = evaluate(model, task, [Batch(whole.x, whole.y, whole.lengths)])
    assert evaluate(model, task, Loader(dataset, batch=8).split("val")) == pytest.approx(uncut, rel=1e-5)
    assert evaluate(model, task, Loader(dataset, batch=8).train(0)) == pytest.approx(uncut, rel=1e-5)
    assert evaluate(model, task, one_by_one) == pytest.approx(uncut, rel=1e-5)


def test_a_model_that_is_not_told_lengths_sees_all_of_one_length():
    assert accepts_lengths(Reader())
    assert not accepts_lengths(nn.Linear(2, 2))
    loader = Loader(sequences(), batch=8, seed=1, trim=False)
    for batch in [*loader.train(0), *loader.split("val")]:
        assert batch.lengths is None
        assert batch.x.shape[1] == T


def test_sequences_of_one_length_are_drawn_as_ever():
    dataset, even = sequences(), sequences()
    even.splits["train"] = Split(even.splits["train"].x, even.splits["train"].y, torch.full((N,), T))
    loader = Loader(even, batch=8, seed=1)
    assert loader.chunk_batches > 1
    assert [n for b in loader.train(0) for n in numbers(b)] == Loader(dataset, batch=8, seed=1, trim=False)._make_order(
        0
    ).tolist()
