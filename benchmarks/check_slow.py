"""`steadygrad.check` of models whose passes take from a tenth of a second to several, against its deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

import steadygrad as sg
from benchmarks.bounds import end, verdict
from steadygrad.diagnosis.evidence.collector import LONGEST

Make = Callable[[], tuple[nn.Module, torch.Tensor, int]]


class Long(nn.Module):
    """A recurrent network that goes over its steps in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(16, 128), nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read a sequence [examples, steps, 16]."""
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0])


def residual(images: int) -> tuple[nn.Module, torch.Tensor, int]:
    """Twelve convolutions of 64 channels over images of 64 x 64."""
    layers = [p for _ in range(12) for p in (nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU())]
    model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*model, nn.Linear(64, 10)), torch.randn(images, 3, 64, 64), 10


def transformer() -> tuple[nn.Module, torch.Tensor, int]:
    """Six blocks of width 256 over 128 positions."""
    layer = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True, norm_first=True)
    body = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    return nn.Sequential(body, nn.Flatten(), nn.Linear(128 * 256, 4)), torch.randn(32, 128, 256), 4


MODELS: dict[str, Make] = {
    "convolutions, 8 images": lambda: residual(8),
    "convolutions, 64 images": lambda: residual(64),
    "transformer, 32 sequences": transformer,
    "300 steps of a cell, 64 sequences": lambda: (Long(), torch.randn(64, 300, 16), 4),
}


def setup(make: Make, *, sick: bool) -> dict[str, object]:
    """A setup that learns, or one that is out of scale and whose rate is next to nothing, so that all is tried."""
    torch.manual_seed(0)
    model, x, classes = make()
    x = 1e3 * x if sick else x
    data = [(x, torch.randint(classes, (len(x),))) for _ in range(12)]
    loss_fn = nn.CrossEntropyLoss(reduction="sum" if sick else "mean")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-9 if sick else 1e-3)
    return {"model": model, "data": data, "loss_fn": loss_fn, "optimizer": optimizer}


def main() -> None:
    """Print the seconds of each check, of this thread's own time, and what was left out."""
    torch.set_num_threads(1)
    for name, make in MODELS.items():
        for sick in (False, True):
            made = setup(make, sick=sick)
            start = time.thread_time()
            report = sg.check(made)
            took = time.thread_time() - start
            left = next((note for note in report.notes if "want of time: " in note), "nothing left out")
            print(f"{name}, {'sick' if sick else 'healthy'}: {took:.1f} s ({LONGEST:g}), {verdict(took <= LONGEST)}")
            print(f"    {left}", flush=True)


if __name__ == "__main__":
    main()
    end()
