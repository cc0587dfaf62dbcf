"""Zero-loss minimizers, written down instead of searched for."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from zl import _checks
from zl.errors import HypothesisError
from zl.jacobian import numerical_rank
from zl.network import Layer, Network, Params

__all__ = ["first_layer", "pull_back"]


def first_layer(X: Float[Array, "M0 N"], Z: Float[Array, "M N"]) -> Layer:
    """The affine layer with W X + b 1ᵀ = Z: what a first layer can do, it does.

    One Householder QR factorization of [X; c 1ᵀ]ᵀ gives the solution of least norm (c is the size
    of the data, so that the verdict on rank does not depend on units). Its residual is a small
    multiple of eps·|W||X| whatever the condition number of X; the normal equations would square
    that number first.

    Args:
        X: affinely independent inputs (M0, N).
        Z: any targets (M, N).

    Returns:
        Layer(W, b) with W (M, M0) and b (M,).

    Raises:
        HypothesisError: if the inputs are affinely dependent (rank [X; 1ᵀ] < N).
        ValueError: if X or Z is empty, not finite, of the wrong shape or in single precision.

    Source: Lemma "what the first layer can do" of the book.

    Example:
        >>> import jax
        >>> X, Z = zl.data.generic(jax.random.key(0), M0=10, N=5, Q=3)
        >>> W, b = zl.minimizers.first_layer(X, Z)
        >>> bool(abs(W @ X + b[:, None] - Z).max() < 1e-13)
        True
    """
    X = _checks.matrix("X", X)
    Z = _checks.matrix("Z", Z, columns=X.shape[1])
    return _first_layer("The first layer's lemma", X, Z)


def _first_layer(theorem: str, X, Z) -> Layer:
    M0, N = X.shape
    size = float(jnp.abs(X).max()) or 1.0
    A = jnp.vstack([X, jnp.full((1, N), size)])
    Q, R = jnp.linalg.qr(A)  # A = Q R; R has the singular values of A
    rank = numerical_rank(R, rtol=max(A.shape) * np.finfo(float).eps)
    if rank < N:
        raise HypothesisError(
            theorem,
            "affinely independent inputs",
            f"rank [X; 1] = {rank}",
            f"but N = {N} is needed"
            + (f" (and N ≤ M0 + 1 = {M0 + 1} samples at most)" if N > M0 + 1 else ""),
            "Try: drop repeated or affinely dependent samples until N equals this rank, or use "
            "inputs with more independent features.",
        )
    Wb = solve_triangular(R, Z.T, trans="T")
    Wb = (Q @ Wb).T
    return Layer(Wb[:, :-1], size * Wb[:, -1])


def pull_back(
    net: Network,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    key: PRNGKeyArray | None = None,
    fill: float = 1e-2,
) -> Params:
    """Zero loss by pulling the labels back through the network, layer by layer.

    Targets for the last hidden layer are placed inside the image of σ so that one affine map
    sends them to Y; σ⁻¹ and an affine map make them targets for the layer before, and so on; the
    first layer reaches its targets because the inputs are affinely independent. Only m ≥ Q
    neurons of a layer carry the labels; the others stay constant over the samples.

    Precision. In each layer the targets fill the fraction `fill` of the activation's window. The
    step from one layer to the one before stretches the largest targets by σ⁻¹ and scales them
    back, so small differences shrink by about fill/σ⁻¹(fill) (for tanh, fill/artanh(fill)) a
    layer: the shrinkage over L layers, (artanh(fill)/fill)^L, must stay far below 1/eps.
    The default 1e-2 gives 1.03 at L = 1000; 0.5 gives 1e41 and fails. A smaller fill costs
    digits instead where σ(0) ≠ 0 (sigmoid, softplus): eps/fill of the targets' spread is lost.

    Args:
        net: a network whose hidden widths are all at least Q.
        X: affinely independent inputs (M0, N).
        Y: any labels (Q, N).
        key: if given, the weights of layers 2 … L + 1 are random (orthonormal rows, scaled) and
            min(M₁, …, M_l) neurons of layer l carry the labels; by default they are scaled
            identities and Q neurons do.
        fill: in (0, 1).

    Returns:
        Parameters with C = 0 up to rounding.

    Raises:
        HypothesisError: if a hidden width is smaller than Q, or the inputs are affinely dependent.
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or fill is not in (0, 1).

    Warns:
        RuntimeWarning: if rounding has spoilt the fit (relative residual above 1e-6).

    Source: [CM] Theorem 2.1, in the sharper form of the book's chapter on pulling back: affinely
    independent inputs and hidden widths ≥ Q suffice, for every componentwise activation that is a
    diffeomorphism on an interval.

    Example:
        >>> import jax
        >>> net = zl.Network((10, 7, 6, 2), "tanh")
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=10, N=5, Q=2)
        >>> bool(zl.cost(net, zl.minimizers.pull_back(net, X, Y), X, Y) < 1e-24)
        True
    """
    theorem = "Pulling back ([CM] Theorem 2.1, sharper form)"
    X = _checks.matrix("X", X, rows=net.M0)
    Y = _checks.matrix("Y", Y, rows=net.Q, columns=X.shape[1])
    if not 0 < fill < 1:
        raise ValueError(f"fill must lie in (0, 1); it is {fill}.")
    for l, width in enumerate(net.widths[1:-1], start=1):
        if width < net.Q:
            raise HypothesisError(
                theorem,
                "hidden widths of at least Q",
                f"M_{l} = {width}",
                f"but Q = {net.Q} is needed",
                f"Try: widen layer {l} to {net.Q} neurons or more.",
            )
    sigma, (centre, half_width) = net.activation, net.activation.window
    live = [net.Q] * net.L + [net.Q]  # live[l - 1] neurons of layer l carry the labels
    keys = [None] * net.L
    if key is not None:
        live[:-1] = [min(net.widths[1 : l + 1]) for l in range(1, net.L + 1)]
        keys = jax.random.split(key, net.L)
    T, later = Y, []  # T: the targets of the live neurons of layer l + 1
    for l in range(net.L, 0, -1):
        V = _isometry(keys[l - 1], live[l], live[l - 1])
        middle = (T.max(axis=1) + T.min(axis=1)) / 2
        U = V.T @ (T - middle[:, None])
        scale = (float(jnp.abs(U).max()) or 1.0) / (fill * half_width)
        later.insert(0, Layer(scale * V, middle - scale * centre * V.sum(axis=1)))
        T = sigma.inverse(centre + U / scale)  # the features are centre + U / scale
    first = _first_layer(theorem, X, T)
    _warn_if_spoilt(Network((net.M0, *live), sigma), (first, *later), X, Y, fill)
    shapes = zip((first, *later), net.widths[1:], net.widths[:-1], strict=True)
    return tuple(_embed(layer, rows, columns, centre, sigma) for layer, rows, columns in shapes)


def _isometry(key, rows: int, columns: int):
    """A matrix with orthonormal rows: the identity's first rows, or random ones."""
    if key is None:
        return jnp.eye(rows, columns)
    return jax.random.orthogonal(key, columns)[:rows]


