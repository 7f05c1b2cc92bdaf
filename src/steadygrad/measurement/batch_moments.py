"""Moments of tensors over their examples."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import NamedTuple

import torch

from .norms import in_range, row_norms

# Smaller tensors wait, copied, for others of their shape, until so many entries are together: calls cost more than
# their entries. A megabyte of single precision stays in a core's cache.
_SMALL = 2**16
_TOGETHER = 2**18

# Of a sum of squares at least this share must be left when the squared common part is taken off: no more than three of
# the bits of the sum are lost then.
_LEFT = 1 / 8


class BatchMoments(NamedTuple):
    """What is not known is NaN.

    Attributes:
        mean: first moment over all entries.
        q: second moment over all entries.
        q_error: standard error of `q` over examples; NaN for one example.
        signal: q(1 - c): the unbiased variance of an entry over examples, averaged over entries.
        balanced: entries of an example that add up to zero over the examples; None where they were not added up.
    """

    mean: float = math.nan
    q: float = math.nan
    q_error: float = math.nan
    signal: float = math.nan
    balanced: int | None = None


_UNKNOWN = BatchMoments()


def batch_moments(tensor: torch.Tensor, batch_size: int) -> BatchMoments:
    """Return the moments of one tensor: see `Moments`.

    Args:
        tensor: [examples, ...]; a first dimension that is a multiple of `batch_size` holds several rows an example.
        batch_size: examples in the batch.

    >>> found = batch_moments(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), 2)
    >>> found.mean, found.q, found.signal
    (2.0, 4.5, 1.0)
    """
    moments = Moments(batch_size)
    place = moments.add(tensor)
    return moments.read()[place]


class Moments:
    """Moments of many tensors whose first dimension runs over examples.

    With c = E[xy]/q over pairs of distinct examples, q(1 - c) = sum_d sum_b (x_bd - m_d)² / (D (B - 1)), where m_d is
    the mean of entry d. On the CPU it comes from two passes in the tensor's own precision, the norm of each example and
    the sum of the examples: sum_b |x_b|² - |sum_b x_b|²/B. Where that cancels, as it does for c near 1, the same is
    formed of each example less the first one, which is exact where the two are close. Where that cancels as well, and
    where squares might underflow or overflow, and on other devices, the means m_d are taken off and everything is added
    in double precision.

    Args:
        batch_size: examples in the batch.

    >>> moments = Moments(2)
    >>> place = moments.add(torch.ones(2, 3))
    >>> round(moments.read()[place].q, 6)
    1.0
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._found: list[BatchMoments] = []
        self._waiting: dict[tuple[int, torch.dtype], _Stack] = {}
        self._on_devices: list[tuple[int, torch.Tensor]] = []

    def add(self, tensor: torch.Tensor) -> int:
        """Look at a tensor, which may change afterwards; return where its moments will be found."""
        x = tensor.detach() if tensor.requires_grad else tensor
        place = len(self._found)
        self._found.append(_UNKNOWN)
        if not self.adds_up(x):
            self._on_devices.append((place, _exact(_real(x), self.batch_size if self._has_examples(x) else 0)))
        elif (size := x.numel()) <= _SMALL:
            self._wait(place, x, size)
        else:
            self._look([place], _real(x).reshape(1, self.batch_size, -1), overwrite=False)
        return place

    def adds_up(self, x: torch.Tensor) -> bool:
        """Whether `balanced` will be known of a tensor."""
        return self._has_examples(x) and self.batch_size > 1 and x.device.type == "cpu" and not x.is_complex()

    def _has_examples(self, x: torch.Tensor) -> bool:
        return x.dim() > 0 and x.numel() > 0 and x.shape[0] % self.batch_size == 0

    def read(self) -> list[BatchMoments]:
        """Return the moments of all tensors, in the order in which they were added; wait once for each device."""
        for stack in filter(attrgetter("places"), self._waiting.values()):
            self._look(stack.places, stack.entries[: len(stack.places)], overwrite=True)
        self._waiting.clear()
        for device in {x.device for _, x in self._on_devices}:
            here = [(place, x) for place, x in self._on_devices if x.device == device]
            for (place, _), values in zip(here, torch.stack([x for _, x in here]).tolist(), strict=True):
                self._found[place] = BatchMoments(*values)
        self._on_devices.clear()
        return self._found

    def _wait(self, place: int, x: torch.Tensor, size: int) -> None:
        key = (size, torch.float64 if x.dtype == torch.float64 else torch.float32)
        stack = self._waiting.get(key)
        if stack is None:
            stack = self._waiting[key] = _Stack(*key, self.batch_size)
        stack.room[len(stack.places)].copy_(x if x.shape == stack.shape else x.reshape(stack.shape))
        stack.places.append(place)
        if len(stack.places) == len(stack.room):
            self._look(stack.places, stack.entries, overwrite=True)
            stack.places.clear()

    def _look(self, places: list[int], x: torch.Tensor, *, overwrite: bool) -> None:
        for place, moments in zip(places, _moments(x, overwrite=overwrite), strict=True):
            self._found[place] = moments


