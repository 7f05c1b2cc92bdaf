"""What became of a point: losses, accuracies, the signal at the start and at the end, the training curve."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from .point import FIELDS, Point


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What passes each Linear, the first `MEASURED` training examples given; a number a layer, depth + 1 of them.

    Attributes:
        q: second moment of the layer's output.
        signal: q(1 - c), the part of it that differs between examples: the variance over examples.
        grad_q: second moment of the gradient of the mean loss with respect to the output.
        dead_fraction: share of units whose activation and its derivative are 0 on every example; not of the last layer.
    """

    q: tuple[float, ...] = ()
    signal: tuple[float, ...] = ()
    grad_q: tuple[float, ...] = ()
    dead_fraction: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The record of one point.

    Attributes:
        point: what was trained.
        steps_done: optimizer steps that were taken; fewer than asked for where the network diverged or skipped.
        diverged_at: the step whose loss or gradient was first not finite, counted from 0; None where there was none.
        skipped: steps left out since something was not finite.
        clipped: share of the steps whose gradient's norm was clipped; NaN where no norm is.
        train_loss: mean over the training examples, after training.
        train_accuracy: the same; NaN where the data has no classes.
        test_loss: over the examples held out.
        test_accuracy: over the examples held out.
        start: signals of the network as drawn.
        end: signals after training.
        curve_step: steps that the curve holds.
        curve_loss: the batch's loss before each of these steps.
        curve_grad_norm: the norm of its gradient before clipping.
        seconds: the network's share of the time that its population took.
    """

    point: Point
    steps_done: int = 0
    diverged_at: int | None = None
    skipped: int = 0
    clipped: float = math.nan
    train_loss: float = math.nan
    train_accuracy: float = math.nan
    test_loss: float = math.nan
    test_accuracy: float = math.nan
    start: Signals = Signals()
    end: Signals = Signals()
    curve_step: tuple[int, ...] = ()
    curve_loss: tuple[float, ...] = ()
    curve_grad_norm: tuple[float, ...] = ()
    seconds: float = math.nan

    def row(self) -> dict[str, Any]:
        """Return the record as a row: `id`, the point's fields, the numbers; signals as `start_q`, `end_q`, ...

        >>> row = Outcome(point=Point(depth=1, width=4, activation="relu"), start=Signals(q=(1.0, 2.0))).row()
        >>> row["depth"], row["start_q"]
        (1, [1.0, 2.0])
        """
        row: dict[str, Any] = {"id": self.point.identity}
        row |= {name: getattr(self.point, name) for name in FIELDS}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Signals):
                row |= {f"{field.name}_{f.name}": list(getattr(value, f.name)) for f in fields(value)}
            elif field.name != "point":
                row[field.name] = list(value) if isinstance(value, tuple) else value
        return row
