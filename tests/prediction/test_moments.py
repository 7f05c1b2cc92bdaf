"""What predict says of a layer, against closed forms and against the layer itself over draws of its weights."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict


def he_(model):
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


def chain(activation, *, depth=3, width=64, inputs=64):
    sizes = [inputs] + [width] * depth
    return nn.Sequential(*(m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), activation())))


def note(squares, grad):
    squares.append(float(grad.double().square().mean()))


def draws(factory, inputs, *, count):
    """Second moment and signal of each layer with a module of its own, and the gradients, over draws."""
    rows = []
    for seed in range(count):
        torch.manual_seed(seed)
        model, row, grads = factory(), [], []

        def hook(module, args, out, row=row, grads=grads):
            value = out.detach().double().flatten(1)
            row.append([float(value.square().mean()), float(value.var(0).mean())])
            out.register_hook(functools.partial(note, grads))

        for module in model.modules():
            if not list(module.children()):
                module.register_forward_hook(hook)
        out = model(inputs)
        out.backward(torch.randn_like(out))
        rows.append([[*r, g] for r, g in zip(row, reversed(grads), strict=True)])
    return np.array(rows)


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(16, 64, generator=torch.Generator().manual_seed(0))


ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.ELU, nn.SELU, nn.LeakyReLU, nn.PReLU,
               nn.Identity, nn.Mish, nn.Hardtanh, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Softsign]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.__name__)
def test_moments_of_every_activation_agree_with_draws(activation, inputs):
    """The mean over draws lies within five standard errors, and what width 64 shifts, of the prediction."""
    factory = lambda: he_(chain(activation))  # noqa: E731
    profile, real = predict(factory, inputs), draws(factory, inputs, count=60)
    assert not profile.unknown
    for i, layer in enumerate(profile.layers[:-1]):  # the last gradient is what we put in, of variance one by ourselves
        for column, predicted in ((0, layer.q), (1, layer.signal), (2, layer.grad_q)):
            log = np.log(real[:, i, column])
            error = 5 * log.std() / math.sqrt(len(log))
            assert abs(np.median(log) - math.log(predicted)) < error * math.sqrt(math.pi / 2) + 0.05, (i, layer, column)


def test_default_linear_before_relu_keeps_q_and_loses_the_signal():
    """sigma_w^2 = 1/3, sigma_b^2 = 1/(3n): q stays at 2/(5n), q(1-c) and squared gradients fall by 1/6."""
    n = 4096
    profile = predict(lambda: chain(nn.ReLU, depth=20, width=n, inputs=n), (2, n))
    linear = [layer for layer in profile if layer.kind == "Linear"]
    assert linear[-1].q == pytest.approx(2 / (5 * n), rel=0.01)
    for a, b in itertools.pairwise(linear[12:]):  # where the signal is small beside what the biases make
        assert b.signal / a.signal == pytest.approx(1 / 6, rel=0.01)
        assert a.grad_q / b.grad_q == pytest.approx(1 / 6, rel=0.01)
    assert linear[0].signal / 6**20 < linear[-1].signal < linear[0].signal / 6**19


def test_xavier_before_relu_halves():
    """Xavier before ReLU, square layers: factor 1/2 a layer."""

    def factory():
        model = chain(nn.ReLU, depth=10, width=4096, inputs=4096)
        for module in model[::2]:
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
        return model

    linear = [layer for layer in predict(factory, (2, 4096)) if layer.kind == "Linear"]
    for a, b in itertools.pairwise(linear):
        assert b.q / a.q == pytest.approx(0.5, rel=0.005)
        assert a.grad_q / b.grad_q == pytest.approx(0.5, rel=0.005)


def test_finite_width_drift_and_spread_of_he_relu():
    """The log of the normalised squared norm has mean about -sum 5/(2n) and variance about sum 5/n."""
    n, depth = 256, 50
    rows = predict(lambda: he_(chain(nn.ReLU, depth=depth, width=n, inputs=n)), (1, n)).layers
    assert rows[-1].kind == "ReLU"
    spread = math.log(rows[-1].q_high / rows[-1].q_low) / (2 * 1.959964)
    assert spread**2 == pytest.approx(depth * math.log1p(5 / n), rel=0.03)
    assert math.log(rows[-1].q) == pytest.approx(-depth * 5 / (2 * n), rel=0.05)


def test_relu_correlations_are_those_of_the_arc_cosine_kernel():
    """iterates of the ReLU correlation map from c = 0."""
    n = 1 << 20
    relu = [
        row for row in predict(lambda: he_(chain(nn.ReLU, depth=10, width=n, inputs=n)), (2, n)) if row.kind == "ReLU"
    ]
    for depth, c in ((1, 0.318310), (2, 0.493731), (3, 0.604826), (10, 0.871536)):
        assert relu[depth - 1].c == pytest.approx(c, abs=2e-5)


class HandWritten(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = nn.Linear(64, 64), nn.Linear(64, 64), function

    def forward(self, x):
        return self.last(self.function(self.first(x)))


PAIRS = {
    "silu": (F.silu, lambda x: x * torch.sigmoid(x)),
    "silu by exp": (F.silu, lambda x: x / (1 + torch.exp(-x))),
    "gelu": (lambda x: F.gelu(x, approximate="tanh"),
             lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    "softplus": (F.softplus, lambda x: torch.log1p(torch.exp(x))),
    "relu": (F.relu, lambda x: torch.clamp(x, min=0)),
    "leaky relu": (F.leaky_relu, lambda x: torch.where(x > 0, x, 0.01 * x)),
    "inplace": (F.relu, lambda x: torch.relu_(x)),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_a_hand_written_activation_is_the_one_it_writes_out(pair, inputs):
    own, written = (predict(lambda f=f: HandWritten(f), inputs) for f in pair)
    assert not own.unknown
    assert not written.unknown
    for a, b in zip(own, written, strict=True):
        assert (a.q, a.c) == pytest.approx((b.q, b.c), rel=1e-6)
        assert a.grad_q == pytest.approx(b.grad_q, rel=1e-3)  # the median's drift: noises are shared differently


class Residual(nn.Module):
    def __init__(self, width=512):
        super().__init__()
        self.stem = nn.Linear(64, width, bias=False)
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.end = nn.Linear(width, width, bias=False)
        he_(self.body)
        for layer in (self.stem, self.end):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(self, x):
        x = self.stem(x)
        return self.end(x + self.body(x))


def test_a_residual_branch_adds_what_it_adds():
    """a He branch has the second moment of its input through two layers, so the sum has 1 + 2 of it."""
    profile = predict(Residual, (4, 64))
    assert profile["end"].q == pytest.approx(3.0, rel=0.02)
    assert profile["end"].grad_q == pytest.approx(chi2.median(4 * 512) / (4 * 512), rel=1e-4)
    assert profile["stem"].grad_q == pytest.approx(3.0, rel=0.02)


def test_a_product_with_a_scaled_random_matrix_is_followed():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(64, 256) * 0.5)
            self.bias = nn.Parameter(torch.full((256,), 2.0))
            self.last = nn.Linear(256, 4096, bias=False)
            nn.init.normal_(self.last.weight, std=1 / 16)

        def forward(self, x):
            return self.last(x @ self.weight + self.bias)

    assert predict(Own, (8, 64))["last"].q == pytest.approx(0.25 * 64 + 4, rel=0.03)


def test_a_built_model_stands_for_its_distribution(inputs):
    torch.manual_seed(0)
    built, made = predict(he_(chain(nn.ReLU)), inputs), predict(lambda: he_(chain(nn.ReLU)), inputs)
    for a, b in zip(built, made, strict=True):
        assert a.q == pytest.approx(b.q, rel=0.1)
        assert a.grad_q == pytest.approx(b.grad_q, rel=0.1)
