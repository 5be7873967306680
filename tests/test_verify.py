"""`verify`: what it accepts, what it says, and that no candidate takes it down."""

import inspect
import itertools
import re
import time

import numpy as np
import planted
import pytest

from stn_numpy import functional as F
from stn_numpy import reference
from stn_numpy.errors import UserError
from stn_numpy.verify import (
    Case,
    Report,
    VerificationError,
    kink_table,
    load_candidate,
    verify,
)
from stn_numpy.verify.library import POINT, SUBJECTS
from stn_numpy.verify.mistakes import base

NOTHING = frozenset()
U4 = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)


def raw(name):
    forward = SUBJECTS[name].forward
    return getattr(forward, "__wrapped__", forward)


def names(report):
    return set(report.names)


def backward_of(name):
    """The right backward pass of an operation as a function of its own."""

    def candidate(dy, *args, **options):
        backward = raw(name)(*args, **options)[1]
        if "needs" in inspect.signature(backward).parameters:
            return backward(dy, [True] * len(args))
        return backward(dy)

    return candidate


# The operations and their mistakes ------------------------------------------------------------


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_operation_of_the_package_passes(name):
    assert verify(SUBJECTS[name].forward, name)


def test_every_operation_is_there():
    assert set(F.__all__) <= set(SUBJECTS)


def trials(subject, seed=3):
    rng = np.random.default_rng(seed)
    for case in subject.cases(rng):
        dy = np.ones(()) if subject is POINT else rng.standard_normal(subject.output(case).shape)
        yield case, dy, subject.expected(case, dy)


WITH_FAMILY = [s for s in [*SUBJECTS.values(), POINT] if s.family.wrong is not None]


@pytest.mark.parametrize("subject", WITH_FAMILY, ids=lambda s: s.name)
def test_without_mistakes_the_wrong_backward_is_right(subject):
    has_output = any("output" in m.touches for m in subject.family.mistakes)
    for case, dy, expected in trials(subject):
        for name in subject.gradients_of(case) + ["output"] * has_output:
            args, options = case.fresh()
            array = subject.family.wrong(NOTHING, name, dy, *args, **options)
            np.testing.assert_allclose(array, expected[name], atol=1e-12)


OTHER_MODES = {"as zeros", "slope kept", "half to even", "floor"}  # these show only there
SAME = {  # within one operation, two ways to do the same to one gradient, under one name
    frozenset({"read (y, x)", "rows swapped"}),
    frozenset({"mirrored x", "mirrored"}),
    frozenset({"mirrored y", "mirrored"}),
}


@pytest.mark.parametrize("subject", WITH_FAMILY, ids=lambda s: s.name)
def test_every_mistake_shows_and_no_two_look_alike(subject):
    family = subject.family
    assert len({m.key for m in family.mistakes}) == len(family.mistakes)
    general = {m.key for m in base.general_mistakes([])}
    assert not general & {m.key for m in family.mistakes}
    everything = list(trials(subject))
    for name in (*subject.with_gradient, "output"):
        arrays = {}
        for mistake in family.mistakes:
            if name not in mistake.touches or mistake.key in OTHER_MODES:
                continue
            made, right = [], []
            for case, dy, expected in everything:
                if name == "output" or name in subject.gradients_of(case):
                    args, options = case.fresh()
                    wrong = family.wrong(frozenset([mistake.key]), name, dy, *args, **options)
                    assert wrong.shape == expected[name].shape
                    made.append(np.ravel(wrong))
                    right.append(np.ravel(expected[name]))
            arrays[mistake.key] = np.concatenate(made)
            if subject is POINT and (name, mistake.key) in {
                ("x", "mirrored x"),
                ("y", "mirrored y"),
            }:
                continue  # the weights along an axis have no part in the slope along it
            assert not np.allclose(arrays[mistake.key], np.concatenate(right), 1e-9), mistake.key
        for (one, a), (other, b) in itertools.combinations(arrays.items(), 2):
            if {one, other} not in SAME:
                assert not np.allclose(a, b, rtol=1e-9), (name, one, other)


