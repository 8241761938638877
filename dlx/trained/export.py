"""Export a trained model to a file that runs without dlx: torch.export's .pt2, ONNX, or an estimator's .skops."""

import contextlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dlx.config.extras import install_command
from dlx.errors import UsageError
from dlx.models.interfaces import Pipelined, Sampling
from dlx.parts import Parts

ENDINGS = (".onnx", ".pt2", ".skops")
MAX_EMBEDDED_BYTES = 2**30  # of weights; above, ONNX keeps them in a second file, as protobuf ends at 2 GiB
RELATIVE_TOLERANCE = 1e-4  # of the largest output: float32 sums in a different order


class ExportResult(NamedTuple):
    """What was written, and how well it agrees with the model."""

    path: Path
    examples: int  # of real data on which both were compared, in batches of several sizes
    difference: float  # largest, absolute
    shape: list[int]  # of the input, without the batch


def export(parts: Parts, path: Path, part: str | None = None) -> ExportResult:
    """Export a trained model; the file is compared with the model on real data before it gets its final name.

    The input is what the model sees: a batch of any size, after the dataset's scaling.

    Args:
        parts: a trained run's, on the CPU.
        path: .onnx, .pt2 or .skops.
        part: name of a submodule; None exports the whole model.

    Raises:
        UsageError: the ending is unknown, the model cannot be exported, a package is missing, or the file gives other
            results than the model.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"-o {path} was given; needed: a name that ends in {', '.join(ENDINGS)}")
    learner = parts.model.pipeline if isinstance(parts.model, Pipelined) else None
    wrapped = callable(getattr(learner, "get_params", None))  # one of scikit-learn's
    if wrapped and path.suffix == ".skops":
        return _export_skops(parts.model, get_example_inputs(parts), path)
    if path.suffix == ".skops":
        raise UsageError(f"-o {path} is for scikit-learn's estimators; type -o {path.with_suffix('.pt2')}")
    if wrapped:
        raise UsageError(
            f"{type(parts.model).__name__} wraps scikit-learn's {type(learner).__name__}, which torch cannot export; "
            f"type -o {path.with_suffix('.skops')}"
        )
    if path.suffix == ".onnx":
        needed = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        if needed:
            raise UsageError(f".onnx needs {', '.join(needed)}; type {install_command('export')}, or -o FILE.pt2")
    model, x = (parts.model.eval(), get_example_inputs(parts)) if part is None else _find_module(parts, part)
    aside = path.with_name(f".new-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _silence_exporters():
            program = _export_program(model, x)
            if path.suffix == ".onnx":
                _write_onnx(program, model, aside)
            else:
                torch.export.save(program, aside)
        run = _load_onnx(aside) if path.suffix == ".onnx" else _load_pt2(aside)
        difference = check_agreement(model, run, x)
        _move_into_place(aside, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); type -o with another place") from error
    finally:
        for left in (aside, _external_data_path(aside)):
            left.unlink(missing_ok=True)
    return ExportResult(path, len(x), difference, list(x.shape[1:]))


def get_example_inputs(parts: Parts, number: int = 16) -> Tensor:
    """Return real inputs as the model sees them, (up to `number`, *shape)."""
    split = next(name for name in ("test", "val", "train") if parts.data.has_split(name))
    return next(iter(parts.data.split(split))).x[:number]


@torch.no_grad()
def _find_module(parts: Parts, name: str) -> tuple[nn.Module, Tensor]:
    """Return a submodule, and its input while the model predicts, or else generates."""
    model = parts.model.eval()
    modules = dict(model.named_modules())
    if name not in modules:
        known = [known for known in modules if known and known.count(".") < 2]
        raise UsageError(f"--module {name} was given; {type(model).__name__} has {', '.join(known)}")
    seen: list[Any] = []
    hook = modules[name].register_forward_pre_hook(lambda module, given: seen.extend(given))
    x = get_example_inputs(parts)
    try:
        model(x)
        if not seen and isinstance(model, Sampling):
            model.sample(len(x))
    finally:
        hook.remove()
    if len(seen) != 1 or not isinstance(seen[0], Tensor):
        used = f"is used {len(seen)} times" if seen else "is not used"
        raise UsageError(
            f"--module {name} was given, which {used} when the model predicts or generates; needed: a part that is "
            f"used once, with one tensor; {type(model).__name__} has {', '.join(dict(model.named_children()))}"
        )
    return modules[name], seen[0]


@torch.no_grad()
def check_agreement(model: nn.Module, run: Callable[[Tensor], list[Tensor]], x: Tensor) -> float:
    """Return the largest difference between a model and its export, over batches of several sizes.

    Raises:
        UsageError: it is larger than rounding explains.
    """
    largest = 0.0
    for size in sorted({1, min(2, len(x)), min(5, len(x)), len(x)}):
        expected = [value for value in pytree.tree_leaves(model(x[:size])) if isinstance(value, Tensor)]
        actual = run(x[:size])
        for a, b in zip(expected, actual, strict=True):
            difference = float((a.double() - b.double()).abs().max()) if a.shape == b.shape else float("inf")
            if not difference <= RELATIVE_TOLERANCE * max(1.0, float(a.abs().max())):
                raise UsageError(
                    f"the exported file gives other results than the model for a batch of {size} (largest difference "
                    f"{difference:.3g}), so it was not kept: the model draws random numbers, or the exporter does not "
                    "know one of its operators; type -o with the other of .onnx and .pt2"
                )
            largest = max(largest, difference)
    return largest


def _export_program(model: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """Export the model's graph for any batch size."""
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    try:
        with torch.no_grad():
            return torch.export.export(model, (x[: max(2, min(len(x), 4))],), dynamic_shapes=sizes)
    except Exception as error:  # the tracer fails in many ways on what it cannot follow
        if "specialized" in str(error):
            raise UsageError(
                f"{type(model).__name__} cannot be exported: its forward pass fixes the size of the batch; needed: one "
                "for any size (len(x) makes a fixed number of it, x.shape[0] does not)"
            ) from error
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{type(model).__name__} cannot be exported: torch.export says {reason.strip()[:300]}; needed: a forward "
            "pass whose course does not depend on the values"
        ) from error


