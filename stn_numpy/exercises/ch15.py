"""Chapter 15, Beyond affine."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify


def divided(u, w, epsilon):
    """x = u / max(w, epsilon) and its two slopes, one below the other: (3, P)."""
    floor = np.maximum(w, epsilon)
    return np.stack([u / floor, 1 / floor, np.where(w >= epsilon, -u / floor**2, 0.0)])


def with_parts(x=None, dx_du=None, dx_dw=None):
    """The right answer, but for the parts that are given as functions of u, w, epsilon."""

    def wrong(u, w, epsilon):
        parts = zip((x, dx_du, dx_dw), divided(u, w, epsilon))
        return np.stack([np.broadcast_to(f(u, w, epsilon), u.shape) if f else p for f, p in parts])

    return wrong


def signed(w, epsilon):
    return np.where(np.abs(w) < epsilon, np.where(w < 0, -epsilon, epsilon), w)


DIVIDED = {
    "dx/dw: below epsilon x does not depend on w, so its slope is 0 there.": with_parts(
        dx_dw=lambda u, w, e: -u / np.maximum(w, e) ** 2
    ),
    "dx/dw: at w = epsilon the derivative from the right is wanted, not the left one.": with_parts(
        dx_dw=lambda u, w, e: np.where(w > e, -u / np.maximum(w, e) ** 2, 0.0)
    ),
    "dx/dw: mind the sign; where w grows, x comes closer to 0.": with_parts(
        dx_dw=lambda u, w, e: np.where(w >= e, u / np.maximum(w, e) ** 2, 0.0)
    ),
    "dx/dw: it has w in the denominator twice.": with_parts(
        dx_dw=lambda u, w, e: np.where(w >= e, -u / np.maximum(w, e), 0.0)
    ),
    "dx/dw: u is missing.": with_parts(
        dx_dw=lambda u, w, e: np.where(w >= e, -1 / np.maximum(w, e) ** 2, 0.0)
    ),
    "dx/du: below epsilon it is not 0; u is divided by epsilon there.": with_parts(
        dx_du=lambda u, w, e: np.where(w >= e, 1 / np.maximum(w, e), 0.0)
    ),
    "dx/du: that is u itself; want the slope.": with_parts(dx_du=lambda u, w, e: u),
    "That is the plain quotient: nothing guards it.": (
        lambda u, w, e: np.stack([u / w, 1 / w, -u / w**2])
    ),
    "What is behind the horizon is seen again: |w| is kept away from 0, not w.": (
        lambda u, w, e: np.stack(
            [
                u / signed(w, e),
                1 / signed(w, e),
                np.where(np.abs(w) >= e, -u / signed(w, e) ** 2, 0.0),
            ]
        )
    ),
    "epsilon is added to w; want the larger of the two.": (
        lambda u, w, e: np.stack([u / (w + e), 1 / (w + e), -u / (w + e) ** 2])
    ),
}


@exercise(
    "15.1",
    DIVIDED,
    {
        "want three arrays": lambda u, w, epsilon: u / np.maximum(w, epsilon),
        "want three arrays like u": lambda u, w, epsilon: (u, 1.0, w),
        "which is not right": lambda u, w, epsilon: (u, u, u),
        "changes its argument": lambda u, w, epsilon: tuple(
            divided(u, np.maximum(w, epsilon, out=w), epsilon)
        ),
    },
)
def judge_of_divided(answer):
    u = np.array([1.0, -2.0, 3.0, 0.5, -1.5, 2.5, 0.0, -0.25, 4.0])
    w = np.array([2.0, 0.5, 0.125, 0.0625, 0.0, -0.0625, 0.25, -2.0, -0.125])

    def stacked(u, w, epsilon):
        parts = answer(u, w, epsilon)
        three = isinstance(parts, (tuple, list, np.ndarray)) and len(parts) == 3
        if not three or any(answers.unlike(part, u) for part in parts):
            return None
        return np.stack(parts)

    if stacked(u.copy(), w.copy(), 0.125) is None:
        return "It does not return three arrays like u; want three arrays like u: x, dx/du, dx/dw."
    return answers.function(stacked, divided, [(u, w, 0.125), (u[::-1], w, 0.01)], DIVIDED)


def grad_projective_grid(dG, theta, size, dw_sign=-1, power=2, divide=True, swapped=False):
    """The right gradient, or a wrong one."""
    x_t, y_t = reference.target_points(size[2], size[3])
    P = np.stack([x_t, y_t, np.ones(x_t.size)])
    square = np.concatenate([theta, np.ones((len(theta), 1))], axis=1).reshape(-1, 3, 3)
    u, v, w = np.moveaxis(square @ P, 1, 0)
    dx, dy = np.moveaxis(dG.reshape(len(theta), -1, 2), 2, 0)
    if swapped:
        dx, dy = dy, dx
    over = w if divide else np.ones_like(w)
    d = np.stack([dx / over, dy / over, dw_sign * (dx * u + dy * v) / w**power], axis=1)
    return (d @ P.T).reshape(-1, 9)[:, :8]


def variant(**options):
    return lambda dG, theta, size: grad_projective_grid(dG, theta, size, **options)


@exercise(
    "15.2",
    {
        "the denominator w is taken to be a constant": variant(dw_sign=0),
        "the sign of the denominator's part": variant(dw_sign=1),
        "is divided by w once": variant(power=1),
        "the division by w is missing": variant(divide=False),
        "[xy-swapped]": variant(swapped=True),
    },
    {
        "the shape is (2, 9)": lambda dG, theta, size: np.zeros((len(theta), 9)),
        "backward returns nothing": lambda dG, theta, size: None,
    },
)
def judge_of_grad_projective_grid(answer):
    options = {"align_corners": False}
    return verify(
        answer,
        "projective_grid",
        form="backward",
        wrt="theta",
        options=options,
    )


def phi(r):
    return r**2 * np.log(np.where(r > 0, r, 1))


def influence(p, knots, give, kernel=phi, plane=True, all_give=False):
    """B of a thin plate spline whose nails give, or of a wrong one."""

    def terms(points):
        distances = np.linalg.norm(points[:, None] - knots, axis=2)
        affine = np.column_stack([np.ones(len(points)), points])
        return kernel(distances), affine if plane else affine[:, :0]

    dents, affine = terms(knots)
    nothing = np.zeros((affine.shape[1],) * 2)
    matrix = np.block([[dents + give * np.eye(len(knots)), affine], [affine.T, nothing]])
    if all_give:
        matrix[len(knots) :, len(knots) :] = give * np.eye(len(nothing))
    return np.hstack(terms(p)) @ np.linalg.inv(matrix)[:, : len(knots)]


def nearest(p, knots, give):
    distances = np.linalg.norm(p[:, None] - knots, axis=2)
    return np.eye(len(knots))[distances.argmin(axis=1)]


def plane_alone(p, knots, give):
    """The plane that fits best: no dents."""
    affine = [np.column_stack([np.ones(len(points)), points]) for points in (p, knots)]
    return affine[0] @ np.linalg.pinv(affine[1])


INFLUENCE = {
    "The nails do not give: that is the spline through all of them.": (
        lambda p, knots, give: influence(p, knots, 0)
    ),
    "The three sums are to be 0, and do not give; only the nails do.": (
        lambda p, knots, give: influence(p, knots, give, all_give=True)
    ),
    "The nails give the wrong way: add to the diagonal, do not subtract.": (
        lambda p, knots, give: influence(p, knots, -give)
    ),
    "The plane is missing: an affine map would not come out as it is.": (
        lambda p, knots, give: influence(p, knots, give, plane=False)
    ),
    "The dents are missing: that is the plane that fits best.": plane_alone,
    "The dent is log r^2 times r, want r^2 log r.": (
        lambda p, knots, give: influence(
            p, knots, give, lambda r: 2 * r * np.log(np.where(r > 0, r, 1))
        )
    ),
    "The dent is r; that is the spline of a line, not of a sheet.": (
        lambda p, knots, give: influence(p, knots, give, lambda r: r)
    ),
    "The dent is r^2, without its logarithm.": (
        lambda p, knots, give: influence(p, knots, give, lambda r: r**2 + 1e-9 * phi(r))
    ),
    "Each point follows its nearest control point alone.": nearest,
    "NaN: 0 times log 0 is to be 0.": lambda p, knots, give: influence(p, knots, give) * np.nan,
    "Those are the values at the control points in the wrong order.": (
        lambda p, knots, give: influence(p, knots, give)[:, ::-1]
    ),
}


@exercise(
    "15.3",
    INFLUENCE,
    {
        "want an array of (7, 9)": lambda p, knots, give: influence(p, knots, give).T,
        "it returns nothing": lambda p, knots, give: None,
        "which is not right": lambda p, knots, give: influence(p, knots, give) + 0.5,
    },
)
def judge_of_influence(answer):
    rng = np.random.default_rng(1503)
    knots = rng.uniform(-1, 1, (9, 2))
    cases = [
        (rng.uniform(-1.2, 1.2, (7, 2)), knots, 0.0),
        (rng.uniform(-1.2, 1.2, (7, 2)), knots, 0.4),
        (knots[:4].copy(), knots, 0.4),
    ]
    for p, k, give in cases:
        value = answer(p.copy(), k.copy(), give)
        if not answers.unlike(value, np.zeros((len(p), 9))) and np.isnan(value).any():
            return "NaN: 0 times log 0 is to be 0."
    return answers.function(answer, influence, cases, INFLUENCE, tolerance=1e-7)


def square(numbers):
    return np.append(numbers, 1).reshape(3, 3)


def composed(first, second):
    matrix = square(first) @ square(second)
    return (matrix / matrix[2, 2]).ravel()[:8]


COMPOSED = {
    "The order: a point of the last output goes through `second` first.": (
        lambda first, second: composed(second, first)
    ),
    "The last entry of the product is not 1; divide all nine by it.": (
        lambda first, second: (square(first) @ square(second)).ravel()[:8]
    ),
    "The entries are multiplied one by one; want the product of matrices.": (
        lambda first, second: first * second
    ),
    "The numbers are added.": lambda first, second: first + second,
    "g and h are lost: only the first two rows are composed.": lambda first, second: composed(
        np.append(first[:6], [0, 0]), np.append(second[:6], [0, 0])
    ),
}


@exercise(
    "15.4",
    COMPOSED,
    {
        "want an array of (8,)": lambda first, second: square(first) @ square(second),
        "which is not right": lambda first, second: composed(first, second) + 1,
    },
)
def judge_of_composed(answer):
    rng = np.random.default_rng(1504)
    identity = np.array([1.0, 0, 0, 0, 1, 0, 0, 0])
    cases = [tuple(identity + rng.uniform(-0.4, 0.4, (2, 8))) for _ in range(3)]
    return answers.function(answer, composed, cases, COMPOSED)
