"""Appendix C, Notation and glossary."""

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise


def right_gradient(dL_dx: float, size: int, align_corners: bool) -> float:
    return dL_dx * reference.pixels_per_unit(size, align_corners)


UNITS = {
    "Divided where it should be multiplied: a step of 1 in g is many pixels long, so L changes "
    "more with g than with x.": lambda dL_dx, size, align_corners: (
        dL_dx / reference.pixels_per_unit(size, align_corners)
    ),
    "From -1 to 1 it is a way of 2: the factor is twice what it should be.": (
        lambda dL_dx, size, align_corners: 2 * right_gradient(dL_dx, size, align_corners)
    ),
    "The two meanings of align_corners are exchanged: with True, -1 and 1 are the centres of the "
    "outermost pixels, which are nearer to each other than the outer edges.": (
        lambda dL_dx, size, align_corners: right_gradient(dL_dx, size, not align_corners)
    ),
    "align_corners makes no difference yet; with True, a unit is a little shorter.": (
        lambda dL_dx, size, align_corners: right_gradient(dL_dx, size, False)
    ),
    "That converts the point, not the slope there: a gradient only takes the factor, no shift.": (
        lambda dL_dx, size, align_corners: reference.to_normalised(dL_dx, size, align_corners)
    ),
    "It is the same number as before; the unit has to enter somewhere.": (
        lambda dL_dx, size, align_corners: dL_dx
    ),
}


@exercise("C.1", UNITS, {"which is not right": lambda dL_dx, size, align_corners: -dL_dx})
def normalised_gradient(answer):
    cases = [(-2.5, 4, False), (-2.5, 4, True), (1.75, 28, False), (-6.0, 28, True), (3.0, 9, True)]
    return answers.function(answer, right_gradient, cases, UNITS)


def through(size: int, kernels=(9, 7), fits=1, half=lambda n: n // 2) -> int:
    """The paper's convolutions and poolings, with mistakes on request."""
    for kernel in kernels:
        size = half(size - kernel + fits)
    return size


SIZES = {
    "A kernel of k pixels fits at size - k + 1 places, not at size - k.": (
        lambda size: through(size, fits=0)
    ),
    "A pooling of stride 2 drops a row that is left over; it does not round up.": (
        lambda size: through(size, half=lambda n: -(-n // 2))
    ),
    "The order: the convolution of 9 x 9 comes first, that of 7 x 7 second.": (
        lambda size: through(size, kernels=(7, 9))
    ),
    "Without padding, a convolution makes the image smaller.": lambda size: size // 2 // 2,
    "The poolings are missing: each halves the image.": lambda size: through(size, half=int),
    "The number of rows is asked for, not that of pixels.": lambda size: through(size) ** 2,
}


@exercise("C.2", SIZES, {"which is not right": lambda size: 2})
def rows_left(answer):
    cases = [(size,) for size in (28, 42, 60, 31, 33, 45, 84)]
    return answers.function(answer, through, cases, SIZES)
