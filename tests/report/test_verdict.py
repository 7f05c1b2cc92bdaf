"""The verdict of theory in words."""

import math

import pytest

from steadygrad import theory
from steadygrad.report import explanation
from steadygrad.report.verdict import verdict_of, verdicts, weighted


@pytest.mark.parametrize(
    ("total", "fate", "survives"),
    [
        (1e-9, "vanishes", False),
        (math.exp(-5.9), "shrinks", True),
        (0.51, "keeps its size", True),
        (1.9, "keeps its size", True),
        (math.exp(5.9), "grows", True),
        (math.exp(6.1), "explodes", False),
        (0.0, "vanishes", False),
        (math.inf, "explodes", False),
        (math.nan, "is not known", False),
    ],
)
def test_the_fate_of_a_scale(total, fate, survives):
    verdict = verdict_of("signal", [1.0, total])
    assert (verdict.fate, verdict.survives) == (fate, survives)
    assert fate in str(verdict)


def test_default_linear_before_relu_loses_a_factor_of_six_a_layer():
    """what differs between examples and the squared gradient fall by 1/6 a layer."""
    profile = theory.mlp(depth=60, width=4096, activation="relu", init="torch-default")
    assert [verdict.fate for verdict in verdicts(profile)] == ["vanishes", "vanishes"]
    # Behind the first layers, where examples are not yet all alike and the variance not yet at its fixed point.
    deep = weighted(profile)[20:]
    for values in ([row.signal for row in deep], [row.grad_q for row in reversed(deep)]):
        verdict = verdict_of("scale", values)
        assert verdict.total ** (1 / verdict.steps) == pytest.approx(1 / 6, rel=0.005)


def test_xavier_before_relu_halves_the_gradient_a_layer():
    """factor 1/2 a layer, square layers."""
    _, backward = verdicts(theory.mlp(depth=40, width=4096, activation="relu", init="xavier-normal"))
    assert backward.total ** (1 / 39) == pytest.approx(1 / 2, rel=0.01)


def test_tanh_under_gain_five_thirds_is_chaotic():
    """the squared gradient grows 1.4e4 times over 50 layers."""
    profile = theory.mlp(depth=51, width=4096, activation="tanh", init=(5 / 3, 0.0), q=1.178480)
    assert verdicts(profile)[1].fate == "explodes"


def test_every_layer_is_there_when_all_rows_are_asked_for():
    profile = theory.mlp(depth=30, width=64, activation="tanh", init="lecun-normal")
    shown = explanation.render(profile, title="t", every_row=True).splitlines()
    assert [line.split()[0] for line in shown if line[:5].strip().isdigit()] == [str(i) for i in range(1, 31)]
    assert "⋮" in explanation.render(profile, title="t")
