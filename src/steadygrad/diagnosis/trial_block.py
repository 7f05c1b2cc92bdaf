"""A block that may train a setup, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from steadygrad.measurement.reached import Reached
from steadygrad.measurement.restored import restored
from steadygrad.setup import Setup

from .data_position import data_position_kept


@contextmanager
def trial_of(setup: Setup) -> Iterator[None]:
    """A block that may train the setup, always with the same random numbers, and leaves it as it was."""
    modules = [setup.model, *([setup.loss_fn] if isinstance(setup.loss_fn, nn.Module) else [])]
    with restored(modules, setup.optimizer), data_position_kept(setup.data), _step_kept(setup, modules):
        torch.manual_seed(0)
        yield


def _step_kept(setup: Setup, modules: list[nn.Module]) -> AbstractContextManager[None]:
    """A block after which what the user's own step holds on to is as it was."""
    if setup.step is None:
        return nullcontext()
    data = [setup.data, getattr(setup.data, "dataset", None)]
    return Reached.by(setup.step, besides=[*modules, setup.optimizer, setup.loss_fn, *data]).kept()
