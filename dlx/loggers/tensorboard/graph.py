"""Record a model's graph for TensorBoard during one forward pass.

Every torch function called becomes a node, within the modules that called it, with the shapes of its results. Unlike
torch.jit.trace this needs no compiler, gives no warnings and follows any Python.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from dlx.loggers.tensorboard.wire import field


class Node(NamedTuple):
    """One call: its scoped name, the function, the names of its input nodes, and the shapes of its results."""

    name: str
    function: str
    inputs: list[str]
    shapes: list[tuple[int, ...]]


@torch.no_grad()
def trace_graph(model: nn.Module, example: Tensor, limit: int = 3000) -> list[Node]:
    """Return the nodes of one forward pass in evaluation mode, at most `limit` of them.

    The model's mode and torch's random numbers are restored.

    Args:
        model: called on the example alone.
        example: (batch, *shape), on the model's device.
        limit: of the number of nodes, for long loops.
    """
    training = model.training
    devices = [example.device] if example.device.type == "cuda" else []
    tracer = _GraphTracer(model, example, limit)
    with torch.random.fork_rng(devices), tracer.track_scopes():
        model.eval()
        try:
            with tracer:
                out = model.forward(example)  # not model(): that may be compiled
        finally:
            model.train(training)
    inputs = [name for tensor in _find_tensors(out) if (name := tracer.names.get(id(tensor)))]
    return [*tracer.nodes, Node("output", "output", inputs, [tuple(tensor.shape) for tensor in _find_tensors(out)])]


class _GraphTracer(TorchFunctionMode):
    def __init__(self, model: nn.Module, example: Tensor, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.root = type(model).__name__
        self.paths = {module: f"{self.root}/{name.replace('.', '/')}" for name, module in model.named_modules() if name}
        self.scopes = [self.root]
        self.nodes = [Node("input", "input", [], [tuple(example.shape)])]
        self.names = {id(example): "input"}
        self.used: Counter[str] = Counter()
        self.kept: list[Any] = [example]  # alive, so that no identity is used twice

    @contextlib.contextmanager
    def track_scopes(self) -> Iterator[None]:
        """Keep `scopes` up to date with the modules that are running."""

        def enter(module: nn.Module, _: Any) -> None:
            self.scopes.append(self.paths.get(module, self.scopes[-1]))

        def leave(*_: Any) -> None:
            self.scopes.pop()

        hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "function")
        if name == "__get__":  # an attribute, such as x.T
            name = getattr(func.__self__, "__name__", name)
        inputs = _find_tensors((args, kwargs))
        outputs = inputs[:1] if name == "__setitem__" else _find_tensors(out)
        if outputs and len(self.nodes) < self.limit:
            self._add_node(name.strip("_") or name, inputs, outputs)
        return out

    def _add_node(self, function: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        path = f"{self.scopes[-1]}/{function}"
        again = self.used[path]
        self.used[path] += 1
        sources = [self.names[id(tensor)] for tensor in inputs if id(tensor) in self.names]
        node = Node(f"{path}_{again}" if again else path, function, sources, [tuple(t.shape) for t in outputs])
        self.nodes.append(node)
        self.names.update(dict.fromkeys(map(id, outputs), node.name))
        self.kept.append(outputs)


def _find_tensors(value: Any) -> list[Tensor]:
    """Return the tensors in nested tuples, lists and dicts, without parameters."""
    if isinstance(value, Tensor):
        return [] if isinstance(value, nn.Parameter) else [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _find_tensors(item)]
    return []


def encode_graph(nodes: list[Node]) -> bytes:
    """Encode nodes as a GraphDef protobuf message (TensorBoard's graph.proto, node_def.proto, attr_value.proto)."""
    parts = [field(4, field(1, 22))]  # versions.producer: any version that knows these fields
    for node in nodes:
        sizes = (b"".join(field(2, field(1, size)) for size in shape) for shape in node.shapes)
        shapes = b"".join(field(7, dims) for dims in sizes)  # AttrValue.ListValue.shape
        attribute = field(5, field(1, "_output_shapes") + field(2, field(1, shapes)))
        inputs = b"".join(field(3, name) for name in node.inputs)
        parts.append(field(1, field(1, node.name) + field(2, node.function) + inputs + attribute))
    return b"".join(parts)
