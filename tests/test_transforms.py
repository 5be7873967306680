"""Transformations: counts, identity, the points of their definitions, directions, gradients."""

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor, gradcheck
from stn_numpy.transforms import (
    TRANSFORMS,
    Affine,
    Attention,
    Projective,
    ThinPlateSpline,
    Transform,
    check_transform,
)

ALL = (
    Affine(),
    Attention(),
    Projective(),
    ThinPlateSpline(2),
    ThinPlateSpline(3),
    ThinPlateSpline(),
    ThinPlateSpline(5),
)
NAMES = [repr(transform) for transform in ALL]
each_transform = pytest.mark.parametrize("transform", ALL, ids=NAMES)
both_corners = pytest.mark.parametrize("align_corners", [False, True])


def place(index, size, align_corners):
    """The normalised coordinate of the centre of a pixel."""
    if align_corners:
        return 2 * index / (size - 1) - 1 if size > 1 else 0.0
    return (2 * index + 1) / size - 1


def near_identity(transform, rng, N, spread=0.2):
    theta = transform.identity().astype(np.float64)
    return theta + spread * rng.uniform(-1, 1, (N, transform.parameters))


def affine_point(theta, x, y):
    a, b, c, d, e, f = theta
    return a * x + b * y + c, d * x + e * y + f


def attention_point(theta, x, y):
    s, t_x, t_y = theta
    return s * x + t_x, s * y + t_y


def projective_point(theta, x, y):
    a, b, c, d, e, f, g, h = theta
    w = g * x + h * y + 1
    return (a * x + b * y + c) / w, (d * x + e * y + f) / w


def spline_point(theta, x, y):
    """Solve for the spline through all control points, coefficient by coefficient, at one point.

    Written with r^2 log r; the code under test has r^2 log r^2, which is the same spline.
    """
    points = np.reshape(theta, (-1, 2))
    n = len(points)
    K = round(np.sqrt(n))
    knots = [(place(j, K, True), place(i, K, True)) for i in range(K) for j in range(K)]

    def bend(p, q):
        r = np.hypot(p[0] - q[0], p[1] - q[1])
        return r * r * np.log(r) if r > 0 else 0.0

    system = np.zeros((n + 3, n + 3))
    for i, p in enumerate(knots):
        for j, q in enumerate(knots):
            system[i, j] = bend(p, q)
        system[i, n:] = system[n:, i] = 1, *p
    coefficients = np.linalg.solve(system, np.vstack([points, np.zeros((3, 2))]))
    terms = [*(bend((x, y), q) for q in knots), 1, x, y]
    return tuple(np.array(terms) @ coefficients)


DEFINITIONS = {
    Affine: affine_point,
    Attention: attention_point,
    Projective: projective_point,
    ThinPlateSpline: spline_point,
}


def test_parameter_counts():
    assert {name: t.parameters for name, t in TRANSFORMS.items()} == {
        "affine": 6,
        "attention": 3,
        "projective": 8,
        "tps": 32,
    }
    assert [ThinPlateSpline(K).parameters for K in (2, 3, 5)] == [8, 18, 50]


@each_transform
def test_they_are_what_a_spatial_transformer_asks_for(transform):
    assert isinstance(transform, Transform)
    check_transform("test", transform)
    identity = transform.identity()
    assert identity.shape == (transform.parameters,)
    assert identity.dtype == np.float32
    identity[0] = 5  # a fresh array every time
    assert transform.identity()[0] != 5


@both_corners
@each_transform
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_identity_reads_every_pixel_where_it_is(transform, dtype, align_corners):
    N, H, W = 2, 5, 4
    theta = np.tile(transform.identity().astype(dtype), (N, 1))
    G = transform.grid(theta, (N, 3, H, W), align_corners)
    assert G.shape == (N, H, W, 2)
    assert G.dtype == dtype
    # theta itself is in float32: one third is not exact, and K = 4 has control points there.
    inexact = dtype is np.float32 or transform == ThinPlateSpline(4)
    for i in range(H):
        for j in range(W):
            point = place(j, W, align_corners), place(i, H, align_corners)
            for n in range(N):
                np.testing.assert_allclose(
                    G.data[n, i, j], point, rtol=0, atol=5e-7 if inexact else 1e-14
                )


