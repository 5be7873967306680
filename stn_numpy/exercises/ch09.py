"""Chapter 9, Backward III: theta."""

import numpy as np

from stn_numpy import reference
from stn_numpy.exercises import answers
from stn_numpy.exercises.registry import exercise
from stn_numpy.verify import verify

U = np.array([[0, 1, 2, 1], [3, 9, 5, 2], [4, 6, 8, 1], [2, 7, 3, 5]], dtype=float)
theta = np.array([[0.25, 0.5, 1.75], [-0.5, 0.25, 2.75]])


def read(x: float, y: float, image: np.ndarray = U) -> tuple[float, float, float]:
    """V, dV/dx and dV/dy at one point."""
    at = image[None], np.array([float(x)]), np.array([float(y)])
    return (
        reference.eq03_sample(*at, reference.eq05_bilinear_kernel)[0, 0],
        reference.eq07_grad_xs(*at)[0, 0],
        reference.eq07_grad_ys(*at)[0, 0],
    )


def dV_dtheta(x_t: float, y_t: float, image: np.ndarray = U) -> np.ndarray:
    _, dV_dx, dV_dy = read(*(theta @ [x_t, y_t, 1]), image)
    return np.outer([dV_dx, dV_dy], [x_t, y_t, 1])


# What stands right of the image if its border is repeated.
REPEATED = np.pad(U, ((0, 0), (0, 1)), mode="edge")

SLOPES = {
    "x_t and y_t are exchanged: the first column belongs to x_t, the second to y_t.": lambda: (
        dV_dtheta(3, 2)[:, [1, 0, 2]]
    ),
    "The rows are exchanged: the first row of theta moves x_s, the second y_s.": lambda: dV_dtheta(
        3, 2
    )[::-1],
    "The pixel is taken as row 3, column 2; (3, 2) is x = 3, y = 2.": lambda: dV_dtheta(2, 3),
    "The three numbers of a row are equal: the slope has to be multiplied by x_t, y_t and 1.": (
        lambda: np.outer(dV_dtheta(3, 2)[:, 2], [1, 1, 1])
    ),
    "The slope is multiplied by the source point; what moves with theta_11 is x_t.": lambda: (
        np.outer(dV_dtheta(3, 2)[:, 2], [3.5, 1.75, 1])
    ),
    "Right of the last column there is 0, not the last column again.": lambda: dV_dtheta(
        3, 2, REPEATED
    ),
    "dV/dx and dV/dy have the weights of the other axis: in dV/dx, rows count by y.": lambda: (
        np.outer([0.5 * (0 - 2) + 0.5 * (0 - 1), 0.75 * (1 - 2)], [3, 2, 1])
    ),
    "The sign: a step to the right gains the right pixel and loses the left one.": lambda: (
        -dV_dtheta(3, 2)
    ),
}


@exercise("09.1", SLOPES, {"want an array of (2, 3)": lambda: [1.0, 2.0, 3.0]})
def dV_dtheta_at_three_two(answer):
    return answers.array(answer, dV_dtheta(3, 2), SLOPES)


def after_one_step(sign: float = -1, squares: float = 14, loss_slope: float | None = None):
    """Where the pixel (3, 2) is read after a step."""
    point = theta @ [3, 2, 1]
    V, *slopes = read(*point)
    dL_dV = V - 2 if loss_slope is None else loss_slope
    return point + sign * 0.01 * squares * dL_dV * np.array(slopes)


STEPS = {
    "The step goes uphill: gradient descent subtracts the gradient.": lambda: after_one_step(+1),
    "The point itself was moved by its gradient. It is theta that takes the step, and each of the "
    "three numbers of a row moves the point.": lambda: after_one_step(squares=1),
    "Each of the three numbers of a row moves the point by its own x_t, y_t or 1: once in the "
    "gradient, once again in Eq. (1).": lambda: after_one_step(squares=3 + 2 + 1),
    "dL/dV is missing: the step follows dL/dtheta, not dV/dtheta.": lambda: after_one_step(
        loss_slope=1
    ),
    "dL/dV is 2 (V - 2); with the half in the loss it is V - 2.": lambda: after_one_step(
        squares=28
    ),
    "That is where it was read before the step.": lambda: theta @ [3, 2, 1],
}


@exercise("09.2", STEPS, {"want an array of (2,)": lambda: 3.5})
def point_after_one_step(answer):
    return answers.array(answer, after_one_step(), STEPS)


def affine_backward(dG, size, points=None, mean: bool = False):
    N, _, H, W = size
    x_t, y_t = reference.target_points(H, W) if points is None else points(H, W)
    P = np.stack([x_t, y_t, np.ones(H * W)])
    dtheta = dG.reshape(N, H * W, 2).swapaxes(1, 2) @ P.T
    return dtheta / (H * W) if mean else dtheta


