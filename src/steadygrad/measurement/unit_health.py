"""Which units of an activation are dead or saturated on every example, by the activation's own derivative."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.dropout import _DropoutNd

# A slope is small below e^-3 of the steepest: its square, what a gradient's second moment is multiplied by, is then
# below e^-6, the share that is left after the six depth scales beyond which networks were not seen to train
# (Schoenholz et al. 2017, section 5). Such a unit loses in one layer what a trainable network loses in all.
SMALL_SLOPE = math.exp(-3.0)

# Pre-activations that the steepest slope is looked for at, beside those that came: three deviations of a unit Gaussian.
_USUAL = 3.0


# Usual pre-activations that one of torch's own activations is tried at beside a few examples.
_POINTS = 256

# Of torch's, those that act on each number alone: nothing need be found out about them.
_POINTWISE = frozenset(
    (
        *(
            nn.Tanh,
            nn.Sigmoid,
            nn.GELU,
            nn.SiLU,
            nn.ELU,
            nn.SELU,
            nn.CELU,
            nn.LeakyReLU,
            nn.ReLU,
            nn.ReLU6,
            nn.Softplus,
        ),
        *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Mish, nn.Softsign, nn.LogSigmoid, nn.Hardshrink, nn.Softshrink),
        *(nn.Tanhshrink, nn.Threshold, nn.PReLU),
    )
)

# A slope within this factor of a small one is looked at again among all examples: none of torch's activations is this
# much steeper anywhere than on the usual pre-activations, unless it is flat on all of them.
_MARGIN = 2.0

# Units that are off for half the examples pass for dead on n of them with a chance of 2^-n: with this many beyond
# log2(units), 1 layer in 256 has a unit that makes a second look necessary.
_BEYOND = 8


class UnitHealth(NamedTuple):
    """Shares of units, numbers or scalars on the device, and how many units there are.

    Attributes:
        dead: zero with zero derivative on every example.
        saturated: not dead, and the derivative is at most e^-3 of the steepest on every example.
        units: how many there are.
    """

    dead: torch.Tensor | float
    saturated: torch.Tensor | float
    units: int


def unit_health(module: nn.Module, x: torch.Tensor, channel_axis: int) -> UnitHealth | None:
    """Return how many units are dead and saturated; None where the module is not a pointwise activation.

    The module is called again on the same input and differentiated by autograd, so any pointwise module will do. It is
    pointwise where its Jacobian is diagonal: then a product with irregular signs is the product with ones, times
    those signs. A ReLU's unit is dead where its largest pre-activation is not above zero, and none is ever saturated:
    `Calls` does not ask where the sums over its outputs tell. Of torch's other activations a few examples are looked
    at first, on the CPU: where they leave no unit that might be dead or saturated, the others cannot add one.

    Args:
        module: a module without children, weights or buffers.
        x: its input, [examples, ...].
        channel_axis: the axis of units; all other axes are seen as examples.

    >>> x = torch.tensor([[-1.0, -1.0], [-2.0, 3.0]])
    >>> unit_health(nn.ReLU(), x, -1).dead
    0.5
    >>> unit_health(nn.Softmax(dim=-1), x, -1) is None
    True
    """
    if not _may_be_pointwise(module) or not x.is_floating_point() or x.numel() == 0 or x.dim() < 2:
        return None
    axis = channel_axis % x.dim()
    others = [i for i in range(x.dim()) if i != axis]
    if type(module) is nn.ReLU:
        return UnitHealth(_share(x.detach().amax(others) <= 0), 0.0, x.shape[axis])
    few = _BEYOND + math.ceil(math.log2(x.shape[axis]))
    quick = few < len(x) and x.device.type == "cpu" and type(module).__module__ == nn.ReLU.__module__
    if quick and _all_well(module, x[:few], others):
        return UnitHealth(0.0, 0.0, x.shape[axis])
    return _health(module, x, axis, others)


def _health(module: nn.Module, x: torch.Tensor, axis: int, others: list[int]) -> UnitHealth | None:
    found = slopes(module, x)
    if found is None:
        return None
    y, slope = found
    steepest = torch.maximum(slope.abs().max(), _steepest_usual(module, x))
    if not steepest and type(module) not in _POINTWISE:
        return None  # flat everywhere, as a softmax over one entry: not a unit's doing
    dead = ((y == 0) & (slope == 0)).all(others)
    saturated = (slope.abs() <= SMALL_SLOPE * steepest).all(others) & ~dead & (steepest > 0)
    return UnitHealth(_share(dead), _share(saturated), x.shape[axis])


def _share(units: torch.Tensor) -> torch.Tensor | float:
    count = torch.count_nonzero(units)
    return (count.item() if units.device.type == "cpu" else count.double()) / units.numel()


def _all_well(module: nn.Module, few: torch.Tensor, others: list[int]) -> bool:
    """Whether every unit of a pointwise activation has a slope that is not small on some of a few examples."""
    tried = few[: -(-_POINTS * len(few) // few.numel())]
    found = slopes(module, torch.cat([few.detach(), _usual(tried)]))
    if found is None:
        return False
    steep = found[1].abs()
    here = steep[: len(few)].amax(others) > _MARGIN * SMALL_SLOPE * steep.max()
    return bool(here.all())  # a NaN is not


def _may_be_pointwise(module: nn.Module) -> bool:
    """Dropout is diagonal, yet a zero of it says nothing of a unit; RReLU draws too, but its slopes are its own."""
    return not isinstance(module, _DropoutNd | nn.Identity | nn.Flatten) and next(module.buffers(), None) is None


def slopes(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return output and derivative at each entry; None where the Jacobian is not diagonal, or the module refuses x.

    >>> slopes(nn.ReLU(), torch.tensor([[-1.0, 2.0]]))
    (tensor([[0., 2.]]), tensor([[0., 1.]]))
    """
    z = x.detach().clone().requires_grad_()
    # Inside of a checkpoint what is saved here would be looked for again when that is computed anew. An output that its
    # own graph saves as it is would keep the graph, and the graph it, for ever.
    with torch.enable_grad(), saved_tensors_hooks(torch.Tensor.detach, _itself):
        y = _forward(module, z)
    if not isinstance(y, torch.Tensor) or y.shape != x.shape or not y.requires_grad:
        return None
    slope = _pulled_back(y, z, torch.ones_like(y))
    if type(module) not in _POINTWISE:
        signs = _signs(y)
        if not torch.equal(_pulled_back(y, z, signs), signs * slope):
            return None
    return y.detach(), slope


