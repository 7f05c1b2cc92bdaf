"""What cannot be looked at is said in a note; the rest is looked at; everything is left as it was."""

import copy
import random
import re

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.diagnosis import check
from steadygrad.errors import SetupError, UserCodeError
from steadygrad.setup import Setup


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batches(count: int = 10) -> list:
    x = torch.randn(count * 16, 8)
    return list(zip(x.split(16), x[:, :1].split(16), strict=True))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))


def parts(model: nn.Module, **changed) -> dict:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return {"model": model, "data": batches(), "loss_fn": nn.MSELoss(), "optimizer": optimizer} | changed


def state(setup: dict) -> tuple:
    """Everything that a check might change, copied."""
    model, optimizer = setup["model"], setup["optimizer"]
    return (
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        [(name, module.training, sorted(vars(module))) for name, module in model.named_modules()],
        copy.deepcopy(optimizer.state_dict()),
        torch.get_rng_state(),
        random.getstate(),
        str(np.random.get_state()),  # noqa: NPY002
    )


def same(a, b) -> bool:
    match a:
        case torch.Tensor():
            return torch.equal(a, b)
        case dict():
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        case list() | tuple():
            return len(a) == len(b) and all(map(same, a, b))
        case _:
            return a == b


def notes_of(setup: dict) -> str:
    """The notes of a check that changed nothing."""
    before = state(setup)
    report = check(setup)
    assert all(map(same, before, state(setup)))
    return " ".join(report.notes)


def test_a_sound_setup_is_left_as_it_was_and_leaves_no_note():
    assert notes_of(parts(network())) == ""


def test_optimizer_state_gradients_and_memory_are_the_very_same_afterwards():
    setup = parts(network())
    for x, y in setup["data"][:3]:
        setup["optimizer"].zero_grad()
        setup["loss_fn"](setup["model"](x), y).backward()
        setup["optimizer"].step()
    model, optimizer = setup["model"], setup["optimizer"]
    held = [(p.data_ptr(), p.grad, optimizer.state[p]["exp_avg"]) for p in model.parameters()]
    notes_of(setup)
    for p, (memory, gradient, average) in zip(model.parameters(), held, strict=True):
        assert p.data_ptr() == memory
        assert p.grad is gradient
        assert optimizer.state[p]["exp_avg"] is average


def test_the_same_setup_gives_the_same_findings_wherever_the_generators_stand():
    setup = parts(network(), optimizer=None)
    setup["optimizer"] = torch.optim.SGD(setup["model"].parameters(), lr=100.0)
    first = check(setup).findings
    torch.manual_seed(99)
    assert first
    assert check(setup).findings == first


class Counting:
    """A loss that fails from its n-th call on."""

    def __init__(self, calls: int, error: Exception) -> None:
        self.left, self.error = calls, error

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return nn.functional.mse_loss(outputs, targets)


class Picky:
    """A loss that takes one batch and no other."""

    def __init__(self, batch: torch.Tensor) -> None:
        self.batch = batch

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not torch.equal(targets, self.batch):
            raise KeyError("no such label")
        return nn.functional.mse_loss(outputs, targets)


def test_a_loss_that_raises_on_the_second_batch_ends_the_trial():
    setup = parts(network())
    notes = notes_of(setup | {"loss_fn": Picky(setup["data"][0][1])})
    assert "The trial of training ended after 1 of 200 steps: KeyError: 'no such label'." in notes


@pytest.mark.parametrize("calls", [1, 2, 5, 20, 60])
def test_a_trial_that_runs_out_of_memory_ends_with_a_note(calls):
    notes = notes_of(parts(network(), loss_fn=Counting(calls, torch.OutOfMemoryError("CUDA out of memory."))))
    assert "memory" in notes


class EndsEarly:
    """Says that it holds a hundred batches; gives three, and none to who asks again."""

    def __init__(self) -> None:
        self.held, self.passes = batches(3), 0

    def __len__(self) -> int:
        return 100

    def __iter__(self):
        self.passes += 1
        yield from self.held if self.passes <= 3 else ()


def test_data_that_end_early_end_the_trial():
    data = EndsEarly()
    notes = notes_of(parts(network(), data=data))
    assert data.passes == 0
    assert "the data gave no further batch" in notes


def generated():
    yield from batches()


