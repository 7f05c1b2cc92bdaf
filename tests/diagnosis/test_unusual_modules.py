"""Scripted modules and complex weights are no errors: what cannot be seen is noted, everything else is looked at."""

import warnings

import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check


class Spectral(nn.Module):
    """A Fourier layer between real ones."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(1, 8), nn.Linear(8, 1)
        self.weight = nn.Parameter(torch.randn(8, 8, 5, dtype=torch.cfloat) / 8)

    def forward(self, x):
        spectrum = torch.einsum("bix,iox->box", torch.fft.rfft(self.up(x).transpose(1, 2))[..., :5], self.weight)
        return self.down(torch.fft.irfft(spectrum, n=16).transpose(1, 2).relu())


class Phases(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16, dtype=torch.cfloat), nn.Linear(16, 4, dtype=torch.cfloat))

    def forward(self, x):
        return self.layers(x.cfloat())


def script(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


MODELS = {
    "scripted": lambda: script(mlp()),
    "partly scripted": lambda: nn.Sequential(script(nn.Sequential(nn.Linear(8, 16), nn.ReLU())), nn.Linear(16, 4)),
    "complex": Phases,
    "spectral": Spectral,
}


def setup(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    if name == "spectral":
        data, loss_fn = [(x := torch.randn(32, 16, 1), x.cumsum(1) / 4)], nn.MSELoss()
    else:
        data, loss_fn = [(x := torch.randn(64, 8), x[:, :4].argmax(1))], nn.CrossEntropyLoss()
    return {
        "model": model,
        "data": data,
        "loss_fn": (lambda out, y: loss_fn(out.abs(), y)) if name == "complex" else loss_fn,
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.01),
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_rest_is_looked_at(name):
    report = check(setup(name), trial=False)
    assert [f.code for f in report.findings if f.level == "error"] == []
    assert {"DAT003", "DAT005", "LOS001", "OPT005", "INI003"} <= set(report.checked)
    assert not any("register" in note or "not implemented" in note for note in report.notes)
