"""Plain SGD that forms no gradient of a weight trains what a plain loop trains, whichever library adds the products."""

import itertools
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from steadygrad.study.point import Point
from steadygrad.study.population import update
from steadygrad.study.population.accumulate import all_accumulations
from steadygrad.study.population.direct import Bound, Direct
from steadygrad.study.population.lockstep import Population
from steadygrad.study.population.update import Formed, is_plain

sys.path.insert(0, str(Path(__file__).parent))

from lying_matrices import lying
from sequential_loop import sequential

WIDE = Point(
    data="gaussian", examples=96, depth=3, width=48, activation="relu", initializer="he-normal", batch_size=32, steps=7,
    dtype="float64", curve=0, learning_rate=0.05,
)  # fmt: skip
WAYS = (1, 2, 3)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def population_of(points, way, monkeypatch):
    monkeypatch.setattr(update, "_fastest_way", lambda network, x: way)
    population = Population(points, device=torch.device("cpu"))
    assert isinstance(population._update, Direct if way else Formed)
    return population


# A sum of k products and what it is added to is off by at most (k + 1) eps of the sum of what is summed, the factor's
# rounding by one more (Higham 2002, equation 3.5).
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lies", list(itertools.product([False, True], repeat=2)))
def test_every_way_adds_the_product(lies, dtype):
    torch.manual_seed(0)
    for n, k, m in [(5, 7, 3), (16, 64, 16), (70, 1, 70)]:
        a, b = lying(n, k, turned=lies[0], dtype=dtype), lying(k, m, turned=lies[1], dtype=dtype)
        before = torch.randn(3, n, m, dtype=dtype)
        expected = before.double() - 0.3 * (a.double() @ b.double())
        bound = (k + 2) * torch.finfo(dtype).eps * (before.abs() + 0.3 * (a.abs() @ b.abs())).double()
        for way in range(len(WAYS)):
            out = before.clone()
            all_accumulations(a, b, out, alpha=-0.3, turned=torch.zeros(3, k, m, dtype=dtype))[way]()
            assert ((out.double() - expected).abs() <= bound).all()


# In double the two differ by the order of sums alone: 7 steps of sums of up to 64 terms at 1e-16 each.
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.05, 0.01)], ids=["one rate", "two rates"])
@pytest.mark.parametrize("batch_size", [32, None])
@pytest.mark.parametrize(("activation", "loss"), [("relu", "cross-entropy"), ("tanh", "mse"), ("gelu", "mse")])
def test_equals_a_plain_loop(activation, loss, batch_size, rates, way, monkeypatch):
    # Where a batch is all examples these must not be more than the width, or gradients are formed.
    wide = replace(WIDE, activation=activation, loss=loss, batch_size=batch_size, examples=96 if batch_size else 40)
    points = [replace(wide, seed=seed, learning_rate=rate) for seed, rate in enumerate(rates)]
    population = population_of(points, way, monkeypatch)
    for _ in range(wide.steps):
        population.step()
    for k, point in enumerate(points):
        linears = [module for module in sequential(point)[0] if isinstance(module, nn.Linear)]
        for linear, (weight, bias) in zip(linears, population.parameters.network(k), strict=True):
            torch.testing.assert_close(weight, linear.weight.data, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(bias, linear.bias.data, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("way", WAYS)
def test_parameters_can_be_read_after_any_step(way, monkeypatch):
    read, unread = (population_of([replace(WIDE)], way, monkeypatch) for _ in range(2))
    for _ in range(5):
        read.step()
        unread.step()
        before = [block.clone() for block in read.parameters.blocks]
        torch.testing.assert_close(read.parameters.blocks, before, rtol=0, atol=0)
    torch.testing.assert_close(read.parameters.blocks, unread.parameters.blocks, rtol=0, atol=0)


@pytest.mark.parametrize("curve", [0, 12])
@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_what_diverges_is_held_where_it_is_held_with_gradients(nonfinite, curve, monkeypatch):
    calm = replace(WIDE, steps=12, curve=curve, loss="mse", learning_rate=0.01)
    wild = replace(calm, learning_rate=1e100, seed=5, nonfinite=nonfinite)
    made = []
    for way in (0, *WAYS):
        population = population_of([wild, calm], way, monkeypatch)
        for _ in range(calm.steps):
            population.step()
        made.append((population.outcomes(), population.parameters))
    (formed, _), *others = made
    assert formed[0].diverged_at is not None
    assert formed[1].diverged_at is None
    for outcomes, parameters in others:
        for ours, theirs in zip(outcomes, formed, strict=True):
            assert (ours.diverged_at, ours.steps_done, ours.skipped) == (
                theirs.diverged_at, theirs.steps_done, theirs.skipped,
            )  # fmt: skip
            assert ours.curve_grad_norm == pytest.approx(theirs.curve_grad_norm, rel=1e-9, nan_ok=True)
        for block in parameters.select([1]).blocks:
            assert torch.isfinite(block).all()


def test_a_bound_beyond_the_numbers_holds_nobody_whose_gradient_is_finite(monkeypatch):
    """|delta| |h| overflows in single precision long before delta h' does, where few of the examples are large."""
    point = replace(WIDE, dtype="float32", steps=1, learning_rate=1e-30)
    population = population_of([point], 1, monkeypatch)
    monkeypatch.setattr(Bound, "__call__", lambda self: torch.tensor([math.inf]))
    population.step()
    (outcome,) = population.outcomes()
    assert (outcome.diverged_at, outcome.steps_done) == (None, 1)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_the_bound_is_above_the_norm(activation, monkeypatch):
    points = [replace(WIDE, activation=activation, seed=seed, steps=1) for seed in range(4)]
    population = population_of(points, 1, monkeypatch)
    _, targets = population._batches.next()
    direct, network = population._update, population._update._network
    population._loss(direct.forward(), targets)
    with torch.no_grad():
        network.backward(direct._bound.see)
        network.form()
    norms = network.norms()
    assert (direct._bound() >= norms).all()
    assert (norms > 0).all()


def test_plain_is_what_needs_no_gradient_as_a_whole():
    assert is_plain([WIDE, replace(WIDE, learning_rate=1.0)])
    for other in (
        {"momentum": 0.9}, {"weight_decay": 0.1}, {"clip_norm": 1.0}, {"clip_value": 1.0}, {"optimizer": "adam"},
    ):  # fmt: skip
        assert not is_plain([WIDE, replace(WIDE, **other)])


def test_narrow_networks_and_trained_slopes_form_gradients(monkeypatch):
    monkeypatch.setattr(update, "_fastest_way", lambda network, x: 1)
    for point in (replace(WIDE, width=8), replace(WIDE, activation="prelu")):
        assert isinstance(Population([point], device=torch.device("cpu"))._update, Formed)


def test_timing_the_ways_changes_no_weight():
    update._fastest.clear()
    point = replace(WIDE, data="gaussian")
    direct = Population([point], device=torch.device("cpu"))
    assert update._fastest
    drawn = sequential(replace(point, steps=0))[0]
    linears = [module for module in drawn if isinstance(module, nn.Linear)]
    for linear, (weight, _) in zip(linears, direct.parameters.network(0), strict=True):
        torch.testing.assert_close(weight, linear.weight.data, rtol=0, atol=0)
