"""Bands and medians of what is no plain MLP: convolutions, norms, recurrent stacks, orthogonal weights."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.prediction import predict

from .test_positions import conv, draw, he_, seeded

SMALL = seeded(8, 3, 8, 8)
TANH = seeded(16, 64)
STEPS = seeded(16, 8, 64)


def cnn(norm=None, depth=4):
    layers = [conv(3 if i == 0 else 64, 64) for i in range(depth)]
    return he_(nn.Sequential(*(m for layer in layers for m in (layer, *([norm(64)] if norm else []), nn.ReLU()))))


def logs(factory, inputs, draws):
    return np.log([draw(factory, inputs, seed) for seed in range(draws)])


def test_the_bands_of_padded_convolutions_hold_and_are_as_wide_as_the_draws():
    """At each layer the share in the band is at least 95% less five standard errors, the deviation right within 10%.

    A deviation of N draws has the relative standard error 1/√(2N).
    """
    count = 80
    real, profile = logs(cnn, SMALL, count), predict(cnn, SMALL)
    for i, row in enumerate(profile):
        for column, ends in enumerate(((row.q_low, row.q_high), (row.grad_q_low, row.grad_q_high))):
            low, high = np.log(ends)
            sample = real[:, i, column]
            held = float(((sample >= low) & (sample <= high)).mean())
            assert held >= 0.95 - 5 * (0.95 * 0.05 / count) ** 0.5, (row.path, column, held)
            ratio = (high - low) / 3.92 / sample.std()
            assert abs(math.log(ratio)) < 0.1 + 5 / math.sqrt(2 * count) + 0.1 * column, (row.path, column, ratio)


def test_the_spread_over_white_images_is_that_of_as_many_directions_as_a_window_has():
    """Var(log q) = (2 tr(S²) - 6/5 Σ S_ii²)/tr(S)² / units, S the windows' second moment; uniform weights' κ₄ is -6/5.

    For white windows of 3 x 3 x 3 that is 4/5 of 1/27.
    """
    images = seeded(64, 3, 12, 12)
    row = predict(lambda: nn.Sequential(nn.Conv2d(3, 64, 3, bias=False)), images).layers[0]
    windows = nn.functional.unfold(images.double(), 3).transpose(1, 2).reshape(-1, 27)
    second = windows.T @ windows
    varied = 2 * (second**2).sum() - 6 / 5 * (second.diag() ** 2).sum()
    expected = math.sqrt(float(varied / second.trace() ** 2) / 64)
    assert math.log(row.q_high / row.q_low) / 3.92 == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d, nn.InstanceNorm2d, lambda n: nn.GroupNorm(4, n)], ids=["batch", "instance", "group"]
)
def test_norms_after_each_of_several_convolutions_lose_no_gradient(norm):
    """The median gradient of each layer, within 5 standard errors and 0.05."""
    count = 20
    real, profile = logs(lambda: cnn(norm), SMALL, count), predict(lambda: cnn(norm), SMALL)
    for i, row in enumerate(profile):
        error = 5 * math.sqrt(math.pi / 2 / count) * real[:, i, 1].std() + 0.05
        assert abs(math.log(row.grad_q) - np.median(real[:, i, 1])) < error, (row.path, row.kind)


class Stacked(nn.Module):
    """Two recurrent layers; all steps go to the head."""

    def __init__(self, kind):
        super().__init__()
        self.steps, self.head = getattr(nn, kind)(64, 64, 2, batch_first=True), nn.Linear(64, 16)

    def forward(self, x):
        return self.head(self.steps(x)[0])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_second_layer_meets_steps_that_have_much_in_common(kind):
    """The state of the second layer grows with what the steps of the first one share: within 5 errors and 0.1."""
    count = 15
    profile, head = predict(lambda: Stacked(kind), STEPS), []
    for seed in range(count):
        torch.manual_seed(seed)
        head.append(math.log(float(Stacked(kind)(STEPS).detach().double().square().mean())))
    error = 5 * math.sqrt(math.pi / 2 / count) * np.std(head) + 0.1
    assert abs(math.log(profile.layers[-1].q) - np.median(head)) < error


class Steps(nn.Module):
    """An LSTM cell, step by step; the last state goes to the head."""

    def __init__(self):
        super().__init__()
        self.cell, self.head, self.mark = nn.LSTMCell(64, 128), nn.Linear(128, 16), nn.Identity()

    def forward(self, x):
        h = c = torch.zeros(len(x), 128)
        for step in x.unbind(1):
            h, c = self.cell(step, (h, c))
            h = self.mark(h)
        return self.head(h)


def test_gradients_of_an_lstm_add_up_over_the_steps_that_met_the_same_weights():
    """At every step, within 5 standard errors and 0.1; without what steps share 0.13 a step would be missing."""
    count = 20
    marks = [row for row in predict(Steps, STEPS) if row.kind == "Identity"]
    real = np.log([_marks(seed) for seed in range(count)])
    for row, sample in zip(marks, real.T, strict=True):
        error = 5 * math.sqrt(math.pi / 2 / count) * sample.std() + 0.1
        assert abs(math.log(row.grad_q) - np.median(sample)) < error


def _marks(seed):
    torch.manual_seed(seed)
    model, states = Steps(), []
    model.mark.register_forward_hook(lambda m, a, out: states.append(out))
    out = model(STEPS)
    grads = torch.autograd.grad(out, states, torch.randn_like(out))
    return [float(g.double().square().mean()) for g in grads]


def orthogonal(depth):
    layers = [nn.Linear(64, 64, bias=False) for _ in range(depth)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
    return nn.Sequential(*itertools.chain.from_iterable((layer, nn.Tanh()) for layer in layers))


def test_a_square_orthogonal_matrix_keeps_lengths_both_ways():
    def factory():
        layers = [nn.Linear(64, 64, bias=False) for _ in range(5)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight)
        return nn.Sequential(*layers)

    rows = predict(factory, TANH).layers
    for row in rows:
        assert row.q == pytest.approx(float(TANH.double().square().mean()))
        assert row.q_high == pytest.approx(row.q_low)
        assert row.grad_q == pytest.approx(rows[-1].grad_q)


def test_a_thousand_orthogonal_layers_are_within_their_band():
    """Each draw within five of the predicted standard deviations, which stay as small as those of the draws are."""
    count, depth = 4, 1000
    profile, real = predict(lambda: orthogonal(depth), TANH), logs(lambda: orthogonal(depth), TANH, count)
    for i in (199, 999, 1799):
        row = profile.layers[i]
        for column, ends in enumerate(((row.q, row.q_low, row.q_high), (row.grad_q, row.grad_q_low, row.grad_q_high))):
            middle, low, high = np.log(ends)
            assert (abs(real[:, i, column] - middle) < 5 * (high - low) / 3.92).all(), (i, column)
            assert high - low < 0.4, (i, column)


def test_a_plan_hands_orthogonal_weights_to_predict_as_what_they_are():
    layers = [m for _ in range(5) for m in (nn.Linear(64, 64), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(64, 4))
    plan = sg.init.plan(model, TANH, scheme="orthogonal")
    assert all(plan[f"{i}.weight"].recipe.words.startswith("orthogonal") for i in (0, 2, 4))
    row = plan.after["0"]
    plan.apply_()
    measured = float(model[0](TANH).detach().double().square().mean())
    assert row.q_low * (1 - 1e-6) <= measured <= row.q_high * (1 + 1e-6)
    normal = sg.init.plan(model, TANH, scheme="critical").after["0"]
    assert row.q_high / row.q_low < normal.q_high / normal.q_low  # what is left is the draw of the bias


def test_gradients_behind_orthogonal_layers_vary_by_no_more_than_their_slopes():
    """|W^T g| = |g|, and |g h|² varies beside |g|² by at most 3 Var(h²)/E[h²]²/N, 3 being the fourth moment of g.

    For h = tanh' and small q, h² = 1 - 2 z² varies by 8 q².
    """
    depth, width, few = 200, 64, 0.05

    def network():
        layers = []
        for _ in range(depth):
            layers += [nn.Linear(width, width, bias=False), nn.Tanh()]
            nn.init.orthogonal_(layers[-2].weight)
        return nn.Sequential(*layers, nn.Linear(width, 10))

    rows = list(predict(network, few * TANH))
    first, last = (math.log(row.grad_q_high / row.grad_q_low) / (2 * 1.959964) for row in (rows[0], rows[-3]))
    slopes = [24 * row.q**2 / width for row in rows[:-1:2]]
    assert last < first < math.sqrt(last**2 + sum(slopes))
