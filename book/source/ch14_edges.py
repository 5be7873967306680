# %% [markdown]
# # 14 Edges and bug museum
#
# *About 60 minutes. Needs chapters 6 and 8 (the sampler and its slopes), chapter 10 (what a
# gradient check sees) and chapter 11 (the wires). Takes Eqs. (3) and (7) over the edge of the
# image, and shows published mistakes beside what is right.*
#
# **The question.** What does a transformer read where there is no image, and between the pixels
# that it skips? And if its sampler were wrong, would you notice?

# %%
import numpy as np

from stn_numpy import GradcheckError, Tensor, gradcheck, plots, reference
from stn_numpy import functional as F
from stn_numpy.data import load_digits
from stn_numpy.exercises import ch14, check
from stn_numpy.transforms import Affine
from stn_numpy.verify import verify

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
digits = load_digits()
IDENTITY = np.array([[[1.0, 0, 0], [0, 1, 0]]])

# %% [markdown]
# ## Three answers to "outside"
#
# Here is our image again, in its frame, and what three rules read around it. They are the padding
# modes of `grid_sample`: *zeros* finds nothing outside, *border* finds the nearest pixel of the
# image, *reflection* finds the image in a mirror.

# %%
MODES = ("zeros", "border", "reflection")
x, y = np.meshgrid(np.arange(-2.0, 6), np.arange(-2.0, 6))
around = np.stack([reference.to_normalised(x, 4), reference.to_normalised(y, 4)], axis=-1)[None]
plots.numbers_figure(
    {mode: F.grid_sample(U[None, None], around, padding_mode=mode).data[0, 0] for mode in MODES},
    title="What is read two pixels around the image",
    frames=dict.fromkeys(MODES, (2, 2, 4, 4)),
    origin=(-2, -2),
    alt="Three tables of 8 x 8 numbers with the 4 x 4 image framed in the middle. Around it are "
    "zeros; the outermost pixels repeated; or the image mirrored at its edges.",
)

# %% [markdown]
# And here is a piece of a digit that does not end at the edge of its picture, looked at from twice
# as far away:

# %%
piece = digits.test_images[0, 6:22, 6:22] / 255
wide = F.affine_grid(2 * IDENTITY, (1, 1, 32, 32))
plots.pictures_figure(
    {mode: F.grid_sample(piece[None, None], wide, padding_mode=mode).data[0, 0] for mode in MODES},
    title="A piece of an 8, and what is taken to be around it",
    alt="Left, the piece ends in black. In the middle, its edge pixels are drawn out to stripes. "
    "Right, the strokes run on into mirror images.",
)

# %% [markdown]
# None of the three knows what was there. *Zeros* says "black", which is right for a digit on a
# black ground, and wrong for a photograph. *Border* and *reflection* make something up that looks
# alike.
#
# ## By hand, on one row
#
# Take the row 0, 2, 4, 6, 8, a ramp, so that every slope inside is 2. A row of five pixels reaches
# from $-0.5$ to $4.5$. We read it at $x = 4.25$ and at $x = 5.5$.
#
# - *Zeros*: at $4.25$ the last pixel counts three quarters, the missing one after it nothing. At
#   $5.5$ no pixel is in reach.
# - *Border*: both points are moved to $x = 4$, and read 8.
# - *Reflection*: $5.5$ is $1$ beyond the edge at $4.5$, so it is looked up $1$ before it, at $3.5$.
#   $4.25$ is not beyond the edge; but it is beyond the last pixel, so it is moved to $4$ as well.

# %%
row = np.array([0.0, 2, 4, 6, 8])


def read_row(x, mode, align_corners=False):
    """V and dV/dx, per pixel, of the row at the points x."""
    points = np.stack([reference.to_normalised(x, 5, align_corners), np.zeros(len(x))], axis=-1)
    G = Tensor(points[None, None], requires_grad=True)
    image = np.tile(row, (1, 1, 3, 1))  # three equal rows, read in the middle one
    V = F.grid_sample(image, G, padding_mode=mode, align_corners=align_corners)
    V.backward(np.ones(V.shape))
    dx = G.grad[0, 0, :, 0] / reference.pixels_per_unit(5, align_corners)
    return V.data[0, 0, 0], dx + 0.0  # + 0.0 makes -0.0 a plain 0.0


print("the row reaches from", 0 - 0.5, "to", 4 + 0.5)
print("zeros:     ", 0.75 * 8, 0.0)
print("border:    ", 8.0, 8.0)
print("reflection:", 8.0, 0.5 * 6 + 0.5 * 8)
for mode in MODES:
    print("package:   ", *read_row(np.array([4.25, 5.5]), mode)[0].round(12), mode)

# %% [markdown]
# `align_corners` has a say in it (chapter 4): with `True` the image ends at the *centres* of its
# outermost pixels. The mirror then stands in the middle of the last pixel, and $5.5$ is looked up
# at $2.5$:

# %%
print("reflection, align_corners=True:", *read_row(np.array([4.25, 5.5]), "reflection", True)[0])

