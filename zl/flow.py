"""How training moves: gradient flow, the adapted flow, gradient descent, and what to compare with.

Time s is that of θ' = -∇C with the cost C = |x - y|²/2N, so N sets the scale of time.
"""

import functools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from zl import _checks, _known, jacobian
from zl.errors import RankLossError
from zl.network import Network, Params, check_problem, cost

__all__ = ["Trajectory", "adapted_flow", "comparison_model", "gradient_descent", "gradient_flow"]


class Trajectory(NamedTuple):
    """What was saved along a run, stacked along a leading time axis of length T.

    Attributes:
        ts: times (T,), increasing.
        params: parameters, each leaf with a leading axis of length T; None for a run that has
            none (`comparison_model`).
        outputs: the network's outputs x (T, Q, N).
        cost: C (T,).
        ntk_min: the smallest eigenvalue (T,) of the neural tangent kernel D Dᵀ, if asked for.
            Rounding moves it by some 1e-16 of the largest eigenvalue; below that it is noise.

    Example:
        >>> import jax
        >>> net = zl.Network((4, 3, 2))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> run = zl.comparison_model(net, net.init(jax.random.key(1)), X, Y, ts=[0.0, 1.0, 2.0])
        >>> run.ts.shape, run.outputs.shape, run.cost.shape, run.params, run.ntk_min
        ((3,), (3, 2, 5), (3,), None, None)
    """

    ts: Float[Array, " T"]
    params: Params | None
    outputs: Float[Array, "T Q N"]
    cost: Float[Array, " T"]
    ntk_min: Float[Array, " T"] | None = None


def gradient_flow(
    net: Network,
    params: Params,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    t1: float,
    saves: int | Float[Array, " T"] = 101,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 100_000,
    ntk: bool = False,
    progress: bool = False,
) -> Trajectory:
    """The gradient flow θ' = -∇C(θ) from given parameters up to time t1.

    An explicit Runge–Kutta method of order 5 (Tsitouras) with adaptive steps. For stability it
    needs about λ_max t1/(3N) steps, λ_max the largest eigenvalue of the neural tangent kernel.
    The cost falls monotonically until the outputs agree with the labels to the tolerance, and
    from then on fluctuates below C ≈ rtol²λ_max|θ|²/N.

    Flows of networks with kinks (ReLU, leaky ReLU) slide along the kinks, on which the vector
    field jumps, with steps about as short as the tolerance; hence their larger default.

    A run is compiled once for a network, a number of samples and a number of saved times.

    Args:
        net: the network.
        params: where the flow starts.
        X: inputs (M0, N).
        Y: labels (Q, N).
        t1: the time to reach, in units of the flow's time.
        saves: how many equally spaced times to save, 0 and t1 among them, or the times
            themselves, increasing, in [0, t1]. Each keeps a copy of the K parameters.
        rtol: relative tolerance of a step; 1e-8 by default, 1e-5 if the activation has kinks.
        atol: absolute tolerance of a step; rtol/100 by default.
        max_steps: how many steps to try before giving up.
        ntk: whether to save the smallest eigenvalue of the neural tangent kernel.
        progress: whether to print how far the run is.

    Returns:
        The trajectory, its T states at the times to save.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape, in single precision
            or outside its range.
        RuntimeError: if t1 is not reached in `max_steps` steps.
        ImportError: if diffrax is not installed.

    Source: [CE] Section 1; [CE] Theorem 1.3 for the rate at which C falls.

    Example:
        >>> import jax
        >>> net = zl.Network((4, 6, 1))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> run = zl.gradient_flow(net, net.init(jax.random.key(1)), X, Y, t1=50.0)
        >>> bool((run.cost[1:] < run.cost[:-1]).all()), bool(run.cost[-1] < 1e-3)
        (True, True)
    """
    params, X, Y = check_problem(net, params, X, Y)
    settings = _settings(net, t1, saves, rtol, atol, max_steps)
    return _solve(net, params, X, Y, settings, None, bool(ntk), bool(progress))[0]


