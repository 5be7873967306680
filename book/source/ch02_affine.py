# %% [markdown]
# # 2 Affine geometry (Eqs. 1 and 2)
#
# *About 50 minutes. Needs products of matrices, and chapter 0. Reads each number of $\theta$ off a
# picture, puts transformations together and takes them back, and finds every $\theta$ that sends
# one pixel to one point.*
#
# **The question.** Six numbers say where every pixel of the output is read. What does each of them
# do, so that you can look at the six and see the picture? And if you know where *one* pixel is
# read, how much do you know of the six?

# %%
import inspect

import numpy as np

from stn_numpy import Tensor, gradcheck, plots, reference
from stn_numpy import functional as F
from stn_numpy.data import load_digits
from stn_numpy.exercises import check

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])

# %% [markdown]
# ## The picture: theta by its columns
#
# Left are the pixels of the output, right the points where they are read. Follow three things from
# left to right: the pixel $(0, 0)$, one step to the right, one step down. In a live notebook, drag
# one number of $\theta$ at a time.


# %%
def draw(theta_11, theta_12, theta_13, theta_21, theta_22, theta_23):
    return plots.theta_figure(
        U,
        np.array([[theta_11, theta_12, theta_13], [theta_21, theta_22, theta_23]]),
        title="Where the pixel (0, 0) is read, and what a step becomes",
        alt="Left the square grid of the output with an arrow one step right and one step down. "
        "Right the same on the input: the grid starts at (1.75, 2.75), a step right becomes "
        "(0.25, -0.5), a step down (0.5, 0.25).",
    )


plots.drag(
    draw,
    theta_11=(-2.0, 2.0, 0.25),
    theta_12=(-2.0, 2.0, 0.5),
    theta_13=(-1.0, 4.0, 1.75),
    theta_21=(-2.0, 2.0, -0.5),
    theta_22=(-2.0, 2.0, 0.25),
    theta_23=(-1.0, 4.0, 2.75),
)

# %% [markdown]
# Each of the three is one column of $\theta$:
#
# - the *third* column is the point where the pixel $(0, 0)$ is read;
# - the *first* column is what one step to the right becomes;
# - the *second* column is what one step down becomes.
#
# ## By hand, with steps
#
# To find where a pixel is read, start at the third column and walk. The pixel $(1, 1)$ is one step
# right and one step down, its companion $(2, 0)$ is two steps right and none down:

# %%
start, right, down = np.array([1.75, 2.75]), np.array([0.25, -0.5]), np.array([0.5, 0.25])
print("pixel (1, 1) is read at", start + 1 * right + 1 * down)
print("pixel (2, 0) is read at", start + 2 * right + 0 * down)

# %% [markdown]
# Every step is like every other, so straight lines stay straight, and what is parallel stays
# parallel. That is what *affine* means. Nothing that bends, and no perspective, can be had with six
# numbers.
#
# ## By hand, with rows
#
# The same sum, sorted by rows: the first row of $\theta$ makes $x$, the second one $y$.

# %%
print("pixel (1, 1): x =", 0.25 * 1 + 0.5 * 1 + 1.75, "  y =", -0.5 * 1 + 0.25 * 1 + 2.75)
print("pixel (2, 0): x =", 0.25 * 2 + 0.5 * 0 + 1.75, "  y =", -0.5 * 2 + 0.25 * 0 + 2.75)

# %% [markdown]
# ## Eq. (1)
#
# That is Eq. (1) of the paper, for each pixel $i$ of the output; $t$ is for *target* and $s$ for
# *source*. The paper calls the matrix $A_\theta$, and the whole step $\mathcal{T}_\theta(G_i)$:
#
# $$ \begin{pmatrix} x_i^s \\ y_i^s \end{pmatrix} = \mathcal{T}_\theta(G_i) = A_\theta
# \begin{pmatrix} x_i^t \\ y_i^t \\ 1 \end{pmatrix} = \begin{pmatrix} \theta_{11} & \theta_{12} &
# \theta_{13} \\ \theta_{21} & \theta_{22} & \theta_{23} \end{pmatrix} \begin{pmatrix} x_i^t \\
# y_i^t \\ 1 \end{pmatrix} \tag{1} $$
#
# The 1 below $x_i^t$ and $y_i^t$ is there so that the third column, too, is part of one product.
# The loop of `reference.py`:

# %%
print(inspect.getsource(reference.eq01_affine_grid).split('"""')[2])

# %%
x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
print("x of the sources:\n", x_s.reshape(4, 4))
print("y of the sources:\n", y_s.reshape(4, 4))

# %% [markdown]
# Look for the steps in these tables. From one number to the next in a row, $x$ grows by
# $\theta_{11}$ and $y$ by $\theta_{21}$; from one row to the next, by $\theta_{12}$ and
# $\theta_{22}$.
#
# Without a loop: write all targets side by side, and it is one product of matrices.

# %%
P = np.stack([x_t, y_t, np.ones(16)])  # (3, 16), a column for each pixel
assert np.array_equal(theta @ P, [x_s, y_s]), "Eq. (1): the loop and the product differ"
print(P[:, :6])

# %% [markdown]
# ## The package's grid generator
#
# `affine_grid` is this product, for a whole batch. It takes one $\theta$ for each image and the
# size of the output.

# %%
print(inspect.getsource(F.affine_grid).split('"""')[2])

# %% [markdown]
# Its `P` holds other targets than ours: coordinates from $-1$ to $1$, as in the paper, where our
# targets are pixels. Eq. (1) does not mind. It holds in any unit, if $\theta$ is meant in the same
# one; chapter 4 is about the conversion. Until then we stay with pixels. Two thetas at random, an
# output of three rows and five columns:

# %%
rng = np.random.default_rng(2)
thetas = rng.standard_normal((2, 2, 3))
G = F.affine_grid(thetas, (2, 1, 3, 5)).data  # (N, H, W, 2), the last axis is (x, y)
for n in range(2):
    x_loop, y_loop = reference.eq01_affine_grid(thetas[n], *reference.target_points(3, 5))
    assert np.allclose(G[n, ..., 0].ravel(), x_loop, rtol=0, atol=1e-12), "Eq. (1): x differs"
    assert np.allclose(G[n, ..., 1].ravel(), y_loop, rtol=0, atol=1e-12), "Eq. (1): y differs"
print("the shape of G:", G.shape)
print("gradcheck:", gradcheck(lambda thetas: F.affine_grid(thetas, (2, 1, 3, 5)), thetas))

# %% [markdown]
# (Chapter 9 derives its gradient by hand.)
#
# ## One number at a time
#
# Now a digit of 28 x 28 pixels. We start with the identity, which reads every pixel at its own
# place, and change one number. The thick side of the frame becomes the upper border of the output.

# %%
digit = load_digits().test_images[3] / 255
identity = np.array([[1.0, 0, 0], [0, 1, 0]])


def changed(**numbers):
    """The identity with other numbers in some places: changed(_13=6)."""
    other = identity.copy()
    for name, number in numbers.items():
        other[int(name[1]) - 1, int(name[2]) - 1] = number
    return other


plots.thetas_figure(
    digit,
    {
        "identity": identity,
        "theta_13 = 6": changed(_13=6),
        "theta_23 = 6": changed(_23=6),
        "theta_11 = 0.5": changed(_11=0.5),
        "theta_22 = 0.5": changed(_22=0.5),
        "theta_12 = 0.5": changed(_12=0.5),
        "theta_21 = 0.5": changed(_21=0.5),
    },
    title="The identity, with one number changed",
    alt="Seven grids on a digit 2 and what they read. theta_13 moves the grid right and the digit "
    "left; theta_11 = 0.5 makes the grid half as wide and the digit twice as wide; theta_12 slants "
    "the upright lines, theta_21 the level ones.",
)

# %% [markdown]
# | number | what it does to the grid |
# |---|---|
# | $\theta_{13}$, $\theta_{23}$ | moves it right, moves it down |
# | $\theta_{11}$ | its width: how far along $x$ a step to the right leads |
# | $\theta_{22}$ | its height: how far along $y$ a step down leads |
# | $\theta_{12}$ | slants its upright lines: a step down also leads to the right |
# | $\theta_{21}$ | slants its level lines: a step to the right also leads down |
#
# The digit does the opposite of the grid each time. That is chapter 3.
#
# ## What kind of map is our theta?
#
# Three questions to the first two columns, one step right and one step down. How long are they? Is
# there a right angle between them? Which way do they point?

