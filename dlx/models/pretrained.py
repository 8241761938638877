"""Weights from elsewhere: `pretrained=resnet18.pth` begins where another training ended.

J. Yosinski, J. Clune, Y. Bengio, H. Lipson, "How transferable are features in deep neural networks?", 2014,
https://arxiv.org/abs/1411.1792.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from dlx.config.report import listed
from dlx.config.static.signature import signature
from dlx.errors import UsageError
from dlx.models.freezing import freeze
from dlx.models.interfaces import UnrolledModules
from dlx.models.tensor_file import tensors

LATER = ".num_batches_tracked"  # of batch normalization; files from before PyTorch 0.4.1 have none
SPARE = "aux"  # how names of auxiliary heads begin: they help to learn, and may be left out


class Transfer(NamedTuple):
    """What was taken from a file."""

    file: str
    loaded: int  # tensors
    tensors: int  # that the model has
    fresh: dict[str, str]  # modules left as they were initialized, and why

    def __str__(self) -> str:
        fresh = [f"{name} ({why})" for name, why in self.fresh.items()]
        text = f"pretrained: {self.loaded} of {self.tensors} tensors from {self.file}"
        return text + (f"; fresh: {', '.join(fresh)}" if fresh else "")


class Beginning(NamedTuple):
    """What a model begins with beside its own initialization."""

    transfer: Transfer | None
    frozen: list[str]  # modules
    fixed: int  # parameters in them

    def about(self) -> dict[str, Any]:
        """For run.json."""
        told: dict[str, Any] = {"pretrained": self.transfer._asdict()} if self.transfer else {}
        return told | ({"frozen": self.frozen, "frozen_parameters": self.fixed} if self.frozen else {})

    def __str__(self) -> str:
        frozen = f"frozen: {listed(self.frozen, 8)}, {self.fixed:,} parameters" if self.frozen else ""
        return "\n".join(filter(None, (str(self.transfer or ""), frozen)))


def begin(model: nn.Module, config: Any, file: Path | None) -> Beginning:
    """Load and freeze what a configuration asks for.

    Args:
        model: on its device, before its procedure sees it.
        config: complete.
        file: as `dlx.models.tensor_file.find` found it; None where the weights come from the run's own checkpoint.

    Raises:
        UsageError: as `load` and `dlx.models.freezing.freeze`, or a frozen layer that has nothing to keep.
    """
    transfer = load(model, file, config.model.get("outputs", config.dataset.get("outputs"))) if file else None
    before = _learning(model)
    frozen = freeze(model, config.get("freeze"))
    fixed = before - _learning(model)
    if frozen and "optimizer" not in signature(config.procedure._target_).parameters:
        raise UsageError(
            f"freeze was given with {config.procedure._target_}; needed: a procedure that follows a gradient, such as "
            "backprop; type freeze=[]"
        )
    for name, why in transfer.fresh.items() if transfer else ():
        if any(name == other or name.startswith(f"{other}.") for other in frozen):
            remedy = "type model.auxiliary=false" if name.startswith(SPARE) else "name other modules in freeze=[…]"
            raise UsageError(
                f"freeze was given for {name}, which {file} has no weights for ({why}): it would stay random; {remedy}"
            )
    return Beginning(transfer, frozen, fixed)


def _learning(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def load(model: nn.Module, file: Path, outputs: int | None) -> Transfer:
    """Give a model the tensors of a file, by their names.

    Fresh is what cannot fit: a layer with as many outputs as the data asks for, where the file has another number, and
    the first convolution, where images have another number of channels. A model may make some of its modules of the
    others, by `unroll()`, and names them in `unrolls`: where the file lacks these, they are made so.

    Args:
        model: takes them in place, on its device.
        file: as `dlx.models.tensor_file.find` found it.
        outputs: number of the model's scores.

    Raises:
        UsageError: the file cannot be read, or holds another architecture.
    """
    ours = model.state_dict()
    if next(model.parameters(), None) is None:
        raise UsageError(f"pretrained={file} was given with {type(model).__name__}; needed: a model with parameters")
    theirs = _unprefixed(tensors(file), ours)
    theirs = {name: t for name, t in theirs.items() if name in ours or not name.startswith(SPARE)}
    made = tuple(f"{name}." for name in (model.unrolls if isinstance(model, UnrolledModules) else ()))
    lacking = [name for name in ours if name not in theirs and not name.endswith(LATER)]
    missing = [name for name in lacking if not name.startswith(made)]
    unexpected = [name for name in theirs if name not in ours]
    if missing or unexpected:
        raise UsageError(_other(file, model, missing, unexpected))
    differing = {name: t for name, t in theirs.items() if t.shape != ours[name].shape}
    first = next((name for name, p in model.named_parameters() if p.ndim > 2), None)
    strange = [
        name
        for name, t in differing.items()
        if t.ndim != ours[name].ndim or not (_heads(ours[name], t, outputs) or (name == first and _sees(ours[name], t)))
    ]
    if strange:
        raise UsageError(
            f"{file} does not fit {type(model).__name__}: {'; '.join(_sizes(n, ours, theirs) for n in strange[:3])}"
            f"{f' and {len(strange) - 3} more' if len(strange) > 3 else ''}; needed: weights of the same variant, "
            "width and image size; type model.variant=…, or dataset.size=… as they were trained with"
        )
    fresh: dict[str, str] = {}
    for name in differing:
        fresh.setdefault(_owner(name), _sizes(name, ours, theirs).removeprefix(f"{_owner(name)}."))
    taken = {name: t for name, t in theirs.items() if _owner(name) not in fresh}
    model.load_state_dict(taken, strict=False)  # names and shapes are as they should be
    if len(missing) < len(lacking):
        fresh |= dict.fromkeys(model.unrolls, "made of the others")  # type: ignore[arg-type]
        model.unroll()  # type: ignore[operator]
    return Transfer(str(file), len(taken), len(ours), fresh)


def _unprefixed(theirs: dict[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what a wrapper put before every name: `module.` of DataParallel, `_orig_mod.` of torch.compile."""
    while True:
        tops = {name.partition(".")[0] for name in theirs}
        if len(tops) != 1 or any(name.partition(".")[0] in tops for name in ours):
            return theirs
        inner = {name.partition(".")[2]: t for name, t in theirs.items()}
        if "" in inner:
            return theirs
        theirs = inner


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _heads(ours: Tensor, theirs: Tensor, outputs: int | None) -> bool:
    """Whether two tensors differ by the number of classes only."""
    return ours.ndim > 0 and ours.shape[0] == outputs and ours.shape[1:] == theirs.shape[1:]


def _sees(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two kernels differ by the channels that they see only."""
    return ours.shape[0] == theirs.shape[0] and ours.shape[2:] == theirs.shape[2:]


def _sizes(name: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    return f"{name} is {list(ours[name].shape)} here, {list(theirs[name].shape)} there"


def _other(file: Path, model: nn.Module, missing: list[str], unexpected: list[str]) -> str:
    """What to say of a file of another architecture."""
    text = f"{file} does not fit {type(model).__name__}: "
    parts = []
    for names, what, others in ((missing, "not in the file", unexpected), (unexpected, "not in the model", missing)):
        if names:
            near = difflib.get_close_matches(names[0], others, n=1, cutoff=0.5)
            closest = f" (closest there: {near[0]})" if near else ""
            parts.append(f"{len(names)} {what}: {names[0]}{closest}{', ' if names[1:] else ''}{listed(names[1:], 3)}")
    needed = "needed: weights of the same architecture and variant; type model=…, or model.variant=…"
    return f"{text}{'; '.join(parts)}; {needed}"
