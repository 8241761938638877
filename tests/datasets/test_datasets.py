"""Built-in data: equal to its source, split without overlap, scaled by the training split alone."""

import inspect
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from omegaconf import OmegaConf
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.images.images import Images
from dlx.datasets.splits import Split, split_stratified
from dlx.datasets.tables.table import Table
from dlx.errors import UsageError
from dlx.instantiate import build
from tests.conftest import ROOT

FILES = sorted((ROOT / "conf" / "dataset").glob("*.yaml"))
HERE = ["digits", "iris", "wine", "breast_cancer", "diabetes", "moons", "blobs", "ring", "grid25", "casino"]

DECLARED = ("shape", "classes", "outputs", "symbols", "path", "permutation")  # what a file says of its own data


def make(name: str, **changes) -> Dataset:
    """A dataset as its YAML file describes it, not loaded."""
    config = OmegaConf.load(ROOT / "conf" / "dataset" / f"{name}.yaml")
    config.seed = 0
    for key, value in changes.items():
        OmegaConf.update(config, f"dataset.{key.replace('__', '.')}", value)
    return build(config, "dataset")


def load(name: str, **changes) -> Dataset:
    dataset = make(name, **changes)
    dataset.load()
    return dataset


def together(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """All examples, sorted."""
    x = torch.cat([part.x.flatten(1).double() for part in dataset.splits.values()])
    y = torch.cat([part.y.view(len(part), -1).double() for part in dataset.splits.values()])
    rows = torch.tensor(sorted(torch.cat([x, y], 1).tolist()), dtype=torch.float64)
    return rows[:, : x.shape[1]], rows[:, x.shape[1] :]


def arguments(kind: type) -> dict[str, inspect.Parameter]:
    """What a constructor takes; where it hands `**common` on, also what the constructor behind it takes."""
    own = dict(inspect.signature(kind).parameters)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
        own = {name: parameter for name, parameter in own.items() if parameter.kind is not parameter.VAR_KEYWORD}
        (base,) = kind.__bases__
        own = {**arguments(base), **own}
    return own


# -- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_yaml_file_names_every_argument_and_describes_itself(file: Path) -> None:
    first, second = file.read_text(encoding="utf-8").splitlines()[:2]
    assert first == "# @package _global_"
    assert second.startswith("# ")
    config = OmegaConf.load(file)
    for base in config.pop("defaults", []):
        if isinstance(base, str):  # the file that this one builds upon
            config = OmegaConf.merge(OmegaConf.load(file.with_stem(base)), config)
    config.seed = 0
    node = OmegaConf.to_container(config.dataset, resolve=True)
    module, _, name = node.pop("_target_").rpartition(".")
    kind = getattr(__import__(module, fromlist=[name]), name)
    assert node.keys() == arguments(kind).keys()
    assert inspect.getdoc(kind)
    declared = {key: value for key, value in node.items() if key not in DECLARED}
    for key, parameter in arguments(kind).items():
        wanted = {"augment": {"flip": 0, "crop": 0, "rotate": 0, "zoom": 0, "shear": 0}, "ignore": []}
        special = (file.stem, key) == ("diabetes", "scale_target") or key == "val" or key == "size"
        if key in declared and not special:
            assert declared[key] == wanted.get(key, parameter.default), key


@pytest.mark.parametrize("name", HERE)
def test_splits_are_disjoint_complete_and_repeatable(name: str) -> None:
    dataset, again, other = load(name), load(name), load(name, seed=1)
    assert list(dataset.splits) == ["train", "test", "val"] or set(dataset.splits) == {"train", "val", "test"}
    sizes = {part: len(split) for part, split in dataset.splits.items()}
    total = sum(sizes.values())
    assert sizes["test"] == round(0.2 * total)
    assert sizes["val"] == round(0.1 * (total - sizes["test"]))
    for part, split in dataset.splits.items():
        assert torch.equal(split.x, again.splits[part].x)
        assert not torch.equal(split.x, other.splits[part].x)
        assert split.x.shape[1:] == dataset.shape
    if dataset.classes is not None and dataset.splits["train"].y is not None:
        shares = [part.y.bincount(minlength=dataset.classes) / len(part) for part in dataset.splits.values()]
        for share, part in zip(shares, dataset.splits.values(), strict=True):
            assert (share - shares[0]).abs().max() < 2 / len(part)


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_the_data_is_scikit_learns(name: str) -> None:
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    changes = {"scale_target": "none"} if name == "diabetes" else {}
    got_x, got_y = together(load(name, **changes))
    order = sorted(np.column_stack([x.astype(np.float32), y]).tolist())
    assert torch.allclose(torch.cat([got_x, got_y], 1), torch.tensor(order, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_the_data_is_the_same_where_scikit_learn_keeps_its_files_elsewhere(name, monkeypatch) -> None:
    mine = together(load(name))
    monkeypatch.setattr("dlx.datasets.bundled.read_numbers", lambda *arguments, **names: None)
    theirs = together(load(name))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, theirs, strict=True))


def test_enlarged_digits_are_the_same_digits() -> None:
    from PIL import Image

    small, large = load("digits"), load("digits28")
    assert large.shape == (1, 28, 28)
    assert large.levels == 255
    for part in ("train", "test"):
        assert torch.equal(small.splits[part].y, large.splits[part].y)
    for a, b in zip(small.splits["test"].x[:5, 0], large.splits["test"].x[:5, 0], strict=True):
        wanted = Image.fromarray(a.float().numpy() * (255 / 16)).resize((28, 28), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(wanted) - b.numpy()).max() <= 0.51


def test_stratified_keeps_every_class_within_one_of_its_share() -> None:
    y = torch.tensor([0] * 70 + [1] * 23 + [2] * 7)
    chosen, rest = split_stratified(torch.arange(100), y, 31, torch.Generator().manual_seed(0))
    assert sorted([*chosen.tolist(), *rest.tolist()]) == list(range(100))
    assert len(chosen) == 31
    assert (y[chosen].bincount() - torch.tensor([21.7, 7.13, 2.17])).abs().max() < 1


def test_the_test_split_does_not_depend_on_the_others() -> None:
    one, two = load("digits", val=0.1), load("digits", val=0.3, limit=100)
    assert torch.equal(one.splits["test"].x, two.splits["test"].x)
    assert len(two.splits["train"]) == 100
    assert two.splits["train"].y.bincount().min() >= 9
    assert list(load("digits", val=0, test=0).splits) == ["train"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [1, 28, 28]}, r"dataset\.shape=\[1, 28, 28\] was given; digits has \[1, 8, 8\]"),
        ({"classes": 9}, r"dataset\.classes=9 was given; digits has 10; type dataset\.classes=10"),
        ({"outputs": 1}, r"dataset\.outputs=1 was given"),
        ({"augment__flop": 1}, r"dataset\.augment\.flop was given; needed: some of flip, crop"),
        ({"augment__crop": -1}, r"dataset\.augment\.crop=-1 was given"),
        ({"binarize": "threshold", "scale": "none"}, r"type dataset\.scale=unit"),
    ],
)
def test_what_is_declared_is_checked(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load("digits", **changes)


def test_a_regression_has_no_classes() -> None:
    with pytest.raises(UsageError, match=r"has no labels; type dataset\.classes=null"):
        load("diabetes", classes=3)


# -- scaling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "scaler"), [("standard", StandardScaler()), ("minmax", MinMaxScaler())])
def test_tables_are_scaled_by_the_training_split(scale: str, scaler) -> None:
    dataset = load("wine", scale=scale)
    scaler.fit(dataset.splits["train"].x.double().numpy())
    for part in dataset.splits.values():
        wanted = scaler.transform(part.x.double().numpy())
        assert np.allclose(dataset.transform(part.x, False).numpy(), wanted, atol=1e-4)


def test_targets_are_scaled_and_lead_back() -> None:
    raw, scaled = load("diabetes", scale_target="none"), load("diabetes")
    y = scaled.splits["train"].y
    assert y.shape[1] == scaled.outputs == 1
    assert abs(float(y.mean())) < 1e-5
    assert abs(float(y.std(correction=0)) - 1) < 1e-5
    for part in ("train", "val", "test"):
        back = scaled.splits[part].y * scaled.target_std + scaled.target_mean
        assert torch.allclose(back.float(), raw.splits[part].y, atol=1e-3)


def test_images_are_scaled() -> None:
    dataset = load("digits")
    x = dataset.splits["train"].x
    assert x.dtype == torch.uint8
    assert torch.equal(dataset.transform(x, False), x.float() / 16)
    assert torch.equal(load("digits", scale="none").transform(x, False), x.float())
    symmetric = load("digits", scale="symmetric").transform(x, False)
    assert (float(symmetric.min()), float(symmetric.max())) == (-1, 1)
    standard = load("digits", scale="standard")
    got = standard.transform(x, False)
    assert abs(float(got.mean())) < 1e-4
    assert abs(float(got.std()) - 1) < 1e-3
    given = load("digits", scale="standard", mean=[0.5], std=[0.25]).transform(x, False)
    assert torch.allclose(given, (x / 16 - 0.5) / 0.25)


def test_binarization() -> None:
    x = load("digits").splits["train"].x
    assert torch.equal(load("digits", binarize="threshold").transform(x, False), (x >= 8).float())
    dataset = load("digits", binarize="stochastic")
    generator = torch.Generator().manual_seed(0)
    mean = torch.stack([dataset.transform(x[:50], True, generator) for _ in range(400)]).mean(0)
    assert (mean - x[:50] / 16).abs().max() < 5 * 0.5 / 400**0.5
    assert torch.equal(dataset.transform(x, False), dataset.transform(x, False))


# -- generated data ---------------------------------------------------------------------------------------------------


def test_moons_lie_where_scikit_learn_draws_them() -> None:
    dataset = make("moons", noise=0.0, examples=100)
    split = dataset.read()["train"]
    x, y = sklearn.datasets.make_moons(100, shuffle=False)
    assert np.allclose(split.x.numpy(), x, atol=1e-6)
    assert np.array_equal(split.y.numpy(), y)


@pytest.mark.parametrize(("name", "modes", "std"), [("ring", 8, 0.02), ("grid25", 25, 0.05), ("blobs", 3, 1.0)])
def test_mixtures_have_their_centres(name: str, modes: int, std: float) -> None:
    dataset = load(name)
    x, y = (torch.cat([getattr(part, which) for part in dataset.splits.values()]) for which in "xy")
    assert dataset.centres.shape == (modes, 2)
    for mode, centre in enumerate(dataset.centres):
        points = x[y == mode]
        assert (points.mean(0) - centre).abs().max() < 5 * std / len(points) ** 0.5
        assert abs(float((points - centre).std()) / std - 1) < 0.2
    if name == "ring":
        assert torch.allclose(dataset.centres.norm(dim=1), torch.tensor(2.0))
        assert torch.allclose(dataset.centres[0], torch.tensor([2.0, 0.0]))
    if name == "grid25":
        assert sorted(dataset.centres[:, 0].unique().tolist()) == [-4, -2, 0, 2, 4]


def test_more_examples_do_not_move_the_blobs() -> None:
    assert torch.equal(load("blobs").centres, load("blobs", examples=2000).centres)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_bars_and_stripes_are_all_of_them(size: int) -> None:
    wanted = set()
    for bits in product((0, 1), repeat=size * size) if size < 4 else ():
        image = np.array(bits).reshape(size, size)
        if (image == image[0]).all() or (image == image[:, :1]).all():
            wanted.add(bits)
    dataset = load("bars_and_stripes", size=size)
    got = dataset.transform(dataset.splits["train"].x, False).flatten(1).int().tolist()
    assert len(got) == len({tuple(row) for row in got}) == 2 ** (size + 1) - 2
    assert size == 4 or {tuple(row) for row in got} == wanted
    assert set(dataset.splits) == {"train", "val", "test"}


def test_the_casino_rolls_by_its_model() -> None:
    dataset = make("casino", examples=2000)
    split = dataset.read()["train"]
    states, lengths = dataset.states, split.lengths
    within = torch.arange(150) < lengths[:, None]
    assert (int(lengths.min()), int(lengths.max())) == (50, 150)
    assert (split.x[~within] == 0).all()
    for state in (0, 1):
        rolls = split.x[within & (states == state)]
        share = rolls.bincount(minlength=6) / len(rolls)
        assert (share - dataset.emission[state]).abs().max() < 5 * 0.5 / len(rolls) ** 0.5
    before, after = states[:, :-1].flatten(), states[:, 1:].flatten()
    for state, change in ((0, 0.05), (1, 0.1)):
        moved = (after[before == state] != state).double()
        assert abs(float(moved.mean()) - change) < 5 * math.sqrt(change / len(moved))


# -- what is not finite, or not there ---------------------------------------------------------------------------------


class Bad(Dataset):
    kind = "vector"

    def __init__(self, x: Tensor, y: Tensor | None = None) -> None:
        super().__init__()
        self.x, self.y = x, y

    def read(self):
        return {"train": Split(self.x, self.y)}


def test_values_that_are_not_finite_are_named() -> None:
    x = torch.zeros(10, 3)
    x[4, 2] = math.nan
    with pytest.raises(
        UsageError, match=r"bad: the inputs of its train part hold nan at row 4, column 2 \(counted from 0; 1"
    ):
        Bad(x).load()
    y = torch.zeros(10, 1)
    y[7] = math.inf
    with pytest.raises(UsageError, match="the targets of its train part hold inf at row 7"):
        Bad(torch.zeros(10, 3), y).load()


def test_a_dataset_of_ones_own_needs_read_alone() -> None:
    class Mine(Dataset):
        def read(self):
            return {"train": Split(torch.zeros(10, 2, 3), torch.zeros(10))}

    mine = Mine()
    mine.load()
    assert (mine.kind, mine.shape, mine.classes, mine.outputs) == ("sequence", (2, 3), None, 1)


def test_labels_are_checked() -> None:
    with pytest.raises(UsageError, match="has one class only"):
        Bad(torch.zeros(10, 3), torch.zeros(10).long()).load()
    with pytest.raises(UsageError, match="row 2 has label -1; needed: labels from 0 to 4"):
        Bad(torch.zeros(5, 3), torch.tensor([0, 1, -1, 3, 4])).load()
    with pytest.raises(UsageError, match="holds no examples"):
        Bad(torch.zeros(0, 3)).load()


def test_a_constant_channel_stays_at_zero() -> None:
    dataset = Images(scale="standard")
    dataset.shape = (1, 2, 2)
    dataset.prepare(Split(torch.full((5, 1, 2, 2), 9, dtype=torch.uint8)))
    assert dataset.transform(torch.full((1, 1, 2, 2), 9), False).abs().max() < 1e-6
    table = Table()
    table.prepare(Split(torch.full((1000, 1), 0.1)))
    assert table.transform(torch.full((1, 1), 0.1), False).abs().max() < 1e-6


def test_transforming_leaves_its_input_alone() -> None:
    for scale in ("none", "unit", "symmetric"):
        x = torch.rand(2, 1, 3, 3)
        before = x.clone()
        Images(scale=scale).transform(x, False)
        assert torch.equal(x, before)


def test_mean_and_std_are_one_number_a_channel() -> None:
    with pytest.raises(UsageError, match="one number for each channel"):
        load("digits", scale="standard", mean=[0.1, 0.2], std=[1.0, 1.0])
