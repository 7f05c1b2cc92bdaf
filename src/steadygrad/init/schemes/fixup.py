"""Deep residual networks without norms: branches that start at zero, their inner layers scaled down with the depth."""

from __future__ import annotations

import math

from steadygrad.init.recipes import Constant

from .choice import Choice, Chosen
from .graph_scheme import GraphScheme


def fixup(scheme: GraphScheme) -> Chosen:
    """Return He's scale times L^(-1/(2m-2)) for the first m - 1 layers of each of L branches, zero for the last.

    The head starts at zero too. The scalar biases and multipliers of the paper would change the model and are left out.

    Args:
        scheme: the graph, gone along.

    Raises:
        ValueError: the model has no residual branch.

    Reference: Zhang, Dauphin and Ma 2019, section 3.
    """
    chosen, joins = scheme.chosen(), list(scheme.sites.joins.values())
    if not joins:
        raise ValueError('`scheme` "fixup" is for residual networks, got a model without a residual branch.')
    choices = dict(chosen.choices)
    for join in joins:
        layers = [p for node in join.inner if (p := scheme.weight(node)) is not None]
        for p in layers[:-1]:
            assert p.fans is not None
            scale = len(joins) ** (-1 / (2 * len(layers) - 2))
            std = scale * math.sqrt(2 / p.fans.fan_in)
            choices[p.name] = Choice(scheme.recipe(std), f"He's scale times {scale:.3g}, for {len(joins)} branches")
        if layers:
            choices[layers[-1].name] = Choice(Constant(0.0), "ends a branch, which starts as nothing")
    for path in chosen.head:
        name = f"{path}.weight".lstrip(".")
        choices[name] = Choice(Constant(0.0), "head")
    return Chosen(choices=choices, notes=chosen.notes, head=chosen.head)