def _embed(live: Layer, rows: int, columns: int, centre: float, sigma) -> Layer:
    """The live block of a layer, completed by neurons that stay at the window's centre.

    A neuron beyond the live ones hands its constant on to the neuron of the same number with the
    layer's own scale, so the completed W has the rank of a (scaled) identity where it can.
    """
    (m, n), scale = live.W.shape, jnp.linalg.norm(live.W[0])
    passed = jnp.arange(max(m, n), max(m, n, min(rows, columns)))
    W = jnp.zeros((rows, columns)).at[:m, :n].set(live.W).at[passed, passed].set(scale)
    b = jnp.full(rows, sigma.inverse(jnp.float64(centre))).at[:m].set(live.b)
    return Layer(W, b.at[passed].add(-scale * centre))


def _warn_if_spoilt(net: Network, params: Params, X, Y, fill: float) -> None:
    residual = net.apply(params, X) - Y
    error = float(jnp.linalg.norm(residual) / (jnp.linalg.norm(Y) + np.finfo(float).tiny))
    if not error < 1e-6:
        warnings.warn(
            f"rounding has spoilt this fit: relative residual {error:.1e} with fill = {fill} and "
            f"L = {net.L}. In real arithmetic it is exact; the docstring says what fill does.",
            RuntimeWarning,
            stacklevel=3,
        )
