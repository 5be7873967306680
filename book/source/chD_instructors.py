# %% [markdown]
# # D For instructors
#
# *About 40 minutes. Needs a glance at chapters 0 and 6. Holds what you need to teach from this
# book: how long it takes, three paths through it, handing out and grading, what each exercise
# finds out, variants with other numbers, and evidence that the checks bite.*
#
# **The question.** You have ninety minutes, or a week, or three. What do you teach, how is it
# handed out and graded, and how do you know that a green check means that somebody understood?

# %%
import ast
import contextlib
import functools
import io
import json
import re
import traceback
from pathlib import Path
from unittest import mock

import numpy as np

import stn_numpy
from stn_numpy import (
    autograd,
    exercises,
    functional,
    op,
    plots,
    reference,
    training,
    transforms,
)
from stn_numpy.exercises import answers, chD, check, registry
from stn_numpy.tables import Table

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])

# %% [markdown]
# Every table of this chapter is made from the notebooks that lie beside it, so it is true of the
# book as you have it. (This chapter leaves itself out.)

# %%
BOOK = Path(stn_numpy.__file__).parents[1] / "book"


@functools.cache
def cells_of(path):
    """The cells of a notebook: (kind, source, metadata, outputs)."""
    return [
        (cell["cell_type"], "".join(cell["source"]), cell["metadata"], cell.get("outputs", []))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]


def sources(chapter, kind, folder=BOOK):
    """The texts, or the code, of all cells of a chapter."""
    return [source for k, source, *_ in cells_of(folder / CHAPTERS[chapter]) if k == kind]


CHAPTERS = {path.name.split("_")[0]: path.name for path in sorted(BOOK.glob("*_*.ipynb"))}
CHAPTERS.pop("D", None)


def title(chapter):
    """The title of a chapter, with a link to it."""
    return f"[{sources(chapter, 'markdown')[0].splitlines()[0][2:]}]" + f"({CHAPTERS[chapter]})"


def figures(chapter):
    """How many figures a chapter shows."""
    outputs = [o for *_, some in cells_of(BOOK / CHAPTERS[chapter]) for o in some]
    return sum("image/png" in output.get("data", {}) for output in outputs)


Table(
    ["chapter", "equations", "figures", "asserts", "exercises"],
    [
        (
            title(chapter),
            " ".join(f"({tag})" for tag in re.findall(r"\\tag\{(.*?)\}", text)),
            figures(chapter),
            sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code))),
            len(exercises.names(chapter)),
        )
        for chapter in CHAPTERS
        for text in ["\n".join(sources(chapter, "markdown"))]
        for code in ["\n".join(sources(chapter, "code"))]
    ],
)

# %% [markdown]
# ## How long it takes
#
# **These minutes are estimates, not measurements.** Nobody has been timed. They follow from the
# four rates in this cell, which are assumptions: change them to what you know of your students,
# and run the chapter again. What a chapter says in its first line is its author's guess.

# %%
WORDS_A_MINUTE = 120  # slow reading, with formulas
MINUTES_A_CELL, MINUTES_A_FIGURE = 0.5, 1
MINUTES_AN_EXERCISE = 10


def minutes(chapter):
    """Estimated minutes to read a chapter, and to do its exercises, to 5 minutes."""
    words = sum(len(re.findall(r"\w+", text)) for text in sources(chapter, "markdown"))
    reading = words / WORDS_A_MINUTE + MINUTES_A_CELL * len(sources(chapter, "code"))
    reading += MINUTES_A_FIGURE * figures(chapter)
    return 5 * round(reading / 5), MINUTES_AN_EXERCISE * len(exercises.names(chapter))


MINUTES = {chapter: minutes(chapter) for chapter in CHAPTERS}


def first_line(chapter):
    """The minutes that the chapter itself names in its head."""
    return int(re.search(r"About (\d+)\s+minutes", sources(chapter, "markdown")[0])[1])


