"""Every optional capability of a model is a Protocol of dlx.models.interfaces, and is asked for through it."""

import ast
import inspect
import typing

import pytest
from torch import nn

from dlx.config.compose import compose
from dlx.models import interfaces
from dlx.parts import assemble
from tests.conftest import MODELS, ROOT, small

CAPABILITIES = {
    name: found
    for name, found in vars(interfaces).items()
    if inspect.isclass(found) and interfaces.Capability in found.__mro__[1:]
}
# A few whole rows, so that a capability is neither lost nor come by unseen.
ROWS = {
    "Adversaries": {"dcgan", "gan", "wgan_gp"},
    "Recalling": {"hopfield", "modern_hopfield"},
    "Storing": {"hopfield", "modern_hopfield"},
    "CapacityTheory": {"hopfield"},
    "Traceable": {"ntm"},
    "Complete": {"hmm_tagger"},
    "LearnsFromLabels": {"hmm_classifier", "hmm_tagger"},
    "WakeSleepModel": {"dbn", "helmholtz"},
    "DeepEnergyModel": {"dbm"},
    "EnergyModel": {"rbm"},
    "UnrolledModules": {"dbm"},
    "StateGradientModel": {"bigru", "bilstm", "birnn", "elman", "gru", "jordan", "lstm", "ntm"},
    "PartitionFunction": {"dbm", "dbn", "rbm"},
}
PARTS = ("Penalized", "Constrained")  # asked of every module of a model
# Probes of a model by name that are left, and why.
LEFT = {
    # Layers below the models, which may not import them.
    "dlx/datasets/images/input_range.py": {"signs", "intensities", "emission", "visible_kind"},
    "dlx/distributed/gradients.py": {"prepare"},
}


@pytest.fixture(scope="module")
def table():
    """Which models have each capability, by its name: themselves, or by one of their modules."""
    able = {name: set() for name in CAPABILITIES}
    for name in MODELS:
        config = compose(["trainer.device=cpu", f"model={name}", *small(name), "dataset.limit=64", "trainer.batch=8"])
        modules = list(assemble(config).model.modules())
        for capability, protocol in CAPABILITIES.items():
            if any(isinstance(module, protocol) for module in (modules if capability in PARTS else modules[:1])):
                able[capability].add(name)
    return able


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_capability_is_some_models_and_not_all(table, capability):
    assert table[capability], f"no model has {capability}: nothing uses it, or it is misspelt"
    assert table[capability] != set(MODELS), f"every model has {capability}: it is no option"
    if capability in ROWS:
        assert table[capability] == ROWS[capability]


def test_a_submodule_is_a_capability_too():
    net = nn.Module()
    net.encode = nn.Linear(2, 2)
    assert isinstance(net, interfaces.Encoder)
    net.decode = 3
    assert not isinstance(net, interfaces.Decoder), "what cannot be called is no method"
    assert not isinstance(net, interfaces.Reconstructor)


def test_flags_count_when_they_are_none():
    net = nn.Module()
    assert not isinstance(net, interfaces.Centred)
    net.centres = None
    assert isinstance(net, interfaces.Centred), "there is an attribute, and its value says that there are none"


def test_a_class_that_inherits_a_protocol_is_asked_by_name():
    class Mine(nn.Module, interfaces.Encoder):
        def encode(self, x):
            return x

    class Other(nn.Module):
        encode = Mine.encode

    assert isinstance(Mine(), Mine)
    assert isinstance(Other(), interfaces.Encoder)
    assert not isinstance(Other(), Mine)


def test_members_are_those_of_all_bases():
    assert dict(interfaces._members(interfaces.NextStep)) == {
        "steps": True, "bidirectional": False, "shape": False, "symbols": False, "outputs": False
    }  # fmt: skip


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_each_has_docstrings_that_tell_its_users(capability):
    protocol = CAPABILITIES[capability]
    assert protocol.__doc__
    for name, is_method in interfaces._members(protocol):
        assert not is_method or inspect.getdoc(getattr(protocol, name)), f"{capability}.{name} is not described"
    assert isinstance(typing.get_type_hints(protocol, {"Bipartite": object}), dict)


def probes(path):
    """Names by which a file asks a model for a capability: getattr(model, "name"), hasattr(self.model, "name")."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1):
            continue
        asked, name = node.args[:2]
        if node.func.id in ("getattr", "hasattr") and isinstance(name, ast.Constant):
            last = asked.attr if isinstance(asked, ast.Attribute) else asked.id if isinstance(asked, ast.Name) else ""
            if last in ("model", "net", "network", "chain", "game"):
                yield name.value


def test_no_model_is_asked_by_getattr():
    assert not [*probes(ROOT / "dlx" / "models" / "interfaces.py")]
    found = {}
    for path in sorted((ROOT / "dlx").rglob("*.py")):
        if names := set(probes(path)):
            found[path.relative_to(ROOT).as_posix()] = names
    assert found == LEFT, "ask isinstance(model, …) with a Protocol of dlx.models.interfaces"


def test_the_page_imports_nothing_that_it_describes():
    tree = ast.parse((ROOT / "dlx" / "models" / "interfaces.py").read_text(encoding="utf-8"))
    modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert modules == {"collections.abc", "functools", "typing", "torch", "dlx.batch"}
