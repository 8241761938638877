"""Write the files of TensorBoard's embedding projector into a run's directory.

`embedding/<name>/` holds `tensors.tsv`, `metadata.tsv` for the labels and `sprite_<height>x<width>.png` for the
pictures; `projector_config.pbtxt` lists every such folder.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from dlx.figures.figures import save_png
from dlx.runs.atomic import write_atomically

MAX_SPRITE_SIDE = 8192  # pixels, the most that browsers take


def write_embedding(
    directory: Path,
    name: str,
    vectors: Tensor,
    labels: Sequence[object] | None = None,
    images: Tensor | None = None,
    limit: int = 5000,
) -> None:
    """Write the first `limit` points, replacing an embedding of that name.

    Args:
        directory: of the run.
        name: of the embedding's folder.
        vectors: (N, D).
        labels: N objects, shown as text.
        images: (N, C, H, W) in [0, 1], C of 1 or 3, or uint8; shown at the points.
        limit: of the number of points; the projector's t-SNE and UMAP are slow beyond.

    Raises:
        OSError: a file cannot be written.
    """
    folder = directory / "embedding" / name.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    rows = vectors[:limit].detach().float().flatten(1).cpu().tolist()
    lines = ("\t".join(f"{number:.6g}" for number in row) for row in rows)
    write_atomically(folder / "tensors.tsv", "\n".join(lines) + "\n")
    if labels is not None:
        texts = (str(label).replace("\t", " ").replace("\n", " ") for label in labels[:limit])
        write_atomically(folder / "metadata.tsv", "\n".join(texts) + "\n")
    if images is not None:
        sheet, (height, width) = _make_sprite(images[:limit])
        save_png(folder / f"sprite_{height}x{width}.png", sheet)
    folders = [tensors.parent for tensors in sorted(directory.glob("embedding/*/tensors.tsv"))]
    config = "".join(_make_config(directory, folder) for folder in folders)
    write_atomically(directory / "projector_config.pbtxt", config)


def _make_sprite(images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return all images in one square, row by row without gaps, as the projector needs them, and the size of one."""
    columns = math.ceil(math.sqrt(len(images)))
    images = images.cpu()
    if columns * max(images.shape[2:]) > MAX_SPRITE_SIDE:
        scale = MAX_SPRITE_SIDE // columns / max(images.shape[2:])
        images = F.interpolate(images.float(), scale_factor=scale, mode="area").to(images.dtype)
    N, C, H, W = images.shape
    padded = images.new_zeros((columns * columns, C, H, W))
    padded[:N] = images
    sheet = padded.view(columns, columns, C, H, W).permute(2, 0, 3, 1, 4).reshape(C, columns * H, columns * W)
    return sheet, (H, W)


def _make_config(directory: Path, folder: Path) -> str:
    """Return the entry of one folder in projector_config.pbtxt."""
    lines = [f'  tensor_name: "{folder.name}"']
    for path in sorted(folder.iterdir()):
        place = path.relative_to(directory).as_posix()
        if path.name == "tensors.tsv":
            lines.append(f'  tensor_path: "{place}"')
        elif path.name == "metadata.tsv":
            lines.append(f'  metadata_path: "{place}"')
        elif path.suffix == ".png":
            height, width = path.stem.removeprefix("sprite_").split("x")
            # The projector reads the width first.
            sizes = f"single_image_dim: {width} single_image_dim: {height}"
            lines.append(f'  sprite {{ image_path: "{place}" {sizes} }}')
    return "\n".join(["embeddings {", *lines, "}\n"])
