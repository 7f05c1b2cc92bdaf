"""`steadygrad study trainable-depth`: how many depth scales tanh and erf networks train, and the scales measured."""

from __future__ import annotations

from steadygrad.study.bench import Bench, Conclusion

from .conclude import conclude
from .depths import decay, reach
from .depths.effort import FULL, Effort


def study(bench: Bench, effort: Effort = FULL) -> Conclusion:
    """Measure the decay of signals and gradients, and fit the depth at which training is lost against xi.

    Args:
        bench: where.
        effort: how much is drawn and trained.

    References: Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", 2017, sections 3 to 5.
    """
    sections = [decay.section(bench, effort), reach.section(bench, effort)]
    return conclude("trainable-depth", "Trainable depth", sections, bench.out)
