"""The variance map with its fixed points, and the correlation map with its iterates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steadygrad.theory.activations import activation
from steadygrad.theory.correlation_map import gap_map
from steadygrad.theory.moments import Spec, moments
from steadygrad.theory.variance_map import fixed_points
from steadygrad.theory.variance_map import variance_map as mapped

from .chart import lines, titled

if TYPE_CHECKING:
    import altair as alt


def variance_map(phi: Spec, *, sigma_w: float, sigma_b: float = 0.0, largest: float | None = None) -> alt.LayerChart:
    """Return V(q) against the diagonal, its fixed points marked.

    Args:
        phi: a name, an `Activation` or a callable.
        sigma_w: the weight's scale.
        sigma_b: the bias's scale.
        largest: the largest q drawn; by default a little beyond the last fixed point.

    >>> type(variance_map("tanh", sigma_w=1.3, sigma_b=0.3)).__name__
    'LayerChart'
    """
    entry = activation(phi)
    found = fixed_points(entry, sigma_w=sigma_w, sigma_b=sigma_b).points
    top = largest or max([2.0, *(2 * p.q for p in found)])
    grid = np.linspace(0, top, 101).tolist()
    curve = [{"q": q, "V(q)": mapped(entry, q, sigma_w=sigma_w, sigma_b=sigma_b)} for q in grid]
    diagonal = [{"q": 0.0, "V(q)": 0.0}, {"q": top, "V(q)": top}]
    fixed = [{"q": p.q, "V(q)": p.q, "fixed point": "stable" if p.stable else "not stable"} for p in found]
    layers = [lines(curve, x="q", y="V(q)"), lines(diagonal, x="q", y="V(q)", dash=True)]
    layers += [lines(fixed, x="q", y="V(q)", color="fixed point", points=True)] if fixed else []
    return titled(*layers, title=f"Variance map of {entry}, sigma_w = {sigma_w:.3g}, sigma_b = {sigma_b:.3g}")


def correlation_map(
    phi: Spec,
    *,
    q: float = 1.0,
    sigma_w: float | None = None,
    sigma_b: float = 0.0,
    start: float = 0.0,
    layers: int = 8,
) -> alt.LayerChart:
    """Return the correlation map against the diagonal, with the iterates of one pair of inputs as a staircase.

    Args:
        phi: a name, an `Activation` or a callable.
        q: variance of the pre-activations.
        sigma_w: the weight's scale; by default the one that keeps q.
        sigma_b: the bias's scale.
        start: the pair's first correlation.
        layers: iterates drawn.

    >>> type(correlation_map("relu")).__name__
    'LayerChart'
    """
    entry = activation(phi)
    second = moments(entry, q).second
    share = sigma_w**2 * second / q if sigma_w is not None else 1 - sigma_b**2 / q

    def following(c: float) -> float:
        return 1 - share * float(gap_map(entry, q, 1 - c))

    curve = [{"c": c, "next c": following(c)} for c in np.linspace(-1, 1, 101).tolist()]
    diagonal = [{"c": -1.0, "next c": -1.0}, {"c": 1.0, "next c": 1.0}]
    steps, c = [{"c": start, "next c": start, "order": 0}], start
    for i in range(layers):
        after = following(c)
        steps += [
            {"c": c, "next c": after, "order": 2 * i + 1},
            {"c": after, "next c": after, "order": 2 * i + 2},
        ]
        c = after
    stairs = lines(steps, x="c", y="next c").mark_line(color="#d62728", strokeWidth=1).encode(order="order:Q")
    title = f"Correlation map of {entry}, q = {q:.3g}, from c = {start:g}"
    return titled(lines(curve, x="c", y="next c"), lines(diagonal, x="c", y="next c", dash=True), stairs, title=title)
