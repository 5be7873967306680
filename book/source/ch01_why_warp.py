# %% [markdown]
# # 1 Why warp?
#
# *About 40 minutes. Needs chapter 0. Tells invariance from equivariance, measures how much
# invariance pooling buys, and says what a spatial transformer adds.*
#
# **The question.** A digit stays the same digit when it stands a few pixels further to the right,
# or leans to one side. Pooling is said to take care of that. How far does it go, and what would go
# further?

# %%
import numpy as np

from stn_numpy import functional as F
from stn_numpy import nn, optim, plots, reference
from stn_numpy.autograd import no_grad
from stn_numpy.data import load_digits
from stn_numpy.exercises import check

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)

# %% [markdown]
# ## Two ways to treat a shift
#
# First we need a shift that can be trusted: every column moves to the right, zeros come in from
# the left.


# %%
def shift(images, k):
    """Images (..., H, W), moved k pixels to the right; to the left where k is negative."""
    W = images.shape[-1]
    moved = np.zeros_like(images)
    moved[..., max(k, 0) : W + min(k, 0)] = images[..., max(-k, 0) : W - max(k, 0)]
    return moved


print(shift(U, 1))

# %% [markdown]
# Now look at one digit at two places, through a filter that answers where ink begins on the left
# and, with the other sign, where it ends.

# %%
data = load_digits()
digit = np.pad(data.test_images[2] / 255, 2)  # 32 x 32, with room to move

filter_ = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def filtered(image, weight=filter_):
    return F.conv2d(image[None, None], weight[None, None], padding=1).data[0, 0]


plots.pictures_figure(
    {
        "the image x": digit,
        "the answer f(x)": filtered(digit),
        "x, moved: Tx": shift(digit, 5),
        "the answer f(Tx)": filtered(shift(digit, 5)),
    },
    title="The answer moves with the image",
    alt="A digit and the answer of an edge filter to it; then both five pixels further to the "
    "right, and otherwise the same.",
)

# %% [markdown]
# The answer moved with the image, and is otherwise the same. This is called **equivariance**. If
# the answer did not move, but stayed what it was, it would be **invariance**. With $T$ for the
# shift:
#
# $$ \text{invariant:} \quad f(T x) = f(x) \qquad\qquad \text{equivariant:} \quad f(T x) = T f(x) $$
#
# As long as nothing reaches the border, the amount of ink is invariant, and the answer of the
# filter equivariant, with no approximation:

# %%
print("ink before and after:", digit.sum().round(6), shift(digit, 5).sum().round(6))
difference = np.abs(filtered(shift(digit, 5)) - shift(filtered(digit), 5)).max()
print("f(Tx) and T f(x) differ by less than 1e-12:", difference < 1e-12)
assert difference < 1e-12

# %% [markdown]
# The second line is why networks for images are made of convolutions: what they learn about a
# stroke at one place, they know at all places.
#
# A quarter turn instead of a shift is another matter. The answer to the turned image is *not* the
# turned answer, unless the filter is turned too.

# %%
of_turned, answer_turned = filtered(np.rot90(digit)), np.rot90(filtered(digit))
both_turned = filtered(np.rot90(digit), np.rot90(filter_).copy())
print("turn the image alone, and the answers are the same:", np.allclose(of_turned, answer_turned))
print(
    "turn the filter too, and they are the same:        ", np.allclose(both_turned, answer_turned)
)
assert np.allclose(both_turned, answer_turned) and not np.allclose(of_turned, answer_turned)

# %% [markdown]
# **Exercise 01.1.** Here are five functions of a row of numbers. Let $T$ move a row to the right
# by one, and what leaves on the right come in on the left (`np.roll(row, 1)`). Which functions are
# invariant, which equivariant, which neither?

# %%
FUNCTIONS = {
    "sort": np.sort,
    "square": np.square,
    "difference": lambda row: row - np.roll(row, 1),
    "running sum": np.cumsum,
    "reverse": lambda row: row[::-1],
}
row = np.array([4.0, 6, 8, 1])
for name, f in FUNCTIONS.items():
    print(f"{name:12s} {f(row)}")


# %%
def kinds():
    """A dict with a word for each of the five names: "invariant", "equivariant" or "neither"."""
    ### BEGIN SOLUTION
    return {
        "sort": "invariant",
        "square": "equivariant",
        "difference": "equivariant",
        "running sum": "neither",
        "reverse": "neither",  # what it gives moves to the left
    }
    ### END SOLUTION


# %%
check("01.1", kinds)

