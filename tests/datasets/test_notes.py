"""Every reader × every lossy choice: what is discarded, cast or guessed leaves a note, in training and prediction."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlx.errors import UsageError
from dlx.trained.inputs import as_examples, read_inputs
from tests.conftest import ROOT, loaded
from tests.datasets.sequences.test_music import midi
from tests.datasets.test_state import FILES, make, write_pictures

CLASSES = "a,b,y\n" + "\n".join(f"{i},{i * i % 7}.5,{'uv'[i % 2]}" for i in range(40)) + "\n"
BOOLEANS = "a,b,y\n" + "\n".join(f"{i},{'true' if i % 3 else 'false'},{'uv'[i % 2]}" for i in range(40)) + "\n"
SERIES = "\n".join(f"{i % 2}\t{i}\t{i + 1}\t{i * i % 5}" for i in range(30)) + "\n"
SENTENCES = "\n\n".join("the\tD\ncat\tN\n" + "sat\tV" * (i % 2) for i in range(30)) + "\n"
OTHER_WORDS = "\n".join(f"w{i}\tN\n" for i in range(20))
CONLL_U = "# text = a\n1-2\tal\t_\t_\n1\ta\t_\tADP\n2\tel\t_\tDET\n3\tmar\t_\tNOUN\n\n1\tmar\t_\tNOUN\n\n" * 6
BOOK = "To be, or not to be: that is the question. " * 40
EYE = np.eye(30)
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 3, 6, 7), dtype=np.uint8)
CHORDS = [(60 + i, i, i + 1) for i in range(8)]


def pictures(change):
    """Write a folder of pictures, and change one of them: change(path, image)."""

    def write(folder):
        write_pictures(folder)
        path = folder / "cat" / "0.png"
        change(path, Image.open(path).copy())

    return write


def transparent(path, image):
    image.putalpha(128)
    image.save(path)


def songs(*more, channel=0):
    def write(folder):
        for i in range(6):
            midi(f"{folder}/{i}.mid", [*CHORDS, *more])
        midi(f"{folder}/other.mid", CHORDS)
        if channel:
            join_channel(folder / "other.mid", channel)

    return write


def join_channel(path, channel):
    """Say the same once more in another channel."""
    mido = pytest.importorskip("mido")
    file = mido.MidiFile(path)
    file.tracks.append(
        mido.MidiTrack([m.copy(channel=channel) if m.type.startswith("note") else m for m in file.tracks[0]])
    )
    file.save(path)


def rolls(folder):
    songs()(folder)
    (folder / "notes.txt").write_text("by me")


# A dataset of conf/dataset; what it reads: text, arrays, or a function that writes it; options; the note.
CHOICES = {
    "rows dropped": ("csv", CLASSES.replace(",0.5,", ",,"), {"missing": "drop"}, "rows dropped: gaps in b"),
    "gaps filled": ("csv", CLASSES.replace(",0.5,", ",,"), {"missing": "mean"}, "gaps in the columns b were filled"),
    "unnamed column": ("csv", CLASSES.replace("a,", ",", 1), {}, "column 1 has no name and was left out"),
    "guessed header": ("csv", CLASSES.replace("a,b,y", "0,1,y"), {}, "taken for the columns' names: a guess"),
    "ignored column": ("csv", CLASSES, {"ignore": ["b"]}, "1 of 3 columns not used (b)"),
    "chosen columns": ("csv", CLASSES, {"columns": ["b"]}, "1 of 3 columns not used (a)"),
    "white space": ("csv", CLASSES.replace(",u", ", u"), {}, "white space around cells was left out"),
    "quoted space": ("csv", CLASSES.replace(",u", ',"u "'), {}, "white space around cells was left out"),
    "true and false": ("csv", BOOLEANS, {"one_hot": False}, "column 'b' holds false and true, taken for 0 and 1"),
    "whole numbers": ("csv", CLASSES.replace("u", "7").replace("v", "3"), {}, "2 different whole numbers, taken for"),
    "real numbers": ("csv", CLASSES, {"target": 0, "ignore": ["y"]}, "40 different whole numbers, taken for numbers"),
    "limit": ("csv", CLASSES, {"limit": 9}, "dataset.limit=9 left out"),
    "tabs": ("csv", CLASSES.replace(",", "\t").replace("\t0.5", "\t"), {"missing": "drop"}, "rows dropped"),
    "labels of series": ("timeseries", SERIES, {}, "labels that are numbers, taken for classes"),
    "real labels of series": ("timeseries", SERIES.replace("1\t", "1.5\t"), {}, "labels that are numbers, taken for n"),
    "gaps of series": (
        "timeseries",
        SERIES.replace("0\t2\t", "0\t?\t"),
        {"missing": "interpolate"},
        "were filled along",
    ),
    "ends of series": ("timeseries", SERIES.replace("\t1\n", "\t?\n"), {}, "series end in gaps, which were taken for"),
    "comments of series": ("timeseries", "# by me\n" + SERIES, {}, "1 lines that begin with # passed over"),
    "labels written in two ways": ("timeseries", "1.0" + SERIES[1:], {}, "the labels 1 and 1.0 are one class"),
    "limit of series": ("timeseries", SERIES, {"limit": 9}, "dataset.limit=9 left out"),
    "labels that begin at 3": ("npz", {"x": EYE, "y": np.arange(30) % 3 * 2 + 3}, {}, "classes 3, 5, 7 are numbered"),
    "labels below 0": ("npz", {"x": EYE, "y": np.arange(30) % 2 * 2 - 1}, {}, "classes -1, 1 are numbered from 0"),
    "whole labels": ("npz", {"x": EYE, "y": np.arange(30) % 3}, {}, "3 different whole numbers, taken for classes"),
    "whole targets": ("npz", {"x": EYE, "y": np.arange(30)}, {}, "30 different whole numbers, taken for numbers"),
    "rows of one 1": ("npz", {"x": EYE, "y": EYE[:, :3] + EYE[:, 3:].sum(1)[:, None] * [1, 0, 0]}, {}, "a single 1"),
    "one-hot": (
        "npz",
        {"x": EYE, "y": np.eye(3)[np.arange(30) % 3]},
        {"target_type": "classes"},
        "rows with a single 1, taken for classes",
    ),
    "large integers": ("npz", {"x": np.full((30, 2), 2**60)}, {}, "whole numbers beyond 2^53 were rounded to float64"),
    "large targets": ("npz", {"x": EYE, "y": np.arange(30) + 2**60}, {}, "beyond 2^53 were rounded to float64"),
    "long doubles": ("npz", {"x": np.longdouble(EYE) + np.longdouble(2) ** -60}, {}, "rounded to float64"),
    "unscaled": ("npz", {"x": EYE + 1e7}, {"scale": "none"}, "float32 keeps to a few digits only"),
    "other arrays": ("npz", {"x": EYE, "y": np.arange(30) % 2, "z": EYE}, {}, "1 other arrays passed over (z)"),
    "grey pictures": ("npz", {"x": PIXELS[:, 0], "y": np.arange(30) % 2}, {}, "taken for grey pictures"),
    "channels last": ("npz", {"x": PIXELS.transpose(0, 2, 3, 1)}, {}, "the last axis is taken for the 3 channels"),
    "whole pixels": (
        "npz",
        {"x": PIXELS.astype(int)},
        {},
        "whole numbers from 0 to 255 of type int64 are read as bytes",
    ),
    "pixels of float64": ("npz", {"x": PIXELS / 255}, {}, "pictures of type float64 were rounded to float32"),
    "unknown white": ("npz", {"x": PIXELS / 2.0}, {}, "are left as they are"),
    "scaled pictures": ("image_folder", write_pictures, {"size": 4}, "were scaled and cut to 4×4"),
    "grey": ("image_folder", write_pictures, {"channels": 1}, "are in colour and were turned to grey"),
    "transparency": ("image_folder", pictures(transparent), {}, "transparent pixels, which were laid on white"),
    "repeated": ("image_folder", pictures(lambda p, i: i.convert("L").save(p)), {"channels": 3}, "are grey and were"),
    "corrupt": ("image_folder", pictures(lambda p, _: p.write_bytes(b"no")), {"corrupt": "skip"}, "cannot be decoded"),
    "hidden": ("image_folder", pictures(lambda p, i: i.save(p.with_name("._0.png"))), {}, "1 hidden"),
    "no picture": ("image_folder", pictures(lambda p, _: p.with_suffix(".txt").write_text("")), {}, "of another kind"),
    "inks": (
        "image_folder",
        pictures(lambda p, i: (i.convert("CMYK").save(p.with_suffix(".tif")), p.unlink())),
        {},
        "of the mode CMYK",
    ),
    "limit of pictures": ("image_folder", write_pictures, {"limit": 5}, "dataset.limit=5 left out"),
    "letters": ("text", BOOK, {"alphabet": "letters", "length": 8}, "put 40 capitals into lower case; 120 of 1720"),
    "line ends": ("text", lambda path: path.write_bytes((BOOK + "\r\n").encode() * 2), {"length": 8}, "2 line ends"),
    "limit of pieces": ("text", BOOK, {"length": 8, "limit": 9}, "dataset.limit=9 left out"),
    "rare words": ("conll", SENTENCES + "\nrare\tN\n", {"val": 0, "test": 0}, "occur fewer than 2 times and are <unk>"),
    "words of other parts": ("conll", OTHER_WORDS, {"least": 1}, "words are <unk> to the training"),
    "lower case": ("conll", SENTENCES.replace("the", "The"), {"lower": True}, "words into lower case"),
    "ranges": ("conll", CONLL_U, {"word": 1, "tag": 3}, "6 ranges (ids such as 1-2) passed over"),
    "comments": ("conll", CONLL_U, {"word": 1, "tag": 3}, "lines passed over: comments"),
    "columns": ("conll", CONLL_U, {"word": 1, "tag": 3}, "of 4 columns, 0, 2 (counted from 0) are not read"),
    "documents": ("conll", "-DOCSTART-\tO\n\n" + SENTENCES, {}, "lines passed over: -DOCSTART-"),
    "limit of sentences": ("conll", SENTENCES, {"limit": 9}, "dataset.limit=9 left out"),
    "off the piano": ("piano_roll", songs((10, 1, 2)), {}, "outside a piano's left out"),
    "drums": ("piano_roll", songs(channel=9), {}, "8 notes of drums left out"),
    "between the steps": ("piano_roll", songs((60, 10.1, 11)), {}, "6 notes moved to the nearest step"),
    "no music": ("piano_roll", rolls, {}, "1 of another kind (notes.txt)"),
}


def write(content, path):
    if callable(content):
        content(path)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        path.write_text(content, newline="")


def prepare(name, content, options):
    """A dataset of conf/dataset on files of one's own, loaded."""
    path = Path(FILES[name][1])
    if name == "piano_roll":
        path = path.with_suffix("")
    if name == "timeseries":
        path = path.with_suffix(".tsv")
    write(content, path)
    dataset = make(name, str(path), **options)
    return loaded(dataset), path


