"""Tracing: one run of a model on fake tensors, which have shapes alone, or on real ones where code needs numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from steadygrad.errors import SteadygradError, UserCodeError, not_allowed
from steadygrad.measurement.untouched import untouched

from .node import Node, Ref

# Layers that are one step: what they do inside follows their own rule.
_WHOLE = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, _DropoutNd)


def trace(model: nn.Module, inputs: Any) -> tuple[list[Node], list[Node]]:
    """Return the operators that a model runs, in their order, and the nodes of what it returns.

    The model is left as it was. On the meta device, and for a batch given by its shape, nothing is computed; where
    the code asks for numbers, a model that has them is run on the batch.

    Args:
        model: a module, built or on the meta device.
        inputs: a tensor, a sequence or a mapping of tensors, unpacked into the call; or a shape.

    Raises:
        UserCodeError: the model raised.
        ValueError: `inputs` is none of these.

    >>> nodes, outputs = trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), (4, 2))
    >>> [node.name for node in nodes if node.operator], [node.name for node in outputs]
    (['t', 'addmm', 'relu', 'detach'], ['relu'])
    """
    given = _given(model, inputs)
    try:
        return _faked(model, given)
    except Exception as error:
        real = not _is_shape(inputs) and not any(p.is_meta for p in model.parameters())
        if isinstance(error, SteadygradError) or not real:
            raise _said(model, error) from error
    try:
        return _run(model, dict(model.named_parameters()), dict(model.named_buffers()), given)
    except Exception as error:
        raise _said(model, error) from error


def _said(model: nn.Module, error: Exception) -> Exception:
    if isinstance(error, SteadygradError):
        return error
    return UserCodeError(f"the model ({type(model).__name__}) raised {type(error).__name__}: {error}")


def _is_shape(inputs: Any) -> bool:
    return isinstance(inputs, list | tuple) and bool(inputs) and all(isinstance(n, int) for n in inputs)


def _given(model: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if _is_shape(inputs):
        kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())
        return (torch.empty(tuple(inputs), dtype=kind, device="meta"),), {}
    match inputs:
        case torch.Tensor():
            return (inputs,), {}
        case Mapping():
            return (), dict(inputs)
        case Sequence() if inputs and not isinstance(inputs, str):
            return tuple(inputs), {}
        case _:
            rule = "must be a tensor, a sequence or a mapping of tensors, or a shape"
            raise ValueError(not_allowed("inputs", rule, type(inputs).__name__))


def _faked(model: nn.Module, given: tuple[tuple[Any, ...], dict[str, Any]]) -> tuple[list[Node], list[Node]]:
    with FakeTensorMode(allow_non_fake_inputs=True):

        def fake(x: Any) -> Any:
            if not isinstance(x, torch.Tensor):
                return x
            made = torch.empty_strided(tuple(x.shape), x.stride(), dtype=x.dtype, device="cpu")
            return made.requires_grad_(x.requires_grad)

        parameters = {name: fake(p) for name, p in model.named_parameters()}
        buffers = {name: fake(b) for name, b in model.named_buffers()}
        args, kwargs = given
        faked = tuple(fake(x) for x in args), {key: fake(x) for key, x in kwargs.items()}
        return _run(model, parameters, buffers, faked)


def _run(
    model: nn.Module,
    parameters: dict[str, torch.Tensor],
    buffers: dict[str, torch.Tensor],
    given: tuple[tuple[Any, ...], dict[str, Any]],
) -> tuple[list[Node], list[Node]]:
    recorder = Recorder(model)
    recorder.know("parameter", parameters)
    recorder.know("constant", buffers)
    args, kwargs = given
    recorder.know("input", {**{str(i): x for i, x in enumerate(args)}, **kwargs})
    # With gradients on, attention and encoder layers run the operators that they are made of.
    with untouched(model), torch.enable_grad(), recorder.watching(), recorder:
        output = torch.func.functional_call(model, {**parameters, **buffers}, args, kwargs)
    return recorder.nodes, [recorder.ref(x).node for x in _tensors(output)]


class Recorder(TorchDispatchMode):
    """Keeps every operator that runs, but inside of a layer that is one step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.nodes: list[Node] = []
        self._made_by: Any = WeakTensorKeyDictionary()
        self._running: list[str] = []
        self._inside = 0

    def know(self, name: str, tensors: Mapping[str, Any]) -> None:
        """Give tensors that were there a node each."""
        for path, x in tensors.items():
            if isinstance(x, torch.Tensor):
                self._made_by[x] = Ref(self._added(Node(name, path=path, shape=tuple(x.shape))))

    def ref(self, x: torch.Tensor) -> Ref:
        """Return where a tensor comes from; one that nothing made is a constant."""
        if x not in self._made_by:
            self.know("constant", {"": x})
        found: Ref = self._made_by[x]
        return found

    def _added(self, node: Node) -> Node:
        node.index = len(self.nodes)
        self.nodes.append(node)
        return node

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and keep it."""
        kwargs = kwargs or {}
        if self._inside or func.namespace == "prim":
            return func(*args, **kwargs)
        refs = self._referred(args), {key: self._referred(x) for key, x in kwargs.items()}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        name = name.rstrip("_") if not name.startswith("__") else name
        self._made(Node(name, *refs, operator=func, path=self._running[-1] if self._running else ""), out)
        return out

    def _made(self, node: Node, out: Any) -> None:
        tensors = list(_tensors(out))
        if not tensors:
            return
        node.shape = tuple(tensors[0].shape)
        self._added(node)
        for i, tensor in enumerate(tensors):
            self._made_by[tensor] = Ref(node, i)

    def _referred(self, arg: Any) -> Any:
        if isinstance(arg, torch.Tensor):
            return self.ref(arg)
        if isinstance(arg, list | tuple):
            return tuple(self._referred(x) for x in arg)
        return arg

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Know which module is running; unhook at the end."""
        handles = []
        try:
            for path, module in self.model.named_modules(remove_duplicate=True):
                handles.append(module.register_forward_pre_hook(self._enter(path), with_kwargs=True))
                handles.append(module.register_forward_hook(self._leave(path), with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._running.append(path)
            self._inside += isinstance(module, _WHOLE)

        return hook

    def _leave(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            self._running.pop()
            self._inside -= isinstance(module, _WHOLE)
            if isinstance(module, _WHOLE) and not self._inside:
                given = tuple(self.ref(x) for x in _tensors((args, tuple(kwargs.values()))))
                name = "dropout" if isinstance(module, _DropoutNd) else "module"
                self._made(Node(name, given, path=path), out)

        return hook


def _tensors(found: Any) -> Iterator[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, Mapping):
        for part in found.values():
            yield from _tensors(part)
    elif isinstance(found, list | tuple):
        for part in found:
            yield from _tensors(part)
