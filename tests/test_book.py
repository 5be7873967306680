"""The book keeps its promises: what it shows is what runs, what it claims is proven, and its
exercises can be handed out and graded.

The readers' notebooks are run by nbval (`python -m pytest` collects them, see book/conftest.py).
Here the solved ones are run, without a kernel, and all are read.
"""

import ast
import contextlib
import copy
import importlib.util
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from stn_numpy import exercises, notebook

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"

spec = importlib.util.spec_from_file_location("book_build", BOOK / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

CHAPTERS = build.written_chapters()
READERS = [BOOK / f"{name}.ipynb" for name in CHAPTERS]
SOLVED = [BOOK / "solved" / f"{name}.ipynb" for name in CHAPTERS]
each_chapter = pytest.mark.parametrize("name", CHAPTERS)
each_notebook = pytest.mark.parametrize(
    "path", READERS + SOLVED, ids=lambda path: path.relative_to(BOOK).as_posix()
)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def reader(name: str) -> nbformat.NotebookNode:
    return read(BOOK / f"{name}.ipynb")


def solved(name: str) -> nbformat.NotebookNode:
    return read(BOOK / "solved" / f"{name}.ipynb")


def code_cells(book) -> list:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def texts(cell) -> list[str]:
    """What a cell prints and shows, as text."""
    return [o["text"] if "text" in o else o["data"]["text/plain"] for o in cell.outputs]


# What a notebook must not have: each function returns what it finds, in words ---------------------


def bad_outputs(book) -> list[str]:
    """Cells that were not run, that show nothing where they should, errors and warnings."""
    found = []
    for count, cell in enumerate(code_cells(book), 1):
        shown = cell.source.splitlines()[0] if cell.source else "an empty cell"
        if cell.execution_count != count:
            found.append(f"not run in order: {shown}")
        if is_output_due(cell.source) and not cell.outputs:
            found.append(f"no output: {shown}")
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"an error: {shown}")
            elif output.get("name") == "stderr":
                found.append(f"a warning: {shown}")
    return found


def is_output_due(source: str) -> bool:
    """Whether a cell prints something, or ends in an expression."""
    body = ast.parse(source).body
    if body and isinstance(body[-1], ast.Expr):
        return True
    statements = [s for s in body if not isinstance(s, (ast.FunctionDef, ast.ClassDef))]
    return any(
        isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        for statement in statements
        for node in ast.walk(statement)
    )


MACHINE = re.compile(
    r"/(home|root|tmp|usr|Users|work)/|[A-Z]:\\|site-packages|ipykernel_|0x[0-9a-f]{6,}"
)


def machine_traces(book) -> list[str]:
    """Paths, addresses in memory and versions, which differ from machine to machine."""
    found = [] if dict(book.metadata.language_info) == {"name": "python"} else ["language_info"]
    for cell in book.cells:
        parts = [cell.source] if cell.cell_type == "markdown" else [cell.source, *texts(cell)]
        for part in [*parts, json.dumps(cell.metadata)]:
            found += [match[0] for match in MACHINE.finditer(part)]
            found += [str(path) for path in (ROOT, Path.home()) if str(path) in part]
    return found


def unproven_equations(book) -> list[str]:
    """Numbered equations without the literal loop, or without an assert that names them."""
    code = "\n".join(cell.source for cell in code_cells(book))
    messages = [
        ast.unparse(node.msg)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Assert) and node.msg is not None
    ]
    found = []
    for cell in book.cells:
        for tag in re.findall(r"\\tag\{(.*?)\}", cell.source) if cell.cell_type != "code" else ():
            loop = "grad_theta" if tag == "theta" else f"eq0{tag}_"
            wanted = "(theta)" if tag == "theta" else f"Eq. ({tag})"
            if f"reference.{loop}" not in code:
                found.append(f"({tag}): no reference.{loop}...")
            if not any(wanted in message for message in messages):
                found.append(f"({tag}): no assert whose message names {wanted}")
    return found


DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?!\.?\d)")


