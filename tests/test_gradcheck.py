"""The checker is checked: it passes what is right and fails what is planted."""

import re

import numpy as np
import pytest

import stn_numpy.functional as F
from stn_numpy import GradcheckError, Tensor, gradcheck, op
from stn_numpy.gradcheck import analytic_gradients, numeric_gradients


def square_times(wrong):
    """a^2 b, whose gradients pass through `wrong` before they are returned."""

    @op
    def planted(a, b):
        def backward(dy):
            return wrong(dy * 2 * a * b, dy * a * a)

        return a * a * b, backward

    return planted


@pytest.fixture
def two(rng):
    return [rng.uniform(0.5, 2, (2, 3)), rng.uniform(0.5, 2, (2, 3))]


def test_what_is_right_passes(two, rng):
    assert gradcheck(square_times(lambda da, db: (da, db)), two) is True
    assert gradcheck(square_times(lambda da, db: (da, db)), two, rng=rng) is True


def test_one_input_needs_no_list(two):
    assert gradcheck(lambda a: a * a, two[0])
    assert gradcheck(lambda a: a * a, Tensor(two[0]))
    assert gradcheck(lambda a: a * a, (two[0],))


@pytest.mark.parametrize("input_number", [0, 1])
@pytest.mark.parametrize("index", [(0, 0), (0, 2), (1, 1)])
@pytest.mark.parametrize("percent", [0.05, -0.05, 1, 100])
def test_one_coordinate_of_one_input_off_by_a_little(two, rng, input_number, index, percent):
    def wrong(*gradients):
        gradients[input_number][index] *= 1 + percent / 100
        return gradients

    with pytest.raises(GradcheckError) as caught:
        gradcheck(square_times(wrong), two, rng=rng)
    message = str(caught.value)
    assert f"input {input_number} of shape (2, 3): 1 of 6 values" in message
    assert f"index {index}: analytic" in message
    assert f"input {1 - input_number}" not in message


def test_the_message_holds_both_values(two):
    def wrong(da, db):
        da[1, 2] += 5
        return da, db

    with pytest.raises(GradcheckError) as caught:
        gradcheck(square_times(wrong), two)
    found = re.search(r"index \(1, 2\): analytic (\S+), numeric (\S+)", str(caught.value))
    analytic, numeric = map(float, found.groups())
    a, b = two
    cotangent = np.random.default_rng(0).standard_normal((2, 3))
    right = (cotangent * 2 * a * b)[1, 2]
    assert numeric == pytest.approx(right, rel=1e-6)
    assert analytic == pytest.approx(right + 5, rel=1e-6)


def test_both_inputs_are_named_and_the_worst_comes_first(two):
    def wrong(da, db):
        da[0, 1] += 1
        da[1, 0] += 30
        return da, -db

    with pytest.raises(GradcheckError) as caught:
        gradcheck(square_times(wrong), two)
    message = str(caught.value)
    assert "input 0 of shape (2, 3): 2 of 6" in message
    assert "input 1 of shape (2, 3): 6 of 6" in message
    assert message.index("index (1, 0)") < message.index("index (0, 1)")


