"""Accumulation, mixed precision, saving, reads of the host, and bad input."""

import pytest
import torch
from guarded_runs import ALL, batches, bits, everything, loss_of, network, poisoned, train
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.guard import Guard, Ladder, Spike, Verdict, clip


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait: numbers read from tensors, and copies to the host of another kind."""

    WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::equal")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().rsplit(".", 1)[0] in self.WAITING or func.name() in self.WAITING:
            self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


DECISIONS = [(n, "host") for n in ("sgd-momentum", "adam")] + [
    (n, d) for n in ("adam-fused", "sgd-momentum-fused") for d in ("host", "device")
]


@pytest.fixture
def as_on_an_accelerator(monkeypatch):
    for module in ("clip.norms", "clip.gradients", "evidence"):
        monkeypatch.setattr(f"steadygrad.guard.{module}.reads_freely", lambda device: False)


POLICIES = {
    "none": lambda: None,
    "norm": lambda: clip.ByNorm(0.1),
    "percentile": lambda: clip.Percentile(50, warmup=1),
    "z": lambda: clip.ZScore(2, warmup=1),
    "value": lambda: clip.ByValue(0.01),
    "per-parameter": lambda: clip.PerParameter(0.01),
    "adaptive": lambda: clip.Adaptive(0.01),
    "chain": lambda: clip.Chain(clip.ZScore(2, warmup=1), clip.ByValue(0.1)),
}


def test_the_counter_of_reads_sees_one():
    with HostReads() as reads:
        torch.ones(1).item()
        bool(torch.ones(1) > 0)
    assert len(reads.seen) == 2


@pytest.mark.parametrize("name", ["adam-fused", "adamw-fused", "sgd-fused", "sgd-momentum-fused", "adagrad-fused"])
@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_the_host_reads_nothing_where_the_device_decides(as_on_an_accelerator, name, make):
    model = network()
    optimizer = ALL[name](model.parameters())
    guard = Guard(model, optimizer, clip=make(), on_spike="skip", spike=Spike(warmup=1), decide="device")
    train(guard, model, optimizer, batches(1))  # fused SGD with momentum reads once at its first step
    for x_BD in (*batches(3), poisoned(batches(1)[0]), *batches(2)):
        guard.backward(loss_of(model, x_BD))
        with HostReads() as reads:
            guard.step()
        # On the CPU the optimizer's own Python code reads its step counts; the guard must add nothing to it.
        assert reads.seen == own_reads(name)
    assert guard.outcome.step == 7
    assert guard.outcome.verdict is Verdict.ACCEPTED


def own_reads(name):
    """Reads of the optimizer's own step, without a guard."""
    model = network()
    optimizer = ALL[name](model.parameters())
    for x_BD in batches(2):
        loss_of(model, x_BD).backward()
        with HostReads() as reads:
            optimizer.step()
    return reads.seen


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_elsewhere_one_transfer_a_step(as_on_an_accelerator, monkeypatch, make):
    from steadygrad.guard.evidence import Evidence

    model, transfers, read = network(), [], Evidence.read
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    guard = Guard(model, optimizer, clip=make())
    monkeypatch.setattr(Evidence, "read", lambda self: transfers.append(1) or read(self))
    for x_BD in batches(3):
        guard.backward(loss_of(model, x_BD))
        with HostReads() as reads:
            guard.step()
        assert not reads.seen
    assert len(transfers) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device to see real synchronisations")
@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
def test_cuda_sees_no_synchronisation_on_the_good_path(make):
    model = network().cuda()
    guard = Guard(model, torch.optim.AdamW(model.parameters(), fused=True), clip=make(), on_spike="skip")
    data = [x.cuda() for x in batches(6)]
    for x_BD in data[:3]:
        guard.step(loss_of(model, x_BD))
    guard.settle()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for x_BD in data[3:]:
            guard.step(loss_of(model, x_BD))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert guard.outcome.step == 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_refuses_in_the_kernel_and_tells_late():
    events, model = [], network().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    guard = Guard(model, optimizer, sink=events.append)
    guard.step(loss_of(model, batches(1)[0].cuda()))
    before = [p.detach().clone() for p in model.parameters()]
    guard.step(loss_of(model, poisoned(batches(1)[0]).cuda()))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    guard.settle()
    assert [e.code for e in events] == ["GRD002"]


