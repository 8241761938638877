"""LeNet-5, the network that read the digits of bank cheques.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of
the IEEE 86, 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf, §II-B.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from dlx.models.convolutional.image import image
from dlx.types import Count


class LeNet5(nn.Module):
    """Convolution C1, pooling S2, convolution C3, pooling S4, then dense layers C5, F6 and the output.

    The modern variant, 61,706 parameters for one channel and ten classes. Where it differs from the paper: every map of
    C3 sees all six of S2's (the paper connects 60 of 96), pooling has no trained coefficients, the output layer is
    dense (the paper's are radial basis functions), and the activation is free. `activation=tanh pooling=average` is
    the nearest to the paper.

    Args:
        shape: of one image, (channels, height, width). The paper's images are 32×32, digits in a margin; smaller ones
            get their margin from padding C1 by 2, so that 28×28 leads to the same sizes.
        outputs: number of scores.
        activation: relu or tanh.
        pooling: max or average, over 2×2 with stride 2.

    Raises:
        UsageError: not an image, or one that the layers would shrink to nothing.
    """

    accepts = ("image",)
    min_size = 12  # (12 + 2·2 - 4) / 2 = 6, (6 - 4) / 2 = 1: the last that leaves C5 something to see

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        activation: Literal["relu", "tanh"] = "relu",
        pooling: Literal["max", "average"] = "max",
    ) -> None:
        super().__init__()
        channels, height, width = image(shape, self.min_size, "lenet5")
        padding = 2 if min(height, width) < 32 else 0
        height, width = (((size + 2 * padding - 4) // 2 - 4) // 2 for size in (height, width))
        act = nn.ReLU if activation == "relu" else nn.Tanh
        pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        self.features = nn.Sequential(
            OrderedDict(
                c1=nn.Conv2d(channels, 6, 5, padding=padding),  # (B, 6, 28, 28) from 28×28 or 32×32
                c1_act=act(),
                s2=pool(2),  # (B, 6, 14, 14)
                c3=nn.Conv2d(6, 16, 5),  # (B, 16, 10, 10)
                c3_act=act(),
                s4=pool(2),  # (B, 16, 5, 5)
            )
        )
        self.classifier = nn.Sequential(
            OrderedDict(
                c5=nn.Linear(16 * height * width, 120),  # a 5×5 convolution over 5×5 maps is a dense layer
                c5_act=act(),
                f6=nn.Linear(120, 84),
                f6_act=act(),
                output=nn.Linear(84, outputs),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, outputs) of x (batch, *shape)."""
        return self.classifier(self.features(x).flatten(1))
