"""A parameter whose parts were filled apart: a forget gate's bias, the queries of a packed projection."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch

from .values import Fill, Unknown

NOTHING = Unknown("memory that nothing filled")
MOST = 64  # parts that are kept apart


@dataclass(frozen=True, slots=True)
class Patchwork:
    """What filled a storage of `count` entries at first, and the parts [start, stop) filled since, the latest last."""

    first: Fill | None
    count: int
    parts: tuple[tuple[int, int, Fill], ...] = ()

    def patched(self, start: int, stop: int, fill: Fill) -> Patchwork:
        """Return it with one part more; one that goes on where the last one of its kind ended is joined to it."""
        kept = tuple(part for part in self.parts if not (start <= part[0] and part[1] <= stop))
        if kept and kept[-1][1] == start and _alike(kept[-1][2], fill):
            start = kept[-1][0]
            kept = kept[:-1]
        return replace(self, parts=(*kept, (start, stop, fill)))

    def known(self, start: int, stop: int) -> Fill | Unknown:
        """Return what fills the entries [start, stop): one fill, or a mixture of several."""
        edges = sorted({start, stop, *(e for a, b, _ in self.parts for e in (a, b) if start < e < stop)})
        pieces = [(b - a, fill) for a, b in itertools.pairwise(edges) if (fill := self._at(a)) is not None]
        if len(pieces) < len(edges) - 1:
            return NOTHING
        fills = [fill for _, fill in pieces]
        return fills[0] if all(f is fills[0] for f in fills) else _mixture(pieces)

    @property
    def is_number(self) -> bool:
        """Whether each entry has one number that is known."""
        fills = [fill for _, _, fill in self.parts]
        return all(fill.variance == 0 for fill in fills) and self.first is not None and self.first.variance == 0

    def _at(self, place: int) -> Fill | None:
        return next((fill for a, b, fill in reversed(self.parts) if a <= place < b), self.first)


def _alike(one: Fill, other: Fill) -> bool:
    return replace(one, source=0) == replace(other, source=0)


def _mixture(pieces: list[tuple[int, Fill]]) -> Fill:
    """Return the fill that has the moments of entries of several."""
    total = sum(size for size, _ in pieces)
    mean = sum(size * f.mean for size, f in pieces) / total
    variance = sum(size * (f.variance + (f.mean - mean) ** 2) for size, f in pieces) / total
    if variance == 0:
        return pieces[-1][1]
    fourth = sum(size * _fourth(f, f.mean - mean) for size, f in pieces) / total
    return Fill(mean, variance, pieces[-1][1].source, fourth / variance**2, "approximate")


def _fourth(f: Fill, shift: float) -> float:
    """Return E[(w - m)⁴] about another mean; the third moment is taken as zero."""
    return f.kurtosis * f.variance**2 + 6 * f.variance * shift**2 + shift**4


def extent(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the first entry of its storage that a tensor takes up, and the one after the last."""
    start = int(tensor.storage_offset())
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return start, start + int(reach) + 1


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor takes up every entry from its first to its last."""
    start, stop = extent(tensor)
    return stop - start == tensor.numel()
