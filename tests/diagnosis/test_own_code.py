"""Layers and activations that the model's own code writes out are looked at like torch's."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import steadygrad as sg


class Matrices(nn.Module):
    """Products with parameters, all in one module; `stacked` keeps `heads` of them in each tensor."""

    def __init__(self, gain: float, *, depth: int = 8, heads: int = 1, fan: int = 16) -> None:
        super().__init__()
        shape = (heads, 16, 16) if heads > 1 else (16, 16)
        self.weights = nn.ParameterList(nn.Parameter(gain / math.sqrt(fan) * torch.randn(shape)) for _ in range(depth))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(shape[-1])) for _ in range(depth))
        self.head = nn.Linear(16 * heads, 4)
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply, add, rectify."""
        x = x.view(len(x), self.heads, 16) if self.heads > 1 else x
        for w, b in zip(self.weights, self.biases, strict=True):
            x = F.relu((torch.einsum("nhi,hio->nho", x, w) if self.heads > 1 else x @ w) + b)
        return self.head(x.flatten(1))


def found(model: nn.Module, features: int = 16, **options: object) -> list[str]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, features, generator=generator)
    y = torch.randint(4, (64,), generator=generator)
    report = sg.check({"model": model, "data": [(x, y)], "loss_fn": nn.CrossEntropyLoss(), **options}, trial=False)
    return [str(f.code) for f in report.findings if f.level != "info"]


@pytest.mark.parametrize("heads", [1, 2])
def test_gain_of_products_in_own_code(heads: int) -> None:
    torch.manual_seed(0)
    assert found(Matrices(0.2, heads=heads), 16 * heads)[0] == "INI001"
    torch.manual_seed(0)
    assert found(Matrices(math.sqrt(2), heads=heads), 16 * heads) == []


def test_repair_of_products_in_own_code_gives_the_gain() -> None:
    torch.manual_seed(0)
    model = Matrices(0.2)
    x, y = torch.randn(64, 16), torch.randint(4, (64,))
    report = sg.check({"model": model, "data": [(x, y)], "loss_fn": nn.CrossEntropyLoss()}, select=["INI001"])
    exec(report.findings[0].fix_code, {"model": model})
    for w in model.weights:
        # The rms of n normal numbers has a relative standard error of 1/sqrt(2n).
        gain = math.sqrt(16 * float(w.detach().square().mean()))
        assert abs(gain / math.sqrt(2) - 1) < 5 / math.sqrt(2 * w.numel())


def test_stacked_matrices_scaled_by_the_fan_of_a_kernel() -> None:
    """torch.nn.init reads [heads, in, out] as in x out terms."""
    torch.manual_seed(0)
    assert found(Matrices(math.sqrt(2), heads=2, fan=16 * 16), 32)[0] == "INI004"


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "clamp": lambda x: x.clamp(min=0),
    "relu6": F.relu6,
    "transposed": lambda x: F.relu(x.t().contiguous().t()),
}


