"""Benchmarks: `make bench`, or `make bench ONLY=ntk` for the sections with "ntk" in their title.

Each contender is a process of its own, with as many threads as every other: so its peak memory is
its own, and running out of memory ends nothing else. Each runs once to warm up, which is where
compilation happens; then the contenders of a section take turns, so that a ratio compares what ran
side by side. Timings are no tests: a missed target is printed, and nothing fails.
"""

import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import NamedTuple

THREADS = 2
TURNS = 5  # of each contender
BUDGET = 20.0  # seconds after which a contender has no further turn
PATIENCE = 180.0  # seconds after which a contender that does not answer is given up
TRAINED = 1e-12  # the cost that the peers train to

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = str(THREADS)


class Size(NamedTuple):
    """M0 = M inputs, L hidden layers of width M, N samples, Q outputs."""

    M: int
    L: int
    N: int
    Q: int

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._asdict().items())


# --- contenders: each prepares, and returns what is timed and what is asked of its result --------


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


def dgemm(n: int):
    """The matrix product that measures this machine's rate."""
    import numpy as np

    A, B = np.random.default_rng(0).normal(size=(2, n, n))
    return lambda: A @ B, lambda _: {"operations": 2 * n**3}


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


# --- the race --------------------------------------------------------------------------------


class Result(NamedTuple):
    """What is known of a contender in the end: seconds are a median, memory is a peak in MB."""

    seconds: float = math.inf
    memory: float = math.nan
    facts: dict = {}  # noqa: RUF012 (never changed)
    trouble: str = ""

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value:.2g}" for name, value in self.facts.items())
        return self.trouble or f"{self.seconds:9.4f} s {self.memory:7.0f} MB   {facts}"


class Contender:
    """A process that prepares, warms up, and then runs when asked to."""

    def __init__(self, prepare):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, end = spawn.Pipe()
        self.process = spawn.Process(target=work, args=(prepare, end), daemon=True)
        self.process.start()
        end.close()
        self.times, self.trouble = [], ""
        self._listen()

    def turn(self) -> None:
        """Run once, or for a fifth of a second."""
        if not self.trouble and sum(self.times) < BUDGET:
            self.pipe.send("go")
            self.times.append(self._listen())

    def _listen(self) -> float:
        answer = f"no answer in {PATIENCE:.0f} s"
        try:
            if self.pipe.poll(PATIENCE):
                answer = self.pipe.recv()
        except EOFError:
            answer = "died, perhaps for lack of memory"
        if isinstance(answer, str):
            self.trouble, answer = answer, (math.inf, math.nan, {})
        seconds, self.memory, self.facts = answer
        return seconds

    def end(self) -> Result:
        """The result; a peer that did not reach the cost asked for counts as infinitely slow."""
        self.process.kill()
        reached = self.facts.get("cost", 0) <= TRAINED and not self.trouble
        seconds = statistics.median(self.times) if reached else math.inf
        return Result(seconds, self.memory, self.facts, self.trouble)


def work(prepare, pipe) -> None:
    """The life of a contender's process."""
    if hasattr(os, "sched_setaffinity"):  # JAX has as many threads as processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    try:
        import psutil

        run, check = prepare()
        before = psutil.Process().memory_info().rss
        facts = {name: float(value) for name, value in check(run()).items()}
        unit = 1 if sys.platform == "darwin" else 1024
        times = [0.0]
        while True:
            peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            pipe.send((statistics.median(times), (peak - before) / 1e6, facts))
            pipe.recv()
            times = []
            while sum(times) < 0.2:
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
    except EOFError:  # no more turns
        pass
    except Exception as error:
        pipe.send(str(error).split("\n")[0] or repr(error))


# --- sections and targets --------------------------------------------------------------------


class Section(NamedTuple):
    """What takes turns, and what is to come out: (text, value), "<=" or ">=", bound."""

    title: str
    size: Size
    contenders: dict[str, Callable]
    targets: list[tuple]


def ratio(a: str, b: str, of: str = "seconds"):
    """A target's text and value: a's seconds (or memory) by b's."""
    return f"{of}, {a} / {b}", lambda results: getattr(results[a], of) / getattr(results[b], of)


def seconds(a: str):
    """A target's text and value: a's seconds."""
    return f"seconds, {a}", lambda results: results[a].seconds


def fact(a: str, name: str):
    """A target's text and value: what a reports under a name."""
    return f"{name}, {a}", lambda results: results[a].facts.get(name, math.nan)


def floor(size: Size, product: Result) -> Result:
    """The time of the matrix products that D Dᵀ needs, at the rate of one product."""
    M, L, N, Q = size
    forward, backward = L * M * M * N, (L - 1) * M * M * N * Q
    features, signals = (L + 1) * M * N * N, L * M * (N * Q) ** 2
    operations = 2 * (forward + backward + features + signals)
    needed = product.seconds * operations / product.facts["operations"]
    return Result(needed, facts={"operations": operations})