@pytest.mark.parametrize("padding_mode", ["border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_wrong_samplers_know_the_other_modes(mode, padding_mode):
    subject = SUBJECTS["grid_sample"]
    options = {"mode": mode, "padding_mode": padding_mode}
    for case, dy, _ in trials(subject):
        case = Case(case.args, {**case.options, **options}, case.label)
        expected = subject.expected(case, dy)
        for name in ("input", "grid", "output"):
            if name == "grid" and case.label == "points on the lattice":
                continue  # on the border itself slopes are a matter of convention
            array = subject.family.wrong(NOTHING, name, dy, *case.args, **case.options)
            np.testing.assert_allclose(array, expected[name], atol=1e-12)


def test_mistakes_are_found_in_other_modes():
    def candidate(dV, U, G, **options):
        return SUBJECTS["grid_sample"].family.wrong(
            frozenset(["stored (y, x)"]), "grid", dV, U, G, **options
        )

    for options in ({"mode": "bicubic"}, {"padding_mode": "reflection"}):
        report = verify(candidate, "grid_sample", form="backward", wrt="grid", options=options)
        assert names(report) == {"xy-swapped"}


def test_rounding_of_halves():
    def candidate(U, G):
        _, _, H, W = U.shape
        x, y = ((G[..., k] + 1) * n / 2 - 0.5 for k, n in ((0, W), (1, H)))
        x, y = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
        n = np.arange(len(U))[:, None, None]
        V = U[n, :, np.clip(y, 0, H - 1), np.clip(x, 0, W - 1)] * inside[..., None]
        return V.transpose(0, 3, 1, 2)

    report = verify(candidate, "grid_sample", form="forward", options={"mode": "nearest"})
    assert names(report) == {"rounding-half-to-even"}


def test_a_forgotten_slope_of_the_border():
    def candidate(dV, U, G, **options):
        return SUBJECTS["grid_sample"].family.wrong(
            frozenset(["slope kept"]), "grid", dV, U, G, **options
        )

    options = {"padding_mode": "border"}
    report = verify(candidate, "grid_sample", form="backward", wrt="G", options=options)
    assert names(report) == {"clip-slope-forgotten"}


# Forms of a candidate -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grid_sample", "conv2d", "mse_loss", "cross_entropy"])
def test_a_backward_alone(name):
    assert verify(backward_of(name), name, form="backward")


def test_a_backward_for_one_input():
    def dU(dV, U, G):
        return backward_of("grid_sample")(dV, U, G)[0]

    for wrt in ("input", "U", ["U"]):
        assert verify(dU, "grid_sample", form="backward", wrt=wrt)
    report = verify(lambda dV, U, G: -dU(dV, U, G), "grid_sample", form="backward", wrt="U")
    assert names(report) == {"sign"}
    assert [check.name for check in report.checks] == ["input"]


def test_a_forward_alone():
    def bilinear(U, G, align_corners=False):
        return planted.sampler()(U, G, align_corners)[0]

    def clipped(U, G, align_corners=False):
        return planted.sampler("clip before weight")(U, G, align_corners)[0]

    assert verify(bilinear, "grid_sample", form="forward")
    assert names(verify(clipped, "grid_sample", form="forward")) == {"clip-before-weight"}


def test_a_function_of_tensors():
    assert verify(lambda x: F.multiply(F.tanh(x), 1.0), "tanh")
    assert names(verify(lambda x: F.negative(F.tanh(x)), "tanh")) == {"sign"}


def test_an_operation_may_be_named_or_given():
    for against in ("relu", F.relu, F.relu.__wrapped__):
        assert verify(F.relu.__wrapped__, against).against == "relu"


def partials():
    """dV/dU, dV/dx and dV/dy of the bilinear sampler, written from the paper."""

    def k(d):
        return max(0.0, 1 - abs(d))

    def slope(d):
        return 1 if 0 < d <= 1 else -1 if -1 < d <= 0 else 0

    def total(U, term):
        return sum(U[n, m] * term(n, m) for n, m in np.ndindex(U.shape))

    return {
        "U": lambda U, x, y, n, m: k(x - m) * k(y - n),
        "x": lambda U, x, y: total(U, lambda n, m: k(y - n) * slope(m - x)),
        "y": lambda U, x, y: total(U, lambda n, m: k(x - m) * slope(n - y)),
    }


@pytest.mark.parametrize("wrt", ["U", "x", "y"])
def test_a_formula_for_one_partial_derivative(wrt):
    formula = partials()[wrt]
    assert verify(formula, "grid_sample", form="partial", wrt=wrt)
    report = verify(lambda *a: -formula(*a), "grid_sample", form="partial", wrt=wrt)
    assert names(report) == {"sign"}
    cases = [(U4, 2.25, 1.75), (U4.astype(int), 1, 2)]
    assert verify(formula, "grid_sample", form="partial", wrt=wrt, cases=cases)


def test_formulas_as_printed_and_other_mistakes_at_one_point():
    def printed(U, x, y):
        at = U[None], np.array([x]), np.array([y])
        return reference.eq07_grad_xs_as_printed(*at)[0, 0]

    def check(formula, wrt):
        return names(verify(formula, "grid_sample", form="partial", wrt=wrt))

    assert check(printed, "x") == {"printed-eq-7"}
    everything = partials()
    total = lambda U, x, y, n, m: sum(  # noqa: E731
        everything["U"](U, x, y, i, j) for i, j in np.ndindex(U.shape)
    )
    assert check(total, "U") == {"printed-eq-6"}
    assert check(lambda U, x, y, n, m: everything["U"](U, y, x, n, m), "U") == {"xy-swapped"}
    assert check(everything["x"], "y") == {"xy-swapped"}

    def left(U, x, y):
        at = U[None], np.array([x]), np.array([y])
        return reference.eq07_grad_xs(*at, "left")[0, 0]

    assert check(left, "x") == {"left-derivative"}


def test_a_formula_against_a_function_of_the_readers_own():
    def nearest(U, x, y):
        return U[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))]

    cases = [(U4, 1.2, 2.3), (U4, 0.7, 1.1)]
    zero = {"form": "partial", "wrt": "x", "cases": cases}
    assert verify(lambda U, x, y: 0.0, nearest, **zero)
    assert not verify(lambda U, x, y: 1.0, nearest, **zero)


