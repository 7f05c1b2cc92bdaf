"""The operator that makes a tensor, read from the autograd graph, and the range that it cannot leave."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
    "LogSoftmax": (-math.inf, 0.0),
    "LogSigmoid": (-math.inf, 0.0),
}
_UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True, kw_only=True)
class HeadOperator:
    """What made a tensor.

    Attributes:
        name: the operator's name in the autograd graph, as "Softmax"; "" where there is no graph.
        low: the least value that it can take.
        high: the largest.
        classes: length of the dimension that a softmax runs over; 0 for anything else.

    >>> head = head_operator(torch.randn(3, 4, requires_grad=True).softmax(-1).unsqueeze(0))
    >>> head.name, head.low, head.high, head.classes
    ('Softmax', 0.0, 1.0, 4)
    """

    name: str = ""
    low: float = -math.inf
    high: float = math.inf
    classes: int = 0


def head_operator(tensor: torch.Tensor) -> HeadOperator:
    """Return the operator that made a tensor; views, slices, copies and casts are looked through."""
    node: Any = tensor.grad_fn
    while node is not None and _name(node) in _HANDED_ON and node.next_functions:
        node = node.next_functions[0][0]
    if node is None:
        return HeadOperator()
    low, high = _range(node)
    return HeadOperator(name=_name(node), low=low, high=high, classes=_classes(node))


def _name(node: Any) -> str:
    return str(node.name()).rsplit("::", 1)[-1].partition("Backward")[0]


def _range(node: Any) -> tuple[float, float]:
    match _name(node):
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
        case name:
            return _RANGES.get(name, _UNBOUNDED)


def _or(bound: Any, otherwise: float) -> float:
    return float(bound) if isinstance(bound, int | float) else otherwise


def _classes(node: Any) -> int:
    if _name(node) not in ("Softmax", "LogSoftmax"):
        return 0
    dim = int(node._saved_dim)
    # Autograd keeps a negative dimension as an unsigned number.
    return int(node._saved_result.shape[dim - 2**64 if dim >= 2**63 else dim])
