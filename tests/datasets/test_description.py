"""Columns in numbers that numpy confirms, and which part of large data is looked at."""

import numpy as np
import pytest
import torch

from dlx.datasets.description import columns, parts
from dlx.datasets.splits import Generated, Split, Stream
from dlx.datasets.synthetic.algorithmic import Copy


def test_numbers_are_numpys_and_gaps_are_left_out() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(1e6, 3, 1001)
    values[::7] = np.nan
    known = values[~np.isnan(values)]
    column = columns.describe_numbers("x", torch.from_numpy(values))
    assert (column.values, column.gaps) == (len(known), len(values) - len(known))
    for name, wanted in (("mean", known.mean()), ("std", known.std()), ("median", np.median(known))):
        assert getattr(column, name) == pytest.approx(wanted, rel=1e-12)
    assert (column.min, column.max, column.distinct) == (known.min(), known.max(), len(np.unique(known)))


@pytest.mark.parametrize(("cells", "kind"), [([0, 1, 1], "bit"), ([0, 2, -5], "whole number"), ([0, 1, 0.5], "number")])
def test_types(cells, kind) -> None:
    assert columns.describe_numbers("x", torch.tensor(cells, dtype=torch.float64)).type == kind


def test_a_column_of_nothing() -> None:
    column = columns.describe_numbers("x", torch.full((3,), torch.nan))
    assert (column.values, column.gaps, column.mean) == (0, 3, None)


def test_categories_of_one_hot_features_and_of_codes() -> None:
    # red, blue, a gap as it is read, and one that was filled with a mean
    table = torch.tensor([[1.0, 0, 1, 0], [0, 1, 2, 1], [torch.nan, torch.nan, 3, 1], [0.5, 0.5, 4, torch.nan]])
    names = ["colour=red", "colour=blue", "size", "open"]
    known = {"colour": ["red", "blue"], "open": ["false", "true"]}
    colour, size, is_open = columns.describe_table([table[:3], table[3:]], names, known)
    assert (colour.categories, colour.gaps) == ({"red": 1, "blue": 1}, 2)
    assert (size.name, size.mean) == ("size", 2.5)
    assert (is_open.categories, is_open.gaps) == ({"true": 2, "false": 1}, 1)


def test_labels_that_are_not_asked_for_are_passed_over() -> None:
    assert columns.count_labels([torch.tensor([[0, 2, -1], [2, 2, -100]])], 4) == [1, 0, 3, 0]


def test_of_large_data_a_random_part_is_looked_at_and_said() -> None:
    x, y = torch.arange(5000.0)[:, None], torch.arange(5000) % 3
    small = parts.take_seen(Split(x, y), most=5000)
    assert small.said is None
    assert small.split.x is x
    seen = parts.take_seen(Split(x, y), most=500)
    assert seen.said == "a random 500 of 5,000 examples are looked at"
    assert abs(float(seen.split.x.mean()) - 2499.5) < 4 * 1443 / 500**0.5
    assert torch.equal(seen.split.y, (seen.split.x[:, 0] % 3).long())  # rows stay together
    assert seen.y is y  # classes are counted over all


def test_of_a_stream_only_a_part_is_read() -> None:
    read = []

    class Rows:
        def __len__(self):
            return 10_000

        def __getitem__(self, row):
            read.append(row)
            return torch.tensor([float(row)]), row % 2

    seen = parts.take_seen(Stream(Rows()))
    assert len(read) == len(seen.split.x) == parts.MOST_STREAMED
    assert seen.total == 10_000
    assert torch.equal(seen.split.y, torch.tensor(read) % 2)


def test_generated_sequences_have_the_lengths_of_several_batches() -> None:
    dataset = Copy(width=4, shortest=1, longest=5)
    dataset.load()
    part = dataset.splits["train"]
    assert isinstance(part, Generated)
    seen = parts.take_seen(part)
    steps = parts.mask_steps(seen.split).sum(1)
    assert len(set(steps.tolist())) == 5
    padding = ~parts.mask_steps(seen.split)
    assert not seen.split.x[padding].any()
    assert (seen.split.y[padding] == -1).all()
    assert torch.equal(parts.take_seen(part).split.x, seen.split.x)
