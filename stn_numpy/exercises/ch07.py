"""Chapter 7, Backward I: the image."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify


def weights(x: float, y: float, H: int, W: int) -> np.ndarray:
    return reference.eq06_grad_U(np.zeros((1, H, W)), np.array([x]), np.array([y]))[0]


@exercise(
    "07.1",
    mistakes={
        "V changes by 10": lambda: np.full((4, 4), 10.0),
        "V changes by 0.625": lambda: np.full((4, 4), 0.625),
        "promises a change of 0": lambda: np.zeros((4, 4)),
        "promises a change of 1": lambda: np.eye(4)[0] * np.eye(4)[0][:, None],
        "want an array of (4, 4)": lambda: np.zeros(16),
        "have to be finite": lambda: np.full((4, 4), np.inf),
    },
)
def direction(answer):
    D = answers.as_array(answer())
    if problem := answers.unlike(D, np.zeros((4, 4))):
        return f"It returns {problem}; want an array of (4, 4)."
    if not np.isfinite(D).all():
        return "Its numbers have to be finite."
    truth = float((weights(2.5, 2.5, 4, 4) * D).sum())
    promised = float(D.sum())
    if abs(truth) > 1e-9:
        return f"In truth V changes by {truth:.6g}; want 0."
    if abs(promised - 10) > 1e-9:
        return f"What is printed promises a change of {promised:.6g}; want 10."
    return None


def added(size: int, index: np.ndarray, values: np.ndarray) -> np.ndarray:
    result = np.zeros(size)
    np.add.at(result, index, values)
    return result


def last_write(size, index, values):
    result = np.zeros(size)
    result[index] += values
    return result


def first_write(size, index, values):
    return last_write(size, index[::-1], values[::-1])


SCATTER = {
    "Where an index comes more than once, only its last value is kept.": last_write,
    "Where an index comes more than once, only its first value is kept.": first_write,
    "Where an index comes more than once you take the mean of its values; it is their sum.": (
        lambda size, index, values: (
            added(size, index, values) / np.maximum(added(size, index, np.ones(len(index))), 1)
        )
    ),
    "That counts how often each index comes, without its values.": (
        lambda size, index, values: added(size, index, np.ones(len(index)))
    ),
    "All values go to every place that is named; each goes to its own.": (
        lambda size, index, values: np.isin(np.arange(size), index) * values.sum()
    ),
}


@exercise(
    "07.2",
    SCATTER,
    {
        "want an array of (8,)": lambda size, index, values: np.bincount(index, values),
        "it gives": lambda size, index, values: -added(size, index, values),
    },
)
def scatter_add(answer):
    rng = np.random.default_rng(702)
    cases = [(8, np.array([1, 1, 5, 1]), np.array([10.0, 20.0, 5.0, 30.0]))]
    for size, count in ((3, 12), (6, 6), (9, 30), (4, 0)):
        cases.append((size, rng.integers(0, size, count), rng.standard_normal(count).round(2)))
    return answers.function(answer, added, cases, SCATTER)


def scattering(
    add=np.add.at,
    clip=False,
    wrap=False,
    mirrored=False,
    swapped=False,
    aligned=False,
    above=True,
    printed=False,
):
    """The backward pass for the image as a learner may write it, with one mistake or another."""

    def grad_image(dV, input, grid):
        C, H, W = input.shape[1:]
        g_x, g_y = grid[..., 0], grid[..., 1]
        if swapped:
            g_x, g_y = g_y, g_x
        x = (g_x + 1) * (W - 1) / 2 if aligned else ((g_x + 1) * W - 1) / 2
        y = (g_y + 1) * (H - 1) / 2 if aligned else ((g_y + 1) * H - 1) / 2
        m, n = np.floor(x).astype(int), np.floor(y).astype(int)
        a, b = x - m, y - n
        if mirrored:
            a, b = 1 - a, 1 - b
        dV = dV if above else np.ones_like(dV)
        dU = np.zeros_like(input)
        for row, along_y in ((n, 1 - b), (n + 1, b)):
            for column, along_x in ((m, 1 - a), (m + 1, a)):
                if clip:
                    row, column = np.clip(row, 0, H - 1), np.clip(column, 0, W - 1)
                low = (-H, -W) if wrap else (0, 0)
                inside = (low[0] <= row) & (row < H) & (low[1] <= column) & (column < W)
                number = np.nonzero(inside)[0]
                for c in range(C):
                    values = (dV[:, c] * along_y * along_x)[inside]
                    if printed:
                        add(dU[:, c], number, values[:, None, None])
                    else:
                        add(dU[:, c], (number, row[inside], column[inside]), values)
        return dU

    return grad_image


def buffered(array, index, values):
    array[index] += values


@exercise(
    "07.3",
    {
        "[last-write]": scattering(add=buffered),
        "[printed-eq-6]": scattering(printed=True),
        "[cotangent-ignored]": scattering(above=False),
        "[weights-mirrored]": scattering(mirrored=True),
        "[xy-swapped]": scattering(swapped=True),
        "[align-corners-mixed]": scattering(aligned=True),
        "[padding-mixed]": scattering(clip=True),
    },
    {
        "IndexError": lambda dV, input, grid: input[99],
        "the shape is": lambda dV, input, grid: scattering()(dV, input, grid)[0],
        "values are wrong": scattering(wrap=True),
    },
)
def grad_image(answer):
    return verify(answer, against="grid_sample", form="backward", wrt="input")


def arriving(x: float, y: float, H: int, W: int) -> float:
    return float(weights(x, y, H, W).sum())


def beyond_edges(x: float, y: float, H: int, W: int) -> tuple[float, float]:
    """How far a point is outside of the squares of the pixels, along x and along y."""
    return max(-0.5 - x, x - (W - 0.5), 0.0), max(-0.5 - y, y - (H - 0.5), 0.0)


ARRIVES = {
    "The share falls from the centre of the last pixel, W - 1, to 0 at W; not from its edge.": (
        lambda x, y, H, W: float(np.prod([max(0, 1 - d) for d in beyond_edges(x, y, H, W)]))
    ),
    "Already between the centre of the last pixel, W - 1, and its edge, the share falls.": (
        lambda x, y, H, W: float(beyond_edges(x, y, H, W) == (0, 0))
    ),
    "A point half outside still reaches the pixels at the border: the share falls to 0 within one "
    "pixel, not at once.": lambda x, y, H, W: float(0 <= x <= W - 1 and 0 <= y <= H - 1),
    "All of it arrives only inside of the image.": lambda x, y, H, W: 1.0,
    "H and W are exchanged: x goes from 0 to W - 1.": lambda x, y, H, W: arriving(x, y, W, H),
    "The last column is W - 1, the last row H - 1: beyond them the share falls.": (
        lambda x, y, H, W: arriving(x, y, H + 1, W + 1)
    ),
    "The two shares, along x and along y, are multiplied; you take their mean.": (
        lambda x, y, H, W: (arriving(x, 0, 1, W) + arriving(0, y, H, 1)) / 2
    ),
    "The two shares, along x and along y, are multiplied; you take the smaller one.": (
        lambda x, y, H, W: min(arriving(x, 0, 1, W), arriving(0, y, H, 1))
    ),
}


@exercise("07.4", ARRIVES, {"it gives": lambda x, y, H, W: 0.25})
def arrives(answer):
    rng = np.random.default_rng(704)
    cases = [(3.5, 1.0, 4, 4), (3.25, 2.25, 4, 3), (-0.25, -0.5, 5, 4), (2.0, 1.0, 3, 3)]
    cases += [(7.0, 1.0, 3, 3), (1.0, -4.0, 3, 3), (0.5, 0.0, 1, 2), (0.25, -0.25, 1, 1)]
    cases += [
        (float(rng.uniform(-1.5, W + 0.5)), float(rng.uniform(-1.5, H + 0.5)), H, W)
        for H, W in rng.integers(1, 7, (20, 2)).tolist()
    ]
    return answers.function(answer, arriving, cases, ARRIVES)
