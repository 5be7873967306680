"""The tape, and what every operation owes to it: dtypes, memory, names, inputs left alone."""

import gc
import threading
import weakref

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor, gradcheck, no_grad, op
from stn_numpy.functional import conv, kernels, sampler


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), requires_grad=True)


# Every operation, on small inputs off its kinks


def normal(*shape):
    return lambda rng: rng.standard_normal(shape)


def positive(*shape):
    return lambda rng: rng.uniform(0.5, 2, shape)


def apart(*shape):
    """No two numbers, and no number and 0, nearer than 0.1: no ties, no kinks."""

    def draw(rng):
        size = int(np.prod(shape))
        steps = rng.permutation(2 * size)[:size] - size
        return (0.2 * steps + 0.1).reshape(shape)

    return draw


def points(*shape):
    """Normalised coordinates, half of them outside; kinks of a sampler are hit with chance 0."""
    return lambda rng: rng.uniform(-1.7, 1.7, shape)


def homographies(n):
    """Projective parameters whose w stays well above 0."""
    return lambda rng: np.array([1, 0, 0, 0, 1, 0, 0, 0]) + rng.uniform(-0.3, 0.3, (n, 8))


def seeded_dropout(x):
    return F.dropout(x, 0.4, training=True, rng=np.random.default_rng(5))


def batch_norm_training(x, weight, bias):
    return F.batch_norm(x, None, None, weight, bias, training=True)


def batch_norm_evaluation(x, weight, bias):
    mean, var = np.array([0.5, -1, 2]), np.array([2, 0.25, 1])
    return F.batch_norm(x, mean.astype(x.dtype), var.astype(x.dtype), weight, bias)


SIZE = (2, 7, 4, 5)  # of a grid; its number of channels means nothing

OPERATIONS = {
    "add": (F.add, normal(2, 3, 4), normal(3, 1)),
    "subtract": (F.subtract, normal(3, 1), normal(2, 3, 4)),
    "multiply": (F.multiply, normal(2, 3, 4), normal(1, 4)),
    "divide": (F.divide, normal(2, 3, 4), positive(2, 1, 4)),
    "power": (lambda a: F.power(a, 3), normal(2, 3)),
    "power-root": (lambda a: F.power(a, 0.5), positive(2, 3)),
    "negative": (F.negative, normal(2, 3)),
    "exp": (F.exp, normal(2, 3)),
    "log": (F.log, positive(2, 3)),
    "absolute": (F.absolute, apart(2, 3)),
    "matmul": (F.matmul, normal(2, 1, 3, 4), normal(5, 4, 2)),
    "sum": (F.sum, normal(2, 3, 4)),
    "sum-axes": (lambda a: F.sum(a, (0, -1)), normal(2, 3, 4)),
    "mean": (F.mean, normal(2, 3, 4)),
    "mean-axis": (lambda a: F.mean(a, 1, keepdims=True), normal(2, 3, 4)),
    "amax": (F.amax, apart(2, 3, 4)),
    "amax-axis": (lambda a: F.amax(a, 1), apart(2, 3, 4)),
    "reshape": (lambda a: F.reshape(a, (4, -1)), normal(2, 3, 4)),
    "transpose": (lambda a: F.transpose(a, (2, 0, 1)), normal(2, 3, 4)),
    "getitem": (lambda a: F.getitem(a, [1, 0, 1]), normal(2, 3)),
    "getitem-slice": (lambda a: F.getitem(a, (slice(None), 1)), normal(2, 3)),
    "concat": (lambda a, b: F.concat([a, b], dim=1), normal(2, 3, 4), normal(2, 1, 4)),
    "flatten": (F.flatten, normal(2, 3, 4)),
    "relu": (F.relu, apart(2, 3, 4)),
    "tanh": (F.tanh, normal(2, 3)),
    "sigmoid": (F.sigmoid, normal(2, 3)),
    "softmax": (F.softmax, normal(2, 3)),
    "softmax-axis": (lambda a: F.softmax(a, 1), normal(2, 3, 4)),
    "log_softmax": (F.log_softmax, normal(2, 3)),
    "cross_entropy": (lambda a: F.cross_entropy(a, np.array([2, 0])), normal(2, 3)),
    "mse_loss": (F.mse_loss, normal(2, 3), normal(2, 3)),
    "dropout": (seeded_dropout, normal(3, 4)),
    "dropout-evaluation": (lambda a: F.dropout(a, training=False), normal(3, 4)),
    "batch_norm": (batch_norm_training, normal(2, 3, 4, 5), normal(3), normal(3)),
    "batch_norm-evaluation": (batch_norm_evaluation, normal(2, 3, 4, 5), normal(3), normal(3)),
    "linear": (F.linear, normal(3, 4), normal(2, 4), normal(2)),
    "conv2d": (
        lambda x, W, b: F.conv2d(x, W, b, stride=(2, 1), padding=(1, 2)),
        normal(2, 3, 5, 4),
        normal(4, 3, 3, 2),
        normal(4),
    ),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), apart(2, 3, 5, 4)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, (3, 2), 2, 1), normal(2, 3, 5, 4)),
    "affine_grid": (lambda theta: F.affine_grid(theta, SIZE), normal(2, 2, 3)),
    "attention_matrix": (F.attention_matrix, normal(2, 3)),
    "projective_grid": (lambda theta: F.projective_grid(theta, SIZE), homographies(2)),
    "tps_grid": (lambda theta: F.tps_grid(theta, SIZE), normal(2, 9, 2)),
    "grid_sample": (F.grid_sample, normal(2, 3, 4, 5), points(2, 3, 2, 2)),
    "grid_sample-nearest": (
        lambda U, G: F.grid_sample(U, G, "nearest", "border"),
        normal(2, 3, 4, 5),
        points(2, 3, 2, 2),
    ),
    "grid_sample-bicubic": (
        lambda U, G: F.grid_sample(U, G, "bicubic", "reflection", True),
        normal(2, 3, 4, 5),
        points(2, 3, 2, 2),
    ),
    "grid_sample-kernel": (
        lambda U, G: F.grid_sample(U, G, kernels.Bilinear(), "border"),
        normal(2, 3, 4, 5),
        points(2, 3, 2, 2),
    ),
}

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def operation(name, rng):
    fn, *draws = OPERATIONS[name]
    return fn, [draw(rng) for draw in draws]


