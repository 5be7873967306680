# %% [markdown]
# # 4 Coordinates (Eq. 1, normalised)
#
# *About 50 minutes. Needs chapters 2 and 3. Measures a row of pixels with three rulers, turns every
# number of $\theta$ from one into another, and finds the factor that the paper does not print.*
#
# **The question.** The paper's coordinates run from $-1$ to $1$, whatever the size of the image.
# But *where* in the image is $-1$: in the middle of the first pixel, or at its edge? And what
# becomes of $\theta$, and of every gradient, on the way from one ruler to another?

# %%
import inspect

import numpy as np

from stn_numpy import Tensor, gradcheck, plots, reference
from stn_numpy import functional as F
from stn_numpy.data import load_digits
from stn_numpy.exercises import ch04, check
from stn_numpy.tables import Table

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])

# %% [markdown]
# ## The picture: one row, three rulers
#
# A pixel is a square of side 1, and its number is at its centre. So in *pixels* a row of four
# reaches from $-\frac{1}{2}$, the left edge of pixel 0, to $3\frac{1}{2}$, the right edge of pixel
# 3. From $-1$ to $1$ there are two ways to lay a ruler on it, and both are in use. They are named
# after an option of PyTorch, which the package has, too:
#
# - `align_corners=False`, the default: $-1$ and $1$ are the outer *edges* of the outermost pixels.
# - `align_corners=True`: $-1$ and $1$ are the *centres* of the outermost pixels.


# %%
def draw(x, size):
    return plots.ruler_figure(
        size,
        [x],
        title="One point, three numbers",
        alt="A row of four pixels over three rulers. In pixels it reaches from -0.5 to 3.5; with "
        "align_corners=False -1 and 1 are at these edges, with True at the centres 0 and 3. The "
        "point 2.25 is 0.375 on the second ruler and 0.5 on the third.",
    )


plots.drag(draw, x=(-0.5, 7.5, 2.25), size=(1, 8, 4))

# %% [markdown]
# ## By hand
#
# Both rulers have their 0 in the middle of the row, at $(W - 1) / 2$ pixels, here at $1.5$. They
# differ in one thing only: how many pixels fit between 0 and 1. With `False` it is half of the
# width, $W / 2 = 2$; with `True` half of the way from centre to centre, $(W - 1) / 2 = 1.5$.
#
# The points $2.25$ and $2.5$ lie $0.75$ and $1$ to the right of the middle. Divide:

# %%
for x in (2.25, 2.5):
    from_the_middle = x - 1.5
    print(f"x = {x:<4}  from the middle {from_the_middle:<4}", end="  ")
    print(f"False {from_the_middle / 2:.4f}  True {from_the_middle / 1.5:.4f}")

# %% [markdown]
# So, for a normalised coordinate $g$ on an axis of $W$ pixels,
#
# $$ x = \frac{W - 1}{2} + \frac{W}{2}\, g \quad \text{(False)}, \qquad x = \frac{W - 1}{2} +
# \frac{W - 1}{2}\, g \quad \text{(True)}. $$
#
# You will meet them sorted otherwise: $x = \frac{(g + 1) W - 1}{2}$ and $x = (g + 1) \frac{W -
# 1}{2}$. For $y$ it is the same with $H$. In `reference.py`:

# %%
for function in (reference.pixels_per_unit, reference.to_pixels, reference.to_normalised):
    print(inspect.getsource(function))

# %% [markdown]
# There and back is where one began, on every row of 2 to 60 pixels, with both rulers, inside of the
# image and out of it:

# %%
rng = np.random.default_rng(4)
for size in range(2, 61):
    x = rng.uniform(-5, size + 5, 50)
    for aligned in (False, True):
        there = reference.to_normalised(x, size, aligned)
        assert np.allclose(reference.to_pixels(there, size, aligned), x, rtol=0, atol=1e-12)
        by_hand = (size - 1) / 2 + there * reference.pixels_per_unit(size, aligned)
        assert np.allclose(by_hand, x, rtol=0, atol=1e-12)
print("the centres of 4 pixels, False:", reference.to_normalised(np.arange(4), 4))
print("the centres of 4 pixels, True: ", reference.to_normalised(np.arange(4), 4, True).round(4))

