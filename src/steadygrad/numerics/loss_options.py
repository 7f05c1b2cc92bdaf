"""What both forms of the cross-entropy take beside logits and targets, checked once."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from steadygrad.errors import not_allowed, unknown_name

from .arguments import floating, is_tensor

Reduction: TypeAlias = Literal["mean", "sum", "none"]


@dataclass(frozen=True)
class LossOptions:
    """The options of `cross_entropy`; see there for what each of them means.

    Raises:
        TypeError: If one of them is no number.
        ValueError: If one of them is out of its range.

    >>> LossOptions(z_loss=-1.0)
    Traceback (most recent call last):
    ValueError: `z_loss` must be a finite number >= 0, got -1.0.
    """

    z_loss: float = 0.0
    soft_cap: float | None = None
    label_smoothing: float = 0.0
    ignore_index: int = -100
    class_weight: Any = None
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        for name in ("z_loss", "label_smoothing", *(() if self.soft_cap is None else ("soft_cap",))):
            _check_number(name, getattr(self, name))
        if not hasattr(self.ignore_index, "__index__"):
            raise TypeError(not_allowed("ignore_index", "must be an integer", self.ignore_index))
        if not 0 <= self.z_loss < float("inf"):
            raise ValueError(not_allowed("z_loss", "must be a finite number >= 0", self.z_loss))
        if self.soft_cap is not None and not 0 < self.soft_cap < float("inf"):
            raise ValueError(not_allowed("soft_cap", "must be a finite number > 0, or None", self.soft_cap))
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(not_allowed("label_smoothing", "must lie in [0, 1]", self.label_smoothing))
        if self.reduction not in get_args(Reduction):
            raise ValueError(unknown_name("reduction", self.reduction, get_args(Reduction)))


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(not_allowed(name, "must be a number", value))


def as_kind(values: Any, like: Any) -> Any:
    """Return values, such as a list, as an array or a tensor, of the kind and on the device of the logits.

    >>> as_kind([0, 1], np.zeros(1))
    array([0, 1])
    """
    if values is None or not is_tensor(like):
        return values if values is None else np.asarray(values)
    return sys.modules["torch"].as_tensor(values, device=like.device)


def check_targets(targets: Any, shape: tuple[int, ...], classes: int, options: LossOptions) -> Any:
    """Return the targets as integers of the framework's index type.

    Raises:
        TypeError: If they are not integers, or a class weight is no real number.
        ValueError: If there is no class, their shape is not `shape`, a class weight is missing, or one that counts is
            outside [0, classes). On an accelerator the range is left to its kernel, since reading it would stop the
            stream.

    >>> check_targets(np.array([0, 3]), (2,), 3, LossOptions())
    Traceback (most recent call last):
    ValueError: `targets` must lie in [0, 2], or be ignore_index=-100, got 3.
    """
    if classes < 1:
        raise ValueError(not_allowed("logits", "must have at least one class", classes))
    found: Any = targets if is_tensor(targets) else np.asarray(targets)
    if str(found.dtype).removeprefix("torch.").rstrip("0123456789") not in ("int", "uint"):
        raise TypeError(not_allowed("targets", "must be class indices, integers", found.dtype))
    if tuple(found.shape) != shape:
        raise ValueError(not_allowed("targets", f"must have the shape {shape}", tuple(found.shape)))
    weight = options.class_weight
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(not_allowed("class_weight", f"must have the shape {(classes,)}", tuple(weight.shape)))
    if weight is not None:
        floating(weight, "class_weight")
    index = found.long() if is_tensor(found) else found.astype(np.int64)
    _check_range(index, classes, options.ignore_index)
    return index


def _check_range(index: Any, classes: int, ignore_index: int) -> None:
    outside = ((index < 0) | (index >= classes)) & (index != ignore_index)
    wrong = _first_tensor(index, outside) if is_tensor(index) else index[outside][:1].tolist()
    if wrong:
        rule = f"must lie in [0, {classes - 1}], or be ignore_index={ignore_index}"
        raise ValueError(not_allowed("targets", rule, wrong[0]))


def _first_tensor(index: Any, outside: Any) -> list[int]:
    """Return the first index outside, where that can be read for free."""
    from .torch_rows import may_be_true  # here, so that arrays need no torch

    if index.device.type != "cpu" or not may_be_true(outside.any()):
        return []
    try:
        found: list[int] = index[outside][:1].tolist()
    except RuntimeError:  # under vmap and tracers
        return []
    return found


def example_weights(index: Any, options: LossOptions, like: Any) -> Any:
    """Return the weight of each example, in the type of `like`: that of its class, or 1; 0 where it is ignored.

    >>> example_weights(np.array([1, -100]), LossOptions(), np.zeros(1))
    array([1., 0.])
    """
    counted = index != options.ignore_index
    if is_tensor(like):
        torch = sys.modules["torch"]
        weight = torch.ones_like(index, dtype=like.dtype)
        if options.class_weight is not None:
            weight = options.class_weight.to(like.dtype)[index.clamp(min=0) * counted]
        return weight * counted
    weight = np.ones(index.shape, like.dtype)
    if options.class_weight is not None:
        weight = np.asarray(options.class_weight, like.dtype)[index * counted]
    return weight * counted
