"""What a scheme says of a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from steadygrad.init.recipes import Recipe


@dataclass(frozen=True)
class Choice:
    """A recipe and the reason for it."""

    recipe: Recipe
    reason: str


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """All that a scheme says of a model.

    Attributes:
        choices: by the parameter's name.
        multipliers: of the learning rate, by name, for Adam and for SGD; empty where there are none.
        replaced: modules that take the place of others, by path.
        notes: what the scheme could not look at, in words.
        head: paths of the layers that nothing comes after.
        measured: paths of layers whose scale is set by data, each with the deviation of what it is to give.
    """

    choices: Mapping[str, Choice]
    multipliers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    replaced: Mapping[str, nn.Module] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
