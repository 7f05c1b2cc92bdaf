"""Weights were scaled by a wrong count of the inputs that a unit sums, at a depth where that matters.

An initializer divides by a fan that it reads off the weight's shape, and shapes mislead. A grouped or depthwise
convolution sums in/groups channels, while the fan-out formula counts all output channels; a transposed convolution
stores [in, out] and sums one tap in `stride`, while the general formula takes its output channels for inputs; a matrix
written [in, out] is read the other way round; several matrices stacked in one tensor [heads, in, out] are taken for one
with a kernel. The rule takes each layer whose gain does not fit the activation that
follows, and asks whether it would fit, within five standard errors of the weight sample, had one of those wrong
counts been right. It speaks where the gains along a chain of layers are off by more than e^12 in the second moment,
and such layers make up more than half of that: the same measure as for gains that are wrong for other reasons.

What to do: draw the weights again by the layer's true fan_in; `steadygrad.fans.fans(layer)` tells it.

Bad:

```python
import math
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(16, 32, 8, 8), torch.randint(10, (16,)))]
layers = [nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False) for _ in range(6)]
for layer in layers:
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (32 * 9)))      # counts 32 channels, sums one
model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())), nn.Flatten(), nn.Linear(2048, 10))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import math
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(16, 32, 8, 8), torch.randint(10, (16,)))]
layers = [nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False) for _ in range(6)]
for layer in layers:
    nn.init.normal_(layer.weight, std=math.sqrt(2 / 9))
model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())), nn.Flatten(), nn.Linear(2048, 10))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the weights are about to be loaded.

Reference: He et al. 2015, equations 9 and 13; PyTorch issue 23854 (fans of grouped convolutions).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from steadygrad.diagnosis.evidence import LayerGain, LayerGains
from steadygrad.diagnosis.gain_repair import gain_repair
from steadygrad.diagnosis.levels import level_of
from steadygrad.diagnosis.paths import listed
from steadygrad.diagnosis.trainable_depth import LOST, written
from steadygrad.finding import Finding


def check(gains: LayerGains) -> Iterator[Finding]:
    """Look at the worst chain."""
    worst = max(gains.layers, key=lambda layer: abs(layer.depth_log), default=None)
    if worst is None or not abs(worst.depth_log) > LOST:
        return
    chain = [layer for layer in gains.layers if layer.path in set(worst.chain)]
    wrong = [(layer, fan) for layer in chain if (fan := _mistaken_for(layer)) is not None]
    if 2 * abs(sum(layer.log_mismatch for layer, _ in wrong)) > abs(worst.depth_log):
        yield _finding(worst, wrong)


def _mistaken_for(layer: LayerGain) -> tuple[str, int] | None:
    """The wrong count that the weights' scale fits; None where it fits none, or the right one."""
    if not layer.log_mismatch:
        return None
    for words, fan in wrong_fans_by_shape(layer.weight) if layer.by_hand else wrong_fans(layer.module):
        factor = math.sqrt(fan / layer.fan_in)
        has, slack = layer.has * factor, 5 * layer.standard_error * factor
        if fan != layer.fan_in and layer.low - slack <= has <= layer.high + slack and layer.low > 0:
            return words, fan
    return None


def wrong_fans(module: nn.Module) -> list[tuple[str, int]]:
    """Return counts that a layer's weight is mistaken to sum over, in words and numbers.

    >>> wrong_fans(nn.Conv2d(8, 16, 3, groups=8))
    [('all output channels', 144), ('all input channels', 72)]
    >>> wrong_fans(nn.Linear(8, 16))
    [('its outputs', 16)]
    """
    if isinstance(module, nn.Linear):
        return [("its outputs", module.out_features)]
    if not isinstance(module, _ConvNd):
        return []
    taps = math.prod(module.kernel_size)
    if module.transposed:
        shape = module.weight.shape
        return [("the second dimension of its weight", shape[1] * taps), ("every tap", shape[0] * taps)]
    if module.groups > 1:
        return [("all output channels", module.out_channels * taps), ("all input channels", module.in_channels * taps)]
    return [("its outputs", module.out_channels * taps)]


def wrong_fans_by_shape(weight: torch.Tensor) -> list[tuple[str, int]]:
    """Return what torch.nn.init reads off the shape of any tensor: axis 1, or axis 0, times all axes after those two.

    >>> wrong_fans_by_shape(torch.zeros(4, 16, 8))
    [('all axes of its weight but the first', 128), ('all axes of its weight but the second', 32)]
    """
    if weight.dim() < 2:
        return []
    taps = math.prod(weight.shape[2:])
    return [
        ("all axes of its weight but the first", weight.shape[1] * taps),
        ("all axes of its weight but the second", weight.shape[0] * taps),
    ]


def _finding(worst: LayerGain, wrong: list[tuple[LayerGain, tuple[str, int]]]) -> Finding:
    first, (words, fan) = wrong[0]
    kinds = [next(iter(run)) for _, run in groupby(sorted(found[0] for _, found in wrong))]
    others = f"; others over {kinds[1]}" if len(kinds) > 1 else ""
    return Finding(
        code="INI004",
        name="fan-mismatch",
        level=level_of(worst.depth_log),
        message=f"The weights of {listed([layer.path for layer, _ in wrong])} are scaled as if a unit summed {fan} "
        f"terms ({words}{others}), and it sums {first.fan_in}: over {len(worst.chain)} layers the second moment is "
        f"multiplied by {written(worst.depth_log)}.",
        module=first.owner,
        measured=first.has,
        expected=first.should,
        standard_error=first.standard_error,
        count=first.weight.numel(),
        fix="Draw the weights again by the fan_in that `steadygrad.fans.fans(layer)` tells.",
        fix_code=gain_repair([layer for layer, _ in wrong]),
    )
