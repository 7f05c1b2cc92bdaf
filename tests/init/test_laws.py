"""Laws of every initializer, over every kind of layer."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad import init
from steadygrad.fans import Fans, Layout, weight_fans, weight_layouts
from steadygrad.init.asymmetric import ASYMMETRIC_SIGMA
from steadygrad.init.recipes import DISTRIBUTIONS, TruncatedNormal
from steadygrad.init.recipes.independent import truncated_std
from steadygrad.init.recipes.orthogonal import haar
from steadygrad.init.stream import BLOCK, Stream


def _asymmetric(f):
    """(n - 1)/n sigma² + 1/2, over n."""
    return (ASYMMETRIC_SIGMA**2 * (f.fan_in - 1) / f.fan_in + 0.5) / f.fan_in


def sparse(module, **arguments):
    return init.sparse_(module, connections=6, **arguments)


# Second moment of the weights, and the kurtosis that its sampling error comes from: 1 where it is exact.
INITIALIZERS = {
    "xavier_uniform_": (init.xavier_uniform_, lambda f: 2 / (f.fan_in + f.fan_out), 1.8),
    "xavier_normal_": (init.xavier_normal_, lambda f: 2 / (f.fan_in + f.fan_out), 3.0),
    "he_uniform_": (init.he_uniform_, lambda f: 2 / f.fan_in, 1.8),
    "he_normal_": (init.he_normal_, lambda f: 2 / f.fan_in, 3.0),
    "lecun_uniform_": (init.lecun_uniform_, lambda f: 1 / f.fan_in, 1.8),
    "lecun_normal_": (init.lecun_normal_, lambda f: 1 / f.fan_in, 3.0),
    "variance_scaling_": (init.variance_scaling_, lambda f: 1 / f.fan_in, 3.0),
    "truncated_normal_": (init.truncated_normal_, lambda f: 1 / f.fan_in, 3.0),
    "orthogonal_": (init.orthogonal_, lambda f: 1 / f.fan_in, 1.0),
    "delta_orthogonal_": (init.delta_orthogonal_, lambda f: 1 / f.fan_in, 1.0),
    "sparse_": (sparse, lambda f: 1 / f.fan_in, None),
    "randomized_asymmetric_": (init.randomized_asymmetric_, _asymmetric, None),
    "looks_linear_": (init.looks_linear_, lambda f: 1 / f.fan_in, 1.0),
}
LAYERS = {
    "linear": lambda: nn.Linear(48, 80),
    "conv1d": lambda: nn.Conv1d(16, 32, 5),
    "conv2d": lambda: nn.Conv2d(16, 32, 3),
    "conv3d": lambda: nn.Conv3d(8, 12, 3),
    "strided": lambda: nn.Conv2d(16, 32, 4, stride=2),
    "grouped": lambda: nn.Conv2d(16, 32, 3, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(16, 8, 4, stride=2),
    "transposed, grouped": lambda: nn.ConvTranspose1d(16, 24, 3, groups=2),
    "transposed 3d": lambda: nn.ConvTranspose3d(8, 8, 2),
    "bilinear": lambda: nn.Bilinear(12, 10, 14),
    "embedding": lambda: nn.Embedding(50, 32),
    "embedding bag": lambda: nn.EmbeddingBag(50, 32),
    "rnn": lambda: nn.RNN(24, 32),
    "lstm": lambda: nn.LSTM(24, 32, num_layers=2, bidirectional=True),
    "lstm, projected": lambda: nn.LSTM(24, 32, proj_size=16),
    "gru cell": lambda: nn.GRUCell(24, 32),
    "attention": lambda: nn.MultiheadAttention(32, 4),
    "attention, unpacked": lambda: nn.MultiheadAttention(32, 4, kdim=24, vdim=20),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# The law of these is another one: sides that are mirrored, and units whose number of weights is not their fan_in.
ELSEWHERE = {
    ("looks_linear_", layer) for layer in ("rnn", "lstm", "lstm, projected", "gru cell", "attention, unpacked")
} | {("randomized_asymmetric_", layer) for layer in ("embedding", "embedding bag", "transposed")}


@pytest.mark.parametrize(("name", "layer"), [pair for pair in product(INITIALIZERS, LAYERS) if pair not in ELSEWHERE])
def test_mean_and_variance_of_every_weight(name, layer):
    module = LAYERS[layer]()
    initialize, variance_of, kurtosis = INITIALIZERS[name]
    assert initialize(module, generator=seeded()) is module
    for weight, fans in weight_fans(module).items():
        values = getattr(module, weight).detach().double().flatten()
        squares, variance, n = values.square(), variance_of(fans), values.numel()
        error = 5 * (float(squares.std()) if kurtosis is None else variance * math.sqrt(kurtosis - 1)) / math.sqrt(n)
        assert abs(float(squares.mean()) - variance) < error + 1e-5 * variance
        if name not in ("randomized_asymmetric_", "orthogonal_", "delta_orthogonal_", "looks_linear_"):
            assert abs(values.mean()) < 5 * math.sqrt(variance / n)
    biases = [p for n, p in module.named_parameters() if "bias" in n]
    assert all(not b.any() for b in biases)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_a_seed_gives_the_same_draw_and_the_global_generator_stays(name):
    torch.manual_seed(3)
    initialize = INITIALIZERS[name][0]
    before = torch.get_rng_state()
    first = initialize(nn.utils.skip_init(nn.Linear, 8, 6), generator=seeded(1)).weight
    again = initialize(nn.utils.skip_init(nn.Linear, 8, 6), generator=seeded(1)).weight
    other = initialize(nn.utils.skip_init(nn.Linear, 8, 6), generator=seeded(2)).weight
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert first.requires_grad
    assert first.is_leaf
    assert first.grad is None


@pytest.mark.parametrize("name", INITIALIZERS)
def test_without_a_generator_manual_seed_decides(name):
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(INITIALIZERS[name][0](nn.Linear(8, 6)).weight.detach().clone())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_dtype_has_the_variance(name, dtype):
    initialize, variance_of, _ = INITIALIZERS[name]
    layer = initialize(nn.Linear(64, 200, dtype=dtype), generator=seeded())
    assert layer.weight.dtype is dtype
    squares = layer.weight.detach().double().square()
    # Rounding to nearest changes a second moment by less than two unit roundoffs of the type: 2^-7 at most.
    error = 5 * float(squares.std()) / math.sqrt(squares.numel()) + 2**-7 * float(squares.mean())
    assert float(squares.mean()) == pytest.approx(variance_of(weight_fans(layer)["weight"]), abs=error)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_weight_of_many_blocks_is_independent_between_them(distribution):
    layer = nn.utils.skip_init(nn.Linear, BLOCK // 256, 1024)
    values = init.variance_scaling_(layer, distribution=distribution, generator=seeded()).weight.detach().flatten()
    blocks = values.view(-1, BLOCK).double()
    assert len(blocks) == 4
    correlation = torch.corrcoef(blocks) - torch.eye(4)
    assert correlation.abs().max() < 5 / math.sqrt(BLOCK)


@pytest.mark.parametrize("turned", [False, True], ids=["contiguous", "channels last"])
def test_memory_format_does_not_change_the_values(turned):
    layer = nn.Conv2d(6, 8, 3)
    if turned:
        layer = layer.to(memory_format=torch.channels_last)
    made = init.he_normal_(layer, generator=seeded()).weight
    assert torch.equal(made, init.he_normal_(nn.Conv2d(6, 8, 3), generator=seeded()).weight)


def test_threads_do_not_change_the_values():
    before = torch.get_num_threads()
    draws = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        draws.append(init.truncated_normal_(nn.Linear(600, 1000), generator=seeded()).weight.detach().clone())
    torch.set_num_threads(before)
    assert torch.equal(*draws)


def test_a_truncated_normal_has_the_deviation_0_8796256610342398_before_it_is_made_good():
    assert truncated_std(2.0) == pytest.approx(0.8796256610342398, abs=1e-15)
    x = TruncatedNormal(1.0).values((200_000,), None, Stream.named(0, "x")).double()
    assert x.abs().max() <= 2 / truncated_std() * (1 + 1e-6)
    assert abs(x.square().mean() - 1) < 5 * (x.square().std() / math.sqrt(x.numel()))


@pytest.mark.parametrize("cut", [0.05, 0.5, 1.0, 3.0, 6.0])
def test_every_cut_keeps_the_deviation(cut):
    w = init.truncated_normal_(nn.Linear(300, 300), std=0.02, cut=cut, generator=seeded()).weight.detach().double()
    squares = w.square()
    assert abs(squares.mean() - 0.02**2) < 5 * squares.std() / 300
    assert w.abs().max() <= cut * 0.02 / truncated_std(cut) * (1 + 1e-6)


def test_the_peer_does_not_cut_where_it_should():
    """torch's bounds are absolute: at a deviation of 0.02 they cut at a hundred deviations."""
    torch.manual_seed(0)
    theirs = nn.init.trunc_normal_(torch.empty(300, 300), std=0.02)
    ours = init.truncated_normal_(nn.Linear(300, 300), std=0.02, generator=seeded()).weight
    assert theirs.abs().max() > 3 * 0.02
    assert ours.abs().max() < 2.3 * 0.02


