"""Convolution as one product for each frequency.

A convolution is simplest for a wave: the same wave comes out, larger or smaller and moved along.
That is one complex number for each pair of a frequency and a kernel. So take the images and the
kernels apart into waves, multiply, and put the waves together again. (A wave that leaves the image
on one side comes in on the other; places where a window would reach over the border are left out.)

    y = Ty^T [ (Tw W) . (Tx x) ]        . at each frequency a matrix product, (O, C) (C, N)

Tx, Tw and Ty are linear: plain matrices. The backward pass is then that of any product between
linear maps, each map transposed, and needs no second look at waves:

    dx = Tx^T [ (Tw W)^T . (Ty dy) ]        dW = Tw^T [ (Ty dy) . (Tx x)^T ]

A complex number times another takes three real products, (a + ib) (c + id) = p - r + i (p + q)
with p = c (a + b), q = a (d - c), r = b (c + d). These sums are linear too, so they go into the
maps, and everything is a product of real matrices. 7 x 7 weights on 10 x 10 pixels: 180 products
for each pair of channels, where windows of pixels (`conv.py`) take 16 * 49 = 784.

The price: rounding errors are as large as the largest pixel makes them, all over the image, so
equal windows give numbers that are equal only up to rounding; a pixel that is not a number leaves
no number in its whole image; and the waves of the batch are kept for the backward pass.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Of the multiplications that windows take: with fewer than that, waves were the faster way in all
# layers that were measured.
WORTH = 0.9
SMALL = 3  # the map of a weight has short rows, and one such product takes the time of three


class Waves(NamedTuple):
    """A linear map from images to waves, first along each column of pixels, then along the rows.

    down (2 F, H): pixels of a column -> real and imaginary part of its F frequencies.
    along (3 W, 2 w): these parts at the w pixels of a row -> three numbers for each frequency.
    """

    down: np.ndarray
    along: np.ndarray

    def apply(self, images: np.ndarray) -> np.ndarray:
        """(A, H, w, N) -> (F, 3 W, A, N): for each frequency, a matrix."""
        A, H, w, N = images.shape
        F = len(self.down) // 2
        columns = np.matmul(self.down, images.reshape(A, H, w * N)).reshape(A, F, 2 * w, N)
        waves = np.empty((F, len(self.along), A, N), images.dtype)
        np.matmul(self.along, columns, out=waves.transpose(2, 0, 1, 3))
        return waves

    def transposed(self, waves: np.ndarray) -> np.ndarray:
        """(F, 3 W, A, N) -> (A, H, w, N): the transpose of the same map."""
        (F, _, A, N), H, w = waves.shape, self.down.shape[1], self.along.shape[1] // 2
        columns = np.matmul(self.along.T, waves.transpose(2, 0, 1, 3))
        return np.matmul(self.down.T, columns.reshape(A, 2 * F, w * N)).reshape(A, H, w, N)


def is_faster(images: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Whether waves take fewer multiplications than windows: images (C, H, W, N), framed already,
    and weight (O, C, kh, kw).

    With many channels the products of the frequencies decide, with few the maps do, and with few
    images the map of the weight.
    """
    (C, H, W, N), (O, _, kh, kw) = images, weight
    H_out, W_out = H - kh + 1, W - kw + 1
    F = H // 2 + 1

    def map_of(h: int, w: int) -> int:
        return 2 * F * h * w + F * 3 * W * 2 * w

    waves = F * 3 * W * C * O * N
    maps = C * N * map_of(H, W) + O * N * map_of(H_out, W_out) + SMALL * C * O * map_of(kh, kw)
    return waves + maps < WORTH * (C * O * N * kh * kw * H_out * W_out)


def convolve(X: np.ndarray, W: np.ndarray, b: np.ndarray | None) -> tuple[np.ndarray, Callable]:
    """Cross-correlate framed images X (C, H, W, N) with a weight (O, C, kh, kw), at stride 1.

    Returns y (O, H', W', N) and its backward pass, (dy, needs_X, needs_W) -> (dX, dW, db).
    """
    of_W, of_X, of_y = _maps(X.shape[1:3], W.shape[2:], X.dtype)
    X_waves = of_X.apply(X)  # at each frequency a matrix (C, N)
    W_waves = of_W.apply(np.ascontiguousarray(W.transpose(1, 2, 3, 0)))  # (C, O)
    y = of_y.transposed(W_waves.swapaxes(2, 3) @ X_waves)
    if b is not None:
        y += b[:, None, None, None]

    def backward(dy, needs_X, needs_W):
        dy_waves = of_y.apply(dy)
        dX = of_X.transposed(W_waves @ dy_waves) if needs_X else None
        if not needs_W:
            return dX, None, None
        dW = of_W.transposed(X_waves @ dy_waves.swapaxes(2, 3)).transpose(3, 0, 1, 2)
        return dX, dW, None if b is None else dy.sum(axis=(1, 2, 3))

    return y, backward


@lru_cache(maxsize=64)
def _maps(image: tuple[int, int], kernel: tuple[int, int], dtype) -> tuple[Waves, Waves, Waves]:
    """Of the kernel, numbers a + ib; of the image, c + id; and, transposed, back to the output."""
    (H, W), F = image, image[0] // 2 + 1  # pixels are real: half of the frequencies say it all,
    twice = np.full((F, 1), 2.0)  # and count for the other half too, but for those without one
    twice[0] = 1
    if H % 2 == 0:
        twice[-1] = 1
    places = [n - k + 1 for n, k in zip(image, kernel, strict=True)]

    # The kernel's waves turn the other way: that is correlation; both alike would be convolution.
    down, (a, b) = _waves(H, kernel[0], +1)[:F], _parts(_waves(W, kernel[1], +1))
    of_kernel = _complete(down, [a + b, a, b], dtype)
    down, (c, d) = _waves(H, H, -1)[:F], _parts(_waves(W, W, -1))
    of_image = _complete(down, [c, d - c, c + d], dtype)
    down, (e, f) = _waves(H, places[0], -1)[:F], _parts(_waves(W, places[1], -1))
    of_output = _complete(twice * down / H, [(e + f) / W, f / W, -e / W], dtype)
    return of_kernel, of_image, of_output


def _waves(frequencies: int, pixels: int, sign: int) -> np.ndarray:
    """exp(sign 2 pi i k p / frequencies) for frequency k and pixel p."""
    turns = np.outer(np.arange(frequencies), np.arange(pixels)) % frequencies / frequencies
    return np.exp(sign * 2j * np.pi * turns)


def _parts(waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What real and imaginary part of a number become part of, times each wave: (K, 2, pixels)."""
    return np.stack([waves.real, -waves.imag], 1), np.stack([waves.imag, waves.real], 1)


def _complete(down: np.ndarray, along: list[np.ndarray], dtype) -> Waves:
    """Both matrices in one dtype, and safe from being written to: they are shared."""
    down = np.stack([down.real, down.imag], axis=1).reshape(-1, down.shape[1]).astype(dtype)
    rows = np.stack(along, axis=1)
    rows = rows.reshape(3 * len(rows), -1).astype(dtype)
    down.flags.writeable = rows.flags.writeable = False
    return Waves(down, rows)
