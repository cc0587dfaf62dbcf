"""The training Jacobian D = ∂x/∂θ, its kernel D Dᵀ (the NTK), and their ranks.

Everything here comes from one layered formula. Let Bᵢ⁽ˡ⁾ = ∂xᵢ/∂zᵢ⁽ˡ⁾ be the backward signals of
sample i; the rows of D that belong to sample i are, in layer l, Bᵢ⁽ˡ⁾ ⊗ [xᵢ⁽ˡ⁻¹⁾; 1]ᵀ. Rows are
ordered sample by sample: row i·Q + q is output q of sample i.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from zl import _checks, _known
from zl.network import Network, Params, check_params

__all__ = [
    "JacobianRank",
    "LayerRank",
    "LayerRanks",
    "Rank",
    "backward_signals",
    "jacobian_rank",
    "khatri_rao",
    "layer_ranks",
    "ntk",
    "ntk_lower_bound",
    "numerical_rank",
    "training_jacobian",
]

EPS = float(np.finfo(float).eps)
SMALLER = "Try: smaller weights, or inputs and labels of size about 1."


class Rank(int):
    """A numerical rank: an integer that remembers how it was decided.

    Attributes:
        singular_values: all singular values, largest first.
        tol: the threshold; the rank is the number of singular values above it.

    Example:
        >>> import jax.numpy as jnp
        >>> rank = zl.numerical_rank(jnp.eye(3))
        >>> rank + 1, rank.singular_values.tolist()
        (4, [1.0, 1.0, 1.0])
    """

    singular_values: np.ndarray
    tol: float


def numerical_rank(A: Float[Array, "m n"], rtol: float | None = None) -> Rank:
    """The number of singular values of A above a tolerance.

    Rounding moves each singular value by about eps·σ_max, so what is smaller than
    rtol·σ_max cannot be told from zero. Look at the gap: a verdict is trustworthy when the
    singular values on both sides of `tol` are far from it.

    Args:
        A: a matrix, in double precision.
        rtol: relative tolerance; max(m, n)·eps by default.

    Returns:
        The rank, an integer with the attributes `singular_values` and `tol`.

    Raises:
        ValueError: if A is empty, not finite, not a matrix or not in double precision, or
            rtol is not in [0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> rank = zl.numerical_rank(jnp.array([[1.0, 2.0], [2.0, 4.0]]))
        >>> int(rank), rank.singular_values[0].round(12).item()
        (1, 5.0)
    """
    A = np.asarray(_checks.matrix("A", A))
    rtol = max(A.shape) * np.finfo(float).eps if rtol is None else rtol
    if not 0 <= rtol < 1:
        raise ValueError(f"rtol must lie in [0, 1); it is {rtol}.")
    singular_values = scipy.linalg.svdvals(A)
    return _decide(singular_values, float(rtol * singular_values[0]))


def _decide(singular_values, tol: float) -> Rank:
    rank = Rank(np.sum(singular_values > tol))
    rank.singular_values, rank.tol = singular_values, tol
    return rank


def khatri_rao(A: Float[Array, "N m"], B: Float[Array, "N k"]) -> Float[Array, "N m*k"]:
    """The row-wise Kronecker product: row i is Aᵢ ⊗ Bᵢ, so entry (i, a·k + b) is Aᵢₐ Bᵢᵦ.

    Also called face-splitting or transposed Khatri-Rao product. For one output (Q = 1) the columns
    of D that belong to W_l are `khatri_rao(B⁽ˡ⁾, X⁽ˡ⁻¹⁾ᵀ)`, with one row a sample. If A has rank
    N and no row of B vanishes, the product has rank N.

    Args:
        A: a matrix (N, m).
        B: a matrix with as many rows (N, k).

    Returns:
        The matrix (N, m·k).

    Raises:
        ValueError: if an argument is empty, not finite, not a matrix or in single precision, or
            the numbers of rows differ.

    Source: the book's lemma on the rank of a Khatri-Rao product (after [CM] Lemma 1).

    Example:
        >>> zl.khatri_rao(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0, 5.0]]))
        Array([[ 3.,  4.,  5.,  6.,  8., 10.]], dtype=float64)
    """
    A, B = _checks.matrix("A", A), _checks.matrix("B", B)
    if len(A) != len(B):
        raise ValueError(f"B has {len(B)} rows, but as many as A has are needed: {len(A)}.")
    return _khatri_rao(A, B)


@jax.jit
def _khatri_rao(A, B):
    return (A[:, :, None] * B[:, None, :]).reshape(len(A), -1)


def backward_signals(
    net: Network, params: Params, X: Float[Array, "M0 N"]
) -> tuple[Float[Array, "N Q M"], ...]:
    """The backward signals Bᵢ⁽ˡ⁾ = ∂xᵢ⁽ᴸ⁺¹⁾/∂zᵢ⁽ˡ⁾ of every layer and sample.

    Bᵢ⁽ᴸ⁺¹⁾ is the identity, and Bᵢ⁽ˡ⁾ = Bᵢ⁽ˡ⁺¹⁾ W_{l+1} diag σ'(zᵢ⁽ˡ⁾). At a kink of σ the slope is
    the one that the activation's `derivative` chooses.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        L + 1 arrays; entry l - 1 belongs to layer l, as in `params`, and has shape (N, Q, M_l).
        Its [i, q, m] is the derivative of output q of sample i by pre-activation m of layer l.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> B = zl.backward_signals(net, net.init(jax.random.key(0)), jnp.ones((4, 5)))
        >>> [b.shape for b in B]
        [(5, 2, 3), (5, 2, 2)]
    """
    params, X = _checked(net, params, X)
    return tuple(map(_checks.array, _layered(net, params, X)[1]))


def _work(net: Network, X) -> int:
    """The numbers in D, some passes over which are made."""
    return 16 * net.Q * X.shape[1] * net.K


def _compiled(function):
    """Compile a function of net, params and X, unless NumPy is to compute it."""
    compiled = jax.jit(function, static_argnums=0)

    @functools.wraps(function)
    @_known.quiet
    def either(net, params, X):
        params, X = _known.plain(_work(net, X), params, X)
        return (function if isinstance(X, np.ndarray) else compiled)(net, params, X)

    return either


@_compiled
def _layered(net: Network, params: Params, X):
    """X⁽⁰⁾ … X⁽ᴸ⁾, the backward signals B⁽¹⁾ … B⁽ᴸ⁺¹⁾, and the slopes σ'(Z⁽¹⁾) … σ'(Z⁽ᴸ⁾)."""
    derivative = net.activation.derivative
    if isinstance(X, np.ndarray):
        derivative = functools.partial(_known.entrywise, derivative)
    Xs, Zs = net._forward(params, X)
    slopes = tuple(map(derivative, Zs[:-1]))
    B = np.broadcast_to(np.eye(net.Q), (X.shape[1], net.Q, net.Q))
    signals = [B]
    for (W, _), slope in zip(params[:0:-1], slopes[::-1], strict=True):
        B = (B @ W) * slope.T[:, None, :]
        signals.insert(0, B)
    return Xs, tuple(signals), slopes


def _finite_layers(net: Network, params: Params, X):
    """`_layered` in numpy, unless weights are so large that features or signals overflow."""
    layered = jax.tree.map(np.asarray, _layered(net, params, X))
    if not all(np.isfinite(a).all() for a in jax.tree.leaves(layered)):
        raise ValueError(f"params give features or signals that are not finite. {SMALLER}")
    return layered


def training_jacobian(
    net: Network, params: Params, X: Float[Array, "M0 N"]
) -> Float[Array, "Q*N K"]:
    """The training Jacobian D = ∂x/∂θ, written out.

    Row i·Q + q is output q of sample i. Columns are in the order of
    `jax.flatten_util.ravel_pytree(params)`: layer by layer, W_l row by row, then b_l. It is
    assembled from the layered formula: the columns of W_l are Bᵢ⁽ˡ⁾ ⊗ xᵢ⁽ˡ⁻¹⁾ᵀ, those of b_l are
    Bᵢ⁽ˡ⁾. It has Q·N·K entries: for D Dᵀ alone, `ntk` needs far less.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        D (Q·N, K).

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Source: the layered formula of the book's chapter on the tensor product; its case Q = 1 is what
    the book takes [CM] Definition 4.2 to mean.

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> zl.training_jacobian(net, net.init(jax.random.key(0)), jnp.ones((4, 5))).shape
        (10, 23)
    """
    params, X = _checked(net, params, X)
    return _checks.array(_training_jacobian(net, params, X))


@_compiled
def _training_jacobian(net: Network, params: Params, X):
    blocks, rows = [], net.Q * X.shape[1]
    for x, B in zip(*_layered(net, params, X)[:2], strict=True):
        blocks.append((B[..., None] * x.T[:, None, None, :]).reshape(rows, -1))
        blocks.append(B.reshape(rows, -1))
    join = np.concatenate if isinstance(blocks[0], np.ndarray) else jnp.concatenate
    return join(blocks, axis=1)


def ntk(net: Network, params: Params, X: Float[Array, "M0 N"]) -> Float[Array, "Q*N Q*N"]:
    """The neural tangent kernel D Dᵀ, without D.

    Layer l contributes, to the Q × Q block of samples i and j, (xᵢᵀxⱼ + 1)·Bᵢ Bⱼᵀ with
    x = X⁽ˡ⁻¹⁾ and B = B⁽ˡ⁾: for Q = 1 a Hadamard product of two Gram matrices. So the time is that
    of a few matrix products, and the memory that of the layers and of two to three matrices as
    large as the result, one layer after the other. (Within `jax.jit`, XLA keeps the Gram matrices
    of all layers for one last sum: there the memory grows with L.)

    No verdict on the rank of D should come from it: it squares the singular values of D, so that
    rounding hides all below 1e-8 of the largest. See `numerical_rank`, `jacobian_rank`.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        The symmetric matrix (Q·N, Q·N); rows and columns as the rows of `training_jacobian`.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Source: the layered formula of the book's chapter on the tensor product.

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> params, X = net.init(jax.random.key(0)), jnp.ones((4, 5))
        >>> D = zl.training_jacobian(net, params, X)
        >>> bool(jnp.allclose(zl.ntk(net, params, X), D @ D.T, rtol=1e-12))
        True
    """
    params, X = _checked(net, params, X)
    return _checks.array(_ntk(net, params, X))


def _ntk(net: Network, params: Params, X):
    params, X = _known.plain(_work(net, X), params, X)
    return (_small_ntk if isinstance(X, np.ndarray) else _large_ntk)(net, params, X)


@_known.quiet
def _small_ntk(net: Network, params: Params, X):
    """D Dᵀ by NumPy."""
    kernel, N = 0.0, X.shape[1]
    for x, B in zip(*_layered(net, params, X)[:2], strict=True):
        flat = B.reshape(net.Q * N, -1)
        signals = _known.product(flat, flat.T).reshape(N, net.Q, N, net.Q)
        kernel += (_known.product(x.T, x) + 1)[:, None, :, None] * signals
    return kernel.reshape(net.Q * N, net.Q * N)


def _large_ntk(net: Network, params: Params, X):
    # One compiled function a layer, not one in all: XLA would keep every layer's Gram matrices.
    # Samples are rows here: X Xᵀ is twice as fast in XLA on a CPU as Xᵀ X.
    xs, slopes = [_transposed(X)], []
    for W, b in params[:-1]:
        x, slope = _hidden_layer(net.activation, W, b, xs[-1])
        xs.append(x)
        slopes.append(slope)
    kernel, B = _output_block(net.Q, xs.pop()), np.eye(net.Q)[None]
    for (W, _), slope in zip(params[:0:-1], slopes[::-1], strict=True):
        kernel, B = _add_block(kernel, xs.pop(), B, W, slope)
    return kernel


_transposed = jax.jit(jnp.transpose)


@functools.partial(jax.jit, static_argnums=0)
def _hidden_layer(activation, W, b, x):
    z = x @ W.T + b
    return activation(z), activation.derivative(z)


@functools.partial(jax.jit, static_argnums=0)
def _output_block(Q, x):
    N = len(x)
    return ((x @ x.T + 1)[:, None, :, None] * jnp.eye(Q)[None, :, None, :]).reshape(Q * N, Q * N)


@functools.partial(jax.jit, donate_argnums=0)
def _add_block(kernel, x, B, W, slope):
    B = (B.reshape(-1, len(W)) @ W).reshape(*B.shape[:2], -1) * slope[:, None, :]
    (N, Q, _), flat = B.shape, B.reshape(len(kernel), -1)
    block = (x @ x.T + 1)[:, None, :, None] * (flat @ flat.T).reshape(N, Q, N, Q)
    return kernel + block.reshape(kernel.shape), B


class LayerRank(NamedTuple):
    """What the rank formula says of one layer's block D_l of the training Jacobian.

    Attributes:
        layer: l, from 1 to L + 1.
        features: rank [X⁽ˡ⁻¹⁾; 1ᵀ], a `Rank`; N if the features are affinely independent.
        signals: the ranks of B₁⁽ˡ⁾ … B_N⁽ˡ⁾, each at most Q.
        block: rank D_l = Σᵢ rank Bᵢ⁽ˡ⁾ where the features are affinely independent, else None.
        proves_full_rank: whether this layer alone proves rank D = QN.

    Example:
        >>> net = zl.Network((4, 2))
        >>> X, _ = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> row = zl.layer_ranks(net, net.init(jax.random.key(1)), X)[0]
        >>> row.layer, int(row.features), row.signals, row.proves_full_rank
        (1, 5, (2, 2, 2, 2, 2), True)
    """

    layer: int
    features: Rank
    signals: tuple[int, ...]
    block: int | None
    proves_full_rank: bool


class LayerRanks(tuple):
    """A `LayerRank` for each of the layers 1 … L + 1.

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> X, _ = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> ranks = zl.layer_ranks(net, net.init(jax.random.key(1)), X)
        >>> len(ranks), ranks.proof
        (2, 1)
    """

    @property
    def proof(self) -> int | None:
        """The first layer that proves rank D = QN; None if no single layer does."""
        return next((r.layer for r in self if r.proves_full_rank), None)


def layer_ranks(net: Network, params: Params, X: Float[Array, "M0 N"]) -> LayerRanks:
    """Which layers' blocks of D have full rank, from features and backward signals alone.

    If the features of layer l - 1 are affinely independent (rank [X⁽ˡ⁻¹⁾; 1ᵀ] = N), then
    rank D_l = Σᵢ rank Bᵢ⁽ˡ⁾. So D has full rank QN as soon as for one layer all of these ranks are
    full. The condition is sufficient only: D can have full rank though no layer proves it.

    D is never formed. Each rank is decided from singular values, with a tolerance that is raised
    to a running bound of what rounding in the layers before (or after) can have changed, so that
    rounded zeros do not count.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        A tuple of `LayerRank`, entry l - 1 for layer l; its attribute `proof` is the first layer
        that proves rank D = QN, or None.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Source: the book's rank formula; l = 1 is [CM]'s condition, l = L + 1 is [Co]'s.

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> X, _ = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> ranks = zl.layer_ranks(net, net.init(jax.random.key(1)), X)
        >>> [(int(r.features), r.block) for r in ranks], ranks.proof
        ([(5, 10), (4, None)], 1)
    """
    params, X = _checked(net, params, X)
    layered = _finite_layers(net, params, X)
    (Xs, signals), slopes = layered[:2], [np.abs(slope) for slope in layered[2]]
    norms = [np.linalg.norm(W, 2) for W, _ in params]
    x_errors = _feature_errors(params, Xs, slopes, norms)
    B_errors = _signal_errors(signals, slopes, norms)
    numbers = range(1, net.L + 2)
    return LayerRanks(map(_layer_rank, numbers, Xs, x_errors, signals, B_errors))


def _layer_rank(l: int, x, x_error, B, B_error) -> LayerRank:
    N, Q, M = B.shape
    features = _affine_rank(x, x_error)
    s = np.linalg.svd(B, compute_uv=False)
    tol = np.maximum(max(Q, M) * EPS * s[:, 0], B_error)
    ranks = tuple(np.sum(s > tol[:, None], axis=1).tolist())
    block = sum(ranks) if features == N else None
    return LayerRank(l, features, ranks, block, block == Q * N)


def _affine_rank(x, error: float) -> Rank:
    # Not 1 but the size of x, so that the verdict does not depend on units.
    size = max(np.abs(x).max(), 2 * error) or 1.0
    A = np.vstack([x, np.full((1, x.shape[1]), size)])
    s = scipy.linalg.svdvals(A)
    return _decide(s, float(max(max(A.shape) * EPS * s[0], error)))


def _feature_errors(params, Xs, slopes, norms):
    """Running bounds of the rounding errors of X⁽⁰⁾ … X⁽ᴸ⁾ (Frobenius norm)."""
    errors = [0.0]
    for (_, b), x, slope, norm in zip(params, Xs, slopes, norms, strict=False):
        rounding = EPS * np.sqrt(x.size) * (norm * np.linalg.norm(x, 2) + np.linalg.norm(b))
        errors.append(float(slope.max() * (norm * errors[-1] + rounding)))
    return errors


def _signal_errors(signals, slopes, norms):
    """Running bounds of the rounding errors of B⁽¹⁾ … B⁽ᴸ⁺¹⁾, one for each sample."""
    errors = [np.zeros(len(signals[-1]))]
    for B, slope, norm in zip(signals[:0:-1], slopes[::-1], norms[:0:-1], strict=True):
        rounding = EPS * np.sqrt(B.shape[2]) * np.linalg.norm(B, axis=(1, 2))
        errors.insert(0, slope.max(axis=0) * norm * (errors[0] + rounding))
    return errors


class JacobianRank(int):
    """The rank of D: an integer that remembers how it was decided.

    Attributes:
        test: "rank formula, layer l" if one layer's features and backward signals prove full
            rank, else "singular values of D".
        verdict: the `LayerRank` or the `Rank` behind it.

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> rank = zl.jacobian.jacobian_rank(net, net.init(jax.random.key(1)), jnp.ones((4, 5)))
        >>> rank + 0, rank.test
        (2, 'singular values of D')
    """

    test: str
    verdict: LayerRank | Rank


def jacobian_rank(net: Network, params: Params, X: Float[Array, "M0 N"]) -> JacobianRank:
    """The rank of the training Jacobian D, decided without its square D Dᵀ.

    If one layer proves full rank (`layer_ranks`), D is not formed. Otherwise its singular values
    decide, which needs D: Q·N·K numbers.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        The rank, an integer with the attributes `test` and `verdict`.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Source: the book's rank formula.

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> X, _ = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> rank = zl.jacobian.jacobian_rank(net, net.init(jax.random.key(1)), X)
        >>> int(rank), rank.test
        (10, 'rank formula, layer 1')
    """
    ranks = layer_ranks(net, params, X)
    if ranks.proof is not None:
        rank, test = JacobianRank(net.Q * np.shape(X)[1]), f"rank formula, layer {ranks.proof}"
        verdict = ranks[ranks.proof - 1]
    else:
        verdict = numerical_rank(training_jacobian(net, params, X))
        rank, test = JacobianRank(verdict), "singular values of D"
    rank.test, rank.verdict = test, verdict
    return rank


def ntk_lower_bound(net: Network, params: Params, X: Float[Array, "M0 N"]) -> float:
    """A lower bound of the smallest eigenvalue of D Dᵀ, from features and backward signals.

    Σ_l λ_min(X⁽ˡ⁻¹⁾ᵀX⁽ˡ⁻¹⁾ + 1 1ᵀ) · minᵢ σ_min(Bᵢ⁽ˡ⁾)², where σ_min is the Q-th singular value
    (0 if M_l < Q). The eigenvalues are squared singular values of [X⁽ˡ⁻¹⁾; 1ᵀ], so they are right
    far below 1e-16 of the largest, where those of D Dᵀ are lost in rounding.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        The bound; positive only if D has full rank QN.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Source: the book's bound, from the Schur product theorem in block form.

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> params = net.init(jax.random.key(1))
        >>> X, _ = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> smallest = jnp.linalg.eigvalsh(zl.ntk(net, params, X))[0]
        >>> bool(0 < zl.ntk_lower_bound(net, params, X) <= smallest)
        True
    """
    params, X = _checked(net, params, X)
    ones, bound = np.ones((1, X.shape[1])), 0.0
    for x, B in zip(*_finite_layers(net, params, X)[:2], strict=True):
        if x.shape[0] + 1 >= x.shape[1] and B.shape[2] >= net.Q:
            features = scipy.linalg.svdvals(np.vstack([x, ones]))[-1]
            bound += (features * np.linalg.svd(B, compute_uv=False)[:, -1].min()) ** 2
    return float(bound)


def _checked(net: Network, params: Params, X):
    return check_params(net, params), _checks.matrix("X", X, rows=net.M0)
