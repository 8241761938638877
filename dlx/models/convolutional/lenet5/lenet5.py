"""LeNet-5, the network that read the digits of bank cheques, in two variants.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of
the IEEE 86, 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf, §II-B.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from dlx.models.convolutional.image import check_image_shape
from dlx.models.convolutional.lenet5.layers import (
    TABLE,
    RadialBasis,
    ScaledTanh,
    SparseConvolution,
    Subsampling,
    init_weights,
)
from dlx.types import Count


class LeNet5(nn.Module):
    """Convolution C1, pooling S2, convolution C3, pooling S4, then dense layers C5, F6 and the output.

    The paper's variant has 60,000 parameters for one channel and ten classes: C3's maps see some of S2's (60 of 96
    connections), pooling has trained coefficients, every layer ends in 1.7159 tanh(2a/3), and the scores are negative
    squared distances of F6 to fixed pictures of the digits, which are no parameters. Their cross-entropy is the
    paper's criterion without its constant, see `RadialBasis`; other numbers of classes than ten get random codes. The
    paper's pixels are -0.1 for paper and 1.175 for ink.

    The modern variant has 61,706: every map of C3 sees all six of S2's, pooling has nothing to train, the output layer
    is dense, and the activation is free.

    Args:
        shape: of one image, (channels, height, width). The paper's images are 32×32, digits in a margin; smaller ones
            get their margin from padding C1 by 2, so that 28×28 leads to the same sizes.
        outputs: number of scores.
        variant: see above.
        activation: relu or tanh; of the modern variant only.
        pooling: max or average, over 2×2 with stride 2; of the modern variant only.

    Raises:
        UsageError: not an image, or one that the layers would shrink to nothing.
    """

    accepts = ("image",)
    min_size = 12  # (12 + 2·2 - 4) / 2 = 6, (6 - 4) / 2 = 1: the last that leaves C5 something to see

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        variant: Literal["modern", "paper"] = "modern",
        activation: Literal["relu", "tanh"] = "relu",
        pooling: Literal["max", "average"] = "max",
    ) -> None:
        super().__init__()
        channels, height, width = check_image_shape(shape, self.min_size, "lenet5")
        padding = 2 if min(height, width) < 32 else 0
        height, width = (((size + 2 * padding - 4) // 2 - 4) // 2 for size in (height, width))
        paper = variant == "paper"
        act = ScaledTanh if paper else {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
        pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        self.features = nn.Sequential(
            OrderedDict(
                c1=nn.Conv2d(channels, 6, 5, padding=padding),  # (B, 6, 28, 28) from 28×28 or 32×32
                c1_act=act(),
                s2=Subsampling(6) if paper else pool(2),  # (B, 6, 14, 14)
                c3=SparseConvolution(TABLE, 5) if paper else nn.Conv2d(6, 16, 5),  # (B, 16, 10, 10)
                c3_act=act(),
                s4=Subsampling(16) if paper else pool(2),  # (B, 16, 5, 5)
            )
        )
        self.classifier = nn.Sequential(
            OrderedDict(
                c5=nn.Linear(16 * height * width, 120),  # a 5×5 convolution over 5×5 maps is a dense layer
                c5_act=act(),
                f6=nn.Linear(120, 84),
                f6_act=act(),
                output=RadialBasis(outputs) if paper else nn.Linear(84, outputs),
            )
        )
        if paper:
            init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        output: Tensor = self.classifier(self.features(x).flatten(1))
        return output
