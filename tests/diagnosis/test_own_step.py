"""A setup's own training step: what its order of events shows, what healthy loops leave unsaid, what is put back."""

import functools
import re

import pytest
import torch
from torch import nn

import steadygrad.guard.clip as clip
from steadygrad.diagnosis import check
from steadygrad.diagnosis.evidence import Collector
from steadygrad.diagnosis.evidence.rescaled import run_steps
from steadygrad.errors import SetupError
from steadygrad.setup import Setup

SGD = torch.optim.SGD
norm_, value_ = nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batches(count: int = 12) -> list:
    x = torch.randn(count * 16, 8)
    return list(zip(x.split(16), (3 * x[:, :1]).split(16), strict=True))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))


def parts(step=None, *, model=None, optimizer=None, **changed) -> dict:
    model = model or network()
    optimizer = optimizer or SGD(model.parameters(), lr=0.05)
    made = {"model": model, "data": batches(), "loss_fn": nn.MSELoss(), "optimizer": optimizer}
    return made | ({} if step is None else {"step": step}) | changed


def codes(setup: dict, **options) -> list[str]:
    found = check(setup, **options).findings
    return [g.code for f in found for g in (f, *f.consequences) if g.level != "info"]


def zero_first(model, inputs, targets, loss_fn, optimizer):
    optimizer.zero_grad()
    loss_fn(model(inputs), targets).backward()
    optimizer.step()


def zero_last(model, x, y, criterion, opt):
    criterion(model(x), y).backward()
    norm_(model.parameters(), 1.0)
    opt.step()
    opt.zero_grad(set_to_none=False)


def zero_by_model(net, batch, loss_fn, optimizer):
    x, y = batch
    net.zero_grad(set_to_none=False)
    loss_fn(net(x), y).backward()
    value_(net.parameters(), 0.5)
    optimizer.step()


def zero_by_hand(model, inputs, targets, loss_fn, optimizer):
    for p in model.parameters():
        if p.grad is not None:
            p.grad.detach_()
            p.grad.zero_()
    loss_fn(model(inputs), targets).backward()
    for p in model.parameters():
        p.grad = p.grad.clamp(-0.1, 0.1)
    optimizer.step()


def norms_looked_at_after_the_step(model, inputs, targets, loss_fn, optimizer):
    zero_first(model, inputs, targets, loss_fn, optimizer)
    norm_(model.parameters(), float("inf"))


def averaged_before_unscaling(model, inputs, targets, loss_fn, optimizer, scaler):
    optimizer.zero_grad()
    scaler.scale(loss_fn(model(inputs), targets)).backward()
    for p in model.parameters():
        p.grad /= 2
    scaler.step(optimizer)
    scaler.update()


def amp(model, inputs, targets, loss_fn, optimizer, scaler):
    optimizer.zero_grad()
    scaler.scale(loss_fn(model(inputs), targets)).backward()
    scaler.unscale_(optimizer)
    norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()


def accumulating(every: int = 4):
    made = 0

    def step(model, inputs, targets, loss_fn, optimizer):
        nonlocal made
        made += 1
        (loss_fn(model(inputs), targets) / every).backward()
        if made % every == 0:
            clip.norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return step


def micro_batches(model, batch, loss_fn, optimizer):
    optimizer.zero_grad()
    for x, y in zip(batch[0].split(4), batch[1].split(4), strict=True):
        (loss_fn(model(x), y) / 4).backward()
    optimizer.step()


def with_closure(model, inputs, targets, loss_fn, optimizer):
    def closure():
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        return loss

    optimizer.step(closure)


def lbfgs() -> dict:
    model = nn.Linear(8, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    return parts(with_closure, model=model, optimizer=optimizer)


def averaging_and_scheduled() -> dict:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    average = torch.optim.swa_utils.AveragedModel(model)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.9)

    def step(inputs, targets, loss_fn):
        zero_first(model, inputs, targets, loss_fn, optimizer)
        average.update_parameters(model)
        schedule.step()

    return parts(step, model=model, optimizer=optimizer)


