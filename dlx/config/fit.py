"""Check that the model fits the dataset, the dataset the task, and the procedure the trainer; if not, say what does."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlx.config.catalogue import Catalogue, Entry, accepts_dataset, find_signature, provides_targets, supports_task
from dlx.config.distributed_support import check_distributed_support
from dlx.config.hydra_internals import is_empty
from dlx.config.overrides import Word, list_choices
from dlx.config.report import Location, Problem
from dlx.config.static.schema import format_value

MAX_ALTERNATIVES = 12  # alternatives that are named


def check_fit(
    config: DictConfig, choices: Mapping[str, Any], catalogue: Catalogue, given: Mapping[tuple[str, ...], str]
) -> list[Problem]:
    """Check that the model takes the dataset's examples, the dataset has what the task needs, and the rest fits too."""
    nodes = {name: _to_dict(config.get(name)) for name in ("model", "dataset", "task", "procedure", "trainer")}
    attributes = {}
    for name, node in nodes.items():
        target = node.get("_target_")
        signature = find_signature(target) if isinstance(target, str) else None
        attributes[name] = signature.attributes if signature else {}
    if not accepts_dataset(attributes["model"], attributes["dataset"], nodes["dataset"]):
        return [_report_misfit(choices, attributes, nodes, catalogue, given)]
    if not provides_targets(attributes["task"].get("needs"), nodes["dataset"]):
        return [_report_missing_targets(choices, attributes["task"]["needs"], catalogue, given)]
    if not supports_task(nodes["model"], attributes["task"]):
        return [_report_unsupported_task(choices, bool(nodes["model"].get("bidirectional")), catalogue, given)]
    if nodes["trainer"].get("strategy"):
        refused = check_distributed_support(nodes["procedure"], nodes["trainer"], str(choices.get("procedure")))
        if refused:
            return [Problem(given.get(("trainer",), f"trainer.strategy={nodes['trainer']['strategy']}"), *refused)]
    if nodes["trainer"].get("batch") == "auto" and attributes["procedure"].get("by_batches") is False:
        return [_report_auto_batch(str(choices.get("procedure")), given)]
    if attributes["procedure"].get("by_layers"):
        return _report_unequal_epochs(nodes["procedure"].get("epochs"), nodes["trainer"].get("epochs"), given)
    return []


def _report_misfit(
    choices: Mapping[str, Any],
    attributes: Mapping[str, Any],
    nodes: Mapping[str, Any],
    catalogue: Catalogue,
    given: Any,
) -> Problem:
    model, dataset = str(choices.get("model")), str(choices.get("dataset"))
    takes = attributes["model"].get("accepts")
    kinds = " or ".join([takes] if isinstance(takes, str) else takes or [])
    least = attributes["model"].get("min_size")
    size = f" of at least {least}×{least}" if least else ""
    shape, kind = nodes["dataset"].get("shape"), attributes["dataset"].get("kind")
    has = f"{kind} data" + (f" of shape {format_value(shape)}" if shape else "")
    sets, models = _find_alternatives(model, dataset, catalogue)
    what = (
        f"{model} takes {kinds} data{size}; {dataset} is {has}; {model} fits {_join_names(sets) or 'no dataset here'}"
    )
    what += f"; {dataset} is fit by {_join_names(models)}" if models else ""
    remedy = " or ".join([f"dataset={sets[0]}"] * bool(sets) + [f"model={models[0]}"] * bool(models))
    remedy = f"type {remedy}" if remedy else ""
    return Problem(_format_choices(model, dataset, given), what, remedy, _locate_entry(catalogue, "model", model))


def _report_missing_targets(choices: Mapping[str, Any], needs: str, catalogue: Catalogue, given: Any) -> Problem:
    model, dataset, task = (str(choices.get(name)) for name in ("model", "dataset", "task"))
    has = "no classes" if needs == "classes" else "no targets to regress on"
    sets, models = _find_alternatives(model, dataset, catalogue)
    what = f"task={task} needs {needs}; {dataset} has {has}"
    own = catalogue.entry("dataset", dataset)
    other = (own.overrides.get("task") if own else None) or catalogue.defaults.get("task")
    model_entry = catalogue.entry("model", model)
    if ("task",) in given and other != task:
        remedy = f"task={other}"
    elif model_entry and model_entry.overrides.get("task") == task:  # the model is made for this task
        what += f"; {model} fits {_join_names(sets) or 'no dataset here'}"
        remedy = " or ".join([f"dataset={sets[0]}"] * bool(sets) + [f"model={models[0]}"] * bool(models))
    else:
        what += f"; {dataset} is fit by {_join_names(models) or 'no model here'}"
        having = (entry.name for entry in catalogue.entries("dataset") if provides_targets(needs, entry.node))
        remedy = f"model={models[0]}" if models else f"dataset={next(having, '…')}"
    typed = given.get(("task",)) or _format_choices(model, dataset, given)
    return Problem(typed, what, f"type {remedy}" if remedy else "", _locate_entry(catalogue, "task", task))


