"""Unstable forms in the user's own computation, found in the operators that it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steadygrad.tracing import SourceLine

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class UnstableForm:
    """An unstable form, where it stands, and what to write instead.

    Args:
        form: What was found, such as "exp over its sum".
        use: What to write instead.
        reason: What goes wrong.
        source: The user's line; None where it is not known.
        module: The path of the module that runs it ("" is the root); None outside a module.

    >>> print(UnstableForm("1 - exp", "-torch.expm1(x)", "all digits cancel", SourceLine("a/net.py", 3, "f"), None))
    net.py:3: 1 - exp: all digits cancel. Use -torch.expm1(x).
    """

    form: str
    use: str
    reason: str
    source: SourceLine | None
    module: str | None

    def __str__(self) -> str:
        return f"{self.source or 'unknown line'}: {self.form}: {self.reason}. Use {self.use}."


def audit(fn_or_module: Callable[..., object], example: Any) -> tuple[UnstableForm, ...]:
    """Return the unstable forms among the operators that a function or module runs on an example.

    It knows: exp over its sum; sigmoid by hand; log of softmax, of sigmoid, of 1 less these, of a sum of exp; log(1 +
    exp); log(1 - exp); 1 - exp; sqrt at zero and division by a norm, both without a guard; where with a NaN branch;
    E[x^2] - E[x]^2. A form is recognized by the operators themselves, however it is written; forms that subtract the
    maximum or add an epsilon are left alone, and so are this package's own functions.

    Args:
        fn_or_module: What to run, once, forward only.
        example: Its argument, or a tuple of them, or a dict of keyword arguments.

    Returns:
        A form for each place, in the order of execution. Whether a square root or a dropped branch is a fault is read
        off the example too, so use one like the real data. Random state and buffers are put back.

    >>> import torch
    >>> print(*audit(lambda x: torch.exp(x) / torch.exp(x).sum(), torch.zeros(3)))
    <doctest ...>:1: exp over its sum: exp overflows ..., inf / inf is NaN. Use steadygrad.numerics.softmax(x).
    >>> audit(lambda x: torch.softmax(x, -1), torch.zeros(3))
    ()
    >>> def attention(x):
    ...     weights = torch.exp(x)
    ...     return weights / weights.sum(-1, keepdim=True)
    >>> [(f.form, f.use, f.source.text) for f in audit(attention, torch.zeros(2, 3))]
    [('exp over its sum', 'steadygrad.numerics.softmax(x)', 'return weights / weights.sum(-1, keepdim=True)')]
    """
    from .operator_graph import operators_of  # here, so that arrays need no torch
    from .unstable_forms import matches

    args = example if isinstance(example, tuple) else () if isinstance(example, dict) else (example,)
    named = example if isinstance(example, dict) else {}
    with _untouched(fn_or_module):
        operators = operators_of(lambda: fn_or_module(*args, **named), _paths(fn_or_module))
    found = (UnstableForm(f.name, f.use, f.reason, op.source, op.module) for op, f, _ in matches(operators))
    return tuple(dict.fromkeys(found))


def _paths(fn_or_module: object) -> dict[int, str]:
    module = _module(fn_or_module)
    return {} if module is None else {id(m): path for path, m in module.named_modules()}


def _module(fn_or_module: object) -> nn.Module | None:
    import torch

    owner = getattr(fn_or_module, "__self__", fn_or_module)
    return owner if isinstance(owner, torch.nn.Module) else None


@contextmanager
def _untouched(fn_or_module: object) -> Iterator[None]:
    """Put random state and buffers back afterwards."""
    import torch

    module = _module(fn_or_module)
    buffers = [] if module is None else [(b, b.detach().clone()) for b in module.buffers()]
    with torch.random.fork_rng():
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
