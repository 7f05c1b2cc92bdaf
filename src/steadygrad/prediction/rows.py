"""A row for every call of a module without children, in the order in which the calls end."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from steadygrad.errors import SetupError
from steadygrad.leaves import is_leaf, weight_makers
from steadygrad.profile import Profile

from .demands import UnknownNumber
from .interpreter import Interpreter
from .other_generators import drawn_from, states
from .outside import outside
from .stand_in import stand_in
from .values import Unknown, Value

NOTHING = Unknown("nothing came")


@dataclass(slots=True)
class Row:
    """One call: the module, what is known of its input and output, and of the gradient that came back to it.

    `sources` are the rows whose very output was the input; `shape` is that of the output, of so many `entries` of its
    own.
    """

    path: str
    module: nn.Module
    output: Value
    shape: tuple[int, ...] | None = None
    entering: Value = NOTHING
    sources: tuple[int, ...] = ()
    entries: int = 0
    gradient: Value = field(default_factory=lambda: NOTHING)


class Rows:
    """Watches the calls of a model's modules while the interpreter runs.

    `stopped` says why the model could not be run to its end.
    """

    def __init__(self, run: Interpreter, given: Profile | None = None) -> None:
        self.run = run
        self.given = given
        self.rows: list[Row] = []
        self.stack: list[tuple[nn.Module, Any, Value]] = []
        self.paths: dict[int, str] = {}
        self.stopped: str | None = None
        self.loss: torch.Tensor | None = None
        self._generators = states()
        self._hooks: list[RemovableHandle] = []

    def name(self, model: nn.Module) -> None:
        """Learn the paths of a model's modules."""
        inner = weight_makers(model.modules())
        self.paths = {id(m): path for path, m in reversed(list(model.named_modules())) if m not in inner}
        for path in _scripted(model):
            which = f"module {path!r} is" if path else "the model is"
            self.run.note(
                f"{which} scripted: what runs in it is followed, but its layers are not seen and have no rows"
            )

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """See every call of a module. Of torch's own hooks compiled modules warn, and they miss what others change.

        The graph behind a loss keeps what a hook of it needs, and no collector sees whether that needs the loss.
        """
        call = nn.Module.__call__
        nn.Module.__call__ = self._seen(call)  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = call  # type: ignore[method-assign]
            for hook in self._hooks:
                hook.remove()

    def where(self) -> str:
        """Return the path of the innermost module that is running."""
        return next((self.paths[id(m)] for m, *_ in reversed(self.stack) if id(m) in self.paths), "")

    def _seen(self, call: Any) -> Any:
        def seen(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            depth = len(self.stack)
            self._enter(module, first_tensor([*args, *kwargs.values()]))
            try:
                output = call(module, *args, **kwargs)
            except UnknownNumber as error:
                self.stopped = self.stopped or f"module {self.where()!r}: {error}"
                del self.stack[depth:]
                return self._gone_on(
                    module, [t for t in (*args, *kwargs.values()) if isinstance(t, torch.Tensor)], error
                )
            if not depth or not is_leaf(module):
                self.look_for_chance()
            self._leave(module, output)
            return output

        return seen

    def look_for_chance(self) -> None:
        """Note where random numbers that are no operator's were drawn since the last look.

        A look takes as long as a small operator does, so modules without children are looked at with what holds them.
        """
        now = states()
        for name in drawn_from(self._generators, now):
            where = f"module {path!r}" if (path := self.where()) else "the model" if self.stack else "the loss"
            self.run.chance = True
            self.run.note(f"{where} draws from {name}: what that decides is predicted as one run went")
        self._generators = now

    def _gone_on(self, module: nn.Module, inputs: list[torch.Tensor], error: UnknownNumber) -> torch.Tensor:
        """Go on from what was measured of a module that asks for a number that no theory gives."""
        measured = self._measured(module)
        if measured is None:
            raise error
        self.run.note(f"{self.stopped}; its output is taken as it was measured")
        self.stopped = None
        output = stand_in(self.run, measured, inputs, self._before(inputs))
        self._record(module, output, first_tensor(inputs), NOTHING)
        return output

    def _measured(self, module: nn.Module) -> Any:
        """The measured row of this call of a module, if there is one with a shape to go on from."""
        path = self.paths.get(id(module))
        if self.given is None or path is None:
            return None
        earlier = sum(row.path == path for row in self.rows)
        found = [row for row in self.given if row.path == path][earlier:]
        return found[0] if found and found[0].shape else None

    def _before(self, inputs: list[torch.Tensor]) -> list[Any]:
        """The measured rows whose outputs these tensors are; None for a tensor of another origin."""
        assert self.given is not None
        made = [getattr(t, _MADE_BY, None) for t in inputs]
        rows = [None if i is None else self.rows[i] for i in made]
        found = {row.path: row for row in reversed(self.given.layers)}
        return [None if row is None else found.get(row.path) for row in rows]

    def _enter(self, module: nn.Module, x: torch.Tensor | None) -> None:
        if _takes_tokens(module) and x is not None and x.is_floating_point():
            raise SetupError(
                f"`inputs` must be token ids for module {self.paths.get(id(module), '')!r} ({type(module).__name__}), "
                f"got {x.dtype}: give a tensor of integers, or Inputs(shape, tokens={module.num_embeddings})."
            )
        with outside():
            self.stack.append((module, x, NOTHING if x is None else self.run.value(x)))

    def _leave(self, module: nn.Module, output: Any) -> None:
        _, x, entering = self.stack.pop()
        tensor = first_tensor(output)
        if tensor is not None and id(module) in self.paths and is_leaf(module):
            self._record(module, tensor, x, entering)

    def _record(self, module: nn.Module, tensor: torch.Tensor, x: torch.Tensor | None, entering: Value) -> None:
        made = None if x is None else getattr(x, _MADE_BY, None)
        with outside():
            value = self.run.value(tensor)
        sources = () if made is None else (made,)
        own = math.prod(n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step)
        row = Row(self.paths[id(module)], module, value, tuple(tensor.shape), entering, sources, own)
        setattr(tensor, _MADE_BY, len(self.rows))
        self.rows.append(row)
        # asked for first, as torch 2.13 crashes where it remakes it, for a view that was written beside, in the hook
        if tensor.requires_grad and (tensor.is_leaf or tensor.grad_fn is not None):
            self._hooks.append(tensor.register_hook(lambda grad: self._backward(row, grad)))

    def _backward(self, row: Row, grad: torch.Tensor) -> None:
        with outside():
            row.gradient = self.run.value(grad)

    def not_reached(self, model: nn.Module) -> list[Row]:
        """Return a row for each module without children that was not called before the model stopped."""
        reached = {row.path for row in self.rows}
        why = Unknown(self.stopped or "")
        leaves = ((path, m) for path, m in model.named_modules() if id(m) in self.paths and is_leaf(m))
        return [Row(path, m, why) for path, m in leaves if path not in reached and self.stopped]


def _takes_tokens(module: nn.Module) -> bool:
    """Whether a module is called with token ids; a class of its own that makes an embedding's input may not be."""
    known = (nn.Embedding.forward, nn.EmbeddingBag.forward)
    return isinstance(module, nn.Embedding | nn.EmbeddingBag) and type(module).forward in known


def _scripted(model: nn.Module) -> list[str]:
    """Return the paths of the outermost scripted or traced modules that hold weights."""
    paths: list[str] = []
    for path, module in model.named_modules():
        within = any(path.startswith(f"{outer}." if outer else "") for outer in paths)
        if isinstance(module, torch.jit.ScriptModule) and not within and next(module.parameters(), None) is not None:
            paths.append(path)
    return paths


_MADE_BY = "_steadygrad_made_by"


def _unwrapped(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor within the wrappers of `torch.func`, which do not outlive the transform they belong to."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def first_tensor(output: Any) -> torch.Tensor | None:
    """Return the first tensor in an output: itself, or in a list, tuple or mapping, depth first.

    Within a transform of `torch.func` it is the one that is transformed, so under `vmap` all examples of it.
    """
    if isinstance(output, torch.Tensor):
        return _unwrapped(output)
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return next((t for x in output if (t := first_tensor(x)) is not None), None)
    return None
