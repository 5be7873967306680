# %% [markdown]
# # C Notation and glossary
#
# *About 25 minutes, or one minute at a time. Needs nothing: it is made for looking things up.
# Holds every symbol of the book with its shape and unit, and the words in plain sentences.*
#
# **The question.** What does this letter mean, in which unit is it counted, what shape does its
# array have, and where is it in the code?

# %%
import inspect
import json
import re
from pathlib import Path

import numpy as np

import stn_numpy
from stn_numpy import Tensor, functional, gradcheck, notation, plots, reference
from stn_numpy.exercises import check
from stn_numpy.functional.kernels import KERNELS
from stn_numpy.tables import Table

# %% [markdown]
# ## Five rules
#
# 1. $x$ points to the right, $y$ points **down**. A *point* is always $(x, y)$, an *array* always
#    `[row, column]`, which is $(y, x)$. The pixel at the point $(3, 2)$ is `U[2, 3]`.
# 2. Counting starts at 0. The paper starts at 1: its pixel $(n, m)$ is our $(n - 1, m - 1)$, its
#    point $x$ is our $x - 1$. Only differences enter Eqs. (3) to (7), and they are the same. In
#    Eq. (1) it matters as soon as $\theta$ is in pixels: counted from 1, its third column is
#    another one. In normalised coordinates nothing is counted.
# 3. The *source* $s$ is in the input, the *target* $t$ in the output. A prime says "of the
#    output": $H'$, $W'$.
# 4. A `d` in front of a name is the gradient of the loss: `dU` is $\partial L / \partial U$. It
#    has the shape of what stands behind the `d`, and the unit of the loss divided by its unit.
# 5. Coordinates are *normalised* where $\theta$ and $G$ are, from -1 to 1 over the image, and in
#    *pixels* where a pixel is looked up. Chapter 4 has the way from one to the other.

# %%
plots.chain_figure(
    [
        ("theta", "(N, 2, 3)\nnormalised", "dtheta\n(N, 2, 3)"),
        ("G", "(N, H', W', 2)\nnormalised", "dG\n(N, H', W', 2)"),
        ("x_s, y_s", "(H'W',)\npixels", "dL/dx_s, dL/dy_s\n(H'W',)"),
        ("V", "(N, C, H', W')\ngrey value", "dV\n(N, C, H', W')"),
    ],
    forward=["Eqs. (1), (2)", "chapter 4", "Eqs. (3) to (5)"],
    backward=["step (theta)", "times W/2, H/2", "Eq. (7)"],
    title="Shapes and units along the chain",
    alt="Four boxes from left to right, theta, G, the points and V, with their shapes and units, "
    "and below them their gradients, of the same shapes, with arrows from right to left.",
)

# %% [markdown]
# ## Sizes
#
# For the test below each size has a value, and all of them differ, so that no two can be exchanged
# unnoticed.

# %%
sizes = {size.letter: size.example for size in notation.SIZES}
assert len(set(sizes.values())) == len(sizes)
Table(
    ["size", "of what", "index", "in the test"],
    [(f"${s.letter}$", s.words, f"${s.index}$", s.example) for s in notation.SIZES],
)

# %% [markdown]
# The index $i$ alone counts points of the output, row by row, from 0 to $H'W' - 1$. And $n$ is an
# image of a batch where the layers are, but a row of $U$ in Eqs. (3) to (7), as in the paper.
#
# ## Symbols
#
# For each symbol: what it is, its shape and unit, what it is called in the test below, the function
# of the package that makes or takes it with its file, and the chapter that explains it.

# %%
BOOK = Path(stn_numpy.__file__).parents[1] / "book"
FILES = {path.name.split("_")[0]: path.name for path in sorted(BOOK.glob("*_*.ipynb"))}


def link(chapter):
    """A chapter as a link to its notebook, "06" as 6."""
    number = chapter.removeprefix("0")
    return f"[{number}]" + f"({FILES[chapter]})" if chapter in FILES else number


