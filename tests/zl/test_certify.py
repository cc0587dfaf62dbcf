"""A certificate is true, close to the truth, and refused wherever the truth is another."""

import dataclasses
import itertools
import pickle

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import zl
from zl import Layer, certify

zl.enable_x64()

SIGMA = {  # σ and σ', written again
    "identity": (lambda z: z, np.ones_like),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: 0.25 / np.cosh(z / 2) ** 2),
    "softplus": (lambda z: np.log1p(np.exp(z)), lambda z: 1 / (1 + np.exp(-z))),
    "sin": (np.sin, np.cos),
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
    "leaky_relu": (lambda z: np.maximum(z, z / 8), lambda z: np.where(z > 0, 1, 0.125)),
    "mollified_relu": (
        lambda z: np.where(z > 0.1, z, np.clip(z + 0.1, 0, 0.2) ** 2 / 0.4),
        lambda z: np.clip((z + 0.1) / 0.2, 0, 1),
    ),
}
SMOOTH = ["identity", "tanh", "sigmoid", "softplus", "sin", "mollified_relu"]


def training_jacobian(net, params, X):
    """D by forward differentiation, one parameter at a time: shares no formula with zl."""
    value, slope = SIGMA[net.activation.name]
    X, columns = np.asarray(X), []
    for l, (W, b) in enumerate(params):
        for r, c in itertools.chain(np.ndindex(W.shape), ((r, None) for r in range(len(b)))):
            features, tangent = X, None
            for k, (V, a) in enumerate(params):
                Z = np.asarray(V) @ features + np.asarray(a)[:, None]
                dZ = np.zeros_like(Z) if tangent is None else np.asarray(V) @ tangent
                if k == l:
                    dZ[r] += 1.0 if c is None else features[c]
                features, tangent = value(Z), slope(Z) * dZ
            columns.append(dZ.T.ravel())
    return np.array(columns).T


def sigma_min(net, params, X):
    return np.linalg.svd(training_jacobian(net, params, X), compute_uv=False)[-1]


def exactly(x):
    """An exact arb as an mpmath number."""
    mantissa, exponent = x.man_exp()
    return mp.ldexp(int(mantissa), int(exponent))


def error_in_mpmath(net, layers, X, Y):
    """|x - y| of a tanh or sigmoid network with entries of mpmath, in 100 digits."""
    sigma = {"tanh": mp.tanh, "sigmoid": lambda z: 1 / (1 + mp.exp(-z))}[net.activation.name]
    with mp.workdps(100):
        features = mp.matrix(np.asarray(X).tolist())
        for l, (W, b) in enumerate(layers):
            if l > 0:
                features = features.apply(sigma)
            features = W * features + b * mp.ones(1, features.cols)
        return mp.norm(features - mp.matrix(np.asarray(Y).tolist()))


def problem(name="tanh", widths=(5, 6, 5, 2), N=4, seed=0):
    net = zl.Network(widths, name)
    X, Y = zl.data.generic(jax.random.key(seed), M0=widths[0], N=N, Q=widths[-1])
    return net, X, Y


# --- the cost ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "mollified_relu", "identity"])
def test_the_ball_of_the_cost_contains_the_rational_number(name):
    net, X, Y = problem(name)
    params = net.init(jax.random.key(0))
    exact = zl.symbolic.cost(net, params, X, Y)
    ball = certify.cost(net, params, X, Y)
    with ctx.workprec(4000):  # in which the fraction becomes a ball far smaller than this one
        assert ball.contains(fmpq(exact.numerator, exact.denominator))
    assert ball > 0 and ball.rad() < 1e-30


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_the_ball_of_the_cost_shrinks_to_the_cost_in_a_hundred_digits(name):
    net, X, Y = problem(name)
    params = zl.minimizers.pull_back(net, X, Y)
    given = [Layer(mp.matrix(W.tolist()), mp.matrix(b.tolist())) for W, b in params]
    true = error_in_mpmath(net, given, X, Y) ** 2 / (2 * 4)
    balls = [certify.cost(net, params, X, Y, precision=p) for p in (32, 53, 128, 256)]
    for ball in balls:
        assert exactly(ball.lower()) <= true * (1 + 1e-30)
        assert true <= exactly(ball.upper()) * (1 + 1e-30)
    assert not balls[0] > 0 and balls[2] > 0
    assert balls[3].rad() < balls[2].rad() < balls[1].rad() < balls[0].rad()


