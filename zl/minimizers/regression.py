"""What one affine layer can do: every construction ends, or begins, with linear regression."""

import warnings
from typing import NamedTuple

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from zl import _checks
from zl.errors import HypothesisError
from zl.jacobian import numerical_rank
from zl.network import Layer, Network, Params


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
    return jax.tree.map(_checks.array, regress(factor("The first layer's lemma", X), Z))


class Factor(NamedTuple):
    """A Householder QR factorization of [X; size·1ᵀ], of full column rank."""

    reflectors: np.ndarray
    tau: np.ndarray
    R: np.ndarray
    size: float


def factor(theorem: str, X: np.ndarray) -> Factor:
    """Factorize affinely independent inputs; refuse others in the name of the theorem."""
    M0, N = X.shape
    size = np.abs(X).max() or 1.0
    A = np.vstack([X, np.full((1, N), size)])
    (reflectors, tau), R = scipy.linalg.qr(A, mode="raw")  # R has the singular values of A
    rtol = max(A.shape) * np.finfo(float).eps
    if not _clearly_full(R, rtol):
        rank = numerical_rank(R, rtol=rtol)
        if rank < N:
            raise dependent(theorem, int(rank), M0, N)
    return Factor(reflectors, tau, R, size)


def _clearly_full(R: np.ndarray, rtol: float) -> bool:
    """Whether norms alone show σ_min(R) > rtol·σ_max(R), with a factor of 100 for rounding.

    σ_min ≥ 1/|R⁻¹| and σ_max ≤ |R| in the Frobenius norm, for a tenth of the singular values' time.
    """
    if R.shape[0] < R.shape[1]:
        return False
    inverse, singular = scipy.linalg.lapack.dtrtri(R)
    return not singular and 1e4 * rtol**2 * np.sum(R**2) * np.sum(inverse**2) < 1


def dependent(theorem: str, rank: int, M0: int, N: int) -> HypothesisError:
    """The error for affinely dependent inputs."""
    return HypothesisError(
        theorem,
        "affinely independent inputs",
        f"rank [X; 1] = {rank}",
        f"but N = {N} is needed"
        + (f" (and N ≤ M0 + 1 = {M0 + 1} samples at most)" if N > M0 + 1 else ""),
        "Try: drop repeated or affinely dependent samples until N equals this rank; or "
        "`memorizing`, which needs only distinct inputs and a last hidden width of at least "
        f"N - 1 = {N - 1}.",
    )


def regress(inputs: Factor, Z: np.ndarray) -> Layer:
    """The layer of least |W|² + |b|²/size² that sends the factorized inputs to Z."""
    reflectors, tau, R, size = inputs
    Wb = np.zeros((len(reflectors), len(Z)), order="F")
    Wb[: R.shape[1]] = scipy.linalg.solve_triangular(R, Z.T, trans="T")
    Wb = scipy.linalg.lapack.dormqr("L", "N", reflectors, tau, Wb, lwork=64 * (len(Z) + 65))[0].T
    return Layer(Wb[:, :-1], size * Wb[:, -1])


def warn_if_spoilt(net: Network, params: Params, X, Y, why: str) -> None:
    """Warn the caller's caller if rounding has spoilt a fit that is exact in real arithmetic."""
    error = np.linalg.norm(net._forward(params, X)[1][-1] - Y) / (np.linalg.norm(Y) or 1.0)
    if not error < 1e-6:
        warnings.warn(
            f"rounding has spoilt this fit: relative residual {error:.1e} with {why}. "
            "In real arithmetic it is exact; the docstring says what decides its precision.",
            RuntimeWarning,
            stacklevel=3,
        )
