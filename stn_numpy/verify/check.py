"""`verify`: run a candidate on all cases, compare, and if it is wrong ask why."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stn_numpy import checks
from stn_numpy.verify import candidates
from stn_numpy.verify.candidates import Candidate, Outcome, Problem
from stn_numpy.verify.description import describe
from stn_numpy.verify.diagnosis import Evidence, Hypothesis, explain, explain_shape
from stn_numpy.verify.library import POINT, SUBJECTS
from stn_numpy.verify.mistakes.base import AUTOGRAD, CHECKING, Mistake
from stn_numpy.verify.report import Check, Finding, Report
from stn_numpy.verify.subjects import Case, Expected, Subject, own_subject


def verify(
    candidate: Callable,
    against: str | Callable,
    *,
    form: str = "op",
    wrt: str | Sequence[str] | None = None,
    cases: Sequence[Case | tuple] | None = None,
    options: Mapping[str, Any] | None = None,
    rng: np.random.Generator | None = None,
) -> Report:
    """Is this derivation right, and if not, what is wrong with it?

    candidate: the function to check, in the form that `form` says:
        "op"        candidate(*arrays) -> (output, backward), backward(dy) -> one gradient for each
                    array, the form of every operation here; also a function of Tensors;
        "backward"  candidate(dy, *arrays) -> the gradients, a tuple if there are more than one;
        "forward"   candidate(*arrays) -> output, where only values are checked;
        "partial"   one partial derivative of the bilinear sampler at one point, for an image U
                    (H, W) and the pixel coordinates x, y, counted from 0 as n (rows) and m
                    (columns) are: candidate(U, x, y, n, m) -> dV/dU[n, m] with wrt="U",
                    candidate(U, x, y) -> dV/dx or dV/dy with wrt="x" or "y".
    against: an operation of `stn_numpy.functional` or its name; "spatial_transformer" for
        V = grid_sample(U, affine_grid(theta)); or a forward function of the reader's own, to be
        differentiated numerically.
    wrt: the inputs whose gradients are checked, by name; all by default. With form "backward" the
        candidate then returns only those.
    cases: calls to check it on, each a tuple of arguments or a `Case`; the usual ones by default,
        of which those are left out that use an option the candidate has no parameter for. A
        function of the reader's own has no usual cases.
    options: fixed for all cases, such as {"align_corners": True}. The candidate gets every option
        that it has a parameter for.
    rng: draws cases and cotangents; the same ones every time by default.

    Raises TypeError or ValueError for a wrong call of `verify`; whatever the candidate does ends in
    the report.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    subject = _subject(against, form, cases)
    runner = candidates.checked(candidate, form, wrt, subject)
    if cases is None:
        chosen = _usual(subject, runner, options, rng)
    else:
        chosen = _given(cases, subject, form, options)
    if not chosen:
        raise ValueError(
            f"verify: candidate {runner.name} has no parameter for options that every usual case "
            f"of {subject.name} has; add them, or pass cases or options"
        )
    if not any(runner.wanted(subject, case) for case in chosen):
        raise ValueError(f"verify: no case has a gradient for wrt={wrt!r}")
    trials = [_try(subject, runner, case, rng) for case in chosen]
    reviews = _review(subject, runner, trials)

    extra: list[Trial] = []
    wrong = any(not review.right for review in reviews)
    if wrong and cases is not None and subject.cases and not subject.numeric:
        # The usual cases tell mistakes apart that look alike on a few. What the candidate is not
        # told, but all given cases agree on, it has built in.
        built_in = {
            name: value
            for name, value in chosen[0].options.items()
            if not runner.takes(name) and all(c.options.get(name) == value for c in chosen)
        }
        usual = _usual(subject, runner, built_in | dict(options or {}), rng)
        extra = [_try(subject, runner, case, rng) for case in usual]
    findings, descriptions = _diagnose(subject, trials, extra, reviews)
    return Report(
        candidate=runner.name,
        against=subject.name,
        form=form,
        cases=tuple(subject.told(trial.case) for trial in trials),
        checks=tuple(review.check for review in reviews if review.check is not None),
        diagnosis=tuple(findings),
        description=descriptions,
        notes=tuple(_notes(subject, runner, reviews)),
    )


