"""What each clipping policy does, remembers and reports."""

import math

import pytest
import torch

from steadygrad.guard import clip


def fed(policy, values):
    """Gradients of the given sizes through a policy; what it left of them."""
    left = []
    for value in values:
        weight = torch.nn.Parameter(torch.zeros(1))
        weight.grad = torch.tensor([float(value)])
        policy(weight)
        left.append(weight.grad.item())
    return left


HISTORIES = {
    "percentile": lambda: clip.Percentile(50, warmup=4, window=8),
    "z": lambda: clip.ZScore(2, warmup=4, window=8),
}
STATEFUL = {
    **HISTORIES,
    "norm": lambda: clip.ByNorm(1.0),
    "value": lambda: clip.ByValue(1.0),
    "chain": lambda: clip.Chain(clip.ZScore(2, warmup=4, window=8), clip.ByNorm(1.0)),
}


@pytest.mark.parametrize("make", HISTORIES.values(), ids=HISTORIES)
def test_nothing_is_clipped_during_the_warm_up(make):
    values = [1.0, 50.0, 0.1, 1000.0]
    assert fed(make(), values) == pytest.approx(values)


@pytest.mark.parametrize("make", HISTORIES.values(), ids=HISTORIES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_never_enters_the_window(make, bad):
    clean, dirty = make(), make()
    fed(clean, [1.0, 2.0, 3.0, 4.0])
    fed(dirty, [1.0, bad, 2.0, bad, 3.0, 4.0, bad])
    assert fed(clean, [100.0]) == fed(dirty, [100.0])


@pytest.mark.parametrize("make", STATEFUL.values(), ids=STATEFUL)
@pytest.mark.parametrize("split", [0, 2, 6, 13])
def test_a_saved_policy_goes_on_bitwise_also_in_mid_warm_up(make, split):
    """Oracles, clipping: state_dict in mid warm-up resumes bitwise."""
    values = [1.0, 3.0, 0.5, 2.0, 9.0, 1.5, 0.2, 7.0, 1.1, 30.0, 2.0, 0.9, 4.0, 5.0, 11.0]
    whole, first, second = make(), make(), make()
    expected = fed(whole, values)
    fed(first, values[:split])
    second.load_state_dict(first.state_dict())
    assert fed(second, values[split:]) == expected[split:]
    assert second.statistics == whole.statistics


def test_the_window_forgets_the_oldest():
    policy = clip.Percentile(100, warmup=1, window=3)
    fed(policy, [100.0, 1.0, 2.0, 3.0])
    assert fed(policy, [50.0]) == pytest.approx([3.0])


def test_the_percentile_is_numpys():
    values = [5.0, 1.0, 4.0, 2.0, 3.0, 10.0]
    policy = clip.Percentile(37.0, warmup=1)
    fed(policy, values)
    assert policy.limit().item() == pytest.approx(torch.tensor(values).quantile(0.37).item())


def test_half_a_window_of_outliers_does_not_move_the_z_score():
    calm = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.02, 0.98]
    policy = clip.ZScore(3, warmup=4, window=16)
    fed(policy, calm)
    left = fed(policy, [1000.0] * 5)
    assert max(left) < 2.0


def test_the_z_score_is_one_sided():
    policy = clip.ZScore(3, warmup=4)
    fed(policy, [1.0, 1.1, 0.9, 1.0])
    assert fed(policy, [1e-6]) == pytest.approx([1e-6])


def test_the_z_score_lets_a_log_normal_exceed_as_often_as_a_normal():
    """P(z > 2) = 0.02275: over 1,500 log-normal norms within 5 standard errors, the window's own error included."""
    generator = torch.Generator().manual_seed(3)
    norms = torch.randn(1500, generator=generator).exp().tolist()
    policy = clip.ZScore(2, warmup=500, window=1500)
    fed(policy, norms)
    share = policy.statistics.clipped / 1000
    assert abs(share - 0.02275) < 5 * math.sqrt(0.02275 / 1000) + 5 * 2 * 0.054 * 1.17 / math.sqrt(500)


def test_the_angle_is_that_between_the_gradient_and_what_is_left_of_it():
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(1000, generator=generator) * 3
    weight = torch.nn.Parameter(torch.zeros(1000))
    weight.grad = gradient.clone()
    policy = clip.ByValue(1.0)
    policy(weight)
    left = gradient.clamp(-1, 1).double()
    expected = torch.arccos(left @ gradient.double() / (left.norm() * gradient.double().norm())).item()
    assert policy.statistics.angles[0] == pytest.approx(expected, abs=1e-4)


def test_an_unclipped_gradient_turns_by_nothing():
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([0.3, -0.2, 0.9])
    policy = clip.ByValue(1.0)
    policy(weight)
    assert policy.statistics.angles == (0.0,)
    assert policy.statistics.rate == 0.0


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_clipping_by_the_norm_keeps_the_direction(scale):
    """The note, section 5: clipping by norm preserves the direction while limiting the magnitude."""
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(500, generator=generator) * scale
    weight = torch.nn.Parameter(torch.zeros(500))
    weight.grad = gradient.clone()
    clip.norm_(weight, scale)
    ratio = weight.grad.double() / gradient.double()
    assert (ratio / ratio.mean() - 1).abs().max() < 2 * 2**-23


