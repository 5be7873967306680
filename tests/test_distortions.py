"""The distortions of the paper: directions, sizes, ranges, reproducibility, and what is in TC."""

import tracemalloc

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy.data import DISTORTIONS, distort, load_digits, placed
from stn_numpy.data import distortions as D
from stn_numpy.functional.grid import control_points

KINDS = list(DISTORTIONS)
SIZES = {"RTS": (42, 42), "T": (60, 60), "TC": (60, 60), "TC9": (60, 60)}


@pytest.fixture(scope="module")
def digits():
    return load_digits().test_images[:50]


def noise(n=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def dot(x, y, size=28):
    """One black image with one white pixel."""
    image = np.zeros((1, size, size), np.uint8)
    image[0, y, x] = 255
    return image


def sample(images, theta, size=28, make_grid=F.affine_grid):
    """Images (N, h, w) through a grid, in double precision, as (N, size, size)."""
    U = images[:, None] / 255
    return F.grid_sample(U, make_grid(theta, (len(U), 1, size, size))).data[:, 0]


# For all kinds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_dtype_range_and_memory(digits, kind, dtype):
    x = distort(digits, kind, np.random.default_rng(0), dtype)
    assert x.shape == (50, 1, *SIZES.get(kind, (28, 28))) == (50, 1, *DISTORTIONS[kind].size)
    assert x.dtype == dtype
    assert x.min() == 0 and 0.9 < x.max() <= 1 + 1e-6
    assert (x.max(axis=(1, 2, 3)) > 0.4).all()  # a digit in every image
    assert x.transpose(1, 2, 3, 0).flags.c_contiguous and x.flags.writeable
    assert distort(digits[:0], kind, np.random.default_rng(0)).shape == (0, *x.shape[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_reproducible_by_seed_and_fresh_for_every_call(digits, kind):
    before = digits.copy()
    rng = np.random.default_rng(3)
    first, second = distort(digits, kind, rng), distort(digits, kind, rng)
    rng = np.random.default_rng(3)
    assert first.tobytes() == distort(digits, kind, rng).tobytes()
    assert second.tobytes() == distort(digits, kind, rng).tobytes()
    same = (first == second).all(axis=(1, 2, 3))
    assert same.all() if kind == "none" else not same.any()
    np.testing.assert_array_equal(digits, before)
    in_double = distort(digits, kind, np.random.default_rng(3), np.float64)
    np.testing.assert_allclose(first, in_double, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_do_not_show(monkeypatch, digits, kind):
    want = distort(digits, kind, np.random.default_rng(4), np.float64)
    monkeypatch.setattr(D, "CHUNK", 7)
    got = distort(digits, kind, np.random.default_rng(4), np.float64)
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_show(monkeypatch, digits, kind):
    monkeypatch.setattr(D, "CHUNK", 7)
    want = distort(digits, kind, np.random.default_rng(4))
    got = distort(digits, kind, np.random.default_rng(4), workers=3)
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.startswith("TC")])
def test_indices_choose_images(digits, kind):
    indices = np.array([7, 3, 3, 40])
    got = distort(digits, kind, np.random.default_rng(5), indices=indices)
    want = distort(digits[indices], kind, np.random.default_rng(5))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_work_space_is_small(digits, kind):
    images = np.tile(digits, (40, 1, 1))
    distort(images, kind, np.random.default_rng(0))
    tracemalloc.start()
    x = distort(images, kind, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - x.nbytes < 24e6


# Directions. Positive angles turn counter-clockwise, x points right, y points down.


@pytest.mark.parametrize("quarters", [-1, 0, 1, 2])
@pytest.mark.parametrize("size", [28, 42])
def test_quarter_turns_are_rot90(quarters, size):
    images = noise(3)
    got = sample(images, D.similarity(np.full(3, quarters * np.pi / 2), size=size), size)
    margin = (size - 28) // 2
    want = np.pad(images / 255, ((0, 0), (margin, margin), (margin, margin)))
    np.testing.assert_allclose(got, np.rot90(want, quarters, axes=(1, 2)), atol=1e-9)


@pytest.mark.parametrize("size", [28, 42])
def test_offset_moves_right_and_down_by_pixels(size):
    theta = D.similarity(np.zeros(1), 1.0, np.array([[5, -3]]), size)
    got = sample(dot(10, 10), theta, size)[0]
    margin = (size - 28) // 2
    want = dot(10 + 5 + margin, 10 - 3 + margin, size)[0] / 255
    np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize("size", [28, 42])
def test_scale_enlarges(size):
    block = np.zeros((1, 28, 28), np.uint8)
    block[:, 12:16, 12:16] = 255
    for scale, side in ((2.0, 8), (1.0, 4), (0.5, 2)):
        got = sample(block, D.similarity(np.zeros(1), np.array([scale]), size=size), size)[0]
        inked = got > 0.5
        assert inked.sum() == side * side
        low = (size - side) // 2
        assert inked[low : low + side, low : low + side].all()


def test_turn_then_move_in_that_order():
    """The digit turns about its own middle, and then goes where the offset says."""
    theta = D.similarity(np.array([np.pi / 2]), 1.0, np.array([[6.0, 2.0]]))
    x, y = 13 + 5, 13  # five to the right of the pixel left of and above the middle
    got = sample(dot(x, y), theta)[0]
    # Counter-clockwise: from right of the middle to above it.
    assert np.unravel_index(got.argmax(), got.shape) == (27 - x + 2, y + 6)


def test_rotated_by_what_was_drawn(digits):
    """R against a rotation of each pixel in loops, in pixels and without any grid."""
    images = digits[:2]
    angles = np.random.default_rng(8).uniform(-np.pi / 2, np.pi / 2, 2)
    got = distort(images, "R", np.random.default_rng(8), np.float64)[:, 0]
    for image, angle, picture in zip(images / 255, angles, got, strict=True):
        framed = np.pad(image, 20)
        for y in range(28):
            for x in range(28):
                right, up = x - 13.5, 13.5 - y
                back_right = right * np.cos(-angle) - up * np.sin(-angle)
                back_up = right * np.sin(-angle) + up * np.cos(-angle)
                xs, ys = 13.5 + back_right + 20, 13.5 - back_up + 20
                j, i = int(np.floor(xs)), int(np.floor(ys))
                a, b = xs - j, ys - i
                value = (
                    framed[i, j] * (1 - a) * (1 - b)
                    + framed[i, j + 1] * a * (1 - b)
                    + framed[i + 1, j] * (1 - a) * b
                    + framed[i + 1, j + 1] * a * b
                )
                assert abs(picture[y, x] - value) < 1e-9


# RTS


def test_rts_keeps_the_whole_digit_and_uses_all_the_room():
    images = np.zeros((2000, 28, 28), np.uint8)
    images[:, 9:21, 3:19] = 255  # not in the middle
    rng = np.random.default_rng(0)
    x = distort(images, "RTS", rng)[:, 0]
    draws = np.random.default_rng(0)
    angle, scale = draws.uniform(-np.pi / 4, np.pi / 4, 2000), draws.uniform(0.7, 1.2, 2000)
    np.testing.assert_allclose(x.sum(axis=(1, 2)), 12 * 16 * scale**2, rtol=0.05)
    # The directions of its axes, from the second moments, are the angles that were drawn.
    pixel = np.arange(42)
    mass = x.sum(axis=(1, 2))
    cx, cy = (x.sum(axis=1) @ pixel) / mass, (x.sum(axis=2) @ pixel) / mass
    dx, dy = pixel - cx[:, None], pixel - cy[:, None]
    xx, yy = (x.sum(axis=1) * dx**2).sum(axis=1), (x.sum(axis=2) * dy**2).sum(axis=1)
    xy = np.einsum("nij,ni,nj->n", x, dy, dx)
    np.testing.assert_allclose(np.arctan2(-2 * xy, xx - yy) / 2, angle, atol=0.05)
    # Anywhere: it touches each side now and then, and its middle is spread evenly.
    inked = x > 0.1
    for axis in (1, 2):
        touched = inked.any(axis=axis)
        assert touched[:, 0].any() and touched[:, -1].any()
    assert abs(np.mean(cx) - 20.5) < 0.5 and abs(np.mean(cy) - 20.5) < 0.5


def test_rts_of_a_digit_larger_than_the_output_is_in_the_middle():
    x = distort(np.full((200, 28, 28), 255, np.uint8), "RTS", np.random.default_rng(0))[:, 0]
    draws = np.random.default_rng(0)
    angle, scale = draws.uniform(-np.pi / 4, np.pi / 4, 200), draws.uniform(0.7, 1.2, 200)
    too_large = 28 * scale * (np.cos(angle) + np.abs(np.sin(angle))) > 42
    assert 20 < too_large.sum() < 180
    turned = x[:, ::-1, ::-1]
    np.testing.assert_allclose(x[too_large], turned[too_large], atol=1e-4)


def test_rts_of_a_blank_image_is_blank():
    assert not distort(np.zeros((3, 28, 28), np.uint8), "RTS", np.random.default_rng(0)).any()


# P


def test_homography_takes_four_points_to_four_points():
    rng = np.random.default_rng(0)
    points = D.CORNERS + 0.3 * rng.standard_normal((50, 4, 2))
    images = D.CORNERS + 0.3 * rng.standard_normal((50, 4, 2))
    a, b, c, d, e, f, g, h = D.homography(points, images).T[:, :, None]
    x, y = points[..., 0], points[..., 1]
    w = g * x + h * y + 1
    np.testing.assert_allclose((a * x + b * y + c) / w, images[..., 0], atol=1e-8)
    np.testing.assert_allclose((d * x + e * y + f) / w, images[..., 1], atol=1e-8)


def test_homography_of_unmoved_and_of_scaled_corners():
    corners = D.CORNERS[None]
    one = [1, 0, 0, 0, 1, 0, 0, 0]
    np.testing.assert_allclose(D.homography(corners, corners)[0], one, atol=1e-12)
    # Corners moved to half of their distance: an affine map, the image at half its size.
    images = noise(1)
    got = sample(images, D.homography(corners / 2, corners), make_grid=F.projective_grid)
    want = sample(images, D.similarity(np.zeros(1), 0.5))
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_a_corner_that_moves_takes_its_content_along():
    moved = D.CORNERS[None].copy()
    moved[0, 0] += D._pixels(np.array([6, 4]))  # upper left: right by 6 and down by 4 pixels
    theta = D.homography(moved, D.CORNERS[None])
    for x, y, where in ((0, 0, (6, 4)), (25, 0, (25, 0)), (25, 25, (25, 25)), (0, 25, (0, 25))):
        ink = np.zeros((1, 28, 28), np.uint8)
        ink[0, y : y + 3, x : x + 3] = 255
        picture = sample(ink, theta, make_grid=F.projective_grid)[0]
        rows, columns = np.nonzero(picture > 0.2)
        assert abs(columns.mean() - where[0] - 1) <= 1 and abs(rows.mean() - where[1] - 1) <= 1


def test_p_stretches_corners_as_the_paper_says(monkeypatch, digits):
    drawn = []
    original = D.homography
    monkeypatch.setattr(D, "homography", lambda p, q: drawn.append((p, q)) or original(p, q))
    distort(digits[np.arange(5000) % 50], "P", np.random.default_rng(0))
    (corners, whole), *rest = drawn
    assert not rest
    assert (whole == D.CORNERS).all()
    assert D._is_convex(corners).all()
    outwards = 14 * corners / D.CORNERS  # pixels from the middle, along x and along y
    np.testing.assert_allclose(outwards[..., 0], outwards[..., 1])  # on the diagonal
    moves = 2**0.5 * (outwards[..., 0] - 14 * 0.875)  # from the mean scale
    spread = np.hypot(5, 2**0.5 * 14 * 0.25 / 12**0.5)
    assert abs(moves.mean()) < 0.25 and abs(moves.std() / spread - 1) < 0.04
    together = np.corrcoef(moves.T)  # of the corners; they share the scale and nothing else
    shared = (spread**2 - 25) / spread**2
    assert np.allclose(together[~np.eye(4, dtype=bool)], shared, atol=0.05)


def test_corners_that_are_drawn_again_keep_their_scale(monkeypatch, digits):
    corners, verdicts = [], [np.array([True, True, False, True, False]), np.ones(5, bool)]
    original = D.homography
    monkeypatch.setattr(D, "_pixels", np.zeros_like)
    monkeypatch.setattr(D, "_is_convex", lambda corners: verdicts.pop(0))
    monkeypatch.setattr(D, "homography", lambda p, q: corners.append(p) or original(p, q))
    distort(digits[:5], "P", np.random.default_rng(0))
    scale = np.random.default_rng(0).uniform(0.75, 1, 5)
    assert not verdicts
    np.testing.assert_allclose(corners[0], scale[:, None, None] * D.CORNERS)


def test_torn_quadrilaterals_are_told_apart():
    assert D._is_convex(D.CORNERS[None])[0]
    dented = D.CORNERS.copy()
    dented[0] = [0.2, 0.2]  # past the diagonal
    crossed, mirrored = D.CORNERS[[1, 0, 2, 3]], D.CORNERS[::-1]
    assert not D._is_convex(np.stack([dented, crossed, mirrored])).any()


# E


def test_unmoved_control_points_change_nothing():
    images = noise(1)
    got = sample(images, control_points(4)[None], make_grid=F.tps_grid)
    np.testing.assert_allclose(got, images / 255, atol=1e-9)


def test_e_moves_control_points_as_the_paper_says(monkeypatch, digits):
    """theta is where each control point of the output is looked up in the input."""
    thetas = []
    draws = np.random.default_rng(6)
    scale, moves = draws.uniform(0.75, 1, 1000), draws.normal(0, 1.5, (1000, 16, 2))
    original = F.tps_grid
    monkeypatch.setattr(
        D.F, "tps_grid", lambda theta, size: thetas.append(theta) or original(theta, size)
    )
    distort(digits[np.arange(1000) % 50], "E", np.random.default_rng(6), np.float64)
    theta = np.concatenate(thetas)
    points = theta * scale[:, None, None] * 14  # pixels of the output from its middle
    np.testing.assert_allclose(points, control_points(4) * 14 + moves, atol=1e-9)
    assert abs((points - control_points(4) * 14).std() / 1.5 - 1) < 0.02


def test_the_spline_of_e_goes_through_its_control_points():
    theta = control_points(4)[None] + 0.1 * np.random.default_rng(0).standard_normal((1, 16, 2))
    # With align_corners, a grid of 4 x 4 has its points where the control points are.
    G = F.tps_grid(theta, (1, 1, 4, 4), align_corners=True).data
    np.testing.assert_allclose(G.reshape(1, 16, 2), theta, atol=1e-9)


# T and TC


def test_t_is_a_whole_pixel_translation_by_the_sampler():
    """What is copied is what `affine_grid` and `grid_sample` would have made."""
    images = noise(6)
    images[:, 0] = images[:, :, 0] = images[:, -1] = images[:, :, -1] = 255  # a frame
    x = distort(images, "T", np.random.default_rng(2), np.float64)[:, 0]
    top, left = np.random.default_rng(2).integers(0, 33, (6, 2)).T
    offset = np.stack([left + 14 - 30, top + 14 - 30], axis=1)
    theta = D.similarity(np.zeros(6), 1.0, offset, 60)
    np.testing.assert_allclose(x, sample(images, theta, 60), atol=1e-9)
    for i in range(6):
        inside = x[i, top[i] : top[i] + 28, left[i] : left[i] + 28]
        np.testing.assert_array_equal(inside, images[i] / 255)


def test_t_reaches_every_place():
    x = distort(np.full((3000, 28, 28), 255, np.uint8), "T", np.random.default_rng(0))[:, 0]
    np.testing.assert_array_equal(x.sum(axis=(1, 2)), 28 * 28)
    for axis in (1, 2):
        first = (x.max(axis=axis) > 0).argmax(axis=1)
        assert np.unique(first).tolist() == list(range(33))


def test_tc_is_the_digit_and_patches_of_others():
    """Every image has a grey of its own, so each pixel of TC tells whose it is."""
    images = np.zeros((120, 28, 28), np.uint8)
    images[:, 6:22, 8:20] = np.arange(60, 180)[:, None, None]
    x = distort(images, "TC", np.random.default_rng(1), np.float64)[:, 0]
    whose = np.round(x * 255).astype(int) - 60
    top, left = np.random.default_rng(1).integers(0, 33, (120, 2)).T
    most = 0
    for i in range(120):
        place = np.zeros((60, 60), bool)
        place[top[i] + 6 : top[i] + 22, left[i] + 8 : left[i] + 20] = True
        assert (whose[i][place] >= i).all()  # the digit, or something brighter on top
        assert not (whose[i][~place] == i).any()  # no patch of one's own
        strangers = (whose[i] >= 0) & (whose[i] != i)
        assert 36 <= strangers.sum() <= 6 * 36
        assert len(np.unique(whose[i][strangers])) <= 6
        most = max(most, strangers.sum())
        # A patch is 6 x 6 and all ink here, and only a brighter one can cover it.
        brightest = whose[i] == whose[i].max()
        assert brightest.sum() >= 36
        if whose[i].max() != i and brightest.sum() == 36:
            rows, columns = np.nonzero(brightest)
            assert np.ptp(rows) == np.ptp(columns) == 5
    assert most == 6 * 36


def test_tc_patches_come_from_all_images_whichever_are_distorted():
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = 55 + np.arange(200)[:, None, None]
    x = distort(images, "TC", np.random.default_rng(0), indices=np.full(300, 17))
    donors = np.unique(np.round(x * 255).astype(int)) - 55
    assert len(donors) > 190 and {0, 199} <= {*donors.tolist()}


def test_tc_patches_hold_ink(digits):
    rng = np.random.default_rng(0)
    patches = D._inked_patches(np.repeat(digits, 40, axis=0), rng.uniform(size=(2000, 2)), 6)
    assert patches.shape == (2000, 6, 6)
    assert (patches.max(axis=(1, 2)) > 100).mean() > 0.9
    thin = np.zeros((1, 28, 28), np.uint8)
    thin[:, 4:24, 13:15] = 200  # narrower than a patch: in the middle of it
    assert (D._inked_patches(thin, rng.uniform(size=(1, 2)), 6)[0] > 0).all(axis=0).tolist() == [
        False, False, True, True, False, False
    ]  # fmt: skip
    corner = dot(27, 0)
    assert D._inked_patches(corner, rng.uniform(size=(1, 2)), 6).sum() == 255


def test_tc_is_the_same_digit_layer_as_t(digits):
    t = distort(digits, "T", np.random.default_rng(9))
    tc = distort(digits, "TC", np.random.default_rng(9))
    assert (tc >= t).all()
    assert ((tc > t).sum(axis=(1, 2, 3)) <= 6 * 36).all() and (tc > t).any(axis=(1, 2, 3)).all()


def test_tc9_pieces_come_from_anywhere_in_others():
    images = np.zeros((50, 28, 28), np.uint8)
    images[:, :, :14] = 200  # the left half is ink: pieces are black, white or cut by the edge
    rng = np.random.default_rng(0)
    pieces = D._patches(np.repeat(images, 20, axis=0), rng.uniform(size=(1000, 2)), 9)
    ink = (pieces > 0).mean(axis=(1, 2))
    assert pieces.shape == (1000, 9, 9)
    # Left edges 0 to 19: nothing but ink to 5, none from 14 on.
    assert np.mean(ink == 1) == pytest.approx(6 / 20, abs=0.05)
    assert np.mean(ink == 0) == pytest.approx(6 / 20, abs=0.05)
    digits = np.zeros((30, 28, 28), np.uint8)
    digits[:, 10:12, 10:12] = 255
    t = distort(digits, "T", np.random.default_rng(9))
    tc = distort(digits, "TC9", np.random.default_rng(9))
    assert (tc >= t).all()
    assert tc.shape == (30, 1, 60, 60)


@pytest.mark.parametrize("kind", ["T", "TC"])
def test_placed_says_where_the_digits_are(digits, kind):
    indices = np.arange(len(digits))[::-1]
    x, left_top = placed(digits, kind, np.random.default_rng(4), indices=indices)
    same = distort(digits, kind, np.random.default_rng(4), indices=indices)
    assert np.array_equal(x, same)
    assert left_top.shape == (len(digits), 2)
    for image, (left, top), digit in zip(x[:, 0], left_top, digits[indices]):
        frame = np.round(image[top : top + 28, left : left + 28] * 255)
        assert (frame >= digit).all()
        if kind == "T":
            assert np.array_equal(frame, digit)
            assert image.sum() == pytest.approx(digit.sum() / 255, rel=1e-5)
    with pytest.raises(ValueError, match=r"^placed: kind is 'R', want one of 'T', 'TC'"):
        placed(digits, "R", np.random.default_rng(4))


# Wrong arguments


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"kind": "rotate"}, ValueError, "kind is 'rotate', want one of 'none', 'R'"),
        ({"images": np.zeros((2, 28, 28))}, TypeError, "images has dtype float64, want uint8"),
        ({"images": noise()[:, :27]}, ValueError, r"shape \(5, 27, 28\), want \(N, 28, 28\)"),
        ({"images": noise()[0]}, ValueError, r"shape \(28, 28\), want \(N, 28, 28\)"),
        ({"images": noise()[:, None]}, ValueError, r"shape \(5, 1, 28, 28\)"),
        ({"rng": 3}, TypeError, "rng is int, want a numpy.random.Generator"),
        ({"dtype": np.float16}, TypeError, "dtype is float16, want float32 or float64"),
        ({"indices": np.array([0.0])}, TypeError, r"indices is float64 of shape \(1,\)"),
        ({"indices": np.array([[0]])}, TypeError, r"indices is int\d+ of shape \(1, 1\)"),
        ({"indices": np.array([0, 5])}, ValueError, "reach from 0 to 5, want 0 to 4"),
        ({"indices": np.array([-1])}, ValueError, "reach from -1 to -1, want 0 to 4"),
        ({"workers": 0}, ValueError, "workers is 0, want at least 1"),
        ({"images": noise(1), "kind": "TC"}, ValueError, "TC of 1 image"),
        ({"images": noise(1), "kind": "TC9"}, ValueError, "TC9 of 1 image"),
    ],
)
def test_wrong_arguments(change, error, message):
    arguments = {"images": noise(), "kind": "R", "rng": np.random.default_rng(0)} | change
    with pytest.raises(error, match=f"^distort: .*{message}"):
        distort(**arguments)
