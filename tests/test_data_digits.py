"""The embedded digits: where they come from, their split, and how they lie in the image."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import stn_numpy.data
from stn_numpy.data import digits, load_digits

FOLDER = Path(stn_numpy.data.__file__).parent
PER_DIGIT = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.fixture(scope="module")
def stored():
    with np.load(FOLDER / "digits.npz", allow_pickle=False) as file:
        return file["images"], file["labels"]


@pytest.fixture(scope="module")
def data():
    return load_digits()


def test_the_file_is_what_its_provenance_says(stored):
    images, labels = stored
    text = (FOLDER / "DIGITS.md").read_text(encoding="utf-8")
    assert images.shape == (1797, 8, 8) and images.dtype == labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    assert np.bincount(labels).tolist() == PER_DIGIT
    assert ", ".join(map(str, PER_DIGIT)) in text
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() in text
    for word in ("CC BY 4.0", "Alpaydin", "Kaynak", "10.24432/C50P49", "scikit-learn 1.9.1"):
        assert word in text
    # The table of which DIGITS.md gives the checksum, written out again from the arrays.
    rows = np.column_stack([images.reshape(-1, 64), labels])
    table = "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
    assert hashlib.sha256(table.encode()).hexdigest() in text


def test_split(data, stored):
    assert data.train_images.shape == (1297, 28, 28) and data.test_images.shape == (500, 28, 28)
    assert data.train_images.dtype == data.test_images.dtype == np.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert np.bincount(data.test_labels).tolist() == [50] * 10
    assert np.bincount(data.train_labels).tolist() == [n - 50 for n in PER_DIGIT]
    assert "1,297" in data.notice and "500" in data.notice and "\n" not in data.notice
    images, labels = stored
    np.testing.assert_array_equal(
        data.test_images[data.test_labels == 3], digits.enlarge(images[labels == 3][-50:])
    )


def test_no_image_is_in_both_parts_or_twice(data, stored):
    assert len(np.unique(stored[0], axis=0)) == 1797
    both = np.concatenate([data.train_images, data.test_images])
    assert len(np.unique(both.reshape(1797, -1), axis=0)) == 1797


def test_every_load_is_the_same_and_its_own(data):
    again = load_digits()
    np.testing.assert_array_equal(again.train_images, data.train_images)
    again.train_images[...] = 0
    assert data.train_images.any()


def test_enlarged_digits_lie_as_those_of_mnist(stored):
    full = digits.enlarge(np.full((1, 8, 8), 16, np.uint8))[0]
    assert (full[5:23, 5:23] == 255).all()  # level 16 is white, a pixel away from the edge
    # Beyond the ink the kernel is negative, so black; 2 remains where two such lobes multiply.
    assert full[[0, 1, 26, 27]].max() <= 2
    np.testing.assert_array_equal(full, full.T)
    np.testing.assert_array_equal(full, full[::-1, ::-1])
    # The upper left pixel of the input goes to the upper left of the middle 20x20.
    corner = np.zeros((1, 8, 8), np.uint8)
    corner[0, 0, 1] = 16
    y, x = np.unravel_index(digits.enlarge(corner)[0].argmax(), (28, 28))
    assert abs(y - (4 + 0.5 * 2.5 - 0.5)) <= 0.5 and abs(x - (4 + 1.5 * 2.5 - 0.5)) <= 0.5


def test_ink_survives_enlargement(data, stored):
    images, labels = stored
    ink = images[labels == 8][-50:].sum(axis=(1, 2)) * (255 / 16) * 2.5**2
    got = data.test_images[data.test_labels == 8].sum(axis=(1, 2))
    np.testing.assert_allclose(got, ink, rtol=0.05)