def table_of(group):
    rows = [
        (
            s.symbol,
            s.words,
            s.shape,
            s.unit,
            f"`{s.code}`",
            f"`{s.function.split('.')[-1]}`",
            f"`{notation.file_of(s.function)}`",
            link(s.chapter),
        )
        for s in notation.SYMBOLS[group]
    ]
    columns = ["symbol", "what it is", "shape", "unit", "in code", "function", "file", "chapter"]
    return Table(columns, rows)


table_of("The image and the points")

# %%
table_of("Kernels")

# %%
table_of("Gradients")

# %%
table_of("Layers")

# %% [markdown]
# Is all that true? Here is everything once, with the sizes above: a spatial transformer forwards
# and backwards, and a layer.

# %%
N, C, H, W, H_out, W_out, O, kh, kw, K = sizes.values()
rng = np.random.default_rng(16)

# The grid generator, the sampler, and back.
s_tx_ty = rng.uniform(0.2, 0.4, (N, 3))
A_theta = functional.attention_matrix(s_tx_ty).data
theta = A_theta + rng.uniform(-0.1, 0.1, (N, 2, 3))
U = rng.standard_normal((N, C, H, W))
leaves = U_leaf, theta_leaf, G_leaf = [
    Tensor(array, requires_grad=True)
    for array in (U, theta, functional.affine_grid(theta, (N, C, H_out, W_out)).data)
]
V = functional.grid_sample(U_leaf, G_leaf)
dV = rng.standard_normal(V.shape)
V.backward(dV)
functional.affine_grid(theta_leaf, (N, C, H_out, W_out)).backward(G_leaf.grad)
dU, dtheta, dG = (leaf.grad for leaf in leaves)
G, V = G_leaf.data, V.data
L = functional.mse_loss(V, np.zeros_like(V)).data

# The same for the first image by the loops, in pixels.
x_t, y_t = reference.target_points(H_out, W_out)
x_s, y_s = reference.eq01_affine_grid(theta[0], x_t, y_t)
x_s, y_s = reference.to_pixels(x_s, W), reference.to_pixels(y_s, H)
per_unit, g = reference.pixels_per_unit(W), reference.to_normalised(x_s, W)
a, d = x_s - np.floor(x_s), x_s[0] - np.arange(W)
k, k_slope = KERNELS["bilinear"].weights(d), KERNELS["bilinear"].slopes(d)
a_cubic, delta = KERNELS["bicubic"].a, reference.eq04_integer_kernel(0)
dV_dU = reference.eq06_grad_U(U[0], x_s, y_s)
dV_dxs = reference.eq07_grad_xs(U[0], x_s, y_s)
dV_dys = reference.eq07_grad_ys(U[0], x_s, y_s)
S = dV_dU.reshape(len(x_s), -1)
S_T = S.T

# Layers, learning, checking.
x, weight, bias = U, rng.standard_normal((O, C, kh, kw)), rng.standard_normal(O)
y = functional.conv2d(x, weight, bias).data
windows = np.lib.stride_tricks.sliding_window_view(x[0], (kh, kw), axis=(1, 2))
columns = windows.transpose(0, 3, 4, 1, 2).reshape(C * kh * kw, H_out * W_out)
scores = functional.linear(x.reshape(N, -1), rng.standard_normal((K, C * H * W))).data
eta, eps = 0.125, inspect.signature(gradcheck).parameters["eps"].default

# %% [markdown]
# Now every name in the column "in code" has to have the shape that the table says. Every function
# has to be there, and to be public.

# %%
symbols = [symbol for group in notation.SYMBOLS.values() for symbol in group]
for s in symbols:
    shape = np.shape(globals()[s.code])
    wanted = notation.shape_of(s.shape, sizes)
    assert shape == wanted, f"{s.symbol}: {s.code} has shape {shape}, the table says {wanted}"
    assert callable(notation.named(s.function)), f"{s.symbol}: {s.function} is no function"
    assert "._" not in f".{s.function}", f"{s.symbol}: {s.function} is not public"
print("symbols:", len(symbols), "  all of the shape that is stated")
print("functions:", len({s.function for s in symbols}), "  all there, all public")

# %% [markdown]
# And the units. By the loops, which are in pixels, a step of the source points has the gradient
# `dL_dxs`; the package's `dG` is per normalised unit. Between them must stand the factor $W / 2$,
# and for $y$ the factor $H / 2$. From there, the step to $\theta$ is in normalised units, too.

