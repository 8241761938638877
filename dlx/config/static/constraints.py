"""Read the ranges of scikit-learn's parameters, `_parameter_constraints`, from source text.

Its constructors are not annotated; each estimator declares its ranges in a class attribute instead, checked when it is
fitted (`sklearn.utils._param_validation`). Read here, a wrong value is reported before anything is loaded.
"""

import ast

from dlx.config.static.schema import (
    ANYTHING,
    Boolean,
    Choice,
    Kind,
    ListOf,
    MappingOf,
    Number,
    Object,
    String,
    make_union,
)
from dlx.config.static.source import Definition, Module, resolve
from dlx.types import Range

ATTRIBUTE = "_parameter_constraints"
_STRINGS: dict[str, Kind] = {
    "boolean": Boolean(),
    "verbose": make_union([Number(True, Range(0)), Boolean()]),
    "random_state": make_union([Number(True, Range(0)), Choice((None,))]),
    "array-like": ListOf(),
    "nan": Number(False),
}
_TYPES: dict[str, Kind] = {
    "Integral": Number(True),
    "int": Number(True),
    "Real": Number(False),
    "float": Number(False),
    "str": String(),
    "bool": Boolean(),
    "dict": MappingOf(),
    "list": ListOf(),
    "tuple": ListOf(),
    "callable": Object(),
}


def read_constraints(place: Definition, depth: int = 0) -> dict[str, Kind]:
    """Return what each parameter of an estimator class may be, its bases' included; empty for other classes."""
    if not isinstance(place.node, ast.ClassDef) or depth > 10:
        return {}
    own = _find_constraints(place.node)
    if own is None:
        for parent in place.node.bases:
            found = resolve(place.module, parent)
            if isinstance(found, Definition) and (inherited := read_constraints(found, depth + 1)):
                return inherited
        return {}
    kinds: dict[str, Kind] = {}
    for key, value in zip(own.keys, own.values, strict=True):
        if key is None:  # **Base._parameter_constraints
            base = resolve(place.module, value.value) if isinstance(value, ast.Attribute) else None
            kinds |= read_constraints(base, depth + 1) if isinstance(base, Definition) else {}
        elif isinstance(key, ast.Constant):
            kinds[str(key.value)] = _parse_alternatives(place.module, value)
    return kinds


def _find_constraints(node: ast.ClassDef) -> ast.Dict | None:
    for item in node.body:
        if isinstance(item, ast.AnnAssign | ast.Assign):
            target = item.target if isinstance(item, ast.AnnAssign) else item.targets[0]
            if isinstance(target, ast.Name) and target.id == ATTRIBUTE and isinstance(item.value, ast.Dict):
                return item.value
    return None


def _parse_alternatives(place: Module, node: ast.expr) -> Kind:
    return (
        make_union([_parse_constraint(item) for item in node.elts])
        if isinstance(node, ast.List) and node.elts
        else ANYTHING
    )


def _parse_constraint(node: ast.expr) -> Kind:
    match node:
        case ast.Constant(value=None):
            return Choice((None,))
        case ast.Constant(value=str(word)):
            return _STRINGS.get(word, ANYTHING)
        case ast.Name(id=name):
            return _TYPES.get(name, ANYTHING)
        case ast.Attribute(attr="ndarray"):
            return Object()
        case ast.Call(func=ast.Name(id="HasMethods")):
            return Object()
        case ast.Call(func=ast.Name(id="Interval"), args=[kind, low, high], keywords=words):
            return _parse_interval(ast.unparse(kind), low, high, {word.arg: ast.unparse(word.value) for word in words})
        case ast.Call(func=ast.Name(id="StrOptions"), args=[options, *_]):
            return _parse_options(options)
        case ast.Call(func=ast.Name(id="Options"), args=[_, options, *_]):
            return _parse_options(options)
        case ast.Call(func=ast.Name(id="Hidden"), args=[inner]):
            return _parse_constraint(inner)
    return ANYTHING


def _parse_interval(kind: str, low: ast.expr, high: ast.expr, words: dict[str | None, str]) -> Kind:
    closed = words.get("closed", "").strip("'\"")
    try:
        ends = [ast.literal_eval(end) for end in (low, high)]
    except ValueError:
        return ANYTHING
    given = {name: value for name, value in zip(("low", "high"), ends, strict=True) if value is not None}
    if not given:
        return Number(kind == "Integral")
    open_low, open_high = closed in ("right", "neither"), closed in ("left", "neither")
    return Number(
        kind == "Integral",
        Range(**given, open_low=open_low and "low" in given, open_high=open_high and "high" in given),
    )


def _parse_options(node: ast.expr) -> Kind:
    try:
        return Choice(tuple(sorted(ast.literal_eval(node), key=str)))
    except (ValueError, TypeError):
        return ANYTHING
