"""Chapter 3, Forward and inverse mapping."""

import numpy as np

from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise


def moving(right, down):
    return np.array([[1.0, 0, -right], [0, 1, -down]])


MOVES = {
    "The picture moves the other way: where the grid goes right, the picture goes left.": (
        lambda right, down: moving(-right, -down)
    ),
    "Right and down are exchanged: the first row of theta makes x.": lambda right, down: moving(
        down, right
    ),
    "Right and down are exchanged, and the picture moves the other way.": (
        lambda right, down: moving(-down, -right)
    ),
    "Down has the wrong sign: y grows downwards, as x grows to the right.": (
        lambda right, down: moving(right, -down)
    ),
    "Right has the wrong sign; down is as it should be.": lambda right, down: moving(-right, down),
}


@exercise(
    "03.1",
    MOVES,
    {
        "want an array of (2, 3)": lambda right, down: np.array([-right, -down]),
        "at index (0, 0)": lambda right, down: np.array([[0, 0, -right], [0, 0, -down]]),
    },
)
def theta_that_moves(answer):
    cases = [(1, 0), (0, 1), (2, -3), (0.5, 1.75), (-4, 2)]
    return answers.function(answer, moving, cases, MOVES)


def of_box(left, top, width, height, W_out, H_out):
    a, b = width / W_out, height / H_out
    return np.array([[a, 0, left + a / 2 - 0.5], [0, b, top + b / 2 - 0.5]])


def from_centre_to_centre(left, top, width, height, W_out, H_out):
    a, b = ((size - 1) / (out - 1) for size, out in ((width, W_out), (height, H_out)))
    return np.array([[a, 0, left], [0, b, top]])


BOXES = {
    "It shows the box in the wrong direction: that is the way from the input to the output; theta "
    "leads from the output to the input.": lambda left, top, width, height, W_out, H_out: inverse(
        of_box(left, top, width, height, W_out, H_out)
    ),
    "The steps are right, and so would be the start if pixels were points: the half pixels of the "
    "edges are missing.": lambda left, top, width, height, W_out, H_out: np.array(
        [[width / W_out, 0, left], [0, height / H_out, top]]
    ),
    "The centres of the outermost pixels are brought together, not the edges: width - 1 over "
    "W_out - 1.": from_centre_to_centre,
    "Width and height of the output are exchanged.": (
        lambda left, top, width, height, W_out, H_out: of_box(
            left, top, width, height, H_out, W_out
        )
    ),
    "The steps are upside down: a small box has small steps, width over W_out.": (
        lambda left, top, width, height, W_out, H_out: of_box(
            left, top, W_out, H_out, width, height
        )
    ),
    "The half pixel of the input is there, that of the output is not: its left edge is at minus "
    "one half, too.": lambda left, top, width, height, W_out, H_out: np.array(
        [[width / W_out, 0, left - 0.5], [0, height / H_out, top - 0.5]]
    ),
    "Left and top are exchanged: left belongs to x, the first row.": (
        lambda left, top, width, height, W_out, H_out: of_box(
            top, left, width, height, W_out, H_out
        )
    ),
    "(left, top) is taken for the middle of the box.": (
        lambda left, top, width, height, W_out, H_out: of_box(
            left - width / 2, top - height / 2, width, height, W_out, H_out
        )
    ),
}


def inverse(theta):
    return np.linalg.inv(np.vstack([theta, [0, 0, 1]]))[:2]


@exercise(
    "03.2",
    BOXES,
    {
        "want an array of (2, 3)": lambda left, top, width, height, W_out, H_out: width / W_out,
        "which is not right": lambda *box: 2 * of_box(*box),
    },
)
def theta_of_box(answer):
    cases = [(10, 3, 4, 6, 8, 9), (0, 0, 4, 4, 4, 4), (2, 5, 12, 7, 6, 28), (-3, 1, 5, 3, 7, 2)]
    return answers.function(answer, of_box, cases, BOXES)


