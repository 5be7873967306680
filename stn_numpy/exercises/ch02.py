"""Chapter 2, Affine geometry."""

import numpy as np

from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify


def with_third(theta: np.ndarray, third) -> np.ndarray:
    """Theta with another third column."""
    return np.column_stack([theta[:, :2], third])


def some_thetas(rng: np.random.Generator) -> list[np.ndarray]:
    """The theta of the book, and some without any symmetry; none is near to being singular."""
    book = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])
    known = np.array([[1.5, 0.25, -2], [0.75, -1.25, 3]]), np.array([[0.5, 0, 2], [0, 0.75, -1]])
    random = np.array([[2, 1, 0], [-0.5, 1.5, 0]]) + rng.uniform(-0.4, 0.4, (3, 2, 3))
    return [book, *known, *random.round(3)]


def theta_through(columns, target, source):
    return np.column_stack([columns, source - columns @ target])


THROUGH = {
    "The third column is the source itself; that is right only for the pixel (0, 0), from which no "
    "step is taken.": lambda columns, target, source: np.column_stack([columns, source]),
    "The sign: the steps to the pixel are in the source already, so they have to be subtracted.": (
        lambda columns, target, source: np.column_stack([columns, source + columns @ target])
    ),
    "The pixel is subtracted as it is; first the two columns make steps in the input of it.": (
        lambda columns, target, source: np.column_stack([columns, source - target])
    ),
    "The rows are taken for columns where the steps are made: x_t counts steps of the first "
    "column.": lambda columns, target, source: np.column_stack(
        [columns, source - target @ columns]
    ),
    "The pixel is taken as (row, column); it is (x, y).": lambda columns, target, source: (
        theta_through(columns, target[::-1], source)
    ),
    "The source is taken as (y, x); it is (x, y).": lambda columns, target, source: theta_through(
        columns, target, source[::-1]
    ),
    "The way back is taken: the target is read at the source, not the source at the target.": (
        lambda columns, target, source: theta_through(columns, source, target)
    ),
}


@exercise(
    "02.1",
    THROUGH,
    {
        "want an array of (2, 3)": lambda columns, target, source: source - columns @ target,
        "which is not right": lambda columns, target, source: (
            2 * theta_through(columns, target, source)
        ),
    },
)
def through(answer):
    rng = np.random.default_rng(201)
    pairs = [((2, 0), (2.25, 1.75)), ((1, 3), (0.5, -1)), ((4, 1), (3, 2.5)), ((0, 2), (5, 4))]
    cases = [
        (theta[:, :2], np.array(target, float), np.array(source, float))
        for theta in some_thetas(rng)
        for target, source in pairs
    ]
    return answers.function(answer, theta_through, cases, THROUGH)


def counted_from_one(theta):
    return with_third(theta, theta[:, 2] + 1 - theta[:, 0] - theta[:, 1])


ONES = {
    "The sources are counted from 1, but the targets still from 0.": lambda theta: with_third(
        theta, theta[:, 2] + 1
    ),
    "The targets are counted from 1, but the sources still from 0.": lambda theta: with_third(
        theta, theta[:, 2] - theta[:, 0] - theta[:, 1]
    ),
    "That is the way back, from counting from 1 to counting from 0.": lambda theta: with_third(
        theta, theta[:, 2] - 1 + theta[:, 0] + theta[:, 1]
    ),
    "The same numbers move pixels elsewhere if these are counted from 1: (2, 2) has to go to the "
    "same place as (1, 1) before.": lambda theta: theta.copy(),
    "Rows and columns are exchanged: x_s = x_t - 1 enters through the first *column*.": (
        lambda theta: with_third(theta, theta[:, 2] + 1 - theta[0, :2] - theta[1, :2])
    ),
    "The first two columns do not change: a step is a step, wherever counting begins.": (
        lambda theta: theta + 1
    ),
    "The sign of the steps: a target counted from 1 is one step of each kind too far.": (
        lambda theta: with_third(theta, theta[:, 2] + 1 + theta[:, 0] + theta[:, 1])
    ),
}


@exercise("02.2", ONES, {"want an array of (2, 3)": lambda theta: theta[:, 2] + 1})
def from_one(answer):
    cases = [(theta,) for theta in some_thetas(np.random.default_rng(202))]
    return answers.function(answer, counted_from_one, cases, ONES)


def inverted(theta):
    return np.linalg.inv(np.vstack([theta, [0, 0, 1]]))[:2]


def without_signs(theta):
    (a, b), (c, d) = theta[:, :2]
    linear = np.array([[d, b], [c, a]]) / (a * d - b * c)
    return np.column_stack([linear, -linear @ theta[:, 2]])


INVERSES = {
    "The first two columns are right. The third is only its negative: it has to go through the "
    "inverse of the first two as well.": lambda theta: with_third(inverted(theta), -theta[:, 2]),
    "The first two columns are right, and the third has the wrong sign.": lambda theta: with_third(
        inverted(theta), -inverted(theta)[:, 2]
    ),
    "The first two columns are right. The third is that of theta itself.": lambda theta: with_third(
        inverted(theta), theta[:, 2]
    ),
    "The transpose is the inverse for turns alone, not where lengths change.": lambda theta: (
        np.column_stack([theta[:, :2].T, -theta[:, :2].T @ theta[:, 2]])
    ),
    "The signs off the diagonal: the inverse of [[a, b], [c, d]] has -b and -c there.": (
        without_signs
    ),
    "The division by the determinant is missing.": lambda theta: (
        inverted(theta) * np.linalg.det(theta[:, :2])
    ),
}


@exercise(
    "02.3",
    INVERSES,
    {
        "want an array of (2, 3)": lambda theta: np.linalg.inv(np.vstack([theta, [0, 0, 1]])),
        "LinAlgError": lambda theta: np.linalg.inv(theta),
        "which is not right": lambda theta: np.linalg.pinv(theta).T,
    },
)
def inverse(answer):
    cases = [(theta,) for theta in some_thetas(np.random.default_rng(203))]
    return answers.function(answer, inverted, cases, INVERSES)


def attention(s, t_x, t_y):
    return np.stack([s, t_x, t_y], axis=1)


@exercise(
    "02.4",
    {
        "s gets only the gradient of theta_11": lambda dA, theta: attention(
            dA[:, 0, 0], dA[:, 0, 2], dA[:, 1, 2]
        ),
        "s gets only the gradient of theta_22": lambda dA, theta: attention(
            dA[:, 1, 1], dA[:, 0, 2], dA[:, 1, 2]
        ),
        "s gets the mean of its two gradients": lambda dA, theta: attention(
            (dA[:, 0, 0] + dA[:, 1, 1]) / 2, dA[:, 0, 2], dA[:, 1, 2]
        ),
        "t_x and t_y are swapped": lambda dA, theta: attention(
            dA[:, 0, 0] + dA[:, 1, 1], dA[:, 1, 2], dA[:, 0, 2]
        ),
        "the order is (t_x, t_y, s)": lambda dA, theta: attention(
            dA[:, 0, 2], dA[:, 1, 2], dA[:, 0, 0] + dA[:, 1, 1]
        ),
    },
    {
        "no mistake known here": lambda dA, theta: attention(
            dA[:, 0].sum(axis=1), dA[:, 0, 2], dA[:, 1, 2]
        ),
        "sign": lambda dA, theta: -attention(dA[:, 0, 0] + dA[:, 1, 1], dA[:, 0, 2], dA[:, 1, 2]),
        "the shape is (2, 3)": lambda dA, theta: dA.sum(axis=0),
    },
)
def backward_of_attention(answer):
    return verify(answer, "attention_matrix", form="backward")
