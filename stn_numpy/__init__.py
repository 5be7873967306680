"""Spatial Transformer Networks from scratch in NumPy.

Notation, used in every file (Jaderberg et al. 2015, arXiv:1506.02025):

    N, C, H, W     images in a batch, channels, height, width; arrays are (N, C, H, W)
    U              the input feature map
    theta          the parameters of a transformation, one set for each image
    G              the grid (N, H', W', 2): where to read U, for each pixel of the output
    x_t, y_t       a point of the output (target), x_s, y_s of the input (source)
    V              the output: U read at G
    dU, dG, dtheta the gradient of the loss with respect to U, G, theta

x points right, y points down; a point is always (x, y), an array always [row, column].
"""

from stn_numpy import functional
from stn_numpy.autograd import Tensor, no_grad, op
from stn_numpy.gradcheck import GradcheckError, gradcheck

__version__ = "0.1.0"
__all__ = ["GradcheckError", "Tensor", "functional", "gradcheck", "no_grad", "op"]
