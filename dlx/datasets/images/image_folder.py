"""The user's own pictures: a folder, or a .zip of one, with a subfolder for each class."""

import contextlib
import io
import os
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files
from dlx.datasets.archives import MOST_PICTURE, check_entry
from dlx.datasets.images.decoding import is_grey, to_bytes
from dlx.datasets.images.images import Images
from dlx.datasets.images.survey import survey_pictures
from dlx.datasets.splits import Split, Stream
from dlx.errors import UsageError
from dlx.types import Count, Fraction

IMAGE_EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
STREAM_SAMPLE = 100  # pictures of a stream that are decoded before training, to say what is done to them
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


class Picture(NamedTuple):
    """One file."""

    name: str  # within the folder or the archive
    part: str  # train, val or test; all pictures are train where the folder does not say
    label: str | None  # its class; None where there are no subfolders


class DecodeSettings(NamedTuple):
    """How a file becomes a tensor."""

    path: Path  # of the folder or the archive
    height: int
    width: int
    channels: int
    requires_size: bool  # whether other sizes are refused
    white: float | None = None  # in pictures of more than 8 bits and of floats; None takes their type's


class ImageFolder(Images):
    """Pictures below `path`/class/…, or `path`/train/class/…, `path`/test/class/… .

    Pictures straight in `path` have no labels. What fits into half of the free memory is decoded once, into bytes;
    the rest is decoded when a batch needs it.

    Args:
        path: folder or .zip file.
        size: pixels of each side, or [height, width]: pictures are scaled to cover it and their middle is cut out;
            null takes them as they are, all of one size.
        channels: 1 for grey, 3 for colour; null takes what the first picture has.
        corrupt: what to do with a file that cannot be decoded.
        white: the value that stands for white in pictures of 16 or 32 bits and of floats; null takes 65535 for 16 bits
            and 1 for floats, and refuses 32-bit integers.
        stream: decode when a batch needs a picture; `auto` does so where memory is short.
        shape, classes, outputs, seed, val, test, limit, scale, mean, std, binarize, augment: as in `Images`.
    """

    def __init__(
        self,
        path: str | None = None,
        size: Count | Sequence[int] | None = None,
        channels: Literal[1, 3] | None = None,
        corrupt: Literal["error", "skip"] = "error",
        stream: bool | Literal["auto"] = "auto",
        white: float | None = None,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        scale: Literal["none", "unit", "symmetric", "standard"] = "unit",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        binarize: Literal["none", "threshold", "static", "stochastic"] = "none",
        augment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit, scale, mean, std, binarize, augment)
        self.path, self.size, self.channels, self.corrupt, self.stream = path, size, channels, corrupt, stream
        if white is not None and white <= 0:
            raise UsageError(f"dataset.white={white} was given; needed: a number above 0")
        self.white = white

    @property
    def source(self) -> str:
        return str(self.path)

    def survey_files(self) -> dict[str, dict[str, int]]:
        path = files.require_path(self.path, "dataset.path", "FOLDER")
        return survey_pictures([picture.name for picture in _list_pictures(path)[0]], _FileReader(path).read, self.seed)

    def read(self) -> dict[str, Split | Stream]:
        path = files.require_path(self.path, "dataset.path", "FOLDER")
        pictures, others = _list_pictures(path)
        if others:
            self.note(f"{path}: {files.format_passed_over(others)}")
        empty = _find_empty_folders(path, pictures)
        if empty:
            self.note(f"{path}: no pictures in {files.format_some(empty)}")
        if not pictures:
            raise UsageError(
                f"{path} holds no pictures ({', '.join(sorted(IMAGE_EXTENSIONS))}); "
                "needed: a subfolder of them for each class"
            )
        settings = self._choose_settings(path, pictures)
        bytes_needed = len(pictures) * settings.height * settings.width * settings.channels
        stream = bytes_needed > files.get_free_memory() // 2 if self.stream == "auto" else self.stream
        if stream and self.corrupt == "skip":
            decodable = _keep_decodable(pictures, path)
            self._note_corrupt(path, [p for p in pictures if p not in set(decodable)], decodable)
            pictures = decodable
        if not self.is_fitted:
            self.names = sorted({p.label for p in pictures if p.part == "train" and p.label is not None}) or None
        parts = {p: [x for x in pictures if x.part == p] for p in ("train", "val", "test")}
        if not parts["train"]:
            raise UsageError(f"{path} has no training pictures; needed: some below {path / 'train'}")
        make = self._make_stream if stream else self._make_split
        seen: list[DecodedPicture] = []
        made = {part: make(members, settings, seen) for part, members in parts.items() if members}
        for text in format_changes(seen, (settings.width, settings.height)):
            self.note(f"{path}: {text}")
        return made

    def _choose_settings(self, path: Path, pictures: Sequence[Picture]) -> DecodeSettings:
        """Choose size and channels: as asked for, else those of the first picture that can be read."""
        if self.is_fitted and self.shape is not None:
            return DecodeSettings(path, self.shape[1], self.shape[2], self.shape[0], self.size is None, self.white)
        height = width = None
        if self.size is not None:
            height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        channels: int | None = self.channels
        if height is None or width is None or channels is None:
            w, h, bands = _probe_first(path, pictures, self.corrupt == "skip")
            height, width, channels = height or h, width or w, channels or bands
        return DecodeSettings(path, height, width, channels, self.size is None, self.white)

    def _encode_labels(self, pictures: Sequence[Picture]) -> Tensor | None:
        if self.names is None:
            return None
        index = {name: i for i, name in enumerate(self.names)}
        strange = next((p for p in pictures if p.label not in index), None)
        if strange is not None:
            raise UsageError(
                f"{self.path}: {strange.name} is of the class {strange.label!r}, which has no training pictures; "
                f"there are {', '.join(self.names[:20])}"
            )
        return torch.tensor([index[p.label or ""] for p in pictures])

    def _make_stream(
        self, pictures: Sequence[Picture], settings: DecodeSettings, seen: list["DecodedPicture"]
    ) -> Stream:
        y = self._encode_labels(pictures)
        reader = PictureDataset([p.name for p in pictures], y, settings)
        for row in range(0, len(pictures), -(-len(pictures) // STREAM_SAMPLE)):
            with contextlib.suppress(UsageError):  # is said when its batch comes
                seen.append(reader.decode(pictures[row].name)._replace(pixels=None))
        return Stream(reader, y)

    def _note_corrupt(self, path: Path, corrupt: Sequence[Picture], kept: Sequence[Picture]) -> None:
        """Note which pictures cannot be decoded, and which classes have no others."""
        if not corrupt:
            return
        text = f"{path}: {len(corrupt)} of {len(corrupt) + len(kept)} pictures cannot be decoded and were left out"
        gone = sorted({str(p.label) for p in corrupt} - {str(p.label) for p in kept})
        text += f" ({files.format_some([p.name for p in corrupt])})"
        self.note(text + (f"; no picture of {', '.join(gone)} is left" if gone else ""))

    def _make_split(self, pictures: Sequence[Picture], settings: DecodeSettings, seen: list["DecodedPicture"]) -> Split:
        """Decode everything, in threads where pictures are large: decoders let go of Python's lock, then."""
        y = self._encode_labels(pictures)
        x = torch.empty(len(pictures), settings.channels, settings.height, settings.width, dtype=torch.uint8)
        reader = PictureDataset([p.name for p in pictures], y, settings)
        is_good = torch.ones(len(pictures), dtype=torch.bool)
        decoded: list[DecodedPicture | None] = [None] * len(pictures)

        def fill(rows: range) -> None:
            for row in rows:
                try:
                    found = reader.decode(pictures[row].name)
                    x[row] = found.pixels
                    decoded[row] = found._replace(pixels=None)
                except CorruptPictureError:
                    if self.corrupt == "error":
                        raise
                    is_good[row] = False

        # Two threads took 177 µs for each 32×32 JPEG where one took 102: small ones spend their time in Python.
        threads = (os.cpu_count() or 1) if settings.height * settings.width >= 128**2 else 1
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, [range(i, len(pictures), threads * 4) for i in range(threads * 4)]))
        if not is_good.any():
            raise UsageError(f"{self.path}: none of the {len(pictures)} pictures can be decoded")
        seen += [found for found in decoded if found is not None]
        bad = [p for p, good in zip(pictures, is_good.tolist(), strict=True) if not good]
        self._note_corrupt(Path(str(self.path)), bad, [p for p in pictures if p not in set(bad)])
        return Split(x, y) if is_good.all() else Split(x[is_good], None if y is None else y[is_good])


