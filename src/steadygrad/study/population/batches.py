"""Which examples each network sees at each step: an order of its own, drawn anew each epoch from its seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        self._orders: Iterator[Tensor] = iter(())
        self._everything = everything(data, self._count) if self._whole else None
        shape = (self._count, self.size)
        self._x, self._y = (part.new_empty(*shape, part.shape[1]) for part in (data.inputs, data.targets))
        self._x_rows, self._y_rows = self._x.flatten(0, 1), self._y.flatten(0, 1)
        self._targets = data.targets.new_empty(self._count, data.targets.shape[1], self.size)

    @property
    def x(self) -> Tensor:
        """The tensor that every batch is written to."""
        return self._x if self._everything is None else self._everything[0]

    def next(self) -> tuple[Tensor, Tensor]:
        """Return the next batch of every network, in tensors that the next call overwrites."""
        if self._everything is not None:
            return self._everything
        index = next(self._orders, None)
        if index is None:
            self._orders = iter(self._new_epoch())
            index = next(self._orders)
        torch.index_select(self._data.inputs, 0, index, out=self._x_rows)
        torch.index_select(self._data.targets, 0, index, out=self._y_rows)
        return self._x, self._targets.copy_(self._y.mT)

    def _new_epoch(self) -> tuple[Tensor, ...]:
        """Return which examples each batch of an epoch holds, network after network."""
        available = len(self._data.inputs)
        orders = torch.stack([torch.randperm(available, generator=g) for g in self._generators])
        batches = orders[:, : available // self.size * self.size].unflatten(1, (-1, self.size)).transpose(0, 1)
        made: tuple[Tensor, ...] = batches.flatten(1).to(self._data.inputs.device).unbind(0)
        return made


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
