"""Write exported files, and read them back as a user would: ONNX, torch.export's .pt2, and .safetensors."""

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlx.config.extras import install_command
from dlx.errors import UsageError
from dlx.trained.portable.rows import Run

MAX_EMBEDDED_BYTES = 2**30  # of weights; above, ONNX keeps them in a second file, as protobuf ends at 2 GiB
METADATA = "dlx.json"  # of a .pt2, which holds files


def write_onnx(
    program: torch.export.ExportedProgram,
    model: nn.Module,
    names: Sequence[str],
    metadata: Mapping[str, str],
    path: Path,
) -> None:
    """Write a traced graph as ONNX.

    Args:
        program: traced; its outputs are a mapping.
        model: whose size decides where the weights go.
        names: of the inputs.
        metadata: of the file, which says the outputs' names too.
        path: where.

    Raises:
        UsageError: an operator has no translation.
    """
    outputs = [output["name"] for output in json.loads(metadata["outputs"])]
    size = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    try:
        written = torch.onnx.export(program, dynamo=True, input_names=list(names), output_names=outputs, verbose=False)
        assert written is not None
        written.model.metadata_props.update(metadata)
        _name_dimensions(written.model, json.loads(metadata["inputs"]))
        written.save(path, external_data=size > MAX_EMBEDDED_BYTES)
    except OSError:
        raise
    except Exception as error:  # onnxscript has errors of its own for operators without a translation
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{type(model).__name__} cannot be written as ONNX: {reason.strip()[:300]}; type -o FILE.pt2"
        ) from error


def _name_dimensions(model: Any, inputs: Sequence[Mapping[str, Any]]) -> None:
    """Name the free dimensions, for which the exporter has letters: batch, time."""
    import onnx_ir

    names: dict[str, str] = {}
    for value, about in zip(model.graph.inputs, inputs, strict=True):
        for dimension, size in zip(value.shape, about["shape"], strict=True):
            if isinstance(size, str) and not isinstance(dimension, int):
                names[str(dimension.value)] = size
    values = [*model.graph.inputs, *(output for node in model.graph.all_nodes() for output in node.outputs)]
    for value in values:
        for i, dimension in enumerate(value.shape or ()):
            if not isinstance(dimension, int) and str(dimension.value) in names:
                value.shape[i] = onnx_ir.SymbolicDim(names[str(dimension.value)])


def load_onnx(path: Path) -> Run:
    """Load an ONNX file in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = session.run(None, {name: value.numpy() for name, value in given.items()})
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

    return run


def write_pt2(program: torch.export.ExportedProgram, metadata: Mapping[str, str], path: Path) -> None:
    """Write a traced graph as torch.export does, with its metadata beside it."""
    torch.export.save(program, path, extra_files={METADATA: json.dumps(dict(metadata), ensure_ascii=False)})


def load_pt2(path: Path) -> Run:
    """Load a .pt2 as a module."""
    module = torch.export.load(path).module()
    return lambda given: module(*given.values())


def write_safetensors(model: nn.Module, metadata: Mapping[str, str], path: Path) -> None:
    """Write a model's weights, and compare what was written with them.

    Raises:
        UsageError: the package is not there.
    """
    try:
        from safetensors.torch import load_file, save_file
    except ImportError as error:
        raise UsageError(
            f".safetensors needs the package safetensors; type {install_command('safetensors')}"
        ) from error
    weights = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, path, metadata=dict(metadata))
    written = load_file(path)
    if written.keys() != weights.keys() or not all(torch.equal(written[name], weights[name]) for name in weights):
        raise UsageError(f"{path}: what was written holds other numbers than the model, so it was not kept")


def get_external_data_path(path: Path) -> Path:
    """Return where ONNX keeps weights that are too large for one file."""
    return path.with_name(path.name + ".data")


def move_into_place(aside: Path, path: Path) -> None:
    """Give a file its final name."""
    if get_external_data_path(aside).exists():  # the model refers to it by name, so it is written under its final one
        import onnx

        onnx.save(onnx.load(aside), path, save_as_external_data=True, location=get_external_data_path(path).name)
        return
    os.replace(aside, path)


@contextlib.contextmanager
def silence_exporters() -> Iterator[None]:
    """Silence the exporters: they warn of their own deprecated internals and log what they do."""
    levels: list[tuple[Any, int]] = []
    for name in ("torch.onnx", "torch.export", "torch.fx", "torch._export", "onnxscript", "onnx_ir"):
        logger = logging.getLogger(name)
        levels.append((logger, logger.level))
        logger.setLevel(logging.ERROR)
    try:
        unread = io.StringIO()  # a graph that cannot be traced is printed as far as it goes
        with warnings.catch_warnings(), contextlib.redirect_stdout(unread), contextlib.redirect_stderr(unread):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)
