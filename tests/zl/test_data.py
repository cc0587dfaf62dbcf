"""Data have the shapes, ranks and condition numbers that their descriptions promise."""

import jax
import numpy as np
import pytest

import zl

KEY = jax.random.key(0)


def affine_rank(X):
    return np.linalg.matrix_rank(np.vstack([X, np.ones((1, X.shape[1]))]))


@pytest.mark.parametrize("M0, N, Q", [(10, 5, 2), (2, 5, 10)])
def test_generic_data_have_full_affine_rank_and_are_fixed_by_their_key(M0, N, Q):
    X, Y = zl.data.generic(KEY, M0, N, Q)
    assert (X.shape, Y.shape, X.dtype, Y.dtype) == ((M0, N), (Q, N), "float64", "float64")
    assert affine_rank(X) == min(M0 + 1, N)
    again, other = zl.data.generic(KEY, M0, N, Q), zl.data.generic(jax.random.key(1), M0, N, Q)
    assert np.array_equal(X, again[0]) and np.array_equal(Y, again[1])
    assert not np.array_equal(X, other[0]) and not np.array_equal(Y, other[1])


def test_generic_inputs_and_labels_are_independent_standard_normals():
    X, Y = zl.data.generic(KEY, 50, 400, 50)
    for A in (X, Y):
        assert abs(float(A.mean())) < 4 / np.sqrt(A.size)
        assert float(A.std()) == pytest.approx(1, abs=4 / np.sqrt(2 * A.size))
    assert abs(np.corrcoef(X.ravel(), Y.ravel())[0, 1]) < 4 / np.sqrt(X.size)


@pytest.mark.parametrize("M0, N", [(10, 5), (4, 9)])
@pytest.mark.parametrize("cond", [1, 1e2, 1e4, 1e6, 1e8])
def test_ill_conditioned_inputs_have_the_prescribed_singular_values(M0, N, cond):
    X, Y = zl.data.ill_conditioned(KEY, M0, N, 2, cond)
    assert (X.shape, Y.shape) == ((M0, N), (2, N))
    wanted = np.geomspace(1, 1 / cond, min(M0, N))
    np.testing.assert_allclose(np.linalg.svd(X, compute_uv=False), wanted, atol=1e-15, rtol=1e-6)


@pytest.mark.parametrize("cond", [0.5, 0, -1, np.inf, np.nan])
def test_impossible_condition_numbers_are_refused(cond):
    with pytest.raises(ValueError, match=r"^cond (must be a number of at least 1|contains NaN)"):
        zl.data.ill_conditioned(KEY, 10, 5, 2, cond)


@pytest.mark.parametrize("M0, N", [(10, 1), (1, 10)])
def test_a_single_singular_value_has_no_other_condition_number_than_one(M0, N):
    with pytest.raises(ValueError, match="cond must be 1 where M0 or N is 1; it is 100"):
        zl.data.ill_conditioned(KEY, M0, N, 2, 100)


def test_ill_conditioned_inputs_are_refused_in_single_precision():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"call zl\.enable_x64"):
        zl.data.ill_conditioned(KEY, 10, 5, 2, 1e6)


@pytest.mark.parametrize("make", [zl.data.generic, zl.data.ill_conditioned])
@pytest.mark.parametrize("name", ["M0", "N", "Q"])
@pytest.mark.parametrize("size", [0, -1, 2.5, 2.0, np.nan, "2", None])
def test_sizes_that_are_not_positive_integers_are_refused_by_name(make, name, size):
    sizes = {"M0": 10, "N": 5, "Q": 2, name: size}
    extra = {"cond": 10.0} if make is zl.data.ill_conditioned else {}
    with pytest.raises(ValueError, match=f"^{name} must be a positive integer"):
        make(KEY, **sizes, **extra)


def test_digits_are_grey_values_with_one_hot_labels():
    X, Y = zl.data.digits()
    assert (X.shape, Y.shape) == ((64, 1797), (10, 1797))
    assert X.min() == 0 and X.max() == 1
    assert np.array_equal(np.unique(Y), [0, 1]) and (Y.sum(axis=0) == 1).all()
    assert np.argmax(Y, axis=0)[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_only_52_of_the_first_64_digits_are_affinely_independent():
    X, Y = zl.data.digits(64)
    assert np.array_equal(X, zl.data.digits()[0][:, :64]) and Y.shape == (10, 64)
    assert affine_rank(X) == 52


@pytest.mark.parametrize("N", [0, -3, 1798, 2.5])
def test_there_are_between_1_and_1797_digits(N):
    with pytest.raises(ValueError, match=r"^N must"):
        zl.data.digits(N)


def test_coffee_spectra_are_affinely_independent_and_their_classes_balanced():
    X, Y = zl.data.coffee_spectra()
    assert (X.shape, Y.shape) == ((1841, 60), (3, 60))
    assert np.isfinite(X).all() and X.dtype == "float64"
    assert np.array_equal(np.unique(Y), [0, 1]) and (Y.sum(axis=0) == 1).all()
    assert Y.sum(axis=1).tolist() == [20, 20, 20]
    assert affine_rank(X) == 60
