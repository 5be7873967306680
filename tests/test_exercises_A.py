"""What appendix A takes for a right walk is right, however it is written."""

import heapq

import pytest

from stn_numpy.exercises import chA, check


@pytest.mark.parametrize("name", chA.SMALL)
def test_the_right_walk_agrees_with_finite_differences(name):
    """In Fractions, so that rounding has no part in it: the formulas are polynomials."""
    from fractions import Fraction

    formula, step = chA.SMALL[name], Fraction(1, 10**9)

    def value(x, y):
        tape, asked = [], [0]
        return formula(chA.Number(x, tape, asked), chA.Number(y, tape, asked)).value

    x, y = Fraction(2), Fraction(3)
    slopes = [
        (value(x + step, y) - value(x - step, y)) / (2 * step),
        (value(x, y + step) - value(x, y - step)) / (2 * step),
    ]
    gradients, _ = chA.leaves_of(formula, chA.newest_first)
    assert [round(slope) for slope in slopes] == gradients
    assert all(abs(slope - round(slope)) < 1e-9 for slope in slopes)


def by_a_heap(root):
    root.grad = 1
    waiting, known = [(-root.serial, root)], {root}
    while waiting:
        _, number = heapq.heappop(waiting)
        for x, slope in zip(number.inputs, number.slopes):
            x.grad += slope * number.grad
            if x not in known:
                known.add(x)
                heapq.heappush(waiting, (-x.serial, x))


def by_counting_uses(root):
    """Without serial numbers: a number's turn comes when all that use it have had theirs."""
    uses, todo, met = {}, [root], {root}
    while todo:
        for x in todo.pop().inputs:
            uses[x] = uses.get(x, 0) + 1
            if x not in met:
                met.add(x)
                todo.append(x)
    root.grad, ready = 1, [root]
    while ready:
        number = ready.pop()
        for x, slope in zip(number.inputs, number.slopes):
            x.grad += slope * number.grad
            uses[x] -= 1
            if not uses[x]:
                ready.append(x)


@pytest.mark.parametrize("walk", [by_a_heap, by_counting_uses])
def test_any_right_walk_is_accepted(walk):
    assert check("A.2", walk)
