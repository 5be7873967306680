"""Chapter 13, The paper's table, and ours."""

import math

import numpy as np

from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.training import wilson


def ends(mistakes, of, z):
    return np.array(wilson(mistakes, of, z))


def parts(mistakes, of, z):
    """What an interval is made of: the rate that was seen, and z^2 / n."""
    return mistakes / of, z**2 / of


def around(middle, half):
    return np.array([middle - half, middle + half])


def plain(mistakes, of, z):
    seen, _ = parts(mistakes, of, z)
    return around(seen, z * math.sqrt(seen * (1 - seen) / of))


def not_moved(mistakes, of, z):
    seen, _ = parts(mistakes, of, z)
    low, high = ends(mistakes, of, z)
    return around(seen, (high - low) / 2)


def not_divided(mistakes, of, z):
    _, share = parts(mistakes, of, z)
    return ends(mistakes, of, z) * (1 + share)


def as_steep_as_seen(mistakes, of, z):
    seen, share = parts(mistakes, of, z)
    middle = (seen + share / 2) / (1 + share)
    return around(middle, z * math.sqrt(seen * (1 - seen) / of) / (1 + share))


INTERVAL = {
    "The deviation is that of the rate that was seen; want that of p itself, as in Wilson's.": (
        plain
    ),
    "The middle is not the rate that was seen; the quadratic moves it.": not_moved,
    "The factor of p squared is not 1; it is forgotten in the division.": not_divided,
    "Under the root a part is missing; the middle is right.": as_steep_as_seen,
    "The value of z is not used; it need not be 1.96.": lambda mistakes, of, z: ends(
        mistakes, of, 1.96
    ),
    "The ends are in percent; want them between 0 and 1.": lambda mistakes, of, z: (
        100 * ends(mistakes, of, z)
    ),
    "Those are counts of mistakes; want rates between 0 and 1.": lambda mistakes, of, z: (
        of * ends(mistakes, of, z)
    ),
    "The upper end comes first; want the lower one first.": lambda mistakes, of, z: ends(
        mistakes, of, z
    )[::-1],
    "Those are the middle and half of the width; want the two ends.": lambda mistakes, of, z: (
        np.array([ends(mistakes, of, z).mean(), np.diff(ends(mistakes, of, z))[0] / 2])
    ),
}


@exercise(
    "13.1",
    INTERVAL,
    {
        "want an array of (2,)": lambda mistakes, of, z: mistakes / of,
        "it returns nothing": lambda mistakes, of, z: None,
        "which is not right": lambda mistakes, of, z: (0.1, 0.2),
    },
)
def judge_of_interval(answer):
    cases = [(3, 500, 1.96), (70, 10_000, 1.96), (40, 60, 1.0), (0, 250, 1.96), (12, 90, 2.5758)]

    def both(mistakes, of, z):
        found = answer(mistakes, of, z)
        return answers.as_array(found) if isinstance(found, (tuple, list)) else found

    return answers.function(both, ends, cases, INTERVAL)


def apart(a, n, b, m, deviation=lambda p, n, m: math.sqrt(p * (1 - p) * (1 / n + 1 / m))):
    """By how many deviations the first of two rates is above the second."""
    return (a / n - b / m) / deviation((a + b) / (n + m), n, m)


def differ(a, n, b, m):
    return abs(apart(a, n, b, m)) > 1.96


def disjoint(a, n, b, m):
    (low_1, high_1), (low_2, high_2) = wilson(a, n), wilson(b, m)
    return high_1 < low_2 or high_2 < low_1


def outside(a, n, b, m):
    low, high = wilson(b, m)
    return not low <= a / n <= high


# Pairs of (mistakes, images), none so close to the border that another good formula for the
# deviation would decide otherwise.
TESTS = (
    ((70, 10_000), (120, 10_000)),
    ((120, 10_000), (70, 10_000)),
    ((85, 10_000), (115, 10_000)),  # the intervals overlap
    ((118, 10_000), (86, 10_000)),
    ((80, 10_000), (70, 10_000)),
    ((70, 10_000), (92, 10_000)),  # one rate is outside of the other's interval
    ((92, 10_000), (70, 10_000)),
    ((100, 10_000), (125, 10_000)),  # 1.645 < z < 1.96
    ((8, 500), (15, 500)),  # different rates, few images
    ((5, 500), (70, 10_000)),  # images 500 and 10,000
    ((70, 10_000), (8, 500)),
    ((3, 500), (210, 10_000)),
    ((60, 500), (60, 10_000)),  # as many mistakes
    ((10, 500), (200, 10_000)),
    ((26, 500), (300, 10_000)),
)

