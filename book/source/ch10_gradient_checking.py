# %% [markdown]
# # 10 Gradient checking
#
# *About 45 minutes. Needs chapters 7 to 9, whose gradients are checked here. Shows how to catch a
# wrong derivative, and what it means, and does not mean, when nothing is caught.*
#
# **The question.** You have derived a gradient on paper. A network learns with it, a little worse
# than you had hoped. Is the gradient wrong? Nothing crashes when it is. How do you find out, and
# how sure are you when a test says that all is well?

# %%
import inspect

import numpy as np

from stn_numpy import GradcheckError, Tensor, gradcheck, models, no_grad, op, plots, reference
from stn_numpy import functional as F
from stn_numpy.data import load_digits
from stn_numpy.exercises import check
from stn_numpy.gradcheck import numeric_gradients
from stn_numpy.verify import verify
from stn_numpy.verify.mistakes.sampling import wrong_sampler

# %% [markdown]
# ## A slope from two values
#
# A derivative is a limit. Stop a little before the limit, and you have a number that needs no
# derivation at all: the difference of two values, divided by the step. There are two ways to put
# the two points. Here for $f(x) = x^3$ at $x = 1$, with the large step $\varepsilon = 0.5$:

# %%
x = np.linspace(0.3, 1.7, 141)
plots.curves_figure(
    {
        "f(x) = x^3": (x, x**3),
        "its tangent at 1": (x, 1 + 3 * (x - 1)),
        "forward: through 1 and 1.5": (x, 1 + 4.75 * (x - 1)),
        "central: through 0.5 and 1.5": (x, 0.125 + 3.25 * (x - 0.5)),
    },
    points={"values that are used": ([0.5, 1, 1.5], [0.125, 1, 3.375])},
    title="Two ways to replace the tangent",
    xlabel="x",
    ylabel="f",
    alt="The curve x cubed, its tangent at 1, and two chords. The chord from 0.5 to 1.5 is nearly "
    "parallel to the tangent, the chord from 1 to 1.5 is much steeper.",
)

# %%
print("step: 0.5, true slope:", 3)
print("forward:", (1.5**3 - 1**3) / 0.5)
print("central:", (1.5**3 - 0.5**3) / (2 * 0.5))

# %% [markdown]
# By hand, for any step: $(1 + \varepsilon)^3 = 1 + 3 \varepsilon + 3 \varepsilon^2 +
# \varepsilon^3$. So the forward difference is $3 + 3 \varepsilon + \varepsilon^2$. In the central
# difference all even powers cancel, and $3 + \varepsilon^2$ remains. One error shrinks like
# $\varepsilon$, the other like $\varepsilon^2$. Use central differences.
#
# ## How small should the step be?
#
# On paper: as small as possible. In a computer, $f(x)$ has 16 digits. If $f(x + \varepsilon)$ and
# $f(x - \varepsilon)$ agree in the first ten of them, their difference has six digits left.

# %%
for step in (1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11):
    high, low = 1.3 + step, 1.3 - step
    slope = (high * high * high - low * low * low) / (2 * step)
    print(f"step {step:.0e}: slope {slope:.12f}")
print("the truth:      ", 3 * 1.3 * 1.3)

# %% [markdown]
# First the digits come, then they go. Let us look at the error at 200 places at once, for steps of
# all sizes, in float64 and in float32.


# %%
def error(step, dtype, central):
    """The typical error of a difference of x^3, at 200 places between 1 and 2."""
    x = np.linspace(1, 2, 200).astype(dtype)
    high = x + dtype(step)
    low = x - dtype(step) if central else x
    slope = (high * high * high - low * low * low) / dtype(2 * step if central else step)
    exact = 3 * x.astype(float) ** 2
    return np.sqrt(np.mean((slope - exact) ** 2))


steps = 10.0 ** -np.arange(0.5, 13.1, 0.5)
errors = {
    "forward, float64": [error(step, np.float64, False) for step in steps],
    "central, float64": [error(step, np.float64, True) for step in steps],
    "central, float32": [error(step, np.float32, True) for step in steps],
}
plots.errors_figure(
    steps,
    {name: np.array(values) for name, values in errors.items()},
    best={"u^(1/2), float64": 1e-8, "u^(1/3), float64": 5e-6, "u^(1/3), float32": 4e-3},
    title="Too large a step is wrong, too small a step is noise",
    alt="Three curves in the form of a V. Central differences in float64 are best near a step of "
    "5e-6, with an error near 1e-10; forward differences near 1e-8, with an error near 1e-8; "
    "central differences in float32 near 4e-3, with an error near 1e-4.",
)

