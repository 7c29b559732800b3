"""Whether a picture file is whole, read off the file's own structure.

Pillow shows a PNG with a flipped byte, a PNG without its end and a JPEG whose tail is zeros without a word; the
checks here find them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator


class BadFile(Exception):
    """A file that is not decoded.

    Args:
        reason: why, a sentence without a full stop and without the file's name.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_whole(data: bytes, image_format: str | None) -> None:
    """Refuse a PNG or JPEG that is damaged or not complete, also where the decoder would not notice.

    Args:
        data: the file.
        image_format: Pillow's name of its format; those not named here are left to their decoders.

    Raises:
        BadFile: a PNG chunk is cut or fails its CRC, or IEND is absent; a JPEG has no end-of-image marker.
    """
    if image_format == "PNG" and "IEND" not in [kind for kind, _ in png_chunks(data)]:
        raise BadFile("truncated: the PNG has no IEND chunk")
    if image_format in ("JPEG", "MPO") and not jpeg_ends(data):
        raise BadFile("truncated or zero-filled: the JPEG has no end-of-image marker")


def png_chunks(data: bytes, check: bool = True) -> Iterator[tuple[str, bytes]]:
    """Yield the (kind, content) of a PNG's chunks up to IEND.

    Args:
        data: the file.
        check: compare every chunk with its CRC.

    Raises:
        BadFile: a chunk is cut or damaged.

    Source: ISO/IEC 15948 (PNG), section 5.
    """
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise BadFile("truncated inside a PNG chunk")
        if check and zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadFile(f"damaged: the PNG chunk {kind.decode('latin-1')!r} fails its CRC")
        yield kind.decode("latin-1"), data[position + 8 : end]
        if kind == b"IEND":
            return
        position = end + 4


_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


def jpeg_ends(data: bytes) -> bool:
    """Tell whether a JPEG's first picture reaches its end-of-image marker.

    Segments are stepped over, so that the end of a thumbnail inside does not count.

    Source: ITU-T T.81 (JPEG), annex B.
    """
    position, pattern = 2, _NEXT_MARKER
    while found := pattern.search(data, position):
        marker, position, pattern = data[found.start() + 1], found.end(), _NEXT_MARKER
        if marker == 0xD9:
            return True
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        position += int.from_bytes(data[position : position + 2], "big")
        if marker == 0xDA:
            pattern = _AFTER_SCAN
    return False
