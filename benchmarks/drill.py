"""A fault drill: 1,000 faults injected into guarded runs, over every optimizer of torch.optim.

Skipping: NaN and inf in the data, in the loss, in one gradient; gradients of 1e20; outlier batches; an exception at a
random operation in the middle of the optimizer's step; and kill -9 between two steps with resume from saved state. No
parameter may ever be NaN or inf, and the run must be bitwise that of a run given only the accepted batches. Rolling
back: over 20 seeds, the final loss may not be worse than without faults by more than the spread over seeds.

Exit status 1 where something does not hold.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.guard import Guard, Ladder, Spike, Verdict, clip

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=0.5),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "Adagrad, fused": lambda p: torch.optim.Adagrad(p, lr=0.05, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "Adam, foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "Adam, fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "Adam, fused, amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, fused=True),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "AdamW, fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.05),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
    "Muon": lambda p: torch.optim.Muon(p, lr=0.01),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05),
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1),
    "SGD, foreach": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, foreach=True),
    "SGD, fused": lambda p: torch.optim.SGD(p, lr=0.05, fused=True),
    "SGD, fused, momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, fused=True),
    "SGD, fused, nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "SparseAdam": lambda p: torch.optim.SparseAdam(p, lr=0.01),
}
KINDS = (
    "nan data", "inf data", "nan loss", "inf loss", "nan gradient", "inf gradient", "1e20 gradients", "outlier batch",
    "exception",
)  # fmt: skip
FAULTS_EACH = 39  # and one kill -9: 40 for each of 25 optimizers
GOOD_EACH = 60
HUGE = 1e20


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """A batch, with a fault or without, and the number that the fault draws from."""

    x_BD: Tensor
    fault: str = ""
    draw: int = 0


class Failure(RuntimeError):
    """What an injected exception raises."""


class RaisesAt(TorchDispatchMode):
    """Raises before the n-th operation."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self._left = n

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, or raise where its turn has come."""
        self._left -= 1
        if self._left < 0:
            raise Failure("in the middle of a step")
        return func(*args, **(kwargs or {}))


class Rows(nn.Module):
    """Rows of a table, picked by the position in the batch, with sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(8, 4, sparse=True)

    def forward(self, x_BD: Tensor) -> Tensor:
        """The product of each row with its example."""
        return (self.table(torch.arange(len(x_BD)) % 8) * x_BD).sum(1, keepdim=True)


@dataclass(kw_only=True)
class Run:
    """A guarded run and what it needs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    guard: Guard

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "guard": self.guard.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.guard.load_state_dict(state["guard"])


def network(name: str) -> nn.Module:
    if name == "SparseAdam":
        return Rows()
    bias = name != "Muon"
    return nn.Sequential(nn.Linear(4, 16, bias=bias), nn.Tanh(), nn.Linear(16, 1, bias=bias))


def prepared(name: str, seed: int, **settings: Any) -> Run:
    torch.manual_seed(seed)
    model = network(name)
    optimizer = OPTIMIZERS[name](model.parameters())
    return Run(model=model, optimizer=optimizer, guard=Guard(model, optimizer, clip=clip.ByNorm(5.0), **settings))


def skipping(name: str, seed: int) -> Run:
    spikes: dict[str, Any] = {} if name == "LBFGS" else {"on_spike": "skip", "spike": Spike(8, warmup=10)}
    return prepared(name, seed, ladder=Ladder(snapshot_every=1), **spikes)


def loss_of(run: Run, item: Item) -> Tensor:
    x_BD = item.x_BD.clone()
    if item.fault in ("nan data", "inf data"):
        x_BD[item.draw % len(x_BD), item.draw % 4] = float(item.fault[:3])
    if item.fault == "outlier batch":
        x_BD *= 1000
    loss = nn.functional.mse_loss(run.model(x_BD), x_BD.sum(1, keepdim=True).sin())
    return loss * float(item.fault[:3]) if item.fault in ("nan loss", "inf loss") else loss


@contextmanager
def injected(run: Run, item: Item) -> Iterator[None]:
    """Make one gradient, or all, what the fault says; let the optimizer's step raise in its middle."""
    factor = {"nan gradient": float("nan"), "inf gradient": float("inf"), "1e20 gradients": HUGE}.get(item.fault)
    parameters = list(run.model.parameters())
    struck = parameters if item.fault == "1e20 gradients" else [parameters[item.draw % len(parameters)]]
    hooks = [p.register_hook(lambda g: g * factor) for p in struck] if factor is not None else []
    step = run.optimizer.step

    def broken(*args: Any) -> None:
        with RaisesAt(item.draw % 12):
            step(*args)
        raise Failure("at the end of a step")

    if item.fault == "exception":
        run.optimizer.step = broken
    try:
        yield
    finally:
        run.optimizer.__dict__.pop("step", None) if item.fault == "exception" else None
        for hook in hooks:
            hook.remove()


def advance(run: Run, item: Item) -> bool:
    """One guarded step; whether it was accepted."""
    with injected(run, item):
        try:
            if isinstance(run.optimizer, torch.optim.LBFGS):
                run.guard.step(closure=lambda: evaluated(run, item))
            else:
                run.guard.step(loss_of(run, item))
        except Failure:
            return False
    outcome = run.guard.outcome
    return outcome is not None and outcome.verdict is Verdict.ACCEPTED


