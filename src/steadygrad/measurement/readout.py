"""From scalars on the device to Python floats, in one read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from steadygrad.fans import fans, weight_fans
from steadygrad.profile import LayerSignal, Profile

from .batch_moments import BatchMoments, batch_moments
from .calls import Calls, Composite, Running
from .first_nonfinite import FirstNonfinite
from .observation import Call, Observation
from .unit_health import UnitHealth


@dataclass(frozen=True)
class _Read:
    """The moments of one tensor as floats."""

    mean: float = math.nan
    q: float = math.nan
    q_error: float = math.nan
    signal: float = math.nan


_UNKNOWN = _Read()


def read(
    calls: Calls, batch: torch.Tensor, loss: torch.Tensor | None, gradients: Mapping[str, torch.Tensor]
) -> Observation:
    """Return the observation, with every number read from its device at once.

    Args:
        calls: what was watched.
        batch: the input.
        loss: the loss, where there is one.
        gradients: of the parameters, by name.
    """
    numbers = _Numbers()
    entered = numbers.moments(batch_moments(batch, calls.batch_size))
    slots = [_Slots(numbers, row, _weight_gradients(row, gradients)) for row in calls.rows]
    loss_slot = numbers.scalar(None if loss is None else loss.detach())
    norms = {name: numbers.scalar(_norm(gradient)) for name, gradient in gradients.items()}
    totals = [numbers.scalar(composite.total) for composite in calls.composites]
    values = numbers.read()
    layers = tuple(slot.layer(values) for slot in slots)
    profile = Profile(
        layers=layers,
        source="measured",
        loss=values[loss_slot],
        batch_size=calls.batch_size,
        parameter_grad_norms={name: values[slot] for name, slot in norms.items()},
    )
    return Observation(
        profile=profile,
        calls=tuple(slot.call(values) for slot in slots),
        first_nonfinite=_first_forward(profile, calls.composites, [values[i] for i in totals])
        or _in_loss(profile, loss)
        or _first_backward(profile, calls.rows),
        input_q=_moments(values, entered).q,
        input_signal=_moments(values, entered).signal,
    )


class _Numbers:
    """Scalars that wait to be read; the first is NaN, for what is not there."""

    def __init__(self) -> None:
        self._scalars: list[torch.Tensor] = []

    def scalar(self, value: torch.Tensor | None) -> int:
        if value is None:
            return 0
        self._scalars.append(value)
        return len(self._scalars)

    def moments(self, found: BatchMoments | None) -> tuple[int, ...]:
        return (0, 0, 0, 0) if found is None else tuple(self.scalar(x) for x in found)

    def health(self, found: UnitHealth | None) -> tuple[int, int]:
        return (0, 0) if found is None else (self.scalar(found.dead), self.scalar(found.saturated))

    def read(self) -> list[float]:
        """One copy from each device."""
        values = [math.nan] * (len(self._scalars) + 1)
        for device in {x.device for x in self._scalars}:
            places = [i for i, x in enumerate(self._scalars) if x.device == device]
            read = torch.stack([self._scalars[i].double().reshape(()) for i in places]).tolist()
            for i, value in zip(places, read, strict=True):
                values[i + 1] = value
        return values


def _moments(values: list[float], slots: Iterable[int]) -> _Read:
    return _Read(*(values[i] for i in slots))


class _Slots:
    """Where the numbers of one call will be found."""

    def __init__(self, numbers: _Numbers, row: Running, weight_gradients: list[torch.Tensor]) -> None:
        self.row = row
        self.output = numbers.moments(row.output)
        self.entering = numbers.moments(row.entering)
        self.gradient = numbers.moments(row.gradient)
        self.health = numbers.health(row.health)
        norm = torch.stack([_norm(g) for g in weight_gradients]).norm() if weight_gradients else None
        self.norm = numbers.scalar(norm)

    def call(self, values: list[float]) -> Call:
        entering = _moments(values, self.entering)
        return Call(
            module=self.row.module,
            entries=self.row.entries,
            sources=self.row.sources,
            entering_q=entering.q,
            entering_signal=entering.signal,
            units=self.row.health.units if self.row.health else 0,
        )

    def layer(self, values: list[float]) -> LayerSignal:
        output, gradient = _moments(values, self.output), _moments(values, self.gradient)
        fan_in, fan_out = _fans(self.row.module)
        return LayerSignal(
            path=self.row.path,
            kind=type(self.row.module).__name__,
            shape=self.row.shape,
            fan_in=fan_in,
            fan_out=fan_out,
            mean=output.mean,
            q=output.q,
            q_low=output.q - output.q_error,
            q_high=output.q + output.q_error,
            c=_correlation(output),
            signal=output.signal,
            grad_q=gradient.q,
            grad_q_low=gradient.q - gradient.q_error,
            grad_q_high=gradient.q + gradient.q_error,
            grad_c=_correlation(gradient),
            weight_grad_norm=values[self.norm],
            dead_fraction=values[self.health[0]],
            saturated_fraction=values[self.health[1]],
            mark="measured",
        )


def _correlation(moments: _Read) -> float:
    return 1 - moments.signal / moments.q if moments.q > 0 else math.nan


def _fans(module: nn.Module) -> tuple[int | None, int | None]:
    try:
        return tuple(fans(module))  # type: ignore[return-value]
    except TypeError:
        return None, None


def _norm(gradient: torch.Tensor) -> torch.Tensor:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    values = torch.view_as_real(values) if values.is_complex() else values
    norm: torch.Tensor = torch.linalg.vector_norm(values, dtype=torch.float64)
    return norm


def _weight_gradients(row: Running, gradients: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Gradients of the layer's weights; biases and scales have none of their own here."""
    try:
        names = list(weight_fans(row.module))
    except TypeError:
        names = [name for name, _ in row.module.named_parameters(recurse=False) if name == "weight"]
    paths = [f"{row.path}.{name}" if row.path else name for name in names]
    return [gradients[path] for path in paths if path in gradients]


def _first_forward(profile: Profile, composites: list[Composite], totals: list[float]) -> FirstNonfinite | None:
    """The call that ended first with an output that is not finite; a module with children ends after them."""
    for place, layer in enumerate((*profile, None)):
        for composite, total in zip(composites, totals, strict=True):
            if composite.rows_before == place and not math.isfinite(total):
                return FirstNonfinite(path=composite.path, kind=type(composite.module).__name__, direction="forward")
        if layer is not None and not (math.isfinite(layer.mean) and math.isfinite(layer.q)):
            return FirstNonfinite(path=layer.path, kind=layer.kind, direction="forward")
    return None


def _in_loss(profile: Profile, loss: torch.Tensor | None) -> FirstNonfinite | None:
    if loss is None or math.isfinite(profile.loss):
        return None
    return FirstNonfinite(path="", kind="", direction="loss")


def _first_backward(profile: Profile, rows: list[Running]) -> FirstNonfinite | None:
    for layer, row in reversed(list(zip(profile, rows, strict=True))):
        if row.gradient is not None and not math.isfinite(layer.grad_q):
            return FirstNonfinite(path=layer.path, kind=layer.kind, direction="backward")
    return None
