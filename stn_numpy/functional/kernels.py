"""Sampling kernels k and their slopes k', of one dimension: Eqs. (4) and (5), and bicubic.

The sampler of Eq. (3) weighs the pixel m of a row, read at the point x, by k(x - m). A kernel is
any object with

    support     k(d) = 0 wherever |d| >= support (a whole number of pixels, 1 or more),
    weights(d)  k at an array of distances d = x - m, in pixels, -support <= d < support,
    slopes(d)   k' there; at a kink the derivative from the right.

Both methods return an array of the shape and dtype of d.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Kernel(Protocol):
    """What the sampler asks of a kernel; see the module's text."""

    support: int

    def weights(self, d: np.ndarray) -> np.ndarray: ...

    def slopes(self, d: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Nearest:
    """Eq. (4), the integer kernel: k(d) = delta(floor(d + 0.5)), 1 for -0.5 <= d < 0.5.

    Halves are rounded up, as printed in the paper; PyTorch and ONNX round them to even. It is flat
    wherever it is differentiable, so no gradient passes to the grid: theta can not learn from it.
    """

    support: int = 1

    def weights(self, d: np.ndarray) -> np.ndarray:
        return ((d >= -0.5) & (d < 0.5)).astype(d.dtype)

    def slopes(self, d: np.ndarray) -> np.ndarray:
        return np.zeros_like(d)


@dataclass(frozen=True)
class Bilinear:
    """Eq. (5), the tent: k(d) = max(0, 1 - |d|).

    Its kinks are at -1, 0 and 1, where the slope from the right is 1, -1 and 0.
    """

    support: int = 1

    def weights(self, d: np.ndarray) -> np.ndarray:
        return np.maximum(0, 1 - np.abs(d))

    def slopes(self, d: np.ndarray) -> np.ndarray:
        return np.where((d >= -1) & (d < 1), np.where(d < 0, 1, -1), 0).astype(d.dtype)


@dataclass(frozen=True)
class Bicubic:
    """Cubic convolution (Keys 1981) with the slope `a` at |d| = 1; PyTorch and ONNX take -0.75.

    k(d) = (a + 2)|d|^3 - (a + 3)|d|^2 + 1 up to |d| = 1, a (|d|^3 - 5|d|^2 + 8|d| - 4) from there
    to 2: smooth once everywhere, negative beyond 1, so that the result may overshoot.
    """

    a: float = -0.75
    support: int = 2

    def weights(self, d: np.ndarray) -> np.ndarray:
        a, r = self.a, np.abs(d)
        near = ((a + 2) * r - (a + 3)) * r * r + 1
        far = a * (((r - 5) * r + 8) * r - 4)
        return np.where(r < 1, near, np.where(r < 2, far, 0)).astype(d.dtype)

    def slopes(self, d: np.ndarray) -> np.ndarray:
        a, r = self.a, np.abs(d)
        near = (3 * (a + 2) * r - 2 * (a + 3)) * r
        far = a * ((3 * r - 10) * r + 8)
        return (np.sign(d) * np.where(r < 1, near, np.where(r < 2, far, 0))).astype(d.dtype)


KERNELS = {"nearest": Nearest(), "bilinear": Bilinear(), "bicubic": Bicubic()}