@both_corners
@each_transform
def test_grids_are_the_definitions_at_every_point(transform, align_corners, rng):
    N, H, W = 3, 4, 5
    theta = near_identity(transform, rng, N)
    G = transform.grid(theta, (N, 1, H, W), align_corners).data
    define = DEFINITIONS[type(transform)]
    for n in range(N):
        for i in range(H):
            for j in range(W):
                x, y = place(j, W, align_corners), place(i, H, align_corners)
                np.testing.assert_allclose(G[n, i, j], define(theta[n], x, y), atol=1e-12)


@pytest.mark.parametrize("K", [2, 3, 4, 5])
def test_a_spline_passes_through_its_control_points(K, rng):
    """With align_corners, the pixels of a K x K output are the control points."""
    theta = rng.normal(size=(2, 2 * K * K))
    G = ThinPlateSpline(K).grid(theta, (2, 1, K, K), align_corners=True)
    np.testing.assert_allclose(G.data.reshape(2, -1), theta, rtol=0, atol=1e-12)


@both_corners
@pytest.mark.parametrize("K", [2, 3, 4, 5])
def test_a_spline_of_affinely_moved_points_is_affine(K, align_corners, rng):
    affine = near_identity(Affine(), rng, 2)
    points = [
        [affine_point(a, place(j, K, True), place(i, K, True)) for i in range(K) for j in range(K)]
        for a in affine
    ]
    size = (2, 1, 6, 5)
    G = ThinPlateSpline(K).grid(np.reshape(points, (2, -1)), size, align_corners)
    expected = Affine().grid(affine, size, align_corners)
    np.testing.assert_allclose(G.data, expected.data, rtol=0, atol=1e-12)


@both_corners
@each_transform
def test_gradients_agree_with_finite_differences(transform, align_corners, rng):
    theta = near_identity(transform, rng, 3)
    assert gradcheck(lambda t: transform.grid(t, (3, 1, 4, 5), align_corners), theta, rng=rng)


def read(image, transform, theta, align_corners=False):
    """One image (H, W) read at one theta."""
    size = (1, 1, *image.shape)
    G = transform.grid(np.array([theta], np.float64), size, align_corners)
    return F.grid_sample(image.reshape(size), G, align_corners=align_corners).data[0, 0]


def shifted(transform, t_x, t_y):
    """The identity, moved: what adds (t_x, t_y) to every point."""
    theta = transform.identity().astype(np.float64)
    if isinstance(transform, ThinPlateSpline):
        return theta + np.tile([t_x, t_y], transform.K**2)
    i, j = (1, 2) if isinstance(transform, Attention) else (2, 5)
    theta[i], theta[j] = t_x, t_y
    return theta


@both_corners
@each_transform
def test_a_positive_shift_moves_the_content_left_and_up(transform, align_corners, rng):
    H, W = 6, 9
    image = rng.normal(size=(H, W))
    x_pixel, y_pixel = (2 / (W - 1), 2 / (H - 1)) if align_corners else (2 / W, 2 / H)

    left = read(image, transform, shifted(transform, 2 * x_pixel, 0), align_corners)
    np.testing.assert_allclose(left[:, :-2], image[:, 2:], rtol=0, atol=1e-5)
    np.testing.assert_allclose(left[:, -2:], 0, rtol=0, atol=1e-5)  # nothing to read there

    up = read(image, transform, shifted(transform, 0, y_pixel), align_corners)
    np.testing.assert_allclose(up[:-1], image[1:], rtol=0, atol=1e-5)
    np.testing.assert_allclose(up[-1:], 0, rtol=0, atol=1e-5)


def scaled(transform, s):
    """The identity, with every point s times as far from the centre."""
    theta = transform.identity().astype(np.float64)
    if isinstance(transform, Projective):
        return theta * [s, s, s, s, s, s, 1, 1]
    return theta * s


@each_transform
def test_a_scale_below_one_zooms_in_and_above_one_out(transform):
    image = np.zeros((16, 12))
    image[7:9, 5:7] = 1
    # Each pixel becomes 2 x 2, blurred by interpolation: four times the light, still in the centre.
    large = read(image, transform, scaled(transform, 0.5))
    assert large.sum() == pytest.approx(4 * image.sum())
    np.testing.assert_allclose(large[7:9, 5:7], 1)
    np.testing.assert_allclose(large, large[::-1, ::-1], atol=1e-6)
    # And back: every second pixel is read, half way between two of the four.
    small = read(large, transform, scaled(transform, 2))
    assert small.sum() == pytest.approx(image.sum())
    assert small[7:9, 5:7].min() > 0.5


