"""What `make bench` compares: each function prepares one contender.

It returns what is timed, and what is asked of its result afterwards: a dictionary of numbers.
"""

import math
import warnings
from typing import NamedTuple

TRAINED = 1e-12  # the cost that the peers train to


class Size(NamedTuple):
    """M0 = M inputs, L hidden layers of width M, N samples, Q outputs."""

    M: int
    L: int
    N: int
    Q: int

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._asdict().items())


def problem(size: Size, activation: str = "tanh"):
    """A network, generic data, and a random start."""
    import jax

    import zl

    zl.enable_x64()
    net = zl.Network((*[size.M] * (size.L + 1), size.Q), activation)
    X, Y = zl.data.generic(jax.random.key(0), M0=size.M, N=size.N, Q=size.Q)
    return net, X, Y, net.init(jax.random.key(1))


def ntk(size: Size):
    """D Dᵀ without D."""
    import zl

    net, X, _, params = problem(size)
    return lambda: zl.ntk(net, params, X).block_until_ready(), lambda _: {}


def dgemm(n: int, times: int):
    """Matrix products that measure this machine's rate, for about as long as `ntk` takes."""
    import numpy as np

    A, B = np.random.default_rng(0).normal(size=(2, n, n))
    return lambda: [A @ B for _ in range(times)], lambda _: {}


def jacrev(size: Size, vmapped: bool):
    """D by reverse mode, of all samples at once or of each; then D Dᵀ, leaf by leaf."""
    import jax
    import psutil

    net, X, _, params = problem(size)

    def output(params, X):
        return net.apply(params, X).T.ravel()

    def kernel(params, X):
        if vmapped:
            D = jax.vmap(lambda x: jax.jacrev(output)(params, x[:, None]))(X.T)
        else:
            D = jax.jacrev(output)(params, X)
        blocks = [block.reshape(size.N * size.Q, -1) for block in jax.tree.leaves(D)]
        return sum(block @ block.T for block in blocks)

    compiled = jax.jit(kernel).lower(params, X).compile()
    D = 8e-9 * size.N * size.Q * net.K
    needed = D + 1e-9 * compiled.memory_analysis().temp_size_in_bytes
    if needed > 0.8e-9 * psutil.virtual_memory().available:
        raise MemoryError(f"not attempted: D takes {D:.0f} GB, all in all some {needed:.0f} GB")
    return lambda: compiled(params, X).block_until_ready(), lambda _: {}


def pull_back(size: Size, seed: int | None = None):
    """The explicit minimizer; with a seed, its later weights are random and of full rank."""
    import jax

    import zl

    net, X, Y, _ = problem(size)
    key = None if seed is None else jax.random.key(seed)
    return (
        lambda: jax.block_until_ready(zl.minimizers.pull_back(net, X, Y, key=key)),
        lambda params: {"cost": zl.cost(net, params, X, Y)},
    )


def least_squares(size: Size, driver: str):
    """Linear regression of the labels on the same inputs, of least norm, by LAPACK."""
    import numpy as np
    import scipy.linalg

    _, X, Y, _ = problem(size)
    A, B = np.vstack([X, np.ones((1, size.N))]).T, np.asarray(Y).T
    return lambda: scipy.linalg.lstsq(A, B, lapack_driver=driver), lambda _: {}


def project(size: Size):
    """Damped Gauss-Newton steps in their dual form, to a much smaller cost than the peers'."""
    import zl

    net, X, Y, params = problem(size)
    return (
        lambda: zl.landscape.project(net, params, X, Y, tol=1e-20),
        lambda result: {"cost": result.costs[-1], "steps": len(result.costs) - 1},
    )


def rowwise(size: Size):
    """The same problem with samples in rows, as XLA and scikit-learn like it."""
    import jax.numpy as jnp

    _, X, Y, params = problem(size)

    def residual(params, data):
        features, targets = data
        for W, b in params[:-1]:
            features = jnp.tanh(features @ W + b)
        return features @ params[-1][0] + params[-1][1] - targets

    def cost(residual):
        return jnp.sum(residual**2) / (2 * size.N)

    return residual, cost, tuple((W.T, b) for W, b in params), (X.T, Y.T)


def adam(size: Size, rate: float):
    """Full-batch Adam, the whole training compiled."""
    import jax
    import jax.numpy as jnp
    import optax

    residual, cost, params, data = rowwise(size)
    optimizer = optax.adam(rate)

    @jax.jit
    def train(params, data):
        def step(state):
            params, memory, _, steps = state
            value, slope = jax.value_and_grad(lambda p: cost(residual(p, data)))(params)
            update, memory = optimizer.update(slope, memory)
            return optax.apply_updates(params, update), memory, value, steps + 1

        start = params, optimizer.init(params), jnp.inf, 0
        return jax.lax.while_loop(lambda s: (s[2] > TRAINED) & (s[3] < 20_000), step, start)

    return (
        lambda: jax.block_until_ready(train(params, data)),
        lambda state: {"cost": state[2], "steps": state[3]},
    )


def optimistix(size: Size, solver: str, tol: float):
    """Nonlinear least squares with LSMR for the linear systems, D never formed."""
    import jax
    import lineax
    import optimistix

    residual, cost, params, data = rowwise(size)

    class Solver(getattr(optimistix, solver)):
        def terminate(self, fn, y, args, options, state, tags):  # no later than the peers
            return ~state.first_step & (cost(state.f_info.residual) <= TRAINED), state.result

    @jax.jit
    def train(params, data):
        method = Solver(0.0, 0.0, linear_solver=lineax.LSMR(tol, 0.0))
        solution = optimistix.least_squares(
            residual, method, params, data, {"jac": "fwd"}, max_steps=200, throw=False
        )
        return cost(residual(solution.value, data)), solution.stats["num_steps"]

    return (
        lambda: jax.block_until_ready(train(params, data)),
        lambda result: {"cost": result[0], "steps": result[1]},
    )


def mlp_regressor(size: Size):
    """scikit-learn's L-BFGS, restarted where it stops early."""
    import numpy as np
    from sklearn.neural_network import MLPRegressor

    A, B = (np.ascontiguousarray(data) for data in rowwise(size)[-1])
    warnings.simplefilter("ignore")  # that it stops early

    def train():
        model = MLPRegressor(
            hidden_layer_sizes=[size.M] * size.L, activation="tanh", solver="lbfgs", alpha=0,
            tol=0, max_iter=10_000, max_fun=100_000, warm_start=True, random_state=0,
        )  # fmt: skip
        cost, starts = math.inf, 0
        while cost > TRAINED and starts < 100:
            model.fit(A, B.squeeze())
            error = model.predict(A).reshape(B.shape) - B
            cost, starts = np.sum(error**2) / (2 * size.N), starts + 1
        return cost, starts

    return train, lambda result: {"cost": result[0], "starts": result[1]}


def exact(size: Size):
    """An exact minimizer in rational arithmetic."""
    import zl

    net, X, Y, _ = problem(size, "leaky_relu")
    return (
        lambda: zl.symbolic.pull_back(net, X, Y),
        lambda params: {"cost": zl.symbolic.cost(net, params, X, Y)},
    )


def zero_exists(size: Size):
    """A proof that there is a zero near the parameters of `pull_back`."""
    import zl

    net, X, Y, _ = problem(size)
    params = zl.minimizers.pull_back(net, X, Y)
    return (
        lambda: zl.certify.zero_exists(net, params, X, Y),
        lambda proof: {"radius": proof.radius},
    )
