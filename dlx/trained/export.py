"""Export a trained model to a file that runs without dlx: torch.export's .pt2, ONNX, .safetensors, .skops."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlx.config.extras import install_command
from dlx.datasets.preprocessing import Field
from dlx.errors import UsageError
from dlx.models.interfaces import Pipelined, Sampling
from dlx.parts import Parts
from dlx.trained.portable import files, rows
from dlx.trained.portable.files import get_external_data_path, move_into_place, silence_exporters
from dlx.trained.portable.graph import (
    LENGTHS,
    SIGNATURES,
    Form,
    Graph,
    list_forms,
    list_tensors,
    trace,
    without_gradients,
)
from dlx.trained.portable.metadata import make_metadata
from dlx.trained.portable.rows import DisagreementError, Rows
from dlx.trained.trained import predict

ENDINGS = (".onnx", ".pt2", ".safetensors", ".skops")
TRACED = 4  # examples that a graph is traced with


class ExportResult(NamedTuple):
    """What was written, and how well it agrees with `dlx predict`."""

    path: Path
    source: str  # of what both were compared on; empty for weights alone, which are what they are
    differences: dict[str, float]  # the largest of each output, absolute
    inputs: dict[str, list[int | str]]  # their shapes; none for weights alone
    notes: tuple[str, ...] = ()  # what the file does not do
    dtypes: Mapping[str, str] = {}  # of the inputs


class _Case(NamedTuple):
    """A graph, and what it is to be compared with."""

    graph: Graph
    form: Form
    encode: Callable[[Tensor], dict[str, Tensor]]  # raw examples to the graph's inputs, but for lengths
    predicted: Mapping[str, Tensor]  # columns of `dlx predict`


def export(parts: Parts, path: Path, part: str | None = None, bare: bool = False) -> ExportResult:
    """Export a trained model; the file is compared with `dlx predict` on real rows before it gets its final name.

    The inputs are raw, in the units of the data, for a batch of any size; the outputs are the columns of `dlx predict`.
    Nothing is read from the training data: what was fitted to it is in the run.

    Args:
        parts: a trained run's, on the CPU.
        path: .onnx, .pt2, .safetensors (weights alone) or .skops.
        part: name of a submodule; None exports the whole model.
        bare: leave the preprocessing out; the inputs are what the model sees, the outputs what it returns.

    Raises:
        UsageError: the ending is unknown, the model cannot be exported, a package is missing, or the file gives other
            results than the model.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"-o {path} was given; needed: a name that ends in {', '.join(ENDINGS)}")
    learner = parts.model.pipeline if isinstance(parts.model, Pipelined) else None
    wrapped = callable(getattr(learner, "get_params", None))  # one of scikit-learn's
    if wrapped != (path.suffix == ".skops"):
        raise UsageError(
            f"{type(parts.model).__name__} wraps scikit-learn's {type(learner).__name__}, which torch cannot export; "
            f"type -o {path.with_suffix('.skops')}"
            if wrapped
            else f"-o {path} is for scikit-learn's estimators; type -o {path.with_suffix('.pt2')}"
        )
    aside = path.with_name(f".new-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if wrapped:
            result = _export_skops(parts, path, aside, bare)
        elif path.suffix == ".safetensors":
            model = parts.model if part is None else _find_module(parts, part, rows.find_rows(parts))[0]
            files.write_safetensors(model, make_metadata(parts), aside)
            result = ExportResult(path, "", {}, {})
        else:
            _check_packages(path)
            result = _export_graph(parts, path, aside, part, bare)
        move_into_place(aside, path)
        return result
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); type -o with another place") from error
    finally:
        for left in (aside, get_external_data_path(aside)):
            left.unlink(missing_ok=True)


def _check_packages(path: Path) -> None:
    needed = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if needed and path.suffix == ".onnx":
        raise UsageError(f".onnx needs {', '.join(needed)}; type {install_command('export')}, or -o FILE.pt2")