def test_rotation_reads_clockwise_so_the_content_turns_counterclockwise():
    """y points down, so a positive angle turns the reading points clockwise, x towards y."""
    image = np.zeros((5, 5))
    image[2, 4] = 1  # at 3 o'clock
    c, s = 0, 1
    turned = read(image, Affine(), [c, -s, 0, s, c, 0])
    expected = np.zeros((5, 5))
    expected[0, 2] = 1  # at 12 o'clock
    np.testing.assert_allclose(turned, expected, atol=1e-12)


def test_arguments_may_be_tensors_and_gradients_have_their_shape(rng):
    for transform in ALL:
        theta = Tensor(near_identity(transform, rng, 2).astype(np.float32), requires_grad=True)
        G = transform.grid(theta, (2, 1, 3, 4))
        G.backward(rng.normal(size=G.shape))
        assert theta.grad.shape == theta.shape
        assert theta.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("transform", "shape", "message"),
    [
        (Affine(), (2, 3), r"Affine: theta has shape \(2, 3\), want \(N, 6\)"),
        (Affine(), (2, 12), r"Affine: theta has shape \(2, 12\), want \(N, 6\)"),
        (Affine(), (2, 2, 3), r"Affine: theta has shape \(2, 2, 3\), want \(N, P\)"),
        (Attention(), (2, 6), r"attention_matrix: theta has shape \(2, 6\), want \(N, 3\)"),
        (Projective(), (2, 9), r"projective_grid: theta has shape \(2, 9\), want \(N, 8\)"),
        (ThinPlateSpline(), (2, 18), r"ThinPlateSpline: theta has shape \(2, 18\), want \(N, 32\)"),
        (ThinPlateSpline(3), (2, 9, 2), r"ThinPlateSpline: theta has shape \(2, 9, 2\), want"),
        (Affine(), (3, 6), r"affine_grid: theta has shape \(3, 2, 3\), want 2 of them"),
    ],
)
def test_theta_of_another_shape_is_refused(transform, shape, message):
    with pytest.raises(ValueError, match=message):
        transform.grid(np.zeros(shape), (2, 1, 4, 4))


def test_other_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="Affine: theta has dtype int64, want float32 or float64"):
        Affine().grid(np.zeros((2, 6), np.int64), (2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"affine_grid: size is \(4, 4\), want \(N, C, H, W\)"):
        Affine().grid(np.zeros((2, 6)), (4, 4))
    with pytest.raises(ValueError, match="ThinPlateSpline: K is 1, want at least 2"):
        ThinPlateSpline(1)
    with pytest.raises(TypeError, match=r"ThinPlateSpline: K is 2\.5, want an integer"):
        ThinPlateSpline(2.5)
    for wrong in ("affine", Affine, None, 3):
        with pytest.raises(TypeError, match=r"f: transform is .*, want an object such as"):
            check_transform("f", wrong)


# Affine, as the theta of another kind

CONTAIN_AFFINE = (Projective(), ThinPlateSpline(2), ThinPlateSpline(3), ThinPlateSpline())


@both_corners
@pytest.mark.parametrize("transform", CONTAIN_AFFINE, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_affine_maps_as_affine_does(transform, dtype, align_corners, rng):
    theta = near_identity(Affine(), rng, 3, spread=2).astype(dtype)
    ours = transform.of_affine(theta)
    assert ours.shape == (3, transform.parameters) and ours.dtype == dtype
    size = (3, 2, 5, 4)
    np.testing.assert_allclose(
        transform.grid(ours, size, align_corners).data,
        Affine().grid(theta, size, align_corners).data,
        rtol=0,
        atol=2e-5 if dtype is np.float32 else 1e-13,
    )
    identity = transform.of_affine(Affine().identity()[None])
    np.testing.assert_allclose(identity[0], transform.identity(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("transform", CONTAIN_AFFINE[::2], ids=repr)
@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 8), (2, 2, 3)])
def test_of_affine_wants_affine_thetas(transform, shape):
    name = f"{type(transform).__name__}.of_affine"
    with pytest.raises(ValueError, match=rf"{name}: theta has .*, want \(N, "):
        transform.of_affine(np.zeros(shape))
