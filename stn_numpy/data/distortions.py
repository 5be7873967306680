"""The distorted MNIST of the paper: R, RTS, P, E, T and TC, made with the project's own sampler.

A grid leads from the output back to the input: it says for each output pixel where in the input
its value is taken. So everything here is the inverse of what happens to the digit: to make a digit
s times as large the grid divides by s, and to turn it one way the grid turns the other way.

Normalised coordinates run from -1 to 1 over the whole image, from the outer edge of the first
pixel to the outer edge of the last (`align_corners=False`); x points right and y down. What lies
outside the input is black. Lengths are in pixels, and angles are positive counter-clockwise as
one looks at the picture.
"""

import contextlib
import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

import stn_numpy.functional as F
from stn_numpy import checks
from stn_numpy.autograd import FLOATS, no_grad
from stn_numpy.functional.grid import control_points
from stn_numpy.functional.layout import batch_first, batch_last

SIDE = 28  # pixels of an undistorted image
CHUNK = 128  # images that are sampled at a time, so that the work space stays in the CPU's cache
PATCHES, PATCH = 6, 6  # TC: how many pieces of other digits, and how many pixels wide
WIDE_PATCH = 9  # TC9


class Distortion(NamedTuple):
    """What a kind of distortion does, and the size (height, width) of its images in pixels."""

    description: str
    size: tuple[int, int]


DISTORTIONS = {
    "none": Distortion("as they are", (28, 28)),
    "R": Distortion("rotated by up to 90 degrees either way", (28, 28)),
    "RTS": Distortion("rotated by up to 45 degrees, scaled by 0.7 to 1.2, anywhere", (42, 42)),
    "P": Distortion("scaled by 0.75 to 1, every corner stretched by N(0, 5 px)", (28, 28)),
    "E": Distortion("scaled by 0.75 to 1, a 4x4 thin plate spline moved by N(0, 1.5 px)", (28, 28)),
    "T": Distortion("anywhere in a larger image", (60, 60)),
    "TC": Distortion("anywhere in a larger image, with six 6x6 pieces of other digits", (60, 60)),
    "TC9": Distortion("anywhere in a larger image, with six 9x9 pieces of other images", (60, 60)),
}


def distort(
    images: np.ndarray,
    kind: str,
    rng: np.random.Generator,
    dtype: type = np.float32,
    indices: np.ndarray | None = None,
    workers: int = 1,
) -> np.ndarray:
    """Distort digits afresh.

    images: (M, 28, 28) uint8.
    kind: a key of `DISTORTIONS`.
    rng: where the randomness comes from; the same state gives the same images, bit for bit.
    dtype: float32 or float64, of the result.
    indices: (N,) integers, which of the images to distort, by default all of them. TC takes its
        clutter from all `images`, whichever are distorted.
    workers: threads that share the sampling; the images are the same for any number.

    Returns (N, 1, H, W) with values from 0 to 1 and H, W of ``DISTORTIONS[kind].size``. In memory
    the batch is the last axis, which makes every later pass over it quicker.

    R: rotation uniform in +-90 degrees.
    RTS: rotation uniform in +-45 degrees, scale uniform in 0.7 to 1.2, and a place in 42x42 that
        is uniform among those where the upright box around the digit's ink, once rotated and
        scaled, is inside the image.
    P: scale uniform in 0.75 to 1, then each of the four corners of the image is stretched by
        N(0, 5 px): it moves along its diagonal, outwards or inwards. (The paper's words also allow
        5 px in x and 5 px in y, which is several times as hard as its table says; this reading is
        somewhat easier than the table.) Corners whose quadrilateral is not convex are drawn again:
        its homography would tear the digit apart through infinity.
    E: scale uniform in 0.75 to 1, then the 4x4 control points of a thin plate spline move by
        N(0, 1.5 px) in x and in y.
    T: the 28x28 image at a uniform whole-pixel place in 60x60.
    TC: T, and six 6x6 patches from the inked parts of other images at uniform places; where
        patches and digit overlap, the brighter value is kept.
    TC9: the clutter of Lasagne's recipe: T, and six 9x9 patches from anywhere in other images,
        which may be black.

    Raises ValueError or TypeError for a wrong shape, dtype, kind or index.
    """
    images, indices = _check(images, kind, rng, dtype, indices)
    workers = checks.integer("distort", "workers", workers, 1)
    with ThreadPoolExecutor(workers) if workers > 1 else contextlib.nullcontext() as pool:
        return _MAKERS[kind](images, indices, rng, np.dtype(dtype), pool.map if pool else map)


def _check(images, kind, rng, dtype, indices) -> tuple[np.ndarray, np.ndarray]:
    checks.choice("distort", "kind", kind, DISTORTIONS)
    images = checks.array("distort", "images", images)
    if images.dtype != np.uint8:
        raise TypeError(f"distort: images has dtype {images.dtype}, want uint8 (0 to 255)")
    if images.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"distort: images has shape {images.shape}, want (N, {SIDE}, {SIDE})")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"distort: rng is {type(rng).__name__}, want a numpy.random.Generator")
    if np.dtype(dtype) not in FLOATS:
        raise TypeError(f"distort: dtype is {np.dtype(dtype)}, want float32 or float64")
    if indices is None:
        return images, np.arange(len(images))
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise TypeError(
            f"distort: indices is {indices.dtype} of shape {indices.shape}, want (N,) integers"
        )
    if indices.size and not (indices.min() >= 0 and indices.max() < len(images)):
        raise ValueError(
            f"distort: indices reach from {indices.min()} to {indices.max()}, "
            f"want 0 to {len(images) - 1}"
        )
    return images, indices


# One function a kind: draw the parameters, then sample. All parameters are drawn before any
# image is made, so that CHUNK has no influence on the result.


def _none(images, indices, rng, dtype, map):
    out = _batch_last(len(indices), (SIDE, SIDE), dtype)
    for part in _chunks(len(indices)):
        out[part] = _grey(images[indices[part]], dtype)
    return out


def _rotated(images, indices, rng, dtype, map):
    angle = rng.uniform(-np.pi / 2, np.pi / 2, len(indices))
    return _sample(images, indices, F.affine_grid, similarity(angle), (SIDE, SIDE), dtype, map)


def _rotated_translated_scaled(images, indices, rng, dtype, map):
    n, size = len(indices), DISTORTIONS["RTS"].size
    angle = rng.uniform(-np.pi / 4, np.pi / 4, n)
    scale = rng.uniform(0.7, 1.2, n)
    low, high = _reach(images[indices], angle, scale)
    # The centre c of the image's frame may be where c + low >= 0 and c + high <= size; a digit
    # that is larger than the output is put in the middle.
    room = np.maximum(size[0] - (high - low), 0)
    start = np.where(room > 0, 0, (size[0] - (high - low)) / 2)
    centre = start + rng.uniform(size=(n, 2)) * room - low
    theta = similarity(angle, scale, centre - size[0] / 2, size[0])
    return _sample(images, indices, F.affine_grid, theta, size, dtype, map)


def _projective(images, indices, rng, dtype, map):
    scale = rng.uniform(0.75, 1.0, len(indices))
    corners = _stretched(scale, rng)
    while (torn := np.flatnonzero(~_is_convex(corners))).size:
        corners[torn] = _stretched(scale[torn], rng)
    theta = homography(corners, np.broadcast_to(CORNERS, corners.shape))
    return _sample(images, indices, F.projective_grid, theta, (SIDE, SIDE), dtype, map)


