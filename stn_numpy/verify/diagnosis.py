"""Which mistakes explain the numbers? The search, and its rule: reproduce them, or stay silent.

A hypothesis is a few elementary mistakes made together: wrong backward passes of the operation
(`mistakes`), one factor, a wrong sign. It is evaluated on the very cases and cotangents that the
candidate was given, and stands only if it gives the candidate's numbers, to rounding, in all of
them. Hypotheses with one mistake are tried before those with two, and those before three; as soon
as some explain everything, no larger one is tried. Several of one size are all kept: the cases do
not tell them apart, and neither does the report.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from stn_numpy.verify.mistakes.base import (
    AUTOGRAD,
    COMPONENTS,
    DOUBLED,
    EXCHANGED,
    HALVED,
    ONES,
    SIGN,
    TRANSPOSED,
    ZERO,
    Mistake,
    general_mistakes,
)
from stn_numpy.verify.subjects import Case, Expected, Subject

MOST_MISTAKES = 3
MOST_COMBINATIONS = 2500  # of one size; a size with more of them is left out
MOST_WEIGHTS = 20_000_000  # cases larger than that are left out: a wrong sampler takes much memory

Hypothesis = tuple[Mistake, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """One array of the candidate, and what it should have been."""

    case: Case
    dy: np.ndarray
    came: np.ndarray
    expected: Expected
    name: str

    @cached_property
    def right(self) -> np.ndarray:
        return self.expected[self.name]

    @cached_property
    def rounding(self) -> float:
        """How far two ways to compute the same may be apart."""
        relative = 1e-4 if self.right.dtype == np.float32 else 1e-9
        return relative * self.scale + self.expected.noise

    @cached_property
    def scale(self) -> float:
        return max(np.abs(self.right).max(initial=0), 1e-6 * np.abs(self.dy).max(initial=0))

    def tolerance(self, rtol: float) -> float:
        """How large an error may be to pass."""
        relative = 1e-4 if self.right.dtype == np.float32 else rtol
        return relative * self.scale + self.expected.noise

    def error(self) -> np.ndarray:
        """|came - right|; at a kink found by finite differences only what is beyond both sides."""
        error = np.abs(np.asarray(self.came, float) - self.right)
        kinks = self.expected.kinks.get(self.name)
        return error if kinks is None else np.maximum(error - kinks, 0)

    def equals(self, array: np.ndarray) -> bool:
        """Whether the candidate's numbers are these, kinks apart."""
        if array is None or array.shape != self.came.shape:
            return False
        same = np.abs(self.came - array) <= self.rounding
        kinks = self.expected.kinks.get(self.name)
        return bool(same.all() if kinks is None else (same | (kinks > 0)).all())


class Search:
    """The hypotheses for one array of a candidate, over all evidence."""

    def __init__(self, subject: Subject, evidence: list[Evidence]):
        self.subject = subject
        self.name = evidence[0].name
        # Cheap cases where it is wrong come first: there most hypotheses die.
        usable = [e for e in evidence if _weights(e) <= MOST_WEIGHTS]
        self.evidence = sorted(usable, key=lambda e: (e.equals(e.right), _weights(e)))
        self._known: dict[tuple[int, frozenset[str]], np.ndarray | None] = {}
        self.structural = self._structural() if self.evidence else []
        self.factors = [self._factors(e) for e in self.evidence]

    def explanations(self) -> list[Hypothesis]:
        """The simplest hypotheses that explain all evidence; none, if none does."""
        for size in range(1, MOST_MISTAKES + 1):
            found = [self._named(h) for h in self._of_size(size) if self._explains(h)]
            if found:
                return self._most_special(found)
        return []

    def _most_special(self, found: list[Hypothesis]) -> list[Hypothesis]:
        """A mistake known for this operation goes before one that any operation invites."""
        own = {m.key for m in self.subject.family.mistakes}
        special = [h for h in found if any(m.key in own for m in h)]
        return list(dict.fromkeys(special or found))

    def _structural(self) -> list[Mistake]:
        """The mistakes that change this array at all on this evidence, but for mere factors."""
        others = [n for n in self.subject.gradients_of(self.evidence[0].case) if n != self.name]
        known = list(self.subject.family.mistakes)
        if self.name != "output":
            known += general_mistakes(others)
        if not self.subject.numeric:  # what is known of x and y is known better by the family
            known = [m for m in known if m.key != COMPONENTS]
        elif self.evidence[0].right.size > 200:  # differences for another cotangent take too long
            known = [m for m in known if m.key != ONES]
        return [m for m in known if m.may_change(self.name) and self._changes_something(m)]

    def _changes_something(self, mistake: Mistake) -> bool:
        for i, e in enumerate(self.evidence):
            array = self._made(i, frozenset([mistake.key]))
            if array is None or array.shape != e.right.shape:
                return False
            if np.abs(array - e.right).max(initial=0) > e.rounding:
                return True
        return False

    def _factors(self, e: Evidence) -> dict[str, Mistake]:
        own = self.subject.family.factors(self.name, *e.case.args, **e.case.options)
        return {m.key: m for m in (DOUBLED, HALVED, *own)}

    def _of_size(self, size: int) -> Iterator[tuple[frozenset[str], str | None, bool]]:
        """(structural mistakes, a factor or None, wrong sign or not), `size` mistakes in all."""
        for structural in range(size, max(size - 3, -1), -1):
            rest = size - structural
            combinations = list(itertools.islice(self._combined(structural), MOST_COMBINATIONS + 1))
            if len(combinations) > MOST_COMBINATIONS:
                continue
            for made in combinations:
                if rest == 0:
                    yield made, None, False
                if rest == 1:
                    yield made, None, True
                if rest in (1, 2):
                    for key in self.factors[0]:
                        yield made, key, rest == 2

    def _combined(self, count: int) -> Iterator[frozenset[str]]:
        for mistakes in itertools.combinations(self.structural, count):
            groups = [m.group for m in mistakes]
            if len(set(groups)) == count:
                yield frozenset(m.key for m in mistakes)

    def _explains(self, hypothesis: tuple[frozenset[str], str | None, bool]) -> bool:
        made, key, minus = hypothesis
        for i, e in enumerate(self.evidence):
            array = self._made(i, made)
            if array is None:
                return False
            if key is not None:
                if key not in self.factors[i]:
                    return False
                array = array * self.factors[i][key].factor
            if not e.equals(-array if minus else array):
                return False
        return True

    def _made(self, i: int, made: frozenset[str]) -> np.ndarray | None:
        if (i, made) not in self._known:
            with np.errstate(all="ignore"):
                self._known[i, made] = self._evaluate(self.evidence[i], made)
        return self._known[i, made]

    def _evaluate(self, e: Evidence, made: frozenset[str]) -> np.ndarray | None:
        """The array of somebody who makes these mistakes; None where they can not be made."""
        if not made:
            return e.right
        dy = np.ones_like(e.dy) if ONES in made else e.dy
        name = self.name
        for key in made:
            if key.startswith(EXCHANGED):
                name = key.removeprefix(EXCHANGED)
        if name not in ("output", *self.subject.gradients_of(e.case)):
            return None
        family = self.subject.family
        known = {m.key for m in family.mistakes}
        if made & known and family.wrong is not None:
            args, options = e.case.fresh()
            array = family.wrong(made & known, name, dy, *args, **options)
        elif ONES in made:
            array = self.subject.expected(e.case, dy)[name]
        else:
            array = e.expected[name]
        if TRANSPOSED in made:
            if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
                return None
            array = array.swapaxes(-1, -2)
        if COMPONENTS in made:
            if array.ndim == 0 or array.shape[-1] != 2:
                return None
            array = array[..., ::-1]
        return np.zeros_like(array) if ZERO in made else array

    def _named(self, hypothesis: tuple[frozenset[str], str | None, bool]) -> Hypothesis:
        made, key, minus = hypothesis
        mistakes = [m for m in self.structural if m.key in made]
        if key is not None:
            mistakes.append(self.factors[0][key])
        return (*mistakes, SIGN) if minus else tuple(mistakes)


