"""Every operator that one forward and backward of a model ran: what it was given, what it made, whose line it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from steadygrad.leaves import is_leaf
from steadygrad.tracing import SourceLine, source_line

from .attention_rows import AttentionRows, attention_rows
from .bad_number import BadNumber, bad_number
from .factors import Factor, Factors
from .norms import largest
from .scalar_loss import Loss, outputs_of, scalar_loss, unit_gradients
from .slopes import FlatShare, flat_share
from .untouched import untouched

Phase = Literal["model", "loss", "backward"]


@dataclass(kw_only=True, eq=False)
class Operation:
    """One operator of the forward pass, or of the loss.

    Attributes:
        index: its place.
        name: such as "relu", without overload and trailing underscore.
        phase: whether the model or the loss ran it.
        path: the innermost module that was running.
        call: index of the call of a module without children that it ran in; None outside of such.
        line: the user's line.
        sources: operators that made what it was given.
        parameters: names of the parameters that it was given.
        needs_grad: something that it was given requires a gradient.
        cuts: what it made does not, although `needs_grad`; known where another operator took it.
        differentiable: what it made first are real numbers.
        dtype: of what it made first.
        shape: the same.
        largest: largest absolute value of what it made first, NaN where that holds NaN.
        largest_given: the same over what it was given.
        q: second moment of what it made first.
        attention: of a softmax or of an attention kernel.
        factor: the parameter that a matrix product multiplies by.
        classes: length of the dimension that a softmax runs over; 0 for other operators.
        function: for an operator on one tensor, what it does to it.
        given: what an activation outside of modules without children was given, of a few examples.
    """

    index: int
    name: str
    phase: Phase
    path: str
    call: int | None
    line: SourceLine | None
    sources: tuple[int, ...]
    parameters: tuple[str, ...]
    needs_grad: bool
    cuts: bool = False
    differentiable: bool = False
    dtype: torch.dtype | None = None
    shape: tuple[int, ...] = ()
    largest: float = math.nan
    largest_given: float = 0.0
    q: float = math.nan
    attention: AttentionRows | None = None
    factor: Factor | None = None
    classes: int = 0
    function: Callable[[torch.Tensor], torch.Tensor] | None = None
    given: torch.Tensor | None = None

    @cached_property
    def flat(self) -> FlatShare | None:
        """For an activation outside of such modules: its share of saturated entries."""
        return None if self.function is None or self.given is None else flat_share(self.function, self.given)


@dataclass(kw_only=True, eq=False)
class LeafCall:
    """One call of a module without children.

    Attributes:
        path: the module's path.
        module: the module.
        given: what a module without parameters and buffers was given, of a few examples.
    """

    path: str
    module: nn.Module
    given: torch.Tensor | None

    @cached_property
    def flat(self) -> FlatShare | None:
        """For a pointwise activation: its share of saturated entries."""
        return None if self.given is None else flat_share(self.module, self.given)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operations:
    """What one forward and backward ran.

    Attributes:
        forward: operators of the model and of the loss, in order.
        calls: of modules without children, in the order in which they began.
        outputs: operators that made the model's output.
        forward_bad: the operator that made the first number that is not finite, and how; None where all are.
        backward_bad: the same of the backward pass: the forward operator whose derivative it was.
        gradients: by parameter; None where none came.
    """

    forward: tuple[Operation, ...]
    calls: tuple[LeafCall, ...]
    outputs: tuple[int, ...]
    forward_bad: tuple[Operation, BadNumber] | None
    backward_bad: tuple[Operation, BadNumber] | None
    gradients: dict[str, torch.Tensor | None]


def operations(model: nn.Module, inputs: Any, targets: Any = None, loss_fn: Loss | None = None) -> Operations:
    """Run one forward and backward and record each operator; everything is left as it was.

    Args:
        model: a module.
        inputs: as `measure` takes them.
        targets: what `loss_fn` takes beside the output.
        loss_fn: takes (output, targets), returns a scalar; without it the output gets independent unit gradients.

    Raises:
        SetupError: the loss is not a scalar, or has no gradient.

    >>> run = operations(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.ones(4, 2))
    >>> [(o.name, o.path) for o in run.forward if o.phase == "model" and o.name not in ("t", "detach")]
    [('addmm', '0'), ('relu', '1')]
    """
    names = {id(p): name for name, p in model.named_parameters()}
    trace = _Trace(names=names)
    modules = [model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with untouched(*modules), torch.enable_grad():
        with _Mode(trace), trace.watching(model):
            output = outputs_of(model, inputs)
        made = trace.makers(output)
        trace.phase = "loss"
        with _Mode(trace):
            loss = unit_gradients(output) if loss_fn is None else scalar_loss(loss_fn(output, targets))
        trace.phase = "backward"
        with _Mode(trace):
            found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return Operations(
        forward=tuple(trace.forward),
        calls=tuple(trace.calls),
        outputs=made,
        forward_bad=trace.forward_bad,
        backward_bad=trace.backward_bad,
        gradients=dict(zip(trained, found, strict=True)),
    )


def forward_operations(
    model: nn.Module, inputs: Any, targets: Any, loss_fn: Callable[[Any, Any], Any]
) -> tuple[Operation, ...]:
    """Run one forward pass and the loss, and record each operator; the loss may be anything, of no gradient too.

    See `operations` for the arguments.

    >>> ran = forward_operations(nn.Linear(2, 3), torch.ones(4, 2), None, lambda y, _: y.argmax(1).sum().item())
    >>> [o.name for o in ran if o.phase == "loss"]
    ['argmax', 'sum', '_local_scalar_dense']
    """
    trace = _Trace(names={id(p): name for name, p in model.named_parameters()})
    modules = [model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
    with untouched(*modules), torch.enable_grad(), _Mode(trace):
        with trace.watching(model):
            output = outputs_of(model, inputs)
        trace.phase = "loss"
        loss_fn(output, targets)
    return tuple(trace.forward)


@dataclass(kw_only=True, eq=False)
class _Trace:
    names: dict[int, str]
    phase: Phase = "model"
    asleep: bool = False
    forward: list[Operation] = field(default_factory=list)
    calls: list[LeafCall] = field(default_factory=list)
    forward_bad: tuple[Operation, BadNumber] | None = None
    backward_bad: tuple[Operation, BadNumber] | None = None
    _running: list[tuple[str, int | None]] = field(default_factory=list)
    _made_by: Any = field(default_factory=WeakTensorKeyDictionary)
    _by_node: dict[int, Operation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._factors = Factors(self.names)

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Know which module is running."""
        handles = []
        try:
            for path, module in model.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue  # it takes no hooks: what runs in it counts to what calls it
                handles.append(module.register_forward_pre_hook(self._enter(path), with_kwargs=True))
                handles.append(module.register_forward_hook(self._leave))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            leaf = is_leaf(module)
            self._running.append((path, len(self.calls) if leaf else None))
            if leaf:
                given = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
                self.asleep = True
                kept = _few(given[0]) if len(given) == 1 and _may_be_activation(module) else None
                self.asleep = False
                self.calls.append(LeafCall(path=path, module=module, given=kept))

        return hook

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._running.pop()

    def makers(self, found: Any) -> tuple[int, ...]:
        """Operators that made the tensors in an output."""
        return tuple(self._made_by[t] for t in _tensors(found) if t in self._made_by)

    def record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[torch.Tensor]) -> Operation:
        """Note what an operator is given, before it runs."""
        path, call = self._running[-1] if self._running else ("", None)
        sources = tuple(self._made_by[t] for t in given if t in self._made_by)
        for tensor in given:
            maker = self.forward[self._made_by[tensor]] if tensor in self._made_by else None
            if maker is not None and maker.needs_grad and not tensor.requires_grad:
                maker.cuts = True
        operation = Operation(
            index=len(self.forward),
            name=_name(func),
            phase=self.phase,
            path=path,
            call=call,
            line=source_line(),
            sources=sources,
            parameters=tuple(self.names[id(t)] for t in given if id(t) in self.names),
            needs_grad=any(t.requires_grad for t in given),
            largest_given=max((largest(t) for t in given if t.is_floating_point()), default=0.0, key=_gravity),
        )
        operation.function = _function(func, args, kwargs, given)
        if operation.function is not None and call is None and self.phase == "model":
            operation.given = _few(given[0])
        operation.attention = attention_rows(operation.name, _bound(func, args, kwargs))
        operation.factor = self._factors.of(operation.name, given, args)
        if operation.name in ("_softmax", "_log_softmax") and given[0].dim():
            operation.classes = given[0].shape[args[1]]
        return operation

    def made(self, operation: Operation, found: Any, given: list[torch.Tensor]) -> None:
        """Note what it made."""
        self.forward.append(operation)
        tensors = _tensors(found)
        self._factors.made(operation.name, given, tensors)
        for tensor in tensors:
            self._made_by[tensor] = operation.index
        if operation.needs_grad:
            self._by_node.setdefault(_next_node() - 1, operation)
        if not tensors:
            return
        first = tensors[0]
        operation.dtype, operation.shape = first.dtype, tuple(first.shape)
        if first.is_floating_point() and first.numel():
            operation.differentiable = True
            operation.largest = largest(first)
            operation.q = _second_moment(first)
            if self.forward_bad is None and not math.isfinite(operation.largest):
                bad = bad_number(operation.name, given, first)
                self.forward_bad = None if bad is None else (operation, bad)

    def derivative(self, func: Any, found: Any, given: list[torch.Tensor]) -> None:
        """Look at an operator of the backward pass."""
        node = torch._C._current_autograd_node()
        if self.backward_bad is not None or node is None:
            return
        operation = self._by_node.get(node._sequence_nr())
        tensors = [t for t in _tensors(found) if t.is_floating_point() and t.numel()]
        if operation is not None and any(not math.isfinite(largest(t)) for t in tensors):
            self.backward_bad = operation, BadNumber.of(_name(func), given, tensors[0])


