"""AlexNet, the network with which deep learning won ImageNet's challenge of 2012.

A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks. The torchvision
variant is the one-column network of A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
2014, https://arxiv.org/abs/1404.5997.
"""

from collections.abc import Container, Sequence
from typing import Literal

from torch import Tensor, nn

from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.types import Count, Fraction, Positive


def make_response_norm() -> nn.LocalResponseNorm:
    """Make b_i = a_i / (2 + 10⁻⁴ Σ_j a_j²)^0.75, j over the five maps around i (§3.3)."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)  # torch takes the mean of the squares, not the sum


def make_conv_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Make a convolution and the ReLU that follows it."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups), nn.ReLU(inplace=True)


def init_weights(model: nn.Module, ones: Container[int] = ()) -> None:
    """Draw weights from N(0, 0.01²) and set biases to zero, or to one in the layers `ones`, counted from one."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for number, layer in enumerate(layers, start=1):
        weight, bias = layer.parameters()
        nn.init.normal_(weight, std=0.01)
        nn.init.constant_(bias, 1.0 if number in ones else 0.0)


class AlexNet(nn.Module):
    """Five convolutions, three of them followed by a max pooling that overlaps, then three dense layers.

    The torchvision variant has torchvision's parameters and names, so that its weights load (`pretrained=FILE`). The
    paper's has more filters, split into two groups in convolutions 2, 4 and 5 (once the two GPUs), response
    normalization after the first two, and dropout behind the dense layers rather than before them.

    Both average the last maps to 6×6 for the dense layers, which changes nothing at 224×224. The paper says 224 where
    its arithmetic needs 227; padding the first convolution by 2, as here, leads to the same 55×55 maps.

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        variant: see above.
        dropout: part of the dense layers' inputs (outputs, in the paper's variant) that is dropped in training.
        hidden: units of both hidden dense layers.
        initialization: `torch` is torch's own; `paper` begins with weights N(0, 0.01²) and biases of one in
            convolutions 2, 4, 5 and the hidden dense layers, else zero (§5). It belongs to the paper's pixels, within
            ±128: with pixels within [0, 1] the signal fades on its way, and a network that we tried learned nothing.
        width: multiplies the channels and the hidden units of every layer.

    Raises:
        UsageError: not an image, or too small a one.
    """

    accepts = ("image",)
    min_size = 63  # 15, 7, 3 and at last one place

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        variant: Literal["torchvision", "paper"] = "torchvision",
        dropout: Fraction = 0.5,
        hidden: Count = 4096,
        initialization: Literal["torch", "paper"] = "torch",
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        channels, _, _ = check_image_shape(shape, self.min_size, "alexnet")
        paper = variant == "paper"
        groups = 2 if paper else 1
        c1, c2, c3, c4, c5 = (
            scale_channels(maps, width, groups)
            for maps in ((96, 256, 384, 384, 256) if paper else (64, 192, 384, 256, 256))
        )
        units = scale_channels(hidden, width)

        def pooling() -> list[nn.Module]:
            return [*([make_response_norm()] if paper else []), nn.MaxPool2d(3, stride=2)]

        self.features = nn.Sequential(
            *make_conv_relu(channels, c1, 11, stride=4, padding=2),  # (B, c1, 55, 55) from 224×224
            *pooling(),
            *make_conv_relu(c1, c2, 5, padding=2, groups=groups),  # (B, c2, 27, 27)
            *pooling(),
            *make_conv_relu(c2, c3, 3, padding=1),  # (B, c3, 13, 13)
            *make_conv_relu(c3, c4, 3, padding=1, groups=groups),
            *make_conv_relu(c4, c5, 3, padding=1, groups=groups),
            nn.MaxPool2d(3, stride=2),  # (B, c5, 6, 6)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        fc6, fc7, fc8 = nn.Linear(c5 * 6 * 6, units), nn.Linear(units, units), nn.Linear(units, outputs)
        dense = [fc6, nn.ReLU(inplace=True), nn.Dropout(dropout), fc7, nn.ReLU(inplace=True)]
        drop = nn.Dropout(dropout)
        self.classifier = nn.Sequential(*([*dense, drop] if paper else [drop, *dense]), fc8)
        if initialization == "paper":
            init_weights(self, ones=(2, 4, 5, 6, 7))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        output: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return output
