"""Decoding by the stated rules, on files made here."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from provenet.data.decode import BadFile, decode_image, decode_mask, probe
from provenet.data.opening import upright

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image, image_format="PNG", **options):
    file = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, image_format, **options)
    return file.getvalue()


def smooth_color(height=64, width=96):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 2, y * 3, 255 - x], axis=2).clip(0, 255).astype(np.uint8)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, color, rows, extra=b""):
    """A PNG written by hand, for kinds that Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def raw16(values):
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)


def reason_of(data):
    with pytest.raises(BadFile) as caught:
        decode_image(data, "x")
    return caught.value.reason


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "PPM", "TGA"])
@pytest.mark.parametrize("values", [GREY, COLOR], ids=["grey", "color"])
def test_lossless_formats_give_back_their_pixels(image_format, values):
    picture = decode_image(encoded(values, image_format), "x.tga")
    assert np.array_equal(picture.pixels, values.reshape(6, 9, -1))
    assert picture.pixels.dtype == np.uint8
    assert picture.note == ""


def test_one_bit_becomes_0_and_255():
    bits = GREY > 127
    assert np.array_equal(decode_image(encoded(Image.fromarray(bits)), "x").pixels[..., 0], bits * 255)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_grey_16_keeps_all_levels(image_format):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = decode_image(encoded(ramp, image_format), "x").pixels
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[..., 0], ramp)


def test_big_endian_tiff():
    ramp = np.arange(600, dtype=np.uint16).reshape(20, 30)
    data = encoded(Image.frombytes("I;16B", (30, 20), ramp.astype(">u2").tobytes()), "TIFF")
    assert np.array_equal(decode_image(data, "x").pixels[..., 0], ramp)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_color_16_keeps_all_levels_and_channel_order(suffix, channels):
    values = RNG.integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    if channels == 4:
        values[..., 3] = 65535
    data = cv2.imencode(suffix, values)[1].tobytes()
    picture = decode_image(data, "x")
    assert np.array_equal(picture.pixels, values[..., 2::-1])
    assert picture.note == ""


def test_color_16_with_alpha_is_composited_on_white():
    values = RNG.integers(0, 65536, (20, 30, 4)).astype(np.uint16)
    picture = decode_image(cv2.imencode(".png", values)[1].tobytes(), "x")
    alpha = values[..., 3:] / 65535
    expected = values[..., 2::-1] * alpha + 65535 * (1 - alpha)
    assert np.abs(picture.pixels - expected).max() <= 1
    assert "white" in picture.note


def test_grey_16_with_alpha_stays_grey():
    grey = RNG.integers(0, 65536, (5, 7))
    rows = raw16(np.stack([grey, np.full_like(grey, 65535)], axis=2).reshape(5, 14))
    pixels = decode_image(png(7, 5, 16, 4, rows), "x").pixels
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[..., 0], grey)


def test_color_16_falls_back_to_8_bits_where_the_decoders_differ(monkeypatch):
    values = RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    data = cv2.imencode(".png", values)[1].tobytes()
    monkeypatch.setattr(cv2, "imdecode", lambda *_: values[..., ::-1])  # channels in the wrong order
    picture = decode_image(data, "x")
    assert np.array_equal(picture.pixels, values[..., ::-1] >> 8)
    assert "two decoders differ" in picture.note


def test_pgm_of_other_ranges_is_stretched():
    assert decode_image(b"P5 3 1 100\n" + bytes([0, 50, 100]), "x").pixels.ravel().tolist() == [0, 128, 255]
    deep = b"P5 2 1 1000\n" + np.array([500, 1000], ">u2").tobytes()
    assert decode_image(deep, "x").pixels.ravel().tolist() == [32768, 65535]


def test_int32_is_kept_where_it_fits_16_bits():
    fits = np.array([[0, 300, 65535]], np.int32)
    assert np.array_equal(decode_image(encoded(fits, "TIFF"), "x").pixels[..., 0], fits)
    assert "65536" in reason_of(encoded(fits + 1, "TIFF"))
    assert "-1" in reason_of(encoded(fits - 1, "TIFF"))


def test_float_is_kept_in_0_to_1_and_refused_elsewhere():
    values = np.linspace(0, 1, 65536, dtype=np.float32).reshape(256, 256)
    assert np.array_equal(decode_image(encoded(values, "TIFF"), "x").pixels.ravel(), np.arange(65536))
    assert "0 to 2" in reason_of(encoded(values * 2, "TIFF"))
    values[3, 3] = np.nan
    assert "NaN" in reason_of(encoded(values, "TIFF"))


