"""The IDX format of the MNIST family: a magic number, big-endian sizes, then bytes. http://yann.lecun.com/exdb/mnist

Read here and not by torchvision, whose import takes 2.8 s, longer than the first epoch.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dlx.errors import UsageError

UNSIGNED_BYTES = 0x08


def find_idx(folder: Path, name: str) -> Path | None:
    """Find the file of a name, compressed or not."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx(path: Path) -> Tensor:
    """Read the uint8 tensor of a file.

    Raises:
        UsageError: the file is cut short, or is not of this format.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read ({error}); remove it and type dataset.download=true") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise UsageError(f"{path} is not an IDX file of bytes; remove it and type dataset.download=true")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) != start + math.prod(sizes):
        raise UsageError(
            f"{path} holds {len(content)} bytes; its header says {start + math.prod(sizes)}; "
            "it is damaged: remove it and type dataset.download=true"
        )
    # A bytearray, since torch wants memory that it may write to.
    return torch.from_numpy(np.frombuffer(bytearray(content), np.uint8, offset=start).reshape(sizes))
