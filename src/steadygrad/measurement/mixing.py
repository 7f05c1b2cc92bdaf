"""Whether what a model says of one example depends on the others of its batch, and the operator that joins them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.setup import mapped, tensors_in
from steadygrad.tracing import SourceLine, running_module, source_line

from .scalar_loss import outputs_of
from .untouched import untouched

Kind = Literal["softmax", "reshape", "batch_first", "other"]

# Numbers of examples to try with: odd ones first, which the lengths of other axes seldom are.
_SIZES = (7, 9, 11, 5, 6, 8, 10)
# For what operators make: 64 MB in single precision.
_MOST_ENTRIES = 2**24

_SOFTMAX = ("_softmax", "_log_softmax", "softmax", "log_softmax")
_RESHAPE = ("view", "_unsafe_view", "reshape", "_reshape_alias")
# They take a part of the examples, or of a sequence: what is left may be all that was exchanged.
_TAKE = ("select", "slice", "unbind", "split", "split_with_sizes", "chunk", "index", "index_select", "gather", "narrow")
_LAYERS = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@dataclass(frozen=True, kw_only=True)
class Join:
    """The first operator that makes of examples something that belongs to none of them.

    Attributes:
        name: of the operator, or of the layer's class.
        path: of the module that runs it.
        line: the user's.
        kind: a softmax over the examples, a reshape across them, a layer whose `batch_first` is not set, or another.
    """

    name: str
    path: str
    line: SourceLine | None
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """What comes of exchanging the other examples.

    Attributes:
        share: root mean square by which the outputs of the examples that stayed change, over their spread.
        rounding: what rounding may make of it.
        examples: how many were given at once.
        join: where it happens; None where it does not, or was not found.
    """

    share: float
    rounding: float
    examples: int
    join: Join | None = None

    @property
    def is_there(self) -> bool:
        """Whether it is more than rounding."""
        return self.share > self.rounding


def mixing(model: nn.Module, inputs: Any, size: int, shapes: Sequence[tuple[int, ...]] = ()) -> Mixing | None:
    """Exchange half of a few examples, in evaluation mode, and look at what the model says of the other half.

    None where nothing can be told: of fewer than five examples, of outputs that are not one for each example or all the
    same, and of a model that takes no smaller batch, as one of a graph whose nodes are the examples.

    Args:
        model: left as it is.
        inputs: of a batch, a tensor or what holds some.
        size: examples in the batch.
        shapes: of the outputs of an example, which a smaller batch must not change.

    >>> x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    >>> found = mixing(nn.Sequential(nn.Linear(3, 3), nn.Softmax(dim=0)), x, 8)
    >>> found.is_there, found.join.kind, mixing(nn.Linear(3, 3), x, 8).is_there
    (True, 'softmax', False)
    """
    lengths = {s for x in tensors_in(inputs).values() for s in x.shape[1:]}
    examples = next((n for n in _SIZES if n <= size and n not in lengths), None)
    if examples is None:
        return None
    few = mapped(lambda x: x[:examples] if x.dim() and len(x) == size else x, inputs)
    try:
        with untouched(model), torch.no_grad():
            return _exchanged(model, few, examples, list(shapes))
    except Exception:  # a model of one batch size, or whose code does not run so: nothing is known
        return None


def _exchanged(model: nn.Module, few: Any, examples: int, shapes: list[tuple[int, ...]]) -> Mixing | None:
    """Exchange the last ones, then the first ones: a recurrence over the examples goes one way."""
    was = _outputs(model, few, examples)
    if not was or (shapes and [tuple(x.shape[1:]) for x in was] != shapes):
        return None
    places, kept = torch.arange(examples), examples // 2 + 1
    ways = (
        (places[:kept], torch.cat([places[:kept], places[: examples - kept]])),
        (places[-kept:], torch.cat([places[kept:], places[-kept:]])),
    )
    shares = []
    for stay, rows in ways:
        now = _outputs(model, _taken(few, rows, examples), examples)
        shares.append(max(_change(a[stay], b[stay]) for a, b in zip(was, now, strict=True)))
    share, rounding = max(shares), max(math.sqrt(torch.finfo(x.dtype).eps) for x in was)
    if not math.isfinite(share):
        return None
    stay, rows = ways[shares.index(share)]
    join = _join(model, few, _taken(few, rows, examples), stay, examples) if share > rounding else None
    return Mixing(share=share, rounding=rounding, examples=examples, join=join)


def _taken(inputs: Any, rows: Tensor, examples: int) -> Any:
    return mapped(lambda x: x[rows.to(x.device)] if x.dim() and len(x) == examples else x, inputs)


def _outputs(model: nn.Module, inputs: Any, examples: int) -> list[Tensor]:
    """Floating-point outputs with a row an example; none where one has none."""
    model.eval()
    torch.manual_seed(0)
    found = [x for x in tensors_in(outputs_of(model, mapped(Tensor.clone, inputs))).values() if x.is_floating_point()]
    return found if all(x.dim() and len(x) == examples for x in found) else []


def _change(was: Tensor, now: Tensor) -> float:
    """How far outputs moved, in units of what differs between examples; NaN where nothing does."""
    was, now = was.double(), now.double()
    spread = float((was - was.mean(0)).square().mean())
    return math.sqrt(float((now - was).square().mean()) / spread) if spread > 0 else math.nan


@dataclass(kw_only=True, eq=False)
class _Made:
    name: str
    path: str
    line: SourceLine | None
    kind: Kind
    sources: list[int]
    value: Tensor | None


@dataclass(kw_only=True, eq=False)
class _Tape:
    """What operators made, in order, each with where its operands come from; the inputs come first."""

    model: nn.Module
    made: list[_Made] = field(default_factory=list)
    room: int = _MOST_ENTRIES

    def __post_init__(self) -> None:
        self._paths = {id(m): path for path, m in self.model.named_modules()}
        self._places: dict[int, tuple[Tensor, int]] = {}

    def note(self, name: str, given: Any, found: Any, path: str | None = None, kind: Kind = "other") -> None:
        """Keep what came of an operator, while there is room."""
        sources = [self._places[id(x)][1] for x in tensors_in(given).values() if id(x) in self._places]
        for x in tensors_in(found).values():
            self.room -= x.numel()
            self._places[id(x)] = (x, len(self.made))  # kept, so that no identity is met twice
            self.made.append(
                _Made(
                    name=name,
                    path=path if path is not None else running_module(self._paths) or "",
                    line=source_line(),
                    kind=kind,
                    sources=sources,
                    value=x.detach().clone() if self.room > 0 else None,
                )
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note the layers whose `batch_first` is not set, too."""
        with ExitStack() as stack:
            for path, module in self.model.named_modules():
                if isinstance(module, _LAYERS) and _is_not_batch_first(module):
                    hook = self._hook(path)
                    stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            stack.enter_context(_Mode(self))
            yield

    def _hook(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            with torch.utils._python_dispatch._disable_current_modes():
                self.note(type(module).__name__, [args, kwargs], output, path, "batch_first")

        return hook


class _Mode(TorchDispatchMode):
    def __init__(self, tape: _Tape) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tape = tape

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        kind: Kind = "softmax" if name in _SOFTMAX else "reshape" if name in _RESHAPE else "other"
        self._tape.note(name, [args, kwargs or {}], result, None, kind)
        return result


def _is_not_batch_first(module: nn.Module) -> bool:
    attention = getattr(module, "self_attn", module)
    return getattr(attention, "batch_first", True) is False


def _join(model: nn.Module, inputs: Any, others: Any, stay: Tensor, examples: int) -> Join | None:
    """The first operator that takes tensors in which the examples that stayed did, and makes one in which none does."""
    was, now = (_tape(model, given) for given in (inputs, others))
    kept = torch.zeros(examples, dtype=torch.bool)
    kept[stay] = True
    states: list[bool | None] = []  # None: nothing changed; True: examples that stayed did; False: they did not
    joins: list[_Made] = []
    for a, b in zip(was.made, now.made, strict=False):
        states.append(_state(a, b, kept))
        given = [states[i] for i in a.sources]
        if states[-1] is False and a.name not in _TAKE and given.count(True) and False not in given:
            joins.append(a)
    if not joins:
        return None
    first = joins[0]
    layer = _layer(model, first.path)
    if layer is not None and first.kind == "other":
        return Join(name=type(model.get_submodule(layer)).__name__, path=layer, line=None, kind="batch_first")
    return Join(name=first.name.lstrip("_"), path=first.path, line=first.line, kind=first.kind)


def _layer(model: nn.Module, path: str) -> str | None:
    """The innermost layer around a module whose `batch_first` is not set."""
    parts = path.split(".")
    around = [".".join(parts[:i]) for i in range(len(parts), 0, -1)]
    found = (p for p in around if isinstance(m := model.get_submodule(p), _LAYERS) and _is_not_batch_first(m))
    return next(found, None)


def _tape(model: nn.Module, inputs: Any) -> _Tape:
    tape = _Tape(model=model)
    given = mapped(Tensor.clone, inputs)
    tape.note("", (), given)
    model.eval()
    torch.manual_seed(0)
    with tape.watching():
        outputs_of(model, given)
    return tape


def _state(was: _Made, now: _Made, kept: Tensor) -> bool | None:
    a, b = was.value, now.value
    if a is None or b is None or a.shape != b.shape:
        return None
    changed = a != b
    if a.is_floating_point():
        changed = (a - b).abs() > math.sqrt(torch.finfo(a.dtype).eps) * a.abs().max() if a.numel() else changed
    if not bool(changed.any()):
        return None
    return any(_follows(changed, axis, kept) for axis in range(changed.dim()))


def _follows(changed: Tensor, axis: int, kept: Tensor) -> bool:
    """Whether an axis is that of the examples, alone or with another that it was joined to: what stayed is there."""
    length, examples = changed.shape[axis], len(kept)
    if length % examples:
        return False
    along = changed.movedim(axis, 0).reshape(length, -1).any(1).cpu()
    return not bool(along.reshape(examples, -1)[kept].any()) or not bool(along.reshape(-1, examples)[:, kept].any())
