"""Tensors by name from files that others wrote, without running anything in them."""

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
from dlx.errors import UsageError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")  # under which others keep the tensors


def find(given: str | None) -> Path | None:
    """The file that `pretrained` names: a file of tensors, or the best checkpoint of a run directory.

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
        kept = [path / "checkpoints" / name for name in ("best.pt", "last.pt")]
        whole = next((file for file in kept if file.is_file()), None)
        if whole is None:
            raise UsageError(f"pretrained={given} was given, a directory without checkpoints/best.pt; {needed}")
        return whole
    return path


def tensors(file: Path) -> dict[str, Tensor]:
    """The named tensors of a file, on the processor; nothing in it is run.

    Raises:
        UsageError: it is damaged, holds code or no tensors, or asks for a package that is not there.
    """
    content = _safetensors(file) if file.suffix == ".safetensors" else _torch(file)
    found: Any = content
    while isinstance(found, Mapping):
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            named = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
            if named:
                return named
            break
        found = inner
    has = (
        f"the keys {join_names(map(str, content), 8)}"
        if isinstance(content, Mapping)
        else f"a {type(content).__name__}"
    )
    raise UsageError(
        f"{file} holds {has}; needed: tensors by name, as torch.save(model.state_dict(), FILE) writes them"
    )


def _torch(file: Path) -> Any:
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()  # every part against its CRC: torch itself does not look
            if broken is not None:
                raise UsageError(f"{file} is damaged: {broken} does not match its checksum; fetch it anew")
        with warnings.catch_warnings(action="ignore"):  # on pickles that are refused anyway
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked is None:
            raise UsageError(
                f"{file} is not a file of tensors, and nothing in it was run; needed: one that "
                "torch.save(model.state_dict(), FILE) wrote"
            ) from error
        raise UsageError(
            f"{file} holds more than tensors: it asks for {asked[1]}, and was not loaded, since what it runs could be "
            "anything; needed: tensors alone; where you trust it, save them anew: torch.save(model.state_dict(), FILE)"
        ) from error
    except UsageError:
        raise
    except Exception as error:  # the unpickler runs any bytes, and fails in any way: b"hello" is a KeyError
        raise UsageError(
            f"{file} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            "needed: a whole file that torch.save(model.state_dict(), FILE) wrote"
        ) from error


def _safetensors(file: Path) -> Any:
    try:
        from safetensors.torch import load_file  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise UsageError(f"{file} needs the package safetensors; type pip install safetensors") from error
    try:
        return load_file(file)
    except Exception as error:  # its own errors have no public base
        raise UsageError(f"{file} cannot be read ({error}); needed: a whole file of safetensors") from error
