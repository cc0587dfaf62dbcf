"""Exact fits of neural networks: when they exist, how to write one down, what they look like.

The package under the book Zero Loss. Samples are columns: inputs ``X`` have shape (M0, N),
labels ``Y`` have shape (Q, N). Parameters are a tuple of ``Layer(W, b)``. Functions are pure;
a ``Network`` carries no parameters and is hashable, so it can be a static argument of `jax.jit`.
"""

import importlib as _importlib

import jax as _jax

from zl import activations, data, flow, jacobian, landscape, minimizers, theorems
from zl.activations import Activation
from zl.errors import CertificateError, HypothesisError, RankLossError
from zl.flow import (
    Trajectory,
    adapted_flow,
    comparison_model,
    gradient_descent,
    gradient_flow,
)
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
from zl.theorems import guarantees

__version__ = "0.1.0"
__all__ = [
    "Activation",
    "CertificateError",
    "HypothesisError",
    "Layer",
    "Network",
    "RankLossError",
    "Trajectory",
    "activations",
    "adapted_flow",
    "backward_signals",
    "certify",
    "comparison_model",
    "cost",
    "data",
    "enable_x64",
    "flow",
    "gradient_descent",
    "gradient_flow",
    "guarantees",
    "jacobian",
    "khatri_rao",
    "landscape",
    "layer_ranks",
    "minimizers",
    "ntk",
    "ntk_lower_bound",
    "numerical_rank",
    "symbolic",
    "theorems",
    "training_jacobian",
]

_LAZY = {"certify": "python-flint", "symbolic": "python-flint and SymPy"}


def __getattr__(name: str):
    """Import `certify` and `symbolic` at their first use: not everyone has their libraries."""
    if name not in _LAZY:
        raise AttributeError(f"module 'zl' has no attribute {name!r}")
    try:
        return _importlib.import_module(f"zl.{name}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"zl.{name} needs {_LAZY[name]} ({error}). "
            "Try: python -m pip install python-flint sympy"
        ) from error


def __dir__():
    return sorted(globals().keys() | _LAZY.keys())


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
