"""What a network does to one pre-activation before anything else joins: an activation, built in or written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steadygrad.theory import Activation, activation

from .node import Node, Ref, origin

# Operators that work on each entry alone.
POINTWISE = frozenset(
    (
        *("relu", "leaky_relu", "_prelu_kernel", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "tanh"),
        *("softplus", "erf", "exp", "sin", "cos", "abs", "square", "pow", "sqrt", "rsqrt", "log", "log1p", "expm1"),
        *("neg", "reciprocal", "clamp", "clamp_min", "clamp_max", "hardtanh", "hardsigmoid", "hardswish", "threshold"),
        *("softshrink", "hardshrink", "relu6", "log_sigmoid_forward", "gt", "ge", "lt", "le", "sign", "maximum"),
        *("minimum", "where", "atan", "sinh", "cosh", "add", "sub", "rsub", "mul", "div", "sgn", "_to_copy"),
    )
)

# By the operator's name, the catalogue's name and the names of its numbers in the order of the operator's.
_CATALOGUE: dict[str, tuple[str, tuple[str, ...]]] = {
    "relu": ("relu", ()),
    "gelu": ("gelu", ()),
    "tanh": ("tanh", ()),
    "silu": ("silu", ()),
    "sigmoid": ("sigmoid", ()),
    "mish": ("mish", ()),
    "erf": ("erf", ()),
    "sin": ("sin", ()),
    "leaky_relu": ("leaky_relu", ("negative_slope",)),
}


@dataclass(frozen=True)
class Function:
    """A function of one tensor's entries.

    Attributes:
        signature: tells functions that are written alike from others.
        words: such as "relu", or "sigmoid, mul".
        apply: the function, on a tensor.
        identity: whether it hands the numbers on as they are.

    >>> IDENTITY.identity
    True
    """

    signature: str
    words: str
    apply: Callable[[torch.Tensor], torch.Tensor]
    identity: bool = False

    def theory(self) -> Activation:
        """Return the activation as theory sees it; the same object for functions that are written alike."""
        if self.signature not in _KNOWN:
            _KNOWN[self.signature] = _named(self.signature) or activation(self._on_arrays, name=self.words)
        return _KNOWN[self.signature]

    def _on_arrays(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        with torch.no_grad():
            out = self.apply(torch.from_numpy(np.array(u, dtype=np.float64).reshape(-1)))
            return np.asarray(out.double().numpy(), dtype=np.float64).reshape(np.shape(u))


_KNOWN: dict[str, Activation] = {}

IDENTITY = Function("u", "", lambda u: u, True)


def _named(signature: str) -> Activation | None:
    name, _, rest = signature.partition("(u")
    if name not in _CATALOGUE or not rest.endswith(")") or "(" in rest:
        return None
    known, names = _CATALOGUE[name]
    said = [part for part in rest[:-1].split(", ") if part]
    if any("=" in part for part in said) and name != "gelu":
        return None
    options = dict(part.split("=") for part in said if "=" in part)
    numbers = [float(part) for part in said if "=" not in part]
    return activation(known, **dict(zip(names, numbers, strict=False)), **options)


def through(node: Node, given: dict[Ref, Function], numbers: Callable[[Node], float | None]) -> Function | None:
    """Return the function that a pointwise operator makes of those that go in; None where a number is not known.

    Args:
        node: the operator.
        given: the function that each tensor is, of one and the same pre-activation.
        numbers: the one number that a tensor holds that is no function of it, where it is known.
    """
    constants = {ref: numbers(origin(ref.node)) for ref in node.refs() if ref not in given}
    if any(value is None for value in constants.values()):
        return None
    parts = [_said(arg, given, constants) for arg in node.args]
    parts += [f"{key}={_said(arg, given, constants)}" for key, arg in node.kwargs.items() if arg is not None]
    inner = ", ".join(dict.fromkeys(f.words for f in given.values() if not f.identity))
    # A scale or a shift alone is no activation that has a name of its own.
    words = ", ".join(part for part in (inner, node.name) if part)

    def apply(u: torch.Tensor) -> torch.Tensor:
        made = _Run(u, given, constants)
        return made.of(node)

    return Function(f"{node.name}({', '.join(parts)})", words, apply)


@dataclass(frozen=True)
class _Run:
    """One operator, on the numbers of its functions."""

    u: torch.Tensor
    given: dict[Ref, Function]
    constants: dict[Ref, float | None]

    def of(self, node: Node) -> torch.Tensor:
        args = [self._numbers(arg) for arg in node.args]
        kwargs = {key: self._numbers(arg) for key, arg in node.kwargs.items()}
        out = node.operator(*args, **kwargs)
        first: torch.Tensor = out[0] if isinstance(out, tuple | list) else out
        return first

    def _numbers(self, arg: Any) -> Any:
        if isinstance(arg, Ref):
            if arg in self.given:
                return self.given[arg].apply(self.u).clone()
            return torch.tensor(self.constants[arg], dtype=torch.float64)
        return torch.float64 if isinstance(arg, torch.dtype) and arg.is_floating_point else arg


def _said(arg: Any, given: dict[Ref, Function], constants: dict[Ref, float | None]) -> str:
    if isinstance(arg, Ref):
        return given[arg].signature if arg in given else f"{constants[arg]}"
    return str(arg)
