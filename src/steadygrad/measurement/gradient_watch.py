"""Watches what steps of training do with gradients, by hooks and a dispatch mode that leave nothing behind."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn.utils import clip_grad
from torch.optim import optimizer as optimizers
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.tracing import SourceLine, source_line

from .gradient_life import Life, Write, values_of

_CLIPS = (clip_grad.__file__, str(Path(__file__).parents[1] / "guard" / "clip"))
_THRESHOLDS = ("max_norm", "clip_value")
_UNSCALES = "_amp_foreach_non_finite_check_and_unscale_"


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """One line that clips.

    Attributes:
        line: the user's; None where it is not known.
        limit: its threshold, where that is known.
        calls: of the training step in which it did.
        parameters: how many gradients it wrote to.
        factor: the least that it multiplied an entry by; 1 where it left all as they were.
    """

    line: SourceLine | None
    limit: float | None
    calls: int
    parameters: int
    factor: float


@dataclass(frozen=True, kw_only=True)
class GradientLog:
    """What some calls of a training step did with gradients.

    Attributes:
        calls: of the training step.
        steps: of optimizers.
        empty_steps: steps before which a gradient came and was wiped, so that none was left.
        unscaled: the largest scale of the loss that gradients were divided by; 1 where they were not.
        late: clipping of gradients that a step had used, and no other did.
        scaled: clipping of gradients that were still multiplied by the scale of the loss.
        stale_steps: steps with a gradient that held one from before the last step.
        stale_norm: its norm from before, at the first such step.
        stale_numbers: how many numbers the parameters concerned have.
        stepped_numbers: how many those have that optimizers step.
    """

    calls: int
    steps: int
    empty_steps: int
    unscaled: float
    late: tuple[Clipping, ...]
    scaled: tuple[Clipping, ...]
    stale_steps: int
    stale_norm: float
    stale_numbers: int
    stepped_numbers: int


@dataclass(kw_only=True, eq=False)
class GradientWatch:
    """Follows the gradients of some parameters.

    Attributes:
        lives: one a parameter, by its identity.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1)
    >>> with GradientWatch.over([weight]) as watch:
    ...     for _ in range(3):
    ...         watch.begin(); weight.square().sum().backward(); optimizer.step()
    >>> watch.log().stale_steps
    2
    """

    lives: dict[int, Life]
    call: int = -1
    depth: int = 0
    steps: int = 0
    empty_steps: int = 0
    stale_norms: list[float] = field(default_factory=list)
    stale: set[int] = field(default_factory=set)
    stepped: set[int] = field(default_factory=set)
    unscaled: float = 1.0
    other_lines: set[SourceLine | None] = field(default_factory=set)
    owners: dict[int, Life] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def over(cls, parameters: Iterable[torch.Tensor]) -> Iterator[GradientWatch]:
        """Watch until the end of the block."""
        held = list({id(p): p for p in parameters if p.requires_grad and p.is_leaf}.values())
        watch = cls(lives={})
        for place, p in enumerate(held):
            watch.lives[id(p)] = Life(parameter=p, place=place, gradient=p.grad, other_lines=watch.other_lines)
        with ExitStack() as stack:
            for life in watch.lives.values():
                stack.callback(life.parameter.register_hook(watch._before_adding(life)).remove)
                hook: Any = life.parameter.register_post_accumulate_grad_hook(watch._added(life))
                stack.callback(hook.remove)
            stack.callback(optimizers.register_optimizer_step_pre_hook(watch._before_step).remove)
            stack.callback(optimizers.register_optimizer_step_post_hook(watch._after_step).remove)
            stack.enter_context(_Writes(watch))
            yield watch

    def begin(self) -> None:
        """A further call of the training step begins."""
        self.call, self.depth = self.call + 1, 0

    def end(self) -> None:
        """The call is over."""
        for life in self.lives.values():
            life.looked_at(self.call)

    def log(self) -> GradientLog:
        """Return what was seen."""
        lives = self.lives.values()
        return GradientLog(
            calls=self.call + 1,
            steps=self.steps,
            empty_steps=self.empty_steps,
            unscaled=self.unscaled,
            late=tuple(self._clippings(write for life in lives for write in life.late)),
            scaled=tuple(self._clippings(write for life in lives for write in life.scaled)),
            stale_steps=len(self.stale_norms),
            stale_norm=self.stale_norms[0] if self.stale_norms else 0.0,
            stale_numbers=sum(life.parameter.numel() for life in lives if life.place in self.stale),
            stepped_numbers=sum(life.parameter.numel() for life in lives if life.place in self.stepped),
        )

    def written_lives(self, tensors: Iterable[torch.Tensor]) -> list[Life]:
        """Return whose gradients lie in the memory of tensors."""
        found = {id(life): life for t in tensors if (life := self.owners.get(memory_of(t))) is not None}
        return [x for x in found.values() if x.parameter.grad is not None and self.owners.get(_held(x)) is x]

    def unscales(self, lives: Iterable[Life], scale: float) -> None:
        """Gradients are divided by a scale."""
        if scale != 1 and math.isfinite(scale):
            self.unscaled = max(self.unscaled, scale)
            for life in lives:
                life.unscaled()

    def _clippings(self, writes: Iterable[Write]) -> Iterator[Clipping]:
        """The lines that clip: by a known function, or always smaller and by a factor that is no constant."""
        by_line: dict[SourceLine | None, list[Write]] = {}
        for write in writes:
            by_line.setdefault(write.line, []).append(write)
        for line, found in by_line.items():
            known = any(w.limit is not None for w in found)
            if known or (line not in self.other_lines and (not all(w.even for w in found) or _varies(found))):
                yield _clipping(line, found)

    def _before_adding(self, life: Life) -> Callable[[torch.Tensor], None]:
        return lambda gradient: life.before_adding(self.call)

    def _added(self, life: Life) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            life.added()
            self._remember(life)

        return hook

    def _remember(self, life: Life) -> None:
        if life.parameter.grad is not None:
            self.owners[_held(life)] = life

    def _of(self, optimizer: torch.optim.Optimizer) -> list[Life]:
        held = [id(p) for group in optimizer.param_groups for p in group["params"]]
        return [self.lives[i] for i in held if i in self.lives]

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.depth += 1
        if self.depth > 1:
            return
        lives, line = self._of(optimizer), source_line()
        there = [life.looked_at(self.call, line) for life in lives]
        for life in lives:
            life.adding = False
            self._remember(life)
        fused = getattr(optimizer, "grad_scale", None)
        if isinstance(fused, torch.Tensor):
            self.unscales(lives, float(fused))
        came = any(life.fresh for life in lives)
        self.steps += 1
        self.empty_steps += came and not any(there)
        self._collect_stale(lives)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        lives = self._of(optimizer)
        self.depth = max(self.depth - 1, 0)
        if self.depth == 0:
            self._collect_stale(lives)
        for life in lives:
            life.stepped()
            self.stepped.add(life.place)
            self._remember(life)

    def _collect_stale(self, lives: list[Life]) -> None:
        """What a step uses that another has used already."""
        found = [life for life in lives if life.stale]
        if found:
            self.stale_norms.append(math.hypot(*(life.stale for life in found)))
            self.stale |= {life.place for life in found}
        for life in found:
            life.stale = 0.0


def _clipping(line: SourceLine | None, found: list[Write]) -> Clipping:
    return Clipping(
        line=line,
        limit=found[0].limit,
        calls=len({w.call for w in found}),
        parameters=len({w.parameter for w in found}),
        factor=min((w.lowest for w in found if not math.isnan(w.lowest)), default=1.0),
    )


def _varies(writes: list[Write]) -> bool:
    """Whether some parameter's factor is another in another call."""
    by_parameter: dict[int, list[Write]] = {}
    for write in writes:
        by_parameter.setdefault(write.parameter, []).append(write)
    return any(
        max(w.highest for w in same) > min(w.lowest for w in same) * (1 + 2 * same[0].rounding)
        for same in by_parameter.values()
    )


