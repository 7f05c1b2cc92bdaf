"""The 95% band over draws, against 500 draws of the example's mended network."""

import functools
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict
from steadygrad.setup import Batch, Setup, first_batch

EXAMPLE = Path(__file__).parents[2] / "examples" / "deep_mlp.py"
DRAWS = 500


@pytest.fixture(scope="module")
def mended():
    spec = importlib.util.spec_from_file_location("deep_mlp", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.digits = functools.cache(module.digits)  # each draw has the same data, which take longer to read than it
    return module.mended


def one_draw(model, batch, loss_fn):
    """The second moment of each layer's output, and that of its gradient, in the order of execution."""
    outputs = []
    handles = [m.register_forward_hook(lambda m, a, out: outputs.append(out)) for m in model if not list(m.children())]
    loss = loss_fn(model(batch.inputs), batch.targets)
    grads = torch.autograd.grad(loss, outputs)
    for handle in handles:
        handle.remove()
    return [[float(t.detach().double().square().mean()) for t in column] for column in (outputs, grads)]


@pytest.fixture(scope="module")
def measured_and_predicted(mended):
    torch.set_num_threads(1)
    setup = Setup.of(mended())
    batch = first_batch(setup)
    measured = [one_draw(mended(seed)["model"], batch, setup.loss_fn) for seed in range(DRAWS)]
    # Of the code: a model that is built has weights whose own variance, by which it is predicted, is one draw.
    return np.array(measured), predict(lambda: mended()["model"], batch.inputs, batch.targets, loss_fn=setup.loss_fn)


@pytest.mark.parametrize("column", [0, 1], ids=["q", "grad_q"])
def test_the_band_holds_and_is_narrow(measured_and_predicted, column):
    """At every layer 92 to 98% of the draws lie in the band, at most 1.2 times as wide as their own interval."""
    measured, profile = measured_and_predicted
    measured = measured[:, column]
    low, high = (np.array([getattr(row, f"{'grad_' * column}q_{end}") for row in profile]) for end in ("low", "high"))
    coverage = ((measured >= low) & (measured <= high)).mean(0)
    assert coverage.min() >= 0.92, coverage
    assert coverage.max() <= 0.98, coverage
    empirical = np.diff(np.log(np.quantile(measured, [0.025, 0.975], axis=0)), axis=0)[0]
    assert (np.log(high / low) / empirical).max() <= 1.2


def small(activation, init_):
    sizes = [64] * 9
    model = nn.Sequential(*(m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), activation())))
    model.append(nn.Linear(64, 10))
    for module in model:
        if isinstance(module, nn.Linear):
            init_(module.weight)
            nn.init.zeros_(module.bias)
    return model


OTHERS = {
    "tanh, Xavier, cross-entropy": (nn.Tanh, nn.init.xavier_normal_, nn.CrossEntropyLoss()),
    "ReLU, He, cross-entropy": (nn.ReLU, nn.init.kaiming_normal_, nn.CrossEntropyLoss()),
    "GELU, He, squared error": (nn.GELU, nn.init.kaiming_normal_, nn.MSELoss()),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_the_band_is_not_the_examples_alone(other):
    """8 layers of 64 units, 200 draws: the share in the band is at least 95% less five standard errors of it.

    And the median lies within five standard errors and what depth over width, 8/64, adds at second order, its square.
    """
    activation, init_, loss_fn = other
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (32,), generator=generator)
    targets = labels if isinstance(loss_fn, nn.CrossEntropyLoss) else torch.randn(32, 10, generator=generator)
    batch = Batch(inputs=torch.randn(32, 64, generator=generator), targets=targets)
    profile = predict(lambda: small(activation, init_), batch.inputs, batch.targets, loss_fn=loss_fn)
    measured = []
    for seed in range(200):
        torch.manual_seed(seed)
        measured.append(one_draw(small(activation, init_), batch, loss_fn))
    logs = np.log(measured)
    for column, name in enumerate(("q", "grad_q")):
        low, middle, high = (np.log([getattr(row, name + end) for row in profile]) for end in ("_low", "", "_high"))
        held = ((logs[:, column] >= low) & (logs[:, column] <= high)).mean(0)
        assert held.min() >= 0.95 - 5 * (0.95 * 0.05 / 200) ** 0.5, (name, held)
        error = 5 * 1.2533 * logs[:, column].std(0) / 200**0.5 + (8 / 64) ** 2
        assert (abs(middle - np.median(logs[:, column], 0)) < error).all(), name


def plain(activation, init_, depth=12, width=64):
    model = nn.Sequential(*(m for _ in range(depth) for m in (nn.Linear(width, width), activation())))
    for module in model:
        if isinstance(module, nn.Linear):
            init_(module)
    return model


def he_(layer):
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)


def xavier_(layer):
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)


PLAIN = {
    "ReLU, He": (nn.ReLU, he_),
    "tanh, Xavier": (nn.Tanh, xavier_),
    "leaky ReLU, He": (nn.LeakyReLU, he_),
    "ReLU, default": (nn.ReLU, lambda layer: None),
}
FEW = 250


def plain_draw(model, x, generator):
    """Logs of q, of 1 - c and of grad_q of each layer, for a gradient of the output of independent normal entries."""
    outputs = [x]
    for module in model:
        outputs.append(module(outputs[-1]))
    g = torch.randn(outputs[-1].shape, generator=generator)
    grads = torch.autograd.grad(outputs[-1], outputs[1:], g)
    rows = [(t.detach().double(), grad.double()) for t, grad in zip(outputs[1:], grads, strict=True)]
    q = [t.square().mean() for t, _ in rows]
    return [q, [t.var(0).mean() / s for (t, _), s in zip(rows, q, strict=True)], [g.square().mean() for _, g in rows]]


@pytest.fixture(scope="module", params=PLAIN.values(), ids=PLAIN.keys())
def plain_network(request):
    """Logs [draws, 3, rows] of a network of 12 layers of 64 units, and its profile."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    logs = []
    for seed in range(FEW):
        torch.manual_seed(seed)
        logs.append(np.log(plain_draw(plain(*request.param), x, generator)))
    return np.array(logs), predict(lambda: plain(*request.param), x)


def test_a_typical_draw_is_predicted(plain_network):
    """Medians of log q and of log grad_q within 0.03, of 1 - c within 10%, and five standard errors more."""
    logs, profile = plain_network
    predicted = np.log([[row.q for row in profile], [1 - row.c for row in profile], [row.grad_q for row in profile]])
    error = 5 * 1.2533 * logs.std(0) / FEW**0.5
    assert (abs(predicted - np.median(logs, 0)) < error + np.array([0.03, np.log(1.1), 0.03])[:, None]).all()


@pytest.mark.parametrize(("column", "name"), [(0, "q"), (2, "grad_q")])
def test_the_deviation_of_a_log_is_predicted(plain_network, column, name):
    """Within 10%, and five standard errors of a deviation, 1/sqrt(2 n), more; of the given gradient too."""
    logs, profile = plain_network
    width = np.log([getattr(row, f"{name}_high") / getattr(row, f"{name}_low") for row in profile])
    drawn = logs[:, column].std(0)
    assert (abs(np.log(width / (2 * 1.959964) / drawn)) < 0.1 + 5 / (2 * FEW) ** 0.5).all()
