"""From the bytes of a file to pixels, by stated rules: a picture is right, or refused with a reason.

The rules stand as tables in docs/reference/image-rules.md.
"""

# H W pixels, C channels

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenet.data.codes import Value, check_mask_format, display_palette, to_codes
from provenet.data.integrity import BadFile
from provenet.data.modes import Pixels, to_pixels
from provenet.data.opening import guarded, open_header, open_whole, orientation, upright, within_memory

__all__ = ["BadFile", "Header", "MaskPicture", "Picture", "decode_image", "decode_mask", "probe"]

MAX_PIXELS = 64_000_000


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Args:
        pixels: H W C with C 1 or 3, uint8 or uint16, upright.
        note: what was done to it and what the decoder said; empty when there is nothing to say.
    """

    pixels: Pixels
    note: str


@dataclass(frozen=True, eq=False)
class MaskPicture:
    """A decoded mask.

    Args:
        codes: H W, uint8, positions in `values`, upright.
        values: what the file says, in ascending order: numbers as they are stored, or (r, g, b).
        note: what was done to it and what the decoder said; empty when there is nothing to say.
        palette: value -> (r, g, b) to show it in, where the file has a palette.
    """

    codes: NDArray[np.uint8]
    values: tuple[Value, ...]
    note: str
    palette: dict[Value, tuple[int, int, int]] | None = None


@dataclass(frozen=True)
class Header:
    """What the header of a picture says.

    Args:
        width: pixels, after EXIF orientation.
        height: pixels, after EXIF orientation.
        mode: Pillow's name of the colour mode.
        format: Pillow's name of the file format.
    """

    width: int
    height: int
    mode: str
    format: str


def probe(data: bytes, max_pixels: int = MAX_PIXELS, name: str = "") -> Header:
    """Return what the header says, without decoding the pixels.

    Args:
        data: the file.
        max_pixels: width x height above which a picture is refused.
        name: the file's name; only TGA needs it.

    Raises:
        BadFile: it is no picture, or has too many pixels.
    """
    with guarded(max_pixels, []):
        image = open_header(data, name, max_pixels)
    width, height = image.size
    if orientation(image, data, []) >= 5:
        width, height = height, width
    return Header(width, height, image.mode, image.format or "")


def decode_image(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture to grey or RGB, with all the levels that it has.

    Args:
        data: the file.
        name: the file's name; only TGA needs it.
        max_pixels: width x height above which a picture is refused before it is decoded.

    Raises:
        BadFile: it is damaged, not complete, too large, of no known format, holds several pictures, or holds values
            of which nobody can say what they mean.

    Example:
        >>> from io import BytesIO
        >>> from PIL import Image
        >>> file = BytesIO()
        >>> Image.new("L", (3, 2), 7).save(file, "PNG")
        >>> decode_image(file.getvalue(), "grey.png").pixels.shape
        (2, 3, 1)
    """
    notes: list[str] = []
    with guarded(max_pixels, notes):
        image = open_whole(data, name, max_pixels, notes)
    with within_memory():
        turn = orientation(image, data, notes)
        pixels = upright(to_pixels(image, data, notes), turn)
        return Picture(_rows(pixels if pixels.ndim == 3 else pixels[..., None]), "; ".join(notes))


def decode_mask(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> MaskPicture:
    """Decode a mask to the values that its file stores; a palette's indices are never turned into greys.

    Args:
        data: the file.
        name: the file's name; only TGA needs it.
        max_pixels: width x height above which a mask is refused before it is decoded.

    Raises:
        BadFile: as for images; besides, the format loses exact values (JPEG), the mask is partly transparent, has
            fractions, or more than 256 different values.

    Example:
        >>> from io import BytesIO
        >>> from PIL import Image
        >>> file = BytesIO()
        >>> Image.fromarray(np.array([[0, 255, 255]], np.uint8)).save(file, "PNG")
        >>> mask = decode_mask(file.getvalue(), "mask.png")
        >>> mask.codes.tolist(), mask.values
        ([[0, 1, 1]], (0, 255))
    """
    notes: list[str] = []
    with guarded(max_pixels, notes):
        check_mask_format(open_header(data, name, max_pixels), data)
        image = open_whole(data, name, max_pixels, notes)
    with within_memory():
        turn = orientation(image, data, notes)
        codes, values = to_codes(image, data)
        return MaskPicture(_rows(upright(codes, turn)), values, "; ".join(notes), display_palette(image, values))


def _rows(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array whose rows follow one another in memory and that can be written to."""
    return np.array(array, order="C", copy=True)
