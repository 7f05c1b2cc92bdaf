"""What theory says of whole networks, against draws of real ones; tolerances are five standard errors."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad import theory

torch.set_num_threads(1)


def within(sample, expected, *, slack=0.0):
    sample = np.asarray(sample)
    error = sample.std(ddof=1) / math.sqrt(sample.size)
    assert abs(sample.mean() - expected) <= 5 * error + slack * abs(expected), (sample.mean(), expected, error)


def layer_squares(phi, n, draws, seed):
    rng = np.random.default_rng(seed)
    squares = theory.activation(phi).phi(rng.standard_normal((draws, n))) ** 2
    return squares.mean(axis=1) / theory.moments(phi, 1.0).second


@pytest.mark.parametrize(("phi", "n"), [("relu", 6), ("relu", 30), ("identity", 10)])
def test_19_exact_log_law_of_a_layer(phi, n):
    draws = layer_squares(phi, n, 100_000, seed=n)
    logs = np.log(draws[draws > 0])
    law = theory.layer_law(phi, n)
    within(logs, law.mean)
    within((logs - law.mean) ** 2, law.variance)
    within((logs - law.mean) ** 3, law.third)


@pytest.mark.parametrize("phi", ["tanh", "gelu", "leaky_relu", "selu"])
def test_matched_log_law_is_right_to_second_order_in_1_over_n(phi):
    """The error of mean and variance is O(1/n^2): (kappa/n)^2 bounds it with room."""
    n = 100
    kappa = theory.moments(phi, 1.0).kappa
    logs = np.log(layer_squares(phi, n, 40_000, seed=2))
    law = theory.log_mean_square(phi, n)
    error = 5 * logs.std() / math.sqrt(logs.size)
    assert abs(logs.mean() - law.mean) <= error + (kappa / n) ** 2
    spread = 5 * np.std((logs - logs.mean()) ** 2) / math.sqrt(logs.size)
    assert abs(logs.var() - law.variance) <= spread + 4 * (kappa / n) ** 2


def test_the_band_holds_its_share_of_draws():
    law = theory.depth_laws("relu", [20] * 12)[-1]
    rng = np.random.default_rng(5)
    logs = np.zeros(20_000)
    for _ in range(12):
        logs += np.log(2 * (np.maximum(rng.standard_normal((logs.size, 20)), 0) ** 2).mean(axis=1))
    low, high = law.band()
    inside = (logs > low) & (logs < high)
    within(inside, 0.95, slack=0.01)


def network(activation, depth, width, init):
    layers = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        if init != "torch-default":
            nn.init.kaiming_normal_(linear.weight) if init == "he-normal" else nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
        layers += [linear, activation()]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("name", "module", "init"),
    [("relu", nn.ReLU, "he-normal"), ("relu", nn.ReLU, "torch-default"), ("tanh", nn.Tanh, "xavier-normal")],
)
def test_a_profile_is_what_real_networks_show(name, module, init):
    """The mean over draws of log q and log of the squared gradient, layer 1, 3 and 6, within 5 errors and 5%."""
    depth, width, draws = 6, 100, 150
    torch.manual_seed(3)
    profile = theory.mlp(depth=depth, width=width, activation=name, init=init)
    forward, backward = {}, {}
    for _ in range(draws):
        out = torch.randn(1, width)
        out = (out / out.pow(2).mean().sqrt()).requires_grad_()
        seen = []
        for module_ in network(module, depth, width, init):
            out = module_(out)
            out.retain_grad()
            seen.append(out)
        out.backward(torch.randn_like(out))
        for i in (0, 4, 10, 5, 11):
            forward.setdefault(i, []).append(seen[i].detach().pow(2).mean().log().item())
            backward.setdefault(i, []).append(seen[i].grad.pow(2).mean().log().item())
    for i, logs in forward.items():
        row = profile[str(i)]
        assert abs(np.median(logs) - math.log(row.q)) <= 6.3 * np.std(logs) / math.sqrt(draws) + 0.05
        within((np.array(logs) > math.log(row.q_low)) & (np.array(logs) < math.log(row.q_high)), 0.95, slack=0.03)
    for i, logs in backward.items():
        assert abs(np.median(logs) - math.log(profile[str(i)].grad_q)) <= 6.3 * np.std(logs) / math.sqrt(draws) + 0.05


@pytest.mark.parametrize("init", ["he-normal", "torch-default"])
def test_correlations_of_a_wide_network_follow_the_profile(init):
    torch.manual_seed(0)
    depth, width = 5, 1500
    profile = theory.mlp(depth=depth, width=width, activation="relu", init=init, c=0.3)
    shared, own = torch.randn(1, width), torch.randn(2, width)
    x = math.sqrt(0.3) * shared + math.sqrt(0.7) * own
    for i, module in enumerate(network(nn.ReLU, depth, width, init)):
        with torch.no_grad():
            x = module(x)
        c = float((x[0] * x[1]).mean() / x.pow(2).mean())
        assert c == pytest.approx(profile[str(i)].c, abs=5 / math.sqrt(width))


def test_22_and_23_singular_values_of_real_products():
    rng = np.random.default_rng(0)
    n, depth = 200, 3
    values = []
    for _ in range(4):
        product = np.eye(n)
        for _ in range(depth):
            slopes = rng.permutation(np.repeat([0.0, 1.0], n // 2))
            product = slopes[:, None] * (math.sqrt(2 / n) * rng.standard_normal((n, n)) @ product)
        values.append(np.linalg.svd(product, compute_uv=False) ** 2)
    found = theory.jacobian_density("relu", q=1.0, sigma_w=math.sqrt(2), depth=depth, points=2000)
    for threshold in (0.1, 1.0, 4.0):
        part = found.value > threshold
        share = np.trapezoid((found.density * found.value)[part], np.log(found.value[part]))
        assert np.mean([(v > threshold).mean() for v in values]) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize(("phi", "q", "depth"), [("relu", 1.0, 4), ("hardtanh", 0.25, 10), ("hardtanh", 1.0, 6)])
def test_a_density_has_the_moments_of_its_spectrum(phi, q, depth, weights):
    sigma_w = theory.moments(phi, q).derivative_second ** -0.5
    found = theory.jacobian_density(phi, q=q, sigma_w=sigma_w, depth=depth, weights=weights, points=3000)
    moments = theory.jacobian_spectrum(phi, q=q, sigma_w=sigma_w, depth=depth, weights=weights)
    z, weight, log_z = found.value, found.density * found.value, np.log(found.value)
    assert np.trapezoid(weight, log_z) + found.at_zero + found.at_top == pytest.approx(1, abs=1e-4)
    assert np.trapezoid(weight * z, log_z) + found.at_top * found.edge == pytest.approx(1, abs=1e-4)
    second = np.trapezoid(weight * z * z, log_z) + found.at_top * found.edge**2
    assert second - 1 == pytest.approx(moments.relative_variance, abs=1e-3)


@pytest.mark.parametrize(("examples", "c", "shift"), [(50, 0.5, 0.0), (200, 0.95, -0.5), (7, 0.0, 0.2)])
def test_dead_units_against_draws(examples, c, shift):
    rng = np.random.default_rng(1)
    shared, own = rng.standard_normal((40_000, 1)), rng.standard_normal((40_000, examples))
    u = shift + math.sqrt(c) * shared + math.sqrt(1 - c) * own
    within((u.max(axis=1) <= 0).astype(float), theory.dead_unit_probability(examples=examples, c=c, shift=shift))


@pytest.mark.parametrize(("classes", "scale"), [(10, 1.0), (2, 3.0), (200, 0.5), (10, 8.0)])
def test_softmax_against_draws(classes, scale):
    rng = np.random.default_rng(4)
    z = scale * rng.standard_normal((40_000, classes))
    top = z.max(axis=1, keepdims=True)
    p = np.exp(z - top)
    log_sum = (top + np.log(p.sum(axis=1, keepdims=True)))[:, 0]
    p /= p.sum(axis=1, keepdims=True)
    at = theory.softmax_at_init(classes=classes, logit_scale=scale)
    within(log_sum, at.loss)
    within(p.max(axis=1), at.largest_probability)
    within((p**2).sum(axis=1), at.collision)
    within(log_sum - (p * z).sum(axis=1), at.entropy)
    within(((p - np.eye(classes)[0]) ** 2).mean(axis=1), at.gradient)


def test_softmax_of_small_logits_is_ln_k_and_a_half_of_the_variance():
    at = theory.softmax_at_init(classes=7, logit_scale=1e-3)
    assert at.loss - math.log(7) == pytest.approx(0.5e-6 * (1 - 1 / 7), rel=1e-3)


@pytest.mark.parametrize("precision", theory.FORMATS)
def test_formats_are_those_of_numpy_and_torch(precision):
    info, form = torch.finfo(getattr(torch, precision)), theory.float_format(precision)
    assert (form.largest, form.smallest_normal, 2 * form.roundoff) == (info.max, info.smallest_normal, info.eps)
    assert form.smallest == form.smallest_normal * info.eps


def test_half_precision_loses_what_vanishes_and_the_loss_scale_saves_it():
    profile = theory.mlp(depth=16, width=256, activation="relu", init="torch-default")
    found = theory.half_precision(profile)
    assert found.losing
    assert math.isfinite(found.loss_scale)
    scaled = found.loss_scale**2 * min(row.grad_q for row in profile)
    assert math.erf(theory.float_format("float16").smallest / 2 / math.sqrt(2 * scaled)) <= 0.01
    assert not theory.half_precision(profile, precision="float32").losing


def test_gradient_norm_against_real_networks():
    depth, width, batch, draws = 4, 40, 16, 120
    torch.manual_seed(7)
    norms = []
    for _ in range(draws):
        model = network(nn.ReLU, depth, width, "he-normal")
        out = model(torch.randn(batch, width))
        (out * torch.randn_like(out)).sum(dim=1).mean().backward()
        norms.append(sum(float(p.weight.grad.pow(2).sum()) for p in model if isinstance(p, nn.Linear)) ** 0.5)
    law = theory.gradient_norm(theory.mlp(depth=depth, width=width, activation="relu", init="he-normal"), batch_size=16)
    error = 1.2533 * np.std(norms) / math.sqrt(draws)
    # the examples of a batch share a network but average its gradients: 10% for the band of one example
    assert np.median(norms) == pytest.approx(law.median, abs=5 * error + 0.1 * law.median)
    assert np.mean((np.array(norms) > law.low) & (np.array(norms) < law.high)) > 0.9


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus", "silu"])
def test_deep_kernel_shaping_meets_its_conditions(name):
    made = theory.deep_kernel_shaping(name, depth=30).activation
    m = theory.moments(made, 1.0)
    assert (m.mean, m.second, theory.stability(made, 1.0)) == pytest.approx((0, 1, 1), abs=1e-8)
    assert m.derivative_second == pytest.approx(1.5 ** (1 / 30), abs=1e-8)


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus", "elu"])
def test_tailored_smooth_meets_its_conditions(name):
    made = theory.tailored_smooth(name, depth=30).activation
    m = theory.moments(made, 1.0)
    assert (m.second, theory.stability(made, 1.0), m.derivative_second) == pytest.approx((1, 1, 1), abs=1e-6)
    bend = theory.curvature(made, 1.0)
    assert bend == pytest.approx(0.3 / 30, rel=1e-6)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "sigmoid", "selu"])
def test_a_recommendation_keeps_signal_and_gradient(name):
    advice = theory.recommend(name)
    assert theory.variance_map(name, advice.q, sigma_w=advice.sigma_w, sigma_b=advice.sigma_b) == pytest.approx(
        advice.q
    )
    chi = advice.sigma_w**2 * theory.moments(name, advice.q).derivative_second
    assert chi == pytest.approx(1) or ("cannot be critical" in advice.words and chi < 1)


def test_recommended_code_sets_what_it_says():
    layer, advice = nn.Linear(4000, 50), theory.recommend("tanh")
    torch.manual_seed(0)
    exec(advice.code, {"torch": torch, "layer": layer})
    assert float(layer.weight.detach().std() * 4000**0.5) == pytest.approx(
        advice.sigma_w, rel=5 / math.sqrt(2 * 200_000)
    )


@pytest.mark.parametrize(
    ("alpha", "norm", "expected"), [(0.1, "none", 1.01**20), (1.0, "pre", 21.0), (1.0, "post", 1.0)]
)
def test_residual_streams(alpha, norm, expected):
    assert theory.residual_stream("relu", depth=20, alpha=alpha, norm=norm).q[-1] == pytest.approx(expected, rel=1e-12)


def test_several_and_no_fixed_points_are_said():
    assert theory.phase("relu", sigma_w=1.5).name == "no fixed point"
    several = theory.fixed_points("square", sigma_w=0.5, sigma_b=0.1)
    assert [p.stable for p in several.points] == [True, False]
    assert several.points[0].basin == (0.0, several.points[1].q)
    assert theory.fixed_points("relu", sigma_w=2**0.5).everywhere
    with pytest.raises(ValueError, match="has no critical sigma_w"):
        theory.edge_of_chaos("relu", sigma_b=0.5).only  # noqa: B018


@pytest.mark.parametrize(
    ("activation", "init"),
    [("relu", (10.0, 0.0)), ("relu", (0.01, 0.0)), ("silu", (0.1, 0.0)), ("square", (2.0, 0.0)), ("tanh", (0.0, 0.0))],
)
def test_a_network_that_leaves_every_scale_still_has_all_its_rows(activation, init):
    profile = theory.mlp(depth=400, width=50, activation=activation, init=init)
    assert len(profile) == 800
    last = profile.layers[-1].q
    assert math.isnan(last) or last == 0  # beyond a double's range: not known, or nothing


def test_far_beyond_the_usual_variances_a_power_law_holds():
    """GELU is ReLU there: at q = 1e16 and sigma_w^2 = 2 the variance is kept to 1e-5."""
    profile = theory.mlp(depth=2, width=10_000_000, activation="gelu", init=(math.sqrt(2), 0.0), q=1e16)
    assert profile["2"].q == pytest.approx(2e16, rel=1e-5)
    small = theory.mlp(depth=2, width=10_000_000, activation="tanh", init=(1.0, 0.0), q=1e-40)
    assert small["2"].q == pytest.approx(1e-40, rel=1e-5)
