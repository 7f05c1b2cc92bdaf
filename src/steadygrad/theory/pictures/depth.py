"""Signals and gradients with depth, and the band that finite width puts around them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from steadygrad.profile import Profile
from steadygrad.theory.finite_width import depth_laws
from steadygrad.theory.moments import Spec

from .chart import lines, titled

if TYPE_CHECKING:
    import altair as alt


def signal_with_depth(
    profiles: Mapping[str, Profile], *, column: Literal["q", "signal", "grad_q", "c"] = "q", title: str = ""
) -> alt.LayerChart:
    """Return one column of some profiles against the layer, a line a profile; rows of Linear layers only.

    Args:
        profiles: named profiles of `mlp`.
        column: q, signal, grad_q (logarithmic) or c.
        title: of the chart.

    >>> from steadygrad.theory import mlp
    >>> type(signal_with_depth({"he": mlp(depth=2, width=8, activation="relu")})).__name__
    'LayerChart'
    """
    rows = [
        {"layer": i + 1, column: getattr(row, column), "initializer": name}
        for name, profile in profiles.items()
        for i, row in enumerate(r for r in profile if r.kind == "Linear")
    ]
    shown = [row for row in rows if column == "c" or 1e-300 < row[column] < math.inf]
    return titled(lines(shown, x="layer", y=column, color="initializer", y_log=column != "c"), title=title)


def norm_band(phi: Spec, *, width: int, depth: int) -> alt.LayerChart:
    """Return the median and the 95% band of the normalised squared norm with depth, at one width.

    Args:
        phi: a homogeneous activation, such as ReLU.
        width: of every layer.
        depth: layers drawn.

    >>> type(norm_band("relu", width=32, depth=5)).__name__
    'LayerChart'
    """
    laws = depth_laws(phi, [width] * depth)
    rows = [
        {"layer": i + 1, "squared norm": math.exp(law.quantile(p)), "quantile": name}
        for i, law in enumerate(laws)
        for name, p in (("97.5%", 0.975), ("median", 0.5), ("2.5%", 0.025))
    ]
    title = f"Squared norm of a {phi} network of width {width} over draws; its mean is 1"
    return titled(lines(rows, x="layer", y="squared norm", color="quantile", y_log=True), title=title)
