"""What `verify` found: for a terminal, for a notebook, for a test."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape


class VerificationError(AssertionError):
    """A candidate that is wrong; the message is the whole report."""


@dataclass(frozen=True)
class Finding:
    """One named reason why a candidate is wrong.

    name: the identifier, the same in every report. words: the same in plain words.
    chapter: where the book treats it. inputs: the arrays it explains, "output" the forward result.
    alternative: 0 if there is one explanation; 1, 2, ... where several explain the numbers equally
    well, and the findings of one number belong together.
    """

    name: str
    words: str
    chapter: str
    inputs: tuple[str, ...]
    alternative: int = 0


@dataclass(frozen=True)
class Check:
    """One array of the candidate, over all cases.

    error: the largest |came - expected|, and scale, the largest |expected| of that case; NaN and
    inf count as infinitely wrong. index, place, came, expected, differences: there; differences are
    the left and the right finite difference, None where there are none.
    wrong, values: how many are wrong, of how many. at_kinks: how many were taken for right because
    they lie between the two one-sided differences.
    """

    name: str
    right: bool
    error: float
    scale: float
    index: tuple[int, ...]
    place: str
    came: float
    expected: float
    differences: tuple[float, float] | None
    wrong: int
    values: int
    case: str
    at_kinks: int = 0


@dataclass(frozen=True)
class Report:
    """The verdict on a candidate; `bool(report)` is True if it is right.

    checks: one for each array that could be compared. diagnosis: the findings. description: where
    nothing known explains an error, sentences on how it depends on position and magnitude, by
    array. notes: what else a reader should know.
    """

    candidate: str
    against: str
    form: str
    cases: tuple[str, ...]
    checks: tuple[Check, ...]
    diagnosis: tuple[Finding, ...] = ()
    description: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        return not self.diagnosis and all(check.right for check in self.checks)

    @property
    def names(self) -> tuple[str, ...]:
        """The identifiers of the findings, each once."""
        return tuple(dict.fromkeys(finding.name for finding in self.diagnosis))

    def __bool__(self) -> bool:
        return self.right

    def raise_if_wrong(self) -> "Report":
        """The report itself, or VerificationError with all of it as the message."""
        if not self.right:
            raise VerificationError(str(self))
        return self

    def advice(self) -> str:
        """The diagnosis in words, without any number that was expected."""
        if self.right:
            return f"{self.candidate} is right on {_count(self.cases, 'case')}."
        lines = []
        for alternative, findings in _by_alternative(self.diagnosis):
            if alternative:
                lines.append("either:" if alternative == 1 else "or:")
            for f in findings:
                about = f"{', '.join(f.inputs)}: " if f.inputs else ""
                lines.append(f"{about}{f.words}. [{f.name}] Read {f.chapter}.")
        for name, sentences in self.description.items():
            lines.append(
                f"{name}: no mistake known here gives these numbers. {'; '.join(sentences)}."
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        verdict = "right" if self.right else "WRONG"
        lines = [
            f"{self.candidate} against {self.against}: {verdict} "
            f"({_count(self.cases, 'case')}, form {self.form})"
        ]
        if self.checks:
            lines += _aligned([_HEADER, *map(_cells, self.checks)])
        for check in self.checks:
            if not check.right and check.place:
                lines.append(f"  {check.name} {check.index}: {check.place}")
            if not check.right:
                lines.append(f"    in the case {check.case}")
        if not self.right:
            lines += ["", *self.advice().splitlines()]
        return "\n".join([*lines, *(f"Note: {note}." for note in self.notes)])

    def _repr_html_(self) -> str:
        colour = "#1b7837" if self.right else "#b2182b"
        verdict = "right" if self.right else "wrong"
        head = "".join(f"<th>{escape(cell)}</th>" for cell in _HEADER)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(check)) + "</tr>"
            for check in self.checks
        )
        places = "".join(
            f"<li>{escape(f'{c.name} {c.index}: {c.place}')} <i>({escape(c.case)})</i></li>"
            for c in self.checks
            if not c.right
        )
        advice = "".join(f"<li>{escape(line)}</li>" for line in self.advice().splitlines())
        notes = "".join(f"<li>{escape(note)}.</li>" for note in self.notes)
        return (
            f"<p><code>{escape(self.candidate)}</code> against "
            f"<code>{escape(self.against)}</code>: "
            f'<b style="color:{colour}">{verdict}</b> ({_count(self.cases, "case")})</p>'
            + (f"<table><tr>{head}</tr>{rows}</table>" if rows else "")
            + (f"<ul>{places}</ul>" if places else "")
            + ("" if self.right else f"<ul>{advice}</ul>")
            + (f"<ul>{notes}</ul>" if notes else "")
        )


_HEADER = ("", "", "largest error", "of", "at", "came", "expected", "left", "right difference")


def _cells(check: Check) -> tuple[str, ...]:
    left, right = check.differences or (None, None)
    if check.right:
        return (check.name, "ok", f"{check.error:.1e}", _number(check.scale), *[""] * 5)
    return (
        check.name,
        f"{check.wrong}/{check.values} wrong",
        f"{check.error:.4g}",
        _number(check.scale),
        str(check.index),
        _number(check.came),
        _number(check.expected),
        "" if left is None else _number(left),
        "" if right is None else _number(right),
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in rows
    ]


def _number(value: float) -> str:
    return f"{value:.6g}"


def _count(things: Sequence, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _by_alternative(findings: Sequence[Finding]) -> list[tuple[int, list[Finding]]]:
    """Findings in order, those of one alternative together; alternatives of each array apart."""
    groups: list[tuple[int, list[Finding]]] = []
    for finding in findings:
        if groups and groups[-1][0] == finding.alternative:
            groups[-1][1].append(finding)
        else:
            groups.append((finding.alternative, [finding]))
    return groups