# %% [markdown]
# Up to rounding, that is. A point that should be *on* a pixel may come back a hair beside it. With
# 28 pixels in float32:

# %%
pixel = np.arange(28, dtype=np.float32)
g = (2 * pixel + 1) / np.float32(28) - np.float32(1)
x = (g + np.float32(1)) * np.float32(14) - np.float32(0.5)
print(f"exact {(x == pixel).sum()}, a little less {(x < pixel).sum()}", end=", ")
print(f"a little more {(x > pixel).sum()}, at most {np.abs(x - pixel).max():.7f}")

# %% [markdown]
# Nobody sees that in a picture. But a bilinear sampler has a corner at every pixel, and on which
# side of it one is decides about the gradient. Chapter 8 is about that.
#
# ## Eq. (1), normalised
#
# In the paper both ends of Eq. (1) are normalised: the targets $-1 \le x_i^t, y_i^t \le 1$ by the
# size of the *output*, the sources by the size of the *input*.
#
# $$ \begin{pmatrix} x_i^s \\ y_i^s \end{pmatrix} = \begin{pmatrix} \theta_{11} & \theta_{12} &
# \theta_{13} \\ \theta_{21} & \theta_{22} & \theta_{23} \end{pmatrix} \begin{pmatrix} x_i^t \\
# y_i^t \\ 1 \end{pmatrix} \tag{1} $$
#
# The paper does not say which of the two rulers it means; both fit its words. Loop and package, for
# both, with an output of 3 rows and 5 columns:

# %%
thetas = rng.standard_normal((2, 2, 3))
for aligned in (False, True):
    x_t, y_t = reference.target_points(3, 5, aligned)
    print(f"align_corners={aligned}: x_t =", (x_t[:5] + 0.0).round(4), " y_t =", y_t[::5].round(4))
    G = F.affine_grid(thetas, (2, 1, 3, 5), align_corners=aligned).data
    for n in range(2):
        x_s, y_s = reference.eq01_affine_grid(thetas[n], x_t, y_t)
        assert np.allclose(G[n, ..., 0].ravel(), x_s, rtol=0, atol=1e-12), "Eq. (1): x differs"
        assert np.allclose(G[n, ..., 1].ravel(), y_s, rtol=0, atol=1e-12), "Eq. (1): y differs"

# %% [markdown]
# ## The same map, other numbers
#
# Our $\theta$ is meant in pixels. What are its six numbers in normalised coordinates? By hand, with
# the middle of the output, where normalised targets are $(0, 0)$. Its point is the third column.
# The middle is the pixel $(1.5, 1.5)$; see where it is read, measure from the middle, divide:

# %%
middle = theta @ [1.5, 1.5, 1]
print("the middle of the output is read at", middle)
print("from the middle of the input:", middle - 1.5)
print("False, divided by 2:  ", (middle - 1.5) / 2)
print("True, divided by 1.5: ", ((middle - 1.5) / 1.5).round(5))

# %% [markdown]
# The first two columns stay as they are: a step of the output, 2 pixels or 1.5 for each unit, and
# the step of the input it becomes, are measured with the same ruler, and what counts is their
# ratio. (That changes as soon as two axes have different lengths. Wait for the myth below.)
#
# In general, write the ruler as a matrix $R$ that turns normalised coordinates into pixels, one for
# the output and one for the input. To get from normalised targets to normalised sources: go to
# pixels, apply $\theta$, come back.
#
# $$ \theta_n = R_{in}^{-1} \, \theta \, R_{out}, \qquad R = \begin{pmatrix} f_W & 0 & \frac{W -
# 1}{2} \\ 0 & f_H & \frac{H - 1}{2} \\ 0 & 0 & 1 \end{pmatrix}, \qquad f_W = \frac{W}{2}
# \text{ or } \frac{W - 1}{2} $$


# %%
def ruler(size, align_corners=False):
    """The matrix from normalised coordinates to pixels, for an image of size (H, W)."""
    H, W = size
    f_W, f_H = (reference.pixels_per_unit(n, align_corners) for n in (W, H))
    return np.array([[f_W, 0, (W - 1) / 2], [0, f_H, (H - 1) / 2], [0, 0, 1]])


