"""A softmax, or its logarithm, is written by hand in a form that overflows or divides 0 by 0.

exp of single precision is infinite above 88.7 and loses its digits below -87.3: exp(z) / sum exp(z) is inf / inf or 0
/ 0 as soon as the logits lie there, and the logarithm of a probability that was rounded to 0 is -inf. Stable forms
subtract the largest logit first and never leave the logarithm. The rule matches the operators that model and loss run,
however they are written, and reads from the batch how much of the format's logarithmic range they use: `error` where
it is all used up, or where 40 steps on a copy of model and optimizer end in NaN; `warn` beyond half, since logits
commonly double in training; `info` below. An exponential that overflows half precision alone, and uses less than half
of single precision's range, is `info` too: the format is the cause there (NUM001).

What to do: use log_softmax, cross_entropy, logsumexp, log_sigmoid, softplus.

Bad:

```python
import torch
from torch import nn

def loss_fn(outputs, targets):
    p = torch.exp(outputs) / torch.exp(outputs).sum(1, keepdim=True)
    return -torch.log(p[torch.arange(len(targets)), targets]).mean()

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(3, (64,)))]
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
nn.init.constant_(model[2].bias, 100.0)
setup = {"model": model, "data": data, "loss_fn": loss_fn}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(3, (64,)))]
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
nn.init.constant_(model[2].bias, 100.0)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: something keeps the exponents small for good.

Reference: Blanchard, D. Higham, N. Higham 2021, "Accurately computing the log-sum-exp and softmax functions",
sections 2 and 3; IEEE 754-2019, table 3.5 (ranges).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from steadygrad.diagnosis.evidence import Exponential, Exponents
from steadygrad.finding import Finding, Level

# Logits that double in training use the range up from here.
_HALF = 0.5

# Where exp of single precision overflows.
_SINGLE = math.log(torch.finfo(torch.float32).max)


def check(exponents: Exponents) -> Iterator[Finding]:
    """One finding for each place."""
    for found in exponents.found:
        yield _finding(found, exponents)


def _finding(found: Exponential, exponents: Exponents) -> Finding:
    where = f" ({found.line})" if found.line else ""
    form = found.form.name.removesuffix(" by hand")
    place = "the loss" if found.module is None else f"module {found.module!r}" if found.module else "the model"
    return Finding(
        code="LOS003",
        name="unstable-softmax",
        level=_level(found, exponents),
        message=f"{place[0].upper()}{place[1:]} computes {form} by hand{where}: {found.form.reason}; "
        f"on this batch an exponent is {found.exponent:.3g}, and the format ends at {found.limit:.3g}"
        f"{_after_steps(exponents)}.",
        module=found.module,
        measured=found.exponent,
        expected=found.limit,
        count=found.count,
        fix=f"Use {found.form.use}.",
        line=found.line,
    )


def _level(found: Exponential, exponents: Exponents) -> Level:
    if found.used >= 1 and found.limit > 0 and found.exponent <= _HALF * _SINGLE:
        return Level.INFO
    if found.used >= 1 or exponents.fails:
        return Level.ERROR
    return Level.WARN if found.used > _HALF else Level.INFO


def _after_steps(exponents: Exponents) -> str:
    if exponents.steps is None or exponents.steps.finished:
        return ""
    return f", and step {len(exponents.steps.losses)} on a copy gives numbers that are not finite"
