"""The sampler: Eq. (3) forwards, Eqs. (6) and (7) backwards.

    V[n, c, i] = sum over m_y, m_x of U[n, c, m_y, m_x] k(y_i - m_y) k(x_i - m_x)        (3)

A kernel k of support r reaches the 2 r pixels of a row nearest to x, from floor(x) - r + 1 to
floor(x) + r, so the sum has (2 r)^2 terms, not H W. `kernel_sample` adds them up for any kernel;
`bilinear_sample` is the same for the kernel of Eq. (5), four terms factored into three
interpolations, which is several times faster. Coordinates come in normalised and are used in
pixels; the factor between them is in no equation of the paper and in every gradient here.

Pixels outside the image are real zeros: the image stands in a frame of them (padding_mode "zeros").
No weight is ever changed because a point is outside.
"""

from typing import NamedTuple

import numpy as np

from stn_numpy import checks
from stn_numpy.autograd import op, recording
from stn_numpy.functional.kernels import KERNELS, Kernel
from stn_numpy.functional.layout import batch_first, batch_last, crop, pad

PADDING_MODES = ("zeros", "border", "reflection")


@op
def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """Eq. (3): read the image U at the points G; V[n, :, i, j] = U[n] at the point grid[n, i, j].

    input U (N, C, H, W) and grid G (N, H', W', 2) of (x, y), of one float dtype; integer images are
    read in the dtype of the grid and have no gradient. Returns V (N, C, H', W').
    Normalised coordinates: -1 and 1 are the outer edges of the outermost pixels,
    pixel = ((g + 1) size - 1) / 2, or, with align_corners, their centres,
    pixel = (g + 1) (size - 1) / 2.
    mode: "bilinear", Eq. (5); "nearest", Eq. (4), halves up; "bicubic"; or a `kernels.Kernel`.
    padding_mode, for what is outside: "zeros"; "border", the nearest pixel inside; "reflection",
    the image mirrored at its ends.
    Backward: Eq. (6) for U, Eq. (7) for G; at a kink the derivative from the right, and 0 where a
    point is exactly on the border it was moved to, as in PyTorch.
    A NaN coordinate gives NaN at that output, and no gradient to U; an infinite one is outside.
    Raises ValueError or TypeError for other shapes, dtypes or modes.
    """
    U, G, kernel = _checked(input, grid, mode, padding_mode)
    sample = bilinear_sample if mode == "bilinear" else kernel_sample
    V, backward = sample(
        batch_last(U),
        np.ascontiguousarray(G.transpose(3, 1, 2, 0)),
        kernel,
        padding_mode,
        align_corners,
    )

    def batch_first_backward(dV, needs):
        dU, dG = backward(batch_last(dV), needs)
        return (
            batch_first(dU) if needs[0] else None,
            dG.transpose(3, 1, 2, 0) if needs[1] else None,
        )

    return batch_first(V), batch_first_backward


class Taps(NamedTuple):
    """One of the 2 r pixels a kernel reaches along one axis, for every point."""

    index: np.ndarray  # which pixel, counted in the framed image
    weight: np.ndarray  # k(x - m)
    slope: np.ndarray  # d weight / d g: k'(x - m) times pixels per unit of g


