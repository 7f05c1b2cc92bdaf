"""A deep and narrow ReLU network is dead in too large a share of draws.

A layer of N units is zero on an example with probability 2^-N, by the symmetry of its weights, and a layer that is
zero on all examples passes neither signal nor gradient. Over a depth that adds up: sixteen layers of five units are
dead on an example in 40% of draws, and since examples look more and more alike in deep ReLU layers, little less often
on all of them. Such a network gives one output for all inputs, and no step revives it. The rule takes each chain of
linear layers before ReLU; where the risk on one example, 1 - prod(1 - 2^-N), is above one in twenty, it draws the
chain a thousand times at the scale that its weights and biases have, on as many examples as the batch holds, and
speaks where the share of dead draws is above one in twenty by five standard errors. Other activations, norms and
residual connections let a signal past and begin a new chain.

What to do: make the layers wider (the risk halves with each unit), use a leaky activation, or put residual
connections in.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(1)
data = [(torch.randn(64, 8), torch.randint(3, (64,)))]
widths = [8] + [4] * 12
layers = [part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
model = nn.Sequential(*layers, nn.Linear(4, 3))
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(1)
data = [(torch.randn(64, 8), torch.randint(3, (64,)))]
widths = [8] + [32] * 12
layers = [part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
model = nn.Sequential(*layers, nn.Linear(32, 3))
for layer in model[:-1]:
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the weights are loaded, and known to be alive.

Reference: Lu, Shin, Su and Karniadakis 2019 (dying ReLU), theorems 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from steadygrad.diagnosis.dead_draws import DRAWS, Width, dead_share
from steadygrad.diagnosis.evidence import LayerGain, LayerGains, Measured
from steadygrad.finding import Finding, Level
from steadygrad.theory import born_dead

# One draw in twenty: the level of Fisher 1925, "convenient to take as a limit".
_DRAWS = 0.05

# Examples beyond so many hardly change the share, as they come to look alike, and cost time.
_MOST = 256


def check(gains: LayerGains, measured: Measured) -> Iterator[Finding]:
    """Look at the longest chain of such layers."""
    by_path = {layer.path: layer for layer in gains.layers}
    risks = [(_risk(chain, measured), chain) for chain in _chains(by_path)]
    risk, chain = max(risks, key=lambda found: found[0], default=(0.0, []))
    if risk - 5 * _error(risk) > _DRAWS:
        yield _finding(risk, chain, measured.batch_size)


def _error(risk: float) -> float:
    return math.sqrt(risk * (1 - risk) / DRAWS)


def _chains(by_path: dict[str, LayerGain]) -> Iterator[list[LayerGain]]:
    for layer in by_path.values():
        chain = [by_path[path] for path in layer.chain]
        hidden = [found for found in chain if found.rectifies and _is_dense(found)]
        if hidden:
            yield hidden


def _risk(chain: list[LayerGain], measured: Measured) -> float:
    if born_dead([layer.units for layer in chain]).one_input <= _DRAWS:
        return 0.0
    seen = measured.observation
    c = 1 - seen.input_signal / seen.input_q if seen.input_q > 0 else 0.0
    layers = [_layer(layer) for layer in chain]
    return dead_share(layers, examples=min(measured.batch_size, _MOST), c=min(max(c, 0.0), 1.0) if c == c else 0.0)


def _layer(layer: LayerGain) -> Width:
    return Width(
        fan_in=layer.fan_in,
        units=layer.units,
        weight=layer.has / layer.fan_in**0.5,
        bias=0.0 if layer.bias is None else float(layer.bias.detach().double().square().mean().sqrt()),
    )


def _is_dense(layer: LayerGain) -> bool:
    """Whether each unit sums all of the layer before it, once for an example."""
    return layer.weight.dim() == 2 if layer.by_hand else isinstance(layer.module, nn.Linear)


def _finding(risk: float, chain: list[LayerGain], examples: int) -> Finding:
    widths = [layer.units for layer in chain]
    narrow = f"{min(widths)}" if min(widths) == max(widths) else f"{min(widths)} to {max(widths)}"
    return Finding(
        code="INI006",
        name="dead-network-risk",
        level=Level.WARN,
        message=f"{100 * risk:.2g}% of draws of these {len(chain)} ReLU layers, {narrow} units wide, have a layer that "
        f"is zero on all {examples} examples: such a network is constant and stays so.",
        module=chain[widths.index(min(widths))].owner,
        measured=risk,
        expected=_DRAWS,
        standard_error=_error(risk),
        count=DRAWS,
        fix="Make the layers wider, use a leaky activation, or put residual connections in.",
    )
