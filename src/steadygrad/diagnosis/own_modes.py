"""Modes that a module's own `train` keeps, as norms that stay in evaluation."""

from __future__ import annotations

from contextlib import suppress

from torch import nn


def enter_own_modes(model: nn.Module) -> None:
    """Put modules that say by a `train` of their own what training is for them into that mode, as a loop does.

    A module that was just made counts as training, whatever its `train` would keep in evaluation. All others keep their
    flags: a part that was put into evaluation by hand may be meant so.

    >>> class Frozen(nn.BatchNorm1d):
    ...     def train(self, mode=True):
    ...         return super().train(False)
    >>> model = nn.Sequential(nn.Linear(2, 2), Frozen(2), nn.Dropout().eval())
    >>> enter_own_modes(model)
    >>> [part.training for part in model]
    [True, False, False]
    """
    for part in model.modules():
        if part.training and type(part).train is not nn.Module.train:
            with suppress(Exception):  # one that cannot be told so keeps what it has
                part.train()
