"""Arithmetic, reductions and shapes: against NumPy forwards, finite differences backwards."""

import operator

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import Tensor, gradcheck

OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), requires_grad=True)


def off_zero(rng, *shape):
    return rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)


# Operators

SHAPES = [
    ((2, 3, 4), (2, 3, 4)),
    ((2, 3, 4), (4,)),
    ((3, 1), (2, 3, 4)),
    ((2, 1, 4), (1, 3, 1)),
    ((1,), (2, 3)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((1, 1, 1), (3,)),
    ((5, 1, 2), (1, 1)),
    ((0, 3), (3,)),
    ((0, 3), (1, 1)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("symbol", OPERATORS)
def test_broadcasting(symbol, shapes, rng):
    a, b = (off_zero(rng, *shape) if shape else np.array(1.7) for shape in shapes)
    apply = OPERATORS[symbol]
    np.testing.assert_array_equal(apply(Tensor(a), Tensor(b)).data, apply(a, b))
    gradcheck(apply, [a, b], atol=1e-8, rng=rng)


@pytest.mark.parametrize("symbol", OPERATORS)
def test_arrays_and_numbers_on_either_side(symbol, rng):
    apply = OPERATORS[symbol]
    x = off_zero(rng, 2, 3)
    others = (
        off_zero(rng, 2, 3),
        off_zero(rng, 4, 1, 3),
        np.array([[1, 2, 3]]),
        np.float64(1.5),
        np.array(1.5),
        2,
        -0.5,
        True,
    )
    for other in others:
        for fn in (lambda t: apply(t, other), lambda t: apply(other, t)):  # noqa: B023
            result = fn(Tensor(x))
            assert isinstance(result, Tensor)
            np.testing.assert_array_equal(result.data, fn(x))
            gradcheck(fn, x, atol=1e-8, rng=rng)


def test_matrix_product_with_arrays_on_either_side(rng):
    x, m, n = rng.standard_normal((2, 3)), rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    np.testing.assert_array_equal((Tensor(x) @ m).data, x @ m)
    np.testing.assert_array_equal((n @ Tensor(x)).data, n @ x)
    gradcheck(lambda t: t @ m, x, rng=rng)
    gradcheck(lambda t: n @ t, x, rng=rng)


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((6, 1, 2, 3), (5, 3, 4)),
        ((1, 1), (1, 1)),
        ((1, 2, 3), (5, 3, 1)),
    ],
    ids=str,
)
def test_matrix_product(shapes, rng):
    a, b = (rng.standard_normal(shape) for shape in shapes)
    np.testing.assert_array_equal(F.matmul(a, b).data, a @ b)
    gradcheck(F.matmul, [a, b], atol=1e-8, rng=rng)


@pytest.mark.parametrize("number", [2, 0.5, -3, True], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("symbol", OPERATORS)
def test_a_python_number_takes_the_dtype_of_the_tensor(symbol, dtype, number):
    apply = OPERATORS[symbol]
    for values in ([1.0, 2.0], 3.0):  # with axes and without
        for fn in (lambda t: apply(t, number), lambda t: apply(number, t)):
            x = leaf(values, dtype)
            y = fn(x)
            y.backward(np.ones(y.shape))
            assert y.dtype == x.grad.dtype == dtype


@pytest.mark.parametrize(
    "exponent", [2, 0, 1, -1, 0.5, np.float64(3), np.float32(0.5), np.int64(2)]
)
def test_a_power_takes_the_dtype_of_its_base(exponent):
    x = leaf([1.0, 2.0], np.float32)
    y = x**exponent
    y.backward(np.ones(2))
    assert y.dtype == x.grad.dtype == np.float32
    np.testing.assert_allclose(y.data, np.array([1, 2.0]) ** exponent, rtol=1e-6)


def test_integers_follow_numpy():
    x = Tensor([1, 2])
    assert (x + 1).dtype == (x * x).dtype == x.dtype and (x / 2).dtype == np.float64
    assert (x + 0.5).dtype == np.float64


def test_float32_with_float64_gives_each_its_own():
    a, b = leaf([1.0, 2.0], np.float32), leaf([[3.0], [4.0]], np.float64)
    for fn in (*OPERATORS.values(), operator.matmul):
        a.grad = b.grad = None
        y = fn(a.reshape(1, 2) if fn is operator.matmul else a, b)
        y.backward(np.ones(y.shape))
        assert y.dtype == np.float64
        assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64
    F.concat([a, b.reshape(2)]).backward(np.ones(4))
    assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64


def test_nan_and_infinity_pass_without_a_word():
    """A number that has no gradient must not get in the way of one that has."""
    for fn in (lambda x: x * 2, lambda x: 3 - x, lambda x: x / 2, lambda x: x + 1):
        x = leaf([1.0, 2.0, 3.0])
        fn(x).backward(np.array([np.nan, np.inf, 1.0]))
        assert np.isnan(x.grad[0]) and np.isinf(x.grad[1]) and np.isfinite(x.grad[2])
    x = leaf([1.0])
    (x / np.array([16], np.int8)).backward()  # 16 * 16 is 0 in eight bits
    assert x.grad == 1 / 16


# Elementwise

X = np.array([[-1.5, -0.25, 0.5], [1.0, 1.25, 3.0]])

FUNCTIONS = {
    "negative": (F.negative, np.negative, X),
    "exp": (F.exp, np.exp, X),
    "log": (F.log, np.log, np.abs(X)),
    "absolute": (F.absolute, np.abs, X),
    "square": (lambda a: a**2, np.square, X),
    "cube": (lambda a: a**3, lambda a: a**3, X),
    "power 0": (lambda a: a**0, np.ones_like, X),
    "power 1": (lambda a: a**1, np.array, X),
    "power -1": (lambda a: a**-1, np.reciprocal, X),
    "power -2.5": (lambda a: a**-2.5, lambda a: a**-2.5, np.abs(X)),
    "power 0.5": (lambda a: a**0.5, np.sqrt, np.abs(X)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementwise(name, rng):
    fn, expected, x = FUNCTIONS[name]
    np.testing.assert_allclose(fn(Tensor(x)).data, expected(x), rtol=1e-15)
    gradcheck(fn, x, rng=rng)


@pytest.mark.parametrize("exponent, slope", [(0, 0), (1, 1), (2, 0), (3, 0), (0.0, 0), (1.0, 1)])
def test_powers_of_zero_have_their_slope(exponent, slope):
    x = leaf([0.0])
    (x**exponent).backward()
    assert x.grad == slope


def test_the_slope_of_the_absolute_value_at_zero():
    x = leaf([0.0, -2.0, 2.0])
    x.abs().backward(np.array([5.0, 5.0, 5.0]))
    np.testing.assert_array_equal(x.grad, [0, -5, 5])


# Reductions

AXES = [None, 0, 1, -1, (0, 2), (1,), (-1, 0), (0, 1, 2)]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("dim", AXES, ids=str)
@pytest.mark.parametrize("name", ["sum", "mean", "amax"])
def test_reductions(name, dim, keepdims, rng):
    x = rng.permutation(np.arange(24.0)).reshape(2, 3, 4)
    reduce = getattr(F, name)
    expected = getattr(np, name)(x, axis=dim, keepdims=keepdims)
    got = reduce(x, dim, keepdims).data
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-15)
    gradcheck(lambda x: reduce(x, dim, keepdims), x, rng=rng)


def test_equal_largest_values_share_the_gradient():
    x = leaf([[1.0, 5.0, 5.0], [2.0, 2.0, 2.0]])
    F.amax(x, 1).backward(np.array([4.0, 6.0]))
    np.testing.assert_array_equal(x.grad, [[0, 2, 2], [2, 2, 2]])


def test_reductions_of_no_axis_and_of_one_number(rng):
    x = np.array(3.0)
    for reduce in (F.sum, F.mean, F.amax):
        assert reduce(x).data == 3
    assert F.sum(np.zeros((0, 3))).data == 0
    np.testing.assert_array_equal(F.sum(np.zeros((0, 3)), 0).data, np.zeros(3))


# Shapes


@pytest.mark.parametrize("shape", [(4, 6), (24,), (-1,), (2, -1, 2), (1, 2, 3, 4), 24], ids=str)
def test_reshape(shape, rng):
    x = rng.standard_normal((2, 3, 4))
    np.testing.assert_array_equal(F.reshape(x, shape).data, x.reshape(shape))
    gradcheck(lambda x: F.reshape(x, shape), x, rng=rng)


@pytest.mark.parametrize(
    "axes", [None, (0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1), (-1, 0, 1), [0, 2, 1]], ids=str
)
def test_transpose(axes, rng):
    x = rng.standard_normal((2, 3, 4))
    np.testing.assert_array_equal(F.transpose(x, axes).data, x.transpose(axes))
    gradcheck(lambda x: F.transpose(x, axes), x, rng=rng)


@pytest.mark.parametrize(
    "start, end, shape",
    [
        (1, -1, (2, 60)),
        (0, -1, (120,)),
        (2, 3, (2, 3, 20)),
        (1, 2, (2, 12, 5)),
        (2, 2, (2, 3, 4, 5)),
    ],
)
def test_flatten(start, end, shape, rng):
    x = rng.standard_normal((2, 3, 4, 5))
    np.testing.assert_array_equal(F.flatten(x, start, end).data, x.reshape(shape))
    gradcheck(lambda x: F.flatten(x, start, end), x, rng=rng)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_concat(dim, rng):
    shapes = [[2, 3, 4] for _ in range(3)]
    for shape, length in zip(shapes, (2, 1, 3)):
        shape[dim] = length
    arrays = [rng.standard_normal(shape) for shape in shapes]
    np.testing.assert_array_equal(F.concat(arrays, dim).data, np.concatenate(arrays, dim))
    gradcheck(lambda *tensors: F.concat(tensors, dim), arrays, rng=rng)


def test_concat_of_tensors_arrays_and_lists(rng):
    x, y = rng.standard_normal((2, 3)), rng.standard_normal((1, 3))
    for parts in (lambda t: [t, y], lambda t: (y, t, t), lambda t: [t], lambda t: [[[1, 2, 3]], t]):
        gradcheck(lambda t: F.concat(parts(t)), x, rng=rng)  # noqa: B023


# Indexing

INDICES = {
    "integer": 1,
    "negative": -1,
    "slice": slice(1, None),
    "steps backwards": slice(None, None, -2),
    "pair": (1, 2),
    "two slices": (slice(0, 1), slice(None, None, 2)),
    "ellipsis": (Ellipsis, 1),
    "new axis": (None, slice(None), None, 0),
    "list": [2, 0],
    "duplicates": np.array([0, 2, 0, 0, 1]),
    "duplicates along the last axis": (slice(None), np.array([3, 3, 1])),
    "pairs with duplicates": (np.array([0, 1, 0, 2]), np.array([3, 1, 3, 0])),
    "table of duplicates": np.array([[0, 0], [2, 0]]),
    "mask": np.array([True, False, True]),
    "mask of elements": np.arange(24).reshape(3, 4, 2) % 5 == 0,
    "nothing": slice(2, 2),
    "empty list": np.array([], int),
    "everything": Ellipsis,
    "all three": (2, 3, 1),
}


@pytest.mark.parametrize("name", INDICES)
def test_indexing(name, rng):
    x, index = rng.standard_normal((3, 4, 2)), INDICES[name]
    np.testing.assert_array_equal(Tensor(x)[index].data, x[index])
    gradcheck(lambda x: x[index], x, rng=rng)


def test_an_element_picked_three_times_receives_three_gradients():
    x = leaf([1.0, 2.0, 3.0])
    x[[0, 2, 0, 0]].backward(np.array([1.0, 10.0, 100.0, 1000.0]))
    np.testing.assert_array_equal(x.grad, [1101, 0, 10])


def test_iterating_over_rows(rng):
    x = leaf(rng.standard_normal((3, 2)))
    rows = list(x)
    assert len(rows) == 3
    (rows[0] * rows[2]).sum().backward()
    np.testing.assert_array_equal(x.grad, [x.data[2], [0, 0], x.data[0]])


# Methods


METHODS = {
    "sum": (lambda x: x.sum(), lambda x: F.sum(x)),
    "sum of an axis": (lambda x: x.sum(1, keepdims=True), lambda x: F.sum(x, 1, True)),
    "mean": (lambda x: x.mean(dim=0), lambda x: F.mean(x, 0)),
    "max": (lambda x: x.max(-1), lambda x: F.amax(x, -1)),
    "exp": (lambda x: x.exp(), F.exp),
    "log": (lambda x: (x * x).log(), lambda x: F.log(F.multiply(x, x))),
    "abs": (lambda x: x.abs(), F.absolute),
    "reshape": (lambda x: x.reshape(4, 6), lambda x: F.reshape(x, (4, 6))),
    "reshape of a tuple": (lambda x: x.reshape((4, 6)), lambda x: F.reshape(x, (4, 6))),
    "reshape of one": (lambda x: x.reshape(-1), lambda x: F.reshape(x, -1)),
    "transpose": (lambda x: x.transpose(1, 0, 2), lambda x: F.transpose(x, (1, 0, 2))),
    "transpose of a tuple": (
        lambda x: x.transpose((1, 0, 2)),
        lambda x: F.transpose(x, (1, 0, 2)),
    ),
    "transpose of all": (lambda x: x.transpose(), lambda x: F.transpose(x)),
    "transpose of two": (lambda x: x.transpose(0, 2), lambda x: F.transpose(x, (2, 1, 0))),
    "transpose of two, from the end": (
        lambda x: x.transpose(-1, 0),
        lambda x: F.transpose(x, (2, 1, 0)),
    ),
    "permute": (lambda x: x.permute(2, 0, 1), lambda x: F.transpose(x, (2, 0, 1))),
    "T": (lambda x: x.T, lambda x: F.transpose(x)),
    "flatten": (lambda x: x.flatten(), lambda x: F.flatten(x)),
    "flatten all": (lambda x: x.flatten(0), lambda x: F.flatten(x, 0)),
    "minus": (lambda x: -x, F.negative),
    "power": (lambda x: x**2, lambda x: F.power(x, 2)),
    "index": (lambda x: x[:, 1], lambda x: F.getitem(x, (slice(None), 1))),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_the_functions(name, rng):
    method, function = METHODS[name]
    values = rng.permutation(np.arange(24.0)).reshape(2, 3, 4) + 0.5
    a, b = leaf(values), leaf(values)
    y, z = method(a), function(b)
    np.testing.assert_array_equal(y.data, z.data)
    cotangent = rng.standard_normal(y.shape)
    y.backward(cotangent)
    z.backward(cotangent)
    np.testing.assert_array_equal(a.grad, b.grad)
