"""Piano rolls: which notes sound at each step of a piece.

N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, "Modeling Temporal Dependencies in High-Dimensional Sequences", 2012,
https://arxiv.org/abs/1206.6392; the .mat files are those of S. Bai, J. Z. Kolter, V. Koltun, 2018,
https://arxiv.org/abs/1803.01271.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files
from dlx.datasets.dataset import Dataset
from dlx.datasets.sequences import midi
from dlx.datasets.sequences.padding import pad_sequences
from dlx.datasets.splits import Part, Split
from dlx.errors import UsageError
from dlx.types import Count, Fraction, Natural

MATLAB_NAMES = {"train": "traindata", "val": "validdata", "test": "testdata"}  # as the .mat files call them


class PianoRoll(Dataset):
    """Pieces of music as sequences of chords: (T, notes) zeros and ones, padded with zeros.

    A .mat file holds `traindata`, `validdata` and `testdata`, each a cell array of matrices (steps, notes). A folder
    holds MIDI files, in subfolders `train`, `valid` and `test` where it has splits; their rolls have a piano's 88
    notes.

    Args:
        path: of the file or folder; a relative one is also looked for below the data folders (DLX_DATA, ./data,
            ~/.cache/dlx).
        transpose: training pieces are moved up or down by up to so many semitones, drawn anew each time, as far as all
            their notes stay on the roll.
        steps_per_beat: of MIDI files.
        root: folder that holds the data, instead of the data folders.
        shape: (T, notes), T of the longest piece. classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    kind = "sequence"
    folders = True
    levels = 1.0

    def __init__(
        self,
        path: str | None = None,
        transpose: Natural = 0,
        steps_per_beat: Count = 2,
        root: str | None = None,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        self.path, self.root, self.transpose, self.steps_per_beat = path, root, transpose, steps_per_beat

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> Mapping[str, Part]:
        path = files.locate_path(self.path, "FILE.mat", self.root)
        by_split = self._read_folder(path) if path.is_dir() else _read_matlab(path)
        if "train" not in by_split:
            raise UsageError(
                f"{path} has no {MATLAB_NAMES['train']}; it has {', '.join(MATLAB_NAMES[name] for name in by_split)}"
            )
        notes = by_split["train"][0].shape[1]
        longest = max(len(piece) for pieces in by_split.values() for piece in pieces)
        if self.is_fitted and self.shape is not None:
            longest = max(longest, self.shape[0])
        for name, pieces in by_split.items():
            wrong = next((i for i, piece in enumerate(pieces) if piece.shape[1] != notes), None)
            if wrong is not None:
                raise UsageError(
                    f"{path}: piece {wrong} of {MATLAB_NAMES[name]} (counted from 0) has {pieces[wrong].shape[1]} "
                    f"notes; needed: {notes}, as in the first of {MATLAB_NAMES['train']}"
                )
        return {name: _make_split(pieces, longest) for name, pieces in by_split.items()}

    def inputs(self, path: Path) -> Split:
        """Read every piece of a .mat file, a MIDI file or a folder of them."""
        if path.suffix.lower() == ".mat":
            return _make_split([piece for pieces in _read_matlab(path).values() for piece in pieces])
        return _make_split(midi.read_rolls(path, self.steps_per_beat, self.note))

    def random(self, train: bool) -> bool:
        return train and self.transpose > 0

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        if self.random(train):
            x = transpose_pieces(x, self.transpose, generator)
        return x.float()

    def _read_folder(self, path: Path) -> dict[str, list[Tensor]]:
        inner = {name: path / MATLAB_NAMES[name].removesuffix("data") for name in MATLAB_NAMES}
        if not inner["train"].is_dir():
            return {"train": midi.read_rolls(path, self.steps_per_beat, self.note)}
        found = {name: folder for name, folder in inner.items() if folder.is_dir()}
        read, _ = midi.list_files(path)
        folders = {folder.name for folder in found.values()}
        names = [file.relative_to(path) for file in read]
        beside = [name.as_posix() for name in names if name.parts[0] not in folders]
        if beside:
            self.note(
                f"{path}: {len(beside)} MIDI files in no folder of a split passed over ({files.format_some(beside)}); "
                f"needed: below {', '.join(folder.name for folder in inner.values())}"
            )
        return {name: midi.read_rolls(folder, self.steps_per_beat, self.note) for name, folder in found.items()}


def transpose_pieces(x: Tensor, most: int, generator: torch.Generator | None) -> Tensor:
    """Move each of pieces x (batch, T, notes) by up to `most` semitones, as far as its notes have room."""
    B, T, N = x.shape
    sounding = x.any(1).to(torch.uint8)  # (B, N)
    low, high = sounding.argmax(1), N - 1 - sounding.flip(1).argmax(1)
    shift = torch.randint(-most, most + 1, (B,), generator=generator, device=x.device)
    shift = torch.minimum(torch.maximum(shift, -low), N - 1 - high)
    source = (torch.arange(N, device=x.device) - shift[:, None]) % N  # (B, N)
    return x.gather(2, source[:, None].expand(B, T, N))


def _make_split(pieces: Sequence[Tensor], longest: int | None = None) -> Split:
    x, lengths = pad_sequences(pieces, longest)
    return Split(x, lengths=lengths)


def _read_matlab(path: Path) -> dict[str, list[Tensor]]:
    """Read the pieces of each part of a .mat file."""
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(path, chars_as_strings=False)
    except NotImplementedError as error:  # version 7.3 is another format altogether
        raise UsageError(f"{path} is of MATLAB's version 7.3; needed: an earlier one; save it with -v7") from error
    except Exception as error:  # scipy fails in many ways on bytes that are not MATLAB's
        raise UsageError(
            f"{path} cannot be read ({error}); needed: a MATLAB file, or a folder of MIDI files"
        ) from error
    if MATLAB_NAMES["train"] not in content:
        names = ", ".join(name for name in content if not name.startswith("__"))
        raise UsageError(
            f"{path} holds {names or 'nothing'}; needed: {', '.join(MATLAB_NAMES.values())}, cells of matrices"
        )
    return {
        name: _parse_pieces(content[key], f"{path}: {key}")
        for name, key in MATLAB_NAMES.items()
        if key in content and np.size(content[key])
    }


def _parse_pieces(cells: np.ndarray, what: str) -> list[Tensor]:
    if cells.dtype != object:
        raise UsageError(f"{what} is an array of shape {list(cells.shape)}; needed: a cell for each piece")
    pieces = []
    for i, cell in enumerate(cells.flat):
        if not isinstance(cell, np.ndarray) or cell.dtype.kind not in "biuf" or cell.ndim != 2 or not len(cell):
            raise UsageError(f"{what}: cell {i} (counted from 0) is no matrix of numbers, (steps, notes)")
        if not np.isin(cell, (0, 1)).all():
            raise UsageError(
                f"{what}: cell {i} (counted from 0) holds {cell[~np.isin(cell, (0, 1))][0]}; needed: 0 or 1"
            )
        pieces.append(torch.from_numpy(cell.astype(np.uint8)))
    return pieces
