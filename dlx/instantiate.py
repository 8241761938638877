"""Build objects from the configuration: the only place where Hydra instantiates."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from dlx.config.allowed import ALLOWED, find_bases, is_allowed_kind, iter_objects
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
    allow = list(config.get("allow") or [])
    for path, node in iter_objects(plain, tuple(name.split("."))):
        check_target(node["_target_"], allow, path)
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
        if isinstance(cause, Exception) and not _is_own(plain["_target_"], allow):
            # A library's constructor, given what it does not expect; one of the user's own is shown with its traceback.
            raise UsageError(
                f"{name} ({plain['_target_']}) refused its values: {type(cause).__name__}: {cause}"
            ) from cause
        raise


def select_group(config: DictConfig | ResolvedConfig, name: str) -> dict[str, Any]:
    """Return a copy of one group, or of the node at a dotted path, as plain values."""
    if isinstance(config, ResolvedConfig):
        for key in name.split("."):
            config = config[key]
        assert isinstance(config, ResolvedConfig)
        return copy.deepcopy(config.to_dict())
    node = OmegaConf.select(config, name)
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else None
    if not isinstance(plain, dict):
        raise UsageError(f"{name} was given {str(node)[:60]}; needed: a mapping with a _target_")
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


def check_target(target: Any, allow: list[str], path: Sequence[str] = ()) -> None:
    """Refuse a `_target_` that is neither dlx's, nor an allowed library's, nor the user's own.

    Args:
        target: a dotted name.
        allow: packages whose classes may be built, whatever they are.
        path: where it stands in the configuration, which says of what kind it may be; () does not ask.

    Raises:
        UsageError: the target is foreign, does not exist, is not a class, or is of a kind that is not built there.
    """
    if not isinstance(target, str):
        raise UsageError(f"_target_: {str(target)[:60]} was given; needed: the dotted name of a class")
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
    if path and not _is_own(f"{kind.__module__}.", allow) and not is_allowed_kind(kind, path):
        raise UsageError(
            f"{'.'.join(path)}._target_: {target} was given; needed: a class that derives from "
            f"{' or '.join(find_bases(path))}; if you trust it, type 'allow=[{top}]'"
        )


def _is_own(target: str, allow: list[str]) -> bool:
    return target.split(".")[0] in allow