class Functional(nn.Module):
    """Linear layers, the activation called as a function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], widths: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All but the last are activated."""
        for layer in self.layers[:-1]:
            x = self.function(layer(x))
        return self.layers[-1](x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dead_units_of_functions(name: str) -> None:
    torch.manual_seed(0)
    model = Functional(FUNCTIONS[name], [16, 32, 4])
    assert found(model) == []
    nn.init.constant_(model.layers[0].bias, -9.0)
    assert found(model)[0] == "FWD005"


@pytest.mark.parametrize("name", ["relu", "clamp"])
def test_risk_of_dead_networks_of_functions(name: str) -> None:
    torch.manual_seed(0)
    model = Functional(FUNCTIONS[name], [16] + [3] * 16 + [4])
    for layer in model.layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    assert "INI006" in found(model)


class TwoInputs(nn.Module):
    """A module without children that takes two tensors."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Add."""
        return a + b


class Strict(nn.Module):
    """An activation that refuses numbers of others' choosing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rectify what is not far out."""
        if float(x.detach().abs().max()) > 50:
            raise ValueError("out of range")
        return x.relu()


class Unusual(nn.Module):
    """Non-contiguous activations, a module of two inputs, one that refuses, and a parametrized weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(16, 16))
        self.add, self.strict, self.relu, self.last = TwoInputs(), Strict(), nn.ReLU(), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pass the signal through all of them."""
        z = self.first(x)
        z = self.add(
            self.relu(z.view(-1, 4, 4).transpose(1, 2)).reshape(-1, 16), F.relu(z.view(-1, 4, 4).mT).flatten(1)
        )
        return self.last(self.strict(z))


def test_unusual_modules_do_not_stop_the_check() -> None:
    torch.manual_seed(0)
    assert found(Unusual()) == []


class InAList(nn.Module):
    """Hidden layers that the model does not register."""

    def __init__(self, keep: Callable[[list[nn.Module]], object]) -> None:
        super().__init__()
        self.hidden = keep([nn.Linear(16, 16), nn.Linear(16, 16)])
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pass the hidden layers."""
        for layer in self.hidden:  # type: ignore[attr-defined]
            x = torch.tanh(layer(x))
        return self.head(x)


def test_layers_in_a_plain_list_are_not_optimized() -> None:
    torch.manual_seed(0)
    plain, proper = InAList(list), InAList(nn.ModuleList)
    assert found(plain, optimizer=torch.optim.SGD(plain.parameters(), lr=0.1))[0] == "OPT005"
    assert found(proper, optimizer=torch.optim.SGD(proper.parameters(), lr=0.1)) == []
    held = [*plain.parameters(), *(p for layer in plain.hidden for p in layer.parameters())]  # type: ignore[attr-defined]
    assert found(plain, optimizer=torch.optim.SGD(held, lr=0.1)) == []


def test_steps_that_are_rounded_away() -> None:
    """Adam's steps are of the size of its rate: 1e-9 is below half of the last place of weights above 0.03."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * p.sign())

    def optimizer(rate: float) -> torch.optim.Optimizer:
        body = {"params": model[0].parameters(), "lr": rate}
        return torch.optim.Adam([body, {"params": model[2].parameters()}], lr=1e-2)

    assert found(model, optimizer=optimizer(1e-10)) == ["OPT002"]
    assert found(model, optimizer=optimizer(1e-5)) == []


class Pooled(nn.Module):
    """Weights over positions from one score a position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score, self.value, self.head, self.dim = nn.Linear(4, 1), nn.Linear(4, 8), nn.Linear(8, 4), dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average the values."""
        x = x.view(len(x), 4, 4)
        return self.head(F.relu((F.softmax(self.score(x), self.dim) * self.value(x)).sum(1)))


def test_softmax_over_one_entry_inside() -> None:
    torch.manual_seed(0)
    assert found(Pooled(1)) == []
    assert found(Pooled(-1))[0] == "LOS002"


class Rounded(nn.Module):
    """Two layers, and a rounding between them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Round what the head sees."""
        return self.head(torch.round(4 * self.body(x)))


def test_a_gradient_that_is_zero_at_once_has_not_vanished() -> None:
    torch.manual_seed(0)
    assert found(Rounded())[0] == "BWD003"


class Kept(torch.optim.SGD):
    """An optimizer with an attribute of its own, which deep copies of optimizers lose."""

    def __init__(self, parameters: object, lr: float) -> None:
        super().__init__(parameters, lr=lr)  # type: ignore[arg-type]
        self.most = 1.0

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Clip, then step."""
        nn.utils.clip_grad_norm_([p for g in self.param_groups for p in g["params"]], self.most)
        super().step()


def test_steps_are_tried_with_an_optimizer_of_its_own_class() -> None:
    torch.manual_seed(0)
    x = 300 * torch.randn(256, 4) + 100
    data = [(x[i : i + 32], (x[i : i + 32, :1] > 100).long()[:, 0]) for i in range(0, 256, 32)]
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    before = [p.detach().clone() for p in model.parameters()]
    setup = {
        "model": model,
        "data": data,
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": Kept(model.parameters(), 0.01),
    }
    report = sg.check(setup, select=["DAT001"])
    assert not [note for note in report.notes if "could be tried" in note]
    assert "after 40 steps" in report.findings[0].message
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
