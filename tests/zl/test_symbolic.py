"""Formulas agree with the numbers, and exact fits are exact."""

import itertools
import sys
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from flint import fmpq_mat
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import zl
from zl import Layer, symbolic

zl.enable_x64()

NAMES = ["identity", "leaky_relu", "mollified_relu", "relu", "sigmoid", "sin", "softplus", "tanh"]
EXACT = ["identity", "relu", "leaky_relu", "mollified_relu"]
PULLED = ["identity", "relu", "leaky_relu"]
RATIONAL = st.fractions(-9, 9, max_denominator=9)


def rationals(draw, rows, columns):
    return [[draw(RATIONAL) for _ in range(columns)] for _ in range(rows)]


def rank(rows):
    return fmpq_mat([[int(x) if isinstance(x, int) else symbolic._fmpq(x) for x in r] for r in rows]
                    ).rank()  # fmt: skip


# --- formulas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_output_and_jacobian_agree_with_the_network(name):
    widths, N = (2, 2, 2, 1) if "relu" in name else (2, 3, 2, 2), 2
    net = zl.Network(widths, name)
    params = jax.tree.map(lambda a: a + 0.1, net.init(jax.random.key(0)))
    X = jax.random.normal(jax.random.key(1), (2, N))
    flat, unravel = ravel_pytree(params)
    formula = symbolic.network(widths, name, N)
    assert len(formula.parameters) == net.K and formula.jacobian.shape == (net.Q * N, net.K)
    numbers = sp.lambdify(
        [list(formula.X), formula.parameters], [formula.output, formula.jacobian], "numpy", cse=True
    )
    output, jacobian = numbers(np.ravel(X), flat)
    stacked = lambda theta: net.apply(unravel(theta), X).T.ravel()  # noqa: E731
    np.testing.assert_allclose(output, net.apply(params, X), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(jacobian, jax.jit(jax.jacfwd(stacked))(flat), rtol=1e-12, atol=1e-14)


def test_the_jacobian_is_made_of_backward_signals():
    x, theta, _, D = symbolic.network((2, 1, 1), "tanh")
    w1, w2, b, v, _ = theta
    t = sp.tanh(w1 * x[0] + w2 * x[1] + b)
    signal = v * (1 - t**2)
    expected = sp.Matrix([[signal * x[0], signal * x[1], signal, t, 1]])
    assert (D - expected).applyfunc(sp.simplify) == sp.zeros(1, 5)


def test_symbols_have_readable_names():
    formula = symbolic.network((2, 1, 1), zl.activations.tanh, N=2)
    assert [s.name for s in formula.X] == ["x_1_1", "x_1_2", "x_2_1", "x_2_2"]
    names = ["W_1_1_1", "W_1_1_2", "b_1_1", "W_2_1_1", "b_2_1"]
    assert [s.name for s in formula.parameters] == names
    assert all(s.is_real for s in formula.parameters)
    assert [s.name for s in symbolic.network((2, 1), "relu").X] == ["x_1", "x_2"]


def test_numbers_in_activations_are_the_doubles_as_given():
    z = sp.Symbol("z")
    assert symbolic.activation(zl.activations.leaky_relu(0.25), sp.Integer(-1)) == -sp.Rational(
        1, 4
    )
    tenth = symbolic.activation(zl.activations.leaky_relu(0.1), sp.Integer(-1))
    assert tenth == -sp.Rational(*(0.1).as_integer_ratio()) != -sp.Rational(1, 10)
    assert symbolic.activation(zl.activations.mollified_relu(1.0), 0) == sp.Rational(1, 4)
    assert symbolic.activation("relu", z) == sp.Max(0, z)


@pytest.mark.parametrize("z", [-2, -1, sp.Rational(-1, 2), 0, sp.Rational(1, 2), 1, 2])
def test_mollified_relu_is_its_definition(z):
    formula = symbolic.activation(zl.activations.mollified_relu(1.0), z)
    assert formula == (z if z >= 1 else 0 if z <= -1 else (z + 1) ** 2 / sp.Integer(4))


def test_formulas_are_refused_where_there_are_none():
    with pytest.raises(ValueError, match="no activation is called 'gelu'"):
        symbolic.network((1, 1), "gelu")
    with pytest.raises(ValueError, match="widths must be"):
        symbolic.network((1, 0), "tanh")
    for N in (0, 1.5):
        with pytest.raises(ValueError, match="N must be a positive integer"):
            symbolic.network((1, 1), "tanh", N)


# --- exact evaluation ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT)
def test_exact_output_and_cost_agree_with_floating_point(name):
    net = zl.Network((3, 4, 2, 2), name)
    X, Y = zl.data.generic(jax.random.key(0), M0=3, N=5, Q=2)
    params = jax.tree.map(lambda a: a + 0.1, net.init(jax.random.key(0)))
    output = symbolic.apply(net, params, X)
    np.testing.assert_allclose(output.astype(float), net.apply(params, X), rtol=1e-13, atol=1e-15)
    cost = symbolic.cost(net, params, X, Y)
    errors = output - np.vectorize(Fraction)(np.asarray(Y))
    assert isinstance(cost, Fraction) and cost == (errors**2).sum() / 10
    assert float(cost) == pytest.approx(float(zl.cost(net, params, X, Y)), rel=1e-13)


@pytest.mark.parametrize("z, value", [(-1, 0), ("-1/2", 0), ("-1/4", "1/32"), (0, "1/8"),
                                      ("1/2", "1/2"), (3, 3)])  # fmt: skip
def test_mollified_relu_exactly(z, value):
    net = zl.Network((1, 1, 1), zl.activations.mollified_relu(0.5))
    params = (Layer([[1]], [0]), Layer([[1]], [0]))
    assert symbolic.apply(net, params, [[Fraction(z)]])[0, 0] == Fraction(value)


def test_all_kinds_of_exact_numbers_are_taken():
    net = zl.Network((1, 1), "identity")
    one = [1, 1.0, np.float32(1), np.int64(1), Fraction(1), sp.Integer(1), True]
    for x in one:
        assert symbolic.apply(net, (Layer([[x]], [x]),), [[x]]) == [[Fraction(2)]]
    X = sp.Matrix([[sp.Rational(1, 3)]])
    assert symbolic.apply(net, (Layer(jnp.ones((1, 1)), jnp.zeros(1)),), X) == [[Fraction(1, 3)]]
    tenth = symbolic.apply(net, (Layer([[1]], [0]),), [[0.1]])[0, 0]
    assert tenth == Fraction(0.1) != Fraction(1, 10)


def test_what_is_not_an_exact_matrix_is_refused_by_name():
    net = zl.Network((1, 1), "identity")
    good = (Layer([[1]], [0]),)
    for bad in ([[np.nan]], [[np.inf]], [["1"]], [[1j]], [1], 3, [[sp.pi]], [[sp.Symbol("x")]]):
        with pytest.raises(ValueError, match="X must be a matrix of finite rational numbers"):
            symbolic.apply(net, good, bad)
    for bad in ([], [[]], [[1, 2], [3]]):
        with pytest.raises(ValueError, match="X must be a non-empty matrix"):
            symbolic.apply(net, good, bad)
    with pytest.raises(ValueError, match=r"X has shape \(2, 1\)"):
        symbolic.apply(net, good, [[1], [2]])
    with pytest.raises(ValueError, match=r"Y has shape \(1, 2\)"):
        symbolic.cost(net, good, [[1]], [[1, 2]])
    with pytest.raises(ValueError, match="params has shapes"):
        symbolic.apply(net, (Layer([[1, 2]], [0]),), [[1]])
    with pytest.raises(ValueError, match=r"params\[0\].b must be a matrix of finite"):
        symbolic.apply(net, (Layer([[1]], [np.nan]),), [[1]])


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "sin"])
def test_irrational_activations_are_refused(name):
    net = zl.Network((1, 1, 1), name)
    params = (Layer([[1]], [0]),) * 2
    with pytest.raises(ValueError, match="takes rational numbers to irrational ones"):
        symbolic.cost(net, params, [[1]], [[1]])


