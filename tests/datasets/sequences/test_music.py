"""Piano rolls: read as they stand in their files, padded and told so; what is bad is named."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dlx.datasets.loader import Loader
from dlx.datasets.sequences import midi as midi_files
from dlx.datasets.sequences.music import PianoRoll, transpose_pieces
from dlx.errors import UsageError
from tests.conftest import loaded, write

DATA = os.environ.get("DLX_DATA", "")  # before the tests are kept from it
JSB = Path(DATA) / "music" / "JSB_Chorales.mat"


def rolls(n: int, seed: int, notes: int = 88) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [(random.random((steps, notes)) < 0.05).astype(np.uint8) for steps in random.integers(3, 9, n)]


def cells(pieces: list) -> np.ndarray:
    found = np.empty((1, len(pieces)), dtype=object)
    for i, piece in enumerate(pieces):
        found[0, i] = piece
    return found


def matlab(name: str = "music.mat", **parts) -> str:
    savemat(name, {key: cells(value) if isinstance(value, list) else value for key, value in parts.items()})
    return name


def test_piano_rolls_of_a_matlab_file():
    pieces = {"traindata": rolls(9, 0), "validdata": rolls(4, 1), "testdata": [*rolls(3, 2), np.ones((12, 88))]}
    dataset = loaded(PianoRoll(matlab(**pieces)))
    assert (dataset.shape, dataset.classes, dataset.outputs) == ((12, 88), None, 88)
    for name, split in dataset.splits.items():
        wanted = pieces[{"train": "traindata", "val": "validdata", "test": "testdata"}[name]]
        order = range(len(wanted)) if name != "train" else None
        got = sorted(x[:n].tolist() for x, n in zip(split.x, split.lengths, strict=True))
        assert got == sorted(piece.tolist() for piece in wanted)
        assert all(not x[n:].any() for x, n in zip(split.x, split.lengths, strict=True))
        if order:
            assert torch.equal(split.x[1, : len(wanted[1])], torch.from_numpy(wanted[1]).to(torch.uint8))
    assert dataset.transform(dataset.splits["val"].x, False).dtype == torch.float32
    given = dataset.inputs(Path(matlab("other.mat", traindata=rolls(2, 7))))
    assert [len(piece) for piece in rolls(2, 7)] == given.lengths.tolist()


@pytest.mark.skipif(not JSB.is_file(), reason="needs the chorales")
def test_the_chorales_have_their_published_splits(monkeypatch):
    monkeypatch.setenv("DLX_DATA", DATA)
    dataset = loaded(PianoRoll("music/JSB_Chorales.mat", shape=[160, 88], outputs=88))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 229, "val": 76, "test": 77}
    assert {name: int(split.lengths.sum()) for name, split in dataset.splits.items()} == {
        "train": 13807,
        "val": 4602,
        "test": 4725,
    }


def test_pieces_are_transposed_as_far_as_there_is_room():
    x = torch.from_numpy(np.stack([piece[:3] for piece in rolls(40, 5)]))
    x[0], x[1] = 0, 0
    x[0, :, [0, 50]] = 1  # no room below
    x[1, :, 87] = 1  # nor above
    generator = torch.Generator().manual_seed(0)
    shifts = set()
    for _ in range(30):
        moved = transpose_pieces(x, 3, generator)
        for old, new in zip(x, moved, strict=True):
            found = [s for s in range(-3, 4) if torch.equal(old.roll(s, 1), new)]
            assert found, "the same piece, higher or lower"
            assert torch.equal(new.sum(1), old.sum(1)), "no note is lost"
            if old.any():
                shifts.update(found[:1])
                low, high = (int(i) for i in (old.any(0).nonzero()[0], old.any(0).nonzero()[-1]))
                assert 0 <= low + found[0] <= high + found[0] <= 87
    assert shifts == set(range(-3, 4))
    dataset = loaded(PianoRoll(matlab(traindata=rolls(20, 0), validdata=rolls(4, 1)), transpose=5, test=0))
    assert dataset.random(True)
    assert not dataset.random(False)
    loader = Loader(dataset, batch=4)
    assert not all(torch.equal(a.x, b.x) for a, b in zip(loader.train(0), loader.train(1), strict=True))
    assert torch.equal(list(loader.train(2))[3].x, next(loader.train(2, 3)).x)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"songs": rolls(2, 0)}, "holds songs; needed: traindata, validdata, testdata"),
        ({"traindata": np.zeros((3, 88))}, r"traindata is an array of shape \[3, 88\]; needed: a cell"),
        ({"traindata": [np.full((3, 88), 2)]}, "cell 0 .* holds 2; needed: 0 or 1"),
        ({"traindata": [*rolls(1, 0), np.array(["x"])]}, "cell 1 .* is no matrix"),
        ({"traindata": [*rolls(1, 0), cells(rolls(1, 0))]}, "cell 1 .* is no matrix"),
        ({"traindata": rolls(2, 0), "testdata": rolls(2, 0, 87)}, "piece 0 of testdata .* has 87 notes; needed: 88"),
    ],
)
def test_bad_rolls_are_named(parts, message):
    with pytest.raises(UsageError, match=message):
        PianoRoll(matlab(**parts)).load()


def test_files_that_are_no_music():
    for content in ("", "hello", "MATLAB 5.0 MAT-file" + " " * 200):
        with pytest.raises(UsageError, match=r"x\.mat .*needed: a MATLAB file"):
            PianoRoll(write(content, "x.mat")).load()
    with pytest.raises(UsageError, match=r"no such file|looked for"):
        PianoRoll("nowhere.mat").load()
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=r"empty holds no MIDI files"):
        PianoRoll("empty").load()


def midi(name: str, notes: list, ticks: int = 480, channel: int = 0) -> None:
    """Notes (number, beginning and end in beats)."""
    mido = pytest.importorskip("mido")
    events = sorted([(on, 1, n) for n, on, off in notes] + [(off, 0, n) for n, on, off in notes])
    track, now = mido.MidiTrack(), 0
    for beat, on, note in events:
        tick = round(beat * ticks)
        kind = "note_on" if on or note % 2 else "note_off"  # an end may also be a beginning without force
        track.append(mido.Message(kind, note=note, velocity=64 * on, time=tick - now, channel=channel))
        now = tick
    file = mido.MidiFile(ticks_per_beat=ticks)
    file.tracks.append(track)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    file.save(name)


def test_midi_files():
    notes = [(60, 1, 3), (64, 1.5, 2.01), (67, 2, 2.05), (10, 1, 9), (60, 3, 3.5)]
    for part, count in (("train", 4), ("valid", 2), ("test", 1)):
        for i in range(count):
            midi(f"songs/{part}/{i}.mid", [(n + i, *when) for n, *when in notes], ticks=480 + 96 * i)
    midi("songs/train/drums.mid", [(60, 0, 1)], channel=0)
    dataset = loaded(PianoRoll("songs"))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 5, "val": 2, "test": 1}
    wanted = torch.zeros(5, 88)
    wanted[0:5, 60 - 21] = 1  # struck again at once
    wanted[1:2, 64 - 21] = 1
    wanted[2:3, 67 - 21] = 1
    assert torch.equal(dataset.splits["test"].x[0].float(), wanted)
    assert torch.equal(dataset.inputs(Path("songs/test/0.mid")).x[0].float(), wanted)
    assert dataset.inputs(Path("songs/valid")).lengths.tolist() == [5, 5]
    assert len(PianoRoll("songs/train", steps_per_beat=4).read()["train"]) == 5
    midi("drums/a.mid", [(60, 0, 1)], channel=9)
    with pytest.raises(UsageError, match=r"a\.mid has no notes"):
        PianoRoll("drums").load()
    write("no music", "drums/a.mid")
    with pytest.raises(UsageError, match=r"a\.mid cannot be read as MIDI"):
        PianoRoll("drums").load()


def test_without_mido_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(UsageError, match="pip install mido"):
        PianoRoll(write("", "a.mid") and ".").load()


def tracks(name: str, *events: list[tuple[int, str, int]], ticks: int = 480) -> Path:
    """Write tracks of (tick, on or off, pitch), in their order."""
    mido = pytest.importorskip("mido")
    file = mido.MidiFile(type=1, ticks_per_beat=ticks)
    for track in events:
        file.tracks.append(mido.MidiTrack())
        now = 0
        for tick, kind, pitch in track:
            file.tracks[-1].append(mido.Message(f"note_{kind}", note=pitch, velocity=64, time=tick - now))
            now = tick
    file.save(name)
    return Path(name)


B = 480


@pytest.mark.parametrize(
    ("events", "sounding"),
    [
        ([[(0, "on", 60), (4 * B, "off", 60)], [(B, "on", 60), (2 * B, "off", 60)]], range(8)),  # two hands
        ([[(B, "on", 60), (2 * B, "off", 60)], [(0, "on", 60), (B, "off", 60)]], range(4)),  # one takes over
        ([[(0, "on", 60), (B, "on", 60), (B, "off", 60), (2 * B, "off", 60)]], range(4)),  # on before off
        ([[(0, "on", 60), (B, "off", 60), (B, "on", 60), (2 * B, "off", 60)]], range(4)),  # off before on
        ([[(0, "on", 60), (B, "on", 60), (2 * B, "off", 60)]], range(4)),  # struck again while it sounds
        ([[(0, "on", 60), (B, "off", 60)], [(2 * B, "on", 60), (3 * B, "off", 60)]], (0, 1, 4, 5)),
    ],
)
def test_notes_belong_to_a_track_and_channel(events, sounding):
    """As pretty_midi pairs beginnings and ends."""
    roll = midi_files.read_roll(tracks("a.mid", *events), 2)
    assert roll[:, 60 - 21].nonzero().flatten().tolist() == list(sounding)
    assert int(roll.sum()) == len(sounding)


def test_what_a_roll_leaves_out_is_said():
    Path("songs").mkdir()
    tracks("songs/a.mid", [(0, "on", 60), (B, "off", 60), (B, "on", 61), (B, "off", 61), (B, "on", 62), (B, "on", 5)])
    midi("songs/b.mid", [(60, 0, 1)])
    write("x", "songs/._b.mid")
    write("x", "songs/list.txt")
    dataset = loaded(PianoRoll("songs", val=0, test=0))
    assert len(dataset.splits["train"]) == 2
    assert dataset.notes == [
        "songs: 1 note outside a piano's left out",
        "songs: 1 note without an end left out",
        "songs: 1 note without length left out",
        "songs: 2 files passed over: 1 hidden (._b.mid), 1 of another kind (list.txt)",
    ]
    midi("split/train/a.mid", [(60, 0, 1)])
    midi("split/validation/a.mid", [(60, 0, 1)])
    (note,) = loaded(PianoRoll("split", val=0, test=0)).notes
    assert "1 MIDI files in no folder of a split passed over (validation/a.mid)" in note
