"""Layers: against literal loops, finite differences, and what they promise at the edges."""

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor, gradcheck, no_grad
from stn_numpy.functional import conv, fourier


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), requires_grad=True)


def pad(x, padding, value=0.0):
    (v, h), (N, C, H, W) = padding, x.shape
    framed = np.full((N, C, H + 2 * v, W + 2 * h), value, float)
    framed[:, :, v : v + H, h : h + W] = x
    return framed


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def places(framed, kernel, stride):
    """Every place (p, q) of the window, and the rows and columns it covers there."""
    H, W = framed.shape[2:]
    for p in range((H - kernel[0]) // stride[0] + 1):
        for q in range((W - kernel[1]) // stride[1] + 1):
            top, left = p * stride[0], q * stride[1]
            yield p, q, slice(top, top + kernel[0]), slice(left, left + kernel[1])


def output_shape(framed, kernel, stride):
    *_, (p, q, _, _) = places(framed, kernel, stride)
    return p + 1, q + 1


# Convolution

CONVOLUTIONS = [
    # N, C, H, W, O, kernel, stride, padding
    (2, 3, 5, 6, 4, (3, 2), 1, 0),
    (2, 3, 5, 6, 4, (2, 3), 2, 1),
    (3, 2, 6, 4, 1, (3, 3), (1, 2), (2, 1)),
    (1, 2, 7, 5, 3, (1, 1), 1, 0),
    (2, 1, 7, 5, 3, (1, 1), (3, 2), (1, 0)),
    (3, 2, 1, 6, 4, (1, 4), 1, 0),
    (3, 2, 6, 1, 4, (4, 1), (2, 1), 0),
    (2, 3, 1, 1, 4, (3, 3), 1, 1),
    (2, 3, 4, 5, 2, (4, 5), 1, 0),
    (2, 3, 3, 4, 2, (5, 6), 1, 1),
    (2, 3, 5, 7, 4, (2, 2), (3, 4), 0),
    (2, 3, 4, 5, 2, (2, 3), 1, (0, 4)),
    (4, 1, 5, 3, 2, (3, 1), (2, 5), (3, 2)),
]


def conv_by_loops(x, W, b, stride, padding):
    framed, kernel = pad(x, padding), W.shape[2:]
    y = np.zeros((len(x), len(W), *output_shape(framed, kernel, stride)))
    for p, q, rows, columns in places(framed, kernel, stride):
        for n, o in np.ndindex(len(x), len(W)):
            y[n, o, p, q] = b[o] + (framed[n, :, rows, columns] * W[o]).sum()
    return y


def conv_backward_by_loops(x, W, stride, padding, dy):
    framed, kernel = pad(x, padding), W.shape[2:]
    dframed, dW = np.zeros_like(framed), np.zeros_like(W)
    for p, q, rows, columns in places(framed, kernel, stride):
        for n, o in np.ndindex(len(x), len(W)):
            dframed[n, :, rows, columns] += dy[n, o, p, q] * W[o]
            dW[o] += dy[n, o, p, q] * framed[n, :, rows, columns]
    (v, h), (H, width) = padding, x.shape[2:]
    return dframed[:, :, v : v + H, h : h + width], dW, dy.sum(axis=(0, 2, 3))


@pytest.fixture(params=CONVOLUTIONS, ids=str)
def convolution(request, rng):
    N, C, H, W, O, kernel, stride, padding = request.param
    arrays = [rng.standard_normal(s) for s in ((N, C, H, W), (O, C, *kernel), (O,))]
    return arrays, stride, padding


@pytest.fixture(params=["windows", "windows, row by row", "waves"])
def way(request, monkeypatch):
    """Each way to convolve, whichever of them is the faster one. (Waves only go at stride 1.)"""
    monkeypatch.setattr(fourier, "is_faster", lambda images, weight: request.param == "waves")
    if request.param == "windows, row by row":
        monkeypatch.setattr(conv, "COLUMN_BYTES", 1)


def test_conv2d_against_loops(convolution, way, rng):
    arrays, stride, padding = convolution
    x, W, b = map(leaf, arrays)
    y = F.conv2d(x, W, b, stride, padding)
    np.testing.assert_allclose(
        y.data, conv_by_loops(*arrays, pair(stride), pair(padding)), rtol=1e-12, atol=1e-12
    )
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    expected = conv_backward_by_loops(*arrays[:2], pair(stride), pair(padding), dy)
    for gradient, by_loops in zip((x.grad, W.grad, b.grad), expected):
        np.testing.assert_allclose(gradient, by_loops, rtol=1e-12, atol=1e-12)


def test_conv2d_against_finite_differences(convolution, way, rng):
    arrays, stride, padding = convolution
    gradcheck(lambda x, W, b: F.conv2d(x, W, b, stride, padding), arrays, atol=1e-8, rng=rng)
    gradcheck(lambda x, W: F.conv2d(x, W, None, stride, padding), arrays[:2], atol=1e-8, rng=rng)


def test_conv2d_some_rows_at_a_time(rng, monkeypatch):
    """Blocks that do not divide the output rows."""
    arrays = [rng.standard_normal(s) for s in ((2, 3, 9, 4), (4, 3, 3, 2), (4,))]
    monkeypatch.setattr(conv, "COLUMN_BYTES", 3 * (3 * 6 * 3 * 2 * 8))  # 3 of 7 rows
    y = F.conv2d(*arrays)
    np.testing.assert_allclose(y.data, conv_by_loops(*arrays, (1, 1), (0, 0)), rtol=1e-12)
    gradcheck(F.conv2d, arrays, atol=1e-8, rng=rng)


def convolved(images, weight, dtype=np.float64):
    """y, dx, dW, db of random images (N, C, H, W) and a random weight, as `conv2d` gives them."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in (images, weight, weight[:1])]
    x, W, b = (Tensor(a.astype(dtype), requires_grad=True) for a in arrays)
    y = F.conv2d(x, W, b)
    y.backward(rng.standard_normal(y.shape).astype(dtype))
    return y.data, x.grad, W.grad, b.grad


@pytest.mark.parametrize("size", [(10, 10), (9, 7), (8, 11)], ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 2), (2, 5), (7, 7)], ids=str)
def test_windows_and_waves_agree(size, kernel, monkeypatch):
    by_way = []
    for waves in (False, True):
        monkeypatch.setattr(fourier, "is_faster", lambda *_, waves=waves: waves)
        by_way.append(convolved((3, 2, *size), (4, 2, *kernel)))
    for windows, waves in zip(*by_way, strict=True):
        assert windows.dtype == waves.dtype and windows.shape == waves.shape
        np.testing.assert_allclose(waves, windows, rtol=1e-12, atol=1e-12)


def test_waves_in_float32(monkeypatch):
    """Rounding is about that of windows: a few units in the last place of the largest number."""
    errors = {}
    for way in ("windows", "waves"):
        monkeypatch.setattr(fourier, "is_faster", lambda *_, way=way: way == "waves")
        ours = convolved((16, 8, 10, 10), (6, 8, 7, 7), np.float32)
        exact = convolved((16, 8, 10, 10), (6, 8, 7, 7), np.float64)
        assert all(a.dtype == np.float32 for a in ours)
        errors[way] = [abs(a - e).max() / abs(e).max() for a, e in zip(ours, exact, strict=True)]
    assert max(errors["waves"]) < min(1e-6, 4 * max(errors["windows"]))


@pytest.mark.parametrize(
    "images, weight, padding, waves",
    [
        ((256, 32, 10, 10), (32, 32, 7, 7), 0, True),  # second convolution of the paper's CNN
        ((64, 20, 12, 12), (20, 20, 5, 5), 0, True),
        ((64, 48, 9, 15), (40, 48, 5, 4), 0, True),
        ((64, 24, 6, 6), (16, 24, 5, 5), 0, False),  # few places ...
        ((64, 24, 6, 6), (16, 24, 5, 5), 2, True),  # ... and more of them with a frame
        ((256, 1, 28, 28), (32, 1, 9, 9), 0, False),  # one channel: the maps would be the work
        ((256, 32, 28, 28), (1, 32, 9, 9), 0, False),
        ((1, 32, 10, 10), (32, 32, 7, 7), 0, False),  # one image: so would the map of the weight
        ((8, 128, 8, 8), (128, 128, 3, 3), 0, False),
        ((64, 32, 32, 32), (32, 32, 3, 3), 0, False),  # windows of few pixels
        ((256, 32, 10, 10), (32, 32, 1, 1), 0, False),
    ],
    ids=str,
)
def test_the_way_with_fewer_products_is_taken(images, weight, padding, waves, monkeypatch):
    taken = []
    right = fourier.convolve
    monkeypatch.setattr(fourier, "convolve", lambda *a: taken.append(1) or right(*a))
    F.conv2d(np.zeros(images, np.float32), np.zeros(weight, np.float32), padding=padding)
    assert bool(taken) == waves


@pytest.mark.parametrize("N, C, O", [(1, 2, 3), (4, 3, 2), (200, 3, 5), (3, 40, 2), (7, 2, 40)])
@pytest.mark.parametrize("size, kernel", [((6, 5), (3, 2)), ((5, 8), (2, 4)), ((9, 12), (5, 7))])
def test_products_are_counted_as_the_matrices_have_them(N, C, O, size, kernel, monkeypatch):
    """The count behind the choice: from the shapes of the very matrices that are multiplied."""

    def applied(waves, images):
        A, h, w, n = images
        down = waves.down.shape[0] * h * A * w * n
        return down + waves.along.size * A * (len(waves.down) // 2) * n

    kernels, images, outputs = fourier._maps(size, kernel, np.dtype(np.float64))
    places = [s - k + 1 for s, k in zip(size, kernel, strict=True)]
    products = len(images.down) // 2 * len(images.along) * C * O * N
    maps = applied(images, (C, *size, N)) + applied(outputs, (O, *places, N))
    weight_map = applied(kernels, (C, *kernel, O))
    windows = C * O * N * np.prod(places) * np.prod(kernel)
    limit = (products + maps + fourier.SMALL * weight_map) / windows
    for worth in (0.999 * limit, 1.001 * limit):
        monkeypatch.setattr(fourier, "WORTH", worth)
        assert fourier.is_faster((C, *size, N), (O, C, *kernel)) == (worth > limit)


def test_waves_take_stride_1_only(monkeypatch):
    monkeypatch.setattr(fourier, "is_faster", lambda *_: True)
    monkeypatch.setattr(fourier, "convolve", None)  # not to be called
    y = F.conv2d(np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3)), stride=2)
    np.testing.assert_array_equal(y.data, np.full((1, 1, 2, 2), 9.0))


@pytest.mark.parametrize("H, W", [(6, 5), (5, 6), (1, 2)])
def test_maps_to_waves_and_their_transposes(H, W, rng):
    """<T x, w> = <x, T^T w>, for the maps of image, kernel and output."""
    for waves, (h, w) in zip(
        fourier._maps((H, W), (1, 2), np.float64), ((1, 2), (H, W), (H, W - 1)), strict=True
    ):
        x = rng.standard_normal((3, h, w, 2))
        Tx = waves.apply(x)
        dTx = rng.standard_normal(Tx.shape)
        np.testing.assert_allclose((Tx * dTx).sum(), (x * waves.transposed(dTx)).sum())


def test_maps_are_shared_and_not_to_be_written():
    maps = fourier._maps((6, 5), (3, 2), np.float32)
    assert maps is fourier._maps((6, 5), (3, 2), np.float32)
    for matrix in (m for waves in maps for m in waves):
        assert matrix.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            matrix[0, 0] = 1


def _kernel_flipped(monkeypatch):
    right = fourier._waves
    monkeypatch.setattr(fourier, "_waves", lambda L, n, sign: right(L, n, -1))


def _halves_mixed_up(monkeypatch):
    right = fourier._parts
    monkeypatch.setattr(fourier, "_parts", lambda waves: right(waves)[::-1])


@pytest.mark.parametrize("bug", [_kernel_flipped, _halves_mixed_up])
def test_wrong_waves_are_caught(bug, rng, monkeypatch):
    """The loops tell on a wrong map; the transposes alone would not (they are consistent)."""
    monkeypatch.setattr(fourier, "is_faster", lambda *_: True)
    arrays = [rng.standard_normal(s) for s in ((2, 3, 5, 6), (4, 3, 2, 3), (4,))]
    expected = conv_by_loops(*arrays, (1, 1), (0, 0))
    uncached = fourier._maps.__wrapped__
    monkeypatch.setattr(fourier, "_maps", uncached)
    np.testing.assert_allclose(F.conv2d(*arrays).data, expected, rtol=1e-12, atol=1e-12)
    bug(monkeypatch)
    assert abs(F.conv2d(*arrays).data - expected).max() > 0.1


def test_conv2d_does_not_flip_the_kernel():
    x = np.arange(6.0).reshape(1, 1, 2, 3)
    right_neighbour = np.array([0.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    y = F.conv2d(x, right_neighbour, padding=(0, 1))
    np.testing.assert_array_equal(y.data, [[[[1, 2, 0], [4, 5, 0]]]])


# Pooling

POOLS = [
    # N, C, H, W, kernel, stride, padding
    (2, 3, 4, 6, 2, None, 0),
    (2, 3, 5, 7, 2, None, 0),
    (2, 3, 5, 7, 3, 1, 1),
    (2, 3, 6, 5, (3, 2), (1, 2), (1, 0)),
    (2, 3, 6, 5, (2, 3), (3, 1), (1, 1)),
    (3, 1, 4, 5, 1, 2, 0),
    (2, 3, 1, 4, (1, 2), None, 0),
    (2, 3, 4, 1, (3, 1), 1, 0),
    (3, 2, 1, 1, 2, 1, 1),
    (2, 3, 4, 5, (4, 5), None, 0),
    (2, 3, 4, 5, 2, 3, 1),
]


def distinct(rng, *shape):
    """Numbers of which no two are nearer than 0.1, most of them below 0."""
    return (0.1 * rng.permutation(np.arange(float(np.prod(shape)))) - 7).reshape(shape)


@pytest.fixture(params=POOLS, ids=str)
def pool(request, rng):
    N, C, H, W, kernel, stride, padding = request.param
    return distinct(rng, N, C, H, W), kernel, stride, padding


def pool_by_loops(x, kernel, stride, padding, dy, value, choose):
    """Forward and backward; `choose(window)` is the output and its gradient."""
    kernel, stride, padding = pair(kernel), pair(stride or kernel), pair(padding)
    framed = pad(x, padding, value)
    y = np.zeros((*x.shape[:2], *output_shape(framed, kernel, stride)))
    dframed = np.zeros_like(framed)
    for p, q, rows, columns in places(framed, kernel, stride):
        for n, c in np.ndindex(x.shape[:2]):
            y[n, c, p, q], slope = choose(framed[n, c, rows, columns])
            dframed[n, c, rows, columns] += dy[n, c, p, q] * slope
    (v, h), (H, W) = padding, x.shape[2:]
    return y, dframed[:, :, v : v + H, h : h + W]


def largest(window):
    one = np.zeros(window.shape)
    one[np.unravel_index(window.argmax(), window.shape)] = 1  # the first, row by row
    return window.max(), one


def average(window):
    return window.mean(), np.full(window.shape, 1 / window.size)


@pytest.mark.parametrize(
    "operation, value, choose", [(F.max_pool2d, -np.inf, largest), (F.avg_pool2d, 0, average)]
)
def test_pooling_against_loops(pool, operation, value, choose, rng):
    array, *window = pool
    x = leaf(array)
    y = operation(x, *window)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    expected, dx = pool_by_loops(array, *window, dy, value, choose)
    np.testing.assert_allclose(y.data, expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(x.grad, dx, rtol=1e-13, atol=1e-13)
    gradcheck(lambda x: operation(x, *window), array, atol=1e-8, rng=rng)


@pytest.mark.parametrize("window", [(2, None, 0), (3, 1, 1), ((2, 3), (1, 2), (1, 0))], ids=str)
def test_of_equal_values_the_first_receives_the_gradient(window, rng):
    array = rng.integers(0, 3, (2, 3, 6, 5)).astype(float)  # ties in nearly every window
    x = leaf(array)
    y = F.max_pool2d(x, *window)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    _, dx = pool_by_loops(array, *window, dy, -np.inf, largest)
    np.testing.assert_allclose(x.grad, dx, rtol=1e-13, atol=1e-13)


def test_the_first_of_four_equal_values():
    x = leaf(np.ones((1, 1, 2, 2)))
    F.max_pool2d(x, 2).backward(np.full((1, 1, 1, 1), 5.0))
    np.testing.assert_array_equal(x.grad, [[[[5, 0], [0, 0]]]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8, np.uint8])
def test_padding_never_wins_the_maximum(dtype, rng):
    low = np.iinfo(dtype).min if np.issubdtype(dtype, np.integer) else -1e30
    x = np.full((2, 3, 4, 5), low, dtype)
    y = F.max_pool2d(x, 3, 2, 1)
    assert y.dtype == dtype and (y.data == dtype(low)).all()
    x = leaf(-1 - rng.random((2, 3, 4, 5)))
    y = F.max_pool2d(x, 3, 2, 1)
    y.backward(np.ones(y.shape))
    assert y.data.max() < -1 and x.grad.sum() == y.size  # no gradient was lost to the padding


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers_have_a_largest_value(dtype, rng):
    x = rng.integers(0, 100, (2, 3, 4, 5)).astype(dtype)
    y = F.max_pool2d(x, 2, 1, 1)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.data, F.max_pool2d(x.astype(float), 2, 1, 1).data)


def test_the_average_counts_padded_zeros():
    y = F.avg_pool2d(np.ones((1, 1, 2, 2)), 2, 1, 1)
    np.testing.assert_array_equal(y.data, [[[[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]]]])


# The fully connected layer


@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 3, 4), (1, 4), (2, 1, 3, 4), (0, 4)], ids=str)
def test_linear(shape, rng):
    x, W, b = rng.standard_normal(shape), rng.standard_normal((2, 4)), rng.standard_normal(2)
    expected = np.zeros((*shape[:-1], 2))
    for index in np.ndindex(shape[:-1]):
        for o in range(2):
            expected[(*index, o)] = sum(W[o, i] * x[(*index, i)] for i in range(4)) + b[o]
    np.testing.assert_allclose(F.linear(x, W, b).data, expected, rtol=1e-13, atol=1e-14)
    gradcheck(F.linear, [x, W, b], rng=rng)
    gradcheck(F.linear, [x, W], rng=rng)


# Activations


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_softmax_and_its_logarithm(dim, rng):
    x = rng.standard_normal((2, 3, 4))
    e = np.exp(x)
    expected = e / e.sum(axis=dim, keepdims=True)
    np.testing.assert_allclose(F.softmax(x, dim).data, expected, rtol=1e-14)
    np.testing.assert_allclose(F.log_softmax(x, dim).data, np.log(expected), rtol=1e-13)
    gradcheck(lambda x: F.softmax(x, dim), x, atol=1e-8, rng=rng)
    gradcheck(lambda x: F.log_softmax(x, dim), x, atol=1e-8, rng=rng)


def test_the_gradient_of_softmax_is_not_zero_and_sums_to_zero(rng):
    x = leaf(rng.standard_normal((3, 4)))
    F.softmax(x).backward(rng.standard_normal((3, 4)))
    assert np.abs(x.grad).min() > 1e-6
    np.testing.assert_allclose(x.grad.sum(axis=1), 0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "softmax", "log_softmax"])
def test_huge_numbers_do_no_harm(name, dtype):
    """Warnings are errors here: nothing overflows, nothing is 0 / 0."""
    x = leaf([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [3e4, 3e4, -3e4]], dtype)
    y = getattr(F, name)(x)
    y.backward(np.ones(y.shape))
    assert np.isfinite(y.data).all() and np.isfinite(x.grad).all()


def test_known_values():
    x = np.array([-2.0, 0.0, 2.0])
    np.testing.assert_array_equal(F.relu(x).data, [0, 0, 2])
    np.testing.assert_allclose(F.sigmoid(x).data, 1 / (1 + np.exp(-x)), rtol=1e-15)
    np.testing.assert_allclose(F.tanh(x).data, np.tanh(x), rtol=1e-15)
    np.testing.assert_array_equal(F.sigmoid(np.array([-1e4, 1e4])).data, [0, 1])
    np.testing.assert_array_equal(F.softmax(np.zeros((1, 4))).data, np.full((1, 4), 0.25))


def test_the_slope_of_relu_at_zero_is_zero():
    x = leaf([-1.0, 0.0, -0.0, 1.0])
    F.relu(x).backward(np.full(4, 7.0))
    np.testing.assert_array_equal(x.grad, [0, 0, 0, 7])


# Losses


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int8])
def test_cross_entropy_is_the_mean_of_minus_log_softmax(dtype, rng):
    x, target = rng.standard_normal((4, 3)), np.array([2, 0, 2, 1], dtype)
    expected = -sum(np.log(np.exp(x[n, t]) / np.exp(x[n]).sum()) for n, t in enumerate(target)) / 4
    loss = F.cross_entropy(x, target)
    assert loss.shape == ()
    np.testing.assert_allclose(loss.data, expected, rtol=1e-14)
    gradcheck(lambda x: F.cross_entropy(x, target), x, atol=1e-8, rng=rng)
    gradcheck(lambda x: F.cross_entropy(x, Tensor(target)), x, atol=1e-8, rng=rng)


@pytest.mark.parametrize("smoothing", [0, 0.1, 0.75, 1])
def test_label_smoothing_spreads_part_of_the_target_over_all_classes(smoothing, rng):
    x, target = rng.standard_normal((4, 3)), np.array([2, 0, 2, 1])
    wanted = (1 - smoothing) * np.eye(3)[target] + smoothing / 3
    loss = F.cross_entropy(x, target, label_smoothing=smoothing)
    np.testing.assert_allclose(loss.data, -(wanted * F.log_softmax(x).data).sum() / 4, rtol=1e-13)
    gradcheck(lambda x: F.cross_entropy(x, target, smoothing), x, atol=1e-8, rng=rng)
    assert F.cross_entropy(x.astype("float32"), target, smoothing).dtype == np.float32


def test_smoothed_labels_are_content_with_scores_that_are_not_huge():
    perfect = np.log([[0.925, 0.025, 0.025, 0.025]])  # the smoothed target itself: nothing to gain
    x = leaf(perfect)
    F.cross_entropy(x, np.array([0]), 0.1).backward()
    np.testing.assert_allclose(x.grad, 0, atol=1e-15)


def test_cross_entropy_of_huge_scores():
    x = leaf([[1e4, -1e4], [1e4, -1e4]])
    loss = F.cross_entropy(x, np.array([0, 1]))
    loss.backward()
    assert loss.data == 1e4
    np.testing.assert_array_equal(x.grad, [[0, 0], [0.5, -0.5]])


@pytest.mark.parametrize("shape", [(3, 4), (5,), (2, 1, 3)], ids=str)
def test_mse_loss(shape, rng):
    x, target = rng.standard_normal(shape), rng.standard_normal(shape)
    np.testing.assert_allclose(F.mse_loss(x, target).data, ((x - target) ** 2).mean(), rtol=1e-14)
    gradcheck(F.mse_loss, [x, target], atol=1e-8, rng=rng)


# Dropout


def test_dropout_in_evaluation_or_with_p_0_does_nothing(rng):
    x = rng.standard_normal((3, 4))
    for y in (F.dropout(x, 0.7, training=False), F.dropout(x, 0.0, rng=rng), F.dropout(x, 0)):
        np.testing.assert_array_equal(y.data, x)


def test_dropout_scales_what_it_keeps(rng):
    x = leaf(np.ones((100, 100)))
    y = F.dropout(x, 0.2, rng=rng)
    assert set(np.unique(y.data)) == {0, 1.25}
    assert 0.18 < (y.data == 0).mean() < 0.22
    y.backward(np.full((100, 100), 3.0))
    np.testing.assert_array_equal(x.grad, 3 * y.data)  # what was forgotten learns nothing


def test_dropout_of_everything(rng):
    x = leaf(rng.standard_normal((3, 4)))
    y = F.dropout(x, 1, rng=rng)
    y.backward(np.ones((3, 4)))
    assert not y.data.any() and not x.grad.any()


def test_dropout_repeats_with_its_seed_and_differs_from_call_to_call():
    x, rng = np.ones((10, 10)), np.random.default_rng(3)
    first, second = F.dropout(x, rng=rng).data, F.dropout(x, rng=rng).data
    np.testing.assert_array_equal(first, F.dropout(x, rng=np.random.default_rng(3)).data)
    assert (first != second).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_forgets_the_same_in_both_precisions(dtype):
    y = F.dropout(np.ones(50, dtype), 0.5, rng=np.random.default_rng(1)).data
    z = F.dropout(np.ones(50), 0.5, rng=np.random.default_rng(1)).data
    np.testing.assert_array_equal(y == 0, z == 0)


# Batch normalisation

BATCHES = [(5, 3), (2, 3, 4, 5), (1, 3, 2, 4), (4, 3, 1, 1), (4, 1), (3, 2, 4)]


def channel(v, x):
    return v.reshape(1, -1, *(1,) * (x.ndim - 2))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", BATCHES, ids=str)
def test_batch_norm_in_training(shape, affine, rng):
    x, C = 2 + 3 * rng.standard_normal(shape), shape[1]
    weight, bias = (rng.standard_normal(C), rng.standard_normal(C)) if affine else (None, None)
    y = F.batch_norm(x, None, None, weight, bias, training=True).data
    for c in range(C):
        values = x[:, c]
        expected = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
        expected = expected * weight[c] + bias[c] if affine else expected
        np.testing.assert_allclose(y[:, c], expected, rtol=1e-12, atol=1e-12)
    parameters = [weight, bias] if affine else []
    gradcheck(
        lambda x, *p: F.batch_norm(x, None, None, *p, training=True),
        [x, *parameters],
        atol=1e-8,
        rng=rng,
    )


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [*BATCHES, (1, 3)], ids=str)
def test_batch_norm_in_evaluation(shape, affine, rng):
    x, C = rng.standard_normal(shape), shape[1]
    mean, var = rng.standard_normal(C), rng.uniform(0.5, 2, C)
    parameters = [rng.standard_normal(C), rng.standard_normal(C)] if affine else []
    y = F.batch_norm(x, mean, var, *parameters, eps=0.1).data
    expected = (x - channel(mean, x)) / np.sqrt(channel(var, x) + 0.1)
    if affine:
        expected = expected * channel(parameters[0], x) + channel(parameters[1], x)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    gradcheck(lambda x, *p: F.batch_norm(x, mean, var, *p), [x, *parameters], atol=1e-8, rng=rng)


def test_batch_norm_with_only_one_of_weight_and_bias(rng):
    x, v = rng.standard_normal((4, 3)), rng.standard_normal(3)
    for training, stats in ((True, (None, None)), (False, (np.zeros(3), np.ones(3)))):
        for name in ("weight", "bias"):
            gradcheck(
                lambda x, v: F.batch_norm(x, *stats, training=training, **{name: v}),  # noqa: B023
                [x, v],
                atol=1e-8,
                rng=rng,
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_statistics_move_in_place(dtype, rng):
    x = rng.standard_normal((4, 3, 2, 2)).astype(dtype)
    mean, var = np.array([1, 2, 3], dtype), np.array([4, 5, 6], dtype)
    expected_mean = 0.7 * mean + 0.3 * x.mean(axis=(0, 2, 3))
    expected_var = 0.7 * var + 0.3 * x.var(axis=(0, 2, 3), ddof=1)
    with no_grad():
        F.batch_norm(x, mean, var, training=True, momentum=0.3)
    assert mean.dtype == var.dtype == dtype
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-6)
    np.testing.assert_allclose(var, expected_var, rtol=1e-6)


def test_running_statistics_rest_in_evaluation_and_backward(rng):
    mean, var = np.zeros(3), np.ones(3)
    y = F.batch_norm(leaf(rng.standard_normal((4, 3))), mean, var)
    y.backward(np.ones((4, 3)))
    assert not mean.any() and (var == 1).all()


def test_the_backward_in_evaluation_uses_the_statistics_of_its_forward(rng):
    x, mean, var = leaf(rng.standard_normal((4, 3))), np.zeros(3), np.full(3, 4.0)
    y = F.batch_norm(x, mean, var, leaf(np.ones(3)), eps=0)
    var[:] = 100
    y.backward(np.ones((4, 3)))
    np.testing.assert_allclose(x.grad, 0.5, rtol=1e-15)


def test_batch_norm_of_a_constant_channel(rng):
    x = leaf(np.full((4, 3), 7.0))
    y = F.batch_norm(x, None, None, training=True)
    y.backward(rng.standard_normal((4, 3)))
    np.testing.assert_array_equal(y.data, np.zeros((4, 3)))
    assert np.isfinite(x.grad).all()


# What layers share


@pytest.mark.parametrize("dims", [(1, 1), (1, 3), (3, 1), (3, 3)], ids=str)
@pytest.mark.parametrize("operation", [F.max_pool2d, F.avg_pool2d])
def test_images_as_small_as_they_come(operation, dims, rng):
    gradcheck(lambda x: operation(x, dims), distinct(rng, 2, 3, *dims), atol=1e-8, rng=rng)