@pytest.mark.parametrize("choice", CHOICES)
def test_what_is_lost_cast_or_guessed_leaves_a_note(choice):
    name, content, options, wanted = CHOICES[choice]
    dataset, path = prepare(name, content, options)
    assert [note for note in dataset.notes if wanted in note], dataset.notes
    assert all(note.startswith((str(path), "the ")) for note in dataset.notes)


def test_every_dataset_that_reads_files_of_ones_own_is_here():
    names = [path.stem for path in (ROOT / "conf" / "dataset").glob("*.yaml")]
    reading = {type(made) for made in map(make, names) if "path" in inspect.signature(type(made).__init__).parameters}
    assert reading == {type(make(name)) for name, *_ in CHOICES.values()}


TEXT = {"length": 8, "alphabet": "letters"}
# A dataset; what it is trained on, its options; what is predicted for: name and content; the note.
NEW_ROWS = {
    "target": ("csv", CLASSES, {}, "new.csv", "b,a,y\n1,2,u\n", "1 of 3 columns not used (y)"),
    "white space": ("csv", CLASSES, {}, "new.csv", "b,a\n1, 2\n", "white space around cells was left out"),
    "gaps": ("csv", CLASSES, {"missing": "mean"}, "new.csv", "a,b\n1,\n", "were filled with the mean"),
    "unseen": (
        "csv",
        CLASSES.replace(".5,", "x,"),
        {"one_hot": True, "unknown": "ignore"},
        "new.csv",
        "a,b\n1,9\n",
        "hold values that training did not see",
    ),
    "labels of series": ("timeseries", SERIES, {}, "new.tsv", SERIES, "its labels were passed over"),
    "no labels": ("timeseries", SERIES, {}, "new.tsv", "1\t2\t3\n", "no label was looked for"),
    "gaps of series": (
        "timeseries",
        SERIES,
        {"missing": "interpolate"},
        "new.tsv",
        "1\t?\t3\t4\n",
        "1 gaps in 1 series were filled",
    ),
    "table for arrays": ("npz", {"x": EYE[:, :2]}, {}, "new.csv", "a,b,y\n1,2,3\n", "1 of 3 columns not used (y)"),
    "other arrays": ("npz", {"x": EYE}, {}, "new.npz", {"x": EYE, "z": EYE}, "1 other arrays passed over (z)"),
    "large integers": ("npz", {"x": EYE}, {}, "new.npy", EYE.astype(int) + 2**60 + 1, "were rounded to float64"),
    "fractions": ("npz", {"x": PIXELS}, {}, "new.npy", PIXELS / 255, "values from 0 to 1 are taken for fractions"),
    "channels last": ("npz", {"x": PIXELS}, {}, "new.npy", PIXELS.transpose(0, 2, 3, 1), "taken for the 3 channels"),
    "pictures": ("image_folder", write_pictures, {"size": 4}, "new", write_pictures, "were scaled and cut to 4×4"),
    "letters": ("text", BOOK, TEXT, "new.txt", "To be!", "put 1 capitals into lower case; 1 of 6"),
    "unknown words": ("conll", SENTENCES, {}, "new.conll", "the\tD\ndog\tN\n", "1 of 2 words are <unk> to the"),
    "tags": ("conll", SENTENCES, {}, "new.conll", "the\tD\n", "of 2 columns, 1 (counted from 0) are not read"),
    "sentences": (
        "conll",
        SENTENCES,
        {},
        "new.txt",
        "the cat\nthe cat sat\n",
        "taken for a text of one sentence a line",
    ),
    "words": ("conll", SENTENCES, {}, "new.txt", "the\ncat\n", "taken for one word a line"),
    "music": ("piano_roll", songs(), {}, "new", songs((60, 10.1, 11)), "6 notes moved to the nearest step"),
}


