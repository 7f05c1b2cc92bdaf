"""A layer six sigma off its prediction is a bug of the model; a draw of the weights never is."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.profile.comparison import BEYOND, MODEL_ERROR
from steadygrad.report import comparison as text


def network():
    sizes = [32, 64, 64, 64, 64]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(64, 4))


@pytest.fixture(scope="module")
def x():
    return torch.randn(128, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def predicted(x):
    return sg.predict(network, x)


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_of_the_weights_is_within(seed, x, predicted):
    torch.manual_seed(seed)
    comparison = predicted.compare(sg.measure(network(), x))
    assert len(comparison.rows) == 9
    assert not comparison.beyond
    assert not comparison.unmatched
    assert "within 6 sigma" in str(comparison)


def test_a_bug_of_the_model_is_beyond_and_named(x, predicted):
    model = network()
    with torch.no_grad():
        model[4].weight.mul_(6.0)
    comparison = predicted.compare(sg.measure(model, x))
    assert next(row for row in comparison.rows if abs(row.z_q) > BEYOND).path == "4"
    assert "'4' (q is 3" in str(comparison)
    table = text.render(comparison)
    assert table.startswith(str(comparison)[:40])
    assert "sigma" in table
    assert {len(line) <= 100 for line in table.splitlines()} == {True}


def test_z_is_the_log_over_the_three_errors():
    """Band, standard error and theory's own error add as squares, as independent errors do."""
    row = {"path": "a", "kind": "Linear"}
    low, high = math.exp(-1.959964 * 0.2), math.exp(1.959964 * 0.3)
    predicted = sg.LayerSignal(q=1.0, q_low=low, q_high=high, mark="approximate", **row)
    for q, band in ((2.0, 0.3), (0.5, 0.2)):
        measured = sg.LayerSignal(q=q, q_low=0.9 * q, q_high=1.1 * q, mark="measured", **row)
        pair = [sg.Profile(layers=(r,), source=s) for r, s in ((predicted, "predicted"), (measured, "measured"))]
        (found,) = pair[0].compare(pair[1]).rows
        assert found.z_q == pytest.approx(math.log(q) / math.hypot(band, 0.1, MODEL_ERROR["approximate"]))
        assert math.isnan(found.z_grad_q)
        assert not found.is_beyond


def test_calls_of_one_module_are_paired_in_their_order(x):
    layer = nn.Linear(32, 32)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    comparison = sg.predict(model, x).compare(sg.measure(model, x))
    assert [row.path for row in comparison.rows] == ["0", "1", "0"]
    short = dataclasses.replace(sg.measure(model, x), layers=sg.measure(model, x).layers[:2])
    assert sg.predict(model, x).compare(short).unmatched == ("0",)


def test_only_a_measurement_is_held_against_a_prediction(x, predicted):
    with pytest.raises(ValueError, match="must be a measured Profile, got 'predicted'"):
        predicted.compare(predicted)
    with pytest.raises(ValueError, match="must be a measured Profile, got 'int'"):
        predicted.compare(3)
    measured = sg.measure(network(), x)
    with pytest.raises(ValueError, match="call it on what `predict` returned"):
        measured.compare(measured)