# %% [markdown]
# ## Pooling, by hand
#
# A classifier should be invariant: a three is a three wherever it stands. Convolutions alone never
# get there. So after a convolution comes *max-pooling*: of every 2 x 2 pixels keep the largest.
# Take our sixteen numbers:

# %%
print("upper left: ", max(0, 1, 3, 9))
print("upper right:", max(2, 1, 5, 2))
print("lower left: ", max(4, 6, 2, 7))
print("lower right:", max(8, 1, 3, 5))

# %% [markdown]
# Here is the loop, and the package's operation. They agree, also on an image that is higher than
# wide.


# %%
def max_pool_loop(image):
    """Max-pooling (H, W) -> (H // 2, W // 2), one number after the other."""
    H, W = image.shape
    pooled = np.zeros((H // 2, W // 2))
    for n in range(H // 2):
        for m in range(W // 2):
            pooled[n, m] = image[2 * n : 2 * n + 2, 2 * m : 2 * m + 2].max()
    return pooled


def pool(image):
    return F.max_pool2d(image[None, None], 2).data[0, 0]


rng = np.random.default_rng(1)
for image in (U, rng.standard_normal((8, 6))):
    assert np.array_equal(pool(image), max_pool_loop(image)), "max-pooling: loop and package differ"
print(pool(U))

# %% [markdown]
# The idea is that the 9 may move a little without leaving its four pixels. Now move all by one
# pixel, and pool again:

# %%
plots.pooled_figure(
    {"U": U, "U, moved by one pixel": shift(U, 1)},
    title="One pixel to the right, and three of four numbers change",
    alt="Left, U and its four largest numbers 9, 5, 7, 8. Right, U moved by one pixel to the right "
    "and its four largest numbers 3, 9, 4, 8.",
)

# %% [markdown]
# ### Myth: "max-pooling makes a network invariant to small shifts"
#
# One counterexample is enough. The 9 was in the right column of its cell, so it left at the first
# step.

# %%
before, after = pool(U), pool(shift(U, 1))
print("numbers that stay the same:", np.count_nonzero(before == after), "of", before.size)
assert not np.array_equal(before, after), "max-pooling is invariant here"

# %% [markdown]
# Is it equivariant then? For a shift by two pixels, the width of a cell, yes: the pooled image
# moves by one. For a shift by one pixel the pooled image would have to move by half a pixel, and
# it does not.

# %%
wide = np.pad(U, ((0, 0), (2, 4)))
print("moved by 2, then pooled: ", *pool(shift(wide, 2)).tolist())
print("pooled, then moved by 1: ", *shift(pool(wide), 1).tolist())
print("moved by 1, then pooled: ", *pool(shift(wide, 1)).tolist())
assert np.array_equal(pool(shift(wide, 2)), shift(pool(wide), 1))

# %% [markdown]
# **Exercise 01.2.** In our example the lower right number stays 8. Find an image for which all
# four numbers change, and whose last column is 0, so that nothing leaves it.


# %%
def image_that_changes_everywhere():
    """An image, an array (4, 4), whose last column is 0."""
    ### BEGIN SOLUTION
    # A bright line in column 1: it leaves both left cells, and enters both right ones.
    image = np.zeros((4, 4))
    image[:, 1] = 1
    return image
    ### END SOLUTION


# %%
check("01.2", image_that_changes_everywhere)

# %% [markdown]
# ## How much it forgives
#
# Take the simplest image there is, one bright pixel. After $p$ poolings one number stands for a
# cell that is $2^p$ pixels wide. Let the bright pixel move $k$ to the right. Of the $2^p$ columns
# where it can start, it stays in its cell from the first $2^p - k$. So the share of places from
# which nothing changes is
#
# $$ \max\left(0,\; 1 - \frac{k}{2^p}\right) $$
#
# We try all places, with the package's pooling:


# %%
def share_that_stays(k, p):
    """How many of all places are such that p poolings do not notice a shift by k pixels."""
    dots = np.eye(32)[:16, None, None]  # 16 images (1, 1, 32), the dot at column 0, 1, ... 15
    pooled = [dots, shift(dots, k)]
    for _ in range(p):
        pooled = [F.max_pool2d(images, (1, 2)).data for images in pooled]
    return np.all(pooled[0] == pooled[1], axis=(1, 2, 3)).mean()


shifts = np.arange(9)
curves, points = {}, {}
for p in (1, 2, 3):
    name = f"p = {p}: 1 - k / {2**p}"
    curves[name] = shifts, 100 * np.maximum(0, 1 - shifts / 2**p)
    measured = np.array([share_that_stays(k, p) for k in shifts])
    points[name] = shifts, 100 * measured  # the points are what was tried out
    assert np.array_equal(measured, np.maximum(0, 1 - shifts / 2**p))
plots.curves_figure(
    curves,
    title="One bright pixel: how often pooling does not notice it (points: tried out)",
    xlabel="shift k (pixels)",
    ylabel="places without a change (%)",
    points=points,
    alt="Straight lines from 100 % at no shift down to 0 % at a shift by 2, 4 and 8 pixels for "
    "one, two and three poolings; what was tried out lies on them.",
)

# %% [markdown]
# Each pooling doubles what is forgiven, and halves what is known about the place: after $p$
# poolings nobody can say where in its $2^p$ pixels the dot was. And the line begins to fall at
# once: there is no shift, however small, that is forgiven everywhere.
#
# **Exercise 01.3.** The dot moves $k$ pixels, $k = 1, 2, 3, \dots$ What is the smallest number of
# poolings for which *at least half* of the places notice nothing?


# %%
def poolings(k):
    """How many 2 x 2 poolings it takes, a whole number."""
    ### BEGIN SOLUTION
    # 1 - k / 2^p >= 1/2 means 2^p >= 2 k.
    p = 0
    while 2**p < 2 * k:
        p += 1
    return p
    ### END SOLUTION


# %%
check("01.3", poolings)

# %% [markdown]
# ## Measured: three networks
#
# A network has filters that can learn to be tolerant, so dots do not tell the whole story. We
# train three small networks on upright digits in the middle of the image, and then show them
# digits that moved. They differ in one thing only, how they make the image smaller:
#
# - *one of four* keeps the upper left of every 2 x 2 pixels, and throws the others away;
# - *2 x 2 pooling* keeps the largest of them;
# - *pool everything* does that once, and after the second convolution keeps the largest number of
#   each channel in the whole image.


# %%
class LargestOfAll(nn.Module):
    """(N, C, H, W) -> (N, C): the largest number of each channel, wherever it is."""

    def forward(self, x):
        return F.amax(x, (2, 3))


def network(kind, rng):
    """A network for images of 32 x 32 pixels; float64, so that every machine finds the same one."""
    kernel = 1 if kind == "one of four" else 2
    if kind == "pool everything":
        channels, last, numbers = 24, LargestOfAll(), 24
    else:
        channels, last, numbers = 12, nn.MaxPool2d(kernel, stride=2), 12 * 5 * 5
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, rng=rng),
        nn.MaxPool2d(kernel, stride=2),
        nn.ReLU(),
        nn.Conv2d(6, channels, 5, rng=rng),
        last,
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(numbers, 10, rng=rng),
    )
    return net.astype(np.float64)


def with_room(images):
    """Images (N, 28, 28) of 0 to 255 as (N, 1, 32, 32) of 0 to 1."""
    return np.pad(images / 255, ((0, 0), (2, 2), (2, 2)))[:, None]


images, labels = with_room(data.train_images), data.train_labels
test_images, test_labels = with_room(data.test_images[::2]), data.test_labels[::2]
print("training images:", len(images), "  test images:", len(test_images))

# %% [markdown]
# The training is the shortest there is: shuffle, take 64 images, compute the loss and its
# gradients, take a step.


# %%
def train(net, epochs, rng):
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            loss = F.cross_entropy(net(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def accuracy(net, images):
    """How many of the test digits are read right, in percent."""
    with no_grad():
        return 100 * np.mean(net(images).data.argmax(axis=1) == test_labels)


nets = {}
for kind, epochs in [("one of four", 3), ("2 x 2 pooling", 3), ("pool everything", 4)]:
    nets[kind] = network(kind, np.random.default_rng(1))
    train(nets[kind], epochs, np.random.default_rng(0))
    print(
        f"{kind:16s} {nets[kind].num_parameters()} parameters, "
        f"{accuracy(nets[kind], test_images):.1f} % of the digits in the middle are right"
    )

# %% [markdown]
# All three read digits in the middle about equally well. Now move the test digits, up to 6 pixels;
# not a thousandth of the ink leaves the image.

# %%
shifts = np.arange(-6, 7)
assert all(shift(test_images, k).sum() > 0.999 * test_images.sum() for k in shifts)

right = {kind: [accuracy(net, shift(test_images, k)) for k in shifts] for kind, net in nets.items()}
plots.curves_figure(
    {kind: (shifts, percent) for kind, percent in right.items()},
    title="Three networks, trained on digits in the middle",
    xlabel="shift of the digits to the right (pixels)",
    ylabel="read right (%)",
    alt="Two curves fall from about 90 % at no shift to below 20 % at 6 pixels; the one with "
    "2 x 2 pooling lies a little above the one that keeps one pixel of four. The third, which "
    "pools everything, stays above 90 %.",
)

# %%
print("shift (pixels)       0      1      2      3      4      6")
for kind, percent in right.items():
    print(f"{kind:16s}", *(f"{percent[k + 6]:6.1f}" for k in (0, 1, 2, 3, 4, 6)))

# %% [markdown]
# Read the second row. The network with two poolings loses a little at one pixel, more than a
# quarter of all digits at two, and at four it is wrong about most of them. Four pixels are one
# fifth of the height of a digit; you may hardly notice.
#
# Then compare it with the first row, the same network without any pooling. It forgives nearly as
# much. To put a number on it: by how much may the digits move, to the left or to the right, until
# half of them are lost?

# %%
for kind in ("one of four", "2 x 2 pooling"):
    both_sides = (np.array(right[kind][6:]) + right[kind][6::-1]) / 2
    print(f"{kind:16s} {np.interp(-50, -both_sides, np.arange(7)):.1f} pixels")

# %% [markdown]
# Two poolings, whose cells are four pixels wide, buy less than one pixel. The rest of the tolerance
# is in the filters. (One training each, with one seed, and 250 digits: take the tenths lightly.)
#
# Try it yourself: move and turn a digit, and watch what the network with 2 x 2 pooling takes it
# for.

# %%
seven = test_images[np.flatnonzero(test_labels == 7)[0]]


def turned(images, degrees):
    """Images (N, 1, H, W), turned counter-clockwise."""
    turn = np.deg2rad(degrees)
    theta = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0]])
    G = F.affine_grid(np.repeat(theta[None], len(images), axis=0), images.shape)
    return F.grid_sample(images, G).data


def draw(k, degrees):
    image = shift(turned(seven[None], degrees), k)
    net = nets["2 x 2 pooling"]
    scores = F.softmax(net(image)).data[0]
    return plots.scores_figure(
        image[0, 0],
        100 * scores,
        title=f"moved by {k}, turned by {degrees} degrees",
        alt="Left, the digit. Right, a bar for each of the ten digits: what the network takes it "
        "for.",
    )


plots.drag(draw, k=(-6, 6, 4), degrees=(-90, 90, 20))

# %% [markdown]
# ## The price of pooling everything
#
# The third network is invariant to shifts, or nearly so, and reads digits in the middle as well as
# the others. Is that the solution? It keeps one number for each channel: the strongest answer
# *somewhere*. Where, it does not know. What one number sees, 14 x 14 pixels, it may know well. How
# things are arranged that lie further apart, it can not. Put two digits side by side, and exchange
# them:

# %%
three = data.test_images[np.flatnonzero(data.test_labels == 3)[0]]
seven = data.test_images[np.flatnonzero(data.test_labels == 7)[0]]
left, right_ = (np.pad(digit / 255, 14) for digit in (three, seven))
pair = np.array([np.hstack([left, right_]), np.hstack([right_, left])])[:, None]

net = nets["pool everything"]
with no_grad():
    scores = net(pair).data
same = np.abs(scores[0] - scores[1]).max() < 1e-12
print("the ten scores are the same:", same)
assert same

# %%


def pair_figure():
    figure = plots.new_figure(
        5.6, 3.8, "Above, a three and a seven beside it; below, the seven first and then the three."
    )
    figure.suptitle("The network that pools everything can not tell them apart")
    for axes, image, name in zip(figure.subplots(2, 1), pair, ("37", "73")):
        axes.imshow(image[0, 10:-10], cmap="gray")
        axes.set(title=name, xlabel="x (pixels)", ylabel="y (pixels)")
    return figure


pair_figure()

# %% [markdown]
# To this network 37 *is* 73. Invariance is nothing to have as much of as possible: only the place
# of a digit was to be forgotten, and this network has also thrown away where its far parts are.
#
# And it is invariance to one thing only. Pooling takes the largest number of neighbours, so it
# forgives shifts. Turn the digits instead:

# %%
angles = np.arange(-90, 91, 15)
tilted = {degrees: turned(test_images, degrees) for degrees in angles}
right_turned = {kind: [accuracy(net, tilted[d]) for d in angles] for kind, net in nets.items()}
plots.curves_figure(
    {kind: (angles, percent) for kind, percent in right_turned.items()},
    title="The same networks, and digits that are turned",
    xlabel="turned counter-clockwise by (degrees)",
    ylabel="read right (%)",
    alt="All three curves fall alike from about 90 % at no turn to about half of that at 30 "
    "degrees, and to a quarter of it or less at 60 and 90 degrees.",
)

# %%
print("turned by (degrees)  0     15     30     45     60     90")
for kind, percent in right_turned.items():
    print(f"{kind:16s}", *(f"{percent[6 + d // 15]:6.1f}" for d in (0, 15, 30, 45, 60, 90)))
assert all(percent[-1] < 25 for percent in right_turned.values())

# %% [markdown]
# No pooling helps here. At 30 degrees each network has lost about half of its digits, or more; the
# one that did not mind shifts has lost most. A turn is no shift, and neither is a change of size,
# or a view from the side.
#
# ## What if somebody told us?
#
# Suppose somebody told us how far each digit has moved. Then there is no need for invariance at
# all: *look where the digit is*, and give the network the picture it knows. In the notation of
# chapter 0, with all coordinates in pixels, a digit that moved two pixels to the right is read by
#
# $$ \theta = \begin{pmatrix} 1 & 0 & 2 \\ 0 & 1 & 0 \end{pmatrix} $$
#
# The pixel $(x^t, y^t)$ of the output is read at $(x^t + 2, y^t)$. By hand, on row 2 of $U$ with
# room on both sides:

# %%
theta = np.array([[1, 0, 2], [0, 1, 0]])
row = np.array([[0.0, 0, 4, 6, 8, 1, 0, 0]])
moved = shift(row, 2)
x_t, y_t = np.arange(8.0), np.zeros(8)
x_s, y_s = reference.eq01_affine_grid(theta, x_t, y_t)
V = reference.eq03_sample(moved[None], x_s, y_s, reference.eq05_bilinear_kernel)
print("the row:      ", row[0])
print("moved by two: ", moved[0])
print("read at x =   ", x_s)
print("what is read: ", V[0])
assert np.array_equal(V, row)

# %% [markdown]
# **Exercise 01.4.** A digit moved $d_x$ pixels to the right and $d_y$ pixels down. Which $\theta$,
# in pixels, brings it back?


# %%
def theta_that_undoes(dx, dy):
    """Theta, an array (2, 3), in pixels."""
    ### BEGIN SOLUTION
    return np.array([[1, 0, dx], [0, 1, dy]])
    ### END SOLUTION


# %%
check("01.4", theta_that_undoes)

# %% [markdown]
# Now for the turned digits, and all 250 of them. The grid turns with the digit; what is read is
# upright. (Reading between pixels twice blurs a little.)

# %%
told = [accuracy(nets["2 x 2 pooling"], turned(tilted[d], -d)) for d in angles]
plots.curves_figure(
    {
        "2 x 2 pooling": (angles, right_turned["2 x 2 pooling"]),
        "the same network, told the angle": (angles, told),
    },
    title="The same network, with and without the right theta",
    xlabel="turned counter-clockwise by (degrees)",
    ylabel="read right (%)",
    alt="One curve falls from about 90 % at no turn to below 20 % at a quarter turn; the other "
    "stays above 90 % for all angles.",
)

# %%
print(f"worst angle, as it comes:    {min(right_turned['2 x 2 pooling']):.1f} %")
print(f"worst angle, told the angle: {min(told):.1f} %")
assert min(told) > 90

# %% [markdown]
# Not one weight of the network has changed. It never learned about turned digits. All that was
# added is six numbers for each image, and a sampler that reads the image where they say. Little is
# lost on the way: what lies outside of what is read, and some sharpness. The place of the digit is
# in $\theta$, the arrangement of its strokes is in $V$.
#
# ## What a spatial transformer adds
#
# Nobody will tell us the angle. A spatial transformer has a small network of its own, the
# *localisation net*, which looks at the image and says $\theta$:

# %%
plots.module_figure()

# %% [markdown]
# Compared with pooling,
#
# - it looks at the image first: another image, another $\theta$. Pooling does the same to all;
# - it acts on the whole image at once, by any affine map: shift, turn, size, shear. Pooling acts
#   within 2 x 2 pixels, on shifts;
# - it moves the image and keeps its arrangement. Pooling keeps the largest number and forgets
#   where it was.
#
# What makes it a *layer* is that the localisation net need not be told the right $\theta$ either.
# It learns from the classifier's mistakes, because there is a gradient from the loss through the
# sampler and the grid to $\theta$. That gradient is what this book derives: the grid in
# [2 Affine geometry](02_affine.ipynb), reading in [6 Bilinear sampling](06_bilinear.ipynb), the
# way back in [9 Backward III: theta](09_backward_theta.ipynb), and the whole module in
# [11 The localisation net](11_localisation.ipynb).
