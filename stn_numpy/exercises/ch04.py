"""Chapter 4, Coordinates."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify


def factors(H: int, W: int, align_corners: bool) -> np.ndarray:
    """Pixels for each unit, of x and of y."""
    return np.array([reference.pixels_per_unit(size, align_corners) for size in (W, H)])


def middle(H: int, W: int) -> np.ndarray:
    return np.array([(W - 1) / 2, (H - 1) / 2])


def moved(theta, H, W):
    """By how many pixels theta moves the middle of the image."""
    return theta[:, :2] @ middle(H, W) + theta[:, 2] - middle(H, W)


def converted(theta, H, W, align_corners):
    f = factors(H, W, align_corners)
    linear = theta[:, :2] * f / f[:, None]
    return np.column_stack([linear, moved(theta, H, W) / f])


def with_linear(linear, theta, H, W, align_corners):
    return np.column_stack([linear, moved(theta, H, W) / factors(H, W, align_corners)])


def with_third(third, theta, H, W, align_corners):
    return np.column_stack([converted(theta, H, W, align_corners)[:, :2], third])


def way_back(theta, H, W, align_corners):
    f = factors(H, W, align_corners)
    linear = theta[:, :2] * f[:, None] / f
    m = middle(H, W)
    return np.column_stack([linear, f * theta[:, 2] + m - linear @ m])


THETAS = {
    "The third column is right. The first two stay as they are for square images only.": (
        lambda theta, H, W, align_corners: with_linear(theta[:, :2], theta, H, W, align_corners)
    ),
    "The third column is right. In theta_12 and theta_21 the factors of x and y are exchanged.": (
        lambda theta, H, W, align_corners: with_linear(
            way_back(theta, H, W, align_corners)[:, :2], theta, H, W, align_corners
        )
    ),
    "The first two columns are right. The third is how far the middle of the image is moved, not "
    "how far the pixel (0, 0) is.": lambda theta, H, W, align_corners: with_third(
        theta[:, 2] / factors(H, W, align_corners), theta, H, W, align_corners
    ),
    "The first two columns are right. The third is where the middle of the image is read, counted "
    "from the middle, in units: of which point is yours the source?": (
        lambda theta, H, W, align_corners: with_third(
            (theta[:, 2] - middle(H, W)) / factors(H, W, align_corners), theta, H, W, align_corners
        )
    ),
    "The first two columns are right. The third is still in pixels.": (
        lambda theta, H, W, align_corners: with_third(
            moved(theta, H, W), theta, H, W, align_corners
        )
    ),
    "The first two columns are right. In the third the factors of x and y are exchanged.": (
        lambda theta, H, W, align_corners: with_third(
            moved(theta, H, W) / factors(W, H, align_corners), theta, H, W, align_corners
        )
    ),
    "H and W are exchanged: W belongs to x, H to y.": (
        lambda theta, H, W, align_corners: converted(theta, W, H, align_corners)
    ),
    "True and False are exchanged: with align_corners the factor is the smaller one.": (
        lambda theta, H, W, align_corners: converted(theta, H, W, not align_corners)
    ),
    "That is right for align_corners=False; with True the factor is another one.": (
        lambda theta, H, W, align_corners: converted(theta, H, W, False)
    ),
    "That is right for align_corners=True; with False the factor is another one.": (
        lambda theta, H, W, align_corners: converted(theta, H, W, True)
    ),
    "That is the way back, from normalised coordinates to pixels.": way_back,
}


@exercise(
    "04.1",
    THETAS,
    {
        "want an array of (2, 3)": lambda theta, H, W, align_corners: theta[:, :2],
        "which is not right": lambda theta, H, W, align_corners: 2 * theta,
        "changes its argument": lambda theta, H, W, align_corners: np.multiply(theta, 2, out=theta),
    },
)
def normalised_theta(answer):
    rng = np.random.default_rng(401)
    book = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])
    thetas = [book, *rng.uniform(-2, 2, (2, 2, 3)).round(3)]
    cases = [
        (theta, H, W, aligned)
        for H, W in ((4, 4), (4, 8), (7, 3))
        for aligned in (False, True)
        for theta in thetas
    ]

    def right(theta, H, W, align_corners):
        return converted(theta, H, W, align_corners)

    return answers.function(answer, right, cases, THETAS)


WORDS = ("right", "missing", "exchanged", "not halved", "other ruler", "divided")
REPORTS = {
    "A": (-20, 20),
    "B": (-10, 4),
    "C": (-100, 16),
    "D": (-45, 6),
    "E": (-50, 8),
    "F": (-2, 2),
}


def reported(word: str) -> tuple[float, float]:
    """What one gets who makes this mistake, with the slopes -10 and 4 on 4 x 10 pixels."""
    f_x, f_y = {
        "right": (5, 2),
        "missing": (1, 1),
        "exchanged": (2, 5),
        "not halved": (10, 4),
        "other ruler": (4.5, 1.5),
        "divided": (1 / 5, 1 / 2),
    }[word]
    return -10 * f_x, 4 * f_y


def names_with(**changed):
    names = {
        who: next(word for word in WORDS if np.allclose(reported(word), report))
        for who, report in REPORTS.items()
    }
    return lambda: names | changed


@exercise(
    "04.2",
    {
        "D with 'right' would have got other numbers.": names_with(D="right", E="other ruler"),
        "A with 'other ruler' would have got other numbers.": names_with(A="other ruler"),
        "There is no word for B yet.": lambda: {"A": "exchanged"},
        "C has 'doubled'; want one of 'right', 'missing',": names_with(C="doubled"),
    },
    {"want a dictionary": lambda: list(WORDS), "F has ['divided']": names_with(F=["divided"])},
)
def what_they_did(answer):
    named = answer()
    if not isinstance(named, dict):
        return f"It returns {type(named).__name__}; want a dictionary."
    for who, report in REPORTS.items():
        if who not in named:
            return f"There is no word for {who} yet."
        if not isinstance(named[who], str) or named[who] not in WORDS:
            return f"{who} has {named[who]!r}; want one of {', '.join(map(repr, WORDS))}."
        if not np.allclose(reported(named[who]), report):
            return f"{who} with {named[who]!r} would have got other numbers."
    return None


APART = {
    "The sign: on the right side of the image False reads further to the right.": (
        lambda g, size: -g / 2
    ),
    "Half a pixel is missing: (g + 1) size / 2 is counted from the edge, not from pixel 0.": (
        lambda g, size: (g + 1) / 2
    ),
    "It is that much at the end of the ruler, at g = 1, not everywhere.": lambda g, size: 0.5,
    "Twice too large: a ruler is 2 units long, so the factors are half of the sizes.": (
        lambda g, size: float(g)
    ),
    "How far apart they are is right, but left of the middle False reads further to the left.": (
        lambda g, size: abs(g) / 2
    ),
    "It is 0 in the middle only.": lambda g, size: 0.0,
}


@exercise("04.3", APART, {"which is not right": lambda g, size: g / size})
def further_right(answer):
    def right(g, size):
        return reference.to_pixels(g, size) - reference.to_pixels(g, size, True)

    gs = (-1.0, -0.3, 0.0, 0.25, 0.5, 1.0, 1.5)
    return answers.function(answer, right, [(g, n) for n in (4, 2, 9) for g in gs], APART)


@exercise(
    "04.4",
    {
        "[unit-factor-missing]": lambda dP, H, W, align_corners: dP,
        "[unit-factor-wrong-axis]": lambda dP, H, W, align_corners: (
            dP * factors(W, H, align_corners)
        ),
        "[align-corners-mixed]": lambda dP, H, W, align_corners: (
            dP * factors(H, W, not align_corners)
        ),
        "[unit-factor-inverted]": lambda dP, H, W, align_corners: dP / factors(H, W, align_corners),
        "[unit-factor-doubled]": lambda dP, H, W, align_corners: (
            dP * 2 * factors(H, W, align_corners)
        ),
        "[unit-factor-twice]": lambda dP, H, W, align_corners: (
            dP * factors(H, W, align_corners) ** 2
        ),
        "[unit-factor-output-size]": lambda dP, H, W, align_corners: (
            dP * factors(*dP.shape[1:3], align_corners)
        ),
        "[xy-swapped]": lambda dP, H, W, align_corners: (dP * factors(H, W, align_corners))[
            ..., ::-1
        ],
        "[sign]": lambda dP, H, W, align_corners: -dP * factors(H, W, align_corners),
    },
    {
        "shape": lambda dP, H, W, align_corners: dP[0],
        "grid": lambda dP, H, W, align_corners: dP * factors(H, W, align_corners) + 1,
    },
)
def to_pixels_backward(answer):
    def with_eq07(dV, input, grid, align_corners=False):
        N, C, H, W = input.shape
        dP = np.zeros_like(grid)
        for n in range(N):
            x = reference.to_pixels(grid[n, ..., 0], W, align_corners).ravel()
            y = reference.to_pixels(grid[n, ..., 1], H, align_corners).ravel()
            for axis, slope in enumerate((reference.eq07_grad_xs, reference.eq07_grad_ys)):
                dV_dp = slope(input[n], x, y)
                dp = reference.grad_xs(dV[n].reshape(C, -1), dV_dp)
                dP[n, ..., axis] = dp.reshape(grid.shape[1:3])
        return answer(dP, H, W, align_corners)

    return verify(with_eq07, "grid_sample", form="backward", wrt="grid")
