"""Operations with a mistake in them, as a learner would write them.

Each factory takes the name of a bug and returns an operation ``(*arrays, **options) -> (output,
backward)``; without a bug it is right. They share no code with the package.
"""

import numpy as np


def sampler(bug=""):
    def grid_sample(U, G, align_corners=False):
        (N, C, H, W), (H_out, W_out) = U.shape, G.shape[1:3]
        size = {"x": W, "y": H}
        gx, gy = G[..., 0], G[..., 1]
        if bug == "grid read as (y, x)":
            gx, gy = gy, gx
        aligned = align_corners != (bug == "align_corners the wrong way round")

        def half(n, corners):
            return (n - 1) / 2 if corners else n / 2

        def to_pixel(g, n):
            return (g + 1) * half(n, aligned) - (0 if aligned else 0.5)

        x, y = to_pixel(gx, W), to_pixel(gy, H)
        if bug == "half pixel forgotten":
            x, y = (gx + 1) * half(W, aligned), (gy + 1) * half(H, aligned)
        if bug in ("grid not converted", "grid not converted, no factor"):
            x, y = gx, gy
        if bug == "clipped like border":
            x, y = np.clip(x, 0, W - 1), np.clip(y, 0, H - 1)
        x0, y0 = np.floor(x), np.floor(y)
        x1, y1 = x0 + 1, y0 + 1
        if bug == "far corner by ceil":
            x1, y1 = np.ceil(x), np.ceil(y)
        if bug == "clip before weight":
            x0, x1 = np.clip(x0, 0, W - 1), np.clip(x1, 0, W - 1)
            y0, y1 = np.clip(y0, 0, H - 1), np.clip(y1, 0, H - 1)
        left, right, above, below = x1 - x, x - x0, y1 - y, y - y0
        n = np.arange(N)[:, None, None]
        point_inside = (x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1)

        def corner(yc, xc):
            inside = (yc >= 0) & (yc < H) & (xc >= 0) & (xc < W)
            if bug == "points outside skipped":
                inside = inside & point_inside
            if bug == "cells over the edge skipped":
                inside = (x0 >= 0) & (x1 < W) & (y0 >= 0) & (y1 < H)
            yi, xi = np.clip(yc, 0, H - 1).astype(int), np.clip(xc, 0, W - 1).astype(int)
            return yi, xi, inside

        corners = {
            (0, 0): (*corner(y0, x0), above * left),
            (0, 1): (*corner(y0, x1), above * right),
            (1, 0): (*corner(y1, x0), below * left),
            (1, 1): (*corner(y1, x1), below * right),
        }

        def read(key):
            yi, xi, inside, _ = corners[key]
            image = np.zeros_like(n) if bug == "every point reads image 0" else n
            return U[image, :, yi, xi] * inside[..., None]  # (N, H', W', C)

        V = sum(
            U[n, :, yi, xi] * (inside * weight)[..., None]
            for yi, xi, inside, weight in corners.values()
        )

        def image_gradient(dV):
            dU = np.zeros((N, H, W, C))
            if bug == "printed Eq. (6)":
                total = sum(inside * weight for _, _, inside, weight in corners.values())
                return dU + (dV * total[..., None]).sum(axis=(1, 2))[:, None, None, :]
            if bug == "written in a loop over the points":
                for k, p, q in np.ndindex(N, H_out, W_out):
                    for yi, xi, inside, weight in corners.values():
                        if inside[k, p, q]:
                            value = dV[k, p, q] * weight[k, p, q]
                            dU[k, yi[k, p, q], xi[k, p, q]] = value
                return dU
            for key, (yi, xi, inside, weight) in corners.items():
                if bug == "upper right neighbour forgotten in dU" and key == (0, 1):
                    continue
                if bug == "weights of opposite corners in dU":
                    weight = corners[1 - key[0], 1 - key[1]][3]
                if bug == "left and right weights exchanged in dU":
                    weight = corners[key[0], 1 - key[1]][3]
                if bug == "slopes instead of weights in dU":
                    weight = (2 * key[1] - 1) * (below if key[0] else above)
                value = dV * (inside * weight)[..., None]
                if bug == "buffered +=":
                    dU[n, yi, xi] += value
                elif bug == "buffered += of inside points":
                    k = inside
                    dU[np.broadcast_to(n, k.shape)[k], yi[k], xi[k]] += value[k]
                elif bug == "assignment corner by corner":
                    k = inside
                    dU[np.broadcast_to(n, k.shape)[k], yi[k], xi[k]] = value[k]
                else:
                    np.add.at(dU, (n, yi, xi), value)
            if bug == "dU mean over the batch":
                dU /= N
            if bug == "dU mean over the points":
                dU /= H_out * W_out
            if bug == "dU twice":
                dU *= 2
            if bug == "dU minus":
                dU = -dU
            if bug == "dU minus and buffered":
                again = np.zeros_like(dU)
                for yi, xi, inside, weight in corners.values():
                    again[n, yi, xi] += dV * (inside * weight)[..., None]
                dU = -again
            return dU

        def slope_values(dV):
            """What a step along x and along y does, in pixels: (N, H', W')."""
            v00, v01, v10, v11 = (read(key) for key in corners)
            if bug == "lower left neighbour forgotten in dG":
                v10 = 0 * v10
            a, b = above[..., None], below[..., None]
            l, r = left[..., None], right[..., None]
            if bug == "weight across the slope forgotten":
                a = b = l = r = 1.0
            if bug == "weights exchanged in dG":
                a, b, l, r = b, a, r, l
            along_x = a * (v01 - v00) + b * (v11 - v10)
            along_y = l * (v10 - v00) + r * (v11 - v01)
            if bug == "values instead of slopes":
                along_x = along_y = V
            if bug == "slope of x taken along y":
                along_x, along_y = along_y, along_x
            if bug in LATTICE_BUGS:
                before_x = [U_at(y0, x0 - 1), U_at(y1, x0 - 1)]
                before_y = [U_at(y0 - 1, x0), U_at(y0 - 1, x1)]
                from_left = a * (v00 - before_x[0]) + b * (v10 - before_x[1])
                from_above = l * (v00 - before_y[0]) + r * (v01 - before_y[1])
                own_x, own_y = a * v00 + b * v10, l * v00 + r * v01
                on_x, on_y = (x == x0)[..., None], (y == y0)[..., None]
                choose = LATTICE_BUGS[bug]
                along_x = np.where(on_x, choose(from_left, along_x, own_x), along_x)
                along_y = np.where(on_y, choose(from_above, along_y, own_y), along_y)
            if bug == "channels summed too early":
                total = dV.sum(axis=-1)
                return total * along_x.sum(axis=-1), total * along_y.sum(axis=-1)
            return (dV * along_x).sum(axis=-1), (dV * along_y).sum(axis=-1)

        def U_at(yc, xc):
            yi, xi, inside = corner(yc, xc)
            return U[n, :, yi, xi] * inside[..., None]

        def backward(dV):
            dV = dV.transpose(0, 2, 3, 1)
            if bug == "dV ignored":
                dV = np.ones_like(dV)
            dU = image_gradient(dV).transpose(0, 3, 1, 2)
            dx, dy = slope_values(dV)
            per = {axis: half(n, aligned) for axis, n in size.items()}
            if bug in ("no factor", "grid not converted, no factor"):
                per = {"x": 1.0, "y": 1.0}
            if bug == "factor of the width for both":
                per = {"x": per["x"], "y": per["x"]}
            if bug == "factor of the height for both":
                per = {"x": per["y"], "y": per["y"]}
            if bug == "factor size":
                per = {"x": 2 * per["x"], "y": 2 * per["y"]}
            if bug == "factor size / 4":
                per = {"x": per["x"] / 2, "y": per["y"] / 2}
            if bug == "factor twice":
                per = {"x": per["x"] ** 2, "y": per["y"] ** 2}
            if bug == "divided by the factor":
                per = {"x": 1 / per["x"], "y": 1 / per["y"]}
            if bug in ("factors exchanged", "factors exchanged, minus"):
                per = {"x": per["y"], "y": per["x"]}
            if bug == "factor of the output":
                per = {"x": half(W_out, aligned), "y": half(H_out, aligned)}
            if bug == "factor of the other convention":
                per = {"x": half(W, not aligned), "y": half(H, not aligned)}
            dx, dy = dx * per["x"], dy * per["y"]
            if bug == "dx minus":
                dx = -dx
            if bug in ("dG minus", "dG minus and swapped", "factors exchanged, minus"):
                dx, dy = -dx, -dy
            if bug == "dG mean over channels":
                dx, dy = dx / C, dy / C
            if bug == "dG zero":
                dx, dy = 0 * dx, 0 * dy
            swapped = ("grid read as (y, x)", "dG stored as (dy, dx)", "dG minus and swapped")
            dG = np.stack([dy, dx] if bug in swapped else [dx, dy], axis=-1)
            if bug == "dG in float32":
                dG = dG.astype(np.float32)
            if bug == "gradients in the wrong order":
                return dG, dU
            return dU, dG

        return V.transpose(0, 3, 1, 2), backward

    return grid_sample


