"""Batches: every image once, fresh distortions, and the same again from the same state."""

import numpy as np
import pytest

from stn_numpy.data import batches, distort

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 28, 28), dtype=np.uint8)
LABELS = np.arange(23)  # tells which image it is


def epoch(**arguments):
    return list(batches(**{"images": IMAGES, "labels": LABELS, "batch_size": 5} | arguments))


def as_bytes(batch_list):
    return [(x.tobytes(), y.tobytes()) for x, y in batch_list]


def test_in_order_without_rng():
    got = epoch()
    assert [len(y) for _, y in got] == [5, 5, 5, 5, 3]
    assert all(x.shape == (len(y), 1, 28, 28) and y.dtype == np.int64 for x, y in got)
    np.testing.assert_array_equal(np.concatenate([y for _, y in got]), LABELS)
    x = np.concatenate([x for x, _ in got])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[:, 0], IMAGES.astype(np.float32) / np.float32(255))
    assert epoch(dtype=np.float64)[0][0].dtype == np.float64


def test_shuffled_with_rng_every_image_once_with_its_label():
    rng = np.random.default_rng(1)
    first, second = epoch(rng=rng), epoch(rng=rng)
    orders = [np.concatenate([y for _, y in e]) for e in (first, second)]
    for order in orders:
        assert sorted(order) == list(range(23)) and not (order == LABELS).all()
    assert (orders[0] != orders[1]).any()
    for x, y in first:
        np.testing.assert_allclose(x[:, 0] * 255, IMAGES[y], rtol=1e-6)


@pytest.mark.parametrize("kind", ["R", "RTS", "P", "E", "T", "TC"])
def test_distorted_afresh_and_reproducible_by_the_state_of_rng(kind):
    rng = np.random.default_rng(2)
    first = epoch(rng=rng, kind=kind)
    state = rng.bit_generator.state
    second = epoch(rng=rng, kind=kind)
    assert as_bytes(first) == as_bytes(epoch(rng=np.random.default_rng(2), kind=kind))
    # Resumed after the first epoch from nothing but the state.
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    assert as_bytes(second) == as_bytes(epoch(rng=rng, kind=kind))
    once = {int(i): x for xs, y in first for x, i in zip(xs, y, strict=True)}
    again = {int(i): x for xs, y in second for x, i in zip(xs, y, strict=True)}
    assert all((once[i] != again[i]).any() for i in range(23))


def test_an_epoch_left_early_or_interleaved_changes_nothing_later():
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    whole = epoch(rng=rng, kind="R")
    part = batches(IMAGES, LABELS, 5, other, "R")
    some = [next(part)]
    np.testing.assert_array_equal(rng.random(4), other.random(4))
    some += list(part)
    assert as_bytes(whole) == as_bytes(some)


def test_in_order_and_distorted():
    got = epoch(rng=np.random.default_rng(4), kind="RTS", shuffle=False)
    np.testing.assert_array_equal(np.concatenate([y for _, y in got]), LABELS)
    assert got[0][0].shape == (5, 1, 42, 42)


def test_clutter_comes_from_the_whole_set_even_for_a_batch_of_one():
    got = epoch(rng=np.random.default_rng(5), kind="TC", batch_size=22)
    assert [len(y) for _, y in got] == [22, 1]


def test_one_batch_that_holds_all():
    ((x, y),) = epoch(batch_size=100)
    assert len(y) == 23
    np.testing.assert_array_equal(x, distort(IMAGES, "none", np.random.default_rng(0)))
    assert list(batches(IMAGES[:0], LABELS[:0], 5)) == []


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"batch_size": 0}, ValueError, "batch_size is 0, want at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size is 2.5"),
        ({"kind": "r"}, ValueError, "kind is 'r', want one of"),
        ({"kind": "R"}, ValueError, "rng is None, want a numpy.random.Generator for 'R'"),
        ({"rng": 7}, TypeError, "rng is int"),
        (
            {"labels": LABELS[:-1]},
            ValueError,
            r"labels has shape \(22,\) but images \(23, 28, 28\)",
        ),
        ({"labels": LABELS[:, None]}, ValueError, r"labels has shape \(23, 1\)"),
        ({"labels": LABELS * 1.0}, TypeError, "labels has dtype float64, want integers"),
        ({"images": IMAGES / 255}, TypeError, "images has dtype float64, want uint8"),
        ({"dtype": np.int64}, TypeError, "dtype is int64, want float32 or float64"),
    ],
)
def test_wrong_arguments_at_once(change, error, message):
    with pytest.raises(error, match=message):
        batches(**{"images": IMAGES, "labels": LABELS, "batch_size": 5} | change)  # no next()
