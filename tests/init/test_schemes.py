"""What each scheme makes of networks: roles found in the graph, and the laws that a scheme stands for."""

import itertools
import math

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.errors import SteadygradError
from steadygrad.init import plan
from steadygrad.init.critical_point import critical_point
from steadygrad.theory import activation, gated_moments, moments


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gain(made, name):
    row = made[name]
    return row.recipe.rms * math.sqrt(math.prod(row.shape[1:]))


class ByHand(nn.Module):
    """Activations written as functions."""

    def __init__(self, act):
        super().__init__()
        self.act, self.a, self.b, self.c = act, nn.Linear(8, 64), nn.Linear(64, 64), nn.Linear(64, 3)

    def forward(self, x):
        return self.c(self.act(self.b(self.act(self.a(x)))))


ACTIVATIONS = {
    "relu in place": (lambda u: torch.relu_(u), "relu"),
    "functional": (nn.functional.gelu, "gelu"),
    "tanh gelu": (lambda u: nn.functional.gelu(u, approximate="tanh"), "gelu"),
    "by hand": (lambda u: u * torch.sigmoid(u), "silu"),
    "a module's own slope": (nn.PReLU(), "prelu"),
    "leaky": (lambda u: nn.functional.leaky_relu(u, 0.2), "leaky"),
    "scaled": (lambda u: 1.7159 * torch.tanh(2 / 3 * u), "lecun"),
    "dropped out": (nn.Sequential(nn.Dropout(0.1), nn.Tanh(), nn.Dropout(0.1)), "tanh"),
}
MEANT = {
    "relu": activation("relu"), "gelu": activation("gelu"), "silu": activation("silu"), "tanh": activation("tanh"),
    "prelu": activation("leaky_relu", negative_slope=0.25), "leaky": activation("leaky_relu", negative_slope=0.2),
    "lecun": activation(lambda u: 1.7159 * activation("tanh")(2 / 3 * u)),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activation_that_really_follows_is_found(name):
    act, meant = ACTIVATIONS[name]
    made = plan(ByHand(act), (16, 8))
    point = critical_point(MEANT[meant], 2, 64)
    # The tanh form of GELU differs from it by 1e-3 at most.
    tolerance = 2e-3 if name == "tanh gelu" else 1e-6
    assert gain(made, "b.weight") == pytest.approx(point.sigma_w, rel=tolerance)
    assert made["b.bias"].recipe.rms == pytest.approx(point.sigma_b, rel=50 * tolerance)


def test_the_inputs_own_scale_is_made_good():
    model = ByHand(torch.tanh)
    small, large = (plan(model, torch.randn(64, 8, generator=seeded()) * s) for s in (0.01, 100.0))
    assert gain(small, "a.weight") / gain(large, "a.weight") == pytest.approx(1e4)
    assert gain(small, "b.weight") == gain(large, "b.weight")


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.gate, self.down, self.head = (nn.Linear(64, 64) for _ in range(4))

    def forward(self, x):
        return self.head(torch.relu(self.down(nn.functional.silu(self.gate(x)) * self.up(x))))


def test_a_gated_unit_is_made_good_for_the_product():
    made = plan(Gated(), (16, 64))
    assert gain(made, "gate.weight") == gain(made, "up.weight") == pytest.approx(1.0)
    assert gain(made, "down.weight") == pytest.approx(gated_moments("swiglu", 1.0).second ** -0.5, rel=1e-6)


class Block(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.post = nn.LayerNorm(width) if norm == "post" else nn.Identity()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return self.post(x + self.b(torch.relu(self.a(self.norm(x)))))


def residual(norm, depth=6, width=64):
    return nn.Sequential(nn.Linear(8, width), *(Block(width, norm) for _ in range(depth)), nn.Linear(width, 4))


@pytest.mark.parametrize("norm", ["pre", "none"])
def test_branches_of_a_stream_are_scaled_so_that_it_grows_by_less_than_e(norm):
    model = residual(norm, depth=40)
    x = torch.randn(128, 8, generator=seeded())
    made = plan(model, x)
    assert "one of 40 branches" in made["7.b.weight"].reason
    made.apply_()
    streams = []
    for block in list(model)[:-1]:
        block.register_forward_hook(lambda m, a, y: streams.append(y))
    model(x).pow(2).sum().backward()
    q = [float(y.detach().square().mean()) for y in streams]
    # (1 + 1/40)^40 = 2.68; a draw's log moves by sqrt(5/64) at the first layer, and less after it.
    assert q[-1] / q[0] == pytest.approx((1 + 1 / 40) ** 40, rel=0.5)
    assert max(q) / min(q) < 4


def test_after_a_norm_no_stream_grows_and_no_branch_is_scaled():
    made = plan(residual("post"), (16, 8))
    # The block's norm gives 1, the first linear 1, ReLU a half: the last of a branch makes it good.
    assert gain(made, "2.b.weight") == pytest.approx(math.sqrt(2) * math.exp(5 / (4 * 64)))


def test_the_last_norm_of_a_branch_takes_its_scale():
    class Bottleneck(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

        def forward(self, x):
            return torch.relu(x + self.bn2(self.b(torch.relu(self.bn1(self.a(x))))))

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), *(Bottleneck() for _ in range(4)))
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)])
    made = plan(model, (4, 3, 12, 12))
    # A rectified stream of q = 1/2 and growing; the branch adds a quarter of it.
    assert made["3.bn2.weight"].recipe.rms == pytest.approx(math.sqrt(0.5 / 4))
    assert made["3.bn1.weight"].recipe.rms == 1.0
    assert made["6.bn2.weight"].recipe.rms > made["3.bn2.weight"].recipe.rms


