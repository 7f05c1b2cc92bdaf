"""A gradient at one step of those that were stacked: a function of the source that this step is a function of.

Of steps that are stacked any entry is H(Z), as all of them are distributed, and at one step it is f(z) of the source of
that step. So what a gradient was multiplied by at Z is at this step met at Z = H⁻¹(f(z)): where the largest of all
steps gets a gradient, a step gets it where it is large, and so is what it goes back through.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .hermite import expand, tables
from .source import Source, Wave
from .values import Array, Moments

LEAST = 1e-3  # of what two examples have in common, that a function leaves: of less, what was before is not known


def at_step(wave: Wave, m: Moments, step: int) -> tuple[Wave, Moments] | None:
    """Return what a gradient of these moments was multiplied by at a step, and the gradient before; None if unknown.

    The factor has a mean square of one.
    """
    source = wave.source
    if source is None or source.steps is None or step >= len(source.steps[0]):
        return None
    waves, values = source.steps
    own = waves[step]
    assert own.source is not None
    reached = np.interp(own.values, values, tables()[0])
    factor = np.interp(reached, tables()[0], wave.values.mean(0))
    size = float((factor**2).mean(0) @ tables()[1])
    if not size > 0:
        return None
    factor = factor / size**0.5
    return Wave(own.source, factor), before_factor(m, own.source, factor)


def before_factor(m: Moments, source: Source, factor: Array) -> Moments:
    """Return a gradient of these moments before it was multiplied by a function of mean square one.

    Of what two examples have in common the function took a part.
    """
    kept = np.maximum(1 - source.difference(expand(factor)), LEAST)
    d = np.maximum((m.q[:, None] + m.q) / 2 - m.product / kept, 0.0)
    np.fill_diagonal(d, 0.0)
    return replace(m, d=d)