def run(fn, arrays, cotangent=None, requires_grad=None):
    """Forward and backward: the output, and the gradient of each input (None where unwanted)."""
    wanted = [True] * len(arrays) if requires_grad is None else requires_grad
    tensors = [Tensor(a, requires_grad=w) for a, w in zip(arrays, wanted)]
    output = fn(*tensors)
    if cotangent is None:
        cotangent = np.cos(np.arange(output.size)).reshape(output.shape)
    output.backward(cotangent)
    return output.data, [t.grad for t in tensors]


def test_no_operation_is_left_out():
    assert {name.split("-")[0] for name in OPERATIONS} == set(F.__all__)


@every_operation
def test_gradient_agrees_with_finite_differences(name, rng):
    fn, arrays = operation(name, rng)
    assert gradcheck(fn, arrays, atol=1e-8, rng=rng)


@every_operation
def test_float32_stays_float32(name, rng):
    fn, arrays = operation(name, rng)
    exact, exact_gradients = run(fn, arrays)
    output, gradients = run(fn, [a.astype(np.float32) for a in arrays])
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, exact, rtol=1e-4, atol=1e-4)
    for gradient, exact_gradient in zip(gradients, exact_gradients):
        assert gradient.dtype == np.float32
        np.testing.assert_allclose(gradient, exact_gradient, rtol=2e-4, atol=2e-4)


@every_operation
def test_inputs_and_the_incoming_gradient_are_left_alone(name, rng):
    fn, arrays = operation(name, rng)
    with no_grad():
        cotangent = rng.standard_normal(fn(*map(Tensor, arrays)).shape)
    for array in (*arrays, cotangent):
        array.flags.writeable = False  # whoever writes into it raises
    run(fn, arrays, cotangent)


