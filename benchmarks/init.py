"""Initialization: fills against torch.nn.init, scaling by data against forward passes, and what depth leaves of it.

Ratios are medians of interleaved runs of wall time, with two threads for the fills: they hold on a machine whose two
processors are free. Bands: the share of 600 draws in which a hidden layer's second moment, and its gradient's, lie in
the predicted 95% band, and by what factor their medians move over the depth. Rows of one draw go together, so that of
200 draws the share over all rows is known within 0.015 as that of one row is: of 600 within 0.009. Of a thousand
orthogonal layers, which take a second each draw, it is 200.

    python -m benchmarks.init [fills] [lsuv] [bands] [deep] [digits]
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.bounds import end, verdict
from steadygrad import init
from steadygrad.init.lsuv import scale_by_data_

DEPTH, WIDTH = 24, 4096
DRAWS, BATCH, CLASSES = 600, 32, 10
Call = Callable[[], object]


def seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(ours: Call, theirs: Call, repeats: int) -> float:
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats + 1)][1:]
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


def show(name: str, value: float, bound: float | None = None) -> None:
    held = "" if bound is None else f"  bound {bound:g}: {verdict(value <= bound)}"
    print(f"  {name:64} {value:9.3f}{held}", flush=True)


def fills() -> None:
    print(f"fills, time / time of torch.nn.init, {DEPTH} layers of {WIDTH}, two threads")
    torch.set_num_threads(2)
    model = nn.ModuleList(nn.utils.skip_init(nn.Linear, WIDTH, WIDTH) for _ in range(DEPTH))

    def theirs(fill: Callable[[torch.Tensor], object]) -> None:
        for layer in model:
            fill(layer.weight)
            nn.init.zeros_(layer.bias)

    for name, ours, fill in (
        ("normal", init.he_normal_, nn.init.kaiming_normal_),
        ("uniform", init.he_uniform_, nn.init.kaiming_uniform_),
    ):
        show(name, ratio(lambda f=ours: f(model), lambda f=fill: theirs(f), 5), 0.7)
    one = model[0]
    show("truncated normal, one layer", ratio(
        lambda: init.truncated_normal_(one), lambda: nn.init.trunc_normal_(one.weight), 3), 0.25)  # fmt: skip
    small = nn.utils.skip_init(nn.Linear, 1024, 1024)
    show("orthogonal, one layer of 1024", ratio(
        lambda: init.orthogonal_(small), lambda: nn.init.orthogonal_(small.weight), 5))  # fmt: skip
    torch.set_num_threads(1)


def mlp(depth: int, width: int, activation: type[nn.Module]) -> nn.Sequential:
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def lsuv() -> None:
    print("scaling by data, 20 layers of 512, 1024 examples: time / time of a forward pass")
    model, x, fresh = mlp(20, 512, nn.ReLU), torch.randn(1024, 512), torch.randn(1024, 512)
    plan = init.plan(model, x, scheme="lsuv")
    plan.apply_()
    with torch.no_grad():
        scaled = {path: 1.0 for path, module in model.named_children() if isinstance(module, nn.Linear)}
        show("the pass that scales", ratio(lambda: scale_by_data_(model, x, scaled), lambda: model(x), 5), 2.5)
        plan.apply_()
        off = 0.0
        for layer in list(model)[:-1]:
            fresh = layer(fresh)
            off = max(off, abs(float(fresh.std()) - 1)) if isinstance(layer, nn.Linear) else off
    show("largest |std - 1| of a hidden layer, fresh data", off, 0.03)


class Residual(nn.Module):
    """x + b(relu(a(x))), its input normalized or rectified."""

    def __init__(self, width: int, before: nn.Module) -> None:
        super().__init__()
        self.before, self.a, self.b = before, nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the branch."""
        out: torch.Tensor = x + self.b(torch.relu(self.a(self.before(x))))
        return out


def stream(depth: int, width: int, before: Callable[[], nn.Module]) -> nn.Sequential:
    blocks = [Residual(width, before()) for _ in range(depth)]
    return nn.Sequential(nn.Linear(width, width), *blocks, nn.Linear(width, CLASSES))


def cnn() -> nn.Sequential:
    channels = [3, *[32] * 8]
    layers = [p for a, b in itertools.pairwise(channels) for p in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 64, CLASSES))


def transformer(width: int = 64) -> nn.Sequential:
    layers = [nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", norm_first=True, batch_first=True)
              for _ in range(6)]  # fmt: skip
    return nn.Sequential(nn.Linear(width, width), *layers, nn.LayerNorm(width), nn.Linear(width, CLASSES))


