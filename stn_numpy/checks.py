"""Checks of arguments, made before any work is done.

Every message names the function, the argument, what came and what is wanted.
"""

import numbers
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from stn_numpy.autograd import FLOATS


def array(function: str, name: str, value: Any, axes: str | None = None) -> np.ndarray:
    """`value` as an array of real numbers, of as many axes as `axes`, say "(N, C, H, W)", names."""
    value = np.asarray(value)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{function}: {name} has dtype {value.dtype}, want real numbers")
    if axes is not None and value.ndim != axes.count(",") + 1 - axes.endswith(",)"):
        raise ValueError(f"{function}: {name} has shape {value.shape}, want {axes}")
    return value


def floats(function: str, name: str, value: Any, axes: str | None = None) -> np.ndarray:
    """`value` as an array of float32 or float64."""
    value = array(function, name, value, axes)
    if value.dtype not in FLOATS:
        raise TypeError(f"{function}: {name} has dtype {value.dtype}, want float32 or float64")
    return value


def same_dtype(function: str, **arrays: np.ndarray | None) -> None:
    """All arrays (None is skipped) have one dtype."""
    (first, a), *others = [(name, a) for name, a in arrays.items() if a is not None]
    for name, b in others:
        if a.dtype != b.dtype:
            raise TypeError(
                f"{function}: {name} is {b.dtype} but {first} is {a.dtype}; want one dtype"
            )


def not_empty(function: str, name: str, value: np.ndarray) -> None:
    if 0 in value.shape:
        raise ValueError(f"{function}: {name} has shape {value.shape}, want no empty axis")


def integer(function: str, name: str, value: Any, minimum: int) -> int:
    """`value` as an int of at least `minimum`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{function}: {name} is {value!r}, want an integer of at least {minimum}"
        ) from None
    if number < minimum:
        raise ValueError(f"{function}: {name} is {value}, want at least {minimum}")
    return number


def share(function: str, name: str, value: Any) -> None:
    if not isinstance(value, numbers.Real) or not 0 <= value <= 1:
        raise ValueError(f"{function}: {name} is {value!r}, want a number from 0 to 1")


def pair(function: str, name: str, value: Any, minimum: int) -> tuple[int, int]:
    """An int, or two of them (vertical, horizontal), each at least `minimum`."""
    both = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{function}: {name} is {value!r}, want an integer or a pair of integers")
    return tuple(integer(function, name, v, minimum) for v in both)


def choice(function: str, name: str, value: Any, allowed: Iterable[str]) -> None:
    if value not in tuple(allowed):
        wanted = ", ".join(repr(a) for a in allowed)
        raise ValueError(f"{function}: {name} is {value!r}, want one of {wanted}")


def axis(function: str, name: str, value: Any, ndim: int) -> int:
    """An axis from -ndim to ndim - 1, made non-negative."""
    number = integer(function, name, value, -ndim)
    if number >= ndim:
        raise ValueError(f"{function}: {name} is {value}, want -{ndim} to {ndim - 1}")
    return number % ndim


def window_fits(
    function: str, name: str, kernel: tuple[int, int], shape: tuple[int, ...], padding: tuple
) -> None:
    """A window of kernel = (kh, kw) fits into images of `shape` (N, C, H, W) with their padding."""
    padded = tuple(n + 2 * p for n, p in zip(shape[2:], padding))
    if kernel[0] > padded[0] or kernel[1] > padded[1]:
        raise ValueError(
            f"{function}: {name} is {kernel[0]} x {kernel[1]}, larger than the padded input "
            f"{padded[0]} x {padded[1]}"
        )
