"""Image datasets that torchvision can download: where they are looked for, and what to do where they are not."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dlx.datasets import files
from dlx.datasets.images.images import Images
from dlx.errors import UsageError
from dlx.types import Count, Fraction


class Downloaded(Images):
    """Base of the datasets that torchvision knows how to download.

    Args:
        root: folder that holds the data, as torchvision lays it out; null looks into DLX_DATA, ./data, ~/.cache/dlx.
        download: fetch what is not there.
        shape, classes, outputs, seed, val, test, limit, scale, mean, std, binarize, augment: as in `Images`; the
            data comes with a test split, so that `test` does nothing.
    """

    folder: str  # that torchvision puts the data into, below the root

    def __init__(
        self,
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
        super().__init__(shape, classes, outputs, seed, val, 0.0, limit, scale, mean, std, binarize, augment)
        self.root, self.download = root, download

    def fetch(self, folder: str, make: Callable[[str, str, bool], Any]) -> dict[str, Any]:
        """Load torchvision's train and test datasets, downloaded if need be.

        Args:
            folder: that torchvision puts the data into, below the root.
            make: (root, "train" or "test", download) → torchvision's dataset.

        Raises:
            UsageError: the data is not there, and may not or cannot be fetched.
        """
        files.check_root(self.root)
        root = files.find_root([folder], self.root) or files.get_download_root(self.root)
        parts = {}
        for name in ("train", "test"):
            try:
                try:
                    parts[name] = make(str(root), name, False)
                except RuntimeError:  # torchvision: not found, or the checksum is wrong
                    if not self.download:
                        raise
                    parts[name] = make(str(root), name, True)
            except (OSError, RuntimeError) as error:
                raise self.make_missing_error(folder, error) from error
        return parts

    def list_files(self) -> list[Path]:
        root = files.find_root([self.folder], self.root)
        return [] if root is None else [root / self.folder]

    def make_missing_error(self, folder: str, error: BaseException | None = None) -> UsageError:
        """Make the error that tells the user that the data is not there."""
        tried = (
            f"; fetching it into {files.get_download_root(self.root)} failed ({' '.join(str(error).split())})"
            if self.download
            else ""
        )
        allow = "" if self.download else "dataset.download=true to fetch it, or "
        return UsageError(
            f"{self.source} was looked for in {files.format_locations(self.root, folder)} and not found{tried}; type "
            f"{allow}dataset.root=FOLDER (or set DLX_DATA) where FOLDER/{folder} holds the files"
        )
