"""What a mistake is, and the mistakes that every derivation invites."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

AFFINE = "chapter 2, Affine geometry"
COORDINATES = "chapter 4, Coordinates"
KERNELS = "chapter 5, Kernels"
BILINEAR = "chapter 6, Bilinear sampling"
IMAGE = "chapter 7, Backward I: the image"
GRID = "chapter 8, Backward II: the grid"
THETA = "chapter 9, Backward III: theta"
CHECKING = "chapter 10, Gradient checking"
AUTOGRAD = "appendix A, The autograd core"
CONVOLUTION = "appendix B, Convolution and pooling backward"


@dataclass(frozen=True)
class Mistake:
    """One elementary mistake.

    key: what it is called among the mistakes of one operation; several keys may be ways to make
    the same mistake, and then share name (the identifier in reports), and perhaps words.
    touches: the gradients it changes ("output" is the forward result); () means all of them.
    group: of one group only one mistake is made at a time.
    factor: for a mistake that only multiplies the gradient, the number; else None.
    """

    key: str
    name: str
    words: str
    chapter: str
    touches: tuple[str, ...] = ()
    group: str = ""
    factor: float | None = None

    def may_change(self, name: str) -> bool:
        return not self.touches or name in self.touches


def no_masks(name: str, *args, **options) -> dict[str, np.ndarray]:
    return {}


def no_factors(name: str, *args, **options) -> list[Mistake]:
    return []


@dataclass(frozen=True)
class Family:
    """The mistakes known for one operation.

    wrong: wrong(made, name, dy, *args, **options), the gradient of the input `name` (or the output)
    by somebody who makes the mistakes whose keys are in `made`; the right one if that is empty.
    factors: factors(name, *args, **options), the mistakes that only multiply, for this case.
    masks: masks(name, *args, **options), places of the input that are special, by their words.
    place: place(name, index, *args, **options), one place in words.
    """

    mistakes: tuple[Mistake, ...] = ()
    wrong: Callable | None = None
    factors: Callable = no_factors
    masks: Callable = no_masks
    place: Callable | None = None


def several(
    chapter: str, touches: tuple[str, ...], group: str, *rows: tuple[str, str, str]
) -> list[Mistake]:
    """Mistakes (key, name, words) that have the rest in common."""
    return [Mistake(key, name, words, chapter, touches, group) for key, name, words in rows]


SIGN = Mistake(
    "sign", "sign", "the sign is wrong: every value is minus what it should be", CHECKING
)

ONES = "cotangent-ignored"
ZERO = "zero-gradient"
TRANSPOSED = "last axes exchanged"
COMPONENTS = "components exchanged"
EXCHANGED = "exchanged with "  # the key is followed by the name of the other input


def factor(number: float, name: str, words: str, chapter: str = CHECKING, key: str = "") -> Mistake:
    """A mistake that multiplies every value by a number."""
    return Mistake(key or f"{name}, {words}", name, words, chapter, factor=number)


def mean_over(what: str, count: float, chapter: str) -> Mistake:
    """The factor 1 / count of a mean that should be a sum."""
    return factor(
        1 / count,
        "mean-instead-of-sum",
        f"the mean over {what} is taken where the sum belongs",
        chapter,
    )


def sum_over(what: str, count: float, chapter: str) -> Mistake:
    """The factor `count` of a sum that should be a mean."""
    return factor(
        count,
        "sum-instead-of-mean",
        f"the sum over {what} is taken where the mean belongs (the division is missing)",
        chapter,
    )


DOUBLED = factor(
    2, "doubled", "every value is twice what it should be: a factor 2 too many", key="doubled"
)
HALVED = factor(
    0.5,
    "halved",
    "every value is half of what it should be: a factor 2 is missing, or 1/2 is too many",
    key="halved",
)


def general_mistakes(inputs: list[str]) -> list[Mistake]:
    """The mistakes of any operation with gradients for these inputs."""
    return [
        Mistake(
            ONES,
            ONES,
            "the gradient that arrives from above (dy) is not used: it is taken to be 1 everywhere",
            AUTOGRAD,
            group="cotangent",
        ),
        Mistake(ZERO, ZERO, "the gradient is zero everywhere", CHECKING, group="whole"),
        Mistake(
            TRANSPOSED,
            "transposed",
            "the gradient is transposed: its last two axes are exchanged",
            AUTOGRAD,
            group="order",
        ),
        Mistake(
            COMPONENTS,
            "xy-swapped",
            "x and y are swapped: the two numbers of the last axis are exchanged",
            COORDINATES,
            group="components",
        ),
        *(
            Mistake(
                EXCHANGED + other,
                "inputs-exchanged",
                f"this is the gradient of {other}: the gradients are returned in the wrong order",
                AUTOGRAD,
                group="whole",
            )
            for other in inputs
        ),
    ]
