# %% [markdown]
# # 8 Backward II: the grid (Eq. 7)
#
# *About 75 minutes. Needs chapters 6 and 7. Derives Eq. (7), which is printed wrong in the paper,
# finds corners in the bilinear sampler, and shows on digits how they decide the first step.*
#
# **The question.** If a point moves a little to the right, does what is read there get brighter or
# darker? And if the point stands exactly on a pixel, where one answer holds to the left and another
# one to the right?

# %%
import numpy as np

from stn_numpy import GradcheckError, Tensor, gradcheck, plots, reference
from stn_numpy import functional as F
from stn_numpy.data import load_digits
from stn_numpy.exercises import check
from stn_numpy.verify import kink_table, verify

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])

# %% [markdown]
# ## The picture
#
# Keep $y = 1.75$ and let $x$ run. Each column is then one number, a quarter of row 1 and three
# quarters of row 2, and $V$ runs along straight lines from one to the next.

# %%
b = 0.75
blend = (1 - b) * U[1] + b * U[2]
print("the columns at y = 1.75:", blend)
plots.row_figure(
    blend,
    2.25,
    title="V along the line y = 1.75",
    alt="The values 3.75, 6.75, 7.25 and 1.25 joined by straight lines. At x = 2.25 the line falls "
    "steeply, and V is 5.75.",
)

# %% [markdown]
# The slope at $x = 2.25$ is that of the line from column 2 to column 3:

# %%
print("dV/dx at (2.25, 1.75):", blend[3] - blend[2])

# %% [markdown]
# ## By hand
#
# The same with the four pixels themselves. Along $x$ each row has a step, from its left pixel to
# its right one. The steps are weighed as the rows are. Along $y$ it is the steps of the columns:

# %%
a, b = 0.25, 0.75
print("dV/dx =", (1 - b) * (2 - 5) + b * (1 - 8))
print("dV/dy =", (1 - a) * (8 - 5) + a * (1 - 2))

# %% [markdown]
# Move the point by one hundredth of a pixel to believe it:


# %%
def read(U, x, y):
    """V at one point."""
    return reference.eq03_sample(
        U[None], np.array([x]), np.array([y]), reference.eq05_bilinear_kernel
    )[0, 0]


V = read(U, 2.25, 1.75)
print(f"along x: {(read(U, 2.26, 1.75) - V) / 0.01:.4f}")
print(f"along y: {(read(U, 2.25, 1.76) - V) / 0.01:.4f}")

# %% [markdown]
# And at the point $(2.5, 2.5)$, where the pixels are 8 and 1 above 3 and 5:

# %%
print("dV/dx =", 0.5 * (1 - 8) + 0.5 * (5 - 3))
print("dV/dy =", 0.5 * (3 - 8) + 0.5 * (5 - 1))

# %% [markdown]
# The two numbers are an arrow: it points to where $V$ rises fastest, and it is the longer the
# steeper it is. Here it is at 36 points.

# %%
x, y = (points.ravel() for points in np.meshgrid(np.arange(0.25, 3, 0.5), np.arange(0.25, 3, 0.5)))
dx = reference.eq07_grad_xs(U[None], x, y)[0]
dy = reference.eq07_grad_ys(U[None], x, y)[0]
plots.arrows_figure(
    U,
    x,
    y,
    dx,
    dy,
    scale=0.06,
    title="dV/dx and dV/dy as arrows: uphill",
    alt="The image with an arrow at each of 36 points. They point to the bright pixels 9 and 8; "
    "beside the 9 they are longest.",
)

# %% [markdown]
# ## Eq. (7), derived
#
# In Eq. (5) only the weights along $x$ depend on $x_i^s$, and each is a tent:
#
# $$ \max(0, 1 - |x_i^s - m|) $$
#
# If the pixel $m$ lies ahead of the point, to its right and less than 1 away, a step to the right
# brings the point nearer, and the weight grows with slope 1. If the pixel lies behind, the weight
# falls with slope $-1$. All other pixels have no weight and get none. With the weights along $y$,
# which stay as they are:
#
# $$
# \frac{\partial V_i^c}{\partial x_i^s} = \sum_n^H \sum_m^W U_{nm}^c \, \max(0, 1 - |y_i^s - n|)
# \begin{cases} 1 & \text{if } 0 < m - x_i^s \le 1 \\ -1 & \text{if } -1 < m - x_i^s \le 0 \\
# 0 & \text{otherwise} \end{cases}
# \tag{7}
# $$
#
# Why $\le$ here and $<$ there? We come to that. As long as $x_i^s$ is no whole number it does not
# matter. The paper adds that it goes "similarly" for $y$: exchange $x$ with $y$ and $m$ with $n$.
#
# $$
# \frac{\partial V_i^c}{\partial y_i^s} = \sum_n^H \sum_m^W U_{nm}^c \, \max(0, 1 - |x_i^s - m|)
# \begin{cases} 1 & \text{if } 0 < n - y_i^s \le 1 \\ -1 & \text{if } -1 < n - y_i^s \le 0 \\
# 0 & \text{otherwise} \end{cases}
# $$
#
# Note the cross-wise weights. A row counts in the slope along $x$ by how near it is along $y$. The
# two loops, at our two points:

# %%
x_s, y_s = np.array([2.25, 2.5]), np.array([1.75, 2.5])
print("dV/dx:", reference.eq07_grad_xs(U[None], x_s, y_s))
print("dV/dy:", reference.eq07_grad_ys(U[None], x_s, y_s))

# %% [markdown]
# Most pixels are outside of every bracket, so in a program it is what we did by hand. With $m =
# \lfloor x \rfloor$, $n = \lfloor y \rfloor$, $a = x - m$ and $b = y - n$:
#
# $$
# \frac{\partial V}{\partial x} = (1 - b)(U_{n,m+1} - U_{n,m}) + b\,(U_{n+1,m+1} - U_{n+1,m})
# $$
#
# $$
# \frac{\partial V}{\partial y} = (1 - a)(U_{n+1,m} - U_{n,m}) + a\,(U_{n+1,m+1} - U_{n,m+1})
# $$
#
# ### Myth: "floor has no derivative, so the sampler has none"
#
# The floor is a staircase, that is true, and no gradient passes through it. None has to. The floor
# only says *which* pixels count, and where that changes, the pixel that enters or leaves has the
# weight 0. All that moves is in the weights $a$ and $b$, and they move smoothly in between.
#
# ## The factor that nobody prints
#
# Now we ask the package for the same two numbers.


# %%
def package_slopes(x, y, align_corners=False):
    """What `grid_sample` sends to the grid for one point, with the gradient 1 from above."""
    G = [reference.to_normalised(x, 4, align_corners), reference.to_normalised(y, 4, align_corners)]
    G = Tensor(np.array([[[G]]]), requires_grad=True)
    V = F.grid_sample(U[None, None], G, align_corners=align_corners)
    V.backward(np.ones(V.shape))
    return G.grad[0, 0, 0]


print("by hand:               ", np.array([-2.5, -0.5]))
print("package:               ", package_slopes(2.5, 2.5))
print("package, align_corners:", package_slopes(2.5, 2.5, align_corners=True))

# %% [markdown]
# Is the package wrong? No, it answers another question: by how much does $V$ change for each step
# of the *normalised* coordinate $g$, of which two fit into the whole image? Chapter 4 has the rule
# for the pixel of $g$:
#
# $$ x = \frac{(g + 1)\,W - 1}{2} \qquad\Rightarrow\qquad \frac{dx}{dg} = \frac{W}{2} $$
#
# A step of 1 in $g$ is $W / 2$ pixels, and with `align_corners` it is $(W - 1) / 2$. By the chain
# rule, each slope is multiplied by that. Eq. (1) of the paper is normalised and Eq. (7) is in
# pixels, so this factor has to be somewhere; it is printed nowhere. If it is left out, everything
# seems to work: for a square image the direction is correct, only each gradient is too small by the
# same factor, and one wonders why the learning rate has to be so large.

# %%
for aligned in (False, True):
    factor = reference.pixels_per_unit(4, aligned)
    print(f"align_corners={aligned!s:5}  factor {factor}  {np.array([-2.5, -0.5]) * factor}")
    assert np.array_equal(package_slopes(2.5, 2.5, aligned), np.array([-2.5, -0.5]) * factor)

# %% [markdown]
# Now for many points of an image that is higher than wide, so that $W / 2$ and $H / 2$ can not be
# mistaken for each other. A point moves all channels at once, so what it is told is summed over
# them: $\partial L / \partial x_i^s = \sum_c \partial L / \partial V_i^c \; \partial V_i^c /
# \partial x_i^s$.

# %%
rng = np.random.default_rng(8)
C, H, W, points = 3, 6, 5, 40
image = rng.standard_normal((C, H, W))
x_s = rng.integers(-1, W, points) + rng.uniform(0.05, 0.95, points)  # off the whole numbers
y_s = rng.integers(-1, H, points) + rng.uniform(0.05, 0.95, points)
dV = rng.standard_normal((C, points))

