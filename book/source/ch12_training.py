# %% [markdown]
# # 12 Training a small ST-CNN on MNIST
#
# *About 60 minutes, four of them your computer's. Needs chapter 11 (the localisation net). Puts
# everything together and trains it, beside a plain CNN of the same size.*
#
# **The question.** Nobody tells the localisation net which $\theta$ is right; it only hears whether
# the class was right in the end. Is that enough to turn a digit upright? And if it is: does it pay?

# %%
import os
import tempfile
from dataclasses import replace

import numpy as np

from stn_numpy import functional as F
from stn_numpy import models, plots, tasks
from stn_numpy.autograd import no_grad
from stn_numpy.data import batches, distort, load, load_digits
from stn_numpy.exercises import check
from stn_numpy.optim import Adam
from stn_numpy.progress import Progress
from stn_numpy.training import Display, Run, Settings, wilson

# %% [markdown]
# ## Which digits
#
# With MNIST at hand this chapter trains on its 60,000 digits, for about four minutes. Where is "at
# hand"? In the folder that `STN_NUMPY_DATA` names, or in the cache, where `python -m stn_numpy
# train` puts it. Without it, or where the environment variable `STN_NUMPY_QUICK` is set, a smaller
# network trains on the 1,297 digits of the package, for half a minute. What is stored in this
# notebook is the quick run. It computes in float64, so that it comes out the same on every machine.
#
# What the text claims of every training is held by an `assert`. What it says of the stored run is
# printed or asserted there.

# %%
data = load_digits() if os.environ.get("STN_NUMPY_QUICK") else load(download=False)
QUICK = len(data.train_labels) < 10_000
DTYPE = np.float64 if QUICK else np.float32


class InFloat64(tasks.Digits):
    """The package's task, digits that are distorted afresh, in float64."""

    def build(self, *arguments):
        return super().build(*arguments).astype(np.float64)

    def batches(self, images, labels, batch_size, rng, distortion, **options):
        return batches(images, labels, batch_size, rng, distortion, np.float64, **options)


if QUICK:
    task = InFloat64()
    settings = Settings(epochs=20, batch_size=16, lr=5e-3, parameters=22_600, workers=1)
else:
    task = tasks.DIGITS
    settings = Settings(epochs=6)
print(f"{data.name}: {len(data.train_labels)} to learn from, {len(data.test_labels)} to test with")
print("distortion:", settings.distortion)
print(settings.epochs, "epochs in batches of", settings.batch_size)

# %% [markdown]
# ## Distort first
#
# The digits of the package stand upright, and so do MNIST's. A transformer that turns them has
# nothing to do there, and a training on such digits shows nothing. So the paper turns every digit
# first, by any angle up to 90 degrees to either side. It calls that *R*.


# %%
def turn(images, degrees):
    """Turn pictures (N, 28, 28) to the left, each by its angle; (N, 1, 28, 28)."""
    angle = np.deg2rad(np.asarray(degrees, float))
    theta = np.zeros((len(angle), 2, 3), DTYPE)
    theta[:, 0, 0], theta[:, 0, 1] = np.cos(angle), -np.sin(angle)
    theta[:, 1, 0], theta[:, 1, 1] = np.sin(angle), np.cos(angle)
    pictures = np.asarray(images, DTYPE)[:, None]
    return F.grid_sample(pictures, F.affine_grid(theta, pictures.shape)).data


DEGREES = np.array([80, 60, 40, 20, -20, -40, -60, -80])
firsts = [int(np.flatnonzero(data.test_labels == digit)[0]) for digit in (2, 3, 4, 5, 6, 7, 2, 3)]
upright = data.test_images[firsts] / 255
watched = turn(upright, DEGREES)
plots.gallery_figure(
    {"upright": upright, "turned": watched[:, 0]},
    title="Eight digits that we shall watch",
    columns=[f"{angle} degrees" for angle in DEGREES],
    alt="Above, eight upright digits: 2, 3, 4, 5, 6, 7, 2, 3. Below, the same, turned to the left "
    "by 80, 60, 40 and 20 degrees, and to the right by 20, 40, 60 and 80.",
)

