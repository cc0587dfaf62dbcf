"""Which of the package's own activations an `Activation` is: proofs must not trust a name."""

from zl import activations
from zl.activations import Activation

PLAIN = (
    activations.identity,
    activations.tanh,
    activations.sigmoid,
    activations.softplus,
    activations.relu,
    activations.sin,
)


def family(activation: Activation) -> tuple[str, float | None]:
    """The name without its number, and the number: the slope of leaky ReLU, the ε of mollified.

    Raises:
        ValueError: if the activation is not one of `zl.activations`.
    """
    if activation in PLAIN:
        return activation.name, None
    slope, eps = activation.slopes[0], -activation.domain[0]
    if 0 < slope < 1 and activation == activations.leaky_relu(slope):
        return "leaky_relu", slope
    if 0 < eps < activations.INF and activation == activations.mollified_relu(eps):
        return "mollified_relu", eps
    raise ValueError(
        f"{activation!r} is not one of zl.activations: nothing is known about it beyond floating "
        "point, so nothing about it can be proved or written exactly."
    )
