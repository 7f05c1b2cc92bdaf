"""Softmax: where it overflows as written, and what shifting its logits changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadygrad import theory
from steadygrad.numerics import softmax
from steadygrad.report.study_page import Check, Section
from steadygrad.study.bench import Bench
from steadygrad.study.builtin.marks import beside, panel, point
from steadygrad.study.builtin.seeds import mean_and_error

from .effort import FULL, Effort

PRECISIONS = ("float16", "float32", "float64")
CLASSES = 10
SHIFTS = tuple(10.0**k for k in range(-1, 7))
Array = NDArray[Any]


def section(bench: Bench, effort: Effort = FULL) -> Section:
    """Find where exp(z) / sum exp(z) fails in each precision; shift logits and look at the change."""
    del bench
    checks, lines, points = [], [], []
    for precision in PRECISIONS:
        limit = math.log(theory.FORMATS[precision].largest)
        found = _overflow(np.dtype(precision))
        spacing = float(np.spacing(np.dtype(precision).type(limit)))
        checks.append(
            Check(what=f"largest logit, {precision}", predicted=limit, measured=found, error=0.0, allowed=2 * spacing)
        )
        stable = softmax(np.array([1e4, 0.0], dtype=precision))
        one = float(stable[0])
        checks.append(Check(what=f"stable at 10⁴, {precision}", predicted=1.0, measured=one, error=0.0, allowed=0.0))
    for shift in SHIFTS:
        errors = [_error(shift, seed) for seed in range(4 * effort.seeds)]
        bound = max(_bound(shift, seed) for seed in range(4 * effort.seeds))
        mean, error = mean_and_error(errors)
        largest = max(errors)
        checks.append(
            Check(what=f"largest error at shift {shift:g}", predicted=0.0, measured=largest, error=error, allowed=bound)
        )
        lines.append({"x": shift, "y": bound, "of": "bound"})
        points.append(point(shift, mean, error, "measured, float32"))
    return Section(
        name="softmax",
        title="Softmax in floating point",
        claim="exp(z) overflows for large z such as 100; subtracting max(z) prevents that and changes no probability.",
        prediction="It overflows beyond ln of the largest number: 11.09 in half, 88.72 in single, 709.78 in double "
        "precision. A shift changes nothing but by the rounding of z + C: at most exp(2 u max|z + C|) - 1, relatively.",
        chart=beside(
            _curve(),
            panel(
                "Relative change by a shift", x="shift C", y="error", lines=lines, points=points, x_log=True, y_log=True
            ),
        ),
        checks=tuple(checks),
        verdict=(
            "it holds, with two limits: 100 overflows in single and half precision, not in double; and logits that are "
            "large before the maximum is taken have lost digits that no shift brings back."
        ),
    )


def _as_written(z: Array) -> Array:
    with np.errstate(all="ignore"):
        powers = np.exp(z)
        result: Array = powers / powers.sum()
    return result


def _overflow(dtype: np.dtype[Any]) -> float:
    """The largest logit z at which softmax([z, -z]) as written is finite, by bisection over the format's numbers."""
    low, high = dtype.type(1), dtype.type(1000)
    while (middle := dtype.type((low + high) / dtype.type(2))) not in (low, high):
        finite = np.isfinite(_as_written(np.array([middle, -middle], dtype=dtype))).all()
        low, high = (middle, high) if finite else (low, middle)
    return float(low)


def _logits(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=CLASSES).astype(np.float32)


def _error(shift: float, seed: int) -> float:
    """The largest relative change of a probability when a constant is added to all logits in single precision."""
    z = _logits(seed)
    exact = softmax(z.astype(np.float64))
    return float(np.abs(softmax(z + np.float32(shift)).astype(np.float64) / exact - 1).max())


def _bound(shift: float, seed: int) -> float:
    """The rounding of z + C and of C itself, and softmax's own bound, (n + 4 + 2R) u."""
    u, z = theory.FORMATS["float32"].roundoff, _logits(seed)
    rounded = u * float(np.abs(z + shift).max()) * (1 + u)
    spread = float(np.ptp(z)) + 2 * rounded
    return math.expm1(2 * rounded) + (CLASSES + 4 + 2 * spread) * u * math.exp(2 * rounded)


def _curve() -> Any:
    rows = []
    for precision in PRECISIONS:
        for z in np.geomspace(1, 2000, 200).tolist():
            top = float(_as_written(np.array([z, 0.0], dtype=precision))[0])
            if math.isfinite(top):
                rows.append({"x": z, "y": top, "of": precision})
    # The curves lie on each other: where each ends is marked.
    ends = [point(row["x"], row["y"], 0.0, row["of"]) for row in {row["of"]: row for row in rows}.values()]
    title = "As written: ends where it is NaN"
    return panel(title, x="logit z", y="softmax([z, 0])", lines=rows, points=ends, x_log=True)
