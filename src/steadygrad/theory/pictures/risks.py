"""Dead units, clipped steps and broken softmaxes, against what causes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from steadygrad.theory.clipping import GradientNorm
from steadygrad.theory.dead_units import born_dead, dead_after_step
from steadygrad.theory.softmax_at_init import softmax_at_init

from .chart import lines, titled

if TYPE_CHECKING:
    import altair as alt


def dead_units(*, widths: Sequence[int] = (2, 3, 5, 8, 12), deepest: int = 100) -> alt.HConcatChart:
    """Return the probability of a born-dead network with depth, and of a unit's death after a step.

    >>> type(dead_units(deepest=5)).__name__
    'HConcatChart'
    """
    import altair as alt

    depths = np.unique(np.geomspace(1, deepest, 25).astype(int)).tolist()
    born = [
        {"depth": depth, "probability": born_dead([n] * depth).one_input, "width": str(n)}
        for n in widths
        for depth in depths
    ]
    steps = [
        {
            "relative step": step,
            "probability": dead_after_step(step, fan_in=256, examples=100, c=c),
            "correlation": str(c),
        }
        for c in (0.1, 0.5, 0.9)
        for step in np.linspace(0, 1, 41).tolist()
    ]
    left = titled(
        lines(born, x="depth", y="probability", color="width", x_log=True), title="Some layer all zero on one input"
    )
    right = titled(
        lines(steps, x="relative step", y="probability", color="correlation"),
        title="Unit dead on 100 examples after the worst step",
    )
    pair: alt.HConcatChart = alt.hconcat(left, right).resolve_scale(color="independent")
    return pair


def clipped_share(norms: dict[str, GradientNorm]) -> alt.LayerChart:
    """Return the share of networks whose first gradient a threshold clips, a line a network.

    Args:
        norms: named results of `gradient_norm`.

    >>> type(clipped_share({"a": GradientNorm(median=1.0, low=0.5, high=2.0, layers=())})).__name__
    'LayerChart'
    """
    low, high = min(n.low for n in norms.values()) / 2, max(n.high for n in norms.values()) * 2
    rows = [
        {"max_norm": threshold, "clipped": norm.clipped(threshold), "network": name}
        for name, norm in norms.items()
        for threshold in np.geomspace(low, high, 81).tolist()
    ]
    return titled(lines(rows, x="max_norm", y="clipped", color="network", x_log=True), title="Share that is clipped")


def softmax_scale(*, classes: int = 10, largest: float = 8.0) -> alt.LayerChart:
    """Return expected loss, entropy and largest probability of a softmax against the scale of its logits.

    >>> type(softmax_scale(largest=1.0)).__name__
    'LayerChart'
    """
    rows = []
    for s in np.linspace(0.05, largest, 24).tolist():
        at = softmax_at_init(classes=classes, logit_scale=s)
        shown = {"loss": at.loss, "entropy": at.entropy, "largest probability": at.largest_probability}
        rows += [{"logit scale": s, "value": value, "of": name} for name, value in shown.items()]
    title = f"Softmax over {classes} random logits"
    return titled(lines(rows, x="logit scale", y="value", color="of"), title=title)
