"""Record the plain operators that a computation comes down to, and replay them with other tensors.

The dispatch of each operator through the layers of `vmap` and autograd is then paid for once. Unlike torch's `make_fx`
this loads no compiler, which takes longer than many a sweep.
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
MemoryPool = dict[Any, list[Tensor]]  # by shape, strides, type and device
aten = torch.ops.aten
ALLOCATIONS = {aten.empty.memory_format, aten.new_empty.default, aten.empty_like.default}  # of uninitialized memory


class _Recorder(TorchDispatchMode):
    """Notes each operator that is called: its arguments and results, by name."""

    def __init__(self, inputs: Sequence[Tensor], memory: MemoryPool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memory, self.n_allocated = memory, Counter[Any]()
        self.names = {id(tensor): f"a{i}" for i, tensor in enumerate(inputs)}
        self.kept: list[Any] = list(inputs)  # alive, so that no identity is used twice
        self.calls: list[tuple[Any, Any, Any, list[str]]] = []  # operator, args, kwargs, names of its results
        self.constants: dict[str, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            raise NotVectorizable("their step asks for a number's value on the way")
        given = tree_map(self._name, (args, kwargs))
        func = OP_REPLACEMENTS.get(func, func)  # what follows depends on the strides of its result
        out = func(*args, **kwargs)
        if func in ALLOCATIONS:
            return self._reuse_memory(out)
        if getattr(func, "is_view", False) and str(given[0][0]) in self.constants:
            tree_map(self._name, out)  # a view of a constant is a constant
            return out
        results = []
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and id(tensor) not in self.names:
                self.names[id(tensor)] = name = f"v{len(self.kept)}"
                self.kept.append(tensor)
                results.append(name)
            else:  # changed in place: it has a name
                results.append("_")
        self.calls.append((func, *given, results))
        return out

    def _reuse_memory(self, allocated: Tensor) -> Tensor:
        """Return memory that every replay reuses: allocating a large block costs more than writing into it."""
        kind = allocated.shape, allocated.stride(), allocated.dtype, allocated.device
        kept, number = self.memory.setdefault(kind, []), self.n_allocated[kind]
        self.n_allocated[kind] += 1
        if number == len(kept):
            kept.append(allocated)
        self._name(kept[number])
        return kept[number]

    def _name(self, value: Any) -> Any:
        """Return the source text of an argument; a tensor that is not known yet becomes a constant."""
        if isinstance(value, Tensor):
            if id(value) not in self.names:
                self.names[id(value)] = name = f"c{len(self.kept)}"
                self.constants[name] = value
                self.kept.append(value)
            return _SourceText(self.names[id(value)])
        is_literal = (
            value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value))
        )
        return _SourceText(repr(value)) if is_literal else self._name_constant(value)

    def _name_constant(self, value: Any) -> "_SourceText":
        """Keep a value under a name of its own."""
        name = f"c{len(self.kept)}"
        self.kept.append(value)
        self.constants[name] = value
        return _SourceText(name)


# torch marks the method as not to be compiled, and the mark loads the compiler at the method's first call.
_Recorder.__torch_dispatch__ = getattr(  # type: ignore[method-assign]
    _Recorder.__torch_dispatch__, "__wrapped__", _Recorder.__torch_dispatch__
)


class _SourceText(str):
    """Source text of an argument, which prints without quotes."""

    def __repr__(self) -> str:
        return str(self)


def record_ops(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], memory: MemoryPool | None = None
) -> Replay:
    """Record the operators that `function` calls. Returns a function that calls just these.

    Args:
        function: takes the inputs; it may change them in place, and must not ask for a value.
        inputs: to call it with; they are changed as it changes them.
        memory: shared with other recordings, which never run at the same time.

    Returns:
        A function of as many tensors, of the same shapes. Random numbers are drawn anew at each call.
    """
    recorder = _Recorder(inputs, {} if memory is None else memory)
    with recorder:
        out = [tensor.clone() for tensor in function(*inputs)]  # the next replay would write into it
    outputs = [str(recorder._name(tensor)) for tensor in out]
    return _compile_replay(recorder, len(inputs), outputs)


def _compile_replay(recorder: _Recorder, count: int, outputs: list[str]) -> Replay:
    """Compile the recorded calls that are needed to a Python function; tensors are freed after their last use."""
    needed, lines = set(outputs), []
    for number, (func, args, kwargs, results) in reversed(list(enumerate(recorder.calls))):
        if not (needed & {*results} or (hasattr(func, "_schema") and func._schema.is_mutable)):
            continue
        used = {str(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, _SourceText)}
        last = [name for name in sorted((used | {*results}) - needed) if name.startswith("v")]
        needed |= used
        name = f"f{number}"
        recorder.constants[name] = func
        words = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
        target = ", ".join(results) + ("," if len(results) > 1 else "")
        free = f"; {' = '.join(last)} = None" if last else ""
        lines.append(f"    {target or '_'} = {name}({', '.join(words)}){free}")
    source = [f"def replay({', '.join(f'a{i}' for i in range(count))}):", *reversed(lines)]
    source.append(f"    return ({''.join(f'{output}, ' for output in outputs)})")
    space = dict(recorder.constants)
    exec("\n".join(source), space)
    replay: Replay = space["replay"]
    return replay
