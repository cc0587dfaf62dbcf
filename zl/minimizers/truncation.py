"""The construction that sends one class a layer to a point."""

import functools

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Int

from zl import _checks
from zl.errors import HypothesisError
from zl.minimizers.regression import warn_if_spoilt
from zl.network import Layer, Network, Params

TRUNCATING = "Truncation maps ([CE24], sharper form)"


def truncating(
    X: Float[Array, "M0 N"], labels: Int[Array, " N"] | Float[Array, "Q N"]
) -> tuple[Network, Params]:
    """Sequentially separable classes, one sent to a point in each ReLU layer.

    Classes are sequentially linearly separable if, in some order, a hyperplane separates each of
    them strictly from all those that come later. Disjoint clusters that are small enough are.
    Linear programming finds the order and affine functions h_1 … h_{Q-1} with h_k ≤ -1 on class
    k and h_k ≥ 1 on all later classes; taking whatever class can be separated next loses nothing,
    because a class separable from some classes is separable from fewer.

    In the coordinates u = (h_1(x), …, h_{Q-1}(x)) the truncation map τ(u) = W⁻¹(σ(Wu + b) - b)
    with b = -Wp fixes the cone {W(u - p) ≥ 0} and sends the opposite cone to its tip p. The cone
    of layer k has the tip p_k = 1 - e_k and opens around e_k, so flat that class k lies in the
    opposite cone, and in the cone itself all later classes (u_k ≥ 1) and all earlier tips (their
    u_k is 1). Layer Q does the same to the last class, for which u_1 + … + u_{Q-1} ≥ Q - 1, while
    that sum is Q - 2 at the other tips. The Q tips are affinely independent, so the output layer
    is linear regression on Q points.

    Precision. Let ρ be the largest |h_k(x)|, the width of the data in units of half the margin. The
    cones have condition numbers of about Qρ, and the residual lies between eps and eps·(Qρ)².

    Args:
        X: inputs (M0, N).
        labels: classes 0, 1, …, Q - 1 as integers (N,), or one-hot columns (Q, N).

    Returns:
        The network, with Q hidden layers of Q - 1 neurons (counting the classes that occur; at
        least one neuron), so K = (Q - 1)(M0 + 1) + (Q - 1)²Q + Q² however large N is, and its
        parameters: output e_q for samples of class q - 1, up to rounding.

    Raises:
        HypothesisError: if the classes are not sequentially linearly separable; the message names
            those that cannot be separated from each other.
        ValueError: if X or labels is empty, not finite, of the wrong shape or type or in single
            precision.

    Warns:
        RuntimeWarning: if rounding has spoilt the fit (relative residual above 1e-6).

    Source: [CE24] (truncation maps, one class a layer). That width Q - 1 suffices, whatever the
    input dimension, is the book's own.

    Example:
        >>> import jax
        >>> X, Y = zl.data.sequentially_separable(jax.random.key(0), M0=5, N=200, Q=4)
        >>> net, params = zl.minimizers.truncating(X, Y)
        >>> net.widths, net.K, bool(zl.cost(net, params, X, Y) < 1e-24)
        ((5, 3, 3, 3, 3, 4), 70, True)
    """
    X = np.asarray(_checks.matrix("X", X))
    labels, Q = _checks.classes("labels", labels, X.shape[1])
    order, h = separating_sequence(X, labels)
    layers = _truncations(X, h)
    net = Network(truncating_widths(len(X), len(order), Q), "relu")
    hidden = Network(net.widths[:-1], "relu")  # evaluated as the fit will be, rounding included
    F = np.maximum(hidden.apply(tuple(layers), X), 0.0)
    points = F[:, [np.flatnonzero(labels == q)[0] for q in order]]
    A = np.vstack([points, np.ones(len(order))])
    Wb = scipy.linalg.lstsq(A.T, np.eye(Q)[order])[0].T
    params = tuple(jax.tree.map(_checks.array, [*layers, Layer(Wb[:, :-1], Wb[:, -1])]))
    warn_if_spoilt(net, params, X, np.eye(Q)[:, labels], "these hyperplanes")
    return net, params


def truncating_widths(M0: int, C: int, Q: int) -> tuple[int, ...]:
    """The widths of the network that `truncating` builds if C of the Q classes occur."""
    return (M0, *[max(C - 1, 1)] * C, Q)


def separating_sequence(X: np.ndarray, labels: np.ndarray) -> tuple[list[int], Layer]:
    """An order of the classes and h: row k is ≤ -1 on class k of the order, ≥ 1 on later ones."""
    order, h = _sequence(X.shape, X.tobytes(), labels.astype(np.int64).tobytes())
    return list(order), h


