"""Recurrent networks, cells, and what they are made of: memory written in parts, sums that share a term.

Weights are met again at each step, so what goes through them is kin: states, their gradients and the gates that both
meet. Signals and gradients of all steps are held to 0.1.
"""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import hermite, kinship, predict

from .test_positions import DRAWS, draw, note, seeded

STEPS = seeded(16, 8, 64)


class Last(nn.Module):
    """A whole network; its last step goes to the head."""

    def __init__(self, kind):
        super().__init__()
        self.steps, self.head = getattr(nn, kind)(64, 64, batch_first=True), nn.Linear(64, 16)

    def forward(self, x):
        return self.head(self.steps(x)[0][:, -1])


class Cells(nn.Module):
    """A loop over cells by hand, one upon the other."""

    def __init__(self, kind, layers=1):
        super().__init__()
        self.cells = nn.ModuleList(getattr(nn, kind)(64, 64) for _ in range(layers))
        self.head, self.mark = nn.Linear(64, 16), nn.Identity()

    def forward(self, x):
        h = torch.zeros(len(x), 64)
        states = [(h, h) if isinstance(cell, nn.LSTMCell) else h for cell in self.cells]
        for h in x.unbind(1):
            for i, cell in enumerate(self.cells):
                states[i] = cell(h, states[i])
                h = self.mark(states[i][0] if isinstance(states[i], tuple) else states[i])
        return self.head(h)


class Written(nn.Module):
    """An RNN of two layers and a function."""

    def __init__(self):
        super().__init__()
        self.of_input, self.of_state = nn.Linear(64, 64), nn.Linear(64, 64, bias=False)
        self.head, self.mark = nn.Linear(64, 16), nn.Identity()

    def forward(self, x):
        h = torch.zeros(len(x), 64)
        for step in x.unbind(1):
            h = self.mark(torch.tanh(self.of_input(step) + self.of_state(h)))
        return self.head(h)


def agree(row, real, column, slack=0.1):
    predicted = (row.q, row.grad_q)[column]
    with np.errstate(divide="ignore"):
        log = np.log(real)
    error = 4 * (np.pi / 2 / len(log)) ** 0.5 * log.std() + slack
    assert abs(np.log(predicted) - np.median(log)) < error, (row.path, row.kind, column)


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
@pytest.mark.parametrize("layers", [1, 2])
def test_cells_agree_with_draws_at_all_steps(kind, layers):
    """The medians of q and grad_q of every state within 0.1, or four standard errors of 60 draws."""
    profile = predict(lambda: Cells(kind, layers), STEPS)
    assert not profile.unknown
    real = np.log([draw_marks(lambda: Cells(kind, layers), seed) for seed in range(60)])
    rows = [row for row in profile if row.kind in ("Identity", "Linear")]
    predicted = np.log([(row.q, row.grad_q) for row in rows])
    error = 4 * (np.pi / 2 / len(real)) ** 0.5 * real.std(0)
    off = np.abs(predicted - np.median(real, 0))
    assert (off < np.maximum(error, 0.1)).all(), off


def test_inputs_of_two_steps_are_what_they_are():
    """The sum of W x over steps that all show the same x is their number times W x."""

    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.end = nn.Linear(64, 64, bias=False), nn.Identity()

        def forward(self, x):
            return self.end(sum(self.layer(step) for step in x.unbind(1)))

    x = seeded(16, 1, 64)
    one, four = (predict(Sums, x.expand(16, count, 64).contiguous())["end"] for count in (1, 4))
    apart = predict(Sums, seeded(16, 4, 64))["end"]
    assert four.q == pytest.approx(16 * one.q, rel=0.02)
    assert apart.q == pytest.approx(4 * one.q, rel=0.2)


def draw_marks(factory, seed):
    """Only modules that return one tensor."""
    torch.manual_seed(seed)
    model, rows, grads = factory(), [], {}

    def hook(module, args, out):
        rows.append(float(out.detach().double().square().mean()))
        out.register_hook(functools.partial(note, grads, len(rows) - 1))

    for module in model.modules():
        if isinstance(module, nn.Identity | nn.Linear):
            module.register_forward_hook(hook)
    out = model(STEPS)
    out.backward(torch.randn_like(out))
    return [[q, grads[i]] for i, q in enumerate(rows)]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_whole_networks_agree_with_draws(kind):
    profile = predict(lambda: Last(kind), STEPS)
    assert not profile.unknown
    head = profile.layers[-1]
    real = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model = Last(kind)
        real.append(float(model(STEPS).detach().double().square().mean()))
    agree(head, np.array(real), 0)


