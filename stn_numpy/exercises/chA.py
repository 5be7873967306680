"""Appendix A, The autograd core from nothing."""

from collections.abc import Callable

import numpy as np

from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify

CALLS = {
    "That counts the routes to the first number alone; the numbers before it are called as well.": (
        lambda n: 2**n
    ),
    "That is how many numbers there are; each is called once for every route to it.": (
        lambda n: n + 1
    ),
    "One too many: add up 1 + 2 + 4 + ... for a small n.": lambda n: 2 ** (n + 1),
    "The first number is missing: it is called, too, and most often.": lambda n: 2**n - 1,
    "Each diamond doubles the calls; it does not add two.": lambda n: 2 * n + 1,
}


@exercise("A.1", CALLS, {"For n = 0 it gives 3": lambda n: 2 ** (n + 1) + 1})
def number_of_calls(answer):
    cases = [(n,) for n in (*range(8), 30)]
    return answers.function(answer, lambda n: 2 ** (n + 1) - 1, cases, CALLS)


class Number:
    """The Number of the chapter, on a tape of its own; counts how often its inputs are asked for.

    tape: the numbers in the order of making. asked: a list of one number, shared by the tape.
    """

    def __init__(self, value: float, tape: list, asked: list, inputs: tuple = (), slopes=()):
        self.value, self.grad, self.slopes = value, 0, slopes
        self._inputs, self._tape, self._asked = inputs, tape, asked
        self.serial = len(tape)
        tape.append(self)

    @property
    def inputs(self) -> tuple:
        self._asked[0] += 1
        if self._asked[0] > 50 * len(self._tape):
            raise _TooOftenError
        return self._inputs

    def _made(self, value: float, other: "Number", slopes: tuple) -> "Number":
        return Number(value, self._tape, self._asked, (self, other), slopes)

    def __add__(self, other):
        return self._made(self.value + other.value, other, (1, 1))

    def __mul__(self, other):
        return self._made(self.value * other.value, other, (other.value, self.value))


class _TooOftenError(Exception):
    pass


def chain(x, y):
    return (x + y) * (x + x)


def diamond(x, y):
    return x * (y * x + y)


def shared_inside(x, y):
    u = x * x
    return u * (y * u + y)


def uneven(x, y):
    u = x * y
    late = ((u + x) * y + u) * x
    return u * late + late * u


SMALL = {
    "(x + y) (x + x)": chain,
    "x (y x + y)": diamond,
    "u (y u + y) with u = x x": shared_inside,
    "u v + v u with u = x y and v = ((u + x) y + u) x": uneven,
}


def leaves_of(formula: Callable, walk: Callable) -> tuple[list, object]:
    """The gradients that a walk leaves in x = 2 and y = 3, and what it returned."""
    tape: list = []
    x, y = (Number(value, tape, asked) for asked in [[0]] for value in (2, 3))
    returned = walk(formula(x, y))
    return [x.grad, y.grad], returned


def newest_first(root):
    """A right walk."""
    root.grad = 1
    for number in root._tape[root.serial :: -1]:
        pass_on(number)


def pass_on(number, assign=False):
    for x, slope in zip(number.inputs, number.slopes):
        x.grad = slope * number.grad + (0 if assign else x.grad)


def found_from(root) -> list:
    found, todo = {root: None}, [root]
    while todo:
        new = [x for x in dict.fromkeys(todo.pop(0).inputs) if x not in found]
        found |= dict.fromkeys(new)
        todo += new
    return list(found)


def in_order(order: Callable, start=1, assign=False):
    """A walk that visits each number once, in the order that order(root) gives."""

    def walk(root):
        root.grad = start
        for number in order(root):
            pass_on(number, assign)

    return walk


def by_serial(root, newest=True):
    return sorted(found_from(root), key=lambda number: number.serial, reverse=newest)


def depth_first(root) -> list:
    """In the order in which numbers are met on the way down, the last input first."""
    met, todo = {}, [root]
    while todo:
        number = todo.pop()
        if number not in met:
            met[number] = None
            todo += number.inputs
    return list(met)


def each_time(root):
    """A walk that passes on, at each arrival, all that has arrived so far."""
    root.grad = 1
    todo = [root]
    while todo:
        number = todo.pop(0)
        for x, slope in zip(number.inputs, number.slopes):
            x.grad += slope * number.grad
            todo.append(x)