@pytest.mark.parametrize("attention", ["module", "by hand"])
def test_a_pre_norm_transformer_keeps_signal_and_gradient(attention):
    class Heads(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)

        def forward(self, x):
            q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
            return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    class Own(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.n1, self.n2, self.att = nn.LayerNorm(d), nn.LayerNorm(d), Heads(d)
            self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

        def forward(self, x):
            x = x + self.att(self.n1(x))
            return x + self.mlp(self.n2(x))

    def layer(d):
        if attention == "by hand":
            return Own(d)
        return nn.TransformerEncoderLayer(d, 4, 4 * d, 0.0, activation="gelu", norm_first=True, batch_first=True)

    model = nn.Sequential(nn.Embedding(100, 64), *(layer(64) for _ in range(12)), nn.LayerNorm(64), nn.Linear(64, 100))
    ids = torch.randint(100, (8, 16), generator=seeded())
    made = plan(model, ids)
    assert sum("one of 24 branches" in row.reason for row in made.rows) == 24
    made.apply_()
    streams = []
    for block in list(model)[:-2]:
        block.register_forward_hook(lambda m, a, y: streams.append(y))
    loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
    assert abs(float(loss.detach()) - math.log(100)) < 0.05
    grads = [float(g.square().mean()) for g in torch.autograd.grad(loss, streams)]
    q = [float(y.detach().square().mean()) for y in streams]
    assert max(q) / min(q) < 4
    assert max(grads) / min(grads) < 4


def test_recurrent_layers_attention_and_embeddings_have_rules_of_their_own():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.lstm = nn.Embedding(20, 16), nn.LSTM(16, 32, batch_first=True)
            self.att, self.head = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 2)

        def forward(self, ids):
            x, _ = self.lstm(self.embed(ids))
            return self.head(self.att(x, x, x)[0][:, -1])

    made = plan(Mixed(), torch.randint(20, (4, 5), generator=seeded()))
    assert made["embed.weight"].recipe.rms == 1.0
    assert made["lstm.weight_hh_l0"].recipe.words.startswith("orthogonal")
    assert made["lstm.bias_ih_l0"].reason == "as ever"
    assert made["lstm.bias_ih_l0"].recipe.words == "forget gate 1, others 0"
    assert gain(made, "att.in_proj_weight") == pytest.approx(1.0)


def test_a_layer_that_is_called_twice_is_planned_once():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again, self.head = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 2)

        def forward(self, x):
            x = torch.relu(self.first(x))
            for _ in range(5):
                x = torch.relu(self.again(x))
            return self.head(x)

    made = plan(Shared(), (16, 8))
    # The log of one draw lies kappa/(2N) = 5/64 below its mean.
    assert gain(made, "again.weight") == pytest.approx(math.sqrt(2) * math.exp(5 / (4 * 32)))


def test_the_edge_of_chaos_is_kept_to_the_end_of_every_depth():
    """sigma_w² E[phi'²] = 1 at the q that sigma_b keeps, and the deeper the chain the smaller q, in wide layers."""
    for name in ("tanh", "erf", "gelu", "silu", "mish", "elu", "selu"):
        phi, before = activation(name), math.inf
        for depth in (1, 10, 100, 1000):
            point = critical_point(phi, depth, 10**9)
            m = moments(phi, point.q)
            assert point.sigma_w**2 * m.derivative_second == pytest.approx(1, rel=1e-6)
            assert point.sigma_w**2 * m.second + point.sigma_b**2 == pytest.approx(point.q, rel=1e-6)
            assert point.q <= before
            before = point.q