def sections() -> list[Section]:
    """All that is raced, at the sizes of the targets."""
    deep, wide = Size(512, 4, 256, 1), Size(1024, 2, 500, 2)
    small, large = Size(50, 5, 40, 1), Size(500, 3, 300, 10)
    tiny, tall = Size(12, 2, 8, 2), Size(64, 10, 40, 1)

    def peers(size, rate):  # each with the settings that were fastest
        return {
            "Adam": partial(adam, size, rate),
            "Gauss-Newton": partial(optimistix, size, "GaussNewton", 1e-3),
            "Levenberg-Marquardt": partial(optimistix, size, "LevenbergMarquardt", 0.1),
            "L-BFGS": partial(mlp_regressor, size),
        }

    return [
        Section(
            "ntk",
            deep,
            {
                "ntk": partial(ntk, deep),
                "dgemm": partial(dgemm, 1024),
                "jacrev": partial(jacrev, deep, False),
                "vmap(jacrev)": partial(jacrev, deep, True),
            },
            [
                (ratio("jacrev", "ntk"), ">=", 300),
                (ratio("vmap(jacrev)", "ntk"), ">=", 100),
                (ratio("ntk", "floor"), "<=", 1.25),
                (ratio("ntk", "jacrev", "memory"), "<=", 0.1),
                (ratio("ntk", "vmap(jacrev)", "memory"), "<=", 0.1),
            ],
        ),
        Section(
            "ntk",
            wide,
            {
                "ntk": partial(ntk, wide),
                "dgemm": partial(dgemm, 1024),
                "jacrev": partial(jacrev, wide, False),
            },
            [(ratio("ntk", "floor"), "<=", 1.25)],
        ),
        Section(
            "pull_back",
            large,
            {
                "pull_back": partial(pull_back, large),
                "with key": partial(pull_back, large, 2),
                "gelsy": partial(least_squares, large, "gelsy"),
                "gelsd": partial(least_squares, large, "gelsd"),
            },
            [(ratio("pull_back", "gelsy"), "<=", 1.5)],
        ),
        Section(
            "project",
            small,
            {"project": partial(project, small), **peers(small, 1e-2)},
            [
                (ratio("best peer", "project"), ">=", 5),
                (fact("project", "steps"), "<=", 10),
            ],
        ),
        Section(
            "pull_back and project",
            large,
            {
                "pull_back": partial(pull_back, large),
                "project": partial(project, large),
                **peers(large, 1e-3),
            },
            [
                (ratio("best peer", "pull_back"), ">=", 100),
                (ratio("best peer", "project"), ">=", 1),
                (fact("project", "steps"), "<=", 10),
            ],
        ),
        Section(
            "exact",
            tiny,
            {"symbolic.pull_back": partial(exact, tiny)},
            [(seconds("symbolic.pull_back"), "<=", 0.01)],
        ),
        Section(
            "proof",
            small,
            {"zero_exists": partial(zero_exists, small)},
            [(seconds("zero_exists"), "<=", 2), (fact("zero_exists", "radius"), "<=", 1e-10)],
        ),
        Section(
            "proof",
            tall,
            {"zero_exists": partial(zero_exists, tall)},
            [(fact("zero_exists", "radius"), "<=", 1e-10)],
        ),
    ]


def show(section: Section) -> None:
    """Run a section and print its rows, then its targets."""
    print(f"\n{section.title} at {section.size}", flush=True)
    contenders = {name: Contender(prepare) for name, prepare in section.contenders.items()}
    for _ in range(TURNS):
        for contender in contenders.values():
            contender.turn()
    results = {name: contender.end() for name, contender in contenders.items()}
    if "dgemm" in results:
        results["floor"] = floor(section.size, results["dgemm"])
    if "Adam" in results:
        trained = [r for name, r in results.items() if name not in ("pull_back", "project")]
        results["best peer"] = min(trained)
    for name, result in results.items():
        print(f"  {name:20} {result}")
    for (text, value), sense, bound in section.targets:
        number = value(results)
        met = number >= bound if sense == ">=" else number <= bound
        print(
            f"    {text:34} {number:8.3g}  target {sense} {bound:g}: {'met' if met else 'MISSED'}"
        )


if __name__ == "__main__":
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    names = ("jax", "numpy", "scipy", "optax", "optimistix", "scikit-learn", "python-flint")
    versions = [f"{name} {version(name)}" for name in names]
    print(", ".join([f"Python {platform.python_version()}", *versions]))
    print(f"{os.cpu_count()} processors, {THREADS} threads each; medians of {TURNS} turns after a")
    print("warm-up that compiles; memory is the peak above what imports and data take.")
    for section in sections():
        if only in section.title:
            show(section)
