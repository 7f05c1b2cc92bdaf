"""A row for each call of a module without children, in the order in which calls end."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from steadygrad.measurement import measure, observe


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.again(self.act(self.first(x))))


def test_a_module_called_twice_gives_two_rows_under_its_first_name():
    assert [layer.path for layer in measure(Reused(), torch.randn(3, 4))] == ["first", "act", "first", "act"]


def test_containers_and_the_loss_give_none_and_fans_come_along():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 6)), nn.ReLU())
    profile = measure(model, torch.randn(3, 4), torch.randn(3, 6), nn.MSELoss())
    assert [(r.path, r.kind, r.fan_in, r.fan_out) for r in profile] == [
        ("0.0", "Linear", 4, 6),
        ("1", "ReLU", None, None),
    ]
    assert profile.source == "measured"
    assert {row.mark for row in profile} == {"measured"}


def test_a_model_that_is_one_layer_is_its_own_row():
    assert [layer.path for layer in measure(nn.Linear(2, 2), torch.randn(3, 2))] == [""]


def test_an_in_place_activation_leaves_the_layer_before_it_as_it_was_measured():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    inplace = nn.Sequential(plain[0], nn.ReLU(inplace=True))
    x = torch.randn(16, 8)
    first, second = measure(plain, x), measure(inplace, x)
    assert [(a.q, a.grad_q, a.dead_fraction) for a in first][1:] == [(a.q, a.grad_q, a.dead_fraction) for a in second][
        1:
    ]
    assert (first["0"].q, first["0"].grad_q) == (second["0"].q, second["0"].grad_q)


def test_sources_follow_the_very_tensor_and_end_at_other_operators():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(x + self.b(self.a(x)))

    calls = observe(Residual(), torch.randn(3, 4)).calls
    assert [call.sources for call in calls] == [(), (0,), ()]


def test_a_tuple_of_outputs_is_seen_by_its_first_tensor():
    row = measure(nn.LSTM(3, 5, batch_first=True), torch.randn(4, 6, 3)).layers[0]
    assert row.kind == "LSTM"
    assert (row.fan_in, row.fan_out) == (3, 5)
    assert row.weight_grad_norm > 0


@pytest.mark.parametrize(
    ("module", "dead", "saturated"),
    [
        (nn.ReLU(), 0.25, 0.0),
        (nn.ReLU6(), 0.25, 0.25),
        (nn.Sigmoid(), 0.0, 0.5),
        (nn.Tanh(), 0.0, 0.5),
        (nn.Hardsigmoid(), 0.25, 0.25),
        (nn.PReLU(4), 0.0, 0.0),
        (nn.GELU(), 0.25, 0.0),
    ],
)
def test_units_are_told_by_derivative_on_every_example(module, dead, saturated):
    """Units: far below 0, far above, on both sides, near 0."""
    x = torch.tensor([[-9.0, 9.0, -1.0, 0.1], [-8.0, 8.0, 1.0, 0.3]])
    model = nn.Sequential(nn.Linear(4, 4), module)
    nn.init.eye_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    row = measure(model, x)["1"]
    assert (row.dead_fraction, row.saturated_fraction) == (dead, saturated)


@pytest.mark.parametrize("module", [nn.Softmax(-1), nn.LayerNorm(4), nn.BatchNorm1d(4), nn.Dropout(0.9)])
def test_what_is_no_pointwise_activation_has_no_units(module):
    row = measure(nn.Sequential(nn.Linear(4, 4), module), torch.randn(6, 4))["1"]
    assert row.dead_fraction != row.dead_fraction


def test_channels_are_the_units_of_a_convolution():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    nn.init.constant_(model[0].bias, 0.0)
    with torch.no_grad():
        model[0].bias[0] = -100.0
    assert measure(model, torch.randn(3, 1, 6, 6))["1"].dead_fraction == 0.25


def test_what_was_compiled_has_rows_too_and_stays_compiled():
    """Its backend hears of every graph that is compiled: of the model's own, once."""
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    found: list[int] = []

    def backend(graph, inputs):
        found.append(len(inputs))
        return graph.forward

    model, x = nn.Sequential(torch.compile(inner, backend=backend), nn.Linear(4, 2)), torch.randn(8, 4)
    model(x)
    compiled = len(found)
    profile = measure(model, x)
    model(x)
    assert len(found) == compiled == 1
    assert [row.path for row in profile] == ["0._orig_mod.0", "0._orig_mod.1", "1"]
    assert profile.layers[0].q == pytest.approx(inner[0](x).square().mean().item())


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.PReLU(40)])
def test_what_a_checkpoint_computes_anew_is_measured_as_without_one(activation):
    class Checkpointed(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            self.again = again
            self.body = nn.Sequential(nn.Linear(40, 40), activation, nn.Linear(40, 40), activation)
            self.head = nn.Linear(40, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(checkpoint(self.body, x, use_reentrant=False) if self.again else self.body(x))

    torch.manual_seed(0)
    plain, checkpointed = Checkpointed(again=False), Checkpointed(again=True)
    checkpointed.load_state_dict(plain.state_dict())
    x, y = torch.randn(32, 40), torch.randint(3, (32,))
    expected, found = (measure(model, x, y, nn.CrossEntropyLoss()) for model in (plain, checkpointed))
    assert found.layers[:-1] == expected.layers[:-1]
    assert found.parameter_grad_norms == expected.parameter_grad_norms


def test_what_runs_inside_a_function_transform_has_no_row_and_the_rest_is_measured():
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.vmap(self.each)(x))

    torch.manual_seed(0)
    model, x = Mapped(), torch.randn(16, 8)
    (row,) = measure(model, x)
    assert row.path == "head"
    assert row.q == pytest.approx(model(x).detach().square().mean().item(), rel=1e-5)


def test_targets_without_a_loss_are_not_passed_over():
    with pytest.raises(ValueError, match="`targets` must come with `loss_fn`"):
        measure(nn.Linear(2, 2), torch.ones(4, 2), torch.zeros(4))