def test_packed_attention_has_the_variance_of_unpacked():
    """Three matrices stacked are no matrix of three times the fan_out: torch.nn.init's variance is half."""
    packed = init.xavier_normal_(nn.MultiheadAttention(64, 4), generator=seeded()).in_proj_weight.detach()
    framework = torch.nn.init.xavier_normal_(torch.empty(192, 64), generator=seeded())
    n = packed.numel()
    assert packed.var() * 64 == pytest.approx(1, abs=5 * math.sqrt(2 / n))
    # Both samples have an error.
    assert packed.var() / framework.var() == pytest.approx(2, rel=5 * math.sqrt(4 / n))


def test_a_transposed_convolution_keeps_the_signal_where_the_peer_quadruples_it():
    """ConvTranspose2d(64 -> 16, kernel 5, stride 1) sums 1600 terms; the framework's helper counts 400."""
    layer = init.lecun_normal_(nn.ConvTranspose2d(64, 16, 5, bias=False), generator=seeded())
    x = torch.randn(8, 64, 12, 12, generator=seeded(1))
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    with torch.no_grad():
        ours = layer(x)[inner].square().mean()
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="linear", generator=seeded())
        theirs = layer(x)[inner].square().mean()
    # Var over draws of E[y²]: 2 (1/units + 1/terms) to first order, the positions nearly alike.
    error = 5 * math.sqrt(2 / 16 + 2 / 1600)
    assert float(ours) == pytest.approx(1, rel=error)
    assert float(theirs / ours) == pytest.approx(4, rel=5 * math.sqrt(4 / layer.weight.numel()))


