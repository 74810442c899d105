"""Turns what scripts have as an image into PNG, JPEG, WebP or GIF, small enough for one line of a spool.

numpy, Pillow and matplotlib are the script's own: nothing here needs them before the script has used them.
"""

from __future__ import annotations

import io
import os
import struct
import zlib

from tracker.client.encode import Unusable
from tracker.client.files import read_piece
from tracker.client.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

MOST_BYTES = 760_000  # base64 of it, and what else its line says, stay below encode.MAX_LINE_BYTES
MOST_READ_BYTES = 64 * 1024 * 1024
MOST_PIXELS = 50_000_000
_SHRINK_TRIES = 8


def format_of(raw: bytes) -> str | None:
    """Return `png`, `jpeg`, `gif` or `webp` by how the bytes begin; None for anything else."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if raw.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if raw.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return "webp" if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP" else None


def encoded(image: Any) -> tuple[bytes, str | None]:
    """Return an image as bytes of at most MOST_BYTES, and what was done to make it fit. Raises Unusable.

    An image is a path, bytes, a Pillow image, a figure, or an array of height x width, with 1, 3 or 4 channels last or
    first: 8-bit integers, or floats from 0 to 1.
    """
    raw = _raw(image)
    if format_of(raw) is None:
        raise Unusable("it begins like no PNG, JPEG, WebP or GIF")
    return (raw, None) if len(raw) <= MOST_BYTES else _smaller(raw)


def drawn(figure: Any) -> bytes:
    """Return a matplotlib figure (or what else has `savefig`, or belongs to such a figure) as PNG. Raises Unusable."""
    figure = figure if hasattr(figure, "savefig") else getattr(figure, "figure", None)
    if not hasattr(figure, "savefig"):
        raise Unusable("it is no matplotlib figure: it has no `savefig`")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _raw(image: Any) -> bytes:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return _read(image)
    if hasattr(image, "savefig"):
        return drawn(image)
    if hasattr(image, "convert") and hasattr(image, "save"):
        return _saved(image)
    return _png_of(image)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        raw = read_piece(path, MOST_READ_BYTES + 1)
    except OSError as problem:
        raise Unusable(f"{os.fspath(path)} cannot be read: {problem.strerror}") from None
    if len(raw) > MOST_READ_BYTES:
        raise Unusable(f"its file has more than {MOST_READ_BYTES} bytes")
    return raw


def _saved(picture: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    picture.save(buffer, **{"format": "PNG", **how})
    return buffer.getvalue()


def _png_of(array: Any) -> bytes:
    pixels = _pixels(as_array(array))
    height, width, channels = pixels.shape
    if not 0 < height * width <= MOST_PIXELS:
        raise Unusable(f"{width} x {height} pixels cannot be stored; the most are {MOST_PIXELS}")
    rows = pixels.reshape(height, width * channels)
    lines = rows.copy()
    lines[:, channels:] -= rows[:, :-channels]  # PNG's filter 1, Sub: photographs become a third smaller
    filters = lines[:, :1] * 0 + 1
    data = zlib.compress(_numpy().concatenate([filters, lines], axis=1).tobytes(), 6)
    colour = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def as_array(values: Any) -> Any:
    """Return a numpy array of a tensor (torch's, on any device) or of what numpy takes. Raises Unusable."""
    for step in ("detach", "cpu"):
        values = getattr(values, step)() if callable(getattr(values, step, None)) else values
    if "bfloat16" in str(getattr(values, "dtype", "")) and callable(getattr(values, "float", None)):
        values = values.float()  # numpy knows no bfloat16
    if isinstance(values, (str, bytes, dict)) or values is None:
        raise Unusable(f"{type(values).__name__} is no array of numbers")
    return _numpy().asarray(values)


def _numpy() -> Any:
    try:
        import numpy  # noqa: PLC0415  # only where the script has arrays
    except ImportError:
        raise Unusable("numpy is needed to store this: pip install numpy, or log the path or bytes of a PNG") from None
    return numpy


def _pixels(array: Any) -> Any:
    """Return the array as height x width x channels of 8 bits."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise Unusable(f"an array of shape {array.shape} is no image: it is height x width, and 1, 3 or 4 channels")
    if array.dtype.kind == "b":
        return array.astype("uint8") * 255
    if array.dtype.kind == "f":
        return _from_floats(array)
    if array.dtype.kind not in "iu":
        raise Unusable(f"pixels are numbers, not {array.dtype}")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise Unusable(f"pixels go from 0 to 255, these from {array.min()} to {array.max()}")
    return array.astype("uint8")


def _from_floats(array: Any) -> Any:
    numpy = _numpy()
    array = numpy.nan_to_num(array.astype("float32"), nan=0.0, posinf=1.0, neginf=0.0)
    if array.size and (array.min() < -0.01 or array.max() > 1.01):  # a little beyond is what interpolation makes
        seen = f"{array.min():.4g} to {array.max():.4g}"
        raise Unusable(f"pixels of floats go from 0 to 1, these from {seen}: scale them, or make them 8-bit integers")
    return (array.clip(0, 1) * 255 + 0.5).astype("uint8")


def _smaller(raw: bytes) -> tuple[bytes, str]:
    try:
        from PIL import Image  # noqa: PLC0415  # only where an image is too large
    except ImportError:
        way_out = "log a smaller one, or pip install Pillow, with which it is made smaller"
        raise Unusable(f"{len(raw)} bytes are more than the {MOST_BYTES} of one image: {way_out}") from None
    with Image.open(io.BytesIO(raw)) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise Unusable(f"{opened.width} x {opened.height} pixels cannot be stored; the most are {MOST_PIXELS}")
        how = {"format": "JPEG", "quality": 85} if opened.format == "JPEG" else {"format": "PNG"}
        picture = opened.convert("RGB" if opened.format == "JPEG" else "RGBA")
    was, size = picture.size, len(raw)
    for _ in range(_SHRINK_TRIES):
        shrink = min(0.9, (MOST_BYTES / size) ** 0.5)
        target = [max(1, int(side * shrink)) for side in picture.size]
        picture = picture.resize(target, Image.Resampling.LANCZOS)
        raw = _saved(picture, **how)
        size = len(raw)
        if size <= MOST_BYTES:
            return raw, f"{was[0]} x {was[1]} pixels were too many, it is stored with {target[0]} x {target[1]}"
    raise Unusable(f"it cannot be made smaller than {MOST_BYTES} bytes")