LATTICE_BUGS = {  # (from the left, from the right, the pixel itself) -> what is taken for the slope
    "left at the lattice": lambda left, right, own: left,
    "mean at the lattice": lambda left, right, own: (left + right) / 2,
    "zero at the lattice": lambda left, right, own: 0 * own,
    "printed Eq. (7)": lambda left, right, own: own,
}


def affine(bug=""):
    def affine_grid(theta, size, align_corners=False):
        N, _, H, W = size
        aligned = align_corners != (bug == "align_corners the wrong way round")

        def centres(n):
            if bug == "pixels instead of -1..1":
                return np.arange(n, dtype=float)
            if aligned:
                return np.linspace(-1, 1, n)
            return (np.arange(n) + 0.5) * 2 / n - 1

        yt, xt = np.meshgrid(centres(H), centres(W), indexing="ij")
        if bug == "y upwards":
            yt = -yt
        if bug == "x_t and y_t exchanged":
            xt, yt = yt, xt
        if bug == "points column by column":
            xt, yt = (v.T.reshape(H, W) for v in (xt, yt))
        G = np.empty((N, H, W, 2))
        for row in range(2):
            a = theta[:, row, :, None, None]
            G[..., row] = a[:, 0] * xt + a[:, 1] * yt + a[:, 2]

        def backward(dG):
            dtheta = np.zeros((N, 2, 3))
            for n in range(N):
                for row in range(2):
                    d = dG[n, ..., 1 - row if bug == "rows exchanged" else row]
                    dtheta[n, row] = (d * xt).sum(), (d * yt).sum(), d.sum()
            if bug == "no translation":
                dtheta[..., 2] = 0
            if bug == "per pixel once more":
                per = [(n - 1) / 2 if align_corners else n / 2 for n in (W, H)]
                dtheta *= np.array(per)[:, None]
            if bug == "mean over the points":
                dtheta /= H * W
            if bug == "minus":
                dtheta = -dtheta
            if bug == "minus, rows exchanged":
                dtheta = -dtheta[:, ::-1]
            if bug == "reshaped":
                dtheta = dtheta.transpose(0, 2, 1).reshape(N, 2, 3)
            if bug == "summed over the batch":
                dtheta = np.repeat(dtheta.sum(axis=0, keepdims=True), N, axis=0)
            if bug == "last point only":
                for row in range(2):
                    d = dG[:, -1, -1, row]
                    dtheta[:, row] = np.stack([d * xt[-1, -1], d * yt[-1, -1], d], axis=1)
            if bug == "(3, 2)":
                return dtheta.transpose(0, 2, 1)
            if bug == "(2, 3) for the whole batch":
                return dtheta.sum(axis=0)
            return dtheta

        return G, backward

    return affine_grid


