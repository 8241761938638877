"""Pictures of every mode of Pillow are brought to bytes by what their type means, or refused by name; all is said."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlx.datasets.images.decoding import FLOATS, ON_WHITE, SIXTEEN_BITS, is_grey, to_bytes
from dlx.datasets.images.image_folder import ImageFolder
from dlx.datasets.images.input_range import validate_inputs
from dlx.datasets.npz import Npz
from dlx.errors import UsageError
from dlx.trained.inputs import read_inputs
from tests.conftest import loaded, write

GREY = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)  # every one a multiple of 1/5 of white
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], 2)
ALPHA = np.array([[255, 255, 255], [0, 0, 255]], dtype=np.uint8)
ON_PAPER = np.where(ALPHA == 0, 255, GREY)  # laid on white


def with_alpha(values: np.ndarray) -> np.ndarray:
    return np.dstack([values, ALPHA])


def palette(alpha: bool = False) -> Image.Image:
    """Make a picture of mode P, or PA, whose six colours are those of COLOUR."""
    image = Image.new("P", (3, 2))
    image.putdata(range(6))
    image.putpalette(COLOUR.reshape(-1).tolist())
    if alpha:
        image = image.convert("PA")
        image.putalpha(Image.fromarray(ALPHA))
    return image


def big_endian(values: np.ndarray, mode: str) -> Image.Image:
    order = ">u2" if mode == "I;16B" else "<u2"
    return Image.frombytes(mode, (3, 2), values.astype(order).tobytes())


deep = GREY.astype(np.uint16) * 257
on_white = np.dstack([np.where(ALPHA == 0, 255, COLOUR[..., i]) for i in range(3)])
# Mode → a picture, its bytes by hand, and how far the colour arithmetic of Pillow may be off.
MODES = {
    "1": (Image.fromarray(GREY > 128).convert("1"), np.where(GREY > 128, 255, 0), 0),
    "L": (Image.fromarray(GREY), GREY, 0),
    "LA": (Image.fromarray(with_alpha(GREY), "LA"), ON_PAPER, 0),
    "La": (Image.fromarray(with_alpha(GREY), "LA").convert("La"), ON_PAPER, 0),
    "I": (Image.fromarray(deep.astype(np.int32)), GREY, 0),
    "F": (Image.fromarray(GREY.astype(np.float32) / 255), GREY, 0),
    "I;16": (Image.fromarray(deep), GREY, 0),
    "I;16L": (big_endian(deep, "I;16L"), GREY, 0),
    "I;16B": (big_endian(deep, "I;16B"), GREY, 0),
    "I;16N": (big_endian(deep, "I;16N"), GREY, 0),
    "P": (palette(), COLOUR, 0),
    "PA": (palette(alpha=True), on_white, 0),
    "RGB": (Image.fromarray(COLOUR), COLOUR, 0),
    "RGBX": (Image.fromarray(COLOUR).convert("RGBX"), COLOUR, 0),
    "RGBA": (Image.fromarray(with_alpha(COLOUR), "RGBA"), on_white, 0),
    "RGBa": (Image.fromarray(with_alpha(COLOUR), "RGBA").convert("RGBa"), on_white, 0),
    "CMYK": (Image.fromarray(np.dstack([255 - COLOUR, 0 * GREY]), "CMYK"), COLOUR, 0),
    "YCbCr": (Image.fromarray(COLOUR).convert("YCbCr"), COLOUR, 3),
    "HSV": (Image.fromarray(COLOUR).convert("HSV"), COLOUR, 5),
    "LAB": (Image.fromarray(np.dstack([GREY, 0 * GREY, 0 * GREY]), "LAB"), None, 0),
}
WHITE = {"I": 65535.0}


def test_the_table_has_every_mode():
    assert set(MODES) == set(Image.MODES)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_means_what_its_type_says(mode):
    image, wanted, tolerance = MODES[mode]
    assert image.mode == mode
    channels = 1 if is_grey(mode) else 3
    found = to_bytes(image, channels, WHITE.get(mode), "a.png")
    got = np.asarray(found.image).astype(int)
    assert found.image.mode == ("L" if channels == 1 else "RGB")
    if wanted is None:  # lightness alone: grey, and the brighter the lighter
        assert np.ptp(got, axis=2).max() <= 2
        assert (np.diff(got[..., 0].ravel()) > 0).all()
    else:
        assert np.abs(got - wanted.astype(int)).max() <= tolerance
    other = to_bytes(image, 4 - channels, WHITE.get(mode), "a.png")
    assert other.image.mode == ("RGB" if channels == 1 else "L")
    assert any("turned to grey" in text or "three channels" in text for text in other.changes)
    assert (ON_WHITE in found.changes) == (mode in ("LA", "La", "PA", "RGBA", "RGBa"))
    assert (SIXTEEN_BITS in found.changes) == mode.startswith("I")
    assert (FLOATS in found.changes) == (mode == "F")
    assert bool(found.changes) == (mode not in ("1", "L", "P", "RGB", "RGBX"))


@pytest.mark.parametrize(
    ("values", "white", "message"),
    [
        (np.float32([[0, 1.5]]), None, r"x\.tif is of floats \(mode F\), from 0 to 1\.5; .*type dataset\.white=255"),
        (np.float32([[-1, 1]]), None, r"floats \(mode F\), from -1 to 1; needed: from 0 to 1$"),
        (np.float32([[0, np.nan]]), None, "holds nan"),
        (np.int32([[0, 60000]]), None, r"32-bit integers \(mode I\), from 0 to 60000, .*type dataset\.white=65535"),
        (np.uint16([[0, 5000]]), 4095, r"16-bit integers \(mode I;16\), from 0 to 5000; needed: from 0 to 4095"),
    ],
)
def test_what_no_type_explains_is_refused_by_name(values, white, message):
    Path("p/a").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(values).save(f"p/a/{i}.tif")
        Image.fromarray(values).save("p/a/x.tif")
    with pytest.raises(UsageError, match=message):
        to_bytes(Image.open("p/a/x.tif"), 1, white, "x.tif")
    with pytest.raises(UsageError, match=r"mode|nan"):  # nor is it left out as corrupt
        ImageFolder("p", white=white, corrupt="skip").load()


def test_advice_on_white_helps():
    Path("p").mkdir()
    for i in range(3):
        Image.fromarray(np.float32([[0, 127.5, 255]])).save(f"p/{i}.tif")
    dataset = loaded(ImageFolder("p", white=255, val=0, test=0))
    assert dataset.splits["train"].x[0, 0].tolist() == [[0, 128, 255]]
    assert dataset.notes == ["p: 3 of 3 pictures hold floats, which were rounded to 8 bits"]
    with pytest.raises(UsageError, match=r"dataset\.white=-1"):
        ImageFolder("p", white=-1)


def test_transparency_without_a_channel_is_laid_on_white():
    """Of the colour that a PNG names, and of a palette's."""
    Image.fromarray(GREY).save("l.png", transparency=0)
    assert np.array_equal(np.asarray(to_bytes(Image.open("l.png"), 1, None, "").image), np.where(GREY == 0, 255, GREY))
    palette().save("p.png", transparency=bytes([0, 255, 255, 255, 255, 255]))
    wanted = COLOUR.copy()
    wanted[0, 0] = 255
    assert np.array_equal(np.asarray(to_bytes(Image.open("p.png"), 3, None, "").image), wanted)