# --- pulling back --------------------------------------------------------------------------------


@given(data=st.data(), name=st.sampled_from(PULLED), L=st.integers(0, 3))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_pull_back_fits_exactly_or_names_what_fails(data, name, L):
    draw = data.draw
    M0, N, Q = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    net = zl.Network((M0, *(draw(st.integers(1, 5)) for _ in range(L)), Q), name)
    X, Y = rationals(draw, M0, N), rationals(draw, Q, N)
    mean = [sum(row) / N for row in Y]
    needed = rank([[y - m for y in row] for row, m in zip(Y, mean, strict=True)])
    independent = rank([*X, [1] * N]) == N
    if independent and min(net.widths[1:]) >= min(needed, net.Q):
        params = symbolic.pull_back(net, X, Y)
        assert symbolic.cost(net, params, X, Y) == 0
        assert [(W.shape, b.shape) for W, b in params] == [
            ((n, m), (n,)) for m, n in itertools.pairwise(net.widths)
        ]
    else:
        with pytest.raises(zl.HypothesisError):
            symbolic.pull_back(net, X, Y)


@pytest.mark.parametrize("name", PULLED)
@pytest.mark.parametrize("widths", [(8, 2), (8, 5, 2), (8, 3, 6, 4, 2), (8, 2, 2, 2)])
def test_pull_back_is_the_one_of_floating_point(name, widths):
    net = zl.Network(widths, name)
    X, Y = zl.data.generic(jax.random.key(0), M0=8, N=6, Q=2)
    exact = symbolic.pull_back(net, X, Y)
    assert symbolic.cost(net, exact, X, Y) == 0
    for one, other in zip(exact, zl.minimizers.pull_back(net, X, Y), strict=True):
        np.testing.assert_allclose(one.W.astype(float), other.W, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(one.b.astype(float), other.b, rtol=1e-9, atol=1e-11)


def test_fill_is_the_spread_of_the_features():
    X, Y = [[1, 0, 2], [0, 1, 5]], [[1, 2, 4]]
    net = zl.Network((2, 3, 1), "relu")
    for fill in (Fraction(1, 3), 0.5):
        params = symbolic.pull_back(net, X, Y, fill=fill)
        features = symbolic.apply(zl.Network((2, 3), "relu"), params[:1], X)
        assert symbolic.cost(net, params, X, Y) == 0
        assert abs(features[0] - 1).max() == fill and (features[1:] == 1).all()
    for fill in (0, 1, -0.5):
        with pytest.raises(ValueError, match=r"fill must lie in \(0, 1\)"):
            symbolic.pull_back(net, X, Y, fill=fill)


def test_narrow_layers_carry_labels_of_low_rank():
    X, Y = [[1, 0, 2], [0, 1, 5]], [[0, 1, 2], [5, 5, 5], [7, 5, 3]]  # centred labels of rank 1
    net = zl.Network((2, 1, 2, 3), "leaky_relu")
    assert symbolic.cost(net, symbolic.pull_back(net, X, Y), X, Y) == 0
    constant = [[1, 1, 1], [2, 2, 2], [3, 3, 3]]
    assert symbolic.cost(net, symbolic.pull_back(net, X, constant), X, constant) == 0


@pytest.mark.parametrize(
    "widths, X, Y",
    [
        ((2, 1, 2), [[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0]]),  # too narrow
        ((2, 2, 2, 1, 2), [[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0]]),
        ((3, 2, 1), [[1, 2, 3], [1, 2, 3], [1, 1, 1]], [[1, 2, 3]]),  # affinely dependent
        ((1, 2, 1), [[1, 2, 3]], [[1, 2, 3]]),  # too many
    ],
)
def test_hypotheses_fail_in_the_same_words_as_in_floating_point(widths, X, Y):
    net = zl.Network(widths, "relu")
    with pytest.raises(zl.HypothesisError) as exact:
        symbolic.pull_back(net, X, Y)
    with pytest.raises(zl.HypothesisError) as floating:
        zl.minimizers.pull_back(net, np.array(X, float), np.array(Y, float))
    assert str(exact.value) == str(floating.value)


def test_ranks_are_exact():
    eps = Fraction(1, 10**30)
    net, Y = zl.Network((1, 1, 1), "relu"), [[0, 1]]
    params = symbolic.pull_back(net, [[1, 1 + eps]], Y)
    assert symbolic.cost(net, params, [[1, 1 + eps]], Y) == 0
    with pytest.raises(zl.HypothesisError, match=r"rank \[X; 1\] = 1, but N = 2 is needed"):
        symbolic.pull_back(net, [[1, 1]], Y)


@pytest.mark.parametrize("name", ["tanh", "mollified_relu"])
def test_pulling_back_must_stay_rational(name):
    with pytest.raises(ValueError, match="leaves the rational numbers"):
        symbolic.pull_back(zl.Network((1, 1, 1), name), [[1]], [[1]])


# --- the number of the class ---------------------------------------------------------------------


def one_hot(labels):
    return [[int(c == q) for c in labels] for q in range(max(labels) + 1)]


@given(data=st.data(), M0=st.integers(1, 4), N=st.integers(2, 9), Q=st.integers(2, 5))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_class_index_fits_any_labelling_of_distinct_inputs(data, M0, N, Q):
    column = st.tuples(*[RATIONAL] * M0)
    columns = data.draw(st.lists(column, min_size=N, max_size=N, unique=True))
    labels = [0, Q - 1, *(data.draw(st.integers(0, Q - 1)) for _ in range(N - 2))]
    X = [list(row) for row in zip(*columns, strict=True)]
    net, params = symbolic.class_index(X, labels)
    assert net.widths == (M0, 1, N - 1, 1, Q - 1, Q) and net.activation.name == "relu"
    assert net.K == 3 * N + M0 + Q**2 + 2 * Q - 3
    assert symbolic.cost(net, params, X, one_hot(labels)) == 0
    assert all(v.denominator == 1 for v in params[0].W[0])


def test_class_index_has_fewer_parameters_than_equations():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(5, 60)), np.arange(60) % 10
    net, params = symbolic.class_index(X, labels)
    assert net.K == 302 < net.Q * 60
    assert symbolic.cost(net, params, X, one_hot(labels)) == 0


