"""The spectrum of the input-output Jacobian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from steadygrad.theory.jacobian import Weights, jacobian_density
from steadygrad.theory.moments import Spec

from .chart import lines, titled

if TYPE_CHECKING:
    import altair as alt


def jacobian_spectrum(
    phi: Spec, *, q: float = 1.0, sigma_w: float, depths: Sequence[int] = (2, 4, 16), weights: Weights = "gaussian"
) -> alt.LayerChart:
    """Return the density of singular values (not squared) for some depths.

    Args:
        phi: an activation whose slope is 0 or 1.
        q: variance of the pre-activations.
        sigma_w: the weights' scale.
        depths: a line each.
        weights: "gaussian" or "orthogonal".

    >>> type(jacobian_spectrum("identity", sigma_w=1.0)).__name__
    'LayerChart'
    """
    rows = []
    for depth in depths:
        found = jacobian_density(phi, q=q, sigma_w=sigma_w, depth=depth, weights=weights, points=120)
        for z, density in zip(found.value.tolist(), found.density.tolist(), strict=True):
            if z > 1e-3:
                shown = {"singular value": math.sqrt(z), "density": 2 * math.sqrt(z) * density}
                rows.append({**shown, "depth": str(depth)})
    title = f"Singular values of the Jacobian, {phi}, {weights} weights"
    return titled(lines(rows, x="singular value", y="density", color="depth"), title=title)
