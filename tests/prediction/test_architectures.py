"""Generated architectures: what predict says of every module's q and grad_q holds over draws of the weights.

Networks are drawn by Hypothesis, and a disagreement is shrunk to the smallest network that shows it; those that were
found stand below, each as it was shrunk. The median of a draw is held to five standard errors of the draws, or to .03
where that is larger, and to .1 where something divides by its own size, joins what came before, or is met twice. As
many draws lie in the band, wider by as much, as 95% of them do, less five standard errors.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from steadygrad import theory
from steadygrad.prediction import predict

from . import architectures
from .architectures import Layer, Network

DRAWS = 48
LEAST = 0.95 - 5 * (0.95 * 0.05 / DRAWS) ** 0.5  # of the draws that lie in a band of 95%


def disagreements(made):
    """Each row and column of a network in which the prediction and the draws disagree."""
    x = architectures.inputs(made)
    torch.manual_seed(0)
    profile = predict(lambda: architectures.Built(made), x)
    assert not profile.unknown
    found = [architectures.draw(made, x, seed) for seed in range(DRAWS)]
    assert [row.path for row in profile] == found[0][0]
    sample = np.array([logs for _, logs in found])
    slack = 0.03 if made.plain else 0.1
    for i, row in enumerate(profile):
        for column, (q, low, high) in enumerate(
            ((row.q, row.q_low, row.q_high), (row.grad_q, row.grad_q_low, row.grad_q_high))
        ):
            draws = sample[:, column, i]
            if not np.isnan(draws).all():
                with np.errstate(divide="ignore", invalid="ignore"):  # of a network that is dead
                    off = _off(np.log([q, low, high]), draws, slack)
                if off:
                    yield f"{row.path} {row.kind} {('q', 'grad_q')[column]}: {off}"


def _off(predicted, draws, slack):
    """What is wrong with the logs of a median and of a band."""
    median, low, high = predicted
    if median == np.median(draws):
        return ""  # both are zero
    error = 5 * 1.2533 * draws.std() / math.sqrt(DRAWS)
    if not abs(np.median(draws) - median) < max(slack, error):
        return f"median {np.median(draws):.3f} of the draws, {median:.3f} predicted, {error:.3f} for five errors"
    inside = ((draws > low - slack) & (draws < high + slack)).mean()
    return f"{inside:.3f} of the draws in the band" if inside < LEAST else ""


def generated(strategy, examples):
    """A test of so many networks of a kind, always the same ones."""

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def test(made):
        assert not list(disagreements(made))

    return test


test_generated_plain_networks = generated(architectures.PLAIN_NETWORKS, 40)
test_generated_networks = generated(architectures.NETWORKS, 40)
test_generated_networks_of_images = generated(architectures.IMAGE_NETWORKS, 16)
test_generated_networks_of_tokens = generated(architectures.TOKEN_NETWORKS, 16)


@pytest.mark.parametrize(
    "made",
    [
        Network(initializer="he normal", layers=(Layer(activation="tanh", norm="group"),) * 2),
        Network(initializer="he normal", layers=(Layer(activation="tanh", norm="batch"),) * 2),
        Network("tokens", "xavier uniform", layers=(Layer(activation="square", functional=True, norm="batch"),)),
        Network("tokens", layers=(Layer(activation="tanhshrink", functional=True, form="beside", norm="batch"),)),
        Network(initializer="xavier normal", layers=(Layer(96, "tanhshrink", bias=False),)),
        Network(initializer="he normal", layers=(Layer(32, norm="group"), Layer(128, form="pre", norm="rms"))),
    ],
    ids=["group norm", "batch norm", "square", "gradient met twice", "shrinking", "rms of what is normed"],
)
def test_disagreements_that_were_found(made):
    assert not list(disagreements(made))


def test_every_activation_of_the_catalogue_is_drawn_but_these():
    assert set(theory.NAMES) - set(architectures.ACTIVATIONS) == {"exp", "rrelu"}


def test_the_law_is_broken_by_another_initializer():
    """The same comparison sees an initializer that is off by a quarter."""
    made = Network(layers=(Layer(),) * 3)
    x = architectures.inputs(made)
    row = predict(lambda: architectures.Built(made._replace(initializer="he normal")), x)["head"]
    draws = np.array([architectures.draw(made, x, seed)[1][0][-1] for seed in range(DRAWS)])
    assert _off(np.log([row.q, row.q_low, row.q_high]), draws, 0.03)
