"""The zero-loss manifold: what the Hessian sees, its tangents, the way to it and along it."""

from itertools import pairwise

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import zl
from zl import landscape

zl.enable_x64()

few = settings(max_examples=8, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
NET, N = zl.Network((6, 8, 5, 2), "tanh"), 7
RELU = zl.Network((6, 8, 5, 2), "relu")
QN = NET.Q * N


def data(seed, net=NET, N=N):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(net.M0, N)), rng.normal(size=(net.Q, N))


def start(seed, net=NET):
    rng = np.random.default_rng(seed)
    return tuple(
        zl.Layer(rng.normal(size=(m, n)) / np.sqrt(n), 0.1 * rng.normal(size=m))
        for n, m in zip(net.widths, net.widths[1:], strict=False)
    )


def near(params, size, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: np.asarray(a) + size * rng.normal(size=a.shape), params)


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def costs_along(net, path, X, Y):
    residual = jax.vmap(lambda p: net.apply(p, X))(path) - Y
    return np.sum(np.square(residual), axis=(1, 2)) / (2 * X.shape[1])


# The Hessian and the tangent space


@few
@given(seeds)
def test_hessian_at_an_explicit_minimizer(seed):
    """[Co] Proposition 2.3: there it is DᵀD/N, with QN positive and K - QN zero eigenvalues."""
    X, Y = data(seed)
    params = zl.minimizers.pull_back(NET, X, Y, key=jax.random.key(seed))
    spectrum = np.asarray(landscape.hessian_spectrum(NET, params, X, Y))
    D = np.asarray(zl.training_jacobian(NET, params, X))
    expected = np.zeros(NET.K)
    expected[-QN:] = np.sort(np.linalg.svd(D, compute_uv=False)) ** 2 / N
    assert spectrum.shape == (NET.K,) and np.all(np.diff(spectrum) >= 0)
    np.testing.assert_allclose(spectrum, expected, rtol=0, atol=1e-12 * spectrum[-1])
    zero = 1e-12 * spectrum[-1]
    assert np.sum(spectrum > zero) == QN
    assert np.sum(np.abs(spectrum) <= zero) == NET.K - QN == landscape.dimension(NET, params, X)


def test_hessian_away_from_the_manifold_has_other_eigenvalues():
    X, Y = data(0)
    spectrum = np.asarray(landscape.hessian_spectrum(NET, start(0), X, Y))
    assert np.sum(np.abs(spectrum) > 1e-12 * spectrum[-1]) > QN


@few
@given(seeds, st.booleans())
def test_tangent_space_is_the_kernel_of_the_jacobian(seed, dead):
    (X, _), params = data(seed, RELU), start(seed, RELU)
    if dead:
        params = (zl.Layer(params[0].W, params[0].b - 100.0), *params[1:])
    D = np.asarray(zl.training_jacobian(RELU, params, X))
    rank = zl.numerical_rank(D)
    T, dim = landscape.tangent_space(RELU, params, X), landscape.dimension(RELU, params, X)
    assert T.shape == (RELU.K, RELU.K - rank) and dim == RELU.K - rank and dim.rank == rank
    assert np.abs(D @ T).max() < 1e-12
    np.testing.assert_allclose(T.T @ T, np.eye(dim), atol=1e-12)
    if dead:
        assert rank < QN and dim.test == "singular values of D"


def test_dimension_remembers_the_layer_that_decided():
    X, Y = data(0)
    dim = landscape.dimension(NET, zl.minimizers.pull_back(NET, X, Y), X)
    assert (dim, dim.rank, dim.test) == (NET.K - QN, QN, "rank formula, layer 1")


# The way to the manifold


@few
@given(seeds, st.sampled_from([1e-2, 1e-3, 1e-4]))
def test_convergence_is_quadratic_near_the_manifold(seed, distance):
    X, Y = data(seed)
    origin = zl.minimizers.pull_back(NET, X, Y, fill=0.5)
    origin = landscape.project(NET, near(origin, 0.1), X, Y).params
    found, costs = landscape.project(NET, near(origin, distance), X, Y)
    assert len(costs) <= 4 and costs[-1] <= 1e-24
    assert all(after <= max(100 * before**2, 1e-24) for before, after in pairwise(costs))
    assert zl.cost(NET, found, X, Y) == pytest.approx(costs[-1], rel=1e-6)
    moved = np.linalg.norm(flat(found) - flat(origin))
    assert moved < 20 * distance * np.sqrt(NET.K)


