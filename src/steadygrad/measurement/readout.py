"""From scalars on the device to Python floats, in one read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

import torch
from torch.nn.utils.parametrize import type_before_parametrizations

from steadygrad.profile import LayerSignal, Profile

from .batch_moments import BatchMoments
from .calls import Calls, Composite, Running
from .first_nonfinite import FirstNonfinite
from .norms import norms_of
from .observation import Call, Observation
from .scalars import read_scalars

T_co = TypeVar("T_co", covariant=True)


class Read(Protocol[T_co]):
    """What reads the statistics of a step."""

    def __call__(
        self, calls: Calls, batch: torch.Tensor, loss: torch.Tensor | None, gradients: Mapping[str, torch.Tensor], /
    ) -> T_co:
        """Read each device once, and return what is told of the step.

        Args:
            calls: what was watched.
            batch: the input.
            loss: the loss, where there is one.
            gradients: of the parameters, by name.
        """


def read_profile(
    calls: Calls, _batch: torch.Tensor, loss: torch.Tensor | None, gradients: Mapping[str, torch.Tensor]
) -> Profile:
    """Return the profile alone: see `Read`."""
    moments = calls.moments.read()
    norms = dict(zip(gradients, norms_of(gradients.values()), strict=True))
    loss_value, *health = read_scalars([loss, *(x for row in calls.rows if row.health for x in row.health[:2])])
    left = iter(health)
    return Profile(
        layers=tuple([_layer(row, moments, _joined(_weight_norms(row, norms)), left) for row in calls.rows]),
        source="measured",
        loss=loss_value,
        batch_size=calls.batch_size,
        parameter_grad_norms=norms,
    )


def read(
    calls: Calls, batch: torch.Tensor, loss: torch.Tensor | None, gradients: Mapping[str, torch.Tensor]
) -> Observation:
    """Return the observation: see `Read`."""
    entered = calls.entering(batch)
    profile = read_profile(calls, batch, loss, gradients)
    moments = calls.moments.read()
    totals = read_scalars(composite.total for composite in calls.composites)
    return Observation(
        profile=profile,
        calls=tuple([_call(row, moments, calls.batch_size) for row in calls.rows]),
        first_nonfinite=_first_forward(profile, calls.composites, totals)
        or _in_loss(profile, loss)
        or _first_backward(profile, calls.rows),
        input_q=moments[entered].q,
        input_signal=moments[entered].signal,
    )


_UNKNOWN = BatchMoments()


def _at(moments: list[BatchMoments], place: int | None) -> BatchMoments:
    return _UNKNOWN if place is None else moments[place]


def _call(row: Running, moments: list[BatchMoments], batch_size: int) -> Call:
    entering = _at(moments, row.entering)
    return Call(
        module=row.module,
        entries=math.prod(row.shape) // batch_size,
        sources=() if row.source is None else (row.source,),
        entering_q=entering.q,
        entering_signal=entering.signal,
        units=row.shape[1] if row.rectified else row.health.units if row.health else 0,
    )


def _layer(row: Running, moments: list[BatchMoments], weight_norm: float, health: Iterator[float]) -> LayerSignal:
    output, gradient = moments[row.output], _at(moments, row.gradient)
    fan_in, fan_out = next(iter(row.fans.values())) if row.fans else (None, None)
    dead, saturated = (next(health), next(health)) if row.health else (math.nan, math.nan)
    if row.rectified and output.balanced is not None:
        dead, saturated = output.balanced / row.shape[1], 0.0
    return LayerSignal.whole(
        {
            "path": row.path,
            "kind": type_before_parametrizations(row.module).__name__,
            "shape": tuple(row.shape),
            "fan_in": fan_in,
            "fan_out": fan_out,
            "mean": output.mean,
            "q": output.q,
            "q_low": output.q - output.q_error,
            "q_high": output.q + output.q_error,
            "c": _correlation(output),
            "signal": output.signal,
            "grad_q": gradient.q,
            "grad_q_low": gradient.q - gradient.q_error,
            "grad_q_high": gradient.q + gradient.q_error,
            "grad_c": _correlation(gradient),
            "weight_grad_norm": weight_norm,
            "dead_fraction": dead,
            "saturated_fraction": saturated,
            "mark": "measured",
        }
    )


def _correlation(moments: BatchMoments) -> float:
    return 1 - moments.signal / moments.q if moments.q > 0 else math.nan


def _joined(norms: list[float]) -> float:
    """The norm of several vectors as one."""
    return math.sqrt(sum(norm * norm for norm in norms)) if norms else math.nan


def _weight_norms(row: Running, norms: Mapping[str, float]) -> list[float]:
    """Those of the gradients of the layer's weights; biases and scales have none of their own here."""
    names: Iterable[str]
    if row.fans is not None:
        names = row.fans
    else:
        names = [name for name, _ in row.module.named_parameters(recurse=False) if name == "weight"]
    paths = [f"{row.path}.{name}" if row.path else name for name in names]
    return [norms[path] for path in paths if path in norms]


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
