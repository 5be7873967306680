# %% [markdown]
# # 7 Backward I: the image (Eq. 6)
#
# *About 60 minutes. Needs chapter 6 (bilinear sampling). Derives Eq. (6), which is printed wrong in
# the paper, and finds the backward pass of a sampler to be a transposed matrix.*
#
# **The question.** The output was wrong, and the loss says how wrong at each of its pixels. The
# image $U$ may itself be the output of an earlier layer, which wants to do better next time. What
# does each pixel of $U$ have to be told?

# %%
import inspect

import numpy as np

from stn_numpy import Tensor, gradcheck, plots, reference
from stn_numpy import functional as F
from stn_numpy.exercises import check
from stn_numpy.functional import sampler
from stn_numpy.verify import verify

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])

# %% [markdown]
# ## One point
#
# Take the point $(2.25, 1.75)$ of chapter 6. Four pixels are read there, each with its weight.

# %%
plots.weights_figure(
    U,
    2.25,
    1.75,
    title="Forwards: how much each pixel counts. Backwards: how much each is told",
    alt="Left, the image with the point (2.25, 1.75). Right, the weights: 0.1875 for the pixel 5, "
    "0.0625 for 2, 0.5625 for 8, 0.1875 for 1, and 0 for all others.",
)

# %% [markdown]
# Make the pixel 8 a little brighter, by 0.1. Its weight is 0.5625, so $V$ should rise by that
# share of it:


# %%
def read(U, x, y):
    """V at one point."""
    return reference.eq03_sample(
        U[None], np.array([x]), np.array([y]), reference.eq05_bilinear_kernel
    )[0, 0]


brighter = U.copy()
brighter[2, 2] += 0.1
before, after = read(U, 2.25, 1.75), read(brighter, 2.25, 1.75)
print(f"V before {before:.5f}, after {after:.5f}")
print(f"change of V for each unit of the pixel: {(after - before) / 0.1:.4f}")

# %% [markdown]
# So the derivative of $V$ with respect to a pixel is the weight of this pixel. How could it be
# otherwise? $V$ is a sum of pixels times weights, and the weights depend on where the point is, not
# on the image.
#
# ## Eq. (6), derived
#
# Which pixel do we differentiate by? Call it $(n', m')$, for $n$ and $m$ are taken: they run
# through the sum of Eq. (5).
#
# $$
# \frac{\partial V_i^c}{\partial U_{n'm'}^c} = \sum_n^H \sum_m^W
# \frac{\partial U_{nm}^c}{\partial U_{n'm'}^c} \, \max(0, 1 - |x_i^s - m|) \,
# \max(0, 1 - |y_i^s - n|)
# $$
#
# The derivative of one pixel by another is 0, and by itself it is 1. So of all the terms one is
# left, that with $n = n'$ and $m = m'$. Now drop the primes:
#
# $$
# \frac{\partial V_i^c}{\partial U_{nm}^c} = \max(0, 1 - |x_i^s - m|) \, \max(0, 1 - |y_i^s - n|)
# \tag{6}
# $$
#
# The sums are gone. Here it is in a loop, one number for each pixel:

# %%
x_s, y_s = np.array([2.25, 2.5]), np.array([1.75, 2.5])
dV_dU = reference.eq06_grad_U(U[None], x_s, y_s)
print("point (2.25, 1.75):\n", dV_dU[0])
print("point (2.5, 2.5):\n", dV_dU[1])

# %% [markdown]
# Three witnesses, on a larger image and random points. The first is the loop. The second nudges
# each pixel in turn; as $V$ is a straight line in every pixel, any nudge will do. The third is the
# package: if the gradient from above is 1 at one point and 0 at all others, what it sends to the
# image is exactly $\partial V_i / \partial U$ of this point.

# %%
rng = np.random.default_rng(7)
H, W, points = 6, 5, 8
image = rng.standard_normal((1, H, W))
x_s, y_s = rng.uniform(-1, W, points), rng.uniform(-1, H, points)
G = np.stack([reference.to_normalised(x_s, W), reference.to_normalised(y_s, H)], axis=-1)

loop = reference.eq06_grad_U(image, x_s, y_s)

nudged = np.zeros((points, H, W))
for n, m in np.ndindex(H, W):
    more = image.copy()
    more[0, n, m] += 1
    nudged[:, n, m] = [read(more[0], *p) - read(image[0], *p) for p in zip(x_s, y_s)]

