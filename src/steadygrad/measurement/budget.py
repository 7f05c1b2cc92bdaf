"""How long a piece of work may take: by its own processor time, so that other work beside it changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

# Work may wait, for a data loader or an accelerator, but not for ever: so many times its own time by the clock.
_WAITING = 2.0


@dataclass(frozen=True)
class Budget:
    """So much time from now on.

    It counts the processor time of this thread, which other programs on a busy machine do not add to. Work that is
    done elsewhere, by an accelerator, by the processes of a data loader, by other threads of an operator, is waited for
    and costs this thread little; therefore the clock counts too, at half.

    Attributes:
        seconds: >= 0; infinity for no end.

    >>> Budget(float("inf")).is_over, Budget(0.0).is_over
    (False, True)
    """

    seconds: float
    _own: float = field(default_factory=lambda: time.thread_time())
    _clock: float = field(default_factory=lambda: time.perf_counter())

    @property
    def spent(self) -> float:
        """What was used so far."""
        own, clock = time.thread_time() - self._own, time.perf_counter() - self._clock
        return max(own, clock / _WAITING)

    @property
    def left(self) -> float:
        """What remains; a part that is given this much as its own budget keeps the whole."""
        return self.seconds - self.spent

    @property
    def is_over(self) -> bool:
        """Whether nothing remains."""
        return self.left <= 0