def _itself(saved: torch.Tensor) -> torch.Tensor:
    return saved


def _signs(y: torch.Tensor) -> torch.Tensor:
    """Signs that repeat along no axis, so that no sum over one keeps them: multiples of the golden section mod 1."""
    multiples = torch.arange(y.numel(), dtype=torch.float64, device=y.device) * ((math.sqrt(5) - 1) / 2)
    return multiples.frac_().sub_(0.5).sign_().to(y.dtype).view(y.shape)


def _forward(module: nn.Module, z: torch.Tensor) -> Any:
    """None where the user's own code does not take these numbers, or takes more than one tensor."""
    try:
        # In-place modules may not write to a leaf.
        return module.forward(z.view_as(z) if not getattr(module, "inplace", False) else z.clone())
    except Exception:
        return None


def _pulled_back(y: torch.Tensor, z: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(y, z, direction, retain_graph=True, allow_unused=True)
    return torch.zeros_like(z) if found is None else found


def _steepest_usual(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    found: Any = slopes(module, _usual(x))
    return x.new_zeros(()) if found is None else found[1].abs().max()


def _usual(x: torch.Tensor) -> torch.Tensor:
    return torch.linspace(-_USUAL, _USUAL, x.numel(), dtype=x.dtype, device=x.device).view(x.shape)
