"""A training step that cannot ruin the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steadygrad.errors import TrainingStopped, not_allowed
from steadygrad.finding import Finding, Level

from .arguments import (
    Decide,
    Nonfinite,
    OnSpike,
    check_choices,
    check_loss,
    check_parts,
    check_state,
    group_sizes,
    release_,
    trained,
    usable_scheduler,
    with_snapshots,
)
from .buffers import Buffers
from .clip.gradients import Gradients
from .clip.policy import Policy, Scaling
from .clip.shards import is_sharded
from .closure import step_with_closure
from .events import event
from .evidence import Evidence, evidence, largest_norm
from .fused import is_cold, scaled, takes_scale
from .ladder import Ladder
from .mailbox import Mailbox
from .ranks import Ranks
from .rates import scale_rates_
from .snapshot import Snapshot
from .spike import Spike
from .verdict import Outcome, Verdict, blamed, culprit, outcome_of
from .weak_hook import WeakHook


class Guard:
    """Backward, unscale, clip, decide, step: a training step that a bad batch cannot ruin.

    A refused step leaves parameters, optimizer state and buffers bitwise as they were, for every optimizer of
    torch.optim; the learning rate scheduler does not advance. After each step the gradients are released.

    Where every parameter group is fused and takes a scale (Adam, AdamW, SGD, Adagrad), an accelerator decides itself,
    in the optimizer's kernel: the host waits for nothing, and events arrive some steps late. Elsewhere the host reads a
    handful of numbers in one transfer a step; so it does where a scheduler must know whether the step counted, where
    parameters are DTensors, and at the first step of fused SGD with momentum.

    Parameters that join the optimizer later (`add_param_group`) are guarded from then on. A gradient so large that its
    square overflows (a norm above 1.8e19 after clipping, 1.3e154 in double precision) counts as not finite, because it
    would leave second moments of inf for good.

    Args:
        model: the module, wrapped by DistributedDataParallel or sharded by `fully_shard` where it is.
        optimizer: over parameters of the model.
        clip: a clipping policy; None clips nothing.
        on_nonfinite: what a loss, or a gradient, with inf or NaN leads to.
        on_spike: what an outlier of the loss or of the norm leads to.
        spike: when something is an outlier; used unless `on_spike` is "ignore".
        ladder: how many refusals in a row, rollbacks and snapshots. "rollback" without a number of accepted steps
            between snapshots takes one every 100.
        scaler: a GradScaler of this guard alone; the guard scales, unscales and updates it.
        scheduler: stepped after each accepted step; one that needs a metric is stepped by the caller instead.
        sink: called with a Finding for each event.
        revive: called with the step after each accepted one; yields findings for what it changed.
        decide: where the decision is taken; "auto" takes it on an accelerator where it can.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: an argument is not allowed, or the optimizer holds a parameter that is not the model's.

    >>> model = nn.Linear(2, 1)
    >>> guard = Guard(model, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> before = model.weight.detach().clone()
    >>> guard.step(model(torch.tensor([[float("inf"), 0.0]])).sum())
    >>> torch.equal(model.weight, before), guard.outcome.verdict.name
    (True, 'NONFINITE')
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        clip: Policy | None = None,
        on_nonfinite: Nonfinite = "skip",
        on_spike: OnSpike = "ignore",
        spike: Spike | None = None,
        ladder: Ladder | None = None,
        scaler: Any = None,
        scheduler: Any = None,
        sink: Callable[[Finding], None] | None = None,
        revive: Callable[[int], Iterable[Finding]] | None = None,
        decide: Decide = "auto",
    ) -> None:
        check_parts(model, optimizer, clip, ladder, scaler, sink)
        check_choices(on_nonfinite, on_spike, decide)
        self._actions = {Verdict.NONFINITE: on_nonfinite, Verdict.SPIKE: on_spike}
        self._model, self._optimizer, self._clip = model, optimizer, clip
        self._spike = None if on_spike == "ignore" else spike or Spike()
        self._ladder = with_snapshots(ladder or Ladder(), on_nonfinite, on_spike)
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._scheduler, self._sink, self._revive = usable_scheduler(scheduler, optimizer), sink, revive
        self._closure_only = isinstance(optimizer, torch.optim.LBFGS)
        if self._closure_only and on_spike != "ignore":
            rule = "must be 'ignore' for LBFGS, which takes several losses and gradients a step"
            raise ValueError(not_allowed("on_spike", rule, on_spike))
        self._look_at_parameters()
        self._decides_late = self._late(decide)
        self._buffers, self._ranks, self._mailbox = Buffers(model), Ranks(model), Mailbox()
        self._snapshot: Snapshot | None = None
        self._loss: Tensor | None = None
        self._outcome: Outcome | None = None
        self._step = self._accepted = self._in_a_row = self._tries = self._since_snapshot = 0
        self._half_done = self._started = False
        if len(self._buffers):
            model.register_forward_pre_hook(WeakHook(self._before_forward))

    @property
    def outcome(self) -> Outcome | None:
        """The last step's outcome, None before the first; where the device decides, reading it waits for the device."""
        self.settle()
        return self._outcome

    @property
    def names(self) -> list[str]:
        """Names of the parameters that the optimizer trains, in the model's order."""
        return list(self._names.values())

    def backward(self, loss: Tensor, *, retain_graph: bool = False) -> None:
        """Run the backward pass of a loss, scaled where there is a scaler; gradients add up until `step`.

        Args:
            loss: a scalar with a graph; divide it yourself where several are to be averaged.
            retain_graph: keep the graph for another loss that shares it.

        Raises:
            ValueError: the loss is no scalar, or has no graph.
        """
        check_loss(loss)
        self._started = True
        try:
            (self._scaler.scale(loss) if self._scaler else loss).backward(retain_graph=retain_graph)
        except BaseException:
            self._release()
            self._buffers.settle_(accepted=False)
            raise
        seen = loss.detach().reshape(()).double()
        self._loss = seen if self._loss is None else self._loss + seen

    def step(self, loss: Tensor | None = None, *, closure: Callable[[], Tensor] | None = None) -> None:
        """Unscale, clip, decide, step, and release the gradients.

        Args:
            loss: the same as `backward(loss)` first.
            closure: for LBFGS alone: clears gradients, computes the loss, calls its backward, returns it.

        Raises:
            ValueError: no gradient is there, or a closure where none belongs, or the other way round.
            TrainingStopped: the last rung of the ladder.
        """
        if self._closure_only or closure is not None:
            self._step_with_closure(loss, closure)
            return
        if loss is not None:
            self.backward(loss)
        try:
            self._check_whole()
            if not self.settle(wait=False):
                self._step_once()
        finally:
            self._release()

    def settle(self, *, wait: bool = True) -> bool:
        """Act on what the device decided and the host has not seen yet; return whether the run was rolled back."""
        rolled_back = False
        for (step, parameters), numbers in self._mailbox.collect(wait=wait):
            rolled_back |= self._conclude(outcome_of(step, numbers), parameters)
            if rolled_back:
                self._mailbox.clear()
                break
        return rolled_back

    def state_dict(self) -> dict[str, Any]:
        """Return what the guard itself knows: counts, windows, statistics; model and optimizer save their own."""
        self.settle()
        return {
            "step": self._step,
            "accepted": self._accepted,
            "in_a_row": self._in_a_row,
            "tries": self._tries,
            **self._statistics(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, bit for bit; load model, optimizer, scaler and scheduler before.

        The next step takes a new snapshot where snapshots are kept.
        """
        check_state(state, self.state_dict())
        self._step, self._accepted = state["step"], state["accepted"]
        self._in_a_row, self._tries = state["in_a_row"], state["tries"]
        self._load_statistics(state)
        self._mailbox.clear()
        self._buffers.keep()
        self._snapshot, self._half_done = None, False

    def _look_at_parameters(self) -> None:
        self._parameters, self._names = trained(self._model, self._optimizer)
        self._largest, self._sizes = largest_norm(self._parameters), group_sizes(self._optimizer)

    def _late(self, decide: Decide) -> bool:
        """Whether the device decides, as far as it is known before the first step."""
        takes = takes_scale(self._optimizer) and self._scheduler is None and not any(map(is_sharded, self._parameters))
        if decide == "device" and not takes:
            rule = "can be 'device' only with a fused optimizer, plain tensors and no scheduler"
            raise ValueError(not_allowed("decide", rule, decide))
        return takes and (decide == "device" or (decide == "auto" and self._parameters[0].device.type != "cpu"))

    def _before_forward(self, module: nn.Module, *_: Any) -> None:
        # Whoever loaded or changed buffers between two steps meant it: what the first forward pass finds is good. One
        # that evaluates, or averages statistics anew without gradients, begins no step.
        if not self._started:
            self._started = module.training and torch.is_grad_enabled()
            self._buffers.keep()

    def _step_once(self) -> None:
        if self._sizes != group_sizes(self._optimizer):  # parameters joined; no older snapshot knows their groups
            self._look_at_parameters()
            self._snapshot = None
        if self._scaler and not self._decides_late:
            self._scaler.unscale_(self._optimizer)
        gradients = Gradients(self._parameters)
        if not len(gradients):
            raise ValueError("`step` needs a backward before it: no parameter has a gradient.")
        self._take_first_snapshot()
        self._step += 1
        if self._decides_late and not is_cold(self._optimizer):
            self._step_on_device(gradients)
        else:
            self._step_on_host(gradients)

    def _step_on_host(self, gradients: Gradients) -> None:
        if self._scaler and self._decides_late:  # a cold first step
            self._scaler.unscale_(self._optimizer)
            gradients.changed()
        found = self._evidence(gradients, None)
        verdict, norm, loss, factor = found.read()
        outcome = Outcome(
            step=self._step,
            verdict=verdict,
            norm=norm,
            factor=factor if self._clip is None or isinstance(self._clip, Scaling) else math.nan,
            loss=loss if self._loss is not None else math.nan,
        )
        if verdict is not Verdict.ACCEPTED or (factor < 1 and self._sink is not None):
            outcome = blamed(outcome, gradients.norms())
        if verdict is Verdict.ACCEPTED:
            self._apply(gradients, found, factor)
        if self._scaler:
            self._scaler.update()
        self._buffers.settle_(accepted=verdict is Verdict.ACCEPTED)
        self._conclude(outcome, gradients.parameters)

    def _apply(self, gradients: Gradients, found: Evidence, factor: float) -> None:
        with self._whole_step():
            if isinstance(self._clip, Scaling):
                self._scaled_step(gradients, found, factor)
                self._clip.observe_(found.norm, found.factor)
            else:
                if self._clip is not None:
                    self._clip.clip_(gradients)
                self._optimizer.step()
            if self._scheduler is not None:
                self._scheduler.step()
        if self._spike is not None:
            self._spike.observe_(found.norm, self._loss_or_nan(found), None)

    def _scaled_step(self, gradients: Gradients, found: Evidence, factor: float) -> None:
        """Step with the factor in the fused kernel where it fits there, else with scaled gradients."""
        if factor == 1:
            self._optimizer.step()
        elif takes_scale(self._optimizer) and gradients.plain and _fits_single(factor, gradients):
            with scaled(self._optimizer, found.factor.reciprocal().float()):
                self._optimizer.step()
        else:
            gradients.scale_(found.factor)
            self._optimizer.step()

    def _step_on_device(self, gradients: Gradients) -> None:
        scale = self._scaler._scale if self._scaler else None
        if scale is not None and not isinstance(self._clip, Scaling) and self._clip is not None:
            gradients.scale_(scale.double().reciprocal())
            scale = None
        found = self._evidence(gradients, scale)
        finite, accepted = found.judge()
        divisor = found.factor.reciprocal() if scale is None else scale / found.factor
        # One that the kernel's single precision cannot hold would make the gradient zero; a factor of 0 is to do so.
        accepted = accepted & ((divisor.float() < math.inf) | (found.factor == 0))
        with self._whole_step(), scaled(self._optimizer, divisor.float(), (~accepted).float()):
            self._clip_unread_(gradients, found, accepted)
            self._optimizer.step()
        if self._scaler:
            self._update_scaler(~finite)
        if self._spike is not None:
            self._spike.observe_(found.norm, self._loss_or_nan(found), accepted)
        self._buffers.settle_(accepted=accepted)
        code = torch.where(finite, torch.where(accepted, 0.0, 2.0), 1.0).double()
        blame = culprit(gradients.norms(self._order))
        numbers = torch.stack((code, found.norm, self._loss_or_nan(found), found.factor))
        self._mailbox.post((self._step, gradients.parameters), torch.cat((numbers, blame)))

    def _clip_unread_(self, gradients: Gradients, found: Evidence, accepted: Tensor) -> None:
        if isinstance(self._clip, Scaling):
            self._clip.observe_(found.norm, found.factor, accepted)
        elif self._clip is not None:
            self._clip.clip_(gradients, accepted)

    def _update_scaler(self, found_inf: Tensor) -> None:
        # What `GradScaler.unscale_` would record, without its pass over the gradients.
        scaler: Any = self._scaler
        record = scaler._per_optimizer_states[id(self._optimizer)]["found_inf_per_device"]
        record[found_inf.device] = found_inf.float()
        scaler.update()

    @property
    def _order(self) -> float:
        return self._clip.p if self._clip is not None else 2.0

    def _evidence(self, gradients: Gradients, scale: Tensor | None) -> Evidence:
        norm = gradients.total(self._order)
        loss = torch.zeros_like(norm) if self._loss is None else self._loss.to(norm.device)
        norm, loss = self._ranks.agree(norm if scale is None else norm / scale.double(), loss)
        return evidence(norm, loss, self._clip, self._spike, self._largest)

    def _loss_or_nan(self, found: Evidence) -> Tensor:
        return found.loss if self._loss is not None else torch.full_like(found.loss, math.nan)

    @contextmanager
    def _whole_step(self) -> Iterator[None]:
        """Undo an optimizer step that raised midway, from the last snapshot; without one, let no step follow."""
        try:
            yield
        except BaseException:
            self._half_done = self._snapshot is None
            if self._scaler:  # what `unscale_` recorded for this step holds for no other
                self._scaler._per_optimizer_states.clear()
            if self._snapshot is not None:
                self._restore()
                self._emit(self._interrupted())
            raise

    def _interrupted(self) -> Finding:
        message = f"The optimizer raised in the middle of step {self._step}: the last snapshot is back."
        return Finding(
            code="GRD006", name="interrupted-step", level=Level.WARN, message=message, step=self._step,
            fix="Ladder(snapshot_every=1) loses no step.",
        )  # fmt: skip

    def _check_whole(self) -> None:
        if self._half_done:
            raise TrainingStopped(
                f"The optimizer raised in the middle of step {self._step}, so parameters and state may be half done; "
                "load a checkpoint and call `load_state_dict`; Ladder(snapshot_every=1) would have undone the step."
            )

    def _conclude(self, outcome: Outcome, parameters: list[Any]) -> bool:
        """Count a step, tell of it, climb the ladder; return whether the run was rolled back."""
        self._outcome = outcome
        if outcome.verdict is not Verdict.ACCEPTED:
            return self._refused(outcome, [self._names[id(p)] for p in parameters])
        self._accepted += 1
        self._since_snapshot += 1
        self._in_a_row = 0
        if outcome.factor < 1 and self._sink is not None:
            names = [self._names[id(p)] for p in parameters]
            self._tell("GRD001", outcome, names, Level.INFO, "The gradient was clipped")
        every = self._ladder.snapshot_every
        if every is not None and self._since_snapshot >= every:
            self._take_snapshot()
        for finding in self._revive(outcome.step) if self._revive is not None else ():
            self._emit(finding)
        return False

    def _refused(self, outcome: Outcome, names: list[str]) -> bool:
        self._in_a_row += 1
        self._tell("GRD002", outcome, names, Level.WARN, "The step was skipped")
        action = self._actions[outcome.verdict]
        if action == "stop":
            self._stop(outcome, names, "it was told to stop")
        if action == "rollback" or self._in_a_row > self._ladder.skips:
            self._roll_back(outcome, names)
            return True
        return False

    def _roll_back(self, outcome: Outcome, names: list[str]) -> None:
        if self._snapshot is None:
            self._stop(outcome, names, f"{self._in_a_row} steps in a row were refused, and no snapshot is kept")
        if self._tries >= self._ladder.rollbacks:
            self._stop(outcome, names, f"{self._tries} rollbacks to the same snapshot did not help")
        self._tries += 1
        factor = self._ladder.lr_factor**self._tries
        self._restore()
        scale_rates_(self._optimizer, self._scheduler, factor)
        what = f"Rolled back {self._since_snapshot} accepted steps, learning rate times {factor:g},"
        self._tell("GRD003", outcome, names, Level.WARN, what)
        self._in_a_row = self._since_snapshot = 0

    def _stop(self, outcome: Outcome, names: list[str], why: str) -> None:
        raise TrainingStopped(self._tell("GRD004", outcome, names, Level.ERROR, f"The run was stopped ({why})").message)

    def _take_first_snapshot(self) -> None:
        if self._snapshot is None and self._ladder.snapshot_every is not None:
            self._take_snapshot()

    def _take_snapshot(self) -> None:
        others = [self._scheduler, self._scaler, _Own(self)]
        self._snapshot = None  # before the new one is made, so that there are never two
        self._snapshot = Snapshot(self._model, self._buffers, self._optimizer, others)
        self._since_snapshot = self._tries = 0

    def _restore(self) -> None:
        assert self._snapshot is not None
        self._snapshot.restore_()
        self._mailbox.clear()

    def _statistics(self) -> dict[str, Any]:
        return {
            "clip": None if self._clip is None else self._clip.state_dict(),
            "spike": None if self._spike is None else self._spike.state_dict(),
        }

    def _load_statistics(self, state: dict[str, Any]) -> None:
        for part, saved in ((self._clip, state["clip"]), (self._spike, state["spike"])):
            if part is not None:
                part.load_state_dict(saved)

    def _release(self) -> None:
        release_(self._optimizer)
        self._loss, self._started = None, False

    def _tell(self, code: str, outcome: Outcome, names: list[str], level: Level, what: str) -> Finding:
        finding = event(code, outcome, names, level=level, what=what)
        self._emit(finding)
        return finding

    def _emit(self, finding: Finding) -> None:
        if self._sink is not None:
            self._sink(finding)

    def _step_with_closure(self, loss: Tensor | None, closure: Callable[[], Tensor] | None) -> None:
        if not self._closure_only:
            raise ValueError("`closure` is for optimizers that evaluate the loss themselves (LBFGS): use `step(loss)`.")
        if closure is None or loss is not None:
            raise ValueError("LBFGS evaluates the loss several times a step: pass `closure` instead of a loss.")
        if self._scaler is not None:
            raise ValueError("`scaler` cannot scale a loss that LBFGS evaluates itself: train in full precision.")
        self._take_first_snapshot()
        self._step += 1
        try:
            outcome = step_with_closure(self._optimizer, self._parameters, closure, self._clip, self._step)
            self._buffers.settle_(accepted=outcome.verdict is Verdict.ACCEPTED)
            if outcome.verdict is Verdict.ACCEPTED and self._scheduler is not None:
                self._scheduler.step()
            self._conclude(outcome, [p for p in self._parameters if p.grad is not None])
        except BaseException:
            self._buffers.settle_(accepted=False)
            raise
        finally:
            self._release()


class _Own:
    """The guard's windows, as something that a snapshot keeps; its counts go on."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def state_dict(self) -> dict[str, Any]:
        return self._guard._statistics()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._guard._load_statistics(state)


def _fits_single(factor: float, gradients: Gradients) -> bool:
    """Whether a factor loses nothing in single precision, which is what kernels take."""
    return factor > torch.finfo(torch.float32).tiny and torch.float64 not in gradients.dtypes