def transformer(bug=""):
    """V = sample(U, grid(theta)), with the bug of a sampler or, behind "theta: ", of a grid."""
    of_theta = bug.startswith("theta: ")

    def spatial_transformer(U, theta, align_corners=False):
        grid = affine(bug.removeprefix("theta: ") if of_theta else "")
        sample = sampler("" if of_theta else bug)
        G, grid_backward = grid(theta, U.shape, align_corners)
        V, sample_backward = sample(U, G, align_corners)

        def backward(dV):
            dU, dG = sample_backward(dV)
            return dU, grid_backward(dG)

        return V, backward

    return spatial_transformer


def convolution(bug=""):
    def conv2d(x, W, b, stride=1, padding=0):
        sy, sx = stride if isinstance(stride, tuple) else (stride, stride)
        py, px = padding if isinstance(padding, tuple) else (padding, padding)
        (N, _, H, Wd), (O, _, kh, kw) = x.shape, W.shape
        X = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
        H_out, W_out = (H + 2 * py - kh) // sy + 1, (Wd + 2 * px - kw) // sx + 1
        y = np.zeros((N, O, H_out, W_out))
        for p, q in np.ndindex(H_out, W_out):
            window = X[:, :, p * sy : p * sy + kh, q * sx : q * sx + kw]
            y[:, :, p, q] = np.tensordot(window, W, axes=([1, 2, 3], [1, 2, 3])) + b

        def backward(dy):
            dX, dW = np.zeros_like(X), np.zeros_like(W)
            K = W[..., ::-1, ::-1] if bug == "kernel flipped in dx" else W
            if bug == "kernel transposed in dx" and kh == kw:
                K = K.swapaxes(2, 3)
            ty, tx = (1, 1) if bug == "stride ignored" else (sy, sx)
            for p, q in np.ndindex(H_out, W_out):
                at = np.s_[:, :, p * ty : p * ty + kh, q * tx : q * tx + kw]
                part = np.tensordot(dy[:, :, p, q], K, axes=([1], [0]))
                if bug == "windows overwrite":
                    dX[at] = part
                else:
                    dX[at] += part
                dW += np.tensordot(dy[:, :, p, q], X[at], axes=([0], [0]))
            if bug == "shifts overwrite":
                dX[...] = 0
                for i, j in np.ndindex(kh, kw):
                    seen = np.s_[:, :, i : i + sy * H_out : sy, j : j + sx * W_out : sx]
                    dX[seen] = np.einsum("nopq,oc->ncpq", dy, W[:, :, i, j])
            dx = dX[:, :, py : py + H, px : px + Wd]
            if bug == "padding ignored in dx":
                dx = dX[:, :, :H, :Wd]
            db = dy.sum(axis=(0, 2, 3))
            if bug == "dW flipped":
                dW = dW[..., ::-1, ::-1]
            if bug == "dW mean over the batch":
                dW = dW / N
            if bug == "dW of the last image":
                dW = np.zeros_like(W)
                for p, q in np.ndindex(H_out, W_out):
                    at = np.s_[-1, :, p * sy : p * sy + kh, q * sx : q * sx + kw]
                    dW += dy[-1, :, p, q][:, None, None, None] * X[at]
            if bug == "db mean over the places":
                db = dy.mean(axis=(2, 3)).sum(axis=0)
            if bug == "db of the first image":
                db = dy[0].sum(axis=(1, 2))
            if bug == "db minus":
                db = -db
            if bug == "db not summed over the batch":
                db = dy.sum(axis=(2, 3))
            if bug == "dW flipped, minus":
                dW = -dW[..., ::-1, ::-1]
            if bug == "dW channels first":
                dW = dW.transpose(1, 0, 2, 3)
            return dx, dW, db

        return y, backward

    return conv2d


