"""MNIST and its successors, read from the files that torchvision downloads (`MNIST/raw/…`)."""

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dlx.datasets import files
from dlx.datasets.images import idx
from dlx.datasets.images.downloaded import Downloaded
from dlx.datasets.splits import Split, Stream
from dlx.errors import UsageError
from dlx.types import Count, Fraction


class Mnist(Downloaded):
    """70,000 handwritten digits of 28×28 pixels. Y. LeCun et al., Proc. IEEE 86, 1998, https://doi.org/10.1109/5.726791."""

    folder = "MNIST"
    class_names = tuple("0123456789")

    def get_file_names(self, part: str) -> tuple[str, str]:
        """Return the names of the image file and the label file of "train" or "test"."""
        stem = "train" if part == "train" else "t10k"
        return f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"

    def read(self) -> dict[str, Split | Stream]:
        files.check_root(self.root)
        paths = self._find_raw_files() or (self._download_raw_files() if self.download else None)
        if paths is None:
            raise self.make_missing_error(f"{self.folder}/raw")
        self.names = list(self.class_names)
        return {name: self._read_split(*paths[name]) for name in ("train", "test")}

    def list_files(self) -> list[Path]:
        return [path for pair in (self._find_raw_files() or {}).values() for path in pair]

    def _find_raw_files(self) -> dict[str, tuple[Path, Path]] | None:
        """Find the four files; None where one is missing."""
        for root in files.list_roots(self.root):
            folder = root / self.folder / "raw"
            pairs = {
                part: [idx.find_idx(folder, name) for name in self.get_file_names(part)] for part in ("train", "test")
            }
            if all(path is not None for pair in pairs.values() for path in pair):
                return {part: (images, labels) for part, (images, labels) in pairs.items() if images and labels}
        return None

    def _download_raw_files(self) -> dict[str, tuple[Path, Path]] | None:
        from torchvision import datasets

        try:
            getattr(datasets, self.folder)(
                str(files.get_download_root(self.root)), download=True, **self.get_download_options()
            )
        except (OSError, RuntimeError) as error:
            raise self.make_missing_error(f"{self.folder}/raw", error) from error
        return self._find_raw_files()

    def get_download_options(self) -> dict[str, Any]:
        """Return further arguments of torchvision's class."""
        return {}

    def _read_split(self, images: Path, labels: Path) -> Split:
        x, y = idx.read_idx(images), idx.read_idx(labels).long()
        if len(x) != len(y) or x.ndim != 3:
            raise UsageError(f"{images} holds {len(x)} images and {labels} {len(y)} labels; they belong to other data")
        return Split(x[:, None], y)


class FashionMnist(Mnist):
    """70,000 articles of clothing of 28×28 pixels. H. Xiao et al., 2017, https://arxiv.org/abs/1708.07747."""

    folder = "FashionMNIST"
    class_names = (
        *("t-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )


class Kmnist(Mnist):
    """70,000 cursive Japanese characters of 28×28 pixels. T. Clanuwat et al., 2018, https://arxiv.org/abs/1812.01718."""

    folder = "KMNIST"
    class_names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


class Emnist(Mnist):
    """Handwritten letters and digits of 28×28 pixels. G. Cohen et al., 2017, https://arxiv.org/abs/1702.05373.

    The files hold each image transposed; here they stand upright, unlike torchvision's.

    Args:
        split: which of the six; set `classes` to match: byclass 62, bymerge 47, balanced 47, letters 26, digits 10,
            mnist 10.
        shape, classes, outputs, seed, val, limit, root, download, scale, mean, std, binarize, augment: as in
            `Downloaded`.
    """

    folder = "EMNIST"

    def __init__(
        self,
        split: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"] = "balanced",
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        limit: Count | None = None,
        root: str | None = None,
        download: bool = True,
        scale: Literal["none", "unit", "symmetric", "standard"] = "unit",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        binarize: Literal["none", "threshold", "static", "stochastic"] = "none",
        augment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, limit, root, download, scale, mean, std, binarize, augment)
        self.part = split
        upper, lower = string.ascii_uppercase, string.ascii_lowercase
        merged = string.digits + upper + "abdefghnqrt"  # lower-case letters that look like their capitals are merged
        self.class_names = tuple(
            {"byclass": string.digits + upper + lower, "letters": lower, "digits": string.digits}.get(
                split, string.digits if split == "mnist" else merged
            )
        )

    def get_file_names(self, part: str) -> tuple[str, str]:
        stem = f"emnist-{self.part}-{part}"
        return f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"

    def get_download_options(self) -> dict[str, Any]:
        return {"split": self.part}

    def _read_split(self, images: Path, labels: Path) -> Split:
        split = super()._read_split(images, labels)
        assert split.y is not None
        first = 1 if self.part == "letters" else 0  # this one counts from 1
        return Split(split.x.transpose(2, 3).contiguous(), split.y - first)
