"""Labels that a loss takes no notice of, whatever is predicted for them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from steadygrad.measurement.untouched import untouched

from .collector import Collector, Unavailable
from .loss_run import LossRun

# Predictions on both sides of any margin that labels of size 1 have, and probabilities.
_TRIED = (-10.0, -2.0, -0.5, 0.1, 0.5, 0.9, 2.0, 10.0)
# A set of labels is a small one; what has more values is a quantity.
_MOST = 10


@dataclass(frozen=True, kw_only=True)
class SilentLabels:
    """What is left of the labels once those without a gradient are taken away.

    Attributes:
        silent: labels whose examples get no gradient at any prediction that was tried.
        taught: the other ones.
        examples: how many examples have a silent label.
        of: how many examples there are.
    """

    silent: tuple[float, ...] = ()
    taught: tuple[float, ...] = ()
    examples: int = 0
    of: int = 0

    passes: ClassVar[float] = 0.0
    what: ClassVar[str] = "the gradient of each label"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Ask the loss for its gradient at constant predictions; nothing where an output is more than a number."""
        try:
            run = collector.get(LossRun)
        except Unavailable:
            return cls()
        outputs, y, loss_fn = run.outputs, run.targets, collector.setup.loss_fn
        if not isinstance(outputs, Tensor) or not isinstance(y, Tensor) or not outputs.is_floating_point():
            return cls()
        if outputs.numel() != len(outputs) or y.numel() != len(outputs):
            return cls()
        labels = y.reshape(-1).unique()
        if not 1 < len(labels) <= _MOST:
            return cls()
        modules = [loss_fn] if isinstance(loss_fn, nn.Module) else []
        with untouched(*modules), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            slopes = list(_slopes(loss_fn, outputs, y))
        if not slopes:
            return cls()
        heard = torch.stack(slopes).any(0)
        silent = [v for v in labels if not bool(heard[y.reshape(-1) == v].any())]
        return cls(
            silent=tuple(float(v) for v in silent),
            taught=tuple(float(v) for v in labels if not any(v == s for s in silent)),
            examples=sum(int((y == v).sum()) for v in silent),
            of=len(outputs),
        )


def _slopes(loss_fn: Any, outputs: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Which examples get a gradient, at the outputs as they are and at constants that the loss takes."""
    for predictions in (outputs, *(torch.full_like(outputs, value) for value in _TRIED)):
        leaf = predictions.detach().clone().requires_grad_()
        try:
            (slope,) = torch.autograd.grad(loss_fn(leaf, y.clone()), leaf)
        except Exception:
            continue  # probabilities are not taken outside of 0 and 1
        yield slope.reshape(-1) != 0