plots.stacked_figure(
    {chapter.lstrip("0") or "0": MINUTES[chapter] for chapter in CHAPTERS},
    ("reading", "exercises"),
    title="Estimated minutes a chapter",
    xlabel="minutes (estimated)",
    ylabel="chapter",
    alt="A bar for each chapter, of the estimated minutes for reading and, hatched, for exercises.",
)

# %% [markdown]
# How long the machine takes *is* measured: whole seconds to run all cells of the reader's notebook,
# with the start of its kernel and all figures drawn, on one core of a machine of two; chapter 12
# without MNIST, which it would train on for minutes. The dictionary holds what came out once; it is
# not measured again when this chapter is run. Measure yours with `time jupyter execute
# book/06_bilinear.ipynb`.

# %%
# fmt: off
SECONDS = {
    "00": 6, "01": 11, "02": 7, "03": 7, "04": 6, "05": 8, "06": 6, "07": 7, "08": 9, "09": 7,
    "10": 9, "11": 7, "12": 49, "13": 16, "14": 12, "15": 18, "16": 9, "A": 5, "B": 10, "C": 5,
}
# fmt: on
assert max(SECONDS.values()) < 60
Table(
    ["chapter", "reading", "exercises", "both", "its own first line", "seconds to run"],
    [
        (
            title(chapter),
            *MINUTES[chapter],
            sum(MINUTES[chapter]),
            first_line(chapter),
            SECONDS.get(chapter, "not measured"),
        )
        for chapter in CHAPTERS
    ],
)

# %% [markdown]
# ## Three paths
#
# **Ninety minutes.** One lecture, one example: the pixel $(1, 1)$ and its companion $(2, 0)$,
# from $\theta$ to $V$ and back. Show the cells, run them, and let the room calculate before you
# do. Nobody writes code.

# %%
LECTURE = [
    (10, "00", "the three parts; drag the grid; why does the picture turn the other way?"),
    (15, "02", "Eq. (1) by hand: where are (1, 1) and (2, 0) read?"),
    (15, "06", "Eq. (5) by hand: four pixels, four weights, and V at both points"),
    (10, "07", "Eq. (6): what does a pixel receive? The same four weights, backwards"),
    (15, "08", "Eq. (7): the slopes at both points; what happens on a whole pixel"),
    (15, "09", "the step that is not printed; the whole chain; one step of descent"),
    (10, "10", "a wrong derivation, and what verify says of it"),
]
assert sum(minutes for minutes, *_ in LECTURE) == 90
start = 0
rows = []
for length, chapter, words in LECTURE:
    rows.append((f"{start} to {start + length}", chapter.lstrip("0") or "0", words))
    start += length
Table(["minute", "chapter", "what"], rows)

# %% [markdown]
# **One week** is five afternoons, for people who know NumPy: every equation, forwards and back.
# **Three weeks** are fifteen sessions of one lecture and one exercise class: all about the
# transformer itself, with the autograd core and convolution beneath it, and then training. What is
# left, chapters 13 to 16, is for a fourth week or for projects. The minutes below are the sums of
# the estimates above.

# %%
WEEK = {
    "Monday: read an image somewhere else": ["00", "02"],
    "Tuesday: coordinates and kernels": ["04", "05"],
    "Wednesday: bilinear, and the way back": ["06", "07"],
    "Thursday: the slope of a point": ["08"],
    "Friday: theta, and the proof": ["09", "10"],
}
THREE_WEEKS = {
    "week 1: where to read": ["00", "01", "02", "03", "04"],
    "week 2: reading, and the way back": ["05", "06", "07", "08"],
    "week 3: learning": ["09", "10", "11", "A", "B", "12"],
    "as far as time goes": ["13", "14", "15", "16"],
}
assert {*CHAPTERS} - {c for chapters in THREE_WEEKS.values() for c in chapters} == {"C"}


def path_table(path):
    return Table(
        ["when", "chapters", "minutes of reading", "minutes of exercises"],
        [
            (when, ", ".join(c.lstrip("0") or "0" for c in chapters), *total)
            for when, chapters in path.items()
            for total in [np.sum([MINUTES.get(c, (0, 0)) for c in chapters], axis=0).tolist()]
        ],
    )


