"""Build the book: from each chapter's one text, the reader's notebook and the solved one.

    python book/build.py              all chapters
    python book/build.py 06 A         some chapters
    python book/build.py --check      only say which notebooks are behind their text

    book/source/ch06_bilinear.py      the text, the only file to edit
    book/06_bilinear.ipynb            the reader's notebook: solutions and hidden tests taken out
    book/solved/06_bilinear.ipynb     the solved one, which nbgrader reads as its source notebook

Both are run from a clean kernel. What comes out depends on the text alone: cell ids are made from
the text of the cell, no times, paths or versions are kept.

How a chapter is written
------------------------
The text is a Python script in the percent format, which Jupytext, VS Code, Spyder and PyCharm open
as a notebook: `# %% [markdown]` begins a cell of text, each line a comment, `# %%` a cell of code.
It has no magics, so it also runs as a script.

1. The head: `# # 6 Bilinear sampling (Eq. 5)`, a line in italics with the time it takes, what it
   needs and what it is about, and the question of the chapter in one or two sentences. Then one
   cell of imports. The links to the neighbours at the end come from CHAPTERS below.
2. Then, for each equation: a picture; a tiny case in numbers by hand; the equation with the paper's
   number, `\\tag{5}`; the literal loop, `reference.eq05_...`; the operation of the package; an
   `assert` whose message names "Eq. (5)" that proves they agree; the gradient check where there is
   a gradient. The step to theta has no number in the paper: it is `\\tag{theta}`, and "(theta)".
3. One idea a cell, a few plain sentences, the field's words. Every decimal number in the text is
   printed by a cell of the same chapter; tests look for it. Prints are rounded or exact: the tests
   run every cell again and compare.
4. A figure is the last expression of its cell, comes from `stn_numpy.plots` (or is drawn on a
   `plots.new_figure`), and has titles, axis labels, and `alt`, a sentence that says what it shows.
   Its text form is a digest of what is drawn, which the tests compare. Where dragging teaches,
   `plots.drag(draw, x=(low, high, start))`, with the same figure where nothing can be dragged.
5. An exercise is three cells. Text, beginning `**Exercise 06.2.**`; a function whose body stands
   between `### BEGIN SOLUTION` and `### END SOLUTION` (also where the answer is one number: then
   it returns it); and `check("06.2", the_function)`, alone in its cell. The build adds the hidden
   test and nbgrader's metadata. No later cell uses what a reader writes. What is right is known to
   `stn_numpy/exercises/ch06.py`.
6. Myths and errata stand where they belong, as a heading `### Myth: ...`, with the cell that
   refutes them.
"""

import argparse
import hashlib
import os
import re
import sys
from pathlib import Path

import nbformat

BOOK = Path(__file__).resolve().parent
SOURCE, SOLVED = BOOK / "source", BOOK / "solved"

# In the order of reading: the file name without its ending, and the title in links.
CHAPTERS = {
    "00_start_here": "0 Start here",
    "01_why_warp": "1 Why warp?",
    "02_affine": "2 Affine geometry",
    "03_mapping": "3 Forward and inverse mapping",
    "04_coordinates": "4 Coordinates",
    "05_kernels": "5 Kernels",
    "06_bilinear": "6 Bilinear sampling",
    "07_backward_image": "7 Backward I: the image",
    "08_backward_grid": "8 Backward II: the grid",
    "09_backward_theta": "9 Backward III: theta",
    "10_gradient_checking": "10 Gradient checking",
    "11_localisation": "11 The localisation net",
    "12_training": "12 Training a small ST-CNN on MNIST",
    "13_results": "13 The paper's table, and ours",
    "14_edges": "14 Edges and bug museum",
    "15_beyond_affine": "15 Beyond affine",
    "16_limits": "16 What STNs cannot do",
    "A_autograd": "A The autograd core",
    "B_convolution": "B Convolution and pooling backward",
    "C_notation": "C Notation and glossary",
    "D_instructors": "D For instructors",
}

STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
CHECK_CELL = re.compile(r'check\("(\w+\.\d+)", (\w+)\)')


