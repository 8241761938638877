"""Helpers of the convolutional networks: check an image's shape, scale numbers of channels."""

from collections.abc import Sequence

from dlx.errors import UsageError


def check_image_shape(shape: Sequence[int], least: int, model: str) -> tuple[int, int, int]:
    """Check that examples are large enough images, and return channels, height and width.

    Args:
        shape: of one example.
        least: smallest side, in pixels, that leaves the last layer at least one position.
        model: its name in the configuration.

    Raises:
        UsageError: not an image, or too small a one.
    """
    if len(shape) != 3 or min(shape[1:]) < least:
        enlarged = next((size for size in (28, 32, 64, 96) if size >= least), None)
        example = f", or dataset=digits{enlarged} for digits that need no download" if enlarged else ""
        raise UsageError(
            f"model={model} was given examples of shape {list(shape)}; needed: images of at least {least}×{least}, "
            f"[channels, height, width]; type dataset=image_folder dataset.size={max(least, 32)}{example}"
        )
    channels, height, width = shape
    return channels, height, width


def scale_channels(channels: int, width: float, multiple: int = 1) -> int:
    """Multiply channels by a width multiplier (A. G. Howard et al. 2017, https://arxiv.org/abs/1704.04861, §3.3).

    Args:
        channels: of the paper's layer.
        width: the multiplier; 1 leaves the paper's number.
        multiple: what the result must be divisible by, for grouped convolutions.
    """
    return max(multiple, round(channels * width / multiple) * multiple)
