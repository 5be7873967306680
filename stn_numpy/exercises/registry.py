"""Which exercises there are, and how an answer becomes a verdict."""

import functools
import importlib
import pkgutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stn_numpy.verify import Report

RIGHT, WRONG, NOT_ATTEMPTED = "right", "not right yet", "not attempted yet"

# A judge takes an answer and returns None where it is right, or what is wrong in words, or a report
# of `verify`, which is one or the other.
Judge = Callable[[Callable], str | Report | None]


@dataclass(frozen=True)
class Verdict:
    """What `check` found. True if the answer is right.

    exercise: its name. state: "right", "not right yet" or "not attempted yet". words: what is
    wrong, "" where nothing is.
    """

    exercise: str
    state: str
    words: str = ""

    def __bool__(self) -> bool:
        return self.state == RIGHT

    def __repr__(self) -> str:
        lines = [f"  {line}".rstrip() for line in self.words.splitlines()]
        return "\n".join([f"{self.exercise}: {self.state}.", *lines])


@dataclass(frozen=True)
class Exercise:
    """An exercise: its judge, and wrong answers under words that the verdict on them contains."""

    name: str
    judge: Judge
    mistakes: dict[str, Callable]


_exercises: dict[str, Exercise] = {}


def exercise(
    name: str, mistakes: dict[str, Callable], others: dict[str, Callable] | None = None
) -> Callable[[Judge], Judge]:
    """Register the function below as the judge of an exercise.

    name: the chapter and a number, "06.2". mistakes: typical wrong answers, each under what is said
    of it; the judge may pass the same to the functions of `answers`. others: wrong answers that
    nobody foresaw, under a part of what is said. The tests hold `check` to both.
    """

    def register(judge: Judge) -> Judge:
        _exercises[name] = Exercise(name, judge, mistakes | (others or {}))
        return judge

    return register


def names(chapter: str | None = None) -> list[str]:
    """The names of all exercises, or of one chapter's: names("06")."""
    for module in pkgutil.iter_modules(importlib.import_module("stn_numpy.exercises").__path__):
        if module.name.startswith("ch") and chapter in (None, module.name.removeprefix("ch")):
            importlib.import_module(f"stn_numpy.exercises.{module.name}")
    return sorted(name for name in _exercises if chapter in (None, name.split(".")[0]))


def find(name: str) -> Exercise:
    """The exercise of that name. Raises ValueError, which names those there are."""
    chapter = name.split(".")[0] if isinstance(name, str) else ""
    known = names(chapter)
    if name not in known:
        wanted = ", ".join(known or names())
        raise ValueError(f"check: the exercise is {name!r}, want one of {wanted}")
    return _exercises[name]


def check(name: str, answer: Callable) -> Verdict:
    """Is this answer right, and if not, what is wrong with it?

    name: of the exercise, as printed above it. answer: the reader's function itself.
    Raises ValueError for a name that is not an exercise; whatever the answer does ends in the
    verdict. The same answer gets the same verdict every time.
    """
    exercise = find(name)
    if not callable(answer):
        words = (
            f"The answer is {type(answer).__name__}, want the function itself: its name, without "
            "parentheses behind it."
        )
        return Verdict(name, WRONG, words)
    watched = _Watched(answer)
    words: Any
    try:
        with np.errstate(all="ignore"):
            words = exercise.judge(watched.call)
    except Exception as error:
        if watched.raised is not error and not watched.stub:
            raise  # a mistake of ours, not of the reader
        words = _told(error)
    if watched.stub:
        return Verdict(name, NOT_ATTEMPTED)
    if isinstance(words, Report):
        words = "" if words else words.advice()
    return Verdict(name, WRONG if words else RIGHT, words or "")


class _Watched:
    """Calls an answer and remembers what it raised, also in a backward pass it returned."""

    def __init__(self, answer: Callable):
        self.stub = False
        self.raised: Exception | None = None
        self.call = self._watch(answer)

    def _watch(self, function: Callable) -> Callable:
        def call(*args, **options):
            try:
                result = function(*args, **options)
            except Exception as error:
                self.raised = error
                self.stub = self.stub or isinstance(error, NotImplementedError)
                raise
            if isinstance(result, tuple) and len(result) == 2 and callable(result[1]):
                return result[0], self._watch(result[1])
            return result

        return functools.update_wrapper(call, function)


def _told(error: Exception) -> str:
    """An exception in one sentence, with the line of the reader's code that raised it."""
    package = str(Path(__file__).parents[1])
    lines = [
        frame.line
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.line and not frame.filename.startswith(package)
    ]
    line = lines[-1] if lines else ""
    where = f" at: {line}" if line else ""
    return f"Calling it raises {type(error).__name__}: {error}{where}"
