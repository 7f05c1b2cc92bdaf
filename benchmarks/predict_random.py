"""Predictions of networks put together at random, against draws of each.

Dense layers, convolutions, norms, functions, residual branches, gates, joins, pools, attention and recurrent cells, in
any order, with the heads that are common. Of every row that both tables have, `q`, `signal`, `grad_q` and the norms of
the parameters' gradients, in natural logarithms, are held to the median of 24 measured draws: within 0.2, or four
standard errors where these are more. Networks that are off are shown with their worst row and their making.

    python -m benchmarks.predict_random [HOW MANY | FIRST LAST] [--kind mlp | cnn | sequence]
"""

from __future__ import annotations

import argparse
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import steadygrad as sg
from benchmarks.bounds import end, verdict

DRAWS, NEAR, ERRORS = 24, 0.2, 4.0
LEAST, ROUNDING = (
    1e-30,
    1e-6,
)  # of a row's second moment, or of the largest gradient: what single precision leaves of nothing
MOST = 0.05  # of all networks may be off
CLASSES, BATCH = 5, 16
COLUMNS = ("q", "signal", "grad_q")


class Residual(nn.Module):
    """A branch beside what it is given."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of any shape that the branch keeps."""
        return x + self.branch(x)


class Gate(nn.Module):
    """A product of a layer and of a function of another."""

    def __init__(self, value: nn.Module, gate: nn.Module, phi: nn.Module) -> None:
        super().__init__()
        self.value, self.gate, self.phi = value, gate, phi

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of any shape that the layers take."""
        return self.value(x) * self.phi(self.gate(x))


class Beside(nn.Module):
    """Two layers side by side, along a dimension."""

    def __init__(self, left: nn.Module, right: nn.Module, dim: int) -> None:
        super().__init__()
        self.left, self.right, self.dim = left, right, dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of any shape that the layers take."""
        return torch.cat([self.left(x), self.right(x)], self.dim)


class Attention(nn.Module):
    """Attention of a sequence to itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of a shape (batch, steps, width)."""
        n, steps, width = x.shape
        parts = self.qkv(x).view(n, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*parts)
        return self.out(y.transpose(1, 2).reshape(n, steps, width))


class States(nn.Module):
    """A recurrent network's outputs at all steps."""

    def __init__(self, cells: nn.RNNBase) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of a shape (batch, steps, width)."""
        out: torch.Tensor = self.cells(x)[0]
        return out


class Read(nn.Module):
    """What a head sees of a sequence or an image: the mean, the maximum, the last step, or all of it."""

    def __init__(self, how: str, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.how, self.dims = how, dims

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two dimensions."""
        match self.how:
            case "mean":
                return x.mean(self.dims)
            case "max":
                return x.amax(self.dims)
            case "last":
                return x[:, -1]
            case _:
                return x.flatten(1)

    def extra_repr(self) -> str:
        """As it stands in a report."""
        return self.how


def phi(rng: random.Random) -> nn.Module:
    return rng.choice(
        [nn.ReLU, nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Softplus, nn.Hardswish]
    )()


