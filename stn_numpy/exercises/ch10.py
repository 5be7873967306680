"""Chapter 10, Gradient checking."""

from collections.abc import Callable, Sequence

import numpy as np

from stn_numpy import functional as F
from stn_numpy.autograd import Tensor, op
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.gradcheck import numeric_gradients
from stn_numpy.verify import verify
from stn_numpy.verify.mistakes.sampling import wrong_sampler

STEPS = {
    "A cube root is missing: eps times eps^2 is eps^3.": lambda u, f, third: 3 * u * f / third,
    "There the two errors are equal; their sum is smallest where their slopes cancel.": (
        lambda u, f, third: (6 * u * f / third) ** (1 / 3)
    ),
    "That is the rule of thumb; it holds where |f| and |f'''| are about 1.": (
        lambda u, f, third: u ** (1 / 3)
    ),
    "|f| and |f'''| are exchanged: the more the function bends, the smaller the step.": (
        lambda u, f, third: (3 * u * third / f) ** (1 / 3)
    ),
    "The derivative of 1 / eps is -1 / eps^2, so that eps^3 comes out, not eps^2.": (
        lambda u, f, third: (3 * u * f / third) ** (1 / 2)
    ),
}


@exercise("10.1", STEPS, {"it returns nothing": lambda u, f, third: None})
def best_step(answer):
    rng = np.random.default_rng(1001)
    cases = [(0.125, 3.0, 9.0), (1e-6, 2.0, 6.0)]
    cases += [tuple(float(number) for number in rng.uniform(0.1, 9, 3)) for _ in range(4)]

    def right(u, f, third):
        return (3 * u * f / third) ** (1 / 3)

    return answers.function(answer, right, cases, STEPS)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    y = softmax(x)
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


@exercise(
    "10.2",
    {
        "the gradient is zero everywhere": lambda dy, x: np.zeros_like(x),
        "only the diagonal": lambda dy, x: dy * softmax(x) * (1 - softmax(x)),
        "the sum over the row is missing": lambda dy, x: dy * softmax(x),
        "the factor y in front is missing": lambda dy, x: softmax_backward(dy, x) / softmax(x),
        "the sum goes over the first axis": lambda dy, x: (
            softmax(x) * (dy - (dy * softmax(x)).sum(axis=0, keepdims=True))
        ),
        "it is taken to be 1 everywhere": lambda dy, x: softmax_backward(np.ones_like(dy), x),
        "the sign is wrong": lambda dy, x: -softmax_backward(dy, x),
    },
    {"returns nothing": lambda dy, x: None},
)
def backward_of_softmax(answer):
    return verify(answer, "softmax", form="backward")


def drawn(low: Callable, high: Callable, place: Callable) -> Callable:
    """Points in cells from low(size) to high(size) - 1, at a place in the cell."""

    def points(rng, count, size, margin):
        cells = rng.integers(low(size), high(size), count)
        return cells + place(rng, count, margin)

    return points


def inside_margins(rng, count, margin):
    return rng.uniform(margin, 1 - margin, count)


@exercise(
    "10.3",
    {
        "is nearer to a whole number": lambda rng, count, size, margin: rng.uniform(
            -1, size, count
        ),
        "There is no point between -1 and 0": drawn(
            lambda size: 0, lambda size: size, inside_margins
        ),
        "There is no point between 4 and 5": drawn(
            lambda size: -1, lambda size: size - 1, inside_margins
        ),
        "They should reach from -1 to 5": drawn(
            lambda size: -2, lambda size: size + 1, inside_margins
        ),
        "at the same place of its cell": drawn(
            lambda size: -1, lambda size: size, lambda rng, count, margin: 0.5
        ),
        "The points are the same for two different generators": lambda rng, count, size, margin: (
            safe_points(np.random.default_rng(1), count, size, margin)
        ),
        "The points are others when the same generator starts again": (
            lambda rng, count, size, margin: safe_points(
                np.random.default_rng(), count, size, margin
            )
        ),
    },
    {"want an array of (4000,)": lambda rng, count, size, margin: 0.5},
)
def judge_of_safe_points(answer):
    for size, margin in ((5, 0.2), (3, 0.45), (2, 0.05)):
        count = 4000
        points = answer(np.random.default_rng(size), count, size, margin)
        if problem := answers.unlike(points, np.zeros(count)):
            return f"It returns {problem}; want an array of ({count},)."
        if not np.isfinite(points).all():
            return "Its numbers have to be finite."
        off = np.abs(points - np.round(points)).min()
        if off < margin - 1e-9:
            return f"With margin = {margin} a point is nearer to a whole number: {off:.3g} away."
        if points.min() < -1 or points.max() > size:
            return (
                f"For size = {size} there is a point at {points.min():.3g} and one at "
                f"{points.max():.3g}. They should reach from -1 to {size}."
            )
        cells = np.floor(points)
        for cell in range(-1, size):
            if (cells == cell).sum() < 0.4 * count / (size + 1):
                few = "no point" if not (cells == cell).any() else "hardly a point"
                return f"There is {few} between {cell} and {cell + 1}, for size = {size}."
        if np.ptp(points - cells) < 0.8 * (1 - 2 * margin):
            return "Each point is at the same place of its cell, or nearly so. Let it be anywhere."
        if not np.array_equal(answer(np.random.default_rng(size), count, size, margin), points):
            return "The points are others when the same generator starts again. Draw with rng."
        if np.array_equal(answer(np.random.default_rng(99), count, size, margin), points):
            return "The points are the same for two different generators. Draw with rng."
    return None


