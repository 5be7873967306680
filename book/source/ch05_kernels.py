# %% [markdown]
# # 5 Kernels (Eqs. 3 and 4)
#
# *About 50 minutes. Needs chapter 4 (where the points come from). Builds samplers from Eq. (3),
# reads the nearest pixel with Eq. (4), and finds out which kernels let theta learn.*
#
# **The question.** The grid asks for the value at $(2.25, 1.75)$, where there is no pixel. Which
# pixels answer, and how much does each count? And why can a network not learn where to look if
# only the nearest one answers?

# %%
import inspect

import numpy as np

from stn_numpy import Tensor, gradcheck, plots, reference
from stn_numpy import functional as F
from stn_numpy.data import load_digits
from stn_numpy.exercises import check
from stn_numpy.functional import kernels

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)

# %% [markdown]
# ## Two points
#
# In the example of this book the output's pixel $(2, 0)$ is read at $(2.25, 1.75)$, and its pixel
# $(1, 1)$ at $(2.5, 2.5)$. Here they are in the image.

# %%
plots.pixels_figure(
    U,
    {"(2.25, 1.75)": (2.25, 1.75), "(2.5, 2.5)": (2.5, 2.5)},
    title="Two points between the pixels of U",
    alt="The sixteen pixels of U. The point (2.25, 1.75) lies inside the square of the pixel 8; "
    "the point (2.5, 2.5) lies where the squares of 8, 1, 3 and 5 meet.",
)

# %% [markdown]
# The simplest answer is to take the pixel in whose square the point lies, the *nearest* one. For
# the first point that is column 2 and row 2, the pixel 8.
#
# The second point lies on the edge of four squares. None of its four pixels is nearer than the
# others, and a rule has to decide. The paper's rule is to add one half and cut off the rest:

# %%
for x, y in [(2.25, 1.75), (2.5, 2.5)]:
    column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    print(f"point ({x}, {y}): column {column}, row {row}, V = {U[row, column]:g}")

# %% [markdown]
# ## Every pixel gets a weight
#
# Put it another way. Each pixel has a weight, and $V$ is the sum of all pixels times their
# weights. Here one pixel has the weight 1 and all others have 0. Other weights make other
# samplers. Drag the point, and choose a kernel:


# %%
def draw(x, y, kernel):
    return plots.weights_figure(
        U,
        x,
        y,
        kernel,
        title=f"{kernel}: reading U at ({x:g}, {y:g})",
        alt="Left, the image with the point. Right, the weights of the sixteen pixels: with the "
        "nearest kernel a single pixel has the weight 1.",
    )


plots.drag(
    draw, x=(-1.5, 4.5, 2.25), y=(-1.5, 4.5, 1.75), kernel=["nearest", "bilinear", "bicubic"]
)

# %% [markdown]
# All these samplers have two things in common. The weight of a pixel depends only on how far the
# point is from it, not on where in the image both are. And it is a product: one number for the
# distance along $x$, one for the distance along $y$. The function $k$ that gives these numbers is
# the **kernel**. This is Eq. (3) of the paper:
#
# $$
# V_i^c = \sum_n^H \sum_m^W U_{nm}^c \; k(x_i^s - m;\, \Phi_x) \; k(y_i^s - n;\, \Phi_y)
# \tag{3}
# $$
#
# for every point $i$ and every channel $c$. $\Phi$ stands for numbers that a kernel may have
# inside, and most have none. Note that $n$ and $m$ run over the whole image, and that all channels
# are read at the same point.
#
# The loop in `reference.py` takes any function of one distance for $k$:

# %%
print(inspect.getsource(reference.eq03_sample))

# %% [markdown]
# ## The kernel of the nearest pixel
#
# For which distances $d = x - m$ is $m$ the nearest pixel? The rule says for those with
# $\lfloor x + 0.5 \rfloor = m$. As $m$ is a whole number it may go inside:
# $\lfloor x - m + 0.5 \rfloor = \lfloor d + 0.5 \rfloor = 0$. With $\delta(0) = 1$, and
# $\delta = 0$ for all other numbers, that is Eq. (4) of the paper, the *integer* kernel
# $k(d) = \delta(\lfloor d + 0.5 \rfloor)$:
#
# $$
# V_i^c = \sum_n^H \sum_m^W U_{nm}^c \; \delta(\lfloor x_i^s + 0.5 \rfloor - m) \;
# \delta(\lfloor y_i^s + 0.5 \rfloor - n)
# \tag{4}
# $$

