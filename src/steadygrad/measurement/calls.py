"""What the calls of a model's modules leave behind while it runs: moments on the device, and who feeds whom."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._C._functorch import is_functorch_wrapped_tensor as _is_transformed
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.lazy import LazyModuleMixin

from steadygrad.fans import Fans, weight_fans
from steadygrad.leaves import is_leaf, weight_makers

from .batch_moments import Moments
from .norms import SMALL
from .unit_health import UnitHealth, unit_health


@dataclass(eq=False, slots=True)
class Running:
    """One call of a module without children; `output`, `entering` and `gradient` are places among the moments.

    `fans` are those of its weights; None where its layout is not known. `rectified` says that the output is a ReLU's, a
    row an example: a unit is dead where its outputs add up to zero.
    """

    path: str
    module: nn.Module
    output: int
    shape: tuple[int, ...]
    source: int | None
    fans: Mapping[str, Fans] | None
    rectified: bool = False
    entering: int | None = None
    health: UnitHealth | None = None
    gradient: int | None = None


@dataclass(kw_only=True, eq=False, slots=True)
class _Watched:
    """A module, and what is found out about it once: of a lazy one when it was called, and is what it will be."""

    path: str
    module: nn.Module
    fans: Mapping[str, Fans] | None = None
    weighted: bool = False
    channels_first: bool = False
    rectifies: bool = False
    looked_at: bool = False

    def look(self) -> None:
        """Find it out."""
        self.looked_at, self.fans = True, _fans(self.module)
        self.weighted = self.fans is None or bool(self.fans)  # a layer of unknown layout has parameters of its own
        self.channels_first = isinstance(self.module, _ConvNd)
        self.rectifies = type(self.module) is nn.ReLU


@dataclass(frozen=True, kw_only=True, eq=False)
class Composite:
    """One call of a module with children: what it computes between them no row shows."""

    path: str
    module: nn.Module
    total: torch.Tensor
    rows_before: int


# A tensor, the place of its moments, how often it had been written to by then, and the row of the call that made it.
_Known = tuple[weakref.ref[torch.Tensor], int, int | None, int | None]

# Gradients of small outputs are asked of the backward pass, which costs less than a hook on each, and are there all at
# once when it has ended: so many entries of them, as few as one wide layer's gradient has.
_AWAITED = 2**22


@dataclass(kw_only=True, eq=False)
class Calls:
    """Watches a model: rows in the order in which calls end.

    Attributes:
        parts: the modules that are watched, with their paths.
        batch_size: examples in the batch.
        rows: a row for every call of a module without children whose output holds a tensor.
        composites: a record for every call of a module with children whose output holds real numbers of its own.
        moments: of inputs, outputs and gradients.
    """

    parts: Mapping[nn.Module, str]
    batch_size: int
    rows: list[Running] = field(default_factory=list)
    composites: list[Composite] = field(default_factory=list)
    moments: Moments = field(init=False)
    _known: dict[int, _Known] = field(default_factory=dict)
    _entered: dict[nn.Module, torch.Tensor] = field(default_factory=dict)
    _awaited: list[tuple[Running, GradientEdge]] = field(default_factory=list)
    _awaited_entries: int = 0
    _channel_axis: int = -1

    def __post_init__(self) -> None:
        self.moments = Moments(self.batch_size)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hook every module; unhook at the end, also after an error."""
        handles, hooked, key = [], [], object()
        inner = weight_makers(self.parts)
        try:
            for module, path in self.parts.items():
                if isinstance(module, torch.jit.ScriptModule) or module in inner:
                    continue  # torch lets no hook on it that Python could see, or what it gives is a weight
                if vars(module).get("inplace") or getattr(type(module), "inplace", False):
                    handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
                watched = _Watched(path=path, module=module)
                if not isinstance(module, LazyModuleMixin):
                    watched.look()
                # As `register_forward_hook` does, without a handle for each, which takes six times as long.
                module._forward_hooks[key] = partial(self._leave, watched)  # type: ignore[index]
                module._forward_hooks_with_kwargs[key] = True  # type: ignore[index]
                hooked.append(module)
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module in hooked:
                module._forward_hooks.pop(key, None)  # type: ignore[call-overload]
                module._forward_hooks_with_kwargs.pop(key, None)  # type: ignore[call-overload]

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A module that works in place leaves nothing of its input to look at afterwards."""
        x = _given(args, kwargs)
        if x is not None:
            self._entered[module] = x.detach().clone()

    def _leave(
        self, watched: _Watched, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        y = output if isinstance(output, torch.Tensor) else first_tensor(output)
        if y is None or _is_transformed(y):  # many in one inside `torch.vmap` and its like: no numbers to be read
            return
        if is_leaf(module):
            self._record(watched, _given(args, kwargs), y)
        elif y.is_floating_point() and ((known := self._unwritten(y)) is None or known[3] is None):
            # A sum in double precision is finite where every single precision number in it is.
            total = y.detach().sum(dtype=torch.float64)
            self.composites.append(Composite(path=watched.path, module=module, total=total, rows_before=len(self.rows)))

    def _record(self, watched: _Watched, given: torch.Tensor | None, y: torch.Tensor) -> None:
        if not watched.looked_at:
            watched.look()
        module, known, shape = watched.module, self._of(given), y.shape
        x = self._entered.pop(module, given) if self._entered else given
        place = self.moments.add(y)
        row = Running(watched.path, module, place, shape, None if known is None else known[3], watched.fans)
        if watched.weighted:
            self._channel_axis = 1 if watched.channels_first else -1
            row.entering = None if x is None else self.entering(x)
        elif watched.rectifies and self._is_rectified(module, shape, place):
            row.rectified = True
        elif x is not None:
            row.health = unit_health(module, x, self._axis(x))
        self._known[id(y)] = weakref.ref(y), place, _version(y), len(self.rows)
        self.rows.append(row)
        if (node := y.grad_fn) is not None:
            self._await(row, y, node, math.prod(shape))
        elif y.requires_grad:  # a parameter, whose gradient is asked for anyway; a hook on it would stay
            self._awaited.append((row, get_gradient_edge(y)))

    def _is_rectified(self, relu: nn.Module, shape: torch.Size, place: int) -> bool:
        """Whether the ReLU makes the output: no other hook than the one that watches has a hand in it."""
        return (
            len(shape) == 2
            and shape[0] == self.batch_size
            and len(relu._forward_hooks) == 1
            and self.moments.adds_up(place)
        )

    def _await(self, row: Running, y: torch.Tensor, node: Node, size: int) -> None:
        """Look at the gradient when the backward pass has it, or when it has ended."""
        if size > SMALL or self._awaited_entries + size > _AWAITED:
            y.register_hook(partial(self._backward, row))
            return
        self._awaited_entries += size
        # Of a node that Python code made, torch must keep the graph.
        is_torchs_own = not isinstance(node, torch._C._FunctionBase)
        self._awaited.append((row, GradientEdge(node, y.output_nr) if is_torchs_own else get_gradient_edge(y)))

    @property
    def edges(self) -> list[GradientEdge]:
        """Where gradients are awaited."""
        return [edge for _, edge in self._awaited]

    def came(self, gradients: Iterable[torch.Tensor | None]) -> None:
        """Look at those that were awaited, in their order."""
        for (row, _), gradient in zip(self._awaited, gradients, strict=True):
            if gradient is not None:
                self._backward(row, gradient)
        self._awaited.clear()

    def _of(self, x: torch.Tensor | None) -> _Known | None:
        known = self._known.get(id(x))
        return known if known is not None and known[0]() is x else None

    def _unwritten(self, x: torch.Tensor) -> _Known | None:
        """What is known of a tensor, where nothing has written to it since."""
        known = self._of(x)
        return known if known is not None and known[2] is not None and known[2] == _version(x) else None

    def entering(self, x: torch.Tensor) -> int:
        """Return the place of an input's moments: where nothing has written to it, those that it had before."""
        known = self._unwritten(x)
        if known is not None:
            return known[1]
        place = self.moments.add(x)
        if self._of(x) is None:
            self._known[id(x)] = weakref.ref(x), place, _version(x), None
        return place

    def _axis(self, x: torch.Tensor) -> int:
        """Units are channels after a convolution, features after anything else."""
        return self._channel_axis if x.dim() > 2 else -1

    def _backward(self, row: Running, gradient: torch.Tensor) -> None:
        row.gradient = self.moments.add(gradient)


def first_tensor(found: Any) -> torch.Tensor | None:
    """Return the first tensor in an output: itself, or in a list, tuple or mapping, depth first.

    >>> first_tensor(("a", [torch.ones(2)])).tolist()
    [1.0, 1.0]
    """
    if isinstance(found, torch.Tensor):
        return found
    if isinstance(found, Mapping):
        found = list(found.values())
    if isinstance(found, list | tuple):
        return next((tensor for part in found if (tensor := first_tensor(part)) is not None), None)
    return None


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    if args and isinstance(args[0], torch.Tensor):
        return args[0]
    return first_tensor([*args, *kwargs.values()])


def _version(x: torch.Tensor) -> int | None:
    """How often it was written to, as far as that is counted."""
    try:
        return x._version
    except RuntimeError:  # a tensor of inference mode
        return None


def _fans(module: nn.Module) -> Mapping[str, Fans] | None:
    try:
        return weight_fans(module)
    except TypeError:
        return None
