"""The training Jacobian from its layered formula, and what features and signals say of its rank."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import zl
from zl.jacobian import jacobian_rank

zl.enable_x64()

N = 6
SHAPES = [
    ((5, 4, 3), "tanh"),
    ((5, 7, 6, 2), "softplus"),
    ((3, 7, 7, 1), "relu"),
    ((3, 2), "tanh"),
]
few = settings(max_examples=12, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
networks = st.sampled_from([zl.Network(*shape) for shape in SHAPES])


def draw(net, seed, N=N):
    """Random parameters (biases too) and inputs, without a compilation."""
    rng = np.random.default_rng(seed)
    params = tuple(
        zl.Layer(rng.normal(size=(m, n)) / np.sqrt(n), 0.3 * rng.normal(size=m))
        for n, m in zip(net.widths, net.widths[1:], strict=False)
    )
    return params, rng.normal(size=(net.M0, N)), rng


@functools.partial(jax.jit, static_argnums=0)
def by_autodiff(net, params, X):
    flat, unravel = ravel_pytree(params)
    return jax.jacrev(lambda theta: net.apply(unravel(theta), X).T.ravel())(flat)


def block(net, D, l):
    """The columns of D that belong to layer l."""
    sizes = [m * (n + 1) for n, m in zip(net.widths, net.widths[1:], strict=False)]
    return D[:, sum(sizes[: l - 1]) : sum(sizes[:l])]


def lossy(W, rank):
    """W with all but its largest singular values removed."""
    U, s, V = np.linalg.svd(W, full_matrices=False)
    return (U[:, :rank] * s[:rank]) @ V[:rank]


def singular_values(A):
    return np.linalg.svd(A, compute_uv=False)


@few
@given(networks, seeds)
def test_jacobian_and_kernel_are_those_of_automatic_differentiation(net, seed):
    params, X, _ = draw(net, seed)
    D = np.asarray(by_autodiff(net, params, X))
    np.testing.assert_allclose(zl.training_jacobian(net, params, X), D, rtol=0, atol=1e-13)
    kernel = D @ D.T
    np.testing.assert_allclose(
        zl.ntk(net, params, X), kernel, rtol=0, atol=1e-10 * np.linalg.norm(kernel, 2)
    )
    for l, B in enumerate(zl.backward_signals(net, params, X), start=1):
        biases = block(net, D, l)[:, -net.widths[l] :]
        np.testing.assert_allclose(B.reshape(biases.shape), biases, rtol=0, atol=1e-13)


def test_kernel_within_jit_and_for_other_shapes_of_params():
    net = zl.Network((5, 4, 3))
    params, X, _ = draw(net, 0)
    expected = zl.ntk(net, params, X)
    within = jax.jit(zl.ntk, static_argnums=0)(net, params, X)
    np.testing.assert_allclose(within, expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(zl.ntk(net, [tuple(layer) for layer in params], X), expected)


def sizes_of_intermediates(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                yield from sizes_of_intermediates(inner)


@pytest.mark.parametrize("Q", [1, 3])
def test_kernel_never_forms_the_jacobian(Q):
    net = zl.Network((64, 64, 64, Q))
    params, X, _ = draw(net, 0, N=20)
    jaxpr = jax.make_jaxpr(zl.ntk, static_argnums=0)(net, params, X).jaxpr
    layers = max(Q * 20 * 64, 64 * 64)
    assert 20 * 64 <= max(sizes_of_intermediates(jaxpr)) <= max((Q * 20) ** 2, layers)


@few
@given(seeds)
def test_weights_of_one_output_are_a_khatri_rao_product(seed):
    net = zl.Network((3, 7, 7, 1), "relu")
    params, X, _ = draw(net, seed)
    D = zl.training_jacobian(net, params, X)
    signals, Xs = zl.backward_signals(net, params, X), net.layers(params, X)[0]
    for l, (B, x) in enumerate(zip(signals, Xs, strict=True), start=1):
        columns = zl.khatri_rao(B[:, 0, :], x.T)
        np.testing.assert_allclose(block(net, D, l)[:, : columns.shape[1]], columns, atol=1e-13)


@few
@given(seeds, st.integers(1, 5), st.sampled_from([None, 0, 3]))
def test_rank_of_a_khatri_rao_product(seed, k, vanishing):
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(5, 7)), rng.normal(size=(5, k))
    if vanishing is not None:
        B[vanishing] = 0.0
    product = np.asarray(zl.khatri_rao(A, B))
    np.testing.assert_allclose(
        product, [np.kron(a, b) for a, b in zip(A, B, strict=True)], rtol=1e-15
    )
    assert zl.numerical_rank(product) == 5 - (vanishing is not None)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    networks,
    seeds,
    st.sampled_from(["generic", "repeated inputs", "lossy W", "dead neurons", "zero W"]),
)
def test_rank_formula(net, seed, kind):
    """Affinely independent features give rank D_l = Σᵢ rank Bᵢ, and full ranks give QN."""
    params, X, rng = draw(net, seed)
    l = int(rng.integers(len(params)))
    W, b = params[l]
    if kind == "repeated inputs":
        X[:, 1] = X[:, 0]
    changed = {
        "lossy W": zl.Layer(lossy(W, 1), b),
        "dead neurons": zl.Layer(W, b - 10.0 * (rng.random(len(b)) < 0.6)),
        "zero W": zl.Layer(0 * W, b),
    }
    params = (*params[:l], changed.get(kind, params[l]), *params[l + 1 :])
    D = zl.training_jacobian(net, params, X)
    ranks = zl.layer_ranks(net, params, X)
    assert [r.layer for r in ranks] == list(range(1, net.L + 2))
    for r in ranks:
        assert len(r.signals) == N and max(r.signals) <= net.Q
        assert (r.block is None) == (r.features < N)
        if r.block is not None:
            assert r.block == sum(r.signals) == zl.numerical_rank(block(net, D, r.layer))
    rank = jacobian_rank(net, params, X)
    assert rank == zl.numerical_rank(D)
    if ranks.proof is None:
        assert rank.test == "singular values of D"
        np.testing.assert_allclose(rank.verdict.singular_values, singular_values(D), atol=1e-12)
    else:
        assert rank == net.Q * N and rank.test == f"rank formula, layer {ranks.proof}"
        assert rank.verdict is not None and rank.verdict.proves_full_rank


@few
@given(seeds, st.integers(0, 2), st.integers(1, 3))
def test_exact_rank_with_one_hidden_layer(seed, output_rank, neurons):
    """rank D = QN - (Q - rank W₂)(N - rank [X⁽¹⁾; 1ᵀ]); `neurons` of M₁ = 3 are different."""
    net, N = zl.Network((7, 3, 2)), 8
    (first, last), X, _ = draw(net, seed, N=N)
    copies = [min(m, neurons - 1) for m in range(3)]
    first = zl.Layer(first.W[copies], first.b[copies])
    params = (first, zl.Layer(lossy(last.W, output_rank), last.b))
    features = zl.layer_ranks(net, params, X)[1].features
    assert features == neurons + 1
    D = zl.training_jacobian(net, params, X)
    assert zl.numerical_rank(D) == 2 * N - (2 - output_rank) * (N - features)


def test_a_weight_matrix_can_lose_rank_while_the_jacobian_keeps_it():
    net = zl.Network((5, 7, 6, 2), "softplus")
    params, X, _ = draw(net, 3)
    params = (params[0], zl.Layer(lossy(params[1].W, 1), params[1].b), params[2])
    ranks = zl.layer_ranks(net, params, X)
    assert ranks[0].signals == (1,) * N and not ranks[0].proves_full_rank
    assert ranks.proof == 2
    assert zl.numerical_rank(zl.training_jacobian(net, params, X)) == 2 * N


def test_rounding_is_not_taken_for_rank():
    net, rng = zl.Network((5, 4, 4, 1), "identity"), np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    W1, onto, off = rng.normal(size=(4, 5)), Q[:, :2], Q[:, 2:]
    # W₃W₂ = 0 up to rounding: the signals of layer 1 are noise.
    W2, last = onto @ rng.normal(size=(2, 4)), zl.Layer(off[:, :1].T, np.ones(1))
    params, X = (zl.Layer(W1, np.ones(4)), zl.Layer(W2, np.ones(4)), last), rng.normal(size=(5, 4))
    assert 0 < np.abs(zl.backward_signals(net, params, X)[0]).max() < 1e-14
    assert zl.layer_ranks(net, params, X)[0].signals == (0,) * 4
    # W₂W₁X = 0 up to rounding: the features of layer 2 are noise, around 0 or around 1.
    X = np.linalg.lstsq(W1, onto @ rng.normal(size=(2, 4)))[0]
    for b2 in (np.zeros(4), np.ones(4)):
        params = (zl.Layer(W1, np.zeros(4)), zl.Layer(off @ off.T, b2), last)
        noise = np.asarray(net.layers(params, X)[0][2]) - b2[:, None]
        assert 0 < np.abs(noise).max() < 1e-14
        assert zl.layer_ranks(net, params, X)[2].features == 1


@settings(max_examples=20, deadline=None, derandomize=True)
@given(networks, seeds, st.floats(0.3, 2.0))
def test_lower_bound_of_the_kernel(net, seed, gain):
    params, X, _ = draw(net, seed)
    params = tuple(zl.Layer(gain * W, b) for W, b in params)
    bound = zl.ntk_lower_bound(net, params, X)
    smallest, *_, largest = np.linalg.eigvalsh(zl.ntk(net, params, X))
    assert isinstance(bound, float) and bound >= 0
    assert bound <= smallest + 1e-14 * largest
    if zl.layer_ranks(net, params, X).proof is not None:
        assert bound > 0


def test_lower_bound_is_attained_without_hidden_layers():
    net = zl.Network((7, 2))
    params, X, _ = draw(net, 0)
    smallest = np.linalg.eigvalsh(zl.ntk(net, params, X))[0]
    assert zl.ntk_lower_bound(net, params, X) == pytest.approx(smallest, rel=1e-10)


def test_lower_bound_sees_below_the_rounding_of_the_kernel():
    net = zl.Network((7, 2))
    params, X, _ = draw(net, 0)
    X[:, 1] = X[:, 0] + 1e-11 * X[:, 2]
    bound = zl.ntk_lower_bound(net, params, X)
    assert 0 < bound < 1e-21  # where eigenvalues of the NTK are rounded to multiples of 1e-15


@few
@given(networks.filter(lambda net: net.L), seeds)
def test_kernel_does_not_see_the_order_of_neurons(net, seed):
    params, X, rng = draw(net, seed)
    first, second, *rest = params
    order = rng.permutation(net.widths[1])
    permuted = (zl.Layer(first.W[order], first.b[order]), zl.Layer(second.W[:, order], second.b))
    expected = np.asarray(zl.ntk(net, params, X))
    np.testing.assert_allclose(
        zl.ntk(net, (*permuted, *rest), X), expected, rtol=0, atol=1e-13 * np.abs(expected).max()
    )


@few
@given(seeds)
def test_rescaling_relu_neurons_keeps_outputs_and_rank(seed):
    net = zl.Network((3, 7, 7, 1), "relu")
    params, X, rng = draw(net, seed)
    c = np.exp(rng.normal(size=7))
    first, second, last = params
    scaled = (zl.Layer(c[:, None] * first.W, c * first.b), zl.Layer(second.W / c, second.b), last)
    np.testing.assert_allclose(net.apply(scaled, X), net.apply(params, X), rtol=0, atol=1e-13)
    D, E = (zl.training_jacobian(net, p, X) for p in (params, scaled))
    assert zl.numerical_rank(D) == zl.numerical_rank(E)
    # The outputs are constant along the rescaling: one parameter a neuron changes nothing.
    speed = (
        zl.Layer(first.W * c[:, None], first.b * c),
        zl.Layer(-second.W * c, 0 * second.b),
        zl.Layer(0 * last.W, 0 * last.b),
    )
    assert np.abs(D @ ravel_pytree(speed)[0]).max() < 1e-12


GOOD = (zl.Layer(np.ones((3, 4)), np.ones(3)), zl.Layer(np.ones((2, 3)), np.ones(2)))
BAD = {
    "X has shape": (GOOD, np.ones((5, 6))),
    "X must be a non-empty matrix": (GOOD, np.ones((4, 0))),
    "X contains NaN": (GOOD, np.full((4, 6), np.nan)),
    "X has dtype float32": (GOOD, np.ones((4, 6), np.float32)),
    "params has shapes": (GOOD[:1], np.ones((4, 6))),
    "params must be a tuple of Layer": (GOOD[0], np.ones((4, 6))),
    r"params\[1\].W contains NaN": (
        (GOOD[0], GOOD[1]._replace(W=GOOD[1].W * np.inf)),
        np.ones((4, 6)),
    ),
    r"params\[0\].b has dtype float32": (
        (GOOD[0]._replace(b=np.ones(3, np.float32)), GOOD[1]),
        np.ones((4, 6)),
    ),
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.parametrize(
    "function",
    [
        zl.backward_signals,
        zl.training_jacobian,
        zl.ntk,
        zl.layer_ranks,
        zl.ntk_lower_bound,
        jacobian_rank,
        zl.landscape.dimension,
        zl.landscape.tangent_space,
    ],
)
def test_arguments_are_checked(function, message):
    with pytest.raises(ValueError, match=message):
        function(zl.Network((4, 3, 2)), *BAD[message])


@pytest.mark.parametrize(
    ("A", "B", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 3)), "B has 3 rows"),
        (np.ones(2), np.ones((2, 3)), "A must be a non-empty matrix"),
        (np.ones((2, 3)), np.ones((2, 3), np.float32), "B has dtype float32"),
        (jnp.full((2, 3), jnp.inf), np.ones((2, 3)), "A contains NaN or infinity"),
    ],
)
def test_factors_are_checked(A, B, message):
    with pytest.raises(ValueError, match=message):
        zl.khatri_rao(A, B)
