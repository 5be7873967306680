"""`check` tells right from wrong, says why, and never gives the solution away."""

import math

import numpy as np
import pytest

from stn_numpy import exercises
from stn_numpy.exercises import answers, check, registry
from stn_numpy.verify import verify

MISTAKES = [
    pytest.param(name, words, wrong, id=f"{name} {words}")
    for name in exercises.names()
    for words, wrong in registry.find(name).mistakes.items()
]


@pytest.mark.parametrize("name, words, wrong", MISTAKES)
def test_a_known_mistake_is_named(name, words, wrong):
    verdict = check(name, wrong)
    assert not verdict
    assert verdict.state == "not right yet"
    assert words in verdict.words


@pytest.mark.parametrize("name", exercises.names())
def test_every_exercise_has_typical_mistakes(name):
    assert len(registry.find(name).mistakes) >= 2


def stub(*args, **options):
    # YOUR CODE HERE
    raise NotImplementedError()


@pytest.mark.parametrize("name", exercises.names())
def test_a_stub_is_not_attempted_yet(name):
    verdict = check(name, stub)
    assert not verdict
    assert repr(verdict) == f"{name}: not attempted yet."


@pytest.mark.parametrize("name", exercises.names())
@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda *_: None, ""),
        (lambda *_: "4.25", ""),
        (lambda *_: np.nan, ""),
        (lambda *_: [1, "two"], ""),
        (lambda *_: 1j, ""),
        (lambda *_: 1 / 0, "ZeroDivisionError"),
        (4.25, "without parentheses"),
        (None, "without parentheses"),
    ],
)
def test_nonsense_is_wrong_and_does_not_raise(name, answer, words):
    verdict = check(name, answer)
    assert not verdict
    assert verdict.state == "not right yet"
    assert words in repr(verdict)
    assert repr(verdict) == repr(check(name, answer))


@pytest.mark.parametrize("name", ["99.1", "06.99", "06", "", None, 6.1])
def test_an_unknown_exercise_is_a_mistake_of_the_caller(name):
    with pytest.raises(ValueError, match=r"check: the exercise is .*, want one of "):
        check(name, stub)


# How judges see an answer ------------------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch):
    """Exercises of the test's own, "99.1", "99.2" ..., which `check` finds."""
    monkeypatch.setattr(registry, "_exercises", {})
    return registry.exercise


def test_a_report_of_verify_becomes_its_advice(registered):
    @registered("99.1", {})
    def judge(answer):
        return verify(answer, "relu")

    def right(x):
        return np.maximum(x, 0), lambda dy: dy * (x > 0)

    def wrong(x):
        return np.maximum(x, 0), lambda dy: -dy * (x > 0)

    assert check("99.1", right)
    verdict = check("99.1", wrong)
    assert "the sign is wrong" in verdict.words
    assert "expected" not in verdict.words


def test_a_stub_inside_of_a_backward_pass_is_not_attempted_either(registered):
    @registered("99.1", {})
    def judge(answer):
        return verify(answer, "relu")

    def half_done(x):
        def backward(dy):
            raise NotImplementedError()

        return np.maximum(x, 0), backward

    assert check("99.1", half_done).state == "not attempted yet"


def test_a_mistake_of_the_judge_is_not_blamed_on_the_reader(registered):
    @registered("99.1", {})
    def judge(answer):
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        check("99.1", lambda: 1)


def test_the_readers_line_is_shown(registered):
    @registered("99.1", {})
    def judge(answer):
        return answers.number(answer, 1.0)

    def divides():
        zero = 0
        return 1 / zero

    words = check("99.1", divides).words
    assert words == "Calling it raises ZeroDivisionError: division by zero at: return 1 / zero"


@pytest.mark.parametrize(
    "value, words",
    [
        (2.0, None),
        (2, None),
        (np.float32(2), None),
        (3.0, "three"),
        (2.1, "It is not 2.1."),
        (None, "nothing"),
        ("2", "str"),
        (np.ones(2), "an array of (2,)"),
        (np.nan, "It is not nan."),
        (2j, "complex"),
    ],
)
def test_numbers(value, words):
    said = answers.number(lambda: value, 2.0, {"three": lambda: 3.0})
    assert (said is None) if words is None else (words in said)


def test_arrays():
    wanted = np.array([[1.0, 2], [3, 4]])
    known = {"transposed": lambda: wanted.T}
    assert answers.array(lambda: wanted.tolist(), wanted, known) is None
    assert answers.array(lambda: wanted.T, wanted, known) == "transposed"
    assert "index (0, 0)" in answers.array(lambda: wanted + 1, wanted, known)
    assert "want an array of (2, 2)" in answers.array(lambda: wanted[0], wanted, known)
    assert "returns list" in answers.array(lambda: [[1], [2, 3]], wanted, known)


def test_functions_must_not_change_their_arguments():
    def changes(x):
        x *= 2
        return x.sum()

    words = answers.function(changes, lambda x: 2 * x.sum(), [(np.ones(3),)])
    assert words == "It changes its argument in place; work on a copy."


def test_a_known_mistake_counts_only_where_it_explains_every_value():
    cases = [(float(x),) for x in range(5)]
    known = {"cubed": lambda x: x**3}
    assert answers.function(lambda x: x**2, lambda x: x**2, cases, known) is None
    assert answers.function(lambda x: x**3, lambda x: x**2, cases, known) == "cubed"
    words = answers.function(lambda x: x**3 + (x > 3), lambda x: x**2, cases, known)
    assert words == "For x = 2 it gives 8, which is not right."


def test_nested_lists_are_as_good_as_arrays():
    def judged(answer):
        cases = [(np.array([1.0, 2]),), (np.array([0.5, 3]),)]
        return answers.function(answer, lambda x: np.array([x, 2 * x]), cases)

    assert judged(lambda x: [list(x), [2 * x[0], 2 * x[1]]]) is None
    assert "which is not right" in judged(lambda x: [list(x), [2 * x[0], 3 * x[1]]])
    assert "it returns list; want an array of (2, 2)" in judged(lambda x: [list(x), [1]])


@pytest.mark.parametrize("add", [sum, lambda terms: terms[2] + terms[0] + terms[1], math.fsum])
def test_arrivals_do_not_depend_on_the_order_of_adding(add):
    def arrivals(forward, H, W):
        arrived = np.zeros((H, W), int)
        for row in range(H):
            for column in range(W):
                point = (add([a * column, b * row, c]) for a, b, c in forward)
                m, n = (math.floor(p + 0.5) for p in point)
                if 0 <= m < W and 0 <= n < H:
                    arrived[n, m] += 1
        return arrived

    assert check("03.3", arrivals)
