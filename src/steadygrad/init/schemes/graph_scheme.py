"""Scales from the graph: each layer by what enters it and by the activation that really follows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from steadygrad.errors import SteadygradError
from steadygrad.init.critical_point import Scales, critical_point
from steadygrad.init.graph import Node, trace
from steadygrad.init.graph.borders import Borders
from steadygrad.init.graph.flow import Flow
from steadygrad.init.graph.sites import Join, Site, Sites
from steadygrad.init.parameters import Parameter
from steadygrad.init.recipes import Constant, Normal, Orthogonal, Recipe

from .choice import Choice, Chosen
from .second_moments import SecondMoments, Size

# Of logits at the start: the loss of an uninformed guess is exceeded by Var(logits)/2 = 0.005.
HEAD_RMS = 0.1

# The same where the head is tied to an embedding, whose entries must not be lost in a norm's epsilon: 1/8 is exceeded.
TIED_RMS = 0.5

RecipeOfStd = Callable[[float], Recipe]


class GraphScheme:
    """Goes along the graph once, and gives each layer its scale from what the ones before it made.

    Args:
        model: the model.
        inputs: a batch, or its shape.
        parameters: those that are chosen for; the others count as they are.
        recipe: of a weight, from its deviation.
        head_rms: of what the last layers give.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        parameters: Sequence[Parameter],
        *,
        recipe: RecipeOfStd = Normal,
        head_rms: float = HEAD_RMS,
    ) -> None:
        self.parameters = {p.name: p for p in parameters}
        self.by_any_name = {name: p for p in parameters for name in (p.name, *p.others)}
        self.recipe, self.head_rms = recipe, head_rms
        self.tensors = dict(model.named_parameters(remove_duplicate=False))
        self.modules = dict(model.named_modules())
        nodes, outputs = trace(model, inputs)
        self.flow = Flow(nodes, outputs, self._number)
        self.sites = Sites(self.flow)
        self.borders = Borders(self.flow)
        self.choices: dict[str, Choice] = {}
        self.factors = self._branch_ends()
        self.points: dict[Site, Scales] = {}
        self.tilts: Mapping[Site, float] = {}
        self.inputs = _sizes(inputs)
        self._go_along()

    def _go_along(self) -> None:
        self.choices, self.points = {}, {}
        self.moments = SecondMoments(self.flow, lambda name: self.inputs.get(name, Size(0.0, 1.0)), self._layer)

    def tilt(self, tilts: Mapping[Site, float]) -> None:
        """Go along again, with a log of q that rises, or falls, by this much over the depth of a chain.

        Args:
            tilts: by the first layer of the chain.
        """
        self.tilts = tilts
        self._go_along()

    def chains(self) -> dict[Site, list[Site]]:
        """Return the layers of each chain that was given a point of the edge of chaos, by its first one."""
        found: dict[Site, list[Site]] = {}
        for site in self.points:
            found.setdefault(site.first, []).append(site)
        return found

    def varied(self, chain: Sequence[Site]) -> float:
        """Return the variance over draws of the log of what passes a chain."""
        return sum(self.points[site].varied for site in chain)

    def path(self, site: Site) -> str:
        """Return the path of the module whose weight a site sums with."""
        p = self.weight(site.node)
        return site.node.path if p is None else p.path

    def chosen(self) -> Chosen:
        """Return a choice for every parameter; what the graph did not show gets unit gain."""
        for name, p in self.parameters.items():
            if name not in self.choices:
                self.choices[name] = self._unseen(p)
        notes = dict.fromkeys(
            f"{n.name} in {n.path or 'the model'} is taken to keep the second moment" for n in self.moments.assumed
        )
        return Chosen(choices=self.choices, notes=tuple(notes), head=tuple(self._heads()))

    def _number(self, node: Node) -> float | None:
        """The mean of a parameter that an activation learns; other tensors are not known."""
        tensor = self.tensors.get(node.path) if node.name == "parameter" else None
        if tensor is None:
            return None
        p = self.by_any_name.get(node.path)
        if p is not None and isinstance(p.plain, Constant):
            return p.plain.value
        return None if tensor.is_meta else float(tensor.detach().mean())

    def _branch_ends(self) -> dict[Node, Join]:
        return {join.ends: join for join in self.sites.joins.values() if join.ends is not None and join.length > 1}

    def _heads(self) -> list[str]:
        paths = [self.weight(node) for node in self.sites.sites if self.flow.is_last(node)]
        return [p.path for p in paths if p is not None]

    def weight(self, node: Node) -> Parameter | None:
        """The weight of a sum, where it is one of those that are chosen for."""
        known = [self.by_any_name[n] for n in self.flow.weight_of.get(node, []) if n in self.by_any_name]
        return next((p for p in known if p.fans is not None), None)

    def _layer(self, node: Node, sizes: SecondMoments) -> Size | None:
        match self.flow.kind(node):
            case "norm":
                return self._norm(node, sizes)
            case "module":
                return self._whole(node, sizes)
            case _:
                return self._sum(self.sites.sites[node], sizes)

    def _scale(self, node: Node, sizes: SecondMoments) -> tuple[float, str]:
        """Second moment that a branch's end should have, and why; 1 where it is no such end."""
        join = self.factors.get(node)
        if join is None:
            return 1.0, ""
        q = sizes.of(join.skip).q / join.length
        return q, f"ends one of {join.length} branches of its stream"

    def _norm(self, node: Node, sizes: SecondMoments) -> Size:
        names = [n for n in self.flow.weight_of.get(node, []) if n in self.by_any_name]
        scale = next((self.by_any_name[n] for n in names if "bias" not in n.rsplit(".", 1)[-1]), None)
        q, reason = self._scale(node, sizes)
        if scale is None or not reason:
            return Size(0.0, 1.0)
        self.choices[scale.name] = Choice(Constant(math.sqrt(q)), reason)
        return Size(0.0, q)

    def _whole(self, node: Node, sizes: SecondMoments) -> Size:
        """A recurrent layer or attention: its own rule, and its output projection where a branch ends."""
        layer, entering = self.modules[node.path], sizes.of(self.sites.sites[node].entering).q
        q, reason = self._scale(node, sizes)
        for name, p in self.parameters.items():
            if p.fans is None or not (p.path == node.path or p.path.startswith(f"{node.path}.")):
                continue
            if "weight_hh" in name:
                self.choices[name] = Choice(Orthogonal(1 / math.sqrt(p.fans.fan_in)), "keeps the state through time")
            elif name.endswith("out_proj.weight"):
                self._choose(p, math.sqrt(q), 1.0, reason or "attention's values pass as they are")
            elif p.layer is layer:
                self._choose(p, 1.0, entering, "query, key and value" if "proj" in name else "gates of unit variance")
        return Size(0.0, q)

    def _sum(self, site: Site, sizes: SecondMoments) -> Size | None:
        p = self.weight(site.node)
        if p is None:
            return self._kept(site, sizes)
        if p.name in self.choices:
            return self._again(p, site, sizes)
        # A table's rows come out as they are: nothing enters.
        entering = sizes.of(site.entering).q if self.flow.fed_by(site.node) else 1.0
        before = self.points.get(site.before) if site.before is not None else None
        entering *= before.typical if before is not None else 1.0
        entering *= self.borders.of(site.node)
        q, bias, reason = self._target(site, p, sizes)
        self._choose(p, math.sqrt(max(q - bias**2, 0.0)), entering, reason)
        self._bias(p, bias)
        return Size(0.0, q)

    def _target(self, site: Site, p: Parameter, sizes: SecondMoments) -> tuple[float, float, str]:
        """Second moment of the layer's output, the bias's deviation, the reason."""
        q, branch = self._scale(site.node, sizes)
        if branch:
            return q, 0.0, branch
        if self.flow.is_last(site.node):
            return self.head_rms**2, 0.0, "head: logits near 0, the loss that of a guess"
        if p.others:
            return self._tied(p)
        if site.follows is None or site.gated:
            return 1.0, 0.0, "gated" if site.gated else f"no activation follows, {site.what or 'nothing'} does"
        try:
            bias = f"{p.path}.bias".lstrip(".") in self.parameters
            found = critical_point(
                site.follows.theory(), site.depth, _terms(p), bias=bias, orthogonal=self.recipe is Orthogonal
            )
        except ValueError as error:
            return 1.0, 0.0, f"unit gain: {error}"
        self.points[site] = found
        return self._tilted(site, found)

    def _tilted(self, site: Site, point: Scales) -> tuple[float, float, str]:
        """The point, its q as given in the middle of a tilted chain, so that it bends over the whole depth as much."""
        over = self.tilts.get(site.first, 0.0)
        if over == 0:
            return point.q, point.sigma_b, point.words
        factor = math.exp(over * (site.place / site.depth - 0.5))
        words = (
            f"{point.words}, {'falling' if over < 0 else 'rising'} {math.exp(abs(over)):.3g}-fold by layer {site.depth}"
        )
        return point.q * factor, point.sigma_b * math.sqrt(factor), f"{words}: the gradient meets it halfway"

    def _tied(self, p: Parameter) -> tuple[float, float, str]:
        width = p.shape[-1]
        return TIED_RMS**2 / width, 0.0, f"tied to {', '.join(p.others)}: scaled as the head that it is too"

    def _again(self, p: Parameter, site: Site, sizes: SecondMoments) -> Size:
        """A layer that is called again has the scale of its first call."""
        assert p.fans is not None
        entering = sizes.of(site.entering).q * self.borders.of(site.node)
        return Size(0.0, entering * p.fans.fan_in * self.choices[p.name].recipe.rms ** 2)

    def _kept(self, site: Site, sizes: SecondMoments) -> Size | None:
        """A weight that stays as it is counts with its own second moment."""
        names = [n for n in self.flow.weight_of.get(site.node, []) if n in self.tensors]
        tensor = next((self.tensors[n] for n in names if self.tensors[n].dim() > 1), None)
        if tensor is None or tensor.is_meta:
            return None
        terms = tensor[0].numel() if self.flow.fed_by(site.node) else 1
        return Size(0.0, sizes.of(site.entering).q * terms * float(tensor.detach().double().square().mean()))

    def _choose(self, p: Parameter, target: float, entering: float, reason: str) -> None:
        assert p.fans is not None
        entering = entering if 0 < entering < math.inf else 1.0
        std = target / math.sqrt(p.fans.fan_in * entering)
        recipe = Normal(std) if isinstance(p.layer, nn.Embedding | nn.EmbeddingBag) else self.recipe(std)
        self.choices[p.name] = Choice(recipe, reason)

    def _bias(self, p: Parameter, std: float) -> None:
        found = self.parameters.get(f"{p.path}.bias".lstrip("."))
        if found is not None and std > 0:
            self.choices[found.name] = Choice(Normal(std), "keeps the variance where gradients keep their size")

    def _unseen(self, p: Parameter) -> Choice:
        if p.fans is None:
            assert p.plain is not None
            return Choice(p.plain, "as ever")
        return Choice(self.recipe(1 / math.sqrt(p.fans.fan_in)), "not run on these inputs: unit gain")


def _terms(p: Parameter) -> int:
    """How many terms the next layer sums: the units, and of a convolution's each position of a window."""
    return p.shape[0] * math.prod(p.shape[2:])


def _sizes(inputs: Any) -> Mapping[str, Size]:
    """First and second moments of the inputs that are numbers."""
    given = inputs if isinstance(inputs, Mapping) else {str(i): x for i, x in enumerate(_listed(inputs))}
    found: dict[str, Size] = {}
    for name, x in given.items():
        if isinstance(x, torch.Tensor) and x.is_floating_point() and not x.is_meta and x.numel():
            q = float(x.detach().double().square().mean())
            if not 0 < q < math.inf:
                raise SteadygradError(f"`inputs` must be finite and not all zero, got a second moment of {q:g}.")
            found[str(name)] = Size(float(x.detach().double().mean()), q)
    return found


def _listed(inputs: Any) -> Sequence[Any]:
    return [inputs] if isinstance(inputs, torch.Tensor) else inputs
