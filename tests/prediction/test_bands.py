"""The 95% band over draws, against 500 draws of the example's mended network."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from steadygrad.prediction import predict
from steadygrad.setup import Setup, first_batch

EXAMPLE = Path(__file__).parents[2] / "examples" / "deep_mlp.py"
DRAWS = 500


@pytest.fixture(scope="module")
def mended():
    spec = importlib.util.spec_from_file_location("deep_mlp", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
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
    return np.array(measured), predict(setup.model, batch.inputs, batch.targets, loss_fn=setup.loss_fn)


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
