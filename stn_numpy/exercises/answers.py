"""What the judges of all chapters share: compare an answer without giving the right one away.

`mistakes` are everywhere wrong answers in the form a reader would write them, each under the words
that are said of it: {"x and y are exchanged.": lambda x, y: right(y, x)}. Words are said where an
answer gives what the mistake gives, everywhere.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

Mistakes = Mapping[str, Callable]


def number(
    answer: Callable, wanted: float, mistakes: Mistakes | None = None, tolerance: float = 1e-9
) -> str | None:
    """Judge a function without arguments that returns one number."""
    value = answer()
    if problem := unlike(value, np.float64(wanted)):
        return f"It returns {problem}; want one number."
    if abs(value - wanted) <= tolerance:
        return None
    for words, mistaken in (mistakes or {}).items():
        if abs(value - mistaken()) <= tolerance:
            return words
    return f"It is not {_short(value)}."


def array(
    answer: Callable, wanted: Any, mistakes: Mistakes | None = None, tolerance: float = 1e-9
) -> str | None:
    """Judge a function without arguments that returns one array, or nested lists of numbers."""
    known = {
        words: (lambda mistaken=mistaken: as_array(mistaken()))
        for words, mistaken in (mistakes or {}).items()
    }
    right = as_array(wanted)
    return function(lambda: as_array(answer()), lambda: right, [()], known, tolerance)


def function(
    answer: Callable,
    right: Callable,
    cases: Iterable[tuple],
    mistakes: Mistakes | None = None,
    tolerance: float = 1e-9,
) -> str | None:
    """Judge a function by the values it gives: answer(*case) against right(*case) for all cases.

    Values are numbers or arrays; right has the arguments under the names that the reader knows. Of
    an unknown mistake the first wrong value is named, with its case, not the right value.
    """
    cases, values, failed = list(cases), [], ""
    for case in cases:
        own = [np.copy(a) if isinstance(a, np.ndarray) else a for a in case]
        value, wanted = answer(*own), right(*case)
        if isinstance(value, list):  # of numbers, it is as good as the array
            value = as_array(value)
        if problem := unlike(value, wanted):
            what = "one number" if np.ndim(wanted) == 0 else f"an array of {np.shape(wanted)}"
            return f"{_told(right, case)}it returns {problem}; want {what}."
        for before, after in zip(case, own):
            if isinstance(before, np.ndarray) and not np.array_equal(before, after, equal_nan=True):
                return "It changes its argument in place; work on a copy."
        values.append(value)
        wrong = np.atleast_1d(~np.isclose(value, wanted, rtol=tolerance, atol=tolerance))
        if wrong.any() and not failed:
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            place = f" at index {index}" if np.ndim(value) else ""
            shown = _short(np.atleast_1d(value)[index])
            failed = f"{_told(right, case)}it gives {shown}{place}, which is not right."
    if not failed:
        return None
    for words, mistaken in (mistakes or {}).items():
        theirs = [mistaken(*case) for case in cases]
        if all(
            np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=tolerance, atol=tolerance)
            for a, b in zip(values, theirs)
        ):
            return words
    return failed


def labels(
    answer: Callable,
    right: Mapping[str, str],
    words: Iterable[str],
    looks: Callable[[str], str],
) -> str | None:
    """Judge a function without arguments that says, in a dict, which is which.

    right: the word of each letter. words: those to choose from. looks: of a word, how it would
    show, such as "the first column would be empty".
    """
    found, words = answer(), list(words)
    if not isinstance(found, dict):
        return f"It returns {type(found).__name__}; want a dict."
    for letter, word in right.items():
        if letter not in found:
            return f"In the dict, it has no {letter!r}."
        said = found[letter]
        if not isinstance(said, str) or said not in words:
            return f"{letter}: {said!r} is none of the words {', '.join(words)}."
        if said != word:
            return f"{letter}: with {said!r} {looks(said)}."
    return None


def as_array(value: Any) -> Any:
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        return value


def unlike(value: Any, wanted: Any) -> str:
    """What came, in words, where it is not of the kind and shape of what is wanted; "" if it is."""
    if value is None:
        return "nothing"
    if not isinstance(value, (bool, int, float, np.ndarray, np.generic)):
        return f"{type(value).__name__}"
    if np.asarray(value).dtype.kind not in "biuf":
        return f"an array of dtype {np.asarray(value).dtype}"
    if np.shape(value) != np.shape(wanted):
        return f"an array of {np.shape(value)}" if np.ndim(value) else "one number"
    return ""


def _told(right: Callable, case: tuple) -> str:
    """The arguments of a call, briefly: "For U of shape (4, 4), x = 2.25: "."""
    if not case:
        return "Here "
    names = list(inspect.signature(right).parameters)
    told = [
        f"{name} of shape {a.shape}"
        if isinstance(a, np.ndarray) and a.ndim
        else f"{name} = {_short(a)}"
        for name, a in zip(names, case)
    ]
    return f"For {', '.join(told)} "


def _short(value: Any) -> str:
    if isinstance(value, (float, np.number)):
        return f"{value:.6g}"
    return repr(value)