def test_the_cost_of_an_exact_fit_is_never_separated_from_zero():
    net, X = zl.Network((1, 1, 1), "relu"), [[0.0, 3.0]]
    params = (Layer([[1.0]], [-2.0]), Layer([[1.0]], [0.0]))
    for precision in (2, 53, 1024):
        assert certify.cost(net, params, X, [[0.0, 1.0]], precision=precision).contains(0)
    for bad, sentence in [(([[0.0]],), "Y has shape"), (([[jnp.nan, 0.0]],), "Y contains NaN")]:
        with pytest.raises(ValueError, match=sentence):
            certify.cost(net, params, X, *bad)
    with pytest.raises(ValueError, match="precision must be an integer of at least 2"):
        certify.cost(net, params, X, [[0.0, 1.0]], precision=1)


# --- full rank -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGMA)
def test_sigma_min_is_a_close_lower_bound(name):
    net, X, _ = problem(name)
    params = net.init(jax.random.key(0))
    certificate, true = certify.full_rank(net, params, X), sigma_min(net, params, X)
    assert true / 1.1 < certificate.sigma_min <= true * (1 + 1e-12)
    assert (certificate.rank, certificate.precision) == (8, 128)


@given(
    name=st.sampled_from(list(SIGMA)),
    widths=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    N=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_full_rank_is_proved_exactly_where_it_holds(name, widths, N, seed):
    net, rng = zl.Network(widths, name), np.random.default_rng(seed)
    X = rng.normal(size=(net.M0, N))
    params = tuple(
        Layer(rng.normal(size=(n, m)), rng.normal(size=n)) for m, n in itertools.pairwise(widths)
    )
    if net.K < net.Q * N:
        with pytest.raises(zl.HypothesisError, match="K ≥ QN"):
            certify.full_rank(net, params, X)
        return
    true = sigma_min(net, params, X)
    try:
        bound = certify.full_rank(net, params, X).sigma_min
        assert true / 1.12 - 1e-14 < bound < true * (1 + 1e-9) + 1e-14
    except zl.CertificateError:
        assert true < 1e-14


@pytest.mark.parametrize("gap", [1e-5, 1e-9, 1e-15])
def test_nearly_equal_samples_give_a_tiny_bound_that_is_true(gap):
    net = zl.Network((2, 1), "identity")
    X = jnp.array([[1.0, 1.0 + gap], [0.5, 0.5]])
    bound = certify.full_rank(net, net.init(jax.random.key(0)), X).sigma_min
    with mp.workdps(60):
        D = mp.matrix(np.vstack([X, np.ones(2)]).T.tolist())
        true = min(mp.svd_r(D, compute_uv=False))
        assert true / 1.1 < bound <= true


def test_a_bound_below_the_range_of_doubles_is_refused():
    net = zl.Network((1, 1), "identity")
    params = net.init(jax.random.key(0))
    assert certify.full_rank(net, params, [[1e-150, 2e-150]]).sigma_min > 0
    with pytest.raises(zl.CertificateError):
        certify.full_rank(net, params, [[5e-324, 1e-323]])


@pytest.mark.parametrize("name", SIGMA)
def test_repeated_samples_have_no_full_rank(name):
    net, X, Y = problem(name)
    X = X.at[:, 1].set(X[:, 0])
    params = net.init(jax.random.key(0))
    with pytest.raises(zl.CertificateError, match="Even in 1024-bit balls D Dᵀ may be singular"):
        certify.full_rank(net, params, X)
    with pytest.raises(zl.CertificateError, match="may be singular"):
        certify.zero_exists(net, params, X, Y)


def test_dead_neurons_have_no_full_rank():
    net, X, _ = problem("relu", widths=(5, 6, 1))
    W, _ = net.init(jax.random.key(0))[0]
    dead = Layer(W, jnp.full(6, -100.0))
    with pytest.raises(zl.CertificateError, match=r"eigenvalue is \d.\de-\d+ of the largest"):
        certify.full_rank(net, (dead, net.init(jax.random.key(0))[1]), X)


def test_a_network_of_zeros_with_inputs_of_zero():
    net = zl.Network((2, 1), "identity")
    with pytest.raises(zl.CertificateError):
        certify.full_rank(net, (Layer([[0.0, 0.0]], [0.0]),), [[0.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_on_a_kink_the_jacobian_is_not_defined(name):
    net = zl.Network((1, 1, 1), name)
    params = (Layer([[1.0]], [0.0]), Layer([[1.0]], [0.0]))
    with pytest.raises(zl.CertificateError, match="lies on the kink"):
        certify.full_rank(net, params, [[0.0, 1.0]])
    with pytest.raises(zl.CertificateError, match="lies on the kink"):
        certify.zero_exists(net, params, [[0.0, 1.0]], [[0.0, 1.0]])
    assert certify.full_rank(net, params, [[1e-300, 1.0]]).sigma_min > 0


# --- exact zeros ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGMA)
@pytest.mark.parametrize("key", [None, jax.random.key(1)])
def test_a_constructed_minimizer_has_an_exact_one_beside_it(name, key):
    net, X, Y = problem(name)
    params = zl.minimizers.pull_back(net, X, Y, key=key)
    zero = certify.zero_exists(net, params, X, Y)
    true = sigma_min(net, params, X)
    assert 0 <= zero.center_radius <= zero.radius < 1e-12
    assert true / 1.2 < zero.sigma_min <= true * (1 + 1e-6)
    assert 4 * zero.lipschitz * zero.residual <= 1.3 * zero.sigma_min**2
    assert zero.center_radius == pytest.approx(2 * zero.residual / zero.sigma_min, rel=1e-6, abs=0)


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_the_centre_fits_in_a_hundred_digits(name):
    net, X, Y = problem(name)
    params = jax.tree.map(lambda a: a + 1e-4, zl.minimizers.pull_back(net, X, Y))
    zero = certify.zero_exists(net, params, X, Y)
    with mp.workdps(100):
        center = [Layer(*(mp.matrix([list(map(exactly, r)) for r in a.tolist()]) for a in layer))
                  for layer in zero.center]  # fmt: skip
        assert error_in_mpmath(net, center, X, Y) <= zero.residual < 1e-9
        given = [Layer(mp.matrix(W.tolist()), mp.matrix(b.tolist())) for W, b in params]
        moved = mp.norm(
            [x for old, new in zip(given, center, strict=True)
             for part in (0, 1) for x in new[part] - old[part]]
        )  # fmt: skip
        assert moved > 1e-5
        assert abs(moved + zero.center_radius - zero.radius) < 1e-12 * zero.radius


def test_the_zero_that_newton_finds_lies_in_the_ball():
    net, X, Y = problem("tanh", widths=(2, 3, 1), N=3)
    params = zl.minimizers.pull_back(net, X, Y)
    zero = certify.zero_exists(net, params, X, Y)
    flat, unravel = ravel_pytree(params)
    with mp.workdps(60):  # Newton's method with the Jacobian of the given parameters
        D = mp.matrix(training_jacobian(net, params, X).tolist())
        pseudoinverse = D.T * (D * D.T) ** -1
        move = mp.zeros(len(flat), 1)
        for _ in range(5):
            theta = mp.matrix(flat.tolist()) + move
            layers, at = [], 0
            for W, _ in unravel(flat):
                n, m = W.shape
                layers.append(Layer(
                    mp.matrix([[theta[at + r * m + c] for c in range(m)] for r in range(n)]),
                    mp.matrix([theta[at + n * m + r] for r in range(n)])))  # fmt: skip
                at += n * m + n
            features = layers[0].W * mp.matrix(X.tolist()) + layers[0].b * mp.ones(1, 3)
            output = layers[1].W * features.apply(mp.tanh) + layers[1].b * mp.ones(1, 3)
            move -= pseudoinverse * (output - mp.matrix(Y.tolist())).T
        assert 0 < mp.norm(move) <= zero.radius
        assert mp.norm(output - mp.matrix(Y.tolist())) < 1e-40


def test_no_double_fits_though_an_exact_zero_is_a_hair_away():
    net, X, Y = problem("tanh", widths=(5, 6, 2))
    params = zl.minimizers.pull_back(net, X, Y)
    given = [Layer(mp.matrix(W.tolist()), mp.matrix(b.tolist())) for W, b in params]
    assert error_in_mpmath(net, given, X, Y) > 1e-20
    assert certify.zero_exists(net, params, X, Y).radius < 1e-14


def test_linear_regression_is_solved_from_anywhere():
    net, X, Y = problem("identity", widths=(5, 2))
    params = (Layer(jnp.zeros((2, 5)), jnp.zeros(2)),)
    zero = certify.zero_exists(net, params, X, Y)
    least = jnp.linalg.norm(jnp.linalg.pinv(jnp.vstack([X, jnp.ones(4)])).T @ Y.T)
    assert zero.lipschitz < 1e-300 and least <= zero.radius
    exact = certify.zero_exists(net, params, X, jnp.zeros((2, 4)))
    assert exact.radius == exact.center_radius < 1e-300


@pytest.mark.parametrize("widths, N", [((50,) * 6 + (1,), 40), ((64,) * 11 + (1,), 40)])
def test_the_sizes_of_the_book(widths, N):
    net, X, Y = problem(widths=widths, N=N)
    params = zl.minimizers.pull_back(net, X, Y, key=jax.random.key(0))
    assert certify.zero_exists(net, params, X, Y).radius < 1e-10


def test_deep_networks_take_more_bits():
    net, X, _ = problem(widths=(4,) * 61 + (1,), N=2)
    params = net.init(jax.random.key(1), gain=1.5)
    zero = certify.zero_exists(net, params, X, net.apply(params, X) + 1e-14)
    assert zero.precision == 256 and zero.lipschitz > 1e38 and zero.radius < 1e-12


@pytest.mark.parametrize("eps, holds", [(0.5, True), (0.51, False)])
def test_what_the_proof_asks_for(eps, holds):
    proof = certify._Proof(None, *map(arb, (2, eps, 2, eps, 0)), kink=False)
    assert proof.holds is holds  # 4·2·ε ≤ 2²
    assert proof.sigma_there == pytest.approx(2 - 2 * eps)
    assert not proof._replace(kink=True).holds
    assert not proof._replace(lipschitz=arb("nan")).holds
    assert not proof._replace(sigma_min=arb("nan")).holds
    assert not proof._replace(sigma_min=arb(0), residual=arb(0)).holds


@given(name=st.sampled_from(list(SIGMA)), seed=st.integers(0, 2**16), exponent=st.floats(-15, 0))
@settings(derandomize=True, deadline=None, max_examples=16)
def test_equal_inputs_with_different_labels_have_no_zero(name, seed, exponent):
    net, X, Y = problem(name, widths=(3, 4, 1), N=3, seed=seed)
    X = X.at[:, 1].set(X[:, 0])
    params = net.init(jax.random.key(seed))
    Y = net.apply(params, X).at[0, 1].add(10.0**exponent)
    with pytest.raises(zl.CertificateError):
        certify.zero_exists(net, params, X, Y)


@given(
    name=st.sampled_from(["tanh", "sigmoid", "softplus", "relu", "leaky_relu", "mollified_relu"]),
    exponent=st.floats(-16, 0),
    w=st.floats(-2, 2),
    b=st.floats(-2, 2),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_a_monotone_network_cannot_rise_and_fall(name, exponent, w, b):
    net, rise = zl.Network((1, 1, 1), name), 10.0**exponent
    X, Y = jnp.array([[-1.0, 0.0, 1.0]]), jnp.array([[0.0, rise, 0.0]])
    params = (Layer([[w]], [b]), Layer([[rise]], [0.0]))
    with pytest.raises(zl.CertificateError):
        certify.zero_exists(net, params, X, Y)


def test_parameters_too_far_from_a_fit_are_refused_with_the_numbers():
    net, X, Y = problem(widths=(5, 6, 5, 5, 1), N=5)
    with pytest.raises(zl.CertificateError, match=r"4κε = .* ≤ s² = .* is needed") as refused:
        certify.zero_exists(net, net.init(jax.random.key(0)), X, 1e3 * Y)
    assert refused.value.claim == "x[θ*] = y for some θ* near params (QN = 5)"
    assert "zl.minimizers" in refused.value.advice


def test_a_kink_within_reach_is_refused():
    net = zl.Network((1, 1, 1), "relu")
    params = (Layer([[0.0]], [1e-20]), Layer([[1.0]], [0.0]))
    with pytest.raises(zl.CertificateError, match="may cross the kink"):
        certify.zero_exists(net, params, [[1.0]], [[-1.0]])
    assert certify.zero_exists(net, params, [[1.0]], [[1.0]]).radius < 1


# --- the parts of the proof ----------------------------------------------------------------------


def lipschitz(net, params, X, radius):
    sigma, weights = certify._ball_activation(net), certify._exact_params(net, params)
    state = certify._evaluate(sigma, weights, certify._exact_X(net, X))
    return certify._lipschitz(sigma, weights, state, arb(radius))


@given(
    name=st.sampled_from(SMOOTH),
    widths=st.lists(st.integers(1, 3), min_size=2, max_size=4),
    size=st.sampled_from([0.0, 1.0]),
    radius=st.sampled_from([1e-3, 1.0]),
    seed=st.integers(0, 2**16),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_the_jacobian_is_as_lipschitz_as_stated(name, widths, size, radius, seed):
    net, rng = zl.Network(widths, name), np.random.default_rng(seed)
    X = rng.normal(size=(net.M0, 2))
    shapes = [((n, m), n) for m, n in itertools.pairwise(widths)]

    def parameters(scale):
        layers = [(rng.normal(size=s), rng.normal(size=n)) for s, n in shapes]
        norm = np.sqrt(sum((a**2).sum() for layer in layers for a in layer))
        return [[a * scale / norm for a in layer] for layer in layers]

    center = parameters(size * 3)
    kappa, _ = lipschitz(net, [Layer(*layer) for layer in center], X, radius)
    for _ in range(5):
        one, other = (
            [Layer(*(a + d for a, d in zip(c, move, strict=True)))
             for c, move in zip(center, parameters(radius), strict=True)]
            for _ in range(2)
        )  # fmt: skip
        distance = np.sqrt(sum(
            ((a - b) ** 2).sum()
            for p, q in zip(one, other, strict=True) for a, b in zip(p, q, strict=True)
        ))  # fmt: skip
        change = training_jacobian(net, one, X) - training_jacobian(net, other, X)
        assert np.linalg.norm(change, 2) <= float(kappa) * distance * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(
    "name, z",
    [("tanh", 0.6584789484624084), ("sigmoid", 1.3169578969248166), ("softplus", 0.0),
     ("sin", 1.5707963267948966)],
)  # fmt: skip
def test_the_bound_on_the_second_derivative_is_sharp(name, z):
    net = zl.Network((1, 1, 1), name)
    params = (Layer(jnp.array([[0.0]]), jnp.array([z])), Layer(jnp.array([[1e6]]), jnp.zeros(1)))
    kappa, _ = lipschitz(net, params, [[1.0]], 1e-9)
    bend = abs(jax.grad(lambda t: net.activation.derivative(t))(jnp.float64(z)))
    sharp = 1e6 * 2 * bend  # |W₂ σ''(z)| |[x; 1]|²
    assert sharp * (1 - 1e-12) <= float(kappa) <= 1.00001 * sharp


@pytest.mark.parametrize("w, radius", [(0.0, 0.5), (7.0, 1e-9), (3.0, 2.0)])
def test_the_lipschitz_constant_by_hand(w, radius):
    net = zl.Network((1, 1, 1, 1), "identity")
    layer = Layer([[w]], [0.0])
    kappa, _ = lipschitz(net, [layer] * 3, [[2.0]], radius)
    a1, gain = np.sqrt(5), w + radius
    a2 = np.hypot(2 * w, 1) + a1 * radius + gain * a1
    assert float(kappa) == pytest.approx(2 * a2 + gain * 2 * a1, rel=1e-9)


def test_kinks_within_the_ball_are_seen():
    net = zl.Network((1, 1, 1, 1), "relu")
    params = [Layer([[1.0]], [0.0]), Layer([[1.0]], [-0.5]), Layer([[1.0]], [0.0])]
    for x, radius, kink in [(1.0, 0.05, False), (0.51, 0.05, True), (1.0, 2.0, True)]:
        assert lipschitz(net, params, [[x]], radius)[1] is kink
    assert lipschitz(zl.Network((1, 1, 1, 1), "tanh"), params, [[0.5]], 2.0)[1] is False


@pytest.mark.parametrize("name", SIGMA)
@pytest.mark.parametrize("radius", [0.0, 0.05, 1.0])
def test_balls_contain_all_values_of_the_activation(name, radius):
    sigma = certify._ball_activation(zl.Network((1, 1), name))
    value, slope = SIGMA[name]
    for middle in np.linspace(-3, 3, 25):
        ball = arb(middle, radius)
        values, slopes = sigma.value(ball), sigma.slope(ball)
        for z in middle + radius * np.linspace(-1, 1, 9):
            assert (values + arb(0, 1e-12)).contains(arb(float(value(z))))
            assert slopes.is_nan() or (slopes + arb(0, 1e-12)).contains(arb(float(slope(z))))
            assert abs(slope(z)) <= float(arb(sigma.steepest)) + 1e-12
        assert not slopes.is_nan() or (sigma.kinked and abs(middle) <= radius + 1e-12)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2)])
def test_norms_are_upper_bounds(shape):
    W = np.random.default_rng(0).normal(size=shape)
    true, bound = np.linalg.norm(W, 2), certify._operator_norm(arb_mat(np.c_[W, W[:, :1]].tolist()))
    assert true * (1 - 1e-12) <= float(bound) < 1.2 * true
    assert float(certify._norm([arb(3), arb(0, 4)])) == pytest.approx(5)
    assert certify._norm([arb(0, 1)]) >= 1


def test_numbers_leave_the_balls_on_the_safe_side():
    third = arb(1) / 3
    assert arb(certify._round_down(third)) < third < arb(certify._round_up(third))
    assert certify._round_up(arb("1e400")) == np.inf
    assert certify._round_down(arb("1e400")) == np.finfo(float).max
    assert certify._round_down(arb("1e-400")) <= 0 < certify._round_up(arb("1e-400"))


def test_certificates_print_bounds():
    rank = certify.FullRank(rank=8, sigma_min=0.19999, precision=128)
    assert str(rank) == "proved in 128-bit balls: rank D = QN = 8, σ_min(D) ≥ 0.199"
    net, X, Y = problem()
    zero = certify.zero_exists(net, zl.minimizers.pull_back(net, X, Y), X, Y)
    shown = str(dataclasses.replace(zero, radius=1.2301e-17, sigma_min=2.0))
    assert shown == (
        "proved in 128-bit balls: x[θ*] = y for some θ* within 1.24e-17 of params, σ_min(D) ≥ 2"
    )
    assert "arb" not in repr(zero) and zero.params[0].W.shape == (6, 5)


# --- refusals ------------------------------------------------------------------------------------


def test_underparametrized_networks_are_refused():
    net, X, Y = problem(widths=(1, 1, 3), N=4)
    params = net.init(jax.random.key(0))
    sentence = r"needs an overparametrized network, K ≥ QN: K = 8, but QN = 12 is needed"
    with pytest.raises(zl.HypothesisError, match=sentence):
        certify.full_rank(net, params, X)
    with pytest.raises(zl.HypothesisError, match=sentence):
        certify.zero_exists(net, params, X, Y)


def test_arguments_are_checked():
    net, X, Y = problem()
    params = net.init(jax.random.key(0))
    broken = (params[0]._replace(W=params[0].W.at[0, 0].set(jnp.nan)), *params[1:])
    for bad, sentence in [
        ((net, broken, X, Y), r"params\[0\].W contains NaN"),
        ((net, params[:2], X, Y), "params has shapes"),
        ((net, params, X.at[0, 0].set(jnp.inf), Y), "X contains NaN or infinity"),
        ((net, params, X[:4], Y), r"X has shape \(4, 4\)"),
        ((net, params, X[:, :0], Y), "X must be a non-empty matrix"),
        ((net, params, X, Y[:1]), r"Y has shape \(1, 4\)"),
        ((net, params, X.astype(jnp.float32), Y), "X has dtype float32"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            certify.zero_exists(*bad)
    for bad in (broken, params[:2]):
        with pytest.raises(ValueError, match="params"):
            certify.full_rank(net, bad, X)


def test_an_activation_is_not_known_by_its_name():
    net, X, _ = problem()
    liar = dataclasses.replace(zl.activations.tanh, function=jnp.sin)
    other = zl.Network(net.widths, liar)
    with pytest.raises(ValueError, match="nothing about it can be proved"):
        certify.full_rank(other, net.init(jax.random.key(0)), X)


def test_equal_numbers_make_equal_activations():
    assert zl.activations.leaky_relu() == zl.activations.leaky_relu(slope=0.125)
    assert zl.activations.mollified_relu() == zl.activations.mollified_relu(0.1)
    assert zl.activations.leaky_relu(0.5) != zl.activations.leaky_relu(0.25)


def test_the_error_says_it_all_and_can_be_pickled():
    error = pickle.loads(pickle.dumps(zl.CertificateError("x > 0", "It is 0 ± 1.", "Try: y.")))
    assert str(error) == "Not proved: x > 0. It is 0 ± 1. Try: y."
    assert (error.claim, error.reason, error.advice) == ("x > 0", "It is 0 ± 1.", "Try: y.")
    assert isinstance(error, ArithmeticError)
