"""How far a guarded run may fall before the next rung, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass

from steadygrad.errors import not_allowed

from .clip.policy import whole


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs after clipping: skip the step, roll back with a smaller learning rate, stop.

    Attributes:
        skips: refused steps in a row that are skipped; one more climbs to the next rung. Float16 with a loss scale that
            starts at 2^16 may need up to 40 to find its scale.
        snapshot_every: accepted steps between snapshots in memory (one more copy of parameters, buffers and optimizer
            state); None keeps none, and the rung after skipping is to stop. 1 also undoes a step that raised midway.
        rollbacks: times that one snapshot is restored before the run stops.
        lr_factor: what each of them multiplies the learning rate by, above 0 and at most 1.

    Raises:
        ValueError: a rung is out of its range.

    >>> Ladder(rollbacks=2).skips
    50
    """

    skips: int = 50
    snapshot_every: int | None = None
    rollbacks: int = 3
    lr_factor: float = 0.5

    def __post_init__(self) -> None:
        whole("skips", self.skips, 0)
        whole("rollbacks", self.rollbacks, 0)
        if self.snapshot_every is not None:
            whole("snapshot_every", self.snapshot_every, 1)
        if not 0 < self.lr_factor <= 1:
            raise ValueError(not_allowed("lr_factor", "must be above 0 and at most 1", self.lr_factor))