def test_class_index_survives_a_smoothing_of_relu():
    X, labels = [[0, 3, 1, 2], [0, 0, 0, 1]], [1, 0, 0, 2]
    net, params = symbolic.class_index(X, labels)
    smooth = zl.Network(net.widths, zl.activations.mollified_relu(0.25))
    assert symbolic.cost(smooth, params, X, one_hot(labels)) == 0


def test_the_projection_separates_with_small_integers():
    X = [[0, 0, 1, 1], [0, 1, 0, 1], [7, 7, 7, 7]]
    v, t = symbolic._separating_projection(fmpq_mat(X))
    assert (v, t) == ([1, 2, 0], [0, 2, 1, 3])


def test_class_index_refuses_what_it_cannot_classify():
    with pytest.raises(zl.HypothesisError, match="distinct inputs: 2 are distinct, but N = 3"):
        symbolic.class_index([[1, 1, 2]], [0, 1, 1])
    for labels in ([0, 1], [0, 1, -1], [0, 1, 0.5], ["a", "b", "c"], [[0, 1, 1]]):
        with pytest.raises(ValueError, match="labels must be N = 3 integers from 0"):
            symbolic.class_index([[1, 2, 3]], labels)
    with pytest.raises(ValueError, match="two classes or more; all are 4"):
        symbolic.class_index([[1, 2, 3]], [4, 4, 4])


