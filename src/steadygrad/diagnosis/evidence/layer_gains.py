"""The gain that each layer has, and the one that the activation after it asks for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from steadygrad.fans import weight_fans
from steadygrad.measurement.slopes import Pointwise
from steadygrad.theory import gain

from .collector import Collector
from .flow import Flow, Stage

# Pre-activation variances that a gain is asked for: from a faint signal, where the slope at 0 counts, to unit size.
_VARIANCES = (1e-3, 1e-2, 0.1, 0.3, 1.0)


@dataclass(frozen=True, kw_only=True)
class LayerGain:
    """A layer's gain sigma_w = sqrt(fan_in E[w²]), and what it should be.

    Attributes:
        path: the layer's path; of a product in the user's own code the parameter's name.
        module: the layer, or the module whose code takes the product.
        weight: what it multiplies by.
        bias: what it adds, where that is known.
        by_hand: whether the user's own code takes the product.
        fan_in: terms of an output.
        has: sigma_w of the weights as they are.
        standard_error: of `has`, from the sample of weights.
        low: least gain that keeps some second moment in (0, 1] fixed under the activation that follows.
        high: largest such gain; for ReLU and its kin the same.
        activation: class of the activation that follows; "" for the head, whose output nothing follows.
        rectifies: whether that is zero, and flat, for all that is below zero.
        depth_log: log of the second moment's unwanted factor from the first layer of its chain to this one.
        chain: paths from the first layer of the chain to this one.
    """

    path: str
    module: nn.Module
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    by_hand: bool = False
    fan_in: int
    has: float
    standard_error: float
    low: float
    high: float
    activation: str
    rectifies: bool = False
    depth_log: float = 0.0
    chain: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """Path of the module."""
        return self.path.rpartition(".")[0] if self.by_hand else self.path

    @property
    def units(self) -> int:
        """Units of a layer, or of each of several that one weight holds."""
        return self.weight.numel() // self.fan_in if self.by_hand else len(self.weight)

    @property
    def should(self) -> float:
        """The nearest gain that is right."""
        return self.low if self.has < self.low else min(self.has, self.high)

    @property
    def log_mismatch(self) -> float:
        """ln(has² / should²), 0 where sampling explains it: within 5 standard errors.

        >>> layer = LayerGain(path="0", module=nn.ReLU(), weight=torch.ones(9), fan_in=9, has=1.0, low=2.0, high=2.0,
        ...     standard_error=0.1, activation="ReLU")
        >>> round(layer.log_mismatch, 3)
        -1.386
        """
        return 0.0 if abs(self.has - self.should) <= 5 * self.standard_error else 2 * math.log(self.has / self.should)


@dataclass(frozen=True, kw_only=True)
class LayerGains:
    """Every layer whose activation is known, in the order of execution.

    Attributes:
        layers: with the product over the depth.
    """

    layers: tuple[LayerGain, ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Follow each layer's output to the activation that takes it."""
        flow = collector.get(Flow)
        found: dict[int, LayerGain] = {}
        for i in range(len(flow.stages)):
            layer = _layer_gain(flow, i, collector)
            if layer is not None:
                found[i] = _joined(layer, _before(flow, i, found))
        return cls(layers=tuple(found.values()))


def _joined(layer: LayerGain, before: LayerGain | None) -> LayerGain:
    logarithm, chain = (before.depth_log, before.chain) if before else (0.0, ())
    return replace(layer, depth_log=logarithm + layer.log_mismatch, chain=(*chain, layer.path))


def _before(flow: Flow, i: int, found: dict[int, LayerGain]) -> LayerGain | None:
    """The layer of known gain that this one's input comes from; a norm or a sum in between starts a new chain."""
    while len(flow.stages[i].sources) == 1:
        i = flow.stages[i].sources[0]
        stage = flow.stages[i]
        if i in found:
            return found[i]
        if stage.is_norm or stage.fan_in is not None or (stage.module is None and stage.function is None):
            return None
    return None


def _layer_gain(flow: Flow, i: int, collector: Collector) -> LayerGain | None:
    stage = flow.stages[i]
    if stage.fan_in is None or (range_ := _asked_for(flow, i, collector)) is None:
        return None
    if (found := _weight(stage, collector.setup.model)) is None:
        return None
    path, module, weight = found
    if (sample := _sample(path, weight, collector)) is None:
        return None
    has, error = (x * math.sqrt(stage.fan_in) for x in sample)
    low, high, activation, rectifies = range_
    bias = getattr(module, "bias", None)
    return LayerGain(
        path=path,
        module=module,
        weight=weight,
        bias=bias if stage.module is not None and isinstance(bias, torch.Tensor) else None,
        by_hand=stage.module is None,
        fan_in=stage.fan_in,
        has=has,
        standard_error=error,
        low=low,
        high=high,
        activation=activation,
        rectifies=rectifies,
    )