def test_grouped_convolutions_keep_the_signal():
    layer = init.lecun_normal_(nn.Conv1d(64, 64, 3, groups=8, padding=1, bias=False), generator=seeded())
    y = layer(torch.randn(64, 64, 20, generator=seeded(1))).detach()[..., 1:-1]
    assert float(y.square().mean()) == pytest.approx(1, rel=5 * math.sqrt(2 / layer.weight.numel() * 64 / 24 + 2 / 64))


def test_xavier_before_relu_halves_the_second_moment_a_layer():
    layers = [layer for _ in range(6) for layer in (nn.Linear(512, 512), nn.ReLU())]
    model = init.xavier_normal_(nn.Sequential(*layers), generator=seeded()).double()
    x = torch.randn(64, 512, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        ratio = (model(x).square().mean() / (x.square().mean() / 2)).log2()
    # ln q of one draw has variance 5/n a layer, the mean of 64 inputs no more.
    assert abs(ratio + 5) < 5 * math.sqrt(5 * 6 / 512) / math.log(2)


def test_he_slope():
    layer = init.he_normal_(nn.Linear(200, 300), slope=1.0, generator=seeded())
    assert layer.weight.detach().square().mean() * 200 == pytest.approx(1, abs=5 * math.sqrt(2 / 60_000))


@pytest.mark.parametrize("gain", ["gelu", nn.GELU(), torch.nn.functional.gelu, lambda u: nn.functional.gelu(u)])
def test_a_gain_is_a_name_a_module_or_a_function(gain):
    layer = init.orthogonal_(nn.Linear(50, 50), gain=gain, generator=seeded())
    assert float(layer.weight.detach().square().mean() * 50) == pytest.approx(1.533530**2, rel=1e-5)


def test_a_gain_may_be_a_function_of_arrays():
    layer = init.orthogonal_(nn.Linear(50, 50), gain=np.tanh, generator=seeded())
    assert float(layer.weight.detach().square().mean() * 50) == pytest.approx(1.592537**2, rel=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (64, 40), (40, 64), (1, 5), (5, 1), (1, 1)])
