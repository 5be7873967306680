"""Chapter 4, Coordinates."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify

PIXELS = {
    "With False, half a pixel is missing: (g + 1) size / 2 is counted from the edge, and pixel 0 "
    "is half a pixel further.": lambda g, size, align_corners: (
        (g + 1) * reference.pixels_per_unit(size, align_corners)
    ),
    "True and False are exchanged: with True, -1 and 1 are centres of pixels.": (
        lambda g, size, align_corners: reference.to_pixels(g, size, not align_corners)
    ),
    "That is right for align_corners=False only.": (
        lambda g, size, align_corners: reference.to_pixels(g, size, False)
    ),
    "That is right for align_corners=True only.": (
        lambda g, size, align_corners: reference.to_pixels(g, size, True)
    ),
    "That is the way back, from pixels to normalised coordinates.": (
        lambda g, size, align_corners: reference.to_normalised(g, size, align_corners)
    ),
    "That is how far g is from the middle; pixel 0 is where counting begins.": (
        lambda g, size, align_corners: g * reference.pixels_per_unit(size, align_corners)
    ),
    "size - 2 is a mistake of published programs: the last pixel is never read.": (
        lambda g, size, align_corners: (
            (g + 1) * (size - 2) / 2
            if align_corners
            else reference.to_pixels(g, size, align_corners)
        )
    ),
    "A point may lie between pixels, or outside: there is nothing to be rounded or clipped.": (
        lambda g, size, align_corners: float(
            np.clip(reference.to_pixels(g, size, align_corners), 0, size - 1)
        )
    ),
}


@exercise("04.1", PIXELS, {"which is not right": lambda g, size, align_corners: g * size})
def to_pixels(answer):
    gs = (-1.0, -0.4, 0.0, 0.25, 1.0, 1.5)
    cases = [(g, n, aligned) for n in (4, 7, 2) for aligned in (False, True) for g in gs]

    def right(g, size, align_corners):
        return reference.to_pixels(g, size, align_corners)

    return answers.function(answer, right, cases, PIXELS)


def ruler(size, align_corners):
    """The matrix from normalised coordinates to pixels, for an image of size (H, W)."""
    H, W = size
    f_x, f_y = (reference.pixels_per_unit(n, align_corners) for n in (W, H))
    return np.array([[f_x, 0, (W - 1) / 2], [0, f_y, (H - 1) / 2], [0, 0, 1]])


def converted(theta_n, R_in, R_out):
    full = np.vstack([theta_n, [0, 0, 1]])
    return (R_in @ full @ np.linalg.inv(R_out))[:2]


def with_rulers(theta_n, size_in, size_out, align_corners):
    return converted(theta_n, ruler(size_in, align_corners), ruler(size_out, align_corners))


def with_linear_kept(theta_n, size_in, size_out, align_corners):
    right = with_rulers(theta_n, size_in, size_out, align_corners)
    return np.column_stack([theta_n[:, :2], right[:, 2]])


def with_third(third):
    """The answer with the right first two columns and another third one."""

    def answer(theta_n, size_in, size_out, align_corners):
        right = with_rulers(theta_n, size_in, size_out, align_corners)
        return np.column_stack([right[:, :2], third(theta_n, ruler(size_in, align_corners))])

    return answer


THETAS = {
    "The two sizes are exchanged: targets are measured by the output, sources by the input.": (
        lambda theta_n, size_in, size_out, align_corners: with_rulers(
            theta_n, size_out, size_in, align_corners
        )
    ),
    "Both ends are measured by the size of the input; the targets are pixels of the output.": (
        lambda theta_n, size_in, size_out, align_corners: with_rulers(
            theta_n, size_in, size_in, align_corners
        )
    ),
    "Both ends are measured by the size of the output; the sources are pixels of the input.": (
        lambda theta_n, size_in, size_out, align_corners: with_rulers(
            theta_n, size_out, size_out, align_corners
        )
    ),
    "H and W are exchanged: a size is (H, W), and W belongs to x.": (
        lambda theta_n, size_in, size_out, align_corners: with_rulers(
            theta_n, size_in[::-1], size_out[::-1], align_corners
        )
    ),
    "True and False are exchanged.": lambda theta_n, size_in, size_out, align_corners: with_rulers(
        theta_n, size_in, size_out, not align_corners
    ),
    "That is right for align_corners=False only.": (
        lambda theta_n, size_in, size_out, align_corners: with_rulers(
            theta_n, size_in, size_out, False
        )
    ),
    "That is right for align_corners=True only.": (
        lambda theta_n, size_in, size_out, align_corners: with_rulers(
            theta_n, size_in, size_out, True
        )
    ),
    "That is the way of the chapter, from pixels to normalised coordinates.": (
        lambda theta_n, size_in, size_out, align_corners: converted(
            theta_n,
            np.linalg.inv(ruler(size_in, align_corners)),
            np.linalg.inv(ruler(size_out, align_corners)),
        )
    ),
    "The third column is right. The first two stay as they are only where both images are square "
    "and of one size.": with_linear_kept,
    "The first two columns are right. The third is where the middle of the output is read, not "
    "where the pixel (0, 0) is.": with_third(
        lambda theta_n, R: R[:2, :2] @ theta_n[:, 2] + R[:2, 2]
    ),
    "The first two columns are right. The third is only multiplied by the factors; it has to go "
    "through the whole conversion.": with_third(lambda theta_n, R: R[:2, :2] @ theta_n[:, 2]),
}


@exercise(
    "04.2",
    THETAS,
    {
        "want an array of (2, 3)": lambda theta_n, size_in, size_out, align_corners: np.eye(3),
        "which is not right": lambda theta_n, size_in, size_out, align_corners: 2 * theta_n,
    },
)
def in_pixels_of(answer):
    rng = np.random.default_rng(402)
    thetas = [np.array([[1.0, 0, 0], [0, 1, 0]]), *rng.uniform(-1.5, 1.5, (2, 2, 3)).round(3)]
    sizes = (((4, 4), (4, 4)), ((6, 5), (3, 7)), ((3, 8), (5, 2)))
    cases = [
        (theta_n, size_in, size_out, aligned)
        for size_in, size_out in sizes
        for aligned in (False, True)
        for theta_n in thetas
    ]
    return answers.function(answer, with_rulers, cases, THETAS)


def grid(theta, size, align_corners=False, points=reference.target_points, swapped=False):
    """The grid generator as a learner may write it, with other targets or another order."""
    N, _, H, W = size
    x_t, y_t = points(H, W, align_corners)
    G = np.empty((N, H, W, 2))
    for n in range(N):
        x_s, y_s = reference.eq01_affine_grid(theta[n], x_t, y_t)
        pair = (y_s, x_s) if swapped else (x_s, y_s)
        G[n] = np.stack(pair, axis=-1).reshape(H, W, 2)
    return G


def pixel_targets(H, W, align_corners):
    y_t, x_t = np.indices((H, W), dtype=float)
    return x_t.ravel(), y_t.ravel()


def other_ruler(H, W, align_corners):
    return reference.target_points(H, W, not align_corners)


def exchanged_targets(H, W, align_corners):
    return reference.target_points(H, W, align_corners)[::-1]


@exercise(
    "04.3",
    {
        "[align-corners-mixed]": lambda theta, size, align_corners=False: grid(
            theta, size, align_corners, other_ruler
        ),
        "[targets-in-pixels]": lambda theta, size, align_corners=False: grid(
            theta, size, align_corners, pixel_targets
        ),
        "x_t and y_t are swapped": lambda theta, size, align_corners=False: grid(
            theta, size, align_corners, exchanged_targets
        ),
        "[xy-swapped]": lambda theta, size, align_corners=False: grid(
            theta, size, align_corners, swapped=True
        ),
    },
    {
        "the shape": lambda theta, size, align_corners=False: grid(theta, size, align_corners)[0],
        "raises IndexError": lambda theta, size, align_corners=False: theta[99],
        "output": lambda theta, size, align_corners=False: -grid(theta, size, align_corners),
    },
)
def grid_of(answer):
    return verify(answer, "affine_grid", form="forward")


def grid_gradient(factors, to_pixels=reference.to_pixels, swapped=False):
    """The backward pass as a learner may write it.

    factors: of (H, W, align_corners, size of the output) makes those of x and y.
    to_pixels: of (points, size, align_corners) makes where they are read.
    """

    def grid_backward(dV, input, grid, align_corners=False):
        N, C, H, W = input.shape
        dG = np.empty(grid.shape)
        for n in range(N):
            x = to_pixels(grid[n, ..., 0], W, align_corners).ravel()
            y = to_pixels(grid[n, ..., 1], H, align_corners).ravel()
            dV_n = dV[n].reshape(C, -1)
            pair = [
                reference.grad_xs(dV_n, slope(input[n], x, y)) * factor
                for slope, factor in zip(
                    (reference.eq07_grad_xs, reference.eq07_grad_ys),
                    factors(H, W, align_corners, grid.shape[1:3]),
                )
            ]
            dG[n] = np.stack(pair[::-1] if swapped else pair, axis=-1).reshape(dG[n].shape)
        return dG

    return grid_backward


def unit_factors(H, W, align_corners, size_out=None):
    return np.array([reference.pixels_per_unit(n, align_corners) for n in (W, H)])


@exercise(
    "04.4",
    {
        "[unit-factor-missing]": grid_gradient(lambda *_: (1, 1)),
        "[unit-factor-wrong-axis]": grid_gradient(lambda H, W, a, _: unit_factors(W, H, a)),
        "[unit-factor-inverted]": grid_gradient(lambda *sizes: 1 / unit_factors(*sizes)),
        "[unit-factor-doubled]": grid_gradient(lambda *sizes: 2 * unit_factors(*sizes)),
        "[unit-factor-twice]": grid_gradient(lambda *sizes: unit_factors(*sizes) ** 2),
        "[unit-factor-output-size]": grid_gradient(lambda H, W, a, out: unit_factors(*out, a)),
        "[unit-factor-one-for-both]": grid_gradient(lambda H, W, a, _: unit_factors(W, W, a)),
        "[align-corners-mixed]": grid_gradient(lambda H, W, a, _: unit_factors(H, W, not a)),
        "[grid-not-converted]": grid_gradient(unit_factors, lambda g, size, a: g),
        "[xy-swapped]": grid_gradient(unit_factors, swapped=True),
    },
    {
        "align_corners is mixed up": grid_gradient(
            unit_factors, lambda g, size, a: reference.to_pixels(g, size, not a)
        ),
        "the shape": lambda dV, input, grid, align_corners=False: grid[0],
        "returns nothing": lambda dV, input, grid, align_corners=False: None,
    },
)
def grid_backward(answer):
    return verify(answer, "grid_sample", form="backward", wrt="grid")


# Exercise 04.5: one point of a grid, whose loss changes by so much for a pixel along x and y.
SLOPES, SIZE_IN, SIZE_OUT = np.array([2.0, -6.0]), (4, 7), (5, 9)
FACTORS = {
    "missing": lambda: np.ones(2),
    "exchanged": lambda: unit_factors(*SIZE_IN[::-1], False),
    "inverted": lambda: 1 / unit_factors(*SIZE_IN, False),
    "doubled": lambda: 2 * unit_factors(*SIZE_IN, False),
    "aligned": lambda: unit_factors(*SIZE_IN, True),
    "output": lambda: unit_factors(*SIZE_OUT, False),
}
PROGRAMS = dict(zip("ABCDEF", ("aligned", "doubled", "missing", "output", "exchanged", "inverted")))


def measured() -> np.ndarray:
    """What finite differences say of the point: dL/dx and dL/dy, in normalised coordinates."""
    return SLOPES * unit_factors(*SIZE_IN, False)


def gradients() -> dict[str, np.ndarray]:
    """What the six programs say of it, A to F."""
    return {letter: SLOPES * FACTORS[name]() for letter, name in PROGRAMS.items()}


def named(**wrong: str):
    return lambda: PROGRAMS | wrong


@exercise(
    "04.5",
    {
        "A: with 'missing' its x would be 2": named(A="missing"),
        "B: with 'aligned' its x would be 6": named(B="aligned"),
        "D: with 'exchanged' its x would be 4": named(D="exchanged", E="output"),
    },
    {
        "it has no 'F'": lambda: {letter: PROGRAMS[letter] for letter in "ABCDE"},
        "A: 'half' is none of the words": named(A="half"),
        "want a dict": lambda: list(PROGRAMS.values()),
    },
)
def wrong_factors(answer):
    def looks(word: str) -> str:
        x, y = SLOPES * FACTORS[word]()
        return f"its x would be {x:.3g}, and its y {y:.3g}"

    return answers.labels(answer, PROGRAMS, FACTORS, looks)