path_table(WEEK)

# %%
path_table(THREE_WEEKS)

# %%
read_and_done = np.sum(list(MINUTES.values()), axis=0)
print("all chapters, estimated hours of reading:", round(read_and_done[0] / 60))
print("and of exercises:", round(read_and_done[1] / 60))

# %% [markdown]
# Appendix C is for looking things up on any of these paths.
#
# ## Handing out and grading with nbgrader
#
# Each chapter is there twice. `book/06_bilinear.ipynb` is the reader's: the exercises are open.
# `book/solved/06_bilinear.ipynb` is the source: with solutions, between the usual marks, and a
# hidden test in every cell with a `check`.
# [nbgrader](https://nbgrader.readthedocs.io) reads it as it is. Step by step, in a shell, with the
# repository in `stn_numpy/`:
#
# ```sh
# # 1. Once, for you, for the graders, and without the extra for the students.
# pip install -e "stn_numpy[book]"
#
# # 2. A course is a folder; an assignment is a folder of solved notebooks in source/.
# mkdir -p course/source/week1 && cd course
# cp ../stn_numpy/book/solved/0[0-4]_*.ipynb source/week1/
#
# # 3. Take out solutions, hidden tests and outputs. Hand out what is in release/week1/.
# nbgrader generate_assignment week1
#
# # 4. Collect: one folder for each student.
# mkdir -p submitted/ada/week1
# cp ../from_ada/*.ipynb submitted/ada/week1/
#
# # 5. Grade: every notebook is run again, with the hidden tests put back. One point an exercise.
# nbgrader autograde week1
#
# # 6. Give back what every check said, and take the points as a table.
# nbgrader generate_feedback week1
# nbgrader export --to grades.csv
# ```
#
# What is graded is what `check` says, by the package *you* have installed: nothing that a student
# changes in a cell with a check, or in an output, counts, nor another `check` of their own. An
# exercise that nobody touched gives no point and no error; the notebook runs on behind it. Other
# points: the number at the check's cell, in nbgrader's *Create Assignment* view of the source.
#
# Without nbgrader, the outputs of a notebook that has come back say the same, unless somebody
# has edited them:


# %%
def score(path):
    """How many checks of a notebook say "right", and how many there are."""
    graded = [o for *_, metadata, o in cells_of(path) if metadata.get("nbgrader", {}).get("grade")]
    said = [str(o.get("data", {}).get("text/plain")) for outputs in graded for o in outputs]
    return sum(": right." in text for text in said), len(graded)


for name, folder in (("solved", BOOK / "solved"), ("as handed out", BOOK)):
    right, there = np.sum([score(folder / name) for name in CHAPTERS.values()], axis=0)
    print(f"{name}: {right} right of {there}")
    assert right == (there if name == "solved" else 0)

# %% [markdown]
# Nothing of this needs a network. The digits come with the package, and so do all checks. But mind
# that the solved book lies in a public repository. The exercises are for learning; for marks that
# count, examine with a variant, as below.
#
# ## What each exercise finds out
#
# For every exercise the package knows wrong answers, written the way a learner would write them,
# each under words that the verdict on it contains. This is the table of them. A name in brackets
# is one of `verify`, whose verdict explains it and names the chapter to read. (Left out is what any
# exercise may say, of a wrong shape, say.) No verdict contains the solution.


# %%
def questions(chapter):
    """For each exercise of a chapter, the first line of what its function is asked for."""
    found = {}
    for kind, source, metadata, _ in cells_of(BOOK / CHAPTERS[chapter]):
        if kind == "code" and metadata.get("nbgrader", {}).get("solution"):
            name = metadata["nbgrader"]["grade_id"].removeprefix("exercise-").replace("-", ".")
            found[name] = ast.get_docstring(ast.parse(source).body[-1]).splitlines()[0]
    return found


GENERIC = ("is not right", "nothing", "want ", "It is not", "raises ", "index (")


def shown(words):
    """What a verdict says: a sentence, a name of verify, or a part of a sentence."""
    whole = words.startswith("[") or words.endswith((".", "?"))
    return words if whole else f"... {words.strip(' :')} ..."