def unprinted_numbers(book) -> list[str]:
    """Decimal numbers in the text that no cell prints."""
    printed = [
        float(number)
        for cell in code_cells(book)
        for text in texts(cell)
        if not text.startswith("Figure:")
        for number in re.findall(r"\d+\.\d*(?:e[-+]\d+)?|\d+", text)
    ]
    found = []
    for cell in book.cells:
        if cell.cell_type != "markdown":
            continue
        prose = re.sub(r"\]\(.*?\)|Exercise \w+\.\d+|`[^`]*`", "", cell.source)
        for number in DECIMAL.findall(prose):
            half = 0.5001 * 10.0 ** -len(number.partition(".")[2])
            if not any(abs(value - float(number)) <= half for value in printed):
                found.append(number)
    return found


def silent_figures(book) -> list[str]:
    """Pictures without words for those who do not see them, or without a digest to compare."""
    found = []
    for cell in code_cells(book):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                if len(output.metadata.get("image/png", {}).get("alt", "")) < 20:
                    found.append(f"no alt text: {cell.source.splitlines()[-1]}")
                if "[drawn: " not in output["data"]["text/plain"]:
                    found.append(f"no digest: {cell.source.splitlines()[-1]}")
    return found


def dead_links(book) -> list[str]:
    """Links to files that are neither here nor a chapter of the book."""
    links = [link for cell in book.cells for link in re.findall(r"\]\(([^)#]+)", cell.source)]
    local = [link for link in links if not re.match(r"https://|\w+\(", link)]
    chapters = {f"{name}.ipynb" for name in build.CHAPTERS}
    return [link for link in local if link not in chapters and not (BOOK / link).exists()]


def run_on_lists(book) -> list[str]:
    """Lists with an item that begins in the middle of a line, so that it is shown as none."""
    return [
        match[0]
        for cell in book.cells
        if cell.cell_type == "markdown"
        for block in cell.source.split("\n\n")
        if re.match(r"1\. |- ", block)
        for match in re.finditer(r"[.!?] (\d+\.|-) .{,30}", block)
    ]


FAULTS = [
    bad_outputs,
    machine_traces,
    unproven_equations,
    unprinted_numbers,
    silent_figures,
    dead_links,
    run_on_lists,
]


@each_notebook
@pytest.mark.parametrize("faults", FAULTS, ids=lambda function: function.__name__)
def test_no_notebook_has(path, faults):
    assert faults(read(path)) == []


def test_there_are_chapters():
    assert CHAPTERS


# The faults are found where they are -------------------------------------------------------------


def healthy():
    """A small notebook without any fault."""
    code = nbformat.v4.new_code_cell
    output = nbformat.v4.new_output
    cells = [
        nbformat.v4.new_markdown_cell("About 2.5, see [5](05_kernels.ipynb). $$V \\tag{5}$$"),
        code("x = reference.eq05_bilinear_kernel(0)\nassert x == 1, 'Eq. (5): not so'"),
        code("print(2.5)", outputs=[output("stream", text="2.5\n")]),
        code(
            "figure",
            outputs=[
                output(
                    "execute_result",
                    data={"text/plain": "Figure: x [drawn: 012345678901]", "image/png": "iVBO"},
                    metadata={"image/png": {"alt": "Words that say the same as the figure."}},
                )
            ],
        ),
    ]
    book = build._notebook(cells)
    for count, cell in enumerate(code_cells(book), 1):
        cell.execution_count = count
    return book


def not_run(book):
    book.cells[2].execution_count = None


def without_output(book):
    book.cells[2].outputs = []


def with_error(book):
    book.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]


def with_warning(book):
    book.cells[2].outputs[0].name = "stderr"


def with_path(book):
    book.cells[2].outputs[0].text = "2.5 /home/me/file.py"


def with_version(book):
    book.metadata.language_info.version = "3.11.7"


def without_assert(book):
    book.cells[1].source = "x = reference.eq05_bilinear_kernel(0)"


def without_loop(book):
    book.cells[1].source = "x = 1\nassert x == 1, 'Eq. (5): not so'"


def another_number(book):
    book.cells[0].source = book.cells[0].source.replace("2.5", "2.75")


def without_alt(book):
    book.cells[3].outputs[0].metadata = {}


def without_digest(book):
    book.cells[3].outputs[0].data["text/plain"] = "<Figure size 640x480>"


