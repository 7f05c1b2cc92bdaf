"""Two gloo ranks, under DistributedDataParallel and FSDP2, give the norm and the decisions of a single process."""

import pytest
import torch
import torch.distributed as dist
from guarded_runs import batches, loss_of, network, poisoned
from torch import nn

from gloo import two_ranks
from steadygrad.guard import Guard, Ladder, Spike, clip

KINDS = ("ddp", "ddp-no-sync", "fsdp", "fsdp-mixed")
POLICIES = {
    "norm": lambda: clip.ByNorm(0.5),
    "norm-1": lambda: clip.ByNorm(0.5, p=1.0),
    "norm-inf": lambda: clip.ByNorm(0.05, p=float("inf")),
    "value": lambda: clip.ByValue(0.05),
    "per-parameter": lambda: clip.PerParameter(0.1),
    "adaptive": lambda: clip.Adaptive(0.05),
    "z": lambda: clip.ZScore(2, warmup=2),
    "rollback": lambda: clip.ByNorm(0.5),
}


def data():
    """Batches of 16; one whose second half alone is bad, one that is a spike everywhere."""
    good = batches(8)
    half_bad = torch.cat([good[0][:8], poisoned(good[0][8:])])
    return [*good[:3], half_bad, *good[3:6], good[6] * 200, *good[6:]]


def run(guard, model, slices, *, accumulated=False):
    found = []
    for k, x_BD in enumerate(data()):
        x_BD = x_BD[slices]
        if accumulated:
            x_BD, first = x_BD.chunk(2)
            with model.no_sync():
                guard.backward(loss_of(model, first) / 2)
        loss = loss_of(model, x_BD) / (1 + accumulated)
        if k == 2:  # an infinite loss on the last rank alone, with finite gradients
            loss = loss + (torch.inf if slices.stop in (None, 16) else 0.0)
        guard.step(loss)
        found.append((guard.outcome.verdict.name, guard.outcome.norm))
    return found


def guarded(model, policy):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    action, ladder = ("rollback" if policy == "rollback" else "skip"), Ladder(snapshot_every=2, rollbacks=5)
    return Guard(
        model, optimizer, clip=POLICIES[policy](), on_nonfinite=action, on_spike="skip", spike=Spike(8, warmup=3),
        ladder=ladder,
    )  # fmt: skip


def wrapped(model, kind):
    if kind.startswith("ddp"):
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard

    if kind == "fsdp-mixed":  # the last layer stays a plain tensor on every rank
        fully_shard(model[0])
        for p in model[2].parameters():
            p.register_post_accumulate_grad_hook(averaged)
        return model
    fully_shard(model[0])
    fully_shard(model)
    return model


def averaged(parameter):
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()


def trained(rank, kind, policy):
    model = wrapped(network(), kind)
    guard = guarded(model, policy)
    seen = run(guard, model, slice(8 * rank, 8 * rank + 8), accumulated=kind == "ddp-no-sync")
    return {"seen": seen, "weights": weights(model)}


def every_kind(rank):
    return {kind: {policy: trained(rank, kind, policy) for policy in POLICIES} for kind in KINDS}


def weights(model):
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]
    return torch.cat([w.detach().flatten() for w in whole]).tolist()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two_ranks(every_kind, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_both_ranks_see_the_same_bits_and_decide_alike(ranks, kind, policy):
    assert str(ranks[0][kind][policy]) == str(ranks[1][kind][policy])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_norms_decisions_and_weights_are_those_of_a_single_process(ranks, kind, policy):
    model = network()
    guard = guarded(model, policy)
    alone = run(guard, model, slice(None))
    seen = ranks[0][kind][policy]["seen"]
    assert [v for v, _ in seen] == [v for v, _ in alone]
    assert {v for v, _ in alone} >= {"ACCEPTED", "NONFINITE"}
    assert policy == "rollback" or "SPIKE" in {v for v, _ in alone}
    norms = [(a, b) for (v, a), (_, b) in zip(seen, alone, strict=True) if v == "ACCEPTED"]
    assert [a for a, _ in norms] == pytest.approx([b for _, b in norms], rel=1e-5)
    assert ranks[0][kind][policy]["weights"] == pytest.approx(weights(model), rel=1e-4, abs=1e-5)
