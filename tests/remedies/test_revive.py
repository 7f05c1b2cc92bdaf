"""Dead units come alive without changing what the network computes."""

import re

import pytest
import torch
from torch import nn

from steadygrad.errors import SetupError
from steadygrad.guard import Guard
from steadygrad.remedies import Reviver, revive_

torch.set_num_threads(1)
DEAD = [1, 4]


class Residual(nn.Module):
    """x + f(x), whose branch has hidden units of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(x + self.second(torch.relu(self.first(x))))


class Stream(nn.Module):
    """Units whose activation goes straight into a sum."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        h = torch.relu(self.first(x))
        return self.head(h + self.second(h))


class Tail(nn.Module):
    """The end of a residual network: a sum, an activation, pooling by functions, a view, a linear layer."""

    def __init__(self):
        super().__init__()
        self.before, self.first, self.norm = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 4, 2)

    def forward(self, x):
        h = torch.relu(self.before(x))
        h = torch.relu(self.norm(self.first(h)) + h)
        h = nn.functional.avg_pool2d(nn.functional.max_pool2d(h, 2), 2)
        return self.head(h.view(h.size(0), -1))


class Gated(nn.Module):
    """Units times a gate, times a scale of their own, as in gated layers."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.second = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 2)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return self.second(torch.relu(self.first(x)) * self.gate(x) * self.scale / 2.0)


NETWORKS = {
    "sum-of-constants": (Tail, "first", (3, 8, 8)),
    "gated": (Gated, "first", (6,)),
    "flattened-sequence": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(40, 2)), "0", (5, 6),
    ),
    "layer-norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2)), "1", (6,)),
    "group-norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 2, 3)), "1", (3, 8, 8),
    ),
    "grouped": (lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 3, groups=2)), "0", (3, 9)),
    "depthwise": (lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU6(), nn.Conv1d(8, 16, 3, groups=8)), "0", (3, 9)),
    "linear": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), "0", (6,)),
    "batch-norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)), "0", (6,)),
    "norm-after": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 2)), "0", (6,)),
    "dropout": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)), "0", (6,)),
    "convolutions": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 2, 3, padding=1)),
        "0", (3, 8, 8),
    ),
    "convolution-into-linear": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
                              nn.Linear(8 * 9, 2)),
        "0", (3, 8, 8),
    ),
    "residual-branch": (Residual, "first", (6,)),
    "saturated-relu6": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU6(), nn.Linear(8, 2)), "0", (6,)),
    "saturated-into-convolution": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.Hardtanh(), nn.Conv1d(8, 2, 3)), "0", (3, 9),
    ),
}  # fmt: skip
CONSTANT = {"depthwise", "saturated-relu6", "saturated-into-convolution", "norm-after"}


def killed(name):
    """A network of this kind with two units that no input can wake, and a batch."""
    torch.manual_seed(0)
    make, path, shape = NETWORKS[name]
    model = make()
    layer, sign = model.get_submodule(path), 1.0 if name.startswith(("saturated", "depthwise")) else -1.0
    with torch.no_grad():
        if name == "sum-of-constants":  # what is added is dead too
            model.before.bias[DEAD], model.norm.bias[DEAD] = -1e4, -1e4
        elif name in ("batch-norm", "convolution-into-linear"):
            model[1].bias[DEAD] = -1e4
        else:
            layer.bias[DEAD] = sign * 1e4
    return model, path, torch.randn(32, *shape)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_the_function_is_unchanged_and_the_units_learn(name, training):
    model, path, x = killed(name)
    model.train(training)
    torch.manual_seed(1)
    before = model(x).detach()
    (revival,) = [r for r in revive_(model, [x]) if r.path == path]
    assert (revival.dead, revival.revived, revival.reason) == (tuple(DEAD), True, "")
    torch.manual_seed(1)
    after = model(x)
    if name in CONSTANT:  # the constant moved into a bias: sums in another order
        assert torch.allclose(after, before, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(after, before)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # the first step moves the outgoing weights, the second the incoming ones
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    rows = model.get_submodule(path).weight.grad[DEAD].reshape(len(DEAD), -1)
    assert (rows != 0).any(dim=1).all()


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "sum-of-constants"])
def test_nothing_else_is_touched(name):
    model, path, x = killed(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    revive_(model, [x], generator=torch.Generator().manual_seed(0))
    live = [u for u in range(8) if u not in DEAD]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.get_submodule(path).weight[live], before[f"{path}.weight"][live])
    assert not model.get_submodule(path).weight[DEAD].isnan().any()


def test_an_example_without_a_batch_will_do():
    model, _, x = killed("linear")
    before = model(x)
    (revival,) = revive_(model, list(x))
    assert (revival.dead, revival.revived) == (tuple(DEAD), True)
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 6)]])
def test_without_examples_nothing_is_called_dead(batches):
    model, _, _ = killed("linear")
    with pytest.raises(ValueError, match="`batches` must hold"):
        revive_(model, batches)


@pytest.mark.parametrize("dims", [(2, 3), (-1, -2)])
def test_a_mean_over_pixels_keeps_channels_apart(dims):
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(torch.relu(self.first(x)).mean(dims))

    torch.manual_seed(0)
    model, x = Mean(), torch.randn(4, 3, 8, 8)
    nn.init.constant_(model.first.bias[DEAD[0] : DEAD[0] + 1].data, -1e4)
    before = model(x)
    (revival,) = revive_(model, [x])
    assert (revival.dead, revival.revived) == ((DEAD[0],), True)
    assert torch.equal(model(x), before)


def test_without_dead_units_nothing_happens():
    torch.manual_seed(0)
    model = NETWORKS["linear"][0]()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert revive_(model, [torch.randn(64, 6)]) == ()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_unit_that_lives_on_one_batch_of_the_window_is_not_dead():
    model, _, x = killed("linear")
    with torch.no_grad():
        model[0].bias[1] = -50.0
    assert revive_(model, [x, x * 300])[0].dead == (4,)


def test_the_new_weights_have_the_scale_of_the_live_ones():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 40), nn.ReLU(), nn.Linear(40, 2))
    with torch.no_grad():
        model[0].weight *= 3
        model[0].bias[:20] = -1e4
    revive_(model, [torch.randn(8, 400)])
    live, new = model[0].weight[20:].square().mean(), model[0].weight[:20].square().mean()
    assert abs((new / live).item() - 1) < 5 * (2 / 8000) ** 0.5  # the standard error of a mean of 8,000 squares


def test_where_none_lives_the_weights_are_hes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 40), nn.ReLU(), nn.Linear(40, 2))
    nn.init.constant_(model[0].bias, -1e4)
    revive_(model, [torch.randn(8, 400)])
    assert abs(model[0].weight.square().mean().item() * 200 - 1) < 5 * (2 / 16000) ** 0.5


class Cut(nn.Module):
    """Units that something else than weights reads."""

    def __init__(self, end, width=2):
        super().__init__()
        self.first, self.head, self.end = nn.Linear(6, 8), nn.Linear(width, 2), end

    def forward(self, x):
        return self.head(self.end(torch.relu(self.first(x))))


REFUSED = {
    "varying sum": (Stream, (6,), "what it passes on to `.*` is not constant"),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 2)), (6,),
        "`2` normalizes over all units, so that the others would change",
    ),
    "output": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU()), (6,), "its output leaves the model"),
    "pooled units": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.MaxPool1d(2), nn.Linear(4, 2)), (5, 6),
        "`2` mixes it with others",
    ),
    "a line of the user": (
        lambda: Cut(lambda h: h.sort().values, 8), (6,), r"`sort` \(test_revive\.py:\d+\) mixes it with others",
    ),
    "units as examples": (lambda: Cut(lambda h: h.reshape(-1, 2)), (6,), r"`reshape` \(test_revive\.py:\d+\) mixes"),
    "norm along the sequence": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)), (8, 6),
        "`1` normalizes along another dimension",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "reason"), REFUSED.values(), ids=REFUSED)
def test_units_that_cannot_be_cut_off_are_reported_with_the_place_and_left_alone(make, shape, reason):
    torch.manual_seed(0)
    model = make()
    layer = next(m for m in model.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        layer.weight[DEAD], layer.bias[DEAD] = 0.0, -1e4
    before = {k: v.clone() for k, v in model.state_dict().items()}
    revivals = revive_(model.eval(), [torch.randn(16, *shape)])
    assert not revivals[0].revived
    assert re.search(reason, revivals[0].reason)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_normalized_channel_that_does_not_vary_is_reported():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[1].bias[0] = -1e4
    (revival,) = revive_(model, [torch.ones(4, 6)])[:1]
    assert (revival.path, revival.revived) == ("1", False)
    assert "does not vary" in revival.reason


def test_the_layer_before_a_layer_norm_is_left_as_it_is():
    model, _, x = killed("layer-norm")
    weight, others = model[0].weight.clone(), model[1](model[0](x)).detach()
    revive_(model, [x])
    alive = [i for i in range(8) if i not in DEAD]
    assert torch.equal(model[0].weight, weight)
    assert torch.equal(model[1](model[0](x))[:, alive], others[:, alive])
    woken = model[1](model[0](x))[:, DEAD] > 0
    assert woken.any(0).all()
    assert not woken.all()


def test_the_optimizers_state_of_a_groups_filters_is_reset_where_they_read_the_units():
    model, _, x = killed("grouped")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model(x).square().sum().backward()
    optimizer.step()
    buffer = optimizer.state[model[2].weight]["momentum_buffer"]
    buffer.fill_(1.0)
    revive_(model, [x], optimizer=optimizer)
    wanted = torch.ones_like(buffer)
    wanted[:2, 1], wanted[2:, 0] = 0.0, 0.0  # units 1 and 4: the second of the first group, the first of the second
    assert torch.equal(buffer, wanted)
    assert torch.equal(model[2].weight == 0, wanted == 0)


def test_a_constant_beside_zero_padding_is_reported():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 8, 3), nn.Hardtanh(), nn.Conv1d(8, 2, 3, padding=1))
    nn.init.constant_(model[0].bias, 1e4)
    assert "pads with zeros" in revive_(model, [torch.randn(4, 3, 9)])[0].reason


OPTIMIZERS = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), {"momentum_buffer"}),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True), {"exp_avg"}),
    "adagrad": (lambda p: torch.optim.Adagrad(p, lr=0.01), set()),
    "rmsprop": (
        lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.9),
        {"momentum_buffer", "grad_avg"},
    ),
    "rprop": (lambda p: torch.optim.Rprop(p, lr=0.01), {"prev"}),
    "adafactor": (lambda p: torch.optim.Adafactor(p, lr=0.01), set()),
    "asgd": (lambda p: torch.optim.ASGD(p, lr=0.01), set()),
}


@pytest.mark.parametrize(("make", "directions"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_optimizers_state_is_that_of_live_units(make, directions):
    model, _, x = killed("linear")
    optimizer = make(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    revive_(model, [x], optimizer=optimizer)
    live = [u for u in range(8) if u not in DEAD]
    for parameter, dim in ((model[0].weight, 0), (model[0].bias, 0), (model[2].weight, 1)):
        for name, value in optimizer.state[parameter].items():
            if value.ndim != parameter.ndim or value.shape[dim] != 8:
                continue
            new, old = value.movedim(dim, 0)[DEAD], value.movedim(dim, 0)[live]
            if name == "ax":
                assert torch.equal(new, parameter.detach().movedim(dim, 0)[DEAD])
            elif name in directions:
                assert not new.any()
            else:
                assert torch.allclose(new, old.mean(0, keepdim=True).expand_as(new))


def test_a_forward_pass_that_depends_on_values_is_a_clear_error():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(SetupError, match="must have a forward pass that can be traced"):
        revive_(Branching(), [torch.ones(1)])


def test_the_guard_calls_a_reviver_and_tells_the_sink():
    model, _, x = killed("linear")
    optimizer, events = torch.optim.Adam(model.parameters(), lr=0.01), []
    reviver = Reviver(model, optimizer, every=3, window=2)
    guard = Guard(model, optimizer, revive=reviver, sink=events.append)
    for _ in range(6):
        guard.step(model(x).square().mean())
    assert [(e.code, e.step, e.module) for e in events] == [("GRD005", 3, "0")]
    assert revive_(model, [x]) == ()
    reviver.close()
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("settings", [{"every": 0}, {"window": 0}])
def test_a_reviver_refuses_what_is_below_one(settings):
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="must be >= 1, got 0"):
        Reviver(model, torch.optim.SGD(model.parameters()), **settings)