def _stretched(scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The corners (N, 4, 2) of scaled images, each moved along its diagonal by N(0, 5 px)."""
    along_one_axis = _pixels(rng.normal(0, 5, (len(scale), 4, 1))) / np.sqrt(2)
    return (scale[:, None, None] + along_one_axis) * CORNERS


def _elastic(images, indices, rng, dtype, map):
    scale = rng.uniform(0.75, 1.0, len(indices))
    moves = _pixels(rng.normal(0, 1.5, (len(indices), 16, 2)))
    # As seen from the output: the control point moves, and is then looked up in an input that is
    # 1/scale times as large.
    theta = (control_points(4) + moves) / scale[:, None, None]
    return _sample(images, indices, F.tps_grid, theta, (SIDE, SIDE), dtype, map)


def placed(
    images: np.ndarray,
    kind: str,
    rng: np.random.Generator,
    dtype: type = np.float32,
    indices: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`distort` for "T" and "TC", and where the digits are: (N, 2) whole pixels, (left, top).

    The images are those that `distort` makes with the same rng.
    """
    checks.choice("placed", "kind", kind, ("T", "TC"))
    images, indices = _check(images, kind, rng, dtype, indices)
    start = copy.deepcopy(rng)  # the places are the first that is drawn
    top_left = _places(len(indices), start)
    return _MAKERS[kind](images, indices, rng, np.dtype(dtype), map), top_left[:, ::-1]


def _places(n: int, rng: np.random.Generator) -> np.ndarray:
    height, width = DISTORTIONS["T"].size
    return rng.integers(0, (height - SIDE + 1, width - SIDE + 1), (n, 2))


def _translated(images, indices, rng, dtype, map):
    n, (height, width) = len(indices), DISTORTIONS["T"].size
    top, left = _places(n, rng).T
    out = _batch_last(n, (height, width), dtype)
    # By whole pixels: an affine grid would only copy the pixels too, and take five times as long.
    for part in _chunks(n):
        _brighten(out[part, 0], _grey(images[indices[part]], dtype)[:, 0], top[part], left[part])
    return out


def _translated_cluttered(images, indices, rng, dtype, map):
    return _cluttered(images, indices, rng, dtype, map, "TC", PATCH, _inked_patches)


def _translated_cluttered_wide(images, indices, rng, dtype, map):
    return _cluttered(images, indices, rng, dtype, map, "TC9", WIDE_PATCH, _patches)


def _cluttered(images, indices, rng, dtype, map, kind, patch, cut):
    if len(images) < 2 and len(indices):
        raise ValueError(
            f"distort: {kind} of {len(images)} image, want others to take patches from"
        )
    out = _translated(images, indices, rng, dtype, map)
    n, (height, width) = len(indices), DISTORTIONS[kind].size
    # Every image but one's own: a step of 1 to M - 1 from it, around the end.
    other = (indices[:, None] + rng.integers(1, max(len(images), 2), (n, PATCHES))) % len(images)
    where = rng.uniform(size=(n, PATCHES, 2))
    top_left = rng.integers(0, (height - patch + 1, width - patch + 1), (n, PATCHES, 2))
    for k in range(PATCHES):  # one after the other, so that no two of one image meet in a step
        for part in _chunks(n):
            patches = cut(images[other[part, k]], where[part, k], patch)
            _brighten(out[part, 0], _grey(patches, dtype)[:, 0], *top_left[part, k].T)
    return out


_MAKERS: dict[str, Callable] = {
    "none": _none,
    "R": _rotated,
    "RTS": _rotated_translated_scaled,
    "P": _projective,
    "E": _elastic,
    "T": _translated,
    "TC": _translated_cluttered,
    "TC9": _translated_cluttered_wide,
}


# Parameters of the grids.

# Corners of an image, clockwise from the upper left: (4, 2) with (x, y).
CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)


def similarity(
    angle: np.ndarray,
    scale: np.ndarray | float = 1.0,
    offset: np.ndarray | float = 0.0,
    size: int = SIDE,
) -> np.ndarray:
    """theta of Eq. (1) that turns, enlarges and moves a 28x28 image in an output of size x size.

    angle: (N,) in radians. scale: (N,). offset: (N, 2), x and y in pixels, from the middle of the
    output to where the middle of the image comes to lie. Returns (N, 2, 3).

    With R the rotation, an output pixel p shows the input at R^-1 (p - offset) / scale, both
    measured in pixels from the middle; what is left is to count in half sizes instead of pixels.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    # y points down, so this matrix undoes a counter-clockwise turn.
    back = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    back /= np.broadcast_to(scale, cos.shape)[:, None, None]
    offset = np.broadcast_to(offset, (len(cos), 2))[:, :, None]
    return np.concatenate([back * (size / SIDE), -(back @ offset) / (SIDE / 2)], axis=2)


def homography(points: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The homographies that take four points each to four others.

    points, images: (N, 4, 2), no three of the four on a line. Returns (N, 8), the entries a to h of
    [[a, b, c], [d, e, f], [g, h, 1]], row by row.

    u = (a x + b y + c) / (g x + h y + 1), times its denominator, is linear in the entries, and so
    is the same for v: eight equations for eight unknowns.
    """
    x, y = points[..., 0], points[..., 1]
    zero, one = np.zeros_like(x), np.ones_like(x)
    u, v = images[..., 0], images[..., 1]
    of_u = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=-1)
    of_v = np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=-1)
    equations = np.concatenate([of_u, of_v], axis=1)
    values = np.concatenate([u, v], axis=1)
    return np.linalg.solve(equations, values[..., None])[..., 0]


