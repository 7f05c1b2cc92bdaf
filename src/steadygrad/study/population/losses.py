"""Losses of a batch of networks and their gradients; logits and targets are [networks, outputs, examples].

The examples come last: reductions over a few classes then run along whole vectors, forty times faster on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from steadygrad.errors import SetupError, unknown_name
from steadygrad.study.data import Data

# (logits, targets, gradient) -> loss of each network; the logits are overwritten, the gradient too
LossAndGradient = Callable[[Tensor, Tensor], Tensor]


def cross_entropy_(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each network's mean cross-entropy; the logits become its gradient, (softmax - target) / examples.

    >>> z = torch.zeros(1, 4, 2)
    >>> cross_entropy_(z, torch.eye(4)[:, :2].expand(1, 4, 2)), z[0, 0]
    (tensor([1.3863]), tensor([-0.3750,  0.1250]))
    """
    log_p = torch.log_softmax(logits, 1)
    loss = torch.mul(log_p, targets, out=logits).sum((1, 2)).div_(-logits.shape[2])
    torch.exp(log_p, out=logits).sub_(targets).div_(logits.shape[2])
    return loss


def mse_(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each network's mean squared error over outputs and examples; the logits become its gradient.

    >>> z = torch.ones(1, 2, 2)
    >>> mse_(z, torch.zeros(1, 2, 2)), z[0, 0]
    (tensor([1.]), tensor([0.5000, 0.5000]))
    """
    entries = logits.shape[1] * logits.shape[2]
    off = logits.sub_(targets)
    loss: Tensor = torch.linalg.vector_norm(off.flatten(1), dim=1).square_().div_(entries)
    off.mul_(2 / entries)
    return loss


LOSSES: dict[str, LossAndGradient] = {"cross-entropy": cross_entropy_, "mse": mse_}


def loss_and_gradient(name: str) -> LossAndGradient:
    """Return the loss of this name."""
    if name not in LOSSES:
        raise ValueError(unknown_name("loss", name, LOSSES))
    return LOSSES[name]


def check_targets(name: str, data: Data) -> None:
    """Raise a `SetupError` where a loss cannot be of such targets: cross-entropy is of probabilities, row by row.

    Args:
        name: of the loss.
        data: whose targets are looked at.

    >>> from steadygrad.study.data import gaussian
    >>> check_targets("cross-entropy", gaussian())
    """
    if name != "cross-entropy":
        return
    for targets in (data.targets, data.test_targets):
        off = (targets.sum(1) - 1).abs().max()
        if targets.min() < 0 or off > targets.shape[1] * torch.finfo(targets.dtype).eps:
            raise SetupError(
                "`loss` 'cross-entropy' needs targets that are classes, whole numbers [examples], or rows of "
                f"probabilities, got rows of {targets.shape[1]} from {targets.min():g} to {targets.max():g} that are "
                "neither: for other targets take 'mse'."
            )
