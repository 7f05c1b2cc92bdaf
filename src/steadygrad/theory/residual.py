"""Residual streams: how the second moment grows with depth for branches scaled by alpha, and what keeps it bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from steadygrad.errors import not_allowed, unknown_name

from .activations import activation
from .activations.activation import Array
from .moments import Spec
from .variance_map import check_scales, variance_map

Norm = Literal["none", "pre", "post"]


@dataclass(frozen=True, kw_only=True)
class ResidualStream:
    """The stream's second moment and the gradient's factor, block by block.

    Attributes:
        q: second moment after 0, 1, ... L blocks; shape (L + 1,).
        branch: second moment of each scaled branch; shape (L,).
        skip_gradient: the factor of the squared gradient that the skip path alone passes through each block.
    """

    q: Array
    branch: Array
    skip_gradient: Array


def residual_stream(
    phi: Spec,
    *,
    depth: int,
    alpha: float = 1.0,
    sigma_w: float = math.sqrt(2.0),
    sigma_b: float = 0.0,
    norm: Norm = "none",
    q: float = 1.0,
) -> ResidualStream:
    """Return the second moment of a residual stream x <- x + alpha f(x), f a linear layer after phi.

    "none": q' = q + alpha^2 V(q); "pre" (the branch sees a normalised input): q' = q + alpha^2 V(1), linear growth;
    "post" (the sum is normalised): q' = 1, and the skip path's gradient falls by 1/(q + alpha^2 V(q)) a block. The
    branch's weights are independent of the stream, so the two add without a covariance.

    Args:
        phi: a name, an `Activation` or a callable.
        depth: blocks L, >= 1.
        alpha: scale of each branch, >= 0.
        sigma_w: the branch's weight scale.
        sigma_b: its bias's.
        norm: where normalization stands.
        q: of the input.

    References: De and Smith, "Batch normalization biases residual blocks", 2020, section 3; Xiong et al., "On layer
        normalization in the transformer architecture", 2020.

    >>> residual_stream("relu", depth=3).q.round(12).tolist()
    [1.0, 2.0, 4.0, 8.0]
    """
    check_scales(sigma_w, sigma_b)
    if norm not in ("none", "pre", "post"):
        raise ValueError(unknown_name("norm", norm, ("none", "pre", "post")))
    if depth < 1 or not alpha >= 0:
        raise ValueError(not_allowed("depth, alpha", "must be >= 1 and >= 0", (depth, alpha)))
    entry = activation(phi)
    stream, branches, skips = [float(q)], [], []
    for _ in range(depth):
        sees = 1.0 if norm == "pre" else stream[-1]
        branches.append(alpha**2 * variance_map(entry, sees, sigma_w=sigma_w, sigma_b=sigma_b))
        total = stream[-1] + branches[-1]
        stream.append(1.0 if norm == "post" else total)
        skips.append(1 / total if norm == "post" else 1.0)
    return ResidualStream(q=np.array(stream), branch=np.array(branches), skip_gradient=np.array(skips))


def bounded_branch_scale(depth: int, *, growth: float = math.e) -> float:
    """Return the alpha at which L unit-gain branches without normalization multiply q by `growth` in all.

    (1 + alpha^2)^L = growth, so alpha = sqrt(growth^(1/L) - 1): close to 1/sqrt(L) for growth = e.

    Args:
        depth: blocks L, >= 1.
        growth: the whole factor, > 1.

    References: Zhang, Dauphin and Ma, "Fixup initialization", 2019, section 2; De and Smith, 2020.

    >>> round(bounded_branch_scale(100) * 10, 4)
    1.0025
    """
    if depth < 1 or not growth > 1:
        raise ValueError(not_allowed("depth, growth", "must be >= 1 and > 1", (depth, growth)))
    return math.sqrt(math.expm1(math.log(growth) / depth))
