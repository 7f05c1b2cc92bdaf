"""A layer whose weights are computed of others has the row of the layer that has those weights, and they have none."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

import steadygrad as sg
from steadygrad.diagnosis import check

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
KINDS = [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal]


def network(kind, depth=2):
    torch.manual_seed(0)
    layers = [part for _ in range(depth) for part in (kind(nn.Linear(8, 8)), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(8, 4)).eval()


def plain(kind):
    model = network(kind)
    for module in list(model.modules()):
        if is_parametrized(module):
            remove_parametrizations(module, "weight")
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_measured_as_the_layer_with_those_weights(kind):
    rows, same = (sg.measure(m, X).layers for m in (network(kind), plain(kind)))
    assert [(r.path, r.kind, r.fan_in) for r in rows] == [(r.path, r.kind, r.fan_in) for r in same]
    for name in ("q", "c", "signal", "grad_q"):
        assert [getattr(r, name) for r in rows] == pytest.approx([getattr(r, name) for r in same], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_predicted_under_the_same_paths(kind):
    model = network(kind)
    assert [r.path for r in sg.predict(model, X)] == [r.path for r in sg.measure(model, X)]


def test_a_signal_that_vanishes_in_such_layers_is_found():
    model = network(parametrizations.weight_norm, depth=20).train()
    data = [(X, torch.randint(4, (64,)))]
    found = check({"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}, trial=False).findings
    assert {"FWD001", "FWD003", "BWD001"} <= {one.code for f in found for one in (f, *f.consequences)}