# %%
for d in (-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75):
    print(f"d = {d:5.2f}   k(d) = {reference.eq04_integer_kernel(d):g}")

# %%
plots.kernel_figure(
    ("nearest", "bilinear"),
    alt="Left, the kernels: nearest is a box from -0.5 to 0.5, bilinear a tent from -1 to 1. "
    "Right, their slopes: that of nearest is 0 everywhere, that of bilinear is 1, then -1.",
)

# %% [markdown]
# The box is closed on its left and open on its right: at $d = -0.5$ the pixel counts, at $d = 0.5$
# the next one does. So at every $x$ the weights of a row add up to exactly 1, ties included.
#
# Now the proof that loop and package agree, on three channels and points inside and outside. The
# package wants normalised coordinates (chapter 4). Its `mode` is the name of a kernel.

# %%
rng = np.random.default_rng(5)
image = rng.standard_normal((3, 6, 5))
x_s, y_s = rng.uniform(-2, 6, 100), rng.uniform(-2, 7, 100)


def grid_of(x_s, y_s, H, W):
    """Points in pixels as a grid (1, 1, points, 2), normalised for an image (H, W)."""
    G = [reference.to_normalised(x_s, W), reference.to_normalised(y_s, H)]
    return np.stack(G, axis=-1)[None, None]


G = grid_of(x_s, y_s, 6, 5)
for mode, k in [
    ("nearest", reference.eq04_integer_kernel),
    ("bilinear", reference.eq05_bilinear_kernel),
]:
    V_loop = reference.eq03_sample(image, x_s, y_s, k)
    V = F.grid_sample(image[None], G, mode=mode).data[0, :, 0]
    assert np.allclose(V, V_loop, rtol=0, atol=1e-12), f"Eq. (3): they differ for {mode}"
    print(f"{mode:8s} loop and package agree at {V.size} values")

# %% [markdown]
# Random points are never ties, so ties need a test of their own: all points with a half in them,
# in an image whose sides are powers of two, where normalised coordinates are exact.

# %%
halves = np.arange(-1, 4.5, 0.5)
x_s, y_s = (points.ravel() for points in np.meshgrid(halves, halves))
V_loop = reference.eq03_sample(U[None], x_s, y_s, reference.eq04_integer_kernel)
V = F.grid_sample(U[None, None], grid_of(x_s, y_s, 4, 4), mode="nearest").data[0, :, 0]
assert np.array_equal(V, V_loop), "Eq. (4): loop and package differ on ties"
print("points:", x_s.size, "  V at (2.5, 2.5):", V[0, (x_s == 2.5) & (y_s == 2.5)][0])

# %% [markdown]
# ### Myth: "rounding is floor"
#
# Some descriptions of spatial transformers print $\lfloor x \rfloor$ and call it rounding. It
# takes the pixel to the left of the point, however near the right one is.

# %%
for x in (1.9, 2.0, 2.25, 2.75):
    print(f"x = {x:4.2f}   floor(x) = {np.floor(x):g}   floor(x + 0.5) = {np.floor(x + 0.5):g}")

# %% [markdown]
# Does it matter? A kernel in this package is any object with `support`, `weights` and `slopes`, so
# the wrong one is quickly made. Read a digit with it, enlarged four times, and look where its ink
# is.


# %%
class Floor:
    """k(d) = 1 for 0 <= d < 1: the pixel at floor(x)."""

    support = 1

    def weights(self, d):
        return ((d >= 0) & (d < 1)).astype(d.dtype)

    def slopes(self, d):
        return np.zeros_like(d)


digit = load_digits().test_images[2] / 255
identity = np.array([[[1.0, 0, 0], [0, 1, 0]]])
fine = F.affine_grid(identity, (1, 1, 4 * 28, 4 * 28))  # four points a pixel, each way


def middle_of_ink(image):
    """The mean x of the ink, in pixels of the digit."""
    x = (np.arange(image.shape[1]) + 0.5) * 28 / image.shape[1] - 0.5
    return (image.sum(axis=0) * x).sum() / image.sum()