class CorruptPictureError(UsageError):
    """A file that cannot be decoded: `dataset.corrupt=skip` leaves it out."""


class DecodedPicture(NamedTuple):
    """A picture of the wanted size, and what was done to it."""

    pixels: Any  # (C, H, W) uint8; None where it is kept elsewhere
    size: tuple[int, int]  # width and height before, upright
    changes: tuple[str, ...]


def format_changes(decoded: Sequence[DecodedPicture], size: tuple[int, int]) -> list[str]:
    """Say what was done to pictures: "3 of 90 pictures were turned upright …".

    Args:
        decoded: every picture.
        size: width and height that they were brought to.
    """
    counts = Counter(change for picture in decoded for change in picture.changes)
    texts = [f"{count} of {len(decoded)} pictures {change}" for change, count in sorted(counts.items())]
    sizes = sorted({picture.size for picture in decoded} - {size})
    if sizes:
        smallest = "×".join(map(str, sizes[0]))
        others = f" and {len(sizes) - 1} other sizes" if len(sizes) > 1 else ""
        number = sum(picture.size != size for picture in decoded)
        texts.append(
            f"{number} of {len(decoded)} pictures, of {smallest}{others}, were scaled and cut to {size[0]}×{size[1]} "
            "pixels"
        )
    return texts


