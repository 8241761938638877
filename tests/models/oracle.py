"""Keras 3 on torch as an oracle, where it is installed."""

import importlib.util
import os
from typing import Any

import pytest

has_keras = importlib.util.find_spec("keras") is not None


def import_keras() -> Any:
    """Return Keras, computing with torch; skip the test where it is not installed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")
