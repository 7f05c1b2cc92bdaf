"""The softmax family in 60 digits, and the bounds as the docstrings state them."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import torch

mpmath.mp.dps = 60

UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24, torch.float64: 2.0**-53}
DTYPES = list(UNIT)
FRAMEWORKS = ["numpy", "torch"]
INF, NAN = math.inf, math.nan


def working(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def naive_softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


class Row:
    """A row of logits, exactly: m, R, s, probabilities and their logarithms."""

    def __init__(self, values, temperature=1.0):
        x = [mpmath.mpf(v) / mpmath.mpf(temperature) for v in values if v != -INF]
        self.n, self.m = len(values), max(x)
        self.d = [mpmath.mpf(v) / mpmath.mpf(temperature) - self.m if v != -INF else -mpmath.inf for v in values]
        finite = [d for d in self.d if d != -mpmath.inf]
        self.R = -min(finite)
        rest = sorted(finite)[:-1]
        self.s = mpmath.fsum(mpmath.exp(d) for d in rest)
        self.log_s = mpmath.log1p(self.s) if self.s > mpmath.mpf(10) ** -50 else self.s
        self.p = [mpmath.exp(d) / (1 + self.s) if d != -mpmath.inf else mpmath.mpf(0) for d in self.d]
        self.log_p = [d - self.log_s for d in self.d]
        self.lse = self.m + self.log_s
        self.part = self.s / (1 + self.s)
        self.gap = mpmath.fsum(p * -d for p, d in zip(self.p, self.d, strict=True) if d != -mpmath.inf)
        self.entropy = self.log_s + self.gap


def rounded(value, dtype):
    """The last rounding, to the type that is returned: half a unit, or half the smallest subnormal number."""
    info = torch.finfo(dtype)
    return UNIT[dtype] * abs(value) + info.smallest_normal * info.eps if dtype != working(dtype) else 0


def close(got, wanted, bound, dtype):
    """Whether a result is within a bound in the working type and a rounding to its own; out of range is inf."""
    limit = torch.finfo(dtype).max
    if abs(wanted) > limit:
        return math.isinf(got) or abs(got) >= limit * 0.99
    return abs(mpmath.mpf(got) - wanted) <= bound + rounded(wanted, dtype) * (1 + 2 * UNIT[dtype])


def call(fn, framework, values, dtype=torch.float64, **options):
    """A function of one array, on either framework, as nested lists of floats."""
    x = torch.tensor(values, dtype=dtype)
    if framework == "torch":
        return fn(x, **options).double().tolist()
    return np.asarray(fn(x.numpy(), **options), np.float64).tolist()