class BookError(Exception):
    """A text that does not keep the rules above; the message names the file and the cell."""


def source_of(name: str) -> Path:
    return SOURCE / f"ch{name}.py"


def written_chapters() -> list[str]:
    """The names of the chapters that have a text, in the order of reading."""
    return [name for name in CHAPTERS if source_of(name).exists()]


# From the text to notebooks ---------------------------------------------------------------------


def read_percent(text: str) -> list[tuple[str, str]]:
    """The cells of a percent script: ("markdown" or "code", text)."""
    cells = []
    for block in re.split(r"^# %%", text, flags=re.M)[1:]:
        head, _, body = block.partition("\n")
        body = body.strip("\n")
        if head.strip() == "[markdown]":
            lines = body.splitlines()
            if any(not line.startswith("#") for line in lines):
                raise BookError(f"a line of text without '#' in the cell {lines[0]!r}")
            cells.append(("markdown", "\n".join(line[1:].removeprefix(" ") for line in lines)))
        elif not head.strip():
            cells.append(("code", body))
        else:
            raise BookError(f"a cell that begins '# %%{head}'; want '# %%' or '# %% [markdown]'")
    return cells


def solved_notebook(name: str) -> nbformat.NotebookNode:
    """The solved notebook of a chapter, not yet run, with all that nbgrader wants."""
    try:
        cells = read_percent(source_of(name).read_text(encoding="utf-8"))
        return _notebook([*map(_cell, _with_hidden_tests(cells)), _cell(("markdown", _foot(name)))])
    except BookError as error:
        raise BookError(f"{source_of(name).name}: {error}") from None