dx = reference.grad_xs(dV, reference.eq07_grad_xs(image, x_s, y_s))
dy = reference.grad_xs(dV, reference.eq07_grad_ys(image, x_s, y_s))

G = np.stack([reference.to_normalised(x_s, W), reference.to_normalised(y_s, H)], axis=-1)
tensor = Tensor(G[None, None], requires_grad=True)
F.grid_sample(image[None], tensor).backward(dV[None, :, None])
dG = tensor.grad[0, 0]

assert np.allclose(dG[:, 0], dx * W / 2, rtol=0, atol=1e-12), "Eq. (7): loop and package differ"
assert np.allclose(dG[:, 1], dy * H / 2, rtol=0, atol=1e-12), "Eq. (7): they differ along y"
print("largest difference is below 1e-12:", np.abs(dG[:, 0] - dx * W / 2).max() < 1e-12)
print("gradcheck:", gradcheck(lambda G: F.grid_sample(image[None], G), G[None, None]))

# %% [markdown]
# ## On a pixel
#
# All these points were off the whole numbers, and for a reason. Look at the picture at the top
# again. At $x = 2$ the line from the left arrives with slope 0.5, and the line to the right leaves
# with slope $-6$. Which of them is *the* slope at $x = 2$?

# %%
print("arriving at x = 2:", blend[2] - blend[1], "  leaving:", blend[3] - blend[2])

# %% [markdown]
# ### Myth: "interpolation makes everything differentiable"
#
# There is no slope at $x = 2$. The derivative is the limit of $(V(x + h) - V(x)) / h$ from both
# sides, and here the sides disagree however small $h$ is. Bilinear interpolation has made $V$
# *continuous*, without jumps. It has corners, *kinks*, at every whole $x$ and every whole $y$.

# %%
for h in (0.1, 0.001, 0.00001):
    left = (read(U, 2, 1.75) - read(U, 2 - h, 1.75)) / h
    right = (read(U, 2 + h, 1.75) - read(U, 2, 1.75)) / h
    print(f"h = {h:<7g} from the left {left:.4f}   from the right {right:.4f}")

# %% [markdown]
# A program has to return something. Here are four conventions, which agree everywhere else:
#
# - **right**: the slope of the line that leaves to the right. It is what $m = \lfloor x \rfloor$
#   gives without further thought, it is Eq. (7) as written above, and the choice of PyTorch and of
#   this package.
# - **left**: the slope of the line that arrives.
# - **mean**: the mean of both, which is what central differences measure.
# - **as printed** in the paper, which we come to now.
#
# (A fifth comes without being chosen: type Eq. (5) with its $|x - m|$, and leave the rest to
# automatic differentiation, which takes the slope of $|d|$ at 0 to be 0. On a pixel the point then
# gets **zero**, and a $\theta$ that is exactly the identity may hear nothing at all.)
#
# In Eq. (7) they differ in the bracket alone, and there only in where the equality signs are. Here
# is what a pixel at the distance $d = m - x_i^s$ is multiplied by:


# %%
def printed_slope(d):
    """The bracket of Eq. (7) as printed."""
    return 0 if abs(d) >= 1 else 1 if d >= 0 else -1


brackets = dict(reference.SLOPES, printed=printed_slope)
print("d        " + "".join(f"{d:6.1f}" for d in (-1, -0.5, 0, 0.5, 1)))
for name, bracket in brackets.items():
    print(f"{name:9s}" + "".join(f"{bracket(d):6.1f}" for d in (-1, -0.5, 0, 0.5, 1)))

# %% [markdown]
# ### Erratum: Eq. (7) as printed
#
# The paper prints the bracket like this:
#
# $$
# \begin{cases} 0 & \text{if } |m - x_i^s| \ge 1 \\ 1 & \text{if } m \ge x_i^s \\ -1 & \text{if } m
# < x_i^s \end{cases} \qquad \text{(as printed)}
# $$
#
# Between the pixels that is correct. Now put the point on a pixel, $x_i^s = 2$. The pixels 1 and 3
# are exactly 1 away, so the first line sends them to 0. The pixel 2 itself has $m \ge x_i^s$ and
# enters with $+1$. Nothing is subtracted from it. The "slope" is the value of the pixel itself!
#
# Read an image that is 7 everywhere, where $V$ is 7 wherever the point is:

# %%
sevens = np.full((1, 4, 4), 7.0)
on_a_pixel = np.array([2.0]), np.array([1.75])
print("left:   ", reference.eq07_grad_xs(sevens, *on_a_pixel, at_lattice="left")[0, 0])
print("right:  ", reference.eq07_grad_xs(sevens, *on_a_pixel, at_lattice="right")[0, 0])
print("printed:", reference.eq07_grad_xs_as_printed(sevens, *on_a_pixel)[0, 0])

# %% [markdown]
# A slope of 7 on a plain wall. Here are all conventions for the pixels of our row. (`analytic` is
# what the package's backward pass returns; left and right come from finite differences.)

# %%
print(kink_table(U, [(m, 1.75) for m in range(4)]))

# %%
x_s, y_s = np.arange(4.0), np.full(4, 1.75)
slopes = {
    "left": reference.eq07_grad_xs(U[None], x_s, y_s, at_lattice="left")[0],
    "right": reference.eq07_grad_xs(U[None], x_s, y_s, at_lattice="right")[0],
    "mean": reference.eq07_grad_xs(U[None], x_s, y_s, at_lattice="mean")[0],
    "Eq. (7) as printed": reference.eq07_grad_xs_as_printed(U[None], x_s, y_s)[0],
}
assert np.array_equal(slopes["left"], np.diff(blend, prepend=0)), "Eq. (7): not the left slope"
assert np.array_equal(slopes["right"], np.diff(blend, append=0)), "Eq. (7): not the right slope"
assert np.array_equal(slopes["Eq. (7) as printed"], blend), "Eq. (7): printed, it is V itself"
plots.tangents_figure(
    blend,
    slopes,
    title="What is called the slope of V at each pixel",
    alt="The four values joined by lines. Left and right slopes lie on these lines, the mean "
    "between them. The printed slope points up at every pixel, also at the last two, where the "
    "lines fall.",
)

# %% [markdown]
# In one place of the table the printed slope is the left one, at $x = 0$. There, and only there,
# the left neighbour is 0: the point stands at the border. So on a black background it may look
# correct. But how often is it at least *between* the left and the right slope, where one might call
# it a compromise? On random rows of grey values from 0 to 1, it is in one of four cases.

# %%
before, here, after = rng.uniform(0, 1, (3, 100_000))
left, right = here - before, after - here
between = (np.minimum(left, right) <= here) & (here <= np.maximum(left, right))
print(f"printed slope between left and right: {100 * between.mean():.0f} % of the rows")

# %% [markdown]
# (Grey values are not negative, so the printed slope $u$ is never below the left one. It is below
# the right one if the next pixel is more than $2u$, and for two random numbers that has the
# probability one quarter.)
#
# `verify` tells all conventions apart. This is what it says of the printed one:


# %%
def as_printed(U, x, y):
    return reference.eq07_grad_xs_as_printed(U[None], np.array([x]), np.array([y]))[0, 0]


print(verify(as_printed, "grid_sample", form="partial", wrt="x").advice())

# %% [markdown]
# ## The sixteen points of this book
#
# The theta of this book makes sixteen points, and some of them stand on whole $x$ or whole $y$.
# With the gradient from above of chapter 7, here is what each point is told, per pixel:

# %%
x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
dV = np.array([[1, -1, 2, 0, 0, 3, 1, -2, 1, 0, -1, 2, 2, 1, 0, 1]], dtype=float)
print("points on whole x:", (x_s % 1 == 0).sum(), "  on whole y:", (y_s % 1 == 0).sum())

dx = reference.grad_xs(dV, reference.eq07_grad_xs(U[None], x_s, y_s))
dy = reference.grad_xs(dV, reference.eq07_grad_ys(U[None], x_s, y_s))
print("dL/dx:\n", dx.reshape(4, 4))
print("dL/dy:\n", dy.reshape(4, 4))

G = np.stack([reference.to_normalised(x_s, 4), reference.to_normalised(y_s, 4)], axis=-1)
tensor = Tensor(G[None, None], requires_grad=True)
F.grid_sample(U[None, None], tensor).backward(dV[None, :, None])
assert np.array_equal(tensor.grad[0, 0, :, 0], 2 * dx), "Eq. (7): they differ on the example"
assert np.array_equal(tensor.grad[0, 0, :, 1], 2 * dy), "Eq. (7): they differ along y"

# %% [markdown]
# If all points moved together, by a shift, the loss would change by the sum of these numbers. The
# convention can be seen in it:

# %%
for side in ("right", "left", "mean"):
    dx = reference.grad_xs(dV, reference.eq07_grad_xs(U[None], x_s, y_s, at_lattice=side))
    dy = reference.grad_xs(dV, reference.eq07_grad_ys(U[None], x_s, y_s, at_lattice=side))
    print(f"{side:8s} along x {dx.sum():7.3f}   along y {dy.sum():7.3f}")