print(f"the digit:       {middle_of_ink(digit):.3f}")
for name, mode in [("nearest", "nearest"), ("floor", Floor())]:
    V = F.grid_sample(digit[None, None], fine, mode=mode).data[0, 0]
    print(f"read by {name:8s} {middle_of_ink(V):.3f}")

# %% [markdown]
# The digit has moved by half a pixel, to the right and, the same way, down. So it does wherever
# points fall evenly between the pixels and that rule is used.
#
# ## Half up, or half to even?
#
# There is a second rule in use. NumPy's `np.round`, PyTorch and ONNX round halves to the *even*
# neighbour. Here are three points of row 2 of $U$ that lie on halves:

# %%
row = U[2]
x = np.array([0.5, 1.5, 2.5])
up, even = np.floor(x + 0.5).astype(int), np.round(x).astype(int)
print("row 2:                  ", row, "  read at", x)
print("half up, Eq. (4):  m =", up, "  V =", row[up])
print("half to even:      m =", even, "  V =", row[even])

# %% [markdown]
# To even, one pixel is read twice and its neighbour never; half up, each is read once. At $(2.5,
# 2.5)$ the two rules give 5 and 8. This package follows the paper, and it is the one place where
# it differs from PyTorch. Ties are no rare accident: they come up whenever an image is moved by
# half a pixel, or made half as large.

# %%
for rule, rounded in [("half up", lambda x: np.floor(x + 0.5)), ("half to even", np.round)]:
    m = int(rounded(2.5))
    print(f"{rule:12s} 2.5 becomes {m}, and V at (2.5, 2.5) is {U[m, m]:g}")

# %% [markdown]
# **Exercise 05.1.** Read the nearest pixel by Eq. (4), without a sum over the image. What lies
# outside of the image is 0.


# %%
def nearest(U, x, y):
    """The value of the image U (H, W) at the point (x, y) in pixels: a number."""
    ### BEGIN SOLUTION
    H, W = U.shape
    n, m = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
    return U[n, m] if 0 <= n < H and 0 <= m < W else 0.0
    ### END SOLUTION


# %%
check("05.1", nearest)

# %% [markdown]
# ## Why nearest can not train theta
#
# Follow a point along row 2 of $U$, and plot what is read.

# %%
along = np.linspace(-0.5, 3.5, 401)
curves = {}
for mode in ("nearest", "bilinear"):
    V = F.grid_sample(U[None, None], grid_of(along, np.full(401, 2.0), 4, 4), mode=mode)
    curves[mode] = along, V.data[0, 0, 0]
plots.curves_figure(
    curves,
    title="Row 2 of U, read at x",
    xlabel="x (pixels)",
    ylabel="V",
    points={"pixels": (np.arange(4), U[2])},
    jump=0.5,
    alt="Nearest is a staircase with the levels 4, 6, 8 and 1; bilinear joins the same pixels by "
    "straight lines.",
)

# %% [markdown]
# The staircase is flat between its jumps: move the point a little, and nothing changes. The slope
# is 0 at almost every point, and at a jump there is none. Nothing changes in $V$, so nothing
# changes in the loss, so $\theta$ is told nothing. We ask the package for the gradient of $\theta$,
# with the theta of this book in normalised coordinates (chapter 4) and some gradient from above.

# %%
theta = np.array([[[0.25, 0.5, 0.6875], [-0.5, 0.25, 0.4375]]])
dV = np.array([[1, -1, 2, 0], [0, 3, 1, -2], [1, 0, -1, 2], [2, 1, 0, 1]], dtype=float)


def grad_theta(theta, mode):
    """dL/dtheta for the image U and the gradient dV from above."""
    theta = Tensor(theta, requires_grad=True)
    V = F.grid_sample(U[None, None], F.affine_grid(theta, (1, 1, 4, 4)), mode=mode)
    V.backward(dV[None, None])
    return theta.grad[0]


for mode in ("nearest", "bilinear"):
    print(f"{mode}:\n{grad_theta(theta, mode)}")

# %% [markdown]
# All six are exactly 0. This is no bug, and a gradient check agrees: 0 *is* the derivative. Only,
# it is of no use.

# %%
points = rng.uniform(-0.4, 0.4, (1, 2, 6, 2)) + rng.integers(0, 4, (1, 2, 6, 2))  # off the jumps
G = (2 * points + 1) / 4 - 1
print(gradcheck(lambda G: F.grid_sample(U[None, None], G, mode="nearest"), G))

