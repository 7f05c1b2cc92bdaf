"""The gradients of some parameters: each once, as plain local tensors that are changed in place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from steadygrad.errors import not_allowed

from .norms import joined, norms, reads_freely, total
from .shards import groups_of, is_sharded, reduced, summed_over_ranks


class Gradients:
    """Gradients in one place, whatever their layout: dense, sparse, complex, sharded, empty, of any dtype and device.

    A parameter that is listed twice counts once; one without a gradient is left out. A sparse gradient is coalesced and
    stands as its values, a complex one as its real and imaginary parts, a DTensor as its local part.

    Attributes:
        parameters: the owners.
        tensors: their gradients' local values, real and strided, aliasing `parameter.grad`.
        dtypes: of `tensors`.
        plain: whether all of them are strided, real and whole to begin with.

    Raises:
        TypeError: `parameters` is neither a tensor nor an iterable of tensors.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> Gradients([weight, weight]).total().item()
    5.0
    """

    def __init__(self, parameters: Tensor | Iterable[Tensor]) -> None:
        self.tensors: list[Tensor] = []
        self._split: dict[tuple[Any, ...], list[int]] = {}
        self._norms: dict[float, Tensor] = {}
        self._totals: dict[float, Tensor] = {}
        owners, gradients = _owned(parameters)
        self.parameters = owners
        # Sets over all of them cost less than a question to each.
        self.dtypes = {g.dtype for g in gradients}
        plain = {type(g) for g in gradients} <= {Tensor} and {g.layout for g in gradients} <= {torch.strided}
        self.plain = plain and not any(d.is_complex for d in self.dtypes)
        if self.plain:
            self.tensors = gradients
            return
        for parameter, gradient in zip(owners, gradients, strict=True):
            self.tensors.append(self._plain(parameter, gradient))
        self.dtypes = {t.dtype for t in self.tensors}

    def __len__(self) -> int:
        return len(self.tensors)

    @property
    def device(self) -> torch.device:
        """Where the norms lie: the device of the first gradient."""
        return self.tensors[0].device if self.tensors else torch.device("cpu")

    def norms(self, p: float = 2.0) -> Tensor:
        """Return ‖g‖_p of every parameter's whole gradient, in double precision; kept until a gradient changes."""
        if p not in self._norms:
            local = norms(self.tensors, p) if self.tensors else torch.zeros(1, dtype=torch.float64)
            self._norms[p] = summed_over_ranks(local, self._split, p) if self._split else local
        return self._norms[p]

    def total(self, p: float = 2.0) -> Tensor:
        """Return the norm of all gradients as one vector, in double precision."""
        if p in self._norms or self._split or not self.tensors or not reads_freely(self.device):
            return total(self.norms(p), p)
        parts = joined(self.tensors)
        if parts is self.tensors:
            return total(self.norms(p), p)
        if p not in self._totals:
            self._totals[p] = total(norms(parts, p), p)
        return self._totals[p]

    def scale_(self, factors: Tensor) -> None:
        """Multiply all gradients by one factor, or each by its own where `factors` is a vector."""
        if not self.tensors:
            return
        # Below the normal range of single precision a factor loses bits, so it is applied as two; where a read costs,
        # always as one, which is exact to 2^-24 for ratios down to 1e-38.
        free = reads_freely(factors.device)
        tiny = free and 0 < float(factors.amin() if factors.ndim else factors) < torch.finfo(torch.float32).tiny
        for part in (factors.sqrt(), factors.sqrt()) if tiny else (factors,):
            self._multiply_(part)
        self.changed()

    def changed(self) -> None:
        """Forget the norms: the gradients are no longer what they were."""
        self._norms.clear()
        self._totals.clear()

    def _multiply_(self, factors: Tensor) -> None:
        # Kernels take a factor in single precision anyway, but convert another kind at a cost.
        factors = factors if torch.float64 in self.dtypes else factors.float()
        with torch.no_grad():
            if factors.ndim:
                each = [f.to(t.device) for f, t in zip(factors.unbind(), self.tensors, strict=True)]
                torch._foreach_mul_(self.tensors, each)
                return
            for device in {t.device for t in self.tensors}:
                there = [t for t in self.tensors if t.device == device]
                torch._foreach_mul_(there, factors.to(device, non_blocking=True))

    def _plain(self, parameter: Tensor, gradient: Any) -> Tensor:
        if is_sharded(gradient):
            return self._local(parameter, gradient)
        if gradient.is_sparse:
            parameter.grad = gradient = gradient if gradient.is_coalesced() else gradient.coalesce()
            return self._plain(parameter, gradient._values())
        if gradient.layout is not torch.strided:
            return self._plain(parameter, gradient.values())
        if gradient.is_complex():
            if gradient.is_conj():
                parameter.grad = gradient = gradient.resolve_conj()
            return torch.view_as_real(gradient)
        plain: Tensor = gradient
        return plain

    def _local(self, parameter: Tensor, gradient: Any) -> Tensor:
        whole = reduced(gradient)
        if whole is not gradient:
            parameter.grad = whole
        groups = groups_of(whole)
        if groups:
            self._split.setdefault(groups, []).append(len(self.tensors))
        with torch.no_grad():
            return self._plain(parameter, whole.to_local())


def _owned(parameters: Tensor | Iterable[Tensor]) -> tuple[list[Tensor], list[Any]]:
    """Return the parameters that have a gradient, each once, and their gradients."""
    try:
        owners = list({id(p): p for p in ([parameters] if isinstance(parameters, Tensor) else parameters)}.values())
        gradients = [p.grad for p in owners]
    except (AttributeError, TypeError) as error:
        rule = "must be a tensor or an iterable of tensors, such as model.parameters()"
        raise TypeError(not_allowed("parameters", rule, type(parameters).__name__)) from error
    if any(g is None for g in gradients):
        owners = [p for p, g in zip(owners, gradients, strict=True) if g is not None]
    return owners, [g for g in gradients if g is not None]


def factor_to(limit: Tensor | float, norm: Tensor) -> Tensor:
    """Return what brings a norm down to a limit: ``min(1, limit / norm)``, and 1 where the norm is not finite.

    Scaling mends no inf or NaN (0 times either is NaN), so such gradients are left as they are.

    >>> factor_to(1.0, torch.tensor([0.0, 1.0, 4.0, math.inf])).tolist()
    [1.0, 1.0, 0.25, 1.0]
    """
    if norm.ndim == 0 and reads_freely(norm.device):  # five operators less
        size, most = norm.item(), float(limit)
        return torch.tensor(most / size if most < size < math.inf else 1.0, dtype=torch.float64)
    return torch.where((norm > limit) & (norm < math.inf), limit / norm, 1.0)
