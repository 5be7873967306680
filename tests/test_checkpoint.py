"""A checkpoint comes back as it was saved, and nothing else is ever taken for one."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stn_numpy import checkpoint
from stn_numpy.errors import CheckpointError, UserError

ABOUT = {"settings": {"lr": 0.1 + 0.2, "models": ["cnn"]}, "none": None, "text": "θ 'quoted'"}


@pytest.fixture
def arrays(rng):
    return {
        "model/cnn/weight": rng.standard_normal((3, 4)).astype(np.float32),
        "model/cnn/bias": rng.standard_normal(5),
        "optimizer/cnn/0.t": np.array(7),
        "optimizer/cnn/steps": np.array(2**40),
        "empty": np.zeros((0, 3), np.float32),
        "flags": np.array([True, False]),
    }


@pytest.fixture
def path(tmp_path, arrays):
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(path, ABOUT, arrays)
    return path


def is_what_was_saved(loaded, arrays):
    about, got = loaded
    return (
        about == ABOUT
        and list(got) == list(arrays)
        and all(
            got[name].dtype == a.dtype and got[name].shape == a.shape for name, a in arrays.items()
        )
        and all(got[name].tobytes() == a.tobytes() for name, a in arrays.items())
    )


def assert_refused(path, content, *words):
    """`content` in the file is refused in one line that names the file, which stays as it is."""
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(word in message for word in words)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_it_comes_back_as_it_was(path, arrays):
    assert is_what_was_saved(checkpoint.load(path), arrays)
    assert is_what_was_saved(checkpoint.load(str(path)), arrays)


def test_numbers_that_are_none_and_floats_come_back_exactly(tmp_path):
    about = {"loss": [float("nan"), float("inf"), 5e-324, 1 / 3]}
    checkpoint.save(tmp_path / "x", about, {"a": np.array([np.nan, -0.0, np.inf])})
    got, arrays = checkpoint.load(tmp_path / "x")
    assert np.array(got["loss"]).tobytes() == np.array(about["loss"]).tobytes()
    assert arrays["a"].tobytes() == np.array([np.nan, -0.0, np.inf]).tobytes()


def test_a_newer_one_takes_its_place(path, arrays):
    checkpoint.save(path, {"new": 1}, {"x": np.arange(3)})
    about, got = checkpoint.load(path)
    assert about == {"new": 1}
    assert list(got) == ["x"]
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("about", [{"x": object()}, {"x": np.float32(1)}])
def test_what_can_not_be_saved_leaves_the_one_before(path, arrays, about):
    with pytest.raises(TypeError):
        checkpoint.save(path, about, arrays)
    assert is_what_was_saved(checkpoint.load(path), arrays)
    assert os.listdir(path.parent) == [path.name]


def test_the_file_holds_plain_arrays_only(path):
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "fiubU" for name in file.files)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        checkpoint.load(tmp_path / "none.npz")
    assert os.listdir(tmp_path) == []


def test_a_folder_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path)


def test_it_is_an_error_of_the_user_and_a_value_error():
    assert issubclass(CheckpointError, UserError)
    assert issubclass(CheckpointError, ValueError)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"\x00" * 5000,
        b"a line of text\n" * 100,
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        b"\x93NUMPY",
        b"\x1f\x8b not gzip",
    ],
    ids=["empty", "PK", "zeros", "text", "HTML", "npy", "gzip"],
)
def test_what_is_no_archive(path, content):
    assert_refused(path, content, "not a readable checkpoint")


def test_an_array_in_a_file_of_its_own(path):
    file = io.BytesIO()
    np.save(file, np.arange(3))
    assert_refused(path, file.getvalue(), "not a readable checkpoint")


def test_cut_short_anywhere(path):
    content = path.read_bytes()
    for length in {0, 1, 3, 30, *range(100, len(content), 97), len(content) - 1}:
        assert_refused(path, content[:length], "not a readable checkpoint")


def test_something_appended_or_the_beginning_lost(path):
    content = path.read_bytes()
    assert_refused(path, content[100:], "not a readable checkpoint")
    assert_refused(path, content[: len(content) // 2] + content[len(content) // 2 + 9 :])


def test_a_wrong_byte_anywhere_is_noticed_or_means_nothing(path, arrays, rng):
    content = path.read_bytes()
    places = rng.choice(len(content), 400, replace=False)
    refused = 0
    for place in places:
        wrong = bytearray(content)
        wrong[place] ^= rng.choice([1, 2, 4, 6, 8, 16, 32, 64, 128, 255])
        path.write_bytes(wrong)
        try:
            # Some bytes of a zip file, such as the time of day, have no influence.
            assert is_what_was_saved(checkpoint.load(path), arrays), place
        except CheckpointError as error:
            assert "\n" not in str(error)
            refused += 1
        assert path.read_bytes() == wrong
    assert refused > 250


def test_a_header_that_says_float16_instead_of_float32(path):
    """NumPy reads half of the bytes then, as many numbers as before, and sees no checksum."""
    content = path.read_bytes()
    assert content.count(b"<f4") >= 1
    wrong = content.replace(
        b"'<f4', 'fortran_order': False, 'shape': (3, 4)",
        b"'<f2', 'fortran_order': False, 'shape': (3, 4)",
    )
    assert wrong != content
    assert_refused(path, wrong, "wrong checksum", "model/cnn/weight")


def test_an_archive_whose_table_of_contents_lost_an_array(path):
    content = path.read_bytes()
    # The length of the comment of the last entry but one: it swallows the last one.
    entries = [i for i in range(len(content)) if content.startswith(b"PK\x01\x02", i)]
    at = entries[-2] + 32
    length = content.rindex(b"PK\x05\x06") - entries[-1]
    wrong = content[:at] + length.to_bytes(2, "little") + content[at + 2 :]
    with zipfile.ZipFile(io.BytesIO(wrong)) as file:
        assert len(file.namelist()) == len(entries) - 1
    assert_refused(path, wrong, "a part of it is missing")


class Trap:
    """When it is unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_never_opened(path, tmp_path):
    trap = Trap(tmp_path / "sprung")
    assert_refused(path, pickle.dumps(trap), "not a readable checkpoint")
    bearing = npz(format=np.array(checkpoint.FORMAT), contents=np.array([trap], dtype=object))
    assert_refused(path, bearing, "not a readable checkpoint")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("form", [None, "stn_numpy checkpoint 0", 3, np.zeros(3), ""])
