"""Fills of a tensor with independent entries of mean 0 and a given deviation."""

from __future__ import annotations

import math
from typing import Literal

import torch

from steadygrad.errors import unknown_name

Distribution = Literal["normal", "uniform", "truncated_normal"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "uniform", "truncated_normal")

# Where a truncated normal is cut, in deviations before the cut.
_CUT = 2.0


@torch.no_grad()
def fill_(
    tensor: torch.Tensor, std: float, distribution: Distribution, *, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Fill a tensor with independent entries of mean 0 and standard deviation `std`; return it.

    Uniform is U(-a, a) with a = sqrt(3) std. The truncated normal is cut at 2 deviations of the normal that it is cut
    from, whose deviation is std / 0.8796, so that what is left has the deviation asked for.

    >>> fill_(torch.empty(2, 3), 0.0, "normal").tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    match distribution:
        case "normal":
            return tensor.normal_(0.0, std, generator=generator)
        case "uniform":
            bound = math.sqrt(3.0) * std
            return tensor.uniform_(-bound, bound, generator=generator)
        case "truncated_normal":
            return _truncated_(tensor, std, generator)
        case _:
            raise ValueError(unknown_name("distribution", distribution, DISTRIBUTIONS))


def truncated_std(cut: float = _CUT) -> float:
    """Return the deviation of a standard normal cut at ±cut: sqrt(1 - 2 cut p(cut) / P(|z| < cut)).

    >>> round(truncated_std(2.0), 12)
    0.879625661034
    """
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


def _truncated_(tensor: torch.Tensor, std: float, generator: torch.Generator | None) -> torch.Tensor:
    """By the inverse of the distribution function: one pass, no rejection."""
    edge = math.erf(_CUT / math.sqrt(2))
    scale = std / truncated_std()
    tensor.uniform_(-edge, edge, generator=generator).erfinv_().mul_(math.sqrt(2) * scale)
    # Rounding to a short type may step over the edge.
    return tensor.clamp_(-_CUT * scale, _CUT * scale)
