"""Random matrices without a new compilation for every new shape."""

import functools
import itertools
import math

import jax
import numpy as np
import scipy.linalg

from zl import _checks


def normal(key, *shapes: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Arrays of independent standard normal numbers, one for each shape.

    JAX compiles its generator anew for every shape, which takes longer than everything else that
    a small network does. So one vector is drawn, whose length is a power of two and at least
    4096, and cut into pieces.
    """
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    flat = _draw(_checks.key(key), max(4096, 1 << (ends[-1] - 1).bit_length()))
    if not isinstance(flat, jax.core.Tracer):
        flat = np.asarray(flat)  # cut without compiling
    pieces = zip([0, *ends], ends, shapes, strict=False)
    return tuple(_checks.array(flat[i:j].reshape(shape)) for i, j, shape in pieces)


def generator(key) -> np.random.Generator:
    """A NumPy generator seeded with a JAX key, for what runs outside of JAX."""
    return np.random.default_rng(np.asarray(jax.random.key_data(_checks.key(key))))


def orthonormal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Uniformly (Haar) distributed orthonormal rows."""
    Q, R = scipy.linalg.qr(rng.normal(size=(columns, rows)), mode="economic")
    return (Q * np.sign(np.diag(R))).T


@functools.partial(jax.jit, static_argnums=1)
def _draw(key, size):
    return jax.random.normal(key, (size,))
