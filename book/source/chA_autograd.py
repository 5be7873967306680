# %% [markdown]
# # A The autograd core from nothing
#
# *About 70 minutes. Needs the chain rule; its last part, chapters 2 and 6. Builds automatic
# differentiation in thirty lines, opens `stn_numpy/autograd.py`, and follows the two ways by which
# the loss of a spatial transformer reaches its image.*
#
# **The question.** A network computes one number, the loss, from a million others. By how much does
# it change if one of them does? How can one walk back over the computation answer that for all of
# them at once?

# %%
import inspect

import numpy as np

from stn_numpy import GradcheckError, Tensor, autograd, gradcheck, nn, op, plots
from stn_numpy import functional as F
from stn_numpy.exercises import check
from stn_numpy.spatial_transformer import SpatialTransformer
from stn_numpy.transforms import Affine

# %% [markdown]
# ## A spatial transformer made of single numbers
#
# A spatial transformer looks at its image $u$ to find $\theta$, and then reads the same image $u$
# with it. Shrink everything to single numbers, and let "reading" be a product. What is left is
#
# $$ \theta = w u + b, \qquad V = u \, \theta, \qquad L = (V - t)^2 $$
#
# With $u = 2$, $w = 3$, $b = 1$ and $t = 10$:

# %%
u, w, b, t = 2, 3, 1, 10
theta = w * u + b
V = u * theta
L = (V - t) ** 2
print("theta =", theta, "  V =", V, "  L =", L)

# %%
EDGES = [
    ("u", "wu"),
    ("w", "wu"),
    ("wu", "theta"),
    ("b", "theta"),
    ("u", "V"),
    ("theta", "V"),
    ("V", "d"),
    ("t", "d"),
    ("d", "L"),
    ("d", "L"),
]
plots.graph_figure(
    {
        "u": "u",
        "w": "w",
        "b": "b",
        "t": "t",
        "wu": "multiply\nw u",
        "theta": "add\ntheta",
        "V": "multiply\nV",
        "d": "subtract\nd = V - t",
        "L": "multiply\nL = d d",
    },
    EDGES,
    title="u is used twice: a diamond",
    alt="A chain of five operations from left to right: multiply, add, multiply, subtract, "
    "multiply. The leaf u leads to both the first and the second multiply; the last operation "
    "takes d twice.",
)

# %% [markdown]
# ## Back, by hand
#
# Start at the end, and ask at each step: how much does $L$ change, for each unit by which *this*
# number changes? The answer for the number that comes out of an operation is known; the chain rule
# multiplies it by the slope of the operation. We write $dV$ for $\partial L / \partial V$.

# %%
dL = 1
dd = dL * (V - t) + dL * (V - t)  # L = d d: d is both factors
dV = dd * 1  # d = V - t
dtheta = dV * u  # V = u theta
dwu = dtheta * 1  # theta = w u + b
db = dtheta * 1
dw = dwu * u
print("dV =", dV, "  dtheta =", dtheta, "  dw =", dw, "  db =", db)

# %% [markdown]
# And $u$? It was used twice. If it changes, $V$ changes by two routes: directly, as a factor of
# $V = u \, \theta$; and through $\theta$, because $\theta$ was found by looking at $u$. Both
# changes happen, so they add up:

# %%
direct = dV * theta
through_theta = dwu * w
du = direct + through_theta
print("direct:", direct, "  through theta:", through_theta, "  together: du =", du)

# %% [markdown]
# Is the sum right? Put the formulas into each other: $L = (3u^2 + u - 10)^2$, so $dL/du =
# 2 \, (3u^2 + u - 10)(6u + 1)$.

# %%
print(2 * (3 * u**2 + u - 10) * (6 * u + 1))
assert du == 2 * (3 * u**2 + u - 10) * (6 * u + 1)

# %% [markdown]
# ## The same in thirty lines
#
# Nothing in this needed thought. Every step multiplied by a slope that was known when the operation
# was made, so a program can note it down. A `Number` remembers what it was made from, with the
# slope to each. All numbers stand in one list in the order in which they were made, the **tape**.

# %%
tape = []


