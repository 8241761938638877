"""A computation as the plain operators that it comes down to, recorded once and played again with other tensors.

What `vmap` and autograd do in between, dispatching each operator through several layers, then costs nothing. Unlike
torch's `make_fx` this loads no compiler, which takes longer than many a sweep.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from dlx.vectorized.not_vectorizable import NotVectorizable
from dlx.vectorized.op_replacements import OP_REPLACEMENTS

Replay = Callable[..., tuple[Tensor, ...]]
MemoryPool = dict[Any, list[Tensor]]  # by shape and kind
aten = torch.ops.aten
ALLOCATIONS = {
    aten.empty.memory_format,
    aten.new_empty.default,
    aten.empty_like.default,
}  # for memory, whatever is in it


class _Recorder(TorchDispatchMode):
    def __init__(self, inputs: Sequence[Tensor], memory: MemoryPool) -> None:
        super().__init__()
        self.memory, self.asked = memory, Counter[Any]()
        self.names = {id(tensor): f"a{i}" for i, tensor in enumerate(inputs)}
        self.kept: list[Any] = list(inputs)  # alive, so that no identity is used twice
        self.calls: list[tuple[Any, Any, Any, list[str]]] = []  # operator, arguments, named ones, what it makes
        self.constants: dict[str, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            raise NotVectorizable("their step asks for a number's value on the way")
        given = tree_map(self._name, (args, kwargs))
        func = OP_REPLACEMENTS.get(func, func)  # what follows goes by how its answer lies in memory
        out = func(*args, **kwargs)
        if func in ALLOCATIONS:
            return self._lasting(out)
        if getattr(func, "is_view", False) and str(given[0][0]) in self.constants:
            tree_map(self._name, out)  # a view of what stays stays
            return out
        made = []
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and id(tensor) not in self.names:
                self.names[id(tensor)] = name = f"v{len(self.kept)}"
                self.kept.append(tensor)
                made.append(name)
            else:  # what was changed in place has its name
                made.append("_")
        self.calls.append((func, *given, made))
        return out

    def _lasting(self, asked: Tensor) -> Tensor:
        """Memory that is there for every play: a large block anew costs more than what is then written into it."""
        kind = asked.shape, asked.stride(), asked.dtype, asked.device
        kept, number = self.memory.setdefault(kind, []), self.asked[kind]
        self.asked[kind] += 1
        if number == len(kept):
            kept.append(asked)
        self._name(kept[number])
        return kept[number]

    def _name(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            if id(value) not in self.names:
                self.names[id(value)] = name = f"c{len(self.kept)}"
                self.constants[name] = value
                self.kept.append(value)
            return _SourceText(self.names[id(value)])
        written = value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value))
        return _SourceText(repr(value)) if written else self._held(value)

    def _held(self, value: Any) -> "_SourceText":
        name = f"c{len(self.kept)}"
        self.kept.append(value)
        self.constants[name] = value
        return _SourceText(name)


# torch marks the method as not to be compiled, and the mark loads the compiler when the method is first called.
_Recorder.__torch_dispatch__ = getattr(  # type: ignore[method-assign]
    _Recorder.__torch_dispatch__, "__wrapped__", _Recorder.__torch_dispatch__
)


class _SourceText(str):
    """Source text of an argument."""

    def __repr__(self) -> str:
        return str(self)


def record_ops(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], memory: MemoryPool | None = None
) -> Replay:
    """What `function` does to tensors such as these, as one that does just that.

    Args:
        function: of the inputs; it may change them in place, and must not ask for a value.
        inputs: to try it with; they are changed as it changes them.
        memory: that it shares with others, which are never played while it is.

    Returns:
        A function of as many tensors, of the same shapes. Random numbers are drawn anew at each call.
    """
    recorder = _Recorder(inputs, {} if memory is None else memory)
    with recorder:
        out = [tensor.clone() for tensor in function(*inputs)]  # the next play would write into it
    answers = [str(recorder._name(tensor)) for tensor in out]
    return _compile_replay(recorder, len(inputs), answers)


def _compile_replay(recorder: _Recorder, count: int, answers: list[str]) -> Replay:
    """The recorded calls as a Python function, but for those that nobody needs; tensors go after their last use."""
    needed, lines = set(answers), []
    for number, (func, args, kwargs, made) in reversed(list(enumerate(recorder.calls))):
        if not (needed & {*made} or (hasattr(func, "_schema") and func._schema.is_mutable)):
            continue
        used = {str(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, _SourceText)}
        last = [name for name in sorted((used | {*made}) - needed) if name.startswith("v")]
        needed |= used
        name = f"f{number}"
        recorder.constants[name] = func
        words = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
        target = ", ".join(made) + ("," if len(made) > 1 else "")
        free = f"; {' = '.join(last)} = None" if last else ""
        lines.append(f"    {target or '_'} = {name}({', '.join(words)}){free}")
    source = [f"def played({', '.join(f'a{i}' for i in range(count))}):", *reversed(lines)]
    source.append(f"    return ({''.join(f'{answer}, ' for answer in answers)})")
    space = dict(recorder.constants)
    exec("\n".join(source), space)
    played: Replay = space["played"]
    return played
