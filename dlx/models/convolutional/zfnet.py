"""ZFNet, AlexNet mended by looking at what its layers see.

M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", 2013, https://arxiv.org/abs/1311.2901,
figure 3.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from dlx.models.convolutional.alexnet import init_weights, make_conv_relu, make_response_norm
from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.types import Count, Fraction, Positive


class ZFNet(nn.Module):
    """AlexNet's layers with smaller filters and strides in the first two, and without groups.

    Pooling rounds up, as figure 3's 110 → 55 → 26 → 13 → 6 asks for. The last maps are averaged to 6×6 for the dense
    layers, which changes nothing at 224×224. Of contrast normalization across maps the paper gives no constants; here
    it is AlexNet's. Its renormalization of filters whose root mean square exceeds 0.1 is left out: it belongs to pixels
    within ±128, where 0.1 is far from what filters grow to with pixels within [0, 1].

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        dropout: part of the hidden dense layers' outputs that is dropped in training.
        hidden: units of both hidden dense layers.
        initialization: `torch` is torch's own; `paper` begins with weights N(0, 0.01²) and zero biases (§3 says "10⁻²",
            which cannot mean that all are equal), and needs its pixels too, see `AlexNet`.
        width: multiplies the channels and the hidden units of every layer.

    Raises:
        UsageError: not an image, or too small a one.
    """

    accepts = ("image",)
    min_size = 47  # 22, 11, 4, 2 and at last one place

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        dropout: Fraction = 0.5,
        hidden: Count = 4096,
        initialization: Literal["torch", "paper"] = "torch",
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        channels, _, _ = check_image_shape(shape, self.min_size, "zfnet")
        c1, c2, c3, c4, c5 = (scale_channels(maps, width) for maps in (96, 256, 384, 384, 256))
        units = scale_channels(hidden, width)
        self.features = nn.Sequential(
            *make_conv_relu(channels, c1, 7, stride=2, padding=1),  # (B, 96, 110, 110) from 224×224
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            make_response_norm(),
            *make_conv_relu(c1, c2, 5, stride=2),  # (B, 256, 26, 26)
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            make_response_norm(),
            *make_conv_relu(c2, c3, 3, padding=1),  # (B, 384, 13, 13)
            *make_conv_relu(c3, c4, 3, padding=1),
            *make_conv_relu(c4, c5, 3, padding=1),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (B, 256, 6, 6)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Linear(c5 * 6 * 6, units), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            *(nn.Linear(units, units), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            nn.Linear(units, outputs),
        )
        if initialization == "paper":
            init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        output: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return output
