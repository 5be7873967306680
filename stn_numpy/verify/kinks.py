"""The derivatives of the bilinear sampler where it has two: at points on the lattice."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from stn_numpy import checks, reference
from stn_numpy import functional as F
from stn_numpy.autograd import Tensor
from stn_numpy.gradcheck import numeric_gradients

TOLERANCE = 1e-6
WORKED_IMAGE = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)


@dataclass(frozen=True)
class Kink:
    """One coordinate of one point, in pixels, and what may be called dV/dx (or dV/dy) there.

    analytic is what the sampler's backward gives; left and right are one-sided differences, mean is
    their mean, what central differences see; printed is Eq. (7) to the letter.
    """

    x: float
    y: float
    along: str
    analytic: float
    left: float
    right: float
    mean: float
    printed: float

    @property
    def is_right_derivative(self) -> bool:
        scale = max(abs(self.left), abs(self.right), 1.0)
        return abs(self.analytic - self.right) <= TOLERANCE * scale


@dataclass(frozen=True)
class KinkTable:
    """Rows for a terminal (`str`) and a notebook; true if all are what they should be."""

    rows: tuple[Kink, ...]

    HEADER = ("point (x, y)", "along", "analytic", "left", "right", "mean", "Eq. (7) as printed")

    def __bool__(self) -> bool:
        return all(row.is_right_derivative for row in self.rows)

    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text."""
        return [
            (
                f"({row.x:g}, {row.y:g})",
                row.along,
                *(
                    f"{value:.4f}"
                    for value in (row.analytic, row.left, row.right, row.mean, row.printed)
                ),
            )
            for row in self.rows
        ]

    @property
    def verdict(self) -> str:
        count = sum(row.is_right_derivative for row in self.rows)
        return f"analytic is the derivative from the right at {count} of {len(self.rows)} points"

    def __str__(self) -> str:
        rows = [self.HEADER, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths)) for row in rows]
        return "\n".join([*lines, self.verdict])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.HEADER)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.cells()
        )
        return f"<table><tr>{head}</tr>{body}</table><p>{escape(self.verdict)}</p>"


def kink_table(
    U: np.ndarray | None = None, points: Sequence[tuple[float, float]] | None = None
) -> KinkTable:
    """Left, right and mean derivative beside the analytic one, for points on the lattice.

    U: an image (H, W) in float64; the book's 4 x 4 example by default. points: (x, y) in pixels,
    counted from 0; there is a row for each coordinate that is a whole number. By default a walk
    along a line of each direction. Values are per pixel, not per normalised unit.
    Raises TypeError or ValueError for another image or other points.
    """
    U = WORKED_IMAGE if U is None else checks.floats("kink_table", "U", U, "(H, W)")
    checks.not_empty("kink_table", "U", U)
    if U.dtype != np.float64:
        raise TypeError(f"kink_table: U has dtype {U.dtype}, want float64")
    H, W = U.shape
    if points is None:
        y, x = min(1.75, H - 1), min(2.25, W - 1)
        points = [(m, y) for m in range(W)] + [(x, n) for n in range(H)]
    points = checks.array("kink_table", "points", points, "(P, 2)").astype(float)
    if points.shape[1] != 2:
        raise ValueError(f"kink_table: points has shape {points.shape}, want (P, 2)")

    return KinkTable(tuple(_rows(U, points)))


def _rows(U: np.ndarray, points: np.ndarray) -> list[Kink]:
    # The image in the corner of a larger one of zeros, which is all there is outside it anyway:
    # with sides that are powers of two, normalised coordinates of whole pixels are exact.
    side = 1 << int(np.ceil(np.log2(max(*U.shape, 2))))
    image = np.zeros((1, 1, side, side))
    image[0, 0, : U.shape[0], : U.shape[1]] = U
    per_unit = reference.pixels_per_unit(side)
    G = np.array(reference.to_normalised(points, side))[None, None]

    def sample(grid):
        return F.grid_sample(image, grid)

    tensor = Tensor(G, requires_grad=True)
    ones = np.ones((1, 1, 1, len(points)))
    sample(tensor).backward(ones)
    analytic = tensor.grad[0, 0] / per_unit
    left, right = (
        numeric_gradients(sample, [G], ones, eps=2.0**-20, side=of) for of in ("left", "right")
    )
    left, right = left[0][0, 0] / per_unit, right[0][0, 0] / per_unit
    x, y = points.T
    printed = [
        reference.eq07_grad_xs_as_printed(U[None], x, y)[0],
        reference.eq07_grad_ys_as_printed(U[None], x, y)[0],
    ]
    return [
        Kink(
            *map(float, points[i]),
            along="xy"[k],
            analytic=float(analytic[i, k]),
            left=float(left[i, k]),
            right=float(right[i, k]),
            mean=float(left[i, k] + right[i, k]) / 2,
            printed=float(printed[k][i]),
        )
        for k in range(2)
        for i in range(len(points))
        if points[i, k] == np.round(points[i, k])
    ]