def of_any(words):
    """Whether these are words that any exercise may say."""
    return any(part in words for part in GENERIC) and not words.endswith(".")


QUESTIONS = {name: text for chapter in CHAPTERS for name, text in questions(chapter).items()}
Table(
    ["exercise", "asks for", "what it tells apart"],
    [
        (name, text, " · ".join(shown(words) for words in found if not of_any(words)))
        for name, text in QUESTIONS.items()
        for found in [registry.find(name).mistakes]
    ],
)

# %%
print("exercises:", len(QUESTIONS))
print("wrong answers:", sum(len(registry.find(name).mistakes) for name in QUESTIONS))

# %% [markdown]
# The tests of the repository hand in all of them, and nonsense of every kind besides. Here those of
# three chapters are handed in, and `check` has to refuse each and say so:

# %%
for chapter in ("06", "07", "B"):
    for name in exercises.names(chapter):
        mistakes = registry.find(name).mistakes
        for words, wrong in mistakes.items():
            verdict = check(name, wrong)
            assert not verdict, f"{name}: a wrong answer passes"
            assert words in verdict.words, f"{name}: this is said of another mistake: {verdict}"
        print(f"{name}: {len(mistakes)} wrong answers, all refused for the right reason")

# %% [markdown]
# ## What the worked example hides
#
# The paper-and-pencil example reads the pixel $(1, 1)$ at $(2.5, 2.5)$. That is easy to calculate,
# and it forgives: whoever exchanges $x$ and $y$ gets the same number. Nine ways to get $V$ wrong,
# and what each gives at both points:

# %%
points = {"(1, 1)": (1, 1), "(2, 0)": (2, 0)}
Table(
    ["number", "mistake", *(f"V at {name}" for name in points)],
    [
        (k, words, *(f"{mistake(U, theta, target):g}" for target in points.values()))
        for k, (words, mistake) in enumerate(chD.MISTAKES.items())
    ],
)

# %%
for name, target in points.items():
    x, y = chD.source(theta, target)
    print(f"{name} is read at ({x}, {y}): V = {chD.read(U, x, y)}")
    print("   hidden there:", "; ".join(chD.hidden(U, theta, target)) or "nothing")
assert not chD.hidden(U, theta, (2, 0))

# %% [markdown]
# So use $(1, 1)$ to explain and $(2, 0)$ to examine.
#
# ## A variant with other numbers
#
# For a second group, or an exam, take another $U$ and another $\theta$. A good one has short
# binary fractions, so that everything is exact on paper; a grid that one can draw; a point inside,
# off the lattice, and not in the middle between two pixels; a target whose $x^t$, $y^t$ and 1
# differ, so that no column of $\partial V / \partial \theta$ is like another; and it hides none of
# the nine mistakes, and no two of them give the same number. All this is tested, so a seed is all
# you need.


# %%
def variant(seed):
    """U, theta, and a pixel of the output at which nothing stays hidden."""
    rng = np.random.default_rng(seed)
    while True:
        U = rng.integers(0, 10, (4, 4)).astype(float)
        theta = rng.integers((-4, -4, 0), (5, 5, 13), (2, 3)) / 4
        target = [(2, 3), (3, 2)][rng.integers(2)]
        x, y = chD.source(theta, target)
        inside = 0 < x < 3 and 0 < y < 3 and not chD.on_lattice(theta, target)
        wide = abs(np.linalg.det(theta[:, :2])) >= 0.25  # the grid is no thin line
        halves = 0.5 in (x % 1, y % 1)
        if not inside or not wide or halves or chD.hidden(U, theta, target):
            continue
        told = {round(float(m(U, theta, target)), 9) for m in chD.MISTAKES.values()}
        if len(told) == len(chD.MISTAKES):  # no two mistakes give the same number
            return U, theta, target


