"""Chapter 6, Bilinear sampling."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise


def right_weights(x: float, W: int) -> np.ndarray:
    return np.array([reference.eq05_bilinear_kernel(x - m) for m in range(W)])


WEIGHTS = {
    "Some weights are negative: pixels further than 1 away do not count at all.": (
        lambda x, W: 1 - np.abs(x - np.arange(W))
    ),
    "The columns are counted from 1; here the first one is 0.": (
        lambda x, W: right_weights(x - 1, W)
    ),
    "a and 1 - a are exchanged: the nearer pixel has to count more.": (
        lambda x, W: right_weights(2 * np.floor(x) + 1 - x, W)
    ),
    "Every weight is squared; those along x alone are asked for.": (
        lambda x, W: right_weights(x, W) ** 2
    ),
    "That is the kernel of Eq. (4), which takes the nearest pixel alone.": (
        lambda x, W: (np.floor(x + 0.5) == np.arange(W)).astype(float)
    ),
    "Outside of the image no pixel is made up for: the weights there add up to less than 1.": (
        lambda x, W: right_weights(min(max(x, 0), W - 1), W)
    ),
}


@exercise("06.1", WEIGHTS, {"want an array of (4,)": lambda x, W: 1.0})
def row_weights(answer):
    rng = np.random.default_rng(601)
    cases = [(2.25, 4), (0.0, 3), (-0.5, 4), (3.75, 4), (7.5, 5)]
    cases += [(float(rng.uniform(-2, W + 1)), W) for W in (1, 2, 5, 8, 6, 7)]
    return answers.function(answer, right_weights, cases, WEIGHTS)


def read(U: np.ndarray, x: float, y: float) -> float:
    return reference.eq03_sample(
        U[None], np.array([x]), np.array([y]), reference.eq05_bilinear_kernel
    )[0, 0]


def with_four_taps(pixel, turned=False, rounded=np.floor):
    """Bilinear sampling that gets U[n, m] from pixel(U, n, m), as a learner may write it."""

    def sample(U, x, y):
        n, m = int(rounded(y)), int(rounded(x))
        a, b = x - m, y - n
        if turned:
            a, b = 1 - a, 1 - b
        top = (1 - a) * pixel(U, n, m) + a * pixel(U, n, m + 1)
        bottom = (1 - a) * pixel(U, n + 1, m) + a * pixel(U, n + 1, m + 1)
        return top + b * (bottom - top)

    return sample


def zero_outside(U, n, m):
    return U[n, m] if 0 <= n < U.shape[0] and 0 <= m < U.shape[1] else 0.0


def wrapped(U, n, m):
    """What happens if only what is too large is caught: U[-1] is the last row."""
    return U[n, m] if -U.shape[0] <= n < U.shape[0] and -U.shape[1] <= m < U.shape[1] else 0.0


def at_the_border(U, n, m):
    return U[np.clip(n, 0, U.shape[0] - 1), np.clip(m, 0, U.shape[1] - 1)]


def clipped_first(U, x, y):
    """The point is moved into the image before the weights are made."""
    return read(U, min(max(x, 0), U.shape[1] - 1), min(max(y, 0), U.shape[0] - 1))


BILINEAR = {
    "x and y are exchanged: x is the column, y the row of U[row, column].": (
        lambda U, x, y: read(U, y, x)
    ),
    "A row or column of -1 is outside; U[-1] in Python is the last one.": with_four_taps(wrapped),
    "Outside you take the pixels at the border; there, everything is 0.": (
        with_four_taps(at_the_border)
    ),
    "a and 1 - a are exchanged: the nearer pixel has to count more.": (
        with_four_taps(zero_outside, turned=True)
    ),
    "Where a > 1/2 the cell is the wrong one: its corner is the floor of x, not x rounded.": (
        with_four_taps(zero_outside, rounded=np.round)
    ),
    "int() cuts toward 0; the floor of -0.5 is -1.": (
        with_four_taps(zero_outside, rounded=np.trunc)
    ),
    "That is the nearest pixel; four pixels count, each by how near it is.": (
        lambda U, x, y: zero_outside(U, int(np.floor(y + 0.5)), int(np.floor(x + 0.5)))
    ),
    "Only the pixels whose four neighbours are all inside are right: of a cell at the border, the "
    "pixels inside still count.": (
        lambda U, x, y: (
            read(U, x, y) if 0 <= x < U.shape[1] - 1 and 0 <= y < U.shape[0] - 1 else 0.0
        )
    ),
}


@exercise(
    "06.2",
    BILINEAR,
    {
        "you take the pixels at the border": clipped_first,
        "raises IndexError": with_four_taps(lambda U, n, m: U[n, m]),
        "not right": lambda U, x, y: 2 * read(U, x, y),
        "it returns nothing": lambda U, x, y: None,
    },
)
def bilinear(answer):
    rng = np.random.default_rng(602)
    cases = []
    for H, W in ((4, 4), (3, 5), (6, 2)):
        U = rng.integers(1, 10, (H, W)).astype(float)
        whole = rng.integers((0, 0), (W, H), (2, 2)).astype(float)
        between = rng.uniform((0, 0), (W - 1, H - 1), (4, 2)).round(3)
        around = rng.uniform((-2, -2), (W + 1, H + 1), (8, 2)).round(3)
        cases += [(U, float(x), float(y)) for x, y in (*between, *whole, *around)]
    return answers.function(answer, read, cases, BILINEAR)


@exercise(
    "06.3",
    mistakes={
        "add up to 1": lambda: (1.5, 1.5),
        "add up to 0.5": lambda: (3.5, 1.0),
        "want two numbers": lambda: 3.5,
        "add up to 0": lambda: (5, 5),
    },
)
def point_with_sum_three_eighths(answer):
    point = answers.as_array(answer())
    if answers.unlike(point, np.zeros(2)):
        return "It returns something else than a pair; want two numbers, x and y."
    sum_of_weights = np.prod([right_weights(float(x), 4).sum() for x in point])
    if abs(sum_of_weights - 0.375) > 1e-9:
        return f"For this point the weights add up to {sum_of_weights:.6g}."
    return None


SQUARES = {
    "The sign: a straight line between two squares lies above them.": lambda a: a * a - a,
    "That is what is read between 0 and 1, not yet minus the truth.": lambda a: a,
    "It is 0 at the pixels themselves, a = 0 and a = 1; 1/4 is the largest.": lambda a: 0.25,
}


@exercise("06.4", SQUARES, {"For a = 0.25 it gives 0.0625": lambda a: a * a})
def too_large_by(answer):
    cases = [(a,) for a in (0.25, 0.5, 0.8, 0.0, 1.0, 0.1)]
    return answers.function(answer, lambda a: a * (1 - a), cases, SQUARES)