LAYOUTS = {
    "first axis last": lambda a: np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "Fortran": np.asfortranarray,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@every_operation
def test_any_order_of_memory_gives_the_same(name, layout, rng):
    fn, arrays = operation(name, rng)
    output, gradients = run(fn, arrays)
    other_arrays = [LAYOUTS[layout](a) for a in arrays]
    cotangent = np.cos(np.arange(output.size)).reshape(output.shape)
    if output.ndim:  # one number has no order
        cotangent = LAYOUTS[layout](cotangent)
    other_output, other_gradients = run(fn, other_arrays, cotangent)
    np.testing.assert_allclose(other_output, output, rtol=1e-13, atol=1e-13)
    for other, gradient in zip(other_gradients, gradients):
        np.testing.assert_allclose(other, gradient, rtol=1e-12, atol=1e-12)


@every_operation
def test_each_input_may_be_the_only_one_with_a_gradient(name, rng):
    fn, arrays = operation(name, rng)
    _, together = run(fn, arrays)
    for i, expected in enumerate(together):
        wanted = [j == i for j in range(len(arrays))]
        _, alone = run(fn, arrays, requires_grad=wanted)
        np.testing.assert_allclose(alone[i], expected, rtol=1e-13, atol=1e-13)
        assert all(g is None for g, w in zip(alone, wanted) if not w)


@every_operation
def test_arrays_are_as_good_as_tensors_and_leave_no_tape(name, rng):
    fn, arrays = operation(name, rng)
    expected, _ = run(fn, arrays)
    output = fn(*arrays)
    assert isinstance(output, Tensor) and not output.requires_grad
    np.testing.assert_array_equal(output.data, expected)
    with no_grad():
        assert not fn(*map(leaf, arrays)).requires_grad


@every_operation
def test_gradients_are_arrays_of_their_own(name, rng):
    fn, arrays = operation(name, rng)
    tensors = [leaf(a) for a in arrays]
    output = fn(*tensors)
    cotangent = rng.standard_normal(output.shape)
    output.backward(cotangent)
    others = [cotangent, output.data, *(t.data for t in tensors)]
    for i, tensor in enumerate(tensors):
        assert type(tensor.grad) is np.ndarray and tensor.grad.flags.writeable
        for other in others + [t.grad for t in tensors[:i]]:
            assert not np.shares_memory(tensor.grad, other)


ELEMENTWISE = {
    "negative": lambda x: -x,
    "exp": F.exp,
    "log": F.log,
    "absolute": F.absolute,
    "power": lambda x: x**2,
    "add": lambda x: x + x,
    "divide": lambda x: 1 / x,
    "relu": F.relu,
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "sum": F.sum,
    "mean": F.mean,
    "amax": F.amax,
    "reshape": lambda x: x.reshape(1, 1),
    "getitem": lambda x: x[None],
    "dropout": lambda x: F.dropout(x, 0.5, rng=np.random.default_rng(0)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_one_number_without_axes_is_an_array_too(name, dtype):
    """NumPy makes scalars of arrays without axes; losses are such arrays, and -loss is common."""
    x = leaf(0.7, dtype)
    output = ELEMENTWISE[name](x)
    output.backward()
    assert output.dtype == dtype
    assert type(x.grad) is np.ndarray and x.grad.shape == () and x.grad.dtype == dtype
    if dtype == np.float64:
        gradcheck(ELEMENTWISE[name], np.array(0.7))


def test_the_negative_of_a_loss_can_be_differentiated(rng):
    x = leaf(rng.standard_normal((2, 3)))
    (-F.mse_loss(x, np.zeros((2, 3)))).backward()
    np.testing.assert_allclose(x.grad, -2 * x.data / 6, rtol=1e-15)


# The tape


def test_a_shared_interior_node_receives_the_sum():
    x = leaf([1.0, -2.0, 3.0])
    square = x * x
    (square * square + square).backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, 4 * x.data**3 + 2 * x.data)


@pytest.mark.parametrize("uses", [1, 2, 3, 4, 7])
def test_a_node_used_many_times_by_operations_that_pass_the_gradient_on(uses, rng):
    """reshape hands its incoming array through: sums must not be written into it."""
    x, weights = leaf(rng.standard_normal(6)), rng.standard_normal((uses, 6))
    shared = x * 2.0
    flat = [shared.reshape(2, 3).reshape(6) for _ in range(uses)]
    total = flat[0] * weights[0]
    for f, w in zip(flat[1:], weights[1:]):
        total = total + f * w
    cotangent = rng.standard_normal(6)
    before = cotangent.copy()
    total.backward(cotangent)
    np.testing.assert_allclose(x.grad, 2 * cotangent * weights.sum(axis=0), rtol=1e-13)
    np.testing.assert_array_equal(cotangent, before)


def test_one_array_may_be_the_gradient_of_two_inputs():
    """Sums are not written into an array that another part of the graph still waits for."""

    @op
    def plus(a, b):
        return a + b, lambda dy: (dy, dy)

    x, cotangent = leaf([1.0, 2.0]), np.array([1.0, 10.0])
    double, triple = x * 2, x * 3
    plus(plus(double, triple), double).backward(cotangent)
    np.testing.assert_array_equal(x.grad, 7 * np.array([1.0, 10.0]))
    np.testing.assert_array_equal(cotangent, [1, 10])


def test_routes_of_different_length_meet_in_the_right_order(rng):
    def fn(x):
        y = x * x
        long = F.tanh(F.exp(y * 0.1) + y)
        return (long * y + F.exp(long - y)) * x

    gradcheck(fn, rng.standard_normal(5), rng=rng)


def test_one_tensor_as_both_inputs_of_an_operation(rng):
    gradcheck(lambda a: a @ a, rng.standard_normal((3, 3)), rng=rng)
    gradcheck(lambda a: a / (a * a + 1) - a, rng.standard_normal(4), rng=rng)


def stn(U, W, A, loc=lambda U: U, read=lambda U: U):
    """A spatial transformer by hand: U -> theta -> grid, and the same U read at the grid."""
    features = F.avg_pool2d(F.tanh(F.conv2d(loc(U), W)), 2)
    theta = F.linear(features.flatten(), A) + np.array([0.9, 0.1, 0, -0.1, 0.8, 0])
    grid = F.affine_grid(theta.reshape(-1, 2, 3), U.shape)
    return F.grid_sample(read(U), grid)


@pytest.fixture
def stn_inputs(rng):
    U = rng.standard_normal((2, 3, 5, 6))
    W = rng.standard_normal((4, 3, 2, 3)) / 4
    A = rng.standard_normal((6, 16)) / 16
    return U, W, A


def test_stn_diamond_agrees_with_finite_differences(stn_inputs, rng):
    """U feeds the localisation net and the sampler; both routes end in dL/dU."""
    gradcheck(stn, stn_inputs, atol=1e-8, rng=rng)


def test_stn_diamond_is_the_sum_of_its_two_routes(stn_inputs, rng):
    cotangent = rng.standard_normal((2, 3, 5, 6))

    def dU(**routes):
        U, W, A = map(leaf, stn_inputs)
        stn(U, W, A, **routes).backward(cotangent)
        return U.grad

    through_localisation = dU(read=Tensor.detach)
    through_sampler = dU(loc=Tensor.detach)
    assert np.abs(through_localisation).max() > 0.01 and np.abs(through_sampler).max() > 0.01
    np.testing.assert_allclose(dU(), through_localisation + through_sampler, atol=1e-13)


@pytest.mark.parametrize("backward", [True, False])
def test_a_chain_of_20000_operations_comes_and_goes(backward):
    x = leaf(np.ones(3))
    y = x
    for _ in range(10_000):
        y = (y * 1.0001).reshape(3)
    if backward:
        y.backward(np.array([1.0, 2.0, 3.0]))
        np.testing.assert_allclose(x.grad, 1.0001**10_000 * np.array([1, 2, 3]), rtol=1e-11)
    del y
    gc.collect()


def test_a_ladder_of_shared_nodes_takes_linear_time():
    """2 ** 300 routes, 300 nodes."""
    x = leaf(np.ones(2))
    y = x
    for _ in range(300):
        y = (y + y) * 0.5
    y.backward(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(x.grad, [1, 3])


def test_gradients_add_up_over_backwards():
    x = leaf([1.0, 2.0])
    (x * x).backward(np.ones(2))
    first = x.grad
    (x * 3).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [5, 7])
    np.testing.assert_array_equal(first, [2, 4])  # what was read before does not change afterwards


def test_gradients_of_one_number_add_up_to_an_array():
    x = leaf(2.0)
    for _ in range(3):
        (x * 3).backward()
        assert type(x.grad) is np.ndarray
    assert x.grad == 9


def test_a_leaf_may_be_the_root():
    x, grad = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    x.backward(grad)
    x.backward(grad)
    np.testing.assert_array_equal(x.grad, [6, 8])
    np.testing.assert_array_equal(grad, [3, 4])


def test_only_leaves_that_ask_keep_a_gradient():
    x, constant = leaf([1.0, 2.0]), Tensor([3.0, 4.0])
    y = x * constant
    z = y + 1
    z.backward(np.ones(2))
    assert y.grad is None and z.grad is None and constant.grad is None
    np.testing.assert_array_equal(x.grad, [3, 4])


def test_changing_one_gradient_in_place_changes_no_other():
    a, b, cotangent = leaf(np.zeros(3)), leaf(np.zeros(3)), np.ones(3)
    (a + b.reshape(3)).backward(cotangent)
    a.grad *= 100
    np.testing.assert_array_equal(b.grad, np.ones(3))
    np.testing.assert_array_equal(cotangent, np.ones(3))


def test_detach_cuts_the_tape_and_shares_the_numbers():
    x = leaf([1.0, 2.0])
    y = (x * x).detach()
    assert not y.requires_grad and y.grad is None
    (x * y).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [1, 4])
    assert np.shares_memory(x.detach().data, x.data)


def test_second_backward_says_so():
    x = leaf([1.0, 2.0])
    y = F.exp(x * x)
    y.backward(np.ones(2))
    before = x.grad.copy()
    with pytest.raises(RuntimeError, match=r"backward: .*used up.*(exp|multiply).*forward"):
        y.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, before)


