"""A population trains what a plain loop of torch trains, network by network."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from steadygrad import theory
from steadygrad.study.point import Point
from steadygrad.study.population.activations import ACTIVATIONS
from steadygrad.study.population.held import held
from steadygrad.study.population.lockstep import Population
from steadygrad.study.population.lockstep import train as train_all

sys.path.insert(0, str(Path(__file__).parent))

from sequential_loop import sequential

SMALL = Point(
    data="gaussian", examples=96, depth=3, width=7, activation="relu", initializer="he-normal", batch_size=32, steps=7,
    dtype="float64", curve=7, gain=0.7,
)  # fmt: skip
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "momentum": {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.8, "nesterov": True},
    "adam": {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.02},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "beta2": 0.99, "weight_decay": 0.1},
}
CLIPS = {"unclipped": {}, "by norm": {"clip_norm": 0.3}, "by value": {"clip_value": 0.01}}


def population_of(point):
    """Three networks that differ in all that may differ."""
    other = {"clip_norm": 2.0} if point.clip_norm else {"clip_value": 0.1} if point.clip_value else {}
    slope = {"slope": 0.4} if point.activation in ("leaky_relu", "prelu") else {}
    return [
        point,
        replace(point, seed=1, learning_rate=point.learning_rate / 3, gain=1.1, weight_decay=0.003, **other),
        replace(point, seed=2, initializer=None, gain=1.0, sigma_w=0.8, sigma_b=0.3, bias_mean=0.1, beta1=0.8,
                epsilon=1e-4, clip_norm=None, clip_value=None, **slope),
    ]  # fmt: skip


def train(points):
    population = Population(points, device=torch.device("cpu"))
    for _ in range(points[0].steps):
        population.step()
    return population, population.outcomes()


def assert_equal_to_sequential(points, rtol, atol):
    population, outcomes = train(points)
    for k, (point, outcome) in enumerate(zip(points, outcomes, strict=True)):
        model, losses = sequential(point)
        ours = population.parameters.network(k)
        linears = [m for m in model if isinstance(m, nn.Linear)]
        for linear, (weight, bias) in zip(linears, ours, strict=True):
            torch.testing.assert_close(weight, linear.weight.data, rtol=rtol, atol=atol)
            torch.testing.assert_close(bias, linear.bias.data, rtol=rtol, atol=atol)
        torch.testing.assert_close(
            torch.tensor(outcome.curve_loss[: len(losses)]), torch.tensor(losses), rtol=rtol, atol=atol, equal_nan=True
        )
        if point.activation == "prelu":
            slopes = torch.stack([m.weight.data for m in model if isinstance(m, nn.PReLU)])
            torch.testing.assert_close(population.parameters.slope[:, k, 0], slopes, rtol=rtol, atol=atol)


# In double the two differ by the order of sums alone: 7 steps of sums of 64 terms at 1e-16 each, through Adam's
# quotients g / sqrt(g^2), which amplify where g is small.
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "prelu", "tanh", "gelu"])
def test_equals_a_plain_loop(activation, loss, optimizer, clip):
    point = replace(SMALL, activation=activation, loss=loss, **OPTIMIZERS[optimizer], **CLIPS[clip])
    assert_equal_to_sequential(population_of(point), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_equals_a_plain_loop_with_every_activation(activation, optimizer):
    # exp and x^2 grow so fast that a network of usual scale leaves the numbers within a step.
    scale = {"gain": 0.1, "learning_rate": 1e-4} if activation in ("exp", "square") else {"gain": 0.3}
    point = replace(SMALL, activation=activation, **OPTIMIZERS[optimizer] | scale, clip_norm=1.0)
    assert_equal_to_sequential(population_of(point), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("batch_size", [40, 96, None])
def test_equals_a_plain_loop_where_batches_do_not_divide_the_examples_or_hold_all(batch_size):
    point = replace(SMALL, batch_size=batch_size, **OPTIMIZERS["momentum"])
    assert_equal_to_sequential(population_of(point), rtol=1e-7, atol=1e-9)


def test_every_activation_of_theory_can_be_trained():
    assert set(ACTIVATIONS) == set(theory.NAMES)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_those_of_theory(name):
    u = torch.linspace(-4, 4, 41, dtype=torch.float64) + 0.013
    known, phi = theory.activation(name), ACTIVATIONS[name]
    slope = torch.tensor(phi.default_slope, dtype=torch.float64)
    z, gradient = u.clone(), torch.ones_like(u)
    h = z if phi.from_output else torch.empty_like(u)
    phi.forward(z, h, slope)
    phi.backward(gradient, z, h, slope)
    torch.testing.assert_close(h, torch.from_numpy(known.phi(u.numpy())))
    torch.testing.assert_close(gradient, torch.from_numpy(known.derivative(u.numpy())))


def test_equals_a_plain_loop_in_single_precision():
    point = replace(SMALL, dtype="float32", width=16, **OPTIMIZERS["momentum"])
    # Seven steps, each a sum of up to 64 products: 64 eps = 7.6e-6 relative to what is summed.
    assert_equal_to_sequential(population_of(point), rtol=2e-4, atol=2e-5)


def test_what_diverges_touches_nothing_else():
    calm = replace(SMALL, steps=12, curve=12, loss="mse", learning_rate=0.01)
    wild = replace(calm, learning_rate=1e100, seed=5)
    population, outcomes = train([wild, calm, wild])
    alone, alone_outcomes = train([calm])
    assert outcomes[0].diverged_at is not None
    assert outcomes[1].diverged_at is None
    assert outcomes[0].steps_done == outcomes[0].diverged_at
    torch.testing.assert_close(
        population.parameters.select([1]).blocks, alone.parameters.blocks, rtol=1e-12, atol=1e-14
    )
    assert outcomes[1].curve_loss == pytest.approx(alone_outcomes[0].curve_loss, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_a_diverged_network_is_held_as_a_plain_loop_holds_it(nonfinite, optimizer):
    calm = replace(SMALL, steps=12, curve=12, loss="mse", **OPTIMIZERS[optimizer])
    wild = replace(calm, learning_rate=1e100, seed=5, nonfinite=nonfinite)
    _, outcomes = train([wild, calm])
    population, _ = train([wild, calm])
    model, _ = sequential(wild)
    step = outcomes[0].diverged_at
    assert step is not None
    assert outcomes[0].skipped == (12 - step if nonfinite == "skip" else 0)
    for linear, (weight, _) in zip(
        [m for m in model if isinstance(m, nn.Linear)], population.parameters.network(0), strict=True
    ):
        torch.testing.assert_close(weight, linear.weight.data, rtol=1e-6, atol=0)


@pytest.mark.parametrize("waits", [True, False])
def test_held_networks_keep_every_bit(waits):
    """Both ways: the one of a CPU, and the one of a device that nothing waits for."""
    blocks = [torch.randn(3, 4, 2, 2), torch.tensor([1.0, math.nan, math.inf, 0.0]).view(1, 4, 1, 1)]
    before = [b.clone() for b in blocks]
    active = torch.tensor([True, False, False, True])
    with held(blocks, active, waits=waits):
        for block in blocks:
            block.mul_(2).add_(1)
    for now, then in zip(blocks, before, strict=True):
        torch.testing.assert_close(now[:, 1:3], then[:, 1:3], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(now[:, ::3], 2 * then[:, ::3] + 1, rtol=0, atol=0)


def test_a_population_that_has_diverged_whole_stops():
    wild = replace(SMALL, steps=10**6, curve=0, loss="mse", learning_rate=1e100)
    (outcome,) = train_all([wild])
    assert outcome.diverged_at == outcome.steps_done < 64


def test_accuracy_is_of_the_examples_held_out():
    points = [Point(depth=2, width=32, activation="relu", initializer="he-normal", learning_rate=0.1, steps=150)]
    _, outcomes = train(points)
    model, _ = sequential(points[0])
    from steadygrad.study.data import load

    data = load("digits")
    with torch.no_grad():
        right = (model(data.test_inputs.float()).argmax(1) == data.test_targets.argmax(1)).float().mean().item()
    assert outcomes[0].test_accuracy == pytest.approx(right, abs=1.5 / len(data.test_inputs))
    assert outcomes[0].test_accuracy > 0.8
    assert math.isfinite(outcomes[0].train_loss)
