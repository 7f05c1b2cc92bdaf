"""Schemes that look at each layer alone: Xavier and He."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steadygrad.init.parameters import Parameter
from steadygrad.init.recipes import Normal
from steadygrad.init.variance_scaling import fan

from .choice import Choice, Chosen


def by_fans(parameters: Sequence[Parameter], *, gain: float, mode: str, reason: str) -> Chosen:
    """Return N(0, gain² / fan) for every weight, and for the rest what it ever starts as.

    >>> by_fans([], gain=1.0, mode="fan_avg", reason="").choices
    {}
    """
    return Chosen(choices={p.name: _choice(p, gain, mode, reason) for p in parameters})


def _choice(p: Parameter, gain: float, mode: str, reason: str) -> Choice:
    if p.fans is None:
        assert p.plain is not None
        return Choice(p.plain, "as ever")
    return Choice(Normal(gain / math.sqrt(fan(p.fans, mode))), reason)
