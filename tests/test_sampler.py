"""The sampler: Eq. (3) read literally, exact moves, points on, beside and far from the image."""

import math

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import GradcheckError, Tensor, gradcheck, no_grad
from stn_numpy.functional.kernels import KERNELS, Bicubic, Bilinear, Kernel, Nearest
from stn_numpy.functional.sampler import bilinear_sample, kernel_sample
from stn_numpy.gradcheck import numeric_gradients

MODES = ["nearest", "bilinear", "bicubic"]
PADDINGS = ["zeros", "border", "reflection"]

all_modes = pytest.mark.parametrize("mode", MODES)
all_paddings = pytest.mark.parametrize("padding_mode", PADDINGS)
both_corners = pytest.mark.parametrize("align_corners", [False, True])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def name_of(kernel):
    return kernel if isinstance(kernel, str) else type(kernel).__name__


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), requires_grad=True)


def normalised(pixels, size, align_corners):
    """Pixel coordinates (..., 2) as (x, y) in the units of a grid, for an image (H, W)."""
    H, W = size
    n = np.array([W, H])
    if align_corners:
        return 2 * np.asarray(pixels, float) / (n - 1) - 1
    return (2 * np.asarray(pixels, float) + 1) / n - 1


def off_the_kinks(rng, size, align_corners, shape=(2, 3, 2), beyond=2.0):
    """Points in and around the image, at least 0.05 pixels from every pixel centre and edge."""
    H, W = size
    half = rng.integers(-2 * beyond, 2 * (max(H, W) + beyond), (*shape, 2)) / 2
    half = np.minimum(half, np.array([W, H]) - 0.5 + beyond)
    return normalised(half + rng.uniform(0.05, 0.45, half.shape), size, align_corners)


def run(U, G, *options, dV=None):
    """V, dU, dG."""
    U, G = Tensor(U, requires_grad=True), Tensor(G, requires_grad=True)
    V = F.grid_sample(U, G, *options)
    V.backward(np.cos(np.arange(V.size)).reshape(V.shape) if dV is None else dV)
    return V.data, U.grad, G.grad


# Eq. (3), literally


def k_nearest(d):
    return 1.0 if math.floor(d + 0.5) == 0 else 0.0


def k_bilinear(d):
    return max(0.0, 1 - abs(d))


def k_bicubic(d, a=-0.75):
    d = abs(d)
    if d < 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


ONE_DIMENSIONAL = {"nearest": k_nearest, "bilinear": k_bilinear, "bicubic": k_bicubic}


def eq_3(U, G, k, align_corners):
    """The sum over all H W pixels, and pixels outside are zeros."""
    N, C, H, W = U.shape
    V = np.zeros((N, C, *G.shape[1:3]))
    for n, i, j in np.ndindex(*G.shape[:3]):
        g_x, g_y = G[n, i, j]
        x = (g_x + 1) * (W - 1) / 2 if align_corners else ((g_x + 1) * W - 1) / 2
        y = (g_y + 1) * (H - 1) / 2 if align_corners else ((g_y + 1) * H - 1) / 2
        for m_y, m_x in np.ndindex(H, W):
            V[n, :, i, j] += U[n, :, m_y, m_x] * k(y - m_y) * k(x - m_x)
    return V


@both_corners
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (6, 1), (1, 1)], ids=str)
@all_modes
def test_eq_3_literally(mode, size, align_corners, rng):
    U, G = rng.standard_normal((2, 3, *size)), rng.uniform(-1.8, 1.8, (2, 4, 6, 2))
    V = F.grid_sample(U, G, mode, align_corners=align_corners).data
    expected = eq_3(U, G, ONE_DIMENSIONAL[mode], align_corners)
    np.testing.assert_allclose(V, expected, rtol=1e-12, atol=1e-13)


def outside_by_hand(U, G, k, reach, padding_mode, align_corners):
    """Eq. (3) on an image enlarged by hand far enough for every tap to hit a real pixel."""
    frame = [(0, 0), (0, 0), (reach, reach), (reach, reach)]
    how = {"border": "edge", "reflection": "reflect" if align_corners else "symmetric"}
    big = np.pad(U, frame, mode=how[padding_mode])
    H, W = U.shape[2:]
    n = np.array([W, H])
    pixels = (G + 1) * (n - 1) / 2 if align_corners else ((G + 1) * n - 1) / 2
    return eq_3(big, normalised(pixels + reach, big.shape[2:], True), k, True)


