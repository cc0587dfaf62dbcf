"""The constructions fit what their theorems cover, and refuse the rest."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zl
from zl._known import entrywise
from zl.activations import Activation, leaky_relu, mollified_relu, softplus
from zl.minimizers import class_index, memorizing, positive_sector, pull_back, truncating
from zl.minimizers.ramps import as_ramp
from zl.minimizers.truncation import separating_sequence

zl.enable_x64()

few = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
seeds = st.integers(0, 2**32 - 1)


def key(seed):
    return jax.random.key(seed)


def cost(net, params, X, Y):
    """C, relative to the size of the labels, without a compilation for every shape."""
    assert [W.shape for W, _ in params] == list(zip(net.widths[1:], net.widths[:-1], strict=True))
    X, Y = np.asarray(X), np.asarray(Y)
    residual = np.asarray(net.apply(params, X)) - Y
    return np.sum(residual**2) / (2 * Y.shape[1]) / max(1.0, np.abs(Y).max() ** 2)


def run(net, params, X):
    """All pre-activations and all features, in numpy."""
    Zs, Fs = [], [np.asarray(X)]
    for W, b in params:
        Zs.append(np.asarray(W) @ Fs[-1] + np.asarray(b)[:, None])
        Fs.append(entrywise(net.activation, Zs[-1]))
    return Zs, Fs[:-1]


def data(seed, M0, N, Q):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(M0, N)), rng.normal(size=(Q, N))


def one_hot(labels, Q):
    return np.eye(Q)[:, labels]


# --- the positive sector -------------------------------------------------------------------------

UNBOUNDED = ["relu", "leaky_relu", "mollified_relu", "softplus", "identity"]


@few
@given(st.sampled_from(UNBOUNDED), st.integers(0, 5), st.data(), seeds)
def test_positive_sector_fits(activation, L, draw, seed):
    N = draw.draw(st.integers(1, 9))
    Q = draw.draw(st.integers(1, 4))
    hidden = sorted(draw.draw(st.lists(st.integers(Q, 9), min_size=L, max_size=L)), reverse=True)
    net = zl.Network((N + 2, *hidden, Q), activation)
    X, Y = data(seed, N + 2, N, Q)
    for kwargs in ({}, {"key": key(seed)}):
        assert cost(net, positive_sector(net, X, Y, **kwargs), X, Y) <= 1e-24


@few
@given(st.sampled_from(UNBOUNDED), seeds)
def test_positive_sector_takes_any_later_weights(activation, seed):
    net = zl.Network((5, 7, 6, 6, 3), activation)
    X, Y = data(seed, 5, 6, 3)  # N = M0 + 1: affinely independent, but rank X < N
    rng = np.random.default_rng(seed)
    later = [rng.normal(size=(m, n)) for m, n in [(6, 7), (6, 6), (3, 6)]]
    params = positive_sector(net, X, 100 * Y, later=later)
    worst = np.prod([np.linalg.cond(W) for W in later]) * np.linalg.cond(np.vstack([X, np.ones(6)]))
    assert cost(net, params, X, 100 * Y) <= (1e-15 * worst) ** 2
    assert all((given == W).all() for given, (W, _) in zip(later, params[1:], strict=True))
    _, features = run(net, params, X)
    assert all((F >= net.activation.window[0] - 1e-9).all() for F in features[1:])  # in the sector


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "sin"])
def test_positive_sector_refuses_bounded_activations(activation):
    X, Y = data(0, 4, 3, 2)
    with pytest.raises(zl.HypothesisError, match=f"{activation}.*unbounded above.*pull_back"):
        positive_sector(zl.Network((4, 4, 2), activation), X, Y)


@pytest.mark.parametrize(
    ("widths", "message"),
    [((4, 3, 4, 2), r"M_2 = 4 > M_1 = 3"), ((4, 4, 1, 2), r"Q = 2 > M_2 = 1, .*Q ≤ M_2")],
)
def test_positive_sector_refuses_increasing_widths(widths, message):
    X, Y = data(0, 4, 3, 2)
    with pytest.raises(zl.HypothesisError, match=message):
        positive_sector(zl.Network(widths, "relu"), X, Y)


def test_positive_sector_refuses_the_rest():
    net = zl.Network((4, 4, 2), "relu")
    X, Y = data(0, 4, 3, 2)
    with pytest.raises(zl.HypothesisError, match=r"rank W_2 = 1, but 2 is needed"):
        positive_sector(net, X, Y, later=[np.ones((2, 4))])
    with pytest.raises(zl.HypothesisError, match=r"rank \[X; 1\] = 2, but N = 3 is needed"):
        positive_sector(net, X[:, [0, 1, 1]], Y)
    with pytest.raises(ValueError, match="key or later"):
        positive_sector(net, X, Y, key=key(0), later=[np.eye(2, 4)])
    with pytest.raises(ValueError, match="L = 1 matrices"):
        positive_sector(net, X, Y, later=[])
    with pytest.raises(ValueError, match=r"W_2 has shape \(4, 2\)"):
        positive_sector(net, X, Y, later=[np.eye(4, 2)])


def test_first_layers_advice_names_memorizing():
    X, Y = zl.data.digits(64)
    with pytest.raises(zl.HypothesisError) as error:
        pull_back(zl.Network((64, 10, 10), "tanh"), X, Y)
    assert "rank [X; 1] = 52, but N = 64 is needed" in str(error.value)
    assert "`memorizing`" in error.value.advice and "N - 1 = 63" in error.value.advice


def test_constant_labels_have_rank_zero_whatever_rounding_says():
    X, _ = data(0, 4, 5, 1)
    Y = np.full((2, 5), 0.1)
    net = zl.Network((4, 1, 2), "tanh")
    assert cost(net, pull_back(net, X, Y), X, Y) <= 1e-30
    deep = zl.Network((4, *[3] * 30, 2), "softplus")
    assert cost(deep, pull_back(deep, X, Y), X, Y) <= 1e-28


# --- memorizing ----------------------------------------------------------------------------------

RAMPS = ["relu", "leaky_relu", "mollified_relu", "softplus"]


@few
@given(st.sampled_from(RAMPS), st.integers(1, 5), st.data(), seeds)
def test_memorizing_fits(activation, L, draw, seed):
    N = draw.draw(st.integers(1, 12))
    M0, Q = draw.draw(st.integers(1, 4)), draw.draw(st.integers(1, 3))
    hidden = draw.draw(st.lists(st.integers(1, 3), min_size=L - 1, max_size=L - 1))
    net = zl.Network((M0, *hidden, max(1, N - 1 + draw.draw(st.integers(0, 2))), Q), activation)
    X, Y = data(seed, M0, N, Q)
    assert cost(net, memorizing(net, X, Y), X, Y) <= 1e-20
    assert cost(net, memorizing(net, X, Y, key=key(seed)), X, Y) <= 1e-20


@pytest.mark.parametrize(
    ("activation", "hidden"),
    [
        ("relu", (64, 1797)),
        ("relu", (2, 1, 3, 1, 1796)),
        ("leaky_relu", (1796,)),
        ("mollified_relu", (1797,)),
        ("softplus", (3, 1796)),
    ],
)
def test_memorizing_all_digits(activation, hidden):
    X, Y = zl.data.digits()
    net = zl.Network((64, *hidden, 10), activation)
    assert cost(net, memorizing(net, X, Y), X, Y) <= 1e-18


def test_the_fits_of_all_digits_in_jax():
    X, Y = zl.data.digits()
    net = zl.Network((64, 64, 1797, 10), "relu")
    assert zl.cost(net, memorizing(net, X, Y), X, Y) <= 1e-18
    net, params = class_index(X, Y)
    assert net.K < Y.size and zl.cost(net, params, X, Y) <= 1e-18
    net, params = truncating(X, Y)
    assert (net.K, Y.size) == (1495, 17970) and zl.cost(net, params, X, Y) <= 1e-24


def test_what_comes_back_does_not_share_memory_with_what_was_given():
    X, Y = zl.data.generic(jax.random.key(0), M0=10, N=5, Q=2)
    W = np.ones((2, 8)) + np.eye(2, 8)
    params = zl.minimizers.positive_sector(zl.Network((10, 8, 2), "relu"), X, Y, later=[W])
    W[:] = 99.0
    assert float(params[1].W.max()) == 2.0


@few
@given(st.sampled_from([mollified_relu(100.0), leaky_relu(0.9), softplus]), seeds)
def test_memorizing_takes_every_scale_and_offset(activation, seed):
    X, Y = data(seed, 3, 8, 2)
    net = zl.Network((3, 2, 7, 2), activation)
    X = X * [[1e6], [1.0], [1e-6]] + 10.0
    X[1] = 5.0  # a feature that never changes
    assert cost(net, memorizing(net, X, Y), X, Y) <= 1e-18


def test_memorizing_is_differentiable_at_the_fit():
    X, Y = data(0, 2, 30, 2)
    net = zl.Network((2, 29, 2), "relu")
    (Z, _), _ = run(net, memorizing(net, X, Y), X)
    Z = Z[:, np.argsort(np.sum(Z > 0, axis=0))]
    fires = Z > 0
    assert (np.abs(Z) >= 0.5).all()  # no sample near a kink
    assert np.linalg.matrix_rank(fires) == 29 and (fires.sum(axis=0) == np.arange(30)).all()


def silu(name, function):
    return Activation(
        name, function, jax.grad(function), jnp.positive,
        domain=(2.0, np.inf), image=(2.0, np.inf), slopes=(-0.1, 1.1), window=(4.0, 2.0),
        smoothness=np.inf,
    )  # fmt: skip


def test_memorizing_takes_what_is_a_ramp_from_afar():
    net = zl.Network((2, 3, 9, 2), silu("silu", jax.nn.silu))
    X, Y = data(0, 2, 10, 2)
    assert cost(net, memorizing(net, X, Y), X, Y) <= 1e-20
    elu = as_ramp(silu("elu", jax.nn.elu))  # z far to the right, -1 far to the left
    assert elu is None
    assert as_ramp(zl.activations.relu) == (0.0, 1.0)
    assert as_ramp(leaky_relu(0.25)) == (0.25, 1.0)
    assert as_ramp(mollified_relu(5.0)) == (0.0, 8.0)
    assert as_ramp(softplus) == (0.0, 64.0)
    assert as_ramp(zl.activations.identity) is None


def test_memorizing_equal_inputs():
    X, Y = data(0, 3, 6, 2)
    X[:, 4], Y[:, 4] = X[:, 1], Y[:, 1]
    X[0, [1, 4]] = 0.0, -0.0
    net = zl.Network((3, 4, 2), "relu")  # five distinct inputs
    assert cost(net, memorizing(net, X, Y), X, Y) <= 1e-24
    with pytest.raises(zl.HypothesisError, match=r"number of distinct inputs.*M_1 = 3, but 4 is"):
        memorizing(zl.Network((3, 3, 2), "relu"), X, Y)
    Y[0, 4] += 1e-9
    with pytest.raises(zl.HypothesisError, match="samples 1 and 4 have equal inputs, but diff"):
        memorizing(net, X, Y)
    assert cost(net, memorizing(net, X[:, [1, 4]], Y[:, [1, 1]]), X[:, [1, 4]], Y[:, [1, 1]]) == 0


def test_memorizing_refuses():
    X, Y = data(0, 3, 6, 2)
    for activation in ("tanh", "sigmoid", "sin", "identity"):
        with pytest.raises(zl.HypothesisError, match=f"{activation}.*pull_back"):
            memorizing(zl.Network((3, 5, 2), activation), X, Y)
    with pytest.raises(zl.HypothesisError, match="L = 0"):
        memorizing(zl.Network((3, 2), "relu"), X, Y)
    with pytest.raises(zl.HypothesisError, match=r"N - 1: M_2 = 4, but 5 is needed"):
        memorizing(zl.Network((3, 9, 4, 2), "relu"), X, Y)
    X[:, 3] = X[:, 2] + [1e-16, 0.0, 0.0]
    X[0, 2:4] = 1.0, 1.0 + 2.0**-52
    X[1] = 1e9
    with pytest.raises(zl.HypothesisError, match=r"samples 2 and 3 project"):
        memorizing(zl.Network((3, 5, 2), "relu"), X, Y)


@pytest.mark.parametrize("offset", [0.0, 1.0, -1e3])
def test_memorizing_down_to_the_last_gap_it_accepts(offset):
    net = zl.Network((1, 2, 1), "leaky_relu")
    Y = np.array([[0.0, 1.0, 0.0]])
    outcomes = []
    for exponent in range(-52, -30):
        X = offset + np.array([[0.0, 2.0**exponent, 1.0]])
        try:
            with warnings.catch_warnings(action="ignore"):
                params = memorizing(net, X, Y)
        except zl.HypothesisError:
            outcomes.append(False)
        else:
            outcomes.append(True)
            assert all(np.isfinite(W).all() and np.isfinite(b).all() for W, b in params)
            assert cost(net, params, X, Y) <= 1e-3
    assert outcomes == sorted(outcomes) and outcomes[-1] and not outcomes[0]


def test_memorizing_warns_when_rounding_wins():
    X, Y = data(0, 50, 40, 1)
    X[:, 1::2] = X[:, ::2] + 1e-13
    net = zl.Network((50, 39, 1), "relu")
    with pytest.warns(RuntimeWarning, match=r"rounding has spoilt.*projections .*e-1. apart"):
        memorizing(net, X, Y)


# --- classes -------------------------------------------------------------------------------------


@few
@given(st.integers(1, 6), st.integers(1, 60), st.integers(1, 6), seeds)
def test_class_index_fits_any_classes(M0, N, Q, seed):
    X, _ = data(seed, M0, N, 1)
    labels = np.random.default_rng(seed).integers(Q, size=N)
    Y = one_hot(labels, Q)
    net, params = class_index(X, Y, key=key(seed))
    assert net.activation.name == "relu"
    assert cost(net, params, X, Y) <= 1e-18
    if N > 1 and Q > 1:
        assert net.K == 3 * N + M0 + Q**2 + 2 * Q - 3


def test_class_index_counts():
    X, _ = data(0, 5, 60, 1)
    labels = np.arange(60) % 10
    net, params = class_index(X, labels)
    assert (net.widths, net.K) == ((5, 1, 59, 1, 9, 10), 302)
    assert cost(net, params, X, one_hot(labels, 10)) <= 1e-20
    Z, _ = run(net, params, X)
    np.testing.assert_allclose(Z[2][0], labels + 1, atol=1e-9)  # the class index
    assert all(np.abs(z).min() > 1e-6 for z in Z[:-1])  # no sample at a kink
    same = class_index(X, one_hot(labels, 10))[1]
    assert all((a.W == b.W).all() and (a.b == b.b).all() for a, b in zip(params, same, strict=True))


def test_class_index_equal_inputs():
    X, labels = data(0, 2, 5, 1)[0], np.array([0, 2, 1, 2, 0])
    X[:, 3] = X[:, 1]
    net, params = class_index(X, labels)
    assert cost(net, params, X, one_hot(labels, 3)) <= 1e-24
    labels[3] = 1
    with pytest.raises(zl.HypothesisError, match="samples 1 and 3"):
        class_index(X, labels)


@few
@given(st.booleans(), st.integers(1, 5), st.integers(1, 6), st.integers(0, 40), seeds)
def test_truncating_fits(clusters, M0, Q, extra, seed):
    N = Q + extra
    if clusters:
        X, Y = zl.data.clustered(key(seed), M0, N, Q, radius=0.2)
    else:
        X, Y = zl.data.sequentially_separable(key(seed), M0, N, Q)
    net, params = truncating(X, Y)
    assert net.widths == (M0, *[max(Q - 1, 1)] * Q, Q)
    assert cost(net, params, X, Y) <= 1e-22
    if Q > 1:
        assert net.K == (Q - 1) * (M0 + 1) + (Q - 1) ** 2 * Q + Q**2


def test_truncating_sends_one_class_a_layer_to_a_point():
    X, Y = zl.data.sequentially_separable(key(0), M0=3, N=1000, Q=5)
    labels = np.asarray(Y).argmax(axis=0)
    order, h = separating_sequence(np.asarray(X), labels)
    u = h.W @ np.asarray(X) + h.b[:, None]
    for k, row in enumerate(u):
        assert (row[labels == order[k]] <= -1 + 1e-9).all()
        assert (row[np.isin(labels, order[k + 1 :])] >= 1 - 1e-9).all()
    net, params = truncating(X, labels)
    _, features = run(net, params, X)
    for k, F in enumerate(features[1:]):
        assert (F[:, labels == order[k]] == 0).all()
        points = [np.unique(F[:, labels == q].round(9), axis=1).shape[1] for q in order]
        assert points[: k + 1] == [1] * (k + 1) and min([*points[k + 1 :], 2]) > 1
    assert cost(net, params, X, Y) <= 1e-24


@pytest.mark.parametrize("labels", [[0], [2, 2, 2], [0, 0, 3, 3, 3], [1, 0]])
def test_truncating_counts_the_classes_that_occur(labels):
    X = np.linspace(-1.0, 1.0, len(labels))[None] + 3
    net, params = truncating(X, np.array(labels))
    C = len(set(labels))
    assert net.widths == (1, *[1] * C, max(labels) + 1)
    assert cost(net, params, X, one_hot(labels, max(labels) + 1)) <= 1e-28


def test_truncating_refuses_what_is_not_separable():
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)])
    X = np.hstack(
        [ring + np.array([[9], [0]]), 2 * ring, ring]
    )  # class 0 is aside, 2 is inside of 1
    with pytest.raises(zl.HypothesisError, match=r"classes 1, 2 none is .*`class_index`"):
        truncating(X, np.repeat([0, 1, 2], 30))
    with pytest.raises(zl.HypothesisError, match="classes 0, 1 none"):  # touching hulls
        truncating(np.array([[0.0, 1.0, 1.0, 2.0]]), np.array([0, 0, 1, 1]))
    exclusive_or = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    with pytest.raises(zl.HypothesisError, match="classes 0, 1 none"):
        truncating(exclusive_or, np.array([0, 0, 1, 1]))
    net, params = class_index(exclusive_or, np.array([0, 0, 1, 1]))
    assert cost(net, params, exclusive_or, one_hot([0, 0, 1, 1], 2)) <= 1e-24


@pytest.mark.parametrize("construct", [class_index, truncating])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.0, 1.0, 1.0]), "labels must be 3 integers"),
        (np.array([0, 1]), "labels must be 3 integers"),
        (np.array([0, -1, 1]), "labels must be counted from 0; the least is -1"),
        (np.array([True, False, True]), "labels must be 3 integers"),
        (np.ones((2, 3)), "labels must be one-hot"),
        (np.eye(2), r"labels has shape \(2, 2\)"),
        (np.eye(3, dtype=np.float32), "labels has dtype float32"),
    ],
)
def test_labels_of_the_wrong_kind(construct, labels, message):
    with pytest.raises(ValueError, match=message):
        construct(np.arange(3.0)[None], labels)


@pytest.mark.parametrize(
    "call",
    [
        lambda X, Y: positive_sector(zl.Network((3, 4, 2), "relu"), X, Y),
        lambda X, Y: memorizing(zl.Network((3, 4, 2), "relu"), X, Y),
        class_index,
        truncating,
    ],
)
def test_arguments_are_checked(call):
    X, Y = data(0, 3, 4, 2)[0], one_hot([0, 1, 1, 0], 2)
    with warnings.catch_warnings(action="error"):
        call(X, Y)
    for bad_X, message in [
        (X * np.nan, "X contains NaN"),
        (X.astype(np.float32), "X has dtype float32"),
        (X[:, :0], "X must be a non-empty matrix"),
        (X[0], "X must be a non-empty matrix"),
    ]:
        with pytest.raises(ValueError, match=message):
            call(bad_X, Y)
    for bad_Y in (Y[:, :3], Y * np.nan):
        with pytest.raises(ValueError, match=r"^(Y|labels) "):
            call(X, bad_Y)


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("M0", "Q"), [(5, 1), (2, 3), (5, 4), (1, 4), (2, 7), (3, 9)])
def test_clustered(M0, Q):
    X, Y = zl.data.clustered(key(3), M0, 400, Q, radius=0.5, separation=6.0)
    X, labels = np.asarray(X), np.asarray(Y).argmax(axis=0)
    means = np.stack([X[:, labels == q].mean(axis=1) for q in range(Q)], axis=1)
    distances = np.linalg.norm(means[:, :, None] - means[:, None], axis=0)[np.triu_indices(Q, 1)]
    assert (np.linalg.norm(X - means[:, labels], axis=0) < 0.7).all()  # the means are estimates
    if Q > 1:
        assert abs(distances.min() - 6.0) < 0.4
    if 1 < Q <= M0 + 1:
        assert np.ptp(distances) < 0.8  # a regular simplex
    assert np.ptp(np.bincount(labels)) <= 1 and (Y.sum(axis=0) == 1).all()


@few
@given(st.integers(1, 5), st.integers(3, 7), seeds)
def test_sequentially_separable_hides_the_last_class(M0, Q, seed):
    X, Y = map(np.asarray, zl.data.sequentially_separable(key(seed), M0, 50, Q, margin=0.1))
    labels = Y.argmax(axis=0)
    order, _ = separating_sequence(X, labels)
    assert sorted(order) == list(range(Q))
    with pytest.raises(zl.HypothesisError):  # the last class against all others
        separating_sequence(X, np.asarray(labels == Q - 1, dtype=int))


@pytest.mark.parametrize("make", [zl.data.clustered, zl.data.sequentially_separable])
def test_data_of_classes(make):
    X, Y = make(key(0), 3, 20, 4)
    assert X.dtype == Y.dtype == jnp.float64 and (X.shape, Y.shape) == ((3, 20), (4, 20))
    assert (X == make(key(0), 3, 20, 4)[0]).all() and (X != make(key(1), 3, 20, 4)[0]).any()
    with pytest.raises(ValueError, match="N must be at least Q = 4"):
        make(key(0), 3, 3, 4)
    with pytest.raises(ValueError, match="M0 must be a positive integer"):
        make(key(0), 0, 3, 2)


def test_data_refuse_lengths_that_are_not_positive():
    for kwargs in ({"radius": -1.0}, {"separation": np.inf}):
        with pytest.raises(ValueError, match=f"{next(iter(kwargs))} must be a positive number"):
            zl.data.clustered(key(0), 2, 5, 2, **kwargs)
    with pytest.raises(ValueError, match="margin must be a positive number"):
        zl.data.sequentially_separable(key(0), 2, 5, 2, margin=0.0)
