"""`steadygrad study dynamical-isometry`: the Jacobian's singular values under Gaussian and orthogonal weights."""

from __future__ import annotations

from steadygrad.study.bench import Bench, Conclusion

from .conclude import conclude
from .isometry import spectra, speed
from .isometry.effort import FULL, Effort


def study(bench: Bench, effort: Effort = FULL) -> Conclusion:
    """Take the spectra of drawn networks' Jacobians, and train linear, tanh and ReLU networks over depth.

    Args:
        bench: where.
        effort: how much is drawn and trained.

    References: Pennington, Schoenholz and Ganguli, "Resurrecting the sigmoid", 2017, sections 2 and 3; Saxe, McClelland
        and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear networks", 2014.
    """
    sections = [spectra.section(effort), speed.section(bench, effort)]
    return conclude("dynamical-isometry", "Dynamical isometry", sections, bench.out)
