# %% [markdown]
# # 0 Start here
#
# *About 20 minutes. Needs Python, NumPy and a little linear algebra, and nothing about spatial
# transformers. Shows Eqs. (1) and (5) on sixteen numbers.*
#
# **The question.** A network looks at a picture that is turned, far away, or off to one side. Can
# it learn *where to look*, from nothing but its mistakes at the end?

# %%
import numpy as np

from stn_numpy import functional as F
from stn_numpy import plots, reference
from stn_numpy.data import load_digits
from stn_numpy.exercises import check

# %% [markdown]
# ## The picture
#
# A **spatial transformer** (Jaderberg, Simonyan, Zisserman and Kavukcuoglu,
# [2015](https://arxiv.org/abs/1506.02025)) is a part of a network that does just that. It has
# three parts. The *localisation net* looks at the image $U$ and names six numbers, $\theta$. The
# *grid generator* turns them into a point of $U$ for each pixel of the output. The *sampler* reads
# $U$ at these points, and what it reads is the output $V$.

# %%
plots.module_figure()

# %% [markdown]
# Each part has a gradient, so a mistake at the end of the network tells $\theta$ how to change.
# This book derives those gradients by hand, one equation at a time. In this chapter we only look
# around.
#
# ## Move the grid
#
# Here is a digit, and on it the grid that a $\theta$ makes. The thick side of the frame becomes
# the upper border of the output. In a live notebook, drag the sliders; elsewhere, look at one
# position.

# %%
digit = load_digits().test_images[2] / 255


def draw(angle, zoom, shift):
    turn = np.deg2rad(angle)
    cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
    return plots.warp_figure(
        digit,
        np.array([[cos, -sin, shift], [sin, cos, 0]]),
        title="Turn the grid one way, and the picture turns the other way",
        alt="A digit with a turned grid on it, and beside it the digit turned the other way.",
    )


plots.drag(draw, angle=(-180, 180, 30), zoom=(0.5, 3.0, 1.25), shift=(-1.0, 1.0, 0.0))

# %% [markdown]
# Did you expect the picture to turn with the grid? The grid says where to *read*. Chapter 3 is
# about this.
#
# ## Sixteen numbers
#
# From here on, and in most chapters, the image is the same four rows of four pixels, and $\theta$
# is the same six numbers. They are small enough for paper and a pencil.

# %%
U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])

plots.pixels_figure(
    U,
    title="The image U",
    alt="The sixteen pixels of U as grey squares, each with its number.",
)

# %% [markdown]
# A *point* is always $(x, y)$: $x$ to the right, $y$ down. An *array* is always `[row, column]`.
# So the pixel at the point $(3, 2)$ is `U[2, 3]`. Counting starts at 0, as in Python; the paper
# starts at 1.

# %%
print("the pixel at the point (3, 2):", U[2, 3])

# %% [markdown]
# ## Where to read, by hand
#
# Take the pixel $(x^t, y^t) = (1, 1)$ of the output ($t$ for *target*). The first row of $\theta$
# says from which $x$ of the input it is read, the second row from which $y$ ($s$ for *source*):

# %%
x_s = 0.25 * 1 + 0.5 * 1 + 1.75
y_s = -0.5 * 1 + 0.25 * 1 + 2.75
print("x_s =", x_s, "  y_s =", y_s)

# %% [markdown]
# This is Eq. (1) of the paper, for each pixel $i$ of the output:
#
# $$ \begin{pmatrix} x_i^s \\ y_i^s \end{pmatrix} = \begin{pmatrix} \theta_{11} & \theta_{12} &
# \theta_{13} \\ \theta_{21} & \theta_{22} & \theta_{23} \end{pmatrix} \begin{pmatrix} x_i^t \\
# y_i^t \\ 1 \end{pmatrix} \tag{1} $$
#
# `reference.py` holds every equation of the paper as a plain loop. Here it is for all sixteen
# pixels of the output at once.

# %%
x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)

G = theta @ np.stack([x_t, y_t, np.ones(16)])  # the same without a loop: one product of matrices
assert np.array_equal(G, [x_s, y_s]), "Eq. (1): the loop and the product differ"
print("read at x:\n", x_s.reshape(4, 4))
print("read at y:\n", y_s.reshape(4, 4))

# %%
plots.sampling_figure(
    U,
    x_s.reshape(4, 4),
    y_s.reshape(4, 4),
    target=(1, 1),
    alt="Pixel (1, 1) of the output is read at the point (2.5, 2.5) of the input, where four "
    "pixels meet. The sixteen points form a tilted square, of which some lie outside the image.",
)

# %% [markdown]
# ## What to read there, by hand
#
# The point $(2.5, 2.5)$ is where four pixels meet: 8, 1, 3 and 5. It is as near to each of them as
# to the others, so each counts one quarter:

# %%
print("V =", 0.25 * 8 + 0.25 * 1 + 0.25 * 3 + 0.25 * 5)

