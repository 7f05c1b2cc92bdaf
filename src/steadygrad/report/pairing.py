"""A predicted and a measured profile side by side, a row a layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from steadygrad.profile import LayerSignal, Profile

_NOTHING = LayerSignal(path="", kind="")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One layer, predicted and measured; what was not done is a row of NaN.

    Attributes:
        position: 1 for the first layer, in the order of execution.
        path: the module's path.
        kind: the module's class.
        predicted: the prediction's row.
        measured: the measurement's row.
    """

    position: int
    path: str
    kind: str
    predicted: LayerSignal
    measured: LayerSignal

    @property
    def grad_is_outside(self) -> bool:
        """Whether the measured gradient lies outside of its predicted band."""
        return _outside(self.measured.grad_q, self.predicted.grad_q_low, self.predicted.grad_q_high)

    @property
    def q_is_outside(self) -> bool:
        """Whether the measured second moment lies outside of its predicted band."""
        return _outside(self.measured.q, self.predicted.q_low, self.predicted.q_high)


def _outside(value: float, low: float, high: float) -> bool:
    return value < low or value > high  # NaN is neither


def _by_key(profile: Profile | None) -> dict[tuple[str, int], LayerSignal]:
    """The rows under their path and how often that path came before: a module may run more than once."""
    seen: Counter[str] = Counter()
    rows = {}
    for layer in profile or ():
        rows[layer.path, seen[layer.path]] = layer
        seen[layer.path] += 1
    return rows


def _weighted(layers: Iterable[LayerSignal]) -> set[str]:
    return {layer.path for layer in layers if layer.fan_in is not None}


def paired(predicted: Profile | None, measured: Profile | None, *, every_module: bool = False) -> tuple[Pair, ...]:
    """Return the layers of both profiles in the order of execution.

    Args:
        predicted: the prediction, if there is one.
        measured: the measurement, if there is one.
        every_module: also modules without a weight, such as activations, whose output is on another scale than that
            of the layers around them; where no module has a weight they are always there.

    >>> row = LayerSignal(path="fc", kind="Linear", fan_in=2, q=1.0)
    >>> pair, = paired(Profile(layers=(row,), source="predicted"), None)
    >>> pair.position, pair.path, pair.predicted.q, pair.measured.q
    (1, 'fc', 1.0, nan)
    """
    theirs, ours = _by_key(predicted), _by_key(measured)
    weighted = _weighted([*theirs.values(), *ours.values()])
    # The measurement saw what really ran; a prediction that stopped early is only its beginning.
    keys = [*(ours or theirs), *(key for key in theirs if ours and key not in ours)]
    kept = [key for key in keys if every_module or not weighted or key[0] in weighted]
    return tuple(
        Pair(
            position=position,
            path=key[0],
            kind=(ours.get(key) or theirs[key]).kind,
            predicted=theirs.get(key, _NOTHING),
            measured=ours.get(key, _NOTHING),
        )
        for position, key in enumerate(kept, start=1)
    )
