"""The arguments of the softmax family: checked once, the same for NumPy arrays and torch tensors.

A call becomes rows: the axes that are reduced stand last, flattened to one, or stay where they are when there is one.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np

from steadygrad.errors import not_allowed, unknown_name

A = TypeVar("A")
Axis: TypeAlias = int | Sequence[int] | None
Empty: TypeAlias = Literal["zero", "nan", "uniform", "error"]

_POLICIES = get_args(Empty)
_SINGLE = np.finfo(np.float32)


def is_tensor(x: object) -> bool:
    """Return whether `x` is a torch tensor, without importing torch: where it is not imported, nothing is.

    >>> is_tensor(np.zeros(3))
    False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def namespace(x: object) -> Any:
    """Return the module, numpy or torch, whose functions take `x`.

    >>> namespace(np.zeros(3)).__name__
    'numpy'
    """
    return sys.modules["torch"] if is_tensor(x) else np


def floating(x: Any, name: str = "x") -> Any:
    """Return `x` as an array of real floating point numbers; integers and bools take the framework's default type.

    Raises:
        TypeError: If `x` is complex, sparse, nested or masked, or of a type that is not a number.

    >>> floating(np.array([1, 2])).dtype
    dtype('float64')
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(not_allowed(name, "must be a plain array; pass its data, and where=~mask", type(x).__name__))
    return _floating_tensor(x, name) if is_tensor(x) else _floating_array(np.asarray(x), name)


def _floating_array(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    if x.dtype.kind not in "biuf":
        raise TypeError(not_allowed(name, "must hold real numbers", x.dtype.name))
    return x.astype(x.dtype.newbyteorder("="), copy=False) if x.dtype.kind == "f" else x.astype(np.float64)


def _floating_tensor(x: Any, name: str) -> Any:
    torch = sys.modules["torch"]
    if x.layout is not torch.strided or x.is_nested:
        raise TypeError(not_allowed(name, "must be dense", "nested" if x.is_nested else x.layout))
    if x.is_complex() or (x.is_floating_point() and x.dtype.itemsize < 2):
        raise TypeError(not_allowed(name, "must hold real numbers of at least 16 bits", x.dtype))
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def cast(x: Any, dtype: Any) -> Any:
    """Return `x` in a type of its own framework.

    >>> cast(np.zeros(1), np.float32).dtype
    dtype('float32')
    """
    return x.to(dtype) if is_tensor(x) else np.asarray(x, dtype)


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return the axes as sorted non-negative integers; None is all of them, and a 0-d array is one entry.

    Raises:
        TypeError: If an axis is no integer.
        ValueError: If an axis is out of range or named twice.

    >>> axes_of((-1, 0), 3), axes_of(None, 2), axes_of(-1, 0)
    ((0, 2), (0, 1), ())
    """
    if axis is None:
        return tuple(range(ndim))
    try:
        asked = [operator.index(a) for a in (axis if isinstance(axis, Sequence) else (axis,))]
    except TypeError:
        raise TypeError(not_allowed("axis", "must be an integer, several of them, or None", axis)) from None
    bound = max(ndim, 1)
    if not all(-bound <= a < bound for a in asked):
        raise ValueError(not_allowed("axis", f"must lie in [{-bound}, {bound - 1}] for {ndim} dimensions", axis))
    axes = sorted(a % bound for a in asked)
    if len(set(axes)) < len(axes):
        raise ValueError(not_allowed("axis", "must name each axis once", axis))
    return tuple(axes) if ndim else ()


def mask_of(where: Any, x: Any) -> Any:
    """Return the mask broadcast to the shape of `x`, in the framework of `x`.

    Raises:
        TypeError: If the mask is not of bools.
        ValueError: If it does not broadcast to the shape of `x`.

    >>> mask_of(np.array([True, False]), np.zeros((3, 2))).shape
    (3, 2)
    """
    mask = sys.modules["torch"].as_tensor(where, device=x.device) if is_tensor(x) else np.asarray(where)
    if str(mask.dtype) not in ("bool", "torch.bool"):
        raise TypeError(not_allowed("where", "must be a mask of bools", mask.dtype))
    shape, wanted = tuple(mask.shape), tuple(x.shape)
    if len(shape) > len(wanted) or any(m not in (1, n) for m, n in zip(shape[::-1], wanted[::-1], strict=False)):
        raise ValueError(not_allowed("where", f"must broadcast to the shape {wanted}", shape))
    return namespace(x).broadcast_to(mask, wanted)


