"""Whatever fills a parameter is followed: the fills seen are, in distribution, those that happen on the CPU."""

import copy
import inspect
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.init import trunc_normal_ as imported_before

from steadygrad.errors import UserCodeError
from steadygrad.prediction import predict
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.construction import constructed
from steadygrad.prediction.run import interpreting
from steadygrad.prediction.values import Fill


def fills(factory):
    """What the interpreter says of every parameter."""
    with interpreting(exchangeable(2)) as run:
        model = constructed(factory, run)
        return {name: run.value(p) for name, p in model.parameters.items()}


def assert_drawn_from(fill, numbers, *, slack=0.0):
    """Mean, second and fourth moment of numbers are those of a fill, within five standard errors of independent ones.

    The errors of moments are those of the numbers; entries of a matrix that depend on each other vary less. `slack` is
    relative, for what is known of one draw alone.
    """
    assert isinstance(fill, Fill), fill
    x = numbers.detach().double().numpy().ravel()
    root = math.sqrt(len(x))
    fourth = fill.mean**4 + 6 * fill.mean**2 * fill.variance + fill.kurtosis * fill.variance**2
    for power, expected in ((1, fill.mean), (2, fill.variance + fill.mean**2), (4, fourth)):
        sample = x**power
        error = 5 * sample.std() / root + slack * abs(expected) + 1e-6 * abs(expected) + 1e-12
        if power == 4 and fill.mean:
            continue  # the third moment is not kept
        assert abs(sample.mean() - expected) <= error, (power, sample.mean(), expected)


INIT = [
    name
    for name, function in inspect.getmembers(nn.init, inspect.isfunction)
    if name.endswith("_") and not name.startswith("_")
]
ARGUMENTS = {"constant_": (0.3,), "sparse_": (0.2,)}
SHAPES = {"dirac_": (64, 32, 3)}


def test_every_function_is_there():
    assert {"trunc_normal_", "orthogonal_", "sparse_", "dirac_", "eye_", "kaiming_uniform_", "normal_"} <= set(INIT)


@pytest.mark.parametrize("name", INIT)
def test_every_function_of_torch_nn_init(name):
    shape = SHAPES.get(name, (256, 128))

    def factory():
        model = nn.Module()
        model.weight = nn.Parameter(torch.empty(shape))
        getattr(nn.init, name)(model.weight, *ARGUMENTS.get(name, ()))
        return model

    torch.manual_seed(0)
    assert_drawn_from(fills(factory)["weight"], factory().weight)


@pytest.mark.parametrize("size", [64, 1 << 16], ids=["small", "larger than memory"])
def test_a_recorded_function_is_recorded_under_any_name_and_at_any_size(size):
    def factory():
        model = nn.Linear(size, size, bias=False)
        imported_before(model.weight, std=0.02, a=-0.04, b=0.04)
        return model

    fill = fills(factory)["weight"]
    assert fill.variance**0.5 == pytest.approx(0.02 * 0.8796256610342398, rel=1e-6)  # of N(0, 1) on [-2, 2]


def test_initializers_are_themselves_afterwards():
    code = {name: getattr(nn.init, name).__code__ for name in INIT}
    new = nn.parameter.UninitializedParameter.__new__
    with pytest.raises(ValueError, match="2 or more dimensions"):
        fills(lambda: nn.init.orthogonal_(nn.Parameter(torch.empty(3))))
    assert {name: getattr(nn.init, name).__code__ for name in INIT} == code
    assert nn.parameter.UninitializedParameter.__new__ is new
    weight = nn.init.trunc_normal_(torch.empty(100, 100))
    assert weight.abs().max() <= 2
    assert type(weight) is torch.Tensor


def linear(fill_):
    def factory():
        model = nn.Linear(200, 100)
        with torch.no_grad():
            fill_(model)
        return model

    return factory


def by_rejection(model):
    model.weight.normal_()
    while (model.weight.abs() > 1.5).any():
        outside = model.weight.abs() > 1.5
        model.weight[outside] = torch.randn(int(outside.sum()))


