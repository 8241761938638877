"""Looking at a model without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from dlx.hardware.random_state import get_random_state, set_random_state


@contextmanager
def looking(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients, uncompiled; afterwards modes, compiled calls and random states are as before.

    In evaluation mode batch normalization keeps its statistics, and the methods ask for gradients of inputs and maps
    only, so that no parameter's `grad` changes either.
    """
    modes = {module: module.training for module in model.modules()}
    compiled = {module: call for module in modes if (call := getattr(module, "_compiled_call_impl", None)) is not None}
    state = get_random_state()
    try:
        model.eval()
        for module in compiled:  # hooks would have it compiled anew
            module._compiled_call_impl = None
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode  # each its own: a frozen part may stand in evaluation mode
        for module, call in compiled.items():
            module._compiled_call_impl = call
        set_random_state(state)
