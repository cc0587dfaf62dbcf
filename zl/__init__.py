"""Exact fits of neural networks: when they exist, how to write one down, what they look like.

The package under the book *Zero Loss*. Samples are columns: inputs ``X`` have shape (M0, N),
labels ``Y`` have shape (Q, N). Parameters are a tuple of ``Layer(W, b)``. Functions are pure;
a ``Network`` carries no parameters and is hashable, so it can be a static argument of `jax.jit`.
"""

import jax as _jax

from zl import activations, data, jacobian, landscape, minimizers
from zl.activations import Activation
from zl.errors import HypothesisError
from zl.jacobian import (
    backward_signals,
    khatri_rao,
    layer_ranks,
    ntk,
    ntk_lower_bound,
    numerical_rank,
    training_jacobian,
)
from zl.network import Layer, Network, cost

__version__ = "0.1.0"
__all__ = [
    "Activation",
    "HypothesisError",
    "Layer",
    "Network",
    "activations",
    "backward_signals",
    "cost",
    "data",
    "enable_x64",
    "jacobian",
    "khatri_rao",
    "landscape",
    "layer_ranks",
    "minimizers",
    "ntk",
    "ntk_lower_bound",
    "numerical_rank",
    "training_jacobian",
]


def enable_x64() -> None:
    """Ask JAX for double precision, for the whole process.

    Call it once, before the first array is made: zero loss, ranks and certificates mean nothing
    in single precision. It is the only global switch in the package, and importing `zl` does not
    touch it.

    Example:
        >>> import jax.numpy as jnp, zl
        >>> zl.enable_x64()
        >>> jnp.ones(1).dtype
        dtype('float64')
    """
    _jax.config.update("jax_enable_x64", True)
