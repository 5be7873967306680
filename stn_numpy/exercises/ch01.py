"""Chapter 1, Why warp?"""

import numpy as np

from stn_numpy import functional as F
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise

KINDS = ("invariant", "equivariant", "neither")

FUNCTIONS = {
    "sort": np.sort,
    "square": np.square,
    "difference": lambda row: row - np.roll(row, 1),
    "running sum": np.cumsum,
    "reverse": lambda row: row[::-1],
}


def kind_of(f) -> str:
    """What f is for np.roll(row, 1), seen on a row in which no symmetry hides anything."""
    row = np.array([4.0, 6, 8, 1, 3])
    moved, still = f(np.roll(row, 1)), f(row)
    if np.array_equal(moved, still):
        return "invariant"
    return "equivariant" if np.array_equal(moved, np.roll(still, 1)) else "neither"


RIGHT_KINDS = {name: kind_of(f) for name, f in FUNCTIONS.items()}
OTHER_WAY = (
    "reverse: what it gives does move, but the other way; compare it with T f(x), letter by letter."
)
EXCHANGED = "The two words are exchanged: invariant is f(Tx) = f(x), equivariant is f(Tx) = T f(x)."
EXCHANGE = {"invariant": "equivariant", "equivariant": "invariant", "neither": "neither"}


@exercise(
    "01.1",
    {
        OTHER_WAY: lambda: RIGHT_KINDS | {"reverse": "equivariant"},
        EXCHANGED: lambda: {name: EXCHANGE[kind] for name, kind in RIGHT_KINDS.items()},
        "running sum is not what you say": lambda: RIGHT_KINDS | {"running sum": "equivariant"},
    },
    {
        "want a dict": lambda: list(RIGHT_KINDS.values()),
        "There is no word for square": lambda: {"sort": "invariant"},
        "is 'constant'": lambda: RIGHT_KINDS | {"sort": "constant"},
        "sort, difference": lambda: RIGHT_KINDS | {"sort": "neither", "difference": "neither"},
    },
)
def kinds(answer):
    mine = answer()
    if not isinstance(mine, dict):
        return f"It returns {type(mine).__name__}; want a dict with a word for each name."
    for name in FUNCTIONS:
        if name not in mine:
            return f"There is no word for {name}."
        if mine[name] not in KINDS:
            return f"The word for {name} is {mine[name]!r}; want one of {', '.join(KINDS)}."
    mine = {name: mine[name] for name in FUNCTIONS}
    if mine == {name: EXCHANGE[kind] for name, kind in RIGHT_KINDS.items()}:
        return EXCHANGED
    wrong = [name for name in FUNCTIONS if mine[name] != RIGHT_KINDS[name]]
    if wrong == ["reverse"] and mine["reverse"] == "equivariant":
        return OTHER_WAY
    if wrong:
        is_ = "is" if len(wrong) == 1 else "are"
        return (
            f"{', '.join(wrong)} {is_} not what you say. Print f(np.roll(row, 1)), f(row) and "
            "np.roll(f(row), 1), and see which are the same."
        )
    return None


def moved(image: np.ndarray) -> np.ndarray:
    return np.pad(image, ((0, 0), (1, 0)))[:, :-1]


def pooled(image: np.ndarray) -> np.ndarray:
    return F.max_pool2d(image[None, None], 2).data[0, 0]


def bright(*columns: int) -> np.ndarray:
    image = np.zeros((4, 4))
    image[:, list(columns)] = 1
    return image


@exercise(
    "01.2",
    {
        "0 of the four numbers change": lambda: np.zeros((4, 4)),
        "The last column is not 0": lambda: bright(1, 3),
        "want an array of (4, 4)": lambda: bright(1)[:2],
    },
    {
        "2 of the four numbers change": lambda: np.vstack([bright(1)[:2], bright()[:2]]),
        "Its numbers have to be finite": lambda: bright(1) / 0.0,
    },
)
def image_that_changes_everywhere(answer):
    image = answers.as_array(answer())
    if problem := answers.unlike(image, np.zeros((4, 4))):
        return f"It returns {problem}; want an array of (4, 4)."
    if not np.isfinite(image).all():
        return "Its numbers have to be finite."
    if image[:, 3].any():
        return "The last column is not 0, so ink leaves the image."
    changed = int(np.count_nonzero(pooled(image) != pooled(moved(image))))
    if changed < 4:
        return f"For this image {changed} of the four numbers change. Where does ink leave a cell?"
    return None


def smallest(k: int) -> int:
    p = 0
    while 2**p < 2 * k:
        p += 1
    return p


POOLINGS = {
    "With so many the cell is at least k wide, but where it is exactly k no place is left from "
    "which the dot stays.": lambda k: int(np.ceil(np.log2(k))),
    "That is how wide the cell has to be; each pooling doubles its width.": lambda k: 2 * k,
    "It is too few where k is no power of 2: round up.": lambda k: 1 + int(np.log2(k)),
    "A number of poolings is whole: round up.": lambda k: 1 + float(np.log2(k)),
    "One too many where exactly half of the places notice nothing; that is enough.": (
        lambda k: 2 + int(np.log2(k))
    ),
    "With that, one more than the smallest is always taken.": lambda k: smallest(k) + 1,
}


@exercise("01.3", POOLINGS, {"which is not right": lambda k: 3})
def poolings(answer):
    return answers.function(answer, smallest, [(k,) for k in (*range(1, 18), 63, 64, 65)], POOLINGS)


def undoing(dx: float, dy: float) -> np.ndarray:
    return np.array([[1.0, 0, dx], [0, 1, dy]])


THETAS = {
    "The sign: that moves the digit as far again. Theta says where to look, and the digit is to "
    "the right of where it should be.": lambda dx, dy: undoing(-dx, -dy),
    "x and y are exchanged: the first row says where in x to read.": lambda dx, dy: undoing(dy, dx),
    "The sign of x is wrong, that of y is right.": lambda dx, dy: undoing(-dx, dy),
    "The sign of y is wrong, that of x is right.": lambda dx, dy: undoing(dx, -dy),
    "The left two columns make every pixel read the same point; they should change nothing, so "
    "they are the identity.": lambda dx, dy: undoing(dx, dy) - np.eye(2, 3),
    "The shift belongs into the third column, which is multiplied by 1 at every pixel.": (
        lambda dx, dy: np.array([[dx, 0, 0], [0, dy, 0]], float)
    ),
}


@exercise(
    "01.4",
    THETAS,
    {
        "want an array of (2, 3)": lambda dx, dy: (dx, dy),
        "which is not right": lambda dx, dy: 2 * undoing(dx, dy),
    },
)
def theta_that_undoes(answer):
    def mine(dx, dy):
        return answers.as_array(answer(dx, dy))

    cases = [(2, 0), (3, 1), (0, -2), (-4, 5), (1.5, -0.25)]
    return answers.function(mine, undoing, cases, THETAS)