# %% [markdown]
# Each curve is a V, the right side straight and the left side noisy. (Where the curve of float32
# ends in a plateau, the step is so small that $x + \varepsilon = x$, and the slope comes out as 0.)
#
# - The right side is the error of the *formula*: $\varepsilon^2 f'''/6$ for central differences.
# - The left side is *rounding*. A value of $f$ is wrong by about $u |f|$, where $u$ is half of the
#   distance from 1 to the next number. The difference of two, divided by $2 \varepsilon$, is wrong
#   by up to $u |f| / \varepsilon$.
#
# The sum is smallest where the two are about equal, near $\varepsilon = u^{1/3}$, where the error
# is about $u^{2/3}$. For forward differences both are $u^{1/2}$: half of all digits are lost.

# %%
for dtype in (np.float64, np.float32):
    u = float(np.finfo(dtype).eps) / 2
    print(f"{dtype.__name__}: u = {u:.1e}")
    print(f"   central: step {u ** (1 / 3):.0e}, error about {u ** (2 / 3):.0e}")
    print(f"   forward: step {u ** (1 / 2):.0e}, error about {u ** (1 / 2):.0e}")

# %% [markdown]
# That is for a function whose values, arguments and derivatives are all about 1. The package takes
# $10^{-6}$: a little to the left of the best step, as it pays to stay close where there are kinks.
#
# ### float32 is for training
#
# Look at the third curve once more. In float32 even the best step leaves a large error, and of a
# step that is good in float64 nothing comes:

# %%
print(f"float32, step 3e-3: error {error(10**-2.5, np.float32, True):.0e}")
print(f"float32, step 1e-6: error {error(1e-6, np.float32, True):.0e}")
print("1.3 + 1e-8 == 1.3 in float32:", np.float32(1.3) + np.float32(1e-8) == np.float32(1.3))

# %% [markdown]
# Small mistakes hide in such noise. So check in float64 and train in float32, with the same code
# (`model.astype(np.float64)`). The package insists:

# %%
try:
    gradcheck(F.tanh, np.ones(3, np.float32))
except TypeError as error_message:
    print(error_message)

# %% [markdown]
# ## One number at a time
#
# A layer has many inputs and many outputs. Two decisions make a check of it:
#
# 1. *Every* input is moved, one after the other. That is slow, and it names the place.
# 2. The outputs are made one number, $\sum_i v_i y_i$, with a weight $v_i$ for each. These $v_i$
#    are what arrives at the backward pass: the *cotangent*, called $dL/dV$ in the other chapters.
#
# Here is the half of `gradcheck` that knows no derivative:

# %%
print(inspect.getsource(numeric_gradients))

# %% [markdown]
# And the other half, in three lines, as a function that we shall use in this chapter. It returns
# the largest difference between the two.


# %%
def largest_error(operation, arrays, cotangent):
    """How far the gradients of an operation are from central differences, in its worst number."""
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    operation(*tensors).backward(cotangent)
    numeric = numeric_gradients(operation, arrays, cotangent)
    return max(np.abs(t.grad - n).max() for t, n in zip(tensors, numeric))


x = np.array([[0.0, np.log(3.0)]])
print("tanh is right to 1e-8:", largest_error(F.tanh, [x], np.ones((1, 2))) < 1e-8)

# %% [markdown]
# ## Never with ones
#
# Why should the weights $v_i$ not all be 1? One often sees `y.sum().backward()` in a test. Take
# softmax. For the row $(0, \ln 3)$ it gives $(1, 3)$ divided by 4:

# %%
y = F.softmax(x).data[0]
print("softmax:", y.round(6))

# %% [markdown]
# Move the first input. The first output rises, the second falls by the same amount, as the sum
# stays 1. By hand, with $\partial y_i / \partial x_j = y_i (\delta_{ij} - y_j)$:

# %%
print("dy/dx_1 =", [0.25 * (1 - 0.25), 0.75 * (0 - 0.25)])
print("with the weights (1, 1):", 0.25 * (1 - 0.25) + 0.75 * (0 - 0.25))
print("with the weights (1, 0):", 0.25 * (1 - 0.25))

# %% [markdown]
# With ones the right answer is 0, whatever the input. A softmax whose backward pass returns zeros
# passes such a test, and will never learn anything:


# %%
@op
def lazy_softmax(x):
    e = np.exp(x)

    def backward(dy):
        return np.zeros_like(x)

    return e / e.sum(axis=-1, keepdims=True), backward


rng = np.random.default_rng(10)
rows = rng.standard_normal((3, 4))
for name, v in {"ones": np.ones((3, 4)), "random": rng.standard_normal((3, 4))}.items():
    for operation in (F.softmax, lazy_softmax):
        passes = largest_error(operation, [rows], v) < 1e-7
        print(f"{name:>6} cotangent, {operation.__name__:>12}: {'passes' if passes else 'CAUGHT'}")

# %% [markdown]
# The same happens wherever a sum of outputs is constant, and more quietly wherever gradients are
# sent to the wrong place: with ones, all that arrives looks alike. A *random* cotangent has no such
# blind spot: that errors cancel for random weights has probability 0. `gradcheck` draws one.
#
# ## Kinks: when right code fails
#
# Chapter 8: where the point is on a whole pixel, $V$ has a slope from the left and one from the
# right. Central differences straddle the kink and measure something between them. Rows 1 and 2 of
# our image, read at $y = 1.75$ along $x$:

# %%
U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)


def V(x):
    """The image at (x, 1.75), for an array of x."""
    points = x, np.full(len(x), 1.75)
    return reference.eq03_sample(U[None], *points, reference.eq05_bilinear_kernel)[0]


print("at x = 2, y = 1.75:")
for step in (0.1, 1e-6):
    at = np.array([2 - step, 2, 2 + step])
    below, here, above = V(at)
    left, right, central = here - below, above - here, (above - below) / 2
    print(f"step {step:g}: left {left / step:.4f}, right {right / step:.4f},", end=" ")
    print(f"central {central / step:.4f}")

# %%
x = np.linspace(1.4, 2.6, 241)
exact = reference.eq07_grad_xs(U[None], x, np.full(len(x), 1.75))[0]
plots.curves_figure(
    {
        "the derivative": (x, exact),
        "central, step 0.3": (x, (V(x + 0.3) - V(x - 0.3)) / 0.6),
        "central, step 0.1": (x, (V(x + 0.1) - V(x - 0.1)) / 0.2),
    },
    jump=2,
    title="dV/dx at y = 1.75, and what central differences make of it",
    xlabel="x (pixels)",
    ylabel="dV/dx",
    alt="The derivative jumps from 0.5 to -6 at x = 2. Central differences go from one to the "
    "other in a straight ramp, as wide as the step on both sides.",
)

# %% [markdown]
# Between whole pixels $V$ is a straight line along $x$, and the difference is exact for any step
# that stays in the cell. Within one step of a kink it is wrong, and at the kink it is the mean of
# both sides, $-2.75$ here, which is neither. So `gradcheck` fails on the package's own sampler,
# which is right, at the identity, where all points are on pixels:

# %%
images = rng.standard_normal((1, 2, 5, 4))
identity = np.array([[[1.0, 0, 0], [0, 1, 0]]])


def transformer(U, theta):
    return F.grid_sample(U, F.affine_grid(theta, U.shape))


for name, theta in {"identity": identity, "a little off": identity + 0.03}.items():
    try:
        print(f"{name}: {gradcheck(transformer, [images, theta])}")
    except GradcheckError as failure:
        print(f"{name}: {str(failure).split(' by more')[0]}")

# %% [markdown]
# (Only input 1, $\theta$, fails. The output is linear in the image, and a straight line has no
# kinks.)
#
# The rule: choose inputs that keep a distance from all kinks, much larger than the step. For the
# sampler these are whole pixels, for ReLU the 0, for max pooling two equal values. Random points
# mostly keep it by themselves; to be sure, draw them so (the third exercise). What happens *at* the
# kinks has to be checked by other means: by one-sided differences, `side="right"` in the function
# above.
#
# ## Five planted bugs
#
# Now to the catch. `stn_numpy.verify` holds a collection of wrong backward passes of the sampler;
# each is the right one with one mistake. We plant some of them behind the right forward pass.


# %%
def planted(*mistakes):
    """A sampler whose output is right, and whose gradients are not."""

    @op
    def sampler(U, G):
        def backward(dV):
            return tuple(
                wrong_sampler(frozenset(mistakes), name, dV, U, G) for name in ("input", "grid")
            )

        return F.grid_sample(U, G).data, backward

    return sampler


