"""A network computes what the book's setting says, and refuses what does not fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zl

BY_HAND = {"tanh": np.tanh, "sin": np.sin, "relu": lambda z: np.maximum(z, 0)}
NET = zl.Network((5, 10, 6, 2), "tanh")
PARAMS = NET.init(jax.random.key(0))
X, Y = (jnp.asarray(A) for A in np.split(np.random.default_rng(1).normal(size=(7, 6)), [5]))
GRADIENT = jax.jit(jax.grad(zl.cost, argnums=1), static_argnums=0)


def perturbed(params, seed=2):
    """The same shapes with biases that are not zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), params)


@pytest.mark.parametrize(
    "widths, L, K",
    [((1, 1), 0, 2), ((4, 3, 2), 1, 23), ((30, 30, 30, 4), 2, 1984), ((1, 1, 1, 1, 1), 3, 8)],
)
def test_K_counts_the_parameters(widths, L, K):
    net = zl.Network(widths)
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert (net.L, net.K, net.M0, net.Q) == (L, K, widths[0], widths[-1])
    assert sum(a.size for a in jax.tree.leaves(params)) == K
    assert len(params) == L + 1


def test_init_has_the_documented_variance_and_depends_on_the_key():
    net, gain = zl.Network((400, 300, 200)), 3.0
    for layer, fan_in in zip(net.init(jax.random.key(0), gain), (400, 300), strict=True):
        assert np.std(layer.W) == pytest.approx(gain / np.sqrt(fan_in), rel=0.02)
        assert not layer.b.any()
    assert np.array_equal(NET.init(jax.random.key(0))[0].W, PARAMS[0].W)
    assert not np.array_equal(NET.init(jax.random.key(1))[0].W, PARAMS[0].W)


@pytest.mark.parametrize("name", BY_HAND)
def test_apply_and_layers_agree_with_a_pass_written_by_hand(name):
    net, params = zl.Network(NET.widths, name), perturbed(PARAMS)
    Xs, Zs = net.layers(params, X)
    assert len(Xs) == len(Zs) == len(params) == net.L + 1
    x = np.asarray(X)
    for entering, leaving, (W, b) in zip(Xs, Zs, params, strict=True):
        np.testing.assert_allclose(entering, x, rtol=1e-12, atol=1e-14)
        z = np.einsum("ij,jn->in", W, x) + np.asarray(b)[:, None]
        np.testing.assert_allclose(leaving, z, rtol=1e-12, atol=1e-14)
        x = BY_HAND[name](z)
    assert np.array_equal(net.apply(params, X), Zs[-1])  # no activation after the last layer


def test_cost_is_the_sum_of_squares_over_2N():
    outputs = np.asarray(NET.apply(PARAMS, X))
    by_hand = sum((outputs[q, i] - Y[q, i]) ** 2 for q in range(2) for i in range(6)) / 12
    assert float(zl.cost(NET, PARAMS, X, Y)) == pytest.approx(float(by_hand), rel=1e-13)
    assert zl.cost(NET, PARAMS, X, NET.apply(PARAMS, X)) == 0


def test_gradient_of_a_linear_network_is_the_residual_times_the_inputs():
    net = zl.Network((5, 2))
    ((W, b),) = params = perturbed(net.init(jax.random.key(0)))
    residual = np.asarray(W @ X + b[:, None] - Y)
    ((dW, db),) = GRADIENT(net, params, X, Y)
    np.testing.assert_allclose(dW, residual @ X.T / 6, rtol=1e-12)
    np.testing.assert_allclose(db, residual.mean(axis=1), rtol=1e-12)


def test_gradient_of_a_deep_network_is_the_slope_of_its_cost():
    params, direction = perturbed(PARAMS, 2), perturbed(PARAMS, 3)

    @jax.jit
    def along(t):
        return zl.cost(NET, jax.tree.map(lambda p, d: p + t * d, params, direction), X, Y)

    gradient = GRADIENT(NET, params, X, Y)
    slope = sum(jax.tree.leaves(jax.tree.map(np.vdot, gradient, direction)))
    h = 1e-5
    assert float(slope) == pytest.approx(float(along(h) - along(-h)) / (2 * h), rel=1e-7)