def answer_key(U, theta, target):
    """Everything that chapters 2 to 9 derive, for one pixel, by the loops of reference.py."""
    x_t, y_t = (np.array([float(number)]) for number in target)
    x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
    at = U[None], x_s, y_s
    V = reference.eq03_sample(*at, reference.eq05_bilinear_kernel)[0, 0]
    dV_dU = reference.eq06_grad_U(*at)[0]
    dx, dy = reference.eq07_grad_xs(*at)[0], reference.eq07_grad_ys(*at)[0]
    return {
        "read at": (float(x_s[0]), float(y_s[0])),
        "V": float(V),
        "dV/dU, not 0": [float(weight) for weight in dV_dU[dV_dU > 0]],
        "dV/dx, dV/dy": (float(dx[0]), float(dy[0])),
        "dV/dtheta": reference.grad_theta(dx, dy, x_t, y_t).tolist(),
    }


U_2, theta_2, target_2 = variant(1)
print("U =", U_2.astype(int).tolist())
print("theta =", theta_2.tolist())
print("the pixel of the output:", target_2)
for question, number in answer_key(U_2, theta_2, target_2).items():
    print(f"   {question}: {number}")

# %%
x_t, y_t = np.meshgrid(np.arange(4.0), np.arange(4.0))
x_s, y_s = theta_2 @ np.stack([x_t.ravel(), y_t.ravel(), np.ones(16)])
plots.sampling_figure(
    U_2,
    x_s.reshape(4, 4),
    y_s.reshape(4, 4),
    target=target_2,
    title="A variant: for the board, or for the exam sheet",
    alt="The output of 4 x 4 pixels and another image of 4 x 4, with the points of another theta "
    "on it; an arrow leads from one pixel of the output to the point it is read at.",
)

# %% [markdown]
# To have it checked, put a judge into a file `stn_numpy/exercises/chX.py`. The nine mistakes serve
# again, as diagnoses; `check("X.1", answer)` finds the file by its name. This is what it says:

# %%
x, y = chD.source(theta_2, target_2)
wrong = {
    f"{words.capitalize()}.": functools.partial(mistake, U_2, theta_2, target_2)
    for words, mistake in chD.MISTAKES.items()
}


def judge(answer):
    """In chX.py, above it: @exercise("X.1", wrong)."""
    return answers.number(answer, chD.read(U_2, x, y), wrong)


print(judge(lambda: chD.read(U_2, x, y)))
print(judge(lambda: chD.read(U_2, y, x)))
print(judge(lambda: 0.5))

# %% [markdown]
# Whole chapters with other numbers: change `U` and `theta` at the top of the text in
# `book/source/`, mend the numbers in the prose, `python book/build.py 06`, and
# `python -m pytest tests/test_book.py` names every number in the text that no cell prints.
#
# ## Do the checks bite?
#
# A book full of asserts proves something only if they fail where something is wrong. So here
# mistakes are planted into *the package*, one at a time, and the code of a chapter is run. It has
# to stop. (That it does not stop without a mistake is what `python -m pytest` shows, every time.
# Chapter 12, which trains for minutes, and appendix C, a list of words, are left out.)


# %%
def planted(name, arguments=None, output=None, gradients=None):
    """An operation of stn_numpy.functional with a mistake in one of these three.

    Each is a function that makes the wrong from the right: of the arguments, of the output, of
    the list of gradients, where it also gets dy and the arguments.
    """
    right = getattr(functional, name).__wrapped__

    def wrong(*args, **options):
        y, back = right(*(arguments(*args) if arguments else args), **options)

        def backward(dy, needs):
            takes_needs = "needs" in back.__code__.co_varnames[: back.__code__.co_argcount]
            dx = back(dy, needs) if takes_needs else back(dy)
            dx = list(dx) if isinstance(dx, tuple) else [dx]
            return tuple(gradients(dx, dy, args) if gradients else dx)

        return (output(y) if output else y), backward

    return mock.patch.object(functional, name, op(functools.wraps(right)(wrong)))


def replaced(d, k, change):
    """The gradients, with one of them changed if there is one."""
    return [change(g) if i == k and g is not None else g for i, g in enumerate(d)]


