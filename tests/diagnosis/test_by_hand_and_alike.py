"""What modules of a user's own and data without differences show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import steadygrad as sg


class ByHand(nn.Module):
    """Three products with an activation between them, or none; biases begin at zero."""

    def __init__(self, act: Callable[[torch.Tensor], torch.Tensor], scale: float = 0.3) -> None:
        super().__init__()
        self.act = act
        self.u, self.v, self.w = (nn.Parameter(scale * torch.randn(*s)) for s in ((6, 12), (12, 12), (12, 3)))
        self.p, self.q = nn.Parameter(torch.zeros(12)), nn.Parameter(torch.zeros(12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.act(x @ self.u + self.p) @ self.v + self.q) @ self.w


class Layer(nn.Module):
    """A product by hand, as a module; `b` is a bias by nothing but its use."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(into, out) / into**0.5), nn.Parameter(torch.zeros(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w + self.b


class Gated(nn.Module):
    """Affine as long as a gain hides its bent branch."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.a, self.b, self.head = Layer(6, 12), Layer(12, 12), Layer(12, 3)
        self.g = nn.Parameter(torch.full((12,), gain))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.b(self.a(x))
        return self.head(h + self.g * torch.tanh(h))


def codes(model: nn.Module, x: torch.Tensor | None = None) -> list[str]:
    x = torch.randn(256, 6) if x is None else x
    y = x[:, :3].argmax(1) if bool((x != x[0]).any()) else torch.randint(3, (len(x),))
    data: Any = list(zip(x.split(32), y.split(32), strict=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    report = sg.check({"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer})
    return [f.code for f in report.findings if f.level in ("warn", "error")]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_zero_biases_of_any_name_hide_no_bend() -> None:
    linear = nn.Sequential(Layer(6, 12), Layer(12, 12), Layer(12, 3))
    assert codes(linear)[:1] == ["NET001"]
    assert "NET001" not in codes(nn.Sequential(Layer(6, 12), nn.ReLU(), Layer(12, 12), Layer(12, 3)))


@pytest.mark.parametrize("gain", [0.0, 1e-4])
def test_a_small_gain_may_hide_a_bend(gain: float) -> None:
    model = Gated(gain)
    before = [p.clone() for p in model.parameters()]
    report = sg.check({"model": model, "data": [(torch.randn(32, 6), torch.zeros(32, dtype=torch.long))]})
    assert "NET001" not in [f.code for f in report.findings]
    assert all(torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True))


def test_matrices_of_ones_own_that_get_no_gradient_are_named() -> None:
    assert codes(ByHand(torch.tanh, scale=0.0))[:1] == ["BWD003"]
    assert codes(ByHand(torch.tanh)) == []


@pytest.mark.parametrize("size", [1e-2, 1.0])
def test_examples_that_are_all_one_are_told_from_constant_columns(size: float) -> None:
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))
    assert codes(model, size * torch.randn(1, 6).expand(256, 6))[:1] == ["DAT004"]
    x = size * torch.randn(256, 6)
    x[:, 2] = size
    assert "DAT004" not in codes(model, x)


def test_a_sum_over_entries_is_held_against_the_mean_over_them() -> None:
    x = torch.randn(512, 16)
    data = list(zip(x.split(64), x.split(64), strict=True))
    model = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 16))
    first: dict[str, str] = {}
    for reduction in ("sum", "mean"):
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
        loss_fn = nn.MSELoss(reduction=reduction)
        report = sg.check({"model": model, "data": data, "loss_fn": loss_fn, "optimizer": optimizer})
        first[reduction] = next((f.message for f in report.findings if f.code == "LOS008" and f.level != "info"), "")
    assert "1024 times as long" in first["sum"]
    assert first["mean"] == ""
