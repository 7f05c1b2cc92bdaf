"""What the calls of a model's modules leave behind while it runs: moments on the device, and who feeds whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.weak import WeakTensorKeyDictionary

from steadygrad.fans import weight_fans

from .batch_moments import BatchMoments, batch_moments
from .unit_health import UnitHealth, unit_health


@dataclass(kw_only=True, eq=False)
class Running:
    """One call of a module without children, its numbers still on the device."""

    path: str
    module: nn.Module
    output: BatchMoments
    shape: tuple[int, ...]
    entries: int
    sources: tuple[int, ...]
    entering: BatchMoments | None = None
    health: UnitHealth | None = None
    gradient: BatchMoments | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Composite:
    """One call of a module with children: what it computes between them no row shows."""

    path: str
    module: nn.Module
    total: torch.Tensor
    rows_before: int


@dataclass(kw_only=True, eq=False)
class Calls:
    """Watches a model: rows in the order in which calls end, and the modules that are running.

    Attributes:
        model: the model that is watched.
        batch_size: examples in the batch.
        rows: a row for every call of a module without children whose output holds a tensor.
        composites: a record for every call of a module with children whose output holds real numbers.
        running: modules that were entered and not yet left, with their paths; after an error the last one raised it.
    """

    model: nn.Module
    batch_size: int
    rows: list[Running] = field(default_factory=list)
    composites: list[Composite] = field(default_factory=list)
    running: list[tuple[str, nn.Module]] = field(default_factory=list)
    _made_by: Any = field(default_factory=WeakTensorKeyDictionary)
    _entered: list[torch.Tensor | None] = field(default_factory=list)
    _channel_axis: int = -1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hook every module; unhook at the end, also after an error."""
        handles = []
        try:
            for path, module in self.model.named_modules():
                handles.append(module.register_forward_pre_hook(self._enter(path), with_kwargs=True))
                handles.append(module.register_forward_hook(self._leave(path), with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = first_tensor([*args, *kwargs.values()])
            self.running.append((path, module))
            # A module that works in place leaves nothing of its input to look at afterwards.
            self._entered.append(x.detach().clone() if x is not None and getattr(module, "inplace", False) else x)

        return hook

    def _leave(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self.running.pop()
            x = self._entered.pop()
            y = first_tensor(output)
            if y is not None and next(module.children(), None) is None:
                self._record(path, module, first_tensor([*args, *kwargs.values()]), x, y)
            elif y is not None and y.is_floating_point():
                # A sum in double precision is finite where every single precision number in it is.
                total = y.detach().sum(dtype=torch.float64)
                self.composites.append(Composite(path=path, module=module, total=total, rows_before=len(self.rows)))

        return hook

    def _record(
        self, path: str, module: nn.Module, given: torch.Tensor | None, x: torch.Tensor | None, y: torch.Tensor
    ) -> None:
        weighted = _has_weight(module)
        if weighted:
            self._channel_axis = 1 if isinstance(module, _ConvNd) else -1
        sources = () if given is None or given not in self._made_by else (self._made_by[given],)
        row = Running(
            path=path,
            module=module,
            output=batch_moments(y, self.batch_size),
            shape=tuple(y.shape),
            entries=y.numel() // self.batch_size,
            sources=sources,
            entering=batch_moments(x, self.batch_size) if weighted and x is not None else None,
            health=None if weighted or x is None else unit_health(module, x, self._axis(x)),
        )
        self._made_by[y] = len(self.rows)
        self.rows.append(row)
        if y.requires_grad:
            y.register_hook(lambda gradient: self._backward(row, gradient))

    def _axis(self, x: torch.Tensor) -> int:
        """Units are channels after a convolution, features after anything else."""
        return self._channel_axis if x.dim() > 2 else -1

    def _backward(self, row: Running, gradient: torch.Tensor) -> None:
        row.gradient = batch_moments(gradient, self.batch_size)


def first_tensor(found: Any) -> torch.Tensor | None:
    """Return the first tensor in an output: itself, or in a list, tuple or mapping, depth first.

    >>> first_tensor(("a", [torch.ones(2)])).tolist()
    [1.0, 1.0]
    """
    if isinstance(found, torch.Tensor):
        return found
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list | tuple):
        return next((tensor for part in found if (tensor := first_tensor(part)) is not None), None)
    return None


def _has_weight(module: nn.Module) -> bool:
    """A layer whose layout is not known counts as weighted: it has parameters of its own."""
    try:
        return bool(weight_fans(module))
    except TypeError:
        return True
