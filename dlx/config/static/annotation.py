"""Parse the text of an annotation into the kind of value it asks for.

`int`, `float`, `bool`, `str`, `None`, `X | Y`, `Optional`, `Union`, `Literal`, `Annotated` with a range of `dlx.types`,
lists, tuples and mappings are understood, directly or through an alias in any module; all else accepts everything.
"""

import ast

from dlx.config.names import NameKind
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
from dlx.config.static.source import Definition, Module, find_import_source, resolve
from dlx.types import Range

_NAMED_KINDS: dict[str, Kind] = {
    "int": Number(integer=True),
    "float": Number(integer=False),
    "bool": Boolean(),
    "str": String(),
    "Path": String(),
    "PathLike": String(),
    "list": ListOf(),
    "tuple": ListOf(),
    "Sequence": ListOf(),
    "dict": MappingOf(),
    "Mapping": MappingOf(),
    "None": Choice((None,)),
}
_STANDARD = {"typing", "collections.abc", "pathlib", "os"}
_OPAQUE = {"Any", "Tensor", "Callable", "Module", "Optimizer"}  # not worth the search through torch's re-exports
_LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "MutableSequence", "set", "frozenset", "Set"}
_TABLES = {"dict", "Dict", "Mapping", "MutableMapping"}
_WRAPPERS = {"Final", "ClassVar", "InitVar", "Required", "NotRequired"}


def parse_annotation(place: Module, node: ast.expr | None, depth: int = 0) -> Kind:
    """Return the kind of value that an annotation, written in the module `place`, asks for."""
    if depth > 20:  # an alias that refers to itself
        return ANYTHING
    match node:
        case ast.Constant(value=None):
            return Choice((None,))
        case ast.Constant(value=str(text)):
            return _parse_quoted(place, text, depth)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return make_union([parse_annotation(place, left, depth + 1), parse_annotation(place, right, depth + 1)])
        case ast.Subscript(value=outer, slice=inner):
            return _parse_subscript(place, outer, inner, depth)
        case ast.Name() | ast.Attribute():
            return _parse_name(place, node, depth)
    return ANYTHING


def _parse_quoted(place: Module, text: str, depth: int) -> Kind:
    try:
        return parse_annotation(place, ast.parse(text, mode="eval").body, depth + 1)
    except SyntaxError:
        return ANYTHING


def _parse_name(place: Module, node: ast.Name | ast.Attribute, depth: int) -> Kind:
    name = _last_name(node)
    if name in _OPAQUE:
        return Object() if name == "Tensor" else ANYTHING
    if name in _NAMED_KINDS and find_import_source(place, name) in _STANDARD:  # no need to read what typing makes of it
        return _NAMED_KINDS[name]
    found = resolve(place, node)
    if isinstance(found, Definition) and isinstance(found.node, ast.expr):
        return parse_annotation(found.module, found.node, depth + 1)
    # A class of the project's own that happens to be called `Path` is not pathlib's.
    foreign = isinstance(found, Definition) and found.module.name.split(".")[0] not in ("pathlib", "os", "typing")
    return ANYTHING if foreign else _NAMED_KINDS.get(name, ANYTHING)


def _parse_subscript(place: Module, outer: ast.expr, inner: ast.expr, depth: int) -> Kind:
    name, parts = _last_name(outer), inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        return Choice(tuple(part.value for part in parts if isinstance(part, ast.Constant)))
    if name == "Annotated":
        return _find_names(parts[1:]) or _apply_range(parse_annotation(place, parts[0], depth + 1), parts[1:])
    kinds = [parse_annotation(place, part, depth + 1) for part in parts]
    if name == "Optional":
        return make_union([*kinds, Choice((None,))])
    if name == "Union":
        return make_union(kinds)
    if name in _LISTS:
        return ListOf((kinds[0],))
    if name in ("tuple", "Tuple"):
        if isinstance(parts[-1], ast.Constant) and parts[-1].value is Ellipsis:
            return ListOf((kinds[0],))
        return ListOf(tuple(kinds), fixed=True)
    if name in _TABLES:
        return MappingOf(kinds[-1])
    return kinds[0] if name in _WRAPPERS else ANYTHING


def _apply_range(base: Kind, extras: list[ast.expr]) -> Kind:
    """Apply the range of `Annotated[int, Range(1)]`, whose arguments must be literal."""
    if not isinstance(base, Number):
        return base
    for extra in extras:
        if isinstance(extra, ast.Call) and _last_name(extra.func) == "Range":
            try:
                given = [ast.literal_eval(value) for value in extra.args]
                named = {word.arg: ast.literal_eval(word.value) for word in extra.keywords if word.arg}
                return Number(base.integer, Range(*given, **named))
            except (ValueError, TypeError):
                return base
    return base


def _find_names(extras: list[ast.expr]) -> Kind | None:
    """Return the kind of `Annotated[Any, Named("initializer")]`; None for any other."""
    for extra in extras:
        if (
            isinstance(extra, ast.Call)
            and _last_name(extra.func) == "Named"
            and isinstance(extra.args[0], ast.Constant)
        ):
            return NameKind(str(extra.args[0].value))
    return None


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