@pytest.mark.parametrize("choice", NEW_ROWS)
def test_so_does_what_happens_to_new_rows(choice):
    name, content, options, file, new, wanted = NEW_ROWS[choice]
    dataset, _ = prepare(name, content, options)
    before = list(dataset.notes)
    if isinstance(new, np.ndarray):
        np.save(file, new)
    else:
        write(new, Path(file))
    given = read_inputs(Path(file), dataset)
    (note,) = [note for note in given.note.splitlines() if wanted in note]
    assert note not in before


def test_every_reader_has_a_note_of_new_rows():
    assert {name for name, *_ in NEW_ROWS.values()} == {name for name, *_ in CHOICES.values()}


def test_nothing_is_noted_where_nothing_is_lost():
    np.savez("a.npz", x=EYE, y=np.array(["u", "v"] * 15))
    dataset = loaded(make("npz", "a.npz"))
    assert torch.equal(as_examples(EYE, dataset), torch.from_numpy(EYE))
    Path("a.csv").write_text(CLASSES)
    Path("new.csv").write_text("a,b\n1,2\n")
    table = loaded(make("csv", "a.csv"))
    assert read_inputs(Path("new.csv"), table).note is None
    assert dataset.notes == table.notes == []


def test_numbers_that_training_could_not_hold_are_refused():
    with pytest.raises(UsageError, match="the input holds values too large for float32"):
        as_examples(np.full(4, 1e300), loaded(make("iris")))