def _weight(stage: Stage, model: nn.Module) -> tuple[str, nn.Module, torch.Tensor] | None:
    """Path, module and weight of a layer with one weight, of a known layout or the user's own."""
    module = stage.module
    if module is None:
        if not stage.weight:
            return None
        owner, _, name = stage.weight.rpartition(".")
        module = model.get_submodule(owner)
        return stage.weight, module, getattr(module, name)
    if list(weight_fans(module)) != ["weight"] or isinstance(module, nn.Embedding | nn.Bilinear):
        return None
    return (stage.path, module, module.weight) if isinstance(module.weight, torch.Tensor) else None


def _sample(path: str, weight: torch.Tensor, collector: Collector) -> tuple[float, float] | None:
    """Root mean square of the weights and its standard error; None where they are not one random matrix.

    A mean beyond 5 standard errors adds up over inputs that share a sign, and weights without spread are another
    defect: neither has a gain, and a note says so.
    """
    if weight.numel() < 2:
        return None
    w = weight.detach().double()
    if not bool(torch.isfinite(w).all()):
        collector.note(f"The weights of {path!r} are not all finite, so their gain was not looked at.")
        return None
    if float(w.std()) == 0:
        collector.note(f"The weights of {path!r} are all equal, so they have no gain to look at.")
        return None
    if float(w.mean().abs()) > 5 * float(w.std()) / math.sqrt(w.numel()):
        collector.note(f"The weights of {path!r} have a mean that is not 0, so they have no gain to look at.")
        return None
    squares = w.square()
    rms = math.sqrt(float(squares.mean()))
    return rms, float(squares.std()) / math.sqrt(w.numel()) / (2 * rms)


def _asked_for(flow: Flow, i: int, collector: Collector) -> _Asked | None:
    """The range of right gains before what follows; None where that is not known or a norm."""
    taken_by = flow.takers(i)
    if not taken_by:
        # Small heads are good practice, and a zero one is legal: only a loud one is out of scale.
        return _Asked(0.0, 1.0) if i in flow.outputs else None
    stage = flow.stages[taken_by[0]]
    if len(taken_by) > 1 or stage.is_norm:
        return None
    if stage.fan_in is not None:
        return _Asked(1.0, 1.0, "the next layer")
    if stage.flat is None:
        return None
    found = _gains(stage.module) if stage.module is not None else _operator_gains(stage)
    if found is None:
        collector.note(
            f"{stage.name} cannot be run on numbers in double precision, so the gain before it is not known."
        )
    return found


class _Asked(NamedTuple):
    low: float
    high: float
    activation: str = ""
    rectifies: bool = False


# What an operator's module is called, for those that both exist.
_MODULES = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "gelu": "GELU", "silu": "SiLU", "elu": "ELU"}


def _operator_gains(stage: Stage) -> _Asked | None:
    assert stage.function is not None, "an operator with a share of flat entries is pointwise"
    found = _computed_gains(Pointwise(stage.function))
    return None if found is None else found._replace(activation=_MODULES.get(stage.name, stage.name))


def _gains(module: nn.Module) -> _Asked | None:
    """Range of right gains of a module; torch's own without parameters are told apart by class and options."""
    if not type(module).__module__.startswith("torch.nn.") or next(module.parameters(), None) is not None:
        return _computed_gains(module)
    key = (type(module), module.extra_repr())
    if key not in _COMPUTED:
        _COMPUTED[key] = _computed_gains(module)
    return _COMPUTED[key]


_COMPUTED: dict[tuple[type, str], _Asked | None] = {}


def _computed_gains(module: nn.Module) -> _Asked | None:
    """Range of gain(q) = sqrt(q / E[phi(sqrt(q) z)²]) for q up to 1; it begins at 0 where phi(0) is not 0."""
    phi = _as_function(module)
    try:
        found = [gain(phi, q).gain for q in _VARIANCES]
        start = float(phi(np.zeros(1))[0])
        below = phi(-np.logspace(-3, 3, 13))
    except Exception:
        # The user's own module may not take any number in double precision: then its gain is not known.
        return None
    return _Asked(0.0 if start else min(found), max(found), type(module).__name__, not below.any())


def _as_function(module: nn.Module) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    own: Any = copy.deepcopy(module).double().cpu().requires_grad_(False)
    if isinstance(own, nn.PReLU) and own.num_parameters > 1:
        # One slope a channel: the activation of the mean slope stands for all of them.
        own = nn.LeakyReLU(float(own.weight.mean()))

    def phi(u: NDArray[np.float64]) -> NDArray[np.float64]:
        # A column, one unit in many examples: some modules name an axis of units.
        x = torch.from_numpy(np.array(u, dtype=np.float64).reshape(-1, 1))
        return np.asarray(own(x).detach().numpy(), dtype=np.float64).reshape(np.shape(u))

    return phi
