"""Moments, norms and unit health in cheap primitives, against plain definitions in double precision."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.measurement import measure, observe
from steadygrad.measurement.batch_moments import Moments, batch_moments
from steadygrad.measurement.norms import PIECE, largest, norms_of, sum_of_squares
from steadygrad.measurement.unit_health import SMALL_SLOPE, slopes, unit_health

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def defined(x: torch.Tensor, batch_size: int) -> tuple[float, float, float, float]:
    """By the definitions alone: mean, q, its standard error over examples, variance over examples."""
    rows = x.double().reshape(batch_size, -1)
    each = rows.square().mean(1)
    values = rows.mean(), each.mean(), each.std() / batch_size**0.5, rows.var(0).mean()
    return tuple(value.item() for value in values)


def images(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors of 24 examples, of every kind that a network makes."""
    torch.manual_seed(0)
    x, first = torch.randn(24, 40, dtype=torch.float64), torch.randn(24, 40, dtype=torch.float64)
    first[1:] = first[1:2] + 2**-6 * first[1:]
    return {
        name: y.to(dtype)
        for name, y in {
            "plain": x,
            "rectified": x.relu(),
            "large mean": x + 512,
            "close examples": x[:1] + 2**-6 * x,
            "equal examples": x[:1].expand(24, 40),
            "first example apart": first,
            "one unit differs": torch.where(torch.arange(40) == 3, x, 1.0),
            "zero": torch.zeros(24, 40, dtype=torch.float64),
            "image": x.view(24, 5, 2, 4),
            "long": torch.randn(24, 4096 + 137, dtype=torch.float64),
            "many": torch.randn(24, 2**12, dtype=torch.float64),
        }.items()
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", images(torch.float64))
def test_moments_are_those_of_the_definitions(name, dtype):
    """The sum of squares is kept to some bits less than the type's: 3 for what cancels, 5 for a first of 24 apart."""
    x = images(dtype)[name]
    eps = torch.finfo(dtype if dtype == torch.float64 else torch.float32).eps
    found, expected = batch_moments(x, 24), defined(x, 24)
    rms = expected[1] ** 0.5
    assert found.mean == pytest.approx(expected[0], rel=0, abs=8 * eps * rms)
    assert found.q == pytest.approx(expected[1], rel=8 * eps)
    # A norm is off by some eps, and its square over examples spreads by that much where nothing else does.
    assert found.q_error == pytest.approx(expected[2], rel=64 * eps, abs=8 * eps * expected[1])
    assert found.signal == pytest.approx(expected[3], rel=256 * eps, abs=(eps * rms) ** 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stacked_tensors_are_each_their_own(dtype):
    """Many of one shape, more than fit together, of all kinds in turn, and written to afterwards."""
    moments, expected = Moments(64), []
    torch.manual_seed(0)
    for i in range(150):
        x = torch.randn(64, 100, dtype=dtype) * (1e-3 if i % 3 else 1) + (i % 5) * 10.0
        x = x * (1e-25 if i % 7 == 0 else 1)
        expected.append(defined(x, 64))
        assert moments.add(x) == i
        x.fill_(7)
    for found, values in zip(moments.read(), expected, strict=True):
        assert found[:2] + found[3:4] == pytest.approx(values[:2] + values[3:], rel=1e-4)
        assert found.q_error == pytest.approx(values[2], rel=1e-4, abs=1e-6 * values[1])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so_and_touches_no_other(bad):
    torch.manual_seed(0)
    moments, good = Moments(8), torch.randn(8, 5)
    spoilt = good.clone()
    spoilt[3, 2] = bad
    places = [moments.add(x) for x in (good, spoilt, good)]
    found = [moments.read()[place] for place in places]
    assert found[0] == found[2]
    assert found[0].q == pytest.approx(good.square().mean().item())
    assert not math.isfinite(found[1].q)
    assert not math.isfinite(found[1].mean)


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e-18, 1e17, 1e19, 1e30])
@pytest.mark.parametrize("common", [0.0, 1000.0])
def test_squares_neither_underflow_nor_overflow(scale, common):
    torch.manual_seed(0)
    x = (torch.randn(16, 300) + common) * scale
    found, expected = batch_moments(x, 16), defined(x, 16)
    assert found[1:4] == pytest.approx(expected[1:], rel=1e-4)