WALKS = {
    "That is the order of the attempt: a number may be visited before all that use it, and passes "
    "on what has not all arrived yet.": in_order(found_from),
    "Depth first is hasty too: a number may be visited before all that use it.": (
        in_order(depth_first)
    ),
    "A number that is used twice gets the last gradient only, not the sum: = instead of +=.": (
        in_order(by_serial, assign=True)
    ),
    "That is the order from the oldest to the newest; gradients flow the other way.": (
        in_order(lambda root: by_serial(root, newest=False))
    ),
    "All gradients stay 0: the root's own gradient is 1; is it set, and is it passed on? (The "
    "numbers of this check stand on no tape of yours.)": (in_order(by_serial, start=0)),
    "A number is visited each time that something arrives, and passes on what it has passed on "
    "before.": each_time,
}


def push(number, grad=1):
    """The recursion of the chapter: right, and in need of a call for every route."""
    number.grad += grad
    for x, slope in zip(number.inputs, number.slopes):
        push(x, slope * grad)


def push_with_a_list(root):
    """The same without recursion."""
    todo = [(root, 1)]
    while todo:
        number, grad = todo.pop()
        number.grad += grad
        todo += [(x, slope * grad) for x, slope in zip(number.inputs, number.slopes)]


def sorted_by_calls(root):
    """Right and each number once, in an order that a function which calls itself finds."""
    order, found = [], set()

    def visit(number):
        if number not in found:
            found.add(number)
            for x in number.inputs:
                visit(x)
            order.append(number)

    visit(root)
    in_order(lambda root: order[::-1])(root)


@exercise(
    "A.2",
    WALKS,
    {
        "once for every route": push_with_a_list,
        "must not call itself": sorted_by_calls,
        "For (x + y) (x + x) it leaves": in_order(by_serial, start=2),
        "is it set, and is it passed on?": lambda root: setattr(root, "grad", 1),
        "It returns dict": lambda root: {},
    },
)
def my_walk(answer):
    try:
        return _judge_walk(answer)
    except _TooOftenError:
        return (
            "For a row of diamonds it asks for inputs again and again, once for every route; visit "
            "each number once."
        )
    except RecursionError:
        return "A chain of 5,000 numbers is too long for it: it must not call itself."


def _judge_walk(answer) -> str | None:
    mine = {}
    for name, formula in SMALL.items():
        mine[name], returned = leaves_of(formula, answer)
        if returned is not None:
            return (
                f"It returns {type(returned).__name__}; want nothing: it fills in .grad of the "
                "numbers."
            )
    right = {name: leaves_of(formula, newest_first)[0] for name, formula in SMALL.items()}
    wrong = [name for name in SMALL if not _same_numbers(mine[name], right[name])]
    if wrong:
        for words, mistaken in WALKS.items():
            theirs = {name: leaves_of(formula, mistaken)[0] for name, formula in SMALL.items()}
            if all(_same_numbers(mine[name], theirs[name]) for name in SMALL):
                return words
        x, y = mine[wrong[0]]
        return (
            f"For {wrong[0]} it leaves dx = {x!r} and dy = {y!r} at x = 2 and y = 3, which is not "
            "right."
        )
    for formula, grad in ((doubled(40), 2**40), (doubled(1, 5000), 2)):
        if not _same_numbers(leaves_of(formula, answer)[0], [grad, grad]):
            return "For many numbers in a row the gradient is not right any more."
    return None


def doubled(times: int, steps: int = 0) -> Callable:
    """(x + y) doubled so many times, then moved on by steps of + 0."""

    def formula(x, y):
        z = x + y
        for _ in range(times):
            z = z + z
        zero = Number(0, x._tape, x._asked)
        for _ in range(steps):
            z = z + zero
        return z

    return formula


def _same_numbers(mine, theirs) -> bool:
    try:
        return bool(np.allclose(np.array(mine, float), np.array(theirs, float)))
    except (TypeError, ValueError):
        return False


def middle(a, b, t):
    """The forward function alone, to be differentiated numerically."""
    return a + t * (b - a)


def lerp(da, db, dt, y=middle):
    """The operation as a learner may write it: the three gradients as functions of dy, a, b, t."""

    def function(a, b, t):
        def backward(dy):
            return tuple(slope(dy, a, b, t) for slope in (da, db, dt))

        return y(a, b, t), backward

    return function


def to_a(dy, a, b, t):
    return dy * (1 - t)


def to_b(dy, a, b, t):
    return dy * t


def to_t(dy, a, b, t):
    return dy * (b - a)


