"""The IDX file format of MNIST.

- Four bytes: 0, 0, the element type (8 is the unsigned byte), the number of axes.
- The size of each axis, four bytes each, the most significant first.
- The elements, row by row.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from stn_numpy.errors import DataError

_ELEMENTS = {
    0x08: "unsigned bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
_AGAIN = "get the file again"


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read an IDX file of unsigned bytes, plain or compressed with gzip.

    path: the file; whether it is compressed is seen from its first bytes, not from its name.
    Returns a uint8 array with the shape that the file states.
    Raises DataError, which names the file and says what to do, if the file cannot be read, is
    empty, is an HTML page, is no IDX file, holds other elements than unsigned bytes, or has fewer
    or more bytes than its header promises.
    """
    return parse_idx(read_bytes(path), str(path))


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of a file, decompressed if it is gzip. Raises DataError if that cannot be had."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return decompress(content, str(path))


def decompress(content: bytes, name: str) -> bytes:
    """`content` or, if it begins as gzip does, what it holds. `name` is for the DataError."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except EOFError:
        raise DataError(f"{name}: the gzip file is cut short; {_AGAIN}") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{name}: the gzip file is damaged ({error}); {_AGAIN}") from None


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an IDX file. `name` is for the DataError; see `read_idx`."""
    if not content:
        raise DataError(f"{name}: the file is empty; {_AGAIN}")
    if content[:1000].lstrip().startswith(b"<"):
        raise DataError(
            f"{name}: this is an HTML page, not data, as a server sends it for a wrong address or "
            f"before a log-in; {_AGAIN}"
        )
    if (
        len(content) < 4
        or content[:2] != b"\0\0"
        or content[2] not in _ELEMENTS
        or not 1 <= content[3] <= 4
    ):
        raise DataError(
            f"{name}: not an IDX file: it begins with {content[:4]!r}, want two zero bytes, "
            f"the element type and the number of axes (1 to 4); {_AGAIN}"
        )
    if content[2] != 0x08:
        raise DataError(
            f"{name}: holds {_ELEMENTS[content[2]]} (element type {content[2]:#04x}), "
            "want unsigned bytes (0x08), as in MNIST; convert the file"
        )
    axes = content[3]
    header = 4 + 4 * axes
    if len(content) < header:
        raise DataError(f"{name}: cut short within the header of {header} bytes; {_AGAIN}")
    shape = struct.unpack(f">{axes}I", content[4:header])
    want, got = math.prod(shape), len(content) - header
    sizes = " x ".join(map(str, shape))
    if want == 0:
        raise DataError(f"{name}: holds nothing: the header says {sizes}; {_AGAIN}")
    if got != want:
        what = "cut short" if got < want else "too long"
        raise DataError(
            f"{name}: {what}: the header says {sizes} = {want} bytes, {got} follow; {_AGAIN}"
        )
    # A copy, because an array on top of `bytes` could not be written to.
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
