"""The zero-loss manifold M = {θ : C(θ) = 0}: its dimension, its tangents, ways to it and along it.

At a point of M where D has full rank QN (a regular point), M is a smooth manifold of dimension
K - QN, its tangent space is ker D, and the Hessian of the cost is Dᵀ D / N.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from zl import _checks
from zl.errors import HypothesisError
from zl.jacobian import SMALLER, _layered, _ntk, jacobian_rank, training_jacobian
from zl.network import Network, Params, check_problem, cost

__all__ = [
    "Dimension",
    "Projection",
    "dimension",
    "hessian_spectrum",
    "project",
    "tangent_space",
    "walk",
]

EPS = float(np.finfo(float).eps)


def hessian_spectrum(
    net: Network, params: Params, X: Float[Array, "M0 N"], Y: Float[Array, "Q N"]
) -> Float[Array, " K"]:
    """All K eigenvalues of the Hessian of the cost, in ascending order.

    At a regular point of M exactly QN of them are positive and K - QN are zero; rounding shows the
    zeros as numbers of about eps times the largest, of either sign. The Hessian is formed, K × K:
    K up to a few thousand. For piecewise linear activations it is the Hessian of the piece.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).
        Y: labels (Q, N).

    Returns:
        The eigenvalues (K,).

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or the Hessian is not finite.

    Source: after [Co] Proposition 2.3.

    Example:
        >>> net = zl.Network((4, 3, 1))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> params = zl.minimizers.pull_back(net, X, Y)
        >>> spectrum = zl.landscape.hessian_spectrum(net, params, X, Y)
        >>> int((spectrum > 1e-10 * spectrum[-1]).sum()), net.K
        (5, 19)
    """
    H = np.asarray(_hessian(net, *check_problem(net, params, X, Y)))
    if not np.isfinite(H).all():
        raise ValueError(f"params give a Hessian that is not finite. {SMALLER}")
    return _checks.array(scipy.linalg.eigvalsh(H))


@functools.partial(jax.jit, static_argnums=0)
def _hessian(net: Network, params: Params, X, Y):
    flat, unravel = ravel_pytree(params)
    return jax.hessian(lambda theta: cost(net, unravel(theta), X, Y))(flat)


class Dimension(int):
    """K - rank D: an integer that remembers how it was decided.

    Attributes:
        rank: the rank of D, a `zl.jacobian.JacobianRank`.
        test: the test that decided it: "rank formula, layer l" or "singular values of D".

    Example:
        >>> net = zl.Network((4, 3, 2))
        >>> X, _ = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> d = zl.landscape.dimension(net, net.init(jax.random.key(1)), X)
        >>> d + 0, d.test
        (13, 'rank formula, layer 1')
    """

    rank: int
    test: str


def dimension(net: Network, params: Params, X: Float[Array, "M0 N"]) -> Dimension:
    """The dimension K - rank D of ker D.

    At a point of M where D has full rank QN this is the dimension of M. Where D loses rank it is
    only an upper bound of the dimension of M near the point, and M may be singular there.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        The dimension, an integer with the attributes `rank` and `test`.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Source: [Co] Theorem 2.1, with the book's rank formula.

    Example:
        >>> net = zl.Network((4, 3, 1))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> dim = zl.landscape.dimension(net, zl.minimizers.pull_back(net, X, Y), X)
        >>> int(dim), int(dim.rank), dim.test
        (14, 5, 'rank formula, layer 1')
    """
    rank = jacobian_rank(net, params, X)
    found = Dimension(net.K - rank)
    found.rank, found.test = rank, rank.test
    return found


def tangent_space(
    net: Network, params: Params, X: Float[Array, "M0 N"]
) -> Float[Array, "K dimension"]:
    """An orthonormal basis of ker D: at a regular point of M, of its tangent space.

    From a singular value decomposition of D, with a K × K factor: K up to a few thousand.

    Args:
        net: the network.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        A matrix (K, K - rank D) with orthonormal columns, each in the order of
        `jax.flatten_util.ravel_pytree(params)`.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Source: [Co] Theorem 2.1.

    Example:
        >>> net = zl.Network((4, 3, 1))
        >>> params = net.init(jax.random.key(1))
        >>> X, _ = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> T = zl.landscape.tangent_space(net, params, X)
        >>> T.shape, bool(abs(zl.training_jacobian(net, params, X) @ T).max() < 1e-12)
        ((19, 14), True)
    """
    rank = jacobian_rank(net, params, X)
    rows = scipy.linalg.svd(training_jacobian(net, params, X))[2]
    return _checks.array(rows[rank:].T)


class Projection(NamedTuple):
    """Where `project` arrived, and how.

    Attributes:
        params: parameters on M, up to rounding.
        costs: the cost at the start and after each step.

    Example:
        >>> net = zl.Network((4, 6, 1))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> fit = zl.landscape.project(net, net.init(jax.random.key(1)), X, Y)
        >>> bool(fit.costs[-1] <= 1e-24)
        True
    """

    params: Params
    costs: Float[np.ndarray, " steps+1"]


def project(
    net: Network,
    params: Params,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    tol: float = 1e-24,
    max_steps: int = 100,
) -> Projection:
    """Back to the zero-loss manifold, by damped Gauss-Newton steps in their dual form.

    With the residual r = x[θ] - y, a step solves (D Dᵀ + μ1) v = r and moves θ by -Dᵀv: the
    Levenberg-Marquardt step, from one system of size QN with the NTK, never K × K. The damping μ
    follows the ratio of the actual to the predicted decrease. Once a step has succeeded, the same
    factorization serves for cheap further corrections as long as each divides the cost by ten.

    From a point near M it converges quadratically. From a random start of an overparametrized
    network it usually arrives as well, but nothing guarantees that: a point with C > 0 where no
    step decreases the cost is reported.

    Args:
        net: the network.
        params: where to start.
        X: inputs (M0, N).
        Y: labels (Q, N).
        tol: the cost to reach. If rounding in the outputs is larger, the cost it leaves will do.
        max_steps: how many systems to solve at most.

    Returns:
        `Projection(params, costs)`.

    Raises:
        HypothesisError: if the cost is stationary and above `tol`, which needs rank D < QN, or
            still above `tol` after `max_steps` steps.
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or the outputs are not finite.

    Source: [CE] Theorem 1.3 for when it can stop; the dual form is the book's own.

    Example:
        >>> net = zl.Network((4, 3, 1))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> params, costs = zl.landscape.project(net, net.init(jax.random.key(1)), X, Y)
        >>> bool(zl.cost(net, params, X, Y) <= 1e-24), len(costs) <= 10
        (True, True)
    """
    params, X, Y = check_problem(net, params, X, Y)
    residual = np.asarray(_moved(net, params, params, X, Y, np.zeros(Y.size))[1])
    costs, damping = [_cost(net, residual)], None
    if not np.isfinite(costs[0]):
        raise ValueError(f"params give outputs that are not finite: the cost is {costs[0]}.")
    # So that the first step is cautious far from M (μ some percent of an average eigenvalue).
    y = np.asarray(Y).T.ravel()
    distance = _squared(residual) / (_squared(residual + y) + _squared(y) or 1.0)
    while costs[-1] > tol:
        if len(costs) > max_steps:
            raise _too_few_steps(costs[-1], tol, max_steps)
        kernel = _kernel(net, params, X)
        if damping is None:
            damping = 0.03 * distance * np.trace(kernel) / len(kernel)
        step = _damped_step(net, params, residual, X, Y, kernel, damping)
        if step is None:
            break  # only rounding is left
        params, residual = _corrected(net, params, step, X, Y, tol)
        damping = step.damping
        costs.append(_cost(net, residual))
    return Projection(params, np.array(costs))


class _Step(NamedTuple):
    params: Params
    residual: np.ndarray
    factor: tuple  # of D Dᵀ + μ1 at the point before the step
    damping: float  # for the next step


def _damped_step(net: Network, params: Params, residual, X, Y, kernel, damping) -> _Step | None:
    """One accepted step, or an error if there is none; None if only rounding is left to reduce."""
    total, least_damped = _squared(residual), False
    while True:
        factor, damping = _factor(kernel, damping)
        v = scipy.linalg.cho_solve(factor, residual, check_finite=False)
        # The linear model's decrease of |r|², without cancellation: r - μv is D Dᵀ v.
        predicted = np.sum((residual - damping * v) * (residual + damping * v))
        if predicted > PROMISE * total:
            after = _moved(net, params, params, X, Y, v)
            ratio = (total - _squared(after[1])) / predicted
            if ratio > 0.1:
                factors = ((0.9, 1e-2), (0.75, 1e-1), (0.25, 1.0), (0.0, 4.0))
                change = next(factor for least, factor in factors if ratio > least)
                return _Step(after[0], np.asarray(after[1]), factor, change * damping)
        if _cost(net, residual) <= _rounding(net, params, X):
            return None
        if predicted > PROMISE * total:
            damping *= 8
        elif least_damped:
            raise _stationary(net, residual)
        else:
            damping, least_damped = 0.0, True


PROMISE = 1e-9  # a predicted decrease, relative to the cost, that counts as none


def _corrected(
    net: Network, base: Params, step: _Step, X, Y, tol: float
) -> tuple[Params, np.ndarray]:
    """Corrections with the step's D and factorization, while each divides the cost by ten.

    (A new Dᵀ with the old factorization would be about twice as far from a Gauss-Newton step.)
    """
    params, residual, worth = step.params, step.residual, True
    while worth and _cost(net, residual) > tol:
        v = scipy.linalg.cho_solve(step.factor, residual, check_finite=False)
        after = _moved(net, base, params, X, Y, v)
        before, now = _squared(residual), _squared(after[1])
        worth = now < 0.1 * before
        if now < before:
            params, residual = after[0], np.asarray(after[1])
    return params, residual


def _kernel(net: Network, params: Params, X) -> np.ndarray:
    kernel = np.asarray(_ntk(net, params, X))
    if not np.isfinite(np.trace(kernel)):
        raise ValueError("params give a tangent kernel that is not finite.")
    return kernel


def _factor(kernel, damping: float):
    """A Cholesky factor of D Dᵀ + μ1, and μ: `damping`, raised as far as rounding asks for."""
    damping = max(damping, EPS * np.trace(kernel))
    while True:
        shifted = np.array(kernel.T, order="F")  # the transpose (itself) copies in one piece
        shifted[np.diag_indices_from(shifted)] += damping
        try:
            factor = scipy.linalg.cho_factor(
                shifted, lower=True, overwrite_a=True, check_finite=False
            )
            return factor, damping
        except np.linalg.LinAlgError:
            damping *= 10


@functools.partial(jax.jit, static_argnums=0)
def _moved(net: Network, base: Params, params: Params, X, Y, v):
    """The parameters moved by -Dᵀv, with D at the base point, and the residual there."""
    (gradient,) = jax.vjp(lambda p: net.apply(p, X), base)[1](v.reshape(-1, net.Q).T)
    params = jax.tree.map(jnp.subtract, params, gradient)
    return params, (net.apply(params, X) - Y).T.ravel()


def _cost(net: Network, residual) -> float:
    return float(_squared(residual) * net.Q / (2 * residual.size))


def _squared(residual) -> float:
    with np.errstate(over="ignore"):  # a step may lead far away, to be refused
        return float(np.sum(np.square(residual)))


def _rounding(net: Network, params: Params, X) -> float:
    """An estimate of the cost that rounding alone can leave."""
    Xs, signals = _layered(net, params, X)[:2]
    errors = sum(
        np.linalg.norm(B, axis=(1, 2)) * np.linalg.norm(np.abs(W) @ x + np.abs(b)[:, None], axis=0)
        for (W, b), x, B in zip(params, map(np.abs, Xs), signals, strict=True)
    )
    return float(np.sum((EPS * errors) ** 2) / (2 * X.shape[1]))


THEOREM = "The way to the zero-loss manifold ([CE] Theorem 1.3)"


def _stationary(net: Network, residual) -> HypothesisError:
    return HypothesisError(
        THEOREM,
        "rank D = QN wherever C > 0",
        f"no step decreases the cost C = {_cost(net, residual):.2e}",
        f"so rank D < QN = {residual.size} here, up to rounding (there are K = {net.K} parameters)",
        "Try: another start, or inputs and labels of size about 1; if K < QN, a larger network; "
        "if ReLU neurons are dead, an increasing activation.",
    )


def _too_few_steps(found: float, tol: float, max_steps: int) -> HypothesisError:
    return HypothesisError(
        THEOREM,
        "a start from which the allowed steps suffice",
        f"C = {found:.2e} after {max_steps} steps",
        f"but C ≤ {tol:.0e} is needed",
        "Try: more steps, another start, or inputs and labels of size about 1; "
        "`zl.jacobian.jacobian_rank` says whether D loses rank.",
    )


def walk(
    net: Network,
    params: Params,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    direction: PyTree,
    *,
    step: float,
    steps: int,
) -> Params:
    """A path on the zero-loss manifold: tangent steps, each brought back by `project`.

    The start is projected onto M. Each step then follows the orthogonal projection of the last
    direction onto ker D, so the path turns only as M does: with short steps it tends to a geodesic
    of M. Nothing larger than the layers and the NTK is formed.

    Args:
        net: the network.
        params: a point on M, or near it.
        X: inputs (M0, N).
        Y: labels (Q, N).
        direction: where to go first: parameters' shape, or a vector (K,) in the order of
            `jax.flatten_util.ravel_pytree(params)`, such as a column of `tangent_space`.
        step: the length of a tangent step, in the Euclidean norm of all parameters.
        steps: how many.

    Returns:
        Parameters stacked along a leading axis of length steps + 1, the start first.

    Raises:
        HypothesisError: if a direction has no part in ker D, or a point cannot be brought back.
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or step or steps is not positive.

    Source: the predictor-corrector walk of the book's chapter on walking on M.

    Example:
        >>> net = zl.Network((4, 3, 1))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> start = zl.minimizers.pull_back(net, X, Y)
        >>> direction = zl.landscape.tangent_space(net, start, X)[:, 0]
        >>> path = zl.landscape.walk(net, start, X, Y, direction, step=0.1, steps=3)
        >>> path[0].W.shape
        (4, 3, 4)
        >>> bool(max(jax.vmap(lambda p: zl.cost(net, p, X, Y))(path)) <= 1e-20)
        True
    """
    if not 0 < step < np.inf:
        raise ValueError(f"step must be a positive number; it is {step}.")
    _checks.positive_integers(steps=steps)
    heading = _checks.double("direction", ravel_pytree(direction)[0])
    if heading.size != net.K:
        raise ValueError(f"direction has {heading.size} components, but K = {net.K} are needed.")
    points = [project(net, params, X, Y).params]
    for _ in range(steps):
        heading = _unit_tangent(net, points[-1], X, heading)
        points.append(project(net, _along(points[-1], step * heading), X, Y).params)
    return jax.tree.map(lambda *leaves: _checks.array(np.stack(leaves)), *points)


@jax.jit
def _along(params: Params, move):
    flat, unravel = ravel_pytree(params)
    return unravel(flat + move)


def _unit_tangent(net: Network, params: Params, X, direction):
    """The direction's orthogonal projection onto ker D, of length 1.

    Each pass takes off DᵀΘ⁻¹D of what is left, with the NTK Θ. One would do, were Θ not damped and
    rounded.
    """
    kernel, length = _kernel(net, params, X), np.linalg.norm(direction)
    factor, _ = _factor(kernel, 0.0)
    tangent = np.asarray(direction)
    for _ in range(10):
        normal = np.asarray(_pushed(net, params, X, tangent))
        if np.linalg.norm(normal) <= 1e-14 * np.sqrt(np.trace(kernel)) * length:
            break
        v = scipy.linalg.cho_solve(factor, normal)
        tangent = np.asarray(_without(net, params, X, tangent, v))
    if not np.linalg.norm(tangent) > 1e-8 * length:
        raise HypothesisError(
            "Walking on the zero-loss manifold",
            "a direction that is not normal to it",
            f"the part in ker D has length {np.linalg.norm(tangent):.1e}",
            f"of {length:.1e} in all, which rounding cannot tell from 0",
            "Try: a column of `zl.landscape.tangent_space`, or a shorter step.",
        )
    return tangent / np.linalg.norm(tangent)


@functools.partial(jax.jit, static_argnums=0)
def _pushed(net: Network, params: Params, X, direction):
    """D times a direction."""
    tangent = ravel_pytree(params)[1](direction)
    return jax.jvp(lambda p: net.apply(p, X), (params,), (tangent,))[1].T.ravel()


@functools.partial(jax.jit, static_argnums=0)
def _without(net: Network, params: Params, X, direction, v):
    """A direction minus Dᵀv."""
    (gradient,) = jax.vjp(lambda p: net.apply(p, X), params)[1](v.reshape(-1, net.Q).T)
    return direction - ravel_pytree(gradient)[0]
