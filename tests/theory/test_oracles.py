"""The table of reference values: closed forms, published numbers and adaptive quadrature to 1e-12."""

import math

import numpy as np
import pytest

from steadygrad import theory

# phi: gain, chi_1, s, kappa, centred gain at q = 1
TABLE = {
    "relu": (1.414214, 1, 1, 5, 1.712859),
    "tanh": (1.592537, 1.177807, 0.461071, 0.627291, 1.592537),
    "erf": (1.467167, 1.225700, 0.408567, 0.559839, 1.467167),
    "gelu": (1.533530, 1.072032, 1.144063, 6.215614, 1.700926),
    "silu": (1.676532, 1.066634, 1.172594, 6.261746, 1.787187),
    "mish": (1.486848, 1.059118, 1.076339, 5.349416, 1.592025),
    "elu": (1.245198, 1.035905, 0.890968, 2.776022, 1.270843),
    "selu": (1, 1.071575, 0.782648, 1.503140, 1),
    "softplus": (1.041867, 0.318459, 0.492053, 1.754529, 1.919126),
    "sigmoid": (1.846229, 0.152827, 0.106341, 0.528900, 4.801313),
}


@pytest.mark.parametrize("name", TABLE)
def test_gain_table(name):
    got = theory.gain(name)
    assert (got.gain, got.chi_1, got.stability, got.kappa, got.centred_gain) == pytest.approx(TABLE[name], abs=6e-7)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
def test_smooth_rectifiers_are_said_to_be_unstable(name):
    assert "unstable" in theory.gain(name).verdict


def test_1_relu_correlation_map():
    c = np.linspace(-1, 1, 101)
    expected = (np.sqrt(1 - c**2) + c * (np.pi - np.arccos(c))) / np.pi
    np.testing.assert_allclose(theory.correlation_map("relu", 1.0, c), expected, rtol=0, atol=2e-15)
    assert theory.correlation_map("relu", 7.0, 0.0) == pytest.approx(1 / math.pi, abs=1e-15)


def test_2_relu_iterates():
    c = 1 - theory.iterate_gap("relu", 1.0, 100)
    assert c[[1, 2, 3, 10, 100]] == pytest.approx([0.318310, 0.493731, 0.604826, 0.871536, 0.996423], abs=6e-7)


def test_3_relu_decay_at_depth_1e5():
    """1 - c_l -> 9 pi^2 / (2 l^2): next order is (1 + O(ln l / l)), below 1e-3 at l = 1e5."""
    gap, depth = np.array([1.0]), 100_000
    step = theory.activation("relu").closed.gap
    for _ in range(depth):
        gap = step(1.0, gap)
    assert gap[0] * 2 * depth**2 / (9 * math.pi**2) == pytest.approx(1, abs=1e-3)
    rate = theory.convergence("relu", q=1.0, sigma_w=math.sqrt(2))
    assert (rate.exponent, rate.coefficient) == (2.0, pytest.approx(9 * math.pi**2 / 2, rel=1e-9))


@pytest.mark.parametrize("slope", [0.01, 0.25, 0.9, 3.0])
def test_4_leaky_relu_correlation_map(slope):
    c = np.linspace(-1, 1, 41)
    arc = (np.sqrt(1 - c**2) + c * (np.pi - np.arccos(c))) / np.pi
    expected = ((1 - slope) ** 2 * arc + 2 * slope * c) / (1 + slope**2)
    phi = theory.activation("leaky_relu", negative_slope=slope)
    np.testing.assert_allclose(theory.correlation_map(phi, 2.0, c), expected, rtol=0, atol=4e-15)


@pytest.mark.parametrize(("depth", "slope"), [(20, 0.181380), (50, 0.430523), (100, 0.570440)])
def test_5_tailored_relu_slope(depth, slope):
    assert theory.tailored_relu_slope(depth=depth) == pytest.approx(slope, abs=1e-6)


def test_5_a_shallow_network_cannot_reach_the_target():
    with pytest.raises(ValueError, match=r"must be at most 0\.8715"):
        theory.tailored_relu_slope(depth=10)


@pytest.mark.parametrize("q", [1e-6, 0.3, 1.0, 40.0, 1e4])
def test_6_erf_moments(q):
    m = theory.moments("erf", q)
    assert m.second == pytest.approx(2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-12)
    assert m.derivative_second == pytest.approx(4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-12)


