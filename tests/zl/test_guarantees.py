"""The table of guarantees: what it recommends succeeds, what it denies is refused."""

import xml.etree.ElementTree as ElementTree

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zl
from zl import minimizers

zl.enable_x64()

CONSTRUCTORS = {
    "Pulling back": lambda net, X, Y: (net, minimizers.pull_back(net, X, Y)),
    "The positive sector": lambda net, X, Y: (net, minimizers.positive_sector(net, X, Y)),
    "Memorizing": lambda net, X, Y: (net, minimizers.memorizing(net, X, Y)),
    "Truncation maps": lambda net, X, Y: minimizers.truncating(X, Y),
    "Class index": lambda net, X, Y: minimizers.class_index(X, Y),
}


def cost(net, params, X, Y):
    """C, without a compilation for every shape."""
    return np.sum((np.asarray(net.apply(params, X)) - Y) ** 2) / (2 * Y.shape[1])


def one_hot_columns(rng, X, Q):
    return np.eye(Q)[:, rng.integers(Q, size=X.shape[1])]


def make_data(kind, seed, M0, N, Q):
    """Data of one of the kinds on which the theorems differ."""
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    if kind == "clustered":
        return map(np.asarray, zl.data.clustered(key, M0, max(N, Q), Q, radius=0.3))
    if kind == "sequential":
        return map(np.asarray, zl.data.sequentially_separable(key, M0, max(N, Q), Q))
    X, Y = rng.normal(size=(M0, N)), rng.normal(size=(Q, N))
    if kind != "generic":
        Y = one_hot_columns(rng, X, Q)
    if kind == "repeated":
        X = X[:, rng.integers(N, size=N)]
    return X, Y


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    st.sampled_from(["generic", "classes", "repeated", "clustered", "sequential"]),
    st.sampled_from(
        ["tanh", "sin", "softplus", "relu", "leaky_relu", "mollified_relu", "identity"]
    ),
    st.integers(1, 8),
    st.lists(st.integers(1, 9), max_size=3),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)
def test_the_table_keeps_its_word(kind, activation, M0, hidden, N, Q, seed):
    net = zl.Network((M0, *hidden, Q), activation)
    X, Y = make_data(kind, seed, M0, N, Q)
    table = zl.guarantees(net, X, Y)
    constructions = {row.theorem.split(" (")[0]: row for row in table.rows[:5]}
    assert constructions.keys() == CONSTRUCTORS.keys()
    for name, row in constructions.items():
        if row.holds:
            scope = {"zl": zl, "net": net, "X": X, "Y": Y}
            if row.call.startswith("net, params = "):
                exec(row.call, scope)
            else:
                scope["params"] = eval(row.call, scope)
            assert cost(scope["net"], scope["params"], X, Y) <= 1e-18
        elif "one-hot" in row.because:
            assert kind == "generic"
        else:
            assert not row.call
            with pytest.raises(zl.HypothesisError) as error:
                CONSTRUCTORS[name](net, X, Y)
            assert row.because == f"{error.value.found}, {error.value.needed}"
    if table.bound > 0:
        assert not any("(net," in row.call for row in table)
        for gain in (0.3, 3.0):
            params = net.init(jax.random.key(seed), gain=gain)
            assert cost(net, params, X, Y) >= table.bound * (1 - 1e-9)
    assert str(net.K) in table.rows[-1].because and str(Y.size) in table.rows[-1].because
    assert max(map(len, str(table).splitlines())) <= 100


def rows_of(table):
    return {row.theorem.split(" (")[0]: row for row in table}


def test_digits():
    X, Y = zl.data.digits(64)
    rows = rows_of(zl.guarantees(zl.Network((64, 20, 63, 10), "relu"), X, Y))
    needed = "rank [X; 1] = 52, but N = 64 is needed"
    assert rows["Pulling back"].because == needed and not rows["Pulling back"].call
    assert rows["Memorizing"].holds and "64 distinct inputs, M_2 = 63 ≥ 63" in (
        rows["Memorizing"].because
    )
    assert rows["Truncation maps"].holds and "K = 1495, QN = 640" in (
        rows["Truncation maps"].because
    )