class Number:
    """A number that remembers what it was made from."""

    def __init__(self, value, inputs=(), slopes=()):
        self.value, self.grad = value, 0
        self.inputs, self.slopes = inputs, slopes
        self.serial = len(tape)  # its place on the tape
        tape.append(self)

    def __add__(self, other):
        return Number(self.value + other.value, (self, other), (1, 1))

    def __sub__(self, other):
        return Number(self.value - other.value, (self, other), (1, -1))

    def __mul__(self, other):
        return Number(self.value * other.value, (self, other), (other.value, self.value))


def walk(root):
    """Put d(root) / d(x) into x.grad, for every number x on the tape."""
    root.grad = 1
    for number in reversed(tape):
        for x, slope in zip(number.inputs, number.slopes):
            x.grad += slope * number.grad


# %% [markdown]
# That is all of automatic differentiation. Here is our example:


# %%
def diamond():
    """The numbers of the example by their names, on a new tape."""
    tape.clear()
    u, w, b, t = (Number(value) for value in (2, 3, 1, 10))
    wu = w * u
    theta = wu + b
    V = u * theta
    d = V - t
    return {"u": u, "w": w, "b": b, "t": t, "wu": wu, "theta": theta, "V": V, "d": d, "L": d * d}


numbers = diamond()
walk(numbers["L"])
assert numbers["u"].grad == du and numbers["w"].grad == dw and numbers["b"].grad == db
plots.graph_figure(
    {name: f"{name} = {number.value}\nd{name} = {number.grad}" for name, number in numbers.items()},
    EDGES,
    title="Values from left to right, gradients from right to left",
    alt="The same graph with numbers: L = 16, dL = 1; d = 4, dd = 8; V = 14, dV = 8; theta = 7, "
    "dtheta = 16; w u = 6 with 16; u = 2, du = 104; w = 3, dw = 32; b = 1, db = 16; t = 10, dt = "
    "-8.",
)

# %% [markdown]
# One walk gave all nine gradients. To ask by finite differences, one would have to compute $L$
# again for each of the four leaves; in a network, for each of a million.
#
# **Why backwards along the tape?** A number can pass its gradient on only when it is complete, when
# everything that *uses* the number has given its part. What uses a number was made after it. So who
# walks from the newest to the oldest finds every gradient complete. (Such an order is called
# *topological*.)
#
# Four things can go wrong.
#
# ### Myth: "the gradient of x is what the operation on x sends back"
#
# It is the *sum* of what all of them send. Write `=` instead of `+=`, and each overwrites what came
# before. On a chain, where everything is used once, this is right. That is why the mistake survives
# so many tests.


# %%
def walk_with_assignment(root):
    root.grad = 1
    for number in reversed(tape):
        for x, slope in zip(number.inputs, number.slopes):
            x.grad = slope * number.grad


tape.clear()
x = Number(5)
chain = (x + Number(1)) * Number(3)
walk_with_assignment(chain)
print("chain 3 (x + 1): dx =", x.grad)
assert x.grad == 3

numbers = diamond()
walk_with_assignment(numbers["L"])
print("diamond: du =", numbers["u"].grad, "  right is", du)
assert numbers["u"].grad != du

# %% [markdown]
# (Not even the last route came out right: at $L = d \, d$ the first of the two halves was lost as
# well.)
#
# ### Gradients that are left over
#
# `+=` has a price: it adds to whatever is there. Walk twice, and the second walk starts from the
# gradients of the first one, inside of the graph too.

# %%
numbers = diamond()
walk(numbers["L"])
once = numbers["u"].grad
walk(numbers["L"])
print("du after one walk:", once, "  after two walks:", numbers["u"].grad)
assert numbers["u"].grad not in (once, 2 * once)

# %% [markdown]
# That is neither the gradient nor twice the gradient. The package keeps gradients in its *leaves*
# only (the tensors that no operation made), and lets a graph be walked once. At the leaves adding
# up is meant, and `zero_grad` clears them.
#
# ### Recursion
#
# It is tempting to let every number push its gradient on as soon as it gets some. The sums come out
# right, whatever the order:

# %%
calls = 0


