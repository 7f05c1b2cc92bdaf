"""The tensor that enters the first layer that sums: its scale, its constant features, its largest curvature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from steadygrad.fans import weight_fans
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.measurement.untouched import untouched

from .collector import Collector, Unavailable
from .measured import has_matrix
from .sampled import Sampled
from .unregistered import leaves

_MOST_ROWS = 4096
_ROUNDS = 30
_SEQUENCES = (nn.RNNBase, nn.MultiheadAttention, nn.Linear)


@dataclass(frozen=True, kw_only=True, eq=False)
class Entrance:
    """What the first layer that sums is given, one row an example or position.

    Attributes:
        path: the layer's path.
        rows: entries [rows, features]; after a norm or an embedding that are those of its output.
        constants: features that have one value in all of the rows, other than zero.
        rms: root mean square of each feature.
        axis: dimension of the inputs along which the layer's features lie, each of them one of the inputs' own; None
            where the layer is given something else.
    """

    path: str
    rows: Tensor
    constants: tuple[int, ...]
    rms: Tensor
    axis: int | None

    passes: ClassVar[float] = 1 / 3
    what: ClassVar[str] = "what enters the first layer"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Run the model once on the first finite batch and look at what the first layer is given."""
        batch = collector.get(Sampled).first
        path, module, entering = _first(collector.setup.model, batch.inputs)
        rows = _rows(module, entering)
        columns = rows.shape[1]
        constant = (
            (rows == rows[0]).all(0) & (rows[0] != 0) if len(rows) > 1 else torch.zeros(columns, dtype=torch.bool)
        )
        axis = _axis(module, batch.inputs, entering)
        constant &= _constant_in_all(axis, collector.get(Sampled), constant)
        return cls(
            path=path,
            rows=rows,
            constants=tuple(constant.nonzero().flatten().tolist()),
            rms=rows.square().mean(0).sqrt(),
            axis=axis,
        )

    @property
    def constant_square(self) -> float:
        """Sum of the squares of the constant features."""
        return float(self.rms[list(self.constants)].square().sum()) if self.constants else 0.0

    @property
    def features(self) -> int:
        """How many features are not constant."""
        return self.rows.shape[1] - len(self.constants)

    @property
    def largest(self) -> float:
        """Largest eigenvalue of the second moments E[x x^T] of the features that are not constant.

        >>> rows = torch.tensor([[3.0, 0.0], [-3.0, 0.0]])
        >>> round(Entrance(path="", rows=rows, constants=(), rms=rows[0].abs(), axis=-1).largest, 3)
        9.0
        """
        kept = [i for i in range(self.rows.shape[1]) if i not in set(self.constants)]
        x = self.rows[:, kept]
        direction = x.square().mean(0).sqrt()
        value = 0.0
        for _ in range(_ROUNDS):
            if not (norm := float(direction.norm())):
                return 0.0
            direction = x.T @ (x @ (direction / norm)) / len(x)
            value = float(direction.norm())
        return value


def _first(model: nn.Module, inputs: Any) -> tuple[str, nn.Module, Tensor]:
    """The first layer that sums and what it is given; of several tensors that the data give, the most out of scale."""
    found: list[tuple[str, nn.Module, Tensor]] = []

    def hook(path: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def before(_: nn.Module, args: tuple[object, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                found.append((path, module, args[0]))

        return module.register_forward_pre_hook(before)

    layers = [
        (path, m)
        for path, m in model.named_modules()
        if (has_matrix(m) or (isinstance(m, (*_SEQUENCES, _ConvNd)) and _sums(m)))
        and not isinstance(m, torch.jit.ScriptModule)  # nothing can look into it
    ]
    handles = [hook(path, m) for path, m in layers]
    try:
        with untouched(model), torch.enable_grad():
            outputs_of(model, inputs)
    except Exception as error:
        raise Unavailable(f"What enters the model was not looked at: {type(error).__name__}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    if not found or not any(x.is_floating_point() for _, _, x in found[: 1 if isinstance(inputs, Tensor) else None]):
        raise Unavailable("No layer that sums is called as a module, so the scale of its inputs was not looked at.")
    path, module, entering = found[0] if isinstance(inputs, Tensor) else max(found, key=_out_of_scale)
    if _is_computed(model, entering):
        raise Unavailable(f"A product in the model's own code comes before {path!r}, so its inputs were not looked at.")
    return path, module, entering.detach()


def _out_of_scale(found: tuple[str, nn.Module, Tensor]) -> float:
    """How far the mean square of what enters a layer is from 1, in e-folds; -1 where a parameter had a part in it."""
    entering = found[2]
    if not entering.is_floating_point() or any(True for _ in leaves(entering)):
        return -1.0
    square = float(entering.detach().double().square().mean())
    return abs(math.log(square)) if square > 0 else 0.0


def _is_computed(model: nn.Module, entering: Tensor) -> bool:
    """Whether a matrix of parameters, other than a table of embeddings, had a part in what enters."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    return any(leaf.dim() > 1 and id(leaf) not in tables for leaf in leaves(entering))


def _sums(module: nn.Module) -> bool:
    try:
        return bool(weight_fans(module))
    except TypeError:
        return False


def _rows(module: nn.Module, entering: Tensor) -> Tensor:
    entering = entering.to_dense() if entering.layout != torch.strided else entering
    if isinstance(module, _ConvNd) and entering.dim() > 2:
        entering = entering.movedim(1, -1)
    rows = entering.reshape(-1, entering.shape[-1])[:_MOST_ROWS]
    return rows.cpu().double()


def _axis(module: nn.Module, inputs: Any, entering: Tensor) -> int | None:
    """Where the inputs are one tensor that the layer sums over one of its axes: a row an example, a step or a place."""
    if not isinstance(inputs, Tensor) or inputs.dim() < 2:
        return None
    if isinstance(module, _ConvNd) and inputs.dim() > 2:
        return 1 - inputs.dim() if inputs.shape == entering.shape else None
    return -1 if inputs.shape[-1] == _rows(module, entering).shape[1] else None


def _constant_in_all(axis: int | None, sampled: Sampled, constant: Tensor) -> Tensor:
    """Keep a feature only where every batch agrees; where the layer is given something else, the first must do."""
    first = sampled.first.inputs
    if axis is None or first.layout != torch.strided:
        return constant
    for batch in sampled.batches:
        if batch.inputs.shape[1:] == first.shape[1:]:
            rows = batch.inputs.movedim(axis, -1).reshape(-1, len(constant))
            constant = constant & (rows == first.movedim(axis, -1).reshape(-1, len(constant))[0]).all(0).cpu()
    return constant