def adversaries() -> dict:
    """Each one's backward pass leaves gradients in the other, who zeroes them before its own."""
    model, other = network(), nn.Linear(1, 1)
    ours, theirs = SGD(model.parameters(), lr=0.01), SGD(other.parameters(), lr=0.001)

    def step(inputs, targets, loss_fn):
        ours.zero_grad()
        made = model(inputs)
        (loss_fn(made, targets) + 0.01 * other(made).square().mean()).backward()
        ours.step()
        theirs.zero_grad()
        loss_fn(other(made.detach()), targets).backward()
        theirs.step()

    return parts(step, model=model, optimizer=ours)


def two_optimizers() -> dict:
    model = network()
    first, second = SGD(model[0].parameters(), lr=0.05), SGD(model[1:].parameters(), lr=0.05)

    def step(inputs, targets):
        first.zero_grad()
        second.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        first.step()
        second.step()

    both = SGD(model.parameters(), lr=0.05)
    return parts(step, model=model, optimizer=both)


class Trainer:
    """As a method; it counts, and its optimizer steps in a hook of the backward pass."""

    def __init__(self) -> None:
        self.model, self.made = nn.Linear(8, 1), 0
        self.optimizers = {p: SGD([p], lr=0.05) for p in self.model.parameters()}
        for p in self.model.parameters():
            p.register_post_accumulate_grad_hook(self.stepped)

    def stepped(self, p):
        self.optimizers[p].step()
        p.grad = None

    def step(self, batch, loss_fn):
        self.made += 1
        loss_fn(self.model(batch[0]), batch[1]).backward()


def in_backward() -> dict:
    trainer = Trainer()
    return parts(trainer.step, model=trainer.model)


def centred_and_noisy(model, inputs, targets, loss_fn, optimizer, scaler):
    optimizer.zero_grad()
    scaler.scale(loss_fn(model(inputs), targets)).backward()
    for p in model.parameters():
        p.grad.sub_(p.grad.mean()).add_(torch.randn_like(p.grad))
    scaler.step(optimizer)
    scaler.update()


HEALTHY = {
    "centred and noisy": lambda: parts(centred_and_noisy),
    "zero first": lambda: parts(zero_first),
    "zero last": lambda: parts(zero_last),
    "zero by the model": lambda: parts(zero_by_model),
    "zero by hand": lambda: parts(zero_by_hand),
    "norms looked at": lambda: parts(norms_looked_at_after_the_step),
    "averaged before unscaling": lambda: parts(averaged_before_unscaling),
    "amp": lambda: parts(amp),
    "accumulating": lambda: parts(accumulating()),
    "micro batches": lambda: parts(micro_batches),
    "lbfgs": lbfgs,
    "averages and schedule": averaging_and_scheduled,
    "adversaries": adversaries,
    "two optimizers": two_optimizers,
    "in backward": in_backward,
    "partial": lambda: parts(
        functools.partial(
            lambda model, batch, optimizer, loss, lr: zero_first(model, *batch, loss, optimizer),
            loss=nn.MSELoss(),
            lr=1,
        )
    ),
}


TRIED = ("amp", "accumulating", "lbfgs")


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_loop_is_left_in_peace(name):
    report = check(HEALTHY[name](), trial=name in TRIED)
    assert [f.code for f in report.findings if f.level != "info"] == []
    assert [note for note in report.notes if "`step`" in note or "ended" in note] == []


def clipped_after(how):
    def step(model, inputs, targets, loss_fn, optimizer):
        zero_first(model, inputs, targets, loss_fn, optimizer)
        how(list(model.parameters()))

    return step


def by_hand(parameters, limit: float = 0.1):
    total = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.data.mul_(min(1.0, limit / float(total)))


def by_hand_each_value(parameters):
    for p in parameters:
        p.grad[:] = p.grad.clamp(-0.05, 0.05)


def clipped_at_the_start_of_the_next(model, inputs, targets, loss_fn, optimizer):
    norm_(model.parameters(), 1.0)
    zero_first(model, inputs, targets, loss_fn, optimizer)


