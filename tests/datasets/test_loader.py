"""Batches: each example once, the same order wherever the data lies, and exactly the same after a resume."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.datasets import loader as module
from dlx.datasets.dataset import Dataset
from dlx.datasets.images.images import Images
from dlx.datasets.loader import Loader
from dlx.datasets.splits import Split, Stream
from dlx.errors import UsageError
from tests.conftest import same


class Rows:
    """A map-style dataset of (x, y)."""

    def __init__(self, split: Split, bad: int | None = None) -> None:
        self.split, self.bad = split, bad

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        if row == self.bad:
            raise UsageError(f"row {row} is corrupt")
        assert self.split.y is not None
        return self.split.x[row], self.split.y[row]


def images(examples: int = 101, stream: bool = False, bad: int | None = None, **options) -> Images:
    generator = torch.Generator().manual_seed(1)
    dataset = Images(**options)
    dataset.shape = (2, 5, 4)
    split = Split(
        torch.randint(0, 256, (examples, 2, 5, 4), dtype=torch.uint8, generator=generator), torch.arange(examples)
    )
    held = Stream(Rows(split, bad), split.y) if stream else split
    dataset.splits = {"train": held, "val": held}
    return dataset


def labels(batches) -> list[int]:
    return [int(y) for batch in batches for y in batch.y]


AUGMENT = {"flip": 0.5, "crop": 2, "rotate": 10}


def test_each_example_comes_once_with_its_own_label() -> None:
    dataset = images()
    batches = list(Loader(dataset, batch=8, seed=3).train(0))
    assert len(batches) == Loader(dataset, batch=8).steps == 13
    assert [len(b.x) for b in batches] == [8] * 12 + [5]
    assert sorted(labels(batches)) == list(range(101))
    for batch in batches:
        assert torch.equal(batch.x, dataset.splits["train"].x[batch.y] / 255)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    loader = Loader(images(), batch=8, seed=3)
    first, again = labels(loader.train(0)), labels(Loader(images(), batch=8, seed=3).train(0))
    torch.manual_seed(99)
    assert first == again == labels(loader.train(0))
    others = [labels(loader.train(1)), labels(Loader(images(), batch=8, seed=4).train(0)), list(range(101))]
    assert all(a != b for a, b in pairwise([first, *others]))


def test_no_global_randomness_is_used() -> None:
    before = torch.get_rng_state()
    for stream in (False, True):
        loader = Loader(images(stream=stream, augment=AUGMENT), batch=8, workers=0)
        list(loader.train(0))
        list(loader.split("val"))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_a_resumed_epoch_gives_exactly_the_rest(stream: bool, augment: dict | None) -> None:
    loader = Loader(images(400, stream=stream, augment=augment), batch=5, seed=1, workers=0)
    whole = list(loader.train(2))
    assert loader.steps == 80
    for start in (0, 1, 15, 16, 17, 32, 79, 80):
        rest = list(loader.train(2, start))
        assert len(rest) == 80 - start
        assert same(rest, whole[start:])


def test_memory_makes_no_difference() -> None:
    made = [
        Loader(images(augment=AUGMENT), batch=8, seed=1, memory="device"),
        Loader(images(augment=AUGMENT), batch=8, seed=1, memory="stream"),
        Loader(images(stream=True, augment=AUGMENT), batch=8, seed=1, workers=0),
        Loader(images(stream=True, augment=AUGMENT), batch=8, seed=1, workers=2),
    ]
    epochs = [[list(loader.train(epoch)) for epoch in (0, 1)] for loader in made]
    orders = [list(loader.split("val")) for loader in made]
    assert all(same(epochs[0], other) for other in epochs[1:])
    assert all(same(orders[0], other) for other in orders[1:])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_example_is_named_from_a_worker_too(workers: int) -> None:
    loader = Loader(images(stream=True, bad=7), batch=8, workers=workers)
    with pytest.raises(UsageError, match=r"^row 7 is corrupt$"):
        list(loader.train(0))


def test_augmentation_differs_between_chunks_and_epochs_and_spares_evaluation() -> None:
    dataset = images(64, augment={"flip": 0.5, "crop": 2})
    dataset.splits["train"] = Split(dataset.splits["train"].x[:1].expand(64, -1, -1, -1), torch.arange(64))
    loader = Loader(dataset, batch=2, seed=0)
    assert loader.chunk_batches == 16
    one, two = ([b.x for b in loader.train(epoch)] for epoch in (0, 1))
    chunks = [torch.cat(one[:16]), torch.cat(one[16:]), torch.cat(two[:16])]
    assert not any(torch.equal(a, b) for a, b in pairwise(chunks))
    assert torch.equal(torch.cat([b.x for b in loader.split("val")]), dataset.splits["val"].x / 255)


def test_full_batch_is_one_step_in_order() -> None:
    loader = Loader(images(), batch="full", seed=1)
    (batch,) = loader.train(5)
    assert loader.steps == 1
    assert batch.y.tolist() == list(range(101))
    (again,) = loader.train(6)
    assert again.x.data_ptr() == batch.x.data_ptr()  # nothing is copied


def test_without_shuffling_batches_are_slices() -> None:
    loader = Loader(images(), batch=8, shuffle=False)
    assert labels(loader.train(0)) == list(range(101))
    assert same(list(loader.train(0))[3:], list(loader.train(0, 3)))


def test_drop_last() -> None:
    loader = Loader(images(), batch=8, drop_last=True)
    sizes = [len(b.x) for b in loader.train(0)]
    assert sizes == [8] * 12
    assert loader.steps == 12


def test_a_batch_larger_than_the_data() -> None:
    loader = Loader(images(10), batch=64)
    assert (loader.batch, loader.steps) == (10, 1)
    assert sorted(labels(loader.train(0))) == list(range(10))


def test_a_split_may_be_iterated_again_in_large_batches() -> None:
    loader = Loader(images(1500), batch=8)
    batches = loader.split("val")
    assert [len(b.x) for b in batches] == [1024, 476]
    assert labels(batches) == list(range(1500))
    assert loader.has_split("val")
    assert not loader.has_split("test")


def test_memory_bounds_what_is_gathered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sources, "MAX_CHUNK_BYTES", 4 * 40 * 30)  # thirty examples
    monkeypatch.setattr(module, "MAX_CPU_CHUNK_BYTES", 4 * 40 * 30)
    monkeypatch.setattr(module, "MAX_CPU_EVAL_BYTES", 4 * 40 * 30)
    loader = Loader(images(augment=AUGMENT), batch=8)
    assert (loader.chunk_batches, loader.eval_batch) == (3, 30)
    assert same(list(loader.train(0))[4:], list(loader.train(0, 4)))
    assert Loader(images(), batch=64).chunk_batches == 1
    monkeypatch.setattr(module, "MAX_CPU_EVAL_BYTES", 1)
    assert Loader(images(), batch=64).eval_batch == 8


def test_sequences_keep_their_lengths() -> None:
    dataset = Dataset()
    dataset.kind, dataset.shape = "symbols", (3,)
    lengths = torch.arange(20) % 3 + 1
    dataset.splits = {"train": Split(torch.arange(60).view(20, 3), lengths=lengths)}
    for batch in Loader(dataset, batch=4, seed=0).train(0):
        assert isinstance(batch, Batch)
        assert batch.y is None
        assert torch.equal(batch.lengths, lengths[batch.x[:, 0] // 3])


def test_stochastic_binarization_is_fixed_in_evaluation_and_new_in_training() -> None:
    dataset = images(binarize="stochastic")
    loader = Loader(dataset, batch=101)
    evaluated = [next(iter(loader.split("val"))).x for _ in range(2)]
    assert torch.equal(*evaluated)
    by_label = [batch.x[batch.y.argsort()] for epoch in (0, 1) for batch in loader.train(epoch)]
    assert not torch.equal(*by_label)
    assert set(by_label[0].unique().tolist()) == {0.0, 1.0}


def test_a_stream_does_not_fit_onto_the_device() -> None:
    with pytest.raises(UsageError, match=r"type trainer\.memory=auto"):
        Loader(images(stream=True), batch=8, memory="device")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("memory", ["device", "stream"])
def test_batches_lie_on_the_gpu(memory) -> None:
    there = Loader(images(), batch=8, device="cuda", seed=2, memory=memory)
    here = Loader(images(), batch=8, seed=2)
    for a, b in zip(there.train(1, 2), here.train(1, 2), strict=True):
        assert a.x.is_cuda
        assert same([t.cpu() for t in a[:2]], list(b[:2]))
    augmented = Loader(images(augment=AUGMENT), batch=8, device="cuda", seed=2, memory=memory)
    assert same(list(augmented.train(0))[5:], list(augmented.train(0, 5)))