@pytest.mark.parametrize("orthogonal", [False, True])
def test_at_finite_width_it_is_the_median_of_a_draw_that_is_kept(orthogonal):
    """Of 60 ReLU layers of 32 units the log of q has variance 5/N a layer, 3/N for orthogonal weights.

    Without the correction its median would fall by half of that: by exp(-4.7), or exp(-2.8).
    """
    model = nn.Sequential(*(part for _ in range(60) for part in (nn.Linear(32, 32), nn.ReLU())), nn.Linear(32, 2))
    made = plan(model, (1, 32), distribution="orthogonal" if orthogonal else "normal")
    x, logs = torch.randn(1, 32, generator=seeded()), []
    with torch.no_grad():
        for seed in range(80):
            made.apply_(seed=seed)
            first = model[0](x)
            last = model[1:-2](first)
            logs.append(float((last.square().mean() / first.square().mean()).log()))
    # The standard error of a normal's median is 1.25 times that of its mean; the law is of first order in 1/N.
    error = 5 * 1.25 * math.sqrt((3 if orthogonal else 5) * 59 / 32 / len(logs))
    assert abs(float(torch.tensor(logs).median())) < error


def deep_tanh(depth, width=64):
    return nn.Sequential(*(part for _ in range(depth) for part in (nn.Linear(width, width), nn.Tanh())))


def test_a_tanh_network_of_400_layers_keeps_signal_and_gradient_where_unit_weights_lose_them():
    """At sigma_w = 1 without bias q falls as 1/(2 l): to 0.00125 after 400 layers."""
    x = torch.randn(16, 64, generator=seeded())
    ends = {}
    for name in ("critical", "unit"):
        model = deep_tanh(400)
        if name == "critical":
            plan(model, x, distribution="orthogonal").apply_()
        else:
            sg.init.orthogonal_(model)
        first = model[0](x)
        first.retain_grad()
        last = model[1:-1](first)
        last.pow(2).sum().mul(0.5).backward()
        ends[name] = float(last.detach().square().mean() / first.detach().square().mean())
        if name == "critical":
            assert 0.1 < float(first.grad.square().mean() / last.detach().square().mean()) ** 0.5 < 10
    assert 0.25 < ends["critical"] < 4
    assert ends["unit"] < 0.0025