def test_backward_through_a_part_that_was_used_up_says_so():
    x = leaf([1.0, 2.0])
    shared = x * x
    shared.sum().backward()
    with pytest.raises(RuntimeError, match=r"used up.*multiply"):
        (shared + 1).sum().backward()


def test_backward_lets_go_of_what_it_kept():
    kept = []

    @op
    def keeps_an_array(a):
        array = a + 0.0
        kept.append(weakref.ref(array))
        return a + 1, lambda dy: dy * (array == array)

    y = keeps_an_array(leaf(np.ones(3))) * 2
    gc.collect()
    assert kept[0]() is not None
    y.backward(np.ones(3))
    gc.collect()
    assert kept[0]() is None  # although y is still here


def test_backward_lets_go_of_what_led_there():
    x = leaf(np.ones(3))
    between = x * 2
    kept = weakref.ref(between.data)
    y = F.exp(between)
    del between
    assert kept() is not None
    y.backward(np.ones(3))
    gc.collect()
    assert kept() is None  # although y is still here


# What backward refuses


def test_backward_without_grad_needs_one_number():
    x = leaf(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"backward: .*\(2, 3\).*grad"):
        (x * 2).backward()
    (x * 2).sum().backward()
    x = leaf(np.ones((1, 1)))
    (x * 2).backward()
    np.testing.assert_array_equal(x.grad, [[2]])