def normalised(theta, size_in, size_out, align_corners=False):
    """A theta for pixels as a theta for normalised coordinates."""
    full = np.vstack([theta, [0, 0, 1]])
    R_in, R_out = ruler(size_in, align_corners), ruler(size_out, align_corners)
    return (np.linalg.inv(R_in) @ full @ R_out)[:2]


for aligned in (False, True):
    print(f"align_corners={aligned}:\n", normalised(theta, (4, 4), (4, 4), aligned).round(5))

# %% [markdown]
# Three $\theta$s that look different and do the same. To see it: each reads the same sixteen points
# and the same sixteen values as the loop in pixels.

# %%
x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
V_loop = reference.eq03_sample(U[None], x_s, y_s, reference.eq05_bilinear_kernel)

for aligned in (False, True):
    theta_n = normalised(theta, (4, 4), (4, 4), aligned)
    G = F.affine_grid(theta_n[None], (1, 1, 4, 4), align_corners=aligned)
    x, y = (reference.to_pixels(G.data[0, ..., i].ravel(), 4, aligned) for i in (0, 1))
    assert np.allclose([x, y], [x_s, y_s], rtol=0, atol=1e-12), "Eq. (1): other points"
    V = F.grid_sample(U[None, None], G, align_corners=aligned).data
    assert np.allclose(V.ravel(), V_loop.ravel(), rtol=0, atol=1e-12)
    print(f"align_corners={aligned}: V at (1, 1) is {V[0, 0, 1, 1]:.4f}", end=", ")
    print(f"at (2, 0) {V[0, 0, 0, 2]:.4f}")

# %% [markdown]
# There and back again is easy now. For an input of 6 x 5 and an output of 3 x 7 pixels:

# %%
for aligned in (False, True):
    theta_n = normalised(theta, (6, 5), (3, 7), aligned)
    full = np.vstack([theta_n, [0, 0, 1]])
    back = ruler((6, 5), aligned) @ full @ np.linalg.inv(ruler((3, 7), aligned))
    assert np.allclose(back[:2], theta, rtol=0, atol=1e-12)
    print(f"align_corners={aligned}:\n", theta_n.round(4))

# %% [markdown]
# ### Myth: "[[cos, -sin], [sin, cos]] turns the image"
#
# In pixels it does. In normalised coordinates a unit along $x$ is $W / 2$ pixels and a unit along
# $y$ is $H / 2$ pixels. If the image is not square, a turn mixes units of two lengths. Here is a
# digit on a strip of 28 x 56 pixels, turned by 45 degrees both ways, and what the naive turn is in
# pixels:

# %%
digit = load_digits().test_images[3] / 255
strip = np.pad(digit, ((0, 0), (14, 14)))
cos = sin = np.sqrt(0.5)
naive = np.array([[cos, -sin, 0], [sin, cos, 0]])

R = ruler(strip.shape)
in_pixels = (R @ np.vstack([naive, [0, 0, 1]]) @ np.linalg.inv(R))[:2]
print("the naive turn, in pixels:\n", in_pixels[:, :2].round(3))
steps = np.hypot(*in_pixels[:, :2])
print("a step right is", steps[0].round(3), "pixels long, a step down", steps[1].round(3))

# %%
turn = np.array([[cos, -sin], [sin, cos]])
c = np.array([27.5, 13.5])  # the middle of the strip
converted = normalised(np.column_stack([turn, c - turn @ c]), strip.shape, strip.shape)
pictures = {"the strip": strip}
for name, theta_n in {"naive": naive, "converted": converted}.items():
    G = F.affine_grid(theta_n[None], (1, 1, *strip.shape))
    pictures[name] = F.grid_sample(strip[None, None], G).data[0, 0]
plots.pictures_figure(
    pictures,
    title="A turn by 45 degrees of an image that is not square",
    alt="The naive turn makes the digit slanted, long and thin; the converted one turns it and "
    "keeps its shape.",
)

