"""Appendix B, Convolution and pooling backward."""

import functools
from collections.abc import Callable

import numpy as np

from stn_numpy import Tensor
from stn_numpy import functional as F
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import Case, verify

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
W = np.array([[1, 0, 2], [3, 1, -1], [0, -2, 4]], dtype=float)
dy = np.array([[2, -1], [5, 1]], dtype=float)


def gradient_of_image(W: np.ndarray = W, dy: np.ndarray = dy) -> np.ndarray:
    x = Tensor(U[None, None], requires_grad=True)
    F.conv2d(x, W[None, None]).backward(dy[None, None])
    return x.grad[0, 0]


BY_HAND = {
    "The kernel is not flipped: as the window goes right, the pixel goes left in it.": (
        lambda: gradient_of_image(W[::-1, ::-1])[1, 2]
    ),
    "That is the pixel in row 2 and column 1; asked for is row 1, column 2.": (
        lambda: gradient_of_image()[2, 1]
    ),
    "The kernel is transposed: i is its row, j its column.": lambda: gradient_of_image(W.T)[1, 2],
    "dy is not used: what arrives is not 1 everywhere.": (
        lambda: gradient_of_image(dy=np.ones((2, 2)))[1, 2]
    ),
    "That is the value of the output's first pixel, or of another one; asked for is how L changes "
    "with the pixel.": lambda: F.conv2d(U[None, None], W[None, None]).data[0, 0, 0, 0],
}


@exercise("B.1", BY_HAND, {"It is not 3.5": lambda: 3.5})
def gradient_of_the_five(answer):
    return answers.number(answer, gradient_of_image()[1, 2], BY_HAND)


def pair(value) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def judged(answer: Callable, wrt: str):
    """The verdict on answer(dy, x, W, stride, padding), stride and padding as pairs."""

    @functools.wraps(answer)
    def backward(dy, x, W, b, stride=1, padding=0):
        return answer(dy, x, W, pair(stride), pair(padding))

    return verify(backward, "conv2d", form="backward", wrt=wrt)


def padded(x: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))


def right_dW(dy, x, W, stride, padding, reduce="nopq,ncpq->oc"):
    """The gradient of the weights, by a loop over the pixels of the window."""
    X, dW = padded(x, padding), np.zeros_like(W)
    (H, W_out), (sy, sx) = dy.shape[2:], stride
    for i, j in np.ndindex(W.shape[2:]):
        seen = X[:, :, i : i + sy * H : sy, j : j + sx * W_out : sx][:, :, :H, :W_out]
        dW[:, :, i, j] = np.einsum(reduce, dy, seen)
    return dW


def last_image_only(dy, x, W, stride, padding):
    for n in range(len(x)):
        dW = right_dW(dy[n : n + 1], x[n : n + 1], W, stride, padding)
    return dW


WRONG_DW = {
    "[kernel-flip]": lambda dy, x, W, stride, padding: right_dW(dy, x, W, stride, padding)[
        :, :, ::-1, ::-1
    ],
    "[mean-instead-of-sum]": lambda dy, x, W, stride, padding: (
        right_dW(dy, x, W, stride, padding) / len(x)
    ),
    "[last-write]": last_image_only,
    "[sign]": lambda dy, x, W, stride, padding: -right_dW(dy, x, W, stride, padding),
    "[stride-swapped]": lambda dy, x, W, stride, padding: right_dW(
        dy, np.pad(x, ((0, 0), (0, 0), (0, 9), (0, 9))), W, stride[::-1], padding
    ),
    "[cotangent-ignored]": lambda dy, x, W, stride, padding: right_dW(
        np.ones_like(dy), x, W, stride, padding
    ),
}


@exercise(
    "B.2",
    WRONG_DW,
    {
        "the dtype is object": lambda dy, x, W, stride, padding: W.astype(object),
        "returns nothing": lambda dy, x, W, stride, padding: None,
        "[wrong-shape]": lambda dy, x, W, stride, padding: right_dW(dy, x, W, stride, padding).sum(
            axis=(2, 3)
        ),
    },
)
def conv2d_dW(answer):
    return judged(answer, "weight")


