"""Image datasets that torchvision can fetch: where they are looked for, and what to do where they are not."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from dlx.datasets import files
from dlx.datasets.images.images import Images
from dlx.errors import UsageError
from dlx.types import Count, Fraction


class Downloaded(Images):
    """Base of the datasets that torchvision knows how to fetch.

    Args:
        root: folder that holds the data, as torchvision lays it out; null looks into DLX_DATA, ./data, ~/.cache/dlx.
        download: fetch what is not there.
        shape, classes, outputs, seed, val, test, limit, scale, mean, std, binarize, augment: as in `Images`; the
            data comes with a test split, so that `test` does nothing.
    """

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
        """torchvision's train and test datasets, fetched if need be.

        Args:
            folder: that torchvision puts the data into, below the root.
            make: (root, "train" or "test", download) to torchvision's dataset.

        Raises:
            UsageError: the data is not there, and may not or cannot be fetched.
        """
        files.check_root(self.root)
        root = files.find([folder], self.root) or files.home(self.root)
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
                raise self.missing(folder, error) from error
        return parts

    def missing(self, folder: str, error: BaseException | None = None) -> UsageError:
        """What to tell the user when the data is not there."""
        tried = (
            f"; fetching it into {files.home(self.root)} failed ({' '.join(str(error).split())})"
            if self.download
            else ""
        )
        allow = "" if self.download else "dataset.download=true to fetch it, or "
        return UsageError(
            f"{self.source} was looked for in {files.looked(self.root, folder)} and not found{tried}; type "
            f"{allow}dataset.root=FOLDER (or set DLX_DATA) where FOLDER/{folder} holds the files"
        )
