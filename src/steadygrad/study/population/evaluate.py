"""Loss and accuracy of every network on all examples of a part of the data."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from steadygrad.study.data import Data

from .activations import Phi
from .batches import everything
from .losses import LossAndGradient
from .network import Network
from .parameters import Parameters

# Examples at once: enough for full matrix products, few enough for the caches.
CHUNK = 256


class Score(NamedTuple):
    """Loss and accuracy, [networks]."""

    loss: Tensor
    accuracy: Tensor


def evaluate(
    parameters: Parameters, phi: Phi, slope: Tensor, loss: LossAndGradient, data: Data, *, test: bool
) -> Score:
    """Return each network's mean loss, and its accuracy (NaN where the data has no classes).

    Args:
        parameters: of the networks.
        phi: their activation.
        slope: [networks, 1, 1], where it is not trained.
        loss: of logits and targets.
        data: to score on.
        test: whether on the examples held out.
    """
    x, y = everything(data, parameters.networks, test=test)
    examples = x.shape[1]
    total, right = (torch.zeros(parameters.networks, dtype=torch.float64, device=x.device) for _ in range(2))
    for start in range(0, examples, CHUNK):
        part, targets = x[:, start : start + CHUNK], y[..., start : start + CHUNK].contiguous()
        logits = Network(parameters, phi, slope, part, backward=False).forward()
        right += (logits.argmax(1) == targets.argmax(1)).sum(1)
        total += loss(logits, targets).double() * part.shape[1]
    accuracy = right / examples if data.classes else torch.full_like(right, math.nan)
    return Score(total / examples, accuracy)
