"""Signatures read from source text, against Python's own account of the imported classes."""

import inspect
import subprocess
import sys

import pytest
import yaml
from hydra.utils import get_object

from dlx.config.static.constructor_checks import find_failed_checks
from dlx.config.static.signature import UNKNOWN, read_signature
from dlx.config.static.source import NotFound
from dlx.sweeps.plugins import PLUGINS
from tests.conftest import ROOT


def targets(node):
    """Every `_target_` in a configuration."""
    if isinstance(node, dict):
        yield from [node["_target_"]] if "_target_" in node else []
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from targets(value)


HYDRAS = {f"hydra_plugins.dlx.{name}" for name in PLUGINS}  # names that dlx.sweeps.plugins gives meaning to
FILES = (ROOT / "conf").rglob("*.yaml")
CONFIGURED = sorted({t for f in FILES for t in targets(yaml.safe_load(f.read_text()))} - HYDRAS)
OTHERS = ["torch.nn.Linear", "torch.nn.CrossEntropyLoss", "sklearn.svm.SVC", "sklearn.ensemble.RandomForestClassifier"]


@pytest.mark.parametrize("target", [*CONFIGURED, *OTHERS])
def test_agrees_with_inspect(target):
    found, truth = read_signature(target), inspect.signature(get_object(target)).parameters
    named = {
        name: parameter
        for name, parameter in truth.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY)
    }
    is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in truth.values())
    if not is_open:  # else further ones were found behind **kwargs
        assert list(found.parameters) == list(named)
        assert not found.is_open
    for name, parameter in named.items():
        assert found.parameters[name].required is (parameter.default is parameter.empty)
        default = found.parameters[name].default
        assert default is UNKNOWN or parameter.default is parameter.empty or default == parameter.default
        source = found.parameters[name].file.read_text().splitlines()
        assert name in source[found.parameters[name].line - 1]
    assert target.rpartition(".")[2] in found.file.read_text().splitlines()[found.line - 1]


@pytest.mark.parametrize("target", CONFIGURED)
def test_class_attributes_agree(target):
    cls = get_object(target)
    for name, value in read_signature(target).attributes.items():
        if name in ("kind", "accepts", "needs", "monitor", "mode", "min_size"):
            assert getattr(cls, name) == value


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write modules into a directory on the path; `mine.py` raises when it is imported."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(text, name="mine"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"raise RuntimeError('imported')\n{text}" if name == "mine" else text)
        return file

    return make


KINDS = """
from typing import Any, Literal, Optional, Union, Sequence, Mapping
from pathlib import Path
from dlx.types import Count, Natural, Positive, NonNegative, Probability, Fraction
Small = Annotated[int, Range(0, 3)]
Alias = Small | None
class Net:
    def __init__(self, value: {annotation}): ...
"""


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [3, -1], [True, 3.0, "3", None, [3]]),
        ("float", [3, 0.5], [True, "x", None]),
        ("bool", [True], [1, "true"]),
        ("str", ["x"], [1, None, True]),
        ("'int | None'", [1, None], ["x"]),
        ("Optional[float]", [1.5, None], ["x"]),
        ("Union[int, str]", [1, "x"], [1.5]),
        ("Literal['a', 2, None]", ["a", 2, None], ["b", "2", True]),
        ("list[int]", [[1], []], [1, ["x"], "1"]),
        ("Sequence[Literal['a']]", [["a", "a"]], [["b"], "a"]),
        ("tuple[int, ...]", [[1, 2, 3]], [[1.5]]),
        ("tuple[int, str]", [[1, "x"]], [[1], ["x", 1]]),
        ("dict[str, float]", [{"a": 1.5}], [{"a": "x"}, 3]),
        ("Mapping[str, Any]", [{}], [[]]),
        ("str | Path", ["x"], [1]),
        ("float | Tensor", [1.0], ["x"]),
        ("Count", [1], [0, 1.5]),
        ("Natural", [0], [-1]),
        ("Positive", [0.1, 3], [0, -1.0, float("nan")]),
        ("NonNegative", [0], [-0.1]),
        ("Probability", [0, 1], [1.1]),
        ("Fraction", [0, 0.9], [1.0]),
        ("Count | Literal['full']", [1, "full"], [0, "half"]),
        ("Alias", [0, 3, None], [4]),
        ("Callable[[int], Net]", ["anything", 3], []),
        ("Unknown", ["anything", 3], []),
    ],
)
def test_annotations(write, annotation, good, bad):
    write("from typing import Annotated\nfrom dlx.types import Range\n" + KINDS.format(annotation=annotation))
    kind = read_signature("mine.Net").parameters["value"].kind
    assert [value for value in good if not kind.accepts(value)] == []
    assert [value for value in bad if kind.accepts(value)] == []
    assert str(kind)


def test_a_null_default_accepts_null(write):
    write("def build(n: int = None): ...")
    assert read_signature("mine.build").parameters["n"].kind.accepts(None)


def test_constructors_are_inherited(write):
    write("class Base:\n    accepts = ('image',)\n    kind = 'x'\n    def __init__(self, a, b=2): ...\n", "base")
    write("from base import Base as B\nclass Net(B):\n    kind: str = 'y'\n")
    found = read_signature("mine.Net")
    assert list(found.parameters) == ["a", "b"]
    assert found.parameters["a"].required
    assert found.file.name == "mine.py"
    assert found.parameters["a"].file.name == "base.py"
    assert found.attributes == {"accepts": ("image",), "kind": "y"}


