"""Whether a profile's signal and gradient survive, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steadygrad.numbers import count, short
from steadygrad.profile import LayerSignal, Profile

Fate = Literal["vanishes", "shrinks", "keeps its size", "grows", "explodes", "is not known"]

DEPTH_SCALES = 6.0
"""Networks train to about six depth scales: a factor e^-6 from end to end (Schoenholz et al., 2017, section 5)."""

STEADY = math.log(2.0)
"""Within a factor of two from end to end a scale is said to keep its size."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of a scale from end to end.

    Attributes:
        what: what is carried, ``"signal"`` or ``"gradient"``.
        fate: what becomes of it.
        total: the last value over the first; NaN where it is not known.
        steps: layers in between.
    """

    what: str
    fate: Fate
    total: float
    steps: int

    @property
    def survives(self) -> bool:
        """Whether a network of this depth is within what trains.

        >>> verdict_of("signal", [1.0, 1e-9]).survives
        False
        """
        return self.fate in ("shrinks", "keeps its size", "grows")

    def __str__(self) -> str:
        if math.isnan(self.total):
            return f"The {self.what} is not known."
        over = f"x {short(self.total)} over {count(self.steps, 'layer')}"
        if not self.steps or not 0 < self.total < math.inf:  # what a double cannot hold has no rate a layer
            return f"The {self.what} {self.fate}: {over}."
        return f"The {self.what} {self.fate}: {over}, x {self.total ** (1 / self.steps):.3f} a layer."


def verdict_of(what: str, values: Sequence[float]) -> Verdict:
    """Return what becomes of a scale that takes these values, in the direction in which it travels.

    >>> print(verdict_of("gradient", [1.0, 0.5, 0.25]))
    The gradient shrinks: x 0.25 over 2 layers, x 0.500 a layer.
    """
    steps = max(len(values) - 1, 0)
    total = values[-1] / values[0] if values and values[0] > 0 else math.nan
    return Verdict(what=what, fate=_fate(total), total=total, steps=steps)


def _fate(total: float) -> Fate:
    if math.isnan(total):
        return "is not known"
    logarithm = math.log(total) if total > 0 else -math.inf
    if abs(logarithm) <= STEADY:
        return "keeps its size"
    if abs(logarithm) <= DEPTH_SCALES:
        return "grows" if logarithm > 0 else "shrinks"
    return "explodes" if logarithm > 0 else "vanishes"


def verdicts(profile: Profile) -> tuple[Verdict, Verdict]:
    """Return the verdict on what differs between examples, q(1 - c), and on the gradient's second moment.

    >>> forward, backward = verdicts(Profile(layers=(), source="theory"))
    >>> forward.fate
    'is not known'
    """
    rows = weighted(profile)
    forward = verdict_of("signal", [row.signal for row in rows])
    return forward, verdict_of("gradient", [row.grad_q for row in reversed(rows)])


def weighted(profile: Profile) -> list[LayerSignal]:
    """Return the rows of the layers with weights: an activation's output is on another scale.

    >>> weighted(Profile(layers=(LayerSignal(path="1", kind="ReLU"),), source="theory"))
    []
    """
    return [row for row in profile if row.fan_in is not None]
