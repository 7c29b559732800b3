"""From a decoded picture's colour mode to grey or RGB values, one stated rule a mode."""

# H W pixels, C channels

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from provenet.data.integrity import BadFile

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def to_pixels(image: Image.Image, data: bytes, notes: list[str]) -> NDArray[Any]:
    """Return the pixels of a loaded picture, H W or H W 3, uint8 or uint16, in the stored orientation.

    Args:
        image: loaded.
        data: the file, for what the decoder cuts away (16-bit colour).
        notes: gets a line for each rule that changes how the picture looks.

    Raises:
        BadFile: nobody can say what its values mean.
    """
    if is_deep(image, data):
        pixels = read_deep(image, data, notes)
        if pixels is not None:
            return pixels
    if image.mode in ("I", "F"):
        return _numbers(np.asarray(image), notes)
    if image.mode in ("1", "L", "RGB") or image.mode.startswith("I;16"):
        return _opaque(image, data, notes)
    if image.mode in ("PA", "RGBA", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        return _flat(np.asarray(image.convert("RGBA")), notes)
    if image.mode in ("LA", "La"):
        return _flat(np.asarray(image.convert("LA")), notes)
    return _other_color(image, notes)


def _numbers(values: NDArray[Any], notes: list[str]) -> NDArray[np.uint16]:
    """Return 32-bit integers in 0..65535, or floats in 0..1 times 65535, as uint16, H W.

    Raises:
        BadFile: the values lie elsewhere, or are not all numbers.
    """
    if not np.isfinite(values).all():
        raise BadFile("holds pixels that are no numbers (NaN or infinite)")
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if low < 0 or high > 1:
            raise BadFile(f"floating-point values {low:g} to {high:g}; only 0 to 1 has a known meaning")
        notes.append("floating-point values times 65535")
        return np.rint(values.astype(np.float64) * 65535).astype(np.uint16)
    if low < 0 or high > 65535:
        raise BadFile(f"32-bit values {low} to {high}; only 0 to 65535 can be kept")
    return values.astype(np.uint16)


def _opaque(image: Image.Image, data: bytes, notes: list[str]) -> NDArray[Any]:
    """Return 1-bit, grey, RGB or 16-bit grey values as they are; the colour named as transparent becomes white."""
    values = np.asarray(image)
    if image.mode == "1":
        values = values.astype(np.uint8) * np.uint8(255)
    elif image.mode.startswith("I;16"):
        values = values.astype(np.uint16)
    key = image.info.get("transparency")
    if not isinstance(key, int | tuple):
        return values
    if image.format == "PNG" and image.mode == "L" and isinstance(key, int):
        key = key * 255 // (2 ** data[24] - 1)  # Pillow scales 2- and 4-bit grey to 255, but not the key
    clear = values == np.asarray(key)
    clear = clear.all(axis=2) if values.ndim == 3 else clear
    if clear.any():
        notes.append("transparent pixels made white")
        values = values.copy()
        values[clear] = np.iinfo(values.dtype).max
    return values


def _flat(values: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Return colour or grey, composited on white by the last channel: H W 4 -> H W 3, H W 2 -> H W."""
    white = np.iinfo(values.dtype).max
    flat = values[..., :-1].copy()
    if (values[..., -1] != white).any():
        notes.append("transparent pixels composited on white")
        # white * white + white / 2 just fits into twice the bits; row by row, as a picture may have gigabytes of them
        wide = np.uint16 if values.dtype == np.uint8 else np.uint32
        for to, row in zip(flat, values, strict=True):
            color, alpha = row[:, :-1].astype(wide), row[:, -1:].astype(wide)
            to[:] = (color * alpha + white * (white - alpha) + white // 2) // white
    return flat[..., 0] if flat.shape[-1] == 1 else flat


def _other_color(image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    """Return a palette's colours, CMYK, LAB, YCbCr or HSV as RGB, H W 3.

    Raises:
        BadFile: the mode has no rule.
    """
    if image.mode == "LAB":
        notes.append("LAB converted to sRGB")
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return np.asarray(converted)
    if image.mode not in ("P", "CMYK", "YCbCr", "HSV", "RGBX"):
        raise BadFile(f"colour mode {image.mode} has no rule")
    notes.append("palette converted to RGB" if image.mode == "P" else f"{image.mode} converted to RGB")
    return np.asarray(image.convert("RGB"))


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Tell whether a loaded picture has 16 bits a channel of which Pillow has kept 8."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "TIFF":
        return 16 in getattr(image, "tag_v2", {}).get(258, ())
    return image.format == "PNG" and data[24] == 16


def read_deep(image: Image.Image, data: bytes, notes: list[str]) -> NDArray[np.uint16] | None:
    """Return 16-bit colour with all its levels, H W 3 (or H W for grey with alpha); None where that is not certain.

    Pillow cuts such pictures to 8 bits, so OpenCV decodes them again; both have to show the same picture, since
    OpenCV misreads some files (planar TIFF) without an error.
    """
    try:
        values: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        values = None
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[:2] != image.size[::-1]:
        notes.append("16 bits a channel reduced to 8: no decoder for this kind")
        return None
    values = values[..., [2, 1, 0, 3][: values.shape[2]]].astype(np.uint16, copy=False)
    said: list[str] = []
    flat = _flat_deep(values, image, said)
    if not _alike(flat, values, image):
        notes.append("16 bits a channel reduced to 8: two decoders differ")
        return None
    notes.extend(said)
    return flat[..., 0] if image.format == "PNG" and data[25] == 4 else flat


def _flat_deep(values: NDArray[np.uint16], image: Image.Image, notes: list[str]) -> NDArray[np.uint16]:
    """Return 16-bit RGB, or RGBA on white, H W 3."""
    if values.shape[2] == 3:
        return values
    if image.format == "TIFF" and 1 in getattr(image, "tag_v2", {}).get(338, ()):
        notes.append("transparent pixels composited on white")  # the colours are stored times alpha already
        return np.minimum(values[..., :3].astype(np.uint32) + (65535 - values[..., 3:]), 65535).astype(np.uint16)
    return _flat(values, notes)


def _alike(flat: NDArray[np.uint16], values: NDArray[np.uint16], image: Image.Image) -> bool:
    """Tell whether Pillow's 8-bit reading, on white too, is the 16-bit one up to rounding."""
    shown = np.asarray(image.convert("RGB") if image.mode == "RGB" else image.convert("RGBA"))
    rows = range(0, len(flat), 256)
    return all(_rows_alike(flat[i : i + 256], values[i : i + 256], shown[i : i + 256]) for i in rows)


def _rows_alike(flat: NDArray[np.uint16], values: NDArray[np.uint16], shown: NDArray[np.uint8]) -> bool:
    """Tell the same of some rows: `flat` on white, `values` as OpenCV and `shown` as Pillow read them."""
    if values.shape[2] == 4:
        alpha = (values[..., 3:] >> 8).astype(np.uint8)
        if shown.shape[2] == 4 and (np.abs(shown[..., 3:].astype(np.int16) - alpha) > 1).any():
            return False
        shown = _flat(np.concatenate([shown[..., :3], alpha], axis=2), [])
    return bool((np.abs((flat >> 8).astype(np.int16) - shown[..., :3]) <= 2).all())
