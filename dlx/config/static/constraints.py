"""What scikit-learn says of its parameters: `_parameter_constraints`, read as text.

Its constructors are not annotated; each estimator declares its ranges in a class attribute instead, checked when it is
fitted (`sklearn.utils._param_validation`). Read here, a wrong value is told before anything is loaded.
"""

import ast

from dlx.config.static.schema import ANYTHING, Choice, Kind, Listing, Number, Table, Text, Thing, Truth, either
from dlx.config.static.source import Definition, Module, resolve
from dlx.types import Range

NAME = "_parameter_constraints"
_WORDS: dict[str, Kind] = {
    "boolean": Truth(),
    "verbose": either([Number(True, Range(0)), Truth()]),
    "random_state": either([Number(True, Range(0)), Choice((None,))]),
    "array-like": Listing(),
    "nan": Number(False),
}
_TYPES: dict[str, Kind] = {
    "Integral": Number(True),
    "int": Number(True),
    "Real": Number(False),
    "float": Number(False),
    "str": Text(),
    "bool": Truth(),
    "dict": Table(),
    "list": Listing(),
    "tuple": Listing(),
    "callable": Thing(),
}


def constraints(place: Definition, depth: int = 0) -> dict[str, Kind]:
    """Parameters of an estimator class and what each may be, its bases' included; empty for other classes."""
    if not isinstance(place.node, ast.ClassDef) or depth > 10:
        return {}
    own = _assigned(place.node)
    if own is None:
        for parent in place.node.bases:
            found = resolve(place.module, parent)
            if isinstance(found, Definition) and (inherited := constraints(found, depth + 1)):
                return inherited
        return {}
    kinds: dict[str, Kind] = {}
    for key, value in zip(own.keys, own.values, strict=True):
        if key is None:  # **Base._parameter_constraints
            base = resolve(place.module, value.value) if isinstance(value, ast.Attribute) else None
            kinds |= constraints(base, depth + 1) if isinstance(base, Definition) else {}
        elif isinstance(key, ast.Constant):
            kinds[str(key.value)] = _any_of(place.module, value)
    return kinds


def _assigned(node: ast.ClassDef) -> ast.Dict | None:
    for item in node.body:
        if isinstance(item, ast.AnnAssign | ast.Assign):
            target = item.target if isinstance(item, ast.AnnAssign) else item.targets[0]
            if isinstance(target, ast.Name) and target.id == NAME and isinstance(item.value, ast.Dict):
                return item.value
    return None


def _any_of(place: Module, node: ast.expr) -> Kind:
    return either([_kind(item) for item in node.elts]) if isinstance(node, ast.List) and node.elts else ANYTHING


def _kind(node: ast.expr) -> Kind:
    match node:
        case ast.Constant(value=None):
            return Choice((None,))
        case ast.Constant(value=str(word)):
            return _WORDS.get(word, ANYTHING)
        case ast.Name(id=name):
            return _TYPES.get(name, ANYTHING)
        case ast.Attribute(attr="ndarray"):
            return Thing()
        case ast.Call(func=ast.Name(id="HasMethods")):
            return Thing()
        case ast.Call(func=ast.Name(id="Interval"), args=[kind, low, high], keywords=words):
            return _interval(ast.unparse(kind), low, high, {word.arg: ast.unparse(word.value) for word in words})
        case ast.Call(func=ast.Name(id="StrOptions"), args=[options, *_]):
            return _options(options)
        case ast.Call(func=ast.Name(id="Options"), args=[_, options, *_]):
            return _options(options)
        case ast.Call(func=ast.Name(id="Hidden"), args=[inner]):
            return _kind(inner)
    return ANYTHING


def _interval(kind: str, low: ast.expr, high: ast.expr, words: dict[str | None, str]) -> Kind:
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


def _options(node: ast.expr) -> Kind:
    try:
        return Choice(tuple(sorted(ast.literal_eval(node), key=str)))
    except (ValueError, TypeError):
        return ANYTHING