def in_pixels(H, W):
    return [points.ravel() for points in np.meshgrid(np.arange(float(W)), np.arange(float(H)))]


@exercise(
    "09.3",
    {
        "x_t and y_t are swapped": lambda dG, theta, size: affine_backward(
            dG, size, lambda H, W: reference.target_points(H, W)[::-1]
        ),
        "the points of the output are in pixels": lambda dG, theta, size: affine_backward(
            dG, size, in_pixels
        ),
        "the mean over the points is taken": lambda dG, theta, size: affine_backward(
            dG, size, mean=True
        ),
        "the last column, the translation, gets nothing": lambda dG, theta, size: (
            affine_backward(dG, size) * np.array([1, 1, 0])
        ),
        "x and y are swapped": lambda dG, theta, size: affine_backward(dG[..., ::-1], size),
        "align_corners is mixed up": lambda dG, theta, size: affine_backward(
            dG, size, lambda H, W: reference.target_points(H, W, align_corners=True)
        ),
        "the factor from pixels to normalised coordinates is applied once more": (
            lambda dG, theta, size: affine_backward(
                dG * [reference.pixels_per_unit(n) for n in (size[3], size[2])], size
            )
        ),
        "gets the sum over the batch": lambda dG, theta, size: np.repeat(
            affine_backward(dG, size).sum(axis=0, keepdims=True), len(dG), axis=0
        ),
        "they need a transpose": lambda dG, theta, size: (
            affine_backward(dG, size).swapaxes(1, 2).reshape(-1, 2, 3)
        ),
    },
    {"the shape is (3, 2)": lambda dG, theta, size: affine_backward(dG, size)[0].T},
)
def backward_of_affine_grid(answer):
    return verify(answer, "affine_grid", form="backward")


def transformer_backward(
    dV, U, theta, unit: bool = True, turned: bool = False, at_lattice: str = "right", targets=None
):
    """dL/dtheta, from the loops, as a learner may put them together."""
    N, C, H, W = U.shape
    x_t, y_t = reference.target_points(H, W)
    dtheta = np.zeros((N, 2, 3))
    for n in range(N):
        x_s, y_s = reference.eq01_affine_grid(theta[n], x_t, y_t)
        at = U[n], reference.to_pixels(x_s, W), reference.to_pixels(y_s, H)
        if at_lattice == "as printed":
            slopes = reference.eq07_grad_xs_as_printed(*at), reference.eq07_grad_ys_as_printed(*at)
        else:
            slopes = (
                reference.eq07_grad_xs(*at, at_lattice),
                reference.eq07_grad_ys(*at, at_lattice),
            )
        dx, dy = (reference.grad_xs(dV[n].reshape(C, -1), slope) for slope in slopes)
        if unit:
            dx, dy = dx * reference.pixels_per_unit(W), dy * reference.pixels_per_unit(H)
        columns = (x_t, y_t) if targets is None else targets(H, W)
        dtheta[n] = reference.grad_theta(dx, dy, *(columns[::-1] if turned else columns))
    return dtheta


def transformer_mistake(**mistake):
    return lambda dV, U, theta: transformer_backward(dV, U, theta, **mistake)


# The points are read right, and the gradient is collected wrong: `verify` knows mistakes of the
# grid generator that are made both ways.
COLLECTED = {
    "theta: x_t and y_t are swapped where the points are summed up: the first column of theta gets "
    "x_t, the second y_t.": transformer_mistake(turned=True),
    "theta: the points of the output are in pixels where they are multiplied in; they should be "
    "normalised, as theta is.": transformer_mistake(targets=in_pixels),
}


@exercise(
    "09.4",
    {
        "the factor from pixels to normalised coordinates is missing": transformer_mistake(
            unit=False
        ),
        **COLLECTED,
        "the last column, the translation, gets nothing": lambda dV, U, theta: (
            transformer_backward(dV, U, theta) * np.array([1, 1, 0])
        ),
        "this is Eq. (7) as printed": transformer_mistake(at_lattice="as printed"),
        "this is the derivative from the left": transformer_mistake(at_lattice="left"),
        "the sign is wrong": lambda dV, U, theta: -transformer_backward(dV, U, theta),
        "it is taken to be 1 everywhere": lambda dV, U, theta: transformer_backward(
            np.ones_like(dV), U, theta
        ),
    },
    {
        "theta: ": lambda dV, U, theta: transformer_backward(dV, U, theta) + 1,
        "returns nothing": lambda dV, U, theta: None,
    },
)
def backward_of_transformer(answer):
    report = verify(answer, "spatial_transformer", form="backward", wrt="theta")
    if report or report.names:
        return report
    rng = np.random.default_rng(904)
    cases = [
        (rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((2, 3, 4, 5)), thetas)
        for thetas in 0.5 * rng.standard_normal((3, 2, 2, 3))
    ]
    words = answers.function(answer, transformer_backward, cases, COLLECTED)
    return words if words in COLLECTED else report
