"""Labels that a loss takes no notice of, whatever is predicted for them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from steadygrad.measurement.untouched import untouched
from steadygrad.setup import mapped, tensors_in

from .collector import Collector, Unavailable
from .loss_run import LossRun

# Predictions on both sides of any margin that labels of size 1 have, and probabilities.
_TRIED = (-10.0, -2.0, -0.5, 0.1, 0.5, 0.9, 2.0, 10.0)
# Pairs of outputs are held against each other: near to each other, apart, and on both sides of a right angle.
_ABOUT, _APART = (-1.0, 0.0, 1.0), (0.01, 0.1, 1.0, 3.0)
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
        """Ask the loss for its gradient at predictions of all kinds.

        Nothing where an output is more than a number, unless there are several of one form, as of two examples that the
        label says to be the same or not.
        """
        try:
            run = collector.get(LossRun)
        except Unavailable:
            return cls()
        outputs, y, loss_fn = run.outputs, run.targets, collector.setup.loss_fn
        parts = list(tensors_in(outputs).values())
        if not isinstance(y, Tensor) or y.dim() == 0 or y.numel() != len(y) or not _are_comparable(parts, len(y)):
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
            of=len(y),
        )


def _are_comparable(outputs: list[Tensor], examples: int) -> bool:
    """Whether they are a number an example, or several tensors of one form with a row an example."""
    if not all(x.is_floating_point() and x.shape[:1] == (examples,) for x in outputs):
        return False
    if len(outputs) == 1:
        return outputs[0].numel() == examples
    return len({x.shape for x in outputs}) == 1


def _slopes(loss_fn: Any, outputs: Any, y: Tensor) -> Iterator[Tensor]:
    """Which examples get a gradient, at the outputs as they are and at others that the loss takes."""
    for predictions in (outputs, *_predictions(outputs)):
        leaves: list[Tensor] = []

        def leaf(x: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
            leaves.append(x.detach().clone().requires_grad_())
            return leaves[-1]

        given = mapped(leaf, predictions)
        try:
            found = torch.autograd.grad(loss_fn(given, y.clone()), leaves, allow_unused=True)
        except Exception:
            continue  # probabilities are not taken outside of 0 and 1
        slopes = [slope.reshape(len(y), -1) for slope in found if slope is not None]
        if slopes:
            yield (torch.cat(slopes, 1) != 0).any(1)


def _predictions(outputs: Any) -> Iterator[Any]:
    if isinstance(outputs, Tensor):
        yield from (torch.full_like(outputs, value) for value in _TRIED)
        return
    generator = torch.Generator().manual_seed(0)

    def drawn(about: float, apart: float, x: Tensor) -> Tensor:
        return about + apart * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)

    for about, apart in itertools.product(_ABOUT, _APART):
        yield mapped(partial(drawn, about, apart), outputs)
