"""Run every learner of a deep-learning course by one command."""

import os
from typing import Any

from dlx.version import __version__

# OpenMP's threads spin while they wait for each other. Beside another busy process they spin away the very time that
# the one waited for would need: three trainings of LeNet-5 on two cores took 1 s a step, and 0.03 s with threads that
# sleep. OpenMP reads this when torch is imported; what the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


__all__ = ["__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """`dlx.train` and `dlx.load`, imported at their first use: `import dlx` alone takes no time."""
    if name in ("train", "load"):
        from dlx import api

        return getattr(api, name)
    raise AttributeError(f"module 'dlx' has no attribute {name!r}")
