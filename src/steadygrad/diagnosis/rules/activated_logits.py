"""The model ends in an activation in front of a loss that applies its own.

Cross-entropy wants logits, any real numbers, and applies the softmax itself. Numbers that an activation has squeezed
into [a, b] can never say more than a margin of b - a: the loss of K classes cannot fall below ln(1 + (K - 1) e^(a-b)),
and the gradient of an answer that is wrong and sure of it vanishes in the activation. After a softmax the floor is 1.46
for ten classes, of the 2.30 that a uniform guess has. The same holds for a sigmoid in front of
`binary_cross_entropy_with_logits`, where no probability below 1/2 can be said. A loss that wants log-probabilities
(`nll_loss`, `kl_div`) is given probabilities, one that wants the logarithm of a rate (`poisson_nll_loss`) the rate. The
rule reads the operator that made the tensor from the autograd graph, so it sees functions as well as modules, in the
model or in the loss. `error` where the floor is above half of the uniform guess's loss, or where probabilities stand
for log-probabilities; `warn` where it is above a hundredth, or where more than a twentieth of the outputs are cut off,
as by a ReLU; else `info`. A log_softmax before a cross-entropy changes nothing, and a soft cap such as 10 tanh(x/10)
leaves room: neither is meant. Constant factors count in the range. Scalar products of vectors that were divided by
their norms are cosines, in [-1, 1] over the temperature: a floor that is left there is `info`, since embeddings are
learned from such losses all the same, unless it leaves less than a tenth of the loss to be learned.

What to do: take the activation off the model, and apply it where probabilities are wanted, outside of the loss.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 10), nn.Softmax(dim=-1))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 8), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 10))
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the range is meant as a bound on how sure the model may be.

Reference: Bridle 1990 (softmax with its likelihood); Goodfellow, Bengio, Courville 2016, "Deep Learning", section 6.2.2
(the logarithm of the loss undoes the exponential of the output unit).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from steadygrad.diagnosis.evidence import LossPair, LossRun
from steadygrad.diagnosis.evidence.loss_watch import LOG_PROBABILITIES
from steadygrad.diagnosis.runs.remedy import PART
from steadygrad.finding import Finding, Level

# A floor below a hundredth of a uniform guess's loss is one that training hardly meets, and a twentieth of outputs cut
# off is what statistics by convention notes.
_NOTED = 0.01
_CUT = 0.05
_OF_LOGITS = ("cross_entropy", "log_softmax", "softmax")
_OF_ONE_LOGIT = ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss")
_RATES = ("Exp", "Softplus")
_IN_WORDS = {
    "Relu": "ReLU",
    "Hardtanh": "a clamp",
    "Clamp": "a clamp",
    "LogSigmoid": "log-sigmoid",
    "Pow": "a square",
    "Cosine": "a cosine",
}
_ACTIVATIONS = (
    *("Softmax", "Sigmoid", "Tanh", "Hardsigmoid", "Hardtanh", "Relu", "Softplus", "Exp", "LogSigmoid", "Pow"),
    "Cosine",
)


def check(run: LossRun) -> Iterator[Finding]:
    """One finding for each loss whose input was squeezed; one for two of which the same holds."""
    found = {finding.message: finding for finding in _findings(run)}
    yield from found.values()


def _findings(run: LossRun) -> Iterator[Finding]:
    for pair in run.pairs:
        # A softmax over one class is LOS002, and says nothing beside it.
        if pair.head.name not in _ACTIVATIONS or pair.head.classes == 1:
            continue
        if pair.name in _OF_LOGITS and pair.input.dim() > 1 and pair.classes > 1:
            yield from _finding(pair, _floor(pair), math.log(pair.classes))
        elif pair.name in _OF_ONE_LOGIT:
            yield from _finding(pair, _floor_of_one(pair), math.log(2))
        elif pair.name in LOG_PROBABILITIES and pair.head.factor == 1 and pair.head.name in ("Softmax", "Sigmoid"):
            yield _of_probabilities(pair)
        elif pair.name == "poisson_nll_loss" and pair.options.get("log_input") and pair.head.name in _RATES:
            yield _of_rates(pair)


def _floor(pair: LossPair) -> float:
    """Least cross-entropy of K logits within [a, b]."""
    return math.log1p((pair.classes - 1) * math.exp(pair.head.low - pair.head.high))


def _floor_of_one(pair: LossPair) -> float:
    """Least binary cross-entropy of a logit within [a, b], over the shares of the two labels."""
    assert pair.target is not None
    share = float(pair.target.double().mean())
    return share * _softplus(-pair.head.high) + (1 - share) * _softplus(pair.head.low)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _finding(pair: LossPair, floor: float, uniform: float) -> Iterator[Finding]:
    made = _made(pair)
    cut = _cut_off(pair)
    if floor > _NOTED * uniform:
        says = f"can never fall below {floor:.3g}"
        level = Level.ERROR if floor > uniform / 2 else Level.WARN
    elif _is_scaled(pair) and cut <= _CUT:
        return
    else:
        says = f"gets no gradient from the {cut:.0%} of outputs that are cut off"
        level = Level.WARN if cut > _CUT else Level.INFO
    yield Finding(
        code="LOS001",
        name="activated-logits",
        # Embeddings are learned from cosines at temperatures at which the loss never comes near to zero, but it must
        # be able to fall.
        level=Level.INFO if pair.head.name == "Cosine" and floor < (1 - PART) * uniform else level,
        message=f"The model's outputs have been through {made} when they enter {pair.name}, which expects logits and "
        f"applies its own: a loss of {uniform:.3g} for a uniform guess {says}.",
        measured=floor if floor > _NOTED * uniform else cut,
        expected=0.0,
        count=pair.input.numel(),
        fix=_fix(pair, made),
    )


def _made(pair: LossPair) -> str:
    name = _IN_WORDS.get(pair.head.name, pair.head.name.lower())
    return f"{name} over the examples (dim=0)" if pair.head.over_examples else name


def _is_scaled(pair: LossPair) -> bool:
    """Whether the range is one that was chosen: by a factor, or as the inverse of a temperature."""
    return pair.head.name == "Cosine" or pair.head.factor != 1


def _of_rates(pair: LossPair) -> Finding:
    made = pair.head.name.lower()
    return Finding(
        code="LOS001",
        name="activated-logits",
        level=Level.WARN,
        message=f"{pair.name} takes the logarithm of a rate and applies the exponential itself, and is given what has "
        f"been through {made}: a rate below {math.exp(pair.head.low):.3g} cannot be said.",
        measured=math.exp(pair.head.low),
        expected=0.0,
        count=pair.input.numel(),
        fix=f"Leave out the {made}, or tell the loss that it gets rates, by `log_input=False`.",
    )


def _fix(pair: LossPair, made: str) -> str:
    if not _is_scaled(pair):
        return f"Leave out {made} at the end of the model, and apply it only where probabilities are wanted."
    others = max(pair.classes - 1, 1) if pair.name in _OF_LOGITS else 1
    width = math.log(others / (_NOTED * math.log(others + 1)))
    times = width / (pair.head.high - pair.head.low)
    return f"Multiply the outputs by {times:.2g} or more, the inverse of a temperature, or leave out {made}."


def _cut_off(pair: LossPair) -> float:
    """Share of the outputs that lie at an end of the range."""
    x = pair.input
    return float(((x == pair.head.low) | (x == pair.head.high)).double().mean())


def _of_probabilities(pair: LossPair) -> Finding:
    made = _made(pair)
    return Finding(
        code="LOS001",
        name="activated-logits",
        level=Level.ERROR,
        message=f"{pair.name} expects log-probabilities and is given the probabilities of a {made}: its slope is the "
        "same for an answer that is wrong and sure of it as for any other.",
        measured=float(pair.input.double().max()),
        expected=0.0,
        count=pair.input.numel(),
        fix=f"Give {pair.name} the log_softmax of the outputs in place of the {made}.",
    )
