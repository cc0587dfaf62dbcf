"""A numerical rank is an integer that shows what it was decided from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zl

EPS = np.finfo(float).eps


@pytest.mark.parametrize(
    "A, rank",
    [
        ([[0.0]], 0),
        ([[1e-300]], 1),
        ([[1.0, 2.0], [2.0, 4.0]], 1),
        ([[1, 2], [3, 4]], 2),
        (np.zeros((3, 2)), 0),
        (np.eye(3, 5), 3),
        (np.diag([1.0, 1e-12, 0.0]), 2),
        (np.diag([1e12, 1e12, 1e-12]), 2),
        (np.outer([1.0, 2.0, 3.0], [1.0, 1.0]), 1),
    ],
)
def test_small_ranks_are_exact(A, rank):
    found = zl.numerical_rank(A)
    assert isinstance(found, int) and found == rank


def test_a_rank_remembers_its_singular_values_and_tolerance():
    rank = zl.numerical_rank(np.diag([3.0, 2.0, 0.0])[:, :2] @ np.diag([1.0, -1.0]))
    np.testing.assert_allclose(rank.singular_values, [3.0, 2.0], rtol=1e-15)
    assert rank.tol == pytest.approx(3 * EPS * 3.0, rel=1e-12, abs=0)
    assert (rank + 1, f"{rank}", range(5)[rank]) == (3, "2", 2)


@pytest.mark.parametrize("rtol, rank", [(0, 3), (1e-9, 2), (1e-3, 1), (0.999, 1)])
def test_the_tolerance_is_relative_to_the_largest_singular_value(rtol, rank):
    A = np.diag([1e5, 1.0, 1e-6])
    found = zl.numerical_rank(A, rtol)
    assert (found, found.tol) == (rank, pytest.approx(rtol * 1e5))


@settings(max_examples=40)
@given(st.integers(0, 4), st.integers(0, 2**32), st.integers(-12, 12))
def test_a_product_has_the_inner_dimension_as_rank_in_any_units(r, seed, exponent):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(6, r)) @ rng.normal(size=(r, 4))
    assert zl.numerical_rank(A * 10.0**exponent) == r


@pytest.mark.parametrize(
    "A, complaint",
    [
        ([[1.0, np.nan]], "A contains NaN or infinity"),
        ([[1.0, np.inf]], "A contains NaN or infinity"),
        (np.ones((0, 3)), "A must be a non-empty matrix"),
        (np.ones((3, 0)), "A must be a non-empty matrix"),
        (np.ones(3), "A must be a non-empty matrix"),
        (1.0, "A must be a non-empty matrix"),
        (np.ones((2, 2, 2)), "A must be a non-empty matrix"),
        (np.ones((2, 2), np.float32), "A has dtype float32, but double precision is needed"),
        (jnp.ones((2, 2), jnp.bfloat16), "A has dtype bfloat16, but double precision is needed"),
        (np.ones((2, 2), complex), "A has dtype complex128"),
        ([[True, False]], "A has dtype bool"),
        ([["1", "2"]], "A has dtype <U1"),
        ([[1.0, 2.0], [3.0]], "A is not an array"),
        (None, "A has dtype object"),
    ],
)
def test_what_is_not_a_finite_real_matrix_is_refused_by_name(A, complaint):
    with pytest.raises(ValueError, match=complaint):
        zl.numerical_rank(A)


@pytest.mark.parametrize("A", [np.eye(2), [[1, 2], [3, 4]]], ids=["float64", "list of integers"])
def test_single_precision_mode_is_refused_with_the_remedy(A):
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"^A .*call zl\.enable_x64"):
        zl.numerical_rank(A)


@pytest.mark.parametrize("rtol", [-1e-3, 1, 2, np.nan])
def test_tolerances_outside_the_unit_interval_are_refused(rtol):
    with pytest.raises(ValueError, match=r"rtol must lie in \[0, 1\)"):
        zl.numerical_rank(np.eye(2), rtol)
