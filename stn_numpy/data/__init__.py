"""Digits to train on: MNIST, the digits that are always there, distortions, and batches."""

import dataclasses
import os

from stn_numpy.data.batches import batches
from stn_numpy.data.dataset import Dataset
from stn_numpy.data.digits import load_digits
from stn_numpy.data.distortions import DISTORTIONS, distort, placed
from stn_numpy.data.idx import read_idx
from stn_numpy.data.mnist import MnistUnavailable, load_mnist

__all__ = [
    "DISTORTIONS",
    "Dataset",
    "MnistUnavailable",
    "batches",
    "distort",
    "load",
    "load_digits",
    "load_mnist",
    "placed",
    "read_idx",
]


def load(folder: str | os.PathLike | None = None, download: bool = True) -> Dataset:
    """MNIST if it can be had, and else the embedded digits; `notice` says which, and why.

    folder, download: as for `load_mnist`. A folder that is named, here or by `$STN_NUMPY_DATA`,
    and a damaged file in the cache are never passed over in silence: they raise DataError. The
    embedded digits are for the case that nothing was named, nothing is in the cache, and nothing
    can be downloaded.
    """
    try:
        return load_mnist(folder, download)
    except MnistUnavailable as unavailable:
        digits = load_digits()
        notice = f"{digits.notice} Used because there is {unavailable}."
        return dataclasses.replace(digits, notice=notice)
