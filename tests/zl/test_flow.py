"""Flows do what the theory says of them, and say when they cannot."""

import copy
import dataclasses
import functools
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax.flatten_util import ravel_pytree

import zl
from zl import flow

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

TRACES = []


def counted(z):
    if isinstance(z, jax.core.Tracer):
        TRACES.append(z.shape)
    return jnp.tanh(z)


NET = zl.Network((5, 7, 6, 2), dataclasses.replace(zl.activations.tanh, function=counted))
X, Y = zl.data.generic(jax.random.key(0), M0=5, N=4, Q=2)
N = X.shape[1]
PARAMS = NET.init(jax.random.key(1))
ALL_FLOWS = [
    lambda *a, **o: zl.gradient_flow(*a, t1=1.0, **o),
    lambda *a, **o: zl.adapted_flow(*a, t1=1.0, **o),
    lambda *a, **o: zl.gradient_descent(*a, step=0.1, steps=10, **o),
    lambda *a, **o: zl.comparison_model(*a, ts=[0.0, 1.0], **o),
]


def vector(run):
    """The parameters of a trajectory, one row a time."""
    leaves = jax.tree.leaves(run.params)
    return np.concatenate([np.reshape(a, (len(a), -1)) for a in leaves], axis=1)


@functools.partial(jax.jit, static_argnums=0)
def differentiate(net, params, X):
    theta, unravel = ravel_pytree(params)
    return jax.jacrev(lambda v: net.apply(unravel(v), X).T.ravel())(theta)


def jacobian(net, params, X):
    """D by automatic differentiation, rows sample by sample."""
    return np.asarray(differentiate(net, params, X))


def slope(net, params, X, Y):
    """∇C = Dᵀ(x - y)/N, the chain rule."""
    residual = np.asarray(net.apply(params, X) - Y).T.ravel()
    return jacobian(net, params, X).T @ residual / X.shape[1]


def at(run, row):
    return jax.tree.map(lambda a: np.asarray(a)[row], run.params)


def layers(*entries):
    """One-neuron layers (w, b)."""
    return tuple(zl.Layer(np.array([[float(w)]]), np.array([float(b)])) for w, b in entries)


def path_network(name, outputs, *entries):
    """A (1, 1, 1) network at given parameters, and labels for the inputs -1 and 1."""
    return zl.Network((1, 1, 1), name), layers(*entries), np.array([[-1.0, 1.0]]), outputs


@pytest.fixture(scope="module")
def run():
    return zl.gradient_flow(NET, PARAMS, X, Y, t1=20.0, saves=101, ntk=True)


@pytest.fixture(scope="module")
def straight():
    return zl.adapted_flow(NET, PARAMS, X, Y, t1=40.0)


def test_a_trajectory_holds_what_was_saved(run):
    np.testing.assert_allclose(run.ts, np.linspace(0, 20, 101), rtol=1e-14)
    assert run.outputs.shape == (101, 2, 4) and run.cost.shape == (101,)
    for row in (0, 40, 100):
        params = at(run, row)
        np.testing.assert_allclose(run.outputs[row], NET.apply(params, X), rtol=1e-12)
        np.testing.assert_allclose(run.cost[row], zl.cost(NET, params, X, Y), rtol=1e-12)
        D = jacobian(NET, params, X)
        smallest = np.linalg.svd(D, compute_uv=False)[-1] ** 2
        assert abs(run.ntk_min[row] - smallest) <= 1e-13 * np.linalg.norm(D) ** 2
    np.testing.assert_array_equal(vector(run)[0], ravel_pytree(PARAMS)[0])


def test_the_cost_falls_along_the_gradient_flow(run):
    assert (np.diff(run.cost) < 0).all()
    assert run.cost[-1] < 1e-5 * run.cost[0]


def test_the_gradient_flow_goes_down_the_gradient(run):
    v, h = vector(run), run.ts[1]
    middle = (v[59] - 8 * v[60] + 8 * v[62] - v[63]) / (12 * h)  # θ'(61 h) up to h⁴
    downhill = -slope(NET, at(run, 61), X, Y)
    assert np.linalg.norm(middle - downhill) < 1e-2 * np.linalg.norm(downhill)


def test_the_cost_falls_as_fast_as_the_kernel_promises(run):
    smallest = run.ntk_min.min()
    assert smallest > 0
    assert (run.cost <= np.exp(-2 * smallest * run.ts / N) * run.cost[0] * (1 + 1e-6)).all()


def test_the_path_of_the_gradient_flow_is_short(run):
    length = np.linalg.norm(np.diff(vector(run), axis=0), axis=1).sum()
    assert length <= np.linalg.norm(run.outputs[0] - Y) / np.sqrt(run.ntk_min.min())


