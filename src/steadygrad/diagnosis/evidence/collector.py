"""Collects evidence by its type, once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, Self, TypeVar, cast

from steadygrad.errors import SteadygradError
from steadygrad.measurement.budget import Budget
from steadygrad.setup import Setup

from . import fault as faults
from .machine_limit import machine_limit
from .pace import Pace

# A check takes at most so long, whatever the model, where nothing else is asked for.
LONGEST = 15.0

# What its parts may use of that: the rest is for the pass that runs when time is over, and for what a part then puts
# back.
SECONDS = 13.0

_LONGEST_NOTE = 400


class Unavailable(SteadygradError):
    """Evidence that a setup does not give; the message says why."""


class Limited(Unavailable):
    """Evidence that this machine does not give."""


class OutOfTime(Unavailable):
    """Evidence that there is no time for; the message names it."""


class Evidence(Protocol):
    """A frozen record that knows how to collect itself.

    One that always looks at a batch says by `passes` how often it runs the model forward and backward on it, and by
    `what`, in words, what is left out where there is no time for that.
    """

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Return the evidence, from the setup or from other evidence."""
        ...


EvidenceT = TypeVar("EvidenceT", bound=Evidence)


@dataclass
class Collector:
    """The evidence of one check.

    Attributes:
        setup: what is checked.
        explained: whether a finding before it explains whatever a trial shows.
        no_trial: why no trial of training is made; "" where one may be.
        notes: what could not be looked at, in words.
        seconds: that the check may take.
        pace: how long the model takes, once a batch was seen.
        budget: of all parts together; every one draws from it.
        left_out: what there was no time for, in words.

    >>> import torch
    >>> collector = Collector(Setup(model=torch.nn.Linear(1, 1)))
    >>> collector.setup.model.in_features
    1
    """

    setup: Setup
    explained: bool = False
    no_trial: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = LONGEST
    pace: Pace = field(default_factory=Pace)
    budget: Budget = field(init=False)
    left_out: list[str] = field(default_factory=list)
    _found: dict[type, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = Budget(self.share(SECONDS))

    def get(self, kind: type[EvidenceT]) -> EvidenceT:
        """Return the evidence of a type.

        Raises:
            Unavailable: the setup does not give it.
        """
        if kind not in self._found:
            self._found[kind] = self._unless_broken(kind)
        if isinstance(self._found[kind], Unavailable):
            raise self._found[kind]
        return cast(EvidenceT, self._found[kind])

    def peek(self, kind: type[EvidenceT]) -> EvidenceT | None:
        """Return evidence that was collected already; None otherwise."""
        found = self._found.get(kind)
        return None if isinstance(found, Unavailable) else found

    def limit(self, kind: type[Evidence]) -> Limited | None:
        """Return why this machine does not give a type of evidence; None where it does, or was not asked."""
        found = self._found.get(kind)
        return found if isinstance(found, Limited) else None

    def share(self, seconds: float) -> float:
        """Return how long a part may take that takes so many seconds at most of a check of the usual length."""
        return seconds * self.seconds / LONGEST

    def part(self, what: str, seconds: float, *, passes: float = 0.0) -> Budget:
        """Return a budget for a part of the check, out of what is left of the whole.

        Args:
            what: the part, in words.
            seconds: that it may take at most of a check of the usual length; of a longer one more.
            passes: forward and backward on a whole batch that it needs to say anything, each of which it begins
                whatever its budget says.

        Raises:
            OutOfTime: they do not fit into what is left.
        """
        if self.budget.is_over or passes * self.pace.whole > self.budget.left:
            self.leave_out(what)
        return Budget(min(self.share(seconds), self.budget.left))

    def afford(self, what: str, passes: float) -> None:
        """Leave out what looks at a batch where its passes do not fit into what is left.

        Raises:
            OutOfTime: they do not.
        """
        if self.budget.is_over or passes * self.pace.part > self.budget.left:
            self.leave_out(what)

    def leave_out(self, what: str) -> NoReturn:
        """Say what there is no time for.

        Raises:
            OutOfTime: always.
        """
        if what not in self.left_out:
            self.left_out.append(what)
        raise OutOfTime(what)

    def note(self, words: str) -> None:
        """Say once what could not be looked at, in a line: errors that are quoted may run over hundreds."""
        words = words.strip().partition("\n")[0]
        words = words if len(words) <= _LONGEST_NOTE else f"{words[:_LONGEST_NOTE]}..."
        if words not in self.notes:
            self.notes.append(words)

    def _collected(self, kind: type[Evidence]) -> Any:
        try:
            if hasattr(kind, "passes"):
                self.afford(kind.what, kind.passes)  # type: ignore[attr-defined]
            return kind.collect(self)
        except OutOfTime as error:
            return error
        except (SteadygradError, RuntimeError, AssertionError, MemoryError) as error:
            # One note for all that a limit of the machine keeps from being seen.
            limit = machine_limit(error.__cause__ if isinstance(error, Unavailable) else error)
            if limit is None and not isinstance(error, Unavailable):
                raise
            found = error if limit is None else Limited(f"Not all could be looked at: {limit}.")
            self.note(str(found))
            return found

    def _unless_broken(self, kind: type[Evidence]) -> Any:
        try:
            return self._collected(kind)
        except SteadygradError:
            raise
        except faults.TOLERATED as error:
            self.note(found := faults.fault(error))
            return Unavailable(found)
