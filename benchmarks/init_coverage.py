"""Critical plans against draws of them: of every hidden layer, the share of draws in the predicted 95% band.

And by what factor the median signal and the median gradient move over the depth. Rows are those of `predict`: a call of
a module without children, its output and the gradient with respect to it, where that of the model's output has
independent normal entries. The head is apart. A row that a norm fixes has no spread to be held: its value is held, to a
hundredth. Along the depth like is compared with like: sums with weights where layers follow each other, the stream
where branches join one; gradients by the length that those of an example have, since a gradient that stands at four
times as many entries has a quarter of the mean square at the same length.

Of `DRAWS` draws a share of 0.92 to 0.98 is known within its standard error, 0.0154 at 0.95. So two verdicts: all rows
together within 0.92 to 0.98; and each row, where three errors and a half are allowed, what the largest of a thousand
rows has by chance. The median of logs of deviation s is known within 1.25 s of the root of their number: of networks
whose draws lie far apart as many more are drawn as let it be known within a quarter.

    python -m benchmarks.init_coverage [mlp | cnn | resnet | transformer | NAME ...]
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.bounds import end, verdict
from steadygrad import init
from steadygrad.profile import Profile

DRAWS = 200
KNOWN = 0.25  # standard error of the log of a median
LEAST, MOST, MOVED = 0.92, 0.98, 4.0
ERRORS = 3.5
FIXED = 1e-3  # deviation of a log below which a row is one number: rounding, and a norm's epsilon
CLASSES = 10
Layer = Callable[[], nn.Module]
Counted = Callable[[int], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A model, the shape of a batch of its inputs, and how its weights are drawn."""

    make: Callable[[], nn.Sequential]
    shape: tuple[int, ...]
    distribution: str = "normal"