dx = reference.grad_xs(dV, reference.eq07_grad_xs_as_printed(U[None], x_s, y_s))
dy = reference.grad_xs(dV, reference.eq07_grad_ys_as_printed(U[None], x_s, y_s))
print(f"printed  along x {dx.sum():7.3f}   along y {dy.sum():7.3f}")

# %% [markdown]
# Chapter 9 takes these sixteen pairs of numbers on to theta.
#
# ## A gradient check on a pixel fails correct code
#
# Central differences step to both sides. On a kink they measure the mean, not the right slope, so
# a check of correct code fails there. Here is one point off the pixels, and the same point on one:

# %%
for x in (2.25, 2.0):
    G = np.array([[[[reference.to_normalised(x, 4), reference.to_normalised(1.75, 4)]]]])
    try:
        print(f"x = {x}:", gradcheck(lambda G: F.grid_sample(U[None, None], G), G))
    except GradcheckError as error:
        print(f"x = {x}:", error)

# %% [markdown]
# The two numbers in the complaint are the right slope and the mean, each times the same cotangent
# and the factor of 2. Chapter 10 shows how to check such code, and how to stay off the kinks.

# %%
G = np.array([[[[reference.to_normalised(2.0, 4), reference.to_normalised(1.75, 4)]]]])
v = np.random.default_rng(0).standard_normal((1, 1, 1, 1)).item()  # what gradcheck draws
print(f"right slope {-6 * 2 * v:.6f}, mean {-2.75 * 2 * v:.6f}")

# %% [markdown]
# **Exercise 08.1.** Derive the slope along $x$ at one point, from the right where the point is on a
# pixel. `verify` judges it at points inside, around the border and on pixels.


# %%
def slope_x(U, x, y):
    """dV/dx, per pixel, for the image U (H, W) and the point (x, y) in pixels: a number."""
    ### BEGIN SOLUTION
    H, W = U.shape
    n, m = int(np.floor(y)), int(np.floor(x))
    b = y - n

    def pixel(row, column):
        return U[row, column] if 0 <= row < H and 0 <= column < W else 0.0

    above = pixel(n, m + 1) - pixel(n, m)
    below = pixel(n + 1, m + 1) - pixel(n + 1, m)
    return (1 - b) * above + b * below
    ### END SOLUTION


# %%
check("08.1", slope_x)

# %% [markdown]
# **Exercise 08.2.** Refute the printed Eq. (7) with an image of your own. Find a 4 x 4 image for
# which $V$ does not change at all if the point $(2, 1.75)$ moves along $x$, to the left or to the
# right, while the printed equation says that it changes by 12 for each pixel.


# %%
def flat_image():
    """The image, an array (4, 4)."""
    ### BEGIN SOLUTION
    # The same in every column, and 12 where row 1 counts 1/4 and row 2 counts 3/4.
    return np.full((4, 4), 12.0)
    ### END SOLUTION


# %%
check("08.2", flat_image)

# %% [markdown]
# ## Does a single point matter?
#
# Kinks are rare, one might think: who stands exactly on a pixel? A spatial transformer does, at the
# very beginning. It starts with $\theta$ = identity, and then every point of the grid is a pixel,
# up to rounding errors:

# %%
for size in (28, 32):
    identity = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    G = F.affine_grid(identity, (1, 1, size, size)).data[0, 0, :, 0]
    x = (G + 1) * np.float32(size / 2) - np.float32(0.5)
    off = x - np.arange(size)
    print(
        f"{size} pixels: {(off == 0).sum()} of {size} points exactly on a pixel, "
        f"{(off < 0).sum()} a hair to the left, {(off > 0).sum()} a hair to the right"
    )

# %% [markdown]
# So the first gradient that $\theta$ ever gets is made of kinks, and with 28 pixels it is a mixture
# of sides. Does it matter which convention is taken? Let us see, with the digits of this package.
# They get two black pixels on each side, 32 x 32 in all, so that every point is exactly on a
# pixel.
#
# ## Finding a shifted digit
#
# Take a digit $I$ and a copy $T$ of it that is read 1.5 pixels further to the right. (So the
# picture in $T$ lies further to the left: chapter 3.) Starting from no shift, $t = 0$, we look
# for the shift that makes the two alike, by descending the loss
#
# $$ L(t) = \tfrac12 \sum_i (V_i(t) - T_i)^2 $$
#
# where $V(t)$ is the digit read $t$ pixels further to the right. The points have to go right, so
# the first step should make $t$ larger. For copies that are read 1.5 pixels further to the left,
# the points have to go left.

