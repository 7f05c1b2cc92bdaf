"""What the loss function does with the outputs of one batch, and with the targets of the others."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steadygrad.measurement.budget import Budget
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched

from .collector import Collector, Unavailable
from .head_operator import HeadOperator, head_operator
from .loss_watch import Broadcast, LossWatch, Pair
from .sampled import Sampled

# For the loss of further targets, which costs no pass of the model.
SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class LossPair:
    """Outputs and targets as they enter a loss.

    Attributes:
        name: see `Pair`.
        input: the model's side, cut off its graph.
        target: the other side.
        head: what made `input`.
        options: the function's other arguments.
        targets: the other side in this batch and in further ones.
    """

    name: str
    input: Tensor
    target: Tensor | None
    head: HeadOperator
    options: dict[str, Any] = field(default_factory=dict)
    targets: tuple[Tensor, ...] = ()

    @property
    def classes(self) -> int:
        """Classes that a softmax over the input's class dimension tells apart.

        >>> LossPair(name="cross_entropy", input=torch.ones(5, 3), target=None, head=HeadOperator()).classes
        3
        """
        return self.input.shape[1 if self.input.dim() > 1 else 0]

    def known(self) -> Tensor:
        """Return where a target of class numbers is not the one to be ignored.

        >>> y = torch.tensor([1, -100])
        >>> LossPair(name="nll_loss", input=torch.ones(2, 3), target=y, head=HeadOperator()).known().tolist()
        [True, False]
        """
        assert self.target is not None
        return self.target.ne(int(self.options.get("ignore_index", -100)))

    def per_example(self) -> Tensor:
        """Return the plain loss of every example: unweighted, not smoothed, ignored positions left out."""
        x, y = self.input.double(), self.target
        assert y is not None
        loss: Tensor
        match self.name:
            case "cross_entropy" | "nll_loss" if not y.is_floating_point():
                known = self.known()
                loss = getattr(F, self.name)(x, torch.where(known, y, 0), reduction="none")
                count = known.reshape(len(loss), -1).sum(1)
                total = (loss * known).reshape(len(loss), -1).sum(1)
                mean: Tensor = total[count > 0] / count[count > 0]
                return mean
            case "cross_entropy" | "binary_cross_entropy" | "binary_cross_entropy_with_logits":
                loss = getattr(F, self.name)(x, y.double(), reduction="none")
            case _:
                loss = (x - y.double()).square()
        return loss.reshape(len(loss), -1).mean(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class LossRun:
    """One batch through the model and the loss.

    Attributes:
        outputs: what the model gave, cut off its graph.
        targets: of the same batch.
        pairs: where outputs meet targets.
        broadcasts: where the two were stretched against each other.
        growth: factor of an example's gradient when the batch is doubled: 1/2 for a mean, 1 for a sum.
        batch_size: examples in the batch.
        severed: the loss is a number, or a scalar without a gradient, though the model has parameters that want one.
        exchanged: what comes from the model and is given to `kl_div` as its target, beside an input that does not.
    """

    outputs: Any
    targets: Any
    pairs: tuple[LossPair, ...]
    broadcasts: tuple[Broadcast, ...]
    growth: float
    batch_size: int
    severed: bool = False
    exchanged: tuple[Tensor, ...] = ()

    passes: ClassVar[float] = 1 / 3
    what: ClassVar[str] = "what the loss does with the outputs"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run the model once, and the loss on that batch, on twice that batch and on the targets of others."""
        setup, sampled = collector.setup, collector.get(Sampled)
        if setup.loss_fn is None:
            raise Unavailable("There is no loss function, so how it fits the model was not looked at.")
        batch = sampled.first
        modules = [setup.model, *([setup.loss_fn] if isinstance(setup.loss_fn, nn.Module) else [])]
        with untouched(*modules), torch.enable_grad(), warnings.catch_warnings():
            # What torch warns of here is what rules say.
            warnings.simplefilter("ignore")
            try:
                outputs = outputs_of(setup.model, batch.inputs)
                watch, loss = _watched(setup.loss_fn, outputs, batch.targets)
            except Exception as error:
                raise Unavailable(f"The loss could not be looked at: {type(error).__name__}: {error}") from error
            budget = collector.part("what the loss does with further targets", SECONDS)
            later = later_pairs(setup.loss_fn, outputs, sampled, budget)
            growth = _growth(setup.loss_fn, _detached(outputs), batch.targets)
        return cls(
            outputs=_detached(outputs),
            targets=batch.targets,
            pairs=tuple(loss_pair(i, pair, later) for i, pair in enumerate(watch.pairs)),
            broadcasts=tuple(watch.broadcasts),
            growth=growth,
            batch_size=batch.size,
            severed=_has_no_gradient(loss) and any(p.requires_grad for p in setup.model.parameters()),
            exchanged=tuple(watch.exchanged),
        )

    def named(self, *names: str) -> list[LossPair]:
        """Return the pairs of some functions.

        >>> LossRun(outputs=None, targets=None, pairs=(), broadcasts=(), growth=1.0, batch_size=1).named("x")
        []
        """
        return [pair for pair in self.pairs if pair.name in names]