class _Stack:
    """Room for small tensors of one size."""

    def __init__(self, size: int, dtype: torch.dtype, batch_size: int) -> None:
        self.shape = (batch_size, size // batch_size)
        self.entries = torch.empty(_TOGETHER // size, *self.shape, dtype=dtype)
        self.room = self.entries.unbind()
        self.places: list[int] = []


@torch.no_grad()
def _moments(x: torch.Tensor, *, overwrite: bool) -> list[BatchMoments]:
    """Of tensors of one shape, [tensors, examples, entries], on the CPU."""
    _, examples, entries = x.shape
    norms, common = row_norms(x), x.sum(1)
    squares, between = _between(norms, common)
    trusted = [in_range(s, examples * entries, examples, x.dtype) for s in squares]
    exact = {t: BatchMoments(*_exact(x[t], examples).tolist()) for t, safe in enumerate(trusted) if not safe}
    if any(b < _LEFT * s for t, (s, b) in enumerate(zip(squares, between, strict=True)) if trusted[t]):
        between = _from_first(x.sub_(x[:, :1].clone()) if overwrite else x - x[:, :1])
    errors = (norms.double().square_().std(1) / (entries * examples**0.5)).tolist()
    totals, balanced = common.sum(1).tolist(), (common == 0).sum(1).tolist()
    size = examples * entries
    found = [
        BatchMoments(total / size, s / size, error, b / (size - entries), zeros)
        for total, s, error, b, zeros in zip(totals, squares, errors, between, balanced, strict=True)
    ]
    for t, moments in exact.items():
        found[t] = moments._replace(balanced=balanced[t])
    return found


def _between(norms: torch.Tensor, common: torch.Tensor) -> tuple[list[float], list[float]]:
    """Sums of squares about zero and about the mean example."""
    about_zero, shared = torch.stack([row_norms(norms), row_norms(common)]).double().square_().tolist()
    return about_zero, [s - c / norms.shape[1] for s, c in zip(about_zero, shared, strict=True)]


def _from_first(apart: torch.Tensor) -> list[float]:
    """Sums of squares about the mean example, from each example less the first one."""
    squares, between = _between(row_norms(apart), apart.sum(1))
    return [
        b if b >= _LEFT * s and in_range(s, x.numel(), len(x), x.dtype) else _about_mean(x).item()
        for s, b, x in zip(squares, between, apart, strict=True)
    ]


def _real(x: torch.Tensor) -> torch.Tensor:
    if x.dtype in (torch.float32, torch.float64):
        return x
    return torch.view_as_real(x) if x.is_complex() else x.float()


@torch.no_grad()
def _exact(x: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Mean, q, its error and the signal, in double precision on the device; without examples the first two alone."""
    mean, nan = x.sum(dtype=torch.float64) / x.numel(), x.new_full((), math.nan, dtype=torch.float64)
    if batch_size < 2:
        return torch.stack([mean, _squares(x.reshape(1, x.numel())).sum() / x.numel(), nan, nan])
    examples = x.reshape(batch_size, -1)
    each = _squares(examples) / examples.shape[1]
    signal = _about_mean(examples - examples[:1]) / (examples.shape[1] * (batch_size - 1))
    return torch.stack([mean, each.mean(), each.std() / batch_size**0.5, signal])


def _about_mean(x: torch.Tensor) -> torch.Tensor:
    return _squares(x - x.mean(0, keepdim=True)).sum()


def _squares(rows: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each row, in double precision."""
    norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms.square()
