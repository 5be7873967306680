"""Chapter 16, What STNs cannot do, and what came after."""

import numpy as np

from stn_numpy import functional as F
from stn_numpy.autograd import Tensor
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify


def composed(first, second):
    """Reading by `first`, then reading the result by `second`, as one theta."""
    linear = first[:, :2] @ second[:, :2]
    return np.column_stack([linear, first[:, :2] @ second[:, 2] + first[:, 2]])


def square(theta):
    return np.vstack([theta, [0, 0, 1]])


def second_of(first, total):
    """What is read after `first`, so that both together read by `total`."""
    return np.linalg.solve(square(first), square(total))[:2]


def linear_of(first, total):
    """The linear part of the second theta."""
    return np.linalg.solve(first[:, :2], total[:, :2])


SECOND = {
    "The order: the last output's points go through `second` first; undo `first` on the left.": (
        lambda first, total: (square(total) @ np.linalg.inv(square(first)))[:2]
    ),
    "It composes `first` and `total`; one of them has to be undone.": composed,
    "It undoes `total`; undo `first`.": lambda first, total: second_of(total, first),
    "The shift of `total` is not measured from that of `first`.": (
        lambda first, total: np.column_stack(
            [linear_of(first, total), np.linalg.solve(first[:, :2], total[:, 2])]
        )
    ),
    "The shift that is left goes through the inverse of the linear part of `first`, too.": (
        lambda first, total: np.column_stack([linear_of(first, total), total[:, 2] - first[:, 2]])
    ),
    "The shift is lost.": (
        lambda first, total: np.column_stack([linear_of(first, total), np.zeros(2)])
    ),
    "The entries are divided one by one; want the inverse of a matrix.": (
        lambda first, total: total / first
    ),
    "The thetas are subtracted.": lambda first, total: total - first,
}


@exercise(
    "16.1",
    SECOND,
    {
        "want an array of (2, 3)": lambda first, total: np.eye(3),
        "which is not right": lambda first, total: second_of(first, total) + 1,
    },
)
def judge_of_second(answer):
    rng = np.random.default_rng(1601)
    cases = [tuple(np.eye(2, 3) + rng.uniform(-0.4, 0.4, (2, 2, 3))) for _ in range(3)]
    return answers.function(answer, second_of, cases, SECOND)


def nearest(row, x, rounded=np.round, index=lambda m, W: m, empty=True):
    """The pixel of a row that is nearest to each x, for some way to round."""
    m = index(rounded(x).astype(int), len(row))
    inside = (m >= 0) & (m < len(row))
    read = row[np.clip(m, 0, len(row) - 1)]
    return np.where(inside, read, 0.0) if empty else read


NEAREST = {
    "Halves are rounded up: that is Eq. (4), and not what PyTorch does.": (
        lambda row, x: nearest(row, x, lambda x: np.floor(x + 0.5))
    ),
    "Halves are rounded down; want the even neighbour.": (
        lambda row, x: nearest(row, x, lambda x: np.ceil(x - 0.5))
    ),
    "Halves go away from 0; want the even neighbour.": (
        lambda row, x: nearest(row, x, lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5))
    ),
    "Halves go to the odd neighbour; want the even one.": (
        lambda row, x: nearest(row, x, lambda x: np.round(x + 1) - 1)
    ),
    "That is the pixel before the point, not the nearest.": (
        lambda row, x: nearest(row, x, np.floor)
    ),
    "Round first: half a pixel outside the row, the nearest may be its last pixel.": (
        lambda row, x: np.where((x >= 0) & (x <= len(row) - 1), nearest(row, x), 0.0)
    ),
    "Outside is 0; here it is the last pixel.": lambda row, x: nearest(row, x, empty=False),
    "Mind Python: row[-1] is not outside.": (
        lambda row, x: nearest(row, x, index=lambda m, W: np.where(m < 0, m + W, m))
    ),
}


