"""A plan as plain torch code, which needs nothing of this package."""

from __future__ import annotations

from collections.abc import Iterable

from steadygrad.fans import Layout

from .recipes import DeltaOrthogonal, Orthogonal, Recipe
from .recipes.orthogonal import CODE

_HEAD = '''"""Initialize a model; written by steadygrad, needs torch alone."""

import torch
from torch import nn
{functions}

@torch.no_grad()
def initialize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill the parameters of the model in place, and return it."""
    parameters = dict(model.named_parameters())
    g = torch.Generator().manual_seed(seed)
'''


def torch_code(filled: Iterable[tuple[str, Recipe, Layout | None]]) -> str:
    """Return a file with a function `initialize(model, seed=0)` that fills parameters as the recipes say.

    Parameters that are filled alike share a loop over their names. The distributions are those of the plan; the
    numbers are torch's own.

    Args:
        filled: name, recipe and layout of each parameter.

    >>> from .recipes import Constant
    >>> print(torch_code([("fc.bias", Constant(0.0), None)]).split("manual_seed(seed)")[1])
    <BLANKLINE>
        for name in ["fc.bias"]:
            p = parameters[name]
            p.zero_()
        return model
    <BLANKLINE>
    """
    groups: dict[str, list[str]] = {}
    orthogonal = False
    for name, recipe, layout in filled:
        groups.setdefault(recipe.code(layout), []).append(name)
        orthogonal |= isinstance(recipe, Orthogonal | DeltaOrthogonal)
    body = "".join(_loop(names, code) for code, names in groups.items())
    return _HEAD.format(functions=f"\n{CODE}" if orthogonal else "") + body + "    return model\n"


def _loop(names: list[str], code: str) -> str:
    listed = _listed(names)
    return f"    for name in {listed}:\n        p = parameters[name]\n        {code}\n"


def _listed(names: list[str]) -> str:
    line = ", ".join(f'"{name}"' for name in names)
    if len(line) < 90:
        return f"[{line}]"
    rows, row = [], ""
    for name in names:
        if row and len(row) + len(name) > 95:
            rows.append(row)
            row = ""
        row += f'"{name}", '
    return "[\n" + "".join(f"        {one.rstrip()}\n" for one in [*rows, row]) + "    ]"