def test_the_hand_derivation_of_dtheta_in_pixels_and_normalised():
    def dtheta(dV, U, theta, align_corners=False, units="normalised"):
        N, C, H, W = U.shape
        result = np.zeros((N, 2, 3))
        for n in range(N):
            if units == "pixels":
                x_t, y_t = np.tile(np.arange(W), H), np.repeat(np.arange(H), W)
                per_x = per_y = 1.0
            else:
                x_t, y_t = reference.target_points(H, W, align_corners)
                per_x, per_y = (reference.pixels_per_unit(s, align_corners) for s in (W, H))
            x_s, y_s = reference.eq01_affine_grid(theta[n], x_t, y_t)
            if units != "pixels":
                x_s, y_s = (
                    np.array([reference.to_pixels(g, s, align_corners) for g in points])
                    for points, s in ((x_s, W), (y_s, H))
                )
            d = dV[n].reshape(C, -1)
            dxs = reference.grad_xs(d, reference.eq07_grad_xs(U[n], x_s, y_s)) * per_x
            dys = reference.grad_xs(d, reference.eq07_grad_ys(U[n], x_s, y_s)) * per_y
            result[n] = reference.grad_theta(dxs, dys, x_t, y_t)
        return result

    assert verify(dtheta, "spatial_transformer", form="backward", wrt="theta")
    case = Case((U4[None, None], np.array([[[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]]])))
    options = {"units": "pixels"}
    settings = {"form": "backward", "wrt": "theta", "cases": [case], "options": options}
    assert verify(dtheta, "spatial_transformer", **settings)
    swapped = lambda *a, **o: dtheta(*a, **o)[:, ::-1]  # noqa: E731
    report = verify(swapped, "spatial_transformer", **settings)
    # In pixels there is no factor by which the other way to swap could be told apart.
    assert names(report) == {"weights-slopes-exchanged", "xy-swapped"}
    assert {finding.alternative for finding in report.diagnosis} == {1, 2}

    # Nor is there one that could be applied once more.
    def scaled(dV, U, theta, align_corners=False, units="normalised"):
        per = [[reference.pixels_per_unit(n, align_corners)] for n in U.shape[:1:-1]]
        return dtheta(dV, U, theta, align_corners, units) * per

    report = verify(scaled, "spatial_transformer", **settings)
    assert not report and not names(report)

    def normalised(dV, U, theta, align_corners=False):
        return dtheta(dV, U, theta, align_corners)[:, ::-1]

    report = verify(normalised, "spatial_transformer", form="backward", wrt="theta")
    assert names(report) == {"xy-swapped"}


# A function of the reader's own ---------------------------------------------------------------


def softplus(x, scale):
    return scale * np.log1p(np.exp(x))


def softplus_backward(dy, x, scale):
    return dy * scale / (1 + np.exp(-x)), (dy * np.log1p(np.exp(x))).sum(axis=0)


def own_cases():
    rng = np.random.default_rng(8)
    return [(rng.standard_normal((n, 4)), rng.standard_normal(4)) for n in (2, 5)]