# %%
right, down = theta[:, 0], theta[:, 1]
print(f"lengths: {np.hypot(*right):.4f} and {np.hypot(*down):.4f}")
print("product of the two:", right @ down, " (0 means: a right angle)")
print(f"direction of a step right: {np.rad2deg(np.arctan2(right[1], right[0])):.2f} degrees")

# %% [markdown]
# Equal lengths at a right angle: squares stay squares. Each step is 0.559 pixels long, so the grid
# is small and what it shows is large. And it is turned by 63.43 degrees counter-clockwise. (Angles
# that grow turn from $x$ to $y$, and as $y$ points down, that is clockwise on the screen. Ours is
# negative.)
#
# The *determinant* says how much area there is in one step right times one step down:

# %%
determinant = 0.25 * 0.25 - 0.5 * -0.5
print("determinant:", determinant)
print("so an input pixel fills", 1 / determinant, "pixels of the output")
assert np.isclose(np.linalg.det(theta[:, :2]), determinant)

# %% [markdown]
# A negative determinant would mean a mirror image, and 0 a grid without area, squeezed into a line.
#
# ## About the middle: putting maps together
#
# This matrix turns the grid by 30 degrees, clockwise. Or so we hope:

# %%
angle = np.deg2rad(30)
turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
print(turn.round(4))
print("pixel (0, 0) is read at", turn @ [0, 0, 1])
print("pixel (13.5, 13.5), the middle, is read at", (turn @ [13.5, 13.5, 1]).round(4))

# %% [markdown]
# It does turn, but about the pixel $(0, 0)$, the upper left corner, and most of the digit is out
# of sight. The fixed point is where it always is without a third column. To turn about the middle,
# do three things one after the other: move the middle to $(0, 0)$, turn, move it back.
#
# Maps one after the other are products of matrices, once each is made square with a row $(0, 0, 1)$
# below. The map that is done first stands on the right, next to the point.


# %%
def square(theta):
    """Theta with the row (0, 0, 1) below, for products."""
    return np.vstack([theta, [0, 0, 1]])


there = np.array([[1, 0, -13.5], [0, 1, -13.5]])
back = np.array([[1, 0, 13.5], [0, 1, 13.5]])
about_the_middle = (square(back) @ square(turn) @ square(there))[:2]
print(about_the_middle.round(4))
print("the middle is read at", about_the_middle @ [13.5, 13.5, 1])

# %%
plots.thetas_figure(
    digit,
    {
        "turn": turn,
        "there, turn, back": about_the_middle,
        "back, turn, there": (square(there) @ square(turn) @ square(back))[:2],
    },
    title="The same turn by 30 degrees, about three places",
    alt="The first turn is about the upper left corner, the second about the middle of the digit, "
    "and the third, with the steps in the wrong order, moves the grid left, nearly off the digit.",
)

# %% [markdown]
# The order matters, as the third picture shows.
#
# ## One warp after another
#
# Two transformers in a row: the first reads $U$ at $\theta_1$ and makes $V_1$, the second reads
# $V_1$ at $\theta_2$. Which single $\theta$ does the same? Follow a pixel of the last output back:
# $\theta_2$ says where in $V_1$ it is read, and $\theta_1$ where in $U$ that was read. So
# $\theta_2$ meets the point first, and stands on the right: the product is $\theta_1 \theta_2$.
# The warp that was made *last* is the *right* factor.
#
# Two maps that read whole pixels only can show it, as there is no rounding: a quarter turn of the
# 4 x 4 image about its middle, then a shift by one.


# %%
def warp(image, theta):
    """The image read at theta, which is in pixels, by the package's sampler."""
    H, W = image.shape
    y_t, x_t = np.indices(image.shape)
    x, y = theta @ np.stack([x_t.ravel(), y_t.ravel(), np.ones(H * W)])
    G = np.stack([reference.to_normalised(x, W), reference.to_normalised(y, H)], axis=-1)
    return F.grid_sample(image[None, None], G.reshape(1, H, W, 2)).data[0, 0]


quarter = np.array([[0.0, -1, 3], [1, 0, 0]])  # read at x = 3 - y_t, y = x_t
shift = np.array([[1.0, 0, 1], [0, 1, 0]])
print("first the turn, then the shift:\n", warp(warp(U, quarter), shift))