class _Mode(TorchDispatchMode):
    def __init__(self, trace: _Trace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trace = trace

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs, trace = kwargs or {}, self._trace
        if trace.asleep:
            return func(*args, **kwargs)
        given = _tensors((*args, *kwargs.values()))
        if trace.phase == "backward":
            found = func(*args, **kwargs)
            with torch.no_grad():
                trace.derivative(func, found, given)
            return found
        operation = trace.record(func, args, kwargs, given)
        found = func(*args, **kwargs)
        with torch.no_grad():
            trace.made(operation, found, given)
        return found


def _may_be_activation(module: nn.Module) -> bool:
    plain = isinstance(module, nn.PReLU) or next(module.parameters(), None) is None
    return (
        plain and next(module.buffers(), None) is None and not isinstance(module, _DropoutNd | nn.Identity | nn.Flatten)
    )


# A share over so many entries is known to within 0.01 (three standard errors of a fair coin: 1.5 / sqrt(2^16)).
_ENOUGH = 2**16


def _few(x: torch.Tensor) -> torch.Tensor | None:
    """Examples that hold enough entries, as they are now: what follows may write over them."""
    if not x.is_floating_point() or x.dim() < 2 or not x.numel():
        return None
    return x.detach()[: max(_ENOUGH // (x.numel() // len(x)), 1)].clone()


def _function(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What an operator does to its only tensor, the other arguments held."""
    if len(given) != 1 or not args or args[0] is not given[0] or not given[0].is_floating_point():
        return None
    if _name(func) not in POINTWISE:
        return None
    functional, options = _out_of_place(func), args[1:]

    def function(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = functional(x, *options, **kwargs)
        return found

    return function


# Operators of torch that act on each number alone and are used as activations, or scale what they are given.
POINTWISE = frozenset(
    (
        *("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus", "hardtanh"),
        *("tanh", "sigmoid", "hardsigmoid", "hardswish", "log_sigmoid_forward", "clamp", "clamp_min", "clamp_max"),
        *("sin", "cos", "exp", "erf", "atan", "abs", "square", "pow", "threshold", "softshrink", "hardshrink", "sinh"),
        *("asinh", "expm1", "log1p", "rrelu_with_noise"),
    )
)


def _out_of_place(func: Any) -> Any:
    name = func.name().removeprefix("aten::")
    base, _, overload = name.partition(".")
    if not base.endswith("_"):
        return func
    packet = getattr(torch.ops.aten, base.rstrip("_"), None)
    return func if packet is None else getattr(packet, overload or "default", func)


def _bound(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**{a.name: x for a, x in zip(func._schema.arguments, args, strict=False)}, **kwargs}


def _name(func: Any) -> str:
    name: str = func._schema.name.rpartition("::")[2]
    return name.rstrip("_")


def _tensors(found: Any) -> list[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        return [found]
    if isinstance(found, dict):
        found = found.values()
    if isinstance(found, list | tuple) or (not isinstance(found, str | bytes) and hasattr(found, "__iter__")):
        return [t for part in found for t in _tensors(part)]
    return []


def _second_moment(x: torch.Tensor) -> float:
    norm = float(torch.linalg.vector_norm(x, dtype=_wide(x)))
    if math.isinf(norm):  # squares that single precision cannot hold, of numbers that it can
        norm = float(torch.linalg.vector_norm(x, dtype=torch.float64))
    return norm * (norm / x.numel())


def _gravity(x: float) -> float:
    return math.inf if math.isnan(x) else x


def _wide(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _next_node() -> int:
    found: int = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
    return found
