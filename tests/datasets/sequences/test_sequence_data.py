"""The adding problem, images read pixel by pixel, and sentences of tagged words."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dlx.datasets.loader import Loader
from dlx.datasets.sequences.conll import Conll
from dlx.datasets.sequences.pixels import SequenceDigits, SequenceMnist
from dlx.datasets.synthetic.adding import Adding
from dlx.errors import UsageError
from tests.conftest import loaded, write

# -- adding ------------------------------------------------------------------------------------------------------------


def test_the_sum_of_the_two_marked_numbers():
    dataset = loaded(Adding(length=7, examples=4000, val=0.25, test=0.25))
    assert (dataset.shape, dataset.classes, dataset.outputs, dataset.kind) == ((7, 2), None, 1, "sequence")
    split = dataset.make(20000, torch.Generator().manual_seed(0))
    numbers, marks = split.x.unbind(2)
    assert set(marks.unique().tolist()) == {0.0, 1.0}
    assert (marks.sum(1) == 2).all()
    assert torch.allclose((numbers * marks).sum(1, keepdim=True), split.y)
    assert float((split.y - 1).square().mean()) == pytest.approx(1 / 6, rel=0.03), "who always answers 1"
    pairs = torch.stack(torch.where(marks > 0)[1].view(-1, 2).unbind(1)).T
    counts = (pairs[:, 0] * 7 + pairs[:, 1]).bincount()
    counts = counts[counts > 0]
    assert len(counts) == 21, "every pair of steps"
    assert (counts / 20000 - 1 / 21).abs().max() < 5 * (1 / 21 / 20000) ** 0.5, "and each as often"
    assert 0 <= float(numbers.min()) < float(numbers.max()) < 1


def test_training_sequences_are_new_and_validation_stays():
    loader = Loader(loaded(Adding(length=5, examples=50)), batch=8, seed=3)
    one, two = (torch.cat([b.x for b in loader.train(epoch)]) for epoch in (0, 1))
    assert len(one) == 50
    assert not (one[:, None] == two).all((2, 3)).any()
    assert [len(b.x) for b in loader.split("val")] == [5]
    assert torch.equal(next(iter(loader.split("val"))).x, next(iter(loader.split("val"))).x)
    assert not torch.equal(next(iter(loader.split("val"))).x, next(iter(loader.split("test"))).x)
    assert torch.equal(list(loader.train(2))[4].x, next(loader.train(2, 4)).x)
    assert len(Loader(loaded(Adding(length=5, examples=50, limit=12)), batch=8).dataset.splits["train"]) == 12
    with pytest.raises(UsageError, match="at least 2 steps"):
        Adding(length=1)


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_digits_pixel_by_pixel_and_row_by_row():
    dataset = loaded(SequenceDigits())
    assert (dataset.kind, dataset.shape, dataset.classes) == ("sequence", (64, 1), 10)
    got = torch.cat([dataset.transform(part.x, False) for part in dataset.splits.values()])[:, :, 0]
    wanted = load_digits().data / 16
    assert sorted(got.tolist()) == sorted(wanted.tolist())
    rows = loaded(SequenceDigits(shape=[8, 8]))
    assert torch.equal(rows.splits["test"].x.flatten(1), dataset.splits["test"].x.flatten(1))
    with pytest.raises(UsageError, match=r"needed: \[steps, features\] of 64 pixels together, such as \[64, 1\] or"):
        SequenceDigits(shape=[9, 7]).load()
    standard = loaded(SequenceDigits(scale="standard"))
    seen = standard.transform(standard.splits["train"].x, True)
    assert abs(float(seen.mean())) < 1e-5
    assert abs(float(seen.std(correction=0)) - 1) < 1e-3


def test_one_permutation_for_all():
    plain, permuted, other = (loaded(SequenceDigits(permutation=p)) for p in (None, 0, 1))
    x, y, z = (d.transform(d.splits["test"].x, False)[:, :, 0] for d in (plain, permuted, other))
    (order,) = {tuple(row.tolist()) for row in permuted.order[None]}
    assert sorted(order) == list(range(64))
    assert torch.equal(x[:, list(order)], y)
    assert not torch.equal(y, z)
    again = loaded(SequenceDigits(permutation=0, seed=5))
    assert torch.equal(again.order, permuted.order), "whatever the run's seed"


def test_mnist_as_sequences():
    random = np.random.default_rng(0)
    Path("data/MNIST/raw").mkdir(parents=True)
    for stem, n in (("train", 20), ("t10k", 6)):
        x, y = random.integers(0, 256, (n, 28, 28), dtype=np.uint8), random.integers(0, 10, n).astype(np.uint8)
        for kind, values in (("images-idx3", x), ("labels-idx1", y)):
            head = np.array([0x800 + values.ndim, *values.shape], dtype=">i4").tobytes()
            Path(f"data/MNIST/raw/{stem}-{kind}-ubyte").write_bytes(head + values.tobytes())
    for shape in ([784, 1], [28, 28]):
        dataset = loaded(SequenceMnist(shape=shape, classes=10, download=False))
        assert torch.equal(dataset.splits["test"].x, torch.from_numpy(x).view(6, *shape))
        assert torch.equal(dataset.splits["test"].y, torch.from_numpy(y).long())


# -- tags --------------------------------------------------------------------------------------------------------------

SENTENCES = """-DOCSTART- -X- O

