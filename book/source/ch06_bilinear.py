# %% [markdown]
# # 6 Bilinear sampling (Eq. 5)
#
# *About 60 minutes. Needs chapter 5 (what a kernel is) and chapter 4 (normalised coordinates).
# Derives Eq. (5) from two straight lines, and shows that its sum over all pixels has four terms.*
#
# **The question.** An image is known at whole pixels only. What is its value at the point $(2.25,
# 1.75)$? And if the answer is a sum over *all* pixels, as the paper says, how can it be fast?

# %%
import numpy as np

from stn_numpy import functional as F
from stn_numpy import gradcheck, plots, reference
from stn_numpy.exercises import check

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)

# %% [markdown]
# ## One row first
#
# Take the row $n = 2$ of our image: 4, 6, 8, 1. Between two pixels we know nothing, so we draw the
# simplest thing there is, a straight line.

# %%
plots.row_figure(
    U[2],
    2.25,
    title="Row 2 of U, read at x = 2.25",
    alt="The pixels 4, 6, 8, 1 joined by straight lines; at 2.25 the line from 8 to 1 is at 6.25.",
)

# %% [markdown]
# The point $x = 2.25$ is one quarter of the way from the pixel 8 to the pixel 1. One quarter of
# the step of $-7$ is taken:

# %%
a = 2.25 - 2
row_2 = 8 + a * (1 - 8)
print("row 2 at x = 2.25:", row_2)

# %% [markdown]
# ## Then down
#
# Row 1 at the same $x$, the same way. Then a straight line again, from row 1 down to row 2: $y =
# 1.75$ is three quarters of the way.

# %%
row_1 = 5 + a * (2 - 5)
b = 1.75 - 1
V = row_1 + b * (row_2 - row_1)
print("row 1 at x = 2.25:", row_1)
print("V at (2.25, 1.75):", V)

# %% [markdown]
# Would it have been another number, had we gone down first and then to the right?

# %%
column_2 = 5 + b * (8 - 5)
column_3 = 2 + b * (1 - 2)
print("column 2 at y = 1.75:", column_2)
print("column 3 at y = 1.75:", column_3)
print("V at (2.25, 1.75):", column_2 + a * (column_3 - column_2))

# %% [markdown]
# The same. Sort the products, and you see why: each of the four pixels is multiplied by one number
# for $x$ and one for $y$, and it does not matter which comes first.

# %%
weight = {
    "5 (row 1, column 2)": (1 - a) * (1 - b),
    "2 (row 1, column 3)": a * (1 - b),
    "8 (row 2, column 2)": (1 - a) * b,
    "1 (row 2, column 3)": a * b,
}
for pixel, w in weight.items():
    print(f"pixel {pixel} counts {w}")
print("V =", 0.1875 * 5 + 0.0625 * 2 + 0.5625 * 8 + 0.1875 * 1)

# %% [markdown]
# ## The tent
#
# Look at one pixel, at column $m$. If the point is at $x = m$, the pixel counts fully. With each
# step away, on either side, it counts less; from one pixel away it does not count at all. So its
# weight along $x$ is $\max(0, 1 - |x - m|)$, and along $y$ the same. Their product is a tent over
# the pixel.

# %%
plots.kernel_surface(
    "bilinear",
    title="How much a pixel counts, by where the point is",
    alt="A tent of height 1 over the pixel, with four curved sides that reach 0 one pixel away.",
)

# %% [markdown]
# Sum over all pixels, each with its tent, and you have Eq. (5) of the paper:
#
# $$
# V_i^c = \sum_n^H \sum_m^W U_{nm}^c \, \max(0, 1 - |x_i^s - m|) \, \max(0, 1 - |y_i^s - n|)
# \tag{5}
# $$
#
# It is Eq. (3) with the kernel $k(d) = \max(0, 1 - |d|)$, for every channel $c$ and every point
# $i$. The loop in `reference.py` says the same in Python. We ask it for our point, and for the
# point $(2.5, 2.5)$ of chapter 0.

# %%
x_s, y_s = np.array([2.25, 2.5]), np.array([1.75, 2.5])
V_loop = reference.eq03_sample(U[None], x_s, y_s, reference.eq05_bilinear_kernel)
print(V_loop)

# %% [markdown]
# ## Drag the point
#
# The weights of all sixteen pixels, wherever the point is. Try to make more than four of them
# count.