def check_options(temperature: float, empty: str) -> None:
    """Raise where the temperature is not a positive number or the policy is unknown.

    >>> check_options(0, "zero")
    Traceback (most recent call last):
    ValueError: `temperature` must be a number > 0, or inf, got 0.
    """
    number: object = temperature
    if isinstance(number, bool) or not isinstance(number, int | float | np.number) or not temperature > 0:
        raise ValueError(not_allowed("temperature", "must be a number > 0, or inf", temperature))
    if empty not in _POLICIES:
        raise ValueError(unknown_name("empty", empty, _POLICIES))


def is_plain(x: object, axis: Axis, temperature: float, empty: str) -> bool:
    """Return whether the arguments need neither a check that could fail nor a change: torch logits along one axis.

    It asks what most calls answer with yes, in a few look-ups; where it says no, the full checks follow.

    >>> is_plain(np.zeros((2, 3)), -1, 1.0, "zero")
    False
    """
    if temperature != 1.0 or type(axis) is not int or empty not in _POLICIES or not is_tensor(x):
        return False
    logits: Any = x
    is_dense = logits.layout is sys.modules["torch"].strided and not logits.is_nested
    return is_dense and logits.is_floating_point() and logits.itemsize >= 2 and -logits.ndim <= axis < logits.ndim


def divisors(temperature: float, *, single: bool) -> tuple[float, ...]:
    """Return the numbers to divide shifted logits by, one after the other, for this temperature.

    A temperature that single precision cannot hold is split in two factors (or is inf), so that it never becomes zero.

    >>> divisors(2.0, single=True), divisors(1e-40, single=True), divisors(1e39, single=True)
    ((2.0,), (1e-20, 1e-20), (inf,))
    """
    if not single or temperature == math.inf:
        return (float(temperature),)
    if temperature > float(_SINGLE.max):
        return (math.inf,)
    if temperature < float(_SINGLE.tiny):
        root = math.sqrt(max(temperature, 1e-60))
        return (root, root)
    return (float(temperature),)


def as_rows(x: A, axes: tuple[int, ...]) -> tuple[A, int]:
    """Return `x` with the axes flattened to one, and the place of that axis.

    >>> rows, axis = as_rows(np.zeros((2, 3, 4)), (0, 2))
    >>> rows.shape, axis
    ((3, 8), -1)
    """
    array: Any = x
    if len(axes) == 1:
        return x, axes[0]
    rest = [n for i, n in enumerate(array.shape) if i not in axes]
    length = math.prod(array.shape[i] for i in axes)
    moved: A = _moved(array, axes, tuple(range(-len(axes), 0))).reshape(*rest, length)
    return moved, -1


def last_rows(x: Any, axis: Axis, where: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """Return `x` in single precision at least, with its reduced axes last and -inf where masked; the mask; the axes.

    >>> last_rows(np.array([[1.0, 2.0]]), 0, np.array([True, False]))[0]
    array([[  1.], [-inf]])
    """
    xp, axes = namespace(x), axes_of(axis, x.ndim)
    single = cast(x, xp.float32) if x.dtype.itemsize < 4 else x
    rows, dim = as_rows(single, axes)
    mask = xp.ones_like(x, dtype=xp.bool_ if xp is np else xp.bool) if where is None else mask_of(where, x)
    allowed = _moved(as_rows(mask, axes)[0], (dim,), (-1,))
    rows = _moved(rows, (dim,), (-1,))
    return xp.where(allowed, rows, xp.full_like(rows, -math.inf)), allowed, axes


def from_rows(rows: A, shape: Sequence[int], axes: tuple[int, ...]) -> A:
    """Return rows in the shape and order that `as_rows` took them from.

    >>> x = np.arange(24.0).reshape(2, 3, 4)
    >>> bool((from_rows(as_rows(x, (0, 2))[0], x.shape, (0, 2)) == x).all())
    True
    """
    if len(axes) == 1:
        return rows
    array: Any = rows
    order = [n for i, n in enumerate(shape) if i not in axes] + [shape[i] for i in axes]
    restored: A = _moved(array.reshape(order), tuple(range(-len(axes), 0)), axes)
    return restored


def reduced_shape(shape: Sequence[int], axes: tuple[int, ...], keepdims: bool) -> list[int]:
    """Return the shape that is left when the axes are reduced.

    >>> reduced_shape((2, 3, 4), (1,), True), reduced_shape((2, 3, 4), (1,), False)
    ([2, 1, 4], [2, 4])
    """
    kept = [1 if i in axes else n for i, n in enumerate(shape)]
    return kept if keepdims else [n for i, n in enumerate(kept) if i not in axes]


def _moved(x: Any, source: tuple[int, ...], target: tuple[int, ...]) -> Any:
    return x.movedim(source, target) if is_tensor(x) else np.moveaxis(x, source, target)
