"""Width transfer: scales and learning rates under which a network trains alike at every width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import nn

from steadygrad.errors import not_allowed
from steadygrad.init.parameters import Parameter, parameters_of
from steadygrad.init.recipes import Normal

from .choice import Choice, Chosen


def mup(chosen: Chosen, parameters: Sequence[Parameter], base: nn.Module | None) -> Chosen:
    """Return the scales of another scheme as a network of any width needs them, with its learning rate multipliers.

    A side of a weight grows with the width where `base`, the same architecture at the width whose learning rate is
    known, has it smaller. With r = fan_in / base's fan_in, and the same of fan_out: hidden weights keep their
    deviation ~ 1/sqrt(fan_in), and Adam's rate falls by 1/r_in; input weights and biases keep both, SGD's rate grows by
    r_out; of output weights the deviation falls by another 1/sqrt(r_in), and both rates by 1/r_in.

    Args:
        chosen: the scheme to start from; at the base's width it stays as it is.
        parameters: of the model.
        base: the same architecture, narrower.

    Raises:
        ValueError: there is no base, or its parameters differ in more than size.

    Reference: Yang et al. 2021, "Tensor programs V", table 3.
    """
    if base is None:
        raise ValueError('`base` must be the same architecture at the width whose learning rate is known for "mup".')
    sizes = {p.name: p for p in parameters_of(base, {p.name for p in parameters}.__contains__)}
    choices: dict[str, Choice] = {}
    multipliers: dict[str, tuple[float, float]] = {}
    for p in parameters:
        choices[p.name], multipliers[p.name] = _scaled(p, _same(p, sizes), chosen.choices[p.name])
    return Chosen(
        choices=choices, multipliers=multipliers, notes=chosen.notes, head=chosen.head, replaced=chosen.replaced
    )


def _same(p: Parameter, sizes: Mapping[str, Parameter]) -> Parameter:
    found = sizes.get(p.name)
    if found is None or len(found.shape) != len(p.shape):
        got = "none" if found is None else f"shape {found.shape} for {p.shape}"
        raise ValueError(not_allowed("base", f"must have {p.name!r} with as many axes", got))
    return found


def _scaled(p: Parameter, narrow: Parameter, choice: Choice) -> tuple[Choice, tuple[float, float]]:
    if p.fans is None or narrow.fans is None:
        wider = p.shape[0] / narrow.shape[0] if p.shape else 1.0
        return choice, (1.0, wider)
    r_in, r_out = p.fans.fan_in / narrow.fans.fan_in, p.fans.fan_out / narrow.fans.fan_out
    if r_in == 1:
        return Choice(choice.recipe, "input of any width: " + choice.reason), (1.0, r_out)
    if r_out != 1:
        return Choice(choice.recipe, "hidden: " + choice.reason), (1 / r_in, 1.0)
    std = choice.recipe.rms / math.sqrt(r_in)
    return Choice(Normal(std), f"output: {choice.reason}, times {1 / math.sqrt(r_in):.3g}"), (1 / r_in, 1 / r_in)
