"""Time series of the user's own files: read as they stand there; what is bad is named by its line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dlx.datasets.sequences.timeseries import TimeSeries
from dlx.errors import UsageError
from tests.conftest import loaded, write

HEADER = """# about it
@problemName Mine
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down flat
@data
"""
ROWS = "1,2,3,4,5:0,0,1,1,1:up\n3,2,1:1,1,1:down\n4,2,1:1,1,-1e1:down\n1,2,3,4:0,0,1,1:up\n1,2,4,4:0,0,1,1:up\n"


def test_a_ts_file():
    dataset = loaded(TimeSeries(write(HEADER + ROWS, "a.ts"), val=0, test=0, scale="none"))
    assert (dataset.shape, dataset.classes, dataset.outputs) == ((5, 2), 3, 3)
    assert dataset.names == ["up", "down", "flat"], "in the header's order"
    (split,) = dataset.splits.values()
    rows = zip(split.x, split.lengths, split.y, strict=True)
    got = {(*(tuple(channel.tolist()) for channel in x[:n].T), int(y)) for x, n, y in rows}
    assert got == {
        ((1, 2, 3, 4, 5), (0, 0, 1, 1, 1), 0),
        ((3, 2, 1), (1, 1, 1), 1),
        ((4, 2, 1), (1, 1, -10), 1),
        ((1, 2, 3, 4), (0, 0, 1, 1), 0),
        ((1, 2, 4, 4), (0, 0, 1, 1), 0),
    }


def test_series_are_scaled_by_the_steps_of_the_training_part_and_padded_with_zero():
    path, test = write(HEADER + ROWS, "a.ts"), write(HEADER + "9,9,9,9,9,9:1,1,1,1,1,2:flat\n", "b.ts")
    dataset = loaded(TimeSeries(path, test, val=0))
    assert dataset.shape == (6, 2), "room for the longest of all"
    train = dataset.splits["train"]
    real = torch.arange(6) < train.lengths[:, None]
    values = np.array(
        [[1, 2, 3, 4, 5, 3, 2, 1, 4, 2, 1, 1, 2, 3, 4, 1, 2, 4, 4], [0, 0, 1, 1, 1, *[1] * 5, -10, *[0, 0, 1, 1] * 2]]
    )
    seen = dataset.transform(train.x, True)
    assert torch.allclose(seen[real].mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(seen[real].std(0, correction=0), torch.ones(2), atol=1e-5)
    assert not seen[~real].any()
    wanted = ([9, 1] - values.mean(1)) / values.std(1)
    assert dataset.transform(dataset.splits["test"].x, False)[0, 0].tolist() == pytest.approx(wanted.tolist(), rel=1e-5)
    given = dataset.inputs(Path(write(HEADER + "9,9:1,1:up\n", "c.ts")))
    assert (given.x.shape, given.lengths.tolist()) == ((1, 6, 2), [2])
    assert not dataset.transform(given.x, False)[0, 2:].any()


@pytest.mark.parametrize("separator", ["\t", ",", "  "])
def test_a_table_of_the_ucr_archive(separator):
    gap = "NaN" if separator != "," else "?"
    lines = ["2 1 2 3 4", f"1 5 6 {gap} {gap}", "-1 7 8 9 1", "10 3 3 3 3", "2.0 1 1 2 2"]
    text = "\n".join(line.replace(" ", separator) for line in lines)
    dataset = loaded(TimeSeries(write(text, "a.tsv"), val=0, test=0, scale="none"))
    assert (dataset.shape, dataset.names) == ((4, 1), ["-1", "1", "2", "10"])
    (split,) = dataset.splits.values()
    assert sorted(split.lengths.tolist()) == [2, 4, 4, 4, 4]
    assert sorted(split.y.tolist()) == [0, 1, 2, 2, 3]


def test_numbers_to_predict():
    header = HEADER.replace("@classLabel true up down flat", "@targetlabel true")
    rows = "".join(f"1,2,{i}:0,0,{i}:{i}\n" for i in range(20))
    dataset = loaded(TimeSeries(write(header + rows, "a.ts")))
    assert (dataset.classes, dataset.outputs, dataset.names) == (None, 1, None)
    back = torch.cat([split.y * dataset.target_std + dataset.target_mean for split in dataset.splits.values()])
    assert sorted(round(float(v), 3) for v in back) == list(range(20))
    table = "".join(f"{i + 0.5}\t1\t2\n" for i in range(20))
    assert loaded(TimeSeries(write(table, "a.tsv"))).classes is None
    whole = "".join(f"{i}\t1\t2\n" for i in range(20))
    assert loaded(TimeSeries(write(whole, "b.tsv"), target_type="numbers")).classes is None
    assert loaded(TimeSeries(write(whole, "b.tsv"))).classes == 20, "whole numbers are classes there, however many"


def test_gaps_are_filled_along_straight_lines():
    rows = "?,2,?,?,5,?:0,0,1,1,1,1:up\n" + ROWS
    dataset = TimeSeries(write(HEADER + rows, "a.ts"), missing="interpolate", scale="none")
    assert dataset.read()["train"].x[0, :, 0].tolist() == [2, 2, 3, 4, 5, 5]
    with pytest.raises(
        UsageError, match=r"a\.ts, line 10: channel 0 has a gap at step 0 .*dataset\.missing=interpolate"
    ):
        TimeSeries("a.ts").load()
    write("1\t3\tNaN\t5\n2\t1\t1\t1\n1\t2\t2\t2\n", "a.tsv")
    with pytest.raises(UsageError, match=r"a\.tsv, line 1: channel 0 has a gap at step 1"):
        TimeSeries("a.tsv").load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"is empty"),
        (HEADER, "holds no series"),
        (HEADER + "1,2:3,4:up\n1,x:1,2:up\n", r"line 11, step 1 \(counted from 0\): 'x' was given; needed: a number"),
        (HEADER + "1,2:3,4,5:up\n", r"line 10 has channels of 2, 3 steps"),
        (HEADER + "1,2:up\n", r"line 10 has 1 channels; needed: 2"),
        (HEADER + "1,2:1,2:left\n", r"line 10 has the label 'left'; needed: one of up, down, flat"),
        (HEADER + "1,2:1,2:\n", r"line 10 has no label"),
        (HEADER + "?,?:1,2:up\n", r"line 10: channel 0 has a gap"),
        (HEADER.replace("@data", ""), "has no @data"),
        (HEADER.replace("@timeStamps false", "@timeStamps true"), r"line 3: series with time stamps"),
        (HEADER.replace("@missing", "@missin"), r"line 4: '@missin true' was given; needed: @problemName"),
        ("1\t2\t3\n2\n", r"line 2 has no values"),
        ("1\t2\t3\n1\tb\t3\n", r"line 2, step 0 \(counted from 0\): 'b'"),
        (ROWS, r"line 1, step 3 \(counted from 0\): '5:0'"),
        ("1\t2\t3\n1\t2\t3\n1\t2\t3\n", "has one class only"),
        ("1\t2\tinf\n2\t2\t3\n", "hold inf"),
    ],
)
def test_bad_series_are_named_by_their_line(text, message):
    with pytest.raises(UsageError, match=message):
        TimeSeries(write(text, "a.ts"), val=0, test=0).load()


def test_a_test_file_of_other_data():
    path = write(HEADER + ROWS, "a.ts")
    with pytest.raises(UsageError, match=r"b\.tsv has 1 channels; needed: 2"):
        TimeSeries(path, write("up\t1\t2\n", "b.tsv")).load()
    with pytest.raises(UsageError, match=r"dataset\.test_path=c\.ts was given; there is no such file"):
        TimeSeries(path, "c.ts").load()
    with pytest.raises(UsageError, match="'3' in row 0"):
        TimeSeries(write("1\t1\n2\t2\n", "a.tsv"), write("3\t1\n", "b.tsv")).load()
