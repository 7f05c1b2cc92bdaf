"""From a name, an `Activation` or a callable to an `Activation`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from steadygrad.errors import not_allowed, unknown_name

from .activation import Activation
from .callables import from_callable
from .piecewise import PIECEWISE
from .smooth import SMOOTH

_MAKERS: dict[str, Callable[..., Activation]] = SMOOTH | PIECEWISE
_ALIASES = {"swish": "silu", "linear": "identity", "leakyrelu": "leaky_relu", "hard_tanh": "hardtanh"}

NAMES: tuple[str, ...] = tuple(sorted(_MAKERS))


def activation(spec: str | Activation | Callable[..., Any], **parameters: Any) -> Activation:
    """Return the activation that a name, an `Activation` or a vectorised callable stands for.

    Args:
        spec: a name in `NAMES`, an `Activation` (returned as it is), or a function of a float64 array.
        **parameters: the activation's own, named as torch.nn names them; for a callable `derivative` (else
            differentiated numerically), `kinks` (else searched within |u| <= 64) and `name`.

    Returns:
        The same object for the same arguments, so that what is computed of it is computed once.

    Raises:
        ValueError: for an unknown name, an unknown or non-finite parameter, or a callable that is not pointwise.

    >>> activation("leaky_relu", negative_slope=0.2).parameters
    (('negative_slope', 0.2),)
    >>> activation("rellu")
    Traceback (most recent call last):
    ValueError: `activation` must be one of ... got 'rellu'. Did you mean 'relu'?
    """
    if isinstance(spec, Activation) and not parameters:
        return spec
    if isinstance(spec, str):
        return _named(spec, tuple(sorted(parameters.items())))
    if callable(spec) and not isinstance(spec, Activation):
        return from_callable(spec, **parameters)
    raise ValueError(not_allowed("activation", "is a name, an Activation without parameters, or a callable", spec))


@lru_cache(maxsize=1024)
def _named(name: str, parameters: tuple[tuple[str, Any], ...]) -> Activation:
    known = _ALIASES.get(name, name)
    if known not in _MAKERS:
        raise ValueError(unknown_name("activation", name, NAMES))
    make = _MAKERS[known]
    allowed = tuple(inspect.signature(make).parameters)
    for key, value in parameters:
        if key not in allowed:
            raise ValueError(unknown_name("parameter", key, allowed or ("none",)))
        _check_parameter(key, value)
    return make(**{k: v if isinstance(v, str) else float(v) for k, v in parameters})


def _check_parameter(key: str, value: Any) -> None:
    if key == "approximate":
        if value not in ("none", "tanh"):
            raise ValueError(unknown_name(key, str(value), ("none", "tanh")))
    elif not (isinstance(value, int | float) and math.isfinite(value)):
        raise ValueError(not_allowed(key, "must be a finite number", value))
    elif key in ("alpha", "beta") and value <= 0:
        raise ValueError(not_allowed(key, "is a rate and must be > 0", value))
    elif key == "lambd" and value < 0:
        raise ValueError(not_allowed(key, "is a distance from 0 and must be >= 0", value))
