# %% [markdown]
# # 11 The localisation net
#
# *About 50 minutes. Needs chapter 9 (the gradient of $\theta$) and an idea of what a layer is.
# Puts the whole module together, and follows the gradient through it in the very first step. Shows
# Eq. (2) as a head with three outputs.*
#
# **The question.** Chapter 9 found a $\theta$ for one image. A network meets a new image every
# time, and has to look at each in its own way. Where do the six numbers come from? And what should
# a network do with them that has learned nothing yet?

# %%
import inspect

import numpy as np

from stn_numpy import functional as F
from stn_numpy import gradcheck, models, nn, plots, reference
from stn_numpy.autograd import Tensor
from stn_numpy.data import load_digits
from stn_numpy.exercises import check
from stn_numpy.optim import SGD
from stn_numpy.spatial_transformer import SpatialTransformer, start_at_identity
from stn_numpy.transforms import Affine, Attention

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
digits = load_digits()

# %% [markdown]
# ## A network that answers with six numbers
#
# The paper's answer is short: $\theta$ is the output of a network that looks at the image. Any
# network will do, the *localisation net*, as long as it ends with a layer of six outputs. It is
# learned like all other layers, from the gradient of $\theta$, and nobody ever tells it a right
# $\theta$.
#
# %%
plots.module_figure()

# %% [markdown]
# `SpatialTransformer` is three statements, one for each part of the picture:

# %%
print(inspect.getsource(SpatialTransformer.forward))

# %% [markdown]
# $U$ stands in two of them: once it is looked at, once it is read.
#
# ## The smallest localisation net
#
# Take our 4 x 4 image and a localisation net of a single layer, $\theta = W u + b$. Here $u$ are
# the sixteen pixels, $W$ is a 6 x 16 matrix and $b$ has six numbers. We build it with random
# weights and hand it to the transformer:

# %%
rng = np.random.default_rng(11)
localisation = nn.Sequential(nn.Flatten(), nn.Linear(16, 6, rng=rng))
transformer = SpatialTransformer(localisation, Affine()).astype(np.float64)
print(transformer)

layer = localisation[1]
print("largest weight:", np.abs(layer.weight.data).max())
print("bias:          ", layer.bias.data)

# %% [markdown]
# The random weights are gone! The transformer has set $W$ to 0, and $b$ to the identity. So
# $\theta$ is the identity, whatever the image, and a fresh transformer returns its input. With 4 x
# 4 pixels it does so to the last bit. With 28 x 28 it does up to rounding, as some coordinates are
# a hair off their pixel (chapter 8):

# %%
fresh = transformer(U[None, None]).data[0, 0]
assert np.array_equal(fresh, U)
print(fresh)

eight = digits.test_images[:1, None] / 255
wider = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 6))
read = SpatialTransformer(wider, Affine()).astype(np.float64)(eight).data
assert np.abs(read - eight).max() < 1e-14
print("28 x 28 pixels differ by less than 1e-14:", np.abs(read - eight).max() < 1e-14)

# %% [markdown]
# A network with a fresh transformer in front computes what it would compute without one, up to
# rounding, and goes on from there. Here is the function that sets it so:

# %%
print(inspect.getsource(start_at_identity).split('"""')[2])

# %% [markdown]
# But can a layer learn whose weights are all 0?
#
# ## The first gradients, by hand
#
# Let the sixteen numbers of the last chapters arrive from above. At the identity every pixel is
# read where it is, so $dV/dx$ (from the right) is the right neighbour minus the pixel itself; what
# is outside is 0. Times $dL/dV$, and we have $dL/dx$ in pixels:

# %%
dV = np.array([[1, -1, 2, 0], [0, 3, 1, -2], [1, 0, -1, 2], [2, 1, 0, 1]], dtype=float)

to_the_right = np.diff(U, axis=1, append=0)
dx = dV * to_the_right + 0.0  # + 0.0 makes -0.0 a plain 0.0
print("dV/dx:\n", to_the_right)
print("dL/dx:\n", dx)
print("sums of the columns:", dx.sum(axis=0))

# %% [markdown]
# Eq. (theta) of chapter 9, in normalised coordinates: a step of 1 is 2 pixels, and the targets of
# the four columns are $\mp 3/4$ and $\mp 1/4$.

# %%
print("dL/dtheta_11 =", 2 * (-0.75 * 13 - 0.25 * -17 + 0.25 * 2 + 0.75 * -3))
print("dL/dtheta_13 =", 2 * (13 - 17 + 2 - 3))