def kernel_sample(U, G, kernel, padding_mode, align_corners):
    """Eq. (3) for any kernel.

    U (C, H, W, N), G (2, H', W', N) -> V (C, H', W', N) and its backward.
    """
    C, H, W, N = U.shape
    framed = pad(U, (1, 1)).reshape(C, -1)  # one pixel of zeros: all taps outside end there
    xs = _taps(G[0], W, kernel, padding_mode, align_corners)
    ys = _taps(G[1], H, kernel, padding_mode, align_corners)
    images = np.arange(N)

    def pixel(ty: Taps, tx: Taps) -> np.ndarray:
        return ((ty.index * (W + 2) + tx.index) * N + images).ravel()

    V = np.zeros((C, *G.shape[1:]), U.dtype)
    for ty in ys:
        for tx in xs:
            V += _gather(framed, pixel(ty, tx), V.shape) * (ty.weight * tx.weight)

    def backward(dV, needs):
        dframed = np.zeros_like(framed) if needs[0] else None
        dG = np.zeros_like(G)
        for ty in ys:
            for tx in xs:
                index = pixel(ty, tx)
                if needs[0]:  # Eq. (6), without the two sums that are printed in the paper
                    _scatter(dframed, index, dV * (ty.weight * tx.weight))
                if needs[1]:  # Eq. (7)
                    dV_U = (dV * _gather(framed, index, dV.shape)).sum(axis=0)
                    dG[0] += dV_U * (ty.weight * tx.slope)
                    dG[1] += dV_U * (ty.slope * tx.weight)
        dU = crop(dframed.reshape(C, H + 2, W + 2, N), (1, 1)) if needs[0] else None
        return dU, dG

    return V, backward


def bilinear_sample(U, G, kernel, padding_mode, align_corners):
    """Eq. (3) with the kernel of Eq. (5): interpolate along x above and below, then along y.

    U (C, H, W, N), G (2, H', W', N) -> V (C, H', W', N) and its backward; `kernel` is not needed.
    """
    C, H, W, N = U.shape
    # Two pixels of zeros: a point further out reads four of them wherever it is, so it may as well
    # stand at -2 or at the size of the image.
    framed = pad(U, (2, 2)).reshape(C, -1)
    row = (W + 4) * N  # in memory, from a pixel to the one below; to the one on its right it is N
    a, x0, x_per_g = _cell(G[0], W, padding_mode, align_corners)
    b, y0, y_per_g = _cell(G[1], H, padding_mode, align_corners)
    size = (H + 4) * row
    index = np.int32 if size < 2**31 else np.intp  # half the bytes, where they suffice
    corner = y0.astype(index) * row
    corner += x0.astype(index) * N
    corner += np.arange(N, dtype=index) + 2 * (row + N)
    a, b, corner = (array.ravel() for array in (a, b, corner.astype(np.intp)))

    V = np.empty((C, corner.size), U.dtype)
    # The slopes of all channels are kept for Eq. (7), where it may be asked for.
    kept = C if recording() else 1
    along_top, along_bottom, down = np.empty((3, kept, corner.size), U.dtype)
    for c in range(C):
        # Every array begins as one of the four pixels and becomes, in place, what it is named for:
        # the time goes into moving memory, not into arithmetic.
        k = c % kept
        v00, v01, v10, v11 = V[c], along_top[k], down[k], along_bottom[k]
        for offset, pixel in ((0, v00), (N, v01), (row, v10), (row + N, v11)):
            framed[c, offset:].take(corner, out=pixel, mode="wrap")  # "wrap" is only the fastest
        v01 -= v00  # the slope along the top
        v11 -= v10  # the slope along the bottom
        v00 += a * v01  # top
        v10 += a * v11  # bottom
        v10 -= v00  # the slope down
        v00 += b * v10  # V

    def backward(dV, needs):
        dV = dV.reshape(C, -1)
        dU = dG = None
        if needs[0]:
            # Eq. (6): dV/dU is the weight; a pixel read n times gets a sum of n. Two pixels side by
            # side share one complex number, the left one is its real part, the right one its
            # imaginary part: np.add.at, the slowest call here, is made twice and not four times.
            pair = np.result_type(a, np.complex64)
            weights = np.empty(corner.size, pair)
            weights.imag = a
            np.subtract(1, a, out=weights.real)
            lower = b * weights
            upper = weights - lower
            dU, frame = np.empty((C, H, W, N), a.dtype), (1, H + 4, W + 4, N)
            for c in range(C):
                dpairs = np.zeros(N + size, pair)
                dV_c = dV[c].astype(pair)
                np.add.at(dpairs[N:], corner, dV_c * upper)
                np.add.at(dpairs[N + row :], corner, dV_c * lower)
                # A pixel is the left one of its own pair and the right one of the pair before.
                dleft, dright = dpairs[N:].real.reshape(frame), dpairs[:-N].imag.reshape(frame)
                np.add(crop(dleft, (2, 2)), crop(dright, (2, 2)), out=dU[c : c + 1])
        if needs[1]:
            # Eq. (7): the slope along x between the two rows, the slope along y; the sum over the
            # channels comes first.
            dG = np.empty_like(G)
            dx, dy = dG.reshape(2, -1)
            np.einsum("cp,cp->p", dV, along_bottom, out=dx)
            top = np.einsum("cp,cp->p", dV, along_top)
            dx -= top
            dx *= b
            dx += top
            np.einsum("cp,cp->p", dV, down, out=dy)
            dG[0] *= x_per_g
            dG[1] *= y_per_g
        return dU, dG

    return V.reshape(C, *G.shape[1:]), backward