package = np.zeros((points, H, W))
for i in range(points):
    tensor = Tensor(image[None], requires_grad=True)
    V = F.grid_sample(tensor, G[None, None])
    V.backward(np.eye(points)[i].reshape(V.shape))
    package[i] = tensor.grad[0, 0]

assert np.allclose(loop, nudged, rtol=0, atol=1e-12), "Eq. (6): not what a nudge does"
assert np.allclose(loop, package, rtol=0, atol=1e-12), "Eq. (6): loop and package differ"
print("three times the same,", loop.size, "derivatives")

# %% [markdown]
# ### Erratum: Eq. (6) as printed
#
# The paper prints the two sums on the right side:
#
# $$
# \frac{\partial V_i^c}{\partial U_{nm}^c} = \sum_n^H \sum_m^W \max(0, 1 - |x_i^s - m|) \,
# \max(0, 1 - |y_i^s - n|) \qquad \text{(as printed)}
# $$
#
# The letters $n$ and $m$ have two jobs here. On the left they name a pixel. On the right they are
# used up by the sums, so what comes out can not depend on which pixel was meant: every pixel gets
# the same, the sum of all weights.

# %%
for x, y in [(2.25, 1.75), (2.5, 2.5), (3.25, 2.25), (3.5, 3.5)]:
    at = U[None], np.array([x]), np.array([y])
    printed = reference.eq06_grad_U_as_printed(*at)[0]
    truth = reference.eq06_grad_U(*at)[0]
    print(
        f"point ({x}, {y}): printed {printed.min():.4f} for all {printed.size} pixels; "
        f"truth {np.count_nonzero(truth)} pixels, the largest {truth.max():.4f}"
    )

# %% [markdown]
# At ten thousand points inside of the image, what is printed is 1 for every pixel of every image:

# %%
inside = rng.uniform(0, 3, (2, 10_000))
sums = reference.eq06_grad_U(U[None], *inside).sum(axis=(1, 2))
print(f"smallest sum of weights {sums.min():.4f}, largest {sums.max():.4f}")
assert np.allclose(sums, 1)

# %% [markdown]
# Here is a consequence that anyone can see. Make all sixteen pixels brighter by 1. Then the image
# is brighter by 1 everywhere, and so is what is read. But if each of the sixteen derivatives were
# 1, $V$ should rise by 16.

# %%
at = U[None], np.array([2.5]), np.array([2.5])
print("V rises by:     ", read(U + 1, 2.5, 2.5) - read(U, 2.5, 2.5))
print("Eq. (6):        ", reference.eq06_grad_U(*at).sum())
print("Eq. (6) printed:", reference.eq06_grad_U_as_printed(*at).sum())

# %% [markdown]
# A transformer that stands first in a network would not notice: nobody asks for the gradient of the
# data. What $\theta$ learns does not come by way of the pixels:

# %%
from_above = np.array([[1.0, -2, 3], [5, 0.5, -4]])[None, None]
told = []
for asked in (False, True):
    data = Tensor(U[None, None], requires_grad=asked)
    frame = Tensor(0.5 * np.eye(2, 3)[None], requires_grad=True)
    F.grid_sample(data, F.affine_grid(frame, (1, 1, 2, 3))).backward(from_above)
    assert (data.grad is not None) == asked
    told.append(frame.grad[0])
assert np.array_equal(*told)
print("dL/dtheta, whether dL/dU is asked for or not:")
print(told[0].round(6))

# %% [markdown]
# Behind other layers it would tell every pixel the same, and they would learn nothing about
# *where*. And whoever derives the gradient on their own may doubt their result instead of the
# paper's. `verify` knows it by name:


# %%
def as_printed(U, x, y, n, m):
    H, W = U.shape
    return sum(
        max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
        for row in range(H)
        for column in range(W)
    )


print(verify(as_printed, "grid_sample", form="partial", wrt="U").advice())

# %% [markdown]
# **Exercise 07.1.** Refute it yourself. Find a change of the image, a 4 x 4 array $D$, for which
# the printed equation promises that $V$ at $(2.5, 2.5)$ rises by 10 from $U$ to $U + D$, while in
# truth $V$ does not change at all.


# %%
def direction():
    """The array D (4, 4)."""
    ### BEGIN SOLUTION
    # As printed, each pixel counts 1, so D has to add up to 10. The four pixels around the point
    # are left alone.
    D = np.zeros((4, 4))
    D[0, 0] = 10
    return D
    ### END SOLUTION


# %%
check("07.1", direction)

