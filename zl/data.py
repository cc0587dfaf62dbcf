"""Training data: generic, ill-conditioned, and two real sets. Samples are columns."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from zl import _checks, _random

__all__ = ["coffee_spectra", "digits", "generic", "ill_conditioned"]

Data = tuple[Float[Array, "M0 N"], Float[Array, "Q N"]]


def generic(key: PRNGKeyArray, M0: int, N: int, Q: int) -> Data:
    """Inputs and labels with independent standard normal entries.

    Every statement that holds for generic data holds for these with probability one.

    Args:
        key: a key made by `jax.random.key`.
        M0: input dimension.
        N: number of samples.
        Q: number of outputs.

    Returns:
        X (M0, N) and Y (Q, N).

    Raises:
        ValueError: if a size is not a positive integer.

    Example:
        >>> import jax
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=10, N=5, Q=2)
        >>> X.shape, Y.shape
        ((10, 5), (2, 5))
    """
    _sizes(M0=M0, N=N, Q=Q)
    return _random.normal(key, (M0, N), (Q, N))


def ill_conditioned(key: PRNGKeyArray, M0: int, N: int, Q: int, cond: float) -> Data:
    """Inputs with a prescribed condition number, and standard normal labels.

    The singular values of X fall geometrically from 1 to 1/cond; its singular vectors are
    uniformly distributed (Haar).

    Args:
        key: a key made by `jax.random.key`.
        M0: input dimension.
        N: number of samples.
        Q: number of outputs.
        cond: ratio of the largest to the smallest singular value of X, at least 1.

    Returns:
        X (M0, N) and Y (Q, N).

    Raises:
        ValueError: if cond < 1, or a single singular value cannot have that ratio, or a size is
            not a positive integer, or single precision is on.

    Example:
        >>> import jax, numpy as np
        >>> X, Y = zl.data.ill_conditioned(jax.random.key(0), M0=10, N=5, Q=2, cond=1e6)
        >>> round(float(np.log10(np.linalg.cond(X))), 6)
        6.0
    """
    _sizes(M0=M0, N=N, Q=Q)
    _checks.double("cond", cond)
    if not cond >= 1:
        raise ValueError(f"cond must be a number of at least 1; it is {cond}.")
    r = min(M0, N)
    if r == 1 and cond != 1:
        raise ValueError(f"cond must be 1 where M0 or N is 1; it is {cond}.")
    rng = _random.generator(key)
    U, V = _random.orthonormal(rng, r, M0), _random.orthonormal(rng, r, N)
    X = (U.T * np.logspace(0.0, -np.log10(cond), r)) @ V
    return jnp.asarray(X), jnp.asarray(rng.normal(size=(Q, N)))


def digits(N: int | None = None) -> Data:
    """The first N of 1797 handwritten digits, 8 × 8 pixels each (scikit-learn's `load_digits`).

    Some pixels never change, so few images are affinely independent: 52 of the first 64.

    Args:
        N: how many images, in the order of the set; all 1797 by default.

    Returns:
        X (64, N), grey values divided by 16, so in [0, 1]; Y (10, N), one-hot: row q is digit q.

    Raises:
        ValueError: if N is not between 1 and 1797.

    Example:
        >>> X, Y = zl.data.digits(64)
        >>> X.shape, Y.shape
        ((64, 64), (10, 64))
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    N = len(labels) if N is None else N
    _sizes(N=N)
    if N > len(labels):
        raise ValueError(f"N must lie between 1 and {len(labels)}; it is {N}.")
    return jnp.asarray(images[:N].T / 16), jnp.asarray(np.eye(10)[labels[:N]].T)


def coffee_spectra() -> Data:
    """Infrared spectra of 60 coffees from three countries (chemotools' `load_coffee`).

    Attenuated total reflectance Fourier transform infrared spectra, 1841 channels each: far more
    measurements than samples, as usual in spectroscopy.

    Returns:
        X (1841, 60), absorbances, one spectrum a column; Y (3, 60), one-hot: rows Brazil,
        Ethiopia, Vietnam.

    Example:
        >>> X, Y = zl.data.coffee_spectra()
        >>> X.shape, Y.sum(axis=1).tolist()
        ((1841, 60), [20.0, 20.0, 20.0])
    """
    from chemotools.datasets import load_coffee

    spectra, labels = load_coffee()
    countries, classes = np.unique(labels.to_numpy().ravel(), return_inverse=True)
    return jnp.asarray(spectra.to_numpy().T), jnp.asarray(np.eye(len(countries))[classes].T)


def _sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"{name} must be a positive integer; it is {size}.")