def test_orthogonal_keeps_lengths_on_the_short_side_and_second_moments_on_both(rows, columns):
    q = haar(rows, columns, seeded()).double()
    short = q.T @ q if rows >= columns else q @ q.T
    assert (short - torch.eye(min(rows, columns))).abs().max() < 1e-5
    layer = init.orthogonal_(nn.Linear(columns, rows), generator=seeded())
    assert float(layer.weight.detach().square().mean() * columns) == pytest.approx(1, rel=1e-5)


def test_haar_is_uniform():
    """E[tr Q] = 0, E[tr(Q)²] = 1 and E[q_11² q_22²] = (n + 1)/((n - 1) n (n + 2)) over orthogonal matrices."""
    n, draws, g = 4, 4000, seeded()
    q = torch.stack([haar(n, n, g) for _ in range(draws)]).double()
    traces = q.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(traces.mean()) < 5 / math.sqrt(draws)
    assert abs(traces.square().mean() - 1) < 5 * traces.square().std() / math.sqrt(draws)
    products = q[:, 0, 0].square() * q[:, 1, 1].square()
    assert abs(products.mean() - (n + 1) / ((n - 1) * n * (n + 2))) < 5 * products.std() / math.sqrt(draws)
    determinants = torch.linalg.det(q)
    assert abs(determinants.mean()) < 5 / math.sqrt(draws)


def test_gates_groups_and_packed_projections_are_orthogonal_each():
    lstm = init.orthogonal_(nn.LSTM(16, 16), generator=seeded())
    attention = init.orthogonal_(nn.MultiheadAttention(16, 2), generator=seeded())
    grouped = init.orthogonal_(nn.Conv1d(32, 32, 1, groups=2), generator=seeded())
    for stacked in (lstm.weight_hh_l0, attention.in_proj_weight, grouped.weight.squeeze(2)):
        for block in stacked.detach().view(-1, 16, 16):
            assert (block @ block.T - torch.eye(16)).abs().max() < 1e-5


@pytest.mark.parametrize("make", [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d])
def test_a_delta_orthogonal_convolution_is_an_isometry(make):
    layer = init.delta_orthogonal_(make(12, 12, 3, padding=1, bias=False), generator=seeded())
    dims = int(make.__name__[-2])
    x = torch.randn(2, 12, *[5] * dims, generator=seeded(1))
    assert float(layer(x).detach().norm() / x.norm()) == pytest.approx(1, rel=1e-5)