def as_printed_in_eq_6(d, dV, args):
    return replaced(d, 0, lambda dU: dV.sum(axis=(2, 3), keepdims=True) + np.zeros_like(dU))


def without_unit_factor(d, dV, args):
    H, W = args[0].shape[2:]
    return replaced(d, 1, lambda dG: dG / np.array([W / 2, H / 2], dG.dtype))


def without_flip(d, dy, args, conv2d=functional.conv2d.__wrapped__):
    x, weight, *bias = args
    _, back = conv2d(x, weight[..., ::-1, ::-1].copy(), *bias)
    return [back(dy, [True, False, False])[0], *d[1:]] if d[0].shape == x.shape else d


def halves_down(self, d):
    return ((d > -0.5) & (d <= 0.5)).astype(d.dtype)


@functools.wraps(reference.pixels_per_unit)
def exchanged_units(size, align_corners=False, right=reference.pixels_per_unit):
    return right(size, not align_corners)


def plain_interval(mistakes, n):
    p = mistakes / n
    return p - 1.96 * np.sqrt(p * (1 - p) / n), p + 1.96 * np.sqrt(p * (1 - p) / n)


def slope_kept(x, per_g, *rest, right=functional.sampler._move):
    x, slope = right(x, per_g, *rest)
    return x, np.where(slope == 0, per_g, slope)


def constant_denominator(d, dG, args):
    return replaced(d, 0, lambda dtheta: dtheta * (np.arange(8) < 6))


def last_one_only(leaf, gradient):
    leaf.grad = gradient.copy()


# %%
MUTANTS = [
    (
        "00",
        "the grid read as (y, x)",
        planted("grid_sample", arguments=lambda U, G, *rest: (U, G[..., ::-1], *rest)),
    ),
    (
        "01",
        "max-pooling takes the smallest",
        planted("max_pool2d", arguments=lambda x, *rest: (-x, *rest), output=np.negative),
    ),
    (
        "02",
        "the grid with y upwards",
        planted("affine_grid", output=lambda G: G * np.array([1, -1], G.dtype)),
    ),
    (
        "03",
        "the grid with y upwards",
        planted("affine_grid", output=lambda G: G * np.array([1, -1], G.dtype)),
    ),
    (
        "04",
        "size / 2 and (size - 1) / 2 exchanged",
        mock.patch.object(reference, "pixels_per_unit", exchanged_units),
    ),
    (
        "05",
        "the nearest kernel rounds halves down",
        mock.patch.object(functional.kernels.Nearest, "weights", halves_down),
    ),
    (
        "06",
        "left and right of each image exchanged",
        planted("grid_sample", arguments=lambda U, G, *rest: (U[..., ::-1], G, *rest)),
    ),
    ("07", "dL/dU as printed in Eq. (6)", planted("grid_sample", gradients=as_printed_in_eq_6)),
    ("08", "the factor W / 2 forgotten", planted("grid_sample", gradients=without_unit_factor)),
    (
        "08",
        "dL/dG stored as (dy, dx)",
        planted(
            "grid_sample",
            gradients=lambda d, *_: replaced(d, 1, lambda dG: dG[..., ::-1]),
        ),
    ),
    (
        "09",
        "the rows of dL/dtheta exchanged",
        planted("affine_grid", gradients=lambda d, *_: [d[0][:, ::-1]]),
    ),
    (
        "09",
        "the mean over the points, not the sum",
        planted("affine_grid", gradients=lambda d, dG, _: [d[0] / dG[0, ..., 0].size]),
    ),
    (
        "10",
        "dL/dG with the wrong sign",
        planted("grid_sample", gradients=lambda d, *_: replaced(d, 1, np.negative)),
    ),
    (
        "11",
        "a fresh transformer starts at theta = 0",
        mock.patch.object(transforms.Affine, "identity", lambda self: np.zeros(6, np.float32)),
    ),
    (
        "13",
        "the plain (Wald) interval in place of Wilson's",
        mock.patch.object(training, "wilson", plain_interval),
    ),
    (
        "14",
        "a point moved to the border keeps its slope",
        mock.patch.object(functional.sampler, "_move", slope_kept),
    ),
    (
        "15",
        "the denominator of the projective map taken to be constant",
        planted("projective_grid", gradients=constant_denominator),
    ),
    (
        "16",
        "the grid with y upwards",
        planted("affine_grid", output=lambda G: G * np.array([1, -1], G.dtype)),
    ),
    (
        "A",
        "a leaf keeps the last gradient, not the sum",
        mock.patch.object(autograd, "_add_to_leaf", last_one_only),
    ),
    ("B", "dL/dx of a convolution without the flip", planted("conv2d", gradients=without_flip)),
    (
        "B",
        "max-pooling gives the gradient to the last of equals",
        planted(
            "max_pool2d",
            arguments=lambda x, *rest: (x + 1e-9 * np.arange(x.size).reshape(x.shape), *rest),
        ),
    ),
]


