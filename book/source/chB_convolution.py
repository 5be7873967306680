# %% [markdown]
# # B Convolution and pooling backward
#
# *About 80 minutes. Needs chapter 7 (an image that is read collects its gradient) and appendix A
# (one backward pass for each operation). Derives the gradients of convolution and pooling, which
# the localisation net and the classifier are made of. The paper takes them for granted.*
#
# **The question.** A window slides over an image. Each pixel is seen by several windows, and each
# weight is used at every place. What does a pixel receive on the way back, and what does a weight?

# %%
import itertools

import numpy as np

from stn_numpy import functional as F
from stn_numpy import gradcheck, plots
from stn_numpy.exercises import check
from stn_numpy.functional.layout import batch_first, batch_last
from stn_numpy.gradcheck import numeric_gradients
from stn_numpy.verify import verify

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
W = np.array([[2, 1], [-1, 3]], dtype=float)

# %% [markdown]
# ## One window, by hand
#
# $U$ is the image of the other chapters, and $W$ a *kernel* of 2 x 2 weights. Lay the kernel on
# the upper left corner of the image, multiply what lies on each other, and add:

# %%
print("y[0, 0] =", 2 * 0 + 1 * 1 - 1 * 3 + 3 * 9)

# %% [markdown]
# Then move the kernel to the next place. It fits at three places in each direction, so the output
# has 3 x 3 pixels. Drag the window; elsewhere, look at the place $(1, 0)$.

# %%
y = F.conv2d(U[None, None], W[None, None]).data[0, 0]


def draw(p, q):
    return plots.window_figure(
        U,
        W,
        y,
        (p, q),
        title="The kernel is laid on the image, place by place",
        alt="The image with a window of 2 x 2 pixels, the kernel, and the output, in which the "
        "number of this window is framed.",
    )


plots.drag(draw, p=(0, 2, 1), q=(0, 2, 0))

# %% [markdown]
# With $p, q$ for the place and $i, j$ for the pixel inside the window:
#
# $$ y_{pq} = \sum_i \sum_j W_{ij} \, x_{p+i,\,q+j} $$
#
# We write $x$ for the input of a layer, whatever it is. Here $x = U$.
#
# ### Myth: "a convolutional layer convolves"
#
# In mathematics, a convolution turns the kernel round before it is laid on the image: a minus
# stands where we have a plus, $x_{p-i,\,q-j}$. What a network's layer does is called
# *cross-correlation*. NumPy has both for one row, under their right names:

# %%
row, kernel = U[1], np.array([1.0, 10.0])
layer = F.conv2d(row[None, None, None], kernel[None, None, None]).data.ravel()
print("the layer:  ", layer)
print("correlate:  ", np.correlate(row, kernel, "valid"))
print("convolve:   ", np.convolve(row, kernel, "valid"))
assert np.array_equal(layer, np.correlate(row, kernel, "valid"))
assert np.array_equal(layer, np.convolve(row, kernel[::-1], "valid"))

# %% [markdown]
# A network learns its kernels, so it would learn the turned ones as well, and nobody minds the
# name. On the way back it matters: one of the two gradients *is* a convolution, and whoever
# forgets the turn has a gradient that looks good and is wrong.
#
# ## The windows as columns
#
# Write each window as a column: four numbers, row by row. Nine windows make a matrix of 4 x 9.
# This is called `im2col`, "image to columns".

# %%
columns = np.array([U[p : p + 2, q : q + 2].ravel() for p, q in np.ndindex(3, 3)]).T


def draw_columns(p, q):
    return plots.columns_figure(
        U,
        columns,
        (2, 2),
        (3, 3),
        (p, q),
        title="im2col: every window becomes a column",
        alt="Left the image with a window, right the matrix of 4 x 9 numbers, in which the column "
        "of this window is framed. The 9 of the image is in four of the columns.",
    )


plots.drag(draw_columns, p=(0, 2, 1), q=(0, 2, 0))

# %% [markdown]
# Now the whole convolution is one product of matrices, which is what processors do best: the
# weights as one row, times the columns.

# %%
print(W.reshape(1, 4) @ columns)
print("the same as before:", np.array_equal((W.reshape(1, 4) @ columns).reshape(3, 3), y))

# %% [markdown]
# ## im2col is a matrix, col2im its transpose
#
# Each number of the columns is a copy of one pixel. So im2col itself is a matrix $S$, of zeros and
# ones: one row for each of the 36 numbers, one column for each of the 16 pixels. Like the matrix
# of chapter 7, nobody ever writes it down. But it says what the way back is: the transpose.

# %%
pixel_numbers = np.arange(16).reshape(4, 4)
source = np.array([pixel_numbers[p : p + 2, q : q + 2].ravel() for p, q in np.ndindex(3, 3)]).T
S = np.zeros((36, 16))
S[np.arange(36), source.ravel()] = 1
assert np.array_equal((S @ U.ravel()).reshape(4, 9), columns)