# %% [markdown]
# The paper writes this *bilinear sampling* as a sum over all pixels, of which most have the weight
# 0. Chapter 6 takes it apart:
#
# $$
# V_i^c = \sum_n^H \sum_m^W U_{nm}^c \, \max(0, 1 - |x_i^s - m|) \, \max(0, 1 - |y_i^s - n|)
# \tag{5}
# $$
#
# The loop of `reference.py` is this sum, word for word. The package's sampler does the same
# thousands of times faster. It wants the points in *normalised* coordinates, from $-1$ to $1$,
# which chapter 4 is about.

# %%
V_loop = reference.eq03_sample(U[None], x_s, y_s, reference.eq05_bilinear_kernel)

x_n, y_n = (reference.to_normalised(points, 4) for points in (x_s, y_s))
grid = np.stack([x_n, y_n], axis=-1).reshape(1, 4, 4, 2)
V = F.grid_sample(U[None, None], grid).data

assert np.allclose(V.ravel(), V_loop.ravel(), rtol=0, atol=1e-12), (
    "Eq. (5): loop and package differ"
)
print(V[0, 0].round(6))

# %% [markdown]
# There is the 4.25, in row 1 and column 1. The 0 in the last corner was read outside of the image:
# there, everything is 0.
#
# ## How theta learns, in one nudge
#
# Move $\theta_{13}$ a little. All points move a little to the right, and $V$ at our pixel changes:


# %%
def V_at_one_one(theta):
    x, y = theta @ [1, 1, 1]
    return reference.eq03_sample(
        U[None], np.array([x]), np.array([y]), reference.eq05_bilinear_kernel
    )[0, 0]


nudge = np.zeros((2, 3))
nudge[0, 2] = 0.01
before, after = V_at_one_one(theta), V_at_one_one(theta + nudge)
slope = (after - before) / 0.01
print(f"V before {before:.4f}, after {after:.4f}, slope {slope:.4f}")

# %% [markdown]
# $V$ falls by 2.5 for each pixel that the point moves to the right. If the network wanted $V$
# larger, $\theta_{13}$ would have to fall. A network asks this of all six numbers, for all pixels,
# at once. After chapter 9 you will have derived the answer on paper, and have had it accepted.
#
# ## How this book works
#
# - Every chapter runs alone, offline, in less than a minute (chapter 12 in four, if it finds
#   MNIST). Every number in the text is printed by a cell; every equation is checked by an `assert`.
# - An equation is shown as a picture, in numbers, as a loop (`reference.py`) and as a fast
#   operation (`stn_numpy.functional`). Open these files; they are meant to be read.
# - An exercise is a function with `raise NotImplementedError()` in it. Put your answer there and
#   run the `check` below it. It tells you what is wrong, and never the solution.
#
# **Exercise 00.1.** The companion: the pixel $(2, 0)$ of the output, $x = 2$ and $y = 0$. On
# paper: where is it read, and which $V$ comes out? (The weights are no quarters now. A pixel at
# the distances $a$ and $b$ along $x$ and $y$ counts $(1 - a)(1 - b)$.)


# %%
def V_at_two_zero():
    """The value of the output's pixel (2, 0), a number."""
    ### BEGIN SOLUTION
    # Eq. (1): x = 0.25 * 2 + 1.75 = 2.25 and y = -0.5 * 2 + 2.75 = 1.75.
    # Columns 2 and 3 count 0.75 and 0.25, rows 1 and 2 count 0.25 and 0.75.
    return 0.25 * (0.75 * 5 + 0.25 * 2) + 0.75 * (0.75 * 8 + 0.25 * 1)
    ### END SOLUTION


# %%
check("00.1", V_at_two_zero)

# %% [markdown]
# **Exercise 00.2.** Break an assert. Somebody claims: *the output is never darker than the darkest
# pixel of the input.* For the image $U + 1$, whose darkest pixel is 1, and the $\theta$ that turns
# it upside down, the claim holds, as the next cell shows. Find a $\theta$ for which it fails.


# %%
def darkest(theta):
    """The smallest value of the output, for the image U + 1."""
    x, y = reference.eq01_affine_grid(theta, x_t, y_t)
    return reference.eq03_sample(U[None] + 1, x, y, reference.eq05_bilinear_kernel).min()


upside_down = np.array([[1, 0, 0], [0, -1, 3]])
print("darkest pixel of the output:", darkest(upside_down))
assert darkest(upside_down) >= 1


# %%
def theta_that_breaks_the_claim():
    """A theta, an array (2, 3), for which darkest(theta) < 1."""
    ### BEGIN SOLUTION
    # The identity, moved far to the right: all points lie outside, where everything is 0.
    return np.array([[1, 0, 100], [0, 1, 0]])
    ### END SOLUTION


# %%
check("00.2", theta_that_breaks_the_claim)