# %% [markdown]
# The loss shows it best. Take a digit, and a copy of it that is moved by 1.5 pixels. Move the
# digit by $t$ pixels and compare: which $t$ makes the two alike?


# %%
def moved(t, mode="bilinear"):
    """The digit, read t pixels further to the right."""
    x, y = (points.ravel() for points in np.meshgrid(np.arange(28) + t, np.arange(28)))
    return F.grid_sample(digit[None, None], grid_of(x, y, 28, 28), mode=mode).data


def loss(t, mode):
    """The mean squared difference between the moved digit and the copy."""
    return ((moved(t, mode) - copy) ** 2).mean()


copy = moved(1.5)
for mode in ("nearest", "bilinear"):
    print(f"{mode:9s}", *(f"loss({t:g}) = {loss(t, mode):.4f}  " for t in (0, 0.25, 1, 1.25, 1.5)))
t = np.linspace(-1, 4, 251)
plots.curves_figure(
    {mode: (t, [loss(s, mode) for s in t]) for mode in ("nearest", "bilinear")},
    title="How unlike the digit and its copy are",
    xlabel="t (pixels)",
    ylabel="mean squared difference",
    jump=0.002,
    alt="Both losses are smallest near t = 1.5. With bilinear sampling the curve falls towards it; "
    "with nearest it goes down in steps that are flat.",
)

# %% [markdown]
# With nearest sampling a ball placed on this curve stays where it is. With bilinear sampling it
# rolls. Where no gradient has to reach the grid, nearest is fine, and for pictures of labels it is
# the only choice: between class 2 and class 4 there is no class 3.
#
# **Exercise 05.2.** The proof that the slope is 0. A point at $x$ moves to the right. How far is it
# to the next jump, where another pixel is read? If that is more than 0 for every $x$, then $V$ does
# not change on a whole stretch to the right of $x$, and its slope from the right is 0.


# %%
def room(x):
    """The distance in pixels from x to the next jump on its right; x may be any number."""
    ### BEGIN SOLUTION
    # Pixel floor(x + 0.5) is read up to half a pixel to its right, where the next one begins.
    return np.floor(x + 0.5) + 0.5 - x
    ### END SOLUTION


# %%
check("05.2", room)

# %% [markdown]
# ## A kernel of your own
#
# What should a good kernel have?
#
# 1. $k(0) = 1$, and $k = 0$ at all other whole numbers: at a pixel, that pixel is read.
# 2. The weights of a row add up to 1, wherever the point is: a grey wall stays grey. (All weights,
#    also those of pixels outside, which count as black.)
# 3. Slopes, so that a moving point changes something. This one $\theta$ can not learn without.
#
# The package's kernels are small. This is Eq. (5), which chapter 6 derives:

# %%
print(inspect.getsource(kernels.Bilinear))

# %% [markdown]
# The tent has corners, and in a corner there is no derivative. Chapter 8 is about the trouble that
# makes. So let us make a tent *without* corners: $k(d) = 1 - 3 d^2 + 2 |d|^3$ up to $|d| = 1$. Its
# slope is $-6 d\,(1 - |d|)$.


# %%
class Smooth:
    """k(d) = 1 - 3 d^2 + 2 |d|^3: a tent without corners."""

    support = 1

    def weights(self, d):
        r = np.abs(d)
        return np.where(r < 1, 1 - 3 * r**2 + 2 * r**3, 0)

    def slopes(self, d):
        return np.where(np.abs(d) < 1, -6 * d * (1 - np.abs(d)), 0)


d = np.linspace(-1.5, 1.5, 301)
plots.curves_figure(
    {"bilinear": (d, kernels.Bilinear().weights(d)), "smooth": (d, Smooth().weights(d))},
    title="A tent, and a tent without corners",
    xlabel="d = x - m (pixels)",
    ylabel="k(d)",
    alt="Both curves rise from 0 at -1 to 1 at 0 and fall to 0 at 1; the smooth one has no "
    "corners.",
)

# %% [markdown]
# The first two wishes, checked: at whole numbers it is 1 or 0, and the weights of the two pixels
# beside a point add up to 1.

# %%
a = np.linspace(0, 1, 11)
print("k at -1, 0, 1:", Smooth().weights(np.array([-1.0, 0, 1])))
print("sums:         ", (Smooth().weights(a) + Smooth().weights(a - 1)).round(12))