WRONG = {
    "sign": lambda da, db: (-da, db),
    "half": lambda da, db: (da / 2, db),
    "zero": lambda da, db: (0 * da, db),
    "swapped": lambda da, db: (db, da),
    "transposed": lambda da, db: (da[:, ::-1].copy(), db),
    "NaN": lambda da, db: (da * np.where(np.arange(3) == 1, np.nan, 1), db),
    "infinite": lambda da, db: (da, np.full_like(db, np.inf)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_gradients_fail(two, wrong):
    with pytest.raises(GradcheckError):
        gradcheck(square_times(WRONG[wrong]), two)


def test_a_nan_gradient_is_named():
    nan = square_times(WRONG["NaN"])
    with pytest.raises(GradcheckError, match=r"index \(0, 1\): analytic nan, numeric"):
        gradcheck(nan, [np.ones((2, 3)), np.ones((2, 3))])


def test_a_function_that_is_nan_fails():
    with np.errstate(invalid="ignore"), pytest.raises(GradcheckError, match="numeric nan"):
        gradcheck(F.log, np.array([1.0, -1.0]))


def test_a_softmax_without_gradient_fails(rng):
    """Its outputs sum to 1, so that a cotangent of ones finds nothing wrong with it."""

    @op
    def softmax_zero(x):
        y = F.softmax(x).data
        return y, lambda dy: np.zeros_like(dy)

    x = rng.standard_normal((3, 4))
    numeric = numeric_gradients(softmax_zero, [x], np.ones((3, 4)))
    assert np.abs(numeric).max() < 1e-8  # what an all-ones check would have compared with 0
    with pytest.raises(GradcheckError, match="12 of 12"):
        gradcheck(softmax_zero, x)


def test_an_average_pool_with_a_flipped_gradient_fails(rng):
    """Flipping does not change the sum of the gradient, nor its values where it is uniform."""

    @op
    def flipped(x):
        tensor = Tensor(x, requires_grad=True)
        y = F.avg_pool2d(tensor, 2)

        def backward(dy):
            y.backward(dy)
            return tensor.grad[..., ::-1].copy()

        return y.data, backward

    x = rng.standard_normal((2, 3, 4, 6))
    gradcheck(lambda x: F.avg_pool2d(x, 2), x, rng=rng)
    with pytest.raises(GradcheckError, match="input 0"):
        gradcheck(flipped, x, rng=rng)


def test_a_gradient_that_does_not_arrive_fails(two):
    with pytest.raises(GradcheckError, match="analytic 0,"):
        gradcheck(lambda a, b: a.detach() * b, two)


def test_an_input_without_influence_passes(two):
    assert gradcheck(lambda a, b: a * 2.0, two)
    assert gradcheck(lambda a: Tensor(np.ones(3)), two[0])
    assert gradcheck(lambda a, b: a * b, [np.zeros((0, 3)), np.zeros((0, 3))])


def test_one_number_without_axes_is_checked_too():
    assert gradcheck(lambda a: a + 1.0, np.array(2.0))
    with pytest.raises(GradcheckError, match=r"shape \(\): 1 of 1 values.*\n.*index \(\)"):
        gradcheck(lambda a: a.detach() + 0 * a, np.array(2.0))


KINKS = {
    "relu": (F.relu, np.array([0.0, 1.0])),
    "tie in max_pool2d": (lambda x: F.max_pool2d(x, 2), np.ones((1, 1, 2, 2))),
    "bilinear on the lattice": (
        lambda G: F.grid_sample(np.arange(16.0).reshape(1, 1, 4, 4) ** 2, G),
        np.full((1, 1, 1, 2), 0.25),
    ),
}


@pytest.mark.parametrize("kink", KINKS)
def test_on_a_kink_right_code_fails_as_documented(kink):
    fn, x = KINKS[kink]
    with pytest.raises(GradcheckError):
        gradcheck(fn, x)
    gradcheck(fn, x + 0.01 * np.arange(1, 1 + x.size).reshape(x.shape))  # off the kink it passes


def test_numeric_gradients_from_either_side():
    x, cotangent = np.array([0.0, 2.0, -2.0]), np.array([1.0, 10.0, 10.0])

    def slopes(side):
        return numeric_gradients(F.relu, [x], cotangent, side=side)[0]

    np.testing.assert_allclose(slopes("left"), [0, 10, 0], atol=1e-8)
    np.testing.assert_allclose(slopes("right"), [1, 10, 0], atol=1e-8)
    np.testing.assert_allclose(slopes("both"), [0.5, 10, 0], atol=1e-8)
    with pytest.raises(ValueError, match="numeric_gradients: side is 'up', want"):
        slopes("up")


def test_analytic_gradients_are_the_cotangent_pulled_back(two, rng):
    cotangent, (da, db) = analytic_gradients(lambda a, b: a * b, two, rng)
    assert cotangent.shape == (2, 3)
    np.testing.assert_allclose(da, cotangent * two[1], rtol=1e-15)
    np.testing.assert_allclose(db, cotangent * two[0], rtol=1e-15)


def test_the_cotangent_is_random(two):
    cotangents = [
        analytic_gradients(lambda a, b: a * b, two, np.random.default_rng(seed))[0]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(cotangents[0], cotangents[1])
    assert len(np.unique(np.stack(cotangents[1:]))) == 12


def test_inputs_are_left_alone(two):
    tensors = [Tensor(a, requires_grad=True) for a in two]
    before = [a.copy() for a in two]
    gradcheck(lambda a, b: a * b, tensors)
    for tensor, array in zip(tensors, before):
        np.testing.assert_array_equal(tensor.data, array)
        assert tensor.grad is None


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, bool])
def test_only_float64_has_enough_digits(dtype):
    with pytest.raises(TypeError, match=rf"gradcheck: inputs\[1\] has dtype {np.dtype(dtype)}, "):
        gradcheck(lambda a, b: a * b, [np.ones(2), np.ones(2, dtype)])


def test_what_fn_must_return_and_take(two):
    with pytest.raises(TypeError, match="gradcheck: fn returned ndarray, want a Tensor"):
        gradcheck(lambda a, b: a.data, two)
    with pytest.raises(ValueError, match="gradcheck: number of inputs is 0"):
        gradcheck(lambda: Tensor(1.0), [])


def test_the_error_is_an_assertion_error():
    assert issubclass(GradcheckError, AssertionError)
