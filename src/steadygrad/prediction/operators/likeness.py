"""What keeps to its input, but for its size: a norm, a mean of values by attention, a mask.

So what two signals have in common, as where layers are copies of each other, is followed through it (kinship.py).
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace

from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.kinship import Like
from steadygrad.prediction.values import Signal, Value

from .positions import as_signal


def like_its_input(rule: Rule) -> Rule:
    """Return the rule with its first outcome known as its first argument, longer or shorter."""

    @functools.wraps(rule)
    def ruled(run: Interpreter, call: Call) -> Value | tuple[Value, ...]:
        found = rule(run, call)
        first = found[0] if isinstance(found, tuple) else found
        x = as_signal(run, run.value(call.args[0])) if run.remembers and isinstance(first, Signal) else None
        if x is None or not isinstance(first, Signal):
            return found
        known = like(first, x)
        return (known, *found[1:]) if isinstance(found, tuple) else known

    return ruled


def like(y: Signal, x: Signal) -> Signal:
    """Return a signal with another for its origin, that it is as long a multiple of as its size says."""
    size, of = float(y.moments.q.mean()), float(x.moments.q.mean())
    if not (size > 0 and of > 0):
        return y
    moments = replace(y.moments, origin=Like(((x.moments, math.sqrt(size / of)),)))
    if y.wave is not None and y.wave.source is not None and y.base is None and y.wave.gaussian:
        y.wave.source.root = moments
    return replace(y, moments=moments, base=None if y.base is None else moments)