def test_7_erf_edge_of_chaos():
    q = np.geomspace(1e-3, 1e2, 20)
    curve = theory.edge_of_chaos_curve("erf", q)
    np.testing.assert_allclose(curve.sigma_w**2, math.pi / 4 * np.sqrt(1 + 4 * q), rtol=1e-12)
    at_1 = theory.edge_of_chaos_curve("erf", [1.0])
    assert at_1.sigma_b[0] ** 2 == pytest.approx(0.184140, abs=6e-7)
    edge = theory.edge_of_chaos("erf", sigma_b=math.sqrt(0.05))
    assert (edge.sigma_w**2, edge.q) == pytest.approx((1.375839, 0.517177), abs=6e-7)


@pytest.mark.parametrize("q", [1e-6, 0.1, 1.0, 10.0, 1e4])
def test_8_gelu_second_moment(q):
    expected = q * (0.25 + (q / ((1 + q) * math.sqrt(1 + 2 * q)) + math.asin(q / (1 + q)) / 2) / math.pi)
    assert theory.moments("gelu", q).second == pytest.approx(expected, rel=1e-12)
    assert theory.moments("gelu", 1.0).second == pytest.approx(0.425221483, abs=5e-10)


@pytest.mark.parametrize("q", [1e-6, 0.1, 1.0, 10.0, 1e4])
def test_9_sine(q):
    assert theory.moments("sin", q).second == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-11)
    assert theory.edge_of_chaos("sin").sigma_w == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("bias", "weight"), [(1e-4, 1.086026), (0.01, 1.424205), (0.04, 1.700797), (0.05, 1.760955), (0.09, 1.947655)]
)
def test_10_tanh_edge_of_chaos(bias, weight):
    edge = theory.edge_of_chaos("tanh", sigma_b=math.sqrt(bias))
    assert edge.sigma_w**2 == pytest.approx(weight, abs=1e-6)
    if bias == 0.05:
        assert edge.q == pytest.approx(0.570048, abs=6e-7)


@pytest.mark.parametrize(("weight", "xi"), [(1.0, 3.627), (1.5, 15.791), (1.7, 74.918)])
def test_11_tanh_depth_scale(weight, xi):
    found = theory.fixed_points("tanh", sigma_w=math.sqrt(weight), sigma_b=math.sqrt(0.05))
    assert found.points[0].xi_c == pytest.approx(xi, abs=6e-4)


def test_11_beyond_the_edge_is_chaotic():
    found = theory.phase("tanh", sigma_w=math.sqrt(1.8), sigma_b=math.sqrt(0.05))
    assert found.name == "chaotic"
    assert found.fixed_point.chi_1 == pytest.approx(1.00822, abs=6e-6)


@pytest.mark.parametrize(
    ("sigma_w", "q", "chi"), [(1.3, 0.607047, 0.939807), (2.5, 4.079124, 1.585225), (4.0, 12.604149, 2.367261)]
)
def test_12_and_13_tanh_fixed_points(sigma_w, q, chi):
    (point,) = theory.fixed_points("tanh", sigma_w=sigma_w, sigma_b=0.3).points
    assert (point.q, point.chi_1) == pytest.approx((q, chi), abs=6e-7)
    if sigma_w == 1.3:
        assert (point.xi_q, point.xi_c) == (pytest.approx(1.3377, abs=6e-5), pytest.approx(16.108, abs=6e-4))


def test_14_tanh_at_the_edge_decays_as_1_over_2l():
    q, found = 1.0, {}
    for layer in range(1, 1001):
        q = theory.variance_map("tanh", q, sigma_w=1.0)
        found[layer] = q
    rate = theory.variance_convergence("tanh", sigma_w=1.0)
    assert (rate.exponent, rate.coefficient) == (1.0, pytest.approx(0.5, rel=1e-6))
    assert (found[10], found[100], found[1000]) == pytest.approx((0.052200, 0.0050690, 0.00050116), rel=1e-4)


def test_15_the_common_tanh_gain_is_chaotic():
    found = theory.phase("tanh", sigma_w=5 / 3)
    assert found.name == "chaotic"
    assert (found.fixed_point.q, found.fixed_point.chi_1) == pytest.approx((1.178480, 1.209831), abs=6e-7)
    assert found.fixed_point.chi_1**50 == pytest.approx(1.4e4, rel=0.05)


