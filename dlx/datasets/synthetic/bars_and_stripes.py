"""Bars and stripes: every image of a small known distribution."""

from collections.abc import Sequence

import torch

from dlx.datasets.images.images import Images
from dlx.datasets.splits import Split, Stream
from dlx.types import Count


class BarsAndStripes(Images):
    """Every binary image of size×size pixels whose rows are all alike (bars) or whose columns are (stripes).

    D. J. C. MacKay, "Information Theory, Inference, and Learning Algorithms", 2003. There are 2^(size+1) - 2 of
    them and all are equally likely, so the best log-likelihood is -log of that number. The three splits are the same:
    they are the whole distribution, and nothing is left to generalise to.

    Args:
        size: pixels of each side.
        shape, classes, outputs, seed: as in `Dataset`.
    """

    levels = 1.0

    def __init__(
        self,
        size: Count = 4,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(shape, classes, outputs, seed)
        self.size = size

    def read(self) -> dict[str, Split | Stream]:
        n = self.size
        codes = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1  # (2^n, n), every choice of lines
        stripes = codes[:, :, None].expand(-1, n, n)
        bars = codes[1:-1, None, :].expand(-1, n, n)  # all black and all white are among the stripes already
        x = torch.cat([stripes, bars])[:, None].to(torch.uint8)
        return {name: Split(x.clone()) for name in ("train", "val", "test")}
