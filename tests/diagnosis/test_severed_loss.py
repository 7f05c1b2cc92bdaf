"""A loss without a gradient is a finding that names what took it away, and leaves the check standing."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.errors import SetupError


def network(outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, outputs))


def setup(loss_fn, model: nn.Module | None = None, outputs: int = 3) -> dict:
    model = model or network(outputs)
    x = torch.randn(64, 8)
    y = x.argmax(1) % 3 if outputs > 1 else x[:, :1]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return {"model": model, "data": [(x, y)] * 4, "loss_fn": loss_fn, "optimizer": optimizer}


class Ungraded(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network(3)

    def forward(self, x):
        with torch.no_grad():
            return self.body(x)


def in_numpy(outputs, targets):
    return np.square(outputs.detach().numpy() - targets.numpy()).mean()


SEVERED = {
    "argmax": (setup(lambda o, y: (o.argmax(1) != y).float().mean()), "`argmax` has no derivative"),
    "a count": (setup(lambda o, y: ((o > 0) != (y > 0)).float().mean(), outputs=1), "`gt` has no derivative"),
    "detach": (setup(lambda o, y: F.mse_loss(o.detach(), y), outputs=1), "`detach` hands on"),
    "data": (setup(lambda o, y: F.mse_loss(o.data, y), outputs=1), "`detach` hands on"),
    "item": (setup(lambda o, y: F.cross_entropy(o, y).item()), "`.item()` hands on a number"),
    "a new tensor": (setup(lambda o, y: torch.tensor(F.cross_entropy(o, y).item())), "`.item()` hands on a number"),
    "NumPy": (setup(in_numpy, outputs=1), "`detach` hands on"),
    "integers": (setup(lambda o, y: (o.long() - y).square().mean(), outputs=1), "a cast to integers"),
    "no_grad in the model": (setup(F.cross_entropy, Ungraded()), "`addmm` runs where gradients are switched off"),
    "no_grad in the loss": (setup(torch.no_grad()(F.cross_entropy)), "`log_softmax` runs where gradients are switched"),
    "the targets alone": (setup(lambda o, y: y.square().mean(), outputs=1), "takes no tensor that comes of the model"),
    "a list": (setup(lambda o, y: F.cross_entropy(torch.tensor(o.tolist()), y)), "takes no tensor that comes of"),
}


@pytest.mark.parametrize("name", SEVERED)
def test_what_takes_the_gradient_away_is_named(name):
    made, said = SEVERED[name]
    report = check(made)
    assert [(f.code, f.level) for f in report.findings] == [("BWD003", "error")]
    (found,) = report.findings
    assert said in found.message
    assert "comes of" in said or (found.line or "").startswith("test_severed_loss.py:")
    assert any("The loss has no gradient" in note for note in report.notes)


@pytest.mark.parametrize("flat", [torch.round, torch.sign, torch.floor, lambda o: torch.trunc(4 * o)])
def test_what_has_no_slope_is_named(flat):
    (found,) = check(setup(lambda o, y: F.mse_loss(flat(o), y), outputs=1)).findings
    assert (found.code, found.level) == ("BWD003", "error")
    assert "has a slope of zero everywhere" in found.message
    assert (found.line or "").startswith("test_severed_loss.py:")


def test_a_model_that_is_frozen_whole_is_no_finding_but_an_error():
    with pytest.raises(SetupError, match=r"a parameter that requires a gradient, .* got 4, none of which does"):
        check(setup(F.cross_entropy, network(3).requires_grad_(False)) | {"optimizer": None})


def test_rounding_that_hands_its_gradient_on_is_left_in_peace():
    """Straight through: the rounded number, with the gradient of the other."""
    made = setup(lambda o, y: F.mse_loss(o + (o.round() - o).detach(), y), outputs=1)
    assert not [f for f in check(made, trial=False).findings if f.level != "info"]


class Kept(nn.Module):
    """Keeps a penalty beside its output, with its history or without."""

    def __init__(self, keep):
        super().__init__()
        self.body, self.keep, self.penalty = network(3), keep, torch.zeros(())

    def forward(self, x):
        y = self.body(x)
        self.penalty = self.keep(y.square().mean())
        return y


def with_penalty(keep, loss):
    model = Kept(keep)
    return setup(lambda y, t: loss(F.cross_entropy(y, t), model.penalty, y), model)


@pytest.mark.parametrize(
    "loss", [lambda fit, penalty, _: fit + 0.1 * penalty, lambda fit, penalty, _: (0.1 * penalty + fit) / 2]
)
def test_a_summand_that_was_cut_off_is_told_and_one_with_its_history_is_not(loss):
    (found,) = check(with_penalty(torch.Tensor.detach, loss), select=["BWD003"]).findings
    assert (str(found.level), "summand" in found.message, "detach" in found.message) == ("warn", True, True)
    assert check(with_penalty(lambda x: x, loss), select=["BWD003"]).findings == ()


@pytest.mark.parametrize(
    "loss",
    [
        lambda fit, penalty, _: fit * penalty,
        lambda fit, penalty, _: fit / (1 + penalty),
        lambda fit, penalty, _: fit + (fit - fit.detach()),
        lambda fit, penalty, y: fit + (y.detach().softmax(1) * y.detach().log_softmax(1)).sum(1).mean(),
    ],
    ids=["weighed", "divided", "taken off itself", "an entropy of what was cut"],
)
def test_numbers_without_a_history_that_are_no_summand_of_their_own_are_left_alone(loss):
    assert check(with_penalty(torch.Tensor.detach, loss), select=["BWD003"]).findings == ()