def test_deep_grey_maps_are_of_sixteen_bits():
    Path("a.pgm").write_bytes(b"P5\n3 2\n65535\n" + deep.astype(">u2").tobytes())
    assert np.array_equal(np.asarray(to_bytes(Image.open("a.pgm"), 1, None, "").image), GREY)


@pytest.mark.parametrize("stream", [False, True])
def test_whatever_is_done_to_pictures_is_said(stream):
    Path("p/cat").mkdir(parents=True)
    Path("p/bird").mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(GREY).save("p/cat/0.png")
    Image.fromarray(GREY.T.copy()).save("p/cat/1.jpg", exif=turned, quality=100)
    Image.fromarray(with_alpha(COLOUR), "RGBA").save("p/cat/2.png")
    Image.fromarray(np.repeat(GREY, 2, 0)).save("p/cat/3.png")
    Image.fromarray(GREY).save("p/cat/4.gif", save_all=True, append_images=[Image.fromarray(GREY[::-1])])
    write("rubbish", "p/cat/5.png")
    write("x", "p/.DS_Store")
    write("x", "p/cat/._0.png")
    write("x", "p/cat/list.txt")
    Path("p/dog").mkdir()
    Image.fromarray(GREY).save("p/dog/0.png")
    dataset = loaded(ImageFolder("p", size=[2, 3], corrupt="skip", stream=stream, val=0, test=0))
    assert dataset.names == ["cat", "dog"]
    assert sorted(dataset.notes) == sorted(
        [
            "p: 3 files passed over: 2 hidden (.DS_Store, cat/._0.png), 1 of another kind (cat/list.txt)",
            "p: no pictures in bird",
            "p: 1 of 7 pictures cannot be decoded and were left out (cat/5.png)",
            "p: 1 of 6 pictures have several frames, of which the first is taken",
            "p: 1 of 6 pictures were turned upright, as their EXIF data says",
            "p: 1 of 6 pictures have transparent pixels, which were laid on white",
            "p: 2 of 6 pictures are in colour and were turned to grey",
            "p: 1 of 6 pictures, of 3×4, were scaled and cut to 3×2 pixels",
        ]
    )