class Once:
    """Re-iterable by its looks: every iteration goes on where the last one was."""

    def __init__(self) -> None:
        self.iterator = generated()

    def __iter__(self):
        return self.iterator


@pytest.mark.parametrize("make", [generated, Once, lambda: iter(batches())])
def test_what_can_be_iterated_only_once_is_not_drawn_from(make):
    data = make()
    assert "gives its batches only once" in notes_of(parts(network(), data=data))
    assert len(list(data)) == 10


class Grows(nn.Module):
    """Builds a layer when it first runs, counts its calls, and swaps a part every other time."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.calls, self.seen = nn.Linear(8, 4), 0, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        if not hasattr(self, "head"):
            self.head = nn.Linear(4, 1)
        self.act = nn.ReLU() if self.calls % 2 else nn.Tanh()
        return self.head(self.act(self.body(x)))


def test_a_model_that_changes_its_own_structure_gets_it_back():
    model = Grows()
    notes_of(parts(model))
    assert (model.calls, model.seen, [name for name, _ in model.named_children()]) == (0, [], ["body"])


class OnlyOnAnAccelerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.cuda()).cpu()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the model asks for")
def test_a_model_that_needs_an_accelerator_is_not_measured_without_one():
    notes = notes_of(parts(OnlyOnAnAccelerator()))
    assert "this machine lacks the accelerator that the code asks for" in notes


def test_without_an_optimizer_there_is_a_note_and_no_trial():
    setup = parts(network())
    del setup["optimizer"]
    report = check(setup)
    assert "There is no `optimizer`, so no step of training was looked at." in report.notes
    assert not any("trial" in note for note in report.notes)


def test_a_check_without_the_trial_says_so_and_looks_at_the_rest():
    report = check(parts(network()), trial=False)
    assert report.findings == ()
    assert report.notes == ("No trial of training was made, as asked.",)


def test_a_step_that_needs_a_closure_gets_one():
    model = network()
    setup = parts(model, optimizer=torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2))
    assert notes_of(setup) == ""


def test_a_random_order_is_the_one_that_training_will_see():
    data = torch.utils.data.TensorDataset(torch.randn(64, 8), torch.randn(64, 1))
    generator = torch.Generator().manual_seed(5)
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True, generator=generator)
    before = generator.get_state()
    notes_of(parts(network(), data=loader))
    assert torch.equal(generator.get_state(), before)


def test_a_setup_given_as_such_is_taken_too():
    setup = parts(network())
    assert check(Setup(**setup)).findings == ()


class FailsAfter:
    """Re-iterable data that raise in the place of a batch, in each pass anew."""

    def __init__(self, count: int) -> None:
        self.held = batches(count) if count else []

    def __iter__(self):
        yield from self.held
        raise OSError("the disk is gone")


def test_data_that_raise_later_are_looked_at_up_to_there():
    notes = notes_of(parts(network(), data=FailsAfter(9)))
    assert re.search(r"`data` raised OSError: the disk is gone \(.*\) after batch 8, so the 9 up to it were", notes)
    assert "ended after" not in notes


def test_data_that_raise_at_once_are_an_error():
    with pytest.raises(UserCodeError, match="`data` raised OSError: the disk is gone"):
        check(parts(network(), data=FailsAfter(0)))


class WritesIntoItsInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.mul_(0.5))


def test_a_model_that_works_in_place_leaves_the_data():
    setup = parts(WritesIntoItsInputs())
    before = [x.clone() for batch in setup["data"] for x in batch]
    notes_of(setup)
    assert all(map(torch.equal, before, [x for batch in setup["data"] for x in batch]))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has a total capacity of"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_what_never_fits_is_said_once(error):
    (note,) = check(parts(network(), loss_fn=Counting(0, error))).notes
    assert note.startswith("Not all could be looked at: the memory did not suffice (")
    assert "\n" not in note


def test_a_lazy_model_is_refused_before_it_is_shaped():
    model = nn.Sequential(nn.Linear(8, 8), nn.LazyLinear(1))
    with pytest.raises(SetupError, match=r"called once on a batch .*, got '1\.weight' without shape"):
        check({"model": model, "data": batches(), "loss_fn": nn.MSELoss()})
    assert type(model[1]) is nn.LazyLinear