# %% [markdown]
# ## The factor nobody prints
#
# Now to gradients. Walk along the line $y = 2.5$ of our image and write down $V$, then label the
# same walk with each of the three rulers. (All are drawn from the middle.)

# %%
blend = 0.5 * U[2] + 0.5 * U[3]
print("columns at y = 2.5:", blend)
x = np.linspace(0, 3, 61)
V = np.interp(x, np.arange(4), blend)
curves = {
    "pixels": (x - 1.5, V),
    "align_corners=False": (reference.to_normalised(x, 4), V),
    "align_corners=True": (reference.to_normalised(x, 4, True), V),
}
plots.curves_figure(
    curves,
    title="The same V, on three rulers",
    xlabel="coordinate, 0 is the middle of the row",
    ylabel="V at y = 2.5",
    points={"the point (2.5, 2.5)": ([1, 0.5, 2 / 3], [4.25] * 3)},
    alt="Three times the same broken line, from 3 up to 6.5 and down to 3: over pixels it is wide, "
    "over normalised coordinates narrow and steep. The point (2.5, 2.5) is on all of them at 4.25.",
)

# %% [markdown]
# The values are the same, the slopes are not: the narrower the curve, the steeper. At $x = 2.5$ the
# line falls from 5.5 to 3 within one pixel. One unit is 2 pixels on the one ruler and 1.5 on the
# other:

# %%
print("slope for each pixel:       ", 3 - 5.5)
print("slope for each unit, False: ", (3 - 5.5) * 2)
print("slope for each unit, True:  ", (3 - 5.5) * 1.5)

# %% [markdown]
# That is the chain rule, with the factor that can be read off the two formulas above:
#
# $$ \frac{\partial V}{\partial g} = \frac{\partial V}{\partial x}\, \frac{dx}{dg}, \qquad
# \frac{dx}{dg} = \frac{W}{2} \quad \text{(False)} \quad \text{or} \quad \frac{W - 1}{2} \quad
# \text{(True)} $$
#
# Eq. (1) of the paper is normalised. Its Eqs. (3) to (7) compare $x$ with the number of a column,
# so they are in pixels. Between the two this factor has to stand, and it is printed nowhere. In the
# package it is, of course; ask it for the slope along $x$ and along $y$ at $(2.5, 2.5)$. (Chapter 8
# derives that they are $-2.5$ and $-0.5$ for each pixel.)

# %%
for aligned in (False, True):
    g = reference.to_normalised(2.5, 4, aligned)
    G = Tensor(np.full((1, 1, 1, 2), g), requires_grad=True)
    F.grid_sample(U[None, None], G, align_corners=aligned).backward(np.ones((1, 1, 1, 1)))
    factor = reference.pixels_per_unit(4, aligned)
    print(f"align_corners={aligned!s:5}  package {G.grad[0, 0, 0]}  factor {factor}", end="  ")
    print("by hand", np.array([-2.5, -0.5]) * factor)
    assert np.allclose(G.grad[0, 0, 0], np.array([-2.5, -0.5]) * factor, rtol=0, atol=1e-12)

# %% [markdown]
# And the check with finite differences, on an image that is higher than wide:

# %%
images = rng.standard_normal((2, 3, 6, 5))
x = rng.integers(-1, 5, (2, 3, 4)) + rng.uniform(0.1, 0.9, (2, 3, 4))  # off the whole numbers
y = rng.integers(-1, 6, (2, 3, 4)) + rng.uniform(0.1, 0.9, (2, 3, 4))
for aligned in (False, True):
    G = np.stack(
        [reference.to_normalised(x, 5, aligned), reference.to_normalised(y, 6, aligned)], axis=-1
    )
    right = gradcheck(lambda G, aligned=aligned: F.grid_sample(images, G, align_corners=aligned), G)
    print(f"align_corners={aligned!s:5}  gradcheck: {right}")

# %% [markdown]
# ### Myth: "it is only a constant, the learning rate takes care of it"
#
# On a square image it is one constant for both axes. On our strip of 28 x 56 pixels it is 14 along
# $y$ and 28 along $x$: without the factor, gradients do not only have another length, they point
# another way. A slope of 1 for each pixel along both axes:

# %%
factors = np.array([reference.pixels_per_unit(56), reference.pixels_per_unit(28)])
for name, (dx, dy) in {"with the factor": factors, "without": np.ones(2)}.items():
    print(f"{name:16s} ({dx:g}, {dy:g}), direction {np.rad2deg(np.arctan2(dy, dx)):.2f} degrees")

# %% [markdown]
# ## What W, W - 1 and W - 2 do to the identity
#
# The identity is the first $\theta$ of every spatial transformer, and it should change nothing. It
# does so only if grid and sampler use the same ruler. Let the targets be from centre to centre,
# $-1$ to $1$ in equal steps, which is `True`. The sampler should multiply $g + 1$ by $(W - 1) / 2$.
# In published programs one finds $W / 2$ and $(W - 2) / 2$ as well. On 28 pixels:

# %%
W = 28
targets = {
    "False": reference.to_normalised(np.arange(W), W),
    "True": reference.to_normalised(np.arange(W), W, True),
}
rules = {
    "(g + 1) (W - 1) / 2": lambda g: (g + 1) * (W - 1) / 2,
    "(g + 1) W / 2": lambda g: (g + 1) * W / 2,
    "(g + 1) (W - 2) / 2": lambda g: (g + 1) * (W - 2) / 2,
    "((g + 1) W - 1) / 2": lambda g: ((g + 1) * W - 1) / 2,
}
print("targets  sampler              first     last  largest error")
offsets = {}
for corners, g in targets.items():
    for rule, convert in rules.items():
        x = convert(g)
        offsets[corners, rule] = x - np.arange(W)
        error = np.abs(offsets[corners, rule]).max()
        first, last = x[[0, -1]].round(3) + 0.0
        print(f"{corners:7s}  {rule:20s}{first:6.3f}  {last:7.3f}  {error:.4f}")

# %% [markdown]
# Two of the eight have no error: `True` with $W - 1$, and `False` with $((g + 1) W - 1) / 2$. All
# others move or zoom the picture. Five of them, pixel by pixel; above 0 the grid reads too far to
# the right:

# %%
plots.curves_figure(
    {
        "targets True, W": (np.arange(W), offsets["True", "(g + 1) W / 2"]),
        "targets True, W - 2": (np.arange(W), offsets["True", "(g + 1) (W - 2) / 2"]),
        "targets True, sampler False": (np.arange(W), offsets["True", "((g + 1) W - 1) / 2"]),
        "targets False, sampler True": (np.arange(W), offsets["False", "(g + 1) (W - 1) / 2"]),
        "targets False, W": (np.arange(W), offsets["False", "(g + 1) W / 2"]),
    },
    beside=True,
    title="How far off the identity reads",
    xlabel="pixel of the output",
    ylabel="x read, minus x wanted (pixels)",
    alt="Five straight lines. Targets True with W rise from 0 to 1, with W - 2 they fall from 0 to "
    "-1; the two mixtures of both rulers cross 0 in the middle; targets False with W are at one "
    "half everywhere.",
)

# %% [markdown]
# None of these five is off by more than a pixel, so no picture looks wrong. Now let the "identity"
# be applied ten times, as in a net with several transformers, or a video that is registered frame
# by frame:


# %%
def ten_times(image, corners, rule):
    """The image, read ten times by an identity that is none."""
    convert, g = rules[rule], targets[corners]
    x = convert(g)
    G = np.stack(np.meshgrid(*[reference.to_normalised(x, W)] * 2), axis=-1)[None]
    V = image[None, None]
    for _ in range(10):
        V = F.grid_sample(V, G).data
    return V[0, 0]


pictures = {
    "True, W - 1": ten_times(digit, "True", "(g + 1) (W - 1) / 2"),
    "True, W": ten_times(digit, "True", "(g + 1) W / 2"),
    "True, W - 2": ten_times(digit, "True", "(g + 1) (W - 2) / 2"),
    "True, read False": ten_times(digit, "True", "((g + 1) W - 1) / 2"),
    "False, W": ten_times(digit, "False", "(g + 1) W / 2"),
}
for name, V in pictures.items():
    x_ink = (V.sum(axis=0) * np.arange(W)).sum() / V.sum()
    print(f"{name:17s} middle of the ink at x = {x_ink:5.2f}, ink left {V.sum() / digit.sum():.2f}")