# %%
x = np.linspace(-3.6, 7.6, 561)
plots.curves_figure(
    {mode: (x, read_row(x, mode)[0]) for mode in MODES},
    points={"pixels": (np.arange(5), row)},
    beside=True,
    title="The row 0, 2, 4, 6, 8, read far beyond its ends",
    xlabel="x (pixels)",
    ylabel="V",
    alt="Three curves that agree from 0 to 4. Beyond 4, zeros falls to 0 within one pixel, border "
    "stays at 8, reflection stays at 8 for a pixel and then falls as steeply as it rose.",
)

# %% [markdown]
# ## Move the point, then read
#
# So a padding mode is nothing but a rule that moves the point before it is read: $x' = r(x)$, and
# $y'$ likewise. After that, Eq. (3) is as it was:
#
# $$
# V_i^c = \sum_n^H \sum_m^W U_{nm}^c \; k(r(x_i^s) - m) \; k(r(y_i^s) - n)
# \tag{3}
# $$
#
# Here is $r$ in plain Python, with its slope $dr/dx$, which we need in a moment. A point that is
# moved to the edge stays there whatever $x$ does, so its slope is 0. A mirror image walks the other
# way, so every reflection turns the sign.


# %%
def moved(x, W, mode, align_corners=False):
    """r(x) and dr/dx for a row of W pixels."""
    slope = 1.0
    if mode == "reflection":
        low, high = (0, W - 1) if align_corners else (-0.5, W - 0.5)
        while not low <= x <= high:
            x = 2 * low - x if x < low else 2 * high - x
            slope = -slope
    if mode != "zeros":
        if not 0 < x < W - 1:
            slope = 0.0
        x = min(max(x, 0), W - 1)
    return x, slope


for x in (-1.0, 4.25, 5.5):
    print(f"x = {x}: ", *(f"{mode} {moved(x, 5, mode)}  " for mode in MODES))

# %% [markdown]
# The proof: three channels, another height than width, points far outside on all sides, and both
# settings of `align_corners`.

# %%
rng = np.random.default_rng(14)
image = rng.standard_normal((3, 6, 5))
x_s = rng.integers(-9, 13, 150) + rng.uniform(0.05, 0.45, 150)  # off the kinks
y_s = rng.integers(-9, 14, 150) + rng.uniform(0.05, 0.45, 150)


def move_all(points, size, mode, align_corners):
    return np.array([moved(point, size, mode, align_corners) for point in points]).T


def normalised(x_s, y_s, align_corners=False):
    x = reference.to_normalised(x_s, 5, align_corners)
    y = reference.to_normalised(y_s, 6, align_corners)
    return np.stack([x, y], axis=-1)[None, None]


for mode in MODES:
    for aligned in (False, True):
        x_m, _ = move_all(x_s, 5, mode, aligned)
        y_m, _ = move_all(y_s, 6, mode, aligned)
        V_loop = reference.eq03_sample(image, x_m, y_m, reference.eq05_bilinear_kernel)
        G = normalised(x_s, y_s, aligned)
        V = F.grid_sample(image[None], G, padding_mode=mode, align_corners=aligned).data[0, :, 0]
        assert np.allclose(V, V_loop, rtol=0, atol=1e-12), "Eq. (3): loop and package differ"
        print(f"{mode:10s} align_corners={aligned!s:5s} agree: error < 1e-12")

# %% [markdown]
# ## The gradient at the border
#
# The chain rule gives one factor more than in chapter 8. With `slope`, the slope of the tent from
# the right:
#
# $$
# \frac{\partial V_i^c}{\partial x_i^s} = \frac{dr}{dx} \sum_n^H \sum_m^W U_{nm}^c \,
# \max(0, 1 - |y' - n|) \; \mathrm{slope}(m - x')
# \tag{7}
# $$

# %%
for mode in MODES:
    for aligned in (False, True):
        x_m, turn = move_all(x_s, 5, mode, aligned)
        y_m, _ = move_all(y_s, 6, mode, aligned)
        dV_dx = turn * reference.eq07_grad_xs(image, x_m, y_m)  # (C, 150)
        dV = rng.standard_normal(dV_dx.shape)
        G = Tensor(normalised(x_s, y_s, aligned), requires_grad=True)
        V = F.grid_sample(image[None], G, padding_mode=mode, align_corners=aligned)
        V.backward(dV[None, :, None])
        dx = G.grad[0, 0, :, 0] / reference.pixels_per_unit(5, aligned)
        same = np.allclose(dx, reference.grad_xs(dV, dV_dx), rtol=0, atol=1e-12)
        assert same, "Eq. (7): loop and package differ"

for mode in MODES:
    G = normalised(x_s[:12], y_s[:12])
    print(
        mode,
        gradcheck(lambda U, G, mode=mode: F.grid_sample(U, G, "bilinear", mode), [image[None], G]),
    )

# %% [markdown]
# Now what everybody meets first: a fresh network, the identity, every pixel read where it is. On
# the ramp every slope should be 2. (We take `align_corners=True`, where the five coordinates $-1,
# -0.5, 0, 0.5, 1$ are exact.)

# %%
whole = np.arange(5.0)
print("normalised:", reference.to_normalised(whole, 5, True), "\n")
for mode in MODES:
    print(f"{mode:10s} dV/dx = {read_row(whole, mode, True)[1]}")