def adapted_flow(
    net: Network,
    params: Params,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    t1: float,
    saves: int | Float[Array, " T"] = 101,
    rtol: float | None = None,
    atol: float | None = None,
    rank_rtol: float = 1e-6,
    max_steps: int = 100_000,
    ntk: bool = False,
    progress: bool = False,
) -> Trajectory:
    """The adapted flow θ' = -(DᵀD)⁺∇C(θ): steepest descent as the outputs see it.

    The outputs move by x' = -P ∇ₓC, P the orthogonal projector onto range D. While D has rank QN,
    P is the identity and x(s) = y + e^{-s/N}(x(0) - y): a straight line, whatever the network.
    Then one Cholesky factorization of the neural tangent kernel (QN × QN) an evaluation does it,
    without D. For K < QN the flow uses the singular value decomposition of D (QN × K).

    The flow ends where D loses rank: its vector field has no continuous extension there. At a kink
    of the activation (ReLU, leaky ReLU) the field jumps although the rank may stay; the flow may
    then slide along the kink, which bends the line, and a warning says so.

    Args:
        net: the network.
        params: where the flow starts.
        X: inputs (M0, N).
        Y: labels (Q, N).
        t1: the time to reach; distances to the line's end shrink by e in time N.
        saves: how many equally spaced times to save, 0 and t1 among them, or the times
            themselves, increasing, in [0, t1]. Each keeps a copy of the K parameters.
        rtol: relative tolerance of a step, at most 10 rank_rtol; 1e-8 by default, 1e-5 if the
            activation has kinks.
        atol: absolute tolerance of a step; rtol/100 by default.
        rank_rtol: D counts as rank deficient when its last singular value (number QN, or the
            rank at the start if K < QN) is below this part of the largest, now or at the start.
            Below 1e-7 the kernel, which squares them, cannot tell.
        max_steps: how many steps to try before giving up.
        ntk: whether to save the smallest eigenvalue of the neural tangent kernel.
        progress: whether to print how far the run is.

    Returns:
        The trajectory, its T states at the times to save.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape, in single precision
            or outside its range.
        RankLossError: if D loses rank on the way (K ≥ QN: or has rank below QN at the start). It
            carries the time, the ratio of singular values, and the trajectory up to then.
        RuntimeError: if t1 is not reached in `max_steps` steps.
        ImportError: if diffrax is not installed.

    Warns:
        RuntimeWarning: if D kept rank QN and the outputs left the straight line all the same.

    Source: [CE25].

    Example:
        >>> import jax
        >>> net = zl.Network((4, 6, 1))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> params = net.init(jax.random.key(1))
        >>> run = zl.adapted_flow(net, params, X, Y, t1=20.0)
        >>> line = zl.comparison_model(net, params, X, Y, ts=run.ts)
        >>> bool(abs(run.outputs - line.outputs).max() < 1e-6)
        True
    """
    params, X, Y = check_problem(net, params, X, Y)
    settings = _settings(net, t1, saves, rtol, atol, max_steps)
    _check_rank_rtol(rank_rtol, float(settings.rtol))
    sigma = _singular_values(net, params, X)
    rank = Y.size if Y.size <= net.K else np.sum(sigma > rank_rtol * sigma[0])
    if not sigma[rank - 1] >= rank_rtol * sigma[0]:
        start = _observe(net, _rows(params, None), X, Y, bool(ntk))._replace(ts=jnp.zeros(1))
        raise RankLossError(0.0, float(sigma[rank - 1] / sigma[0]), rank_rtol, start)
    watch = _Watch(jnp.float64(rank_rtol), jnp.float64(sigma[0]), jnp.int64(rank))
    run, lost = _solve(net, params, X, Y, settings, watch, bool(ntk), bool(progress))
    if lost:
        end = _singular_values(net, _rows(run.params, -1), X)
        ratio = float(end[rank - 1] / max(end[0], sigma[0]))
        raise RankLossError(float(run.ts[-1]), ratio, rank_rtol, run)
    if Y.size <= net.K:
        _warn_of_detours(run, _straight_line(net, params, X, Y, run.ts), Y)
    return run


