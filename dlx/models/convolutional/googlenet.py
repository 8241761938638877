"""GoogLeNet, or Inception: four sizes of filters beside each other, and auxiliary heads on inner layers.

C. Szegedy et al., "Going deeper with convolutions", 2014, https://arxiv.org/abs/1409.4842, table 1.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from dlx.models.convolutional.alexnet import make_response_norm
from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.models.convolutional.inception import BasicConv2d, Branches
from dlx.models.heads import Heads
from dlx.types import Count, Fraction, Positive

# Table 1: 1×1; 1×1 and 3×3 after it; 1×1 and 5×5 after it; 1×1 after pooling.
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(nn.Module):
    """Three convolutions, nine Inception modules, the mean of each map and a dense layer.

    The torchvision variant has torchvision's parameters, names and initial weights, so that its weights load
    (`pretrained=FILE`): batch normalization after each convolution, and 3×3 filters where the paper has 5×5. The
    paper's variant has the 5×5 filters, biases, and response normalization after the first pooling and the third
    convolution. The paper gives neither that one's constants, AlexNet's here, nor the initial weights, He's here.

    The mean over maps of any size takes the place of the paper's 7×7 pooling. Auxiliary heads average their maps to
    4×4, in the paper's variant by its 5×5 windows, three apart, where the maps are the paper's 14×14.

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        variant: see above.
        auxiliary: whether two heads on modules 4a and 4d help in training; their losses count 0.3 each (§5).
        dropout: part of the mean maps that is dropped in training; null is the variant's own, 0.2 in torchvision's
            and 0.4 in the paper's.
        auxiliary_dropout: the same of each auxiliary head's hidden layer.
        width: multiplies the channels and the hidden units of every layer.

    Raises:
        UsageError: not an image, or too small a one.
    """

    accepts = ("image",)
    min_size = 15  # 8, 4, 2 and 1 place; the paper's last pooling, over 3×3 rather than 2×2, needs two: 31

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        variant: Literal["torchvision", "paper"] = "torchvision",
        auxiliary: bool = False,
        dropout: Fraction | None = None,
        auxiliary_dropout: Fraction = 0.7,
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        self.paper, self.width = variant == "paper", width
        inputs, _, _ = check_image_shape(shape, 31 if self.paper else self.min_size, "googlenet")
        if dropout is None:
            dropout = 0.4 if self.paper else 0.2
        convolution = partial(BasicConv2d, normalize=not self.paper)
        c1, c2, c3 = scale_channels(64, width), scale_channels(64, width), scale_channels(192, width)
        self.conv1 = convolution(inputs, c1, 7, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm1 = make_response_norm() if self.paper else nn.Identity()
        self.conv2 = convolution(c1, c2, 1)
        self.conv3 = convolution(c2, c3, 3)
        self.norm2 = make_response_norm() if self.paper else nn.Identity()
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)

        self.channels = c3
        self.inception3a, self.inception3b = self._make_inception("3a"), self._make_inception("3b")
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = self._make_inception("4a")
        head = partial(Head, outputs=outputs, paper=self.paper, dropout=auxiliary_dropout, width=width)
        self.aux1 = head(self.channels) if auxiliary else None
        self.inception4b, self.inception4c = self._make_inception("4b"), self._make_inception("4c")
        self.inception4d = self._make_inception("4d")
        self.aux2 = head(self.channels) if auxiliary else None
        self.inception4e = self._make_inception("4e")
        self.maxpool4 = nn.MaxPool2d(3 if self.paper else 2, stride=2, ceil_mode=True)
        self.inception5a, self.inception5b = self._make_inception("5a"), self._make_inception("5b")
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.channels, outputs)
        self._init_weights()

    def _make_inception(self, name: str) -> Branches:
        one, three_before, three, five_before, five, after_pool = (
            scale_channels(maps, self.width) for maps in TABLE[name]
        )
        convolution = partial(BasicConv2d, normalize=not self.paper)
        C, self.channels = self.channels, one + three + five + after_pool
        return Branches(
            branch1=convolution(C, one, 1),
            branch2=nn.Sequential(convolution(C, three_before, 1), convolution(three_before, three, 3)),
            branch3=nn.Sequential(
                convolution(C, five_before, 1), convolution(five_before, five, 5 if self.paper else 3)
            ),
            branch4=nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), convolution(C, after_pool, 1)),
        )

    def _init_weights(self) -> None:
        for module in self.modules():
            if not isinstance(module, nn.Conv2d | nn.Linear):
                continue
            if self.paper:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.trunc_normal_(module.weight, std=0.01)
            if self.paper and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor | Heads:
        """Return scores (batch, outputs) of x (batch, *shape); in training mode with those of the auxiliary heads."""
        x = self.norm1(self.maxpool1(self.conv1(x)))  # (B, 64, H/4, W/4)
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))  # (B, 192, H/8, W/8)
        x = self.maxpool3(self.inception3b(self.inception3a(x)))  # (B, 480, H/16, W/16)
        a = self.inception4a(x)
        d = self.inception4d(self.inception4c(self.inception4b(a)))
        x = self.maxpool4(self.inception4e(d))  # (B, 832, H/32, W/32)
        x = self.inception5b(self.inception5a(x))
        scores = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return Heads(scores, (self.aux1(a), self.aux2(d)), 0.3)
        return cast(Tensor | Heads, scores)


class Head(nn.Module):
    """An auxiliary classifier: pooling to 4×4, 1×1 convolution, a dense layer, dropout and the scores (§5)."""

    def __init__(self, inputs: int, outputs: int, paper: bool, dropout: float, width: float) -> None:
        super().__init__()
        maps, units = scale_channels(128, width), scale_channels(1024, width)
        self.paper = paper
        self.conv = BasicConv2d(inputs, maps, 1, normalize=not paper)
        self.fc1 = nn.Linear(maps * 4 * 4, units)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (B, outputs) of maps x (B, inputs, H, W)."""
        windows = self.paper and x.shape[2:] == (14, 14)
        x = F.avg_pool2d(x, 5, stride=3) if windows else F.adaptive_avg_pool2d(x, 4)
        output: Tensor = self.fc2(self.dropout(self.relu(self.fc1(self.conv(x).flatten(1)))))
        return output
