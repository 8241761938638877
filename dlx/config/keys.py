"""Keys on the command line that no YAML file lists: a constructor's further arguments, and misspellings.

A key that the constructor takes may be set without Hydra's `+`; any other is a mistake, with the nearest right one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlx.config.catalogue import Catalogue, constructor
from dlx.config.moved import get_renamed_keys
from dlx.config.origin import Origins
from dlx.config.overrides import Word
from dlx.config.report import Problem, Where, closest, listed
from dlx.config.static.signature import Signature

RESERVED = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")
# Arguments that dlx itself fills in, so that a configuration neither needs nor lists them.
FILLED = {
    "procedure": {"optimizer", "scheduler", "total"},
    "optimizer": {"params"},
    "scheduler": {"optimizer"},
}
# Keys of a group that are another constructor's.
BORROWED = {"scheduler": ("interval", "dlx.procedures.schedule.Schedule")}


def parameters(path: tuple[str, ...], found: Signature) -> dict[str, Any]:
    """Parameters of the object configured at `path` that its configuration may set."""
    filled = FILLED.get(path[0], set()) if len(path) == 1 else set()  # a procedure within another brings its own
    own = {name: given for name, given in found.parameters.items() if name not in filled}
    if path[0] in BORROWED and len(path) == 1:
        name, target = BORROWED[path[0]]
        lent = constructor(target)
        own |= {name: lent.parameters[name]} if lent else {}
    return own


class Keys:
    """The keys of a composed configuration, before its values are overridden.

    Args:
        tree: the configuration as plain dictionaries and lists, interpolations unresolved.
        catalogue: what else could have been chosen.
        origins: where keys are written.
    """

    def __init__(self, tree: Mapping[str, Any], catalogue: Catalogue, origins: Origins) -> None:
        self.tree, self.catalogue, self.origins = tree, catalogue, origins

    def retarget(self, word: Word) -> None:
        """Take a `_target_` that was typed: the keys beside it are the new object's."""
        node, depth = self._walk(word.path[:-1])
        whole = depth == len(word.path) - 1
        if word.path[-1] == "_target_" and whole and isinstance(node, dict) and not word.swept:
            node["_target_"] = word.parsed.value()

    def check(self, word: Word) -> Problem | None:
        """What is wrong with a word's key; None for a good one."""
        if word.parsed.is_delete():
            return None if self.has(word.path) else self._unknown(word)
        if self.has(word.path):
            if word.parsed.is_add():
                return Problem(
                    word.text, f"{word.key} is there already", f"type {word.text[1:]}", self.origins[word.path]
                )
            return None
        if self.settable(word.path) or word.parsed.is_add() or word.parsed.is_force_add():
            return None  # a foreign key after a + is found when the whole is checked against the constructors
        return self._unknown(word)

    def has(self, path: Sequence[str]) -> bool:
        """Whether the configuration has a key."""
        return self._walk(path)[1] == len(path)

    def settable(self, path: Sequence[str]) -> bool:
        """Whether a key that the configuration lacks may be set: the object there takes it."""
        node, depth = self._walk(path)
        prefix = tuple(path[:depth])
        if not prefix or path[0] == "hydra":
            return False
        if isinstance(node, Mapping) and "_target_" in node:
            found = constructor(node["_target_"])
            return found is None or found.open or path[depth] in parameters(prefix, found)
        # An empty or null mapping among an object's arguments has no keys to misspell.
        return (node is None or node == {}) and len(prefix) > 1

    def _walk(self, path: Sequence[str]) -> tuple[Any, int]:
        """The innermost node on the way to a key, and how many of the key's parts lead to it."""
        node: Any = self.tree
        for depth, part in enumerate(path):
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.lstrip("-").isdigit() and -len(node) <= int(part) < len(node):
                node = node[int(part)]
            else:
                return node, depth
        return node, len(path)

    def _unknown(self, word: Word) -> Problem:
        if len(word.path) == 1 or word.path[0] not in self.tree:
            return self._unknown_root(word)
        node, depth = self._walk(word.path)
        prefix, name = word.path[:depth], word.path[depth]
        where = ".".join(prefix)
        new = get_renamed_keys(node.get("_target_")).get(name) if isinstance(node, Mapping) else None
        if new:
            old, new = f"{where}.{name}", f"{where}.{new}"
            remedy = f"type {word.text.replace(old, new, 1)}"
            return Problem(word.text, f"{old} is now {new}", remedy, self.origins[(*prefix, new.rpartition(".")[2])])
        known = self._known(prefix, node)
        near = closest(name, known)
        if near:
            what, remedy = f"{where} has no {name}; did you mean {near}?", f"type {_renamed(word, (*prefix, near))}"
            return Problem(word.text, what, remedy, self._home((*prefix, near), known[near]))
        homes = self._homes(prefix, name)
        what = f"{where} has no {name}" + (f"; {homes}" if homes else "")
        if known:
            return Problem(word.text, f"{what}; it has {listed(known)}", "", self.origins[prefix])
        return Problem(word.text, f"{what}; nothing can be set there", "", self.origins[prefix])

    def _known(self, prefix: tuple[str, ...], node: Any) -> dict[str, Where | None]:
        """Keys that may be set below a node, and where they are written in source, if only there."""
        if not isinstance(node, Mapping):
            return {}
        known: dict[str, Where | None] = {str(key): None for key in node if key not in RESERVED}
        found = constructor(node.get("_target_"))
        if found:
            for name, given in parameters(prefix, found).items():
                known.setdefault(name, Where(given.file, given.line))
        return known

    def _home(self, path: tuple[str, ...], source: Where | None) -> Where | None:
        return source or self.origins[path]

    def _homes(self, prefix: tuple[str, ...], name: str) -> str:
        """Which other options of a group have a key."""
        if len(prefix) != 1:
            return ""
        group = prefix[0]
        options = [entry.name for entry in self.catalogue.entries(group) if name in entry.node]
        return f"{name} belongs to {group}={listed(options, 5)}" if options else ""

    def _unknown_root(self, word: Word) -> Problem:
        first = word.path[0]
        roots = [str(key) for key in self.tree]
        near = closest(first, dict.fromkeys([*self.catalogue.groups, *roots]))
        inner = None if near and len(word.path) > 1 else self._inner(word.path[-1])
        if inner and (near is None or inner[-1] == first):
            what = f"there is no key {first} at the top; did you mean {'.'.join(inner)}?"
            return Problem(word.text, what, f"type {_renamed(word, inner)}", self.origins[inner])
        if near:
            renamed = _renamed(word, (near, *word.path[1:]))
            what = f"there is no group or key {first}; did you mean {near}?"
            if near in self.catalogue.groups and len(word.path) == 1:
                renamed = self._with_option(near, renamed)
            return Problem(word.text, what, f"type {renamed}", self.origins.choice(near) or self.origins[(near,)])
        what = f"there is no group or key {first}; there are {listed([*self.catalogue.groups, *_rest(roots)])}"
        return Problem(word.text, what, f"to add a key of your own, type +{word.text}")

    def _with_option(self, group: str, renamed: str) -> str:
        """The renamed choice, its option corrected too."""
        option = renamed.partition("=")[2]
        names = self.catalogue.names(group)
        return renamed if option in names else f"{group}={closest(option, names) or option}"

    def _inner(self, name: str) -> tuple[str, ...] | None:
        """A key further in that was meant by its last part alone: `lr` for `optimizer.lr`."""
        keys = dict(_leaves(self.tree))
        for word in (name, closest(name, keys)):
            if word in keys:
                return keys[word]
        return None


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Keys just below the groups, the earlier groups' last so that they win."""
    for group in reversed([key for key in tree if key != "hydra"]):
        if isinstance(tree[group], Mapping):
            yield from ((str(key), (str(group), str(key))) for key in tree[group] if key not in RESERVED)


def _rest(roots: Iterable[str]) -> list[str]:
    from dlx.config.search import GROUPS

    return [key for key in roots if key not in GROUPS and key != "hydra"]


def _renamed(word: Word, path: Sequence[str]) -> str:
    prefix = word.text[: len(word.text) - len(word.text.lstrip("+~"))]
    _, equals, value = word.text.partition("=")
    return f"{prefix if prefix == '~' else ''}{'.'.join(path)}{equals}{value}"