@dataclass(frozen=True)
class Trial:
    """One case: what the candidate made of it, and what it should have made."""

    case: Case
    dy: np.ndarray
    expected: Expected
    outcome: Outcome
    wanted: list[str]

    def evidence(self, name: str) -> Evidence:
        return Evidence(self.case, self.dy, self.outcome.arrays[name], self.expected, name)


@dataclass(frozen=True)
class Review:
    """One array of the candidate over all trials, as far as it could be compared."""

    name: str
    check: Check | None
    evidence: list[Evidence]
    misshapen: list[Evidence]

    @property
    def right(self) -> bool:
        return not self.misshapen and (self.check is None or self.check.right)


def _subject(against: str | Callable, form: str, cases) -> Subject:
    name = against if isinstance(against, str) else getattr(against, "__name__", "")
    known = SUBJECTS.get(name)
    if known is not None and not isinstance(against, str):
        # A function of the reader's own may bear the name of an operation.
        raw = getattr(known.forward, "__wrapped__", known.forward)
        known = known if against in (known.forward, raw) else None
    if isinstance(against, str) and known is None:
        raise ValueError(f"verify: against is {against!r}, want one of {', '.join(SUBJECTS)}")
    if known is None and not callable(against):
        raise TypeError(f"verify: against is {against!r}, want a name or a function")
    if form == "partial":
        if known is not None and known.name != "grid_sample":
            raise ValueError(
                f"verify: against is {name!r}, want 'grid_sample' or a function V(U, x, y) of your "
                "own for form='partial'"
            )
        if known is None:
            own = own_subject(against, ("U", "x", "y"))
            names = ("U", "x", "y")
            return dataclasses.replace(own, inputs=names, with_gradient=names, cases=POINT.cases)
        return POINT
    if known is not None:
        return known
    if cases is None or not len(cases):
        raise ValueError(
            "verify: cases is None, want a list of tuples of arguments for a function of your own"
        )
    first = cases[0].args if isinstance(cases[0], Case) else tuple(cases[0])
    return own_subject(against, first)


def _given(cases, subject: Subject, form: str, options) -> list[Case]:
    chosen = []
    for i, case in enumerate(cases):
        if not isinstance(case, (Case, tuple, list)):
            raise TypeError(
                f"verify: cases[{i}] is {type(case).__name__}, want a tuple of arguments or a Case"
            )
        if not isinstance(case, Case):
            case = Case(tuple(case))
        args = tuple(case.args)
        if form == "partial":
            if len(args) != 3:
                raise ValueError(f"verify: cases[{i}] has {len(args)} arguments, want (U, x, y)")
            args = checks.array("verify", f"cases[{i}], U", args[0], "(H, W)"), *args[1:]
            args = tuple(np.asarray(arg, dtype=float)[()] for arg in args)
        case = Case(args, {**case.options, **(options or {})}, case.label)
        dtypes = {subject.argument(case, name).dtype for name in subject.gradients_of(case)}
        if not dtypes:
            raise ValueError(f"verify: cases[{i}] has no argument of float32 or float64")
        if subject.numeric and dtypes != {np.dtype(np.float64)}:
            raise TypeError(
                f"verify: cases[{i}] has arguments of float32, want float64: finite differences "
                "need the digits"
            )
        chosen.append(case)
    if not chosen:
        raise ValueError("verify: cases is empty, want at least one")
    return chosen


def _usual(subject: Subject, runner: Candidate, options, rng) -> list[Case]:
    """The usual cases, without those that use options the candidate can not be told."""
    fixed = dict(options or {})
    usual = subject.cases(rng)
    # Where a case is about an option, and another value of it is fixed, its point is lost.
    fitting = [c for c in usual if all(c.options.get(k, v) == v for k, v in fixed.items())]
    chosen = []
    for case in fitting or usual:
        told = {
            name: value
            for name, value in case.options.items()
            if name not in fixed and not subject.is_default(name, value)
        }
        if all(runner.takes(name) for name in told):
            chosen.append(dataclasses.replace(case, options={**case.options, **fixed}))
    return chosen


