"""Ranks, decided from singular values."""

import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from zl import _checks

__all__ = ["Rank", "numerical_rank"]


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
    tol = float(rtol * singular_values[0])
    rank = Rank(np.sum(singular_values > tol))
    rank.singular_values, rank.tol = singular_values, tol
    return rank