@pytest.mark.parametrize("view", ["transposed", "strided", "expanded", "channels last", "complex", "integers"])
def test_any_layout(view):
    torch.manual_seed(0)
    x = {
        "transposed": torch.randn(12, 16).t(),
        "strided": torch.randn(16, 24)[:, ::2],
        "expanded": torch.randn(16, 1).expand(16, 12),
        "channels last": torch.randn(16, 3, 4, 5).to(memory_format=torch.channels_last),
        "complex": torch.randn(16, 4, dtype=torch.complex64),
        "integers": torch.randint(9, (16, 12)),
    }[view]
    real = torch.view_as_real(x) if x.is_complex() else x
    assert batch_moments(x, 16)[:4] == pytest.approx(defined(real, 16), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("shape", [(200_000, 3), (300, 200), (6, 5000), (96, 3001)])
@pytest.mark.parametrize("kind", ["equal", "close"])
def test_large_tensors_and_long_sums_lose_no_more_than_small_ones(shape, kind):
    """Equal entries lose most when they are added up one after another; close examples are looked at in parts."""
    torch.manual_seed(0)
    x = torch.full(shape, 0.1) + (2**-9 * torch.randn(shape) if kind == "close" else 0.0)
    eps = torch.finfo(torch.float32).eps
    found, expected = batch_moments(x, shape[0]), defined(x, shape[0])
    assert found[:2] == pytest.approx(expected[:2], rel=8 * eps)
    assert found.signal == pytest.approx(expected[3], rel=256 * eps, abs=(eps * 0.1) ** 2)


def test_numpy_neither_warns_of_what_overflows_nor_keeps_other_settings():
    with np.errstate(all="raise"):
        before = np.geterr()
        for scale in (1e30, 1e-30, math.inf, math.nan):
            x = torch.ones(8, 5) * scale
            assert batch_moments(x, 8).q == pytest.approx(float(x[0, 0]) ** 2, nan_ok=True)
            assert norms_of([x]) == pytest.approx([float(x[0, 0]) * 40**0.5], nan_ok=True)
        assert np.geterr() == before


def test_one_example_no_entries_and_rows_that_are_no_examples():
    assert batch_moments(torch.full((1, 4), 3.0), 1).q == 9
    assert math.isnan(batch_moments(torch.ones(1, 4), 1).signal)
    assert math.isnan(batch_moments(torch.ones(4, 0), 4).q)
    odd = batch_moments(torch.full((3, 4), 2.0), 2)
    assert (odd.mean, odd.q) == pytest.approx((2, 4))
    assert math.isnan(odd.signal)
    assert batch_moments(torch.tensor(2.0), 2).q == 4


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 * 4096, 10**6])
def test_norms_are_those_in_double_precision(size, scale):
    """Equal entries lose most when they are added up one after another."""
    x = torch.full((size,), 0.1) * scale
    expected = x.double().norm().item()
    assert norms_of([x, torch.ones(2), x.double()]) == pytest.approx([expected, 2**0.5, expected], rel=1e-5)


class Watched(np.ndarray):
    """Notes how long the vectors are that products are taken of."""

    lengths: list[int] = []  # noqa: RUF012

    def dot(self, other):
        self.lengths.append(len(self))
        return np.asarray(self).dot(np.asarray(other))

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        assert ufunc is np.vecdot
        self.lengths.append(self.shape[-1])
        return getattr(ufunc, method)(*map(np.asarray, inputs), **kwargs)


