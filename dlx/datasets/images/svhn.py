"""Street View House Numbers, through torchvision."""

import string
from pathlib import Path

import torch

from dlx.datasets import files
from dlx.datasets.images.downloaded import Downloaded
from dlx.datasets.splits import Split, Stream


class Svhn(Downloaded):
    """99,289 house numbers of 32×32 pixels. Y. Netzer et al., 2011, http://ufldl.stanford.edu/housenumbers."""

    folder = "svhn"

    def list_files(self) -> list[Path]:
        loose = files.find_root(["train_32x32.mat"], self.root)
        if loose is None:
            return super().list_files()
        return [loose / f"{part}_32x32.mat" for part in ("train", "test")]

    def read(self) -> dict[str, Split | Stream]:
        from torchvision.datasets import SVHN

        files.check_root(self.root)
        # torchvision leaves the files in the root itself; what we fetch goes to a folder, as all the others do.
        loose = files.find_root(["train_32x32.mat"], self.root)
        parts = self.fetch(
            "svhn", lambda root, name, download: SVHN(str(loose or Path(root) / "svhn"), split=name, download=download)
        )
        self.names = list(string.digits)
        return {name: Split(torch.from_numpy(part.data), torch.from_numpy(part.labels)) for name, part in parts.items()}