@both_corners
@pytest.mark.parametrize("padding_mode", ["border", "reflection"])
@all_modes
def test_border_and_reflection_are_an_image_enlarged(mode, padding_mode, align_corners, rng):
    """numpy.pad enlarges it: "edge", and mirrored with or without repeating the outermost pixel."""
    U, G = rng.standard_normal((2, 3, 4, 5)), rng.uniform(-2.5, 2.5, (2, 3, 2, 2))
    V = F.grid_sample(U, G, mode, padding_mode, align_corners).data
    k = ONE_DIMENSIONAL[mode]
    expected = outside_by_hand(U, G, k, 12, padding_mode, align_corners)
    np.testing.assert_allclose(V, expected, rtol=1e-11, atol=1e-12)


# Gradients


@both_corners
@all_paddings
@pytest.mark.parametrize("mode", [*MODES, Bilinear(), Bicubic(a=-0.5)], ids=str)
def test_gradients_off_the_kinks(mode, padding_mode, align_corners, rng):
    U, G = rng.standard_normal((2, 3, 4, 5)), off_the_kinks(rng, (4, 5), align_corners)
    gradcheck(
        lambda U, G: F.grid_sample(U, G, mode, padding_mode, align_corners),
        [U, G],
        atol=1e-8,
        rng=rng,
    )


@both_corners
@all_paddings
@pytest.mark.parametrize("size", [(1, 4), (3, 1), (1, 1)], ids=str)
@all_modes
def test_gradients_with_axes_of_one_pixel(mode, size, padding_mode, align_corners, rng):
    U, G = rng.standard_normal((2, 3, *size)), rng.uniform(-1.9, 1.9, (2, 1, 3, 2))
    gradcheck(
        lambda U, G: F.grid_sample(U, G, mode, padding_mode, align_corners),
        [U, G],
        atol=1e-8,
        rng=rng,
    )


def test_a_pixel_read_many_times_receives_the_sum(rng):
    U, G = rng.standard_normal((1, 2, 3, 4)), np.tile([0.3, -0.2], (1, 5, 6, 1))
    dV = rng.standard_normal((1, 2, 5, 6))
    for mode in MODES:
        _, dU, _ = run(U, G, mode, dV=dV)
        _, once, _ = run(U, G[:, :1, :1], mode, dV=dV.sum(axis=(2, 3), keepdims=True))
        np.testing.assert_allclose(dU, once, rtol=1e-12, atol=1e-13)


@both_corners
@pytest.mark.parametrize("mode", ["bilinear", Bilinear()], ids=str)
def test_on_the_lattice_the_slope_is_that_from_the_right(mode, align_corners, rng):
    """A pixel is a kink: central differences see the mean of both sides and fail."""
    H, W = (5, 3) if align_corners else (4, 8)  # sizes whose pixel centres are exact in binary
    U = rng.standard_normal((1, 2, H, W))
    pixels = np.array([[0, 0], [1, 2], [W - 1, 1], [1, H - 1], [2, 3]])
    G = normalised(pixels, (H, W), align_corners).reshape(1, 1, 5, 2)
    dV = rng.standard_normal((1, 2, 1, 5))

    def sample(G):
        return F.grid_sample(U, G, mode, "zeros", align_corners)

    _, _, dG = run(U, G, mode, "zeros", align_corners, dV=dV)
    right, left = (numeric_gradients(sample, [G], dV, side=side)[0] for side in ("right", "left"))
    np.testing.assert_allclose(dG, right, rtol=1e-6, atol=1e-7)
    assert np.abs(dG - left).min() > 1e-3
    with pytest.raises(GradcheckError):
        gradcheck(sample, G)


@both_corners
@all_paddings
@pytest.mark.parametrize("mode", [*MODES, Bilinear()], ids=str)
def test_a_constant_image_has_no_slope(mode, padding_mode, align_corners, rng):
    """On the lattice too, where Eq. (7) as printed finds one of 7 in an image of sevens."""
    H, W = 5, 9
    inside = rng.uniform(-0.4, 0.4, (2, 3, 2, 2))
    lattice = normalised(rng.integers(2, 4, (2, 3, 2, 2)), (H, W), align_corners)
    anywhere = rng.uniform(-3, 3, (2, 3, 2, 2))
    for G in (inside, lattice) if padding_mode == "zeros" else (inside, lattice, anywhere):
        V, _, dG = run(np.full((2, 3, H, W), 7.0), G, mode, padding_mode, align_corners)
        np.testing.assert_allclose(V, 7, rtol=1e-14)
        np.testing.assert_allclose(dG, 0, atol=1e-12)


