"""Which units do nothing on given data, and what they pass on while they do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from steadygrad.errors import UserCodeError, not_allowed

from .traced import is_activation, is_affine_norm, is_layer
from .units import Units


@dataclass(kw_only=True)
class _Range:
    """Smallest and largest entry of each unit."""

    low: Tensor | None = None
    high: Tensor | None = None

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest, once something was seen."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def widen(self, values: Tensor, channel: int) -> None:
        rows = values.movedim(channel, 0).reshape(values.shape[channel], -1)
        low, high = rows.amin(dim=1), rows.amax(dim=1)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)


@dataclass(kw_only=True)
class Activity:
    """What every activation and every reader saw.

    Attributes:
        alive: for each activation node and dimension which units had a derivative other than 0 on some example.
        inputs: for each layer by path the range of each of its inputs.
        normalized: for each layer or group normalization the range of each channel before scale and shift.
    """

    alive: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    inputs: dict[str, _Range] = field(default_factory=dict)
    normalized: dict[str, _Range] = field(default_factory=dict)

    def dead(self, units: Units) -> Tensor:
        """Return positions of the units whose derivative was 0 on every example; a NaN's derivative counts."""
        alive = None if units.activation is None else self.alive.get((units.activation.name, units.place.dim))
        # A place that is blocked may be of other units, or of none.
        if alive is None or len(alive) != units.count:
            return torch.zeros(0, dtype=torch.int64)
        return (~alive).nonzero().flatten()

    def constants(self, path: str, columns: Tensor) -> Tensor | None:
        """Return what a layer's inputs always were; None where one of them varied."""
        low, high = (end[columns] for end in self.inputs[path].ends)
        return low if torch.equal(low, high) else None


class _Watcher(fx.Interpreter):
    """Runs a graph and takes down activity on the way."""

    def __init__(self, graph: fx.GraphModule, activity: Activity) -> None:
        super().__init__(graph)
        self._modules, self._activity = dict(graph.named_modules()), activity

    def run_node(self, node: fx.Node) -> Any:
        """Run a node; take down its shape, and look at it where it is an activation, a layer or a normalization."""
        module = self._modules.get(str(node.target)) if node.op == "call_module" else None
        if is_activation(node, self._modules):
            self._derivative(node)
        elif module is not None and is_layer(module):
            values = self.fetch_args_kwargs_from_env(node)[0][0]
            seen = self._activity.inputs.setdefault(str(node.target), _Range())
            seen.widen(values, _channel(values, module))
        elif module is not None and is_affine_norm(module):
            self._normalization(node, module)
        result = super().run_node(node)
        node.meta["shape"] = tuple(result.shape) if isinstance(result, Tensor) else None
        return result

    def _normalization(self, node: fx.Node, module: Any) -> None:
        x = self.fetch_args_kwargs_from_env(node)[0][0]
        if isinstance(module, nn.LayerNorm):
            values, channel = functional.layer_norm(x, module.normalized_shape, eps=module.eps), x.ndim - 1
        else:
            values, channel = functional.group_norm(x, module.num_groups, eps=module.eps), 1
        self._activity.normalized.setdefault(str(node.target), _Range()).widen(values, channel)

    def _derivative(self, node: fx.Node) -> None:
        (before, *others), kwargs = self.fetch_args_kwargs_from_env(node)
        with torch.enable_grad():
            z = before.detach().clone().requires_grad_()
            # The activation may act in place, which a leaf does not allow.
            result = getattr(self, node.op)(node.target, (z * 1, *others), kwargs)
            (slope,) = torch.autograd.grad(result.sum(), z)
        active = slope != 0
        for dim in range(min(1, active.ndim - 1), active.ndim):
            found = active.movedim(dim, 0).reshape(active.shape[dim], -1).any(dim=1)
            seen = self._activity.alive.get((node.name, dim))
            self._activity.alive[node.name, dim] = found if seen is None or seen.shape != found.shape else seen | found


def activity_on(graph: fx.GraphModule, batches: Iterable[Any]) -> Activity:
    """Run batches through a graph, in its mode, and return who was active; nothing is left behind.

    Args:
        graph: a traced model.
        batches: inputs, or tuples or lists of them.

    Raises:
        ValueError: there is no batch, or one is empty.

    >>> from steadygrad.remedies.traced import traced
    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
    >>> with torch.no_grad(): _ = model[0].bias.copy_(torch.tensor([-1e3, 1e3]))
    >>> list(activity_on(traced(model), [torch.ones(3, 1)]).alive.values())
    [tensor([False,  True])]
    """
    activity, seen = Activity(), 0
    with torch.no_grad(), _left_alone(graph):
        for batch in batches:
            inputs = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
            if any(isinstance(x, Tensor) and not x.numel() for x in inputs):
                raise ValueError(not_allowed("batches", "must hold no empty batch", [tuple(x.shape) for x in inputs]))
            try:
                _Watcher(graph, activity).run(*inputs)
            except Exception as error:
                words = str(error).partition("\n\nWhile executing")[0]
                raise UserCodeError(f"the model raised {type(error).__name__}: {' '.join(words.split())}") from error
            seen += 1
    if not seen:
        raise ValueError(not_allowed("batches", "must hold a batch", batches))
    return activity


@contextmanager
def _left_alone(graph: nn.Module) -> Iterator[None]:
    buffers = [(b, b.clone()) for b in graph.buffers()]
    devices = sorted({p.device.index or 0 for p in graph.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)


def _channel(values: Tensor, layer: nn.Module) -> int:
    """The dimension of a layer's inputs: the last of a linear layer, the first after the batch of a convolution."""
    return values.ndim - 1 if isinstance(layer, nn.Linear) else 1