def clipped_before_unscaling(how):
    def step(model, inputs, targets, loss_fn, optimizer, grad_scaler):
        optimizer.zero_grad()
        grad_scaler.scale(loss_fn(model(inputs), targets)).backward()
        how(list(model.parameters()))
        grad_scaler.step(optimizer)
        grad_scaler.update()

    return step


MISPLACED = {
    "norm": clipped_after(lambda p: norm_(p, 1.0)),
    "norm that does not bite": clipped_after(lambda p: norm_(p, 1e6)),
    "norm, one by one": clipped_after(lambda p: norm_(p, 1.0, foreach=False)),
    "value": clipped_after(lambda p: value_(p, 0.05)),
    "this package's": clipped_after(lambda p: clip.norm_(p, 0.1)),
    "this package's value": clipped_after(lambda p: clip.value_(p, 0.05)),
    "by hand": clipped_after(by_hand),
    "by hand, each value": clipped_after(by_hand_each_value),
    "next": clipped_at_the_start_of_the_next,
    "unscaled later": clipped_before_unscaling(lambda p: norm_(p, 1.0)),
    "unscaled later, value": clipped_before_unscaling(lambda p: value_(p, 1.0)),
    "unscaled later, by hand": clipped_before_unscaling(by_hand),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_misplaced_clipping_is_told(name):
    assert codes(parts(MISPLACED[name]), trial=False, select=["OPT", "BWD"]) == ["OPT008"]


def test_it_is_the_cause_of_what_a_trial_shows():
    found = check(parts(clipped_before_unscaling(lambda p: norm_(p, 1.0)))).findings
    assert found[0].code == "OPT008"
    assert found[0].measured == 65536
    assert "test_own_step.py" in found[0].line


def never_zeroed(model, inputs, targets, loss_fn, optimizer):
    loss_fn(model(inputs), targets).backward()
    optimizer.step()


def gathered_and_never_zeroed(every: int = 4):
    made = 0

    def step(model, inputs, targets, loss_fn, optimizer):
        nonlocal made
        made += 1
        loss_fn(model(inputs), targets).backward()
        if made % every == 0:
            optimizer.step()

    return step


def closure_without_zeroing(model, inputs, targets, loss_fn, optimizer):
    def closure():
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        return loss

    optimizer.step(closure)


def clipped_after_and_never_zeroed(model, inputs, targets, loss_fn, optimizer):
    never_zeroed(model, inputs, targets, loss_fn, optimizer)
    norm_(model.parameters(), 1.0)


def zeroed_in_part(model, inputs, targets, loss_fn, optimizer):
    never_zeroed(model, inputs, targets, loss_fn, optimizer)
    model[0].zero_grad()


STALE = {
    "never": never_zeroed,
    "gathered": gathered_and_never_zeroed(),
    "closure": closure_without_zeroing,
    "clipped after": clipped_after_and_never_zeroed,
    "in part": zeroed_in_part,
}


@pytest.mark.parametrize("name", STALE)
def test_gradients_that_stand_are_told(name):
    (found,) = check(parts(STALE[name]), trial=False, select=["OPT", "BWD"]).findings
    assert found.code == "OPT009"
    assert found.level == ("warn" if name == "in part" else "error")


def test_what_stood_is_the_very_gradient_of_the_first_step():
    setup = parts(never_zeroed)
    (x, y), *_ = setup["data"]
    loss = setup["loss_fn"](setup["model"](x), y)
    gradients = torch.autograd.grad(loss, list(setup["model"].parameters()))
    (found,) = check(setup, trial=False, select=["OPT009"]).findings
    expected = torch.stack([g.double().norm() for g in gradients]).norm()
    assert found.measured == pytest.approx(float(expected), rel=1e-5)


def keeps_a_mean_of_losses():
    """Everything that a loop may hold on to: variables, containers, objects, generators, other modules."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=1000)
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["initial_lr"]
    average = torch.optim.swa_utils.AveragedModel(model)
    shadow = {name: p.detach().clone() for name, p in model.named_parameters()}
    scaler, noise, seen, made = torch.amp.GradScaler("cpu"), torch.Generator(), [], 0
    scaler.scale(torch.ones(1))

    def step(inputs, targets, loss_fn):
        nonlocal made
        made += 1
        optimizer.zero_grad()
        inputs.add_(0.1 * torch.randn(inputs.shape, generator=noise))
        loss = loss_fn(model(inputs), targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update(scaler.get_scale() / 2)
        schedule.step()
        average.update_parameters(model)
        for name, p in model.named_parameters():
            shadow[name].lerp_(p.detach(), 0.1)
        seen.append(loss.item())
        return loss

    data = batches()

    def everything() -> list:
        return [
            *(x for batch in data for x in batch),
            *model.state_dict().values(),
            *average.state_dict().values(),
            *shadow.values(),
            noise.get_state(),
            torch.get_rng_state(),
            torch.tensor([made, len(seen), schedule.last_epoch, scaler.get_scale(), optimizer.param_groups[0]["lr"]]),
            torch.tensor([len(optimizer.state), *(p.grad is not None for p in model.parameters())]),
            torch.tensor([len(getattr(p, hooks) or ()) for p in model.parameters() for hooks in _HOOKS]),
            torch.tensor([len(optimizer._optimizer_step_pre_hooks), len(optimizer._optimizer_step_post_hooks)]),
        ]

    return parts(step, model=model, optimizer=optimizer, data=data), everything


_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def test_what_a_step_holds_on_to_is_put_back_bit_for_bit():
    setup, everything = keeps_a_mean_of_losses()
    before = [x.clone() for x in everything()]
    report = check(setup)
    assert not any("raised" in note for note in report.notes)
    assert all(map(torch.equal, before, everything()))


def test_the_trial_makes_the_step_of_the_setup():
    """Without a step of its own the same setup runs away at this rate."""

    def step(model, inputs, targets, loss_fn, optimizer):
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        for p in model.parameters():
            p.grad.mul_(1e-4)
        optimizer.step()

    setup = parts(step)
    setup |= {"optimizer": SGD(setup["model"].parameters(), lr=300.0)}
    assert codes(setup) == []
    del setup["step"]
    assert codes(setup)[0] in ("OPT001", "RUN002")


class Raises:
    """A step that fails from its n-th call on."""

    def __init__(self, calls: int, error: Exception) -> None:
        self.left, self.error = calls, error

    def __call__(self, model, inputs, targets, loss_fn, optimizer):
        zero_first(model, inputs, targets, loss_fn, optimizer)
        self.left -= 1
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize(
    ("calls", "error", "said"),
    [
        (
            0,
            KeyError("mask"),
            r"`step` raised KeyError: 'mask' \(.*test_own_step.py:\d+\). A plain loop takes its place",
        ),
        (
            2,
            KeyError("mask"),
            r"`step` raised KeyError: 'mask' \(.*\), in its call 3; what it did before was looked at",
        ),
        (0, torch.OutOfMemoryError("CUDA out of memory."), r"`step` could not be run: the memory did not suffice"),
        (0, MemoryError(), r"`step` could not be run: the memory did not suffice"),
        (0, AssertionError("Torch not compiled with CUDA enabled"), r"`step` could not be run: this machine lacks"),
    ],
)
def test_a_step_that_raises_is_told_in_a_line_and_the_check_goes_on(calls, error, said):
    setup = parts(Raises(calls, error))
    before = [x.clone() for x in setup["model"].state_dict().values()]
    report = check(setup, trial=False)
    assert [f.code for f in report.findings if f.level != "info"] == []
    (note,) = [note for note in report.notes if "`step`" in note]
    assert re.search(said, note)
    assert setup["step"].left == calls
    assert all(map(torch.equal, before, setup["model"].state_dict().values()))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (3, "`step` must be a function that makes one step of training, got int"),
        (Raises, "got the class Raises"),
        (
            lambda modle, batch: None,
            "got 'modle'. Did you mean 'model'. Bind what else it takes with functools.partial",
        ),
        (
            lambda model, optimizer: None,
            "`step` must take `batch`, or `inputs` and `targets`, got .'model', 'optimizer'",
        ),
        (lambda model, batch, /: None, "`parameter of step` must be one of .*, got 'model'"),
    ],
)
def test_a_step_that_cannot_be_called_is_refused(step, said):
    with pytest.raises(SetupError, match=said):
        Setup.of(parts(step))


def test_a_step_takes_what_the_setup_has():
    with pytest.raises(SetupError, match="`setup` must have `optimizer`, which `step` takes as `opt`, got none"):
        Setup(model=network(), data=batches(), step=lambda batch, opt: None)


def never_steps(model, inputs, targets, loss_fn, optimizer):
    optimizer.zero_grad()
    loss_fn(model(inputs), targets).backward()


def zeroes_between(model, inputs, targets, loss_fn, optimizer):
    loss_fn(model(inputs), targets).backward()
    optimizer.zero_grad()
    optimizer.step()


def steps_by_hand(model, inputs, targets, loss_fn):
    model.zero_grad()
    loss_fn(model(inputs), targets).backward()
    for p in model.parameters():
        p.data -= 0.05 * p.grad


@pytest.mark.parametrize(
    ("step", "said"), [(never_steps, "no optimizer steps in 32 calls"), (zeroes_between, "zeroed between")]
)
def test_a_step_that_moves_nothing_is_told(step, said):
    (found,) = check(parts(step), trial=False, select=["OPT005"]).findings
    assert (found.code, found.level) == ("OPT005", "error")
    assert said in found.message


@pytest.mark.parametrize("step", [steps_by_hand, accumulating(30)])
def test_a_step_that_moves_in_its_own_way_is_left_in_peace(step):
    assert codes(parts(step), trial=False) == []


class WithATensorOfItsOwn(nn.Module):
    """A scale that is no parameter: whoever trains it has to know of it."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 64), nn.Linear(64, 1)
        self.scale = [torch.ones(64, requires_grad=True)]

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)) * self.scale[0])


