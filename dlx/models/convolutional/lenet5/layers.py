"""Layers of LeNet-5 of 1998 that later networks dropped: §II-B, appendix A and figure 3 of the paper.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of
the IEEE 86, 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Table I: for each of C3's sixteen maps, the maps of S2 that it sees; 60 of 96.
TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# The digits on grids of 12 rows and 7 columns, in the manner of figure 3; ours, drawn anew.
DIGITS = """
..###.. ...#... .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..##... ##...## ##...## ...###. ##..... .##.... ##...## ##...## ##...##
##...## .###... ##...## .....## ..#.##. ##..... ##..... .....## ##...## ##...##
##...## ...#... .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ...#... .....## ....##. .#..##. ##..... ##..... ....##. .##.##. ##...##
##...## ...#... ....##. ..###.. ##..##. ######. ######. ...##.. ..###.. .######
##...## ...#... ...##.. ....##. ####### .....## ##...## ...##.. .##.##. ..##.##
##...## ...#... ..##... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...#... .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...#... ##..... ##...## ....##. ##...## ##...## ..##... ##...## .....##
.##.##. ...#... ##..... ##...## ....##. ##...## .##.##. .##.... ##...## ....##.
..###.. .#####. ####### .#####. ....##. .#####. ..###.. .##.... .#####. .####..
"""


def make_codes(outputs: int) -> Tensor:
    """Make the ±1 codes that F6 learns to show, (outputs, 84).

    Ten outputs have the pictures of their digits; any other number has rows of fair coins from a fixed seed, which
    differ from each other in about half their places.
    """
    if outputs != 10:
        coins = torch.randint(2, (outputs, 84), generator=torch.Generator("cpu").manual_seed(1998), device="cpu")
        return coins.float() * 2 - 1
    rows = [line.split() for line in DIGITS.split("\n") if line]
    digits = ["".join(row[digit] for row in rows) for digit in range(10)]
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in picture] for picture in digits], device="cpu")


def squash(a: Tensor) -> Tensor:
    """Compute f(a) = 1.7159 tanh(2a/3), by which f(±1) = ±1, where it bends most (appendix A)."""
    return 1.7159 * torch.tanh(a * (2 / 3))


class ScaledTanh(nn.Module):
    """`squash` as a layer."""

    def forward(self, a: Tensor) -> Tensor:
        return squash(a)


class Subsampling(nn.Module):
    """f(w_m Σ x + b_m), the sum over the 2×2 pixels of a place, with one coefficient and one bias a map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(maps))
        self.bias = nn.Parameter(torch.empty(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, maps, H/2, W/2) of x (B, maps, H, W)."""
        total = 4 * F.avg_pool2d(x, 2)
        return squash(self.weight[:, None, None] * total + self.bias[:, None, None])


class SparseConvolution(nn.Module):
    """A convolution without padding of which each map sees some of the maps below.

    It is computed as a dense one with zeros for the missing kernels, which takes more multiply-adds and less time.

    Args:
        table: for each map of the result, those that it sees.
        kernel: side of each kernel; there is one for every connection.
    """

    places: Tensor

    def __init__(self, table: tuple[tuple[int, ...], ...], kernel: int) -> None:
        super().__init__()
        self.maps, self.inputs = len(table), 1 + max(map(max, table))
        self.seen = [len(seen) for seen in table]
        places = [self.inputs * above + below for above, seen in enumerate(table) for below in seen]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(places), kernel, kernel))
        self.bias = nn.Parameter(torch.empty(self.maps))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, maps, H - kernel + 1, W - kernel + 1) of x (B, inputs, H, W)."""
        dense = self.weight.new_zeros(self.maps * self.inputs, *self.weight.shape[1:])
        weight = dense.index_copy(0, self.places, self.weight)  # where there is no connection, zeros that stay
        return F.conv2d(x, weight.unflatten(0, (self.maps, self.inputs)), self.bias)


class RadialBasis(nn.Module):
    """Scores -y_i = -Σ_j (x_j - w_ij)², the w_i being fixed codes of ±1: the nearest code has the largest score.

    The cross-entropy of these scores is y_d + log Σ_i e^{-y_i}, the paper's criterion (Eq. 9) without its constant
    e^{-j} beside the sum, which kept classes that are far off already from being pushed farther.
    """

    codes: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.empty(outputs, 84))
        self.codes.copy_(make_codes(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (B, outputs) of x (B, 84)."""
        # |x - w|² = |x|² - 2 w·x + |w|², and every |w|² is 84.
        return 2 * F.linear(x, self.codes) - x.square().sum(1, keepdim=True) - self.codes.shape[1]


def init_weights(model: nn.Module) -> None:
    """Draw weights and biases uniform within ±2.4 / fan-in, the number of inputs of the unit (appendix A)."""
    for module in model.modules():
        if isinstance(module, SparseConvolution):
            for kernels, bias in zip(module.weight.split(module.seen), module.bias.split(1), strict=True):
                _init_uniform(kernels.numel(), kernels, bias)
        elif isinstance(module, Subsampling):
            _init_uniform(4, *module.parameters())
        elif isinstance(module, nn.Conv2d | nn.Linear):
            _init_uniform(module.weight[0].numel(), *module.parameters())


@torch.no_grad()
def _init_uniform(fan_in: int, *tensors: Tensor) -> None:
    for tensor in tensors:
        tensor.uniform_(-2.4 / fan_in, 2.4 / fan_in)
