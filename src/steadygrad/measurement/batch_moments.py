"""Moments of tensors over their examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import copy_context
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .norms import PIECE, SMALL, Numbers, has_numbers, row_norms, sum_of_squares, trusted

# Sums of many tensors wait until so many numbers are together: calls cost more than their entries.
_TOGETHER = 2**16

# BLAS adds up the rows of a matrix, four at a time, one after another: of so many it is as exact as torch. Along a row
# it has several times the lanes.
_FEW = 256

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
    >>> round(found.mean, 4), round(found.q, 4), round(found.signal, 4)
    (2.0, 4.5, 1.0)
    """
    moments = Moments(batch_size)
    place = moments.add(tensor)
    return moments.read()[place]


class Moments:
    """Moments of many tensors whose first dimension runs over examples.

    With c = E[xy]/q over pairs of distinct examples, q(1 - c) = sum_d sum_b (x_bd - m_d)² / (D (B - 1)), where m_d is
    the mean of entry d. On the CPU it comes from passes in the tensor's own precision, the squares of each example and
    the sum of the examples: sum_b |x_b|² - |sum_b x_b|²/B. That cancels for c near 1, so the same is formed of
    x_b - m', with m' the means as rounded: the differences are exact where they are small, and what rounding has left
    of the mean the second term takes off (the corrected two-pass algorithm of Chan, Golub and LeVeque, 1983). Where
    squares might underflow or overflow, and on other devices, everything is added in double precision.

    Args:
        batch_size: examples in the batch.

    >>> moments = Moments(4)
    >>> place = moments.add(torch.ones(4, 4))
    >>> moments.read()[place].q
    1.0
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._added = 0
        self._found: dict[int, BatchMoments] = {}
        self._takers: dict[Any, Callable[[int, torch.Tensor], None]] = {}
        self._sums: dict[tuple[int, torch.dtype], _Sums] = {}
        self._on_devices: dict[int, torch.Tensor] = {}
        # What overflows is looked at again; only here NumPy need not say so.
        self._quiet = copy_context()
        self._quiet.run(np.seterr, all="ignore")

    def add(self, tensor: torch.Tensor) -> int:
        """Look at a tensor, which may change afterwards; return where its moments will be found."""
        place = self._added
        self._added = place + 1
        kind = tensor.shape, tensor.dtype, tensor.device, tensor.layout, type(tensor)
        take = self._takers.get(kind)
        if take is None:
            take = self._takers[kind] = self._taker(tensor)
        take(place, tensor)
        return place

    def _taker(self, tensor: torch.Tensor) -> Callable[[int, torch.Tensor], None]:
        """What looks at tensors of one kind."""
        if not self._is_summed(tensor):
            return self._take_on_device
        entries = tensor.numel() // self.batch_size
        kind = entries, torch.float64 if tensor.dtype == torch.float64 else torch.float32
        if kind not in self._sums:
            sums = _SmallSums if _are_small(self.batch_size, entries) else _Sums
            self._sums[kind] = sums(self.batch_size, *kind)
        run: Callable[..., None] = self._quiet.run
        take = partial(run, self._sums[kind].take)
        return take if _is_matrix(tensor, self.batch_size) else lambda place, x: take(place, self._rows(x))

    def _take_on_device(self, place: int, tensor: torch.Tensor) -> None:
        batch_size = self.batch_size if self._has_examples(tensor) else 0
        self._on_devices[place] = _exact(_real(tensor.detach()), batch_size)

    def adds_up(self, place: int) -> bool:
        """Whether `balanced` will be known of a tensor that was added: of one that has numbers on the CPU."""
        return place not in self._on_devices

    def _is_summed(self, x: torch.Tensor) -> bool:
        return self.batch_size > 1 and has_numbers(x) and not x.is_complex() and self._has_examples(x)

    def _has_examples(self, x: torch.Tensor) -> bool:
        return x.dim() > 0 and x.numel() > 0 and x.shape[0] % self.batch_size == 0

    def _rows(self, tensor: torch.Tensor) -> torch.Tensor:
        x = tensor.detach()
        return _real(x if x.layout == torch.strided else x.to_dense()).reshape(self.batch_size, -1)

    def read(self) -> list[BatchMoments]:
        """Return the moments of all tensors, in the order in which they were added; wait once for each device."""
        for sums in self._sums.values():
            self._found.update(self._quiet.run(sums.moments))
        self._sums.clear()
        self._takers.clear()
        self._read_devices()
        return [self._found.get(place, _UNKNOWN) for place in range(self._added)]

    def _read_devices(self) -> None:
        for device in {x.device for x in self._on_devices.values()}:
            here = [(place, x) for place, x in self._on_devices.items() if x.device == device]
            for (place, _), values in zip(here, torch.stack([x for _, x in here]).tolist(), strict=True):
                self._found[place] = BatchMoments(*values)
        self._on_devices.clear()


class _Sums:
    """What is kept of tensors of one size until many are read together: small operators cost more than their entries.

    Args:
        examples: of each tensor.
        entries: of each example.
        dtype: of the entries.
    """

    def __init__(self, examples: int, entries: int, dtype: torch.dtype) -> None:
        self._examples, self._entries, self._dtype = examples, entries, dtype
        self._smallest, self._largest = trusted(examples * entries, examples, dtype)
        self._ones = np.ones(examples, self._kept)
        self._found: dict[int, BatchMoments] = {}
        self._exact: dict[int, BatchMoments] = {}
        self._taken: list[tuple[int, float, float]] = []
        self._at_once = max(_TOGETHER // max(examples, entries), 1)
        # A row a tensor: the squares of each example, and the sum of the examples.
        self._squares = np.empty((self._at_once, examples), self._kept)
        self._common = np.empty((self._at_once, entries), self._kept)

    @property
    def _kept(self) -> npt.DTypeLike:
        """What sums are kept in."""
        return np.float64

    def take(self, place: int, x: torch.Tensor) -> None:
        """Go through a tensor, [examples, entries]."""
        row = len(self._taken)
        squares, common = self._squares[row], self._common[row]
        self._sum(x, squares, common)
        total = float(self._ones.dot(squares))
        left = total - self._square(common) / self._examples
        if left < _LEFT * total or not self._smallest <= total <= self._largest:
            left = self._look_again(place, x, total, common)
        self._taken.append((place, total, left))
        if row + 1 == self._at_once:
            self._reduce()

    def _look_again(self, place: int, x: torch.Tensor, total: float, common: Numbers) -> float:
        """What is left when the means are taken off; where squares cannot be trusted, in double precision."""
        if not self._smallest <= total <= self._largest:
            self._exact[place] = BatchMoments(*_exact(x.detach(), self._examples).tolist())
            return math.nan
        squares_left, common_left = self._left(x, common, total)
        if not self._smallest <= squares_left <= self._largest:
            return _about_mean(x.detach().double()).item()
        return squares_left - common_left / self._examples

    def _sum(self, x: torch.Tensor, squares: Numbers, common: Numbers) -> None:
        """The squares of each example, and the sum of the examples, into their rows."""
        x = x.detach()
        np.square(row_norms(x).numpy(), out=squares, dtype=np.float64)
        common[:] = x.sum(0).numpy()

    def _left(self, x: torch.Tensor, common: Numbers, _total: float) -> tuple[float, float]:
        """Of what is left when the means are taken off: the squares, and those of the sum of the examples."""
        total, rest, sums_D = 0.0, np.zeros(self._entries), torch.from_numpy(common).to(x.dtype)
        squares, sums = np.empty(len(self._room)), np.empty(self._entries)
        for part in x.detach().split(len(self._room)):
            room = torch.sub(part, sums_D, alpha=1 / self._examples, out=self._room[: len(part)])
            self._sum(room, squares[: len(part)], sums)
            total += float(squares[: len(part)].sum())
            rest += sums
        return total, sum_of_squares(rest)

    @staticmethod
    def _square(common: Numbers) -> float:
        return sum_of_squares(common)

    @cached_property
    def _room(self) -> torch.Tensor:
        """Where means are taken off, as much at a time as the caches of the cores hold."""
        rows = max(SMALL * torch.get_num_threads() // self._entries, 1)
        return torch.empty(min(rows, self._examples), self._entries, dtype=self._dtype, device="cpu")

    def _reduce(self) -> None:
        """From sums over all entries, and from what is left of them when the means, or nothing, are taken off."""
        size, examples = self._examples * self._entries, self._examples
        squares, common = self._squares[: len(self._taken)], self._common[: len(self._taken)]
        places, totals, lefts = zip(*self._taken, strict=True)
        total, left = np.array(totals), np.array(lefts)
        self._taken.clear()
        squares -= (total / examples).astype(squares.dtype)[:, None]
        moments = (
            _sums(common) / size,
            total / size,
            np.sqrt(np.vecdot(squares, squares) / (examples * (examples - 1))) / self._entries,
            left / (size - self._entries),
            _sums((common == 0).astype(common.dtype)).astype(int),
        )
        self._found.update(zip(places, map(BatchMoments, *map(np.ndarray.tolist, moments)), strict=True))

    def moments(self) -> dict[int, BatchMoments]:
        """Return what was found, by place."""
        if self._taken:
            self._reduce()
        exact = {i: moments._replace(balanced=self._found[i].balanced) for i, moments in self._exact.items()}
        return self._found | exact


class _SmallSums(_Sums):
    """The same in fewer and smaller steps, in the precision of the entries, into memory that stays in the caches."""

    def __init__(self, examples: int, entries: int, dtype: torch.dtype) -> None:
        super().__init__(examples, entries, dtype)
        self._share = self._ones.dtype.type(1 / examples)
        # A sum of B examples is off by B u of what it adds up at most, so a mean as rounded takes at most (B u)² of the
        # squares too much off: less than rounding does where as much as B² u of them is left.
        self._plenty = examples**2 * torch.finfo(dtype).eps / 2
        # Where means are taken off, as tensors and as arrays.
        self._room = torch.empty(examples, entries, dtype=dtype, device="cpu")
        self._means = torch.empty(entries, dtype=dtype, device="cpu")
        self._room_numbers, self._means_numbers = self._room.numpy(), self._means.numpy()
        self._rest = np.empty(entries, self._kept)
        self._apart = np.empty(examples, self._kept)

    @property
    def _kept(self) -> npt.DTypeLike:
        return np.float64 if self._dtype == torch.float64 else np.float32

    def _sum(self, x: torch.Tensor, squares: Numbers, common: Numbers) -> None:
        rows = x.numpy(force=True)
        np.vecdot(rows, rows, squares)
        self._ones.dot(rows, common)

    @staticmethod
    def _square(common: Numbers) -> float:
        return float(common.dot(common))  # too short for threads

    def _left(self, x: torch.Tensor, common: Numbers, total: float) -> tuple[float, float]:
        ones, rows, rest = self._ones, self._room_numbers, self._rest
        np.multiply(common, self._share, self._means_numbers)
        torch.sub(x.detach(), self._means, out=self._room)  # twice as fast as NumPy's
        squares = float(ones.dot(np.vecdot(rows, rows, self._apart)))
        if squares >= self._plenty * total:
            return squares, 0.0
        ones.dot(rows, rest)
        return squares, float(rest.dot(rest))


def _sums(rows: Numbers) -> Numbers:
    """Of each row: short ones BLAS adds up several times as fast as NumPy, truth values too; long ones by threads."""
    entries = rows.shape[1]
    found: Numbers = rows.sum(1) if entries > 4 * PIECE else rows.dot(np.ones(entries, rows.dtype))
    return found


def _are_small(examples: int, entries: int) -> bool:
    return examples <= _FEW and entries <= 4 * PIECE and examples * entries <= SMALL


def _is_matrix(x: torch.Tensor, batch_size: int) -> bool:
    """Whether it is [examples, entries] as it comes."""
    numbers = x.layout == torch.strided and x.dtype in (torch.float32, torch.float64)
    return numbers and x.dim() == 2 and len(x) == batch_size


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
