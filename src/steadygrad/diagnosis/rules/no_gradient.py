"""Trainable parameters get no gradient: their way to the loss is cut, or nothing but zeros comes back.

A `detach`, a block under `torch.no_grad`, an `argmax`, a cast to integers or a way through NumPy hands numbers on
without their history. The forward pass looks the same; what lies before the cut stays as it was drawn. The rule asks
autograd which trainable parameters the loss depends on, and names the operator and the line where the others lost their
way. A loss that counts decisions, or that is a number made by `.item()` or NumPy, has no gradient at all: then the
operator is named at which most parameters lose their way. Where the graph is whole it takes three small steps along the
gradient, so that layers that wait for a zero head get theirs, and reports weights whose gradient is exactly zero in all
of them, with the rounding that makes it so where there is one. A bias that gets nothing while its layer's weight does
is a constant whose slope the loss takes, as in an energy, and no cut. Parameters that the optimizer does not hold are
not meant: they may be frozen so. Modules that the forward pass never calls are worth knowing, and fail no check. Where
the loss adds up numbers of which one was cut from the graph, as a penalty that the model keeps detached, that summand
is shown and not trained. Where a loop over the steps of a sequence cuts its own state, the layer gets a gradient from
the last steps alone: that is told where a linear fit shows that the targets ask for the others.

What to do: take out what cuts the graph, or set `requires_grad_(False)` on what is meant to stay.

Bad:

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(32, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)).detach())


torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
setup = {"model": Net(), "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(32, 64).requires_grad_(False)     # meant to stay as it is, and said so
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)).detach())


torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
setup = {"model": Net(), "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: another loss, which is not part of this setup, trains those parameters.

Reference: PyTorch documentation, autograd mechanics: locally disabling gradient computation.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from steadygrad.diagnosis.cut_summands import cut_summands
from steadygrad.diagnosis.evidence import CutMemory, Gradients, Memory, Severed, Stepped, Traced
from steadygrad.diagnosis.graph_cut import cut_words, cuts, flat_operator, graph_cut
from steadygrad.diagnosis.paths import listed
from steadygrad.fans import weight_fans
from steadygrad.finding import Finding, Level
from steadygrad.measurement import Operation

# Where more than half of what is trainable cannot be trained, the network that is trained is another one.
_HALF = 0.5


def check(severed: Severed, gradients: Gradients, cut: CutMemory) -> Iterator[Finding]:
    """One finding for a loss without a gradient, or for each cut, for zeros, and for what is never used."""
    if cut.memory is not None and cut.operation is not None:
        yield _forgotten(cut.memory, cut.operation)
    if severed.trained:
        yield _severed(severed)
    elif gradients.traced is not None and gradients.stepped is not None:
        yield from _where_there_are(gradients.traced, gradients.stepped)


def _severed(severed: Severed) -> Finding:
    operation = severed.operation if severed.operation and cuts(severed.operation) else None
    why = "it takes no tensor that comes of the model's parameters; numbers that were copied out have no history"
    return Finding(
        code="BWD003",
        name="no-gradient",
        level=Level.ERROR,
        message=f"The loss has no gradient, so nothing can be trained: "
        f"{why if operation is None else f'{_where(operation)} {cut_words(operation)}'}.",
        module=operation.path if operation and operation.phase == "model" else "",
        measured=float(len(severed.trained)),
        expected=0.0,
        count=len(severed.trained),
        fix="Take the loss of what has a derivative: logits or distances in place of a decision or a count, tensors in "
        "place of numbers.",
        line=str(operation.line) if operation and operation.line else None,
    )


def _where(operation: Operation) -> str:
    who = "in the loss" if operation.phase == "loss" else f"in {operation.path!r}" if operation.path else "in the model"
    return f"{who} at {operation.line}" if operation.line else who


def _where_there_are(traced: Traced, stepped: Stepped) -> Iterator[Finding]:
    """One finding for each cut, for zeros, and for what is never used."""
    forward, steps = traced.operations.forward, stepped.steps
    missing = [name for name in stepped.wanted if not steps.reached[name]]
    used = {name for operation in forward for name in operation.parameters}
    constant = {name for name in missing if _adds_a_constant(stepped, name)}
    yield from _cuts(traced, stepped, [name for name in missing if name in used - constant])
    for operation in cut_summands(forward)[:1]:
        yield _summand(stepped, operation)
    zero = [name for names in _weights(stepped) if all(_is_zero(stepped, name) for name in names) for name in names]
    if zero:
        yield _zero(stepped, zero, flat_operator(forward, zero))
    unused = [name for name in missing if name not in used]
    if unused:
        yield _unused(stepped, unused)


def _weights(stepped: Stepped) -> Iterator[list[str]]:
    """Wanted weights of each layer: a bias, a scale or one weight of several may well get nothing."""
    for path, module in stepped.weighted():
        names = [f"{path}.{name}" if path else name for name in weight_fans(module)]
        if names and all(name in stepped.wanted for name in names):
            yield names
    yield from ([name] for name in stepped.matrices() if name in stepped.wanted)
    yield from ([name] for name in stepped.tables() if name in stepped.wanted)


def _adds_a_constant(stepped: Stepped, name: str) -> bool:
    """Whether it is a bias that gets nothing while its layer's weight does: the loss takes the slope of a sum."""
    path, _, own = name.rpartition(".")
    weights = [f"{path}.{w}" if path else w for w in _weight_names(stepped.model.get_submodule(path))]
    return "bias" in own and any(stepped.steps.reached.get(weight, False) for weight in weights)