BETWEEN = {
    "The gradients of a and b are exchanged: at t = 0 all of dy goes to a.": lerp(to_b, to_a, to_t),
    "The gradient of t has the wrong sign: as t grows, y moves from a to b.": (
        lerp(to_a, to_b, lambda dy, a, b, t: dy * (a - b))
    ),
    "a is there twice, and only one of its two parts is in its gradient: -t is missing.": (
        lerp(lambda dy, a, b, t: dy.copy(), to_b, to_t)
    ),
    "a is there twice, and only one of its two parts is in its gradient: 1 is missing.": (
        lerp(lambda dy, a, b, t: -t * dy, to_b, to_t)
    ),
    "The gradient of t does not have dy in it: it is the slope alone.": (
        lerp(to_a, to_b, lambda dy, a, b, t: b - a)
    ),
    "None of the gradients has dy in it: those are the slopes alone.": (
        lerp(lambda dy, a, b, t: 1 - t, lambda dy, a, b, t: t.copy(), lambda dy, a, b, t: b - a)
    ),
    "The gradient of t is 0; t moves y, too.": lerp(to_a, to_b, lambda dy, a, b, t: 0 * t),
    "y is b at t = 0; want a there.": lerp(
        to_b, to_a, lambda dy, a, b, t: dy * (a - b), lambda a, b, t: b + t * (a - b)
    ),
}


@exercise(
    "A.3",
    BETWEEN,
    {
        "[no-backward]": middle,
        "[wrong-shape]": lerp(to_a, to_b, lambda dy, a, b, t: (dy * (b - a)).sum()),
        "no mistake known here": lerp(to_a, to_b, lambda dy, a, b, t: dy * b * a),
        "[changed-input]": lambda a, b, t: lerp(to_a, to_b, to_t)(a, b, np.multiply(t, 2, out=t)),
    },
)
def between(answer):
    rng = np.random.default_rng(1)
    cases = [tuple(rng.standard_normal((3, *size))) for size in ((3, 4), (5,), (2, 3, 2))]
    report = verify(answer, against=middle, cases=cases)
    if report or any(finding.name in PROBLEMS for finding in report.diagnosis):
        return report
    for words, mistaken in BETWEEN.items():
        if all(_same(answer, mistaken, case, rng) for case in cases):
            return words
    return report


# What verify finds before there are numbers to compare.
PROBLEMS = (
    "raised",
    "no-backward",
    "returned-nothing",
    "wrong-shape",
    "wrong-dtype",
    "wrong-count",
    "changed-input",
    "nan",
    "not-deterministic",
)


def _same(mine, theirs, case, rng) -> bool:
    dy = rng.standard_normal(case[0].shape)
    try:
        (y, backward), (wanted, wanted_backward) = mine(*case), theirs(*case)
        pairs = [(y, wanted), *zip(backward(dy), wanted_backward(dy), strict=True)]
        return all(np.allclose(a, b, rtol=0, atol=1e-9) for a, b in pairs)
    except (TypeError, ValueError):
        return False


def both(direct, W, dtheta):
    return direct + (dtheta.ravel() @ W).reshape(direct.shape)


ROUTES = {
    "That is the direct route alone.": lambda direct, W, dtheta: direct.copy(),
    "That is the route through theta alone.": lambda direct, W, dtheta: both(0 * direct, W, dtheta),
    "Your second route numbers the pixels column by column; they are numbered row by row.": (
        lambda direct, W, dtheta: (
            direct + (dtheta.ravel() @ W).reshape(direct.shape[::-1]).swapaxes(0, 1)
        )
    ),
    "dtheta is in the wrong order: row by row it is theta_11, theta_12, theta_13, theta_21 ...": (
        lambda direct, W, dtheta: both(direct, W, dtheta.T)
    ),
    "The two routes are multiplied; both changes happen, so they add up.": (
        lambda direct, W, dtheta: direct * both(0 * direct, W, dtheta)
    ),
    "The second route is subtracted; both changes happen, so they add up.": (
        lambda direct, W, dtheta: 2 * direct - both(direct, W, dtheta)
    ),
}


@exercise(
    "A.4",
    ROUTES,
    {
        "want an array of (4, 4)": lambda direct, W, dtheta: direct.ravel() + dtheta.ravel() @ W,
        "changes its argument in place": lambda direct, W, dtheta: np.add(
            direct, both(0 * direct, W, dtheta), out=direct
        ),
        "which is not right": lambda direct, W, dtheta: both(direct, 2 * W, dtheta),
    },
)
def both_routes(answer):
    rng = np.random.default_rng(4)
    cases = [
        tuple(rng.integers(-9, 10, shape) / 4 for shape in (size, (6, size[0] * size[1]), (2, 3)))
        for size in ((4, 4), (3, 5), (6, 2))
    ]
    return answers.function(answer, both, cases, ROUTES)
