"""A rectifier exchanged keeps the signal of the next layer."""

import pytest
import torch
from torch import nn

from steadygrad.errors import SetupError
from steadygrad.remedies import convert_

torch.set_num_threads(1)


def he(depth, width):
    layers = [m for _ in range(depth) for m in (nn.Linear(width, width, bias=False), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, width, bias=False))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=(2 / width) ** 0.5)
    return model


@pytest.mark.parametrize(("to", "slope"), [("leaky_relu", 0.3), ("prelu", 0.25), ("leaky_relu", 0.01)])
def test_the_second_moment_stays_through_many_layers(to, slope):
    """E[q_out/q_in] = 1 for He and for the corrected network; uncorrected it is (1 + a²)^10, 2.37 at a = 0.3."""
    generator, ratios = torch.Generator().manual_seed(1), []
    torch.manual_seed(0)
    for _ in range(40):
        model = he(10, 64)
        convert_(model, to=to, slope=slope)
        x = torch.randn(16, 64, generator=generator)
        ratios.append((model(x).square().mean() / (2 * x.square().mean())).item())
    sample = torch.tensor(ratios)
    assert abs(sample.mean() - 1) < 5 * sample.std() / 40**0.5


def test_the_factor_is_that_of_the_gains():
    model = he(1, 8)
    before = model[2].weight.detach().clone()
    (done,) = convert_(model, slope=0.3)
    assert done.factor == pytest.approx((1 + 0.3**2) ** -0.5, rel=1e-12)
    assert torch.allclose(model[2].weight, before * done.factor)
    assert done.scaled == ("2",)


def test_every_rectifier_is_exchanged_and_prelu_brings_parameters():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4)), nn.ReLU())
    done = convert_(model, to="prelu")
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    assert [p.item() for n, p in model.named_parameters() if n in ("1.0.weight", "2.weight")] == [0.25, 0.25]
    assert [(d.path, d.scaled, d.reason) for d in done] == [
        ("1.0", ("1.1",), ""),
        ("2", (), "its output leaves the model"),
    ]


def test_a_dead_unit_recovers_after_conversion():
    """The note, section 4: a slope for negative values lets the neuron recover."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    nn.init.constant_(model[0].bias, -50.0)
    x = torch.randn(16, 4)
    model(x).sum().backward()
    assert not model[0].weight.grad.any()
    convert_(model, to="leaky_relu")
    model(x).sum().backward()
    assert model[0].weight.grad.any(dim=1).all()


def test_a_function_cannot_be_exchanged():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return torch.relu(self.fc(x))

    with pytest.raises(SetupError, match="calls ReLU as a function"):
        convert_(Functional())


@pytest.mark.parametrize(("settings", "message"), [({"to": "gelu"}, "`to` must be one of"), ({"slope": 1.0}, "`slope`"),
                                                   ({"slope": -0.1}, "`slope`")])  # fmt: skip
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        convert_(he(1, 4), **settings)


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.second, self.head = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        h = self.act(self.first(x))
        return self.head(h + self.second(h))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Sum, "`add` (test_convert.py:"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 1)), "`2` normalizes it"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Tanh(), nn.Linear(4, 1)), "`2` changes it"),
    ],
)
def test_what_is_normalized_changed_or_added_to_on_the_way_is_not_scaled_and_reported(make, reason):
    model = make()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    (done,) = convert_(model, slope=0.5)
    assert done.scaled == ()
    assert reason in done.reason
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x):
        x = nn.functional.relu(self.first(x))
        return self.first(x).relu_()


def test_a_function_is_refused_with_the_line_of_each_call():
    with pytest.raises(SetupError, match=r"`relu` \(test_convert\.py:\d+\), `relu_` \(test_convert\.py:\d+\)"):
        convert_(Functional())
