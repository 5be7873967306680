"""The data that is always there: the UCI handwritten digits, enlarged to the size of MNIST.

DIGITS.md beside this file says where they come from.
"""

from importlib import resources

import numpy as np

import stn_numpy.functional as F
from stn_numpy.autograd import no_grad
from stn_numpy.data.dataset import Dataset

TEST_IMAGES_PER_DIGIT = 50


def load_digits() -> Dataset:
    """The UCI handwritten digits: 1,297 training and 500 test images.

    The images are enlarged from 8x8 to 20x20 pixels in the middle of 28x28, as MNIST's digits lie,
    and scaled from 0..16 to 0..255.

    The split is fixed: the last 50 images of every digit, in the order of the file, are for
    testing. The file goes from writer to writer, so most of the test images are by other people
    than the training images are, as in MNIST. (A nearest neighbour misreads 4.2 % of this test
    set, but only 1 to 2 % of one that is drawn at random.)
    """
    with (
        resources.files(__package__).joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        labels = stored["labels"].astype(np.int64)
        # In pieces, because the sampler needs many times the space of its output.
        images = np.concatenate([enlarge(piece) for piece in np.array_split(stored["images"], 16)])
    test = np.zeros(len(labels), bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[-TEST_IMAGES_PER_DIGIT:]] = True
    notice = (
        f"Data: UCI handwritten digits, {np.sum(~test):,} training and {np.sum(test)} test images, "
        "enlarged from 8x8 to 28x28 pixels; part of this package."
    )
    return Dataset(images[~test], labels[~test], images[test], labels[test], "UCI digits", notice)


def enlarge(images: np.ndarray) -> np.ndarray:
    """(N, 8, 8) with levels 0 to 16 -> (N, 28, 28) uint8, the 8x8 pixels spread over 20x20.

    Eq. (1): the output reaches 28/20 times as far as the input, from the same centre; what lies
    outside the input is black.
    """
    U = images[:, None].astype(np.float32) * np.float32(255 / 16)
    theta = np.array([[28 / 20, 0, 0], [0, 28 / 20, 0]], np.float32)
    with no_grad():
        G = F.affine_grid(np.broadcast_to(theta, (len(U), 2, 3)), (len(U), 1, 28, 28))
        V = F.grid_sample(U, G, mode="bicubic").data
    # A bicubic kernel swings below 0 and above 255 beside an edge.
    return V[:, 0].round().clip(0, 255).astype(np.uint8)
