"""Deep chains are tilted: what signal and gradient move by together is shared, and chains that keep both stay."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from steadygrad import init
from steadygrad.init.critical_point import TOLERANCE
from steadygrad.init.schemes import tilting
from steadygrad.prediction import predict


def chain(depth, width, activation, last=True):
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, *([nn.Linear(width, 4)] if last else []))


def batch(width):
    return torch.randn((8, width), generator=torch.Generator().manual_seed(0))


def untilted(model, x, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tilting, "_tilt", lambda *_: 0.0)
        return init.plan(model, x)


def moves(profile):
    """What the logs of signal and gradient rise by on their ways."""
    rows = [row for row in profile if row.kind == "Linear"][:-1]
    return math.log(rows[-1].q / rows[0].q), math.log(rows[0].grad_q / rows[-1].grad_q)


def test_both_move_by_half_of_what_they_move_by_together(monkeypatch):
    model, x = chain(40, 16, nn.ReLU), batch(16)
    plain, tilted = untilted(model, x, monkeypatch).after, init.plan(model, x).after
    (q, g), (q_tilted, g_tilted) = moves(plain), moves(tilted)
    over = min(max(-(q + g) / 2, -TOLERANCE), TOLERANCE)
    assert max(abs(q), abs(g)) > TOLERANCE
    # The first layer has one part of the tilt, so forty layers have 39/40 of it between them; two digits are kept.
    assert q_tilted - q == pytest.approx(over * 39 / 40, abs=0.005)
    assert q_tilted - g_tilted == pytest.approx(q - g, abs=0.001)  # functions are homogeneous
    assert max(abs(q_tilted), abs(g_tilted)) < max(abs(q), abs(g))


def test_a_draw_is_the_same_but_for_the_tilt(monkeypatch):
    model, x = chain(40, 16, nn.ReLU), batch(16)
    sizes = []
    for plan in (untilted(model, x, monkeypatch), init.plan(model, x)):
        plan.apply_(seed=1)
        first = model[0](x)
        last = model[1:-2](first)
        (gradient,) = torch.autograd.grad(last, first, torch.ones_like(last))
        sizes.append((float(last.detach().square().mean()), float(gradient.square().mean())))
    forward, backward = (math.log(b / a) for a, b in zip(*sizes, strict=True))
    assert -TOLERANCE / 2 <= forward < 0
    assert backward == pytest.approx(2 * forward * 39 / 40, rel=1e-3)  # in the middle q is what it was


def test_a_signal_that_is_held_rises_where_the_gradient_falls():
    model, x = chain(120, 16, nn.Tanh), batch(16)
    plan = init.plan(model, x)
    first, last = plan["0.weight"], plan["238.weight"]
    assert "rising" in first.reason
    assert first.reason == last.reason
    assert last.recipe.rms > plan["2.weight"].recipe.rms  # the larger signal is held back by more


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
@pytest.mark.parametrize("depth", [2, 10])
def test_where_nothing_can_move_nothing_is_predicted_or_changed(activation, depth, monkeypatch):
    monkeypatch.setattr(tilting, "predict", lambda *_: pytest.fail("predicted"))
    plan = init.plan(chain(depth, 128, activation), batch(128))
    assert not any("halfway" in row.reason for row in plan.rows)


def test_orthogonal_chains_that_keep_both_stay(monkeypatch):
    monkeypatch.setattr(tilting, "predict", lambda *_: pytest.fail("predicted"))
    init.plan(chain(100, 16, nn.Tanh), batch(16), scheme="orthogonal")


def test_chains_that_are_too_deep_to_be_predicted_are_noted(monkeypatch):
    monkeypatch.setattr(tilting, "DEEPEST", 30)
    plan = init.plan(chain(40, 16, nn.ReLU), batch(16))
    assert plan.notes == (
        "chains of 40 layers are taken to keep a batch's gradient: no more than 30 are predicted",
    )  # fmt: skip


def test_code_that_cannot_be_interpreted_keeps_its_point(monkeypatch):
    def fails(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(tilting, "predict", fails)
    plan = init.plan(chain(40, 16, nn.ReLU), batch(16))
    assert plan["2.weight"].reason == "edge of chaos of relu"


def test_nothing_goes_back_to_weights_that_are_not_asked_for(monkeypatch):
    """Every layer's gradient is seen on the way to the first weight of a chain."""
    asked = []

    def seen(make, inputs):
        asked.extend(name for name, p in make().named_parameters() if p.requires_grad)
        return predict(make, inputs)

    monkeypatch.setattr(tilting, "predict", seen)
    plan = init.plan(chain(40, 16, nn.ReLU), batch(16))
    assert asked == ["0.weight"]
    assert "halfway" in plan["0.weight"].reason
    assert all(p.requires_grad for p in plan.model.parameters())