# %% [markdown]
# The tape knows all six. Now the layer. From $\theta_k = \sum_j W_{kj} u_j + b_k$, with $g =
# dL/d\theta$:
#
# $$
# \frac{\partial L}{\partial b_k} = g_k, \qquad
# \frac{\partial L}{\partial W_{kj}} = g_k u_j, \qquad
# \frac{\partial L}{\partial u_j} = \sum_k g_k W_{kj} .
# $$
#
# The bias receives $g$ itself. A weight receives $g_k$ times its input, *whatever the weight is*,
# so it is not 0 only because the weight is. But what is handed on to the layer below is multiplied
# by
# $W$, and that *is* 0.

# %%
transformer.zero_grad()
image = Tensor(U[None, None], requires_grad=True)
transformer(image).backward(dV[None, None])

g, u = layer.bias.grad, U.ravel()
print("bias: ", g)

dW = np.zeros((6, 16))
for k in range(6):
    for j in range(16):
        dW[k, j] = g[k] * u[j]
assert np.array_equal(layer.weight.grad, dW)
assert np.array_equal(layer.weight.grad, np.outer(g, u))
print("weights of theta_13, one for each pixel:\n", layer.weight.grad[2].reshape(4, 4))
print("handed on to the pixels, at most:", np.abs(g @ layer.weight.data).max())

# %% [markdown]
# Each weight of $\theta_{13}$ received $-10$ times its pixel. So after one step the layer answers
# differently to different images, and the next time something is handed on.

# %%
plots.chain_figure(
    [
        ("features h", "any", "0, as W = 0"),
        ("theta = W h + b", "1  0  0\n0  1  0", "g, to b\ng times h, to W"),
        ("grid G", "each pixel\nitself", "dL/dG"),
        ("V", "U itself", "dL/dV"),
    ],
    forward=["W = 0", "Eq. (1)", "Eqs. (3), (5)"],
    backward=["times W", "sum over\nall points", "Eq. (7)"],
    title="The first step of a fresh transformer",
    alt="A chain of features, theta, grid and output. Forwards it gives the identity. Backwards "
    "the gradient reaches theta, its bias and its weights, but not the features before them.",
)

# %% [markdown]
# ## The image is used twice
#
# The image receives two gradients: that of the pixels that were read (Eq. (6), chapter 7), and one
# through the localisation net: had the image been another, it would have been read elsewhere. The
# tape adds them. To see them apart, we cut one path or the other with `detach`. First fresh, then
# with some weights.


# %%
def gradients_of_the_image():
    """dL/dU as it is, through the sampler alone, and through the localisation net alone."""
    found = []
    for looks, reads in ((True, True), (False, True), (True, False)):
        image = Tensor(U[None, None], requires_grad=True)
        theta = localisation(image if looks else image.detach())
        G = Affine().grid(theta, image.shape)
        F.grid_sample(image if reads else image.detach(), G).backward(dV[None, None])
        found.append(image.grad[0, 0])
    return found


both, sampler, through_theta = gradients_of_the_image()
assert np.array_equal(both, sampler + through_theta)
print("fresh, largest through the localisation net:", np.abs(through_theta).max())

layer.weight.data[...] = 0.002 * rng.standard_normal((6, 16))
both, sampler, through_theta = gradients_of_the_image()
assert np.allclose(both, sampler + through_theta, rtol=0, atol=1e-12)
print("later, through the sampler:\n", sampler.round(3))
print("later, through the localisation net:\n", through_theta.round(3))

# %% [markdown]
# The whole module, with all that it hangs on, passes the gradient check of chapter 10, away from
# the identity, where there are no kinks:


# %%
def whole_module(U, W, b):
    theta = F.linear(F.flatten(U), W, b)
    return F.grid_sample(U, Affine().grid(theta, (2, 3, 3, 4)))


W = 0.1 * rng.standard_normal((6, 3 * 5 * 4))
b = np.array([0.9, 0.1, 0.05, -0.1, 1.1, -0.05])
print(gradcheck(whole_module, [rng.standard_normal((2, 3, 5, 4)), W, b]))

# %% [markdown]
# ## What each parameter receives
#
# A real one now: the paper's ST-CNN, with eight filters, on 32 digits. We take three steps of
# gradient descent, and write down the norm of every parameter's gradient.

# %%
net = models.build("st-cnn", width=8, rng=np.random.default_rng(5)).astype(np.float64)
batch, labels = digits.train_images[:32, None] / 255, digits.train_labels[:32]


def norms_while_learning(net, steps, rate=0.05):
    """The norm of each parameter's gradient, at every step."""
    optimiser, norms = SGD(net.parameters(), lr=rate), {}
    for step in range(1, steps + 1):
        net.zero_grad()
        F.cross_entropy(net(batch), labels).backward()
        norms[f"step {step}"] = {
            name.removeprefix("transformer."): np.linalg.norm(parameter.grad)
            for name, parameter in net.named_parameters()
        }
        optimiser.step()
    return norms


