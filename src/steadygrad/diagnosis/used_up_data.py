"""Data that one pass uses up are not drawn from: they could not be put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from .data_position import data_position_kept

_NOTE = (
    "`data` gives its batches only once, so none was drawn from it: nothing that needs data was looked at. Give a "
    "list, a DataLoader, or an object whose `__iter__` begins anew."
)


def without_used_up_data(setup: Any) -> tuple[Any, str]:
    """Return the setup, without its data where they can be iterated only once, and a note that says so.

    >>> from torch import nn
    >>> without_used_up_data({"model": nn.Linear(1, 1), "data": iter([1, 2]), "loss_fn": nn.MSELoss()})[0]
    {'model': Linear(in_features=1, out_features=1, bias=True)}
    """
    data = setup.get("data") if isinstance(setup, Mapping) else getattr(setup, "data", None)
    if not _used_up_by_a_pass(data):
        return setup, ""
    if isinstance(setup, Mapping):
        return {key: value for key, value in setup.items() if key not in ("data", "loss_fn", "step")}, _NOTE
    return {"model": setup.model, "optimizer": setup.optimizer}, _NOTE


def _used_up_by_a_pass(data: Any) -> bool:
    if isinstance(data, Iterator):
        return True
    if isinstance(data, Sequence | DataLoader | str | Mapping) or not hasattr(data, "__iter__"):
        return False
    with data_position_kept(data):  # an `__iter__` may draw the order of a pass at once
        first = iter(data)
        return first is iter(data)
