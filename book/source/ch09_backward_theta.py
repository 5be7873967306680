# %% [markdown]
# # 9 Backward III: theta
#
# *About 60 minutes. Needs chapter 2 (what each number of $\theta$ does), chapter 4 (units) and
# chapter 8 (how $V$ changes when its point moves). Derives the step that the paper does not print,
# and takes one step of gradient descent by hand, from the image to $\theta$ and back.*
#
# **The question.** Chapter 8 says where each point of the grid would like to go. But no point can
# go anywhere alone: there are six numbers, and each of them moves all points at once. Which way
# should the six go?

# %%
import inspect

import numpy as np

from stn_numpy import functional as F
from stn_numpy import gradcheck, plots, reference
from stn_numpy.autograd import Tensor
from stn_numpy.data import load_digits
from stn_numpy.exercises import check
from stn_numpy.gradcheck import numeric_gradients
from stn_numpy.verify import verify

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])

# %% [markdown]
# ## Six numbers, sixteen points
#
# Here are the sixteen points of our $\theta$, in pixels. In each plot, one of the six numbers
# grows a little, and the arrows say where the points go.

# %%
plots.nudges_figure(
    theta,
    (4, 4),
    title="Each number of theta moves all points",
    alt="Six plots of the same tilted grid. The numbers of the first row move points to the right, "
    "those of the second row down. The last number of a row moves all points alike, the first "
    "moves a point the further the larger its x_t, the second the larger its y_t.",
)

# %% [markdown]
# Three things to see:
#
# - The first row of $\theta$ moves points along $x$ only, the second row along $y$ only.
# - $\theta_{13}$ and $\theta_{23}$ move all points by the same amount.
# - $\theta_{11}$ moves a point in proportion to its $x^t$: the column of the *output* it belongs
#   to. The points of column 0, the lower side here, do not move at all. $\theta_{12}$ does the
#   same with $y^t$: it is row 0, the thick side, that stays.
#
# Eq. (1) says why. $x^s = \theta_{11} x^t + \theta_{12} y^t + \theta_{13}$ is a sum of products,
# and the derivative of a product with respect to one factor is the other factor:
#
# $$ \frac{\partial x^s}{\partial \theta_{11}} = x^t, \qquad
# \frac{\partial x^s}{\partial \theta_{12}} = y^t, \qquad
# \frac{\partial x^s}{\partial \theta_{13}} = 1, $$
#
# and the same for $y^s$ with the second row. That is all there is to derive. Let us check one of
# them on the pixel $(2, 0)$ of the output:

# %%
x_before = 0.25 * 2 + 0.5 * 0 + 1.75
x_after = (0.25 + 0.125) * 2 + 0.5 * 0 + 1.75
print("theta_11 grows by 0.125, x_s by", x_after - x_before)

# %% [markdown]
# ## One pixel, by hand
#
# The pixel $(1, 1)$ of the output is read at $(2.5, 2.5)$, between 8, 1, 3 and 5. Chapter 8 says
# how much $V$ changes for each pixel that the point moves along $x$, or along $y$:

# %%
dV_dx = 0.5 * (1 - 8) + 0.5 * (5 - 3)
dV_dy = 0.5 * (3 - 8) + 0.5 * (5 - 1)
print("dV/dx =", dV_dx, "  dV/dy =", dV_dy)

# %% [markdown]
# Now the chain rule. $\theta_{11}$ moves the point by $x^t = 1$ to the right, and the point moves
# $V$ by $-2.5$ for each pixel. So $\theta_{11}$ moves $V$ by $-2.5 \cdot 1$. In the same way each
# of the six numbers gets the slope of its row times $x^t$, $y^t$ or 1 of its column:

# %%
x_t, y_t = 1, 1
print([dV_dx * x_t, dV_dx * y_t, dV_dx * 1])
print([dV_dy * x_t, dV_dy * y_t, dV_dy * 1])

# %% [markdown]
# ### The pixel that hides nothing
#
# At $(1, 1)$ the three numbers of a row are equal, as $x^t = y^t = 1$. Whoever exchanges $x^t$ and
# $y^t$, or forgets one of them, gets the right answer all the same. So never test on a point like
# that. The companion $(2, 0)$ is read at $(2.25, 1.75)$, between 5, 2, 8 and 1:

# %%
dV_dx = 0.25 * (2 - 5) + 0.75 * (1 - 8)
dV_dy = 0.75 * (8 - 5) + 0.25 * (1 - 2)
x_t, y_t = 2, 0
print("read at", 0.25 * 2 + 1.75, -0.5 * 2 + 2.75)
print("dV/dx =", dV_dx, "  dV/dy =", dV_dy)
print(np.outer([dV_dx, dV_dy], [x_t, y_t, 1]) + 0.0)  # + 0.0 makes -0.0 a plain 0.0

# %% [markdown]
# ## All pixels pull
#
# A network has one $\theta$ for all pixels of its output. What arrives from above is $dL/dV$, one
# number for each of them. As in chapters 7 and 8, let it be these sixteen:

# %%
dV = np.array([[1, -1, 2, 0], [0, 3, 1, -2], [1, 0, -1, 2], [2, 1, 0, 1]], dtype=float)

x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)

dx = reference.grad_xs(dV.reshape(1, 16), reference.eq07_grad_xs(U[None], x_s, y_s))
dy = reference.grad_xs(dV.reshape(1, 16), reference.eq07_grad_ys(U[None], x_s, y_s))
print("dL/dx of each point:\n", dx.reshape(4, 4))
print("dL/dy of each point:\n", dy.reshape(4, 4))

# %% [markdown]
# That is chapter 8: the numbers by which each point would like to move. (Where a point is on a
# whole number, it is the derivative from the right.)

# %%
plots.arrows_figure(
    U,
    x_s,
    y_s,
    -dx,
    -dy,
    scale=0.1,
    title="Where each point would go: -dL/dx, -dL/dy",
    alt="The sixteen points on U, each with an arrow. The arrows go all ways: what is good for one "
    "point is bad for another.",
)

# %% [markdown]
# The arrows disagree, and $\theta$ is what they have to agree on. To first order, the changes of
# the loss add up: $\theta_{13}$ moves all sixteen points by 1, so it gets the *sum* of all
# $dL/dx$. $\theta_{11}$ moves the points of column 2 twice as far as those of column 1, so they
# count twice. By hand, from the sums of the columns and the rows of the table above:

# %%
columns = dx.reshape(4, 4).sum(axis=0)
rows = dx.reshape(4, 4).sum(axis=1)
print("sums of the columns:", columns)
print("sums of the rows:   ", rows)
print("dL/dtheta_11 =", 0 * -6 + 1 * -7.75 + 2 * -17 + 3 * 0.5)
print("dL/dtheta_12 =", 0 * -9.75 + 1 * -11.5 + 2 * 1 + 3 * -10)
print("dL/dtheta_13 =", -6 - 7.75 - 17 + 0.5)

# %% [markdown]
# The same three sums for $y$, and that is the whole step:
#
# $$ \frac{\partial L}{\partial \theta} = \sum_i \begin{pmatrix} \partial L / \partial x_i^s \\
# \partial L / \partial y_i^s \end{pmatrix} \begin{pmatrix} x_i^t & y_i^t & 1 \end{pmatrix}
# \tag{theta} $$
#
# A column times a row is a matrix, here 2 x 3, the shape of $\theta$. The paper does not print it;
# it says that the derivatives follow easily from Eq. (1), and you have just seen that they do. The
# loop of `reference.py`, one line for each of the six numbers:

# %%
print(inspect.getsource(reference.grad_theta).split('"""')[2])

# %%
dtheta_loop = reference.grad_theta(dx, dy, x_t, y_t)
print(dtheta_loop)

# %% [markdown]
# ## Without the loop
#
# A sum over $i$ of column times row is one product of two matrices: the 2 x 16 matrix of what the
# points want, and the 16 x 3 matrix of the targets.

# %%
P = np.stack([x_t, y_t, np.ones(16)])  # (3, 16): chapter 2 wrote the points as theta @ P
dtheta = np.stack([dx, dy]) @ P.T
assert np.array_equal(dtheta, dtheta_loop), "(theta): the loop and the product differ"
print(dtheta)

# %% [markdown]
# Forwards, `theta @ P`; backwards, times `P.T`. Here is the package's grid generator, both ways in
# one function; `P` has the target points, and the batch comes last in memory:

# %%
print(inspect.getsource(F.affine_grid))

# %% [markdown]
# ## In normalised coordinates
#
# The package, like the paper, has $\theta$ in normalised coordinates. There the numbers are
# others, as chapter 4 has shown. With four pixels and `align_corners=False`, $x_n = \frac{x}{2} -
# \frac{3}{4}$, and $\theta$ turns into this (the linear part stays, as both axes have the same
# length):


# %%
def normalised(theta):
    """A theta for pixels as a theta for normalised coordinates, for 4 x 4 images."""
    from_normalised = np.array([[2, 0, 1.5], [0, 2, 1.5], [0, 0, 1]])  # x = 2 x_n + 1.5
    return theta * 0.5 @ from_normalised - np.array([[0, 0, 0.75], [0, 0, 0.75]])


print(normalised(theta))

# %% [markdown]
# What becomes of the gradient? Two factors change. A step of 1 in $x_n$ is a step of 2 pixels, so
# each point's slope doubles. And $x^t$ is now $x_n^t = \frac{1}{2} x^t - \frac{3}{4}$. Together, by
# hand from what we have:
#
# $$ \sum_i 2 \frac{\partial L}{\partial x_i} \left( \frac{x_i^t}{2} - \frac{3}{4} \right) =
# \frac{\partial L}{\partial \theta_{11}} - \frac{3}{2} \frac{\partial L}{\partial \theta_{13}} $$

# %%
print("theta_11:", -40.25 - 1.5 * -30.25)
print("theta_12:", -39.5 - 1.5 * -30.25)
print("theta_13:", 2 * -30.25)

# %% [markdown]
# The loop with normalised targets and the unit factor of chapter 8 says so, and so does the
# package, which knows nothing of this chapter and goes through the tape:

# %%
x_n, y_n = reference.target_points(4, 4)
per_unit = reference.pixels_per_unit(4)
dtheta_loop = reference.grad_theta(per_unit * dx, per_unit * dy, x_n, y_n)

theta_n = Tensor(normalised(theta)[None], requires_grad=True)
V = F.grid_sample(U[None, None], F.affine_grid(theta_n, (1, 1, 4, 4)))
V.backward(dV[None, None])

assert np.array_equal(theta_n.grad[0], dtheta_loop), "(theta): the loop and the package differ"
print(theta_n.grad[0])

# %% [markdown]
# The second row, for $y$, follows the same way. Sampler and grid generator of the package are two
# operations, each with a backward pass of its own, and neither knows of the other. The tape
# (appendix A) calls one after the other, and that is the chain rule.
#
# ### Myth: "the units do not matter, training takes care of them"
#
# Look at $\theta_{11}$ again: the gradient is negative in pixels and positive in normalised
# coordinates. One says *grow*, the other *shrink*. Both are right. In pixels, $\theta_{11}$
# stretches the grid away from pixel $(0, 0)$, in normalised coordinates away from the middle of the
# image; they are different questions. So gradient descent takes different ways. Here is how far
# the corners of the grid move along $x$ in one step of equal size:

# %%
step = 0.001
corners = np.array([[0, 0, 1], [3, 0, 1], [0, 3, 1], [3, 3, 1]]).T
in_pixels = -step * dtheta @ corners
corners_n = np.array([[-0.75, -0.75, 1], [0.75, -0.75, 1], [-0.75, 0.75, 1], [0.75, 0.75, 1]]).T
in_normalised = 2 * -step * theta_n.grad[0] @ corners_n  # times 2: from x_n to pixels
print("step taken in pixels:    ", in_pixels[0].round(4))
print("step taken in normalised:", in_normalised[0].round(4))
assert not np.allclose(in_pixels, in_normalised)

# %% [markdown]
# In pixels the corner $(0, 0)$ moves least and the corner $(3, 3)$ most, as the targets far from
# pixel $(0, 0)$ have the large $x^t$ and $y^t$. In normalised coordinates no corner is special. The
# larger the image, the worse: a target counts once in the gradient, and once more when the new
# $\theta$ moves it. With 28 x 28 pixels, the corner $(27, 27)$ follows its own slope $27^2 + 27^2 +
# 1 = 1459$ times as far as the corner $(0, 0)$ does. This is one good reason for normalised
# coordinates.
#
# ## The gradient check
#
# Central differences can judge all this, but not at our $\theta$. Some of our sixteen points have
# an $x$ or a $y$ that is a whole number. There $V$ has a kink, and central differences give the
# mean of both sides (chapter 8).

