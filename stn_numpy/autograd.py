"""Reverse-mode automatic differentiation: a tape of operations, walked backwards once.

An operation is a plain function of arrays that returns its output and, as a closure, its own
backward pass::

    @op
    def multiply(a, b):
        def backward(dy):
            return dy * b, dy * a

        return a * b, backward

`@op` lets it take `Tensor`s, notes on the tape where the output came from, and checks every
gradient that `backward` returns. This file knows nothing of images: that is all there is.
"""

import contextlib
import functools
import heapq
import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class _Mode(threading.local):
    """Whether operations are recorded, and whether they were before: for each thread on its own."""

    def __init__(self) -> None:
        self.recording = True
        self.before: list[bool] = []


_mode = _Mode()
_serial = itertools.count()


class no_grad(contextlib.ContextDecorator):
    """``with no_grad():`` computes without recording, in this thread. Also a decorator."""

    def __enter__(self) -> None:
        _mode.before.append(_mode.recording)
        _mode.recording = False

    def __exit__(self, *_exception: object) -> None:
        _mode.recording = _mode.before.pop()


def recording() -> bool:
    """Whether a backward pass may follow; if not, an operation need not prepare for one."""
    return _mode.recording


class Tensor:
    """An array that remembers which operation made it.

    data: array (or anything `numpy.asarray` takes) of numbers or booleans.
    requires_grad: collect d(loss)/d(data) in `.grad`; needs float32 or float64.

    `.grad` is None or an ndarray of the shape and dtype of `data`. Only leaves (tensors that no
    operation made) keep one; every `backward` adds to it.
    """

    __slots__ = ("_node", "data", "grad", "requires_grad")
    __array_ufunc__ = None  # so that `array + tensor` asks the tensor, not each of its elements

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        data = np.asarray(data.data if isinstance(data, Tensor) else data)
        if data.dtype.kind not in "fiub":
            raise TypeError(f"Tensor: data has dtype {data.dtype}, want an array of real numbers")
        if requires_grad and data.dtype not in FLOATS:
            raise TypeError(
                f"Tensor: data has dtype {data.dtype}, which can have no gradient; "
                "want float32 or float64 (use .astype)"
            )
        self.data: np.ndarray = data
        self.grad: np.ndarray | None = None
        self.requires_grad = bool(requires_grad)
        self._node: _Node | None = None

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)

    def detach(self) -> "Tensor":
        """The same numbers (shared, not copied) without their history."""
        return Tensor(self.data)

    def numpy(self) -> np.ndarray:
        """The array itself."""
        return self.data

    def item(self) -> float:
        """The only number of a tensor of size 1."""
        return self.data.item()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.data)

    def __float__(self) -> float:
        return float(self.data)

    def __repr__(self) -> str:
        made_by = f", made by {self._node.name}" if self._node else ""
        wants = ", requires_grad=True" if self.requires_grad and not self._node else ""
        body = np.array2string(self.data, separator=", ", prefix="Tensor(")
        return f"Tensor({body}, dtype={self.dtype}{made_by}{wants})"

    def backward(self, grad: Any = None) -> None:
        """Add d(self)/d(leaf), weighted by `grad`, to `.grad` of every leaf that requires one.

        grad: the gradient that arrives at this tensor, of its shape; may be left out for a tensor
        of size 1, where it is 1. The tape is used up: a second call raises RuntimeError.
        """
        if not self.requires_grad:
            raise ValueError(
                "backward: this tensor does not depend on one that requires a gradient"
            )
        _walk(self, _first_gradient(self, grad))


class _Node:
    """One recorded operation: its inputs, its backward pass, and its place in the order."""

    __slots__ = ("backward", "inputs", "name", "names", "serial")

    def __init__(self, function: Callable, names: list[str], inputs: tuple, backward: Callable):
        self.name, self.names = function.__name__, names
        self.inputs, self.backward = inputs, backward
        self.serial = next(_serial)


def op(function: Callable) -> Callable:
    """Make ``function(*arrays, **options) -> (output, backward)`` an operation on Tensors.

    `backward(dy)` takes the gradient of the output and returns one gradient for each array, in
    order, or None where there is none. A ``backward(dy, needs)`` with a parameter of that name is
    told by one bool for each argument which gradients anybody wants, and may skip the others.
    """
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def apply(*args: Any, **kwargs: Any) -> Tensor:
        if kwargs and any(isinstance(value, Tensor) for value in kwargs.values()):
            args, kwargs = _by_position(function, args, kwargs)
        arrays = [arg.data if isinstance(arg, Tensor) else arg for arg in args]
        output, backward = function(*arrays, **kwargs)
        result = Tensor(output)
        if _mode.recording and any(isinstance(arg, Tensor) and arg.requires_grad for arg in args):
            result.requires_grad = True
            result._node = _Node(function, names, args, backward)
        return result

    return apply


