"""The first batch of a setup's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steadygrad.errors import SetupError

from .parts import tensors_in
from .training_setup import Setup
from .user_code import user_code


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs and targets of some examples, on the device that they came on.

    Attributes:
        inputs: a tensor with examples along the first dimension, or a mapping or sequence that holds some.
        targets: a tensor with as many rows, or as many for each, as labels of tokens in one row are; a mapping or
            sequence that holds some, for a loss of several terms; or None.
    """

    inputs: Any
    targets: Any = None

    @property
    def size(self) -> int:
        """How many examples there are.

        >>> Batch(inputs=torch.zeros(3, 2)).size
        3
        """
        return len(next(iter(tensors_in(self.inputs).values())))

    @property
    def rows(self) -> int:
        """How many targets an example has along their first dimension; 1 without targets.

        >>> Batch(inputs=torch.zeros(3, 5), targets=torch.zeros(15)).rows
        5
        """
        return 1 if self.target is None else len(self.target) // self.size

    @property
    def target(self) -> torch.Tensor | None:
        """The targets where they are one tensor; None where they are several, or there are none.

        >>> Batch(inputs=torch.zeros(3, 2), targets={"box": torch.zeros(3, 4), "kind": torch.zeros(3)}).target
        """
        return self.targets if isinstance(self.targets, torch.Tensor) else None

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor of inputs and targets, by where it is.

        >>> list(Batch(inputs=(torch.zeros(3, 2), torch.zeros(3)), targets=torch.zeros(3)).tensors)
        ['inputs[0]', 'inputs[1]', 'targets']
        """
        return tensors_in(self.inputs) | tensors_in(self.targets, "targets")

    @property
    def numbers(self) -> int:
        """How many numbers the inputs hold.

        >>> Batch(inputs={"a": torch.zeros(3, 2), "b": torch.zeros(3)}).numbers
        9
        """
        return sum(x.numel() for x in tensors_in(self.inputs).values())


def first_batch(setup: Setup) -> Batch | None:
    """Return the first batch of the data, or None where the setup has no data.

    Raises:
        SetupError: the data are empty, a batch is not (inputs, targets), holds no tensors, or their sizes differ.
        UserCodeError: the data raised.

    >>> first_batch(Setup(model=torch.nn.Linear(2, 1), data=[(torch.ones(3, 2), torch.ones(3, 1))])).size
    3
    """
    if setup.data is None:
        return None
    with user_code("`data`"):
        found = next(iter(setup.data), None)
    if found is None:
        raise SetupError(f"`data` must hold at least one batch, got an empty {type(setup.data).__name__}.")
    return checked_batch(setup, found, 0)


def checked_batch(setup: Setup, found: object, index: int) -> Batch:
    """Return what the data gave as a batch.

    Args:
        setup: with a loss function, a batch needs targets.
        found: what the data gave.
        index: the batch's number, from 0, which the error names from 1 on.

    Raises:
        SetupError: it is not (inputs, targets), holds no tensors, or their sizes differ.

    >>> checked_batch(Setup(model=torch.nn.Linear(2, 1)), torch.ones(3, 2), 4).size
    3
    """
    try:
        return _sizes_agree(_pair(found, targets_needed=setup.loss_fn is not None))
    except SetupError as error:
        if index == 0:
            raise
        raise SetupError(f"batch {index} of `data`: {error}") from None


def _pair(found: object, *, targets_needed: bool) -> Batch:
    if isinstance(found, torch.Tensor | Mapping) and tensors_in(found) and not targets_needed:
        return Batch(inputs=found)
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != 2:
        raise SetupError(
            f"a batch of `data` must be a pair (inputs, targets), got {_described(found)}.{_as_pair(found)}"
        )
    inputs, targets = found
    if not tensors_in(inputs):
        raise SetupError(
            f"the inputs of a batch must be a torch.Tensor, or a mapping or sequence of them, got {_described(inputs)}."
        )
    if not tensors_in(targets, "targets"):
        raise SetupError(
            "the targets of a batch must be a torch.Tensor, or a mapping or sequence of them, "
            f"got {_described(targets)}."
        )
    return Batch(inputs=inputs, targets=targets)


def _as_pair(found: object) -> str:
    """How what was given becomes a pair, where that is known."""
    match found:
        case Mapping():
            return " Let the loader's collate_fn take the targets out: (the rest, the targets)."
        case torch.Tensor():
            return " A single batch is [(inputs, targets)]; inputs that are their own targets are (inputs, inputs)."
        case tuple() | list() if len(found) > 2:
            return " Several inputs go together: ((a, b), targets)."
        case _:
            return ""


def _sizes_agree(batch: Batch) -> Batch:
    x = next(iter(tensors_in(batch.inputs).values()))
    if x.dim() == 0:
        raise SetupError("the inputs of a batch must have examples along their first dimension, got a scalar.")
    for targets in tensors_in(batch.targets, "targets").values():
        alone = batch.target is targets
        if not (_fit(targets, x) if alone else targets.shape[:1] == x.shape[:1]):
            multiple = ", or a whole multiple of that," if alone else " in each tensor,"
            raise SetupError(
                f"a batch must have as many targets as inputs{multiple} "
                f"got inputs of shape {tuple(x.shape)} and targets of shape {tuple(targets.shape)}."
                + (" A Dataset of single examples goes into a DataLoader." if targets.dim() == 0 else "")
            )
    if len(x) == 0:
        raise SetupError(f"a batch must hold at least one example, got inputs of shape {tuple(x.shape)}.")
    return batch


def _fit(targets: torch.Tensor, x: torch.Tensor) -> bool:
    """Whether each example has as many targets as any other: one, or a whole number where positions stand in a row."""
    if targets.dim() == 0 or len(x) == 0:
        return targets.shape[:1] == x.shape[:1]
    return len(targets) > 0 and len(targets) % len(x) == 0


def _described(found: object) -> str:
    match found:
        case torch.Tensor():
            return f"a Tensor of shape {tuple(found.shape)}"
        case list() | tuple():
            return f"a {type(found).__name__} of length {len(found)}"
        case Mapping():
            return f"a {type(found).__name__} with {sorted(map(str, found))}"
        case _:
            return type(found).__name__
