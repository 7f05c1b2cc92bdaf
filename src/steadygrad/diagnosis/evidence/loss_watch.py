"""Watches a loss function while it runs: the losses of torch that it calls, and differences written by hand."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# torch's own losses by what their first argument is taken for.
LOGITS = ("cross_entropy", "binary_cross_entropy_with_logits", "log_softmax", "softmax")
LOG_PROBABILITIES = ("nll_loss", "kl_div", "ctc_loss")
REGRESSIONS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "difference")
_TWO_SIDED = (
    *("cross_entropy", "binary_cross_entropy_with_logits", "binary_cross_entropy", "nll_loss", "kl_div"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "hinge_embedding_loss"),
    *("poisson_nll_loss", "multilabel_soft_margin_loss", "multi_margin_loss", "ctc_loss"),
)
_DIFFERENCES = ("sub", "__sub__", "__rsub__", "rsub", "subtract", "__isub__", "sub_")
_MAGNITUDES = ("pow", "__pow__", "square", "abs", "__abs__", "absolute", "norm", "vector_norm", "mul", "__mul__")
# What their result holds is their first operand's: the others only say which entries.
_CHOOSING = ("gather", "take_along_dim", "take", "index_select", "masked_select", "__getitem__", "masked_fill")
# Losses that broadcast, and may return less than all of the pairs.
_ELEMENTWISE = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """What the model gives meets what it should give.

    Attributes:
        name: torch's function, as "cross_entropy"; "difference" for one written by hand and then squared or made
            absolute; "softmax" and "log_softmax" for those that the loss applies itself.
        input: the side that comes from the model, with its graph.
        target: the other side; None for "softmax" and "log_softmax".
        options: the function's other arguments.
    """

    name: str
    input: Tensor
    target: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Broadcast:
    """Two tensors that were stretched against each other, or outputs alone.

    Attributes:
        name: the function.
        outputs: shape on the side of the model.
        targets: shape on the side of the targets.
        result: shape of all pairs.
    """

    name: str
    outputs: tuple[int, ...]
    targets: tuple[int, ...]
    result: tuple[int, ...]

    @property
    def mixes_examples(self) -> bool:
        """Whether an output meets the targets of other examples too, and not only several of its own."""
        return len(self.outputs) != len(self.targets)


class LossWatch(TorchFunctionMode):
    """Record what a loss function does with the model's outputs and with the targets.

    Args:
        outputs: tensors that come from the model.
        targets: tensors that come from the data.

    >>> outputs, targets = torch.zeros(4, 1, requires_grad=True), torch.ones(4)
    >>> with LossWatch([outputs], [targets]) as watch:
    ...     loss = ((outputs - targets) ** 2).mean()
    >>> watch.pairs[0].name, watch.broadcasts[0].result
    ('difference', (4, 4))
    """

    def __init__(self, outputs: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
        super().__init__()
        self.pairs: list[Pair] = []
        self.broadcasts: list[Broadcast] = []
        self.exchanged: list[Tensor] = []
        self._differences: dict[int, tuple[Tensor, Tensor]] = {}
        # Tensors are kept, so that no identity is used twice while the loss runs.
        self._kept: list[Tensor] = [*outputs]
        self._from_model = {id(x) for x in self._kept}
        self._from_data: set[int] = set()
        for x in targets:
            self._kept.append(x)
            self._from_data.add(id(x))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch and note where its operands come from."""
        name = getattr(func, "__name__", "")
        named = kwargs or {}
        tensors = [x for x in (*args, *named.values()) if isinstance(x, Tensor)]
        nested = [x for part in args if isinstance(part, list | tuple) for x in part if isinstance(x, Tensor)]
        # Before the call: a loss that raises on its target has been seen, too.
        self._look(name, func, args, named)
        result = func(*args, **named)
        if isinstance(result, Tensor):
            self._look_at_result(name, tensors, result)
        for made in result if isinstance(result, list | tuple) else (result,):
            if isinstance(made, Tensor):
                self._derive(made, tensors[:1] if name in _CHOOSING else [*tensors, *nested])
        return result

    def _derive(self, made: Tensor, operands: list[Tensor]) -> None:
        self._kept.append(made)
        for side in (self._from_model, self._from_data):
            if any(id(x) in side for x in operands):
                side.add(id(made))

    def _is_output(self, x: Any) -> bool:
        return isinstance(x, Tensor) and id(x) in self._from_model and id(x) not in self._from_data

    def _is_target(self, x: Any) -> bool:
        return isinstance(x, Tensor) and id(x) in self._from_data and id(x) not in self._from_model

    def _look(self, name: str, func: Any, args: Any, named: dict[str, Any]) -> None:
        if name in _TWO_SIDED and func is getattr(F, name, None):
            self._two_sided(name, func, args, named)
        elif name in ("softmax", "log_softmax") and args and self._is_output(args[0]):
            self.pairs.append(Pair(name=name, input=args[0]))
        elif _is_magnitude(name, args) and id(args[0]) in self._differences:
            x, y = self._differences.pop(id(args[0]))
            self.pairs.append(Pair(name="difference", input=x, target=y))

    def _two_sided(self, name: str, func: Any, args: Any, named: dict[str, Any]) -> None:
        bound = inspect.signature(func).bind(*args, **named)
        bound.apply_defaults()
        values = dict(bound.arguments)
        names = ("log_probs", "targets") if name == "ctc_loss" else ("input", "target")
        x, y = (values.pop(key, None) for key in names)
        if self._is_output(y) and not self._is_output(x) and name in REGRESSIONS:
            x, y = y, x
        if name == "kl_div" and self._is_output(y) and not self._is_output(x) and not values["log_target"]:
            self.exchanged.append(y.detach().cpu())
        if self._is_output(x) and isinstance(y, Tensor):
            self.pairs.append(Pair(name=name, input=x, target=y, options=values))

    def _look_at_result(self, name: str, tensors: list[Tensor], result: Tensor) -> None:
        x = next((t for t in tensors if self._is_output(t)), None)
        y = next((t for t in tensors if self._is_target(t)), None)
        if x is None or y is None or (shape := _broadcast(x, y)) is None:
            return
        if name in _DIFFERENCES:
            self._differences[id(result)] = (x, y)
        # Stretched both ways, and not on purpose: whoever wants all pairs writes both shapes out.
        both_ways = shape.numel() > max(x.numel(), y.numel()) and x.dim() != y.dim()
        of_pairs = both_ways and (result.shape == shape or name in _ELEMENTWISE)
        # What is written by hand may mean to hold one number to many; torch's own losses warn of it.
        if of_pairs or (name in _ELEMENTWISE and _is_one_for_many(x, y)):
            self.broadcasts.append(
                Broadcast(name=name, outputs=tuple(x.shape), targets=tuple(y.shape), result=tuple(shape))
            )


def _is_one_for_many(x: Tensor, y: Tensor) -> bool:
    """Whether every example has fewer outputs than targets, and more than one example is there to have them."""
    return x.dim() == y.dim() > 1 and len(x) == len(y) > 1 and x.numel() < y.numel()


def _broadcast(x: Tensor, y: Tensor) -> torch.Size | None:
    try:
        shape: torch.Size = torch.broadcast_shapes(x.shape, y.shape)
    except RuntimeError:
        return None
    return shape


def _is_magnitude(name: str, args: Any) -> bool:
    """Whether a function squares its argument or takes its size; a product has to be with itself."""
    own = name not in ("mul", "__mul__") or (len(args) > 1 and args[1] is args[0])
    return name in _MAGNITUDES and bool(args) and own
