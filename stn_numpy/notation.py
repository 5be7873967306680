"""The symbols of the book: what each is, its shape, its unit, and where it is in the code.

Data for appendix C, which shows them as tables and runs every name in them.
"""

import inspect
import math
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parent


class Size(NamedTuple):
    """A number of things, the index that counts them, and a value to try shapes with."""

    letter: str
    words: str
    index: str
    example: int


class Symbol(NamedTuple):
    """A symbol of the book, in Markdown.

    shape: in the letters of `SIZES`, "(N, C, H, W)"; "()" is one number. code: what appendix C
    calls such an array. function: a public name of the package, below `stn_numpy`, that makes or
    takes it. chapter: the one that explains it, "06" or "B".
    """

    symbol: str
    words: str
    shape: str
    unit: str
    code: str
    function: str
    chapter: str


# The examples all differ, so that no two sizes can be exchanged unnoticed; a kernel of kh x kw
# pixels on H x W gives H' x W', so that the layers have the same letters.
SIZES = [
    Size("N", "images in a batch", "n", 2),
    Size("C", "channels of the input", "c", 3),
    Size("H", "rows of the input", "n", 10),
    Size("W", "columns of the input", "m", 19),
    Size("H'", "rows of the output", "p", 7),
    Size("W'", "columns of the output", "q", 8),
    Size("O", "output channels of a convolution, outputs of a linear layer", "o", 5),
    Size("kh", "rows of a window", "i", 4),
    Size("kw", "columns of a window", "j", 12),
    Size("K", "classes", "k", 9),
]

