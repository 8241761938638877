"""Check a composed configuration against the constructors that it names: every key, type and range, without torch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlx.config.allowed import ALLOWED
from dlx.config.callback_checks import explain_bad_callback
from dlx.config.catalogue import find_signature
from dlx.config.hydra_internals import get_raw_repr, is_empty
from dlx.config.keys import FILLED, RESERVED, get_settable_parameters
from dlx.config.moved import PATHS, get_renamed_keys, move_override
from dlx.config.names import explain_foreign_key
from dlx.config.origin import Origins
from dlx.config.published import find_mistakes
from dlx.config.report import Location, Problem, find_closest, join_names
from dlx.config.search import GROUPS, MULTIPLE_GROUPS, explain_own_module, list_own_packages
from dlx.config.static.constructor_checks import find_failed_checks
from dlx.config.static.schema import Choice, Kind, ListOf, Number, String, Union, format_value
from dlx.config.static.signature import UNKNOWN, Parameter, Signature, read_signature
from dlx.config.static.source import Definition, Module, NotFound, locate
from dlx.config.trusted import is_trusted
from dlx.types import Range

# Keys of the root that are no group.
ROOT_KEYS: dict[str, Kind] = {
    "seed": Number(True, Range(0, 2**32 - 1)),  # what numpy and scikit-learn take
    "allow": ListOf((String(),)),
    "pretrained": Union((String(), Choice((None,)))),
    "freeze": Union((String(), ListOf((String(),)))),
}
Path = tuple[str, ...]


class Validator:
    """Checks one configuration.

    Args:
        config: composed, overrides applied, Hydra's own node left out.
        origins: files and lines of the keys.
        given: what was typed for a key, by its path; choices of groups left out, as their files are named instead.
        fits: whether the model fits the dataset; if not, that is reported already.
    """

    def __init__(self, config: DictConfig, origins: Origins, given: Mapping[Path, str], fits: bool = True) -> None:
        self.config, self.origins, self.given, self.fits = config, origins, given, fits
        self.problems: list[Problem] = []
        allow = config.get("allow")
        named = [name for name in allow if isinstance(name, str)] if isinstance(allow, ListConfig) else []
        if not is_trusted():  # its files may say what they like; what was typed counts
            named = [name for name in named if ("allow",) in given]
        self.allowed = (*ALLOWED, *(f"{name}." for name in [*named, *list_own_packages()]))

    def run(self, changed: Path = ()) -> list[Problem]:
        """Return all problems; where one value was changed, only what holds it or refers to it is checked."""
        for key, kind in ROOT_KEYS.items():
            if key in self.config:
                self._check_value((key,), kind, self.config)
        self._check_callbacks()
        self._check_published()
        self._check_node((), self.config, changed)
        for group in MULTIPLE_GROUPS:
            self._check_members(group)
        return self.problems

    def _check_callbacks(self) -> None:
        """Report what stands among the callbacks and is none."""
        node = self.config.get("callbacks")
        if node is None or not node:
            return
        if not isinstance(node, DictConfig) or "_target_" in node:
            what = "callbacks has a mapping for each of them, by its name, not an object of its own"
            self._report(("callbacks", "_target_"), what, "write mine: in its file, and _target_ indented below it")
            return
        for name in map(str, node):
            inner = node[name]
            if inner is None:  # switched off
                continue
            if not isinstance(inner, DictConfig) or "_target_" not in inner:
                what = f"callbacks.{name} was given {format_value(self._to_plain(node, name))}"
                self._report(("callbacks", name), f"{what}; needed: a mapping with a _target_, or null for none")
            elif wrong := explain_bad_callback(str(inner.get("_target_"))):
                self._report(("callbacks", name, "_target_"), wrong)

    def _check_published(self) -> None:
        given = self._to_plain(self.config, "published") if "published" in self.config else []
        for mistake in find_mistakes(given) if given is not UNKNOWN else ():
            self._report(("published", *mistake.path), mistake.what, mistake.remedy)

    def _check_node(self, path: Path, node: Container, changed: Path = ()) -> None:
        if isinstance(node, DictConfig) and not is_empty(node) and "_target_" in node:
            self._check_object(path, node)
        for key in _iter_keys(node):
            if changed and str(key) != changed[0] and not _mentions_key(node, key, changed[-1]):
                continue
            if OmegaConf.is_missing(node, key):
                self._report_missing((*path, str(key)), node)
            elif not OmegaConf.is_interpolation(node, key):
                inner = node[key]
                if isinstance(inner, DictConfig | ListConfig) and not is_empty(inner):
                    self._check_node((*path, str(key)), inner)
            else:
                self._check_resolves((*path, str(key)), node, key)

    def _check_members(self, group: str) -> None:
        """Report what stands in a group of several without a key of its own, or is no object."""
        node = self.config.get(group)
        if not isinstance(node, DictConfig) or is_empty(node):
            return
        file = self.origins[(group, "_target_")]
        name = file.file.stem if file else "NAME"
        if "_target_" in node:
            what = f"several may be chosen from {group}, so each needs a key of its own"
            self._report((group, "_target_"), what, f"write it below {name}:")
            return
        for key in map(str, node):
            if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
                continue
            if not isinstance(node[key], DictConfig) or "_target_" not in node[key]:
                self._report((group, key), f"{group}.{key} names no class", "write its _target_, a dotted name")

    def _check_object(self, path: Path, node: DictConfig) -> None:
        target = node.get("_target_")
        signature = self._find_signature((*path, "_target_"), target)
        if signature is None:
            return
        known, before = get_settable_parameters(path, signature), len(self.problems)
        for key in map(str, node):
            if key in RESERVED:
                continue
            if key in known:
                self._check_value((*path, key), known[key].kind, node)
            elif new := get_renamed_keys(target).get(key):
                self._report((*path, key), f"{'.'.join((*path, key))} is now {'.'.join((*path, new))}", f"write {new}")
            elif moved := _find_moved_keys((*path, key), node[key]):
                for old, value in moved.items():
                    present = move_override(old, format_value(value))
                    assert present is not None
                    self._report(tuple(old.split(".")), f"{old} is now {present[0]}", f"write {'='.join(present)}")
            elif not signature.is_open:
                self._report_foreign_key((*path, key), signature, known)
        if not (node.get("_partial_") or "_args_" in node):
            self._check_required(path, node, signature)
        if len(self.problems) == before and (self.fits or path != ("model",)):  # else reported already
            self._check_constructor(path, signature, known, node)

    def _find_signature(self, path: Path, target: Any) -> Signature | None:
        """Return the signature of a target that may be built; None, and a report, for any other."""
        if not isinstance(target, str):
            self._report(path, f"_target_ was given {format_value(target)}; needed: the dotted name of a class")
            return None
        try:
            place = locate(target)
            signature = read_signature(target)
        except NotFound as error:
            near = find_closest(target.rpartition(".")[2], error.names)
            remedy = f"did you mean {target.rpartition('.')[0]}.{near}?" if near else ""
            remedy = explain_own_module(target.split(".")[0]) or remedy
            self._report(path, f"_target_: {target} is not there: {error}", remedy)
            return None
        if not self._is_trusted(target, place):
            top = _module_name(place).split(".")[0]
            self._report(
                path,
                f"_target_: {target} is not among what may be built ({', '.join(self.allowed)})",
                explain_own_module(top) or f"if you trust it, type allow=[{top}]",
            )
            return None
        return signature

    def _is_trusted(self, target: str, place: Definition | Module) -> bool:
        # `dlx.run.os.system` begins with an allowed name too: where the class is defined decides.
        return f"{target}.".startswith(self.allowed) and f"{_module_name(place)}.".startswith(self.allowed)

    def _check_value(self, path: Path, kind: Kind, node: DictConfig) -> None:
        key = path[-1]
        plain = self._to_plain(node, key)
        if plain is not UNKNOWN and not kind.accepts_node(plain):
            self._report(
                path,
                f"{_join_path(path)} was given {format_value(plain)}; needed: {kind}",
                _suggest_value(path, kind, plain),
            )

    def _report_foreign_key(self, path: Path, signature: Signature, known: Mapping[str, Parameter]) -> None:
        if here := explain_foreign_key(path[-1], known):
            first = _join_path((*path[:-1], here.split(" and ")[0]))
            self._report(path, f"{signature.target} takes no {path[-1]}, which is {here} here", f"type {first}=…")
            return
        near = find_closest(path[-1], known)
        what = f"{signature.target} takes no {path[-1]}; "
        what += f"did you mean {near}?" if near else f"it takes {join_names(known) or 'nothing'}"
        where = (
            Location(known[near].file, known[near].line)
            if near
            else Location(signature.file, signature.line)
            if signature.file
            else None
        )
        # A file's key, of an experiment whose procedure was replaced, say: there is nothing typed to take back.
        remedy = "" if near or self._find_typed(path) else f"to leave it out, type ~{_join_path(path)}"
        self._report(path, what, remedy, where)

    def _check_constructor(
        self, path: Path, signature: Signature, known: Mapping[str, Parameter], node: DictConfig
    ) -> None:
        """Report what the constructor would refuse, although each value by itself is of the right type."""
        values = {name: self._to_plain(node, name) for name in known if name in node}
        for refusal in find_failed_checks(signature, values):
            name = next((name for name in refusal.names if self._find_typed((*path, name))), refusal.names[0])
            value = format_value(values.get(name, signature.parameters[name].default))
            given = f"{_join_path((*path, name))} was given {value}"
            self._report((*path, name), refusal.message or f"{given}; needed: {refusal.needed}")

    def _to_plain(self, node: DictConfig, key: str) -> Any:
        """Return a value without interpolations; UNKNOWN where it is missing or known only after loading."""
        try:
            value = node[key]
            plain = OmegaConf.to_container(value, resolve=True) if isinstance(value, Container) else value
        except OmegaConfBaseException:
            return UNKNOWN
        return UNKNOWN if plain is None and OmegaConf.is_interpolation(node, key) else plain

    def _check_required(self, path: Path, node: DictConfig, signature: Signature) -> None:
        filled = FILLED.get(path[0], set())
        for name, parameter in signature.parameters.items():
            if not parameter.required or name in node:
                continue
            if name in filled and path[0] != "procedure":
                typed = self._find_typed((*path, "_target_"))
                write = f"type {_join_path((*path, '_partial_'))}=true" if typed else "write _partial_: true"
                self._report(path, f"{path[0]} waits for its {name}", f"{write} beside its _target_")
            elif name in filled and name in GROUPS and not self.config.get(name):
                self._report((name,), f"{signature.target} needs an {name}", f"type {name}=adam (dlx list {name}s)")
            if name in filled:
                continue
            what = f"{_join_path((*path, name))} has no value; needed: {parameter.kind}"
            self._report(
                (*path, name), what, f"type {_join_path((*path, name))}=…", Location(parameter.file, parameter.line)
            )

    def _report_missing(self, path: Path, node: Container) -> None:
        signature = find_signature(node.get("_target_")) if isinstance(node, DictConfig) else None
        if signature and not signature.is_open and path[-1] not in signature.parameters:
            return  # an unknown key, reported as such
        kind = signature.parameters[path[-1]].kind if signature and path[-1] in signature.parameters else None
        what = "has no value" + (f"; needed: {kind}" if kind else "")
        self._report(path, f"{_join_path(path)} {what}", f"type {_join_path(path)}=…")

    def _check_resolves(self, path: Path, node: Container, key: Any) -> None:
        try:
            _ = node[key]
        except OmegaConfBaseException as error:
            if "MISSING" in str(error) or "???" in str(error) or "Missing" in type(error).__name__:
                return  # the missing value itself is reported
            self._report(path, f"{_join_path(path)} cannot be resolved: {str(error).splitlines()[0]}")

    def _report(self, path: Path, what: str, remedy: str = "", where: Location | None = None) -> None:
        typed = self._find_typed(path)
        origin = self.origins[path]
        given = typed or (str(origin) if origin else _join_path(path))
        self.problems.append(Problem(given, what, remedy, where or (origin if typed else None)))

    def _find_typed(self, path: Path) -> str | None:
        """Return what was typed for a key, or for the node that it lies in."""
        while path:
            if path in self.given:
                return self.given[path]
            path = path[:-1]
        return None


def _find_moved_keys(path: Path, value: Any) -> dict[str, Any]:
    """Return the keys at and below a path that have moved elsewhere, with their values."""
    if not isinstance(value, DictConfig):
        return {_join_path(path): value} if _join_path(path) in PATHS else {}
    return {old: inner for key in map(str, value) for old, inner in _find_moved_keys((*path, key), value[key]).items()}


def _module_name(place: Definition | Module) -> str:
    return place.module.name if isinstance(place, Definition) else place.name


def _iter_keys(node: Container) -> Iterator[Any]:
    yield from (range(len(node)) if isinstance(node, ListConfig) else [key for key in node if key != "hydra"])


def _mentions_key(node: Container, key: Any, name: str) -> bool:
    """Return whether an interpolation in a part of the configuration names this key."""
    raw = get_raw_repr(node, key)
    return "${" in raw and name in raw


def _join_path(path: Sequence[str]) -> str:
    return ".".join(path)


def _suggest_value(path: Path, kind: Kind, value: Any) -> str:
    """Say what to type instead, where that is known."""
    key = _join_path(path)
    if near := kind.suggest(value):
        return f"did you mean {near}? type {key}={near}"
    if isinstance(kind, Choice):
        near = find_closest(str(value), map(format_value, kind.values))
        return f"type {key}={near}" if near else ""
    if isinstance(kind, ListOf) and not isinstance(value, list | dict):
        return f"type {key}=[{format_value(value)}]" if kind.accepts([value]) else ""
    if kind.accepts(str(value)) and isinstance(value, int | float):
        return f"type '{key}=\"{format_value(value)}\"', quotes included"
    if isinstance(value, float) and value.is_integer() and kind.accepts(int(value)):
        return f"type {key}={int(value)}"
    return ""
