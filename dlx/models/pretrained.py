"""Pretrained weights: `pretrained=resnet18.pth` initializes a model with the weights of another training.

J. Yosinski, J. Clune, Y. Bengio, H. Lipson, "How transferable are features in deep neural networks?", 2014,
https://arxiv.org/abs/1411.1792.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from dlx.config.report import join_names
from dlx.config.static.signature import read_signature
from dlx.errors import UsageError
from dlx.models.freezing import freeze
from dlx.models.interfaces import UnrolledModules
from dlx.models.tensor_file import load_tensors

BATCH_COUNTER = ".num_batches_tracked"  # of batch normalization; files from before PyTorch 0.4.1 have none
AUXILIARY = "aux"  # how names of auxiliary heads begin: they help to learn, and may be left out


class Transfer(NamedTuple):
    """What was loaded from a file."""

    file: str
    loaded: int  # tensors
    tensors: int  # that the model has
    fresh: dict[str, str]  # modules left as they were initialized, and why

    def __str__(self) -> str:
        fresh = [f"{name} ({why})" for name, why in self.fresh.items()]
        text = f"pretrained: {self.loaded} of {self.tensors} tensors from {self.file}"
        return text + (f"; fresh: {', '.join(fresh)}" if fresh else "")


class PretrainedInit(NamedTuple):
    """Pretrained weights and frozen modules of a model."""

    transfer: Transfer | None
    frozen: list[str]  # modules
    n_frozen: int  # parameters in them

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of run.json."""
        pretrained: dict[str, Any] = {"pretrained": self.transfer._asdict()} if self.transfer else {}
        return pretrained | ({"frozen": self.frozen, "frozen_parameters": self.n_frozen} if self.frozen else {})

    def __str__(self) -> str:
        frozen = f"frozen: {join_names(self.frozen, 8)}, {self.n_frozen:,} parameters" if self.frozen else ""
        return "\n".join(filter(None, (str(self.transfer or ""), frozen)))


def load_and_freeze(model: nn.Module, config: Any, file: Path | None) -> PretrainedInit:
    """Load and freeze what a configuration asks for.

    Args:
        model: on its device, before its procedure sees it.
        config: complete.
        file: as `dlx.models.tensor_file.find_tensor_file` found it; None where the weights come from the run's own
            checkpoint.

    Raises:
        UsageError: as `load_pretrained` and `dlx.models.freezing.freeze`, or a frozen layer that has nothing to keep.
    """
    outputs = config.model.get("outputs", config.dataset.get("outputs"))
    transfer = load_pretrained(model, file, outputs) if file else None
    n_trainable = _count_trainable(model)
    frozen = freeze(model, config.get("freeze"))
    n_frozen = n_trainable - _count_trainable(model)
    if frozen and "optimizer" not in read_signature(config.procedure._target_).parameters:
        raise UsageError(
            f"freeze was given with {config.procedure._target_}; needed: a procedure that follows a gradient, such as "
            "backprop; type freeze=[]"
        )
    for name, why in transfer.fresh.items() if transfer else ():
        if any(name == other or name.startswith(f"{other}.") for other in frozen):
            remedy = "type model.auxiliary=false" if name.startswith(AUXILIARY) else "name other modules in freeze=[…]"
            raise UsageError(
                f"freeze was given for {name}, which {file} has no weights for ({why}): it would stay random; {remedy}"
            )
    return PretrainedInit(transfer, frozen, n_frozen)


