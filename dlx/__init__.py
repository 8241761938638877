"""Run every learner of a deep-learning course by one command."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """`dlx.train` and `dlx.load`, imported at their first use: `import dlx` alone takes no time."""
    if name in ("train", "load"):
        from dlx import api

        return getattr(api, name)
    raise AttributeError(f"module 'dlx' has no attribute {name!r}")
