"""One operator of a traced model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Ref:
    """One output of a node."""

    node: Node
    output: int = 0


@dataclass(eq=False, slots=True)
class Node:
    """An operator that ran, or what a model was given.

    Attributes:
        name: such as ``"addmm"``, without a trailing underscore; "input", "parameter", "constant" for what was there,
            "module" for a layer that is one step.
        args: what went in, with a `Ref` for every tensor.
        kwargs: the same by name.
        operator: what ran; None for what was there.
        path: the innermost module that ran it; of a parameter its name.
        shape: of the first output.
        size: numbers in an example, for what is averaged.
        index: place in the order of execution.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    operator: Any = None
    path: str = ""
    shape: tuple[int, ...] = ()
    index: int = 0

    def refs(self) -> Iterator[Ref]:
        """Yield the tensors that went in, in order, those in lists too.

        >>> list(Node("relu").refs())
        []
        """
        for arg in (*self.args, *self.kwargs.values()):
            if isinstance(arg, Ref):
                yield arg
            elif isinstance(arg, list | tuple):
                yield from (part for part in arg if isinstance(part, Ref))

    @property
    def inputs(self) -> list[Node]:
        """The nodes that it took something from."""
        return [ref.node for ref in self.refs()]


# They hand on the numbers that they are given, some of them, or all in another order.
PASSING = frozenset(
    (
        *("alias", "clone", "contiguous", "detach", "expand", "lift_fresh", "permute", "reshape", "_reshape_alias"),
        *("squeeze", "t", "_to_copy", "transpose", "unsqueeze", "_unsafe_view", "view", "select", "slice", "split"),
        *("split_with_sizes", "chunk", "unbind", "narrow", "native_dropout", "dropout", "feature_dropout", "roll"),
        *("constant_pad_nd", "flip", "movedim", "unfold", "repeat", "index", "index_select", "im2col", "pixel_shuffle"),
        *("reflection_pad2d", "replication_pad2d", "upsample_nearest2d", "max_pool2d_with_indices", "copy", "tril"),
        *("max_pool3d_with_indices", "adaptive_max_pool2d", "masked_fill", "triu", "view_as_real", "unsafe_chunk"),
    )
)


def origin(node: Node) -> Node:
    """Return where a tensor comes from, back through operators that hand it on.

    >>> origin(Node("view", (Ref(Node("relu")),))).name
    'relu'
    """
    while node.name in PASSING and node.inputs:
        node = node.inputs[0]
    return node
