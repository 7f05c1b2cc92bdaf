"""`steadygrad study foundations`: what is taught of initialization, clipping and softmax, as experiments."""

from __future__ import annotations

from steadygrad.study.bench import Bench, Conclusion

from .conclude import conclude
from .note import clipping, depth, dying, softmax, variance, xavier_relu
from .note.effort import FULL, Effort

SECTIONS = (variance, depth, xavier_relu, dying, clipping, softmax)


def study(bench: Bench, effort: Effort = FULL) -> Conclusion:
    """Run the six sections, and write foundations.html with their pictures.

    Args:
        bench: where.
        effort: how much is computed.
    """
    sections = [module.section(bench, effort) for module in SECTIONS]
    return conclude("foundations", "Foundations of stable training, measured", sections, bench.out)
