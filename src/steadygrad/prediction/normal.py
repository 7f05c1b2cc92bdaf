"""A tensor that is taken as Gaussian, whatever it was made of, with the moments that it has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .batch import Batch
from .linear_map import correlation_gap
from .source import Source, Wave
from .spread import CERTAIN
from .values import Moments, Signal


def gaussian(m: Moments, units: float, batch: Batch) -> Source:
    """Return a Gaussian source with these moments."""
    variance = np.maximum(m.q - m.mean**2, 0.0)
    std = np.sqrt(variance)
    d = m.d - (m.mean[:, None] - m.mean) ** 2 / 2
    gap = correlation_gap(d, std)
    if m.field and m.field.parted:
        gap = m.field.parted.angle(gap, batch)
    product = np.outer(std, std) * (1 - gap)
    size = max(float(m.q.mean()) ** 2, 1e-300)
    varying = batch.bounded(m.varying, m.product, m.q)
    own = 2 * (batch.pair_mean(product**2) / size + batch.pair_mean(varying))
    if m.field:
        own *= m.field.overlap(batch.size)
    field = m.field and m.field.of_one(units, batch.size)
    return Source(m.mean, std, gap, units, m.spread, CERTAIN, own, field=field)


def taken_as_gaussian(x: Signal, units: float, batch: Batch) -> Signal:
    """Return a signal as a Gaussian with its moments: approximate."""
    source = gaussian(x.moments, units, batch)
    m = replace(x.moments, unit_variance=source.own_variance)
    return replace(x, moments=m, wave=Wave(source, source.nodes, gaussian=True), mark="approximate")