# %% [markdown]
# ## Many points at once
#
# An output has many points, and the loss $L$ looks at all of them. Say that $\partial L / \partial
# V$ has arrived from above; we make it up. A pixel that is read by several points moves them all,
# so by the chain rule it is told the sum:
#
# $$
# \frac{\partial L}{\partial U_{nm}^c} = \sum_i \frac{\partial L}{\partial V_i^c} \,
# \frac{\partial V_i^c}{\partial U_{nm}^c}
# $$
#
# Take the sixteen points that the theta of this book makes.

# %%
x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
dV = np.array([[1, -1, 2, 0], [0, 3, 1, -2], [1, 0, -1, 2], [2, 1, 0, 1]], dtype=float)

dV_dU = reference.eq06_grad_U(U[None], x_s, y_s)
dU = reference.grad_U(dV.reshape(1, 16), dV_dU)[0]
print(dU)

# %%
plots.backward_figure(
    dV,
    x_s.reshape(4, 4),
    y_s.reshape(4, 4),
    dU,
    alt="Left, the gradient at the sixteen pixels of the output. In the middle, the same sixteen "
    "numbers at the points where they were read, a tilted square at the lower right. Right, the "
    "gradient of the image: the pixels at the lower right are told most.",
)

# %% [markdown]
# By hand for the pixel at column 2, row 2. Which points read it, with what weight, and what do
# they have to say?

# %%
for i in np.flatnonzero(dV_dU[:, 2, 2]):
    weight, above = dV_dU[i, 2, 2], dV.ravel()[i]
    print(
        f"output ({x_t[i]:g}, {y_t[i]:g}) reads at ({x_s[i]:g}, {y_s[i]:g}): "
        f"weight {weight:.4f} times {above:2.0f} = {weight * above:7.4f}"
    )
print(f"sum: {dU[2, 2]:.4f}")

# %% [markdown]
# The package does the same in its backward pass.

# %%
G = np.stack([reference.to_normalised(x_s, 4), reference.to_normalised(y_s, 4)], axis=-1)
G = G.reshape(1, 4, 4, 2)
tensor = Tensor(U[None, None], requires_grad=True)
F.grid_sample(tensor, G).backward(dV[None, None])
assert np.allclose(tensor.grad[0, 0], dU, rtol=0, atol=1e-12), "Eq. (6): loop and package differ"
print(tensor.grad[0, 0])

# %% [markdown]
# ## Sampling is a matrix
#
# Write the image as a column of sixteen numbers, row after row, and the output as well. For a
# fixed grid, each number of the output is a sum of numbers of the image times weights. That is a
# product with a matrix: $V = S\,U$. The row $i$ of $S$ has the weights of point $i$. So $S$ is
# nothing new, it is Eq. (6), laid out flat.

# %%
S = dV_dU.reshape(16, 16)
V = S @ U.ravel()
V_loop = reference.eq03_sample(U[None], x_s, y_s, reference.eq05_bilinear_kernel)
assert np.allclose(V, V_loop[0], rtol=0, atol=1e-12)
print(V.reshape(4, 4))

# %%
plots.matrix_figure(
    S,
    title="The matrix S of the theta of this book",
    xlabel="pixel of the image, 4 n + m",
    ylabel="point of the output, i",
    alt="A matrix of 16 rows and 16 columns, nearly all of it 0. Each row has at most four "
    "entries, in two pairs of neighbours that are four columns apart; the last row is empty.",
)

# %% [markdown]
# A row has at most four entries, those of the four pixels around a point: two neighbours, and the
# two below them, four columns further. Rows of points that lie outside are shorter; the last one is
# empty. Such a matrix is called *sparse*, and one keeps only what is not 0. For an image of 28 x 28
# pixels and as many points:

# %%
size = 28 * 28
print("entries:", size * size, "  not 0, at most:", 4 * size, "  share:", f"{4 / size:.4f}")

# %% [markdown]
# ## Backwards is the transpose
#
# Now the chain rule from above in these terms. The pixel $j$ gets $\sum_i \, \partial L/\partial
# V_i \; S_{ij}$. Forwards we went along a *row* of $S$; this goes down a *column*. It is a product
# with the transposed matrix:
#
# $$ \frac{\partial L}{\partial U} = S^T \, \frac{\partial L}{\partial V} $$

# %%
print((S.T @ dV.ravel()).reshape(4, 4))
assert np.allclose(S.T @ dV.ravel(), dU.ravel(), rtol=0, atol=1e-12), "Eq. (6): not the transpose"