def safe_points(rng, count, size, margin):
    return drawn(lambda size: -1, lambda size: size, inside_margins)(rng, count, size, margin)


def planted(made: Sequence[str] = (), factor: float = 1, ones: bool = False) -> Callable:
    """A sampler whose output is right, and whose gradients have the mistakes in `made`."""

    @op
    def sampler(U, G):
        def backward(dV):
            dV = np.ones_like(dV) if ones else dV
            made_here = frozenset(made)
            return tuple(
                (factor * wrong_sampler(made_here, name, dV, U, G)).astype(U.dtype)
                for name in ("input", "grid")
            )

        return F.grid_sample(U, G).data, backward

    return sampler


HINTS = {
    "all gradients are twice too large": (planted(factor=2), "compare with differences"),
    "the gradient of the image is the sum of all weights, as printed in Eq. (6)": (
        planted(["printed (6)"]),
        "look at the gradient of U as well",
    ),
    "dx and dy are exchanged": (planted(["stored (y, x)"]), "look at the gradient of G as well"),
    "dV is not used": (planted(ones=True), "the gradient from above must not be ones"),
    "the factor size / 2 is missing": (
        planted(["unit missing"]),
        "for which size is that factor 1?",
    ),
    "W / 2 stands where H / 2 belongs": (
        planted(["unit of other axis"]),
        "for which images are the two the same?",
    ),
    "channels are summed too early": (planted(["channels"]), "how many channels are there?"),
    "every point reads the first image": (
        planted(["first image"]),
        "how many images are there?",
    ),
    "the weight of the other axis is missing in the slope": (
        planted(["weight of other axis missing"]),
        "look at the gradient of G as well",
    ),
    "a pixel keeps only what the last point sent": (
        planted(["last write, points"]),
        "is any pixel read by two points?",
    ),
    "neighbours outside are clipped before they are weighed": (
        planted(["clip before weight"]),
        "is any point near the border, or outside?",
    ),
    "a point outside sends nothing to its neighbours inside": (
        planted(["point test"]),
        "is any point half outside?",
    ),
}


def check_on(N, C, H, W, rows, columns, low=0, high=-1, ones=False, only=None) -> Callable:
    """A check as a learner may write it: on these sizes, with points so far beyond the image."""

    def is_right(sampler):
        rng = np.random.default_rng(1004)
        U = rng.standard_normal((N, C, H, W))
        cells = rng.integers(low, (W + high, H + high), (N, rows, columns, 2))
        G = (2 * (cells + rng.uniform(0.1, 0.9, cells.shape)) + 1) / np.array([W, H]) - 1
        tensors = [Tensor(U, requires_grad=True), Tensor(G, requires_grad=True)]
        output = sampler(*tensors)
        dV = np.ones(output.shape) if ones else rng.standard_normal(output.shape)
        output.backward(dV)
        numeric = numeric_gradients(sampler, [U, G], dV)
        errors = [np.abs(t.grad - n).max() for t, n in zip(tensors, numeric)]
        return bool(max(errors if only is None else [errors[only]]) < 1e-6)

    return is_right


@exercise(
    "10.4",
    {
        "It rejects a sampler that is right": lambda sampler: False,
        "all gradients are twice too large": lambda sampler: True,
        "as printed in Eq. (6)": check_on(2, 3, 5, 4, 6, 7, -2, 1, only=1),
        "dx and dy are exchanged": check_on(2, 3, 5, 4, 6, 7, -2, 1, only=0),
        "dV is not used": check_on(2, 3, 5, 4, 6, 7, -2, 1, ones=True),
        "the factor size / 2 is missing": check_on(2, 3, 2, 2, 3, 3, -2, 1),
        "for which images are the two the same": check_on(2, 3, 4, 4, 6, 7, -2, 1),
        "how many channels are there": check_on(2, 1, 5, 4, 6, 7, -2, 1),
        "how many images are there": check_on(1, 3, 5, 4, 6, 7, -2, 1),
        "clipped before they are weighed": check_on(2, 3, 5, 4, 6, 7),
        "is any pixel read by two points": check_on(2, 3, 7, 6, 1, 1),
    },
    {"want True or False": lambda sampler: None},
)
def is_right(answer):
    verdict = answer(planted())
    if not isinstance(verdict, (bool, np.bool_)):
        return f"It returns {type(verdict).__name__}; want True or False."
    if not verdict:
        return (
            "It rejects a sampler that is right. Are all points away from whole pixels, and are "
            "the arrays float64?"
        )
    for words, (sampler, hint) in HINTS.items():
        if answer(sampler):
            return f"It accepts a sampler where {words}. A hint: {hint}"
    return None
