"""Check keys on the command line that no YAML file lists: further arguments of a constructor, and misspellings.

A key that the constructor takes may be set without Hydra's `+`; any other is a mistake, with the nearest right one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlx.config.catalogue import Catalogue, find_signature
from dlx.config.moved import get_renamed_keys, move_override
from dlx.config.names import explain_foreign_key
from dlx.config.origin import Origins
from dlx.config.overrides import ANSWERS, Word
from dlx.config.report import Location, Problem, find_closest, join_names
from dlx.config.search import MULTIPLE_GROUPS
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


def get_settable_parameters(path: tuple[str, ...], signature: Signature) -> dict[str, Any]:
    """Return the parameters of the object configured at `path` that its configuration may set."""
    filled = FILLED.get(path[0], set()) if len(path) == 1 else set()  # a procedure within another brings its own
    own = {name: given for name, given in signature.parameters.items() if name not in filled}
    if path[0] in BORROWED and len(path) == 1:
        name, target = BORROWED[path[0]]
        lent = find_signature(target)
        own |= {name: lent.parameters[name]} if lent else {}
    return own


class Keys:
    """The keys of a composed configuration, before its values are overridden.

    Args:
        tree: the configuration as plain dictionaries and lists, interpolations unresolved.
        catalogue: what else could have been chosen.
        origins: files and lines of the keys.
    """

    def __init__(self, tree: Mapping[str, Any], catalogue: Catalogue, origins: Origins) -> None:
        self.tree, self.catalogue, self.origins = tree, catalogue, origins
        self.new_targets: set[tuple[str, ...]] = set()  # paths of a `_target_` that was typed where there was none

    def apply_target(self, word: Word) -> None:
        """Take over a `_target_` that was typed: the keys beside it are the new object's."""
        node, depth = self._walk(word.path[:-1])
        whole = depth == len(word.path) - 1
        if word.path[-1] == "_target_" and whole and isinstance(node, dict) and not word.is_sweep:
            if "_target_" not in node:
                self.new_targets.add(word.path)
            node["_target_"] = word.parsed.value()

    def check(self, word: Word) -> Problem | None:
        """Return what is wrong with a word's key; None for a good one."""
        if word.parsed.is_delete():
            return None if self.has(word.path) else self._report_unknown(word)
        if word.path in self.new_targets:
            return None  # it says by itself what the keys beside it are
        if self.has(word.path):
            if word.parsed.is_add():
                return Problem(
                    word.text, f"{word.key} is there already", f"type {word.text[1:]}", self.origins[word.path]
                )
            return None
        if self.is_settable(word.path) or word.parsed.is_add() or word.parsed.is_force_add():
            return None  # a foreign key after a + is found when the whole is checked against the constructors
        return self._report_unknown(word)

    def has(self, path: Sequence[str]) -> bool:
        """Return whether the configuration has a key, before any is typed."""
        return self._walk(path)[1] == len(path) and tuple(path) not in self.new_targets

    def is_settable(self, path: Sequence[str]) -> bool:
        """Return whether a key that the configuration lacks may be set: the object there takes it."""
        node, depth = self._walk(path)
        prefix = tuple(path[:depth])
        if not prefix or path[0] == "hydra":
            return False
        if isinstance(node, Mapping) and "_target_" in node:
            if path[depth] == "_partial_" and (*prefix, "_target_") in self.new_targets:
                return True
            signature = find_signature(node["_target_"])
            return signature is None or signature.is_open or path[depth] in get_settable_parameters(prefix, signature)
        # An empty or null mapping among an object's arguments has no keys to misspell.
        return (node is None or node == {}) and len(prefix) > 1

    def _walk(self, path: Sequence[str]) -> tuple[Any, int]:
        """Return the innermost node on the way to a key, and how many of the key's parts lead to it."""
        node: Any = self.tree
        for depth, part in enumerate(path):
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.lstrip("-").isdigit() and -len(node) <= int(part) < len(node):
                node = node[int(part)]
            else:
                return node, depth
        return node, len(path)

    def _report_unknown(self, word: Word) -> Problem:
        if moved := move_override(word.key, word.text.partition("=")[2]):
            return self._report_moved(word, *moved)
        if len(word.path) == 1 or word.path[0] not in self.tree:
            return self._report_unknown_root(word)
        node, depth = self._walk(word.path)
        prefix, name = word.path[:depth], word.path[depth]
        where = ".".join(prefix)
        new = get_renamed_keys(node.get("_target_")).get(name) if isinstance(node, Mapping) else None
        if new:
            old, new = f"{where}.{name}", f"{where}.{new}"
            remedy = f"type {word.text.replace(old, new, 1)}"
            return Problem(word.text, f"{old} is now {new}", remedy, self.origins[(*prefix, new.rpartition(".")[2])])
        known = self._list_known_keys(prefix, node)
        if here := explain_foreign_key(name, known):
            first = ".".join((*prefix, here.split(" and ")[0]))
            what = f"{where} has no {name}, which is {here} here"
            return Problem(word.text, what, f"type {first}=…", self.origins[prefix])
        near = find_closest(name, known)
        if near:
            what, remedy = f"{where} has no {name}; did you mean {near}?", f"type {_rename_key(word, (*prefix, near))}"
            return Problem(word.text, what, remedy, self._locate((*prefix, near), known[near]))
        homes = self._describe_owners(prefix, name)
        what = f"{where} has no {name}" + (f"; {homes}" if homes else "")
        if known:
            return Problem(word.text, f"{what}; it has {join_names(known)}", "", self.origins[prefix])
        if homes:
            return Problem(word.text, what, "", self.origins[prefix])
        return Problem(word.text, f"{what}; nothing can be set there", "", self.origins[prefix])

    def _report_moved(self, word: Word, key: str, value: str) -> Problem:
        """Report a key that has moved elsewhere, with what to type there."""
        what, remedy = f"{word.key} is now {key}", f"type {key}={value}"
        if word.parsed.is_delete():
            remedy = "leave it out"
        elif key in MULTIPLE_GROUPS:
            unknown = [name for name in value.strip("[]").split(",") if name and name not in self.catalogue.names(key)]
            if unknown:
                answer = ANSWERS.get(key, {}).get(unknown[0].lower())
                what += f"; {answer[0] if answer else f'there is no {key} {unknown[0]}'}"
                remedy = answer[1] if answer else f"type dlx list {key}s"
        return Problem(word.text, what, remedy, self.origins[tuple(key.split("."))])

    def _list_known_keys(self, prefix: tuple[str, ...], node: Any) -> dict[str, Location | None]:
        """Return the keys that may be set below a node, each with its place in the source if no YAML file lists it."""
        if not isinstance(node, Mapping):
            return {}
        known: dict[str, Location | None] = {str(key): None for key in node if key not in RESERVED}
        signature = find_signature(node.get("_target_"))
        if signature:
            for name, given in get_settable_parameters(prefix, signature).items():
                known.setdefault(name, Location(given.file, given.line))
        return known

    def _locate(self, path: tuple[str, ...], source: Location | None) -> Location | None:
        return source or self.origins[path]

    def _describe_owners(self, prefix: tuple[str, ...], name: str) -> str:
        """Say which other options of a group have a key."""
        if len(prefix) != 1:
            return ""
        group = prefix[0]
        options = [entry.name for entry in self.catalogue.entries(group) if name in entry.node]
        if group == "callbacks" and options:  # several at once: it can simply be added
            return f"type callbacks={options[0]} too"
        return f"{name} belongs to {group}={join_names(options, 5)}" if options else ""

    def _report_unknown_root(self, word: Word) -> Problem:
        first = word.path[0]
        roots = [str(key) for key in self.tree]
        near = find_closest(first, dict.fromkeys([*self.catalogue.groups, *roots]))
        inner = None if near and len(word.path) > 1 else self._find_inner_key(word.path[-1])
        if inner and (near is None or inner[-1] == first):
            what = f"there is no key {first} at the top; did you mean {'.'.join(inner)}?"
            return Problem(word.text, what, f"type {_rename_key(word, inner)}", self.origins[inner])
        if near:
            renamed = _rename_key(word, (near, *word.path[1:]))
            what = f"there is no group or key {first}; did you mean {near}?"
            if near in self.catalogue.groups and len(word.path) == 1:
                renamed = self._correct_option(near, renamed)
            return Problem(
                word.text, what, f"type {renamed}", self.origins.locate_choice(near) or self.origins[(near,)]
            )
        known = join_names([*self.catalogue.groups, *_without_groups(roots)])
        what = f"there is no group or key {first}; there are {known}"
        return Problem(word.text, what, f"to add a key of your own, type +{word.text}")

    def _correct_option(self, group: str, renamed: str) -> str:
        """Return the renamed choice, its option corrected too."""
        option = renamed.partition("=")[2]
        names = self.catalogue.names(group)
        return renamed if option in names else f"{group}={find_closest(option, names) or option}"

    def _find_inner_key(self, name: str) -> tuple[str, ...] | None:
        """Return the path of a nested key that was given by its last part alone: `lr` for `optimizer.lr`."""
        keys = dict(_iter_leaves(self.tree))
        for word in (name, find_closest(name, keys)):
            if word in keys:
                return keys[word]
        return None


def _iter_leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the keys just below the groups, the earlier groups' last so that they win."""
    for group in reversed([key for key in tree if key != "hydra"]):
        if isinstance(tree[group], Mapping):
            yield from ((str(key), (str(group), str(key))) for key in tree[group] if key not in RESERVED)


def _without_groups(roots: Iterable[str]) -> list[str]:
    from dlx.config.search import GROUPS

    return [key for key in roots if key not in GROUPS and key != "hydra"]


def _rename_key(word: Word, path: Sequence[str]) -> str:
    prefix = word.text[: len(word.text) - len(word.text.lstrip("+~"))]
    _, equals, value = word.text.partition("=")
    return f"{prefix if prefix == '~' else ''}{'.'.join(path)}{equals}{value}"