class PictureDataset(torch.utils.data.Dataset[Any]):
    """Pictures as a map-style dataset of (uint8 tensor (C, H, W), label)."""

    def __init__(self, names: list[str], y: Tensor | None, settings: DecodeSettings) -> None:
        self.names, self.y, self.settings = names, y, settings
        self.reader = _FileReader(settings.path)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> tuple[Tensor, int | None]:
        return self.decode_picture(self.names[row]), None if self.y is None else int(self.y[row])

    def decode_picture(self, name: str) -> Tensor:
        """Decode a file into pixels (C, H, W), uint8; see `decode`."""
        pixels: Tensor = self.decode(name).pixels
        return pixels

    def decode(self, name: str) -> DecodedPicture:
        """Decode a file, and say what was done to it.

        Raises:
            UsageError: the file is corrupt, of a type that cannot be brought to bytes, or not of the size of the
                others.
        """
        from PIL import Image, ImageOps

        path, height, width, channels, requires_size, white = self.settings
        try:
            with Image.open(io.BytesIO(self.reader.read(name))) as opened:
                image, changes = to_bytes(opened, channels, white, str(path / name))
        except _get_decode_errors() as error:
            raise CorruptPictureError(
                f"the picture {path / name} cannot be decoded ({error}); remove it, or type "
                "dataset.corrupt=skip to leave such files out"
            ) from error
        size = image.size
        if size != (width, height):
            if requires_size:
                raise UsageError(
                    f"the picture {path / name} has {image.width}×{image.height} pixels and others "
                    f"{width}×{height}; needed: one size; type dataset.size={min(width, height)}"
                )
            image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).view(height, width, channels).permute(2, 0, 1)
        return DecodedPicture(pixels, size, changes)