def stopped_by(chapter, mistake):
    """What stops the code of a chapter where the mistake is planted; None if nothing does."""
    namespace, cells = {"__name__": "__main__"}, sources(chapter, "code")
    with mistake, contextlib.redirect_stdout(io.StringIO()), np.printoptions():
        for k, source in enumerate(cells):
            try:
                exec(compile(source, f"cell {k}", "exec"), namespace)
            except AssertionError as error:
                if message := str(error).partition("\n")[0]:
                    return f"{type(error).__name__}: {message}"
                frames = traceback.extract_tb(error.__traceback__)
                last = [f for f in frames if f.filename.startswith("cell ")][-1]
                code = cells[int(last.filename.split()[1])].splitlines()
                return f"`{code[last.lineno - 1].strip()}`"
    return None


CAUGHT = [
    (words, title(chapter), stopped_by(chapter, mistake))
    for chapter, words, mistake in MUTANTS
    if chapter in CHAPTERS
]
survivors = [words for words, _, caught in CAUGHT if caught is None]
assert not survivors, f"no assert of the chapter notices: {survivors}"
Table(["planted into the package", "run", "stopped by"], CAUGHT)

# %% [markdown]
# The tests of the repository do more of this:
#
# - `python -m pytest tests/test_planted_bugs.py` plants mistakes in derivations that share no code
#   with the package, hands them to `verify` and to `gradcheck`, and asks for the right diagnosis,
#   no more and no less. Derivations that are right but written in other ways have to pass.
# - `python -m pytest tests/test_exercises.py` hands in every wrong answer of every exercise, a
#   function that was never written, and nonsense.
# - `python -m pytest tests/test_book.py` runs the solved book, where every check has to say
#   "right", looks for a number in the text that no cell prints, an equation without an assert, a
#   solution that leaks into the reader's notebook, and runs the nbgrader commands above.
#
# What no check can see: whether somebody copied, let the package do the work, or changed it in
# another cell. Look into the cells. And ask for the hand calculation of a variant, on
# paper; the key is one seed away.
#
# ## Exercises
#
# For you, this time.
#
# **Exercise D.1.** You want a third point for the worked example, with the book's $U$ and
# $\theta$: a pixel of the output at which none of the nine mistakes stays hidden, and which is
# read off the lattice. Which one? (More than one is right.)


# %%
def telling_pixel():
    """The pixel of the output, a pair x, y."""
    ### BEGIN SOLUTION
    # chD.hidden(U, theta, pixel) is empty for it, and its point has no whole coordinate.
    return 2, 3
    ### END SOLUTION


# %%
check("D.1", telling_pixel)

# %% [markdown]
# **Exercise D.2.** Three students hand in these numbers as $V$ at the pixel $(2, 0)$. Each has
# made one of the nine mistakes of the table above. Which?

# %%
print(chD.students_answers())


# %%
def three_mistakes():
    """The number of the mistake of each student: three whole numbers, from 0 to 8."""
    ### BEGIN SOLUTION
    # The column of (2, 0) in the table: 3.375, 6.3125 and 4.75.
    return [1, 5, 4]
    ### END SOLUTION


# %%
check("D.2", three_mistakes)
