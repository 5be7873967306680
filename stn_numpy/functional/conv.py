"""Convolution as a matrix product, in memory where the batch comes last.

There are two ways to it: windows, here, and waves, in `fourier.py`. `conv2d` takes waves at stride
1 where they have less to multiply: with many channels and images, and a kernel that is not small.

A window of k x k pixels slides over the image. `im2col` writes what the window sees at each place
into a column; the convolution is then weights times columns. Where the batch comes last in memory,

    batch first (N, C, H, W)            batch last (C, H, W, N)
    image 0: 00 01 02 03 ...            pixel 00: image 0 1 2 3 ... N
    image 1: 00 01 02 03 ...            pixel 01: image 0 1 2 3 ... N

pixel (i, j) of the window at all places of a row, for all images, is one unbroken run of memory:
at stride 1, im2col is C * H' * k * k long copies instead of N * C * H' * k * k short ones, and so
are the additions of its transpose `col2im`. Columns of a few output rows at a time stay in the
processor's cache, so they are made again in the backward pass rather than kept. The shapes that
everybody sees stay (N, C, H, W): a transposed view costs nothing, and elementwise NumPy operations
keep the order.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from stn_numpy import checks
from stn_numpy.autograd import op
from stn_numpy.functional import fourier
from stn_numpy.functional.layout import batch_first, batch_last, crop, output_size, pad

COLUMN_BYTES = 3 << 20  # columns made at a time: what the caches of one core hold


@op
def conv2d(input, weight, bias=None, stride=1, padding=0):
    """Cross-correlation, as every network library calls convolution: the kernel is not flipped.

    y[n, o, p, q] = b[o] + sum over c, i, j of W[o, c, i, j] x[n, c, p s + i - pad, q s + j - pad]

    input x (N, C, H, W), weight W (O, C, kh, kw), bias b (O,) or None, one float dtype;
    stride s >= 1 and padding >= 0 (zeros) are integers or pairs (vertical, horizontal), in pixels.
    Returns (N, O, H', W') with H' = (H + 2 padding - kh) // stride + 1, W' alike.
    Raises ValueError or TypeError for any other shape, dtype, stride or padding, and where the
    kernel is larger than the padded input.
    """
    x, W, b, stride, padding = _checked(input, weight, bias, stride, padding)
    X = pad(batch_last(x), padding)
    if stride == (1, 1) and fourier.is_faster(X.shape, W.shape):
        y, pull = fourier.convolve(X, W, b)
    else:
        y, pull = _convolve(X, W, b, stride)

    def backward(dy, needs):
        dX, dW, db = pull(batch_last(dy), needs[0], any(needs[1:3]))
        return batch_first(crop(dX, padding)) if needs[0] else None, dW, db

    return batch_first(y), backward


def _convolve(X: np.ndarray, W: np.ndarray, b: np.ndarray | None, stride):
    """Convolve framed, batch-last images with im2col.

    Returns y (O, H', W', N) and its backward pass, (dy, needs_X, needs_W) -> (dX, dW, db).
    """
    N, O, K, kernel = X.shape[-1], len(W), W[0].size, W.shape[2:]
    H_out, W_out = places = [output_size(X.shape[1 + i], 0, kernel[i], stride[i]) for i in range(2)]
    # The bias is the weight of a pixel that is always 1: one more row of the columns.
    W2 = W.reshape(O, K) if b is None else np.column_stack([W.reshape(O, K), b])
    row = W_out * N  # numbers in one row of the output: all its places, all images

    y = np.empty((O, H_out, W_out, N), X.dtype)
    Y2 = y.reshape(O, -1)
    for rows, columns in _im2col(X, kernel, stride, places, b is not None):
        np.matmul(W2, columns, out=Y2[:, rows.start * row : rows.stop * row])

    def backward(dy, needs_X, needs_W):
        dY2 = dy.reshape(O, -1)
        dX = np.zeros_like(X) if needs_X else None
        dW2 = np.zeros(W2.T.shape, W.dtype)  # transposed: BLAS is faster
        for rows, columns in _im2col(X, kernel, stride, places, b is not None, fill=needs_W):
            dY_rows = dY2[:, rows.start * row : rows.stop * row]
            if needs_W:
                dW2 += columns @ dY_rows.T
            if needs_X:  # in the memory of the columns, which are done with
                dcolumns = np.matmul(W2[:, :K].T, dY_rows, out=columns[:K])
                _col2im(dcolumns, dX, kernel, stride, rows, W_out)
        return dX, dW2[:K].T.reshape(W.shape), None if b is None else dW2[K]

    return y, backward


def _im2col(
    X: np.ndarray, kernel, stride, places: tuple[int, int], ones: bool, fill: bool = True
) -> Iterator[tuple[range, np.ndarray]]:
    """A few output rows at a time: which, and their columns (C kh kw, rows * W_out * N).

    ones: with a last row of 1. The columns of all yields share one piece of memory; with fill=False
    it is only handed out.
    """
    (C, _, _, N), (kh, kw), (H_out, W_out) = X.shape, kernel, places
    # Pixel (i, j) of the window at place (p, q) is pixel (p s + i, q s + j): a view, no copy.
    (sc, sh, sw, sn), (sy, sx) = X.strides, stride
    shape, strides = (C, kh, kw, H_out, W_out, N), (sc, sh, sw, sy * sh, sx * sw, sn)
    seen = as_strided(X, shape, strides, writeable=False)
    K, row = C * kh * kw, W_out * N
    step = max(1, min(H_out, COLUMN_BYTES // (K * row * X.itemsize)))
    memory = np.empty((K + ones) * row * step, X.dtype)
    for first in range(0, H_out, step):
        rows = range(first, min(first + step, H_out))
        columns = memory[: (K + ones) * row * len(rows)].reshape(K + ones, -1)
        if fill:
            columns[K:] = 1
            windows = columns[:K].reshape(C, kh, kw, len(rows), W_out, N)
            windows[...] = seen[:, :, :, rows.start : rows.stop]
        yield rows, columns


def _col2im(columns: np.ndarray, dX: np.ndarray, kernel, stride, rows: range, W_out: int) -> None:
    """Add every column back to where it was seen, first along x and then along y.

    A pixel that n windows saw receives the sum of n gradients. Two steps of kw and kh additions
    are fewer, and longer, than the kh * kw of one.
    """
    (C, _, W, N), (kh, kw), (sy, sx) = dX.shape, kernel, stride
    columns = columns.reshape(C, kh, kw, len(rows), W_out, N)
    strips = np.zeros((C, kh, len(rows), W, N), dX.dtype)
    for j in range(kw):
        strips[..., j : j + sx * (W_out - 1) + 1 : sx, :] += columns[:, :, j]
    for i in range(kh):
        top = rows.start * sy + i
        dX[:, top : top + sy * (len(rows) - 1) + 1 : sy] += strips[:, i]


def _checked(input, weight, bias, stride, padding):
    x = checks.floats("conv2d", "input", input, "(N, C, H, W)")
    W = checks.floats("conv2d", "weight", weight, "(O, C, kh, kw)")
    b = None if bias is None else checks.floats("conv2d", "bias", bias, "(O,)")
    checks.not_empty("conv2d", "input", x)
    checks.not_empty("conv2d", "weight", W)
    checks.same_dtype("conv2d", input=x, weight=W, bias=b)
    stride = checks.pair("conv2d", "stride", stride, 1)
    padding = checks.pair("conv2d", "padding", padding, 0)
    if W.shape[1] != x.shape[1]:
        raise ValueError(
            f"conv2d: weight has shape {W.shape}, want (O, {x.shape[1]}, kh, kw) "
            f"for an input of shape {x.shape}"
        )
    if b is not None and b.shape != W.shape[:1]:
        raise ValueError(f"conv2d: bias has shape {b.shape}, want {W.shape[:1]}")
    checks.window_fits("conv2d", "weight", W.shape[2:], x.shape, padding)
    return x, W, b, stride, padding
