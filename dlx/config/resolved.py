"""Configurations without OmegaConf, resolved already: for many runs that differ in a few numbers."""

import copy
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import yaml

HYDRA_ONLY_KEYS = {"_args_", "_recursive_", "_convert_"}  # nodes with these are left to Hydra's instantiate


class ResolvedConfig(dict[str, Any]):
    """A resolved configuration: nested dictionaries whose keys are attributes too, as a DictConfig's are."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(
            {key: ResolvedConfig(value) if isinstance(value, dict) else value for key, value in content.items()}
        )

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError as error:
            raise AttributeError(key) from error

    def __deepcopy__(self, memo: Any) -> "ResolvedConfig":
        return ResolvedConfig({key: copy.deepcopy(value, memo) for key, value in self.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as ordinary nested dictionaries."""
        return {key: value.to_dict() if isinstance(value, ResolvedConfig) else value for key, value in self.items()}


def instantiate_node(node: Any, find_class: Callable[[str], Any], **given: Any) -> Any:
    """Build the object of a node, as Hydra's instantiate does where none of `HYDRA_ONLY_KEYS` is used.

    Args:
        node: a plain dictionary with a `_target_`; other values are returned as they are.
        find_class: returns the class of a target.
        given: further arguments.
    """
    if isinstance(node, list):
        return [instantiate_node(value, find_class) for value in node]
    if not isinstance(node, dict):
        return node
    values = {
        key: instantiate_node(value, find_class) for key, value in node.items() if key not in ("_target_", "_partial_")
    }
    if "_target_" not in node:
        return values
    kind, values = find_class(node["_target_"]), {**values, **given}
    return partial(kind, **values) if node.get("_partial_") else kind(**values)


def can_instantiate(node: Any) -> bool:
    """Return whether `instantiate_node` understands everything in a node."""
    if isinstance(node, list):
        return all(map(can_instantiate, node))
    return not isinstance(node, dict) or (
        not HYDRA_ONLY_KEYS & node.keys() and all(map(can_instantiate, node.values()))
    )


def dump_yaml(content: Any) -> str:
    """Format plain values as YAML that OmegaConf reads back as the same; in C, where PyYAML has it."""
    return str(yaml.dump(content, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=_make_dumper()))


_yaml_cache: dict[str, str] = {}


def to_yaml(node: Mapping[str, Any]) -> str:
    """Format a mapping as `dump_yaml` does, key by key: what many runs have in common is formatted once."""
    if len(_yaml_cache) > 10_000:
        _yaml_cache.clear()
    parts = []
    for key, value in node.items():
        name = f"{key} {value!r}"
        if name not in _yaml_cache:
            _yaml_cache[name] = dump_yaml({key: value})
        parts.append(_yaml_cache[name])
    return "".join(parts)


@cache
def _make_dumper() -> Any:
    from dlx.config.hydra_internals import get_omegaconf_dumper

    reference = get_omegaconf_dumper()
    dumper = type("Dumper", (getattr(yaml, "CDumper", yaml.Dumper),), {})
    dumper.yaml_implicit_resolvers = reference.yaml_implicit_resolvers  # type: ignore[attr-defined]
    for kind, represent in reference.yaml_representers.items():
        dumper.add_representer(kind, represent)  # type: ignore[attr-defined]
    return dumper
