"""Masks are read as their files store them, on files made here."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from provenet.data.decode import BadFile, decode_mask

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image, image_format="PNG", **options):
    file = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, image_format, **options)
    return file.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, color, rows, extra=b""):
    """A PNG written by hand, for kinds that Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def reason_of(data):
    with pytest.raises(BadFile) as caught:
        decode_mask(data, "mask.png")
    return caught.value.reason


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_a_mask_of_numbers_is_what_the_file_stores(dtype):
    numbers = (GREY % 4).astype(dtype) * 50
    mask = decode_mask(encoded(numbers, "TIFF"), "x")
    assert mask.values == (0, 50, 100, 150)
    assert mask.codes.dtype == np.uint8
    assert np.array_equal(np.array(mask.values)[mask.codes], numbers)


def test_a_palette_mask_gives_its_indices_and_colors():
    indices = GREY % 3 * 7
    image = Image.frombytes("P", (9, 6), indices.tobytes())
    image.putpalette([i * 5 % 256 for i in range(45)])
    mask = decode_mask(encoded(image), "x")
    assert mask.values == (0, 7, 14)
    assert np.array_equal(np.array(mask.values)[mask.codes], indices)
    assert mask.palette == {0: (0, 5, 10), 7: (105, 110, 115), 14: (210, 215, 220)}


def test_a_one_bit_mask_is_0_and_1():
    assert decode_mask(encoded(Image.fromarray(GREY > 127)), "x").values == (0, 1)


@pytest.mark.parametrize(
    ("depth", "byte", "expected"), [(4, b"\x0f", (0, 15)), (2, b"\x60", (1, 2)), (1, b"\x40", (0, 1))]
)
def test_a_mask_of_few_bits_is_not_stretched(depth, byte, expected):
    assert decode_mask(png(2, 1, depth, 0, b"\0" + byte), "x").values == expected


def test_a_pgm_mask_is_not_stretched():
    assert decode_mask(b"P5\n# made by hand\n3 1\n2\n\0\1\2", "x").values == (0, 1, 2)
    deep = b"P5 3 1 300\n" + np.array([0, 7, 300], ">u2").tobytes()
    assert decode_mask(deep, "x").values == (0, 7, 300)


@given(top=st.integers(1, 65535), data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_number_of_a_pgm_mask_comes_back(top, data):
    numbers = data.draw(st.lists(st.integers(0, top), min_size=1, max_size=20))
    stored = np.array(numbers, ">u2" if top > 255 else np.uint8).tobytes()
    mask = decode_mask(b"P5 %d 1 %d\n" % (len(numbers), top) + stored, "x")
    assert [mask.values[code] for code in mask.codes[0]] == numbers


def test_a_color_mask_gives_its_colors():
    colors = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 64]], np.uint8)
    image = colors[GREY % 3]
    mask = decode_mask(encoded(image), "x")
    assert set(mask.values) == {tuple(color) for color in colors.tolist()}
    assert np.array_equal(np.array(mask.values)[mask.codes], image)
    alpha = np.full((6, 9, 1), 77, np.uint8)
    assert decode_mask(encoded(np.concatenate([image, alpha], 2)), "x").values == mask.values


def test_a_mask_of_16_bit_colors_keeps_them():
    colors = np.array([[0, 0, 300], [0, 0, 301]], np.uint16)
    mask = decode_mask(cv2.imencode(".png", colors[GREY % 2])[1].tobytes(), "x")
    assert mask.values == ((300, 0, 0), (301, 0, 0))


def test_a_float_mask_must_be_whole():
    whole = (GREY % 3).astype(np.float32)
    assert decode_mask(encoded(whole, "TIFF"), "x").values == (0, 1, 2)
    assert "whole" in reason_of(encoded(whole / 2, "TIFF"))
    whole[0, 0] = np.inf
    assert "whole" in reason_of(encoded(whole, "TIFF"))


def test_masks_that_lose_or_hide_values_are_refused():
    rgba = RNG.integers(0, 256, (6, 9, 4), dtype=np.uint8)
    assert "transparent" in reason_of(encoded(rgba))
    assert "JPEG" in reason_of(encoded(GREY, "JPEG"))
    assert "WebP" in reason_of(encoded(COLOR, "WEBP"))
    assert "JPEG 2000" in reason_of(encoded(COLOR, "JPEG2000"))
    assert "jpeg" in reason_of(encoded(COLOR, "TIFF", compression="jpeg"))
    assert decode_mask(encoded(COLOR // 200, "WEBP", lossless=True), "x").values


def test_more_than_256_values_are_no_classes():
    ids = np.arange(300, dtype=np.uint16).reshape(10, 30)
    assert "300 different values" in reason_of(encoded(ids))
    assert len(decode_mask(encoded(ids[:8, :]), "x").values) == 240


@pytest.mark.parametrize("numbers", [[-5, 0, 2**31 - 1], [0, 1 << 24, 7], [3, 3, 3], [0, 65535, 255]])
def test_numbers_of_any_size_come_back(numbers):
    mask = decode_mask(encoded(np.array([numbers] * 2, np.int32), "TIFF"), "x")
    assert mask.values == tuple(sorted(set(numbers)))
    assert [mask.values[code] for code in mask.codes[1]] == numbers