def _cell(g, size: int, padding_mode: str, align_corners: bool):
    """The coordinates g between two pixels: how far from the first, 0 <= a < 1; which it is, as a
    float from -2 to `size`; the slope d pixel / d g.

    A NaN is -2: a point that is nowhere reads the frame, and leaves its gradient there. Its a stays
    NaN, and so its output is NaN.
    """
    x, x_per_g = _move(*_pixels(g, size, align_corners), size, padding_mode, align_corners, 1)
    x0 = np.floor(x)
    x -= x0
    if np.isnan(x0).any():
        x0 = np.fmax(x0, -2)
    return x, x0, x_per_g


def _pixels(g, size: int, align_corners: bool):
    """Normalised coordinates as pixels, and pixels per unit of g.

    In the order of PyTorch, so that both choose the same cell where a point is on the lattice but
    for rounding.
    """
    per_g = (size - 1) / 2 if align_corners else size / 2  # Python numbers keep float32 float32
    if per_g == 0:  # one pixel, where all points are but those that are infinitely far
        return np.where(np.isfinite(g), 0, g).astype(g.dtype), per_g
    with np.errstate(over="ignore"):  # a number too large for its dtype is infinite
        x = g + 1
        x *= per_g
    if not align_corners:
        x -= 0.5
    return x, per_g


def _move(x, per_g: float, size: int, padding_mode: str, align_corners: bool, support: int):
    """Points outside the image moved to where they may be looked up; the slope d pixel / d g.

    "zeros": at most so far out that a kernel sees nothing but zeros. Else into 0 .. size - 1.
    NaN stays NaN.
    """
    if padding_mode == "zeros":
        return np.clip(x, -support - 1, size - 1 + support, out=x), per_g
    slope = np.full_like(x, per_g)
    if padding_mode == "reflection":
        x, turns = _reflect(x, size, align_corners)
        slope *= turns
    # Moved to the border, the point stays where it is whatever g does.
    slope *= (x > 0) & (x < size - 1) | np.isnan(x)
    return np.clip(x, 0, size - 1, out=x), slope


