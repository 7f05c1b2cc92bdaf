"""Where weights stand in the graph: what enters each, what follows it, which stream its branch joins."""

from __future__ import annotations

from dataclasses import dataclass, field

from .flow import Flow
from .function import Function
from .node import Node, Ref


@dataclass(eq=False)
class Site:
    """A layer's place.

    Attributes:
        node: the operator that sums, or the layer that is one step.
        entering: the signal that it takes.
        follows: the activation that takes its output before anything else; None where none does.
        what: what takes the output, in words.
        gated: whether the output is multiplied by another signal.
        before: the layer whose activation it takes, where nothing joins or normalizes between.
        depth: activations of its chain, from a layer whose input is normalized, a stream or the model's to the last.
        place: how many of them there are up to its own.
        first: the layer that its chain begins with.
    """

    node: Node
    entering: Node
    follows: Function | None = None
    what: str = ""
    gated: bool = False
    before: Site | None = None
    depth: int = 1
    place: int = 0
    first: Site = field(init=False)

    def __post_init__(self) -> None:
        self.first = self


@dataclass(eq=False)
class Join:
    """A sum of two signals, the one a branch of the other.

    Attributes:
        node: the operator that adds.
        branch: the operand with the weights.
        skip: the other one.
        ends: the last layer or norm of the branch, which its scale can be set by.
        inner: layers of the branch, in order.
        length: how many branches the stream has.
    """

    node: Node
    branch: Node
    skip: Node
    ends: Node | None
    inner: list[Node]
    length: int = 1


@dataclass
class Sites:
    """Every layer's place, and every branch."""

    flow: Flow
    sites: dict[Node, Site] = field(default_factory=dict)
    joins: dict[Node, Join] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._upstream = self._weights_upstream()
        self._layers = [n for n in self.flow.nodes if self.flow.kind(n) in ("sum", "module")]
        for node in self._layers:
            self.sites[node] = self._site(node)
        self._chains()
        for node in self.flow.nodes:
            if self.flow.kind(node) == "join" and (join := self._join(node)) is not None:
                self.joins[node] = join
        self._streams()

    def _site(self, node: Node) -> Site:
        fed = self.flow.fed_by(node)
        base = self.flow.base(fed[0]) if fed else None
        site = Site(node, fed[0].node if fed else node)
        if base is not None:
            site.before = self.sites.get(base.node)
        self._following(site)
        return site

    def _following(self, site: Site) -> None:
        """The last function of the output that something takes which is no function of it alone."""
        taken: list[tuple[int, Function, str]] = []
        stack, seen = [site.node], {site.node}
        while stack:
            node = stack.pop()
            for taker in self.flow.takers.get(node, []):
                base = self.flow.base_of.get(Ref(taker))
                own = base is not None and base.node is site.node
                if self.flow.kind(taker) == "pass" or own:
                    stack += [] if taker in seen else [taker]
                    seen.add(taker)
                elif taker in self.flow.signals:
                    kind = self.flow.kind(taker)
                    what = taker.name if kind == "other" else kind
                    taken.append((taker.index, self.flow.base(Ref(node)).function, what))
                    site.gated |= kind == "gate" or taker.name == "glu"
        found = [one for one in sorted(taken, key=lambda one: one[0]) if not one[1].identity]
        ends = [self.flow.base(Ref(n)).function for n in self.flow.outputs if n in seen]
        functions = [f for _, f, _ in found] + [f for f in ends if not f.identity]
        site.follows = functions[-1] if functions else None
        site.what = site.follows.words if site.follows else ", ".join(dict.fromkeys(what for *_, what in taken))

    def _chains(self) -> None:
        for site in self.sites.values():
            before = site.before.place if site.before is not None else 0
            site.place = before + (site.follows is not None)
        for site in reversed(self.sites.values()):
            site.depth = max(site.depth, site.place)
            if site.before is not None:
                site.before.depth = max(site.before.depth, site.depth)
        for site in self.sites.values():
            if site.before is not None:
                site.depth, site.first = site.before.depth, site.before.first

    def _weights_upstream(self) -> dict[Node, int]:
        """Which layers a node depends on, as a set of bits."""
        found: dict[Node, int] = {}
        bit = 1
        for node in self.flow.nodes:
            bits = 0
            for ref in self.flow.fed_by(node):
                bits |= found.get(ref.node, 0)
            if self.flow.kind(node) in ("sum", "module"):
                bits, bit = bits | bit, bit << 1
            found[node] = bits
        return found

    def _join(self, node: Node) -> Join | None:
        """A sum whose operands have layers in common, or whose one operand is the input of the other."""
        refs = self.flow.fed_by(node)[:2]
        if len(refs) < 2 or node.name != "add":
            return None
        first, second = (ref.node for ref in refs)
        own = [self._upstream[a] & ~self._upstream[b] for a, b in ((first, second), (second, first))]
        counts = [bits.bit_count() for bits in own]
        if counts[0] == counts[1] or not self._meet(first, second):
            return None
        branch, skip, bits = (first, second, own[0]) if counts[0] > counts[1] else (second, first, own[1])
        inner = [layer for i, layer in enumerate(self._layers) if bits >> i & 1]
        return Join(node, branch, skip, self._end(branch), inner)

    def _meet(self, first: Node, second: Node) -> bool:
        """Whether both come from one signal, not from tables or inputs of their own."""
        return bool(self._sources(first) & self._sources(second))

    def _sources(self, node: Node) -> set[Node]:
        seen, stack = {node}, [node]
        while stack:
            new = [ref.node for ref in self.flow.fed_by(stack.pop()) if ref.node not in seen]
            seen.update(new)
            stack += new
        return {n for n in seen if n.name == "input" or (self.flow.kind(n) == "sum" and not self.flow.fed_by(n))}

    def _end(self, node: Node) -> Node | None:
        """The last layer or norm of a branch; None where something else joins before."""
        while self.flow.kind(node) not in ("sum", "module", "norm"):
            fed = self.flow.fed_by(node)
            if len(fed) != 1:
                return None
            node = fed[0].node
        return node

    def _streams(self) -> None:
        """Count the branches of each stream: joins that follow each other along the skips, without a norm between."""
        heads: dict[Node, list[Join]] = {}
        for join in self.joins.values():
            before = self._before(join.skip)
            stream = heads[before] if before is not None else []
            stream.append(join)
            heads[join.node] = stream
        for node, stream in heads.items():
            self.joins[node].length = len(stream)

    def _before(self, node: Node) -> Node | None:
        while node not in self.joins:
            fed = self.flow.fed_by(node)
            if self.flow.kind(node) == "norm" or len(fed) != 1:
                return None
            node = fed[0].node
        return node
