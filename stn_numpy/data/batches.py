"""A data set in batches, shuffled and distorted afresh."""

from collections.abc import Iterator

import numpy as np

from stn_numpy import checks
from stn_numpy.data.distortions import DISTORTIONS, distort


def batches(
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    rng: np.random.Generator | None = None,
    kind: str = "none",
    dtype: type = np.float32,
    shuffle: bool = True,
    workers: int = 1,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go once through a data set in batches.

    images: (N, 28, 28) uint8. labels: (N,) integers.
    rng: for the order and the distortions; without one the images come in order, and undistorted.
        One number is drawn from it when this is called, which seeds all that follows: whoever
        saves the state of `rng` between two epochs can repeat the next one bit for bit, however
        many of the batches of this one were used.
    kind: a key of `DISTORTIONS`; every batch is distorted when its turn comes.
    dtype: float32 or float64, of the images.
    shuffle: False keeps the order although there is an rng, as a test with distortions needs it.
    workers: threads that share the work of distorting a batch.

    Returns an iterator over pairs: images (n, 1, H, W) from 0 to 1 and labels (n,) int64; n is
    batch_size, or less in the last batch.
    Raises ValueError or TypeError at once, not at the first batch.
    """
    batch_size = checks.integer("batches", "batch_size", batch_size, 1)
    workers = checks.integer("batches", "workers", workers, 1)
    checks.choice("batches", "kind", kind, DISTORTIONS)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"batches: labels has dtype {labels.dtype}, want integers")
    if labels.shape != np.shape(images)[:1]:
        raise ValueError(
            f"batches: labels has shape {labels.shape} but images {np.shape(images)}; "
            "want one label an image"
        )
    if rng is None:
        if kind != "none":
            raise ValueError(f"batches: rng is None, want a numpy.random.Generator for {kind!r}")
        rng, shuffle = np.random.default_rng(0), False
    elif not isinstance(rng, np.random.Generator):
        raise TypeError(f"batches: rng is {type(rng).__name__}, want a numpy.random.Generator")
    distort(images[:0], "none", rng, dtype)  # its checks of images and dtype, now
    rng = np.random.default_rng(rng.integers(2**63))
    order = rng.permutation(len(labels)) if shuffle else np.arange(len(labels))
    labels = labels.astype(np.int64)
    return _batches(images, labels, order, batch_size, rng, kind, dtype, workers)


def _batches(images, labels, order, batch_size, rng, kind, dtype, workers) -> Iterator:
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        yield distort(images, kind, rng, dtype, indices, workers), labels[indices]
