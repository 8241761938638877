"""A trained model as a file that runs without dlx: torch.export's .pt2, ONNX, or an estimator's .skops."""

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
EMBEDDED = 2**30  # bytes of weights above which ONNX keeps them in a file beside it; protobuf ends at 2 GiB
RELATIVE = 1e-4  # of the largest output: float32 sums in another order


class Exported(NamedTuple):
    """What was written, and how well it agrees with the model."""

    path: Path
    examples: int  # of real data on which both were compared, in batches of several sizes
    difference: float  # largest, absolute
    shape: list[int]  # of the input, without the batch


def export(parts: Parts, path: Path, part: str | None = None) -> Exported:
    """Write a trained model, and compare what was written with it on real data before it takes its name.

    The input is what the model sees: a batch of any size, after the dataset's scaling.

    Args:
        parts: a trained run's, on the processor.
        path: .onnx, .pt2 or .skops.
        part: name of a module within the model; None for the whole.

    Raises:
        UsageError: another ending, a model that cannot be exported, a missing package, or a file that gives other
            results than the model.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"-o {path} was given; needed: a name that ends in {', '.join(ENDINGS)}")
    learner = parts.model.pipeline if isinstance(parts.model, Pipelined) else None
    wrapped = callable(getattr(learner, "get_params", None))  # one of scikit-learn's
    if wrapped and path.suffix == ".skops":
        return _skops(parts.model, examples(parts), path)
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
    model, x = (parts.model.eval(), examples(parts)) if part is None else _part(parts, part)
    aside = path.with_name(f".new-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _calm():
            program = _program(model, x)
            if path.suffix == ".onnx":
                _write_onnx(program, model, aside)
            else:
                torch.export.save(program, aside)
        run = _onnx(aside) if path.suffix == ".onnx" else _pt2(aside)
        difference = agree(model, run, x)
        _take_name(aside, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); type -o with another place") from error
    finally:
        for left in (aside, _data(aside)):
            left.unlink(missing_ok=True)
    return Exported(path, len(x), difference, list(x.shape[1:]))


def examples(parts: Parts, number: int = 16) -> Tensor:
    """Real inputs as the model sees them, (up to `number`, *shape)."""
    split = next(name for name in ("test", "val", "train") if parts.data.has_split(name))
    return next(iter(parts.data.split(split))).x[:number]


@torch.no_grad()
def _part(parts: Parts, name: str) -> tuple[nn.Module, Tensor]:
    """A module within the model, and what it is given while the model predicts, or else generates."""
    model = parts.model.eval()
    modules = dict(model.named_modules())
    if name not in modules:
        known = [known for known in modules if known and known.count(".") < 2]
        raise UsageError(f"--module {name} was given; {type(model).__name__} has {', '.join(known)}")
    seen: list[Any] = []
    hook = modules[name].register_forward_pre_hook(lambda module, given: seen.extend(given))
    x = examples(parts)
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
def agree(model: nn.Module, run: Callable[[Tensor], list[Tensor]], x: Tensor) -> float:
    """The largest difference between a model and what was exported, over batches of several sizes.

    Raises:
        UsageError: it is larger than rounding explains.
    """
    largest = 0.0
    for size in sorted({1, min(2, len(x)), min(5, len(x)), len(x)}):
        wanted = [value for value in pytree.tree_leaves(model(x[:size])) if isinstance(value, Tensor)]
        given = run(x[:size])
        for a, b in zip(wanted, given, strict=True):
            difference = float((a.double() - b.double()).abs().max()) if a.shape == b.shape else float("inf")
            if not difference <= RELATIVE * max(1.0, float(a.abs().max())):
                raise UsageError(
                    f"the exported file gives other results than the model for a batch of {size} (largest difference "
                    f"{difference:.3g}), so it was not kept: the model draws random numbers, or the exporter does not "
                    "know one of its operators; type -o with the other of .onnx and .pt2"
                )
            largest = max(largest, difference)
    return largest


def _program(model: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """The model's graph for any batch size."""
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
            external_data=size > EMBEDDED,
            verbose=False,
        )
    except OSError:
        raise
    except Exception as error:  # onnxscript has errors of its own for operators without a translation
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{type(model).__name__} cannot be written as ONNX: {reason.strip()[:300]}; type -o FILE.pt2"
        ) from error


def _onnx(path: Path) -> Callable[[Tensor], list[Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: [torch.from_numpy(value) for value in session.run(None, {name: x.numpy()})]


def _pt2(path: Path) -> Callable[[Tensor], list[Tensor]]:
    module = torch.export.load(path).module()
    return lambda x: [value for value in pytree.tree_leaves(module(x)) if isinstance(value, Tensor)]


def _skops(model: Any, x: Tensor, path: Path) -> Exported:
    """scikit-learn's pipeline, scaling included, in the bytes that checkpoints hold."""
    from skops import io

    from dlx.models.estimator.serialization import dumps

    data = dumps(model.pipeline)
    again = io.loads(data, trusted=io.get_untrusted_types(data=data))  # written a moment ago, by us
    rows = x.flatten(1).cpu().double().numpy()
    method = next(name for name in ("predict_proba", "predict", "transform") if hasattr(again, name))
    if not np.array_equal(getattr(model.pipeline, method)(rows), getattr(again, method)(rows)):
        raise UsageError(f"{path}: what was written gives other results than the estimator, so it was not kept")
    aside = path.with_name(f".new-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        os.replace(aside, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); type -o with another place") from error
    return Exported(path, len(x), 0.0, [rows.shape[1]])


def _data(path: Path) -> Path:
    """Where ONNX keeps weights that are too large for one file."""
    return path.with_name(path.name + ".data")


def _take_name(aside: Path, path: Path) -> None:
    if _data(aside).exists():  # the model names this file, so it must be written under its last name
        import onnx

        onnx.save(onnx.load(aside), path, save_as_external_data=True, location=_data(path).name)
        return
    os.replace(aside, path)


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """The exporters warn of their own deprecated insides and log what they do; neither is for the user."""
    loud: list[tuple[Any, int]] = []
    for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir"):
        logger = logging.getLogger(name)
        loud.append((logger, logger.level))
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loud:
            logger.setLevel(level)
