"""Count the sizes, modes and formats of picture files by their headers, without decoding them."""

import contextlib
import io
import random
from collections import Counter
from collections.abc import Callable, Sequence

MOST = 2000  # files that are looked at


def survey_pictures(names: Sequence[str], read: Callable[[str], bytes], seed: int = 0) -> dict[str, dict[str, int]]:
    """Count how many pictures have each size (`width×height`), mode of Pillow's and format, the most frequent first.

    Args:
        names: of the files; of more than MOST a random part is looked at.
        read: gives a file's bytes by its name.
        seed: of that part.
    """
    from PIL import Image

    looked_at = list(names) if len(names) <= MOST else random.Random(seed).sample(list(names), MOST)
    sizes, modes, formats, broken = Counter[str](), Counter[str](), Counter[str](), 0
    for name in looked_at:
        opened = None
        with contextlib.suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            opened = Image.open(io.BytesIO(read(name)))
        if opened is None:
            broken += 1
            continue
        with opened:
            sizes[f"{opened.width}×{opened.height}"] += 1
            modes[opened.mode] += 1
            formats[str(opened.format)] += 1
    counted = {"sizes": sizes, "modes": modes, "formats": formats}
    found = {what: dict(counts.most_common()) for what, counts in counted.items()}
    found["files"] = {"found": len(names), "looked at": len(looked_at), **({"unreadable": broken} if broken else {})}
    return found