# %%
digits = np.pad(load_digits().test_images / 255, ((0, 0), (2, 2), (2, 2)))
N, size = len(digits), digits.shape[1]


def moved(I, t):
    """Images I (N, H, W), read t pixels further to the right; t a number, or one for each."""
    theta = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (len(I), 1, 1))
    theta[:, 0, 2] = t / reference.pixels_per_unit(size)
    G = F.affine_grid(theta, (len(I), 1, size, size))
    return F.grid_sample(I[:, None], G).data[:, 0]


I, T = digits[2], moved(digits[2:3], 1.5)[0]
plots.pictures_figure(
    {"I, the digit": I, "T, read at x + 1.5": T, "I - T": I - T},
    title="Which shift makes I look like T?",
    alt="A digit, its copy that lies a little further to the left, and their difference, which is "
    "bright on the right of each stroke and dark on its left.",
)

# %% [markdown]
# By the chain rule, $dL/dt = \sum_i (V_i - T_i)\, \partial V_i / \partial x_i^s$. At $t = 0$ all
# points are on pixels, both along $x$ and along $y$. There the four conventions need nothing but
# neighbours: the slope is a difference of two pixels, or, as printed, the pixel itself. First the
# proof of that, against the loops, on a part of a digit:


# %%
def slopes_at_pixels(I):
    """dV/dx at every pixel of the images I (..., H, W), by the four conventions."""
    before, after = np.zeros_like(I), np.zeros_like(I)
    before[..., 1:], after[..., :-1] = I[..., :-1], I[..., 1:]
    left, right = I - before, after - I
    return {"left": left, "right": right, "mean": (left + right) / 2, "printed": I}


part = digits[2, 8:18, 12:20]
x, y = (points.ravel() for points in np.meshgrid(np.arange(8.0), np.arange(10.0)))
for name, slope in slopes_at_pixels(part).items():
    if name == "printed":
        loop = reference.eq07_grad_xs_as_printed(part[None], x, y)
    else:
        loop = reference.eq07_grad_xs(part[None], x, y, at_lattice=name)
    assert np.allclose(slope.ravel(), loop[0], rtol=0, atol=1e-12), f"Eq. (7): {name}"
print("four conventions, as the loops say, at", x.size, "points each")

# %% [markdown]
# Then the first step. It goes downhill, against the gradient: to the right if $dL/dt$ is negative.


# %%
def correct_first_steps(I, shift):
    """Percentage of the images I whose first step has the sign of the shift, by convention."""
    difference = I - moved(I, shift)
    gradients = {
        name: (difference * slope).sum(axis=(1, 2)) for name, slope in slopes_at_pixels(I).items()
    }
    return {
        name: 100 * (np.sign(-gradient) == np.sign(shift)).mean()
        for name, gradient in gradients.items()
    }


conventions = ("left", "right", "mean", "printed")
heading = "".join(f"{name:>9s}" for name in conventions)
print(f"{N} digits " + heading)
for shift in (1.5, -1.5):
    percent = correct_first_steps(digits, shift)
    print(f"shift {shift:4.1f} " + "".join(f"{percent[name]:9.1f}" for name in conventions))

# %% [markdown]
# With the printed equation the first step goes to the left for every digit, wherever the copy is:
# it is always wrong where the points have to go right. Exercise 08.3 proves that this has to be
# so. The other three are correct for every digit.
#
# That the package does what stands here under "right" is one more line:

# %%
theta = Tensor(np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (N, 1, 1)), requires_grad=True)
V = F.grid_sample(digits[:, None], F.affine_grid(theta, (N, 1, size, size)))
V.backward(V.data - moved(digits, 1.5)[:, None])
by_hand = ((digits - moved(digits, 1.5)) * slopes_at_pixels(digits)["right"]).sum(axis=(1, 2))
assert np.allclose(theta.grad[:, 0, 2], by_hand * reference.pixels_per_unit(size)), "Eq. (7)"
print("dL/dtheta_13 of the first digit:", theta.grad[0, 0, 2].round(4))

# %% [markdown]
# ## Sharper digits
#
# These digits are soft: they were enlarged from 8 x 8 pixels. Let us raise their contrast, in the
# end to ink or nothing, where every pixel is 0 or 1.


# %%
def sharper(I, contrast):
    return np.clip((I - 0.5) * contrast + 0.5, 0, 1)


