"""Piano rolls of MIDI files; mido reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlx.config.extras import install_command
from dlx.errors import UsageError

LOWEST, NOTES = 21, 88  # A0 to C8
DRUMS = 9  # the channel whose numbers are no notes


def read_rolls(path: Path, steps_per_beat: int) -> list[Tensor]:
    """Read rolls (steps, 88) from a file, or from every file of a folder in the order of their names.

    Raises:
        UsageError: mido is not installed, there are no such files, or one cannot be read or has no notes.
    """
    paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".mid", ".midi")) if path.is_dir() else [path]
    if not paths:
        raise UsageError(f"{path} holds no MIDI files (.mid, .midi); type dataset.path=FOLDER or dataset.path=FILE.mat")
    return [read_roll(file, steps_per_beat) for file in paths]


def read_roll(path: Path, steps_per_beat: int) -> Tensor:
    """Read which of the 88 notes sound at each step of a file, (steps, 88) uint8, without silence at both ends.

    A note sounds from the step nearest to its beginning to that nearest to its end, for one step at least. Drums, and
    notes that no piano has, are left out.

    Raises:
        UsageError: mido is not installed, or the file cannot be read or has no notes.
    """
    try:
        import mido
    except ImportError as error:
        raise UsageError(f"{path} is music in MIDI, which mido reads; type {install_command('midi')}") from error
    try:
        file = mido.MidiFile(path)
        spans = list(_iterate_notes(file))
    except Exception as error:  # mido fails in many ways on bytes that are no MIDI
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} cannot be read as MIDI ({reason}); correct or remove it") from error
    if file.ticks_per_beat <= 0:
        raise UsageError(f"{path} counts time in frames; needed: in beats")
    if not spans:
        raise UsageError(f"{path} has no notes; remove it")
    step = file.ticks_per_beat / steps_per_beat
    cells = []
    for note, on, off in spans:
        begin = round(on / step)
        cells.append((note - LOWEST, begin, max(round(off / step), begin + 1)))
    first, last = min(begin for _, begin, _ in cells), max(end for _, _, end in cells)
    roll = torch.zeros(last - first, NOTES, dtype=torch.uint8)
    for note, begin, end in cells:
        roll[begin - first : end - first, note] = 1
    return roll


def _iterate_notes(file: Any) -> Iterator[tuple[int, int, int]]:
    """Yield every note of a piano: its number, and the ticks at which it begins and ends."""
    begun: dict[tuple[int, int], int] = {}
    now = 0
    for message in file.merged_track:
        now += message.time
        if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
            continue
        key = message.channel, message.note
        if key in begun and LOWEST <= message.note < LOWEST + NOTES:  # struck again, it ends where it begins anew
            yield message.note, begun[key], now
        begun.pop(key, None)
        if message.type == "note_on" and message.velocity > 0:
            begun[key] = now
    yield from ((note, on, now) for (_, note), on in begun.items() if LOWEST <= note < LOWEST + NOTES)
