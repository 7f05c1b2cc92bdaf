"""A budget counts what a thread does itself, and waiting at half."""

from __future__ import annotations

import pytest

from steadygrad.measurement import budget
from steadygrad.measurement.budget import Budget


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now = {"own": 7.0, "clock": 100.0}
    monkeypatch.setattr(budget.time, "thread_time", lambda: now["own"])
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now["clock"])
    return now


@pytest.mark.parametrize(
    ("own", "clock", "left"), [(0, 0, 5), (3, 3, 2), (3, 5.5, 2), (0, 8, 1), (5, 5, 0), (1, 10, 0)]
)
def test_what_is_left(times: dict[str, float], own: float, clock: float, left: float) -> None:
    found = Budget(5.0, times["own"], times["clock"])
    times["own"] += own
    times["clock"] += clock
    assert found.left == left
    assert found.is_over == (left == 0)


def test_parts_that_take_what_is_left_end_with_the_whole(times: dict[str, float]) -> None:
    whole = Budget(5.0, times["own"], times["clock"])
    for _ in range(20):  # all of them wait to their end
        times["clock"] += 2 * whole.left / 2
    assert times["clock"] - 100.0 <= 10.0
    assert whole.left < 1e-4
