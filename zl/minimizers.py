"""Zero-loss minimizers, written down instead of searched for."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, PRNGKeyArray

from zl import _checks, _random
from zl.errors import HypothesisError
from zl.jacobian import numerical_rank
from zl.network import Layer, Network, Params

__all__ = ["first_layer", "pull_back"]

EPS = np.finfo(float).eps


def first_layer(X: Float[Array, "M0 N"], Z: Float[Array, "M N"]) -> Layer:
    """The affine layer with W X + b 1ᵀ = Z: what a first layer can do, it does.

    One Householder QR factorization of [X; c 1ᵀ]ᵀ gives the solution with the least |W|² + |b|²/c²
    (c = max |x_ij|, so that the verdict on rank does not depend on units). Its residual is a small
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
    X = np.asarray(_checks.matrix("X", X))
    Z = np.asarray(_checks.matrix("Z", Z, columns=X.shape[1]))
    return jax.tree.map(jnp.asarray, _first_layer("The first layer's lemma", X, Z))


def _first_layer(theorem: str, X, Z) -> Layer:
    M0, N = X.shape
    size = np.abs(X).max() or 1.0
    A = np.vstack([X, np.full((1, N), size)])
    (reflectors, tau), R = scipy.linalg.qr(A, mode="raw")  # R has the singular values of A
    rank = numerical_rank(R, rtol=max(A.shape) * EPS)
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
    Wb = np.zeros((M0 + 1, len(Z)), order="F")
    Wb[:N] = scipy.linalg.solve_triangular(R, Z.T, trans="T")
    Wb = scipy.linalg.lapack.dormqr("L", "N", reflectors, tau, Wb, lwork=64 * (len(Z) + 65))[0].T
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
    first layer reaches its targets because the inputs are affinely independent. Only as many
    neurons of a layer as necessary carry the labels; the others stay constant over the samples.

    Precision. In each layer the targets fill the fraction `fill` of the activation's window. The
    step from one layer to the one before stretches the largest targets by σ⁻¹ and scales them
    back, so small differences shrink by about fill/σ⁻¹(fill) (for tanh, fill/artanh(fill)) a
    layer: the shrinkage over L layers, (artanh(fill)/fill)^L, must stay far below 1/eps.
    The default 1e-2 gives 1.03 at L = 1000; 0.5 gives 1e41 and fails. A smaller fill costs
    digits instead where σ(0) ≠ 0 (sigmoid, softplus): eps/fill of the targets' spread is lost.

    Args:
        net: a network whose hidden widths are all at least r = rank(Y - ȳ1ᵀ), the rank of the
            centred labels. Widths of at least Q always do, as r ≤ min(Q, N - 1).
        X: affinely independent inputs (M0, N).
        Y: any labels (Q, N).
        key: if given, the weights of layers 2 … L + 1 are random (orthonormal rows, scaled) and
            min(M₁, …, M_l) neurons of layer l carry the labels; by default they are scaled
            identities and min(Q, smallest width) neurons do.
        fill: in (0, 1).

    Returns:
        Parameters with C = 0 up to rounding.

    Raises:
        HypothesisError: if a hidden width is smaller than r, or the inputs are affinely dependent.
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or fill is not in (0, 1).

    Warns:
        RuntimeWarning: if rounding has spoilt the fit (relative residual above 1e-6).

    Source: [CM] Theorem 2.1, in the sharper form of the book's chapter on pulling back, for every
    componentwise activation that is a diffeomorphism on an interval.

    Example:
        >>> import jax
        >>> net = zl.Network((10, 7, 6, 2), "tanh")
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=10, N=5, Q=2)
        >>> bool(zl.cost(net, zl.minimizers.pull_back(net, X, Y), X, Y) < 1e-24)
        True
    """
    theorem = "Pulling back ([CM] Theorem 2.1, sharper form)"
    X = np.asarray(_checks.matrix("X", X, rows=net.M0))
    Y = np.asarray(_checks.matrix("Y", Y, rows=net.Q, columns=X.shape[1]))
    if not 0 < fill < 1:
        raise ValueError(f"fill must lie in (0, 1); it is {fill}.")
    B, mean = _label_space(theorem, net, Y)  # Y = mean 1ᵀ + B Bᵀ(Y - mean 1ᵀ)
    sigma, (centre, half_width) = net.activation, net.activation.window
    live = [B.shape[1]] * (net.L + 1)  # live[l - 1] neurons of layer l carry the labels
    rng = None
    if key is not None:
        live[:-1] = [min(net.widths[1 : l + 1]) for l in range(1, net.L + 1)]
        rng = _random.generator(key)
    T, later = B.T @ (Y - mean[:, None]), []  # T: targets of the live neurons of layer l + 1
    size = unit = np.abs(Y).max() or 1.0
    for l in range(net.L, 0, -1):
        V = np.eye(live[l], live[l - 1])
        if rng is not None:
            V = _random.orthonormal(rng, live[l], live[l - 1])
        middle = T.mean(axis=1)
        U = V.T @ (T - middle[:, None])
        # What varies only by rounding is constant, and fills no window: any scale will do.
        spread, rounding = np.abs(U).max(), T.shape[1] * EPS * size
        scale = spread / (fill * half_width) if spread > rounding else unit
        later.insert(0, Layer(scale * V, middle - scale * centre * V.sum(axis=1)))
        T = np.asarray(sigma.inverse(centre + U / scale))  # the features are centre + U / scale
        size, unit = np.abs(T).max(), 1.0
    layers = [_first_layer(theorem, X, T), *later]
    layers[-1] = Layer(B @ layers[-1].W, B @ layers[-1].b + mean)
    _warn_if_spoilt(Network((net.M0, *live[:-1], net.Q), sigma), tuple(layers), X, Y, fill)
    rest = float(sigma.inverse(jnp.float64(centre)))
    shapes = zip(layers, net.widths[1:], net.widths[:-1], strict=True)
    return tuple(_embed(layer, rows, columns, centre, rest) for layer, rows, columns in shapes)


def _label_space(theorem: str, net: Network, Y):
    """An orthonormal basis of the space the centred labels must be drawn from, and their mean.

    Where all widths allow it this is all of R^Q; otherwise the span of the centred labels.
    """
    mean = Y.mean(axis=1)
    narrowest = min(net.widths[1:])
    if narrowest >= net.Q:
        return np.eye(net.Q), mean
    B, singular_values, _ = np.linalg.svd(Y - mean[:, None], full_matrices=False)
    rank = int(np.sum(singular_values > 4 * max(Y.shape) * EPS * np.linalg.norm(Y)))
    if narrowest < rank:
        l = net.widths.index(narrowest, 1)
        raise HypothesisError(
            theorem,
            "hidden widths of at least the rank of the centred labels",
            f"M_{l} = {narrowest}",
            f"but rank (Y - ȳ1ᵀ) = {rank} is needed (Q = {net.Q} always suffices)",
            f"Try: widen layer {l} to {rank} neurons or more.",
        )
    return B[:, : max(rank, 1)], mean


def _embed(live: Layer, rows: int, columns: int, centre: float, rest: float) -> Layer:
    """The live block of a layer, completed by neurons that stay at the window's centre.

    A neuron beyond the live ones hands its constant on to the neuron of the same number with the
    layer's own scale, so the completed W has the rank of a (scaled) identity where it can.
    """
    (m, n), scale = live.W.shape, np.linalg.norm(live.W[0])
    W, b = np.zeros((rows, columns)), np.full(rows, rest)
    W[:m, :n], b[:m] = live
    passed = np.arange(max(m, n), min(rows, columns))
    W[passed, passed] = scale
    b[passed] -= scale * centre
    return Layer(jnp.asarray(W), jnp.asarray(b))


def _warn_if_spoilt(net: Network, params: Params, X, Y, fill: float) -> None:
    error = np.linalg.norm(net.apply(params, X) - Y) / (np.linalg.norm(Y) or 1.0)
    if not error < 1e-6:
        warnings.warn(
            f"rounding has spoilt this fit: relative residual {error:.1e} with fill = {fill} and "
            f"L = {net.L}. In real arithmetic it is exact; the docstring says what fill does.",
            RuntimeWarning,
            stacklevel=3,
        )
