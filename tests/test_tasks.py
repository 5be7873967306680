"""What networks are asked: batches and their answers, losses, mistakes."""

import numpy as np
import pytest

from stn_numpy import Tensor, tasks
from stn_numpy import functional as F
from stn_numpy.autograd import no_grad
from stn_numpy.data import batches


@pytest.fixture
def images():
    """23 images that can be told apart by their grey, whatever their distortion."""
    images = np.zeros((23, 28, 28), np.uint8)
    images[:, 8:20, 8:20] = 10 * np.arange(1, 24)[:, None, None]
    return images


LABELS = np.arange(23) % 10


def test_digits_are_the_batches_of_the_data(images):
    ours = list(tasks.DIGITS.batches(images, LABELS, 9, np.random.default_rng(3), "R"))
    theirs = list(batches(images, LABELS, 9, np.random.default_rng(3), "R"))
    assert [len(y) for _, y in ours] == [9, 9, 5]
    for (x, y), (u, v) in zip(ours, theirs):
        assert np.array_equal(x, u) and np.array_equal(y, v)


@pytest.mark.parametrize("shuffle", [True, False])
def test_sums_are_those_of_the_two_channels(images, shuffle):
    rng = np.random.default_rng(3)
    both = list(tasks.ADDITION.batches(images, LABELS, 9, rng, "none", shuffle=shuffle))
    x = np.concatenate([x for x, _ in both])
    y = np.concatenate([y for _, y in both])
    assert x.shape == (23, 2, 28, 28) and x.dtype == np.float32 and y.dtype == np.int64
    which = np.round(x.max(axis=(2, 3)) * 25.5).astype(int) - 1  # the grey says which image it is
    assert np.array_equal(y, LABELS[which].sum(axis=1))
    for channel in which.T:
        assert np.array_equal(np.sort(channel), np.arange(23))
    assert (which[:, 0] != which[:, 1]).any()
    assert np.array_equal(which[:, 0], np.arange(23)) == (not shuffle)


def test_sums_come_again_by_seed_and_are_distorted_each_by_itself(images):
    def epoch(seed):
        rng = np.random.default_rng(seed)
        return np.concatenate([x for x, _ in tasks.ADDITION.batches(images, LABELS, 9, rng, "RTS")])

    x = epoch(0)
    assert x.shape == (23, 2, 42, 42)
    assert np.array_equal(x, epoch(0)) and not np.array_equal(x, epoch(1))
    # Two copies of one image in the two channels would still be at two places.
    same = np.repeat(images[22:], 23, axis=0)
    ((x, _),) = tasks.ADDITION.batches(same, LABELS, 23, np.random.default_rng(0), "RTS")
    assert not np.isclose(x[:, 0], x[:, 1]).all(axis=(1, 2)).any()


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=list(tasks.TASKS))
def test_networks_answer(task, images, rng):
    network = task.build("cnn", "affine", "RTS", 20_000, rng)
    ((x, y),) = task.batches(images, LABELS, 23, rng, "RTS")
    loss, wrong = task.answer(network, x, y)
    with no_grad():
        scores = network(x)
    assert scores.shape == (23, task.classes)
    assert wrong == np.sum(scores.data.argmax(axis=1) != y)
    assert loss.item() == F.cross_entropy(Tensor(scores.data), y).item()
    smoothed, as_wrong = task.answer(network, x, y, 0.1)
    assert as_wrong == wrong
    assert smoothed.item() == F.cross_entropy(Tensor(scores.data), y, 0.1).item() != loss.item()
    loss.backward()
    assert all(p.grad is not None for p in network.parameters())