def test_impossible_with_exact_bounds():
    X = np.array([[0.0, 0.0, 1.0, 2.0]])
    Y = np.array([[1.0, 3.0, 0.0, 0.0]])
    table = zl.guarantees(zl.Network((1, 9, 1), "relu"), X, Y)
    equal = rows_of(table)["Equal inputs, different labels"]
    assert equal.holds and equal.bound == 2 / 8 and "samples 0 and 1" in equal.because
    assert table.verdict == "No parameters of this network attain C = 0: C ≥ 0.25."
    labels = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    table = zl.guarantees(zl.Network((2, 5, 1, 2), "tanh"), labels, labels + 2.0)
    narrow = rows_of(table)["Narrow last hidden layer"]
    assert narrow.holds and np.isclose(narrow.bound, 1 / 4, rtol=1e-12)
    few = rows_of(zl.guarantees(zl.Network((1, 2), "tanh"), labels[:1], labels))["Few inputs"]
    assert few.holds and np.isclose(few.bound, 1 / 4, rtol=1e-12)


def test_verdicts():
    X, Y = map(np.asarray, zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2))
    wide = zl.guarantees(zl.Network((4, 6, 2), "tanh"), X, Y)
    assert wide.verdict == "This network attains C = 0: zl.minimizers.pull_back(net, X, Y)."
    many, labels = np.tile(X, 3) + np.arange(15), np.tile(Y, 3)
    undecided = zl.guarantees(zl.Network((4, 6, 2), "tanh"), many, labels)
    assert undecided.bound == 0
    assert undecided.verdict.startswith("No theorem here decides") and "Another" not in (
        undecided.verdict
    )
    classes = np.eye(2)[:, np.arange(15) % 2]
    other = zl.guarantees(zl.Network((4, 6, 2), "tanh"), many, classes)
    assert "Another one does: net, params = zl.minimizers." in other.verdict


@pytest.mark.parametrize(
    ("activation", "counted"),
    [("tanh", "K = 4 ≥ QN = 4"), ("relu", "K = 4, less one a hidden neuron = 3 < QN = 4")],
)
def test_rescaling_leaves_fewer_parameters_to_count(activation, counted):
    X = np.array([[1.0, 2.0, 3.0, 4.0]])
    rows = rows_of(zl.guarantees(zl.Network((1, 1, 1), activation), X, np.sin(X)))
    few = rows["Too few parameters"]
    assert few.holds == (activation == "relu") and few.because.startswith(counted)


def test_it_prints_and_shows_the_same():
    net = zl.Network((4, 6, 1, 2), "tanh")
    X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
    table = zl.guarantees(net, X, Y)
    text = str(table)
    assert repr(table) == text and text.splitlines()[0].split() == [
        "theorem",
        "holds",
        "because",
        "call",
    ]
    root = ElementTree.fromstring(table._repr_html_())
    assert root.find("caption").text == table.verdict
    shown = [["".join(cell.itertext()) for cell in row] for row in root.find("tbody")]
    assert shown == [
        [r.theorem, "yes" if r.holds else "no", r.because, r.call or "–"] for r in table
    ]
    assert "<" in table.rows[6].because and "&lt;" in table._repr_html_()


def test_arguments_are_checked():
    net = zl.Network((4, 6, 2), "tanh")
    X, Y = np.ones((4, 3)), np.ones((2, 3))
    for bad, message in [
        ((X[:3], Y), r"X has shape \(3, 3\)"),
        ((X, Y[:, :2]), r"Y has shape \(2, 2\)"),
        ((X * np.nan, Y), "X contains NaN"),
        ((X, Y.astype(np.float32)), "Y has dtype float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            zl.guarantees(net, *bad)
