"""How an error that no known mistake explains depends on position and magnitude."""

from collections.abc import Iterator

import numpy as np

from stn_numpy.verify.diagnosis import Evidence
from stn_numpy.verify.subjects import Subject

PRECISION = 1e-4  # relative errors below this look like lost digits, not like a wrong formula


def describe(subject: Subject, evidence: list[Evidence], rtol: float) -> list[str]:
    """Plain sentences about the error of one array over all evidence; no guess at its cause."""
    wrong = [e.error() > e.tolerance(rtol) for e in evidence]
    wrong = [w | ~np.isfinite(np.asarray(e.came, float)) for w, e in zip(wrong, evidence)]
    sentences = [
        *_which_cases(subject, evidence, wrong),
        *_where(subject, evidence, wrong),
        *_how_much(subject, evidence, wrong),
    ]
    total, all_values = sum(int(w.sum()) for w in wrong), sum(w.size for w in wrong)
    return [f"{total} of {all_values} values are wrong", *sentences]


def _which_cases(
    subject: Subject, evidence: list[Evidence], wrong: list[np.ndarray]
) -> Iterator[str]:
    bad = [e for e, w in zip(evidence, wrong) if w.any()]
    good = [e for e, w in zip(evidence, wrong) if not w.any()]
    if not good:
        return
    for name in {name: None for e in evidence for name in e.case.options}:
        in_bad = {repr(e.case.options.get(name)) for e in bad}
        in_good = {repr(e.case.options.get(name)) for e in good}
        if not in_bad & in_good and "Generator" not in str(in_bad):
            values = " or ".join(sorted(in_bad)).replace("None", "its default")
            yield f"wrong only with {name} = {values}"
            return
    labels_bad, labels_good = ({e.case.label for e in some} for some in (bad, good))
    if not labels_bad & labels_good and "" not in labels_bad:
        yield f"wrong only in cases with {' or '.join(sorted(labels_bad))}"
    else:
        one = subject.told(bad[0].case)
        yield f"wrong in {len(bad)} of {len(evidence)} cases, one of them {one}"


def _where(subject: Subject, evidence: list[Evidence], wrong: list[np.ndarray]) -> Iterator[str]:
    """The smallest kind of place that holds all errors, if some places are not of that kind."""
    sizes = {}
    every = [_masks_of(subject, e) | _slices(e.right.shape) | _signs(e) for e in evidence]
    for words in dict.fromkeys(words for masks in every for words in masks):
        inside = outside = errors_inside = errors = 0
        for masks, w in zip(every, wrong):
            mask = masks.get(words, np.zeros(w.shape, bool))
            inside += int(mask.sum())
            outside += int((~mask).sum())
            errors_inside += int((w & mask).sum())
            errors += int(w.sum())
        if outside and errors and errors_inside == errors:
            sizes[words] = (inside, errors)
    if sizes:
        words = min(sizes, key=lambda words: sizes[words][0])
        inside, errors = sizes[words]
        amount = "all" if errors == inside else f"{errors}"
        yield f"wrong only {words}: {amount} of the {inside} values there, none elsewhere"


def _masks_of(subject: Subject, e: Evidence) -> dict[str, np.ndarray]:
    masks = subject.family.masks(e.name, *e.case.args, **e.case.options)
    return {words: np.broadcast_to(mask, e.right.shape) for words, mask in masks.items()}


def _signs(e: Evidence) -> dict[str, np.ndarray]:
    masks = {
        "where the expected value is positive": e.right > 0,
        "where the expected value is negative": e.right < 0,
        "where the expected value is zero": e.right == 0,
    }
    if e.dy.shape == e.right.shape:
        masks |= {"where dy is positive": e.dy > 0, "where dy is negative": e.dy < 0}
    return masks


def _slices(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """One index of an axis, for every short axis, and all but the first."""
    masks = {}
    for axis, size in enumerate(shape):
        index = np.arange(size).reshape(-1, *(1,) * (len(shape) - axis - 1))
        for i in range(size if 2 <= size <= 8 else 0):
            masks[f"at index {i} of axis {axis}"] = np.broadcast_to(index == i, shape)
        if size > 2:
            masks[f"behind index 0 of axis {axis}"] = np.broadcast_to(index > 0, shape)
    return masks


def _how_much(subject: Subject, evidence: list[Evidence], wrong: list[np.ndarray]) -> Iterator[str]:
    came = [np.asarray(e.came, float)[w] for e, w in zip(evidence, wrong) if w.any()]
    right = [e.right[w] for e, w in zip(evidence, wrong) if w.any()]
    cases = [e.case for e, w in zip(evidence, wrong) if w.any()]
    finite = all(np.isfinite(c).all() for c in came)
    if not came or not finite:
        return
    largest = max(np.abs(c - r).max() for c, r in zip(came, right))
    scale = max(e.scale for e in evidence)
    if largest < PRECISION * scale:
        share = largest / scale
        yield f"the errors are small, at most {share:.1e} of the largest value: digits are lost"
        return
    ratios = [_constant_ratio(c, r) for c, r in zip(came, right)]
    differences = np.concatenate([c - r for c, r in zip(came, right)])
    if all(np.abs(c).max() <= 1e-12 * scale for c in came):
        yield "the wrong values are all zero"
    elif None not in ratios and np.ptp(ratios) <= 1e-8 * np.abs(ratios).max():
        yield f"the wrong values are {ratios[0]:.6g} times the expected ones"
    elif None not in ratios:
        told = [subject.told(case) for case in cases]
        each = "; ".join(f"{ratio:.6g} with {case}" for ratio, case in zip(ratios[:3], told))
        yield f"in each case the wrong values are the expected ones times a constant: {each}"
    elif differences.size > 1 and np.ptp(differences) <= 1e-9 * scale:
        yield f"the wrong values are off by the same amount, {differences[0]:+.6g}"
    else:
        flipped = np.concatenate([c + r for c, r in zip(came, right)])
        if np.abs(flipped).max() <= 1e-9 * scale:
            yield "the wrong values have the right size and the wrong sign"
        else:
            a, b = np.concatenate(came), np.concatenate(right)
            alike = (a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-300)
            yield (
                f"the largest error is {largest:.4g}, where values are up to {scale:.4g}; came and "
                f"expected point {'the same way' if alike > 0 else 'opposite ways'} "
                f"(cosine {alike:.2f})"
            )


def _constant_ratio(came: np.ndarray, right: np.ndarray) -> float | None:
    """came / right, if that is one number."""
    if came.size < 2 or not np.abs(right).max():
        return None
    ratio = (came * right).sum() / (right * right).sum()
    fits = np.abs(came - ratio * right).max() <= 1e-9 * np.abs(came).max(initial=1e-300)
    return float(ratio) if fits else None
