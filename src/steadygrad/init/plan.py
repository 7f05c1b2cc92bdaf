"""plan: the right scale for every parameter of a model, first to be read, then to be applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from steadygrad.errors import SteadygradError, not_allowed, unknown_name
from steadygrad.fans import Layout
from steadygrad.measurement.untouched import untouched
from steadygrad.numbers import count
from steadygrad.prediction import predict
from steadygrad.profile import Profile

from .code import torch_code
from .drawing import Draw, draw_
from .lsuv import scale_by_data_
from .parameters import Parameter, parameters_of, selection
from .recipes import Recipe
from .schemes import Choice, Chosen
from .schemes.head import head_bias
from .schemes.table import SCHEMES, Request, recipe_of
from .skeleton import skeleton
from .stream import Stream
from .weights import check_present

Scheme = Literal["critical", "xavier", "he", "orthogonal", "lsuv", "fixup", "mup", "tailored"]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a plan says of one parameter.

    Attributes:
        name: of the parameter; the first, where it is tied.
        others: its other names.
        shape: of the parameter.
        present: root mean square of what it holds now; NaN where it has no memory yet.
        recipe: how it will be filled.
        reason: why.
        layout: where its matrices are.
        adam: multiplier of Adam's learning rate.
        sgd: multiplier of SGD's.
    """

    name: str
    others: tuple[str, ...]
    shape: tuple[int, ...]
    present: float
    recipe: Recipe
    reason: str
    layout: Layout | None
    adam: float = 1.0
    sgd: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How each parameter of a model will be initialized; print it, then apply it.

    Attributes:
        scheme: its name.
        rows: one a parameter.
        kept: names of parameters that stay as they are.
        notes: what could not be looked at, in words.
        model: what it was made for.
    """

    scheme: str
    rows: tuple[Planned, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]
    model: nn.Module = field(repr=False)
    _inputs: Any = field(repr=False)
    _targets: Any = field(repr=False, default=None)
    _loss_fn: Any = field(repr=False, default=None)
    _chosen: Chosen = field(repr=False)

    def __getitem__(self, name: str) -> Planned:
        """Return the row of a parameter by any of its names."""
        found = next((row for row in self.rows if name in (row.name, *row.others)), None)
        if found is None:
            raise KeyError(unknown_name("name", name, [row.name for row in self.rows]))
        return found

    @cached_property
    def before(self) -> Profile | None:
        """The profile that theory predicts of the parameters as they were when this is first asked for."""
        return None if any(p.is_meta for p in self.model.parameters()) else self._predicted(self.model)

    @cached_property
    def after(self) -> Profile | None:
        """The profile that theory predicts of the plan; None where the model's code cannot be interpreted."""
        recipes = {row.name: row.recipe for row in self.rows}
        layouts = {row.name: row.layout for row in self.rows}
        return self._predicted(skeleton(self.model, recipes, self._chosen.replaced, layouts))

    def _predicted(self, model: Any) -> Profile | None:
        if not isinstance(self._inputs, torch.Tensor | list | tuple):
            return None
        try:
            with untouched(self.model):
                return predict(model, self._inputs, self._targets, loss_fn=self._loss_fn)
        except Exception:
            # The profile is there to be read beside the plan: code that cannot be interpreted has none.
            return None

    def apply_(
        self,
        model: nn.Module | None = None,
        *,
        seed: int = 0,
        only: Collection[str] = (),
        skip: Collection[str] = (),
    ) -> nn.Module:
        """Fill the parameters as planned, in place; all, or on an error none. The same again gives the same.

        Each parameter draws from a stream of its own, whose key is the seed and its name, on the processor: what it
        gets depends neither on the order, nor on what else is filled, nor on device, mesh or number of ranks. A sharded
        parameter holds its slice of what one process would draw.

        Args:
            model: what to fill, with parameters of the same names and shapes; the plan's own where it is None.
            seed: any whole number.
            only: names or patterns of parameters or modules; of the plan's all where it is empty.
            skip: the same, for what stays as it is.

        Returns:
            The model.

        Raises:
            ValueError: a parameter is missing, of another shape or without memory, or a name is not known.
            SteadygradError: data-dependent scaling met an output without spread, or a sharded model.

        >>> from torch import nn
        >>> model = nn.Linear(3, 2)
        >>> made = plan(model, (4, 3)).apply_(seed=1)
        >>> before = model.weight.clone()
        >>> torch.equal(plan(model, (4, 3)).apply_(seed=1).weight, before)
        True
        """
        target = self.model if model is None else model
        wanted = selection(target, only, skip)
        rows = [row for row in self.rows if any(wanted(name) for name in (row.name, *row.others))]
        tensors = _found(target, rows)
        streams = {row.name: Stream.named(seed, min(row.name, *row.others, row.name)) for row in rows}
        measured = self._measured(target, rows, tensors)
        draw_(Draw(tensors[row.name], row.recipe, row.layout, streams[row.name]) for row in rows)
        for path, module in self._chosen.replaced.items():
            target.set_submodule(path, module)
        _forget_statistics(target, {row.name for row in rows})
        if measured:
            scale_by_data_(target, self._inputs, measured)
        return target

    def _measured(
        self, model: nn.Module, rows: Sequence[Planned], tensors: dict[str, torch.Tensor]
    ) -> dict[str, float]:
        """The layers to scale by data among those that are drawn, each with the deviation it gets."""
        drawn = {row.name.rpartition(".")[0] for row in rows if row.layout is not None}
        found = {path: std for path, std in self._chosen.measured.items() if path in drawn}
        if found and any(hasattr(t, "device_mesh") for t in tensors.values()):
            raise SteadygradError('"lsuv" runs the model, so apply it before the model is sharded.')
        return {path: std for path, std in found.items() if _scales(model.get_submodule(path))}

    def parameter_groups(self, lr: float, *, optimizer: Literal["adam", "sgd"] = "adam") -> list[dict[str, Any]]:
        """Return the model's parameters for an optimizer, those with one learning rate in one group.

        Args:
            lr: > 0: at the base's width.
            optimizer: whose multipliers to use: "adam" for any that divides by the gradient's size.

        Raises:
            ValueError: an argument is not allowed.

        >>> from torch import nn
        >>> model, base = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2)), nn.Sequential(
        ...     nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> groups = plan(model, (4, 2), scheme="mup", base=base).parameter_groups(0.1)
        >>> [(group["lr"], len(group["params"])) for group in groups]
        [(0.1, 3), (0.025, 1)]
        """
        if not 0 < lr < math.inf:
            raise ValueError(not_allowed("lr", "must be > 0 and finite", lr))
        if optimizer not in ("adam", "sgd"):
            raise ValueError(unknown_name("optimizer", optimizer, ["adam", "sgd"]))
        factors = {row.name: row.adam if optimizer == "adam" else row.sgd for row in self.rows}
        groups: dict[float, list[nn.Parameter]] = {}
        for name, p in self.model.named_parameters():
            groups.setdefault(factors.get(name, 1.0), []).append(p)
        return [{"params": params, "lr": lr * factor} for factor, params in groups.items()]

    def code(self) -> str:
        """Return a file of plain torch code with a function `initialize(model, seed=0)` that does the same.

        Raises:
            SteadygradError: the plan needs data or exchanges modules, which code without this package cannot.
        """
        if self._chosen.measured or self._chosen.replaced:
            raise SteadygradError(f'`scheme` must be one that only draws numbers to be written, got "{self.scheme}".')
        return torch_code((row.name, row.recipe, row.layout) for row in self.rows)

    def __str__(self) -> str:
        return self.text()

    def text(self, *, width: int = 100, color: bool = False, every_row: bool = False) -> str:
        """Return the plan for a terminal: each parameter, then the predicted profile before and after.

        Args:
            width: columns, at least 40.
            color: whether to write ANSI colours.
            every_row: every parameter and layer, instead of the ends of long tables.
        """
        from steadygrad.report import plan_text

        listed = [(row.name, row.shape, row.present, row.recipe.words, row.reason) for row in self.rows]
        return plan_text.render(
            listed,
            scheme=self.scheme,
            kept=self.kept,
            before=self.before,
            after=self.after,
            notes=self.notes,
            width=width,
            color=color,
            every_row=every_row,
        )