def _reflect(x, size: int, align_corners: bool):
    """Fold the line over and over onto the image, between its two ends; every fold turns the slope.

    Returns the points and 1 or -1. An infinite point has no mirror image: it stays where it is.
    """
    low, span = (0, size - 1) if align_corners else (-0.5, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.abs(x - low)
        folds = np.floor(distance / span) if span else np.zeros_like(x)
        rest = distance - folds * span if span else np.zeros_like(x) * x
        odd = folds % 2 == 1
    folded = np.where(odd, span - rest, rest) + low
    turns = np.where(odd != (x < low), -1, 1)
    return np.where(np.isinf(x), x, folded).astype(x.dtype), turns.astype(x.dtype)


def _taps(g, size: int, kernel: Kernel, padding_mode: str, align_corners: bool) -> list[Taps]:
    """The pixels that a kernel reaches from the coordinates g, along an axis of `size` pixels.

    With "border" and "reflection" a kernel of support 1 is moved into the image as a whole; a wider
    one stays, and each of its pixels is looked up inside the image. Both as in PyTorch.
    """
    r = kernel.support
    x, per_g = _pixels(g, size, align_corners)
    infinite = np.isinf(x)
    if r > 1 and padding_mode == "reflection":
        x = _one_period(x, size, align_corners)
    x, slope_of_x = _move(
        x, per_g, size, padding_mode if r == 1 else "zeros", align_corners, r + size
    )
    first = np.floor(x) - (r - 1)
    taps = []
    for i in range(2 * r):
        m = first + i
        d = x - m
        weight = _values(kernel.weights(d), "weights", d)
        slope = _values(kernel.slopes(d), "slopes", d)
        lost = np.isnan(d)
        weight, slope = np.where(lost, d, weight), np.where(lost, d, slope * slope_of_x)
        slope = np.where(infinite, 0, slope)  # nothing changes out there
        m = _look_up(np.where(lost, 0, m).astype(np.intp), size, padding_mode, align_corners)
        m = np.where(lost, -1, m)  # what is nowhere reads, and teaches, the frame
        taps.append(Taps(m + 1, weight, slope.astype(d.dtype, copy=False)))
    return taps


def _one_period(x, size: int, align_corners: bool):
    """Mirror images repeat: x less as many whole periods as it takes to come near the image."""
    low, period = (0, 2 * (size - 1)) if align_corners else (-0.5, 2 * size)
    if period == 0:
        return np.where(np.isnan(x), x, 0).astype(x.dtype)
    with np.errstate(invalid="ignore"):
        near = x - period * np.floor((x - low) / period)
    return np.where(np.isinf(x), x, near).astype(x.dtype)


def _look_up(m, size: int, padding_mode: str, align_corners: bool):
    """The pixel that stands for pixel number m, which may be outside; -1 and size are zeros."""
    if padding_mode == "reflection":
        if align_corners:
            m = m % (2 * size - 2) if size > 1 else 0 * m
            m = np.minimum(m, 2 * size - 2 - m)
        else:
            m = m % (2 * size)
            m = np.minimum(m, 2 * size - 1 - m)
    return np.clip(m, -1, size) if padding_mode == "zeros" else np.clip(m, 0, size - 1)


def _values(values, method: str, d: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != d.shape:
        raise ValueError(
            f"grid_sample: mode.{method}(d) returned shape {values.shape}, want {d.shape} as d"
        )
    return values.astype(d.dtype, copy=False)


def _gather(framed, index, shape, offset=0):
    """framed[c, index + offset] for every channel c, in the given shape (C, H', W', N)."""
    values = np.empty((len(framed), index.size), framed.dtype)
    for channel, out in zip(framed, values):
        channel[offset:].take(index, out=out, mode="clip")  # "clip" only because it is faster
    return values.reshape(shape)


def _scatter(framed, index, values, offset=0):
    """Add values to framed[c, index + offset]; where an index comes n times, all n are added."""
    for channel, v in zip(framed, values):
        np.add.at(channel[offset:], index, v.ravel())


def _checked(input, grid, mode, padding_mode):
    name = "grid_sample"
    U = checks.array(name, "input", input, "(N, C, H, W)")
    G = checks.floats(name, "grid", grid, "(N, H', W', 2)")
    if G.shape[3] != 2:
        raise ValueError(f"{name}: grid has shape {G.shape}, want (N, H', W', 2), the last (x, y)")
    if len(U) != len(G):
        raise ValueError(f"{name}: grid has shape {G.shape}, want {len(U)} as input {U.shape} has")
    checks.not_empty(name, "input", U)
    checks.not_empty(name, "grid", G)
    if U.dtype.kind != "f":
        U = U.astype(G.dtype)
    checks.same_dtype(name, input=U, grid=G)
    checks.choice(name, "padding_mode", padding_mode, PADDING_MODES)
    if isinstance(mode, (str, type)) or not isinstance(mode, Kernel):
        checks.choice(name, "mode (unless it is a kernel)", mode, KERNELS)
        mode = KERNELS[mode]
    checks.integer(name, "mode.support", mode.support, 1)
    return U, G, mode
