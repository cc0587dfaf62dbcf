"""Benchmarks: `make bench`, or `make bench ONLY=ntk`, or pull_back, training, proofs.

Each contender is a process of its own, with as many threads as every other: so its peak memory is
its own, and running out of memory ends nothing else. Each runs once to warm up, which is where
compilation happens; then the contenders of a section take turns, so that a ratio compares what ran
side by side. The least time counts, as in `timeit`: what is above it is the work of others on this
machine. Timings are no tests: a missed target is printed, and nothing fails.
"""

import math
import multiprocessing
import os
import platform
import resource
import sys
import time
from functools import partial
from importlib.metadata import version

import contenders
from contenders import TRAINED, Size

THREADS = 2
TURNS = 5  # of each contender
BUDGET = 20.0  # seconds after which a contender has no further turn
PATIENCE = 180.0  # seconds after which a contender that does not answer is given up

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = str(THREADS)


class Contender:
    """A process that prepares, warms up, and then runs when asked to."""

    def __init__(self, prepare):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, end = spawn.Pipe()
        self.process = spawn.Process(target=work, args=(prepare, end), daemon=True)
        self.process.start()
        end.close()
        self.times, self.trouble, self.memory, self.facts = [], "", math.nan, {}
        self._listen()

    def turn(self) -> None:
        """Run for a fifth of a second, once at least."""
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
            self.trouble = answer
            self.process.kill()
            return math.inf
        seconds, self.memory, self.facts = answer
        return seconds

    @property
    def seconds(self) -> float:
        """The least; infinite if there is none, or if the cost asked for is not reached."""
        reached = not self.trouble and self.facts.get("cost", 0) <= TRAINED
        return min(self.times) if reached else math.inf

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value:.2g}" for name, value in self.facts.items())
        return self.trouble or f"{self.seconds:9.4f} s {self.memory:7.0f} MB   {facts}"


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
            pipe.send((min(times), (peak - before) / 1e6, facts))
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


def race(title: str, **prepare) -> dict[str, Contender]:
    """Warm the contenders up one after the other, let them take turns, and print a row for each."""
    print(f"\n{title}", flush=True)
    entrants = {name: Contender(p) for name, p in prepare.items()}
    for _ in range(TURNS):
        for contender in entrants.values():
            contender.turn()
    for name, contender in entrants.items():
        contender.process.kill()
        print(f"  {name:20} {contender}")
    return entrants


def target(text: str, value: float, *, least: float = -math.inf, most: float = math.inf) -> None:
    """Print a number, what it should be, and whether it is."""
    bound = f"≥ {least:g}" if least > -math.inf else f"≤ {most:g}"
    verdict = "met" if least <= value <= most else "MISSED"
    if not math.isfinite(value):
        verdict = "not measured"
    print(f"    {text:40} {value:8.3g}   target {bound:8} {verdict}", flush=True)


# --- the table -------------------------------------------------------------------------------

SQUARE = 1024  # of the matrix product that measures this machine's rate
SMALL, LARGE = Size(50, 5, 40, 1), Size(500, 3, 300, 10)


def products(size: Size) -> float:
    """How many matrix products of size SQUARE make up those that D Dᵀ needs."""
    M, L, N, Q = size
    forward, backward = L * M * M * N, (L - 1) * M * M * N * Q
    features, signals = (L + 1) * M * N * N, L * M * (N * Q) ** 2
    return (forward + backward + features + signals) / SQUARE**3


def bench_ntk() -> None:
    """D Dᵀ without D, against D by jacrev and against its own matrix products."""
    for size in Size(512, 4, 256, 1), Size(1024, 2, 500, 2):
        deep = size.N == 256
        more = {"jacrev_vmapped": partial(contenders.jacrev, size, True)} if deep else {}
        found = race(
            f"ntk at {size}",
            ntk=partial(contenders.ntk, size),
            dgemm=partial(contenders.dgemm, SQUARE, round(products(size)) or 1),
            jacrev=partial(contenders.jacrev, size, False),
            **more,
        )
        zl = found["ntk"]
        floor = products(size) / (round(products(size)) or 1) * found["dgemm"].seconds
        target("ntk / its matrix products", zl.seconds / floor, most=1.25)
        if deep:
            plain, vmapped = found["jacrev"], found["jacrev_vmapped"]
            target("jacrev / ntk", plain.seconds / zl.seconds, least=300)
            target("jacrev_vmapped / ntk", vmapped.seconds / zl.seconds, least=100)
            target("memory, ntk / jacrev", zl.memory / plain.memory, most=0.1)
            target("memory, ntk / jacrev_vmapped", zl.memory / vmapped.memory, most=0.1)


def bench_pull_back() -> None:
    """The explicit minimizer against linear regression, which it contains."""
    found = race(
        f"pull_back at {LARGE}, and least squares of the same X",
        pull_back=partial(contenders.pull_back, LARGE),
        pull_back_key=partial(contenders.pull_back, LARGE, 2),
        lstsq_gelsy=partial(contenders.least_squares, LARGE, "gelsy"),
        lstsq_gelsd=partial(contenders.least_squares, LARGE, "gelsd"),
    )
    once = found["lstsq_gelsy"].seconds
    target("pull_back / lstsq_gelsy", found["pull_back"].seconds / once, most=1.5)


def bench_training() -> None:
    """The explicit minimizer, and the way from a random start, against what trains."""
    for size in SMALL, LARGE:
        peers = {  # with the settings that were fastest
            "optax_adam": partial(contenders.adam, size, 1e-2 if size == SMALL else 1e-3),
            "optimistix_gn": partial(contenders.optimistix, size, "GaussNewton", 1e-3),
            "optimistix_lm": partial(contenders.optimistix, size, "LevenbergMarquardt", 0.1),
            "sklearn_lbfgs": partial(contenders.mlp_regressor, size),
        }
        found = race(
            f"training at {size}, from a random start to C ≤ {TRAINED:g} (project: 1e-20)",
            pull_back=partial(contenders.pull_back, size),
            project=partial(contenders.project, size),
            **peers,
        )
        best = min(found[name].seconds for name in peers)
        if size == LARGE:
            target("best peer / pull_back", best / found["pull_back"].seconds, least=100)
        least = 5 if size == SMALL else 1
        target("best peer / project", best / found["project"].seconds, least=least)
        target("steps of project", found["project"].facts.get("steps", math.nan), most=10)


def bench_proofs() -> None:
    """Exact numbers, and proofs in ball arithmetic."""
    size = Size(12, 2, 8, 2)
    found = race(f"exact numbers at {size}", pull_back=partial(contenders.exact, size))
    target("seconds", found["pull_back"].seconds, most=0.01)
    for size, most in (SMALL, 2), (Size(64, 10, 40, 1), math.inf):
        proof = race(
            f"proof of a zero at {size}", zero_exists=partial(contenders.zero_exists, size)
        )
        if most < math.inf:
            target("seconds", proof["zero_exists"].seconds, most=most)
        target("radius", proof["zero_exists"].facts.get("radius", math.nan), most=1e-10)


if __name__ == "__main__":
    names = ("jax", "numpy", "scipy", "optax", "optimistix", "scikit-learn", "python-flint")
    print("Python", platform.python_version(), *(f"{name} {version(name)}" for name in names))
    print(f"{os.cpu_count()} processors, {THREADS} threads for each contender.")
    print(f"Seconds are the least of {TURNS} turns after a warm-up that compiles;")
    print("memory is the peak above what imports and data take.")
    for bench in bench_ntk, bench_pull_back, bench_training, bench_proofs:
        if any(word in bench.__name__ for word in sys.argv[1:] or [""]):
            bench()