def test_a_point_on_the_manifold_stays():
    X, Y = data(0)
    params = zl.minimizers.pull_back(NET, X, Y)
    found, costs = landscape.project(NET, params, X, Y)
    assert len(costs) == 1
    np.testing.assert_array_equal(flat(found), flat(params))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_random_start_of_a_deep_network(activation):
    net = zl.Network((50,) * 6 + (1,), activation)
    X, Y = data(0, net, N=40)
    for seed in range(3):
        params, costs = landscape.project(net, start(seed, net), X, Y, tol=1e-20)
        assert len(costs) - 1 <= 10 and np.all(np.diff(costs) < 0)
        assert zl.cost(net, params, X, Y) <= 1e-20


def test_random_start_of_a_wide_network_takes_two_systems():
    net = zl.Network((100,) * 4 + (2,), "tanh")
    X, Y = data(0, net, N=60)
    for seed in range(3):
        assert len(landscape.project(net, start(seed, net), X, Y, tol=1e-20).costs) <= 3


def test_repeated_samples_with_equal_labels_are_fitted():
    """D loses rank everywhere, but the equations stay consistent: the residual lies in range D."""
    X, Y = data(0)
    X[:, 1], Y[:, 1] = X[:, 0], Y[:, 0]
    params, costs = landscape.project(NET, start(0), X, Y)
    assert costs[-1] <= 1e-24
    dim = landscape.dimension(NET, params, X)
    assert dim == NET.K - QN + NET.Q and dim.test == "singular values of D"
    path = landscape.walk(NET, params, X, Y, np.ones(NET.K), step=0.1, steps=2)
    assert costs_along(NET, path, X, Y).max() <= 1e-20


def test_the_cost_that_rounding_leaves_is_enough():
    net = zl.Network((9, 4, 2))
    X, Y = zl.data.ill_conditioned(jax.random.key(0), M0=9, N=8, Q=2, cond=1e10)
    params = zl.minimizers.pull_back(net, X, Y)
    costs = landscape.project(net, params, X, Y, tol=0.0).costs
    assert 0 < costs[-1] <= costs[0] < 1e-12


def test_neither_way_nor_walk_forms_the_jacobian(monkeypatch):
    def never(*args):
        raise AssertionError("the training Jacobian is formed")

    monkeypatch.setattr(zl.jacobian, "_training_jacobian", never)
    X, Y = data(0)
    params = landscape.project(NET, start(0), X, Y).params
    landscape.walk(NET, params, X, Y, np.ones(NET.K), step=0.1, steps=1)
    with pytest.raises(AssertionError):
        landscape.tangent_space(NET, params, X)


def stuck(kind):
    """A network, parameters and data from which no step decreases a positive cost."""
    (X, Y), net, params = data(0), NET, start(0)
    if kind == "dead neurons":
        net = RELU
        params = (params[0]._replace(b=params[0].b - 100.0), *params[1:])
    if kind == "vanishing weights":
        params = tuple(zl.Layer(0 * W, 0 * b) for W, b in params)
    if kind == "contradicting labels":
        X[:, 1] = X[:, 0]
    if kind == "too few parameters":
        net = zl.Network((6, 1, 2), "relu")
        params = start(1, net)
    return net, params, X, Y


@pytest.mark.parametrize(
    "kind", ["dead neurons", "vanishing weights", "contradicting labels", "too few parameters"]
)
def test_a_stationary_cost_is_reported(kind):
    with pytest.raises(zl.HypothesisError, match="no step decreases the cost C = ") as error:
        landscape.project(*stuck(kind))
    assert error.value.hypothesis == "rank D = QN wherever C > 0"


def test_too_few_steps_are_reported():
    X, Y = data(0)
    with pytest.raises(zl.HypothesisError, match="after 1 steps, but C ≤ 1e-24 is needed"):
        landscape.project(NET, start(0), X, Y, max_steps=1)


