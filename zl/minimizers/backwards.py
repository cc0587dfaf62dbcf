"""Constructions that read the network backwards, from the labels to the inputs."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, PRNGKeyArray

from zl import _checks, _random
from zl._known import entrywise, product
from zl.errors import HypothesisError
from zl.jacobian import Rank, numerical_rank
from zl.minimizers.regression import factor, regress, warn_if_spoilt
from zl.network import Layer, Network, Params

PULL_BACK = "Pulling back ([CM] Theorem 2.1, sharper form)"
POSITIVE_SECTOR = "The positive sector ([CM])"


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
    X = np.asarray(_checks.matrix("X", X, rows=net.M0))
    Y = np.asarray(_checks.matrix("Y", Y, rows=net.Q, columns=X.shape[1]))
    if not 0 < fill < 1:
        raise ValueError(f"fill must lie in (0, 1); it is {fill}.")
    B, mean = label_space(net, Y)  # Y = mean 1ᵀ + B Bᵀ(Y - mean 1ᵀ)
    sigma, (centre, half_width) = net.activation, net.activation.window
    live = [B.shape[1]] * (net.L + 1)  # live[l - 1] neurons of layer l carry the labels
    rng = None
    if key is not None:
        live[:-1] = [min(net.widths[1 : l + 1]) for l in range(1, net.L + 1)]
        rng = _random.generator(key)
    T, later = product(B.T, Y - mean[:, None]), []  # T: targets of the live neurons of layer l + 1
    size = unit = np.abs(Y).max() or 1.0
    for l in range(net.L, 0, -1):
        V = np.eye(live[l], live[l - 1])
        if rng is not None:
            V = _random.orthonormal(rng, live[l], live[l - 1])
        middle = T.mean(axis=1)
        U = product(V.T, T - middle[:, None])
        # What varies only by rounding is constant, and fills no window: any scale will do.
        spread, rounding = np.abs(U).max(), T.shape[1] * np.finfo(float).eps * size
        scale = spread / (fill * half_width) if spread > rounding else unit
        later.insert(0, Layer(scale * V, middle - scale * centre * V.sum(axis=1)))
        T = entrywise(sigma.inverse, centre + U / scale)  # the features are centre + U / scale
        size, unit = np.abs(T).max(), 1.0
    layers = [regress(factor(PULL_BACK, X), T), *later]
    layers[-1] = Layer(product(B, layers[-1].W), B @ layers[-1].b + mean)
    small = Network((net.M0, *live[:-1], net.Q), sigma)
    warn_if_spoilt(small, tuple(layers), X, Y, f"fill = {fill} and L = {net.L}")
    rest = float(entrywise(sigma.inverse, np.array([centre]))[0])
    shapes = zip(layers, net.widths[1:], net.widths[:-1], strict=True)
    return tuple(_embed(layer, rows, columns, centre, rest) for layer, rows, columns in shapes)


def label_rank(Y: np.ndarray) -> Rank:
    """The rank of the centred labels, and their singular values.

    Subtracting the mean leaves rounding errors of the size of the labels themselves, so that size
    sets the tolerance.
    """
    centred = Y - Y.mean(axis=1, keepdims=True)
    noise = 4 * max(Y.shape) * np.finfo(float).eps * np.linalg.norm(Y)
    if np.linalg.norm(centred) <= noise:
        return numerical_rank(np.zeros_like(Y))
    return numerical_rank(centred, rtol=min(noise / np.linalg.norm(centred), 0.5))


def label_space(net: Network, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis of the space the centred labels must be drawn from, and their mean.

    Where all widths allow it this is all of R^Q; otherwise the span of the centred labels. A
    hidden layer that is too narrow for that is refused.
    """
    mean = Y.mean(axis=1)
    narrowest = min(net.widths[1:])
    if narrowest >= net.Q:
        return np.eye(net.Q), mean
    rank = label_rank(Y)
    if narrowest < rank:
        l = net.widths.index(narrowest, 1)
        raise HypothesisError(
            PULL_BACK,
            "hidden widths of at least the rank of the centred labels",
            f"M_{l} = {narrowest}",
            f"but rank (Y - ȳ1ᵀ) = {rank} is needed (Q = {net.Q} always suffices)",
            f"Try: widen layer {l} to {rank} neurons or more.",
        )
    centred = Y - mean[:, None]
    return np.linalg.svd(centred, full_matrices=False)[0][:, : max(rank, 1)], mean


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
    return Layer(_checks.array(W), _checks.array(b))


