"""The child process that decodes: file bytes in, arrays out, over two pipes.

Whatever a file does to the decoder (a crash, a bomb, an endless loop), it does to a child, and costs only that file.
The child imports neither torch nor the rest of provenet, so that it starts in a fraction of a second. No pickle: a
message is the length of a JSON header, the header, and the bytes that the header counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from provenet.data.decode import BadFile, MaskPicture, decode_image, decode_mask, probe

MAX_SIDE = 32_766
"""Longest side that OpenCV's warp can address."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Settings:
    """How a child decodes.

    Args:
        max_pixels: pixels that one picture may have.
        max_side: longest side of a stored picture; None keeps every size.
        limit_s: seconds that one file may take.
        headers: read headers only.
    """

    max_pixels: int
    max_side: int | None = None
    limit_s: float = 60.0
    headers: bool = False


@dataclass(frozen=True)
class Job:
    """One picture with its mask, as bytes."""

    name: str
    image: bytes
    mask_name: str | None = None
    mask: bytes = b""


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of a job: `facts["bad"]` is the reason when it could not be used.

    Args:
        facts: JSON values; sizes, hashes, the note of the decoder, the census of the mask.
        arrays: pixels H x W x C, then the mask's codes, then its codes at the original size when that is larger.
    """

    facts: dict[str, Any]
    arrays: tuple[Array, ...] = field(default=())

    @property
    def bad(self) -> str | None:
        """The reason why the job could not be used, or None."""
        return self.facts.get("bad")


def answer(job: Job, settings: Settings) -> Answer:
    """Decode one job (or read its header).

    Returns:
        The answer; a file that cannot be used is an answer too, with its reason.
    """
    try:
        if settings.headers:
            return Answer(asdict(probe(job.image, settings.max_pixels, job.name)))
        return _decoded(job, settings)
    except BadFile as error:
        return Answer({"bad": error.reason})
    except MemoryError:
        return Answer({"bad": "decoding needs more memory than one picture may take"})


def _decoded(job: Job, settings: Settings) -> Answer:
    picture = decode_image(job.image, job.name, settings.max_pixels)
    pixels = picture.pixels
    facts: dict[str, Any] = {
        "original": pixels.shape[:2],
        "note": picture.note,
        "file_hash": hashlib.sha256(job.image).hexdigest(),
        "pixel_hash": _pixel_hash(pixels),
    }
    arrays = [reduced(pixels, settings.max_side, cv2.INTER_AREA)]
    if max(arrays[0].shape[:2]) > MAX_SIDE:
        raise BadFile(f"a side is longer than {MAX_SIDE} pixels (data.max_side reduces it)")
    spread = float(cv2.meanStdDev(arrays[0])[1].max())
    facts["std"] = spread / 257 if pixels.dtype == np.uint16 else spread
    if job.mask_name is not None:
        mask = _fitting_mask(job, pixels.shape[:2], settings)
        facts |= _mask_facts(mask, job.mask)
        arrays.append(reduced(mask.codes, settings.max_side, cv2.INTER_NEAREST_EXACT))
        if arrays[1].shape != mask.codes.shape:
            arrays.append(mask.codes)
    return Answer(facts, tuple(np.ascontiguousarray(array) for array in arrays))


def _pixel_hash(pixels: Array) -> str:
    """Return a hash of what is seen: a grey picture saved with three equal channels is the same picture."""
    # most pictures in colour show it in their first row
    if pixels.shape[2] == 3 and (pixels[0, :, :1] == pixels[0]).all() and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., :1]
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def reduced(pixels: Array, max_side: int | None, interpolation: int) -> Array:
    """Return the picture with its longest side at most `max_side`, its shape H x W (x C) kept in proportion."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if max_side is None or longest <= max_side:
        return pixels
    size = max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest))
    return cv2.resize(pixels, size, interpolation=interpolation).reshape(size[1], size[0], *pixels.shape[2:])


