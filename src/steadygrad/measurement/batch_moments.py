"""Moments of tensors over their examples."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

import torch

from .norms import in_range, row_norms, squared_norm

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
    """

    mean: float = math.nan
    q: float = math.nan
    q_error: float = math.nan
    signal: float = math.nan


def batch_moments(tensor: torch.Tensor, batch_size: int) -> BatchMoments:
    """Return the moments of one tensor: see `Moments`.

    Args:
        tensor: [examples, ...]; a first dimension that is a multiple of `batch_size` holds several rows an example.
        batch_size: examples in the batch.

    >>> batch_moments(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), 2)._replace(q_error=0.0)
    BatchMoments(mean=2.0, q=4.5, q_error=0.0, signal=1.0)
    """
    moments = Moments(batch_size)
    place = moments.add(tensor)
    return moments.read()[place]


class _Sums(NamedTuple):
    """What two passes over a tensor leave.

    Attributes:
        norms: of each example.
        common: the sum of all examples; where that is long, its entries added up.
        squares: the sum of all squares.
        between: the sum of squares about the mean example.
        entries: of an example.
    """

    norms: torch.Tensor
    common: torch.Tensor
    squares: float
    between: float
    entries: int


# A longer sum of examples is not kept.
_KEPT = 4096


class Moments:
    """Moments of many tensors whose first dimension runs over examples, finished together and read once.

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
    >>> moments.read()[place].q
    1.0
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._quick: list[tuple[int, _Sums]] = []
        self._exact: list[tuple[int, torch.Tensor]] = []
        self._places = 0

    def add(self, tensor: torch.Tensor) -> int:
        """Look at a tensor, which may change afterwards; return where its moments will be found."""
        x = _real(tensor.detach())
        place = self._places
        self._places += 1
        if not x.numel():
            return place
        if x.dim() == 0 or x.shape[0] % self.batch_size:
            self._exact.append((place, _of_entries(x)))
        else:
            examples = x if x.dim() == 2 and x.shape[0] == self.batch_size else x.reshape(self.batch_size, -1)
            sums = _sums(examples) if self.batch_size > 1 and x.device.type == "cpu" else None
            if sums:
                self._quick.append((place, sums))
            else:
                self._exact.append((place, _exact(examples)))
        return place

    def read(self) -> list[BatchMoments]:
        """Return the moments of all tensors, in the order in which they were added."""
        found = [BatchMoments()] * self._places
        alike = defaultdict(list)
        for place, sums in self._quick:
            alike[sums.common.dtype, sums.entries].append((place, sums))
        for group in alike.values():
            for (place, _), moments in zip(group, _finished([sums for _, sums in group]), strict=True):
                found[place] = moments
        for device in {x.device for _, x in self._exact}:
            here = [(place, x) for place, x in self._exact if x.device == device]
            for (place, _), values in zip(here, torch.stack([x for _, x in here]).tolist(), strict=True):
                found[place] = BatchMoments(*values)
        return found


def _sums(x: torch.Tensor) -> _Sums | None:
    """In the precision of the entries; None where it would not do."""
    norms, common = row_norms(x), x.sum(0)
    squares = squared_norm(norms)
    between = _between(common, squares, x)
    if between is None and in_range(squares, x.numel(), len(x), x.dtype):
        apart = x - x[0]
        between = _between(apart.sum(0), squared_norm(row_norms(apart)), x)
    if between is None:
        return None
    kept = common if len(common) <= _KEPT else common.sum(0, keepdim=True)
    return _Sums(norms, kept, squares, between, x.shape[1])


def _finished(group: list[_Sums]) -> list[BatchMoments]:
    """Of tensors of one shape."""
    entries, examples = group[0].entries, len(group[0].norms)
    size = entries * examples
    errors = torch.stack([sums.norms for sums in group]).double().square().std(1) / (entries * examples**0.5)
    totals = torch.stack([sums.common for sums in group]).sum(1, dtype=torch.float64)
    return [
        BatchMoments(total / size, sums.squares / size, error, sums.between / (size - entries))
        for sums, total, error in zip(group, totals.tolist(), errors.tolist(), strict=True)
    ]


def _between(total: torch.Tensor, squares: float, x: torch.Tensor) -> float | None:
    """Sum of squares about the mean example, from that about zero and from the sum of all; None where it cancels."""
    if not in_range(squares, x.numel(), len(x), x.dtype):
        return None
    between = squares - squared_norm(total) / len(x)
    return between if between >= _LEFT * squares else None


def _real(x: torch.Tensor) -> torch.Tensor:
    if x.dtype in (torch.float32, torch.float64):
        return x
    return torch.view_as_real(x) if x.is_complex() else x.float()


@torch.no_grad()
def _exact(x: torch.Tensor) -> torch.Tensor:
    """Mean, q, its error and the signal, on the device."""
    each = _squares(x) / x.shape[1]
    mean, q = x.sum(dtype=torch.float64) / x.numel(), each.mean()
    if len(x) == 1:
        return torch.stack([mean, q, q * math.nan, q * math.nan])
    shifted = x - x[:1]
    shifted -= shifted.mean(0, keepdim=True)
    signal = _squares(shifted).sum() / (x.shape[1] * (len(x) - 1))
    return torch.stack([mean, q, each.std() / len(x) ** 0.5, signal])


def _of_entries(x: torch.Tensor) -> torch.Tensor:
    """Without examples: mean and q alone."""
    mean, q = x.sum(dtype=torch.float64) / x.numel(), _squares(x).sum() / x.numel()
    return torch.stack([mean, q, q * math.nan, q * math.nan])


def _squares(x: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each row, in double precision."""
    rows = x.reshape(x.shape[0] if x.dim() else 1, -1)
    norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms.square()
