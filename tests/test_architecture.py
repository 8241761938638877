"""The architecture that docs/architecture.md describes, held by the source text."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "dlx"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
PRIVATE = ("hydra._internal", "omegaconf._")  # modules that only one file may import from
INTERNALS = "dlx.config.hydra_internals"


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, function-level imports and those for type checking included, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in FILES else str(node.module)), node.lineno


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            place = stack.index(name)
            found.append(sorted(stack[place:]))
            del stack[place:]

    for name in graph:
        if name not in index:
            visit(name)
    return [component for component in found if len(component) > 1]


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: {other for other, _ in imports(path) if other in FILES} - {name} for name, path in FILES.items()}
    assert sum(map(len, graph.values())) > 500, "the imports were read"
    assert circles(graph) == []


@pytest.mark.parametrize("name", [name for name in FILES if name != INTERNALS])
def test_private_names_of_hydra_and_omegaconf_stay_in_one_file(name):
    assert not [found for found in imports(FILES[name]) if found[0].startswith(PRIVATE)]
    methods = {"_is_none", "_is_missing", "_get_node", "_set_flag", "_get_flag", "_metadata"}
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in called if isinstance(call, ast.Attribute) and call.attr in methods]