def with_dead_link(book):
    book.cells[0].source = book.cells[0].source.replace("05_kernels", "05_kernel")


def with_run_on_list(book):
    book.cells[0].source = "1. Forwards. 2. Backwards.\n3. Again.\n\n" + book.cells[0].source


@pytest.mark.parametrize(
    "spoil, faults",
    [
        (not_run, bad_outputs),
        (without_output, bad_outputs),
        (with_error, bad_outputs),
        (with_warning, bad_outputs),
        (with_path, machine_traces),
        (with_version, machine_traces),
        (without_assert, unproven_equations),
        (without_loop, unproven_equations),
        (another_number, unprinted_numbers),
        (without_alt, silent_figures),
        (without_digest, silent_figures),
        (with_dead_link, dead_links),
        (with_run_on_list, run_on_lists),
    ],
)
def test_a_fault_is_found(spoil, faults):
    book = healthy()
    assert [found for find in FAULTS for found in find(book)] == []
    spoil(book)
    assert len(faults(book)) == 1


# One text, two notebooks -------------------------------------------------------------------------


@each_chapter
def test_the_notebooks_are_as_their_text_says(name):
    assert build.behind(name) == []


@each_chapter
def test_reader_and_solved_show_the_same_but_for_the_exercises(name):
    for mine, theirs in zip(code_cells(reader(name)), code_cells(solved(name)), strict=True):
        if "nbgrader" not in mine.metadata:
            assert (mine.source, texts(mine)) == (theirs.source, texts(theirs))


@each_chapter
def test_the_exercises_are_open_in_one_and_right_in_the_other(name):
    wanted = exercises.names(name.split("_")[0])
    for book, state in ((reader(name), "not attempted yet"), (solved(name), "right")):
        checks = [text for cell in code_cells(book) if is_check(cell) for text in texts(cell)]
        assert checks == [f"{exercise}: {state}." for exercise in wanted]


def is_check(cell) -> bool:
    return cell.metadata.get("nbgrader", {}).get("grade", False)


@each_chapter
def test_solutions_do_not_leak(name):
    for cell in code_cells(reader(name)):
        assert "SOLUTION" not in cell.source
        assert "HIDDEN" not in cell.source
        if cell.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source.endswith("# YOUR CODE HERE\n    raise NotImplementedError()")


@pytest.mark.parametrize(
    "text, message",
    [
        ('# %%\ncheck("06.1", f)', "no def f"),
        ("# %%\ndef f():\n    ### BEGIN SOLUTION\n    pass\n    ### END SOLUTION", "no check"),
        ('# %%\nx = 1\ncheck("06.1", f)', "more than check"),
        ("# %% [markdown]\nnot a comment", "without '#'"),
        ("# %% [md]\n# text", "want '# %%'"),
    ],
)
def test_a_text_that_does_not_keep_the_rules_is_refused(text, message, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SOURCE", tmp_path)
    (tmp_path / "ch06_bilinear.py").write_text(text)
    with pytest.raises(build.BookError, match=re.escape(message)):
        build.solved_notebook("06_bilinear")


def test_a_notebook_behind_its_text_is_noticed(tmp_path, monkeypatch):
    name = CHAPTERS[0]
    text = build.source_of(name).read_text(encoding="utf-8")
    monkeypatch.setattr(build, "SOURCE", tmp_path)
    build.source_of(name).write_text(text, encoding="utf-8")
    assert build.behind(name) == []
    build.source_of(name).write_text(text.replace("print(", "print( ", 1), encoding="utf-8")
    assert len(build.behind(name)) == 2


@each_chapter
def test_jupytext_reads_the_same_cells(name):
    jupytext = pytest.importorskip("jupytext", reason="of the extra 'book'")
    theirs = jupytext.read(build.source_of(name), fmt="py:percent")
    ours = build.read_percent(build.source_of(name).read_text(encoding="utf-8"))
    # But for blank lines at the ends of a cell, which a formatter puts before functions.
    theirs = [(cell.cell_type, cell.source.strip("\n")) for cell in theirs.cells]
    assert theirs == [(kind, source.strip("\n")) for kind, source in ours]


# The solved notebooks run ------------------------------------------------------------------------


@each_chapter
def test_the_solved_chapter_runs_offline_and_shows_what_is_stored(name, monkeypatch):
    """Without a kernel, without a network, every warning an error, every check right."""

    def refuse(*_, **__):
        raise OSError("a chapter opens a network connection")

    for function in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, function, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(notebook, "png", lambda figure: b"")  # nbval's run has them drawn
    monkeypatch.setenv("STN_NUMPY_STATIC", "1")
    monkeypatch.setenv("STN_NUMPY_QUICK", "1")
    book = solved(name)
    namespace = {"__name__": "__main__"}
    # One thread, as in the kernels: two wait for each other wherever the machine has other work.
    one_thread = threadpool_limits(limits=1, user_api="blas")
    with warnings.catch_warnings(), np.printoptions(), np.errstate(), one_thread:
        warnings.simplefilter("error")
        for cell in code_cells(book):
            assert shown_by(cell.source, namespace) == "".join(texts(cell)), cell.source


def shown_by(source: str, namespace: dict) -> str:
    """Run a cell as a notebook does: what it prints, then its last expression."""
    from IPython.lib.pretty import pretty

    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "cell", "exec"), namespace)
        value = (
            eval(compile(ast.Expression(last.value), "cell", "eval"), namespace) if last else None
        )
    if value is None:
        return printed.getvalue()
    if hasattr(value, "_repr_mimebundle_"):
        return printed.getvalue() + value._repr_mimebundle_()[0]["text/plain"]
    return printed.getvalue() + pretty(value)


