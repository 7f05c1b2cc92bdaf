"""The life of one parameter's gradient over steps of training: added to, written, used by a step, wiped."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from steadygrad.tracing import SourceLine

from .foreach_norm import foreach_norm

# Entries below this part of the largest may round to what is subnormal; clipping shows on the others alike.
_LARGE = 1e-3

# Roundings between a gradient and the same times a factor: of the factor, of the product, of the quotient, and a few.
_ROUNDINGS = 8


@dataclass(frozen=True, kw_only=True)
class Write:
    """A gradient that something other than a backward pass wrote to.

    Attributes:
        call: of the training step, from 0.
        parameter: the parameter's place.
        lowest: smallest factor that an entry was multiplied by; NaN where something was not finite.
        highest: the largest.
        rounding: relative rounding of a factor.
        limit: the threshold, where a clipping function of torch or of this package wrote.
        line: the user's line.
    """

    call: int
    parameter: int
    lowest: float
    highest: float
    rounding: float
    limit: float | None = None
    line: SourceLine | None = None

    @property
    def changes(self) -> bool:
        """Whether anything is different afterwards, beyond rounding."""
        return not (abs(self.lowest - 1) <= self.rounding and abs(self.highest - 1) <= self.rounding)

    @property
    def shortens(self) -> bool:
        """Whether every entry kept its sign, none grew and none was taken away, as clipping has it."""
        return self.lowest > 0 and self.highest <= 1 + self.rounding

    @property
    def even(self) -> bool:
        """Whether all entries were multiplied by the same."""
        return self.highest <= self.lowest * (1 + self.rounding)


def factors(before: torch.Tensor, after: torch.Tensor) -> tuple[float, float, float]:
    """Return the smallest and largest factor between a gradient's large entries before and after, and its rounding.

    >>> factors(torch.tensor([4.0, -2.0, 1.0]), torch.tensor([1.0, -1.0, 1.0]))[:2]
    (0.25, 1.0)
    """
    was, now = values_of(before).flatten(), values_of(after).flatten()
    kind = now.dtype if now.dtype.is_floating_point else torch.float64
    was, now = was.double(), now.double()
    if was.shape != now.shape or not was.numel() or not bool((was.isfinite() & now.isfinite()).all()):
        return float("nan"), float("nan"), 0.0
    large = was.abs() >= max(_LARGE * float(was.abs().max()), torch.finfo(torch.float64).tiny)
    if not large.any():
        return 1.0, 1.0, 0.0
    lowest, highest = (now[large] / was[large]).aminmax()
    return float(lowest), float(highest), _ROUNDINGS * torch.finfo(kind).eps


def values_of(gradient: torch.Tensor) -> torch.Tensor:
    """Return the numbers of a gradient, dense or sparse, as real ones."""
    values = gradient.detach()._values() if gradient.is_sparse else gradient.detach()
    return torch.view_as_real(values) if values.is_complex() else values


def is_empty(gradient: torch.Tensor | None) -> bool:
    """Return whether there is no gradient, or one of zeros alone.

    >>> is_empty(None), is_empty(torch.zeros(2)), is_empty(torch.ones(2))
    (True, True, False)
    """
    return gradient is None or not bool(values_of(gradient).any())


@dataclass(kw_only=True, eq=False)
class Life:
    """One parameter's `.grad`, followed from event to event.

    Attributes:
        parameter: whose gradient it is.
        place: of the parameter.
        gradient: the tensor that stood in `.grad` when it was last looked at.
        fresh: a gradient that is not zero came since the last step.
        used: a step was made with it, and nothing added or wiped since.
        edited: something that is no clipping function wrote to it since it was used.
        stale: norm of what a step had used already when a backward pass added to it; 0 where none was.
        early: clipping, as it seems, since the backward pass.
        after: the same since the step that used it.
        late: the same, once it is known that no step came of it.
        scaled: clipping of what was then unscaled.
        adding: a backward pass is about to add to it.
        other_lines: the user's lines that wrote to a gradient as clipping does not; one set for all parameters.
    """

    parameter: torch.Tensor
    place: int
    gradient: torch.Tensor | None = None
    fresh: bool = False
    used: bool = False
    edited: bool = False
    stale: float = 0.0
    early: list[Write] = field(default_factory=list)
    after: list[Write] = field(default_factory=list)
    late: list[Write] = field(default_factory=list)
    scaled: list[Write] = field(default_factory=list)
    adding: bool = False
    other_lines: set[SourceLine | None] = field(default_factory=set)

    def looked_at(self, call: int, line: SourceLine | None = None) -> bool:
        """Notice that the gradient was wiped or exchanged; return whether there is one."""
        before, now = self.gradient, self.parameter.grad
        self.gradient = now
        if now is None or is_empty(now):
            self.wiped()
            return False
        if before is not None and now is not before:
            self.written(self._write(call, before, now, None, line))
        return True

    def before_adding(self, call: int) -> None:
        """A backward pass is about to add to the gradient."""
        if self.looked_at(call) and self.used and not self.edited:
            assert self.gradient is not None
            self.stale = self.stale or float(foreach_norm([self.gradient]))
        # What was done after the step lives on in the sum: some step will come of it.
        self.used, self.edited, self.adding = False, False, True
        self.after.clear()

    def added(self) -> None:
        """A backward pass has added to it."""
        self.adding, self.gradient = False, self.parameter.grad
        self.fresh = self.fresh or not is_empty(self.gradient)

    def overwritten(self, call: int, before: torch.Tensor, limit: float | None, line: SourceLine | None) -> None:
        """Something wrote into the gradient's memory."""
        if is_empty(self.parameter.grad):
            self.wiped()
        elif not self.adding:
            assert self.parameter.grad is not None
            self.written(self._write(call, before, self.parameter.grad, limit, line))

    def written(self, write: Write) -> None:
        """Keep what may be clipping; anything else that changes it is the user's own way with it."""
        if write.limit is None and not write.changes:
            return
        if write.limit is not None or write.shortens:
            (self.after if self.used else self.early).append(write)
        else:
            self.other_lines.add(write.line)
        self.edited = self.edited or write.limit is None

    def unscaled(self) -> None:
        """It was divided by the scale of the loss."""
        self.scaled += self.early
        self.early.clear()

    def stepped(self) -> None:
        """A step has used it."""
        self.gradient, self.used = self.parameter.grad, not is_empty(self.parameter.grad)
        self.fresh, self.edited = False, False
        self.early.clear()

    def wiped(self) -> None:
        """Nothing is left of it."""
        self.late += self.after
        self.early.clear()
        self.after.clear()
        self.used, self.edited, self.stale = False, False, 0.0

    def _write(
        self, call: int, before: torch.Tensor, after: torch.Tensor, limit: float | None, line: SourceLine | None
    ) -> Write:
        lowest, highest, rounding = factors(before, after)
        return Write(
            call=call,
            parameter=self.place,
            lowest=lowest,
            highest=highest,
            rounding=rounding,
            limit=limit,
            line=line,
        )
