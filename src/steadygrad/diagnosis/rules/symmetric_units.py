"""Units of a layer start with the same weights and get the same gradients, so they never become different.

A layer whose units are copies of each other is as wide as one unit, for as long as training runs: equal units receive
equal gradients. Weights that are all zero, or all one constant, make it so; zero behind a ReLU is worse, since no
gradient passes at all. A zero last layer is not such a case: its units get different gradients in the first step,
and the layers before it wait until then. The rule therefore looks at both: units whose incoming weights are equal up
to rounding, and that still move as one in three small steps along the gradient, taken and undone. They move as one
where what differs between their moves is below e^-6 of the moves, in squares: what six depth scales leave. Of equal
weights that are not zero, which only unequal biases tell apart, less than half of the moves may be common.

What to do: draw the weights at random, with the gain that the activation asks for; leave only biases, norms and last
layers at a constant.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 10))
for layer in (model[0], model[2]):
    nn.init.constant_(layer.weight, 0.02)
    nn.init.zeros_(layer.bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 10))
nn.init.zeros_(model[2].weight)     # a zero last layer is legal
nn.init.zeros_(model[2].bias)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the weights are about to be loaded.

Reference: Goodfellow, Bengio and Courville 2016, section 8.4 (initial parameters need to break symmetry).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from steadygrad.diagnosis.evidence import Stepped
from steadygrad.diagnosis.paths import listed
from steadygrad.diagnosis.redraw import redraw
from steadygrad.diagnosis.unit_rows import UnitRows, unit_rows
from steadygrad.finding import Finding, Level

# In squares, what six depth scales leave of a difference (Schoenholz et al. 2017, section 5).
_AS_ONE = math.exp(-6.0)

# More of the moves is common to all units than differs between them.
_MOSTLY_AS_ONE = 0.5

# Rows that differ by so many roundings of their largest entry are equal: a constant that a scale was multiplied into.
_ROUNDINGS = 8.0


@dataclass(frozen=True, kw_only=True)
class _Layer:
    path: str
    units: int
    equal: int
    biases_equal: bool


def check(stepped: Stepped) -> Iterator[Finding]:
    """One finding for all such layers, at the first."""
    found = [layer for path, module in stepped.weighted() if (layer := _symmetric(stepped, path, module))]
    if found:
        yield _finding(stepped.model, found)


def _symmetric(stepped: Stepped, path: str, module: nn.Module) -> _Layer | None:
    before, after = (_rows(stepped, path, module, moved) for moved in (False, True))
    if before is None or after is None or len(before.weights) < 2:
        return None
    same = _most_alike(before.weights, _eps(module))
    if 2 * len(same) <= len(before.weights):
        return None
    moves = (after.weights - before.weights)[same]
    # Weights at zero may wait for another layer; any other constant was chosen, and only biases tell its units apart.
    apart = _MOSTLY_AS_ONE if bool(before.weights[same].any()) and _sees_all(module) else _AS_ONE
    if float((moves - moves.mean(0)).square().sum()) > apart * float(moves.square().sum()):
        return None
    biases = before.biases[same]
    equal = bool(((biases - biases[:1]).abs() <= _ROUNDINGS * _eps(module) * biases.abs().amax(0)).all())
    return _Layer(path=path, units=len(before.weights), equal=len(same), biases_equal=equal)


def _sees_all(module: nn.Module) -> bool:
    """Whether all units take the same inputs; a depthwise kernel may well be one for all channels."""
    return getattr(module, "groups", 1) == 1


def _rows(stepped: Stepped, path: str, module: nn.Module, moved: bool) -> UnitRows | None:
    """None where a weight is trained by nothing: what it holds is not for the first step to tell apart."""
    steps, prefix = stepped.steps, f"{path}." if path else ""
    own = dict(module.named_parameters(recurse=False))
    if not all(steps.reached.get(prefix + name, False) for name in own if "bias" not in name):
        return None
    values = {name: steps.after.get(prefix + name, p) if moved else p for name, p in own.items()}
    return unit_rows(module, values)


def _eps(module: nn.Module) -> float:
    return float(torch.finfo(next(module.parameters()).dtype).eps)


def _most_alike(rows: torch.Tensor, eps: float) -> torch.Tensor:
    """Indices of the largest set of equal rows: those equal to the row that most others equal, by their sums."""
    if not bool(torch.isfinite(rows).all()):
        return torch.empty(0, dtype=torch.long)
    middle = rows[rows.sum(1).argsort()[len(rows) // 2]]
    close = (rows - middle).abs().amax(1) <= _ROUNDINGS * eps * rows.abs().max()
    return close.nonzero().flatten()


def _finding(model: nn.Module, found: list[_Layer]) -> Finding:
    first = found[0]
    whole = all(layer.equal == layer.units and layer.biases_equal for layer in found)
    biases = "" if first.biases_equal else " but for their biases"
    others = f" (and those of {listed([layer.path for layer in found[1:]])})" if found[1:] else ""
    return Finding(
        code="INI002",
        name="symmetric-units",
        level=Level.ERROR if whole else Level.WARN,
        message=f"{first.equal} of the {first.units} units of {first.path!r}{others} start with the same weights"
        f"{biases} and move as one: the layer is as wide as one of them.",
        module=first.path,
        measured=float(first.equal),
        expected=1.0,
        count=first.units,
        fix="Draw the weights at random with the gain that the activation asks for; only biases, norms and last layers "
        "may start at a constant.",
        fix_code=redraw(model, [layer.path for layer in found]),
    )