def test_against_a_function_of_the_readers_own():
    report = verify(softplus_backward, softplus, form="backward", cases=own_cases())
    assert report
    assert "finite differences alone" in str(report)
    assert [check.name for check in report.checks] == ["x", "scale"]


def test_general_mistakes_are_named_for_any_function():
    def check(change):
        wrong = lambda *a: change(*softplus_backward(*a))  # noqa: E731
        return verify(wrong, softplus, form="backward", cases=own_cases())

    assert names(check(lambda dx, ds: (-dx, ds))) == {"sign"}
    assert names(check(lambda dx, ds: (dx / 2, ds))) == {"halved"}
    assert names(check(lambda dx, ds: (dx, 0 * ds))) == {"zero-gradient"}
    unsummed = check(lambda dx, ds: (dx, np.tile(ds, (3, 1)) / 3))
    assert names(unsummed) == {"wrong-shape", "not-summed"}
    ignoring = lambda dy, *a: softplus_backward(np.ones_like(dy), *a)  # noqa: E731
    report = verify(ignoring, softplus, form="backward", cases=own_cases())
    assert names(report) == {"cotangent-ignored"}


def test_at_a_kink_any_value_between_the_sides_is_right():
    x = np.array([-1.0, 0.0, 0.0, 2.0])

    def relu(slope):
        return lambda dy, x: dy * np.where(x == 0, slope, x > 0)

    for slope in (0.0, 0.3, 1.0):
        report = verify(relu(slope), lambda x: np.maximum(x, 0), form="backward", cases=[(x,)])
        assert report
        assert "2 values are at kinks" in str(report)
    assert not verify(relu(1.5), lambda x: np.maximum(x, 0), form="backward", cases=[(x,)])


def test_a_function_that_returns_a_tensor_or_a_pair():
    rng = np.random.default_rng(1)
    U, G = rng.standard_normal((1, 2, 3, 4)), rng.uniform(-1, 1, (1, 2, 3, 2))
    for forward in (lambda U, G: F.grid_sample(U, G), lambda U, G: planted.sampler()(U, G)):
        assert verify(planted.sampler(), forward, cases=[(U, G)])
        report = verify(planted.sampler("dG stored as (dy, dx)"), forward, cases=[(U, G)])
        assert names(report) == {"xy-swapped"}


# Bad candidates -------------------------------------------------------------------------------


def bad(change, form="backward"):
    """verify linear with a spoiled backward pass."""
    right = backward_of("linear")

    def candidate(dy, x, W, b):
        return change(lambda: right(dy, x, W, b), dy, x, W, b)

    return verify(candidate, "linear", form=form)


def test_a_candidate_that_raises_is_quoted():
    def explode(right, dy, x, W, b):
        raise KeyError("no such weight")

    report = bad(explode)
    assert names(report) == {"raised"}
    assert "KeyError: 'no such weight' in line" in report.diagnosis[0].words
    assert 'raise KeyError("no such weight")' in report.diagnosis[0].words
    assert not report.checks

    def leave(right, dy, x, W, b):
        raise SystemExit(3)

    assert "SystemExit: 3" in str(bad(leave))


def test_a_candidate_that_raises_in_some_cases_only():
    def only_square(right, dy, x, W, b):
        if W.shape[0] != W.shape[1]:
            raise ValueError("square only")
        return right()

    report = bad(only_square)
    assert not report
    assert "in 2 of 3 cases" in report.diagnosis[0].words
    assert all(check.right for check in report.checks)


def test_too_few_arguments():
    report = verify(lambda dy: dy, "linear", form="backward")
    assert names(report) == {"raised"}
    assert "positional argument" in str(report)


@pytest.mark.parametrize(
    "change, name, words",
    [
        (lambda right, *a: None, "returned-nothing", "backward returns nothing"),
        (lambda right, *a: list(right()), "returned-list", "backward returns a list"),
        (
            lambda right, *a: tuple(g.tolist() for g in right()),
            "returned-list",
            "the gradient of input is a list; want an array",
        ),
        (lambda right, *a: (*right(), 0.0), "wrong-count", "returns 4 gradients; want 3"),
        (lambda right, *a: right()[:2], "gradient-missing", "no gradient of bias"),
        (lambda right, *a: (*right()[:2], "b"), "not-an-array", "a str; want an array"),
        (
            lambda right, *a: (*right()[:2], np.array(["b"])),
            "wrong-dtype",
            "dtype is <U1; want real numbers",
        ),
        (
            lambda right, *a: (*right()[:2], right()[2].astype(np.float32)),
            "wrong-dtype",
            "dtype is float32; it should be float64",
        ),
        (lambda right, *a: (*right()[:2], right()[2][:1]), "wrong-shape", "shape is (1,)"),
    ],
)
def test_what_is_no_gradient_is_told_so(change, name, words):
    report = bad(change)
    assert not report
    assert names(report) == {name}
    assert words in str(report)


