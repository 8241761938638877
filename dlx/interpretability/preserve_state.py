"""Run a model for interpretation without changing its state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from dlx.hardware.random_state import get_random_state, set_random_state


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, uncompiled and with gradients; restore modes, compiled calls and random states.

    In evaluation mode batch normalization keeps its statistics, and the methods take gradients of inputs and maps only,
    so that no parameter's `grad` changes either.
    """
    modes = {module: module.training for module in model.modules()}
    compiled = {module: call for module in modes if (call := getattr(module, "_compiled_call_impl", None)) is not None}
    state = get_random_state()
    try:
        model.eval()
        for module in compiled:  # hooks would cause recompilation
            module._compiled_call_impl = None
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode  # each its own: a frozen part may be in evaluation mode
        for module, call in compiled.items():
            module._compiled_call_impl = call
        set_random_state(state)