@pytest.mark.parametrize("in_the_step", [True, False])
def test_an_optimizer_that_only_the_step_reaches_moves_what_it_holds(in_the_step):
    model = WithATensorOfItsOwn()
    others = torch.optim.Adam([model.scale[0], *model.body.parameters()], lr=0.01)

    def both(model, x, y, loss_fn, optimizer):
        others.zero_grad()
        zero_first(model, x, y, loss_fn, optimizer)
        others.step()

    step = both if in_the_step else zero_first
    found = codes(parts(step, model=model, optimizer=SGD(model.head.parameters(), lr=0.01)), select=["OPT005"])
    assert found == ([] if in_the_step else ["OPT005", "OPT005"])


def test_steps_with_a_scale_put_right_are_the_setups_own():
    def losses(step):
        torch.manual_seed(0)
        return run_steps(Collector(Setup.of(parts(step))), inputs=lambda x: x / 2).losses

    torch.manual_seed(0)
    made = parts()
    model, loss_fn, expected = made["model"], made["loss_fn"], []
    for x, y in [(x / 2, y) for x, y in made["data"]]:
        with torch.no_grad():
            expected.append(float(loss_fn(model(x), y)))
        zero_last(model, x, y, loss_fn, made["optimizer"])
    assert losses(zero_last)[:12] == pytest.approx(expected, rel=1e-5)
    assert losses(None)[1:12] != pytest.approx(expected[1:], rel=1e-5)  # the step clips


def test_a_loss_divided_is_divided_for_a_step_with_a_loss_of_its_own():
    def own_loss(model, x, y, optimizer):
        zero_first(model, x, y, nn.MSELoss(reduction="sum"), optimizer)

    runs = []
    for step in (own_loss, None):
        torch.manual_seed(0)
        collector = Collector(Setup.of(parts(step, loss_fn=nn.MSELoss(reduction="sum"))))
        runs.append(run_steps(collector, scale=1 / 16).losses)
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)


def test_points_that_a_forward_pass_makes_anew_are_no_parameters():
    class Penalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))

        def forward(self, x):
            between = (x / 2).detach().requires_grad_(True)
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self.body(between).sum(), between, create_graph=True)
            return self.body(x) + 0 * slope.norm() + 0 * between.sum()

    assert codes(parts(model=Penalised()), select=["OPT005"]) == []
