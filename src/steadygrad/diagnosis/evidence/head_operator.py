"""The operator that makes a tensor, read from the autograd graph, and the range that it cannot leave."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

# These hand numbers on as they are, whole or in part: what made them is looked for before.
_HANDED_ON = frozenset(
    (
        *("Alias", "AsStrided", "BackwardHookFunction", "Clone", "Contiguous", "Expand", "Index", "IndexSelect"),
        *("Gather", "MoveDim", "Permute", "Reshape", "ReshapeAlias", "Select", "Slice", "Split", "Squeeze", "SwapAxes"),
        *("T", "ToCopy", "Transpose", "Unbind", "UnsafeView", "Unsqueeze", "View", "SplitWithSizes", "Narrow"),
    )
)
# These keep all numbers in their order.
_IN_ORDER = frozenset(("Alias", "BackwardHookFunction", "Clone", "Contiguous", "Reshape", "ReshapeAlias", "ToCopy"))
_IN_ORDER |= {"UnsafeView", "View"}
_POSITIVE = (0.0, math.inf)
_UNIT = (0.0, 1.0)
_RANGES: dict[str, tuple[float, float]] = {
    "Relu": _POSITIVE,
    "Softplus": _POSITIVE,
    "Exp": _POSITIVE,
    "Abs": _POSITIVE,
    "Sqrt": _POSITIVE,
    "Sigmoid": _UNIT,
    "Hardsigmoid": _UNIT,
    "Softmax": _UNIT,
    "Tanh": (-1.0, 1.0),
    "Sin": (-1.0, 1.0),
    "Cos": (-1.0, 1.0),
    "Cosine": (-1.0, 1.0),
    "LogSoftmax": (-math.inf, 0.0),
    "LogSigmoid": (-math.inf, 0.0),
}
_UNBOUNDED = (-math.inf, math.inf)
_SOFTMAX = ("Softmax", "LogSoftmax")
_NORMS = ("LinalgVectorNorm", "Norm")
# On the way from a norm to what is divided by it.
_BESIDE = ("ClampMin", "Clamp", "Maximum", "Add")


@dataclass(frozen=True, kw_only=True)
class HeadOperator:
    """What made a tensor.

    Attributes:
        name: the operator's name in the autograd graph, as "Softmax"; "" where there is no graph.
        low: the least value that it can take.
        high: the largest.
        classes: length of the dimension that a softmax runs over; 0 for anything else.
        over_examples: that dimension is the first of several, where examples lie.
        factor: what its numbers were multiplied by on their way, as by a temperature; the range is that of the product.
        viewed: shapes that it had before it was given its own with all numbers in their order, the last one first.

    >>> head = head_operator(torch.randn(3, 4, requires_grad=True).softmax(-1).unsqueeze(0))
    >>> head.name, head.low, head.high, head.classes
    ('Softmax', 0.0, 1.0, 4)
    """

    name: str = ""
    low: float = -math.inf
    high: float = math.inf
    classes: int = 0
    factor: float = 1.0
    over_examples: bool = False
    viewed: tuple[tuple[int, ...], ...] = ()


def head_operator(tensor: torch.Tensor) -> HeadOperator:
    """Return the operator that made a tensor; views, slices, copies, casts and constant factors are looked through.

    The scalar products of vectors that were divided by their norms are a "Cosine".
    """
    return replace(_made_by(tensor), viewed=tuple(_viewed(tensor.grad_fn)))


def _made_by(tensor: torch.Tensor) -> HeadOperator:
    node, factor = _through(tensor.grad_fn), 1.0
    while node is not None and (times := _constant_factor(node)) is not None:
        node, factor = _through(node.next_functions[0][0]), factor * times
    if node is None:
        return HeadOperator()
    name = "Cosine" if _is_cosine(node) else _name(node)
    low, high = _range(node, name)
    if factor != 1 and (name.startswith("Log") or (low, high) == _UNBOUNDED):
        return HeadOperator(name=_name(_through(tensor.grad_fn)))
    low, high = sorted((low * factor, high * factor))
    return HeadOperator(
        name=name, low=low, high=high, classes=_classes(node), factor=factor, over_examples=_over_examples(node)
    )


def _viewed(node: Any) -> Iterator[tuple[int, ...]]:
    """Shapes before each view; what puts axes in another order ends them."""
    while node is not None and _name(node) in _IN_ORDER and node.next_functions:
        if (sizes := getattr(node, "_saved_self_sym_sizes", None)) is not None:
            yield tuple(map(int, sizes))
        node = node.next_functions[0][0]


def _through(node: Any) -> Any:
    """Back over what hands numbers on as they are."""
    while node is not None and _name(node) in _HANDED_ON and node.next_functions:
        node = node.next_functions[0][0]
    return node


def _constant_factor(node: Any) -> float | None:
    """What a product, a quotient or a sign multiplies by, where that is one number and not trained."""
    name = _name(node)
    if name == "Neg":
        return -1.0
    if name not in ("Mul", "Div") or len(node.next_functions) != 2 or node.next_functions[1][0] is not None:
        return None
    other = node._saved_other
    if not isinstance(other, torch.Tensor) or other.numel() != 1 or not float(other):
        return None
    return float(other) if name == "Mul" else 1 / float(other)


def _is_cosine(node: Any) -> bool:
    """Whether a node sums the products of vectors of unit length."""
    product = _through(node.next_functions[0][0]) if _name(node) == "Sum" else node
    if product is None or _name(product) not in ("Mm", "Bmm", *(["Mul"] if product is not node else [])):
        return False
    factors = [_through(before) for before, _ in product.next_functions]
    return len(factors) == 2 and all(map(_is_unit, factors))


def _is_unit(node: Any) -> bool:
    """Whether a node divides by a norm."""
    if node is None or _name(node) != "Div" or len(node.next_functions) != 2:
        return False
    by = _through(node.next_functions[1][0])
    while by is not None and _name(by) in _BESIDE and by.next_functions:
        by = _through(by.next_functions[0][0])
    return by is not None and _name(by) in _NORMS


def _name(node: Any) -> str:
    return str(node.name()).rsplit("::", 1)[-1].partition("Backward")[0]


def _range(node: Any, name: str) -> tuple[float, float]:
    match name:
        case "Hardtanh":
            return float(node._saved_min_val), float(node._saved_max_val)
        case "Clamp":
            return _or(node._saved_min, -math.inf), _or(node._saved_max, math.inf)
        case "Threshold":
            return float(node._saved_threshold), math.inf
        case "Elu":
            # alpha and scale of ELU and SELU: the curve ends at minus their product.
            return -float(node._saved_alpha) * float(node._saved_scale), math.inf
        case "Pow":
            return _POSITIVE if float(node._saved_exponent) % 2 == 0 else _UNBOUNDED
        case _:
            return _RANGES.get(name, _UNBOUNDED)


def _or(bound: Any, otherwise: float) -> float:
    return float(bound) if isinstance(bound, int | float) else otherwise


def _classes(node: Any) -> int:
    return int(node._saved_result.shape[_softmax_axis(node)]) if _name(node) in _SOFTMAX else 0


def _softmax_axis(node: Any) -> int:
    """The dimension of a softmax, from 0; autograd keeps a negative one as an unsigned number."""
    dim, dims = int(node._saved_dim), int(node._saved_result.dim())
    return (dim - 2**64 if dim >= 2**63 else dim) % dims


def _over_examples(node: Any) -> bool:
    return _name(node) in _SOFTMAX and node._saved_result.dim() > 1 and _softmax_axis(node) == 0
