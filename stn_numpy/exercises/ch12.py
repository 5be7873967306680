"""Chapter 12, Training a small ST-CNN on MNIST."""

import numpy as np

from stn_numpy import models
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.models import localisation_parameters
from stn_numpy.nn import Parameter
from stn_numpy.training import wilson


def split(model):
    """The parameters of the localisation net, and the others."""
    slow = localisation_parameters(model)
    known = {id(parameter) for parameter in slow}
    return slow, [p for p in model.parameters() if id(p) not in known]


def groups(model, lr, ratio, slow=lambda lr, ratio: lr * ratio, rest=lambda lr, ratio: lr):
    """The right groups, but for the two rates."""
    of_net, others = split(model)
    return [
        {"params": others, "lr": rest(lr, ratio)},
        {"params": of_net, "lr": slow(lr, ratio)},
    ]


@exercise(
    "12.1",
    {
        "The ratio is for the localisation net; here the others have it.": (
            lambda model, lr, ratio: groups(
                model, lr, ratio, slow=lambda lr, ratio: lr, rest=lambda lr, ratio: lr * ratio
            )
        ),
        "The localisation net learns at the ratio itself; want lr times the ratio.": (
            lambda model, lr, ratio: groups(model, lr, ratio, slow=lambda lr, ratio: ratio)
        ),
        "The localisation net learns at lr / ratio; want lr times the ratio.": (
            lambda model, lr, ratio: groups(model, lr, ratio, slow=lambda lr, ratio: lr / ratio)
        ),
        "All parameters learn at lr.": (
            lambda model, lr, ratio: groups(model, lr, ratio, slow=lambda lr, ratio: lr)
        ),
        "is in two groups": lambda model, lr, ratio: [
            {"params": model.parameters(), "lr": lr},
            {"params": localisation_parameters(model), "lr": lr * ratio},
        ],
        "is in no group, and would never learn": lambda model, lr, ratio: [
            {"params": localisation_parameters(model), "lr": lr * ratio}
        ],
    },
    {
        "want a list of groups": lambda model, lr, ratio: groups(model, lr, ratio)[0],
        "has no 'lr'": lambda model, lr, ratio: [{"params": model.parameters()}],
        "not a number": lambda model, lr, ratio: [{"params": model.parameters(), "lr": "slow"}],
        "want Parameters": lambda model, lr, ratio: [{"params": ["weight"], "lr": lr}],
        "which is not right": lambda model, lr, ratio: groups(
            model, lr, ratio, slow=lambda lr, ratio: lr * ratio**2
        ),
    },
)
def parameter_groups(answer):
    for lr, ratio in ((0.004, 0.1), (0.5, 0.25)):
        model = models.build("st-fcn", width=3, rng=np.random.default_rng(1201))
        found = answer(model, lr, ratio)
        rates, problem = rates_of(found)
        if problem:
            return problem
        names = {id(p): name for name, p in model.named_parameters()}
        for parameter, given in rates.items():
            if len(given) > 1:
                return f"{names.get(parameter, 'A parameter')} is in two groups."
        for parameter, name in names.items():
            if parameter not in rates:
                return f"{name} is in no group, and would never learn."
        slow, others = split(model)
        of_net, of_others = ({rates[id(p)][0] for p in part} for part in (slow, others))
        if len(of_net) > 1 or len(of_others) > 1:
            return "Some parameters of one part learn faster than others of the same part."
        (net,), (rest,) = of_net, of_others
        if np.isclose(net, lr * ratio) and np.isclose(rest, lr):
            continue
        if np.isclose(net, lr) and np.isclose(rest, lr * ratio):
            return "The ratio is for the localisation net; here the others have it."
        if np.isclose(net, lr) and np.isclose(rest, lr):
            return "All parameters learn at lr."
        if np.isclose(rest, lr) and np.isclose(net, ratio):
            return "The localisation net learns at the ratio itself; want lr times the ratio."
        if np.isclose(rest, lr) and np.isclose(net, lr / ratio):
            return "The localisation net learns at lr / ratio; want lr times the ratio."
        return (
            f"For lr = {lr:g} and ratio = {ratio:g} the localisation net learns at {net:.4g} and "
            f"the others at {rest:.4g}, which is not right."
        )
    return None


