"""Building blocks of the Inception networks: convolutions with normalization and ReLU, and parallel branches."""

import torch
from torch import Tensor, nn


class BasicConv2d(nn.Module):
    """A convolution, batch normalization and ReLU; without normalization, a convolution with a bias.

    Args:
        inputs, outputs: channels.
        kernel: side of the kernel, or (height, width).
        stride: of the kernel's steps.
        padding: zeros around the maps, as `kernel`; None keeps the size but for the stride.
        normalize: see above.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        if padding is None:
            padding = (height // 2, width // 2)
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=not normalize)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001) if normalize else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H', W') of x (B, inputs, H, W)."""
        output: Tensor = self.relu(self.bn(self.conv(x)))
        return output


class Branches(nn.Module):
    """Parallel branches of x; their maps are concatenated in order.

    Args:
        branches: by name; their results must be of one height and width.
    """

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, the sum of the branches' channels, H', W') of x (B, C, H, W)."""
        return torch.cat([branch(x) for branch in self.children()], 1)