def _fitting_mask(job: Job, size: tuple[int, ...], settings: Settings) -> MaskPicture:
    """Return the mask, or refuse it: by its own fault, or because it is not of the picture's size."""
    assert job.mask_name is not None
    try:
        mask = decode_mask(job.mask, job.mask_name, settings.max_pixels)
    except BadFile as error:
        raise BadFile(f"its mask {job.mask_name}: {error.reason}") from error
    if mask.codes.shape != size:
        (height, width), (rows, columns) = size, mask.codes.shape
        turned = " (the picture as stored, before its EXIF rotation?)" if (columns, rows) == (height, width) else ""
        sizes = f"{columns} x {rows}{turned}, the picture is {width} x {height} (width x height)"
        raise BadFile(f"its mask {job.mask_name} is {sizes}")
    return mask


def _mask_facts(mask: MaskPicture, data: bytes) -> dict[str, Any]:
    palette = mask.palette or {}
    return {
        "values": list(mask.values),
        "counts": np.bincount(mask.codes.ravel(), minlength=len(mask.values)).tolist(),
        "colors": [palette.get(value) for value in mask.values] if palette else None,
        "mask_note": mask.note,
        "mask_hash": hashlib.sha256(data).hexdigest(),
    }


def write_message(stream: BinaryIO, header: dict[str, Any], blobs: list[bytes] | list[memoryview]) -> None:
    """Write a header and the blobs it belongs to."""
    text = json.dumps(header | {"sizes": [len(blob) for blob in blobs]}).encode()
    stream.write(struct.pack("<Q", len(text)))
    stream.write(text)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]] | None:
    """Read what `write_message` wrote; None when the other end is gone."""
    length = stream.read(8)
    if len(length) < 8:
        return None
    text = stream.read(struct.unpack("<Q", length)[0])
    try:
        header = json.loads(text)
    except ValueError:
        return None
    blobs = [stream.read(size) for size in header["sizes"]]
    return (header, blobs) if [len(blob) for blob in blobs] == header["sizes"] else None


def write_answer(stream: BinaryIO, found: Answer) -> None:
    """Write an answer."""
    arrays = [{"shape": array.shape, "dtype": str(array.dtype)} for array in found.arrays]
    blobs = [array.data.cast("B") if array.size else memoryview(b"") for array in found.arrays]
    write_message(stream, {"facts": found.facts, "arrays": arrays}, blobs)


def read_answer(stream: BinaryIO) -> Answer | None:
    """Read an answer; None when the child is gone."""
    message = read_message(stream)
    if message is None:
        return None
    header, blobs = message
    arrays = []
    for form, blob in zip(header["arrays"], blobs, strict=True):
        dtype = {"uint8": np.uint8, "uint16": np.uint16}[form["dtype"]]
        arrays.append(np.frombuffer(blob, dtype).reshape(form["shape"]))
    return Answer(header["facts"], tuple(arrays))


def write_jobs(stream: BinaryIO, jobs: list[Job]) -> None:
    """Write some jobs as one message: a child reads all of it before it answers, so neither end waits on the other."""
    names = [[job.name, job.mask_name] for job in jobs]
    write_message(stream, {"names": names}, [blob for job in jobs for blob in (job.image, job.mask)])


def read_jobs(stream: BinaryIO) -> Iterator[list[Job]]:
    """Yield the jobs of each message until the parent closes its end or is gone."""
    while (message := read_message(stream)) is not None:
        header, blobs = message
        yield [
            Job(name, blobs[2 * i], mask_name, blobs[2 * i + 1]) for i, (name, mask_name) in enumerate(header["names"])
        ]


def main() -> None:
    """Answer jobs from standard input on standard output until it closes; settings are the first argument, in JSON."""
    settings = Settings(**json.loads(sys.argv[1]))
    _restrict(settings)
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # a library that prints must not speak between our messages
    write_message(answers, {"ready": True}, [])
    for jobs in read_jobs(sys.stdin.buffer):
        for job in jobs:
            signal.setitimer(signal.ITIMER_REAL, settings.limit_s)
            found = answer(job, settings)
            signal.setitimer(signal.ITIMER_REAL, 0)
            write_answer(answers, found)


def _restrict(settings: Settings) -> None:
    """Bound memory; let the alarm kill, also inside a library; leave Ctrl-C to the parent."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    # 24 bytes a pixel: a float copy of four channels and the picture; 1 GiB for the interpreter
    memory = (1 << 30) + 24 * settings.max_pixels
    with suppress(ValueError, OSError):  # not every system can bound it
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