# %%
def draw(x, y):
    return plots.weights_figure(
        U,
        x,
        y,
        alt="Left, the image with the point. Right, the weights: only the pixels around it count.",
    )


plots.drag(draw, x=(-1.5, 4.5, 2.25), y=(-1.5, 4.5, 1.75))

# %% [markdown]
# ## At most four
#
# A tent is one pixel wide on each side, so pixel $m$ counts only if $|x - m| < 1$. At most two
# whole numbers are that near to $x$: $\lfloor x \rfloor$ and $\lfloor x \rfloor + 1$. Two columns
# and two rows make four pixels. If $x$ is a whole number, even one column is enough.


# %%
def count(x, y):
    """How many pixels of U have a weight."""
    return np.count_nonzero(reference.eq06_grad_U(U[None], np.array([x]), np.array([y])))


for x, y in [(2.25, 1.75), (2.5, 2), (2, 2), (-0.5, 1.5), (-0.5, -0.5), (5, 5)]:
    print(f"point ({x}, {y}), pixels that count: {count(x, y)}")

# %% [markdown]
# (`eq06_grad_U` is the array of these weights. Chapter 7 shows why it bears that name.)
#
# ### Myth: "every pixel has some influence"
#
# One reads that, as Eq. (5) sums over all $H \times W$ pixels, each of them has some influence on
# the output, or receives some gradient. Ten thousand points, in and around the image, say no:

# %%
rng = np.random.default_rng(6)
points = rng.uniform(-2, 5, (2, 10_000))
weights = reference.eq06_grad_U(U[None], *points)
counts = np.count_nonzero(weights, axis=(1, 2))
print("most pixels that count for a point:", counts.max())
assert counts.max() == 4

# %% [markdown]
# That is good for speed, and bad for learning from afar: a pixel two steps away can not pull at
# the point at all. Chapter 8 comes back to this.
#
# ## Four terms are enough
#
# So the double sum can be written without a loop over the image. With $m = \lfloor x \rfloor$,
# $n = \lfloor y \rfloor$, $a = x - m$ and $b = y - n$, it is what we did by hand:
#
# $$
# V = (1-a)(1-b)\,U_{n,m} + a(1-b)\,U_{n,m+1} + (1-a)\,b\,U_{n+1,m} + ab\,U_{n+1,m+1}
# $$
#
# `functional/sampler.py` does this for all points of all images at once. It interpolates along $x$
# twice and along $y$ once, as we did by hand, which takes three multiplications where the four
# terms take eight. For an image of 28 x 28 pixels the sum of Eq. (5) has 784 terms:

# %%
print("terms of Eq. (5):", 28 * 28, "  that are not 0: at most", 4, "  ratio:", 28 * 28 / 4)

# %% [markdown]
# Now the proof that loop and package agree: three channels, an image that is higher than wide,
# points inside and outside. The package takes normalised coordinates, so the points are converted
# first (chapter 4).

# %%
image = rng.standard_normal((3, 6, 5))
x_s, y_s = rng.uniform(-2, 6, 200), rng.uniform(-2, 7, 200)

V_loop = reference.eq03_sample(image, x_s, y_s, reference.eq05_bilinear_kernel)

G = np.stack([reference.to_normalised(x_s, 5), reference.to_normalised(y_s, 6)], axis=-1)
V = F.grid_sample(image[None], G[None, None]).data[0, :, 0]

assert V.shape == V_loop.shape == (3, 200)
assert np.allclose(V, V_loop, rtol=0, atol=1e-12), "Eq. (5): loop and package differ"
print("largest difference is below 1e-12:", np.abs(V - V_loop).max() < 1e-12)

# %% [markdown]
# ## What the weights add up to
#
# Between the centres of the outermost pixels the weights of a point add up to 1, so a grey wall
# stays the same grey. Beyond them, and so already in the outer half of the border pixels, there is
# nothing to count on one side, and the sum is smaller: the image fades to black within one pixel.
# In this chapter and the next three, *inside* means between those centres.

# %%
for x, y in [(2.25, 1.75), (3, 3), (3.25, 2.25), (3.5, 3.5), (4, 1)]:
    sum_of_weights = reference.eq06_grad_U(U[None], np.array([x]), np.array([y])).sum()
    print(f"point ({x}, {y}): the weights add up to {sum_of_weights}")

inside = np.all((points >= 0) & (points <= 3), axis=0)
assert np.allclose(weights[inside].sum(axis=(1, 2)), 1)

