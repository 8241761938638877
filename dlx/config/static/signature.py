"""Read what a `_target_` takes from its source: the constructor is the schema of its part of the configuration.

Nothing is imported, so a mistyped key is found before torch is.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dlx.config.static import annotation
from dlx.config.static.constraints import read_constraints
from dlx.config.static.schema import ANYTHING, Choice, Kind, make_union
from dlx.config.static.source import Definition, Module, NotFound, locate, resolve
from dlx.metrics import Metric

UNKNOWN: Any = type("Unknown", (), {"__repr__": lambda self: "…"})()  # a default that is no literal
# Bases that add no parameter. torch.nn.Module is among them because it is behind a long way of re-exports.
_PARAMETERLESS_BASES = {
    "object",
    "ABC",
    "abc.ABC",
    "Generic",
    "Protocol",
    "typing.Protocol",
    "nn.Module",
    "torch.nn.Module",
}


@dataclass(frozen=True)
class Parameter:
    """One argument of a constructor."""

    name: str
    module: Module
    node: ast.expr | None  # its annotation
    line: int
    required: bool
    default: Any = None
    owner: Definition | None = None  # the class, which may say more of it than an annotation does

    @property
    def file(self) -> Path:
        """Where it is written."""
        return self.module.file

    @property
    def annotation(self) -> str | None:
        """Its annotation as written."""
        return ast.unparse(self.node) if self.node else None

    @cached_property
    def kind(self) -> Kind:
        """What may be given: the annotation, and null where that is the default."""
        kind = annotation.parse_annotation(self.module, self.node) if self.node else self._find_constraint()
        return make_union([kind, Choice((None,))]) if self.default is None and not self.required else kind

    def _find_constraint(self) -> Kind:
        known = read_constraints(self.owner) if self.owner else {}
        return known.get(self.name, ANYTHING)


@dataclass(frozen=True)
class Signature:
    """The signature of a constructor. `is_open`: it takes further names too (`**kwargs`), or cannot be read."""

    target: str
    file: Path | None = None
    line: int = 0
    parameters: dict[str, Parameter] = field(default_factory=dict)
    is_open: bool = True
    definition: Definition | None = None

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Literal class attributes, inherited ones included: `kind`, `accepts`, `needs`, `monitor`.

        `declares`, the metrics, adds up: a class' own come first, then its bases'. Its entries are strings and `Metric`
        objects, whose arguments must be literals.
        """
        definition = self.definition
        return _read_attributes(definition) if definition and isinstance(definition.node, ast.ClassDef) else {}

    def has_method(self, method: str) -> bool:
        """Return whether the class has a method, its own or inherited; true too where a base's source is not found."""
        definition = self.definition
        return definition is None or not isinstance(definition.node, ast.ClassDef) or _has_method(definition, method)

    def iter_classes(self) -> Iterator[ast.ClassDef | None]:
        """Yield the class and those that it derives from; None for one whose source is not found."""
        if self.definition is not None and isinstance(self.definition.node, ast.ClassDef):
            yield from _iter_classes(self.definition)

    @property
    def init(self) -> ast.FunctionDef | None:
        """The constructor that the class itself defines."""
        body = self.definition.node.body if self.definition and isinstance(self.definition.node, ast.ClassDef) else []
        return next((item for item in body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)


def read_signature(target: str) -> Signature:
    """Return the signature of a class or function named as `torch.optim.Adam`.

    Raises:
        NotFound: no source text defines it.
    """
    place = locate(target)
    if isinstance(place, Module):
        if place.name == target:
            raise NotFound(f"{target} is a module; a class or function in it is needed")
        return Signature(target)
    node, where = place.node, (place.module.file, place.line)
    if isinstance(node, ast.ClassDef):
        parameters, is_open = _read_constructor(place)
        return Signature(target, *where, parameters, is_open, place)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return Signature(target, *where, *_read_arguments(place, node))
    return Signature(target, *where)


def _read_constructor(place: Definition, depth: int = 0) -> tuple[dict[str, Parameter], bool]:
    """Return the parameters of a class's constructor, and whether it takes others too.

    The constructor is its own, that of its dataclass fields or the nearest base's.
    """
    node = place.node
    assert isinstance(node, ast.ClassDef)
    if depth > 20:
        return {}, True
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    if own := methods.get("__init__") or methods.get("__new__"):
        parameters, is_open = _read_arguments(place, own, skip_first=True)
        return _add_forwarded(place, own, parameters, depth) if is_open else (parameters, False)
    if _is_dataclass(node):
        return _read_fields(place), False
    for base in _iter_bases(place):
        if base is None:
            return {}, True
        parameters, is_open = _read_constructor(base, depth + 1)
        if parameters or is_open:
            return parameters, is_open
    return {}, False


def _read_arguments(
    place: Definition, function: ast.FunctionDef | ast.AsyncFunctionDef, skip_first: bool = False
) -> tuple[dict[str, Parameter], bool]:
    """Return the parameters that can be given by name, and whether `**kwargs` takes others."""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    pairs = list(zip(positional, [*missing, *spec.defaults], strict=True))[1 if skip_first else 0 :]
    pairs += list(zip(spec.kwonlyargs, spec.kw_defaults, strict=True))
    by_name = [(arg, default) for arg, default in pairs if arg not in spec.posonlyargs]
    parameters = {
        arg.arg: _make_parameter(place, arg.arg, arg.annotation, arg.lineno, default) for arg, default in by_name
    }
    return parameters, spec.kwarg is not None


def _make_parameter(
    place: Definition, name: str, note: ast.expr | None, line: int, default: ast.expr | None, required: bool = True
) -> Parameter:
    value = _evaluate_literal(place.module, default)
    return Parameter(name, place.module, note, line, required and default is None, value, place)


def _add_forwarded(
    place: Definition, init: ast.FunctionDef, parameters: dict[str, Parameter], depth: int
) -> tuple[dict[str, Parameter], bool]:
    """Add the parameters of `super().__init__` where `**kwargs` is passed on to it, without those already filled."""
    rest = init.args.kwarg
    for call in ast.walk(init):
        if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__" and rest):
            continue
        passed = [word.value.id for word in call.keywords if word.arg is None and isinstance(word.value, ast.Name)]
        base = next(_iter_bases(place), None)
        if rest.arg not in passed or base is None:
            continue
        inherited, is_open = _read_constructor(base, depth + 1)
        filled = {word.arg for word in call.keywords} | set(list(inherited)[: len(call.args)])
        kept = {name: given for name, given in inherited.items() if name not in filled and name not in parameters}
        return {**parameters, **kept}, is_open  # its own first: they are what positions mean to a class below
    return parameters, True


def _is_dataclass(node: ast.ClassDef) -> bool:
    names = [ast.unparse(item.func if isinstance(item, ast.Call) else item) for item in node.decorator_list]
    bases = [ast.unparse(base) for base in node.bases]
    return any(name.split(".")[-1] == "dataclass" for name in names) or "NamedTuple" in bases


def _read_fields(place: Definition) -> dict[str, Parameter]:
    """Return a dataclass's fields, its bases' first."""
    assert isinstance(place.node, ast.ClassDef)
    fields: dict[str, Parameter] = {}
    for base in _iter_bases(place):
        if base is not None and isinstance(base.node, ast.ClassDef) and _is_dataclass(base.node):
            fields |= _read_fields(base)
    for item in place.node.body:
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)):
            continue
        if "ClassVar" in ast.unparse(item.annotation) or "KW_ONLY" in ast.unparse(item.annotation):
            continue
        default, required = item.value, True
        if isinstance(default, ast.Call) and ast.unparse(default.func).split(".")[-1] == "field":
            words = {word.arg: word.value for word in default.keywords}
            if "init" in words and ast.unparse(words["init"]) == "False":
                continue
            default, required = words.get("default"), "default_factory" not in words
        name = item.target.id
        fields[name] = _make_parameter(place, name, item.annotation, item.lineno, default, required)
    return fields