def reader_notebook(solved: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same without solutions and hidden tests, as nbgrader would hand it out."""
    reader = nbformat.from_dict(solved)
    for cell in reader.cells:
        if "nbgrader" in cell.metadata:
            cell.source = _without(cell.source, "HIDDEN TESTS", "")
            cell.source = _without(cell.source, "SOLUTION", STUB)
    return reader


def _with_hidden_tests(cells: list[tuple[str, str]]) -> list[tuple[str, str, dict]]:
    """Each exercise and its check get nbgrader's metadata, and the check its hidden test."""
    result: list[tuple[str, str, dict]] = []
    for kind, text in cells:
        metadata: dict = {}
        match = CHECK_CELL.fullmatch(text) if kind == "code" else None
        if match:
            exercise, function = match.groups()
            answer = result[-1] if result else ("", "", {})
            if "### BEGIN SOLUTION" not in answer[1] or f"def {function}(" not in answer[1]:
                raise BookError(f"{text}: the cell before it has no def {function} with a solution")
            answer[2]["nbgrader"] = _nbgrader(f"exercise-{exercise}", solution=True)
            metadata["nbgrader"] = _nbgrader(f"check-{exercise}", solution=False)
            text = (
                "### BEGIN HIDDEN TESTS\n"
                "from stn_numpy.exercises import check\n"
                f"verdict = {text}\n"
                "assert verdict, verdict\n"
                "### END HIDDEN TESTS\n"
                f"{text}"
            )
        elif kind == "code" and re.search(r"^\s*check\(", text, re.M):
            raise BookError(f'a cell with more than check("06.2", function) in it: {text!r}')
        result.append((kind, text, metadata))
    for _, text, metadata in result:
        if "### BEGIN SOLUTION" in text and "nbgrader" not in metadata:
            raise BookError(f"no check follows the exercise {text.splitlines()[0]!r}")
    return result


def _nbgrader(grade_id: str, solution: bool) -> dict:
    metadata = {
        "grade": not solution,
        "grade_id": grade_id.replace(".", "-"),
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    return metadata if solution else metadata | {"points": 1}


def _foot(name: str) -> str:
    """Links to the chapters before and after."""
    names = list(CHAPTERS)
    place = names.index(name)
    links = [
        f"{word}: [{CHAPTERS[names[other]]}]({names[other]}.ipynb)"
        for word, other in (("Before", place - 1), ("Next", place + 1))
        if 0 <= other < len(names)
    ]
    return "---\n" + " · ".join(links)


def _without(source: str, region: str, replacement: str) -> str:
    """The text with each region replaced, at the region's indentation."""
    lines, inside = [], False
    for line in source.split("\n"):
        if f"BEGIN {region}" in line:
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            lines += [indent + new for new in replacement.split("\n") if new]
        elif f"END {region}" in line:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


def _cell(parts: tuple) -> nbformat.NotebookNode:
    kind, text, *metadata = parts
    new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    return new(text, metadata=metadata[0] if metadata else {})


def _notebook(cells: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    """A notebook whose cell ids depend on the texts alone, and which names no machine."""
    seen: dict[str, int] = {}
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    notebook.nbformat_minor = 5
    return notebook


# Running ----------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """What a kernel needs to run a chapter as it is run here.

    This package, figures that stand, training that is quick and the same everywhere.
    """
    path = os.pathsep.join(filter(None, (str(BOOK.parent), os.environ.get("PYTHONPATH"))))
    return {
        "PYTHONPATH": path,
        "STN_NUMPY_STATIC": "1",
        "STN_NUMPY_QUICK": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run all cells in a clean kernel. Raises BookError where one fails or writes to stderr."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    metadata = nbformat.from_dict(notebook.metadata)
    os.environ.update(environment())
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(BOOK)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        text = re.sub(r"\x1b\[[\d;]*m", "", str(error))  # without colours
        raise BookError(text) from None
    notebook.metadata = metadata  # without the version of this Python
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = _joined(cell.outputs)
            for output in cell.outputs:
                if output.get("name") == "stderr":
                    raise BookError(f"a cell writes to stderr: {output.text}\n{cell.source}")
    return notebook


def _joined(outputs: list) -> list:
    """Prints that follow each other as one output, however the kernel happened to send them."""
    joined: list = []
    for output in outputs:
        same = joined and output.output_type == joined[-1].output_type == "stream"
        if same and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def build(name: str) -> None:
    """Write both notebooks of one chapter."""
    solved = solved_notebook(name)
    reader = reader_notebook(solved)
    SOLVED.mkdir(exist_ok=True)
    for notebook, path in ((solved, SOLVED / f"{name}.ipynb"), (reader, BOOK / f"{name}.ipynb")):
        text = nbformat.writes(run(notebook)) + "\n"
        new = path.with_suffix(".new")
        new.write_text(text, encoding="utf-8", newline="\n")
        os.replace(new, path)


def behind(name: str) -> list[str]:
    """What in a chapter's notebooks is not what its text says; nothing is run."""
    solved = solved_notebook(name)
    found = []
    for wanted, path in (
        (solved, SOLVED / f"{name}.ipynb"),
        (reader_notebook(solved), BOOK / f"{name}.ipynb"),
    ):
        shown = path.relative_to(BOOK.parent).as_posix()
        if not path.exists():
            found.append(f"{shown} does not exist")
            continue
        stored = nbformat.read(path, as_version=4)
        if stored.metadata != wanted.metadata:
            found.append(f"{shown}: other metadata")
        if [_kept(cell) for cell in stored.cells] != [_kept(cell) for cell in wanted.cells]:
            found.append(f"{shown}: other cells")
    return found


def _kept(cell: nbformat.NotebookNode) -> tuple:
    return cell.id, cell.cell_type, cell.source, cell.metadata


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the notebooks of the book.")
    parser.add_argument("chapters", nargs="*", help="numbers or letters, such as 06 A; default all")
    parser.add_argument("--check", action="store_true", help="run and write nothing, only compare")
    options = parser.parse_args(arguments)
    wanted = {chapter.zfill(2) if chapter.isdigit() else chapter for chapter in options.chapters}
    names = [n for n in written_chapters() if not wanted or n.split("_")[0] in wanted]
    if missing := wanted - {name.split("_")[0] for name in names}:
        parser.error(f"no text for {', '.join(sorted(missing))}")
    try:
        if options.check:
            lines = [line for name in names for line in behind(name)]
            print("\n".join(lines) or "all notebooks are as their texts say")
            return bool(lines)
        for name in names:
            print(name, flush=True)
            build(name)
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