# Network, the shape of an example, draws, whether the weights are orthogonal.
NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...], int, bool]] = {
    **{f"{act.__name__}, {depth} layers of {width}": (
        lambda d=depth, w=width, a=act: mlp(d, w, a), (width,), DRAWS, False)
       for depth, width in ((2, 128), (10, 128), (50, 256)) for act in (nn.ReLU, nn.Tanh, nn.GELU)},
    **{f"{act.__name__}, 1000 layers of 128, orthogonal": (
        lambda a=act: mlp(1000, 128, a), (128,), 200, True) for act in (nn.Tanh, nn.GELU)},
    "convolutions, 8 of 32 channels": (cnn, (3, 8, 8), DRAWS, False),
    "residual, 20 branches of 2 layers": (lambda: stream(20, 128, nn.ReLU), (128,), DRAWS, False),
    "pre-norm, 20 branches of 2 layers": (lambda: stream(20, 128, lambda: nn.LayerNorm(128)), (128,), DRAWS, False),
    "pre-norm transformer, 6 layers": (transformer, (8, 64), DRAWS, False),
}  # fmt: skip


PLACES = (nn.Linear, nn.Conv2d, nn.TransformerEncoderLayer, Residual)


def bands() -> None:
    print("share of draws in the predicted 95% band: mean, least layer, largest; factor by which medians move")
    for name, (make, shape, draws, orthogonal) in NETWORKS.items():
        torch.manual_seed(0)
        model, x, y = make(), torch.randn(BATCH, *shape), torch.randint(CLASSES, (BATCH,))
        how = "orthogonal" if orthogonal else "normal"
        plan = init.plan(model, x, distribution=how, loss_fn=loss)
        after = init.plan(model, x, y, distribution=how, loss_fn=loss, skip=[f"{len(model) - 1}.bias"]).after
        paths = [p for p, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and "out_proj" not in p]
        # Over the depth the stream is compared with itself: inside a branch everything is as much smaller.
        depth = [p for p, m in model.named_children() if isinstance(m, PLACES)][:-1]
        every = [*paths[:-1], *depth]
        drawn = np.array([draw(plan.apply_(seed=seed), x, y, every) for seed in range(draws)])
        found, along = drawn[:, :, : len(paths) - 1], drawn[:, :, len(paths) - 1 :]
        for i, column in enumerate(("q", "grad_q")):
            medians = np.median(along[:, i], axis=0)
            show(f"{name}: median {column} moves by", float(medians.max() / medians.min()), 4.0)
            rows = {row.path: row for row in after or ()}
            low, high = (np.array([getattr(rows.get(p), f"{column}_{e}", math.nan) for p in paths[:-1]])
                         for e in ("low", "high"))  # fmt: skip
            inside = ((found[:, i] >= low) & (found[:, i] <= high)).mean(0)
            words = " ".join(f"{value:.3f}" for value in (inside.mean(), inside.min(), inside.max()))
            known = np.isfinite(low).all()
            held = verdict(bool(0.92 <= inside.mean() <= 0.98)) if known else "not predicted"
            print(f"  {name}: {column} in the band {words}: {held}", flush=True)


def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output if output.dim() == 2 else output.mean(1), targets)


def draw(model: nn.Module, x: torch.Tensor, y: torch.Tensor, paths: list[str]) -> list[list[float]]:
    """The second moments of the layers' outputs and of their gradients."""
    outputs: dict[str, torch.Tensor] = {}
    handles = [model.get_submodule(p).register_forward_hook(lambda m, a, out, p=p: outputs.update({p: out}))
               for p in paths]  # fmt: skip
    gradients = torch.autograd.grad(loss(model(x), y), [outputs[p] for p in paths])
    for handle in handles:
        handle.remove()
    columns = ([outputs[p] for p in paths], gradients)
    return [[float(t.detach().double().square().mean()) for t in column] for column in columns]


def deep() -> None:
    print("tanh, 10,000 layers of 64, orthogonal, critical: rms at the end / at the beginning, or the inverse; 3 draws")
    model, x = mlp(10_000, 64, nn.Tanh), torch.randn(32, 64)
    plan = init.plan(model, x, distribution="orthogonal")
    print(f"  {plan['2.weight'].reason}")
    for seed in range(3):
        plan.apply_(seed=seed)
        first = model[0](x)
        first.retain_grad()
        last = model[1:-2](first)
        direction = torch.randn(last.shape)
        last.backward(direction)
        for name, a, b in (("signal", last.detach(), first.detach()), ("gradient", first.grad, direction)):
            change = float((a.square().mean() / b.square().mean()).sqrt())
            show(name, max(change, 1 / change), 10.0)


def digits() -> None:
    from sklearn.datasets import load_digits

    print("tanh, 1,000 layers of 64, orthogonal, critical, 40 steps of Adam on digits")
    data, g = load_digits(), torch.Generator().manual_seed(0)
    order = torch.randperm(len(data.data), generator=g)
    x, y = torch.tensor(data.data, dtype=torch.float32)[order], torch.tensor(data.target)[order]
    x = (x - x[:1400].mean(0)) / x[:1400].std()
    model = mlp(1000, 64, nn.Tanh)
    init.plan(model, x[:64], distribution="orthogonal").apply_()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-5)
    for _ in range(40):
        chosen = torch.randint(1400, (128,), generator=g)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    with torch.no_grad():
        show("error on the 397 held out", float((model(x[1400:]).argmax(1) != y[1400:]).float().mean()), 0.1)


PARTS = {"fills": fills, "lsuv": lsuv, "bands": bands, "deep": deep, "digits": digits}


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name in [part for part in PARTS if part in sys.argv[1:]] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
    end()
