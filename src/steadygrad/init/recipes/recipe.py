"""What every recipe for a parameter can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from steadygrad.fans import Layout
from steadygrad.init.stream import Stream


class Recipe(ABC):
    """How a parameter is filled; a frozen record.

    `words` and `code` say it to a reader and in plain torch.
    """

    @property
    @abstractmethod
    def rms(self) -> float:
        """The root of the entries' expected second moment, sqrt(E[w²])."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The recipe in a few words, such as "normal, std 0.0442"."""

    @abstractmethod
    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the whole parameter on the processor, in single or double precision, for a shape.

        Args:
            shape: of the parameter.
            layout: where its matrices are; None for what is no weight.
            stream: where the numbers come from.
        """

    @abstractmethod
    def code(self, layout: Layout | None) -> str:
        """Return an expression in plain torch that fills the parameter `p` in place from the generator `g`."""

    def check(self, shape: tuple[int, ...], layout: Layout | None) -> str | None:
        """Return what keeps the recipe from a parameter of this shape, in words; None where nothing does."""
        return None


class Independent(Recipe):
    """Entries that are independent and alike: any piece of the parameter can be drawn by itself."""

    @abstractmethod
    def fill_(self, chunk: torch.Tensor, generator: torch.Generator) -> None:
        """Fill a contiguous piece, in single or double precision on the processor, with the next numbers."""

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the whole parameter."""
        from steadygrad.init.drawing import fill_blocks_

        whole = torch.empty(shape)
        fill_blocks_(whole.view(-1), self, stream)
        return whole


def matrices(shape: tuple[int, ...], layout: Layout | None) -> Layout:
    """Return the layout, where there is one; a parameter without one is one row for each unit.

    >>> matrices((5,), None)
    Layout(blocks=1, outputs=5, inputs=1, taps=(), transposed=False)
    """
    return layout or Layout(1, shape[0] if shape else 1, max(torch.Size(shape[1:]).numel(), 1))


def middle_tap(layout: Layout) -> Any:
    """Return the index of a kernel's middle tap, in a view of its matrices.

    >>> middle_tap(Layout(1, 2, 2, (3, 5)))
    (Ellipsis, 1, 2)
    """
    return (..., *(k // 2 for k in layout.taps))
