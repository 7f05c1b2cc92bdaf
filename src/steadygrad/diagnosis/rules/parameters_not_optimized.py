"""Trainable weights that receive a gradient are held by no group of the optimizer.

An optimizer moves what it was given. One that was built over part of the model, before a layer was added, or over a
copy of the model, leaves the rest as it was drawn; so does a group whose rate is zero. The rule compares the trainable
parameters that get a gradient with the optimizer's groups. Weights that are left out are an error where they are more
than half of what is trainable, and a warning else; biases and scales alone are only worth knowing. A group at rate zero
under a schedule that raises it is left in peace. Where the setup's own `step` turns the schedule, the rule turns it
ahead: `error` where the rate stays exactly zero for 100,000 steps, or as many as half a second allows, `warn` where it
does for as many as a trial has, 200: a warm-up from zero stands there for its first step alone, other than one by whole
numbers, as `step // warmup`. Layers that are kept in a plain list or dictionary are no part of the model:
`parameters()` does not give them, so no optimizer gets them; the rule finds them as leaves of the graph of the model's
output. Of a setup's own `step` it also says where no weight moves, because no optimizer steps in 32 calls, or because
gradients are zeroed between the backward pass and every step, and where all steps of the setup's optimizer find no
gradient while another network learns, as a generator whose loss is taken of detached outputs.

What to do: give the optimizer all of `model.parameters()`, or set `requires_grad_(False)` on what is meant to stay.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model[-1].parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
model[0].requires_grad_(False)     # frozen, and said so
optimizer = torch.optim.SGD(model[-1].parameters(), lr=0.1)
setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
```

When to ignore: another optimizer, which is not part of this setup, moves them.

Reference: PyTorch documentation, torch.optim: constructing it.
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Optimized, OwnStep, Schedule, Stepped, Unregistered
from steadygrad.diagnosis.evidence.own_step import CALLS
from steadygrad.diagnosis.evidence.trained import STEPS
from steadygrad.diagnosis.paths import listed
from steadygrad.finding import Finding, Level

# Where more than half of what is trainable is not trained, the network that is trained is another one.
_HALF = 0.5

# One step without a gradient may be the first of a loop that turns to another network first.
_SURE = 2
_IDLE = "its steps find no gradient there, though what is beside it moves"

# They take matrices alone: another optimizer beside them moves what is left.
_MATRICES_ALONE = {"Muon"}


def check(
    stepped: Stepped, optimized: Optimized, unregistered: Unregistered, own: OwnStep, schedule: Schedule
) -> Iterator[Finding]:
    """Findings for what the model does not know of, a loop that moves nothing, and what is left out."""
    if unregistered.shapes:
        yield _hidden(stepped, unregistered)
    steps = stepped.steps
    if reason := _still(own):
        yield _of_the_loop(stepped, reason, own)
    elif schedule.steps_at_zero >= STEPS:
        yield _at_zero(stepped, schedule)
    left = [n for n, size in steps.gradient.items() if steps.reached[n] and size != 0 and not optimized.moves(n)]
    if left:
        yield _finding(stepped, optimized, left)


def _still(own: OwnStep) -> str:
    """Why no call of the user's step moves a weight; "" where one does, or may yet."""
    log = own.log
    if log is None:
        return ""
    if own.moved:
        return _IDLE if own.idle >= _SURE else ""
    if log.steps:
        return "gradients are zeroed between the backward pass and the step" if log.empty_steps == log.steps else ""
    return f"no optimizer steps in {log.calls} calls of it" if log.calls >= CALLS else ""


def _of_the_loop(stepped: Stepped, reason: str, own: OwnStep) -> Finding:
    assert own.log is not None
    return Finding(
        code="OPT005",
        name="parameters-not-optimized",
        level=Level.ERROR,
        message=f"`step` leaves every weight{' of the optimizer' * own.moved} as it is: {reason}.",
        module="",
        measured=float(len(stepped.steps.reached)),
        expected=0.0,
        count=own.log.calls,
        fix="Take its loss of the model's outputs without `detach`, and zero the gradients before the backward pass."
        if own.moved
        else "Zero the gradients before the backward pass, and call `optimizer.step()` after it.",
    )