def timm_style(model):
    low, high = (1 + math.erf(-2 / math.sqrt(2))) / 2, (1 + math.erf(2 / math.sqrt(2))) / 2
    model.weight.uniform_(2 * low - 1, 2 * high - 1).erfinv_().mul_(0.5 * math.sqrt(2)).clamp_(-1, 1)


def from_numpy(model):
    numbers = np.random.default_rng(0).laplace(size=(100, 200)).astype(np.float32)
    model.weight.copy_(torch.from_numpy(numbers))
    model.bias = nn.Parameter(torch.tensor(numbers[:, 0]))


def assigned(model):
    model.weight.data = torch.randn(100, 200) * 0.1
    model.bias = nn.Parameter(torch.rand(100) - 0.5)


def loaded(model):
    other = nn.Linear(200, 100)
    nn.init.normal_(other.weight, std=3.0)
    model.load_state_dict(other.state_dict())


def by_rows(model):
    for i, row in enumerate(model.weight):
        row.normal_(std=0.1 * (1 + i % 2))


def entry_by_entry(model):
    rng = np.random.default_rng(1)
    model.bias.zero_()
    for i in range(100):
        model.bias[i] = float(rng.normal())


def half_zero(model):
    model.weight.normal_()
    model.weight[:, ::2] = 0


def by_factorisation(model):
    q, r = torch.linalg.qr(torch.randn(200, 100))
    model.weight.copy_((q * r.diagonal().sign()).T)


def standardised(model):
    model.weight.normal_(mean=2.0)
    model.weight -= model.weight.mean()
    model.weight /= model.weight.std()


def mixed(model):
    model.weight.copy_(0.5 * torch.randn(100, 200) + torch.rand(100, 200))
    model.bias.copy_(torch.where(torch.rand(100) < 0.5, -torch.ones(100), torch.ones(100)))


BY_HAND = {f.__name__: f for f in (by_rejection, timm_style, from_numpy, assigned, loaded, by_rows, entry_by_entry,
                                   half_zero, by_factorisation, standardised, mixed)}  # fmt: skip


@pytest.mark.parametrize("fill_", BY_HAND.values(), ids=BY_HAND.keys())
def test_fills_by_hand(fill_):
    """What is drawn once, because numbers were asked for, is a sample of 20,000: its moments are uncertain too."""
    torch.manual_seed(0)
    real = linear(fill_)()
    for name, fill in fills(linear(fill_)).items():
        assert_drawn_from(fill, getattr(real, name), slack=0.1 if name == "weight" else 0.7)


def test_a_function_of_a_draw_is_no_longer_normal():
    folded = fills(linear(lambda m: m.weight.normal_().abs_()))["weight"]
    assert folded.mean == pytest.approx(math.sqrt(2 / math.pi), rel=1e-4)
    assert folded.variance == pytest.approx(1 - 2 / math.pi, rel=1e-4)
    clamped = fills(linear(lambda m: m.weight.normal_().clamp_(-1, 1)))["weight"]
    assert clamped.variance == pytest.approx(0.5160578550, rel=1e-4)  # 1 - sqrt(2/(pi e)), integrated by parts


def test_parts_filled_apart_are_known_apart():
    class Gates(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(40))
            self.weight = nn.Parameter(torch.empty(40, 10))
            nn.init.normal_(self.weight[:20], std=2.0)
            nn.init.zeros_(self.weight[20:])
            nn.init.ones_(self.bias[10:20])

    with interpreting(exchangeable(2)) as run:
        model = constructed(Gates, run).model
        assert [run.value(part).mean for part in model.bias.chunk(4)] == [0, 1, 0, 0]
        assert [run.value(part).variance for part in model.weight.chunk(2)] == [4, 0]
        assert run.value(model.weight).variance == 2
        assert run.value(model.bias).mean == 0.25


def test_copies_are_known_as_copies():
    def factory():
        layer = nn.Linear(8, 8)
        return nn.Sequential(layer, copy.deepcopy(layer), nn.Linear(8, 8))

    found = fills(factory)
    assert found["0.weight"].source == found["1.weight"].source != found["2.weight"].source