def _count_trainable(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def load_pretrained(model: nn.Module, file: Path, outputs: int | None) -> Transfer:
    """Load the tensors of a file into a model, by their names.

    Layers that cannot fit stay fresh: one with as many outputs as the data has, where the file has another number, and
    the first convolution, where images have another number of channels. A model may make some of its modules of the
    others, by `unroll()`, and names them in `unrolls`: where the file lacks these, `unroll()` makes them.

    Args:
        model: gets them in place, on its device.
        file: as `dlx.models.tensor_file.find_tensor_file` found it.
        outputs: number of the model's scores.

    Raises:
        UsageError: the file cannot be read, or holds another architecture.
    """
    ours = model.state_dict()
    if next(model.parameters(), None) is None:
        raise UsageError(f"pretrained={file} was given with {type(model).__name__}; needed: a model with parameters")
    theirs = _strip_prefix(load_tensors(file), ours)
    theirs = {name: t for name, t in theirs.items() if name in ours or not name.startswith(AUXILIARY)}
    unrolled = tuple(f"{name}." for name in (model.unrolls if isinstance(model, UnrolledModules) else ()))
    lacking = [name for name in ours if name not in theirs and not name.endswith(BATCH_COUNTER)]
    missing = [name for name in lacking if not name.startswith(unrolled)]
    unexpected = [name for name in theirs if name not in ours]
    if missing or unexpected:
        raise UsageError(_describe_mismatch(file, model, missing, unexpected))
    differing = {name: t for name, t in theirs.items() if t.shape != ours[name].shape}
    first = next((name for name, p in model.named_parameters() if p.ndim > 2), None)
    strange = [
        name
        for name, t in differing.items()
        if t.ndim != ours[name].ndim
        or not (_differs_in_outputs(ours[name], t, outputs) or (name == first and _differs_in_channels(ours[name], t)))
    ]
    if strange:
        shapes = [_describe_shapes(name, ours, theirs) for name in strange[:3]]
        raise UsageError(
            f"{file} does not fit {type(model).__name__}: {'; '.join(shapes)}"
            f"{f' and {len(strange) - 3} more' if len(strange) > 3 else ''}; needed: weights of the same variant, "
            "width and image size; type model.variant=…, or dataset.size=… as they were trained with"
        )
    fresh: dict[str, str] = {}
    for name in differing:
        fresh.setdefault(_module_of(name), _describe_shapes(name, ours, theirs).removeprefix(f"{_module_of(name)}."))
    loaded = {name: t for name, t in theirs.items() if _module_of(name) not in fresh}
    model.load_state_dict(loaded, strict=False)  # names and shapes are checked above
    if len(missing) < len(lacking):
        fresh |= dict.fromkeys(model.unrolls, "made of the others")  # type: ignore[arg-type]
        model.unroll()  # type: ignore[operator]
    return Transfer(str(file), len(loaded), len(ours), fresh)


def _strip_prefix(theirs: dict[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove what a wrapper put before every name: `module.` of DataParallel, `_orig_mod.` of torch.compile."""
    while True:
        tops = {name.partition(".")[0] for name in theirs}
        if len(tops) != 1 or any(name.partition(".")[0] in tops for name in ours):
            return theirs
        inner = {name.partition(".")[2]: t for name, t in theirs.items()}
        if "" in inner:
            return theirs
        theirs = inner


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]


def _differs_in_outputs(ours: Tensor, theirs: Tensor, outputs: int | None) -> bool:
    """Return whether two tensors differ by the number of classes only."""
    return ours.ndim > 0 and ours.shape[0] == outputs and ours.shape[1:] == theirs.shape[1:]


def _differs_in_channels(ours: Tensor, theirs: Tensor) -> bool:
    """Return whether two kernels differ by the number of input channels only."""
    return ours.shape[0] == theirs.shape[0] and ours.shape[2:] == theirs.shape[2:]


def _describe_shapes(name: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    return f"{name} is {list(ours[name].shape)} here, {list(theirs[name].shape)} there"


def _describe_mismatch(file: Path, model: nn.Module, missing: list[str], unexpected: list[str]) -> str:
    """Describe the mismatch with a file of another architecture."""
    text = f"{file} does not fit {type(model).__name__}: "
    parts = []
    for names, what, others in ((missing, "not in the file", unexpected), (unexpected, "not in the model", missing)):
        if names:
            near = difflib.get_close_matches(names[0], others, n=1, cutoff=0.5)
            closest = f" (closest there: {near[0]})" if near else ""
            parts.append(
                f"{len(names)} {what}: {names[0]}{closest}{', ' if names[1:] else ''}{join_names(names[1:], 3)}"
            )
    needed = "needed: weights of the same architecture and variant; type model=…, or model.variant=…"
    return f"{text}{'; '.join(parts)}; {needed}"