@exercise(
    "16.2",
    NEAREST,
    {
        "want an array of (15,)": lambda row, x: 0.0,
        "which is not right": lambda row, x: nearest(row, x) + 1,
    },
)
def judge_of_nearest(answer):
    row = np.array([3.0, 1, 4, 1.5, 9, 2.5])
    x = np.array([-1.0, -0.5, -0.25, 0, 0.5, 1.25, 1.5, 2.5, 2.75, 3.5, 4.5, 5, 5.25, 5.5, 7])
    return answers.function(answer, nearest, [(row, x), (row[:5], x)], NEAREST)


def warp(
    U,
    flow,
    swapped=False,
    sign=1,
    align_corners=False,
    factor=lambda W, H: (2 / W, 2 / H),
    identity=True,
):
    """Read with a shift of its own at every pixel, with what may be wrong with it."""
    H, W = U.shape[2:]
    rows, columns = flow.shape[1:3]
    y, x = np.mgrid[:rows, :columns].astype(flow.dtype)
    flow = sign * (flow[..., ::-1] if swapped else flow)
    start = 1 if not align_corners else 0
    here = np.stack([x, y], axis=-1) * 2 + start
    size = np.array([W, H], flow.dtype) - (0 if not align_corners else 1)
    G = flow * np.array(factor(W, H), flow.dtype)
    G = G + (here / size - 1).astype(flow.dtype) if identity else G
    return F.grid_sample(U, G)


def with_mistake(**mistake):
    return lambda U, flow: warp(U, flow, **mistake)


WARPS = {
    "The flow is (x, y), along the last axis; here x and y are exchanged.": with_mistake(
        swapped=True
    ),
    "The sign: read at the place plus the flow.": with_mistake(sign=-1),
    "The flow is in pixels; here it is taken for normalised coordinates.": with_mistake(
        factor=lambda W, H: (1.0, 1.0)
    ),
    "One pixel along x is 2 / W; here the width and the height are exchanged.": with_mistake(
        factor=lambda W, H: (2 / H, 2 / W)
    ),
    "One pixel is half as far as it should be: the image is 2 wide in normalised coordinates.": (
        with_mistake(factor=lambda W, H: (1 / W, 1 / H))
    ),
}


@exercise(
    "16.3",
    WARPS | {"Where the flow is 0 each pixel is to be read": with_mistake(identity=False)},
    {
        "want an array of": lambda U, flow: np.zeros(3),
        "[zero-gradient]": lambda U, flow: warp(U, flow.detach()),
        "Where the flow is 0 each pixel is": with_mistake(align_corners=True),
        "not right": lambda U, flow: warp(U, 1.5 * flow),
    },
)
def judge_of_warp(answer):
    rng = np.random.default_rng(1603)
    U, flow = rng.standard_normal((2, 3, 5, 7)), rng.uniform(-2, 2, (2, 4, 6, 2))

    def value(function, flow):
        V = function(Tensor(U), Tensor(flow))
        return V.data if isinstance(V, Tensor) else V

    for name, given in (("of 0", 0 * flow), ("of random numbers", flow)):
        V, wanted = value(answer, given), value(warp, given)
        if problem := answers.unlike(V, wanted):
            return f"For a flow {name} it returns {problem}; want an array of {wanted.shape}."
        if np.allclose(V, wanted, rtol=0, atol=1e-9):
            continue
        if name == "of 0":
            return (
                "Where the flow is 0 each pixel is to be read where it is; pixel (x, y) is at "
                "(2 x + 1) / W - 1 and (2 y + 1) / H - 1."
            )
        for words, mistaken in WARPS.items():
            if np.allclose(V, value(mistaken, given), rtol=0, atol=1e-9):
                return words
        return "For a flow of 0 it is right; for a flow of random numbers it is not right."

    def sampler(U, G):
        """The answer, asked as `grid_sample` is: the flow that leads to the points G."""
        H, W = U.shape[2:]
        y, x = np.mgrid[: G.shape[1], : G.shape[2]].astype(G.dtype)
        size = np.array([W, H], G.dtype)
        return answer(U, ((G + 1) * size - 1) * 0.5 - np.stack([x, y], axis=-1))

    return verify(sampler, "grid_sample")
