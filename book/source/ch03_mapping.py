# %% [markdown]
# # 3 Forward and inverse mapping
#
# *About 40 minutes. Needs chapter 2. Sends pixels forward and counts the damage, then reads them
# backward as Eq. (1) does, and gets used to a picture that does the opposite of its $\theta$.*
#
# **The question.** $\theta$ says for every pixel of the *output* where it is read. Why this way
# round? Would it not be simpler to say for every pixel of the *input* where it goes?

# %%
import numpy as np

from stn_numpy import Tensor, gradcheck, plots, reference
from stn_numpy import functional as F
from stn_numpy.data import load_digits
from stn_numpy.exercises import check

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])

# %% [markdown]
# ## The picture: make a row twice as large
#
# Take row 2 of our image: 4, 6, 8, 1. *Forward*: the pixel in column $x$ goes to column $2x$.
# *Inverse*: the pixel in column $x$ of the output asks at $x / 2$, and reads between the pixels,
# on a straight line, where it has to.

# %%
row, hole = U[2], np.nan
plots.two_rows_figure(
    {
        "forward: each pixel is sent": (
            row,
            np.array([4, hole, 6, hole, 8, hole, 1, hole]),
            np.array([[m, 2 * m] for m in range(4)]),
            False,
        ),
        "inverse: each pixel asks": (
            row,
            np.interp(np.arange(8) / 2, range(5), [*row, 0]),
            np.array([[m / 2, m] for m in range(8)]),
            True,
        ),
    },
    title="Row 2 of U, twice as large",
    alt="Left, four arrows lead from the input to every second pixel of the output, and the other "
    "four are holes. Right, all eight pixels of the output have an arrow up into the input, and "
    "a number.",
)

# %% [markdown]
# By hand: four pixels were sent, eight are there to be filled.

# %%
print("forward, filled:", [2 * m for m in range(4)], "  holes:", 8 - 4)
print("inverse, the pixel 3 asks at", 3 / 2, "and reads", 0.5 * 6 + 0.5 * 8)

# %% [markdown]
# ## And half as large
#
# Forward: the pixel in column $x$ goes to $x / 2$, which has to be rounded to a whole column,
# halves up. Two pixels arrive at column 1.

# %%
x = np.arange(4)
arrive = np.floor(x / 2 + 0.5).astype(int)
print("the columns", x, "are sent to", x / 2, "and arrive at", arrive)
print("how many arrive at each column:", np.bincount(arrive))
plots.two_rows_figure(
    {
        "forward: each pixel is sent": (
            row,
            np.array([4, 8, 1]),
            np.stack([x, arrive], axis=1),
            False,
        ),
        "inverse: each pixel asks": (row, row[:3:2], np.array([[0, 0], [2, 1]]), True),
    },
    title="Row 2 of U, half as large",
    alt="Left, the pixels 6 and 8 both arrive at column 1 of the output, and the 8 is written "
    "last. Right, the two pixels of the output ask for the pixels 4 and 8.",
)

# %% [markdown]
# Which of the two, 6 or 8, should it be? Here it is the 8, only because it was written last. That
# is an *overlap*, and the other trouble of mapping forward. The inverse map has none: whoever asks
# gets one answer. (It skips the 6 and the 1 without a word, though. That is *aliasing*, a trouble
# of its own, and in this chapter we stay with holes.)
#
# ## A turn has both
#
# Turn a digit by 30 degrees about its middle. $\theta$ leads from the output to the input, so the
# way forward is its inverse (chapter 2). Send all 784 pixels, round, and count how many arrive at
# every place.

# %%
digit = load_digits().test_images[3] / 255


def about_the_middle(linear):
    """The theta with these first two columns that keeps the middle of 28 x 28 pixels in place."""
    middle = np.array([13.5, 13.5])
    return np.column_stack([linear, middle - linear @ middle])


def inverse(theta):
    return np.linalg.inv(np.vstack([theta, [0, 0, 1]]))[:2]


def applied(theta, size):
    """Eq. (1) for all pixels of an image of this size: two arrays of this size."""
    y, x = np.indices(size)
    return [row[0] * x + row[1] * y + row[2] for row in theta]


print(applied(theta, (4, 4))[0])  # the x of chapter 2