print("\none-sided differences of V:")
step = 2.0**-20
for mode in MODES:
    below, here, above = (read_row(whole + d, mode, True)[0] for d in (-step, 0, step))
    print(
        f"{mode:10s} from the left {(here - below) / step}, from the right {(above - here) / step}"
    )

# %% [markdown]
# *Zeros* ends with $-8$. That is no mistake: one pixel further on the picture has gone from 8 to
# black, and the package takes the slope from the right (chapter 8).
#
# *Border* begins and ends with 0, where it has a kink: 2 on the side of the image, 0 on the other.
# Both are one-sided slopes. At its two ends the package takes the 0, as PyTorch does, so here it is
# not always the slope from the right. With *reflection* the end is the top of a roof, 2 up and 2
# down, and 0 is their mean.

# %%
x = np.linspace(-3.6, 7.6, 561) + 0.003  # beside the kinks
plots.curves_figure(
    {mode: (x, read_row(x, mode)[1]) for mode in MODES},
    jump=1,
    beside=True,
    title="The slope of what is read",
    xlabel="x (pixels)",
    ylabel="dV/dx (grey value per pixel)",
    alt="From 0 to 4 all slopes are 2. From 4 to 5 zeros has slope -8, then 0. Border has slope 0 "
    "everywhere outside. Reflection has 2 and -2 by turns, and 0 for a pixel at each fold.",
)

# %% [markdown]
# ## A frame that pulls
#
# The $-8$ is a slope of the frame, not of the picture. On a black ground nobody notices, as black
# next to black has no slope. Turn the digits into black ink on white paper, and it is another
# matter. We shift 200 of them by 2 pixels, and ask for the first step towards there from a shift of
# $0.5$. Every gradient should say "further".

# %%
ink = digits.test_images[:200, None] / 255


def read_shifted(images, shift, mode):
    theta = np.repeat(IDENTITY, len(images), axis=0)
    theta[:, 0, 2] = shift / reference.pixels_per_unit(28)
    theta = Tensor(theta, requires_grad=True)
    return theta, F.grid_sample(images, F.affine_grid(theta, images.shape), padding_mode=mode)


for ground, images in (("white ink on black", ink), ("black ink on white", 1 - ink)):
    _, wanted = read_shifted(images, 2.0, "border")
    for mode in MODES:
        theta, V = read_shifted(images, 0.5, mode)
        V.backward(V.data - wanted.data)  # of half the squared distance
        right = np.mean(theta.grad[:, 0, 2] < 0)
        print(f"{ground}, {mode:10s}: the first step has the right sign for {right:6.1%}")

# %% [markdown]
# With white paper and *zeros*, four in five go the wrong way: they pull the paper's edge out of
# sight instead of moving the digit. By hand: at $x = 27.5$ half of the paper is left, the error is
# $-1/2$, the slope is $-1$, and there are 28 rows and the factor $28/2$:

# %%
print("the last column is read at x =", 27 + 0.5)
print("what the frame adds to dL/dt:", 28 * -0.5 * -1 * 28 / 2)
images = 1 - ink[:3]
_, wanted = read_shifted(images, 2.0, "border")
for mode in ("zeros", "border"):
    theta, V = read_shifted(images, 0.5, mode)
    V.backward(V.data - wanted.data)
    print(f"{mode:6s} dL/dt of the first three:", theta.grad[:, 0, 2].round(1))

# %% [markdown]
# So either let black be the ground, or take *border*. And which mode brings a point back that has
# strayed? Look at the slopes once more, far outside: *zeros* and *border* have none, so nothing
# does. *Reflection* has one nearly everywhere, and half of the time it points the wrong way.
#
# ## NaN and infinity
#
# A layer overflows, a log meets a 0, and one coordinate is not a number. What should a sampler do?
# A point that is nowhere can read nothing, so the answer is NaN. A point that is infinitely far to
# the right is outside: 0, or the last pixel. (It has no mirror image, so *reflection* does the same
# as *border*.)

# %%
x = np.array([np.nan, np.inf, -np.inf, 2.5])
print("x         ", x)
for mode in MODES:
    print(f"{mode:10s}", read_row(x, mode)[0])

# %% [markdown]
# ### Myth: "one NaN, and everything is NaN"
#
# Not here. One of twenty points is NaN: one output is NaN, and the image's gradient has nothing of
# it.

# %%
G = rng.uniform(-1, 1, (1, 4, 5, 2))
G[0, 1, 3, 0] = np.nan
pixels = Tensor(image[None], requires_grad=True)
V = F.grid_sample(pixels, G)
V.backward(np.ones(V.shape))
assert np.isfinite(pixels.grad).all()
print("outputs that are NaN:", np.isnan(V.data[0, 0]).sum(), "of", V.data[0, 0].size, "a channel")
print("pixels whose gradient is NaN:", np.isnan(pixels.grad).sum())

