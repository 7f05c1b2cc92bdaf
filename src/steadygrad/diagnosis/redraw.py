"""Code in plain PyTorch that draws layers' weights again as PyTorch does."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

_METHODS = ("reset_parameters", "_reset_parameters")  # the second is that of attention


def redraw(model: nn.Module, paths: Iterable[str]) -> str:
    """Return code that draws the weights of each path again; it expects `model` to be there.

    "" where a layer has no method for it, or its weight is computed of others, which the method would not reach.

    >>> print(redraw(nn.Sequential(nn.Linear(2, 2), nn.MultiheadAttention(2, 1), nn.ReLU()), ["0", "1"]))
    for path in ['0']:
        model.get_submodule(path).reset_parameters()
    for path in ['1']:
        model.get_submodule(path)._reset_parameters()
    >>> redraw(nn.Sequential(nn.ReLU()), ["0"])
    ''
    """
    by_method: dict[str, list[str]] = {}
    for path in paths:
        module = model.get_submodule(path)
        method = next((name for name in _METHODS if callable(getattr(module, name, None))), None)
        if method is None or is_parametrized(module):
            return ""
        by_method.setdefault(method, []).append(path)
    return "\n".join(
        f"for path in {found}:\n    model.get_submodule(path).{method}()" for method, found in by_method.items()
    )
