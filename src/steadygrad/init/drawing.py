"""Drawing many parameters at once: blocks of independent entries and whole matrices, by several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from steadygrad.fans import Layout

from .recipes.recipe import Independent, Recipe
from .stream import BLOCK, Stream

_WIDE = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Draw:
    """A parameter, how it is filled, and from which stream."""

    tensor: torch.Tensor
    recipe: Recipe
    layout: Layout | None
    stream: Stream


def draw_(draws: Iterable[Draw]) -> None:
    """Fill every parameter; what a parameter gets depends on its recipe, shape and stream alone.

    Numbers are drawn on the processor, in double precision for parameters of that type, else in single precision and
    rounded, so they are the same on every device; a sharded parameter gets its slice of the whole.
    """
    work = [job for draw in draws for job in _jobs(draw)]
    threads = min(torch.get_num_threads(), len(work))
    if threads < 2:
        for job in work:
            job()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(job) for job in work]:
            done.result()


def fill_blocks_(flat: torch.Tensor, recipe: Independent, stream: Stream) -> None:
    """Fill a contiguous vector on the processor, block by block.

    >>> from .recipes.independent import Normal
    >>> fill_blocks_(torch.empty(3), Normal(0.0), Stream.named(0, "w"))
    """
    for i in range(-(-flat.numel() // BLOCK)):
        _block_(flat[i * BLOCK : (i + 1) * BLOCK], recipe, stream, i)


def _block_(piece: torch.Tensor, recipe: Independent, stream: Stream, index: int) -> None:
    generator = stream.generator(index)
    wide = piece if piece.dtype in _WIDE else torch.empty(piece.shape)
    recipe.fill_(wide, generator)
    if wide is not piece:
        piece.copy_(wide)


def _jobs(draw: Draw) -> list[Callable[[], None]]:
    tensor = draw.tensor.detach()
    here = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"
    if here and isinstance(draw.recipe, Independent) and tensor.is_contiguous():
        return [_block_job(piece, draw, i) for i, piece in enumerate(tensor.view(-1).split(BLOCK))]
    return [lambda: _whole_(tensor, draw)]


def _block_job(piece: torch.Tensor, draw: Draw, index: int) -> Callable[[], None]:
    assert isinstance(draw.recipe, Independent)
    recipe = draw.recipe
    return lambda: _block_(piece, recipe, draw.stream, index)


def _whole_(tensor: torch.Tensor, draw: Draw) -> None:
    """Draw all of a parameter, then keep what belongs here."""
    if isinstance(draw.recipe, Independent):
        whole = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        fill_blocks_(whole.view(-1), draw.recipe, draw.stream)
    else:
        whole = draw.recipe.values(tuple(tensor.shape), draw.layout, draw.stream)
    _place_(tensor, whole)


def _place_(tensor: Any, whole: torch.Tensor) -> None:
    if hasattr(tensor, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        local = whole.to(dtype=tensor.dtype, device=tensor.to_local().device)
        # Every rank drew the same whole, so no rank has to send it.
        part = distribute_tensor(local, tensor.device_mesh, tensor.placements, src_data_rank=None)
        tensor.to_local().copy_(part.to_local())
    else:
        tensor.copy_(whole)
