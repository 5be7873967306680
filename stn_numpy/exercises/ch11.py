"""Chapter 11, The localisation net."""

import numpy as np

from stn_numpy import functional as F
from stn_numpy import nn
from stn_numpy.exercises.registry import exercise
from stn_numpy.spatial_transformer import start_at_identity
from stn_numpy.transforms import Affine
from stn_numpy.verify import verify


def last_layer(dtheta, h, W, b):
    return dtheta @ W, dtheta.T @ h, dtheta.sum(axis=0)


@exercise(
    "11.1",
    {
        "the mean over the batch is taken": lambda dtheta, h, W, b: tuple(
            gradient / (1 if i == 0 else len(h))
            for i, gradient in enumerate(last_layer(dtheta, h, W, b))
        ),
        "weight: the gradient is transposed": lambda dtheta, h, W, b: (
            dtheta @ W,
            h.T @ dtheta,
            dtheta.sum(axis=0),
        ),
        "not summed over the batch": lambda dtheta, h, W, b: (
            dtheta @ W,
            dtheta.T @ h,
            dtheta,
        ),
        "the sign is wrong": lambda dtheta, h, W, b: tuple(
            -gradient for gradient in last_layer(dtheta, h, W, b)
        ),
        "it is taken to be 1 everywhere": lambda dtheta, h, W, b: last_layer(
            np.ones_like(dtheta), h, W, b
        ),
    },
    {"bias": lambda dtheta, h, W, b: last_layer(dtheta, h, W, b)[:2]},
)
def backward_of_last_layer(answer):
    return verify(answer, "linear", form="backward")


def attention(dA):
    return np.stack([dA[:, 0, 0] + dA[:, 1, 1], dA[:, 0, 2], dA[:, 1, 2]], axis=1)


@exercise(
    "11.2",
    {
        "s gets only the gradient of theta_11": lambda dA, theta: np.stack(
            [dA[:, 0, 0], dA[:, 0, 2], dA[:, 1, 2]], axis=1
        ),
        "s gets the mean of its two gradients": lambda dA, theta: (
            attention(dA) * np.array([0.5, 1, 1])
        ),
        "t_x and t_y are swapped": lambda dA, theta: attention(dA)[:, [0, 2, 1]],
        "it is (s, t_x, t_y)": lambda dA, theta: attention(dA)[:, [1, 2, 0]],
        "the sign is wrong": lambda dA, theta: -attention(dA),
    },
    {"theta: ": lambda dA, theta: dA.sum(axis=1)},
)
def backward_of_attention(answer):
    return verify(answer, "attention_matrix", form="backward")


IDENTITY = np.array([1.0, 0, 0, 0, 1, 0])


@exercise(
    "11.3",
    {
        "At raw outputs of 0 it is not the identity": lambda raw: np.tanh(raw),
        "is 0.761594 from the identity": lambda raw: IDENTITY + np.tanh(raw),
        "the slope is 0.5": lambda raw: IDENTITY + 0.5 * np.tanh(raw),
        "it does not rise": lambda raw: IDENTITY + np.clip(raw, -0.5, 0.5),
        "is 1 from the identity": lambda raw: IDENTITY + raw,
        "depends on more than its own raw output": lambda raw: (
            IDENTITY + 0.5 * np.tanh(2 * np.roll(raw, 1))
        ),
        "the slope is 0.25": lambda raw: IDENTITY + 1 / (1 + np.exp(-raw)) - 0.5,
    },
    {"want an array of (6,)": lambda raw: 1.0},
)
def bounded(answer):
    def theta(raw):
        value = answer(np.array(raw, float))
        if not (isinstance(value, np.ndarray) and value.shape == (6,) and value.dtype.kind == "f"):
            raise _Unlike
        return value

    try:
        return _judge_of_bounds(theta)
    except _Unlike:
        return "It returns something else; want an array of (6,), of floats."


class _Unlike(Exception):
    """The answer is not of the kind that was asked for."""