assert np.allclose(pictures["True, W - 1"], digit, rtol=0, atol=1e-9)
plots.pictures_figure(
    pictures,
    title="Ten identities",
    limits=(0, 1),
    alt="With W - 1 the digit is unchanged. With W it has become smaller and moved up and left, "
    "with W - 2 larger and moved down and right, with mixed rulers smaller and blurred, with False "
    "and W it has moved up and left.",
)

# %% [markdown]
# ## Which ruler should one take?
#
# Let a $\theta$ be found on a small image and used on a large one, or on a feature map of another
# size. Where is $g = -\frac{1}{2}$, as a part of the whole width from edge to edge?

# %%
for size in (4, 8, 28, 56):
    parts = [(reference.to_pixels(-0.5, size, aligned) + 0.5) / size for aligned in (False, True)]
    print(f"{size:2d} pixels:  False {parts[0]:.4f}   True {parts[1]:.4f}")

# %% [markdown]
# With `False` it is a quarter, at every size. With `True` it depends on the number of pixels, as
# there half a pixel stands out on each side, and half a pixel is much of a small image. The same in
# pictures: cut every pixel of the digit into four, so that nothing changes but their number, and
# read both with one $\theta$, each time the nearest pixel.

# %%
fine = digit.repeat(2, axis=0).repeat(2, axis=1)
theta_n = np.array([[[0.61, -0.23, 0.07], [0.19, 0.53, -0.11]]])
for aligned in (False, True):
    G = F.affine_grid(theta_n, (1, 1, 28, 28), align_corners=aligned)
    coarse_V, fine_V = (
        F.grid_sample(image[None, None], G, mode="nearest", align_corners=aligned).data
        for image in (digit, fine)
    )
    print(f"align_corners={aligned!s:5}  pixels that differ: {(coarse_V != fine_V).sum()} of 784")

# %% [markdown]
# Then `False` it is, the default of this package. `True` has its use where the *centres* of the
# corner pixels have to stay in place, as for control points at the corners. And it has a hole: an
# axis of one pixel has no length from centre to centre. The factor is 0, every $g$ reads that
# pixel, and no gradient comes back.

# %%
for aligned in (False, True):
    print(
        f"one pixel, align_corners={aligned!s:5}: {reference.pixels_per_unit(1, aligned)}", end=""
    )
    print(f" pixels for each unit, g = 0.5 is at {reference.to_pixels(0.5, 1, aligned):g}")

# %% [markdown]
# More important than which one is that it is the same one everywhere: in the grid generator, in the
# sampler, in the gradient.
#
# ## Exercises
#
# **Exercise 04.1.** The pixel of a normalised coordinate, with either ruler.


# %%
def to_pixels(g, size, align_corners):
    """The pixel coordinate of g on an axis of `size` pixels: a number."""
    ### BEGIN SOLUTION
    return (g + 1) * (size - 1) / 2 if align_corners else ((g + 1) * size - 1) / 2
    ### END SOLUTION


# %%
check("04.1", to_pixels)

# %% [markdown]
# **Exercise 04.2.** The other way: a $\theta$ for normalised coordinates is given. Return the one
# for pixels. The input is `size_in` = (H, W) pixels large, the output `size_out`.


# %%
def in_pixels_of(theta_n, size_in, size_out, align_corners):
    """The theta (2, 3) in pixels that reads the same points."""

    ### BEGIN SOLUTION
    def ruler(size):
        H, W = size
        less = 1 if align_corners else 0
        return np.array(
            [[(W - less) / 2, 0, (W - 1) / 2], [0, (H - less) / 2, (H - 1) / 2], [0, 0, 1]]
        )

    full = np.vstack([theta_n, [0, 0, 1]])
    return (ruler(size_in) @ full @ np.linalg.inv(ruler(size_out)))[:2]
    ### END SOLUTION


# %%
check("04.2", in_pixels_of)

