"""A failed hypothesis says which theorem, what was found, what is needed and what to try."""

import copy
import pickle

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