def _at_zero(stepped: Stepped, schedule: Schedule) -> Finding:
    steps = int(schedule.steps_at_zero)
    until = (
        f"and is {max(schedule.rates):.3g} at most after that" if schedule.rises else "which is as far as was looked"
    )
    return Finding(
        code="OPT005",
        name="parameters-not-optimized",
        level=Level.WARN if schedule.rises else Level.ERROR,
        message=f"The schedule that `step` turns holds the learning rate at exactly 0 for {steps} steps, {until}: no "
        "weight moves in them.",
        module="",
        measured=float(steps),
        expected=1.0,
        count=len(stepped.steps.reached),
        fix="Look at the factor of the schedule: a warm-up divides with `/`, not `//`, and is (step + 1) / warmup, at "
        "most 1.",
    )


def _hidden(stepped: Stepped, unregistered: Unregistered) -> Finding:
    shapes = [str(list(shape)) for shape in unregistered.shapes]
    listed_shapes = ", ".join(shapes[:3]) + (f" and {len(shapes) - 3} more" if shapes[3:] else "")
    known = sum(p.numel() for p in stepped.steps.after.values())
    share = unregistered.numbers / (unregistered.numbers + known)
    return Finding(
        code="OPT005",
        name="parameters-not-optimized",
        level=Level.ERROR if share > _HALF else Level.WARN,
        message=f"The forward pass computes with {len(shapes)} trainable tensors, {listed_shapes}, that are neither "
        f"parameters of the model nor held by the optimizer: {100 * share:.3g}% of what is trainable stays as it is.",
        measured=float(len(shapes)),
        expected=0.0,
        count=len(shapes) + len(stepped.steps.reached),
        fix="Keep modules in an nn.ModuleList or nn.ModuleDict instead of a list or dict, and tensors in nn.Parameter.",
    )


def _finding(stepped: Stepped, optimized: Optimized, left: list[str]) -> Finding:
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in left))
    idle = [name for name in left if name in optimized.names]
    at_rest = len(idle) == len(left)
    why = "the learning rate of their group is 0" if at_rest else "no group of the optimizer holds them"
    if optimized.strangers and not optimized.names:
        why = "the optimizer holds the parameters of another model"
    share = stepped.share(left)
    return Finding(
        code="OPT005",
        name="parameters-not-optimized",
        level=_level(stepped, optimized, left),
        message=f"{listed(modules)} {'is' if len(modules) == 1 else 'are'} trainable and {'gets' * (len(modules) == 1)}"
        f"{'get' * (len(modules) > 1)} gradients, but {why}: {100 * share:.3g}% of what is trainable stays as it is.",
        module=modules[0],
        measured=float(len(left)),
        expected=0.0,
        count=len(stepped.steps.reached),
        fix=f"{_RATE if at_rest else _ALL}, or set `requires_grad_(False)` on what is meant to stay.",
        fix_code="" if idle else _CODE,
    )


_ALL = "Give the optimizer all of `model.parameters()`"
_RATE = "Give that group of the optimizer a learning rate above 0"
_CODE = """held = {id(p) for group in optimizer.param_groups for p in group["params"]}
left = [p for p in model.parameters() if p.requires_grad and id(p) not in held]
optimizer.add_param_group({"params": left})"""


def _level(stepped: Stepped, optimized: Optimized, left: list[str]) -> Level:
    if any(kind.__name__ in _MATRICES_ALONE for kind in type(optimized.optimizer).__mro__):
        return Level.INFO
    if all(stepped.steps.after[name].dim() < 2 for name in left):
        return Level.INFO
    return Level.ERROR if stepped.share(left) > _HALF else Level.WARN
