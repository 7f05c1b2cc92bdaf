"""The weights' scale does not fit the activation that follows, at a depth where that matters.

A layer with gain sigma_w = sqrt(fan_in E[w²]) before the activation phi multiplies the second moment of its input by
sigma_w² E[phi(sqrt(q) z)²] / q, z ~ N(0, 1). It is kept where sigma_w² = q / E[phi(sqrt(q) z)²], which is 2 for ReLU.
The right gains are those that keep some q between 0 and 1; a bounded activation such as tanh has a range of them,
from 1 / |phi'(0)| up to its gain at unit variance. A gain beyond the right ones multiplies signal and gradient
wrongly in every layer, so over the depth the error is a power. The rule adds up the logarithms along each chain of
layers that hand their tensors on, and speaks where the sum is beyond 12: twice the six depth scales over which
networks were seen to train, since forward and backward share the loss. It speaks of less where the first loss is far
off (LOS004) and would not be with outputs smaller by what the layers in front of the head, whose activations hand a
scale on, put in. Mismatches within five standard errors of the weight sample count as none; a layer before a norm has
no gain to mismatch; of the head, only one that is too loud counts. A product with a parameter that the model's own code
takes, as `x @ self.w + self.b`, is a layer like any other.

What to do: draw the weights again with the gain that the activation asks for, biases zero.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
widths = [32] + [64] * 16
layers = [part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
model = nn.Sequential(*layers, nn.Linear(64, 10))     # the framework's default: gain 0.577, where ReLU asks for 1.414
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
widths = [32] + [64] * 16
layers = [part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.ReLU())]
model = nn.Sequential(*layers, nn.Linear(64, 10))
for layer in model[:-1]:
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the weights are about to be loaded, or the forward pass makes up for their scale.

Reference: He et al. 2015, equations 10 and 14; Poole et al. 2016, equation 3; Schoenholz et al. 2017, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

from steadygrad.diagnosis.evidence import LayerGain, LayerGains, LoudStarts
from steadygrad.diagnosis.gain_repair import gain_repair
from steadygrad.diagnosis.levels import level_of
from steadygrad.diagnosis.trainable_depth import LOST, written
from steadygrad.finding import Finding


def check(gains: LayerGains, starts: LoudStarts) -> Iterator[Finding]:
    """One finding, for the chain that is worst; the others are mended by the same code."""
    by_path = {layer.path: layer for layer in gains.layers}
    worst = max(gains.layers, key=lambda layer: abs(layer.depth_log), default=None)
    if worst is not None and not abs(worst.depth_log) > LOST:
        worst = next((x for x in reversed(gains.layers) if starts.is_made_by(_handed_on(x, by_path))), None)
    if worst is None:
        return
    chain = [by_path[path] for path in worst.chain]
    yield _finding(worst, chain, [layer for layer in chain if layer.log_mismatch])


def _handed_on(layer: LayerGain, by_path: dict[str, LayerGain]) -> float:
    """Logarithm of what too large gains in front of the head put into the outputs.

    An activation that asks for one gain, whatever the scale, hands on what it is given; a bounded one does not. What
    the head itself puts in is another finding.
    """
    chain = [by_path[path] for path in layer.chain if by_path[path].activation]
    return max(sum(each.log_mismatch for each in chain if math.isclose(each.low, each.high)), 0.0)


def _finding(worst: LayerGain, chain: list[LayerGain], wrong: list[LayerGain]) -> Finding:
    gravest = max(abs(layer.log_mismatch) for layer in wrong)
    first = next(layer for layer in wrong if abs(layer.log_mismatch) >= gravest / 2)
    size = "small" if worst.depth_log < 0 else "large"
    return Finding(
        code="INI001",
        name="init-gain-mismatch",
        level=level_of(worst.depth_log),
        message=f"The weights of {_listed(wrong)}: too {size}, so that the {len(chain)} layers multiply what signal "
        f"and gradient carry by {written(worst.depth_log)}.",
        module=first.owner,
        measured=first.has,
        expected=first.should,
        standard_error=first.standard_error,
        count=first.weight.numel(),
        fix="Draw the weights with the gain that each activation asks for, biases zero, before training.",
        fix_code=gain_repair(wrong),
    )


def _listed(wrong: list[LayerGain]) -> str:
    """Runs of layers alike, such as "'2' to '58' (29 layers before ReLU) have gain 0.575 to 0.582 and need 1.41"."""
    runs = [list(run) for _, run in groupby(wrong, key=lambda layer: (layer.activation, _short(layer.should)))]
    runs.sort(key=lambda run: -len(run))
    parts = [_run(run) for run in runs[:3]]
    return ", ".join(parts) + (f", and {len(runs) - 3} more" if len(runs) > 3 else "")


def _run(run: list[LayerGain]) -> str:
    before = f"before {run[0].activation}" if run[0].activation else "at the output"
    first, last = repr(run[0].path), repr(run[-1].path)
    where = f"{first} to {last} ({len(run)} layers {before})" if len(run) > 1 else f"{first} ({before})"
    return f"{where} have gain {_span([layer.has for layer in run])} and need {_short(run[0].should)}"


def _span(gains: list[float]) -> str:
    low, high = _short(min(gains)), _short(max(gains))
    return low if low == high else f"{low} to {high}"


def _short(gain: float) -> str:
    return f"{gain:.3g}"
