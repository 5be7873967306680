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


def images_needed(p, q, z, factor=2.0, variance=None, rounded=math.ceil):
    """The least n at which two rates, seen on n images each, lie apart by more than z."""
    m = (p + q) / 2
    variance = m * (1 - m) if variance is None else variance
    return rounded(factor * variance * (z / (p - q)) ** 2)


NEEDED = {
    "That is the number for one rate; the deviation of a difference is larger.": (
        lambda p, q, z: images_needed(p, q, z, factor=1.0)
    ),
    "Twice too many: those are both tests together, or intervals that lie apart.": (
        lambda p, q, z: images_needed(p, q, z, factor=4.0)
    ),
    "It is not a whole number; round up, as the one below is not enough.": (
        lambda p, q, z: images_needed(p, q, z, rounded=float)
    ),
    "It is rounded down, and so a little too small.": (
        lambda p, q, z: images_needed(p, q, z, rounded=math.floor)
    ),
    "The square root of n is not n; square both sides.": (
        lambda p, q, z: math.ceil(math.sqrt(images_needed(p, q, z, rounded=float)))
    ),
    "It takes the first rate for both; the best guess is their mean.": (
        lambda p, q, z: images_needed(p, q, z, variance=p * (1 - p))
    ),
    "It takes the second rate for both; the best guess is their mean.": (
        lambda p, q, z: images_needed(p, q, z, variance=q * (1 - q))
    ),
    "It is always for z = 1.96; use z.": lambda p, q, z: images_needed(p, q, 1.96),
}


@exercise(
    "13.2",
    NEEDED,
    {
        "which is not right": lambda p, q, z: images_needed(p, q, z) + 10,
        "want one number": lambda p, q, z: (1, 2),
    },
)
def judge_of_images_needed(answer):
    cases = [(0.012, 0.007, 1.96), (0.007, 0.012, 1.96), (0.05, 0.02, 2.39), (0.3, 0.2, 1.96)]
    return answers.function(answer, images_needed, cases, NEEDED)


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