# %% [markdown]
# The trouble with infinity is that it is quiet: with *zeros* a $\theta$ that has run away gives a
# black image and no warning. Where something is blank, look at $\theta$ first, then at $G$, then at
# $V$: the first that is absurd names the culprit.
#
# ### Myth: "its weight is 0, so it can not matter"
#
# Zero times a number is 0. Zero times NaN is NaN. Here one *pixel* is NaN, and every pixel is read
# exactly where it is:

# %%
spoiled = np.arange(1.0, 26).reshape(5, 5)
spoiled[2, 2] = np.nan
fresh = F.grid_sample(spoiled[None, None], F.affine_grid(IDENTITY, (1, 1, 5, 5))).data[0, 0]
print(fresh)
assert np.isnan(fresh).sum() == 4

# %% [markdown]
# One bad pixel has become four: the points to the left of it and above it reach for it with weight
# 0. Mend such pixels before you sample (and count them; each transformer in a row makes more).
#
# ## Skipping pixels
#
# Another edge is inside the image. Make a picture of 60 x 60 pixels smaller, to 20 x 20, with
# $\theta$ the identity. Where are the points? In normalised coordinates they are at $(2i + 1)/20 -
# 1$, and in pixels

# %%
i = np.arange(20)
x = reference.to_pixels((2 * i + 1) / 20 - 1, 60)
print(x.round(9)[:6], "...")

# %% [markdown]
# at $3i + 1$: exactly on every third pixel. A point reads four pixels at most, however far it is
# to the next point. So the other eight of every nine pixels are never seen, and get no gradient:


# %%
def smaller(U, size, align_corners=False):
    G = F.affine_grid(IDENTITY, (1, 1, size, size), align_corners)
    return F.grid_sample(U, G, align_corners=align_corners)


def gradient_of_pixels(read):
    U = Tensor(rng.standard_normal((1, 1, 60, 60)), requires_grad=True)
    V = read(U)
    V.backward(rng.uniform(0.5, 1, V.shape))
    return U.grad[0, 0]


ways = {
    "sampled": lambda U: smaller(U, 20),
    "sampled, align_corners=True": lambda U: smaller(U, 20, align_corners=True),
    "pooled by 3, then sampled": lambda U: smaller(F.avg_pool2d(U, 3), 20),
    "sampled to 60, then pooled by 3": lambda U: F.avg_pool2d(smaller(U, 60), 3),
}
gradients = {name: gradient_of_pixels(read) for name, read in ways.items()}
for name, dU in gradients.items():
    share = np.mean(np.abs(dU) > 1e-9)  # rounding puts some points 1e-15 beside their pixel
    print(f"{name:32s}{share:6.1%} of the pixels get a gradient")

# %%
plots.heats_figure(
    {name: gradients[name][:6, :6] for name in ("sampled", "pooled by 3, then sampled")},
    title="The gradient of the first 6 x 6 pixels",
    numbers=False,
    alt="Left, only every third pixel of every third row has a gradient, four of 36. Right, all "
    "pixels have one, equal within each square of 3 x 3.",
)

# %% [markdown]
# ### Myth: "made smaller, an image keeps its mean"
#
# Draw stripes, one white column in three. Their mean is $1/3$. Make them smaller, and move them by
# one pixel:

# %%
stripes = np.zeros((60, 60))
stripes[:, 1::3] = 1
print("mean of the stripes:", stripes.mean().round(4))
for by in range(3):
    striped = np.roll(stripes, by, axis=1)[None, None]
    sampled, pooled = smaller(striped, 20), smaller(F.avg_pool2d(striped, 3), 20)
    means = [abs(V.data.mean().round(4)) for V in (sampled, pooled)]
    print(f"moved by {by}: sampled {means[0]}, pooled first {means[1]}")

# %% [markdown]
# All white, or all black, by where the stripes begin. This is *aliasing*: what is finer than the
# points lie apart does not go away, it comes back as something that is not there. Rings, finer and
# finer towards the corner, show it at a glance:

# %%
y, x = np.mgrid[:60, :60]
rings = 0.5 + 0.5 * np.cos((x**2 + y**2) * np.pi / 130)[None, None]
plots.pictures_figure(
    {
        "60 x 60": rings[0, 0],
        "sampled to 20 x 20": smaller(rings, 20).data[0, 0],
        "pooled first": smaller(F.avg_pool2d(rings, 3), 20).data[0, 0],
    },
    title="Rings, made three times smaller",
    limits=(0, 1),
    alt="Left, rings around the upper left corner that get finer outwards. In the middle, false "
    "rings around other points. Right, most of the false rings have become faint; some are left "
    "where the true ones begin to be too fine.",
)
pooled = smaller(F.avg_pool2d(rings, 3), 20).data[0, 0]
print(f"from 0 to 1 went the rings; pooled, {np.ptp(pooled[12:, 12:]):.2f} is left of that at the")
print(f"lower right, and {np.ptp(pooled[5:10, 5:10]):.2f} around (7, 7)")
assert np.ptp(pooled[12:, 12:]) < 0.1 and np.ptp(pooled[5:10, 5:10]) > 0.5

# %% [markdown]
# Average pooling first softens it: each pixel of the small picture then speaks for all nine that it
# stands for, and of most false rings little is left. Not of all: what is just too fine, as around
# (7, 7), a mean of 3 x 3 softens only a little. It needs a factor that is known beforehand, and
# $\theta$ may enlarge or shrink as it likes. The other way turns with $\theta$: read more points
# than are wanted, and average behind the transformer. The paper does so where its images are large:
# on RTS and TC average pooling by 2 follows the transformer. It helps as long as the points that
# are read lie no further apart than about a pixel. The third exercise is about it.
#
# ## The museum
#
# Most of the exhibits come from published programs. First an early sampler for TensorFlow (in
# `spatial_transformer.py` of github.com/daviddao/spatial-transformer-tensorflow). Only its forward
# pass is written; the gradient is left to the tape. In outline it is this (`rule` is what it
# multiplies $g + 1$ by):


# %%
def old_sampler(rule):
    """A sampler that clips its neighbours before it weighs them."""

    def sampler(U, G):
        N, _, H, W = U.shape
        x, y = (G[..., 0] + 1) * rule(W), (G[..., 1] + 1) * rule(H)
        x0, y0 = np.floor(x.data).astype(int), np.floor(y.data).astype(int)
        x0, x1 = np.clip(x0, 0, W - 1), np.clip(x0 + 1, 0, W - 1)
        y0, y1 = np.clip(y0, 0, H - 1), np.clip(y0 + 1, 0, H - 1)
        left, right, upper, lower = x1 - x, x - x0, y1 - y, y - y0

        def part(row, column, weight):
            pixels = F.transpose(U, (0, 2, 3, 1))[np.arange(N)[:, None, None], row, column]
            return F.transpose(pixels * F.reshape(weight, (*weight.shape, 1)), (0, 3, 1, 2))

        return (
            part(y0, x0, left * upper)
            + part(y0, x1, right * upper)
            + part(y1, x0, left * lower)
            + part(y1, x1, right * lower)
        )

    return sampler


rules = {
    "W / 2": lambda W: W / 2,
    "(W - 1) / 2": lambda W: (W - 1) / 2,
    "(W - 2) / 2": lambda W: (W - 2) / 2,
}


def identity_by(rule, image):
    """The image, read by the identity from centre to centre."""
    G = F.affine_grid(IDENTITY, (1, 1, *image.shape), align_corners=True)
    return old_sampler(rules[rule])(Tensor(image[None, None]), G).data[0, 0] + 0.0


nine = np.arange(9.0).reshape(3, 3)
plots.numbers_figure(
    {"right": nine} | {f"times {rule}": identity_by(rule, nine) for rule in rules},
    title="Exhibits 1 to 3: the identity, applied to the numbers 0 to 8",
    columns=4,
    alt="The numbers 0 to 8 as they should be. With W / 2: 0, 1.5, 0; 4.5, 6, 0; 0, 0, 0. With "
    "(W - 1) / 2 the last row and column are 0. With (W - 2) / 2: 0 to 4 in steps of one half.",
)

# %% [markdown]
# **Exhibit 1, `W / 2`** is the ancestor. Its grid goes from centre to centre, its sampler
# multiplies by $W/2$, so the three points of a row are at $0$, $1.5$ and $3$, outside. So far the
# ruler (chapter 4). But why is the last column *black*? At $x = 3$ the neighbours are 3 and 4. Both
# are clipped to 2, and only then weighed: $2 - 3 = -1$ and $3 - 2 = 1$. The same pixel, once minus
# and once plus, is 0.
#
# **Exhibit 2, `(W - 1) / 2`** has the right ruler, and is black still. The last point is at
# $x = 2$, *on* a pixel. Its neighbours are 2 and 3, and 3 is clipped to 2: the weights are $2 - 2$
# and $2 - 2$. Not one pixel outside was asked for, and yet the border is lost.
#
# **Exhibit 3, `(W - 2) / 2`** is in another program (`stn/transformer.py` of
# github.com/kevinzakka/spatial-transformer-network). Nothing is black any more, as no point
# comes near the border: the image is enlarged instead, and its last column is never seen. On 28
# pixels the identity ends at 26:

# %%
for rule, factor in rules.items():
    print(f"{rule:12s} 3 columns are read at {(np.linspace(-1, 1, 3) + 1) * factor(3)},", end=" ")
    print(f"the last of 28 at {(1 + 1) * factor(28)}")

ramp = np.arange(25.0).reshape(5, 5)
for rule in rules:
    off = np.abs(identity_by(rule, ramp) - ramp).max()
    print(f"{rule:12s} on a ramp from 0 to 24, the identity is off by up to {off}")

# %% [markdown]
# Are the gradients wrong? The tape derives what is written, so they fit:

# %%
for rule in rules:
    sampler, points = old_sampler(rules[rule]), rng.uniform(-0.9, 0.9, (2, 3, 2, 2))
    print(
        f"{rule:12s} gradient check:",
        gradcheck(sampler, [rng.standard_normal((2, 3, 5, 4)), points]),
    )

# %% [markdown]
# ### Myth: "the gradient check passed, so the sampler is right"
#
# A gradient check compares a backward pass with its own forward pass. Here we have the right
# gradient of the wrong function. `verify` holds it against the sampler itself, on points inside,
# outside and on pixels, and names the mistakes. (For the first and the third three names come up:
# the wrong ruler, and *either* of two more, which explain all numbers equally well: as they scale,
# a point outside gets nothing by either. $W / 2$ fits neither ruler. We hold it against
# `align_corners=False`, of which it forgets the half pixel.)