def _judge_of_bounds(theta):
    def off(raw):
        return theta(raw) - IDENTITY

    zero, step = np.zeros(6), 1e-6
    if not np.allclose(theta(zero), IDENTITY, rtol=0, atol=1e-12):
        return "At raw outputs of 0 it is not the identity."
    for number in (1.0, -1.0, 3.0, -100.0, 100.0):
        most = np.abs(off(np.full(6, number))).max()
        if not most <= 0.5 + 1e-12:
            return f"At raw outputs of {number:g} a number is {most:.6g} from the identity."
    for k in range(6):
        one = np.eye(6)[k]
        others = np.delete(np.abs(off(0.3 * one)), k)
        if others.max() > 1e-12:
            return "A number of theta depends on more than its own raw output."
        slope = (off(step * one)[k] - off(-step * one)[k]) / (2 * step)
        if not abs(slope - 1) < 1e-5:
            return f"At raw outputs of 0 the slope is {slope:.6g}, not 1."
        raws = np.linspace(-2, 2, 41)
        values = np.array([off(raw * one)[k] for raw in raws])
        if not (np.diff(values) > 0).all():
            flat = raws[np.argmin(np.diff(values))]
            return f"Near a raw output of {flat:.3g} it does not rise."
    return None


class Wired(nn.Module):
    """A transformer before a classifier, for images of 5 x 4 pixels, connected rightly or not."""

    def __init__(self, wiring: str = "right"):
        rng = np.random.default_rng(1104)
        self.localisation = nn.Sequential(
            nn.Flatten(), nn.Linear(20, 6, rng=rng), nn.ReLU(), nn.Linear(6, 6, rng=rng)
        )
        start_at_identity(self.localisation, Affine())
        self.classifier = nn.Linear(20, 3, rng=rng)
        self.wiring = wiring
        self.astype(np.float64)

    def forward(self, U):
        theta = self.localisation(0 * U if self.wiring == "zeros" else U)
        theta = theta.detach() if self.wiring == "cut" else theta
        V = F.grid_sample(U, Affine().grid(theta, U.shape))
        return self.classifier(F.flatten(V))


def unreached(
    model, images, labels, forget=True, none=True, zeros=True, reached=False, any_0=False
):
    """The names, or what a learner may return who forgets something."""
    if forget:
        model.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    silent = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            silent[name] = none
        else:
            nothing = not (parameter.grad.all() if any_0 else parameter.grad.any())
            silent[name] = zeros and nothing
    return [name for name in silent if silent[name] != reached]


def forgetful(**mistake):
    return lambda model, images, labels: unreached(model, images, labels, **mistake)


FORGOTTEN = {
    "Begin with model.zero_grad(): gradients of an earlier step are there.": forgetful(
        forget=False
    ),
    "Parameters that have no gradient at all (None) are missing.": forgetful(none=False),
    "Parameters whose gradient is 0 everywhere are missing.": forgetful(zeros=False),
    "Those are the names of the parameters that do receive something.": forgetful(reached=True),
    "A gradient with a 0 in it is not 0 everywhere.": forgetful(any_0=True),
}


@exercise("11.4", FORGOTTEN, {"want a list of names": lambda model, images, labels: 3})
def judge_of_unreached(answer):
    rng = np.random.default_rng(1105)
    images, labels = rng.standard_normal((4, 1, 5, 4)), np.array([0, 1, 2, 1])
    images[:, :, 0, 0] = 0  # so that some gradients have a 0 in them

    def model(wiring, steps):
        """Some steps of gradient descent behind it, and gradients left from the last."""
        wired = Wired(wiring)
        for _ in range(steps):
            wired.zero_grad()
            F.cross_entropy(wired(images), labels).backward()
            for parameter in wired.parameters():
                if parameter.grad is not None:
                    parameter.data -= 0.5 * parameter.grad
        for parameter in wired.parameters():
            parameter.grad = np.ones(parameter.shape)
        return wired

    models = (("right", 0), ("right", 2), ("cut", 1), ("zeros", 2))

    def named_by(function):
        return [set(function(model(*kind), images, labels)) for kind in models]

    found = []
    for kind in models:
        names = answer(model(*kind), images, labels)
        if not isinstance(names, (list, tuple, set)) or not all(isinstance(n, str) for n in names):
            return f"It returns {type(names).__name__}; want a list of names."
        found.append(set(names))
    if found == named_by(unreached):
        return None
    for words, forgets in FORGOTTEN.items():
        if found == named_by(forgets):
            return words
    known = {name for name, _ in Wired().named_parameters()}
    unknown = sorted(set().union(*found) - known)
    if unknown:
        return f"{unknown[0]!r} is not the name of a parameter."
    wrong = [theirs != mine for theirs, mine in zip(found, named_by(unreached))].index(True)
    return f"For a model with {len(known)} parameters it names {len(found[wrong])}; not those."