def _is_convex(corners: np.ndarray) -> np.ndarray:
    """Whether one turns the same way at each of the four corners, (N, 4, 2) -> (N,)."""
    edge = np.roll(corners, -1, axis=1) - corners
    following = np.roll(edge, -1, axis=1)
    turn = edge[..., 0] * following[..., 1] - edge[..., 1] * following[..., 0]
    return (turn > 0).all(axis=1)


def _pixels(length: np.ndarray) -> np.ndarray:
    """Pixels of a 28x28 image -> normalised coordinates, where 28 pixels are 2."""
    return length * (2 / SIDE)


def _ink_box(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last inked column and row: two (N, 2) arrays of (x, y); all of a blank image."""
    first, last = [], []
    for inked in (images.any(axis=1), images.any(axis=2)):
        first.append(inked.argmax(axis=1))
        last.append(inked.shape[1] - 1 - inked[:, ::-1].argmax(axis=1))
    return np.stack(first, axis=1), np.stack(last, axis=1)


def _reach(images: np.ndarray, angle: np.ndarray, scale: np.ndarray) -> tuple:
    """How far the box around the ink reaches from the middle of the image, rotated and scaled.

    Returns the lowest and the highest (x, y) of its corners, (N, 2) each, in pixels.
    """
    first, last = _ink_box(images)
    box = np.stack([first, last + 1], axis=1) - SIDE / 2  # (N, 2 ends, 2 axes)
    x, y = box[:, [0, 1, 1, 0], 0], box[:, [0, 0, 1, 1], 1]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    corners = np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1) * scale[:, None, None]
    return corners.min(axis=1), corners.max(axis=1)


# Pixels.


def _sample(images, indices, make_grid, theta, size, dtype, map) -> np.ndarray:
    """V = sample(U, grid(theta)) for the images at `indices`, CHUNK of them at a time.

    map: Python's own, or that of a pool of threads.
    """
    out = _batch_last(len(indices), size, dtype)
    theta = theta.astype(dtype)

    @no_grad()
    def sample(part: slice) -> None:
        U = _grey(images[indices[part]], dtype)
        G = make_grid(theta[part], (len(U), 1, *size))
        out[part] = F.grid_sample(U, G).data

    list(map(sample, _chunks(len(indices))))
    return out


def _chunks(n: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, n, CHUNK)]


def _batch_last(n: int, size: tuple[int, int], dtype) -> np.ndarray:
    """A black (n, 1, H, W) array whose memory has the order (1, H, W, n)."""
    return batch_first(np.zeros((1, *size, n), dtype))


def _grey(images: np.ndarray, dtype) -> np.ndarray:
    """(n, H, W) from 0 to 255 -> (n, 1, H, W) from 0 to 1, the batch last in memory."""
    grey = batch_last(images[:, None]).astype(dtype)
    grey /= 255
    return batch_first(grey)


def _inked_patches(images: np.ndarray, where: np.ndarray, size: int) -> np.ndarray:
    """A size x size piece of each image, (n, size, size), from the box around its ink.

    where: (n, 2), x and y from 0 to 1, the place within that box. Along an axis on which the box
    is smaller than the patch, the patch has the box in its middle.
    """
    first, last = _ink_box(images)
    spare = last + 1 - first - size
    start = first + np.where(spare >= 0, np.floor(where * (spare + 1)), spare // 2)
    return _cut(images, start.astype(int).clip(0, SIDE - size), size)


def _patches(images: np.ndarray, where: np.ndarray, size: int) -> np.ndarray:
    """A size x size piece of each image, (n, size, size), from anywhere; where as above."""
    return _cut(images, np.floor(where * (SIDE - size + 1)).astype(int), size)


def _cut(images: np.ndarray, left_top: np.ndarray, size: int) -> np.ndarray:
    left, top = left_top.T
    span = np.arange(size)
    rows, columns = top[:, None] + span, left[:, None] + span
    return images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _brighten(canvas: np.ndarray, pieces: np.ndarray, top: np.ndarray, left: np.ndarray) -> None:
    """Put one piece on each image, where it is brighter than what is there.

    canvas: (n, H, W), changed in place. pieces: (n, h, w). top, left: (n,).
    """
    _, h, w = pieces.shape
    # Indexed with the batch last, the order that canvas has in memory.
    canvas, pieces = canvas.transpose(1, 2, 0), pieces.transpose(1, 2, 0)
    place = (
        (np.arange(h)[:, None] + top)[:, None, :],
        (np.arange(w)[:, None] + left)[None, :, :],
        np.arange(len(top)),
    )
    canvas[place] = np.maximum(canvas[place], pieces)
