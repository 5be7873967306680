"""Check a derivation: write a backward pass, and be told whether and how it is wrong.

    from stn_numpy.verify import verify

    def my_affine_grid(dG, theta, size):          # dL/dtheta, derived on paper
        ...

    print(verify(my_affine_grid, against="affine_grid", form="backward"))

The verdict. A candidate is called on small cases, with a random gradient dy from above, and what
it returns is compared in every value with what is right: for an operation of the package with its
own backward pass, at the worst place also with finite differences, and for a function of the
reader's own with finite differences alone. The report names, for each input, the largest error,
where it is, what came and what was expected. A candidate that raises, returns the wrong kind of
thing, changes its arguments, is not deterministic or gives NaN is told so; it never takes the
checker down.

The diagnosis. For each operation there is a family of wrong backward passes (`mistakes`), each the
right one with one elementary mistake that can be switched on: x and y swapped, a factor missing,
the last write kept instead of the sum, Eq. (7) as printed. They compose. When a candidate is wrong
the search (`diagnosis`) looks for the smallest set of mistakes that reproduces all of the
candidate's numbers on all cases, to rounding; larger sets are not tried once one is found. If the
cases were the caller's own, the usual cases join as evidence, for they tell apart what a few can
not. Sets of one size that all fit are all named, as alternatives. If nothing fits, nothing is
named: then sentences say how the error depends on position and magnitude (`description`).

The files, in the order of a call:

    check.py        verify itself: run, compare, ask why
    subjects.py     what a candidate is held against; Case; finite differences
    library.py      the operations of the package, and the usual cases of each
    candidates.py   calling somebody else's function, and loading it from a file
    mistakes/       the wrong backward passes, and the words and chapters of their mistakes
    diagnosis.py    the search for mistakes that explain the numbers
    description.py  how an unexplained error depends on position and magnitude
    report.py       the result, as text, as HTML, as an exception
    kinks.py        the derivatives of the sampler on the lattice, where it has two
"""

from stn_numpy.verify.candidates import load_candidate
from stn_numpy.verify.check import verify
from stn_numpy.verify.kinks import Kink, KinkTable, kink_table
from stn_numpy.verify.report import Check, Finding, Report, VerificationError
from stn_numpy.verify.subjects import Case

__all__ = [
    "Case",
    "Check",
    "Finding",
    "Kink",
    "KinkTable",
    "Report",
    "VerificationError",
    "kink_table",
    "load_candidate",
    "verify",
]