# %%
on_kink = (x_s == np.round(x_s)) | (y_s == np.round(y_s))
print("points with a whole x or y:", on_kink.sum(), "of 16")


def V_of(theta):
    """The output for a theta in pixels, by the package: array or Tensor in, Tensor out."""
    G = F.affine_grid(F.reshape(normalised(theta), (1, 2, 3)), (1, 1, 4, 4))
    return F.grid_sample(U[None, None], G)


for side in ("right", "left", "both"):
    (numeric,) = numeric_gradients(V_of, [theta], dV[None, None], side=side)
    print(f"differences, {side}:\n", numeric.round(4))

# %% [markdown]
# The targets in pixels are all at 0 or above. So a number of $\theta$ that grows moves no point to
# the left, and the differences from the right are the derivative from the right: Eq. (theta) gave
# the first of these three. Now the other two by the loop, from the other conventions of chapter 8:

# %%
sides = {"right": "right", "left": "left", "both": "mean"}
for side, at_lattice in sides.items():
    dx_side, dy_side = (
        reference.grad_xs(dV.reshape(1, 16), slope(U[None], x_s, y_s, at_lattice))
        for slope in (reference.eq07_grad_xs, reference.eq07_grad_ys)
    )
    by_loop = reference.grad_theta(dx_side, dy_side, x_t, y_t)
    (numeric,) = numeric_gradients(V_of, [theta], dV[None, None], side=side)
    assert np.allclose(by_loop, numeric, rtol=0, atol=1e-6), f"(theta) from {side}: not so"
    print(f"{at_lattice}: agrees")

# %% [markdown]
# Away from kinks there is only one answer. Two images of three channels, higher than wide, read to
# an output of another size, with the $\theta$ of each a little off anything special:

# %%
rng = np.random.default_rng(9)
images = rng.standard_normal((2, 3, 6, 5))
thetas = normalised(theta) + 0.1 * rng.standard_normal((2, 2, 3))


def transformer(images, thetas):
    return F.grid_sample(images, F.affine_grid(thetas, (2, 3, 4, 7)))


print(gradcheck(transformer, [images, thetas]))

# %% [markdown]
# ## One step of gradient descent, in full
#
# Back to the one pixel $(1, 1)$. Let its output be wanted at 8, and let the loss be half of the
# squared error, $L = \frac{1}{2} (V - 8)^2$. Forwards, then backwards:

# %%
V = 0.25 * (8 + 1 + 3 + 5)
L = 0.5 * (V - 8) ** 2
print("V =", V, "  L =", L)

dL_dV = V - 8
dL_dx, dL_dy = dL_dV * -2.5, dL_dV * -0.5
dL_dtheta = np.outer([dL_dx, dL_dy], [1, 1, 1])
print("dL/dV =", dL_dV, "  dL/dx =", dL_dx, "  dL/dy =", dL_dy)
print(dL_dtheta)

# %%
plots.chain_figure(
    [
        ("theta", "0.25  0.5  1.75\n-0.5  0.25  2.75", "9.375  9.375  9.375\n1.875  1.875  1.875"),
        ("point (x, y)", "(2.5, 2.5)", "(9.375, 1.875)"),
        ("V", "4.25", "-3.75"),
        ("L", "7.03125", "1"),
    ],
    forward=["Eq. (1)", "Eq. (5)", "half the square\nof V - 8"],
    backward=["times (1, 1, 1)", "times\n(-2.5, -0.5)", "times V - 8"],
    title="One pixel, all the way and back",
    alt="A chain of four boxes, theta, point, V and L. Above, the values flow to the right; below, "
    "the gradients flow to the left, each the one behind it times a slope.",
)

# %% [markdown]
# A step of gradient descent with the learning rate 0.01 takes one hundredth of the gradient away
# from each of the six numbers. Then forwards again:

# %%
rate = 0.01
new_theta = theta - rate * dL_dtheta
x, y = new_theta @ [1, 1, 1]
print("learning rate:", rate)
print("theta:\n", new_theta)
print("read at x =", round(x, 6), " y =", round(y, 6))

