"""What every public function asks of its arrays, in one place."""

import jax
import jax.numpy as jnp
import numpy as np

DOUBLE = "call zl.enable_x64() first, and pass float64 arrays"


def array(a) -> jax.Array:
    """`a` as a JAX array, copied. (`jnp.asarray` would compile the copy for every new shape.)"""
    return a if isinstance(a, jax.Array) else jax.device_put(np.array(a), may_alias=False)


def double(name: str, a) -> jax.Array:
    """`a` as a float64 array, or a ValueError that names the argument.

    Integers are taken as they are; single precision is refused, because the digits it lacks
    cannot be put back.
    """
    if not isinstance(a, jax.Array):
        try:
            a = np.asarray(a)
        except ValueError as error:
            raise ValueError(f"{name} is not an array: {error}") from error
    if not (jnp.issubdtype(a.dtype, jnp.integer) or a.dtype == jnp.float64):
        raise ValueError(f"{name} has dtype {a.dtype}, but double precision is needed: {DOUBLE}.")
    if not jax.config.jax_enable_x64:
        raise ValueError(f"{name} would be rounded to single precision: {DOUBLE}.")
    if not isinstance(a, jax.core.Tracer) and not np.isfinite(a).all():
        raise ValueError(f"{name} contains NaN or infinity.")
    return array(a).astype(jnp.float64)


def matrix(name: str, a, rows: int | None = None, columns: int | None = None) -> jax.Array:
    """`a` as a non-empty float64 matrix of the given shape, or a ValueError that names it."""
    a = double(name, a)
    if a.ndim != 2 or 0 in a.shape:
        raise ValueError(
            f"{name} must be a non-empty matrix, one sample a column; it has shape {a.shape}."
        )
    columns_of(name, a, rows, columns)
    return a


def columns_of(name: str, a, rows: int | None, columns: int | None = None) -> None:
    """Check the shape of a real matrix (usable under `jax.jit`, where values are not known)."""
    if jnp.iscomplexobj(a):
        raise ValueError(f"{name} has dtype {a.dtype}, but real numbers are needed.")
    wanted = (rows, columns)
    filled = a.ndim == 2 and 0 not in a.shape
    if not filled or any(w not in (None, s) for w, s in zip(wanted, a.shape, strict=True)):
        shown = ", ".join("any" if w is None else str(w) for w in wanted)
        raise ValueError(
            f"{name} has shape {tuple(a.shape)}, but ({shown}) is needed: samples are columns."
        )


def positive_integers(**values) -> None:
    """Refuse what is not a positive integer, by its name."""
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a positive integer; it is {value}.")


def key(key):
    """The key, or a ValueError if it is only the number to make one of."""
    if isinstance(key, int | float | np.number):
        raise ValueError(f"key must be a key, such as jax.random.key(0); it is {key}.")
    return key


def classes(name: str, labels, N: int) -> tuple[np.ndarray, int]:
    """Class numbers of N samples, given as such or as one-hot columns, and how many classes."""
    labels = np.asarray(labels)
    if labels.ndim == 2:
        Y = np.asarray(matrix(name, labels, columns=N))
        if not one_hot(Y):
            raise ValueError(f"{name} must be one-hot: each column a single 1 among zeros.")
        return Y.argmax(axis=0), len(Y)
    if labels.shape != (N,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} must be {N} integers 0, 1, …, Q - 1, or one-hot columns of shape (Q, {N}); "
            f"it has shape {labels.shape} and dtype {labels.dtype}."
        )
    if labels.min() < 0:
        raise ValueError(f"{name} must be counted from 0; the least is {labels.min()}.")
    return labels, int(labels.max()) + 1


def one_hot(Y: np.ndarray) -> bool:
    """Whether each column of Y is a unit vector."""
    return bool(((Y == 0) | (Y == 1)).all() and (Y.sum(axis=0) == 1).all())