def plan(
    model: nn.Module,
    inputs: Any = None,
    targets: torch.Tensor | None = None,
    *,
    scheme: Scheme = "critical",
    loss_fn: Callable[[Any, Any], torch.Tensor] | None = None,
    distribution: Literal["normal", "uniform", "truncated_normal", "orthogonal"] = "normal",
    base: nn.Module | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
) -> Plan:
    """Plan the initialization of every parameter of a model; nothing is changed until `.apply_()`.

    "critical" traces the model, gives each layer the scale that the activation after it asks for, on the edge of chaos
    at a variance that its chain's depth allows, scales the branches of residual streams, and keeps the head's outputs
    near 0. "orthogonal" is the same with orthogonal weights. "lsuv" scales by data; "fixup" is for residual networks
    without norms, "tailored" exchanges the activations of very deep plain networks, "mup" transfers a learning rate
    across widths; "xavier" and "he" look at each layer alone and need no inputs.

    Args:
        model: built, or on the meta device.
        inputs: a batch: a tensor, a sequence or mapping of them, unpacked into the call; or the shape of a tensor.
        targets: of the batch; they set the head's bias to class priors, log odds or the mean.
        scheme: which.
        loss_fn: tells binary targets from numbers, and adds the loss to the predicted profile.
        distribution: of weights: of "critical", "fixup", "mup" and "tailored".
        base: for "mup": the same architecture, at the width whose learning rate is known.
        only: names of parameters or modules, or patterns with *, to plan for; where it is empty all that require a
            gradient, as those that were frozen are meant to stay.
        skip: the same, for what stays as it is: pretrained parts.

    Raises:
        TypeError: a layer has no rule; the message tells how to register one.
        ValueError: an argument is not allowed, or a parameter cannot be drawn.
        UserCodeError: the model raised when it was traced.

    >>> model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))
    >>> made = plan(model, (16, 8))
    >>> [(row.name, row.recipe.words) for row in made.rows][:2]
    [('0.weight', 'normal, std 0.354'), ('0.bias', 'zeros')]
    """
    if not isinstance(model, nn.Module):
        raise ValueError(not_allowed("model", "must be a torch.nn.Module", model))
    if scheme not in SCHEMES:
        raise ValueError(unknown_name("scheme", scheme, SCHEMES))
    recipe_of(distribution)
    frozen = {} if only else {n: p for n, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}
    wanted = selection(model, only, skip)
    parameters = parameters_of(model, lambda name: wanted(name) and name not in frozen)
    if not parameters:
        rule = "must have parameters to initialize, of which frozen ones are named in `only`"
        raise ValueError(not_allowed("model", rule, type(model).__name__))
    asked = Request(model=model, inputs=inputs, parameters=parameters, distribution=distribution, base=base)
    chosen = SCHEMES[scheme](asked)
    if targets is not None:
        chosen = _with_head_bias(chosen, parameters, targets, loss_fn)
    rows = tuple(_row(p, chosen, model) for p in parameters)
    planned = {name for p in parameters for name in (p.name, *p.others)}
    return Plan(
        scheme=scheme,
        rows=rows,
        kept=tuple(name for name, _ in model.named_parameters() if name not in planned),
        notes=(*chosen.notes, *([f"{count(len(set(frozen.values())), 'frozen parameter')} stay"] if frozen else [])),
        model=model,
        _inputs=inputs,
        _targets=targets,
        _loss_fn=loss_fn,
        _chosen=chosen,
    )


