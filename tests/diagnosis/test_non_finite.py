"""A forward pass, a loss or a gradient that is not finite is never reported as clean."""

import math

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.finding import Level


class Logarithm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(self.linear(x))


class Masked(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.masked_fill(torch.arange(x.shape[-1]) == 0, -math.inf)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def finding(model: nn.Module, loss_fn=None, targets=4):
    x, y = torch.randn(32, 8), torch.randint(1, targets, (32,))
    (found,) = check({"model": model, "data": [(x, y)], "loss_fn": loss_fn or nn.CrossEntropyLoss()}).findings
    return found


def test_the_loss_is_named():
    found = finding(nn.Linear(8, 4), lambda outputs, _: torch.log(outputs).mean())
    assert (found.code, found.level, found.module) == ("FWD006", Level.ERROR, None)
    assert found.message.startswith(
        "The loss is nan, though the model's outputs are all finite. It begins with `log` at "
    )
    assert "entries of what it is given are negative" in found.message
    assert found.line.startswith("test_non_finite.py:")


def test_what_has_grown_too_large_is_said_of_what_overflows():
    found = finding(nn.Linear(8, 4), lambda outputs, _: (1e30 * (outputs.abs() + 1)).square().mean())
    assert "negative" not in found.message
    assert "lies between" in found.message
    assert found.fix == "What `pow` is given has grown too large: lower the scale of what comes before it."


def test_the_model_is_named():
    found = finding(Logarithm())
    assert (found.code, found.level) == ("FWD006", Level.ERROR)
    assert "the model (Logarithm) is the first whose output is NaN" in found.message


def test_a_module_inside_is_named():
    assert finding(nn.Sequential(Logarithm(), nn.Linear(4, 4))).module == "0"


def test_weights_that_are_not_finite_are_named():
    model = nn.Linear(8, 4)
    nn.init.constant_(model.weight, math.nan)
    assert "so are some of its weights" in finding(model).message


def test_an_infinity_that_a_softmax_takes_away_is_no_error():
    model = nn.Sequential(nn.Linear(8, 4), Masked(), nn.Softmax(-1), nn.Linear(4, 4))
    codes = {f.code: f.level for f in check({"model": model, "data": [torch.randn(32, 8)]}, select=["FWD006"]).findings}
    assert set(codes) == {"FWD006"}
    data = [(torch.randn(32, 8), torch.randint(4, (32,)))]
    (found,) = check({"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}, select=["FWD006"]).findings
    assert (found.level, found.module) == (Level.WARN, "1")


def test_nan_in_the_data_is_not_said_to_explain_what_a_finite_batch_shows():
    y = torch.randint(4, (32,))
    data = [(torch.full((32, 8), math.nan), y), (torch.randn(32, 8), y)]
    report = check({"model": Logarithm(), "data": data, "loss_fn": nn.CrossEntropyLoss()})
    assert [f.code for f in report.findings] == ["DAT003", "FWD006"]


class Normed(nn.Module):
    """A layer norm by hand, whose deviation is 0 for a row of one number over and over."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon, self.head = epsilon, nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + self.epsilon).sqrt())


@pytest.mark.parametrize(
    ("model", "loss_fn", "code", "said"),
    [
        (Normed(0.0), nn.CrossEntropyLoss(), "FWD006", "`div`"),
        (
            nn.Sequential(nn.Linear(8, 4, bias=False)),
            lambda o, y: o.sqrt().sum(1).mean(),
            "BWD004",
            "`sqrt`",
        ),
    ],
)
def test_a_later_batch_is_named_by_its_number_and_operator(model, loss_fn, code, said):
    data = [(torch.rand(16, 8) + 0.1 * torch.arange(8), torch.randint(4, (16,))) for _ in range(12)]
    data[7][0][3] = 0.0
    with torch.no_grad():
        for p in model.parameters():
            p.abs_()
    made = {"model": model, "data": data, "loss_fn": loss_fn, "optimizer": torch.optim.SGD(model.parameters(), 1e-3)}
    found = next(f for f in check(made, trial=False).findings if f.level == Level.ERROR)
    assert found.code == code
    assert "batch 7" in found.message
    assert said in found.message
    assert (found.line or "").startswith("test_non_finite.py:")
    data[7][0][3] = torch.rand(8) + 0.1 * torch.arange(8)
    assert not [f for f in check(made, trial=False, select=["FWD006", "BWD004"]).findings]
