"""What is known and small is computed by NumPy.

Outside of `jax.jit`, JAX compiles every operation for every new shape, which takes longer than all
that a small network does. Values that are traced, or many, or on an accelerator, or in single
precision are left to JAX.
"""

import functools

import jax
import numpy as np
import scipy.linalg

MANY = 2**22  # numbers in the largest array: from here on compiling pays
quiet = np.errstate(over="ignore", invalid="ignore")  # infinity and NaN are answers, as to JAX


def plain(size: int, *arguments):
    """The arguments (trees of arrays) as NumPy arrays if known and small, else as they are."""
    small = size < MANY and jax.default_backend() == "cpu"
    if small and all(_double(a) for a in jax.tree.leaves(arguments)):
        return jax.tree.map(np.asarray, arguments)
    return arguments


def _double(a) -> bool:
    return not isinstance(a, jax.core.Tracer) and a.dtype == np.float64


def entrywise(function, Z: np.ndarray) -> np.ndarray:
    """function(Z) for a JAX function that acts entry by entry.

    Z is evaluated as a vector whose length is a power of two and at least 1024: few shapes.
    """
    flat = np.full(max(1024, 1 << (Z.size - 1).bit_length()), Z.flat[0])
    flat[: Z.size] = Z.ravel()
    return np.asarray(_applied(function, flat))[: Z.size].reshape(Z.shape)


@functools.partial(jax.jit, static_argnums=0)  # which takes NumPy arrays faster than device_put
def _applied(function, z):
    return function(z)


def product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """A B, by the BLAS that factorizes: numpy brings another, and the threads of two collide."""
    return scipy.linalg.blas.dgemm(1.0, B.T, A.T).T