def test_a_candidate_that_changes_its_arguments():
    def spoil_dy(right, dy, x, W, b):
        gradients = right()
        dy *= 2
        return gradients

    def spoil_x(right, dy, x, W, b):
        gradients = right()
        x += 1
        return gradients

    for change, argument in ((spoil_dy, "dy"), (spoil_x, "input")):
        report = bad(change)
        assert names(report) == {"changed-input"}
        assert f"changes its argument {argument} in place" in str(report)


def test_the_arguments_of_the_caller_are_never_touched():
    rng = np.random.default_rng(0)
    x, W, b = rng.standard_normal((2, 3)), rng.standard_normal((4, 3)), rng.standard_normal(4)
    before = x.copy(), W.copy(), b.copy()

    def spoil(x, W, b):
        y, backward = raw("linear")(x, W, b)
        x[...] = W[...] = b[...] = 0
        return y, backward

    assert names(verify(spoil, "linear", cases=[(x, W, b)])) >= {"changed-input"}
    for array, same in zip((x, W, b), before):
        np.testing.assert_array_equal(array, same)


def test_a_candidate_that_is_not_deterministic():
    rng, kept = np.random.default_rng(0), []

    def noise(right, dy, x, W, b):
        dx, dW, db = right()
        return dx + 1e-3 * rng.standard_normal(dx.shape), dW, db

    def accumulate(right, dy, x, W, b):
        dx, dW, db = right()
        kept.append(db[0])
        return dx, dW, db + len(kept)

    for change in (noise, accumulate):
        assert "not-deterministic" in bad(change).names


def test_nan_is_reported_where_it_is():
    def nan(right, dy, x, W, b):
        dx, dW, db = right()
        dW[1, 0] = np.nan
        return dx, dW, db

    report = bad(nan)
    assert names(report) == {"nan"}
    assert "first at (1, 0)" in str(report)
    (check,) = [check for check in report.checks if not check.right]
    assert check.name == "weight"
    assert np.isnan(check.came)


def test_an_op_that_returns_no_pair():
    right = raw("relu")
    assert names(verify(lambda x: right(x)[0], "relu")) == {"no-backward"}
    assert names(verify(lambda x: None, "relu")) == {"returned-nothing"}
    assert "form='backward'" in str(verify(lambda x: (x, x), "relu"))


def test_a_formula_that_returns_no_number():
    for value, name in ((None, "returned-nothing"), ([1.0], "returned-list"), ("1", "wrong-shape")):
        report = verify(lambda U, x, y, v=value: v, "grid_sample", form="partial", wrt="x")
        assert names(report) == {name}
    report = verify(lambda U, x, y: np.ones(2), "grid_sample", form="partial", wrt="x")
    assert "an array of shape (2,); want one number" in str(report)


# What the report says -------------------------------------------------------------------------


def test_the_report_shows_where_what_came_and_what_was_expected():
    def one_wrong(dV, U, G):
        dU, dG = backward_of("grid_sample")(dV, U, G)
        dG[1, 0, 1, 0] += 3.0
        return dU, dG

    report = verify(one_wrong, "grid_sample", form="backward")
    image, grid = report.checks
    assert image.right
    assert not grid.right
    assert grid.index == (1, 0, 1, 0)
    assert grid.error == pytest.approx(3)
    assert grid.came - grid.expected == pytest.approx(3)
    assert grid.differences == pytest.approx((grid.expected, grid.expected), abs=1e-6)
    assert "image 1, the x of output pixel x = 1, y = 0, which reads the input at" in grid.place
    text = str(report)
    assert "one_wrong against grid_sample: WRONG" in text
    assert "(1, 0, 1, 0)" in text
    assert "no mistake known here gives these numbers" in text
    assert "off by the same amount, +3" in text


def test_a_right_one_is_short_and_true():
    report = verify(raw("tanh"), "tanh")
    assert report.right
    assert bool(report)
    assert report.raise_if_wrong() is report
    assert "tanh against tanh: right (3 cases, form op)" in str(report)
    assert report.advice() == "tanh is right on 3 cases."


