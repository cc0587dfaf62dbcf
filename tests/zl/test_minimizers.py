"""The explicit minimizers reach zero loss, as exactly as the data allow, or say why they cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zl
from zl.minimizers import first_layer, pull_back

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

EPS = np.finfo(float).eps
KEY = jax.random.key(3)
NAMES = ["identity", "leaky_relu", "mollified_relu", "relu", "sigmoid", "sin", "softplus", "tanh"]
each_activation = pytest.mark.parametrize("name", NAMES)


def normal(M0, N, Q, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(M0, N)), rng.normal(size=(Q, N))


def with_condition(M0, N, cond, seed=0):
    """Inputs whose singular values fall geometrically from 1 to 1/cond."""
    U, _, Vt = np.linalg.svd(normal(M0, N, 1, seed)[0], full_matrices=False)
    return (U * np.geomspace(1, 1 / cond, len(Vt))) @ Vt


def augmented(X):
    """[X; c 1ᵀ], c the size of the data: what the first layer has to solve with."""
    return np.vstack([X, np.full((1, X.shape[1]), abs(X).max() or 1.0)])


def relative_residual(net, params, X, Y):
    outputs = X
    for W, b in params[:-1]:
        outputs = net.activation(np.asarray(W) @ outputs + np.asarray(b)[:, None])
    outputs = np.asarray(params[-1].W) @ outputs + np.asarray(params[-1].b)[:, None]
    return np.linalg.norm(outputs - Y) / (np.linalg.norm(Y) or 1.0)


def attainable(net, X, fill=1e-2):
    """The relative residual that rounding allows, up to a constant.

    The first layer solves with [X; c 1ᵀ] backward stably, so it loses eps·cond. Each layer adds
    features of size σ(0) ± fill whose differences carry the labels, so it loses eps/fill at most.
    """
    return 4 * EPS * (np.linalg.cond(augmented(X)) + (net.L + 1) / fill)


def check_zero_loss(net, X, Y, **options):
    params = pull_back(net, X, Y, **options)
    assert relative_residual(net, params, X, Y) <= attainable(net, X)
    return params


X, Y = normal(6, 5, 2)
NET = zl.Network((6, 4, 3, 2), "tanh")


# --- the first layer -------------------------------------------------------------------------


@pytest.mark.parametrize("M0, N", [(10, 5), (5, 6), (4, 5), (1, 2), (3, 1)])
@pytest.mark.parametrize("cond", [1.0, 1e4, 1e8, 1e12])
def test_first_layer_is_backward_stable_at_every_condition_number(M0, N, cond):
    inputs, Z = with_condition(M0, N, cond), normal(1, N, 3)[1]
    W, b = map(np.asarray, first_layer(inputs, Z))
    assert (W.shape, b.shape, W.dtype) == ((3, M0), (3,), "float64")
    residual = np.linalg.norm(W @ inputs + b[:, None] - Z)
    size = np.linalg.norm(W) * np.linalg.norm(inputs) + np.linalg.norm(b) * np.sqrt(N)
    assert residual <= 4 * EPS * size


@pytest.mark.parametrize("exponent", range(18))
def test_inputs_are_independent_as_their_singular_values_say(exponent, monkeypatch):
    inputs, Z = with_condition(20, 15, 10.0**exponent), normal(1, 15, 3)[1]
    rank = zl.numerical_rank(augmented(inputs))
    if rank < 15:
        with pytest.raises(zl.HypothesisError, match=f"= {rank}, but"):
            first_layer(inputs, Z)
    else:
        if exponent < 8:  # norms decide, in a fraction of the time
            monkeypatch.delattr("zl.minimizers.regression.numerical_rank")
        first_layer(inputs, Z)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_first_layer_is_the_solution_of_least_norm_in_any_units(unit):
    Z = normal(1, 5, 3)[1]
    W, b = map(np.asarray, first_layer(unit * X, Z))
    A = augmented(unit * X)
    least = Z @ np.linalg.pinv(A)
    np.testing.assert_allclose(unit * W, unit * least[:, :-1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(b, A[-1, 0] * least[:, -1], rtol=1e-9, atol=1e-12)


# --- zero loss -------------------------------------------------------------------------------


@each_activation
@pytest.mark.parametrize("L", range(11))
def test_pull_back_reaches_zero_at_every_depth(name, L):
    net = zl.Network((6, *[3] * L, 2), name)
    for key in (None, KEY):
        params = check_zero_loss(net, X, Y, key=key)
        assert float(zl.cost(net, params, X, Y)) <= 1e-24
        assert all(a.dtype == "float64" for a in jax.tree.leaves(params))


def test_pull_back_reaches_zero_through_a_thousand_tanh_layers():
    net = zl.Network((6, *[3] * 1000, 2), "tanh")
    assert float(zl.cost(net, pull_back(net, X, Y), X, Y)) <= 1e-24


@settings(max_examples=20)
@given(st.data())
def test_any_widths_of_at_least_Q_do_whether_they_grow_or_shrink(data):
    Q, N = data.draw(st.sampled_from([1, 2])), data.draw(st.sampled_from([1, 5, 7]))
    hidden = data.draw(st.lists(st.integers(Q, 4), max_size=5))
    net = zl.Network((6, *hidden, Q), data.draw(st.sampled_from(NAMES)))
    inputs, labels = normal(6, N, Q, seed=data.draw(st.integers(0, 2**32)))
    labels = labels * 10.0 ** data.draw(st.integers(-9, 9)) + data.draw(st.sampled_from([0, 1]))
    check_zero_loss(net, inputs, labels, key=data.draw(st.sampled_from([None, KEY])))


@each_activation
@pytest.mark.parametrize("N", [1, 7])
def test_from_one_sample_to_one_more_than_the_input_dimension(name, N):
    check_zero_loss(zl.Network((6, 3, 3, 2), name), *normal(6, N, 2))


@each_activation
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e-9, 1e9])
def test_labels_that_do_not_vary_are_met_to_the_last_digits_at_every_depth(name, constant):
    net, labels = zl.Network((6, *[3] * 10, 2), name), np.full((2, 7), constant)
    inputs, _ = normal(6, 7, 2)
    params = pull_back(net, inputs, labels)
    assert relative_residual(net, params, inputs, labels) <= 100 * EPS
    sizes = [np.linalg.norm(W, 2) for W, _ in params[1:]]  # neither noise blown up nor no weights
    np.testing.assert_allclose(sizes, [1.0] * 9 + [abs(constant) or 1.0])


@each_activation
def test_one_constant_output_does_not_disturb_the_others(name):
    net, labels = zl.Network((6, 3, 3, 2), name), np.vstack([Y[0], np.ones(5)])
    check_zero_loss(net, X, labels)


@each_activation
@pytest.mark.parametrize("scale, shift", [(1e-12, 0), (1e12, 0), (1, 1e3), (1e-3, 1)])
def test_units_and_origin_of_the_inputs_cost_no_more_than_conditioning(name, scale, shift):
    inputs = scale * X + shift
    check_zero_loss(zl.Network((6, 3, 3, 2), name), inputs, Y)
    if shift == 0:  # the size of the data is the unit of the ones: conditioning is unchanged
        ratio = np.linalg.cond(augmented(inputs)) / np.linalg.cond(augmented(X))
        assert ratio == pytest.approx(1)


def test_a_single_sample_may_even_be_zero():
    check_zero_loss(NET, np.zeros((6, 1)), Y[:, :1])


@each_activation
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_loss_scales_with_the_square_of_the_labels(name, scale):
    net = zl.Network((6, 3, 3, 2), name)
    assert float(zl.cost(net, pull_back(net, X, scale * Y), X, scale * Y)) <= 1e-24 * scale**2


@each_activation
@pytest.mark.parametrize("cond", [1e2, 1e5, 1e8, 1e11])
def test_ill_conditioned_inputs_cost_eps_times_their_condition_number(name, cond):
    inputs = with_condition(6, 5, cond)
    check_zero_loss(zl.Network((6, 3, 3, 2), name), inputs, Y)


def test_real_spectra_are_fitted_to_zero():
    spectra, countries = zl.data.coffee_spectra()
    net = zl.Network((1841, 5, 4, 3), "tanh")
    params = check_zero_loss(net, spectra, countries)
    assert float(zl.cost(net, params, spectra, countries)) <= 1e-24


@pytest.mark.parametrize("fill", [1e-6, 1e-3, 0.5, 0.99])
def test_any_fill_does_in_a_shallow_tanh_network(fill):
    params = pull_back(NET, X, Y, fill=fill)
    assert float(zl.cost(NET, params, X, Y)) <= 1e-24
    features = NET.layers(params, X)[0][-1]
    assert float(jnp.abs(features).max()) == pytest.approx(fill)


@pytest.mark.filterwarnings("always::RuntimeWarning")
def test_a_fill_that_rounding_cannot_follow_warns_where_it_was_called():
    net = zl.Network((6, *[3] * 1000, 2), "tanh")
    with pytest.warns(RuntimeWarning, match=r"spoilt.* fill = 0.5 and L = 1000") as warned:
        pull_back(net, X, Y, fill=0.5)
    assert warned[0].filename == __file__


def on_a_line(N, Q):
    return np.outer(np.arange(1.0, Q + 1), np.arange(N) % 2)


@pytest.mark.parametrize("name", ["tanh", "softplus"])
@pytest.mark.parametrize(
    "labels, width",
    [
        (np.eye(3)[:, [0, 1, 2, 1, 0]], 2),  # one-hot labels of three classes lie in a plane
        (on_a_line(5, 4), 1),
        (on_a_line(5, 4) + 1e6, 1),
        (normal(1, 5, 9)[1], 4),  # five labels span four dimensions at most
        (np.full((3, 5), 0.1), 1),
    ],
    ids=["one-hot", "line", "line far from 0", "few samples", "constant"],
)
def test_widths_below_Q_do_when_the_labels_span_no_more(name, labels, width):
    for key in (None, KEY):
        net = zl.Network((6, width + 1, width, width + 2, len(labels)), name)
        check_zero_loss(net, X, labels, key=key)


def test_zero_loss_with_fewer_parameters_than_equations():
    net, inputs = zl.Network((4, 1, 2), "tanh"), normal(4, 5, 1)[0]
    assert net.K == 9 < net.Q * 5
    check_zero_loss(net, inputs, np.eye(2)[:, [0, 1, 1, 0, 1]])


# --- the parameters --------------------------------------------------------------------------


def test_keys_give_different_minimizers_and_no_key_always_the_same():
    minimizers = [pull_back(NET, X, Y, key=k) for k in (None, KEY, jax.random.key(4))]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        for a, b in zip(minimizers[one], minimizers[other], strict=True):
            assert not np.allclose(a.W, b.W)
    for again, key in ((pull_back(NET, X, Y), None), (pull_back(NET, X, Y, key=KEY), KEY)):
        first = minimizers[0 if key is None else 1]
        assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(first)))


@pytest.mark.parametrize("widths", [(6, 4, 4, 3, 2), (6, 2, 5, 3, 2), (6, 3, 4, 6, 6, 2), (6, 2)])
@pytest.mark.parametrize("key", [None, KEY], ids=["identities", "random"])
def test_later_weights_have_the_largest_rank_that_their_shape_allows(widths, key):
    params = check_zero_loss(zl.Network(widths, "sigmoid"), X, Y, key=key)
    assert [W.shape for W, _ in params] == list(zip(widths[1:], widths[:-1], strict=True))
    for W, _ in params[1:]:
        assert np.linalg.matrix_rank(W) == min(W.shape)


def test_random_weights_of_a_narrowing_network_have_orthogonal_rows():
    for W, _ in pull_back(NET, X, Y, key=KEY)[1:]:
        gram = np.asarray(W @ W.T)
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(len(gram)), atol=1e-12 * gram[0, 0])


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "mollified_relu"])
def test_every_minimizer_is_a_regular_point(name):
    net = zl.Network(NET.widths, name)
    for key in (None, KEY):
        jacobians = jax.jit(jax.jacrev(net.apply))(pull_back(net, X, Y, key=key), X)
        D = np.hstack([np.reshape(J, (2 * 5, -1)) for J in jax.tree.leaves(jacobians)])
        assert D.shape == (2 * 5, net.K)
        assert zl.numerical_rank(D, rtol=1e-6) == 2 * 5


@each_activation
def test_hidden_features_stay_where_the_activation_is_a_diffeomorphism(name):
    net = zl.Network((6, 3, 3, 2), name)
    (_, *features), (*preactivations, _) = net.layers(pull_back(net, X, Y), X)
    (low, high), (centre, half_width) = net.activation.domain, net.activation.window
    for Z, F in zip(preactivations, features, strict=True):
        assert low < Z.min() and Z.max() < high
        assert float(jnp.abs(F - centre).max()) == pytest.approx(1e-2 * half_width, rel=1e-6)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("widths, layer, width", [((6, 4, 2, 3), 2, 2), ((6, 1, 3, 3), 1, 1)])
def test_a_layer_narrower_than_the_labels_need_is_named(widths, layer, width):
    inputs, labels = normal(6, 5, 3)
    with pytest.raises(zl.HypothesisError, match=r"Theorem 2\.1.* needs hidden widths") as error:
        pull_back(zl.Network(widths), inputs, labels)
    assert error.value.found == f"M_{layer} = {width}"
    assert "rank (Y - ȳ1ᵀ) = 3" in error.value.needed and "Q = 3" in error.value.needed
    assert f"widen layer {layer} to 3" in error.value.advice


def refused(inputs, labels, message):
    """Both constructions refuse these inputs, each in the name of its own theorem."""
    M0, Q = len(inputs), len(labels)
    for theorem, call in {
        "first layer's lemma": lambda: first_layer(inputs, labels),
        "Theorem 2.1": lambda: pull_back(zl.Network((M0, Q, Q)), inputs, labels),
    }.items():
        with pytest.raises(zl.HypothesisError, match="needs affinely independent inputs") as error:
            call()
        assert theorem in error.value.theorem
        assert all(part in str(error.value) for part in message)


def test_digits_are_refused_with_their_rank():
    refused(*zl.data.digits(64), ["rank [X; 1] = 52", "N = 64"])


def test_a_repeated_sample_is_refused():
    refused(X[:, [0, 1, 2, 0]], Y[:, :4], ["rank [X; 1] = 3", "N = 4"])


def test_points_on_a_line_are_refused():
    line = np.outer([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]) + 5
    refused(line, Y[:, :3], ["rank [X; 1] = 2", "N = 3"])


def test_more_samples_than_the_input_dimension_allows_are_refused():
    refused(*normal(6, 8, 2), ["rank [X; 1] = 7", "N = 8", "N ≤ M0 + 1 = 7"])


SPOILT = {
    "NaN": (lambda A: np.where(A == A[0, 0], np.nan, A), "contains NaN or infinity"),
    "inf": (lambda A: np.where(A == A[0, 0], np.inf, A), "contains NaN or infinity"),
    "no samples": (lambda A: A[:, :0], "must be a non-empty matrix"),
    "no rows": (lambda A: A[:0], "must be a non-empty matrix"),
    "vector": (lambda A: A[0], "must be a non-empty matrix"),
    "cube": (lambda A: A[None], "must be a non-empty matrix"),
    "single": (np.float32, "has dtype float32, but double precision is needed"),
    "complex": (lambda A: A + 0j, "has dtype complex128"),
    "ragged": (lambda A: [[1.0, 2.0], [3.0]], "is not an array"),
    "nothing": (lambda A: None, "has dtype object"),
}


@pytest.mark.parametrize("spoil, complaint", SPOILT.values(), ids=SPOILT)
def test_what_is_not_a_finite_double_matrix_is_refused_by_name(spoil, complaint):
    for call, name in [
        (lambda: pull_back(NET, spoil(X), Y), "X"),
        (lambda: pull_back(NET, X, spoil(Y)), "Y"),
        (lambda: first_layer(spoil(X), Y), "X"),
        (lambda: first_layer(X, spoil(Y)), "Z"),
    ]:
        with pytest.raises(ValueError, match=f"^{name} {complaint}"):
            call()


@pytest.mark.parametrize(
    "inputs, labels, complaint",
    [
        (X.T, Y, r"X has shape \(5, 6\), but \(6, any\) is needed"),
        (X, Y.T, r"Y has shape \(5, 2\), but \(2, 5\) is needed"),
        (X, Y[:1], r"Y has shape \(1, 5\), but \(2, 5\) is needed"),
        (X, Y[:, :4], r"Y has shape \(2, 4\), but \(2, 5\) is needed"),
        (Y, X, r"X has shape \(2, 5\), but \(6, any\) is needed"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_name(inputs, labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        pull_back(NET, inputs, labels)
    with pytest.raises(ValueError, match=r"Z has shape \(2, 4\), but \(any, 5\) is needed"):
        first_layer(X, Y[:, :4])


@pytest.mark.parametrize("fill", [0, 1, -0.1, 2, np.nan, np.inf])
def test_fills_outside_the_unit_interval_are_refused(fill):
    with pytest.raises(ValueError, match=r"fill must lie in \(0, 1\)"):
        pull_back(NET, X, Y, fill=fill)


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, np.rint])
def test_single_precision_mode_is_refused_with_the_remedy(kind):
    with jax.enable_x64(False):
        for call in (lambda: pull_back(NET, kind(X), Y), lambda: first_layer(kind(X), Y)):
            with pytest.raises(ValueError, match=r"^X would be .*call zl\.enable_x64"):
                call()


def test_lists_and_integers_are_taken_as_they_are():
    assert all(
        map(
            np.array_equal,
            jax.tree.leaves(pull_back(NET, X.tolist(), Y.tolist())),
            jax.tree.leaves(pull_back(NET, jnp.asarray(X), jnp.asarray(Y))),
        )
    )
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
    classes = np.eye(2, dtype=int)[:, [0, 1, 0, 1, 1]]
    check_zero_loss(NET, pixels, classes)
