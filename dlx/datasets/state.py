"""The state of a dataset: what it found in its data and fitted to it, as a checkpoint keeps it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlx.terminal import terminal


class Fitted:
    """Base of what is fitted to data: a class names the attributes in `fitted`, and they are its state.

    `freeze_attributes` before and `find_undeclared` after data was read tell whether a class has named all of them.
    """

    # Attributes that reading data finds or fits, those of all base classes together: tensors, numbers, text, lists.
    fitted: ClassVar[tuple[str, ...]] = ()
    held: ClassVar[tuple[str, ...]] = ()  # attributes that reading sets, and that are the data itself
    is_fitted = False  # whether the state is another load's, so that nothing is fitted any more
    undeclared: list[str] = []  # noqa: RUF012 - replaced, never changed

    @classmethod
    def _union(cls, name: str) -> list[str]:
        """Return the names that a class and its bases list in a class attribute, in a fixed order."""
        listed = (vars(base).get(name, ()) for base in reversed(cls.__mro__))
        return list(dict.fromkeys(attribute for names in listed for attribute in names))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that was fitted or found: tensors on the CPU, numbers, text, and lists of them."""
        return {name: _to_plain(getattr(self, name)) for name in self._union("fitted") if hasattr(self, name)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` of the same class returned: `transform`, `inputs` and names work, unread."""
        self._restore(state)
        self.is_fitted = True

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Set the attributes of a state."""
        for name, value in state.items():
            if name == "dtype":
                value = value and getattr(torch, value)
            elif name in ("shape", "seen_range"):
                value = value and tuple(value)
            setattr(self, name, value.clone() if isinstance(value, Tensor) else value)

    def freeze_attributes(self) -> dict[str, Any]:
        """Return all attributes as they are now, for `find_undeclared`."""
        return {name: _freeze(value) for name, value in vars(self).items()}

    def find_undeclared(self, before: dict[str, Any]) -> list[str]:
        """Return the attributes that have changed since `before` and that neither `fitted` nor `held` names."""
        known = {*self._union("fitted"), *self._union("held"), "undeclared"}
        after = vars(self).items()
        return sorted({n for n, value in after if n not in before or not _is_same(before[n], value)} - known)


def get_dataset_state(dataset: Fitted) -> dict[str, Any] | None:
    """Return a dataset's state for checkpoints; None where its class does not name all that it finds."""
    if not dataset.undeclared:
        return dataset.state_dict()
    terminal.print_note(
        f"{type(dataset).__name__} changes {', '.join(dataset.undeclared)} when it loads; its class does not name them "
        "in `fitted`, so that predictions will read the training data again"
    )
    return None


def _to_plain(value: Any) -> Any:
    """Return a copy of tensors, numbers, text and containers of them that a checkpoint may hold."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, dict):
        return {key: _to_plain(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    return [_to_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _freeze(value: Any) -> Any:
    """Return what a later change of a value, in place too, can be told by."""
    return _to_plain(value) if isinstance(value, Tensor | list | dict | set) else value


def _is_same(old: Any, new: Any) -> bool:
    """Return whether a value is still as `_freeze` found it."""
    new = _freeze(new)
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        return old.dtype == new.dtype and torch.equal(old, new)
    try:
        return old is new or bool(old == new)
    except (RuntimeError, ValueError, TypeError):  # of arrays, say
        return False