def gradient_descent(
    net: Network,
    params: Params,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    step: float,
    steps: int,
    saves: int | Float[Array, " T"] = 101,
    ntk: bool = False,
) -> Trajectory:
    """Gradient descent θ ← θ - step·∇C(θ), a given number of times.

    Its time is step times the number of steps taken, that of the gradient flow it follows. It is
    stable near a minimum while step < 2/(the largest eigenvalue of the Hessian there).

    Args:
        net: the network.
        params: where the descent starts.
        X: inputs (M0, N).
        Y: labels (Q, N).
        step: the step size, in units of the flow's time.
        steps: how many steps to take.
        saves: how many equally spaced states to save, the first and the last among them (fewer if
            there are fewer steps), or the numbers of steps after which to save, increasing.
        ntk: whether to save the smallest eigenvalue of the neural tangent kernel.

    Returns:
        The trajectory, its states those after the saved numbers of steps.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape, in single precision
            or outside its range.
        FloatingPointError: if the cost overflows: the step is too long. The message says how long
            a step may be.

    Example:
        >>> import jax
        >>> net = zl.Network((4, 6, 1))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=1)
        >>> params = net.init(jax.random.key(1))
        >>> run = zl.gradient_descent(net, params, X, Y, step=0.1, steps=500, saves=11)
        >>> run.ts.tolist()[-1], bool(run.cost[-1] < 1e-3)
        (50.0, True)
    """
    params, X, Y = check_problem(net, params, X, Y)
    if not 0 < step < np.inf:
        raise ValueError(f"step must be a positive number; it is {step}.")
    _checks.positive_integers(steps=steps)
    numbers = _save_points(saves, steps)
    counts = np.unique(np.rint(numbers).astype(int))
    if np.ndim(saves) and not np.array_equal(counts, numbers):
        raise ValueError("saves must be whole numbers of steps.")
    stacked = _descend(net, params, X, Y, jnp.float64(step), _checks.array(counts))
    run = _observe(net, stacked, X, Y, bool(ntk))._replace(ts=_checks.array(step * counts))
    if not np.isfinite(run.cost).all():
        overflow = int(counts[np.argmin(np.isfinite(run.cost))])
        sharpness = float(_singular_values(net, params, X)[0] ** 2) / X.shape[1]
        raise FloatingPointError(
            f"gradient descent with step = {step:.3g} has diverged: its cost is not finite after "
            f"{overflow} steps. At the start the largest eigenvalue of the Hessian is about "
            f"{sharpness:.3g} (that of the neural tangent kernel over N), so descent is stable "
            f"there up to step = {2 / sharpness:.3g}. Try: step = {0.5 / sharpness:.1g}."
        )
    return run


def comparison_model(
    net: Network,
    params: Params,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    ts: Float[Array, " T"],
) -> Trajectory:
    """The flow x' = -∇ₓC of the outputs themselves, as if no network constrained them.

    x(s) = y + e^{-s/N}(x(0) - y) and C(s) = e^{-2s/N} C(0), from the network's outputs x(0). This
    flow lives in the space of outputs, so its trajectory has no parameters (None).

    Args:
        net: the network.
        params: parameters, of which only the outputs x(0) matter.
        X: inputs (M0, N).
        Y: labels (Q, N).
        ts: times (T,), those of another trajectory for instance.

    Returns:
        The trajectory, with the outputs and the cost at those times.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision.

    Source: [CE] (1.5)–(1.7).

    Example:
        >>> import jax
        >>> net = zl.Network((4, 3, 2))
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> run = zl.comparison_model(net, net.init(jax.random.key(1)), X, Y, ts=[0.0, 5.0])
        >>> round(float(run.cost[1] / run.cost[0]), 6)  # e^{-2}
        0.135335
    """
    params, X, Y = check_problem(net, params, X, Y)
    ts = _checks.double("ts", np.asarray(ts))
    if ts.ndim != 1 or len(ts) == 0:
        raise ValueError(f"ts must be a non-empty vector of times; it has shape {ts.shape}.")
    return _straight_line(net, params, X, Y, ts)


def _save_points(saves, end: float) -> np.ndarray:
    """The times to save: `saves` of them, equally spaced in [0, end], or those given."""
    if np.ndim(saves) == 0:
        if not isinstance(saves, int | np.integer) or saves < 2:
            raise ValueError(f"saves must be an integer of at least 2, or times; it is {saves}.")
        return np.linspace(0, end, int(saves))
    points = np.asarray(saves, float)
    inside = points.ndim == 1 and len(points) > 0 and points[0] >= 0 and points[-1] <= end
    if not (inside and (np.diff(points) > 0).all()):
        raise ValueError(f"saves must be increasing, in [0, {end}]; they are {saves}.")
    return points


class _Settings(NamedTuple):
    ts: Float[Array, " T"]
    t1: Float[Array, ""]
    rtol: Float[Array, ""]
    atol: Float[Array, ""]
    max_steps: int


