"""ReLU exchanged for a leaky one, and the weights behind it scaled so that the signal stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx, nn

from steadygrad.errors import SetupError, not_allowed, unknown_name
from steadygrad.theory import activation, gain

from .traced import named, traced
from .units import units_of

_SLOPES = {"leaky_relu": 0.01, "prelu": 0.25}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A ReLU that was exchanged.

    Attributes:
        path: of the activation.
        scaled: paths of the layers whose weights were multiplied.
        factor: by what.
        reason: why none was; empty where some were.
    """

    path: str
    scaled: tuple[str, ...]
    factor: float
    reason: str = ""


@torch.no_grad()
def convert_(
    model: nn.Module, *, to: Literal["leaky_relu", "prelu"] = "leaky_relu", slope: float | None = None
) -> tuple[Conversion, ...]:
    """Exchange every ReLU module for one that lets a dead unit recover, and correct the gain behind it.

    E[φ²] grows from q/2 to q (1 + a²)/2, so the weights that read the activation are multiplied by
    ``gain(to) / gain(relu) = (1 + a²)^-1/2``, which keeps the second moment of the next layer at initialization. What
    normalizes or adds its inputs is not scaled and is reported. PReLU brings parameters: make the optimizer afterwards.

    Args:
        model: whose forward pass can be traced.
        to: the activation.
        slope: a, of the negative side, in [0, 1); 0.01 for a leaky ReLU and 0.25, PReLU's start, without one.

    Returns:
        One entry for each activation, in the order of execution.

    Raises:
        ValueError: `to` is not known, or the slope is out of its range.
        SetupError: the model cannot be traced, or calls ReLU as a function, which cannot be exchanged from outside: the
            error names each call with its line.

    Reference: He, Zhang, Ren, Sun 2015, Delving deep into rectifiers, equation 15.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> convert_(model, slope=0.5)
    (Conversion(path='1', scaled=('2',), factor=0.8944271909999159, reason=''),)
    >>> model[1]
    LeakyReLU(negative_slope=0.5)
    """
    if to not in _SLOPES:
        raise ValueError(unknown_name("to", to, _SLOPES))
    slope = _SLOPES[to] if slope is None else slope
    if not 0 <= slope < 1:
        raise ValueError(not_allowed("slope", "must be >= 0 and below 1", slope))
    graph = traced(model)
    _refuse_functions(graph)
    factor = gain(activation("leaky_relu", negative_slope=slope)).gain / gain("relu").gain
    done = _scaled_(graph, factor)
    for name, module in list(model.named_modules()):
        if type(module) is nn.ReLU:
            _exchange_(model, name, _made(to, slope, inplace=module.inplace, like=next(model.parameters(), None)))
    return done


def _scaled_(graph: fx.GraphModule, factor: float) -> tuple[Conversion, ...]:
    modules = dict(graph.named_modules())
    relus = [n for n in graph.graph.nodes if n.op == "call_module" and type(modules[n.target]) is nn.ReLU]
    units = {u.activation.name: u for u in units_of(graph) if u.activation is not None}
    done, touched = [], set[int]()
    for node in relus:
        source = units.get(node.name)
        reason = "no layer was found before it" if source is None else source.blocked or source.altered
        readers = () if source is None or reason else source.readers
        for reader in readers:
            if id(reader.layer.weight) not in touched:
                reader.layer.weight.mul_(factor)
                touched.add(id(reader.layer.weight))
        paths = tuple(reader.path for reader in readers)
        done.append(Conversion(path=str(node.target), scaled=paths, factor=factor if paths else 1.0, reason=reason))
    return tuple(done)


def _refuse_functions(graph: fx.GraphModule) -> None:
    called = {torch.relu, torch.relu_, nn.functional.relu, nn.functional.relu_}
    calls = [named(n) for n in graph.graph.nodes if n.target in called or _is_method(n)]
    if calls:
        where = ", ".join(calls)
        raise SetupError(f"`model` must use nn.ReLU modules to be converted; it calls ReLU as a function: {where}.")


def _is_method(node: fx.Node) -> bool:
    return node.op == "call_method" and node.target in ("relu", "relu_")


def _made(to: str, slope: float, *, inplace: bool, like: nn.Parameter | None) -> nn.Module:
    match to:
        case "leaky_relu":
            return nn.LeakyReLU(slope, inplace=inplace)
        case "prelu":
            made = nn.PReLU(init=slope)
            return made if like is None else made.to(like)
    raise AssertionError(to)


def _exchange_(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
