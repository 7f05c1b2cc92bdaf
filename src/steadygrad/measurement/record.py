"""What a trial writes down while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Record:
    """The entries of a `Trial`, as far as it came."""

    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    update_ratios: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    batches_per_pass: int | None = None
    nonfinite: str = ""
    ended: str = ""
