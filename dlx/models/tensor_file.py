"""Load named tensors from files that others wrote, without running anything in them."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlx.config.report import join_names
from dlx.datasets.archives import MOST_UNFOLDED, check_archive
from dlx.errors import UsageError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")  # under which others keep the tensors


def find_tensor_file(given: str | None) -> Path | None:
    """Return the file that `pretrained` names: a file of tensors, or the best checkpoint of a run directory.

    Raises:
        UsageError: there is none.
    """
    if given is None:
        return None
    path = Path(given).expanduser()
    needed = "needed: a file of tensors (.pth, .pt, .safetensors), or a run directory of dlx (dlx runs)"
    if not path.exists():
        raise UsageError(f"pretrained={given} was given, and there is no such file; {needed}")
    if path.is_dir():
        checkpoints = [path / "checkpoints" / name for name in ("best.pt", "last.pt")]
        checkpoint = next((file for file in checkpoints if file.is_file()), None)
        if checkpoint is None:
            raise UsageError(f"pretrained={given} was given, a directory without checkpoints/best.pt; {needed}")
        return checkpoint
    return path


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Load the named tensors of a file, on the CPU; nothing in it is run.

    Raises:
        UsageError: it is damaged, holds code or no tensors, or asks for a package that is not there.
    """
    content = _load_safetensors(file) if file.suffix == ".safetensors" else _load_torch(file)
    node: Any = content
    while isinstance(node, Mapping):
        inner = next((node[key] for key in WRAPPERS if isinstance(node.get(key), Mapping)), None)
        if inner is None:
            named = {str(name): value for name, value in node.items() if isinstance(value, Tensor)}
            if named:
                return named
            break
        node = inner
    has = (
        f"the keys {join_names(map(str, content), 8)}"
        if isinstance(content, Mapping)
        else f"a {type(content).__name__}"
    )
    raise UsageError(
        f"{file} holds {has}; needed: tensors by name, as torch.save(model.state_dict(), FILE) writes them"
    )


def _load_torch(file: Path) -> Any:
    try:
        if zipfile.is_zipfile(file):
            check_archive(file, MOST_UNFOLDED)
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()  # every part against its CRC: torch itself does not look
            if broken is not None:
                raise UsageError(f"{file} is damaged: {broken} does not match its checksum; fetch it anew")
        with warnings.catch_warnings(action="ignore"):  # on pickles that are refused anyway
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
        if forbidden is None:
            raise UsageError(
                f"{file} is not a file of tensors, and nothing in it was run; needed: one that "
                "torch.save(model.state_dict(), FILE) wrote"
            ) from error
        raise UsageError(
            f"{file} holds more than tensors: it asks for {forbidden[1]}, and was not loaded, since what it runs could "
            "be anything; needed: tensors alone; where you trust it, save them anew: "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except UsageError:
        raise
    except Exception as error:  # the unpickler runs any bytes, and fails in any way: b"hello" is a KeyError
        raise UsageError(
            f"{file} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            "needed: a whole file that torch.save(model.state_dict(), FILE) wrote"
        ) from error


def _load_safetensors(file: Path) -> Any:
    try:
        from safetensors.torch import load_file  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise UsageError(f"{file} needs the package safetensors; type pip install safetensors") from error
    try:
        return load_file(file)
    except Exception as error:  # its own errors have no public base
        raise UsageError(f"{file} cannot be read ({error}); needed: a whole file of safetensors") from error
