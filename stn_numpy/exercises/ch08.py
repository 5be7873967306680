"""Chapter 8, Backward II: the grid."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify


def slope_at(formula, *options):
    """A formula of `reference` as a function of one point."""
    return lambda U, x, y: formula(U[None], np.array([x]), np.array([y]), *options)[0, 0]


def with_one_row(U, x, y):
    """The slope along the row of the pixel at the upper left, without the one below."""
    n, m = int(np.floor(y)), int(np.floor(x))
    framed = np.pad(U, 3)
    return framed[n + 3, m + 4] - framed[n + 3, m + 3]


@exercise(
    "08.1",
    {
        "[left-derivative]": slope_at(reference.eq07_grad_xs, "left"),
        "[mean-derivative]": slope_at(reference.eq07_grad_xs, "mean"),
        "[printed-eq-7]": slope_at(reference.eq07_grad_xs_as_printed),
        "[sign]": lambda U, x, y: -slope_at(reference.eq07_grad_xs)(U, x, y),
        "[xy-swapped]": slope_at(reference.eq07_grad_ys),
    },
    {
        "x: ": with_one_row,
        "raises IndexError": lambda U, x, y: U[int(y) + 9, int(x)],
        "returns nothing": lambda U, x, y: None,
    },
)
def slope_x(answer):
    return verify(answer, against="grid_sample", form="partial", wrt="x")


@exercise(
    "08.2",
    mistakes={
        "the printed equation says 7": lambda: np.full((4, 4), 7.0),
        "From the left V changes by 12": lambda: np.eye(4)[2] * np.full((4, 1), 12.0),
        "From the right V changes by -12": lambda: np.array([0, 12.0, 12, 0]) * np.ones((4, 1)),
        "the printed equation says 9": lambda: np.array([[0.0], [0], [12], [0]]) * np.ones(4),
        "want an array of (4, 4)": lambda: 12.0,
        "have to be finite": lambda: np.full((4, 4), np.nan),
    },
)
def flat_image(answer):
    U = answers.as_array(answer())
    if problem := answers.unlike(U, np.zeros((4, 4))):
        return f"It returns {problem}; want an array of (4, 4)."
    if not np.isfinite(U).all():
        return "Its numbers have to be finite."
    printed = slope_at(reference.eq07_grad_xs_as_printed)(U, 2.0, 1.75)
    for side in ("left", "right"):
        slope = slope_at(reference.eq07_grad_xs, side)(U, 2.0, 1.75)
        if abs(slope) > 1e-9:
            return f"From the {side} V changes by {slope:.6g} for each pixel; want 0."
    if abs(printed - 12) > 1e-9:
        return f"V does not change, but the printed equation says {printed:.6g}; want 12."
    return None


SMALLEST = {
    "That is the largest value. g is smallest where the product of I and T is largest.": (
        lambda length_I, length_T: length_I * (length_I + length_T)
    ),
    "That is g where the product of I and T is 0; how large can that product get?": (
        lambda length_I, length_T: length_I**2
    ),
    "In the product of a vector with itself its length is squared.": (
        lambda length_I, length_T: length_I - length_T
    ),
    "That is |I - T|^2 at its smallest; g is the product of I - T with I.": (
        lambda length_I, length_T: (length_I - length_T) ** 2
    ),
    "By Cauchy and Schwarz the product of I and T is at most |I| |T|, not |T|^2.": (
        lambda length_I, length_T: length_I**2 - length_T**2
    ),
    "It is 0 only if both are of the same length.": lambda length_I, length_T: 0.0,
    "The sign: it is I - T, not T - I.": (
        lambda length_I, length_T: length_I * (length_T - length_I)
    ),
}


@exercise("08.3", SMALLEST, {"it gives": lambda length_I, length_T: 1 - length_T})
def smallest_gradient(answer):
    def right(length_I, length_T):
        return length_I * (length_I - length_T)

    cases = [(3.0, 2.0), (2.0, 2.0), (2.0, 3.0), (5.0, 0.5), (1.5, 0.25), (0.5, 4.0)]
    return answers.function(answer, right, cases, SMALLEST)


def grid_gradient(unit="", lattice="right", sign=1.0, swapped=False, summed=False, above=True):
    """The backward pass for the grid as a learner may write it, with one mistake or another."""

    def grad_grid(dV, input, grid, align_corners=False):
        C, H, W = input.shape[1:]
        by_corners = align_corners != (unit == "mixed")
        per_x, per_y = ((W - 1) / 2, (H - 1) / 2) if by_corners else (W / 2, H / 2)
        shift = 0 if align_corners else 0.5
        sizes = ((W - 1) / 2, (H - 1) / 2) if align_corners else (W / 2, H / 2)
        dG = np.zeros_like(grid)
        dV = dV if above else np.ones_like(dV)
        for number, image in enumerate(input):
            x = ((grid[number, ..., 0] + 1) * sizes[0] - shift).ravel()
            y = ((grid[number, ..., 1] + 1) * sizes[1] - shift).ravel()
            from_above = dV[number].reshape(C, -1)
            if summed:
                image, from_above = image.sum(axis=0)[None], from_above.sum(axis=0)[None]
            if lattice == "printed":
                along_x = reference.eq07_grad_xs_as_printed(image, x, y)
                along_y = reference.eq07_grad_ys_as_printed(image, x, y)
            else:
                along_x = reference.eq07_grad_xs(image, x, y, lattice)
                along_y = reference.eq07_grad_ys(image, x, y, lattice)
            factors = {"missing": (1, 1), "exchanged": (per_y, per_x)}.get(unit, (per_x, per_y))
            dx = (from_above * along_x).sum(axis=0) * factors[0]
            dy = (from_above * along_y).sum(axis=0) * factors[1]
            pair = (dy, dx) if swapped else (dx, dy)
            dG[number] = sign * np.stack(pair, axis=-1).reshape(grid.shape[1:])
        return dG

    return grad_grid


@exercise(
    "08.4",
    {
        "[unit-factor-missing]": grid_gradient(unit="missing"),
        "[unit-factor-wrong-axis]": grid_gradient(unit="exchanged"),
        "[align-corners-mixed]": grid_gradient(unit="mixed"),
        "[printed-eq-7]": grid_gradient(lattice="printed"),
        "[left-derivative]": grid_gradient(lattice="left"),
        "[mean-derivative]": grid_gradient(lattice="mean"),
        "[sign]": grid_gradient(sign=-1.0),
        "[xy-swapped]": grid_gradient(swapped=True),
        "[channels-summed-first]": grid_gradient(summed=True),
        "[cotangent-ignored]": grid_gradient(above=False),
    },
    {
        "the shape is": lambda dV, input, grid: grid[0],
        "IndexError": lambda dV, input, grid: grid[99],
    },
)
def grad_grid(answer):
    return verify(answer, against="grid_sample", form="backward", wrt="grid")
