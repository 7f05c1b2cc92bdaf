"""What a model's operators do to its signal: which sum with a weight, which are activations, which join a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .function import IDENTITY, POINTWISE, Function, through
from .node import PASSING, Node, Ref

NORMS = frozenset(
    (
        *("native_batch_norm", "native_layer_norm", "native_group_norm", "_fused_rms_norm", "cudnn_batch_norm"),
        *("_native_batch_norm_legit", "native_batch_norm_legit", "batch_norm", "layer_norm", "rms_norm"),
        "_batch_norm_with_update",
    )
)
SUMS = frozenset(
    (
        *("addmm", "mm", "bmm", "baddbmm", "matmul", "linear", "convolution", "_convolution", "embedding"),
        *("_embedding_bag", "embedding_bag", "_trilinear", "addbmm", "addmv", "mv", "dot", "einsum"),
    )
)
_NOISE = frozenset(("bernoulli", "rand", "rand_like", "randn", "randn_like", "uniform", "normal"))
# These cut a tensor into pieces, which count as signals of their own.
_CUTS = frozenset(("select", "slice", "split", "split_with_sizes", "chunk", "unbind", "narrow", "unsafe_chunk"))


@dataclass(frozen=True)
class Base:
    """What a tensor is a function of."""

    node: Node
    output: int
    function: Function


@dataclass
class Flow:
    """The analysis of a trace.

    Attributes:
        nodes: in the order of execution.
        outputs: nodes of what the model returns.
        numbers: the number that a parameter or constant holds everywhere, where it is known.
        takers: by node, those that take something from it.
        weight_of: the parameters that a node sums with, or scales by.
        base_of: by tensor, what it is a function of.
        signals: nodes that depend on the input or on a weight.
    """

    nodes: Sequence[Node]
    outputs: Sequence[Node]
    numbers: Callable[[Node], float | None]
    takers: dict[Node, list[Node]] = field(default_factory=dict)
    weight_of: dict[Node, list[str]] = field(default_factory=dict)
    base_of: dict[Ref, Base] = field(default_factory=dict)
    signals: set[Node] = field(default_factory=set)
    _noise: set[Node] = field(default_factory=set)

    def __post_init__(self) -> None:
        for node in self.nodes:
            self._follow(node)
        self.last = self._last()

    def kind(self, node: Node) -> str:
        """Return what an operator is: "sum", "norm", "module", "join", "gate", "function", "pass" or "other"."""
        if node.name == "module":
            return "module"
        if node in self.weight_of and node.name in SUMS:
            return "sum"
        if node.name in NORMS:
            return "norm"
        if self._passes(node):
            return "pass"
        if node.name in ("add", "sub", "mul") and len(self.fed_by(node)) > 1 and not self._is_function(node):
            return "gate" if node.name == "mul" else "join"
        return "function" if self._is_function(node) else "other"

    def fed_by(self, node: Node) -> list[Ref]:
        """Return the signals among what an operator takes."""
        return [ref for ref in node.refs() if ref.node in self.signals]

    def base(self, ref: Ref) -> Base:
        """Return what a tensor is a function of: itself, where nothing else is known."""
        return self.base_of.get(ref) or Base(ref.node, ref.output, IDENTITY)

    def is_last(self, node: Node) -> bool:
        """Whether no weight comes after."""
        return node not in self.last

    def _follow(self, node: Node) -> None:
        for source in dict.fromkeys(node.inputs):
            self.takers.setdefault(source, []).append(node)
        if names := self._weights(node):
            self.weight_of[node] = names
        if node.name in _NOISE or any(x in self._noise and node.name in POINTWISE for x in node.inputs[:1]):
            self._noise.add(node)
            return
        if self._is_signal(node):
            self.signals.add(node)
            self._based(node)

    def _weights(self, node: Node) -> list[str]:
        """Names of the parameters among what an operator takes, through views of them."""
        found = [x for x in node.inputs if x.name == "parameter" or (x in self.weight_of and x not in self.signals)]
        return [name for x in found for name in ([x.path] if x.name == "parameter" else self.weight_of[x])]

    def _is_signal(self, node: Node) -> bool:
        if node.name in ("input", "module"):
            return True
        if node.name in ("empty", "empty_like", "zeros_like", "ones_like"):
            return False
        weighed = node in self.weight_of and node.name in SUMS
        return weighed or any(x in self.signals for x in node.inputs)

    def _passes(self, node: Node) -> bool:
        if node.name in PASSING:
            return True
        # A dropout mask, a bias, a scale that is learned.
        others = [x for x in node.inputs if x not in self.signals]
        learned = bool(others) and all(x in self._noise or x.name == "parameter" for x in others)
        return node.name in ("mul", "div", "add", "sub") and learned and len(self.fed_by(node)) == 1

    def _is_function(self, node: Node) -> bool:
        return Ref(node) in self.base_of and self.base_of[Ref(node)].node is not node and not self._passes(node)

    def _based(self, node: Node) -> None:
        refs = self.fed_by(node)
        if self._passes(node) and refs:
            base = self.base(refs[0])
            cut = node.name in _CUTS and base.function.identity
            if not cut:
                self.base_of.update({Ref(node, i): base for i in range(4)})
        elif node.name in POINTWISE and refs:
            self._function(node, refs)

    def _function(self, node: Node, refs: list[Ref]) -> None:
        bases = [self.base(ref) for ref in refs]
        if len({(id(base.node), base.output) for base in bases}) > 1:
            return
        given = {ref: base.function for ref, base in zip(refs, bases, strict=True)}
        made = through(node, given, self.numbers)
        if made is not None:
            self.base_of[Ref(node)] = Base(bases[0].node, bases[0].output, made)

    def _last(self) -> set[Node]:
        """Nodes that some weight comes after."""
        before: set[Node] = set()
        for node in reversed(self.nodes):
            weighed = self.kind(node) in ("sum", "module")
            if weighed or node in before:
                before.update(ref.node for ref in self.fed_by(node))
        return before
