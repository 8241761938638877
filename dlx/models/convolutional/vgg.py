"""VGG, deep networks of nothing but 3×3 convolutions.

K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
https://arxiv.org/abs/1409.1556, table 1.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.types import Count, Fraction, Positive

# Convolutions in each of the five stages: configurations A, B, D and E.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3×3 convolutions, each ended by a 2×2 max pooling, then three dense layers.

    Parameters, names and initial weights are torchvision's, so that its weights load (`pretrained=FILE`). The last maps
    are averaged to 7×7 for the dense layers, which changes nothing at 224×224.

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        depth: layers with weights, as the paper counts them: 11 is its configuration A, 13 B, 16 D and 19 E.
        batch_norm: normalize after each convolution (torchvision's vgg11_bn …; the paper has none).
        head: `dense` is the paper's, nine tenths of VGG-16's parameters; `none` puts the mean of each map and one
            dense layer in its place.
        dropout: part of the hidden dense layers' outputs that is dropped in training; without them, of the means.
        hidden: units of both hidden dense layers.
        width: multiplies the channels and the hidden units of every layer.

    Raises:
        UsageError: not an image, or too small a one.
    """

    accepts = ("image",)
    min_size = 32  # halved five times

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        depth: Literal[11, 13, 16, 19] = 16,
        batch_norm: bool = False,
        head: Literal["dense", "none"] = "dense",
        dropout: Fraction = 0.5,
        hidden: Count = 4096,
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        inputs, _, _ = check_image_shape(shape, self.min_size, f"vgg{depth}")
        layers: list[nn.Module] = []
        for convolutions, maps in zip(STAGES[depth], CHANNELS, strict=True):
            channels = scale_channels(maps, width)
            for before, after in pairwise([inputs] + [channels] * convolutions):
                layers.append(nn.Conv2d(before, after, 3, padding=1))
                layers.extend([nn.BatchNorm2d(after)] if batch_norm else [])
                layers.append(nn.ReLU(inplace=True))
            layers.append(nn.MaxPool2d(2))
            inputs = channels
        self.features = nn.Sequential(*layers)  # (B, 512, H/32, W/32)
        units = scale_channels(hidden, width)
        if head == "dense":
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(
                *(nn.Linear(inputs * 7 * 7, units), nn.ReLU(inplace=True), nn.Dropout(dropout)),
                *(nn.Linear(units, units), nn.ReLU(inplace=True), nn.Dropout(dropout)),
                nn.Linear(units, outputs),
            )
        else:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, outputs))
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                weight, bias = module.parameters()
                nn.init.zeros_(bias)
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
                else:
                    nn.init.normal_(weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        output: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return output