@pytest.mark.parametrize("shape", [(3, 2), (2,), (), (1, 2, 3)])
def test_backward_refuses_a_grad_of_another_shape(shape):
    y = leaf(np.ones((2, 3))) * 2
    with pytest.raises(ValueError, match=r"backward: grad has shape .*want \(2, 3\)"):
        y.backward(np.ones(shape))
    y.backward(np.ones((2, 3)))  # a refusal costs nothing


@pytest.mark.parametrize("grad", [np.array([1j]), np.array([None]), np.array(["1"])])
def test_backward_refuses_a_grad_that_is_no_number(grad):
    with pytest.raises(TypeError, match=r"backward: grad has dtype .*want float64"):
        (leaf([1.0]) * 2).backward(grad)


@pytest.mark.parametrize("grad", [[1, 2], np.array([1, 2], np.float32), Tensor([1.0, 2.0])])
def test_backward_takes_any_numbers_of_the_right_shape(grad):
    x = leaf([1.0, 1.0])
    (x * 3).backward(grad)
    assert x.grad.dtype == np.float64
    np.testing.assert_array_equal(x.grad, [3, 6])


def test_backward_of_what_depends_on_nothing():
    with pytest.raises(ValueError, match=r"backward: .*does not depend"):
        (Tensor([1.0]) * 2).backward()
    with no_grad():
        y = leaf([1.0]) * 2
    with pytest.raises(ValueError, match=r"backward: .*does not depend"):
        y.backward()


# What a wrong backward is told


def wrong_op(gradients):
    @op
    def scale(image, factor):
        return image * factor, lambda dy: gradients(dy)

    return scale


