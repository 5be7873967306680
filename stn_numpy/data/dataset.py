"""What every loader returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Grey images of digits with their labels, in a training part and a test part.

    Images are (N, 28, 28) uint8, 0 for the background and 255 for ink; labels are (N,) int64,
    0 to 9.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    name: str
    """A short name for tables and figures."""
    notice: str
    """One line to show the reader: which data this is, and where it comes from."""
