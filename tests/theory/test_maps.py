"""Moments and maps over q in [1e-6, 1e4] and c in [-1, 1]: extended precision, two methods, and exact identities."""

import math

import mpmath
import numpy as np
import pytest

from steadygrad import theory
from steadygrad.theory.activations.closed import angle
from steadygrad.theory.angle_map import AngleMap


@pytest.fixture(scope="module", autouse=True)
def digits():
    with mpmath.workdps(25):  # the precision is global: other tests have their own
        yield


REFERENCE = {
    "tanh": mpmath.tanh,
    "gelu": lambda u: u * mpmath.erfc(-u / mpmath.sqrt(2)) / 2,
    "elu": lambda u: u if u > 0 else mpmath.expm1(u),
    "hardswish": lambda u: u * min(max(u / 6 + mpmath.mpf(1) / 2, 0), 1),
    "softsign": lambda u: u / (1 + abs(u)),
}
GAPS = np.array([1e-30, 1e-15, 1e-6, 0.01, 0.3, 1.0, 1.7, 1.99, 2.0])
SILENT = {"softshrink", "hardshrink"}  # no mass beyond 0.5 at q = 1e-6


def panels(name, sd):
    cuts = {-14.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0, 14.0}
    centres = theory.activation(name).kinks or (0.0,)
    cuts |= {(k + s * w) / sd for k in centres for s in (-1, 1) for w in (0.0, 0.5, 2.0, 6.0, 20.0)}
    return [mpmath.mpf(c) for c in sorted(c for c in cuts if abs(c) <= 14)]


@pytest.mark.parametrize("q", [1e-6, 1.0, 37.0, 1e4])
@pytest.mark.parametrize("name", REFERENCE)
def test_second_moment_in_extended_precision(name, q):
    sd, f = mpmath.sqrt(q), REFERENCE[name]
    exact = mpmath.quad(lambda z: f(sd * z) ** 2 * mpmath.npdf(z), panels(name, math.sqrt(q)))
    assert theory.moments(name, q).second == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("q", [0.5, 4.0])
def test_gelu_map_in_extended_precision_near_c_1(q):
    """The slope at c = 1 and the next order: 1 - C = t q E[phi'^2]/E[phi^2] (1 - ...), to its own digits."""
    m = theory.moments("gelu", q)
    t = 1e-30
    assert float(theory.gap_map("gelu", q, t)) == pytest.approx(t * q * m.derivative_second / m.second, rel=1e-11)


@pytest.mark.parametrize("q", [1e-6, 0.1, 1.0, 9.0, 1e4])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "erf"])
@pytest.mark.parametrize("kind", ["phi", "derivative"])
def test_closed_forms_agree_with_the_double_integral(name, kind, q):
    entry = theory.activation(name)
    direct, closed = AngleMap(entry, kind, q), theory.gap_map if kind == "phi" else theory.derivative_gap_map
    angles = np.array([0.3, 1.2, 2.0, 3.0])
    gaps = 2 * np.sin(angles / 2) ** 2
    exact = closed(entry, q, gaps)
    got = np.array([direct.direct(a) for a in angles])
    np.testing.assert_allclose(got, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("q", [0.3, 1.0, 9.0, 100.0])
@pytest.mark.parametrize("kind", ["phi", "derivative", "square", "derivative_square"])
@pytest.mark.parametrize("name", ["hardtanh", "relu6", "hardswish", "hardshrink", "selu"])
def test_integration_over_the_angle_agrees_with_the_double_integral(name, kind, q):
    found = AngleMap(theory.activation(name), kind, q)
    angles = np.array([0.02, 0.4, 1.5, 2.7, 3.1])
    exact = np.array([found.direct(a) for a in angles])
    np.testing.assert_allclose(found(2 * np.sin(angles / 2) ** 2), exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "sigmoid", "mish"])
def test_the_series_agrees_with_the_double_integral(name):
    angles = np.array([0.05, 0.7, 1.6, 2.8, math.pi])
    found = AngleMap(theory.activation(name), "phi", 1.3)
    exact = np.array([found.direct(a) for a in angles[:-1]])
    got = theory.gap_map(name, 1.3, 2 * np.sin(angles / 2) ** 2)
    np.testing.assert_allclose(got[:-1], exact, rtol=1e-11)