class _Watch(NamedTuple):
    """What tells a rank loss: σ_rank < rank_rtol·max(σ_1, σ_1 at the start)."""

    rank_rtol: Float[Array, ""]
    largest: Float[Array, ""]
    rank: Int[Array, ""]


def _settings(net: Network, t1, saves, rtol, atol, max_steps) -> _Settings:
    """What both flows tell the solver, checked."""
    if not 0 < t1 < np.inf:
        raise ValueError(f"t1 must be a positive number; it is {t1}.")
    ts = _save_points(saves, t1)
    if rtol is None:
        rtol = 1e-8 if net.activation.smoothness >= 1 else 1e-5
    atol = rtol / 100 if atol is None else atol
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if not 0 < tolerance < 1:
            raise ValueError(f"{name} must lie in (0, 1); it is {tolerance}.")
    _checks.positive_integers(max_steps=max_steps)
    return _Settings(*(jnp.asarray(a, jnp.float64) for a in (ts, t1, rtol, atol)), int(max_steps))


def _check_rank_rtol(rank_rtol: float, rtol: float) -> None:
    if not 1e-7 <= rank_rtol < 1:
        raise ValueError(f"rank_rtol must lie in [1e-7, 1); it is {rank_rtol}.")
    if round(rtol / rank_rtol, 6) > 10:
        raise ValueError(
            f"rtol = {rtol:.3g} would step over a rank loss; at most 10 rank_rtol = "
            f"{10 * rank_rtol:.3g} is needed."
        )


def _solve(net, params, X, Y, settings, watch, ntk, progress) -> tuple[Trajectory, bool]:
    """The trajectory, and whether D lost rank in its last state."""
    ts, states, lost = _integrate(net, params, X, Y, *settings, watch, progress)
    run = _observe(net, states, X, Y, ntk)._replace(ts=ts)
    count = int(np.isfinite(ts).sum())  # the saved states and the last one
    if lost:
        return _rows(run, slice(count)), True
    if count <= len(settings.ts):
        raise RuntimeError(
            f"{settings.max_steps} steps have brought the flow only to time "
            f"{float(ts[count - 1]):.3g} of {float(settings.t1):.3g}, with rtol = "
            f"{float(settings.rtol):.0e}. Try: a smaller t1; a larger max_steps; or, if the "
            "activation has kinks, a larger rtol or a smooth activation."
        )
    return _rows(run, slice(count - 1)), False


def _rows(tree, rows):
    """The given rows of every leaf; sliced by NumPy, which compiles nothing."""
    return jax.tree.map(lambda a: _checks.array(np.asarray(a)[rows]), tree)


def _warn_of_detours(run: Trajectory, line: Trajectory, Y) -> None:
    """Where D has full rank and σ is smooth, outputs move along a line: say where they left it."""
    N = Y.shape[1]
    length = np.sqrt(2 * N * line.cost[0]) * np.exp(line.ts[0] / N)
    away = np.linalg.norm(run.outputs - line.outputs, axis=(1, 2))
    left = away > 1e-3 * length + 1e-6 * np.linalg.norm(Y)
    if left.any():
        warnings.warn(
            f"the outputs have left the straight line by time {float(run.ts[left.argmax()]):.3g} "
            f"(later by up to {away.max() / length:.1g} of its length): the flow slides along a "
            "kink of the activation, or a rank loss lies between two steps. "
            "Try: a smooth activation, or a smaller rtol.",
            RuntimeWarning,
            stacklevel=3,
        )


@functools.partial(jax.jit, static_argnames=("net", "max_steps", "progress"))
def _integrate(net, params, X, Y, ts, t1, rtol, atol, max_steps, watch, progress):
    """Times, parameters, and whether D lost rank; the last state is one row after the saved ones.

    The times of rows beyond it are infinite. Without `watch` this is the gradient flow, with it
    the adapted flow.
    """
    diffrax = _diffrax()
    start, unravel = ravel_pytree(params)

    def residual(theta):  # sample by sample
        return (net.apply(unravel(theta), X) - Y).T.ravel()

    def steepest(s, theta, args):
        r, pull = jax.vjp(residual, theta)
        return -pull(r)[0] / X.shape[1]

    def straight(s, theta, args):
        if Y.size <= net.K:
            return _dual(residual, jacobian.ntk(net, unravel(theta), X), theta) / X.shape[1]
        return _primal(residual, args.rank_rtol * args.largest, theta) / X.shape[1]

    def rank_lost(s, theta, args, **_):
        sigma = _singular_values(net, unravel(theta), X)
        return ~(sigma[args.rank - 1] >= args.rank_rtol * jnp.maximum(sigma[0], args.largest))

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(steepest if watch is None else straight),
        diffrax.Tsit5(),
        0.0,
        t1,
        None,
        start,
        args=watch,
        saveat=diffrax.SaveAt(ts=ts, t1=True),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.4, icoeff=0.3),
        adjoint=diffrax.ForwardMode(),
        event=None if watch is None else diffrax.Event(rank_lost),
        max_steps=max_steps,
        throw=False,
        progress_meter=diffrax.TextProgressMeter() if progress else diffrax.NoProgressMeter(),
    )
    states = jnp.where(jnp.isfinite(solution.ts)[:, None], solution.ys, start)
    return solution.ts, jax.vmap(unravel)(states), solution.event_mask


