"""SGD, Adam and AdamW in place on blocks of networks, each network with hyperparameters of its own.

They are torch.optim's, step for step: https://docs.pytorch.org/docs/stable/optim.html. A hyperparameter is a tensor
[1, networks, 1, 1], which broadcasts over a block [layers, networks, rows, columns].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from steadygrad.errors import unknown_name
from steadygrad.study.point import Point


class Optimizer(Protocol):
    """What updates the blocks of all networks."""

    state: list[Tensor]

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update every block; the gradients may be overwritten."""


class _Rates:
    """One field of the points as a tensor, and whether it is zero throughout."""

    def __init__(self, points: Sequence[Point], like: Tensor) -> None:
        self._points, self._like = points, like

    def __call__(self, field: str) -> Tensor:
        values = [float(getattr(point, field)) for point in self._points]
        return torch.tensor(values, dtype=self._like.dtype, device=self._like.device).view(1, -1, 1, 1)

    def any(self, field: str) -> bool:
        return any(getattr(point, field) for point in self._points)


class SGD:
    """p -= lr v, v = momentum v + g + decay p; with Nesterov's step p -= lr (g + momentum v)."""

    def __init__(self, blocks: Sequence[Tensor], points: Sequence[Point]) -> None:
        of = _Rates(points, blocks[0])
        self._blocks, self._step = blocks, of("learning_rate").neg_()
        self._decay = of("weight_decay") if of.any("weight_decay") else None
        self._momentum = of("momentum")
        self.state = [torch.zeros_like(b) for b in blocks] if of.any("momentum") else []
        self._nesterov = of("nesterov") if of.any("nesterov") else None

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update every block."""
        for i, (p, g) in enumerate(zip(self._blocks, gradients, strict=True)):
            if self._decay is not None:
                g.addcmul_(p, self._decay)
            p.addcmul_(self._direction(i, g) if self.state else g, self._step)

    def _direction(self, i: int, g: Tensor) -> Tensor:
        velocity = self.state[i].mul_(self._momentum).add_(g)
        if self._nesterov is None:
            return velocity
        ahead = g.addcmul(velocity, self._momentum)
        return torch.where(self._nesterov > 0, ahead, velocity)


class Adam:
    """p -= lr m' / (sqrt(v') + epsilon): m' and v' are the unbiased averages of g and g^2, g + decay p in g's place."""

    decoupled = False

    def __init__(self, blocks: Sequence[Tensor], points: Sequence[Point]) -> None:
        of = _Rates(points, blocks[0])
        self._blocks, self._rate, self._epsilon = blocks, of("learning_rate"), of("epsilon")
        # 1 - beta is rounded once, from the double, as torch.optim does.
        self._beta1, self._beta2 = of("beta1"), of("beta2")
        self._decay = of("weight_decay") if of.any("weight_decay") else None
        self._first, self._second = ([torch.zeros_like(b) for b in blocks] for _ in range(2))
        # In double, since beta^t in float loses the digits that 1 - beta^t is made of.
        self._log_beta1, self._log_beta2 = (b.double().log() for b in (self._beta1, self._beta2))
        self._count = torch.zeros_like(self._log_beta1)
        self.state = [*self._first, *self._second, self._count]

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update every block."""
        self._count += 1
        unbiased1 = -torch.expm1(self._log_beta1 * self._count)
        unbiased2 = -torch.expm1(self._log_beta2 * self._count)
        rate = (self._rate / unbiased1).neg_().to(self._rate.dtype)
        root = unbiased2.sqrt_().to(self._rate.dtype)
        for p, g, m, v in zip(self._blocks, gradients, self._first, self._second, strict=True):
            self._decays(p, g)
            m.lerp_(g, 1 - self._beta1)
            v.mul_(self._beta2).addcmul_(g.mul(1 - self._beta2), g)
            denominator = torch.sqrt(v, out=g).div_(root).add_(self._epsilon)
            p.addcmul_(torch.div(m, denominator, out=g), rate)

    def _decays(self, p: Tensor, g: Tensor) -> None:
        if self._decay is None:
            return
        if self.decoupled:
            p.mul_(1 - self._rate * self._decay)
        else:
            g.addcmul_(p, self._decay)


class AdamW(Adam):
    """Adam, with the decay taken from p itself: p *= 1 - lr decay."""

    decoupled = True


OPTIMIZERS: dict[str, type[SGD | Adam]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def optimizer(blocks: Sequence[Tensor], points: Sequence[Point]) -> Optimizer:
    """Return the optimizer that the points name, which is one for all."""
    name = points[0].optimizer
    if name not in OPTIMIZERS:
        raise ValueError(unknown_name("optimizer", name, OPTIMIZERS))
    return OPTIMIZERS[name](blocks, points)
