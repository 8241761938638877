"""Find names in source text: which file and line define `torch.optim.Adam`, without importing torch.

Only the top-level package is looked up on the path (`importlib.util.find_spec` imports the parents of anything
deeper); from there on, files and their syntax trees are read, and re-exports followed.
"""

import ast
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlx.config.moved import rename_target


@dataclass(frozen=True)
class Module:
    """A module's syntax tree. `tree` is None where there is no Python source, as in a compiled extension."""

    name: str
    file: Path
    tree: ast.Module | None

    @property
    def is_package(self) -> bool:
        """Whether it has submodules."""
        return self.file.name == "__init__.py" or self.file.is_dir()

    @property
    def is_dynamic(self) -> bool:
        """Whether names may appear in it that its text does not define."""
        return self.tree is None or any(
            (isinstance(node, ast.FunctionDef) and node.name == "__getattr__")
            or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "globals")
            for node in ast.walk(self.tree)
        )


@dataclass(frozen=True)
class Definition:
    """A class, a function or an assigned expression, and the module whose names it uses."""

    module: Module
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.expr

    @property
    def line(self) -> int:
        """Where it begins, decorators left out."""
        return self.node.lineno


class NotFound(LookupError):
    """A dotted name that no source text defines.

    Args:
        message: what is missing, and where it was looked for.
        names: what is defined there instead.
    """

    def __init__(self, message: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names


def locate(dotted: str) -> Definition | Module:
    """Find what a dotted name stands for.

    Returns:
        the definition; a Module where the name is a module, or one whose names cannot be known from text.

    Raises:
        NotFound: there is no such package, module or name.
    """
    first, *rest = rename_target(dotted).split(".")
    found = find_module(first)
    if found is None:
        raise NotFound(f"there is no module {first!r}")
    place: Definition | Module = found
    for count, part in enumerate(rest, start=2):
        if isinstance(place, Definition):
            place = _lookup_method(place, part, dotted)
            continue
        inner = _lookup_member(place, part, last=count == dotted.count(".") + 1)
        if inner is None:
            if place.is_dynamic:
                return place
            where = ".".join(dotted.split(".")[: count - 1])
            raise NotFound(f"{where} has no {part!r} ({place.file})", tuple(iter_names(place)))
        place = inner
    return place


def _lookup_member(place: Module, part: str, last: bool = True) -> Definition | Module | None:
    """Find a name within a module. Before the last part, files come first: `torch/__init__.py` is long to read."""
    if not last and place.is_package and (inner := find_module(f"{place.name}.{part}")):
        return inner
    return lookup(place, part) or (find_module(f"{place.name}.{part}") if place.is_package else None)


def _lookup_method(place: Definition, part: str, dotted: str) -> Definition:
    """Find a method of a class, such as `torchvision.models.VGG16_Weights.verify`."""
    body = getattr(place.node, "body", [])
    for node in reversed(body if isinstance(body, list) else []):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part:
            return Definition(place.module, node)
    raise NotFound(f"{dotted.removesuffix('.' + part)} has no {part!r} ({place.module.file}:{place.line})")


def lookup(place: Module, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Definition | Module | None:
    """Return what `name` means inside a module, through imports and assignments; None where the text does not say."""
    if place.tree is None or (place.name, name) in seen:
        return None
    seen = seen | {(place.name, name)}
    bound = _read_bindings(place.tree)
    match bound.get(name):
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() as node:
            return Definition(place, node)
        case ast.expr() as value:
            return _follow_alias(place, value, seen)
        case str(dotted):
            return find_module(dotted)
        case (ast.ImportFrom() as node, str(original)):
            origin = find_module(_absolute_name(place, node))
            return origin and (lookup(origin, original, seen) or find_module(f"{origin.name}.{original}"))
    for node, _ in bound.get("*", []):
        origin = find_module(_absolute_name(place, node))
        if origin and (found := lookup(origin, name, seen)):
            return found
    return None


@lru_cache(maxsize=256)
def _read_bindings(tree: ast.Module) -> dict[str, Any]:
    """Return what each top-level name of a module is bound to, the last time: a statement, an expression, an import."""
    bound: dict[str, Any] = {"*": []}
    for node in _iter_statements(tree.body):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                bound[node.name] = node
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                bound[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                bound[name] = value
            case ast.Import():
                for alias in node.names:
                    first = alias.name.split(".")[0]  # `import a.b` binds a, `import a.b as c` binds a.b
                    bound[alias.asname or first] = alias.name if alias.asname else first
            case ast.ImportFrom():
                for alias in node.names:
                    if alias.name == "*":
                        bound["*"].append((node, "*"))
                    else:
                        bound[alias.asname or alias.name] = (node, alias.name)
    return bound


def find_import_source(place: Module, name: str) -> str | None:
    """Return the module that a name is imported from, None where it is bound otherwise."""
    match _read_bindings(place.tree).get(name) if place.tree else None:
        case (ast.ImportFrom() as node, str()):
            return _absolute_name(place, node)
    return None


def resolve(place: Module, expression: ast.expr) -> Definition | Module | None:
    """Return what `Name` or `package.Name` means inside a module."""
    if isinstance(expression, ast.Name):
        return lookup(place, expression.id)
    if isinstance(expression, ast.Attribute):
        outer = resolve(place, expression.value)
        return _lookup_member(outer, expression.attr) if isinstance(outer, Module) else None
    return None


def iter_names(place: Module) -> Iterator[str]:
    """Yield the names that a module's text defines or re-exports, and its submodules."""
    bound = _read_bindings(place.tree) if place.tree else {}
    yield from (name for name in bound if name != "*" and not name.startswith("_"))
    for node, _ in bound.get("*", []):
        if origin := find_module(_absolute_name(place, node)):
            yield from iter_names(origin)
    if place.is_package:
        folder = place.file if place.file.is_dir() else place.file.parent
        yield from (entry.stem for entry in folder.glob("*.py") if not entry.stem.startswith("_"))


def find_module(name: str) -> Module | None:
    """Return the module of a dotted name, None where there is none."""
    first, *rest = name.split(".")
    try:
        file, folders = _find_top_level(first, (os.getcwd(), *sys.path))
    except LookupError:
        return None
    for part in rest:
        found = next((hit for folder in folders if (hit := _find_submodule(folder, part))), None)
        if found is None:
            return None
        file, folders = found, [found if found.is_dir() else found.parent] if _is_package_file(found) else []
    return Module(name, file, _parse(file))


@lru_cache(maxsize=256)
def _find_top_level(name: str, path: tuple[str, ...]) -> tuple[Path, list[Path]]:
    """Return a top-level module's file and the folders of its submodules.

    Raises:
        LookupError: there is no such module; this is not cached.
    """
    try:
        spec = importlib.util.find_spec(name) if name else None
    except (ImportError, ValueError):  # ValueError: a module put into sys.modules by hand, without a spec
        spec = None
    if spec is None:
        raise LookupError(name)
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    return Path(spec.origin) if spec.origin else folders[0] if folders else Path(name), folders


def _is_package_file(file: Path) -> bool:
    return file.name == "__init__.py" or file.is_dir()


def _find_submodule(folder: Path, part: str) -> Path | None:
    """Return a submodule's file; names are compared exactly, as a case-blind file system takes Adam.py for adam.py."""
    entries = _list_folder(folder)
    if part in entries and (folder / part / "__init__.py").is_file():
        return folder / part / "__init__.py"
    if f"{part}.py" in entries:
        return folder / f"{part}.py"
    compiled = next(
        (entry for entry in entries if entry.startswith(f"{part}.") and entry.endswith((".so", ".pyd"))), ""
    )
    if compiled:
        return folder / compiled
    return folder / part if part in entries and (folder / part).is_dir() else None


def _list_folder(folder: Path) -> frozenset[str]:
    try:
        return _list_folder_cached(folder, folder.stat().st_mtime_ns)
    except OSError:
        return frozenset()


@lru_cache(maxsize=512)
def _list_folder_cached(folder: Path, changed: int) -> frozenset[str]:
    return frozenset(os.listdir(folder))


def _parse(file: Path) -> ast.Module | None:
    if file.suffix != ".py":
        return None
    try:
        return _parse_cached(file, file.stat().st_mtime_ns)
    except (OSError, SyntaxError, ValueError):  # the import that follows explains a syntax error better
        return None


@lru_cache(maxsize=256)
def _parse_cached(file: Path, changed: int) -> ast.Module:
    return ast.parse(file.read_bytes(), filename=str(file))


def _absolute_name(place: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = place.name.split(".") if place.is_package else place.name.split(".")[:-1]
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, node.module] if node.module else kept)


def _follow_alias(place: Module, value: ast.expr, seen: frozenset[tuple[str, str]]) -> Definition | Module | None:
    """Follow an alias: `Adam = _Adam` means what `_Adam` means; any other expression stands for itself."""
    if isinstance(value, ast.Name) and (found := lookup(place, value.id, seen)):
        return found
    return Definition(place, value)


def _iter_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield top-level statements, those below `if`, `try` and `with` too."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _iter_statements(node.body)
            yield from _iter_statements(getattr(node, "orelse", []))
            yield from _iter_statements(getattr(node, "finalbody", []))
            for handler in getattr(node, "handlers", []):
                yield from _iter_statements(handler.body)