def _by_position(function: Callable, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The same call with every argument that can be positional made so."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args, bound.kwargs


def _first_gradient(tensor: Tensor, grad: Any) -> np.ndarray:
    if grad is None:
        if tensor.size != 1:
            raise ValueError(
                f"backward: a tensor of shape {tensor.shape} is not one number; pass grad, "
                f"an array of shape {tensor.shape}"
            )
        return np.ones_like(tensor.data)
    grad = np.asarray(grad.data if isinstance(grad, Tensor) else grad)
    if grad.shape != tensor.shape:
        raise ValueError(f"backward: grad has shape {grad.shape}, want {tensor.shape}")
    if grad.dtype.kind not in "fiub":
        raise TypeError(f"backward: grad has dtype {grad.dtype}, want {tensor.dtype}")
    return grad.astype(tensor.dtype, copy=False)


def _walk(root: Tensor, grad: np.ndarray) -> None:
    """Visit the operations behind `root` from the newest to the oldest.

    An operation is made after its inputs, so descending serial numbers are a topological order:
    when a node is reached, every gradient that flows into it has been added up. No recursion, so
    the depth of the graph is limited by memory alone.
    """
    if root._node is None:
        _add_to_leaf(root, grad)
        return
    pending = {root._node: grad}
    owned: set[_Node] = set()  # nodes whose pending sum is an array of our own
    queue = [(-root._node.serial, root._node)]
    while queue:
        _, node = heapq.heappop(queue)
        dy = pending.pop(node)
        needs = [isinstance(arg, Tensor) and arg.requires_grad for arg in node.inputs]
        gradients = _gradients(node, dy, needs)
        inputs, node.inputs = node.inputs, ()  # let go of what only this operation kept alive
        for arg, needed, gradient in zip(inputs, needs, gradients):
            if not needed:
                continue
            source = arg._node
            if source is None:
                _add_to_leaf(arg, gradient)
            elif source not in pending:
                pending[source] = gradient
                heapq.heappush(queue, (-source.serial, source))
            elif source in owned:
                pending[source] += gradient
            else:
                pending[source] = np.asarray(pending[source] + gradient)
                owned.add(source)


def _gradients(node: _Node, dy: np.ndarray, needs: list[bool]) -> list:
    """Call the backward pass of one node, once, and check what it returns."""
    if node.backward is None:
        raise RuntimeError(
            f"backward: the graph behind this tensor was used up by an earlier backward "
            f"(at {node.name}); run the forward pass again"
        )
    backward, node.backward = node.backward, None
    gradients = backward(dy, needs) if _takes_needs(backward) else backward(dy)
    gradients = list(gradients) if isinstance(gradients, tuple) else [gradients]
    # NumPy turns arrays without axes into its scalars as soon as it calculates with them.
    gradients = [np.asarray(g) if isinstance(g, np.generic) else g for g in gradients]
    gradients += [None] * (len(needs) - len(gradients))
    for i, (arg, needed, gradient) in enumerate(zip(node.inputs, needs, gradients)):
        if needed and not _is_gradient_of(arg, gradient):
            got = type(gradient).__name__
            if isinstance(gradient, np.ndarray):
                got = f"{gradient.shape} {gradient.dtype}"
            raise RuntimeError(
                f"{node.name}: backward returned {got} for "
                f"{node.names[min(i, len(node.names) - 1)]} (input {i}) "
                f"of shape {arg.shape} {arg.dtype}"
            )
    return gradients


def _takes_needs(backward: Callable) -> bool:
    code = getattr(backward, "__code__", None)
    return code is not None and "needs" in code.co_varnames[: code.co_argcount]


def _is_gradient_of(arg: Tensor, gradient: Any) -> bool:
    return (
        isinstance(gradient, np.ndarray)
        and gradient.shape == arg.data.shape
        and gradient.dtype == arg.data.dtype
    )


def _add_to_leaf(leaf: Tensor, gradient: np.ndarray) -> None:
    # A copy the first time: what arrives may be shared with other branches of the graph.
    leaf.grad = gradient.copy() if leaf.grad is None else np.asarray(leaf.grad + gradient)


def unbroadcast(gradient: np.ndarray, like: Any) -> np.ndarray:
    """Undo broadcasting: sum over the axes along which `like` was repeated.

    A number that was copied to n places receives the sum of n gradients. The result has the shape
    and dtype of `like`.
    """
    shape = np.shape(like)
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    if stretched:
        gradient = gradient.sum(axis=stretched, keepdims=True)
    return np.asarray(gradient, dtype=np.asarray(like).dtype)