norms = norms_while_learning(net, 3)
for name, first in norms["step 1"].items():
    print(f"{name:22} step 1: {first:<7.2g} step 2: {norms['step 2'][name]:.2g}")

# %%
plots.flow_figure(
    norms,
    title="Who receives what, in the first three steps",
    alt="In step 1 the gradients of all localisation layers but the last are 0; those of its last "
    "layer and of the classifier are between 0.01 and 1. From step 2 on all receive something, the "
    "early localisation layers a ten-thousandth of the others.",
)

# %%
early = [name for name in norms["step 1"] if name.startswith("localisation") and ".9." not in name]
for name in early:
    assert norms["step 1"][name] == 0
    assert norms["step 2"][name] > 0
print("exactly 0 in step 1, not in step 2:", len(early), "parameters")

# %% [markdown]
# One step is lost to the early layers, and they wake up slowly, as their gradient is multiplied by
# the small weights that the last layer has by then. That is the price. (If you look for a bug
# because "the localisation net has no gradient": look again after the second step.)
#
# ### Myth: "weights of zero can not learn"
#
# It is true of a network whose weights *and biases* are all 0. Then $h$ is 0, and $g_k h_j$ is 0 as
# well: only the last bias moves, for ever. (With biases that are not 0, $h$ is not 0 either.) The
# transformer sets the *last* layer to 0, and leaves those before it random:


# %%
def moved(zero=()):
    """Which parameters of a localisation net have moved after five steps, if these were 0."""
    net = models.build("st-fcn", width=8, rng=np.random.default_rng(5)).astype(np.float64)
    inside = net[0].localisation
    for name, parameter in inside.named_parameters():
        if "7." not in name and name.endswith(zero):  # the last layer stays at the identity
            parameter.data[...] = 0
    before = inside.state_dict()
    norms_while_learning(net, 5)
    return [name for name, now in inside.state_dict().items() if np.any(now != before[name])]


print("last layer 0:          ", *moved())
print("all weights 0:         ", *moved(("weight",)))
print("all weights, biases 0: ", *moved(("weight", "bias")))
assert moved(("weight", "bias")) == ["7.bias"] and "7.weight" in moved(("weight",))

# %% [markdown]
# ## Why the identity?
#
# Because a random $\theta$ looks anywhere. Here is a digit as the classifier would see it at first,
# with the identity and with three times six random numbers from $-1$ to $1$:

# %%
four = np.repeat(digits.test_images[2:3, None] / 255, 4, axis=0)
thetas = np.array([[1.0, 0, 0, 0, 1, 0]] * 4)
thetas[1:] = rng.uniform(-1, 1, (3, 6))
grids = Affine().grid(thetas, four.shape)
plots.transformer_figure(
    four[:, 0],
    grids.data,
    F.grid_sample(four, grids).data[:, 0],
    title="What a classifier sees on the first day",
    labels=["identity", "random", "random", "random"],
    alt="With the identity the classifier sees the digit. With random numbers it sees a slanted, "
    "mirrored or enlarged piece of it.",
)

# %% [markdown]
# Worse: some places give no gradient at all. If all points are outside of the image, the output is
# 0 and stays 0 however $\theta$ moves a little. There is nothing to learn from, and no way back:

# %%
for shift in (0.0, 1.0, 3.0):
    theta = Tensor(np.array([[1.0, 0, shift, 0, 1, 0]]), requires_grad=True)
    V = F.grid_sample(four[:1], Affine().grid(theta, (1, 1, 28, 28)))
    F.sum(V * V).backward()
    print(f"shift {shift}: brightest {V.data.max():.2f}, gradient {np.abs(theta.grad).max():.2f}")

# %% [markdown]
# "The output has gone blank" is a common complaint about spatial transformers. The remedies: start
# at the identity, and let the localisation net learn more slowly than the rest.
#
# ## Nothing may squash theta
#
# It seems careful to keep $\theta$ within bounds, by a tanh behind the last layer. Published
# programs do it. What becomes of the identity?

# %%
identity = Affine().identity().astype(float)
for squash in (F.tanh, F.sigmoid, F.relu):
    print(f"{squash.__name__:8}", squash(identity).data.round(4))

# %%
squashed = F.tanh(identity).data
plots.warp_figure(
    digits.test_images[2] / 255,
    squashed.reshape(2, 3),
    title="The identity, after a tanh",
    alt="The grid covers only the middle of the digit, and the output is enlarged and cut off.",
)