@both_corners
@all_paddings
def test_the_gradient_of_nearest_with_respect_to_the_grid_is_zero(padding_mode, align_corners, rng):
    U, G = rng.standard_normal((2, 3, 4, 5)), rng.uniform(-2, 2, (2, 3, 2, 2))
    _, dU, dG = run(U, G, "nearest", padding_mode, align_corners)
    assert not dG.any() and dU.any()


@both_corners
@pytest.mark.parametrize("padding_mode", ["border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", Bilinear()], ids=str)
def test_a_point_on_the_border_it_was_moved_to_has_no_slope(mode, padding_mode, align_corners, rng):
    H, W = (5, 3) if align_corners else (4, 8)
    U = rng.standard_normal((1, 2, H, W))
    corners = [[0, 0], [W - 1, 0], [0, H - 1], [W - 1, H - 1]]
    G = normalised(corners, (H, W), align_corners).reshape(1, 2, 2, 2)
    V, _, dG = run(U, G, mode, padding_mode, align_corners)
    np.testing.assert_array_equal(V, U[:, :, [0, -1]][..., [0, -1]])
    assert not dG.any()


# Moves that come out exact


IDENTITY = [[1.0, 0, 0], [0, 1, 0]]
EXACT_SIZES = {False: [(4, 8), (2, 4), (16, 1)], True: [(3, 5), (9, 5), (2, 17)]}
exact_cases = pytest.mark.parametrize(
    "align_corners, size",
    [(align, size) for align, sizes in EXACT_SIZES.items() for size in sizes],
    ids=str,
)


def transform(U, theta, mode, padding_mode, align_corners, size=None):
    theta = np.tile(np.array(theta, U.dtype), (len(U), 1, 1))
    grid = F.affine_grid(theta, (*U.shape[:2], *(size or U.shape[2:])), align_corners)
    return F.grid_sample(U, grid, mode, padding_mode, align_corners).data


@both_dtypes
@all_paddings
@exact_cases
@all_modes
def test_identity_and_flips_are_exact(mode, align_corners, size, padding_mode, dtype, rng):
    U = rng.standard_normal((2, 3, *size)).astype(dtype)
    moves = [
        (IDENTITY, U),
        ([[-1, 0, 0], [0, 1, 0]], U[..., ::-1]),
        ([[1, 0, 0], [0, -1, 0]], U[..., ::-1, :]),
        ([[-1, 0, 0], [0, -1, 0]], U[..., ::-1, ::-1]),
    ]
    for theta, expected in moves:
        V = transform(U, theta, mode, padding_mode, align_corners)
        assert V.dtype == dtype
        np.testing.assert_array_equal(V, expected)


@both_dtypes
@all_paddings
@exact_cases
@all_modes
def test_quarter_turns_are_exact(mode, align_corners, size, padding_mode, dtype, rng):
    U = rng.standard_normal((2, 3, *size)).astype(dtype)
    for turns, theta in ((1, [[0, -1, 0], [1, 0, 0]]), (3, [[0, 1, 0], [-1, 0, 0]])):
        V = transform(U, theta, mode, padding_mode, align_corners, size[::-1])
        np.testing.assert_array_equal(V, np.rot90(U, turns, axes=(2, 3)))


@both_dtypes
@all_paddings
@exact_cases
@all_modes
def test_a_shift_by_one_pixel_is_exact(mode, align_corners, size, padding_mode, dtype, rng):
    """To the left and up: what comes in from outside is what padding_mode says."""
    U = rng.standard_normal((2, 3, *size)).astype(dtype)
    H, W = size
    how = {
        "zeros": "constant",
        "border": "edge",
        "reflection": "reflect" if align_corners else "symmetric",
    }
    big = np.pad(U, [(0, 0), (0, 0), (1, 1), (1, 1)], how[padding_mode])
    step_x, step_y = (2 / (W - 1), 2 / (H - 1)) if align_corners else (2 / W, 2 / H)
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (1, -1)):
        V = transform(
            U, [[1, 0, dx * step_x], [0, 1, dy * step_y]], mode, padding_mode, align_corners
        )
        expected = big[:, :, 1 + dy : 1 + dy + H, 1 + dx : 1 + dx + W]
        np.testing.assert_array_equal(V, expected)


