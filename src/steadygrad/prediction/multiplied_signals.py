"""A product of two independent signals, as a function of one Gaussian, and what goes back to either factor.

What a gate leaves is no Gaussian: it is near zero where the gate is closed, and large where both factors are. So the
largest of many, and what a function cuts off, are those of the product's own distribution, the two folded; it is held
as the quantile function h at Φ(Z), as a folded sum is (side_by_side.py). A gradient that was multiplied by w(P) of the
product P = f(x) g(y) goes back to x as w(P) g(y), whose square is E[w² g² | x]: where only the largest of P get it, it
is met by large factors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .batch import Batch
from .hermite import tables
from .propagation import squares_vary
from .side_by_side import distributed, quantiles
from .source import Source, Wave
from .steps import before_factor
from .values import Array, Moments


def folded_product(x: Wave, y: Wave, m: Moments, units: float, batch: Batch) -> tuple[Wave, Moments] | None:
    """Return x y, two independent functions of Gaussians, as one of these moments; None where it has no slope."""
    first, second, w = x.values.mean(0), y.values.mean(0), tables()[1]
    one = replace(m, field=m.field and m.field.of_one(units, batch.size))
    found = distributed(quantiles(np.outer(first, second), np.outer(w, w)), one, units, batch)
    if found is None:
        return None
    wave, values, factor = found
    assert wave.source is not None
    wave.source.factors = Wave(x.source, first[None] * factor), Wave(y.source, second[None]), values
    return wave, replace(m, unit_variance=squares_vary(wave, batch))


def to_factor(met: Wave, through: Source | None, m: Moments) -> tuple[Wave, Moments, Moments] | None:
    """Return what a gradient, times one factor, has met of the other, and its moments before and after.

    None where it was not multiplied by a function of a product of which this is a factor.

    Args:
        met: the function of the product that the gradient was multiplied by.
        through: the source of the factor that it is multiplied by on its way to the other.
        m: of that, were the factor independent of what was met.
    """
    product = met.source
    if product is None or product.factors is None or through is None:
        return None
    x, y, values = product.factors
    if x.source is not through and y.source is not through:
        return None
    if x.source is through:
        x, y = y, x
    if x.source is None:
        return None
    w = tables()[1]
    passed = (_at_product(met, values, x, y) * y.values) ** 2 @ w
    apart = float((met.values.mean(0) ** 2) @ w) * float(y.values[0] ** 2 @ w)
    size = float(passed @ w)
    if not (size > 0 and apart > 0):
        return None
    favour = size / apart
    after = replace(m, mean=m.mean * favour**0.5, q=m.q * favour, d=m.d * favour)
    factor = np.sqrt(passed / size)[None]
    return Wave(x.source, factor), before_factor(after, x.source, factor), after


def _at_product(wave: Wave, values: Array, x: Wave, y: Wave) -> Array:
    """Return a function of a product at the nodes of both of its factors, [nodes of x, nodes of y]."""
    z = tables()[0]
    return np.asarray(np.interp(np.interp(np.outer(x.values[0], y.values[0]), values, z), z, wave.values.mean(0)))