# %% [markdown]
# ### Myth: "bilinear is linear"
#
# It is linear in $U$: twice the image gives twice the output, and the sum of two images the sum of
# the outputs. It is linear along $x$, and along $y$. It is *not* linear along the diagonal. From
# the pixel 8 at $(2, 2)$ to the pixel 5 at $(3, 3)$, a straight line would be at 6.5 in the
# middle:

# %%
diagonal = np.array([2, 2.25, 2.5, 2.75, 3])
V_diagonal = reference.eq03_sample(U[None], diagonal, diagonal, reference.eq05_bilinear_kernel)
print("on the diagonal:      ", V_diagonal[0])
print("on a straight line:   ", np.linspace(8, 5, 5))

# %%
plots.image_surface(
    U,
    title="U between its pixels: straight along x and y, bent along diagonals",
    alt="A surface through the sixteen pixels. Between four pixels it is a saddle; where two "
    "cells meet it has a fold.",
)

# %% [markdown]
# The surface has no gaps, but it has folds: along every whole $x$ and every whole $y$ the slope
# jumps. These folds are the subject of chapter 8, where they decide how a network starts to learn.
#
# ## A first look at the gradient
#
# Away from the folds everything is smooth, so central differences can judge the package's
# gradients, with respect to the image and to the grid. The next two chapters derive them by hand.

# %%
x_s = rng.integers(-1, 5, (2, 7)) + rng.uniform(0.1, 0.9, (2, 7))  # off the whole numbers
y_s = rng.integers(-1, 6, (2, 7)) + rng.uniform(0.1, 0.9, (2, 7))
G = np.stack([reference.to_normalised(x_s, 5), reference.to_normalised(y_s, 6)], axis=-1)

print(gradcheck(F.grid_sample, [image[None], G[None]]))

# %% [markdown]
# ## Exercises
#
# **Exercise 06.1.** Write down the weights of one row: for a row of $W$ pixels and a point $x$,
# the array of the $W$ weights along $x$.


# %%
def row_weights(x, W):
    """The weights (W,) of the pixels 0, 1, ... W - 1 for the point x, which may be anywhere."""
    ### BEGIN SOLUTION
    return np.maximum(0, 1 - np.abs(x - np.arange(W)))
    ### END SOLUTION


# %%
check("06.1", row_weights)

# %% [markdown]
# **Exercise 06.2.** Read an image at one point with four terms, not with a sum over the image.
# What lies outside of the image is 0. (Mind Python: `U[-1]` is not outside.)


# %%
def bilinear(U, x, y):
    """The value of the image U (H, W) at the point (x, y) in pixels: a number."""
    ### BEGIN SOLUTION
    H, W = U.shape
    n, m = int(np.floor(y)), int(np.floor(x))
    a, b = x - m, y - n
    V = 0.0
    for row, along_y in ((n, 1 - b), (n + 1, b)):
        for column, along_x in ((m, 1 - a), (m + 1, a)):
            if 0 <= row < H and 0 <= column < W:
                V += along_y * along_x * U[row, column]
    return V
    ### END SOLUTION


# %%
check("06.2", bilinear)

# %% [markdown]
# **Exercise 06.3.** Find a point $(x, y)$ for which the weights of our 4 x 4 image add up to
# exactly 3/8.


# %%
def point_with_sum_three_eighths():
    """The point as a pair x, y."""
    ### BEGIN SOLUTION
    # Half of a pixel too far right, and a quarter too far up: 0.5 * 0.75.
    return 3.5, -0.25
    ### END SOLUTION


# %%
check("06.3", point_with_sum_three_eighths)

# %% [markdown]
# **Exercise 06.4.** Where an image is a straight ramp, bilinear sampling makes no mistake. Take
# the image of squares instead, whose pixel in column $m$ is $m^2$ in every row. The truth at $x =
# m + a$, with $0 \le a \le 1$, would be $(m + a)^2$. How much larger is the value that is read?
# Derive it on paper; the answer depends on $a$ alone.


# %%
def too_large_by(a):
    """Value read at x = m + a, minus (m + a)^2; a is a number from 0 to 1."""
    ### BEGIN SOLUTION
    # (1 - a) m^2 + a (m + 1)^2 - (m + a)^2 = a - a^2
    return a * (1 - a)
    ### END SOLUTION


# %%
check("06.4", too_large_by)
