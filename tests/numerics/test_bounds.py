"""Every function meets its stated bound, against 60 digits, on adversarial rows, in all four types."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numerics_exact import DTYPES, FRAMEWORKS, INF, UNIT, Row, call, close, naive_softmax, working

from steadygrad import numerics

EASY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
CASES = [(f, d) for f in FRAMEWORKS for d in DTYPES if (f, d) != ("numpy", torch.bfloat16)]  # NumPy has no bfloat16


@st.composite
def rows(draw):
    """Rows of every kind of trouble: wide, near ties, masked, huge, subnormal."""
    scale = draw(st.sampled_from([1e-30, 1e-3, 1.0, 10.0, 90.0, 700.0, 1e4, 6e4]))
    entry = st.one_of(st.floats(-1, 1), st.sampled_from([0.0, 1.0, -1.0, 1 - 2**-10, 1 + 2**-7]))
    values = [scale * v for v in draw(st.lists(entry, min_size=1, max_size=12))]
    values += [-INF] * draw(st.integers(0, 2))
    return draw(st.permutations(values)) * draw(st.sampled_from([1, 1, 1, 30]))


def _as(values, dtype):
    return torch.tensor(values, dtype=torch.float64).to(dtype).double().tolist()


def _finite(values):
    return any(v > -INF for v in values) and all(v < INF for v in values)


@pytest.mark.parametrize(("framework", "dtype"), CASES)
@EASY
@example([0.0, -104.0])
@example([0.0, -50.0])
@example([1e4, 0.0])
@given(values=rows())
def test_softmax_log_softmax_logsumexp_and_entropy(framework, dtype, values):
    values = _as(values, dtype)
    if not _finite(values):
        return
    row, u, tiny = Row(values), UNIT[working(dtype)], torch.finfo(working(dtype)).tiny
    for got, p in zip(call(numerics.softmax, framework, values, dtype), row.p, strict=True):
        assert close(got, p, (row.n + 4 + 2 * row.R) * u * p + tiny, dtype)
    for got, y, d in zip(call(numerics.log_softmax, framework, values, dtype), row.log_p, row.d, strict=True):
        if d == -mpmath.inf:
            assert got == -INF
        else:
            bound = u * (abs(d) + abs(y) + 2 * row.log_s + row.n - 1 + (row.R + 2) * row.part)
            assert close(got, y, bound + tiny, dtype)
    bound = u * (abs(row.lse) + 2 * row.log_s + row.part * (row.n + row.R))
    assert close(call(numerics.logsumexp, framework, values, dtype), row.lse, bound + tiny, dtype)
    bound = u * ((2 * row.n + 6 + 2 * row.R) * row.gap + 3 * row.log_s + (row.n + row.R) * row.part)
    got = call(numerics.entropy, framework, values, dtype)
    assert close(got, row.entropy, bound + row.n * (row.R + 1) * tiny, dtype)


@pytest.mark.parametrize(("framework", "dtype"), CASES)
@EASY
@given(values=rows(), temperature=st.sampled_from([0.01, 0.5, 3.0, 1e3]))
def test_a_temperature_doubles_the_spread_in_the_bound(framework, dtype, values, temperature):
    values = _as(values, dtype)
    if not _finite(values):
        return
    row, u, tiny = Row(values, temperature), UNIT[working(dtype)], torch.finfo(working(dtype)).tiny
    # Single precision rounds the temperature too, which is one more error of each quotient.
    spread = row.R * (3 if working(dtype) == torch.float32 else 2)
    for got, p in zip(call(numerics.softmax, framework, values, dtype, temperature=temperature), row.p, strict=True):
        assert close(got, p, (row.n + 4 + 2 * spread) * u * p + tiny, dtype)
    bound = u * (abs(row.lse) + 2 * row.log_s + row.part * (row.n + spread) + 2 * abs(row.m))
    assert close(
        call(numerics.logsumexp, framework, values, dtype, temperature=temperature), row.lse, bound + tiny, dtype
    )


@pytest.mark.parametrize(("framework", "dtype"), CASES)
@EASY
@given(pair=st.lists(st.tuples(st.floats(-30, 30), st.floats(-1e-3, 1e-3)), min_size=2, max_size=8))
def test_divergence(framework, dtype, pair):
    p = _as([a for a, _ in pair], dtype)
    q = _as([a + b * (1 if i % 2 else 1e4) for i, (a, b) in enumerate(pair)], dtype)
    one, two, u, n = Row(p), Row(q), UNIT[working(dtype)], len(p)
    t = [b - a for a, b in zip(one.log_p, two.log_p, strict=True)]
    true = mpmath.fsum(-a * b for a, b in zip(one.p, t, strict=True))
    each = [2 * r.R + 3 * r.log_s + n - 1 + (r.R + 2) * r.part for r in (one, two)]  # |y| <= R + log S
    weight = mpmath.fsum(abs(b - a) + a * abs(c) for a, b, c in zip(one.p, two.p, t, strict=True))
    bound = 3 * u * (sum(each) + n + 9) * weight + n * torch.finfo(working(dtype)).tiny
    x, y = (torch.tensor(v, dtype=dtype) for v in (p, q))
    args = (x, y) if framework == "torch" else (x.numpy(), y.numpy())
    got = float(numerics.kl_divergence(*args))
    assert got >= 0
    assert close(got, true, bound, dtype)


POINTWISE = {
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "log1mexp": lambda x: mpmath.log(-mpmath.expm1(-x)) if x < 1 else mpmath.log1p(-mpmath.exp(-x)),
}


@pytest.mark.parametrize(("framework", "dtype"), CASES)
@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise(name, framework, dtype):
    exponents = np.concatenate([-np.logspace(-6, 3, 60), [0.0], np.logspace(-6, 3, 60), np.linspace(0.6, 0.8, 40)])
    values = [v for v in _as(exponents.tolist(), dtype) if abs(v) < 1e4 and (name != "log1mexp" or v > 0)]
    u, tiny = UNIT[working(dtype)], torch.finfo(working(dtype)).tiny
    with mpmath.workdps(500):
        for value, got in zip(values, call(getattr(numerics, name), framework, values, dtype), strict=True):
            true = POINTWISE[name](mpmath.mpf(value))
            assert close(got, true, 8 * u * abs(true) + tiny, dtype), (value, got, true)


@EASY
@given(chunks=st.lists(st.lists(st.floats(-700, 700), min_size=1, max_size=6), min_size=1, max_size=5))
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_stream(framework, chunks):
    row = Row([v for chunk in chunks for v in chunk])
    make = np.array if framework == "numpy" else lambda v: torch.tensor(v, dtype=torch.float64)
    got = float(numerics.online_logsumexp(make(c) for c in chunks))
    slack = row.n + 2 * row.R + 5 * len(chunks)
    assert abs(got - row.lse) <= UNIT[torch.float64] * (abs(row.lse) + 2 * row.log_s + row.part * slack)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_shift_and_a_permutation_change_nothing_beyond_the_bound(framework):
    values = np.random.default_rng(0).normal(0, 5, 64)
    order = np.random.default_rng(1).permutation(64)
    row, u = Row(values.tolist()), UNIT[torch.float64]
    base = np.array(call(numerics.softmax, framework, values.tolist()))
    moved = np.array(call(numerics.softmax, framework, (values + 1024).tolist()))
    mixed = np.array(call(numerics.softmax, framework, values[order].tolist()))
    bound = 2 * float(row.n + 4 + 2 * row.R) * u
    shift = 2 * 1024 * u  # adding 1024 rounds each logit by at most u (1024 + |x|)
    assert np.all(np.abs(moved - base) <= (bound + 2 * shift) * base)
    assert np.all(np.abs(mixed - base[order]) <= bound * base[order])


def test_the_naive_form_overflows_where_this_one_does_not():
    for dtype, limit in ((np.float16, 11.09), (np.float32, 88.72), (np.float64, 709.78)):
        x = np.array([math.ceil(limit), 0.0], dtype)
        with np.errstate(all="ignore"):
            assert np.isnan(naive_softmax(x)).any()
        assert np.isfinite(numerics.softmax(x)).all()


def test_the_naive_form_loses_what_underflows():
    x = np.array([-800.0, -801.0])
    with np.errstate(all="ignore"):
        assert np.isnan(naive_softmax(x)).all()
    assert numerics.softmax(x).sum() == 1