# %% [markdown]
# How much is there to gain? We need no training to find out. Take the simplest classifier there is:
# the mean picture of each class, and for a new picture the class whose mean is nearest. Give it
# upright digits, then turned ones, then turned ones that somebody who knows the angles has turned
# back.


# %%
def percent(share):
    return f"{100 * share:.0f} %"


def errors_of_nearest_mean(images):
    """The share of test pictures whose nearest class mean is of another class."""
    learned = data.train_images / 255
    means = np.stack([learned[data.train_labels == k].mean(axis=0) for k in range(10)])
    distance = ((images[:, None] - means) ** 2).sum(axis=(2, 3))
    return np.mean(distance.argmin(axis=1) != data.test_labels[: len(images)])


angles = np.random.default_rng(12).uniform(-90, 90, 500)
tested = data.test_images[:500] / 255
turned = turn(tested, angles)[:, 0]
back = turn(turned, -angles)[:, 0]
gain = {
    "upright": errors_of_nearest_mean(tested),
    "turned": errors_of_nearest_mean(turned),
    "turned back": errors_of_nearest_mean(back),
}
for name, error in gain.items():
    print(f"{name:12} {percent(error)} wrong")
assert gain["turned"] > 2 * gain["upright"]
assert gain["turned back"] < gain["upright"] + 0.05

# %% [markdown]
# The turned digits cost this classifier most of what it knew. A perfect transformer gives it back.
# On upright digits there is no turn to undo. (What is left are slants, sizes and places: a smaller
# gain.)
#
# ## The loop, in ten lines
#
# This is all that training is. Every line of it has a chapter: the batch was distorted by the
# sampler of chapter 6, `backward` runs all derivations of chapters 7 to 11 and of appendix B, and
# `step` subtracts the learning rate times the gradient (Adam also scales it, parameter by
# parameter).

# %%
rng = np.random.default_rng(12)
net = settings.build("st-cnn").astype(np.float64)
optimizer = Adam(net.parameters(), lr=3e-3)
losses = []
for _ in range(3):
    for images, labels in batches(
        data.train_images[:640], data.train_labels[:640], 64, rng, "R", np.float64
    ):
        optimizer.zero_grad()  # forget the gradients of the step before
        scores = net(images)  # look, read, classify
        loss = F.cross_entropy(scores, labels)  # how wrong?
        loss.backward()  # who is to blame, and how much?
        optimizer.step()  # do a little better
        losses.append(loss.item())
first, last = np.mean(losses[:5]), np.mean(losses[-5:])
print(f"{len(losses)} steps; the loss began at {first:.2f}")
print(f"who guesses has a loss of {np.log(10):.2f}")
print(f"the mean loss of the last five steps is below that of the first five: {last < first}")
assert last < first

# %% [markdown]
# `stn_numpy.training` is the same loop, with what a long training needs besides: a schedule for the
# learning rate, a test after every epoch, a checkpoint, two cores. From here on we use it. It tells
# a `Display` whenever an epoch has ended; ours keeps a diary of what the localisation net says of
# the eight digits.


# %%
def thetas_of(model, images):
    """What the localisation net says: (N, 2, 3)."""
    with no_grad():
        return models.reader(model).theta(images).data.reshape(-1, 2, 3)


class Diary(Progress):
    """Writes down theta of the watched digits, at the beginning and after every epoch."""

    def __init__(self, epochs):
        super().__init__(epochs, remaining=True)
        self.thetas = [np.tile(np.eye(2, 3), (len(watched), 1, 1))]  # a fresh net: the identity

    def epoch(self, name, result, seconds):
        if not QUICK:
            super().epoch(name, result, seconds)  # prints a line, with the time
        self.thetas.append(thetas_of(self.run.trainers[name].model, watched))


