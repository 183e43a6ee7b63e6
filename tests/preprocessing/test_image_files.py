"""Pixel formats keep their values or are refused; no file hangs, fills memory or comes twice."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from minicnn.datasets.folder import image_dataset_from_directory
from minicnn.preprocessing import files
from minicnn.preprocessing.image import ImageDataGenerator, img_to_array, load_img, save_img

RAMP = np.linspace(0, 65535, 48).astype("uint16").reshape(6, 8)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def big_endian_tiff(path):
    """16 bits, the upper byte first, which Pillow reads as mode I;16B but does not write."""
    data = RAMP.astype(">u2").tobytes()
    tags = [
        (256, 8), (257, 6), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 6),
        (279, len(data)),
    ]  # fmt: skip
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = b"MM\0*" + struct.pack(">I", 8 + len(data))
    path.write_bytes(head + data + struct.pack(">H", len(tags)) + entries + bytes(4))
    return path


def sixteen_bits(tmp_path):
    pgm = tmp_path / "a.ppm"
    pgm.write_bytes(b"P5 8 6 65535\n" + RAMP.astype(">u2").tobytes())
    return [write(tmp_path / "a.png", RAMP), big_endian_tiff(tmp_path / "a.tif"), pgm]


def test_grey_of_16_bits_keeps_its_values_or_their_upper_8_bits(tmp_path):
    for path in sixteen_bits(tmp_path):
        grey = img_to_array(load_img(path, "grayscale"))
        np.testing.assert_array_equal(grey[..., 0], RAMP, str(path))
        for mode, channels in (("rgb", 3), ("rgba", 4)):
            x = img_to_array(load_img(path, mode))
            assert x.shape == (6, 8, channels)
            for c in range(3):
                np.testing.assert_array_equal(x[..., c], RAMP >> 8, str(path))


def test_grey_of_16_bits_is_resized_in_16_bits(tmp_path):
    flat = write(tmp_path / "a.png", np.full((6, 8), 40000, "uint16"))
    for interpolation in files.RESAMPLING:
        x = img_to_array(load_img(flat, "grayscale", (3, 5), interpolation))
        np.testing.assert_array_equal(x, np.full((3, 5, 1), 40000))


def test_batches_of_grey_images_of_16_bits(tmp_path):
    write(tmp_path / "data" / "a" / "x.png", RAMP)
    options = {"color_mode": "grayscale", "shuffle": False}
    folder = image_dataset_from_directory(tmp_path / "data", image_size=(6, 8), **options)
    ((x, _),) = folder  # 0 to 255, as TensorFlow decodes it
    np.testing.assert_array_equal(x[0, ..., 0], RAMP >> 8)
    flow = ImageDataGenerator().flow_from_directory(
        tmp_path / "data", target_size=(6, 8), **options
    )
    np.testing.assert_array_equal(next(flow)[0][0, ..., 0], RAMP)  # as in Keras


@pytest.mark.parametrize(
    "pixels, text",
    [
        (np.linspace(0, 1, 48, dtype="float32"), "numbers from 0 to 1, which do not fit"),
        (np.linspace(-3, 300, 48, dtype="float32"), "numbers from -3 to 300"),
        (np.arange(48, dtype="int32") * 1000, "numbers from 0 to 47000"),
        (np.full(48, np.nan, "float32"), "numbers from nan to nan"),
    ],
)
def test_other_numbers_are_kept_or_refused(tmp_path, pixels, text):
    path = write(tmp_path / "data" / "a" / "x.tif", pixels.reshape(6, 8))
    np.testing.assert_array_equal(
        img_to_array(load_img(path, "grayscale")).ravel(), pixels.astype("float32")
    )
    for mode in ("rgb", "rgba"):
        with pytest.raises(ValueError, match=f"x.tif cannot be read as an image: .*{text}.*keeps"):
            load_img(path, mode)
    with pytest.raises(ValueError, match=f"x.tif .*{text}"):
        next(iter(image_dataset_from_directory(tmp_path / "data", color_mode="grayscale")))


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_numbers_that_fit_8_bits_are_what_they_were(tmp_path, dtype):
    pixels = np.arange(200, 248, dtype=dtype).reshape(6, 8)
    x = img_to_array(load_img(write(tmp_path / "x.tif", pixels)))
    np.testing.assert_array_equal(x, np.dstack([pixels] * 3))


def test_an_integer_array_that_cannot_hold_the_values(tmp_path):
    image = load_img(write(tmp_path / "a.png", RAMP), "grayscale")
    assert img_to_array(image, dtype="uint16").max() == 65535
    with pytest.raises(ValueError, match="0 to 65535, do not fit into dtype uint8; take float32"):
        img_to_array(image, dtype="uint8")


def test_palettes_alpha_and_cmyk_are_what_pillow_makes_of_them(tmp_path):
    grey = np.dstack([np.full((4, 4), 90, "uint8"), np.full((4, 4), 10, "uint8")])
    path = write(tmp_path / "la.png", grey)
    assert img_to_array(load_img(path))[0, 0].tolist() == [90, 90, 90]
    assert img_to_array(load_img(path, "rgba"))[0, 0].tolist() == [90, 90, 90, 10]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50] + [0] * 762)
    palette.save(tmp_path / "p.png", transparency=1)
    assert img_to_array(load_img(tmp_path / "p.png"))[0, 0].tolist() == [200, 100, 50]
    assert img_to_array(load_img(tmp_path / "p.png", "rgba"))[0, 0].tolist() == [200, 100, 50, 0]
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    assert img_to_array(load_img(tmp_path / "c.tif"))[0, 0].tolist() == [255, 0, 0]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


BAD = {
    "of 2,500,000,000 pixels": png(50_000, 50_000, chunk(b"IDAT", zlib.compress(b""))),
    "with a text bomb": png(
        1, 1, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK + 1)))
    ),
    "PPM of a huge number": b"P6 " + b"9" * 20 + b" 1 255\n",
    "PPM of letters": b"P6 a b 255\n",
    "half a TIFF": b"II*\0\x08\0\0\0\xff\xff",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_whatever_is_wrong_names_the_file(tmp_path, content):
    path = tmp_path / "data" / "a" / "broken.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken.png cannot be read as an image: ..."):
        load_img(path)
    flow = ImageDataGenerator().flow_from_directory(tmp_path / "data")
    with pytest.raises(ValueError, match="broken.png cannot be read as an image: ..."):
        next(flow)
    with pytest.raises(ValueError, match="the given bytes cannot be read as an image: ..."):
        load_img(io.BytesIO(content))


def test_postscript_is_not_run(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    monkeypatch.setattr(Image.Image, "convert", lambda *a, **k: pytest.fail("it was run"))
    with pytest.raises(ValueError, match="x.png cannot be .* it is PostScript, which is a program"):
        load_img(path)


@pytest.mark.parametrize(
    "error", [MemoryError(), OverflowError("too large"), struct.error("unpack"), SyntaxError("x")]
)
def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, error):
    path = write(tmp_path / "x.png", np.zeros((2, 2, 3), "uint8"))

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    reason = str(error) or "MemoryError"
    with pytest.raises(ValueError, match=f"x.png cannot be read as an image: {reason}"):
        load_img(path)


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    pixels = np.full((60, 80, 3), 200, "uint8")
    path = write(tmp_path / "large.png", pixels)
    jpeg = write(tmp_path / "large.jpg", pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    monkeypatch.setattr(Image.Image, "convert", lambda *a, **k: pytest.fail("it was decoded"))
    text = "large.png .* its 80 x 60 pixels are more than the limit of 3,000.*MAX_IMAGE_PIXELS"
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ValueError, match=text):
        load_img(path, target_size=(8, 8))
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with pytest.warns(Image.DecompressionBombWarning):  # JPEG can be decoded at a smaller scale
        assert img_to_array(load_img(jpeg, target_size=(8, 8))).mean() == pytest.approx(200, abs=2)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(ValueError, match=r"large.jpg .* its 80 x 60 pixels"),
    ):
        load_img(jpeg)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert load_img(path).size == (80, 60)


@pytest.mark.parametrize("size", [32, (0, 4), (4, 4, 3), (2.5, 4), None])
def test_a_size_that_is_none(tmp_path, size):
    write(tmp_path / "data" / "a" / "x.png", np.zeros((2, 2, 3), "uint8"))
    text = r" is \(height, width\), two integers from 1 on, such as \(32, 32\); got "
    if size != 32:  # which is both, as in Keras
        with pytest.raises(ValueError, match=f"image_size{text}"):
            image_dataset_from_directory(tmp_path / "data", image_size=size)
    with pytest.raises(ValueError, match=f"target_size{text}"):
        ImageDataGenerator().flow_from_directory(tmp_path / "data", target_size=size)
    if size is not None:
        with pytest.raises(ValueError, match=f"target_size{text}"):
            load_img(tmp_path / "data" / "a" / "x.png", target_size=size)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
def test_pipes_are_no_images_and_broken_links_are_told(tmp_path):
    image = write(tmp_path / "a" / "x.png", np.zeros((2, 2, 3), "uint8"))
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "link-to-pipe.png").symlink_to("pipe.png")
    (tmp_path / "a" / "null.png").symlink_to(os.devnull)
    (tmp_path / "a" / "folder.png").mkdir()
    (tmp_path / "a" / "link.png").symlink_to("x.png")
    assert files.list_images(tmp_path) == [image.with_name("link.png"), image]
    for name in ("pipe.png", "link-to-pipe.png", "null.png"):
        with pytest.raises(OSError, match=f"{name}' is a device or a pipe; give an image file"):
            load_img(tmp_path / "a" / name)
    (tmp_path / "a" / "broken.png").symlink_to("absent.png")
    with pytest.raises(FileNotFoundError, match="broken.png"):
        next(ImageDataGenerator().flow_from_directory(tmp_path))


def test_links_that_lead_back_give_each_image_once(tmp_path):
    image = write(tmp_path / "a" / "deep" / "x.png", np.zeros((2, 2, 3), "uint8"))
    outside = write(tmp_path / "outside" / "y.png", np.zeros((2, 2, 3), "uint8"))
    (tmp_path / "a" / "itself").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "deep" / "itself").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "more").symlink_to(outside.parent)
    assert files.list_images(tmp_path / "a") == [image]
    assert files.list_images(tmp_path / "a", follow_links=True) == [
        image, tmp_path / "a" / "more" / "y.png",
    ]  # fmt: skip


def test_a_picture_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    save_img(path, np.zeros((4, 4, 3)), scale=False)
    before = path.read_bytes()

    def half(image, target, **options):
        with open(target, "wb") as file:
            file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="cannot write '.*x.png': no space left"):
        save_img(path, np.ones((4, 4, 3)))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.png"]


def test_save_img_takes_an_open_file(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        save_img(file, np.full((2, 2, 1), 7.0), file_format="png", scale=False)
    assert img_to_array(load_img(tmp_path / "x", "grayscale")).max() == 7
