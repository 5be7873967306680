"""Appendix D, For instructors: what the worked example shows, and what it would hide."""

from collections.abc import Callable

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])


def read(U: np.ndarray, x: float, y: float) -> float:
    """The image at one point in pixels, by Eq. (5)."""
    return reference.eq03_sample(
        U[None], np.array([x]), np.array([y]), reference.eq05_bilinear_kernel
    )[0, 0]


def source(theta: np.ndarray, target: tuple[float, float]) -> np.ndarray:
    """The point (x, y) that a pixel of the output is read from, by Eq. (1)."""
    return theta @ [*target, 1]


def mirrored(U: np.ndarray, x: float, y: float) -> float:
    return read(U, 2 * np.floor(x) + 1 - x, 2 * np.floor(y) + 1 - y)


def inverse(theta: np.ndarray, target: tuple[float, float]) -> np.ndarray:
    return np.linalg.solve(theta[:, :2], target - theta[:, 2])


# Ways to get V at a pixel of the output wrong, each V(U, theta, target).
MISTAKES: dict[str, Callable[[np.ndarray, np.ndarray, tuple[float, float]], float]] = {
    "x and y exchanged where the image is read": lambda U, theta, target: read(
        U, *source(theta, target)[::-1]
    ),
    "x and y of the target exchanged": lambda U, theta, target: read(
        U, *source(theta, target[::-1])
    ),
    "the third column of theta forgotten": lambda U, theta, target: read(
        U, *(theta[:, :2] @ target)
    ),
    "theta used from input to output": lambda U, theta, target: read(U, *inverse(theta, target)),
    "y counted from the bottom": lambda U, theta, target: read(U[::-1], *source(theta, target)),
    "pixels counted from 1": lambda U, theta, target: read(U, *(source(theta, target) - 1)),
    "a and 1 - a exchanged": lambda U, theta, target: mirrored(U, *source(theta, target)),
    "one quarter for each of the four pixels": lambda U, theta, target: read(
        U, *(np.floor(source(theta, target)) + 0.5)
    ),
    "the nearest pixel": lambda U, theta, target: read(U, *np.floor(source(theta, target) + 0.5)),
}


def hidden(U: np.ndarray, theta: np.ndarray, target: tuple[float, float]) -> list[str]:
    """The mistakes that give the right V at this pixel of the output, and stay unseen there."""
    right = read(U, *source(theta, target))
    return [
        words
        for words, mistake in MISTAKES.items()
        if np.isclose(mistake(U, theta, target), right, rtol=0, atol=1e-9)
    ]


def on_lattice(theta: np.ndarray, target: tuple[float, float]) -> bool:
    """Whether the pixel is read at a whole x or a whole y, where the gradient has a kink."""
    point = source(theta, target)
    return bool((point == np.round(point)).any())


@exercise(
    "D.1",
    {
        "That is the worked example, (1, 1); another one is asked for.": lambda: (1, 1),
        "That is the companion, (2, 0); another one is asked for.": lambda: (2, 0),
    },
    {
        "stays hidden: x and y of the target exchanged": lambda: (2, 2),
        "x = 4, y = 0 is no pixel": lambda: (4, 0),
        "want two whole numbers": lambda: 1,
        "stays hidden: x and y exchanged where the image is read": lambda: (0, 3),
        "on the lattice": lambda: (1, 0),
    },
)
def telling_pixel(answer):
    target = answers.as_array(answer())
    if answers.unlike(target, np.zeros(2)) or not np.array_equal(target, np.round(target)):
        return "It returns something else than a pixel; want two whole numbers, x and y."
    x, y = (int(number) for number in target)
    if not (0 <= x < 4 and 0 <= y < 4):
        return f"x = {x}, y = {y} is no pixel of an output of 4 x 4."
    for point, name in (((1, 1), "worked example"), ((2, 0), "companion")):
        if (x, y) == point:
            return f"That is the {name}, {point}; another one is asked for."
    unseen = hidden(U, theta, (x, y))
    if unseen:
        return f"At the pixel ({x}, {y}) something stays hidden: {'; '.join(unseen)}."
    if on_lattice(theta, (x, y)):
        return (
            f"The pixel ({x}, {y}) is read on the lattice, where V has two slopes; see chapter 8."
        )
    return None


# What three students made of the companion.
STUDENTS = (
    "x and y of the target exchanged",
    "pixels counted from 1",
    "y counted from the bottom",
)


def students_answers() -> list[float]:
    """The V at the pixel (2, 0) by three students, each with one mistake."""
    return [float(MISTAKES[words](U, theta, (2, 0))) for words in STUDENTS]


RIGHT_NUMBERS = [list(MISTAKES).index(words) for words in STUDENTS]
COUNTED = {
    "The mistakes are counted from 0, as everything here.": lambda: np.add(RIGHT_NUMBERS, 1),
    "The students are in another order.": lambda: RIGHT_NUMBERS[::-1],
    "The first student exchanged x and y elsewhere.": lambda: [0, *RIGHT_NUMBERS[1:]],
}


@exercise("D.2", COUNTED, {"which is not right": lambda: [4, 4, 4]})
def three_mistakes(answer):
    return answers.array(answer, RIGHT_NUMBERS, COUNTED)