levels = {"soft": 1, "contrast 8": 8, "contrast 16": 16, "ink or nothing": 1e9}
both = {name: {} for name in levels}
for shift, where in ((1.5, "right"), (-1.5, "left")):
    print(f"have to go {where:5s}" + heading)
    for name, contrast in levels.items():
        percent = correct_first_steps(sharper(digits, contrast), shift)
        print(f"{name:16s}" + "".join(f"{p:9.1f}" for p in percent.values()))
        for convention, p in percent.items():
            both[name][convention] = round(both[name].get(convention, 0) + p / 2, 1)

# %%
plots.bars_figure(
    both,
    title="How often the first step goes where it should, over both ways",
    ylabel="correct first steps (%)",
    alt="Four groups of bars, from soft digits to ink or nothing. The mean is correct in 100 "
    "percent everywhere, the printed slope in 50. Left and right fall from 100 to 50 as digits get "
    "sharper.",
)

# %% [markdown]
# The sharper the digits, the worse for the one-sided conventions. With ink or nothing the right
# slope never leads to the left, and the left slope never to the right. Only the mean goes where it
# should. Why? Look at the loss around the start.


# %%
def loss(I, t, shift):
    """L(t) for images I whose copies are at `shift`, divided by the sum of I squared."""
    return 0.5 * ((moved(I, t) - moved(I, shift)) ** 2).sum() / (I**2).sum()


one = digits[118:119]
t = np.linspace(-0.5, 0.5, 101)
curves = {}
for name in ("soft", "ink or nothing"):
    I = sharper(one, levels[name])
    curves[name] = t, [loss(I, s, -1.5) for s in t]
    print(
        f"{name:15s}",
        *(f"L({s:g}) = {loss(I, s, -1.5):.4f}  " for s in (-0.1, -0.01, 0, 0.01, 0.1)),
    )
plots.curves_figure(
    curves,
    title="The loss for one digit whose copy is at t = -1.5",
    xlabel="t (pixels)",
    ylabel="L(t), per sum of I squared",
    alt="Both curves rise from left to right. The soft one rises all the way. The one for ink or "
    "nothing has a sharp tip at t = 0, from which it falls steeply to the left and a little to the "
    "right, before it rises again.",
)

# %% [markdown]
# On ink or nothing, $t = 0$ is the tip of a peak for this digit: the loss falls to *both* sides.
# Between two pixels the digit is read as a mean of neighbours, so that a little to either side its
# edges turn grey. Where the copy disagrees with a pixel, grey costs less than plain black or white.
# So the wrong side, too, begins with a way down, but a short one. How many digits are like that?

# %%
I, h = sharper(digits, levels["ink or nothing"]), 1e-5
start, to_the_right, to_the_left = (
    np.array([loss(I[k : k + 1], t, -1.5) for k in range(len(I))]) for t in (0, h, -h)
)
wrong_way, right_way = (to_the_right - start) / h, (to_the_left - start) / h
assert np.all(right_way < -0.01), "the way to the copy leads down"
down, flat = np.sum(wrong_way < -1e-3), np.sum(np.abs(wrong_way) < 1e-4)
print(f"of {len(I)} digits the wrong way leads down for {down}, and is flat for {flat}")
assert down + flat == len(I) and down > 0.5 * len(I)

# %% [markdown]
# For none it leads up at once; where it is flat, there is no first step. That is no mistake of a
# derivation. It is what bilinear sampling does to sharp edges.
#
# ## Is a wrong first step the end?
#
# After one step the point is off the pixels, and from there on all conventions agree. So we let
# each of them do its first step, and then descend with the package's gradient, which is that of
# all four there. How many digits end within a tenth of a pixel of their copy?


# %%
def arrived(I, shift, convention, steps=40, rate=2.0):
    """Percentage of the images I that find their copy T by gradient descent."""
    T, scale = moved(I, shift), rate / (I**2).sum(axis=(1, 2))
    slope = slopes_at_pixels(I)[convention]
    t = -scale * ((I - T) * slope).sum(axis=(1, 2))
    unit = reference.pixels_per_unit(size)
    for _ in range(steps - 1):
        theta = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (len(I), 1, 1))
        theta[:, 0, 2] = t / unit
        theta = Tensor(theta, requires_grad=True)
        V = F.grid_sample(I[:, None], F.affine_grid(theta, (len(I), 1, size, size)))
        V.backward(V.data - T[:, None])
        t = t - scale * theta.grad[:, 0, 2] / unit
    return 100 * (np.abs(t - shift) < 0.1).mean()