plots.matrices_figure(
    {"im2col: S, (36, 16)": S, "col2im: its transpose, (16, 36)": S.T},
    title="One 1 in each row: copied once. Up to four in each column: copied up to four times",
    alt="Two matrices of zeros and ones. Left S, 36 rows of 16; its ones form four diagonal bands. "
    "Right its transpose.",
)

# %% [markdown]
# `col2im` takes 36 numbers and *adds* each of them to the pixel that it was copied from. A pixel
# that was copied $n$ times receives the sum of $n$ numbers. Send back a 1 from everywhere, and
# you see how many windows look at each pixel:

# %%
print((S.T @ np.ones(36)).reshape(4, 4))

# %% [markdown]
# The test of a transpose: $\langle S x, z \rangle = \langle x, S^T z \rangle$ for all $x$ and $z$.

# %%
rng = np.random.default_rng(14)
x_random, z_random = rng.standard_normal(16), rng.standard_normal(36)
assert np.isclose((S @ x_random) @ z_random, x_random @ (S.T @ z_random), rtol=0, atol=1e-12)

# %% [markdown]
# ## What a weight receives
#
# Let the gradient $\partial L / \partial y$ arrive from above. We call it `dy`, and take numbers
# that no symmetry hides:

# %%
dy = np.array([[1, 2, 0], [-1, 3, 1], [2, 0, -2]], dtype=float)

# %% [markdown]
# The weight $W_{01}$ is used at all nine places. At the place $(p, q)$ it is multiplied by
# $x_{p,\,q+1}$, so there it moves $y_{pq}$ by that much. It collects from all nine:

# %%
terms_of_W01 = [f"{dy[p, q]:g} * {U[p, q + 1]:g}" for p, q in np.ndindex(3, 3)]
print(" + ".join(terms_of_W01), "=", sum(dy[p, q] * U[p, q + 1] for p, q in np.ndindex(3, 3)))

# %% [markdown]
# For any weight:
#
# $$ \frac{\partial L}{\partial W_{ij}} = \sum_p \sum_q \frac{\partial L}{\partial y_{pq}} \,
# x_{p+i,\,q+j} $$
#
# Look at it again: that is the formula of the forward pass, with `dy` in the place of the kernel.
# **The gradient of the weights is the cross-correlation of the image with `dy`.** As matrices: `dy`
# as one row, times the transposed columns.

# %%
dW = F.conv2d(U[None, None], dy[None, None]).data[0, 0]
print("image correlated with dy:\n", dW)
print("dy times columns, transposed:\n", (dy.reshape(1, 9) @ columns.T).reshape(2, 2))
assert np.array_equal((dy.reshape(1, 9) @ columns.T).reshape(2, 2), dW)

# %% [markdown]
# ## What a pixel receives, and why the kernel is flipped
#
# The pixel 9, at row 1 and column 1, is seen by four windows. Which weight lies on it, in each?

# %%
plots.seen_from_figure(
    U,
    W,
    (1, 1),
    title="Four windows see the pixel in row 1, column 1",
    alt="At place (0, 0) the weight 3 lies on the pixel, at (0, 1) the weight -1, at (1, 0) the "
    "weight 1, at (1, 1) the weight 2: the kernel turned by half a turn.",
)

# %% [markdown]
# When the window goes *right*, the pixel goes *left* in it. When the window goes down, the pixel
# goes up. So read off from place to place, the weights come in reverse order: 3, -1, 1, 2, which
# is the kernel turned by half a turn. This is all there is to "the flipped kernel".

# %%
print(W[::-1, ::-1])
print("the pixel 9 receives", 3 * 1 - 1 * 2 + 1 * -1 + 2 * 3)

# %% [markdown]
# In letters: $y_{pq}$ sees the pixel $(r, s)$ if $r = p + i$ and $s = q + j$. For each weight
# there is one such place, $p = r - i$ and $q = s - j$:
#
# $$ \frac{\partial L}{\partial x_{rs}} = \sum_i \sum_j W_{ij} \,
# \frac{\partial L}{\partial y_{r-i,\,s-j}} $$
#
# There is the minus. **The gradient of the image is the true convolution of `dy` with the
# kernel**, or the cross-correlation with the flipped one. Places that do not exist count 0, so
# `dy` gets a frame of zeros first, as wide as the kernel reaches. There are two more ways to the
# same numbers: col2im, and going through the places and adding.

# %%
framed = np.pad(dy, 1)
dU = F.conv2d(framed[None, None], W[None, None, ::-1, ::-1].copy()).data[0, 0]

dcolumns = W.reshape(4, 1) @ dy.reshape(1, 9)
dU_col2im = (S.T @ dcolumns.ravel()).reshape(4, 4)

