"""Fully connected networks: the setting of the whole book."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from zl import _checks, _known, _random, activations
from zl.activations import Activation

__all__ = ["Layer", "Network", "Params", "cost"]


class Layer(NamedTuple):
    """One affine layer, z = W x + b.

    Args:
        W: weights (out, in).
        b: biases (out,).

    Example:
        >>> import jax.numpy as jnp
        >>> W, b = zl.Layer(jnp.ones((3, 2)), jnp.zeros(3))
        >>> W.shape, b.shape
        ((3, 2), (3,))
    """

    W: Float[Array, "out in"]
    b: Float[Array, " out"]


#: The parameters of a network, as a tuple of layers, first to last.
Params = tuple[Layer, ...]


@dataclass(frozen=True)
class Network:
    """The shape of a network: its widths and its activation, without parameters.

    Layer l computes Z⁽ˡ⁾ = W_l X⁽ˡ⁻¹⁾ + b_l 1ᵀ and X⁽ˡ⁾ = σ(Z⁽ˡ⁾) for l = 1 … L; the output layer
    L + 1 has no activation. Hashable, so it can be a static argument of `jax.jit`.

    Args:
        widths: (M₀, M₁, …, M_L, Q): input dimension, hidden widths, outputs.
        activation: an `Activation` or the name of one.

    Raises:
        ValueError: if there are fewer than two widths, or one is not a positive integer, or no
            activation has that name.

    Example:
        >>> net = zl.Network((4, 3, 2), "tanh")
        >>> net.L, net.K
        (1, 23)
    """

    widths: tuple[int, ...]
    activation: Activation

    def __init__(self, widths, activation: str | Activation = "tanh"):
        try:
            checked = tuple(int(w) for w in widths)
        except (TypeError, ValueError, OverflowError):
            checked = ()
        if len(checked) < 2 or checked != tuple(widths) or min(checked) < 1:
            raise ValueError(
                f"widths must be (M0, M1, …, ML, Q), positive integers; they are {widths!r}."
            )
        object.__setattr__(self, "widths", checked)
        object.__setattr__(self, "activation", activations.get(activation))

    @property
    def M0(self) -> int:
        """Dimension of the inputs."""
        return self.widths[0]

    @property
    def Q(self) -> int:
        """Number of outputs."""
        return self.widths[-1]

    @property
    def L(self) -> int:
        """Number of hidden layers."""
        return len(self.widths) - 2

    @property
    def K(self) -> int:
        """The number of parameters, the sum of M_l (M_{l-1} + 1) over the layers l = 1 … L + 1."""
        return sum(m * (n + 1) for n, m in zip(self.widths[:-1], self.widths[1:], strict=True))

    def init(self, key: PRNGKeyArray, gain: float = 1.0) -> Params:
        """Random parameters: entries of W_l normal with variance gain²/M_{l-1}, and b_l = 0.

        Args:
            key: a key made by `jax.random.key`.
            gain: the factor that scales every weight matrix.

        Returns:
            A tuple of L + 1 `Layer(W, b)`, W of shape (M_l, M_{l-1}).

        Raises:
            ValueError: if key is a number.

        Example:
            >>> import jax
            >>> params = zl.Network((4, 3, 2)).init(jax.random.key(0))
            >>> [layer.W.shape for layer in params]
            [(3, 4), (2, 3)]
        """
        key = jax.random.fold_in(_checks.key(key), 1)  # not data's numbers
        shapes = zip(self.widths[1:], self.widths[:-1], strict=True)
        layers = []
        for W in _known.plain(0, *_random.normal(key, *shapes)):
            W = _checks.array(gain * W / float(np.sqrt(W.shape[1])))
            layers.append(Layer(W, _checks.array(np.zeros(len(W), W.dtype))))
        return tuple(layers)

    def layers(
        self, params: Params, X: Float[Array, "M0 N"]
    ) -> tuple[tuple[Float[Array, "in N"], ...], tuple[Float[Array, "out N"], ...]]:
        """What enters and what leaves every affine layer.

        Args:
            params: a tuple of L + 1 `Layer(W, b)`.
            X: inputs (M0, N), one sample a column.

        Returns:
            ((X⁽⁰⁾, …, X⁽ᴸ⁾), (Z⁽¹⁾, …, Z⁽ᴸ⁺¹⁾)), each of length L + 1. Entry l - 1 belongs to
            layer l, as in `params`. The last Z is the network's output X⁽ᴸ⁺¹⁾.

        Raises:
            ValueError: if a shape does not fit; the message names the argument.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> net = zl.Network((4, 3, 2))
            >>> Xs, Zs = net.layers(net.init(jax.random.key(0)), jnp.ones((4, 5)))
            >>> [x.shape for x in Xs], [z.shape for z in Zs]
            ([(4, 5), (3, 5)], [(3, 5), (2, 5)])
        """
        X = _checks.array(X)
        _checks.columns_of("X", X, self.M0)
        self._check(params)
        Xs, Zs = self._forward(*_known.plain(X.shape[1] * max(self.widths), params, X))
        return (X, *map(_checks.array, Xs[1:])), tuple(map(_checks.array, Zs))

    def apply(self, params: Params, X: Float[Array, "M0 N"]) -> Float[Array, "Q N"]:
        """The network's output.

        Args:
            params: a tuple of L + 1 `Layer(W, b)`.
            X: inputs (M0, N), one sample a column.

        Returns:
            X⁽ᴸ⁺¹⁾ (Q, N), one column a sample.

        Raises:
            ValueError: if a shape does not fit; the message names the argument.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> net = zl.Network((4, 3, 2))
            >>> net.apply(net.init(jax.random.key(0)), jnp.ones((4, 5))).shape
            (2, 5)
        """
        return self.layers(params, X)[1][-1]

    @_known.quiet
    def _forward(self, params: Params, X) -> tuple[list, list]:
        """What `layers` returns, unchecked; computed by NumPy if X is an array of NumPy's."""
        affine, sigma = _affine, self.activation
        if isinstance(X, np.ndarray):
            affine, sigma = _affine_plain, functools.partial(_known.entrywise, sigma)
        Xs, Zs = [X], []
        for l, (W, b) in enumerate(params):
            if l:
                Xs.append(sigma(Zs[-1]))
            Zs.append(affine(W, b, Xs[-1]))
        return Xs, Zs

    def _check(self, params: Params) -> None:
        needed = tuple(
            ((m, n), (m,)) for n, m in zip(self.widths[:-1], self.widths[1:], strict=True)
        )
        try:
            shapes = tuple((W.shape, b.shape) for W, b in params)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"params must be a tuple of Layer(W, b), arrays: {error}.") from error
        if shapes != needed:
            raise ValueError(f"params has shapes {shapes}, but widths {self.widths} need {needed}.")


