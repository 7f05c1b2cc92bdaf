"""What a setup refuses, and in which words."""

import pytest
import torch
from torch import nn

from steadygrad.errors import SetupError, UserCodeError
from steadygrad.setup import Setup, first_batch

MODEL = nn.Linear(2, 1)


def refused(match, **parts):
    with pytest.raises(SetupError, match=match) as caught:
        first_batch(Setup(**{"model": MODEL, **parts}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "got"),
    [(nn.ReLU(), "got ReLU without any"), (nn.Linear, "got the class Linear"), (None, "got NoneType"), (3, "got int")],
)
def test_a_model_is_a_module_with_parameters(model, got):
    refused(got, model=model)


@pytest.mark.parametrize("kind", [list, tuple])
def test_empty_data(kind):
    refused(f"`data` must hold at least one batch, got an empty {kind.__name__}", data=kind())


def test_an_iterator_is_used_up_by_one_pass():
    refused("re-iterable.*got list_iterator, which is used up", data=iter([(torch.ones(1, 2), torch.ones(1, 1))]))


@pytest.mark.parametrize("data", [torch.ones(3, 2), "data", {"x": 1}, 5])
def test_data_that_do_not_hold_batches(data):
    refused(f"`data` must be .*got {type(data).__name__}", data=data)


def test_a_batch_of_mismatched_sizes_says_both():
    refused(r"as many targets as inputs.*\(3, 2\).*\(4,\)", data=[(torch.ones(3, 2), torch.ones(4))])


@pytest.mark.parametrize("targets", [torch.ones(2), torch.ones(0), torch.tensor(1.0)])
def test_targets_that_no_examples_share_evenly_are_refused(targets):
    refused("as many targets as inputs, or a whole multiple", data=[(torch.ones(3, 2), targets)])


def test_targets_of_positions_may_stand_in_one_row():
    batch = first_batch(Setup(model=MODEL, data=[(torch.ones(3, 5), torch.ones(15))]))
    assert (batch.size, batch.rows) == (3, 5)


def test_a_batch_without_examples():
    refused("at least one example", data=[(torch.ones(0, 2), torch.ones(0))])


@pytest.mark.parametrize("batch", [torch.ones(3, 2), (torch.ones(3, 2),), {"x": 1}, "ab"])
def test_a_batch_is_a_pair_where_there_is_a_loss(batch):
    refused("pair", data=[batch], loss_fn=nn.MSELoss())


def test_the_parts_of_a_batch_are_tensors():
    refused("the targets of a batch must be .*, got a list of length 3", data=[(torch.ones(3, 2), [1] * 3)])


def test_inputs_alone_are_enough_without_a_loss():
    assert first_batch(Setup(model=MODEL, data=[torch.ones(3, 2)])).targets is None


def test_data_that_raise_say_where():
    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise RuntimeError("disk\nis gone")

    with pytest.raises(UserCodeError, match=r"`data` raised RuntimeError: disk is gone \(.*test_training_setup.py:\d+"):
        first_batch(Setup(model=MODEL, data=Broken()))


@pytest.mark.parametrize(("loss_fn", "got"), [(3, "got int"), (nn.MSELoss, "got the class MSELoss")])
def test_a_loss_is_callable(loss_fn, got):
    refused(got, loss_fn=loss_fn)


def test_an_optimizer_is_one():
    refused("got str", optimizer="sgd")


def test_of_takes_a_setup_a_mapping_and_a_module():
    made = Setup(model=MODEL)
    assert Setup.of(made) is made
    assert Setup.of({"model": MODEL}) == Setup.of(MODEL) == made


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ({"modle": MODEL}, "Did you mean 'model'"),
        ({"data": []}, r"key 'model', got \['data'\]"),
        ({}, "an empty mapping"),
        (None, "got NoneType"),
        ((MODEL,), "got tuple"),
    ],
)
def test_of_refuses_the_rest(subject, words):
    with pytest.raises(SetupError, match=words):
        Setup.of(subject)


def test_the_batch_stays_where_it_was():
    x, y = torch.ones(3, 2), torch.ones(3, 1)
    batch = first_batch(Setup(model=MODEL, data=[(x, y)]))
    assert batch.inputs is x
    assert batch.targets is y
    assert first_batch(Setup(model=MODEL)) is None
