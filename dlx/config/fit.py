"""Whether a model fits a dataset, the dataset the task, and the procedure the trainer; if not, what does."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlx.config.catalogue import Catalogue, Entry, able, accepts, constructor, met
from dlx.config.distributed_support import refusal
from dlx.config.hydra_internals import is_empty
from dlx.config.overrides import Word, chosen
from dlx.config.report import Problem, Where
from dlx.config.static.schema import shown

MOST = 12  # alternatives that are named


def check_fit(
    config: DictConfig, choices: Mapping[str, Any], catalogue: Catalogue, given: Mapping[tuple[str, ...], str]
) -> list[Problem]:
    """Whether the model takes the dataset's examples, the dataset has what the task needs, and batches matter."""
    nodes = {name: _plain(config.get(name)) for name in ("model", "dataset", "task", "procedure", "trainer")}
    attributes = {}
    for name, node in nodes.items():
        target = node.get("_target_")
        found = constructor(target) if isinstance(target, str) else None
        attributes[name] = found.attributes if found else {}
    if not accepts(attributes["model"], attributes["dataset"], nodes["dataset"]):
        return [_no_fit(choices, attributes, nodes, catalogue, given)]
    if not met(attributes["task"].get("needs"), nodes["dataset"]):
        return [_unmet(choices, attributes["task"]["needs"], catalogue, given)]
    if not able(nodes["model"], attributes["task"]):
        return [_unable(choices, bool(nodes["model"].get("bidirectional")), catalogue, given)]
    if nodes["trainer"].get("strategy"):
        refused = refusal(nodes["procedure"], nodes["trainer"], str(choices.get("procedure")))
        if refused:
            return [Problem(given.get(("trainer",), f"trainer.strategy={nodes['trainer']['strategy']}"), *refused)]
    if nodes["trainer"].get("batch") == "auto" and attributes["procedure"].get("by_batches") is False:
        return [_no_batches(str(choices.get("procedure")), given)]
    if attributes["procedure"].get("by_layers"):
        return _unlike(nodes["procedure"].get("epochs"), nodes["trainer"].get("epochs"), given)
    return []


