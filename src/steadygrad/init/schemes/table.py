"""The schemes by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from steadygrad.errors import not_allowed, unknown_name
from steadygrad.init.parameters import Parameter
from steadygrad.init.recipes import DISTRIBUTIONS, Constant, Orthogonal, Recipe, independent

from .by_fans import by_fans
from .choice import Choice, Chosen
from .fixup import fixup
from .graph_scheme import HEAD_RMS, GraphScheme
from .mup import mup
from .tailored import tailored
from .tilting import tilted


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a scheme is asked for.

    Attributes:
        model: the model.
        inputs: a batch or its shape; None where there is none.
        parameters: those to choose for.
        distribution: of the weights.
        base: a narrower model, for width transfer.
    """

    model: nn.Module
    inputs: Any
    parameters: Sequence[Parameter]
    distribution: str
    base: nn.Module | None

    def graph(self, **options: Any) -> GraphScheme:
        """Go along the graph of the model."""
        if self.inputs is None:
            raise ValueError(not_allowed("inputs", "must be a batch, or its shape, for this scheme", None))
        return GraphScheme(self.model, self.inputs, self.parameters, recipe=recipe_of(self.distribution), **options)


def recipe_of(distribution: str) -> Callable[[float], Recipe]:
    """Return what makes a recipe of a deviation.

    >>> recipe_of("orthogonal")(1.0)
    Orthogonal(std=1.0)
    """
    if distribution == "orthogonal":
        return Orthogonal
    if distribution not in DISTRIBUTIONS:
        raise ValueError(unknown_name("distribution", distribution, [*DISTRIBUTIONS, "orthogonal"]))
    return lambda std: independent(distribution, std)


def _xavier(asked: Request) -> Chosen:
    return by_fans(asked.parameters, gain=1.0, mode="fan_avg", reason="Xavier: the mean of both fans")


def _he(asked: Request) -> Chosen:
    return by_fans(asked.parameters, gain=math.sqrt(2), mode="fan_in", reason="He: before ReLU")


def _critical(asked: Request) -> Chosen:
    return tilted(asked.graph(), asked.model, asked.inputs)


def _lsuv(asked: Request) -> Chosen:
    """Orthogonal weights, to be scaled by data; what is zero stays zero, the head is apart."""
    if not isinstance(asked.inputs, torch.Tensor | Mapping | list | tuple) or _is_shape(asked.inputs):
        raise ValueError(not_allowed("inputs", 'must be a batch of data for "lsuv"', asked.inputs))
    chosen = replace(asked, distribution="orthogonal").graph().chosen()
    tensors, choices = dict(asked.model.named_parameters()), dict(chosen.choices)
    measured: dict[str, float] = {}
    for p in asked.parameters:
        if p.fans is None:
            choices[p.name] = Choice(p.plain or Constant(0.0), "as ever")
        elif not tensors[p.name].is_meta and not bool(tensors[p.name].detach().any()):
            choices[p.name] = Choice(Constant(0.0), "starts at zero, and stays there")
        elif not isinstance(p.layer, nn.Embedding | nn.EmbeddingBag):
            measured[p.path] = HEAD_RMS if p.path in chosen.head else 1.0
            reason = f"then scaled by data to outputs of deviation {measured[p.path]:g}"
            choices[p.name] = Choice(Orthogonal(1 / math.sqrt(p.fans.fan_in)), reason)
    return replace(chosen, choices=choices, measured=measured)


def _is_shape(inputs: Any) -> bool:
    return isinstance(inputs, list | tuple) and all(isinstance(n, int) for n in inputs)


SCHEMES: dict[str, Callable[[Request], Chosen]] = {
    "critical": _critical,
    "xavier": _xavier,
    "he": _he,
    "orthogonal": lambda asked: _critical(replace(asked, distribution="orthogonal")),
    "lsuv": _lsuv,
    "fixup": lambda asked: fixup(asked.graph()),
    "mup": lambda asked: mup(asked.graph().chosen(), asked.parameters, asked.base),
    "tailored": lambda asked: tailored(asked.graph()),
}
