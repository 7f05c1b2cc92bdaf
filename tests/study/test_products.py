"""Every way to compute a product gives the product, and the one that is taken is the fastest by far or the first."""

import itertools
import sys
from pathlib import Path

import pytest
import torch

from steadygrad.study.population import products

sys.path.insert(0, str(Path(__file__).parent))

from lying_matrices import lying


# A sum of k products is off by at most k eps of the sum of what is summed (Higham 2002, equation 3.5).
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lies", list(itertools.product([False, True], repeat=2)))
def test_every_way_gives_the_product(lies, dtype):
    torch.manual_seed(0)
    for n, k, m in [(5, 7, 3), (16, 64, 16), (70, 1, 70)]:
        a, b = lying(n, k, turned=lies[0], dtype=dtype), lying(k, m, turned=lies[1], dtype=dtype)
        out = torch.zeros(3, n, m, dtype=dtype)
        bound = k * torch.finfo(dtype).eps * (a.double().abs() @ b.double().abs())
        for way in products.all_ways(a, b, out, torch.zeros(3, k, m, dtype=dtype)):
            out.fill_(torch.nan)
            way()
            assert ((out.double() - a.double() @ b.double()).abs() <= bound).all()


def test_a_product_is_of_what_the_tensors_then_hold():
    a, b, out, turned = torch.ones(2, 3, 4), torch.ones(2, 5, 4).mT, torch.zeros(2, 3, 5), torch.zeros(2, 4, 5)
    multiply = products.product(a, b, out, turned=turned)
    for factor in (2.0, 3.0):
        a.fill_(factor)
        multiply()
        torch.testing.assert_close(out, torch.full_like(out, 4 * factor), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("seconds", "chosen"), [([1, 2, 3], 0), ([3, 2, 1], 2), ([1, 0.95, 1], 0), ([2, 0.5, 0.49], 1)]
)
def test_the_fastest_way_is_taken_and_of_close_ones_the_first(monkeypatch, seconds, chosen):
    now = [0.0]
    monkeypatch.setattr(products.time, "perf_counter", lambda: now[0])

    def way(takes):
        now[0] += takes

    assert products.fastest([lambda takes=takes: way(takes) for takes in seconds]) == chosen


def test_a_way_is_taken_by_its_best_time(monkeypatch):
    """What else runs on the machine makes a way slower now and then, never faster."""
    now, disturbed = [0.0], itertools.cycle([9.0, 0.0])
    monkeypatch.setattr(products.time, "perf_counter", lambda: now[0])

    def way(takes):
        now[0] += takes

    assert products.fastest([lambda: way(2.0), lambda: way(1.0 + next(disturbed))]) == 1