def _no_fit(
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
    has = f"{kind} data" + (f" of shape {shown(shape)}" if shape else "")
    sets, models = _alternatives(model, dataset, catalogue)
    what = f"{model} takes {kinds} data{size}; {dataset} is {has}; {model} fits {_several(sets) or 'no dataset here'}"
    what += f"; {dataset} is fit by {_several(models)}" if models else ""
    remedy = " or ".join([f"dataset={sets[0]}"] * bool(sets) + [f"model={models[0]}"] * bool(models))
    remedy = f"type {remedy}" if remedy else ""
    return Problem(_typed_choices(model, dataset, given), what, remedy, _file(catalogue, "model", model))


def _unmet(choices: Mapping[str, Any], needs: str, catalogue: Catalogue, given: Any) -> Problem:
    model, dataset, task = (str(choices.get(name)) for name in ("model", "dataset", "task"))
    has = "no classes" if needs == "classes" else "no targets to regress on"
    sets, models = _alternatives(model, dataset, catalogue)
    what = f"task={task} needs {needs}; {dataset} has {has}"
    own = catalogue.entry("dataset", dataset)
    other = (own.overrides.get("task") if own else None) or catalogue.defaults.get("task")
    brought = catalogue.entry("model", model)
    if ("task",) in given and other != task:
        remedy = f"task={other}"
    elif brought and brought.overrides.get("task") == task:  # the model is made for this task
        what += f"; {model} fits {_several(sets) or 'no dataset here'}"
        remedy = " or ".join([f"dataset={sets[0]}"] * bool(sets) + [f"model={models[0]}"] * bool(models))
    else:
        what += f"; {dataset} is fit by {_several(models) or 'no model here'}"
        having = (entry.name for entry in catalogue.entries("dataset") if met(needs, entry.node))
        remedy = f"model={models[0]}" if models else f"dataset={next(having, '…')}"
    typed = given.get(("task",)) or _typed_choices(model, dataset, given)
    return Problem(typed, what, f"type {remedy}" if remedy else "", _file(catalogue, "task", task))


def _no_batches(procedure: str, given: Mapping[tuple[str, ...], str]) -> Problem:
    what = (
        f"procedure={procedure} learns from a whole pass, whatever its batches; trainer.batch=auto needs one that "
        "learns from each batch"
    )
    typed = given.get(("trainer", "batch"), "trainer.batch=auto")
    return Problem(typed, what, "leave it out, or type another procedure (dlx list procedures)")


def _unlike(layer: Any, last: Any, given: Mapping[tuple[str, ...], str]) -> list[Problem]:
    """Passes of a layer other than those of the last one."""
    if last is None or layer == last:
        return []
    typed = given.get(("procedure", "epochs"), f"procedure.epochs={layer}")
    what = f"here trainer.epochs counts the passes of each layer, and it is {last}, which the last one would take"
    return [Problem(typed, what, f"type trainer.epochs={layer} instead")]


def _unable(choices: Mapping[str, Any], both: bool, catalogue: Catalogue, given: Any) -> Problem:
    model, dataset, task = (str(choices.get(name)) for name in ("model", "dataset", "task"))
    _, models = _alternatives(model, dataset, catalogue)
    does = "reads from both ends, what it should tell included" if both else "does not"
    what = f"task={task} needs a model that answers at every step{' by those before it' * both}; {model} {does}"
    what += f"; {dataset} is fit by {_several(models)}" if models else ""
    typed = given.get(("task",)) or _typed_choices(model, dataset, given)
    return Problem(typed, what, f"type model={models[0]}" if models else "", _file(catalogue, "model", model))


def _alternatives(model: str, dataset: str, catalogue: Catalogue) -> tuple[list[str], list[str]]:
    """A few datasets that fit the model, and models that fit the dataset.

    The model's own and the defaults come first, then models that leave the dataset its task.
    """
    learner, data = catalogue.entry("model", model), catalogue.entry("dataset", dataset)
    first = (learner.overrides.get("dataset") if learner else None, *catalogue.defaults.values())

    def some(group: str, fits: Callable[[Entry], bool]) -> list[str]:
        entries = [entry for name in catalogue.names(group) if (entry := catalogue.entry(group, name))]
        entries.sort(key=lambda entry: (entry.name not in first, "task" in entry.overrides, entry.name))
        found = (entry.name for entry in entries if fits(entry))
        return list(islice(found, MOST))  # reading the sources of all would take its time

    sets = some("dataset", lambda entry: catalogue.fits(learner, entry)) if learner else []
    models = some("model", lambda entry: catalogue.fits(entry, data)) if data else []
    return sets, models


def _several(names: Sequence[str]) -> str:
    return ", ".join(names) + " and more" * (len(names) == MOST)


def _typed_choices(model: str, dataset: str, given: Mapping[tuple[str, ...], str]) -> str:
    typed = [given[(name,)] for name in ("model", "dataset") if (name,) in given]
    return " ".join(typed) or f"model={model} dataset={dataset}"


def _file(catalogue: Catalogue, group: str, name: str) -> Where | None:
    entry = catalogue.entry(group, name)
    return Where(entry.file, 1) if entry else None


def _plain(node: Any) -> dict[str, Any]:
    if not isinstance(node, DictConfig) or is_empty(node):
        return {}
    with contextlib.suppress(OmegaConfBaseException):
        plain = OmegaConf.to_container(node, resolve=True)
        return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
    plain = OmegaConf.to_container(node)
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}


def check_pairs(words: Sequence[Word], catalogue: Catalogue, told: Sequence[Problem]) -> list[Problem]:
    """Models and datasets of a sweep that do not fit, beyond the combinations that were composed.

    Args:
        words: the overrides.
        catalogue: what they choose from.
        told: mistakes already found; a pair in one of them is not named again.
    """
    asked = {word.key: word for word in words if word.is_group}
    model, dataset = asked.get("model"), asked.get("dataset")
    if model is None or dataset is None or not (model.swept or dataset.swept):
        return []
    task = catalogue.entry("task", chosen(asked["task"])[0]) if "task" in asked else None
    problems = []
    for learner in filter(None, (catalogue.entry("model", name) for name in chosen(model))):
        for data in filter(None, (catalogue.entry("dataset", name) for name in chosen(dataset))):
            fits = accepts(learner.attributes, data.attributes, data.node) and (
                met(task.attributes.get("needs"), data.node) and able(learner.node, task.attributes)
                if task
                else catalogue.fits(learner, data)
            )
            if not fits and not any(_about(problem, learner.name, data.name) for problem in told):
                what = f"{learner.name} does not fit {data.name}"
                problems.append(
                    Problem(f"{model.text} {dataset.text}", what, f"type dlx list datasets --fits model={learner.name}")
                )
    return problems


def _about(problem: Problem, model: str, dataset: str) -> bool:
    return f"{model} takes" in problem.what and f"; {dataset} is" in problem.what
