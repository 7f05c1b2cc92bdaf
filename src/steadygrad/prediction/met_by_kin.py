"""A gradient that went through a function of one source and meets a function of another that is kin to the first.

As where a gate is met by the gradient of what it gates: the sum behind is rectified, and it is positive where the gated
signal is. With c the correlation of the two sources, E[h f] = Σ h_n f_n c^n and E[h² f²] likewise (Mehler 1866). Two
examples or positions have (E[h f])² of the product of their gradients in common, where they had (E[h] E[f])².
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .batch import Batch
from .field import Field
from .hermite import decay, expand, over_rows
from .kinship import Kinship
from .side_by_side import given_branch
from .source import Wave
from .values import Array, Moments

LEAST = 1e-3  # of a correlation that is followed


def met_by_kin(found: Moments, g: Moments, h: Wave, f: Wave, kinship: Kinship, batch: Batch) -> Moments:
    """Return the moments of g h f, `found` as if f were independent of h, where their sources are correlated."""
    first, square = given_branch(h) or (h, Wave(h.source, h.values**2))
    if first.source is None or f.source is None or not found.q.any():
        return found
    c = kinship.correlation(first.source, f.source)[0]
    if abs(c) < LEAST:
        return found
    alone, both = _joint(first.values, f.values, c)
    squares = _joint(square.values, f.values**2, c)
    return _leaning(found, g, both**2 - alone**2, max(squares[1] / max(squares[0], 1e-300), 0.0), batch)


def _joint(a: Array, b: Array, c: float) -> tuple[float, float]:
    """Return E[a] E[b] and E[a b] of functions of two sources."""
    one, two = (expand(over_rows(values)[None]) for values in (a, b))
    masses = one.plain[0] * two.plain[0]
    return float(one.mean[0] * two.mean[0]), float(masses.sum() - (decay(np.array([1 - c])) @ masses)[0])


def _leaning(found: Moments, g: Moments, lean: float, favour: float, batch: Batch) -> Moments:
    """Return the moments with a second moment `favour` as large, and products larger by `lean` times those of g."""
    q = found.q * favour
    product = found.product + batch.off_diagonal(1.0) * g.product * lean
    d = np.clip((q[:, None] + q) / 2 - product, 0.0, q[:, None] + q)
    np.fill_diagonal(d, 0.0)
    field = found.field
    if field is not None and g.field is not None and field.sizes == g.field.sizes:
        before, size = float(found.q.mean()), max(float(q.mean()), 1e-300)
        field = _field(field, g.field, before / size, lean * float(g.q.mean()) / size)
    return replace(found, q=q, d=d, field=field)


def _field(found: Field, g: Field, kept: float, lean: float) -> Field:
    within, across = (
        np.clip(1 - (1 - gap) * kept - (1 - other) * lean, 0.0, 2.0)
        for gap, other in ((found.within, g.within), (found.across, g.across))
    )
    within.flat[0] = 0.0
    own, other = (kept * (1 - a) + lean * (1 - b) for a, b in zip(found.mean(), g.mean(), strict=True))
    return replace(found, within=within, across=across, in_all=found.in_all and (own, other))