# %%
dL_dxs, dL_dys = (reference.grad_xs(dV[0].reshape(C, -1), slopes) for slopes in (dV_dxs, dV_dys))
dL_dG = dL_dxs * reference.pixels_per_unit(W), dL_dys * reference.pixels_per_unit(H)
assert np.allclose(dG[0].reshape(-1, 2).T, dL_dG, rtol=0, atol=1e-12), "the factors W/2 and H/2"

dtheta_loop = reference.grad_theta(*dL_dG, x_t, y_t)
assert np.allclose(dtheta[0], dtheta_loop, rtol=0, atol=1e-12), "the units of (theta)"
assert np.allclose(V[0].reshape(C, -1), U[0].reshape(C, -1) @ S.T, rtol=0, atol=1e-12), "V = S U"
print("pixels per normalised unit:", reference.pixels_per_unit(W), reference.pixels_per_unit(H))

# %% [markdown]
# ## Where is Eq. (6)?
#
# Each equation twice: as the loop that is read beside the paper, and as the operation that is
# fast. That both agree is checked by an `assert` of the chapter. The two that are printed wrongly
# have a loop only, and chapters 7 and 8 assert that it differs.

# %%
EQUATIONS = [
    ("(1)", "reference.eq01_affine_grid", "functional.affine_grid", "02"),
    ("(2)", "reference.eq02_attention_grid", "functional.attention_matrix", "02"),
    ("(3)", "reference.eq03_sample", "functional.grid_sample", "05"),
    ("(4)", "reference.eq04_integer_kernel", "functional.kernels.Nearest", "05"),
    ("(5)", "reference.eq05_bilinear_kernel", "functional.kernels.Bilinear", "06"),
    ("(6)", "reference.eq06_grad_U", "functional.grid_sample", "07"),
    ("(6), as printed", "reference.eq06_grad_U_as_printed", "none", "07"),
    ("(7)", "reference.eq07_grad_xs", "functional.grid_sample", "08"),
    ("(7), for y", "reference.eq07_grad_ys", "functional.grid_sample", "08"),
    ("(7), as printed", "reference.eq07_grad_xs_as_printed", "none", "08"),
    ("(theta), not printed", "reference.grad_theta", "functional.affine_grid", "09"),
    ("the factor, not printed", "reference.pixels_per_unit", "functional.grid_sample", "04"),
]
for _, loop, fast, _ in EQUATIONS:
    assert callable(notation.named(loop)), f"{loop} is no function"
    assert fast == "none" or callable(notation.named(fast)), f"{fast} is no function"
WHERE = [
    (
        name,
        loop,
        *(("", "") if fast == "none" else (f"`{fast}`", f"`{notation.file_of(fast)}`")),
        at,
    )
    for name, loop, fast, at in EQUATIONS
]

Table(
    ["equation", "loop", "operation", "file", "chapter"],
    [
        (f"Eq. {name}" if name[1].isdigit() else name, f"`{loop}`", fast, path, link(at))
        for name, loop, fast, path, at in WHERE
    ],
)

# %% [markdown]
# ## Every operation
#
# What `stn_numpy.functional` has, each with the first line of what it says of itself. The layers
# and the sampler have PyTorch's names and its order of arguments; some of the arithmetic has
# NumPy's. `help(functional.conv2d)` says the rest.

# %%
Table(
    ["operation", "what it does", "file"],
    [
        (
            f"`{name}`",
            inspect.getdoc(getattr(functional, name)).splitlines()[0],
            f"`{notation.file_of(f'functional.{name}')}`",
        )
        for name in functional.__all__
    ],
)

# %% [markdown]
# ## Letters that are used twice
#
# The alphabet is short. These letters mean something else, or something passing, in one chapter.

# %%
Table(
    ["letter", "there it is", "chapter"],
    [(letter, words, link(chapter)) for letter, words, chapter in notation.LETTERS],
)

# %% [markdown]
# Is a letter missing? This cell looks through all formulas of the book. A letter has to be a
# symbol, a size or an index of the tables above, or to have a row for its chapter in the last one.

# %%
GREEK = "alpha|beta|gamma|delta|varepsilon|epsilon|eta|theta|Phi|phi|lambda|mu|sigma"