# %% [markdown]
# Nothing in this is about images. Whenever an operation is linear, its backward pass is the
# transpose of its forward pass: for convolutions, for resizing, for the Fourier transform.
#
# ## The adjoint test
#
# This gives a test without any finite difference. For every matrix and all vectors, $\langle S u,
# v \rangle = \langle u, S^T v \rangle$. So draw a random image $u$ and a random gradient $v$, run
# the sampler forwards on $u$ and backwards on $v$, and compare two numbers. They have to agree to
# the last digits, in one go, however large the image.

# %%
u, v = rng.standard_normal((2, 3, 9, 7)), rng.standard_normal((2, 3, 4, 11))
grid = rng.uniform(-1.3, 1.3, (2, 4, 11, 2))
tensor = Tensor(u, requires_grad=True)
V = F.grid_sample(tensor, grid)
V.backward(v)
forwards, backwards = (V.data * v).sum(), (u * tensor.grad).sum()
print(f"<S u, v> = {forwards:.10f}")
print(f"<u, S'v> = {backwards:.10f}")
assert np.isclose(forwards, backwards, rtol=1e-12), "Eq. (6): the backward pass is no transpose"

# %% [markdown]
# What it can not see: a mistake that is in the forward pass too. It says that the two belong
# together, not that either is right.
#
# ## Gather, and scatter
#
# A program does not keep $S$. For each point it keeps four places and four weights. Forwards it
# *gathers*: it picks four pixels and adds them up. Backwards it *scatters*: it adds four shares to
# four places. Gathering twice from the same place does no harm. Scattering twice to the same place
# is where things go wrong:

# %%
index, values = np.array([1, 1, 1]), np.array([10.0, 20.0, 30.0])

wrong = np.zeros(3)
wrong[index] += values
right = np.zeros(3)
np.add.at(right, index, values)

print("dU[index] += values:         ", wrong)
print("np.add.at(dU, index, values):", right)

# %% [markdown]
# `dU[index] += values` means `dU[index] = dU[index] + values`. NumPy computes the right side first,
# with the old zeros three times; then it writes three results to the same place, and the last one
# stays. Two gradients are lost, and no error is raised. `np.add.at` adds them one after the other.
#
# How often does that happen? Whenever two points share a pixel, which is nearly always. Here an
# image of 3 x 3 pixels is enlarged to 6 x 6, and each point sends a 1. Every pixel lies around
# many points.


# %%
def scatter(dV, x, y, H, W, add):
    """dL/dU for points inside of the image, with one way or another to add."""
    dU = np.zeros((H + 1, W + 1))  # one more, for neighbours with weight 0
    m, n = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = x - m, y - n
    for row, along_y in ((n, 1 - b), (n + 1, b)):
        for column, along_x in ((m, 1 - a), (m + 1, a)):
            add(dU, (row, column), dV * along_y * along_x)
    return dU[:H, :W]


def buffered(array, index, values):
    array[index] += values


x, y = (points.ravel() for points in np.meshgrid(np.linspace(0, 2, 6), np.linspace(0, 2, 6)))
right = scatter(np.ones(36), x, y, 3, 3, np.add.at)
wrong = scatter(np.ones(36), x, y, 3, 3, buffered)
print(f"sent {36}, arrived with add.at {right.sum():.2f}, with += {wrong.sum():.2f}")

plots.heats_figure(
    {"np.add.at": right, "dU[index] += values": wrong},
    title="What the nine pixels are told if each of 36 points sends a 1",
    numbers=".2f",
    one_scale=True,
    alt="Two 3 x 3 arrays. With add.at the pixel in the middle gets the most, and all add up to "
    "36; with += much smaller numbers are left.",
)

# %% [markdown]
# Does the adjoint test notice? The forward pass is Eq. (5), and its transpose would be the left
# one:

# %%
u, v = rng.standard_normal((3, 3)), rng.standard_normal(36)
V = reference.eq03_sample(u[None], x, y, reference.eq05_bilinear_kernel)[0]
print(f"forwards        {V @ v:.4f}")
for name, add in (("np.add.at", np.add.at), ("+=", buffered)):
    print(f"backwards, {name:9s} {(u * scatter(v, x, y, 3, 3, add)).sum():.4f}")

# %% [markdown]
# It does. This is how the package scatters, one channel after the other:

# %%
print(inspect.getsource(sampler._scatter))