# %% [markdown]
# Hand it to the sampler as `mode`, and to the loop as a function: they agree, so Eq. (3) is all
# there is to a sampler. The package never heard of this kernel, but its gradients pass as well.

# %%
x_s, y_s = rng.uniform(-2, 6, 100), rng.uniform(-2, 7, 100)
G = grid_of(x_s, y_s, 6, 5)
V_loop = reference.eq03_sample(image, x_s, y_s, lambda d: Smooth().weights(np.float64(d)))
V = F.grid_sample(image[None], G, mode=Smooth()).data[0, :, 0]
assert np.allclose(V, V_loop, rtol=0, atol=1e-12), "Eq. (3): they differ for a kernel of our own"
print(gradcheck(lambda U, G: F.grid_sample(U, G, mode=Smooth()), [image[None], G[:, :, :9]]))

# %% [markdown]
# ## Smooth is not enough
#
# A network begins with $\theta$ = identity, so that it reads the whole image as it is. Then every
# point lies on a pixel. What does each kernel tell $\theta$ there?

# %%
for name, mode in [("nearest", "nearest"), ("bilinear", "bilinear"), ("smooth", Smooth())]:
    largest = np.abs(grad_theta(identity, mode)).max()
    print(f"{name:8s} largest of the six gradients: {largest:g}")

# %% [markdown]
# Nothing! Our kernel has no corners because it is flat at the pixels, at $d = 0$ and at $d = \pm
# 1$. A point on a pixel sees three flat places, and its gradient is 0, as with nearest sampling. A
# network would start with a theta that can not move. The corners of the tent are a nuisance, but
# they are also where its slope is.
#
# ## Bicubic: smooth, and with a slope
#
# To be smooth and yet have a slope at the pixels, a kernel has to look further, two pixels each
# way. Then it may cross 0 at $|d| = 1$ with a slope, and come back to 0 at $|d| = 2$.

# %%
plots.kernel_figure(
    ("bilinear", "bicubic"),
    alt="Left, the bicubic kernel: 1 at 0, through 0 at -1 and 1, a little below 0 beyond, and 0 "
    "from -2 and 2 on. Right, its slope, which has no jumps and is not 0 at -1 and 1.",
)

# %% [markdown]
# Its slope on the right, at $d = 1$, is a number $a$ that one may choose: it is the $\Phi$ of Eq.
# (3). With $a = 0$ it would be our tent without corners. PyTorch and this package take $a = -0.75$.
#
# At a pixel of column $x$ only its two neighbours have slopes, $-a$ on the right and $a$ on the
# left. So there the slope of $V$ is $-a\,(U_{x+1} - U_{x-1})$. For the pixel 8 of row 2, whose
# neighbours are 6 and 1:


# %%
def slope_at_8(mode):
    """dV/dx, per pixel, at the point (2, 2)."""
    G = Tensor(grid_of(np.array([2.0]), np.array([2.0]), 4, 4), requires_grad=True)
    F.grid_sample(U[None, None], G, mode=mode).backward(np.ones((1, 1, 1, 1)))
    return G.grad[0, 0, 0, 0] / reference.pixels_per_unit(4)


print("by hand, a = -0.75:", 0.75 * (1 - 6), "  package:", slope_at_8("bicubic"))
print("by hand, a = -0.5: ", 0.5 * (1 - 6), "  package:", slope_at_8(kernels.Bicubic(a=-0.5)))
assert slope_at_8("bicubic") == -3.75

# %% [markdown]
# (The factor `pixels_per_unit` turns a slope per normalised unit into one per pixel, as in chapter
# 4.) With $a = -0.5$ the slope is the mean of 2, the way up from 6 to 8, and $-7$, the
# way down from 8 to 1. Chapter 8 meets this mean again.

# %%
along = np.linspace(-1.5, 4.5, 601)
curves = {}
for mode in ("bilinear", "bicubic"):
    V = F.grid_sample(U[None, None], grid_of(along, np.full(601, 2.0), 4, 4), mode=mode)
    curves[mode] = along, V.data[0, 0, 0]