def _export_graph(parts: Parts, path: Path, aside: Path, part: str | None, bare: bool) -> ExportResult:
    """Write the first form of the graph that can be traced and translated, and compare it."""
    given = rows.find_rows(parts)
    if part is not None:
        module, x = _find_module(parts, part, given)
        given = Rows(x, None, given.source)
        forms = [Form(predictions=False)]
    else:
        module, forms = parts.model.eval(), list_forms(parts, bare)
    predicted: Mapping[str, Tensor] = {}
    if part is None and not bare:
        try:
            predicted = predict(parts, given.x, given.lengths)
        except (IndexError, RuntimeError, TypeError, ValueError):  # a model that is not one for its task
            forms = [form for form in forms if not form.predictions]
    failure: UsageError | None = None
    for form in forms:
        case = _make_case(parts, module, form, given, predicted, bare, part is not None)
        try:
            with silence_exporters(), without_gradients(parts.model):
                return _write(parts, case, given, path, aside)
        except DisagreementError:
            raise
        except UsageError as error:
            failure = failure or error  # the first form's reason is the one to be told
            aside.unlink(missing_ok=True)
    assert failure is not None
    raise failure


def _make_case(
    parts: Parts, module: nn.Module, form: Form, given: Rows, predicted: Mapping[str, Tensor], bare: bool, is_part: bool
) -> _Case:
    """Make the graph of a form, and what dlx says of the rows."""
    preprocessing = None if bare or is_part else parts.dataset.make_preprocessing().eval()
    if preprocessing is None:
        fields: tuple[Field, ...] = (_describe_model_input(parts, given, is_part),)
        encode: Any = (lambda x: {"x": x}) if is_part else (lambda x: {"x": parts.dataset.transform(x, False, None)})
    else:
        fields, encode = preprocessing.fields, preprocessing.encode
    if form.lengths:
        fields += (Field(LENGTHS, torch.int64, (), "steps of each sequence; x is padded beyond them"),)
    make = SIGNATURES[tuple(field.name for field in fields)]
    if form.predictions:
        return _Case(make(module, fields, preprocessing, parts.task), form, encode, predicted)
    with torch.no_grad():
        feed = next(rows.make_feeds(given, form, encode))
        x = feed.inputs["x"] if preprocessing is None else preprocessing(feed.inputs)
        values = list_tensors(module(x, feed.lengths) if form.lengths else module(x))
    names = ("output",) if len(values) == 1 else tuple(f"output_{i}" for i in range(len(values)))
    same = [
        name
        for name, column in predicted.items()
        if len(values) == 1 and column.shape[1:] == values[0].shape[1:]
        if torch.allclose(column[feed.rows].double(), values[0].double(), rtol=1e-4, atol=1e-5)
    ]
    names = tuple(same[:1]) or names  # the model itself returns what dlx predict shows
    return _Case(make(module, fields, preprocessing, None, names), form, encode, predicted)


def _describe_model_input(parts: Parts, given: Rows, is_part: bool) -> Field:
    """Describe the input of a bare model, or of a part of one."""
    if is_part:
        return Field("x", given.x.dtype, tuple(given.x.shape[1:]), "what the part is given within the model")
    x = parts.dataset.transform(given.x[:1], False, None)
    columns = {"columns": list(parts.dataset.columns)} if parts.dataset.columns else {}
    return Field("x", x.dtype, tuple(x.shape[1:]), "scaled, as the model sees it; see `preprocessing`", columns)


def _write(parts: Parts, case: _Case, given: Rows, path: Path, aside: Path) -> ExportResult:
    """Trace, write, read back, compare."""
    graph, form = case.graph.eval(), case.form
    # The longest rows first: a sequence of one step would be taken for one of none but one.
    order = torch.arange(len(given.x)) if given.lengths is None else given.lengths.argsort(descending=True)
    longest = Rows(given.x[order], None if given.lengths is None else given.lengths[order], given.source)
    feed = list(rows.make_feeds(longest, form, case.encode))
    example = max(feed, key=lambda one: (len(one.rows) > 1, -abs(len(one.rows) - TRACED)))
    inputs = {
        name: value if len(value) > 1 else value.repeat(2, *[1] * (value.ndim - 1))
        for name, value in example.inputs.items()
    }
    is_sequence = parts.dataset.kind in ("sequence", "symbols")
    program = trace(graph, inputs, form, is_sequence)
    with torch.no_grad():
        outputs = graph(*inputs.values())
    steps = inputs["x"].shape[1] if form.free_time and is_sequence else None
    metadata = make_metadata(parts, graph, outputs, form, steps)
    names = [field.name for field in graph.fields]
    if path.suffix == ".onnx":
        files.write_onnx(program, graph.model, names, metadata, aside)
    else:
        files.write_pt2(program, metadata, aside)
    run = files.load_onnx(aside) if path.suffix == ".onnx" else files.load_pt2(aside)
    differences = rows.compare(run, graph, rows.make_feeds(given, form, case.encode), case.predicted, parts)
    shapes = {about["name"]: about["shape"] for about in _read_inputs(metadata)}
    dtypes = {about["name"]: about["dtype"] for about in _read_inputs(metadata)}
    notes = tuple(_list_notes(parts, case, outputs, given))
    return ExportResult(path, given.source, differences, shapes, notes, dtypes)


