"""Which modules are layers, and which only compute the weights of one."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

_MAKERS = "parametrizations"  # the name under which torch keeps what computes a layer's weights


def is_leaf(module: nn.Module) -> bool:
    """Return whether a module holds no other, but for those that compute its own weights.

    >>> is_leaf(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))), is_leaf(nn.Sequential(nn.ReLU()))
    (True, False)
    """
    held = module._modules
    return not held or all(c is None or (name == _MAKERS and is_parametrized(module)) for name, c in held.items())


def weight_makers(modules: Iterable[nn.Module]) -> set[nn.Module]:
    """Return those whose outputs are weights of a module among these, not signals.

    >>> len(weight_makers(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)).modules()))
    3
    """
    lists = [m._modules[_MAKERS] for m in modules if _MAKERS in m._modules and is_parametrized(m)]
    return {part for makers in lists if makers is not None for part in makers.modules()}
