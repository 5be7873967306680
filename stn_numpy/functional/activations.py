"""Activation functions: one number in, one number out (softmax: one row in, one row out)."""

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import op


@op
def relu(input):
    """max(0, x), element by element; the slope at 0 is 0. Any shape, float32 or float64."""
    x = checks.floats("relu", "input", input)
    y = np.maximum(x, 0)

    def backward(dy):
        return dy * (y > 0)

    return y, backward


@op
def tanh(input):
    """The hyperbolic tangent, element by element. Any shape, float32 or float64."""
    y = np.tanh(checks.floats("tanh", "input", input))

    def backward(dy):
        return dy * (1 - y * y)

    return y, backward


@op
def sigmoid(input):
    """1 / (1 + exp(-x)), element by element. Any shape, float32 or float64."""
    x = checks.floats("sigmoid", "input", input)
    # exp of a negative number never overflows; for x > 0 the other form of the same fraction.
    e = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1, e) / (1 + e)

    def backward(dy):
        return dy * y * (1 - y)

    return y, backward


@op
def softmax(input, dim=-1):
    """exp(x_i) / sum_j exp(x_j) along the axis `dim`. Any shape, float32 or float64."""
    x = checks.floats("softmax", "input", input)
    checks.not_empty("softmax", "input", x)
    dim = checks.axis("softmax", "dim", dim, x.ndim)
    e = np.exp(x - x.max(axis=dim, keepdims=True))  # the largest exponent is 0: no overflow
    y = e / e.sum(axis=dim, keepdims=True)

    def backward(dy):
        # dy_i/dx_j = y_i (1[i = j] - y_j): each input moves its own output and dilutes all others.
        return y * (dy - (dy * y).sum(axis=dim, keepdims=True))

    return y, backward


@op
def log_softmax(input, dim=-1):
    """x_i - log sum_j exp(x_j) along the axis `dim`. Any shape, float32 or float64."""
    x = checks.floats("log_softmax", "input", input)
    checks.not_empty("log_softmax", "input", x)
    dim = checks.axis("log_softmax", "dim", dim, x.ndim)
    shifted = x - x.max(axis=dim, keepdims=True)
    y = shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))

    def backward(dy):
        return dy - np.exp(y) * dy.sum(axis=dim, keepdims=True)

    return y, backward