def evaluated(run: Run, item: Item) -> Tensor:
    run.optimizer.zero_grad()
    loss = loss_of(run, item)
    loss.backward()
    return loss


def stream(seed: int, faults: int, good: int) -> list[Item]:
    numbers, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    kinds = [KINDS[i % len(KINDS)] for i in range(faults)] + [""] * good
    numbers.shuffle(kinds)
    return [Item(x_BD=torch.randn(16, 4, generator=generator), fault=k, draw=numbers.randrange(1000)) for k in kinds]


def bits(tree: Any) -> Any:
    """Nested containers with the bytes of their tensors, so that == is bitwise."""
    match tree:
        case Tensor():
            return tree.dtype, tuple(tree.shape), tree.detach().contiguous().numpy().tobytes()
        case dict():
            return {key: bits(value) for key, value in tree.items()}
        case list() | tuple():
            return [bits(value) for value in tree]
        case _:
            return tree


def finite(run: Run) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in run.model.parameters())


def drilled(name: str, seed: int) -> tuple[int, bool, bool]:
    """How many faulty steps were refused, whether every parameter stayed finite, and whether skipping is bitwise."""
    run, reference = skipping(name, seed), skipping(name, seed)
    items, accepted, healthy = stream(seed, FAULTS_EACH, GOOD_EACH), [], True
    for item in items:
        if advance(run, item):
            accepted.append(item)
        healthy &= finite(run)
    for item in accepted:
        assert advance(reference, item), "the reference refuses what the run accepted"
    refused = sum(1 for item in items if item.fault and item not in accepted)
    same = bits(run.model.state_dict()) == bits(reference.model.state_dict())
    return refused, healthy, same and bits(run.optimizer.state_dict()) == bits(reference.optimizer.state_dict())


def killed(name: str, seed: int) -> bool:
    """Whether a run that is killed with signal 9 between two steps and resumed is bitwise the run that is not."""
    items = stream(seed, 4, 16)
    whole = skipping(name, seed)
    for item in items:
        advance(whole, item)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.pt"
        _train_until_killed(name, seed, items, file, after=5 + seed % 10)
        state = torch.load(file, weights_only=False)
        run = skipping(name, seed + 1)
        run.load(state["run"])
        for item in items[state["done"] :]:
            advance(run, item)
    return bits(run.state()) == bits(whole.state())


def _train_until_killed(name: str, seed: int, items: list[Item], file: Path, after: int) -> None:
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        run = skipping(name, seed)
        for done, item in enumerate(items, start=1):
            advance(run, item)
            torch.save({"run": run.state(), "done": done}, file.with_suffix(".new"))
            file.with_suffix(".new").replace(file)
            os.write(tell, b".")
        signal.pause()
    for _ in range(after):
        os.read(told, 1)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(told), os.close(tell)
    assert os.WTERMSIG(status) == signal.SIGKILL


def final_loss(seed: int, faults: int) -> float:
    ladder = Ladder(snapshot_every=20, lr_factor=0.9, rollbacks=10)
    run = prepared("Adam", seed, on_nonfinite="rollback", on_spike="rollback", spike=Spike(8, warmup=20), ladder=ladder)
    kinds = [k for k in KINDS if k != "exception"]
    numbers = random.Random(seed)
    places = dict(
        zip(numbers.sample(range(40, 500), faults), (numbers.choice(kinds) for _ in range(faults)), strict=True)
    )
    generator = torch.Generator().manual_seed(seed)
    for k in range(500):
        advance(run, Item(x_BD=torch.randn(32, 4, generator=generator), fault=places.get(k, ""), draw=k))
    test = Item(x_BD=torch.randn(2048, 4, generator=torch.Generator().manual_seed(10**6)))
    return loss_of(run, test).item()


def rolled_back(seeds: int = 20, faults: int = 4) -> bool:
    clean, faulty = ([final_loss(seed, n) for seed in range(seeds)] for n in (0, faults))
    spread, worse = statistics.stdev(clean), statistics.mean(faulty) - statistics.mean(clean)
    held = worse <= spread
    print(
        f"rollback, {seeds} seeds, {faults} faults each: final loss {statistics.mean(clean):.4f} without, "
        f"{statistics.mean(faulty):.4f} with faults; worse by {worse:+.4f}, spread {spread:.4f}: {verdict(held)}"
    )
    return held


def verdict(held: bool) -> str:
    return "holds" if held else "FAILS"


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'optimizer':24} {'faults':>6} {'refused':>7} {'finite':>7} {'bitwise':>8} {'kill -9':>8}")
    held, total = True, 0
    for seed, name in enumerate(OPTIMIZERS):
        refused, healthy, same = drilled(name, seed)
        resumed = killed(name, seed)
        total += FAULTS_EACH + 1
        held &= healthy and same and resumed
        row = [verdict(v) for v in (healthy, same, resumed)]
        print(f"{name:24} {FAULTS_EACH + 1:6} {refused:7} {row[0]:>7} {row[1]:>8} {row[2]:>8}", flush=True)
    print(f"{total} faults")
    held &= rolled_back()
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
