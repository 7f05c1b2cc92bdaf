"""What makes a first loss loud: layers that hand a scale on, the head itself, or nothing that a trial suffers from."""

import math

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check

WIDTH = 64


def network(act, gain, head):
    """Four layers of one gain and a head of another, biases zero."""
    parts = [part for _ in range(4) for part in (nn.Linear(WIDTH, WIDTH), act())]
    model = nn.Sequential(*parts, nn.Linear(WIDTH, 4))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=(head if layer is model[-1] else gain) / math.sqrt(WIDTH))
        nn.init.zeros_(layer.bias)
    return model


def found(act, gain, head):
    torch.manual_seed(0)
    data = [(torch.randn(128, WIDTH), torch.randint(4, (128,)))]
    setup = {"model": network(act, gain, head), "data": data, "loss_fn": nn.CrossEntropyLoss()}
    findings = check(setup, select=["INI001", "LOS004"], trial=False).findings
    return [(f.code, [g.code for g in f.consequences]) for f in findings]


@pytest.mark.parametrize(
    ("act", "gain", "head", "cause"),
    [
        (nn.ReLU, 2**0.5, 1.0, []),
        (nn.ReLU, 4.0, 1.0, [("INI001", ["LOS004"])]),  # 8^4 in squares, below e^12
        (nn.ReLU, 4.0, 0.01, []),  # nothing is loud
        (nn.ReLU, 2**0.5, 60.0, [("LOS004", [])]),
        (nn.Tanh, 2.5, 30.0, [("LOS004", [])]),  # a bounded activation hands no scale on
    ],
)
def test_the_first_loss_is_laid_to_what_makes_it_loud(act, gain, head, cause):
    assert found(act, gain, head) == cause


@pytest.mark.parametrize(("rate", "level"), [(1e-2, "info"), (1e-7, "warn")])
def test_a_loud_start_that_a_trial_gets_over_is_no_warning(rate, level):
    torch.manual_seed(0)
    x = torch.randn(512, WIDTH)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    x[:, :2] *= 3
    model = network(nn.ReLU, 2**0.5, 7.0)
    data = list(zip(x.split(32), y.split(32), strict=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
    assert [(f.code, str(f.level)) for f in check(setup).findings if f.code == "LOS004"] == [("LOS004", level)]