@both_corners
@all_paddings
@all_modes
def test_identity_is_the_identity_for_every_size(mode, padding_mode, align_corners, rng):
    for H, W in ((1, 1), (1, 7), (3, 10), (28, 21), (33, 50)):
        U = rng.standard_normal((1, 2, H, W))
        V = transform(U, IDENTITY, mode, padding_mode, align_corners)
        np.testing.assert_allclose(V, U, rtol=0, atol=1e-12)


@both_dtypes
def test_rounding_never_turns_the_identity_of_nearest(dtype, rng):
    for n in range(1, 70):
        U = rng.standard_normal((1, 1, 1, n)).astype(dtype)
        for align_corners in (False, True):
            V = transform(U, IDENTITY, "nearest", "zeros", align_corners)
            np.testing.assert_array_equal(V, U)


# One path against the other


@both_dtypes
@both_corners
@all_paddings
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (5, 1), (8, 4)], ids=str)
def test_fused_bilinear_equals_the_general_sum(size, padding_mode, align_corners, dtype, rng):
    U = rng.standard_normal((3, 2, *size)).astype(dtype)
    G = rng.uniform(-2.5, 2.5, (3, 5, 4, 2)).astype(dtype)
    H, W = size
    if H > 1 and W > 1:
        G[0] = normalised(rng.integers(-1, 6, (5, 4, 2)), size, align_corners)  # the lattice
    G[1, 0] *= 100
    G[1, 1, :, 0] = [np.inf, -np.inf, 1e30, -1e30]
    G[2, 0, 0, 1] = np.nan
    fused = run(U, G, "bilinear", padding_mode, align_corners)
    general = run(U, G, Bilinear(), padding_mode, align_corners)
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    for name, a, b in zip(("V", "dU", "dG"), fused, general):
        assert a.dtype == b.dtype == dtype
        if name == "dG":  # what a NaN point is told is nobody's business
            a, b = a.copy(), b.copy()
            a[2, 0, 0] = b[2, 0, 0] = 0
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)


def awkward_case(rng, dtype, N=7, C=5):
    """U, G, dV; points inside, on the lattice, outside, far away and nowhere."""
    U = rng.standard_normal((N, C, 9, 6)).astype(dtype)
    G = rng.uniform(-1.5, 1.5, (N, 8, 11, 2))
    G[0] = normalised(rng.integers(-2, 9, (8, 11, 2)), (9, 6), False)
    G[1, 0, :, 0], G[2, :, 1, 1], G[3, 4, 5] = 1e20, -np.inf, np.nan
    return U, G.astype(dtype), rng.standard_normal((N, C, 8, 11)).astype(dtype)


@both_dtypes
@all_paddings
@pytest.mark.parametrize("mode", ["bilinear", Bilinear()], ids=str)
def test_one_gradient_is_the_same_without_the_other(mode, padding_mode, dtype, rng):
    """Bit for bit; and V is the same where nothing is recorded."""
    U, G, dV = awkward_case(rng, dtype)
    V, dU, dG = run(U, G, mode, padding_mode, dV=dV)
    image, grid = leaf(U, dtype), leaf(G, dtype)
    F.grid_sample(image, G, mode, padding_mode).backward(dV)
    F.grid_sample(U, grid, mode, padding_mode).backward(dV)
    np.testing.assert_array_equal(image.grad, dU)
    np.testing.assert_array_equal(grid.grad, dG)
    with no_grad():
        np.testing.assert_array_equal(F.grid_sample(image, grid, mode, padding_mode).data, V)


