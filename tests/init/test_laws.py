"""Laws of every initializer, over every kind of layer."""

import math

import pytest
import torch
from torch import nn

from steadygrad import init
from steadygrad.fans import weight_fans
from steadygrad.init.fills import DISTRIBUTIONS, fill_, truncated_std

INITIALIZERS = {
    "xavier_uniform_": lambda f: 2 / (f.fan_in + f.fan_out),
    "xavier_normal_": lambda f: 2 / (f.fan_in + f.fan_out),
    "he_uniform_": lambda f: 2 / f.fan_in,
    "he_normal_": lambda f: 2 / f.fan_in,
    "lecun_uniform_": lambda f: 1 / f.fan_in,
    "lecun_normal_": lambda f: 1 / f.fan_in,
    "variance_scaling_": lambda f: 1 / f.fan_in,
}
LAYERS = {
    "linear": lambda: nn.Linear(48, 80),
    "conv": lambda: nn.Conv2d(16, 32, 3),
    "grouped": lambda: nn.Conv2d(16, 32, 3, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(16, 8, 4, stride=2),
    "bilinear": lambda: nn.Bilinear(12, 10, 14),
    "embedding": lambda: nn.Embedding(50, 32),
    "rnn": lambda: nn.RNN(24, 32),
    "lstm": lambda: nn.LSTM(24, 32),
    "gru cell": lambda: nn.GRUCell(24, 32),
    "attention": lambda: nn.MultiheadAttention(32, 4),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_mean_and_variance_of_every_weight(name, layer):
    module = LAYERS[layer]()
    assert getattr(init, name)(module, generator=seeded()) is module
    for weight, fans in weight_fans(module).items():
        values, variance = getattr(module, weight).detach().double().flatten(), INITIALIZERS[name](fans)
        n, kurtosis = values.numel(), 1.8 if "uniform" in name else 3.0
        assert abs(values.mean()) < 5 * math.sqrt(variance / n)
        assert abs(values.square().mean() / variance - 1) < 5 * math.sqrt((kurtosis - 1) / n)
    biases = [p for n, p in module.named_parameters() if "bias" in n]
    assert all(not b.any() for b in biases)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_a_seed_gives_the_same_draw_and_the_global_generator_stays(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = getattr(init, name)(nn.utils.skip_init(nn.Linear, 9, 7), generator=seeded(1)).weight
    again = getattr(init, name)(nn.utils.skip_init(nn.Linear, 9, 7), generator=seeded(1)).weight
    other = getattr(init, name)(nn.utils.skip_init(nn.Linear, 9, 7), generator=seeded(2)).weight
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert first.requires_grad
    assert first.is_leaf


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_dtype_has_the_variance(distribution, dtype):
    layer = init.variance_scaling_(nn.Linear(64, 200, dtype=dtype), distribution=distribution, generator=seeded())
    assert layer.weight.dtype is dtype
    # Rounding to nearest changes a variance by less than one unit roundoff of the type: 2^-8 at most.
    error = 5 * math.sqrt(2 / layer.weight.numel()) + 2**-8
    assert layer.weight.detach().double().square().mean() * 64 == pytest.approx(1, abs=error)


def test_oracle_26_truncated_normal():
    assert truncated_std(2.0) == pytest.approx(0.8796256610342398, abs=1e-15)
    x = fill_(torch.empty(200_000, dtype=torch.float64), 1.0, "truncated_normal", generator=seeded())
    assert x.abs().max() <= 2 / truncated_std()
    assert abs(x.square().mean() - 1) < 5 * (x.square().std() / math.sqrt(x.numel()))


def test_oracle_27_packed_attention_has_the_variance_of_unpacked():
    packed = init.xavier_normal_(nn.MultiheadAttention(64, 4), generator=seeded()).in_proj_weight.detach()
    framework = torch.nn.init.xavier_normal_(torch.empty(192, 64), generator=seeded())
    n = packed.numel()
    assert packed.var() * 64 == pytest.approx(1, abs=5 * math.sqrt(2 / n))
    assert packed.var() / framework.var() == pytest.approx(2, rel=1e-5)


def test_oracle_29_xavier_before_relu_halves_the_second_moment_a_layer():
    layers = [layer for _ in range(6) for layer in (nn.Linear(512, 512), nn.ReLU())]
    model = init.xavier_normal_(nn.Sequential(*layers), generator=seeded()).double()
    x = torch.randn(64, 512, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        ratio = (model(x).square().mean() / (x.square().mean() / 2)).log2()
    # ln q of one draw has variance 5/n a layer (oracle 19), the mean of 64 inputs no more.
    assert abs(ratio + 5) < 5 * math.sqrt(5 * 6 / 512) / math.log(2)


def test_he_slope():
    layer = init.he_normal_(nn.Linear(200, 300), slope=1.0, generator=seeded())
    assert layer.weight.detach().square().mean() * 200 == pytest.approx(1, abs=5 * math.sqrt(2 / 60_000))


def test_a_tied_weight_is_drawn_once():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    tied = init.he_normal_(nn.Sequential(first, second), generator=seeded())
    alone = init.he_normal_(nn.Linear(8, 8), generator=seeded())
    assert torch.equal(tied[0].weight, alone.weight)


def test_norms_keep_their_scale():
    norm = init.lecun_normal_(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))[1]
    assert torch.equal(norm.weight, torch.ones(4))


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


BAD = {
    "unknown layer": (lambda: nn.Sequential(nn.Linear(2, 2), Own()), {}, TypeError, "register"),
    "nothing to draw": (nn.ReLU, {}, ValueError, "must hold a layer with a weight, got 'ReLU'"),
    "lazy": (lambda: nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3)), {}, ValueError, "must be materialized"),
    "gain": (lambda: nn.Linear(2, 2), {"gain": 0.0}, ValueError, "`gain` must be > 0 and finite, got 0.0"),
    "mode": (lambda: nn.Linear(2, 2), {"mode": "fan_inn"}, ValueError, "Did you mean 'fan_in'"),
    "distribution": (lambda: nn.Linear(2, 2), {"distribution": "uniforn"}, ValueError, "Did you mean 'uniform'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_allowed_changes_nothing(name):
    make, arguments, error, words = BAD[name]
    module = make()
    before = {n: p.detach().clone() for n, p in module.named_parameters() if not nn.parameter.is_lazy(p)}
    with pytest.raises(error, match=words):
        init.variance_scaling_(module, **arguments)
    assert all(torch.equal(p, before[n]) for n, p in module.named_parameters() if n in before)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_fan_of_zero_is_said():
    with pytest.raises(ValueError, match=r"must have fans >= 1, got \(0, 3\)"):
        init.he_normal_(nn.Linear(0, 3))
