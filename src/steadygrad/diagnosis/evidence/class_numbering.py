"""Whether the numbers of a regression's targets are names of classes: does their order mean anything to the inputs?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steadygrad.setup import Batch

from .collector import Collector
from .loss_run import LossPair, LossRun
from .loss_watch import REGRESSIONS
from .sampled import Sampled

_FEWEST, _MOST = 3, 200
# Entropy of the classes' shares over that of equal ones: names are handed out evenly, counts and ratings are not.
_EVEN = 0.9
_DRAWS = 999
_ALL_OF = 5
_MOST_EXAMPLES = 4096
_MOST_TOKENS = 2000
_STANDARD_ERRORS = 5

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ClassNumbering:
    """How well a linear fit of inputs, squares and products follows the numbers, and the classes numbered otherwise.

    Attributes:
        classes: how many numbers there are; 0 where targets are not few whole numbers, evenly spread.
        outputs: columns of the model's output.
        fitted: R² of the numbers as they are.
        best: of the best other numbering that was tried.
        share: of the numberings, how many are fitted as well or better.
        standard_error: of `fitted`.
        count: examples.
        features: that the numbers were fitted to.
    """

    classes: int = 0
    outputs: int = 0
    fitted: float = math.nan
    best: float = math.nan
    share: float = math.nan
    standard_error: float = math.nan
    count: int = 0
    features: int = 0

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Number the classes in other ways and fit each linearly."""
        run, sampled = collector.get(LossRun), collector.get(Sampled)
        pair = next((p for p in run.named(*REGRESSIONS) if p.target is not None), None)
        if pair is None or not isinstance(sampled.first.inputs, torch.Tensor):
            return cls()
        batches = [b for b in sampled.batches if b.inputs.shape[1:] == sampled.first.inputs.shape[1:]]
        y = _numbers(batches) if _is_one_a_row(pair, sampled.first) else None
        if y is None or (classes := _classes(y)) == 0:
            return cls()
        x = _features(batches)
        outputs = pair.input.shape[-1] if pair.input.dim() > 1 else 1
        if x is None:
            return cls(classes=classes, outputs=outputs, count=len(y))
        y, x = y[:_MOST_EXAMPLES], x[:_MOST_EXAMPLES]
        fitted, others = _fits(x, y - y.min(), classes)
        return cls(
            classes=classes,
            outputs=outputs,
            fitted=fitted,
            best=float(others.max()),
            share=float((others >= fitted * (1 - 1e-9)).mean()),
            standard_error=2 * math.sqrt(max(fitted, 0.0)) * (1 - fitted) / math.sqrt(len(y)),
            count=len(y),
            features=x.shape[1],
        )

    @property
    def is_seen(self) -> bool:
        """Whether the inputs follow any numbering closer than a fit of so many features follows numbers by chance.

        Of p features that have nothing to do with n numbers, R² is Beta(p/2, (n - 1 - p)/2).
        """
        free, p = self.count - 1, self.features
        spread = math.sqrt(2 * p * max(free - p, 0) / (free + 2)) / free
        return max(self.fitted, self.best) > p / free + _STANDARD_ERRORS * spread

    @property
    def is_unordered(self) -> bool | None:
        """Whether the order of the numbers means nothing; None where it cannot be told.

        One in twenty numberings, and of three or four classes the best, may fit as well as an order that is real.
        """
        if math.isnan(self.share) or not self.is_seen:
            return None
        few = self.classes < _ALL_OF
        better = self.best - self.fitted > _STANDARD_ERRORS * self.standard_error
        return self.share > max(0.05, 2 / math.factorial(self.classes) * 1.01) and (better or not few)


def _is_one_a_row(pair: LossPair, batch: Batch) -> bool:
    """Whether the loss meets the targets as they are: a whole number an example."""
    y = pair.target
    return y is not None and y.numel() == batch.size and bool((y == y.round()).all())


def _numbers(batches: list[Batch]) -> Array | None:
    """One whole number an example."""
    found: list[Array] = []
    for batch in batches:
        if batch.target is None or batch.target.numel() != batch.size:
            return None
        y = batch.target.detach().double().flatten().cpu()
        if not bool((y == y.round()).all()):
            return None
        found.append(y.numpy())
    return np.concatenate(found)


def _classes(y: Array) -> int:
    """How many numbers there are, from 0 or 1 on without a gap, evenly spread; 0 otherwise."""
    values, counts = np.unique(y, return_counts=True)
    k = len(values)
    if not _FEWEST <= k <= min(_MOST, len(y) // 5) or values[0] not in (0, 1) or values[-1] - values[0] != k - 1:
        return 0
    shares = counts / counts.sum()
    return k if -(shares * np.log(shares)).sum() >= _EVEN * math.log(k) else 0


def _features(batches: list[Batch]) -> Array | None:
    """Inputs, squares and products, standardised, at most a quarter as many as examples; tokens are counted."""
    x = torch.cat([b.inputs.detach().to_dense().reshape(b.size, -1).cpu() for b in batches])[:_MOST_EXAMPLES]
    if not x.is_floating_point() and x.dtype not in (torch.uint8, torch.bool):
        counted = _counted(x)
        if counted is None:
            return None
        x = counted
    x = x.double()
    most = max(1, len(x) // 4)
    x = torch.cat([x, _bent(x, most - x.shape[1])], 1)
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-12)
    if x.shape[1] > most:
        directions = torch.randn(x.shape[1], most, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        x = x @ directions / math.sqrt(x.shape[1])
    return np.asarray(x.numpy(), dtype=np.float64)


def _bent(x: Tensor, most: int) -> Tensor:
    """Squares: a quantity may show in how strong the inputs are; and, of few inputs, products of two of them."""
    columns = x.shape[1]
    if columns * (columns + 1) // 2 > most:
        return x.square()
    first, second = torch.triu_indices(columns, columns)
    return x[:, first] * x[:, second]


def _counted(tokens: Tensor) -> Tensor | None:
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= _MOST_TOKENS:
        return None
    return torch.zeros(len(tokens), high + 1).scatter_add_(1, tokens.long(), torch.ones(tokens.shape))


def _fits(x: Array, y: Array, classes: int) -> tuple[float, Array]:
    """R² of a linear fit to the numbers, and of the fits to other numberings of the same classes."""
    member = np.eye(classes)[y.astype(int)]
    member -= member.mean(0)
    basis, _ = np.linalg.qr(x - x.mean(0))
    along = basis.T @ member
    explained, total = along.T @ along, member.T @ member

    def fitted(c: Array) -> float:
        return float((c @ explained @ c) / (c @ total @ c))

    own = np.arange(classes, dtype=np.float64)
    if classes <= _ALL_OF:
        others = [np.array(c, dtype=np.float64) for c in permutations(range(classes))]
    else:
        generator = np.random.default_rng(0)
        others = [own, *(generator.permutation(own) for _ in range(_DRAWS))]
    return fitted(own), np.array([fitted(c) for c in others])
