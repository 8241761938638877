"""The table of named networks is what the networks are."""

import json
import re

import pytest

from dlx.cli.families import FAMILIES
from dlx.config.compose import compose
from dlx.errors import UsageError
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
    weighted = sum(layer.type in ("Conv2d", "Linear") for layer in summary.layers)
    chain = not re.search("googlenet|inception|resnet", network.model) or network.model in ("resnet20", "resnet110")
    assert network.depth == weighted if chain else network.depth <= weighted


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