def test_the_exception_carries_the_report():
    report = verify(planted.squares("no 2"), "mse_loss")
    with pytest.raises(VerificationError, match="the factor 2 of the square is missing"):
        report.raise_if_wrong()
    assert issubclass(VerificationError, AssertionError)


def test_html_is_a_table_and_escaped():
    def worse(x):
        raise ValueError("<script>")

    html = verify(planted.squares("no 2"), "mse_loss")._repr_html_()
    assert html.count("<table>") == 1 and "halved" in html and ">wrong</b>" in html
    html = verify(worse, "relu")._repr_html_()
    assert "&lt;script&gt;" in html and "<script>" not in html
    assert ">right</b>" in verify(raw("relu"), "relu")._repr_html_()


def test_advice_keeps_the_expected_numbers_to_itself():
    report = verify(planted.sampler("printed Eq. (7)"), "grid_sample")
    assert "printed-eq-7" in report.advice()
    expected = [check.expected for check in report.checks if not check.right]
    assert all(f"{value:.6g}" not in report.advice() for value in expected)
    assert re.search(r"Read chapter 8, Backward II: the grid\.", report.advice())


def test_explanations_that_can_not_be_told_apart_are_all_named():
    """A softmax whose gradient is zero, or is always that of the sum of its outputs: the same."""
    softmax = planted.elementwise(
        lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True), lambda x, y, dy: 0 * dy
    )
    report = verify(softmax, "softmax")
    assert names(report) == {"zero-gradient", "cotangent-ignored"}
    assert {finding.alternative for finding in report.diagnosis} == {1, 2}
    assert "either:" in str(report) and "or:" in str(report)


def test_usual_cases_tell_apart_what_a_given_case_can_not():
    """With two images of two channels, a factor 1/2 may be any mean; more cases settle it."""
    rng = np.random.default_rng(0)
    U, G = rng.standard_normal((2, 2, 3, 5)), rng.uniform(-1, 1, (2, 1, 2, 2))
    report = verify(planted.sampler("dG mean over channels"), "grid_sample", cases=[(U, G)])
    assert names(report) == {"mean-instead-of-sum"}
    assert "over the channels" in str(report)
    assert len(report.cases) == 1


def test_mistakes_in_float32():
    rng = np.random.default_rng(0)
    U = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    G = rng.uniform(-1, 1, (2, 3, 3, 2)).astype(np.float32)

    def minus(dV, U, G):
        dU, dG = backward_of("grid_sample")(dV, U, G)
        return dU, -dG

    def promoted(dV, U, G):
        dU, dG = backward_of("grid_sample")(dV, U, G)
        return dU, dG.astype(float)

    report = verify(minus, "grid_sample", form="backward", cases=[(U, G)])
    assert names(report) == {"sign"}
    report = verify(promoted, "grid_sample", form="backward", cases=[(U, G)])
    assert names(report) == {"wrong-dtype"}
    assert "the dtype is float64; it should be float32" in str(report)


def test_an_option_that_is_built_in():
    """A candidate without the parameter, and a case with the option: it is taken to know it."""
    rng = np.random.default_rng(0)
    U, G = rng.standard_normal((1, 2, 4, 4)), rng.uniform(-1, 1, (1, 2, 2, 2))
    case = Case((U, G), {"align_corners": True})
    right, wrong = planted.sampler(), planted.sampler("factor of the other convention")
    assert verify(lambda U, G: right(U, G, True), "grid_sample", cases=[case])
    report = verify(lambda U, G: wrong(U, G, True), "grid_sample", cases=[case])
    assert names(report) == {"align-corners-mixed"}


# Errors that nothing explains -----------------------------------------------------------------


def described(change, wrt, name="grid_sample"):
    def candidate(dy, *args):
        gradients = backward_of(name)(dy, *args)
        if isinstance(gradients, tuple):
            gradients = gradients[SUBJECTS[name].with_gradient.index(wrt)]
        return change(np.array(gradients), *args)

    report = verify(candidate, name, form="backward", wrt=wrt)
    assert not report
    assert not report.diagnosis, str(report)
    return "; ".join(report.description[wrt])


