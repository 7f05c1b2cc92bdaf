"""Buffers that a forward pass changes, such as running statistics, undone where its step is refused."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Entries up to which a buffer may hold running statistics: more channels than any normalization layer has.
_SMALL = 2**16


@dataclass(kw_only=True)
class _Place:
    """A registered buffer, found by its module and name because a module may put another tensor there."""

    module: nn.Module
    name: str
    kept: Tensor
    seen: tuple[int, int]

    @property
    def live(self) -> Tensor | None:
        return self.module._buffers.get(self.name)


class Buffers:
    """Copies of a model's buffers as of the last accepted step.

    A batch with a NaN poisons running means in the forward pass already, before any gradient is seen. A large buffer
    whose version counter has not moved is passed over, so constant tables cost their copy once; running statistics are
    small, and batch normalization changes them without moving their counter.

    >>> norm = nn.BatchNorm1d(1)
    >>> buffers = Buffers(norm)
    >>> _ = norm(torch.tensor([[float("nan")], [1.0]]))
    >>> buffers.settle_(accepted=False)
    >>> norm.running_mean
    tensor([0.])
    """

    def __init__(self, model: nn.Module) -> None:
        self._places = [
            _Place(module=module, name=name, kept=buffer.detach().clone(), seen=_mark(buffer))
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def __len__(self) -> int:
        return len(self._places)

    def keep(self) -> None:
        """Take the buffers as they are for the good ones."""
        self.settle_(accepted=True)

    def settle_(self, *, accepted: bool | Tensor) -> None:
        """Keep the buffers where the step was accepted, put them back where not; a tensor is not read."""
        with torch.no_grad():
            for place in self._places:
                live = place.live
                if live is not None and (live.numel() <= _SMALL or _mark(live) != place.seen):
                    _settle_one_(place, live, accepted)

    def kept(self) -> list[Tensor]:
        """Return the copies."""
        return [place.kept for place in self._places]

    def restore_(self, values: list[Tensor]) -> None:
        """Put other copies in their place."""
        with torch.no_grad():
            for place, value in zip(self._places, values, strict=True):
                place.kept = value.clone()
                live = place.live
                if live is not None:
                    _settle_one_(place, live, accepted=False)


def _settle_one_(place: _Place, live: Tensor, accepted: bool | Tensor) -> None:
    if live.shape != place.kept.shape or live.dtype != place.kept.dtype:
        if accepted is False:
            place.module._buffers[place.name] = live = place.kept.clone()
        else:  # a buffer that changes its shape has no entry-wise choice: it counts from here
            place.kept = live.detach().clone()
    elif accepted is False:
        live.copy_(place.kept)
    else:
        if isinstance(accepted, Tensor):
            live.copy_(torch.where(accepted.to(live.device), live, place.kept))
        place.kept.copy_(live)
    place.seen = _mark(live)


def _mark(buffer: Tensor) -> tuple[int, int]:
    return id(buffer), buffer._version