def test_palette_becomes_its_colors():
    expected = np.arange(15).reshape(5, 3)[GREY % 5]
    paletted = Image.frombytes("P", (9, 6), (GREY % 5).tobytes())
    paletted.putpalette(list(range(15)))
    assert np.array_equal(decode_image(encoded(paletted), "x").pixels, expected)
    clear = decode_image(encoded(paletted, transparency=2), "x").pixels
    assert np.array_equal(clear, np.where((GREY % 5 == 2)[..., None], 255, expected))


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_composited_on_white(channels):
    values = RNG.integers(0, 256, (6, 9, channels), dtype=np.uint8)
    picture = decode_image(encoded(values), "x")
    alpha = values[..., -1:] / 255
    expected = values[..., :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(picture.pixels - expected).max() <= 0.5 + 1e-9
    values[..., -1] = 255
    opaque = decode_image(encoded(values), "x")
    assert np.array_equal(opaque.pixels, values[..., :-1])
    assert opaque.note == ""


@pytest.mark.parametrize(
    ("depth", "color", "key", "rows", "expected"),
    [
        (8, 0, (7,), b"\0\x07\x08", [255, 8]),
        (4, 0, (7,), b"\0\x78", [255, 8 * 17]),
        (2, 0, (1,), b"\0\x60", [255, 170]),
        (1, 0, (0,), b"\0\x40", [255, 255]),
        (16, 0, (300,), b"\0" + struct.pack(">HH", 300, 301), [65535, 301]),
        (8, 2, (1, 2, 3), b"\0\x01\x02\x03\x01\x02\x04", [255, 255, 255, 1, 2, 4]),
        (16, 2, (1, 2, 300), b"\0" + struct.pack(">6H", 1, 2, 300, 1, 2, 301), [65535] * 3 + [1, 2, 301]),
    ],
)
def test_the_color_named_as_transparent_becomes_white(depth, color, key, rows, expected):
    trns = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    picture = decode_image(png(2, 1, depth, color, rows, trns), "x")
    assert picture.pixels.ravel().tolist() == expected
    assert "white" in picture.note


def test_cmyk_gives_the_rgb_original():
    color = smooth_color()
    cmyk = Image.fromarray(color).convert("CMYK")
    assert np.array_equal(decode_image(encoded(cmyk, "TIFF"), "x").pixels, color)
    picture = decode_image(encoded(cmyk, "JPEG", quality=100), "x")  # written inverted with Adobe's marker
    assert np.abs(picture.pixels.astype(int) - color).mean() < 3
    assert "CMYK" in picture.note


def test_lab_gives_the_rgb_original():
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    color = smooth_color()
    there = ImageCms.profileToProfile(Image.fromarray(color), srgb, lab, outputMode="LAB")
    back = decode_image(encoded(there, "TIFF"), "x").pixels.astype(int)
    assert np.abs(back - color).mean() < 2


def exif(turn):
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags.tobytes()


def turned(upright_pixels, turn):
    """The stored pixels whose EXIF orientation `turn` shows the upright picture (Pillow's own operations)."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # FLIP_LEFT_RIGHT, ROTATE_180, FLIP_TOP_BOTTOM, TRANSPOSE ...
    image = Image.fromarray(upright_pixels)
    return image if turn not in undo else image.transpose(Image.Transpose(undo[turn]))


@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_once(turn, image_format):
    options = {"exif": exif(turn)} | ({"lossless": True} if image_format == "WEBP" else {})
    data = encoded(turned(COLOR, turn), image_format, **options)
    assert np.array_equal(decode_image(data, "x").pixels, COLOR)
    assert (probe(data).height, probe(data).width) == (6, 9)


def test_orientation_of_16_bit_color_is_applied_once():
    values = RNG.integers(0, 65536, (6, 9, 3)).astype(np.uint16)
    stored = cv2.imencode(".png", np.rot90(values, 1)[..., ::-1])[1].tobytes()  # turned to the left: 6 turns it back
    data = stored[:33] + chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")) + stored[33:]
    assert np.array_equal(decode_image(data, "x").pixels, values)


def test_orientation_of_a_mask_is_applied():
    mask = GREY % 3
    assert np.array_equal(decode_mask(encoded(turned(mask, 6), exif=exif(6)), "x").codes, mask)


@pytest.mark.parametrize("turn", range(2, 9))
def test_upright_agrees_with_pillow(turn):
    assert np.array_equal(upright(np.asarray(turned(COLOR, turn)), turn), COLOR)


def test_exif_behind_the_pixels_of_a_png_is_seen():
    stored = encoded(turned(COLOR, 8))
    late = stored[:-12] + chunk(b"eXIf", exif(8).removeprefix(b"Exif\0\0")) + stored[-12:]
    assert np.array_equal(decode_image(late, "x").pixels, COLOR)
    assert (probe(late).height, probe(late).width) == (6, 9)


def test_damaged_exif_is_taken_as_upright():
    data = encoded(smooth_color(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode_image(data, "x").pixels.shape == (64, 96, 3)