def test_the_identity_hands_its_input_on():
    conv, linear = init.identity_(nn.Conv2d(4, 4, 3, padding=1)), init.identity_(nn.Linear(4, 6), scale=2.0)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(conv(x), x)
    assert torch.equal(linear(x[:, :, 0, 0])[:, :4], 2 * x[:, :, 0, 0])


def test_a_network_that_looks_linear_is_linear_and_keeps_lengths():
    sizes = [16, 64, 64, 64, 32]
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())][:-1]
    net = init.looks_linear_(nn.Sequential(*layers), generator=seeded())
    x, y = torch.randn(2, 16, generator=seeded(1))
    with torch.no_grad():
        assert torch.allclose(net(2 * x - y), 2 * net(x) - net(y), atol=1e-4)
        q = [float(net[:k](x).square().mean()) for k in (1, 3, 5, 7)]
    assert q == pytest.approx([float(x.square().mean())] * 4, rel=1e-4)


def test_sparse_units_have_as_many_connections_each_where_the_peer_counts_inputs():
    w = init.sparse_(nn.Linear(100, 40), connections=10, generator=seeded()).weight
    assert w.count_nonzero(dim=1).tolist() == [10] * 40
    theirs = torch.nn.init.sparse_(torch.empty(40, 100), 0.9, generator=seeded())
    assert len(set(theirs.count_nonzero(dim=1).tolist())) > 1


def test_asymmetric_sigma_is_the_fixed_point_of_the_rectified_map():
    """x' = relu(sigma sqrt(E[x²]) z + p x): E[x'²] = E[x²] at the distribution that repeats itself."""
    rng = np.random.default_rng(0)
    x, ratios = np.abs(rng.standard_normal(200_000)), []
    for _ in range(30):
        x /= np.sqrt(np.mean(x**2))
        pushed = np.sqrt(rng.random(x.size)) * x[rng.integers(x.size, size=x.size)]
        x = np.maximum(ASYMMETRIC_SIGMA * rng.standard_normal(x.size) + pushed, 0)
        ratios.append(np.mean(x**2))
    settled = np.array(ratios[10:])
    # The draws of one step enter the next, so the spread between steps is taken as it is.
    assert abs(settled.mean() - 1) < 5 * settled.std() / math.sqrt(len(settled)) + 1e-3


def test_asymmetric_units_are_seldom_born_dead():
    """Of narrow networks: 10 layers of 2 units are dead with probability 0.94 at most under symmetric weights."""
    dead = {}
    for name, initialize in (("he", init.he_normal_), ("asymmetric", init.randomized_asymmetric_)):
        g, count = seeded(), 0
        for _ in range(300):
            layers = [part for _ in range(10) for part in (nn.Linear(2, 2, bias=False), nn.ReLU())]
            net = initialize(nn.Sequential(*layers), generator=g)
            count += not bool(net(torch.rand(1, 2, generator=g)).any())
        dead[name] = count / 300
    assert dead["he"] > 0.85
    assert dead["asymmetric"] < dead["he"] - 0.2


def test_forget_and_update_gates_start_open():
    model = nn.ModuleList([nn.LSTM(3, 4, num_layers=2), nn.GRUCell(3, 4)])
    init.forget_bias_(model, 2.0)
    lstm, gru = model
    assert lstm.bias_ih_l1.tolist() == [0.0] * 4 + [2.0] * 4 + [0.0] * 8
    assert gru.bias_ih.tolist() == [0.0] * 4 + [2.0] * 4 + [0.0] * 4
    assert not lstm.bias_hh_l0.any()
    h, c = torch.zeros(2, 1, 4), torch.ones(2, 1, 4)
    for p in lstm.parameters():
        if p.dim() == 2:
            nn.init.zeros_(p)
    kept = lstm(torch.zeros(1, 1, 3), (h, c))[1][1]
    assert torch.allclose(kept, torch.sigmoid(torch.tensor(2.0)).expand_as(kept))