def positive_sector(
    net: Network,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    key: PRNGKeyArray | None = None,
    later: Sequence[Float[Array, "out in"]] | None = None,
) -> Params:
    """Zero loss for arbitrary weights after the first layer, by large biases.

    Where σ maps an interval onto (c, ∞) there is room above: whatever W_2 … W_{L+1} are, a large
    bias lifts the features of each layer into (c, ∞), where σ can be undone,
    X⁽ᴸ⁾ = W_{L+1}⁺ Y + β_L 1ᵀ and X⁽ˡ⁻¹⁾ = W_l⁺ σ⁻¹(X⁽ˡ⁾) + β_{l-1} 1ᵀ, and the bias of the layer
    after takes it away again, b_l = -W_l β_{l-1}. Each β is the smallest for which every neuron
    stays at or above the centre of σ's window. The first layer is linear regression.

    Summaries of [CM] ask for equal widths and rank X = N. This function needs less:
    widths that do not increase and W_l of full row rank (W_l⁺ is then a right inverse), and, as
    there is a bias, affinely independent inputs. Precision follows the condition numbers of the
    W_l and of [X; 1ᵀ].

    Args:
        net: a network with hidden widths M_1 ≥ M_2 ≥ … ≥ M_L ≥ Q and an activation that maps an
            interval onto some (c, ∞): ReLU, leaky ReLU, mollified ReLU, softplus, identity.
        X: affinely independent inputs (M0, N).
        Y: any labels (Q, N).
        key: if given, W_2 … W_{L+1} have random orthonormal rows; by default W_l = [I 0].
        later: if given, these are W_2 … W_{L+1}: L matrices of full row rank.

    Returns:
        Parameters with C = 0 up to rounding, with exactly the given W_2 … W_{L+1}.

    Raises:
        HypothesisError: if σ is bounded above, a width exceeds the one before it, one of the
            given matrices has not full row rank, or the inputs are affinely dependent.
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or both key and later are given.

    Warns:
        RuntimeWarning: if rounding has spoilt the fit (relative residual above 1e-6).

    Source: the positive sector of [CM], with the hypotheses weakened as said above.

    Example:
        >>> import jax
        >>> net = zl.Network((10, 7, 6, 2), "softplus")
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=10, N=5, Q=2)
        >>> params = zl.minimizers.positive_sector(net, X, Y, key=jax.random.key(1))
        >>> bool(zl.cost(net, params, X, Y) < 1e-24)
        True
    """
    X = np.asarray(_checks.matrix("X", X, rows=net.M0))
    Y = np.asarray(_checks.matrix("Y", Y, rows=net.Q, columns=X.shape[1]))
    check_sector(net)
    weights = _later(net, key, later)
    inputs = factor(POSITIVE_SECTOR, X)
    sigma, T, layers = net.activation, Y, []  # T: targets for the pre-activations of layer l + 1
    for W in reversed(weights):
        U = _right_inverse(W, T)
        lift = sigma.window[0] - U.min(axis=1)
        layers.insert(0, Layer(_checks.array(W), _checks.array(-W @ lift)))
        T = entrywise(sigma.inverse, U + lift[:, None])
    W, b = regress(inputs, T)
    params = (Layer(_checks.array(W), _checks.array(b)), *layers)
    warn_if_spoilt(net, params, X, Y, "these matrices and inputs")
    return params


def check_sector(net: Network) -> None:
    """Refuse networks that the positive sector does not cover."""
    low, high = net.activation.image
    if net.L and high < float("inf"):
        raise HypothesisError(
            POSITIVE_SECTOR,
            "an activation that maps an interval onto some (c, ∞)",
            f"{net.activation.name} is used where it maps onto ({low:g}, {high:g})",
            "but an image that is unbounded above is needed",
            "Try: `pull_back`, which takes bounded activations too; or relu, leaky_relu, "
            "mollified_relu or softplus.",
        )
    for l, (before, after) in enumerate(zip(net.widths[1:-1], net.widths[2:], strict=True), 2):
        if after > before:
            here = f"M_{l}" if l <= net.L else "Q"
            raise HypothesisError(
                POSITIVE_SECTOR,
                "widths that do not increase after the first layer",
                f"{here} = {after} > M_{l - 1} = {before}",
                f"but W_{l} of full row rank needs {here} ≤ M_{l - 1}",
                "Try: `pull_back`, which needs only hidden widths of at least Q.",
            )


def _later(net: Network, key, later) -> list[np.ndarray]:
    """W_2 … W_{L+1}: those given, or random ones, or identities."""
    shapes = list(zip(net.widths[2:], net.widths[1:-1], strict=True))
    if later is None:
        if key is None:
            return [np.eye(*shape) for shape in shapes]
        rng = _random.generator(key)
        return [_random.orthonormal(rng, *shape) for shape in shapes]
    if key is not None:
        raise ValueError("give key or later, not both.")
    if len(later) != net.L:
        raise ValueError(
            f"later must be the L = {net.L} matrices W_2 … W_{{L+1}}; there are {len(later)}."
        )
    weights = []
    for l, (W, (rows, columns)) in enumerate(zip(later, shapes, strict=True), 2):
        W = np.asarray(_checks.matrix(f"later[{l - 2}] = W_{l}", W, rows, columns))
        rank = numerical_rank(W)
        if rank < rows:
            raise HypothesisError(
                POSITIVE_SECTOR,
                "matrices W_2 … W_{L+1} of full row rank",
                f"rank W_{l} = {rank}",
                f"but {rows} is needed",
                "Try: another matrix; almost every one has full rank.",
            )
        weights.append(W)
    return weights


def _right_inverse(W: np.ndarray, T: np.ndarray) -> np.ndarray:
    """W⁺ T for W of full row rank."""
    Q, R = scipy.linalg.qr(W.T, mode="economic")
    return product(Q, scipy.linalg.solve_triangular(R, T, trans="T"))
