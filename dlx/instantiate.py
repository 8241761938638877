"""Build objects from the configuration: the only place where Hydra instantiates."""

import copy
import inspect
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from dlx.config.allowed import ALLOWED
from dlx.config.moved import rename_targets
from dlx.config.resolved import ResolvedConfig, can_instantiate, instantiate_node
from dlx.errors import DlxError, UsageError


def build(config: DictConfig | ResolvedConfig, name: str, without: tuple[str, ...] = (), **given: Any) -> Any:
    """Build the object of one group of the configuration.

    Args:
        config: the whole configuration, so that interpolations resolve; `config.allow` names further packages.
        name: the group, or a path within it.
        without: keys that are not the constructor's.
        given: values for the constructor, passed only where it takes them and the configuration does not set them.

    Raises:
        UsageError: a `_target_` that is not allowed, or values that the constructor refuses.
    """
    plain = rename_targets(select_group(config, name))
    for key in without:
        plain.pop(key, None)
    for target in _list_targets(plain):
        check_target(target, list(config.get("allow") or []))
    accepted = inspect.signature(get_class(plain["_target_"])).parameters
    extra = {key: value for key, value in given.items() if key in accepted and plain.get(key) is None}
    try:
        if isinstance(config, ResolvedConfig) and can_instantiate(plain):
            return _instantiate_resolved(name, plain, extra)
        return instantiate(plain, **extra, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, DlxError):
            raise cause from cause.__cause__
        if isinstance(cause, TypeError | ValueError | AssertionError):
            raise UsageError(f"{name} ({plain['_target_']}) refused its values: {cause}") from cause
        raise


def select_group(config: DictConfig | ResolvedConfig, name: str) -> dict[str, Any]:
    """Return a copy of one group, or of the node at a dotted path, as plain values."""
    if isinstance(config, ResolvedConfig):
        for key in name.split("."):
            config = config[key]
        assert isinstance(config, ResolvedConfig)
        return copy.deepcopy(config.to_dict())
    plain = OmegaConf.to_container(OmegaConf.select(config, name), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _instantiate_resolved(name: str, plain: dict[str, Any], given: dict[str, Any]) -> Any:
    try:
        return instantiate_node(plain, get_class, **given)
    except (TypeError, ValueError, AssertionError) as cause:
        raise UsageError(f"{name} ({plain['_target_']}) refused its values: {cause}") from cause


def build_optional(config: DictConfig | ResolvedConfig, name: str, without: tuple[str, ...] = (), **given: Any) -> Any:
    """Build as `build` does, or return None for an empty group, such as `scheduler=null`."""
    node = config.get(name)
    return build(config, name, without=without, **given) if node and node.get("_target_") else None


def check_target(target: str, allow: list[str]) -> None:
    """Refuse a `_target_` that is neither dlx's, nor an allowed library's, nor the user's own.

    Raises:
        UsageError: the target is foreign, does not exist, or is not a class.
    """
    prefixes = (*ALLOWED, *(f"{package}." for package in allow))
    top = target.split(".")[0]
    refusal = UsageError(
        f"_target_: {target} was given; needed: a class under {', '.join(prefixes)}; "
        f"if you trust it, type 'allow=[{top}]'"
    )
    if not target.startswith(prefixes):
        raise refusal
    try:
        kind = get_class(target)
    except Exception as error:
        raise UsageError(f"_target_: {target} cannot be imported ({error})") from error
    # `dlx.run.os.system` begins with an allowed name too: where the class was defined decides.
    if not f"{kind.__module__}.".startswith(prefixes):
        raise refusal


def _list_targets(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["_target_"]] if node.get("_target_") else []
        return own + [t for value in node.values() for t in _list_targets(value)]
    if isinstance(node, list):
        return [t for value in node for t in _list_targets(value)]
    return []