together = square(quarter) @ square(shift)
assert np.array_equal(warp(U, together[:2]), warp(warp(U, quarter), shift))
the_other_way = square(shift) @ square(quarter)
assert not np.array_equal(warp(U, the_other_way[:2]), warp(warp(U, quarter), shift))
print("one theta for both:\n", together[:2])

# %% [markdown]
# ### Myth: "two warps in a row are as good as one"
#
# The points are the same, the picture is not. Between the two, the output has been put into
# pixels, and every reading between pixels is a blend. (And what has left $V_1$ is gone for good,
# even with whole pixels.) Turn the digit by 30 degrees, twelve times:

# %%
V = digit
for _ in range(12):
    V = warp(V, about_the_middle)
product = np.linalg.matrix_power(square(about_the_middle), 12)[:2]
assert np.allclose(product, identity, rtol=0, atol=1e-12)

print(f"mean difference, twelve warps:        {np.abs(V - digit).mean():.4f}")
print(f"mean difference, the product of all:  {np.abs(warp(digit, product) - digit).mean():.4f}")
plots.pictures_figure(
    {"the digit": digit, "twelve warps": V, "one warp, the product": warp(digit, product)},
    title="Twelve times 30 degrees",
    limits=(0, 1),
    alt="After twelve warps the digit is blurred; after one warp with the product it is as sharp "
    "as it was.",
)

# %% [markdown]
# So multiply thetas, and read once. (A net with two transformers in a row can do that, too: the
# second one wants to *see* $V_1$ before it decides, but what goes on is $U$, read at the product.
# Chapter 16 comes to it.)
#
# ## Back again: the inverse
#
# Eq. (1) leads from the output to the input. Which pixel of the output is read at a given point,
# say $(2.5, 2.5)$? Solve for $x^t$ and $y^t$. Take the third column away, then undo the rest. The
# inverse of a 2 x 2 matrix by hand: exchange the two on the diagonal, change the sign of the two
# others, divide by the determinant:

# %%
linear = np.array([[0.25, -0.5], [0.5, 0.25]]) / 0.3125
print(linear)
print("pixel read at (2.5, 2.5):", linear @ [2.5 - 1.75, 2.5 - 2.75])

# %% [markdown]
# As a matrix of two rows and three columns again: the third column is what becomes of the point
# $(0, 0)$, which is $-(1.75, 2.75)$ times the 2 x 2 matrix.

# %%
inverse = np.column_stack([linear, linear @ [-1.75, -2.75]])
print(inverse)
assert np.allclose(square(theta) @ square(inverse), np.eye(3), rtol=0, atol=1e-12)
assert np.allclose(inverse, np.linalg.inv(square(theta))[:2], rtol=0, atol=1e-12)

# %% [markdown]
# Where the determinant is 0 there is no inverse: many pixels of the output are read at one point.
#
# ## (x, y) and [row, column]
#
# A point is $(x, y)$, and $x$ comes first. An array is `[row, column]`, and the row, which is $y$,
# comes first. Both orders are old, both make sense, and in this subject they meet in every line. In
# `U[2, 3]` the 2 is $y$. Here are three mistakes, as they are made every day:

# %%
mistakes = {
    "rows of theta exchanged": lambda x, y: theta[::-1] @ [x, y, 1],
    "columns of theta exchanged": lambda x, y: theta[:, [1, 0, 2]] @ [x, y, 1],
    "target taken as (row, column)": lambda x, y: theta @ [y, x, 1],
}
for pixel in [(1, 1), (2, 0)]:
    print(f"pixel {pixel} is read at {theta @ [*pixel, 1]}")
    for name, wrong in mistakes.items():
        print(f"    {name:30s} {wrong(*pixel)}")

# %% [markdown]
# ### Myth: "(1, 1) comes out right, so the code is right"
#
# At $(1, 1)$ all three mistakes give the right point $(2.5, 2.5)$: the target is the same when
# turned round, and so is its source. At the companion $(2, 0)$ every one of them shows. (The second
# and the third are one mistake, made in two places.) How many of the sixteen pixels give each of
# them away?

# %%
for name, wrong in mistakes.items():
    shown = sum(not np.array_equal(wrong(x, y), theta @ [x, y, 1]) for x, y in zip(x_t, y_t))
    print(f"{name:30s} shows at {shown} of 16 pixels")