def _write_onnx(program: torch.export.ExportedProgram, model: nn.Module, path: Path) -> None:
    size = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    try:
        torch.onnx.export(
            program,
            f=path,
            dynamo=True,
            input_names=["x"],
            external_data=size > MAX_EMBEDDED_BYTES,
            verbose=False,
        )
    except OSError:
        raise
    except Exception as error:  # onnxscript has errors of its own for operators without a translation
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{type(model).__name__} cannot be written as ONNX: {reason.strip()[:300]}; type -o FILE.pt2"
        ) from error


def _load_onnx(path: Path) -> Callable[[Tensor], list[Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: [torch.from_numpy(value) for value in session.run(None, {name: x.numpy()})]


def _load_pt2(path: Path) -> Callable[[Tensor], list[Tensor]]:
    module = torch.export.load(path).module()
    return lambda x: [value for value in pytree.tree_leaves(module(x)) if isinstance(value, Tensor)]


def _export_skops(model: Any, x: Tensor, path: Path) -> ExportResult:
    """Write scikit-learn's pipeline, scaling included, in the bytes that checkpoints hold."""
    from skops import io

    from dlx.models.estimator.serialization import dumps

    data = dumps(model.pipeline)
    reloaded = io.loads(data, trusted=io.get_untrusted_types(data=data))  # written a moment ago, by us
    rows = x.flatten(1).cpu().double().numpy()
    method = next(name for name in ("predict_proba", "predict", "transform") if hasattr(reloaded, name))
    if not np.array_equal(getattr(model.pipeline, method)(rows), getattr(reloaded, method)(rows)):
        raise UsageError(f"{path}: what was written gives other results than the estimator, so it was not kept")
    aside = path.with_name(f".new-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        os.replace(aside, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); type -o with another place") from error
    return ExportResult(path, len(x), 0.0, [rows.shape[1]])


def _external_data_path(path: Path) -> Path:
    """Return where ONNX keeps weights that are too large for one file."""
    return path.with_name(path.name + ".data")


def _move_into_place(aside: Path, path: Path) -> None:
    if _external_data_path(
        aside
    ).exists():  # the model refers to this file by name, so it must be written under its final one
        import onnx

        onnx.save(onnx.load(aside), path, save_as_external_data=True, location=_external_data_path(path).name)
        return
    os.replace(aside, path)


@contextlib.contextmanager
def _silence_exporters() -> Iterator[None]:
    """Silence the exporters: they warn of their own deprecated internals and log what they do."""
    levels: list[tuple[Any, int]] = []
    for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir"):
        logger = logging.getLogger(name)
        levels.append((logger, logger.level))
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)
