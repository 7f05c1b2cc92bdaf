"""Circular padding as what it is: a selection of places. Torch writes it into new memory, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class CircularPads(TorchFunctionMode):
    """Within it `torch.nn.functional.pad(x, pad, "circular")` is a selection of places, equal to the last digit.

    >>> x = torch.arange(6.0).reshape(1, 2, 3)
    >>> with CircularPads():
    ...     F.pad(x, (1, 2), mode="circular")[0, 0].tolist()
    [2.0, 0.0, 1.0, 2.0, 0.0, 1.0]
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Take the place of circular padding; call anything else."""
        given = kwargs or {}
        if func is F.pad and (given.get("mode") == "circular" or "circular" in args[2:3]):
            x = args[0] if args else given["input"]
            widths = args[1] if len(args) > 1 else given["pad"]
            if _is_whole(x, widths):
                return _around(x, widths)
        return func(*args, **given)


def _is_whole(x: torch.Tensor, widths: Sequence[int]) -> bool:
    """Whether torch allows it, and no side is cut: of anything else torch says what it says."""
    sizes = [x.shape[-1 - i // 2] for i in range(len(widths))]
    dims = len(widths) % 2 == 0 and x.dim() == len(widths) // 2 + 2
    return dims and all(0 <= width <= size for width, size in zip(widths, sizes, strict=True))


def _around(x: torch.Tensor, widths: Sequence[int]) -> torch.Tensor:
    """Pad the last dimension first, as torch does: corners come from the opposite corner."""
    for i in range(len(widths) // 2):
        before, after, dim = widths[2 * i], widths[2 * i + 1], x.dim() - 1 - i
        places = torch.arange(-before, x.shape[dim] + after, device=x.device) % x.shape[dim]
        x = x.index_select(dim, places)
    return x