SYMBOLS = {
    "The image and the points": [
        Symbol(
            "$U$",
            "the input feature map, the image that is read",
            "(N, C, H, W)",
            "grey value",
            "U",
            "functional.grid_sample",
            "06",
        ),
        Symbol(
            "$V$",
            "the output: $U$, read at $G$",
            "(N, C, H', W')",
            "grey value",
            "V",
            "functional.grid_sample",
            "06",
        ),
        Symbol(
            r"$\theta$",
            "the numbers of the transformation, one set an image",
            "(N, 2, 3)",
            "normalised (pixels in the worked example)",
            "theta",
            "functional.affine_grid",
            "02",
        ),
        Symbol(
            "$s, t_x, t_y$",
            "scale and shift of Eq. (2)",
            "(N, 3)",
            "$s$ has none; normalised",
            "s_tx_ty",
            "functional.attention_matrix",
            "02",
        ),
        Symbol(
            r"$A_\theta$",
            r"the matrix of Eq. (2), a $\theta$ of three numbers",
            "(N, 2, 3)",
            "normalised",
            "A_theta",
            "functional.attention_matrix",
            "02",
        ),
        Symbol(
            "$x_i^t, y_i^t$",
            "point $i$ of the output, the target",
            "(H'W',)",
            "normalised",
            "x_t",
            "reference.target_points",
            "02",
        ),
        Symbol(
            "$x_i^s, y_i^s$",
            "the point of the input it is read from, the source",
            "(H'W',)",
            "pixels in Eqs. (3) to (7)",
            "x_s",
            "reference.eq01_affine_grid",
            "02",
        ),
        Symbol(
            "$G$",
            "the grid: all source points, as $(x, y)$",
            "(N, H', W', 2)",
            "normalised",
            "G",
            "functional.affine_grid",
            "02",
        ),
        Symbol(
            "$g$",
            "one normalised coordinate, along either axis",
            "(H'W',)",
            "normalised",
            "g",
            "reference.to_normalised",
            "04",
        ),
        Symbol(
            "$W / 2$",
            "the factor nobody prints (or $(W - 1) / 2$)",
            "()",
            "pixels per normalised unit",
            "per_unit",
            "reference.pixels_per_unit",
            "04",
        ),
    ],
    "Kernels": [
        Symbol(
            "$d = x - m$",
            "from the pixel $m$ of a row to the point $x$",
            "(W,)",
            "pixels",
            "d",
            "functional.kernels.Kernel",
            "05",
        ),
        Symbol(
            "$k(d)$",
            "the kernel: how much the pixel counts",
            "(W,)",
            "none",
            "k",
            "functional.kernels.Bilinear",
            "05",
        ),
        Symbol(
            "$k'(d)$",
            "its slope, at kinks that from the right",
            "(W,)",
            "per pixel",
            "k_slope",
            "functional.kernels.Bilinear",
            "08",
        ),
        Symbol(
            r"$\delta$",
            "1 at 0, else 0: the kernel of Eq. (4)",
            "()",
            "none",
            "delta",
            "reference.eq04_integer_kernel",
            "05",
        ),
        Symbol(
            r"$\Phi_x, \Phi_y$",
            "numbers that a kernel may have, such as the $a$ of the bicubic",
            "()",
            "none",
            "a_cubic",
            "functional.kernels.Bicubic",
            "05",
        ),
        Symbol(
            "$a, b$",
            r"from the corner of its cell to the point: $x - \lfloor x \rfloor$, and for $y$",
            "(H'W',)",
            "pixels, 0 to 1",
            "a",
            "functional.grid_sample",
            "06",
        ),
    ],
    "Gradients": [
        Symbol("$L$", "the loss", "()", "its own", "L", "functional.mse_loss", "09"),
        Symbol(
            r"$\partial V_i / \partial U_{nm}$",
            "what a pixel counts at a point; the same for all channels",
            "(H'W', H, W)",
            "none",
            "dV_dU",
            "reference.eq06_grad_U",
            "07",
        ),
        Symbol(
            "$S$",
            "all those weights as a matrix: $V = S U$",
            "(H'W', HW)",
            "none",
            "S",
            "reference.eq06_grad_U",
            "07",
        ),
        Symbol(
            "$S^T$",
            "its transpose, the way back",
            "(HW, H'W')",
            "none",
            "S_T",
            "reference.grad_U",
            "07",
        ),
        Symbol(
            r"$\partial V_i^c / \partial x_i^s$",
            "what a step of the point to the right does",
            "(C, H'W')",
            "grey value per pixel",
            "dV_dxs",
            "reference.eq07_grad_xs",
            "08",
        ),
        Symbol(
            r"$\partial V_i^c / \partial y_i^s$",
            "what a step of the point down does",
            "(C, H'W')",
            "grey value per pixel",
            "dV_dys",
            "reference.eq07_grad_ys",
            "08",
        ),
        Symbol(
            r"$\partial L / \partial V$",
            "the gradient from above, the cotangent",
            "(N, C, H', W')",
            "L per grey value",
            "dV",
            "functional.grid_sample",
            "07",
        ),
        Symbol(
            r"$\partial L / \partial U$",
            "what every pixel collects",
            "(N, C, H, W)",
            "L per grey value",
            "dU",
            "functional.grid_sample",
            "07",
        ),
        Symbol(
            r"$\partial L / \partial G$",
            "what every point collects, over the channels",
            "(N, H', W', 2)",
            "L per normalised unit",
            "dG",
            "functional.grid_sample",
            "08",
        ),
        Symbol(
            r"$\partial L / \partial \theta$",
            r"what $\theta$ collects, over the points",
            "(N, 2, 3)",
            "L per normalised unit",
            "dtheta",
            "functional.affine_grid",
            "09",
        ),
        Symbol(
            r"$\eta$",
            "the learning rate: how far to go against the gradient",
            "()",
            r"$\theta^2$ per L",
            "eta",
            "optim.SGD",
            "09",
        ),
        Symbol(
            r"$\varepsilon$",
            "the step of finite differences, `eps`",
            "()",
            "that of what is moved",
            "eps",
            "gradcheck.gradcheck",
            "10",
        ),
    ],
    "Layers": [
        Symbol("$x$", "the input of a layer", "(N, C, H, W)", "any", "x", "functional.conv2d", "B"),
        Symbol(
            "$W$",
            "the weights: output and input channel, row and column of the window",
            "(O, C, kh, kw)",
            "y per x",
            "weight",
            "functional.conv2d",
            "B",
        ),
        Symbol("$b$", "the bias", "(O,)", "that of y", "bias", "functional.conv2d", "B"),
        Symbol(
            "$y$",
            "the output of a layer",
            "(N, O, H', W')",
            "any",
            "y",
            "functional.conv2d",
            "B",
        ),
        Symbol(
            "columns",
            "every window as a column, `im2col`",
            "(C kh kw, H'W')",
            "that of x",
            "columns",
            "functional.conv2d",
            "B",
        ),
        Symbol(
            "scores",
            "what the classifier says of each class",
            "(N, K)",
            "none",
            "scores",
            "functional.cross_entropy",
            "11",
        ),
    ],
}