# %%
for rule, aligned in (("W / 2", False), ("(W - 1) / 2", True), ("(W - 2) / 2", True)):
    options = {"align_corners": aligned}
    report = verify(old_sampler(rules[rule]), "grid_sample", options=options)
    print(f"{rule:12s} {', '.join(report.names)}")
    assert "clip-before-weight" in report.names

print()
print(verify(old_sampler(rules["(W - 1) / 2"]), "grid_sample", options=options).advice())

# %% [markdown]
# What is right? Ask of each neighbour whether it is inside, and let it count 0 if not. Never touch
# its weight. (`stn_numpy` puts the image in a frame of zeros; look at `functional/sampler.py`.)
#
# ### Exhibit 4: x and y swapped
#
# An array is asked for `[row, column]`, which is `[y, x]`. A grid holds $(x, y)$, and some programs
# keep the other order. At $(2.5, 2.5)$, the point of chapter 0, the mistake does nothing whatever:


# %%
def swapped(U, G):
    return F.grid_sample(U, G[..., ::-1], align_corners=True)


def at(sampler, x, y):
    points = [reference.to_normalised(x, 4, True), reference.to_normalised(y, 4, True)]
    return sampler(Tensor(U[None, None]), Tensor(np.array(points).reshape(1, 1, 1, 2))).data.item()


for point in ((2.5, 2.5), (2.25, 1.75)):
    right = reference.eq03_sample(
        U[None], *np.array(point)[:, None], reference.eq05_bilinear_kernel
    ).item()
    print(f"{point}: right {right:.4f}, swapped {at(swapped, *point):.4f}")
print(verify(swapped, "grid_sample", options={"align_corners": True}).advice())

# %% [markdown]
# Test at points with $x \ne y$, and on images with $H \ne W$.
#
# ### Exhibit 5: the identity in a tanh
#
# A program says in a comment that it starts from the identity, and has a tanh behind the last layer
# (chapter 11 has more of it). The 1 becomes

# %%
squashed = np.tanh(IDENTITY[0])
print(squashed.round(4))
ends = reference.to_pixels(squashed[0, 0] * reference.to_normalised(np.array([0, 27]), 28), 28)
print("of 28 columns it reads from", ends[0].round(2), "to", ends[1].round(2))

# %%
paper = 1 - digits.test_images[0] / 255
corners = F.affine_grid(IDENTITY, (1, 1, 28, 28), align_corners=True)
zoomed = F.affine_grid(squashed[None], (1, 1, 28, 28))
plots.pictures_figure(
    {
        "right": paper,
        "1: W / 2, clipped": identity_by("W / 2", paper),
        "3: W - 2, clipped": identity_by("(W - 2) / 2", paper),
        "4: x and y swapped": swapped(Tensor(paper[None, None]), corners).data[0, 0],
        "5: tanh": F.grid_sample(paper[None, None], zoomed).data[0, 0],
    },
    title="Five identities",
    limits=(0, 1),
    alt="A black 8 on white. With W / 2 it is moved, with a black border right and below. With "
    "W - 2 it is a little larger. Swapped, it lies on its side. With tanh it is enlarged.",
)

# %% [markdown]
# ### Exhibits 6 to 8: wires that lead nowhere
#
# Three mistakes of wiring: $\theta$ is *detached* from the tape; the localisation net is shown
# *zeros* instead of the image; the classifier is given the *original* image instead of what was
# read. In chapter 11 the loss fell with all of them. Here is the whole transformer with a
# localisation net of one layer. Does a gradient check find them?


# %%
def wired(wiring):
    def transformer(U, W, b):
        theta = F.linear(F.flatten(0 * U if wiring == "shown zeros" else U), W, b)
        if wiring == "theta detached":
            theta = theta.detach()
        V = F.grid_sample(U, Affine().grid(theta, U.shape))
        return U if wiring == "original passed on" else V

    return transformer


def passes(function, inputs):
    try:
        return bool(gradcheck(function, inputs))
    except GradcheckError:
        return False


inputs = [
    rng.standard_normal((2, 3, 5, 4)),
    0.1 * rng.standard_normal((6, 60)),
    np.array([0.93, 0.15, 0.03, -0.1, 1.08, -0.08]),  # no point on a kink
]
for wiring in ("right", "theta detached", "shown zeros", "original passed on"):
    images, W, b = (Tensor(array, requires_grad=True) for array in inputs)
    V = wired(wiring)(images, W, b)
    V.backward(rng.standard_normal(V.shape))
    reached = W.grad is not None and bool(W.grad.any())
    passed = passes(wired(wiring), inputs)
    print(f"{wiring:19s} gradient check passes: {passed!s:6s} W is reached: {reached}")
    assert reached == (wiring == "right")