def letters(formula):
    """The letters of a formula, Latin and Greek, without words and commands."""
    formula = re.sub(r"\\(?:text|mathrm|operatorname|begin|end|tag)\{[^}]*\}", " ", formula)
    greek = re.findall(rf"\\(?:{GREEK})(?![a-zA-Z])", formula)
    return {*greek, *re.findall("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", " ", formula))}


def formulas(path):
    """All formulas in the text of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "markdown":
            text = re.sub(r"`[^`]*`", "", "".join(cell["source"]))
            yield from (a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, re.S))


def letters_of(texts):
    return {
        letter for text in texts for f in re.findall(r"\$(.+?)\$", text) for letter in letters(f)
    }


everywhere = letters_of([s.symbol for s in symbols])
everywhere |= letters_of(f"${name}$" for s in notation.SIZES for name in (s.letter, s.index))
missing = {}
for chapter, name in FILES.items():
    here = letters_of(letter for letter, _, where in notation.LETTERS if where == chapter)
    used = {letter for f in formulas(BOOK / name) for letter in letters(f)}
    if used - here - everywhere:
        missing[name] = sorted(used - here - everywhere)
assert not missing, f"letters without a row in stn_numpy/notation.py: {missing}"
print("letters in formulas of the book that no table has: none")

# %% [markdown]
# ## Glossary
#
# The number behind each word is the chapter that explains it.
#
# - **adjoint**: The transpose of a linear operation, seen as an operation: what goes backward
#   where the operation goes forward. [7](07_backward_image.ipynb)
# - **affine**: Straight lines stay straight, parallels stay parallel: a matrix and a shift, six
#   numbers in the plane. [2](02_affine.ipynb)
# - **aliasing**: What is finer than the points lie apart does not go away: it comes back as
#   something that is not there. [14](14_edges.ipynb)
# - **align_corners**: Which points of an image are called -1 and 1: the outer edges of its
#   outermost pixels (`False`, the default here), or their centres (`True`).
#   [4](04_coordinates.ipynb)
# - **attention**: The affine map of three numbers: an isotropic scale and a shift. It crops and
#   zooms. [2](02_affine.ipynb)
# - **autograd**: Differentiation by a program: it notes what was computed, and walks back over
#   its notes with the chain rule. [A](A_autograd.ipynb)
# - **backward pass**: From the gradient of an output to the gradients of the inputs. Here a
#   closure under the forward pass. [A](A_autograd.ipynb)
# - **batch last**: Memory in which the same pixel of all images lies together.
#   [B](B_convolution.ipynb)
# - **bicubic**: A kernel of sixteen pixels, cubic on each side of its middle. It is smooth, and
#   some of its weights are negative. [5](05_kernels.ipynb)
# - **bilinear**: Along $x$ a straight line, along $y$ a straight line. It weighs the four pixels
#   around a point. [6](06_bilinear.ipynb)
# - **border**: A `padding_mode`: a point outside reads the nearest pixel of the border.
#   [8](08_backward_grid.ipynb)
# - **canonical pose**: The one pose into which a transformer brings what it reads. Any will do
#   that makes the classifier's work easy; nothing says that it is upright. [13](13_results.ipynb)
# - **central difference**: $(f(x + \varepsilon) - f(x - \varepsilon)) / 2 \varepsilon$. At a kink
#   it measures the mean of both slopes. [10](10_gradient_checking.ipynb)
# - **channel**: One of several images that lie on each other, such as red, green and blue. All
#   are read at the same points. [6](06_bilinear.ipynb)
# - **co-localisation**: To find what some pictures have in common, without labels.
#   [15](15_beyond_affine.ipynb)
# - **col2im**: The transpose of im2col: adds every column back to the pixels it was copied from.
#   [B](B_convolution.ipynb)
# - **companion point**: The pixel $(2, 0)$ of the worked example, read at $(2.25, 1.75)$. It
#   notices mistakes that the symmetric $(2.5, 2.5)$ hides. [0](00_start_here.ipynb)
# - **confidence interval**: Between which ends a true rate lies, by a rule that is right 19 times
#   out of 20. Here it is Wilson's. [13](13_results.ipynb)
# - **control point**: One of the points that a thin plate spline passes through: $\theta$ says
#   where in the input each is read. [15](15_beyond_affine.ipynb)
# - **convolution**: A cross-correlation whose kernel is turned by half a turn. What networks call
#   by this name is a cross-correlation. [B](B_convolution.ipynb)
# - **cotangent**: The gradient that arrives from above, $\partial L / \partial V$; in checks a
#   random array, which no mistake cancels against. [10](10_gradient_checking.ipynb)
# - **cross-correlation**: A kernel is laid on every place of an image, multiplied, and added up.
#   [B](B_convolution.ipynb)
# - **diamond**: A graph that parts and comes together: $U$ goes into the localisation net and
#   into the sampler. Its gradients add up. [A](A_autograd.ipynb)
# - **equivariant**: The input moves, and the output moves along. Convolutions are, but for their
#   borders. [1](01_why_warp.ipynb)
# - **feature map**: An image, or what a layer made of one: an array of channels, rows and
#   columns. [0](00_start_here.ipynb)
# - **finite difference**: A slope measured by taking a small step.
#   [10](10_gradient_checking.ipynb)
# - **forward mapping**: Each pixel of the input says where it goes. It leaves holes.
#   [3](03_mapping.ipynb)
# - **gather**: Each output fetches what it needs. Its backward pass is a scatter.
#   [3](03_mapping.ipynb)
# - **gradient**: All the partial derivatives of the loss with respect to an array, in an array of
#   the same shape. [7](07_backward_image.ipynb)
# - **gradient check**: The derived gradient beside finite differences, in every coordinate.
#   [10](10_gradient_checking.ipynb)
# - **grid**: The array $G$ of all the points at which the input is read. [2](02_affine.ipynb)
# - **grid generator**: The middle part of a spatial transformer: from $\theta$ to $G$.
#   [2](02_affine.ipynb)
# - **horizon**: Where the divisor of a projective map is 0: infinitely far away.
#   [15](15_beyond_affine.ipynb)
# - **identity initialisation**: The localisation net starts with $\theta$ = "change nothing". So
#   every point starts on the lattice. [11](11_localisation.ipynb)
# - **im2col**: Writes every window of an image into a column of a matrix.
#   [B](B_convolution.ipynb)
# - **invariant**: The input moves, and the output stays. Pooling is, for small moves.
#   [1](01_why_warp.ipynb)
# - **inverse mapping**: Each pixel of the output says where it is read. It leaves no holes, and
#   it is what $\theta$ does. [3](03_mapping.ipynb)
# - **kernel**: How much a pixel counts, by its distance to the point. In a convolution: the
#   weights of a window. [5](05_kernels.ipynb)
# - **kink**: A place where the slope jumps, so that there are two derivatives, from the left and
#   from the right. [8](08_backward_grid.ipynb)
# - **lattice**: The points with a whole $x$ or a whole $y$, where bilinear sampling has its
#   kinks. [8](08_backward_grid.ipynb)
# - **leaf**: A tensor that no operation made. Leaves keep their gradient. [A](A_autograd.ipynb)
# - **localisation net**: The first part of a spatial transformer: looks at $U$ and says $\theta$.
#   [11](11_localisation.ipynb)
# - **nearest**: The kernel of Eq. (4): the nearest pixel counts, no other does. No gradient
#   reaches $\theta$ through it. [5](05_kernels.ipynb)
# - **normalised coordinates**: Coordinates from -1 to 1 over the image, whatever its size.
#   [4](04_coordinates.ipynb)
# - **one-sided derivative**: The slope when one comes from the right, or from the left. At a kink
#   both are there and differ. [8](08_backward_grid.ipynb)
# - **operation**: A function of arrays with its backward pass: `@op`. [A](A_autograd.ipynb)
# - **padding**: What is read outside of the image; in a convolution the frame of zeros.
#   [B](B_convolution.ipynb)
# - **partition of unity**: The weights of a point add up to 1, wherever it is inside.
#   [6](06_bilinear.ipynb)
# - **pooling**: One number for each window: its largest, or its mean. [1](01_why_warp.ipynb)
# - **projective**: What a camera does to a plane: straight lines stay straight, parallels need
#   not. Eight numbers; also called a homography. [15](15_beyond_affine.ipynb)
# - **receptive field**: The part of the image that one number of a deep layer depends on.
#   [1](01_why_warp.ipynb)
# - **reflection**: A `padding_mode`: outside the image is a mirror of the inside.
#   [8](08_backward_grid.ipynb)
# - **sampler**: The last part of a spatial transformer: reads $U$ at $G$. [6](06_bilinear.ipynb)
# - **scatter**: Each input sends what it has to where it belongs, and what meets there is added.
#   [7](07_backward_image.ipynb)
# - **separable**: A product of a function of $x$ and a function of $y$, as the weight of a pixel
#   is. [5](05_kernels.ipynb)
# - **source**: Of a point: in the input, where it is read. [2](02_affine.ipynb)
# - **spatial transformer**: Localisation net, grid generator and sampler, together a part of a
#   network. [0](00_start_here.ipynb)
# - **stride**: How far a window moves from place to place. In memory: how far it is from one
#   index to the next. [B](B_convolution.ipynb)
# - **subgradient**: At a kink, any slope between the two one-sided ones.
#   [8](08_backward_grid.ipynb)
# - **tape**: The notes of autograd: which operation made which tensor from which.
#   [A](A_autograd.ipynb)
# - **target**: Of a point: in the output, where it is written. [2](02_affine.ipynb)
# - **tent**: The bilinear kernel: 1 at the pixel, down to 0 one pixel away.
#   [6](06_bilinear.ipynb)
# - **theta**: The numbers that say which transformation it is; also the unprinted step of the
#   backward pass to them. [9](09_backward_theta.ipynb)
# - **thin plate spline**: The map that takes control points to where they are wanted, and bends
#   as little as it can in between. [15](15_beyond_affine.ipynb)
# - **tie**: Two values of a window are the largest. The first of them gets the gradient.
#   [B](B_convolution.ipynb)
# - **unit factor**: $W / 2$ or $(W - 1) / 2$, pixels for each normalised unit. Printed nowhere,
#   needed in both directions. [4](04_coordinates.ipynb)
# - **window**: The pixels that a kernel lies on at one place. [B](B_convolution.ipynb)

# %% [markdown]
# The two points of the worked example, so that they stand here too: the pixels $(1, 1)$ and
# $(2, 0)$ of the output, and where they are read.

# %%
theta_pixels = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])
x_p, y_p = reference.eq01_affine_grid(theta_pixels, np.array([1.0, 2.0]), np.array([1.0, 0.0]))
for target, x, y in zip([(1, 1), (2, 0)], x_p, y_p):
    print(f"pixel {target} of the output is read at ({x}, {y})")

# %% [markdown]
# ## Exercises
#
# **Exercise C.1.** Units. Somebody has derived $\partial L / \partial x$ in pixels, as Eq. (7)
# does. The package wants it for the normalised coordinate of an image of `size` pixels, with
# either meaning of `align_corners`. Which number comes out?


# %%
def normalised_gradient(dL_dx, size, align_corners):
    """dL/dg for the normalised coordinate g, from dL/dx for the same point in pixels."""
    ### BEGIN SOLUTION
    # dL/dg = dL/dx dx/dg, and a step of 1 in g is half of the image.
    pixels = size - 1 if align_corners else size
    return dL_dx * pixels / 2
    ### END SOLUTION


# %%
check("C.1", normalised_gradient)

# %% [markdown]
# **Exercise C.2.** Sizes. The CNN of the paper has a convolution of 9 x 9, a max-pooling of 2 x 2,
# a convolution of 7 x 7 and a max-pooling of 2 x 2, all without padding; the poolings have stride
# 2. An image of `size` x `size` pixels comes in. How many rows are left for the classifier?


# %%
def rows_left(size):
    """The height of the last feature map, an integer."""
    ### BEGIN SOLUTION
    # A kernel of k pixels fits at size - k + 1 places; of a row that is left over, pooling sees
    # nothing.
    after_first = (size - 9 + 1) // 2
    return (after_first - 7 + 1) // 2
    ### END SOLUTION


# %%
check("C.2", rows_left)