def test_per_parameter_norms_are_limited_each():
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    for k, p in enumerate(parameters):
        p.grad = torch.tensor([3.0, 4.0]) * 10.0 ** (k - 1)
    clip.PerParameter(1.0)(parameters)
    assert [p.grad.norm().item() for p in parameters] == pytest.approx([0.5, 1.0, 1.0], rel=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3), (6,), ()])
def test_adaptive_clipping_limits_each_unit_by_its_weights(shape):
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(shape, generator=generator))
    weight.grad = torch.randn(shape, generator=generator)
    before = weight.grad.clone()
    clip.adaptive_(weight, 0.1)
    rows = (6, -1) if len(shape) > 1 else (1, -1)
    ratio = weight.grad.reshape(rows).norm(dim=1) / weight.detach().reshape(rows).norm(dim=1)
    assert (ratio <= 0.1 * (1 + 1e-5)).all()
    kept = before.reshape(rows).norm(dim=1) <= 0.1 * weight.detach().reshape(rows).norm(dim=1)
    assert torch.equal(weight.grad.reshape(rows)[kept], before.reshape(rows)[kept])


def test_the_units_of_a_transposed_convolution_lie_along_its_second_dimension():
    layer = torch.nn.ConvTranspose2d(3, 5, 2)
    layer.weight.grad = torch.ones_like(layer.weight) * torch.arange(1, 6).reshape(1, 5, 1, 1)
    clip.adaptive_(layer.weight, 0.01, transposed=[layer.weight])
    found = layer.weight.grad.transpose(0, 1).flatten(1).norm(dim=1)
    assert torch.allclose(found, 0.01 * layer.weight.detach().transpose(0, 1).flatten(1).norm(dim=1), rtol=1e-5)


def test_excluded_parameters_are_left_alone():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2) * 100
    clip.Adaptive(0.01, exclude=[weight])(weight)
    assert (weight.grad == 100).all()


def test_a_chain_applies_in_order_and_each_counts_for_itself():
    chain = clip.Chain(clip.ByValue(4.0), clip.ByNorm(100.0))
    fed(chain, [30.0, 1.0])
    assert [p.statistics.clipped for p in chain.policies] == [1, 0]
    assert (chain.statistics.steps, chain.statistics.clipped) == (2, 1)


def test_an_empty_chain_is_refused():
    with pytest.raises(ValueError, match="must hold at least one policy"):
        clip.Chain()


@pytest.mark.parametrize("make", [
    lambda: clip.Percentile(0), lambda: clip.Percentile(101), lambda: clip.ZScore(0), lambda: clip.ByNorm(1, p=0),
    lambda: clip.ByNorm(1, p=-1), lambda: clip.ByNorm(1, p=math.nan), lambda: clip.Percentile(50, window=0),
])  # fmt: skip
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"must be above|must be > 0|must be an integer"):
        make()


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return self.weight * x


def product(outputs, targets):
    return (outputs * targets).sum()


def test_a_threshold_is_recommended_above_the_bulk_and_below_the_tail():
    """Gradient of batch i is its input: the norms are known, so are median, MAD and threshold."""
    sizes = [1.0 + 0.01 * k for k in range(20)] + [50.0, 80.0]
    model = Scaled()
    model.weight.grad = torch.tensor([7.0])
    state = torch.get_rng_state()
    advice = clip.recommend(model, [(torch.tensor([s]), torch.ones(1)) for s in sizes], product)
    logs = torch.tensor(sizes).double().log()
    mad = (logs - logs.quantile(0.5)).abs().quantile(0.5)
    expected = (logs.quantile(0.5) + 3 * 1.482602218505602 * mad).exp().item()
    assert advice.max_norm == pytest.approx(expected, rel=1e-5)
    assert advice.clipped == pytest.approx(2 / 22)
    assert any("tail" in reason and "heavy" in reason for reason in advice.reasons)
    assert str(advice).splitlines() == [f"Proposed: clip.ByNorm({advice.max_norm:.3g})", *advice.reasons]
    assert (model.weight.grad.item(), model.seen.item()) == (7.0, 0.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_calm_norms_get_a_safety_net_and_wild_ones_a_limit_that_follows():
    def advised(sizes):
        return clip.recommend(Scaled(), [(torch.tensor([s]), torch.ones(1)) for s in sizes], product)

    calm, wild = advised([1.0 + 0.01 * k for k in range(20)]), advised([10.0**k for k in range(-4, 5)])
    assert isinstance(calm.policy, clip.ByNorm)
    assert any("safety net" in reason for reason in calm.reasons)
    assert isinstance(wild.policy, clip.ZScore)


def test_too_few_norms_give_no_recommendation():
    with pytest.raises(ValueError, match="at least 8 finite norms"):
        clip.recommend(Scaled(), [(torch.tensor([math.nan]), torch.ones(1))] * 12, product)


def test_the_factor_of_the_median_absolute_deviation_is_that_of_a_normal():
    from scipy.stats import norm

    from steadygrad.guard.clip.history import SIGMA_PER_MAD

    assert pytest.approx(1 / norm.ppf(0.75), rel=1e-15) == SIGMA_PER_MAD