def test_an_archive_of_another_program(path, form):
    named = {} if form is None else {"format": np.array(form)}
    assert_refused(path, npz(weights=np.zeros(3), **named), "not written by this program")


def test_a_zip_file_of_other_things(path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("letter.txt", "hello")
    assert_refused(path, file.getvalue(), "not written by this program")


@pytest.mark.parametrize(
    "contents",
    [
        None,
        "no JSON",
        "[]",
        "3",
        '{"about": {}}',
        '{"about": [], "arrays": ["x"]}',
        '{"about": {}, "arrays": ["x", "y"]}',
        '{"about": {}, "arrays": []}',
        '{"about": {}, "arrays": 5}',
        '{"about": {}, "arrays": [[]]}',
    ],
)
def test_a_description_that_does_not_fit(path, contents):
    named = {} if contents is None else {"contents": np.array(contents)}
    archive = npz(format=np.array(checkpoint.FORMAT), x=np.zeros(2), **named)
    assert_refused(path, archive, "a part of it is missing")


def test_what_load_wants_is_what_save_writes(path):
    right = {"about": {"a": 1}, "arrays": ["x"]}
    path.write_bytes(
        npz(format=np.array(checkpoint.FORMAT), x=np.ones(2), contents=np.array(json.dumps(right)))
    )
    about, arrays = checkpoint.load(path)
    assert about == {"a": 1}
    assert list(arrays) == ["x"]


def test_prefixes():
    arrays = {"a": np.zeros(1), "b.c": np.ones(2)}
    both = checkpoint.prefixed("model/cnn", arrays) | checkpoint.prefixed("model/cnn2", arrays)
    assert list(both) == ["model/cnn/a", "model/cnn/b.c", "model/cnn2/a", "model/cnn2/b.c"]
    back = checkpoint.under("model/cnn", both)
    assert list(back) == ["a", "b.c"]
    assert back["b.c"] is arrays["b.c"]
    assert checkpoint.under("model/fcn", both) == {}