# %% [markdown]
# So test on points off the diagonal, on images that are not square, and on an output of another
# size than the input.
#
# ## Eq. (2): three numbers are often enough
#
# If a net only has to find *where* something is and *how large*, it needs no turn and no slant. The
# paper calls that *attention*: one scale $s$ for both axes, and a translation.
#
# $$ A_\theta = \begin{pmatrix} s & 0 & t_x \\ 0 & s & t_y \end{pmatrix} \tag{2} $$
#
# By hand, with $s = \frac{1}{2}$ and $t = (2, 2)$, for the pixels $(1, 1)$ and $(2, 0)$:

# %%
print("pixel (1, 1) is read at", 0.5 * 1 + 2, 0.5 * 1 + 2)
print("pixel (2, 0) is read at", 0.5 * 2 + 2, 0.5 * 0 + 2)

# %%
x_2, y_2 = reference.eq02_attention_grid(0.5, 2, 2, x_t, y_t)
V_2 = reference.eq03_sample(U[None], x_2, y_2, reference.eq05_bilinear_kernel)

A = F.attention_matrix(np.array([[0.5, 2, 2]])).data[0]  # (s, t_x, t_y)
assert np.array_equal(A @ P, [x_2, y_2]), "Eq. (2): loop and package differ"
print(V_2.reshape(4, 4))
plots.sampling_figure(
    U,
    x_2.reshape(4, 4),
    y_2.reshape(4, 4),
    target=(1, 1),
    title="Eq. (2): an upright square, here half as large",
    alt="The sixteen points form an upright square of half the size around the pixels 8, 1, 3 and "
    "5; its last row and column lie outside. The pixel (1, 1) is read at (2.5, 2.5).",
)

# %% [markdown]
# In row 1, column 1 is the 4.25 of chapter 0 again, read by another $\theta$.
#
# `attention_matrix` puts three numbers into six places, and $s$ into two of them. What does that
# mean for the gradient? If $s$ grows, both places grow, and the loss changes by the sum of what
# each of them does. So, with $dA$ for the gradient of $A_\theta$:
#
# $$ \frac{\partial L}{\partial s} = dA_{11} + dA_{22}, \qquad \frac{\partial L}{\partial t_x} =
# dA_{13}, \qquad \frac{\partial L}{\partial t_y} = dA_{23} $$
#
# The two zeros belong to no number of $\theta$: what arrives there ends there. Here is some
# gradient $dA$ in numbers (chapter 9 derives this one), and then the check for any:

# %%
dA = np.array([[-12.0, 0, -6], [4, 0, 2]])
print("by hand:  dL/ds =", -12 + 0, "  dL/dt =", [-6, 2])
parameters = Tensor(np.array([[0.5, 2, 2]]), requires_grad=True)
F.attention_matrix(parameters).backward(dA[None])
print("package: ", parameters.grad[0])
print("gradcheck:", gradcheck(F.attention_matrix, rng.standard_normal((3, 3))))

# %% [markdown]
# ## How many thetas send (1, 1) to (2.5, 2.5)?
#
# Our $\theta$ does, and Eq. (2) with $s = \frac{1}{2}$ does. Eq. (1) for this pixel is two
# equations, and there are six unknowns:
#
# $$ \theta_{11} + \theta_{12} + \theta_{13} = \frac{5}{2}, \qquad \theta_{21} + \theta_{22} +
# \theta_{23} = \frac{5}{2} $$
#
# Choose the first two columns as you like, four numbers; then the third column is what is missing.
# It is a family with four free numbers. Of Eq. (2) it is a family with one: any $s$, and $t_x = t_y
# = \frac{5}{2} - s$.


# %%
def member(a, b, c, d):
    """The theta with the columns (a, c) and (b, d) that sends (1, 1) to (2.5, 2.5)."""
    return np.array([[a, b, 2.5 - a - b], [c, d, 2.5 - c - d]])