def test_equal_networks_hash_alike_and_compile_once():
    compiled = []

    def traced(net, params):
        compiled.append(net)
        return zl.cost(net, params, X, Y)

    jitted = jax.jit(traced, static_argnums=0)
    values = [float(jitted(zl.Network(w, "tanh"), PARAMS)) for w in (NET.widths, [*NET.widths])]
    assert compiled == [NET]
    assert values == pytest.approx([float(zl.cost(NET, PARAMS, X, Y))] * 2, rel=1e-13)
    assert hash(zl.Network(np.array(NET.widths), zl.activations.tanh)) == hash(NET)
    assert zl.Network(NET.widths, "sin") != NET != zl.Network((5, 10, 5, 2), "tanh")


def test_lists_are_taken_for_inputs_and_labels():
    assert zl.cost(NET, PARAMS, X.tolist(), Y.tolist()) == zl.cost(NET, PARAMS, X, Y)


@pytest.mark.parametrize(
    "widths",
    [(), (3,), 5, None, "32", (3, 0, 2), (3, -1, 2), (3, 2.5, 2), (3, np.nan, 2), (3, np.inf, 2)],
    ids=repr,
)
def test_widths_that_are_not_positive_integers_are_refused(widths):
    with pytest.raises(ValueError, match="widths must be"):
        zl.Network(widths)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="no activation is called 'gelu'"):
        zl.Network((3, 2), "gelu")


MISFITS = {
    "short": PARAMS[:2],
    "long": PARAMS + PARAMS[:1],
    "reversed": PARAMS[::-1],
    "transposed": tuple(zl.Layer(W.T, b) for W, b in PARAMS),
    "column b": tuple(zl.Layer(W, b[:, None]) for W, b in PARAMS),
    "triples": tuple((W, b, b) for W, b in PARAMS),
    "empty": (),
    "nothing": None,
    "number": 3.0,
    "lists": [([[1.0]], [1.0])],
}


@pytest.mark.parametrize("params", MISFITS.values(), ids=MISFITS)
def test_params_that_do_not_fit_are_refused_by_name(params):
    with pytest.raises(ValueError, match=r"^params"):
        NET.apply(params, X)


BAD = {
    "transposed": lambda A: A.T,
    "vector": lambda A: A[0],
    "scalar": lambda A: A[0, 0],
    "empty": lambda A: A[:, :0],
    "complex": lambda A: A + 0j,
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_inputs_and_labels_that_do_not_fit_are_refused_by_name(spoil):
    with pytest.raises(ValueError, match=r"^X has"):
        NET.apply(PARAMS, spoil(X))
    with pytest.raises(ValueError, match=r"^X has"):
        zl.cost(NET, PARAMS, spoil(X), Y)
    with pytest.raises(ValueError, match=r"^Y has"):
        zl.cost(NET, PARAMS, X, spoil(Y))


def test_labels_are_never_broadcast():
    with pytest.raises(ValueError, match=r"Y has shape \(2, 1\), but \(2, 6\) is needed"):
        zl.cost(NET, PARAMS, X, Y[:, :1])


OF_A_NETWORK = (zl.backward_signals, zl.training_jacobian, zl.ntk)


@pytest.mark.parametrize("name", ["tanh", "relu", "softplus"])
def test_numpy_computes_small_networks_as_compiled_functions_do(name):
    net = zl.Network(NET.widths, name)
    params = perturbed(PARAMS)
    for function in (net.layers, *(functools.partial(f, net) for f in OF_A_NETWORK)):
        found, compiled = function(params, X), jax.jit(function)(params, X)
        assert all(isinstance(a, jax.Array) for a in jax.tree.leaves(found))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13), found, compiled
        )


def test_a_small_network_of_a_new_shape_is_evaluated_without_compiling(caplog):
    def evaluate(widths, N):
        net = zl.Network(widths)
        x, y = zl.data.generic(jax.random.key(0), widths[0], N, widths[-1])
        params = net.init(jax.random.key(1))
        return zl.cost(net, params, x, y), [function(net, params, x) for function in OF_A_NETWORK]

    evaluate((4, 3, 2), 5)
    with jax.log_compiles():
        evaluate((5, 9, 4, 3), 7)
        assert "ompil" not in caplog.text
        jnp.ones((5, 9, 4, 3)) + 1
        assert "ompil" in caplog.text  # what the words above look like


def test_infinite_costs_and_single_precision_are_left_as_they_are():
    huge = jax.tree.map(lambda a: 1e200 * a, perturbed(PARAMS))
    assert zl.cost(NET, huge, X, Y) == np.inf
    single = jax.tree.map(lambda a: a.astype(jnp.float32), PARAMS)
    assert NET.apply(single, X.astype(jnp.float32)).dtype == jnp.float32
