"""Activation functions, with what the theory needs to know of each.

The constructions invert an activation σ on an interval where it is a diffeomorphism; the rank
theory needs σ' and its bounds. An `Activation` carries both.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = [
    "Activation",
    "get",
    "identity",
    "leaky_relu",
    "mollified_relu",
    "relu",
    "sigmoid",
    "sin",
    "softplus",
    "tanh",
]

INF = float("inf")
Scalar = Callable[[Float[Array, "..."]], Float[Array, "..."]]


@dataclass(frozen=True)
class Activation:
    """A scalar activation function σ: R → R, applied to each component.

    Args:
        name: how it is called in messages and figures.
        function: σ.
        derivative: σ'. At a kink it takes one of the one-sided values (ReLU: 0 at 0).
        inverse: the inverse of σ: domain → image.
        domain: an open interval on which σ is a diffeomorphism onto its image.
        image: that image, an open interval.
        slopes: the infimum and supremum of σ' over all of R.
        window: (centre, half-width) of the part of `image` that constructions fill with targets;
            the centre is σ(0) where that lies in the image.
        smoothness: the largest k with σ ∈ C^k(R); infinity for analytic functions.

    Two activations are equal when all their parts are, and an activation is hashable.

    Example:
        >>> import jax.numpy as jnp, zl
        >>> zl.enable_x64()
        >>> sigma = zl.activations.tanh
        >>> float(sigma.inverse(sigma(jnp.float64(0.5))))
        0.5
        >>> sigma.image
        (-1.0, 1.0)
    """

    name: str
    function: Scalar
    derivative: Scalar
    inverse: Scalar
    domain: tuple[float, float]
    image: tuple[float, float]
    slopes: tuple[float, float]
    window: tuple[float, float]
    smoothness: float

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """σ(z), component by component."""
        return self.function(z)

    def __repr__(self) -> str:
        return f"Activation({self.name!r})"


# What is not compiled as a whole is compiled operation by operation, for every new shape.
_compiled = functools.partial(jax.jit, inline=True)


@_compiled
def _softplus_inverse(y):
    return y + jnp.log(-jnp.expm1(-y))


@_compiled
def _sech2(z):  # in this form its own derivatives are finite far out, too
    return 4 * jax.nn.sigmoid(2 * z) * jax.nn.sigmoid(-2 * z)


@_compiled
def _sigmoid_slope(z):
    return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)


@_compiled
def _sigmoid_inverse(y):
    return jnp.log(y) - jnp.log1p(-y)


LN2 = 0.6931471805599453

#: σ(z) = z; the network is then affine.
identity = Activation(
    "identity", jnp.positive, jnp.ones_like, jnp.positive,
    domain=(-INF, INF), image=(-INF, INF), slopes=(1.0, 1.0), window=(0.0, 1.0), smoothness=INF,
)  # fmt: skip
#: σ(z) = tanh z, a diffeomorphism of R onto (-1, 1).
tanh = Activation(
    "tanh", jnp.tanh, _sech2, jnp.arctanh,
    domain=(-INF, INF), image=(-1.0, 1.0), slopes=(0.0, 1.0), window=(0.0, 1.0), smoothness=INF,
)  # fmt: skip
#: σ(z) = 1/(1 + e⁻ᶻ), a diffeomorphism of R onto (0, 1).
sigmoid = Activation(
    "sigmoid", jax.nn.sigmoid, _sigmoid_slope, _sigmoid_inverse,
    domain=(-INF, INF), image=(0.0, 1.0), slopes=(0.0, 0.25), window=(0.5, 0.5), smoothness=INF,
)  # fmt: skip
#: σ(z) = ln(1 + eᶻ), a diffeomorphism of R onto (0, ∞).
softplus = Activation(
    "softplus", jax.nn.softplus, jax.nn.sigmoid, _softplus_inverse,
    domain=(-INF, INF), image=(0.0, INF), slopes=(0.0, 1.0), window=(LN2, LN2), smoothness=INF,
)  # fmt: skip
#: σ(z) = max(z, 0), a diffeomorphism of (0, ∞) onto itself, constant below.
relu = Activation(
    "relu", jax.nn.relu, _compiled(lambda z: (z > 0) * jnp.ones_like(z)), jnp.positive,
    domain=(0.0, INF), image=(0.0, INF), slopes=(0.0, 1.0), window=(1.0, 1.0), smoothness=0,
)  # fmt: skip
#: σ(z) = sin z, a diffeomorphism of (-π/2, π/2) onto (-1, 1).
sin = Activation(
    "sin", jnp.sin, jnp.cos, jnp.arcsin,
    domain=(-jnp.pi / 2, jnp.pi / 2), image=(-1.0, 1.0), slopes=(-1.0, 1.0), window=(0.0, 1.0),
    smoothness=INF,
)  # fmt: skip


def leaky_relu(slope: float = 0.125) -> Activation:
    """Leaky ReLU: z for z ≥ 0, slope·z for z < 0.

    Args:
        slope: in (0, 1). The default 1/8 is exact in binary, so rational arithmetic agrees.

    Returns:
        The activation; the same one whenever the slope is the same.

    Raises:
        ValueError: if the slope is not in (0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> zl.activations.leaky_relu(0.5)(jnp.array([-2.0, 3.0]))
        Array([-1.,  3.], dtype=float64)
    """
    if not 0 < slope < 1:
        raise ValueError(f"slope must lie in (0, 1); it is {slope}.")
    return _leaky_relu(float(slope))


@functools.cache
def _leaky_relu(slope: float) -> Activation:
    return Activation(
        "leaky_relu" if slope == 0.125 else f"leaky_relu({slope})",
        _compiled(lambda z: jnp.where(z >= 0, z, slope * z)),
        _compiled(lambda z: jnp.where(z >= 0, jnp.ones_like(z), slope)),
        _compiled(lambda y: jnp.where(y >= 0, y, y / slope)),
        domain=(0.0, INF), image=(0.0, INF), slopes=(slope, 1.0), window=(1.0, 1.0), smoothness=0,
    )  # fmt: skip


def mollified_relu(eps: float = 0.1) -> Activation:
    """ReLU averaged over an interval of half-width ε: a smoothing as in [CE], Theorem 1.6.

    It is 0 for z ≤ -ε, z for z ≥ ε, and (z + ε)²/(4ε) between: increasing, with a Lipschitz
    continuous derivative, and a diffeomorphism of (-ε, ∞) onto (0, ∞).

    Args:
        eps: ε > 0, in units of the pre-activation.

    Returns:
        The activation; the same one whenever ε is the same.

    Raises:
        ValueError: if ε is not a positive number.

    Example:
        >>> import jax.numpy as jnp
        >>> zl.activations.mollified_relu(1.0)(jnp.array([-1.0, 0.0, 1.0]))
        Array([0.  , 0.25, 1.  ], dtype=float64)
    """
    if not 0 < eps < INF:
        raise ValueError(f"eps must be a positive number; it is {eps}.")
    return _mollified_relu(float(eps))


@functools.cache
def _mollified_relu(eps: float) -> Activation:
    @_compiled
    def function(z):
        return jnp.where(z >= eps, z, jnp.clip(z + eps, 0.0, 2 * eps) ** 2 / (4 * eps))

    @_compiled
    def inverse(y):
        return jnp.where(y >= eps, y, 2 * jnp.sqrt(eps * jnp.clip(y, 0.0, eps)) - eps)

    return Activation(
        "mollified_relu" if eps == 0.1 else f"mollified_relu({eps})",
        function, _compiled(lambda z: jnp.clip((z + eps) / (2 * eps), 0.0, 1.0)), inverse,
        domain=(-eps, INF), image=(0.0, INF), slopes=(0.0, 1.0), window=(2 * eps, 2 * eps),
        smoothness=1,
    )  # fmt: skip


def get(name: str | Activation) -> Activation:
    """The activation of that name.

    Args:
        name: a name, or an `Activation`.

    Returns:
        The activation; an `Activation` is handed back as it is.

    Raises:
        ValueError: if no activation has that name; the message lists those that exist.

    Example:
        >>> zl.activations.get("softplus")
        Activation('softplus')
    """
    if isinstance(name, Activation):
        return name
    known = {a.name: a for a in (identity, tanh, sigmoid, softplus, relu, sin)}
    known |= {a.name: a for a in (leaky_relu(), mollified_relu())}
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"no activation is called {name!r}; there are {', '.join(sorted(known))}.")
    return known[name]
