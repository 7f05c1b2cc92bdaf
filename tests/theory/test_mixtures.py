"""Gaussian mixtures and their whole Hermite series, against the double integral, exact sums and exact slopes."""

import math

import numpy as np
import pytest

from steadygrad import theory
from steadygrad.theory.angle_map import AngleMap
from steadygrad.theory.gaussian_mixture import LARGEST_ERROR, gaussian_mixture
from steadygrad.theory.graded_sum import central_binomial, discrete_gauss, graded_rule
from steadygrad.theory.mixture_map import mixture_map

SMOOTH = ["tanh", "sigmoid", "softplus", "logsigmoid", "silu", "gelu", "mish", "tanhshrink"]
KINKED = ["softsign", "elu", "celu", "selu"]
ANGLES = np.array([0.05, 1.9, 3.0])


@pytest.mark.parametrize("q", [37.0, 1e4])
@pytest.mark.parametrize("name", ["tanh", "gelu", "mish", "softsign", "elu", "selu"])
def test_a_mixtures_map_agrees_with_the_double_integral(name, q):
    entry = theory.activation(name)
    direct = AngleMap(entry, "phi", q)
    exact = [direct.direct(t) for t in ANGLES]
    np.testing.assert_allclose(mixture_map(entry, q, "phi")(2 * np.sin(ANGLES / 2) ** 2), exact, rtol=2e-12)


@pytest.mark.parametrize("q", [37.0, 1e4])
@pytest.mark.parametrize("name", ["sigmoid", "silu", "gelu"])
def test_so_does_that_of_the_derivative(name, q):
    entry = theory.activation(name)
    direct = AngleMap(entry, "derivative", q)
    exact = [direct.direct(t) for t in ANGLES]
    np.testing.assert_allclose(mixture_map(entry, q, "derivative")(2 * np.sin(ANGLES / 2) ** 2), exact, rtol=2e-12)


@pytest.mark.parametrize("q", [1e-6, 1.0, 37.0, 1e4])
@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_a_mixtures_slope_and_middle_are_those_of_the_moments(name, q):
    """1 - C = t chi_1 / gain^2 sigma_w^2 -> q E[phi'^2] / E[phi^2] t as t -> 0, and C(0) = E[phi]^2 / E[phi^2]."""
    m = theory.moments(name, q)
    found = mixture_map(theory.activation(name), q, "phi")
    if name == "tanhshrink" and q < 1e-3:
        assert found is None  # phi' = u^2 is below the fit's error there
        return
    at = found(np.array([1e-30, 1.0, 2.0]))
    assert at[0] / 1e-30 == pytest.approx(q * m.derivative_second / m.second, rel=2e-12)
    assert at[1] == pytest.approx(1 - m.mean**2 / m.second, rel=1e-11, abs=1e-15)
    if name in ("tanh", "tanhshrink", "softsign"):
        assert at[2] == pytest.approx(2, rel=1e-15)


@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_the_fit_holds_at_points_of_its_own(name):
    entry, u = theory.activation(name), np.random.default_rng(1).uniform(-60, 60, 500)
    f = gaussian_mixture(entry)
    even = np.exp(-0.5 * u[:, None] ** 2 * f.rates) @ f.even
    odd = np.array([math.erf(x) for x in np.outer(u, np.sqrt(f.rates / 2)).ravel()]).reshape(u.size, -1) @ f.odd
    np.testing.assert_allclose(f.constant + even + odd + f.sign * np.sign(u), entry.derivative(u), atol=LARGEST_ERROR)


def test_what_is_no_mixture_is_left_to_the_angle():
    for name in ("hardtanh", "hardshrink", "sin", "exp"):
        assert gaussian_mixture(theory.activation(name)) is None
    assert mixture_map(theory.activation("softsign"), 1.0, "derivative") is None


def test_central_binomials_series():
    m = np.array([0.0, 5.0, 31.0, 32.0, 33.0, 100.0, 500.0])
    exact = [math.comb(2 * int(k), int(k)) / 4 ** int(k) for k in m]
    np.testing.assert_allclose(central_binomial(m), exact, rtol=1e-14)


def test_graded_sums_of_powers_and_geometric_series():
    m, w = graded_rule(1e20)
    assert w @ (m + 0.5) ** -2 == pytest.approx(math.pi**2 / 2, rel=1e-14)
    for t in (1e-1, 1e-4, 1e-9):
        assert w @ np.exp(m * math.log1p(-t)) == pytest.approx(1 / t, rel=1e-12)


def test_discrete_gauss_sums_polynomials():
    x, w = discrete_gauss(40, 6)
    for degree in range(12):
        assert w @ x**degree == pytest.approx(sum(k**degree for k in range(40)), rel=1e-12)


@pytest.mark.parametrize("q", [37.0, 1e4])
def test_a_callables_map_is_that_of_the_name(q):
    gaps = np.array([1e-20, 0.1, 1.3, 2.0])
    mine = theory.activation(lambda u: np.tanh(u), name="mine")
    assert mixture_map(mine, q, "phi") is not None
    np.testing.assert_allclose(theory.gap_map(mine, q, gaps), theory.gap_map("tanh", q, gaps), rtol=1e-10)


def test_a_feature_between_the_points_of_the_fit_is_seen():
    def narrow(u):
        return np.tanh(u) + 0.01 * np.exp(-0.5 * ((u - 47.0) / 0.05) ** 2)

    def slope(u):
        x = (u - 47.0) / 0.05
        return 1 / np.cosh(np.clip(u, -300, 300)) ** 2 - 0.2 * x * np.exp(-0.5 * x**2)

    entry = theory.activation(narrow, derivative=slope, name="narrow")
    assert mixture_map(entry, 900.0, "phi") is None
