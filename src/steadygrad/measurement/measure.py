"""measure: the profile of a network from one forward and backward on real tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from steadygrad.profile import Profile

from .observe import profile_of


def measure(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss_fn: Callable[[Any, Any], torch.Tensor] | None = None,
) -> Profile:
    """Measure the signal and the gradient of every layer on one batch, and leave the model as it was.

    Training flags, buffers, `.grad`s and the states of the random number generators are put back, hooks removed, also
    after an error. The model runs in the mode that it is in. Statistics stay on an accelerator and are read once; on
    the CPU moments take two to five passes in the tensors' own precision, more only where these cannot be trusted.

    Args:
        model: a module.
        inputs: a tensor [examples, ...]; a sequence or mapping of them is unpacked into the call.
        targets: what `loss_fn` takes beside the output.
        loss_fn: takes (output, targets), returns a scalar. Without it each entry of the output gets a gradient of its
            own, independent, of unit variance.

    Returns:
        A `Profile` with a row for each call of a module without children, in the order in which the calls end. The
        bands are `q` and `grad_q` plus and minus their standard error over examples. Scripted modules have no row, nor
        have calls inside a function transform such as `torch.vmap`.

    Raises:
        UserCodeError: the model or the loss raised; the message names the module.
        SetupError: the loss is not a scalar, or has no gradient.
        ValueError: an argument is not allowed.

    >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    >>> profile = measure(model, torch.randn(32, 64), torch.zeros(32, dtype=torch.long), nn.CrossEntropyLoss())
    >>> [layer.kind for layer in profile], profile.batch_size
    (['Linear', 'ReLU', 'Linear'], 32)
    """
    if targets is not None and loss_fn is None:
        raise ValueError("`targets` must come with `loss_fn`, which takes them, got none.")
    return profile_of(model, inputs, targets, loss_fn)
