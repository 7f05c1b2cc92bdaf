"""The modules of a model."""

from __future__ import annotations

from torch import nn


def parts_of(model: nn.Module) -> dict[nn.Module, str]:
    """Return each module once, under the first of its paths, in the order of `named_modules`, in less of its time.

    >>> list(parts_of(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))).values())
    ['', '0', '1', '1.0']
    """
    found: dict[nn.Module, str] = {}
    _visit(model, "", found)
    return found


def _visit(module: nn.Module, path: str, found: dict[nn.Module, str]) -> None:
    if module not in found:
        found[module] = path
        for name, child in module._modules.items():
            if child is not None:
                _visit(child, f"{path}.{name}" if path else name, found)


def trained_of(parts: dict[nn.Module, str]) -> dict[str, nn.Parameter]:
    """Return each parameter that requires a gradient once, by the first of its names.

    >>> list(trained_of(parts_of(nn.Sequential(nn.Linear(2, 2)))))
    ['0.weight', '0.bias']
    """
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for module, path in parts.items():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                found.setdefault(id(parameter), (f"{path}.{name}" if path else name, parameter))
    return dict(found.values())
