"""Entries that positions among the targets choose out of the outputs are outputs still."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.diagnosis import check
from steadygrad.finding import Level

EXAMPLES, BATCH = 256, 32

CHOICES = {
    "gather": lambda out, action: out.gather(1, action[:, None]),
    "take_along_dim": lambda out, action: torch.take_along_dim(out, action[:, None], 1),
    "index": lambda out, action: out[torch.arange(len(out)), action][:, None],
}


def values_of_actions(choose, of_targets):
    """A network that gives a value to each action, and learns that of the one that was taken."""
    torch.manual_seed(0)
    x, action = torch.randn(EXAMPLES, 4), torch.randint(3, (EXAMPLES, 1))
    value = (x @ torch.randn(4, 3)).tanh().gather(1, action)
    y = torch.cat([action.float(), value], 1)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
    return {
        "model": model,
        "data": list(zip(x.split(BATCH), y.split(BATCH), strict=True)),
        "loss_fn": lambda out, y: F.smooth_l1_loss(choose(out, y[:, 0].long()), of_targets(y)),
        "optimizer": torch.optim.Adam(model.parameters(), lr=1e-3),
    }


@pytest.mark.parametrize("name", CHOICES)
def test_all_pairs_of_chosen_outputs_and_targets_are_told(name):
    first = check(values_of_actions(CHOICES[name], lambda y: y[:, 1])).findings[0]
    assert (first.code, first.measured) == ("LOS006", BATCH**2)
    sound = check(values_of_actions(CHOICES[name], lambda y: y[:, 1:])).findings
    assert [f.code for f in sound if f.level != Level.INFO] == []