dU_added = np.zeros((4, 4))
for p, q in np.ndindex(3, 3):
    dU_added[p : p + 2, q : q + 2] += W * dy[p, q]

assert np.array_equal(dU, dU_col2im)
assert np.array_equal(dU, dU_added)
print(dU)

# %%
plots.heats_figure(
    {"dy": dy, "kernel W": W, "dL/dW": dW, "dL/dU": dU},
    title="What arrives, and what it becomes",
    alt="Four arrays in numbers: dy of 3 x 3, the kernel of 2 x 2, its gradient of 2 x 2, and the "
    "gradient of the image of 4 x 4, with 6 at the pixel in row 1, column 1.",
)

# %% [markdown]
# The last of the three ways shows the flip in another light: **adding to the windows needs no
# flip**. There the kernel is laid down as it is, place by place, as in the forward pass; only who
# asks for the sum from the pixel's side meets it turned.
#
# ### Without the flip
#
# Somebody forgot it. How would you notice? Not by the shape, and not by the sum, which is the
# same for any order of the weights.


# %%
def conv2d_dX_of_a_colleague(dy, x, W, b):
    """dL/dx, an array (N, C, H, W), for stride 1 and no padding."""
    kh, kw = W.shape[2:]
    framed = np.pad(dy, ((0, 0), (0, 0), (kh - 1, kh - 1), (kw - 1, kw - 1)))
    return F.conv2d(framed, W.transpose(1, 0, 2, 3).copy()).data


theirs = conv2d_dX_of_a_colleague(dy[None, None], U[None, None], W[None, None], None)[0, 0]
print(theirs)
print("sums:", theirs.sum(), dU.sum())
print(verify(conv2d_dX_of_a_colleague, "conv2d", form="backward", wrt="input").advice())

# %% [markdown]
# ## Channels, images, strides, padding
#
# A layer has more indices: images $n$, input channels $c$, output channels $o$. It may skip
# places, by a *stride* $s$, and put a frame of zeros around the image, the *padding*. Its bias
# $b_o$ is added everywhere.
#
# $$ y_{nopq} = b_o + \sum_{c,i,j} W_{ocij} \, x_{n,\,c,\,ps+i-\mathrm{pad},\,qs+j-\mathrm{pad}} $$
#
# Eight indices look worse than they are. A convolution is a long list of products, weight times
# pixel, each added to one place of the output. Here is the list:


# %%
def output_size(size, kernel, stride, padding):
    """How many places a window has: in how many steps it gets through image and frame."""
    return (size + 2 * padding - kernel) // stride + 1


def products(x, W, stride, padding):
    """Every product of a convolution: index of y, index of W, index of x."""
    (N, C, *size), (O, _, *kernel) = x.shape, W.shape
    places = map(output_size, size, kernel, stride, padding)
    for n, o, p, q, c, i, j in np.ndindex(N, O, *places, C, *kernel):
        row, column = p * stride[0] + i - padding[0], q * stride[1] + j - padding[1]
        if 0 <= row < size[0] and 0 <= column < size[1]:  # else it is in the frame, and 0
            yield (n, o, p, q), (o, c, i, j), (n, c, row, column)


for k, product in enumerate(products(U[None, None], W[None, None], (1, 1), (0, 0))):
    if k < 5:
        print(*product)
print("products in all:", k + 1)

# %% [markdown]
# With the list, forward and backward are three lines. A product $w \cdot x$ passes to $w$ what
# arrives, times $x$, and to $x$ what arrives, times $w$. Everybody adds up.


# %%
def conv2d_loops(x, W, b, dy, stride, padding):
    """y, dL/dx, dL/dW and dL/db, one product after the other."""
    y = np.zeros_like(dy) + b[:, None, None]
    dx, dW = np.zeros_like(x), np.zeros_like(W)
    for at_y, at_W, at_x in products(x, W, stride, padding):
        y[at_y] += W[at_W] * x[at_x]
        dx[at_x] += W[at_W] * dy[at_y]
        dW[at_W] += x[at_x] * dy[at_y]
    return y, dx, dW, dy.sum(axis=(0, 2, 3))


# %% [markdown]
# The proof. Two images, three channels in and four out, an image and a kernel that are not
# square, a stride and a padding that differ along both axes: the loops, the package's
# `functional/conv.py`, which works with columns, and central differences give the same.

# %%
x = rng.standard_normal((2, 3, 5, 7))
weight, bias = rng.standard_normal((4, 3, 3, 2)), rng.standard_normal(4)

for stride, padding in [((1, 1), (0, 0)), ((2, 1), (0, 0)), ((1, 1), (1, 2)), ((2, 3), (1, 2))]:

    def conv2d(x, weight, bias, stride=stride, padding=padding):
        return F.conv2d(x, weight, bias, stride, padding)

    x_t, weight_t, bias_t = (F.Tensor(a, True) for a in (x, weight, bias)) if False else (0, 0, 0)
