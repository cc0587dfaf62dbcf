"""A failed hypothesis says which theorem, what was found, what is needed and what to try."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import zl

PARTS = {
    "theorem": "Theorem A",
    "hypothesis": "two points",
    "found": "found 1",
    "needed": "needs 2",
    "advice": "Add a point.",
}


def test_the_message_is_the_sentence_that_the_parts_make():
    error = zl.HypothesisError(**PARTS)
    assert str(error) == "Theorem A needs two points: found 1, needs 2. Add a point."
    assert {name: getattr(error, name) for name in PARTS} == PARTS


def test_a_hypothesis_error_is_a_value_error():
    with pytest.raises(ValueError, match="Theorem A needs two points"):
        raise zl.HypothesisError(**PARTS)


@pytest.mark.parametrize("carry", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_a_hypothesis_error_survives_being_handed_to_another_process(carry):
    error = carry(zl.HypothesisError(**PARTS))
    assert {name: getattr(error, name) for name in PARTS} == PARTS
    assert str(error) == str(zl.HypothesisError(**PARTS))


NET = zl.Network((6, 5, 5, 2), "identity")
RELU = zl.Network((6, 5, 5, 2), "relu")
HUGE = [zl.Layer(np.full((n, m), 1e160), np.zeros(n)) for m, n in itertools.pairwise(NET.widths)]
FINE = [zl.Layer(np.eye(n, m), np.zeros(n)) for m, n in itertools.pairwise(NET.widths)]
X, Y = np.eye(6, 4), np.ones((2, 4))
CALLS = {
    "layer_ranks": (lambda: zl.layer_ranks(NET, HUGE, X), "params give features or signals that"),
    "dimension": (lambda: zl.landscape.dimension(NET, HUGE, X), "are not finite. Try: smaller"),
    "ntk_lower_bound": (lambda: zl.ntk_lower_bound(NET, HUGE, X), "are not finite. Try: smaller"),
    "adapted_flow": (lambda: zl.adapted_flow(NET, HUGE, X, Y, t1=1.0), "Jacobian that is not fin"),
    "hessian": (
        lambda: zl.landscape.hessian_spectrum(NET, HUGE, X, Y),
        "a Hessian that is not fin",
    ),
    "walk": (
        lambda: zl.landscape.walk(NET, FINE, X, Y, np.ones(77), step=0.1, steps=float("inf")),
        "steps must be a positive integer; it is inf",
    ),
    "init": (lambda: NET.init(0), "key must be a key, such as jax.random.key.0.; it is 0"),
    "generic": (lambda: zl.data.generic(7, M0=2, N=2, Q=1), "key must be a key, .*; it is 7"),
    "clustered": (lambda: zl.data.clustered(0, M0=2, N=2, Q=1), "key must be a key"),
    "pull_back": (lambda: zl.minimizers.pull_back(NET, X, Y, key=0), "key must be a key"),
    "later": (
        lambda: zl.minimizers.positive_sector(RELU, X, Y, later=[np.eye(5)]),
        "later must be the L = 2 matrices .*; there are 1",
    ),
    "bits": (lambda: zl.certify.cost(NET, FINE, X, Y, precision=1), "at least 2 bits; it is 1"),
    "negative": (lambda: zl.certify.cost(NET, FINE, X, Y, precision=-9), "2 bits; it is -9"),
    "half": (lambda: zl.certify.cost(NET, FINE, X, Y, precision=12.5), "integer of at least 2"),
    "full_rank": (lambda: zl.certify.full_rank(NET, 3, X), "must be a tuple of Layer.*; it is 3"),
    "apply": (lambda: zl.symbolic.apply(RELU, (1, 2), X), "must be a tuple of Layer.*; it is .1, "),
    "classes": (lambda: zl.minimizers.class_index(X, [0, -1, 1, 0]), "from 0; the least is -1"),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_was_another_library_s_error_names_the_argument_and_the_number(name):
    call, message = CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