DIFFER = {
    "It asks whether the intervals overlap; they may, and the rates still differ.": disjoint,
    "It takes the second rate for known, without an interval of its own.": outside,
    "It is right where the first rate is the larger one; ask for either direction.": (
        lambda a, n, b, m: apart(a, n, b, m) > 1.96
    ),
    "It is right where the second rate is the larger one; ask for either direction.": (
        lambda a, n, b, m: apart(a, n, b, m) < -1.96
    ),
    "It is exchanged: it is true where they can not be told apart.": (
        lambda a, n, b, m: not differ(a, n, b, m)
    ),
    "The limit is not 1.96 but smaller, as if only one direction were asked.": (
        lambda a, n, b, m: abs(apart(a, n, b, m)) > 1.645
    ),
    "The numbers of images may differ; it uses one of them for both.": (
        lambda a, n, b, m: abs(a / n - b / n) > 1.96 * math.sqrt((a + b) / n**2)
    ),
    "The deviation of one rate is not that of the difference of two.": (
        lambda a, n, b, m: abs(apart(a, n, b, m, lambda p, n, m: math.sqrt(p * (1 - p) / n))) > 1.96
    ),
    "The deviation is that of one answer; it gets smaller with the number of images.": (
        lambda a, n, b, m: abs(apart(a, n, b, m, lambda p, n, m: math.sqrt(p * (1 - p)))) > 1.96
    ),
    "Two rates that were seen always differ a little; ask whether chance explains it.": (
        lambda a, n, b, m: a / n != b / m
    ),
}


@exercise(
    "13.2",
    DIFFER,
    {
        "some of them wrongly": lambda a, n, b, m: a % 2 == 0,
        "want True or False": lambda a, n, b, m: apart(a, n, b, m),
    },
)
def judge_of_differ(answer):
    pairs = [(*one, *other) for one, other in TESTS]
    found = [answer(*pair) for pair in pairs]
    for value in found:
        if not isinstance(value, (bool, np.bool_)):
            return f"It returns {type(value).__name__}; want True or False."
    if found == [differ(*pair) for pair in pairs]:
        return None
    for words, mistaken in DIFFER.items():
        if found == [mistaken(*pair) for pair in pairs]:
            return words
    return f"Of {len(pairs)} pairs of networks it judges some of them wrongly."


def of_theta(theta):
    """By how many radians theta turns what is read to the left."""
    return np.arctan2(theta[:, 1, 0] - theta[:, 0, 1], theta[:, 0, 0] + theta[:, 1, 1])


def circular_mean(radians):
    return np.arctan2(np.sin(radians).mean(), np.cos(radians).mean())


def canonical_pose(theta, came):
    return np.rad2deg(circular_mean(np.deg2rad(came) + of_theta(theta)))


POSE = {
    "The sign of theta's turn: where the frame turns to the right, what is read turns left.": (
        lambda theta, came: np.rad2deg(circular_mean(np.deg2rad(came) - of_theta(theta)))
    ),
    "That is the mean turn of theta alone; the digits did not come upright.": (
        lambda theta, came: np.rad2deg(circular_mean(of_theta(theta)))
    ),
    "That is the mean pose in which they came; theta has turned them since.": (
        lambda theta, came: np.rad2deg(circular_mean(np.deg2rad(came)))
    ),
    "That is in radians; want degrees.": (
        lambda theta, came: np.deg2rad(canonical_pose(theta, came))
    ),
    "It adds degrees and radians.": (
        lambda theta, came: np.rad2deg(circular_mean(came + of_theta(theta)))
    ),
    "A plain mean goes astray where poses lie on both sides of 180 degrees.": (
        lambda theta, came: np.mean(came + np.rad2deg(of_theta(theta)))
    ),
    "A plain mean, also of poses from -180 to 180, goes astray at their border.": (
        lambda theta, came: np.mean((came + np.rad2deg(of_theta(theta)) + 180) % 360 - 180)
    ),
    "A quotient forgets the signs of its two parts: beyond 90 degrees theta's turn goes astray.": (
        lambda theta, came: np.rad2deg(
            circular_mean(np.deg2rad(came) + np.arctan(theta[:, 1, 0] / theta[:, 0, 0]))
        )
    ),
    "A sine or a cosine alone: where theta also scales, that is another angle.": (
        lambda theta, came: np.rad2deg(
            circular_mean(np.deg2rad(came) + np.arcsin(np.clip(theta[:, 1, 0], -1, 1)))
        )
    ),
    "The mean theta is one matrix; each digit has a pose of its own.": (
        lambda theta, came: np.rad2deg(
            circular_mean(np.deg2rad(came)) + of_theta(theta.mean(axis=0)[None])[0]
        )
    ),
}


@exercise(
    "13.3",
    POSE,
    {
        "want one number": lambda theta, came: came + np.rad2deg(of_theta(theta)),
        "which is not right": lambda theta, came: canonical_pose(theta, came) + 1,
    },
)
def judge_of_canonical_pose(answer):
    rng = np.random.default_rng(1303)
    cases = []
    for pose, spread in ((90, 0), (35, 12), (178, 25), (-70, 30)):
        came = rng.uniform(-170, 170, 9)
        turns = np.deg2rad(pose + rng.uniform(-spread, spread, 9) - came)
        scale = rng.uniform(0.6, 1.5, 9) if spread else np.ones(9)
        theta = np.zeros((9, 2, 3))
        theta[:, 0, 0] = theta[:, 1, 1] = scale * np.cos(turns)
        theta[:, 1, 0], theta[:, 0, 1] = scale * np.sin(turns), -scale * np.sin(turns)
        theta[:, :, 2] = rng.uniform(-0.2, 0.2, (9, 2))
        cases.append((theta, came))
    return answers.function(answer, canonical_pose, cases, POSE)