def max_pooling(bug=""):
    def max_pool2d(x, kernel_size, stride=None, padding=0):
        kh, kw = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        stride = (kh, kw) if stride is None else stride
        sy, sx = stride if isinstance(stride, tuple) else (stride, stride)
        py, px = padding if isinstance(padding, tuple) else (padding, padding)
        N, C, H, W = x.shape
        X = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)), constant_values=-np.inf)
        H_out, W_out = (H + 2 * py - kh) // sy + 1, (W + 2 * px - kw) // sx + 1
        y = np.empty((N, C, H_out, W_out))
        for p, q in np.ndindex(H_out, W_out):
            window = X[:, :, p * sy : p * sy + kh, q * sx : q * sx + kw]
            y[:, :, p, q] = window.max(axis=(2, 3))

        def backward(dy):
            dX = np.zeros_like(X)
            ty, tx = (1, 1) if bug == "stride ignored" else (sy, sx)
            for n, c, p, q in np.ndindex(N, C, H_out, W_out):
                window = X[n, c, p * sy : p * sy + kh, q * sx : q * sx + kw]
                target = dX[n, c, p * ty : p * ty + kh, q * tx : q * tx + kw]
                d = dy[n, c, p, q]
                best = window == window.max()
                if bug == "every tie":
                    target[best] += d
                elif bug == "ties share":
                    target[best] += d / best.sum()
                elif bug == "last tie":
                    target.flat[np.flatnonzero(best)[-1]] += d
                elif bug == "spread":
                    target += d / (kh * kw)
                elif bug == "smallest":
                    finite = np.where(np.isinf(window), np.inf, window)
                    target[np.unravel_index(finite.argmin(), window.shape)] += d
                else:
                    at = np.unravel_index(window.argmax(), window.shape)
                    target[at] = d if bug == "overwritten" else target[at] + d
            if bug == "padding ignored":
                return dX[:, :, :H, :W]
            dx = dX[:, :, py : py + H, px : px + W]
            return -dx if bug == "minus" else dx

        return y, backward

    return max_pool2d


