"""The phase diagram: the edge of chaos, and how deep signals reach on either side of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from steadygrad.theory.activations import Activation, activation
from steadygrad.theory.edge_of_chaos import edge_of_chaos_curve
from steadygrad.theory.moments import Spec, moments

from .chart import lines

if TYPE_CHECKING:
    import altair as alt


def phase_diagram(
    phi: Spec, *, largest_weight: float = 3.0, largest_bias: float = 0.5, points: int = 20
) -> alt.LayerChart:
    """Return the plane of (sigma_w^2, sigma_b^2) coloured by the depth scale, with the edge of chaos.

    The colour is xi_c = 1/|ln chi_1| at the fixed point that a unit variance reaches, cut at 100 layers.

    Args:
        phi: a name, an `Activation` or a callable.
        largest_weight: the largest sigma_w^2.
        largest_bias: the largest sigma_b^2.
        points: of the grid, along each side.

    >>> type(phase_diagram("tanh", points=3)).__name__
    'LayerChart'
    """
    import altair as alt

    entry = activation(phi)
    step_w, step_b = largest_weight / points, largest_bias / points
    cells = [
        {
            "sigma_w^2": i * step_w,
            "right": (i + 1) * step_w,
            "sigma_b^2": j * step_b,
            "top": (j + 1) * step_b,
            "xi_c": _depth(entry, (i + 0.5) * step_w, (j + 0.5) * step_b),
        }
        for i in range(points)
        for j in range(points)
    ]
    field = (
        alt.Chart({"values": cells})
        .mark_rect()
        .encode(
            x=alt.X("sigma_w^2:Q", title="sigma_w^2", scale=alt.Scale(domain=[0, largest_weight], clamp=True)),
            x2="right:Q",
            y=alt.Y("sigma_b^2:Q", title="sigma_b^2", scale=alt.Scale(domain=[0, largest_bias], clamp=True)),
            y2="top:Q",
            color=alt.Color("xi_c:Q", title="xi_c, layers", scale=alt.Scale(type="log", scheme="viridis")),
        )
    )
    edge = lines(_edge(entry, largest_weight, largest_bias), x="sigma_w^2", y="sigma_b^2")
    title = f"Phases of {entry}: ordered left, chaotic right of the edge of chaos"
    line = edge.mark_line(color="white", strokeWidth=2)
    return alt.LayerChart(layer=[field.properties(width=360, height=240), line], title=title)


def _depth(entry: Activation, weight: float, bias: float) -> float:
    q = 1.0
    for _ in range(200):
        before, q = q, min(weight * moments(entry, q).second + bias, 1e6)
        if abs(q - before) < 1e-6 * before or q < 1e-12:
            break
    chi = weight * moments(entry, max(q, 1e-12)).derivative_second
    return min(100.0, 1 / abs(math.log(chi))) if chi not in (0.0, 1.0) else 100.0 * chi + 0.1 * (1 - chi)


def _edge(entry: Activation, largest_weight: float, largest_bias: float) -> list[dict[str, float]]:
    curve = edge_of_chaos_curve(entry, np.geomspace(1e-4, 1e2, 200))
    pairs = np.stack([curve.sigma_w**2, curve.sigma_b**2], axis=1)
    inside = (pairs[:, 0] <= largest_weight) & (pairs[:, 1] <= largest_bias)
    return [{"sigma_w^2": w, "sigma_b^2": b} for w, b in pairs[inside].tolist()]
