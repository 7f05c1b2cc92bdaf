"""What is known of signals by how they came about, each found once."""

from __future__ import annotations

from typing import Generic, TypeVar

from .kinship import DEEPEST, Origin
from .values import Moments

Known = TypeVar("Known")


class ByOrigin(Generic[Known]):
    """A table that fills itself: `found` says what follows from an origin, `given` what is known without one."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Origin, Known]] = {}
        self._depth = 0

    def of(self, m: Moments) -> Known:
        """Return what is known of a signal; of one too far from all that is known, what is known without its origin."""
        origin = m.origin
        found = self._known.get(id(origin))
        if found is not None:
            return found[1]
        if origin is None or self._depth >= DEEPEST:
            return self.given(m)
        self._depth += 1
        try:
            known = self.found(m, origin)
        finally:
            self._depth -= 1
        self._known[id(origin)] = (origin, known)
        return known

    def given(self, m: Moments) -> Known:
        """Return what is known of a signal that stands for itself."""
        raise NotImplementedError

    def found(self, m: Moments, origin: Origin) -> Known:
        """Return what follows from how a signal came about."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of all that was found."""
        self._known.clear()
