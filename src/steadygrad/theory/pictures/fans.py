"""Xavier's compromise: what fan_in, fan_out and their mean keep, forward and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steadygrad.theory.initializers import forward_and_backward

from .chart import lines, titled

if TYPE_CHECKING:
    import altair as alt


def forward_and_backward_factors(*, fan_in: int = 256) -> alt.LayerChart:
    """Return the factor of a linear layer on the signal and on the gradient against fan_out / fan_in.

    >>> type(forward_and_backward_factors()).__name__
    'LayerChart'
    """
    fans = np.unique(np.geomspace(fan_in / 8, fan_in * 8, 49).astype(int)).tolist()
    rows = []
    for name, shown in (
        ("lecun-normal", "fan_in"),
        ("lecun-fan-out-normal", "fan_out"),
        ("xavier-normal", "fan_avg (Xavier)"),
    ):
        for fan_out in fans:
            pair = forward_and_backward(name, fan_in, fan_out)
            for way, factor in zip(("signal", "gradient"), pair, strict=True):
                rows.append({"fan_out / fan_in": fan_out / fan_in, "factor": factor, "kept": f"{shown}: {way}"})
    title = "What a linear layer does to second moments"
    return titled(lines(rows, x="fan_out / fan_in", y="factor", color="kept", x_log=True, y_log=True), title=title)
