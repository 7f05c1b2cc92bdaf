"""The training loop: all networks of a population take each step together, each on its own batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from steadygrad.study.data import Data, load
from steadygrad.study.outcome import Outcome
from steadygrad.study.point import Point

from .activations import phi
from .batches import Batches
from .curve import Curve
from .draw import draw
from .evaluate import evaluate
from .losses import check_targets, loss_and_gradient
from .parameters import Parameters, stack
from .products import one_blas_thread
from .shape import check_one_shape
from .signals import signals
from .update import update_of

# What overflows is dealt with network by network; NumPy need not say it too.
_quietly = np.errstate(all="ignore")


def train(points: Sequence[Point], *, device: str | torch.device = "cpu", data: Data | None = None) -> list[Outcome]:
    """Train networks of one shape together, and return their outcomes in their order.

    Every network computes what it would compute alone: products are batched, never mixed. One whose loss or gradient
    is not finite is held, at that step or from it on (`Point.nonfinite`); the others do not notice.

    Args:
        points: all of one shape (see `shape_of`).
        device: where.
        data: what they learn; what their `data` names by default.

    Raises:
        ValueError: the points are not of one shape.
        SetupError: their loss cannot be of the data's targets.

    >>> points = [Point(depth=2, width=16, activation="relu", learning_rate=lr, steps=50) for lr in (0.001, 0.1)]
    >>> slow, fast = train(points)
    >>> slow.train_loss > fast.train_loss
    True
    """
    check_one_shape(points)
    started = time.perf_counter()
    with one_blas_thread():
        population = Population(points, device=torch.device(device), data=data)
        for _ in range(points[0].steps):
            if not population.step():
                break
        outcomes = population.outcomes()
    each = (time.perf_counter() - started) / len(points)
    return [Outcome(**{**vars(outcome), "seconds": each}) for outcome in outcomes]


class Population:
    """Networks of one shape while they are trained.

    Args:
        points: all of one shape.
        device: where.
        data: what they learn; what their `data` names by default.
    """

    @_quietly
    @torch.no_grad()
    def __init__(self, points: Sequence[Point], *, device: torch.device, data: Data | None = None) -> None:
        self.points = points
        dtype = getattr(torch, points[0].dtype)
        given = data or load(points[0].data)
        check_targets(points[0].loss, given)
        self._data = given.first(points[0].examples).to(dtype, device)
        self._phi = phi(points[0].activation)
        self._loss = loss_and_gradient(points[0].loss)
        slopes = [self._phi.default_slope if p.slope is None else p.slope for p in points]
        self._slope = torch.tensor(slopes, dtype=dtype, device=device).view(-1, 1, 1)
        self._drawn = _drawn(points, self._data, slopes if self._phi.trained_slope else None, device)
        self._start = signals(self._drawn, self._phi, self._slope, self._loss, self._data)
        self._batches = Batches(points, self._data)
        self._update = update_of(points, self._drawn, self._phi, self._slope, self._batches.x)
        self._curve = Curve(points, device)

    @property
    @_quietly
    @torch.no_grad()
    def parameters(self) -> Parameters:
        """Of all networks, after the last step."""
        self._update.settle()
        return self._drawn

    @_quietly
    @torch.no_grad()
    def step(self) -> bool:
        """Let every network take a step; return whether any is left that trains."""
        _, targets = self._batches.next()
        loss = self._loss(self._update.forward(), targets)
        self._update.learn(loss, self._curve)
        return self._curve.any_left()

    @_quietly
    @torch.no_grad()
    def outcomes(self) -> list[Outcome]:
        """Return what became of each network so far."""
        scores = [
            evaluate(self.parameters, self._phi, self._slope, self._loss, self._data, test=test)
            for test in (False, True)
        ]
        columns = [column.tolist() for score in scores for column in score]
        looked_at = self.parameters, self._phi, self._slope, self._loss, self._data
        end = signals(*looked_at) if self._curve.steps else self._start
        return [
            Outcome(
                point=point,
                train_loss=columns[0][k],
                train_accuracy=columns[1][k],
                test_loss=columns[2][k],
                test_accuracy=columns[3][k],
                start=self._start[k],
                end=end[k],
                **self._curve.columns(k),
            )
            for k, point in enumerate(self.points)
        ]


def _drawn(points: Sequence[Point], data: Data, slopes: list[float] | None, device: torch.device) -> Parameters:
    inputs, outputs = data.inputs.shape[1], data.targets.shape[1]
    return stack([draw(point, inputs, outputs) for point in points], slopes=slopes, device=device)
