"""Softmaxes and their kin written by hand, and how much of the exponent's range they use on this batch."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched
from steadygrad.numerics.operator_graph import Operator, operators_of
from steadygrad.numerics.unstable_forms import (
    EXP_OVER_SUM,
    LOG_OF_ONE_MINUS_SIGMOID,
    LOG_OF_ONE_MINUS_SOFTMAX,
    LOG_OF_ONE_PLUS_EXP,
    LOG_OF_SIGMOID,
    LOG_OF_SOFTMAX,
    LOG_OF_SUM_EXP,
    SIGMOID_BY_HAND,
    Form,
    matches,
)

from .collector import Collector, Unavailable
from .part_of_batch import part_of
from .rescaled import AsItIs, Steps
from .sampled import Sampled

_FORMS = (
    EXP_OVER_SUM,
    SIGMOID_BY_HAND,
    LOG_OF_SOFTMAX,
    LOG_OF_SIGMOID,
    LOG_OF_ONE_MINUS_SOFTMAX,
    LOG_OF_ONE_MINUS_SIGMOID,
    LOG_OF_SUM_EXP,
    LOG_OF_ONE_PLUS_EXP,
)
_SEEN = frozenset(("exp", "log", "log2", "log10", "log1p", "div"))
# More examples would only make the operators slower.
_MOST_EXAMPLES = 512


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """An unstable form and how near it comes to the end of what its format holds.

    Attributes:
        form: what was found.
        module: path of the module that runs it; None in the loss.
        line: the user's line; None where it is not known.
        used: largest share of the logarithmic range of the format that an exponential or a logarithm uses: 1 is an
            overflow or the logarithm of 0.
        exponent: the argument of exp, or the logarithm, that uses it.
        limit: where the range ends on that side.
        count: numbers that were looked at.
    """

    form: Form
    module: str | None
    line: str | None
    used: float
    exponent: float
    limit: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Exponents:
    """Every such form in the model and in the loss.

    Attributes:
        found: in the order of execution.
        steps: some steps of training on a copy; None where there is no such form, or nothing could be tried.
    """

    found: tuple[Exponential, ...]
    steps: Steps | None = None

    passes: ClassVar[float] = 1 / 3
    what: ClassVar[str] = "the range of exponentials"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run model and loss once on the first finite batch and match the operators that run."""
        setup, batch = collector.setup, collector.get(Sampled).first
        part = part_of(batch, _MOST_EXAMPLES)
        ranges = _Ranges()

        def run() -> None:
            with ranges:
                outputs = outputs_of(setup.model, part.inputs)
                if setup.loss_fn is not None:
                    setup.loss_fn(outputs, part.targets)

        modules = [setup.model, *([setup.loss_fn] if isinstance(setup.loss_fn, nn.Module) else [])]
        try:
            with untouched(*modules), torch.enable_grad():  # a model may take derivatives of its own
                operators = operators_of(run, {id(m): path for path, m in setup.model.named_modules()})
        except Exception as error:
            raise Unavailable(f"Exponentials were not looked at: {type(error).__name__}: {error}") from error
        found = tuple(_found(operators, ranges))
        return cls(found=found, steps=_tried(collector) if found else None)

    @property
    def fails(self) -> bool:
        """Whether those steps end in numbers that are not finite.

        >>> Exponents(found=()).fails
        False
        """
        return self.steps is not None and not self.steps.finished


def _tried(collector: Collector) -> Steps | None:
    if collector.setup.optimizer is None or collector.setup.loss_fn is None:
        return None
    try:
        return collector.get(AsItIs).steps
    except Unavailable:
        return None
    except Exception as error:
        collector.note(f"No steps on a copy could be tried: {type(error).__name__}: {error}")
        return None


@dataclass(frozen=True)
class _Range:
    """How far the argument of exp, the result of log, or the logarithm of a divisor goes."""

    used: float
    exponent: float
    limit: float
    count: int


class _Ranges(TorchDispatchMode):
    """The ranges of exponentials and logarithms, by the operator's name, in the order of execution."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_name: dict[str, list[_Range]] = defaultdict(list)

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        if name in _SEEN:
            self.by_name[name].append(_range_of(name, args[1] if name == "div" else args[0]))
        return func(*args, **(kwargs or {}))


def _range_of(name: str, x: Any) -> _Range:
    """Of the argument of exp or of a logarithm, or of what is divided by."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or not x.numel():
        return _Range(0.0, 0.0, math.inf, 0)
    # Below its smallest normal number a format loses digits, and on many devices everything.
    top, bottom = math.log(torch.finfo(x.dtype).max), math.log(torch.finfo(x.dtype).smallest_normal)
    low, high = (float(v) for v in torch.aminmax(x))
    if name == "exp":
        return _Range(high / top, high, top, x.numel())
    exponent = math.log(low) if low > 0 else -math.inf
    return _Range(1.0 if low <= 0 else exponent / bottom, exponent, bottom, x.numel())


def _found(operators: tuple[Operator, ...], ranges: _Ranges) -> list[Exponential]:
    seen: Counter[str] = Counter()
    of: dict[int, _Range] = {}
    for op in operators:
        if op.name in _SEEN:
            of[id(op)] = ranges.by_name[op.name][seen[op.name]]
            seen[op.name] += 1
    return [
        _exponential(form, op, [of[id(o)] for o in (op, *inside) if id(o) in of])
        for op, form, inside in matches(operators)
        if form in _FORMS
    ]


def _exponential(form: Form, op: Operator, ranges: list[_Range]) -> Exponential:
    worst = max(ranges, key=lambda r: r.used, default=_Range(0.0, 0.0, math.inf, 0))
    return Exponential(
        form=form,
        module=op.module,
        line=None if op.source is None else str(op.source),
        used=worst.used,
        exponent=worst.exponent,
        limit=worst.limit,
        count=worst.count,
    )