@both_dtypes
@all_paddings
@pytest.mark.parametrize("sample", [bilinear_sample, kernel_sample], ids=lambda f: f.__name__)
def test_backward_changes_nothing_it_may_need_again(sample, padding_mode, dtype, rng):
    """Neither what it was given nor what it kept: another call says the same, bit for bit."""
    U, G, dV = (np.ascontiguousarray(a.transpose(1, 2, 3, 0)) for a in awkward_case(rng, dtype))
    G = np.ascontiguousarray(G.transpose(2, 0, 1, 3))  # (H', W', 2, N) -> (2, H', W', N)
    given = [a.copy() for a in (U, G, dV)]
    V, backward = sample(U, G, Bilinear(), padding_mode, False)
    first_V, first = V.copy(), [a.copy() for a in backward(dV, (True, True))]
    for again, once in zip(backward(dV, (True, True)), first):
        np.testing.assert_array_equal(again, once)
    for now, before in zip((U, G, dV, V), (*given, first_V)):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize("mode", ["bilinear", Bilinear()], ids=str)
def test_an_infinite_gradient_reaches_the_four_pixels_that_were_read(mode):
    """And no other; infinity times a weight is infinity, not NaN."""
    U, G = leaf(np.ones((1, 1, 4, 5))), normalised([[1.25, 2.5]], (4, 5), False)
    F.grid_sample(U, G.reshape(1, 1, 1, 2), mode).backward(np.full((1, 1, 1, 1), np.inf))
    expected = np.zeros((4, 5))
    expected[2:4, 1:3] = np.inf
    np.testing.assert_array_equal(U.grad[0, 0], expected)


# Kernels


class QuadraticSpline:
    """A reader's own kernel: the quadratic B-spline, smooth once, wider than a pixel each way."""

    support = 2

    def weights(self, d):
        r = np.abs(d)
        return np.where(r < 0.5, 0.75 - r**2, np.where(r < 1.5, (1.5 - r) ** 2 / 2, 0))

    def slopes(self, d):
        r = np.abs(d)
        return np.sign(d) * np.where(r < 0.5, -2 * r, np.where(r < 1.5, r - 1.5, 0))


def quadratic_spline(d):
    d = abs(d)
    return 0.75 - d * d if d < 0.5 else (1.5 - d) ** 2 / 2 if d < 1.5 else 0.0


@both_corners
@all_paddings
def test_a_kernel_of_the_readers_own(padding_mode, align_corners, rng):
    U, G = rng.standard_normal((2, 3, 4, 5)), rng.uniform(-1.6, 1.6, (2, 2, 3, 2))
    V = F.grid_sample(U, G, QuadraticSpline(), padding_mode, align_corners).data
    if padding_mode == "zeros":
        expected = eq_3(U, G, quadratic_spline, align_corners)
    else:
        expected = outside_by_hand(U, G, quadratic_spline, 12, padding_mode, align_corners)
    np.testing.assert_allclose(V, expected, rtol=1e-12, atol=1e-12)
    gradcheck(
        lambda U, G: F.grid_sample(U, G, QuadraticSpline(), padding_mode, align_corners),
        [U, G],
        atol=1e-8,
        rng=rng,
    )


def test_a_kernel_of_the_readers_own_in_float32(rng):
    U = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    G = rng.uniform(-1.6, 1.6, (2, 2, 3, 2)).astype(np.float32)
    assert {a.dtype for a in run(U, G, QuadraticSpline())} == {np.dtype(np.float32)}


ALL_KERNELS = [Nearest(), Bilinear(), Bicubic(), QuadraticSpline(), Bicubic(a=-0.5)]


@pytest.mark.parametrize("kernel", ALL_KERNELS, ids=name_of)
def test_kernels_keep_their_word(kernel, rng):
    assert isinstance(kernel, Kernel)
    d = rng.uniform(-kernel.support, kernel.support, 200)
    assert kernel.weights(d).dtype == kernel.slopes(d).dtype == np.float64
    step = 1e-6
    slopes = (kernel.weights(d + step) - kernel.weights(d - step)) / (2 * step)
    np.testing.assert_allclose(kernel.slopes(d), slopes, atol=1e-5)
    beyond = np.array([-3.0, -2.0001, 2.0, 3.0]) * kernel.support
    assert not kernel.weights(beyond).any() and not kernel.slopes(beyond).any()


@pytest.mark.parametrize("kernel", ALL_KERNELS, ids=name_of)
def test_weights_sum_to_one_and_slopes_to_zero(kernel, rng):
    fraction = np.array([*rng.uniform(0, 1, 50), 0, 0.5])
    d = fraction[:, None] + np.arange(-kernel.support, kernel.support)
    np.testing.assert_allclose(kernel.weights(d).sum(axis=1), 1, rtol=1e-13)
    np.testing.assert_allclose(kernel.slopes(d).sum(axis=1), 0, atol=1e-13)