few = digits[::20]
print(f"{len(few)} digits             " + heading)
for name in ("soft", "contrast 16"):
    I = sharper(few, levels[name])
    for shift in (1.5, -1.5):
        percent = [arrived(I, shift, convention) for convention in conventions]
        print(f"{name:11s} shift {shift:4.1f}" + "".join(f"{p:9.0f}" for p in percent))

# %% [markdown]
# On soft digits everyone arrives, even with the printed equation: it loses a step or two. On sharp
# ones,
# many of those who start in the wrong direction end in a dent between two peaks and stay there. So:
#
# - Eq. (7) as printed is no choice at all. Its first step is to the left wherever the copy is, as
#   long as the copy is no brighter than the image.
# - Right or left does not matter on soft images, for copies as near as these. This package takes
#   the right, as PyTorch does, so that the two can be compared number by number.
# - The mean would be the better first step. But a better cure is to blur sharp images, which takes
#   the peaks away.
#
# ## How far a point can see
#
# One thing more is in Eq. (7): only the four pixels around a point are in it. A point knows whether
# it gets brighter to its right, not where the digit is. One pixel beyond the last centre it knows
# nothing.

# %%
for x in (2.5, 3.5, 4.5):
    dx, dy = package_slopes(x, 1.75)
    print(f"at ({x}, 1.75): dx = {dx}, dy = {dy}")

# %% [markdown]
# That is why a spatial transformer that has turned away from the image does not find back: its
# points are told 0, and so is $\theta$.
#
# ## Exercises
#
# **Exercise 08.3.** The proof that the printed first step always goes to the left. On a pixel the
# printed slope is the pixel's own value, so at $t = 0$ the gradient is $g = \sum_i (I_i - T_i)\,
# I_i$. Write it with lengths and products of vectors. Let the lengths $\|I\|$ and $\|T\|$ be given,
# and nothing else. What is the smallest value that $g$ can have? (Cauchy and Schwarz know how large
# a product of two vectors can get.) Then: a copy that is a mean of two shifted images is not longer
# than the image. What does it mean for the sign of $g$?


# %%
def smallest_gradient(length_I, length_T):
    """The smallest possible g for vectors I and T of these lengths."""
    ### BEGIN SOLUTION
    # g = <I - T, I> = |I|^2 - <I, T>, and <I, T> <= |I| |T|, with equality if T points as I does.
    # If |T| <= |I| it is not negative, so t never grows in the first step. (A half pixel shift is
    # a mean of two shifts, each at most as long as I: by the triangle inequality, |T| <= |I|.)
    return length_I * (length_I - length_T)
    ### END SOLUTION


# %%
check("08.3", smallest_gradient)

# %% [markdown]
# **Exercise 08.4.** The backward pass for the grid, complete: a batch, several channels, points
# anywhere, both settings of `align_corners`, and the slope from the right on pixels. Mind the
# factor that nobody prints. `verify` judges it.


# %%
def grad_grid(dV, input, grid, align_corners=False):
    """dL/dG (N, H', W', 2), from dV (N, C, H', W'), the image (N, C, H, W) and the grid."""
    ### BEGIN SOLUTION
    N, _, H, W = input.shape
    if align_corners:
        x, y = (grid[..., 0] + 1) * (W - 1) / 2, (grid[..., 1] + 1) * (H - 1) / 2
        per_x, per_y = (W - 1) / 2, (H - 1) / 2
    else:
        x, y = ((grid[..., 0] + 1) * W - 1) / 2, ((grid[..., 1] + 1) * H - 1) / 2
        per_x, per_y = W / 2, H / 2
    m, n = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - m)[:, None], (y - n)[:, None]  # one for all channels
    framed = np.pad(input, ((0, 0), (0, 0), (1, 1), (1, 1)))  # what is outside is 0
    number = np.arange(N)[:, None, None]

    def pixel(row, column):
        row, column = np.clip(row + 1, 0, H + 1), np.clip(column + 1, 0, W + 1)
        return framed[number, :, row, column].transpose(0, 3, 1, 2)

    U00, U01 = pixel(n, m), pixel(n, m + 1)
    U10, U11 = pixel(n + 1, m), pixel(n + 1, m + 1)
    dV_dx = (1 - b) * (U01 - U00) + b * (U11 - U10)
    dV_dy = (1 - a) * (U10 - U00) + a * (U11 - U01)
    dx, dy = (dV * dV_dx).sum(axis=1) * per_x, (dV * dV_dy).sum(axis=1) * per_y
    return np.stack([dx, dy], axis=-1)
    ### END SOLUTION


# %%
check("08.4", grad_grid)