# %% [markdown]
# **Exercise 04.3.** The grid generator, whole: a batch of thetas (N, 2, 3) and the `size` = (N, C,
# H, W) of the output; return the grid (N, H, W, 2) of normalised $(x, y)$, for both rulers. No axis
# has less than two pixels. The check says which mistake it sees.


# %%
def grid_of(theta, size, align_corners=False):
    """Eq. (1) for every pixel of the output, in normalised coordinates."""
    ### BEGIN SOLUTION
    N, _, H, W = size

    def centres(n):
        return np.linspace(-1, 1, n) if align_corners else (2 * np.arange(n) + 1) / n - 1

    x, y = np.meshgrid(centres(W), centres(H))
    targets = np.stack([x.ravel(), y.ravel(), np.ones(H * W)])
    return (theta @ targets).swapaxes(1, 2).reshape(N, H, W, 2)
    ### END SOLUTION


# %%
check("04.3", grid_of)

# %% [markdown]
# **Exercise 04.4.** The factor. Here is a function that knows the slopes of the bilinear sampler,
# but in pixels: give it points in pixels, and it returns how the loss changes for each pixel that
# a point moves along $x$, and along $y$. (Chapter 8 derives what it does.)


# %%
def slopes_in_pixels(dV, input, x, y):
    """dL/dx and dL/dy, (N, H', W'), for dV (N, C, H', W') and points x, y (N, H', W') in pixels."""
    dx, dy = np.zeros(x.shape), np.zeros(x.shape)
    for n in range(len(x)):
        at = input[n], x[n].ravel(), y[n].ravel()
        dV_n = dV[n].reshape(len(input[n]), -1)
        dx[n] = reference.grad_xs(dV_n, reference.eq07_grad_xs(*at)).reshape(x[n].shape)
        dy[n] = reference.grad_xs(dV_n, reference.eq07_grad_ys(*at)).reshape(x[n].shape)
    return dx, dy


# %% [markdown]
# The sampler's backward pass has to return the gradient of the *grid*, whose last axis is $(x, y)$
# in normalised coordinates. Write it around `slopes_in_pixels`: what goes in, and what comes out?
# The `input` (N, C, H, W) need not be square, and the grid (N, H', W', 2) may be of any size.


# %%
def grid_backward(dV, input, grid, align_corners=False):
    """dL/dgrid, (N, H', W', 2)."""
    ### BEGIN SOLUTION
    H, W = input.shape[2:]
    less = 1 if align_corners else 0
    factor = np.array([(W - less) / 2, (H - less) / 2])
    x, y = np.moveaxis(grid * factor + [(W - 1) / 2, (H - 1) / 2], -1, 0)
    return np.stack(slopes_in_pixels(dV, input, x, y), axis=-1) * factor
    ### END SOLUTION


# %%
check("04.4", grid_backward)

# %% [markdown]
# **Exercise 04.5.** Name the wrong factor. An image of 4 x 7 pixels (H x W) is read on a grid of
# 5 x 9 points, with `align_corners=False`. Of one point, finite differences say the first line.
# Six programs say the others, and each has another wrong factor: `"missing"` (none at all),
# `"exchanged"` (that of $y$ for $x$), `"inverted"`, `"doubled"`, `"aligned"` (that of
# `align_corners=True`), `"output"` (made of the size of the grid). Which is which?

# %%
Table(
    ["program", "dL/dx", "dL/dy"],
    [
        [name, *(f"{number:.3g}" for number in pair)]
        for name, pair in {"finite differences": ch04.measured(), **ch04.gradients()}.items()
    ],
)


# %%
def wrong_factors():
    """A dict: for each of "A" to "F" one of the six words."""
    ### BEGIN SOLUTION
    # The right factors are 7 / 2 and 4 / 2, so the slopes in pixels are 2 and -6.
    return {
        "A": "aligned",  # 6 / 2 = 3 and 3 / 2
        "B": "doubled",  # 7 and 4
        "C": "missing",  # 2 and -6 themselves
        "D": "output",  # 9 / 2 and 5 / 2
        "E": "exchanged",  # 2 and 7 / 2
        "F": "inverted",  # 2 / 7 and 2 / 4
    }
    ### END SOLUTION


# %%
check("04.5", wrong_factors)
