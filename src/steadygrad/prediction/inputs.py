"""What goes into a model: a batch, a sample of a data set, or a description of moments."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, TypeGuard

import numpy as np
import torch

from steadygrad.errors import not_allowed
from steadygrad.setup import joined, mapped

from .batch import Batch, exchangeable, representatives

MOST_BATCHES = 16


@dataclass(frozen=True)
class Inputs:
    """A batch described by its moments: Gaussian entries, independent but for what examples have in common.

    Such a batch is drawn, as weights are, and what is predicted of it is over draws of both: of n entries an example
    the mean square of B examples that have nothing in common varies by 2/(n B), relative to its own square. Give the
    batch itself where that is what a measurement was made of, or where entries are not independent, as pixels are not:
    fewer of them vary by more.

    Attributes:
        shape: [examples, ...].
        mean: first moment.
        q: second moment, uncentred; at least mean².
        c: E[xy]/q of two distinct examples x and y, in [mean²/q, 1]; mean²/q where it is not given: nothing but the
            mean in common.
        dtype: of the tensor; that of the model's first parameter where it is None.
        tokens: where it is given, entries are token ids, uniform in [0, tokens), instead.

    Raises:
        ValueError: these are not the moments of any batch.

    >>> Inputs((32, 784), mean=0.13, q=0.11, c=0.4).q
    0.11
    >>> Inputs((8, 128), tokens=50257).dtype
    torch.int64
    """

    shape: Sequence[int]
    _: KW_ONLY
    mean: float = 0.0
    q: float = 1.0
    c: float | None = None
    dtype: torch.dtype | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        _check_shape(self.shape)
        if not self.q >= 0 or self.q < self.mean**2:
            raise ValueError(not_allowed("q", "is a second moment and must be >= mean²", self.q))
        common = self.mean**2 / self.q if self.q else 0.0
        object.__setattr__(self, "c", common if self.c is None else self.c)
        if self.c is not None and not common - 1e-12 <= self.c <= 1:
            raise ValueError(not_allowed("c", f"is a correlation and must be within [{common:.3g}, 1]", self.c))
        if self.tokens is not None and not self.tokens >= 1:
            raise ValueError(not_allowed("tokens", "is a number of tokens and must be >= 1", self.tokens))
        if self.tokens is not None and self.dtype is None:
            object.__setattr__(self, "dtype", torch.int64)


Part = torch.Tensor | Inputs


@dataclass(frozen=True)
class Examples:
    """What a model is called with, and which of its examples are followed."""

    args: tuple[Any, ...]
    batch: Batch
    targets: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def examples_of(inputs: Any, targets: Any = None) -> Examples:
    """Return what a user gave as inputs in one form.

    A tensor or a shape is one argument; a mapping of tensors, or a sequence of them, is unpacked into the call, so a
    model that takes a mapping itself is given it in a tuple, ({...},); any other iterable is one of batches, (inputs,
    targets) or inputs alone. Of batches that are mappings the first one stands for all.

    Raises:
        ValueError: it is none of these.
    """
    match inputs:
        case torch.Tensor() | Inputs():
            return _called_with((_part(inputs),), {}, targets)
        case Mapping() if inputs:
            return _called_with((), {name: _part(part) for name, part in inputs.items()}, targets)
        case list() | tuple() | torch.Size() if inputs and all(isinstance(n, int) for n in inputs):
            return _called_with((Inputs(tuple(inputs)),), {}, targets)
        case list() | tuple() if inputs and all(isinstance(x, torch.Tensor | Inputs) for x in inputs):
            return _called_with(tuple(_part(x) for x in inputs), {}, targets)
        case tuple() if any(isinstance(x, Mapping) for x in inputs):
            return _called_with(tuple(map(_part, inputs)), {}, targets)
        case Iterable() if not isinstance(inputs, str | bytes | np.ndarray) and inputs != () and inputs != []:
            return _of_sample(inputs, targets)
        case _:
            rule = "must be a tensor, the shape of one, Inputs, a sequence or mapping of these, or batches of data"
            raise ValueError(not_allowed("inputs", rule, type(inputs) if isinstance(inputs, np.ndarray) else inputs))


def _called_with(args: tuple[Any, ...], kwargs: dict[str, Any], targets: Any) -> Examples:
    parts = [part for given in (*args, *kwargs.values()) for part in _within(given)]
    if not parts:
        raise ValueError(not_allowed("inputs", "must hold a tensor", sorted(kwargs)))
    size = parts[0].shape[0]
    data = next((part for part in parts if isinstance(part, torch.Tensor) and len(part) == size), None)
    batch = exchangeable(size) if data is None else representatives(data)
    return Examples(args, batch, targets, kwargs)


def _within(given: Any) -> list[Any]:
    """Return the tensors, or descriptions of one, that an argument is or holds."""
    match given:
        case torch.Tensor() | Inputs():
            return [given]
        case Mapping():
            return [part for x in given.values() for part in _within(x)]
        case list() | tuple():
            return [part for x in given for part in _within(x)]
        case _:
            return []


def _part(part: Any) -> Any:
    """An argument: data as they are, token ids drawn, moments as they are described."""
    if isinstance(part, torch.Tensor):
        _check_shape(part.shape)
        return part
    if isinstance(part, Inputs) and part.tokens is not None:
        ids = np.random.default_rng(0).integers(part.tokens, size=tuple(part.shape))
        return torch.from_numpy(ids).to(part.dtype)
    return part


def _check_shape(shape: Any) -> None:
    if not isinstance(shape, Sequence) or not all(isinstance(n, int) for n in shape):
        raise ValueError(not_allowed("inputs", "must be a tensor or the shape of one", shape))
    if not shape or min(shape) < 1:
        raise ValueError(not_allowed("inputs", "must have at least one example and no empty axis", tuple(shape)))


def _of_sample(batches: Iterable[Any], targets: Any) -> Examples:
    """One batch that stands for a sample of batches: as large as the first, its examples spread over the sample's."""
    found = list(itertools.islice(batches, MOST_BATCHES))
    pairs: list[Any] = [b if _is_pair(b) else (b, None) for b in found]
    if pairs and isinstance(pairs[0][0], Mapping):
        x, y = pairs[0]
        return _called_with((), {name: _part(part) for name, part in x.items()}, y if targets is None else targets)
    if not pairs or not all(isinstance(x, torch.Tensor) for x, _ in pairs):
        came = type(pairs[0][0]).__name__ if pairs else "no batch"
        raise ValueError(not_allowed("inputs", "must hold batches of tensors, or pairs (inputs, targets)", came))
    size, same = len(pairs[0][0]), [p for p in pairs if p[0].shape[1:] == pairs[0][0].shape[1:]]
    x = torch.cat([p[0] for p in same])
    chosen = _spread_out(x, size)
    if targets is None and same[0][1] is not None:
        targets = mapped(lambda y: y[chosen], joined([p[1] for p in same]))
    return _called_with((_part(x[chosen]),), {}, targets)


def _is_pair(batch: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(batch, list | tuple) and len(batch) == 2


def _spread_out(x: torch.Tensor, count: int) -> torch.Tensor:
    """Return `count` examples, evenly spaced in the order of their norms."""
    order = x.reshape(len(x), -1).double().square().sum(1).argsort(stable=True)
    return order[((torch.arange(count) + 0.5) * len(x) / count).long()]
