"""What one forward and backward showed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from steadygrad.profile import Profile

from .first_nonfinite import FirstNonfinite


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a row of the profile leaves out.

    Attributes:
        module: the module that was called.
        entries: entries of the output for one example.
        sources: row that made the input, as far as the very tensor was handed on; empty after other operators.
        entering_q: second moment of a weighted layer's input; NaN for other modules.
        entering_signal: what differs between examples there.
        units: units of a pointwise activation; 0 for other modules.
    """

    module: nn.Module
    entries: int
    sources: tuple[int, ...]
    entering_q: float
    entering_signal: float
    units: int


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A measured profile and what rules need beside it.

    Attributes:
        profile: a row a call.
        calls: as many, in the same order.
        first_nonfinite: where the first NaN or infinity appeared; None where all is finite.
        input_q: second moment of the input.
        input_signal: what differs between examples there.
    """

    profile: Profile
    calls: tuple[Call, ...]
    first_nonfinite: FirstNonfinite | None
    input_q: float
    input_signal: float