def points(N, rows, columns, H, W, low=0, high=-1):
    """Random points (N, rows, columns, 2), normalised, at least a tenth of a pixel off whole ones.

    low, high: how many pixels beyond the first and the last they may be.
    """
    cells = rng.integers(low, (W + high, H + high), (N, rows, columns, 2))
    pixels = cells + rng.uniform(0.1, 0.9, cells.shape)
    return (2 * pixels + 1) / np.array([W, H]) - 1


bugs = {
    "nothing": (),
    "dx and dy exchanged": ("stored (y, x)",),
    "size / 2 is missing": ("unit missing",),
    "W / 2 for H / 2": ("unit of other axis",),
    "last write, no sum": ("last write, buffered",),
    "clipped, then weighed": ("clip before weight",),
}
image, G = rng.standard_normal((2, 3, 5, 4)), points(2, 4, 6, 5, 4, low=-2, high=2)
for name, mistakes in bugs.items():
    try:
        gradcheck(planted(*mistakes), [image, G])
        print(f"{name}: passes")
    except GradcheckError as failure:
        print(f"{name}: CAUGHT")
        print("   ", str(failure).split(" by more")[0])

# %% [markdown]
# `gradcheck` says *that* a gradient is wrong, and where. The place is a hint: if only some values
# of the image's gradient are wrong, think of the border, or of pixels that are read twice. `verify`
# goes on from there. It makes the known mistakes itself, alone and together, until one gives the
# same numbers as yours:

# %%
for name, mistakes in bugs.items():
    report = verify(planted(*mistakes), against="grid_sample")
    print(f"{name}: {', '.join(report.names) or 'right'}")

print()
print(verify(planted("unit missing"), against="grid_sample").advice())

# %% [markdown]
# ## A test is as good as its input
#
# All six verdicts above were right. Was that luck? Let us take ten samplers and test each of them
# on inputs that are more or less thoughtful.


# %%
@op
def ignores_dV(U, G):
    def backward(dV):
        ones = np.ones_like(dV)
        return tuple(wrong_sampler(frozenset(), name, ones, U, G) for name in ("input", "grid"))

    return F.grid_sample(U, G).data, backward


samplers = {"right": planted(), "dV is not used": ignores_dV}
samplers |= {name: planted(*mistakes) for name, mistakes in bugs.items() if mistakes}
samplers |= {
    "channels summed first": planted("channels"),
    "reads the first image": planted("first image"),
    "Eq. (7) as printed": planted("printed (7)"),
}

small, square = (1, 1, 2, 2), (1, 1, 6, 6)
on_pixels = np.stack([rng.integers(1, 7, (2, 3, 2)), rng.integers(1, 3, (2, 3, 2))], axis=-1)
tests = {
    "2 x 2,\none point,\nones": (small, points(1, 1, 1, 2, 2)),
    "the same,\nrandom": (small, points(1, 1, 1, 2, 2)),
    "6 x 6,\ntwo points": (square, points(1, 1, 2, 6, 6)),
    "2 images,\n3 channels,\n5 x 4": ((2, 3, 5, 4), points(2, 3, 4, 5, 4)),
    "and points\noutside": ((2, 3, 5, 4), points(2, 4, 6, 5, 4, low=-2, high=2)),
    "points on\npixels": ((2, 3, 4, 8), (2 * on_pixels + 1) / np.array([8, 4]) - 1),
}
verdicts = {}
for bug, sampler in samplers.items():
    verdicts[bug] = []
    for test, (shape, G) in tests.items():
        cotangent = rng.standard_normal((*shape[:2], *G.shape[1:3]))
        if "ones" in test:
            cotangent = np.ones_like(cotangent)
        wrong = largest_error(sampler, [rng.standard_normal(shape), G], cotangent) > 1e-6
        verdicts[bug].append("passes" if not wrong else "FALSE" if bug == "right" else "caught")

caught = np.array([[word == "caught" for word in row] for row in verdicts.values()])
print("caught by each test, of 9:", caught.sum(axis=0))

# %%
plots.verdicts_figure(
    list(verdicts),
    list(tests),
    list(verdicts.values()),
    words=["passes", "caught", "FALSE"],
    title="Which test catches which bug",
    alt="A table of ten samplers and six tests. The smaller and the more regular the input, the "
    "fewer bugs are caught. Points on pixels catch all, and reject the right sampler as well.",
)