def right_dX(dy, x, W, stride, padding, at=None, overwrite=False):
    """The gradient of the image: each window gets the kernel, times what arrives at its place.

    at: the stride and the padding that are used; by default the right ones.
    """
    (sy, sx), (py, px) = at or (stride, padding)
    room = [n + 2 * max(padding) + 9 for n in x.shape[2:]]
    dX = np.zeros((*x.shape[:2], *room))
    for p, q in np.ndindex(dy.shape[2:]):
        window = dX[:, :, p * sy : p * sy + W.shape[2], q * sx : q * sx + W.shape[3]]
        part = np.einsum("no,ocij->ncij", dy[:, :, p, q], W)
        window[...] = part if overwrite else window + part
    return dX[:, :, py : py + x.shape[2], px : px + x.shape[3]]


WRONG_DX = {
    "[kernel-flip]": lambda dy, x, W, stride, padding: right_dX(
        dy, x, W[:, :, ::-1, ::-1], stride, padding
    ),
    "[last-write]": functools.partial(right_dX, overwrite=True),
    "[stride-ignored]": lambda dy, x, W, stride, padding: right_dX(
        dy, x, W, stride, padding, at=((1, 1), padding)
    ),
    "[padding-ignored]": lambda dy, x, W, stride, padding: right_dX(
        dy, x, W, stride, padding, at=(stride, (0, 0))
    ),
    "[sign]": lambda dy, x, W, stride, padding: -right_dX(dy, x, W, stride, padding),
}


@exercise(
    "B.3",
    WRONG_DX,
    {
        "[wrong-shape]": lambda dy, x, W, stride, padding: right_dX(
            dy, padded(x, padding), W, stride, (0, 0)
        ),
        "returns nothing": lambda dy, x, W, stride, padding: None,
    },
)
def conv2d_dX(answer):
    return judged(answer, "input")


def pooled(share: Callable) -> Callable:
    """dL/dx of max-pooling where share(window), of a window's pixels, says who gets how much."""

    def backward(dy, x, kernel_size):
        k, dx = kernel_size, np.zeros_like(x)
        for n, c, p, q in np.ndindex(dy.shape):
            at = (n, c, slice(p * k, p * k + k), slice(q * k, q * k + k))
            dx[at] = dy[n, c, p, q] * share(x[at].ravel()).reshape(k, k)
        return dx

    return backward


def first(window: np.ndarray) -> np.ndarray:
    return (np.arange(window.size) == window.argmax()).astype(float)


WRONG_MAX_POOL = {
    "the whole gradient; only the first": pooled(lambda w: w == w.max()),
    "share the gradient": pooled(lambda w: (w == w.max()) / (w == w.max()).sum()),
    "the last of several": pooled(lambda w: first(w[::-1])[::-1]),
    "[max-pool-spread]": pooled(lambda w: np.full(w.size, 1 / w.size)),
    "[max-pool-smallest]": pooled(lambda w: first(-w)),
    "[sign]": pooled(lambda w: -first(w)),
    "[cotangent-ignored]": lambda dy, x, kernel_size: pooled(first)(
        np.ones_like(dy), x, kernel_size
    ),
}


@exercise(
    "B.4",
    WRONG_MAX_POOL,
    {
        "no mistake known here": lambda dy, x, kernel_size: 3 * pooled(first)(dy, x, kernel_size),
        "returns nothing": lambda dy, x, kernel_size: None,
    },
)
def max_pool2d_dx(answer):
    rng = np.random.default_rng(804)
    cases = []
    for N, C, H, W, k in ((2, 3, 6, 4, 2), (3, 2, 3, 9, 3), (1, 2, 4, 8, 4)):
        apart = rng.permutation(N * C * H * W).reshape(N, C, H, W) / 10.0 - 3
        cases.append(Case((apart, k)))
        cases.append(Case((rng.integers(0, 3, (N, C, H, W)).astype(float), k), {}, "ties"))
    return verify(answer, "max_pool2d", form="backward", cases=cases)
