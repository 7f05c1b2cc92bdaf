"""Which units do nothing on given data, and what they pass on while they do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from .units import Units, is_activation, is_layer


@dataclass(kw_only=True)
class _Range:
    """Smallest and largest entry of each unit."""

    low: Tensor | None = None
    high: Tensor | None = None

    def widen(self, values: Tensor, channel: int) -> None:
        over = [d for d in range(values.ndim) if d != channel]
        low, high = values.amin(dim=over), values.amax(dim=over)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)


@dataclass(kw_only=True)
class Activity:
    """What every activation and every reader saw.

    Attributes:
        alive: for each activation node which units had a derivative other than 0 on some example.
        inputs: for each layer by path the range of each of its inputs.
    """

    alive: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, _Range] = field(default_factory=dict)

    def dead(self, units: Units) -> Tensor:
        """Return positions of the units whose derivative was 0 on every example; a NaN's derivative counts."""
        if units.activation is None or units.activation.name not in self.alive:
            return torch.zeros(0, dtype=torch.int64)
        return (~self.alive[units.activation.name]).nonzero().flatten()

    def constants(self, path: str, columns: Tensor) -> Tensor | None:
        """Return what a layer's inputs always were; None where one of them varied."""
        seen = self.inputs[path]
        assert seen.low is not None
        assert seen.high is not None
        low, high = seen.low[columns], seen.high[columns]
        return low if torch.equal(low, high) else None


class _Watcher(fx.Interpreter):
    """Runs a graph and takes down activity on the way."""

    def __init__(self, graph: fx.GraphModule, activity: Activity) -> None:
        super().__init__(graph)
        self._modules, self._activity = dict(graph.named_modules()), activity

    def run_node(self, node: fx.Node) -> Any:
        """Run a node; look at it where it is an activation or a layer."""
        if is_activation(node, self._modules):
            self._derivative(node)
        elif node.op == "call_module" and is_layer(self._modules[str(node.target)]):
            values = self.fetch_args_kwargs_from_env(node)[0][0]
            seen = self._activity.inputs.setdefault(str(node.target), _Range())
            seen.widen(values, _channel(values, self._modules[str(node.target)]))
        return super().run_node(node)

    def _derivative(self, node: fx.Node) -> None:
        (before, *others), kwargs = self.fetch_args_kwargs_from_env(node)
        with torch.enable_grad():
            z = before.detach().clone().requires_grad_()
            # The activation may act in place, which a leaf does not allow.
            result = getattr(self, node.op)(node.target, (z * 1, *others), kwargs)
            (slope,) = torch.autograd.grad(result.sum(), z)
        channel = 1 if slope.ndim > 2 and _from_convolution(node, self._modules) else slope.ndim - 1
        active = (slope != 0).any(dim=0) if slope.ndim == 2 else (slope != 0).movedim(channel, 0).flatten(1).any(dim=1)
        seen = self._activity.alive.get(node.name)
        self._activity.alive[node.name] = active if seen is None else seen | active


def activity_on(graph: fx.GraphModule, batches: Iterable[Any]) -> Activity:
    """Run batches through a graph, in its mode, and return who was active; nothing is left behind.

    Args:
        graph: a traced model.
        batches: inputs, or tuples of them.

    >>> from steadygrad.remedies.units import traced
    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
    >>> with torch.no_grad(): _ = model[0].bias.copy_(torch.tensor([-1e3, 1e3]))
    >>> list(activity_on(traced(model), [torch.ones(3, 1)]).alive.values())
    [tensor([False,  True])]
    """
    activity = Activity()
    with torch.no_grad(), _left_alone(graph):
        for batch in batches:
            _Watcher(graph, activity).run(*(batch if isinstance(batch, tuple) else (batch,)))
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


def _from_convolution(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the nearest layer upstream is a convolution; its units lie along dimension 1."""
    source = node.all_input_nodes[0]
    while source.all_input_nodes and not (source.op == "call_module" and is_layer(modules[str(source.target)])):
        source = source.all_input_nodes[0]
    return source.op == "call_module" and not isinstance(modules[str(source.target)], nn.Linear)