@functools.lru_cache(maxsize=1)  # `guarantees` and the call that it names ask the same
def _sequence(shape: tuple[int, int], X: bytes, labels: bytes) -> tuple[list[int], Layer]:
    X, labels = np.frombuffer(X).reshape(shape), np.frombuffer(labels, np.int64)
    remaining = [int(q) for q in np.unique(labels)]
    order, rows = [], []
    while len(remaining) > 1:
        X_left, left = X[:, np.isin(labels, remaining)], labels[np.isin(labels, remaining)]
        found = {q: _separate(X_left[:, left == q], X_left[:, left != q]) for q in remaining}
        found = {q: h for q, h in found.items() if h is not None}
        if not found:
            raise HypothesisError(
                TRUNCATING,
                "sequentially linearly separable classes",
                f"of the classes {', '.join(map(str, remaining))} none is strictly separated by a "
                "hyperplane from the others",
                "but one of them must be",
                "Try: `class_index`, which needs only distinct inputs; or inputs with more "
                "features.",
            )
        # The widest margins first: |h| is 1 at the margin.
        easiest = sorted(found, key=lambda q: np.abs(found[q][0] @ X_left + found[q][1]).max())
        easiest = easiest[: len(remaining) - 1]
        order += easiest
        rows += [found[q] for q in easiest]
        remaining = [q for q in remaining if q not in easiest]
    if not rows:  # a single class: u = 1 is as good as any
        rows = [(np.zeros(len(X)), 1.0)]
    return order + remaining, Layer(np.array([w for w, _ in rows]), np.array([c for _, c in rows]))


def _separate(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, float] | None:
    """(w, c) with w·x + c ≤ -1 inside and ≥ 1 outside, of the widest margin; None if impossible.

    Linear programming proposes a direction, in coordinates that have all features in the same
    units; the thresholds come from the data, so its tolerances do not matter.
    """
    from scipy.optimize import linprog  # here, as its import changes the filters of warnings

    points = np.hstack([inside, outside])
    middle, spread = points.mean(axis=1), np.ptp(points, axis=1)
    scale = np.where(spread > 1e-14 * np.abs(points).max(axis=1), spread, np.inf)
    signs = np.repeat([1.0, -1.0], [inside.shape[1], outside.shape[1]])
    scaled = ((points - middle[:, None]) / scale[:, None]).T
    # Maximize the margin m subject to ±(w·x + c) + m ≤ 0 and |w| ≤ 1 in each coordinate.
    constraints = np.column_stack([signs[:, None] * scaled, signs, np.ones(len(signs))])
    bounds = [(-1, 1)] * len(points) + [(None, None), (0, None)]
    objective, zeros = -np.eye(len(points) + 2)[-1], np.zeros(len(signs))
    options = {"presolve": False}  # which takes longer here than the rest
    solution = linprog(objective, constraints, zeros, bounds=bounds, options=options)
    w = solution.x[:-2] / scale
    below, above = (w @ inside).max(), (w @ outside).min()
    half = (above - below) / 2
    if half <= 1e-12 * (np.abs(w) @ np.abs(points).max(axis=1)):
        return None
    return w / half, -(above + below) / (2 * half)


def _truncations(X: np.ndarray, h: Layer) -> list[Layer]:
    """The hidden layers: u = h(x), then for each class a cone that sends it to the cone's tip."""
    M = len(h.b)
    tips = [*(1.0 - np.eye(M))[: M if h.W.any() else 0], np.full(M, 1 - 1 / (2 * M))]
    axes = [*np.eye(M)[: len(tips) - 1], np.full(M, -1 / np.sqrt(M))]
    layers, features = [], X
    T, s = h  # the truncated u is T features + s
    for tip, axis in zip(tips, axes, strict=True):
        V = T @ features + s[:, None] - tip[:, None]
        W, inverse = _cone(axis, V)
        layers.append(Layer(W @ T, W @ (s - tip)))
        features = np.maximum(W @ V, 0.0)
        T, s = inverse, tip
    return layers


def _cone(axis: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W and W⁻¹, with W V of one sign in each column, that of its component along the axis.

    W = (J + ε(I - J)) H, where J projects onto the diagonal and the reflection H takes the axis
    to the diagonal. As ε → 0 the cone W v ≥ 0 opens to the half-space axis·v ≥ 0; ε is half of
    what the columns of V allow.
    """
    M = len(axis)
    J = np.full((M, M), 1 / M)
    mirror = axis - 1 / np.sqrt(M)
    H = np.eye(M) - 2 * np.outer(mirror, mirror) / (mirror @ mirror or 1.0)
    sideways = np.abs((np.eye(M) - J) @ H @ V).max(axis=0)
    steepest = (np.sqrt(M) * sideways / np.abs(axis @ V)).max()
    eps = 0.5 / max(steepest, 0.5)
    return (J + eps * (np.eye(M) - J)) @ H, H @ (J + (np.eye(M) - J) / eps)