def push(number, grad):
    """Add grad to number.grad, and push it on at once."""
    global calls
    calls += 1
    number.grad += grad
    for x, slope in zip(number.inputs, number.slopes):
        push(x, slope * grad)


numbers = diamond()
push(numbers["L"], 1)
print("du =", numbers["u"].grad)
assert numbers["u"].grad == du

# %% [markdown]
# But it walks every *route*, not every number. In a row of diamonds, $x_{i + 1} = x_i x_i$, each
# doubles the number of routes:

# %%
for n in (1, 2, 3, 10, 15):
    tape.clear()
    x = Number(1)
    for _ in range(n):
        x = x * x
    calls = 0
    push(x, 1)
    print(f"{n:2d} diamonds, {len(tape):2d} numbers: push is called {calls} times")

# %% [markdown]
# **Exercise A.1.** How often is `push` called for $n$ diamonds in a row? Give the formula.


# %%
def number_of_calls(n):
    """How often push is called, a whole number."""
    ### BEGIN SOLUTION
    # Once for the last number; 2 for the one before, 4 for the next: 1 + 2 + ... + 2^n.
    return 2 ** (n + 1) - 1
    ### END SOLUTION


# %%
check("A.1", number_of_calls)

# %% [markdown]
# And it needs a call within a call for every step back. Python allows about a thousand:

# %%
tape.clear()
x = Number(1)
for _ in range(20_000):
    x = x + Number(0)
try:
    push(x, 1)
except RecursionError as error:
    print(type(error).__name__)

for number in tape:
    number.grad = 0
walk(x)
print("along the tape: dx =", tape[0].grad)
assert tape[0].grad == 1

# %% [markdown]
# ### A hasty order
#
# The tape has a flaw, too: it holds on to every number that was ever made. Can we do without it,
# and find the numbers by following `inputs` from the root? Here is an attempt. It visits what it
# finds, first come, first served, and each number once.


# %%
def hasty_walk(root):
    root.grad = 1
    queue, found = [root], {root}
    while queue:
        number = queue.pop(0)
        for x, slope in zip(number.inputs, number.slopes):
            x.grad += slope * number.grad
            if x not in found:
                found.add(x)
                queue.append(x)


numbers = diamond()
hasty_walk(numbers["L"])
print("du =", numbers["u"].grad)
assert numbers["u"].grad == du

# %% [markdown]
# It is right for our example. Now let $u$ be computed as well: $u = x x$, as an image that comes
# out of another layer. Then $dx = 2 x \, du$.

# %%
tape.clear()
x = Number(2)
u = x * x
theta = Number(3) * u + Number(1)
V = u * theta
hasty_walk(V)
print("du =", u.grad, "  dx =", x.grad, "  2 x du =", 2 * x.value * u.grad)
assert x.grad != 2 * x.value * u.grad

# %% [markdown]
# The gradient of $u$ is right, and that of $x$ is not.
#
# **Exercise A.2.** Find the bug, and write the walk without it. Use `serial`, the place of a number
# in the order of making. Your walk may not use `tape`. It shall visit each number once, and not
# call itself.


# %%
def my_walk(root):
    """Put d(root) / d(x) into x.grad of every number x behind root; all .grad are 0 before."""
    ### BEGIN SOLUTION
    # u passed its gradient on before theta had added its part: first come is not newest first.
    found, todo = {root}, [root]
    while todo:
        for x in todo.pop().inputs:
            if x not in found:
                found.add(x)
                todo.append(x)
    root.grad = 1
    for number in sorted(found, key=lambda number: number.serial, reverse=True):
        for x, slope in zip(number.inputs, number.slopes):
            x.grad += slope * number.grad
    ### END SOLUTION


# %%
check("A.2", my_walk)

# %% [markdown]
# ## From numbers to arrays
#
# A network has arrays, not numbers. An operation from 1,000 numbers to 1,000 others has a million
# slopes. Often most of them are 0, and the others are numbers that it has anyway. So an operation
# of the package does not note slopes down. It brings a function, `backward`, which takes the
# gradient of the output and returns those of the inputs. It is the multiplication by all those
# slopes, written by somebody who knows them. Here is the product:

# %%
print(inspect.getsource(F.multiply))

