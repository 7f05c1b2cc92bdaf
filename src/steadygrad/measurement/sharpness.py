"""The sharpness of a loss: the largest eigenvalue of its Hessian, from Hessian-vector products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .budget import Budget
from .foreach_norm import foreach_norm

Vector = list[torch.Tensor]
Product = Callable[[Vector], Vector]

# Lanczos finds the largest eigenvalue of what it was given to a few percent in as many products for the spectra of
# networks, a bulk with some outliers (Ghorbani et al. 2019, section 2.1, takes 90 for the whole density).
_PRODUCTS = 12

# A further product that changes the estimate by less ends the iteration: rates are chosen in factors, not in percent.
_SETTLED = 0.02


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """What Lanczos found.

    Attributes:
        largest: the largest eigenvalue; for a preconditioner, of P^-1/2 H P^-1/2.
        products: Hessian-vector products that it took.
        exact: by double backward; otherwise by differences of gradients.
    """

    largest: float
    products: int
    exact: bool


def sharpness(
    loss: Callable[[], torch.Tensor],
    parameters: Sequence[torch.Tensor],
    *,
    root_scale: Sequence[torch.Tensor] | None = None,
    products: int = _PRODUCTS,
    seconds: float = math.inf,
) -> Sharpness | None:
    """Return the largest eigenvalue of the loss's Hessian; None where a number is not finite.

    Gradient descent with rate η is stable where η λ < 2, with momentum β where η λ < 2(1 + β).

    Args:
        loss: computes the loss at the parameters as they are; twice the same, random numbers included.
        parameters: that the Hessian is taken over; put back where differences of gradients are needed.
        root_scale: P^-1/2 for a diagonal preconditioner P, of the parameters' shapes; None for the identity.
        products: at most as many Hessian-vector products, >= 1.
        seconds: no further product is begun after so much time of its own, see `Budget`: the estimate is then a lower
            bound.

    References: Lanczos 1950; Pearlmutter 1994 (the products); Cohen et al. 2021, section 2 (what it says of a rate).

    >>> w = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> found = sharpness(lambda: 3 * w[0] ** 2 + w[1] ** 2, [w])
    >>> round(found.largest, 4), found.exact
    (6.0, True)
    """
    generator, budget = torch.Generator().manual_seed(0), Budget(seconds)
    start = [torch.randn(p.shape, generator=generator).to(p.device, p.dtype) for p in parameters]
    for product, exact in ((_double_backward, True), (_differences, False)):
        try:
            found = _lanczos(_scaled(product(loss, parameters), root_scale), start, products, budget)
        except (RuntimeError, NotImplementedError):
            # Some operators have no second derivative; what the loss itself raises comes again with the other.
            if not exact:
                raise
            continue
        return None if found is None else Sharpness(largest=found[0], products=found[1], exact=exact)
    return None


def _double_backward(loss: Callable[[], torch.Tensor], parameters: Sequence[torch.Tensor]) -> Product:
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(), list(parameters), create_graph=True, allow_unused=True)
    used = [i for i, g in enumerate(gradients) if g is not None]
    twice = [g for g in gradients if g is not None]
    if not all(g.requires_grad for g in twice):
        # The loss is linear in a parameter, or an operator on the way was made to be differentiated once.
        raise NotImplementedError("a gradient has no graph")

    def product(vector: Vector) -> Vector:
        given = [vector[i] for i in used]
        return list(torch.autograd.grad(twice, list(parameters), given, retain_graph=True, materialize_grads=True))

    return product


def _differences(loss: Callable[[], torch.Tensor], parameters: Sequence[torch.Tensor]) -> Product:
    """Central differences; the step balances rounding and the third derivative, u^(1/3) of the weights' size."""
    size = max(float(foreach_norm(parameters)), 1e-3)
    step = size * torch.finfo(parameters[0].dtype).eps ** (1 / 3)

    def gradient_at(vector: Vector, by: float) -> Vector:
        kept = [p.detach().clone() for p in parameters]
        try:
            with torch.no_grad():
                for p, v in zip(parameters, vector, strict=True):
                    p.add_(v, alpha=by)
            with torch.enable_grad():
                return list(torch.autograd.grad(loss(), list(parameters), materialize_grads=True))
        finally:
            with torch.no_grad():
                for p, value in zip(parameters, kept, strict=True):
                    p.copy_(value)

    def product(vector: Vector) -> Vector:
        by = step / max(float(foreach_norm(vector)), 1e-30)
        ahead, behind = gradient_at(vector, by), gradient_at(vector, -by)
        return [(a - b) / (2 * by) for a, b in zip(ahead, behind, strict=True)]

    return product


def _scaled(product: Product, root_scale: Sequence[torch.Tensor] | None) -> Product:
    if root_scale is None:
        return product
    scale = list(root_scale)

    def scaled(vector: Vector) -> Vector:
        inner = product([s * v for s, v in zip(scale, vector, strict=True)])
        return [s * h for s, h in zip(scale, inner, strict=True)]

    return scaled


@torch.no_grad()
def _lanczos(product: Product, start: Vector, most: int, budget: Budget) -> tuple[float, int] | None:
    """The largest Ritz value, with every vector made orthogonal to all before, and the products it took."""
    basis, estimate = [_unit(start)], math.nan
    diagonal: list[float] = []
    beside: list[float] = []
    for count in range(1, most + 1):
        image = product(basis[-1])
        diagonal.append(_dot(image, basis[-1]))
        for vector in (*basis, *basis):  # twice is enough (Parlett 1998, section 6.9)
            image = list(torch._foreach_sub(image, torch._foreach_mul(vector, _dot(image, vector))))
        length = float(foreach_norm(image))
        if not (math.isfinite(diagonal[-1]) and math.isfinite(length)):
            return None
        before, estimate = estimate, float(np.linalg.eigvalsh(_tridiagonal(diagonal, beside))[-1])
        if (
            budget.is_over
            or length <= 1e-6 * max(abs(estimate), 1e-30)
            or (count > 3 and abs(estimate - before) <= _SETTLED * abs(estimate))
        ):
            return estimate, count
        beside.append(length)
        basis.append(list(torch._foreach_div(image, length)))
    return estimate, most


def _tridiagonal(diagonal: list[float], beside: list[float]) -> NDArray[np.float64]:
    near = beside[: len(diagonal) - 1]
    return np.diag(diagonal) + np.diag(near, 1) + np.diag(near, -1)


def _unit(vector: Vector) -> Vector:
    return list(torch._foreach_div(vector, float(foreach_norm(vector))))


def _dot(a: Vector, b: Vector) -> float:
    return float(sum(torch.sum(x.double() * y.double()) for x, y in zip(a, b, strict=True)))
