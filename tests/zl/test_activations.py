"""Each activation is what it says: its derivative, inverse, domain, image, slopes and window."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from zl import Activation
from zl import activations as act

EPS = np.finfo(float).eps
NAMED = ["identity", "leaky_relu", "mollified_relu", "relu", "sigmoid", "sin", "softplus", "tanh"]
ALL = [*map(act.get, NAMED), act.leaky_relu(0.5), act.mollified_relu(2.0)]
GRID = jnp.arange(-60_000, 60_001) / 1000  # contains every kink, and 0 where slopes are extreme

each = pytest.mark.parametrize("sigma", ALL, ids=lambda sigma: sigma.name)


@each
def test_derivative_is_what_jax_differentiates_even_at_kinks(sigma):
    slopes = jax.jit(jax.vmap(jax.grad(sigma)))(GRID)  # for tanh: 1 - tanh², which cancels far out
    np.testing.assert_allclose(sigma.derivative(GRID), slopes, rtol=1e-12, atol=16 * EPS)


@each
def test_derivative_stays_differentiable_far_out(sigma):
    assert np.isfinite(jax.jit(jax.vmap(jax.grad(sigma.derivative)))(100 * GRID)).all()


@each
def test_slopes_are_the_infimum_and_supremum_of_the_derivative(sigma):
    slopes = np.asarray(sigma.derivative(GRID))
    lowest, highest = sigma.slopes
    assert lowest <= slopes.min() <= lowest + 1e-6
    assert highest - 1e-6 <= slopes.max() <= highest


@each
def test_image_is_the_image_of_the_domain(sigma):
    ends = np.clip(sigma.domain, -1e300, 1e300)
    np.testing.assert_allclose(sigma(ends), np.clip(sigma.image, -1e300, 1e300), atol=1e-16)


@each
def test_domain_is_an_interval_of_strict_increase(sigma):
    low, high = np.clip(sigma.domain, -15, 15)
    inside = np.linspace(low, high, len(GRID) + 2)[1:-1]
    assert np.all(np.diff(sigma(inside)[::100]) > 0)
    assert np.all(sigma.derivative(inside) > 0)


@each
def test_window_is_the_largest_around_its_centre_that_the_image_allows(sigma):
    (low, high), (centre, half_width) = sigma.image, sigma.window
    room = min(centre - low, high - centre)
    assert half_width == room if np.isfinite(room) else half_width > 0
    at_zero = sigma(jnp.float64(0))
    if low < at_zero < high and sigma.smoothness > 1:
        assert centre == pytest.approx(float(at_zero), abs=EPS)


@given(st.sampled_from(ALL), st.data())
def test_inverse_undoes_the_activation_on_its_domain(sigma, data):
    low, high = np.clip(sigma.domain, -15, 15)
    z = data.draw(st.floats(low + 1e-9, high - 1e-9))
    y, slope = float(sigma(z)), float(sigma.derivative(z))
    assert abs(float(sigma.inverse(y)) - z) <= 8 * EPS * (1 + abs(z) + abs(y) / slope)


@given(st.sampled_from(ALL), st.data())
def test_activation_undoes_the_inverse_on_its_image(sigma, data):
    low, high = np.clip(sigma.image, -30, 30)
    y = data.draw(st.floats(low + 1e-9, high - 1e-9))
    z = float(sigma.inverse(y))
    assert sigma.domain[0] <= z <= sigma.domain[1]
    assert abs(float(sigma(z)) - y) <= 8 * EPS * (abs(y) + (1 + abs(z)) * sigma.derivative(z))


@pytest.mark.parametrize("sigma", [s for s in ALL if s.smoothness < 2], ids=lambda s: s.name)
def test_smoothness_is_the_number_of_continuous_derivatives(sigma):
    derivative = sigma if sigma.smoothness == 0 else sigma.derivative
    step = GRID[1] - GRID[0]
    jump = jnp.abs(jnp.diff(jax.jit(jax.vmap(jax.grad(derivative)))(GRID))).max()
    assert jnp.abs(jnp.diff(derivative(GRID))).max() < 10 * step  # continuous
    assert jump > 0.1  # the next derivative is not


@given(st.floats(1e-3, 1e3), st.floats(-3, 3))
def test_mollified_relu_is_relu_averaged_over_an_interval(eps, t):
    z = t * eps
    kink = [0.0] if abs(z) < eps else None
    integral, _ = quad(lambda s: max(s, 0.0), z - eps, z + eps, points=kink)
    assert float(act.mollified_relu(eps)(z)) == pytest.approx(integral / (2 * eps), abs=1e-12 * eps)


@given(st.floats(1e-3, 1e3), st.floats(1, 1e6))
def test_mollified_relu_is_relu_outside_its_interval(eps, t):
    sigma = act.mollified_relu(eps)
    assert (float(sigma(-t * eps)), float(sigma(t * eps))) == (0.0, t * eps)


def test_names_find_activations_and_activations_find_themselves():
    assert [act.get(name).name for name in NAMED] == NAMED
    assert all(act.get(sigma) is sigma for sigma in ALL)
    assert repr(act.tanh) == "Activation('tanh')"


@pytest.mark.parametrize("unknown", ["gelu", "", "Tanh", None, 3, ["tanh"], jnp.tanh])
def test_unknown_names_are_refused_with_a_list_of_those_that_exist(unknown):
    with pytest.raises(ValueError, match="no activation is called") as error:
        act.get(unknown)
    assert ", ".join(NAMED) in str(error.value)


def test_activations_are_equal_exactly_when_their_parts_are():
    assert dataclasses.replace(act.tanh) == act.tanh
    assert dataclasses.replace(act.tanh, name="other") != act.tanh
    assert len({*ALL, *map(dataclasses.replace, ALL)}) == len(ALL)  # equal ones hash alike
    assert isinstance(act.tanh, Activation)


@pytest.mark.parametrize("make, default", [(act.leaky_relu, 0.125), (act.mollified_relu, 0.1)])
def test_same_parameter_makes_the_same_activation_however_it_is_passed(make, default):
    keyword = {"leaky_relu": "slope", "mollified_relu": "eps"}[make.__name__]
    assert make() == make(default) == make(**{keyword: np.float64(default)}) == act.get(make().name)
    assert make(0.5) != make()
    assert make(0.5).name == f"{make.__name__}(0.5)"


@pytest.mark.parametrize("slope", [0, 1, -0.5, 2, np.nan])
def test_leaky_relu_refuses_slopes_outside_the_unit_interval(slope):
    with pytest.raises(ValueError, match=r"slope must lie in \(0, 1\)"):
        act.leaky_relu(slope)


@pytest.mark.parametrize("eps", [0, -1, np.inf, np.nan])
def test_mollified_relu_refuses_widths_that_are_not_positive(eps):
    with pytest.raises(ValueError, match="eps must be a positive number"):
        act.mollified_relu(eps)
