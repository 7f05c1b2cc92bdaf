"""What to do fits the cause that is named, not another cause of the same finding."""

import math

import torch
from torch import nn

from steadygrad.diagnosis import check


def setup(model, **options):
    torch.manual_seed(0)
    data = [(torch.randn(64, 8), torch.randint(4, (64,)))]
    optimizer = torch.optim.SGD(model.parameters(), **{"lr": 0.1, **options})
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def test_a_rate_of_zero_is_to_be_raised():
    (found,) = check(setup(mlp(), lr=0.0)).findings
    assert found.code == "OPT005"
    assert "learning rate above 0" in found.fix
    assert not found.fix_code


def test_weights_that_are_not_finite_are_to_be_drawn_or_loaded_and_no_empty_table_is_shown():
    model = mlp()
    model[0].weight.data[0, 0] = math.nan
    report = check(setup(model))
    (found,) = report.findings
    assert (found.code, found.module) == ("FWD006", "0")
    assert "weights" in found.fix
    assert "logarithm" not in found.fix
    assert "layer   kind" not in str(report)
