"""Moments of tensors over their examples."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import NamedTuple

import torch

from .norms import in_range, row_norms

# Smaller tensors wait, copied, for others of their shape, until so many entries are together, or so many tensors: calls
# cost more than their entries. Four megabytes of single precision stay in a cache that cores share, and room of that
# size, once given back, makes the C library keep what a step frees; of more tensors than `_ROOM` each costs more than
# a share of the calls.
_SMALL = 2**16
_TOGETHER = 2**20
_ROOM = 64

# Of a sum of squares at least this share must be left when the squared common part is taken off: no more than three of
# the bits of the sum are lost then.
_LEFT = 1 / 8

# Roundoffs that what is left may be off by, as a sum of squares may be.
_LOST = 256


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
    the mean of entry d. On the CPU it comes from passes in the tensor's own precision, the norm of each example and
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
        self._found: list[BatchMoments] = []
        self._waiting: dict[tuple[int, torch.dtype], _Stack] = {}
        self._sums: dict[tuple[int, torch.dtype], _Sums] = {}
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
        return self.batch_size > 1 and x.is_cpu and self._has_examples(x) and not x.is_complex()

    def _has_examples(self, x: torch.Tensor) -> bool:
        return x.dim() > 0 and x.numel() > 0 and x.shape[0] % self.batch_size == 0

    def read(self) -> list[BatchMoments]:
        """Return the moments of all tensors, in the order in which they were added; wait once for each device."""
        for stack in filter(attrgetter("places"), self._waiting.values()):
            self._look(stack.places, stack.entries[: len(stack.places)], overwrite=True)
        self._waiting.clear()
        for sums in self._sums.values():
            for place, moments in zip(sums.places, sums.moments(), strict=True):
                self._found[place] = moments
        self._sums.clear()
        self._read_devices()
        return self._found

    def _read_devices(self) -> None:
        for device in {x.device for _, x in self._on_devices}:
            here = [(place, x) for place, x in self._on_devices if x.device == device]
            for (place, _), values in zip(here, torch.stack([x for _, x in here]).tolist(), strict=True):
                self._found[place] = BatchMoments(*values)
        self._on_devices.clear()

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
        """Take the sums of tensors of one size, [tensors, examples, entries], on the CPU."""
        key = (x.shape[2], x.dtype)
        if key not in self._sums:
            self._sums[key] = _Sums(*x.shape[1:])
        self._sums[key].take(places, x, overwrite=overwrite)


class _Stack:
    """Room for small tensors of one size."""

    def __init__(self, size: int, dtype: torch.dtype, batch_size: int) -> None:
        self.shape = (batch_size, size // batch_size)
        room = min(_TOGETHER // size, _ROOM)
        self.entries = torch.empty(room, *self.shape, dtype=dtype)
        self.room = self.entries.unbind()
        self.places: list[int] = []


class _Sums:
    """What is kept of tensors of one size until many are read together: small operators cost more than their entries.

    Args:
        examples: of each tensor.
        entries: of each example.
    """

    def __init__(self, examples: int, entries: int) -> None:
        self.places: list[int] = []
        self._examples, self._entries = examples, entries
        self._read: list[BatchMoments] = []
        self._exact: dict[int, BatchMoments] = {}
        self._exact_left: dict[int, float] = {}
        self._kept: list[tuple[torch.Tensor, ...]] = []
        self._size = 0

    def take(self, places: list[int], x: torch.Tensor, *, overwrite: bool) -> None:
        """Go through the tensors, [tensors, examples, entries], which lose their values where they may."""
        norms, common = row_norms(x), x.sum(1)
        squares, first = row_norms(norms), len(self.places)
        for t in self._out_of_range(squares, x):
            self._exact[first + t] = BatchMoments(*_exact(x[t], self._examples).tolist())
        left, shared = squares, row_norms(common)
        if self._cancels(squares, shared):
            means = (common / self._examples).unsqueeze(1)
            x = x.sub_(means) if overwrite else x - means
            left = row_norms(row_norms(x))
            shared = row_norms(x.sum(1)) if self._rounding_shows(squares, left, x.dtype) else torch.zeros_like(left)
            for t in self._out_of_range(left, x):
                self._exact_left[first + t] = _about_mean(x[t].double()).item()
        self.places += places
        self._kept.append((norms, common, squares, left, shared))
        self._size += common.numel()
        if self._size >= _TOGETHER:
            self._reduce()

    def _out_of_range(self, norms: torch.Tensor, x: torch.Tensor) -> list[int]:
        size, examples = self._examples * self._entries, self._examples
        return [t for t, s in enumerate(norms.tolist()) if not in_range(s * s, size, examples, x.dtype)]

    def _cancels(self, squares: torch.Tensor, shared: torch.Tensor) -> bool:
        return bool((shared.square() > (1 - _LEFT) * self._examples * squares.square()).any())

    def _rounding_shows(self, squares: torch.Tensor, left: torch.Tensor, dtype: torch.dtype) -> bool:
        """Whether the rounding of means may add more to what is left than a sum of so many examples loses anyway.

        A sum of B numbers is off by at most B eps of that of their sizes: all means add (B eps)² of the squares.
        """
        eps = torch.finfo(dtype).eps
        return not bool((left.square() >= self._examples**2 * eps / _LOST * squares.square()).all())

    def _reduce(self) -> None:
        """From sums over all entries, and from what is left of them when the means, or nothing, are taken off."""
        norms, common, squares, left, shared = map(torch.cat, zip(*self._kept, strict=True))
        self._kept.clear()
        self._size = 0
        size, examples = self._examples * self._entries, self._examples
        columns = (
            common.sum(1).double() / size,
            _double_squares(squares) / size,
            _double_squares(norms).std(1) / (self._entries * examples**0.5),
            (_double_squares(left) - _double_squares(shared) / examples) / (size - self._entries),
            self._entries - common.count_nonzero(1),
        )
        self._read += map(BatchMoments, *(column.tolist() for column in columns))

    def moments(self) -> list[BatchMoments]:
        """Return what was found, in the order of the places."""
        if self._kept:
            self._reduce()
        for i, left in self._exact_left.items():
            self._read[i] = self._read[i]._replace(signal=left / (self._entries * (self._examples - 1)))
        for i, moments in self._exact.items():
            self._read[i] = moments._replace(balanced=self._read[i].balanced)
        return self._read


def _double_squares(x: torch.Tensor) -> torch.Tensor:
    return x.double().square_()


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