a, b = x - 2, y - 2
new_V = (1 - a) * (1 - b) * 8 + a * (1 - b) * 1 + (1 - a) * b * 3 + a * b * 5
print("V =", round(new_V, 5), "  L =", round(0.5 * (new_V - 8) ** 2, 5))

# %% [markdown]
# The loss has fallen from 7.03125 to 4.13674. The point went left and a little up, towards the
# pixel 8. It went further than its own gradient: by $0.01 \cdot 9.375 \cdot 3$ along $x$, as all
# three numbers of the row have pushed. A point that is alone goes $(x^t)^2 + (y^t)^2 + 1$ times as
# far as the learning rate times its own slope. With others, their pulls are added.
#
# The gradient is a promise for small steps: a step of size $\eta$ will lower the loss by $\eta$
# times the sum of the squares of all six numbers. Drag the learning rate, and see how far the
# promise holds.

# %%
promised = L - rate * (dL_dtheta**2).sum()
print("promised:", round(promised, 5), "  kept:", round(0.5 * (new_V - 8) ** 2, 5))


# %%
def loss_after(rate):
    """The point of the pixel (1, 1), and the loss, after one step with this learning rate."""
    x, y = (theta - rate * dL_dtheta) @ [1, 1, 1]
    V = reference.eq03_sample(
        U[None], np.array([x]), np.array([y]), reference.eq05_bilinear_kernel
    )[0, 0]
    return x, y, 0.5 * (V - 8) ** 2


def draw(rate):
    x, y, loss = loss_after(rate)
    rates = np.linspace(0, 0.05, 201)
    return plots.curves_figure(
        {
            "the loss after one step": (rates, [loss_after(r)[2] for r in rates]),
            "what the gradient promises": (rates, L - rates * (dL_dtheta**2).sum()),
        },
        points={f"rate {rate:g}: read at ({x:.4g}, {y:.4g}), L = {loss:.4g}": ([rate], [loss])},
        title="One step, by its length",
        xlabel="learning rate",
        ylabel="L",
        alt="The loss falls at first as the straight line promises, and a bit faster. Near 0.018 "
        "it bends, stays near 1.3, and rises again where the step is too long.",
    )


plots.drag(draw, rate=(0.0, 0.05, 0.01))

# %% [markdown]
# The bend is a kink. There the point reaches column 2, and beyond it, other pixels are read, of
# which the gradient at $x = 2.5$ knew nothing:

# %%
print("the point reaches x = 2 at the rate", round((2.5 - 2) / (3 * 9.375), 4))

# %% [markdown]
# Eight steps with the package's operations and its tape. $\theta$ in pixels is the leaf, and
# `normalised` a part of the chain.

# %%
at, xs, ys, losses = theta, [], [], []
for _ in range(9):
    leaf = Tensor(at, requires_grad=True)
    loss = 0.5 * (V_of(leaf)[0, 0, 1, 1] - 8) ** 2
    loss.backward()
    x, y = at @ [1, 1, 1]
    xs, ys, losses = [*xs, x], [*ys, y], [*losses, loss.item()]
    at = at - 0.01 * leaf.grad
print("losses:", *(f"{loss:.5f}" for loss in losses))
assert np.allclose(losses[:2], [L, loss_after(0.01)[2]]), "(theta): by hand and by tape differ"

# %%
plots.descent_figure(
    U,
    np.array(xs),
    np.array(ys),
    np.array(losses),
    title="Eight steps of gradient descent on theta",
    alt="The point goes from (2.5, 2.5) to the pixel 8 at (2, 2); the loss falls from 7 to almost "
    "0 within three steps.",
)

# %% [markdown]
# The pixel 8 is a summit: on each side of it the ground falls, and on it is a kink. From there on
# the steps are too small to be seen here, and go over the kink and back:

# %%
for x, y in list(zip(xs, ys))[-5:]:
    print(f"x = {float(x):.4f}, y = {float(y):.4f}")
assert min(ys[-5:]) < 2 < max(ys[-5:])


