"""Populations packed into tasks of seconds: what a worker is given at once."""

from __future__ import annotations

from collections.abc import Sequence

from steadygrad.errors import SteadygradError
from steadygrad.study.budget import training_flops
from steadygrad.study.point import Point

# Long beside what starting a task on another machine costs (some ms), short beside what a lost worker loses.
TASK_SECONDS = 2.0
# A population that was lost this often takes its worker down itself: by its memory, most likely.
MOST_LOSSES = 3

Population = Sequence[Point]
Task = list[Population]


class WorkerLostError(SteadygradError):
    """Workers that are lost again and again with the same networks."""


class Tasks:
    """Hands out populations, the long ones first, as many at once as take about `TASK_SECONDS`.

    How long one takes is estimated from its arithmetic and the rate of what has ended; until something has, a task is
    one population. Towards the end tasks get shorter, so that all workers end together.

    Args:
        populations: to train.
        slots: workers.

    >>> point = Point(depth=1, width=4, activation="relu")
    >>> tasks = Tasks([[point]] * 5, slots=1)
    >>> len(tasks.take()), tasks.left
    (1, 4)
    >>> tasks.ended([[point]], seconds=1e-6)
    >>> len(tasks.take())
    2
    """

    def __init__(self, populations: Sequence[Population], *, slots: int) -> None:
        costs = [sum(training_flops(point) for point in population) for population in populations]
        order = sorted(range(len(costs)), key=lambda i: costs[i])
        self._waiting = [populations[i] for i in order]  # the longest last, where it is taken from
        self._cost = {id(population): cost for population, cost in zip(populations, costs, strict=True)}
        self._losses: dict[int, int] = {}
        self._slots, self._flops, self._seconds = max(slots, 1), 0.0, 0.0

    @property
    def left(self) -> int:
        """How many populations wait."""
        return len(self._waiting)

    def take(self) -> Task:
        """Return the next task; empty where nothing waits."""
        task: Task = []
        budget = self._task_flops()
        while self._waiting and (not task or self._costs(task) + self._costs(self._waiting[-1:]) <= budget):
            task.append(self._waiting.pop())
        return task

    def ended(self, task: Task, *, seconds: float) -> None:
        """Take note of how long a task took."""
        self._flops += self._costs(task)
        self._seconds += seconds

    def lost(self, task: Task) -> None:
        """Take back what was lost with its worker.

        Raises:
            WorkerLostError: it was lost `MOST_LOSSES` times.
        """
        for population in task:
            losses = self._losses[id(population)] = self._losses.get(id(population), 0) + 1
            if losses >= MOST_LOSSES:
                point = population[0]
                raise WorkerLostError(
                    f"{len(population)} networks of depth {point.depth} and width {point.width} were lost {losses} "
                    "times with the process that trained them; it was killed, or had too little memory."
                )
        self._waiting += task

    def _task_flops(self) -> float:
        if not self._seconds:
            return 0.0
        fair = self._costs(self._waiting) / self._slots / 2
        return min(TASK_SECONDS * self._flops / self._seconds, fair)

    def _costs(self, populations: Sequence[Population]) -> float:
        # A population that came back from elsewhere is a copy: what it costs is computed anew.
        return sum(self._cost.get(id(p)) or sum(training_flops(point) for point in p) for p in populations)