class _Writes(TorchDispatchMode):
    """Sees every operator that writes into the memory of a gradient."""

    def __init__(self, watch: GradientWatch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        lives = self.watch.written_lives(written(func, args, kwargs)) if func._schema.is_mutable else []
        if not lives:
            return func(*args, **kwargs)
        if func._schema.name == f"aten::{_UNSCALES}":
            self.watch.unscales(lives, 1 / float(args[2]))
            return func(*args, **kwargs)
        before = [life.parameter.grad.clone() for life in lives if life.parameter.grad is not None]
        found = func(*args, **kwargs)
        limit, line = clipping_limit(), source_line()
        for life, was in zip(lives, before, strict=True):
            life.overwritten(self.watch.call, was, limit, line)
        return found


def written(func: Any, args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors that a call of an operator writes into."""
    for place, name in _written_arguments(func):
        given = args[place] if place < len(args) else kwargs.get(name)
        for part in given if isinstance(given, list | tuple) else [given]:
            if isinstance(part, torch.Tensor):
                yield part


@cache
def _written_arguments(func: Any) -> tuple[tuple[int, str], ...]:
    arguments = enumerate(func._schema.arguments)
    return tuple((i, a.name) for i, a in arguments if a.alias_info is not None and a.alias_info.is_write)


def _held(life: Life) -> int:
    assert life.parameter.grad is not None
    return memory_of(values_of(life.parameter.grad))


def memory_of(tensor: torch.Tensor) -> int:
    """Return where its memory begins; 0 for what has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def clipping_limit() -> float | None:
    """Return the finite threshold of the clipping function of torch, or of this package, that is running."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_CLIPS):
            for name in _THRESHOLDS:
                value = frame.f_locals.get(name)
                if isinstance(value, int | float | torch.Tensor) and math.isfinite(value):
                    return float(value)
        frame = frame.f_back
    return None