family = {
    "ours": member(0.25, 0.5, -0.5, 0.25),
    "only a shift": member(1, 0, 0, 1),
    "Eq. (2), s = 1/2": member(0.5, 0, 0, 0.5),
    "Eq. (2), s = -1/2": member(-0.5, 0, 0, -0.5),
    "a slanted one": member(0.75, -0.5, 0.25, 0.75),
}
assert np.array_equal(family["ours"], theta)
for name, mine in family.items():
    V = warp(U, mine)
    print(f"{name:18s} {mine.tolist()}  V at (1, 1): {V[1, 1]}, at (2, 0): {V[0, 2]}")
    assert V[1, 1] == 4.25

# %%
plots.outlines_figure(
    U,
    family,
    (1, 1),
    title="Five thetas, one point",
    alt="Five different quadrilaterals on the image, turned, slanted, large and small. In all of "
    "them the pixel (1, 1) of the output lies on the same point (2.5, 2.5).",
)

# %% [markdown]
# All read 4.25 there, so nothing that happens at this pixel can tell them apart; the pixel $(2, 0)$
# can. In general: *one* pixel can not say what $\theta$ should be. Each pixel gives two equations.
# Three pixels give six, and then $\theta$ is known, unless the three lie on a line. This is Eq.
# (1) for three pixels at once, solved for $\theta$:

# %%
targets = np.array([[0, 0, 1], [2, 0, 1], [1, 1, 1]]).T  # a column each
sources = np.array([[1.75, 2.75], [2.25, 1.75], [2.5, 2.5]]).T
found = sources @ np.linalg.inv(targets)
print(found.round(9) + 0.0)
assert np.allclose(found, theta, rtol=0, atol=1e-12)

# %% [markdown]
# ## Exercises
#
# **Exercise 02.1.** The family for any pixel and any point. Given the first two columns of
# $\theta$, as an array (2, 2), find the $\theta$ that sends the pixel `target` to the point
# `source`, both $(x, y)$.


# %%
def theta_through(columns, target, source):
    """The theta (2, 3) with these first two columns that sends target to source."""
    ### BEGIN SOLUTION
    return np.column_stack([columns, source - columns @ target])
    ### END SOLUTION


# %%
check("02.1", theta_through)

# %% [markdown]
# **Exercise 02.2.** The paper counts pixels from 1, so that our pixel $(1, 1)$ is its $(2, 2)$, and
# our point $(2.5, 2.5)$ is $(3.5, 3.5)$ there. Turn a $\theta$ for pixels that are counted from 0
# into the one that makes the same picture if they are counted from 1. (The next cell prints a pair
# to test it with.)

# %%
print("counted from 0: (1, 1) to", theta @ [1, 1, 1], "so counted from 1: (2, 2) to", [3.5, 3.5])


# %%
def counted_from_one(theta):
    """The theta (2, 3) that does the same to pixels counted from 1."""
    ### BEGIN SOLUTION
    # x_s + 1 = theta (x_t, y_t) + t + 1, and x_t = (x_t + 1) - 1: one more, and one step of each
    # kind less.
    return np.column_stack([theta[:, :2], theta[:, 2] + 1 - theta[:, 0] - theta[:, 1]])
    ### END SOLUTION


# %%
check("02.2", counted_from_one)

# %% [markdown]
# **Exercise 02.3.** Invert a $\theta$: return the `theta` (2, 3) that leads from a point of the
# input to the pixel of the output that is read there.


# %%
def inverted(theta):
    """The inverse of theta, both arrays (2, 3)."""
    ### BEGIN SOLUTION
    linear = np.linalg.inv(theta[:, :2])
    return np.column_stack([linear, -linear @ theta[:, 2]])
    ### END SOLUTION


# %%
check("02.3", inverted)

# %% [markdown]
# **Exercise 02.4.** The backward pass of Eq. (2), for a batch. The localisation net gives $(s, t_x,
# t_y)$ for each of $N$ images, an array `theta` (N, 3); from above comes `dA` (N, 2, 3), the
# gradient of the $N$ matrices. Return the gradient of `theta`. The check tells you which mistake it
# sees.


# %%
def attention_backward(dA, theta):
    """dL/dtheta (N, 3), in the order s, t_x, t_y."""
    ### BEGIN SOLUTION
    ds = dA[:, 0, 0] + dA[:, 1, 1]  # s stands in two places
    return np.stack([ds, dA[:, 0, 2], dA[:, 1, 2]], axis=1)
    ### END SOLUTION


# %%
check("02.4", attention_backward)