low, high = curves["bicubic"][1].min(), curves["bicubic"][1].max()
print(f"bicubic goes from {low:.2f} to {high:.2f}")
plots.curves_figure(
    curves,
    title="Row 2 of U, read at x",
    xlabel="x (pixels)",
    ylabel="V",
    points={"pixels": (np.arange(4), U[2])},
    alt="Bilinear is a chain of straight lines. Bicubic is a smooth curve through the same pixels, "
    "which swings a little above 8 and below 0.",
)

# %% [markdown]
# The price: sixteen pixels instead of four, and some of them count negatively. So $V$ can be larger
# than every pixel, or below 0, as here. Whoever wants to read probabilities or grey values from 0
# to 255 has to keep that in mind.
#
# Side by side: how many pixels a kernel looks at, its smallest weight, the slope at the pixel 8,
# and what theta gets if it is the identity:

# %%
table = {
    "nearest": kernels.Nearest(),
    "bilinear": kernels.Bilinear(),
    "smooth": Smooth(),
    "bicubic": kernels.Bicubic(),
}
print("kernel    looks at smallest weight  slope at 8  theta gets")
for name, kernel in table.items():
    d = np.linspace(-kernel.support, kernel.support, 4001)[:-1]
    gets = np.abs(grad_theta(identity, kernel)).max()
    print(
        f"{name:9s} {(2 * kernel.support) ** 2:7d} {kernel.weights(d).min():16.3f}"
        f" {slope_at_8(kernel):11.2f}  {'nothing' if gets == 0 else 'a gradient'}"
    )

# %% [markdown]
# Bilinear has slope $-7$ here, the way down from 8 to 1. Why not 2, the way up? Good question: it
# is that of chapter 8.
#
# **Exercise 05.3.** Build the bicubic kernel, with its slope. With $r = |d|$ it is one cubic
# polynomial for $r < 1$, another one for $1 \le r < 2$, and 0 beyond. These wishes fix both: $k(0)
# = 1$ and $k(1) = k(2) = 0$; the slopes are 0 at $r = 0$ and at $r = 2$, and $a = -0.75$ at $r =
# 1$, from both sides. Return it as an operation: the value, and a function that turns the gradient
# of the value into the gradient of $d$: `return k, backward`. (The second polynomial is 0 at 1, and
# at 2 even its slope is 0. So you know its zeros.)


# %%
def bicubic(d):
    """k(d) and its backward pass, for an array of distances d of any shape."""
    ### BEGIN SOLUTION
    # Near: 1 + B r^2 + A r^3 with 1 + B + A = 0 and 2 B + 3 A = a, so A = a + 2, B = -(a + 3).
    # Far: a (r - 1) (r - 2)^2, whose slope at 1 is a.
    a, r = -0.75, np.abs(d)
    near = 1 - (a + 3) * r**2 + (a + 2) * r**3
    far = a * (r - 1) * (r - 2) ** 2
    k = np.where(r < 1, near, np.where(r < 2, far, 0))

    def backward(dk):
        near = -2 * (a + 3) * r + 3 * (a + 2) * r**2
        far = a * ((r - 2) ** 2 + 2 * (r - 1) * (r - 2))
        return dk * np.sign(d) * np.where(r < 1, near, np.where(r < 2, far, 0))

    return k, backward
    ### END SOLUTION


# %%
check("05.3", bicubic)

# %% [markdown]
# **Exercise 05.4.** An image of a straight ramp has the value $m$ in column $m$. Read between its
# pixels, it should be straight: $x$ at the point $x$. Bilinear sampling keeps ramps, but the
# bicubic kernel with $a = -0.75$ makes them wavy, as the next cell shows. There is one $a$ that
# keeps them straight. Which one?

# %%
x = np.array([2.0, 2.25, 2.5, 2.75, 3.0])
ramp = np.tile(np.arange(8.0), (8, 1))[None, None]
print("x:      ", x)
for mode in ("bilinear", "bicubic"):
    V = F.grid_sample(ramp, grid_of(x, np.full(5, 3.0), 8, 8), mode=mode).data
    print(f"{mode}:", V[0, 0, 0].round(4))


# %%
def a_that_keeps_ramps():
    """The number a."""
    ### BEGIN SOLUTION
    # At a pixel the slope of V is -a (U[x + 1] - U[x - 1]), and on the ramp -2 a. It has to be 1.
    return -0.5
    ### END SOLUTION


# %%
check("05.4", a_that_keeps_ramps)
