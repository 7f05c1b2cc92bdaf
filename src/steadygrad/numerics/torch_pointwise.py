"""The sigmoid's family on torch tensors, by the framework's kernels where these are right."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_CUT = 40.0  # exp(-40) is below the unit roundoff of 40 in double precision


def sigmoid(x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x)).

    >>> sigmoid(torch.tensor([0.0]))
    tensor([0.5000])
    """
    return torch.sigmoid(x)


def log_sigmoid(x: Tensor) -> Tensor:
    """Return min(x, 0) - log1p(exp(-|x|)).

    >>> log_sigmoid(torch.tensor([-800.0]))
    tensor([-800.])
    """
    return functional.logsigmoid(x)


def softplus(x: Tensor) -> Tensor:
    """Return log1p(exp(x)), and x itself above 40.

    >>> softplus(torch.tensor([800.0]))
    tensor([800.])
    """
    return functional.softplus(x, threshold=_CUT)


def log1mexp(x: Tensor) -> Tensor:
    """Return log(-expm1(-x)) up to ln 2, log1p(-exp(-x)) above; the branch not taken sees ln 2, so no NaN comes back.

    >>> log1mexp(torch.tensor([math.log(2)]))
    tensor([-0.6931])
    """
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    small = wide <= math.log(2)
    low = torch.log(-torch.expm1(-wide.masked_fill(~small & ~wide.isnan(), math.log(2))))
    high = torch.log1p(-torch.exp(-wide.masked_fill(small, math.log(2))))
    return torch.where(small, low, high).to(x.dtype)
