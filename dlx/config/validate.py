"""A composed configuration against the constructors that it names: every key, type and range, without torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlx.config.allowed import ALLOWED
from dlx.config.catalogue import constructor
from dlx.config.hydra_internals import is_empty, raw_repr
from dlx.config.keys import FILLED, RESERVED, parameters
from dlx.config.moved import get_renamed_keys
from dlx.config.origin import Origins
from dlx.config.report import Problem, Where, closest, listed
from dlx.config.search import GROUPS, own_packages
from dlx.config.static.constructor_checks import refusals
from dlx.config.static.schema import Choice, Either, Kind, Listing, Number, Text, shown
from dlx.config.static.signature import UNKNOWN, Parameter, Signature, signature
from dlx.config.static.source import Definition, Module, NotFound, locate
from dlx.types import Range

# Keys of the root that are no group.
ROOT: dict[str, Kind] = {
    "seed": Number(True, Range(0)),
    "allow": Listing((Text(),)),
    "pretrained": Either((Text(), Choice((None,)))),
    "freeze": Either((Text(), Listing((Text(),)))),
}
Path = tuple[str, ...]


class Validation:
    """One check of one configuration.

    Args:
        config: composed, overrides applied, Hydra's own node left out.
        origins: where keys are written.
        given: what was typed for a key, by its path; choices of groups left out, as their files are named instead.
        fits: whether the model fits the dataset; if not, what the model says of it has been said.
    """

    def __init__(self, config: DictConfig, origins: Origins, given: Mapping[Path, str], fits: bool = True) -> None:
        self.config, self.origins, self.given, self.fits = config, origins, given, fits
        self.problems: list[Problem] = []
        allow = config.get("allow")
        named = [name for name in allow if isinstance(name, str)] if isinstance(allow, ListConfig) else []
        self.allowed = (*ALLOWED, *(f"{name}." for name in [*named, *own_packages()]))

    def run(self, changed: Path = ()) -> list[Problem]:
        """Everything that is wrong; where one value was changed, only what holds it or speaks of it is looked at."""
        for key, kind in ROOT.items():
            if key in self.config:
                self._value((key,), kind, self.config)
        self._node((), self.config, changed)
        return self.problems

    def _node(self, path: Path, node: Container, changed: Path = ()) -> None:
        if isinstance(node, DictConfig) and not is_empty(node) and "_target_" in node:
            self._object(path, node)
        for key in _keys(node):
            if changed and str(key) != changed[0] and not _speaks(node, key, changed[-1]):
                continue
            if OmegaConf.is_missing(node, key):
                self._missing((*path, str(key)), node)
            elif not OmegaConf.is_interpolation(node, key):
                inner = node[key]
                if isinstance(inner, DictConfig | ListConfig) and not is_empty(inner):
                    self._node((*path, str(key)), inner)
            else:
                self._resolves((*path, str(key)), node, key)

    def _object(self, path: Path, node: DictConfig) -> None:
        target = node.get("_target_")
        found = self._constructor((*path, "_target_"), target)
        if found is None:
            return
        known, before = parameters(path, found), len(self.problems)
        for key in map(str, node):
            if key in RESERVED:
                continue
            if key in known:
                self._value((*path, key), known[key].kind, node)
            elif new := get_renamed_keys(target).get(key):
                self._add((*path, key), f"{'.'.join((*path, key))} is now {'.'.join((*path, new))}", f"write {new}")
            elif not found.open:
                self._foreign((*path, key), found, known)
        if not (node.get("_partial_") or "_args_" in node):
            self._complete(path, node, found)
        if len(self.problems) == before and (self.fits or path != ("model",)):  # else told already
            self._refused(path, found, known, node)

    def _constructor(self, path: Path, target: Any) -> Signature | None:
        """The signature of a target that may be built."""
        if not isinstance(target, str):
            self._add(path, f"_target_ was given {shown(target)}; needed: the dotted name of a class")
            return None
        try:
            place = locate(target)
            found = signature(target)
        except NotFound as error:
            near = closest(target.rpartition(".")[2], error.names)
            remedy = f"did you mean {target.rpartition('.')[0]}.{near}?" if near else ""
            self._add(path, f"_target_: {target} is not there: {error}", remedy)
            return None
        if not self._trusted(target, place):
            top = _home(place).split(".")[0]
            self._add(
                path,
                f"_target_: {target} is not among what may be built ({', '.join(self.allowed)})",
                f"if you trust it, type allow=[{top}]",
            )
            return None
        return found

    def _trusted(self, target: str, place: Definition | Module) -> bool:
        # `dlx.run.os.system` begins with an allowed name too: where the class is defined decides.
        return f"{target}.".startswith(self.allowed) and f"{_home(place)}.".startswith(self.allowed)

    def _value(self, path: Path, kind: Kind, node: DictConfig) -> None:
        key = path[-1]
        plain = self._plain(node, key)
        if plain is not UNKNOWN and not kind.accepts_in(plain):
            self._add(path, f"{_dotted(path)} was given {shown(plain)}; needed: {kind}", _example(path, kind, plain))

    def _foreign(self, path: Path, found: Signature, known: Mapping[str, Parameter]) -> None:
        near = closest(path[-1], known)
        what = f"{found.target} takes no {path[-1]}; "
        what += f"did you mean {near}?" if near else f"it takes {listed(known) or 'nothing'}"
        where = (
            Where(known[near].file, known[near].line) if near else Where(found.file, found.line) if found.file else None
        )
        # A file's key, of an experiment whose procedure was replaced, say: there is nothing typed to take back.
        remedy = "" if near or self._typed(path) else f"to leave it out, type ~{_dotted(path)}"
        self._add(path, what, remedy, where)

    def _refused(self, path: Path, found: Signature, known: Mapping[str, Parameter], node: DictConfig) -> None:
        """What the constructor would refuse, although each value by itself is of the right type."""
        values = {name: self._plain(node, name) for name in known if name in node}
        for refusal in refusals(found, values):
            name = next((name for name in refusal.names if self._typed((*path, name))), refusal.names[0])
            given = f"{_dotted((*path, name))} was given {shown(values.get(name, found.parameters[name].default))}"
            self._add((*path, name), refusal.message or f"{given}; needed: {refusal.needed}")

    def _plain(self, node: DictConfig, key: str) -> Any:
        """A value without interpolations; UNKNOWN where it is missing or known only after loading."""
        try:
            value = node[key]
            plain = OmegaConf.to_container(value, resolve=True) if isinstance(value, Container) else value
        except OmegaConfBaseException:
            return UNKNOWN
        return UNKNOWN if plain is None and OmegaConf.is_interpolation(node, key) else plain

    def _complete(self, path: Path, node: DictConfig, found: Signature) -> None:
        filled = FILLED.get(path[0], set())
        for name, parameter in found.parameters.items():
            if not parameter.required or name in node:
                continue
            if name in filled and path[0] != "procedure":
                self._add(path, f"{path[0]} waits for its {name}", "write _partial_: true beside its _target_")
            elif name in filled and name in GROUPS and not self.config.get(name):
                self._add((name,), f"{found.target} needs an {name}", f"type {name}=adam (dlx list {name}s)")
            if name in filled:
                continue
            what = f"{_dotted((*path, name))} has no value; needed: {parameter.kind}"
            self._add((*path, name), what, f"type {_dotted((*path, name))}=…", Where(parameter.file, parameter.line))

    def _missing(self, path: Path, node: Container) -> None:
        found = constructor(node.get("_target_")) if isinstance(node, DictConfig) else None
        if found and not found.open and path[-1] not in found.parameters:
            return  # an unknown key, told as such
        kind = found.parameters[path[-1]].kind if found and path[-1] in found.parameters else None
        what = "has no value" + (f"; needed: {kind}" if kind else "")
        self._add(path, f"{_dotted(path)} {what}", f"type {_dotted(path)}=…")

    def _resolves(self, path: Path, node: Container, key: Any) -> None:
        try:
            _ = node[key]
        except OmegaConfBaseException as error:
            if "MISSING" in str(error) or "???" in str(error) or "Missing" in type(error).__name__:
                return  # the missing value itself is told
            self._add(path, f"{_dotted(path)} cannot be resolved: {str(error).splitlines()[0]}")

    def _add(self, path: Path, what: str, remedy: str = "", where: Where | None = None) -> None:
        typed = self._typed(path)
        origin = self.origins[path]
        given = typed or (str(origin) if origin else _dotted(path))
        self.problems.append(Problem(given, what, remedy, where or (origin if typed else None)))

    def _typed(self, path: Path) -> str | None:
        """What was typed for a key, or for what it lies in."""
        while path:
            if path in self.given:
                return self.given[path]
            path = path[:-1]
        return None


def _home(place: Definition | Module) -> str:
    return place.module.name if isinstance(place, Definition) else place.name


def _keys(node: Container) -> Iterator[Any]:
    yield from (range(len(node)) if isinstance(node, ListConfig) else [key for key in node if key != "hydra"])


def _speaks(node: Container, key: Any, name: str) -> bool:
    """Whether there is an interpolation in a part of the configuration that names this key."""
    raw = raw_repr(node, key)
    return "${" in raw and name in raw


def _dotted(path: Sequence[str]) -> str:
    return ".".join(path)


def _example(path: Path, kind: Kind, value: Any) -> str:
    """What to type instead, where that can be told."""
    key = _dotted(path)
    if isinstance(kind, Choice):
        near = closest(str(value), map(shown, kind.values))
        return f"type {key}={near}" if near else ""
    if isinstance(kind, Listing) and not isinstance(value, list | dict):
        return f"type {key}=[{shown(value)}]" if kind.accepts([value]) else ""
    if kind.accepts(str(value)) and isinstance(value, int | float):
        return f"type '{key}=\"{shown(value)}\"', quotes included"
    if isinstance(value, float) and value.is_integer() and kind.accepts(int(value)):
        return f"type {key}={int(value)}"
    return ""