def average_pooling(bug=""):
    def avg_pool2d(x, kernel_size, stride=None, padding=0):
        kh, kw = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        stride = (kh, kw) if stride is None else stride
        sy, sx = stride if isinstance(stride, tuple) else (stride, stride)
        py, px = padding if isinstance(padding, tuple) else (padding, padding)
        N, C, H, W = x.shape
        X = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
        ones = np.pad(np.ones((H, W)), ((py, py), (px, px)))
        H_out, W_out = (H + 2 * py - kh) // sy + 1, (W + 2 * px - kw) // sx + 1
        y = np.empty((N, C, H_out, W_out))
        for p, q in np.ndindex(H_out, W_out):
            window = X[:, :, p * sy : p * sy + kh, q * sx : q * sx + kw]
            y[:, :, p, q] = window.mean(axis=(2, 3))

        def backward(dy):
            dX = np.zeros_like(X)
            for p, q in np.ndindex(H_out, W_out):
                at = np.s_[:, :, p * sy : p * sy + kh, q * sx : q * sx + kw]
                count = kh * kw
                if bug == "sum":
                    count = 1
                if bug == "padding not counted":
                    count = ones[at[2:]].sum()
                share = np.broadcast_to(dy[:, :, p, q, None, None] / count, (N, C, kh, kw))
                if bug == "overwritten":
                    dX[at] = share
                elif bug == "first pixel":
                    dX[:, :, p * sy, q * sx] += share[..., 0, 0]
                else:
                    dX[at] += share
            return dX[:, :, py : py + H, px : px + W]

        return y, backward

    return avg_pool2d


def fully_connected(bug=""):
    def linear(x, W, b):
        square = W.shape[0] == W.shape[1]

        def backward(dy):
            dx = dy @ (W.T if bug == "weight transposed" and square else W)
            dW = dy.T @ x
            if bug == "dW transposed" and square:
                dW = x.T @ dy
            if bug == "dW of shape (I, O)":
                dW = x.T @ dy
            if bug == "dW mean":
                dW = dW / len(x)
            db = dy[0] if bug == "db of the first row" else dy.sum(axis=0)
            if bug == "db mean":
                db = dy.mean(axis=0)
            if bug == "db not summed":
                db = dy
            if bug == "dW minus, mean":
                dW = -dW / len(x)
            return dx, dW, db

        return x @ W.T + b, backward

    return linear


def normalisation(bug=""):
    def batch_norm(x, mean, var, gamma, beta, training=False):
        axes = (0, *range(2, x.ndim))
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mu = (x.mean(axis=axes) if training else mean).reshape(shape)
        s2 = (x.var(axis=axes) if training else var).reshape(shape)
        root = np.sqrt(s2 + 1e-5)
        z = (x - mu) / root
        m = x.size / x.shape[1]

        def backward(dy):
            dgamma, dbeta = (dy * z).sum(axis=axes), dy.sum(axis=axes)
            if bug == "dgamma with x":
                dgamma = (dy * x).sum(axis=axes)
            dz = dy * (1 if bug == "no gamma" else gamma.reshape(shape))
            dx = dz.copy()
            if training and bug not in ("statistics constant", "mean constant"):
                dx -= dz.sum(axis=axes).reshape(shape) / m
            if training and bug not in ("statistics constant", "variance constant"):
                dx -= z * (dz * z).sum(axis=axes).reshape(shape) / m
            return dx / root, None, None, dgamma, dbeta

        return z * gamma.reshape(shape) + beta.reshape(shape), backward

    return batch_norm


def elementwise(value, slope):
    """An operation of one array from its value and its slope(x, y, dy)."""

    def function(x):
        y = value(x)
        return y, lambda dy: slope(x, y, dy)

    return function


def entropy(bug=""):
    def cross_entropy(x, target):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        p, rows = e / e.sum(axis=1, keepdims=True), np.arange(len(x))

        def backward(dy):
            dx = e.copy() if bug == "not normalised" else p.copy()
            if bug != "target not subtracted":
                dx[rows, target] -= 1
            if bug == "target alone":
                dx = np.zeros_like(p)
                dx[rows, target] = -1
            if bug == "with respect to softmax":
                dx = np.zeros_like(p)
                dx[rows, target] = -1 / p[rows, target]
            if bug == "minus":
                dx = -dx
            return dx * dy / (1 if bug == "not divided by N" else len(x)), None

        return -np.log(p[rows, target]).mean(), backward

    return cross_entropy


def squares(bug=""):
    def mse_loss(x, t):
        def backward(dy):
            d = 2 * (x - t) * dy / x.size
            if bug == "no 2":
                d = d / 2
            if bug == "divided by the batch":
                d = d * x.size / len(x)
            if bug == "not divided":
                d = d * x.size
            return d, (d if bug == "target of the same sign" else -d)

        return ((x - t) ** 2).mean(), backward

    return mse_loss
