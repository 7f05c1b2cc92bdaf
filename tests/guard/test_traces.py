"""What a guard leaves on a model, and how late news travel."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from guarded_runs import ALL, batches, everything, loss_of, network, poisoned, train

from steadygrad.guard import Guard, Ladder, Verdict, clip
from steadygrad.guard.mailbox import Mailbox
from steadygrad.guard.mailbox import _Letter as Letter


def test_a_copy_of_the_model_takes_no_guard_along():
    model = network(batch_norm=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    guard = Guard(model, optimizer)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin(poisoned(batches(1)[0]))
        assert not guard._started
    alive = weakref.ref(guard)
    del guard
    gc.collect()
    assert alive() is None


class Event:
    """A copy that has arrived, or has not until somebody waits for it."""

    def __init__(self, done):
        self.done = done

    def query(self):
        return self.done

    def synchronize(self):
        self.done = True


def under_way(mailbox, count, *, done):
    for k in range(count):
        numbers = torch.tensor([float(k)], dtype=torch.float64)
        mailbox._letters.append(Letter(subject=k, numbers=numbers, arrived=Event(done)))


def test_letters_under_way_are_left_and_those_arrived_are_read_in_order():
    mailbox = Mailbox(slots=4)
    under_way(mailbox, 2, done=True)
    under_way(mailbox, 2, done=False)
    assert [subject for subject, _ in mailbox.collect()] == [0, 1]
    assert mailbox.collect() == []
    assert [numbers for _, numbers in mailbox.collect(wait=True)] == [[0.0], [1.0]]


def test_the_host_waits_for_the_oldest_alone_where_too_many_are_under_way():
    mailbox = Mailbox(slots=4)
    under_way(mailbox, 6, done=False)
    assert [subject for subject, _ in mailbox.collect()] == [0, 1]


@pytest.mark.parametrize("name", ["adam-fused", "sgd-fused"])
def test_news_that_come_late_still_stop_roll_back_and_are_told(monkeypatch, name):
    """The host learns of each step only when it asks: what the kernel refused stays refused meanwhile."""
    collect = Mailbox.collect
    monkeypatch.setattr(Mailbox, "collect", lambda self, *, wait=False: collect(self, wait=True) if wait else [])
    model, events = network(name), []
    optimizer = ALL[name](model.parameters())
    guard = Guard(
        model, optimizer, decide="device", sink=events.append, on_nonfinite="rollback", ladder=Ladder(snapshot_every=50)
    )
    good = batches(3)
    start = everything(model, optimizer)[0]
    train(guard, model, optimizer, [good[0], poisoned(good[1]), good[1], good[2]])
    assert not events
    assert guard.settle()
    assert [(e.code, e.step) for e in events] == [("GRD002", 2), ("GRD003", 2)]
    assert everything(model, optimizer)[0] == start
    guard.step(loss_of(model, good[0]))
    assert guard.outcome.verdict is Verdict.ACCEPTED


def test_an_exception_in_a_scaled_step_leaves_the_scaler_usable():
    model = network("adam")
    optimizer = ALL["adam"](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    guard = Guard(model, optimizer, scaler=scaler, ladder=Ladder(snapshot_every=1), clip=clip.ByNorm(1.0))
    hook = optimizer.register_step_post_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(guard, model, optimizer, batches(1))
    hook.remove()
    train(guard, model, optimizer, batches(1))
    assert guard.outcome.verdict is Verdict.ACCEPTED
    assert scaler.get_scale() == 8.0