def explain(subject: Subject, evidence: list[Evidence]) -> list[Hypothesis]:
    """The simplest sets of mistakes that reproduce the candidate's numbers on all evidence."""
    search = Search(subject, evidence)
    return search.explanations() if search.evidence else []


def _weights(e: Evidence) -> int:
    """The size of the largest table that a wrong sampler writes down for this case."""
    return e.right.size * max((a.size for a in e.case.args if isinstance(a, np.ndarray)), default=1)


# Arrays of a wrong shape ----------------------------------------------------------------------

Repair = tuple[Mistake, tuple[int, ...]]  # what to undo, and along which axes


def explain_shape(
    subject: Subject, misshapen: list[Evidence], fitting: list[Evidence]
) -> list[Hypothesis]:
    """Mistakes that explain arrays of a wrong shape, together with those of the right one.

    First the repairs of the shape after which all numbers are right; then those after which they
    can be explained.
    """
    repaired = [_repairs(e.came, e.right.shape) for e in misshapen]
    options = []
    for repair in repaired[0]:
        if all(repair in others for others in repaired):
            mended = [replace(e, came=r[repair]) for e, r in zip(misshapen, repaired)]
            options.append((repair[0], mended + fitting))
    for mistake, evidence in options:
        if all(e.equals(e.right) for e in evidence):
            return [(mistake,)]
    for mistake, evidence in options:
        found = explain(subject, evidence)
        if found:
            return [(mistake, *hypothesis) for hypothesis in found]
    return []


def _repairs(came: np.ndarray, shape: tuple[int, ...]) -> dict[Repair, np.ndarray]:
    """Ways to bring an array into another shape, each the undoing of a mistake."""
    mended: dict[Repair, np.ndarray] = {}
    axes = range(came.ndim)
    for order in itertools.permutations(axes) if came.ndim == len(shape) else ():
        mended[_MOVED, order] = came.transpose(order)
    for count in axes:
        for summed in itertools.combinations(axes, count + 1):
            mended[_NOT_SUMMED, summed] = came.sum(axis=summed)
            mended[_NOT_SUMMED, (*summed, -1)] = came.sum(axis=summed, keepdims=True)
    if came.size == np.prod(shape):
        mended[_RESHAPED, ()] = came.reshape(shape)
    return {repair: array for repair, array in mended.items() if array.shape == shape}


_MOVED, _NOT_SUMMED, _RESHAPED = (
    Mistake(name, name, words, AUTOGRAD)
    for name, words in (
        (
            "transposed",
            "the gradient is transposed: its axes are in another order than those of the input",
        ),
        (
            "not-summed",
            "the gradient is not summed over the batch, or over the axes of a broadcast: the "
            "input is used there many times",
        ),
        ("reshaped", "the values are right but for the shape"),
    )
)
