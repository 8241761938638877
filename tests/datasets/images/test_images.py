"""Images: augmentation against torchvision, and the files of MNIST, CIFAR and SVHN as torchvision has them."""

import gzip
import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dlx.datasets.images import idx
from dlx.datasets.images.transforms import Augment, crop_and_flip, warp
from dlx.errors import UsageError
from tests.datasets.test_datasets import load, make

# -- augmentation, against torchvision's one image at a time ----------------------------------------------------------


@pytest.fixture
def pictures() -> Tensor:
    return torch.randint(0, 256, (12, 3, 9, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def test_windows_equal_pad_crop_and_flip(pictures: Tensor) -> None:
    from torchvision.transforms import functional as F

    generator = torch.Generator().manual_seed(0)
    top, left = torch.randint(0, 7, (2, 12), generator=generator)
    mirrored = torch.arange(12) % 2 == 0
    got = crop_and_flip(pictures, 3, top, left, mirrored)
    for i, image in enumerate(pictures):
        wanted = F.crop(F.pad(image, [3, 3, 3, 3]), int(top[i]), int(left[i]), 9, 14)
        assert torch.equal(got[i], F.hflip(wanted) if mirrored[i] else wanted)


def test_warping_equals_torchvisions_affine(pictures: Tensor) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    angle, zoom = torch.linspace(-60, 60, 12), torch.linspace(0.7, 1.4, 12)
    shear = torch.linspace(20, -30, 12)
    got = warp(pictures.float(), angle, zoom, shear)
    for i, image in enumerate(pictures.float()):
        wanted = F.affine(
            image, float(angle[i]), [0, 0], float(zoom[i]), [float(shear[i]), 0.0], InterpolationMode.BILINEAR
        )
        assert torch.allclose(got[i], wanted, atol=0.02)


def test_augmentation_draws_every_shift_and_both_sides() -> None:
    marked = torch.zeros(4000, 1, 7, 7, dtype=torch.uint8)
    marked[:, 0, 3, 2] = 1  # left of the middle
    got = Augment({"flip": True, "crop": 1})(marked, torch.Generator().manual_seed(0))
    places = got[:, 0].nonzero()[:, 1:]
    counts = dict.fromkeys(product((2, 3, 4), (1, 2, 3, 4, 5)), 0)
    for place in places.tolist():
        counts[tuple(place)] += 1
    # A mirrored window moves the mark from column 2 ± 1 to 4 ± 1; the middle column is reached from both sides.
    for (_, column), count in counts.items():
        chance = (2 if column == 3 else 1) / 18
        assert abs(count / 4000 - chance) < 5 * (chance / 4000) ** 0.5


def test_augmentation_only_where_it_is_asked_for() -> None:
    dataset = load("digits")
    assert not dataset.random(True)
    dataset = load("digits", augment__rotate=15)
    assert (dataset.random(True), dataset.random(False)) == (True, False)
    x = dataset.splits["train"].x
    assert torch.equal(dataset.transform(x, False), x / 16)
    turned = dataset.transform(x, True, torch.Generator().manual_seed(0))
    assert turned.shape == x.shape
    assert 0 <= float(turned.min()) <= float(turned.max()) <= 1
    assert not Augment({"flip": 0})


# -- files of the MNIST family, CIFAR and SVHN, as torchvision lays them out ------------------------------------------


def write_idx(path: Path, values: np.ndarray, compress: bool = False) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if compress:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def write_mnist(folder: Path, stems=("train", "t10k"), first: int = 0, compress: bool = False) -> None:
    random = np.random.default_rng(0)
    for stem, count in zip(stems, (120, 30), strict=True):
        images = random.integers(0, 256, (count, 28, 28))
        write_idx(folder / f"{stem}-images-idx3-ubyte", images, compress)
        write_idx(folder / f"{stem}-labels-idx1-ubyte", np.arange(count) % 10 + first, compress)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_the_mnist_family_is_read_as_torchvision_reads_it(name, folder, compress, tmp_path, monkeypatch) -> None:
    import torchvision.datasets

    write_mnist(tmp_path / folder / "raw", compress=compress)
    monkeypatch.setenv("DLX_DATA", str(tmp_path))
    dataset = load(name)
    assert {part: len(split) for part, split in dataset.splits.items()} == {"train": 110, "val": 10, "test": 30}
    assert (dataset.shape, dataset.classes, len(dataset.names)) == ((1, 28, 28), 10, 10)
    write_mnist(tmp_path / folder / "raw")
    theirs = getattr(torchvision.datasets, folder)(str(tmp_path), train=False)
    assert torch.equal(dataset.splits["test"].x[:, 0], theirs.data)
    assert torch.equal(dataset.splits["test"].y, theirs.targets)
    if name != "mnist":
        assert len(theirs.classes) == 10


def test_emnist_stands_upright(tmp_path) -> None:
    write_mnist(tmp_path / "EMNIST" / "raw", ("emnist-letters-train", "emnist-letters-test"), first=1)
    with pytest.raises(UsageError, match=r"type dataset\.classes=26"):
        load("emnist", root=str(tmp_path), split="letters")
    dataset = load("emnist", root=str(tmp_path), split="letters", classes=26)
    raw = idx.read_idx(tmp_path / "EMNIST" / "raw" / "emnist-letters-test-images-idx3-ubyte")
    assert torch.equal(dataset.splits["test"].x[:, 0], raw.transpose(1, 2))
    assert dataset.splits["test"].y[:3].tolist() == [0, 1, 2]
    assert dataset.outputs == 26
    sizes = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}
    assert {part: len(make("emnist", split=part).class_names) for part in sizes} == sizes


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_cifar(name: str, folder: str, tmp_path: Path, monkeypatch) -> None:
    random = np.random.default_rng(0)
    (tmp_path / folder).mkdir()
    key, batches, meta, names = {
        "cifar10": ("labels", [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], "batches.meta", "label_names"),
        "cifar100": ("fine_labels", ["train", "test"], "meta", "fine_label_names"),
    }[name]
    classes = 10 if name == "cifar10" else 100
    written = {}
    for batch in batches:
        written[batch] = random.integers(0, 256, (200, 3072), dtype=np.uint8)
        content = {"data": written[batch], key: [i % classes for i in range(200)]}
        (tmp_path / folder / batch).write_bytes(pickle.dumps(content))
    (tmp_path / folder / meta).write_bytes(pickle.dumps({names: [f"c{i}" for i in range(classes)]}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).is_file())
    dataset = load(name, root=str(tmp_path))
    test = written[batches[-1]].reshape(-1, 3, 32, 32)
    assert np.array_equal(dataset.splits["test"].x.numpy(), test)
    assert dataset.names[3] == "c3"
    assert len(dataset.splits["val"]) == len(batches[:-1]) * 20


@pytest.mark.parametrize("below", ["", "svhn"])
def test_svhn(below: str, tmp_path: Path, monkeypatch) -> None:
    import scipy.io

    (tmp_path / below).mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        x = random.integers(0, 256, (32, 32, 3, 40), dtype=np.uint8)
        y = np.arange(40)[:, None] % 10 + 1  # the files call the zero ten
        scipy.io.savemat(tmp_path / below / f"{part}_32x32.mat", {"X": x, "y": y})
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5=None: Path(path).is_file())
    dataset = load("svhn", root=str(tmp_path))
    assert np.array_equal(dataset.splits["test"].x.numpy(), x.transpose(3, 2, 0, 1))
    assert dataset.splits["test"].y[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_a_missing_data_directory(name: str, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UsageError, match=r"dataset\.root=/no/where was given; there is no such folder"):
        load(name, root="/no/where")
    monkeypatch.setenv("DLX_DATA", "/no/where")
    with pytest.raises(UsageError, match="DLX_DATA=/no/where was given"):
        load(name)
    with pytest.raises(
        UsageError, match=r"not found; type dataset\.download=true to fetch it, or dataset\.root=FOLDER"
    ):
        load(name, root=str(tmp_path), download=False)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_no_network(name: str, tmp_path: Path, monkeypatch) -> None:
    from urllib.error import URLError

    def refuse(*arguments, **names):
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(UsageError, match=r"(?s)was looked for in .* and not found; fetching it .* failed .*DLX_DATA"):
        load(name, root=str(tmp_path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "its header says"),
        (lambda content: b"<html>" + content, "is not an IDX file"),
    ],
)
def test_a_damaged_file(damage, message: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw")
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UsageError, match=f"t10k-images-idx3-ubyte .*{message}"):
        load("mnist", root=str(tmp_path))
    file.unlink()
    (tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(UsageError, match=r"\.gz cannot be read"):
        load("mnist", root=str(tmp_path))
