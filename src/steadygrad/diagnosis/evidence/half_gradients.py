"""What half precision leaves of the gradients."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Self

import torch

from steadygrad.measurement import measure
from steadygrad.setup import mapped
from steadygrad.theory import HalfPrecision, half_precision

from .clean_batches import clean_batches
from .collector import Collector, Unavailable
from .measured import Measured
from .traced import Traced


@dataclass(frozen=True, kw_only=True)
class HalfGradients:
    """The gradients of a model that computes in float16.

    Attributes:
        found: what the format keeps; None where nothing is computed in it.
        weighted: paths of the layers with weights.
    """

    found: HalfPrecision | None
    weighted: tuple[str, ...]

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Measure a copy in single precision where the parameters are halves, so that nothing is lost on the way."""
        traced, measured = collector.get(Traced), collector.get(Measured)
        paths = tuple(layer.path for layer, _ in measured.weighted)
        if not any(o.dtype == torch.float16 for o in traced.model):
            return cls(found=None, weighted=paths)
        profile = measured.observation.profile
        if any(p.dtype == torch.float16 for p in collector.setup.model.parameters()):
            collector.afford("what half precision leaves of gradients", 1.5)
            profile = _in_single(collector)
        return cls(found=half_precision(profile), weighted=paths)


def _in_single(collector: Collector) -> Any:
    (batch,), setup = clean_batches(collector, 1), collector.setup
    try:
        model = copy.deepcopy(setup.model).float()
        targets = mapped(_single, batch.targets) if setup.loss_fn is not None else None
        return measure(model, mapped(_single, batch.inputs), targets, setup.loss_fn)
    except Exception as error:
        raise Unavailable(f"The model could not be run in single precision: {error}".splitlines()[0]) from error


def _single(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype == torch.float16 else x