def test_memory_that_nothing_filled_stays_unknown():
    assert "nothing filled" in fills(lambda: nn.ParameterList([torch.empty(4)]))["0"].reason
    half = fills(linear(lambda m: setattr(m, "weight", nn.Parameter(torch.empty(100, 200))) or m.weight[0].zero_()))
    assert "nothing filled" in half["weight"].reason


def test_a_loop_that_needs_more_numbers_than_are_drawn_ends_in_one_line():
    def factory():
        model = nn.Linear(1 << 14, 1 << 14)
        while (model.weight > 0.001).any():
            model.weight.data.normal_()
        return model

    with pytest.raises(UserCodeError, match=r"the factory cannot be followed: .*\(test_fills.py:"):
        predict(factory, (2, 1 << 14))


def test_lazy_modules_are_materialised_on_the_way():
    def factory():
        return nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(16))

    profile = predict(factory, (4, 3, 8, 8))
    assert not profile.unknown
    assert profile["4"].fan_in == 8 * 6 * 6
    assert profile["0"].weight_grad_norm > 0
    own = factory()
    assert predict(own, (4, 3, 8, 8))["4"].q == pytest.approx(profile["4"].q, rel=1e-6)
    assert isinstance(own[4].weight, nn.UninitializedParameter)


def test_data_may_be_loaded_in_a_factory():
    def factory():
        data = torch.utils.data.TensorDataset(torch.randn(50, 8), torch.randint(3, (50,)))
        train, _ = torch.utils.data.random_split(data, [40, 10])
        _x, y = next(iter(torch.utils.data.DataLoader(train, batch_size=16, shuffle=True)))
        classes = len(set(y.tolist()))
        depths = [x.item() for x in torch.linspace(1, 3, 3)]
        return nn.Sequential(*(nn.Linear(8, 8) for _ in depths), nn.Linear(8, classes))

    assert [row.kind for row in predict(factory, (4, 8))] == ["Linear"] * 4
    assert predict(factory, (4, 8))["3"].fan_out == 3


SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}


def llama():
    transformers = pytest.importorskip("transformers")
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, num_key_value_heads=2, vocab_size=200))


def gpt2():
    transformers = pytest.importorskip("transformers")
    sizes = {"n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 200, "n_positions": 64}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def vit():
    transformers = pytest.importorskip("transformers")
    return transformers.ViTModel(transformers.ViTConfig(**SIZES, image_size=32, patch_size=8))


@pytest.mark.parametrize("factory", [llama, gpt2, vit])
def test_transformers_models_built_from_a_configuration(factory):
    seen = fills(factory)
    torch.manual_seed(0)
    real = dict(factory().named_parameters())
    assert seen.keys() == real.keys()
    for name, fill in seen.items():
        assert_drawn_from(fill, real[name])


@pytest.mark.parametrize("activation", [nn.Identity, nn.ReLU], ids=lambda a: a.__name__)
def test_orthogonal_weights_keep_lengths(activation):
    """What one draw of 8 layers adds to the spread of log q: nothing without, less than half with ReLU."""

    def network(init_):
        model = nn.Sequential(*(m for _ in range(8) for m in (nn.Linear(64, 64, bias=False), activation())))
        for layer in model[::2]:
            init_(layer.weight)
        return model

    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    row = predict(lambda: network(nn.init.orthogonal_), x)["14"]
    drawn = []
    for seed in range(100):
        torch.manual_seed(seed)
        drawn.append(float(network(nn.init.orthogonal_)[:15](x).detach().square().mean().log()))
    spread = math.log(row.q_high / row.q_low) / 2 / 1.96
    assert math.log(row.q) == pytest.approx(np.median(drawn), abs=5 * 1.2533 * np.std(drawn) / 10 + 0.03)
    assert spread == pytest.approx(np.std(drawn), abs=5 * np.std(drawn) / math.sqrt(200) + 0.01)


def test_an_identity_hands_on_what_it_is_given():
    def network():
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64, bias=False))
        nn.init.eye_(model[2].weight)
        return model

    profile = predict(network, (8, 64))
    assert not profile.unknown
    assert profile["2"].q == pytest.approx(profile["1"].q, rel=0.05)
    assert profile["2"].signal == pytest.approx(profile["1"].signal, rel=0.05)