# %% [markdown]
# Read it column by column.
#
# - *2 x 2, one point.* The most convenient input sees the least. With $W = 2$, the factor $W/2$ is
#   1, so nobody can tell whether it is there. One point reads no pixel twice. And with ones, even a
#   gradient that ignores what arrives is accepted.
# - *6 x 6.* On a square, $W/2$ and $H/2$ are the same. With one channel and one image there is
#   nothing to mix up.
# - *2 images, 3 channels, 5 x 4.* All sizes are different, and there are more points than cells, so
#   some pixels are read several times. That is the test to write.
# - *And points outside.* Bugs live at borders.
# - *Points on pixels.* Everything fails, and the right sampler too: a false alarm. This test says
#   nothing.
#
# The last row is the uncomfortable one. Eq. (7) as printed is wrong on pixels only. Off the pixels
# central differences can not see it, and on the pixels they can not be believed. `verify` compares
# with the derivative from the right there, and has no such gap:

# %%
for bug, sampler in samplers.items():
    report = verify(sampler, against="grid_sample")
    assert bool(report) == (bug == "right")
    print(f"{bug}: {', '.join(report.names) or 'right'}")

# %% [markdown]
# ## Two evaluations instead of thousands
#
# A network has thousands of parameters, and moving one after the other takes two forward passes
# for each. There is a check that takes two in all: move *all* parameters at once, along a random
# direction $d$. The loss has to change by $\sum_j g_j d_j$ for each unit of the step, where $g$ is
# the gradient. Here for an ST-CNN on four digits, with directions of length 1. (All parameters are
# moved a little first: a fresh transformer is the identity, which is full of kinks.)

# %%
net = models.build("st-cnn", width=8, rng=rng).astype(np.float64)
parameters = net.parameters()
for parameter in parameters:
    parameter.data += 0.02 * rng.standard_normal(parameter.shape)
digits = load_digits()
four, labels = digits.train_images[:4, None] / 255, digits.train_labels[:4]


def loss():
    return F.cross_entropy(net(four), labels)


def slope_along(direction, step=1e-6):
    """The slope of the loss along a direction in the space of all parameters."""
    values = []
    for sign in (1, -1):
        for parameter, d in zip(parameters, direction):
            parameter.data += sign * step * d
        with no_grad():
            values.append(loss().item())
        for parameter, d in zip(parameters, direction):
            parameter.data -= sign * step * d
    return (values[0] - values[1]) / (2 * step)


def random_direction():
    direction = [rng.standard_normal(parameter.shape) for parameter in parameters]
    length = np.sqrt(sum((d * d).sum() for d in direction))
    return [d / length for d in direction]


loss().backward()
print("parameters:", net.num_parameters())
print("forward passes of a full check:", 2 * net.num_parameters())
for _ in range(3):
    direction = random_direction()
    by_gradient = sum((p.grad * d).sum() for p, d in zip(parameters, direction))
    by_difference = slope_along(direction)
    print(f"gradient {by_gradient:.7f}, differences {by_difference:.7f}")
    assert abs(by_gradient - by_difference) < 1e-8

# %% [markdown]
# What do you pay? It says nothing about *where* an error is. And it sees each number only through
# its share $d_j$ of a direction of length 1, which for $n$ numbers is about $1 / \sqrt{n}$: a small
# error falls below the rounding of the difference. Let us spoil the gradient of a single number
# among the thousands, the largest of the first layer, by less and less, and ask for agreement to
# $10^{-8}$ as above:

# %%
index = np.unravel_index(np.abs(parameters[0].grad).argmax(), parameters[0].shape)
for part in (1, 1e-1, 1e-2, 1e-3, 1e-4):
    change = abs(part * parameters[0].grad[index] * direction[0][index])
    seen = "seen" if change > 1e-8 else "NOT seen"
    print(f"one number wrong by {part:g} of itself: the slope by {change:.0e}, {seen}")

# %% [markdown]
# Use both: the full check for each layer, on small inputs; the direction for the assembled network,
# where what is checked is that the layers are put together rightly. Mind the kinks of all the ReLUs
# and poolings: a long step crosses some of them.

# %%
for step in (1e-1, 1e-2, 1e-6):
    off = abs(slope_along(direction, step) / by_gradient - 1)
    print(f"step {step:.0e}: the slope is {'right' if off < 1e-6 else 'off'}")

# %% [markdown]
# ### Myth: "the check passes, so the gradient is right"
#
# What does a check that passes *not* say?
#
# **That you compute what you wanted.** A check compares a gradient with *its own* forward pass. A
# sampler that takes $y$ for $x$, forwards and backwards, is consistently wrong:


# %%
@op
def consistently_wrong(U, G):
    made = frozenset(["read (y, x)"])

    def backward(dV):
        return tuple(wrong_sampler(made, name, dV, U, G) for name in ("input", "grid"))

    return wrong_sampler(made, "output", None, U, G), backward


image, G = rng.standard_normal((2, 3, 5, 4)), points(2, 4, 6, 5, 4)
print("gradcheck:", gradcheck(consistently_wrong, [image, G]))
print("verify:   ", verify(consistently_wrong, against="grid_sample").names)

# %% [markdown]
# The forward pass needs a witness of its own: a literal loop, another library, an example by hand.
# That is why this book has `reference.py`.
#
# **That it is right elsewhere.** Here is a ReLU that lets everything pass backwards. On an input
# where all is positive nothing is wrong:


# %%
@op
def careless_relu(x):
    return np.maximum(x, 0), lambda dy: dy.copy()


for name, x in {"positive": np.array([0.5, 2.0]), "both signs": np.array([0.5, -2.0])}.items():
    passes = largest_error(careless_relu, [x], np.array([0.3, -1.2])) < 1e-7
    print(f"{name}: {'passes' if passes else 'CAUGHT'}")

# %% [markdown]
# The same goes for a network whose ReLUs are all dead at the place of the check: 0 equals 0.
#
# **That it is right in float32**, at a kink, for huge numbers, or in the next version of the code.
# A check is an experiment. It can refute a gradient, and it can not prove one; what makes it worth
# something is how many wrong gradients it *would* have refuted. So test your test: plant a bug, and
# see whether it is caught.
#
# ## Exercises
#
# **Exercise 10.1.** For central differences, the two errors add up to
#
# $$ \frac{u\,|f|}{\varepsilon} + \frac{\varepsilon^2}{6} |f'''| . $$
#
# For which $\varepsilon$ is that smallest? Derive it on paper; the answer depends on $u$, $|f|$ and
# $|f'''|$.


# %%
def best_step(u, f, third):
    """The best step; u, f and third are positive: the rounding, |f| and its third derivative."""
    ### BEGIN SOLUTION
    # The derivative, -u f / eps^2 + eps third / 3, is 0 where eps^3 = 3 u f / third.
    return (3 * u * f / third) ** (1 / 3)
    ### END SOLUTION


# %%
check("10.1", best_step)

# %% [markdown]
# **Exercise 10.2.** The backward pass that the lazy softmax was too lazy for. With $\partial y_i /
# \partial x_j = y_i (\delta_{ij} - y_j)$, what arrives at $x_j$ is a sum over $i$; sort it on paper
# until no matrix is left.


# %%
def backward_of_softmax(dy, x):
    """dL/dx (N, K) for y = softmax of each row of x (N, K), and dy = dL/dy (N, K)."""
    ### BEGIN SOLUTION
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    ### END SOLUTION


# %%
check("10.2", backward_of_softmax)

# %% [markdown]
# **Exercise 10.3.** Points for a check: random coordinates along one axis of an image of `size`
# pixels, from $-1$ to `size`, none of them nearer to a whole number than `margin` (below 1/2).
# Every cell between two whole numbers should get its share, also the two half outside.


# %%
def safe_points(rng, count, size, margin):
    """An array (count,) of coordinates in pixels, drawn with the generator rng."""
    ### BEGIN SOLUTION
    return rng.integers(-1, size, count) + rng.uniform(margin, 1 - margin, count)
    ### END SOLUTION


# %%
check("10.3", safe_points)

# %% [markdown]
# **Exercise 10.4.** Write the test. It is given a sampler `(U, G) -> V`, an operation on Tensors,
# whose output is right. It returns True if the gradients are right as well, and False if they are
# not. `check` hands it the right one and a dozen with a bug. (Bugs that show on whole pixels only
# are not among them.)


# %%
def is_right(sampler):
    """Whether the gradients of this sampler are right: True or False."""
    ### BEGIN SOLUTION
    rng = np.random.default_rng(1)
    N, C, H, W = 2, 3, 5, 4
    cells = rng.integers(-2, (W + 1, H + 1), (N, 6, 7, 2))
    G = (2 * (cells + rng.uniform(0.1, 0.9, cells.shape)) + 1) / np.array([W, H]) - 1
    try:
        return gradcheck(sampler, [rng.standard_normal((N, C, H, W)), G])
    except GradcheckError:
        return False
    ### END SOLUTION


# %%
check("10.4", is_right)