def _iter_bases(place: Definition) -> Iterator[Definition | None]:
    """Yield the classes that a class derives from; None for one whose source is not found."""
    assert isinstance(place.node, ast.ClassDef)
    for base in place.node.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base
        if ast.unparse(plain) in _PARAMETERLESS_BASES:
            continue
        found = resolve(place.module, plain)
        yield found if isinstance(found, Definition) and isinstance(found.node, ast.ClassDef) else None


def _iter_classes(place: Definition, depth: int = 0) -> Iterator[ast.ClassDef | None]:
    assert isinstance(place.node, ast.ClassDef)
    yield place.node
    for base in _iter_bases(place) if depth < 20 else ():
        if base is None:
            yield None
        else:
            yield from _iter_classes(base, depth + 1)


def _has_method(place: Definition, method: str, depth: int = 0) -> bool:
    assert isinstance(place.node, ast.ClassDef)
    if depth > 20 or any(isinstance(item, ast.FunctionDef) and item.name == method for item in place.node.body):
        return True
    return any(base is None or _has_method(base, method, depth + 1) for base in _iter_bases(place))


def _read_attributes(place: Definition, depth: int = 0) -> dict[str, Any]:
    """Return the literal class attributes; a class's own hide its bases', an earlier base's a later one's.

    Only `declares` adds up.
    """
    assert isinstance(place.node, ast.ClassDef)
    attributes: dict[str, Any] = {}
    declared: list[Any] = []
    if depth < 20:
        for base in reversed(list(_iter_bases(place))):
            inherited = _read_attributes(base, depth + 1) if base else {}
            declared = [*inherited.pop("declares", ()), *declared]
            attributes |= inherited
    for item in place.node.body:
        match item:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                attributes[name] = _evaluate_literal(place.module, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                attributes[name] = _evaluate_literal(place.module, value)
    own = attributes.pop("declares", ())
    declared = [*(own if isinstance(own, tuple | list) else ()), *declared]
    attributes |= {"declares": tuple(dict.fromkeys(declared))} if declared else {}
    return {name: value for name, value in attributes.items() if value is not UNKNOWN}


def _evaluate_literal(place: Module, node: ast.expr | None) -> Any:
    """Return the value of a literal, or of a name that stands for one; UNKNOWN for anything else."""
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except ValueError:
        if isinstance(node, ast.Tuple | ast.List):
            values = [_evaluate_literal(place, item) for item in node.elts]
            return UNKNOWN if UNKNOWN in values else tuple(values) if isinstance(node, ast.Tuple) else values
        if isinstance(node, ast.Call):
            return _evaluate_metric(place, node)
        found = resolve(place, node) if isinstance(node, ast.Name | ast.Attribute) else None
        if isinstance(found, Definition) and isinstance(found.node, ast.expr) and found.node is not node:
            return _evaluate_literal(found.module, found.node)
        return UNKNOWN


def _evaluate_metric(place: Module, call: ast.Call) -> Any:
    """Return the metric that `Metric("fid", "min")` declares; UNKNOWN for any other call, or arguments no literals."""
    kind = resolve(place, call.func) if isinstance(call.func, ast.Name | ast.Attribute) else None
    if not (isinstance(kind, Definition) and isinstance(kind.node, ast.ClassDef)):
        return UNKNOWN
    if (kind.module.name, kind.node.name) != (Metric.__module__, Metric.__name__):
        return UNKNOWN
    args = [_evaluate_literal(place, arg) for arg in call.args]
    words = {word.arg: _evaluate_literal(place, word.value) for word in call.keywords if word.arg}
    if UNKNOWN in (*args, *words.values()) or len(words) < len(call.keywords):
        return UNKNOWN
    try:
        return Metric(*args, **words)
    except TypeError:  # too many arguments, or too few: the import that follows explains it better
        return UNKNOWN