@given(data=st.data(), M0=st.integers(1, 3), N=st.integers(3, 9), Q=st.integers(2, 4))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_truncating_fits_classes_that_are_intervals_of_a_projection(data, M0, N, Q):
    entries = st.lists(st.integers(-9, 9), min_size=N * M0, max_size=N * M0)
    X = np.array(data.draw(entries)).reshape(M0, N)
    labels = np.digitize(X.sum(axis=0), np.linspace(-8, 8, Q - 1)).tolist()
    assume(len(set(labels)) > 1)
    net, params = symbolic.truncating(X, labels)
    n, Q = len(set(labels)), max(labels) + 1
    assert net.widths == (M0, *[n - 1] * n, Q) and net.activation.name == "relu"
    assert symbolic.cost(net, params, X, one_hot(labels)) == 0


def test_truncating_has_fewer_parameters_than_equations():
    X, Y = zl.data.sequentially_separable(jax.random.key(0), M0=5, N=200, Q=4)
    labels = np.asarray(Y).argmax(axis=0)
    net, params = symbolic.truncating(X, labels)
    assert net.K == zl.minimizers.truncating(X, labels)[0].K == 70 < Y.size
    assert symbolic.cost(net, params, X, Y) == 0
    smooth = zl.Network(net.widths, zl.activations.mollified_relu(2.0**-20))
    assert symbolic.cost(smooth, params, X, Y) == 0  # no sample lies at a kink


def test_truncating_refuses_what_hyperplanes_cannot_separate(monkeypatch):
    xor = [[0, 1, 0, 1], [0, 1, 1, 0]], [0, 0, 1, 1]
    with pytest.raises(zl.HypothesisError, match="of the classes 0, 1 none is"):
        symbolic.truncating(*xor)
    with pytest.raises(ValueError, match="two classes or more; all are 4"):
        symbolic.truncating([[1, 2, 3]], [4, 4, 4])
    wrong = [0, 1], zl.Layer(np.array([[1.0, 0.0]]), np.zeros(1))
    monkeypatch.setattr(symbolic, "separating_sequence", lambda *_: wrong)
    with pytest.raises(zl.HypothesisError, match="number 1 found in double precision misses"):
        symbolic.truncating(*xor)


# --- reaching the module -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, library, words",
    [("certify", "flint", "zl.certify needs python-flint"),
     ("symbolic", "sympy", "zl.symbolic needs python-flint and SymPy")],
)  # fmt: skip
def test_a_missing_library_is_named(monkeypatch, name, library, words):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"zl.{name}", raising=False)
    monkeypatch.delitem(vars(zl), name, raising=False)
    with pytest.raises(ImportError, match=f"{words}.*python -m pip install"):
        getattr(zl, name)


def test_optional_modules_are_listed_and_others_do_not_exist():
    assert {"certify", "symbolic", "cost"} <= set(dir(zl))
    with pytest.raises(AttributeError, match="module 'zl' has no attribute 'nothing'"):
        zl.nothing  # noqa: B018
