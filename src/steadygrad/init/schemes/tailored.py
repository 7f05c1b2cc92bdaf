"""Very deep plain networks: activations transformed so that the whole network's correlation map keeps its shape."""

from __future__ import annotations

import math

import torch
from torch import nn

from steadygrad.init.graph.sites import Site
from steadygrad.init.recipes import Constant
from steadygrad.theory import Activation, gain, tailored_relu_slope, tailored_smooth

from .choice import Choice, Chosen
from .graph_scheme import GraphScheme


class Tailored(nn.Module):
    """gamma (phi(alpha u + beta) + delta).

    >>> Tailored(nn.Tanh(), 2.0, 0.0, 0.5, 0.0)(torch.zeros(1)).item()
    0.0
    """

    def __init__(self, phi: nn.Module, alpha: float, beta: float, gamma: float, delta: float) -> None:
        super().__init__()
        self.phi = phi
        self.alpha, self.beta, self.gamma, self.delta = alpha, beta, gamma, delta

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """Apply it to each entry."""
        transformed: torch.Tensor = self.gamma * (self.phi(self.alpha * u + self.beta) + self.delta)
        return transformed

    def extra_repr(self) -> str:
        """The four numbers."""
        return f"alpha={self.alpha:.6g}, beta={self.beta:.6g}, gamma={self.gamma:.6g}, delta={self.delta:.6g}"


def tailored(scheme: GraphScheme) -> Chosen:
    """Return unit-variance scales together with the activations that take the present ones' place.

    ReLU becomes a leaky ReLU whose slope gives the whole network C_f(0) = 0.9; a smooth activation is scaled and
    shifted so that Q(1) = Q'(1) = C'(1) = 1 and C_f''(1) = 0.3. L is the number of activations of a chain.

    Args:
        scheme: the graph, gone along.

    Raises:
        ValueError: no activation can be transformed: it is no module of its own, the model is too shallow, or the
            activation has no transform.

    Reference: Zhang, Botev and Martens 2022, sections 4.1 and 4.3.
    """
    chosen = scheme.chosen()
    choices, replaced = dict(chosen.choices), {}
    for site in scheme.sites.sites.values():
        p = scheme.weight(site.node)
        if p is None or p.fans is None or site.follows is None or site.gated:
            continue
        path, module = _module(scheme, site)
        replaced[path], sigma = _transformed(module, site.follows.theory(), _length(site))
        entering = 1.0 if site.before is not None else scheme.moments.of(site.entering).q
        gained = sigma if site.before is not None and site.before.follows is not None else 1.0
        std = gained / math.sqrt(p.fans.fan_in * entering)
        choices[p.name] = Choice(scheme.recipe(std), f"unit variance; {path} becomes {replaced[path]}")
        for name in (f"{p.path}.bias",):
            if name in choices:
                choices[name] = Choice(Constant(0.0), "as ever")
    if not replaced:
        raise ValueError('`scheme` "tailored" needs activations after the layers of a plain network, got none.')
    return Chosen(choices=choices, replaced=replaced, notes=chosen.notes, head=chosen.head)


def _length(site: Site) -> int:
    return site.depth if site.follows is not None else 1


def _module(scheme: GraphScheme, site: Site) -> tuple[str, nn.Module]:
    """The module that is the activation, and nothing else."""
    path = next((n.path for n in scheme.flow.nodes if _is_made_of(scheme, n, site)), "")
    module = scheme.modules.get(path)
    if module is None or not path or next(module.children(), None) is not None:
        what = site.follows.words if site.follows else ""
        raise ValueError(
            f'`scheme` "tailored" exchanges activations that are modules, got {what} written as a function after '
            f"{site.node.path!r}."
        )
    return path, module


def _is_made_of(scheme: GraphScheme, node: object, site: Site) -> bool:
    from steadygrad.init.graph.node import Node, Ref

    assert isinstance(node, Node)
    base = scheme.flow.base_of.get(Ref(node))
    return base is not None and base.node is site.node and base.function is site.follows


def _transformed(module: nn.Module, phi: Activation, depth: int) -> tuple[nn.Module, float]:
    if phi.name in ("relu", "leaky_relu"):
        slope = tailored_relu_slope(depth=depth)
        return nn.LeakyReLU(slope), math.sqrt(2 / (1 + slope**2))
    t = tailored_smooth(phi, depth=depth)
    made = Tailored(module, t.input_scale, t.input_shift, t.output_scale, t.output_shift)
    return made, gain(t.activation).gain
