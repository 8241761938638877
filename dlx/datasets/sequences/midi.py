"""Piano rolls of MIDI files; mido reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlx.config.extras import install_command
from dlx.datasets import files
from dlx.errors import UsageError

LOWEST, NOTES = 21, 88  # A0 to C8
DRUMS = 9  # the channel whose numbers are no notes


class Tally(NamedTuple):
    """What reading MIDI files left out, and in how many places."""

    drums: int = 0  # notes of the drums' channel
    off_piano: int = 0  # notes below A0 or above C8
    unended: int = 0  # notes that never end
    empty: int = 0  # notes that end at the tick at which they begin
    moved: int = 0  # notes that begin or end between two steps of the roll

    def add(self, other: "Tally") -> "Tally":
        """Return the sums."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    def notes(self) -> list[str]:
        """Return a sentence for each kind that was left out."""
        kinds = (
            *("of drums left out", "outside a piano's left out", "without an end left out", "without length left out"),
            "moved to the nearest step of the roll (dataset.steps_per_beat)",
        )
        return [f"{n} {'note' if n == 1 else 'notes'} {kind}" for n, kind in zip(self, kinds, strict=True) if n]


def list_files(path: Path) -> tuple[list[Path], list[str]]:
    """List the MIDI files of a folder in the order of their names, and the names of the others."""
    names, others = files.list_files(path, (".mid", ".midi"))
    return [path / name for name in names], others


def read_rolls(path: Path, steps_per_beat: int, note: Callable[[str], None] | None = None) -> list[Tensor]:
    """Read rolls (steps, 88) from a file, or from every file of a folder in the order of their names.

    Args:
        path: file or folder.
        steps_per_beat: of a roll.
        note: is told what was left out.

    Raises:
        UsageError: mido is not installed, there are no such files, or one cannot be read or has no notes.
    """
    paths, others = list_files(path) if path.is_dir() else ([path], [])
    if not paths:
        raise UsageError(f"{path} holds no MIDI files (.mid, .midi); type dataset.path=FOLDER or dataset.path=FILE.mat")
    read = [read_roll_and_tally(file, steps_per_beat) for file in paths]
    total = Tally()
    for _, tally in read:
        total = total.add(tally)
    if note is not None:
        for text in (*total.notes(), *([files.format_passed_over(others)] if others else [])):
            note(f"{path}: {text}")
    return [roll for roll, _ in read]


def read_roll(path: Path, steps_per_beat: int) -> Tensor:
    """Read the roll of a file; see `read_roll_and_tally`."""
    return read_roll_and_tally(path, steps_per_beat)[0]


def read_roll_and_tally(path: Path, steps_per_beat: int) -> tuple[Tensor, Tally]:
    """Read which of the 88 notes sound at each step of a file, (steps, 88) uint8, without silence at both ends.

    A note sounds from the step nearest to its beginning to that nearest to its end, for one step at least. Drums,
    notes that no piano has, and notes that never end or have no length are left out, and counted.

    Raises:
        UsageError: mido is not installed, or the file cannot be read or has no notes.
    """
    try:
        import mido
    except ImportError as error:
        raise UsageError(f"{path} is music in MIDI, which mido reads; type {install_command('midi')}") from error
    try:
        file = mido.MidiFile(path)
        tracks = [_find_notes(track) for track in file.tracks]
    except Exception as error:  # mido fails in many ways on bytes that are no MIDI
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} cannot be read as MIDI ({reason}); correct or remove it") from error
    if file.ticks_per_beat <= 0:
        raise UsageError(f"{path} counts time in frames; needed: in beats")
    if file.type == 2:
        raise UsageError(f"{path} is of MIDI's type 2, whose tracks do not sound together; needed: type 0 or 1")
    spans = [span for found, _ in tracks for span in found]
    tally = Tally()
    for _, track_tally in tracks:
        tally = tally.add(track_tally)
    if not spans:
        why = ": " + ", ".join(tally.notes()) if any(tally) else ""
        raise UsageError(f"{path} has no notes{why}; remove it")
    step = file.ticks_per_beat / steps_per_beat
    tally = tally._replace(moved=sum(bool(on % step or off % step) for _, on, off in spans))
    cells = []
    for pitch, on, off in spans:
        begin = round(on / step)
        cells.append((pitch - LOWEST, begin, max(round(off / step), begin + 1)))
    first, last = min(begin for _, begin, _ in cells), max(end for _, _, end in cells)
    roll = torch.zeros(last - first, NOTES, dtype=torch.uint8)
    for pitch, begin, end in cells:
        roll[begin - first : end - first, pitch] = 1
    return roll, tally


def _find_notes(track: Any) -> tuple[list[tuple[int, int, int]], Tally]:
    """Return every note of a piano in a track: its number, and the ticks at which it begins and ends.

    As pretty_midi pairs them: within a track and channel, an end closes all notes of its number that sound, except
    those that begin at the same tick, which is how a note is struck again at the end of the one before.
    """
    sounding: dict[tuple[int, int], list[int]] = {}  # the ticks at which they began
    spans: list[tuple[int, int, int]] = []
    now = drums = off_piano = empty = 0
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        is_begin = message.type == "note_on" and message.velocity > 0
        if message.channel == DRUMS:
            drums += is_begin
            continue
        if not LOWEST <= message.note < LOWEST + NOTES:
            off_piano += is_begin
            continue
        key = message.channel, message.note
        if is_begin:
            sounding.setdefault(key, []).append(now)
            continue
        begun = sounding.pop(key, [])
        ended = [on for on in begun if on != now]
        kept = [on for on in begun if on == now]
        spans += [(message.note, on, now) for on in ended]
        if ended and kept:
            sounding[key] = kept
        else:
            empty += len(kept)
    unended = sum(map(len, sounding.values()))
    return spans, Tally(drums, off_piano, unended, empty)
