"""Chapter 14, Edges and bug museum."""

import numpy as np

from stn_numpy import functional as F
from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify

# What each of the six samplers does to the image that is to be read one pixel to the right.
SAMPLERS = {
    "border": lambda U: np.hstack([U[:, 1:], U[:, -1:]]),
    "reflection": lambda U: np.hstack([U[:, 1:], U[:, -2:-1]]),
    "wrapped": lambda U: np.roll(U, -1, axis=1),
    "swapped": lambda U: np.vstack([U[1:], 0 * U[:1]]).T,
    "forward": lambda U: np.hstack([0 * U[:, :1], U[:, :-1]]),
    "clipped": lambda U: np.pad(U[:-1, 1:-1], ((0, 1), (0, 2))),
}
SHOWN = dict(zip("ABCDEF", ("wrapped", "clipped", "reflection", "swapped", "border", "forward")))
LOOKS = {
    "border": "the last two columns would be equal",
    "reflection": "the last column would be that of U's pixels next to the border",
    "wrapped": "the last column would be the first one of U",
    "swapped": "columns of U would have become rows",
    "forward": "the first column would be empty",
    "clipped": "more than one row or column would be empty",
}


def outputs(U: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of the six samplers, A to F, for an image U (H, W)."""
    return {letter: SAMPLERS[name](U) for letter, name in SHOWN.items()}


def named(**wrong: str):
    return lambda: SHOWN | wrong


@exercise(
    "14.1",
    {
        "A: with 'border' the last two columns would be equal": named(A="border", E="wrapped"),
        "B: with 'forward' the first column would be empty": named(B="forward", F="clipped"),
        "C: with 'border' the last two columns would be equal": named(C="border", E="reflection"),
        "D: with 'wrapped' the last column would be": named(D="wrapped"),
        "E: with 'reflection' the last column would be": named(E="reflection"),
    },
    {
        "it has no 'F'": lambda: {letter: SHOWN[letter] for letter in "ABCDE"},
        "A: 'around' is none of the words": named(A="around"),
        "A: 3 is none of the words": named(A=3),
        "want a dict": lambda: list(SHOWN.values()),
    },
)
def diagnoses(answer):
    return answers.labels(answer, SHOWN, SAMPLERS, LOOKS.get)


def to_border(x, size):
    return np.clip(x, 0, size - 1), ((x > 0) & (x < size - 1)).astype(float)


def backward_around(rule):
    """The grid's gradient with padding mode border, made with somebody's rule."""

    def grad_grid(dV, input, grid):
        _, C, H, W = input.shape
        dG = np.zeros_like(grid)
        for number, image in enumerate(input):
            x = (((grid[number, ..., 0] + 1) * W - 1) / 2).ravel()
            y = (((grid[number, ..., 1] + 1) * H - 1) / 2).ravel()
            (x_moved, slope_x), (y_moved, slope_y) = rule(x, W), rule(y, H)
            from_above = dV[number].reshape(C, -1)
            dx = from_above * reference.eq07_grad_xs(image, x_moved, y_moved)
            dy = from_above * reference.eq07_grad_ys(image, x_moved, y_moved)
            pair = dx.sum(axis=0) * slope_x * W / 2, dy.sum(axis=0) * slope_y * H / 2
            dG[number] = np.stack(pair, axis=-1).reshape(grid.shape[1:])
        return dG

    return grad_grid


@exercise(
    "14.2",
    {
        "[clip-slope-forgotten]": lambda x, size: (np.clip(x, 0, size - 1), np.ones_like(x)),
        "[padding-mixed]": lambda x, size: (x, np.ones_like(x)),
        "[sign]": lambda x, size: (to_border(x, size)[0], -to_border(x, size)[1]),
        "For size = 5 the point 4.5 is moved to 4.5": lambda x, size: (
            np.clip(x, 0, size),
            to_border(x, size)[1],
        ),
        "For size = 5 the point -3 is moved to -0.5": lambda x, size: (
            np.clip(x, -0.5, size - 0.5),
            to_border(x, size)[1],
        ),
        "On the outermost pixels themselves the slope": lambda x, size: (
            to_border(x, size)[0],
            ((x >= 0) & (x <= size - 1)).astype(float),
        ),
        "[zero-gradient]": lambda x, size: (to_border(x, size)[0], 0 * x),
    },
    {
        "want two arrays": lambda x, size: to_border(x, size)[0],
        "an array of (2,)": lambda x, size: (np.zeros(2), np.zeros(2)),
        "changes its argument": lambda x, size: (
            np.clip(x, 0, size - 1, out=x),
            np.ones_like(x),
        ),
    },
)
def judge_of_border(answer):
    points = np.array([-3.0, -0.25, 0.0, 0.75, 2.0, 3.25, 4.0, 4.5, 9.0])
    given = points.copy()
    pair = answer(given, 5)
    if not np.array_equal(given, points):
        return "It changes its argument in place; work on a copy."
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return f"It returns {answers.unlike(pair, points) or 'something else'}; want two arrays."
    for name, array in zip(("r(x)", "dr/dx"), pair):
        if problem := answers.unlike(array, points):
            return f"For {name} it returns {problem}; want an array of {points.shape}."
    # verify knows what is wrong with most; first what would only puzzle it.
    place, slope = (np.asarray(array, float) for array in pair)
    rest = ~np.isclose(place, points) & ~np.isclose(place, np.clip(points, 0, 4))
    outside = (np.clip(points, 0, 4) != points) & ~np.isclose(place, np.clip(points, 0, 4))
    inside = (points > 0) & (points < 4)
    if rest.any() or (outside.any() and not np.allclose(place, points)):
        first = int(np.flatnonzero(rest | outside)[0])
        return f"For size = 5 the point {points[first]:g} is moved to {place[first]:.6g}."
    on_the_edge = (points == 0) | (points == 4)
    beyond = ~inside & ~on_the_edge
    if slope[on_the_edge].any() and not slope[beyond].any() and slope[inside].all():
        return "On the outermost pixels themselves the slope is to be 0 as well."
    report = verify(
        backward_around(answer),
        "grid_sample",
        form="backward",
        wrt="grid",
        options={"padding_mode": "border", "align_corners": False},
    )
    if not report:
        return report
    if not np.allclose(slope, to_border(points, 5)[1]):
        return "The slope is right where U has one, but not everywhere."
    return None


def smoothly(U, theta, size, k):
    G = F.affine_grid(theta, (*U.shape[:2], k * size[0], k * size[1]))
    return F.avg_pool2d(F.grid_sample(U, G), k).data


def plainly(U, theta, size, k):
    return F.grid_sample(U, F.affine_grid(theta, (*U.shape[:2], *size))).data


def pooled_first(U, theta, size, k):
    return plainly(F.avg_pool2d(U, k), theta, size, k)


def many(U, theta, size, k):
    G = F.affine_grid(theta, (*U.shape[:2], k * size[0], k * size[1]))
    return F.grid_sample(U, G)


SMOOTH = {
    "It does not depend on k: that is the plain transformer.": plainly,
    "The image is averaged, not the points: where theta enlarges, that blurs.": pooled_first,
    "Every k-th of the many points is kept; they are to be averaged.": (
        lambda U, theta, size, k: many(U, theta, size, k).data[..., ::k, ::k]
    ),
    "The largest of the many points is kept; they are to be averaged.": (
        lambda U, theta, size, k: F.max_pool2d(many(U, theta, size, k), k).data
    ),
    "The many points are added up; they are to be averaged.": (
        lambda U, theta, size, k: k * k * smoothly(U, theta, size, k)
    ),
    "The points are averaged along one axis only.": (
        lambda U, theta, size, k: (
            F.avg_pool2d(
                F.grid_sample(U, F.affine_grid(theta, (*U.shape[:2], k * size[0], size[1]))), (k, 1)
            ).data
        )
    ),
    "The grid has align_corners=True; here it is False throughout.": (
        lambda U, theta, size, k: (
            F.avg_pool2d(
                F.grid_sample(
                    U, F.affine_grid(theta, (*U.shape[:2], k * size[0], k * size[1]), True)
                ),
                k,
            ).data
        )
    ),
}


def plain_array(value):
    """A Tensor as its array, anything else as it is."""
    return getattr(value, "data", value) if type(value).__name__ == "Tensor" else value


@exercise(
    "14.3",
    SMOOTH,
    {
        "want an array of (2, 3, 2, 3)": lambda U, theta, size, k: many(U, theta, size, k),
        "it returns nothing": lambda U, theta, size, k: None,
    },
)
def read_smoothly(answer):
    rng = np.random.default_rng(1403)
    cases = []
    for shape, size, k in (
        ((2, 3, 8, 12), (2, 3), 2),
        ((1, 2, 12, 6), (3, 1), 3),
        ((2, 1, 6, 9), (2, 2), 3),
        ((1, 2, 5, 4), (3, 2), 1),
    ):
        theta = np.eye(2, 3) + rng.uniform(-0.3, 0.3, (shape[0], 2, 3))
        cases.append((rng.standard_normal(shape), theta, size, k))
    return answers.function(
        lambda *case: plain_array(answer(*case)),
        smoothly,
        cases,
        SMOOTH,
    )


def with_black(black, mode="zeros"):
    """Read the image so that `black(mean, std)` is outside."""

    def read(U, G, mean, std):
        ground = black(mean, std)
        return F.grid_sample(U - ground, G, padding_mode=mode).data + ground

    return read


right_black = with_black(lambda mean, std: -mean / std)


BLACK = {
    "Outside is 0, which is the mean grey.": with_black(lambda mean, std: 0.0),
    "Outside is mean / std; mind the sign.": with_black(lambda mean, std: mean / std),
    "Outside is -mean; it was divided by std as well.": with_black(lambda mean, std: -mean),
    "Outside is white; black is asked for.": with_black(lambda mean, std: (1 - mean) / std),
    "What was added before is not taken off again.": (
        lambda U, G, mean, std: F.grid_sample(U + mean / std, G).data
    ),
    "What was taken off is not taken off before, only added behind.": (
        lambda U, G, mean, std: F.grid_sample(U, G).data - mean / std
    ),
    "The normalisation is undone, and not done again.": (
        lambda U, G, mean, std: F.grid_sample(U * std + mean, G).data
    ),
    "Outside is the nearest pixel of the image; it need not be black.": (
        with_black(lambda mean, std: 0.0, "border")
    ),
    "At the edge black and the image do not mix: only where V is exactly 0 it was made black.": (
        lambda U, G, mean, std: (
            lambda V: np.where(V == 0, -mean / std, V)  # what is 0 was outside, one may think
        )(F.grid_sample(U, G).data)
    ),
}


@exercise(
    "14.4",
    BLACK,
    {
        "it returns nothing": lambda U, G, mean, std: None,
        "want an array of (2, 3, 3, 4)": lambda U, G, mean, std: U,
    },
)
def black_outside(answer):
    rng = np.random.default_rng(1404)
    cases = []
    for shape, size, mean, std in (
        ((2, 3, 6, 5), (3, 4), 0.25, 0.5),
        ((1, 1, 4, 7), (5, 2), 0.4, 0.3),
    ):
        U = (rng.uniform(0.2, 1, shape) - mean) / std
        cases.append((U, rng.uniform(-1.6, 1.6, (shape[0], *size, 2)), mean, std))
    return answers.function(
        lambda *case: plain_array(answer(*case)),
        right_black,
        cases,
        BLACK,
    )