def landing(forward, H, W, rounded=lambda x: np.floor(x + 0.5), turned=False):
    """Where each pixel arrives: the rows and columns, whole numbers, inside or not."""
    y, x = np.indices((H, W)).reshape(2, -1)
    x, y = forward @ [*((y, x) if turned else (x, y)), np.ones(H * W)]
    return rounded(y).astype(int), rounded(x).astype(int)


def arrivals(forward, H, W, **mistake):
    n, m = landing(forward, H, W, **mistake)
    inside = (m >= 0) & (m < W) & (n >= 0) & (n < H)
    arrived = np.zeros((H, W), int)
    np.add.at(arrived, (n[inside], m[inside]), 1)
    return arrived


def wrapped(forward, H, W):
    """What happens if only what is too large is caught: index -1 is the last row or column."""
    n, m = landing(forward, H, W)
    inside = (m >= -W) & (m < W) & (n >= -H) & (n < H)
    arrived = np.zeros((H, W), int)
    np.add.at(arrived, (n[inside], m[inside]), 1)
    return arrived


def clipped(forward, H, W):
    n, m = landing(forward, H, W)
    arrived = np.zeros((H, W), int)
    np.add.at(arrived, (np.clip(n, 0, H - 1), np.clip(m, 0, W - 1)), 1)
    return arrived


def rows_and_columns_exchanged(forward, H, W):
    n, m = landing(forward, H, W)
    inside = (m >= 0) & (m < H) & (n >= 0) & (n < W)
    arrived = np.zeros((H, W), int)
    np.add.at(arrived, (m[inside], n[inside]), 1)
    return arrived


ARRIVALS = {
    "Where several arrive you count one: arrived[n, m] += 1 writes every place once. np.add.at "
    "adds for each.": lambda forward, H, W: np.minimum(arrivals(forward, H, W), 1),
    "Arrays are [row, column], and x is the column: arrived[n, m] with n from y.": (
        rows_and_columns_exchanged
    ),
    "The pixels that are sent are taken as (row, column); forward wants (x, y).": (
        lambda forward, H, W: arrivals(forward, H, W, turned=True)
    ),
    "A row or column of -1 is outside; to Python it is the last one.": wrapped,
    "What falls outside is lost; yours ends at the border.": clipped,
    "That is floor; the nearest pixel is wanted. Add one half before.": (
        lambda forward, H, W: arrivals(forward, H, W, rounded=np.floor)
    ),
    "int() cuts toward 0, so that -0.7 + 0.5 ends at 0 as it should, but -1.2 + 0.5 does, too.": (
        lambda forward, H, W: arrivals(forward, H, W, rounded=lambda x: np.trunc(x + 0.5))
    ),
    "Halves go to the even pixel, as np.round does it; here they are rounded up.": (
        lambda forward, H, W: arrivals(forward, H, W, rounded=np.round)
    ),
    "They are sent the other way: that is the inverse of forward.": (
        lambda forward, H, W: arrivals(inverse(forward), H, W)
    ),
}


@exercise(
    "03.3",
    ARRIVALS,
    {
        "want an array of (5, 7)": lambda forward, H, W: 1,
        "which is not right": lambda forward, H, W: 2 * arrivals(forward, H, W),
        "raises IndexError": lambda forward, H, W: np.zeros((H, W))[landing(forward, H, W)],
    },
)
def counting(answer):
    # Binary fractions: no sum is rounded, so what is a half is one in every order of adding.
    turn = np.array([[0.75, -0.625, 2.3125], [0.625, 0.75, -1.9375]])
    small = np.array([[0.5, 0, -1], [0, 0.5, 1.5]])  # with halves
    large = np.array([[1.625, 0.3125, -1.71875], [-0.1875, 1.375, -2.40625]])
    cases = [(forward, H, W) for forward in (turn, small, large) for H, W in ((5, 7), (6, 4))]
    return answers.function(answer, arrivals, cases, ARRIVALS)