# %% [markdown]
# $\tanh 1 = 0.7616$: the "identity" cuts the border off and enlarges the rest by 1.313. It can not
# be repaired by another bias, as no number has the tanh 1. To see the whole image, the net would
# have to push its outputs to infinity, where the slope of tanh is 0:

# %%
print("enlarged by", round(1 / np.tanh(1), 4))
first = reference.to_pixels(np.tanh(1) * reference.to_normalised(0, 28), 28)
print("the first of 28 columns is read at x =", round(first, 2))
for output in (1, 2, 4, 8):
    print(f"output {output}: scale {np.tanh(output):.4f}, slope {1 - np.tanh(output) ** 2:.1e}")

# %% [markdown]
# The sigmoid makes 1/2 of every 0, so the grid is flattened towards a diagonal line. The ReLU keeps
# the identity, and is a trap: four of the six numbers are 0, where its slope is 0, so those four
# never learn:

# %%
raw = Tensor(identity[None], requires_grad=True)
V = F.grid_sample(U[None, None], Affine().grid(F.relu(raw), (1, 1, 4, 4)))
V.backward(dV[None, None])
print("gradient behind a ReLU: ", raw.grad[0] + 0.0)
print("gradient without it:    ", g)

# %% [markdown]
# So the package insists on a localisation net that ends with a linear layer:

# %%
try:
    SpatialTransformer(nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh()), Affine())
except ValueError as refusal:
    print(refusal)

# %% [markdown]
# If you need bounds, bound the *difference* from the identity (the third exercise).
#
# ## A head with three outputs
#
# For cropping, zooming and shifting, three numbers are enough. This is Eq. (2), the paper's
# *attention*:
#
# $$ A_\theta = \begin{pmatrix} s & 0 & t_x \\ 0 & s & t_y \end{pmatrix} \tag{2} $$
#
# With $s = 0.5$ and $t_x = t_y = 2$ in pixels, the pixel $(1, 1)$ is read at $(2.5, 2.5)$ once
# more. Which gradient reaches the three numbers? $t_x$ and $t_y$ stand in the matrix once, and
# receive what their place receives. $s$ stands there twice, and receives the sum of both. From Eq.
# (theta):

# %%
x_t, y_t = (points.ravel() for points in np.meshgrid(np.arange(4.0), np.arange(4.0)))
x_s, y_s = reference.eq02_attention_grid(0.5, 2, 2, x_t, y_t)
print("s = 0.5: pixel (1, 1) is read at", (float(x_s[5]), float(y_s[5])))

dx = reference.grad_xs(dV.reshape(1, 16), reference.eq07_grad_xs(U[None], x_s, y_s))
dy = reference.grad_xs(dV.reshape(1, 16), reference.eq07_grad_ys(U[None], x_s, y_s))
print("dL/dA, in pixels:\n", reference.grad_theta(dx, dy, x_t, y_t))
print("dL/ds   =", -19 - 45)
print("dL/dt_x =", -9.0)
print("dL/dt_y =", -13.5)

# %% [markdown]
# The package has it in normalised coordinates, where $s$ is the same and $t_n = \frac{1}{2}
# (\frac{3}{2} s + t) - \frac{3}{4}$. By the rule of chapter 9, $s$ receives $-64$ minus
# $\frac{3}{2}$ times what the two shifts receive, and a shift twice as much as in pixels:

# %%
by_hand = [-64 - 1.5 * (-9 - 13.5), 2 * -9, 2 * -13.5]
t_n = 0.5 * (1.5 * 0.5 + 2) - 0.75
theta = Tensor(np.array([[0.5, t_n, t_n]]), requires_grad=True)
A = F.attention_matrix(theta)
G = F.affine_grid(A, (1, 1, 4, 4))
F.grid_sample(U[None, None], G).backward(dV[None, None])
print("t_n:", t_n, "  gradient:", theta.grad[0])

points = reference.to_pixels(G.data[0], 4)
assert np.array_equal(points[..., 0].ravel(), x_s), "Eq. (2): loop and package differ along x"
assert np.array_equal(points[..., 1].ravel(), y_s), "Eq. (2): loop and package differ along y"
assert np.array_equal(theta.grad[0], by_hand), "Eq. (2): the gradient is not that by hand"
print(gradcheck(F.attention_matrix, rng.standard_normal((3, 3))))

# %% [markdown]
# With `Attention()` for `Affine()`, all the rest stays as it is. The identity is $(1, 0, 0)$:

# %%
head = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, rng=rng))
attention = SpatialTransformer(head, Attention(), output_size=(2, 2)).astype(np.float64)
print("theta:", attention.theta(U[None, None]).data[0])
print("output:\n", attention(U[None, None]).data[0, 0])

