"""The exercises of the book: `check("06.2", my_function)` says whether an answer is right.

    >>> check("06.2", my_function)
    06.2: not right yet.
      x and y are exchanged

A wrong answer gets a diagnosis and a place, never the solution; a function that still raises
NotImplementedError is "not attempted yet". What is right is known to one module a chapter
(`ch06.py`), which is imported when one of its exercises is checked.
"""

from stn_numpy.exercises.registry import Verdict, check, names

__all__ = ["Verdict", "check", "names"]
