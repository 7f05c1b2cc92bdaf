"""Layer-sequential unit variance: one pass over data that rescales each layer as it goes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from steadygrad.errors import SteadygradError
from steadygrad.measurement.untouched import untouched


@torch.no_grad()
def scale_by_data_(model: nn.Module, inputs: Any, deviations: Mapping[str, float]) -> None:
    """Rescale layers so that each one's output has a given deviation on a batch, in the order in which they run.

    One forward pass: where a layer ends, its weight is scaled by what its output lacks, and so is the output; a bias
    that is not zero stays, and does not count. A layer that runs twice is scaled by its first run. Query, key and value
    of attention are scaled each by itself.

    Args:
        model: with memory, on one process.
        inputs: a tensor, or a sequence or mapping of them, unpacked into the call.
        deviations: by the path of each layer to scale, which has a `weight`, or is attention.

    Raises:
        SteadygradError: a layer's output has no spread, or is not finite; every weight is then as it was.

    Reference: Mishkin and Matas 2016, algorithm 1.

    >>> layer = nn.Linear(4, 3, bias=False)
    >>> x = torch.randn(64, 4)
    >>> scale_by_data_(layer, x, {"": 1.0})
    >>> round(layer(x).std(correction=0).item(), 4)
    1.0
    """
    modules = {path: model.get_submodule(path) for path in deviations}
    before = {id(p): p.detach().clone() for m in modules.values() for p in m.parameters()}
    try:
        with untouched(model), _scaling(modules, deviations):
            _call(model, inputs)
    except Exception:
        for module in modules.values():
            for p in module.parameters():
                p.copy_(before[id(p)])
        raise


def _call(model: nn.Module, inputs: Any) -> None:
    match inputs:
        case torch.Tensor():
            model(inputs)
        case Mapping():
            model(**inputs)
        case _:
            model(*inputs)


@contextmanager
def _scaling(modules: Mapping[str, nn.Module], deviations: Mapping[str, float]) -> Iterator[None]:
    done: set[int] = set()
    handles = []
    try:
        for path, module in modules.items():
            if isinstance(module, nn.MultiheadAttention):
                handles.append(module.register_forward_pre_hook(_before_attention(path, done), with_kwargs=True))
            handles.append(module.register_forward_hook(_after(path, deviations[path], done)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _after(path: str, deviation: float, done: set[int]) -> Any:
    def hook(module: nn.Module, args: Any, out: Any) -> Any:
        y = out[0] if isinstance(out, tuple) else out
        owner: Any = module.out_proj if isinstance(module, nn.MultiheadAttention) else module
        weight, bias = owner.weight, getattr(owner, "bias", None)
        if id(weight) in done:
            return None
        done.add(id(weight))
        shift = None if bias is None or not bool(bias.any()) else _along(bias, owner)
        y = y if shift is None else y.sub_(shift)
        scale = deviation / _deviation(y, path)
        weight.mul_(scale)
        y = y.mul_(scale) if shift is None else y.mul_(scale).add_(shift)
        return (y, *out[1:]) if isinstance(out, tuple) else y

    return hook


def _along(bias: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    """A bias as it is added: to the channels of a convolution, to the last axis of anything else."""
    taps = len(getattr(layer, "kernel_size", ()))
    return bias.view(-1, *[1] * taps) if taps else bias


def _before_attention(path: str, done: set[int]) -> Any:
    def hook(module: nn.MultiheadAttention, args: Any, kwargs: Any) -> None:
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        first: torch.Tensor | None = module.in_proj_weight if module._qkv_same_embed_dim else module.q_proj_weight
        if first is None or id(first) in done:
            return
        done.add(id(first))
        parts = module.in_proj_weight.chunk(3) if module._qkv_same_embed_dim else _separate(module)
        for weight, name in zip(parts, ("query", "key", "value"), strict=True):
            weight.div_(_deviation(given[name] @ weight.T, f"{path} ({name})"))

    return hook


def _separate(module: nn.MultiheadAttention) -> tuple[torch.Tensor, ...]:
    return module.q_proj_weight, module.k_proj_weight, module.v_proj_weight


def _deviation(y: torch.Tensor, path: str) -> float:
    """sqrt(E[y²] - E[y]²) over all entries: two quick sums, since a layer without bias has a mean that is small."""
    flat = y.detach().reshape(-1)
    n = flat.numel()
    mean, square = float(flat.sum()) / n, float(torch.dot(flat, flat)) / n
    variance = square - mean**2
    if variance < 1e-3 * square:
        variance = float(flat.double().var(correction=0))  # the two nearly cancel
    if not 0 < variance < math.inf:
        raise SteadygradError(f"the output of {path!r} must have a spread that is finite and > 0, got {variance:g}.")
    return math.sqrt(variance)