LINEAR = zl.Network((1, 1), "identity")
LINE = np.linspace(-1, 1, 12)[None, :]
WAVE = np.sin(3 * LINE)
SHOWN = {"saves": [0.0, 1.0, 7.0, 30.0], "max_steps": 200, "progress": True}


def test_the_gradient_flow_of_a_linear_network_is_a_matrix_exponential(capfd):
    run = zl.gradient_flow(LINEAR, layers((2, 1)), LINE, WAVE, t1=30.0, **SHOWN)
    A = np.vstack([LINE, np.ones((1, 12))])
    limit = WAVE @ np.linalg.pinv(A)
    for s, W, b in zip(run.ts, *run.params[0], strict=True):
        exact = limit + ([[2.0, 1.0]] - limit) @ scipy.linalg.expm(-A @ A.T * s / 12)
        np.testing.assert_allclose(np.column_stack([W, b]), exact, atol=1e-7)
    assert "100.00%" in capfd.readouterr().out


def test_too_few_steps_are_reported():
    with pytest.raises(RuntimeError, match=r"^200 steps have brought the flow only to time \d+"):
        zl.gradient_flow(LINEAR, layers((2, 1)), LINE, WAVE, t1=30.0, rtol=1e-14, **SHOWN)


def test_a_second_run_compiles_nothing(run, straight):
    before = len(TRACES)
    again = NET.init(jax.random.key(5))
    zl.gradient_flow(NET, again, 2 * X, -Y, t1=3.0, rtol=1e-6, atol=1e-7, ntk=True)
    zl.adapted_flow(NET, again, 2 * X, -Y, t1=3.0, rtol=1e-6, rank_rtol=1e-5)
    assert before > 0 and len(TRACES) == before


def test_the_adapted_flow_follows_the_straight_line(straight):
    line = zl.comparison_model(NET, PARAMS, X, Y, ts=straight.ts)
    length = np.linalg.norm(straight.outputs[0] - Y)
    assert np.linalg.norm(straight.outputs - line.outputs, axis=(1, 2)).max() < 1e-7 * length
    np.testing.assert_allclose(straight.cost, line.cost, atol=1e-7 * line.cost[0])
    assert straight.ntk_min is None


def test_the_adapted_flow_takes_the_shortest_way(straight):
    """θ' has no part in ker D: to first order, Δθ lies in the range of Dᵀ."""
    early = zl.adapted_flow(NET, PARAMS, X, Y, t1=1e-4)
    v = vector(early)
    move = v[-1] - v[0]
    D = jacobian(NET, PARAMS, X)
    outside = move - np.linalg.pinv(D) @ (D @ move)
    assert np.linalg.norm(outside) < 1e-3 * np.linalg.norm(move)


def test_the_adapted_flow_starts_and_stays_at_an_exact_fit():
    fit = zl.minimizers.pull_back(NET, X, Y, key=jax.random.key(3))
    run = zl.adapted_flow(NET, fit, X, Y, t1=3.0)
    assert run.cost.max() < 1e-24


def test_with_few_parameters_a_stationary_point_keeps_the_invisible_error():
    """K < QN: at the end of the gradient flow P(x - y) = 0, and what is left is P^⊥(x - y)."""
    net = zl.Network((1, 1, 1), "identity")
    run = zl.gradient_flow(net, layers((1.0, 0.2), (0.7, 0.1)), LINE, WAVE, t1=200.0)
    D = jacobian(net, at(run, -1), LINE)
    P = D @ np.linalg.pinv(D, rcond=1e-10)
    error = np.asarray(run.outputs[-1] - WAVE).ravel()
    assert np.linalg.matrix_rank(D) < net.K < error.size
    assert np.linalg.norm(P @ error) < 1e-7
    left = error - P @ error
    assert run.cost[-1] == pytest.approx(left @ left / 24, rel=1e-10)
    assert run.cost[-1] > 0.01


def test_with_few_parameters_only_the_visible_part_of_the_error_decays():
    """K < QN: x' = -P∇C, and P is constant for a linear network.

    It has one parameter too many, rank D = 3 - 1 < K = 4: being rank deficient from the start on
    is no rank loss.
    """
    net, params = zl.Network((1, 1, 1), "identity"), layers((1.0, 0.2), (0.7, 0.1))
    run = zl.adapted_flow(net, params, LINE, WAVE, t1=24.0, saves=5)
    D = jacobian(net, params, LINE)
    P = D @ np.linalg.pinv(D, rcond=1e-10)
    error = (run.outputs - WAVE)[:, 0, :]
    exact = error[0] @ (np.eye(12) - P) + np.exp(-run.ts / 12)[:, None] * (error[0] @ P)
    assert np.linalg.matrix_rank(D) == 2
    np.testing.assert_allclose(error, exact, atol=1e-7)


