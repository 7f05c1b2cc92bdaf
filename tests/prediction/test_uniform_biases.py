"""Biases that are uniform: what they take from the variance of q they take from all examples alike."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.operators.positions import as_signal
from steadygrad.prediction.propagation import _of_biases
from steadygrad.prediction.run import interpreted, interpreting
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Moments

WIDTH, BATCH, DEPTH, DRAWS = 64, 8, 10, 300


def test_a_bias_adds_its_cumulant_to_two_examples_as_to_one():
    """Of squares of z = x + b, x and x' of any correlation, b has its fourth cumulant: the second orders are x's."""
    ones = np.ones(2)
    source = gaussian(Moments(ones * 0, ones, 0.4 * (1 - np.eye(2)), CERTAIN), WIDTH, exchangeable(2))
    source.fourth = -1.2 * 0.5**2  # uniform, of half of the variance
    assert _of_biases(source, source.nodes) == pytest.approx(np.full((2, 2), source.fourth))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_how_far_examples_lie_apart_varies_over_draws_as_it_is_drawn(activation):
    """log(d/q) as torch fills the layers: its variance within five standard errors, 10%, and its mean within 0.05."""
    torch.set_num_threads(1)
    x = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(0))

    def model():
        return nn.Sequential(*(m for _ in range(DEPTH) for m in (nn.Linear(WIDTH, WIDTH), activation())))

    examples = examples_of(x, None)
    with interpreting(examples.batch) as run:
        found = interpreted(model, examples, run)
        moments = as_signal(run, found.rows[-1].output).moments
    torch.manual_seed(0)
    with torch.no_grad():
        outs = [model().double()(x.double()) for _ in range(DRAWS)]
    logs = np.array([float((out.var(0).mean() / out.square().mean()).log()) for out in outs])
    error = 5 * (2 / DRAWS) ** 0.5
    assert abs(np.log(moments.parting.variance / logs.var())) < 0.1 + error
    row = found.profile.layers[-1]
    assert abs(np.log(row.signal / row.q) - np.median(logs)) < 0.05 + 5 * 1.2533 * logs.std() / DRAWS**0.5