class _FileReader:
    """Bytes of the files of a folder or an archive; each process opens the archive for itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive: zipfile.ZipFile | None = None
        self.pid = 0

    def read(self, name: str) -> bytes:
        if self.path.is_dir():
            with (self.path / name).open("rb") as file:
                data = file.read(MOST_PICTURE + 1)
            if len(data) > MOST_PICTURE:
                raise ValueError(f"it has more than {MOST_PICTURE:,} bytes")
            return data
        if self.archive is None or self.pid != os.getpid():  # a file offset shared by two processes is nobody's
            self.archive, self.pid = zipfile.ZipFile(self.path), os.getpid()
        check_entry(self.archive.getinfo(name), MOST_PICTURE)  # the directory tells its size, before any of it is read
        return self.archive.read(name)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "archive": None, "pid": 0}


def list_picture_files(path: Path) -> tuple[list[str], list[str]]:
    """List the pictures in a folder or a .zip in the order of names, and the files that are passed over.

    Raises:
        UsageError: a file that is no .zip.
    """
    if path.is_dir():
        return files.list_files(path, IMAGE_EXTENSIONS)
    try:
        with zipfile.ZipFile(path) as archive:
            return files.select_files([name for name in archive.namelist() if not name.endswith("/")], IMAGE_EXTENSIONS)
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} was given; needed: a folder of pictures, or a .zip of one ({error})") from error


def _find_empty_folders(path: Path, pictures: Sequence[Picture]) -> list[str]:
    """Find the folders of `path` without a picture: classes that will not be there."""
    if not path.is_dir():
        return []
    folders = [entry.name for entry in path.iterdir() if entry.is_dir() and not files.is_hidden(entry.name)]
    return sorted(set(folders) - {picture.name.split("/")[0] for picture in pictures})


def _list_pictures(path: Path) -> tuple[list[Picture], list[str]]:
    """List every picture below `path`, in the order of names, and the files that are passed over."""
    names, others = list_picture_files(path)
    kept = [tuple(name.split("/")) for name in names]
    # An archive often holds one folder that holds the rest: what all paths begin with tells nothing.
    folders = sorted({parts[:-1] for parts in kept}) or [()]
    is_shared = (a == b for a, b in zip(folders[0], folders[-1], strict=False))
    depth = sum(takewhile(bool, is_shared))  # in sorted order, the first and the last differ the earliest
    tops = {parts[depth].lower() for parts in kept if len(parts) > depth + 1}
    has_splits = tops <= set(SPLIT_FOLDERS) and "train" in {SPLIT_FOLDERS.get(top) for top in tops}
    pictures = []
    for parts in kept:
        inner = parts[depth:]
        part = SPLIT_FOLDERS[inner[0].lower()] if has_splits and len(inner) > 1 else "train"
        inner = inner[1:] if has_splits and len(inner) > 1 else inner
        pictures.append(Picture("/".join(parts), part, inner[0] if len(inner) > 1 else None))
    unlabelled = Counter(picture.label is None for picture in pictures)
    if len(unlabelled) == 2:
        stray = next(picture for picture in pictures if picture.label is None)
        raise UsageError(
            f"{path}: {stray.name} is in no class's folder, and {unlabelled[False]} other pictures are; "
            "move it into one, or remove it"
        )
    return pictures, others


def _probe_first(path: Path, pictures: Sequence[Picture], skip: bool) -> tuple[int, int, int]:
    """Return width, height and channels of the first picture that can be read."""
    from PIL import Image, ImageOps

    store = _FileReader(path)
    for picture in pictures:
        try:
            with Image.open(io.BytesIO(store.read(picture.name))) as opened:
                image = ImageOps.exif_transpose(opened)
                return (*image.size, 1 if is_grey(image.mode) else 3)
        except _get_decode_errors() as error:
            if not skip:
                raise UsageError(
                    f"the picture {path / picture.name} cannot be decoded ({error}); remove it, or type "
                    "dataset.corrupt=skip to leave such files out"
                ) from error
    raise UsageError(f"{path}: none of the {len(pictures)} pictures can be decoded")


def _keep_decodable(pictures: Sequence[Picture], path: Path) -> list[Picture]:
    """Keep the pictures that decode: a stream cannot leave one out later."""
    from PIL import Image

    store = _FileReader(path)

    def is_decodable(picture: Picture) -> bool:
        try:
            with Image.open(io.BytesIO(store.read(picture.name))) as opened:
                opened.load()
        except _get_decode_errors():
            return False
        return True

    with ThreadPoolExecutor() as pool:
        return [picture for picture, good in zip(pictures, pool.map(is_decodable, pictures), strict=True) if good]


def _get_decode_errors() -> tuple[type[Exception], ...]:
    """Return what Pillow and zipfile raise for bytes that are no picture."""
    from PIL import Image

    return (OSError, SyntaxError, ValueError, EOFError, zipfile.BadZipFile, Image.DecompressionBombError)