def _report_auto_batch(procedure: str, given: Mapping[tuple[str, ...], str]) -> Problem:
    what = (
        f"procedure={procedure} learns from a whole pass, whatever its batches; trainer.batch=auto needs one that "
        "learns from each batch"
    )
    typed = given.get(("trainer", "batch"), "trainer.batch=auto")
    return Problem(typed, what, "leave it out, or type another procedure (dlx list procedures)")


def _report_unequal_epochs(layer: Any, last: Any, given: Mapping[tuple[str, ...], str]) -> list[Problem]:
    """Report a number of epochs for the layers that differs from that of the last one."""
    if last is None or layer == last:
        return []
    typed = given.get(("procedure", "epochs"), f"procedure.epochs={layer}")
    what = f"here trainer.epochs counts the passes of each layer, and it is {last}, which the last one would take"
    return [Problem(typed, what, f"type trainer.epochs={layer} instead")]


def _report_unsupported_task(choices: Mapping[str, Any], both: bool, catalogue: Catalogue, given: Any) -> Problem:
    model, dataset, task = (str(choices.get(name)) for name in ("model", "dataset", "task"))
    _, models = _find_alternatives(model, dataset, catalogue)
    does = "reads from both ends, what it should tell included" if both else "does not"
    what = f"task={task} needs a model that answers at every step{' by those before it' * both}; {model} {does}"
    what += f"; {dataset} is fit by {_join_names(models)}" if models else ""
    typed = given.get(("task",)) or _format_choices(model, dataset, given)
    return Problem(typed, what, f"type model={models[0]}" if models else "", _locate_entry(catalogue, "model", model))


def _find_alternatives(model: str, dataset: str, catalogue: Catalogue) -> tuple[list[str], list[str]]:
    """Find a few datasets that fit the model, and models that fit the dataset.

    The model's own and the defaults come first, then models that leave the dataset its task.
    """
    learner, data = catalogue.entry("model", model), catalogue.entry("dataset", dataset)
    first = (learner.overrides.get("dataset") if learner else None, *catalogue.defaults.values())

    def find(group: str, fits: Callable[[Entry], bool]) -> list[str]:
        entries = [entry for name in catalogue.names(group) if (entry := catalogue.entry(group, name))]
        entries.sort(key=lambda entry: (entry.name not in first, "task" in entry.overrides, entry.name))
        fitting = (entry.name for entry in entries if fits(entry))
        return list(islice(fitting, MAX_ALTERNATIVES))  # reading the sources of all would take its time

    sets = find("dataset", lambda entry: catalogue.fits(learner, entry)) if learner else []
    models = find("model", lambda entry: catalogue.fits(entry, data)) if data else []
    return sets, models


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(names) + " and more" * (len(names) == MAX_ALTERNATIVES)


def _format_choices(model: str, dataset: str, given: Mapping[tuple[str, ...], str]) -> str:
    typed = [given[(name,)] for name in ("model", "dataset") if (name,) in given]
    return " ".join(typed) or f"model={model} dataset={dataset}"


def _locate_entry(catalogue: Catalogue, group: str, name: str) -> Location | None:
    entry = catalogue.entry(group, name)
    return Location(entry.file, 1) if entry else None


def _to_dict(node: Any) -> dict[str, Any]:
    if not isinstance(node, DictConfig) or is_empty(node):
        return {}
    with contextlib.suppress(OmegaConfBaseException):
        plain = OmegaConf.to_container(node, resolve=True)
        return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
    plain = OmegaConf.to_container(node)
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}


def check_pairs(words: Sequence[Word], catalogue: Catalogue, known: Sequence[Problem]) -> list[Problem]:
    """Report models and datasets of a sweep that do not fit, beyond the combinations that were composed.

    Args:
        words: the overrides.
        catalogue: what they choose from.
        known: mistakes already found; a pair in one of them is not named again.
    """
    chosen = {word.key: word for word in words if word.is_group}
    model, dataset = chosen.get("model"), chosen.get("dataset")
    if model is None or dataset is None or not (model.is_sweep or dataset.is_sweep):
        return []
    task = catalogue.entry("task", list_choices(chosen["task"])[0]) if "task" in chosen else None
    problems = []
    for learner in filter(None, (catalogue.entry("model", name) for name in list_choices(model))):
        for data in filter(None, (catalogue.entry("dataset", name) for name in list_choices(dataset))):
            fits = accepts_dataset(learner.attributes, data.attributes, data.node) and (
                provides_targets(task.attributes.get("needs"), data.node)
                and supports_task(learner.node, task.attributes)
                if task
                else catalogue.fits(learner, data)
            )
            if not fits and not any(_mentions_pair(problem, learner.name, data.name) for problem in known):
                what = f"{learner.name} does not fit {data.name}"
                problems.append(
                    Problem(f"{model.text} {dataset.text}", what, f"type dlx list datasets --fits model={learner.name}")
                )
    return problems


def _mentions_pair(problem: Problem, model: str, dataset: str) -> bool:
    return f"{model} takes" in problem.what and f"; {dataset} is" in problem.what