def rates_of(found) -> tuple[dict[int, list[float]], str]:
    """The rates of each parameter, by its id, or what keeps the answer from being read."""
    rates: dict[int, list[float]] = {}
    if not isinstance(found, (list, tuple)) or not all(isinstance(g, dict) for g in found):
        return rates, f"It returns {type(found).__name__}; want a list of groups, each a dict."
    for group in found:
        for key in ("params", "lr"):
            if key not in group:
                return rates, f"A group has no {key!r}."
        lr = group["lr"]
        if answers.unlike(lr, 1.0):
            return rates, f"The 'lr' of a group is {lr!r}, which is not a number."
        params = group["params"]
        if not isinstance(params, (list, tuple)):
            return rates, f"The 'params' of a group are {type(params).__name__}; want Parameters."
        for parameter in params:
            if not isinstance(parameter, Parameter):
                words = f"Among the 'params' is {type(parameter).__name__}; want Parameters."
                return rates, words
            rates.setdefault(id(parameter), []).append(float(lr))
    return rates, ""


def smallest(better, worse, told_apart, step=1000):
    """The smallest n, a multiple of `step`, for which the two can be told apart."""
    n = step
    while not told_apart(round(better * n), round(worse * n), n):
        n += step
    return n


def apart(fewer, more, n):
    return wilson(fewer, n)[1] < wilson(more, n)[0]


def images_needed(better, worse):
    return smallest(better, worse, apart)


NEEDED = {
    "Two rates always differ; ask where their intervals end.": lambda better, worse: 1000,
    "One rate lies outside of the other's interval; but the intervals still overlap.": (
        lambda better, worse: smallest(
            better, worse, lambda fewer, more, n: wilson(fewer, n)[1] < more / n
        )
    ),
    "That is how many mistakes the better one makes then, not how many images.": (
        lambda better, worse: round(better * images_needed(better, worse))
    ),
    "That is in thousands; want the number of images.": (
        lambda better, worse: images_needed(better, worse) // 1000
    ),
    "That is no multiple of 1000; count in thousands.": (
        lambda better, worse: smallest(better, worse, apart, 1)
    ),
    "There the intervals overlap for the last time; want 1000 more.": (
        lambda better, worse: images_needed(better, worse) - 1000
    ),
}


@exercise(
    "12.2",
    NEEDED,
    {
        "which is not right": lambda better, worse: 60_000,
        "want one number": lambda better, worse: wilson(10, 1000),
    },
)
def judge_of_images_needed(answer):
    cases = [(0.05, 0.08), (0.02, 0.03), (0.01, 0.012), (0.068, 0.074)]
    return answers.function(answer, images_needed, cases, NEEDED)


def turned(theta):
    return np.rad2deg(np.arctan2(theta[:, 1, 0] - theta[:, 0, 1], theta[:, 0, 0] + theta[:, 1, 1]))


TURNED = {
    "The sign: to the left is positive, and theta says where to read.": (
        lambda theta: -turned(theta)
    ),
    "That is in radians.": lambda theta: np.deg2rad(turned(theta)),
    "Beyond 90 degrees it goes astray: a quotient forgets the signs of its two parts.": (
        lambda theta: np.rad2deg(
            np.arctan((theta[:, 1, 0] - theta[:, 0, 1]) / (theta[:, 0, 0] + theta[:, 1, 1]))
        )
    ),
    "A cosine does not know left from right.": lambda theta: np.abs(turned(theta)),
    "arctan2 wants the sine first.": lambda theta: 90 - turned(theta),
    "Only the first column is asked, the output's upper side; with a slant the sides differ.": (
        lambda theta: np.rad2deg(np.arctan2(theta[:, 1, 0], theta[:, 0, 0]))
    ),
    "Only the second column is asked, the output's left side; with a slant the sides differ.": (
        lambda theta: np.rad2deg(np.arctan2(-theta[:, 0, 1], theta[:, 1, 1]))
    ),
    "Only one of the two numbers for the sine is asked, theta_21; a slant changes them.": (
        lambda theta: np.rad2deg(np.arctan2(2 * theta[:, 1, 0], theta[:, 0, 0] + theta[:, 1, 1]))
    ),
    "A sine without its length: where theta also scales, that is another angle.": (
        lambda theta: np.rad2deg(np.arcsin(np.clip((theta[:, 1, 0] - theta[:, 0, 1]) / 2, -1, 1)))
    ),
}


@exercise(
    "12.3",
    TURNED,
    {
        "want an array of (5,)": lambda theta: theta,
        "which is not right": lambda theta: turned(theta) + 1,
    },
)
def judge_of_turned(answer):
    rng = np.random.default_rng(1203)
    angle = np.deg2rad([30.0, -75, 120, -160, 0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scaled = rng.uniform(0.6, 1.5, (5, 1, 1)) * turn.transpose(2, 0, 1)
    slanted = scaled + rng.uniform(-0.15, 0.15, (5, 2, 2))
    cases = []
    for linear in (turn.transpose(2, 0, 1), scaled, slanted):
        cases.append((np.concatenate([linear, rng.uniform(-0.3, 0.3, (5, 2, 1))], axis=2),))
    return answers.function(answer, turned, cases, TURNED)