# %% [markdown]
# (An output of 2 x 2 pixels over the whole image: each is the mean of the four pixels around its
# point. A transformer may change the size as well.)
#
# ## Wires that lead nowhere
#
# Three ways to connect the parts wrongly; two of them stand in published programs. None of them
# crashes, and with each of them the loss falls, as the classifier learns on its own.


# %%
class Wired(nn.Module):
    """A transformer before a classifier of one layer, connected rightly or not."""

    def __init__(self, wiring):
        rng = np.random.default_rng(7)
        self.localisation = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 16, rng=rng), nn.ReLU(), nn.Linear(16, 6, rng=rng)
        )
        start_at_identity(self.localisation, Affine())
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(784, 10, rng=rng))
        self.wiring = wiring

    def theta(self, U):
        theta = self.localisation(0 * U if self.wiring == "the net is shown zeros" else U)
        return theta.detach() if self.wiring == "theta is cut off" else theta

    def forward(self, U):
        V = F.grid_sample(U, Affine().grid(self.theta(U), U.shape))
        return self.classifier(U if self.wiring == "the classifier reads U, not V" else V)


for wiring in (
    "right",
    "theta is cut off",
    "the classifier reads U, not V",
    "the net is shown zeros",
):
    net = Wired(wiring).astype(np.float64)
    optimiser, losses = SGD(net.parameters(), lr=0.05), []
    for _ in range(3):
        net.zero_grad()
        loss = F.cross_entropy(net(batch), labels)
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not np.any(p.grad)]
    apart = np.ptp(net.theta(batch).data, axis=0).max() > 0
    print(f"{wiring}: the loss falls {losses[2] < losses[0]}, theta differs by image {apart}")
    print("    no gradient:", ", ".join(silent) or "none")
    assert (not silent and apart) == (wiring == "right")

# %% [markdown]
# Two tests find all three, and are worth their few lines in any program with a spatial transformer:
# after the *second* step every parameter has a gradient that is not 0, and two different images
# have different $\theta$.
#
# ## Exercises
#
# **Exercise 11.1.** The last layer, for a batch: $\theta = h W^T + b$, with the features $h$ (N,
# I), the weights $W$ (P, I) and the bias $b$ (P). Given `dtheta` (N, P), what do the three receive?


# %%
def backward_of_last_layer(dtheta, h, W, b):
    """The gradients dL/dh (N, I), dL/dW (P, I) and dL/db (P,), in this order."""
    ### BEGIN SOLUTION
    return dtheta @ W, dtheta.T @ h, dtheta.sum(axis=0)
    ### END SOLUTION


# %%
check("11.1", backward_of_last_layer)

# %% [markdown]
# **Exercise 11.2.** The head of Eq. (2), backwards: from `dA` (N, 2, 3), the gradient of the
# matrix, to that of $(s, t_x, t_y)$.


# %%
def backward_of_attention(dA, theta):
    """dL/dtheta (N, 3), in the order s, t_x, t_y."""
    ### BEGIN SOLUTION
    return np.stack([dA[:, 0, 0] + dA[:, 1, 1], dA[:, 0, 2], dA[:, 1, 2]], axis=1)
    ### END SOLUTION


# %%
check("11.2", backward_of_attention)

# %% [markdown]
# **Exercise 11.3.** Somebody insists on bounds: no number of $\theta$ may ever be further than 1/2
# from the identity. Write the function that makes $\theta$ from the raw outputs of the last layer.
# At raw outputs of 0 it has to be the identity, with slope 1, so that nothing is slowed down. It
# has to rise everywhere: where it is flat, nothing is learned.


# %%
def bounded(raw):
    """theta (6,) from the raw outputs (6,) of a localisation net."""
    ### BEGIN SOLUTION
    identity = np.array([1, 0, 0, 0, 1, 0])
    return identity + 0.5 * np.tanh(2 * raw)
    ### END SOLUTION


# %%
check("11.3", bounded)

# %% [markdown]
# **Exercise 11.4.** The first of the two tests. Run the model on the images, let
# `F.cross_entropy(scores, labels)` go backwards, and return the names of all parameters that
# receive nothing: no gradient, or one that is 0 everywhere. The model may have gradients of an
# earlier step when it comes; `model.named_parameters()` and `model.zero_grad()` are all you need of
# it.


# %%
def unreached(model, images, labels):
    """A list of names."""
    ### BEGIN SOLUTION
    model.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not np.any(parameter.grad)
    ]
    ### END SOLUTION


# %%
check("11.4", unreached)
