"""Parts along the first axis, each with a number of its own: gate biases, and class priors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steadygrad.fans import Layout
from steadygrad.init.stream import Stream

from .recipe import Recipe


@dataclass(frozen=True)
class Blocks(Recipe):
    """Equal parts of a vector, each filled with its number.

    Attributes:
        numbers: one for each part.
        what: what they are, in words.

    >>> Blocks((0.0, 1.0), "forget gate 1").values((4,), None, Stream.named(0, "b")).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """

    numbers: tuple[float, ...]
    what: str

    @property
    def rms(self) -> float:
        """The root mean square of the numbers."""
        return math.sqrt(sum(x * x for x in self.numbers) / len(self.numbers))

    @property
    def words(self) -> str:
        """In words."""
        return self.what

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the parameter."""
        count = shape[0] // len(self.numbers)
        return torch.tensor(self.numbers).repeat_interleave(count).reshape(shape)

    def code(self, layout: Layout | None) -> str:
        """In plain torch."""
        listed = ", ".join(f"{x:.9g}" for x in self.numbers)
        return f"p.copy_(torch.tensor([{listed}]).repeat_interleave(len(p) // {len(self.numbers)}).reshape(p.shape))"

    def check(self, shape: tuple[int, ...], layout: Layout | None) -> str | None:
        """A vector that can be cut into as many parts."""
        fits = shape and shape[0] % len(self.numbers) == 0 and math.prod(shape) == shape[0]
        return None if fits else f"must be a vector of {len(self.numbers)} equal parts"