def test_kernels_at_their_kinks():
    d = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    np.testing.assert_array_equal(Nearest().weights(d), [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(Bilinear().weights(d), [0, 0.5, 1, 0.5, 0])
    np.testing.assert_array_equal(Bilinear().slopes(d), [1, 1, -1, -1, 0])
    d = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(Bicubic().weights(d), [0, 0, 1, 0, 0])
    np.testing.assert_allclose(Bicubic().slopes(d), [0, 0.75, 0, -0.75, 0], atol=1e-15)


def test_the_modes_are_three_kernels():
    assert set(KERNELS) == set(MODES)
    for name, kernel in KERNELS.items():
        np.testing.assert_array_equal(
            *(
                F.grid_sample(np.eye(3)[None, None], np.full((1, 1, 2, 2), 0.3), mode).data
                for mode in (name, kernel)
            )
        )


# Nearest


@both_corners
def test_halves_round_up(align_corners):
    """PyTorch and ONNX round them to even; Eq. (4) has floor(x + 0.5)."""
    H, W = (1, 5) if align_corners else (1, 4)
    U = 10.0 + np.arange(W).reshape(1, 1, 1, W)
    x = np.arange(-1, W) + 0.5
    if align_corners:
        G = np.stack([2 * x / (W - 1) - 1, np.zeros(W + 1)], axis=-1)
    else:
        G = normalised(np.stack([x, np.zeros(W + 1)], axis=-1), (H, W), False)
    V = F.grid_sample(U, G.reshape(1, 1, W + 1, 2), "nearest", align_corners=align_corners).data
    np.testing.assert_array_equal(V.ravel(), [*U.ravel(), 0])


# Inside and outside


@pytest.mark.parametrize("mode", ["bilinear", Bilinear()], ids=str)
def test_no_black_border(mode):
    """Clipping to the image before the weights are made takes both weights of a border pixel."""
    U = np.ones((1, 1, 4, 8))
    edge = np.array([[[[1 - 1 / 8, 1 - 1 / 4], [-1 + 1 / 8, -1 + 1 / 4]]]])
    for padding_mode in PADDINGS:  # centres of the outermost pixels
        np.testing.assert_array_equal(F.grid_sample(U, edge, mode, padding_mode).data, 1)
    for padding_mode in PADDINGS:
        np.testing.assert_array_equal(
            F.grid_sample(U, np.array([[[[1.0, 1.0], [-1, -1]]]]), mode, padding_mode, True).data, 1
        )


@pytest.mark.parametrize("mode", ["bilinear", Bilinear()], ids=str)
def test_beyond_the_border_zeros_fade_in(mode):
    """A quarter of a pixel out, a quarter of the weight is on a pixel that is not there."""
    x = np.array([-1.25, -1, -0.75, -0.5, 0, 7, 7.25, 7.5, 8, 9])
    G = normalised(np.stack([x, np.ones_like(x)], axis=-1), (4, 8), False).reshape(1, 1, -1, 2)
    V = F.grid_sample(np.full((1, 1, 4, 8), 4.0), G, mode).data
    np.testing.assert_array_equal(V.ravel(), [0, 0, 1, 2, 4, 4, 3, 2, 0, 0])


FAR = [1e3, -1e6, 1e15, 1e30, -1e30, np.inf, -np.inf]


@both_dtypes
@both_corners
@all_paddings
@pytest.mark.parametrize("size", [(4, 5), (1, 4), (3, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("mode", [*MODES, Bilinear(), QuadraticSpline()], ids=name_of)
def test_far_away_is_outside(mode, size, padding_mode, align_corners, dtype, rng):
    """As far as numbers go, along either axis: no crash, no warning, no other pixel's memory."""
    U = (10 + rng.random((1, 2, *size))).astype(dtype)
    distances = [*FAR, np.finfo(dtype).max, np.finfo(dtype).min]
    G = np.zeros((1, 3, len(distances), 2), dtype)
    G[0, 0, :, 0] = G[0, 1, :, 1] = distances
    G[0, 2] = np.array(distances)[:, None]
    V, dU, dG = run(U, G, mode, padding_mode, align_corners)
    assert np.isfinite(V).all() and np.isfinite(dU).all() and np.isfinite(dG).all()
    infinite = np.isinf(G).any(axis=3)
    if padding_mode == "zeros":
        assert not V[:, :, infinite[0]].any() and not dG[infinite].any()
        if size[0] > 1 and size[1] > 1:
            assert not V.any() and not dG.any() and not dU.any()
    else:
        assert V.min() > 9 and V.max() < 12  # a pixel of the image, or between pixels
    if padding_mode == "border" and 1 not in size:
        clipped = run(U, np.clip(G, -3, 3), mode, padding_mode, align_corners)
        np.testing.assert_allclose(V, clipped[0], rtol=1e-6)
        np.testing.assert_allclose(dU, clipped[1], rtol=1e-5, atol=1e-6)


@both_corners
@all_paddings
@pytest.mark.parametrize("mode", [*MODES, Bilinear()], ids=str)
@pytest.mark.parametrize("coordinate", [(np.nan, 0.1), (0.1, np.nan), (np.nan, np.nan)], ids=str)
def test_nan_is_nan_there_and_nowhere_else(coordinate, mode, padding_mode, align_corners, rng):
    U, G = rng.standard_normal((2, 3, 4, 5)), rng.uniform(-1.5, 1.5, (2, 3, 2, 2))
    dV = rng.standard_normal((2, 3, 3, 2))
    options = (mode, padding_mode, align_corners)
    whole_V, _, whole_dG = run(U, G, *options, dV=dV)
    without = dV.copy()
    without[1, :, 2, 0] = 0
    _, expected_dU, _ = run(U, G, *options, dV=without)
    G[1, 2, 0] = coordinate
    V, dU, dG = run(U, G, *options, dV=dV)
    assert np.isnan(V[1, :, 2, 0]).all()
    V[1, :, 2, 0] = whole_V[1, :, 2, 0]
    dG[1, 2, 0] = whole_dG[1, 2, 0]
    np.testing.assert_array_equal(V, whole_V)
    np.testing.assert_array_equal(dG, whole_dG)
    np.testing.assert_allclose(dU, expected_dU, rtol=1e-12, atol=1e-13)


@all_paddings
@all_modes
def test_nan_in_the_image_stays_where_it_is_read(mode, padding_mode):
    U = np.ones((2, 1, 4, 8))
    U[0, 0, 1, 1] = np.nan
    V = transform(U, IDENTITY, mode, padding_mode, False)
    assert np.isnan(V[0, 0, 1, 1]) and np.isfinite(V[1]).all() and np.isfinite(V[0, 0, :, 5:]).all()


# What the arguments may be


@both_dtypes
@pytest.mark.parametrize("image", [np.uint8, np.int64, bool])
@all_modes
def test_integer_images_are_read_in_the_dtype_of_the_grid(mode, image, dtype, rng):
    U = rng.integers(0, 2 if image is bool else 256, (2, 3, 4, 5)).astype(image)
    G = rng.uniform(-1.2, 1.2, (2, 2, 3, 2)).astype(dtype)
    grid = leaf(G, dtype)
    V = F.grid_sample(U, grid, mode)
    V.backward(np.ones(V.shape))
    expected, _, dG = run(U.astype(dtype), G, mode, dV=np.ones(V.shape))
    assert V.dtype == dtype
    np.testing.assert_array_equal(V.data, expected)
    np.testing.assert_array_equal(grid.grad, dG)


@all_paddings
@all_modes
def test_images_of_a_batch_do_not_mix(mode, padding_mode, rng):
    U, G = rng.standard_normal((3, 2, 4, 5)), rng.uniform(-2, 2, (3, 2, 6, 2))
    dV = rng.standard_normal((3, 2, 2, 6))
    together = run(U, G, mode, padding_mode, dV=dV)
    for n in range(3):
        alone = run(U[n : n + 1], G[n : n + 1], mode, padding_mode, dV=dV[n : n + 1])
        for a, b in zip(together, alone):
            np.testing.assert_allclose(a[n], b[0], rtol=1e-13, atol=1e-13)


def test_the_output_has_the_size_of_the_grid(rng):
    U = rng.standard_normal((2, 3, 4, 5))
    for H, W in ((1, 1), (1, 7), (8, 2)):
        G = rng.uniform(-1, 1, (2, H, W, 2))
        assert F.grid_sample(U, G).shape == (2, 3, H, W)
        gradcheck(F.grid_sample, [U, G], atol=1e-8, rng=rng)
