"""Whether the model is an affine map from its input to its last layer: tried on numbers, not read from classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched

from .collector import Collector, Unavailable
from .linear_fit import unexplained
from .measured import Measured, is_matrix
from .part_of_batch import examples
from .sampled import Sampled
from .unregistered import leaves

_SAMPLE = 32
_SCALES = (1.0, 1e3)


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """f(x + y) - f(x) - f(y) + f(0), which is zero for an affine map and no other.

    Attributes:
        layers: paths of the layers that sum, in the order of execution, embeddings left out.
        widths: features of the signal: what enters the first of them, what each gives.
        deviation: norm of that sum over the norm of f(x) - f(0); NaN where rounding hides the latter.
        rounding: what rounding alone may make of it.
        count: numbers that the deviation rests on.
        waits: it bends once gains, slopes, biases and what is all zero are other numbers, as where a branch begins at
            nothing or next to it.
        unexplained: share of the targets' variance that the best map of that kind leaves; NaN where the model is not
            affine, or too few examples tell.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    deviation: float
    rounding: float
    count: int
    waits: bool = False
    unexplained: float = math.nan

    passes: ClassVar[float] = 1.0
    what: ClassVar[str] = "whether the model is linear"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run the model in evaluation mode on x, y, x + y and 0."""
        model, rows = collector.setup.model, collector.get(Measured).weighted
        summing = [(row, call) for row, call in rows if not isinstance(call.module, nn.Embedding | nn.EmbeddingBag)]
        layers = tuple(dict.fromkeys(row.path for row, _ in summing))
        inputs = examples(collector.get(Sampled).first.inputs, _SAMPLE)
        if not isinstance(inputs, Tensor):
            raise Unavailable("The inputs are no single tensor, so whether the model is linear in them was not tried.")
        nothing = cls(layers=layers, widths=(), deviation=math.nan, rounding=0.0, count=0)
        try:
            if len(layers) < 2 or not _is_stacked(model, inputs, [call.module for _, call in summing]):
                return nothing
            ends = rows[-1][1].module, rows[0][1].module
            deviation, rounding, count = _tried(model, *ends, inputs)
            with _filled(_hiding(model)):
                elsewhere, slack, _ = _tried(model, *ends, inputs)
        except Exception as error:
            raise Unavailable(f"Whether the model is linear was not tried: {type(error).__name__}: {error}") from error
        widths = tuple(_widths(call.module) for _, call in summing)
        found = cls(
            layers=layers,
            widths=(widths[0][0], *(width for _, width in widths)),
            deviation=deviation,
            rounding=rounding,
            count=count,
            waits=not elsewhere <= slack,
        )
        return replace(found, unexplained=unexplained(collector.get(Sampled).batches)) if found.is_affine else found

    @property
    def is_affine(self) -> bool:
        """Whether nothing but rounding keeps the map from being affine."""
        return self.deviation <= self.rounding


def _tried(model: nn.Module, head: nn.Module, first: nn.Module, inputs: Tensor) -> tuple[float, float, int]:
    """A piecewise linear map looks affine where its pieces are large: the scale counts at which it bends most."""
    with untouched(model), torch.enable_grad():  # a model may take derivatives of its own
        f, x = _map(model.eval(), head, first, inputs)
        tried = [_deviation(f, x, scale) for scale in _SCALES]
    return max(tried, key=lambda at: at[0] - at[1] if math.isfinite(at[0]) else math.inf)


def _hiding(model: nn.Module) -> list[Tensor]:
    """Gains, slopes and biases, and what is all zero: some of their values make a map affine that will not stay so."""
    return [p.detach() for p in model.parameters() if not is_matrix(p) or not bool(p.detach().any())]


@contextmanager
def _filled(tensors: list[Tensor]) -> Iterator[None]:
    """Numbers of unit size in their place, as training may put there, while the block runs."""
    generator, kept = torch.Generator().manual_seed(0), [x.clone() for x in tensors]
    try:
        for x in tensors:
            x.copy_(torch.randn(x.shape, generator=generator))
        yield
    finally:
        for x, was in zip(tensors, kept, strict=True):
            x.copy_(was)


def _is_stacked(model: nn.Module, inputs: Any, layers: list[nn.Module]) -> bool:
    """Whether any of the layers is fed by another one: parallel ones are no product."""
    weights = {id(p): id(m) for m in layers for p in m.parameters(recurse=False)}
    fed: list[bool] = []

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        makers = {weights.get(id(leaf)) for x in args if isinstance(x, Tensor) for leaf in leaves(x)}
        fed.append(bool(makers - {None, id(module)}))

    handles = [m.register_forward_pre_hook(before) for m in layers]
    try:
        with untouched(model), torch.enable_grad():
            outputs_of(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return any(fed)


def _widths(module: nn.Module) -> tuple[int, int]:
    weight = getattr(module, "weight", None)
    names = (("in_features", "out_features"), ("in_channels", "out_channels"))
    for into, out in names:
        if hasattr(module, into):
            return int(getattr(module, into)), int(getattr(module, out))
    shape = weight.shape if isinstance(weight, Tensor) else (0, 0)
    return int(shape[-1]), int(shape[0])


def _map(
    model: nn.Module, head: nn.Module, first: nn.Module, inputs: Tensor
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The map to the head's output: from the inputs, or from an embedding's output where inputs are numbers of rows."""

    def run(x: Tensor, given: Tensor | None) -> Tensor:
        caught: list[Tensor] = []
        handles = [head.register_forward_hook(lambda _, __, y: caught.append(y.detach()))]
        if given is not None:
            handles.append(first.register_forward_hook(lambda _, __, ___: given))
        try:
            model(x)
        finally:
            for handle in handles:
                handle.remove()
        return caught[-1]

    if inputs.is_floating_point():
        return lambda x: run(x, None), inputs
    seen: list[Any] = []
    handle = first.register_forward_hook(lambda _, __, y: seen.append(y.detach()))
    try:
        model(inputs)
    finally:
        handle.remove()
    return lambda e: run(inputs, e), seen[0]


def _deviation(f: Callable[[Tensor], Tensor], x: Tensor, times: float) -> tuple[float, float, int]:
    """Of the map at a scale that is some times that of `x`."""
    generator = torch.Generator().manual_seed(0)
    scale = times * (float(x.detach().cpu().double().square().mean().sqrt()) or 1.0)
    y = (scale * torch.randn(x.shape, generator=generator)).to(device=x.device, dtype=x.dtype)
    z = (scale * torch.randn(x.shape, generator=generator)).to(device=x.device, dtype=x.dtype)
    of_sum, of_y, of_z, of_0 = (f(v) for v in (y + z, y, z, torch.zeros_like(y)))
    unit = torch.finfo(of_sum.dtype).eps / 2
    parts = [v.cpu().double() for v in (of_sum, of_y, of_z, of_0)]
    signal = float((parts[1] - parts[3]).norm())
    # Each of the four sums some hundred terms a layer; a thousand roundings of what they hold is ample.
    rounding = 1e3 * unit * max(float(v.norm()) for v in parts)
    if not signal > 100 * rounding:
        return math.nan, 0.0, 0
    return float((parts[0] - parts[1] - parts[2] + parts[3]).norm()) / signal, rounding / signal, of_y.numel()