# %%
angle = np.deg2rad(30)
turn = about_the_middle(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def send(image, forward):
    """Every pixel goes where `forward` says. Returns the image, and how many arrived where."""
    H, W = image.shape
    result, arrived = np.zeros((H, W)), np.zeros((H, W), int)
    x, y = applied(forward, (H, W))
    for row in range(H):
        for column in range(W):
            m, n = int(np.floor(x[row, column] + 0.5)), int(np.floor(y[row, column] + 0.5))
            if 0 <= m < W and 0 <= n < H:
                result[n, m] = image[row, column]
                arrived[n, m] += 1
    return result, arrived


def ask(image, theta):
    """Every pixel of the output is read where theta says, from the nearest pixel."""
    H, W = image.shape
    result, answered = np.zeros((H, W)), np.zeros((H, W), int)
    x, y = applied(theta, (H, W))
    for row in range(H):
        for column in range(W):
            m, n = int(np.floor(x[row, column] + 0.5)), int(np.floor(y[row, column] + 0.5))
            if 0 <= m < W and 0 <= n < H:
                result[row, column] = image[n, m]
                answered[row, column] += 1
    return result, answered


sent, arrived = send(digit, inverse(turn))
asked, answered = ask(digit, turn)
x, y = applied(turn, (28, 28))
inside = (x >= -0.5) & (x < 27.5) & (y >= -0.5) & (y < 27.5)  # whose source is in the image
print("pixels that show a part of the input:", inside.sum())
print("forward: holes", (inside & (arrived == 0)).sum(), "  overlaps", (arrived > 1).sum())
print("inverse: holes", (inside & (answered == 0)).sum(), "  overlaps", (answered > 1).sum())
assert (inside & (arrived == 0)).sum() > 0

# %%
plots.pictures_figure(
    {"sent forward": sent, "arrived: 0, 1 or 2": arrived, "asked for": asked},
    title="The digit, turned by 30 degrees in two ways (white: 2 arrived)",
    alt="Sent forward, the digit is full of black holes; the counts are 1 with a regular pattern "
    "of 0 and 2. Asked for, it has no hole.",
)

# %% [markdown]
# Compare the two functions, line by line. The loop over the input *writes* to a place that was
# computed, the loop over the output *reads* from one. What is written may miss a place or hit it
# twice. What is read has a value, always one.
#
# How bad is it for other maps? The counts, for zooms about the middle:

# %%
for zoom in (0.5, 1, 1.5, 3):
    smaller_steps = about_the_middle(np.eye(2) / zoom)
    _, arrived = send(digit, inverse(smaller_steps))
    _, answered = ask(digit, smaller_steps)
    holes = ((answered == 1) & (arrived == 0)).sum()
    print(f"{zoom} times as large: {holes:3d} holes, {(arrived > 1).sum():3d} overlaps", end="")
    print(f", {arrived.max()} at most")

# %% [markdown]
# Three times as large, each pixel that stays in sight has to fill nine places and fills one. A
# shift has neither holes nor overlaps, as every pixel is rounded the same way. (What is sent has
# then moved by whole pixels, though.) Where a map turns or changes lengths, rounding falls
# unevenly.
#
# ## Can the holes be mended?
#
# One can send more carefully. Let each pixel be shared among the four places around the point where
# it arrives, with the bilinear weights of chapter 6, and keep a second image of how much weight
# arrived. This is called *splatting*.
#
# And now look at the sampler's backward pass. Forwards, it reads four pixels with four weights.
# Backwards, it takes a number from the output and sends it, with the same weights, to the same four
# pixels. That *is* splatting, so we need not write it:


# %%
def splat(values, forward):
    """Send the pixels of an image where `forward` says, each to the four places around."""
    H, W = values.shape
    x, y = applied(forward, (H, W))
    G = np.stack([reference.to_normalised(x, W), reference.to_normalised(y, H)], axis=-1)
    target = Tensor(np.zeros((1, 1, H, W)), requires_grad=True)
    F.grid_sample(target, G[None]).backward(values[None, None])
    return target.grad[0, 0]


for zoom in (1.5, 3):
    larger = inverse(about_the_middle(np.eye(2) / zoom))
    weight = splat(np.ones((28, 28)), larger)
    print(f"{zoom} times as large: weights from {weight.min():.4f} to {weight.max():.4f},", end=" ")
    print(f"{(weight < 1e-9).sum()} holes")

# %% [markdown]
# At one and a half there are no holes any more, but some places got less than half of the weight
# that others got, and everything has to be divided by it. At three the holes are back. There are
# ways out, but none as simple as asking.
#
# Reading and splatting belong together: for every image $A$ to read from and every $B$ to send,
# with the same points, $\sum \text{read}(A) \cdot B = \sum A \cdot \text{splat}(B)$. Chapter 7
# makes a proof of it. Here are two images at random and our turn:

# %%
rng = np.random.default_rng(3)
A, B = rng.standard_normal((2, 28, 28))
x, y = applied(turn, (28, 28))
G = np.stack([reference.to_normalised(x, 28), reference.to_normalised(y, 28)], axis=-1)[None]
reading = (F.grid_sample(A[None, None], G).data[0, 0] * B).sum()
splatting = (A * splat(B, turn)).sum()
print(f"sum of read(A) * B = {reading:.6f}   sum of A * splat(B) = {splatting:.6f}")
assert np.isclose(reading, splatting, rtol=1e-12)
print("gradcheck:", gradcheck(lambda image: F.grid_sample(image, G), A[None, None, :6, :5]))

# %% [markdown]
# So overlaps and holes have not gone, they have moved. Where the *forward* pass asks, the
# *backward* pass sends: a pixel that was read five times gets the sum of five gradients, and a
# pixel that nobody read learns nothing.
#
# ## Eq. (1) asks
#
# Here is Eq. (1) once more, with the eyes of this chapter. What is known stands on the right, the
# pixel $i$ of the output. What is looked for stands on the left, a point of the input:
#
# $$ \begin{pmatrix} x_i^s \\ y_i^s \end{pmatrix} = \begin{pmatrix} \theta_{11} & \theta_{12} &
# \theta_{13} \\ \theta_{21} & \theta_{22} & \theta_{23} \end{pmatrix} \begin{pmatrix} x_i^t \\
# y_i^t \\ 1 \end{pmatrix} \tag{1} $$
#
# There is one such line for each pixel of the output, and no word of the input's pixels, nor of how
# many there are. So the size of the output is free! It may have three rows and five columns, and
# the sampler will fill them all.

# %%
H_out, W_out = 3, 5
y_t, x_t = (points.ravel().astype(float) for points in np.indices((H_out, W_out)))
x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
V = reference.eq03_sample(U[None], x_s, y_s, reference.eq05_bilinear_kernel)

x, y = applied(theta, (H_out, W_out))
assert np.array_equal([x.ravel(), y.ravel()], [x_s, y_s]), (
    "Eq. (1): the loop and the product differ"
)
print(V.reshape(H_out, W_out))

# %% [markdown]
# In the package the size is an argument of the grid generator, and the sampler takes what it gets.
# This is how a spatial transformer can hand a small, fixed cut-out of a large image to the rest of
# the net. In *normalised* coordinates, from $-1$ to $1$, the same $\theta$ shows the same part of
# the image at any size, with few pixels or with many (chapter 4). In pixels, more pixels would show
# more of the image. (Printed are the centres of the outermost pixels, and where their outer edges
# are.)

# %%
cut_out = np.array([[[0.5, 0, 0], [0, 0.5, -0.25]]])
sizes = {"28 x 28": (28, 28), "7 x 7": (7, 7), "56 x 56": (56, 56), "14 x 42": (14, 42)}
outputs = {}
for name, (H_out, W_out) in sizes.items():
    G = F.affine_grid(cut_out, (1, 1, H_out, W_out))
    x_loop, y_loop = reference.eq01_affine_grid(cut_out[0], *reference.target_points(H_out, W_out))
    assert np.allclose(G.data[0, ..., 0].ravel(), x_loop), "Eq. (1): loop and package differ"
    assert np.allclose(G.data[0, ..., 1].ravel(), y_loop), "Eq. (1): loop and package differ"
    outputs[name] = F.grid_sample(digit[None, None], G).data[0, 0]
    edge = x_loop.max() + 0.5 / W_out  # a pixel is 1 / W_out wide here
    print(f"{name}: x from {x_loop.min():.4f} to {x_loop.max():.4f}, edges {-edge} and {edge}")
    assert np.isclose(edge, 0.5)
plots.pictures_figure(
    outputs,
    title="One normalised theta, four sizes of the output",
    alt="The same part of the digit with 28, 7 and 56 pixels each way, and once stretched to be "
    "wider than high.",
)

# %% [markdown]
# ## Everything is the other way round
#
# Now the price of asking: what the grid does, the picture does the other way. Move the points of
# row 2 one pixel to the right, $\theta_{13} = 1$, and read:

# %%
x_t = np.arange(4.0)
x_s, _ = reference.eq01_affine_grid(np.array([[1, 0, 1], [0, 1, 0]]), x_t, 2 + 0 * x_t)
V = reference.eq03_sample(U[None], x_s, np.full(4, 2.0), reference.eq05_bilinear_kernel)
print("row 2 of U:", U[2])
print("read at x =", x_s)
print("V:         ", V[0])

# %% [markdown]
# All numbers moved one to the *left*. Think of a window that you hold over a picture: move the
# window to the right, and what you see in it moves to the left. Let it cover less, and show that as
# large as before: everything in it is larger. Turn it clockwise, and the picture in it turns the
# other way.

# %%
identity = np.array([[1.0, 0, 0], [0, 1, 0]])
moves = {
    "the digit": identity,
    "grid 5 right": np.array([[1.0, 0, 5], [0, 1, 0]]),
    "grid 3 down": np.array([[1.0, 0, 0], [0, 1, 3]]),
    "grid half as large": about_the_middle(0.5 * np.eye(2)),
    "grid twice as large": about_the_middle(2 * np.eye(2)),
    "grid 30 clockwise": turn,
}
plots.thetas_figure(
    digit,
    moves,
    title="What the grid does, the picture undoes",
    alt="Grid to the right, digit to the left; grid down, digit up; small grid, large digit; large "
    "grid, small digit; grid turned clockwise, digit turned counter-clockwise.",
)

# %% [markdown]
# Measured, not only seen. Where is the middle of the ink, and how far does the ink spread around
# it, from left to right? (It is the standard deviation of $x$.)


# %%
def read(image, theta):
    """The image read at theta, in pixels, by the package's sampler."""
    H, W = image.shape
    x, y = applied(theta, image.shape)
    G = np.stack([reference.to_normalised(x, W), reference.to_normalised(y, H)], axis=-1)
    return F.grid_sample(image[None, None], G[None]).data[0, 0]


def ink(image):
    """The middle of the ink (x, y), and how far it spreads along x."""
    y, x = np.indices(image.shape)
    middle = np.array([(image * x).sum(), (image * y).sum()]) / image.sum()
    spread = np.sqrt((image * (x - middle[0]) ** 2).sum() / image.sum())
    return middle, spread


for name in ["the digit", "grid 5 right", "grid 3 down", "grid twice as large"]:
    middle, spread = ink(read(digit, moves[name]))
    print(f"{name:20s} middle of the ink {middle.round(2)}, spread {spread:.2f}")

# %% [markdown]
# ### Myth: "t_x = 5 moves the picture five pixels to the right"
#
# The middle of the ink went from 14.66 to 9.66: five pixels to the *left*. To move the picture by
# $d$, $\theta_{13}$ has to be $-d$. Whoever wants to know where a point of the picture goes needs
# the inverse of $\theta$. It also knows where the ink of the turned digit is:

# %%
middle, _ = ink(digit)
print("middle of the ink, by the inverse: ", (inverse(turn) @ [*middle, 1]).round(2))
print("middle of the ink, as measured:    ", ink(read(digit, turn))[0].round(2))

# %% [markdown]
# ## Zoom in = small s
#
# The same for the scale of Eq. (2):
#
# $$ A_\theta = \begin{pmatrix} s & 0 & t_x \\ 0 & s & t_y \end{pmatrix} \tag{2} $$
#
# $s$ is how far a step in the output leads in the input. With $s = \frac{1}{2}$ eight pixels of the
# output look at four of the input, and the picture is *twice* as large. By hand for two neighbours
# in the output and $t = (0, 0)$, and then all of row 2, the picture at the top of this chapter:

# %%
print("pixels 4 and 5 of the output are read at", 0.5 * 4, "and", 0.5 * 5)

x_t, y_t = np.arange(8.0), np.full(8, 4.0)
x_s, y_s = reference.eq02_attention_grid(0.5, 0, 0, x_t, y_t)
V = reference.eq03_sample(U[None], x_s, y_s, reference.eq05_bilinear_kernel)[0]

A = F.attention_matrix(np.array([[0.5, 0, 0]])).data[0]
assert np.array_equal(A @ [x_t, y_t, np.ones(8)], [x_s, y_s]), "Eq. (2): loop and package differ"
print("read at x =", x_s)
print("V:         ", V)

# %% [markdown]
# ### Myth: "s is the size of the picture"
#
# The size of the picture is $1 / s$. The spread of the ink again, for several $s$, each times $s$:

# %%
for s in (0.75, 1, 1.25, 1.5, 2):
    _, spread = ink(read(digit, about_the_middle(s * np.eye(2))))
    print(f"s = {s:<4}  spread {spread:5.2f}   s times spread {s * spread:.2f}")

# %% [markdown]
# The product stays nearly the same. (Nearly: reading between pixels blurs a little, and blur
# spreads ink.) For a net this means that equal steps of $s$ are not equal steps of size: from 1 to
# $\frac{1}{2}$ the picture doubles, from $\frac{1}{2}$ to 0 it grows without end, and beyond 0 it
# comes back upside down, turned by 180 degrees. (It is no mirror image: both axes change sign.)

# %%
beyond = F.affine_grid(np.array([[[-1.0, 0, 0], [0, -1, 0]]]), (1, 1, 28, 28))
assert np.allclose(F.grid_sample(digit[None, None], beyond).data[0, 0], np.rot90(digit, 2))
print("s = -1 turns the digit by 180 degrees")

# %% [markdown]
# Try it. The sliders are those of Eq. (2), here in normalised coordinates.


# %%
def draw(s, t_x, t_y):
    return plots.warp_figure(
        digit,
        np.array([[s, 0, t_x], [0, s, t_y]]),
        title="Eq. (2): small s, large picture",
        alt="A square of half the size on the upper part of the digit, and this part, twice as "
        "large, as the output.",
    )


plots.drag(draw, s=(-1.5, 1.5, 0.5), t_x=(-1.0, 1.0, 0.0), t_y=(-1.0, 1.0, -0.25))

# %% [markdown]
# ## Exercises
#
# **Exercise 03.1.** Which $\theta$, in pixels, moves the *picture* by `right` pixels to the right
# and by `down` pixels down, and does nothing else?


# %%
def theta_that_moves(right, down):
    """The theta (2, 3) whose output shows the image moved by that much."""
    ### BEGIN SOLUTION
    return np.array([[1.0, 0, -right], [0, 1, -down]])
    ### END SOLUTION


# %%
check("03.1", theta_that_moves)

# %% [markdown]
# **Exercise 03.2.** Cut out a box. Its first pixel, the upper left one, is the input's pixel
# `(left, top)`, and it is `width` x `height` pixels large. It shall fill an output of `W_out` x
# `H_out` pixels. Which $\theta$, in pixels, does that? Think of pixels as squares of side 1 around
# their centres: the left *edge* of the box, at `left` minus one half, has to come to the left edge
# of the output, at minus one half, and the right edge to the right edge. With `left` = 10, a box of
# 4 pixels in an output of 8 gives the pixels 0, 1 and 2 of the output these $x$:

# %%
print("pixels 0, 1, 2 are read at x =", [10 - 0.25, 10 + 0.25, 10 + 0.75])


# %%
def theta_of_box(left, top, width, height, W_out, H_out):
    """The theta (2, 3) that fills an output of W_out x H_out pixels with the box."""
    ### BEGIN SOLUTION
    # x_s + 1/2 = left + (x_t + 1/2) width / W_out
    a, b = width / W_out, height / H_out
    return np.array([[a, 0, left + a / 2 - 0.5], [0, b, top + b / 2 - 0.5]])
    ### END SOLUTION


# %%
check("03.2", theta_of_box)

# %% [markdown]
# **Exercise 03.3.** Count arrivals without a loop. Each pixel $(x, y)$ of an image of $H \times W$
# is sent to the pixel that is nearest to `forward` times $(x, y, 1)$, halves rounded up; what falls
# outside is lost. How many arrive at each pixel? (Test yours on the digit's turn: this chapter's
# `send` counts as well. Beware of `arrived[n, m] += 1`.)


# %%
def arrivals(forward, H, W):
    """An array (H, W) of whole numbers: how many pixels arrive at each one."""
    ### BEGIN SOLUTION
    y, x = np.indices((H, W)).reshape(2, -1)
    m, n = np.floor(forward @ [x, y, np.ones(H * W)] + 0.5).astype(int)
    inside = (m >= 0) & (m < W) & (n >= 0) & (n < H)
    arrived = np.zeros((H, W), int)
    np.add.at(arrived, (n[inside], m[inside]), 1)  # += would count a place once
    return arrived
    ### END SOLUTION


# %%
check("03.3", arrivals)
