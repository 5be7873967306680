# %% [markdown]
# # 16 What STNs cannot do, and what came after
#
# *About 60 minutes. Needs chapters 6 to 9 and 11; chapter 12 helps. Ends with the errata of this
# book, Eqs. (6) and (7), and a table beside PyTorch's `grid_sample`.*
#
# **The question.** A transformer may look wherever it likes. Which wishes does that not fulfil? And
# what has been built since?

# %%
import inspect
from pathlib import Path

import numpy as np

import stn_numpy
from stn_numpy import Tensor, gradcheck, models, nn, plots, reference
from stn_numpy import functional as F
from stn_numpy.autograd import no_grad
from stn_numpy.data import load_digits
from stn_numpy.exercises import check
from stn_numpy.optim import Adam
from stn_numpy.parallel import Workers
from stn_numpy.spatial_transformer import SpatialTransformer
from stn_numpy.transforms import Affine

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
digits = load_digits()
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


def rotation(degrees):
    """The linear part of a theta that turns a picture to the left."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s], [s, c]])


def read(image, theta, size=None):
    """What theta (2, 3), normalised, reads of an image (H, W)."""
    G = F.affine_grid(np.asarray(theta, float)[None], (1, 1, *(size or image.shape)))
    return F.grid_sample(image[None, None], G).data[0, 0]


# %% [markdown]
# Every limit below is a cell that you can run. None is a reason not to use a transformer; each is a
# reason not to be surprised.
#
# ## 1. It does not know which way is up
#
# Take any ST-CNN. From it we make a second one that reads every image a quarter of a turn further,
# and whose convolutions are turned by a quarter as well:

# %%
QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # of the output's points
rng = np.random.default_rng(16)
upright = models.build("st-cnn", width=6, rng=rng).astype(np.float64)
last = upright.transformer.localisation[-1]
last.weight.data[...] = 0.8 * rng.standard_normal(last.weight.shape)  # as if it had learned
lying = models.build("st-cnn", width=6, rng=np.random.default_rng(0)).astype(np.float64)
lying.load_state_dict(upright.state_dict())

# theta times QUARTER, which is linear in the six numbers: so it is another last layer.
turn_theta = np.kron(np.eye(2), QUARTER.T)
layer = lying.transformer.localisation[-1]
layer.weight.data[...] = turn_theta @ layer.weight.data
layer.bias.data[...] = turn_theta @ layer.bias.data

for name in ("conv1", "conv2"):
    kernel = getattr(lying, name).weight
    kernel.data[...] = np.rot90(kernel.data, axes=(2, 3))
weight = lying.classifier.weight
maps = weight.data.reshape(10, 6, 2, 2)  # the classifier sees 6 maps of 2 x 2
weight.data[...] = np.rot90(maps, axes=(2, 3)).reshape(10, 24)

batch = digits.test_images[:100, None] / 255
with no_grad():
    scores, turned_scores = upright(batch).data, lying(batch).data
    seen, seen_lying = (net.transformer(batch).data[:6, 0] for net in (upright, lying))
assert np.allclose(seen_lying, np.rot90(seen, axes=(1, 2)), rtol=0, atol=1e-12)
assert np.allclose(scores, turned_scores, rtol=0, atol=1e-12)
print("scores of both networks, for 100 digits: difference < 1e-12")

# %%
plots.gallery_figure(
    {"input": batch[:6, 0], "one network sees": seen, "the other sees": seen_lying},
    title="Two networks that agree on every digit",
    alt="Three rows: six digits; the same, slanted and shifted, as one network reads them; and the "
    "same once more, turned by a quarter to the left.",
)

# %% [markdown]
# All scores are equal, so the loss is equal, for all digits and all labels. If one network is a
# best one, so is the other. *Nothing in the loss says "upright".* A transformer that starts at the
# identity usually ends near it, because that is the nearest solution; train it on digits that all
# lie on their side, and it will leave them there. What it finds is a pose that helps, and it helps
# as soon as it is the *same* pose for all.
#
# ### Sometimes the pose is the class
#
# Is it good, at least, to be able to turn everything? In many fonts a 9 is a 6 turned by half. Let
# us print 50 of them that way, and let the nearest mean decide: once as they stand, and once with
# the freedom to choose, for each picture and each class, the best of 36 angles.

# %%
is_six = digits.test_labels == 6
sixes = digits.test_images[is_six] / 255
six = digits.train_images[digits.train_labels == 6].mean(axis=0) / 255
pictures = np.concatenate([sixes, sixes[:, ::-1, ::-1]])
is_nine = np.arange(100) >= 50

thetas = np.zeros((100, 2, 3))
distances = []  # at each angle, of each picture, to the mean 6 and to the mean 9
for angle in range(0, 360, 10):
    thetas[:, :, :2] = rotation(angle)
    turned = F.grid_sample(pictures[:, None], F.affine_grid(thetas, (100, 1, 28, 28))).data
    apart = [((turned[:, 0] - mean) ** 2).sum(axis=(1, 2)) for mean in (six, six[::-1, ::-1])]
    distances.append(np.stack(apart, axis=1))

wrong = np.sum((distances[0][:, 0] > distances[0][:, 1]) != is_nine)
print(f"as they stand: {wrong} of 100 wrong")
best = np.min(distances, axis=0)
assert np.allclose(best[:, 0], best[:, 1], rtol=0, atol=1e-9)
print("at the best angle: the distances to both classes are equal, difference < 1e-9")

# %% [markdown]
# With that freedom a 6 and a 9 are the same thing. What a task does not need can hurt. If only
# crops are wanted, take Eq. (2), and keep its $s$ above 0 (let the net say $\ln s$, for instance):
# a negative one is a half turn, and a 6 would be a 9 again.

# %%
half_turn = F.affine_grid(F.attention_matrix(np.array([[-1.0, 0, 0]])), (1, 1, 28, 28))
assert np.allclose(F.grid_sample(six[None, None], half_turn).data[0, 0], six[::-1, ::-1])
print("Eq. (2) with s = -1 turns by 180 degrees")

# %% [markdown]
#
# ## 2. One map cannot move two things apart
#
# Two digits, one turned by 60 degrees to the left, the other by 60 to the right, each in a channel
# of its own. To put both upright a point $p$ of the output should be read at $T_1 p$ in the first
# and at $T_2 p$ in the second. One $\theta$ is one map. Which is the best compromise? The sum of
# both squared distances is smallest, at each point, in the middle:
#
# $$ \theta\, p = \tfrac12 (T_1 p + T_2 p). $$

# %%
first, second = rotation(-60), rotation(60)
x, y = reference.target_points(28, 28)
points = np.stack([x, y, np.ones(28 * 28)])
wanted = np.concatenate([first @ points[:2], second @ points[:2]], axis=1).T
best = np.linalg.lstsq(np.concatenate([points, points], axis=1).T, wanted, rcond=None)[0].T
print("best theta for both:\n", best.round(12) + 0.0)
assert np.allclose(best[:, :2], (first + second) / 2) and np.allclose(best[:, 2], 0)

# %%
two, five = (digits.test_images[np.flatnonzero(digits.test_labels == k)[2]] / 255 for k in (2, 5))
channels = [read(two, np.c_[rotation(60), [0, 0]]), read(five, np.c_[rotation(-60), [0, 0]])]
plots.gallery_figure(
    {
        "the two channels": np.stack(channels),
        "one theta": np.stack([read(channel, best) for channel in channels]),
        "two thetas": np.stack(
            [read(c, np.c_[T, [0, 0]]) for c, T in zip(channels, (first, second))]
        ),
    },
    title="Two digits that lean apart",
    alt="Above, a 2 that leans to the left and a 5 that leans to the right. In the middle both are "
    "twice as large and lean as before. Below, with a theta for each, both are upright.",
)

# %% [markdown]
# It does not turn at all, as left and right cancel; and the mean of two turns is shorter than each,
# so it zooms, and cuts both digits off. This is the paper's addition experiment, where two
# transformers side by side are needed ([chapter 15](15_beyond_affine.ipynb)). Several objects, a
# joint that bends, a background that stays while something moves in front: one affine map has no
# answer to these.
#
# ## 3. It goes where the gradient leads
#
# A digit stands somewhere in a wide, black picture. A window of 28 x 28 shall find it: read at the
# place $s$, compare with the digit, follow the gradient. Here is the loss at every place, and what
# the gradient says there.

# %%
four = digits.test_images[np.flatnonzero(digits.test_labels == 4)[0]] / 255
picture = np.zeros((28, 140))
picture[:, 56:84] = four


def loss_at(places, picture, target):
    """Half the squared distance of the window at each place to the target, and its slope."""
    W, size = picture.shape[1], target.shape[0]
    theta = np.zeros((len(places), 2, 3))
    theta[:, 0, 0], theta[:, 1, 1] = target.shape[1] / W, 1
    theta[:, 0, 2] = (2 * np.asarray(places) + target.shape[1]) / W - 1
    theta = Tensor(theta, requires_grad=True)
    G = F.affine_grid(theta, (len(places), 1, size, target.shape[1]))
    V = F.grid_sample(np.repeat(picture[None, None], len(places), axis=0), G)
    V.backward(V.data - target)
    loss = 0.5 * ((V.data - target) ** 2).sum(axis=(1, 2, 3))
    return loss, theta.grad[:, 0, 2] * 2 / W  # per pixel


def basin(places, slope, goal):
    """From where to where each slope leads to the goal, and is a thousandth of the steepest."""
    least = 1e-3 * np.abs(slope).max()
    good = np.where(places < goal, slope < -least, slope > least) | (np.abs(places - goal) < 0.5)
    middle = int(np.abs(places - goal).argmin())
    left, right = middle, middle
    while left > 0 and good[left - 1]:
        left -= 1
    while right < len(places) - 1 and good[right + 1]:
        right += 1
    return float(places[left]), float(places[right])


def blurred(picture, width):
    """Each row averaged over `width` pixels, twice."""
    box = np.ones(width) / width
    for _ in range(2):
        picture = np.stack([np.convolve(row, box, "same") for row in picture])
    return picture


places = np.arange(0, 112, 0.5) + 0.25  # between the pixels
curves, basins = {}, {}
for width in (1, 15):
    wide = blurred(picture, width)
    loss, slope = loss_at(places, wide, wide[:, 56:84])
    name = "as it is" if width == 1 else f"blurred by {width}"
    curves[name] = places, (loss / (0.5 * np.sum(wide[:, 56:84] ** 2))).round(6)
    low, high = basin(places, slope, 56)
    basins[width] = high - low
    print(f"{name}: no slope at all at {np.mean(np.abs(slope) < 1e-9):.0%} of the places;")
    print(f"    found from {56 - low:.0f} pixels on the left to {high - 56:.0f} on the right")
assert basins[15] > 3 * basins[1]

# %%
plots.curves_figure(
    curves,
    title="A window that looks for a digit",
    xlabel="place s of the window (pixels)",
    ylabel="loss (1 where it sees nothing)",
    alt="Two curves that are 1 and flat at both ends, and 0 at 56. The one of the picture as it is "
    "first rises above 1 and then falls into a narrow valley. The other falls in a wide one.",
)

# %% [markdown]
# Three things to see. Far away the curve is *flat*: black is read, and nothing says where the digit
# is. Nearer, it first *rises*: a digit in the wrong place is worse than none, so the window is sent
# away. Only in the valley it comes home. A point asks four pixels and no more; what they do not
# know, it can not learn from them.
#
# What helps? Look at a blurred picture first, and at the sharp one when the digit is near: the
# blurred one has a valley several times as wide. A localisation net helps as well, as it *sees* the
# whole image and can learn to jump. But it is taught by these slopes.
#
# ## 4. What is out of sight stays out of sight
#
# A transformer rearranges what is there. It cannot look behind something. Here is a grey bar over a
# digit that leans; it is there in every pose.

# %%
leaning = read(four, np.c_[rotation(-40), [0, 0]])
barred = leaning.copy()
barred[12:16] = 0.5
put_upright = np.c_[rotation(40), [0, 0]]
plots.pictures_figure(
    {"with a bar": barred, "put upright": read(barred, put_upright)},
    title="It can turn the bar, not lift it",
    limits=(0, 1),
    alt="A leaning 4 with a grey bar across; the same upright, with a slanted bar.",
)

# %% [markdown]
# And what $\theta$ does not read might as well not exist. Two pictures that differ outside the
# frame give, by the same $\theta$, the same output:

# %%
crop = 0.4 * IDENTITY + [[0, 0, 0.2], [0, 0, 0]]
other = leaning.copy()
other[:, :8] = 0.7  # left of what the crop reads
assert np.array_equal(read(leaning, crop), read(other, crop))
plots.pictures_figure(
    {
        "a picture": leaning,
        "a crop": read(leaning, crop),
        "another picture": other,
        "the same crop": read(other, crop),
    },
    title="Two pictures, one output",
    limits=(0, 1),
    alt="A leaning 4, and a crop of it; the same 4 with a grey stripe at the left, and the same "
    "crop of it, which looks the same.",
)

# %% [markdown]
# Nor does any gradient of the sampler arrive out there:

# %%
image = Tensor(leaning[None, None], requires_grad=True)
V = F.grid_sample(image, F.affine_grid(crop[None], (1, 1, 28, 28)))
V.backward(rng.uniform(0.5, 1, V.shape))
print(f"pixels that receive a gradient from the crop: {np.mean(image.grad != 0):.0%}")
assert not image.grad[0, 0, :, :8].any()

# %% [markdown]
# Only the localisation net sees the rest of the picture, as it sees all of it. What it makes of
# that it can tell by $\theta$ alone, in six numbers. So in a whole transformer the two pictures may
# come out otherwise, and the gradient that comes through $\theta$ reaches every pixel:

# %%
localisation = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 6, rng=rng))
transformer = SpatialTransformer(localisation, Affine()).astype(np.float64)
localisation[1].weight.data[:] = 0.01 * rng.standard_normal((6, 28 * 28))
localisation[1].bias.data[:] = crop.ravel()
image = Tensor(leaning[None, None], requires_grad=True)
V = transformer(image)
V.backward(rng.uniform(0.5, 1, V.shape))
print(f"pixels that receive a gradient from the transformer: {np.mean(image.grad != 0):.0%}")
assert image.grad.all()
assert not np.allclose(V.data, transformer(other[None, None]).data, rtol=0, atol=0.01)

# %% [markdown]
# ## 5. Warping features is not warping the image
#
# The paper puts transformers between convolutions, too. Is it the same to turn an image and then
# look for edges, or to look for edges and then turn the map? For a shift by whole pixels it is. For
# a turn it is not: a filter for upright edges finds other edges in a turned image.

# %%
edges = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[None, None]


def features(image, kernel=edges):
    return F.conv2d(image[None, None], kernel, padding=1).data[0, 0]


shifted = features(np.roll(four, 2, axis=1)), np.roll(features(four), 2, axis=1)
turned = features(np.rot90(four)), np.rot90(features(four))
both_turned = features(np.rot90(four), np.rot90(edges, axes=(2, 3)))
print("shift, then filter = filter, then shift:", np.allclose(*shifted))
print("turn, then filter  = filter, then turn: ", np.allclose(*turned))
print("... with the filter turned as well:     ", np.allclose(both_turned, turned[1]))
assert np.allclose(*shifted) and not np.allclose(*turned) and np.allclose(both_turned, turned[1])
plots.pictures_figure(
    {"image": 8 * four - 4, "turned, then filtered": turned[0], "filtered, then turned": turned[1]},
    limits=(-4, 4),
    title="A filter for upright edges",
    alt="A 4. Turned and then filtered, the edges along the new vertical strokes are bright or "
    "dark. Filtered and then turned, it is the other strokes.",
)

# %% [markdown]
# So a transformer deep in a network can move features to where they are wanted, but it can not turn
# them into the features of an upright image. Finnveden, Jansson and Lindeberg prove it in general
# ([`arXiv:2004.11678`](https://arxiv.org/abs/2004.11678)), and advise: let the deep layers say
# $\theta$, and apply it to the input.
#
# ## 6. It skips pixels where it makes smaller
#
# [Chapter 14](14_edges.ipynb) shows it: 60 x 60 sampled to 20 x 20 sees one pixel in nine, and
# stripes can come out all white or all black. Pool before, or read 60 x 60 points and pool after.
#
# ## 7. What it costs
#
# Let us count multiplications of one image, and parameters, in the ST-CNN of chapter 12's size.


# %%
def multiplications(layers, size):
    """Of convolutions and linear layers, for one image of size x size."""
    counts, x = {}, np.zeros((1, 1, size, size), np.float32)
    with no_grad():
        for name, layer in layers:
            x = layer(x)
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                counts[name] = layer.weight.data.size * int(np.prod(x.shape[2:]))
    return counts


net = models.build("st-cnn", parameters=65_000, rng=np.random.default_rng(0))
parts = {
    "localisation net": sum(multiplications(enumerate(net.transformer.localisation), 28).values()),
    "grid, 4 a point": 4 * 28 * 28,
    "sampler, 3 + 2 a point": 5 * 28 * 28,  # three interpolations; from G to pixels
    "classifier": sum(
        multiplications([(n, m) for n, m in vars(net).items() if n != "transformer"], 28).values()
    ),
}
for name, count in parts.items():
    print(f"{name:23}{count:10,} multiplications ({count / sum(parts.values()):.1%})")
of_net = sum(p.data.size for p in models.localisation_parameters(net))
print(f"parameters of the localisation net: {of_net:,} of {net.num_parameters():,}")

# %% [markdown]
# In multiplications a transformer is cheap. Two other things are not. A computer reads memory in
# rows, and the sampler reads it all over the place, so it takes more time than its multiplications
# say (`python -m stn_numpy bench --profile` shows how much). And every parameter of the
# localisation net is one that the classifier does not have; a fair comparison counts them (chapter
# 12).
#
# ## 8. It does not replace augmentation
#
# ### Myth: "with a transformer I need not show turned digits"
#
# A transformer learns where to look from what it is shown. Train one on upright digits only, in the
# plain loop of chapter 12, and then show it turned ones:

# %%
net = models.build("st-cnn", width=8, rng=np.random.default_rng(8)).astype(np.float64)
optimizer = Adam(net.parameters(), lr=3e-3)
order = np.random.default_rng(8)
with Workers(net, 1):  # one BLAS thread, which is quicker where batches are small
    for _ in range(4):
        for part in np.array_split(order.permutation(len(digits.train_labels)), 40):
            optimizer.zero_grad()
            scores = net(digits.train_images[part, None] / 255)
            F.cross_entropy(scores, digits.train_labels[part]).backward()
            optimizer.step()

angles = np.random.default_rng(9).uniform(-90, 90, 500)
thetas = np.stack([np.c_[rotation(angle), [0, 0]] for angle in angles])
test = digits.test_images[:, None] / 255
turned = F.grid_sample(test, F.affine_grid(thetas, test.shape)).data
with no_grad():
    wrong = {
        name: np.mean(net(images).data.argmax(axis=1) != digits.test_labels)
        for name, images in (("upright", test), ("turned", turned))
    }
    G = net.transformer.grid(turned).data
side = G[:, 0, -1] - G[:, 0, 0]  # the upper side of each frame
slope = -np.polyfit(angles, np.rad2deg(np.arctan2(side[:, 1], side[:, 0])), 1)[0]
for name, share in wrong.items():
    print(f"{name:8} {share:.0%} wrong")
print("of every turn, the frame follows less than a tenth:", bool(abs(slope) < 0.1))
assert wrong["turned"] > 3 * wrong["upright"] and abs(slope) < 0.1

# %% [markdown]
# The frame hardly follows, since nothing ever asked it to. A transformer makes good use of turned
# training images; it is no substitute for them.
#
# ## What came after
#
# The transformer's idea, *compute where to read, read by interpolation, and let the gradient teach
# the where*, has outlived the network it was made for. It is the same sampler each time; what
# differs is who makes the grid.

# %%
eight = digits.test_images[0] / 255
y, x = np.mgrid[2:26:4, 2:26:4].astype(float)
flow = 1.5 * np.sin(y / 4), 1.5 * np.cos(x / 4)
offsets = np.mgrid[-1:2, -1:2].reshape(2, 9)
draw = np.random.default_rng(5)
centres = np.array([[8.0, 13], [14, 13], [20, 13]])
grids = {
    "affine: 6 numbers": np.array(rotation(25) @ np.stack([x - 14, y - 14]).reshape(2, -1)).T + 14,
    "flow: one shift a pixel": np.stack([x + flow[0], y + flow[1]], axis=-1).reshape(-1, 2),
    "deformable kernel": np.concatenate(
        [c + 2.2 * offsets[::-1].T + draw.normal(0, 0.7, (9, 2)) for c in centres]
    ),
    "deformable attention": np.concatenate([c + draw.normal(0, 4, (4, 2)) for c in centres]),
}


MARKS = ((plots.ORANGE, "o"), (plots.SKY, "s"), (plots.GREEN, "^"))


def points_figure(image, grids, centres):
    """The points of each grid on the image, and the places that they belong to, if any."""
    figure = plots.new_figure(
        10.4,
        3.4,
        "Four pictures of an 8 with the points at which it is read: a turned grid; a bent grid; "
        "three clouds of nine points around three places, each cloud with a sign of its own; four "
        "scattered points for each place.",
    )
    figure.suptitle("One sampler, four makers of grids")
    for axes, (name, points) in zip(figure.subplots(1, 4), grids.items()):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        of_places = np.array_split(points, len(centres)) if "deformable" in name else [points]
        for mine, (color, marker), centre in zip(of_places, MARKS, centres):
            axes.plot(*mine.T, marker, color=color, markersize=5, markeredgecolor="white")
            if len(of_places) > 1:
                axes.plot(*centre, "X", color=color, markersize=9, markeredgecolor="black")
        axes.set(title=name, xlabel="x (pixels)", ylabel="y (pixels)")
        axes.set(xlim=(-0.5, 27.5), ylim=(27.5, -0.5))
    return figure


points_figure(eight, grids, centres)

# %% [markdown]
# **Look again.** An *inverse compositional* transformer looks several times, and composes the
# thetas, not the images ([`arXiv:1612.03897`](https://arxiv.org/abs/1612.03897)). That matters:
# each reading blurs. Below, eight turns of 45 degrees, one after the other, and as one $\theta$.
# The first exercise finds the missing step.

# %%
one_after_the_other, theta = eight, np.eye(3)
for _ in range(8):
    step = np.c_[rotation(45), [0, 0]]
    one_after_the_other = read(one_after_the_other, step)
    theta = theta @ np.vstack([step, [0, 0, 1]])
once = read(eight, theta[:2].round(12))
for name, image in (("eight readings", one_after_the_other), ("one reading", once)):
    print(f"{name:15} the largest difference to the picture is {np.abs(image - eight).max():.2f}")
plots.pictures_figure(
    {"picture": eight, "eight readings": one_after_the_other, "one reading": once},
    title="All the way around",
    limits=(0, 1),
    alt="An 8; the same, blurred and paler after eight readings; and sharp after one reading.",
)

# %% [markdown]
# **A shift of its own for every pixel.** Registration of medical images and optical flow replace
# the six numbers by a *flow*: two for each pixel, with a penalty on flows that are not smooth. The
# network of VoxelMorph ([`arXiv:1809.05231`](https://arxiv.org/abs/1809.05231)) takes two scans and
# returns the flow from one to the other; what it learns from is the difference after sampling. The
# third exercise is its sampler.
#
# **Kernels that look around.** A *deformable convolution*
# ([`arXiv:1703.06211`](https://arxiv.org/abs/1703.06211)) computes nine shifts at every place, and
# reads the nine inputs of its 3 x 3 kernel there. No global $\theta$, no pose: every place has its
# own small transformer.
#
# **Few points, with weights.** *Deformable attention*
# ([`arXiv:2010.04159`](https://arxiv.org/abs/2010.04159)) reads a handful of points around a place,
# and adds them up with weights that it computes too. Detectors are built from it.
#
# **A wider view for the gradient.** *Linearized multi-sampling*
# ([`arXiv:1901.07124`](https://arxiv.org/abs/1901.07124)) reads some points around each point, and
# takes the slope of the plane through them: the valley of section 3 gets wider.
#
# **Rays.** A neural radiance field ([`arXiv:2003.08934`](https://arxiv.org/abs/2003.08934)) asks a
# network for colour and density at points along each line of sight, and adds them up to a pixel.
# Again a picture is made by a function with a slope everywhere, and the difference to a photograph
# teaches all that is behind it.
#
# Others answer the question of chapter 1 without a sampler:
#
# **Glimpses.** A recurrent network sees a small window, decides where to look next, and so on
# ([`arXiv:1412.7755`](https://arxiv.org/abs/1412.7755), half a year before the transformer). It
# cuts hard windows, through which no gradient goes; it learns by trial and reward.
#
# **Capsules** ([`arXiv:1710.09829`](https://arxiv.org/abs/1710.09829)) do not remove the pose, they
# keep it: small groups of units say what is there *and* how it lies, and a whole is found where the
# poses that its parts predict agree.
#
# **Equivariance by design.** A *group-equivariant* convolution
# ([`arXiv:1602.07576`](https://arxiv.org/abs/1602.07576)) uses each kernel in all forms that a
# group of turns gives it. What it guarantees is exact, needs no training, and holds for every
# image, but only for the turns of the group. Here with four quarter turns and two random kernels; a
# maximum over the turns and all places is the same for an image and for the turned image. For a
# turn in between nothing is promised:

# %%
kernels = rng.standard_normal((2, 1, 5, 5))


def invariant_features(image):
    """One number a kernel: its largest answer anywhere, in any of four turns."""
    answers = [
        F.conv2d(image[None, None], np.rot90(kernels, k, axes=(2, 3)).copy()).data[0]
        for k in range(4)
    ]
    return np.max(answers, axis=(0, 2, 3))


between = read(eight, np.c_[rotation(45), [0, 0]])
shown = {"8": eight, "turned by a quarter": np.rot90(eight), "turned by 45 degrees": between}
for name, image in (shown | {"another: 4": four}).items():
    print(f"{name:20} {invariant_features(image).round(3)}")
assert np.allclose(invariant_features(eight), invariant_features(np.rot90(eight)))
assert np.abs(invariant_features(eight) - invariant_features(between)).max() > 0.1
assert not np.allclose(invariant_features(eight), invariant_features(four))

# %% [markdown]
# **Attention.** A vision transformer ([`arXiv:2010.11929`](https://arxiv.org/abs/2010.11929)),
# which has only the name in common with ours, cuts the image into patches, and lets each patch ask
# all others. It is free to look anywhere, far away too, at the cost of comparing all with all; and
# with enough images it learns what the transformer of this book was built to know.
#
# When is ours still the right tool? Where there is *one* object, or one page, face or plate, where
# its pose is a nuisance, and where the pose itself is worth having: six numbers that a human can
# look at.
#
# ## Errata
#
# What in the paper's equations is to be read otherwise than it is printed, and where it is proven:
# a chapter for the reason, a function for the equation, a test for the proof.

# %%
ERRATA = [
    (
        "Eq. (6) sums over n and m",
        "no sums: one weight a pixel",
        7,
        "eq06_grad_U",
        "test_printed_eq06_is_the_sum_of_all_weights",
    ),
    (
        "Eq. (7) on a pixel",
        "the slope from one side",
        8,
        "eq07_grad_xs",
        "test_printed_eq07_at_whole_x",
    ),
    (
        "Eq. (7), a constant image",
        "0, not the pixel's value",
        8,
        "eq07_grad_xs_as_printed",
        "test_printed_eq07_on_a_constant_image",
    ),
    (
        "(1) normalised, (3) in pixels",
        "a factor of size / 2 or (size - 1) / 2",
        8,
        "pixels_per_unit",
        "test_eq06_and_eq07_agree_with_grid_sample_and_with_differences",
    ),
    (
        "from G to theta: not printed",
        "a sum over all points",
        9,
        "grad_theta",
        "test_grad_theta_agrees_with_affine_grid_and_with_differences",
    ),
    (
        "sums run from 1 to H and W",
        "from 0; theta changes",
        2,
        "eq03_sample",
        "test_counting_from_1_as_the_paper_does_changes_nothing",
    ),
]
tests = Path(stn_numpy.__file__).parents[1] / "tests" / "test_reference.py"
for printed, right, chapter, function, test in ERRATA:
    assert hasattr(reference, function)
    assert not tests.exists() or f"def {test}(" in tests.read_text(encoding="utf-8")
    print(f"{printed:30} {right:28} chapter {chapter}  reference.{function}")
    print(f"{'':30} {test}")

# %% [markdown]
# The proofs, as short as they get. At $(2.5, 2.5)$ in our image Eq. (6) is

# %%
point = np.array([2.5]), np.array([2.5])
printed = reference.eq06_grad_U_as_printed(U[None], *point)[0]
right = reference.eq06_grad_U(U[None], *point)[0]
print("printed:\n", printed)
print("right:\n", right)
step = np.zeros((4, 4))
step[0, 0] = 1  # a pixel that is far away

V = reference.eq03_sample(U[None], *point, reference.eq05_bilinear_kernel)
V_step = reference.eq03_sample((U + step)[None], *point, reference.eq05_bilinear_kernel)
assert (V_step - V).item() == right[0, 0] == 0 != printed[0, 0], "Eq. (6): the sums are too much"

# %% [markdown]
# so as printed, the far corner would change $V$ as much as its neighbours do. On the pixel column
# $x = 2$, at $y = 1.75$, and on an image that is 7 everywhere, Eq. (7) is

# %%
point, seven = (np.array([2.0]), np.array([1.75])), np.full((4, 4), 7.0)
print(f"{'':10} our image   all 7")
for side in ("left", "right", "mean"):
    ours, of_seven = (
        reference.eq07_grad_xs(image[None], *point, side).item() + 0.0 for image in (U, seven)
    )
    print(f"{side:10} {ours:9g} {of_seven:7g}")
ours, of_seven = (
    reference.eq07_grad_xs_as_printed(image[None], *point).item() for image in (U, seven)
)
print(f"{'printed':10} {ours:9g} {of_seven:7g}")
assert of_seven == 7 and reference.eq07_grad_xs(seven[None], *point).item() == 0, (
    "Eq. (7): a constant image has no slope"
)

# %% [markdown]
# The factor: one unit of a normalised coordinate is half a picture. And counting from 1 changes
# $\theta$, but nothing that is read:

# %%
for aligned in (False, True):
    theta = Tensor(IDENTITY[None] * 0.6, requires_grad=True)
    G = Tensor(F.affine_grid(theta.data, (1, 1, 4, 4)).data, requires_grad=True)
    F.grid_sample(U[None, None], G, align_corners=aligned).backward(np.ones((1, 1, 4, 4)))
    in_pixels = [reference.to_pixels(G.data[0, ..., i].ravel(), 4, aligned) for i in (0, 1)]
    slopes = reference.eq07_grad_xs(U[None], *in_pixels).reshape(4, 4)
    factor = reference.pixels_per_unit(4, aligned)
    assert np.allclose(G.grad[0, ..., 0], factor * slopes), "Eq. (7): the factor is missing"
    print(f"align_corners={aligned!s:5}: one unit of x is {factor:g} of the 4 pixels")

theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])  # in pixels, from 0
x, y = reference.eq01_affine_grid(theta, np.array([1.0]), np.array([1.0]))
from_one = theta.copy()
from_one[:, 2] += 1 - theta[:, :2].sum(axis=1)
x_one, y_one = reference.eq01_affine_grid(from_one, np.array([2.0]), np.array([2.0]))
print("from 0, pixel (1, 1): shift", theta[:, 2], "point", (x.item(), y.item()))
print("from 1, pixel (2, 2): shift", from_one[:, 2], "point", (x_one.item(), y_one.item()))
assert (x_one - 1, y_one - 1) == (x, y)

# %% [markdown]
# ## Beside PyTorch
#
# The sampler of this package has the name, the arguments and the meaning of PyTorch's. Where
# PyTorch is installed, `tests/test_against_torch.py` compares both on thousands of points, values
# and gradients. Here it need not be installed: what it returns is written into the cells. First the
# arguments; then our 4 x 4 example, all through, in normalised coordinates:

# %%
print("grid_sample", inspect.signature(F.grid_sample))
print("affine_grid", inspect.signature(F.affine_grid))

theta = Tensor(np.array([[[0.25, 0.5, 0.6875], [-0.5, 0.25, 0.4375]]]), requires_grad=True)
image = Tensor(U[None, None], requires_grad=True)
V = F.grid_sample(image, F.affine_grid(theta, (1, 1, 4, 4)))
dV = np.array([[1, -1, 2, 0], [0, 3, 1, -2], [1, 0, -1, 2], [2, 1, 0, 1]], dtype=float)
V.backward(dV[None, None])
of_pytorch = {
    "V": "4.875 6.75 5.75 3.75   3.5 4.25 2.75 1.5   3.375 4 1.5 0.625   1.875 2.5 0.75 0",
    "dL/dU": "0 0 0 0   0 0 0.375 -0.625   0 0.0625 1.5625 1.0625   0 0.1875 1.25 2.375",
    "dL/dtheta": "5.125 5.875 -60.5   25.625 -28.625 -21.5",
}
for name, ours in zip(of_pytorch, (V.data[0, 0], image.grad[0, 0], theta.grad[0])):
    assert np.array_equal(ours.ravel(), np.array(of_pytorch[name].split(), float))
    print(f"{name:10} equal to the last bit")

# %% [markdown]
# Then the places where two samplers could disagree. Each line is an assert; `same` stands where
# PyTorch gives what is asserted, `OTHER` where it does not, `open` where it promises nothing.


# %%
def row_sampled(row, x, mode="bilinear", padding_mode="zeros"):
    """V and dV/dx, in pixels, of a row at the points x; corners aligned."""
    W, x = len(row), np.asarray(x, float)
    G = np.stack([reference.to_normalised(x, W, True), np.zeros(len(x))], axis=-1)[None, None]
    G = Tensor(G, requires_grad=True)
    image = np.tile(np.asarray(row, float), (1, 1, 3, 1))
    V = F.grid_sample(image, G, mode, padding_mode, align_corners=True)
    V.backward(np.ones(V.shape))
    return V.data[0, 0, 0], G.grad[0, 0, :, 0] * 2 / (W - 1) + 0.0


def equal(array, wanted):
    return np.allclose(array, wanted, rtol=0, atol=1e-12, equal_nan=True)


ramp, whole = [0, 2, 4, 6, 8], [0, 1, 2, 3, 4]
parity = []


def line(what, holds, pytorch="same"):
    assert holds, what
    parity.append((what, pytorch))
    print(f"{pytorch:6} {what}")


def slope_of(*arguments):
    return row_sampled(*arguments)[1]


line("bilinear: on a pixel the slope from the right", equal(slope_of([3, 5, 1], [1]), [-4]))
line("zeros: the ramp ends with the slope -8", equal(slope_of(ramp, whole), [2, 2, 2, 2, -8]))
line(
    "border: no slope on the outermost pixels",
    equal(slope_of(ramp, whole, "bilinear", "border"), [0, 2, 2, 2, 0]),
)
line(
    "reflection: back inside, with the other sign",
    equal(row_sampled(ramp, [5.25], "bilinear", "reflection"), [[5.5], [-2]]),
)
line(
    "bicubic: a = -0.75",
    equal(row_sampled([0, 0, 1, 0, 0], [0.5, 1.5], "bicubic")[0], [-0.09375, 0.59375]),
)
line("nearest: no slope anywhere", equal(slope_of(ramp, [0.2, 1, 2.5], "nearest"), 0))
line(
    "nearest: halves go up, as in Eq. (4)",
    equal(row_sampled(ramp, [0.5, 1.5, 2.5], "nearest")[0], [2, 4, 6]),
    "OTHER",
)
assert equal(np.take(ramp, np.round([0.5, 1.5, 2.5]).astype(int)), [0, 4, 4])  # PyTorch's answer
line("NaN reads NaN", equal(row_sampled(ramp, [np.nan, 1])[0], [np.nan, 2]), "open")
line("infinitely far is outside", equal(row_sampled(ramp, [np.inf, 1])[0], [0, 2]), "open")

# %% [markdown]
# One line differs, and it is meant to: Eq. (4) rounds halves up, PyTorch to the even neighbour (the
# second exercise). The open ones are not compared; what PyTorch does there depends on the mode and
# on the machine. Two things only one of them has: PyTorch samples volumes as well, and here the
# mode may be a kernel of your own (chapter 5).
#
# Last, what no table shows: the sampler's gradients, to the image and to the points, held against
# differences once more, in all modes that have one.

# %%
points = np.array([[[[-0.31, 0.22], [0.67, -0.58], [1.12, 0.43]]]])
for mode in ("bilinear", "bicubic"):
    for padding in ("zeros", "border", "reflection"):
        result = gradcheck(
            lambda U, G, mode=mode, padding=padding: F.grid_sample(U, G, mode, padding),
            [rng.standard_normal((1, 2, 4, 5)), points],
        )
        print(f"{mode:9} {padding:11} {result}")

# %% [markdown]
# ## Exercises
#
# **Exercise 16.1.** What is missing? An image was read by the theta `first`, and that turned out
# to be not quite right: it should have been read by `total`. The network has only the result. By
# which theta must it read that, so that both readings together are `total`? All are in normalised
# coordinates, and all images have the same size. (Where is a point of the *last* output read, step
# by step?)


# %%
def second_of(first, total):
    """One theta (2, 3), to be read by after `first`."""
    ### BEGIN SOLUTION
    linear = np.linalg.solve(first[:, :2], total[:, :2])
    shift = np.linalg.solve(first[:, :2], total[:, 2] - first[:, 2])
    return np.column_stack([linear, shift])
    ### END SOLUTION


# %%
check("16.1", second_of)

# %% [markdown]
# **Exercise 16.2.** Parity. Read a row of pixels at the points `x`, in pixels, as PyTorch's mode
# *nearest* does: halves go to the even neighbour. Round first; what is outside then is 0.


# %%
def nearest_as_pytorch(row, x):
    """row (W,), x (P,) -> (P,)."""
    ### BEGIN SOLUTION
    m = np.round(x).astype(int)  # NumPy rounds halves to even, too
    inside = (m >= 0) & (m < len(row))
    return np.where(inside, row[np.clip(m, 0, len(row) - 1)], 0.0)
    ### END SOLUTION


# %%
check("16.2", nearest_as_pytorch)

# %% [markdown]
# **Exercise 16.3.** The sampler of registration. `flow` (N, H', W', 2) has a shift $(x, y)$ for
# each pixel of the output, *in pixels*: read the pixel $(x^t, y^t)$ of the output at the point
# $(x^t, y^t)$ plus its shift. The image `U` is (N, C, H, W), and may have another size. Make a
# grid, and let `F.grid_sample` read it; pixel $x$ of $W$ is at $(2x + 1)/W - 1$. Both arguments are
# Tensors, with the usual arithmetic. (The check hands it to `verify`, gradients and all.)


# %%
def read_by_flow(U, flow):
    """Returns V (N, C, H', W')."""
    ### BEGIN SOLUTION
    y, x = np.mgrid[: flow.shape[1], : flow.shape[2]]
    size = np.array(U.shape[:1:-1], flow.dtype)  # W, H
    here = np.stack([x, y], axis=-1).astype(flow.dtype)
    return F.grid_sample(U, (2 * (flow + here) + 1) / size - 1)
    ### END SOLUTION


# %%
check("16.3", read_by_flow)
