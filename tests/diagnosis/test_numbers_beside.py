"""The numbers beside a message are those that it tells, in its unit."""

import math
import re

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.diagnosis.trainable_depth import LOST


def deep(gain):
    torch.manual_seed(0)
    layers = []
    for _ in range(16):
        layers += [nn.Linear(64, 64, bias=False), nn.Tanh() if gain > 1 else nn.ReLU()]
        nn.init.normal_(layers[-2].weight, std=gain / 8)
    model = nn.Sequential(*layers, nn.Linear(64, 4))
    return {"model": model, "data": [(torch.randn(64, 64), torch.randint(4, (64,)))], "loss_fn": nn.CrossEntropyLoss()}


@pytest.mark.parametrize(("code", "gain", "limit"), [("BWD001", 0.4, -LOST), ("BWD002", 4.0, LOST)])
def test_the_factor_of_the_gradient(code, gain, limit):
    (found,) = check(deep(gain), select=[code], trial=False).findings
    told = float(re.search(r"is multiplied by (\S+):", found.message).group(1))
    assert found.measured == pytest.approx(told, rel=0.05)
    assert found.expected == pytest.approx(math.exp(limit))
    assert found.standard_error is None or 0 < found.standard_error < found.measured


def test_a_loss_that_ends_beyond_all_numbers_is_told_in_plain_words():
    torch.manual_seed(0)
    x = torch.randn(256, 6) * torch.tensor([1.0, 1, 1, 1, 1, 1e4])
    data = [(part, (part[:, 0] > 0).long()) for part in x.split(32)]
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
    (found,) = check(setup, select=["DAT001"], trial=False).findings
    told = r"the loss is (no longer finite|\S+ times that of a constant guess) as it is, \S+ times.* standardised"
    assert re.search(told, found.message)
