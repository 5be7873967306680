"""Arithmetic, reductions and shapes, and their place as operators of Tensor.

Broadcasting happens only here, and is undone only here, by `unbroadcast`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import Tensor, op, unbroadcast

Axis = int | tuple[int, ...] | None


@op
def add(a, b):
    """a + b, broadcast."""
    _operands("add", a, b)

    def backward(dy, needs):
        return (
            unbroadcast(dy, a) if needs[0] else None,
            unbroadcast(dy, b) if needs[1] else None,
        )

    return np.add(a, b), backward


@op
def subtract(a, b):
    """a - b, broadcast."""
    _operands("subtract", a, b)

    def backward(dy, needs):
        return (
            unbroadcast(dy, a) if needs[0] else None,
            unbroadcast(-dy, b) if needs[1] else None,
        )

    return np.subtract(a, b), backward


@op
def multiply(a, b):
    """a b, element by element, broadcast."""
    _operands("multiply", a, b)

    def backward(dy, needs):
        return (
            unbroadcast(dy * b, a) if needs[0] else None,
            unbroadcast(dy * a, b) if needs[1] else None,
        )

    return np.multiply(a, b), backward


@op
def divide(a, b):
    """a / b, element by element, broadcast."""
    _operands("divide", a, b)

    def backward(dy, needs):
        da = dy / b
        return (
            unbroadcast(da, a) if needs[0] else None,
            unbroadcast(-da * np.true_divide(a, b), b) if needs[1] else None,
        )

    return np.true_divide(a, b), backward


@op
def power(a, exponent):
    """a to the power of a number that is not differentiated."""
    a = checks.array("power", "a", a)
    exponent = checks.array("power", "exponent", exponent)
    if exponent.ndim != 0:
        raise TypeError(f"power: exponent has shape {exponent.shape}, want one number")
    exponent = exponent.item()  # a Python number leaves float32 what it is

    def backward(dy):
        # Written for exponent 0 apart: 0 * 0 ** -1 would be NaN, the slope of a constant is 0.
        return dy * exponent * a ** (exponent - 1) if exponent != 0 else np.zeros_like(dy)

    return a**exponent, backward


@op
def negative(a):
    """-a."""
    a = checks.array("negative", "a", a)

    def backward(dy):
        return -dy

    return -a, backward


@op
def exp(a):
    """e to the power of a."""
    a = checks.array("exp", "a", a)
    y = np.exp(a)

    def backward(dy):
        return dy * y

    return y, backward


@op
def log(a):
    """The natural logarithm of a."""
    a = checks.array("log", "a", a)

    def backward(dy):
        return dy / a

    return np.log(a), backward


@op
def absolute(a):
    """|a|; the slope at 0 is taken to be 0."""
    a = checks.array("absolute", "a", a)

    def backward(dy):
        return dy * np.sign(a)

    return np.abs(a), backward


@op
def matmul(a, b):
    """The matrix product a b of matrices or stacks of matrices (..., I, J) (..., J, K)."""
    a, b = (checks.array("matmul", name, value) for name, value in (("a", a), ("b", b)))
    if (
        min(a.ndim, b.ndim) < 2
        or a.shape[-1] != b.shape[-2]
        or not _broadcastable(a.shape[:-2], b.shape[:-2])
    ):
        raise ValueError(
            f"matmul: got shapes {a.shape} and {b.shape}, want (..., I, J), (..., J, K)"
        )

    def backward(dy):
        return unbroadcast(dy @ b.swapaxes(-1, -2), a), unbroadcast(a.swapaxes(-1, -2) @ dy, b)

    return a @ b, backward


@op
def sum(a, dim: Axis = None, keepdims: bool = False):
    """The sum over the axes `dim` (all of them by default): every summand receives the gradient."""
    a = checks.array("sum", "a", a)
    axes = _axes("sum", dim, a.ndim)

    def backward(dy):
        dy = dy if keepdims else np.expand_dims(dy, axes)
        return np.broadcast_to(dy, a.shape).copy()

    return a.sum(axis=axes, keepdims=keepdims), backward


@op
def mean(a, dim: Axis = None, keepdims: bool = False):
    """The mean over the axes `dim` (all of them by default)."""
    a = checks.array("mean", "a", a)
    checks.not_empty("mean", "a", a)
    axes = _axes("mean", dim, a.ndim)
    y = a.mean(axis=axes, keepdims=keepdims)
    count = a.size // y.size

    def backward(dy):
        dy = dy if keepdims else np.expand_dims(dy, axes)
        return np.broadcast_to(dy / count, a.shape).astype(a.dtype)

    return y, backward


@op
def amax(a, dim: Axis = None, keepdims: bool = False):
    """The largest value over the axes `dim`; where several are equal they share the gradient."""
    a = checks.array("amax", "a", a)
    checks.not_empty("amax", "a", a)
    axes = _axes("amax", dim, a.ndim)
    y = a.max(axis=axes, keepdims=True)

    def backward(dy):
        dy = dy if keepdims else np.expand_dims(dy, axes)
        largest = a == y
        return (dy * largest / largest.sum(axis=axes, keepdims=True)).astype(a.dtype)

    return y if keepdims else y.squeeze(axes), backward


@op
def reshape(a, shape: Sequence[int]):
    """The same numbers in another shape; one size may be -1."""
    a = checks.array("reshape", "a", a)
    try:
        y = a.reshape(shape)
    except (TypeError, ValueError):
        raise ValueError(f"reshape: shape is {shape}, want one for {a.shape} numbers") from None

    def backward(dy):
        return dy.reshape(a.shape)

    return y, backward


@op
def transpose(a, axes: Sequence[int] | None = None):
    """The axes of a in another order (reversed by default)."""
    a = checks.array("transpose", "a", a)
    order = range(a.ndim)[::-1] if axes is None else _axes("transpose", tuple(axes), a.ndim, "axes")
    if len(order) != a.ndim:
        raise ValueError(f"transpose: axes is {axes}, want each of the {a.ndim} axes of a once")

    def backward(dy):
        return dy.transpose(np.argsort(order))

    return a.transpose(order), backward


@op
def getitem(a, index):
    """a[index]. An element that is picked n times receives the sum of n gradients."""
    a = checks.array("getitem", "a", a)

    def backward(dy):
        da = np.zeros_like(a)
        np.add.at(da, index, dy)
        return da

    return a[index], backward


def concat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """The tensors one behind the other along the axis `dim`; their other axes are equal."""
    if not isinstance(tensors, (list, tuple)) or len(tensors) == 0:
        raise ValueError("concat: tensors is not a list or tuple of at least one tensor")
    arrays = [
        checks.array("concat", f"tensors[{i}]", t.data if isinstance(t, Tensor) else t)
        for i, t in enumerate(tensors)
    ]
    dim = checks.axis("concat", "dim", dim, arrays[0].ndim)
    for i, a in enumerate(arrays):
        if a.ndim != arrays[0].ndim or any(
            m != n for axis, (m, n) in enumerate(zip(a.shape, arrays[0].shape)) if axis != dim
        ):
            raise ValueError(
                f"concat: tensors[{i}] has shape {a.shape}, want that of tensors[0], "
                f"{arrays[0].shape}, but for axis {dim}"
            )
    return _concat(*(t if isinstance(t, Tensor) else a for t, a in zip(tensors, arrays)), dim=dim)


@op
def _concat(*arrays, dim):
    ends = np.cumsum([a.shape[dim] for a in arrays])[:-1]

    def backward(dy):
        return tuple(
            part.astype(a.dtype, copy=False)
            for part, a in zip(np.split(dy, ends, axis=dim), arrays)
        )

    return np.concatenate(arrays, axis=dim), backward


def flatten(input: Any, start_dim: int = 1, end_dim: int = -1) -> Tensor:
    """The axes from `start_dim` to `end_dim` made one: (N, C, H, W) -> (N, C H W) by default."""
    shape = np.shape(input.data if isinstance(input, Tensor) else input)
    start = checks.axis("flatten", "start_dim", start_dim, max(len(shape), 1))
    end = checks.axis("flatten", "end_dim", end_dim, max(len(shape), 1))
    if start > end:
        raise ValueError(
            f"flatten: start_dim is {start_dim}, want one not behind end_dim {end_dim}"
        )
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def _operands(function: str, a: Any, b: Any) -> None:
    """Both are real numbers, of shapes that can be broadcast together."""
    a, b = checks.array(function, "a", a), checks.array(function, "b", b)
    if not _broadcastable(a.shape, b.shape):
        raise ValueError(
            f"{function}: b has shape {b.shape}, want one that can be broadcast with a, {a.shape}"
        )


def _broadcastable(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or m == 1 or n == 1 for m, n in zip(a[::-1], b[::-1]))


def _axes(function: str, dim: Axis, ndim: int, name: str = "dim") -> tuple[int, ...]:
    """The axes that `dim` names (all for None), from 0 to ndim - 1 and none of them twice."""
    if dim is None:
        return tuple(range(ndim))
    dims = dim if isinstance(dim, tuple) else (dim,)
    axes = tuple(checks.axis(function, name, d, ndim) for d in dims)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{function}: {name} is {dim}, want no axis twice")
    return axes


def _one_or_many(values: tuple) -> Any:
    """x.reshape(2, 3) and x.reshape((2, 3)) mean the same."""
    return values[0] if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


def _transposed(a: Tensor, *axes: Any) -> Tensor:
    """x.transpose(i, j) exchanges two axes, as PyTorch's; of all axes it takes the new order."""
    if len(axes) != 2:
        return transpose(a, _one_or_many(axes) or None)
    i, j = (checks.axis("transpose", "axes", axis, a.ndim) for axis in axes)
    order = list(range(a.ndim))
    order[i], order[j] = j, i
    return transpose(a, order)


Tensor.__add__ = Tensor.__radd__ = lambda a, b: add(a, b)
Tensor.__sub__ = lambda a, b: subtract(a, b)
Tensor.__rsub__ = lambda a, b: subtract(b, a)
Tensor.__mul__ = Tensor.__rmul__ = lambda a, b: multiply(a, b)
Tensor.__truediv__ = lambda a, b: divide(a, b)
Tensor.__rtruediv__ = lambda a, b: divide(b, a)
Tensor.__pow__ = lambda a, exponent: power(a, exponent)
Tensor.__matmul__ = lambda a, b: matmul(a, b)
Tensor.__rmatmul__ = lambda a, b: matmul(b, a)
Tensor.__neg__ = negative
Tensor.__getitem__ = getitem
Tensor.sum, Tensor.mean, Tensor.max = sum, mean, amax
Tensor.exp, Tensor.log, Tensor.abs = exp, log, absolute
Tensor.reshape = lambda a, *shape: reshape(a, _one_or_many(shape))
Tensor.transpose = _transposed
Tensor.permute = lambda a, *axes: transpose(a, _one_or_many(axes))
Tensor.T = property(transpose)
Tensor.flatten = flatten