def test_a_class_of_corrupt_pictures_is_said_to_be_gone():
    for kind in ("cat", "dog"):
        Path(f"p/{kind}").mkdir(parents=True)
        for i in range(3):
            Image.fromarray(GREY).save(f"p/{kind}/{i}.png")
    Path("p/emu").mkdir()
    write("rubbish", "p/emu/0.png")
    (note,) = loaded(ImageFolder("p", corrupt="skip", val=0, test=0)).notes
    assert note == "p: 1 of 7 pictures cannot be decoded and were left out (emu/0.png); no picture of emu is left"


def test_prediction_walks_a_folder_by_the_rules_of_training():
    for kind in ("a", "b", ".ipynb_checkpoints"):
        Path(f"p/{kind}").mkdir(parents=True)
        for i in range(3):
            Image.fromarray(with_alpha(COLOUR), "RGBA").save(f"p/{kind}/{i}.png")
    write("rubbish", "p/a/._0.png")
    dataset = loaded(ImageFolder("p", val=0, test=0))
    names = [f"{kind}/{i}.png" for kind in "ab" for i in range(3)]
    with zipfile.ZipFile("p.zip", "w") as archive:
        for file in sorted(Path("p").rglob("*.png")):
            archive.write(file, file.relative_to("p"))
    for path in (Path("p"), Path("p.zip")):
        given = read_inputs(path, dataset)
        assert given.files == names
        assert torch.equal(given.x[0], torch.from_numpy(on_white).permute(2, 0, 1))
        assert given.note.startswith("4 files passed over: 4 hidden (.ipynb_checkpoints/0.png, ")
        assert "6 of 6 pictures have transparent pixels, which were laid on white" in given.note
    write("rubbish", "p/a/0.png")
    with pytest.raises(UsageError, match="cannot be read"):
        read_inputs(Path("p"), dataset)
    dataset.corrupt = "skip"
    given = read_inputs(Path("p"), dataset)
    assert given.files == names[1:]
    assert "1 images cannot be decoded and were left out (a/0.png)" in given.note


def test_the_advice_for_binary_units_helps():
    """It names what divides the values, where dataset.scale=unit has not."""
    model = torch.nn.Identity()
    model.intensities = True
    for values, white in ((GREY[None] / np.ones((40, 1, 1)) / 2, "127.5"), (GREY[None].repeat(40, 0) - 255.0, None)):
        np.savez("x.npz", x=values)
        dataset = loaded(Npz("x.npz"))
        with pytest.raises(UsageError, match=r"needed: from 0 to 1; type ") as raised:
            validate_inputs(dataset, model)
        assert "dataset.scale" not in str(raised.value)
        assert (f"dataset.white={white}" in str(raised.value)) == (white is not None)
        if white is not None:
            validate_inputs(loaded(Npz("x.npz", white=float(white))), model)
    np.savez("x.npz", x=GREY[None].repeat(40, 0).astype(np.int64))
    validate_inputs(loaded(Npz("x.npz")), model)