# %% [markdown]
#
# ## A whole image
#
# The same with 784 pixels that all pull. Somebody has read a digit with a $\theta$ that we are not
# told: turned by 25 degrees and shifted. We see only the digit and what came out, start at the
# identity, and go downhill. No network yet, only this chapter.

# %%
digit = load_digits().test_images[2][None, None] / 255
turn = np.deg2rad(25)
secret = np.array([[[np.cos(turn), -np.sin(turn), 0.15], [np.sin(turn), np.cos(turn), -0.1]]])
wanted = F.grid_sample(digit, F.affine_grid(secret, digit.shape)).data

at, history, errors = np.array([[[1.0, 0, 0], [0, 1, 0]]]), [], []
for _ in range(151):
    leaf = Tensor(at, requires_grad=True)
    loss = F.mse_loss(F.grid_sample(digit, F.affine_grid(leaf, digit.shape)), wanted)
    loss.backward()
    history, errors = [*history, at[0]], [*errors, loss.item()]
    at = at - 0.2 * leaf.grad
print(
    "mean squared error at first:", round(errors[0], 4), "  after 150 steps:", round(errors[-1], 4)
)
print("found: ", history[-1].round(2).tolist())
print("secret:", secret[0].round(2).tolist())

# %%
chosen = {"step 0": history[0], "step 20": history[20], "step 150": history[150]}
chosen["the secret"] = secret[0]
grids = F.affine_grid(np.stack(list(chosen.values())), (4, 1, 28, 28))
four = np.repeat(digit, 4, axis=0)
plots.transformer_figure(
    four[:, 0],
    grids.data,
    F.grid_sample(four, grids).data[:, 0],
    title="Theta, found by going downhill",
    labels=list(chosen),
    alt="Four columns: the digit, the grid on it, and what is read. At step 0 the grid is upright; "
    "at step 150 it is turned like that of the secret, and the output is the same.",
)

# %% [markdown]
# ### How hard they pull
#
# Eq. (theta) is a *sum* over the output's pixels. If the output has twice as many rows and twice as
# many columns, four times as many points pull. A loss that is a mean over the pixels, as above,
# divides by as many, and nothing changes; with a loss that is a sum, the learning rate has to be
# four times smaller.

# %%
pull = {}
for size in (28, 56):
    for name, reduce in (("sum", F.sum), ("mean", F.mean)):
        leaf = Tensor(secret, requires_grad=True)
        V = F.grid_sample(digit, F.affine_grid(leaf, (1, 1, size, size)))
        reduce(V * V).backward()
        pull[name, size] = np.linalg.norm(leaf.grad)
for name in ("sum", "mean"):
    ratio = pull[name, 56] / pull[name, 28]
    print(f"loss is a {name}: the gradient of theta is {ratio:.1f} times as large")

# %% [markdown]
# ## Two columns exchanged
#
# The most common slip in this step: $(y^t, x^t, 1)$ for $(x^t, y^t, 1)$, because arrays are
# `[row, column]`. On the pixel $(1, 1)$ it can not be seen, on the pixel $(2, 0)$ at once:


# %%
def swapped(dx, dy, x_t, y_t):
    return reference.grad_theta(dx, dy, y_t, x_t)


for point, slopes in {(1, 1): (-2.5, -0.5), (2, 0): (-6.0, 2.0)}.items():
    one = [np.array([float(number)]) for number in (*slopes, *point)]
    same = np.array_equal(swapped(*one), reference.grad_theta(*one))
    print(f"pixel {point}: {'no difference' if same else 'differs'}")

# %% [markdown]
# `verify` does not rely on such luck. It takes your backward pass, tries it on cases that hide
# nothing, and looks for the mistake that explains the numbers:


# %%
def affine_grid_swapped(dG, theta, size):
    N, _, H, W = size
    dtheta = np.zeros((N, 2, 3))
    for n in range(N):
        x_t, y_t = reference.target_points(H, W)
        dx, dy = dG[n, ..., 0].ravel(), dG[n, ..., 1].ravel()
        dtheta[n] = reference.grad_theta(dx, dy, y_t, x_t)
    return dtheta


print(verify(affine_grid_swapped, against="affine_grid", form="backward").advice())

# %% [markdown]
# ## Exercises
#
# **Exercise 09.1.** On paper: $dV/d\theta$, in pixels, for the pixel $(3, 2)$ of the output, $x^t =
# 3$ and $y^t = 2$. First where it is read; mind that some of the four pixels there may be missing.


