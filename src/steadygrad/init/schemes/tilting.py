"""Deep chains whose gradient moves: the signal is let move against it, so that both move by half as much.

A point of the edge of chaos keeps the median of one example's signal and of one gradient. Over a chain that is as deep
as it is wide the gradients of a batch do something else. While the product of the layers has many directions their mean
square is what it is on average over draws, and rises above the median of one; when one direction is left it rises no
more. Where functions hold a signal at its size, its direction is taken out of the gradient in each layer, and the
gradient falls by 1/N. `predict` follows both, approximately where a chain is several times as deep as it is wide.

Gains act on either way alike: with q_l the median of the signal behind layer l, and g_l that of the gradient, a gain γ²
in layer k multiplies q_l for l >= k and g_l for l < k, so log q_l + log g_l stays what it is, exactly where functions
are homogeneous. Of what this sum moves by, S, the one or the other has to move by S/2 at least, and both do where q
goes on by -(g + q)/2 over the depth, q and g what they rise by on their ways.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from steadygrad.init.critical_point import TOLERANCE
from steadygrad.init.graph.sites import Site
from steadygrad.init.skeleton import skeleton
from steadygrad.measurement.untouched import untouched
from steadygrad.prediction import predict
from steadygrad.profile import Profile

from .choice import Chosen
from .graph_scheme import GraphScheme

# Layers that are predicted while a plan is made: noises of the layers before are met in each, so time is their square.
DEEPEST = 2000


def tilted(scheme: GraphScheme, model: Any, inputs: Any) -> Chosen:
    """Return the scheme's choices, deep chains tilted so that neither way moves more than it must.

    Only chains are looked at whose mean and median draw come to differ by more than a factor of two, and of the signal
    no more than a factor of two is taken: what each effect may change over the depth (`critical_point`).

    Args:
        scheme: the graph, gone along.
        model: the model.
        inputs: a batch, or its shape.
    """
    chosen, chains = scheme.chosen(), _deep(scheme)
    if not chains or not isinstance(inputs, torch.Tensor | list | tuple):
        return chosen
    layers = sum(map(len, chains.values()))
    if layers > DEEPEST:
        note = f"chains of {layers} layers are taken to keep a batch's gradient: no more than {DEEPEST} are predicted"
        return replace(chosen, notes=(*chosen.notes, note))
    profile = _predicted(scheme, chosen, model, inputs, list(chains))
    tilts = {first: _tilt(scheme, sites, profile) for first, sites in chains.items()} if profile else {}
    if not any(tilts.values()):
        return chosen
    scheme.tilt(tilts)
    return scheme.chosen()


def _deep(scheme: GraphScheme) -> dict[Site, list[Site]]:
    """The chains over whose depth a log of variance V differs by V/2 > ln 2 in its mean and in the log of the mean."""
    chains = scheme.chains()
    return {first: sites for first, sites in chains.items() if scheme.varied(sites) / 2 > TOLERANCE}


def _predicted(scheme: GraphScheme, chosen: Chosen, model: Any, inputs: Any, firsts: list[Site]) -> Profile | None:
    recipes = {name: choice.recipe for name, choice in chosen.choices.items()}
    layouts = {name: p.layout for name, p in scheme.parameters.items()}
    made = skeleton(model, recipes, {}, layouts)
    weights = {p.name for site in firsts if (p := scheme.weight(site.node))}
    try:
        with untouched(model):
            return predict(lambda: _frozen(made(), weights), inputs)
    except Exception:
        # Code that cannot be interpreted has no profile; then the point of the edge of chaos stays.
        return None


def _frozen(model: nn.Module, but: set[str]) -> nn.Module:
    """The model with gradients of these parameters alone: what goes back to them passes all that is looked at."""
    for name, p in model.named_parameters():
        p.requires_grad_(name in but)
    return model


def _tilt(scheme: GraphScheme, sites: list[Site], profile: Profile) -> float:
    """What the log of q is to rise by over a chain, beside what it does; 0 where nothing moves by a factor of two."""
    ends = [_sizes(profile, path) for path in (scheme.path(sites[0]), scheme.path(sites[-1]))]
    (first_q, first_g), (last_q, last_g) = ends
    signal, gradient = last_q - first_q, first_g - last_g
    moved = max(abs(signal), abs(gradient))
    if not TOLERANCE < moved < math.inf:
        return 0.0
    # Two digits are known, and with them ranks and machines agree on every bit of a weight.
    return round(min(max(-(signal + gradient) / 2, -TOLERANCE), TOLERANCE), 2)


def _sizes(profile: Profile, path: str) -> tuple[float, float]:
    """Logs of the median signal, and of the median squared length of an example's gradient; NaN where not known."""
    row = next((row for row in profile if row.path == path), None)
    if row is None or row.shape is None or not (row.q > 0 and row.grad_q > 0):
        return math.nan, math.nan
    return math.log(row.q), math.log(row.grad_q * math.prod(row.shape[1:]))