def test_forwarded_keywords_are_the_base_classes(write):
    write(
        "class Base:\n    def __init__(self, a, b=2, c=3): ...\n"
        "class Net(Base):\n    def __init__(self, d, **rest):\n        super().__init__(1, c=d, **rest)\n"
        "class Open(Base):\n    def __init__(self, d, **rest):\n        self.rest = rest\n"
    )
    assert set(read_signature("mine.Net").parameters) == {"b", "d"}
    assert not read_signature("mine.Net").is_open
    assert read_signature("mine.Open").is_open


def test_dataclasses(write):
    write(
        "from dataclasses import dataclass, field\nfrom typing import ClassVar\n"
        "@dataclass\nclass Base:\n    a: int\n"
        "@dataclass(frozen=True)\nclass Net(Base):\n    b: float = 1.5\n    c: list = field(default_factory=list)\n"
        "    d: int = field(default=1, init=False)\n    e: ClassVar[int] = 1\n"
    )
    found = read_signature("mine.Net").parameters
    assert {name: parameter.required for name, parameter in found.items()} == {"a": True, "b": False, "c": False}
    assert found["b"].default == 1.5


def test_re_exports_are_followed(write):
    write("", "package/__init__")
    write("from ._net import Net as _N\nNet = _N\nfrom ._rest import *\n", "package/api")
    write("class Net:\n    def __init__(self, a): ...\n", "package/_net")
    write("if True:\n    def build(b): ...\n", "package/_rest")
    assert list(read_signature("package.api.Net").parameters) == ["a"]
    assert list(read_signature("package.api.build").parameters) == ["b"]


def test_an_edited_file_is_read_again(write):
    import os

    file = write("def build(a): ...")
    assert list(read_signature("mine.build").parameters) == ["a"]
    write("def build(b): ...")
    os.utime(file, ns=(1, 1))
    assert list(read_signature("mine.build").parameters) == ["b"]


@pytest.mark.parametrize(
    ("target", "near"),
    [("torch.optim.Adamm", "Adam"), ("dlx.models.mlp.MPL", "MLP"), ("nowhere.Net", None), ("torch.optim", None)],
)
def test_names_that_are_not_there(target, near):
    with pytest.raises(NotFound) as caught:
        read_signature(target)
    assert near is None or near in caught.value.names


def test_what_has_no_source_takes_anything():
    assert read_signature("torch.relu").is_open
    assert read_signature("math.sqrt").is_open


def test_constraints_of_scikit_learn_agree_with_its_own_check():
    from sklearn.linear_model import Ridge
    from sklearn.utils._param_validation import InvalidParameterError

    parameters = read_signature("sklearn.linear_model.Ridge").parameters
    values = [-1, 0, 1, 0.5, -0.5, "svd", "sdv", None, True, "x"]
    for name in ("alpha", "fit_intercept", "max_iter", "tol", "solver", "positive", "random_state"):
        for value in values:
            try:
                Ridge(**{name: value})._validate_params()
                accepted = True
            except InvalidParameterError:
                accepted = False
            if not isinstance(value, bool):  # scikit-learn takes true for 1
                assert parameters[name].kind.accepts(value) is accepted, (name, value)


@pytest.mark.parametrize(
    "values",
    [
        {"lr": -1.0},
        {"lr": 0.1},
        {"betas": [0.9, 1.0]},
        {"betas": [0.5, 0.9]},
        {"eps": -1e-9},
        {"weight_decay": -0.1},
    ],
)
def test_refusals_agree_with_the_constructor(values):
    import torch

    try:
        torch.optim.Adam([torch.zeros(1, requires_grad=True)], **values)
        refused = False
    except ValueError:
        refused = True
    assert bool(list(find_failed_checks(read_signature("torch.optim.Adam"), values))) is refused


def test_refusals_speak_the_constructors_words(write):
    write(
        "from dlx.errors import UsageError\n"
        "class Net:\n    least = 3\n    def __init__(self, a: int, b=None, c=0):\n"
        "        if a < self.least and (b is None or len(b) > 1):\n            raise UsageError(f'{a:.1f} is {b!r}')\n"
        "        c = a\n"
        "        if c: raise ValueError('c is no longer what was given')\n"
        "        if outside(a): raise ValueError('not understood')\n"
    )
    found = read_signature("mine.Net")
    assert [refusal.message for refusal in find_failed_checks(found, {"a": 2})] == ["2.0 is None"]
    assert list(find_failed_checks(found, {"a": 4, "c": 1})) == []
    assert list(find_failed_checks(found, {"a": UNKNOWN})) == []


def test_nothing_is_imported():
    code = (
        "import sys\nfrom dlx.config.static.signature import read_signature\n"
        "for t in ('torch.optim.Adam', 'sklearn.linear_model.Ridge', 'dlx.models.mlp.MLP', 'torchvision.ops.nms'):\n"
        "    for p in read_signature(t).parameters.values(): str(p.kind)\n"
        "print([m for m in ('torch', 'sklearn', 'numpy', 'torchvision', 'dlx.models.mlp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
