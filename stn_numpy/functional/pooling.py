"""Pooling: the largest or the mean of each window."""

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import op, recording
from stn_numpy.functional.layout import batch_first, batch_last, crop, output_size, pad, windows


@op
def max_pool2d(input, kernel_size, stride=None, padding=0):
    """The largest value of each window; the first of several equal ones receives the gradient.

    input (N, C, H, W) of numbers; kernel_size, stride (default: kernel_size) and padding are
    integers or pairs (vertical, horizontal) in pixels, padding at most half of kernel_size. Padded
    pixels never win. Returns (N, C, H', W'), H' = (H + 2 padding - kernel) // stride + 1, W' alike.
    Raises ValueError or TypeError for any other shape, dtype or number.
    """
    x, kernel, stride, padding = _checked("max_pool2d", input, kernel_size, stride, padding)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    X = pad(batch_last(x), padding, lowest)
    places = [output_size(X.shape[1 + i], 0, kernel[i], stride[i]) for i in range(2)]

    first, *others = windows(X, kernel, stride, places)
    y = first.copy()
    winner = np.zeros(y.shape, np.min_scalar_type(len(others)))  # which pixel of the window
    for k, pixels in enumerate(others, start=1):
        if recording():
            # Later pixels have greater numbers, and have to be larger: the first of equals stays.
            np.maximum(winner, (pixels > y) * winner.dtype.type(k), out=winner)
        np.maximum(y, pixels, out=y)
    shape, apart = X.shape, stride[0] >= kernel[0] and stride[1] >= kernel[1]

    def backward(dy):
        dX, dY = np.zeros(shape, dy.dtype), batch_last(dy)
        for k, gradient in enumerate(windows(dX, kernel, stride, places)):
            if apart:  # every pixel is seen by one window at most: no sum, no temporary array
                np.multiply(dY, winner == k, out=gradient)
            else:
                gradient += dY * (winner == k)
        return batch_first(crop(dX, padding))

    return batch_first(y), backward


@op
def avg_pool2d(input, kernel_size, stride=None, padding=0):
    """The mean of each window, padded zeros included, as in PyTorch.

    input (N, C, H, W) float32 or float64; arguments, result and errors as for `max_pool2d`.
    """
    x, kernel, stride, padding = _checked("avg_pool2d", input, kernel_size, stride, padding)
    checks.floats("avg_pool2d", "input", x)
    X = pad(batch_last(x), padding)
    places = [output_size(X.shape[1 + i], 0, kernel[i], stride[i]) for i in range(2)]
    share = x.dtype.type(1 / (kernel[0] * kernel[1]))

    first, *others = windows(X, kernel, stride, places)
    y = first.copy()
    for pixels in others:
        y += pixels
    y *= share

    def backward(dy):
        dX = np.zeros_like(X)
        each = batch_last(dy) * share
        for gradient in windows(dX, kernel, stride, places):
            gradient += each
        return batch_first(crop(dX, padding))

    return batch_first(y), backward


def _checked(function: str, input, kernel_size, stride, padding):
    x = checks.array(function, "input", input, "(N, C, H, W)")
    if x.dtype.kind == "b":
        raise TypeError(f"{function}: input has dtype bool, want numbers")
    checks.not_empty(function, "input", x)
    kernel = checks.pair(function, "kernel_size", kernel_size, 1)
    stride = kernel if stride is None else checks.pair(function, "stride", stride, 1)
    padding = checks.pair(function, "padding", padding, 0)
    if any(2 * p > k for p, k in zip(padding, kernel)):
        raise ValueError(
            f"{function}: padding is {padding}, want at most half of kernel_size {kernel}"
        )
    checks.window_fits(function, "kernel_size", kernel, x.shape, padding)
    return x, kernel, stride, padding
