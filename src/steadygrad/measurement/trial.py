"""A short run of training, recorded step by step. It changes what it trains: run it in a block that puts all back."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from steadygrad.errors import in_short

from .budget import Budget
from .foreach_norm import foreach_norm
from .gradient_edits import Edits
from .own_loop import OwnLoop
from .record import Record
from .scalar_loss import Loss, outputs_of

# A trial that has learned this long and this well has shown what it can.
_ENOUGH, _IN_A_ROW = 100, 20
LEARNED = 0.1

Batches = Iterable[tuple[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a short run showed, an entry a step.

    Attributes:
        losses: of the step's batch, before the step.
        gradient_norms: global norm of the gradient that the backward pass left.
        clipped: by what the optimizer's step multiplied that norm; 1 where it left the gradient alone.
        update_ratios: norm of the step over the norm of the weights.
        rates: the largest learning rate of the optimizer's groups; empty for a plain loop, which leaves it as it is.
        before: losses of the probe batches at the weights as they were.
        after: losses of the same batches at the end, with the same random numbers.
        batches_per_pass: batches until the data began again; None where they did not.
        nonfinite: "loss", "gradient" or "weights", whichever was first at the last step; "" where all was finite.
        ended: why the run was shorter than asked for; "" where it was not.
    """

    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    clipped: tuple[float, ...]
    update_ratios: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    batches_per_pass: int | None
    nonfinite: str
    ended: str
    rates: tuple[float, ...] = ()

    @property
    def steps(self) -> int:
        """How many steps were begun."""
        return len(self.losses)

    @property
    def warms_up(self) -> bool:
        """Whether the rate still rises in the second half."""
        later = self.rates[len(self.rates) // 2 :]
        return bool(later) and max(later) > later[0]


def train(
    model: nn.Module,
    data: Iterable[Any],
    loss_fn: Loss,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    seconds: float = math.inf,
    least: int = 0,
    probe: Batches = (),
    clip: float | None = None,
    step: Callable[[Any], Any] | None = None,
) -> Trial:
    """Train as a plain loop would: zero the gradients, forward, backward, step; stop where a number is not finite.

    It also stops where the loss has been below a tenth of its start for twenty steps, not before step 100. The model is
    put into training mode. What the user's code raises ends the run, and `ended` says it.

    Args:
        model: trained in place.
        data: of pairs (inputs, targets), begun again when they end.
        loss_fn: takes (outputs, targets), returns a scalar.
        optimizer: steps as it is; one whose step needs a closure gets one.
        steps: at most as many, >= 1.
        seconds: begins no step after so much time of its own; see `Budget`.
        least: steps that are made whatever the time.
        probe: batches whose losses are compared before and after.
        clip: largest global norm that a gradient is shortened to; None leaves it alone.
        step: the user's own, which takes a batch, in place of the plain loop's.

    >>> model = nn.Linear(2, 1)
    >>> data = [(torch.ones(4, 2), torch.ones(4, 1))]
    >>> trial = train(model, data, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1), steps=20, probe=data)
    >>> trial.steps, trial.after < trial.before, trial.nonfinite
    (20, True, '')
    """
    model.train()
    kind = _Loop if step is None else partial(OwnLoop, step=step)
    loop = kind(model=model, loss_fn=loss_fn, optimizer=optimizer, clip=clip)
    probe, record, budget = list(probe), Record(), Budget(seconds)
    with torch.enable_grad(), ExitStack() as stack:
        loop.edits = stack.enter_context(Edits.watched(loop.parameters))
        stack.enter_context(loop.watching(record))
        before = probed(model, probe, loss_fn)
        try:
            for batch in _endless(data, record, steps):
                loop.step_(batch, record)
                if record.nonfinite or _learned(record, before):
                    break
                if budget.is_over and len(record.losses) >= least and record.ended == "" and len(record.losses) < steps:
                    record.ended = f"{seconds:g} s had passed"
                    break
        except Exception as error:
            # Whatever the user's model, loss, data or optimizer raises: the record up to here stands.
            name, words = type(error).__name__, in_short(error)
            record.ended = words if words == name else f"{name}: {words}"
        after = () if record.nonfinite else probed(model, probe, loss_fn)
    return Trial(
        losses=tuple(record.losses),
        gradient_norms=tuple(record.gradient_norms),
        clipped=tuple(record.clipped),
        update_ratios=tuple(record.update_ratios),
        before=before,
        after=after,
        batches_per_pass=record.batches_per_pass,
        nonfinite=record.nonfinite,
        ended=record.ended,
        rates=tuple(record.rates),
    )


def _learned(record: Record, before: tuple[float, ...]) -> bool:
    """Whether nothing is left to see: after a hundred steps, twenty in a row at less than a tenth of the start."""
    if len(record.losses) < _ENOUGH or not before:
        return False
    return all(0 <= x < LEARNED * min(before) for x in record.losses[-_IN_A_ROW:])


def _endless(data: Iterable[Any], record: Record, steps: int) -> Iterator[Any]:
    """As many batches as there are steps, from the data over and over."""
    given = 0
    while True:
        began = given
        for batch in data:
            yield batch
            given += 1
            if given == steps:
                return
        if given == began:
            record.ended = "the data gave no further batch"
            return
        if record.batches_per_pass is None:
            record.batches_per_pass = given


@torch.no_grad()
def probed(model: nn.Module, probe: Batches, loss_fn: Loss) -> tuple[float, ...]:
    """Return the losses of batches at the weights as they are, with the random numbers that come next; () on an error.

    The states of the generators and the buffers are put back, so that a second call draws the same.
    """
    from .untouched import untouched

    try:
        with untouched(model):
            torch.manual_seed(0)
            return tuple(float(loss_fn(outputs_of(model, inputs), targets)) for inputs, targets in probe)
    except Exception:  # the loop itself says what raises
        return ()


@dataclass(kw_only=True)
class _Loop:
    """The parts of a loop."""

    model: nn.Module
    loss_fn: Loss
    optimizer: torch.optim.Optimizer
    clip: float | None = None
    edits: Edits = field(default_factory=Edits)

    def __post_init__(self) -> None:
        stepped = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.parameters: list[torch.Tensor] = [p for p in stepped if p.requires_grad]
        self.needs_closure = needs_closure(self.optimizer)
        held = {id(p) for p in stepped}
        self.others = [p for p in self.model.parameters() if id(p) not in held]

    def watching(self, record: Record) -> AbstractContextManager[None]:
        return nullcontext()

    def step_(self, batch: Any, record: Record) -> None:
        inputs, targets = batch
        loss = self.backward(inputs, targets)
        value = float(loss)
        record.losses.append(value)
        if not math.isfinite(value):
            record.nonfinite = "loss"
            return
        norm = float(foreach_norm([p.grad for p in self.parameters]))
        record.gradient_norms.append(norm / self.edits.factor())
        if not math.isfinite(norm):
            record.nonfinite = "gradient"
            return
        old = [p.detach().clone() for p in self.parameters]
        self._update_(inputs, targets, norm)
        record.clipped.append(self._clipped(norm) * self.edits.factor())
        size = float(foreach_norm(old))
        moved = float(foreach_norm(torch._foreach_sub(self.parameters_now(), old)))
        record.update_ratios.append(moved / size if size > 0 else math.inf if moved else 0.0)
        if not math.isfinite(moved):
            record.nonfinite = "weights"

    def parameters_now(self) -> list[torch.Tensor]:
        return [p.detach() for p in self.parameters]

    def backward(self, inputs: Any, targets: Any) -> torch.Tensor:
        # What the optimizer does not hold is not its to zero, and adds up to nothing that any step uses.
        for parameter in self.others:
            parameter.grad = None
        self.optimizer.zero_grad()
        self.edits.begin()
        loss = self.loss_fn(outputs_of(self.model, inputs), targets)
        loss.backward()
        return loss.detach()

    def _update_(self, inputs: Any, targets: Any, norm: float) -> None:
        if self.clip is not None and norm > self.clip:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(self.clip / norm)
        if not self.needs_closure:
            self.optimizer.step()
            return

        def closure() -> float:
            return float(self.backward(inputs, targets))

        self.optimizer.step(closure)

    def _clipped(self, norm: float) -> float:
        """By what the step multiplied the gradient that it was given; 1 where it took it away altogether."""
        if self.needs_closure or self.clip is not None:
            return 1.0
        now = float(foreach_norm([p.grad for p in self.parameters]))
        return now / norm if norm > 0 and 0 < now < math.inf else 1.0


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step cannot do without a function that computes the loss again, as L-BFGS's cannot.

    >>> weight = nn.Parameter(torch.ones(1))
    >>> needs_closure(torch.optim.LBFGS([weight])), needs_closure(torch.optim.SGD([weight], lr=0.1))
    (True, False)
    """
    parameters: Callable[..., Any] = optimizer.step
    given = inspect.signature(parameters).parameters.get("closure")
    return given is not None and given.default is inspect.Parameter.empty
