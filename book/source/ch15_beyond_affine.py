# %% [markdown]
# # 15 Beyond affine
#
# *About 90 minutes. Needs chapter 2 (what an affine map can do), chapter 9 (the step to $\theta$)
# and chapter 11 (the localisation net). Derives the gradients of two more grid generators, which
# the paper uses and does not print, and puts several transformers into one network.*
#
# **The question.** An affine map has six numbers, and parallel lines stay parallel. What if a
# picture was seen from the side, or is bent like a sheet of rubber, or shows two things at once?

# %%
import inspect
from functools import partial
from pathlib import Path

import numpy as np

import stn_numpy
from stn_numpy import functional as F
from stn_numpy import gradcheck, models, nn, plots, reference, tasks
from stn_numpy.autograd import Tensor, no_grad
from stn_numpy.data import distort, load_digits, placed
from stn_numpy.data.distortions import homography, similarity
from stn_numpy.exercises import check
from stn_numpy.experiments import addition, colocalisation, read_results
from stn_numpy.experiments.distorted import PAPER as TABLE_1
from stn_numpy.experiments.results import mean_error, results_file
from stn_numpy.functional.grid import control_points
from stn_numpy.optim import SGD, Adam
from stn_numpy.spatial_transformer import ParallelTransformers, SpatialTransformer
from stn_numpy.tables import Table
from stn_numpy.training import read_run, trained_model
from stn_numpy.transforms import TRANSFORMS, Affine

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])
digits = load_digits()
rng = np.random.default_rng(15)

# %% [markdown]
# Four families of grids on the same digit. The sampler does not know them apart: to it a grid is a
# list of points. All that changes is how few numbers make the list.

# %%
eight = digits.test_images[0] / 255
SIZE = (1, 1, 28, 28)
bent = control_points(4) + 0.16 * rng.standard_normal((16, 2))
four = {
    "Eq. (2): 3 numbers": F.affine_grid(F.attention_matrix(np.array([[0.8, 0.1, -0.1]])), SIZE),
    "affine: 6": F.affine_grid(np.array([[[0.8, 0.3, 0.1], [-0.2, 0.9, 0]]]), SIZE),
    "projective: 8": F.projective_grid(np.array([[0.7, 0.1, 0, 0, 0.7, 0, 0.05, 0.25]]), SIZE),
    "thin plate: 32": F.tps_grid(bent[None], SIZE),
}
grids = np.concatenate([G.data for G in four.values()])
eights = np.repeat(eight[None], 4, axis=0)
plots.transformer_figure(
    eights,
    grids,
    F.grid_sample(eights[:, None], grids).data[:, 0],
    title="Four families of grids",
    labels=list(four),
    alt="Four grids on a digit 8 and what they read: a smaller square, a parallelogram, a "
    "quadrilateral whose sides are not parallel, and a grid of bent lines.",
)

# %% [markdown]
# ## A plane seen from another side
#
# Give $\theta$ a third row. Eq. (1) then makes three numbers of a target point, $u$, $v$ and $w$,
# and the source point is the first two divided by the third:
#
# $$
# \begin{pmatrix} u \\ v \\ w \end{pmatrix} =
# \begin{pmatrix} a & b & c \\ d & e & f \\ g & h & 1 \end{pmatrix}
# \begin{pmatrix} x^t \\ y^t \\ 1 \end{pmatrix}, \qquad
# x^s = \frac{u}{w}, \quad y^s = \frac{v}{w}
# $$
#
# This is a *homography*, the paper's *projective* transformation: what a camera does to a plane.
# $w$ is about distance: what is twice as far away looks half as large. If the output is the plane
# and the input its photograph (as of the card below), $w$ is the distance itself. If the output is
# the photograph and the input the plane (as of the floor below), $1 / w$ is: there $w = 0$ is
# infinitely far, the horizon. With $g = h = 0$ all of the plane is equally far away, $w = 1$, and
# the map is affine.
#
# By hand. Take our $\theta$ in pixels for the first two rows, and $g = \frac{1}{4}$, $h =
# \frac{1}{8}$. The pixel $(3, 2)$ of the output is read at

# %%
g, h = 0.25, 0.125
u = 0.25 * 3 + 0.5 * 2 + 1.75
v = -0.5 * 3 + 0.25 * 2 + 2.75
w = g * 3 + h * 2 + 1
print(f"u = {u}, v = {v}, w = {w}")
print(f"x_s = {u / w}, y_s = {v / w}")

# %% [markdown]
# between the pixels 1 and 2 of row 0 and 9 and 5 of row 1. There $V$ and its two slopes are
# (chapter 8):

# %%
V = 0.125 * (0.25 * 1 + 0.75 * 2) + 0.875 * (0.25 * 9 + 0.75 * 5)
dV_dx = 0.125 * (2 - 1) + 0.875 * (5 - 9)
dV_dy = (0.25 * 9 + 0.75 * 5) - (0.25 * 1 + 0.75 * 2)
print(f"V = {V}, dV/dx = {dV_dx}, dV/dy = {dV_dy}")

# %% [markdown]
# (The weights are $\frac{1}{4}$ and $\frac{3}{4}$ along $x$, $\frac{1}{8}$ and $\frac{7}{8}$ along
# $y$.) Now all sixteen:

# %%
third = np.vstack([theta, [g, h, 1]])
y_t, x_t = np.mgrid[:4, :4]
u_all, v_all, w_all = third @ np.stack([x_t.ravel(), y_t.ravel(), np.ones(16)])
x_s, y_s = (u_all / w_all).reshape(4, 4), (v_all / w_all).reshape(4, 4)
plots.sampling_figure(
    U,
    x_s,
    y_s,
    target=(3, 2),
    title="A projective grid: straight lines, but not parallel",
    alt="Sixteen points on U in four straight rows, which run upwards and come closer to each "
    "other. An arrow leads from pixel (3, 2) of the output to the point (1.75, 0.875).",
)

# %% [markdown]
# ### Why eight numbers and not nine?
#
# Multiply all nine by the same factor, and $u/w$ and $v/w$ stay as they are. So one of the nine is
# free, and we let the last be 1. (Lost are only the maps whose last number is 0: those that read
# the middle of the output infinitely far away.)

# %%
u_2, v_2, w_2 = 3 * third @ np.stack([x_t.ravel(), y_t.ravel(), np.ones(16)])
assert np.allclose([u_2 / w_2, v_2 / w_2], [x_s.ravel(), y_s.ravel()], rtol=0, atol=1e-12)
print("three times as large a matrix gives the same points: error < 1e-12")

# %% [markdown]
# Eight numbers are two for each corner of a square. So four corners fix a homography: say where
# each is to be read, and solve eight linear equations (`homography` in `data/distortions.py` does,
# as the distortion *P* is made this way). Here is a digit on a tilted card. We know the card's
# corners, and read it straight.

# %%
CORNERS = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
card = np.array([[-0.35, -0.85], [0.5, -0.55], [0.95, 0.85], [-0.9, 0.55]])
to_card = homography(card[None], CORNERS[None])  # where on the digit a point of the photo lies
photo = F.grid_sample(1 - eight[None, None], F.projective_grid(to_card, (1, 1, 60, 60))).data[0, 0]
from_card = homography(CORNERS[None], card[None])
print("a to h:", from_card[0].round(3))
G = F.projective_grid(from_card, SIZE).data[0]
ends = F.projective_grid(from_card, (1, 1, 2, 2), align_corners=True).data[0]
assert np.allclose(ends.reshape(4, 2), card[[0, 1, 3, 2]], rtol=0, atol=1e-12)
plots.grid_figure(
    photo,
    G,
    (CORNERS, card),
    title="Four corners make a homography",
    alt="Left, a card with an 8, seen at an angle, and a grid that fits on it. Right, the card is "
    "read as an upright square.",
)

# %% [markdown]
# No affine map can do this: it has six numbers for the eight coordinates. (The grid ends at the
# *middles* of the outer pixels, so its frame lies half a pixel inside of the card. At the edge the
# photograph has half of the black around it, and so has what is read.)
#
# ## The quotient rule
#
# From above arrive $\partial L / \partial x^s$ and $\partial L / \partial y^s$, as in chapter 9.
# What is new is the division. $x^s = u / w$ grows by $\frac{1}{w}$ for each unit of $u$, and falls
# by $\frac{u}{w^2}$ for each unit of $w$. And $\frac{u}{w^2}$ is $\frac{x^s}{w}$, so we need not
# keep $u$:
#
# $$
# \frac{\partial L}{\partial u} = \frac{1}{w} \frac{\partial L}{\partial x^s}, \qquad
# \frac{\partial L}{\partial v} = \frac{1}{w} \frac{\partial L}{\partial y^s}, \qquad
# \frac{\partial L}{\partial w} = -\frac{1}{w} \left( x^s \frac{\partial L}{\partial x^s} +
# y^s \frac{\partial L}{\partial y^s} \right)
# $$
#
# $w$ stands in both coordinates, so it gets a gradient from both. From there on it is chapter 9:
# $u$, $v$ and $w$ are affine, and each entry of a row gets the gradient of its row times $x^t$,
# $y^t$ or 1.
#
# For the pixel $(3, 2)$, and $L = V$:

# %%
du, dv = dV_dx / w, dV_dy / w
dw = -(1.75 * dV_dx + 0.875 * dV_dy) / w
print(f"dL/du = {du}, dL/dv = {dv}, dL/dw = {dw}")
for names, d in (("a, b, c", du), ("d, e, f", dv), ("g, h", dw)):
    print(f"dL/d({names}) =", *[d * x for x in (3, 2, 1)][: len(names.split())])

# %% [markdown]
# As a loop over all points, one line for each of the eight numbers:


# %%
def grad_projective(theta, x_t, y_t, dx, dy):
    """dL/dtheta (8,) of one image; x_t, y_t, dx, dy (P,)."""
    a, b, c, d, e, f, g, h = theta
    dtheta = np.zeros(8)
    for i in range(len(x_t)):
        u = a * x_t[i] + b * y_t[i] + c
        v = d * x_t[i] + e * y_t[i] + f
        w = g * x_t[i] + h * y_t[i] + 1
        du = dx[i] / w
        dv = dy[i] / w
        dw = -(u * dx[i] + v * dy[i]) / w**2
        dtheta[0] += du * x_t[i]
        dtheta[1] += du * y_t[i]
        dtheta[2] += du
        dtheta[3] += dv * x_t[i]
        dtheta[4] += dv * y_t[i]
        dtheta[5] += dv
        dtheta[6] += dw * x_t[i]
        dtheta[7] += dw * y_t[i]
    return dtheta


one = np.array([3.0]), np.array([2.0]), np.array([dV_dx]), np.array([dV_dy])
by_hand = [-5.0625, -3.375, -1.6875, 6.375, 4.25, 2.125, 3.28125, 2.1875]
assert np.array_equal(grad_projective(third.ravel()[:8], *one), by_hand)
print(grad_projective(third.ravel()[:8], *one))

# %% [markdown]
# The package does the same for all points and all images at once. Look for the lines `d_uv` and
# `dw`:

# %%
print(inspect.getsource(F.projective_grid).split('"""')[2])

# %% [markdown]
# Loop, package and finite differences, for three images, another height than width, and both
# settings of `align_corners`:

# %%
size = (3, 2, 4, 5)
eights_of_numbers = np.array([1.0, 0, 0, 0, 1, 0, 0, 0]) + rng.uniform(-0.4, 0.4, (3, 8))
for aligned in (False, True):
    thetas = Tensor(eights_of_numbers, requires_grad=True)
    G = F.projective_grid(thetas, size, aligned)
    dG = rng.standard_normal(G.shape)
    G.backward(dG)
    x, y = (p.ravel() for p in reference.target_points(4, 5, aligned))
    for n in range(3):
        dx, dy = dG[n].reshape(-1, 2).T
        loop = grad_projective(eights_of_numbers[n], x, y, dx, dy)
        assert np.allclose(thetas.grad[n], loop, rtol=0, atol=1e-12)
    print(
        f"align_corners={aligned!s:5}: loop and package agree: error < 1e-12, gradient check:",
        gradcheck(lambda t, aligned=aligned: F.projective_grid(t, size, aligned), thetas.data),
    )

# %% [markdown]
# ## The horizon
#
# A division asks what happens at 0. $w = g x^t + h y^t + 1$ is 0 on a line, the horizon of the
# plane. Let us walk towards it, with $u = 1$:

# %%
print("     w    u/w   d(u/w)/du   d(u/w)/dw")
for w in (1, 0.5, 0.25, 0.125, 0.0625, -0.0625, -1):
    print(f"{w:7} {1 / w:6} {1 / w:9} {-1 / w**2:10}")

# %% [markdown]
# The point runs away like $\frac{1}{w}$, its slope like $\frac{1}{w^2}$, and beyond the horizon it
# comes back from the other side. What is there to see? Take a floor of tiles, bright at one end,
# and tilt the camera more and more, by making $h$ larger:

# %%
y, x = np.mgrid[:120, :120]
floor = (0.3 + 0.45 * ((x // 8 + y // 8) % 2)) * (0.4 + y / 200)
tilts = (0, 0.6, 0.9, 1.5)
G = F.projective_grid(np.array([[0.3, 0, 0, 0, 0.2, -0.15, 0, h] for h in tilts]), (4, 1, 60, 60))
read = F.grid_sample(np.repeat(floor[None, None], 4, axis=0), G).data[:, 0]
for h in tilts[1:]:
    print(f"h = {h}: w = 0 at y_t = {-1 / h:.2f},", "inside" if h > 1 else "outside")
plots.pictures_figure(
    {f"h = {h}": picture for h, picture in zip(tilts, read)},
    title="A floor, and its horizon",
    limits=(0, 1),
    alt="Four pictures of a floor of tiles. First from above; then in perspective, the tiles "
    "smaller towards the top, and at last with black above them. With h = 1.5 there is a second "
    "piece of floor above the black, head over heels, whose tiles get smaller downwards.",
)

# %% [markdown]
# The black at the top of the third picture is no horizon; there the floor's picture ends. But the
# last picture is wrong: no camera sees the floor a second time, head over heels, above the
# horizon. Those points have $w < 0$; they lie behind the camera. The formula does not know that.
#
# What does the package do *on* the horizon? The point is infinite, the sampler counts it as
# outside (chapter 14), and on the way back it adds nothing:

# %%
theta_0 = Tensor(np.array([[1.0, 0, 0.5, 0, 1, 0, -2, 0]]), requires_grad=True)
G = F.projective_grid(theta_0, (1, 1, 1, 2))  # x_t = -0.5 and 0.5, so w = 2 and 0
V = F.grid_sample(np.arange(6.0).reshape(1, 1, 2, 3), G)
V.backward(np.ones(V.shape))
print("x_s =", G.data[0, 0, :, 0], "  V =", V.data.ravel())
print("dL/dtheta =", theta_0.grad[0] + 0.0)
assert np.isfinite(theta_0.grad).all()

# %% [markdown]
# And *near* it? The slopes are huge there, but they are multiplied by what the sampler sends back,
# and a point far outside gets nothing from padding modes *zeros* and *border* (chapter 14).
# *Reflection* reads far away as eagerly as anywhere:

# %%
image = rng.standard_normal((1, 1, 28, 28))
for mode in ("zeros", "border", "reflection"):
    t = Tensor(np.array([[0.3, 0, 0, 0, 0.3, 0.3, 0, -1.001]]), requires_grad=True)
    V = F.grid_sample(image, F.projective_grid(t, (1, 1, 280, 280)), padding_mode=mode)
    V.backward(np.full(V.shape, 1 / 280**2))
    print(f"{mode:10} largest entry of dL/dtheta: {np.abs(t.grad).max():6.1f}")

# %% [markdown]
# So three guards, from weak to strong:
#
# 1. Take *zeros*, and let it be. That is the package's way: exact where the formula means anything,
#    finite everywhere.
# 2. Let $w$ be no smaller than some small positive number. What is behind the camera goes far away,
#    and the flipped floor is gone. The price is another kink, beyond which $w$ has no gradient. The
#    first exercise writes it.
# 3. Keep the horizon out of the picture. Where $|x^t| \le 1$ and $|y^t| \le 1$, $w$ is at least
#    $1 - |g| - |h|$. With $g = \frac{1}{2}\tanh g'$, and $h$ likewise, that is above 0, and the
#    identity is still $g' = h' = 0$, unlike the tanh of chapter 14.

# %%
corner = reference.target_points(9, 9, True)
for g, h in ((0.25, -0.5), (0.5, 0.5), (-0.7, 0.2)):
    w = g * corner[0] + h * corner[1] + 1
    assert np.isclose(w.min(), 1 - abs(g) - abs(h))
    print(f"g = {g:5}, h = {h:4}: w is at least {w.min():.2f}")

# %% [markdown]
# ## A sheet that is pulled
#
# Handwriting is not bent by cameras. For that the paper takes a *thin plate spline*: say where 16
# points are to be read, and let all others follow as smoothly as can be.
#
# "Smoothly" has a precise meaning. Think of one coordinate of the source, $x^s = f(x^t, y^t)$, as
# the height of a thin sheet of metal over the output. The sheet is nailed to given heights at the
# *control points*, and bends between them as little as it can. What it makes smallest is
#
# $$
# \iint f_{xx}^2 + 2 f_{xy}^2 + f_{yy}^2 \; dx \, dy ,
# $$
#
# its *bending energy*. A plane costs nothing. So every affine map is free, and only what goes
# beyond it counts.
#
# The answer to this minimisation is known (Duchon, 1976): a plane, plus one and the same dent
# around each control point $p_k$:
#
# $$
# f(p) = c + a_x x + a_y y + \sum_k w_k \, \varphi(|p - p_k|), \qquad \varphi(r) = r^2 \log r
# $$
#
# ($\varphi$ is often called $U$, which is our image.)


# %%
def phi(r):
    """r^2 log r, and 0 at 0."""
    return r**2 * np.log(np.where(r > 0, r, 1))


r = np.linspace(0, 1.6, 161)
print("lowest at r =", r[phi(r).argmin()].round(2), "where it is", phi(r).min().round(3))
plots.curves_figure(
    {"r^2 log r": (r, phi(r))},
    points={"0, and 0 again at 1": ([0, 1], [0, 0])},
    title="The dent around a control point",
    xlabel="r (distance from the control point)",
    ylabel="phi",
    alt="A curve from 0 that falls to a minimum of about -0.18 at 0.61, is 0 again at 1, and then "
    "rises more and more steeply.",
)

# %% [markdown]
# ### Four nails, by hand
#
# Nail the sheet at the four corners of $[-1, 1] \times [-1, 1]$, and pull the upper left one up
# by 1. The weights $w_k$ must not add any plane of their own, or the sheet would not be flat far
# away; that is, $\sum w_k = \sum w_k x_k = \sum w_k y_k = 0$. With four corners only one pattern
# is left, plus and minus around the square: $w = s \, (1, -1, -1, 1)$, row by row.
#
# What do these four dents make at the upper left corner? The distances are 0, 2, 2 and
# $2 \sqrt 2$, so $s \, (0 - 2 \cdot 4 \log 2 + 8 \log 2^{3/2}) = s \, (-8 + 12) \log 2 =
# 4 s \log 2$. By symmetry it is $4 s \log 2$ times $(1, -1, -1, 1)$ at the four.
#
# The heights we want are $(1, 0, 0, 0)$, which is a quarter of $(1, 1, 1, 1)$, minus a quarter of
# $x$, minus a quarter of $y$, plus a quarter of $(1, -1, -1, 1)$. So $c = \frac{1}{4}$, $a_x = a_y
# = -\frac{1}{4}$, and $4 s \log 2 = \frac{1}{4}$:

# %%
s = 1 / (16 * np.log(2))
hand = np.array([s, -s, -s, s, 1 / 4, -1 / 4, -1 / 4])
print(hand.round(4))

# %% [markdown]
# ### The linear system
#
# In general: one equation for each control point, $f(p_k) = z_k$, and the three sums that are 0. We
# write them as one system, here for $K^2 = 16$ control points:
#
# $$
# \begin{pmatrix} \Phi & P \\ P^T & 0 \end{pmatrix}
# \begin{pmatrix} w \\ (c, a_x, a_y) \end{pmatrix} = \begin{pmatrix} z \\ 0 \end{pmatrix},
# \qquad \Phi_{kl} = \varphi(|p_k - p_l|), \quad P_k = (1, x_k, y_k)
# $$


# %%
def system(knots):
    """The matrix of the system, (P + 3, P + 3), for control points (P, 2)."""
    distances = np.linalg.norm(knots[:, None] - knots, axis=2)
    plane = np.column_stack([np.ones(len(knots)), knots])
    return np.block([[phi(distances), plane], [plane.T, np.zeros((3, 3))]])


def fitted(knots, z):
    """w, c, a_x, a_y in one array (P + 3, ...), for heights z (P, ...)."""
    nothing = np.zeros((3, *z.shape[1:]))
    return np.linalg.solve(system(knots), np.concatenate([z, nothing]))


def height(p, knots, coefficients):
    """f at the points p (n, 2): (n, ...)."""
    distances = np.linalg.norm(p[:, None] - knots, axis=2)
    return np.column_stack([phi(distances), np.ones(len(p)), p]) @ coefficients


assert np.allclose(fitted(control_points(2), np.array([1.0, 0, 0, 0])), hand, rtol=0, atol=1e-12)
print("four nails: the system gives what we found by hand, error < 1e-12")

# %%
knots = control_points(4)
figure = plots.new_figure(
    6.2,
    5.6,
    "A symmetric matrix of 19 rows and columns. Its first 16 x 16 entries are small around the "
    "diagonal and grow with the distance of two control points; then come three columns and rows "
    "with 1, x and y, and 3 x 3 zeros in the corner.",
)
axes = figure.subplots()
plots.draw_heat(axes, system(knots), "The system for 4 x 4 control points", numbers=False)
axes.set(xlabel="unknowns", ylabel="equations (hatched: negative)")
axes.set_xticks([0, 5, 10, 15, 16, 17, 18], ["w_1", "w_6", "w_11", "w_16", "c", "a_x", "a_y"])
axes.set_yticks([0, 5, 10, 15, 17], ["nail 1", "nail 6", "nail 11", "nail 16", "sums"])
axes.tick_params(axis="x", labelrotation=90)
axes.axhline(15.5, color="black")
axes.axvline(15.5, color="black")
figure  # noqa: B018

# %% [markdown]
# For the grid we need it twice, once for $x^s$ and once for $y^s$: $\theta$ holds the point $(x^s,
# y^s)$ for each control point. Four claims, and their proofs, on control points that were moved at
# random:

# %%
moved = knots + 0.2 * rng.standard_normal((16, 2))
coefficients = fitted(knots, moved)  # (19, 2): one column for x, one for y
weights, plane = coefficients[:16], coefficients[16:]
found = height(knots, knots, coefficients)
assert np.allclose(found, moved, rtol=0, atol=1e-12)
print("it passes through the control points: error < 1e-12")

sums = np.column_stack([np.ones(16), knots]).T @ weights
assert np.allclose(sums, 0, rtol=0, atol=1e-12)
print("the three sums are 0: error < 1e-12")

slanted = knots @ theta[:, :2].T + theta[:, 2]
flat = fitted(knots, slanted)
assert np.allclose(flat[:16], 0, rtol=0, atol=1e-12)
assert np.allclose(flat[16:].T, np.roll(theta, 1, axis=1), rtol=0, atol=1e-12)
print("an affine map needs no dents, and comes out as it is: error < 1e-12")

target = F.affine_grid(np.eye(2, 3)[None], (1, 1, 5, 7)).data.reshape(-1, 2)
by_package = F.tps_grid(moved[None], (1, 1, 5, 7)).data.reshape(-1, 2)
assert np.allclose(height(target, knots, coefficients), by_package, rtol=0, atol=1e-12)
print("the package has the same grid: error < 1e-12")

# %% [markdown]
# Look into `tps_basis` in `functional/grid.py`: it takes the logarithm of $r^2$, which saves a
# square root. $\varphi$ is then twice as large, the $w_k$ half as large, and the sheet is the same.
#
# And does it bend the least? The bending energy of such a sum of dents is $w^T \Phi w$, up to a
# factor that is the same for all. Any other sheet through our 16 nails passes some 17th place at
# another height. So put a 17th nail somewhere, try different heights, and see what each costs:

# %%
place = np.array([[0.15, -0.4]])
sheet = moved[:, 0]
more = np.concatenate([knots, place])


def energy(control, z):
    w = fitted(control, z)[: len(control)]
    return w @ system(control)[: len(control), : len(control)] @ w


natural = height(place, knots, fitted(knots, sheet))[0]
off = np.linspace(-0.3, 0.3, 61)
costs = np.array([energy(more, np.append(sheet, natural + d)) for d in off])
assert costs.argmin() == 30 and np.isclose(costs[30], energy(knots, sheet))
print("cheapest at", abs(off[costs.argmin()]), "from where the 16 nails put it by themselves")
plots.curves_figure(
    {"with a 17th nail": (off, costs)},
    points={"16 nails alone": ([0], [energy(knots, sheet)])},
    title="Every other sheet bends more",
    xlabel="height of the 17th nail, from the spline's own",
    ylabel="bending energy",
    alt="A parabola whose lowest point is at 0, where the energy is that of the 16 nails alone.",
)

# %% [markdown]
# ## Its gradient is one matrix
#
# This looks like the hardest gradient of the book: solve a linear system, then logarithms. It is
# the easiest. $\theta$ stands only on the right side of the system, $z$. The matrix has the regular
# control points in it, which nobody moves. So $w$ is a fixed matrix times $\theta$, and every point
# of the grid is a fixed matrix times $w$:
#
# $$
# G = B \, \theta, \qquad
# \frac{\partial L}{\partial \theta} = B^T \frac{\partial L}{\partial G}
# $$
#
# $B$ has a row for each pixel of the output and a column for each control point. It depends on
# their number and on $H' \times W'$, not on the image: it is computed once and kept. As $G = B
# \theta$ is all there is, we can read $B$ off the package, by moving one control point at a time:

# %%
H, W = 5, 7
pulls = np.zeros((16, 16, 2))
pulls[np.arange(16), np.arange(16), 0] = 1  # the k-th theta has a 1 at the k-th control point
B = F.tps_grid(pulls, (16, 1, H, W)).data[..., 0].reshape(16, H * W).T

two = rng.standard_normal((2, 16, 2))
thetas = Tensor(two, requires_grad=True)
G = F.tps_grid(thetas, (2, 1, H, W))
dG = rng.standard_normal(G.shape)
G.backward(dG)
for n in range(2):
    assert np.allclose(G.data[n].reshape(-1, 2), B @ two[n], rtol=0, atol=1e-12)
    assert np.allclose(thetas.grad[n], B.T @ dG[n].reshape(-1, 2), rtol=0, atol=1e-12)
print("B is", B.shape, "and G = B theta, dtheta = B^T dG: error < 1e-12")
print("gradient check:", gradcheck(lambda t: F.tps_grid(t, (2, 1, H, W)), two))
assert np.allclose(B.sum(axis=1), 1) and np.allclose(B @ knots, target)
print("rows of B sum to 1, and B takes the control points to the pixels")

# %% [markdown]
# That its rows sum to 1 says: move all control points alike, and the whole grid moves so. But the
# entries are not all positive. Pull one control point to the right, and some pixels between others
# go to the *left*:

# %%
row = np.column_stack([np.linspace(-1, 1, 121), np.full(121, knots[4, 1])])
along = height(row, knots, fitted(knots, np.eye(16)))
print("lowest entry on this row:", along[:, 4:8].min().round(3))
plots.curves_figure(
    {f"control point {k}": (row[:, 0], along[:, k]) for k in (4, 5, 6)},
    points={"control points 4 to 7": (knots[4:8, 0], np.zeros(4))},
    beside=True,
    title="How much the points of the second row feel three of its control points",
    xlabel="x_t",
    ylabel="entry of B",
    alt="Three curves. Each is 1 at its own control point, 0 at the other three of the row, and "
    "swings a little below 0 between those.",
)

# %% [markdown]
# ## Drag a control point
#
# Choose one of the sixteen, 0 to 15, row by row, and move it, in pixels. (Where nothing can be
# dragged you see the start.) The control point is dragged on the input; watch what the *output*
# does: it goes the other way.


# %%
def pulled(point, right, down):
    theta = control_points(4)
    theta[point] += np.array([right, down]) * 2 / 28
    return plots.grid_figure(
        eight,
        F.tps_grid(theta[None], SIZE).data[0],
        (control_points(4), theta),
        title=f"Control point {point} is moved by ({right:g}, {down:g}) pixels",
        alt="Left, an 8 with a grid whose lines bend around one control point that was moved to "
        "the right and up. Right, the 8 is dented to the left and down at that place.",
    )


plots.drag(pulled, point=(0, 15, 5), right=(-8.0, 8.0, 5.0), down=(-8.0, 8.0, -4.0))

# %% [markdown]
# Nothing keeps two control points from being dragged close to each other, or past. Then the sheet
# folds, and a part of the picture is read twice. A fold shows in the signed area of the small
# quadrilaterals of the grid: it becomes negative.


# %%
def folded(right):
    """How many of the small quadrilaterals of a fine grid are turned over."""
    theta = control_points(4)
    theta[5, 0] += right * 2 / 28
    G = F.tps_grid(theta[None], (1, 1, 56, 56)).data[0]
    to_right, down = G[:-1, 1:] - G[:-1, :-1], G[1:, :-1] - G[:-1, :-1]
    area = to_right[..., 0] * down[..., 1] - to_right[..., 1] * down[..., 0]
    return int((area < 0).sum())


for right in (0, 3, 6, 9, 12):
    print(f"moved by {right:2} pixels: {folded(right)} of {55**2} are folded")
print(f"the next control point is {28 / 3:.1f} pixels away")
assert folded(3) == 0 < folded(12)

# %% [markdown]
# ### Myth: "more parameters, better transformer"
#
# A thin plate spline can do all that an affine map can. So should one always take it? The paper's
# errors of the ST-CNN in percent, for *R*, digits that are only turned, and for *E*, where a sheet
# was bent:

# %%
for name in ("affine", "projective", "tps"):
    R, E = (TABLE_1["st-cnn", name][kind] for kind in ("R", "E"))
    print(f"{name:10} R: {R}  E: {E}  numbers in theta: {TRANSFORMS[name].parameters}")
affine, tps = (TABLE_1["st-cnn", name]["E"] / 100 for name in ("affine", "tps"))
gain, rate = affine - tps, (affine + tps) / 2
chance = 1.96 * np.sqrt(2 * rate * (1 - rate) / 10_000)  # chapter 13
print(f"gain on E {100 * gain:.1f} %; by chance alone up to {100 * chance:.1f} %")
assert TABLE_1["st-cnn", "tps"]["R"] == TABLE_1["st-cnn", "affine"]["R"]
assert 0 < gain < chance

# %% [markdown]
# Where no sheet was bent the 26 additional numbers buy nothing. Where it was they seem to buy a
# little, but a difference so small can not be confirmed by 10,000 digits (chapter 13). Choose the
# smallest family that holds what was done to your pictures.

# %% [markdown]
# ## Two in series
#
# A transformer takes an image and gives an image. So nothing keeps us from putting a second one
# behind it: $V_1$ is $U$ read by $\theta_1$, and $V_2$ is $V_1$ read by $\theta_2$. Where does a
# pixel of $V_2$ come from in the end? It asks $\theta_2$, which says where in $V_1$; that place
# asks $\theta_1$. So $\theta_2$ is applied *first*, and the product of the matrices, each with a
# row $(0, 0, 1)$, is $\theta_1 \theta_2$:


# %%
def product(first, second):
    """Reading by the first, then reading the result by the second, as one theta (2, 3)."""
    square = [np.vstack([t, [0, 0, 1]]) for t in (first, second)]
    return (square[0] @ square[1])[:2]


theta_1, theta_2 = np.eye(2, 3) + rng.uniform(-0.5, 0.5, (2, 2, 3))
x, y = (p.ravel() for p in reference.target_points(4, 5))
in_V1 = reference.eq01_affine_grid(theta_2, x, y)
in_U = reference.eq01_affine_grid(theta_1, *in_V1)
at_once = reference.eq01_affine_grid(product(theta_1, theta_2), x, y)
wrong_order = reference.eq01_affine_grid(product(theta_2, theta_1), x, y)
assert np.allclose(in_U, at_once, rtol=0, atol=1e-12)
assert not np.allclose(in_U, wrong_order)
print("theta_1 theta_2 leads to the same points: error < 1e-12")

# %% [markdown]
# Affine maps make affine maps, and homographies homographies (the last exercise). So is a series of
# two affine transformers one affine transformer? The points are the same, the pictures are not. By
# hand: a row with one bright pixel is moved by half a pixel, and back.


# %%
def read_by(U, theta):
    """U (H, W), theta (2, 3) -> (H, W)."""
    return F.grid_sample(U[None, None], F.affine_grid(theta[None], (1, 1, *U.shape))).data[0, 0]


row = np.array([[0.0, 0, 0, 8, 0, 0, 0]])
half = 0.5 / reference.pixels_per_unit(7)
there, back = (np.array([[1, 0, by], [0, 1.0, 0]]) for by in (half, -half))
print("the row       ", row[0])
print("moved         ", read_by(row, there)[0])
print("and moved back", read_by(read_by(row, there), back)[0])
print("at once       ", read_by(row, product(there, back))[0])

# %% [markdown]
# Each reading is a small average, and averages do not come back: the picture blurs. And what leaves
# the picture on the way is lost for good. Below, a digit is turned by 45 degrees and back, and
# enlarged and back:

# %%
cos = np.sqrt(0.5)
turn = np.array([[cos, -cos, 0], [cos, cos, 0]])
turn_back = np.array([[cos, cos, 0], [-cos, cos, 0]])
enlarge, reduce = np.eye(2, 3) / 2, np.eye(2, 3) * 2
pairs = {"turned": (turn, turn_back), "enlarged": (enlarge, reduce)}
pictures = {"picture": eight}
for name, (first, second) in pairs.items():
    pictures[f"{name}, and back"] = read_by(read_by(eight, first), second)
    once = read_by(eight, product(first, second))
    error = np.abs(pictures[f"{name}, and back"] - eight).max()
    assert np.allclose(once, eight, rtol=0, atol=1e-9)
    print(f"{name:8} and back: off by up to {error:.2f} of white; at once: error < 1e-9")
plots.pictures_figure(
    {name: picture.round(4) for name, picture in pictures.items()},
    title="There and back, in two readings",
    limits=(0, 1),
    alt="An 8; the same, paler and with soft edges after two turns; and only its middle, blurred, "
    "in a black frame, after it was enlarged and reduced.",
)

# %% [markdown]
# So if nothing happens between two transformers, multiply the thetas and read once. The paper's
# series have convolutions in between: the second transformer does not read an image but *feature
# maps*, any number of channels, all by the same grid. Its localisation net sees features too, which
# may know more about the pose than pixels do. That the gradient reaches the first $\theta$ through
# the second sampler is Eq. (6), nothing new:

# %%
kernel = rng.standard_normal((3, 2, 3, 3))


def series(U, first, second):
    V = F.grid_sample(U, F.affine_grid(first, U.shape))
    features = F.tanh(F.conv2d(V, kernel))
    return F.grid_sample(features, F.affine_grid(second, features.shape))


inputs = [
    rng.standard_normal((1, 2, 6, 7)),
    np.array([[[0.83, 0.17, 0.06], [-0.12, 0.91, -0.07]]]),
    np.array([[[0.88, -0.21, 0.03], [0.14, 0.79, 0.08]]]),
]
print("gradient check of the series:", gradcheck(series, inputs))

# %% [markdown]
# ## Two in parallel
#
# One transformer has one frame. If there are two things to look at, take two transformers that read
# the same input side by side, and put what they read one behind the other as channels. That is
# `ParallelTransformers`: $(N, C, H, W) \to (N, kC, H', W')$. Here the localisation nets are a
# single layer, and we write its bias by hand:


# %%
def reader(theta):
    """A transformer to 28 x 28 that says the same theta of every picture."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 56, 6, rng=np.random.default_rng(0)))
    transformer = SpatialTransformer(net, Affine(), (28, 28)).astype(np.float64)
    net[1].bias.data[...] = np.ravel(theta)
    return transformer


left, right = (reader([[0.5, 0, x], [0, 1, 0]]) for x in (-0.5, 0.5))
both = ParallelTransformers(left, right)
three = digits.test_images[digits.test_labels == 3][0] / 255
pair = Tensor(np.hstack([three, eight])[None, None], requires_grad=True)
V = both(pair)
print("shape of what comes in:", pair.shape, " of what comes out:", V.shape)
plots.pictures_figure(
    {"input": pair.data[0, 0], "channel 0": V.data[0, 0], "channel 1": V.data[0, 1]},
    title="Two readers of one picture",
    limits=(0, 1),
    alt="Left, a picture with a 3 and an 8 side by side. In the middle what the first transformer "
    "reads, the 3, and right what the second one reads, the 8.",
)

# %% [markdown]
# Backwards there is one thing to know: $U$ went to two readers (and in each to the localisation net
# and to the sampler), so it receives the *sum* of what they send back (chapter 11).

# %%
dV = rng.standard_normal(V.shape)
V.backward(dV)
alone = np.zeros_like(pair.data)
for k, transformer in enumerate((left, right)):
    image = Tensor(pair.data, requires_grad=True)
    transformer(image).backward(dV[:, k : k + 1])
    alone += image.grad
assert np.allclose(pair.grad, alone, rtol=0, atol=1e-12)
print("dU of both is the sum of dU of each: error < 1e-12")

# %% [markdown]
# `models.build("2xst-cnn")` is the paper's CNN behind two such readers. Fresh, both say "the
# identity", so both read the same. What makes them go different ways? The layers behind them have
# random weights, another one for each channel, so the two get different gradients from the first
# step on. Different, but not for different purposes: nothing says which of them is to look at what.
#
# So for an input of two channels we let each *begin* with one: the localisation net of the first
# sees channel 0 alone, that of the second channel 1, as their first weights for the other channel
# start at 0. The paper does not say how its pair began; this start is ours. The zeros are weights
# like all others, so the next step may change them:

# %%
net = models.build("2xst-cnn", image_size=42, channels=2, classes=19, width=8, rng=rng)
x, y = next(tasks.ADDITION.batches(digits.train_images, digits.train_labels, 32, rng, "RTS"))
print("in", x.shape, " read", net.transformer(x).shape, " scores", net(x).shape)
F.cross_entropy(net(x), y).backward()
readers = net.transformer.readers()
first, second = ([*m.localisation.modules()][-1].bias.grad for m in readers)
same = np.allclose(first, second, rtol=1e-3)
print("two readers; the same theta:", np.array_equal(*[m.theta(x).data for m in readers]))
print("the same gradient for it:", same)
assert not same
for k, reader_k in enumerate(readers):
    conv = reader_k.localisation[1]
    seen = [channel for channel in (0, 1) if conv.weight.data[:, channel].any()]
    print(f"the localisation net of reader {k} begins with channel {seen}")
    assert seen == [k]

# %% [markdown]
# ## Adding digits
#
# The paper's test for it is in its appendix: *MNIST addition*. The input has two channels, each
# with a digit that was turned, scaled and put somewhere by itself (*RTS*, 42 x 42 pixels). The
# answer is their sum, one of 19 classes. Here are eight questions:

# %%
x, y = next(
    tasks.ADDITION.batches(digits.test_images, digits.test_labels, 8, rng, "RTS", shuffle=False)
)
plots.gallery_figure(
    {"channel 0": x[:, 0].round(3), "channel 1": x[:, 1].round(3)},
    title="What is the sum?",
    columns=[f"sum {total}" for total in y],
    alt="Eight pairs of digits, one above the other, each turned, scaled and moved in its own way, "
    "and above each pair its sum.",
)

# %% [markdown]
# Why must *one* transformer fail? It has one $\theta$, and reads *both* channels by it. The frame
# that brings the first digit upright does anything whatever to the second, and a frame between the
# two is right for neither.
#
# We can see how much that costs without training anything. Let somebody who knows how each digit
# was distorted choose the frames, and let the simplest classifier of all, the nearest training
# picture, read what comes out:

# %%
COUNT = 250
training = digits.train_images.reshape(-1, 28 * 28) / 255


def distorted():
    """RTS-like pictures of test digits, their labels, and the theta that undoes the distortion."""
    chosen = rng.integers(0, len(digits.test_labels), COUNT)
    angle, scale = rng.uniform(-np.pi / 4, np.pi / 4, COUNT), rng.uniform(0.7, 1.2, COUNT)
    done = similarity(angle, scale, rng.uniform(-7, 7, (COUNT, 2)), 42)
    pictures = digits.test_images[chosen, None] / 255
    pictures = F.grid_sample(pictures, F.affine_grid(done, (COUNT, 1, 42, 42))).data
    square = np.concatenate([done, np.tile([[[0, 0, 1.0]]], (COUNT, 1, 1))], axis=1)
    return pictures, digits.test_labels[chosen], np.linalg.inv(square)[:, :2]


def nearest(pictures, theta):
    """What the nearest training pictures show, for pictures read by theta."""
    G = F.affine_grid(theta, (COUNT, 1, 28, 28))
    z = F.grid_sample(pictures, G).data.reshape(COUNT, -1)
    return digits.train_labels[((training**2).sum(axis=1) - 2 * z @ training.T).argmin(axis=1)]


(x_1, y_1, undo_1), (x_2, y_2, undo_2) = distorted(), distorted()
middle = np.tile(np.eye(2, 3) * 28 / 42, (COUNT, 1, 1))  # the middle of the picture, as it is
between = (undo_1 + undo_2) / 2
frames = {
    "no transformer": (middle, middle),
    "one, set to the first": (undo_1, undo_1),
    "one, set between": (between, between),
    "two": (undo_1, undo_2),
}
wrong = {}
for name, (frame_1, frame_2) in frames.items():
    a, b = nearest(x_1, frame_1), nearest(x_2, frame_2)
    parts = (a != y_1, b != y_2, a + b != y_1 + y_2)
    wrong[name] = dict(zip(("first digit", "second digit", "sum"), map(np.mean, parts)))
    shown = ", ".join(f"{what} {share:.0%}" for what, share in wrong[name].items())
    print(f"{name:22} wrong: {shown}")
assert wrong["two"]["sum"] < 0.25 < 0.6 < wrong["one, set to the first"]["sum"]

# %%
plots.bars_figure(
    {
        name.replace(", ", ",\n"): {what: round(100 * share, 0) for what, share in errors.items()}
        for name, errors in wrong.items()
    },
    title="With frames from somebody who knows, read by the nearest neighbour",
    ylabel="wrong (%)",
    alt="Four groups of bars. Without a transformer nearly everything is wrong. With one that is "
    "set to the first digit, the first digit is right and the second wrong, and so is the sum. "
    "With two, all are mostly right.",
)

# %% [markdown]
# So let there be two, each for its own digit. A pair that follows *both* digits is of no use: it is
# one transformer, twice. Ours begin with a channel each; do they stay there? That depends on how
# they learn. Gradient descent (SGD, here with momentum) moves a weight in proportion to its
# gradient. Adam divides the gradient by its usual size, so all weights move at about the same pace,
# however little depends on them. Here are the first fifty steps of either, at the rates of a toy.
# What part of the localisation nets' first weights (of the sum of their squares) has come to look
# at the other's channel?


# %%
def strayed(net):
    """The part of the first weights of the localisation nets that sees the other's channel."""
    weights = [reader.localisation[1].weight.data ** 2 for reader in net.transformer.readers()]
    return np.mean([w[:, 1 - k].sum() / w.sum() for k, w in enumerate(weights)])


STEPS = 50
often = np.convolve(np.full(10, 0.1), np.full(10, 0.1))  # how often each sum comes
guessing = -(often * np.log(often)).sum()
print(
    f"loss of somebody who has seen no picture, but knows how often each sum comes: {guessing:.2f}"
)
optimizers = {"Adam": partial(Adam, lr=2e-3), "SGD": partial(SGD, lr=0.03, momentum=0.9)}
parts, losses = {}, {}
for name, make in optimizers.items():
    draw = np.random.default_rng(0)
    net = models.build("2xst-cnn", image_size=42, channels=2, classes=19, width=8, rng=draw)
    optimizer = make(net.parameters())
    parts[name], losses[name] = [strayed(net)], []
    for _ in range(STEPS):
        chosen = draw.permutation(len(digits.train_labels))[:32]
        pictures, labels = digits.train_images[chosen], digits.train_labels[chosen]
        x, y = next(tasks.ADDITION.batches(pictures, labels, 32, draw, "RTS"))
        loss = F.cross_entropy(net(x), y)
        net.zero_grad()
        loss.backward()
        optimizer.step()
        parts[name].append(strayed(net))
        losses[name].append(float(loss.data))
    loss = np.mean(losses[name][-10:])
    print(f"{name:4}: {100 * parts[name][-1]:.1g} % strayed; loss of the last ten steps {loss:.2f}")
    assert loss > guessing
assert parts["SGD"][-1] < 1e-4 and parts["Adam"][-1] > 0.01

# %%
plots.curves_figure(
    {
        name: (np.arange(STEPS + 1), np.round(100 * np.array(part), 2))
        for name, part in parts.items()
    },
    title="How soon a transformer looks at the other's digit",
    xlabel="steps",
    ylabel="weights for the other's channel (%)",
    alt="Two curves over fifty steps. With Adam the weights for the other's channel grow steadily, "
    "to about two percent. With SGD they stay at zero.",
)

# %% [markdown]
# Neither has learned anything yet: the loss is no better than a guess. But under Adam the two have
# begun to look at both digits. Fifty steps decide nothing; the hours after them do, and are not
# shown here. In what we tried, an affine pair that learned by Adam alone came to follow both
# digits. By SGD alone some pairs did and some did not; those that kept apart learned slowly. So the
# experiment trains in two parts: 8 epochs of SGD, the paper's optimiser, then 16 of Adam.
#
# The layers behind the pair may have their part in it, too. As long as both transformers read the
# same picture, these layers get the same gradient for what either one reads; so what they learn in
# that time, they learn for both alike. We let them begin with larger weights than usual (those of
# He, of variance $2 / n$ for $n$ inputs), so that what is learned alike weighs less against what is
# different from the start. How much that matters we have not measured.
#
# A CNN is not a nearest neighbour; it copes with some distortion by itself. But a frame that helps
# it with one digit harms it with the other. In the paper's table the error *with* one transformer
# is higher than without, and with two it is lowest. (The table has CNNs behind the transformers, as
# ours are. The paper's text has fully connected networks there, and says that one of those without
# a transformer is 47.7 % wrong. Both can not be; with the text, one transformer is a help.) The
# paper's figures, and ours where the runs are done:

# %%
results = results_file(Path(stn_numpy.__file__).parents[1] / "book" / "results", "addition")
ours = [result for result in read_results(results) if result.data["name"] == "MNIST"]
cells = {result.cell for result in ours}
print(f"test error in percent; {len(cells)} of our {len(addition.PAPER)} cells are done")

paper = addition.PAPER
print(f"the paper's fully connected network without a transformer: {addition.FCN_ALONE} % wrong")
two_best = max(error for (model, _), error in paper.items() if model == "2xst-cnn")
one_best = min(error for (model, _), error in paper.items() if model == "st-cnn")
assert two_best < paper["cnn", "-"] < one_best
for row, kind in zip(addition.table(ours).rows, paper, strict=True):
    assert bool(row[-1]) == (addition.key(*kind) in cells)
addition.table(ours)

# %% [markdown]
# (In brackets, where there are any, the 95 % interval of chapter 13. The commands are in the
# [README](../README.md).)
#
# Our CNN is nowhere near the paper's. Not that it knows its own pictures by heart: in its last
# epoch it was 43 % wrong on those it trained with, and then 42 % on the test (`python -m stn_numpy
# experiment addition --only cnn/RTS` prints both). It has not learned enough yet; how far more
# epochs would take it, we have not measured. As far as ours go, one transformer is a help, and two
# are a greater one.

# %%
rows = (("cnn", "-"), ("st-cnn", "affine"), ("2xst-cnn", "affine"))
errors = [mean_error(ours, addition.key(*row)) for row in rows]
if all(errors):
    none, one, two = errors
    assert two.high < one.low and one.high < none.low, "no two intervals meet"

# %% [markdown]
# So how much better is a pair than one alone? (One seed each. And the pair has not only a second
# transformer, it also begins otherwise, as we saw.)

# %%
for transform in ("affine", "projective", "tps"):
    one, two = (mean_error(ours, addition.key(m, transform)) for m in ("st-cnn", "2xst-cnn"))
    if one and two:
        print(f"{transform:10}  one {one}   two {two}")
        assert two.high < one.low, "the intervals lie apart"
        assert two.error < one.error / 2

# %% [markdown]
# Of each kind, two make less than half of the mistakes of one. All three pairs learned by SGD as
# *affine* ones, and became what they are called for Adam. Why? How far a step of SGD moves a frame
# depends on how $\theta$ says it. An affine $\theta$ has one number for a move along $x$; a thin
# plate has 16 points for it. (We read 27 x 27 pixels, as the points of 28 x 28 would lie on pixel
# centres, where the slope has two values.)

# %%
shift = Tensor(np.eye(2, 3)[None], requires_grad=True)
points = Tensor(control_points(4)[None], requires_grad=True)
dV = rng.standard_normal((1, 1, 27, 27))
F.grid_sample(eight[None, None], F.affine_grid(shift, dV.shape)).backward(dV)
F.grid_sample(eight[None, None], F.tps_grid(points, dV.shape)).backward(dV)
dpoints = points.grad.reshape(16, 2)
print("affine, the gradient of a move:   ", shift.grad[0, :, 2].round(3))
print("thin plate, the sum of its points:", dpoints.sum(axis=0).round(3))
print("thin plate, their mean:           ", dpoints.mean(axis=0).round(3))
assert np.allclose(dpoints.sum(axis=0), shift.grad[0, :, 2], rtol=1e-9, atol=0)

# %% [markdown]
# The 16 gradients add up to the affine one, since a move of the frame is a move of all its points.
# But a step of gradient descent takes each point along its own gradient, and the frame goes as far
# as their mean: a sixteenth of the way. While that frame stands still, the layers behind it learn.
# (To Adam the size of a gradient is nothing.) In a pair that was to be thin plates from the start,
# each of the two transformers came to follow both digits, and a fifth of all sums were wrong.
#
# That a pair can go on from an affine one is no luck: every affine map is a homography and a
# spline, too. The spline takes the control points to where the affine map takes them, and bends
# nothing in between.

# %%
theta = np.array([[0.8, 0.3, 0.1, -0.2, 0.9, 0.0]])
as_plate = TRANSFORMS["tps"].of_affine(theta)
grids = [
    TRANSFORMS[name].grid(value, (1, 1, 42, 42)).data
    for name, value in (("affine", theta), ("tps", as_plate))
]
print(f"{theta.size} numbers became {as_plate.size}; the first three points:")
print(as_plate.reshape(16, 2)[:3].round(2))
assert np.allclose(*grids, rtol=0, atol=1e-12)

# %% [markdown]
# And the weights? The last layer of a localisation net says $\theta = W h + b$, and the points are
# linear in $\theta$. So each column of $W$, and $b$, becomes points in the same way
# (`spatial_transformer.begin_as_affine`). What came of it stands above; thin plates are the best of
# our pairs.
#
# Does each of a pair follow its own digit? The weights of the affine pair are kept. Here are four
# sums it was not trained on, with the frame that each transformer lays on the channel it began
# with, and what it reads there. The pair learned from MNIST, and these are this package's digits,
# enlarged from 8 x 8 pixels and of other hands: it adds them up less well than the table says. But
# we look at the frames:


# %%
def seen_by_the_pair(path, count=400):
    """The pictures (N, 2, H, W) of a test, the pair's grids on them, one each, and what is read.

    In float64, so that it comes out the same on every machine.
    """
    draw = np.random.default_rng(0)
    pairs = np.arange(count), draw.permutation(count)
    channels = [distort(digits.test_images, "RTS", draw, np.float64, indices=k) for k in pairs]
    x, y = np.concatenate(channels, axis=1), sum(digits.test_labels[k] for k in pairs)
    net = trained_model(*read_run(path), "2xst-cnn").astype(np.float64)
    with no_grad():
        grids = [reader.grid(x).data for reader in net.transformer.readers()]
        read = [F.grid_sample(x, G).data for G in grids]
        right = net(x).data.argmax(axis=1) == y
    print(f"{np.mean(right):.0%} of {count} sums are right, {np.sum(right[:4])} of the first four")
    return x, grids, read


def four_sums(x, grids, read):
    rows, frames = {}, {}
    for k in (0, 1):
        rows[f"channel {k}"] = x[:4, k].round(3)
        frames[f"channel {k}"] = grids[k][:4].round(3)
        rows[f"read by transformer {k}"] = read[k][:4, k].round(3)
    return plots.gallery_figure(
        rows,
        frames,
        title="Two transformers, a digit each",
        inches=1.5,
        alt="Four pairs of digits. On each digit lies the grid of its own transformer, moved and "
        "sized after the digit; what is read has the digit at about one place and of one size.",
    )


weights = results.parents[1] / "weights" / "2xst-cnn-addition.npz"
seen = seen_by_the_pair(weights) if weights.exists() else None
four_sums(*seen) if seen else print("no weights: python -m stn_numpy experiment addition")

# %% [markdown]
# The frames are moved and sized after their own digit, and turned a little. What they read is not
# upright, and need not be: all that helps is one pose for all ([chapter 13](13_results.ipynb)).
#
# Four are soon shown, so measure it. Where is the digit? Take the middle of its brightness. Where
# is the frame? Take the middle of its points. How closely the one follows the other is their
# correlation: 1 if they go in step, 0 if they have nothing to do with each other. We take it for
# $x$ and for $y$, and the mean of the two:

# %%
if seen:
    x, grids, _ = seen
    places = (2 * np.arange(x.shape[-1]) + 1) / x.shape[-1] - 1  # of the pixels, normalised
    light = x / x.sum(axis=(2, 3), keepdims=True)
    digit = np.stack([(light.sum(2) * places).sum(-1), (light.sum(3) * places).sum(-1)], axis=-1)
    frame = [G.mean(axis=(1, 2)) for G in grids]
    follows = np.array(
        [
            [
                np.mean([np.corrcoef(frame[k][:, i], digit[:, c, i])[0, 1] for i in (0, 1)])
                for c in (0, 1)
            ]
            for k in (0, 1)
        ]
    )
    for k in (0, 1):
        own, other = follows[k, k], follows[k, 1 - k]
        print(f"transformer {k}: {own:.2f} with its own digit, {other:.2f} with the other's")
        assert own > 0.8 and abs(other) < 0.3

# %% [markdown]
# They were given a channel each to begin with. To keep it, and where the digits are, no label told
# them: all that they ever learned from was one number for two pictures, the sum.
#
# And the weights for the other's channel, which we watched above? These are the same two nets, at
# the end:

# %%
if seen:
    net = trained_model(*read_run(weights), "2xst-cnn").astype(np.float64)
    print(f"{100 * strayed(net):.0f} % of the first weights look at the other's channel")

# %% [markdown]
# So the share alone decides nothing: with as many weights for the other's channel as that, the
# middle of the frame goes where its own digit is, as the correlations show.
#
# In the paper's column one thing is odd: the digits were distorted by affine maps, and yet the
# affine pair is the worst of the three pairs. Ours come in the same order, though the projective
# pair is too close to the affine one to tell. (One seed each.)

# %%
pairs = [mean_error(ours, addition.key("2xst-cnn", t)) for t in ("tps", "projective", "affine")]
if all(pairs):
    plates, homographies, affine_pair = pairs
    assert plates.high < homographies.low, "the intervals lie apart"
    assert affine_pair.low < homographies.error < affine_pair.error, "too close"

# %% [markdown]
# One may guess why bending helps. A transformer can not choose a channel. Whatever frame it lays on
# its own digit, it lays on the other one, too, and the classifier gets that picture as well. A
# freer transformation has more ways to do right by the one and keep the other out of the way.
#
# And no more than $k$ things can be looked at by $k$ transformers: their number is fixed when the
# network is built.
#
# ## Find what they share
#
# Last, a transformer without any classes. Given are pictures that all show the same digit,
# somewhere on a larger canvas. Nobody says which digit, nor where. The transformer is to cut out a
# window of each so that the windows look alike. The paper calls it *co-localisation*.

# %%
NUMBER = 40
rng = np.random.default_rng(1)
fives = digits.train_images[digits.train_labels == 5]
x, truth = placed(fives, "T", rng, np.float64, indices=np.arange(NUMBER))
window = colocalisation.Window(28 / 60)
true = colocalisation.middles(truth, 60).astype(float)
random = colocalisation.middles(rng.uniform(0, 32, (NUMBER, 2)), 60).astype(float)


def windows(theta, count=8):
    """The grids (count, 28, 28, 2) of the first windows, and what they read."""
    G = window.grid(np.asarray(theta, float)[:count].round(2), (count, 1, 28, 28))
    return G.data, F.grid_sample(x[:count], G).data[:, 0].round(3)


rows = {"wanted": windows(true), "random": windows(random)}
plots.gallery_figure(
    dict.fromkeys(rows, x[:8, 0]),
    {name: G for name, (G, _) in rows.items()},
    title="Eight pictures of the same digit, and windows of 28 x 28 pixels",
    alt="Twice the same eight pictures, each with a 5 somewhere. In the first row a square window "
    "is around each 5; in the second the windows are at random places.",
)

# %% [markdown]
# What does "look alike" mean? An encoder $e$ turns each window into a code, a list of numbers of
# length 1, and codes have distances. The loss is a *triplet hinge loss*: for each pair of windows
# $n \ne m$,
#
# $$
# \max \left( 0, \; \| e_n - e_m \|^2 - \| e_n - r_n \|^2 + 1 \right) ,
# $$
#
# and the mean of that over all pairs. $r_n$ is the code of a *random* window of the same picture.
# So a window is to be closer to the windows of other pictures than to random windows of its own, by
# a margin of 1. Without $r_n$ it would be enough to show nothing at all.
#
# By hand, with three codes of two numbers:

# %%
e = np.array([[1, 0], [0, 1], [0.6, 0.8]])
r = np.array([[0, 1], [0.8, 0.6], [0.6, -0.8]])
print("|e_1 - e_2|^2 =", 1**2 + 1**2)
print("|e_1 - e_3|^2 =", round(0.4**2 + 0.8**2, 9))
print("|e_2 - e_3|^2 =", round(0.6**2 + 0.2**2, 9))
print("|e_n - r_n|^2 =", [round(float(d), 9) for d in ((e - r) ** 2).sum(axis=1)])

terms = {
    "1, 2": 2 - 2 + 1,
    "1, 3": 0.8 - 2 + 1,
    "2, 1": 2 - 0.8 + 1,
    "2, 3": 0.4 - 0.8 + 1,
    "3, 1": 0.8 - 2.56 + 1,
    "3, 2": 0.4 - 2.56 + 1,
}
for pair, term in terms.items():
    print(f"n, m = {pair}: max(0, {term:.2f}) = {max(0, term):.2f}")
by_hand = sum(max(0, term) for term in terms.values()) / 6
print(f"their mean: {by_hand:.4f}")

# %%
loss = colocalisation.hinge(Tensor(e), r)
assert np.isclose(loss.item(), by_hand, rtol=0, atol=1e-12)
print(f"hinge: {loss.item():.4f}")
print("gradient check:", gradcheck(lambda e: colocalisation.hinge(e, r), e))

# %% [markdown]
# Code 1 is as far from code 2 as from its own random window, and pays just the margin for it. Code
# 2 is close to its random window, and pays most. Code 3 is far from its own, and pays nothing.
#
# The experiment's encoder is a CNN that has learned to read digits of other places and sizes. For
# what follows a toy will do: the window, averaged over squares of $k \times k$ pixels, and one more
# number, which is always the same; all brought to length 1. (The additional number is there so that
# an empty window has a code, too. In a CNN the biases see to it.)


# %%
def code(theta, k=4, scale=28 / 60):
    """Unit codes (N, D) of what the windows at theta (N, 2) show."""
    G = colocalisation.Window(scale).grid(theta, (NUMBER, 1, 28, 28))
    averaged = F.avg_pool2d(F.grid_sample(x, G), k) * (k / 28)
    flat = F.concat([F.reshape(averaged, (NUMBER, -1)), np.full((NUMBER, 1), 0.1)], dim=1)
    return flat * (flat * flat).sum(1, keepdims=True) ** -0.5


def hinge(theta, **options):
    """The loss of windows at theta, against the random ones."""
    return colocalisation.hinge(code(theta, **options), code(random, **options)).item()


corners = -np.sign(true) * 32 / 60  # of each picture the corner opposite to its digit
always = np.zeros((NUMBER, 2))
for name, theta_w in (("wanted", true), ("middle", always), ("empty corners", corners)):
    print(f"{name:14} hinge loss {hinge(theta_w):.2f}")

# %% [markdown]
# The right windows are the best of the three. But three things can go wrong, and in the experiment
# all three did.
#
# **1. The window grows.** Let a transformer choose the size of its window, too. It starts at the
# middle of the picture, where some windows have the digit and some have not, and the loss is larger
# than the margin, 1. To get below 1, windows have to find their digits. But there is another way
# down, open to all of them at once. From far enough away all windows look alike, so do the random
# ones, and the loss is 1:

# %%
scales = np.array([0.2, 0.3, 28 / 60, 0.6, 0.8, 1, 1.5, 2, 3, 5])
at_middle, at_truth = (np.array([hinge(t, scale=s) for s in scales]) for t in (always, true))
assert at_middle[-1] < at_middle[2] and at_truth.min() < 0.3
plots.curves_figure(
    {
        "window at the middle": (scales, at_middle.round(3)),
        "window on the digit": (scales, at_truth.round(3)),
    },
    points={"the size that is fixed": ([28 / 60, 28 / 60], [at_middle[2], at_truth[2]])},
    title="The loss, for windows of other sizes",
    xlabel="size of the window (1: the whole picture)",
    ylabel="hinge loss",
    alt="Two curves over the size of the window. On the digit the loss is far below 1 for small "
    "windows and rises to 1 for huge ones. At the middle it is above 1 and falls to 1.",
)

# %% [markdown]
# On the digit small windows are much better; but nobody starts there, and from far away nobody sees
# where to go. So the experiment fixes the size, and learns $(t_x, t_y)$ alone: `Window`.
#
# **2. Empty corners are safe.** Each picture has a corner without any ink, and all empty windows
# are perfectly alike. What they cost is known, 0 for being alike and something for what the random
# windows show. A window near the digit has to be *precise* to be better. How precise? We put each
# window off by up to so many pixels in its own direction:

# %%
jitter = rng.uniform(-1, 1, (NUMBER, 2))
for k in (1, 4, 7):
    costs = [hinge(true + jitter * pixels / 30, k=k) for pixels in range(13)]
    empty = hinge(corners, k=k)
    worse = next(pixels for pixels, cost in enumerate(costs) if cost > empty)
    print(
        f"{k} x {k} averaged: a corner costs {empty:.2f}, which is less than being off by {worse}"
    )

# %% [markdown]
# The coarser the code, the less a pixel matters, and the wider is the basin around the digit. An
# encoder that has only ever seen digits in the middle of their picture has had no reason to put up
# with a shift. So the experiment's is trained on distorted digits, *P*, which are of other places
# and sizes. A thin digit, a 1, is hard to tell from nothing even so, and all its windows looked
# away from it. So in the experiment a window is also to be farther from an empty one: of the two
# distances, to the random window and to an empty one, the smaller counts.
#
# **3. All are wrong together.** If every window is off by the *same* distance, they are still
# alike. The hinge loss along such a common shift, to the right and down:

# %%
shifts = np.arange(-22, 23, 2)
along_x, along_y = (
    np.array([hinge(true + np.array(to) * pixels / 30) for pixels in shifts])
    for to in ([1, 0], [0, 1])
)


def belief(theta):
    """What the experiment adds: on average over the pictures, the digit is in the middle."""
    return colocalisation.CENTRE * (np.mean(theta, axis=0) ** 2).sum()


held = along_y + [belief(true + np.array([0, pixels / 30])) for pixels in shifts]
lowest = shifts[along_y.argmin()]
print("without the belief, the lowest loss along the second curve is at", lowest, "pixels")
print("with it, at", shifts[held.argmin()])
print("along the first it is at", shifts[along_x.argmin()])
assert abs(shifts[held.argmin()]) <= 2 < abs(lowest)
plots.curves_figure(
    {
        "to the right": (shifts, along_x.round(3)),
        "down": (shifts, along_y.round(3)),
    },
    points={"no shift": ([0], [along_x[11].round(3)])},
    beside=True,
    title="All windows off by the same distance",
    xlabel="shift (pixels)",
    ylabel="hinge loss",
    alt="Two curves that are flat and low for a dozen pixels to both sides of 0, with their lowest "
    "points away from 0. Where the digits leave the windows they rise.",
)

# %% [markdown]
# The halves of a digit are as alike as the wholes, or more. Nothing in the loss says which part of
# a thing is its middle. So the experiment adds one weak belief: on average over the pictures, what
# they share is in the middle, `CENTRE` times $|\text{mean of } t|^2$. It says nothing about any
# single picture.
#
# ### Let it learn
#
# Does it work? We leave out the localisation net, and learn the 80 numbers themselves, $(t_x, t_y)$
# for each of the 40 pictures, from the middle of each picture, with the toy encoder. Once without
# the belief, and once with it. A digit counts as found where its frame and the window overlap by
# half (their intersection is more than half of their union).


# %%
def learn(believe, steps=150):
    theta = nn.Parameter(np.zeros((NUMBER, 2)))
    optimizer = Adam([theta], lr=0.02)
    generator = np.random.default_rng(3)
    for _ in range(steps):
        left_top = generator.uniform(0, 32, (NUMBER, 2))
        others = code(colocalisation.middles(left_top, 60).astype(float))
        optimizer.zero_grad()
        loss = colocalisation.hinge(code(theta), others.data)
        if believe:
            centre = theta.mean(0)
            loss = loss + colocalisation.CENTRE * (centre * centre).sum()
        loss.backward()
        optimizer.step()
    return theta.data


learned = {"before": always, "no belief": learn(False), "belief": learn(True)}
hits = {}
for name, theta_w in learned.items():
    hits[name] = int(np.sum(colocalisation.overlap(theta_w, truth, 60) > 0.5))
    off = np.hypot(*((theta_w - true).mean(axis=0) * 30))
    print(
        f"{name:10} hinge loss {hinge(theta_w):.1f}, found {hits[name]} of {NUMBER}; "
        f"together off by {off:.0f} pixels"
    )
assert hits["belief"] > 30 > 20 > hits["no belief"]

missed = colocalisation.overlap(learned["belief"], truth, 60) <= 0.5
seen = {
    name: windows(learned[name], NUMBER)[1].sum(axis=(1, 2)) / x[:, 0].sum(axis=(1, 2))
    for name in ("before", "belief")
}
print("of their digit, the windows that missed it see:")
for name, share in seen.items():
    print(f"  {name:7}", ", ".join(f"{100 * part:.0f} %" for part in share[missed]))
assert seen["before"][missed].min() > 0.1 and seen["belief"][missed].max() < 0.05

# %%
plots.gallery_figure(
    dict.fromkeys(learned, x[:8, 0]),
    {name: windows(theta_w)[0] for name, theta_w in learned.items()},
    title="Windows, before and after",
    alt="Three times the same eight pictures. Before, all windows are at the middle. Without the "
    "belief, each window is below its digit and cuts it in the same way. With it, nearly every "
    "window has its digit in the middle.",
)

# %%
plots.gallery_figure(
    {name: windows(theta_w)[1] for name, theta_w in learned.items()},
    title="What the windows show",
    alt="Before, pieces of the digit here and there. Without the belief, the lower parts of the "
    "digit, all at the upper edge. With it, whole digits.",
)

# %% [markdown]
# Both found what the pictures share, and without the belief the loss is no worse: it just is not
# the whole digit. A few windows never found theirs. They saw a part of it at the start and see
# nothing of it now: an empty place was nearer, and the toy has no guard against that.
#
# The experiment itself has a localisation net, which has to *see* where the digit is, instead of
# numbers for every picture. That is a fourth thing that went wrong. A transformer starts with the
# identity (chapter 11), so all windows began at the middle. With clutter around, no direction was
# better than another there, and the units of the net died before they had found one. Weights that
# scatter the windows at the start were enough: some pictures begin with a window near the digit,
# and the others have something to become like.
#
# The paper's figures and ours, in percent of digits found, for a plain canvas (*T*) and one with
# clutter (*TC*); the columns are the digits:

# %%
results = results_file(Path(stn_numpy.__file__).parents[1] / "book" / "results", "colocalisation")
ours = [result for result in read_results(results) if result.data["name"] == "MNIST"]
rows = colocalisation.table(ours).rows
assert [row[0] for row in rows] == list(colocalisation.PAPER)
assert sum(bool(text) for row in rows for text in row[3:]) == len({r.cell for r in ours})
colocalisation.table(ours)

# %% [markdown]
# ## What to remember

# %%
Table(
    ["what", "how many numbers", "forwards", "backwards"],
    [
        ["affine", "6", "theta P", "times P^T"],
        ["projective", "8", "theta P, then divide by w", "quotient rule, then times P^T"],
        ["thin plate spline", "2 for each control point", "B theta", "times B^T"],
        ["in series", "each its own", "one reads what the other read", "chain rule, Eq. (6)"],
        ["in parallel", "each its own", "both read U", "U gets the sum"],
    ],
)

# %% [markdown]
# ## Exercises
#
# **Exercise 15.1.** The second guard. Instead of by $w$, divide by $\max(w, \epsilon)$, for a small
# $\epsilon > 0$. Return $x = u / \max(w, \epsilon)$, and its derivatives with respect to $u$ and to
# $w$, for whole arrays. At $w = \epsilon$ take the derivative from the right.


# %%
def divided(u, w, epsilon):
    """x, dx/du and dx/dw, three arrays like u and w."""
    ### BEGIN SOLUTION
    floor = np.maximum(w, epsilon)
    return u / floor, 1 / floor, np.where(w >= epsilon, -u / floor**2, 0.0)
    ### END SOLUTION


# %%
check("15.1", divided)

# %% [markdown]
# **Exercise 15.2.** The gradient of the projective grid, for a whole batch and without a loop over
# points. (`reference.target_points(H, W)` gives the target points $x^t$, $y^t$; the check hands
# your function to `verify`.)


# %%
def grad_projective_grid(dG, theta, size):
    """dG (N, H, W, 2), theta (N, 8), size = (N, C, H, W); returns dL/dtheta (N, 8)."""
    ### BEGIN SOLUTION
    x_t, y_t = reference.target_points(size[2], size[3])
    P = np.stack([x_t.ravel(), y_t.ravel(), np.ones(x_t.size)])
    matrices = np.concatenate([theta, np.ones((len(theta), 1))], axis=1).reshape(-1, 3, 3)
    u, v, w = np.moveaxis(matrices @ P, 1, 0)
    dx, dy = np.moveaxis(dG.reshape(len(theta), -1, 2), 2, 0)
    d = np.stack([dx / w, dy / w, -(dx * u + dy * v) / w**2], axis=1)
    return (d @ P.T).reshape(-1, 9)[:, :8]
    ### END SOLUTION


# %%
check("15.2", grad_projective_grid)

# %% [markdown]
# **Exercise 15.3.** Nails that give. Where measured points are not to be trusted entirely, let
# the sheet pass *near* them: add `give` to each of the first $P$ numbers on the diagonal of the
# system, and leave the three sums as they are. For points `p`, how much does each of them follow
# each control point then? So $f(p) = B z$, where $z$ are the values at the control points, which
# may be anywhere. (You may use `system` and `phi` of this chapter. $\varphi(r) = r^2 \log r$.)


# %%
def influence(p, knots, give):
    """p (n, 2), knots (P, 2), a number -> B (n, P)."""
    ### BEGIN SOLUTION
    count = len(knots)
    matrix = system(knots)
    matrix[:count, :count] += give * np.eye(count)
    distances = np.linalg.norm(p[:, None] - knots, axis=2)
    basis = np.column_stack([phi(distances), np.ones(len(p)), p])  # (n, P + 3)
    return basis @ np.linalg.inv(matrix)[:, :count]  # the last three heights are 0
    ### END SOLUTION


# %%
check("15.3", influence)

# %% [markdown]
# **Exercise 15.4.** Two in series: an image is read by the homography `first`, the result is read
# by `second`, each eight numbers, $a$ to $h$. Return the eight numbers of the one homography that
# leads to the same points. (Two affine maps are the case $g = h = 0$.)


# %%
def composed(first, second):
    """first, second (8,) -> (8,)."""
    ### BEGIN SOLUTION
    one, other = (np.append(numbers, 1).reshape(3, 3) for numbers in (first, second))
    matrix = one @ other
    return (matrix / matrix[2, 2]).ravel()[:8]
    ### END SOLUTION


# %%
check("15.4", composed)