def _try(subject: Subject, runner: Candidate, case: Case, rng: np.random.Generator) -> Trial:
    shape = subject.output(case).shape
    dy = np.ones(()) if runner.form == "partial" else np.asarray(rng.standard_normal(shape))
    dy = dy.astype(subject.argument(case, subject.gradients_of(case)[0]).dtype)
    expected = subject.expected(case, dy)
    outcome = runner.run(subject, case, dy)
    return Trial(case, dy, expected, outcome, runner.wanted(subject, case))


def _review(subject: Subject, runner: Candidate, trials: list[Trial]) -> list[Review]:
    names = dict.fromkeys(name for trial in trials for name in trial.wanted)
    reviews = []
    for name in names:
        there = [t.evidence(name) for t in trials if name in t.outcome.arrays and name in t.wanted]
        fitting = [e for e in there if e.came.shape == e.right.shape]
        misshapen = [e for e in there if e.came.shape != e.right.shape]
        check = _check(subject, fitting) if fitting else None
        reviews.append(Review(name, check, fitting, misshapen))
    return reviews


def _check(subject: Subject, evidence: list[Evidence]) -> Check:
    wrong = values = at_kinks = 0
    right = True
    worst, worst_share = evidence[0], -1.0
    for e in evidence:
        error, tolerance = e.error(), e.tolerance(subject.rtol)
        error = np.where(np.isnan(error), np.inf, error)
        bad = error > tolerance
        wrong, values, right = wrong + int(bad.sum()), values + bad.size, right and not bad.any()
        at_kinks += int((e.expected.kinks.get(e.name, np.zeros(1)) > 0).sum())
        share = error.max(initial=0) / max(tolerance, 1e-300)
        if share > worst_share:
            worst, worst_share = e, share
    error = np.where(np.isnan(worst.error()), np.inf, worst.error())
    index = np.unravel_index(int(error.argmax()), error.shape) if error.size else ()
    index = tuple(int(i) for i in index)
    place = subject.family.place
    differences = None
    if not right and worst.name != "output" and worst.right.dtype == np.float64:
        differences = next(subject.differences(worst.case, worst.dy, worst.name, [index]))
    return Check(
        name=worst.name,
        right=right,
        error=float(error[index]) if error.size else 0.0,
        scale=float(np.abs(worst.right).max(initial=0)),
        index=index,
        place=place(worst.name, index, *worst.case.args, **worst.case.options) if place else "",
        came=float(worst.came[index]) if error.size else 0.0,
        expected=float(worst.right[index]) if error.size else 0.0,
        differences=differences,
        wrong=wrong,
        values=values,
        case=subject.told(worst.case),
        at_kinks=at_kinks,
    )


# Why ------------------------------------------------------------------------------------------


def _diagnose(
    subject: Subject, trials: list[Trial], extra: list[Trial], reviews: list[Review]
) -> tuple[list[Finding], dict[str, tuple[str, ...]]]:
    findings = _problems(subject, trials)
    findings += _wrong_dtypes(reviews)
    explained: dict[str, list[Hypothesis]] = {}
    descriptions: dict[str, tuple[str, ...]] = {}
    for review in reviews:
        if review.right:
            continue
        more = [t.evidence(review.name) for t in extra if review.name in t.outcome.arrays]
        hypotheses = _hypotheses(subject, review, more)
        if review.misshapen:
            e = review.misshapen[0]
            words = f"the shape is {e.came.shape}; it should be {e.right.shape}"
            findings.append(Finding("wrong-shape", words, AUTOGRAD, (review.name,)))
        if hypotheses:
            explained[review.name] = hypotheses
        elif review.evidence and not review.check.right:
            descriptions[review.name] = tuple(describe(subject, review.evidence, subject.rtol))
    return findings + _joined(explained), descriptions