@pytest.mark.parametrize("decide", ["host", "device"])
def test_accumulated_losses_make_one_step(decide):
    results, losses = [], []
    for parts in (1, 4):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
        guard = Guard(model, optimizer, clip=clip.ByNorm(0.5), decide=decide)
        for x_BD in batches(2)[0].chunk(parts):
            guard.backward(loss_of(model, x_BD) / parts)
        guard.step()
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        losses.append(guard.outcome.loss)
    assert torch.allclose(*results, atol=1e-6)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_double_precision_is_not_clipped_in_single():
    """A fused kernel takes its scale in single precision; a factor for double precision is applied before it."""
    results = []
    for guarded in (True, False):
        model = network().double()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=True)
        guard, loss = Guard(model, optimizer, clip=clip.ByNorm(0.3)), loss_of(model, batches(1)[0].double())
        if guarded:
            guard.step(loss)
        else:
            loss.backward()
            clip.norm_(model.parameters(), 0.3)
            optimizer.step()
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*results, rtol=1e-14, atol=1e-15)


def test_several_losses_may_share_a_graph():
    model = network()
    guard = Guard(model, torch.optim.SGD(model.parameters(), lr=0.1))
    hidden = model(batches(1)[0])
    guard.backward(hidden.mean(), retain_graph=True)
    guard.backward(hidden.square().mean())
    guard.step()
    assert guard.outcome.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(("name", "decide"), DECISIONS)
def test_with_a_loss_scale_the_run_is_that_without_one(name, decide):
    """Norm, clipping and steps are those of the unscaled run; the bad step halves the scale, others double it."""
    good, results, norms = batches(4), [], []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=1)):
        model = network()
        optimizer = ALL[name](model.parameters())
        guard = Guard(model, optimizer, clip=clip.ByNorm(0.5), scaler=scaler, decide=decide)
        train(guard, model, optimizer, [good[0], poisoned(good[0]), *good[1:]])
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        norms.append(guard.outcome.norm)
    # In the kernel the division by scale/factor rounds once where the division by 1/factor does, hence not bitwise.
    assert torch.allclose(*results, rtol=1e-6, atol=1e-7)
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert scaler.get_scale() == 2.0 ** (12 + 1 - 1 + 3)


@pytest.mark.parametrize("name", ["sgd", "adamw-fused"])
def test_float16_gradients_that_overflow_their_scale_find_it(name):
    """float16 under autocast: a loss scale of 2^24 overflows, and is halved until gradients fit."""
    model = network()
    optimizer = ALL[name](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    guard = Guard(model, optimizer, clip=clip.ByNorm(1.0), scaler=scaler)
    verdicts = []
    for x_BD in batches(16):
        with torch.autocast("cpu", dtype=torch.float16):
            loss = loss_of(model, x_BD)
        guard.step(loss)
        verdicts.append(guard.outcome.verdict)
    accepted = verdicts.index(Verdict.ACCEPTED)
    assert accepted > 0
    assert set(verdicts[accepted:]) == {Verdict.ACCEPTED}
    assert scaler.get_scale() == 2.0 ** (24 - accepted)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("lbfgs", "sparse-adam")])
def test_bfloat16_parameters_are_guarded(name):
    model = network(name).bfloat16()
    optimizer = ALL[name](model.parameters())
    guard = Guard(model, optimizer, clip=clip.ByNorm(0.5))
    data = [x.bfloat16() for x in batches(3)]
    train(guard, model, optimizer, data[:1])
    before = everything_16(model, optimizer)
    train(guard, model, optimizer, [poisoned(data[1])])
    assert everything_16(model, optimizer) == before
    train(guard, model, optimizer, data[2:])
    assert guard.outcome.verdict is Verdict.ACCEPTED


def everything_16(model, optimizer):
    def wide(tree):
        match tree:
            case torch.Tensor():
                return tree.double()
            case dict():
                return {k: wide(v) for k, v in tree.items()}
            case list() | tuple():
                return [wide(v) for v in tree]
            case _:
                return tree

    return bits(wide(model.state_dict())), bits(wide(optimizer.state_dict()))


