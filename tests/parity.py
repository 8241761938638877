"""Shared by the tests of large networks: equality with a reference, and counts, without memory for weights."""

import torch
from torch import Tensor, nn

from dlx.trained.summary import Summary, trace

PHOTO = (3, 224, 224)


def shapes(make) -> dict[str, torch.Size]:
    """Names and shapes of what `make()` keeps in its state dict."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in make().state_dict().items()}


def summary(make, shape=PHOTO) -> Summary:
    """Parameters and multiply-adds of `make()` for one image."""
    with torch.device("meta"):
        return trace(make().eval(), torch.zeros(1, *shape))


def assert_same_logits(ours, theirs, x: Tensor) -> None:
    """Both, given the same random weights (strictly, by name), give the same scores to 1e-5.

    Args:
        ours, theirs: make the two networks.
        x: images, (B, C, H, W).
    """
    with torch.device("meta"):
        one, two = ours(), theirs()
    weights = _random(two.state_dict())
    two.load_state_dict(weights, assign=True)  # both look at the same memory
    one.load_state_dict(weights, assign=True)
    with torch.no_grad():
        found, expected = one.eval()(x), two.eval()(x)
    assert expected.std() > 0.1, "scores that are worth comparing"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def _random(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that keep the signal's size, and a batch normalization that changes it: an order swapped would show."""
    torch.manual_seed(0)
    made = {}
    for name, tensor in state.items():
        if tensor.dtype == torch.int64:
            made[name] = torch.zeros(tensor.shape, dtype=torch.int64)
        elif tensor.dim() > 1:
            made[name] = torch.randn(tensor.shape) * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            made[name] = torch.rand(tensor.shape) + 0.5
        else:
            made[name] = torch.randn(tensor.shape) * 0.1
    return made


def imgclsmob(model: nn.Module, x: Tensor) -> float:
    """FLOPs / 2 as https://github.com/osmr/imgclsmob counts them, by whom some figures are published.

    They are the multiply-adds, and a half of: an operation for each rectification, four for each normalization of a
    batch, one for each pixel that a pooling looks at; less one for every pair of channels without a bias.
    """
    flops = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flops
        flops += _flops(module, inputs[0], output)

    hooks = [module.register_forward_hook(count) for module in model.modules() if not list(module.children())]
    model.eval()(x)
    for hook in hooks:
        hook.remove()
    return flops / 2


def _flops(module: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        products = 2 * module.weight[0].numel() * output[0].numel()
        return products - (0 if module.bias is not None else module.weight.shape[:2].numel())
    if isinstance(module, nn.Linear):
        return 2 * module.weight.numel()
    if isinstance(module, nn.ReLU | nn.BatchNorm2d):
        return x.numel() * (4 if isinstance(module, nn.BatchNorm2d) else 1)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return output.numel() * module.kernel_size**2
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return x.numel() if output.shape != x.shape else 0
    return 0
