"""A prediction keeps nothing that it made on the way: a process that asks for many grows no larger for it."""

import gc

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.errors import UserCodeError
from steadygrad.prediction import predict
from steadygrad.prediction.rows import Row
from steadygrad.prediction.source import Source

X, LABELS = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


def network():
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


def fails(output, target):
    raise ValueError("no")


def held():
    """How many rows and sources there are, those included that a test of another file may keep."""
    gc.collect()
    return sum(type(x) in (Row, Source) for x in gc.get_objects())


@pytest.mark.parametrize("make", [lambda: network, network], ids=["code", "model"])
@pytest.mark.parametrize(
    "loss", [{}, {"targets": LABELS, "loss_fn": F.cross_entropy}], ids=["gradient of the output", "loss"]
)
def test_no_row_and_no_source_is_left_of_it(make, loss):
    before = held()
    predict(make(), X, **loss)
    assert held() <= before


def test_nor_of_one_that_failed():
    before = held()
    with pytest.raises(UserCodeError):
        predict(network, X, targets=LABELS, loss_fn=fails)
    assert held() <= before