def _dual(residual, kernel, theta):
    """-D⁺r = -Dᵀ(DDᵀ)⁻¹r for D of full rank QN ≤ K, without D.

    The kernel squares the condition number of D; a step of iterative refinement, with the
    residual through D and Dᵀ, gives back what that costs. Where Cholesky's factorization fails,
    the velocity 0 makes the next look at the rank end the flow.
    """
    r, pull = jax.vjp(residual, theta)
    factor = jax.scipy.linalg.cho_factor(kernel, lower=True)
    solve = functools.partial(jax.scipy.linalg.cho_solve, factor)
    u = solve(r)
    u += solve(r - jax.jvp(residual, (theta,), pull(u))[1])
    return -pull(jnp.where(jnp.isfinite(u).all(), u, 0.0))[0]


def _primal(residual, floor, theta):
    """-D⁺r from the singular values of D above a floor, for QN > K."""
    r, D = residual(theta), jax.jacfwd(residual)(theta)
    U, sigma, Vt = jnp.linalg.svd(D, full_matrices=False)
    kept = sigma > floor
    return -Vt.T @ (jnp.where(kept, U.T @ r, 0.0) / jnp.where(kept, sigma, 1.0))


def _singular_values(net, params, X):
    """The singular values of D, largest first: from the NTK if QN ≤ K, from D itself if not."""
    dual = net.Q * X.shape[1] <= net.K
    A = (jacobian.ntk if dual else jacobian.training_jacobian)(net, params, X)
    xp = jnp if isinstance(A, jax.core.Tracer) else np
    if xp is np and not np.isfinite(A).all():
        raise ValueError(f"params give a training Jacobian that is not finite. {jacobian.SMALLER}")
    if dual:
        return xp.sqrt(xp.maximum(xp.linalg.eigvalsh(A)[::-1], 0.0))
    return xp.linalg.svd(A, compute_uv=False)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _observe(net, stacked, X, Y, ntk):
    """The trajectory of stacked parameters, one state at a time; its times are still None."""

    def look(params):
        outputs = net.apply(params, X)
        smallest = jnp.linalg.eigvalsh(jacobian.ntk(net, params, X))[0] if ntk else None
        return outputs, jnp.sum((outputs - Y) ** 2) / (2 * X.shape[1]), smallest

    return Trajectory(None, stacked, *jax.lax.map(look, stacked))


def _straight_line(net, params, X, Y, ts):
    times, x0, labels = _known.plain(len(ts) * Y.size, ts, net.apply(params, X), Y)
    xp = np if isinstance(x0, np.ndarray) else jnp
    residual, N = x0 - labels, Y.shape[1]
    outputs = labels + xp.exp(-times / N)[:, None, None] * residual
    costs = xp.exp(-2 * times / N) * xp.sum(residual**2) / (2 * N)
    return Trajectory(ts, None, _checks.array(outputs), _checks.array(costs))


@functools.partial(jax.jit, static_argnums=0)
def _descend(net, params, X, Y, step, numbers):
    """The parameters after the given numbers of steps, stacked."""
    slope = jax.grad(lambda p: cost(net, p, X, Y))

    def descend(_, p):
        return jax.tree.map(lambda a, d: a - step * d, p, slope(p))

    def advance(p, count):
        p = jax.lax.fori_loop(0, count, descend, p)
        return p, p

    return jax.lax.scan(advance, params, jnp.diff(numbers, prepend=0))[1]


def _diffrax():
    try:
        import diffrax
    except ImportError as error:
        raise ImportError("flows need diffrax. Try: pip install diffrax") from error
    return diffrax
