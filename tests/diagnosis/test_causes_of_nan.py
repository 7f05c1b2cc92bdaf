"""What comes before a NaN is told as its cause: a stream that grew, or labels that leave nothing to average."""

import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.finding import Level

WIDTH = 32


class Gated(nn.Module):
    """A stream of products, each added at full size: it grows as a power of a power, and infinities then subtract."""

    def __init__(self, scale, blocks=16):
        super().__init__()
        self.parts = nn.ModuleList(
            nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3)) for _ in range(blocks)
        )
        self.head = nn.Linear(WIDTH, 4)
        for layer in self.parts.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=scale / WIDTH**0.5)

    def forward(self, x):
        for gate, value, out in self.parts:
            x = x + out(gate(x) * value(x))
        return self.head(x)


class Masked(nn.Module):
    """Attention of which a mask leaves the first query no key."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x):
        z = self.first(x)
        scores = (z @ z.T / WIDTH).masked_fill(torch.ones(len(x), len(x)).triu().bool(), -torch.inf)
        return self.head(scores.softmax(1) @ z)


def found(model, loss_fn=None, targets=None):
    torch.manual_seed(1)
    y = torch.randint(4, (64,)) if targets is None else targets
    optimizer = torch.optim.Adam(model.parameters())
    data = [(torch.randn(64, WIDTH), y)]
    loss_fn = loss_fn or nn.CrossEntropyLoss()
    report = check({"model": model, "data": data, "loss_fn": loss_fn, "optimizer": optimizer})
    return [f for f in report.findings if f.level != Level.INFO]


def test_a_stream_that_grew_explains_the_nan_that_it_ends_in():
    torch.manual_seed(0)
    (first,) = found(Gated(1.5))
    assert first.code == "INI005"
    assert {"FWD002", "FWD006"} <= {f.code for f in first.consequences}


def test_a_stream_that_does_not_grow_is_left_in_peace():
    torch.manual_seed(0)
    assert found(Gated(0.3)) == []


def test_nothing_grew_before_the_nan_of_a_mask():
    torch.manual_seed(0)
    codes = {code for f in found(Masked()) for code in (f.code, *(g.code for g in f.consequences))}
    assert "FWD006" in codes
    assert "FWD002" not in codes


def test_labels_that_are_all_passed_over_explain_a_mean_of_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4))
    (first,) = found(model, targets=torch.full((64,), -100))
    assert first.code == "DAT005"
    assert "FWD006" in {f.code for f in first.consequences}
