"""The table of named networks is what the networks are."""

import json
import re
from typing import Any

import pytest
import torch

from dlx.cli.families import FAMILIES
from dlx.config.compose import compose
from dlx.errors import UsageError
from dlx.instantiate import build
from dlx.trained.summary import summarise
from tests.conftest import MODELS, ROOT
from tests.verbs import dlx


@pytest.mark.slow
@pytest.mark.parametrize("network", FAMILIES["convolutional"], ids=lambda one: one.model)
def test_numbers_are_the_networks(network):
    classes, channels = (1000 if network.size == 224 else 10), (1 if network.size == 28 else 3)
    shape = f"dataset.shape=[{channels},{network.size},{network.size}]"
    words = [f"model={network.model}", shape, f"dataset.classes={classes}", f"dataset.outputs={classes}"]
    summary = summarise(compose(words))
    assert (summary.parameters, summary.macs) == (network.parameters, network.macs)
    model = build(compose(words), "model").eval()
    assert count_layers(model(torch.randn(1, channels, network.size, network.size)).grad_fn) == network.depth


def count_layers(root: Any) -> int:
    """Count convolutions and dense layers on the longest way back through autograd's graph."""
    longest: dict[Any, int] = {}
    waiting = [root]
    while waiting:
        node = waiting[-1]
        before = [one for one, _ in node.next_functions if one is not None]
        if later := [one for one in before if one not in longest]:
            waiting += later
            continue
        has_weights = type(node).__name__.startswith(("Convolution", "Addmm", "Mm"))
        longest[node] = has_weights + max((longest[one] for one in before), default=0)
        waiting.pop()
    return longest[root]


def test_every_named_network_is_listed():
    folder = "dlx.models.convolutional"
    named = {model for model in MODELS if folder in (ROOT / "conf" / "model" / f"{model}.yaml").read_text()}
    assert {one.model for one in FAMILIES["convolutional"]} == named - {"cnn"}


def test_table_and_json():
    said = dlx("list", "models", "--family", "convolutional")
    assert re.search(r"alexnet +2012 +8 +61,100,840 +714,188,480", said)
    assert len(json.loads(dlx("list", "models", "--family", "convolutional", "--json"))) == 28
    with pytest.raises(UsageError, match="--family convolution was given"):
        dlx("list", "models", "--family", "convolution")