def train(name, settings, display):
    """Train one network; returns its trainer, with the model and what is known of each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        display.run = Run(folder, replace(settings, models=(name,)), data, task)
        display.run.train(display)
    return display.run.trainers[name]


diary = Diary(settings.epochs)
st_cnn = train("st-cnn", settings, diary)
print("parameters:", st_cnn.model.num_parameters())
print(f"test error after {settings.epochs} epochs: {percent(st_cnn.epochs[-1]['test_error'])}")
assert st_cnn.epochs[-1]["loss"] < st_cnn.epochs[0]["loss"] / 3
assert st_cnn.epochs[-1]["test_error"] < 0.1

# %%
epochs = np.arange(1, settings.epochs + 1)
plots.curves_figure(
    {"training": (epochs, [round(epoch["loss"], 3) for epoch in st_cnn.epochs])},
    title="The ST-CNN: mean loss of each epoch",
    xlabel="epoch",
    ylabel="loss",
    alt="A curve that falls from the first epoch to the last, steeply at first and then slowly.",
)

# %% [markdown]
# ## The diary
#
# Here is what the net has said of the first of our digits, the 2 that is turned by 80 degrees to
# the left. A turn has the cosine of its angle in $\theta_{11}$ and $\theta_{22}$, its sine in
# $\theta_{21}$, and minus its sine in $\theta_{12}$ (chapter 2). The points at the end are those of
# the turn that puts it upright.

# %%
thetas = np.round(diary.thetas, 3)  # (epochs + 1, 8, 2, 3)
moments = np.arange(settings.epochs + 1)
angle = np.deg2rad(-DEGREES[0])
entries = {"theta_11": (0, 0), "theta_12": (0, 1), "theta_21": (1, 0), "theta_22": (1, 1)}
end = [settings.epochs]
plots.curves_figure(
    {name: (moments, thetas[:, 0, i, j]) for name, (i, j) in entries.items()},
    points={
        "theta_11": (end, [np.cos(angle)]),
        "theta_12": (end, [-np.sin(angle)]),
        "theta_21": (end, [np.sin(angle)]),
        "theta_22": (end, [np.cos(angle)]),
    },
    beside=True,
    title="What the net says of the first digit (points: what upright would need)",
    xlabel="epochs behind it",
    ylabel="entry of theta",
    alt="Four curves that begin at 1, 0, 0 and 1. theta_12 rises and theta_21 falls: the frame "
    "turns to the left, as the digit is. Points in the same colours, at the right, show a turn by "
    "all 80 degrees; those of theta_11 and theta_22 are at one place.",
)

# %% [markdown]
# Numbers are hard to look at; quadrilaterals are not. Each row is a moment of the training, and in
# it the frame in which the net reads each of the digits. The thick side becomes the upper border of
# what is read.

# %%
shown = np.unique(np.linspace(0, settings.epochs, 5).round().astype(int))


def read_by(theta):
    """The grids of the watched digits and what is read there, (N, 28, 28, 2) and (N, 28, 28)."""
    G = F.affine_grid(theta.astype(DTYPE), watched.shape)
    return G.data, np.round(F.grid_sample(watched, G).data[:, 0], 3)


moments_read = {f"after {epoch} epochs": read_by(thetas[epoch]) for epoch in shown}
plots.gallery_figure(
    dict.fromkeys(moments_read, watched[:, 0]),
    {moment: grids for moment, (grids, _) in moments_read.items()},
    title="Where the net reads",
    columns=[f"{degrees} degrees" for degrees in DEGREES],
    alt="Five rows of the eight turned digits with a frame on each. In the first row all frames "
    "are upright. Row by row they turn with the digits, to the left for those that lean to the "
    "left, and to the right for the others.",
)

# %%
plots.gallery_figure(
    {moment: outputs for moment, (_, outputs) in moments_read.items()},
    title="What the classifier gets to see",
    columns=[f"{degrees} degrees" for degrees in DEGREES],
    alt="Five rows of the eight digits as they are read. In the first row they are turned as they "
    "came. Row by row they come closer to each other and to upright.",
)

# %% [markdown]
# The same as a film:


# %%
def frame_of_film(epoch):
    grids, outputs = read_by(thetas[epoch])
    return plots.gallery_figure(
        {"grid on U": watched[::2, 0], "output V": outputs[::2]},
        {"grid on U": grids[::2]},
        title=f"After {epoch} epochs",
        alt="A film of four of the digits: the frames on them turn, and what is read in the frames "
        "turns towards upright.",
    )


reel = np.unique(np.linspace(0, settings.epochs, 9).round().astype(int))
plots.Film([frame_of_film(epoch) for epoch in reel])

# %% [markdown]
# ## How far does it turn?
#
# We know by how much each test digit was turned. How far does the net turn its frame? The upper
# side of the grid tells: it leads from the grid's first corner to its second. A net that puts every
# digit upright would be on the line named so. (From $\theta$ alone you find the angle in the third
# exercise.)

# %%
with no_grad():
    grids = models.reader(st_cnn.model).grid(turn(tested, angles)).data
upper_side = grids[:, 0, -1] - grids[:, 0, 0]  # (500, 2): along x, along y
frame_angles = np.rad2deg(np.arctan2(upper_side[:, 1], upper_side[:, 0])).round(1)
small = np.abs(angles) < 45
slope, start = np.polyfit(angles[small], -frame_angles[small], 1)
beyond = np.median(-frame_angles[~small] * np.sign(angles[~small]))
print(f"of a turn of up to 45 degrees the frame follows {percent(slope)};")
print(f"of a larger one it makes {beyond:.0f} degrees, the median of such digits")
assert 0.25 < slope < 1.4 and beyond < 60
plots.curves_figure(
    {
        "upright": ([-90, 90], [-90, 90]),
        "fitted up to 45": ([-45, 45], np.round(start + slope * np.array([-45, 45]), 1)),
    },
    points={"test digits": (angles.round(1)[:250], -frame_angles[:250])},
    title="The digit's turn, and the turn of the frame",
    xlabel="the digit is turned to the left by (degrees)",
    ylabel="so is the frame (degrees)",
    alt="A cloud of points. In its middle it rises nearly as steeply as the line on which the "
    "frame would turn as far as the digit; towards both ends it is level.",
)

# %% [markdown]
# Small turns it follows, of large ones it takes only a part away, and a few digits that lie on
# their side it turns the wrong way, further down. It need not do better: nobody asked for
# "upright", and the classifier has learned to read what comes out. [Chapter 13](13_results.ipynb)
# looks at what this *canonical pose* is, and chapter 16 shows that it could as well be another.
#
# ## The mean picture of each class
#
# If a transformer brings the digits of a class into one pose, their mean gets sharp. Here are the
# means of all test digits of each class: as they came, and as they were read.

# %%
came = distort(data.test_images, "R", np.random.default_rng(16), DTYPE)
with no_grad():
    read = np.concatenate(
        [models.reader(st_cnn.model)(part).data for part in np.array_split(came, 10)]
    )


def means_of(pictures):
    return np.stack([pictures[data.test_labels == k, 0].mean(axis=0) for k in range(10)])


plots.gallery_figure(
    {
        "upright": means_of(data.test_images[:, None] / 255).round(3),
        "as they came": means_of(came).round(3),
        "as they were read": means_of(read).round(3),
    },
    title="The mean picture of each class",
    columns=[str(k) for k in range(10)],
    alt="Three rows of ten mean digits. In the first they can be read. In the second they are "
    "blurred blobs and rings. In the third most of them have a shape again.",
)

# %% [markdown]
# A number for "sharp": what all pictures of a class have in common. Take the mean's brightness,
# squared and added up, and divide it by the same of the single pictures. If all were equal it would
# be 100 %; the less they overlap, the less it is.


# %%
def in_common(pictures):
    shares = []
    for k in range(10):
        of_class = pictures[data.test_labels == k, 0]
        shares.append((of_class.mean(axis=0) ** 2).sum() / (of_class**2).sum(axis=(1, 2)).mean())
    return np.mean(shares)


for name, pictures in (
    ("upright", data.test_images[:, None] / 255),
    ("as they came", came),
    ("as they were read", read),
):
    print(f"{name:18} {percent(in_common(pictures))}")
assert in_common(read) > in_common(came) + 0.03

# %% [markdown]
# ## Beside it: a CNN of the same size
#
# A transformer is not free: its localisation net has thousands of parameters. A fair opponent gets
# as many. So the CNN beside it has more filters, and both have the same digits, the same steps, the
# same schedule.

# %%
cnn = train("cnn", settings, Display() if QUICK else Progress(settings.epochs, remaining=True))
print("parameters of the CNN:   ", cnn.model.num_parameters())
print("parameters of the ST-CNN:", st_cnn.model.num_parameters())
of_net = sum(p.data.size for p in models.localisation_parameters(st_cnn.model))
print("of these in the localisation net:", of_net)

# %%
plots.learning_curves(
    {
        "ST-CNN": [epoch["test_error"] for epoch in st_cnn.epochs],
        "CNN": [epoch["test_error"] for epoch in cnn.epochs],
    },
    alt="Two curves of test errors that fall from epoch to epoch and end close to each other.",
)

# %% [markdown]
# (The vertical axis is logarithmic: a step down is half, or a tenth, of what was left.)
#
# Which is better? The last point of a curve is not the answer. The test digits are a sample; with
# other digits the counts would be others. The *Wilson interval* says between which ends the true
# error rate lies, so that the method is right 19 times out of 20:

# %%
count = len(data.test_labels)
intervals = {}
for name, trainer in (("ST-CNN", st_cnn), ("CNN", cnn)):
    mistakes = round(trainer.epochs[-1]["test_error"] * count)
    intervals[name] = tuple(100 * x for x in (mistakes / count, *wilson(mistakes, count)))
    print(
        f"{name:7} {mistakes} of {count} wrong: {intervals[name][0]:.1f} %, "
        f"between {intervals[name][1]:.1f} % and {intervals[name][2]:.1f} %"
    )
apart = intervals["ST-CNN"][2] < intervals["CNN"][1] or intervals["CNN"][2] < intervals["ST-CNN"][1]
print("the intervals", "lie apart" if apart else "overlap: of that alone nothing follows")

# %%
plots.intervals_figure(
    intervals,
    title="Test errors, with their 95 % intervals",
    xlabel="test error (%)",
    alt="Two bars that stand for the intervals of both test errors, with the measured error rates "
    "as points on them.",
)

# %% [markdown]
# With the 500 test digits of the package nothing can be said, and that is what one should say. (An
# overlap is no proof that both are equal, either. [Chapter 13](13_results.ipynb) has a sharper
# test.) With the 10,000 of MNIST the intervals are less
# than a fourth as long. Another source of luck is the seed: the paper takes the mean of three.
#
# ### Myth: "a transformer always pays"
#
# It has to learn first where to look, from nothing but the class, and that takes digits and time.
# In the stored run the ST-CNN is behind at first (in brackets, the intervals):

# %%
early = max(1, settings.epochs // 10)
errors = [trainer.epochs[early - 1]["test_error"] for trainer in (st_cnn, cnn)]
print(f"after {early} of {settings.epochs} epochs:")
ends = [wilson(round(error * count), count) for error in errors]
for name, error, (low, high) in zip(("ST-CNN", "CNN"), errors, ends):
    print(f"{name:7} {percent(error)} wrong ({percent(low)} to {percent(high)})")
assert not QUICK or ends[0][0] > ends[1][1], "the intervals lie apart"

# %% [markdown]
# ## How fast may the localisation net learn?
#
# "The output has gone blank" is what people report most often when they train a transformer
# (chapter 11). A common remedy lets the localisation net learn at a part of the rate of the others;
# a tenth is often used. Let us try four ratios, in short runs, and ask four things of each. Is
# there a picture in what is read? Does $\theta$ depend on the image? Has it moved from the
# identity? Is the network better than a guess?

# %%
RATIOS = (100.0, 10.0, 1.0, 0.1)
short = 3 if QUICK else 1
sample = distort(data.test_images[:500], "R", np.random.default_rng(17), DTYPE)
rows = []
for ratio in RATIOS:
    trainer = train("st-cnn", replace(settings, epochs=short, localisation_rate=ratio), Display())
    theta = thetas_of(trainer.model, sample)
    with no_grad():
        blank = np.mean(models.reader(trainer.model)(sample).data.max(axis=(1, 2, 3)) < 0.1)
        *layers, last_layer = models.reader(trainer.model).localisation
        units = sample
        for layer in layers:
            units = layer(units)
    awake = int((units.data > 0).any(axis=0).sum())
    rows.append(
        {
            "sees a picture": blank < 0.9,
            "theta differs\nwith the image": theta.std(axis=0).max() > 1e-6,
            "theta has\nmoved": np.abs(theta - np.eye(2, 3)).max() > 0.02,
            "is better\nthan a guess": trainer.epochs[-1]["test_error"] < 0.8,
        }
    )
    print(
        f"ratio {ratio:5g}: {awake:2} of {units.shape[1]} units before theta answer to some image"
    )
if QUICK:
    expected = [(0, 1, 1, 0), (1, 0, 1, 1), (1, 1, 1, 1), (1, 1, 0, 1)]
    assert [tuple(map(int, row.values())) for row in rows] == expected

# %%
plots.verdicts_figure(
    [f"ratio {ratio:g}" for ratio in RATIOS],
    list(rows[0]),
    [["yes" if answer else "NO" for answer in row.values()] for row in rows],
    ("yes", "NO"),
    title=f"The localisation net's rate, as a multiple of the others' ({short} epochs)",
    alt="A table of four ratios and four questions. With 100 the net sees no picture and is no "
    "better than a guess. With 10 theta is the same for every image. With 1 every answer is yes.",
)

# %% [markdown]
# So it was in the stored run. A hundred times too fast, and the first steps throw the frame out of
# the image. There it is black, a black image has no slope (chapter 11), and so nothing ever brings
# it back. Ten times too fast is a quieter death: the picture is there, the network learns, no
# warning is given. But not one unit of the layer before $\theta$ answers to any image any more.
# Their ReLUs are all at 0, where the slope is 0, so what remains of the transformer is one fixed
# $\theta$ for all images. You see it only if you ask whether $\theta$ *differs*.
#
# With a tenth of the rate nothing breaks, and little happens in so short a run. Which ratio is
# best, then? It depends on the optimiser. With plain gradient descent the gradient of $\theta$ is a
# sum over all pixels, and large; there a tenth is a good guess. Adam divides it by its own size, so
# that here a ratio of 1 is. Start with 1, look at the diary, and go down where it runs away.
#
# ## Exercises
#
# **Exercise 12.1.** Write the ratio yourself. Optimisers take a list of groups, each a dict with
# the keys `"params"`, a list of parameters, and `"lr"`, their rate. Return two groups: the
# localisation net learns at `lr` times `ratio`, all other parameters at `lr`. The names of the
# former, as `model.named_parameters()` tells them, contain `"localisation."`.


# %%
def parameter_groups(model, lr, ratio):
    """A list of two groups, in which each parameter of the model is once."""
    ### BEGIN SOLUTION
    named = list(model.named_parameters())
    slow = [parameter for name, parameter in named if "localisation." in name]
    others = [parameter for name, parameter in named if "localisation." not in name]
    return [{"params": others, "lr": lr}, {"params": slow, "lr": lr * ratio}]
    ### END SOLUTION


# %%
check("12.1", parameter_groups)

# %% [markdown]
# **Exercise 12.2.** Read an interval. Two networks have the error rates `better` and `worse`; their
# intervals overlap, as too few images were asked. How many does it take until they lie apart?
# Return the smallest number `n` of test images, a multiple of 1000, for which the intervals of
# `round(better * n)` and `round(worse * n)` mistakes do. `wilson(mistakes, n)` returns both ends of
# an interval. (It is more than is needed to tell the two rates apart: see the second exercise of
# chapter 13.)


# %%
def images_needed(better, worse):
    """The smallest multiple of 1000 images for which the two intervals lie apart."""
    ### BEGIN SOLUTION
    n = 1000
    while wilson(round(better * n), n)[1] >= wilson(round(worse * n), n)[0]:
        n += 1000
    return n
    ### END SOLUTION


# %%
check("12.2", images_needed)

# %% [markdown]
# **Exercise 12.3.** Recover the angle. By how many degrees does each $\theta$ turn the *picture* to
# the left? (`turn` above does so by the angle that it is given, and shows the signs.) $\theta$ may
# also shift, scale, and slant a little, so that its columns are no longer at right angles. Then the
# angle of the nearest turn is asked, and for that both columns have a say: its sine is as
# $\theta_{21} - \theta_{12}$, and its cosine as $\theta_{11} + \theta_{22}$. Angles are from $-180$
# to 180 degrees.


# %%
def turned_by(theta):
    """theta (N, 2, 3) -> degrees (N,)."""
    ### BEGIN SOLUTION
    sine, cosine = theta[:, 1, 0] - theta[:, 0, 1], theta[:, 0, 0] + theta[:, 1, 1]
    return np.rad2deg(np.arctan2(sine, cosine))
    ### END SOLUTION


# %%
check("12.3", turned_by)