def cost(
    net: Network, params: Params, X: Float[Array, "M0 N"], Y: Float[Array, "Q N"]
) -> Float[Array, ""]:
    """The cost, half the mean squared error over the N samples.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).
        Y: labels (Q, N).

    Returns:
        C = (1/2N) Σᵢ |x(xᵢ) - yᵢ|², a scalar.

    Raises:
        ValueError: if a shape does not fit; the message names the argument.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = zl.Network((4, 3, 2))
        >>> params = jax.tree.map(jnp.zeros_like, net.init(jax.random.key(0)))
        >>> float(zl.cost(net, params, jnp.ones((4, 5)), jnp.ones((2, 5))))
        1.0
    """
    output = net.apply(params, X)
    Y = _checks.array(Y)
    _checks.columns_of("Y", Y, *output.shape)
    output, Y = _known.plain(Y.size, output, Y)
    return _checks.array((_half_mean_square if isinstance(Y, np.ndarray) else _compiled)(output, Y))


# One compiled function each: outside of `jax.jit`, JAX compiles every operation by itself.
@functools.partial(jax.jit, inline=True)
def _affine(W, b, X):
    return W @ X + b[:, None]


def _affine_plain(W, b, X):
    return _known.product(np.asarray(W), X) + np.asarray(b)[:, None]


@_known.quiet
def _half_mean_square(output, Y):
    return ((output - Y) ** 2).sum() / (2 * Y.shape[1])


_compiled = jax.jit(_half_mean_square, inline=True)


def pairs(params: Params) -> list:
    """(W, b) of each layer, or a ValueError that says what else `params` is."""
    try:
        return [(W, b) for W, b in params]
    except (TypeError, ValueError):
        raise ValueError(f"params must be a tuple of Layer(W, b); it is {params!r}.") from None


def check_params(net: Network, params: Params) -> Params:
    """`params` as float64 layers of the shapes that `net` needs, or a ValueError that says why not.

    For functions that need double precision; `Network.layers` itself takes any precision.
    """
    layers = tuple(
        Layer(_checks.double(f"params[{l}].W", W), _checks.double(f"params[{l}].b", b))
        for l, (W, b) in enumerate(pairs(params))
    )
    net._check(layers)
    return layers


def check_problem(
    net: Network, params: Params, X, Y
) -> tuple[Params, Float[Array, "M0 N"], Float[Array, "Q N"]]:
    """Parameters, inputs and labels that fit the network, in double precision; or a ValueError."""
    X = _checks.matrix("X", X, rows=net.M0)
    Y = _checks.matrix("Y", Y, rows=net.Q, columns=X.shape[1])
    return check_params(net, params), X, Y