def test_a_product_of_weights_cannot_pass_through_zero():
    """x = ±w₁w₂ from 1 to -1: the line reaches 0, where D vanishes but for the bias, at 2 ln 2."""
    net, params, inputs, labels = path_network("identity", [[1.0, -1.0]], (1, 0), (1, 0))
    with pytest.raises(zl.RankLossError, match=r"loses rank at time 1\.38629") as caught:
        zl.adapted_flow(net, params, inputs, labels, t1=10.0, saves=11)
    error = caught.value
    assert error.time == pytest.approx(2 * np.log(2), abs=1e-6)
    assert 1e-8 < error.ratio < error.rank_rtol == 1e-6
    np.testing.assert_allclose(error.trajectory.ts, [0.0, 1.0, error.time])
    assert abs(error.trajectory.outputs[-1]).max() < 1e-6
    assert error.trajectory.params[0].W.shape == (3, 1, 1)


@pytest.mark.parametrize("carry", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_a_rank_loss_survives_being_handed_to_another_process(carry):
    error = zl.RankLossError(1.5, 1e-7, 1e-6, None)
    assert str(carry(error)) == str(error) and carry(error).time == 1.5


def test_a_neuron_that_dies_on_the_way_is_reported():
    """ReLU, w₂ large: the active sample's pre-activation reaches 0 at 2 ln 2; D's rank jumps."""
    net, params, inputs, labels = path_network("relu", [[0.0, -0.3]], (0.4, -0.3), (3, 0))
    with pytest.raises(zl.RankLossError) as caught:
        zl.adapted_flow(net, params, inputs, labels, t1=10.0, rtol=1e-7)
    assert caught.value.time == pytest.approx(2 * np.log(2), abs=1e-3)
    assert caught.value.ratio < 1e-6
    assert abs(np.diff(caught.value.trajectory.outputs[-1])).max() < 1e-3


def test_neurons_that_are_dead_from_the_start_are_reported():
    net, params, inputs, labels = path_network("relu", [[0.0, 1.0]], (1, -2), (1, 0))
    with pytest.raises(zl.RankLossError, match="at time 0:") as caught:
        zl.adapted_flow(net, params, inputs, labels, t1=10.0, ntk=True)
    assert caught.value.time == 0 and caught.value.ratio < 1e-7
    assert caught.value.trajectory.ts.tolist() == [0.0]
    assert caught.value.trajectory.ntk_min.shape == (1,)


def test_sliding_along_a_kink_bends_the_line_and_is_said():
    net = zl.Network((5, 20, 2), "relu")
    inputs, labels = zl.data.generic(jax.random.key(0), M0=5, N=8, Q=2)
    with pytest.warns(RuntimeWarning, match="slides along a kink"):
        zl.adapted_flow(net, net.init(jax.random.key(3)), inputs, labels, t1=2.0)


def test_small_steps_of_descent_follow_the_flow(run):
    errors = []
    for step in (0.02, 0.01, 0.005):
        descent = zl.gradient_descent(NET, PARAMS, X, Y, step=step, steps=round(20 / step))
        np.testing.assert_allclose(descent.ts, run.ts, atol=1e-12)
        errors.append(np.linalg.norm(descent.outputs - run.outputs, axis=(1, 2)).max())
    assert errors[0] < 0.1
    ratios = np.divide(errors[:-1], errors[1:])
    assert (abs(ratios - 2) < 0.1).all()  # first order in the step


def test_one_step_of_descent():
    descent = zl.gradient_descent(NET, PARAMS, X, Y, step=0.3, steps=1, ntk=True)
    assert descent.ts.tolist() == [0.0, 0.3] and (descent.ntk_min > 0).all()
    moved = np.diff(vector(descent), axis=0)[0]
    np.testing.assert_allclose(moved, -0.3 * slope(NET, PARAMS, X, Y), atol=1e-14)


def test_descent_saves_after_the_steps_asked_for():
    chosen = zl.gradient_descent(NET, PARAMS, X, Y, step=0.1, steps=10, saves=[3, 10], ntk=True)
    np.testing.assert_allclose(chosen.ts, [0.3, 1.0])
    for row, steps in enumerate((3, 10)):
        run = zl.gradient_descent(NET, PARAMS, X, Y, step=0.1, steps=steps, saves=2, ntk=True)
        np.testing.assert_allclose(chosen.cost[row], run.cost[-1], rtol=1e-12)


def test_descent_that_diverges_says_how_long_a_step_may_be():
    with pytest.raises(FloatingPointError, match="has diverged: its cost is not finite") as caught:
        zl.gradient_descent(NET, PARAMS, X, Y, step=100.0, steps=1000)
    message = str(caught.value)
    sharpness = np.linalg.norm(jacobian(NET, PARAMS, X), 2) ** 2 / N
    assert f"{sharpness:.3g}" in message and f"step = {2 / sharpness:.3g}" in message
    advised = float(message.rsplit("Try: step = ")[1].rstrip("."))
    fine = zl.gradient_descent(NET, PARAMS, X, Y, step=advised, steps=1000)
    assert (np.diff(fine.cost) < 0).all()


def test_the_comparison_model(run):
    ts = np.array([0.0, 1.0, 3.5])
    model = zl.comparison_model(NET, PARAMS, X, Y, ts=ts)
    for s, outputs, cost in zip(ts, model.outputs, model.cost, strict=True):
        np.testing.assert_allclose(outputs, Y + np.exp(-s / N) * (run.outputs[0] - Y), rtol=1e-12)
        np.testing.assert_allclose(cost, np.sum((outputs - Y) ** 2) / (2 * N), rtol=1e-12)
    assert model.params is None and model.ts.tolist() == ts.tolist()


@pytest.mark.parametrize("flow", ALL_FLOWS)
@pytest.mark.parametrize(
    ("params", "X", "Y", "message"),
    [
        (PARAMS, X[:-1], Y, "X has shape"),
        (PARAMS, X, Y[:, 1:], "Y has shape"),
        (PARAMS, X[:, :0], Y, "X must be a non-empty matrix"),
        (PARAMS, X.astype(jnp.float32), Y, "X has dtype float32, but double"),
        (PARAMS, X, Y.at[0, 0].set(jnp.nan), "Y contains NaN"),
        (PARAMS[1:], X, Y, "params has shapes"),
        (None, X, Y, "params must be a tuple"),
        (
            jax.tree.map(lambda a: a.astype(jnp.float32), PARAMS),
            X,
            Y,
            r"params\[0\].W has dtype float32",
        ),
        (jax.tree.map(lambda a: a / 0, PARAMS), X, Y, r"params\[0\].W contains NaN"),
    ],
)
def test_every_flow_refuses_bad_arrays(flow, params, X, Y, message):
    with pytest.raises(ValueError, match=message):
        flow(NET, params, X, Y)


@pytest.mark.parametrize("flow", [zl.gradient_flow, zl.adapted_flow])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t1": 0.0}, "t1 must be a positive number; it is 0.0"),
        ({"t1": np.inf}, "t1 must be a positive number"),
        ({"t1": np.nan}, "t1 must be a positive number"),
        ({"saves": 1}, "saves must be an integer of at least 2"),
        ({"saves": 2.5}, "saves must be an integer of at least 2"),
        ({"saves": [0.0, 2.0]}, r"saves must be increasing, in \[0, 1.0\]"),
        ({"saves": [-1.0, 1.0]}, "saves must be increasing"),
        ({"saves": [0.5, 0.5]}, "saves must be increasing"),
        ({"saves": [0.5, np.nan]}, "saves must be increasing"),
        ({"saves": []}, "saves must be increasing"),
        ({"saves": [[0.0, 1.0]]}, "saves must be increasing"),
        ({"rtol": 0.0}, r"rtol must lie in \(0, 1\); it is 0.0"),
        ({"atol": -1e-9}, r"atol must lie in \(0, 1\)"),
        ({"max_steps": 0}, "max_steps must be a positive integer"),
        ({"max_steps": 1.5}, "max_steps must be a positive integer"),
    ],
)
def test_flows_refuse_bad_settings(flow, options, message):
    with pytest.raises(ValueError, match=message):
        flow(NET, PARAMS, X, Y, **{"t1": 1.0, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_rtol": 1e-9}, r"rank_rtol must lie in \[1e-7, 1\)"),
        ({"rank_rtol": 1.0}, "rank_rtol must lie in"),
        ({"rtol": 1e-4}, "rtol = 0.0001 would step over a rank loss; at most .* 1e-05 is needed"),
    ],
)
def test_the_adapted_flow_refuses_tolerances_that_hide_a_rank_loss(options, message):
    with pytest.raises(ValueError, match=message):
        zl.adapted_flow(NET, PARAMS, X, Y, t1=1.0, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "step must be a positive number"),
        ({"step": np.nan}, "step must be a positive number"),
        ({"steps": 0}, "steps must be a positive integer"),
        ({"steps": 2.5}, "steps must be a positive integer"),
        ({"saves": [0.0, 1.5]}, "saves must be whole numbers of steps"),
        ({"saves": [0, 11]}, "saves must be increasing"),
    ],
)
def test_descent_refuses_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        zl.gradient_descent(NET, PARAMS, X, Y, **{"step": 0.1, "steps": 10, **options})


@pytest.mark.parametrize("ts", [[], [[0.0]], [np.nan]])
def test_the_comparison_model_refuses_bad_times(ts):
    with pytest.raises(ValueError, match="ts "):
        zl.comparison_model(NET, PARAMS, X, Y, ts=ts)


def test_a_missing_solver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(ImportError, match="flows need diffrax"):
        flow._diffrax()
