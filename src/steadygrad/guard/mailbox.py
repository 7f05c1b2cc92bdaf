"""Numbers on their way from the device to the host, without making either wait."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class _Letter:
    subject: Any
    numbers: Tensor
    arrived: torch.cuda.Event | None


class Mailbox:
    """Small tensors that are copied to pinned memory behind the host's back and read once the copy is done.

    Args:
        slots: letters under way at most; one more waits for the oldest, which the device wrote `slots` steps ago.

    >>> mailbox = Mailbox()
    >>> mailbox.post(7, torch.tensor([1.0, 2.0]))
    >>> list(mailbox.collect())
    [(7, [1.0, 2.0])]
    """

    def __init__(self, slots: int = 8) -> None:
        self._slots = slots
        self._letters: deque[_Letter] = deque()

    def post(self, subject: Any, numbers: Tensor) -> None:
        """Send a vector of float64 on its way."""
        if numbers.device.type == "cpu":
            self._letters.append(_Letter(subject=subject, numbers=numbers, arrived=None))
            return
        host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
        host.copy_(numbers, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._letters.append(_Letter(subject=subject, numbers=host, arrived=arrived))

    def collect(self, *, wait: bool = False) -> list[tuple[Any, list[float]]]:
        """Return the letters that have arrived, oldest first; all of them with `wait`."""
        read: list[tuple[Any, list[float]]] = []
        while self._letters and self._ready(wait=wait):
            letter = self._letters.popleft()
            read.append((letter.subject, letter.numbers.numpy().tolist()))
        return read

    def clear(self) -> None:
        """Forget what is under way."""
        self._letters.clear()

    def _ready(self, *, wait: bool) -> bool:
        arrived: Any = self._letters[0].arrived
        if arrived is None or arrived.query():
            return True
        if wait or len(self._letters) > self._slots:
            arrived.synchronize()
            return True
        return False