@pytest.mark.parametrize("size", [1, PIECE, PIECE + 1, 10**6 + 1])
def test_sums_of_squares_hand_blas_no_vector_that_it_gives_to_threads(size):
    """OpenBLAS has threads of its own from 10,000 entries on."""
    Watched.lengths.clear()
    x = np.random.default_rng(0).standard_normal(size).view(Watched)
    assert sum_of_squares(x) == pytest.approx(np.square(np.asarray(x)).sum())
    assert 0 < max(Watched.lengths) <= PIECE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("entries", [[], [0.0], [1.0, -3.0], [2.0, math.nan], [-math.inf, 1.0], [math.nan, math.inf]])
def test_the_largest_entry_is_the_maximum_norm(dtype, entries):
    x = torch.tensor(entries, dtype=dtype)
    expected = float(torch.linalg.vector_norm(x, math.inf)) if entries else 0.0
    assert largest(x) == pytest.approx(expected, nan_ok=True)


def test_norms_of_nothing_and_of_halves_alone():
    assert norms_of([]) == []
    assert norms_of([torch.full((4,), 2.0, dtype=torch.bfloat16)]) == [4.0]


def test_norms_of_sparse_complex_and_broken_gradients():
    torch.manual_seed(0)
    dense = torch.randn(5, 4)
    z, bad = torch.randn(6, dtype=torch.complex64), torch.tensor([1.0, math.nan])
    found = norms_of([dense.to_sparse(), z, bad, torch.tensor(3.0), torch.full((3,), 1e4, dtype=torch.float16)])
    assert found[0] == pytest.approx(dense.norm().item())
    assert found[1] == pytest.approx(z.abs().norm().item())
    assert math.isnan(found[2])
    assert found[3:] == pytest.approx([3, 1e4 * 3**0.5], rel=1e-3)


ACTIVATIONS = [
    *(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU(), nn.ELU(), nn.SELU(), nn.LeakyReLU(), nn.Softplus()),
    *(nn.Hardtanh(), nn.ReLU6(), nn.Hardsigmoid(), nn.Hardswish(), nn.Mish(), nn.Softsign(), nn.LogSigmoid()),
    *(nn.Hardshrink(), nn.Softshrink(), nn.Tanhshrink(), nn.CELU(), nn.PReLU(40), nn.Threshold(0.1, 0.0)),
]


def told(module: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """Dead and saturated units by slopes at every example."""
    y, slope = slopes(module, x)
    usual = slopes(module, torch.linspace(-3, 3, x.numel()).view(x.shape))[1]
    steepest = max(slope.abs().max(), usual.abs().max())
    dead = ((y == 0) & (slope == 0)).all(0)
    saturated = (slope.abs() <= SMALL_SLOPE * steepest).all(0) & ~dead
    return dead.double().mean().item(), saturated.double().mean().item()


@pytest.mark.parametrize("shift", [0.0, -6.0, 6.0])
@pytest.mark.parametrize("module", ACTIVATIONS, ids=lambda m: type(m).__name__)
def test_units_are_those_that_slopes_at_all_examples_tell(module, shift):
    """Every fourth unit is pushed out, and every eighth but for the last example alone."""
    torch.manual_seed(0)
    x = torch.randn(64, 40)
    x[:, ::4] += 10 * shift
    x[-1, ::8] = 0.5
    found = unit_health(module, x, -1)
    assert (float(found.dead), float(found.saturated), found.units) == (*told(module, x), 40)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("shape", [(64, 40), (32, 5, 40)])
def test_dead_units_of_a_relu_are_told_from_the_sums_of_its_outputs(shape, inplace):
    torch.manual_seed(0)
    layer = nn.Linear(40, 40)
    with torch.no_grad():
        layer.bias[::4] = -100
    x = torch.randn(shape)
    row = measure(nn.Sequential(layer, nn.ReLU(inplace=inplace)), x)["1"]
    assert (row.dead_fraction, row.saturated_fraction) == (0.25, 0.0)


def test_a_written_input_is_looked_at_again():
    """A layer's input has the moments of the row that made it only as long as nothing writes to it."""

    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).mul_(2))

    torch.manual_seed(0)
    model, x = Doubled(), torch.randn(8, 4)
    seen = observe(model, x)
    assert seen.calls[1].entering_q == pytest.approx(4 * seen.profile["a"].q)
