"""Collects evidence by its type, once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar, cast

from steadygrad.errors import SteadygradError
from steadygrad.setup import Setup

from .machine_limit import machine_limit


class Unavailable(SteadygradError):
    """Evidence that a setup does not give; the message says why."""


class Limited(Unavailable):
    """Evidence that this machine does not give."""


class Evidence(Protocol):
    """A frozen record that knows how to collect itself."""

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
        no_trial: why no trial of training is made; "" where one may be.
        notes: what could not be looked at, in words.
        started: this thread's own time when the check began.

    >>> import torch
    >>> collector = Collector(Setup(model=torch.nn.Linear(1, 1)))
    >>> collector.setup.model.in_features
    1
    """

    setup: Setup
    no_trial: str = ""
    notes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.thread_time)
    _found: dict[type, Any] = field(default_factory=dict)

    def get(self, kind: type[EvidenceT]) -> EvidenceT:
        """Return the evidence of a type.

        Raises:
            Unavailable: the setup does not give it.
        """
        if kind not in self._found:
            self._found[kind] = self._collected(kind)
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

    def note(self, words: str) -> None:
        """Say once what could not be looked at."""
        if words not in self.notes:
            self.notes.append(words)

    def _collected(self, kind: type[Evidence]) -> Any:
        try:
            return kind.collect(self)
        except (SteadygradError, RuntimeError, AssertionError, MemoryError) as error:
            # One note for all that a limit of the machine keeps from being seen.
            limit = machine_limit(error.__cause__ if isinstance(error, Unavailable) else error)
            if limit is None and not isinstance(error, Unavailable):
                raise
            found = error if limit is None else Limited(f"Not all could be looked at: {limit}.")
            self.note(str(found))
            return found