# Letters that stand for something else, or for something passing, inside of one chapter.
LETTERS = [
    ("$d_x, d_y$", "how far a picture is shifted", "01"),
    ("$f$", "any function of an image", "01"),
    ("$k$", "how many pixels something is shifted", "01"),
    ("$p$", "how many poolings", "01"),
    ("$T$", "a transformation of an image", "01"),
    (r"$\mathcal{T}_\theta$", r"the transformation that $\theta$ stands for, of any kind", "02"),
    ("$A, B$", "any two images", "03"),
    ("$d$", "a shift", "03"),
    ("$R_{in}, R_{out}$", "the rulers of input and output: from normalised to pixels", "04"),
    ("$f_W, f_H$", "the unit factors of the two axes", "04"),
    (r"$\theta_n$", "$n$ as an index says: normalised", "04"),
    ("$a$", "the number that shapes the bicubic kernel", "05"),
    ("$r$", "the distance $|d|$", "05"),
    ("$D$", "a direction: a change of the whole image", "07"),
    ("$j$", "a pixel, by its place in a row of all pixels", "07"),
    ("$u, v$", "any two vectors", "07"),
    ("$g$", "in an exercise, the slope of the loss", "08"),
    ("$h$", "the step of a difference", "08"),
    ("$I$", "the image that is read", "08"),
    ("$t$", "how far further to the right an image is read, in pixels", "08"),
    ("$T$", "the copy it is compared with", "08"),
    ("$u$", "the slope as printed", "08"),
    ("$x_n$", "$n$ as an index says: normalised", "09"),
    ("$d, g$", "a direction, and the gradient", "10"),
    ("$f$", "any function of one number", "10"),
    ("$u$", "the rounding error of a number", "10"),
    ("$v$", "the cotangent", "10"),
    ("$g$", r"the gradient of $\theta$", "11"),
    ("$h, u$", "what arrives at the last layer of the localisation net", "11"),
    ("$k, j$", r"a number of $\theta$, and one that arrives", "11"),
    ("$z$", "how many standard deviations make an interval", "13"),
    (r"$\alpha$", "an angle", "13"),
    ("$r$", "the rule of a padding mode: where a point is read instead", "14"),
    ("$u$", "what arrives at the last layer of a localisation net", "14"),
    ("$u, v, w$", "$x$, $y$ and the divisor before a projective division", "15"),
    ("$e, f$", r"two more numbers of a projective $\theta$; $f$ also the height of a sheet", "15"),
    (r"$r, \varphi$", "a distance, and the dent that a control point makes", "15"),
    ("$l, p$", "one more control point; a point, by both coordinates", "15"),
    (r"$\Phi, P$", "the dents and the planes at the control points, as matrices", "15"),
    ("$z$", "the values at the control points", "15"),
    (
        "$B$",
        "how far each point of a thin plate spline follows each control point",
        "15",
    ),
    ("$e, r$", "in co-localisation, the codes of a window and of a random window", "15"),
    (r"$\epsilon$", "the least divisor", "15"),
    ("$a, b, t$", "numbers of small examples", "A"),
    (r"$w, b, \beta$", "weight and bias of a localisation net of one or two numbers", "A"),
    ("$n$", "how many operations stand in a row", "A"),
    ("$u$", "an image of one pixel, or all pixels in a row", "A"),
    ("$i, j$", "row and column inside of a window", "B"),
    ("$p, q$", "row and column of a place of the window, a pixel of the output", "B"),
    ("$r, s$", "row and column of a pixel", "B"),
    ("$S$", "im2col as a matrix", "B"),
    ("$w$", "one weight", "B"),
    ("$z$", "any vector", "B"),
    ("$f$", "any function", "C"),
]


def shape_of(shape: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A shape in numbers: "(N, H'W')" is (2, 56) for N = 2, H' = 7, W' = 8."""
    parts = [part.strip() for part in shape.strip("()").split(",")]
    return tuple(
        int(part)
        if part.isdigit()
        else math.prod(sizes[letter] for letter in re.findall(r"kh|kw|[A-Z]'?", part))
        for part in parts
        if part
    )


def named(function: str) -> Any:
    """What a name such as "functional.conv2d" stands for. Raises AttributeError or ImportError."""
    return pkgutil.resolve_name(f"stn_numpy.{function}")


def file_of(function: str) -> str:
    """The file in which it is written, such as "functional/conv.py"."""
    path = Path(inspect.getsourcefile(inspect.unwrap(named(function))))
    return path.relative_to(PACKAGE).as_posix()
