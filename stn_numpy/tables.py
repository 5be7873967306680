"""Tables as a notebook shows them: with formulas and links, and the same as plain text."""

from collections.abc import Iterable, Sequence
from typing import Any


class Table:
    """Rows of cells under the names of their columns.

    columns: the names. rows: as many cells each; what is no text is turned into one. A cell may
    hold Markdown: a `$formula$`, a [link](06_bilinear.ipynb). Raises ValueError for a row of
    another length.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self.columns = list(columns)
        self.rows = [[str(cell).replace("\n", " ") for cell in row] for row in rows]
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"Table: row {row} has {len(row)} cells, want {len(self.columns)}, one for "
                    f"each of {self.columns}"
                )

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [self.columns, [":--"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(_one_cell(cell) for cell in line)} |" for line in lines)

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines)]
        lines.insert(1, ["-" * width for width in widths])
        padded = ([cell.ljust(w) for cell, w in zip(line, widths)] for line in lines)
        return "\n".join("  ".join(line).rstrip() for line in padded)

    __repr__ = __str__

    def _repr_mimebundle_(self, **_) -> tuple[dict[str, str], dict[str, Any]]:
        return {"text/plain": str(self), "text/markdown": self.markdown()}, {}


def _one_cell(text: str) -> str:
    """A cell without what would end it."""
    return text.replace("|", "\\|")
