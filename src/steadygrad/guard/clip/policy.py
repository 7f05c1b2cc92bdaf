"""What a clipping policy is."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from steadygrad.errors import not_allowed

from .gradients import Gradients, factor_to
from .tally import ClipStatistics, Tally


class Policy(ABC):
    """A rule that shortens gradients, with what it has seen.

    Calling a policy with parameters clips their gradients in place and returns the norm that they had, as a tensor on
    their device. Nothing is read by the host until `statistics` is.

    Attributes:
        p: order of the norm that the policy measures.
    """

    p: float = 2.0

    def __init__(self) -> None:
        self._tally = Tally()

    def __call__(self, parameters: Tensor | Iterable[Tensor]) -> Tensor:
        """Clip the gradients of `parameters` in place and return their norm before."""
        return self.clip_(Gradients(parameters))

    @abstractmethod
    def clip_(self, gradients: Gradients, accepted: Tensor | None = None) -> Tensor:
        """Clip in place, return the norm before; statistics count the step where `accepted` is true or absent."""

    @property
    def statistics(self) -> ClipStatistics:
        """What the policy did so far; reading it waits for the device."""
        return self._tally.read()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the policy has seen."""
        return {"tally": self._tally.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, bit for bit."""
        self._tally.load_state_dict(state["tally"])


class Scaling(Policy):
    """A policy that multiplies the whole gradient by one factor, so that the direction stays.

    A fused optimizer takes such a factor into its own kernel, and the pass over the gradients is saved.
    """

    @abstractmethod
    def limit(self) -> Tensor | float:
        """Return the norm allowed now; inf where everything is."""

    def factor(self, norm: Tensor) -> Tensor:
        """Return ``min(1, limit / norm)`` in double precision; 1 where the norm is not finite."""
        limit = self.limit()
        return factor_to(limit.to(norm.device) if isinstance(limit, Tensor) else limit, norm)

    def observe_(self, norm: Tensor, factor: Tensor, accepted: Tensor | None = None) -> None:
        """Take an accepted step into the statistics."""
        self._tally.add(norm, factor, accepted)

    def clip_(self, gradients: Gradients, accepted: Tensor | None = None) -> Tensor:
        """Scale all gradients by the factor."""
        norm = gradients.total(self.p)
        factor = self.factor(norm)
        gradients.scale_(factor)
        self.observe_(norm, factor, accepted)
        return norm


def check_policy(name: str, value: object) -> None:
    """Raise unless a value is a policy.

    >>> check_policy("clip", 1.0)
    Traceback (most recent call last):
    TypeError: `clip` must be a clipping policy such as clip.ByNorm(1.0), got 1.0.
    """
    if not isinstance(value, Policy):
        raise TypeError(not_allowed(name, "must be a clipping policy such as clip.ByNorm(1.0)", value))


def at_least_zero(name: str, value: float) -> float:
    """Return a threshold that is allowed: >= 0 or inf.

    >>> at_least_zero("max_norm", -1.0)
    Traceback (most recent call last):
    ValueError: `max_norm` is a threshold and must be >= 0, got -1.0.
    """
    if not number(name, value) >= 0:
        raise ValueError(not_allowed(name, "is a threshold and must be >= 0", value))
    return float(value)


def number(name: str, value: float) -> float:
    """Return a setting that is one real number, such as an int, a float or a tensor of one entry.

    >>> number("max_norm", "1")
    Traceback (most recent call last):
    TypeError: `max_norm` must be a number, got '1'.
    """
    try:
        if not isinstance(value, str | bool):
            return float(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(not_allowed(name, "must be a number", value))


def whole(name: str, value: int, least: int) -> int:
    """Return a setting that counts something.

    >>> whole("window", 0.5, 1)
    Traceback (most recent call last):
    ValueError: `window` must be an integer >= 1, got 0.5.
    """
    integral = hasattr(value, "__index__") and not isinstance(value, bool | Tensor)
    if not integral or value < least:
        raise ValueError(not_allowed(name, f"must be an integer >= {least}", value))
    return operator.index(value)


def order_of_norm(p: float) -> float:
    """Return an order that is allowed: > 0 or inf.

    >>> order_of_norm(0)
    Traceback (most recent call last):
    ValueError: `p` is the order of a norm and must be > 0, got 0.
    """
    if not number("p", p) > 0:
        raise ValueError(not_allowed("p", "is the order of a norm and must be > 0", p))
    return float(p)


def between(name: str, value: float, low: float, high: float = math.inf) -> float:
    """Return a setting that lies above `low` and at most at `high`.

    >>> between("q", 101, 0, 100)
    Traceback (most recent call last):
    ValueError: `q` must be above 0 and at most 100, got 101.
    """
    if not low < number(name, value) <= high:
        raise ValueError(not_allowed(name, f"must be above {low:g} and at most {high:g}", value))
    return float(value)
