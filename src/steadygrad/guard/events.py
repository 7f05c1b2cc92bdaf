"""What a guard does, as findings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steadygrad.finding import Finding, Level

from .verdict import Outcome, Verdict

NAMES = {
    "GRD001": "clipped-gradient",
    "GRD002": "skipped-step",
    "GRD003": "rolled-back",
    "GRD004": "stopped",
    "GRD005": "revived-units",
    "GRD006": "interrupted-step",
}


_SQUARABLE = 1.8e19  # below the least of `largest_norm`


def cause(outcome: Outcome, names: Sequence[str]) -> str:
    """Return in words what was wrong with a step.

    >>> nan, inf = float("nan"), float("inf")
    >>> bad = Outcome(step=3, verdict=Verdict.NONFINITE, norm=nan, culprit=1, culprit_norm=inf, nonfinite=2)
    >>> cause(bad, ["a.weight", "b.weight"])
    '2 of 2 gradients are not finite, in the order of the backward pass first that of `b.weight`'
    """
    match outcome.verdict:
        case Verdict.ACCEPTED:
            kept = outcome.norm * outcome.factor
            return f"its norm of {outcome.norm:.4g} was cut to {kept:.4g}; most of it was in {_name(outcome, names)}"
        case Verdict.NONFINITE if outcome.nonfinite:
            first = f"in the order of the backward pass first that of {_name(outcome, names)}"
            return f"{outcome.nonfinite} of {len(names)} gradients are not finite, {first}"
        case Verdict.NONFINITE if outcome.norm * outcome.factor > _SQUARABLE and not math.isinf(outcome.loss):
            return f"the square of the norm {outcome.norm:.4g} overflows, most of it in {_name(outcome, names)}"
        case Verdict.NONFINITE:
            return f"the loss is {outcome.loss} while every gradient is finite"
        case Verdict.SPIKE:
            largest = f"the largest gradient is that of {_name(outcome, names)}, {outcome.culprit_norm:.4g}"
            return f"the gradient norm {outcome.norm:.4g} or the loss {outcome.loss:.4g} is an outlier; {largest}"
    raise AssertionError(outcome.verdict)


def event(code: str, outcome: Outcome, names: Sequence[str], *, level: Level, what: str, fix: str = "") -> Finding:
    """Return the finding for something that the guard did at a step.

    >>> event("GRD002", Outcome(step=3, verdict=Verdict.NONFINITE, norm=1.0), [], level=Level.WARN, what="Skipped").name
    'skipped-step'
    """
    module = names[outcome.culprit].rpartition(".")[0] if 0 <= outcome.culprit < len(names) else None
    return Finding(
        code=code,
        name=NAMES[code],
        level=level,
        message=f"{what} at step {outcome.step}: {cause(outcome, names)}.",
        module=module,
        measured=outcome.norm,
        expected=outcome.norm * outcome.factor if code == "GRD001" else None,
        step=outcome.step,
        fix=fix,
    )


def _name(outcome: Outcome, names: Sequence[str]) -> str:
    return f"`{names[outcome.culprit]}`" if 0 <= outcome.culprit < len(names) else "an unknown parameter"
