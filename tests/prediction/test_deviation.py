"""The standard deviation that is predicted of a log is that of the law whose median and band a profile has."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.operators.positions import as_signal
from steadygrad.prediction.readout import deviation
from steadygrad.prediction.run import interpreted, interpreting

DRAWS, WIDTH, DEPTH = 400, 32, 10
INPUTS = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))


def network(activation):
    layers = [part for _ in range(DEPTH) for part in (nn.Linear(WIDTH, WIDTH, bias=False), activation())]
    model = nn.Sequential(*layers)
    for layer in model[::2]:
        nn.init.kaiming_normal_(layer.weight)
    return model


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_it_is_that_of_draws(activation):
    """Of q behind ten layers; a deviation of 400 draws has an error of 1/sqrt(800) of itself, more in long tails."""
    examples = examples_of(INPUTS)
    with interpreting(examples.batch) as run:
        found = interpreted(lambda: network(activation), examples, run)
    logs = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        with torch.no_grad():
            logs.append(float(network(activation)(INPUTS).square().mean().log()))
    known, row = as_signal(run, found.rows[-1].output), list(found.profile)[-1]
    centred = np.array(logs) - np.mean(logs)
    kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
    error = 5 * math.sqrt((kurtosis - 1) / 4 / DRAWS) + 0.05
    assert abs(deviation(known, run) / np.std(logs) - 1) < error
    by_band = math.log(row.q_high / row.q_low) / 2 / 1.959964
    bends = known.moments.spread.trail is not None
    assert bends == (activation is nn.GELU)
    assert abs(deviation(known, run) / by_band - 1) < (0.3 if bends else 0.03)
