"""Code in plain PyTorch that draws weights again with the gain that they should have."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from .evidence import LayerGain

_PLAIN = {nn.Linear: "nn.Linear", nn.Conv1d: "nn.Conv1d", nn.Conv2d: "nn.Conv2d", nn.Conv3d: "nn.Conv3d"}


def gain_repair(wrong: Iterable[LayerGain]) -> str:
    """Return code that gives each layer its gain and a zero bias; it expects `model` to be there.

    Layers that are drawn alike share a loop over their paths.

    >>> fc = nn.Linear(9, 9)
    >>> layer = LayerGain(path="fc", module=fc, weight=fc.weight, fan_in=9, has=0.5, low=2.0**0.5, high=2.0**0.5,
    ...     standard_error=0.0, activation="ReLU")
    >>> print(gain_repair([layer]))
    from torch import nn
    <BLANKLINE>
    for path in ['fc']:
        layer = model.get_submodule(path)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    """
    groups: dict[tuple[str, bool], list[str]] = {}
    for layer in wrong:
        groups.setdefault((_draw(layer), layer.by_hand), []).append(layer.path)
    loops = [
        f"for name in {paths}:\n    {draw}" if by_hand else _loop(draw, paths)
        for (draw, by_hand), paths in groups.items()
    ]
    return "from torch import nn\n\n" + "\n".join(loops)


def _draw(layer: LayerGain) -> str:
    if layer.by_hand:
        return f"nn.init.normal_(model.get_parameter(name), std={layer.should / layer.fan_in**0.5:.6g})"
    if type(layer.module) not in _PLAIN:
        return f"nn.init.normal_(layer.weight, std={layer.should / layer.fan_in**0.5:.6g})"
    if layer.activation == "ReLU":
        return 'nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")'
    if layer.should == 1:
        return 'nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")'
    return f"nn.init.normal_(layer.weight, std={layer.should:.6g} / layer.weight[0].numel() ** 0.5)"


def _loop(draw: str, paths: list[str]) -> str:
    body = f"    {draw}\n    if layer.bias is not None:\n        nn.init.zeros_(layer.bias)"
    return f"for path in {_paths(paths)}:\n    layer = model.get_submodule(path)\n{body}"


def _paths(paths: list[str]) -> str:
    """The list, or `map(str, range(..))` where the paths count up evenly, as in a Sequential."""
    if len(paths) > 2 and all(path.isdigit() for path in paths):
        numbers = [int(path) for path in paths]
        step = numbers[1] - numbers[0]
        if step > 0 and numbers == list(range(numbers[0], numbers[-1] + 1, step)):
            return f"map(str, range({numbers[0]}, {numbers[-1] + 1}, {step}))"
    return str(paths)