WRONG = {
    "shape": (lambda dy: (dy[0], dy.sum(axis=0)), r"\(3,\) float64 for image \(input 0\)"),
    "broadcast shape": (lambda dy: (dy[None], dy.sum(axis=0)), r"\(1, 2, 3\) float64 for image"),
    "dtype": (
        lambda dy: (dy.astype(np.float32), dy.sum(axis=0)),
        r"\(2, 3\) float32 for image \(input 0\)",
    ),
    "integers": (lambda dy: (dy, np.ones(3, np.int64)), r"\(3,\) int64 for factor \(input 1\)"),
    "None": (lambda dy: (None, dy.sum(axis=0)), r"NoneType for image \(input 0\)"),
    "second": (lambda dy: (dy, dy), r"\(2, 3\) float64 for factor \(input 1\) of shape \(3,\)"),
    "missing": (lambda dy: dy, r"NoneType for factor \(input 1\)"),
    "a list": (lambda dy: ([0.0] * 6, dy.sum(axis=0)), r"list for image \(input 0\)"),
    "a number": (lambda dy: (0.0, dy.sum(axis=0)), r"float for image \(input 0\)"),
    "a tensor": (lambda dy: (Tensor(dy), dy.sum(axis=0)), r"Tensor for image \(input 0\)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_gradient_names_the_operation_and_the_input(wrong):
    gradients, message = WRONG[wrong]
    y = wrong_op(gradients)(leaf(np.ones((2, 3))), leaf(np.ones(3)))
    with pytest.raises(RuntimeError, match=r"scale: backward returned " + message):
        y.backward(np.ones((2, 3)))


def test_a_gradient_that_nobody_wants_may_be_wrong():
    y = wrong_op(lambda dy: (dy, "nonsense"))(leaf(np.ones((2, 3))), np.ones(3))
    y.backward(np.ones((2, 3)))


def test_an_operation_of_the_readers_own():
    @op
    def weighted(a, b, weight=1.0):
        """a b weight."""

        def backward(dy):
            return dy * b * weight, dy * a * weight

        return a * b * weight, backward

    gradcheck(lambda a, b: weighted(a, b, weight=3.0), [np.array([1.0, 2.0]), np.array([0.5, 4.0])])
    gradcheck(lambda a, b: weighted(b=b, a=a), [np.array([1.0, 2.0]), np.array([0.5, 4.0])])
    assert weighted.__name__ == "weighted" and weighted.__doc__ == "a b weight."


def test_tensors_by_keyword(rng):
    x, W, b = rng.standard_normal((3, 4)), rng.standard_normal((2, 4)), rng.standard_normal(2)
    gradcheck(lambda x, W, b: F.linear(x, bias=b, weight=W), [x, W, b], rng=rng)
    gradcheck(lambda x, W, b: F.linear(bias=b, weight=W, input=x), [x, W, b], rng=rng)
    U, G = rng.standard_normal((2, 3, 4, 5)), rng.uniform(-1, 1, (2, 3, 2, 2))
    gradcheck(lambda U, G: F.grid_sample(U, grid=G, align_corners=True), [U, G], rng=rng)


def test_needs_tells_what_is_wanted():
    told = []

    @op
    def three(a, b, c):
        def backward(dy, needs):
            told.append(list(needs))
            return tuple(dy if n else None for n in needs)

        return a + b + c, backward

    three(Tensor([1.0]), leaf([1.0]), np.ones(1)).backward()
    three(leaf([1.0]), 0.0, leaf([1.0]) * 2).backward()
    assert told == [[False, True, False], [True, False, True]]


def not_to_be_called(*_args):
    raise AssertionError("work for a gradient that nobody needs")


def test_needs_skips_the_work(monkeypatch, rng):
    x, W = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal((4, 3, 2, 2))
    U, G = rng.standard_normal((2, 3, 4, 5)), rng.uniform(-1, 1, (2, 3, 2, 2))
    monkeypatch.setattr(conv, "_col2im", not_to_be_called)
    run(F.conv2d, [x, W], requires_grad=[False, True])
    with pytest.raises(AssertionError, match="nobody needs"):
        run(F.conv2d, [x, W], requires_grad=[True, False])
    monkeypatch.setattr(sampler, "crop", not_to_be_called)  # of dU, and of nothing else
    for mode in ("bilinear", "bicubic"):
        run(lambda U, G: F.grid_sample(U, G, mode), [U, G], requires_grad=[False, True])  # noqa: B023
        with pytest.raises(AssertionError, match="nobody needs"):
            run(lambda U, G: F.grid_sample(U, G, mode), [U, G], requires_grad=[True, False])  # noqa: B023


# no_grad


def records():
    return (leaf([1.0]) * 2).requires_grad


def test_no_grad_as_a_context():
    with no_grad():
        assert not records()
        with no_grad():
            assert not records()
        assert not records()
    assert records()


def test_no_grad_as_a_decorator():
    @no_grad()
    def evaluate(x, factor=2):
        """Says what it does."""
        return x * factor, records()

    y, recorded = evaluate(leaf([1.0]), factor=3)
    assert y.data == 3 and not y.requires_grad and not recorded and records()
    assert evaluate.__name__ == "evaluate" and evaluate.__doc__ == "Says what it does."


def test_no_grad_ends_with_an_exception():
    with pytest.raises(ZeroDivisionError), no_grad():
        1 / 0  # noqa: B018
    assert records()


def test_one_no_grad_may_be_used_again_and_inside_itself():
    quiet = no_grad()
    try:
        with quiet:
            assert not records()
        assert records()
        with quiet, quiet:
            assert not records()
        assert records()
    finally:  # whatever happened, the next test records
        from stn_numpy.autograd import _mode

        _mode.recording = True


def test_no_grad_is_of_one_thread():
    inside, done, found = threading.Event(), threading.Event(), []

    def work():
        with no_grad():
            inside.set()
            done.wait(10)
            found.append(records())

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    found.append(records())
    done.set()
    thread.join()
    assert found == [True, False]


def test_threads_walk_their_own_tapes(rng):
    weights = rng.standard_normal((4, 6, 6))
    gradients = [None] * 4

    def work(i):
        x = leaf(np.ones((6, 6)))
        for _ in range(20):
            y = x
            for _ in range(10):
                y = F.tanh(y @ weights[i])
            y.sum().backward()
        gradients[i] = x.grad

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = list(gradients)
    for i in range(4):
        work(i)
        np.testing.assert_array_equal(together[i], gradients[i])


# Tensor


def test_tensor_shows_its_array():
    data = np.arange(6.0).reshape(2, 3)
    x = Tensor(data)
    assert (x.shape, x.dtype, x.ndim, x.size, len(x)) == ((2, 3), np.float64, 2, 6, 2)
    assert x.numpy() is x.data and np.shares_memory(np.asarray(x), data)
    assert x.grad is None and not x.requires_grad
    assert float(Tensor(2.5)) == Tensor([2.5]).item() == 2.5
    assert np.array(x, dtype=np.float32).dtype == np.float32
    assert np.asarray(x, np.float32).dtype == np.float32
    assert np.shares_memory(np.asarray(x, np.float64), data)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, np.float32, copy=False)
    assert not np.shares_memory(np.array(x), data)


def test_tensor_of_lists_numbers_and_tensors():
    assert Tensor([[1, 2], [3, 4]]).shape == (2, 2)
    assert Tensor(3).dtype.kind == "i" and Tensor(3.0).dtype == np.float64
    x = leaf([1.0])
    assert Tensor(x).data is x.data and not Tensor(x).requires_grad


def test_repr_tells_numbers_dtype_and_origin():
    x = leaf([1.0, 2.0], np.float32)
    assert repr(x) == "Tensor([1., 2.], dtype=float32, requires_grad=True)"
    assert repr(x * 2) == "Tensor([2., 4.], dtype=float32, made by multiply)"


@pytest.mark.parametrize("data", [[1, 2], [True], np.ones(2, np.float16), np.uint8(3)])
def test_no_gradient_for_what_is_not_float32_or_float64(data):
    with pytest.raises(TypeError, match=r"Tensor: data has dtype .*float32 or float64"):
        Tensor(data, requires_grad=True)
    Tensor(data)


@pytest.mark.parametrize("data", [[None], ["a"], [1j], np.array([object()]), {"a": 1}])
def test_a_tensor_holds_real_numbers(data):
    with pytest.raises(TypeError, match=r"Tensor: data has dtype .*real numbers"):
        Tensor(data)