# %% [markdown]
# `dy * b` is `slope * number.grad`, for all elements at once. The closure `backward` remembers `a`
# and `b`. The array `dy`, the gradient from above, is also called the *cotangent*.
#
# (`needs` says which gradients anybody wants. A `backward(dy)` without it is fine, too.)
#
# `unbroadcast` is a sum like that of $u$ above. Where NumPy repeats an array to make shapes fit,
# each of its numbers is used several times, and its gradient is the sum over all uses:

# %%
a = Tensor(np.array([[1.0, 2, 3], [4, 5, 6]]))
bias = Tensor(np.array([10.0, 20, 30]), requires_grad=True)
dy = np.array([[1.0, 0, 2], [5, -1, 3]])
(a + bias).backward(dy)
print("the bias is added to two rows, and gets", bias.grad)
assert np.array_equal(bias.grad, dy.sum(axis=0))

# %% [markdown]
# Write an operation, and `@op` makes it one for Tensors: it unpacks their arrays, and notes down
# inputs, `backward`, and a serial number.


# %%
@op
def square(x):
    """x^2, element by element."""

    def backward(dy):
        return 2 * x * dy

    return x**2, backward


rng = np.random.default_rng(0)
print("gradcheck:", gradcheck(square, [rng.standard_normal((2, 3))]))
print(inspect.getsource(autograd.op))

# %% [markdown]
# `@op` does one thing more. It compares the shape and dtype of each gradient with those of its
# input. A forgotten sum is found where it was forgotten, not three layers further on:


# %%
@op
def add_bias(x, bias):
    """x (N, C) + bias (C,)."""

    def backward(dy):
        return dy, dy  # the second should be dy.sum(axis=0)

    return x + bias, backward


try:
    add_bias(a, bias).backward(dy)
except RuntimeError as error:
    print(error)

# %% [markdown]
# **Exercise A.3.** Chapter 6 reads between two pixels $a$ and $b$ by $y = a + t \, (b - a)$. Write
# it as an operation on three arrays of one shape.


# %%
def between(a, b, t):
    """y = a + t (b - a), element by element, and its backward."""

    ### BEGIN SOLUTION
    def backward(dy):
        return dy * (1 - t), dy * t, dy * (b - a)

    return a + t * (b - a), backward
    ### END SOLUTION


# %%
check("A.3", between)

# %% [markdown]
# ### Myth: "a check with a gradient of ones is enough"
#
# To check an operation, one has to choose a gradient from above. Many take ones, because they come
# with `y.sum()`. Here is a softmax whose backward was never written:


# %%
@op
def lazy_softmax(x):
    y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)

    def backward(dy):
        return 0 * x

    return y, backward


x = rng.standard_normal((2, 5))
nudged = x + 1e-6 * rng.standard_normal((2, 5))
change = lazy_softmax(nudged).data.sum() - lazy_softmax(x).data.sum()
print("the sum changes by less than 1e-12:", abs(change) < 1e-12)
assert abs(change) < 1e-12

# %% [markdown]
# The outputs of a softmax add up to 1, whatever its input is. So for a gradient of ones 0 *is*
# right, and the check passes. A random gradient from above has no such luck:

# %%
try:
    gradcheck(lazy_softmax, [x])
except GradcheckError as error:
    print(type(error).__name__)
print("with ones:", gradcheck(lambda x: lazy_softmax(x).sum(), [x]))

# %% [markdown]
# Chapter 10 has more on checking. Every gradient of this book is checked with random numbers from
# above.
#
# ## Open the file
#
# `stn_numpy/autograd.py` is the thirty lines, for arrays. What an operation leaves behind is a
# node:

# %%
print(inspect.getsource(autograd._Node))

# %% [markdown]
# And this is the walk:

# %%
print(inspect.getsource(autograd._walk))

# %% [markdown]
# Compare it with yours of Exercise A.2.
#
# - There is no tape. `queue` is a heap: it gives back the node with the highest serial number, the
#   newest of those that are waiting. Serial numbers are global and only grow, so it is the order of
#   the tape, of the part that `root` depends on.
# - `pending` holds the gradients that are not yet complete. A node's is taken out with `pop` when
#   its turn comes. So nothing is left over inside of the graph.
# - `+=` into an array changes it for everybody who holds it. So the first gradient that arrives is
#   kept as it is, the second makes a new array, and only that one, `owned`, is added to in place.
# - `node.inputs` is let go of, and so is `node.backward`. Memory is freed during the walk, and a
#   second walk has nothing to walk:

# %%
x = Tensor(np.array([2.0]), requires_grad=True)
y = square(square(x))
y.backward()
print("first time:", x.grad)
try:
    y.backward()
except RuntimeError as error:
    print(error)

# %% [markdown]
# Rows of diamonds, and deep chains, are no trouble. With $x_{i+1} = x_i + x_i$ there are $2^n$
# routes and $n$ operations:

# %%
x = Tensor(np.array([1.0]), requires_grad=True)
y = x
for _ in range(60):
    y = y + y
y.backward()
print("60 diamonds:", x.grad[0] == 2.0**60)
assert x.grad[0] == 2.0**60

x = Tensor(np.array([1.0]), requires_grad=True)
y = x
for _ in range(20_000):
    y = y + 0.0
y.backward()
print("20,000 steps:", x.grad[0])
assert x.grad[0] == 1

# %% [markdown]
# ## The diamond of a spatial transformer
#
# Now the real thing. This is all that a spatial transformer computes:

# %%
print(inspect.getsource(SpatialTransformer.forward))

# %% [markdown]
# `U` is there twice. It goes into the localisation net, and into the sampler. We take the image,
# the $\theta$ and the gradient $G$ from above that this book uses everywhere. (Here $\theta$ is in
# normalised coordinates, see chapter 4.) The localisation net is the smallest there is, $\theta = W
# u + \beta$, where $u$ are the 16 pixels in a row, $W$ is any 6 x 16 matrix, and $\beta$ is what it
# takes for $\theta$ to come out as usual.

# %%
U_array = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
G = np.array([[1, -1, 2, 0], [0, 3, 1, -2], [1, 0, -1, 2], [2, 1, 0, 1]], dtype=float)
theta_book = np.array([[0.25, 0.5, 0.6875], [-0.5, 0.25, 0.4375]])

W = Tensor(rng.integers(-4, 5, (6, 16)) / 64, requires_grad=True)
beta = Tensor(theta_book.ravel() - W.data @ U_array.ravel(), requires_grad=True)


def transform(U_seen, U_read):
    """V = sample(U_read, grid(W U_seen + beta)), images (1, 1, 4, 4). Returns V and theta."""
    theta = F.reshape(F.linear(F.flatten(U_seen), W, beta), (1, 2, 3))
    return F.grid_sample(U_read, F.affine_grid(theta, (1, 1, 4, 4))), theta


U = Tensor(U_array[None, None], requires_grad=True)
V, theta = transform(U, U)
L = (V * G).sum()
print(V.data[0, 0])
print("theta:\n", theta.data[0])
print("L =", L.item())

# %% [markdown]
# ## Draw the graph
#
# Every Tensor knows the operation that made it, and every operation knows its inputs. To draw the
# graph is to follow them.


# %%
def draw_graph(tensor, names, **words):
    """The operations behind a tensor; names: by Tensor, of leaves. Numbers: order of the walk."""
    texts, edges, todo = {}, [], [tensor]
    while todo:
        t = todo.pop(0)
        node = t._node or t  # the operation that made it, or the leaf itself
        if node in texts:
            continue
        texts[node] = names.get(t, "leaf") if node is t else node.name
        if node is not t:
            for x in node.inputs:
                if isinstance(x, Tensor) and x.requires_grad:
                    edges.append((x._node or x, node))
                    todo.append(x)
    operations = [node for node in texts if not isinstance(node, Tensor)]
    for i, node in enumerate(sorted(operations, key=lambda node: -node.serial), 1):
        texts[node] = f"{i}.\n{texts[node]}"
    return plots.graph_figure(texts, edges, **words)


draw_graph(
    L,
    {U: "U", W: "W", beta: "beta"},
    title="The graph of a spatial transformer, in the order of the walk",
    alt="Seven operations in a row: reshape, linear, reshape, affine_grid, grid_sample, multiply, "
    "sum, numbered from the last to the first. The leaf U leads to the first of them and to "
    "grid_sample, the leaves W and beta to linear.",
)