def tensors(found: Any) -> Iterator[Tensor]:
    """Yield the tensors in an output, depth first.

    >>> [x.tolist() for x in tensors({"a": [torch.ones(1)], "b": 2})]
    [[1.0]]
    """
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, dict):
        yield from tensors(list(found.values()))
    elif isinstance(found, list | tuple):
        for part in found:
            yield from tensors(part)


def _mapped(found: Any, change: Callable[[Tensor], Tensor]) -> Any:
    match found:
        case Tensor():
            return change(found)
        case dict():
            return type(found)((key, _mapped(part, change)) for key, part in found.items())
        case tuple() if hasattr(found, "_fields"):
            return type(found)(*(_mapped(part, change) for part in found))
        case list() | tuple():
            return type(found)(_mapped(part, change) for part in found)
        case _:
            return found


def _detached(outputs: Any) -> Any:
    return _mapped(outputs, torch.Tensor.detach)


def is_severed(collector: Collector) -> bool:
    """Return whether the loss has no gradient; False where it could not be looked at, which is told elsewhere."""
    try:
        return collector.get(LossRun).severed
    except Unavailable:
        return False


def _has_no_gradient(loss: Any) -> bool:
    if isinstance(loss, Tensor):
        return loss.numel() == 1 and not loss.requires_grad
    return isinstance(loss, int | float | np.number) or (isinstance(loss, np.ndarray) and loss.size == 1)


def _watched(loss_fn: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> tuple[LossWatch, Any]:
    with LossWatch(tensors(outputs), tensors(targets)) as watch:
        loss = loss_fn(outputs, targets)
    return watch, loss


def loss_pair(index: int, pair: Pair, later: list[list[Pair]]) -> LossPair:
    """Return a pair of the first batch with the targets of the pairs at its place in later ones."""
    others = [pairs[index].target for pairs in later if len(pairs) > index and pairs[index].name == pair.name]
    return LossPair(
        name=pair.name,
        input=pair.input.detach().cpu(),
        target=None if pair.target is None else pair.target.detach().cpu(),
        head=head_operator(pair.input),
        options=pair.options,
        targets=tuple(y.detach().cpu() for y in (pair.target, *others) if y is not None),
    )


def later_pairs(
    loss_fn: Callable[[Any, Any], Tensor], outputs: Any, sampled: Sampled, budget: Budget
) -> list[list[Pair]]:
    """Return the pairs that the loss makes of later targets; the outputs of the first batch stand in for theirs."""
    return list(_later(loss_fn, _detached(outputs), sampled, budget))


def _later(
    loss_fn: Callable[[Any, Any], Tensor], outputs: Any, sampled: Sampled, budget: Budget
) -> Iterator[list[Pair]]:
    for targets in sampled.targets[1:]:
        if budget.is_over:
            return
        whole = next(tensors(sampled.first.targets), None)
        part = math.inf if whole is None else len(next(tensors(targets))) / len(whole)
        if part > 1:
            continue
        shorter = _mapped(outputs, partial(_first_part, part=part))
        # What it did until it raises is seen; that it raises is told where the batch is measured.
        with LossWatch(tensors(shorter), tensors(targets)) as watch, suppress(Exception):
            loss_fn(shorter, targets)
        yield watch.pairs


def _first_part(x: Tensor, part: float) -> Tensor:
    return x[: round(len(x) * part)] if x.dim() else x


def _growth(loss_fn: Callable[[Any, Any], Tensor], outputs: Any, targets: Any) -> float:
    """Norm of the first half of the gradient at twice the batch, over the gradient's norm; NaN where it has none."""
    try:
        once = _gradient(loss_fn, outputs, targets, 1)
        twice = _gradient(loss_fn, outputs, targets, 2)
    except Exception:
        # A loss may keep something of a size that doubles do not fit.
        return math.nan
    return twice / once if 0 < once < math.inf else math.nan


def _gradient(loss_fn: Callable[[Any, Any], Tensor], outputs: Any, targets: Any, copies: int) -> float:
    leaves: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        repeated = torch.cat([x] * copies) if x.dim() else x
        if repeated.is_floating_point():
            leaves.append(repeated.requires_grad_())
        return repeated

    with torch.enable_grad():
        loss = loss_fn(_mapped(outputs, leaf), _mapped(targets, lambda x: torch.cat([x] * copies) if x.dim() else x))
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
    halves = [g[: len(g) // copies].double().norm() for g in found if g is not None and g.dim()]
    return float(torch.stack(halves).norm()) if halves else math.nan
