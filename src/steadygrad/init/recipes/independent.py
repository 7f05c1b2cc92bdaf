"""Independent entries of mean 0: normal, uniform, truncated normal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from steadygrad.errors import not_allowed, unknown_name
from steadygrad.fans import Layout

from .recipe import Independent

Distribution = Literal["normal", "uniform", "truncated_normal"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "uniform", "truncated_normal")

# Up to here torch works on a tensor in the thread that asks, and does not wake up others for it.
_ALONE = 1 << 15


@dataclass(frozen=True)
class Normal(Independent):
    """N(0, std²).

    >>> Normal(0.5).words
    'normal, std 0.5'
    """

    std: float

    @property
    def rms(self) -> float:
        """The deviation."""
        return self.std

    @property
    def words(self) -> str:
        """In words."""
        return f"normal, std {self.std:.3g}"

    def fill_(self, chunk: torch.Tensor, generator: torch.Generator) -> None:
        """By torch."""
        chunk.normal_(0.0, self.std, generator=generator)

    def code(self, layout: Layout | None) -> str:
        """In plain torch."""
        return f"p.normal_(0.0, {self.std:.9g}, generator=g)"


@dataclass(frozen=True)
class Uniform(Independent):
    """U(-a, a) with a = sqrt(3) std.

    >>> Uniform(1.0).words
    'uniform within ±1.73'
    """

    std: float

    @property
    def rms(self) -> float:
        """The deviation."""
        return self.std

    @property
    def bound(self) -> float:
        """sqrt(3) std."""
        return math.sqrt(3.0) * self.std

    @property
    def words(self) -> str:
        """In words."""
        return f"uniform within ±{self.bound:.3g}"

    def fill_(self, chunk: torch.Tensor, generator: torch.Generator) -> None:
        """By torch."""
        chunk.uniform_(-self.bound, self.bound, generator=generator)

    def code(self, layout: Layout | None) -> str:
        """In plain torch."""
        return f"p.uniform_({-self.bound:.9g}, {self.bound:.9g}, generator=g)"


@dataclass(frozen=True)
class TruncatedNormal(Independent):
    """A normal cut at ±`cut` of its own deviations, widened so that what is left has the deviation asked for.

    Drawn by the inverse of the distribution function, sqrt(2) erfinv(u) of a uniform u: one pass, no rejection.

    >>> TruncatedNormal(0.02).words
    'normal cut at ±0.0455, std 0.02'
    """

    std: float
    cut: float = 2.0

    @property
    def rms(self) -> float:
        """The deviation."""
        return self.std

    @property
    def scale(self) -> float:
        """Deviation of the normal before it is cut."""
        return self.std / truncated_std(self.cut)

    @property
    def words(self) -> str:
        """In words."""
        return f"normal cut at ±{self.cut * self.scale:.3g}, std {self.std:.3g}"

    def fill_(self, chunk: torch.Tensor, generator: torch.Generator) -> None:
        """By the inverse of the distribution function."""
        edge, limit = math.erf(self.cut / math.sqrt(2)), self.cut * self.scale
        for part in chunk.split(_ALONE):
            part.uniform_(-edge, edge, generator=generator).erfinv_().mul_(math.sqrt(2) * self.scale)
            part.clamp_(-limit, limit)  # rounding may step over the edge

    def code(self, layout: Layout | None) -> str:
        """In plain torch."""
        limit = self.cut * self.scale
        bounds = f"{-limit:.9g}, {limit:.9g}"
        return f"nn.init.trunc_normal_(p, 0.0, {self.scale:.9g}, {bounds}, generator=g)"


def truncated_std(cut: float = 2.0) -> float:
    """Return the deviation of a standard normal cut at ±cut: sqrt(1 - 2 cut p(cut) / P(|z| < cut)).

    Below 0.1 the difference is lost to rounding, and the series of a nearly uniform density stands in:
    variance cut²/3 (1 - 2 cut²/15).

    >>> round(truncated_std(2.0), 12)
    0.879625661034
    """
    if cut < 0.1:
        return cut / math.sqrt(3) * math.sqrt(1 - 2 * cut**2 / 15)
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


def independent(distribution: str, std: float, *, cut: float = 2.0) -> Independent:
    """Return the recipe of a distribution's name.

    Args:
        distribution: a name in `DISTRIBUTIONS`.
        std: deviation, >= 0.
        cut: where a truncated normal is cut, in its own deviations before the cut, > 0.

    >>> independent("uniform", 1.0)
    Uniform(std=1.0)
    """
    if not 0 < cut < math.inf:
        raise ValueError(not_allowed("cut", "must be > 0 and finite", cut))
    match distribution:
        case "normal":
            return Normal(std)
        case "uniform":
            return Uniform(std)
        case "truncated_normal":
            return TruncatedNormal(std, cut)
        case _:
            raise ValueError(unknown_name("distribution", distribution, DISTRIBUTIONS))
