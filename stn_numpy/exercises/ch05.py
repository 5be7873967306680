"""Chapter 5, Kernels."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.functional.kernels import KERNELS
from stn_numpy.verify import verify


def read(U: np.ndarray, x: float, y: float) -> float:
    return reference.eq03_sample(
        U[None], np.array([x]), np.array([y]), reference.eq04_integer_kernel
    )[0, 0]


def half_up(x: float) -> int:
    return int(np.floor(x + 0.5))


def inside(U, n, m):
    return U[n, m] if 0 <= n < U.shape[0] and 0 <= m < U.shape[1] else 0.0


def wrapped(U, n, m):
    return U[n, m] if -U.shape[0] <= n < U.shape[0] and -U.shape[1] <= m < U.shape[1] else 0.0


def at_the_border(U, n, m):
    return U[np.clip(n, 0, U.shape[0] - 1), np.clip(m, 0, U.shape[1] - 1)]


def by(rounded, pixel=inside):
    """Nearest sampling as a learner may write it."""
    return lambda U, x, y: pixel(U, int(rounded(y)), int(rounded(x)))


NEAREST = {
    "x and y are exchanged: x is the column, y the row of U[row, column].": (
        lambda U, x, y: read(U, y, x)
    ),
    "That is floor(x), the pixel to the left; add one half before you cut.": by(np.floor),
    "That is ceil(x), the pixel to the right; add one half and take the floor.": by(np.ceil),
    "Ties go to the even pixel, as round does it; Eq. (4) rounds halves up.": by(np.round),
    "Ties go down; Eq. (4) rounds halves up.": by(lambda x: np.ceil(x - 0.5)),
    "int() cuts toward 0; the floor of -0.75 is -1.": by(lambda x: x + 0.5),
    "A row or column of -1 is outside; U[-1] in Python is the last one.": by(half_up, wrapped),
    "Outside you take the pixel at the border; there, everything is 0.": by(half_up, at_the_border),
    "That is bilinear sampling; here one pixel has all the weight.": (
        lambda U, x, y: reference.eq03_sample(
            U[None], np.array([x]), np.array([y]), reference.eq05_bilinear_kernel
        )[0, 0]
    ),
}


@exercise(
    "05.1",
    NEAREST,
    {
        "raises IndexError": by(half_up, lambda U, n, m: U[n, m]),
        "which is not right": lambda U, x, y: -read(U, x, y),
        "it returns nothing": lambda U, x, y: None,
    },
)
def nearest(answer):
    rng = np.random.default_rng(501)
    cases = []
    for H, W in ((4, 4), (3, 5), (6, 2)):
        U = rng.integers(1, 100, (H, W)).astype(float)
        between = rng.uniform((0, 0), (W - 1, H - 1), (5, 2)).round(3)
        ties = rng.integers((-1, -1), (W, H), (8, 2)) + 0.5
        around = rng.uniform((-2, -2), (W + 1, H + 1), (10, 2)).round(3)
        cases += [(U, float(x), float(y)) for x, y in (*between, *ties, *around)]
        # Just outside, where cutting toward 0 and index -1 are different mistakes.
        cases += [(U, -0.75, 1.25), (U, 0.75, -0.75), (U, -1.25, 0.25)]
    return answers.function(answer, read, cases, NEAREST)


def to_the_next_jump(x: float) -> float:
    return float(np.floor(x + 0.5) + 0.5 - x)


ROOM = {
    "That is the way to the next pixel; the jump is half way between two pixels.": (
        lambda x: float(np.floor(x) + 1 - x)
    ),
    "That is right only if x is a whole number.": lambda x: 0.5,
    "That is the distance to the nearest jump, on whichever side; asked for is the one on the "
    "right.": lambda x: float(abs(np.floor(x) + 0.5 - x)),
    "It is right but on the jumps: there the pixel to the right is read already, and the next jump "
    "is 1 away.": lambda x: float(np.ceil(x - 0.5) + 0.5 - x),
    "On the jumps that is right for every second one alone: halves are rounded up, not to even.": (
        lambda x: float(np.round(x) + 0.5 - x)
    ),
    "It is negative where x is nearer to the pixel on its right: there the jump lies behind it.": (
        lambda x: float(np.floor(x) + 0.5 - x)
    ),
}


@exercise("05.2", ROOM, {"For x = 2.25 it gives 0.5": lambda x: 2 * to_the_next_jump(x)})
def room(answer):
    cases = [(x,) for x in (2.25, 2.75, 2.0, 2.5, 3.5, -0.5, -1.5, -0.25, -3.7, 0.499)]
    return answers.function(answer, to_the_next_jump, cases, ROOM)


def bicubic(d):
    """The kernel itself, to be differentiated numerically."""
    return KERNELS["bicubic"].weights(np.asarray(d, float))


def cubic(far=1.0, even=False, near=lambda r, a: 1 - (a + 3) * r**2 + (a + 2) * r**3, a=-0.75):
    """The kernel as a learner may write it; far: the factor of its outer piece."""

    def kernel(d):
        r = np.abs(d)
        outer = far * a * (r - 1) * (r - 2) ** 2
        k = np.where(r < 1, near(r, a), np.where(r < 2, outer, 0))

        def backward(dk):
            step = 1e-6
            inner = (near(r + step, a) - near(r - step, a)) / (2 * step)
            outer = far * a * ((r - 2) ** 2 + 2 * (r - 1) * (r - 2))
            slope = np.where(r < 1, inner, np.where(r < 2, outer, 0))
            return dk * (slope if even else np.sign(d) * slope)

        return k, backward

    return kernel


CUBIC = {
    "The slope is right for d > 0 and has the wrong sign for d < 0: r = |d| falls there as d "
    "grows, so dr/dd = sign(d).": cubic(even=True),
    "Beyond r = 1 it should not be 0: there, too, is a piece, from 1 to 2.": cubic(far=0.0),
    "Beyond r = 1 the sign is wrong: the slope at 1 is a, which is negative, so the kernel goes "
    "below 0.": cubic(far=-1.0),
    "Your a is -0.5; asked for is -0.75.": cubic(a=-0.5),
    "Your a is 0.75; asked for is -0.75.": cubic(a=0.75),
    "Your a is -1; asked for is -0.75.": cubic(a=-1.0),
    "Up to r = 1 that is a tent: 1 - r has the slope -1 at r = 0, asked for is 0.": cubic(
        near=lambda r, a: 1 - r
    ),
    "Up to r = 1 that is the piece for a = 0: its slope at r = 1 is 0.": cubic(
        near=lambda r, a: 1 - 3 * r**2 + 2 * r**3
    ),
}


@exercise(
    "05.3",
    CUBIC,
    {
        "[sign]": lambda d: (bicubic(d), lambda dk: -right_slope(d, dk)),
        "[cotangent-ignored]": lambda d: (bicubic(d), lambda dk: right_slope(d, np.ones_like(dk))),
        "[no-backward]": lambda d: bicubic(d),
        "[zero-gradient]": lambda d: (bicubic(d), lambda dk: 0 * dk),
        "no mistake known here": lambda d: (bicubic(d), lambda dk: dk * d),
    },
)
def bicubic_with_slope(answer):
    rng = np.random.default_rng(503)
    sizes = ((3, 4), (10,), (2, 3, 2))
    cases = [(rng.integers(-3, 3, size) + rng.uniform(0.1, 0.9, size),) for size in sizes]
    report = verify(answer, against=bicubic, cases=cases)
    if report or report.diagnosis:
        return report
    for words, mistaken in CUBIC.items():  # it can be called: the report has numbers of it
        if all(_same(answer(d), mistaken(d), rng.standard_normal(d.shape)) for (d,) in cases):
            return words
    return report


def right_slope(d, dk):
    return dk * KERNELS["bicubic"].slopes(np.asarray(d, float))


def _same(mine, theirs, dk) -> bool:
    pairs = ((mine[0], theirs[0]), (mine[1](dk), theirs[1](dk)))
    return all(np.allclose(a, b, rtol=0, atol=1e-6) for a, b in pairs)


RAMPS = {
    "That is the a of the package, with which ramps are wavy.": lambda: -0.75,
    "With a = 0 the curve is flat at every pixel; a ramp is not.": lambda: 0.0,
    "The sign: with a positive a, a ramp would go down at every pixel.": lambda: 0.5,
    "With that a the slope at the pixels is 2, that of the ramp is 1.": lambda: -1.0,
}


@exercise("05.4", RAMPS, {"It is not -0.6": lambda: -0.6})
def a_that_keeps_ramps(answer):
    return answers.number(answer, -0.5, RAMPS)