def test_errors_are_described_by_place():
    def border(dU, U, G):
        dU[..., 0] += np.sin(U[..., 0])
        dU[..., -1, :] *= 1.7
        return dU

    assert "wrong only at pixels on the border of the image" in described(border, "input")

    def duplicates(dU, U, G):
        W, H = U.shape[3], U.shape[2]
        x = np.floor(((G[..., 0] + 1) * W - 1) / 2), np.floor(((G[..., 1] + 1) * H - 1) / 2)
        for n in range(len(U)):
            for row, column in np.ndindex(H, W):
                near = (abs(x[0][n] + 0.5 - column) < 1) & (abs(x[1][n] + 0.5 - row) < 1)
                if near.sum() > 1:
                    dU[n, :, row, column] *= 1 + 0.1 * near.sum()
        return dU

    said = described(duplicates, "input")
    assert "wrong only at pixels that are sampled more than once" in said

    def last_channel(dU, U, G):
        dU[:, 1] *= 1.5
        return dU

    assert "wrong only at index 1 of axis 1" in described(last_channel, "input")

    def x_only(dG, U, G):
        dG[..., 0] *= 0.9
        return dG

    said = described(x_only, "grid")
    assert "wrong only in the x component" in said
    assert "0.9 times the expected ones" in said

    def lattice(dG, U, G):
        pixel = ((G + 1) * np.array(U.shape[:1:-1]) - 1) / 2
        return dG + 0.25 * (pixel == np.round(pixel)) * np.cos(3 * dG)

    said = described(lattice, "grid")
    assert "where that coordinate is on the lattice" in said
    assert "wrong only in cases with points on the lattice" in said


def test_errors_are_described_by_magnitude():
    assert "1.3 times the expected" in described(lambda d, *a: 1.3 * d, "input", "relu")
    assert "off by the same amount, +0.25" in described(lambda d, *a: d + 0.25, "input", "tanh")
    said = described(lambda d, *a: d * (1 + 1e-6 * np.sin(d)), "input", "tanh")
    assert "digits are lost" in said
    said = described(lambda d, x: np.where(d > 0, d, 0), "input", "tanh")
    assert "where the expected value is negative" in said
    assert "the wrong values are all zero" in said


def test_an_error_that_depends_on_an_option():
    def candidate(dy, x, W, b, stride=1, padding=0):
        dx, dW, db = backward_of("conv2d")(dy, x, W, b, stride=stride, padding=padding)
        return dx, dW + (0.1 if padding else 0.0) * np.cos(dW), db

    report = verify(candidate, "conv2d", form="backward")
    assert "wrong only with padding = (1, 2) or 1" in "; ".join(report.description["weight"])


# Calls of verify that make no sense -----------------------------------------------------------


@pytest.mark.parametrize(
    "args, settings, error, words",
    [
        ((3, "relu"), {}, TypeError, "candidate is an int, want a function"),
        ((abs, "rely"), {}, ValueError, "against is 'rely', want one of grid_sample"),
        ((abs, 3), {}, TypeError, "against is 3, want a name or a function"),
        ((abs, np.abs), {}, ValueError, "cases is None, want a list of tuples"),
        ((abs, "relu"), {"form": "back"}, ValueError, "form is 'back', want one of 'op'"),
        ((abs, "relu"), {"wrt": "grid"}, ValueError, "wrt is 'grid', want one of 'input'"),
        ((abs, "relu"), {"cases": []}, ValueError, "cases is empty"),
        ((abs, "relu"), {"cases": [3]}, TypeError, r"cases\[0\] is int, want a tuple"),
        (
            (abs, "relu"),
            {"cases": [(np.arange(3),)]},
            ValueError,
            r"cases\[0\] has no argument of float",
        ),
        (
            (abs, np.abs),
            {"cases": [(np.ones(3, np.float32),)]},
            TypeError,
            "want float64: finite differences",
        ),
        (
            (abs, "relu"),
            {"form": "partial", "wrt": "x"},
            ValueError,
            "against is 'relu', want 'grid_sample'",
        ),
        ((abs, "grid_sample"), {"form": "partial"}, ValueError, "wrt is None, want 'U', 'x' or"),
        (
            (abs, "grid_sample"),
            {"form": "partial", "wrt": "x", "cases": [(U4, 1.0)]},
            ValueError,
            r"cases\[0\] has 2 arguments, want \(U, x, y\)",
        ),
        ((abs, "dropout"), {}, ValueError, "abs has no parameter for options that every"),
        (
            (abs, "grid_sample"),
            {"form": "partial", "wrt": ("x", "y")},
            ValueError,
            "want one name of",
        ),
    ],
)
def test_wrong_calls_are_refused(args, settings, error, words):
    with pytest.raises(error, match=words):
        verify(*args, **settings)