def test_outputs_and_kernel_must_be_finite():
    (X, Y), (first, second, last) = data(0), start(0, RELU)
    large = last._replace(W=1e200 * last.W)
    with pytest.raises(ValueError, match="outputs that are not finite"):
        landscape.project(RELU, (first, second, large), X, Y)
    hidden = (zl.Layer(1e200 * first.W, first.b), zl.Layer(0 * second.W, second.b), last)
    with pytest.raises(ValueError, match="tangent kernel that is not finite"):
        landscape.project(RELU, hidden, X, Y)


def test_damping_makes_the_kernel_positive_definite():
    kernel = np.diag([1.0, 1.0, -1e-9])
    (factor, _), damping = landscape._factor(kernel, 0.0)
    assert 1e-9 < damping <= 1e-8
    np.testing.assert_allclose(np.diag(factor) ** 2, np.diag(kernel) + damping)


# Along the manifold


@few
@given(seeds, st.sampled_from([0.01, 0.1, 1.0]))
def test_walk_stays_on_the_manifold(seed, step):
    X, Y = data(seed)
    origin = landscape.project(NET, start(seed), X, Y).params
    direction = np.random.default_rng(seed).normal(size=NET.K)
    path = landscape.walk(NET, origin, X, Y, direction, step=step, steps=4)
    assert [leaf.shape[0] for leaf in jax.tree.leaves(path)] == [5] * 6
    assert costs_along(NET, path, X, Y).max() <= 1e-20
    points = np.array([flat(jax.tree.map(lambda a, i=i: a[i], path)) for i in range(5)])
    np.testing.assert_array_equal(points[0], flat(origin))
    first, *_ = moves = np.diff(points, axis=0)
    lengths = np.linalg.norm(moves, axis=1)
    assert np.all(lengths < 1.5 * step) and np.all(lengths > 0.5 * step)
    if step == 0.01:  # the first move is the direction's part in ker D, up to curvature
        T = np.asarray(landscape.tangent_space(NET, origin, X))
        tangent = T @ (T.T @ direction)
        np.testing.assert_allclose(
            first / step, tangent / np.linalg.norm(tangent), rtol=0, atol=0.05
        )


def test_direction_as_a_vector_or_as_parameters():
    X, Y = data(0)
    origin = landscape.project(NET, start(0), X, Y).params
    direction = start(1)
    paths = [
        landscape.walk(NET, origin, X, Y, d, step=0.1, steps=1)
        for d in (direction, ravel_pytree(direction)[0])
    ]
    np.testing.assert_array_equal(flat(paths[0]), flat(paths[1]))


def test_walk_refuses_what_it_cannot_follow():
    X, Y = data(0)
    origin = landscape.project(NET, start(0), X, Y).params
    normal = zl.training_jacobian(NET, origin, X)[3]
    with pytest.raises(zl.HypothesisError, match="needs a direction that is not normal to it"):
        landscape.walk(NET, origin, X, Y, normal, step=0.1, steps=1)
    ones = np.ones(NET.K)
    for message, direction, step, steps in [
        ("direction has 3 components", ones[:3], 0.1, 1),
        ("direction contains NaN", ones * np.nan, 0.1, 1),
        ("direction has dtype float32", ones.astype(np.float32), 0.1, 1),
        ("step must be a positive number", ones, 0.0, 1),
        ("step must be a positive number", ones, np.nan, 1),
        ("steps must be a positive integer", ones, 0.1, 0),
        ("steps must be a positive integer", ones, 0.1, 1.5),
    ]:
        with pytest.raises(ValueError, match=message):
            landscape.walk(NET, origin, X, Y, direction, step=step, steps=steps)


@pytest.mark.parametrize(
    "function",
    [
        landscape.hessian_spectrum,
        landscape.project,
        lambda *a: landscape.walk(*a, np.ones(NET.K), step=0.1, steps=1),
    ],
)
def test_arguments_are_checked(function):
    X, Y = data(0)
    for message, params, x, y in [
        ("X has shape", start(0), X[1:], Y),
        ("X contains NaN", start(0), X * np.nan, Y),
        ("Y has shape", start(0), X, Y[:, 1:]),
        ("Y has dtype float32", start(0), X, Y.astype(np.float32)),
        ("params has shapes", start(0)[:2], X, Y),
        (r"params\[0\].W contains NaN", near(start(0), np.inf), X, Y),
    ]:
        with pytest.raises(ValueError, match=message):
            function(NET, params, x, y)
