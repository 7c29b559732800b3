"""A picture file opened with care: known format, bearable size, one picture, upright; errors become `BadFile`."""

# H W pixels, C channels

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from numpy.typing import NDArray
from PIL import (  # the plugins register the formats below; Image.open finds no others
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from provenet.data.integrity import BadFile, check_whole, png_chunks

FORMATS = tuple(
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        TiffImagePlugin.TiffImageFile,
        BmpImagePlugin.BmpImageFile,
        GifImagePlugin.GifImageFile,
        WebPImagePlugin.WebPImageFile,
        PpmImagePlugin.PpmImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        AvifImagePlugin.AvifImageFile,
    )
)
"""Formats that are decoded; MPO opens as JPEG. Never programs (EPS, PDF) nor containers of pictures (ICO, PSD)."""

# TGA has no signature, so that any file may look like one: it is tried only where the name says so.
_TGA = TgaImagePlugin.TgaImageFile.format
_TGA_SUFFIXES = (".tga", ".vda", ".icb", ".vst")

# What decoders raise on files that are damaged or made to damage; anything else is a bug and escapes.
DECODER_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(RuntimeError, AssertionError, struct.error, zlib.error),
)


@contextmanager
def guarded(max_pixels: int, notes: list[str]) -> Iterator[None]:
    """Open and decode inside: limits are ours, warnings become notes, a decoder's error becomes `BadFile`.

    Only a decoder's calls belong inside, else a bug of ours would pass for a damaged file. It sets Pillow's limits
    for the whole process while it lasts, so it is not for threads.

    Args:
        max_pixels: width x height that a decoder may take.
        notes: gets one line for each different warning.

    Raises:
        BadFile: the decoder could not.
    """
    limits = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
    try:
        with within_memory(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        notes.extend(dict.fromkeys(_first_line(warning.message) for warning in caught))
    except Image.DecompressionBombError as error:
        raise BadFile(f"too many pixels: more than {max_pixels:,} are refused before decoding") from error
    except DECODER_ERRORS as error:
        raise BadFile(f"cannot be decoded: {_first_line(error)}") from error
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limits


@contextmanager
def within_memory() -> Iterator[None]:
    """Let `BadFile` say that a picture needs more memory than there is."""
    try:
        yield
    except MemoryError as error:
        raise BadFile("needs more memory than there is") from error


def _first_line(message: object) -> str:
    """Return the first line of a message, at most 120 characters; the class where it says nothing."""
    lines = str(message).strip().splitlines()
    return (lines[0][:120] if lines else type(message).__name__).rstrip(".")


def open_header(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """Return an opened picture of which only the header has been read; for use inside `guarded`.

    Args:
        data: the file.
        name: the file's name; only TGA needs it.
        max_pixels: width x height above which a picture is refused.

    Raises:
        BadFile: it is of no known format or of an impossible size.
    """
    if not data:
        raise BadFile("empty file")
    formats = FORMATS + ((_TGA,) if name.lower().endswith(_TGA_SUFFIXES) else ())
    try:
        image = Image.open(BytesIO(data), formats=formats)
    except Image.UnidentifiedImageError as error:
        raise BadFile(_look(data)) from error
    width, height = image.size
    if width < 1 or height < 1:
        raise BadFile(f"impossible size {width} x {height}")
    if width * height > max_pixels:
        raise BadFile(f"{width} x {height} = {width * height:,} pixels; more than {max_pixels:,} are refused")
    return image


_SIGNATURES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the picture itself"),
    (b"<!doctype html", "a web page, not a picture"),
    (b"<html", "a web page, not a picture"),
    (b"%!ps", "a PostScript program, not a picture of pixels"),
    (b"%pdf", "a PDF document, not a picture"),
    (b"8bps", "a Photoshop file of layers; save it as PNG"),
    (b"\x00\x00\x01\x00", "an icon file of several pictures; save the one that is meant as PNG"),
)


def _look(data: bytes) -> str:
    """Return what a file is that is not read, as far as its first bytes say it."""
    start = data[:512].lstrip().lower()
    for signature, said in _SIGNATURES:
        if start.startswith(signature):
            return said
    if b"<svg" in start:
        return "an SVG drawing, not a picture of pixels"
    return f"damaged in its header, or none of {', '.join(FORMATS)}, {_TGA}"


def open_whole(data: bytes, name: str, max_pixels: int, notes: list[str]) -> Image.Image:
    """Return a picture with all pixels loaded; for use inside `guarded`.

    Args:
        data: the file.
        name: the file's name; only TGA needs it.
        max_pixels: width x height above which a picture is refused before it is decoded.
        notes: gets a line when the first of several pictures is taken.

    Raises:
        BadFile: it is damaged, not complete, too large, unknown or holds several pictures.
    """
    image = open_header(data, name, max_pixels)
    check_whole(data, image.format)
    frames = getattr(image, "n_frames", 1)
    if image.format == "MPO":
        notes.append(f"the first of {frames} pictures in an MPO file")
        image.seek(0)
    elif frames > 1:
        raise BadFile(f"holds {frames} frames or pages: save the one that is meant as a file of its own")
    image.load()
    return image


def orientation(image: Image.Image, data: bytes, notes: list[str]) -> int:
    """Return the EXIF orientation that is still to be applied, 1..8; 1 means upright.

    Args:
        image: opened, decoded or not.
        data: the file; the metadata of a PNG may stand behind its pixels, where the header does not show them.
        notes: gets a line when the metadata cannot be read.
    """
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        if image.format == "PNG" and not _late_metadata(data):
            exif = Image.Image.getexif(image)  # PNG's own getexif decodes the whole picture first
        else:
            exif = image.getexif()
        value = exif.get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        notes.append("EXIF cannot be read: taken as upright")
        return 1
    return value if value in range(1, 9) else 1


def _late_metadata(data: bytes) -> bool:
    """Tell whether a PNG has EXIF or text behind its pixels."""
    kinds = [kind for kind, _ in png_chunks(data, check=False)]
    behind = kinds[kinds.index("IDAT") :] if "IDAT" in kinds else []
    return not {"eXIf", "iTXt", "tEXt", "zTXt"}.isdisjoint(behind)


def upright(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """Return pixels, H W or H W C, turned as an EXIF orientation 1..8 asks for.

    Source: Exif 2.32 (CIPA DC-008), tag 0x0112: where the 0th row and the 0th column of the stored pixels belong.
    """
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
