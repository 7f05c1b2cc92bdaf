"""Predictions of convolutions, transformers and recurrent networks against draws of them, row by row.

As the networks come from torch or from He's initialization; rows are those of `predict`: a call of a module without
children, its output and the gradient with respect to it, where that of the network's output has independent normal
entries. What is held is the mean of the log: for convolutions to 0.03, for transformers and recurrent networks to 0.1,
or four standard errors of the draws. A row that a norm fixes has no spread to be held. The median of 1 - c is held to
10%, of transformers and recurrent networks to four standard errors where these are more. Of 2000 draws a deviation is
known within 1.6%, so of some eighty rows none is off by a tenth by chance.

    python -m benchmarks.predict_networks [cnn | transformer | recurrent | NAME ...]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.bounds import end, verdict
from benchmarks.init_coverage import Block, Watch, conv, encoder, headed, transformer
from benchmarks.predict_accuracy import predicted

FIXED = 1e-3  # deviation of a log below which a row is one number: rounding, and a norm's epsilon
CLOSE = 0.1  # of 1 - c
DEVIATION, WIDTH, LEAST, MOST = 0.10, 1.2, 0.93, 0.97


@dataclass(frozen=True, kw_only=True)
class Network:
    """What makes a network, the shape of a batch of its inputs, how many draws, and how far a mean may be off."""

    make: Callable[[], nn.Sequential]
    shape: tuple[int, ...]
    draws: int
    bound: float


def convolutions(depth: int, width: int, activation: Callable[[], nn.Module], *, he: bool) -> nn.Sequential:
    layers = [part for i in range(depth) for part in (conv(width if i else 3, width), activation())]
    model = headed(width, *layers)
    for layer in model if he else ():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


class Last(nn.Module):
    """A recurrent network's outputs, without its state."""

    def __init__(self, kind: type[nn.RNNBase], width: int, layers: int) -> None:
        super().__init__()
        self.cells = kind(width, width, layers, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of all steps."""
        out: torch.Tensor = self.cells(x)[0]
        return out


def recurrent(kind: type[nn.RNNBase], width: int, layers: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), Last(kind, width, layers), nn.Linear(width, width))


IMAGES, SEQUENCES, STEPS = (4, 3, 8, 8), (4, 16, 64), (4, 20, 64)
ATTENTION = (
    ("transformer-6", partial(Block, heads=4, causal=False)),
    ("transformer-6-causal", partial(Block, heads=4, causal=True)),
    ("encoder-layers-6", encoder),
    ("encoder-layers-6-post", partial(encoder, norm_first=False)),
)
CELLS = (("rnn", nn.RNN, 1), ("gru", nn.GRU, 1), ("gru-2", nn.GRU, 2), ("lstm", nn.LSTM, 1), ("lstm-2", nn.LSTM, 2))
KINDS: dict[str, dict[str, Network]] = {
    "cnn": {
        f"cnn-{phi.__name__.lower()}-{'he' if he else 'default'}-{depth}": Network(
            make=partial(convolutions, depth, 64, phi, he=he), shape=IMAGES, draws=2000, bound=0.03
        )
        for phi, he, depth in (
            (nn.ReLU, True, 6), (nn.ReLU, True, 20), (nn.ReLU, True, 50), (nn.ReLU, False, 6), (nn.Tanh, False, 6),
            (nn.GELU, True, 6), (nn.GELU, False, 6),
        )
    },
    "transformer": {
        name: Network(make=partial(transformer, 6, 64, block), shape=SEQUENCES, draws=2000, bound=0.1)
        for name, block in ATTENTION
    },
    "recurrent": {
        name: Network(make=partial(recurrent, kind, 64, layers), shape=STEPS, draws=600, bound=0.1)
        for name, kind, layers in CELLS
    },
}  # fmt: skip


def drawn(network: Network, x: torch.Tensor) -> np.ndarray:
    """Logs of q, of grad_q and of 1 - c of all rows, [draws, 3, rows]."""
    found = []
    for seed in range(network.draws):
        torch.manual_seed(seed)
        found.append(Watch(network.make()).draw(x)[1])
    return np.array(found)


def judged(logs: np.ndarray, rows: list, name: str, bound: float, deviations: np.ndarray) -> str:
    """The worst of a column over all rows that no norm fixes, and whether the bounds hold."""
    with np.errstate(divide="ignore", invalid="ignore"):
        low, middle, high = (np.log([getattr(row, name + at) for row in rows]) for at in ("_low", "", "_high"))
    deviation, draws = logs.std(0), len(logs)
    # `predict` says the median; where a log is skewed a mean is off it.
    off = abs(middle - np.median(logs, 0)) / np.maximum(bound, 4 * 1.2533 * deviation / draws**0.5)
    varied = deviation > FIXED
    spread = (deviations / deviation)[varied]
    held = ((logs >= low) & (logs <= high)).mean(0)[varied]
    width = ((high - low) / np.diff(np.quantile(logs, [0.025, 0.975], axis=0), axis=0)[0])[varied]
    slack = 3.5 * (LEAST * (1 - LEAST) / draws) ** 0.5
    bounds = (
        bool(off.max() <= 1),
        bool(abs(np.log(spread)).max() <= np.log1p(DEVIATION)),
        bool(held.min() >= LEAST - slack and held.max() <= MOST + slack and width.max() <= WIDTH),
    )
    return (
        f"{off.max():6.2f} {spread.min():6.2f} {np.median(spread):5.2f} {spread.max():5.2f}   {held.min():.3f} "
        f"{held.mean():.3f} {held.max():.3f} {width.max():6.2f}  {', '.join(map(verdict, bounds))}"
    )


def apart(logs: np.ndarray, rows: list, errors: float) -> str:
    """By how much the median of 1 - c is off, the row that is off the most, beside so many standard errors; verdict."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.array([row.signal / row.q for row in rows])
        off = np.exp(abs(np.log(found) - np.median(logs, 0))) - 1
    bound = np.maximum(CLOSE, np.expm1(errors * 1.2533 * logs.std(0) / len(logs) ** 0.5))
    worst = int(np.nanargmax(np.where(np.isfinite(off), off / bound, np.inf)))
    drawn_one = float(np.exp(np.median(logs[:, worst])))
    said = f"off by {off[worst]:.0%} of {drawn_one:.3g} at row {worst} of {len(rows)}"
    return f"{said}; mean {off.mean():.1%}  {verdict(bool((off <= bound).all()))}"


def show(name: str) -> None:
    network = next(networks[name] for networks in KINDS.values() if name in networks)
    x = torch.randn(network.shape, generator=torch.Generator().manual_seed(0))
    start = time.process_time()
    rows, deviations = predicted(network.make, x)
    took = time.process_time() - start
    logs = drawn(network, x)
    for i, column in enumerate(("q", "grad_q")):
        said = judged(logs[:, i, :-1], rows[:-1], column, network.bound, deviations[column][:-1])
        print(f"{name:22} {column:7} {said}", flush=True)
    errors = 0.0 if name in KINDS["cnn"] else 4.0
    print(f"{name:22} {'1 - c':7} {apart(logs[:, 2, :-1], rows[:-1], errors)}", flush=True)
    print(f"{'':22} {network.draws} draws; predicted in {took:.1f} s", flush=True)


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print("Off: of the median log, the worst row, in units of the bound; predicted over drawn deviation: least, median")
    print("row, largest; in the band: least, mean, largest row; the widest band over what holds 95% of the draws; the")
    print("verdicts of the median, of the deviation, of the band.")
    for word in sys.argv[1:] if __name__ == "__main__" and sys.argv[1:] else list(KINDS):
        for name in KINDS.get(word, (word,)):
            show(name)


if __name__ == "__main__":
    main()
    end()
