"""A sum of two independent signals, as a function of one Gaussian: its entries are distributed as the sum's are.

A stream that was rectified is no Gaussian, and a branch that joins it does not make it one: how often the sum is below
zero says what the next rectifier leaves. The sum's distribution is that of the two, folded; it is held as the quantile
function h at Φ(Z), and Z's correlations over examples and positions are those with which h(Z) has the sum's. So is a
product with numbers that do not depend on the signal, as rates of decay: it has the sign that it has.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from .batch import Batch
from .decays import GRID
from .field import Field
from .hermite import Expansion, decay, expand, tables
from .propagation import squares_vary
from .source import Source, Wave, at_both, sensitivity
from .spread import CERTAIN
from .values import Array, Moments

NUMBERS = 64  # quantiles that known numbers are taken at
STEEP = 0.1  # slope of log E[h²] above which sizes tell those of the source entry by entry
LEAST = 1e-3  # slope of log E[h²] below which a spread has no source to come from


def folded(x: Wave, y: Wave, sign: float, m: Moments, units: float, batch: Batch) -> Wave | None:
    """Return x + sign y, two independent functions of Gaussians, as one of these moments; None where h has no slope.

    The field of the moments is that which one of the units is drawn with.
    """
    first, second, w = x.values.mean(0), sign * y.values.mean(0), tables()[1]
    found = distributed(quantiles(first[:, None] + second, np.outer(w, w)), m, units, batch)
    if found is None:
        return None
    wave, values, factor = found
    assert wave.source is not None
    wave.source.settled = min(t.source.settled if t.source else 0 for t in (x, y))
    wave.source.terms = Wave(x.source, first[None] * factor), Wave(y.source, second[None] * factor), values
    return wave


def multiplied(x: Wave, numbers: Array, weights: Array, m: Moments, units: float, batch: Batch) -> Wave | None:
    """Return x times numbers of these probabilities, whatever x is, as a function of one Gaussian of these moments."""
    reached = np.cumsum(weights[order := np.argsort(numbers)]) - weights[order] / 2
    known = np.interp((np.arange(NUMBERS) + 0.5) / NUMBERS, reached, numbers[order])
    both = quantiles(known[:, None] * x.values.mean(0), np.outer(np.full(NUMBERS, 1 / NUMBERS), tables()[1]))
    found = distributed(both, m, units, batch)
    return found[0] if found else None


def together_distributed(waves: list[Wave], m: Moments, units: float, batch: Batch) -> Wave | None:
    """Return as many entries of each of some functions as one of these moments; None where it has no slope."""
    values = np.stack([wave.values.mean(0) for wave in waves])
    whole = quantiles(values, np.broadcast_to(tables()[1] / len(waves), values.shape))
    found = distributed(whole, m, units, batch)
    return found[0] if found else None


def distributed(values: Array, m: Moments, units: float, batch: Batch) -> tuple[Wave, Array, float] | None:
    """Return the function of one Gaussian that has these values on its nodes, times a factor, and these moments.

    With the values and the factor; None where the function has no slope.
    """
    size, q = float(values**2 @ tables()[1]), float(m.q.mean())
    if not (size > 0 and q > 0):
        return None
    factor = (q / size) ** 0.5
    values = values * factor
    h = expand(values[None])
    s = sensitivity(h)
    if s < LEAST:
        return None
    gap = _gaps(m.d / np.maximum((m.q[:, None] + m.q) / 2, 1e-300), h)
    field = m.field and _of_argument(m.field, h, s, batch)
    sizes = np.sqrt(m.q / q)
    source = Source(np.zeros(len(sizes)), sizes, gap, units, m.spread.scaled(1 / s), CERTAIN, 0.0, field=field)
    wave = Wave(source, sizes[: len(source.nodes), None] * values)
    source.own_variance = squares_vary(wave, batch) / (s * s)  # what the square varies by is in its spread
    return wave, values, factor


def _of_argument(field: Field, h: Expansion, power: float, batch: Batch) -> Field:
    """Return the field of Z, given that of h(Z): what products vary by goes by the slope of the map of differences."""
    found = field.powered(1 / power).mapped(lambda lags: _gaps(lags, h))
    before, after = field.gap(batch.size), found.gap(batch.size)
    slope = after / before if before > 0 else 1.0
    known = field.gram if power > STEEP else None
    gram = known and known.argument(lambda gaps: _gaps(gaps, h), power)
    return replace(found, beyond=np.minimum(field.beyond * slope * slope, 1.0), gram=gram)


def as_met(wave: Wave) -> Wave | None:
    """Return what a factor that a folded sum makes is on average, squared, given the term that is no Gaussian.

    Where a rectified stream was zero the sum with a branch is as often below zero as above; elsewhere it hardly ever
    is. None where the factor is of no such sum.
    """
    if wave.source is None or wave.source.terms is None:
        return None
    x, y, _ = wave.source.terms
    if _is_line(x.values[0]):
        x, y = y, x
    if x.source is None or _is_line(x.values[0]):
        return None
    return Wave(x.source, (at_both(wave, x, y) ** 2 @ tables()[1])[None])


def given_branch(wave: Wave) -> tuple[Wave, Wave] | None:
    """Return what a factor that a folded sum makes is on average, and squared, given the term that is Gaussian."""
    if wave.source is None or wave.source.terms is None:
        return None
    x, y, _ = wave.source.terms
    if _is_line(x.values[0]):
        x, y = y, x
    if y.source is None or not _is_line(y.values[0]):
        return None
    found = at_both(wave, y, x)
    return Wave(y.source, (found @ tables()[1])[None]), Wave(y.source, (found**2 @ tables()[1])[None])


def _is_line(values: Array) -> bool:
    return bool(np.ptp(np.diff(values) / np.diff(tables()[0])) < 1e-6 * float(np.abs(values).max()))


def quantiles(values: Array, weights: Array) -> Array:
    """Return the values, at the nodes of a normal, of the increasing function of it that has this distribution."""
    order = np.argsort(flat := values.ravel(), kind="stable")
    weights = weights.ravel()[order]
    below, above = np.cumsum(weights), np.cumsum(weights[::-1])[::-1]
    scores = np.where(below < above, ndtri(below - weights / 2), -ndtri(above - weights / 2))
    return np.asarray(np.interp(tables()[0], scores, flat[order]))


def _gaps(apart: Array, h: Expansion) -> Array:
    """Return by how much Z differs where h(Z) differs by this much, relative to its second moment."""
    found = np.maximum.accumulate(decay(GRID) @ h.plain[0] ** 2 / float(h.q[0]))
    return np.asarray(np.interp(apart, found, GRID))
