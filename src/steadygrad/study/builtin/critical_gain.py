"""`steadygrad study critical-gain`: GELU and SiLU at the gain that keeps unit variance, and where they do better."""

from __future__ import annotations

from steadygrad.study.bench import Bench, Conclusion

from .conclude import conclude
from .gains import drift, edge, window
from .gains.effort import FULL, Effort


def study(bench: Bench, effort: Effort = FULL) -> Conclusion:
    """Draw networks at and beside their unit gain and on the edge of chaos, and train them over sigma_w and depth.

    Args:
        bench: where.
        effort: how much is drawn and trained.

    References: Hayou, Doucet and Rousseau, "On the impact of the activation function on deep neural networks training",
        2019, section 3.
    """
    sections = [drift.section(effort), edge.section(effort), window.section(bench, effort)]
    return conclude("critical-gain", "The critical gains of GELU and SiLU", sections, bench.out)