def test_a_hand_written_network_agrees_with_draws_at_all_steps():
    profile = predict(Written, STEPS)
    assert not profile.unknown
    real = np.array([draw(Written, STEPS, seed) for seed in range(DRAWS)])
    for i, row in enumerate(profile):
        if row.q > 0:
            agree(row, real[:, i, 0], 0)
        agree(row, real[:, i, 1], 1)


def test_what_two_terms_of_a_sum_share_is_counted():
    """(h - n) z + n with z = 1/2 is the mean of both, of variance (1 + 1)/4."""

    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.h, self.n, self.z = (nn.Linear(4096, 4096, bias=False) for _ in range(3))
            self.end = nn.Identity()
            for layer in (self.h, self.n):
                nn.init.normal_(layer.weight, std=1 / 64)
            nn.init.zeros_(self.z.weight)

        def forward(self, x):
            h, n, z = self.h(x), self.n(x), torch.sigmoid(self.z(x))
            return self.end((h - n) * z + n)

    profile = predict(Gate, (4, 4096))
    assert profile["end"].q == pytest.approx(0.5, rel=0.01)


def test_a_gate_that_is_changed_in_place_leaves_the_others_as_they_are():
    class Gates(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.one, self.two = nn.Linear(4096, 8192, bias=False), nn.Identity(), nn.Identity()
            nn.init.normal_(self.both.weight, std=1 / 64)

        def forward(self, x):
            h = self.both(x)
            a, b = h[:, :4096], h[:, 4096:]
            a.sigmoid_()
            return self.one(a) * self.two(b)

    with torch.no_grad():
        profile = predict(Gates, (4, 4096))
    assert profile["one"].q == pytest.approx(0.2934, rel=0.01)  # E[sigmoid(z)^2]
    assert profile["two"].q == pytest.approx(1.0, rel=0.01)


def test_a_part_that_is_read_twice_beside_one_that_was_changed_is_one_signal():
    """E[(z z)²] = E[z⁴] = 3 of a Gaussian; of two parts that know nothing of each other it were 1."""

    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.mark = nn.Linear(4096, 8192, bias=False), nn.Identity()
            nn.init.normal_(self.both.weight, std=1 / 64)

        def forward(self, x):
            h = self.both(x)
            h[:, :4096].sigmoid_()
            return self.mark(h[:, 4096:] * h[:, 4096:])

    with torch.no_grad():
        assert predict(Squared, (4, 4096))["mark"].q == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize("c", [-kinship.NEAR, 0.03, kinship.NEAR])
def test_low_orders_are_enough_for_signals_that_have_little_in_common(c):
    """Σ a_n b_n c^n over the first orders is that over all of them within c^8 times what these leave of E[f²] E[g²]."""
    z = hermite.tables()[0]
    f = hermite.expand(np.stack([np.tanh(z), np.maximum(z, 0), z > 0.5]).astype(float))
    for masses in (f.plain[0] * f.plain[1], f.plain[1] ** 2, f.plain[2] ** 2):
        whole = masses.sum() - float(hermite.decay(np.array([1 - c]))[0] @ masses)
        few = kinship._polynomial(masses[: kinship.LOW].tolist(), c)
        assert few == pytest.approx(whole, abs=kinship.NEAR**kinship.LOW * masses.sum())


class Laid(nn.Module):
    """A layer at each step, whose outputs lie in memory examples first, or steps first as a recurrent layer's do."""

    def __init__(self, first):
        super().__init__()
        self.layer, self.end, self.first = nn.Linear(64, 64), nn.Identity(), first

    def forward(self, x):
        x = self.end(torch.tanh(self.layer(x)))
        return x if self.first == "examples" else x.transpose(0, 1).contiguous().transpose(0, 1)


def test_gradients_start_from_outputs_however_they_lie_in_memory():
    ours, theirs = (predict(lambda first=first: Laid(first), STEPS) for first in ("steps", "examples"))
    assert not ours.unknown
    for a, b in zip(ours, theirs, strict=True):
        assert (a.grad_q, a.grad_q_low, a.grad_c) == pytest.approx((b.grad_q, b.grad_q_low, b.grad_c), rel=1e-9)
    assert ours.parameter_grad_norms == pytest.approx(theirs.parameter_grad_norms, rel=1e-9)
