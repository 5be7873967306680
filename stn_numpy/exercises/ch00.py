"""Chapter 0, Start here."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])


def read(x: float, y: float, image: np.ndarray = U) -> float:
    return reference.eq03_sample(
        image[None], np.array([x]), np.array([y]), reference.eq05_bilinear_kernel
    )[0, 0]


COMPANION = {
    "That is the nearest pixel. Four pixels count, each by how near it is.": lambda: 8,
    "x and y are exchanged where the image is read: x is the column, y the row.": lambda: read(
        1.75, 2.25
    ),
    "x and y are exchanged in the target: (2, 0) is two to the right, none down.": lambda: read(
        *(theta @ [0, 2, 1])
    ),
    "The third column of theta is missing: it is multiplied by 1, at every pixel.": lambda: read(
        *(theta @ [2, 0, 0])
    ),
    "Four pixels count, but not one quarter each: the nearer, the more.": lambda: (
        0.25 * (5 + 2 + 8 + 1)
    ),
}


@exercise("00.1", COMPANION, {"It returns nothing": lambda: None, "It is not 5.5": lambda: 5.5})
def value_at_two_zero(answer):
    return answers.number(answer, read(*(theta @ [2, 0, 1])), COMPANION)


@exercise(
    "00.2",
    {
        "For this theta the claim holds": lambda: np.array([[1, 0, 0], [0, -1, 3]]),
        "want an array of (2, 3)": lambda: np.eye(3),
        "Its numbers have to be finite": lambda: np.full((2, 3), np.nan),
    },
)
def theta_that_breaks_the_claim(answer):
    mine = answers.as_array(answer())
    if problem := answers.unlike(mine, theta):
        return f"It returns {problem}; want an array of (2, 3)."
    if not np.isfinite(mine).all():
        return "Its numbers have to be finite."
    x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
    V = [read(x, y, U + 1) for x, y in zip(*reference.eq01_affine_grid(mine, x_t, y_t))]
    if min(V) >= 1:
        return (
            f"For this theta the claim holds: the darkest pixel of the output is {min(V):.6g}. "
            "Where are values smaller than those of all pixels?"
        )
    return None
