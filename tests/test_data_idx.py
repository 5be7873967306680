"""The IDX reader: what it reads, and every way in which a file can be wrong."""

import gzip
import struct

import numpy as np
import pytest

from stn_numpy.data import read_idx
from stn_numpy.errors import DataError

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array=ARRAY, element=0x08):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, element, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4), (1, 24, 1, 1)])
def test_reads_every_shape_plain_or_compressed(tmp_path, compress, shape):
    path = tmp_path / "any-name"
    path.write_bytes(compress(idx(ARRAY.reshape(shape))))
    array = read_idx(path)
    assert array.dtype == np.uint8 and array.shape == shape
    np.testing.assert_array_equal(array, ARRAY.reshape(shape))
    array[...] = 0  # the reader's own copy


FILES = {
    "empty": (b"", "empty"),
    "an empty gzip": (gzip.compress(b""), "empty"),
    "HTML": (b"\n <!DOCTYPE html><html>404</html>", "HTML page"),
    "HTML, compressed": (gzip.compress(b"<html>log in</html>"), "HTML page"),
    "text": (b"version 1, a pointer", "not an IDX file: it begins with b'vers'"),
    "a zip": (b"PK\3\4" + bytes(100), "not an IDX file"),
    "three bytes": (b"\0\0\x08", "not an IDX file"),
    "no axes": (b"\0\0\x08\0", "not an IDX file"),
    "200 axes": (b"\0\0\x08\xc8" + b"\0\0\0\1" * 200 + b"1", "not an IDX file"),
    "unknown element": (idx(element=0x07), "not an IDX file"),
    "signed bytes": (idx(element=0x09), "holds signed bytes"),
    "floats": (idx(element=0x0D), "holds 32-bit floats"),
    "header cut": (idx()[:10], "cut short within the header of 16 bytes"),
    "header alone": (idx()[:16], "2 x 3 x 4 = 24 bytes, 0 follow"),
    "payload cut": (idx()[:-1], "cut short: the header says 2 x 3 x 4 = 24 bytes, 23 follow"),
    "payload cut, compressed": (gzip.compress(idx()[:-1]), "23 follow"),
    "trailing bytes": (idx() + b"\0", "too long: the header says 2 x 3 x 4 = 24 bytes, 25 follow"),
    "nothing in it": (idx(np.zeros((0, 28, 28), np.uint8)), "holds nothing"),
    "sizes beyond memory": (b"\0\0\x08\3" + b"\xff" * 12, "cut short"),
    "gzip cut": (gzip.compress(idx())[:-9], "the gzip file is cut short"),
    "gzip cut in its header": (gzip.compress(idx())[:5], "the gzip file is cut short"),
    "gzip with a wrong byte": (
        gzip.compress(idx())[:15] + b"\xff" + gzip.compress(idx())[16:],
        "the gzip file is damaged",
    ),
    "gzip with a wrong checksum": (gzip.compress(idx())[:-8] + bytes(8), "is damaged"),
    "junk after the gzip": (gzip.compress(idx()) + b"junk", "the gzip file is damaged"),
}


@pytest.mark.parametrize("content, message", FILES.values(), ids=FILES)
def test_a_bad_file_is_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and message in line and "\n" not in line
    assert line.endswith(("get the file again", "convert the file"))
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match="cannot be read") as caught:
            read_idx(path)
        assert str(path) in str(caught.value)
