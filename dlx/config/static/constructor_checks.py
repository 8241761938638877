"""Find out what a constructor refuses: its leading `if …: raise …`, evaluated on the values it would be given.

`if not 0.0 <= lr: raise ValueError(…)` in torch.optim.Adam is as good as an annotation. Only comparisons, arithmetic
and a few harmless functions are evaluated; a condition with anything else in it is left to the constructor.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from dlx.config.static.signature import UNKNOWN, Signature

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS = {function.__name__: function for function in (len, min, max, abs, list, tuple, bool, sorted, sum)}
_TYPES = {kind.__name__: kind for kind in (int, float, str, bool, list, tuple, dict)}
_NEGATED = {ast.Lt: ">=", ast.LtE: ">", ast.Gt: "<=", ast.GtE: "<", ast.Eq: "!=", ast.NotEq: "=="}


class FailedCheck(NamedTuple):
    """One condition that the values meet and must not."""

    names: tuple[str, ...]  # the parameters in it
    message: str | None  # what the constructor would say, where that can be told
    needed: str  # the condition that would have to hold


class _NotEvaluable(Exception):
    """An expression that is not evaluated here."""


def find_failed_checks(signature: Signature, values: Mapping[str, Any]) -> Iterator[FailedCheck]:
    """Yield the checks of a constructor that the values fail.

    Args:
        signature: of the constructor.
        values: plain values of its parameters; those left out have their defaults.
    """
    if signature.init is None:
        return
    names = {name: given.default for name, given in signature.parameters.items()} | dict(values)
    known = {name: value for name, value in names.items() if value is not UNKNOWN}
    for statement in signature.init.body:
        if isinstance(statement, ast.If) and isinstance(statement.body[0], ast.Raise):
            try:
                refused = bool(_evaluate(statement.test, known, signature))
            except (_NotEvaluable, TypeError, ValueError, LookupError, ArithmeticError):
                continue
            used = {node.id: None for node in ast.walk(statement.test) if isinstance(node, ast.Name)}
            its = tuple(name for name in used if name in signature.parameters)
            if refused and its:
                yield FailedCheck(
                    its, _format_message(statement.body[0].exc, known, signature), _negate(statement.test)
                )
        elif not isinstance(statement, ast.Expr | ast.If):
            # From here on a name may be bound to another value.
            bound = _list_assigned_names(statement)
            known = {name: value for name, value in known.items() if name not in bound}


def _list_assigned_names(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _format_message(raised: ast.expr | None, known: Mapping[str, Any], signature: Signature) -> str | None:
    """Return the text of a UsageError, which says what is needed; other errors' texts seldom do."""
    if isinstance(raised, ast.Call) and ast.unparse(raised.func) == "UsageError" and len(raised.args) == 1:
        try:
            return str(_evaluate(raised.args[0], known, signature))
        except (_NotEvaluable, TypeError, ValueError, LookupError, ArithmeticError):
            return None
    return None


def _negate(test: ast.expr) -> str:
    """Return the opposite of a condition, as text."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return ast.unparse(test.operand)
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in _NEGATED:
        return f"{ast.unparse(test.left)} {_NEGATED[type(test.ops[0])]} {ast.unparse(test.comparators[0])}"
    return f"not ({ast.unparse(test)})"


def _evaluate(node: ast.expr, known: Mapping[str, Any], signature: Signature) -> Any:
    def inner(part: ast.expr) -> Any:
        return _evaluate(part, known, signature)

    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in signature.attributes:
            return signature.attributes[name]
        case ast.BoolOp(op=op, values=parts):
            result: Any = None
            for part in parts:
                result = inner(part)
                if bool(result) is isinstance(op, ast.Or):
                    break
            return result
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return not inner(part)
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return -inner(part)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](inner(left), inner(right))
        case ast.Compare(left=left, ops=signs, comparators=rights):
            ends = [inner(left), *map(inner, rights)]
            return all(_COMPARE[type(sign)](one, two) for sign, one, two in zip(signs, ends, ends[1:], strict=False))
        case ast.Subscript(value=outer, slice=ast.Slice(lower=low, upper=high, step=None)):
            return inner(outer)[inner(low) if low else None : inner(high) if high else None]
        case ast.Subscript(value=outer, slice=index):
            return inner(outer)[inner(index)]
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return [inner(part) for part in parts]
        case ast.IfExp(test=test, body=one, orelse=other):
            return inner(one) if inner(test) else inner(other)
        case ast.Call(func=ast.Name(id="isinstance"), args=[part, kinds]):
            return isinstance(inner(part), tuple(_iter_types(kinds)))
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*map(inner, parts))
        case ast.JoinedStr(values=parts):
            return "".join(_format_part(part, known, signature) for part in parts)
    raise _NotEvaluable


def _iter_types(node: ast.expr) -> Iterator[type]:
    """Yield the types of an isinstance; a plain value is never a tensor."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    for part in parts:
        name = ast.unparse(part).split(".")[-1]
        if name in _TYPES:
            yield _TYPES[name]
        elif name != "Tensor":
            raise _NotEvaluable


def _format_part(part: ast.expr, known: Mapping[str, Any], signature: Signature) -> str:
    if not isinstance(part, ast.FormattedValue):
        return str(_evaluate(part, known, signature))
    value = _evaluate(part.value, known, signature)
    text = {-1: value, ord("r"): repr(value), ord("s"): str(value)}.get(part.conversion, value)
    return format(text, _format_part(part.format_spec, known, signature) if part.format_spec else "")