def _read_inputs(metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    import json

    inputs: list[dict[str, Any]] = json.loads(metadata["inputs"])
    return inputs


def _list_notes(parts: Parts, case: _Case, outputs: Mapping[str, Tensor], given: Rows) -> list[str]:
    """Say what the file does not do that `dlx predict` does."""
    notes = []
    left_out = [name for name in case.predicted if name not in outputs]
    if left_out:
        notes.append(f"it has no {', '.join(left_out)}, which dlx predict shows: torch cannot trace how they are found")
    if parts.dataset.kind in ("sequence", "symbols") and not case.form.free_time:
        fill = parts.dataset.padding.flatten().tolist()
        notes.append(f"it takes sequences of {given.x.shape[1]} steps; pad shorter ones with {fill}, as training's are")
    elif case.form.free_time and not case.form.lengths:
        notes.append("it takes sequences of any length, those of a batch of the same")
    return notes


@torch.no_grad()
def _find_module(parts: Parts, name: str, given: Rows) -> tuple[nn.Module, Tensor]:
    """Return a submodule, and its input while the model predicts, or else generates."""
    model = parts.model.eval()
    modules = dict(model.named_modules())
    if name not in modules:
        known = [known for known in modules if known and known.count(".") < 2]
        raise UsageError(f"--module {name} was given; {type(model).__name__} has {', '.join(known)}")
    seen: list[Any] = []
    hook = modules[name].register_forward_pre_hook(lambda module, given: seen.extend(given))
    x = parts.dataset.transform(given.x, False, None)
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


def _export_skops(parts: Parts, path: Path, aside: Path, bare: bool) -> ExportResult:
    """Write scikit-learn's pipeline, with the dataset's scaling as its first step, as skops keeps it."""
    from skops import io

    from dlx.models.estimator.serialization import dumps
    from dlx.trained.portable.estimators import add_preprocessing, find_difference

    model: Any = parts.model
    dataset = parts.dataset
    dataset.make_preprocessing()  # refuses what is drawn
    given = rows.find_rows(parts)
    data = dumps(model.pipeline if bare else add_preprocessing(model.pipeline, dataset))
    reloaded = io.loads(data, trusted=io.get_untrusted_types(data=data))  # written a moment ago, by us
    method, difference = find_difference(reloaded, model.pipeline, given.x, dataset, bare)
    if not difference <= rows.RELATIVE_TOLERANCE:
        raise DisagreementError(
            f"{path}: what was written gives other results than the estimator, by {difference:.3g}, so it was not kept"
        )
    aside.write_bytes(data)
    what = "rows that are scaled as the run does" if bare else "raw rows, in the units of the data; it scales them"
    notes = [f"it takes {what}, as numpy arrays of float64, (batch, {given.x[0].numel()})"]
    if dataset.columns:
        notes.append(f"its columns are {', '.join(dataset.columns)}")
    if dataset.names and hasattr(reloaded, "classes_"):
        notes.append(f"its classes are {', '.join(f'{k} {name}' for k, name in enumerate(dataset.names))}")
    shapes: dict[str, list[int | str]] = {"x": ["batch", given.x[0].numel()]}
    return ExportResult(path, given.source, {method: difference}, shapes, tuple(notes), {"x": "float64"})