# %% [markdown]
# **Exercise 07.2.** Scatter without `np.add.at`, in any way you like: a loop will do. (Other
# languages have no such function, and on a GPU it needs an atomic addition.)


# %%
def scatter_add(size, index, values):
    """An array (size,) of zeros, to which values[i] is added at index[i], for every i."""
    ### BEGIN SOLUTION
    return np.bincount(index, weights=values, minlength=size)
    ### END SOLUTION


# %%
check("07.2", scatter_add)

# %% [markdown]
# ## What is sent arrives
#
# Between the centres of the outermost pixels the weights of a point add up to 1. Backwards it means
# that a point hands out exactly what it got: nothing is lost, and nothing is made up. In the case
# of 36 points above, 36 arrived. Points outside lose a part, or all. In the example of this book:

# %%
share = S.sum(axis=1)
print("share that arrives:\n", share.reshape(4, 4))
print("sent:", dV.sum(), "  arrived:", dU.sum(), "  sent times share:", dV.ravel() @ share)
assert dU.sum() == dV.ravel() @ share

# %% [markdown]
# So a point that has left the image sends nothing to the pixels. Worse, as chapter 8 shows, it
# hears nothing either.
#
# Nor is every pixel heard of. The columns of $S$ tell how often a pixel is read. If an image of 60
# x 60 pixels is read at 20 x 20 points, each point sees at most four pixels. Here each happens to
# fall on one:

# %%
tensor = Tensor(rng.standard_normal((1, 1, 60, 60)), requires_grad=True)
small = F.affine_grid(np.array([[[1.0, 0, 0], [0, 1, 0]]]), (1, 1, 20, 20))
F.grid_sample(tensor, small).backward(np.ones((1, 1, 20, 20)))
told = tensor.grad > 1e-9
print(f"pixels that are told anything: {told.sum()} of {told.size}, {100 * told.mean():.1f} %")

# %% [markdown]
# That is no mistake in Eq. (6): the forward pass ignored the other pixels as well. It is a reason
# to blur an image before making it small.
#
# ## The gradient check
#
# Finite differences agree, for every pixel. And look at the points: all of them are *on* pixels,
# where chapter 8 will find corners. For the image there are none. $V$ is a straight line in every
# pixel, wherever the points are.

# %%
whole = rng.integers(-1, 7, (2, 3, 4, 2)).astype(float)
G = np.stack(
    [reference.to_normalised(whole[..., 0], 5), reference.to_normalised(whole[..., 1], 6)], axis=-1
)
print(gradcheck(lambda U: F.grid_sample(U, G), rng.standard_normal((2, 2, 6, 5))))

# %% [markdown]
# ## Exercises
#
# **Exercise 07.3.** The backward pass for the image, complete: a batch, several channels, points
# anywhere, a grid in normalised coordinates. The pixel of $g$ is $((g + 1) \cdot \text{size} - 1)
# / 2$. `verify` judges it.


# %%
def grad_image(dV, input, grid):
    """dL/dU (N, C, H, W), from dV (N, C, H', W'), the image and the grid (N, H', W', 2)."""
    ### BEGIN SOLUTION
    C, H, W = input.shape[1:]
    x = ((grid[..., 0] + 1) * W - 1) / 2
    y = ((grid[..., 1] + 1) * H - 1) / 2
    m, n = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = x - m, y - n
    dU = np.zeros_like(input)
    for row, along_y in ((n, 1 - b), (n + 1, b)):
        for column, along_x in ((m, 1 - a), (m + 1, a)):
            inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
            number = np.nonzero(inside)[0]  # of the image in the batch
            for c in range(C):
                values = (dV[:, c] * along_y * along_x)[inside]
                np.add.at(dU[:, c], (number, row[inside], column[inside]), values)
    return dU
    ### END SOLUTION


# %%
check("07.3", grad_image)

# %% [markdown]
# **Exercise 07.4.** A point $(x, y)$ anywhere gets the gradient 1 from above. How much of it
# arrives at the pixels of an image of $H$ x $W$ pixels, all together?


# %%
def arrives(x, y, H, W):
    """The sum of dV/dU over all pixels, a number from 0 to 1."""
    ### BEGIN SOLUTION
    # The sum of products is the product of sums, and each sum falls from 1 to 0 in one pixel.
    along_x = np.clip(min(x + 1, W - x), 0, 1)
    along_y = np.clip(min(y + 1, H - y), 0, 1)
    return along_x * along_y
    ### END SOLUTION


# %%
check("07.4", arrives)