# %% [markdown]
# It finds one of the three. A net that sees zeros does not depend on its weights, and its gradient
# says so, correctly. The test that finds all three is the second column: does every parameter
# receive something? (In a fresh network look after the second step, as chapter 11 shows.)
#
# ### Exhibit 9: the constants of another data set
#
# Images are usually normalised: minus the mean, divided by the standard deviation, of the training
# set. Constants are copied along with programs. A well-known tutorial on spatial transformers shows
# its grey digits with the constants of a collection of colour photographs. What does that look
# like?

# %%
mean, std = float(digits.train_images.mean() / 255), float(digits.train_images.std() / 255)
of_photographs = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
print(f"mean {mean:.4f}, standard deviation {std:.4f}")

eight = digits.test_images[0] / 255
normal = (eight - mean) / std
tinted = np.clip(normal[..., None] * of_photographs[1] + of_photographs[0], 0, 1)
print("black is shown as (red, green, blue):", tinted[0, 0].round(2))
plots.pictures_figure(
    {"its own": eight, "those of photographs": tinted},
    title="Exhibit 9: the same digit, shown with two sets of constants",
    limits=(0, 1),
    alt="Left, a white digit on black. Right, the same digit on a brownish grey ground.",
)

# %% [markdown]
# That only tints a picture. Where the wrong constants are used on the way *in*, it costs accuracy.
# The simplest classifier there is, which takes the class whose mean training image is nearest, does
# not crash either; one line does name the mistake:

# %%
classes = np.stack([digits.train_images[digits.train_labels == k].mean(axis=0) for k in range(10)])
classes = (classes / 255 - mean) / std
for name, m, s in (("its own", mean, std), ("those of photographs", 0.485, 0.229)):
    batch = (digits.test_images / 255 - m) / s
    nearest = ((batch[:, None] - classes) ** 2).sum(axis=(2, 3)).argmin(axis=1)
    accuracy = np.mean(nearest == digits.test_labels)
    normalised_well = abs(batch.mean()) < 0.2 and abs(batch.std() - 1) < 0.2
    print(f"{name}: {accuracy:.1%} right; mean {batch.mean():.3f}, std {batch.std():.3f}")
    print("    a normalised batch has mean 0 and standard deviation 1:", bool(normalised_well))
    assert normalised_well == (name == "its own")

# %% [markdown]
# And here the two halves of the chapter meet. *Zeros* puts 0 outside. Once an image is normalised,
# black is no longer 0, and 0 is the mean grey:

# %%
angle = np.deg2rad(40)
turn = np.array([[[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]])
turned = F.affine_grid(1.2 * turn, (1, 1, 28, 28))
first = F.grid_sample(eight[None, None], turned).data[0, 0]
later = F.grid_sample(normal[None, None], turned).data[0, 0] * std + mean
print(f"outside, read and then normalised: {first[0, 0]:.4f}")
print(f"outside, normalised and then read: {later[0, 0]:.4f}")
plots.pictures_figure(
    {"read, then normalised": first, "normalised, then read": later},
    title="Outside is 0, and 0 is not always black",
    limits=(0, 1),
    alt="Twice a turned digit. Left, everything around it is black. Right, the corners outside of "
    "the image are grey, so the image's edge is seen.",
)

# %% [markdown]
# So a transformer behind the normalisation sees a tilted frame around every picture. The fourth
# exercise removes it.
#
# ## Which test catches what?
#
# All exhibits but the last, each as a small transformer with a layer $\theta = W u + b$ and a
# sampler:


# %%
def build(localise=lambda u, W, b: F.linear(u, W, b), read=None, after=lambda U, V: V):
    """A transformer (U, W, b) -> V, right but for what is passed in."""

    def transformer(U, W, b):
        theta = localise(F.flatten(U), W, b)
        G = Affine().grid(theta, U.shape, align_corners=True)
        V = read(U, G) if read else F.grid_sample(U, G, align_corners=True)
        return after(U, V)

    return transformer


exhibits = {
    "right": build(),
    "1  W / 2, clipped": build(read=old_sampler(rules["W / 2"])),
    "2  W - 1, clipped": build(read=old_sampler(rules["(W - 1) / 2"])),
    "3  W - 2, clipped": build(read=old_sampler(rules["(W - 2) / 2"])),
    "4  x, y swapped": build(read=swapped),
    "5  tanh": build(lambda u, W, b: F.tanh(F.linear(u, W, b))),
    "6  theta detached": build(lambda u, W, b: F.linear(u, W, b).detach()),
    "7  net sees zeros": build(lambda u, W, b: F.linear(0 * u, W, b)),
    "8  original passed on": build(after=lambda U, V: U),
}

# %% [markdown]
# And five tests. Each is a line or two:


# %%
def run(transformer, image, b):
    """The output for weights of 0 and a given bias."""
    return transformer(Tensor(image), Tensor(np.zeros((6, image[0].size))), Tensor(b)).data


def fresh_is_identity(transformer, image):
    return np.allclose(run(transformer, image, np.array([1.0, 0, 0, 0, 1, 0])), image)


def shift_is_exact(transformer):
    image = rng.standard_normal((1, 2, 6, 5))
    b = np.array([1, 0, 1 / reference.pixels_per_unit(5, True), 0, 1, 0])  # one pixel
    return np.allclose(run(transformer, image, b)[..., :-1], image[..., 1:])


def all_receive(transformer):
    tensors = [Tensor(array, requires_grad=True) for array in inputs]
    V = transformer(*tensors)
    V.backward(rng.standard_normal(V.shape))
    return all(t.grad is not None and t.grad.any() for t in tensors)


tests = {
    "identity,\nblack edge": lambda f: fresh_is_identity(f, eight[None, None]),
    "identity,\nbright edge": lambda f: fresh_is_identity(f, rng.uniform(1, 2, (1, 2, 6, 5))),
    "shift by\none pixel": shift_is_exact,
    "gradient\ncheck": lambda f: passes(f, inputs),
    "all receive\na gradient": all_receive,
}

# %% [markdown]
# Now each test on each exhibit:

# %%
verdicts = [
    ["passes" if test(exhibit) else "CAUGHT" for test in tests.values()]
    for exhibit in exhibits.values()
]
for name, verdict in zip(exhibits, verdicts):
    print(f"{name:22s}", *verdict)
    assert ("CAUGHT" in verdict) == (name != "right")

# %%
plots.verdicts_figure(
    list(exhibits),
    list(tests),
    verdicts,
    ("passes", "CAUGHT"),
    title="What each test says of each exhibit",
    alt="A table of nine transformers and five tests. The right one passes all. No test catches "
    "all of the other eight, and each of those is caught by at least one.",
)

# %% [markdown]
# No test alone is enough. Clipping passes where the edge is black, so take a bright one. The wires
# pass every test of the identity. The gradient check, the most expensive of the five, finds a
# single exhibit: it is there for *new* backward passes, and here the tape wrote them all. So before
# you train: the identity, a shift by one pixel, and a look at who receives a gradient.
#
# ## Exercises
#
# **Exercise 14.1.** Our image $U$ was to be read one pixel further to the right. Six samplers did
# something else. Below is what came out. Say which did what: `"border"` (padding mode border),
# `"reflection"` (padding mode reflection), `"wrapped"` (negative or too large indices go around to
# the other side), `"swapped"` (the grid is read as $(y, x)$), `"forward"` (the pixels were moved
# by $\theta$, not the points), `"clipped"` (neighbours are clipped before they are weighed). Both
# grid and sampler have `align_corners=True`.

# %%
plots.numbers_figure(
    ch14.outputs(U),
    title="Six outputs; right would be 1 2 1 0, 9 5 2 0, 6 8 1 0, 7 3 5 0",
    alt="Six tables of 4 x 4 numbers. "
    + "; ".join(f"{letter}: {V.astype(int).tolist()}" for letter, V in ch14.outputs(U).items()),
)


# %%
def diagnoses():
    """A dict: for each of "A" to "F" one of the six words."""
    ### BEGIN SOLUTION
    return {
        "A": "wrapped",  # the last column is the first of U
        "B": "clipped",  # on the lattice the last pixels weigh 0
        "C": "reflection",  # the last column is the last but one of U
        "D": "swapped",  # U turned over, and moved along the other axis
        "E": "border",  # the last column twice
        "F": "forward",  # moved to the right
    }
    ### END SOLUTION


# %%
check("14.1", diagnoses)

# %% [markdown]
# **Exercise 14.2.** Padding mode *border*: write the rule $r$ for a whole array of coordinates, in
# pixels, and its slope. On the outermost pixels themselves, $x = 0$ and $x = W - 1$, the slope is
# 0, as in the package. (The check builds the backward pass of the sampler around your function, and
# hands it to `verify`.)


# %%
def to_border(x, size):
    """r(x) and dr/dx, two arrays like x, for an axis of `size` pixels."""
    ### BEGIN SOLUTION
    return np.clip(x, 0, size - 1), ((x > 0) & (x < size - 1)).astype(float)
    ### END SOLUTION


# %%
check("14.2", to_border)

# %% [markdown]
# **Exercise 14.3.** A filter that turns with $\theta$: read `k` times as many points along each
# axis, and average every `k` x `k` of them. With `k = 1` it is the plain transformer.


# %%
def read_smoothly(U, theta, size, k):
    """U (N, C, H, W), theta (N, 2, 3), size (H', W') -> V (N, C, H', W'); by functions of F."""
    ### BEGIN SOLUTION
    H, W = size
    G = F.affine_grid(theta, (*U.shape[:2], k * H, k * W))
    return F.avg_pool2d(F.grid_sample(U, G), k)
    ### END SOLUTION


# %%
check("14.3", read_smoothly)

# %% [markdown]
# **Exercise 14.4.** An image was normalised: `U = (image - mean) / std`. Read it at `G` so that
# what is outside is *black*, that is, what a black pixel became, with padding mode zeros and
# without undoing the normalisation. On the edge, black and the image should mix as they do where
# black is 0.


# %%
def black_outside(U, G, mean, std):
    """U (N, C, H, W) normalised, G (N, H', W', 2); returns V, normalised as U is."""
    ### BEGIN SOLUTION
    black = (0 - mean) / std
    return F.grid_sample(U - black, G) + black
    ### END SOLUTION


# %%
check("14.4", black_outside)