def test_16_the_default_linear_before_relu():
    """Wide: what differs between examples falls by 1/6 a layer, the bias keeps q at 2/(5n)."""
    profile = theory.mlp(depth=60, width=100_000, activation="relu", init="torch-default")
    rows = [row for row in profile if row.kind == "Linear"]
    assert rows[40].signal / rows[39].signal == pytest.approx(1 / 6, rel=1e-4)
    assert rows[20].grad_q / rows[19].grad_q == pytest.approx(6, rel=1e-3)
    assert rows[59].q == pytest.approx(2 / (5 * 100_000), rel=1e-3)


def test_16_at_width_128():
    at_20 = theory.mlp(depth=20, width=128, activation="relu", init="torch-default")["38"]
    assert at_20.q == pytest.approx(0.0031, rel=0.02)
    assert 1e-17 < at_20.signal < 1e-15


def test_17_gelu_at_its_gain_is_unstable():
    def after(q, layers):
        for _ in range(layers):
            q = theory.variance_map("gelu", q, sigma_w=theory.gain("gelu").gain)
        return q

    assert after(0.9, 100) < 1e-3
    assert after(1.1, 100) == pytest.approx(8.8e5, rel=0.01)


@pytest.mark.parametrize(("n", "depth", "second"), [(100, 20, 2.653298), (256, 50, 2.630433)])
def test_18_second_moment_of_the_squared_norm(n, depth, second):
    assert theory.norm_moments(5.0, [n] * depth) == (1.0, pytest.approx(second, abs=1e-6))


def test_19_log_norm_to_first_order():
    law = theory.depth_laws("relu", [4000] * 20)[-1]
    assert law.mean == pytest.approx(-20 * 5 / 8000, rel=2e-3)
    assert law.variance == pytest.approx(20 * 5 / 4000, rel=4e-3)
    linear = theory.depth_laws("identity", [4000] * 20)[-1]
    assert linear.mean == pytest.approx(-20 * 2 / 8000, rel=2e-3)


def test_19_narrow_networks_need_the_exact_law():
    law = theory.depth_laws("relu", [16] * 20)[-1]
    assert law.mean == pytest.approx(-3.53, abs=0.005)
    assert law.variance == pytest.approx(8.4, abs=0.05)


@pytest.mark.parametrize(
    ("n", "depth", "p"), [(2, 10, 0.943686), (5, 20, 0.470051), (10, 10, 0.009723), (10, 100, 0.093083)]
)
def test_20_born_dead(n, depth, p):
    assert theory.born_dead([n] * depth).one_input == pytest.approx(p, abs=6e-7)


@pytest.mark.parametrize("depth", [1, 2, 10, 100])
def test_22_largest_singular_value_of_a_linear_network(depth):
    edge = theory.jacobian_density("identity", q=1.0, sigma_w=1.0, depth=depth).edge
    assert edge == pytest.approx((depth + 1) ** (depth + 1) / depth**depth, rel=1e-9)


@pytest.mark.parametrize(("phi", "sigma_w"), [("identity", 1.0), ("relu", math.sqrt(2))])
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_23_variance_of_the_jacobian_spectrum(phi, sigma_w, weights):
    expected = {"identity": {"gaussian": 7, "orthogonal": 0}, "relu": {"gaussian": 14, "orthogonal": 7}}
    got = theory.jacobian_spectrum(phi, q=1.0, sigma_w=sigma_w, depth=7, weights=weights)
    assert got.relative_variance == pytest.approx(expected[phi][weights], abs=1e-9)


def test_24_decay_on_the_edge_for_a_smooth_activation():
    """t_l ~ 2/(beta l) with beta = sigma_w^2 q E[phi''^2]."""
    edge = theory.edge_of_chaos("tanh", sigma_b=math.sqrt(0.05))
    bend = theory.gaussian_mean(lambda u: (2 * np.tanh(u) * (1 - np.tanh(u) ** 2)) ** 2, edge.q)
    rate = theory.convergence("tanh", q=edge.q, sigma_w=edge.sigma_w)
    assert (rate.exponent, rate.coefficient) == (1.0, pytest.approx(2 / (edge.sigma_w**2 * edge.q * bend), rel=1e-8))


def test_25_residual_stream_with_he_branches():
    assert theory.residual_stream("relu", depth=10).q[-1] == pytest.approx(2**10, rel=1e-12)
    scaled = theory.residual_stream("relu", depth=1000, alpha=1000**-0.5).q[-1]
    assert scaled == pytest.approx(math.e, rel=1e-3)


def test_29_xavier_before_relu_halves_the_signal():
    assert theory.variance_map("relu", 1.0, sigma_w=theory.initializer("xavier-normal").sigma_w(64, 64)) == (
        pytest.approx(0.5, abs=1e-15)
    )
