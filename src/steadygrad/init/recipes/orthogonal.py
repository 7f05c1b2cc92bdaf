"""Orthogonal matrices, uniform over all of them, scaled so that the entries have the deviation asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steadygrad.fans import Layout
from steadygrad.init.stream import Stream

from .recipe import Recipe, matrices, middle_tap

CODE = """
def orthogonal(blocks, rows, columns, g):
    q = torch.empty(blocks, rows, columns)
    for block in q:
        nn.init.orthogonal_(block, max(1.0, rows / columns) ** 0.5, generator=g)
    return q * columns**0.5         # entries of unit root mean square
"""


def haar(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """Return an orthogonal matrix [rows, columns], uniform over all; its columns or its rows are orthonormal.

    Q = H_1 H_2 ... H_n D, each H_k the reflection that takes a normal vector of the last rows - k + 1 axes to its first
    axis, D the signs: what a QR factorization of a normal matrix ends in, without the factorization.

    Reference: Stewart, "The efficient generation of random orthogonal matrices", 1980, section 3.

    >>> q = haar(5, 3, torch.Generator().manual_seed(0))
    >>> bool((q.T @ q - torch.eye(3)).abs().max() < 1e-6)
    True
    """
    if rows < columns:
        return haar(columns, rows, generator).T
    v = torch.randn(rows, columns, generator=generator).tril_()
    first = v.diagonal().clone()
    norm = torch.linalg.vector_norm(v, dim=0)
    sign = torch.where(first < 0, -1.0, 1.0)
    v /= first + sign * norm
    # H_k = 1 - tau v v^T with v_k = 1.
    q: torch.Tensor = torch.linalg.householder_product(v, 1 + first.abs() / norm)
    return q.mul_(-sign)


def unit_rms(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """Return an orthogonal matrix scaled to entries of unit root mean square.

    >>> round(unit_rms(6, 4, torch.Generator().manual_seed(0)).square().mean().item(), 5)
    1.0
    """
    return haar(rows, columns, generator).mul_(math.sqrt(max(rows, columns)))


@dataclass(frozen=True)
class Orthogonal(Recipe):
    """Each block an orthogonal matrix of outputs x (inputs · taps), its entries of root mean square `std`.

    >>> Orthogonal(0.125).words
    'orthogonal, rms 0.125'
    """

    std: float

    @property
    def rms(self) -> float:
        """Exactly `std`."""
        return self.std

    @property
    def words(self) -> str:
        """In words."""
        return f"orthogonal, rms {self.std:.3g}"

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the parameter."""
        whole, found = torch.empty(shape), matrices(shape, layout)
        for i, block in enumerate(found.view(whole)):
            q = unit_rms(found.outputs, found.inputs * math.prod(found.taps), stream.generator(i))
            block.copy_(q.mul_(self.std).reshape(block.shape))
        return whole

    def code(self, layout: Layout | None) -> str:
        """In plain torch."""
        at = layout or Layout(1, 0, 0)
        columns = at.inputs * math.prod(at.taps)
        flat = f"{self.std:.9g} * orthogonal({at.blocks}, {at.outputs}, {columns}, g)"
        seen = (at.blocks, at.outputs, at.inputs, *at.taps)
        turned = ".transpose(1, 2)" if at.transposed else ""
        return f"p.copy_(({flat}).reshape({seen}){turned}.reshape(p.shape))"


@dataclass(frozen=True)
class DeltaOrthogonal(Recipe):
    """A kernel that is zero but at its middle tap, there an orthogonal matrix; root mean square `std` over all taps.

    Reference: Xiao et al., "Dynamical isometry and a mean field theory of CNNs", 2018, section 2.4.

    >>> DeltaOrthogonal(0.125).words
    'orthogonal at the middle tap, rms 0.125'
    """

    std: float

    @property
    def rms(self) -> float:
        """Over all taps."""
        return self.std

    @property
    def words(self) -> str:
        """In words."""
        return f"orthogonal at the middle tap, rms {self.std:.3g}"

    def values(self, shape: tuple[int, ...], layout: Layout | None, stream: Stream) -> torch.Tensor:
        """Return the parameter."""
        whole, found = torch.zeros(shape), matrices(shape, layout)
        middle = middle_tap(found)
        for i, block in enumerate(found.view(whole)):
            q = unit_rms(found.outputs, found.inputs, stream.generator(i))
            block[middle].copy_(q.mul_(self.std * math.sqrt(math.prod(found.taps))))
        return whole

    def code(self, layout: Layout | None) -> str:
        """In plain torch."""
        at = layout or Layout(1, 0, 0)
        scale = self.std * math.sqrt(math.prod(at.taps))
        turned = ".transpose(1, 2)" if at.transposed else ""
        middle = ", ".join(["...", *(str(k // 2) for k in at.taps)])
        seen = f"p.zero_().view({at.shape}){turned}[{middle}]"
        return f"{seen}.copy_({scale:.9g} * orthogonal({at.blocks}, {at.outputs}, {at.inputs}, g))"