# %% [markdown]
# The walk comes to `grid_sample` third. From there gradients go two ways: to $U$ at once, and to
# the grid, to $\theta$, and through the localisation net to $U$ again.
#
# ## Both routes
#
# To see each route alone, cut the other one. `detach` gives the same numbers without their history,
# so that no gradient goes there.

# %%
L.backward()
dU = U.grad[0, 0]

U_read = Tensor(U_array[None, None], requires_grad=True)
(transform(U_read.detach(), U_read)[0] * G).sum().backward()
direct = U_read.grad[0, 0]

U_seen = Tensor(U_array[None, None], requires_grad=True)
(transform(U_seen, U_seen.detach())[0] * G).sum().backward()
through_theta = U_seen.grad[0, 0]

print("direct:\n", direct)
print("through theta:\n", through_theta)
print("together, dL/dU is\n", dU)
assert np.array_equal(dU, direct + through_theta), "dL/dU is not the sum of both routes"

# %% [markdown]
# The direct route is what chapter 7 derives: a pixel is told how much it was *read*. The other one
# reaches all pixels, also those in the first row, which nobody reads: a pixel is told how it
# *changed where everybody looked*. (It is so strong because our $W$ is. In the package the last
# layer of a localisation net starts with zeros, and so does the second route; see
# [11 The localisation net](11_localisation.ipynb).)
#
# One pixel by hand, row 1 and column 2, number 6 in the row of 16. We need $dL/d\theta$, which
# chapter 9 derives:

# %%
theta_leaf = Tensor(theta_book[None], requires_grad=True)
V = F.grid_sample(U_array[None, None], F.affine_grid(theta_leaf, (1, 1, 4, 4)))
(V * G).sum().backward()
dtheta = theta_leaf.grad[0]
print("dL/dtheta:", dtheta.ravel())
column = W.data[:, 6]
print("column 6 of W:", column)
print("through theta:", dtheta.ravel() @ column, "  direct:", direct[1, 2])
print("together:", dtheta.ravel() @ column + direct[1, 2], "  the package says:", dU[1, 2])
assert dtheta.ravel() @ column + direct[1, 2] == dU[1, 2]

# %% [markdown]
# **Exercise A.4.** Write it for all pixels: $dL/dU$ from the direct route, $W$ and $dL/d\theta$,
# for an image of any height and width. Pixels and numbers of $\theta$ are counted row by row.


# %%
def both_routes(direct, W, dtheta):
    """dL/dU, an array of the shape of direct; W is (6, number of pixels), dtheta (2, 3)."""
    ### BEGIN SOLUTION
    return direct + (dtheta.ravel() @ W).reshape(direct.shape)
    ### END SOLUTION


# %%
check("A.4", both_routes)

# %% [markdown]
# Last, the whole diamond against finite differences: two images of three channels, higher than
# wide, and a localisation net with a hidden layer. The bias of its last layer keeps the points off
# the folds of bilinear sampling.

# %%
U_many = rng.standard_normal((2, 3, 6, 5))
net = nn.Sequential(nn.Flatten(), nn.Linear(90, 4, rng=rng), nn.Tanh(), nn.Linear(4, 6, rng=rng))
transformer = SpatialTransformer(net, Affine(), output_size=(4, 7)).astype(np.float64)
last = net[3]
last.weight.data[...] = 0.1 * rng.standard_normal((6, 4))
last.bias.data[...] = [0.8, 0.3, 0.07, -0.2, 0.7, -0.11]

print("gradcheck:", gradcheck(transformer, [U_many]))

# %% [markdown]
# Does the check see the second route at all? Cut it, and the check has to fail:


# %%
def cut(U):
    """The same output, but no gradient flows through theta."""
    return F.grid_sample(U, transformer.grid(U).detach())


try:
    gradcheck(cut, [U_many])
except GradcheckError as error:
    print(type(error).__name__)
assert np.array_equal(cut(U_many).data, transformer(U_many).data)

# %% [markdown]
# It does. Wherever you meet a gradient that is almost right, look for a second route.
