"""What borders take of a signal varies with where it lies.

A place near a border of zeros is met by fewer windows. With w the share of each place in q, w' that in the sum over
windows, and ℓ the log of the batch's mean square at a place, over draws,

    log q = Σ w ℓ,    log q' = Σ w' ℓ = log q + M,    Var(log q') = V(w'),  Var(M) = V(w' - w),

V(w) = Σ w w' Cov(ℓ, ℓ') over pairs of places. A draw in which the signal lies in the middle loses less in each layer,
until it lies there as all do: M goes with log q. Approximate: all noises behind log q take part alike. Of n places
along each axis a layer takes (π/n)²/3, so of large grids it is next to nothing, and left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .lags import MOST
from .spread import Noises
from .values import Array, Moments


def lost(m: Moments, met: Array, noises: Noises) -> Moments:
    """Return the moments with the spread of what is left where each place is met so many times, [*positions]."""
    field = m.field
    if field is None or field.count > MOST or not np.ptp(met) > 0 or not np.ptp(field.drifting) > 0:
        return m
    before, after = (x / max(x.sum(), 1e-300) for x in (field.share, field.share * met))
    old, new, further = field.of_sums(np.stack([before, after, after - before]))
    known = noises.covariance(m.spread, m.spread)[0]
    further = max(further, 0.0)
    most = (further * known) ** 0.5
    along = min(max((new - old - further) / 2, -most), most)
    share = along / known if known > 0 else 0.0
    own = noises.fresh(further - share * along)
    # the mean of q is known: a log of this variance lies half of that below
    spread = m.spread.plus(m.spread.centred.scaled(share)).plus(own).shifted(-along * (1 + share / 2))
    return replace(m, spread=spread)