def _is_zero(stepped: Stepped, name: str) -> bool:
    return stepped.steps.reached[name] and stepped.steps.gradient[name] == 0


def _weight_names(module: nn.Module) -> list[str]:
    """Names of a layer's weights; none of a module whose layout is not known."""
    try:
        return list(weight_fans(module))
    except TypeError:
        return []


def _cuts(traced: Traced, stepped: Stepped, names: list[str]) -> Iterator[Finding]:
    by_cut: dict[int, list[str]] = {}
    for name in names:
        cut = graph_cut(traced.operations.forward, name)
        assert cut is not None, f"{name} is used by an operator"
        by_cut.setdefault(cut.index, []).append(name)
    groups = sorted(by_cut.items(), key=lambda found: -stepped.share(found[1]))
    for index, cut_off in groups[:1]:
        operation = traced.operations.forward[index]
        others = len(groups) - 1
        more = f" There {'is 1 more such cut' if others == 1 else f'are {others} more such cuts'}." if others else ""
        yield Finding(
            code="BWD003",
            name="no-gradient",
            level=Level.ERROR if stepped.share(names) > _HALF else Level.WARN,
            message=f"No gradient reaches {listed(_modules(cut_off))}: "
            f"{_where(operation)} {cut_words(operation)}.{more}",
            module=_modules(cut_off)[0],
            measured=float(len(names)),
            expected=0.0,
            count=len(stepped.wanted),
            fix="Take out what cuts the graph, or set `requires_grad_(False)` on what is meant to stay as it is.",
            line=str(operation.line) if operation.line else None,
        )


def _modules(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _summand(stepped: Stepped, operation: Operation) -> Finding:
    return Finding(
        code="BWD003",
        name="no-gradient",
        level=Level.WARN,
        message=f"A summand of the loss has no gradient, so it counts and is not trained: {_where(operation)} "
        f"{cut_words(operation)}.",
        module=operation.path if operation.phase == "model" else "",
        measured=0.0,
        expected=1.0,
        count=len(stepped.wanted),
        fix="Keep the number with its history, without `detach`, or leave it out of the loss.",
        line=str(operation.line) if operation.line else None,
    )


def _zero(stepped: Stepped, zero: list[str], flat: Operation | None) -> Finding:
    why = f"{_where(flat)} `{flat.name}` has a slope of zero everywhere" if flat else ""
    if not flat and len(zero) > 1 and not any(bool(stepped.weight(name).any()) for name in zero):
        why = "all of them start at zero, where each has the slope of a product with another zero"
    of = [name for names in _weights(stepped) for name in names]
    return Finding(
        code="BWD003",
        name="no-gradient",
        level=Level.ERROR if len(zero) > _HALF * len(of) else Level.WARN,
        message=f"The gradient of {listed(_modules(zero))} is exactly zero, on {stepped.examples} examples and in "
        f"three small steps: {why or 'nothing that those weights do changes the loss'}.",
        module=_modules(zero)[0],
        measured=float(len(zero)),
        expected=0.0,
        count=len(of),
        fix="Draw all but one of the factors at random."
        if why.startswith("all of them")
        else "Look for what is flat after those layers: units that are off or saturated for every example, a rounding, "
        "a clamp, or a softmax over a single entry.",
        line=str(flat.line) if flat and flat.line else None,
    )


def _forgotten(memory: Memory, operation: Operation) -> Finding:
    return Finding(
        code="BWD003",
        name="no-gradient",
        level=Level.WARN,
        message=f"The loop over {memory.path!r} cuts its state from the graph: {_where(operation)} "
        f"{cut_words(operation)}. The gradient reaches {memory.reached} of {memory.steps} steps back, and a linear fit "
        f"explains {memory.needed:.0%} of the targets by the steps before those alone.",
        module=memory.path,
        measured=float(memory.reached),
        expected=float(memory.steps),
        count=memory.examples,
        fix="Keep the state's history within a sequence, and detach it between sequences, if at all.",
        line=str(operation.line) if operation.line else None,
    )


def _unused(stepped: Stepped, names: list[str]) -> Finding:
    return Finding(
        code="BWD003",
        name="no-gradient",
        level=Level.INFO,
        message=f"The forward pass never uses {listed(_modules(names))}.",
        module=_modules(names)[0],
        measured=float(len(names)),
        expected=0.0,
        count=len(stepped.wanted),
        fix="Call those modules, or leave them out of the model.",
    )
