"""Which examples each network sees at each step: an order of its own, drawn anew each epoch from its seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from steadygrad.study.data import Data
from steadygrad.study.point import Point

# The order comes from another stream than the weights: seeds of weights are below 2^31.
ORDER_STREAM = 2**31


class Batches:
    """Batches [networks, examples, features] and targets [networks, outputs, examples], one pair a step.

    Within an epoch no example comes twice; what does not fill a batch is left out. Where a batch is all examples,
    there is no order, and all networks read one copy.

    >>> from steadygrad.study.data import gaussian
    >>> points = [Point(depth=1, width=4, activation="relu", batch_size=32, seed=s) for s in range(3)]
    >>> x, y = Batches(points, gaussian()).next()
    >>> x.shape, y.shape
    (torch.Size([3, 32, 64]), torch.Size([3, 10, 32]))
    """

    def __init__(self, points: Sequence[Point], data: Data) -> None:
        self._data, self._count, available = data, len(points), len(data.inputs)
        self.size = min(points[0].batch_size or available, available)
        self._whole = self.size == available
        self._generators = [torch.Generator().manual_seed(ORDER_STREAM + point.seed) for point in points]
        self._order = torch.empty(self._count, 0, dtype=torch.long)
        self._at = 0
        self._everything = everything(data, self._count) if self._whole else None
        shape = (self._count, self.size)
        self._x, self._y = (part.new_empty(*shape, part.shape[1]) for part in (data.inputs, data.targets))
        self._targets = data.targets.new_empty(self._count, data.targets.shape[1], self.size)

    @property
    def x(self) -> Tensor:
        """The tensor that every batch is written to."""
        return self._x if self._everything is None else self._everything[0]

    def next(self) -> tuple[Tensor, Tensor]:
        """Return the next batch of every network, in tensors that the next call overwrites."""
        if self._everything is not None:
            return self._everything
        if self._at + self.size > self._order.shape[1]:
            self._order, self._at = self._new_epoch(), 0
        index = self._order[:, self._at : self._at + self.size].reshape(-1)
        self._at += self.size
        torch.index_select(self._data.inputs, 0, index, out=self._x.view(len(index), -1))
        torch.index_select(self._data.targets, 0, index, out=self._y.view(len(index), -1))
        return self._x, self._targets.copy_(self._y.mT)

    def _new_epoch(self) -> Tensor:
        available = len(self._data.inputs)
        orders = torch.stack([torch.randperm(available, generator=g) for g in self._generators])
        return orders.to(self._data.inputs.device)


def everything(data: Data, count: int, *, test: bool = False, at_most: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the first examples as one batch, which all networks share.

    Args:
        data: the examples.
        count: networks.
        test: whether those held out.
        at_most: examples; all by default.
    """
    x, y = (data.test_inputs, data.test_targets) if test else (data.inputs, data.targets)
    x, y = x[:at_most], y[:at_most].t().contiguous()
    return x.expand(count, *x.shape), y.expand(count, *y.shape)