def _row(p: Parameter, chosen: Chosen, model: nn.Module) -> Planned:
    choice = chosen.choices[p.name]
    if problem := choice.recipe.check(p.shape, p.layout):
        raise ValueError(f"`{p.name}` {problem}.")
    adam, sgd = chosen.multipliers.get(p.name, (1.0, 1.0))
    return Planned(
        name=p.name,
        others=p.others,
        shape=p.shape,
        present=_rms(model.get_parameter(p.name)),
        recipe=choice.recipe,
        reason=choice.reason,
        layout=p.layout,
        adam=adam,
        sgd=sgd,
    )


@torch.no_grad()
def _rms(tensor: torch.Tensor) -> float:
    """Root mean square; of a sharded parameter that of this rank's part."""
    local: torch.Tensor = getattr(tensor, "to_local", lambda: tensor)()
    if local.is_meta or not local.numel():
        return math.nan
    return float(torch.linalg.vector_norm(local, dtype=torch.float32)) / math.sqrt(local.numel())


def _with_head_bias(chosen: Chosen, parameters: Sequence[Parameter], targets: torch.Tensor, loss_fn: Any) -> Chosen:
    """The last head's bias as a guess that knows the targets alone."""
    biases = [p for p in parameters if p.path in chosen.head and p.fans is None]
    if len(biases) != 1 or not isinstance(targets, torch.Tensor):
        found = f"{len(biases)} heads with a bias" if isinstance(targets, torch.Tensor) else type(targets).__name__
        note = f"the targets set no bias: {found}, not one head and one tensor"
        return replace(chosen, notes=(*chosen.notes, note))
    choice: Choice = head_bias(targets, biases[0].shape[0], loss_fn)
    return replace(chosen, choices={**chosen.choices, biases[0].name: choice})


def _found(model: nn.Module, rows: Sequence[Planned]) -> dict[str, torch.Tensor]:
    """The parameters as the model has them now, looked at before anything is changed."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    for row in rows:
        if row.name not in tensors:
            raise ValueError(not_allowed("model", f"must have the parameter {row.name!r}", type(model).__name__))
        if tuple(tensors[row.name].shape) != row.shape:
            shape = tuple(tensors[row.name].shape)
            raise ValueError(not_allowed(row.name, f"must have the planned shape {row.shape}", shape))
    found: dict[str, torch.Tensor] = {row.name: tensors[row.name] for row in rows}
    check_present(model, found.values())
    return found


def _scales(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention) or isinstance(getattr(module, "weight", None), torch.Tensor)


def _forget_statistics(model: nn.Module, drawn: Collection[str]) -> None:
    """Running statistics belong to the parameters that they were measured with."""
    for path, module in model.named_modules():
        reset = getattr(module, "reset_running_stats", None)
        if reset is not None and f"{path}.weight".lstrip(".") in drawn:
            reset()
