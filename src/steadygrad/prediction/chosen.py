"""What goes back to the largest of each window: to one place of it, by a chance that depends on what stands there.

Of two places of a window one gets nothing, so they have nothing in common; of two windows the gradients meet where
both were chosen, by E[p p'] of the chances p(z) and p(z'). A gradient times √p has the right squares, as one place
gets all of it or nothing, but E[√p √p'] in place of that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .decays import decayed
from .field import Array, Field
from .hermite import expand
from .source import Source
from .values import Moments
from .windows import Window, products, spread_back, spread_lags


def sent_back(m: Moments, windows: list[Window]) -> Moments:
    """Return the moments of a gradient that each window gives to all of its places alike, but to one at a time."""
    assert m.field is not None
    apart = m.field.within.copy()
    apart.flat[0] = 1.0
    whole, one = spread_back(m, windows), spread_back(replace(m, field=replace(m.field, within=apart)), windows)
    assert whole.field is not None
    assert one.field is not None
    return replace(whole, field=replace(whole.field, within=one.field.within))


def met_by_chance(m: Moments, source: Source, field: Field, chances: Array, windows: list[Window]) -> Moments:
    """Return a gradient that, times √p, has in common what one has that is sent on by these chances.

    Of any two windows one place each is chosen, so over their places E[p p'] adds up to one, whatever places have in
    common that does not tell which of them is larger.

    Args:
        m: over the places that were pooled.
        source: of what was pooled.
        field: how its places differ.
        chances: of being chosen, on the nodes of the source.
        windows: along each axis.
    """
    assert m.field is not None
    rooted, known = (expand(np.sqrt(x)[None]).plain[0] ** 2 for x in (chances, chances**2))
    mean = float(known[0])

    def both(gaps: Array) -> Array:
        return np.asarray((float(known.sum()) - decayed(gaps, known)) / mean)

    def roots(gaps: Array) -> Array:
        return np.maximum((float(rooted.sum()) - decayed(gaps, rooted)) / mean, 1e-300)

    gaps = [1 - c for c in field.correlations]
    summed = [spread_lags(products(both(gap), windows), windows) for gap in gaps]
    within, across = (
        1 - (1 - lags) * both(gap) / whole / roots(gap)
        for lags, gap, whole in zip((m.field.within, m.field.across), gaps, summed, strict=True)
    )
    within.flat[0] = 0.0
    product = m.product * both(source.gap) / float(summed[1].flat[0]) / roots(source.gap)
    d = (m.q[:, None] + m.q) / 2 - product
    np.fill_diagonal(d, 0.0)
    return replace(m, d=d, field=replace(m.field, within=within, across=across))