@pytest.mark.parametrize("q", [1e-6, 1.0, 50.0])
@pytest.mark.parametrize("name", sorted(set(theory.NAMES) - SILENT))
def test_laws_of_a_gap_map(name, q):
    entry = theory.activation(name)
    if name == "exp" and q > 10:
        return
    m = theory.moments(entry, q)
    out = theory.gap_map(entry, q, GAPS)
    assert np.all(np.isfinite(out))
    assert float(theory.gap_map(entry, q, 0.0)) == 0
    # C(0) = E[phi]^2 / E[phi^2]; where the mean is all of phi the gap is what variance is left
    at_0 = m.mean**2 / m.second
    assert out[5] == pytest.approx(1 - at_0, rel=1e-9, abs=1e-13)
    # the slope at c = 1 is chi_1 of the gain, a phi without jumps
    if not entry.jumps:
        slope = q * m.derivative_second / m.second
        corner = 1e-15**0.5 if entry.corners else 1e-12
        assert out[0] / GAPS[0] == pytest.approx(slope, rel=10 * corner)
    assert np.all(np.diff(out[:6]) >= 0)  # C rises on [0, 1]: all its Taylor coefficients are >= 0


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "elu", "hardtanh", "sigmoid"])
def test_square_correlation_runs_from_kappa_to_0(name):
    m = theory.moments(name, 1.4)
    at = theory.square_correlation(name, 1.4, np.array([0.0, 1.0]))
    assert at[0] == pytest.approx(m.kappa, rel=1e-12)
    assert at[1] == pytest.approx(0, abs=1e-11)
    slope = theory.derivative_square_correlation(name, 1.4, np.array([0.0, 1.0]))
    assert slope == pytest.approx([m.derivative_kappa, 0], rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("name", ["relu", "silu", "hardshrink", "exp"])
def test_gain_stability_is_the_derivative_of_the_variance_map(name):
    q, h = 1.3, 1e-5
    up, down = (theory.moments(name, q * math.exp(s * h)).second for s in (1, -1))
    assert theory.stability(name, q) == pytest.approx(math.log(up / down) / (2 * h), rel=1e-8)


def test_moments_with_a_mean_are_those_of_the_shifted_function():
    for name in ("relu", "tanh", "selu", "hardtanh"):
        phi = theory.activation(name).phi
        shifted = theory.activation(lambda u, phi=phi: phi(u + 0.8), name="shifted")
        got, expected = theory.moments(name, 2.0, 0.8), theory.moments(shifted, 2.0)
        assert (got.mean, got.second, got.fourth) == pytest.approx(
            (expected.mean, expected.second, expected.fourth), rel=1e-11
        )


def test_moments_that_a_double_cannot_hold_are_inf():
    m = theory.moments("exp", 1e4)
    assert (m.second, m.fourth) == (math.inf, math.inf)
    assert theory.moments("exp", 80.0).second == pytest.approx(math.exp(160), rel=1e-12)


def test_the_angle_keeps_the_smallest_gap():
    assert angle(np.array([2e-30, 2.0])) == pytest.approx([2e-15, math.pi], rel=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.moments("relu", -1), "`q` is a variance and must be >= 0, got -1"),
        (lambda: theory.moments("relu", math.nan), "`q` is a variance"),
        (lambda: theory.moments("relu", math.inf), "`q` is a variance"),
        (lambda: theory.moments("relu", 1.0, math.inf), "`mean` must be finite"),
        (
            lambda: theory.correlation_map("relu", 1.0, 1.1),
            r"`c` is a correlation and must be within \[-1, 1\], got 1.1",
        ),
        (lambda: theory.correlation_map("relu", 1.0, [0.0, math.nan]), "`c` is a correlation"),
        (lambda: theory.gap_map("tanh", 1.0, -1e-9), r"`gap` is 1 - c and must be within \[0, 2\]"),
        (lambda: theory.gap_map("tanh", 0.0, 0.5), "`q` must be > 0"),
        (lambda: theory.gap_map("hardshrink", 1e-6, 0.5), "finite second moment > 0"),
        (lambda: theory.gain("hardshrink", 1e-6), "finite second moment > 0"),
        (lambda: theory.gain("exp", 1e4), "finite second moment > 0"),
        (lambda: theory.variance_map("relu", 1.0, sigma_w=-1.0), "`sigma_w` is a standard deviation"),
        (lambda: theory.edge_of_chaos("tanh", sigma_b=-0.1), "`sigma_b` is a standard deviation"),
        (lambda: theory.mlp(depth=0, width=3, activation="relu"), "`depth` is a number of hidden layers"),
        (lambda: theory.mlp(depth=2, width=[3], activation="relu"), "`width` must be one number or 2"),
        (lambda: theory.mlp(depth=2, width=3, activation="relu", c=2.0), "`c` is a correlation"),
        (lambda: theory.mlp(depth=2, width=3, activation="relu", init="xaver-normal"), "Did you mean 'xavier-normal'"),
        (lambda: theory.jacobian_density("gelu", q=1.0, sigma_w=1.0, depth=2), "must have slopes 0 and 1 only"),
        (lambda: theory.correlation_fixed_points("tanh", q=1.0, sigma_w=1.0), "must be a fixed point"),
        (lambda: theory.float_format("float8"), "`precision` must be one of"),
    ],
)
def test_bad_input_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()