class TestLsuv:
    @staticmethod
    def deviations(model, x):
        found = {}
        handles = [
            m.register_forward_hook(lambda m, a, y, n=n: found.update({n: found.get(n) or float(y.detach().std())}))
            for n, m in model.named_modules()
            if isinstance(m, nn.Linear | nn.Conv2d)
        ]
        model(x)
        for handle in handles:
            handle.remove()
        return found

    def test_every_layer_has_unit_variance_on_fresh_data_but_the_head(self):
        layers = [part for i in range(12) for part in (nn.Linear(32 if i == 0 else 128, 128), nn.GELU())]
        model = nn.Sequential(*layers, nn.Linear(128, 10))
        plan(model, torch.randn(2048, 32, generator=seeded()) * 7 + 1, scheme="lsuv").apply_()
        found = self.deviations(model, torch.randn(2048, 32, generator=seeded(1)) * 7 + 1)
        head = found.pop("24")
        assert all(abs(std - 1) <= 0.03 for std in found.values()), found
        assert head == pytest.approx(0.1, rel=0.05)

    def test_execution_order_shared_modules_zero_layers_and_modes_are_respected(self):
        class Odd(nn.Module):
            """Registered in another order than it runs; one layer runs three times, one starts at zero."""

            def __init__(self):
                super().__init__()
                self.head, self.third, self.shared, self.first = (nn.Linear(64, 64) for _ in range(4))
                self.zero, self.drop = nn.Linear(64, 64), nn.Dropout(0.5)
                nn.init.zeros_(self.zero.weight)

            def forward(self, x):
                x = torch.relu(self.first(x))
                for _ in range(3):
                    x = torch.relu(self.shared(x))
                x = torch.relu(self.third(self.drop(x)))
                return self.head(x + self.zero(x))

        model = Odd().eval()
        x = torch.randn(4096, 64, generator=seeded())
        plan(model, x, scheme="lsuv").apply_()
        found = self.deviations(model, x)
        assert [found[n] for n in ("first", "shared", "third")] == pytest.approx([1.0] * 3, abs=1e-4)
        assert not model.zero.weight.any()
        assert not model.training
        assert not model._forward_hooks
        assert not model.first._forward_hooks

    def test_attention_is_covered(self):
        model = nn.Sequential(nn.Linear(16, 32), Attends(32), nn.Linear(32, 4))
        x = torch.randn(256, 6, 16, generator=seeded()) * 5
        plan(model, x, scheme="lsuv").apply_()
        y = model[0](x).detach()
        for block in model[1].att.in_proj_weight.detach().chunk(3):
            assert float((y @ block.T).std()) == pytest.approx(1, abs=1e-3)
        assert float(model[1].att(y, y, y)[0].detach().std()) == pytest.approx(1, abs=1e-3)

    def test_convolutions_with_a_norm_and_a_bias_that_stays(self):
        model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 3))
        nn.init.constant_(model[2].bias, 5.0)
        x = torch.randn(64, 3, 8, 8, generator=seeded())
        plan(model, x, scheme="lsuv", skip=["2.bias"]).apply_()
        y = model[2](torch.relu(model[0](x))).detach() - 5
        assert float(y.std()) == pytest.approx(1, abs=0.05)

    def test_an_output_without_spread_is_said_and_the_weights_stay(self):
        class Constant(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

            def forward(self, x):
                return self.c(torch.relu(self.b(0 * torch.relu(self.a(x)))))

        with pytest.raises(SteadygradError, match="the output of 'b' must have a spread"):
            plan(Constant(), torch.randn(8, 4, generator=seeded()), scheme="lsuv").apply_()


class Attends(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.att = nn.MultiheadAttention(width, 4, batch_first=True)

    def forward(self, x):
        return self.att(x, x, x)[0]


def test_fixup_starts_a_deep_residual_network_as_its_stem_and_lets_it_move():
    model = residual("none", depth=50)
    x = torch.randn(64, 8, generator=seeded())
    plan(model, x, scheme="fixup").apply_()
    assert torch.equal(model[1:-1](model[0](x)), model[0](x))
    assert not model[-1].weight.any()
    # m = 2 layers a branch: L^(-1/2).
    assert float(model[3].a.weight.detach().square().mean() * 64) == pytest.approx(2 / 50, rel=5 * math.sqrt(2 / 4096))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    y = torch.randint(4, (64,), generator=seeded())
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(math.log(4), abs=1e-5)
    assert losses[-1] < losses[0] - 0.1


def wide(width):
    sizes = [16, width, width, width]
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, 4))


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_under_width_transfer_a_step_changes_outputs_alike_at_every_width(kind):
    """The coordinate check: what four steps change of the hidden layers and the output does not grow with the width."""
    x, y = torch.randn(64, 16, generator=seeded()), torch.randint(4, (64,), generator=seeded())
    changes = {}
    for width in (64, 1024):
        model = wide(width)
        made = plan(model, x, scheme="mup", base=wide(64))
        made.apply_()
        rate, optimizer = {"adam": (0.003, torch.optim.Adam), "sgd": (0.1, torch.optim.SGD)}[kind]
        steps = optimizer(made.parameter_groups(rate, optimizer=kind))
        before = [model[:k](x).detach() for k in (3, 5, 7)]
        for _ in range(4):
            steps.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            steps.step()
        after = [model[:k](x).detach() for k in (3, 5, 7)]
        changes[width] = [float((b - a).square().mean()) ** 0.5 for a, b in zip(before, after, strict=True)]
    for narrow, broad in zip(changes[64], changes[1024], strict=True):
        assert 0.3 < broad / narrow < 3, changes
    assert {row.adam for row in plan(wide(64), x, scheme="mup", base=wide(64)).rows} == {1.0}


def test_tailored_rectifiers_have_the_slope_that_the_depth_asks_for():
    model = nn.Sequential(*(part for _ in range(50) for part in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 4))
    made = plan(model, (32, 64), scheme="tailored")
    assert isinstance(model[1], nn.ReLU)
    made.apply_()
    assert model[1].negative_slope == pytest.approx(0.430523, abs=1e-6)
    assert gain(made, "4.weight") == pytest.approx(math.sqrt(2 / (1 + 0.430523**2)), rel=1e-5)
    # Two inputs at right angles end at a correlation of 0.9.
    x = torch.randn(2, 64, generator=seeded())
    x[1] -= x[0] * (x[0] @ x[1]) / (x[0] @ x[0])
    a, b = model[:-1](x).detach()
    assert float(a @ b / a.norm() / b.norm()) == pytest.approx(0.9, abs=0.08)


def test_tailored_smooth_activations_take_the_place_of_the_modules():
    model = nn.Sequential(*(part for _ in range(60) for part in (nn.Linear(64, 64), nn.Tanh())), nn.Linear(64, 4))
    x = torch.randn(32, 64, generator=seeded())
    plan(model, x, scheme="tailored").apply_()
    q = [float(model[: 2 * k + 1](x).detach().square().mean()) for k in (0, 20, 40, 59)]
    assert max(q) / min(q) < 3


def test_an_activation_that_is_no_module_cannot_be_exchanged():
    with pytest.raises(ValueError, match="exchanges activations that are modules, got relu written as a function"):
        plan(ByHand(torch.relu), (4, 8), scheme="tailored")


def test_what_the_graph_cannot_size_is_noted():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(self.a(x).sort(dim=1).values)

    assert "sort in the model is taken to keep the second moment" in plan(Sorted(), (4, 8)).notes
