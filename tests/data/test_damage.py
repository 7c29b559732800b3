"""Damaged, hostile and unclear files are refused with a reason, before they do harm."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from provenet.data.decode import BadFile, decode_image, decode_mask, probe
from provenet.data.integrity import jpeg_ends

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


def reason_of(data, name="x.png", **options):
    with pytest.raises(BadFile) as caught:
        decode_image(data, name, **options)
    return caught.value.reason


def test_too_many_pixels_are_refused_from_the_header():
    """The pixels of this file are no valid data: only a decoder that ignores the header's size would notice."""
    bomb = png(60_000, 60_000, 8, 2, b"")
    assert "pixels" in reason_of(bomb)
    assert "54 pixels" in reason_of(encoded(COLOR), max_pixels=53)
    assert decode_image(encoded(COLOR), "x", max_pixels=54).pixels.shape == (6, 9, 3)
    with pytest.raises(BadFile):
        probe(bomb)


def test_the_limit_may_exceed_pillows_own():
    large = png(20_000, 10_000, 1, 0, b"")
    assert probe(large, max_pixels=200_000_000).width == 20_000


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_picture_that_needs_too_much_memory_is_refused():
    """In a child of its own, whose memory is bounded to what the interpreter has already taken and 100 MB."""
    data = encoded(np.zeros((4000, 4000, 4), np.uint8))
    child = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from provenet.data.decode import BadFile, decode_image\n"
        "taken = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + 100_000_000,) * 2)\n"
        "try:\n    decode_image(sys.stdin.buffer.read(), 'x')\n"
        "except BadFile as bad:\n    print(bad.reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", child], input=data, capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().strip() == "needs more memory than there is"


def test_limits_of_pillow_are_put_back():
    before = Image.MAX_IMAGE_PIXELS
    reason_of(b"nothing")
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_text_bomb_is_refused():
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * (8 << 20)))
    assert "large" in reason_of(png(1, 1, 8, 0, b"\0\0", text))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"x", "none of"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"GIF89a" + b"\xff" * 40, ""),
        (png(0, 5, 8, 0, b""), ""),
    ],
)
def test_what_is_no_picture_is_refused_and_named(data, word):
    assert word in reason_of(data)


def test_a_tga_is_tried_only_by_its_name():
    data = encoded(GREY, "TGA")
    assert "none of" in reason_of(data, "x.png")
    assert decode_image(data, "x.TGA").pixels.shape == (6, 9, 1)


def test_several_frames_are_refused():
    frames = [Image.fromarray(COLOR), Image.fromarray(255 - COLOR)]
    for image_format in ("GIF", "PNG", "TIFF", "WEBP"):
        data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
        assert "2 frames" in reason_of(data), image_format


def test_the_first_picture_of_an_mpo_is_taken():
    first = smooth_color()
    data = encoded(Image.fromarray(first), "MPO", save_all=True, append_images=[Image.fromarray(255 - first)])
    picture = decode_image(data, "x.jpg")
    assert np.abs(picture.pixels.astype(int) - first).mean() < 3
    assert "first of 2" in picture.note


def test_every_flipped_bit_of_a_png_is_refused_or_harmless():
    data = encoded(smooth_color(12, 10))
    original = decode_image(data, "x").pixels
    for position in range(8, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        try:
            pixels = decode_image(bytes(damaged), "x").pixels
        except BadFile:
            continue
        assert np.array_equal(pixels, original)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_a_file_cut_anywhere_is_refused_or_whole(image_format):
    """What stands behind the pixels (a trailer, a tag) may be lost; a pixel may not."""
    data = encoded(smooth_color(40, 30), image_format)
    original = decode_image(data, "x").pixels
    for keep in range(0, len(data), max(1, len(data) // 60)):
        try:
            pixels = decode_image(data[:keep], "x").pixels
        except BadFile:
            continue
        assert image_format not in ("PNG", "JPEG")
        assert np.array_equal(pixels, original)


def test_a_jpeg_with_a_tail_of_zeros_is_refused():
    data = encoded(smooth_color(), "JPEG")
    cut = len(data) * 3 // 4
    assert "end-of-image" in reason_of(data[:cut] + bytes(len(data) - cut))
    assert "end-of-image" in reason_of(data[:-2])


def test_the_end_of_a_thumbnail_does_not_count():
    thumbnail = encoded(smooth_color(8, 8), "JPEG")
    data = encoded(smooth_color(), "JPEG")
    inside = data[:2] + b"\xff\xe5" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    assert jpeg_ends(inside)
    assert not jpeg_ends(inside[:-2])
    assert jpeg_ends(inside + b"junk behind the end")


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 100}])
def test_whole_jpegs_of_all_kinds_end(options):
    assert jpeg_ends(encoded(COLOR, "JPEG", **options))


def test_a_damaged_avif_is_refused():
    data = encoded(smooth_color(), "AVIF")
    start = data.index(b"mdat") + 4
    assert "cannot be decoded" in reason_of(data[:start] + b"\xff" * 40 + data[start + 40 :])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_give_a_picture_or_a_reason(data):
    image_format = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "TGA"]))
    file = bytearray(encoded(COLOR, image_format))
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(file) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    ):
        file[position] = value
    decode = data.draw(st.sampled_from([decode_image, decode_mask]))
    try:
        decode(bytes(file), "x.tga", 100_000)
    except BadFile as bad:
        assert bad.reason
        assert "\n" not in bad.reason