# Loading a candidate from a file --------------------------------------------------------------


def test_load_candidate(tmp_path):
    (tmp_path / "helper.py").write_text("FACTOR = 1.0\n")
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\nfrom helper import FACTOR\n\n"
        "def tanh(x):\n    y = np.tanh(x)\n    return y, lambda dy: FACTOR * dy * (1 - y * y)\n"
    )
    assert verify(load_candidate(f"{file}:tanh"), "tanh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["helper.py", "mine.py"]


@pytest.mark.parametrize(
    "text, spec, words",
    [
        ("", "mine.py", "names no function; want FILE.py:FUNCTION"),
        ("", "mine.py:", "names no function; want FILE.py:FUNCTION"),
        ("", "other.py:f", r"other\.py: no such file"),
        ("", "mine.txt:f", r"mine\.txt: not a Python file"),
        ("def f(:\n", "mine.py:f", r"mine\.py: line 1: "),
        ("1 / 0\n", "mine.py:f", "ZeroDivisionError: division by zero while it was loaded"),
        ("import no_such_package\n", "mine.py:f", "ModuleNotFoundError: No module named"),
        ("raise SystemExit(1)\n", "mine.py:f", "SystemExit: 1 while it was loaded"),
        ("def g():\n    pass\n", "mine.py:f", "no function f; it has g"),
        ("x = 1\n", "mine.py:f", "no function f; it has none"),
        ("f = 3\n", "mine.py:f", "f is an int, not a function"),
    ],
)
def test_what_can_not_be_loaded_is_one_line(tmp_path, text, spec, words):
    for name in ("mine.py", "mine.txt"):
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load_candidate(f"{tmp_path}/{spec}" if ":" in spec else spec)
    assert "\n" not in str(caught.value)


# The kinks ------------------------------------------------------------------------------------


def test_kink_table_of_the_worked_example():
    table = kink_table()
    assert table
    along_x = [row for row in table.rows if row.along == "x"]
    assert [(row.x, row.y) for row in along_x] == [(m, 1.75) for m in range(4)]
    columns = {
        "analytic": [3, 0.5, -6, -1.25],
        "left": [3.75, 3, 0.5, -6],
        "right": [3, 0.5, -6, -1.25],
        "mean": [3.375, 1.75, -2.75, -3.625],
        "printed": [3.75, 6.75, 7.25, 1.25],
    }
    for name, values in columns.items():
        assert [getattr(row, name) for row in along_x] == pytest.approx(values, abs=1e-6)
    text = str(table)
    assert "point (x, y)" in text and "Eq. (7) as printed" in text
    assert "analytic is the derivative from the right at 8 of 8 points" in text
    assert table._repr_html_().count("<tr>") == 9


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (6, 2), (7, 28)])
def test_kink_table_of_images_of_any_size(shape):
    U = np.random.default_rng(0).standard_normal(shape)
    points = [(m, n) for m in range(-1, shape[1] + 1) for n in range(-1, shape[0] + 1)]
    table = kink_table(U, points)
    assert table
    assert len(table.rows) == 2 * len(points)


def test_kink_table_refuses_nonsense():
    with pytest.raises(TypeError, match="U has dtype float32, want float64"):
        kink_table(np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match="U has shape"):
        kink_table(np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="points has shape"):
        kink_table(np.ones((2, 2)), [(1, 2, 3)])


# Time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, limit", [((1, 1, 4, 4), 2.0), ((4, 3, 12, 10), 5.0)], ids=["4x4", "4 of 3x12x10"]
)
@pytest.mark.parametrize("against", ["grid_sample", "own"])
def test_a_verdict_is_quick_even_when_nothing_explains_the_error(shape, limit, against):
    rng = np.random.default_rng(0)
    U, G = rng.standard_normal(shape), rng.uniform(-1.2, 1.2, (shape[0], *shape[2:], 2))

    def candidate(dV, U, G):
        dU, dG = backward_of("grid_sample")(dV, U, G)
        return dU * (1 + 0.1 * np.sin(dU)), dG * (1 + 0.1 * np.cos(dG))

    known = against if against != "own" else lambda U, G: F.grid_sample(U, G)
    start = time.process_time()
    report = verify(candidate, known, form="backward", cases=[(U, G)])
    assert time.process_time() - start < limit
    assert isinstance(report, Report) and not report and not report.diagnosis