# %%
def dV_dtheta_at_three_two():
    """dV/dtheta for the output's pixel (3, 2): an array (2, 3), or two lists of three numbers."""
    ### BEGIN SOLUTION
    # Read at x = 0.75 + 1 + 1.75 = 3.5, y = -1.5 + 0.5 + 2.75 = 1.75: right of the last column.
    # On the left 2 (row 1) and 1 (row 2), on the right zeros.
    dV_dx = 0.25 * (0 - 2) + 0.75 * (0 - 1)
    dV_dy = 0.5 * (1 - 2) + 0.5 * (0 - 0)
    return [[dV_dx * 3, dV_dx * 2, dV_dx], [dV_dy * 3, dV_dy * 2, dV_dy]]
    ### END SOLUTION


# %%
check("09.1", dV_dtheta_at_three_two)

# %% [markdown]
# **Exercise 09.2.** The same pixel $(3, 2)$, with $L = \frac{1}{2} (V - 2)^2$ and the learning rate
# 0.01: where is it read after one step of gradient descent?


# %%
def point_after_one_step():
    """The point of the pixel (3, 2) after the step, in pixels: a pair x, y."""
    ### BEGIN SOLUTION
    V = 0.5 * (0.25 * 2 + 0.75 * 1)
    # A step moves the point by its own slope times 3^2 + 2^2 + 1 = 14.
    dL_dx, dL_dy = (V - 2) * -1.25, (V - 2) * -0.5
    return 3.5 - 0.01 * 14 * dL_dx, 1.75 - 0.01 * 14 * dL_dy
    ### END SOLUTION


# %%
check("09.2", point_after_one_step)

# %% [markdown]
# **Exercise 09.3.** The backward pass of the grid generator, Eq. (theta), for a whole batch, in
# normalised coordinates with `align_corners=False`. `dG` (N, H, W, 2) is what each point of the
# grid wants: its last axis is $(\partial L/\partial x, \partial L/\partial y)$, of $x$ and $y$ that
# are normalised, so that no factor is missing. `size` is (N, C, H, W) of the output. You may use
# `reference.target_points(H, W)`, or write down the points yourself.


# %%
def backward_of_affine_grid(dG, theta, size):
    """dL/dtheta (N, 2, 3)."""
    ### BEGIN SOLUTION
    N, _, H, W = size
    x_t, y_t = reference.target_points(H, W)
    P = np.stack([x_t, y_t, np.ones(H * W)])
    return dG.reshape(N, H * W, 2).swapaxes(1, 2) @ P.T
    ### END SOLUTION


# %%
check("09.3", backward_of_affine_grid)

# %% [markdown]
# **Exercise 09.4.** The whole chain, the sum of chapters 2 to 9: from `dV` (N, C, H, W), through
# the sampler and the grid generator, to $\theta$ in normalised coordinates, with
# `align_corners=False` and an output as large as the input. Derive it on paper. Then put it
# together from the loops of `reference.py`, or write your own. Mind the factor that nobody prints.


# %%
def backward_of_transformer(dV, U, theta):
    """dL/dtheta (N, 2, 3) for V = grid_sample(U, affine_grid(theta, U.shape))."""
    ### BEGIN SOLUTION
    N, C, H, W = U.shape
    dtheta = np.zeros((N, 2, 3))
    x_t, y_t = reference.target_points(H, W)
    for n in range(N):
        x_n, y_n = reference.eq01_affine_grid(theta[n], x_t, y_t)
        x_s, y_s = reference.to_pixels(x_n, W), reference.to_pixels(y_n, H)
        dV_n = dV[n].reshape(C, H * W)
        dx = reference.grad_xs(dV_n, reference.eq07_grad_xs(U[n], x_s, y_s))
        dy = reference.grad_xs(dV_n, reference.eq07_grad_ys(U[n], x_s, y_s))
        dx, dy = dx * reference.pixels_per_unit(W), dy * reference.pixels_per_unit(H)
        dtheta[n] = reference.grad_theta(dx, dy, x_t, y_t)
    return dtheta
    ### END SOLUTION


# %%
check("09.4", backward_of_transformer)
