"""The tools that are asked: each takes a setup and returns the codes of what it finds at warn or above, in order."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# torchmortem looks at a run: as many steps as a trial of `check` makes.
STEPS = 200

Setup = Mapping[str, Any]


def check(setup: Setup) -> list[str]:
    """`steadygrad.check`."""
    import steadygrad

    return [f.code for f in steadygrad.check(setup).findings if f.level != "info"]


def without_trial(setup: Setup) -> list[str]:
    """`steadygrad.check` with `--no-trial`."""
    import steadygrad

    return [f.code for f in steadygrad.check(setup, trial=False).findings if f.level != "info"]


def torchmortem(setup: Setup) -> list[str]:
    """Torchmortem over a plain loop of training."""
    import torchmortem as tool

    model, optimizer, step = setup["model"].train(), setup["optimizer"], 0
    autopsy = tool.Autopsy(model, optimizer=optimizer)
    autopsy.attach()
    with contextlib.suppress(Exception):  # a run that breaks is one that it looks at, too
        while step < STEPS:
            for inputs, targets in setup["data"]:
                optimizer.zero_grad()
                loss = setup["loss_fn"](model(inputs), targets)
                loss.backward()
                optimizer.step()
                autopsy.step(loss=loss.item())
                step += 1
                if step == STEPS:
                    break
    autopsy.detach()
    report = autopsy.get_report()
    found = [] if report is None else report.findings
    return [str(f.detector) for f in found if f.severity >= tool.Severity.WARNING]


def torch_audit(setup: Setup) -> list[str]:
    """torch-audit before the first step, and on the gradients of one batch."""
    import torch_audit as tool

    model, optimizer = setup["model"], setup["optimizer"]
    batch = next(iter(setup["data"]))
    found = list(tool.audit(model, phase="static", batch=batch, optimizer=optimizer).findings)
    setup["loss_fn"](model(batch[0]), batch[1]).backward()
    found += tool.audit(model, phase="backward", batch=batch, optimizer=optimizer).findings
    return [str(f.rule_id) for f in found if f.severity >= tool.Severity.WARN]


TOOLS: dict[str, Callable[[Setup], list[str]]] = {
    "steadygrad": check,
    "steadygrad --no-trial": without_trial,
    "torchmortem": torchmortem,
    "torch-audit": torch_audit,
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a tool prints goes nowhere."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield
