"""Batch normalization at initialization: by how much the squared gradient grows a layer."""

from __future__ import annotations

import math

from steadygrad.errors import not_allowed

from .activations import activation
from .moments import Spec, moments


def batch_norm_gradient_factor(phi: Spec) -> float:
    """Return E[phi'(z)^2] / Var(phi(z)), z ~ N(0, 1): the growth of the squared gradient a layer under BatchNorm.

    Layers are phi, then a linear layer, then BatchNorm, wide and with a large batch. What phi receives has mean 0 and
    variance 1 over the batch, so the linear layer's output has the variance sigma_w^2 Var(phi) over the batch, by
    which BatchNorm divides the squared gradient; the linear layer multiplies it by sigma_w^2, phi by E[phi'^2].
    sigma_w and sigma_b cancel: no initialization changes it. The Gaussian Poincare inequality Var(phi) <= E[phi'^2]
    makes it >= 1, with equality for a linear phi alone: gradients explode towards the input with depth.

    Args:
        phi: a name, an `Activation` or a callable.

    Raises:
        ValueError: where phi has jumps or is constant.

    References: Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz, "A mean field theory of batch normalization",
        2019 (pi/(pi - 1) for ReLU); Chernoff, "A note on an inequality involving the normal distribution", 1981.

    >>> round(batch_norm_gradient_factor("relu"), 12), round(math.pi / (math.pi - 1), 12)
    (1.466942206924, 1.466942206924)
    """
    entry = activation(phi)
    if entry.jumps:
        raise ValueError(not_allowed("activation", "must have no jumps: its derivative is not all of it", str(entry)))
    m = moments(entry, 1.0)
    # Where phi is constant up to rounding, so is what BatchNorm divides by.
    if not m.variance > 1e-14 * m.second or not math.isfinite(m.derivative_second):
        raise ValueError(not_allowed("activation", "must vary at unit variance", str(entry)))
    return m.derivative_second / m.variance