@pytest.mark.parametrize("name", [n for n in ALL if n != "lbfgs"])
@pytest.mark.parametrize("split", [1, 5, 9])
def test_a_saved_run_goes_on_bitwise(tmp_path, name, split):
    data = [poisoned(x) if k in (3, 7) else x for k, x in enumerate(batches(12))]
    finals = []
    for stop in (None, split):
        model, optimizer, guard = parts(name)
        train(guard, model, optimizer, data[:stop])
        if stop is not None:
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "guard": guard.state_dict()}
            torch.save(saved, tmp_path / "run.pt")
            model, optimizer, guard = parts(name)
            saved = torch.load(tmp_path / "run.pt", weights_only=False)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            guard.load_state_dict(saved["guard"])
            train(guard, model, optimizer, data[stop:])
        finals.append((everything(model, optimizer), bits(guard.state_dict())))
    assert finals[0] == finals[1]


def parts(name):
    model = network(name)
    optimizer = ALL[name](model.parameters())
    policy = clip.Chain(clip.ZScore(2, warmup=4, window=6), clip.Percentile(50, warmup=4, window=6))
    return model, optimizer, Guard(model, optimizer, clip=policy, on_spike="skip", spike=Spike(warmup=6, window=8))


def test_a_state_of_other_policies_is_refused():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = Guard(model, optimizer).state_dict()
    with pytest.raises(ValueError, match="same policies"):
        Guard(model, optimizer, clip=clip.ByNorm(1.0)).load_state_dict(state)


def test_revival_is_called_after_accepted_steps_and_its_findings_go_to_the_sink():
    events, called, model = [], [], network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def revive(step):
        called.append(step)
        return ()

    guard = Guard(model, optimizer, revive=revive, sink=events.append)
    train(guard, model, optimizer, [batches(1)[0], poisoned(batches(1)[0]), batches(1)[0]])
    assert called == [1, 3]


BAD_LOSS = {
    "no graph": (lambda m: torch.ones(()), "must have a graph"),
    "many numbers": (lambda m: m(torch.ones(3, 4)), "one number"),
    "no tensor": (lambda m: 3.0, "one number"),
}


@pytest.mark.parametrize(("make", "message"), BAD_LOSS.values(), ids=BAD_LOSS)
def test_a_loss_that_cannot_go_backward_is_refused(make, message):
    model = network()
    guard = Guard(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=message):
        guard.step(make(model))


def test_a_step_without_a_backward_is_refused():
    model = network()
    guard = Guard(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="`step` needs a backward before it"):
        guard.step()
    guard.step(loss_of(model, batches(1)[0]))
    with pytest.raises(ValueError, match="`step` needs a backward before it"):
        guard.step()


def test_an_optimizer_over_other_parameters_is_refused():
    with pytest.raises(ValueError, match="must hold parameters of the model only"):
        Guard(network(), torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1))


def test_lbfgs_wants_a_closure_and_others_want_none():
    model = network()
    guard = Guard(model, torch.optim.LBFGS(model.parameters()))
    with pytest.raises(ValueError, match="pass `closure` instead of a loss"):
        guard.step(loss_of(model, batches(1)[0]))
    guard = Guard(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="`closure` is for optimizers that evaluate the loss themselves"):
        guard.step(closure=lambda: loss_of(model, batches(1)[0]))


@pytest.mark.parametrize(
    "settings", [{"on_nonfinite": "ignore"}, {"on_spike": "skipp"}, {"decide": "cpu"}, {"decide": "device"}]
)
def test_a_choice_that_is_not_known_is_refused(settings):
    model = network()
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        Guard(model, torch.optim.SGD(model.parameters(), lr=0.1), **settings)


def test_a_scheduler_that_needs_a_metric_is_refused():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="must step without a metric"):
        Guard(model, optimizer, scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer))


def test_frozen_parameters_and_those_without_a_gradient_are_left_out():
    model = network()
    model[0].weight.requires_grad_(False)
    guard = Guard(model, torch.optim.SGD([model[2].weight], lr=0.1), ladder=Ladder(skips=0))
    guard.step(loss_of(model, batches(1)[0]))
    assert guard.names == ["2.weight"]