def _hypotheses(subject: Subject, review: Review, more: list[Evidence]) -> list[Hypothesis]:
    fitting = review.evidence + [e for e in more if e.came.shape == e.right.shape]
    if any(not np.isfinite(np.asarray(e.came, float)).all() for e in fitting):
        return []
    if not review.misshapen:
        return explain(subject, fitting)
    misshapen = review.misshapen + [e for e in more if e.came.shape != e.right.shape]
    return explain_shape(subject, misshapen, fitting)


def _joined(explained: dict[str, list[Hypothesis]]) -> list[Finding]:
    """One list of findings for all arrays.

    Where several explanations of one array are equally simple, those made of mistakes that other
    arrays have too are kept. Explanations by the same names are one.
    """
    found: list[tuple[str, list[Hypothesis]]] = []
    for name, hypotheses in explained.items():
        elsewhere = {
            mistake.key
            for other, theirs in explained.items()
            if other != name
            for hypothesis in theirs
            for mistake in hypothesis
        }
        shared = [sum(m.key in elsewhere for m in hypothesis) for hypothesis in hypotheses]
        kept = [h for h, count in zip(hypotheses, shared) if count == max(shared)]
        by_names: dict[tuple[str, ...], Hypothesis] = {}
        for hypothesis in kept:
            by_names.setdefault(tuple(sorted({m.name for m in hypothesis})), hypothesis)
        found.append((name, list(by_names.values())))

    findings: dict[tuple[Mistake, int], list[str]] = {}
    for name, hypotheses in found:
        for number, hypothesis in enumerate(hypotheses, 1):
            alternative = number if len(hypotheses) > 1 else 0
            for mistake in hypothesis:
                findings.setdefault((mistake, alternative), []).append(name)
    # One mistake, though its factor may be another number for each input.
    merged: dict[tuple[str, str, int], tuple[Mistake, list[str]]] = {}
    for (mistake, alternative), names in findings.items():
        entry = merged.setdefault((mistake.name, mistake.words, alternative), (mistake, []))
        entry[1].extend(names)
    return [
        Finding(name, words, mistake.chapter, tuple(names), alternative)
        for (name, words, alternative), (mistake, names) in merged.items()
    ]


_CHAPTERS = {"nan": CHECKING, "not-deterministic": CHECKING, "raised": CHECKING}


def _problems(subject: Subject, trials: list[Trial]) -> list[Finding]:
    """What the candidate did that no function should, each thing once."""
    seen: dict[tuple[str, str], tuple[Problem, list[Case]]] = {}
    for trial in trials:
        for problem in trial.outcome.problems:
            key = (problem.name, problem.input)
            seen.setdefault(key, (problem, []))[1].append(trial.case)
    findings = []
    for problem, cases in seen.values():
        words = problem.words
        if len(cases) < len(trials):
            told = subject.told(cases[0])
            words += f" (in {len(cases)} of {len(trials)} cases, one of them {told})"
        inputs = (problem.input,) if problem.input else ()
        chapter = _CHAPTERS.get(problem.name, AUTOGRAD)
        findings.append(Finding(problem.name, words, chapter, inputs))
    return findings


def _wrong_dtypes(reviews: list[Review]) -> list[Finding]:
    findings = []
    for review in reviews:
        for e in review.evidence + review.misshapen:
            if e.came.dtype != e.right.dtype:
                words = f"the dtype is {e.came.dtype}; it should be {e.right.dtype} as its input"
                findings.append(Finding("wrong-dtype", words, AUTOGRAD, (review.name,)))
                break
    return findings


def _notes(subject: Subject, runner: Candidate, reviews: list[Review]) -> list[str]:
    notes = []
    if subject.numeric:
        notes.append("what is expected comes from finite differences alone")
    kinks = sum(review.check.at_kinks for review in reviews if review.check)
    if kinks:
        notes.append(
            f"{kinks} values are at kinks, where anything between the left and the right "
            "difference is taken for right"
        )
    return notes