def test_a_tied_weight_is_drawn_once():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    tied = init.he_normal_(nn.Sequential(first, second), generator=seeded())
    alone = init.he_normal_(nn.Linear(8, 8), generator=seeded())
    assert torch.equal(tied[0].weight, alone.weight)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_norms_keep_their_scale(name):
    norm = INITIALIZERS[name][0](nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)))[1]
    assert torch.equal(norm.weight, torch.ones(8))


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


def unmaterialized():
    return nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3))


def integers():
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int64), requires_grad=False)
    return nn.Sequential(nn.Linear(2, 2), layer)


BAD = {
    "unknown layer": (lambda: nn.Sequential(nn.Linear(2, 2), Own()), {}, TypeError, "register"),
    "nothing to draw": (nn.ReLU, {}, ValueError, "must hold a layer with a weight, got 'ReLU'"),
    "lazy": (unmaterialized, {}, ValueError, "must be materialized"),
    "integers": (integers, {}, ValueError, r"`1.weight` must be of a floating point type, got torch.int64"),
    "gain": (lambda: nn.Linear(2, 2), {"gain": 0.0}, ValueError, "`gain` must be > 0 and finite, got 0.0"),
    "gain's name": (lambda: nn.Linear(2, 2), {"gain": "rellu"}, ValueError, "Did you mean 'relu'"),
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


MORE = {
    "std": (lambda m: init.truncated_normal_(m, std=-1.0), "`std` must be >= 0 and finite, got -1.0"),
    "cut": (lambda m: init.truncated_normal_(m, cut=0.0), "`cut` must be > 0 and finite, got 0.0"),
    "connections": (lambda m: init.sparse_(m, connections=9), "must have at least 9 weights a unit, got 3"),
    "no connections": (lambda m: init.sparse_(m, connections=0), "`connections` must be a whole number >= 1, got 0"),
    "odd": (lambda m: init.looks_linear_(m, mirror="both"), "even number of what is mirrored, got 3 inputs"),
    "mirror": (lambda m: init.looks_linear_(m, mirror="input"), "Did you mean 'inputs'"),
    "sigma": (lambda m: init.randomized_asymmetric_(m, sigma=-1.0), "`sigma` must be >= 0 and finite, got -1.0"),
    "value": (lambda m: init.constant_(m, math.nan), "`value` must be finite, got nan"),
    "scale": (lambda m: init.identity_(m, scale=math.inf), "`scale` must be finite, got inf"),
    "slope": (lambda m: init.he_normal_(m, slope=math.nan), "`slope` must be finite, got nan"),
    "no gates": (init.forget_bias_, "must hold an LSTM or a GRU with biases, got 'Linear'"),
}


@pytest.mark.parametrize("name", MORE)
def test_other_arguments_that_are_not_allowed(name):
    action, words = MORE[name]
    layer = nn.Linear(3, 4)
    before = layer.weight.detach().clone()
    with pytest.raises(ValueError, match=words):
        action(layer)
    assert torch.equal(layer.weight, before)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_fan_of_zero_is_said():
    with pytest.raises(ValueError, match=r"must have fans >= 1, got \(0, 3\)"):
        init.he_normal_(nn.Linear(0, 3))


def test_a_layer_without_memory_is_said():
    with torch.device("meta"):
        layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="to_empty"):
        init.he_normal_(layer)


def test_a_layer_of_ones_own_can_be_taught():
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(64, 32))

    weight_fans.register(Mine)(lambda layer: {"w": Fans(64, 32)})
    weight_layouts.register(Mine)(lambda layer: {"w": Layout(1, 32, 64, (), True)})
    made = init.orthogonal_(Mine(), generator=seeded()).w.detach()
    assert float(made.square().mean() * 64) == pytest.approx(1, rel=1e-5)