def mlp(rng: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    width = start = rng.choice([16, 32, 64])

    def linear(out: int) -> nn.Module:
        return nn.Linear(width, out, bias=rng.random() < 0.8)

    def norm(n: int) -> nn.Module:
        return rng.choice([nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm, lambda n: nn.GroupNorm(4, n)])(n)

    layers: list[nn.Module] = []
    for _ in range(rng.randint(2, 6)):
        match rng.choice(["plain", "plain", "norm", "pre", "residual", "gate", "beside", "dropout"]):
            case "plain":
                out = rng.choice([16, 32, 64, 128])
                layers += [linear(out), phi(rng)]
                width = out
            case "norm":
                out = rng.choice([32, 64, 128])
                layers += [linear(out), norm(out), phi(rng)]
                width = out
            case "pre":
                layers += [norm(width), linear(width), phi(rng)]
            case "residual":
                first = [norm(width)] if rng.random() < 0.7 else []
                layers.append(Residual(*first, linear(width), phi(rng), linear(width)))
            case "gate":
                layers.append(Gate(linear(width), linear(width), phi(rng)))
            case "beside":
                layers.append(Beside(nn.Sequential(linear(width), phi(rng)), linear(width), 1))
                width *= 2
            case "dropout":
                layers.append(nn.Dropout(rng.choice([0.1, 0.3, 0.5])))
    return nn.Sequential(*layers, nn.Linear(width, CLASSES)), (BATCH, start)


def cnn(rng: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    width, side = 3, rng.choice([8, 12, 16])
    start = side

    def norm(n: int) -> nn.Module:
        return rng.choice([nn.BatchNorm2d, nn.BatchNorm2d, lambda n: nn.GroupNorm(4, n), nn.InstanceNorm2d])(n)

    def conv(out: int, stride: int = 1) -> nn.Module:
        return nn.Conv2d(width, out, 3, stride, 1, bias=rng.random() < 0.7)

    layers: list[nn.Module] = []
    for i in range(rng.randint(2, 6)):
        kinds = ["plain", "norm", "pool"] + (["residual", "gate", "beside", "depth", "pre"] if i else [])
        match rng.choice(kinds):
            case "plain":
                out = rng.choice([8, 16, 32])
                layers += [conv(out), phi(rng)]
                width = out
            case "norm":
                out, stride = rng.choice([8, 16, 32]), rng.choice([1, 1, 2]) if side >= 8 else 1
                layers += [conv(out, stride), norm(out), phi(rng)]
                width, side = out, side // stride
            case "pool" if side >= 8:
                out = rng.choice([8, 16, 32])
                layers += [conv(out), phi(rng), rng.choice([nn.MaxPool2d, nn.AvgPool2d])(2)]
                width, side = out, side // 2
            case "residual":
                layers.append(Residual(conv(width), norm(width), phi(rng), conv(width)))
            case "gate":
                layers.append(Gate(conv(width), conv(width), phi(rng)))
            case "beside":
                layers.append(Beside(nn.Sequential(conv(width), phi(rng)), conv(width), 1))
                width *= 2
            case "depth":
                layers += [nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.Conv2d(width, width, 1), phi(rng)]
            case "pre" if width % 4 == 0:
                layers += [norm(width), phi(rng), conv(width)]
    how = rng.choice(["mean", "max", "all"])
    head = width * (side * side if how == "all" else 1)
    return nn.Sequential(*layers, Read(how, (2, 3)), nn.Linear(head, CLASSES)), (BATCH, 3, start, start)


def sequence(rng: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    width, steps = rng.choice([16, 32]), rng.choice([6, 10, 16])

    def norm() -> nn.Module:
        return rng.choice([nn.LayerNorm, nn.RMSNorm])(width)

    layers: list[nn.Module] = []
    for _ in range(rng.randint(1, 4)):
        match rng.choice(["plain", "attention", "pre", "feed", "rnn", "lstm", "gru", "gate"]):
            case "plain":
                layers += [nn.Linear(width, width), phi(rng)]
            case "attention":
                layers.append(Residual(Attention(width, 4)))
            case "pre":
                layers.append(Residual(norm(), Attention(width, 4)))
            case "feed":
                layers.append(Residual(norm(), nn.Linear(width, 2 * width), phi(rng), nn.Linear(2 * width, width)))
            case "gate":
                layers.append(Gate(nn.Linear(width, width), nn.Linear(width, width), phi(rng)))
            case kind:
                cells = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind]
                layers.append(States(cells(width, width, batch_first=True)))
    how = rng.choice(["mean", "max", "last", "all"])
    head = width * (steps if how == "all" else 1)
    return nn.Sequential(*layers, Read(how, (1,)), nn.Linear(head, CLASSES)), (BATCH, steps, width)


KINDS: dict[str, Callable[[random.Random], tuple[nn.Module, tuple[int, ...]]]] = {
    "mlp": mlp, "cnn": cnn, "sequence": sequence,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Off:
    """A number that is off: where, by how much in logarithms, and the standard error of the draws."""

    where: str
    by: float
    error: float


def numbers(profile: sg.Profile) -> dict[str, float]:
    """What is compared of a table: the log of each number that is there, and what rounding leaves in place of less."""
    found = []
    for i, row in enumerate(profile.layers):
        for name in COLUMNS:
            least = ROUNDING * row.q if name == "signal" else 0.0
            found.append((f"{name} at {i} {row.path or 'model'} ({row.kind})", getattr(row, name), least))
    norms = profile.parameter_grad_norms
    least = ROUNDING * max(norms.values(), default=0.0)
    found += [(f"gradient of {name}", norm, least) for name, norm in norms.items()]
    return {name: math.log(max(x, least, LEAST)) for name, x, least in found if x == x}


def compared(make: Callable[[], nn.Module], x: torch.Tensor, y: torch.Tensor) -> Iterator[Off]:
    """What is off of a network, worst first. It is predicted before a weight exists: any draw is like another."""
    said = numbers(sg.predict(make, x, loss_fn=nn.CrossEntropyLoss(), targets=y))
    drawn: dict[str, list[float]] = {}
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        for name, value in numbers(sg.measure(make(), x, loss_fn=nn.CrossEntropyLoss(), targets=y)).items():
            drawn.setdefault(name, []).append(value)
    found = []
    for name in said.keys() & drawn.keys():
        logs = np.array(drawn[name])
        if len(logs) == DRAWS:
            by, error = said[name] - float(np.median(logs)), 1.2533 * float(logs.std()) / DRAWS**0.5
            found.append(Off(where=name, by=by, error=error))
    far = [off for off in found if not abs(off.by) <= NEAR + ERRORS * off.error]
    yield from sorted(far, key=lambda off: -abs(off.by))


def show(kind: str, seed: int) -> bool:
    """Compare one network; print what is off and return whether something is."""
    model, shape = KINDS[kind](random.Random(seed))
    torch.manual_seed(seed)
    x, y = torch.randn(shape), torch.randint(CLASSES, (BATCH,))
    far = list(compared(lambda: KINDS[kind](random.Random(seed))[0], x, y))
    if far:
        print(f"{kind} {seed}: {len(far)} off; {far[0].where} by {far[0].by:+.2f}, error {far[0].error:.2f}")
        for off in far[1:4]:
            print(f"    {off.where} by {off.by:+.2f}, error {off.error:.2f}")
        print("    " + " | ".join(" ".join(str(part).split()) for part in model), flush=True)
    return bool(far)


def main(*words: str) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict_random", description=__doc__.partition("\n")[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[20], help="how many, or the first and the last of them")
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="all by default")
    given = parser.parse_args(words)
    first, last = given.seeds if len(given.seeds) == 2 else (0, given.seeds[0] - 1)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for kind in given.kind or KINDS:
        start = time.process_time()
        off = sum(show(kind, seed) for seed in range(first, last + 1))
        of = last + 1 - first
        took = (time.process_time() - start) / of
        print(f"{kind:9} {off} of {of} networks off  {verdict(off <= MOST * of)}  {took:.1f} s each", flush=True)


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
    end()