Ada NNP B-PER
wrote VBD O
notes NNS O

Bach NNP B-PER
wrote VBD O
# # O
notes NNS O
in IN O
Leipzig NNP B-LOC


wrote VBD O
Ada NNP B-PER
"""


def tagged(**options):
    return loaded(Conll(write(SENTENCES, "a.conll"), **{"val": 0, "test": 0, "least": 1, **options}))


def words(dataset, split):
    return [
        [(dataset.vocabulary[w], dataset.names[t]) for w, t in zip(x[:n], y[:n], strict=True)]
        for x, y, n in zip(split.x.tolist(), split.y.tolist(), split.lengths.tolist(), strict=True)
    ]


def test_sentences_and_tags():
    dataset = tagged()
    assert (dataset.kind, dataset.shape, dataset.classes, dataset.outputs) == ("symbols", (6,), 3, 3)
    assert dataset.names == ["B-LOC", "B-PER", "O"]
    assert dataset.vocabulary == ["<unk>", "#", "Ada", "Bach", "Leipzig", "in", "notes", "wrote"]
    assert dataset.symbols == 8
    found = sorted(words(dataset, dataset.splits["train"]))
    assert found[0] == [("Ada", "B-PER"), ("wrote", "O"), ("notes", "O")]
    assert found[1][2:] == [("#", "O"), ("notes", "O"), ("in", "O"), ("Leipzig", "B-LOC")]
    assert len(found) == 3
    assert tagged(tag=1).names == ["#", "IN", "NNP", "NNS", "VBD"]
    assert tagged(lower=True).vocabulary[2] == "ada"


def test_words_of_the_training_part_alone_are_known():
    test = write("Ada\tX\nsang\tX\n\nBach\tO\n", "b.conll")
    dataset = tagged(test_path=test, val_path="a.conll")
    assert "X" in dataset.names
    assert words(dataset, dataset.splits["test"]) == [[("Ada", "X"), ("<unk>", "X")], [("Bach", "O")]]
    assert tagged(least=2).vocabulary == ["<unk>", "Ada", "notes", "wrote"]
    split = tagged(val=0.34, test=0)
    val = {word for sentence in words(split, split.splits["val"]) for word, _ in sentence}
    assert {name: len(part) for name, part in split.splits.items()} == {"train": 2, "val": 1}
    train = {word for sentence in words(split, split.splits["train"]) for word, _ in sentence}
    assert val <= train | {"<unk>"}
    assert len(tagged(limit=1).splits["train"]) == 1


def test_words_alone_may_be_given_for_prediction():
    dataset = tagged()
    path = Path(write("Ada\nsleeps\n\nnotes\n", "new.txt"))
    given = dataset.inputs(path)
    assert given.x.tolist() == [[2, 0], [6, 0]]
    assert given.lengths.tolist() == [2, 1]
    assert dataset.steps(path) == [["Ada", "sleeps"], ["notes"]]
    for text in ("Ada NNP B-PER\nwrote VBD O\n", "Ada\tNNP\nwrote\tVBD\n"):  # columns
        assert dataset.steps(Path(write(text, "new.txt"))) == [["Ada", "wrote"]]
    unlike = (
        "Ada wrote notes in Leipzig\n" * 2,
        "Bach wrote notes\n\nAda wrote notes\n",
    )  # columns, though equally long
    for text in ("Ada wrote\nnotes in Leipzig\n", "Ada wrote\n\nnotes\n", "Ada wrote\n", *unlike):  # sentences
        lines = [line.split() for line in text.split("\n") if line]
        assert dataset.steps(Path(write(text, "new.txt"))) == lines
        assert dataset.inputs(Path("new.txt")).lengths.tolist() == [len(line) for line in lines]


def test_conll_u_and_other_white_space():
    text = "# text = a b\n1\t10\u202f000\tNUM\n2\tNew York\tPROPN\n\n# next\n1\t10\u202f000\tNUM\n"
    dataset = loaded(Conll(write(text, "a.conllu"), word=1, tag=2, val=0, test=0, least=1))
    assert dataset.vocabulary == ["<unk>", "10\u202f000", "New York"]
    assert sorted(dataset.splits["train"].lengths.tolist()) == [1, 2]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "holds no sentences"),
        ("a B\nc\n", {}, r"a\.txt, line 2 has one column for word and tag \(c\); needed: two"),
        ("a B\nc D\n", {"tag": 2}, r"line 1 has 2 columns \(a B\); dataset\.tag=2 is not there"),
        ("a\t\n", {}, r"line 1 has 2 columns .*dataset\.tag=-1 is not there"),
    ],
)
def test_bad_lines_are_named(text, options, message):
    with pytest.raises(UsageError, match=message):
        Conll(write(text, "a.txt"), **options).load()


CONLL_U = """\
# text = vámonos al mar
1-2\tvámonos\t_\t_
1\tvamos\tir\tVERB
2\tnos\tyo\tPRON
3-4\tal\t_\t_
3\ta\ta\tADP
4\tel\tel\tDET
5\tmar\tmar\tNOUN
5.1\tvamos\tir\tVERB
"""


def test_only_whole_ids_are_words_of_conll_u():
    dataset = loaded(Conll(write(CONLL_U, "es.conllu"), word=1, tag=3, val=0, test=0, least=1))
    assert [[word for word, _ in sentence] for sentence in words(dataset, dataset.splits["train"])] == [
        ["vamos", "nos", "a", "el", "mar"]
    ]
    assert dataset.names == ["ADP", "DET", "NOUN", "PRON", "VERB"]
    (note,) = [note for note in dataset.notes if "ids" in note]
    assert "2 ranges (ids such as 1-2) and 1 empty node (ids such as 5.1) passed over" in note
    assert dataset.steps(Path("es.conllu")) == [["vamos", "nos", "a", "el", "mar"]]
    numbers = "1-2\tNUM\n3\tNUM\n"  # words, in a file without ids
    kept = loaded(Conll(write(numbers, "n.conll"), val=0, test=0, least=1))
    assert sorted(kept.vocabulary) == ["1-2", "3", "<unk>"]
    assert not kept.notes
    ten = "".join(f"{i}\t{word}" + "\t_" * 7 + "\tX\n" for i, word in enumerate("ab", 1))
    with pytest.raises(UsageError, match=r"column 0 counts the words.*type dataset\.word=1 dataset\.tag=3"):
        Conll(write(ten, "ten.conllu")).load()
    notes = loaded(Conll("ten.conllu", word=1, tag=3, val=0, test=0)).notes
    assert any(note.startswith("ten.conllu: 2 of 2 words of the training part occur fewer") for note in notes)
