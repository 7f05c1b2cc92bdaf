"""A measured profile held against a predicted one, in standard deviations."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from steadygrad.errors import not_allowed

from .profile import LayerSignal, Profile

BEYOND = 6.0
"""Standard deviations from which on a row is a bug of the model, or of the prediction: no draw of the weights is."""

MODEL_ERROR = {"exact": 0.03, "approximate": 0.1}
"""By how much the mean of log q may be off by theory's own doing: what predictions are held to against draws."""

_NORMAL_END = 1.959964  # the normal score of the upper end of a 95% interval


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How far one row was measured from its prediction.

    z = ln(measured / predicted) / s, with s² the sum of the squares of the band's half-width in the log over 1.96, of
    the measurement's relative standard error, and of theory's own error for a row of this mark. NaN where either is
    not known.

    Attributes:
        position: 1 for the first layer, in the order of execution.
        predicted: the prediction's row.
        measured: the measurement's row.
        z_q: standard deviations of log q.
        z_grad_q: standard deviations of log grad_q.
    """

    position: int
    predicted: LayerSignal
    measured: LayerSignal
    z_q: float
    z_grad_q: float

    @property
    def path(self) -> str:
        """The module's path."""
        return self.measured.path

    @property
    def is_beyond(self) -> bool:
        """Whether one of the two is more than six standard deviations off."""
        return abs(self.z_q) > BEYOND or abs(self.z_grad_q) > BEYOND  # NaN is not

    def __str__(self) -> str:
        parts = [
            _said(name, z, getattr(self.measured, name) / getattr(self.predicted, name))
            for name, z in (("q", self.z_q), ("grad_q", self.z_grad_q))
            if abs(z) > BEYOND
        ]
        return f"{self.path!r} ({', '.join(parts)})" if parts else repr(self.path)


def _said(name: str, z: float, ratio: float) -> str:
    return f"{name} is {max(ratio, 1 / ratio):.2g} times too {'large' if z > 0 else 'small'}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every layer that was both predicted and measured.

    Attributes:
        rows: in the order of execution.
        unmatched: paths that only one of the two profiles has.
    """

    rows: tuple[Deviation, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def beyond(self) -> tuple[Deviation, ...]:
        """The rows more than six sigma off their prediction."""
        return tuple(row for row in self.rows if row.is_beyond)

    def __str__(self) -> str:
        total = f"{len(self.rows)} layer{'s' * (len(self.rows) != 1)}"
        if not self.beyond:
            return f"All of {total} within {BEYOND:g} sigma of the prediction."
        verb = "is" if len(self.beyond) == 1 else "are"
        return (
            f"{len(self.beyond)} of {total} {verb} more than {BEYOND:g} sigma off: {', '.join(map(str, self.beyond))}."
        )


def compared(predicted: Profile, measured: Profile) -> Comparison:
    """Return the rows of both, paired by path and by how often that path came before.

    Raises:
        ValueError: they are not a prediction and a measurement.
    """
    if not isinstance(measured, Profile) or measured.source != "measured":
        came = measured.source if isinstance(measured, Profile) else type(measured).__name__
        raise ValueError(not_allowed("measured", "must be a measured Profile", came))
    if predicted.source == "measured":
        raise ValueError("`compare` holds a measurement against a prediction: call it on what `predict` returned.")
    theirs, ours = _by_call(predicted), _by_call(measured)
    rows = [
        Deviation(
            position=position,
            predicted=theirs[key],
            measured=row,
            z_q=_z(theirs[key], row, "q"),
            z_grad_q=_z(theirs[key], row, "grad_q"),
        )
        for position, (key, row) in enumerate(ours.items(), start=1)
        if key in theirs
    ]
    unmatched = dict.fromkeys(
        path for path, nth in {**theirs, **ours} if ((path, nth) in theirs) != ((path, nth) in ours)
    )
    return Comparison(rows=tuple(rows), unmatched=tuple(unmatched))


def _by_call(profile: Profile) -> dict[tuple[str, int], LayerSignal]:
    seen: Counter[str] = Counter()
    rows = {}
    for layer in profile:
        rows[layer.path, seen[layer.path]] = layer
        seen[layer.path] += 1
    return rows


def _z(predicted: LayerSignal, measured: LayerSignal, name: str) -> float:
    expected, low, high = (getattr(predicted, name + end) for end in ("", "_low", "_high"))
    came, error = getattr(measured, name), getattr(measured, f"{name}_high") - getattr(measured, name)
    if not (expected > 0 and came > 0 and math.isfinite(expected) and math.isfinite(came)):
        return 0.0 if expected == came == 0 else math.nan
    off = math.log(came / expected)
    band = math.log((high if off > 0 else expected) / (expected if off > 0 else low)) / _NORMAL_END if low > 0 else 0.0
    sampling = error / came if error > 0 else 0.0
    return off / math.hypot(band, sampling, MODEL_ERROR.get(predicted.mark, math.inf))