def test_a_network_connection_is_refused(monkeypatch):
    """The guard of the test above does guard."""
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_, **__):
            raise OSError("a chapter opens a network connection")

        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        source = "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')"
        with pytest.raises(OSError, match="opens a network connection"):
            shown_by(source, {})


# nbgrader ----------------------------------------------------------------------------------------


@each_chapter
def test_hidden_tests_ask_the_package_and_not_a_check_of_the_student(name):
    for cell in solved(name).cells:
        if "### BEGIN HIDDEN TESTS" not in cell.source:
            continue
        hidden, _ = cell.source.split("### END HIDDEN TESTS")
        names = {node.id for node in ast.walk(ast.parse(hidden)) if isinstance(node, ast.Name)}
        student = dict.fromkeys(names, int) | {"check": lambda *_: True}
        with pytest.raises(AssertionError):
            exec(hidden, student)


@each_chapter
def test_the_readers_notebook_is_what_nbgrader_would_hand_out(name):
    preprocessors = pytest.importorskip("nbgrader.preprocessors", reason="of the extra 'book'")
    handed = copy.deepcopy(solved(name))
    for Preprocessor in (
        preprocessors.CheckCellMetadata,
        preprocessors.ClearSolutions,
        preprocessors.ClearHiddenTests,
    ):
        handed, _ = Preprocessor().preprocess(handed, {})
    assert [cell.source for cell in handed.cells] == [cell.source for cell in reader(name).cells]


def test_nbgrader_hands_out_and_grades_the_book(tmp_path, monkeypatch):
    """Full marks for the solved book, none for the book as it was handed out."""
    pytest.importorskip("nbgrader", reason="of the extra 'book'")
    # It calls other programs of its environment, which need not be on the path.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    source = tmp_path / "source" / "book"
    source.mkdir(parents=True)
    for path in SOLVED:
        shutil.copy(path, source)
    run_nbgrader("generate_assignment", "book", folder=tmp_path)
    released = tmp_path / "release" / "book"
    for student, folder in (("solved", source), ("untouched", released)):
        shutil.copytree(folder, tmp_path / "submitted" / student / "book")
    run_nbgrader("autograde", "book", folder=tmp_path)

    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
        scores = {s.student.id: s.score for s in gradebook.assignment_submissions("book")}
        most = gradebook.find_assignment("book").max_score
    assert most == sum(is_check(cell) for path in SOLVED for cell in code_cells(read(path)))
    assert scores == {"solved": most, "untouched": 0}


def run_nbgrader(*command: str, folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "nbgrader", *command],
        cwd=folder,
        env=os.environ | build.environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
