"""A module says by its own `train` what training is for it, and a check looks at it so."""

import torch
from torch import nn

from steadygrad.diagnosis import check


class Frozen(nn.BatchNorm1d):
    """Keeps the statistics that it has."""

    def train(self, mode=True):
        return super().train(False)


def codes(norm, depth=24, width=32):
    torch.manual_seed(0)
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), norm(width), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, 4))
    modes = [part.training for part in model]
    data = [(torch.randn(64, width), torch.randint(4, (64,)))]
    setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
    report = check(setup, select=["FWD003"], trial=False)
    assert [part.training for part in model] == modes
    return [f.code for f in report.findings]


def test_norms_that_never_train_keep_no_signal():
    assert codes(nn.BatchNorm1d) == []
    assert codes(Frozen) == ["FWD003"]