def mlp(depth: int, width: int, activation: Layer) -> nn.Sequential:
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def conv(a: int, b: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(a, b, 3, stride=stride, padding=1)


def headed(width: int, *layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def plain(depth: int, width: int, activation: Layer) -> nn.Sequential:
    return headed(width, *(part for i in range(depth) for part in (conv(width if i else 3, width), activation())))


def strided(activation: Layer) -> nn.Sequential:
    steps = ((3, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1))
    return headed(128, *(part for step in steps for part in (conv(*step), activation())))


def pooled(pool: Layer, activation: Layer) -> nn.Sequential:
    layers: list[nn.Module] = []
    for stage in range(3):
        for i in range(2):
            layers += [conv(3 if stage == i == 0 else 64, 64), activation()]
        layers += [pool()] if stage < 2 else []
    return headed(64, *layers)


class PreActivation(nn.Module):
    """x + a branch of two times norm, activation, convolution."""

    def __init__(self, width: int, norm: Counted) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            norm(width), nn.ReLU(), conv(width, width), norm(width), nn.ReLU(), conv(width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the branch."""
        out: torch.Tensor = x + self.branch(x)
        return out


class PostActivation(nn.Module):
    """The activation of x and a branch of two times convolution, norm."""

    def __init__(self, width: int, norm: Counted) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv(width, width), norm(width), nn.ReLU(), conv(width, width), norm(width))
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the branch, and rectify the sum."""
        out: torch.Tensor = self.relu(x + self.branch(x))
        return out


def residual(blocks: int, width: int, block: Callable[[int, Counted], nn.Module], norm: Counted) -> nn.Sequential:
    stem = nn.Sequential(conv(3, width), *((norm(width), nn.ReLU()) if block is PostActivation else ()))
    return headed(width, stem, *(block(width, norm) for _ in range(blocks)))


def identity(width: int) -> nn.Module:
    return nn.Identity()


class Block(nn.Module):
    """A pre-norm transformer block, its queries, keys and values of one layer."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.act, self.down = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add attention, then what each position makes of itself."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        met = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(met.transpose(1, 2).reshape(b, t, d))
        out: torch.Tensor = x + self.down(self.act(self.up(self.norm2(x))))
        return out


def encoder(width: int, *, norm_first: bool = True) -> nn.Module:
    return nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", norm_first=norm_first, batch_first=True)


def transformer(blocks: int, width: int, block: Counted) -> nn.Sequential:
    layers = (block(width) for _ in range(blocks))
    return nn.Sequential(nn.Linear(width, width), *layers, nn.LayerNorm(width), nn.Linear(width, CLASSES))


IMAGES, SEQUENCES, MLP_BATCH = (8, 3, 12, 12), (8, 16, 64), 16
MLP_SIZES = ((2, 128), (10, 128), (50, 128), (200, 128), (1000, 128))
KINDS: dict[str, dict[str, Network]] = {
    "mlp": {
        **{
            f"{phi.__name__.lower()}-{depth}": Network(make=partial(mlp, depth, width, phi), shape=(MLP_BATCH, width))
            for phi in (nn.ReLU, nn.Tanh, nn.GELU)
            for depth, width in MLP_SIZES
        },
        "tanh-1000-orthogonal": Network(
            make=partial(mlp, 1000, 64, nn.Tanh), shape=(MLP_BATCH, 64), distribution="orthogonal"
        ),
    },
    "cnn": {
        "cnn-relu-8": Network(make=partial(plain, 8, 64, nn.ReLU), shape=IMAGES),
        "cnn-tanh-8": Network(make=partial(plain, 8, 64, nn.Tanh), shape=IMAGES),
        "cnn-gelu-8": Network(make=partial(plain, 8, 64, nn.GELU), shape=IMAGES),
        "cnn-strided": Network(make=partial(strided, nn.ReLU), shape=IMAGES),
        "cnn-averaged": Network(make=partial(pooled, partial(nn.AvgPool2d, 2), nn.ReLU), shape=IMAGES),
        "cnn-largest": Network(make=partial(pooled, partial(nn.MaxPool2d, 2), nn.ReLU), shape=IMAGES),
    },
    "resnet": {
        "resnet-bn-before": Network(make=partial(residual, 4, 64, PreActivation, nn.BatchNorm2d), shape=IMAGES),
        "resnet-bn-behind": Network(make=partial(residual, 4, 64, PostActivation, nn.BatchNorm2d), shape=IMAGES),
        "resnet-plain-before": Network(make=partial(residual, 4, 64, PreActivation, identity), shape=IMAGES),
        "resnet-plain-behind": Network(make=partial(residual, 4, 64, PostActivation, identity), shape=IMAGES),
    },
    "transformer": {
        name: Network(make=partial(transformer, 6, 64, block), shape=SEQUENCES)
        for name, block in (
            ("transformer-6", partial(Block, heads=4, causal=False)),
            ("transformer-6-causal", partial(Block, heads=4, causal=True)),
            ("encoder-layers-6", encoder),
        )
    },
}  # fmt: skip
ALONG = (nn.Linear, nn.Conv2d, PreActivation, PostActivation, Block, nn.TransformerEncoderLayer, nn.Sequential)


def planned(network: Network) -> tuple[init.Plan, torch.Tensor]:
    torch.manual_seed(0)
    model, x = network.make(), torch.randn(network.shape, generator=torch.Generator().manual_seed(0))
    return init.plan(model, x, distribution=network.distribution), x  # type: ignore[arg-type]


class Watch:
    """What the modules of a model give, call by call, and the gradients that come back to it."""

    def __init__(self, model: nn.Sequential) -> None:
        self.model = model
        self.paths = {m: path for path, m in model.named_modules() if not list(m.children())}
        self.stations = {m for m in list(model.children())[:-1] if isinstance(m, ALONG)}
        self.seen: list[tuple[nn.Module, torch.Tensor]] = []
        for module in {*self.paths, *self.stations}:
            module.register_forward_hook(lambda m, a, y: self.seen.append((m, y[0] if isinstance(y, tuple) else y)))

    def draw(self, x: torch.Tensor) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Paths of the rows, their logs of q, grad_q and 1 - c, [3, rows], and q and lengths along the depth."""
        self.seen.clear()
        y = self.model(x)
        gradients = torch.autograd.grad(y, [t for _, t in self.seen], torch.randn_like(y))
        found = [
            (m, log_mean_square(t), log_mean_square(g), log_apart(t), t[0].numel())
            for (m, t), g in zip(self.seen, gradients, strict=True)
        ]
        rows = [(m, (q, grad_q, apart)) for m, q, grad_q, apart, _ in found if m in self.paths]
        along = [(q, grad_q + math.log(entries)) for m, q, grad_q, _, entries in found if m in self.stations]
        return [self.paths[m] for m, _ in rows], np.array([sizes for _, sizes in rows]).T, np.array(along).T


def log_mean_square(x: torch.Tensor) -> float:
    """Return the log; what has overflowed, and what is no number behind that, is as large as any."""
    found = float(x.detach().double().square().mean().log())
    return math.inf if math.isnan(found) else found


def log_apart(x: torch.Tensor) -> float:
    """Return the log of 1 - c, the mean variance over examples relative to q; NaN where there is one example."""
    x = x.detach().double()
    return float((x.var(0).mean() / x.square().mean()).log()) if len(x) > 1 else math.nan


def drawn(plan: init.Plan, x: torch.Tensor, draws: int = DRAWS) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths of the rows, and over draws the logs of all rows, [draws, 3, rows], and of those along the depth."""
    watch, found = Watch(plan.model), []  # type: ignore[arg-type]
    for seed in range(draws):
        plan.apply_(seed=seed)
        torch.manual_seed(seed)
        found.append(watch.draw(x))
    return found[0][0], np.array([rows for _, rows, _ in found]), np.array([along for *_, along in found])


@dataclass(frozen=True, kw_only=True)
class Column:
    """Of q or of grad_q, by row: the share of draws in the band, medians off, deviations."""

    held: np.ndarray
    off: np.ndarray
    deviation: np.ndarray
    predicted: np.ndarray

    @property
    def varied(self) -> np.ndarray:
        """Rows that no norm fixes."""
        return self.deviation > FIXED


def compared(logs: np.ndarray, rows: list, name: str) -> Column:
    with np.errstate(divide="ignore", invalid="ignore"):
        low, middle, high = (np.log([getattr(row, name + at) for row in rows]) for at in ("_low", "", "_high"))
    return Column(
        held=((logs >= low) & (logs <= high)).mean(0),
        off=middle - np.median(logs, 0),
        deviation=np.nanstd(np.where(np.isfinite(logs), logs, np.nan), axis=0),
        predicted=(high - low) / (2 * 1.959964),
    )


def judged(column: Column, paths: list[str], draws: int) -> str:
    """The share of draws in the band: of all rows, of the least and the largest, and how many rows are within."""
    varied = column.varied
    held, off = column.held[varied], column.off[varied]
    if not np.isfinite(off).all():
        return f"not predicted at {paths[int(np.flatnonzero(~np.isfinite(column.off))[0])]}: {verdict(False)}"
    slack = ERRORS * (LEAST * (1 - LEAST) / draws) ** 0.5, ERRORS * (MOST * (1 - MOST) / draws) ** 0.5
    whole, rows = (
        bool(LEAST <= held.mean() <= MOST),
        bool(((held >= LEAST - slack[0]) & (held <= MOST + slack[1])).all()),
    )
    strict = ((held >= LEAST) & (held <= MOST)).mean()
    ratio = column.predicted[varied] / column.deviation[varied]
    worst = int(np.argmax(abs(off)))
    fixed = bool((abs(column.off[~varied]) < 0.01).all())
    return (
        f"{held.mean():.3f}  {held.min():.3f} {held.max():.3f} {strict:5.0%} {off[worst]:+6.2f} "
        f"{np.median(ratio):5.2f} {ratio.min():5.2f} {ratio.max():5.2f}  {verdict(whole)}, {verdict(rows and fixed)}"
    )


def needed(profile: Profile) -> int:
    """Return how many draws let every median be known, by the widest predicted band."""
    bands = [(row.q_low, row.q_high) for row in profile] + [(row.grad_q_low, row.grad_q_high) for row in profile]
    widest = max(math.log(high / low) for low, high in bands if 0 < low <= high < math.inf) / (2 * 1.959964)
    return max(DRAWS, math.ceil(math.pi / 2 * (widest / KNOWN) ** 2))


def show(name: str) -> None:
    network = next(networks[name] for networks in KINDS.values() if name in networks)
    started = time.process_time()
    plan, x = planned(network)
    profile = plan.after
    if profile is None:
        print(f"{name:22} not predicted: {verdict(False)}", flush=True)
        return
    draws = needed(profile)
    paths, logs, along = drawn(plan, x, draws)
    rows = list(profile)
    assert [row.path for row in rows] == paths
    for i, column in enumerate(("q", "grad_q")):
        medians = np.median(along[:, i], 0)
        moved = math.exp(medians.max() - medians.min())
        found = compared(logs[:, i, :-1], rows[:-1], column)
        print(
            f"{name:22} {column:7} {judged(found, paths, draws)}  moves {moved:6.2f}: {verdict(moved <= MOVED)}",
            flush=True,
        )
    print(f"{'':22} {draws} draws, {time.process_time() - started:.0f} s", flush=True)


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    asked = sys.argv[1:] if __name__ == "__main__" and sys.argv[1:] else list(KINDS)
    print(f"{DRAWS} draws or more: in the band, of all rows, the least and the largest; rows within {LEAST} to {MOST};")
    print("medians off by at most, in the log; predicted over drawn deviation: the median row, least, largest; the")
    print("verdicts of all rows together and of each; the factor by which medians move over the depth")
    for name in (one for word in asked for one in KINDS.get(word, (word,))):
        show(name)


if __name__ == "__main__":
    main()
    end()
