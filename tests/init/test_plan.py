"""Plans: what they say, what applying them does and leaves alone, and what they refuse."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.errors import SteadygradError, UserCodeError
from steadygrad.init import plan
from steadygrad.init.stream import BLOCK


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(width=64, depth=3, activation=nn.ReLU, inputs=8, outputs=4):
    sizes = [inputs, *[width] * depth]
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def values(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a, b, names=None):
    return all(torch.equal(a[name], b[name]) for name in names or a)


SCHEMES = ["critical", "xavier", "he", "orthogonal", "lsuv", "tailored", "mup"]


def planned(model, scheme, **arguments):
    x = torch.randn(64, 8, generator=seeded())
    base = mlp(16, depth=30, activation=nn.Tanh) if scheme == "mup" else None
    return plan(model, x, scheme=scheme, base=base, **arguments)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_plan_changes_nothing_and_applying_it_twice_is_applying_it_once(scheme):
    model = mlp(depth=30, activation=nn.Tanh)
    before = values(model)
    made = planned(model, scheme)
    assert str(made).startswith(f'Plan "{scheme}": 62 parameters to initialize.')
    assert same(before, values(model))
    rng = torch.get_rng_state()
    assert made.apply_(seed=1) is model
    once = values(model)
    made.apply_(seed=1)
    again = values(model)
    assert {name.replace(".phi", "") for name in once} == set(before)
    assert same(once, again)
    assert torch.equal(rng, torch.get_rng_state())
    assert not any(torch.equal(once[n], before[n]) for n in before if n.endswith("weight"))
    made.apply_(seed=2)
    assert not torch.equal(values(model)["0.weight"], once["0.weight"])
    assert all(p.grad is None and p.requires_grad and p.is_leaf for p in model.parameters())


@pytest.mark.parametrize("scheme", ["critical", "he", "orthogonal"])
def test_values_depend_on_seed_and_name_alone(scheme):
    """Neither on the order of the modules nor on what else is there, nor on what is drawn with it."""

    class Two(nn.Module):
        def __init__(self, turned):
            super().__init__()
            for name in ("b", "a") if turned else ("a", "b"):
                setattr(self, name, nn.Linear(8, 8))
            if turned:
                self.more = nn.Linear(8, 8)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    first, second, third = Two(False), Two(True), Two(False)
    plan(first, (4, 8), scheme=scheme).apply_()
    plan(second, (4, 8), scheme=scheme).apply_()
    plan(third, (4, 8), scheme=scheme).apply_(only=["b"])
    assert torch.equal(first.a.weight, second.a.weight)
    assert torch.equal(first.b.weight, second.b.weight)
    assert torch.equal(first.b.weight, third.b.weight)
    assert not torch.equal(first.a.weight, third.a.weight)
    assert not torch.equal(first.a.weight, first.b.weight)


def test_a_piece_of_a_parameter_is_what_the_whole_holds():
    """Each block has a stream of its own: the first rows of a taller weight are those of the shorter one."""
    tall, short = nn.Linear(512, 2 * BLOCK // 512, bias=False), nn.Linear(512, BLOCK // 512, bias=False)
    for layer in (tall, short):
        plan(layer, scheme="xavier").apply_()
    ratio = tall.weight[: BLOCK // 512] / short.weight
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-4)


def test_what_is_kept_is_kept():
    model = mlp()
    before = values(model)
    made = plan(model, (4, 8), skip=["0", "*.bias"])
    assert set(made.kept) == {"0.weight", "0.bias", "2.bias", "4.bias", "6.bias"}
    made.apply_(only=["6"])
    after = values(model)
    assert not torch.equal(before["6.weight"], after["6.weight"])
    assert same(before, after, set(before) - {"6.weight"})
    made.apply_(skip=["6"])
    assert not torch.equal(values(model)["2.weight"], before["2.weight"])
    assert torch.equal(values(model)["6.weight"], after["6.weight"])


def test_a_new_head_on_a_pretrained_trunk_fits_what_the_trunk_gives():
    """The trunk's own scale counts: its outputs are 100 times larger, and the head's logits are small all the same."""
    model = mlp(depth=2)
    with torch.no_grad():
        model[2].weight.mul_(100)
    x = torch.randn(256, 8, generator=seeded())
    plan(model, x, only=["4"]).apply_()
    # E[w² x²] over 4 units of one draw.
    assert float(model(x).detach().square().mean()) == pytest.approx(0.01, rel=5 * math.sqrt(2 / 4))


def test_the_first_loss_is_that_of_an_uninformed_guess():
    g = seeded()
    x, y = torch.randn(512, 8, generator=g) * 30, torch.randint(4, (512,), generator=g)
    model, loss = mlp(), nn.CrossEntropyLoss()
    plan(model, x).apply_()
    assert abs(float(loss(model(x), y).detach()) - math.log(4)) < 0.05


@pytest.mark.parametrize("kind", ["classes", "binary", "numbers"])
def test_the_heads_bias_is_the_best_guess_without_inputs(kind):
    g = seeded()
    x = torch.randn(512, 8, generator=g)
    targets, loss = {
        "classes": (
            torch.multinomial(torch.tensor([0.7, 0.1, 0.1, 0.1]), 512, True, generator=g),
            nn.CrossEntropyLoss(),
        ),
        "binary": ((torch.rand(512, 4, generator=g) < 0.1).float(), nn.BCEWithLogitsLoss()),
        "numbers": (torch.randn(512, 4, generator=g) + 50, nn.MSELoss()),
    }[kind]
    model = mlp()
    plan(model, x, targets, loss_fn=loss).apply_()
    informed = float(loss(model(x), targets).detach())
    best = {
        "classes": lambda: -float((torch.bincount(targets) / 512).log()[targets].mean()),
        "binary": lambda: float(loss(torch.logit(targets.mean(0)).expand_as(targets), targets)),
        "numbers": lambda: float(targets.var(0, correction=0).mean()),
    }[kind]()
    # Logits of variance 0.01 cost half of it, and no more than as much again from one draw's luck.
    assert best - 1e-3 < informed < best + 0.03


def test_targets_that_do_not_fit_are_said():
    with pytest.raises(ValueError, match="class numbers below the head's 4 units, got 'up to 7'"):
        plan(mlp(), (8, 8), torch.full((8,), 7))
    with pytest.raises(ValueError, match="a number for each of the head's 4 units"):
        plan(mlp(), (8, 8), torch.zeros(8, 3))


def test_tied_weights_are_drawn_once_and_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.norm, self.head = nn.Embedding(50, 16), nn.LayerNorm(16), nn.Linear(16, 50, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.norm(self.embed(ids)))

    model, ids = Tied(), torch.randint(50, (32, 6), generator=seeded())
    made = plan(model, ids)
    assert made["head.weight"] is made["embed.weight"]
    made.apply_()
    assert model.head.weight is model.embed.weight
    targets = torch.randint(50, (32 * 6,), generator=seeded(1))
    loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), targets)
    assert abs(float(loss.detach()) - math.log(50)) < 0.5


def test_a_model_on_meta_is_planned_then_materialized_then_filled():
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Linear(32, 2))
    made = plan(empty, (16, 8))
    assert made.before is None
    assert made.after is not None
    assert math.isnan(made["0.weight"].present)
    with pytest.raises(ValueError, match="to_empty"):
        made.apply_()
    made.apply_(empty.to_empty(device="cpu"))
    built = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Linear(32, 2))
    plan(built, (16, 8)).apply_()
    assert same(values(built), values(empty))
    assert torch.equal(empty[1].running_var, torch.ones(32))


def test_the_plan_of_one_model_fills_another_of_the_same_names():
    with torch.device("meta"):
        made = plan(mlp(), (4, 8))
    first, second = mlp(), mlp()
    made.apply_(first)
    plan(second, (4, 8)).apply_()
    assert same(values(first), values(second))
    with pytest.raises(ValueError, match=r"`0.weight` must have the planned shape \(64, 8\), got \(32, 8\)"):
        made.apply_(mlp(32))
    with pytest.raises(ValueError, match=r"must have the parameter '6.weight'"):
        made.apply_(nn.Sequential(*mlp()[:6]))


def test_the_predicted_profile_after_is_that_of_the_model_that_was_filled():
    model = mlp(256, depth=4)
    made = plan(model, torch.randn(32, 8, generator=seeded()))
    after = made.after
    made.apply_()
    found = sg.measure(model, torch.randn(32, 8, generator=seeded()))
    inside = [row.q_low <= found[row.path].q <= row.q_high for row in after if row.kind == "Linear"]
    assert sum(inside) >= len(inside) - 1
    # Asking for the profile leaves nothing behind.
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_buffers_stay_as_they_are():
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
    model(torch.randn(16, 8))
    before = {name: b.clone() for name, b in model.named_buffers()}
    made = plan(model, torch.randn(16, 8))
    _ = str(made)
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    made.apply_(only=["0"])
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    made.apply_()
    assert int(model[1].num_batches_tracked) == 0


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.scale = nn.Linear(8, 8), nn.Parameter(torch.ones(8))

    def forward(self, x):
        return self.fc(x) * self.scale


def test_a_layer_without_a_rule_is_said_and_may_be_skipped():
    with pytest.raises(TypeError, match=r"register\(Own\).*skip=\['scale'\]"):
        plan(Own(), (4, 8))
    model = Own()
    plan(model, (4, 8), skip=["scale"]).apply_()
    assert torch.equal(model.scale, torch.ones(8))


def lazy():
    return nn.Sequential(nn.Linear(8, 4), nn.LazyLinear(3))


def integers():
    model = mlp()
    model[2].weight = nn.Parameter(torch.ones(64, 64, dtype=torch.int8), requires_grad=False)
    return model


BAD = {
    "scheme": (mlp, {"scheme": "critcal"}, "Did you mean 'critical'"),
    "distribution": (mlp, {"distribution": "gaussian"}, "`distribution` must be one of"),
    "only": (mlp, {"only": ["7"]}, "`only` must be one of"),
    "skip": (mlp, {"skip": ["0.wieght"]}, "Did you mean '0.weight'"),
    "a name alone": (mlp, {"skip": "0"}, "must be a collection of names, got the one name '0'"),
    "inputs": (mlp, {"inputs": None}, "`inputs` must be a batch, or its shape, for this scheme"),
    "what inputs": (mlp, {"inputs": 3}, "`inputs` must be a tensor, a sequence or a mapping"),
    "no base": (mlp, {"scheme": "mup"}, "`base` must be the same architecture"),
    "no data": (mlp, {"scheme": "lsuv"}, "must be a batch of data"),
    "no branch": (mlp, {"scheme": "fixup"}, "is for residual networks"),
    "too shallow": (mlp, {"scheme": "tailored"}, "what ReLU reaches at this depth"),
    "lazy": (lazy, {}, "must be materialized first"),
    "integers": (integers, {"only": ["2"]}, "`2.weight` must be of a floating point type, got torch.int8"),
    "nothing": (nn.ReLU, {}, "must have parameters to initialize"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_allowed_is_one_line_and_changes_nothing(name):
    make, arguments, words = BAD[name]
    model = make()
    with pytest.raises((ValueError, TypeError), match=words):
        plan(model, **{"inputs": (4, 8), **arguments})


def test_applying_is_all_or_none():
    """One parameter that lost its memory keeps the others from being drawn."""
    model = mlp()
    made = plan(model, (4, 8))
    model[4].to("meta")
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match="meta"):
        made.apply_()
    assert torch.equal(model[0].weight, before)
    with pytest.raises(ValueError, match=r"`seed` must be a whole number, got 0.5"):
        plan(mlp(), (4, 8)).apply_(seed=0.5)


def test_the_models_own_error_is_said_with_its_cause():
    with pytest.raises(UserCodeError, match="raised"):
        plan(mlp(), (4, 9))


def test_a_model_that_asks_for_numbers_is_traced_on_the_batch():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 2)

        def forward(self, x):
            return self.second(torch.relu(self.first(x)) if x.sum().item() > -1e9 else x)

    assert "relu" in plan(Asks(), torch.randn(4, 8))["first.weight"].reason


@pytest.mark.parametrize("scheme", ["critical", "orthogonal", "he"])
def test_the_written_code_runs_without_this_package_and_draws_the_same_distributions(scheme):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.up = nn.Conv2d(4, 32, 3, groups=2), nn.ConvTranspose2d(32, 8, 4, stride=2)
            self.lstm, self.norm, self.head = nn.LSTM(8, 24, batch_first=True), nn.LayerNorm(24), nn.Linear(24, 3)

        def forward(self, x):
            y = torch.tanh(self.up(torch.relu(self.conv(x))))
            return self.head(self.norm(self.lstm(y.flatten(2).transpose(1, 2))[0])).mean(1)

    model = Net()
    made = plan(model, torch.randn(4, 4, 8, 8, generator=seeded()), scheme=scheme)
    code = made.code()
    assert "import steadygrad" not in code
    names: dict = {}
    exec(compile(code, "init.py", "exec"), names)
    ours, theirs = values(made.apply_()), values(names["initialize"](copy.deepcopy(model), seed=3))
    for row in made.rows:
        a, b = ours[row.name].double(), theirs[row.name].double()
        scale = max(float(a.square().mean()), 1e-12)
        error = 5 * float(a.square().std()) * math.sqrt(2 / a.numel()) + 1e-5 * scale
        assert abs(float(a.square().mean() - b.square().mean())) <= error, row
    again = values(names["initialize"](copy.deepcopy(model), seed=3))
    assert same(theirs, again)


def test_what_code_cannot_say_is_said():
    with pytest.raises(SteadygradError, match='got "lsuv"'):
        planned(mlp(), "lsuv").code()


def test_what_is_frozen_stays_unless_it_is_named():
    model = mlp()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    made = plan(model, (4, 8))
    made.apply_(seed=0)
    assert torch.equal(model[0].weight, before)
    assert {"0.weight", "0.bias"} <= set(made.kept)
    assert "2 frozen parameters stay" in str(made)
    plan(model, (4, 8), only=["0"]).apply_(seed=0)
    assert not torch.equal(model[0].weight, before)
    with pytest.raises(ValueError, match="frozen ones are named in `only`"):
        plan(mlp().requires_grad_(False), (4, 8))
